//! Mends what [`verify`](super::verify) finds in one partition.
//!
//! Each finding has one [`Remedy`], so that what would be done can be shown before it is. Then, with the folder locked, what
//! is wrong is looked for once more and the remedies are applied. Nothing that is sound is touched:
//! - an offset or epoch that is wrong in a header is put right in place, a few bytes outside the checksum;
//! - a segment that holds damage is written anew beside the old one, synced, and renamed over it: sound batches byte for
//!   byte, and in place of lost records an empty batch (a header that keeps the offsets, as a cleaner leaves them), so that
//!   no offset is ever given twice and none is missing. The damaged bytes are kept as `cut-<base offset>-<position>`;
//! - indexes are rebuilt from the batches, and a torn tail is cut and kept, as the next writer would do it;
//! - a damaged `leader-epoch-checkpoint` is kept under another name and made anew from the batches.
//!
//! States that a crash can leave, each of which the next repair or writer takes from there: kept copies whose original is
//! not cut yet; a new segment file that was not renamed (`repair-<base offset>`, written over by the next); a new segment
//! with the indexes of the old, whose entries nobody believes.

use super::append::{LEADER_EPOCH_FILE, create_empty_log};
use super::file_name::{FileKind, cut_path, parse_segment_name, segment_path};
use super::recovery::{Check, Notice, free_name};
use super::scan::{Scanner, Step};
use super::segments::{self, OpenLog};
use super::verify::{Finding, Problem};
use super::{Result, StorageError, leftovers};
use crate::disk::{Access, Disk, DiskFile, Folder, atomic};
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
    /// What is done about each of the findings of a partition.
    #[must_use]
    pub fn of_all(findings: &[Finding], skip_corrupt: bool) -> Vec<Self> {
        let segment = |finding: &Finding| finding.path.with_extension("");
        let stays_damaged = |finding: &&Finding| Self::of(&finding.problem, skip_corrupt) == Self::StepOverIfAsked;
        let damaged: Vec<PathBuf> = findings.iter().filter(stays_damaged).map(segment).collect();
        let remedy = |finding: &Finding| match Self::of(&finding.problem, skip_corrupt) {
            Self::RebuildIndexes if damaged.contains(&segment(finding)) => Self::AfterTheLog,
            remedy => remedy,
        };
        findings.iter().map(remedy).collect()
    }

    const fn of(problem: &Problem, skip_corrupt: bool) -> Self {
        match problem {
            Problem::DamagedBatch { .. } | Problem::MissingOffsets { .. } | Problem::EndsBelowRecoveryPoint { .. } => {
                if skip_corrupt {
                    Self::StepOver
                } else {
                    Self::StepOverIfAsked
                }
            }
            Problem::MissingFolder => {
                if skip_corrupt {
                    Self::BeginAnew
                } else {
                    Self::StepOverIfAsked
                }
            }
            Problem::TornTail { .. } => Self::CutTail,
            Problem::WrongBaseOffset { .. } => Self::RestoreBaseOffset,
            Problem::WrongLeaderEpoch { .. } => Self::RestoreLeaderEpoch,
            Problem::WrongIndexEntries { .. } => Self::RebuildIndexes,
            Problem::DamagedFile { .. } | Problem::WrongTopicId => Self::RewriteFile,
            Problem::InterruptedCompaction => Self::FinishCompaction,
            Problem::EndsBelowLogStart { .. } => Self::Wait,
            Problem::OverlappingSegments { .. }
            | Problem::DamagedBrokerFile { .. }
            | Problem::Unreadable { .. }
            | Problem::StopsABroker => Self::Nothing,
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
            Self::RestoreBaseOffset => "put the base offset right",
            Self::RestoreLeaderEpoch => "put the leader epoch right",
            Self::RebuildIndexes => "rebuild the indexes of the segment",
            Self::RewriteFile => "keep the file under another name, make it anew",
            Self::BeginAnew => "make the folder anew, its log behind the lost records",
            Self::AfterTheLog => "nothing before the log is mended",
            Self::Wait => "nothing, the next producer mends it",
            Self::Nothing => "nothing can be done from here",
        }
    }
}

/// A partition that is locked for its repair.
pub struct Repair<'a> {
    /// The file system.
    pub disk: &'a dyn Disk,
    /// The partition's folder.
    pub folder: &'a dyn Folder,
    /// Its path.
    pub path: &'a Path,
    /// The interval of the offset index.
    pub index_interval_bytes: u64,
    /// Whether records may be given up.
    pub skip_corrupt: bool,
}

/// Bytes of a segment to be left out, and the offsets to be filled in their place.
struct Splice {
    bytes: std::ops::Range<u64>,
    lost: std::ops::Range<i64>,
}

impl Repair<'_> {
    /// Applies the remedies of what was found with the folder locked. Findings may remain that show only now: look again.
    ///
    /// # Errors
    /// When the disk fails. What was done stays done.
    pub fn apply(&self, findings: &[Finding], notices: &mut Vec<Notice>) -> Result<()> {
        let remedies = Remedy::of_all(findings, self.skip_corrupt);
        if remedies.contains(&Remedy::FinishCompaction) {
            // Which segments there are is known only afterwards.
            return leftovers::settle(self.disk, self.path, notices);
        }
        let mut by_segment = BTreeMap::<Offset, Vec<&Finding>>::new();
        for (finding, _) in findings.iter().zip(&remedies).filter(|(_, remedy)| remedy.acts()) {
            let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match parse_segment_name(name) {
                Some((base, FileKind::Log | FileKind::OffsetIndex | FileKind::TimeIndex)) => {
                    by_segment.entry(base).or_default().push(finding);
                }
                Some(_) => {}
                None if name == LEADER_EPOCH_FILE => self.rewrite_epochs()?,
                None => {
                    if let Problem::EndsBelowRecoveryPoint { recovery_point } = finding.problem {
                        create_empty_log(self.disk, self.path, recovery_point)?;
                    }
                }
            }
        }
        let epochs = self.epochs();
        for (&base, findings) in &by_segment {
            self.mend(base, findings, &epochs)?;
        }
        let is_damaged = |base: Offset| {
            let path = segment_path(self.path, base, FileKind::Log);
            findings.iter().zip(&remedies).any(|(it, remedy)| it.path == path && *remedy == Remedy::StepOverIfAsked)
        };
        let bases = segments::base_offsets(self.disk, self.path)?;
        for &base in by_segment.keys().filter(|&&base| !is_damaged(base)) {
            self.rebuild_indexes(base, bases.last() == Some(&base), notices)?;
        }
        Ok(self.folder.sync()?)
    }

    fn mend(&self, base: Offset, findings: &[&Finding], epochs: &[LeaderEpochRow]) -> Result<()> {
        let path = segment_path(self.path, base, FileKind::Log);
        let log = OpenLog { base_offset: base, file: self.disk.open(&path, Access::Write)?, path };
        let mut splices = Vec::new();
        for finding in findings {
            let (Some(position), Some(offset)) = (finding.position, finding.offset) else { continue };
            let splice = |end: Position, next: Offset| Splice { bytes: position.0..end.0, lost: offset.0..next.0 };
            match finding.problem {
                Problem::DamagedBatch { end, next_offset, .. } => splices.push(splice(end, next_offset)),
                Problem::MissingOffsets { next_offset } => splices.push(splice(position, next_offset)),
                Problem::EndsBelowRecoveryPoint { recovery_point } => {
                    splices.push(splice(Position(log.file.stat()?.size), recovery_point));
                }
                Problem::WrongBaseOffset { claimed } => restamp(&*log.file, position, offset - claimed, None)?,
                Problem::WrongLeaderEpoch { right, .. } => restamp(&*log.file, position, 0, Some(right))?,
                _ => {}
            }
        }
        log.file.sync()?;
        splices.sort_by_key(|splice| splice.bytes.start);
        if splices.is_empty() { Ok(()) } else { self.rewrite(&log, &splices, epochs) }
    }

    /// Writes a segment anew without the bytes of `splices`, and puts it in the place of the old one.
    fn rewrite(&self, log: &OpenLog, splices: &[Splice], epochs: &[LeaderEpochRow]) -> Result<()> {
        let temporary = self.path.join(format!("repair-{:020}", log.base_offset.0));
        let new = self.disk.open(&temporary, Access::Create)?;
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
                let kept = cut_path(self.path, log.base_offset, Position(splice.bytes.start));
                let kept = self.disk.open(&free_name(self.disk, &kept)?, Access::Create)?;
                copy(&*log.file, splice.bytes.clone(), &*kept, 0)?;
                kept.sync()?;
            }
            at = splice.bytes.end;
        }
        copy(&*log.file, at..log.file.stat()?.size, &*new, written)?;
        new.sync()?;
        // What was kept has its name before the original loses its own.
        self.folder.sync()?;
        self.disk.rename(&temporary, &log.path)?;
        Ok(self.folder.sync()?)
    }

    fn rebuild_indexes(&self, base_offset: Offset, is_last: bool, notices: &mut Vec<Notice>) -> Result<()> {
        let check = Check {
            disk: self.disk,
            folder: self.path,
            base_offset,
            believed: base_offset,
            has_only_grown: false,
            recovery_point: Offset::ZERO,
            is_last,
            index_interval_bytes: self.index_interval_bytes,
        };
        match check.run(notices) {
            Ok(checked) => {
                checked.log.file.sync()?;
                checked.indexes.offset.sync()?;
                Ok(checked.indexes.time.sync()?)
            }
            // Found by the next look, if it is still there.
            Err(StorageError::Corrupt { .. } | StorageError::Unsupported { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn epochs(&self) -> Vec<LeaderEpochRow> {
        let bytes = atomic::read_small(self.disk, &self.path.join(LEADER_EPOCH_FILE), CHUNK);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        LeaderEpochCheckpoint::parse(&bytes).map_or_else(|_| Vec::new(), |checkpoint| checkpoint.rows)
    }

    /// The epochs as the batches show them: each begins with the first batch that has it.
    fn rewrite_epochs(&self) -> Result<()> {
        let mut rows: Vec<LeaderEpochRow> = Vec::new();
        for base in segments::base_offsets(self.disk, self.path)? {
            let Some(log) = segments::open_log(self.disk, self.path, base)? else { continue };
            let mut scanner = Scanner::new(log, Position::ZERO, CHUNK)?;
            while let Step::Batch(header) = scanner.step()? {
                let is_new = rows.last().is_none_or(|row| row.epoch < header.leader_epoch);
                if header.magic == MAGIC_V2
                    && header.leader_epoch >= 0
                    && is_new
                    && scanner.checksum_matches(&header)?
                {
                    rows.push(LeaderEpochRow { epoch: header.leader_epoch, start_offset: header.base_offset });
                }
                scanner.pass(&header);
            }
        }
        let path = self.path.join(LEADER_EPOCH_FILE);
        let temporary = self.path.join(format!("{LEADER_EPOCH_FILE}.tmp"));
        replace_damaged(self.disk, &temporary, &path, LeaderEpochCheckpoint { rows }.print().as_bytes())
    }
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
    let began = epochs.partition_point(|row| row.start_offset.0 <= lost.start);
    let epoch = began.checked_sub(1).map_or(-1, |place| epochs[place].epoch);
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
/// a new one in its place. The caller holds the lock under which `temporary` has one writer.
///
/// # Errors
/// When the disk fails.
pub fn replace_damaged(disk: &dyn Disk, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    const SUFFIX: &str = ".damaged";
    const NAME_MAX: usize = 250 - SUFFIX.len();
    if let Some(damaged) = atomic::read_small(disk, path, SMALL_FILE_MAX)? {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name: String = name.chars().take(NAME_MAX).collect();
        let kept = free_name(disk, &atomic::folder_of(path).join(format!("{name}{SUFFIX}")))?;
        atomic::replace(disk, temporary, &kept, &damaged)?;
    }
    Ok(atomic::replace(disk, temporary, path, bytes)?)
}
