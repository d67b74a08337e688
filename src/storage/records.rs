//! From batches to records: decompresses, steps, and leaves out what is not a record to be shown.

use super::read::{LogReader, Next};
use super::{Result, at_place};
use crate::format::FormatError;
use crate::format::batch::{BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2, RecordCursor, TimestampType};
use crate::format::compression::{Codec, Decompressor};
use crate::format::record::{Record, RecordSpan};
use crate::units::Offset;

/// The largest batch that is decompressed, in bytes of plain records. A batch is at most `max.message.bytes` when
/// compressed (1 MiB unless configured), so this allows for a ratio of 256 before it takes a batch for a bomb.
pub const DECOMPRESSED_SIZE_MAX: usize = 256 << 20;

/// The plain records of one batch at a time; its memory is kept from batch to batch.
#[derive(Default)]
pub struct RecordBuffer {
    decompressor: Decompressor,
    plain: Vec<u8>,
}

impl RecordBuffer {
    /// The records of a batch, uncompressed.
    ///
    /// # Errors
    /// When the codec is unknown or its data is damaged or too large.
    pub fn records<'a>(
        &'a mut self,
        header: &BatchHeader,
        batch: &'a [u8],
    ) -> std::result::Result<&'a [u8], FormatError> {
        if self.load(header, batch)? { Ok(&self.plain) } else { Ok(&batch[BATCH_HEADER_SIZE..]) }
    }

    /// Whether the records had to be decompressed; if so, they are in `plain`.
    fn load(&mut self, header: &BatchHeader, batch: &[u8]) -> std::result::Result<bool, FormatError> {
        let codec = header.attributes.codec()?;
        if codec == Codec::None || header.record_count == 0 {
            return Ok(false);
        }
        let compressed = &batch[BATCH_HEADER_SIZE..];
        self.decompressor.decompress(codec, MAGIC_V2 as u8, compressed, &mut self.plain, DECOMPRESSED_SIZE_MAX)?;
        Ok(true)
    }
}

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
        }
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
                    self.decompressed =
                        self.buffer.load(&header, self.log.batch()).map_err(|error| self.at_batch(error, &header))?;
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
        self.batch_header().attributes.timestamp_type()
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
    if decompressed { &buffer.plain } else { &log.batch()[BATCH_HEADER_SIZE..] }
}
