//! `__share_group_state`: how far the records of a partition are delivered to a share group.
//!
//! A snapshot (type 0), then updates (type 1). Of an offset, the largest delivery count counts, and of equal ones the largest
//! delivery state (0 available, 2 acknowledged, 4 archived). Layouts of Kafka 4.1 to 4.4; the early access of 4.0 had a
//! snapshot epoch of two bytes and is not decoded. Source: `share-coordinator/…/common/message/*.json`.

use super::coordinator::RecordKind;
use super::schema::Kind::{Int8, Int16, Int32, Int64, List, Struct, Text, Uuid};
use super::schema::{Field, field};

/// The kinds of records, by the type in their key.
pub(super) static KINDS: [RecordKind; 2] =
    [RecordKind::new(0, KEY, 0, 0, SHARE_SNAPSHOT), RecordKind::new(1, KEY, 0, 0, SHARE_UPDATE)];

const STATE_BATCH: &[Field] = &[
    field("firstOffset", Int64),
    field("lastOffset", Int64),
    field("deliveryState", Int8),
    field("deliveryCount", Int16),
];

const KEY: &[Field] = &[field("groupId", Text), field("topicId", Uuid), field("partition", Int32)];

const SHARE_SNAPSHOT: &[Field] = &[
    field("snapshotEpoch", Int32),
    field("stateEpoch", Int32),
    field("leaderEpoch", Int32),
    field("startOffset", Int64),
    field("deliveryCompleteCount", Int32).tag(0),
    field("createTimestamp", Int64),
    field("writeTimestamp", Int64),
    field("stateBatches", List(&Struct(STATE_BATCH))),
];

const SHARE_UPDATE: &[Field] = &[
    field("snapshotEpoch", Int32),
    field("leaderEpoch", Int32),
    field("startOffset", Int64),
    field("deliveryCompleteCount", Int32).tag(0),
    field("stateBatches", List(&Struct(STATE_BATCH))),
];
