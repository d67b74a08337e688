//! What a partition is, at the cost of its segments and not of their bytes.

use super::lookup::{SegmentTimes, first_timestamp, segment_times};
use super::read::{LISTINGS_MAX, LogReader};
use super::segments::Segment;
use super::{Next, Result};
use crate::disk::Disk;
use crate::units::Offset;
use std::sync::Arc;

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
    /// The timestamp of its first batch, ms; `None` where there is none.
    pub first_timestamp: Option<i64>,
    /// Its largest timestamp, ms; `None` where no record has one.
    pub largest_timestamp: Option<i64>,
}

impl Summary {
    /// Bytes of all `.log` files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|summary| summary.segment.size).sum()
    }

    /// The timestamp of the first record, ms.
    #[must_use]
    pub fn oldest_timestamp(&self) -> Option<i64> {
        self.segments.iter().find_map(|summary| summary.first_timestamp)
    }

    /// The largest timestamp of all records, ms.
    #[must_use]
    pub fn newest_timestamp(&self) -> Option<i64> {
        self.segments.iter().filter_map(|summary| summary.largest_timestamp).max()
    }
}

/// Looks at the partition that `reader` was opened on.
///
/// # Errors
/// When the disk fails or the log is corrupt at its end.
pub fn summarize(disk: &Arc<dyn Disk>, reader: &mut LogReader, recovery_point: Offset) -> Result<Summary> {
    for _ in 0..LISTINGS_MAX {
        let (summary, is_whole) = summarize_listed(disk, reader, recovery_point)?;
        if is_whole {
            return Ok(summary);
        }
        let listed = reader.bases().to_vec();
        reader.list_again()?;
        if reader.bases() == listed {
            // It is listed and not there: a link that leads nowhere, and not a segment that was removed meanwhile.
            return Ok(summary);
        }
    }
    Err(reader.deleted())
}

/// Looks at the segments that `reader` has listed, and says whether all of them were there: where one is gone, what was seen
/// of those before it is not of the same moment.
fn summarize_listed(disk: &Arc<dyn Disk>, reader: &mut LogReader, recovery_point: Offset) -> Result<(Summary, bool)> {
    // The reader has listed the folder before the end is looked for, so that no segment that it knows begins behind it.
    let log_end_offset = reader.log_end_offset()?;
    let log_start_offset = reader.log_start_offset();
    let (path, bases) = (reader.path(), reader.bases());
    let mut summaries = Vec::with_capacity(bases.len());
    for (place, &base_offset) in bases.iter().enumerate() {
        let next_offset = bases.get(place + 1).copied().unwrap_or(log_end_offset);
        let found = segment_times(&**disk, path, base_offset, next_offset <= recovery_point)?;
        let Some((segment, times)) = found else { continue };
        let SegmentTimes { first: first_timestamp, largest: largest_timestamp } = times;
        summaries.push(SegmentSummary { segment, next_offset, first_timestamp, largest_timestamp });
    }
    let is_whole = summaries.len() == bases.len();
    // Records before the log start are hidden, so the first visible one speaks for its segment.
    if let Some(first) = summaries.first_mut()
        && first.segment.base_offset < log_start_offset
    {
        reader.seek(log_start_offset);
        first.first_timestamp = match reader.next()? {
            Next::Batch(header) => first_timestamp(&header),
            _ => None,
        };
    }
    Ok((Summary { log_start_offset, log_end_offset, segments: summaries }, is_whole))
}
