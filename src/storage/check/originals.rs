//! Batches that are in a segment twice.

use super::order::Placed;
use crate::storage::Result;
use crate::storage::scan::{self, HEADER_CHUNK, Scanner, Step};
use crate::storage::segments::OpenLog;
use crate::units::Position;
use std::ops::Range;

/// Looks for batches that are there once more, in order.
pub(super) struct Originals {
    /// What is out of order: no original, or each of two could be taken for the other's.
    pub(super) disordered: Vec<Range<Position>>,
}

impl Originals {
    /// Where else in the segment the same bytes are as from `first` to `end`.
    pub(super) fn find(&self, log: &OpenLog, first: Placed, end: Position) -> Result<Option<Position>> {
        let size = end - first.position;
        let is_in_order = |at: Position| !self.disordered.iter().any(|it| at < it.end && it.start < at + size);
        let mut scanner = Scanner::new(log.clone(), Position::ZERO, HEADER_CHUNK)?;
        while let Step::Batch(header) = scanner.peek()? {
            let position = scanner.position();
            if header.base_offset == first.base
                && is_in_order(position)
                && scan::are_equal(&*log.file, position, first.position, size)?
            {
                return Ok(Some(position));
            }
            scanner.pass(&header);
        }
        Ok(None)
    }
}
