//! Keeps a broker from forgetting what groups have committed before it came.
//!
//! A broker forgets offsets a week after their group became empty, and those of a group without metadata a week after they were
//! committed (`offsets.retention.minutes`): ten minutes after it has started, all that is older would be gone. kdir never
//! forgets, and writes no metadata. So each group gets the metadata of one that is empty since now; a group of the consumer
//! protocol (KIP-848), whose offsets go by their own times, has them committed again.

use super::coordinator_log::CoordinatorLog;
use super::coordinator_writer::{CoordinatorRecord, CoordinatorWriter};
use super::group::{Group, GroupKind};
use super::{GroupError, Result};
use crate::format::internal::InternalTopic;
use crate::format::internal::group_records::{
    empty_group_value, group_metadata_key, offset_commit_key, offset_commit_value,
};
use crate::logdir::{LogDirError, LogDirs};
use crate::units::{GroupId, Timestamp};

/// Records of a batch, which is far from the largest that a broker takes.
const BATCH: usize = 1000;

/// Writes what keeps the offsets of every group for a week from `now` on, durably.
///
/// # Errors
/// When the log of a coordinator is corrupt, or the disk fails.
pub fn keep_from_expiring(log_dirs: &LogDirs, now: Timestamp) -> Result<()> {
    let name = InternalTopic::ConsumerOffsets.name().parse().expect("the name of a topic");
    let topic = match log_dirs.named(&name) {
        Err(LogDirError::TopicNotFound { .. }) => return Ok(()),
        found => found.map_err(GroupError::from)?,
    };
    for partition in log_dirs.partitions(&topic)? {
        partition.settle()?;
        let log = CoordinatorLog::open(&partition)?;
        let mut records: Vec<CoordinatorRecord> = log.groups().flat_map(|(id, group)| kept(id, group, now)).collect();
        // Any group of the partition names it.
        let Some((first, _)) = log.groups().next().filter(|_| !records.is_empty()) else { continue };
        let mut writer = CoordinatorWriter::of(partition, first.clone(), None)?;
        while !records.is_empty() {
            let batch = records.split_off(records.len().saturating_sub(BATCH));
            writer.append(now, |_, _| Ok(batch))?;
        }
        writer.end(now)?;
    }
    Ok(())
}

fn kept(id: &GroupId, group: &Group, now: Timestamp) -> Vec<CoordinatorRecord> {
    if group.committed.is_empty() {
        return Vec::new();
    }
    match group.kind() {
        GroupKind::Classic => {
            vec![CoordinatorRecord { key: group_metadata_key(id.as_str()), value: Some(empty_group_value(now)) }]
        }
        GroupKind::Consumer => {
            let again = group.committed.iter().map(|(partition, committed)| CoordinatorRecord {
                key: offset_commit_key(id.as_str(), partition),
                value: Some(offset_commit_value(committed.offset, &committed.metadata, now)),
            });
            again.collect()
        }
        GroupKind::Share | GroupKind::Streams => Vec::new(),
    }
}
