//! Which segments go, and why: Kafka's three passes, with its arithmetic.
//!
//! | pass | applies | a segment goes if |
//! | --- | --- | --- |
//! | 1 log start | always | the base offset of the *next* segment is at or below the log start offset |
//! | 2 size | policy holds `delete`, `retention.bytes` ≥ 0 | the log would still have `retention.bytes` without it |
//! | 3 time | policy holds `delete`, `retention.ms` ≥ 0 | now minus its largest timestamp is *more* than `retention.ms` |
//!
//! Each pass works on what the one before has left, from the oldest segment on, and stops at the first that stays. The
//! active segment is not exempt: when all go, an empty one is rolled at the log end offset before the last goes. An empty
//! last segment always stays. A segment without any timestamp counts by the time its file last changed.
//!
//! Removing is renaming to `.deleted` and then unlinking, oldest first, the `.log` of a segment last: a crash leaves a
//! log without a hole, perhaps a segment without indexes (which the next run removes again) and renamed files (which the
//! next writer removes). Readers that hold a file open read on.
//! Source: `UnifiedLog.deleteOldSegments`.

use super::append::LogWriter;
use super::config::LogConfig;
use super::file_name::{DELETED_SUFFIX, FileKind, segment_path};
use super::lookup::segment_times;
use super::segments::{self, Segment};
use super::{Result, StorageError};
use crate::disk::Disk;
use crate::units::Offset;
use std::path::{Path, PathBuf};

/// Why a segment goes or stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Goes: all of it lies below the log start offset.
    BelowLogStart,
    /// Goes: the log has `retention.bytes` without it.
    OverSize,
    /// Goes: its largest timestamp is older than `retention.ms`.
    TooOld,
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
    pub largest_timestamp: Option<i64>,
    /// What becomes of it, and why.
    pub verdict: Verdict,
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

    /// The log start offset afterwards.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        let first = self.decisions.iter().find(|decision| !decision.verdict.goes());
        first.map_or(self.log_end_offset, |decision| decision.segment.base_offset)
    }
}

/// What the log is when the plan is made.
#[derive(Debug, Clone, Copy)]
pub struct Log<'a> {
    /// Oldest first.
    pub segments: &'a [Segment],
    /// The first readable offset.
    pub log_start_offset: Offset,
    /// The next offset to be given.
    pub log_end_offset: Offset,
}

/// Decides on every segment. `largest_timestamp` is asked for as few segments as the third pass needs; it answers `None`
/// where no record has a timestamp.
///
/// # Errors
/// When `largest_timestamp` fails.
pub fn plan(
    log: Log<'_>,
    config: &LogConfig,
    now_ms: i64,
    mut largest_timestamp: impl FnMut(&Segment, Offset) -> Result<Option<i64>>,
) -> Result<Plan> {
    let next_offset = |place: usize| log.segments.get(place + 1).map_or(log.log_end_offset, |next| next.base_offset);
    let is_empty_active = |place: usize| place + 1 == log.segments.len() && log.segments[place].size == 0;
    let mut verdicts = Vec::with_capacity(log.segments.len());
    let mut timestamps = vec![None; log.segments.len()];

    while verdicts.len() + 1 < log.segments.len() && next_offset(verdicts.len()) <= log.log_start_offset {
        verdicts.push(Verdict::BelowLogStart);
    }
    if config.cleanup_policy.delete && config.retention_bytes >= 0 {
        let total: u64 = log.segments[verdicts.len()..].iter().map(|segment| segment.size).sum();
        let mut surplus = i128::from(total) - i128::from(config.retention_bytes);
        while let Some(segment) = log.segments.get(verdicts.len())
            && surplus >= 0
            && surplus - i128::from(segment.size) >= 0
            && !is_empty_active(verdicts.len())
        {
            surplus -= i128::from(segment.size);
            verdicts.push(Verdict::OverSize);
        }
    }
    if config.cleanup_policy.delete && config.retention_ms >= 0 {
        while let Some(segment) = log.segments.get(verdicts.len())
            && !is_empty_active(verdicts.len())
        {
            let place = verdicts.len();
            let largest = largest_timestamp(segment, next_offset(place))?.unwrap_or(segment.modified_ms);
            timestamps[place] = Some(largest);
            if i128::from(now_ms) - i128::from(largest) <= i128::from(config.retention_ms) {
                break;
            }
            verdicts.push(Verdict::TooOld);
        }
    }
    let going = verdicts.len();
    for place in going..log.segments.len() {
        verdicts.push(match place {
            _ if is_empty_active(place) => Verdict::EmptyActive,
            _ if place == going => Verdict::WithinLimits,
            _ => Verdict::BehindOneThatStays,
        });
    }
    let decision = |(place, verdict)| Decision {
        segment: log.segments[place],
        next_offset: next_offset(place),
        largest_timestamp: timestamps[place],
        verdict,
    };
    Ok(Plan { decisions: verdicts.into_iter().enumerate().map(decision).collect(), log_end_offset: log.log_end_offset })
}

/// Plans and removes, all under the partition's lock, so that nothing is decided on a log that has moved on. `limits` are
/// the configuration to apply, which may differ from the writer's own. `on_removed` hears of each segment that is gone.
///
/// # Errors
/// When the disk fails. What was removed before stays removed, and the log has no hole.
pub fn apply(
    writer: &mut LogWriter,
    limits: &LogConfig,
    log_start_offset: Offset,
    recovery_point: Offset,
    now_ms: i64,
    mut on_removed: impl FnMut(&Decision),
) -> Result<Plan> {
    writer.locked(|writer| {
        let (disk, folder) = (std::sync::Arc::clone(writer.disk()), writer.path().to_owned());
        writer.catch_up(now_ms)?;
        let segments = segments::list(&*disk, &folder)?;
        let first = segments.first().map_or(Offset::ZERO, |segment| segment.base_offset);
        let log = Log {
            segments: &segments,
            log_start_offset: log_start_offset.max(first),
            log_end_offset: writer.log_end_offset(),
        };
        let plan = plan(log, limits, now_ms, |segment, next_offset| {
            let times = segment_times(&*disk, &folder, segment.base_offset, next_offset <= recovery_point)?;
            Ok(times.and_then(|(_, times)| times.largest))
        })?;
        let going: Vec<&Decision> = plan.going().collect();
        if let Some((last, before)) = going.split_last()
            && going.len() == segments.len()
        {
            // On a full disk, a new segment may take what the others leave.
            remove(&*disk, &folder, before, &mut on_removed)?;
            writer.roll_for_removal(now_ms)?;
            remove(&*disk, &folder, &[last], &mut on_removed)?;
        } else {
            remove(&*disk, &folder, &going, &mut on_removed)?;
        }
        Ok(plan)
    })
}

fn remove(disk: &dyn Disk, folder: &Path, going: &[&Decision], on_removed: &mut dyn FnMut(&Decision)) -> Result<()> {
    if going.is_empty() {
        return Ok(());
    }
    let paths =
        |decision: &Decision| FileKind::ALL.map(|kind| segment_path(folder, decision.segment.base_offset, kind));
    for path in going.iter().copied().flat_map(paths) {
        unless_missing(disk.rename(&path, &marked(&path)))?;
    }
    for decision in going {
        for path in paths(decision) {
            unless_missing(disk.remove_file(&marked(&path)))?;
        }
        on_removed(decision);
    }
    disk.open_folder(folder)?.sync()?;
    Ok(())
}

fn marked(path: &Path) -> PathBuf {
    let mut marked = path.as_os_str().to_owned();
    marked.push(DELETED_SUFFIX);
    marked.into()
}

fn unless_missing(result: crate::disk::Result<()>) -> Result<()> {
    match result {
        Err(error) if !error.is_not_found() => Err(StorageError::Disk(error)),
        _ => Ok(()),
    }
}
