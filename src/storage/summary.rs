//! What a partition is, at the cost of its segments and not of their bytes.

use super::lookup::{FirstTime, SegmentTimes, segment_times};
use super::read::LogReader;
use super::scan::HEADER_CHUNK;
use super::segments::Segment;
use super::view::{LISTINGS_MAX, LogView, first_at_or_after};
use super::{OpenTransaction, Result};
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
    /// Those that keep the last stable offset below the log end offset, by their first offset: see
    /// [`LogView::transactions_at_hand`].
    pub open_transactions: Vec<OpenTransaction>,
}

/// A segment in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSummary {
    /// What its `.log` is.
    pub segment: Segment,
    /// The first offset behind it.
    pub next_offset: Offset,
    /// The timestamp of its first record at or above the log start offset: [`Timestamp::NONE`] where that has none; `None`
    /// without such a record.
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

    /// The timestamp of the first record: [`Timestamp::NONE`] where it has none; `None` without a record.
    #[must_use]
    pub fn first_timestamp(&self) -> Option<Timestamp> {
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

    /// The first record with the largest timestamp of all, and that timestamp; `None` where no record has one.
    ///
    /// # Errors
    /// When the disk fails or the log is corrupt.
    pub fn offset_of_largest_timestamp(&self) -> Result<Option<(Offset, Timestamp)>> {
        let Some(largest) = self.summary()?.newest_timestamp().and_then(Timestamp::known) else { return Ok(None) };
        if let Some(found) = self.offset_for_time(largest)? {
            return Ok(Some(found));
        }
        // That of a record below the log start, which shares its segment with records above it: the largest of these is
        // searched for between the first that is found and the one that is too large.
        let Some(mut found) = self.offset_for_time(Timestamp(0))? else { return Ok(None) };
        let mut too_large = largest.0;
        while too_large - found.1.0 > 1 {
            let middle = found.1.0 + (too_large - found.1.0) / 2;
            match self.offset_for_time(Timestamp(middle))? {
                Some(later) => found = later,
                None => too_large = middle,
            }
        }
        Ok(Some(found))
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
            let SegmentTimes { first, largest: largest_timestamp } = times;
            let first_timestamp = match first {
                // Records below the log start are hidden.
                _ if base_offset < log_start_offset => self.first_within(log_start_offset, next_offset)?,
                first => self.first_of(first, base_offset, next_offset)?,
            };
            summaries.push(SegmentSummary { segment, next_offset, first_timestamp, largest_timestamp });
        }
        let is_whole = summaries.len() == bases.len();
        let active = summaries.last().map(|summary| summary.segment);
        let open_transactions = match active {
            Some(active) if is_whole => self.transactions_at_hand(&active, log_end_offset)?,
            _ => Vec::new(),
        };
        Ok((Summary { log_start_offset, log_end_offset, segments: summaries, open_transactions }, is_whole))
    }

    /// The timestamp of the first record of the segment between two offsets.
    pub(super) fn first_of(&self, first: FirstTime, from: Offset, end: Offset) -> Result<Option<Timestamp>> {
        match first {
            FirstTime::Inside => self.first_within(from, end),
            FirstTime::At(timestamp) => Ok(Some(timestamp)),
            FirstTime::NoRecord => Ok(None),
        }
    }

    /// The timestamp of the first record between two offsets.
    pub(super) fn first_within(&self, from: Offset, end: Offset) -> Result<Option<Timestamp>> {
        if from >= end {
            return Ok(None);
        }
        let mut reader = LogReader::new(self.clone(), HEADER_CHUNK);
        reader.seek(from);
        let first = first_at_or_after(reader, Timestamp(i64::MIN), Some(end))?;
        Ok(first.map(|(_, timestamp)| timestamp.known().unwrap_or(Timestamp::NONE)))
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
