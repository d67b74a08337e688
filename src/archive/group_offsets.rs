//! What groups have committed of the topics of an export.

use super::{ArchivedGroup, ArchivedOffset, ArchivedTopic, Result};
use crate::groups::{Commits, Committed, Group, GroupError, GroupKind, GroupsTopic, metadata_of};
use crate::logdir::{LogDir, LogDirs};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// What became of the groups of an import.
#[derive(Debug, Default)]
pub struct ImportedGroups {
    /// Those whose offsets were committed.
    pub committed: Vec<GroupId>,
    /// Those that had committed offsets of the topic before.
    pub kept: Vec<GroupId>,
    /// Those that cannot be written, and why.
    pub failed: Vec<(GroupId, GroupError)>,
}

/// What groups have committed of these topics. Of an earlier topic of the name nothing counts.
pub(super) fn collect(log_dirs: &LogDirs, topics: &[(TopicName, Option<Uuid>)]) -> Result<Vec<ArchivedGroup>> {
    let ids: HashMap<&TopicName, Option<Uuid>> = topics.iter().map(|(name, id)| (name, *id)).collect();
    let mut found = GroupsTopic::find(log_dirs)?.all()?;
    if !found.failed.is_empty() {
        return Err(found.failed.swap_remove(0).into());
    }
    let offsets = |group: &Group| -> Vec<ArchivedOffset> {
        let is_meant = |(partition, committed): &(&TopicPartition, &Committed)| {
            ids.get(&partition.topic).is_some_and(|id| committed.is_of(*id))
        };
        let offset = |(partition, committed): (&TopicPartition, &Committed)| ArchivedOffset {
            partition: partition.clone(),
            offset: committed.offset,
            metadata: committed.metadata.clone(),
        };
        group.committed.iter().filter(is_meant).map(offset).collect()
    };
    let groups = found.groups.iter().filter(|(_, group)| group.kind() != GroupKind::Share);
    let archived = groups.map(|(id, group)| ArchivedGroup { group: id.clone(), offsets: offsets(group) });
    Ok(archived.filter(|group| !group.offsets.is_empty()).collect())
}

/// Commits the offsets of a topic that was imported under `name`, for groups that have committed none of it.
pub(super) fn restore(
    log_dir: &LogDir,
    groups: &[ArchivedGroup],
    topic: &ArchivedTopic,
    (name, topic_id): (&TopicName, Uuid),
    now: Timestamp,
) -> ImportedGroups {
    let mut imported = ImportedGroups::default();
    for group in groups {
        let mut offsets = BTreeMap::<TopicPartition, (Offset, String)>::new();
        for it in group.offsets.iter().filter(|it| it.partition.topic == topic.name) {
            let partition = TopicPartition { topic: name.clone(), partition: it.partition.partition };
            // A text of ours names the topic id, which may be another one now. That of a client is its own.
            let is_clients = !it.metadata.is_empty() && Committed::topic_id_in(&it.metadata).is_none();
            let metadata = if is_clients { it.metadata.clone() } else { metadata_of(Some(topic_id)) };
            offsets.insert(partition, (it.offset, metadata));
        }
        if offsets.is_empty() {
            continue;
        }
        let commit = || -> std::result::Result<bool, GroupError> {
            let mut commits = Commits::open(log_dir, &group.group)?;
            let is_new = commits.commit_of_new_topic(name, topic_id, &offsets, now)?;
            commits.close(now)?;
            Ok(is_new)
        };
        match commit() {
            Ok(true) => imported.committed.push(group.group.clone()),
            Ok(false) => imported.kept.push(group.group.clone()),
            Err(error) => imported.failed.push((group.group.clone(), error)),
        }
    }
    imported
}
