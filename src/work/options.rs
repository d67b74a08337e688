//! How a queue is worked.

use crate::disk::outlet::Outlet;
use crate::units::{Offset, Timestamp, TopicName};
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long a record waits after a failure: the first time the shortest, then twice as long each time, up to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure.
    pub min: Duration,
    /// At most.
    pub max: Duration,
}

/// What stands before the two waits, in ms, in what a worker says of itself.
const BACKOFF_NOTE: &str = "backoff=";

impl Backoff {
    /// When a record that failed for the `count`th time is due again. A time that no clock of now can have written, since it
    /// is farther ahead than the longest wait, counts as now.
    #[must_use]
    pub fn due(&self, failed: Timestamp, count: i16, now: Timestamp) -> Timestamp {
        let latest = now + ms(self.max);
        (failed + self.wait_ms(count)).min(latest)
    }

    /// What a worker says of it for others.
    pub(super) fn note(&self) -> String {
        format!("{BACKOFF_NOTE}{}..{}", ms(self.min), ms(self.max))
    }

    /// What a worker has said of it among other words.
    #[must_use]
    pub fn of_note(note: &str) -> Option<Self> {
        let (min, max) = note.split(' ').find_map(|word| word.strip_prefix(BACKOFF_NOTE))?.split_once("..")?;
        let duration = |text: &str| Some(Duration::from_millis(text.parse().ok()?));
        Some(Self { min: duration(min)?, max: duration(max)? })
    }

    /// How long that is, ms.
    #[must_use]
    pub fn wait_ms(&self, count: i16) -> i64 {
        if count < 1 {
            return 0;
        }
        let doubled =
            ms(self.min).saturating_mul(1_i64.checked_shl(u32::from(count.unsigned_abs()) - 1).unwrap_or(i64::MAX));
        if count > 62 { ms(self.max) } else { doubled.min(ms(self.max)) }
    }
}

pub(super) fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4)
}

/// Which records wait for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ordered {
    /// None.
    No,
    /// One waits until those before it in its partition that have its key are done or given up.
    Key,
    /// One waits until those before it in its partition are.
    Partition,
}

impl Ordered {
    /// As it is written on a command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Key => "key",
            Self::Partition => "partition",
        }
    }
}

/// What a handler gets on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// The value.
    Value,
    /// The envelope as a line.
    Json,
}

/// When what was written of the queue's state is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durable {
    /// An attempt before its handler starts, a verdict before the next record is taken.
    Always,
    /// So often, and at the end.
    Every(Duration),
}

/// How records get to the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A run of the command for each record, or for so many.
    Runs {
        /// How many at most.
        batch: usize,
    },
    /// One run of the command, which gets a line for each record and answers with a line.
    Persistent,
}

/// How a queue is worked.
#[derive(Debug, Clone)]
pub struct Options {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// How records get to it.
    pub mode: Mode,
    /// How many records are handled at a time.
    pub jobs: usize,
    /// A record that has failed so often is given up.
    pub max_attempts: i16,
    /// How long it waits in between.
    pub backoff: Backoff,
    /// A handler that takes longer has failed.
    pub timeout: Option<Duration>,
    /// The topic that records go to that are given up, in place of `dlq.TOPIC`.
    pub dead_letters: Option<TopicName>,
    /// Whether they go anywhere.
    pub keeps_dead_letters: bool,
    /// Which records wait for others.
    pub ordered: Ordered,
    /// What the handler gets.
    pub input: Input,
    /// Exit codes that say that another attempt is no use.
    pub reject_exits: Vec<u8>,
    /// Exit codes that say that the attempt is not to count.
    pub release_exits: Vec<u8>,
    /// After so many first attempts that failed, with no success between them, the worker ends.
    pub breaker: Option<u32>,
    /// Records that are older are given up.
    pub max_age: Option<Duration>,
    /// No more attempts than this.
    pub attempts: Option<u64>,
    /// Whether it waits for more at the end.
    pub follows: bool,
    /// When the state is made durable.
    pub durable: Durable,
    /// Where a group begins that is new to a topic.
    pub start: Start,
}

/// Where a group begins that is new to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the log start offset.
    Earliest,
    /// At the log end offset.
    Latest,
    /// At an offset, or at the log start offset where that is larger.
    Offset(Offset),
}

/// What a worker needs of the program that it runs in.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Where what handlers print goes.
    pub outlet: Outlet,
    /// How the program is stopped.
    pub interrupt: Interrupt<'a>,
    /// The time.
    pub clock: fn() -> Timestamp,
}

/// How the program is stopped.
#[derive(Clone, Copy)]
pub struct Interrupt<'a> {
    /// A byte for each time that it is asked to: once, and handlers are waited for; twice, and they are killed.
    pub descriptor: BorrowedFd<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_doubles_up_to_the_longest() {
        let backoff = Backoff { min: Duration::from_secs(1), max: Duration::from_secs(300) };
        let waits: Vec<i64> = [0, 1, 2, 9, 10, 63, i16::MAX].map(|count| backoff.wait_ms(count)).into();
        assert_eq!(waits, [0, 1000, 2000, 256_000, 300_000, 300_000, 300_000]);
        let now = Timestamp(1_000_000);
        assert_eq!(backoff.due(now, 2, now), Timestamp(1_002_000));
        assert_eq!(backoff.due(Timestamp(i64::MAX / 2), 1, now), Timestamp(1_300_000));
        assert_eq!(Backoff::of_note(&format!("ordered=no {}", backoff.note())), Some(backoff));
        assert_eq!(Backoff::of_note("ordered=no backoff=1"), None);
        let long = Backoff { min: Duration::MAX, max: Duration::MAX };
        assert!(long.due(now, 3, now) > now);
    }
}
