//! Writes what groups of consumers commit, and deletes it.
//!
//! A commit is one record for each partition, all of them in one batch: see [`CoordinatorWriter`].

use super::coordinator_writer::{CoordinatorRecord, CoordinatorWriter};
use super::group::{Committed, Group, GroupKind};
use super::share_group::forget_share_topics;
use super::{GroupError, GroupsTopic, Result};
use crate::format::internal::InternalTopic;
use crate::format::internal::group_records;
use crate::logdir::{LogDir, LogDirs};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// A group's place in `__consumer_offsets`, for what it commits.
pub struct Commits {
    writer: CoordinatorWriter,
}

impl Commits {
    /// Opens the place of a group. Makes the topic where there is none.
    ///
    /// # Errors
    /// When the group's place is not in this log dir, the id is that of another kind of group, or the disk fails.
    pub fn open(log_dir: &LogDir, group: &GroupId) -> Result<Self> {
        Ok(Self { writer: CoordinatorWriter::open(log_dir, group)? })
    }

    /// What the group has committed, by now.
    ///
    /// # Errors
    /// When the log cannot be read, or the id is that of another kind of group.
    pub fn group(&mut self) -> Result<Option<&Group>> {
        let id = self.writer.id().clone();
        let group = self.writer.group()?;
        group.map_or(Ok(()), |group| group.refuse_other_kind(&id))?;
        Ok(group)
    }

    /// Commits offsets, with the text that goes with each, and makes them durable.
    ///
    /// # Errors
    /// When the disk fails, or the id is that of another kind of group.
    pub fn commit(&mut self, offsets: &BTreeMap<TopicPartition, (Offset, String)>, now: Timestamp) -> Result<()> {
        let records = offset_records(self.writer.id(), offsets, now);
        self.append(now, |_, _| Ok(records))
    }

    /// The same, unless the group has committed something of that topic already, and not of an earlier one of its name:
    /// returns whether it had not.
    ///
    /// # Errors
    /// As [`Commits::commit`].
    pub fn commit_of_new_topic(
        &mut self,
        topic: &TopicName,
        topic_id: Uuid,
        offsets: &BTreeMap<TopicPartition, (Offset, String)>,
        now: Timestamp,
    ) -> Result<bool> {
        let (records, mut is_new) = (offset_records(self.writer.id(), offsets, now), false);
        self.append(now, |group, pending| {
            let is_of_it = |partition: &TopicPartition| partition.topic == *topic;
            let mut committed = group.iter().flat_map(|group| &group.committed);
            is_new = !committed.any(|(partition, it)| is_of_it(partition) && it.is_of(Some(topic_id)))
                && !pending.iter().any(is_of_it);
            Ok(if is_new { records } else { Vec::new() })
        })?;
        Ok(is_new)
    }

    /// Forgets what was committed in partitions, and what was sent for them in transactions that are open. Returns those in
    /// which something was committed.
    ///
    /// # Errors
    /// As [`Commits::commit`].
    pub fn forget(
        &mut self,
        is_meant: impl Fn(&TopicPartition) -> bool,
        now: Timestamp,
    ) -> Result<Vec<TopicPartition>> {
        let (id, mut forgotten) = (self.writer.id().clone(), Vec::new());
        self.append(now, |group, pending| {
            let Some(group) = group else { return Ok(Vec::new()) };
            forgotten = group.committed.keys().filter(|partition| is_meant(partition)).cloned().collect();
            let sent = pending.iter().filter(|sent| is_meant(sent) && !group.committed.contains_key(sent));
            let mut records = offset_tombstones(&id, forgotten.iter().chain(sent));
            // A transaction that is open makes the group again when it ends.
            let is_all = forgotten.len() == group.committed.len() && pending.is_empty();
            if is_all && group.kind() == GroupKind::Classic {
                records.push(classic_tombstone(&id));
            }
            Ok(records)
        })?;
        Ok(forgotten)
    }

    /// Deletes the group: what it has committed, and what is known of it. Returns the partitions in which it had committed
    /// something; `None` where there was no group.
    ///
    /// # Errors
    /// As [`Commits::commit`]; when a transaction with offsets of the group is open; and when it has committed something of
    /// another topic than these, which members are kept out of.
    pub fn delete(&mut self, excluded: &BTreeSet<TopicName>, now: Timestamp) -> Result<Option<Vec<TopicPartition>>> {
        let (id, mut deleted) = (self.writer.id().clone(), None);
        self.append(now, |group, pending| {
            let Some(group) = group else { return Ok(Vec::new()) };
            if !pending.is_empty() {
                return Err(GroupError::InTransaction { group: id.clone() });
            }
            if let Some(other) = group.committed.keys().find(|partition| !excluded.contains(&partition.topic)) {
                return Err(GroupError::ReadsAnother { group: id.clone(), topic: other.topic.clone() });
            }
            let partitions: Vec<TopicPartition> = group.committed.keys().cloned().collect();
            let mut records = offset_tombstones(&id, &partitions);
            match group.kind() {
                GroupKind::Classic => records.push(classic_tombstone(&id)),
                _ => records.extend(consumer_tombstones(&id, group)),
            }
            deleted = Some(partitions);
            Ok(records)
        })?;
        Ok(deleted)
    }

    /// As [`CoordinatorWriter::append`], of a group of consumers. Under the guard that holds until the records are there.
    fn append(
        &mut self,
        now: Timestamp,
        make: impl FnOnce(Option<&Group>, &BTreeSet<TopicPartition>) -> Result<Vec<CoordinatorRecord>>,
    ) -> Result<()> {
        let id = self.writer.id().clone();
        self.writer.append(now, |group, pending| {
            group.map_or(Ok(()), |group| group.refuse_other_kind(&id))?;
            make(group, pending)
        })
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// When the disk fails: the next who writes then checks more than it had to.
    pub fn close(mut self, now: Timestamp) -> Result<()> {
        self.end(now)
    }

    /// The same, for one who may yet commit more.
    ///
    /// # Errors
    /// As [`Commits::close`].
    pub fn end(&mut self, now: Timestamp) -> Result<()> {
        self.writer.end(now)
    }
}

/// What came of [`forget_topic`].
#[derive(Default)]
pub struct Forgotten {
    /// The groups that had committed something of the topic.
    pub groups: Vec<GroupId>,
    /// What kept others from being asked, or from forgetting.
    pub failed: Vec<GroupError>,
}

/// Forgets what every group has committed of a topic that is deleted, or done in it as a share group: of the one with that id,
/// as far as a commit says which it is of. To be called before it is deleted, so that who is killed between the two has groups
/// that begin the topic again, and never one that goes on in another of its name; and after it, since members have committed
/// until then.
///
/// # Errors
/// When the disk fails.
pub fn forget_topic(log_dir: &LogDir, topic: &TopicName, topic_id: Option<Uuid>, now: Timestamp) -> Result<Forgotten> {
    if topic.as_str() == InternalTopic::ConsumerOffsets.name() {
        return Ok(Forgotten::default());
    }
    let log_dirs = LogDirs::from(log_dir.clone());
    let found = GroupsTopic::find(&log_dirs)?.all()?;
    let mut forgotten = Forgotten { groups: Vec::new(), failed: found.failed };
    for (id, group) in found.groups {
        let is_of_it = |committed: &Committed| {
            let of = committed.of_topic();
            of.is_none() || topic_id.is_none() || of == topic_id
        };
        let of_it: BTreeSet<&TopicPartition> =
            group.committed.iter().filter(|(it, of)| it.topic == *topic && is_of_it(of)).map(|(it, _)| it).collect();
        let is_share_topic = |id: Uuid, name: &str| match topic_id {
            Some(topic_id) => id == topic_id,
            None => name == topic.as_str(),
        };
        let has_state = group.share.has(is_share_topic);
        if (of_it.is_empty() && !has_state) || group.kind() == GroupKind::Streams {
            continue;
        }
        let forget = || {
            if group.kind() == GroupKind::Share {
                return forget_share_topics(log_dir, &id, &is_share_topic, now).map(drop);
            }
            let mut commits = Commits::open(log_dir, &id)?;
            commits.forget(|partition| of_it.contains(partition), now)?;
            commits.close(now)
        };
        match forget() {
            Ok(()) => forgotten.groups.push(id.clone()),
            Err(error) => forgotten.failed.push(error),
        }
    }
    Ok(forgotten)
}

fn offset_records(
    group: &GroupId,
    offsets: &BTreeMap<TopicPartition, (Offset, String)>,
    now: Timestamp,
) -> Vec<CoordinatorRecord> {
    let record = |(partition, (offset, metadata)): (&TopicPartition, &(Offset, String))| CoordinatorRecord {
        key: group_records::offset_commit_key(group.as_str(), partition),
        value: Some(group_records::offset_commit_value(*offset, metadata, now)),
    };
    offsets.iter().map(record).collect()
}

fn offset_tombstones<'a>(
    group: &GroupId,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> Vec<CoordinatorRecord> {
    let key = |partition| group_records::offset_commit_key(group.as_str(), partition);
    partitions.into_iter().map(|partition| CoordinatorRecord { key: key(partition), value: None }).collect()
}

/// In the batch of the offsets, so that no compaction leaves one without the other: a broker takes an id without any of
/// this for that of a group of consumers for ever.
fn classic_tombstone(group: &GroupId) -> CoordinatorRecord {
    CoordinatorRecord { key: group_records::group_metadata_key(group.as_str()), value: None }
}

/// In the order of `ConsumerGroup.createGroupTombstoneRecords`. A tombstone of group metadata would be read as the end of the
/// group, and the others as records of one that is not there.
fn consumer_tombstones(group: &GroupId, known: &Group) -> Vec<CoordinatorRecord> {
    use group_records::ConsumerKey::{CurrentAssignment, Epoch, Member, PartitionMetadata, TargetEpoch, TargetMember};
    let members = || known.recorded_members.keys().map(String::as_str);
    let keys = members()
        .map(CurrentAssignment)
        .chain(members().map(TargetMember))
        .chain([TargetEpoch])
        .chain(members().map(Member))
        .chain(known.has_partition_metadata().then_some(PartitionMetadata))
        .chain([Epoch]);
    keys.map(|key| CoordinatorRecord { key: key.encode(group.as_str()), value: None }).collect()
}
