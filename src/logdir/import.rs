//! Imports topics: folders are filled while nobody sees the topic, which then appears whole, by one rename.
//!
//! An import begins with the file `<topic-id>.deleted`, which it locks and which holds what the topic file will hold: to
//! everybody else the topic is one whose [deletion](super::delete) has begun and has not ended. Readers do not list its
//! folders, a `create` of the name waits, and nobody touches what a living process has locked. In order:
//! 1. Under the root lock, the name is checked, stale rows of it leave the checkpoint files, and the file becomes durable.
//! 2. Folders are made and filled. `partition.metadata` comes first, so that each is known to be of this topic.
//! 3. All of it is made durable, the names of the folders last.
//! 4. Under the root lock, rows of the partitions are written to the checkpoint files, and the file is renamed to
//!    `<topic>.json`.
//!
//! States that a crash can leave, and how they are told apart:
//! - neither file: nothing has happened (perhaps a `.tmp`);
//! - `<topic-id>.deleted`, which nobody has locked: whatever is there of the topic is no more than a part. The next `create` or
//!   import of the name, and the next `delete` or import of any topic, removes it as what is left of a deletion;
//! - `<topic>.json`: the topic is there, whole and durable.
//!
//! There is no fourth: one rename takes the first name and gives the second.

use super::checkpoints::{CheckpointFile, OffsetRows};
use super::create::new_topic_id;
use super::delete::Deletion;
use super::topic::{PARTITION_METADATA_FILE, topic_file};
use super::{LogDir, LogDirError, NewTopic, Origin, Result, Topic};
use crate::disk::{DiskFile, FolderLock, atomic};
use crate::format::properties::{PartitionMetadata, topic_id_to_text};
use crate::storage::{Checkpoints, LogConfig, PartitionGuard, VerbatimLog};
use crate::units::{Offset, Timestamp, TopicName, TopicPartition};
use std::sync::Arc;
use uuid::Uuid;

/// A topic that is being imported, and is not there yet.
pub struct TopicImport {
    log_dir: LogDir,
    topic: Topic,
    topic_id: Uuid,
    config: Arc<LogConfig>,
    deletion: Deletion,
    /// Of the partitions that are finished, in their order.
    ends: Vec<(TopicPartition, ImportedEnds)>,
    /// Locked for as long as the import goes on.
    marker: Arc<dyn DiskFile>,
}

/// Where the log of a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImportedEnds {
    /// The first offset that may be read.
    pub log_start_offset: Offset,
    /// The offset after the last record.
    pub log_end_offset: Offset,
    /// Where the next compaction begins, if there was one.
    pub first_dirty_offset: Option<Offset>,
}

/// The folder of one partition of a topic that is being imported.
pub struct PartitionImport {
    guard: PartitionGuard,
}

impl LogDir {
    /// Begins to import a topic. It keeps the id that is asked for, unless another topic here has it.
    ///
    /// # Errors
    /// When there is such a topic, it cannot be created, or the disk fails.
    pub fn begin_import(&self, new: &NewTopic, topic_id: Option<Uuid>) -> Result<TopicImport> {
        self.refuse_long_folder_name(&new.name, new.partitions)?;
        self.refuse_broker_owned()?;
        self.finish_deletions()?;
        let _lock = self.lock_root_for(&new.name)?;
        if self.find_topic(&new.name)?.is_some() {
            return Err(LogDirError::TopicExists { topic: new.name.clone() });
        }
        self.refuse_new(new)?;
        let topic_id = match topic_id {
            Some(topic_id) if !self.has_topic_id(topic_id)? => topic_id,
            _ => new_topic_id(),
        };
        self.forget_rows(&new.name)?;
        let topic = new.with_id(topic_id);
        let deletion = Deletion::new(topic.clone(), topic_id);
        let temporary = format!("{}.tmp", topic_id_to_text(topic_id));
        let marker = atomic::replace_locked(&*self.root, &temporary, &deletion.marker(), &topic.print()?)?;
        let config = Arc::new(topic.log_config());
        let (log_dir, ends) = (self.clone(), Vec::new());
        Ok(TopicImport { log_dir, topic, topic_id, config, deletion, ends, marker })
    }

    /// Whether a topic here has this id, or had it and is being deleted.
    fn has_topic_id(&self, topic_id: Uuid) -> Result<bool> {
        for topic in self.find_topics()?.topics {
            let found = match (topic.origin, topic.partitions.first()) {
                (Origin::TopicFile(id), _) => Some(id),
                (_, Some(&first)) => self.partition(&topic, first)?.incarnation()?,
                (_, None) => None,
            };
            if found == Some(topic_id) {
                return Ok(true);
            }
        }
        let entries = self.root.list()?;
        let marker = format!("{}{}", topic_id_to_text(topic_id), super::delete::DELETED_TOPIC_SUFFIX);
        Ok(entries.iter().any(|entry| entry.name == marker))
    }

    /// Makes the topics appear, whose partitions are all finished: each of them is there then, whole, or not at all.
    ///
    /// # Errors
    /// When the name of one has been taken in the meantime, or the disk fails.
    pub fn commit_imports(&self, imports: &[&TopicImport]) -> Result<()> {
        self.root.sync()?;
        let _lock = self.lock_root()?;
        self.refuse_broker_owned()?;
        for import in imports {
            self.refuse_name(import.name())?;
        }
        self.write_imported_rows(imports)?;
        for import in imports {
            self.root.rename(&import.deletion.marker(), &topic_file(import.name()))?;
        }
        Ok(self.root.sync()?)
    }

    /// Writes the rows of partitions to the checkpoint files. The caller holds the root lock.
    fn write_imported_rows(&self, imports: &[&TopicImport]) -> Result<()> {
        let row = |file: CheckpointFile, ends: &ImportedEnds| match file {
            CheckpointFile::RecoveryPoint => Some(ends.log_end_offset),
            CheckpointFile::LogStart => Some(ends.log_start_offset).filter(|&start| start > Offset::ZERO),
            CheckpointFile::Cleaner => ends.first_dirty_offset,
            CheckpointFile::HighWatermark => None,
        };
        for file in CheckpointFile::ALL {
            let mut rows: Option<OffsetRows> = None;
            for (partition, ends) in imports.iter().flat_map(|import| &import.ends) {
                let Some(offset) = row(file, ends) else { continue };
                let rows = match &mut rows {
                    Some(rows) => rows,
                    None => rows.insert(self.offset_rows(file)?),
                };
                rows.raise(partition, offset);
            }
            if let Some(rows) = rows {
                rows.write(&*self.root, file)?;
            }
        }
        Ok(())
    }
}

impl TopicImport {
    /// The name that the topic will have.
    #[must_use]
    pub fn name(&self) -> &TopicName {
        &self.topic.name
    }

    /// The id that the topic will have.
    #[must_use]
    pub fn topic_id(&self) -> Uuid {
        self.topic_id
    }

    /// The folder of a partition, made where it is missing.
    ///
    /// # Errors
    /// When the topic does not have it, or the disk fails.
    pub fn partition(&self, number: i32, log_start_offset: Offset) -> Result<PartitionImport> {
        let partition = self.topic.partition(number)?;
        let (root, name) = (&self.log_dir.root, partition.folder_name());
        self.log_dir.check_process_lock()?;
        if root.stat(&name)?.is_none() {
            root.create_folder(&name)?;
        }
        let lock = FolderLock::take(&root.open_folder(&name)?)?;
        let checkpoints = Checkpoints::of_files(Offset::ZERO, log_start_offset);
        let guard = PartitionGuard::new(lock, Arc::clone(&self.config), checkpoints);
        if guard.folder().stat(PARTITION_METADATA_FILE)?.is_none() {
            let metadata = PartitionMetadata { version: 0, topic_id: self.topic_id };
            guard.put(PARTITION_METADATA_FILE, metadata.print().as_bytes())?;
        }
        Ok(PartitionImport { guard })
    }

    /// Checks the log of a partition, which is an empty one where nothing was written, and makes it durable.
    ///
    /// # Errors
    /// When it does not end there, is corrupt, or the disk fails.
    pub fn finish_partition(&mut self, number: i32, ends: ImportedEnds, now: Timestamp) -> Result<()> {
        let staged = self.partition(number, ends.log_start_offset)?;
        staged.log().finish(self.topic_id, ends.log_end_offset, now)?;
        self.ends.push((self.topic.partition(number)?, ends));
        Ok(())
    }

    /// Removes all that was made, unless the topic has appeared: an error may come after that.
    ///
    /// # Errors
    /// When the disk fails. What is left is removed as after a crash.
    pub fn abandon(self) -> Result<()> {
        let named = self.log_dir.root.stat(&self.deletion.marker())?;
        if named.map(|stat| stat.id) != Some(self.marker.stat()?.id) {
            return Ok(());
        }
        self.log_dir.finish_locked(&self.deletion, &mut |_| {})
    }
}

impl PartitionImport {
    /// The log in it.
    #[must_use]
    pub fn log(&self) -> VerbatimLog<'_> {
        VerbatimLog::new(&self.guard)
    }
}
