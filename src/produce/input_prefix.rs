//! How much of the input is durable, over all partitions.
//!
//! Each batch begins at a place of the input. What lies before the first place at which a batch begins that is not
//! durable is durable or was rejected; rejects that are kept in a file hold it back as a batch does, until that is
//! durable. A batch is known by its place while it is filled, by its last offset once it is stored, and it is forgotten
//! when a sync has reached that. A sync beside the writer may reach an offset before its batch is noted here as stored:
//! what it reports is held back until then.

use super::event::Acknowledged;
use crate::units::{TopicName, TopicPartition};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A place in the input, from its first byte on; several inputs are one after the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InputPosition {
    /// Records before it, with those that were rejected.
    pub records: u64,
    /// Bytes before it.
    pub bytes: u64,
}

/// What a batch was made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Origin {
    /// Where its first record begins.
    pub(super) begins: InputPosition,
    /// Bytes of the input that its records were made of.
    pub(super) input_bytes: u64,
}

/// Of so many stored batches of a partition the places are kept; later ones then share one. A run without a sync would have
/// more and more of them otherwise.
const PLACES_MAX: usize = 1 << 10;

/// What is known of the batches of a run.
#[derive(Default)]
pub(super) struct InputPrefix(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where batches or rejects begin that are not durable: the number of records before, and of bytes.
    begun: BTreeMap<u64, u64>,
    /// Everything before it is in a batch that has begun, or was rejected.
    taken: InputPosition,
    partitions: BTreeMap<TopicPartition, OfPartition>,
}

#[derive(Default)]
struct OfPartition {
    /// Batches that are stored, by their last offset, and where they begin.
    stored: VecDeque<(i64, InputPosition)>,
    stored_through: Option<i64>,
    /// Not reported yet, since it is not noted as stored.
    held: VecDeque<Acknowledged>,
}

impl InputPrefix {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a batch begins there, or a reject that is not durable. Once a batch, so that records cost no call.
    #[cold]
    pub(super) fn begins(&self, at: InputPosition) {
        let mut state = self.state();
        state.begun.insert(at.records, at.bytes);
        state.taken = state.taken.max(at);
    }

    /// Notes that the rejects from there on are durable.
    pub(super) fn rejects_durable(&self, from: InputPosition) {
        self.state().begun.remove(&from.records);
    }

    /// Notes that everything before a place is in a batch or was rejected.
    pub(super) fn taken(&self, through: InputPosition) {
        let mut state = self.state();
        state.taken = state.taken.max(through);
    }

    /// Notes that batches are stored up to an offset. Returns what can be reported now.
    pub(super) fn stored(
        &self,
        partition: &TopicPartition,
        last_offset: i64,
        origins: &[Origin],
    ) -> Vec<(Acknowledged, InputPosition)> {
        let mut state = self.state();
        let State { begun, partitions, .. } = &mut *state;
        let of_partition = partitions.entry(partition.clone()).or_default();
        of_partition.stored_through = Some(last_offset);
        // Those that are stored together share the place of the first.
        let is_full = of_partition.stored.len() >= PLACES_MAX;
        for (place, origin) in origins.iter().enumerate() {
            match of_partition.stored.back_mut().filter(|_| is_full || place > 0) {
                Some((last, _)) => {
                    *last = last_offset;
                    begun.remove(&origin.begins.records);
                }
                None => of_partition.stored.push_back((last_offset, origin.begins)),
            }
        }
        let mut reported = Vec::new();
        while of_partition.held.front().is_some_and(|it| it.last_offset.0 <= last_offset) {
            reported.extend(of_partition.held.pop_front());
        }
        reported.into_iter().map(|stretch| (stretch, state.is_durable(partition, &stretch))).collect()
    }

    /// Notes that a stretch is durable. Returns how much of the input is, unless it is to be reported later.
    pub(super) fn durable(&self, topic: &TopicName, stretch: &Acknowledged) -> Option<InputPosition> {
        let mut state = self.state();
        let partition = TopicPartition { topic: topic.clone(), partition: stretch.partition };
        let of_partition = state.partitions.entry(partition.clone()).or_default();
        if of_partition.stored_through.is_none_or(|through| through < stretch.last_offset.0) {
            of_partition.held.push_back(*stretch);
            return None;
        }
        Some(state.is_durable(&partition, stretch))
    }

    /// What was held back, where the batches of it are never noted: an append stored them and failed then.
    pub(super) fn take_held(&self) -> Vec<(TopicName, Acknowledged, InputPosition)> {
        let (mut state, mut held) = (self.state(), Vec::new());
        for (of, partition) in &mut state.partitions {
            held.extend(partition.held.drain(..).map(|stretch| (of.topic.clone(), stretch)));
        }
        held.into_iter().map(|(topic, stretch)| (topic, stretch, state.prefix())).collect()
    }

    /// Everything before it is durable or was rejected.
    pub(super) fn position(&self) -> InputPosition {
        self.state().prefix()
    }
}

impl State {
    fn is_durable(&mut self, partition: &TopicPartition, stretch: &Acknowledged) -> InputPosition {
        let Self { begun, partitions, .. } = self;
        let Some(OfPartition { stored, .. }) = partitions.get_mut(partition) else { return self.prefix() };
        while let Some(&(last_offset, at)) = stored.front()
            && last_offset <= stretch.last_offset.0
        {
            stored.pop_front();
            begun.remove(&at.records);
        }
        self.prefix()
    }

    fn prefix(&self) -> InputPosition {
        self.begun.first_key_value().map_or(self.taken, |(&records, &bytes)| InputPosition { records, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Offset;

    fn topic() -> TopicName {
        "t".parse().unwrap()
    }

    fn of(partition: i32) -> TopicPartition {
        TopicPartition { topic: topic(), partition }
    }

    fn at(records: u64) -> InputPosition {
        InputPosition { records, bytes: records * 10 }
    }

    fn from(begins: InputPosition) -> Origin {
        Origin { begins, input_bytes: 10 }
    }

    fn stretch(partition: i32, last_offset: i64) -> Acknowledged {
        Acknowledged { partition, base_offset: Offset(0), last_offset: Offset(last_offset) }
    }

    #[test]
    fn the_prefix_ends_where_the_first_batch_begins_that_is_not_durable() {
        let prefix = InputPrefix::default();
        prefix.begins(at(0));
        prefix.begins(at(1));
        prefix.taken(at(10));
        assert_eq!(prefix.stored(&of(1), 4, &[from(at(1))]), []);
        assert_eq!(prefix.durable(&topic(), &stretch(1, 4)), Some(at(0)));
        assert_eq!(prefix.stored(&of(0), 4, &[from(at(0))]), []);
        prefix.begins(at(10));
        assert_eq!(prefix.durable(&topic(), &stretch(0, 4)), Some(at(10)));
        prefix.taken(at(12));
        assert_eq!(prefix.position(), at(10), "the batch that began there is not durable");
        prefix.stored(&of(0), 6, &[from(at(10))]);
        assert_eq!(prefix.durable(&topic(), &stretch(0, 6)), Some(at(12)));
    }

    #[test]
    fn what_is_synced_before_it_is_noted_as_stored_is_reported_then() {
        let prefix = InputPrefix::default();
        prefix.begins(at(0));
        prefix.taken(at(3));
        assert_eq!(prefix.durable(&topic(), &stretch(0, 2)), None);
        assert_eq!(prefix.stored(&of(0), 2, &[from(at(0))]), [(stretch(0, 2), at(3))]);
        prefix.begins(at(3));
        assert_eq!(prefix.durable(&topic(), &stretch(0, 5)), None);
        assert_eq!(prefix.take_held(), [(topic(), stretch(0, 5), at(3))], "its batch may be stored in part only");
    }

    #[test]
    fn however_many_batches_wait_for_a_sync_few_are_remembered() {
        let prefix = InputPrefix::default();
        for number in 0..5000 {
            prefix.begins(at(number));
            prefix.stored(&of(0), number as i64, &[from(at(number))]);
        }
        prefix.taken(at(5000));
        assert_eq!(prefix.state().begun.len(), PLACES_MAX);
        assert_eq!(prefix.durable(&topic(), &stretch(0, 4000)), Some(at(PLACES_MAX as u64 - 1)));
        assert_eq!(prefix.durable(&topic(), &stretch(0, 4999)), Some(at(5000)));
    }
}
