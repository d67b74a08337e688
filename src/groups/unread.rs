//! What groups are yet to read: for retention that spares it, and for the deletion of what all have read.
//!
//! A group reads a topic once it has committed an offset of one of its partitions, or a member of it is alive. In a partition
//! that it has committed nothing of, it begins at the log start offset; as it does where its offset is of an earlier topic of
//! the name. A share group reads a topic that it has a state of, and is done with all below its start offset. Only groups whose
//! offsets, or states, are in this log dir are known.

use super::coordinator_log::CoordinatorLog;
use super::group::{Group, GroupKind};
use super::lock_file::LockFile;
use super::share_group::{share_key, state_topic_name};
use super::share_reader::ShareReader;
use super::{GroupError, Result};
use crate::disk::FolderLock;
use crate::format::internal::InternalTopic;
use crate::logdir::{LogDir, LogDirError, Partition, Readers, Topic, Unread};
use crate::units::{GroupId, Offset, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use uuid::Uuid;

/// What the groups of a log dir have committed by now.
pub struct CommittedOffsets {
    log_dir: LogDir,
    topic: TopicName,
    /// In the order of their numbers.
    places: Vec<Place>,
    shares: ShareReader,
}

/// A partition of `__consumer_offsets`.
struct Place {
    partition: Partition,
    /// `None` where it has no folder, and so no group.
    log: Option<CoordinatorLog>,
}

impl Place {
    fn catch_up(&mut self) -> Result<()> {
        match &mut self.log {
            Some(log) => log.catch_up()?,
            None if self.partition.folder()?.is_some() => self.log = Some(CoordinatorLog::open(&self.partition)?),
            None => {}
        }
        Ok(())
    }
}

/// Which groups are readers of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichGroups {
    /// All that read it.
    All,
    /// These, whether or not they have read anything yet.
    Named(Vec<GroupId>),
}

/// Some groups as the readers of a topic.
pub struct GroupReaders<'a> {
    offsets: &'a mut CommittedOffsets,
    topic: TopicName,
    topic_id: Option<Uuid>,
    /// Where members are; where partition 0 is elsewhere, nobody can be one here.
    first: Option<Partition>,
    which: WhichGroups,
}

impl CommittedOffsets {
    /// Reads what the groups that are named have committed; of all groups, where none is.
    ///
    /// # Errors
    /// When a log cannot be read, or the disk fails.
    pub fn open(log_dir: &LogDir, named: &[GroupId]) -> Result<Self> {
        let topic: TopicName = InternalTopic::ConsumerOffsets.name().parse().expect("the name of a topic");
        let mut places = Vec::new();
        if let Some(found) = log_dir.find_topic(&topic)? {
            // Of a broker's topic only the folders that are here are known, and not how many there are.
            let count = found.partition_count().ok().filter(|_| !named.is_empty() && !found.is_of_broker());
            let is_asked = |number| count.is_none_or(|count| named.iter().any(|id| id.partition_of(count) == number));
            let partitions = log_dir.partitions(&found)?.into_iter();
            places.extend(
                partitions
                    .filter(|partition| is_asked(partition.id().partition))
                    .map(|partition| Place { partition, log: None }),
            );
        }
        let shares = ShareReader::find(&log_dir.clone().into())?;
        let mut offsets = Self { log_dir: log_dir.clone(), topic, places, shares };
        offsets.catch_up()?;
        Ok(offsets)
    }

    /// The groups of which something is known; one that is in two partitions, as no coordinator keeps it, twice.
    fn groups(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.places.iter().filter_map(|place| place.log.as_ref()).flat_map(CoordinatorLog::groups)
    }

    /// Whether anything is known of a group.
    #[must_use]
    pub fn has(&self, group: &GroupId) -> bool {
        self.groups().any(|(id, _)| id == group)
    }

    fn catch_up(&mut self) -> Result<()> {
        self.places.iter_mut().try_for_each(Place::catch_up)?;
        self.shares.catch_up()
    }

    /// How far a group is in a partition of this topic, and not of an earlier one of its name.
    fn position(&mut self, id: &GroupId, partition: &TopicPartition, topic_id: Option<Uuid>) -> Result<Option<Offset>> {
        let Self { places, shares, .. } = self;
        let mut least: Option<Offset> = None;
        for group in places.iter().filter_map(|place| place.log.as_ref()?.group(id)) {
            let position = match group.kind() {
                GroupKind::Share => shares.start_offset((id, group), partition, topic_id)?,
                _ => group.committed.get(partition).filter(|it| it.is_of(topic_id)).map(|it| it.offset),
            };
            least = least.into_iter().chain(position).min();
        }
        Ok(least)
    }
}

impl<'a> GroupReaders<'a> {
    /// Those of a topic.
    ///
    /// # Errors
    /// When the topic is one that offsets are committed in, or states are kept.
    pub fn of(offsets: &'a mut CommittedOffsets, topic: &Topic, which: WhichGroups) -> Result<Self> {
        if topic.name == offsets.topic || topic.name == state_topic_name() {
            return Err(GroupError::OwnTopic { topic: topic.name.clone() });
        }
        let any = topic.partitions.first().map(|&number| offsets.log_dir.partition(topic, number)).transpose()?;
        let topic_id = any.map_or(Ok(None), |partition| partition.incarnation())?;
        let first = topic.partitions.contains(&0).then(|| offsets.log_dir.partition(topic, 0)).transpose()?;
        Ok(Self { offsets, topic: topic.name.clone(), topic_id, first, which })
    }

    /// These groups in place of the others, whether or not they have read anything yet.
    #[must_use]
    pub fn only(self, named: Vec<GroupId>) -> Self {
        Self { which: WhichGroups::Named(named), ..self }
    }

    /// Whether anything is known of a group.
    #[must_use]
    pub fn is_known(&self, group: &GroupId) -> bool {
        self.offsets.has(group)
    }

    /// The groups that read the topic by now.
    ///
    /// # Errors
    /// When a log cannot be read, or the disk fails.
    pub fn reading(&mut self) -> Result<BTreeSet<GroupId>> {
        self.offsets.catch_up()?;
        let first = TopicPartition { topic: self.topic.clone(), partition: 0 };
        let reads = |group: &Group| {
            group.committed.range(&first..).next().is_some_and(|(partition, _)| partition.topic == self.topic)
                || group.share_topic(&self.topic, self.topic_id).is_some()
        };
        let readers = self.offsets.groups().filter(|(_, group)| reads(group));
        let mut readers: BTreeSet<GroupId> = readers.map(|(id, _)| id.clone()).collect();
        if let Some(folder) = self.first.as_ref().map_or(Ok(None), Partition::folder)? {
            for name in LockFile::held_in(&folder)? {
                if !readers.iter().any(|id| LockFile::name(id) == name) {
                    readers.insert(LockFile::group_of(&name));
                }
            }
        }
        Ok(readers)
    }

    /// How many of some offsets of a partition each group has not read that has committed anything of its topic, or has a state
    /// of it: as was known when it was asked for last.
    ///
    /// # Errors
    /// When a state cannot be read.
    pub fn unread_in(&mut self, partition: &TopicPartition, offsets: &Range<Offset>) -> Result<BTreeMap<GroupId, u64>> {
        let is_one = |id: &GroupId| match &self.which {
            WhichGroups::All => true,
            WhichGroups::Named(named) => named.contains(id),
        };
        let CommittedOffsets { places, shares, .. } = &mut *self.offsets;
        let groups = places.iter().filter_map(|place| place.log.as_ref()).flat_map(CoordinatorLog::groups);
        let mut all = BTreeMap::new();
        for (id, group) in groups.filter(|(id, _)| is_one(id)) {
            let unread = shares.unread_in((id, group), (partition, self.topic_id), offsets)?;
            if unread > 0 {
                all.insert(id.clone(), unread);
            }
        }
        Ok(all)
    }

    /// The partitions that have the states of share groups in this topic, in order.
    fn places_of_states(&self) -> Result<Vec<Partition>> {
        let mut keys = Vec::new();
        for (id, group) in self.offsets.groups() {
            if let Some((topic_id, partitions)) = group.share_topic(&self.topic, self.topic_id) {
                keys.extend(partitions.iter().map(|&partition| share_key(id, topic_id, partition)));
            }
        }
        self.offsets.shares.partitions_of(&keys)
    }
}

impl Readers for GroupReaders<'_> {
    type Error = GroupError;

    fn slowest(&mut self, partition: &Partition, start: Offset) -> Result<Option<Unread>> {
        let readers: Vec<GroupId> = match &self.which {
            WhichGroups::All => self.reading()?.into_iter().collect(),
            WhichGroups::Named(named) => {
                self.offsets.catch_up()?;
                named.clone()
            }
        };
        let topic_id = partition.incarnation()?;
        let mut slowest: Option<Unread> = None;
        for id in readers {
            let committed = self.offsets.position(&id, partition.id(), topic_id)?;
            let from = committed.map_or(start, |committed| committed.max(start));
            if slowest.as_ref().is_none_or(|slowest| from < slowest.from) {
                slowest = Some(Unread { reader: id.as_str().to_owned(), from, has_position: committed.is_some() });
            }
        }
        Ok(slowest)
    }

    /// A commit is appended under the lock of its partition of `__consumer_offsets`, and a state under that of its partition of
    /// `__share_group_state`. A holder of one of these waits for nothing but, as here, for one that comes later. A group that is
    /// the first to commit in a partition without a folder is not kept from it.
    fn hold(&mut self) -> Result<Vec<FolderLock>> {
        let mut locks = Vec::new();
        let states = self.places_of_states()?;
        for partition in self.offsets.places.iter().map(|place| &place.partition).chain(&states) {
            let Some(folder) = partition.folder()? else { continue };
            let lock = FolderLock::take(&folder).map_err(LogDirError::from)?;
            if !folder.is_named().map_err(LogDirError::from)? {
                return Err(LogDirError::TopicDeleted { topic: partition.id().topic.clone() }.into());
            }
            locks.push(lock);
        }
        Ok(locks)
    }
}
