//! The frame of the records that Kafka's coordinators write.
//!
//! A key is an i16 type and fields that are never flexible; a value is an i16 version and the fields of that version. Of a
//! type, the key has one version. A null value is a tombstone. Up to Kafka 4.0 the type was called the version of the key:
//! the same bytes. Source: `CoordinatorRecordSerde.java`.

use super::schema::{Field, NEVER, Schema, split_i16};
use super::value::Struct;
use crate::format::FormatError;

/// The layout of the records of a type.
#[derive(Debug)]
pub(super) struct RecordKind {
    /// The type.
    pub key_type: i16,
    key: Schema,
    /// The layout of the value.
    pub value: Schema,
}

impl RecordKind {
    pub(super) const fn new(
        key_type: i16,
        key: &'static [Field],
        latest: i16,
        flexible: i16,
        value: &'static [Field],
    ) -> Self {
        let key = Schema { latest: 0, flexible: NEVER, fields: key };
        Self { key_type, key, value: Schema { latest, flexible, fields: value } }
    }
}

/// Reads a key. Returns the layout of the value with it.
pub(super) fn decode_key<'a>(
    kinds: &'static [RecordKind],
    bytes: &'a [u8],
) -> Result<(&'static RecordKind, Struct<'a>), FormatError> {
    let (key_type, rest) = split_i16(bytes)?;
    let kind = kinds.iter().find(|kind| kind.key_type == key_type);
    let kind = kind.ok_or_else(|| FormatError::Unsupported { what: format!("key type {key_type}") })?;
    Ok((kind, kind.key.decode(0, rest)?))
}
