//! From an offset or a time to a place in a segment, through the indexes.
//!
//! Every entry is held against the batch at its place before it is used, so a wrong index costs a longer scan and
//! changes no answer. What that batch cannot tell is believed: that it is one of the log's own and not a value that holds
//! a batch, and that no batch before it has a larger timestamp than its time entry.

use super::Result;
use super::file_name::{FileKind, segment_path};
use super::index_file::IndexFile;
use super::scan::{Scanner, Step, header_at, is_valid_batch};
use super::segments::{self, OpenLog, Segment};
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

/// Whether an offset entry leads to a batch that ends at its offset, or before it: brokers before 4.1 wrote one entry for
/// several batches (the last offset of all, the position of the first). The checksum is asked as well, since an entry goes
/// to disk before its batch: a crash can leave the entry with no more of the batch than its header.
pub(crate) fn entry_is_right(log: &OpenLog, size: u64, entry: &OffsetIndexEntry) -> Result<bool> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let Some(header) = header_at(&*log.file, entry.position, size)? else { return Ok(false) };
    if header.base_offset < log.base_offset || header.last_offset() > offset {
        return Ok(false);
    }
    is_valid_batch(log, &header, entry.position, size)
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

/// Whether a time entry tells the truth about the batch that it names: that it ends there and has that max timestamp. As
/// for an offset entry, all of the batch has to be there.
pub(crate) fn time_entry_is_right(log: &OpenLog, indexes: &Indexes, entry: &TimeIndexEntry) -> Result<bool> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let (scanner, found) = batch_ending_behind(log, indexes, offset)?;
    match found.filter(|header| header.last_offset() == offset && header.max_timestamp == entry.timestamp) {
        Some(header) => is_valid_batch(log, &header, scanner.position(), scanner.size()),
        None => Ok(false),
    }
}

/// The largest timestamp of a segment and the last offset of the batch that has it first; `None` where no batch has a
/// timestamp. With `trusted` (a segment below the recovery point), the last time entry is believed for all that lies
/// before the last offset entry; without, every batch header is read.
pub(crate) fn largest_timestamp(log: &OpenLog, indexes: &Indexes, trusted: bool) -> Result<Option<(i64, Offset)>> {
    let mut largest = None;
    let mut start = Position::ZERO;
    if trusted
        && let Some(entry) = indexes.time.last()?
        && time_entry_is_right(log, indexes, &entry)?
    {
        largest = Some((entry.timestamp, entry.relative_offset.absolute(log.base_offset)));
        start = start_for_offset(log, log.file.stat()?.size, &indexes.offset, Offset(i64::MAX))?.0;
    }
    largest_from(Scanner::new(log.clone(), start, HEADER_CHUNK)?, largest)
}

/// The largest of `largest` and the timestamps from the scanner's place on.
fn largest_from(mut scanner: Scanner, mut largest: Option<(i64, Offset)>) -> Result<Option<(i64, Offset)>> {
    while let Step::Batch(header) = scanner.step()? {
        if header.max_timestamp > largest.map_or(-1, |(timestamp, _)| timestamp) {
            largest = Some((header.max_timestamp, header.last_offset()));
        }
        scanner.pass(&header);
    }
    Ok(largest)
}

/// When the records of a segment happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentTimes {
    /// The timestamp of its first batch, ms; `None` where there is none.
    pub first: Option<i64>,
    /// Its largest timestamp, ms; `None` where no record has one.
    pub largest: Option<i64>,
}

/// Looks at a segment of the partition in `folder`; `None` where it is gone. Where it is `trusted`, being below the recovery
/// point, the last time entry is believed for all that lies before the last offset entry.
///
/// # Errors
/// When the disk fails.
pub fn segment_times(
    disk: &dyn Disk,
    folder: &Path,
    base_offset: Offset,
    trusted: bool,
) -> Result<Option<(Segment, SegmentTimes)>> {
    let Some(log) = segments::open_log(disk, folder, base_offset)? else { return Ok(None) };
    let segment = Segment::new(base_offset, &log.file.stat()?);
    let mut scanner = Scanner::of_size(log.clone(), Position::ZERO, segment.size, HEADER_CHUNK);
    let first = match scanner.step()? {
        Step::Batch(header) => first_timestamp(&header),
        Step::End | Step::Bad(_) => None,
    };
    // What one read brings whole is sooner walked than looked up: a third of the time for 10 000 small segments.
    let largest = if segment.size <= HEADER_CHUNK as u64 {
        largest_from(scanner, None)?
    } else {
        largest_timestamp(&log, &Indexes::open(disk, folder, base_offset, Access::Read)?, trusted)?
    };
    Ok(Some((segment, SegmentTimes { first, largest: largest.map(|(timestamp, _)| timestamp) })))
}

/// The time of a batch: of its first record.
pub(crate) fn first_timestamp(header: &BatchHeader) -> Option<i64> {
    Some(header.first_timestamp()).filter(|&timestamp| timestamp >= 0)
}

/// Stands where the first record of a segment at or after `timestamp` is to be looked for: every batch before this place
/// is older throughout.
pub(crate) fn scan_from_time(log: &OpenLog, indexes: &Indexes, timestamp: i64) -> Result<Scanner> {
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
            return Ok(batch_ending_behind(log, indexes, behind)?.0);
        }
        count -= 1;
    }
    Scanner::new(log.clone(), Position::ZERO, HEADER_CHUNK)
}
