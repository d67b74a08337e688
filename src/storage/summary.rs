//! What a partition is, at the cost of its segments and not of their bytes.

use super::Result;
use super::lookup::{SegmentTimes, first_timestamp, segment_times};
use super::read::{LogReader, Next};
use super::scan::HEADER_CHUNK;
use super::segments::Segment;
use super::view::{LISTINGS_MAX, LogView};
use crate::units::{Offset, Timestamp};

/// A partition in numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The first readable offset.
    pub log_start_offset: Offset,
    /// The next offset to be given.
    pub log_end_offset: Offset,
    /// Oldest first.
    pub segments: Vec<SegmentSummary>,
}

/// A segment in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// What its `.log` is.
    pub segment: Segment,
    /// The first offset behind it.
    pub next_offset: Offset,
    /// The timestamp of its first batch; `None` where there is none.
    pub first_timestamp: Option<Timestamp>,
    /// Its largest timestamp; `None` where no record has one.
    pub largest_timestamp: Option<Timestamp>,
}

impl Summary {
    /// Bytes of all `.log` files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|summary| summary.segment.size).sum()
    }

    /// The timestamp of the first record.
    #[must_use]
    pub fn oldest_timestamp(&self) -> Option<Timestamp> {
        self.segments.iter().find_map(|summary| summary.first_timestamp)
    }

    /// The largest timestamp of all records.
    #[must_use]
    pub fn newest_timestamp(&self) -> Option<Timestamp> {
        self.segments.iter().filter_map(|summary| summary.largest_timestamp).max()
    }
}

impl LogView {
    /// What the log is, in numbers.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt at its end.
    pub fn summary(&self) -> Result<Summary> {
        let mut view = self.clone();
        for _ in 0..LISTINGS_MAX {
            let (summary, is_whole) = view.summarize()?;
            if is_whole {
                return Ok(summary);
            }
            let listed = view.list_again()?;
            if listed.bases() == view.bases() {
                // It is listed and not there: a link that leads nowhere, and not a segment that was removed.
                return Ok(summary);
            }
            view = listed;
        }
        Err(self.deleted())
    }

    /// Also says whether all segments were there: where one is gone, what was seen of those before it is not of the same
    /// moment.
    fn summarize(&self) -> Result<(Summary, bool)> {
        // The folder was listed before the end is looked for, so that no segment that is known begins after it.
        let log_end_offset = self.log_end_offset()?;
        let log_start_offset = self.log_start_offset();
        let bases = self.bases();
        let mut summaries = Vec::with_capacity(bases.len());
        for (at, &base_offset) in bases.iter().enumerate() {
            let next_offset = bases.get(at + 1).copied().unwrap_or(log_end_offset);
            let Some((segment, times)) = self.segment_times(base_offset, next_offset)? else { continue };
            let SegmentTimes { first: first_timestamp, largest: largest_timestamp } = times;
            summaries.push(SegmentSummary { segment, next_offset, first_timestamp, largest_timestamp });
        }
        let is_whole = summaries.len() == bases.len();
        // Records before the log start are hidden, so the first visible one speaks for its segment.
        if let Some(first) = summaries.first_mut()
            && first.segment.base_offset < log_start_offset
        {
            first.first_timestamp = match LogReader::new(self.clone(), HEADER_CHUNK).next()? {
                Next::Batch(header) => first_timestamp(&header),
                _ => None,
            };
        }
        Ok((Summary { log_start_offset, log_end_offset, segments: summaries }, is_whole))
    }

    /// The times of the segment that ends at `next_offset`; `None` where it is gone.
    pub(super) fn segment_times(
        &self,
        base_offset: Offset,
        next_offset: Offset,
    ) -> Result<Option<(Segment, SegmentTimes)>> {
        let Some(folder) = self.opened_folder()? else { return Ok(None) };
        segment_times(&*folder, base_offset, next_offset <= self.checkpoints().index_point)
    }
}
