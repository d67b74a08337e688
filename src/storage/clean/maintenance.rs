//! The right to compact a partition, which one process has at a time: a lock on the file `compacting` in its folder.
//!
//! It is made and removed under the guard. While it is held, `compacting-…` are the files of its holder; without it they are
//! what a killed compaction has left, and the next writer removes them. Producers and readers go on all the while.

use crate::disk::{Access, DiskFile};
use crate::storage::file_name::{COMPACTING, is_of_a_compaction};
use crate::storage::{PartitionGuard, Result};
use std::sync::Arc;

/// The right, for as long as it lives.
pub struct Maintenance {
    file: Arc<dyn DiskFile>,
}

impl Maintenance {
    /// Takes it, if nobody has it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin(guard: &PartitionGuard) -> Result<Option<Self>> {
        let file = guard.create(COMPACTING)?;
        if !file.try_lock()? {
            return Ok(None);
        }
        // What a killed one has left is not to be written on.
        remove_those(guard, |name| name != COMPACTING)?;
        file.set_len(0)?;
        Ok(Some(Self { file }))
    }

    /// The file, for what memory has no room for.
    #[must_use]
    pub fn scratch(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Gives it back, and removes every file of the compaction.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn end(self, guard: &PartitionGuard) -> Result<()> {
        remove_files(guard)
    }
}

/// Removes what a compaction has left that was killed; the files of one that is going on stay.
pub(in crate::storage) fn remove_leftovers(guard: &PartitionGuard, names: &[String]) -> Result<()> {
    if !names.iter().any(|name| is_of_a_compaction(name)) {
        return Ok(());
    }
    match guard.folder().open(COMPACTING, Access::Read) {
        Ok(file) if !file.try_lock()? => Ok(()),
        Ok(_) => remove_files(guard),
        Err(error) if error.is_not_found() => remove_files(guard),
        Err(error) => Err(error.into()),
    }
}

fn remove_files(guard: &PartitionGuard) -> Result<()> {
    // The file that is locked goes last: as long as it is there, the others are known to be left.
    remove_those(guard, |name| name != COMPACTING)?;
    guard.remove(COMPACTING)
}

fn remove_those(guard: &PartitionGuard, is_meant: impl Fn(&str) -> bool) -> Result<()> {
    let entries = guard.folder().list()?;
    let names = entries.into_iter().map(|entry| entry.name).filter(|name| is_of_a_compaction(name) && is_meant(name));
    names.collect::<Vec<_>>().iter().try_for_each(|name| guard.remove(name))
}
