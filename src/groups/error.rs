//! What can go wrong with groups.

use crate::logdir::LogDirError;
use crate::storage::StorageError;
use crate::units::GroupId;

/// What can go wrong with groups.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// The log dir failed.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// There is no such group.
    #[error("there is no group {group}")]
    NotFound {
        /// Its id.
        group: GroupId,
    },
}

impl From<StorageError> for GroupError {
    fn from(error: StorageError) -> Self {
        Self::LogDir(error.into())
    }
}

/// A result on this floor.
pub type Result<T, E = GroupError> = std::result::Result<T, E>;
