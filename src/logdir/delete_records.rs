//! Moves log start offsets.
//!
//! First everything up to the log end is made durable, then the row in the checkpoint file is raised, so that a log never
//! ends below its start. A crash leaves the old row or the new. What lies below is hidden at once and removed by retention.

use super::checkpoints::CheckpointFile;
use super::{LogDir, LogDirError, Result, Topic};
use crate::storage::{self, StorageError};
use crate::units::{Offset, TopicPartition};

impl LogDir {
    /// Moves the log start offset of a partition forward to `offset`, which is durable.
    ///
    /// # Errors
    /// When the topic is compacted, the offset lies outside the log, or the disk fails.
    pub fn delete_records(&self, topic: &Topic, partition: i32, offset: Offset, now_ms: i64) -> Result<Offset> {
        let policy = topic.log_config().cleanup_policy;
        if policy.compact && !policy.delete {
            return Err(LogDirError::CompactedTopic { topic: topic.name.clone() });
        }
        let mut writer = self.open_writer(topic, partition, now_ms)?;
        let partition = topic.partition(partition)?;
        let start = self.log_start_offset(&partition)?;
        if offset > writer.log_end_offset() || offset.0 < 0 {
            return Err(LogDirError::Storage(StorageError::OffsetOutOfRange {
                requested: offset,
                log_start_offset: start,
                log_end_offset: writer.log_end_offset(),
            }));
        }
        // The log must never end below its start after a power failure.
        storage::sync_now(writer.pending_sync())?;
        writer.close(now_ms)?;
        if offset > start {
            self.raise(CheckpointFile::LogStart, &partition, writer.folder_id(), offset)?;
        }
        Ok(start.max(offset))
    }

    fn log_start_offset(&self, partition: &TopicPartition) -> Result<Offset> {
        let checkpointed = self.offset_rows(CheckpointFile::LogStart)?.get(partition);
        let bases = storage::segments::base_offsets(&*self.disk, &self.partition_path(partition))?;
        Ok(bases.first().map_or(checkpointed, |&first| first.max(checkpointed)))
    }
}
