//! How far groups are behind the topics that they read.

use super::Result;
use super::group::{Assigned, Committed, Group};
use super::lock_file::{LockFile, Member};
use super::share_reader::ShareReader;
use crate::logdir::{LogDirError, LogDirs, Partition, Topic};
use crate::storage::{Advance, LogReader, RecordReader};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// Bytes read at a time to find one record.
const CHUNK: usize = 16 << 10;

/// The topics of some log dirs, as they were when each was asked for first.
pub struct TopicLogs<'a> {
    pub(super) log_dirs: &'a LogDirs,
    topics: HashMap<TopicName, Option<Topic>>,
    logs: HashMap<TopicPartition, Option<LogRange>>,
    names: Option<HashMap<Uuid, TopicName>>,
    /// The states of share groups, once one was asked for.
    pub(super) shares: Option<ShareReader>,
}

/// The log of a partition. It is not kept open: of very many, not all could be.
#[derive(Clone, Copy)]
pub(super) struct LogRange {
    pub(super) start: Offset,
    pub(super) end: Offset,
    pub(super) topic_id: Option<Uuid>,
}

/// The members of a group that run and read a topic.
struct Running {
    file: LockFile,
    members: Vec<Member>,
}

impl Running {
    /// What the member says of itself that has a partition.
    fn owner(&self, partition: i32) -> Result<Option<String>> {
        let slot = self.file.owner(partition)?;
        Ok(self.members.iter().find(|member| Some(member.slot) == slot).map(|member| member.text.clone()))
    }
}

/// A member of a group that runs, in one of the topics that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningMember {
    /// The topic.
    pub topic: TopicName,
    /// What it says of itself.
    pub text: String,
    /// The partitions that it has.
    pub partitions: Vec<i32>,
    /// Whether it has chosen them itself.
    pub is_manual: bool,
}

/// How far a group is in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LagRow {
    /// The partition.
    pub partition: TopicPartition,
    /// What the group has committed there, if anything.
    pub committed: Option<Committed>,
    /// Where its log begins; `None` where the partition is not here.
    pub log_start_offset: Option<Offset>,
    /// Where it ends.
    pub log_end_offset: Option<Offset>,
    /// What the member says of itself that has it now.
    pub member: Option<String>,
    /// The id of the member that had it when a broker wrote that down last.
    pub recorded_member: Option<String>,
}

impl LagRow {
    /// The offset that the group goes on at: what it has committed, unless the log begins behind that.
    #[must_use]
    pub fn next_offset(&self) -> Option<Offset> {
        let start = self.log_start_offset?;
        Some(self.committed.as_ref().map_or(start, |committed| committed.offset.max(start)))
    }

    /// How many offsets are to be read. Below 0 where more was committed than there is.
    #[must_use]
    pub fn lag(&self) -> Option<i64> {
        Some(self.log_end_offset? - self.next_offset()?)
    }

    /// How many offsets were removed before the group has read them.
    #[must_use]
    pub fn lost(&self) -> i64 {
        match (&self.committed, self.log_start_offset) {
            (Some(committed), Some(start)) => (start - committed.offset).max(0),
            _ => 0,
        }
    }
}

impl<'a> TopicLogs<'a> {
    /// Those of some log dirs.
    #[must_use]
    pub fn of(log_dirs: &'a LogDirs) -> Self {
        Self { log_dirs, topics: HashMap::new(), logs: HashMap::new(), names: None, shares: None }
    }

    /// How far a group is: in the partitions of the topics that it has committed something of, and in those that its members
    /// had when that was written down last.
    ///
    /// # Errors
    /// When a topic cannot be read.
    pub fn rows(&mut self, id: &GroupId, group: &Group) -> Result<Vec<LagRow>> {
        let mut members = BTreeMap::<TopicPartition, Option<String>>::new();
        for partition in group.committed.keys() {
            members.insert(partition.clone(), None);
            for number in self.topic(&partition.topic)?.map_or(Vec::new(), |topic| topic.partitions.clone()) {
                members.entry(TopicPartition { topic: partition.topic.clone(), partition: number }).or_default();
            }
        }
        for ((id, topic), partitions) in self.recorded_assignments(group)? {
            let of = |partition| TopicPartition { topic: topic.clone(), partition };
            members.extend(partitions.into_iter().map(|partition| (of(partition), Some(id.clone()))));
        }
        let mut running = HashMap::<TopicName, Option<Running>>::new();
        let row = |(partition, recorded_member): (TopicPartition, Option<String>)| {
            if !running.contains_key(&partition.topic) {
                running.insert(partition.topic.clone(), self.running(id, &partition.topic)?);
            }
            let member = running[&partition.topic].as_ref().map_or(Ok(None), |it| it.owner(partition.partition))?;
            let log = self.log(&partition)?;
            let committed = group.committed.get(&partition);
            Ok(LagRow {
                committed: committed.filter(|it| log.is_none_or(|log| it.is_of(log.topic_id))).cloned(),
                log_start_offset: log.map(|log| log.start),
                log_end_offset: log.map(|log| log.end),
                member,
                recorded_member,
                partition,
            })
        };
        members.into_iter().map(row).collect()
    }

    /// The members of a group that run and read its topics, each once: what they say of themselves.
    ///
    /// # Errors
    /// When a topic cannot be read.
    pub fn members(&mut self, id: &GroupId, group: &Group) -> Result<BTreeSet<String>> {
        let mut members = BTreeSet::new();
        for topic in group.topics() {
            let running = self.running(id, &topic)?;
            members.extend(running.into_iter().flat_map(|it| it.members).map(|member| member.text));
        }
        Ok(members)
    }

    /// The members of a group that run, topic by topic, also those that have nothing to read.
    ///
    /// # Errors
    /// When a topic cannot be read.
    pub fn running_members(&mut self, id: &GroupId, group: &Group) -> Result<Vec<RunningMember>> {
        let mut all = Vec::new();
        for topic in group.topics() {
            let Some(running) = self.running(id, &topic)? else { continue };
            let partitions = self.topic(&topic)?.map_or(Vec::new(), |topic| topic.partitions.clone());
            let mut owned = BTreeMap::<u64, Vec<i32>>::new();
            for partition in partitions {
                if let Some(slot) = running.file.owner(partition)? {
                    owned.entry(slot).or_default().push(partition);
                }
            }
            all.extend(running.members.into_iter().map(|member| RunningMember {
                topic: topic.clone(),
                partitions: owned.remove(&member.slot).unwrap_or_default(),
                is_manual: member.is_manual(),
                text: member.text,
            }));
        }
        Ok(all)
    }

    /// The partitions that a group had when a broker wrote that down last, by member and topic.
    ///
    /// # Errors
    /// When a topic cannot be read.
    pub fn recorded_assignments(&mut self, group: &Group) -> Result<BTreeMap<(String, TopicName), Vec<i32>>> {
        let mut assignments = BTreeMap::<(String, TopicName), Vec<i32>>::new();
        for (id, member) in &group.recorded_members {
            for assigned in &member.assignment {
                if let Some(topic) = self.name(assigned)? {
                    assignments.entry((id.clone(), topic)).or_default().extend(&assigned.partitions);
                }
            }
        }
        Ok(assignments)
    }

    /// The members of a group that run and read a topic; `None` where there are none.
    fn running(&mut self, id: &GroupId, topic: &TopicName) -> Result<Option<Running>> {
        let Some(file) = self.lock_file(id, topic)? else { return Ok(None) };
        let members = file.members()?;
        Ok(if members.is_empty() { None } else { Some(Running { file, members }) })
    }

    /// The lock file of a group in a topic; `None` where no member of it ever was here.
    pub(super) fn lock_file(&mut self, id: &GroupId, topic: &TopicName) -> Result<Option<LockFile>> {
        let log_dirs = self.log_dirs;
        let Some(topic) = self.topic(topic)?.filter(|topic| topic.partitions.contains(&0)) else { return Ok(None) };
        let Some(folder) = log_dirs.partition(topic, 0)?.folder()? else { return Ok(None) };
        LockFile::look(&folder, id)
    }

    /// The timestamp of the first record that the group is still to read; `None` where there is none, or it has no time.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn next_timestamp(&mut self, row: &LagRow) -> Result<Option<Timestamp>> {
        let Some(next) = row.next_offset() else { return Ok(None) };
        self.timestamp_from(&row.partition, next, |_| true)
    }

    /// The timestamp of the first record from an offset on that is meant.
    pub(super) fn timestamp_from(
        &mut self,
        partition: &TopicPartition,
        offset: Offset,
        is_meant: impl Fn(Offset) -> bool,
    ) -> Result<Option<Timestamp>> {
        if self.log(partition)?.is_none_or(|log| offset >= log.end) {
            return Ok(None);
        }
        let Some(handle) = self.handle(partition)? else { return Ok(None) };
        let mut reader = LogReader::new(handle.view()?, CHUNK);
        reader.seek(offset);
        let mut records = RecordReader::new(reader);
        loop {
            match records.advance()? {
                Advance::Record if is_meant(records.offset()) => return Ok(records.timestamp().known()),
                Advance::Record | Advance::LogStartPassed { .. } => {}
                Advance::End => return Ok(None),
            }
        }
    }

    fn topic(&mut self, name: &TopicName) -> Result<Option<&Topic>> {
        if !self.topics.contains_key(name) {
            let found = match self.log_dirs.named(name) {
                Err(LogDirError::TopicNotFound { .. } | LogDirError::TopicSetAside { .. }) => None,
                found => Some(found?),
            };
            self.topics.insert(name.clone(), found);
        }
        Ok(self.topics[name].as_ref())
    }

    /// A partition; `None` where it is not here.
    fn handle(&mut self, partition: &TopicPartition) -> Result<Option<Partition>> {
        let log_dirs = self.log_dirs;
        Ok(match self.topic(&partition.topic)? {
            Some(topic) if topic.partitions.contains(&partition.partition) => {
                Some(log_dirs.partition(topic, partition.partition)?)
            }
            _ => None,
        })
    }

    pub(super) fn log(&mut self, partition: &TopicPartition) -> Result<Option<LogRange>> {
        if !self.logs.contains_key(partition) {
            let range = match self.handle(partition)? {
                Some(handle) => {
                    let view = handle.view()?;
                    let (start, end) = (view.log_start_offset(), view.log_end_offset()?);
                    let topic_id = handle.incarnation()?;
                    Some(LogRange { start, end, topic_id })
                }
                None => None,
            };
            self.logs.insert(partition.clone(), range);
        }
        Ok(self.logs[partition])
    }

    /// The topic that partitions were assigned of; `None` where it is not here.
    fn name(&mut self, assigned: &Assigned) -> Result<Option<TopicName>> {
        if let Some(name) = &assigned.topic {
            return Ok(name.parse().ok());
        }
        let Some(id) = assigned.topic_id else { return Ok(None) };
        if self.names.is_none() {
            self.names = Some(self.names_by_id()?);
        }
        Ok(self.names.as_ref().and_then(|names| names.get(&id)).cloned())
    }

    fn names_by_id(&self) -> Result<HashMap<Uuid, TopicName>> {
        let mut names = HashMap::new();
        for topic in self.log_dirs.find_topics()?.topics {
            let Some(&first) = topic.partitions.first() else { continue };
            if let Some(id) = self.log_dirs.partition(&topic, first)?.incarnation()? {
                names.insert(id, topic.name);
            }
        }
        Ok(names)
    }
}
