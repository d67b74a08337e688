//! Stores the batches of a run and shows how far it has come.

use super::rejects::Rejects;
use crate::cli::now;
use crate::cli::ui::{Progress, Ui};
use crate::logdir::{Topic, TopicWriter};
use crate::stream::StreamError;
use crate::stream::intake::IntakeSink;
use crate::stream::pipeline::BatchStore;
use crate::units::{ByteSize, Timestamp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What was stored in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) records: u64,
    /// Bytes of the input that these records were made of.
    pub(super) input_bytes: u64,
}

/// Stores batches and keeps count of them.
pub(super) struct Store {
    pub(super) writer: TopicWriter,
    pub(super) written: BTreeMap<i32, Written>,
}

impl BatchStore for Store {
    type Error = anyhow::Error;

    fn store(&mut self, partition: i32, mut batches: &mut [&mut [u8]], mut input_bytes: &[u64]) -> anyhow::Result<()> {
        while !batches.is_empty() {
            let appended = self.writer.append(partition, batches, now())?;
            batches = &mut batches[appended.batch_count..];
            let (base_offset, last_offset) = (appended.base_offset.0, appended.last_offset.0);
            let none = Written { base_offset, last_offset, records: 0, input_bytes: 0 };
            let written = self.written.entry(partition).or_insert(none);
            written.last_offset = last_offset;
            let (of_these, rest) = input_bytes.split_at(appended.batch_count);
            written.input_bytes += of_these.iter().sum::<u64>();
            input_bytes = rest;
            written.records += (last_offset - base_offset + 1) as u64;
        }
        Ok(())
    }
}

/// Answers what the intake asks and shows how far it has come.
pub(super) struct Sink {
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) topic: Topic,
    pub(super) ui: Ui,
    pub(super) progress: Progress,
    /// Whether progress counts bytes of a known total, not records.
    pub(super) by_bytes: bool,
    pub(super) rejects: Rejects,
    pub(super) started: Instant,
}

impl Sink {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell_notices(&self) {
        for notice in self.store().writer.take_notices() {
            self.ui.warning(&crate::cli::commands::told(&notice));
        }
    }
}

impl IntakeSink for Sink {
    type Error = anyhow::Error;
    type Store = Store;

    fn now(&self) -> Timestamp {
        now()
    }

    fn round_robin_start(&mut self) -> anyhow::Result<i64> {
        Ok(self.store().writer.log_end_offsets_sum()?)
    }

    fn has_partition(&self, partition: i32) -> bool {
        self.topic.partitions.binary_search(&partition).is_ok()
    }

    fn sync_point(&mut self) -> anyhow::Result<()> {
        Ok(self.store().writer.sync_point()?)
    }

    fn progress(&mut self, bytes: u64, records: u64) {
        let (started, position) = (self.started, if self.by_bytes { bytes } else { records });
        let by_bytes = self.by_bytes;
        self.progress.set(position, || {
            if by_bytes {
                return crate::cli::commands::counted(records, "record");
            }
            let rate = bytes as f64 / started.elapsed().as_secs_f64().max(0.001);
            format!("{}  {}/s", ByteSize(bytes), ByteSize(rate as u64))
        });
    }

    fn skips(&self) -> bool {
        self.rejects.skips
    }

    fn reject_piece(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        self.rejects.write(piece)
    }

    fn reject(&mut self, last_piece: &[u8], problem: StreamError) -> anyhow::Result<()> {
        self.rejects.take(last_piece, problem)
    }
}
