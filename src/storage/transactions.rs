//! Which batches a read-committed reader may show.
//!
//! A transaction ends at its producer's next marker. A batch of it is shown if that is a COMMIT, skipped if it is an ABORT,
//! and waited for while there is none; everything after it waits too, as at Kafka's last stable offset.
//!
//! One look-ahead position finds the markers. It passes over each batch once, in large reads, and what it has found is
//! dropped once the reader has passed it: memory holds the markers between the two, neighbours of one producer that ended
//! alike as one. Kafka's transaction index would name the aborted transactions sooner. It is not read: an entry is only
//! known to be right once all markers up to its end have been read, which is what looking ahead costs.
//!
//! Which transactions were open where the reader starts comes from the newest producer snapshot up to there and the batches
//! after it; without one, from the log's first batch on.
//!
//! The log may change while it is read. Retention may delete markers before they are read, and a broker may truncate the
//! log and write other batches in their place. Then what was known is dropped, and the reader reads its batch again.
//! Sources: `ProducerStateManager.java`, `CompletedFetch.java`.

use super::read::{LogReader, Next};
use super::record_buffer::RecordBuffer;
use super::records::OpenTransaction;
use super::{Result, StorageError, at_place, scan};
use crate::format::header::BatchHeader;
use crate::format::record_cursor::RecordCursor;
use crate::format::txn::ControlType;
use crate::units::{Offset, Position};
use std::collections::{BTreeMap, HashSet};
use std::mem;

/// Bytes read at a time while looking ahead.
const CHUNK: usize = 64 << 10;
/// How far a reader goes on before what was seen ahead of it is compared with the log again, in bytes.
const CHECK_INTERVAL: usize = CHUNK;
/// So many markers are kept before those that the reader has passed are looked for.
const SWEEP_MIN: usize = 1024;

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Show,
    /// Its transaction was aborted.
    Skip,
    /// It, or a transaction that began before it, has not ended.
    Wait(OpenTransaction),
    /// The log has changed: the reader is to read on from its offset afresh.
    ReadAgain,
}

/// What is known about transactions at and ahead of a reader.
pub(super) struct Transactions {
    ahead: LogReader,
    buffer: RecordBuffer,
    /// The markers from `known_from` up to `reached`; those below `reader` may be missing.
    markers: Markers,
    known_from: Offset,
    /// Where the batch after the last one that `ahead` has passed over begins, or later.
    reached: Offset,
    /// The offset of the reader.
    reader: Offset,
    /// The producers whose transaction was open at the reader's start and has not ended below `reached`.
    open_at_start: HashSet<i64>,
    /// The last batch that `ahead` has passed over.
    last: Option<Seen>,
    /// Whether `ahead` found the end of the log when it was last asked.
    is_at_end: bool,
    /// Bytes of batches that were decided since `last` was compared with the log.
    unchecked: usize,
}

/// A batch, and where it was.
struct Seen {
    segment: Offset,
    position: Position,
    header: BatchHeader,
}

/// What [`Transactions::look_ahead`] finds.
enum Ahead {
    Marker,
    /// No marker up to the end of the log for now.
    End,
    /// The log is not what it was: what had been seen was dropped.
    Changed,
}

impl Transactions {
    /// For a reader at its start.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the reader's start.
    pub(super) fn new(log: &LogReader) -> Result<Self> {
        let mut transactions = Self {
            ahead: log.another(CHUNK),
            buffer: RecordBuffer::default(),
            markers: Markers::default(),
            known_from: Offset::ZERO,
            reached: Offset::ZERO,
            reader: log.next_offset(),
            open_at_start: HashSet::new(),
            last: None,
            is_at_end: false,
            unchecked: 0,
        };
        transactions.begin_at(log.next_offset())?;
        Ok(transactions)
    }

    /// Whether it holds file descriptors.
    pub(super) fn is_open(&self) -> bool {
        self.ahead.is_open()
    }

    /// See [`LogReader::close`].
    pub(super) fn close(&mut self) -> Result<()> {
        self.ahead.close()
    }

    /// Finds the transactions that are open at `start`, and leaves `ahead` there.
    fn begin_at(&mut self, start: Offset) -> Result<()> {
        let first = self.ahead.view().bases().first().copied().unwrap_or(start);
        let (from, open) = self.newest_snapshot(first, start)?;
        self.open_at_start = open;
        self.ahead.seek(from);
        self.forget(start);
        if from < start { self.follow_up_to(start) } else { Ok(()) }
    }

    /// Keeps track of which transactions are open, from where `ahead` is up to `start`.
    fn follow_up_to(&mut self, start: Offset) -> Result<()> {
        let log_start_offset = self.ahead.view().log_start_offset();
        loop {
            let next = match self.ahead.next() {
                // Damage of what is no longer part of the log hides at most that a transaction is open.
                Err(StorageError::Corrupt { .. }) if self.ahead.next_offset() < log_start_offset => {
                    self.ahead.seek(log_start_offset);
                    continue;
                }
                next => next?,
            };
            match next {
                Next::Batch(header) if header.base_offset >= start => {
                    self.ahead.unread();
                    return Ok(());
                }
                Next::Batch(header) => {
                    self.note_last(header);
                    if self.marker(&header)?.is_some() {
                        self.open_at_start.remove(&header.producer_id);
                    } else if is_transactional_data(&header) && header.last_offset() < start {
                        self.open_at_start.insert(header.producer_id);
                    }
                }
                Next::LogStartPassed { log_start_offset: first, .. } => {
                    self.open_at_start = self.newest_snapshot(first, first)?.1;
                }
                Next::End => return Ok(()),
            }
        }
    }

    /// Nothing is known any more of the log from `offset` on, where `ahead` is or is going to be.
    fn forget(&mut self, offset: Offset) {
        self.markers.clear();
        (self.known_from, self.reached) = (offset, offset);
        (self.last, self.is_at_end, self.unchecked) = (None, false, 0);
    }

    /// The same as [`Transactions::begin_at`], of a log that has changed.
    fn begin_again_at(&mut self, start: Offset) -> Result<()> {
        self.ahead.list_again()?;
        self.begin_at(start)
    }

    /// The offset of the newest readable producer snapshot from `first` to `last`, and whose transactions were open there.
    fn newest_snapshot(&self, first: Offset, last: Offset) -> Result<(Offset, HashSet<i64>)> {
        let (offset, producers) = self.ahead.view().newest_snapshot(first, last)?;
        let open = producers.iter().filter(|producer| producer.transaction_first_offset >= 0);
        Ok((offset, open.map(|producer| producer.producer_id).collect()))
    }

    /// That the reader goes on at the log start offset, since what it was to read next was deleted. Markers that were
    /// deleted unread say nothing any more about what was open there.
    ///
    /// # Errors
    /// As [`Transactions::new`].
    pub(super) fn log_start_passed(&mut self, log_start_offset: Offset) -> Result<()> {
        if self.reached < log_start_offset { self.begin_again_at(log_start_offset) } else { Ok(()) }
    }

    /// What to do with the batch that `log` has shown last.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the marker that decides.
    pub(super) fn verdict(&mut self, log: &LogReader, header: &BatchHeader) -> Result<Verdict> {
        self.reader = log.next_offset();
        // While the reader waited, the log may have been cut and written again.
        if mem::take(&mut self.is_at_end) && self.begins_again_if_rewritten()? {
            return Ok(Verdict::ReadAgain);
        }
        let offset = header.base_offset;
        while let Some(&producer_id) = self.open_at_start.iter().min() {
            match self.look_ahead()? {
                Ahead::Marker => {}
                Ahead::End => return Ok(Verdict::Wait(OpenTransaction { producer_id, offset, since: None })),
                Ahead::Changed => return Ok(Verdict::ReadAgain),
            }
        }
        if !is_transactional_data(header) {
            return Ok(Verdict::Show);
        }
        if self.reached < header.base_offset || header.next_offset() < self.known_from {
            self.ahead.go_to_batch_of(log);
            self.forget(header.base_offset);
        } else if self.is_check_due(header) && self.begins_again_if_rewritten()? {
            return Ok(Verdict::ReadAgain);
        }
        loop {
            if let Some(is_aborted) = self.markers.end_of(header) {
                return Ok(if is_aborted { Verdict::Skip } else { Verdict::Show });
            }
            match self.look_ahead()? {
                Ahead::Marker => {}
                Ahead::End => {
                    let since = Some(header.base_timestamp);
                    return Ok(Verdict::Wait(OpenTransaction { producer_id: header.producer_id, offset, since }));
                }
                Ahead::Changed => return Ok(Verdict::ReadAgain),
            }
        }
    }

    /// Goes on to the next marker.
    fn look_ahead(&mut self) -> Result<Ahead> {
        loop {
            let header = match self.ahead.next() {
                Ok(Next::Batch(header)) => header,
                Ok(Next::End) => {
                    self.is_at_end = true;
                    return Ok(Ahead::End);
                }
                Ok(Next::LogStartPassed { log_start_offset, .. }) => {
                    self.begin_at(log_start_offset)?;
                    return Ok(Ahead::Changed);
                }
                // Batches written in the place of others need not begin where those did.
                Err(StorageError::Corrupt { .. }) if self.begins_again_if_rewritten()? => return Ok(Ahead::Changed),
                Err(error) => return Err(error),
            };
            self.reached = header.next_offset();
            self.note_last(header);
            if let Some(is_aborted) = self.marker(&header)? {
                self.open_at_start.remove(&header.producer_id);
                self.markers.add(header.producer_id, header.base_offset, is_aborted, self.reader);
                return Ok(Ahead::Marker);
            }
        }
    }

    fn note_last(&mut self, header: BatchHeader) {
        let segment = self.ahead.segment().unwrap_or_default();
        self.last = Some(Seen { segment, position: self.ahead.place().1, header });
    }

    /// Whether it is time to compare what was seen ahead with the log, before this batch is decided by it.
    fn is_check_due(&mut self, header: &BatchHeader) -> bool {
        self.unchecked += header.size;
        self.unchecked >= CHECK_INTERVAL && header.base_offset < self.reached
    }

    /// Begins again at the reader if the log is not the one in which `ahead` has come so far; returns whether it did.
    fn begins_again_if_rewritten(&mut self) -> Result<bool> {
        self.unchecked = 0;
        let is_rewritten = self.is_rewritten()?;
        if is_rewritten {
            self.begin_again_at(self.reader)?;
        }
        Ok(is_rewritten)
    }

    /// Whether the log no longer holds the last batch that `ahead` has passed over. A log is only ever truncated at its end,
    /// so while that batch is there, leader epoch included, everything before it is what it was.
    fn is_rewritten(&mut self) -> Result<bool> {
        let Some(last) = &self.last else { return Ok(false) };
        if let Some(log) = self.ahead.view().open_log(last.segment)? {
            let found = scan::header_at(&*log.file, last.position, log.file.stat()?.size)?;
            return Ok(found != Some(last.header));
        }
        let segment = last.segment;
        self.ahead.list_again()?;
        // One that retention has deleted leaves only later ones.
        Ok(self.ahead.view().bases().first().is_none_or(|&first| first <= segment))
    }

    /// Whether the batch that `ahead` has shown last ends a transaction, and if so, whether it aborts it. A marker whose
    /// record compaction has removed ends a transaction of which nothing is left.
    fn marker(&mut self, header: &BatchHeader) -> Result<Option<bool>> {
        if !header.attributes.is_control() || !header.attributes.is_transactional() {
            return Ok(None);
        }
        let kind = control_type(&mut self.buffer, &self.ahead, header)?;
        Ok(match kind {
            Some(ControlType::Other(_)) => None,
            Some(ControlType::Abort) => Some(true),
            Some(ControlType::Commit) | None => Some(false),
        })
    }
}

/// How transactions ended: by producer and the offset of the marker, whether they were aborted. Of several in a row of one
/// producer that ended alike, the last marker is kept.
struct Markers {
    by_producer: BTreeMap<(i64, Offset), bool>,
    /// At how many those that the reader has passed are dropped.
    sweep_at: usize,
}

impl Default for Markers {
    fn default() -> Self {
        Self { by_producer: BTreeMap::new(), sweep_at: SWEEP_MIN }
    }
}

impl Markers {
    fn clear(&mut self) {
        self.by_producer.clear();
    }

    /// Adds one whose offset is above all others. No marker below `reader` is asked for any more.
    fn add(&mut self, producer_id: i64, marker: Offset, is_aborted: bool, reader: Offset) {
        let before = self.by_producer.range((producer_id, Offset::ZERO)..(producer_id, marker)).next_back();
        if let Some((&before, _)) = before.filter(|&(_, &other)| other == is_aborted) {
            self.by_producer.remove(&before);
        }
        self.by_producer.insert((producer_id, marker), is_aborted);
        if self.by_producer.len() >= self.sweep_at {
            self.by_producer.retain(|&(_, marker), _| marker >= reader);
            self.sweep_at = SWEEP_MIN.max(2 * self.by_producer.len());
        }
    }

    /// Whether the transaction of this batch was aborted, if its marker is known.
    fn end_of(&self, batch: &BatchHeader) -> Option<bool> {
        let id = batch.producer_id;
        let mut from_here = self.by_producer.range((id, batch.base_offset)..=(id, Offset(i64::MAX)));
        from_here.next().map(|(_, &is_aborted)| is_aborted)
    }
}

/// An empty batch is what compaction leaves of one: there is nothing to decide about it.
pub(super) fn is_transactional_data(header: &BatchHeader) -> bool {
    header.attributes.is_transactional() && !header.attributes.is_control() && header.record_count > 0
}

/// The type of a control batch that `log` has shown last; `None` where it holds no record.
pub(super) fn control_type(
    buffer: &mut RecordBuffer,
    log: &LogReader,
    header: &BatchHeader,
) -> Result<Option<ControlType>> {
    let (path, position) = log.place();
    let at_batch = |error| at_place(error, path, position, header.base_offset);
    let header = buffer.load(header, log.batch(), log.decompressed_size_max()).map_err(at_batch)?;
    let records = buffer.records(log.batch());
    match RecordCursor::new(&header).next(records).map_err(at_batch)? {
        Some(span) => ControlType::parse(span.record(records).key.unwrap_or_default()).map(Some).map_err(at_batch),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Checkpoints;
    use super::super::file_name::{FileKind, segment_name};
    use super::super::view::LogView;
    use super::*;
    use crate::disk::faulty::FaultyDisk;
    use crate::disk::{Access, Disk};
    use crate::format::batch::{BatchBuilder, stamp};
    use crate::format::crc;
    use crate::format::record::NewRecord;
    use std::path::Path;

    const TRANSACTIONAL: u8 = 1 << 4;
    const CONTROL: u8 = 1 << 5;

    /// A batch of one record.
    fn batch(base_offset: i64, producer_id: i64, attributes: u8, key: Option<&[u8]>) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { key, ..NewRecord::default() });
        let mut bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
        stamp(&mut bytes, Offset(base_offset), 0);
        bytes[22] = attributes;
        bytes[43..51].copy_from_slice(&producer_id.to_be_bytes());
        let checksum = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    #[test]
    fn memory_holds_no_producer_whose_transactions_the_reader_has_passed() {
        let count = 20 * SWEEP_MIN as i64;
        let mut log = Vec::new();
        for number in 0..count {
            log.extend(batch(2 * number, number, TRANSACTIONAL, None));
            log.extend(batch(2 * number + 1, number, TRANSACTIONAL | CONTROL, Some(&[0, 0, 0, (number % 2) as u8])));
        }
        let disk = FaultyDisk::new();
        disk.create_folder(Path::new("/t-0")).unwrap();
        let name = segment_name(Offset::ZERO, FileKind::Log);
        disk.open(&Path::new("/t-0").join(name), Access::Create).unwrap().write_at(&log, 0).unwrap();
        let folder = disk.open_folder(Path::new("/t-0")).unwrap();
        let mut log = LogReader::new(LogView::of(folder, Checkpoints::default()).unwrap(), CHUNK);
        let mut transactions = Transactions::new(&log).unwrap();
        let (mut decided, mut most) = (0, 0);
        while let Next::Batch(header) = log.next().unwrap() {
            if !header.attributes.is_control() {
                let expected = if decided % 2 == 0 { Verdict::Skip } else { Verdict::Show };
                assert_eq!(transactions.verdict(&log, &header).unwrap(), expected);
                decided += 1;
            }
            most = most.max(transactions.markers.by_producer.len());
        }
        assert_eq!(decided, count);
        assert!(most <= SWEEP_MIN, "{most} markers are kept");
    }
}
