//! `__consumer_offsets`: committed offsets, and what the group coordinator knows of consumer, share and streams groups.
//!
//! Layouts of Kafka 4.4, which read what every release since 0.8.2 wrote for classic groups. The early access releases of
//! consumer groups (3.5 to 3.8) and share groups (3.9, 4.0) had other fields under the same version: most of those records
//! are not decoded. Type 9 is that of 4.0. Source: `group-coordinator/…/common/message/*Key.json` and `*Value.json`.

use super::consumer_protocol;
use super::coordinator::RecordKind;
use super::schema::Kind::{Bytes, Int8, Int16, Int32, Int64, List, Struct, Text, Uint16, Uuid};
use super::schema::{Field, field};
use super::value::{self, Value};

const GROUP_METADATA_TYPE: i16 = 2;
/// The protocol type of groups whose members are consumers.
const CONSUMER_PROTOCOL: &str = "consumer";

/// Decodes the consumer protocol inside the value of a classic group, as Kafka's tools do: `subscription` and `assignment`
/// of each member become structs. What does not parse is kept as bytes.
pub(super) fn decode_embedded(key_type: i16, value: &mut value::Struct<'_>) {
    if key_type != GROUP_METADATA_TYPE || value.text("protocolType") != Some(CONSUMER_PROTOCOL) {
        return;
    }
    let Some(Value::List(members)) = value.field_mut("members") else { return };
    for member in members {
        let Value::Struct(member) = member else { continue };
        for (name, schema) in consumer_protocol::FIELDS {
            let Some(field) = member.field_mut(name) else { continue };
            let Value::Bytes(bytes) = *field else { continue };
            if let Ok((_, decoded)) = schema.decode_versioned(bytes) {
                *field = Value::Struct(decoded);
            }
        }
    }
}

/// The kinds of records, by the type in their key.
pub(super) static KINDS: [RecordKind; 23] = [
    RecordKind::new(0, OFFSET_COMMIT_KEY, 4, 4, OFFSET_COMMIT),
    RecordKind::new(1, OFFSET_COMMIT_KEY, 4, 4, OFFSET_COMMIT),
    RecordKind::new(2, GROUP_METADATA_KEY, 4, 4, GROUP_METADATA),
    RecordKind::new(3, GROUP_KEY, 0, 0, CONSUMER_GROUP_METADATA),
    RecordKind::new(4, GROUP_KEY, 0, 0, CONSUMER_GROUP_PARTITION_METADATA),
    RecordKind::new(5, MEMBER_KEY, 0, 0, CONSUMER_GROUP_MEMBER_METADATA),
    RecordKind::new(6, GROUP_KEY, 0, 0, CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA),
    RecordKind::new(7, MEMBER_KEY, 0, 0, CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER),
    RecordKind::new(8, MEMBER_KEY, 0, 0, CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT),
    RecordKind::new(9, GROUP_KEY, 0, 0, CONSUMER_GROUP_PARTITION_METADATA),
    RecordKind::new(10, MEMBER_KEY, 0, 0, SHARE_GROUP_MEMBER_METADATA),
    RecordKind::new(11, GROUP_KEY, 0, 0, SHARE_GROUP_METADATA),
    RecordKind::new(12, GROUP_KEY, 0, 0, SHARE_GROUP_TARGET_ASSIGNMENT_METADATA),
    RecordKind::new(13, MEMBER_KEY, 0, 0, SHARE_GROUP_TARGET_ASSIGNMENT_MEMBER),
    RecordKind::new(14, MEMBER_KEY, 0, 0, SHARE_GROUP_CURRENT_MEMBER_ASSIGNMENT),
    RecordKind::new(15, GROUP_KEY, 0, 0, SHARE_GROUP_STATE_PARTITION_METADATA),
    RecordKind::new(16, REGULAR_EXPRESSION_KEY, 0, 0, CONSUMER_GROUP_REGULAR_EXPRESSION),
    RecordKind::new(17, GROUP_KEY, 0, 0, STREAMS_GROUP_METADATA),
    RecordKind::new(19, MEMBER_KEY, 0, 0, STREAMS_GROUP_MEMBER_METADATA),
    RecordKind::new(20, GROUP_KEY, 0, 0, STREAMS_GROUP_TARGET_ASSIGNMENT_METADATA),
    RecordKind::new(21, MEMBER_KEY, 0, 0, STREAMS_GROUP_TARGET_ASSIGNMENT_MEMBER),
    RecordKind::new(22, MEMBER_KEY, 0, 0, STREAMS_GROUP_CURRENT_MEMBER_ASSIGNMENT),
    RecordKind::new(23, GROUP_KEY, 0, 0, STREAMS_GROUP_TOPOLOGY),
];

const PARTITION_METADATA: &[Field] = &[field("partition", Int32), field("racks", List(&Text))];

const TOPIC_METADATA: &[Field] = &[
    field("topicId", Uuid),
    field("topicName", Text),
    field("numPartitions", Int32),
    field("partitionMetadata", List(&Struct(PARTITION_METADATA))),
];

const TOPIC_PARTITION: &[Field] = &[field("topicId", Uuid), field("partitions", List(&Int32))];

const MEMBER_METADATA: &[Field] = &[
    field("memberId", Text),
    field("groupInstanceId", Text).since(3).nullable(),
    field("clientId", Text),
    field("clientHost", Text),
    field("rebalanceTimeout", Int32).since(1),
    field("sessionTimeout", Int32),
    field("subscription", Bytes),
    field("assignment", Bytes),
];

const ENDPOINT: &[Field] = &[field("host", Text), field("port", Uint16)];

const KEY_VALUE: &[Field] = &[field("key", Text), field("value", Text)];

const TOPIC_PARTITIONS: &[Field] = &[
    field("topicId", Uuid),
    field("partitions", List(&Int32)),
    field("assignmentEpochs", List(&Int32)).nullable().tag(0),
];

const TOPIC_PARTITIONS_INFO: &[Field] =
    &[field("topicId", Uuid), field("topicName", Text), field("partitions", List(&Int32))];

const TOPIC_INFO: &[Field] = &[field("topicId", Uuid), field("topicName", Text)];

const TASK_IDS: &[Field] = &[
    field("subtopologyId", Text),
    field("partitions", List(&Int32)),
    field("assignmentEpochs", List(&Int32)).nullable().tag(0),
];

const STREAMS_TOPIC: &[Field] = &[
    field("name", Text),
    field("partitions", Int32),
    field("replicationFactor", Int16),
    field("topicConfigs", List(&Struct(KEY_VALUE))),
];

const COPARTITION_GROUP: &[Field] = &[
    field("sourceTopics", List(&Int16)),
    field("sourceTopicRegex", List(&Int16)),
    field("repartitionSourceTopics", List(&Int16)),
];

const SUBTOPOLOGY: &[Field] = &[
    field("subtopologyId", Text),
    field("sourceTopics", List(&Text)),
    field("sourceTopicRegex", List(&Text)),
    field("stateChangelogTopics", List(&Struct(STREAMS_TOPIC))),
    field("repartitionSinkTopics", List(&Text)),
    field("repartitionSourceTopics", List(&Struct(STREAMS_TOPIC))),
    field("copartitionGroups", List(&Struct(COPARTITION_GROUP))),
];

const CLASSIC_PROTOCOL: &[Field] = &[field("name", Text), field("metadata", Bytes)];

const CLASSIC_MEMBER_METADATA: &[Field] =
    &[field("sessionTimeoutMs", Int32), field("supportedProtocols", List(&Struct(CLASSIC_PROTOCOL)))];

const TARGET_TASK_IDS: &[Field] = &[field("subtopologyId", Text), field("partitions", List(&Int32))];

const OFFSET_COMMIT_KEY: &[Field] = &[field("group", Text), field("topic", Text), field("partition", Int32)];

const GROUP_METADATA_KEY: &[Field] = &[field("group", Text)];

const GROUP_KEY: &[Field] = &[field("groupId", Text)];

const MEMBER_KEY: &[Field] = &[field("groupId", Text), field("memberId", Text)];

const REGULAR_EXPRESSION_KEY: &[Field] = &[field("groupId", Text), field("regularExpression", Text)];

const OFFSET_COMMIT: &[Field] = &[
    field("offset", Int64),
    field("leaderEpoch", Int32).since(3),
    field("metadata", Text),
    field("commitTimestamp", Int64),
    field("expireTimestamp", Int64).since(1).until(1),
    field("topicId", Uuid).since(4).tag(0),
];

const GROUP_METADATA: &[Field] = &[
    field("protocolType", Text),
    field("generation", Int32),
    field("protocol", Text).nullable(),
    field("leader", Text).nullable(),
    field("currentStateTimestamp", Int64).since(2),
    field("members", List(&Struct(MEMBER_METADATA))),
];

const CONSUMER_GROUP_METADATA: &[Field] = &[field("epoch", Int32), field("metadataHash", Int64).tag(0)];

const CONSUMER_GROUP_PARTITION_METADATA: &[Field] = &[field("topics", List(&Struct(TOPIC_METADATA)))];

const CONSUMER_GROUP_MEMBER_METADATA: &[Field] = &[
    field("instanceId", Text).nullable(),
    field("rackId", Text).nullable(),
    field("clientId", Text),
    field("clientHost", Text),
    field("subscribedTopicNames", List(&Text)),
    field("subscribedTopicRegex", Text).nullable(),
    field("rebalanceTimeoutMs", Int32),
    field("serverAssignor", Text).nullable(),
    field("classicMemberMetadata", Struct(CLASSIC_MEMBER_METADATA)).nullable().tag(0),
];

const CONSUMER_GROUP_TARGET_ASSIGNMENT_METADATA: &[Field] =
    &[field("assignmentEpoch", Int32), field("assignmentTimestamp", Int64).tag(0)];

const CONSUMER_GROUP_TARGET_ASSIGNMENT_MEMBER: &[Field] = &[field("topicPartitions", List(&Struct(TOPIC_PARTITION)))];

const CONSUMER_GROUP_CURRENT_MEMBER_ASSIGNMENT: &[Field] = &[
    field("memberEpoch", Int32),
    field("previousMemberEpoch", Int32),
    field("state", Int8),
    field("assignedPartitions", List(&Struct(TOPIC_PARTITIONS))),
    field("partitionsPendingRevocation", List(&Struct(TOPIC_PARTITIONS))),
];

const SHARE_GROUP_MEMBER_METADATA: &[Field] = &[
    field("rackId", Text).nullable(),
    field("clientId", Text),
    field("clientHost", Text),
    field("subscribedTopicNames", List(&Text)),
];

const SHARE_GROUP_METADATA: &[Field] = &[field("epoch", Int32), field("metadataHash", Int64)];

const SHARE_GROUP_TARGET_ASSIGNMENT_METADATA: &[Field] =
    &[field("assignmentEpoch", Int32), field("assignmentTimestamp", Int64).tag(0)];

const SHARE_GROUP_TARGET_ASSIGNMENT_MEMBER: &[Field] = &[field("topicPartitions", List(&Struct(TOPIC_PARTITION)))];

const SHARE_GROUP_CURRENT_MEMBER_ASSIGNMENT: &[Field] = &[
    field("memberEpoch", Int32),
    field("previousMemberEpoch", Int32),
    field("state", Int8),
    field("assignedPartitions", List(&Struct(TOPIC_PARTITION))),
];

const SHARE_GROUP_STATE_PARTITION_METADATA: &[Field] = &[
    field("initializingTopics", List(&Struct(TOPIC_PARTITIONS_INFO))),
    field("initializedTopics", List(&Struct(TOPIC_PARTITIONS_INFO))),
    field("deletingTopics", List(&Struct(TOPIC_INFO))),
];

const CONSUMER_GROUP_REGULAR_EXPRESSION: &[Field] =
    &[field("topics", List(&Text)), field("version", Int64), field("timestamp", Int64)];

const STREAMS_GROUP_METADATA: &[Field] = &[
    field("epoch", Int32),
    field("metadataHash", Int64),
    field("validatedTopologyEpoch", Int32).tag(0),
    field("lastAssignmentConfigs", List(&Struct(KEY_VALUE))).nullable().tag(1),
    field("storedDescriptionTopologyEpoch", Int32).tag(2),
    field("failedDescriptionTopologyEpoch", Int32).tag(3),
];

const STREAMS_GROUP_MEMBER_METADATA: &[Field] = &[
    field("instanceId", Text).nullable(),
    field("rackId", Text).nullable(),
    field("clientId", Text),
    field("clientHost", Text),
    field("rebalanceTimeoutMs", Int32),
    field("topologyEpoch", Int32),
    field("processId", Text),
    field("userEndpoint", Struct(ENDPOINT)).nullable(),
    field("clientTags", List(&Struct(KEY_VALUE))),
];

const STREAMS_GROUP_TARGET_ASSIGNMENT_METADATA: &[Field] =
    &[field("assignmentEpoch", Int32), field("assignmentTimestamp", Int64).tag(0)];

const STREAMS_GROUP_TARGET_ASSIGNMENT_MEMBER: &[Field] = &[
    field("activeTasks", List(&Struct(TARGET_TASK_IDS))),
    field("standbyTasks", List(&Struct(TARGET_TASK_IDS))),
    field("warmupTasks", List(&Struct(TARGET_TASK_IDS))),
];

const STREAMS_GROUP_CURRENT_MEMBER_ASSIGNMENT: &[Field] = &[
    field("memberEpoch", Int32),
    field("previousMemberEpoch", Int32),
    field("state", Int8),
    field("activeTasks", List(&Struct(TASK_IDS))),
    field("standbyTasks", List(&Struct(TASK_IDS))),
    field("warmupTasks", List(&Struct(TASK_IDS))),
    field("activeTasksPendingRevocation", List(&Struct(TASK_IDS))),
    field("standbyTasksPendingRevocation", List(&Struct(TASK_IDS))),
    field("warmupTasksPendingRevocation", List(&Struct(TASK_IDS))),
];

const STREAMS_GROUP_TOPOLOGY: &[Field] = &[field("epoch", Int32), field("subtopologies", List(&Struct(SUBTOPOLOGY)))];
