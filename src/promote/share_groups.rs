//! The share groups that come along, and what a broker does otherwise with them.

use super::Result;
use crate::groups::{Group, GroupKind, TopicLogs};
use crate::logdir::LogDirs;
use crate::units::GroupId;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A broker gives up a record whose delivery fails when it has had so many. Source: `group.share.delivery.count.limit`.
pub const DELIVERY_COUNT_LIMIT: i16 = 5;

/// A share group that comes along with its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedShareGroup {
    /// Its id.
    pub group: GroupId,
    /// How many of its records have had [`DELIVERY_COUNT_LIMIT`] attempts, or more: a broker tries each once more.
    pub last_tries: u64,
}

/// The levels of `metadata.version` that came with Kafka 4.0. It knows the records of share groups (type 15 of
/// `__consumer_offsets`) and has no place for them: a coordinator stops at the first, and has none of its groups. 3.9 passes
/// over them. Seen on 4.0.0.
const KAFKA_4_0: RangeInclusive<i16> = 22..=25;

/// Whether a cluster of that level would stop at them.
pub(super) fn are_unreadable(metadata_version: i16) -> bool {
    KAFKA_4_0.contains(&metadata_version)
}

/// Those among the groups of log dirs.
pub(super) fn of(groups: &BTreeMap<GroupId, Group>, log_dirs: &LogDirs) -> Result<Vec<PlannedShareGroup>> {
    let mut logs = TopicLogs::of(log_dirs);
    let is_share = |(_, group): &(&GroupId, &Group)| group.kind() == GroupKind::Share;
    let planned = groups.iter().filter(is_share).map(|(id, group)| {
        let rows = logs.share_rows(id, group)?;
        let last_tries = rows.iter().map(|row| row.tried(DELIVERY_COUNT_LIMIT)).sum();
        Ok(PlannedShareGroup { group: id.clone(), last_tries })
    });
    planned.collect()
}
