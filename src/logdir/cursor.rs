//! A reader's position, kept in a file of its own: where it is to go on, per partition.
//!
//! The text is that of Kafka's offset checkpoints (topic, partition, next offset). It is replaced whole, and only after
//! everything below the positions has been made durable: a position never outlives its records. A crash leaves the old
//! positions or the new.

use super::{LogDir, LogDirError, Result};
use crate::disk::{Access, atomic};
use crate::format::checkpoint::{OffsetCheckpoint, OffsetCheckpointRow};
use crate::storage::{file_name, segments};
use crate::units::{Offset, TopicPartition};
use std::path::Path;

/// A larger file holds no positions.
const SIZE_MAX: usize = 16 << 20;

impl LogDir {
    /// Keeps `positions`, each the offset behind the last record that was read, in `file`. The caller is the only one
    /// that writes it.
    ///
    /// # Errors
    /// When a segment cannot be synced or the file not be written: the old positions are then still there.
    pub fn keep_positions(&self, file: &Path, positions: &[(TopicPartition, Offset)]) -> Result<()> {
        let mut rows = Vec::with_capacity(positions.len());
        for (partition, offset) in positions {
            self.sync_below(partition, *offset)?;
            let topic = partition.topic.as_str().to_owned();
            rows.push(OffsetCheckpointRow { topic, partition: partition.partition, offset: *offset });
        }
        let mut temporary = file.as_os_str().to_owned();
        temporary.push(".tmp");
        let text = OffsetCheckpoint { rows }.print();
        Ok(atomic::replace(&*self.disk, Path::new(&temporary), file, text.as_bytes())?)
    }

    /// The positions that were kept in `file`; `None` where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, holds something else, or is a device or pipe, whose place no file must take.
    pub fn kept_positions(&self, file: &Path) -> Result<Option<Vec<(TopicPartition, Offset)>>> {
        let damaged = |what: String| LogDirError::NoPositions { path: file.to_owned(), what };
        if self.disk.stat(file)?.is_some_and(|stat| !stat.is_file) {
            return Err(damaged("it is no plain file".into()));
        }
        let Some(bytes) = atomic::read_small(&*self.disk, file, SIZE_MAX)? else { return Ok(None) };
        let rows = OffsetCheckpoint::parse(&bytes).map_err(|error| damaged(error.to_string()))?.rows;
        let position = |row: OffsetCheckpointRow| {
            let topic = row.topic.parse().map_err(|error| damaged(format!("{error}")))?;
            Ok((TopicPartition { topic, partition: row.partition }, row.offset))
        };
        rows.into_iter().map(position).collect::<Result<_>>().map(Some)
    }

    /// Syncs the segments from the one that holds the recovery point to the one that holds what comes before `offset`,
    /// oldest first, and their names.
    fn sync_below(&self, partition: &TopicPartition, offset: Offset) -> Result<()> {
        let path = self.partition_path(partition);
        let (recovery_point, _) = self.checkpointed(partition)?;
        let bases = segments::base_offsets(&*self.disk, &path)?;
        let first = segments::holding(&bases, recovery_point);
        for &base in bases.iter().skip(first).filter(|&&base| base < offset) {
            let log = file_name::segment_path(&path, base, file_name::FileKind::Log);
            match self.disk.open(&log, Access::Read) {
                Ok(file) => file.sync()?,
                // What retention has removed holds nothing that must stay.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.disk.open_folder(&path)?.sync()?)
    }
}
