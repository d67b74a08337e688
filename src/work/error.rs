//! What can go wrong with work.

use crate::disk::DiskError;
use crate::groups::GroupError;
use crate::logdir::LogDirError;
use crate::storage::StorageError;
use crate::units::{TopicName, TopicNameError};
use std::io;

/// What can go wrong with work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkError {
    /// The log dir, one of its partitions or the file system failed.
    #[error(transparent)]
    LogDir(LogDirError),
    /// The group failed.
    #[error(transparent)]
    Group(GroupError),
    /// The output takes no more.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    /// The system cannot wait.
    #[error("cannot wait for handlers or records")]
    Wait(#[from] io::Error),
    /// The command cannot be found, or is no program.
    #[error("{command}: {why}")]
    NoCommand {
        /// What was asked for.
        command: String,
        /// Why not.
        why: &'static str,
    },
    /// The command was found and does not start, or ends as one that a shell cannot start.
    #[error("{command} cannot be started: {why}; no record was counted for it")]
    NotStarted {
        /// The command.
        command: String,
        /// Why not.
        why: String,
    },
    /// Another worker of the group works by another order, and records of one key could run side by side.
    #[error("{member} works {topic} with --ordered {theirs}, and this would with --ordered {ours}")]
    OtherOrder {
        /// What the other says of itself.
        member: String,
        /// The topic.
        topic: TopicName,
        /// Its order.
        theirs: String,
        /// The one of this worker.
        ours: &'static str,
    },
    /// A topic for dead letters is one that is worked.
    #[error("{topic} cannot take its own dead letters")]
    OwnDeadLetters {
        /// The topic.
        topic: TopicName,
    },
    /// The name of a topic for dead letters is none.
    #[error("dead letters of {topic} cannot go to dlq.{topic}: {why}")]
    NoDeadLetterName {
        /// The topic.
        topic: TopicName,
        /// Why.
        why: TopicNameError,
    },
    /// A topic cannot hold the dead letters of another one.
    #[error("dead letters of {topic} cannot go to {letters}: {why}")]
    UnfitDeadLetters {
        /// The topic that is worked.
        topic: TopicName,
        /// The other one.
        letters: TopicName,
        /// Why not.
        why: &'static str,
    },
    /// The command has answered with what is no answer.
    #[error("{command} has answered {answer:?}: {why}")]
    NoAnswer {
        /// The command.
        command: String,
        /// What it wrote.
        answer: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// First attempts have failed one after the other.
    #[error("{count} records in a row have failed at their first attempt, the last one with: {why}")]
    Broken {
        /// How many.
        count: u32,
        /// Why the last.
        why: String,
    },
}

impl WorkError {
    /// Whether it is about what is in one partition.
    #[must_use]
    pub fn is_of_a_partition(&self) -> bool {
        matches!(self, Self::LogDir(LogDirError::Storage(error)) if error.is_of_a_partition())
    }
}

impl From<LogDirError> for WorkError {
    fn from(error: LogDirError) -> Self {
        Self::LogDir(error)
    }
}

impl From<StorageError> for WorkError {
    fn from(error: StorageError) -> Self {
        Self::LogDir(error.into())
    }
}

impl From<DiskError> for WorkError {
    fn from(error: DiskError) -> Self {
        Self::LogDir(error.into())
    }
}

impl From<GroupError> for WorkError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::LogDir(error) => Self::LogDir(error),
            error => Self::Group(error),
        }
    }
}

/// A result on this floor.
pub type Result<T, E = WorkError> = std::result::Result<T, E>;
