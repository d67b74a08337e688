//! A share group's states: where they are, how the first of them are made, and how they are forgotten.
//!
//! A broker takes a group for one of this kind, and its states for made, by one record of `__consumer_offsets` that lists the
//! partitions that have a state. Were it to come without the states, or were these there and the record not, the broker would
//! begin at the end of each partition. So the states are durable first; who dies between the two leaves states that the next
//! worker finds, and makes no others. The record always lists what it listed before as well.

use super::coordinator_writer::{CoordinatorRecord, CoordinatorWriter, find_or_make};
use super::group::{Group, GroupKind};
use super::lock_file::LockFile;
use super::share_log::ShareLog;
use super::share_state::ShareState;
use super::{GroupError, Result};
use crate::format::internal::InternalTopic;
use crate::format::internal::share_records::{ShareGroupKey, ShareKey, share_group_epoch};
use crate::logdir::{LogDir, LogDirError, LogDirs, Partition, Topic};
use crate::units::{GroupId, Offset, Timestamp, TopicName};
use std::collections::BTreeMap;
use uuid::Uuid;

/// As Kafka's, whose share coordinator makes the log short by itself.
const CONFIG: [(&str, &str); 4] = [
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
    ("retention.ms", "-1"),
    ("segment.bytes", "104857600"),
];
const FIRST_EPOCH: i32 = 1;

/// The states of share groups, each partition of the topic opened when it is asked for.
pub struct ShareStateTopic {
    log_dirs: LogDirs,
    topic: Topic,
    partitions: i32,
    /// Whose logs are written and made short here; `None` for who only reads.
    own: Option<LogDir>,
    logs: BTreeMap<i32, ShareLog>,
}

impl ShareStateTopic {
    /// The topic in a log dir, made where there is none.
    ///
    /// # Errors
    /// When some of its partitions are not here, or the disk fails.
    pub fn open(log_dir: &LogDir) -> Result<Self> {
        let topic = find_or_make(log_dir, InternalTopic::ShareGroupState, &CONFIG)?;
        let own = log_dir.decides_on(&topic)?.then(|| log_dir.clone());
        Self::of(log_dir.clone().into(), topic, own)
    }

    /// The topic in some log dirs, to read; `None` where there is none.
    ///
    /// # Errors
    /// As [`ShareStateTopic::open`].
    pub fn find(log_dirs: &LogDirs) -> Result<Option<Self>> {
        let name: TopicName = InternalTopic::ShareGroupState.name().parse().expect("the name of a topic");
        match log_dirs.named(&name) {
            Err(LogDirError::TopicNotFound { .. }) => Ok(None),
            found => Ok(Some(Self::of(log_dirs.clone(), found?, None)?)),
        }
    }

    fn of(log_dirs: LogDirs, topic: Topic, own: Option<LogDir>) -> Result<Self> {
        let partitions = topic.partition_count()?;
        Ok(Self { log_dirs, topic, partitions, own, logs: BTreeMap::new() })
    }

    /// The partition that has the state of a key. Source: `SharePartitionKey.asCoordinatorKey`, and how a group's is found.
    #[must_use]
    pub fn partition_of(&self, key: &ShareKey) -> i32 {
        let text =
            format!("{}:{}:{}", key.group, crate::format::properties::topic_id_to_text(key.topic_id), key.partition);
        crate::units::java_hash(&text).checked_abs().unwrap_or(0) % self.partitions.max(1)
    }

    /// The log that has the state of a key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&mut self, key: &ShareKey) -> Result<&mut ShareLog> {
        let number = self.partition_of(key);
        if !self.logs.contains_key(&number) {
            let log = ShareLog::open(self.own.as_ref(), self.log_dirs.partition(&self.topic, number)?)?;
            self.logs.insert(number, log);
        }
        Ok(self.logs.get_mut(&number).expect("it was opened above"))
    }

    /// The state of a key as it was read last; `None` where there is none.
    #[must_use]
    pub fn known(&self, key: &ShareKey) -> Option<&ShareState> {
        self.logs.get(&self.partition_of(key))?.state(key)
    }

    /// The logs that were opened.
    pub fn opened(&mut self) -> impl Iterator<Item = &mut ShareLog> {
        self.logs.values_mut()
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// The first, when the disk fails.
    pub fn end(&mut self, now: Timestamp) -> Result<()> {
        let ended: Vec<Result<()>> = self.logs.values_mut().map(|log| log.sync().and_then(|()| log.end(now))).collect();
        ended.into_iter().collect()
    }
}

/// The key of a partition's state.
#[must_use]
pub fn share_key(group: &GroupId, topic_id: Uuid, partition: i32) -> ShareKey {
    ShareKey { group: group.as_str().to_owned(), topic_id, partition }
}

/// Makes the states of a topic's partitions that have none: a group that is new to the topic begins each at `start`, and one
/// that is not begins what has been added at its beginning.
///
/// # Errors
/// When the id is that of another kind of group, the topic has no id, or the disk fails.
pub fn begin_share_group(
    log_dir: &LogDir,
    group: &GroupId,
    topic: &Topic,
    lock_file: &LockFile,
    states: &mut ShareStateTopic,
    start: &mut dyn FnMut(&Partition) -> Result<Offset>,
    now: Timestamp,
) -> Result<()> {
    let partitions = log_dir.partitions(topic)?;
    let topic_id = topic_id_of(&partitions, topic)?;
    let mut writer = CoordinatorWriter::open(log_dir, group)?;
    refuse_other_kind(writer.group()?, group)?;
    let _beginning = lock_file.begin()?;
    let listed = |group: Option<&Group>| {
        let topics = group.map(|group| &group.share.initialized);
        topics.and_then(|topics| topics.get(&topic_id)).map(|(_, partitions)| partitions.clone()).unwrap_or_default()
    };
    let before = listed(writer.group()?);
    let mut by_log = BTreeMap::<i32, Vec<(ShareKey, ShareState)>>::new();
    for partition in &partitions {
        let key = share_key(group, topic_id, partition.id().partition);
        let log = states.log(&key)?;
        log.catch_up()?;
        if log.state(&key).is_none() {
            // One that was added later: all that is in it came since.
            let first = if before.is_empty() { start(partition)? } else { partition.view()?.log_start_offset() };
            by_log.entry(states.partition_of(&key)).or_default().push((key, ShareState::new(first, 0, now)));
        }
    }
    for keys in by_log.values() {
        let log = states.log(&keys[0].0)?;
        log.begin(keys, now)?;
        log.sync()?;
    }
    if partitions.iter().all(|partition| before.contains(&partition.id().partition)) {
        return Ok(());
    }
    writer.append(now, |known, _| {
        refuse_other_kind(known, group)?;
        let mut listed = known.map(|group| group.share.clone()).unwrap_or_default();
        listed.deleting.remove(&topic_id);
        let (_, of_topic) =
            listed.initialized.entry(topic_id).or_insert_with(|| (topic.name.as_str().to_owned(), Default::default()));
        of_topic.extend(partitions.iter().map(|partition| partition.id().partition));
        let record =
            |key: ShareGroupKey, value| CoordinatorRecord { key: key.encode(group.as_str()), value: Some(value) };
        let epoch = known.is_none().then(|| record(ShareGroupKey::Epoch, share_group_epoch(FIRST_EPOCH)));
        Ok(epoch.into_iter().chain([record(ShareGroupKey::StatePartitions, listed.encode())]).collect())
    })?;
    writer.end(now)
}

/// Deletes a share group, for who keeps its workers out: its record first, so that no broker finds it without its states.
/// Returns whether there was one.
///
/// # Errors
/// When it is of another kind, has begun to read another topic than these, or the disk fails.
pub fn delete_share_group(
    log_dir: &LogDir,
    group: &GroupId,
    excluded: &std::collections::BTreeSet<TopicName>,
    now: Timestamp,
) -> Result<bool> {
    let (mut writer, mut keys) = (CoordinatorWriter::open(log_dir, group)?, Vec::new());
    let mut is_there = false;
    writer.append(now, |known, _| {
        let Some(known) = known else { return Ok(Vec::new()) };
        refuse_other_kind(Some(known), group)?;
        for (topic_id, (name, partitions)) in known.share.initialized.iter().chain(&known.share.initializing) {
            if let Ok(topic) = name.parse::<TopicName>()
                && !excluded.contains(&topic)
                && log_dir.find_topic(&topic)?.is_some()
            {
                return Err(GroupError::ReadsAnother { group: group.clone(), topic });
            }
            keys.extend(partitions.iter().map(|&partition| share_key(group, *topic_id, partition)));
        }
        is_there = true;
        let tombstone = |key: ShareGroupKey| CoordinatorRecord { key: key.encode(group.as_str()), value: None };
        // In this order, and in one batch: a broker of 4.3 gives up all groups of the partition otherwise.
        Ok([ShareGroupKey::TargetEpoch, ShareGroupKey::StatePartitions, ShareGroupKey::Epoch].map(tombstone).into())
    })?;
    writer.end(now)?;
    let mut states = ShareStateTopic::open(log_dir)?;
    for key in &keys {
        let log = states.log(key)?;
        log.forget(|other| other == key, now)?;
        log.sync()?;
    }
    states.end(now)?;
    Ok(is_there)
}

/// Refuses a group that is no share group. One id is one kind: a broker would give up all groups of the partition.
fn refuse_other_kind(known: Option<&Group>, group: &GroupId) -> Result<()> {
    match known.map(Group::kind) {
        None | Some(GroupKind::Share) => Ok(()),
        Some(kind) => Err(GroupError::NoShareGroup { group: group.clone(), kind }),
    }
}

fn topic_id_of(partitions: &[Partition], topic: &Topic) -> Result<Uuid> {
    let first = partitions.first().map_or(Ok(None), Partition::incarnation)?;
    first.ok_or_else(|| GroupError::NoTopicId { topic: topic.name.clone() })
}
