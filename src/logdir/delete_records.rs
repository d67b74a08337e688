//! Moves log start offsets.
//!
//! First everything up to the log end is made durable, then the row in the checkpoint file is raised, so that a log never
//! ends below its start. A crash leaves the old row or the new. What lies below is hidden at once and removed by retention.
//!
//! Where readers are asked, no row is raised past what one of them has read by then: their positions are read again under the
//! root lock, and with the locks under which positions change ([`Readers::hold`]), which are kept until the row is written. A
//! reader that is set back is seen; or its new position is written after the row, and the writer finds a log start offset past
//! the one that it planned with. Partitions are let go of before: nobody who holds one waits for the root lock, and a holder
//! of a position's lock waits for neither.

use super::checkpoints::CheckpointFile;
use super::unread::Nobody;
use super::{LogDir, LogDirError, Partition, Readers, Result, Topic};
use crate::storage::{self, CleanupPolicy, Durability, LogWriter, StorageError, SyncFor};
use crate::units::{Offset, Timestamp, TopicName};

impl Topic {
    /// Whether its records can be deleted by offset, as [`LogDir::delete_records`] does.
    ///
    /// # Errors
    /// When it is compacted.
    pub fn check_delete_records(&self) -> Result<()> {
        check(&self.name, self.log_config().cleanup_policy)
    }
}

fn check(topic: &TopicName, policy: CleanupPolicy) -> Result<()> {
    if policy.compact && !policy.delete {
        return Err(LogDirError::CompactedTopic { topic: topic.clone() });
    }
    Ok(())
}

impl LogDir {
    /// Moves the log start offset of a partition forward to `offset`, which the caller has found through this handle.
    ///
    /// # Errors
    /// When the topic is compacted or was deleted, the offset lies outside the log, or the disk fails.
    pub fn delete_records(&self, partition: &Partition, offset: Offset, now: Timestamp) -> Result<Offset> {
        let mut start = Offset::ZERO;
        self.delete_records_of([(partition, offset)], now, |_, moved| start = moved)?;
        Ok(start)
    }

    /// Does the same for many partitions, up to the first that is an error, with one write of the checkpoint file: each write
    /// replaces it whole. `on_moved` is called for each partition with its log start offset from now on. Their folders are
    /// let go of.
    ///
    /// # Errors
    /// As [`LogDir::delete_records`]. The partitions before the one with the error are done.
    pub fn delete_records_of<'a>(
        &self,
        targets: impl IntoIterator<Item = (&'a Partition, Offset)>,
        now: Timestamp,
        on_moved: impl FnMut(&Partition, Offset),
    ) -> Result<()> {
        self.delete_records_read(targets, &mut Nobody, now, on_moved)
    }

    /// Does the same up to what readers have read by then, where that is less than an offset that was asked for.
    ///
    /// # Errors
    /// As [`LogDir::delete_records_of`], and when the readers' positions cannot be read.
    pub fn delete_records_read<'a, R: Readers>(
        &self,
        targets: impl IntoIterator<Item = (&'a Partition, Offset)>,
        readers: &mut R,
        now: Timestamp,
        mut on_moved: impl FnMut(&Partition, Offset),
    ) -> Result<(), R::Error> {
        let mut moving = Vec::new();
        let prepared = targets.into_iter().try_for_each(|(partition, offset)| {
            let start = self.prepare(partition, offset, now)?;
            moving.push((partition, offset, start));
            partition.let_go()
        });
        let is_raised = |&&(_, offset, start): &&(&Partition, Offset, Offset)| offset > start;
        if moving.iter().any(|it| is_raised(&it)) {
            let _lock = self.lock_root()?;
            let _held = readers.hold()?;
            for (partition, offset, start) in &mut moving {
                if let Some(unread) = readers.slowest(partition, *start)? {
                    *offset = unread.from.min(*offset);
                }
                partition.let_go()?;
            }
            let raised = moving.iter().filter(is_raised).map(|&(partition, offset, _)| (partition, offset));
            self.raise_locked(CheckpointFile::LogStart, raised)?;
        }
        moving.iter().for_each(|&(partition, offset, start)| on_moved(partition, start.max(offset)));
        Ok(prepared?)
    }

    /// Makes all of a log durable: it must never end below its start after a power failure. Returns where it starts.
    fn prepare(&self, partition: &Partition, offset: Offset, now: Timestamp) -> Result<Offset> {
        let guard = partition.guard()?;
        check(&partition.id().topic, guard.config().cleanup_policy)?;
        let mut writer = LogWriter::open(&guard, Durability::Synced, now)?;
        let start = storage::LogView::of(guard.folder().clone(), guard.checkpoints())?.log_start_offset();
        if offset > writer.log_end_offset() || offset.0 < 0 {
            return Err(LogDirError::Storage(StorageError::OffsetOutOfRange {
                requested: offset,
                log_start_offset: start,
                log_end_offset: writer.log_end_offset(),
            }));
        }
        drop(guard);
        storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        partition.close(&mut writer, now)?;
        Ok(start)
    }
}
