//! What a segment holds past the base offset of the next one.
//!
//! Readers look for an offset in the segment with the greatest base offset that is not above it. So a batch past the base
//! offset of the next segment is not shown; it is hidden where that segment does not have the same batch.

use super::finding::{Finding, Problem};
use crate::disk::Folder;
use crate::format::header::BatchHeader;
use crate::storage::Result;
use crate::storage::scan::{HEADER_CHUNK, Scanner, Step};
use crate::storage::segments;
use crate::units::{Offset, Position};

/// A finding for each run of batches of the segment at `base` that readers do not show, since the next one begins at `next`;
/// `None` where they no longer stand beside each other: a broker's cleaner has put one in the place of both.
pub(super) fn find(folder: &dyn Folder, base: Offset, next: Offset) -> Result<Option<Vec<Finding>>> {
    let mut findings: Vec<Finding> = Vec::new();
    let Some(log) = segments::open_log(folder, base)? else { return Ok(None) };
    let path = log.path.clone();
    let (mut scanner, mut others) = (Scanner::new(log, Position::ZERO, HEADER_CHUNK)?, Others::new(folder)?);
    if !others.bases.contains(&next) {
        return Ok(None);
    }
    while let Step::Batch(header) = scanner.step()? {
        if header.next_offset() > next && !(header.base_offset >= next && others.have(&header)?) {
            let from = header.base_offset.max(next);
            match findings.last_mut().map(|finding| &mut finding.problem) {
                Some(Problem::HiddenBatches { next_offset, .. }) if *next_offset == from => {
                    *next_offset = header.next_offset();
                }
                _ => findings.push(Finding {
                    path: path.clone(),
                    position: Some(scanner.position()),
                    offset: Some(from),
                    problem: Problem::HiddenBatches { next_offset: header.next_offset(), base_offset: next },
                }),
            }
        }
        scanner.pass(&header);
    }
    Ok(Some(findings))
}

/// The segments that readers look into, read once in the order of their offsets.
struct Others<'a> {
    folder: &'a dyn Folder,
    bases: Vec<Offset>,
    open: Option<Scanner>,
}

impl<'a> Others<'a> {
    fn new(folder: &'a dyn Folder) -> Result<Self> {
        Ok(Self { folder, bases: segments::base_offsets(folder)?, open: None })
    }

    /// Whether the segment in which readers look for the first offset of a batch has the same one.
    fn have(&mut self, header: &BatchHeader) -> Result<bool> {
        let holding = segments::holding(&self.bases, header.base_offset);
        let Some(&base) = self.bases.get(holding) else { return Ok(false) };
        let scanner = match self.open.take().filter(|scanner| scanner.log().base_offset == base) {
            Some(scanner) => scanner,
            None => match segments::open_log(self.folder, base)? {
                Some(log) => Scanner::new(log, Position::ZERO, HEADER_CHUNK)?,
                None => return Ok(false),
            },
        };
        let scanner = self.open.insert(scanner);
        while let Step::Batch(found) = scanner.step()? {
            if found.base_offset >= header.base_offset {
                return Ok(found == *header && scanner.checksum_matches(&found)?);
            }
            scanner.pass(&found);
        }
        Ok(false)
    }
}
