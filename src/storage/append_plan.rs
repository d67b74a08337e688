//! What an append writes to a segment: how far its batches take the end of the segment, and the index entries that go
//! with them by Kafka's rule. Nothing here touches the disk.

use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::storage::index_rule::{LargestTimestamp, is_due, offset_entry, time_entry};
use crate::storage::sync::BATCH_COST_MIN;
use crate::units::{Offset, Position, Timestamp};

/// Where a segment ends, and what of its batches decides what comes next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentEnd {
    /// Where the next batch goes.
    pub(crate) size: u64,
    pub(crate) next_offset: Offset,
    pub(crate) largest_timestamp: LargestTimestamp,
    /// The max timestamp of the first batch; what `segment.ms` counts from.
    pub(crate) first_batch_timestamp: Option<Timestamp>,
    /// The position of the batch that was indexed last; 0 without one.
    pub(crate) indexed_position: u64,
}

impl SegmentEnd {
    /// The end of a segment without a batch.
    pub(crate) const fn of_empty(base_offset: Offset) -> Self {
        Self {
            size: 0,
            next_offset: base_offset,
            largest_timestamp: (Timestamp::NONE, base_offset),
            first_batch_timestamp: None,
            indexed_position: 0,
        }
    }
}

/// Batches that go to the end of one segment.
pub(super) struct AppendPlan {
    base_offset: Offset,
    index_interval_bytes: u64,
    /// The timestamp of the last time entry, if there is one.
    indexed_timestamp: Timestamp,
    /// How many batches there are.
    pub(super) count: usize,
    /// The end of the segment behind them.
    pub(super) end: SegmentEnd,
    pub(super) offset_entries: Vec<OffsetIndexEntry>,
    pub(super) time_entries: Vec<TimeIndexEntry>,
    /// What it costs the next writer to check them, in bytes.
    pub(super) cost: u64,
}

impl AppendPlan {
    /// Plans to append nothing to the segment with this base offset and end.
    pub(super) fn new(
        base_offset: Offset,
        end: SegmentEnd,
        index_interval_bytes: u64,
        indexed_timestamp: Timestamp,
    ) -> Self {
        let (offset_entries, time_entries) = (Vec::new(), Vec::new());
        let (count, cost) = (0, 0);
        Self { base_offset, index_interval_bytes, indexed_timestamp, count, end, offset_entries, time_entries, cost }
    }

    /// The timestamp of the last time entry.
    pub(super) const fn indexed_timestamp(&self) -> Timestamp {
        self.indexed_timestamp
    }

    /// Adds the batch that comes next, and its index entries by the [rule](super::index_rule).
    pub(super) fn add(&mut self, header: &BatchHeader) {
        let end = &mut self.end;
        let (position, last_offset) = (end.size, end.next_offset + i64::from(header.last_offset_delta));
        if header.max_timestamp > end.largest_timestamp.0 {
            end.largest_timestamp = (header.max_timestamp, last_offset);
        }
        if is_due(position, end.indexed_position, self.index_interval_bytes) {
            self.offset_entries.extend(offset_entry(self.base_offset, Position(position), last_offset));
            end.indexed_position = position;
            if end.largest_timestamp.0 > self.indexed_timestamp {
                self.time_entries.extend(time_entry(self.base_offset, end.largest_timestamp));
                self.indexed_timestamp = end.largest_timestamp.0;
            }
        }
        end.size += header.size as u64;
        end.next_offset = last_offset.next();
        end.first_batch_timestamp.get_or_insert(header.max_timestamp);
        self.count += 1;
        self.cost += (header.size as u64).max(BATCH_COST_MIN);
    }
}
