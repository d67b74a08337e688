//! Which segments go, and why: Kafka's three passes, with its arithmetic.
//!
//! | pass | applies | a segment goes if |
//! | --- | --- | --- |
//! | 1 log start | always | the base offset of the *next* segment, or the log end offset, is at or below the log start offset |
//! | 2 size | policy holds `delete`, `retention.bytes` ≥ 0 | the log would still have `retention.bytes` without it |
//! | 3 time | policy holds `delete`, `retention.ms` ≥ 0 | now minus its largest timestamp is *more* than `retention.ms` |
//!
//! A broker's first pass never takes the active segment, which goes by its age in time. Here nothing else would ever free it
//! where no limit is set, and nobody can read it: deleting records up to the log end is what is left to do on a full disk.
//!
//! Each pass works on what the one before has left, from the oldest segment on, and stops at the first that stays. The
//! active segment is not exempt: when all go, an empty one is rolled at the log end offset before the last goes. An empty
//! last segment always stays. A segment without any timestamp counts by the time its file last changed.
//!
//! Segments that somebody is yet to read can be [spared](Plan::spare) after that: of those that the second and the third pass
//! take, all from the first on that holds what is unread.
//!
//! A timestamp in the future keeps its segment, and with it all later ones, until then. Brokers since 4.1 warn of it
//! (KAFKA-18929). Later ones go by the time of the file instead, and only where a log is tiered (KAFKA-20609); this does not.
//!
//! Removing is renaming to `.deleted` and then unlinking, oldest first, the `.log` of a segment last: a crash leaves a
//! log without a hole, perhaps a segment without indexes (which the next run removes again) and renamed files (which the
//! next writer removes). Readers that hold a file open read on.
//! Source: `UnifiedLog.deleteOldSegments`.

use crate::storage::config::LogConfig;
use crate::storage::file_name::{DELETED_SUFFIX, FileKind, segment_name};
use crate::storage::segments::{self, Segment};
use crate::storage::{Durability, LogView, LogWriter, Notice, PartitionGuard, Result, StorageError};
use crate::units::{Offset, Timestamp};

/// How many segments go under one guard: producers wait for so long, and no longer.
const REMOVED_AT_ONCE: usize = 64;

/// The limits of a topic, as far as retention asks them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// `cleanup.policy` holds `delete`: without, only what lies below the log start offset goes.
    pub deletes: bool,
    /// `retention.ms`; negative is no limit.
    pub retention_ms: i64,
    /// `retention.bytes`; negative is no limit.
    pub retention_bytes: i64,
}

impl Limits {
    /// None at all.
    pub const NONE: Self = Self { deletes: true, retention_ms: -1, retention_bytes: -1 };

    /// Those of a topic's configuration.
    #[must_use]
    pub fn of(config: &LogConfig) -> Self {
        let LogConfig { cleanup_policy, retention_ms, retention_bytes, .. } = *config;
        Self { deletes: cleanup_policy.delete, retention_ms, retention_bytes }
    }
}

/// Why a segment goes or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes: all of it lies below the log start offset.
    BelowLogStart,
    /// Goes: the log has `retention.bytes` without it.
    OverSize,
    /// Goes: its largest timestamp is older than `retention.ms`.
    TooOld,
    /// Stays although a limit reaches it: see [`Plan::spare`].
    Spared,
    /// Stays: it is the first that no limit reaches.
    WithinLimits,
    /// Stays: a segment before it stays, and segments go from the front only.
    BehindOneThatStays,
    /// Stays: it is the active segment and holds nothing.
    EmptyActive,
}

impl Verdict {
    /// Whether the segment goes.
    #[must_use]
    pub const fn goes(self) -> bool {
        matches!(self, Self::BelowLogStart | Self::OverSize | Self::TooOld)
    }
}

/// A segment and what is to become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The segment.
    pub segment: Segment,
    /// The first offset behind it.
    pub next_offset: Offset,
    /// Its largest timestamp, or the time its file last changed where no record has one; `None` where no pass asked.
    pub largest_timestamp: Option<Timestamp>,
    /// What becomes of it, and why.
    pub verdict: Verdict,
}

/// When the records were written that a plan deletes, and the first that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlanTimes {
    /// The log start offset before: records below it are deleted already.
    pub log_start_offset: Offset,
    /// The timestamp of the first record that is deleted.
    pub deleted_first: Option<Timestamp>,
    /// The largest timestamp that is deleted.
    pub deleted_largest: Option<Timestamp>,
    /// The timestamp of the first record that is kept.
    pub kept_first: Option<Timestamp>,
}

/// What one run would do to a partition: a decision for each segment, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each segment.
    pub decisions: Vec<Decision>,
    /// The first offset behind the last segment.
    pub log_end_offset: Offset,
}

impl Plan {
    /// The segments that go, oldest first.
    pub fn going(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().take_while(|decision| decision.verdict.goes())
    }

    /// The segment that only its timestamp in the future keeps from the third pass, and with it all that follow.
    #[must_use]
    pub fn kept_by_future(&self, now: Timestamp) -> Option<&Decision> {
        let is_ahead = |decision: &Decision| decision.largest_timestamp.is_some_and(|it| it.is_far_ahead_of(now));
        self.decisions.iter().find(|decision| decision.verdict == Verdict::WithinLimits && is_ahead(decision))
    }

    /// The first segment that is kept, if it holds anything.
    #[must_use]
    pub fn first_kept(&self) -> Option<&Decision> {
        self.decisions.iter().find(|decision| !decision.verdict.goes()).filter(|it| it.verdict != Verdict::EmptyActive)
    }

    /// Keeps the segments with offsets from `from` on, whatever limit reaches them. What lies below the log start offset, where
    /// nobody can read it, goes all the same.
    pub fn spare(&mut self, from: Offset) {
        for decision in &mut self.decisions {
            if matches!(decision.verdict, Verdict::OverSize | Verdict::TooOld) && decision.next_offset > from {
                decision.verdict = Verdict::Spared;
            }
        }
    }

    /// The segments that are kept although a limit reaches them.
    pub fn spared(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| decision.verdict == Verdict::Spared)
    }

    /// When the records were written that are deleted and kept, from the log that the plan is of. Reads as few segments as the
    /// plan did, and those that go by their size or their offsets.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt.
    pub fn times(&self, view: &LogView) -> Result<PlanTimes> {
        let mut times = PlanTimes { log_start_offset: view.log_start_offset(), ..PlanTimes::default() };
        for decision in self.going() {
            let (base, next) = (decision.segment.base_offset, decision.next_offset);
            if times.deleted_first.is_some() && decision.largest_timestamp.is_some() {
                times.deleted_largest = times.deleted_largest.max(decision.largest_timestamp);
                continue;
            }
            let Some((_, found)) = view.segment_times(base, next)? else { continue };
            times.deleted_largest = times.deleted_largest.max(decision.largest_timestamp.or(found.largest));
            if times.deleted_first.is_none() {
                times.deleted_first = view.first_of(found.first, base, next)?;
            }
        }
        if let Some(kept) = self.first_kept() {
            let (base, next) = (kept.segment.base_offset, kept.next_offset);
            let start = base.max(times.log_start_offset);
            times.kept_first = match view.segment_times(base, next)? {
                Some((_, found)) if start == base => view.first_of(found.first, base, next)?,
                Some(_) => view.first_within(start, next)?,
                None => None,
            };
        }
        Ok(times)
    }

    /// The log start offset afterwards.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        let first = self.decisions.iter().find(|decision| !decision.verdict.goes());
        first.map_or(self.log_end_offset, |decision| decision.segment.base_offset)
    }
}

/// Decides on every segment of a log, by these limits. Reads the timestamps of as few segments as the third pass needs.
///
/// # Errors
/// When the disk fails or the log is corrupt at its end.
pub fn plan(view: &LogView, limits: &Limits, now: Timestamp) -> Result<Plan> {
    // The folder was listed before the end is looked for, so that no segment that is known begins after it.
    let segments = view.segments()?;
    let log_start_offset = view.log_start_offset();
    let batches_end = view.batches_end()?;
    let log_end_offset = batches_end.max(log_start_offset);
    let next_offset = |place: usize| segments.get(place + 1).map_or(log_end_offset, |next| next.base_offset);
    // A log that ends below its log start is damaged, and its records are not below that by anybody's will.
    let is_whole = batches_end >= log_start_offset;
    let is_empty_active = |place: usize| place + 1 == segments.len() && segments[place].size == 0;
    let mut verdicts = Vec::with_capacity(segments.len());
    let mut timestamps = vec![None; segments.len()];

    while verdicts.len() < segments.len()
        && next_offset(verdicts.len()) <= log_start_offset
        && (is_whole || verdicts.len() + 1 < segments.len())
        && !is_empty_active(verdicts.len())
    {
        verdicts.push(Verdict::BelowLogStart);
    }
    if limits.deletes && limits.retention_bytes >= 0 {
        let total: u64 = segments[verdicts.len()..].iter().map(|segment| segment.size).sum();
        let mut surplus = i128::from(total) - i128::from(limits.retention_bytes);
        while let Some(segment) = segments.get(verdicts.len())
            && surplus >= 0
            && surplus - i128::from(segment.size) >= 0
            && !is_empty_active(verdicts.len())
        {
            surplus -= i128::from(segment.size);
            verdicts.push(Verdict::OverSize);
        }
    }
    if limits.deletes && limits.retention_ms >= 0 {
        while let Some(segment) = segments.get(verdicts.len())
            && !is_empty_active(verdicts.len())
        {
            let place = verdicts.len();
            let largest = view
                .segment_times(segment.base_offset, next_offset(place))?
                .and_then(|(_, times)| times.largest)
                .unwrap_or(segment.modified);
            timestamps[place] = Some(largest);
            if now.since(largest) <= i128::from(limits.retention_ms) {
                break;
            }
            verdicts.push(Verdict::TooOld);
        }
    }
    let going = verdicts.len();
    for place in going..segments.len() {
        verdicts.push(match place {
            _ if is_empty_active(place) => Verdict::EmptyActive,
            _ if place == going => Verdict::WithinLimits,
            _ => Verdict::BehindOneThatStays,
        });
    }
    let decision = |(place, verdict)| Decision {
        segment: segments[place],
        next_offset: next_offset(place),
        largest_timestamp: timestamps[place],
        verdict,
    };
    Ok(Plan { decisions: verdicts.into_iter().enumerate().map(decision).collect(), log_end_offset })
}

/// Removes the segments that `plan` says go and that are still at the front of the log as it was planned, so many of them
/// under this guard. Returns how many are gone; once it is 0, no more go.
///
/// The plan is about segments by base offset, file and size: none of these is a file of a topic created since, and one that
/// was written to since, as the active segment is, stays. More segments at the end make no verdict wrong, and a limit that
/// has changed since is for the caller to see, who holds the guard.
///
/// # Errors
/// When the disk fails. What was removed before stays removed, and the log has no hole.
pub fn apply(
    guard: &PartitionGuard,
    plan: &[Decision],
    now: Timestamp,
    notices: &mut Vec<Notice>,
    mut on_removed: impl FnMut(&Decision),
) -> Result<usize> {
    let segments = segments::list(&**guard.folder())?;
    let is_there = |(decision, segment): &(&Decision, &Segment)| {
        let planned = &decision.segment;
        decision.verdict.goes()
            && (planned.base_offset, planned.id, planned.size) == (segment.base_offset, segment.id, segment.size)
    };
    let there = plan.iter().zip(&segments).take_while(is_there).count().min(REMOVED_AT_ONCE);
    let going = &plan[..there];
    if let Some((last, before)) = going.split_last()
        && going.len() == segments.len()
    {
        // On a full disk, a new segment may take what the others leave.
        remove(guard, before, &mut on_removed)?;
        let mut writer = LogWriter::open(guard, Durability::Synced, now)?;
        notices.append(&mut writer.take_notices());
        if writer.log_end_offset() == last.next_offset {
            writer.roll_unless_empty(guard, now)?;
            remove(guard, &[*last], &mut on_removed)?;
        }
    } else {
        remove(guard, going, &mut on_removed)?;
    }
    Ok(there)
}

fn remove(guard: &PartitionGuard, going: &[Decision], on_removed: &mut dyn FnMut(&Decision)) -> Result<()> {
    if going.is_empty() {
        return Ok(());
    }
    let names = |decision: &Decision| FileKind::ALL.map(|kind| segment_name(decision.segment.base_offset, kind));
    let marked = |name: &str| format!("{name}{DELETED_SUFFIX}");
    for name in going.iter().flat_map(names) {
        match guard.rename(&name, &marked(&name)) {
            Err(StorageError::Disk(error)) if error.is_not_found() => {}
            renamed => renamed?,
        }
    }
    for decision in going {
        for name in names(decision) {
            guard.remove(&marked(&name))?;
        }
        on_removed(decision);
    }
    Ok(guard.folder().sync()?)
}
