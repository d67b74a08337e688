//! From batches to records: steps through each, and leaves out what is not a record to be shown.
//!
//! A batch is not decompressed when its header says that none of its records is wanted: it lies outside the offsets, its
//! largest timestamp is too old, or the log gave all of it one timestamp that is too late. (Otherwise nothing in a batch
//! bounds its times from below.)

use super::read::{LogReader, Next};
use super::read_memory::ReadMemory;
use super::record_buffer::RecordBuffer;
use super::transactions::{Transactions, Verdict};
use super::{Result, at_place};
use crate::format::FormatError;
use crate::format::header::{BatchHeader, MAGIC_V2, TimestampType};
use crate::format::record::{Record, RecordSpan};
use crate::format::record_cursor::RecordCursor;
use crate::units::{Offset, Timestamp};

/// What [`RecordReader::advance`] finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// A record: see [`RecordReader::record`].
    Record,
    /// Nothing more for now.
    End,
    /// See [`Next::LogStartPassed`].
    LogStartPassed {
        /// The offset that was to be read.
        missed_from: Offset,
        /// The first offset that is still there.
        log_start_offset: Offset,
    },
}

/// Where a reader of committed records waits for a transaction to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenTransaction {
    /// Whose transaction.
    pub producer_id: i64,
    /// The first offset that is not shown for it.
    pub offset: Offset,
    /// The timestamp of the transaction's first record; `None` where it began before the reader did.
    pub since: Option<Timestamp>,
}

/// Which records of a partition are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// None at or above this offset.
    pub end: Option<Offset>,
    /// None before this time, ms.
    pub since: Option<Timestamp>,
    /// None at or after this time, ms.
    pub until: Option<Timestamp>,
}

/// Reads a partition record by record. Control batches, records below the starting offset and records outside the bounds
/// are left out.
pub struct RecordReader {
    log: LogReader,
    buffer: RecordBuffer,
    header: Option<BatchHeader>,
    cursor: RecordCursor,
    head: RecordSpan,
    /// Where in the plain records at hand the record begins that was found last.
    head_start: usize,
    /// Whether the records were given back: see [`RecordReader::give_back`].
    is_given_back: bool,
    /// No record below this offset is shown.
    start: Offset,
    /// Behind the batches that have been stepped through.
    behind: Offset,
    /// Where the last batch ended whose records were stepped through.
    passed: Offset,
    bounds: Bounds,
    /// The end of the bounds while a shorter one is in force, for a batch that goes on into the next segment.
    end_behind_batch: Option<Option<Offset>>,
    /// The first record that was left out because it was too late, or the batch that holds it.
    too_late: Option<Offset>,
    is_done: bool,
    /// Where only committed records are wanted.
    transactions: Option<Transactions>,
    open_transaction: Option<OpenTransaction>,
}

impl RecordReader {
    /// The header of the batch that holds the record at the front.
    #[must_use]
    pub fn batch(&self) -> Option<&BatchHeader> {
        self.header.as_ref()
    }

    /// Reads on from the place of `log`.
    #[must_use]
    pub fn new(log: LogReader) -> Self {
        let start = log.next_offset();
        Self {
            log,
            buffer: RecordBuffer::default(),
            header: None,
            cursor: RecordCursor::default(),
            head: RecordSpan::default(),
            head_start: 0,
            is_given_back: false,
            start,
            behind: start,
            passed: Offset::ZERO,
            bounds: Bounds::default(),
            end_behind_batch: None,
            too_late: None,
            is_done: false,
            transactions: None,
            open_transaction: None,
        }
    }

    /// The same, but only what lies within `bounds`.
    #[must_use]
    pub const fn within(mut self, bounds: Bounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// The same, but sharing memory with other readers.
    #[must_use]
    pub fn sharing(mut self, memory: &ReadMemory) -> Self {
        self.buffer = RecordBuffer::sharing(memory);
        self
    }

    /// The same, but only what was committed: without the records of aborted transactions, and up to the first
    /// transaction that has not ended.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the place of `log`.
    pub fn read_committed(log: LogReader) -> Result<Self> {
        let transactions = Some(Transactions::new(&log)?);
        Ok(Self { transactions, ..Self::new(log) })
    }

    /// The log that is read.
    #[must_use]
    pub fn log(&self) -> &LogReader {
        &self.log
    }

    /// Whether it holds file descriptors: at most [`RecordReader::DESCRIPTORS_MAX`] at once.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.log.is_open() || self.transactions.as_ref().is_some_and(Transactions::is_open)
    }

    /// The folder and a segment, for the log and for what is read ahead of it.
    pub const DESCRIPTORS_MAX: usize = 4;

    /// Gives the file descriptors back until the reader needs the disk again. The record found last stays.
    ///
    /// # Errors
    /// As [`LogReader::close`].
    pub fn close(&mut self) -> Result<()> {
        self.log.close()?;
        self.transactions.as_mut().map_or(Ok(()), Transactions::close)
    }

    /// The transaction that keeps what follows from being shown, if there was one when [`RecordReader::advance`] ended.
    #[must_use]
    pub const fn open_transaction(&self) -> Option<OpenTransaction> {
        self.open_transaction
    }

    /// Whether nothing more can come: the end of the bounds has been reached.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.is_done
    }

    /// The offset to go on at for whoever has dealt with all records before the one found last: that one, or what lies
    /// behind all that was seen; never past a record that was left out as too late.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        let next = match (self.header, self.bounds.end) {
            (_, Some(end)) if self.is_done => end.max(self.start),
            (Some(_), _) => self.offset(),
            (None, _) => self.behind,
        };
        self.too_late.map_or(next, |offset| offset.min(next))
    }

    /// Goes to the next record.
    ///
    /// # Errors
    /// As [`LogReader::next`], and when a batch is malformed inside.
    // A call and a return for each record are a twentieth of what a merge of them costs.
    #[inline(always)]
    pub fn advance(&mut self) -> Result<Advance> {
        loop {
            if let Some(header) = self.header {
                let records = self.buffer.records(self.log.batch());
                let start = self.cursor.position();
                match self.cursor.next(records) {
                    Ok(Some(span)) => {
                        (self.head, self.head_start) = (span, start);
                        if self.is_wanted(&header) {
                            return Ok(Advance::Record);
                        }
                        if self.is_done && !self.goes_on() {
                            return Ok(self.end());
                        }
                        continue;
                    }
                    // What looks like an end or damage is the end of what is at hand.
                    Ok(None) | Err(_) if self.buffer.is_cut() && start > 0 => {
                        self.load_rest()?;
                        continue;
                    }
                    Ok(None) => {
                        self.header = None;
                        self.passed = header.next_offset();
                        self.behind = self.behind.max(self.passed);
                    }
                    Err(error) => return Err(self.at_batch(error, &header)),
                }
            }
            if let Some(ended) = self.next_batch()? {
                return Ok(ended);
            }
        }
    }

    /// After an error: skips what is corrupt or unsupported. Returns the lowest offset that the next record can have; `None` if
    /// no batch follows.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn step_over(&mut self) -> Result<Option<Offset>> {
        self.end();
        self.is_given_back = false;
        let stepped = self.log.step_over()?;
        self.behind = self.behind.max(self.log.next_offset());
        Ok(stepped)
    }

    /// Appends the next of the records of the current batch as lines, where all of it is wanted: see
    /// [`RecordCursor::append_lines`]. Returns how many there were. The last of them is then the record found last.
    #[inline]
    pub fn append_lines(&mut self, delimiter: u8, limits: (u64, usize), lines: &mut Vec<u8>) -> u64 {
        if !self.header.is_some_and(|header| self.wants_all_of(&header)) {
            return 0;
        }
        let records = self.buffer.records(self.log.batch());
        let (count, last) = self.cursor.append_lines(records, delimiter, limits, lines);
        if count > 0 {
            self.head = RecordSpan::parse(records, last).expect("it was parsed just now");
            self.head_start = last;
        }
        count
    }

    #[inline]
    fn wants_all_of(&self, header: &BatchHeader) -> bool {
        let Bounds { end, since, until } = self.bounds;
        let is_before_end = end.is_none_or(|end| header.last_offset() < end);
        header.base_offset >= self.start && is_before_end && since.is_none() && until.is_none()
    }

    /// Whether the record at the head of a batch is wanted. The end of the bounds is reached by the first behind it.
    #[inline]
    fn is_wanted(&mut self, header: &BatchHeader) -> bool {
        let offset = header.base_offset + i64::from(self.head.offset_delta);
        let Bounds { end, since, until } = self.bounds;
        if offset < self.start {
            return false;
        }
        if end.is_some_and(|end| offset >= end) {
            self.is_done = true;
            return false;
        }
        if since.is_none() && until.is_none() {
            return true;
        }
        let timestamp = header.record_timestamp(self.head.timestamp_delta);
        if until.is_some_and(|until| timestamp >= until) {
            self.too_late.get_or_insert(offset);
            return false;
        }
        since.is_none_or(|since| timestamp >= since)
    }

    /// After the end of the bounds: goes on where that was only of what is shown of a batch.
    #[cold]
    fn goes_on(&mut self) -> bool {
        if self.end_behind_batch.is_some() {
            (self.is_done, self.header) = (false, None);
            self.behind = self.behind.max(self.bounds.end.unwrap_or(self.behind));
        }
        !self.is_done
    }

    /// Shows of a batch no record that belongs to the next segment, by whose name its own one ends at `segment_end`.
    #[cold]
    fn cut_at(&mut self, segment_end: Offset) {
        let end = self.bounds.end;
        if end.is_none_or(|end| end > segment_end) {
            (self.end_behind_batch, self.bounds.end) = (Some(end), Some(segment_end));
        }
    }

    /// Goes on after a batch that was cut.
    #[cold]
    fn pass_cut(&mut self, end: Option<Offset>) {
        let segment_end = self.bounds.end.unwrap_or(self.behind);
        self.behind = self.behind.min(segment_end.max(self.start));
        (self.bounds.end, self.end_behind_batch) = (end, None);
    }

    /// Goes to the records of the next batch; `Some` where there are none now.
    fn next_batch(&mut self) -> Result<Option<Advance>> {
        self.open_transaction = None;
        if let Some(end) = self.end_behind_batch {
            self.pass_cut(end);
        }
        if self.is_done || self.bounds.end.is_some_and(|end| self.behind >= end) {
            self.is_done = true;
            return Ok(Some(self.end()));
        }
        let header = match self.log.next()? {
            Next::Batch(header) => header,
            Next::End => return Ok(Some(self.end())),
            Next::LogStartPassed { missed_from, log_start_offset } => {
                self.behind = self.behind.max(log_start_offset);
                if let Some(transactions) = &mut self.transactions {
                    transactions.log_start_passed(log_start_offset)?;
                }
                return Ok(Some(Advance::LogStartPassed { missed_from, log_start_offset }));
            }
        };
        if header.next_offset() > self.log.segment_end() {
            self.cut_at(self.log.segment_end());
        }
        if header.attributes.is_control() || self.is_unwanted(&header) {
            self.behind = self.behind.max(header.next_offset());
            return Ok(None);
        }
        match self.transactions.as_mut().map(|it| it.verdict(&self.log, &header)).transpose()? {
            None | Some(Verdict::Show) => {}
            Some(Verdict::Skip) => {
                self.behind = self.behind.max(header.next_offset());
                return Ok(None);
            }
            Some(Verdict::Wait(open_transaction)) => {
                self.open_transaction = Some(open_transaction);
                self.log.unread();
                return Ok(Some(self.end()));
            }
            Some(Verdict::ReadAgain) => {
                self.log.seek(self.log.next_offset());
                return Ok(None);
            }
        }
        let loaded = self.buffer.load(&header, self.log.batch(), self.log.decompressed_size_max());
        let header = loaded.map_err(|error| self.at_batch(error, &header))?;
        // Where the messages in a compressed one of an old format begin is known only now.
        if header.magic != MAGIC_V2 && header.base_offset < self.passed {
            let what = format!("the messages in it begin at offset {}, below {}", header.base_offset, self.passed);
            return Err(self.at_batch(FormatError::corrupt(what), &header));
        }
        self.cursor = RecordCursor::new(&header);
        self.header = Some(header);
        Ok(None)
    }

    /// Nothing more for now: others may need the memory.
    fn end(&mut self) -> Advance {
        self.header = None;
        self.buffer.give_back();
        Advance::End
    }

    /// Whether the header of a batch tells that none of its records is wanted.
    fn is_unwanted(&mut self, header: &BatchHeader) -> bool {
        let Bounds { end, since, until } = self.bounds;
        // A compressed message of an old format does not tell its first offset.
        let starts_behind = |end| header.magic == MAGIC_V2 && header.base_offset >= end;
        if since.is_some_and(|since| header.max_timestamp < since) || end.is_some_and(starts_behind) {
            return true;
        }
        let is_too_late = header.timestamp_type() == TimestampType::LogAppendTime
            && until.is_some_and(|until| header.max_timestamp >= until);
        if is_too_late {
            self.too_late.get_or_insert(self.behind.max(self.start));
        }
        is_too_late
    }

    /// What of the current batch lies ahead, for who knows how to tell from it that some of the next records are not wanted:
    /// the plain records at hand, where in them the next one begins, and what tells these bytes from others: the base offset
    /// of the batch and where in its records they begin. `None` before a batch, and where what is too late is kept track of.
    #[inline]
    #[must_use]
    pub fn ahead(&self) -> Option<(&[u8], usize, (Offset, usize))> {
        let header = self.header.as_ref().filter(|_| self.bounds.until.is_none())?;
        let bytes = (header.base_offset, self.buffer.start());
        Some((self.buffer.records(self.log.batch()), self.cursor.position(), bytes))
    }

    /// Passes over the records of the current batch that end at or before `position` in its plain records.
    #[inline]
    pub fn skip_to(&mut self, position: usize) {
        self.cursor.skip_to(self.buffer.records(self.log.batch()), position);
    }

    /// Whether it holds more memory than its share while all readers that share it hold too much.
    #[inline]
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.buffer.is_over()
    }

    /// Gives the memory of the records back while others are shown. Of the record found last, all but
    /// [`RecordReader::record`] can still be asked for; [`RecordReader::take_up`] is to be called before anything else.
    pub fn give_back(&mut self) {
        self.buffer.give_back();
        self.is_given_back = true;
    }

    /// Loads the record found last again, and what follows it, if they were given back.
    ///
    /// # Errors
    /// As [`RecordReader::advance`].
    #[inline]
    pub fn take_up(&mut self) -> Result<()> {
        if self.is_given_back { self.load_again() } else { Ok(()) }
    }

    #[cold]
    fn load_again(&mut self) -> Result<()> {
        let header = self.header.expect("a record has been found");
        let position = self.buffer.start() + self.head_start;
        self.load_from(position)?;
        let records = self.buffer.records(self.log.batch());
        self.head_start = position - self.buffer.start();
        let head = RecordSpan::parse(records, self.head_start);
        self.head = head.map_err(|error| self.at_batch(error, &header))?;
        self.cursor.set_position(self.head.end);
        self.is_given_back = false;
        Ok(())
    }

    /// Loads the records of the current batch from the next one on.
    #[cold]
    fn load_rest(&mut self) -> Result<()> {
        let position = self.buffer.start() + self.cursor.position();
        self.load_from(position)?;
        self.cursor.set_position(position - self.buffer.start());
        Ok(())
    }

    fn load_from(&mut self, position: usize) -> Result<()> {
        let batch = self.log.batch();
        let stored = self.log.header();
        let loaded = self.buffer.load_from(stored, batch, position, self.log.decompressed_size_max());
        loaded.map(drop).map_err(|error| self.at_batch(error, stored))
    }

    #[cold]
    fn at_batch(&self, error: FormatError, header: &BatchHeader) -> super::StorageError {
        let (path, position) = self.log.place();
        at_place(error, path, position, header.base_offset)
    }

    /// The offset of the record that [`RecordReader::advance`] has found last.
    #[inline]
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.batch_header().base_offset + i64::from(self.head.offset_delta)
    }

    /// Its timestamp, ms since the epoch.
    #[inline]
    #[must_use]
    pub fn timestamp(&self) -> Timestamp {
        self.batch_header().record_timestamp(self.head.timestamp_delta)
    }

    /// Who gave it the timestamp.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        self.batch_header().timestamp_type()
    }

    /// The record itself.
    #[inline]
    #[must_use]
    pub fn record(&self) -> Record<'_> {
        self.head.record(self.buffer.records(self.log.batch()))
    }

    #[inline]
    fn batch_header(&self) -> &BatchHeader {
        self.header.as_ref().expect("a record has been found")
    }
}
