//! Looks at a partition before it is walked: lists its segments, fixes the log end, cuts them into units, and checks the
//! small files and the names in the folder.

use super::Subject;
use super::finding::{Finding, Problem};
use super::names::{Suspicion, suspicions};
use super::walk::{LogEndFound, Unit};
use crate::disk::{Access, DiskError, FileId, Folder, atomic};
use crate::format::checkpoint::{LeaderEpochCheckpoint, LeaderEpochRow};
use crate::format::header::{BatchHeader, MAGIC_V2, NoBatch};
use crate::storage::file_name::{CLEANED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, segment_name, segment_path};
use crate::storage::leader_epochs::{self, LEADER_EPOCH_FILE, LEADER_EPOCH_SIZE_MAX};
use crate::storage::lookup::{self, Indexes};
use crate::storage::scan::{self, HEADER_CHUNK, Scanner, Step, header_at};
use crate::storage::segments::{self, OpenLog};
use crate::storage::{Checkpoints, Result, StorageError};
use crate::units::{Offset, Position, Timestamp};
use std::path::PathBuf;

/// A segment is cut into units of about so many bytes, so that every core has work until the end.
const UNIT_SIZE: u64 = 32 << 20;
/// Bytes read at a time while the end of a log is looked for.
const CHUNK: usize = 64 << 10;
/// A half-written batch is looked at so often, with a pause between, before it counts as left behind.
pub(super) const LOOKS: u32 = 20;

/// A partition, ready to be walked.
pub(super) struct Survey {
    pub(super) subject: Subject,
    /// Which folder was surveyed; `None` where there is none.
    pub(super) folder_id: Option<FileId>,
    pub(super) epochs: Vec<LeaderEpochRow>,
    /// Oldest first, those of a segment together.
    pub(super) units: Vec<Unit>,
    pub(super) findings: Vec<Finding>,
    /// The time of the check, where it is to be judged by.
    pub(super) now: Option<Timestamp>,
    unreadable_indexes: Vec<(Offset, FileKind)>,
    /// What looked wrong in the folder, and does not count yet.
    pub(super) suspicions: Vec<Suspicion>,
}

/// Which files are those of a segment: a broker's cleaner puts others in their place, one after the other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentFiles {
    ids: Vec<Option<FileId>>,
    /// Those that are about to be put in place, or to be removed; a crash leaves some as well.
    passing: Vec<String>,
}

impl SegmentFiles {
    fn of(folder: &dyn Folder, base: Offset) -> Result<Self> {
        let mut ids = Vec::new();
        for kind in FileKind::ALL {
            ids.push(folder.stat(&segment_name(base, kind))?.map(|stat| stat.id));
        }
        let begin = segment_name(base, FileKind::Log).replace("log", "");
        let ends = [CLEANED_SUFFIX, SWAP_SUFFIX, DELETED_SUFFIX];
        let is_passing = |name: &String| name.starts_with(&begin) && ends.iter().any(|end| name.ends_with(end));
        let mut passing: Vec<String> = folder.list()?.into_iter().map(|entry| entry.name).filter(is_passing).collect();
        passing.sort_unstable();
        Ok(Self { ids, passing })
    }

    /// Whether it may be that a change is going on.
    pub(super) fn may_be_changing(&self) -> bool {
        !self.passing.is_empty()
    }
}

/// A file that the disk does not give.
pub(super) fn unreadable(error: DiskError) -> Finding {
    let what = format!("{error}: {}", error.source);
    Finding { path: error.path, position: None, offset: None, problem: Problem::Unreadable { what } }
}

impl Survey {
    pub(super) fn take(subject: Subject, pause: fn()) -> Result<Self> {
        let folder = subject.folder();
        let mut survey = Self {
            subject,
            folder_id: None,
            epochs: Vec::new(),
            units: Vec::new(),
            findings: Vec::new(),
            now: None,
            unreadable_indexes: Vec::new(),
            suspicions: Vec::new(),
        };
        let folder = match folder {
            Ok(Some(folder)) => folder,
            Ok(None) => return Ok(survey),
            Err(StorageError::Disk(error)) => {
                survey.findings.push(unreadable(error));
                return Ok(survey);
            }
            Err(error) => return Err(error),
        };
        survey.folder_id = Some(folder.id());
        match survey.look(&*folder, pause) {
            Err(StorageError::Disk(error)) if error.is_not_found() && !folder.is_named()? => {
                // Deleted while it was looked at.
                survey.units.clear();
            }
            Err(StorageError::Disk(error)) => survey.findings.push(unreadable(error)),
            other => other?,
        }
        Ok(survey)
    }

    fn note(&mut self, path: PathBuf, offset: Option<Offset>, problem: Problem) {
        self.findings.push(Finding { path, position: None, offset, problem });
    }

    fn look(&mut self, folder: &dyn Folder, pause: fn()) -> Result<()> {
        let bases = stable_bases(folder)?;
        let damaged_epochs = self.read_epochs(folder)?;
        let mut epoch_reached = -1;
        for (place, &base) in bases.iter().enumerate() {
            let Some(log) = segments::open_log(folder, base)? else { continue };
            let unreadable = self.check_readable(folder, base)?;
            let indexes = Indexes::open_readable(folder, base, &unreadable)?;
            let followed_by = bases.get(place + 1).copied();
            let end = match followed_by {
                Some(_) => Position(log.file.stat()?.size),
                None => log_end(&log, &indexes, pause)?,
            };
            let path = |kind| segment_path(folder.path(), base, kind);
            self.check_behind(path(FileKind::OffsetIndex), base, indexes.offset.junk_behind()?);
            self.check_behind(path(FileKind::TimeIndex), base, indexes.time.junk_behind()?);
            self.cut(&log, &indexes, end, followed_by, epoch_reached)?;
            epoch_reached = self.first_epoch(&log, end)?.map_or(epoch_reached, |epoch| epoch_reached.max(epoch));
        }
        let checkpoints = self.subject.checkpoints;
        if bases.is_empty() && checkpoints.promise_more_than(Offset::ZERO) {
            self.note(folder.path().to_owned(), Some(checkpoints.log_start_offset), ends_below(&checkpoints));
        }
        self.suspicions = suspicions(folder, &bases, self.subject.acknowledgement)?;
        if let Some(what) = damaged_epochs {
            self.note(folder.path().join(LEADER_EPOCH_FILE), None, Problem::DamagedFile { what });
        }
        Ok(())
    }

    /// The epoch of the first batch of a segment, where the file has the same one.
    fn first_epoch(&self, log: &OpenLog, end: Position) -> Result<Option<i32>> {
        let header = header_at(&*log.file, Position::ZERO, end.0)?;
        let is_listed = |header: &BatchHeader| {
            let listed = leader_epochs::epoch_at(&self.epochs, header.base_offset);
            header.magic == MAGIC_V2 && header.leader_epoch == listed
        };
        let Some(header) = header.filter(is_listed) else { return Ok(None) };
        Ok(scan::is_valid_batch_at(log, Position::ZERO)?.then_some(header.leader_epoch))
    }

    /// Reads both indexes of a segment once. Those that the disk does not give are findings of their own, and the log is
    /// checked without them.
    fn check_readable(&mut self, folder: &dyn Folder, base: Offset) -> Result<Vec<FileKind>> {
        let mut unreadable = Vec::new();
        for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
            match read_through(folder, &segment_name(base, kind)) {
                Err(error) if error.is_unreadable() => {
                    self.findings.push(self::unreadable(error));
                    unreadable.push(kind);
                }
                read => read?,
            }
        }
        self.unreadable_indexes.extend(unreadable.iter().map(|&kind| (base, kind)));
        Ok(unreadable)
    }

    /// The kinds of a segment's indexes that cannot be read.
    pub(super) fn unreadable_indexes_of(&self, base: Offset) -> Vec<FileKind> {
        self.unreadable_indexes.iter().filter(|(other, _)| *other == base).map(|&(_, kind)| kind).collect()
    }

    /// Holds the log end against what the checkpoint files promise.
    pub(super) fn check_bounds(&self, end: &LogEndFound) -> Option<Finding> {
        let checkpoints = &self.subject.checkpoints;
        let log_start_offset = checkpoints.log_start_offset;
        let problem = if checkpoints.promise_more_than(end.offset) {
            ends_below(checkpoints)
        } else if end.offset < log_start_offset {
            Problem::EndsBelowLogStart { log_start_offset }
        } else {
            return None;
        };
        Some(Finding { path: end.path.clone(), position: Some(end.position), offset: Some(end.offset), problem })
    }

    /// The segment of these units as it is named now, in one unit; `None` where it is gone. Of one that was the last, the end
    /// and the entries stay those of the survey.
    pub(super) fn as_named(&self, units: &[Unit]) -> Result<Option<(SegmentFiles, Unit)>> {
        let (first, last) = (&units[0], units.last().expect("a segment has a unit"));
        let base = first.base_offset;
        let folder = self.subject.folder()?.filter(|folder| Some(folder.id()) == self.folder_id);
        let Some(folder) = folder else { return Ok(None) };
        let files = SegmentFiles::of(&*folder, base)?;
        let Some(log) = segments::open_log(&*folder, base)? else { return Ok(None) };
        let indexes = Indexes::open_readable(&*folder, base, &self.unreadable_indexes_of(base))?;
        let unit = Unit { start: first.start, expected: first.expected, ends_segment: true, ..first.clone() };
        if last.followed_by.is_none() {
            let (offsets, times) = (last.offset_entries.end, last.time_entries.end);
            let unit = Unit { end: last.end, followed_by: None, ..unit };
            return Ok(Some((files, Unit { offset_entries: 0..offsets, time_entries: 0..times, ..unit })));
        }
        let followed_by = segments::base_offsets(&*folder)?.into_iter().find(|&other| other > base);
        let end = Position(log.file.stat()?.size);
        let (offset_entries, time_entries) = (0..indexes.offset.count(), 0..indexes.time.count());
        let unit = Unit { end, followed_by, offset_entries, time_entries, ..unit };
        Ok(followed_by.is_some().then_some((files, unit)))
    }

    /// Which files are those of a segment.
    pub(super) fn files(&self, base: Offset) -> Result<Option<SegmentFiles>> {
        self.subject.folder()?.map(|folder| SegmentFiles::of(&*folder, base)).transpose()
    }

    fn check_behind(&mut self, path: PathBuf, base_offset: Offset, junk: Option<u64>) {
        let Some(position) = junk.map(Position) else { return };
        let what = "bytes that are no entries stand behind the last entry".into();
        self.findings.push(Finding {
            path,
            position: Some(position),
            offset: Some(base_offset),
            problem: Problem::WrongIndexEntries { count: 1, what },
        });
    }

    /// Cuts a segment into units, at entries of its offset index that lead to valid batches.
    fn cut(
        &mut self,
        log: &OpenLog,
        indexes: &Indexes,
        end: Position,
        followed_by: Option<Offset>,
        epoch_reached: i32,
    ) -> Result<()> {
        let base = log.base_offset;
        let mut unit = Unit {
            base_offset: base,
            start: Position::ZERO,
            end,
            expected: base,
            followed_by,
            ends_segment: true,
            offset_entries: 0..indexes.offset.count(),
            time_entries: 0..indexes.time.count(),
            epoch_reached,
            is_believed: followed_by.is_some_and(|next| next <= self.subject.checkpoints.index_point),
        };
        let mut wanted = UNIT_SIZE;
        while wanted + UNIT_SIZE / 2 < end.0 {
            let number = indexes.offset.partition_point(|entry| entry.position.0 < wanted)?;
            wanted += UNIT_SIZE;
            let Some(entry) = indexes.offset.get(number)?.filter(|entry| entry.position < end) else { break };
            let Some(header) = header_at(&*log.file, entry.position, end.0)? else { continue };
            // A message of an old format does not tell where its offsets begin.
            if entry.position <= unit.start
                || header.magic != MAGIC_V2
                || header.base_offset < unit.expected
                || !scan::is_valid_batch_at(log, entry.position)?
            {
                continue;
            }
            let times = indexes.time.partition_point(|it| it.relative_offset.absolute(base) < header.base_offset)?;
            let rest = Unit {
                start: entry.position,
                expected: header.base_offset,
                offset_entries: number..unit.offset_entries.end,
                time_entries: times.max(unit.time_entries.start)..unit.time_entries.end,
                ..unit.clone()
            };
            unit.end = rest.start;
            unit.followed_by = Some(rest.expected);
            unit.ends_segment = false;
            unit.offset_entries.end = number.max(unit.offset_entries.start);
            unit.time_entries.end = rest.time_entries.start;
            self.units.push(std::mem::replace(&mut unit, rest));
        }
        self.units.push(unit);
        Ok(())
    }

    /// Looks again at what looked wrong in the folder. What is not there any more, or another thing, is none.
    pub(super) fn look_again(&mut self) -> Result<()> {
        let folder = self.subject.folder()?.filter(|folder| Some(folder.id()) == self.folder_id);
        let Some(folder) = folder else {
            self.suspicions.clear();
            return Ok(());
        };
        let again = suspicions(&*folder, &segments::base_offsets(&*folder)?, self.subject.acknowledgement)?;
        self.suspicions.retain(|it| again.contains(it));
        Ok(())
    }

    /// Returns what is wrong with the file.
    fn read_epochs(&mut self, folder: &dyn Folder) -> Result<Option<String>> {
        let bytes = atomic::read_small(folder, LEADER_EPOCH_FILE, LEADER_EPOCH_SIZE_MAX)?.unwrap_or_default();
        match LeaderEpochCheckpoint::parse(&bytes) {
            Ok(checkpoint) => self.epochs = checkpoint.rows,
            Err(error) => return Ok(Some(error.to_string())),
        }
        Ok(None)
    }
}

/// The log ends below what was acknowledged.
fn ends_below(checkpoints: &Checkpoints) -> Problem {
    let Checkpoints { recovery_point, high_watermark, .. } = *checkpoints;
    match high_watermark > recovery_point {
        true => Problem::EndsBelowHighWatermark { high_watermark },
        false => Problem::EndsBelowRecoveryPoint { recovery_point },
    }
}

/// Reads a file to its end, if it is there.
fn read_through(folder: &dyn Folder, name: &str) -> std::result::Result<(), DiskError> {
    let file = match folder.open(name, Access::Read) {
        Err(error) if error.is_not_found() => return Ok(()),
        file => file?,
    };
    let (mut piece, mut at) = (vec![0; CHUNK], 0);
    loop {
        match file.read_at(&mut piece, at)? {
            0 => return Ok(()),
            read => at += read as u64,
        }
    }
}

/// The base offsets of the segments, without a hole that is none. A list of a folder in use can lack a name that came while
/// it was made, and have one that came later: a second list has every name that the first could have had.
fn stable_bases(folder: &dyn Folder) -> Result<Vec<Offset>> {
    let Some(&last) = segments::base_offsets(folder)?.last() else { return Ok(Vec::new()) };
    let mut bases = segments::base_offsets(folder)?;
    bases.truncate(bases.partition_point(|&base| base <= last));
    leave_out_replaced(folder, bases)
}

/// Leaves out the segments that a compaction was about to remove when it was interrupted: those whose offsets a new one covers
/// that has begun to take their place. Whoever loads the log next removes them.
fn leave_out_replaced(folder: &dyn Folder, mut bases: Vec<Offset>) -> Result<Vec<Offset>> {
    let is_swap = |base: &Offset| -> Result<bool> {
        let name = segment_name(*base, FileKind::Log);
        Ok(folder.stat(&name)?.is_none() && folder.stat(&format!("{name}{SWAP_SUFFIX}"))?.is_some())
    };
    let mut swaps = Vec::new();
    for base in &bases {
        if is_swap(base)? {
            swaps.push(*base);
        }
    }
    for base in swaps {
        let Some(log) = segments::open_log(folder, base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        while let Step::Batch(header) = scanner.step()? {
            scanner.pass(&header);
        }
        let end = scanner.expected();
        bases.retain(|other| *other <= base || *other >= end);
    }
    Ok(bases)
}

/// Where the log ends now. A batch that is being written is waited for; what no writer finishes in so many pauses belongs
/// to the log, for the walk to judge, unless it is the zeros of preallocation.
///
/// A [`LogReader`](crate::storage::LogReader) is asked where the *records* end ([`LogView`](crate::storage::LogView)), which
/// is another question. It takes an append that is under way, or was left half written, for the end; that is to be a finding
/// here, unless it goes on. What is damaged, or ends below the recovery point, is its error, and the walk has to go through
/// it. And it follows a writer, into the next segment too, where a check ends with what the file had when it began.
fn log_end(log: &OpenLog, indexes: &Indexes, pause: fn()) -> Result<Position> {
    let size = log.file.stat()?.size;
    let mut scanner = lookup::scan_from_last_entry(log.clone(), size, &indexes.offset, CHUNK)?;
    let mut looks = 0;
    while scanner.position().0 < size {
        let is_zero = match scanner.step()? {
            Step::Batch(header) if scanner.checksum_matches(&header)? => {
                scanner.pass(&header);
                looks = 0;
                continue;
            }
            Step::End => break,
            step => matches!(step, Step::Bad(NoBatch::Zeros)) && scanner.is_zero_to_end()?,
        };
        if is_zero {
            break;
        }
        if looks == LOOKS {
            return Ok(Position(scanner.size()));
        }
        looks += 1;
        pause();
        scanner.refresh()?;
    }
    Ok(scanner.position())
}
