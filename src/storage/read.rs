//! Reads a partition without a lock, beside writers, retention and brokers.
//!
//! What a reader believes:
//! - It shows a batch only after its checksum has matched.
//! - A last batch that is not whole or not valid is the end for now. It is read afresh from its first byte when the
//!   reader looks again, since the writer may have finished it, or another may have cut it and written in its place.
//! - The same is corruption, and said, when it lies below the recovery point, when valid batches follow, when another
//!   segment does, or when it is a whole batch of a format that is not known; and only after size and file were looked
//!   at again and the bytes failed twice.
//! - When a successor has appeared, the old segment is read to its end once more before it is left. A gap between two
//!   segments is believed only after a second listing. A segment that is gone means to list again.

use super::file_name::{FileKind, SWAP_SUFFIX, segment_path};
use super::lookup::{self, HEADER_CHUNK, Indexes};
use super::record_buffer::RecordBuffer;
use super::scan::{self, Scanner, Step};
use super::segments::{self, OpenLog, Segment};
use super::{Result, StorageError, at_place};
use crate::disk::{Access, Disk, DiskError, FileId, Folder};
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader, NoBatch};
use crate::format::record_cursor::RecordCursor;
use crate::units::{Offset, Position};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a listing may turn out stale in a row before the folder counts as broken.
pub(super) const LISTINGS_MAX: usize = 100;

/// The end of a segment that has no successor yet.
const NO_END: Offset = Offset(i64::MAX);

/// What [`LogReader::next`] finds.
#[derive(Debug)]
pub enum Next {
    /// A batch with a right checksum; its bytes are at [`LogReader::batch`] until the next call.
    Batch(BatchHeader),
    /// Nothing more for now.
    End,
    /// The records from the first offset up to the second were removed before they were read; the reader goes on at the
    /// second.
    LogStartPassed {
        /// The offset that was to be read.
        missed_from: Offset,
        /// The first offset that is still there.
        log_start_offset: Offset,
    },
}

/// A place in a partition, to read from.
pub struct LogReader {
    disk: Arc<dyn Disk>,
    folder: Arc<dyn Folder>,
    path: PathBuf,
    /// From the checkpoint; the first segment's base may be higher.
    log_start_offset: Offset,
    recovery_point: Offset,
    /// Bytes read at a time.
    chunk: usize,
    bases: Vec<Offset>,
    scanner: Option<Scanner>,
    /// Where the next segment begins; no batch of this one may claim an offset from there on.
    segment_end: Offset,
    /// The batch that was shown last.
    current: Option<BatchHeader>,
    next_offset: Offset,
}

impl LogReader {
    /// Opens the partition in the folder `path`. Both offsets are those of the log dir's checkpoint files, 0 where a file
    /// has no row. Stands at the log start offset.
    ///
    /// # Errors
    /// When the folder is not there or cannot be listed.
    pub fn open(
        disk: &Arc<dyn Disk>,
        path: &Path,
        log_start_offset: Offset,
        recovery_point: Offset,
        chunk: usize,
    ) -> Result<Self> {
        let folder = disk.open_folder(path).map_err(|error| deleted_if_missing(error, path))?;
        let bases = segments::base_offsets(&**disk, path)?;
        let mut reader = Self {
            disk: Arc::clone(disk),
            folder,
            path: path.to_owned(),
            log_start_offset,
            recovery_point,
            chunk,
            bases,
            scanner: None,
            segment_end: NO_END,
            current: None,
            next_offset: Offset::ZERO,
        };
        reader.next_offset = reader.log_start_offset();
        Ok(reader)
    }

    /// A reader of the same partition, at its log start offset. What this one knows of the folder is not listed again, which
    /// spares a tenth of the time that it takes to describe 10 000 segments.
    pub(super) fn another(&self, chunk: usize) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            folder: Arc::clone(&self.folder),
            path: self.path.clone(),
            bases: self.bases.clone(),
            chunk,
            scanner: None,
            segment_end: NO_END,
            current: None,
            next_offset: self.log_start_offset(),
            ..*self
        }
    }

    /// The disk that it reads from.
    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The base offset of the segment that it stands in.
    pub(super) fn segment(&self) -> Option<Offset> {
        self.scanner.as_ref().map(|scanner| scanner.log().base_offset)
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.bases.first().map_or(self.log_start_offset, |&base| base.max(self.log_start_offset))
    }

    /// The offset of the next record to be read, or behind the last one read.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether the folder had no segment when it was last listed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    /// The base offsets of the segments that the folder had when it was last listed, rising.
    pub(super) fn bases(&self) -> &[Offset] {
        &self.bases
    }

    /// The segments that the folder had when it was last listed, oldest first. One that is gone is left out.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        segments::look_at(&*self.disk, &self.path, &self.bases)
    }

    /// The partition's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which folder was opened.
    #[must_use]
    pub fn folder_id(&self) -> FileId {
        self.folder.id()
    }

    /// Goes to `offset`, which the caller has found to lie between log start and log end.
    pub fn seek(&mut self, offset: Offset) {
        self.scanner = None;
        self.current = None;
        self.next_offset = offset;
    }

    /// The offset that the next record will have, as far as the log is whole now. Reads what lies behind the last index
    /// entry, not the segment.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt at its end.
    pub fn log_end_offset(&self) -> Result<Offset> {
        let mut probe = self.another(HEADER_CHUNK);
        for _ in 0..LISTINGS_MAX {
            let Some(&last) = probe.bases.last() else { return Ok(self.log_start_offset) };
            let Some(log) = probe.open_log(last)? else {
                probe.list_again()?;
                continue;
            };
            let indexes = Indexes::open(&*probe.disk, &probe.path, last, Access::Read)?;
            let (start, _) = lookup::start_for_offset(&log, log.file.stat()?.size, &indexes.offset, Offset(i64::MAX))?;
            probe.next_offset = last;
            probe.stand_in(Scanner::new(log, start, HEADER_CHUNK)?);
            while let Next::Batch(_) | Next::LogStartPassed { .. } = probe.next()? {}
            return Ok(probe.next_offset.max(self.log_start_offset));
        }
        Err(self.deleted())
    }

    /// The offset and timestamp of the first record at or after `timestamp`; `None` when all are older.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt on the way.
    pub fn offset_for_time(&self, timestamp: i64) -> Result<Option<(Offset, i64)>> {
        let mut probe = self.another(HEADER_CHUNK);
        'listing: for _ in 0..LISTINGS_MAX {
            let bases = probe.bases.clone();
            for (place, &base) in bases.iter().enumerate() {
                let next_base = bases.get(place + 1).copied();
                if next_base.is_some_and(|next| next <= probe.log_start_offset()) {
                    continue;
                }
                let Some(log) = probe.open_log(base)? else {
                    if next_base.is_some() {
                        continue;
                    }
                    // All that was listed is gone; what has come since is to be found.
                    probe.list_again()?;
                    continue 'listing;
                };
                if let Some(found) = probe.first_in_segment(log, next_base, timestamp)? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        }
        Err(self.deleted())
    }

    /// The first record at or after `timestamp` in a segment, or, where that is the last, behind it.
    fn first_in_segment(
        &mut self,
        log: OpenLog,
        next_base: Option<Offset>,
        timestamp: i64,
    ) -> Result<Option<(Offset, i64)>> {
        let base = log.base_offset;
        let indexes = Indexes::open(&*self.disk, &self.path, base, Access::Read)?;
        if let Some(next) = next_base {
            let largest = lookup::largest_timestamp(&log, &indexes, next <= self.recovery_point)?;
            if largest.is_none_or(|(largest, _)| largest < timestamp) {
                return Ok(None);
            }
        }
        self.next_offset = base.max(self.log_start_offset());
        // It knows the offset that it has come to, by which a torn end is told from damage of what was durable.
        self.stand_in(lookup::scan_from_time(&log, &indexes, timestamp)?);
        self.current = None;
        self.first_at_or_after(timestamp, next_base)
    }

    fn first_at_or_after(&mut self, timestamp: i64, end: Option<Offset>) -> Result<Option<(Offset, i64)>> {
        let mut buffer = RecordBuffer::default();
        let start = self.next_offset;
        loop {
            let Next::Batch(header) = self.next()? else { return Ok(None) };
            if end.is_some_and(|end| header.base_offset >= end) {
                return Ok(None);
            }
            if header.max_timestamp < timestamp || header.attributes.is_control() {
                continue;
            }
            let (path, position) = self.place();
            let at_batch = |error| at_place(error, path, position, header.base_offset);
            let (header, decompressed) = buffer.load(&header, self.batch()).map_err(at_batch)?;
            let records = if decompressed { buffer.plain() } else { &self.batch()[BATCH_HEADER_SIZE..] };
            let mut cursor = RecordCursor::new(&header);
            while let Some(span) = cursor.next(records).map_err(at_batch)? {
                let offset = header.base_offset + i64::from(span.offset_delta);
                let at = header.record_timestamp(span.timestamp_delta);
                if at >= timestamp && offset >= start {
                    return Ok(Some((offset, at)));
                }
            }
        }
    }

    /// The next batch that holds or follows the place of the reader.
    ///
    /// # Errors
    /// When the disk fails, the partition was deleted, or the log is corrupt here.
    #[expect(clippy::should_implement_trait, reason = "an end is not final, and an error is no item")]
    pub fn next(&mut self) -> Result<Next> {
        if let (Some(header), Some(scanner)) = (self.current.take(), &mut self.scanner) {
            scanner.pass(&header);
            self.next_offset = self.next_offset.max(header.next_offset());
        }
        loop {
            let Some(scanner) = &mut self.scanner else {
                match self.open_segment()? {
                    Opened::Segment => continue,
                    Opened::Nothing => return Ok(Next::End),
                    Opened::LogStartPassed(missed_from) => {
                        return Ok(Next::LogStartPassed { missed_from, log_start_offset: self.next_offset });
                    }
                }
            };
            match scanner.step()? {
                Step::Batch(header) if header.last_offset() < self.next_offset => scanner.pass(&header),
                Step::Batch(header) => {
                    if scanner.checksum_matches(&header)? {
                        if scanner.overlaps_next(&header)? || header.next_offset() > self.segment_end {
                            self.refuse_overlap(&header)?;
                            continue;
                        }
                        scanner.load(&header)?;
                        self.current = Some(header);
                        return Ok(Next::Batch(header));
                    }
                    let problem = scanner.checksum_error();
                    if self.is_end(problem)? {
                        return Ok(Next::End);
                    }
                }
                Step::End => {
                    if !self.cross()? {
                        return Ok(Next::End);
                    }
                }
                Step::Bad(problem) => {
                    if self.is_end(problem)? {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }

    /// Refuses a batch that claims offsets of the one behind it, or of the next segment: its base offset is damaged, or the
    /// other's. The listing may be stale: a broker's cleaner puts one segment in the place of several, and while it does,
    /// those stand beside the new one.
    #[cold]
    fn refuse_overlap(&mut self, header: &BatchHeader) -> Result<()> {
        let known = self.segment_end;
        self.list_again()?;
        let scanner = self.scanner.as_mut().expect("a batch was found in a segment");
        let is_new = scanner.log().path.extension().is_some_and(|it| it == SWAP_SUFFIX.trim_start_matches('.'));
        if is_new && !scanner.overlaps_next(header)? {
            self.segment_end = NO_END;
            return Ok(());
        }
        if self.segment_end != known && !scanner.overlaps_next(header)? {
            return Ok(());
        }
        Err(scanner.overlap(header))
    }

    /// Goes back before the batch that [`LogReader::next`] has shown last.
    pub(super) fn unread(&mut self) {
        self.current = None;
    }

    /// The bytes of the batch that [`LogReader::next`] has shown last.
    #[must_use]
    pub fn batch(&self) -> &[u8] {
        let header = self.current.as_ref().expect("a batch has been shown");
        self.scanner.as_ref().expect("a batch comes from a segment").loaded(header)
    }

    /// The segment file and the position of the batch that was shown last.
    #[must_use]
    pub fn place(&self) -> (&Path, Position) {
        self.scanner.as_ref().map_or((&self.path, Position::ZERO), |scanner| (&scanner.log().path, scanner.position()))
    }

    /// Judges a place without a valid batch: `true` is the end for now, `false` means to look at it again.
    #[cold]
    fn is_end(&mut self, problem: NoBatch) -> Result<bool> {
        let scanner = self.scanner.as_mut().expect("a problem was found in a segment");
        scanner.refresh()?;
        if is_sound(scanner)? {
            return Ok(false);
        }
        let (log, position, expected) = (scanner.log().clone(), scanner.position(), scanner.expected());
        let named = self.disk.stat(&log.path)?.map(|stat| stat.id);
        if named != Some(log.file.stat()?.id) {
            self.scanner = None;
            self.list_again()?;
            return Ok(false);
        }
        self.list_again()?;
        let is_last = self.bases.last().is_none_or(|&last| last <= log.base_offset);
        let lost = !is_last
            || matches!(problem, NoBatch::Unknown { .. })
            || expected.max(self.next_offset) < self.recovery_point
            || scan::valid_batch_from(&log, position)?.is_some();
        if !lost {
            return Ok(true);
        }
        // A writer may have finished the batch, and the next one or two, while we searched: only what is still bad now
        // was bad when its successors were written.
        let scanner = self.scanner.as_mut().expect("still open");
        scanner.refresh()?;
        if is_sound(scanner)? { Ok(false) } else { Err(scanner.corrupt(problem)) }
    }

    /// Looks for more at the end of a segment: in it, or in the next one.
    fn cross(&mut self) -> Result<bool> {
        let scanner = self.scanner.as_mut().expect("the end of a segment");
        let size = scanner.size();
        scanner.refresh()?;
        if scanner.size() > size {
            return Ok(true);
        }
        let (base, path) = (scanner.log().base_offset, scanner.log().path.clone());
        let id = scanner.log().file.stat()?.id;
        let end = scanner.expected();
        if self.successor(base).is_none() {
            // Whoever looks for an offset behind a roll that was not listed stands at the end of a segment below it.
            let rolled =
                self.begins_at(self.next_offset, base)? || (end != self.next_offset && self.begins_at(end, base)?);
            if !rolled && self.disk.stat(&path)?.is_some_and(|stat| stat.id == id) {
                return Ok(false);
            }
            self.list_again()?;
        }
        let Some(mut successor) = self.successor(base) else {
            // Without a successor the segment was removed, and perhaps made anew, or nothing happened after all.
            let same = self.disk.stat(&path)?.is_some_and(|stat| stat.id == id);
            if !same {
                self.scanner = None;
            }
            return Ok(!same && self.bases.contains(&base));
        };
        if successor > self.next_offset {
            self.list_again()?;
            successor = self.successor(base).unwrap_or(successor);
        }
        // The successor was listed, so nothing is appended to this segment any more: what is read now is its end.
        let scanner = self.scanner.as_mut().expect("still open");
        scanner.refresh()?;
        if !matches!(scanner.step()?, Step::End) {
            return Ok(true);
        }
        self.scanner = None;
        let gone = self.bases.first().is_some_and(|&first| first > self.next_offset);
        if !gone {
            self.next_offset = self.next_offset.max(successor);
        }
        Ok(true)
    }

    /// Whether a segment behind the one at `base` begins at `offset`.
    fn begins_at(&self, offset: Offset, base: Offset) -> Result<bool> {
        Ok(offset > base && self.disk.stat(&segment_path(&self.path, offset, FileKind::Log))?.is_some())
    }

    fn stand_in(&mut self, scanner: Scanner) {
        self.segment_end = self.successor(scanner.log().base_offset).unwrap_or(NO_END);
        self.scanner = Some(scanner);
    }

    fn successor(&self, base: Offset) -> Option<Offset> {
        self.bases.get(self.bases.partition_point(|&other| other <= base)).copied()
    }

    /// Lists the folder again.
    pub(super) fn list_again(&mut self) -> Result<()> {
        let named = self.disk.stat(&self.path)?;
        if named.map(|stat| stat.id) != Some(self.folder.id()) {
            return Err(self.deleted());
        }
        self.bases = segments::base_offsets(&*self.disk, &self.path)?;
        if let Some(scanner) = &self.scanner {
            self.segment_end = self.successor(scanner.log().base_offset).unwrap_or(NO_END);
        }
        Ok(())
    }

    /// That the partition is not to be read any more.
    pub(super) fn deleted(&self) -> StorageError {
        StorageError::PartitionDeleted { path: self.path.clone() }
    }

    fn open_log(&self, base: Offset) -> Result<Option<OpenLog>> {
        segments::open_log(&*self.disk, &self.path, base)
    }

    /// Opens the segment that holds the next offset, at the batch that does or before it.
    fn open_segment(&mut self) -> Result<Opened> {
        for _ in 0..LISTINGS_MAX {
            let Some(&first) = self.bases.first() else {
                self.list_again()?;
                if self.bases.is_empty() {
                    return Ok(Opened::Nothing);
                }
                continue;
            };
            if first > self.next_offset {
                let missed_from = self.next_offset;
                self.next_offset = first;
                return Ok(Opened::LogStartPassed(missed_from));
            }
            let base = self.bases[segments::holding(&self.bases, self.next_offset)];
            let Some(log) = self.open_log(base)? else {
                self.list_again()?;
                continue;
            };
            let mut start = Position::ZERO;
            if self.next_offset > base {
                let indexes = Indexes::open(&*self.disk, &self.path, base, Access::Read)?;
                let size = log.file.stat()?.size;
                start = lookup::start_for_offset(&log, size, &indexes.offset, self.next_offset)?.0;
            }
            self.stand_in(Scanner::new(log, start, self.chunk)?);
            return Ok(Opened::Segment);
        }
        Err(self.deleted())
    }
}

enum Opened {
    Segment,
    Nothing,
    LogStartPassed(Offset),
}

fn is_sound(scanner: &mut Scanner) -> Result<bool> {
    match scanner.step()? {
        Step::Batch(header) => scanner.checksum_matches(&header),
        Step::End => Ok(true),
        Step::Bad(_) => Ok(false),
    }
}

fn deleted_if_missing(error: DiskError, path: &Path) -> StorageError {
    if error.is_not_found() { StorageError::PartitionDeleted { path: path.to_owned() } } else { error.into() }
}
