//! Writes to the partitions of topics, each opened when the first batch for it comes.
//!
//! A partition has its slot, a number that is its own in the run: the first topic's slots are the numbers of its partitions,
//! and those of the next topic begin after the last of them.
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
use crate::units::{Timestamp, TopicPartition};
use std::sync::Arc;

/// The writer of topics: of one, mostly.
pub struct TopicWriter {
    log_dir: LogDir,
    /// In the order of their slots.
    topics: Vec<OfTopic>,
    /// In the order of their slots.
    partitions: Vec<OpenPartition>,
    open_max: usize,
    /// `None` where all of them may be open at once.
    recently_used: Option<RecentlyUsed>,
    syncer: Syncer,
    /// Of partitions that were closed.
    notices: Vec<Notice>,
}

struct OfTopic {
    topic: Topic,
    /// What the records to come were made for.
    policy_of_records: CleanupPolicy,
    /// The slot of partition 0.
    first_slot: i32,
    /// Where its partitions begin in the list of all.
    first_at: usize,
}

struct OpenPartition {
    slot: i32,
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
        let mut writer = Self::of_topics(log_dir, policy, listener);
        writer.add(topic)?;
        Ok(writer)
    }

    /// A writer of topics that are [added](Self::add) later.
    pub(super) fn of_topics(log_dir: LogDir, policy: SyncPolicy, listener: Listener) -> Self {
        let syncer = Syncer::start(log_dir.clone(), policy, listener);
        let open_max = descriptors::room_for(LogWriter::DESCRIPTORS_MAX);
        let (topics, partitions, notices) = (Vec::new(), Vec::new(), Vec::new());
        Self { log_dir, topics, partitions, open_max, recently_used: None, syncer, notices }
    }

    /// Adds a topic, and opens no partition of it yet. Returns the slot of its partition 0.
    ///
    /// # Errors
    /// When other brokers have its partitions as well.
    pub(super) fn add(&mut self, topic: Topic) -> Result<i32> {
        self.log_dir.refuse_replicated(&topic)?;
        let handles = self.log_dir.partitions(&topic)?;
        let (first_slot, first_at) = (self.slots(), self.partitions.len());
        self.partitions.extend(topic.partitions.iter().zip(handles).map(|(number, partition)| OpenPartition {
            slot: first_slot + number,
            partition: Arc::new(partition),
            writer: WriterState::Unopened,
        }));
        let policy_of_records = topic.log_config().cleanup_policy;
        self.topics.push(OfTopic { topic, policy_of_records, first_slot, first_at });
        self.limit_open();
        Ok(first_slot)
    }

    /// All slots lie below this.
    pub(super) fn slots(&self) -> i32 {
        self.partitions.last().map_or(0, |last| last.slot + 1)
    }

    /// The same, with files open in so many partitions at most, and in one at least.
    #[must_use]
    pub fn with_open_max(mut self, open_max: usize) -> Self {
        (self.open_max, self.recently_used) = (open_max, None);
        self.limit_open();
        self
    }

    /// From the first partition on that may not be open beside all others, it is kept which were used last.
    fn limit_open(&mut self) {
        let count = self.partitions.len();
        if let Some(recently_used) = &mut self.recently_used {
            recently_used.grow(count);
        } else if count > self.open_max {
            let mut recently_used = RecentlyUsed::new(count, self.open_max);
            let is_open = |it: &OpenPartition| matches!(it.writer, WriterState::Open(_));
            (0..count).filter(|&at| is_open(&self.partitions[at])).for_each(|at| recently_used.touch(at));
            self.recently_used = Some(recently_used);
        }
    }

    /// Whether partitions are closed for others, since not all of them may be open at once.
    #[must_use]
    pub fn closes_partitions(&self) -> bool {
        self.recently_used.is_some()
    }

    /// The topic of a slot, which is one that was added, and where the partition is in the list of all.
    fn find(&self, slot: i32) -> Result<(&OfTopic, usize)> {
        let number = self.topics.partition_point(|it| it.first_slot <= slot);
        let of_topic = &self.topics[number.max(1) - 1];
        let partition = slot - of_topic.first_slot;
        match of_topic.topic.partitions.binary_search(&partition) {
            Ok(at) => Ok((of_topic, of_topic.first_at + at)),
            Err(_) => Err(of_topic.topic.partition(partition).expect_err("it was not found")),
        }
    }

    /// The partition in a slot.
    pub(super) fn partition(&self, slot: i32) -> Result<&TopicPartition> {
        Ok(self.partitions[self.find(slot)?.1].partition.id())
    }

    /// Appends finished batches to the partition in a slot (of the first topic: of that number), as many of them as
    /// [`LogWriter::append`] does at once.
    ///
    /// # Errors
    /// When the topic was deleted, or is compacted now and was not, the partition is corrupt, a broker has taken the log
    /// dir, or the disk fails.
    pub fn append(&mut self, slot: i32, batches: &mut [&mut [u8]], now: Timestamp) -> Result<Appended> {
        self.syncer.sync_if_due(now)?;
        let (of_topic, at) = self.find(slot)?;
        let policy_of_records = of_topic.policy_of_records;
        self.make_room_for(at, now)?;
        let handle = Arc::clone(&self.partitions[at].partition);
        let guard = handle.guard()?;
        if guard.config().cleanup_policy != policy_of_records {
            return Err(LogDirError::PolicyChanged { topic: handle.id().topic.clone() });
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
        let OpenPartition { slot, partition, writer } = &mut self.partitions[at];
        if let WriterState::Open(open) = writer {
            open.check()?;
            self.syncer.remove(*slot)?;
            close(partition, open, now).inspect_err(|_| self.syncer.note_failure(open))?;
            self.notices.append(&mut open.take_notices());
            if let WriterState::Open(open) = std::mem::take(writer) {
                *writer = WriterState::Closed(Box::new(open.into_known_end()));
            }
        }
        partition.let_go()
    }

    /// The sum of the log end offsets of all partitions of the topic that has a slot: where round-robin goes on.
    ///
    /// # Errors
    /// When a partition cannot be read.
    pub(super) fn log_end_offsets_sum(&self, slot: i32) -> Result<i64> {
        let (OfTopic { topic, first_at, .. }, _) = self.find(slot)?;
        let mut sum = 0;
        for it in &self.partitions[*first_at..][..topic.partitions.len()] {
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
        for OpenPartition { partition, writer, .. } in &mut self.partitions {
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
        let Self { slot, partition, writer } = self;
        let opened = match writer {
            WriterState::Open(_) => None,
            WriterState::Closed(known) => Some(LogWriter::reopen(known, guard, now)?),
            WriterState::Unopened => Some(log_dir.open_writer(partition, guard, syncer.durability(), now)?),
        };
        if let Some(opened) = opened {
            syncer.add(*slot, partition, &opened);
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
