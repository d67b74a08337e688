//! What of a partition is not durable yet, and making it so.
//!
//! A record is acknowledged only when every segment from the one that holds the recovery point to the active one has
//! been synced, oldest first, whoever wrote it, and the folder if a segment was made: to sync the active one alone is
//! not enough, since recovery drops what follows a torn segment.
//!
//! The writer notes its work in a [`PendingSync`]; anybody, on any thread, takes a [`SyncJob`] from it and runs it.

use super::Result;
use super::file_name::{FileKind, segment_path};
use crate::disk::{Access, Disk, DiskFile, Folder};
use crate::units::Offset;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

/// The bytes that are checked in the time that it takes to step from one batch to the next, about.
pub(super) const BATCH_COST_MIN: u64 = 2 << 10;

/// A segment that may hold bytes which are not durable.
#[derive(Clone)]
struct Unsynced {
    base_offset: Offset,
    /// The handle that was written through, which is the one to learn of a failed write-back; `None` for a segment that
    /// another process wrote.
    log: Option<Arc<dyn DiskFile>>,
}

/// What is to be synced for a partition, shared by its writer and whoever syncs.
pub struct PendingSync {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    folder: Arc<dyn Folder>,
    /// From the segment that holds the recovery point to the active one, in the order of their base offsets.
    segments: Vec<Unsynced>,
    folder_changed: bool,
    /// The stretches of offsets that this writer appended and that are not durable.
    appended: Vec<RangeInclusive<i64>>,
    /// The log end offset when the writer looked last.
    log_end_offset: Offset,
    /// What the next writer would have to check: bytes behind the recovery point, a small batch counted as
    /// [`BATCH_COST_MIN`].
    bytes_behind: u64,
    failed: bool,
}

/// What a [`SyncJob`] has made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durable {
    /// Offsets that this writer appended, as stretches of first and last.
    pub stretches: Vec<RangeInclusive<i64>>,
    /// Everything below is durable, whoever wrote it.
    pub through: Offset,
    /// Whether a segment was closed since the last job, so that the recovery point is due.
    pub rolled: bool,
}

impl PendingSync {
    pub(super) fn new(disk: Arc<dyn Disk>, path: PathBuf, folder: Arc<dyn Folder>) -> Self {
        Self {
            disk,
            path,
            folder,
            segments: Vec::new(),
            folder_changed: false,
            appended: Vec::new(),
            log_end_offset: Offset::ZERO,
            bytes_behind: 0,
            failed: false,
        }
    }

    /// Notes a segment; the one with the highest base offset is the active one. Whoever made a segment that is new to this
    /// writer may have died before the folder was synced, so that is left to be done here.
    pub(super) fn note_segment(&mut self, base_offset: Offset, log: Option<Arc<dyn DiskFile>>) {
        match self.segments.iter_mut().find(|segment| segment.base_offset == base_offset) {
            Some(known) => known.log = log.or_else(|| known.log.take()),
            None => {
                let place = self.segments.partition_point(|segment| segment.base_offset < base_offset);
                self.segments.insert(place, Unsynced { base_offset, log });
                self.folder_changed = true;
            }
        }
    }

    pub(super) fn note_end(&mut self, log_end_offset: Offset, bytes: u64) {
        self.log_end_offset = log_end_offset;
        self.bytes_behind += bytes;
    }

    pub(super) fn note_append(&mut self, base: Offset, last: Offset, cost: u64) {
        match self.appended.last_mut() {
            Some(stretch) if *stretch.end() + 1 == base.0 => *stretch = *stretch.start()..=last.0,
            _ => self.appended.push(base.0..=last.0),
        }
        self.note_end(last.next(), cost);
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

    /// Forgets the bytes behind the recovery point: it has been written.
    pub fn recovery_point_written(&mut self) {
        self.bytes_behind = 0;
    }

    /// Takes what is to be synced. The active segment stays noted, since it goes on.
    #[must_use]
    pub fn take(&mut self) -> SyncJob {
        let active = self.segments.last().cloned();
        let segments = std::mem::replace(&mut self.segments, active.into_iter().collect());
        SyncJob {
            disk: Arc::clone(&self.disk),
            path: self.path.clone(),
            folder: std::mem::take(&mut self.folder_changed).then(|| Arc::clone(&self.folder)),
            rolled: segments.len() > 1,
            segments,
            stretches: std::mem::take(&mut self.appended),
            through: self.log_end_offset,
        }
    }
}

/// Syncs that are to be done, in order.
pub struct SyncJob {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    folder: Option<Arc<dyn Folder>>,
    segments: Vec<Unsynced>,
    rolled: bool,
    stretches: Vec<RangeInclusive<i64>>,
    through: Offset,
}

impl SyncJob {
    /// Does them. After an error nothing of it is durable for certain: the writer is to be told
    /// ([`PendingSync::has_failed`]) and nothing more acknowledged.
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
            // The recovery point is about to pass a closed segment: nobody rebuilds its indexes after that.
            if place < closed {
                self.sync_file(segment.base_offset, FileKind::OffsetIndex)?;
                self.sync_file(segment.base_offset, FileKind::TimeIndex)?;
            }
        }
        if let Some(folder) = &self.folder {
            folder.sync()?;
        }
        Ok(Durable { stretches: self.stretches, through: self.through, rolled: self.rolled })
    }

    /// Syncs a file by name. One that retention has removed holds nothing that must stay.
    fn sync_file(&self, base_offset: Offset, kind: FileKind) -> Result<()> {
        match self.disk.open(&segment_path(&self.path, base_offset, kind), Access::Read) {
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
pub fn sync_now(pending: &std::sync::Mutex<PendingSync>) -> Result<Durable> {
    let lock = || pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let job = lock().take();
    job.run().inspect_err(|_| lock().note_failure())
}
