//! From an offset or a time to a place in a segment, through the indexes.
//!
//! Every entry is held against the batch at its place before it is used, so a wrong index costs a longer scan and
//! changes no answer.

use super::Result;
use super::file_name::{FileKind, segment_path};
use super::index_file::IndexFile;
use super::scan::{Scanner, Step, header_at};
use super::segments::OpenLog;
use crate::disk::{Access, Disk};
use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position};
use std::path::Path;

/// How many entries in a row may be wrong before an index is not asked any further.
const WRONG_ENTRIES_MAX: usize = 16;
/// Bytes read at a time while only headers are wanted: an index interval and a header.
pub(crate) const HEADER_CHUNK: usize = 8 << 10;

/// The two indexes of a segment.
pub(crate) struct Indexes {
    pub(crate) offset: IndexFile<OffsetIndexEntry>,
    pub(crate) time: IndexFile<TimeIndexEntry>,
}

impl Indexes {
    pub(crate) fn open(disk: &dyn Disk, folder: &Path, base_offset: Offset, access: Access) -> Result<Self> {
        Ok(Self {
            offset: IndexFile::open(disk, &segment_path(folder, base_offset, FileKind::OffsetIndex), access)?,
            time: IndexFile::open(disk, &segment_path(folder, base_offset, FileKind::TimeIndex), access)?,
        })
    }
}

/// Where to begin to scan for `offset`: the start of a batch at or before the one that holds it, and how many entries
/// of the index are known to be right up to there.
pub(crate) fn start_for_offset(
    log: &OpenLog,
    size: u64,
    index: &IndexFile<OffsetIndexEntry>,
    offset: Offset,
) -> Result<(Position, usize)> {
    let base = log.base_offset;
    let mut count = index.partition_point(|entry| entry.relative_offset.absolute(base) <= offset)?;
    for _ in 0..WRONG_ENTRIES_MAX {
        if count == 0 {
            break;
        }
        if let Some(entry) = index.get(count - 1)?
            && entry.relative_offset.absolute(base) <= offset
            && entry_is_right(log, size, &entry)?
        {
            return Ok((entry.position, count));
        }
        count -= 1;
    }
    Ok((Position::ZERO, 0))
}

/// Whether an offset entry leads to a batch that ends at its offset. Brokers before 4.1 wrote one entry for several
/// batches (the last offset of all, the position of the first): such a one is right if its batch's checksum is.
pub(crate) fn entry_is_right(log: &OpenLog, size: u64, entry: &OffsetIndexEntry) -> Result<bool> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let Some(header) = header_at(&*log.file, entry.position, size)? else { return Ok(false) };
    if header.base_offset < log.base_offset || header.last_offset() > offset {
        return Ok(false);
    }
    Ok(header.last_offset() == offset
        || Scanner::new(log.clone(), entry.position, HEADER_CHUNK)?.checksum_matches(&header)?)
}

/// The header of the first batch that ends at or behind `offset`, with its position, and the scanner standing before it.
fn batch_ending_behind(log: &OpenLog, indexes: &Indexes, offset: Offset) -> Result<(Scanner, Option<BatchHeader>)> {
    let size = log.file.stat()?.size;
    let (start, _) = start_for_offset(log, size, &indexes.offset, offset)?;
    let mut scanner = Scanner::new(log.clone(), start, HEADER_CHUNK)?;
    while let Step::Batch(header) = scanner.step()? {
        if header.last_offset() >= offset {
            return Ok((scanner, Some(header)));
        }
        scanner.pass(&header);
    }
    Ok((scanner, None))
}

/// Whether a time entry tells the truth about the batch that it names: that it ends there and has that max timestamp.
pub(crate) fn time_entry_is_right(log: &OpenLog, indexes: &Indexes, entry: &TimeIndexEntry) -> Result<bool> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let (_, found) = batch_ending_behind(log, indexes, offset)?;
    Ok(found.is_some_and(|header| header.last_offset() == offset && header.max_timestamp == entry.timestamp))
}

/// The largest timestamp of a segment and the last offset of the batch that has it first; `None` where no batch has a
/// timestamp. With `trusted` (a segment below the recovery point), the last time entry is believed for all that lies
/// before the last offset entry; without, every batch header is read.
pub(crate) fn largest_timestamp(log: &OpenLog, indexes: &Indexes, trusted: bool) -> Result<Option<(i64, Offset)>> {
    let mut largest: Option<(i64, Offset)> = None;
    let mut start = Position::ZERO;
    if trusted
        && let Some(entry) = indexes.time.last()?
        && time_entry_is_right(log, indexes, &entry)?
    {
        largest = Some((entry.timestamp, entry.relative_offset.absolute(log.base_offset)));
        start = start_for_offset(log, log.file.stat()?.size, &indexes.offset, Offset(i64::MAX))?.0;
    }
    let mut scanner = Scanner::new(log.clone(), start, HEADER_CHUNK)?;
    while let Step::Batch(header) = scanner.step()? {
        if header.max_timestamp > largest.map_or(-1, |(timestamp, _)| timestamp) {
            largest = Some((header.max_timestamp, header.last_offset()));
        }
        scanner.pass(&header);
    }
    Ok(largest)
}

/// Where to begin to scan a segment for the first record at or after `timestamp`: every batch before this place is
/// older throughout.
pub(crate) fn start_for_time(log: &OpenLog, indexes: &Indexes, timestamp: i64) -> Result<Position> {
    let mut count = indexes.time.partition_point(|entry| entry.timestamp < timestamp)?;
    for _ in 0..WRONG_ENTRIES_MAX {
        if count == 0 {
            break;
        }
        if let Some(entry) = indexes.time.get(count - 1)?
            && entry.timestamp < timestamp
            && time_entry_is_right(log, indexes, &entry)?
        {
            let behind = entry.relative_offset.absolute(log.base_offset).next();
            return Ok(batch_ending_behind(log, indexes, behind)?.0.position());
        }
        count -= 1;
    }
    Ok(Position::ZERO)
}
