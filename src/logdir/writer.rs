//! Writes to the partitions of one topic, each opened when the first batch for it comes.

use super::syncer::{OnSync, SyncPolicy, Syncer};
use super::{LogDir, LogDirError, Result, Topic};
use crate::storage::{Appended, LogWriter, Notice, StorageError};
use crate::units::Offset;
use std::sync::Arc;

/// The writer of a topic.
pub struct TopicWriter {
    log_dir: Arc<LogDir>,
    topic: Topic,
    /// In the order of the topic's partitions.
    partitions: Vec<Option<LogWriter>>,
    policy: SyncPolicy,
    syncer: Syncer,
}

impl TopicWriter {
    /// A writer that has opened no partition yet.
    #[must_use]
    pub fn new(log_dir: Arc<LogDir>, topic: Topic, policy: SyncPolicy, on_sync: Arc<dyn OnSync>) -> Self {
        let partitions = topic.partitions.iter().map(|_| None).collect();
        let syncer = Syncer::start(Arc::clone(&log_dir), policy, on_sync);
        Self { log_dir, topic, partitions, policy, syncer }
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Appends finished batches to a partition, as many of them as [`LogWriter::append`] does at once.
    ///
    /// # Errors
    /// When the topic was deleted meanwhile, the partition is corrupt, a broker has taken the log dir, or the disk fails.
    pub fn append(&mut self, partition: i32, batches: &mut [&mut [u8]], now_ms: i64) -> Result<Appended> {
        let place = self.open(partition, now_ms)?;
        let writer = self.partitions[place].as_mut().expect("opened above");
        let appended = writer.append(batches, now_ms);
        let appended = appended.map_err(|error| self.log_dir.at_topic(error, &self.topic.name))?;
        self.syncer.appended(batches[..appended.batch_count].iter().map(|batch| batch.len() as u64).sum());
        Ok(appended)
    }

    /// The place of an open partition.
    fn open(&mut self, partition: i32, now_ms: i64) -> Result<usize> {
        let not_found = |_| self.topic.partition(partition).expect_err("it was not found");
        let place = self.topic.partitions.binary_search(&partition).map_err(not_found)?;
        if self.partitions[place].is_none() {
            let mut writer = self.log_dir.open_writer(&self.topic, partition, now_ms)?;
            if self.policy == SyncPolicy::Never {
                writer = writer.without_syncs();
            }
            self.syncer.add(self.topic.partition(partition)?, &writer);
            self.partitions[place] = Some(writer);
        }
        Ok(place)
    }

    /// The sum of the log end offsets of all partitions: where round-robin goes on.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn log_end_offsets_sum(&self) -> Result<i64> {
        let mut sum = 0;
        for (place, &partition) in self.topic.partitions.iter().enumerate() {
            sum += match &self.partitions[place] {
                Some(writer) => writer.log_end_offset().0,
                None => self.log_end_offset(partition)?.0,
            };
        }
        Ok(sum)
    }

    fn log_end_offset(&self, partition: i32) -> Result<Offset> {
        match self.log_dir.open_reader(&self.topic.partition(partition)?, 0)? {
            Some(reader) => Ok(reader.log_end_offset()?),
            None => Ok(Offset::ZERO),
        }
    }

    /// A place where the input may stand still: see [`SyncPolicy::Always`].
    ///
    /// # Errors
    /// When a sync fails.
    pub fn sync_point(&self) -> Result<()> {
        self.syncer.sync_point()
    }

    /// Whether a sync beside this writer has failed: its error comes out of [`TopicWriter::finish`].
    #[must_use]
    pub fn sync_has_failed(&self) -> bool {
        self.syncer.has_failed()
    }

    /// What was done to partitions beside appending, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.partitions.iter_mut().flatten().flat_map(LogWriter::take_notices).collect()
    }

    /// Closes every partition and syncs what the policy says. Also after an error of [`TopicWriter::append`]: what came
    /// before it is kept.
    ///
    /// # Errors
    /// When a sync fails, now or before, or a partition cannot be closed.
    pub fn finish(&mut self, now_ms: i64) -> Result<()> {
        let synced = self.syncer.finish();
        for writer in self.partitions.iter_mut().flatten() {
            match writer.close(now_ms) {
                // The final time entry of a partition that is gone is nobody's loss, and indexes are derived anyway.
                Err(StorageError::PartitionDeleted { .. } | StorageError::Corrupt { .. }) | Ok(()) => {}
                Err(error) => return synced.and(Err(LogDirError::Storage(error))),
            }
        }
        synced
    }
}
