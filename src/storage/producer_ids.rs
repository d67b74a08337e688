//! Which producer ids a log has, at the cost of its batch headers.

use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::{LogView, Result};
use crate::units::Position;

/// The largest producer id in the headers of a log; `None` without one. Where there is no header, the rest of the segment says
/// nothing.
///
/// # Errors
/// When the disk fails.
pub fn largest_producer_id(view: &LogView) -> Result<Option<i64>> {
    let mut largest = None;
    for &base_offset in view.bases() {
        let Some(log) = view.open_log(base_offset)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        while let Step::Batch(header) = scanner.step()? {
            largest = largest.max(Some(header.producer_id).filter(|id| *id >= 0));
            scanner.pass(&header);
        }
    }
    Ok(largest)
}
