//! Moves groups: where one goes on is decided here, and written by [`Commits`], or as the state of a share group.

use super::commits::Commits;
use super::group::{Group, metadata_of};
use super::lock_file::LockFile;
use super::share_group::{ShareStateTopic, begin_share_group, share_key};
use super::share_reader::ShareReader;
use super::{GroupError, Result};
use crate::format::internal::share_records::ShareKey;
use crate::logdir::{DurableBelow, LogDir, LogDirs, Partition, Topic};
use crate::storage::LogView;
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Where a group is to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResetTo {
    /// At the log start offset.
    Earliest,
    /// At the log end offset.
    Latest,
    /// Where it is; at the log start offset where it has committed nothing.
    Current,
    /// At an offset.
    Offset(Offset),
    /// At the first record at or after a time; at the log end offset without one.
    Time(Timestamp),
    /// So many offsets further; before, below 0.
    Shift(i64),
    /// Where it is said, partition by partition.
    Listed(BTreeMap<TopicPartition, Offset>),
}

/// Where a group is to go on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResetRow {
    /// The partition.
    pub partition: TopicPartition,
    /// Where it was.
    pub prior: Option<Offset>,
    /// Where it goes on.
    pub new: Offset,
    /// What was asked for, and why it goes on elsewhere.
    pub asked: Option<(Offset, Moved)>,
}

/// Why a group goes on elsewhere than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The log does not reach that far.
    NotInLog,
    /// What comes before is not known to be durable: it was written by a run that syncs nothing, or syncs later.
    NotDurable,
}

/// Finds out where a group is to go on, of which `group` is known. Partitions that are not asked for stay.
///
/// # Errors
/// When a log cannot be read.
pub fn plan_reset(partitions: &[Partition], group: Option<&Group>, to: &ResetTo) -> Result<Vec<ResetRow>> {
    plan(partitions, to, |id, topic_id| {
        let committed = group.and_then(|group| group.committed.get(id));
        Ok(committed.filter(|it| it.is_of(topic_id)).map(|it| it.offset))
    })
}

/// The same of a share group, whose start offsets are set.
///
/// # Errors
/// When a log cannot be read.
pub fn plan_share_reset(
    partitions: &[Partition],
    (id, group): (&GroupId, &Group),
    shares: &mut ShareReader,
    to: &ResetTo,
) -> Result<Vec<ResetRow>> {
    plan(partitions, to, |partition, topic_id| shares.start_offset((id, group), partition, topic_id))
}

fn plan(
    partitions: &[Partition],
    to: &ResetTo,
    mut prior_of: impl FnMut(&TopicPartition, Option<Uuid>) -> Result<Option<Offset>>,
) -> Result<Vec<ResetRow>> {
    let mut rows = Vec::new();
    for partition in partitions {
        let (id, view) = (partition.id(), partition.view()?);
        let (start, end) = (view.log_start_offset(), view.log_end_offset()?);
        let prior = prior_of(id, partition.incarnation()?)?;
        let asked = asked(to, id, prior, &view)?;
        // Of very many partitions, not all folders can be open.
        drop(view);
        partition.let_go()?;
        let Some(asked) = asked else { continue };
        let new = asked.clamp(start, end);
        rows.push(ResetRow {
            partition: id.clone(),
            prior,
            new,
            asked: (asked != new).then_some((asked, Moved::NotInLog)),
        });
    }
    Ok(rows)
}

fn asked(to: &ResetTo, id: &TopicPartition, prior: Option<Offset>, view: &LogView) -> Result<Option<Offset>> {
    let current = || prior.unwrap_or(view.log_start_offset());
    Ok(Some(match to {
        ResetTo::Earliest => view.log_start_offset(),
        ResetTo::Latest => view.log_end_offset()?,
        ResetTo::Current => current(),
        ResetTo::Offset(offset) => *offset,
        ResetTo::Time(time) => match view.offset_for_time(*time)? {
            Some((offset, _)) => offset,
            None => view.log_end_offset()?,
        },
        ResetTo::Shift(by) => Offset(current().0.saturating_add(*by)),
        ResetTo::Listed(offsets) => return Ok(offsets.get(id).copied()),
    }))
}

/// Keeps members of a group out of topics for as long as it lives.
pub struct Excluded {
    files: Vec<(Partition, LockFile)>,
}

impl Excluded {
    /// Removes the files that members of the group find each other by.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove_files(self) -> Result<()> {
        self.files.iter().try_for_each(|(first, file)| file.remove(&first.guard()?))
    }

    fn lock_file(&self, topic: &TopicName) -> Option<&LockFile> {
        self.files.iter().find(|(first, _)| first.id().topic == *topic).map(|(_, file)| file)
    }

    /// Refuses while handlers of a queue run whose workers have died: what becomes of their records is open until they end.
    ///
    /// # Errors
    /// That there is one, which is named, or that the disk fails.
    pub fn refuse_claims(&self, group: &GroupId, log_dir: &LogDir) -> Result<()> {
        for (first, file) in &self.files {
            let Some(topic) = log_dir.find_topic(&first.id().topic)? else { continue };
            for &partition in &topic.partitions {
                if let Some(claimed) = file.claimed(partition)?.first() {
                    let partition = TopicPartition { topic: topic.name, partition };
                    let (offset, pid) = (claimed.offset, claimed.pid);
                    return Err(GroupError::IsClaimed { group: group.clone(), partition, offset, pid });
                }
            }
        }
        Ok(())
    }
}

/// Keeps members of a group out.
///
/// # Errors
/// When there are some: they are named.
pub fn exclude_members<'a>(
    log_dir: &LogDir,
    group: &GroupId,
    topics: impl IntoIterator<Item = &'a TopicName>,
) -> Result<Excluded> {
    let mut files = Vec::new();
    // In the order of their names, as members take them.
    for name in topics.into_iter().collect::<BTreeSet<_>>() {
        let Some(topic) = log_dir.find_topic(name)? else { continue };
        // Where partition 0 is elsewhere, nobody can be a member here.
        if !topic.partitions.contains(&0) {
            continue;
        }
        let first = log_dir.partition(&topic, 0)?;
        let file = exclude_from(&first, group)?;
        files.push((first, file));
    }
    Ok(Excluded { files })
}

fn exclude_from(first: &Partition, group: &GroupId) -> Result<LockFile> {
    loop {
        let guard = first.guard()?;
        let file = LockFile::open(&guard, group)?;
        drop(guard);
        file.exclude_members(group)?;
        // Who deletes a group removes the name.
        if file.is_named()? {
            return Ok(file);
        }
    }
}

/// Writes where a group goes on. What is below is made durable before: a position must not outlive its records. Deletions
/// that spare what groups have not read see the commit from then on; what one has deleted before it, after this was planned,
/// is passed by a second commit.
///
/// # Errors
/// When a partition is not here any more, or the disk fails.
pub fn apply_reset(log_dir: &LogDir, commits: &mut Commits, rows: &mut [ResetRow], now: Timestamp) -> Result<()> {
    let mut offsets = BTreeMap::new();
    for (topic, topic_id, row) in durable(log_dir, rows)? {
        let partition = TopicPartition { topic: topic.name, partition: row.partition.partition };
        offsets.insert(partition, (row.new, metadata_of(topic_id)));
    }
    if offsets.is_empty() {
        return Ok(());
    }
    commits.commit(&offsets, now)?;
    let mut passed = BTreeMap::new();
    for row in rows {
        let Some((_, metadata)) = offsets.remove(&row.partition) else { continue };
        let Some(topic) = log_dir.find_topic(&row.partition.topic)? else { continue };
        let start = log_dir.partition(&topic, row.partition.partition)?.view()?.log_start_offset();
        if start > row.new {
            (row.asked, row.new) = (row.asked.or(Some((row.new, Moved::NotInLog))), start);
            passed.insert(row.partition.clone(), (start, metadata));
        }
    }
    if passed.is_empty() { Ok(()) } else { commits.commit(&passed, now) }
}

/// Writes where a share group goes on, for who keeps its workers out: a snapshot each, in which nothing was delivered yet. A
/// topic that is new to the group gets its first states before. What is below is made durable before.
///
/// # Errors
/// When a handler of a dead worker runs, a partition is not here any more, or the disk fails.
pub fn apply_share_reset(
    log_dir: &LogDir,
    group: &GroupId,
    excluded: &Excluded,
    rows: &mut [ResetRow],
    now: Timestamp,
) -> Result<()> {
    excluded.refuse_claims(group, log_dir)?;
    let mut states = ShareStateTopic::open(log_dir)?;
    let (mut begun, mut by_log) = (BTreeSet::new(), BTreeMap::<i32, Vec<(ShareKey, Offset)>>::new());
    for (topic, topic_id, row) in durable(log_dir, rows)? {
        let first = || TopicPartition { topic: topic.name.clone(), partition: 0 };
        let lock_file =
            excluded.lock_file(&topic.name).ok_or_else(|| GroupError::NoPartition { partition: first() })?;
        let topic_id = topic_id.ok_or_else(|| GroupError::NoTopicId { topic: topic.name.clone() })?;
        if begun.insert(topic.name.clone()) {
            let mut start = |partition: &Partition| Ok(partition.view()?.log_start_offset());
            begin_share_group(log_dir, group, &topic, lock_file, &mut states, &mut start, now)?;
        }
        let key = share_key(group, topic_id, row.partition.partition);
        by_log.entry(states.partition_of(&key)).or_default().push((key, row.new));
    }
    for keys in by_log.values() {
        states.log(&keys[0].0)?.replace(keys, now)?;
    }
    states.end(now)
}

/// Makes durable what is below each offset; where that is not known, the group goes on where it ends. Returns each with its
/// topic, and the id of that.
fn durable<'a>(log_dir: &LogDir, rows: &'a mut [ResetRow]) -> Result<Vec<(Topic, Option<Uuid>, &'a ResetRow)>> {
    let (log_dirs, mut durable) = (LogDirs::from(log_dir.clone()), DurableBelow::default());
    let mut made = Vec::new();
    for row in rows {
        let partition = &row.partition;
        let gone = || GroupError::NoPartition { partition: partition.clone() };
        let topic = log_dir.find_topic(&partition.topic)?.ok_or_else(gone)?;
        let topic_id = log_dir.partition(&topic, partition.partition)?.incarnation()?;
        let durable = durable.raise(&log_dirs, partition, topic_id, row.new)?;
        if durable < row.new {
            row.asked = row.asked.or(Some((row.new, Moved::NotDurable)));
            row.new = durable;
        }
        made.push((topic, topic_id, &*row));
    }
    Ok(made)
}
