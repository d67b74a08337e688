//! The records of share groups that kdir writes, as bytes: those of `__share_group_state`, and types 11 and 15 of
//! `__consumer_offsets`.
//!
//! Keys are not flexible, values are (see [`schema`](super::schema)). Source: `ShareSnapshotValue.json`, `ShareUpdateValue.json`,
//! `ShareGroupMetadataValue.json`, `ShareGroupStatePartitionMetadataValue.json`, and what a broker of 4.3 made of these bytes.

use super::value::Struct;
use crate::format::varint;
use crate::units::{Offset, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

const VERSION: i16 = 0;
const SNAPSHOT: i16 = 0;
const UPDATE: i16 = 1;
const DELIVERY_COMPLETE_COUNT_TAG: u32 = 0;
const NO_TAGS: u32 = 0;

/// How the delivery of an offset stands. What is out with a consumer is not written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// To be delivered.
    Available = 0,
    /// Processed.
    Acknowledged = 2,
    /// Given up.
    Archived = 4,
}

impl DeliveryState {
    /// The state with that number.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(Self::Available),
            2 => Some(Self::Acknowledged),
            4 => Some(Self::Archived),
            _ => None,
        }
    }

    /// Whether the record is never delivered again.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Archived)
    }
}

/// Offsets whose delivery stands the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateBatch {
    /// The first of them.
    pub first: Offset,
    /// The last of them.
    pub last: Offset,
    /// The state of each.
    pub state: DeliveryState,
    /// How often each was delivered.
    pub count: i16,
}

/// What the records of `__share_group_state` are of: the deliveries of a partition to a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareKey {
    /// The group's id.
    pub group: String,
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number.
    pub partition: i32,
}

impl ShareKey {
    /// The key of a snapshot. With a null value, a tombstone.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        self.encode(SNAPSHOT)
    }

    /// The key of an update.
    #[must_use]
    pub fn update(&self) -> Vec<u8> {
        self.encode(UPDATE)
    }

    fn encode(&self, key_type: i16) -> Vec<u8> {
        let mut key = group_key(key_type, &self.group);
        key.extend(self.topic_id.as_bytes());
        key.extend(self.partition.to_be_bytes());
        key
    }
}

/// All that is known of the deliveries of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareSnapshot<'a> {
    /// One more than that of the snapshot before.
    pub snapshot_epoch: i32,
    /// How often the state was initialized.
    pub state_epoch: i32,
    /// That of the partition.
    pub leader_epoch: i32,
    /// The first offset that may be to be delivered.
    pub start_offset: Offset,
    /// How many offsets from there on are never delivered again.
    pub delivery_complete_count: i32,
    /// When the first snapshot was written.
    pub created: Timestamp,
    /// When this one was written.
    pub written: Timestamp,
    /// By offset, from `start_offset` on; what is not among them was never delivered.
    pub batches: &'a [StateBatch],
}

impl ShareSnapshot<'_> {
    /// The value of a snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_be_bytes().to_vec();
        for number in [self.snapshot_epoch, self.state_epoch, self.leader_epoch] {
            value.extend(number.to_be_bytes());
        }
        for number in [self.start_offset.0, self.created.0, self.written.0] {
            value.extend(number.to_be_bytes());
        }
        put_batches(&mut value, self.batches);
        put_complete_count(&mut value, self.delivery_complete_count);
        value
    }
}

/// What has changed of the deliveries of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareUpdate<'a> {
    /// That of the snapshot that it follows.
    pub snapshot_epoch: i32,
    /// As in a snapshot.
    pub leader_epoch: i32,
    /// As in a snapshot.
    pub start_offset: Offset,
    /// As in a snapshot.
    pub delivery_complete_count: i32,
    /// What has changed, by offset.
    pub batches: &'a [StateBatch],
}

impl ShareUpdate<'_> {
    /// The value of an update.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_be_bytes().to_vec();
        value.extend(self.snapshot_epoch.to_be_bytes());
        value.extend(self.leader_epoch.to_be_bytes());
        value.extend(self.start_offset.0.to_be_bytes());
        put_batches(&mut value, self.batches);
        put_complete_count(&mut value, self.delivery_complete_count);
        value
    }
}

/// A record of a share group in `__consumer_offsets`, by its key.
#[derive(Debug, Clone, Copy)]
pub enum ShareGroupKey<'a> {
    /// What a member has said of itself.
    Member(&'a str),
    /// The group's epoch.
    Epoch,
    /// The epoch of what the members are to have.
    TargetEpoch,
    /// What a member is to have.
    TargetMember(&'a str),
    /// What a member has.
    CurrentAssignment(&'a str),
    /// Which partitions have a state.
    StatePartitions,
}

impl ShareGroupKey<'_> {
    /// The key of a group's record.
    #[must_use]
    pub fn encode(self, group: &str) -> Vec<u8> {
        let (key_type, member) = match self {
            Self::Member(member) => (10, Some(member)),
            Self::Epoch => (11, None),
            Self::TargetEpoch => (12, None),
            Self::TargetMember(member) => (13, Some(member)),
            Self::CurrentAssignment(member) => (14, Some(member)),
            Self::StatePartitions => (15, None),
        };
        let mut key = group_key(key_type, group);
        if let Some(member) = member {
            put_id(&mut key, member);
        }
        key
    }
}

/// The value of a group's epoch. A broker computes the hash anew when a member comes.
#[must_use]
pub fn share_group_epoch(epoch: i32) -> Vec<u8> {
    let mut value = VERSION.to_be_bytes().to_vec();
    value.extend(epoch.to_be_bytes());
    value.extend(0_i64.to_be_bytes());
    varint::write_u32(&mut value, NO_TAGS);
    value
}

/// The partitions of topics, by the topics' ids, with their names.
pub type TopicsOfGroup = BTreeMap<Uuid, (String, BTreeSet<i32>)>;

/// Which partitions of a share group have a state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePartitions {
    /// Those that are about to have one.
    pub initializing: TopicsOfGroup,
    /// Those that have one.
    pub initialized: TopicsOfGroup,
    /// Topics whose states are about to be deleted.
    pub deleting: BTreeMap<Uuid, String>,
}

impl StatePartitions {
    /// What the value of such a record says. Partitions below 0 are none.
    #[must_use]
    pub fn read(value: &Struct<'_>) -> Self {
        let topics = |list: &str| {
            let mut topics = TopicsOfGroup::new();
            for topic in value.structs(list) {
                let partitions = topic.ints("partitions").unwrap_or_default().into_iter();
                let partitions = partitions.filter_map(|number| i32::try_from(number).ok()).filter(|&it| it >= 0);
                let name = topic.text("topicName").unwrap_or_default().to_owned();
                topics.insert(topic.uuid("topicId").unwrap_or_default(), (name, partitions.collect()));
            }
            topics
        };
        let deleting = value.structs("deletingTopics").map(|topic| {
            (topic.uuid("topicId").unwrap_or_default(), topic.text("topicName").unwrap_or_default().to_owned())
        });
        Self {
            initializing: topics("initializingTopics"),
            initialized: topics("initializedTopics"),
            deleting: deleting.collect(),
        }
    }

    /// Whether there is anything of such a topic, by its id and its name.
    #[must_use]
    pub fn has(&self, is_meant: impl Fn(Uuid, &str) -> bool) -> bool {
        let mut topics = self.initializing.iter().chain(&self.initialized);
        topics.any(|(id, (name, _))| is_meant(*id, name)) || self.deleting.iter().any(|(id, name)| is_meant(*id, name))
    }

    /// The value of the record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_be_bytes().to_vec();
        for topics in [&self.initializing, &self.initialized] {
            put_count(&mut value, topics.len());
            for (id, (name, partitions)) in topics {
                value.extend(id.as_bytes());
                put_text(&mut value, name);
                put_count(&mut value, partitions.len());
                partitions.iter().for_each(|partition| value.extend(partition.to_be_bytes()));
                varint::write_u32(&mut value, NO_TAGS);
            }
        }
        put_count(&mut value, self.deleting.len());
        for (id, name) in &self.deleting {
            value.extend(id.as_bytes());
            put_text(&mut value, name);
            varint::write_u32(&mut value, NO_TAGS);
        }
        varint::write_u32(&mut value, NO_TAGS);
        value
    }
}

fn group_key(key_type: i16, group: &str) -> Vec<u8> {
    let mut key = key_type.to_be_bytes().to_vec();
    put_id(&mut key, group);
    key
}

/// Ids have at most as many bytes as the length field of a key can say.
fn put_id(key: &mut Vec<u8>, id: &str) {
    let length = i16::try_from(id.len()).expect("an id fits its length field");
    key.extend(length.to_be_bytes());
    key.extend(id.as_bytes());
}

fn put_batches(value: &mut Vec<u8>, batches: &[StateBatch]) {
    put_count(value, batches.len());
    for batch in batches {
        value.extend(batch.first.0.to_be_bytes());
        value.extend(batch.last.0.to_be_bytes());
        value.push(batch.state as u8);
        value.extend(batch.count.to_be_bytes());
        varint::write_u32(value, NO_TAGS);
    }
}

/// The tags of a value, with the one that has a meaning.
fn put_complete_count(value: &mut Vec<u8>, count: i32) {
    let bytes = count.to_be_bytes();
    for number in [1, DELIVERY_COMPLETE_COUNT_TAG, bytes.len() as u32] {
        varint::write_u32(value, number);
    }
    value.extend(bytes);
}

fn put_count(value: &mut Vec<u8>, count: usize) {
    varint::write_u32(value, u32::try_from(count + 1).expect("there are fewer than 2^32"));
}

fn put_text(value: &mut Vec<u8>, text: &str) {
    put_count(value, text.len());
    value.extend(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::internal::{InternalTopic, Part};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Source of the bytes: a broker of 4.3.1.
    #[test]
    fn records_are_what_a_broker_writes() {
        let topic_id = Uuid::parse_str("739b8f10-c4e3-47db-9931-f4fb08c2ad45").unwrap();
        let key = ShareKey { group: "q1-g".into(), topic_id, partition: 0 };
        assert_eq!(hex(&key.update()), "0001000471312d67739b8f10c4e347db9931f4fb08c2ad4500000000");
        assert_eq!(hex(&key.snapshot()), "0000000471312d67739b8f10c4e347db9931f4fb08c2ad4500000000");
        let batch = StateBatch { first: Offset(0), last: Offset(0), state: DeliveryState::Archived, count: 3 };
        let update = ShareUpdate {
            snapshot_epoch: 0,
            leader_epoch: 0,
            start_offset: Offset(0),
            delivery_complete_count: 1,
            batches: &[batch],
        };
        assert_eq!(
            hex(&update.encode()),
            "00000000000000000000000000000000000002000000000000000000000000000000000400030001000400000001"
        );
        let created = Timestamp(0x0000_01a2_1438_9cf2);
        let snapshot = ShareSnapshot {
            snapshot_epoch: 0,
            state_epoch: 2,
            leader_epoch: 0,
            start_offset: Offset(-1),
            delivery_complete_count: 0,
            created,
            written: created,
            batches: &[],
        };
        // A broker leaves a count of 0 out; written out, it reads the same.
        let begin = "0000000000000000000200000000ffffffffffffffff000001a214389cf2000001a214389cf201";
        assert_eq!(hex(&snapshot.encode()), format!("{begin}01000400000000"));
    }

    #[test]
    fn state_partitions_are_read_as_they_are_written() {
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let written = StatePartitions {
            initialized: [(one, ("jobs".to_owned(), [0, 2].into()))].into(),
            deleting: [(other, "old".to_owned())].into(),
            ..StatePartitions::default()
        };
        let (key, value) = (ShareGroupKey::StatePartitions.encode("g"), written.encode());
        let read = InternalTopic::ConsumerOffsets.decode(Some(&key), Some(&value));
        let Ok(Part::Value { version: 0, data }) = read.value else { panic!("{read:?}") };
        assert_eq!(StatePartitions::read(&data), written);
    }
}
