//! Readers that records are kept for, as far as what deletes records has to know them. Groups are on the floor above.

use super::{LogDirError, Partition};
use crate::disk::FolderLock;
use crate::units::Offset;

/// The reader of a partition that is furthest behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name.
    pub reader: String,
    /// The first offset that it has not read.
    pub from: Offset,
    /// Whether it has kept a position in this partition. One that has none yet begins at the log start offset.
    pub has_position: bool,
}

/// Readers of partitions.
pub trait Readers {
    /// What can go wrong.
    type Error: From<LogDirError>;

    /// The reader that is furthest behind by now in a partition whose log begins at `start`; `None` where nobody reads it.
    ///
    /// # Errors
    /// When the position of a reader cannot be read.
    fn slowest(&mut self, partition: &Partition, start: Offset) -> Result<Option<Unread>, Self::Error>;

    /// Waits until nobody changes a position, and keeps it so for as long as the locks live. To be asked by one who holds the
    /// root lock or the lock of the partition that is read, and no other.
    ///
    /// # Errors
    /// When a lock cannot be taken.
    fn hold(&mut self) -> Result<Vec<FolderLock>, Self::Error>;
}

/// No readers: nothing is kept for anybody.
pub(super) struct Nobody;

impl Readers for Nobody {
    type Error = LogDirError;

    fn slowest(&mut self, _: &Partition, _: Offset) -> Result<Option<Unread>, LogDirError> {
        Ok(None)
    }

    fn hold(&mut self) -> Result<Vec<FolderLock>, LogDirError> {
        Ok(Vec::new())
    }
}
