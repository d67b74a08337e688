//! Gathers records into batches, one being filled for each partition that records go to.

use super::Result;
use super::input_prefix::{InputPosition, InputPrefix};
use super::pipeline::{Filling, Pipeline};
use crate::format::header::BATCH_HEADER_SIZE;
use crate::format::record::NewRecord;
use crate::units::Timestamp;
use std::sync::Arc;

/// How large a batch may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    /// A batch is finished before it would exceed this; a single larger record has a batch of its own.
    pub(super) batch_size: usize,
    /// No batch ever exceeds this.
    pub(super) batch_size_max: usize,
}

/// The batches that are being filled.
pub(super) struct Batcher {
    limits: BatchLimits,
    /// By partition number; made when the first record comes.
    fillings: Vec<Option<Filling>>,
    pipeline: Pipeline,
    /// Where the next record begins.
    position: InputPosition,
    prefix: Arc<InputPrefix>,
}

impl Batcher {
    /// Batches for partitions below `partitions_max`.
    pub(super) fn new(
        limits: BatchLimits,
        pipeline: Pipeline,
        partitions_max: usize,
        prefix: Arc<InputPrefix>,
    ) -> Self {
        let fillings = std::iter::repeat_with(|| None).take(partitions_max).collect();
        Self { limits, fillings, pipeline, position: InputPosition::default(), prefix }
    }

    /// What was taken in so far, with what was rejected.
    pub(super) const fn position(&self) -> InputPosition {
        self.position
    }

    /// Notes that so much of the input goes into no batch.
    pub(super) fn leave_out(&mut self, records: u64, bytes: usize) {
        self.position.records += records;
        self.position.bytes += bytes as u64;
    }

    /// Whether even a batch that holds `record` alone would be too large before compression.
    #[inline(always)]
    pub(super) fn is_too_large(&self, record: &NewRecord<'_>) -> bool {
        let limit = self.limits.batch_size_max;
        BATCH_HEADER_SIZE + record.size_max() > limit && BATCH_HEADER_SIZE + record.size(0, 0) > limit
    }

    /// Adds a record that fits a batch of its own, made of so many bytes of the input, and passes the batch before it on if
    /// it is full.
    ///
    /// # Errors
    /// When a batch cannot be stored.
    #[inline(always)]
    pub(super) fn add(&mut self, partition: i32, record: &NewRecord<'_>, input_bytes: usize) -> Result<()> {
        let place = partition as usize;
        if let Some(Filling { builder, .. }) = &self.fillings[place] {
            // The exact size is asked for only near the limit.
            let limit = self.limits.batch_size.min(self.limits.batch_size_max);
            if builder.size() + record.size_max() > limit && !builder.is_empty() && builder.size_with(record) > limit {
                self.pass(place)?;
            }
        }
        let limits = self.limits;
        let filling =
            self.fillings[place].get_or_insert_with(|| Filling::new(limits.batch_size.min(limits.batch_size_max)));
        if filling.builder.is_empty() {
            filling.origin.begins = self.position;
            self.prefix.begins(self.position);
        }
        filling.builder.push(record);
        filling.origin.input_bytes += input_bytes as u64;
        self.position.records += 1;
        self.position.bytes += input_bytes as u64;
        Ok(())
    }

    /// Adds records whose values are `lines`, as far as they go into the batch that is being filled. Returns how many bytes
    /// that took, and how many records.
    pub(super) fn add_lines(
        &mut self,
        partition: i32,
        lines: &[u8],
        delimiter: u8,
        timestamp: Timestamp,
    ) -> (usize, i32) {
        let limit = self.limits.batch_size.min(self.limits.batch_size_max);
        let Some(Filling { builder, origin }) = &mut self.fillings[partition as usize] else { return (0, 0) };
        if builder.is_empty() {
            // Its first record says where it begins.
            return (0, 0);
        }
        let (bytes, records) = builder.push_lines(lines, delimiter, timestamp, limit);
        origin.input_bytes += bytes as u64;
        self.position.records += records as u64;
        self.position.bytes += bytes as u64;
        (bytes, records)
    }

    #[cold]
    fn pass(&mut self, place: usize) -> Result<()> {
        if let Some(full) = self.fillings[place].take() {
            self.fillings[place] = Some(self.pipeline.pass(place as i32, full)?);
        }
        Ok(())
    }

    /// Whether any batch holds a record.
    pub(super) fn is_empty(&self) -> bool {
        self.fillings.iter().flatten().all(|filling| filling.builder.is_empty())
    }

    /// Stores what every batch holds, and all that was passed on before; nothing after a failure that was told.
    ///
    /// # Errors
    /// When a batch cannot be stored.
    pub(super) fn flush(&mut self) -> Result<()> {
        if self.pipeline.has_told_failure() {
            return Ok(());
        }
        self.pipeline.drain()?;
        for (partition, place) in (0..).zip(&mut self.fillings) {
            if let Some(filled) = place.take_if(|filling| !filling.builder.is_empty()) {
                *place = Some(self.pipeline.store(partition, filled)?);
            }
        }
        self.prefix.taken(self.position);
        Ok(())
    }
}
