//! Looks at a partition before it is walked: lists its segments, fixes the log end, cuts them into units, and checks the
//! small files and the names in the folder.

use super::Subject;
use super::finding::{Acknowledgement, Finding, Problem};
use super::walk::{LogEndFound, Unit};
use crate::disk::{Access, DiskError, FileId, Folder, atomic};
use crate::format::checkpoint::{LeaderEpochCheckpoint, LeaderEpochRow};
use crate::format::header::{MAGIC_V2, NoBatch};
use crate::format::{snapshot, txn};
use crate::storage::file_name::{
    CLEANED_SUFFIX, FileKind, SWAP_SUFFIX, parse_segment_name, segment_name, segment_path,
};
use crate::storage::leader_epochs::{LEADER_EPOCH_FILE, LEADER_EPOCH_SIZE_MAX};
use crate::storage::lookup::{self, Indexes};
use crate::storage::scan::{self, Step, header_at};
use crate::storage::segments::{self, OpenLog};
use crate::storage::{Checkpoints, Result, StorageError};
use crate::units::{Offset, Position, Timestamp};
use std::path::PathBuf;

/// A segment is cut into units of about so many bytes, so that every core has work until the end.
const UNIT_SIZE: u64 = 32 << 20;
/// Bytes read at a time while the end of a log is looked for.
const CHUNK: usize = 64 << 10;
/// A half-written batch is looked at so often, with a pause between, before it counts as left behind.
const LOOKS: u32 = 20;
/// A snapshot or transaction index larger than this is none.
const SMALL_FILE_MAX: usize = 64 << 20;

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
            self.cut(&log, &indexes, end, followed_by)?;
        }
        let checkpoints = self.subject.checkpoints;
        if bases.is_empty() && checkpoints.promise_more_than(Offset::ZERO) {
            self.note(folder.path().to_owned(), Some(checkpoints.log_start_offset), ends_below(&checkpoints));
        }
        self.check_names(folder, &bases)?;
        self.read_epochs(folder)
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
    fn cut(&mut self, log: &OpenLog, indexes: &Indexes, end: Position, followed_by: Option<Offset>) -> Result<()> {
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

    fn check_names(&mut self, folder: &dyn Folder, bases: &[Offset]) -> Result<()> {
        let entries = folder.list()?.into_iter().filter(|entry| !entry.is_folder);
        let mut names: Vec<String> = entries.map(|entry| entry.name).collect();
        names.sort_unstable();
        // A half-finished retention run leaves indexes below the first segment. Where records are synced before they are
        // acknowledged, an index without a log is what a power failure left of a segment in which nothing was acknowledged.
        let may_be_lost = self.subject.acknowledgement == Acknowledgement::BeforeSync;
        let is_without_log =
            |base| may_be_lost && bases.first().is_none_or(|&first| base > first) && !bases.contains(&base);
        for name in names {
            let path = folder.path().join(&name);
            match parse_segment_name(&name) {
                Some((base, FileKind::TransactionIndex)) if bases.contains(&base) => {
                    self.check_small_file(folder, &name, base, check_transactions)?;
                }
                Some((base, FileKind::Snapshot)) => {
                    self.check_small_file(folder, &name, base, |bytes| snapshot::decode(bytes).map(drop))?;
                }
                Some((base, FileKind::OffsetIndex | FileKind::TimeIndex)) if is_without_log(base) => {
                    self.check_index_without_log(folder, base, bases)?;
                }
                Some(_) => {}
                None => by_name(&name).into_iter().for_each(|problem| self.note(path.clone(), None, problem)),
            }
        }
        Ok(())
    }

    /// An index that has entries had a log.
    fn check_index_without_log(&mut self, folder: &dyn Folder, base: Offset, bases: &[Offset]) -> Result<()> {
        let path = segment_path(folder.path(), base, FileKind::Log);
        if self.findings.iter().any(|finding| finding.path == path) {
            return Ok(());
        }
        let unreadable = self.check_readable(folder, base)?;
        let indexes = Indexes::open_readable(folder, base, &unreadable)?;
        if indexes.offset.count() > 0 || indexes.time.count() > 0 {
            let named = [
                indexes.offset.last()?.map(|entry| entry.relative_offset),
                indexes.time.last()?.map(|entry| entry.relative_offset),
            ];
            let next = named.into_iter().flatten().map(|offset| offset.absolute(base).next()).max().unwrap_or(base);
            let followed_by = bases.iter().copied().find(|&it| it > base).unwrap_or(next);
            self.note(path, Some(base), Problem::MissingLog { next_offset: next.min(followed_by) });
        }
        Ok(())
    }

    fn check_small_file(
        &mut self,
        folder: &dyn Folder,
        name: &str,
        base: Offset,
        check: impl Fn(&[u8]) -> std::result::Result<(), crate::format::FormatError>,
    ) -> Result<()> {
        if let Some(bytes) = atomic::read_small(folder, name, SMALL_FILE_MAX)?
            && let Err(error) = check(&bytes)
        {
            self.note(folder.path().join(name), Some(base), Problem::DamagedBrokerFile { what: error.to_string() });
        }
        Ok(())
    }

    fn read_epochs(&mut self, folder: &dyn Folder) -> Result<()> {
        let path = folder.path().join(LEADER_EPOCH_FILE);
        let bytes = atomic::read_small(folder, LEADER_EPOCH_FILE, LEADER_EPOCH_SIZE_MAX)?.unwrap_or_default();
        match LeaderEpochCheckpoint::parse(&bytes) {
            Ok(checkpoint) => self.epochs = checkpoint.rows,
            Err(error) => self.note(path, None, Problem::DamagedFile { what: error.to_string() }),
        }
        Ok(())
    }
}

/// What a broker makes of a file that is not called as one of a segment: it takes what is before the first dot for a number.
fn by_name(name: &str) -> Option<Problem> {
    let is_unfinished = name.ends_with(CLEANED_SUFFIX) || name.ends_with(SWAP_SUFFIX);
    let plain = name.strip_suffix(CLEANED_SUFFIX).or(name.strip_suffix(SWAP_SUFFIX)).unwrap_or(name);
    FileKind::from_suffix(plain.rsplit_once('.')?.1)?;
    match plain.split_once('.')?.0.parse::<i64>() {
        Ok(_) if is_unfinished => Some(Problem::InterruptedCompaction),
        Ok(_) => Some(Problem::UnusualSegmentName),
        Err(_) => {
            let what = "the name is that of a segment's file, but for its base offset: move the file elsewhere";
            Some(Problem::StopsABroker { what: what.into() })
        }
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

fn check_transactions(bytes: &[u8]) -> std::result::Result<(), crate::format::FormatError> {
    bytes.chunks(txn::ABORTED_TRANSACTION_SIZE).try_for_each(|entry| txn::AbortedTransaction::decode(entry).map(drop))
}

/// The base offsets of the segments, without a hole that is none. A list of a folder in use can lack a name that came while
/// it was made, and have one that came later: a second list has every name that the first could have had.
fn stable_bases(folder: &dyn Folder) -> Result<Vec<Offset>> {
    let Some(&last) = segments::base_offsets(folder)?.last() else { return Ok(Vec::new()) };
    let mut bases = segments::base_offsets(folder)?;
    bases.truncate(bases.partition_point(|&base| base <= last));
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
