//! Kafka's index rule: which batches of a segment have index entries, and what an entry may say.
//!
//! A batch has an offset entry if it begins strictly more than `index.interval.bytes` after the batch that had the last
//! one, or after the start of the segment, so the first batch never has one. A time entry goes with it if the largest
//! timestamp so far is above that of the last time entry.
//!
//! What an entry may say, by all who judge one:
//!
//! | entry | offset | verdict |
//! | --- | --- | --- |
//! | offset | the last of the batch at its position | right |
//! | offset | the last of a later batch that begins before the next entry's position | right: of an append before 4.1 |
//! | offset | any other, or a position where no batch begins | wrong |
//! | time | the last of the first batch that has the largest timestamp so far | right |
//! | time | another of that batch | right: before 3.8, the record's own |
//! | time | of any other batch, or another timestamp | wrong |
//!
//! Before 4.1 brokers wrote one offset entry for all batches of an append: the position of the first and the offset of the
//! last. Some before 3.8 wrote the offset of the record with the largest timestamp into a time entry.
//!
//! An entry has 31 bits for an offset. A segment that brokers before 2.0 have filled can hold batches further from its base
//! offset than that (KAFKA-6264): these have no entry, and what looks for one of them reads on from the last entry.
//!
//! A walk over the batches judges all of it. A lookup sees one batch and believes the rest: that a later batch ends at
//! the offset, and that no batch before has a larger timestamp; neither changes an answer of the lookup.

use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::units::{Offset, Position, Timestamp};
use std::cmp::Ordering;

/// The largest timestamp of a segment and the last offset of the first batch that has it.
pub(crate) type LargestTimestamp = (Timestamp, Offset);

/// Whether a batch at `position` has an offset entry, where the last batch that has one is at `indexed_position`; 0
/// without one.
#[inline]
pub(super) const fn is_due(position: u64, indexed_position: u64, interval_bytes: u64) -> bool {
    position - indexed_position > interval_bytes
}

/// `None` where the offset lies too far from the base offset of the segment: no entry can name it.
pub(super) fn offset_entry(base: Offset, position: Position, last: Offset) -> Option<OffsetIndexEntry> {
    last.relative_to(base).map(|relative_offset| OffsetIndexEntry { relative_offset, position })
}

/// As [`offset_entry`].
pub(super) fn time_entry(base: Offset, (timestamp, last): LargestTimestamp) -> Option<TimeIndexEntry> {
    last.relative_to(base).map(|relative_offset| TimeIndexEntry { timestamp, relative_offset })
}

/// Which batch an offset entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    /// The one at its position.
    Batch,
    /// One after it, if a batch that begins before the next entry's position ends at the offset.
    Later,
    /// None: the offset is below the end of the batch at its position.
    Nothing,
}

/// Which batch an offset entry names, by its offset and the batch that begins at its position.
pub(super) fn named(offset: Offset, header: &BatchHeader) -> Named {
    match offset.cmp(&header.last_offset()) {
        Ordering::Equal => Named::Batch,
        Ordering::Greater => Named::Later,
        Ordering::Less => Named::Nothing,
    }
}

/// Whether a time entry with this timestamp and offset names the batch, the first that ends at the offset or above.
pub(super) fn names_time_of((timestamp, offset): (Timestamp, Offset), header: &BatchHeader) -> bool {
    (header.base_offset..=header.last_offset()).contains(&offset) && timestamp == header.max_timestamp
}
