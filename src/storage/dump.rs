//! Reads single files of a segment as they stand, for people who look inside.

use super::index_file::{EntryRun, IndexEntry, IndexFile};
use super::record_buffer::RecordBuffer;
use super::scan::{Scanner, Step};
use super::segments::OpenLog;
use super::{Result, StorageError, at_place};
use crate::disk::{Access, Disk};
use crate::format::compression::DECOMPRESSED_SIZE_MAX;
use crate::format::header::{BatchHeader, NoBatch};
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position};
use std::path::Path;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The batches of a `.log`, from its first byte.
pub struct LogDump {
    scanner: Scanner,
    current: Option<BatchHeader>,
    buffer: RecordBuffer,
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

    /// The error of the batch that was shown last, if its checksum is wrong.
    #[must_use]
    pub fn checksum_error(&self) -> StorageError {
        self.scanner.corrupt(self.scanner.checksum_error())
    }

    /// The next batch: where it begins, its header, and whether its checksum is right. Zeros to the end of the file are
    /// its end. A compressed message of an old format is opened, since only the messages inside tell its base offset and
    /// how many they are.
    ///
    /// # Errors
    /// When what follows is no batch, or a compressed message cannot be opened.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide that an error ends it")]
    pub fn next(&mut self) -> Result<Option<(Position, BatchHeader, bool)>> {
        if let Some(header) = self.current.take() {
            self.scanner.pass(&header);
        }
        match self.scanner.step()? {
            Step::Batch(header) => {
                let checksum_matches = self.scanner.checksum_matches(&header)?;
                self.current = Some(header);
                let shown =
                    if checksum_matches && header.record_count < 0 { self.open_message(&header)? } else { header };
                Ok(Some((self.scanner.position(), shown, checksum_matches)))
            }
            Step::End => Ok(None),
            Step::Bad(NoBatch::Zeros) if self.scanner.is_zero_to_end()? => Ok(None),
            Step::Bad(problem) => Err(self.scanner.corrupt(problem)),
        }
    }

    fn open_message(&mut self, header: &BatchHeader) -> Result<BatchHeader> {
        self.scanner.load(header)?;
        let loaded = self.buffer.load(header, self.scanner.loaded(header), DECOMPRESSED_SIZE_MAX);
        let place = |error| at_place(error, &self.scanner.log().path, self.scanner.position(), header.base_offset);
        loaded.map_err(place)
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
