//! What a partition's log is at one moment.
//!
//! A [`LogView`] never changes: what has come since is in the next one, listed as a whole. Its questions read the files of
//! the segments that it lists; a segment that was removed since makes them list again and answer for that moment.

use super::file_name::{FileKind, segment_name};
use super::index_file::IndexFile;
use super::lookup::{self, Indexes};
use super::read::{LogReader, Next};
use super::read_folder::ReadFolder;
use super::record_buffer::RecordBuffer;
use super::scan::HEADER_CHUNK;
use super::segments::{self, OpenLog, Segment};
use super::{Checkpoints, Result, StorageError, at_place};
use crate::disk::Folder;
use crate::format::compression::DECOMPRESSED_SIZE_MAX;
use crate::format::index::OffsetIndexEntry;
use crate::format::record_cursor::RecordCursor;
use crate::units::{Offset, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How often a listing may turn out stale in a row before the folder counts as broken.
pub(super) const LISTINGS_MAX: usize = 100;

/// An immutable picture of a partition: its segments and checkpoints.
#[derive(Clone)]
pub struct LogView {
    path: PathBuf,
    /// `None` where the partition has no folder, which is an empty log.
    folder: Option<ReadFolder>,
    checkpoints: Checkpoints,
    /// The most plain bytes that are taken out of one batch.
    decompressed_size_max: usize,
    bases: Vec<Offset>,
}

impl LogView {
    /// The log in an open folder, as it is now.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn of(folder: Arc<dyn Folder>, checkpoints: Checkpoints) -> Result<Self> {
        let bases = segments::base_offsets(&*folder)?;
        let (path, decompressed_size_max) = (folder.path().to_owned(), DECOMPRESSED_SIZE_MAX);
        Ok(Self { path, folder: Some(ReadFolder::new(folder)), checkpoints, decompressed_size_max, bases })
    }

    /// A log without a folder, at the path where that would be.
    #[must_use]
    pub fn missing(path: PathBuf, checkpoints: Checkpoints) -> Self {
        let decompressed_size_max = DECOMPRESSED_SIZE_MAX;
        Self { path, folder: None, checkpoints, decompressed_size_max, bases: Vec::new() }
    }

    /// The same log as it is now.
    ///
    /// # Errors
    /// When the partition was deleted, or the folder cannot be listed.
    pub fn list_again(&self) -> Result<Self> {
        let Some(folder) = &self.folder else { return Ok(self.clone()) };
        folder.check()?;
        let bases = segments::base_offsets(&*folder.opened()?)?;
        Ok(Self { path: self.path.clone(), folder: self.folder.clone(), bases, ..*self })
    }

    /// The same, with so many plain bytes at most in one batch: more than that is unsupported.
    #[must_use]
    pub fn decompressing(self, decompressed_size_max: usize) -> Self {
        Self { decompressed_size_max, ..self }
    }

    /// The most plain bytes that are taken out of one batch.
    #[must_use]
    pub fn decompressed_size_max(&self) -> usize {
        self.decompressed_size_max
    }

    /// Whether the partition's name still leads to its folder: a deleted topic's folder has another name until it is gone.
    pub(super) fn is_named(&self) -> Result<bool> {
        self.folder.as_ref().map_or(Ok(true), ReadFolder::is_named)
    }

    /// The error of a partition that is not to be read any more.
    pub(super) fn deleted(&self) -> StorageError {
        StorageError::PartitionDeleted { path: self.path.clone() }
    }

    /// Whether the partition has a folder.
    #[must_use]
    pub fn has_folder(&self) -> bool {
        self.folder.is_some()
    }

    /// The partition's folder, opened for the caller alone where the view is closed; `None` where there is none.
    pub(super) fn opened_folder(&self) -> Result<Option<Arc<dyn Folder>>> {
        self.folder.as_ref().map(ReadFolder::opened).transpose()
    }

    /// Whether it holds the folder's descriptor.
    pub(super) fn is_open(&self) -> bool {
        self.folder.as_ref().is_some_and(ReadFolder::is_open)
    }

    /// Whether [`LogView::close`] gave the folder's descriptor back.
    pub(super) fn is_closed(&self) -> bool {
        self.folder.as_ref().is_some_and(|folder| !folder.is_open())
    }

    /// Gives the folder's descriptor back. What the view says stays the same: a question that needs the folder opens it for
    /// itself, and is refused where another folder has its name.
    pub(super) fn close(&mut self) -> Result<()> {
        self.folder.as_mut().map_or(Ok(()), ReadFolder::close)
    }

    /// Holds the folder's descriptor again.
    pub(super) fn reopen(&mut self) -> Result<()> {
        self.folder.as_mut().map_or(Ok(()), ReadFolder::reopen)
    }

    /// The same view, open for a question that needs the folder more than once.
    pub(super) fn opened(&self) -> Result<Self> {
        let mut view = self.clone();
        view.reopen()?;
        Ok(view)
    }

    /// The path of the partition's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the checkpoint files and the [end of the last run](super::durable_end) promise.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        self.checkpoints
    }

    /// The base offsets of the segments, rising.
    #[must_use]
    pub fn bases(&self) -> &[Offset] {
        &self.bases
    }

    /// Whether there is no segment.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bases.is_empty()
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        let checkpointed = self.checkpoints.log_start_offset;
        self.bases.first().map_or(checkpointed, |&base| base.max(checkpointed))
    }

    /// The base offset of the segment after the one at `base`.
    pub(super) fn successor(&self, base: Offset) -> Option<Offset> {
        self.bases.get(self.bases.partition_point(|&other| other <= base)).copied()
    }

    /// The base offset of the segment that an offset is in; `None` where there is no segment.
    #[must_use]
    pub fn segment_of(&self, offset: Offset) -> Option<Offset> {
        self.bases.get(segments::holding(&self.bases, offset)).copied()
    }

    /// The segments, oldest first. One that is gone is left out.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn segments(&self) -> Result<Vec<Segment>> {
        match self.opened_folder()? {
            Some(folder) => segments::stat_all(&*folder, &self.bases),
            None => Ok(Vec::new()),
        }
    }

    /// Opens the `.log` of a segment; `None` where it is gone.
    pub(super) fn open_log(&self, base: Offset) -> Result<Option<OpenLog>> {
        self.opened_folder()?.map_or(Ok(None), |folder| segments::open_log(&*folder, base))
    }

    /// Opens the offset index of a segment, to look something up.
    pub(super) fn offset_index(&self, base: Offset) -> Result<IndexFile<OffsetIndexEntry>> {
        let folder = self.opened_folder()?.expect("a log without a folder has no segment");
        IndexFile::open_for_lookups(&*folder, &segment_name(base, FileKind::OffsetIndex))
    }

    /// The same for both indexes.
    fn indexes(&self, base: Offset) -> Result<Indexes> {
        let folder = self.opened_folder()?.expect("a log without a folder has no segment");
        Indexes::open_for_lookups(&*folder, base)
    }

    /// What is at the name of a `.log` that is open.
    pub(super) fn stat_log(&self, log: &OpenLog) -> Result<Option<crate::disk::Stat>> {
        let folder = self.opened_folder()?.expect("a log without a folder has no segment");
        Ok(folder.stat(log.name())?)
    }

    /// The offset that the next record will have, as far as the log is whole now. Reads what follows the last index entry,
    /// not the segment.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt at its end.
    pub fn log_end_offset(&self) -> Result<Offset> {
        Ok(self.batches_end()?.max(self.checkpoints.log_start_offset))
    }

    /// Where the last batch ends, which may be below the log start offset; 0 without a segment.
    pub(super) fn batches_end(&self) -> Result<Offset> {
        let mut view = self.opened()?;
        for _ in 0..LISTINGS_MAX {
            let Some(&last) = view.bases.last() else { return Ok(Offset::ZERO) };
            let Some(log) = view.open_log(last)? else {
                view = view.list_again()?;
                continue;
            };
            let index = view.offset_index(last)?;
            let size = log.file.stat()?.size;
            let scanner = lookup::scan_from_last_entry(log, size, &index, HEADER_CHUNK)?;
            let mut probe = LogReader::standing_in(view, last, scanner, HEADER_CHUNK);
            while let Next::Batch(_) | Next::LogStartPassed { .. } = probe.next()? {}
            return Ok(probe.next_offset());
        }
        Err(self.deleted())
    }

    /// The offset and timestamp of the first record at or after `timestamp`; `None` when all are older.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt on the way.
    pub fn offset_for_time(&self, timestamp: Timestamp) -> Result<Option<(Offset, Timestamp)>> {
        let mut view = self.opened()?;
        'listing: for _ in 0..LISTINGS_MAX {
            for (at, &base) in view.bases.iter().enumerate() {
                let next_base = view.bases.get(at + 1).copied();
                if next_base.is_some_and(|next| next <= view.log_start_offset()) {
                    continue;
                }
                let Some(log) = view.open_log(base)? else {
                    if next_base.is_some() {
                        continue;
                    }
                    // All that was listed is gone; what has come since is to be found.
                    view = view.list_again()?;
                    continue 'listing;
                };
                if let Some(found) = view.first_in_segment(log, next_base, timestamp)? {
                    return Ok(Some(found));
                }
            }
            return Ok(None);
        }
        Err(self.deleted())
    }

    /// The first record at or after `timestamp` in a segment, or, where that is the last, after it.
    fn first_in_segment(
        &self,
        log: OpenLog,
        next_base: Option<Offset>,
        timestamp: Timestamp,
    ) -> Result<Option<(Offset, Timestamp)>> {
        let base = log.base_offset;
        let indexes = self.indexes(base)?;
        if let Some(next) = next_base {
            let largest = lookup::largest_timestamp(&log, &indexes, next <= self.checkpoints.index_point)?;
            if largest.is_none_or(|(largest, _)| largest < timestamp) {
                return Ok(None);
            }
        }
        let start = base.max(self.log_start_offset());
        // It knows the offset that it has come to, by which a torn end is told from damage of what was durable.
        let scanner = lookup::scan_from_time(&log, &indexes, timestamp)?;
        let reader = LogReader::standing_in(self.clone(), start, scanner, HEADER_CHUNK);
        first_at_or_after(reader, timestamp, next_base)
    }
}

/// The first record from where the reader is on, below `end`, whose timestamp is `timestamp` or larger.
pub(super) fn first_at_or_after(
    mut reader: LogReader,
    timestamp: Timestamp,
    end: Option<Offset>,
) -> Result<Option<(Offset, Timestamp)>> {
    let mut buffer = RecordBuffer::default();
    let start = reader.next_offset();
    loop {
        let Next::Batch(header) = reader.next()? else { return Ok(None) };
        if end.is_some_and(|end| header.base_offset >= end) {
            return Ok(None);
        }
        if header.max_timestamp < timestamp || header.attributes.is_control() {
            continue;
        }
        let (path, position) = reader.place();
        let at_batch = |error| at_place(error, path, position, header.base_offset);
        let header = buffer.load(&header, reader.batch(), reader.decompressed_size_max()).map_err(at_batch)?;
        let records = buffer.records(reader.batch());
        let mut cursor = RecordCursor::new(&header);
        while let Some(span) = cursor.next(records).map_err(at_batch)? {
            let offset = header.base_offset + i64::from(span.offset_delta);
            let at = header.record_timestamp(span.timestamp_delta);
            if at >= timestamp && offset >= start && end.is_none_or(|end| offset < end) {
                return Ok(Some((offset, at)));
            }
        }
    }
}
