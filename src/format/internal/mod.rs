//! The records of Kafka's internal topics as values.
//!
//! A kind of records is a table of fields, which the one decoder of [`schema`] reads by; what it gives is a [`value`]. Names
//! of fields are those that Kafka's tools print. `__remote_log_metadata` is not read.

mod consumer_offsets;
mod consumer_protocol;
mod control;
mod coordinator;
pub mod group_records;
pub mod metadata;
pub mod metadata_records;
pub mod metadata_snapshot;
pub mod schema;
mod share_group_state;
pub mod share_records;
#[cfg(test)]
mod tests;
mod transaction_state;
pub mod value;

use super::FormatError;
use coordinator::RecordKind;
use metadata::MetadataRecord;
use value::Struct;

/// A topic whose records are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InternalTopic {
    /// `__consumer_offsets`.
    ConsumerOffsets,
    /// `__share_group_state`.
    ShareGroupState,
    /// `__transaction_state`.
    TransactionState,
    /// `__cluster_metadata`.
    ClusterMetadata,
}

/// A key or a value.
#[derive(Debug, PartialEq)]
pub enum Part<'a> {
    /// Null. As the value of a key: what the key names is gone.
    Null,
    /// A key of a coordinator's record.
    Key {
        /// Of which type.
        key_type: i16,
        /// What it says.
        data: Struct<'a>,
    },
    /// A value of a coordinator's record.
    Value {
        /// The version of its layout.
        version: i16,
        /// What it says.
        data: Struct<'a>,
    },
    /// A value in the metadata log.
    Metadata(MetadataRecord<'a>),
    /// A key or a value in a control batch.
    Control(Struct<'a>),
}

/// A record. What could not be read is raw bytes to its reader, with the error as the reason.
#[derive(Debug, PartialEq)]
pub struct InternalRecord<'a> {
    /// The key.
    pub key: Result<Part<'a>, FormatError>,
    /// The value.
    pub value: Result<Part<'a>, FormatError>,
}

impl InternalTopic {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::ConsumerOffsets, Self::ShareGroupState, Self::TransactionState, Self::ClusterMetadata];

    /// The name of the topic.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConsumerOffsets => "__consumer_offsets",
            Self::ShareGroupState => "__share_group_state",
            Self::TransactionState => "__transaction_state",
            Self::ClusterMetadata => "__cluster_metadata",
        }
    }

    /// Reads a record that is not in a control batch.
    #[must_use]
    pub fn decode<'a>(self, key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> InternalRecord<'a> {
        let kinds: &[RecordKind] = match self {
            Self::ConsumerOffsets => &consumer_offsets::KINDS,
            Self::ShareGroupState => &share_group_state::KINDS,
            Self::TransactionState => &transaction_state::KINDS,
            Self::ClusterMetadata => return decode_metadata(key, value),
        };
        match key.map(|key| coordinator::decode_key(kinds, key)) {
            Some(Ok((kind, data))) => {
                let value = value.map_or(Ok(Part::Null), |value| self.decode_value(kind, value));
                InternalRecord { key: Ok(Part::Key { key_type: kind.key_type, data }), value }
            }
            Some(Err(error)) => InternalRecord { key: Err(error), value: without_key(value) },
            None => InternalRecord { key: Ok(Part::Null), value: without_key(value) },
        }
    }

    fn decode_value<'a>(self, kind: &RecordKind, value: &'a [u8]) -> Result<Part<'a>, FormatError> {
        let (version, mut data) = kind.value.decode_versioned(value)?;
        if self == Self::ConsumerOffsets {
            consumer_offsets::decode_embedded(kind.key_type, &mut data);
        }
        Ok(Part::Value { version, data })
    }
}

fn decode_metadata<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> InternalRecord<'a> {
    let unexpected = || Err(FormatError::corrupt("a record of the metadata log has no key"));
    InternalRecord {
        key: key.map_or(Ok(Part::Null), |_| unexpected()),
        value: value.map_or(Ok(Part::Null), |value| MetadataRecord::decode(value).map(Part::Metadata)),
    }
}

/// Reads a record of a control batch.
#[must_use]
pub fn decode_control<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> InternalRecord<'a> {
    match key.map(control::decode_key) {
        Some(Ok(key)) => {
            let value = value.map(|value| control::decode_value(&key, value).map(Part::Control));
            InternalRecord { value: value.unwrap_or(Ok(Part::Null)), key: Ok(Part::Control(key)) }
        }
        Some(Err(error)) => InternalRecord { key: Err(error), value: without_key(value) },
        None => InternalRecord { key: Ok(Part::Null), value: without_key(value) },
    }
}

/// The value of a record whose key does not say what it is.
fn without_key<'a>(value: Option<&[u8]>) -> Result<Part<'a>, FormatError> {
    value.map_or(Ok(Part::Null), |_| Err(FormatError::corrupt("its key does not say what it is")))
}
