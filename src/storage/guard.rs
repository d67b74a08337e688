//! The right to change a partition.
//!
//! Every file of a partition is made, renamed, removed and cut through a [`PartitionGuard`], relative to the folder that is
//! locked: another folder of the same name, as a topic that was deleted and created again has it, cannot be meant.

use super::config::LogConfig;
use super::{Checkpoints, Result};
use crate::disk::{Access, DiskFile, Folder, FolderLock, atomic};
use std::sync::Arc;

/// A partition's folder, locked and known to be the right one, with what was in force when it was locked.
pub struct PartitionGuard {
    lock: FolderLock,
    config: Arc<LogConfig>,
    checkpoints: Checkpoints,
}

impl PartitionGuard {
    /// The guard of a folder that is locked. The caller has checked, under this lock, that the folder is the partition's,
    /// and has read configuration and checkpoints since.
    #[must_use]
    pub fn new(lock: FolderLock, config: Arc<LogConfig>, checkpoints: Checkpoints) -> Self {
        Self { lock, config, checkpoints }
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Arc<dyn Folder> {
        self.lock.folder()
    }

    /// The topic's configuration.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// What the checkpoint files and the [end of the last run](super::durable_end) promise of the partition.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        self.checkpoints
    }

    /// Opens a file to write, making it where it is missing.
    pub(super) fn create(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.folder().open(name, Access::Create)?)
    }

    /// Makes a new file; an error where there is one of that name.
    pub(super) fn create_new(&self, name: &str) -> Result<Arc<dyn DiskFile>> {
        Ok(self.folder().open(name, Access::New)?)
    }

    /// Renames a file.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<()> {
        Ok(self.folder().rename(from, to)?)
    }

    /// Removes a file; one that is gone is removed.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        match self.folder().remove_file(name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Replaces a small file whole, and makes its name durable.
    ///
    /// # Errors
    /// When the disk fails: the old file is then still there.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(atomic::replace(&**self.folder(), &format!("{name}.tmp"), name, bytes)?)
    }

    /// The same, without making the name durable.
    ///
    /// # Errors
    /// When the disk fails: the old file is then still there.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(atomic::put(&**self.folder(), &format!("{name}.tmp"), name, bytes)?)
    }

    /// Keeps a damaged file under another name and replaces it: see [`replace_damaged`](super::repair::replace_damaged).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace_damaged(&self, name: &str, bytes: &[u8]) -> Result<()> {
        super::repair::replace_damaged(&self.lock, name, bytes)
    }
}
