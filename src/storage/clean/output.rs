//! The segment that a compaction writes: `compacting-<base offset>-log` and its indexes, until it takes the place of others.
//!
//! Neither a broker nor a reader of ours takes these names for those of segments. The indexes follow
//! [Kafka's rule](crate::storage::index_rule), and end with the largest timestamp, as those of any closed segment.

use crate::disk::DiskFile;
use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::format::txn::AbortedTransaction;
use crate::storage::append_plan::{AppendPlan, SegmentEnd};
use crate::storage::file_name::{FileKind, compacting_name};
use crate::storage::index_file::IndexFile;
use crate::storage::index_rule::time_entry;
use crate::storage::{PartitionGuard, Result, StorageError};
use crate::units::{Offset, Position, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes gathered before they are written.
const BUFFER_SIZE: usize = 256 << 10;
/// Positions in an index have 31 bits.
const SIZE_MAX: u64 = i32::MAX as u64;

/// The files of a segment that is being written.
pub(super) struct Output {
    base_offset: Offset,
    path: PathBuf,
    log: Arc<dyn DiskFile>,
    offset_index: IndexFile<OffsetIndexEntry>,
    time_index: IndexFile<TimeIndexEntry>,
    index_files: [Arc<dyn DiskFile>; 2],
    transaction_index: Option<Arc<dyn DiskFile>>,
    buffer: Vec<u8>,
    written: u64,
    plan: AppendPlan,
}

/// A segment that was written and is durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) base_offset: Offset,
    pub(super) size: u64,
    pub(super) has_transaction_index: bool,
}

impl Output {
    /// Makes the files; the transaction index only where there may be something in it.
    pub(super) fn create(
        guard: &PartitionGuard,
        base_offset: Offset,
        index_interval_bytes: u64,
        has_transaction_index: bool,
    ) -> Result<Self> {
        let make = |kind| guard.create_new(&compacting_name(base_offset, kind));
        let (log, offsets, times) = (make(FileKind::Log)?, make(FileKind::OffsetIndex)?, make(FileKind::TimeIndex)?);
        let transaction_index = has_transaction_index.then(|| make(FileKind::TransactionIndex)).transpose()?;
        let end = SegmentEnd::of_empty(base_offset);
        Ok(Self {
            base_offset,
            path: guard.folder().path().join(compacting_name(base_offset, FileKind::Log)),
            log,
            offset_index: IndexFile::of(Arc::clone(&offsets))?,
            time_index: IndexFile::of(Arc::clone(&times))?,
            index_files: [offsets, times],
            transaction_index,
            buffer: Vec::with_capacity(BUFFER_SIZE * 2),
            written: 0,
            plan: AppendPlan::new(base_offset, end, index_interval_bytes, Timestamp::NONE),
        })
    }

    /// Adds a batch.
    pub(super) fn add(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<()> {
        if self.plan.end.size + bytes.len() as u64 > SIZE_MAX {
            let (path, position, offset) = (self.path.clone(), Position(self.plan.end.size), header.base_offset);
            let what = "the segment would have more than 2 GiB: lower segment.bytes".to_owned();
            return Err(StorageError::Unsupported { path, position, offset, what });
        }
        self.plan.end.next_offset = header.base_offset;
        self.plan.add(header);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_SIZE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.log.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        if !self.plan.offset_entries.is_empty() {
            self.offset_index.append_all(&self.plan.offset_entries)?;
            self.plan.offset_entries.clear();
        }
        if !self.plan.time_entries.is_empty() {
            self.time_index.append_all(&self.plan.time_entries)?;
            self.plan.time_entries.clear();
        }
        Ok(())
    }

    /// Completes the files, gives them the time of the last segment that they replace, and makes them durable.
    pub(super) fn finish(mut self, aborted: &[AbortedTransaction], modified: Timestamp) -> Result<Written> {
        let largest = self.plan.end.largest_timestamp;
        if largest.0 > self.plan.indexed_timestamp()
            && let Some(entry) = time_entry(self.base_offset, largest)
        {
            self.plan.time_entries.push(entry);
        }
        self.flush()?;
        let mut has_transaction_index = false;
        if let Some(file) = self.transaction_index.as_ref().filter(|_| !aborted.is_empty()) {
            let bytes: Vec<u8> = aborted.iter().flat_map(AbortedTransaction::encode).collect();
            file.write_at(&bytes, 0)?;
            file.sync()?;
            has_transaction_index = true;
        }
        for file in [&self.log].into_iter().chain(&self.index_files) {
            file.set_modified(modified.0)?;
            file.sync()?;
        }
        Ok(Written { base_offset: self.base_offset, size: self.written, has_transaction_index })
    }
}
