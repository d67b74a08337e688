//! When the records of a partition happened, at the cost of the batch headers where those tell it.

use super::lookup::HEADER_CHUNK;
use super::record_buffer::RecordBuffer;
use super::scan::{Scanner, Step};
use super::{LogReader, Result, segments};
use crate::disk::Disk;
use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader};
use crate::format::record_cursor::RecordCursor;
use crate::units::{Offset, Position};

/// Records that happened at one time, or as good as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    /// Milliseconds since the epoch; -1 where there is no timestamp.
    pub timestamp_ms: i64,
    /// How many.
    pub records: i64,
    /// Their share of the bytes of their batch.
    pub bytes: u64,
}

/// Shows `visit` the records at or above the log start offset: those of a batch as one where `is_one` says so of its first
/// and its largest timestamp, else one by one, which takes reading them.
///
/// Checksums are not looked at. What is half written at the end is left out, as is a segment that retention removes
/// meanwhile.
///
/// # Errors
/// When the disk fails, or where there is no header although more of the log follows.
pub fn each_time(
    disk: &dyn Disk,
    reader: &LogReader,
    is_one: &mut dyn FnMut(i64, i64) -> bool,
    visit: &mut dyn FnMut(Happened),
) -> Result<()> {
    let (start, bases) = (reader.log_start_offset(), segments::base_offsets(disk, reader.path())?);
    let mut buffer = RecordBuffer::default();
    for (place, &base) in bases.iter().enumerate() {
        let next_base = bases.get(place + 1).copied();
        if next_base.is_some_and(|next| next <= start) {
            continue;
        }
        let Some(log) = segments::open_log(disk, reader.path(), base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        let mut behind = base;
        loop {
            match scanner.step()? {
                Step::Batch(header) => {
                    if header.last_offset() >= start && !header.attributes.is_control() {
                        let is_whole = is_one(header.first_timestamp(), header.max_timestamp);
                        if is_whole || !visit_records(&mut scanner, &header, start, &mut buffer, visit)? {
                            visit(whole(&header, behind));
                        }
                    }
                    behind = header.next_offset();
                    scanner.pass(&header);
                }
                Step::Bad(problem) if next_base.is_some() => return Err(scanner.corrupt(problem)),
                Step::End | Step::Bad(_) => break,
            }
        }
    }
    Ok(())
}

/// A batch as one. A compressed message of an old format does not tell its count: its offsets do.
fn whole(header: &BatchHeader, behind: Offset) -> Happened {
    let count = i64::from(header.record_count);
    let records = if count < 0 { (header.next_offset() - behind).max(1) } else { count };
    Happened { timestamp_ms: header.max_timestamp, records, bytes: header.size as u64 }
}

/// Shows the records of a batch; `false` where they cannot be read.
fn visit_records(
    scanner: &mut Scanner,
    header: &BatchHeader,
    start: Offset,
    buffer: &mut RecordBuffer,
    visit: &mut dyn FnMut(Happened),
) -> Result<bool> {
    scanner.load(header)?;
    let batch = scanner.loaded(header);
    let Ok((header, decompressed)) = buffer.load(header, batch) else { return Ok(false) };
    let records = if decompressed { buffer.plain() } else { &batch[BATCH_HEADER_SIZE..] };
    let mut times = Vec::new();
    let mut cursor = RecordCursor::new(&header);
    loop {
        match cursor.next(records) {
            Ok(Some(span)) if header.base_offset + i64::from(span.offset_delta) < start => {}
            Ok(Some(span)) => times.push(header.record_timestamp(span.timestamp_delta)),
            Ok(None) => break,
            Err(_) => return Ok(false),
        }
    }
    let count = times.len() as u64;
    for (place, timestamp_ms) in (0..).zip(times) {
        let share = |records: u64| batch.len() as u64 * records / count;
        visit(Happened { timestamp_ms, records: 1, bytes: share(place + 1) - share(place) });
    }
    Ok(true)
}
