//! Which batches a reader may show that wants only what was committed.
//!
//! A batch of a transaction is shown when the transaction's COMMIT marker stands in the log, skipped when its ABORT marker
//! does, and waited for when neither does yet; so is all that follows it, as Kafka's last stable offset has it.
//!
//! The marker is looked for ahead of the reader. What the transaction index of the reader's segment says spares that for
//! an aborted transaction: an entry is believed once its producer's batches have been seen at both of its offsets, so an
//! index that is missing, short or wrong costs time and changes no answer. (What those two cannot tell is believed: that
//! no other transaction of the producer ends between them.) Whether a transaction was open where the reader
//! starts is told by the newest producer snapshot below that place and the batches from there on; without one, by the log
//! from its start.
//! Sources: `TransactionIndex.java`, `ProducerStateManager.java`, `CompletedFetch.java`.

use super::file_name::{FileKind, parse_segment_name, segment_path};
use super::read::{LogReader, Next};
use super::record_buffer::RecordBuffer;
use super::{Result, StorageError, at_place};
use crate::disk::{Disk, atomic};
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader};
use crate::format::record_cursor::RecordCursor;
use crate::format::snapshot;
use crate::format::txn::{ABORTED_TRANSACTION_SIZE, AbortedTransaction, ControlType};
use crate::units::Offset;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// Bytes read at a time while looking ahead.
const CHUNK: usize = 64 << 10;
/// Files of this size at most are read: a million aborted transactions in one segment, or as many producers.
const FILE_SIZE_MAX: usize = 64 << 20;

/// What to do with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Show,
    /// Its transaction was aborted.
    Skip,
    /// It, or a transaction that began before it, has not ended.
    Wait,
}

/// How the transactions of one producer ended: of those that end up to each marker, and behind the one before, whether
/// they were aborted. Neighbours that ended alike are one.
type Ends = VecDeque<(Offset, bool)>;

/// What is known about transactions at and ahead of a reader.
pub(super) struct Transactions {
    disk: Arc<dyn Disk>,
    ahead: LogReader,
    buffer: RecordBuffer,
    /// What the markers that `ahead` has passed say, by producer.
    ended: HashMap<i64, Ends>,
    /// The producers whose transaction was open at the reader's start and has not ended in what `ahead` has read.
    open_at_start: HashSet<i64>,
    /// The segment whose transaction index `aborted` was read from.
    indexed: Option<Offset>,
    aborted: Vec<Entry>,
}

struct Entry {
    transaction: AbortedTransaction,
    /// Whether it was held against the log already.
    is_right: bool,
}

impl Transactions {
    /// For a reader that stands at its start.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the reader's start.
    pub(super) fn new(disk: &Arc<dyn Disk>, log: &LogReader) -> Result<Self> {
        let mut transactions = Self {
            disk: Arc::clone(disk),
            ahead: log.another(CHUNK),
            buffer: RecordBuffer::default(),
            ended: HashMap::new(),
            open_at_start: HashSet::new(),
            indexed: None,
            aborted: Vec::new(),
        };
        transactions.find_open(log.next_offset())?;
        Ok(transactions)
    }

    /// Finds the transactions that are open at `start`, and leaves `ahead` there.
    fn find_open(&mut self, start: Offset) -> Result<()> {
        let log_start_offset = self.ahead.log_start_offset();
        if start > log_start_offset {
            let (snapshot_offset, open) = self.newest_snapshot(log_start_offset, start)?;
            self.open_at_start = open;
            self.ahead.seek(snapshot_offset);
            while let Next::Batch(header) = self.ahead.next()? {
                if header.base_offset >= start {
                    break;
                }
                if self.marker(&header)?.is_some() {
                    self.open_at_start.remove(&header.producer_id);
                } else if is_transactional_data(&header) && header.last_offset() < start {
                    self.open_at_start.insert(header.producer_id);
                }
            }
        }
        self.ahead.seek(start);
        Ok(())
    }

    /// The offset of the newest readable producer snapshot from `first` to `last`, and whose transactions were open
    /// there; `first` and none without one.
    fn newest_snapshot(&self, first: Offset, last: Offset) -> Result<(Offset, HashSet<i64>)> {
        let entries = self.disk.list(self.ahead.path())?;
        let snapshots = entries.iter().filter_map(|entry| parse_segment_name(&entry.name));
        let mut offsets: Vec<Offset> = snapshots
            .filter(|(offset, kind)| *kind == FileKind::Snapshot && (first..=last).contains(offset))
            .map(|(offset, _)| offset)
            .collect();
        offsets.sort_unstable();
        for offset in offsets.into_iter().rev() {
            let path = segment_path(self.ahead.path(), offset, FileKind::Snapshot);
            if let Some(bytes) = atomic::read_small(&*self.disk, &path, FILE_SIZE_MAX)?
                && let Ok(producers) = snapshot::decode(&bytes)
            {
                let open = producers.iter().filter(|it| it.transaction_first_offset >= 0);
                return Ok((offset, open.map(|it| it.producer_id).collect()));
            }
        }
        Ok((first, HashSet::new()))
    }

    /// What to do with the batch that `log` has shown last.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the marker that decides.
    pub(super) fn verdict(&mut self, log: &LogReader, header: &BatchHeader) -> Result<Verdict> {
        while !self.open_at_start.is_empty() {
            if !self.look_ahead()? {
                return Ok(Verdict::Wait);
            }
        }
        if !is_transactional_data(header) {
            return Ok(Verdict::Show);
        }
        if self.is_aborted_by_index(log, header)? {
            return Ok(Verdict::Skip);
        }
        if self.ahead.next_offset() < header.base_offset {
            self.ahead.seek(header.base_offset);
        }
        loop {
            if let Some(aborted) = self.known_end(header) {
                return Ok(if aborted { Verdict::Skip } else { Verdict::Show });
            }
            if !self.look_ahead()? {
                return Ok(Verdict::Wait);
            }
        }
    }

    /// Whether the transaction of this batch was aborted, if its marker has been passed.
    fn known_end(&mut self, header: &BatchHeader) -> Option<bool> {
        let ends = self.ended.get_mut(&header.producer_id)?;
        while ends.front().is_some_and(|&(marker, _)| marker < header.base_offset) {
            ends.pop_front();
        }
        ends.front().map(|&(_, aborted)| aborted)
    }

    /// Goes on to the next marker; `false` where there is none yet.
    fn look_ahead(&mut self) -> Result<bool> {
        loop {
            match self.ahead.next()? {
                Next::Batch(header) => {
                    if let Some(aborted) = self.marker(&header)? {
                        self.open_at_start.remove(&header.producer_id);
                        let ends = self.ended.entry(header.producer_id).or_default();
                        if ends.back().is_some_and(|&(_, before)| before == aborted) {
                            ends.pop_back();
                        }
                        ends.push_back((header.base_offset, aborted));
                        return Ok(true);
                    }
                }
                Next::LogStartPassed { .. } => {}
                Next::End => return Ok(false),
            }
        }
    }

    /// Whether the batch that `ahead` has shown last ends a transaction, and if so, whether it aborts it. A marker whose
    /// record compaction has removed ends a transaction of which nothing is left.
    fn marker(&mut self, header: &BatchHeader) -> Result<Option<bool>> {
        if !header.attributes.is_control() || !header.attributes.is_transactional() {
            return Ok(None);
        }
        let kind = control_type(&mut self.buffer, &self.ahead, header)?;
        Ok(match kind {
            Some(ControlType::Other) => None,
            Some(ControlType::Abort) => Some(true),
            Some(ControlType::Commit) | None => Some(false),
        })
    }

    fn is_aborted_by_index(&mut self, log: &LogReader, header: &BatchHeader) -> Result<bool> {
        let base = log.segment();
        if self.indexed != base {
            self.indexed = base;
            self.aborted.clear();
            if let Some(base) = base {
                let path = segment_path(log.path(), base, FileKind::TransactionIndex);
                let bytes = atomic::read_small(&*self.disk, &path, FILE_SIZE_MAX)?.unwrap_or_default();
                let entries = bytes.chunks_exact(ABORTED_TRANSACTION_SIZE);
                let decoded = entries.map_while(|entry| AbortedTransaction::decode(entry).ok());
                self.aborted.extend(decoded.map(|transaction| Entry { transaction, is_right: false }));
            }
        }
        let (first, last) = (header.base_offset.0, header.last_offset().0);
        let covers = |Entry { transaction: it, .. }: &Entry| {
            it.producer_id == header.producer_id && it.first_offset <= first && last < it.last_offset
        };
        let Some(place) = self.aborted.iter().position(covers) else { return Ok(false) };
        let Entry { transaction, is_right } = self.aborted[place];
        if is_right || self.is_right(log, &transaction)? {
            self.aborted[place].is_right = true;
            return Ok(true);
        }
        self.aborted.swap_remove(place);
        Ok(false)
    }

    /// Whether data of the producer stands where an entry of the transaction index begins, and its ABORT marker where it
    /// ends.
    fn is_right(&mut self, log: &LogReader, entry: &AbortedTransaction) -> Result<bool> {
        let mut reader = log.another(CHUNK);
        let Some(first) = batch_at(&mut reader, Offset(entry.first_offset))? else { return Ok(false) };
        let begins = first.base_offset.0 == entry.first_offset && is_transactional_data(&first);
        if !begins || first.producer_id != entry.producer_id {
            return Ok(false);
        }
        let Some(last) = batch_at(&mut reader, Offset(entry.last_offset))? else { return Ok(false) };
        let ends = last.base_offset.0 == entry.last_offset && last.attributes.is_control();
        if !ends || last.producer_id != entry.producer_id {
            return Ok(false);
        }
        Ok(control_type(&mut self.buffer, &reader, &last).is_ok_and(|kind| kind == Some(ControlType::Abort)))
    }
}

/// The batch that holds `offset` or follows it. `None` where the log ends before, which an entry may lie behind, and where
/// it is damaged: a reader names that when it comes there.
fn batch_at(reader: &mut LogReader, offset: Offset) -> Result<Option<BatchHeader>> {
    reader.seek(offset);
    match reader.next() {
        Ok(Next::Batch(header)) => Ok(Some(header)),
        Ok(_) | Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// An empty batch is what compaction leaves of one: there is nothing to decide about it.
fn is_transactional_data(header: &BatchHeader) -> bool {
    header.attributes.is_transactional() && !header.attributes.is_control() && header.record_count > 0
}

/// The type of a control batch that `log` has shown last; `None` where it holds no record.
fn control_type(buffer: &mut RecordBuffer, log: &LogReader, header: &BatchHeader) -> Result<Option<ControlType>> {
    let (path, position) = log.place();
    let at_batch = |error| at_place(error, path, position, header.base_offset);
    let (header, decompressed) = buffer.load(header, log.batch()).map_err(at_batch)?;
    let records = if decompressed { buffer.plain() } else { &log.batch()[BATCH_HEADER_SIZE..] };
    match RecordCursor::new(&header).next(records).map_err(at_batch)? {
        Some(span) => ControlType::parse(span.record(records).key.unwrap_or_default()).map(Some).map_err(at_batch),
        None => Ok(None),
    }
}
