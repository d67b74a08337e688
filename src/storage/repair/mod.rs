//! Mends what a [`check`](super::check) finds in one partition: [`plan`] decides, [`apply`] does.
//!
//! A [`Plan`] has one [`Remedy`] for each finding, so that what would be done can be shown before it is. What is applied is
//! planned from what was found with the folder locked. Nothing that is sound is touched:
//! - an offset or epoch that is wrong in a header is put right in place, a few bytes outside the checksum: an offset only
//!   where the batches on both sides say which it is;
//! - a segment that holds damage is written again beside the old one, synced, and renamed over it: sound batches byte for
//!   byte, and in place of lost records an empty batch (a header that keeps the offsets, as a cleaner leaves them), so that
//!   no offset is ever given twice and none is missing. The damaged bytes are kept as `cut-<base offset>-<position>`, one
//!   file for each range of bytes;
//! - indexes are rebuilt from the batches, and a torn tail is cut and kept, as the next writer would do it;
//! - a damaged `leader-epoch-checkpoint` is kept under another name and rebuilt from the batches.
//!
//! Where records are given up, the log goes on at the highest offset that a file claims for it, so that the claim stays true
//! and no offset is given twice. A claim that no batches can reach is lowered first ([`Plan::out_of_reach`]).
//!
//! The states that a crash can leave are listed in `splice.rs` and [`lower_claims`]; the next repair or writer takes each
//! from there.

mod splice;

use super::check::{Finding, Loss, Overlap, Owner, Problem};
use super::durable_end;
use super::file_name::{DAMAGED_SUFFIX, FileKind, parse_segment_name, segment_path};
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
use uuid::Uuid;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How far past the end of a log its offsets are filled with empty batches, which takes 256 segments. A claim beyond is
/// nonsense, or the log is not the one that it was made for.
pub const REACH: i64 = 1 << 39;
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
    /// Records have to be given up, and only a repair that accepts that does it.
    IfLossIsAccepted,
    /// One of two that contradict each other is kept elsewhere and taken out.
    TakeOutOne,
    /// The segments that the one before them covers are kept under other names.
    SetSegmentsAside,
    /// An empty batch takes the place of all records of a segment.
    ReplaceLog,
    /// The log goes on at its log start offset.
    BeginAtLogStart,
    /// The recovery point, the high watermark and what else claims more are lowered to the log end.
    LowerClaims,
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
    /// The topic file is written again.
    WriteTopicFile,
    /// The partition is begun anew behind its lost records.
    BeginAnew,
    /// The log of the segment has to be repaired first.
    AfterTheLog,
    /// The next producer does it.
    Wait,
    /// Nothing can be done from here.
    Nothing,
}

impl Remedy {
    fn of(finding: &Finding, damaged_records: DamagedRecords) -> Self {
        let is_accepted = damaged_records == DamagedRecords::GiveUp;
        match &finding.problem {
            Problem::DamagedBatch { .. }
            | Problem::OutOfOrder { .. }
            | Problem::MissingOffsets { .. }
            | Problem::EndsBelowRecoveryPoint { .. }
            | Problem::EndsBelowHighWatermark { .. }
            | Problem::Contradiction { .. }
            | Problem::StepsBack { .. }
            | Problem::OverlappingSegments { .. }
            | Problem::MissingLog { .. }
            | Problem::MissingFolder { owner: Owner::Kdir }
                if !is_accepted =>
            {
                Self::IfLossIsAccepted
            }
            Problem::DamagedBatch { .. }
            | Problem::EndsBelowRecoveryPoint { .. }
            | Problem::EndsBelowHighWatermark { .. }
                if is_out_of_reach(finding) =>
            {
                Self::LowerClaims
            }
            Problem::MissingOffsets { .. } if is_out_of_reach(finding) => Self::Nothing,
            Problem::DamagedBatch { .. }
            | Problem::OutOfOrder { .. }
            | Problem::MissingOffsets { .. }
            | Problem::EndsBelowRecoveryPoint { .. }
            | Problem::EndsBelowHighWatermark { .. } => Self::StepOver,
            Problem::Contradiction { .. }
            | Problem::StepsBack { .. }
            | Problem::OverlappingSegments { overlap: Overlap::EndOfThisOne(_), .. } => Self::TakeOutOne,
            Problem::OverlappingSegments { .. } => Self::SetSegmentsAside,
            Problem::MissingLog { .. } => Self::ReplaceLog,
            Problem::MissingFolder { owner: Owner::Kdir } => Self::BeginAnew,
            Problem::MissingFolder { owner: Owner::Broker } => Self::Nothing,
            Problem::RepeatedBatches { .. } => Self::TakeOut,
            Problem::TornTail { .. } => Self::CutTail,
            Problem::WrongBaseOffset { .. } => Self::RestoreBaseOffset,
            Problem::WrongLeaderEpoch { .. } => Self::RestoreLeaderEpoch,
            Problem::WrongIndexEntries { .. } | Problem::MissingTimeEntries { .. } => Self::RebuildIndexes,
            Problem::Unreadable { .. } if index_of(&finding.path).is_some() => Self::RebuildIndexes,
            Problem::DamagedFile { .. } | Problem::WrongTopicId => Self::RewriteFile,
            Problem::MissingTopicFile => Self::WriteTopicFile,
            Problem::InterruptedCompaction => Self::FinishCompaction,
            Problem::EndsBelowLogStart { .. } if is_accepted => Self::BeginAtLogStart,
            Problem::EndsBelowLogStart { .. } => Self::Wait,
            Problem::HiddenBatches { .. }
            | Problem::OffsetsOutOfReach
            | Problem::Gaps { .. }
            | Problem::FutureTimestamp { .. }
            | Problem::OpenTransaction { .. }
            | Problem::UnsupportedBatch { .. }
            | Problem::NewerFile { .. }
            | Problem::DamagedBrokerFile { .. }
            | Problem::Unreadable { .. }
            | Problem::StopsABroker { .. }
            | Problem::SetAside { .. }
            | Problem::PartitionTwice { .. }
            | Problem::NotServed { .. }
            | Problem::TopicIdsDiffer { .. }
            | Problem::DamagedMetadata { .. }
            | Problem::UnusualSegmentName
            | Problem::ForeignFolder { .. } => Self::Nothing,
        }
    }

    /// Whether anything is done.
    #[must_use]
    pub const fn acts(self) -> bool {
        !matches!(self, Self::IfLossIsAccepted | Self::AfterTheLog | Self::Wait | Self::Nothing)
    }

    /// What is done, as a sentence for a person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::FinishCompaction => "finish what the broker began",
            Self::CutTail => "cut the tail, keep it beside the log",
            Self::StepOver => "keep the bytes beside the log, an empty batch in place of what is lost",
            Self::IfLossIsAccepted => "nothing without --accept-loss, which goes on without the records",
            Self::TakeOutOne => "take it out, keep the bytes beside the log",
            Self::SetSegmentsAside => "keep the segments after it under other names",
            Self::ReplaceLog => "an empty batch in place of the segment's records",
            Self::BeginAtLogStart => "go on at the log start offset",
            Self::LowerClaims => "lower the recovery point and the high watermark to the log end",
            Self::TakeOut => "take the second copy out, keep it beside the log",
            Self::RestoreBaseOffset => "correct the base offset",
            Self::RestoreLeaderEpoch => "correct the leader epoch",
            Self::RebuildIndexes => "rebuild the indexes of the segment",
            Self::RewriteFile => "keep the file under another name, rebuild it",
            Self::WriteTopicFile => {
                "write the file again: the id and number of the partitions' folders, retention.ms=-1, retention.bytes=-1"
            }
            Self::BeginAnew => "make the folder again; its log starts after the lost records",
            Self::AfterTheLog => "nothing until the log is repaired",
            Self::Wait => "nothing, the next producer repairs it",
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

impl Decision {
    /// What is given up by what is done; `None` where nothing is.
    #[must_use]
    pub fn cost(&self) -> Option<Loss> {
        if self.remedy.acts() { self.finding.loss() } else { None }
    }
}

impl Plan {
    /// The log end to which claims are lowered that no empty batches can reach; `None` where there are none.
    #[must_use]
    pub fn out_of_reach(&self) -> Option<Offset> {
        let lowered = self.decisions.iter().filter(|it| it.remedy == Remedy::LowerClaims);
        lowered.filter_map(|it| it.finding.offset).min()
    }

    /// Why more may be found once this is done; `None` where it is all.
    #[must_use]
    pub fn is_incomplete(&self) -> Option<&'static str> {
        let acts = |it: &&Decision| it.remedy.acts();
        if self.decisions.iter().filter(acts).any(|it| takes_out(&it.finding)) {
            return Some("the order of the batches is checked again once some are taken out");
        }
        if self.acts() && self.decisions.iter().filter(|it| it.finding.loss().is_some()).count() > 1 {
            return Some("what lies beside each other is checked again once the first of it is dealt with");
        }
        self.decisions.iter().find_map(|it| match (it.remedy, &it.finding.problem) {
            (Remedy::FinishCompaction, _) => Some("what a broker left half compacted is checked once that is finished"),
            (Remedy::LowerClaims, Problem::DamagedBatch { .. }) => {
                Some("where the log ends is known once claims are lowered")
            }
            (Remedy::SetSegmentsAside | Remedy::AfterTheLog, _) => {
                Some("what depends on other findings is checked after them")
            }
            (_, Problem::Unreadable { .. }) => Some("a file cannot be read"),
            _ => None,
        })
    }
}

fn is_out_of_reach(finding: &Finding) -> bool {
    let fills = finding.loss().map_or(Vec::new(), |loss| loss.fills);
    fills.iter().any(|(_, offsets)| {
        let is_too_far = offsets.end.0.saturating_sub(offsets.start.0) > REACH;
        // Without a segment the log begins at any offset.
        offsets.end > Offset::BASE_MAX || (is_too_far && finding.position.is_some())
    })
}

/// Decides on every finding of a partition, or of the files at the root. Touches no disk.
#[must_use]
pub fn plan(findings: Vec<Finding>, damaged_records: DamagedRecords) -> Plan {
    let segment = |finding: &Finding| finding.path.with_extension("");
    let remedy = |finding: &Finding| Remedy::of(finding, damaged_records);
    let damaged: Vec<PathBuf> = findings.iter().filter(|it| stays_damaged(it, remedy(it))).map(segment).collect();
    // How far a segment reaches is known once its batches are in order.
    let out_of_order: Vec<PathBuf> =
        findings.iter().filter(|it| is_of_order(it) && remedy(it).acts()).map(|it| it.path.clone()).collect();
    let waits =
        |it: &Finding| matches!(it.problem, Problem::OverlappingSegments { .. }) && out_of_order.contains(&it.path);
    let removed: Vec<Finding> = findings.iter().filter(|it| remedy(it).acts() && !waits(it)).cloned().collect();
    let decision = |finding: Finding| {
        let remedy = match remedy(&finding) {
            Remedy::RebuildIndexes if damaged.contains(&segment(&finding)) => Remedy::AfterTheLog,
            remedy if remedy.acts() && (waits(&finding) || removed.iter().any(|it| goes_with(&finding, it))) => {
                Remedy::AfterTheLog
            }
            remedy => remedy,
        };
        Decision { finding, remedy }
    };
    Plan { decisions: findings.into_iter().map(decision).collect() }
}

/// Whether a batch claims offsets that the batches beside it contradict.
const fn is_of_order(finding: &Finding) -> bool {
    takes_out(finding) || matches!(finding.problem, Problem::WrongBaseOffset { .. })
}

/// Whether the batches of the finding's log are not in order after the repair. Overlapping segments each are.
const fn stays_damaged(finding: &Finding, remedy: Remedy) -> bool {
    matches!(remedy, Remedy::IfLossIsAccepted) && !matches!(finding.problem, Problem::OverlappingSegments { .. })
}

/// Whether what a finding is about is taken out for an overlap.
fn goes_with(finding: &Finding, overlap: &Finding) -> bool {
    let Problem::OverlappingSegments { overlap: what, .. } = &overlap.problem else { return false };
    match what {
        Overlap::EndOfThisOne(loss) => {
            finding.path == overlap.path && finding != overlap && finding.position >= Some(loss.bytes.start)
        }
        Overlap::NextOnes { bases, .. } => {
            let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            parse_segment_name(name).is_some_and(|(base, _)| bases.contains(&base))
        }
    }
}

/// Applies the remedies to a partition. Its findings were made with the folder locked, by this guard. Others may remain that
/// show only now: look again. Claims that are out of reach were lowered before.
///
/// # Errors
/// When the disk fails. What was done stays done.
pub fn apply(guard: &PartitionGuard, plan: &Plan, notices: &mut Vec<Notice>) -> Result<()> {
    if plan.decisions.iter().any(|it| it.remedy == Remedy::FinishCompaction) {
        // Which segments there are is known only afterwards.
        return leftovers::settle(guard, notices).map(drop);
    }
    let folder = &**guard.folder();
    let mut by_segment = BTreeMap::<Offset, Vec<&Finding>>::new();
    for Decision { finding, remedy } in plan.decisions.iter().filter(|it| it.remedy.acts()) {
        let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match (&finding.problem, parse_segment_name(name)) {
            _ if *remedy == Remedy::LowerClaims => {}
            (Problem::OverlappingSegments { overlap: Overlap::NextOnes { bases, .. }, .. }, _) => {
                bases.iter().rev().try_for_each(|&base| splice::set_aside(guard, base))?;
            }
            (_, Some((base, FileKind::Log | FileKind::OffsetIndex | FileKind::TimeIndex))) => {
                by_segment.entry(base).or_default().push(finding);
            }
            (_, None) if name == LEADER_EPOCH_FILE => rewrite_epochs(guard)?,
            _ => {}
        }
    }
    if segments::base_offsets(folder)?.is_empty() {
        return begin_log(guard, plan);
    }
    let epochs = match leader_epochs::read(folder) {
        Err(StorageError::Disk(error)) => return Err(error.into()),
        // One that is damaged is decided on by a finding of its own.
        epochs => epochs.unwrap_or_default(),
    };
    let mut changed: Vec<Offset> = by_segment.keys().copied().collect();
    for (&base, findings) in &by_segment {
        changed.extend(mend(guard, base, findings, &epochs)?);
    }
    let stays_damaged = |base: Offset| {
        let path = segment_path(folder.path(), base, FileKind::Log);
        plan.decisions.iter().any(|it| it.finding.path == path && stays_damaged(&it.finding, it.remedy))
    };
    let bases = segments::base_offsets(folder)?;
    for &base in changed.iter().filter(|base| !stays_damaged(**base) && bases.contains(base)) {
        let findings = by_segment.get(&base).into_iter().flatten();
        for finding in findings.filter(|finding| matches!(finding.problem, Problem::Unreadable { .. })) {
            // In place: a writer that has it open goes on in the same file.
            index_of(&finding.path).map_or(Ok(()), |name| Ok::<_, StorageError>(guard.create(name)?.set_len(0)?))?;
        }
        rebuild_indexes(guard, base, bases.last() == Some(&base), notices)?;
    }
    Ok(folder.sync()?)
}

/// Begins a log without segments after all that was promised, and all that indexes name whose logs are gone.
fn begin_log(guard: &PartitionGuard, plan: &Plan) -> Result<()> {
    let acting = plan.decisions.iter().filter(|it| it.remedy.acts() && it.remedy != Remedy::LowerClaims);
    let Some(next) = acting.clone().filter_map(|it| promised_by(&it.finding.problem)).max() else { return Ok(()) };
    for Decision { finding, .. } in acting.filter(|it| it.remedy == Remedy::ReplaceLog) {
        splice::set_aside(guard, finding.offset.unwrap_or_default())?;
    }
    create_empty_log(guard, next)?;
    Ok(guard.folder().sync()?)
}

/// Where the log was to end by the file that promised more.
const fn promised_by(problem: &Problem) -> Option<Offset> {
    match problem {
        Problem::EndsBelowRecoveryPoint { recovery_point: next }
        | Problem::EndsBelowHighWatermark { high_watermark: next }
        | Problem::MissingLog { next_offset: next } => Some(*next),
        _ => None,
    }
}

/// Lowers what the files in a partition's folder claim to `end`, where that is less: the durable end of the last run, rows of
/// leader epochs, a broker's snapshots of its producers. Durable when it returns. A crash leaves some of them lowered, which
/// is no more than what the next run may find after any power failure.
///
/// # Errors
/// When the disk fails.
pub fn lower_claims(guard: &PartitionGuard, topic_id: Option<Uuid>, end: Offset) -> Result<()> {
    durable_end::lower(guard, topic_id, end)?;
    match leader_epochs::settle(guard, end) {
        // One that is damaged is rebuilt from the batches.
        Err(StorageError::Corrupt { .. } | StorageError::Unsupported { .. }) => {}
        settled => drop(settled?),
    }
    let names = guard.folder().list()?.into_iter().filter(|entry| !entry.is_folder);
    let of_snapshot = |name: &str| parse_segment_name(name).filter(|(_, kind)| *kind == FileKind::Snapshot);
    let snapshots: Vec<Offset> = names.filter_map(|entry| Some(of_snapshot(&entry.name)?.0)).collect();
    leftovers::remove_snapshots_above(guard, &snapshots, end)?;
    Ok(guard.folder().sync()?)
}

/// The name of the index at `path`; `None` where it is none.
fn index_of(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?;
    let (_, kind) = parse_segment_name(name)?;
    matches!(kind, FileKind::OffsetIndex | FileKind::TimeIndex).then_some(name)
}

/// Whether a batch is taken out for its place in the log.
const fn takes_out(finding: &Finding) -> bool {
    matches!(
        finding.problem,
        Problem::OutOfOrder { .. }
            | Problem::RepeatedBatches { .. }
            | Problem::Contradiction { .. }
            | Problem::StepsBack { .. }
    )
}

/// Puts the log of a segment right. Returns segments that were made after it.
fn mend(guard: &PartitionGuard, base: Offset, findings: &[&Finding], epochs: &[LeaderEpochRow]) -> Result<Vec<Offset>> {
    let is_given_up = |it: &&&Finding| matches!(it.problem, Problem::MissingLog { .. });
    if let Some(lost) = findings.iter().find(is_given_up).and_then(|it| it.loss()) {
        splice::make_log(guard, base, &(lost.offsets.start.0..lost.offsets.end.0), epochs)?;
        return Ok(Vec::new());
    }
    let log = match OpenLog::open(&**guard.folder(), base, Access::Write) {
        // Set aside.
        Err(StorageError::Disk(error)) if error.is_not_found() => return Ok(Vec::new()),
        log => log?,
    };
    let (mut losses, mut made) = (Vec::new(), Vec::new());
    for finding in findings {
        let (Some(position), Some(offset)) = (finding.position, finding.offset) else { continue };
        match finding.problem {
            // What is wrong with the place of the same batch says which offsets it leaves.
            Problem::DamagedBatch { .. }
                if findings.iter().any(|it| it.position == finding.position && takes_out(it)) => {}
            Problem::EndsBelowLogStart { log_start_offset } => {
                create_empty_log(guard, log_start_offset)?;
                made.push(log_start_offset);
            }
            Problem::RepeatedBatches { end, .. } => losses.push(Loss::repeated(position..end)),
            Problem::WrongBaseOffset { claimed } => restamp(&*log.file, position, offset - claimed, None)?,
            Problem::WrongLeaderEpoch { right, .. } => restamp(&*log.file, position, 0, Some(right))?,
            _ => losses.extend(finding.loss()),
        }
    }
    log.file.sync()?;
    if !losses.is_empty() {
        let filled = splice::rewrite(guard, &log, &losses, epochs)?;
        made.extend(filled);
    }
    Ok(made)
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
            (Problem::MissingFolder { owner: Owner::Kdir }, Remedy::BeginAnew),
        ] {
            let [without, with] = planned(&[finding("00000000000000000000.log", problem.clone())]);
            assert_eq!((&without[..], &with[..]), (&[Remedy::IfLossIsAccepted][..], &[with_leave][..]), "{problem}");
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
        assert_eq!(without, [Remedy::IfLossIsAccepted, Remedy::AfterTheLog, Remedy::RebuildIndexes]);
        assert_eq!(with, [Remedy::StepOver, Remedy::RebuildIndexes, Remedy::RebuildIndexes]);
    }
}
