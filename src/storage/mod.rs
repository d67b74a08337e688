//! Floor 3: one partition.
//!
//! A partition is a folder of segments; a segment is a `.log` of record batches with two sparse indexes beside it. A
//! [`LogView`] is what the log is at one moment, and a [`LogReader`] reads from an offset of it on. A [`PartitionGuard`] is
//! the right to change it: a [`LogWriter`] appends whole batches at the log end offset, [`retention`] removes whole
//! segments from the front, and a [`Compaction`](clean::Compaction) the records that a later one has
//! the key of. [`check`] holds all of it against the rules, [`repair`] mends it.
//!
//! What must stay true:
//! 1. Batches are appended at the end, under the exclusive lock of the partition's folder, and never changed where
//!    they are: a compaction writes closed segments anew beside them, and puts each in place whole. Every file is made,
//!    renamed, removed and cut through a guard, relative to the folder that it holds.
//! 2. The offsets of a segment's batches rise; each lies at or above the segment's base offset.
//! 3. Every segment but the last is whole. The last may end in a batch that is being written, or that a writer left
//!    half written: a reader stops before it, the next writer cuts it.
//! 4. Indexes are derived. An entry is used only after the batch at its place has been looked at: a wrong one can cost
//!    time, never change an answer. The last time entry of a segment below the recovery point is believed to be the last:
//!    indexes are durable before that point passes them.
//! 5. Segments go oldest first, so that what a crash leaves has no hole.
//! 6. What lies below the recovery point is durable: damage there is corruption, never an end.
//!
//! Deliberately absent: a clock (`now` is passed in), a cache between processes, any lock for readers.

mod append_plan;
mod batch_records;
pub mod batches;
pub mod check;
mod checkpoints;
pub mod clean;
pub mod config;
mod cut;
pub mod dump;
pub mod durable_end;
pub mod file_name;
mod guard;
mod index_file;
mod index_rule;
mod known_end;
mod leader_epochs;
mod leftovers;
mod lookup;
mod marks;
mod open_transactions;
mod opening;
mod power_failure;
mod producer_ids;
mod read;
mod read_folder;
mod read_memory;
mod record_buffer;
pub mod records;
pub mod recovery;
pub mod repair;
mod rewrite;
mod scan;
mod segment_writer;
pub mod segments;
pub mod summary;
mod sync;
mod tail;
mod transactions;
mod verbatim;
mod view;
mod writer;

pub use batch_records::BatchRecords;
pub use checkpoints::Checkpoints;
pub use clean::retention;
pub use config::{CleanupPolicy, LogConfig};
pub use cut::{CutSegment, LogCut, SegmentBatches};
pub use guard::PartitionGuard;
pub use known_end::KnownEnd;
pub use leader_epochs::{FIRST_EPOCH, LEADER_EPOCH_FILE, latest_epoch};
pub use marks::unsynced_from;
pub use opening::no_segments;
pub use producer_ids::largest_producer_id;
pub use read::{LogReader, Next};
pub use read_memory::ReadMemory;
pub use records::{Advance, Bounds, OpenTransaction, RecordReader};
pub use recovery::Notice;
pub use rewrite::make_indexes_durable;
pub use segments::Segment;
pub use sync::{Durability, Durable, PendingSync, SyncFor, SyncJob, sync_now};
pub use verbatim::{NewLog, VerbatimLog};
pub use view::LogView;
pub use writer::{Appended, LogWriter, create_empty_log};

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
    /// The partition's folder is not there any more, or another one has its name.
    #[error("the partition {} was deleted", path.display())]
    PartitionDeleted {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody else has changed the log in the middle of a compaction.
    #[error("{} was changed in the meantime: try again", path.display())]
    Changed {
        /// The partition's folder.
        path: PathBuf,
    },
    /// Records of an earlier run were never written to the disk, though the file system took them, and cannot be now.
    #[error(
        "the records of {} from position {position} (offset {offset}) on cannot be made durable: the disk failed when an \
         earlier run wrote them, and does not give them back",
        path.display()
    )]
    NotDurable {
        /// The segment file.
        path: PathBuf,
        /// Where in it.
        position: Position,
        /// The first offset that may be lost.
        offset: Offset,
    },
    /// A batch was built for other limits than the topic has now.
    #[error(
        "a batch of {size} bytes is over the limit of {limit} (the smaller of max.message.bytes and segment.bytes), which \
         was changed while it was made"
    )]
    BatchTooLarge {
        /// Bytes of the batch.
        size: usize,
        /// The limit now.
        limit: usize,
    },
    /// An earlier write or sync failed: what is on disk is not known until the log is opened anew.
    #[error("an earlier write to {} failed; nothing more is written to it", path.display())]
    PreviousFailure {
        /// The partition's folder.
        path: PathBuf,
    },
}

impl StorageError {
    /// Whether it is about what is in one partition, so that others can be dealt with all the same.
    #[must_use]
    pub const fn is_of_a_partition(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Unsupported { .. } | Self::Disk(_))
    }
}

/// What this floor returns.
pub type Result<T> = std::result::Result<T, StorageError>;

/// Adds the place to what a decoder said.
pub(crate) fn at_place(error: FormatError, path: &Path, position: Position, offset: Offset) -> StorageError {
    let (path, what) = (path.to_owned(), error.to_string());
    match error {
        FormatError::Unsupported { .. } | FormatError::TooLarge { .. } => {
            StorageError::Unsupported { path, position, offset, what }
        }
        _ => StorageError::Corrupt { path, position, offset, what },
    }
}
