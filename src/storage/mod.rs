//! Floor 3: one partition.
//!
//! A partition is a folder of segments; a segment is a `.log` of record batches with two sparse indexes beside it. A
//! [`LogWriter`] appends whole batches at the log end offset, a [`LogReader`] reads them from an offset on, and
//! [`retention`] removes whole segments from the front. [`verify`] holds all of it against the rules, [`repair`] mends it.
//!
//! What must stay true:
//! 1. Batches are appended at the end, under the exclusive lock of the partition's folder, and never changed.
//! 2. The offsets of a segment's batches rise; each lies at or above the segment's base offset.
//! 3. Every segment but the last is whole. The last may end in a batch that is being written, or that a writer left
//!    half written: a reader stops before it, the next writer cuts it.
//! 4. Indexes are derived. An entry is used only after the batch at its place has been looked at: an index can cost
//!    time, never change an answer.
//! 5. Segments go oldest first, so that what a crash leaves has no hole.
//! 6. What lies below the recovery point is durable: damage there is corruption, never an end.
//!
//! Deliberately absent: a clock (`now` is passed in), a cache between processes, any lock for readers.

pub mod append;
mod append_plan;
pub mod batches;
pub mod config;
pub mod dump;
pub mod file_name;
mod index_file;
mod leftovers;
pub mod lookup;
pub mod read;
mod record_buffer;
pub mod records;
pub mod recovery;
pub mod repair;
pub mod retention;
mod scan;
pub mod segments;
pub mod summary;
mod sync;
mod transactions;
pub mod verify;

pub use append::{Appended, Checkpoints, LEADER_EPOCH_FILE, LogWriter, create_empty_log, no_segments};
pub use config::{CleanupPolicy, LogConfig};
pub use read::{LogReader, Next};
pub use records::{Advance, Bounds, RecordReader};
pub use recovery::Notice;
pub use segments::Segment;
pub use sync::{Durable, PendingSync, SyncJob, sync_now};

use crate::disk::DiskError;
use crate::format::FormatError;
use crate::units::{Offset, Position};
use std::path::{Path, PathBuf};

/// What can go wrong with a partition.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes in the log that no writer put there whole.
    #[error("{} is corrupt at position {position} (offset {offset}): {what}", path.display())]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        position: Position,
        /// The offset that was expected there.
        offset: Offset,
        /// What is wrong.
        what: String,
    },
    /// Bytes that are legal but not read by this program.
    #[error("{} at position {position} (offset {offset}): {what}", path.display())]
    Unsupported {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        position: Position,
        /// The offset that was expected there.
        offset: Offset,
        /// What it is.
        what: String,
    },
    /// No such offset in the log.
    #[error(
        "offset {requested} is outside the log, which goes from {log_start_offset} (log start offset) \
         to {log_end_offset} (log end offset)"
    )]
    OffsetOutOfRange {
        /// What was asked for.
        requested: Offset,
        /// The first readable offset.
        log_start_offset: Offset,
        /// The next offset to be given.
        log_end_offset: Offset,
    },
    /// The partition's folder is not there any more, or another one stands in its place.
    #[error("the partition {} was deleted meanwhile", path.display())]
    PartitionDeleted {
        /// The folder.
        path: PathBuf,
    },
    /// A broker has taken the log dir.
    #[error("the log dir is in use by a running Kafka broker")]
    HeldByBroker,
    /// An earlier write or sync failed: what is on disk is not known until the log is opened anew.
    #[error("an earlier write to {} failed; nothing more is written to it", path.display())]
    PreviousFailure {
        /// The partition's folder.
        path: PathBuf,
    },
}

/// What this floor returns.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Adds the place to what a decoder said.
pub(crate) fn at_place(error: FormatError, path: &Path, position: Position, offset: Offset) -> StorageError {
    let (path, what) = (path.to_owned(), error.to_string());
    match error {
        FormatError::Unsupported { .. } => StorageError::Unsupported { path, position, offset, what },
        _ => StorageError::Corrupt { path, position, offset, what },
    }
}
