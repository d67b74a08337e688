//! What of a partition is not durable yet, and making it so.
//!
//! A record is acknowledged only when every segment from the one that holds the recovery point to the active one has
//! been synced, oldest first, whoever wrote it, and the folder if a segment was made: to sync the active one alone is
//! not enough, since recovery drops what follows a torn segment.
//!
//! The writer notes its work in a [`PendingSync`]; anybody, on any thread, takes a [`SyncJob`] from it and runs it.

use super::file_name::{FileKind, segment_name};
use super::marks::Mark;
use super::{PartitionGuard, Result};
use crate::disk::{Access, DiskFile, Folder};
use crate::units::Offset;
use std::ops::RangeInclusive;
use std::sync::Arc;

/// The bytes that are checked in the time that it takes to step from one batch to the next, about.
pub(super) const BATCH_COST_MIN: u64 = 2 << 10;

/// A segment that may hold bytes which are not durable.
#[derive(Clone)]
struct Unsynced {
    base_offset: Offset,
    /// The handle that the active segment is written through, which is the one to learn of a failed write-back; `None` for
    /// a segment that is closed: a log may have more of these than a process has descriptors.
    log: Option<Arc<dyn DiskFile>>,
}

/// How far a writer had synced a log when it gave its files back.
#[derive(Debug, Clone, Copy)]
pub(super) struct SyncedSoFar {
    /// See [`PendingSync::durable`].
    pub(super) durable: Option<Offset>,
    bytes_behind: u64,
    bytes_in_active: u64,
    /// Whether nothing was left to be synced.
    pub(super) is_all: bool,
}

/// What is to be synced for a partition, shared by its writer and whoever syncs.
pub struct PendingSync {
    folder: Arc<dyn Folder>,
    /// From the segment that holds the recovery point to the active one, in the order of their base offsets, without those
    /// that are durable.
    segments: Vec<Unsynced>,
    /// Whether a segment was closed since the last job.
    closed: bool,
    folder_changed: bool,
    /// The stretches of offsets that this writer appended and that are not durable.
    appended: Vec<RangeInclusive<i64>>,
    /// The log end offset when the writer looked last.
    log_end_offset: Offset,
    /// What the next writer would have to check: bytes behind the recovery point, a small batch counted as
    /// [`BATCH_COST_MIN`].
    bytes_behind: u64,
    /// Those of them in the active segment.
    bytes_in_active: u64,
    failed: bool,
    /// All below was made durable by this writer's syncs.
    durable: Option<Offset>,
    /// The mark of this run, once it has appended.
    mark: Option<Arc<Mark>>,
}

/// Whether a writer vouches for what is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// What it appends is synced, with all that is before it.
    Synced,
    /// Syncing is left to the operating system, at rolls as well. After a power failure, a segment may then be torn while
    /// the next one is not: the next writer cuts the log there (see `power_failure.rs`).
    Unsynced,
}

/// What is synced for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncFor {
    /// To acknowledge what was appended. If a segment was closed, the recovery point moves up to the active one.
    Acknowledgement,
    /// To move the recovery point up to the log end. Indexes below it are never rebuilt: the caller has made those of the
    /// active segment durable.
    RecoveryPoint,
}

/// What a [`SyncJob`] has made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Offsets that this writer appended, as stretches of first and last.
    pub stretches: Vec<RangeInclusive<i64>>,
    /// Everything below is durable, whoever wrote it.
    pub through: Offset,
    /// Where the recovery point is due: all below is durable, indexes included.
    pub recovery_point: Option<Offset>,
}

impl PendingSync {
    pub(super) fn new(folder: Arc<dyn Folder>) -> Self {
        Self {
            folder,
            segments: Vec::new(),
            closed: false,
            folder_changed: false,
            appended: Vec::new(),
            log_end_offset: Offset::ZERO,
            bytes_behind: 0,
            bytes_in_active: 0,
            failed: false,
            durable: None,
            mark: None,
        }
    }

    /// Goes on where a writer has given its files back.
    pub(super) fn going_on(folder: Arc<dyn Folder>, synced: SyncedSoFar) -> Self {
        let SyncedSoFar { durable, bytes_behind, bytes_in_active, .. } = synced;
        Self { durable, bytes_behind, bytes_in_active, ..Self::new(folder) }
    }

    /// Notes the active segment of a log that has not changed since.
    pub(super) fn go_on_at(&mut self, base_offset: Offset, log: Arc<dyn DiskFile>, log_end_offset: Offset) {
        self.segments = vec![Unsynced { base_offset, log: Some(log) }];
        self.log_end_offset = log_end_offset;
    }

    /// How far the log is synced.
    pub(super) fn synced(&self) -> SyncedSoFar {
        let has_closed = self.closed || self.segments.len() > 1;
        let is_all =
            !self.is_dirty() && !has_closed && !self.folder_changed && self.durable == Some(self.log_end_offset);
        let (durable, bytes_behind, bytes_in_active) = (self.durable, self.bytes_behind, self.bytes_in_active);
        SyncedSoFar { durable, bytes_behind, bytes_in_active, is_all }
    }

    /// Notes a segment, with its handle if it is the active one: those above it are gone. The process that made a segment
    /// which is new to this writer may have died before the folder was synced, so that is left to be done here.
    pub(super) fn note_segment(&mut self, base_offset: Offset, log: Option<Arc<dyn DiskFile>>) {
        if log.is_some() {
            self.segments.retain(|segment| segment.base_offset <= base_offset);
        }
        match self.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
            Some(known) => {
                // The same name may have been given to another file.
                self.folder_changed |=
                    matches!((&known.log, &log), (Some(known), Some(log)) if !Arc::ptr_eq(known, log));
                known.log = log.or_else(|| known.log.take());
            }
            None => {
                let place = self.segments.partition_point(|segment| segment.base_offset < base_offset);
                if place == self.segments.len() {
                    self.bytes_in_active = 0;
                }
                self.segments.insert(place, Unsynced { base_offset, log });
                self.folder_changed = true;
            }
        }
    }

    /// Notes that the names of all segments noted so far are durable.
    pub(super) fn note_names_durable(&mut self) {
        self.folder_changed = false;
    }

    pub(super) fn are_names_durable(&self) -> bool {
        !self.folder_changed
    }

    /// Notes that a segment is closed, and that its handle has nothing more to tell: what this writer wrote to it is durable,
    /// or never synced.
    pub(super) fn note_closed(&mut self, base_offset: Offset) {
        self.closed = true;
        if let Some(known) = self.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
            known.log = None;
        }
    }

    /// Notes that all of a closed segment is durable, its indexes as well, but for its name.
    pub(super) fn note_durable(&mut self, base_offset: Offset) {
        (self.closed, self.folder_changed) = (true, true);
        self.segments.retain(|segment| segment.base_offset != base_offset);
    }

    /// Forgets all segments except the active one: a run that never syncs has no use for the list, which would only grow.
    pub(super) fn forget_closed(&mut self) {
        self.segments.drain(..self.segments.len().saturating_sub(1));
    }

    pub(super) fn note_end(&mut self, log_end_offset: Offset, bytes: u64) {
        self.log_end_offset = log_end_offset;
        self.bytes_behind += bytes;
        self.bytes_in_active += bytes;
    }

    pub(super) fn note_append(&mut self, base: Offset, last: Offset, cost: u64) {
        match self.appended.last_mut() {
            Some(stretch) if *stretch.end() + 1 == base.0 => *stretch = *stretch.start()..=last.0,
            _ => self.appended.push(base.0..=last.0),
        }
        self.note_end(last.next(), cost);
    }

    /// Sees that this run has its mark before it writes, or vouches for what others have written.
    pub(super) fn make_mark(&mut self, guard: &PartitionGuard) -> Result<()> {
        if self.mark.is_none() {
            let durable = self.durable.unwrap_or_default().max(guard.checkpoints().recovery_point);
            self.mark = Some(Arc::new(Mark::make(guard, durable)?));
        }
        Ok(())
    }

    /// Removes the mark of this run, unless a sync has failed, which the next writer is to learn of.
    pub(super) fn remove_mark(&mut self, guard: &PartitionGuard) -> Result<()> {
        match self.mark.take_if(|_| !self.failed) {
            Some(mark) => mark.remove(guard),
            None => Ok(()),
        }
    }

    pub(super) fn mark(&self) -> Option<&Mark> {
        self.mark.as_deref()
    }

    pub(super) fn take_mark(&mut self) -> Option<Arc<Mark>> {
        self.mark.take()
    }

    /// Whether everything in the log, whoever wrote it, was synced by this writer.
    #[must_use]
    pub fn is_all_synced(&self) -> bool {
        self.synced().is_all
    }

    /// All below this was made durable by this writer's syncs; `None` before the first.
    pub(super) fn durable(&self) -> Option<Offset> {
        self.durable
    }

    /// Takes the result of a job that was taken from here.
    ///
    /// # Errors
    /// The job's.
    pub fn finish(&mut self, done: Result<Durable>) -> Result<Durable> {
        match done {
            Ok(durable) => {
                self.durable = self.durable.max(Some(durable.through));
                Ok(durable)
            }
            Err(error) => {
                self.note_failure();
                Err(error)
            }
        }
    }

    pub(super) fn note_failure(&mut self) {
        self.failed = true;
    }

    /// Whether a write or sync has failed, so that nothing more may be acknowledged.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether this writer has appended anything that is not durable.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.appended.is_empty()
    }

    /// Bytes between the recovery point and the log end, a small batch counted as more than it has.
    #[must_use]
    pub fn bytes_behind_recovery_point(&self) -> u64 {
        self.bytes_behind
    }

    /// Forgets the bytes below a recovery point that is about to be written: at the log end, or where the active segment
    /// begins.
    pub fn recovery_point_is_due(&mut self, recovery_point: Offset) {
        self.bytes_behind = if recovery_point < self.log_end_offset { self.bytes_in_active } else { 0 };
    }

    /// Where the active segment begins; `None` where none is noted.
    #[must_use]
    pub fn active_base(&self) -> Option<Offset> {
        self.segments.last().map(|active| active.base_offset)
    }

    /// Takes what is to be synced. The active segment stays noted, since it goes on. The recovery point is due where a
    /// segment was closed since the last job.
    #[must_use]
    pub fn take(&mut self, wanted_for: SyncFor) -> SyncJob {
        let active = self.segments.last().cloned();
        let active_base = self.active_base();
        let has_closed = std::mem::take(&mut self.closed) || self.segments.len() > 1;
        let segments = std::mem::replace(&mut self.segments, active.into_iter().collect());
        SyncJob {
            folder: Arc::clone(&self.folder),
            // A recovery point is a promise of the indexes as well, and a run may have made one that was missing.
            folder_changed: std::mem::take(&mut self.folder_changed) || wanted_for == SyncFor::RecoveryPoint,
            recovery_point: match wanted_for {
                SyncFor::RecoveryPoint => Some(self.log_end_offset),
                SyncFor::Acknowledgement => active_base.filter(|_| has_closed),
            },
            mark: self.mark.clone(),
            segments,
            stretches: std::mem::take(&mut self.appended),
            through: self.log_end_offset,
        }
    }
}

/// Syncs that are to be done, in order.
pub struct SyncJob {
    folder: Arc<dyn Folder>,
    folder_changed: bool,
    segments: Vec<Unsynced>,
    recovery_point: Option<Offset>,
    mark: Option<Arc<Mark>>,
    stretches: Vec<RangeInclusive<i64>>,
    through: Offset,
}

impl SyncJob {
    /// Does them; the result goes to [`PendingSync::finish`]. After an error nothing of it is durable for certain, and
    /// nothing more is acknowledged.
    ///
    /// # Errors
    /// When a sync fails.
    pub fn run(self) -> Result<Durable> {
        let closed = self.segments.len().saturating_sub(1);
        for (place, segment) in self.segments.iter().enumerate() {
            match &segment.log {
                Some(log) => log.sync()?,
                None => self.sync_file(segment.base_offset, FileKind::Log)?,
            }
            if place < closed {
                self.sync_file(segment.base_offset, FileKind::OffsetIndex)?;
                self.sync_file(segment.base_offset, FileKind::TimeIndex)?;
            }
        }
        if self.folder_changed {
            self.folder.sync()?;
        }
        if let Some(mark) = &self.mark {
            // A mark that cannot be moved forward promises less than is so.
            let _ = mark.write(self.through);
        }
        Ok(Durable { stretches: self.stretches, through: self.through, recovery_point: self.recovery_point })
    }

    /// Syncs a file by name. One that retention has removed holds nothing that must stay.
    fn sync_file(&self, base_offset: Offset, kind: FileKind) -> Result<()> {
        match self.folder.open(&segment_name(base_offset, kind), Access::Read) {
            Ok(file) => Ok(file.sync()?),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Runs the job of a partition and tells its writer of a failure.
///
/// # Errors
/// When a sync fails.
pub fn sync_now(pending: &std::sync::Mutex<PendingSync>, wanted_for: SyncFor) -> Result<Durable> {
    let lock = || pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let job = lock().take(wanted_for);
    let done = job.run();
    lock().finish(done)
}
