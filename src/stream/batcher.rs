//! Gathers records into batches, one being filled for each partition that records go to.

use super::pipeline::{BatchStore, Pipeline};
use crate::format::batch::BatchBuilder;
use crate::format::header::BATCH_HEADER_SIZE;
use crate::format::record::NewRecord;

/// How large a batch may be.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    /// A batch is finished before it would exceed this; a single larger record has a batch of its own.
    pub batch_size: usize,
    /// No batch ever exceeds this.
    pub batch_size_max: usize,
}

/// The batches that are being filled.
pub struct Batcher<S: BatchStore> {
    limits: BatchLimits,
    /// By partition number; made when the first record comes.
    builders: Vec<Option<BatchBuilder>>,
    pipeline: Pipeline<S>,
}

impl<S: BatchStore> Batcher<S> {
    /// Batches for partitions below `partitions_max`.
    #[must_use]
    pub fn new(limits: BatchLimits, pipeline: Pipeline<S>, partitions_max: usize) -> Self {
        let builders = std::iter::repeat_with(|| None).take(partitions_max).collect();
        Self { limits, builders, pipeline }
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
    /// When a batch cannot be stored.
    #[inline]
    pub fn add(&mut self, partition: i32, record: &NewRecord<'_>, now_ms: i64) -> Result<(), S::Error> {
        let place = partition as usize;
        if let Some(builder) = &mut self.builders[place] {
            // The exact size is asked for only near the limit.
            let limit = self.limits.batch_size.min(self.limits.batch_size_max);
            if builder.size() + record.size_max() > limit && !builder.is_empty() && builder.size_with(record) > limit {
                self.pass(place, now_ms)?;
            }
        }
        let limits = self.limits;
        let builder =
            self.builders[place].get_or_insert_with(|| BatchBuilder::new(limits.batch_size.min(limits.batch_size_max)));
        builder.push(record);
        Ok(())
    }

    /// Adds records whose values are `lines`, as far as they go into the batch that is being filled. Returns how many bytes
    /// that took, and how many records.
    pub fn add_lines(&mut self, partition: i32, lines: &[u8], delimiter: u8, timestamp_ms: i64) -> (usize, i32) {
        let limit = self.limits.batch_size.min(self.limits.batch_size_max);
        match &mut self.builders[partition as usize] {
            Some(builder) => builder.push_lines(lines, delimiter, timestamp_ms, limit),
            None => (0, 0),
        }
    }

    #[cold]
    fn pass(&mut self, place: usize, now_ms: i64) -> Result<(), S::Error> {
        if let Some(full) = self.builders[place].take() {
            self.builders[place] = Some(self.pipeline.pass(place as i32, full, now_ms)?);
        }
        Ok(())
    }

    /// Whether any batch holds a record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.builders.iter().flatten().all(BatchBuilder::is_empty)
    }

    /// Stores what every batch holds, and all that was passed on before; nothing after a failure that was told.
    ///
    /// # Errors
    /// When a batch cannot be stored.
    pub fn flush(&mut self, now_ms: i64) -> Result<(), S::Error> {
        if self.pipeline.has_told_failure() {
            return Ok(());
        }
        self.pipeline.drain()?;
        for (partition, place) in (0..).zip(&mut self.builders) {
            if let Some(filled) = place.take_if(|builder| !builder.is_empty()) {
                *place = Some(self.pipeline.store(partition, filled, now_ms)?);
            }
        }
        Ok(())
    }
}
