//! Gathers records into batches, one being filled for each partition that records go to.

use super::StreamError;
use crate::format::batch::{self, BatchBuilder};
use crate::format::compression::{Compression, Compressor};
use crate::format::header::{BATCH_HEADER_SIZE, TimestampType};
use crate::format::record::NewRecord;

/// Takes finished batches.
pub trait BatchSink {
    /// What can go wrong.
    type Error: From<StreamError>;
    /// Appends a batch to a partition.
    ///
    /// # Errors
    /// When it cannot be stored.
    fn append(&mut self, partition: i32, batch: &mut [u8], record_count: i32) -> Result<(), Self::Error>;
}

/// How large a batch may be.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// A batch is finished before it would exceed this; a single larger record has a batch of its own.
    pub batch_size: usize,
    /// No batch ever exceeds this.
    pub batch_size_max: usize,
}

/// The batches that are being filled.
pub struct Batcher {
    limits: BatchLimits,
    compressor: Option<Compressor>,
    timestamp_type: TimestampType,
    /// By partition number; made when the first record comes.
    builders: Vec<Option<BatchBuilder>>,
}

impl Batcher {
    /// Batches for partitions below `partitions_max`.
    #[must_use]
    pub fn new(
        limits: BatchLimits,
        compression: Compression,
        timestamp_type: TimestampType,
        partitions_max: usize,
    ) -> Self {
        Self {
            limits,
            compressor: batch::compressor(compression),
            timestamp_type,
            builders: std::iter::repeat_with(|| None).take(partitions_max).collect(),
        }
    }

    /// Whether even a batch that holds `record` alone would be too large before compression.
    #[inline]
    #[must_use]
    pub fn is_too_large(&self, record: &NewRecord<'_>) -> bool {
        let limit = self.limits.batch_size_max;
        BATCH_HEADER_SIZE + record.size_max() > limit && BATCH_HEADER_SIZE + record.size(0, 0) > limit
    }

    /// Adds a record that fits a batch of its own, and passes the batch before it on if it is full.
    ///
    /// # Errors
    /// When the sink or the codec fails.
    #[inline]
    pub fn add<S: BatchSink>(
        &mut self,
        partition: i32,
        record: &NewRecord<'_>,
        now_ms: i64,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let place = partition as usize;
        if let Some(builder) = &mut self.builders[place] {
            // The exact size is asked for only near the limit.
            let limit = self.limits.batch_size.min(self.limits.batch_size_max);
            if builder.size() + record.size_max() <= limit || builder.is_empty() || builder.size_with(record) <= limit {
                builder.push(record);
                return Ok(());
            }
            self.flush(place, now_ms, sink)?;
        }
        let limits = self.limits;
        let builder =
            self.builders[place].get_or_insert_with(|| BatchBuilder::new(limits.batch_size.min(limits.batch_size_max)));
        builder.push(record);
        Ok(())
    }

    /// Whether any batch holds a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builders.iter().flatten().all(BatchBuilder::is_empty)
    }

    /// Passes on what every batch holds.
    ///
    /// # Errors
    /// When the sink or the codec fails.
    pub fn flush_all<S: BatchSink>(&mut self, now_ms: i64, sink: &mut S) -> Result<(), S::Error> {
        (0..self.builders.len()).try_for_each(|place| self.flush(place, now_ms, sink))
    }

    fn flush<S: BatchSink>(&mut self, place: usize, now_ms: i64, sink: &mut S) -> Result<(), S::Error> {
        let Some(builder) = self.builders[place].as_mut().filter(|builder| !builder.is_empty()) else {
            return Ok(());
        };
        let append_time = (self.timestamp_type == TimestampType::LogAppendTime).then_some(now_ms);
        let record_count = builder.record_count();
        let batch = builder
            .finish(self.compressor.as_mut(), append_time, self.limits.batch_size_max)
            .map_err(StreamError::from)?;
        let appended = sink.append(place as i32, batch, record_count);
        builder.clear();
        appended
    }
}
