//! What the records of `__consumer_offsets` say of one group.
//!
//! Of a group that a broker coordinates these are its members as they were last written down, who may be gone. Source:
//! `GroupMetadataManager.replay`, `OffsetMetadataManager.replay`, `ConsumerGroup`, `ShareGroup`.

use super::{GroupError, Result};
use crate::format::internal::share_records::StatePartitions;
use crate::format::internal::value::{Struct, Value};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use uuid::Uuid;

/// Types of records.
mod record {
    pub(super) const LEGACY_OFFSET_COMMIT: i16 = 0;
    pub(super) const OFFSET_COMMIT: i16 = 1;
    pub(super) const GROUP_METADATA: i16 = 2;
    pub(super) const CONSUMER_METADATA: i16 = 3;
    pub(super) const CONSUMER_PARTITIONS: i16 = 4;
    pub(super) const CONSUMER_MEMBER: i16 = 5;
    pub(super) const CONSUMER_TARGET: i16 = 6;
    pub(super) const CONSUMER_CURRENT: i16 = 8;
    pub(super) const SHARE_MEMBER: i16 = 10;
    pub(super) const SHARE_METADATA: i16 = 11;
    pub(super) const SHARE_TARGET: i16 = 12;
    pub(super) const SHARE_CURRENT: i16 = 14;
    pub(super) const SHARE_STATE: i16 = 15;
    pub(super) const STREAMS_METADATA: i16 = 17;
    pub(super) const STREAMS_MEMBER: i16 = 19;
    pub(super) const STREAMS_TARGET: i16 = 20;
    pub(super) const STREAMS_CURRENT: i16 = 22;
    pub(super) const STREAMS_TOPOLOGY: i16 = 23;
}

/// A member whose state is this has what it was given.
const MEMBER_STABLE: i64 = 0;

/// Which protocol a group's members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKind {
    /// That of JoinGroup and SyncGroup, and groups of which nothing but offsets was written.
    Classic,
    /// KIP-848.
    Consumer,
    /// KIP-932.
    Share,
    /// KIP-1071.
    Streams,
}

impl GroupKind {
    /// As Kafka's tools print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classic => "Classic",
            Self::Consumer => "Consumer",
            Self::Share => "Share",
            Self::Streams => "Streams",
        }
    }
}

/// What a group is doing, by what was written last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// It has no members.
    Empty,
    /// Partitions are about to be given out.
    Assigning,
    /// Members are not all at what they were given.
    Reconciling,
    /// Members have what they were given.
    Stable,
}

impl GroupState {
    /// As Kafka's tools print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// How far a group has come in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset that it reads.
    pub offset: Offset,
    /// The leader epoch of the record before, where the client has said it.
    pub leader_epoch: Option<i32>,
    /// Text of the client's own.
    pub metadata: String,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// The topic that the offset is of, where that was written down.
    pub topic_id: Option<Uuid>,
    /// Where in the coordinator's log the record is.
    pub record_offset: Offset,
}

/// What stands before a topic id in the text of a commit of ours: values of version 3 have no field for it.
const OF_TOPIC: &str = "kdir:";

impl Committed {
    /// The id of the topic that it is of, where the commit says that.
    #[must_use]
    pub fn of_topic(&self) -> Option<Uuid> {
        Self::topic_id_in(&self.metadata).or(self.topic_id)
    }

    /// The topic id that the text of a commit of kdir's names; `None` in any other text.
    #[must_use]
    pub fn topic_id_in(metadata: &str) -> Option<Uuid> {
        metadata.strip_prefix(OF_TOPIC).and_then(|id| topic_id_from_text(id).ok())
    }

    /// Whether it is of the topic with that id, as far as both are known, and not of an earlier one of its name.
    #[must_use]
    pub fn is_of(&self, topic_id: Option<Uuid>) -> bool {
        self.of_topic().is_none_or(|of| topic_id.is_none_or(|id| id == of))
    }
}

/// The text of a commit that says of which topic it is.
#[must_use]
pub fn metadata_of(topic_id: Option<Uuid>) -> String {
    topic_id.map_or(String::new(), |id| format!("{OF_TOPIC}{}", topic_id_to_text(id)))
}

/// A member as it was written down last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecordedMember {
    /// The name of its own that the client has chosen.
    pub client_id: String,
    /// Its address, as the broker has seen it.
    pub host: String,
    /// The id of a static member.
    pub instance_id: Option<String>,
    /// The partitions that it has.
    pub assignment: Vec<Assigned>,
    epoch: i64,
    state: i64,
}

/// Partitions of a topic, which is told by name or by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assigned {
    /// Its name, where the record has that.
    pub topic: Option<String>,
    /// Its id, where the record has that.
    pub topic_id: Option<Uuid>,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// A group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Group {
    /// How far it has come.
    pub committed: BTreeMap<TopicPartition, Committed>,
    /// Members by their ids.
    pub recorded_members: BTreeMap<String, RecordedMember>,
    /// What an assignor has called itself; of a classic group.
    pub protocol: Option<String>,
    /// Which partitions of a share group have a state.
    pub share: StatePartitions,
    /// The kinds of records that are there and are not tombstones, but for offsets and members.
    kinds: BTreeSet<i16>,
    epoch: i64,
    target_epoch: i64,
}

impl Group {
    /// Whether nothing is left of it.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.committed.is_empty() && self.kinds.is_empty() && self.recorded_members.is_empty()
    }

    /// The topics that it has committed something of, or has a state of as a share group.
    #[must_use]
    pub fn topics(&self) -> BTreeSet<TopicName> {
        let committed = self.committed.keys().map(|partition| partition.topic.clone());
        let shared = self.share.initialized.values().filter_map(|(name, _)| name.parse().ok());
        committed.chain(shared).collect()
    }

    /// Of a share group: the id that it knows a topic by, and the partitions of it that have a state. None of an earlier topic
    /// of the name.
    #[must_use]
    pub fn share_topic(&self, topic: &TopicName, topic_id: Option<Uuid>) -> Option<(Uuid, &BTreeSet<i32>)> {
        let is_it = |(id, (name, _)): &(&Uuid, &(String, BTreeSet<i32>))| match topic_id {
            Some(topic_id) => **id == topic_id,
            None => name == topic.as_str(),
        };
        let found = self.share.initialized.iter().find(is_it);
        found.map(|(id, (_, partitions))| (*id, partitions))
    }

    /// Refuses one that is no group of consumers.
    ///
    /// # Errors
    /// That it is of another kind; `id` is its id.
    pub fn refuse_other_kind(&self, id: &GroupId) -> Result<()> {
        match self.kind() {
            GroupKind::Classic | GroupKind::Consumer => Ok(()),
            kind @ (GroupKind::Share | GroupKind::Streams) => Err(GroupError::OtherKind { group: id.clone(), kind }),
        }
    }

    /// Which protocol its members speak.
    #[must_use]
    pub fn kind(&self) -> GroupKind {
        let has = |kinds: &[i16]| kinds.iter().any(|kind| self.kinds.contains(kind));
        if has(&[record::SHARE_METADATA, record::SHARE_STATE]) {
            GroupKind::Share
        } else if has(&[record::CONSUMER_METADATA]) {
            GroupKind::Consumer
        } else if has(&[record::STREAMS_METADATA, record::STREAMS_TOPOLOGY]) {
            GroupKind::Streams
        } else {
            GroupKind::Classic
        }
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> GroupState {
        let is_there = |member: &RecordedMember| member.state == MEMBER_STABLE && member.epoch == self.target_epoch;
        match self.kind() {
            _ if self.recorded_members.is_empty() => GroupState::Empty,
            GroupKind::Classic | GroupKind::Share => GroupState::Stable,
            GroupKind::Consumer | GroupKind::Streams if self.epoch > self.target_epoch => GroupState::Assigning,
            GroupKind::Consumer | GroupKind::Streams if !self.recorded_members.values().all(is_there) => {
                GroupState::Reconciling
            }
            GroupKind::Consumer | GroupKind::Streams => GroupState::Stable,
        }
    }

    /// How many of some offsets of a partition it is still to read; none of a topic that it has committed nothing of.
    #[must_use]
    pub fn unread_in(&self, partition: &TopicPartition, offsets: &Range<Offset>) -> u64 {
        if !self.committed.keys().any(|committed| committed.topic == partition.topic) {
            return 0;
        }
        let next = self.committed.get(partition).map_or(offsets.start, |committed| committed.offset);
        u64::try_from(offsets.end - next.max(offsets.start)).unwrap_or(0)
    }

    /// Whether it was written down which partitions the topics have that it reads.
    #[must_use]
    pub fn has_partition_metadata(&self) -> bool {
        self.kinds.contains(&record::CONSUMER_PARTITIONS)
    }

    /// Takes over a record that is not of an offset; `None` is a tombstone.
    pub(super) fn apply(&mut self, key_type: i16, key: &Struct<'_>, value: Option<&Struct<'_>>) {
        match key_type {
            record::GROUP_METADATA => self.apply_classic(value),
            record::CONSUMER_MEMBER | record::SHARE_MEMBER | record::STREAMS_MEMBER => {
                let Some(id) = key.text("memberId") else { return };
                match value {
                    Some(value) => self.recorded_members.entry(id.to_owned()).or_default().describe(value),
                    None => drop(self.recorded_members.remove(id)),
                }
            }
            record::CONSUMER_CURRENT | record::SHARE_CURRENT | record::STREAMS_CURRENT => {
                let member = key.text("memberId").and_then(|id| self.recorded_members.get_mut(id));
                if let Some(member) = member {
                    member.assign(value);
                }
            }
            record::CONSUMER_METADATA | record::SHARE_METADATA | record::STREAMS_METADATA => {
                self.epoch = value.and_then(|value| value.int("epoch")).unwrap_or_default();
                self.note(key_type, value.is_some());
            }
            record::CONSUMER_TARGET | record::SHARE_TARGET | record::STREAMS_TARGET => {
                self.target_epoch = value.and_then(|value| value.int("assignmentEpoch")).unwrap_or_default();
            }
            record::SHARE_STATE => {
                self.share = value.map(StatePartitions::read).unwrap_or_default();
                self.note(key_type, value.is_some());
            }
            record::CONSUMER_PARTITIONS | record::STREAMS_TOPOLOGY => {
                self.note(key_type, value.is_some());
            }
            _ => {}
        }
    }

    fn note(&mut self, key_type: i16, is_there: bool) {
        if is_there {
            self.kinds.insert(key_type);
        } else {
            self.kinds.remove(&key_type);
        }
    }

    fn apply_classic(&mut self, value: Option<&Struct<'_>>) {
        self.note(record::GROUP_METADATA, value.is_some());
        self.recorded_members.clear();
        self.protocol = value.and_then(|value| value.text("protocol")).map(str::to_owned);
        for member in structs(value, "members") {
            let mut recorded = RecordedMember::default();
            recorded.describe(member);
            let assignment = match member.field("assignment") {
                Some(Value::Struct(assignment)) => Some(assignment),
                _ => None,
            };
            recorded.assignment = structs(assignment, "assignedPartitions").map(assigned).collect();
            self.recorded_members.insert(member.text("memberId").unwrap_or_default().to_owned(), recorded);
        }
    }
}

impl RecordedMember {
    fn describe(&mut self, value: &Struct<'_>) {
        let text = |name: &str| value.text(name).unwrap_or_default().to_owned();
        (self.client_id, self.host) = (text("clientId"), text("clientHost"));
        let instance_id = value.text("groupInstanceId").or_else(|| value.text("instanceId"));
        self.instance_id = instance_id.map(str::to_owned);
    }

    fn assign(&mut self, value: Option<&Struct<'_>>) {
        let int = |name: &str| value.and_then(|value| value.int(name)).unwrap_or_default();
        (self.epoch, self.state) = (int("memberEpoch"), int("state"));
        self.assignment = structs(value, "assignedPartitions").map(assigned).collect();
    }
}

fn assigned(topic: &Struct<'_>) -> Assigned {
    let partitions = topic.ints("partitions").unwrap_or_default();
    Assigned {
        topic: topic.text("topic").map(str::to_owned),
        topic_id: topic.uuid("topicId"),
        partitions: partitions.into_iter().filter_map(|number| i32::try_from(number).ok()).collect(),
    }
}

/// The structs in a list; none where it is not there.
fn structs<'a, 'b>(value: Option<&'b Struct<'a>>, name: &str) -> impl Iterator<Item = &'b Struct<'a>> {
    let values = value.and_then(|value| value.list(name)).unwrap_or_default();
    values.iter().filter_map(|value| if let Value::Struct(data) = value { Some(data) } else { None })
}

/// What a record of an offset says; `None` for other types.
pub(super) fn offset_of(key_type: i16, key: &Struct<'_>) -> Option<Result<TopicPartition, String>> {
    if key_type != record::OFFSET_COMMIT && key_type != record::LEGACY_OFFSET_COMMIT {
        return None;
    }
    let topic = key.text("topic").unwrap_or_default();
    let partition = key.int("partition").and_then(|number| i32::try_from(number).ok()).unwrap_or(-1);
    Some(match topic.parse() {
        Ok(topic) if partition >= 0 => Ok(TopicPartition { topic, partition }),
        Ok(_) => Err(format!("partition {partition} of {topic}")),
        Err(error) => Err(format!("topic {topic:?}: {error}")),
    })
}

/// The offset that a value says.
pub(super) fn committed_of(value: &Struct<'_>, record_offset: Offset) -> Committed {
    let int = |name: &str| value.int(name);
    Committed {
        offset: Offset(int("offset").unwrap_or_default()),
        leader_epoch: int("leaderEpoch").and_then(|epoch| i32::try_from(epoch).ok()).filter(|&epoch| epoch >= 0),
        metadata: value.text("metadata").unwrap_or_default().to_owned(),
        timestamp: Timestamp(int("commitTimestamp").unwrap_or(-1)),
        topic_id: value.uuid("topicId").filter(|id| !id.is_nil()),
        record_offset,
    }
}
