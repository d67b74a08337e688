//! From batches to records: steps through each, and leaves out what is not a record to be shown.

use super::read::{LogReader, Next};
use super::record_buffer::RecordBuffer;
use super::transactions::{Transactions, Verdict};
use super::{Result, at_place};
use crate::format::FormatError;
use crate::format::batch::RecordCursor;
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader, TimestampType};
use crate::format::record::{Record, RecordSpan};
use crate::units::Offset;

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

/// Reads a partition record by record. Control batches and records below the starting offset are left out.
pub struct RecordReader {
    log: LogReader,
    buffer: RecordBuffer,
    /// Whether the records of the current batch are in `buffer`, not in the reader's own bytes.
    decompressed: bool,
    header: Option<BatchHeader>,
    cursor: RecordCursor,
    head: RecordSpan,
    /// No record below this offset is shown.
    start: Offset,
    /// Where only committed records are wanted.
    transactions: Option<Transactions>,
}

impl RecordReader {
    /// Reads on from the place of `log`.
    #[must_use]
    pub fn new(log: LogReader) -> Self {
        let start = log.next_offset();
        Self {
            log,
            buffer: RecordBuffer::default(),
            decompressed: false,
            header: None,
            cursor: RecordCursor::default(),
            head: RecordSpan::default(),
            start,
            transactions: None,
        }
    }

    /// The same, but only what was committed: without the records of aborted transactions, and up to the first
    /// transaction that has not ended.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt before the place of `log`.
    pub fn read_committed(log: LogReader) -> Result<Self> {
        let transactions = Some(Transactions::new(log.disk(), &log)?);
        Ok(Self { transactions, ..Self::new(log) })
    }

    /// The log that is read.
    #[must_use]
    pub fn log(&self) -> &LogReader {
        &self.log
    }

    /// Goes to the next record.
    ///
    /// # Errors
    /// As [`LogReader::next`], and when a batch is malformed inside.
    #[inline]
    pub fn advance(&mut self) -> Result<Advance> {
        loop {
            if let Some(header) = self.header {
                let records = records_of(&self.log, &self.buffer, self.decompressed);
                match self.cursor.next(records) {
                    Ok(Some(span)) => {
                        self.head = span;
                        if header.base_offset + i64::from(span.offset_delta) >= self.start {
                            return Ok(Advance::Record);
                        }
                        continue;
                    }
                    Ok(None) => self.header = None,
                    Err(error) => return Err(self.at_batch(error, &header)),
                }
            }
            match self.log.next()? {
                Next::Batch(header) if header.attributes.is_control() => {}
                Next::Batch(header) => {
                    if let Some(transactions) = &mut self.transactions {
                        match transactions.verdict(&self.log, &header)? {
                            Verdict::Show => {}
                            Verdict::Skip => continue,
                            Verdict::Wait => {
                                self.log.unread();
                                return Ok(Advance::End);
                            }
                        }
                    }
                    let loaded = self.buffer.load(&header, self.log.batch());
                    let (header, decompressed) = loaded.map_err(|error| self.at_batch(error, &header))?;
                    self.decompressed = decompressed;
                    self.cursor = RecordCursor::new(&header);
                    self.header = Some(header);
                }
                Next::End => return Ok(Advance::End),
                Next::LogStartPassed { missed_from, log_start_offset } => {
                    return Ok(Advance::LogStartPassed { missed_from, log_start_offset });
                }
            }
        }
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
    pub fn timestamp(&self) -> i64 {
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
        self.head.record(records_of(&self.log, &self.buffer, self.decompressed))
    }

    #[inline]
    fn batch_header(&self) -> &BatchHeader {
        self.header.as_ref().expect("a record has been found")
    }
}

#[inline]
fn records_of<'a>(log: &'a LogReader, buffer: &'a RecordBuffer, decompressed: bool) -> &'a [u8] {
    if decompressed { buffer.plain() } else { &log.batch()[BATCH_HEADER_SIZE..] }
}
