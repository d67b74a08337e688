//! The end of a log as a writer knew it that has given its files back, so that it can go on without looking for it.
//!
//! Whoever writes to more partitions than it has descriptors for closes some of them for a time. Others may change the log
//! in between, so the knowledge is used only where the active segment has the same file and size, its indexes the same
//! entries, and no segment follows; and only where this writer had synced all of it, or never syncs. Otherwise the end is
//! looked for again, from what this writer has made durable on: what others have written since is vouched for by no
//! descriptor of this run.

use super::append_plan::SegmentEnd;
use super::file_name::{FileKind, segment_name};
use super::lookup::Indexes;
use super::opening::Opening;
use super::recovery::Notice;
use super::segment_writer::{IndexEntries, SegmentWriter};
use super::segments::OpenLog;
use super::sync::{Durability, PendingSync, SyncedSoFar};
use super::{PartitionGuard, Result, StorageError};
use crate::disk::{Access, FileId};
use crate::units::{Offset, Position, Timestamp};

/// What a [`LogWriter`](super::LogWriter) knows of its log while it has no file open.
#[derive(Debug)]
pub struct KnownEnd {
    /// Of the active segment.
    pub(super) base_offset: Offset,
    /// Its `.log`.
    pub(super) id: FileId,
    /// When this writer first saw it.
    pub(super) since: Timestamp,
    pub(super) end: SegmentEnd,
    /// How many entries its offset index and its time index have.
    pub(super) entries: (usize, usize),
    pub(super) leader_epoch: i32,
    pub(super) durability: Durability,
    pub(super) synced: SyncedSoFar,
    /// The mark that is left in the folder, since what was appended is not durable.
    pub(super) mark: Option<String>,
}

impl KnownEnd {
    /// The active segment, opened again; `None` where the log is not as it was.
    pub(super) fn unchanged(&self, guard: &PartitionGuard) -> Result<Option<SegmentWriter>> {
        if self.durability == Durability::Synced && !self.synced.is_all {
            return Ok(None);
        }
        let (folder, base, end) = (&**guard.folder(), self.base_offset, self.end);
        if end.next_offset > base && folder.stat(&segment_name(end.next_offset, FileKind::Log))?.is_some() {
            return Ok(None);
        }
        let log = match OpenLog::open(folder, base, Access::Write) {
            Err(StorageError::Disk(error)) if error.is_not_found() => return Ok(None),
            log => log?,
        };
        let stat = log.file.stat()?;
        if (stat.id, stat.size) != (self.id, end.size) {
            return Ok(None);
        }
        let indexes = Indexes::open(folder, base, Access::Create)?;
        let (offset, time) = (&indexes.offset, &indexes.time);
        let is_same = (offset.count(), time.count()) == self.entries && offset.is_trimmed()? && time.is_trimmed()?;
        Ok(is_same.then_some(SegmentWriter { log, indexes, end, index_entries: IndexEntries::Found }))
    }

    /// Finds the end of a log that is not as it was.
    pub(super) fn find_end(
        &self,
        guard: &PartitionGuard,
        pending: &mut PendingSync,
        notices: &mut Vec<Notice>,
    ) -> Result<SegmentWriter> {
        let certain = certain(self.durability, self.synced.durable, self.end.next_offset);
        let opening = Opening { guard, durability: self.durability, rewrite_from: None };
        let active = opening.check_active(certain, None, pending, notices)?;
        refuse_shorter(guard, active, certain)
    }
}

/// Everything below is in the log for certain, unless it was cut on purpose, where a writer has made it durable up to one
/// offset and knows that it ended at another.
pub(super) fn certain(durability: Durability, durable: Option<Offset>, end: Offset) -> Offset {
    match durability {
        Durability::Synced => durable.unwrap_or_default(),
        Durability::Unsynced => end,
    }
}

/// Refuses a log that has lost what was certain, or what is promised: its offsets would be given again.
pub(super) fn refuse_shorter(guard: &PartitionGuard, active: SegmentWriter, certain: Offset) -> Result<SegmentWriter> {
    let (end, checkpoints) = (active.end, guard.checkpoints());
    let what = if end.next_offset < certain {
        format!("the log ends before offset {certain}, up to which this run has written it")
    } else if checkpoints.promise_more_than(end.next_offset) {
        format!("the log ends here, and {}", checkpoints.promise())
    } else {
        return Ok(active);
    };
    Err(StorageError::Corrupt { path: active.log.path, position: Position(end.size), offset: end.next_offset, what })
}
