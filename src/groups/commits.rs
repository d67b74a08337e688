//! Writes what groups commit.
//!
//! A commit is one batch of one record for each partition: it has one checksum, and a group is in one partition of
//! `__consumer_offsets`, so that all of it counts or nothing does. It is appended under that partition's guard, with the log
//! replayed up to it; it is made durable without the guard, so that processes that commit at the same time share syncs.
//! States that a crash can leave: the commit before; or this one, which a power failure may take back until it was synced.

use super::coordinator_log::CoordinatorLog;
use super::group::{Committed, Group, GroupKind};
use super::{GroupError, GroupsTopic, Result};
use crate::format::batch::BatchBuilder;
use crate::format::internal::InternalTopic;
use crate::format::internal::group_records;
use crate::format::record::NewRecord;
use crate::logdir::config::TopicConfig;
use crate::logdir::{CompactOptions, Created, LogDir, LogDirs, NewTopic, Origin, Partition, Topic};
use crate::storage::clean::{ActiveSegment, Watch};
use crate::storage::{self, Durability, LogConfig, LogWriter, SyncFor};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// As many partitions as Kafka's own topic has.
const PARTITIONS: i32 = 50;
/// Kafka's are 100 MiB. With as little as its later releases allow, old commits are soon compacted.
const CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "1048576")];

/// For keys of a segment or two.
const COMPACTION_MEMORY: u64 = 1 << 20;

/// A group's place in `__consumer_offsets`, to be written to.
pub struct Commits {
    group: GroupId,
    partition: Partition,
    replayed: CoordinatorLog,
    writer: Option<LogWriter>,
    /// The configuration of the topic; `None` where a broker has the log dir.
    own_config: Option<LogConfig>,
}

/// A record to be written; without a value a tombstone.
struct GroupRecord {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Commits {
    /// Opens the place of a group. Makes the topic where there is none.
    ///
    /// # Errors
    /// When the group's place is not in this log dir, the id is that of another kind of group, or the disk fails.
    pub fn open(log_dir: &LogDir, group: &GroupId) -> Result<Self> {
        let (topic, partition) = place_of(log_dir, group)?;
        let own_config = log_dir.decides_on(&topic)?.then(|| topic.log_config());
        let replayed = CoordinatorLog::open(&partition)?;
        Ok(Self { group: group.clone(), partition, replayed, writer: None, own_config })
    }

    /// What the group has committed, by now.
    ///
    /// # Errors
    /// When the log cannot be read, or the id is that of another kind of group.
    pub fn group(&mut self) -> Result<Option<&Group>> {
        self.catch_up()?;
        self.refuse_other_kind()?;
        Ok(self.replayed.group(&self.group))
    }

    /// Commits offsets, with the text that goes with each, and makes them durable.
    ///
    /// # Errors
    /// When the disk fails, or the id is that of another kind of group.
    pub fn commit(&mut self, offsets: &BTreeMap<TopicPartition, (Offset, String)>, now: Timestamp) -> Result<()> {
        let group = self.group.clone();
        let records = offsets.iter().map(|(partition, (offset, metadata))| GroupRecord {
            key: group_records::offset_commit_key(group.as_str(), partition),
            value: Some(group_records::offset_commit_value(*offset, metadata, now)),
        });
        let records: Vec<GroupRecord> = records.collect();
        self.append(now, |_, _| Ok(records))
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
        let (id, mut forgotten) = (self.group.clone(), Vec::new());
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
        let (id, mut deleted) = (self.group.clone(), None);
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

    /// Appends the records that `make` gives, for what the group is under the guard and what it has in open transactions, and
    /// makes them durable.
    fn append(
        &mut self,
        now: Timestamp,
        make: impl FnOnce(Option<&Group>, &BTreeSet<TopicPartition>) -> Result<Vec<GroupRecord>>,
    ) -> Result<()> {
        let guard = self.partition.guard()?;
        self.catch_up()?;
        self.refuse_other_kind()?;
        let records = make(self.replayed.group(&self.group), &self.replayed.pending(&self.group))?;
        if records.is_empty() {
            return Ok(());
        }
        let mut builder = BatchBuilder::new(0);
        for record in &records {
            let (key, value) = (Some(&record.key[..]), record.value.as_deref());
            builder.push(&NewRecord { timestamp: now, key, value, headers: &[] });
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(LogWriter::open(&guard, Durability::Synced, now)?),
        };
        let batch = builder.finish(None, usize::MAX).expect("records that are not compressed fit a batch");
        let appended = writer.append(&guard, &mut [batch], now)?;
        drop(guard);
        storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        if appended.rolled { self.compact(now) } else { Ok(()) }
    }

    /// Compacts what is in closed segments, in a log dir of our own: a broker does it for itself. Who compacts already does it
    /// for all, and where there is no room for it, what was committed stands.
    fn compact(&self, now: Timestamp) -> Result<()> {
        let Some(config) = &self.own_config else { return Ok(()) };
        let options = CompactOptions {
            config: config.clone(),
            is_forced: true,
            active_segment: ActiveSegment::Stays,
            memory: COMPACTION_MEMORY,
            min_gain_percent: 0,
        };
        let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
        match self.partition.compact(&options, now, &mut Vec::new(), &mut watch).map_err(GroupError::from) {
            Err(error) if !error.is_full() => Err(error),
            _ => Ok(()),
        }
    }

    /// A log that had no folder yet is another one once it has.
    fn catch_up(&mut self) -> Result<()> {
        if self.replayed.has_folder() {
            return self.replayed.catch_up();
        }
        self.replayed = CoordinatorLog::open(&self.partition)?;
        Ok(())
    }

    /// Under the guard this holds until the guard is dropped.
    fn refuse_other_kind(&self) -> Result<()> {
        self.replayed.group(&self.group).map_or(Ok(()), |group| group.refuse_other_kind(&self.group))
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
        match self.writer.take() {
            Some(mut writer) => Ok(self.partition.close(&mut writer, now)?),
            None => Ok(()),
        }
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

/// Forgets what every group has committed of a topic that is deleted: of the one with that id, as far as a commit says which it
/// is of. To be called before it is deleted, so that who is killed between the two has groups that begin the topic again,
/// and never one that goes on in another of its name; and after it, since members have committed until then.
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
        if of_it.is_empty() || matches!(group.kind(), GroupKind::Share | GroupKind::Streams) {
            continue;
        }
        let forget = || {
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

fn offset_tombstones<'a>(
    group: &GroupId,
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
) -> Vec<GroupRecord> {
    let key = |partition| group_records::offset_commit_key(group.as_str(), partition);
    partitions.into_iter().map(|partition| GroupRecord { key: key(partition), value: None }).collect()
}

/// In the batch of the offsets, so that no compaction leaves one without the other: a broker takes an id without any of
/// this for that of a group of consumers for ever.
fn classic_tombstone(group: &GroupId) -> GroupRecord {
    GroupRecord { key: group_records::group_metadata_key(group.as_str()), value: None }
}

/// In the order of `ConsumerGroup.createGroupTombstoneRecords`. A tombstone of group metadata would be read as the end of the
/// group, and the others as records of one that is not there.
fn consumer_tombstones(group: &GroupId, known: &Group) -> Vec<GroupRecord> {
    use group_records::ConsumerKey::{CurrentAssignment, Epoch, Member, PartitionMetadata, TargetEpoch, TargetMember};
    let members = || known.recorded_members.keys().map(String::as_str);
    let keys = members()
        .map(CurrentAssignment)
        .chain(members().map(TargetMember))
        .chain([TargetEpoch])
        .chain(members().map(Member))
        .chain(known.has_partition_metadata().then_some(PartitionMetadata))
        .chain([Epoch]);
    keys.map(|key| GroupRecord { key: key.encode(group.as_str()), value: None }).collect()
}

/// The partition that a group is in.
fn place_of(log_dir: &LogDir, group: &GroupId) -> Result<(Topic, Partition)> {
    let name: TopicName = InternalTopic::ConsumerOffsets.name().parse().expect("the name of a topic");
    let topic = match log_dir.find_topic(&name)? {
        Some(topic) => topic,
        None => make_topic(log_dir, name)?,
    };
    // Of the topic of a broker, whose other partitions may be on other brokers, only the folders are known.
    if topic.origin == Origin::Broker {
        let partition = place_in_broker_topic(log_dir, &topic, group)?;
        return Ok((topic, partition));
    }
    let partition = log_dir.partition(&topic, group.partition_of(topic.partition_count()?))?;
    Ok((topic, partition))
}

fn place_in_broker_topic(log_dir: &LogDir, topic: &Topic, group: &GroupId) -> Result<Partition> {
    if let Ok(count) = topic.partition_count() {
        return Ok(log_dir.partition(topic, group.partition_of(count))?);
    }
    for partition in log_dir.partitions(topic)? {
        if CoordinatorLog::open(&partition)?.group(group).is_some() {
            return Ok(partition);
        }
    }
    Err(GroupError::Elsewhere { group: group.clone(), log_dir: log_dir.root().to_owned() })
}

fn make_topic(log_dir: &LogDir, name: TopicName) -> Result<Topic> {
    let mut config = TopicConfig::default();
    for (key, value) in CONFIG {
        config.set(key, value).expect("a configuration of our own is valid");
    }
    let new = NewTopic { name, partitions: PARTITIONS, config };
    match log_dir.declare_topic(&new)? {
        Created::New(topic) | Created::Existing(topic) => Ok(topic),
    }
}
