//! Folders of partitions that were set aside: see [`SetAside`].
//!
//! They are no topic's partitions. Each can be read by its name, as a topic of one partition; no checkpoint file has a row for
//! it. A partition that has no folder, and of which there is a stray one, is not empty: nothing is written in its place.
//! Folders of a deletion of ours that has not ended are nobody's concern.

use super::delete::DELETED_TOPIC_SUFFIX;
use super::{LogDir, LogDirError, Result};
use crate::disk::FolderEntry;
use crate::format::properties::topic_id_from_text;
use crate::units::{SetAside, SetAsideKind, TopicName, TopicPartition};
use std::collections::HashSet;
use std::sync::Arc;

/// The folders among the entries of a root that were set aside, by name.
pub(super) fn among(entries: &[FolderEntry]) -> Vec<SetAside> {
    let folders = entries.iter().filter(|entry| entry.is_folder);
    let mut found: Vec<SetAside> = folders.filter_map(|entry| SetAside::parse(&entry.name)).collect();
    if found.iter().any(|it| it.kind == SetAsideKind::Deleting) {
        let of_marker = |entry: &FolderEntry| {
            let topic_id = topic_id_from_text(entry.name.strip_suffix(DELETED_TOPIC_SUFFIX)?).ok()?;
            Some(topic_id.simple().to_string())
        };
        let deletions: HashSet<String> = entries.iter().filter_map(of_marker).collect();
        found.retain(|it| it.kind != SetAsideKind::Deleting || !deletions.contains(&it.id));
    }
    found.sort_by(|one, other| one.folder.cmp(&other.folder));
    found
}

impl LogDir {
    /// Who only reads lists them once: thousands of partitions may have no folder.
    fn strays(&self) -> Result<Arc<Vec<SetAside>>> {
        if let Some(known) = self.strays.get().filter(|_| !self.is_writable()) {
            return Ok(Arc::clone(known));
        }
        let mut strays = among(&self.root.list()?);
        strays.retain(|it| it.kind == SetAsideKind::Stray);
        let strays = Arc::new(strays);
        let _ = self.strays.set(Arc::clone(&strays));
        Ok(strays)
    }

    /// The stray folder of a partition, if there is one.
    pub(super) fn stray_of(&self, partition: &TopicPartition) -> Result<Option<SetAside>> {
        Ok(self.strays()?.iter().find(|it| is_of(it, partition)).cloned())
    }

    /// Refuses partitions that have no folder, where a broker has set one of theirs aside.
    pub(super) fn refuse_strays_of(&self, partitions: &[TopicPartition]) -> Result<()> {
        if partitions.is_empty() {
            return Ok(());
        }
        let strays = self.strays()?;
        for partition in partitions {
            if let Some(folder) = strays.iter().find(|it| is_of(it, partition)) {
                let path = self.partition_path(partition);
                return Err(LogDirError::PartitionSetAside { path, folder: folder.clone() });
            }
        }
        Ok(())
    }

    /// Refuses a topic that is to be made, where a broker has set one of that name aside.
    pub(super) fn refuse_strays(&self, topic: &TopicName) -> Result<()> {
        let folders: Vec<SetAside> = self.strays()?.iter().filter(|it| it.is_of(topic)).cloned().collect();
        if folders.is_empty() {
            return Ok(());
        }
        Err(LogDirError::TopicSetAside { topic: topic.clone(), log_dirs: vec![self.root().to_owned()], folders })
    }
}

fn is_of(folder: &SetAside, partition: &TopicPartition) -> bool {
    folder.partition.partition == partition.partition && folder.is_of(&partition.topic)
}
