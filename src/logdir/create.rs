//! Makes topics.
//!
//! Under the root lock: stale rows of the name leave the checkpoint files, the topic file becomes durable, then the
//! folders are made. States that a crash can leave: no topic file (nothing happened, perhaps a `.tmp`); a topic file with
//! folders missing or half made, which are empty partitions that the next writer completes.

use super::checkpoints::CheckpointFile;
use super::config::TopicConfig;
use super::topic::TOPIC_FILE_SUFFIX;
use super::verify::{PARTITION_METADATA_FILE, PARTITION_METADATA_SIZE_MAX};
use super::{LogDir, LogDirError, Origin, REMOTE_INDEX_CACHE, Result, Topic};
use crate::disk::{FolderEntry, FolderLock, atomic};
use crate::format::properties::PartitionMetadata;
use crate::storage;
use crate::units::{Offset, TopicName, TopicPartition};
use std::path::Path;
use uuid::Uuid;

/// Where the length of a file name ends.
const FILE_NAME_MAX: usize = 255;

/// A topic to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; at least 1.
    pub partitions: i32,
    /// What differs from Kafka's defaults.
    pub config: TopicConfig,
}

/// What became of a [`NewTopic`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Created {
    /// It was made.
    New(Topic),
    /// Somebody else had made it before.
    Existing(Topic),
}

impl LogDir {
    /// Makes a topic.
    ///
    /// # Errors
    /// When the directory is a broker's or not a log dir, the name collides with another topic's, or the disk fails.
    pub fn create_topic(&self, new: &NewTopic) -> Result<Created> {
        let NewTopic { name, partitions, config } = new;
        self.refuse_long_folder_name(name, *partitions)?;
        self.refuse_broker_owned()?;
        let _lock = self.lock_root()?;
        self.finish_deletions()?;
        if let Some(existing) = self.find_topic(name)? {
            return Ok(Created::Existing(existing));
        }
        self.refuse_foreign()?;
        if let Some(other) = self.find_colliding(name)? {
            return Err(LogDirError::TopicCollides { topic: name.clone(), other });
        }
        for file in CheckpointFile::ALL {
            self.forget_topic(file, name)?;
        }
        let topic = Topic {
            name: name.clone(),
            origin: Origin::TopicFile(new_topic_id()),
            partitions: (0..*partitions).collect(),
            config: config.clone(),
        };
        topic.write(&*self.disk, &self.root)?;
        for &partition in &topic.partitions {
            self.make_partition(&topic, &topic.partition(partition)?)?;
        }
        self.sync_root()?;
        Ok(Created::New(topic))
    }

    pub(super) fn refuse_long_folder_name(&self, name: &TopicName, partitions: i32) -> Result<()> {
        let last = TopicPartition { topic: name.clone(), partition: partitions - 1 };
        if last.folder_name().len() > FILE_NAME_MAX {
            return Err(LogDirError::NameTooLong { topic: name.clone(), partitions });
        }
        Ok(())
    }

    /// A topic whose name collides with `name`. Of all others nothing is read.
    fn find_colliding(&self, name: &TopicName) -> Result<Option<TopicName>> {
        let of_entry = |entry: &FolderEntry| match entry.is_folder {
            true => TopicPartition::parse_folder_name(&entry.name).map(|partition| partition.topic),
            false => entry.name.strip_suffix(TOPIC_FILE_SUFFIX)?.parse().ok(),
        };
        for other in self.disk.list(&self.root)?.iter().filter_map(of_entry) {
            if other.collides_with(name) && self.find_topic(&other)?.is_some() {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// A folder that is no partition stops a broker, and shows that the directory is meant for something else.
    fn refuse_foreign(&self) -> Result<()> {
        for entry in self.disk.list(&self.root)? {
            let name = &entry.name;
            let known = TopicPartition::parse_folder_name(name).is_some()
                || ["-delete", "-future", "-stray"].iter().any(|suffix| name.ends_with(suffix))
                || name == REMOTE_INDEX_CACHE;
            if entry.is_folder && !known {
                return Err(LogDirError::Foreign { path: self.root.clone(), entry: entry.name });
            }
        }
        Ok(())
    }

    pub(super) fn forget_topic(&self, file: CheckpointFile, name: &TopicName) -> Result<()> {
        let mut rows = self.offset_rows(file)?;
        if rows.remove_topic(name) {
            self.write_rows(file, &rows)?;
        }
        Ok(())
    }

    /// Makes the folder of a partition that its topic says is there.
    pub(super) fn make_missing_partition(&self, topic: &Topic, partition: &TopicPartition) -> Result<()> {
        let _lock = self.lock_root()?;
        // A topic deleted since its file was read must not come back as a folder.
        if self.find_topic(&topic.name)?.map(|found| found.origin) != Some(topic.origin) {
            return Err(LogDirError::TopicDeleted { topic: topic.name.clone() });
        }
        if self.disk.stat(&self.partition_path(partition))?.is_none() {
            self.refuse_lost(partition)?;
        }
        self.make_partition(topic, partition)?;
        self.sync_root()
    }

    /// Makes what a broker makes for a new partition, and completes what a crash has left of it. A file that has content
    /// is left as it is. The folder is locked meanwhile: a writer that has seen the topic file may be in it already.
    pub(super) fn make_partition(&self, topic: &Topic, partition: &TopicPartition) -> Result<()> {
        let (disk, path) = (&*self.disk, self.partition_path(partition));
        if disk.stat(&path)?.is_none() {
            disk.create_folder(&path)?;
        }
        let lock = FolderLock::take(&disk.open_folder(&path)?)?;
        if let Origin::TopicFile(topic_id) = topic.origin {
            let metadata = PartitionMetadata { version: 0, topic_id };
            self.write_if_empty(&path, PARTITION_METADATA_FILE, metadata.print().as_bytes())?;
        }
        self.write_if_empty(&path, storage::LEADER_EPOCH_FILE, b"0\n1\n0 0\n")?;
        if storage::segments::base_offsets(disk, &path)?.is_empty() {
            storage::create_empty_log(disk, &path, Offset::ZERO)?;
        }
        Ok(lock.folder().sync()?)
    }

    fn write_if_empty(&self, folder: &Path, name: &str, content: &[u8]) -> Result<()> {
        let path = folder.join(name);
        if atomic::read_small(&*self.disk, &path, PARTITION_METADATA_SIZE_MAX)?.is_some_and(|bytes| !bytes.is_empty()) {
            return Ok(());
        }
        Ok(atomic::put(&*self.disk, &folder.join(format!("{name}.tmp")), &path, content)?)
    }
}

/// A random id as Kafka draws one: its text never holds a `-`, so that it can be given as an argument.
pub(super) fn new_topic_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if !crate::format::properties::topic_id_to_text(id).contains('-') {
            return id;
        }
    }
}
