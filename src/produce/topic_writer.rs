//! Writes to the partitions of one topic, each opened when the first batch for it comes.
//!
//! Where there are more partitions than files may be open, the one that was written to longest ago is synced as the policy
//! says and closed before another is opened, and opened again when its next batch comes. It is then the same partition, of
//! the same topic, or an error. That happens before the other is locked: who holds a partition waits for no other.

use super::event::Listener;
use super::recently_used::RecentlyUsed;
use super::syncer::{SyncPolicy, Syncer};
use crate::disk::descriptors;
use crate::logdir::{LogDir, LogDirError, Partition, Result, Topic};
use crate::storage::{Appended, CleanupPolicy, KnownEnd, LogWriter, Notice, PartitionGuard, StorageError};
use crate::units::Timestamp;
use std::sync::Arc;

/// The writer of a topic.
pub struct TopicWriter {
    log_dir: LogDir,
    topic: Topic,
    /// What the records to come were made for.
    policy_of_records: CleanupPolicy,
    /// In the order of the topic's partitions.
    partitions: Vec<OpenPartition>,
    /// `None` where all of them may be open at once.
    recently_used: Option<RecentlyUsed>,
    syncer: Syncer,
    /// Of partitions that were closed.
    notices: Vec<Notice>,
}

struct OpenPartition {
    partition: Arc<Partition>,
    writer: WriterState,
}

#[derive(Default)]
enum WriterState {
    /// No batch for it has come.
    #[default]
    Unopened,
    Open(Box<LogWriter>),
    /// Closed for others, and to be opened again.
    Closed(Box<KnownEnd>),
}

impl TopicWriter {
    /// A writer that has opened no partition yet, and will have as many open at once as the process may have files.
    ///
    /// # Errors
    /// None: a topic has its partitions.
    pub fn new(log_dir: LogDir, topic: Topic, policy: SyncPolicy, listener: Listener) -> Result<Self> {
        let handles = log_dir.partitions(&topic)?;
        let open = |partition| OpenPartition { partition: Arc::new(partition), writer: WriterState::Unopened };
        let syncer = Syncer::start(log_dir.clone(), policy, listener);
        let policy_of_records = topic.log_config().cleanup_policy;
        let partitions = handles.into_iter().map(open).collect();
        let (recently_used, notices) = (None, Vec::new());
        let writer = Self { log_dir, topic, policy_of_records, partitions, recently_used, syncer, notices };
        Ok(writer.with_open_max(descriptors::room_for(LogWriter::DESCRIPTORS_MAX)))
    }

    /// The same, with files open in so many partitions at most, and in one at least.
    #[must_use]
    pub fn with_open_max(mut self, open_max: usize) -> Self {
        let count = self.partitions.len();
        self.recently_used = (count > open_max).then(|| RecentlyUsed::new(count, open_max));
        self
    }

    /// Whether partitions are closed for others, since not all of them may be open at once.
    #[must_use]
    pub fn closes_partitions(&self) -> bool {
        self.recently_used.is_some()
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Appends finished batches to a partition, as many of them as [`LogWriter::append`] does at once.
    ///
    /// # Errors
    /// When the topic was deleted, or is compacted now and was not, the partition is corrupt, a broker has taken the log
    /// dir, or the disk fails.
    pub fn append(&mut self, partition: i32, batches: &mut [&mut [u8]], now: Timestamp) -> Result<Appended> {
        self.syncer.sync_if_due(now)?;
        let not_found = |_| self.topic.partition(partition).expect_err("it was not found");
        let at = self.topic.partitions.binary_search(&partition).map_err(not_found)?;
        self.make_room_for(at, now)?;
        let handle = Arc::clone(&self.partitions[at].partition);
        let guard = handle.guard()?;
        if guard.config().cleanup_policy != self.policy_of_records {
            return Err(LogDirError::PolicyChanged { topic: self.topic.name.clone() });
        }
        let writer = self.partitions[at].open(&self.log_dir, &self.syncer, &guard, now)?;
        let appended = writer.append(&guard, batches, now).inspect_err(|_| self.syncer.note_failure(writer));
        drop(guard);
        let appended = appended?;
        self.syncer.appended(batches[..appended.batch_count].iter().map(|batch| batch.len() as u64).sum(), now);
        Ok(appended)
    }

    /// Closes partitions, those that were written to longest ago first, until one more may have files open.
    fn make_room_for(&mut self, at: usize, now: Timestamp) -> Result<()> {
        let Some(recently_used) = &mut self.recently_used else { return Ok(()) };
        recently_used.touch(at);
        while let Some(oldest) = self.recently_used.as_ref().and_then(RecentlyUsed::surplus) {
            self.put_away(oldest, now)?;
            self.recently_used.iter_mut().for_each(|it| it.closed(oldest));
        }
        Ok(())
    }

    /// Syncs a partition as the policy says, closes it and gives its files back.
    fn put_away(&mut self, at: usize, now: Timestamp) -> Result<()> {
        let OpenPartition { partition, writer } = &mut self.partitions[at];
        if let WriterState::Open(open) = writer {
            open.check()?;
            self.syncer.remove(partition.id().partition)?;
            close(partition, open, now).inspect_err(|_| self.syncer.note_failure(open))?;
            self.notices.append(&mut open.take_notices());
            if let WriterState::Open(open) = std::mem::take(writer) {
                *writer = WriterState::Closed(Box::new(open.into_known_end()));
            }
        }
        partition.let_go()
    }

    /// The sum of the log end offsets of all partitions: where round-robin goes on.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub fn log_end_offsets_sum(&self) -> Result<i64> {
        let mut sum = 0;
        for it in &self.partitions {
            if let WriterState::Open(writer) = &it.writer {
                sum += writer.log_end_offset().0;
                continue;
            }
            sum += it.partition.view()?.log_end_offset()?.0;
            if self.recently_used.is_some() {
                it.partition.let_go()?;
            }
        }
        Ok(sum)
    }

    /// A place where the input may stand still: see [`SyncPolicy::Always`].
    ///
    /// # Errors
    /// When a sync fails.
    pub fn sync_point(&self) -> Result<()> {
        self.syncer.sync_point()
    }

    /// What was done to partitions beside appending, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let mut notices = std::mem::take(&mut self.notices);
        for it in &mut self.partitions {
            if let WriterState::Open(writer) = &mut it.writer {
                notices.append(&mut writer.take_notices());
            }
        }
        notices
    }

    /// Closes every partition and syncs what the policy says. Also after an error of [`TopicWriter::append`]: what came
    /// before it is kept. Where that error was a sync that failed, nothing more is synced or acknowledged. A partition that
    /// cannot be closed keeps no other from it.
    ///
    /// # Errors
    /// The first of them: a sync that fails, now or on another thread before, or a partition that cannot be closed.
    pub fn finish(&mut self, now: Timestamp) -> Result<()> {
        let mut finished = self.syncer.finish();
        for OpenPartition { partition, writer } in &mut self.partitions {
            if let WriterState::Open(writer) = writer {
                let closed = close(partition, writer, now);
                finished = finished.and(closed);
            }
        }
        finished
    }
}

impl OpenPartition {
    /// The writer of the partition, which is guarded, opened where it is not.
    fn open(
        &mut self,
        log_dir: &LogDir,
        syncer: &Syncer,
        guard: &PartitionGuard,
        now: Timestamp,
    ) -> Result<&mut LogWriter> {
        let Self { partition, writer } = self;
        let opened = match writer {
            WriterState::Open(_) => None,
            WriterState::Closed(known) => Some(LogWriter::reopen(known, guard, now)?),
            WriterState::Unopened => Some(log_dir.open_writer(partition, guard, syncer.durability(), now)?),
        };
        if let Some(opened) = opened {
            syncer.add(partition, &opened);
            *writer = WriterState::Open(Box::new(opened));
        }
        match writer {
            WriterState::Open(writer) => Ok(writer),
            WriterState::Unopened | WriterState::Closed(_) => unreachable!("it was opened above"),
        }
    }
}

fn close(partition: &Partition, writer: &mut LogWriter, now: Timestamp) -> Result<()> {
    match partition.close(writer, now) {
        // The final time entry of a partition that is gone is missed by nobody, and indexes are derived anyway.
        Err(LogDirError::TopicDeleted { .. } | LogDirError::Storage(StorageError::Corrupt { .. })) => Ok(()),
        closed => closed,
    }
}
