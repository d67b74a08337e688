//! The folder of a partition that is read: which one it is, also while no descriptor holds it.

use super::{Result, StorageError};
use crate::disk::{Disk, FileId, Folder, atomic};
use crate::format::properties::PartitionMetadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const METADATA_FILE: &str = "partition.metadata";
/// The file has two short lines.
const METADATA_SIZE_MAX: usize = 4096;

/// A folder with an identity. While it is open, no other folder can get its inode number. While it is closed, one can:
/// then the topic id tells them apart, where the folder has one.
#[derive(Clone)]
pub(super) struct ReadFolder {
    /// As [`ReadFolder::close`] has read it.
    topic_id: Option<Uuid>,
    state: State,
}

#[derive(Clone)]
enum State {
    Open(Arc<dyn Folder>),
    Closed { disk: Arc<dyn Disk>, path: PathBuf, id: FileId },
}

impl ReadFolder {
    pub(super) fn new(folder: Arc<dyn Folder>) -> Self {
        Self { topic_id: None, state: State::Open(folder) }
    }

    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Whether the path still leads to this folder.
    pub(super) fn is_named(&self) -> Result<bool> {
        Ok(match &self.state {
            State::Open(folder) => folder.is_named()?,
            State::Closed { disk, path, id } => disk.stat(path)?.is_some_and(|stat| stat.id == *id),
        })
    }

    /// Refuses when the path leads to another folder by now, or to none.
    pub(super) fn check(&self) -> Result<()> {
        let path = match &self.state {
            State::Open(folder) => folder.path(),
            State::Closed { path, .. } => path,
        };
        if self.is_named()? { Ok(()) } else { Err(deleted(path)) }
    }

    /// Gives the descriptor back.
    pub(super) fn close(&mut self) -> Result<()> {
        let State::Open(folder) = &self.state else { return Ok(()) };
        // A folder that its path does not lead to could not be opened again.
        self.check()?;
        if self.topic_id.is_none() {
            self.topic_id = topic_id(&**folder)?;
        }
        let (disk, path, id) = (folder.disk(), folder.path().to_owned(), folder.id());
        self.state = State::Closed { disk, path, id };
        Ok(())
    }

    /// Opens the folder again, to keep it open. Refuses another one that has its name.
    pub(super) fn reopen(&mut self) -> Result<()> {
        if !self.is_open() {
            self.state = State::Open(self.opened()?);
        }
        Ok(())
    }

    /// The folder, opened for the caller alone where it is closed. Refuses another one that has its name.
    pub(super) fn opened(&self) -> Result<Arc<dyn Folder>> {
        let (disk, path, id) = match &self.state {
            State::Open(folder) => return Ok(Arc::clone(folder)),
            State::Closed { disk, path, id } => (disk, path, *id),
        };
        let folder = match disk.open_folder(path) {
            Err(error) if error.is_not_found() => return Err(deleted(path)),
            folder => folder?,
        };
        let is_other = |before| Ok::<_, StorageError>(topic_id(&*folder)?.is_some_and(|now| now != before));
        if folder.id() != id || self.topic_id.map_or(Ok(false), is_other)? {
            return Err(deleted(path));
        }
        Ok(folder)
    }
}

/// The error of a partition that is not to be read any more.
fn deleted(path: &Path) -> StorageError {
    StorageError::PartitionDeleted { path: path.to_owned() }
}

/// The topic id in the folder's `partition.metadata`; `None` without the file, as before Kafka 2.8.
fn topic_id(folder: &dyn Folder) -> Result<Option<Uuid>> {
    let bytes = atomic::read_small(folder, METADATA_FILE, METADATA_SIZE_MAX)?;
    Ok(bytes.and_then(|bytes| PartitionMetadata::parse(&bytes).ok()).map(|metadata| metadata.topic_id))
}
