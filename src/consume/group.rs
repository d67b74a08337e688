//! The positions of a consumer that is a member of a group: it has some of the partitions, and what it commits counts for
//! all.
//!
//! A partition is in a commit only while this member has it. Before it is given up, nothing more of it is shown, and what was
//! shown is committed once the reader has processed it; a reader that takes longer than [`GRACE`] gets the rest again from
//! the next owner. Who takes a partition reads first what was committed for it.

use super::{ConsumeError, ReaderPosition, Result};
use crate::groups::{
    Assignment, Balance, Commits, Committed, FileSystems, GroupError, GroupsTopic, Membership, metadata_of,
};
use crate::logdir::{DurableBelow, LogDir, LogDirs, Partition, Topic};
use crate::units::{GroupId, Offset, Timestamp, TopicPartition};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// While records flow, others are looked for so often.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long a reader has to process what it was shown of a partition that is to be given up.
const GRACE: Duration = Duration::from_secs(5);

/// Where a group is, for one who reads on from there and is no member.
///
/// # Errors
/// When it is of another kind, or what it has committed cannot be read.
pub fn positions_of(log_dirs: &LogDirs, group: &GroupId) -> Result<Vec<ReaderPosition>> {
    let mut found = GroupsTopic::find(log_dirs)?.all()?;
    let Some(known) = found.groups.remove(group) else {
        return match found.failed.into_iter().next() {
            Some(error) => Err(error.into()),
            None => Ok(Vec::new()),
        };
    };
    known.refuse_other_kind(group)?;
    let position = |(partition, committed): (TopicPartition, Committed)| ReaderPosition {
        partition,
        topic_id: committed.of_topic(),
        offset: committed.offset,
    };
    Ok(known.committed.into_iter().map(position).collect())
}

/// What a member of a group keeps.
pub struct GroupPositions {
    id: GroupId,
    membership: Membership,
    commits: Commits,
    durable: DurableBelow,
    clock: fn() -> Timestamp,
    /// What was committed last, by this member or the owner before.
    committed: BTreeMap<TopicPartition, Offset>,
    /// Partitions that are to be given up: at which offset the reader is done with them, and until when that is waited for.
    leaving: BTreeMap<TopicPartition, (Offset, Instant)>,
    looked: Option<Instant>,
}

impl GroupPositions {
    /// A member of that group: which partitions it is to have and where it may be, and in `text` what others are told of it.
    ///
    /// # Errors
    /// When the group is of another kind, or the disk fails.
    pub fn open(
        log_dir: &LogDir,
        group: &GroupId,
        how: (Assignment, FileSystems),
        text: String,
        clock: fn() -> Timestamp,
    ) -> Result<Self> {
        Ok(Self {
            id: group.clone(),
            membership: Membership::new(log_dir, group, how, text),
            commits: Commits::open(log_dir, group)?,
            durable: DurableBelow::default(),
            clock,
            committed: BTreeMap::new(),
            leaving: BTreeMap::new(),
            looked: None,
        })
    }

    /// Joins the readers of topics, in the order of their names. Returns the files where that others come and go shows.
    pub(super) fn join(&mut self, topics: &[Topic]) -> Result<Vec<PathBuf>> {
        topics.iter().map(|topic| Ok(self.membership.join(topic)?)).collect()
    }

    /// Whether it is time to look for others, while records flow.
    pub(super) fn is_due(&self) -> bool {
        self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY)
    }

    /// The same at the start, of one who does not wait for a partition that it has chosen and another one has.
    pub(super) fn balance_at_once(&mut self) -> Result<Balance> {
        let mut balance = self.balance()?;
        match balance.missing.take() {
            None => Ok(balance),
            Some(partition) => {
                let (group, members) = (self.id.clone(), balance.waits_for);
                Err(GroupError::HasOwner { group, partition, members }.into())
            }
        }
    }

    /// Looks for others, and takes what is free. What is on its way out already is not named again.
    pub(super) fn balance(&mut self) -> Result<Balance> {
        self.looked = Some(Instant::now());
        let mut balance = self.membership.balance()?;
        balance.surplus.retain(|partition| !self.leaving.contains_key(partition));
        Ok(balance)
    }

    /// Whether this member has a partition.
    pub(super) fn has(&self, partition: &Partition) -> bool {
        self.membership.owned().any(|owned| owned == *partition.id())
    }

    /// What is committed for the partitions that it has.
    pub(super) fn kept(&mut self) -> Result<Vec<ReaderPosition>> {
        let owned: Vec<TopicPartition> = self.membership.owned().collect();
        let Some(group) = self.commits.group()? else { return Ok(Vec::new()) };
        let position = |partition: TopicPartition| {
            let committed = group.committed.get(&partition)?;
            Some(ReaderPosition { topic_id: committed.of_topic(), offset: committed.offset, partition })
        };
        let kept: Vec<ReaderPosition> = owned.into_iter().filter_map(position).collect();
        self.committed.extend(kept.iter().map(|kept| (kept.partition.clone(), kept.offset)));
        Ok(kept)
    }

    /// Commits what has changed of positions, as far as it is durable, of the partitions that it has. Returns whether that is
    /// all. No commit is below the one before: while this member has a partition, nobody else commits for it.
    pub(super) fn keep(&mut self, log_dirs: &LogDirs, positions: Vec<ReaderPosition>) -> Result<bool> {
        let (mut offsets, mut are_all) = (BTreeMap::new(), true);
        for ReaderPosition { partition, topic_id, offset } in positions {
            let before = self.committed.get(&partition).copied();
            if before >= Some(offset) || !self.membership.has(&partition)? {
                continue;
            }
            let durable = self.durable.raise(log_dirs, &partition, topic_id, offset)?.min(offset);
            are_all &= durable == offset;
            if before >= Some(durable) {
                continue;
            }
            offsets.insert(partition, (durable, metadata_of(topic_id)));
        }
        if !offsets.is_empty() {
            self.commits.commit(&offsets, (self.clock)())?;
            self.committed.extend(offsets.into_iter().map(|(partition, (offset, _))| (partition, offset)));
        }
        Ok(are_all)
    }

    /// A partition is to be given up when the reader is done with what comes before `offset`.
    pub(super) fn begin_to_leave(&mut self, partition: TopicPartition, offset: Offset) {
        self.leaving.insert(partition, (offset, Instant::now() + GRACE));
    }

    /// Gives up what is to be given up and was committed, or is waited for no longer. Returns these partitions.
    pub(super) fn leave(&mut self) -> Result<Vec<TopicPartition>> {
        let now = Instant::now();
        let is_over = |(partition, (offset, until)): (&TopicPartition, &(Offset, Instant))| {
            self.committed.get(partition) >= Some(offset) || *until <= now
        };
        let left: Vec<TopicPartition> =
            self.leaving.iter().filter(|it| is_over((it.0, it.1))).map(|(partition, _)| partition.clone()).collect();
        for partition in &left {
            self.leaving.remove(partition);
            self.committed.remove(partition);
            self.membership.give_up(partition)?;
        }
        Ok(left)
    }

    /// Does not take a partition any more that cannot be read.
    pub(super) fn refuse(&mut self, partition: &TopicPartition) -> Result<()> {
        Ok(self.membership.refuse(partition)?)
    }

    /// The partitions that it has and is not about to give up.
    pub(super) fn to_read(&self) -> Vec<TopicPartition> {
        self.membership.owned().filter(|partition| !self.leaving.contains_key(partition)).collect()
    }

    /// Gives up a partition of which nothing was shown.
    pub(super) fn give_up(&mut self, partition: &TopicPartition) -> Result<()> {
        Ok(self.membership.give_up(partition)?)
    }

    /// Whether a partition is about to be given up.
    pub(super) fn is_leaving_any(&self) -> bool {
        !self.leaving.is_empty()
    }

    /// To be called when positions were kept for the last time.
    pub(super) fn close(&mut self) -> Result<()> {
        Ok(self.commits.end((self.clock)())?)
    }
}

impl From<GroupError> for ConsumeError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::LogDir(error) => Self::LogDir(error),
            error => Self::Group(error),
        }
    }
}
