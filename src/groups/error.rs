//! What can go wrong with groups.

use super::GroupKind;
use crate::logdir::LogDirError;
use crate::storage::StorageError;
use crate::units::{GroupId, Offset, TopicName, TopicPartition};
use std::path::PathBuf;

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
    /// Members of the group are alive.
    #[error("{group} has members: {}", members.join(", "))]
    HasMembers {
        /// Its id.
        group: GroupId,
        /// What they say of themselves.
        members: Vec<String>,
    },
    /// The file that members of a group find each other by was removed.
    #[error("{} was removed while a member of the group runs: others do not see it any more", path.display())]
    LockFileRemoved {
        /// Where it was.
        path: PathBuf,
    },
    /// Locks in the log dir may not reach all members.
    #[error("{} is on {file_system}, where members on other machines may not see each other", path.display())]
    SharedFileSystem {
        /// The lock file of the group.
        path: PathBuf,
        /// What it is on.
        file_system: &'static str,
    },
    /// Another member of the group has a partition.
    #[error("{partition} is read by another member of {group}: {}", members.join(", "))]
    HasOwner {
        /// The id of the group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// What the others say of themselves.
        members: Vec<String>,
    },
    /// Members are kept out, since what the group has committed is just being changed.
    #[error("{group} is just being reset or deleted")]
    IsReset {
        /// Its id.
        group: GroupId,
    },
    /// The id is that of another kind of group, and one id is one kind: a broker would give up all groups of the partition.
    #[error("{group} is a {} group, and no group of consumers", kind.name().to_lowercase())]
    OtherKind {
        /// Its id.
        group: GroupId,
        /// Which kind.
        kind: GroupKind,
    },
    /// The id is that of another kind of group, and one id is one kind: a broker would give up all groups of the partition.
    #[error("{group} is a {} group; a work queue needs a group of its own", kind.name().to_lowercase())]
    NoShareGroup {
        /// Its id.
        group: GroupId,
        /// Which kind.
        kind: GroupKind,
    },
    /// The state of a work queue was deleted while it was worked.
    #[error("the state of the group {group} was deleted while it was worked")]
    StateGone {
        /// Its id.
        group: String,
    },
    /// A broker owns the log dir that does not have share groups, or not yet: it would delete what is written of them, or give
    /// up other groups.
    #[error("{} belongs to a broker without share groups: {why}", log_dir.display())]
    NoShareGroupsHere {
        /// The log dir.
        log_dir: PathBuf,
        /// What shows it.
        why: String,
        /// Whether it makes what is missing when its first share group begins.
        is_new: bool,
    },
    /// What is written of a work queue is of a topic by its id, and topics of before Kafka 2.8 have none.
    #[error("{topic} has no topic id")]
    NoTopicId {
        /// The topic.
        topic: TopicName,
    },
    /// Another worker makes the first states of a work queue, and takes longer than it can.
    #[error("another worker has begun with this group and has not ended: {}", path.display())]
    IsBegun {
        /// The lock file of the group.
        path: PathBuf,
    },
    /// A handler of a queue still runs, whose worker has died.
    #[error("{} still handles offset {offset} of {partition} for {group}", handler(*pid))]
    IsClaimed {
        /// The id of the group.
        group: GroupId,
        /// The partition.
        partition: TopicPartition,
        /// The record that it handles.
        offset: Offset,
        /// The process, where that was written down.
        pid: Option<u32>,
    },
    /// A group has begun to read a topic that its members are not kept out of.
    #[error("{group} has just begun to read {topic}")]
    ReadsAnother {
        /// Its id.
        group: GroupId,
        /// The topic.
        topic: TopicName,
    },
    /// A transaction with offsets of the group is open. Where its end follows the deletion of the group, brokers up to 3.9 give
    /// up all groups of the partition, and later ones have offsets without a group.
    #[error("{group} has sent offsets in a transaction that has not ended")]
    InTransaction {
        /// Its id.
        group: GroupId,
    },
    /// The partition of `__consumer_offsets` that a group belongs to is not in the log dir.
    #[error("{group} belongs to a partition of __consumer_offsets that is not in {}", log_dir.display())]
    Elsewhere {
        /// Its id.
        group: GroupId,
        /// The log dir.
        log_dir: PathBuf,
    },
    /// What is asked is which groups have read the topic that their offsets are in.
    #[error("{topic} holds what groups have committed: which of them have read it cannot be asked")]
    OwnTopic {
        /// The topic.
        topic: TopicName,
    },
    /// A topic does not have a partition.
    #[error("there is no partition {partition} here")]
    NoPartition {
        /// The partition.
        partition: TopicPartition,
    },
}

fn handler(pid: Option<u32>) -> String {
    pid.map_or_else(|| "a process".into(), |pid| format!("process {pid}"))
}

impl GroupError {
    /// Whether the disk has no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::LogDir(LogDirError::Disk(error) | LogDirError::Storage(StorageError::Disk(error))) => error.is_full(),
            _ => false,
        }
    }
}

impl From<StorageError> for GroupError {
    fn from(error: StorageError) -> Self {
        Self::LogDir(error.into())
    }
}

/// A result on this floor.
pub type Result<T, E = GroupError> = std::result::Result<T, E>;
