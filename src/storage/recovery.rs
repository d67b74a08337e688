//! What a writer does before it appends: finds the true end of a segment, cuts what was left half written, and brings
//! the indexes in line with the batches.
//!
//! The work follows what lies behind the recovery point, not the size of the log. In numbered passes:
//! 1. The folder: what an interrupted retention run or a broker's cleaner has left is finished or undone
//!    (see `leftovers.rs`). Files of other names are nobody's business here.
//! 2. Without a segment, the log begins at its log start offset; it is corruption where durable records are missing.
//! 3. Below the recovery point everything is durable. The walk begins at the last batch there that both indexes are right
//!    about; an index without such an entry is rebuilt from the segment's start.
//! 4. Each batch from there on is read and its checksum held against its bytes; of what was added while this process ran,
//!    only the header. Its offsets must lie in its segment and rise: a segment whose name and content disagree is
//!    corruption.
//! 5. What is not a batch ends the walk. It is cut only in the last segment, above the recovery point, with no valid
//!    batch behind it: zeros (preallocation) silently, anything else after it was kept in a file beside the log. In any
//!    other place it is corruption, which is reported and left as it is; so is a whole batch of a format that is not known.
//! 6. Index entries that the batches contradict, and everything behind them, are replaced; a missing index is made.
//! 7. A log that ends below its recovery point is corruption; one that ends below its log start goes on there.
//!
//! A crash leaves one of these states, and each is where the next start begins again: a kept copy whose original is not
//! cut yet; a cut log whose indexes point behind its end; indexes cut but not filled.

use super::Result;
use super::append_plan::{LargestTimestamp, SegmentEnd, offset_entry, time_entry};
use super::file_name::{FileKind, cut_path, segment_path};
use super::index_file::{EntryRun, IndexEntry, IndexFile};
use super::lookup::{HEADER_CHUNK, Indexes, start_for_offset, time_entry_is_right};
use super::scan::{self, Scanner, Step, header_at};
use super::segments::OpenLog;
use super::sync::BATCH_COST_MIN;
use crate::disk::{Access, Disk, DiskError};
use crate::format::header::{BatchHeader, NoBatch};
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position};
use std::path::{Path, PathBuf};

/// Bytes read at a time while a segment is walked.
const WALK_CHUNK: usize = 256 << 10;
/// How much is kept under one name before the last is overwritten.
const KEPT_MAX: usize = 1000;

/// Something that was done to the log and that its owner should be told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// A half-written batch was cut from the end of a segment.
    TailCut {
        /// The segment file.
        path: PathBuf,
        /// Where it ends now.
        position: Position,
        /// How many bytes were cut.
        bytes: u64,
        /// Where they are kept; `None` where the disk had no room for them.
        kept_as: Option<PathBuf>,
    },
    /// Segments that a broker's cleaner had written were put in the place of the old ones.
    CompactionFinished {
        /// The partition's folder.
        path: PathBuf,
    },
}

/// A segment whose end and indexes are known to be right.
pub(crate) struct CheckedSegment {
    pub(crate) log: OpenLog,
    pub(crate) indexes: Indexes,
    pub(crate) end: SegmentEnd,
    /// Bytes that were read to find this out, small batches counted as more.
    pub(crate) bytes_walked: u64,
}

/// What is checked, and how.
pub(crate) struct Check<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) folder: &'a Path,
    pub(crate) base_offset: Offset,
    /// Up to here the segment is believed.
    pub(crate) believed: Offset,
    /// Whether the file has done nothing but grow while this process ran. Checksums are then not looked at: a writer that is
    /// killed leaves the file short, and what a power failure leaves is found by a process that starts after it. Otherwise
    /// each of several producers would read all that the others write.
    pub(crate) has_only_grown: bool,
    pub(crate) recovery_point: Offset,
    pub(crate) is_last: bool,
    pub(crate) index_interval_bytes: u64,
}

impl Check<'_> {
    /// Runs the passes on one segment.
    ///
    /// # Errors
    /// When the disk fails or the segment is corrupt.
    pub(crate) fn run(&self, notices: &mut Vec<Notice>) -> Result<CheckedSegment> {
        let path = segment_path(self.folder, self.base_offset, FileKind::Log);
        let file = self.disk.open(&path, Access::Write)?;
        let log = OpenLog { base_offset: self.base_offset, file, path };
        let indexes = Indexes::open(self.disk, self.folder, self.base_offset, Access::Create)?;
        let mut walk = Walk::begin(log, indexes, self)?;
        let problem = walk.run()?;
        if let Some(problem) = problem {
            self.cut(&mut walk, problem, notices)?;
        }
        walk.finish(self.is_last)
    }

    fn cut(&self, walk: &mut Walk, problem: NoBatch, notices: &mut Vec<Notice>) -> Result<()> {
        let (log, position) = (walk.scanner.log().clone(), walk.scanner.position());
        let is_zero = scan::is_zero_from(&log.file, position)?;
        if !self.is_last
            || matches!(problem, NoBatch::Unknown { .. })
            || walk.scanner.expected() < self.recovery_point
            || (!is_zero && scan::valid_batch_from(&log, position)?.is_some())
        {
            return Err(walk.scanner.corrupt(problem));
        }
        if !is_zero {
            let bytes = walk.scanner.size() - position.0;
            let kept_as = self.keep(&log, position)?;
            notices.push(Notice::TailCut { path: log.path.clone(), position, bytes, kept_as });
        }
        log.file.set_len(position.0)?;
        Ok(())
    }

    /// Copies what is about to be cut. On a full disk the cut goes on without: it never was a whole batch.
    fn keep(&self, log: &OpenLog, position: Position) -> Result<Option<PathBuf>> {
        let path = free_name(self.disk, &cut_path(self.folder, self.base_offset, position))?;
        match copy_from(self.disk, log, position, &path) {
            Ok(()) => Ok(Some(path)),
            Err(error) if error.is_full() => {
                self.disk.remove_file(&path)?;
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// `path`, or the same with a number behind it if something of that name was kept before.
pub(super) fn free_name(disk: &dyn Disk, path: &Path) -> Result<PathBuf> {
    let mut name = path.to_owned();
    for number in 1..KEPT_MAX {
        if disk.stat(&name)?.is_none() {
            break;
        }
        name = PathBuf::from(format!("{}.{number}", path.display()));
    }
    Ok(name)
}

fn copy_from(disk: &dyn Disk, log: &OpenLog, position: Position, path: &Path) -> std::result::Result<(), DiskError> {
    let copy = disk.open(path, Access::Create)?;
    copy.set_len(0)?;
    let mut piece = vec![0; WALK_CHUNK];
    let mut at = position.0;
    loop {
        let read = log.file.read_at(&mut piece, at)?;
        if read == 0 {
            return copy.sync();
        }
        copy.write_at(&piece[..read], at - position.0)?;
        at += read as u64;
    }
}

/// The entries of one index that the walk has found right, and those to be written in place of the rest.
struct IndexCheck<E> {
    right: usize,
    run: EntryRun<E>,
    replacement: Option<Vec<E>>,
}

impl<E: IndexEntry> IndexCheck<E> {
    fn new(right: usize) -> Self {
        Self { right, run: EntryRun::default(), replacement: None }
    }

    /// The first entry that has not been looked at.
    fn next(&mut self, index: &IndexFile<E>) -> Result<Option<E>> {
        self.run.get(index, self.right)
    }

    /// From here on the file is not asked any more.
    fn replace(&mut self) -> &mut Vec<E> {
        self.replacement.get_or_insert_default()
    }
}

struct Walk {
    scanner: Scanner,
    indexes: Indexes,
    index_interval_bytes: u64,
    start: Position,
    offset_check: IndexCheck<OffsetIndexEntry>,
    time_check: IndexCheck<TimeIndexEntry>,
    indexed_position: u64,
    largest: LargestTimestamp,
    /// The timestamp of the last right time entry.
    time_indexed: i64,
    checks_sums: bool,
    bytes_walked: u64,
}

impl Walk {
    fn begin(log: OpenLog, indexes: Indexes, check: &Check<'_>) -> Result<Self> {
        let base = log.base_offset;
        let size = log.file.stat()?.size;
        let mut start = (Position::ZERO, 0);
        let mut last_time = None;
        let mut time_count = 0;
        if check.believed > base {
            start = start_for_offset(&log, size, &indexes.offset, Offset(check.believed.0 - 1))?;
            if start.1 > 0
                && let Some(header) = header_at(&*log.file, start.0, size)?
            {
                let indexed = header.last_offset();
                time_count = indexes.time.partition_point(|entry| entry.relative_offset.absolute(base) <= indexed)?;
                last_time = if time_count > 0 { indexes.time.get(time_count - 1)? } else { None };
                let time_is_right = match &last_time {
                    Some(entry) => {
                        entry.timestamp >= header.max_timestamp && time_entry_is_right(&log, &indexes, entry)?
                    }
                    None => header.max_timestamp < 0,
                };
                if !time_is_right {
                    (start, time_count, last_time) = ((Position::ZERO, 0), 0, None);
                }
            }
        }
        let largest = last_time.map_or((-1, base), |entry| (entry.timestamp, entry.relative_offset.absolute(base)));
        let chunk = if check.has_only_grown { HEADER_CHUNK } else { WALK_CHUNK };
        Ok(Self {
            scanner: Scanner::new(log, start.0, chunk)?,
            indexes,
            index_interval_bytes: check.index_interval_bytes,
            start: start.0,
            offset_check: IndexCheck::new(start.1),
            time_check: IndexCheck::new(time_count),
            indexed_position: start.0.0,
            largest,
            time_indexed: largest.0,
            checks_sums: !check.has_only_grown,
            bytes_walked: 0,
        })
    }

    /// Walks until the file ends (`None`) or something is no batch.
    fn run(&mut self) -> Result<Option<NoBatch>> {
        loop {
            match self.scanner.step()? {
                Step::End => return Ok(None),
                Step::Bad(problem) => return Ok(Some(problem)),
                Step::Batch(header) => {
                    if self.checks_sums && !self.scanner.checksum_matches(&header)? {
                        return Ok(Some(self.scanner.checksum_error()));
                    }
                    self.note(&header)?;
                    self.bytes_walked += (header.size as u64).max(BATCH_COST_MIN);
                    self.scanner.pass(&header);
                }
            }
        }
    }

    /// Holds the index entries of one batch against Kafka's rule.
    fn note(&mut self, header: &BatchHeader) -> Result<()> {
        let (position, last) = (self.scanner.position(), header.last_offset());
        if header.max_timestamp > self.largest.0 {
            self.largest = (header.max_timestamp, last);
        }
        let is_indexed = if position == self.start && self.offset_check.right > 0 {
            true
        } else {
            self.note_offset(position, last)?
        };
        self.note_time(header, is_indexed)
    }

    fn note_offset(&mut self, position: Position, last: Offset) -> Result<bool> {
        let base = self.scanner.log().base_offset;
        let is_due = position.0 - self.indexed_position > self.index_interval_bytes;
        if self.offset_check.replacement.is_none() {
            match self.offset_check.next(&self.indexes.offset)? {
                Some(entry) if entry.position == position && entry.relative_offset.absolute(base) == last => {
                    self.offset_check.right += 1;
                    self.indexed_position = position.0;
                    return Ok(true);
                }
                Some(entry) if entry.position > position && !is_due => {}
                None if !is_due => {}
                _ => drop(self.offset_check.replace()),
            }
        }
        if is_due {
            self.offset_check.replace().push(offset_entry(base, position, last));
            self.indexed_position = position.0;
        }
        Ok(is_due)
    }

    fn note_time(&mut self, header: &BatchHeader, is_indexed: bool) -> Result<()> {
        let (base, last) = (self.scanner.log().base_offset, header.last_offset());
        while self.time_check.replacement.is_none() {
            let Some(entry) = self.time_check.next(&self.indexes.time)? else { break };
            if entry.relative_offset.absolute(base) > last {
                break;
            }
            // Only the batch that brought the largest timestamp so far is ever named.
            if (entry.timestamp, entry.relative_offset.absolute(base)) == self.largest && self.largest.1 == last {
                self.time_check.right += 1;
                self.time_indexed = entry.timestamp;
            } else {
                self.time_check.replace();
            }
        }
        if is_indexed && self.largest.0 > self.time_indexed {
            self.time_check.replace().push(time_entry(base, self.largest));
            self.time_indexed = self.largest.0;
        }
        Ok(())
    }

    fn finish(mut self, is_last: bool) -> Result<CheckedSegment> {
        let log = self.scanner.log().clone();
        if !is_last && self.largest.0 > self.time_indexed {
            self.time_check.replace().push(time_entry(log.base_offset, self.largest));
        }
        put_right(&mut self.indexes.offset, self.offset_check)?;
        put_right(&mut self.indexes.time, self.time_check)?;
        let size = self.scanner.position().0;
        let first = header_at(&*log.file, Position::ZERO, size)?;
        let end = SegmentEnd {
            size,
            next_offset: self.scanner.expected(),
            largest_timestamp: self.largest,
            first_batch_timestamp: first.map(|header| header.max_timestamp),
            indexed_position: self.indexed_position,
        };
        Ok(CheckedSegment { log, indexes: self.indexes, end, bytes_walked: self.bytes_walked })
    }
}

fn put_right<E: IndexEntry>(index: &mut IndexFile<E>, check: IndexCheck<E>) -> Result<()> {
    if index.count() != check.right || !index.is_trimmed()? {
        index.truncate(check.right)?;
    }
    match check.replacement {
        Some(entries) if !entries.is_empty() => index.append_all(&entries),
        _ => Ok(()),
    }
}
