//! Which transactions are open where a log ends: what keeps its last stable offset below its log end offset.
//!
//! A broker writes down which are open, in a producer snapshot, where it begins a segment and where it stops. From the newest
//! one on, the batches say the rest. Reading all of them costs what the active segment holds, which is for a check to spend
//! ([`LogView::open_transactions`]). Where the cost may follow the number of segments only
//! ([`LogView::transactions_at_hand`]), the batches are read if the snapshot names a transaction that may have ended since, which
//! is rare, or if they are few. So of a broker that was stopped all open transactions are found; of one that runs or was killed
//! all that are older than the active segment, and those are the ones that hang.

use super::file_name::{FileKind, parse_segment_name, segment_name};
use super::read::{LogReader, Next};
use super::record_buffer::RecordBuffer;
use super::transactions::{control_type, is_transactional_data};
use super::view::LogView;
use super::{OpenTransaction, Result, Segment, StorageError};
use crate::disk::{Folder, atomic};
use crate::format::header::BatchHeader;
use crate::format::snapshot::{self, ProducerEntry};
use crate::format::txn::ControlType;
use crate::units::Offset;
use std::collections::BTreeMap;

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// An active segment of so many bytes is read in any case.
const FEW_BYTES: u64 = CHUNK as u64;
/// A snapshot of this size at most is read: of a million producers.
const SNAPSHOT_SIZE_MAX: usize = 64 << 20;

/// By producer.
type Open = BTreeMap<i64, OpenTransaction>;

impl LogView {
    /// The transactions that are open at the log end, by their first offset.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt after its newest producer snapshot.
    pub fn open_transactions(&self) -> Result<Vec<OpenTransaction>> {
        let mut view = self.clone();
        loop {
            let first = view.bases().first().copied().unwrap_or_default();
            let (from, producers) = view.newest_snapshot(first, Offset(i64::MAX))?;
            if let Some(open) = view.open_after(from, &producers)? {
                return Ok(open);
            }
            view = view.list_again()?;
        }
    }

    /// The same without reading much: those that the newest snapshot names, and all where few bytes follow it. A log that is
    /// corrupt there has none: that is for others to report.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn transactions_at_hand(&self, active: &Segment, log_end_offset: Offset) -> Result<Vec<OpenTransaction>> {
        let Some(folder) = self.opened_folder()? else { return Ok(Vec::new()) };
        let (from, producers) = match snapshot_at(&*folder, log_end_offset)? {
            Some(producers) => (log_end_offset, producers),
            None => (active.base_offset, snapshot_at(&*folder, active.base_offset)?.unwrap_or_default()),
        };
        if active.size > FEW_BYTES && producers.iter().all(|producer| producer.transaction_first_offset < 0) {
            return Ok(Vec::new());
        }
        let found = match self.open_after(from, &producers) {
            Ok(None) => self.list_again()?.open_transactions(),
            Ok(Some(open)) => Ok(open),
            Err(error) => Err(error),
        };
        match found {
            Err(StorageError::Corrupt { .. } | StorageError::Unsupported { .. }) => Ok(Vec::new()),
            found => found,
        }
    }

    /// The offset of the newest readable producer snapshot from `first` to `last`, and what it says; `first` and nothing
    /// without one.
    pub(super) fn newest_snapshot(&self, first: Offset, last: Offset) -> Result<(Offset, Vec<ProducerEntry>)> {
        let Some(folder) = self.opened_folder()? else { return Ok((first, Vec::new())) };
        let entries = folder.list()?;
        let snapshots = entries.iter().filter_map(|entry| parse_segment_name(&entry.name));
        let mut offsets: Vec<Offset> = snapshots
            .filter(|(offset, kind)| *kind == FileKind::Snapshot && (first..=last).contains(offset))
            .map(|(offset, _)| offset)
            .collect();
        offsets.sort_unstable();
        for offset in offsets.into_iter().rev() {
            if let Some(producers) = snapshot_at(&*folder, offset)? {
                return Ok((offset, producers));
            }
        }
        Ok((first, Vec::new()))
    }

    /// Reads on from a snapshot. `None` where segments after it have been deleted since the view was listed: what ended a
    /// transaction of the snapshot may have been in them.
    fn open_after(&self, from: Offset, producers: &[ProducerEntry]) -> Result<Option<Vec<OpenTransaction>>> {
        let named = producers.iter().filter(|producer| producer.transaction_first_offset >= 0);
        let mut open: Open = named
            .map(|&ProducerEntry { producer_id, transaction_first_offset, .. }| {
                let offset = Offset(transaction_first_offset);
                (producer_id, OpenTransaction { producer_id, offset, since: None })
            })
            .collect();
        let (mut reader, mut buffer) = (LogReader::new(self.clone(), CHUNK), RecordBuffer::default());
        reader.seek(from);
        loop {
            match reader.next()? {
                Next::Batch(header) => follow(&mut open, &reader, &header, &mut buffer)?,
                Next::LogStartPassed { .. } => return Ok(None),
                Next::End => break,
            }
        }
        let mut open: Vec<OpenTransaction> = open.into_values().collect();
        open.sort_unstable_by_key(|transaction| transaction.offset);
        for transaction in open.iter_mut().filter(|transaction| transaction.since.is_none()) {
            reader.seek(transaction.offset);
            if let Ok(Next::Batch(header)) = reader.next()
                && header.producer_id == transaction.producer_id
                && header.base_offset <= transaction.offset
            {
                transaction.since = header.first_timestamp().known();
            }
        }
        Ok(Some(open))
    }
}

/// Takes account of the batch that `log` has shown last.
fn follow(open: &mut Open, log: &LogReader, header: &BatchHeader, buffer: &mut RecordBuffer) -> Result<()> {
    let producer_id = header.producer_id;
    if is_transactional_data(header) {
        let (offset, since) = (header.base_offset, header.first_timestamp().known());
        open.entry(producer_id).or_insert(OpenTransaction { producer_id, offset, since });
    } else if header.attributes.is_transactional()
        && header.attributes.is_control()
        && !matches!(control_type(buffer, log, header)?, Some(ControlType::Other(_)))
    {
        open.remove(&producer_id);
    }
    Ok(())
}

/// What the snapshot of that name says; `None` where there is none that can be read.
fn snapshot_at(folder: &dyn Folder, offset: Offset) -> Result<Option<Vec<ProducerEntry>>> {
    let bytes = atomic::read_small(folder, &segment_name(offset, FileKind::Snapshot), SNAPSHOT_SIZE_MAX)?;
    Ok(bytes.and_then(|bytes| snapshot::decode(&bytes).ok()))
}
