//! The records of control batches: markers of transactions, and what Kafka's metadata log says of itself.
//!
//! The key is an i16 version, 0, and an i16 type, see [`txn`](crate::format::txn). The value begins with the i16 version of
//! its layout, which Kafka's tools print as a field. Source: `ControlRecordType.java`, `ControlRecordUtils.java`,
//! `EndTxnMarker.json`, `LeaderChangeMessage.json`, `SnapshotHeaderRecord.json`, `SnapshotFooterRecord.json`,
//! `KRaftVersionRecord.json`, `VotersRecord.json`.

use super::schema::Kind::{Int16, Int32, Int64, List, Struct, Text, Uint16, Uuid};
use super::schema::{Field, NEVER, Schema, field, split_i16};
use super::value;
use crate::format::FormatError;

const KEY: Schema = Schema { latest: 0, flexible: NEVER, fields: &[field("version", Int16), field("type", Int16)] };

/// Reads the key of a control record.
pub(super) fn decode_key(bytes: &[u8]) -> Result<value::Struct<'_>, FormatError> {
    KEY.decode(split_i16(bytes)?.0, bytes)
}

/// Reads the value of a control record with that key.
pub(super) fn decode_value<'a>(key: &value::Struct<'_>, bytes: &'a [u8]) -> Result<value::Struct<'a>, FormatError> {
    let control_type = key.int("type").unwrap_or(-1);
    let known = VALUES.iter().find(|(known, _)| *known == control_type);
    let unknown = || FormatError::Unsupported { what: format!("control type {control_type}") };
    let (_, schema) = known.ok_or_else(unknown)?;
    schema.decode(split_i16(bytes)?.0, bytes)
}

const fn flexible(latest: i16, fields: &'static [Field]) -> Schema {
    Schema { latest, flexible: 0, fields }
}

static VALUES: [(i64, Schema); 7] = [
    (0, END_TRANSACTION_MARKER),
    (1, END_TRANSACTION_MARKER),
    (2, flexible(1, LEADER_CHANGE)),
    (3, flexible(0, &[field("version", Int16), field("lastContainedLogTimestamp", Int64)])),
    (4, flexible(0, &[field("version", Int16)])),
    (5, flexible(0, &[field("version", Int16), field("kRaftVersion", Int16)])),
    (6, flexible(0, VOTERS)),
];

const END_TRANSACTION_MARKER: Schema =
    Schema { latest: 0, flexible: NEVER, fields: &[field("version", Int16), field("coordinatorEpoch", Int32)] };

const LEADER_CHANGE: &[Field] = &[
    field("version", Int16),
    field("leaderId", Int32),
    field("voters", List(&Struct(LEADER_VOTER))),
    field("grantingVoters", List(&Struct(LEADER_VOTER))),
];

const LEADER_VOTER: &[Field] = &[field("voterId", Int32), field("voterDirectoryId", Uuid).since(1)];

const VOTERS: &[Field] = &[field("version", Int16), field("voters", List(&Struct(VOTER)))];

const VOTER: &[Field] = &[
    field("voterId", Int32),
    field("voterDirectoryId", Uuid),
    field("endpoints", List(&Struct(ENDPOINT))),
    field("kRaftVersionFeature", Struct(FEATURE)),
];

const ENDPOINT: &[Field] = &[field("name", Text), field("host", Text), field("port", Uint16)];

const FEATURE: &[Field] = &[field("minSupportedVersion", Int16), field("maxSupportedVersion", Int16)];
