//! The part of a topic's configuration that the engine acts on, as numbers.

use crate::format::compression::DECOMPRESSED_SIZE_MAX;
use crate::format::header::TimestampType;

/// What happens to old records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Segments go by age and size.
    pub delete: bool,
    /// Only the last record of each key stays.
    pub compact: bool,
}

/// Kafka's topic configuration, as far as it shapes a partition. Each field has the name of its key.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is rolled before it would exceed this.
    pub segment_bytes: u64,
    /// `segment.ms`, for compacted topics the smaller of it and `max.compaction.lag.ms`.
    pub segment_ms: i64,
    /// `segment.jitter.ms`, at most `segment.ms`.
    pub segment_jitter_ms: i64,
    /// `segment.index.bytes`: a segment is rolled when one of its indexes is full.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: an index entry after strictly more than this many bytes.
    pub index_interval_bytes: u64,
    /// `max.message.bytes`: the largest batch, header included.
    pub max_message_bytes: u64,
    /// `retention.ms`; negative is no limit.
    pub retention_ms: i64,
    /// `retention.bytes`; negative is no limit.
    pub retention_bytes: i64,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`.
    pub max_compaction_lag_ms: i64,
    /// `delete.retention.ms`: how long tombstones stay after a compaction has first met them.
    pub delete_retention_ms: i64,
}

impl LogConfig {
    /// The largest batch that may be appended: the smaller of `max.message.bytes` and `segment.bytes`.
    #[must_use]
    pub fn batch_size_max(&self) -> usize {
        self.max_message_bytes.min(self.segment_bytes).min(i32::MAX as u64) as usize
    }

    /// The most plain bytes that a reader of the topic takes out of one batch. Ours never need more than
    /// [`DECOMPRESSED_SIZE_MAX`]; other producers compress what `max.message.bytes` lets them store.
    #[must_use]
    pub fn decompressed_size_max(&self) -> usize {
        DECOMPRESSED_SIZE_MAX.max(self.max_message_bytes.min(i32::MAX as u64) as usize)
    }
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 604_800_000,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            retention_ms: 604_800_000,
            retention_bytes: -1,
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            timestamp_type: TimestampType::CreateTime,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            delete_retention_ms: 86_400_000,
        }
    }
}
