//! What of a log a compaction would go over now, by Kafka's rules, and what keeps the rest from it.
//!
//! - The first dirty offset is where the last compaction ended, as `cleaner-offset-checkpoint` has it; without such a row, or
//!   with one outside the log, where the log starts.
//! - The limit is the smallest of: the base offset of the active segment; the first offset of a transaction that is open;
//!   the base offset of the first dirty segment with a timestamp that is not older than `min.compaction.lag.ms`. It is
//!   rounded down to the start of a segment.
//! - The dirty ratio is the bytes of the segments from the first dirty offset to the limit, divided by those and the ones
//!   before. A segment that is half clean counts in both.
//! - A log is due when its ratio is *above* `min.cleanable.dirty.ratio`, or a record before the limit is older than
//!   `max.compaction.lag.ms`.
//!
//! One timestamp in the future keeps all that follows it, as with a broker.
//! Source: `LogCleanerManager.cleanableOffsets`, `LogToClean`.

use crate::storage::config::LogConfig;
use crate::storage::scan;
use crate::storage::{LogView, OpenTransaction, Result, Segment};
use crate::units::{Offset, Position, Timestamp};

/// What ends the part of a log that can be compacted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// The active segment begins.
    Active {
        /// Its bytes.
        bytes: u64,
    },
    /// A transaction is open.
    Transaction(OpenTransaction),
    /// A segment has a timestamp that is not older than `min.compaction.lag.ms`.
    TooYoung {
        /// The segment.
        base_offset: Offset,
        /// Until then.
        until: Timestamp,
    },
    /// It is not known to be durable: a run is going on, or has begun since.
    NotDurable,
}

/// What becomes of the active segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActiveSegment {
    /// It stays as it is, as with a broker.
    Stays,
    /// It is closed before, and another begun.
    IsRolled,
}

/// Whether a log is to be compacted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its dirty ratio is above `min.cleanable.dirty.ratio`.
    Ratio,
    /// It has a record that is older than `max.compaction.lag.ms`.
    MaxLag,
    /// Not by its configuration.
    No,
}

/// The part of a log that can be compacted.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleanable {
    /// The segments from the first to the limit, and where each ends: the next one begins.
    pub(super) segments: Vec<(Segment, Offset)>,
    /// Where the last compaction ended.
    pub first_dirty_offset: Offset,
    /// Where this one would end.
    pub limit: Offset,
    /// What begins there.
    pub held: Held,
    /// Bytes of segments before the first dirty offset.
    pub clean_bytes: u64,
    /// Bytes of segments from there to the limit.
    pub dirty_bytes: u64,
    /// Whether it is to be compacted now.
    pub due: Due,
}

impl Cleanable {
    /// What of `view` can be compacted, where the last compaction ended at `row` and all below `durable` is durable.
    ///
    /// # Errors
    /// When the disk fails, or the log is corrupt at its end.
    pub fn find(
        view: &LogView,
        row: Option<Offset>,
        (durable, active_segment): (Offset, ActiveSegment),
        config: &LogConfig,
        now: Timestamp,
    ) -> Result<Option<Self>> {
        let segments = view.segments()?;
        let (log_start_offset, log_end_offset) = (view.log_start_offset(), view.log_end_offset()?);
        let Some((active, mut closed)) = segments.split_last() else { return Ok(None) };
        let (mut closed_end, mut active_size) = (active.base_offset, active.size);
        if active_segment == ActiveSegment::IsRolled && active.size > 0 {
            (closed, closed_end, active_size) = (&segments[..], log_end_offset, 0);
        }
        let is_inside = |row: &Offset| (log_start_offset..=log_end_offset).contains(row);
        let first_dirty_offset = row.filter(is_inside).unwrap_or(log_start_offset);
        let ends = segments[1..].iter().map(|next| next.base_offset).chain([closed_end]);
        let closed: Vec<(Segment, Offset)> = closed.iter().copied().zip(ends).collect();
        let dirty = || closed.iter().filter(|(_, end)| *end > first_dirty_offset);

        let (mut limit, mut held) = (closed_end, Held::Active { bytes: active_size });
        let mut hold = |offset: Offset, by: Held| {
            if offset < limit {
                (limit, held) = (offset, by);
            }
        };
        if durable < closed_end {
            hold(durable, Held::NotDurable);
        }
        if let Some(first) = view.transactions_at_hand(active, log_end_offset)?.into_iter().next() {
            hold(first.offset, Held::Transaction(first));
        }
        if config.min_compaction_lag_ms > 0 {
            for &(segment, end) in dirty() {
                let base_offset = segment.base_offset;
                let largest = view.segment_times(base_offset, end)?.and_then(|(_, times)| times.largest);
                let largest = largest.unwrap_or(segment.modified);
                if now.since(largest) < i128::from(config.min_compaction_lag_ms) {
                    let until = Timestamp(largest.0.saturating_add(config.min_compaction_lag_ms));
                    hold(base_offset, Held::TooYoung { base_offset, until });
                    break;
                }
            }
        }
        let within = closed.partition_point(|(_, end)| *end <= limit);
        let limit = closed[..within].last().map_or(first_dirty_offset, |(_, end)| *end);
        let bytes = |is_counted: &dyn Fn(&(Segment, Offset)) -> bool| -> u64 {
            closed[..within].iter().filter(|it| is_counted(it)).map(|(segment, _)| segment.size).sum()
        };
        let clean_bytes = bytes(&|(segment, _)| segment.base_offset < first_dirty_offset);
        let dirty_bytes = bytes(&|(_, end)| *end > first_dirty_offset);
        let mut cleanable = Self {
            segments: closed[..within].to_vec(),
            first_dirty_offset,
            limit,
            held,
            clean_bytes,
            dirty_bytes,
            due: Due::No,
        };
        if cleanable.dirty_ratio() > config.min_cleanable_dirty_ratio {
            cleanable.due = Due::Ratio;
        } else if dirty_bytes > 0 && config.max_compaction_lag_ms < i64::MAX {
            let first = first_times(view, dirty().map(|(segment, _)| segment.base_offset))?;
            if first.is_some_and(|first| now.since(first) > i128::from(config.max_compaction_lag_ms)) {
                cleanable.due = Due::MaxLag;
            }
        }
        Ok(Some(cleanable))
    }

    /// Whether no segment ends before the limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// See the head of this file.
    #[must_use]
    pub fn dirty_ratio(&self) -> f64 {
        let all = self.clean_bytes + self.dirty_bytes;
        if all == 0 { 0.0 } else { self.dirty_bytes as f64 / all as f64 }
    }

    /// Ends it before a transaction that has turned out to be open.
    pub(super) fn end_before(&mut self, transaction: OpenTransaction) {
        if transaction.offset >= self.limit {
            return;
        }
        self.segments.retain(|(_, end)| *end <= transaction.offset);
        self.limit = self.segments.last().map_or(self.first_dirty_offset, |(_, end)| *end);
        self.held = Held::Transaction(transaction);
    }
}

/// The smallest timestamp of the first batches of segments, as brokers take it: the largest of such a batch, above 0.
fn first_times(view: &LogView, bases: impl Iterator<Item = Offset>) -> Result<Option<Timestamp>> {
    let mut smallest = None;
    for base in bases {
        let Some(log) = view.open_log(base)? else { continue };
        let header = scan::header_at(&*log.file, Position::ZERO, log.file.stat()?.size)?;
        let first = header.map(|header| header.max_timestamp).filter(|first| first.0 > 0);
        smallest = first.into_iter().chain(smallest).min();
    }
    Ok(smallest)
}
