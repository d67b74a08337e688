//! The timestamps of a partition's records, read from batch headers where those give all of them.
//!
//! A header has the first and the largest timestamp. Those between may be smaller than both, so a batch of several records
//! is opened, unless the broker gave them all one timestamp.

use super::record_buffer::RecordBuffer;
use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::{LogView, Result};
use crate::format::header::BatchHeader;
use crate::format::record_cursor::RecordCursor;
use crate::units::{Offset, Position, Timestamp};
use std::ops::Range;

/// Records of one timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Happened {
    /// [`Timestamp::NONE`] where they have none.
    pub timestamp: Timestamp,
    /// How many.
    pub records: i64,
    /// Their share of the bytes of their batch.
    pub bytes: u64,
}

/// Shows `visit` the timestamps of the records at or above the log start offset.
///
/// A checksum is checked before a batch is loaded, and for the last batch of the log, which alone can be half written: that
/// one is left out, as is a segment that retention removes in the meantime.
///
/// # Errors
/// When the disk fails, where there is no header although more of the log follows, and where a batch that has to be loaded
/// has a wrong checksum.
pub fn each_time(view: &LogView, visit: &mut dyn FnMut(Happened)) -> Result<()> {
    let (start, bases) = (view.log_start_offset(), view.bases());
    let (mut buffer, size_max) = (RecordBuffer::default(), view.decompressed_size_max());
    for (place, &base) in bases.iter().enumerate() {
        let next_base = bases.get(place + 1).copied();
        if next_base.is_some_and(|next| next <= start) {
            continue;
        }
        let Some(log) = view.open_log(base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        let mut behind = base;
        loop {
            match scanner.step()? {
                Step::Batch(header) if next_base.is_some_and(|next| header.base_offset >= next) => break,
                Step::Batch(header) => {
                    let is_last = next_base.is_none() && scanner.is_last(&header);
                    if is_last && !scanner.checksum_matches(&header)? {
                        break;
                    }
                    if header.last_offset() >= start && !header.attributes.is_control() {
                        let shown = start..next_base.unwrap_or(Offset(i64::MAX));
                        let is_shown = header.base_offset >= start && header.next_offset() <= shown.end;
                        let is_told = is_shown && has_one_timestamp(&header);
                        if is_told || !visit_records(&mut scanner, &header, shown, (&mut buffer, size_max), visit)? {
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

/// Whether the header gives the timestamp of every record.
fn has_one_timestamp(header: &BatchHeader) -> bool {
    header.record_count == 1 || header.record_count > 1 && header.attributes.is_log_append_time()
}

/// A batch as one. A compressed message of an old format does not tell its count: its offsets do.
fn whole(header: &BatchHeader, behind: Offset) -> Happened {
    let count = i64::from(header.record_count);
    let records = if count < 0 { (header.next_offset() - behind).max(1) } else { count };
    Happened { timestamp: header.max_timestamp, records, bytes: header.size as u64 }
}

/// Shows the records of a batch; `false` where they cannot be read, although its checksum is right.
fn visit_records(
    scanner: &mut Scanner,
    header: &BatchHeader,
    shown: Range<Offset>,
    (buffer, size_max): (&mut RecordBuffer, usize),
    visit: &mut dyn FnMut(Happened),
) -> Result<bool> {
    // The length in a header is only a claim until the checksum has matched: nothing is loaded by it before.
    if !scanner.checksum_matches(header)? {
        return Err(scanner.corrupt(scanner.checksum_error()));
    }
    scanner.load(header)?;
    let batch = scanner.loaded(header);
    let Ok(header) = buffer.load(header, batch, size_max) else { return Ok(false) };
    let records = buffer.records(batch);
    let mut times = Vec::new();
    let mut cursor = RecordCursor::new(&header);
    loop {
        match cursor.next(records) {
            Ok(Some(span)) if !shown.contains(&(header.base_offset + i64::from(span.offset_delta))) => {}
            Ok(Some(span)) => times.push(header.record_timestamp(span.timestamp_delta)),
            Ok(None) => break,
            Err(_) => return Ok(false),
        }
    }
    let count = times.len() as u64;
    for (place, timestamp) in (0..).zip(times) {
        let share = |records: u64| batch.len() as u64 * records / count;
        visit(Happened { timestamp, records: 1, bytes: share(place + 1) - share(place) });
    }
    Ok(true)
}
