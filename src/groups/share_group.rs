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
use crate::disk::Access;
use crate::format::internal::InternalTopic;
use crate::format::internal::share_records::{ShareGroupKey, ShareKey, StatePartitions, share_group_epoch};
use crate::logdir::{LogDir, LogDirError, LogDirs, Partition, Topic};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
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
    access: Access,
    logs: BTreeMap<i32, ShareLog>,
}

impl ShareStateTopic {
    /// The topic in a log dir, made where there is none.
    ///
    /// # Errors
    /// When a broker owns the log dir that has no share groups, some of its partitions are not here, or the disk fails.
    pub fn open(log_dir: &LogDir) -> Result<Self> {
        refuse_broker_without_share_groups(log_dir)?;
        let topic = find_or_make(log_dir, InternalTopic::ShareGroupState, &CONFIG)?;
        let own = log_dir.decides_on(&topic)?.then(|| log_dir.clone());
        Self::of(log_dir.clone().into(), topic, own, Access::Write)
    }

    /// The topic in some log dirs, to read; `None` where there is none.
    ///
    /// # Errors
    /// As [`ShareStateTopic::open`].
    pub fn find(log_dirs: &LogDirs) -> Result<Option<Self>> {
        match log_dirs.named(&state_topic_name()) {
            Err(LogDirError::TopicNotFound { .. }) => Ok(None),
            found => Ok(Some(Self::of(log_dirs.clone(), found?, None, Access::Read)?)),
        }
    }

    fn of(log_dirs: LogDirs, topic: Topic, own: Option<LogDir>, access: Access) -> Result<Self> {
        let partitions = topic.partition_count()?;
        Ok(Self { log_dirs, topic, partitions, own, access, logs: BTreeMap::new() })
    }

    /// The partition that has the state of a key.
    #[must_use]
    pub fn partition_of(&self, key: &ShareKey) -> i32 {
        state_partition_of(key, self.partitions)
    }

    /// The log that has the state of a key.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn log(&mut self, key: &ShareKey) -> Result<&mut ShareLog> {
        let number = self.partition_of(key);
        if !self.logs.contains_key(&number) {
            let open = || ShareLog::open(self.own.as_ref(), self.log_dirs.partition(&self.topic, number)?);
            let log = match open() {
                // What a power failure has left is corruption to a reader, and settled by a writer.
                Err(_) if self.access == Access::Write => {
                    self.log_dirs.partition(&self.topic, number)?.settle()?;
                    open()?
                }
                opened => opened?,
            };
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

/// Refuses a log dir of a broker that cannot go on with a share group. A broker without them deletes the state's topic, or
/// knows neither of the records; one that has had none yet has none of the topics, and would take ours for strays.
fn refuse_broker_without_share_groups(log_dir: &LogDir) -> Result<()> {
    let refuse = |why, is_new| {
        let log_dir = log_dir.root().to_owned();
        Err(GroupError::NoShareGroupsHere { log_dir, why, is_new })
    };
    if let Some(why) = log_dir.why_no_share_groups()? {
        return refuse(why, false);
    }
    if log_dir.broker_mark()?.is_none() {
        return Ok(());
    }
    for topic in [InternalTopic::ShareGroupState, InternalTopic::ConsumerOffsets] {
        let name: TopicName = topic.name().parse().expect("the name of a topic");
        if log_dir.find_topic(&name)?.is_none() {
            return refuse(format!("it has not made {name} yet"), true);
        }
    }
    Ok(())
}

/// The topic's name.
pub(super) fn state_topic_name() -> TopicName {
    InternalTopic::ShareGroupState.name().parse().expect("the name of a topic")
}

/// The partition, of so many, that has the state of a key. Source: `SharePartitionKey.asCoordinatorKey`, and how a group's is
/// found.
pub(super) fn state_partition_of(key: &ShareKey, count: i32) -> i32 {
    let text = format!("{}:{}:{}", key.group, crate::format::properties::topic_id_to_text(key.topic_id), key.partition);
    crate::units::java_hash(&text).checked_abs().unwrap_or(0) % count.max(1)
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
    // A group that is there already waits for nobody.
    let has_state = |states: &mut ShareStateTopic, partition: &Partition| {
        let key = share_key(group, topic_id, partition.id().partition);
        let log = states.log(&key)?;
        log.catch_up()?;
        Ok(log.state(&key).is_some())
    };
    let known = writer.group()?.and_then(|it| it.share.initialized.get(&topic_id)).map(|(_, all)| all.clone());
    if known.is_some_and(|known| partitions.iter().all(|partition| known.contains(&partition.id().partition)))
        && partitions.iter().map(|it| has_state(states, it)).collect::<Result<Vec<bool>>>()?.into_iter().all(|it| it)
    {
        return Ok(());
    }
    let _beginning = lock_file.begin()?;
    let listed = |group: Option<&Group>| {
        let topics = group.map(|group| &group.share.initialized);
        topics.and_then(|topics| topics.get(&topic_id)).map(|(_, partitions)| partitions.clone()).unwrap_or_default()
    };
    let known = writer.group()?;
    let is_left = known.is_some_and(|group| group.share.deleting.contains_key(&topic_id));
    let before = listed(known);
    if is_left {
        // Who was deleting them has died: they are not what the group goes on from.
        delete_states(log_dir, &|key| key.group == group.as_str() && key.topic_id == topic_id, now)?;
    }
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

/// Deletes a share group, for who keeps its workers out. It is written first that its states are about to be deleted: who dies
/// between has a group that can be deleted again, and never one that goes on in states that were to go. Returns whether there
/// was one.
///
/// # Errors
/// When it is of another kind, has begun to read another topic than these, or the disk fails.
pub fn delete_share_group(
    log_dir: &LogDir,
    group: &GroupId,
    excluded: &BTreeSet<TopicName>,
    now: Timestamp,
) -> Result<bool> {
    let refuse_others = |known: &Group| {
        for (name, _) in known.share.initialized.values().chain(known.share.initializing.values()) {
            if let Ok(topic) = name.parse::<TopicName>()
                && !excluded.contains(&topic)
                && log_dir.find_topic(&topic)?.is_some()
            {
                return Err(GroupError::ReadsAnother { group: group.clone(), topic });
            }
        }
        Ok(())
    };
    let mut writer = CoordinatorWriter::open(log_dir, group)?;
    if !begin_to_delete(&mut writer, group, &|_, _| true, refuse_others, now)? {
        return Ok(false);
    }
    delete_states(log_dir, &|key| key.group == group.as_str(), now)?;
    writer.append(now, |known, _| {
        let Some(known) = known else { return Ok(Vec::new()) };
        refuse_other_kind(Some(known), group)?;
        refuse_others(known)?;
        Ok(tombstones(group, known))
    })?;
    writer.end(now)?;
    Ok(true)
}

/// Forgets what a share group has done in some topics, by their ids and names. Returns the partitions that it had a state of.
///
/// # Errors
/// When it is of another kind, or the disk fails.
pub fn forget_share_topics(
    log_dir: &LogDir,
    group: &GroupId,
    is_meant: &dyn Fn(Uuid, &str) -> bool,
    now: Timestamp,
) -> Result<Vec<TopicPartition>> {
    let (mut writer, mut forgotten, mut ids) = (CoordinatorWriter::open(log_dir, group)?, Vec::new(), BTreeSet::new());
    let note = |known: &Group| {
        let StatePartitions { initializing, initialized, deleting } = &known.share;
        for (&id, (name, partitions)) in
            initializing.iter().chain(initialized).filter(|(id, (name, _))| is_meant(**id, name))
        {
            ids.insert(id);
            let Ok(topic) = name.parse::<TopicName>() else { continue };
            forgotten.extend(partitions.iter().map(|&partition| TopicPartition { topic: topic.clone(), partition }));
        }
        ids.extend(deleting.iter().filter(|(id, name)| is_meant(**id, name)).map(|(&id, _)| id));
        Ok(())
    };
    if !begin_to_delete(&mut writer, group, is_meant, note, now)? || ids.is_empty() {
        return Ok(forgotten);
    }
    delete_states(log_dir, &|key| key.group == group.as_str() && ids.contains(&key.topic_id), now)?;
    writer.append(now, |known, _| {
        let Some(known) = known else { return Ok(Vec::new()) };
        refuse_other_kind(Some(known), group)?;
        let mut listed = known.share.clone();
        listed.deleting.retain(|id, _| !ids.contains(id));
        Ok(if listed == known.share { Vec::new() } else { vec![listing(group, &listed)] })
    })?;
    writer.end(now)?;
    Ok(forgotten)
}

/// Writes that the states of some topics are about to be deleted. Returns whether there is such a group.
fn begin_to_delete(
    writer: &mut CoordinatorWriter,
    group: &GroupId,
    is_meant: &dyn Fn(Uuid, &str) -> bool,
    check: impl FnOnce(&Group) -> Result<()>,
    now: Timestamp,
) -> Result<bool> {
    let mut is_there = false;
    writer.append(now, |known, _| {
        let Some(known) = known else { return Ok(Vec::new()) };
        refuse_other_kind(Some(known), group)?;
        check(known)?;
        is_there = true;
        let mut listed = known.share.clone();
        let StatePartitions { initializing, initialized, deleting } = &mut listed;
        for topics in [initializing, initialized] {
            topics.retain(|&id, (name, _)| {
                let goes = is_meant(id, name);
                if goes {
                    deleting.insert(id, name.clone());
                }
                !goes
            });
        }
        Ok(if listed == known.share { Vec::new() } else { vec![listing(group, &listed)] })
    })?;
    Ok(is_there)
}

/// Deletes states, in whichever partitions they are.
fn delete_states(log_dir: &LogDir, is_meant: &dyn Fn(&ShareKey) -> bool, now: Timestamp) -> Result<()> {
    let Some(topic) = log_dir.find_topic(&state_topic_name())? else { return Ok(()) };
    let own = log_dir.decides_on(&topic)?.then_some(log_dir);
    for partition in log_dir.partitions(&topic)? {
        if partition.folder()?.is_none() {
            continue;
        }
        let mut log = ShareLog::open(own, partition)?;
        if log.states().any(|(key, _)| is_meant(key)) {
            log.forget(is_meant, now)?;
            log.sync()?;
            log.end(now)?;
        }
    }
    Ok(())
}

fn listing(group: &GroupId, listed: &StatePartitions) -> CoordinatorRecord {
    CoordinatorRecord { key: ShareGroupKey::StatePartitions.encode(group.as_str()), value: Some(listed.encode()) }
}

/// In the order of `ShareGroup.createGroupTombstoneRecords`, and in one batch: a broker of 4.3 gives up all groups of the
/// partition where it finds others, or members of a group that has ended.
fn tombstones(group: &GroupId, known: &Group) -> Vec<CoordinatorRecord> {
    use ShareGroupKey::{CurrentAssignment, Epoch, Member, StatePartitions, TargetEpoch, TargetMember};
    let members = || known.recorded_members.keys().map(String::as_str);
    let keys = members()
        .map(CurrentAssignment)
        .chain(members().map(TargetMember))
        .chain([TargetEpoch])
        .chain(members().map(Member))
        .chain([StatePartitions, Epoch]);
    keys.map(|key| CoordinatorRecord { key: key.encode(group.as_str()), value: None }).collect()
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
