//! What a worker tells of its work.

use crate::units::{Offset, TopicPartition};
use std::time::Duration;

/// Something that happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// A record failed and is tried again.
    Failed {
        /// Its partition.
        partition: &'a TopicPartition,
        /// Its offset.
        offset: Offset,
        /// Which attempt it was.
        attempt: i16,
        /// Why.
        why: &'a str,
        /// After which time.
        again: Duration,
    },
    /// A record was given up.
    GivenUp {
        /// Its partition.
        partition: &'a TopicPartition,
        /// Its offset.
        offset: Offset,
        /// How many attempts there were.
        attempts: i16,
        /// Why.
        why: &'a str,
        /// The topic that it went to, if any.
        dead_letters: Option<&'a str>,
    },
    /// A record that is given up could not be put where dead letters go: it stays as it is.
    NotBuried {
        /// Its partition.
        partition: &'a TopicPartition,
        /// Its offset.
        offset: Offset,
        /// Why it was given up.
        why: &'a str,
        /// Why it could not be put.
        error: super::WorkError,
    },
    /// Records were removed by retention before they were done.
    Lost {
        /// Their partition.
        partition: &'a TopicPartition,
        /// How many.
        count: u64,
    },
    /// Too much was done behind a record that is not: nothing more of its partition is taken until it is.
    HeldBack {
        /// The partition.
        partition: &'a TopicPartition,
        /// The offset of the record.
        by: Offset,
    },
    /// Another worker of the group works in another way.
    OtherAttempts {
        /// What it says of itself.
        member: &'a str,
        /// After how many attempts it gives up.
        max_attempts: i16,
    },
    /// A partition cannot be worked on; the others are.
    Failing {
        /// The partition.
        partition: &'a TopicPartition,
        /// Why.
        error: super::WorkError,
    },
    /// The first signal: handlers that run are waited for.
    Waiting {
        /// How many.
        handlers: usize,
    },
}

/// What a run has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Records that were done.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Records that were given up.
    pub given_up: u64,
    /// Records that were removed by retention before they were done.
    pub lost: u64,
    /// Records that are not due yet, of those that were there at the start.
    pub not_due: u64,
    /// Records that other workers have, of those that were there at the start.
    pub elsewhere: u64,
}
