//! Reads single files of a segment as they stand, for people who look inside.

use super::index_file::{EntryRun, IndexEntry, IndexFile};
use super::record_buffer::RecordBuffer;
use super::scan::{Scanner, Step};
use super::segments::OpenLog;
use super::tail::{self, Place};
use super::{Result, StorageError, at_place};
use crate::disk::{Access, Disk};
use crate::format::FormatError;
use crate::format::compression::DECOMPRESSED_SIZE_MAX;
use crate::format::header::{BatchHeader, NoBatch};
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::format::record::Record;
use crate::format::record_cursor::RecordCursor;
use crate::format::txn::ControlType;
use crate::units::{Offset, Position, Timestamp};
use std::path::Path;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The batches of a `.log`, from its first byte, whatever is between them.
pub struct LogDump {
    scanner: Scanner,
    current: Option<BatchHeader>,
    buffer: RecordBuffer,
}

/// What is in a `.log`.
#[derive(Debug)]
pub enum Dumped {
    /// A batch.
    Batch(DumpedBatch),
    /// Bytes that are no batch.
    Damage {
        /// What is wrong.
        damage: StorageError,
        /// Where the next batch begins; `None` where none was found.
        next: Option<Position>,
    },
}

/// A batch as it is in its file.
#[derive(Debug, Clone, Copy)]
pub struct DumpedBatch {
    /// Where it begins.
    pub position: Position,
    /// Its header. A compressed message of an old format tells its base offset and how many messages it holds only inside,
    /// so where the checksum is right, this is the header of what is inside.
    pub header: BatchHeader,
    /// Whether its checksum is right.
    pub checksum_matches: bool,
    /// What a control batch with a right checksum says.
    pub control_type: Option<ControlType>,
    /// The lowest offset that may follow the batches before it, where it begins below that.
    pub begins_below: Option<Offset>,
}

impl LogDump {
    /// Opens the file; `base_offset` is the one in its name.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(disk: &dyn Disk, path: &Path, base_offset: Offset) -> Result<Self> {
        let file = disk.open(path, Access::Read)?;
        let log = OpenLog { base_offset, file, path: path.to_owned() };
        Ok(Self { scanner: Scanner::new(log, Position::ZERO, CHUNK)?, current: None, buffer: RecordBuffer::default() })
    }

    /// What comes next. Zeros to the end of the file are its end.
    ///
    /// # Errors
    /// When the disk fails.
    #[expect(clippy::should_implement_trait, reason = "what is shown has more to be asked for before the next")]
    pub fn next(&mut self) -> Result<Option<Dumped>> {
        if let Some(header) = self.current.take() {
            self.scanner.pass(&header);
        }
        match self.scanner.peek()? {
            Step::Batch(header) => self.batch(header).map(|batch| Some(Dumped::Batch(batch))),
            Step::End => Ok(None),
            Step::Bad(NoBatch::Zeros) if self.scanner.is_zero_to_end()? => Ok(None),
            Step::Bad(problem) => self.damage(problem).map(Some),
        }
    }

    fn batch(&mut self, header: BatchHeader) -> Result<DumpedBatch> {
        let checksum_matches = self.scanner.checksum_matches(&header)?;
        self.current = Some(header);
        let mut batch = DumpedBatch {
            position: self.scanner.position(),
            header,
            checksum_matches,
            control_type: None,
            begins_below: Some(self.scanner.expected()).filter(|&lowest| header.base_offset < lowest),
        };
        if checksum_matches && header.record_count < 0 {
            batch.header = self.load(&header).unwrap_or(header);
        }
        if checksum_matches && header.attributes.is_control() {
            self.records(|_, _, record| batch.control_type = record.key.and_then(|key| ControlType::parse(key).ok()))
                .ok();
        }
        Ok(batch)
    }

    fn damage(&mut self, problem: NoBatch) -> Result<Dumped> {
        let (position, size) = (self.scanner.position(), self.scanner.size());
        let damage = self.scanner.corrupt(problem);
        let expected = self.scanner.log().base_offset;
        let next = tail::next_batch(&Place { log: self.scanner.log(), position, expected, reached: expected, size })?;
        match &next {
            Some((next, header)) => self.scanner.go_to(*next, header.base_offset),
            None => self.scanner.go_to(Position(size), expected),
        }
        Ok(Dumped::Damage { damage, next: next.map(|(next, _)| next) })
    }

    /// Hands out the records of the batch that was shown last, with offset and timestamp, whether its checksum is right or
    /// not. Returns the header that applies to them.
    ///
    /// # Errors
    /// When they cannot be read, after those before.
    pub fn records(&mut self, mut show: impl FnMut(Offset, Timestamp, Record<'_>)) -> Result<BatchHeader> {
        let stored = self.current.expect("a batch was shown");
        let header = self.load(&stored)?;
        let records = self.buffer.records(self.scanner.loaded(&stored));
        let mut cursor = RecordCursor::new(&header);
        loop {
            match cursor.next(records) {
                Ok(Some(span)) => show(
                    header.base_offset + i64::from(span.offset_delta),
                    header.record_timestamp(span.timestamp_delta),
                    span.record(records),
                ),
                Ok(None) => return Ok(header),
                Err(error) => return Err(self.at_batch(error, &stored)),
            }
        }
    }

    fn load(&mut self, header: &BatchHeader) -> Result<BatchHeader> {
        self.scanner.load(header)?;
        let loaded = self.buffer.load(header, self.scanner.loaded(header), DECOMPRESSED_SIZE_MAX);
        loaded.map_err(|error| self.at_batch(error, header))
    }

    /// The error of the batch that was shown last, whose checksum is wrong.
    #[must_use]
    pub fn checksum_error(&self) -> StorageError {
        self.scanner.corrupt(self.scanner.checksum_error())
    }

    /// The error of the batch that was shown last, which begins below the end of one before it.
    #[must_use]
    pub fn order_error(&self, begins: Offset, lowest: Offset) -> StorageError {
        let what = format!("the batch begins at offset {begins}, and those before it end below {lowest}");
        at_place(FormatError::corrupt(what), &self.scanner.log().path, self.scanner.position(), begins)
    }

    fn at_batch(&self, error: FormatError, header: &BatchHeader) -> StorageError {
        at_place(error, &self.scanner.log().path, self.scanner.position(), header.base_offset)
    }
}

/// Hands out the entries of an offset index until `show` fails.
///
/// # Errors
/// When the file cannot be read; the inner result is that of `show`.
pub fn read_offset_index<E>(
    disk: &dyn Disk,
    path: &Path,
    show: impl FnMut(OffsetIndexEntry) -> std::result::Result<(), E>,
) -> Result<std::result::Result<(), E>> {
    read_index(disk, path, show)
}

/// Hands out the entries of a time index until `show` fails.
///
/// # Errors
/// When the file cannot be read; the inner result is that of `show`.
pub fn read_time_index<E>(
    disk: &dyn Disk,
    path: &Path,
    show: impl FnMut(TimeIndexEntry) -> std::result::Result<(), E>,
) -> Result<std::result::Result<(), E>> {
    read_index(disk, path, show)
}

fn read_index<T: IndexEntry, E>(
    disk: &dyn Disk,
    path: &Path,
    mut show: impl FnMut(T) -> std::result::Result<(), E>,
) -> Result<std::result::Result<(), E>> {
    let index = IndexFile::<T>::of(disk.open(path, Access::Read)?)?;
    let mut run = EntryRun::default();
    for at in 0..index.count() {
        let Some(entry) = run.get(&index, at)? else { continue };
        if let Err(error) = show(entry) {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}
