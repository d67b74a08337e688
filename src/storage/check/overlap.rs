//! Segments that reach into the ones after them.

use super::Result;
use super::finding::{Finding, Problem};
use super::loss::{Loss, Overlap};
use crate::disk::Folder;
use crate::storage::scan::{HEADER_CHUNK, Scanner, Step};
use crate::storage::segments;
use crate::units::{Offset, Position};

/// A segment that reaches to `end`, with the next one, `base_offset`. What is given up is found out by [`weigh`].
pub(super) fn found(base_offset: Offset, end: Offset) -> Problem {
    let overlap = Overlap::NextOnes { bases: vec![base_offset], end };
    Problem::OverlappingSegments { base_offset, overlap }
}

/// Finds out which of the segments that overlap are given up, by their batch headers and by what was acknowledged. The end
/// of the earlier one is: the names of the next ones and their batches agree. Only where that reaches further, and what was
/// acknowledged shows that the log did so, or nothing is known of that, the next ones are.
pub(super) fn weigh(folder: &dyn Folder, finding: &mut Finding, base: Offset, acknowledged: Offset) -> Result<()> {
    let Problem::OverlappingSegments { base_offset, overlap } = &mut finding.problem else { return Ok(()) };
    let bases = segments::base_offsets(folder)?;
    let next_ones: Vec<Offset> = bases.into_iter().filter(|it| it >= base_offset).collect();
    let mut reached = *base_offset;
    for &next in &next_ones {
        walk(folder, next, |_, _, end| reached = reached.max(end))?;
    }
    let (mut start, mut end) = (None, *base_offset);
    walk(folder, base, |position, first, next| {
        if next > *base_offset {
            start.get_or_insert((position, first));
        }
        end = end.max(next);
    })?;
    let Some((position, first)) = start else { return Ok(()) };
    let is_enough = reached >= acknowledged && acknowledged > Offset::ZERO;
    *overlap = if reached >= end || is_enough {
        let loss = Loss::taken_out(position..Position(u64::MAX), first..end, "the segments after it");
        Overlap::EndOfThisOne(Box::new(loss.and_fill(position, first..*base_offset)))
    } else {
        Overlap::NextOnes { bases: next_ones, end: reached }
    };
    Ok(())
}

/// Passes the headers of a segment: position, first offset, and the offset after the last.
fn walk(folder: &dyn Folder, base: Offset, mut pass: impl FnMut(Position, Offset, Offset)) -> Result<()> {
    let Some(log) = segments::open_log(folder, base)? else { return Ok(()) };
    let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
    while let Step::Batch(header) = scanner.peek()? {
        pass(scanner.position(), header.base_offset, header.next_offset());
        scanner.pass(&header);
    }
    Ok(())
}
