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
//! 5. What is not a batch ends the walk. It is cut only in the last segment, above all that was acknowledged, where `tail` finds
//!    that no batch follows: zeros (preallocation) silently, a torn append after it was kept in a file beside the log. In
//!    any other place it is corruption, which is reported and left as is unless a power failure explains it (see
//!    `power_failure.rs`); so is a whole batch of a format that is not known.
//! 6. Index entries that the batches contradict, and everything behind them, are replaced; a missing index is made.
//! 7. A log that ends below what was acknowledged is corruption, and one whose last batch leaves out offsets although what
//!    was acknowledged says that it has none; one that ends below its log start goes on there.
//!
//! A crash leaves one of these states, and each is where the next start begins again: a kept copy whose original is not
//! cut yet; a cut log whose indexes point behind its end; indexes cut but not filled.

use super::append_plan::SegmentEnd;
use super::file_name::cut_name;
use super::index_file::{EntryRun, IndexEntry, IndexFile};
use super::index_rule::{LargestTimestamp, Named, is_due, named, names_time_of, offset_entry, time_entry};
use super::lookup::{Indexes, batch_of_time_entry, start_for_offset};
use super::scan::{HEADER_CHUNK, Scanner, Step, described, header_at};
use super::segment_writer::{IndexEntries, SegmentWriter};
use super::segments::OpenLog;
use super::sync::BATCH_COST_MIN;
use super::tail::Tail;
use super::{PartitionGuard, Result, StorageError, rewrite};
use crate::disk::{Access, Folder};
use crate::format::FormatError;
use crate::format::header::{BatchHeader, NoBatch};
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position, Timestamp};
use std::path::PathBuf;

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

/// A segment that was checked, and what that took.
pub(crate) struct CheckedSegment {
    pub(crate) segment: SegmentWriter,
    /// Bytes that were read to find this out, small batches counted as more.
    pub(crate) bytes_walked: u64,
}

/// What is checked, and how.
pub(crate) struct Check {
    pub(crate) base_offset: Offset,
    /// Up to here the segment is believed.
    pub(crate) believed: Offset,
    /// The open file, where it has done nothing but grow while this process had it open. Checksums are then not compared: a
    /// writer that is killed leaves the file short, and what a power failure leaves is found by a process that starts after
    /// it. Otherwise each of several producers would read all that the others write. And it stays open: a descriptor that is
    /// older than what was written is told when that cannot be made durable.
    pub(crate) grown: Option<OpenLog>,
    /// Batches from this offset on, whose checksums match, are written again: a failed write-back may have left them in the
    /// page cache alone, and called them clean.
    pub(crate) rewrite_from: Option<Offset>,
    pub(crate) is_last: bool,
}

impl Check {
    /// Runs the passes on one segment.
    ///
    /// # Errors
    /// When the disk fails or the segment is corrupt.
    pub(crate) fn run(&self, guard: &PartitionGuard, notices: &mut Vec<Notice>) -> Result<CheckedSegment> {
        let walked = self.walk(guard)?;
        self.finish(guard, walked, notices)
    }

    /// Walks the segment to its end, or to the first bytes that are no batch. Makes indexes that are missing and changes
    /// nothing else.
    pub(crate) fn walk(&self, guard: &PartitionGuard) -> Result<Walked> {
        let folder = &**guard.folder();
        let log = match &self.grown {
            Some(grown) => grown.clone(),
            None => OpenLog::open(folder, self.base_offset, Access::Write)?,
        };
        let indexes = Indexes::open(folder, self.base_offset, Access::Create)?;
        let mut walk = Walk::begin(log, indexes, self, guard.config().index_interval_bytes)?;
        let problem = walk.run()?;
        Ok(Walked { walk, problem })
    }

    /// Cuts what follows the walk's end, brings the indexes in line, and writes again what has to be.
    ///
    /// # Errors
    /// When the disk fails or the segment is corrupt.
    pub(crate) fn finish(
        &self,
        guard: &PartitionGuard,
        walked: Walked,
        notices: &mut Vec<Notice>,
    ) -> Result<CheckedSegment> {
        let Walked { mut walk, problem } = walked;
        if self.is_last {
            walk.refuse_denied(guard)?;
        }
        if let Some(problem) = problem {
            self.cut(guard, &mut walk, problem, notices)?;
        }
        let (rewrite_start, end) = (walk.rewrite_start, walk.scanner.position());
        let checked = walk.finish(self.is_last)?;
        if let Some(start) = rewrite_start {
            rewrite::make_durable(&checked.segment.log, start, end)?;
            rewrite::make_indexes_durable(guard, self.base_offset)?;
        }
        Ok(checked)
    }

    fn cut(&self, guard: &PartitionGuard, walk: &mut Walk, problem: NoBatch, notices: &mut Vec<Notice>) -> Result<()> {
        let (log, position) = (walk.scanner.log().clone(), walk.scanner.position());
        if !self.is_last || matches!(problem, NoBatch::Unknown { .. }) {
            return Err(walk.scanner.corrupt(problem));
        }
        let checkpoints = guard.checkpoints();
        if checkpoints.promise_more_than(walk.scanner.expected()) || walk.scanner.has_gap_over_end(&checkpoints) {
            let what = format!("{}, and {}", described(problem), checkpoints.promise());
            return Err(walk.scanner.corrupt(NoBatch::Invalid(FormatError::corrupt(what))));
        }
        let tail = walk.scanner.judge_tail()?;
        if matches!(tail, Tail::Damaged { .. } | Tail::Undecided) {
            return Err(walk.scanner.corrupt(problem));
        }
        if tail == Tail::Torn {
            let bytes = walk.scanner.size() - position.0;
            let kept_as = keep(guard, &log, position)?;
            notices.push(Notice::TailCut { path: log.path.clone(), position, bytes, kept_as });
        }
        log.file.set_len(position.0)?;
        Ok(())
    }
}

/// Copies what is about to be cut. On a full disk the cut goes on without: it never was a whole batch.
pub(super) fn keep(guard: &PartitionGuard, log: &OpenLog, position: Position) -> Result<Option<PathBuf>> {
    let name = free_name(&**guard.folder(), &cut_name(log.base_offset, position))?;
    match copy_from(guard, log, position, &name) {
        Ok(()) => Ok(Some(guard.folder().path().join(name))),
        Err(StorageError::Disk(error)) if error.is_full() => {
            guard.remove(&name)?;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// `name`, or the same with a number after it if something of that name was kept before.
pub(super) fn free_name(folder: &dyn Folder, name: &str) -> Result<String> {
    let mut free = name.to_owned();
    for number in 1..KEPT_MAX {
        if folder.stat(&free)?.is_none() {
            break;
        }
        free = format!("{name}.{number}");
    }
    Ok(free)
}

fn copy_from(guard: &PartitionGuard, log: &OpenLog, position: Position, name: &str) -> Result<()> {
    let copy = guard.create(name)?;
    copy.set_len(0)?;
    let mut piece = vec![0; WALK_CHUNK];
    let mut at = position.0;
    loop {
        let read = log.file.read_at(&mut piece, at)?;
        if read == 0 {
            return Ok(copy.sync()?);
        }
        copy.write_at(&piece[..read], at - position.0)?;
        at += read as u64;
    }
}

/// A segment that was walked and not brought in order yet.
pub(crate) struct Walked {
    walk: Walk,
    problem: Option<NoBatch>,
}

impl Walked {
    /// The offset after the last whole batch.
    pub(crate) fn next_offset(&self) -> Offset {
        self.walk.scanner.expected()
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
    /// The last offset of the append that the last right offset entry is for, where that is more than one batch: no batch
    /// up to there has an entry of its own.
    covered: Option<Offset>,
    largest: LargestTimestamp,
    /// The timestamp of the last right time entry.
    time_indexed: Timestamp,
    checks_sums: bool,
    rewrite_from: Option<Offset>,
    /// Where the first batch begins that is to be written again.
    rewrite_start: Option<Position>,
    bytes_walked: u64,
}

impl Walk {
    fn begin(log: OpenLog, indexes: Indexes, check: &Check, index_interval_bytes: u64) -> Result<Self> {
        let base = log.base_offset;
        let size = log.file.stat()?.size;
        let mut start = (Position::ZERO, 0);
        let mut largest = (Timestamp::NONE, base);
        let mut time_count = 0;
        let mut covered = None;
        if check.believed > base {
            start = start_for_offset(&log, size, &indexes.offset, Offset(check.believed.0 - 1))?;
            if start.1 > 0
                && let Some(header) = header_at(&*log.file, start.0, size)?
            {
                let indexed = header.last_offset();
                time_count = indexes.time.partition_point(|entry| entry.relative_offset.absolute(base) <= indexed)?;
                let last_time = if time_count > 0 { indexes.time.get(time_count - 1)? } else { None };
                let time_is_right = match &last_time {
                    Some(entry) => {
                        let named = batch_of_time_entry(&log, &indexes, entry)?;
                        largest = named.map_or(largest, |named| (named.max_timestamp, named.last_offset()));
                        named.is_some() && entry.timestamp >= header.max_timestamp
                    }
                    None => header.max_timestamp.known().is_none(),
                };
                covered = indexes.offset.get(start.1 - 1)?.map(|entry| entry.relative_offset.absolute(base));
                covered = covered.filter(|&offset| named(offset, &header) == Named::Later);
                let next = indexes.offset.get(start.1)?.map(|entry| entry.position);
                let offset_is_right = match covered {
                    Some(offset) => ends_a_batch(&log, start.0, offset, next, check.grown.is_none())?,
                    None => true,
                };
                if !time_is_right || !offset_is_right {
                    (start, time_count, largest, covered) = ((Position::ZERO, 0), 0, (Timestamp::NONE, base), None);
                }
            }
        }
        let chunk = if check.grown.is_some() { HEADER_CHUNK } else { WALK_CHUNK };
        Ok(Self {
            scanner: Scanner::new(log, start.0, chunk)?,
            indexes,
            index_interval_bytes,
            start: start.0,
            offset_check: IndexCheck::new(start.1),
            time_check: IndexCheck::new(time_count),
            indexed_position: start.0.0,
            covered,
            largest,
            time_indexed: largest.0,
            checks_sums: check.grown.is_none(),
            rewrite_from: check.rewrite_from,
            rewrite_start: None,
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
                    if self.rewrite_from.is_some_and(|from| header.last_offset() >= from) {
                        self.rewrite_start.get_or_insert(self.scanner.position());
                    }
                    self.note(&header)?;
                    self.bytes_walked += (header.size as u64).max(BATCH_COST_MIN);
                    self.scanner.pass(&header);
                }
            }
        }
    }

    /// Refuses a log whose last batch has a damaged base offset: whatever followed it would have wrong offsets as well.
    fn refuse_denied(&self, guard: &PartitionGuard) -> Result<()> {
        let checkpoints = guard.checkpoints();
        match self.scanner.passed_after_gap().filter(|batch| checkpoints.deny(batch.claimed, batch.from, batch.span)) {
            Some(batch) => Err(self.scanner.denied(batch, &checkpoints)),
            None => Ok(()),
        }
    }

    /// Holds the index entries of one batch against Kafka's rule.
    fn note(&mut self, header: &BatchHeader) -> Result<()> {
        let (position, last) = (self.scanner.position(), header.last_offset());
        if header.max_timestamp > self.largest.0 {
            self.largest = (header.max_timestamp, last);
        }
        let is_indexed = if position == self.start && self.offset_check.right > 0 {
            self.covered.is_none()
        } else {
            self.note_offset(position, header)?
        };
        self.note_time(header, is_indexed)
    }

    /// Whether the time entry of an offset entry is due with this batch: with the last one that the entry is for.
    fn note_offset(&mut self, position: Position, header: &BatchHeader) -> Result<bool> {
        let (base, last) = (self.scanner.log().base_offset, header.last_offset());
        if let Some(covered) = self.covered {
            self.covered = Some(covered).filter(|_| last < covered);
            return Ok(last >= covered);
        }
        let is_due = is_due(position.0, self.indexed_position, self.index_interval_bytes);
        if self.offset_check.replacement.is_none() {
            match self.offset_check.next(&self.indexes.offset)? {
                Some(entry) if entry.position == position && self.is_right(&entry, header)? => {
                    self.offset_check.right += 1;
                    self.indexed_position = position.0;
                    let offset = entry.relative_offset.absolute(base);
                    self.covered = Some(offset).filter(|&offset| offset > last);
                    return Ok(self.covered.is_none());
                }
                Some(entry) if entry.position > position && !is_due => {}
                None if !is_due => {}
                _ => drop(self.offset_check.replace()),
            }
        }
        let due = if is_due { offset_entry(base, position, last) } else { None };
        if let Some(entry) = due {
            self.offset_check.replace().push(entry);
            self.indexed_position = position.0;
        }
        Ok(due.is_some())
    }

    /// Whether an offset entry is right that leads to this batch.
    fn is_right(&self, entry: &OffsetIndexEntry, header: &BatchHeader) -> Result<bool> {
        let log = self.scanner.log();
        let offset = entry.relative_offset.absolute(log.base_offset);
        match named(offset, header) {
            Named::Batch => Ok(true),
            Named::Nothing => Ok(false),
            Named::Later => {
                let next = self.indexes.offset.get(self.offset_check.right + 1)?.map(|next| next.position);
                ends_a_batch(log, entry.position, offset, next, self.checks_sums)
            }
        }
    }

    fn note_time(&mut self, header: &BatchHeader, is_indexed: bool) -> Result<()> {
        let (base, last) = (self.scanner.log().base_offset, header.last_offset());
        while self.time_check.replacement.is_none() {
            let Some(entry) = self.time_check.next(&self.indexes.time)? else { break };
            if entry.relative_offset.absolute(base) > last {
                break;
            }
            // Only the batch that brought the largest timestamp so far is ever named.
            let offset = entry.relative_offset.absolute(base);
            if self.largest == (entry.timestamp, last) && names_time_of((entry.timestamp, offset), header) {
                self.time_check.right += 1;
                self.time_indexed = entry.timestamp;
            } else {
                self.time_check.replace();
            }
        }
        if is_indexed && self.largest.0 > self.time_indexed {
            self.time_check.replace().extend(time_entry(base, self.largest));
            self.time_indexed = self.largest.0;
        }
        Ok(())
    }

    fn finish(mut self, is_last: bool) -> Result<CheckedSegment> {
        let log = self.scanner.log().clone();
        if !is_last && self.largest.0 > self.time_indexed {
            self.time_check.replace().extend(time_entry(log.base_offset, self.largest));
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
        let segment = SegmentWriter { log, indexes: self.indexes, end, index_entries: IndexEntries::Found };
        Ok(CheckedSegment { segment, bytes_walked: self.bytes_walked })
    }
}

/// Whether one of the batches from `start` on ends at `offset` and begins before `end`. With `checks_sums`, only a batch
/// counts that is not cut afterwards.
fn ends_a_batch(
    log: &OpenLog,
    start: Position,
    offset: Offset,
    end: Option<Position>,
    checks_sums: bool,
) -> Result<bool> {
    let mut scanner = Scanner::new(log.clone(), start, HEADER_CHUNK)?;
    while let Step::Batch(header) = scanner.step()? {
        let is_past = end.is_some_and(|end| scanner.position() >= end) || header.last_offset() > offset;
        if is_past || (checks_sums && !scanner.checksum_matches(&header)?) {
            return Ok(false);
        }
        if header.last_offset() == offset {
            return Ok(true);
        }
        scanner.pass(&header);
    }
    Ok(false)
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
