//! A log that is written as it was read elsewhere: whole segments, byte for byte, in a folder that nobody reads yet.
//!
//! The indexes are not copied: they are rebuilt from the batches, which checks each of them on the way. Only after
//! [`VerbatimLog::finish`] is anything of it known to be right or durable.

use super::file_name::{FileKind, parse_segment_name, segment_name};
use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::{
    Durability, LEADER_EPOCH_FILE, LogWriter, PartitionGuard, Result, StorageError, SyncFor, create_empty_log,
    durable_end, rewrite, sync_now,
};
use crate::disk::DiskFile;
use crate::format::checkpoint::LeaderEpochCheckpoint;
use crate::units::{Offset, Position, Timestamp};
use std::sync::Arc;
use uuid::Uuid;

/// The log of a partition that is being made. Its guard has the log start offset, and no recovery point.
pub struct VerbatimLog<'a> {
    guard: &'a PartitionGuard,
}

/// The `.log` of a segment that is being written.
pub struct NewLog {
    file: Arc<dyn DiskFile>,
    size: u64,
}

impl NewLog {
    /// Adds bytes.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Gives it the time that the original was changed last, by which retention goes where records have no timestamps.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn close(self, modified: Timestamp) -> Result<()> {
        Ok(self.file.set_modified(modified.0)?)
    }
}

impl<'a> VerbatimLog<'a> {
    /// The log in the folder of a guard.
    #[must_use]
    pub fn new(guard: &'a PartitionGuard) -> Self {
        Self { guard }
    }

    /// Begins a segment.
    ///
    /// # Errors
    /// When there is one of that base offset, or the disk fails.
    pub fn begin_segment(&self, base_offset: Offset) -> Result<NewLog> {
        Ok(NewLog { file: self.guard.create_new(&segment_name(base_offset, FileKind::Log))?, size: 0 })
    }

    /// Whether a file of this name can be put beside the segments.
    #[must_use]
    pub fn is_side_file(name: &str) -> bool {
        matches!(parse_segment_name(name), Some((_, FileKind::TransactionIndex | FileKind::Snapshot)))
    }

    /// Puts a small file beside the segments, one that [is such](Self::is_side_file).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn put_side_file(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.guard.put(name, bytes)
    }

    /// Puts the leader epochs in place.
    ///
    /// # Errors
    /// When the text is damaged, or the disk fails.
    pub fn put_leader_epochs(&self, text: &[u8]) -> Result<()> {
        let path = self.guard.folder().path().join(LEADER_EPOCH_FILE);
        let parsed = LeaderEpochCheckpoint::parse(text);
        let checkpoint = parsed.map_err(|error| super::at_place(error, &path, Position::ZERO, Offset::ZERO))?;
        self.guard.put(LEADER_EPOCH_FILE, checkpoint.print().as_bytes())
    }

    /// Whether offsets are missing, as compaction leaves them: a batch begins above the end of the one before it, or is a
    /// compressed one of an old format, whose header does not tell where it begins. Reads the headers up to there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn may_have_gaps(&self) -> Result<bool> {
        let folder = &**self.guard.folder();
        let mut expected = None;
        for base in super::segments::base_offsets(folder)? {
            let Some(log) = super::segments::open_log(folder, base)? else { continue };
            let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
            let mut next = expected.unwrap_or(base);
            // What is no batch is found when all of it is checked.
            while let Step::Batch(header) = scanner.step()? {
                if !header.has_first_offset() || header.base_offset > next {
                    return Ok(true);
                }
                next = header.next_offset();
                scanner.pass(&header);
            }
            expected = Some(next);
        }
        Ok(false)
    }

    /// Checks every batch, builds the indexes and makes all of it durable, but for the name of the folder.
    ///
    /// # Errors
    /// When the log does not end at `log_end_offset` after a whole batch, is corrupt, or the disk fails.
    pub fn finish(&self, topic_id: Uuid, log_end_offset: Offset, now: Timestamp) -> Result<()> {
        if super::segments::base_offsets(&**self.guard.folder())?.is_empty() {
            create_empty_log(self.guard, self.guard.checkpoints().log_start_offset)?;
        }
        let mut writer = LogWriter::open(self.guard, Durability::Synced, now)?;
        if writer.log_end_offset() != log_end_offset || !writer.take_notices().is_empty() {
            let path = self.guard.folder().path().to_owned();
            let (offset, what) = (writer.log_end_offset(), format!("the log ends here, and not at {log_end_offset}"));
            return Err(StorageError::Corrupt { path, position: Position::ZERO, offset, what });
        }
        let active_base = super::segments::base_offsets(&**self.guard.folder())?.last().copied();
        // Everything below the recovery point to be is durable, the indexes as well.
        active_base.map_or(Ok(()), |base| rewrite::make_indexes_durable(self.guard, base))?;
        sync_now(writer.pending_sync(), SyncFor::RecoveryPoint)?;
        writer.close(self.guard, now)?;
        durable_end::begin(self.guard, Some(topic_id))?;
        Ok(self.guard.folder().sync()?)
    }
}
