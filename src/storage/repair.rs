//! Mends what a [`check`](super::check) finds in one partition: [`plan`] decides, [`apply`] does.
//!
//! A [`Plan`] has one [`Remedy`] for each finding, so that what would be done can be shown before it is. What is applied is
//! planned from what was found with the folder locked. Nothing that is sound is touched:
//! - an offset or epoch that is wrong in a header is put right in place, a few bytes outside the checksum: an offset only
//!   where the batches on both sides say which it is;
//! - a segment that holds damage is written anew beside the old one, synced, and renamed over it: sound batches byte for
//!   byte, and in place of lost records an empty batch (a header that keeps the offsets, as a cleaner leaves them), so that
//!   no offset is ever given twice and none is missing. The damaged bytes are kept as `cut-<base offset>-<position>`;
//! - indexes are rebuilt from the batches, and a torn tail is cut and kept, as the next writer would do it;
//! - a damaged `leader-epoch-checkpoint` is kept under another name and made anew from the batches.
//!
//! States that a crash can leave, each of which the next repair or writer takes from there: kept copies whose original is
//! not cut yet; a new segment file that was not renamed (`repair-<base offset>`, written over by the next); a new segment
//! with the indexes of the old, whose entries nobody believes.

use super::check::{Finding, Problem};
use super::file_name::{DAMAGED_SUFFIX, FileKind, cut_name, parse_segment_name, segment_path};
use super::leader_epochs::{self, LEADER_EPOCH_FILE};
use super::recovery::{Check, Notice, free_name};
use super::scan::{Scanner, Step};
use super::segments::{self, OpenLog};
use super::{PartitionGuard, Result, StorageError, create_empty_log, leftovers};
use crate::disk::{Access, DiskFile, FolderLock, atomic};
use crate::format::batch;
use crate::format::checkpoint::{LeaderEpochCheckpoint, LeaderEpochRow};
use crate::format::header::{BATCH_HEADER_SIZE, MAGIC_V2};
use crate::units::{Offset, Position};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;
/// No small file of a log dir is larger.
const SMALL_FILE_MAX: usize = 64 << 20;

/// What is done about a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// A broker's interrupted compaction is finished.
    FinishCompaction,
    /// The tail is cut and kept.
    CutTail,
    /// Damaged bytes are kept elsewhere, and an empty batch takes the place of the lost records.
    StepOver,
    /// As above, but only if it is asked for: records are given up.
    StepOverIfAsked,
    /// Bytes that are there once more are kept elsewhere and taken out.
    TakeOut,
    /// The base offset is put right in place.
    RestoreBaseOffset,
    /// The leader epoch is put right in place.
    RestoreLeaderEpoch,
    /// The indexes of the segment are rebuilt.
    RebuildIndexes,
    /// The file is kept under another name and made anew.
    RewriteFile,
    /// The partition is begun anew behind its lost records.
    BeginAnew,
    /// The log of the segment has to be mended first.
    AfterTheLog,
    /// The next producer does it.
    Wait,
    /// Nothing can be done from here.
    Nothing,
}

impl Remedy {
    const fn of(problem: &Problem, damaged_records: DamagedRecords) -> Self {
        match problem {
            Problem::DamagedBatch { .. }
            | Problem::OutOfOrder { .. }
            | Problem::MissingOffsets { .. }
            | Problem::EndsBelowRecoveryPoint { .. }
            | Problem::EndsBelowHighWatermark { .. } => match damaged_records {
                DamagedRecords::Keep => Self::StepOverIfAsked,
                DamagedRecords::GiveUp => Self::StepOver,
            },
            Problem::RepeatedBatches { .. } => Self::TakeOut,
            Problem::MissingFolder => match damaged_records {
                DamagedRecords::Keep => Self::StepOverIfAsked,
                DamagedRecords::GiveUp => Self::BeginAnew,
            },
            Problem::TornTail { .. } => Self::CutTail,
            Problem::WrongBaseOffset { .. } => Self::RestoreBaseOffset,
            Problem::WrongLeaderEpoch { .. } => Self::RestoreLeaderEpoch,
            Problem::WrongIndexEntries { .. } | Problem::MissingTimeEntries { .. } => Self::RebuildIndexes,
            Problem::DamagedFile { .. } | Problem::WrongTopicId => Self::RewriteFile,
            Problem::InterruptedCompaction => Self::FinishCompaction,
            Problem::EndsBelowLogStart { .. } => Self::Wait,
            Problem::OverlappingSegments { .. }
            | Problem::Contradiction { .. }
            | Problem::StepsBack { .. }
            | Problem::Gaps { .. }
            | Problem::MissingLog
            | Problem::UnsupportedBatch { .. }
            | Problem::DamagedBrokerFile { .. }
            | Problem::Unreadable { .. }
            | Problem::StopsABroker { .. }
            | Problem::SetAside { .. }
            | Problem::PartitionTwice { .. }
            | Problem::NotServed { .. }
            | Problem::DamagedMetadata { .. }
            | Problem::UnusualSegmentName
            | Problem::ForeignFolder { .. } => Self::Nothing,
        }
    }

    /// Whether anything is done.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::StepOverIfAsked | Self::AfterTheLog | Self::Wait | Self::Nothing)
    }

    /// What is done, as a sentence for a person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::FinishCompaction => "finish what the broker began",
            Self::CutTail => "cut the tail, keep it beside the log",
            Self::StepOver => "keep the bytes beside the log, an empty batch in place of what is lost",
            Self::StepOverIfAsked => "nothing without --skip-corrupt, which gives the records up",
            Self::TakeOut => "take the second copy out, keep it beside the log",
            Self::RestoreBaseOffset => "put the base offset right",
            Self::RestoreLeaderEpoch => "put the leader epoch right",
            Self::RebuildIndexes => "rebuild the indexes of the segment",
            Self::RewriteFile => "keep the file under another name, make it anew",
            Self::BeginAnew => "make the folder again; its log starts after the lost records",
            Self::AfterTheLog => "nothing until the log is repaired",
            Self::Wait => "nothing, the next producer mends it",
            Self::Nothing => "nothing can be done from here",
        }
    }
}

/// What becomes of records that are damaged or missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagedRecords {
    /// They are left as they are, and the log stops at them.
    Keep,
    /// They are given up, and the log goes on behind them.
    GiveUp,
}

/// A finding and what is done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is wrong.
    pub finding: Finding,
    /// What is done about it.
    pub remedy: Remedy,
}

/// What a repair would do: a decision on each finding.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each finding, in their order.
    pub decisions: Vec<Decision>,
}

impl Plan {
    /// Whether anything would be done.
    #[must_use]
    pub fn acts(&self) -> bool {
        self.decisions.iter().any(|decision| decision.remedy.acts())
    }

    /// What was found.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.decisions.iter().map(|decision| &decision.finding)
    }
}

/// Decides on every finding of a partition, or of the files at the root. Touches no disk.
#[must_use]
pub fn plan(findings: Vec<Finding>, damaged_records: DamagedRecords) -> Plan {
    let segment = |finding: &Finding| finding.path.with_extension("");
    let remedy = |finding: &Finding| match finding.problem {
        Problem::Unreadable { .. } if index_of(&finding.path).is_some() => Remedy::RebuildIndexes,
        _ => Remedy::of(&finding.problem, damaged_records),
    };
    let stays_damaged = |finding: &&Finding| remedy(finding) == Remedy::StepOverIfAsked;
    let damaged: Vec<PathBuf> = findings.iter().filter(stays_damaged).map(segment).collect();
    let decision = |finding: Finding| {
        let remedy = match remedy(&finding) {
            Remedy::RebuildIndexes if damaged.contains(&segment(&finding)) => Remedy::AfterTheLog,
            remedy => remedy,
        };
        Decision { finding, remedy }
    };
    Plan { decisions: findings.into_iter().map(decision).collect() }
}

/// Applies the remedies to a partition. Its findings were made with the folder locked, by this guard. Others may remain that
/// show only now: look again.
///
/// # Errors
/// When the disk fails. What was done stays done.
pub fn apply(guard: &PartitionGuard, plan: &Plan, notices: &mut Vec<Notice>) -> Result<()> {
    if plan.decisions.iter().any(|it| it.remedy == Remedy::FinishCompaction) {
        // Which segments there are is known only afterwards.
        return leftovers::settle(guard, notices).map(drop);
    }
    let mut by_segment = BTreeMap::<Offset, Vec<&Finding>>::new();
    for Decision { finding, .. } in plan.decisions.iter().filter(|it| it.remedy.acts()) {
        let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match parse_segment_name(name) {
            Some((base, FileKind::Log | FileKind::OffsetIndex | FileKind::TimeIndex)) => {
                by_segment.entry(base).or_default().push(finding);
            }
            Some(_) => {}
            None if name == LEADER_EPOCH_FILE => rewrite_epochs(guard)?,
            None => {
                if let Some(promised) = promised_by(&finding.problem) {
                    create_empty_log(guard, promised)?;
                }
            }
        }
    }
    let folder = &**guard.folder();
    let epochs = match leader_epochs::read(folder) {
        Err(StorageError::Disk(error)) => return Err(error.into()),
        // One that is damaged is decided on by a finding of its own.
        epochs => epochs.unwrap_or_default(),
    };
    for (&base, findings) in &by_segment {
        mend(guard, base, findings, &epochs)?;
    }
    let stays_damaged = |base: Offset| {
        let path = segment_path(folder.path(), base, FileKind::Log);
        plan.decisions.iter().any(|it| it.finding.path == path && it.remedy == Remedy::StepOverIfAsked)
    };
    let bases = segments::base_offsets(folder)?;
    for (&base, findings) in by_segment.iter().filter(|(base, _)| !stays_damaged(**base)) {
        for finding in findings.iter().filter(|finding| matches!(finding.problem, Problem::Unreadable { .. })) {
            // In place: a writer that has it open goes on in the same file.
            index_of(&finding.path).map_or(Ok(()), |name| Ok::<_, StorageError>(guard.create(name)?.set_len(0)?))?;
        }
        rebuild_indexes(guard, base, bases.last() == Some(&base), notices)?;
    }
    Ok(folder.sync()?)
}

/// Where the log was to end by the file that promised more.
const fn promised_by(problem: &Problem) -> Option<Offset> {
    match problem {
        Problem::EndsBelowRecoveryPoint { recovery_point } => Some(*recovery_point),
        Problem::EndsBelowHighWatermark { high_watermark } => Some(*high_watermark),
        _ => None,
    }
}

/// The name of the index at `path`; `None` where it is none.
fn index_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let (_, kind) = parse_segment_name(name)?;
    matches!(kind, FileKind::OffsetIndex | FileKind::TimeIndex).then_some(name)
}

/// Bytes of a segment to be left out, and the offsets to be filled in their place.
struct Splice {
    bytes: std::ops::Range<u64>,
    lost: std::ops::Range<i64>,
}

fn mend(guard: &PartitionGuard, base: Offset, findings: &[&Finding], epochs: &[LeaderEpochRow]) -> Result<()> {
    let log = OpenLog::open(&**guard.folder(), base, Access::Write)?;
    let mut splices = Vec::new();
    for finding in findings {
        let (Some(position), Some(offset)) = (finding.position, finding.offset) else { continue };
        let splice = |end: Position, next: Offset| Splice { bytes: position.0..end.0, lost: offset.0..next.0 };
        match finding.problem {
            Problem::DamagedBatch { end, next_offset, .. } | Problem::OutOfOrder { end, next_offset, .. } => {
                splices.push(splice(end, next_offset));
            }
            Problem::RepeatedBatches { end, .. } => splices.push(splice(end, offset)),
            Problem::MissingOffsets { next_offset } => splices.push(splice(position, next_offset)),
            // Zeros behind the end are kept like any other bytes that are taken out.
            Problem::EndsBelowRecoveryPoint { recovery_point: next }
            | Problem::EndsBelowHighWatermark { high_watermark: next } => {
                splices.push(splice(Position(log.file.stat()?.size), next));
            }
            Problem::WrongBaseOffset { claimed } => restamp(&*log.file, position, offset - claimed, None)?,
            Problem::WrongLeaderEpoch { right, .. } => restamp(&*log.file, position, 0, Some(right))?,
            _ => {}
        }
    }
    log.file.sync()?;
    splices.sort_by_key(|splice| splice.bytes.start);
    if splices.is_empty() { Ok(()) } else { rewrite(guard, &log, &splices, epochs) }
}

/// Writes a segment anew without the bytes of `splices`, and puts it in the place of the old one.
fn rewrite(guard: &PartitionGuard, log: &OpenLog, splices: &[Splice], epochs: &[LeaderEpochRow]) -> Result<()> {
    let (folder, temporary) = (&**guard.folder(), format!("repair-{:020}", log.base_offset.0));
    let new = guard.create(&temporary)?;
    new.set_len(0)?;
    let mut written = 0;
    let mut at = 0;
    for splice in splices {
        written += copy(&*log.file, at..splice.bytes.start, &*new, written)?;
        for filler in fillers(log.base_offset, &splice.lost, epochs) {
            new.write_at(&filler, written)?;
            written += filler.len() as u64;
        }
        if !splice.bytes.is_empty() {
            let kept = free_name(folder, &cut_name(log.base_offset, Position(splice.bytes.start)))?;
            let kept = guard.create(&kept)?;
            copy(&*log.file, splice.bytes.clone(), &*kept, 0)?;
            kept.sync()?;
        }
        at = splice.bytes.end;
    }
    copy(&*log.file, at..log.file.stat()?.size, &*new, written)?;
    new.sync()?;
    // What was kept has its name before the original loses its own.
    folder.sync()?;
    guard.rename(&temporary, log.name())?;
    Ok(folder.sync()?)
}

fn rebuild_indexes(
    guard: &PartitionGuard,
    base_offset: Offset,
    is_last: bool,
    notices: &mut Vec<Notice>,
) -> Result<()> {
    let check = Check { base_offset, believed: base_offset, grown: None, rewrite_from: None, is_last };
    match check.run(guard, notices) {
        Ok(checked) => checked.segment.sync(guard),
        // Found by the next look, if it is still there.
        Err(StorageError::Corrupt { .. } | StorageError::Unsupported { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The epochs as the batches show them: each begins with the first batch that has it.
fn rewrite_epochs(guard: &PartitionGuard) -> Result<()> {
    let mut rows: Vec<LeaderEpochRow> = Vec::new();
    let folder = &**guard.folder();
    for base in segments::base_offsets(folder)? {
        let Some(log) = segments::open_log(folder, base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, CHUNK)?;
        while let Step::Batch(header) = scanner.step()? {
            let is_new = rows.last().is_none_or(|row| row.epoch < header.leader_epoch);
            if header.magic == MAGIC_V2 && header.leader_epoch >= 0 && is_new && scanner.checksum_matches(&header)? {
                rows.push(LeaderEpochRow { epoch: header.leader_epoch, start_offset: header.base_offset });
            }
            scanner.pass(&header);
        }
    }
    guard.replace_damaged(LEADER_EPOCH_FILE, LeaderEpochCheckpoint { rows }.print().as_bytes())
}

/// Moves what the header of a batch says of its place: neither field is under the checksum.
fn restamp(file: &dyn DiskFile, position: Position, shift: i64, leader_epoch: Option<i32>) -> Result<()> {
    let mut head = [0; BATCH_HEADER_SIZE];
    let read = file.read_at(&mut head, position.0)?;
    let field = batch::moved(&head[..read], shift, leader_epoch);
    Ok(file.write_at(&field, position.0)?)
}

/// Empty batches that take the offsets of lost records, as far as the segment reaches.
fn fillers(base: Offset, lost: &std::ops::Range<i64>, epochs: &[LeaderEpochRow]) -> Vec<Vec<u8>> {
    let last = Offset(lost.end - 1);
    if lost.is_empty() || last.relative_to(base).is_none() {
        return Vec::new();
    }
    let epoch = leader_epochs::epoch_at(epochs, Offset(lost.start));
    vec![batch::empty(Offset(lost.start), last, epoch).to_vec()]
}

fn copy(from: &dyn DiskFile, bytes: std::ops::Range<u64>, to: &dyn DiskFile, position: u64) -> Result<u64> {
    let mut piece = vec![0; CHUNK.min((bytes.end.saturating_sub(bytes.start)) as usize)];
    let mut at = bytes.start;
    while at < bytes.end {
        let wanted = piece.len().min((bytes.end - at) as usize);
        let read = from.read_at(&mut piece[..wanted], at)?;
        if read == 0 {
            break;
        }
        to.write_at(&piece[..read], position + at - bytes.start)?;
        at += read as u64;
    }
    Ok(at - bytes.start)
}

/// Keeps a copy of a damaged file beside it, named `<name>.damaged` (the name cut where it is too long for that), and puts
/// a new one in its place, in the folder that is locked.
///
/// # Errors
/// When the disk fails.
pub fn replace_damaged(lock: &FolderLock, name: &str, bytes: &[u8]) -> Result<()> {
    const NAME_MAX: usize = 250 - DAMAGED_SUFFIX.len();
    const TEMPORARY: &str = "repair.tmp";
    let folder = &**lock.folder();
    if let Some(damaged) = atomic::read_small(folder, name, SMALL_FILE_MAX)? {
        let shortened: String = name.chars().take(NAME_MAX).collect();
        let kept = free_name(folder, &format!("{shortened}{DAMAGED_SUFFIX}"))?;
        atomic::replace(folder, TEMPORARY, &kept, &damaged)?;
    }
    Ok(atomic::replace(folder, TEMPORARY, name, bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, problem: Problem) -> Finding {
        Finding { path: PathBuf::from("/t-0").join(name), position: None, offset: None, problem }
    }

    /// What is planned for each of these findings, without and with leave to give records up.
    fn planned(findings: &[Finding]) -> [Vec<Remedy>; 2] {
        [DamagedRecords::Keep, DamagedRecords::GiveUp].map(|damaged_records| {
            let plan = plan(findings.to_vec(), damaged_records);
            assert!(plan.findings().eq(findings), "a decision on each, in their order");
            assert_eq!(plan.acts(), plan.decisions.iter().any(|it| it.remedy.acts()));
            plan.decisions.into_iter().map(|decision| decision.remedy).collect()
        })
    }

    fn damaged_batch() -> Problem {
        Problem::DamagedBatch { end: Position(100), next_offset: Offset(1), what: "its checksum".into() }
    }

    fn wrong_entries() -> Problem {
        Problem::WrongIndexEntries { count: 1, what: "it leads nowhere".into() }
    }

    #[test]
    fn records_are_given_up_only_with_leave() {
        for (problem, with_leave) in [
            (damaged_batch(), Remedy::StepOver),
            (Problem::MissingOffsets { next_offset: Offset(7) }, Remedy::StepOver),
            (Problem::EndsBelowRecoveryPoint { recovery_point: Offset(7) }, Remedy::StepOver),
            (Problem::MissingFolder, Remedy::BeginAnew),
        ] {
            let [without, with] = planned(&[finding("00000000000000000000.log", problem.clone())]);
            assert_eq!((&without[..], &with[..]), (&[Remedy::StepOverIfAsked][..], &[with_leave][..]), "{problem}");
            assert!(!without[0].acts() && with[0].acts());
        }
        let [without, with] =
            planned(&[finding("00000000000000000000.log", Problem::StopsABroker { what: String::new() })]);
        assert_eq!((without, with), (vec![Remedy::Nothing], vec![Remedy::Nothing]));
    }

    #[test]
    fn indexes_of_a_log_that_stays_damaged_are_left_for_later() {
        let findings = [
            finding("00000000000000000000.log", damaged_batch()),
            finding("00000000000000000000.index", wrong_entries()),
            finding("00000000000000000009.timeindex", wrong_entries()),
        ];
        let [without, with] = planned(&findings);
        assert_eq!(without, [Remedy::StepOverIfAsked, Remedy::AfterTheLog, Remedy::RebuildIndexes]);
        assert_eq!(with, [Remedy::StepOver, Remedy::RebuildIndexes, Remedy::RebuildIndexes]);
    }
}
