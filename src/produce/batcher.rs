//! Gathers records into batches, one being filled for each partition that records go to.

use super::Result;
use super::input_prefix::{InputPosition, InputPrefix};
use super::pipeline::{Filling, Finishing, Pipeline};
use crate::format::header::BATCH_HEADER_SIZE;
use crate::format::record::NewRecord;
use crate::units::Timestamp;
use std::sync::Arc;

/// How the batches of a topic are made.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRule {
    /// The [slot](super::topic_writer) of its partition 0.
    pub(super) first_slot: i32,
    /// A batch is finished before it would exceed this; a single larger record has a batch of its own.
    pub(super) batch_size: usize,
    /// How they are finished; none of them ever exceeds what that says.
    pub(super) finishing: Finishing,
}

/// The batches that are being filled.
pub(super) struct Batcher {
    /// Of the topic that records go to now.
    rule: BatchRule,
    /// By slot; made when the first record comes.
    fillings: Vec<Option<Filling>>,
    pipeline: Pipeline,
    /// Where the next record begins.
    position: InputPosition,
    prefix: Arc<InputPrefix>,
}

impl Batcher {
    /// Batches for the partitions of a topic.
    pub(super) fn new(rule: BatchRule, pipeline: Pipeline, prefix: Arc<InputPrefix>) -> Self {
        Self { rule, fillings: Vec::new(), pipeline, position: InputPosition::default(), prefix }
    }

    /// From here on, records go to the topic of this rule, in slots below `slots`.
    pub(super) fn go_to(&mut self, rule: BatchRule, slots: i32) {
        self.rule = rule;
        self.fillings.resize_with(self.fillings.len().max(slots as usize), || None);
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
        let limit = self.rule.finishing.batch_size_max;
        BATCH_HEADER_SIZE + record.size_max() > limit && BATCH_HEADER_SIZE + record.size(0, 0) > limit
    }

    /// Adds a record that fits a batch of its own, made of so many bytes of the input, and passes the batch before it on if
    /// it is full.
    ///
    /// # Errors
    /// When a batch cannot be stored.
    #[inline(always)]
    pub(super) fn add(&mut self, partition: i32, record: &NewRecord<'_>, input_bytes: usize) -> Result<()> {
        let rule = self.rule;
        let place = (rule.first_slot + partition) as usize;
        let limit = rule.batch_size.min(rule.finishing.batch_size_max);
        if let Some(Filling { builder, .. }) = &self.fillings[place] {
            // The exact size is asked for only near the limit.
            if builder.size() + record.size_max() > limit && !builder.is_empty() && builder.size_with(record) > limit {
                self.pass(place)?;
            }
        }
        let filling = self.fillings[place].get_or_insert_with(|| Filling::new(limit, rule.finishing));
        if filling.builder.is_empty() {
            // It may have been one of another topic before.
            filling.finishing = rule.finishing;
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
        let rule = self.rule;
        let limit = rule.batch_size.min(rule.finishing.batch_size_max);
        let place = (rule.first_slot + partition) as usize;
        let Some(Filling { builder, origin, .. }) = &mut self.fillings[place] else { return (0, 0) };
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
        for (slot, place) in (0..).zip(&mut self.fillings) {
            if let Some(filled) = place.take_if(|filling| !filling.builder.is_empty()) {
                *place = Some(self.pipeline.store(slot, filled)?);
            }
        }
        self.prefix.taken(self.position);
        Ok(())
    }
}
