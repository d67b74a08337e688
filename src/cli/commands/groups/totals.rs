//! How far groups are, in sums.

use crate::cli::report::{Cell, Column, number, text};
use crate::units::{Duration, GroupId, Timestamp, TopicName};
use std::collections::BTreeMap;

/// What there is a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum By {
    Group,
    Topic,
}

const BY_TOPIC: [Column; 6] = [
    text("group", "GROUP"),
    text("topic", "TOPIC"),
    number("partitions", "PARTITIONS"),
    number("lag", "LAG"),
    number("behind_ms", "BEHIND"),
    number("lost", "LOST").leaves(1),
];

const BY_GROUP: [Column; 5] = [
    text("group", "GROUP"),
    number("partitions", "PARTITIONS"),
    number("lag", "LAG"),
    number("behind_ms", "BEHIND"),
    number("lost", "LOST").leaves(1),
];

impl By {
    pub(super) const fn columns(self) -> &'static [Column] {
        match self {
            Self::Group => &BY_GROUP,
            Self::Topic => &BY_TOPIC,
        }
    }
}

/// How far a group is in a partition.
pub(super) struct Standing {
    pub(super) topic: TopicName,
    pub(super) lag: Option<i64>,
    /// The timestamp of the first record that is still to be read.
    pub(super) next: Option<Timestamp>,
    pub(super) lost: i64,
}

#[derive(Default)]
struct Total {
    partitions: i64,
    lag: Option<i64>,
    /// Of the partition that is farthest behind.
    next: Option<Timestamp>,
    lost: i64,
}

/// The rows of a group.
pub(super) fn rows(by: By, id: &GroupId, standings: &[Standing]) -> Vec<Vec<Cell>> {
    let mut totals = BTreeMap::<Option<&TopicName>, Total>::new();
    for Standing { topic, lag, next, lost } in standings {
        let total = totals.entry((by == By::Topic).then_some(topic)).or_default();
        total.partitions += 1;
        total.lag = lag.map(|lag| total.lag.unwrap_or(0) + lag).or(total.lag);
        total.next = total.next.into_iter().chain(*next).min();
        total.lost += lost;
    }
    let row = |(topic, total): (Option<&TopicName>, Total)| {
        let topic = topic.map(Cell::text);
        let numbers = [
            Cell::Number(total.partitions),
            total.lag.map_or(Cell::Nothing, Cell::Number),
            total.next.map_or(Cell::Nothing, |next| Cell::Age(behind(next))),
            Cell::Number(total.lost),
        ];
        [Cell::text(id)].into_iter().chain(topic).chain(numbers).collect()
    };
    totals.into_iter().map(row).collect()
}

/// How long ago something was, that is to be read next.
pub(super) fn behind(next: Timestamp) -> Duration {
    Duration(i64::try_from(crate::cli::now().since(next).max(0)).unwrap_or(i64::MAX))
}
