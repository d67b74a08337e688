//! `__cluster_metadata`: what a KRaft cluster is, as a log of changes, and its snapshots (`*.checkpoint`).
//!
//! A record has no key. Its value is a frame: unsigned varints of the frame's version (1), of the API key, which says the kind
//! of the record, and of the version, then the fields of that version, flexible in all kinds. Control batches are none of
//! this: see `control`. Source: `AbstractApiMessageSerde.java`, `metadata/…/common/metadata/*.json` up to
//! Kafka 4.4.

use super::schema::Kind::{Bool, Bytes, Float64, Int8, Int16, Int32, Int64, List, Struct, Text, Uint16, Uuid};
use super::schema::{Field, Schema, field};
use super::value;
use crate::format::{FormatError, varint};

const FRAME_VERSION: u32 = 1;

/// The kinds of records that a reader of topics needs. Between the begin and the end of a transaction, none of its records
/// counts yet; after an abort, none ever does.
pub mod api_key {
    /// A topic: `name`, `topicId`.
    pub const TOPIC: u32 = 2;
    /// A partition: `partitionId`, `topicId`, `replicas`, `isr`, `leader`, `leaderEpoch`.
    pub const PARTITION: u32 = 3;
    /// A setting: `resourceType` (2 a topic, 4 a broker), `resourceName`, `name`, `value`, where null unsets.
    pub const CONFIG: u32 = 4;
    /// What changed in a partition: the fields that are there.
    pub const PARTITION_CHANGE: u32 = 5;
    /// A topic is deleted, with its settings: `topicId`.
    pub const REMOVE_TOPIC: u32 = 9;
    /// A feature: `name`, `featureLevel`, where 0 removes.
    pub const FEATURE_LEVEL: u32 = 12;
    /// Producer ids that brokers may give out: `brokerId`, `brokerEpoch`, `nextProducerId`.
    pub const PRODUCER_IDS: u32 = 15;
    /// A transaction begins.
    pub const BEGIN_TRANSACTION: u32 = 23;
    /// What it holds counts.
    pub const END_TRANSACTION: u32 = 24;
    /// What it holds is void.
    pub const ABORT_TRANSACTION: u32 = 25;
}

/// A kind of records.
#[derive(Debug, PartialEq)]
pub struct MetadataKind {
    /// Its number, see [`api_key`].
    pub api_key: u32,
    /// Kafka's name for it.
    pub name: &'static str,
    schema: Schema,
}

/// A record.
#[derive(Debug, PartialEq)]
pub struct MetadataRecord<'a> {
    /// Of which kind.
    pub kind: &'static MetadataKind,
    /// The version of its layout.
    pub version: i16,
    /// What it says.
    pub data: value::Struct<'a>,
}

impl<'a> MetadataRecord<'a> {
    /// Reads the value of a record.
    ///
    /// # Errors
    /// When the frame, the kind or the version is not known, or the bytes are not as the table says.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let (api_key, mut at) = read_api_key(bytes)?;
        let version = varint::read_u32(bytes, &mut at)?;
        let kind = KINDS.iter().find(|kind| kind.api_key == api_key);
        let kind = kind.ok_or_else(|| FormatError::Unsupported { what: format!("API key {api_key}") })?;
        let version = i16::try_from(version).unwrap_or(i16::MAX);
        Ok(Self { kind, version, data: kind.schema.decode(version, &bytes[at..])? })
    }
}

/// The kind of a record, see [`api_key`], whether it is known or not.
///
/// # Errors
/// When the frame is not known, or cut short.
pub fn api_key_of(bytes: &[u8]) -> Result<u32, FormatError> {
    read_api_key(bytes).map(|(api_key, _)| api_key)
}

/// The API key, and where the version begins.
fn read_api_key(bytes: &[u8]) -> Result<(u32, usize), FormatError> {
    let mut at = 0;
    let frame_version = varint::read_u32(bytes, &mut at)?;
    if frame_version != FRAME_VERSION {
        return Err(FormatError::Unsupported { what: format!("frame version {frame_version}") });
    }
    Ok((varint::read_u32(bytes, &mut at)?, at))
}

const fn kind(api_key: u32, name: &'static str, latest: i16, fields: &'static [Field]) -> MetadataKind {
    MetadataKind { api_key, name, schema: Schema { latest, flexible: 0, fields } }
}

const ENTITY_DATA: &[Field] = &[field("entityType", Text), field("entityName", Text).nullable()];

const ENDPOINT: &[Field] =
    &[field("name", Text), field("host", Text), field("port", Uint16), field("securityProtocol", Int16)];

const FEATURE: &[Field] =
    &[field("name", Text), field("minSupportedVersion", Int16), field("maxSupportedVersion", Int16)];

const REGISTER_BROKER_RECORD: &[Field] = &[
    field("brokerId", Int32),
    field("isMigratingZkBroker", Bool).since(2),
    field("incarnationId", Uuid),
    field("brokerEpoch", Int64),
    field("endPoints", List(&Struct(ENDPOINT))),
    field("features", List(&Struct(FEATURE))),
    field("rack", Text).nullable(),
    field("fenced", Bool),
    field("inControlledShutdown", Bool).since(1),
    field("logDirs", List(&Uuid)).since(3).tag(0),
    field("cordonedLogDirs", List(&Uuid)).since(4).nullable().tag(1),
];

const UNREGISTER_BROKER_RECORD: &[Field] = &[field("brokerId", Int32), field("brokerEpoch", Int64)];

const TOPIC_RECORD: &[Field] = &[field("name", Text), field("topicId", Uuid)];

const PARTITION_RECORD: &[Field] = &[
    field("partitionId", Int32),
    field("topicId", Uuid),
    field("replicas", List(&Int32)),
    field("isr", List(&Int32)),
    field("removingReplicas", List(&Int32)),
    field("addingReplicas", List(&Int32)),
    field("leader", Int32),
    field("leaderRecoveryState", Int8).tag(0),
    field("leaderEpoch", Int32),
    field("partitionEpoch", Int32),
    field("directories", List(&Uuid)).since(1),
    field("eligibleLeaderReplicas", List(&Int32)).since(2).nullable().tag(1),
    field("lastKnownElr", List(&Int32)).since(2).nullable().tag(2),
];

const CONFIG_RECORD: &[Field] =
    &[field("resourceType", Int8), field("resourceName", Text), field("name", Text), field("value", Text).nullable()];

const PARTITION_CHANGE_RECORD: &[Field] = &[
    field("partitionId", Int32),
    field("topicId", Uuid),
    field("isr", List(&Int32)).nullable().tag(0),
    field("leader", Int32).tag(1),
    field("replicas", List(&Int32)).nullable().tag(2),
    field("removingReplicas", List(&Int32)).nullable().tag(3),
    field("addingReplicas", List(&Int32)).nullable().tag(4),
    field("leaderRecoveryState", Int8).tag(5),
    field("directories", List(&Uuid)).since(1).nullable().tag(8),
    field("eligibleLeaderReplicas", List(&Int32)).since(2).nullable().tag(6),
    field("lastKnownElr", List(&Int32)).since(2).nullable().tag(7),
];

const FENCE_BROKER_RECORD: &[Field] = &[field("id", Int32), field("epoch", Int64)];

const UNFENCE_BROKER_RECORD: &[Field] = &[field("id", Int32), field("epoch", Int64)];

const REMOVE_TOPIC_RECORD: &[Field] = &[field("topicId", Uuid)];

const DELEGATION_TOKEN_RECORD: &[Field] = &[
    field("owner", Text),
    field("requester", Text),
    field("renewers", List(&Text)),
    field("issueTimestamp", Int64),
    field("maxTimestamp", Int64),
    field("expirationTimestamp", Int64),
    field("tokenId", Text),
];

const USER_SCRAM_CREDENTIAL_RECORD: &[Field] = &[
    field("name", Text),
    field("mechanism", Int8),
    field("salt", Bytes),
    field("storedKey", Bytes),
    field("serverKey", Bytes),
    field("iterations", Int32),
];

const FEATURE_LEVEL_RECORD: &[Field] = &[field("name", Text), field("featureLevel", Int16)];

const CLIENT_QUOTA_RECORD: &[Field] =
    &[field("entity", List(&Struct(ENTITY_DATA))), field("key", Text), field("value", Float64), field("remove", Bool)];

const PRODUCER_IDS_RECORD: &[Field] =
    &[field("brokerId", Int32), field("brokerEpoch", Int64), field("nextProducerId", Int64)];

const BROKER_REGISTRATION_CHANGE_RECORD: &[Field] = &[
    field("brokerId", Int32),
    field("brokerEpoch", Int64),
    field("fenced", Int8).tag(0),
    field("inControlledShutdown", Int8).since(1).tag(1),
    field("logDirs", List(&Uuid)).since(2).tag(2),
    field("cordonedLogDirs", List(&Uuid)).since(3).nullable().tag(3),
];

const ACCESS_CONTROL_ENTRY_RECORD: &[Field] = &[
    field("id", Uuid),
    field("resourceType", Int8),
    field("resourceName", Text),
    field("patternType", Int8),
    field("principal", Text),
    field("host", Text),
    field("operation", Int8),
    field("permissionType", Int8),
];

const REMOVE_ACCESS_CONTROL_ENTRY_RECORD: &[Field] = &[field("id", Uuid)];

const NO_OP_RECORD: &[Field] = &[];

const ZK_MIGRATION_STATE_RECORD: &[Field] = &[field("zkMigrationState", Int8)];

const REMOVE_USER_SCRAM_CREDENTIAL_RECORD: &[Field] = &[field("name", Text), field("mechanism", Int8)];

const BEGIN_TRANSACTION_RECORD: &[Field] = &[field("name", Text).nullable().tag(0)];

const END_TRANSACTION_RECORD: &[Field] = &[];

const ABORT_TRANSACTION_RECORD: &[Field] = &[field("reason", Text).nullable().tag(0)];

const REMOVE_DELEGATION_TOKEN_RECORD: &[Field] = &[field("tokenId", Text)];

const REGISTER_CONTROLLER_RECORD: &[Field] = &[
    field("controllerId", Int32),
    field("incarnationId", Uuid),
    field("zkMigrationReady", Bool),
    field("endPoints", List(&Struct(ENDPOINT))),
    field("features", List(&Struct(FEATURE))),
];

const CLEAR_ELR_RECORD: &[Field] = &[field("topicName", Text)];

const UNREGISTER_CONTROLLER_RECORD: &[Field] = &[field("controllerId", Int32)];

static KINDS: [MetadataKind; 27] = [
    kind(0, "REGISTER_BROKER_RECORD", 4, REGISTER_BROKER_RECORD),
    kind(1, "UNREGISTER_BROKER_RECORD", 0, UNREGISTER_BROKER_RECORD),
    kind(api_key::TOPIC, "TOPIC_RECORD", 0, TOPIC_RECORD),
    kind(api_key::PARTITION, "PARTITION_RECORD", 2, PARTITION_RECORD),
    kind(api_key::CONFIG, "CONFIG_RECORD", 0, CONFIG_RECORD),
    kind(api_key::PARTITION_CHANGE, "PARTITION_CHANGE_RECORD", 2, PARTITION_CHANGE_RECORD),
    kind(7, "FENCE_BROKER_RECORD", 0, FENCE_BROKER_RECORD),
    kind(8, "UNFENCE_BROKER_RECORD", 0, UNFENCE_BROKER_RECORD),
    kind(api_key::REMOVE_TOPIC, "REMOVE_TOPIC_RECORD", 0, REMOVE_TOPIC_RECORD),
    kind(10, "DELEGATION_TOKEN_RECORD", 0, DELEGATION_TOKEN_RECORD),
    kind(11, "USER_SCRAM_CREDENTIAL_RECORD", 0, USER_SCRAM_CREDENTIAL_RECORD),
    kind(api_key::FEATURE_LEVEL, "FEATURE_LEVEL_RECORD", 0, FEATURE_LEVEL_RECORD),
    kind(14, "CLIENT_QUOTA_RECORD", 0, CLIENT_QUOTA_RECORD),
    kind(api_key::PRODUCER_IDS, "PRODUCER_IDS_RECORD", 0, PRODUCER_IDS_RECORD),
    kind(17, "BROKER_REGISTRATION_CHANGE_RECORD", 3, BROKER_REGISTRATION_CHANGE_RECORD),
    kind(18, "ACCESS_CONTROL_ENTRY_RECORD", 0, ACCESS_CONTROL_ENTRY_RECORD),
    kind(19, "REMOVE_ACCESS_CONTROL_ENTRY_RECORD", 0, REMOVE_ACCESS_CONTROL_ENTRY_RECORD),
    kind(20, "NO_OP_RECORD", 0, NO_OP_RECORD),
    kind(21, "ZK_MIGRATION_STATE_RECORD", 0, ZK_MIGRATION_STATE_RECORD),
    kind(22, "REMOVE_USER_SCRAM_CREDENTIAL_RECORD", 0, REMOVE_USER_SCRAM_CREDENTIAL_RECORD),
    kind(api_key::BEGIN_TRANSACTION, "BEGIN_TRANSACTION_RECORD", 0, BEGIN_TRANSACTION_RECORD),
    kind(api_key::END_TRANSACTION, "END_TRANSACTION_RECORD", 0, END_TRANSACTION_RECORD),
    kind(api_key::ABORT_TRANSACTION, "ABORT_TRANSACTION_RECORD", 0, ABORT_TRANSACTION_RECORD),
    kind(26, "REMOVE_DELEGATION_TOKEN_RECORD", 0, REMOVE_DELEGATION_TOKEN_RECORD),
    kind(27, "REGISTER_CONTROLLER_RECORD", 0, REGISTER_CONTROLLER_RECORD),
    kind(28, "CLEAR_ELR_RECORD", 0, CLEAR_ELR_RECORD),
    kind(29, "UNREGISTER_CONTROLLER_RECORD", 0, UNREGISTER_CONTROLLER_RECORD),
];

#[cfg(test)]
mod tests {
    use super::*;
    use ::uuid::Uuid;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    const TOPIC_ID: Uuid = Uuid::from_u128(0x1011_1213_1415_1617_1819_1a1b_1c1d_1e1f);
    const DIRECTORY: Uuid = Uuid::from_u128(0x2021_2223_2425_2627_2829_2a2b_2c2d_2e2f);

    #[test]
    fn reads_the_records_that_kafka_starts_on() {
        let feature = bytes("010c00116d657461646174612e76657273696f6e001500");
        let feature = MetadataRecord::decode(&feature).unwrap();
        assert_eq!((feature.kind.name, feature.version), ("FEATURE_LEVEL_RECORD", 0));
        assert_eq!((feature.data.text("name"), feature.data.int("featureLevel")), (Some("metadata.version"), Some(21)));

        let topic = bytes("0102000274101112131415161718191a1b1c1d1e1f00");
        let topic = MetadataRecord::decode(&topic).unwrap();
        assert_eq!(topic.kind.api_key, api_key::TOPIC);
        assert_eq!((topic.data.text("name"), topic.data.uuid("topicId")), (Some("t"), Some(TOPIC_ID)));

        let config = bytes("0104000202740d726574656e74696f6e2e6d73032d3100");
        let config = MetadataRecord::decode(&config).unwrap().data;
        assert_eq!((config.int("resourceType"), config.text("resourceName")), (Some(2), Some("t")));
        assert_eq!((config.text("name"), config.text("value")), (Some("retention.ms"), Some("-1")));

        let ids = bytes("010f0000000001ffffffffffffffff00000000000f424000");
        let ids = MetadataRecord::decode(&ids).unwrap().data;
        let numbers = ["brokerId", "brokerEpoch", "nextProducerId"].map(|name| ids.int(name));
        assert_eq!(numbers, [Some(1), Some(-1), Some(1_000_000)]);
    }

    #[test]
    fn a_partition_has_the_fields_of_its_version() {
        let start = "00000000101112131415161718191a1b1c1d1e1f02000000010200000001010100000001\
                     0000000000000000";
        let oldest = bytes(&format!("010300{start}00"));
        let newest = bytes(&format!("010302{start}02202122232425262728292a2b2c2d2e2f00"));
        let (oldest, newest) = (MetadataRecord::decode(&oldest).unwrap(), MetadataRecord::decode(&newest).unwrap());
        for partition in [&oldest.data, &newest.data] {
            assert_eq!((partition.int("partitionId"), partition.uuid("topicId")), (Some(0), Some(TOPIC_ID)));
            assert_eq!((partition.ints("replicas"), partition.ints("addingReplicas")), (Some(vec![1]), Some(vec![])));
            assert_eq!((partition.int("leader"), partition.int("leaderRecoveryState")), (Some(1), None));
        }
        assert_eq!((oldest.version, oldest.data.list("directories")), (0, None));
        assert_eq!(newest.data.list("directories"), Some(&[value::Value::Uuid(DIRECTORY)][..]));
    }

    #[test]
    fn a_change_of_a_partition_has_what_changed() {
        // Replicas 1 and 2, leader 2, a tag that no release has, and null for those being added.
        let tags = "0402090300000001000000020104000000020401001402abcd";
        let change = bytes(&format!("010500{:08x}101112131415161718191a1b1c1d1e1f{tags}", 7));
        let change = MetadataRecord::decode(&change).unwrap().data;
        assert_eq!((change.int("partitionId"), change.int("leader")), (Some(7), Some(2)));
        assert_eq!((change.ints("replicas"), change.ints("isr")), (Some(vec![1, 2]), None));
        assert_eq!(change.field("addingReplicas"), Some(&value::Value::Null));
        let names: Vec<&str> = change.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["partitionId", "topicId", "leader", "replicas", "addingReplicas"]);
    }

    #[test]
    fn says_what_it_does_not_know() {
        for (hex, expected) in [
            ("", "a varint is cut short"),
            ("02", "frame version 2 is not supported"),
            ("010600", "API key 6 is not supported"),
            ("010201", "version 1 is not supported"),
            ("0102000274", "the bytes are cut short"),
            ("01020000", "name is null"),
            ("01020002ff", "a text is not UTF-8"),
            ("0114000000", "1 bytes follow the last field"),
            ("01140001ff0109aa", "the bytes are cut short"),
        ] {
            let error = MetadataRecord::decode(&bytes(hex)).unwrap_err();
            assert_eq!(error.to_string(), expected, "{hex}");
        }
    }

    #[test]
    fn a_count_is_not_trusted() {
        let error = MetadataRecord::decode(&bytes("010a0002610261ffffffff0f")).unwrap_err();
        assert_eq!(error.to_string(), "a list announces 4294967294 elements and there are fewer bytes");
    }

    #[test]
    fn kinds_are_in_order_and_each_is_there_once() {
        assert!(KINDS.is_sorted_by(|one, next| one.api_key < next.api_key));
    }
}
