//! What changes at a root when the log dir is handed to a broker, or taken back.

use super::checkpoints::CheckpointFile;
use super::partition::topic_id_in;
use super::topic::{PARTITION_METADATA_FILE, TOPIC_FILE_SUFFIX, topic_file};
use super::{CLEAN_SHUTDOWN_FILE, LogDir, Origin, Partition, Result, Topic};
use crate::disk::atomic;
use crate::format::properties::PartitionMetadata;
use crate::storage::PartitionGuard;
use crate::units::{Offset, SetAside, SetAsideKind};
use std::collections::HashSet;
use uuid::Uuid;

impl Topic {
    /// The same topic as one that a topic file describes.
    pub(crate) fn of_file(self, topic_id: Uuid) -> Self {
        Self { origin: Origin::TopicFile(topic_id), ..self }
    }
}

impl Partition {
    /// Names the topic in the folder of a partition that does not.
    pub(crate) fn give_topic_id(&self, guard: &PartitionGuard, topic_id: Uuid) -> Result<()> {
        if topic_id_in(&**guard.folder())?.is_none() {
            guard.replace(PARTITION_METADATA_FILE, PartitionMetadata { version: 0, topic_id }.print().as_bytes())?;
        }
        Ok(())
    }
}

impl LogDir {
    /// Says up to where a broker has what every replica has: all of it, where there is one.
    pub(crate) fn raise_high_watermarks<'a>(
        &self,
        ends: impl IntoIterator<Item = (&'a Partition, Offset)>,
    ) -> Result<()> {
        self.raise(CheckpointFile::HighWatermark, ends)
    }

    /// Says that every log is whole and closed in order, so that a broker does not read it again. The next writer takes that
    /// back.
    pub(crate) fn write_clean_shutdown_file(&self) -> Result<()> {
        Ok(atomic::replace(&*self.root, &format!("{CLEAN_SHUTDOWN_FILE}.tmp"), CLEAN_SHUTDOWN_FILE, b"")?)
    }

    /// Writes the files of these topics, and removes those of all others.
    pub(crate) fn replace_topic_files(&self, topics: &[Topic]) -> Result<()> {
        let _lock = self.lock_root()?;
        for topic in topics {
            topic.write(&*self.root)?;
        }
        let kept: HashSet<String> = topics.iter().map(|topic| topic_file(&topic.name)).collect();
        for entry in self.root.list()?.into_iter().filter(|entry| !entry.is_folder && !kept.contains(&entry.name)) {
            let name = entry.name.strip_suffix(TOPIC_FILE_SUFFIX).and_then(|name| name.parse().ok());
            // A file of that name that describes no topic is somebody else's.
            if let Some(name) = name
                && self.read_topic_file(&name).is_ok_and(|topic| topic.is_some())
            {
                self.root.remove_file(&entry.name)?;
            }
        }
        Ok(self.root.sync()?)
    }

    /// Removes what a broker that has gone needs no more: its word on what all replicas have, and the folders of partitions that
    /// it has deleted.
    pub(crate) fn remove_what_only_brokers_need(&self) -> Result<()> {
        let lock = self.lock_root()?;
        for entry in self.root.list()? {
            if entry.name == CheckpointFile::HighWatermark.name() {
                self.root.remove_file(&entry.name)?;
            }
            let is_deleted = |it: SetAside| it.kind == SetAsideKind::Deleting;
            if entry.is_folder && !entry.is_link && SetAside::parse(&entry.name).is_some_and(is_deleted) {
                let folder = self.root.open_folder(&entry.name)?;
                for file in folder.list()? {
                    folder.remove_file(&file.name)?;
                }
                self.root.remove_folder(&entry.name)?;
            }
        }
        Ok(lock.folder().sync()?)
    }
}
