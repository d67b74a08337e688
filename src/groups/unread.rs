//! What groups are yet to read: for retention that spares it, and for the deletion of what all have read.
//!
//! A group reads a topic once it has committed an offset of one of its partitions, or a member of it is alive. In a partition
//! that it has committed nothing of, it begins at the log start offset; as it does where its offset is of an earlier topic of
//! the name. Only groups whose offsets are in this log dir are known. What a share group has read is kept elsewhere, and not
//! read here.

use super::coordinator_log::CoordinatorLog;
use super::group::{Group, GroupKind};
use super::lock_file::LockFile;
use super::{GroupError, Result};
use crate::disk::FolderLock;
use crate::format::internal::InternalTopic;
use crate::logdir::{LogDir, LogDirError, Origin, Partition, Readers, Topic, Unread};
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
    /// Where members are; where partition 0 is elsewhere, nobody can be one here.
    first: Option<Partition>,
    which: WhichGroups,
}

impl CommittedOffsets {
    /// Reads what the groups that are named have committed; of all groups, where none is.
    ///
    /// # Errors
    /// When one of them is a share group, a log cannot be read, or the disk fails.
    pub fn open(log_dir: &LogDir, named: &[GroupId]) -> Result<Self> {
        let topic: TopicName = InternalTopic::ConsumerOffsets.name().parse().expect("the name of a topic");
        let mut places = Vec::new();
        if let Some(found) = log_dir.find_topic(&topic)? {
            // Of a broker's topic only the folders that are here are known, and not how many there are.
            let count = found.partition_count().ok().filter(|_| !named.is_empty() && found.origin != Origin::Broker);
            let is_asked = |number| count.is_none_or(|count| named.iter().any(|id| id.partition_of(count) == number));
            let partitions = log_dir.partitions(&found)?.into_iter();
            places.extend(
                partitions
                    .filter(|partition| is_asked(partition.id().partition))
                    .map(|partition| Place { partition, log: None }),
            );
        }
        let mut offsets = Self { log_dir: log_dir.clone(), topic, places };
        offsets.catch_up()?;
        let share = |id: &&GroupId| offsets.groups().any(|(it, group)| it == *id && group.kind() == GroupKind::Share);
        match named.iter().find(share) {
            Some(id) => Err(GroupError::OtherKind { group: id.clone(), kind: GroupKind::Share }),
            None => Ok(offsets),
        }
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

    /// The share groups, of which it is not known what they have read.
    #[must_use]
    pub fn share_groups(&self) -> BTreeSet<GroupId> {
        self.groups().filter(|(_, group)| group.kind() == GroupKind::Share).map(|(id, _)| id.clone()).collect()
    }

    fn catch_up(&mut self) -> Result<()> {
        self.places.iter_mut().try_for_each(Place::catch_up)
    }

    /// What a group has committed in a partition of this topic, and not of an earlier one of its name.
    fn committed(&self, id: &GroupId, partition: &TopicPartition, topic_id: Option<Uuid>) -> Option<Offset> {
        let groups = self.places.iter().filter_map(|place| place.log.as_ref()?.group(id));
        let committed = groups.filter_map(|group| group.committed.get(partition));
        committed.filter(|it| it.is_of(topic_id)).map(|it| it.offset).min()
    }
}

impl<'a> GroupReaders<'a> {
    /// Those of a topic.
    ///
    /// # Errors
    /// When the topic is the one that offsets are committed in.
    pub fn of(offsets: &'a mut CommittedOffsets, topic: &Topic, which: WhichGroups) -> Result<Self> {
        if topic.name == offsets.topic {
            return Err(GroupError::OwnTopic { topic: topic.name.clone() });
        }
        let first = topic.partitions.contains(&0).then(|| offsets.log_dir.partition(topic, 0)).transpose()?;
        Ok(Self { offsets, topic: topic.name.clone(), first, which })
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

    /// How many of some offsets of a partition each group has not read that has committed anything of its topic: as was known
    /// when it was asked for last.
    #[must_use]
    pub fn unread_in(&self, partition: &TopicPartition, offsets: &Range<Offset>) -> BTreeMap<GroupId, u64> {
        let is_one = |id: &GroupId| match &self.which {
            WhichGroups::All => true,
            WhichGroups::Named(named) => named.contains(id),
        };
        let groups = self.offsets.groups().filter(|(id, _)| is_one(id));
        let unread = groups.map(|(id, group)| (id.clone(), group.unread_in(partition, offsets)));
        unread.filter(|(_, unread)| *unread > 0).collect()
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
            let committed = self.offsets.committed(&id, partition.id(), topic_id);
            let from = committed.map_or(start, |committed| committed.max(start));
            if slowest.as_ref().is_none_or(|slowest| from < slowest.from) {
                slowest = Some(Unread { reader: id.as_str().to_owned(), from, has_position: committed.is_some() });
            }
        }
        Ok(slowest)
    }

    /// A commit is appended under the lock of its partition of `__consumer_offsets`. A holder of one of these waits for
    /// nothing but, as here, for one of a higher number. A group that is the first to commit in a partition without a folder
    /// is not kept from it.
    fn hold(&mut self) -> Result<Vec<FolderLock>> {
        let mut locks = Vec::new();
        for place in &self.offsets.places {
            let Some(folder) = place.partition.folder()? else { continue };
            let lock = FolderLock::take(&folder).map_err(LogDirError::from)?;
            if !folder.is_named().map_err(LogDirError::from)? {
                return Err(LogDirError::TopicDeleted { topic: self.offsets.topic.clone() }.into());
            }
            locks.push(lock);
        }
        Ok(locks)
    }
}
