//! Stores the batches of a run and counts them.

use super::event::{Event, Listener};
use super::input_prefix::{InputPrefix, Origin};
use super::producer::Clock;
use super::topic_writer::TopicWriter;
use crate::logdir::Result;
use crate::units::TopicPartition;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What was stored in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The first offset.
    pub base_offset: i64,
    /// The last offset. Other producers may have offsets between the two.
    pub last_offset: i64,
    /// How many records.
    pub records: u64,
    /// Bytes of the input that these records were made of.
    pub input_bytes: u64,
}

/// The writer of a run, and what it has stored.
pub(super) struct Store {
    pub(super) writer: TopicWriter,
    pub(super) written: BTreeMap<TopicPartition, Written>,
    clock: Clock,
    prefix: Arc<InputPrefix>,
    listener: Listener,
}

/// The store of a run, which its intake asks and the threads of its pipeline write to.
pub(super) type SharedStore = Arc<Mutex<Store>>;

pub(super) fn locked(store: &SharedStore) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    pub(super) fn new(writer: TopicWriter, clock: Clock, prefix: Arc<InputPrefix>, listener: Listener) -> Self {
        Self { writer, written: BTreeMap::new(), clock, prefix, listener }
    }

    /// Stores batches of the partition in one slot, in order.
    ///
    /// # Errors
    /// When one cannot be stored; those before it may have been.
    pub(super) fn store(&mut self, slot: i32, mut batches: &mut [&mut [u8]], mut origins: &[Origin]) -> Result<()> {
        while !batches.is_empty() {
            let appended = self.writer.append(slot, batches, (self.clock)())?;
            let partition = self.writer.partition(slot)?;
            batches = &mut batches[appended.batch_count..];
            let (base_offset, last_offset) = (appended.base_offset.0, appended.last_offset.0);
            let none = Written { base_offset, last_offset, records: 0, input_bytes: 0 };
            let written = self.written.entry(partition.clone()).or_insert(none);
            written.last_offset = last_offset;
            let (of_these, rest) = origins.split_at(appended.batch_count);
            written.input_bytes += of_these.iter().map(|origin| origin.input_bytes).sum::<u64>();
            origins = rest;
            written.records += (last_offset - base_offset + 1) as u64;
            for (stretch, input) in self.prefix.stored(partition, last_offset, of_these) {
                (self.listener)(Event::Durable { topic: &partition.topic, stretch, input: Some(input) });
            }
        }
        Ok(())
    }
}
