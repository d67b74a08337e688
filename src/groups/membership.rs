//! A running member of a group: which partitions it has, shared among the members without anybody who decides.
//!
//! Each member looks who else is alive ([`LockFile`]) and knows from that how many partitions it is to have. One that has more
//! gives the highest up; one that has fewer takes what is free. Nothing is taken from a member that does not give: one that is
//! stopped keeps what it has. A member that dies has given all up: the kernel drops its locks.
//!
//! - Of a partition there is one owner: the ranges of its bytes exclude each other.
//! - Quotas of one view sum up to the number of partitions, who is at its quota takes none, and who is not above it gives none:
//!   so the sharing ends, when the views agree.
//! - All members use one file: after a slot is taken, its name must still lead to it. It is in the folder of partition 0, and
//!   who finds that without its name is a member no more.

use super::claims::PARTITIONS_MAX;
use super::lock_file::{LockFile, MANUAL_SLOTS, Member, SHARING_SLOTS, is_manual};
use super::{GroupError, Result};
use crate::logdir::{LogDir, Topic};
use crate::units::{GroupId, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};
use twox_hash::XxHash3_128;

/// Members are kept out for as long as it takes to write where a group goes on: so long that is waited for at most.
const RESET_MAX: Duration = Duration::from_secs(10);
const RESET_PAUSE: Duration = Duration::from_millis(20);

/// Which partitions a member is to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assignment {
    /// Its part of all, as many as the others.
    Shared,
    /// These of each topic, and never another: the others share the rest.
    Manual(BTreeSet<i32>),
}

/// Where members may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystems {
    /// On file systems whose locks all members see.
    Local,
    /// Anywhere: whoever says so knows that all members run on one machine.
    Any,
}

/// A member of a group, in each topic that it reads. Dropped, it has left.
pub struct Membership {
    group: GroupId,
    assignment: Assignment,
    file_systems: FileSystems,
    log_dir: LogDir,
    /// What it says of itself.
    text: String,
    topics: BTreeMap<TopicName, InTopic>,
}

struct InTopic {
    file: LockFile,
    slot: u64,
    /// Those that it may have.
    partitions: BTreeSet<i32>,
    owned: BTreeSet<i32>,
    /// Those that this member cannot read.
    refused: BTreeSet<i32>,
}

/// What is to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// Partitions that it has taken just now.
    pub taken: Vec<TopicPartition>,
    /// Partitions that it is to [give up](Membership::give_up) once what was read of them is committed.
    pub surplus: Vec<TopicPartition>,
    /// Who has partitions that it is to have: what they say of themselves.
    pub waits_for: Vec<String>,
    /// The partition that it has chosen and that another one has, if any.
    pub missing: Option<TopicPartition>,
}

impl Membership {
    /// A member that reads nothing yet. `text` is its process and host.
    #[must_use]
    pub fn new(
        log_dir: &LogDir,
        group: &GroupId,
        (assignment, file_systems): (Assignment, FileSystems),
        text: String,
    ) -> Self {
        let (group, log_dir, topics) = (group.clone(), log_dir.clone(), BTreeMap::new());
        Self { group, assignment, file_systems, log_dir, text, topics }
    }

    /// Joins the readers of a topic, or learns which partitions it has by now. Topics are to be joined in the order of their
    /// names. Returns the path of the lock file, where that others come and go shows.
    ///
    /// # Errors
    /// When the group is just being reset, partition 0 is not here, or the disk fails.
    pub fn join(&mut self, topic: &Topic) -> Result<PathBuf> {
        let may_have = |partition: &i32| match &self.assignment {
            Assignment::Shared => true,
            Assignment::Manual(chosen) => chosen.contains(partition),
        };
        let partitions = topic.partitions.iter().copied().filter(may_have).collect();
        if let Some(joined) = self.topics.get_mut(&topic.name) {
            joined.partitions = partitions;
            return Ok(joined.file.path().to_owned());
        }
        let slots = if self.assignment == Assignment::Shared { SHARING_SLOTS } else { MANUAL_SLOTS };
        let place = (&self.log_dir, topic, &self.group);
        let (file, slot) = join(place, self.file_systems, slots, &self.text)?;
        let path = file.path().to_owned();
        let (owned, refused) = (BTreeSet::new(), BTreeSet::new());
        self.topics.insert(topic.name.clone(), InTopic { file, slot, partitions, owned, refused });
        Ok(path)
    }

    /// Looks who else is alive, and takes what is free and due to this one.
    ///
    /// # Errors
    /// When a topic was deleted, or the disk fails.
    pub fn balance(&mut self) -> Result<Balance> {
        let mut balance = Balance::default();
        for (name, topic) in &mut self.topics {
            topic.balance(name, &mut balance)?;
        }
        Ok(balance)
    }

    /// Lets others have a partition.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn give_up(&mut self, partition: &TopicPartition) -> Result<()> {
        if let Some(topic) = self.topics.get_mut(&partition.topic)
            && topic.owned.remove(&partition.partition)
        {
            topic.file.unlock_owner(partition.partition)?;
        }
        Ok(())
    }

    /// Lets others have a partition that this member cannot read, for good.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn refuse(&mut self, partition: &TopicPartition) -> Result<()> {
        self.give_up(partition)?;
        if let Some(topic) = self.topics.get_mut(&partition.topic) {
            topic.refused.insert(partition.partition);
        }
        Ok(())
    }

    /// Whether this member has a partition, in a topic that is still there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has(&self, partition: &TopicPartition) -> Result<bool> {
        match self.topics.get(&partition.topic) {
            Some(topic) if topic.owned.contains(&partition.partition) => topic.file.is_named(),
            _ => Ok(false),
        }
    }

    /// The partitions that it has.
    pub fn owned(&self) -> impl Iterator<Item = TopicPartition> {
        self.topics.iter().flat_map(|(name, topic)| {
            topic.owned.iter().map(|&partition| TopicPartition { topic: name.clone(), partition })
        })
    }
}

/// Joins a group in a topic. Returns its lock file, with the slot that was taken.
fn join(
    (log_dir, topic, group): (&LogDir, &Topic, &GroupId),
    file_systems: FileSystems,
    slots: Range<u64>,
    text: &str,
) -> Result<(LockFile, u64)> {
    if !topic.partitions.contains(&0) {
        let partition = TopicPartition { topic: topic.name.clone(), partition: 0 };
        return Err(GroupError::NoPartition { partition });
    }
    let (handle, started) = (log_dir.partition(topic, 0)?, Instant::now());
    loop {
        let guard = handle.guard()?;
        let file = LockFile::open(&guard, group)?;
        drop(guard);
        if file_systems == FileSystems::Local {
            file.refuse_shared_file_system()?;
        }
        let Some(slot) = file.take_slot(slots.clone(), text)? else {
            if started.elapsed() > RESET_MAX {
                return Err(GroupError::IsReset { group: group.clone() });
            }
            thread::sleep(RESET_PAUSE);
            continue;
        };
        if file.is_named()? {
            return Ok((file, slot));
        }
    }
}

/// Joins the workers of a queue, who share its records and not its partitions. `text` is a line of who it is, and one of how it
/// works. The worker has left when the file is dropped.
///
/// # Errors
/// When the group is just being reset, partition 0 is not here, or the disk fails.
pub fn join_workers(
    log_dir: &LogDir,
    topic: &Topic,
    group: &GroupId,
    file_systems: FileSystems,
    text: &str,
) -> Result<LockFile> {
    if let Some(&partition) = topic.partitions.iter().find(|&&partition| partition >= PARTITIONS_MAX) {
        return Err(GroupError::NoPartition { partition: TopicPartition { topic: topic.name.clone(), partition } });
    }
    Ok(join((log_dir, topic, group), file_systems, SHARING_SLOTS, text)?.0)
}

impl InTopic {
    fn balance(&mut self, name: &TopicName, balance: &mut Balance) -> Result<()> {
        if !self.file.is_named()? {
            return Err(self.file.why_unnamed(name)?);
        }
        let members = self.file.members()?;
        let quota = self.quota(name, &members)?.min(self.partitions.difference(&self.refused).count());
        let of = |partition: i32| TopicPartition { topic: name.clone(), partition };
        let surplus = self.owned.len().saturating_sub(quota);
        balance.surplus.extend(self.owned.iter().rev().take(surplus).map(|&partition| of(partition)));
        // Each begins somewhere else, so that they seldom try for the same.
        let rank = self.rank(&members);
        let start = rank * self.partitions.len() / (members.len() + 1);
        let order: Vec<i32> = self.partitions.iter().copied().cycle().skip(start).take(self.partitions.len()).collect();
        for partition in order {
            if self.owned.len() >= quota {
                return Ok(());
            }
            let is_wanted = !self.owned.contains(&partition) && !self.refused.contains(&partition);
            if is_wanted && self.file.take_owner(partition, self.slot)? {
                self.owned.insert(partition);
                balance.taken.push(of(partition));
            }
        }
        if self.owned.len() < quota {
            self.note_others(name, members, balance)?;
        }
        Ok(())
    }

    /// Notes who has what this member is to have.
    fn note_others(&self, name: &TopicName, members: Vec<Member>, balance: &mut Balance) -> Result<()> {
        if !is_manual(self.slot) {
            balance.waits_for.extend(members.into_iter().map(|member| member.text));
            return Ok(());
        }
        let missing = self.partitions.iter().filter(|it| !self.owned.contains(it) && !self.refused.contains(it));
        for &partition in missing {
            let owner = self.file.owner(partition)?;
            balance.missing.get_or_insert(TopicPartition { topic: name.clone(), partition });
            let owner = members.iter().find(|it| Some(it.slot) == owner).map(|it| it.text.clone());
            balance.waits_for.extend(owner.filter(|it| !balance.waits_for.contains(it)));
        }
        Ok(())
    }

    /// How many partitions this member is to have.
    fn quota(&self, name: &TopicName, members: &[Member]) -> Result<usize> {
        if is_manual(self.slot) {
            return Ok(self.partitions.len());
        }
        let mut manual = 0;
        for &partition in &self.partitions {
            manual += usize::from(self.file.owner(partition)?.is_some_and(is_manual));
        }
        let count = members.iter().filter(|member| !member.is_manual()).count() + 1;
        let shared = self.partitions.len() - manual;
        // Of many topics with one partition each, not all are to go to the first member.
        let turn = (self.rank(members) + XxHash3_128::oneshot(name.as_str().as_bytes()) as u32 as usize) % count;
        Ok(shared / count + usize::from(turn < shared % count))
    }

    /// How many members have lower slots.
    fn rank(&self, members: &[Member]) -> usize {
        members.iter().filter(|member| !member.is_manual() && member.slot < self.slot).count()
    }
}
