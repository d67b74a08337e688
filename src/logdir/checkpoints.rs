//! The offset checkpoint files at the root: one row a partition, replaced whole under the root lock.
//!
//! A crash while one is written leaves the old file or the new; the temporary one is overwritten by the next writer.

use super::{LogDirError, Result};
use crate::disk::{Disk, atomic};
use crate::format::FormatError;
use crate::format::checkpoint::{OffsetCheckpoint, OffsetCheckpointRow};
use crate::units::{Offset, TopicName, TopicPartition};
use std::path::Path;

/// A checkpoint file larger than this is no checkpoint file: room for some 200 000 partitions of the longest names.
pub(super) const SIZE_MAX: usize = 64 << 20;

/// Which checkpoint file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CheckpointFile {
    RecoveryPoint,
    LogStart,
    HighWatermark,
    Cleaner,
}

impl CheckpointFile {
    pub(super) const ALL: [Self; 4] = [Self::RecoveryPoint, Self::LogStart, Self::HighWatermark, Self::Cleaner];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::RecoveryPoint => "recovery-point-offset-checkpoint",
            Self::LogStart => "log-start-offset-checkpoint",
            Self::HighWatermark => "replication-offset-checkpoint",
            Self::Cleaner => "cleaner-offset-checkpoint",
        }
    }
}

/// The rows of one file.
#[derive(Debug, Default)]
pub(super) struct OffsetRows(OffsetCheckpoint);

impl OffsetRows {
    /// Reads a file; one that is missing has no rows.
    pub(super) fn read(disk: &dyn Disk, root: &Path, file: CheckpointFile) -> Result<Self> {
        let path = root.join(file.name());
        let Some(bytes) = atomic::read_small(disk, &path, SIZE_MAX)? else { return Ok(Self::default()) };
        let rows = OffsetCheckpoint::parse(&bytes);
        rows.map(Self).map_err(|error| {
            let what = error.to_string();
            match error {
                FormatError::Unsupported { .. } => LogDirError::NewerFile { path, what },
                _ => LogDirError::DamagedFile { path, what },
            }
        })
    }

    /// The offset of a partition; 0 without a row.
    pub(super) fn get(&self, partition: &TopicPartition) -> Offset {
        let row = self.0.rows.iter().find(|row| is_of(row, partition));
        row.map_or(Offset::ZERO, |row| row.offset)
    }

    /// Raises the offset of a partition; `false` where it was as high already.
    pub(super) fn raise(&mut self, partition: &TopicPartition, offset: Offset) -> bool {
        match self.0.rows.iter_mut().find(|row| is_of(row, partition)) {
            Some(row) if row.offset >= offset => return false,
            Some(row) => row.offset = offset,
            None => self.0.rows.push(OffsetCheckpointRow {
                topic: partition.topic.as_str().to_owned(),
                partition: partition.partition,
                offset,
            }),
        }
        true
    }

    /// Forgets a topic; `false` where it had no row.
    pub(super) fn remove_topic(&mut self, topic: &TopicName) -> bool {
        let before = self.0.rows.len();
        self.0.rows.retain(|row| row.topic != topic.as_str());
        self.0.rows.len() != before
    }

    /// Replaces the file. The caller holds the root lock.
    pub(super) fn write(&self, disk: &dyn Disk, root: &Path, file: CheckpointFile) -> Result<()> {
        let temporary = root.join(format!("{}.tmp", file.name()));
        Ok(atomic::replace(disk, &temporary, &root.join(file.name()), self.0.print().as_bytes())?)
    }
}

fn is_of(row: &OffsetCheckpointRow, partition: &TopicPartition) -> bool {
    row.partition == partition.partition && row.topic == partition.topic.as_str()
}
