//! Makes appended records durable beside the writer, and says so.
//!
//! What is acknowledged is durable: the stretches that are handed out here were synced with everything before them. The
//! recovery point follows, after the data that it vouches for: when a segment was closed, and at the end when it lags by
//! more than [`RECOVERY_POINT_LAG_MAX`]. After a failed sync nothing more is acknowledged. A recovery point that cannot be
//! written, on a full disk say, ends the run as well, but what is in the log by then is synced and acknowledged first.

use super::{LogDir, Result};
use crate::disk::FileId;
use crate::storage::{self, LogWriter, PendingSync};
use crate::units::{Offset, TopicPartition};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How many bytes the next writer may have to check before the recovery point is worth a write at the end of a run.
const RECOVERY_POINT_LAG_MAX: u64 = 8 << 20;

/// How many bytes are appended at most before the regular sync begins, whatever the time: the disk then works beside the
/// producer, and what is left to write at the end is little. A durable GB in 0.7 s in place of 1.4.
const UNSYNCED_MAX: u64 = 64 << 20;

/// When appended records are made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Before more input is read.
    Always,
    /// At least this often while input goes on, when 64 MiB have come together, and at the end.
    Every(Duration),
    /// At the end.
    End,
    /// Not by us: the operating system writes when it likes.
    Never,
}

/// A stretch of offsets that has become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The partition's number.
    pub partition: i32,
    /// The first offset.
    pub base_offset: Offset,
    /// The last offset.
    pub last_offset: Offset,
}

/// What hears of the syncer's work, on whatever thread does it.
pub trait OnSync: Send + Sync {
    /// A stretch has become durable.
    fn acknowledged(&self, stretch: &Acknowledged);
    /// A sync beside the writer has failed: the writer is to stop, even if it waits for input.
    fn failed(&self);
}

#[derive(Clone)]
struct Partition {
    partition: TopicPartition,
    folder: FileId,
    pending: Arc<Mutex<PendingSync>>,
}

#[derive(Default)]
struct State {
    partitions: Vec<Partition>,
    /// Bytes appended since the last regular sync began.
    unsynced: u64,
    stop: bool,
}

struct Shared {
    log_dir: Arc<LogDir>,
    on_sync: Arc<dyn OnSync>,
    state: Mutex<State>,
    wake: Condvar,
}

/// Syncs the partitions of one topic writer.
pub(super) struct Syncer {
    shared: Arc<Shared>,
    policy: SyncPolicy,
    /// Ends early when a sync has failed (the outer error) or a recovery point could not be written (the inner one).
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Syncer {
    pub(super) fn start(log_dir: Arc<LogDir>, policy: SyncPolicy, on_sync: Arc<dyn OnSync>) -> Self {
        let shared = Arc::new(Shared { log_dir, on_sync, state: Mutex::default(), wake: Condvar::new() });
        let thread = match policy {
            SyncPolicy::Every(interval) => {
                let shared = Arc::clone(&shared);
                Some(std::thread::spawn(move || shared.sync_regularly(interval)))
            }
            _ => None,
        };
        Self { shared, policy, thread }
    }

    pub(super) fn add(&self, partition: TopicPartition, writer: &LogWriter) {
        let pending = Arc::clone(writer.pending_sync());
        self.shared.state().partitions.push(Partition { partition, folder: writer.folder_id(), pending });
    }

    /// Notes that so many bytes were appended.
    pub(super) fn appended(&self, bytes: u64) {
        if self.thread.is_none() {
            return;
        }
        let mut state = self.shared.state();
        let before = state.unsynced;
        state.unsynced += bytes;
        if before == 0 || (before < UNSYNCED_MAX && state.unsynced >= UNSYNCED_MAX) {
            self.shared.wake.notify_one();
        }
    }

    /// A place where the input may stand still: everything before it is synced under [`SyncPolicy::Always`].
    pub(super) fn sync_point(&self) -> Result<()> {
        if self.policy == SyncPolicy::Always { self.shared.sync_dirty()?.write() } else { Ok(()) }
    }

    /// Whether the thread has failed; its error comes out of [`Syncer::finish`].
    pub(super) fn has_failed(&self) -> bool {
        self.thread.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends the thread and, unless nothing is ever synced, syncs the rest.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.shared.state().stop = true;
        self.shared.wake.notify_one();
        let beside = match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?,
            None => Ok(()),
        };
        if self.policy == SyncPolicy::Never {
            return Ok(());
        }
        let due = self.shared.sync_dirty()?;
        beside?;
        due.write()?;
        self.shared.catch_up_recovery_points()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_regularly(&self, interval: Duration) -> Result<Result<()>> {
        loop {
            let state = self.wake.wait_while(self.state(), |state| state.unsynced == 0 && !state.stop);
            let state = state.unwrap_or_else(PoisonError::into_inner);
            let goes_on = |state: &mut State| state.unsynced < UNSYNCED_MAX && !state.stop;
            let waited = self.wake.wait_timeout_while(state, interval, goes_on);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.stop {
                return Ok(Ok(()));
            }
            state.unsynced = 0;
            drop(state);
            let written = self.sync_dirty().map(DueRecoveryPoints::write);
            if !matches!(written, Ok(Ok(()))) {
                self.on_sync.failed();
                return written;
            }
        }
    }

    /// Syncs and acknowledges everything. The recovery points that are due are left to be written.
    fn sync_dirty(&self) -> Result<DueRecoveryPoints<'_>> {
        let partitions = self.state().partitions.clone();
        let mut due = Vec::new();
        for it in partitions {
            if !pending(&it).is_dirty() {
                continue;
            }
            let durable = storage::sync_now(&it.pending)?;
            for stretch in &durable.stretches {
                self.on_sync.acknowledged(&Acknowledged {
                    partition: it.partition.partition,
                    base_offset: Offset(*stretch.start()),
                    last_offset: Offset(*stretch.end()),
                });
            }
            if durable.rolled {
                due.push((it, durable.through));
            }
        }
        Ok(DueRecoveryPoints { shared: self, due })
    }

    fn catch_up_recovery_points(&self) -> Result<()> {
        let partitions = self.state().partitions.clone();
        for it in partitions {
            if pending(&it).bytes_behind_recovery_point() > RECOVERY_POINT_LAG_MAX && !pending(&it).has_failed() {
                let durable = storage::sync_now(&it.pending)?;
                self.write_recovery_point(&it, durable.through)?;
            }
        }
        Ok(())
    }

    fn write_recovery_point(&self, it: &Partition, through: Offset) -> Result<()> {
        self.log_dir.advance_recovery_point(&it.partition, it.folder, through)?;
        pending(it).recovery_point_written();
        Ok(())
    }
}

/// Recovery points that are to be written, since a segment was closed.
struct DueRecoveryPoints<'a> {
    shared: &'a Shared,
    due: Vec<(Partition, Offset)>,
}

impl DueRecoveryPoints<'_> {
    fn write(self) -> Result<()> {
        self.due.iter().try_for_each(|(it, through)| self.shared.write_recovery_point(it, *through))
    }
}

fn pending(partition: &Partition) -> MutexGuard<'_, PendingSync> {
    partition.pending.lock().unwrap_or_else(PoisonError::into_inner)
}
