//! What can go wrong with exports and imports.

use crate::groups::GroupError;
use crate::logdir::LogDirError;
use crate::storage::StorageError;
use crate::units::{TopicName, TopicPartition};
use std::io;

/// What can go wrong with exports and imports.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The log dir, one of its partitions or the file system failed.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// The offsets of groups cannot be read.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The output takes no more.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The input cannot be read.
    #[error("cannot read the input")]
    Input(#[source] io::Error),
    /// It was to stop.
    #[error("interrupted")]
    Stopped,
    /// The start of a slice is not in the log.
    #[error("{partition}")]
    Start {
        /// The partition.
        partition: TopicPartition,
        /// The range of its log.
        source: StorageError,
    },
    /// A topic of several partitions needs an offset for each.
    #[error("topic {topic} has {partitions} partitions: give each its offset, as in 0:100,1:250")]
    OffsetOfWhich {
        /// The topic.
        topic: TopicName,
        /// How many it has.
        partitions: usize,
    },
    /// A folder that was set aside is not a topic.
    #[error("{folder} is a partition folder that was set aside, not a topic")]
    SetAside {
        /// The folder.
        folder: TopicName,
    },
    /// The input is not a tar file of kdir export.
    #[error("the input is not a file of kdir export: {what}")]
    NotAnExport {
        /// What shows it.
        what: String,
    },
    /// The input is compressed.
    #[error("the input is compressed with {program}")]
    Compressed {
        /// What decompresses it.
        program: &'static str,
    },
    /// The file is of a later format.
    #[error("the input has format version {version}, and this kdir reads up to {known}")]
    Newer {
        /// Its version.
        version: u32,
        /// The latest known.
        known: u32,
    },
    /// The input ends too early.
    #[error("the input is truncated: it ends {place} {member}; nothing was imported")]
    Truncated {
        /// `in` or `after`.
        place: &'static str,
        /// The last member of which something is there.
        member: String,
    },
    /// A member is not what it was when it was exported.
    #[error("{member} in the input was altered: {what}; nothing was imported")]
    Altered {
        /// The member.
        member: String,
        /// What is wrong with it.
        what: String,
    },
    /// A topic is not in the file.
    #[error("topic {topic} is not in the input, which has {}", shown(topics))]
    NotInFile {
        /// The topic.
        topic: TopicName,
        /// Those that are.
        topics: Vec<TopicName>,
    },
    /// One name cannot be that of several topics.
    #[error("one name for {} topics: {}", topics.len(), shown(topics))]
    OneNameForSeveral {
        /// Those that are to be imported.
        topics: Vec<TopicName>,
    },
}

fn shown(topics: &[TopicName]) -> String {
    topics.iter().map(TopicName::to_string).collect::<Vec<_>>().join(", ")
}

impl From<StorageError> for ArchiveError {
    fn from(error: StorageError) -> Self {
        Self::LogDir(error.into())
    }
}

impl ArchiveError {
    pub(super) fn altered(member: &str, what: impl Into<String>) -> Self {
        Self::Altered { member: member.to_owned(), what: what.into() }
    }
}

/// What this module returns.
pub type Result<T, E = ArchiveError> = std::result::Result<T, E>;
