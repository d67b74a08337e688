//! From an offset or a time to a place in a segment, through the indexes.
//!
//! Every entry is held against the batch at its place before it is used, so a wrong index costs a longer scan and
//! changes no answer. What that batch cannot tell is believed: that no batch before it has a larger timestamp than its time
//! entry, and that it is one of the log's own and not a value that holds a batch. A writer that is killed leaves entries past
//! the log end; the next batch that reaches an index interval past the last entry is written after those are gone, so that
//! none leads into a value, as long as all writers go by one `index.interval.bytes`.

use super::file_name::{FileKind, segment_name};
use super::index_file::{IndexEntry, IndexFile};
use super::index_rule::{Named, named, names_time_of};
use super::scan::{AfterGap, HEADER_CHUNK, Scanner, Step, header_at, is_valid_batch};
use super::segments::{self, OpenLog, Segment};
use super::{Checkpoints, Result};
use crate::disk::{Access, Folder};
use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position, Timestamp};

/// How many entries in a row may be wrong before an index is not asked any further.
const WRONG_ENTRIES_MAX: usize = 16;

/// The two indexes of a segment.
pub(crate) struct Indexes {
    pub(crate) offset: IndexFile<OffsetIndexEntry>,
    pub(crate) time: IndexFile<TimeIndexEntry>,
}

impl Indexes {
    pub(crate) fn open(folder: &dyn Folder, base_offset: Offset, access: Access) -> Result<Self> {
        Ok(Self {
            offset: IndexFile::open(folder, &segment_name(base_offset, FileKind::OffsetIndex), access)?,
            time: IndexFile::open(folder, &segment_name(base_offset, FileKind::TimeIndex), access)?,
        })
    }

    /// The same to check them, without those of the kinds `unreadable`.
    pub(crate) fn open_readable(folder: &dyn Folder, base_offset: Offset, unreadable: &[FileKind]) -> Result<Self> {
        fn open<E: IndexEntry>(
            folder: &dyn Folder,
            base: Offset,
            kind: FileKind,
            skipped: &[FileKind],
        ) -> Result<IndexFile<E>> {
            if skipped.contains(&kind) {
                return Ok(IndexFile::none());
            }
            IndexFile::open(folder, &segment_name(base, kind), Access::Read)
        }
        Ok(Self {
            offset: open(folder, base_offset, FileKind::OffsetIndex, unreadable)?,
            time: open(folder, base_offset, FileKind::TimeIndex, unreadable)?,
        })
    }

    /// The same to look something up: see [`IndexFile::open_for_lookups`].
    pub(crate) fn open_for_lookups(folder: &dyn Folder, base_offset: Offset) -> Result<Self> {
        Ok(Self {
            offset: IndexFile::open_for_lookups(folder, &segment_name(base_offset, FileKind::OffsetIndex))?,
            time: IndexFile::open_for_lookups(folder, &segment_name(base_offset, FileKind::TimeIndex))?,
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

/// A scanner at the batch to which the last right entry of the index leads: what follows has no entry yet, or has to be read
/// because its entries are wrong.
pub(crate) fn scan_from_last_entry(
    log: OpenLog,
    size: u64,
    index: &IndexFile<OffsetIndexEntry>,
    chunk: usize,
) -> Result<Scanner> {
    let (start, _) = start_for_offset(&log, size, index, Offset(i64::MAX))?;
    Ok(Scanner::of_size(log, start, size, chunk))
}

/// Whether an offset entry names the batch at its position or one after it, by the [rule](super::index_rule). The checksum
/// is checked as well, since an entry goes to disk before its batch: a crash can leave the entry with no more of the batch
/// than its header.
pub(crate) fn entry_is_right(log: &OpenLog, size: u64, entry: &OffsetIndexEntry) -> Result<bool> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let Some(header) = header_at(&*log.file, entry.position, size)? else { return Ok(false) };
    if header.base_offset < log.base_offset || named(offset, &header) == Named::Nothing {
        return Ok(false);
    }
    is_valid_batch(log, &header, entry.position, size)
}

/// Whether it takes [`denied`] to find out: what was acknowledged ends within the last batch or in a gap before it.
pub(super) fn may_be_denied(log: &OpenLog, header: &BatchHeader, checkpoints: &Checkpoints) -> bool {
    let span = header.next_offset() - header.base_offset;
    (log.base_offset + span..header.next_offset()).contains(&checkpoints.acknowledged())
}

/// The last batch of a log, at which the scanner is, if its base offset is [denied](Checkpoints::deny). What comes before it
/// is looked for from the last offset that was acknowledged on, so that it costs no more where the log has gone on since.
pub(super) fn denied(
    scanner: &Scanner,
    header: &BatchHeader,
    index: &IndexFile<OffsetIndexEntry>,
    checkpoints: &Checkpoints,
) -> Result<Option<AfterGap>> {
    let (log, position) = (scanner.log(), scanner.position());
    let (span, last) = (header.next_offset() - header.base_offset, Offset(checkpoints.acknowledged().0 - 1));
    let (start, _) = start_for_offset(log, scanner.size(), index, last)?;
    let mut before = Scanner::of_size(log.clone(), start, scanner.size(), HEADER_CHUNK);
    while let Step::Batch(found) = before.step()? {
        if before.position() >= position || found.last_offset() >= last {
            break;
        }
        before.pass(&found);
    }
    let from = before.expected();
    let claimed = header.base_offset;
    let is_denied =
        before.position() == position && before.knows_what_precedes() && checkpoints.deny(claimed, from, span);
    Ok(is_denied.then_some(AfterGap { position, claimed, from, span }))
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

/// The batch that a time entry names, by the [rule](super::index_rule); `None` where the entry is wrong. As for an offset
/// entry, all of the batch has to be there.
pub(crate) fn batch_of_time_entry(
    log: &OpenLog,
    indexes: &Indexes,
    entry: &TimeIndexEntry,
) -> Result<Option<BatchHeader>> {
    let offset = entry.relative_offset.absolute(log.base_offset);
    let (scanner, found) = batch_ending_behind(log, indexes, offset)?;
    match found.filter(|header| names_time_of((entry.timestamp, offset), header)) {
        Some(header) if is_valid_batch(log, &header, scanner.position(), scanner.size())? => Ok(Some(header)),
        _ => Ok(None),
    }
}

/// The largest timestamp of a segment and the last offset of the batch that has it first; `None` where no batch has a
/// timestamp. With `trusted` (a segment below the recovery point), the last time entry is believed for all that lies
/// before the last offset entry; without, every batch header is read.
pub(crate) fn largest_timestamp(
    log: &OpenLog,
    indexes: &Indexes,
    trusted: bool,
) -> Result<Option<(Timestamp, Offset)>> {
    let size = log.file.stat()?.size;
    if trusted
        && let Some(entry) = indexes.time.last()?
        && let Some(header) = batch_of_time_entry(log, indexes, &entry)?
    {
        let largest = (header.max_timestamp, header.last_offset());
        return largest_from(scan_from_last_entry(log.clone(), size, &indexes.offset, HEADER_CHUNK)?, Some(largest));
    }
    largest_from(Scanner::of_size(log.clone(), Position::ZERO, size, HEADER_CHUNK), None)
}

/// The largest of `largest` and the timestamps from the scanner's place on.
fn largest_from(mut scanner: Scanner, mut largest: Option<(Timestamp, Offset)>) -> Result<Option<(Timestamp, Offset)>> {
    while let Step::Batch(header) = scanner.step()? {
        if header.max_timestamp > largest.map_or(Timestamp::NONE, |(timestamp, _)| timestamp) {
            largest = Some((header.max_timestamp, header.last_offset()));
        }
        scanner.pass(&header);
    }
    Ok(largest)
}

/// The timestamp of a segment's first record, as far as the header of its first batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstTime {
    /// There is no batch.
    NoRecord,
    /// [`Timestamp::NONE`] where the record has none.
    At(Timestamp),
    /// Only the records themselves say it: a marker is no record, a cleaner may have removed the first one, and a compressed
    /// message of an old format has the timestamp of the last one.
    Inside,
}

impl FirstTime {
    fn of(header: &BatchHeader) -> Self {
        let is_whole = header.record_count > 0 && header.record_count - 1 == header.last_offset_delta;
        match header.attributes.is_control() || header.attributes.has_delete_horizon() || !is_whole {
            true => Self::Inside,
            false => Self::At(header.first_timestamp().known().unwrap_or(Timestamp::NONE)),
        }
    }
}

/// When the records of a segment happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentTimes {
    /// The timestamp of its first record.
    pub(super) first: FirstTime,
    /// Its largest timestamp; `None` where no record has one.
    pub(super) largest: Option<Timestamp>,
}

/// Looks at a segment of the partition in `folder`; `None` where it is gone. Where it is `trusted`, being below the recovery
/// point, the last time entry is believed for all that lies before the last offset entry.
///
/// # Errors
/// When the disk fails.
pub(super) fn segment_times(
    folder: &dyn Folder,
    base_offset: Offset,
    trusted: bool,
) -> Result<Option<(Segment, SegmentTimes)>> {
    let Some(log) = segments::open_log(folder, base_offset)? else { return Ok(None) };
    let segment = Segment::new(base_offset, &log.file.stat()?);
    let mut scanner = Scanner::of_size(log.clone(), Position::ZERO, segment.size, HEADER_CHUNK);
    let first = match scanner.step()? {
        Step::Batch(header) => FirstTime::of(&header),
        Step::End | Step::Bad(_) => FirstTime::NoRecord,
    };
    // What one read brings whole is sooner walked than looked up: a third of the time for 10 000 small segments.
    let largest = if segment.size <= HEADER_CHUNK as u64 {
        largest_from(scanner, None)?
    } else {
        largest_timestamp(&log, &Indexes::open_for_lookups(folder, base_offset)?, trusted)?
    };
    Ok(Some((segment, SegmentTimes { first, largest: largest.map(|(timestamp, _)| timestamp) })))
}

/// Stands where the first record of a segment at or after `timestamp` is to be looked for: every batch before this place
/// is older throughout.
pub(crate) fn scan_from_time(log: &OpenLog, indexes: &Indexes, timestamp: Timestamp) -> Result<Scanner> {
    let mut count = indexes.time.partition_point(|entry| entry.timestamp < timestamp)?;
    for _ in 0..WRONG_ENTRIES_MAX {
        if count == 0 {
            break;
        }
        if let Some(entry) = indexes.time.get(count - 1)?
            && entry.timestamp < timestamp
            && batch_of_time_entry(log, indexes, &entry)?.is_some()
        {
            let behind = entry.relative_offset.absolute(log.base_offset).next();
            return Ok(batch_ending_behind(log, indexes, behind)?.0);
        }
        count -= 1;
    }
    Scanner::new(log.clone(), Position::ZERO, HEADER_CHUNK)
}
