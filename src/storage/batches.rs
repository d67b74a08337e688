//! The batches of a partition as their headers tell them, at the cost of the headers and not of what lies between.

use super::lookup::HEADER_CHUNK;
use super::scan::{Scanner, Step};
use super::{LogReader, Result, segments};
use crate::disk::Disk;
use crate::format::header::BatchHeader;
use crate::units::{Offset, Position};

/// Shows `visit` each batch with records at or above the log start offset, and how many records it has: the count of its
/// header, or for a compressed message of an old format, which has none, the offsets since the batch before.
///
/// Checksums are not looked at. What is half written at the end is left out, as is a segment that retention removes
/// meanwhile.
///
/// # Errors
/// When the disk fails, or where there is no header although more of the log follows.
pub fn each_batch(disk: &dyn Disk, reader: &LogReader, visit: &mut dyn FnMut(&BatchHeader, i64)) -> Result<()> {
    let (start, bases) = (reader.log_start_offset(), segments::base_offsets(disk, reader.path())?);
    for (place, &base) in bases.iter().enumerate() {
        let next_base = bases.get(place + 1).copied();
        if next_base.is_some_and(|next| next <= start) {
            continue;
        }
        let Some(log) = segments::open_log(disk, reader.path(), base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        let mut behind: Offset = base;
        loop {
            match scanner.step()? {
                Step::Batch(header) => {
                    scanner.pass(&header);
                    let offsets = header.next_offset() - behind;
                    behind = header.next_offset();
                    if header.last_offset() >= start && !header.attributes.is_control() {
                        let count = i64::from(header.record_count);
                        visit(&header, if count < 0 { offsets.max(1) } else { count });
                    }
                }
                Step::Bad(problem) if next_base.is_some() => return Err(scanner.corrupt(problem)),
                Step::End | Step::Bad(_) => break,
            }
        }
    }
    Ok(())
}
