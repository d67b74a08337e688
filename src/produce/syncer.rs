//! Makes appended records durable beside the writer, and says so.
//!
//! What is acknowledged is durable: the stretches that are handed out here were synced with everything before them. The
//! recovery point follows, after the data that it vouches for: when a segment was closed, and at the end when it lags by
//! more than [`RECOVERY_POINT_LAG_MAX`]. Points that are due are written together, since each write replaces the whole file.
//! After a failed sync, whichever thread it failed on, nothing more is acknowledged. A recovery point that cannot be
//! written, on a full disk say, ends the run as well, but what is in the log by then is synced and acknowledged first.
//!
//! A partition whose files are to be given back leaves the list when it is synced and nobody is at it: its turn is had by
//! one thread at a time, so that each stretch is acknowledged once.

use super::event::{Acknowledged, Event, Listener};
use crate::logdir::{LogDir, Partition, Result};
use crate::storage::{self, Durability, Durable, LogWriter, PendingSync, StorageError, SyncFor};
use crate::units::{Offset, Timestamp, TopicPartition};
use std::collections::BTreeMap;
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

/// A partition that is written to, and what of it is to be synced.
#[derive(Clone)]
struct Synced {
    slot: i32,
    partition: Arc<Partition>,
    pending: Arc<Mutex<PendingSync>>,
    /// Had by the one who syncs it.
    turn: Arc<Mutex<()>>,
}

#[derive(Default)]
struct State {
    /// By slot.
    partitions: BTreeMap<i32, Synced>,
    /// Recovery points that are to be written.
    due: BTreeMap<i32, (Arc<Partition>, Offset)>,
    /// Whether a sync has failed, so that nothing more is acknowledged. Its error is told by the one whose sync it was.
    has_failed: bool,
    /// Bytes appended since the last regular sync began.
    unsynced: u64,
    /// When the first of them were, where no thread watches the time.
    unsynced_since: Option<Timestamp>,
    stop: bool,
}

struct Shared {
    log_dir: LogDir,
    listener: Listener,
    state: Mutex<State>,
    wake: Condvar,
}

/// Syncs the partitions of one topic writer, each known by its [slot](super::topic_writer).
pub(super) struct Syncer {
    shared: Arc<Shared>,
    policy: SyncPolicy,
    /// Of [`SyncPolicy::Every`]. Where the system gives no thread, the writer itself syncs: when the time is up by the next
    /// append, and whenever the input is idle, since then there may be no next append for long.
    /// Ends early when a sync has failed (the outer error) or a recovery point could not be written (the inner one).
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Syncer {
    pub(super) fn start(log_dir: LogDir, policy: SyncPolicy, listener: Listener) -> Self {
        let shared = Arc::new(Shared { log_dir, listener, state: Mutex::default(), wake: Condvar::new() });
        let thread = match policy {
            SyncPolicy::Every(interval) => {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new().spawn(move || shared.sync_regularly(interval)).ok()
            }
            SyncPolicy::Always | SyncPolicy::End | SyncPolicy::Never => None,
        };
        Self { shared, policy, thread }
    }

    pub(super) fn add(&self, slot: i32, partition: &Arc<Partition>, writer: &LogWriter) {
        let (partition, pending) = (Arc::clone(partition), Arc::clone(writer.pending_sync()));
        self.shared.state().partitions.insert(slot, Synced { slot, partition, pending, turn: Arc::default() });
    }

    /// Takes a partition out of those that are synced, since its files are to be given back. What was appended to it is
    /// synced and acknowledged, unless nothing ever is.
    ///
    /// # Errors
    /// When a sync fails, or one has failed before.
    pub(super) fn remove(&self, slot: i32) -> Result<()> {
        let found = self.shared.state().partitions.get(&slot).cloned();
        let Some(it) = found else { return Ok(()) };
        if self.policy != SyncPolicy::Never && !self.shared.settle(&it)? {
            return Err(
                StorageError::PreviousFailure { path: self.shared.log_dir.partition_path(it.partition.id()) }.into()
            );
        }
        self.shared.state().partitions.remove(&slot);
        Ok(())
    }

    /// Notes that a writer has failed: where it was a sync that failed, nothing more is acknowledged.
    pub(super) fn note_failure(&self, writer: &LogWriter) {
        let has_failed = writer.pending_sync().lock().unwrap_or_else(PoisonError::into_inner).has_failed();
        self.shared.state().has_failed |= has_failed;
    }

    /// What writers are to be opened for.
    pub(super) fn durability(&self) -> Durability {
        match self.policy {
            SyncPolicy::Never => Durability::Unsynced,
            SyncPolicy::Always | SyncPolicy::Every(_) | SyncPolicy::End => Durability::Synced,
        }
    }

    /// Before an append: syncs what came before it where that is due and no thread does it.
    pub(super) fn sync_if_due(&self, now: Timestamp) -> Result<()> {
        let (None, SyncPolicy::Every(interval)) = (&self.thread, self.policy) else { return Ok(()) };
        let state = self.shared.state();
        let is_late = |since: Timestamp| now.since(since) >= interval.as_millis() as i128;
        let is_due = state.unsynced >= UNSYNCED_MAX || state.unsynced_since.is_some_and(is_late);
        drop(state);
        if is_due { self.sync_here() } else { Ok(()) }
    }

    fn sync_here(&self) -> Result<()> {
        let mut state = self.shared.state();
        (state.unsynced, state.unsynced_since) = (0, None);
        drop(state);
        self.shared.sync_dirty()?;
        self.shared.write_recovery_points()
    }

    /// Notes that so many bytes were appended.
    pub(super) fn appended(&self, bytes: u64, now: Timestamp) {
        let mut state = self.shared.state();
        let before = state.unsynced;
        state.unsynced += bytes;
        state.unsynced_since.get_or_insert(now);
        if before == 0 || (before < UNSYNCED_MAX && state.unsynced >= UNSYNCED_MAX) {
            self.shared.wake.notify_one();
        }
    }

    /// A place where the input may stand still: everything before it is synced under [`SyncPolicy::Always`].
    pub(super) fn sync_point(&self) -> Result<()> {
        match self.policy {
            SyncPolicy::Always => self.sync_here(),
            SyncPolicy::Every(_) if self.thread.is_none() => self.sync_here(),
            SyncPolicy::Every(_) | SyncPolicy::End | SyncPolicy::Never => Ok(()),
        }
    }

    /// Ends the thread and, unless nothing is ever synced, syncs the rest.
    pub(super) fn finish(&mut self) -> Result<()> {
        self.shared.state().stop = true;
        self.shared.wake.notify_one();
        let beside = match self.thread.take() {
            Some(thread) => thread.join().expect("a panic ends the process")?,
            None => Ok(()),
        };
        if self.policy == SyncPolicy::Never {
            return Ok(());
        }
        self.shared.sync_dirty()?;
        beside?;
        let caught_up = self.shared.catch_up();
        caught_up.and(self.shared.write_recovery_points())
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
            let written = self.sync_dirty().map(|()| self.write_recovery_points());
            if !matches!(written, Ok(Ok(()))) {
                (self.listener)(Event::SyncFailed);
                return written;
            }
        }
    }

    /// Syncs and acknowledges everything, as long as no sync has failed.
    fn sync_dirty(&self) -> Result<()> {
        self.for_each(|it| if pending(it).is_dirty() { self.sync(it, SyncFor::Acknowledgement) } else { Ok(()) })
    }

    /// Syncs what lies too far behind its recovery point to be left so at the end.
    fn catch_up(&self) -> Result<()> {
        self.for_each(|it| if is_far_behind(&pending(it)) { self.sync(it, SyncFor::RecoveryPoint) } else { Ok(()) })
    }

    /// Does something with each partition in its turn, until a sync has failed. Of those whose files may be given back at
    /// any time, no more than one is held on to.
    fn for_each(&self, action: impl Fn(&Synced) -> Result<()>) -> Result<()> {
        let mut next = i32::MIN;
        loop {
            let found = self.state().partitions.range(next..).next().map(|(_, it)| it.clone());
            let Some(it) = found else { return Ok(()) };
            let _turn = it.turn.lock().unwrap_or_else(PoisonError::into_inner);
            if self.state().has_failed {
                return Ok(());
            }
            action(&it)?;
            next = it.slot + 1;
        }
    }

    /// Syncs all of a partition whose files are to be given back, and its recovery point where that lies far behind;
    /// `false` where a sync has failed before.
    fn settle(&self, it: &Synced) -> Result<bool> {
        let _turn = it.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state().has_failed || pending(it).has_failed() {
            return Ok(false);
        }
        let wanted_for = {
            let pending = pending(it);
            match is_far_behind(&pending) {
                true => Some(SyncFor::RecoveryPoint),
                false if pending.is_all_synced() => None,
                false => Some(SyncFor::Acknowledgement),
            }
        };
        if let Some(wanted_for) = wanted_for {
            self.sync(it, wanted_for)?;
        }
        Ok(true)
    }

    /// Syncs a partition, whose turn the caller has, and acknowledges what is durable by that.
    fn sync(&self, it: &Synced, wanted_for: SyncFor) -> Result<()> {
        let durable = make_durable(it, wanted_for).inspect_err(|_| self.state().has_failed = true)?;
        let TopicPartition { topic, partition } = it.partition.id();
        for offsets in &durable.stretches {
            let (base_offset, last_offset) = (Offset(*offsets.start()), Offset(*offsets.end()));
            let stretch = Acknowledged { partition: *partition, base_offset, last_offset };
            (self.listener)(Event::Durable { topic, stretch, input: None });
        }
        if let Some(recovery_point) = durable.recovery_point {
            pending(it).recovery_point_is_due(recovery_point);
            self.state().due.insert(it.slot, (Arc::clone(&it.partition), recovery_point));
        }
        Ok(())
    }

    fn write_recovery_points(&self) -> Result<()> {
        let due = std::mem::take(&mut self.state().due);
        let points = due.values().map(|(partition, through)| (&**partition, *through));
        if due.is_empty() { Ok(()) } else { self.log_dir.raise_recovery_points(points) }
    }
}

fn make_durable(it: &Synced, wanted_for: SyncFor) -> Result<Durable> {
    let active = pending(it).active_base().filter(|_| wanted_for == SyncFor::RecoveryPoint);
    if let Some(active) = active {
        storage::make_indexes_durable(&it.partition.guard()?, active)?;
    }
    Ok(storage::sync_now(&it.pending, wanted_for)?)
}

fn is_far_behind(pending: &PendingSync) -> bool {
    pending.bytes_behind_recovery_point() > RECOVERY_POINT_LAG_MAX && !pending.has_failed()
}

fn pending(partition: &Synced) -> MutexGuard<'_, PendingSync> {
    partition.pending.lock().unwrap_or_else(PoisonError::into_inner)
}
