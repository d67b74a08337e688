//! Makes durable what a reader has read, before it keeps a position: a position never outlives its records.

use super::{LogDirs, Result};
use crate::disk::{Access, FileId};
use crate::storage::{self, durable_end, file_name, segments};
use crate::units::{Offset, TopicPartition};
use std::collections::HashMap;
use uuid::Uuid;

/// Below which offset of which folder one reader has made all durable.
#[derive(Debug, Default)]
pub struct DurableBelow(HashMap<TopicPartition, (FileId, Offset)>);

impl DurableBelow {
    /// Makes what comes before `offset` durable, as far as a sync can: returns below which offset it is. What a run of ours
    /// has found durable in this folder is, and what this reader has synced. Else the segments are synced from the one that
    /// holds the recovery point to the one that holds what comes before `offset`, oldest first, and their names. Where a run
    /// is going on or was not ended in order, its mark says from where on a sync of ours proves nothing. A partition that is
    /// gone holds nothing that must stay.
    ///
    /// # Errors
    /// When a segment cannot be synced.
    pub fn raise(
        &mut self,
        log_dirs: &LogDirs,
        partition: &TopicPartition,
        topic_id: Option<Uuid>,
        offset: Offset,
    ) -> Result<Offset> {
        if offset == Offset::ZERO {
            return Ok(Offset::ZERO);
        }
        let Some((log_dir, folder)) = log_dirs.open_folder(partition)? else { return Ok(offset) };
        let offset = storage::unsynced_from(&*folder)?.map_or(offset, |from| from.min(offset));
        let known = self.0.get(partition).filter(|(id, _)| *id == folder.id());
        let known = known.map_or(Offset::ZERO, |(_, through)| *through);
        // What a checkpoint file says may be of a folder that this one is a copy of: there, one segment more is synced.
        if offset <= known.max(durable_end::of_this_folder(&*folder, topic_id)?) {
            return Ok(offset);
        }
        let of_files = log_dir.checkpoint_files().now(partition)?;
        let recovery_point = durable_end::promised(&*folder, topic_id, of_files)?.recovery_point;
        let bases = segments::base_offsets(&*folder)?;
        let first = segments::holding(&bases, recovery_point.max(known));
        for &base in bases.iter().skip(first).filter(|&&base| base < offset) {
            match folder.open(&file_name::segment_name(base, file_name::FileKind::Log), Access::Read) {
                Ok(file) => file.sync()?,
                // What retention has removed holds nothing that must stay.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        folder.sync()?;
        self.0.insert(partition.clone(), (folder.id(), offset));
        Ok(offset)
    }
}
