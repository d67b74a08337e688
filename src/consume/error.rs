//! What can go wrong with reading topics.

use super::RangeEnd;
use crate::disk::DiskError;
use crate::groups::GroupError;
use crate::logdir::LogDirError;
use crate::storage::StorageError;
use crate::units::{Offset, TopicName, TopicPartition};
use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with reading topics.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumeError {
    /// The log dir, one of its partitions or the file system failed.
    #[error(transparent)]
    LogDir(LogDirError),
    /// The group failed.
    #[error(transparent)]
    Group(GroupError),
    /// The output takes no more.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The system cannot wait, or cannot tell how far the reader has come.
    #[error("cannot wait for more records or for the reader of the output")]
    Wait(#[from] io::Error),
    /// A partition is named that the topic does not have.
    #[error("partition {partition}")]
    NoSuchPartition {
        /// The partition.
        partition: i32,
        /// What the topic has.
        source: LogDirError,
    },
    /// An end of the range is given for a partition that the topic does not have.
    #[error("{end}")]
    NoSuchPartitionIn {
        /// Which end.
        end: RangeEnd,
        /// What the topic has.
        source: LogDirError,
    },
    /// One offset for several partitions.
    #[error("{end} {offset} needs one partition")]
    OneOffsetForSeveral {
        /// Which end of the range.
        end: RangeEnd,
        /// The offset.
        offset: i64,
    },
    /// An end of the range is given for a partition that is not read.
    #[error("{end} names partition {partition}, which is not read")]
    PartitionNotRead {
        /// Which end.
        end: RangeEnd,
        /// The partition.
        partition: i32,
    },
    /// A range that ends before it begins.
    #[error("{partition}: the range from {from} to {to} is empty")]
    EmptyRange {
        /// The partition.
        partition: TopicPartition,
        /// Where it begins.
        from: Offset,
        /// Where it ends.
        to: Offset,
    },
    /// An offset or a position is not in the log.
    #[error("{partition}")]
    OutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What was asked for, and what is there.
        source: StorageError,
    },
    /// A compaction has removed records that were to be shown, and what supersedes them has come since.
    #[error(
        "{partition}: {records} newest records were superseded and compacted away while they were read: run it again"
    )]
    Overtaken {
        /// The partition.
        partition: TopicPartition,
        /// How many.
        records: u64,
    },
    /// Positions are to be kept in a folder that was set aside.
    #[error("positions are kept in topics, and {topic} is a folder that was set aside")]
    NoPositionsIn {
        /// The folder.
        topic: TopicName,
    },
    /// A cursor file has positions of other topics only.
    #[error("{} keeps positions of {topic}, and of no topic that is read here", path.display())]
    OtherTopics {
        /// The file.
        path: PathBuf,
        /// One of the topics.
        topic: TopicName,
    },
    /// Positions cannot be kept there, whatever it holds.
    #[error("{} cannot be a cursor file: {what}", path.display())]
    NoCursorFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: &'static str,
    },
    /// A cursor file has the name of a file that brokers write.
    #[error("{} has the name of one of Kafka's own files", path.display())]
    KafkasFile {
        /// The file.
        path: PathBuf,
    },
    /// Positions are kept there by another run.
    #[error("{} is in use by {}", path.display(), pid.map_or("another run".into(), |pid| format!("pid {pid}")))]
    CursorFileInUse {
        /// The file.
        path: PathBuf,
        /// Which run, where the system names it.
        pid: Option<u32>,
    },
    /// A line acknowledges nothing that can be.
    #[error("line {line} of the acknowledgements, {text}: {what}")]
    BadAck {
        /// Which line, from 1.
        line: u64,
        /// What it says.
        text: String,
        /// Why it cannot be.
        what: &'static str,
    },
    /// A file that was to keep a reader's positions holds something else.
    #[error("{} keeps no positions: {what}", path.display())]
    NoPositions {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The result of reading topics.
pub type Result<T> = std::result::Result<T, ConsumeError>;

impl From<LogDirError> for ConsumeError {
    fn from(error: LogDirError) -> Self {
        Self::LogDir(error)
    }
}

impl From<DiskError> for ConsumeError {
    fn from(error: DiskError) -> Self {
        Self::LogDir(error.into())
    }
}

impl From<StorageError> for ConsumeError {
    fn from(error: StorageError) -> Self {
        let StorageError::PartitionDeleted { path } = &error else { return Self::LogDir(error.into()) };
        match deleted_topic(path) {
            Some(topic) => Self::LogDir(LogDirError::TopicDeleted { topic }),
            None => Self::LogDir(error.into()),
        }
    }
}

/// The topic of a partition's folder, or of one that was set aside.
fn deleted_topic(path: &Path) -> Option<TopicName> {
    let folder = path.file_name()?.to_str()?;
    folder.rsplit_once('-').map_or(folder, |(topic, _)| topic).parse().ok()
}

impl ConsumeError {
    /// Whether it is about what is in one partition, so that the others can be read all the same. `roots` are the log dirs.
    pub(super) fn is_of_a_partition<'a>(&self, roots: impl Iterator<Item = &'a Path>) -> bool {
        matches!(self, Self::LogDir(error) if error.is_of_a_partition(roots))
    }
}
