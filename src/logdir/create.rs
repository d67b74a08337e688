//! Makes topics.
//!
//! Under the root lock, stale rows of the name leave the checkpoint files and the topic file becomes durable. Then the
//! folders are made one by one, each under the root lock for no longer than that takes, and made durable together. Last,
//! each partition gets a row in the recovery point file, which says that it was made: a folder that is missing without a
//! row was never there, one with a row was lost. States that a crash can leave: no topic file (nothing happened, perhaps a
//! `.tmp`); a topic file with folders missing or half made and no rows, which are empty partitions that the next writer
//! completes.

use super::broker_root::is_a_brokers;
use super::checkpoints::CheckpointFile;
use super::config::TopicConfig;
use super::folder_kind::{FolderKind, NamedPartitions, PARTITION_FILES};
use super::topic::{TOPIC_FILE_SUFFIX, topic_file};
use super::{LogDir, LogDirError, Origin, Result, Topic};
use crate::disk::{FolderEntry, FolderLock};
use crate::units::{FOLDER_NAME_MAX, Offset, TopicName, TopicPartition};
use std::collections::HashSet;
use std::ops::Range;
use uuid::Uuid;

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

impl NewTopic {
    /// The topic that it becomes.
    pub(super) fn with_id(&self, topic_id: Uuid) -> Topic {
        Topic {
            name: self.name.clone(),
            origin: Origin::TopicFile(topic_id),
            partitions: (0..self.partitions).collect(),
            config: self.config.clone(),
            homes: Vec::new(),
        }
    }
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
        let topic = match self.declare_topic(new)? {
            Created::New(topic) => topic,
            existing @ Created::Existing(_) => return Ok(existing),
        };
        self.make_partitions(&topic, &topic.partitions)?;
        Ok(Created::New(topic))
    }

    /// Makes a topic without the folders of its partitions: each is made by the first who writes to it.
    ///
    /// # Errors
    /// As [`LogDir::create_topic`].
    pub fn declare_topic(&self, new: &NewTopic) -> Result<Created> {
        self.refuse_long_folder_name(&new.name, new.partitions)?;
        self.refuse_broker_owned()?;
        self.begin_topic(new)
    }

    /// Writes the topic file, unless the topic is there.
    fn begin_topic(&self, new: &NewTopic) -> Result<Created> {
        let _lock = self.lock_root_for(&new.name)?;
        if let Some(existing) = self.find_topic(&new.name)? {
            return Ok(Created::Existing(existing));
        }
        self.refuse_new(new)?;
        self.forget_rows(&new.name)?;
        let topic = new.with_id(new_topic_id());
        topic.write(&*self.root)?;
        Ok(Created::New(topic))
    }

    /// Takes the root lock at a moment when no topic of that name is being deleted or imported.
    pub(super) fn lock_root_for(&self, name: &TopicName) -> Result<FolderLock> {
        loop {
            let lock = self.lock_root()?;
            if self.deletion_of(name)?.is_none() {
                return Ok(lock);
            }
            drop(lock);
            self.await_deletion(name)?;
        }
    }

    /// Refuses a topic that is not here and cannot be made. The caller holds the root lock.
    pub(super) fn refuse_new(&self, new: &NewTopic) -> Result<()> {
        self.refuse_foreign()?;
        self.refuse_folders_in_the_way(&new.name, 0..new.partitions)?;
        self.refuse_strays(&new.name)?;
        self.refuse_name(&new.name)
    }

    /// Refuses a name that a file has, or that Kafka cannot tell from another topic's.
    pub(super) fn refuse_name(&self, name: &TopicName) -> Result<()> {
        if self.root.stat(&topic_file(name))?.is_some() {
            return Err(LogDirError::InTheWay { path: self.root().join(topic_file(name)) });
        }
        match self.find_colliding(name)? {
            Some(other) => Err(LogDirError::TopicCollides { topic: name.clone(), other }),
            None => Ok(()),
        }
    }

    /// Makes the folders of new partitions, and says in the recovery point file that they were made.
    pub(super) fn make_partitions(&self, topic: &Topic, partitions: &[i32]) -> Result<()> {
        for &partition in partitions {
            self.partition(topic, partition)?.make_new()?;
        }
        self.root.sync()?;
        let _lock = self.lock_root()?;
        let Some(&first) = partitions.first() else { return Ok(()) };
        self.partition(topic, first)?.check_current()?;
        let mut rows = self.offset_rows(CheckpointFile::RecoveryPoint)?;
        for &partition in partitions {
            rows.raise(&topic.partition(partition)?, Offset::ZERO);
        }
        rows.write(&*self.root, CheckpointFile::RecoveryPoint)
    }

    pub(super) fn refuse_long_folder_name(&self, name: &TopicName, partitions: i32) -> Result<()> {
        let last = TopicPartition { topic: name.clone(), partition: partitions - 1 };
        if last.folder_name().len() > FOLDER_NAME_MAX {
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
        for other in self.root.list()?.iter().filter_map(of_entry) {
            if other.collides_with(name) && self.find_topic(&other)?.is_some() {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// A folder that is no partition stops a broker, and shows that the directory is meant for something else.
    fn refuse_foreign(&self) -> Result<()> {
        for entry in self.root.list()? {
            if PARTITION_FILES.contains(&entry.name.as_str()) {
                return Err(LogDirError::PartitionFolder { path: self.root().to_owned() });
            }
            if entry.is_folder && !is_a_brokers(&entry.name) {
                return Err(LogDirError::Foreign { path: self.root().to_owned(), entry: entry.name });
            }
        }
        Ok(())
    }

    /// Refuses new partitions whose folders are there and somebody else's.
    pub(super) fn refuse_folders_in_the_way(&self, name: &TopicName, mut partitions: Range<i32>) -> Result<()> {
        let taken: HashSet<i32> =
            self.partition_folders()?.filter(|it| it.topic == *name).map(|it| it.partition).collect();
        let named = NamedPartitions::default();
        let is_foreign = |partition: &TopicPartition| {
            taken.contains(&partition.partition) && self.folder_kind(partition, &named) == FolderKind::Foreign
        };
        let in_the_way =
            partitions.find_map(|partition| Some(TopicPartition { topic: name.clone(), partition }).filter(is_foreign));
        match in_the_way {
            Some(partition) => Err(LogDirError::InTheWay { path: self.partition_path(&partition) }),
            None => Ok(()),
        }
    }

    pub(super) fn forget_topic(&self, file: CheckpointFile, name: &TopicName) -> Result<()> {
        let mut rows = self.offset_rows(file)?;
        if rows.remove_topic(name) {
            rows.write(&*self.root, file)?;
        }
        Ok(())
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
