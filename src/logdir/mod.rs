//! Floor 4: the whole directory, which is the interface: what lies there is all there is.
//!
//! ```text
//! <log-dir>/
//!   app.json                            the topic: id, partitions, configuration (ours; a broker ignores it)
//!   app-0/ app-1/ …                     its partitions, in Kafka's layout
//!   recovery-point-offset-checkpoint    per partition: all below is durable
//!   log-start-offset-checkpoint         per partition: the first readable offset, where retention did not set it
//!   .lock                               held shared by writers, exclusively by a broker
//! ```
//!
//! Locks are taken in one order: `.lock` (when a [`LogDir`] is opened to write), the root folder (to create, alter and
//! delete topics and to write checkpoint files; brief), one partition's folder (to append, roll and remove; brief).
//!
//! A topic without a topic file is a broker's: its partitions are read as they are.

mod alter;
mod checkpoints;
pub mod config;
mod create;
mod cursor;
mod delete;
mod delete_records;
mod error;
mod nearest;
mod pattern;
mod repair;
mod syncer;
pub mod topic;
mod verify;
mod writer;

pub use alter::Alteration;
pub use create::{Created, NewTopic};
pub use error::{LogDirError, Result};
pub use pattern::{TopicPattern, TopicPatternError};
pub use repair::RepairOptions;
pub use syncer::{Acknowledged, OnSync, SyncPolicy};
pub use topic::{Origin, Topic};
pub use verify::{CheckedPartition, TopicVerification};
pub use writer::TopicWriter;

use crate::disk::{Disk, DiskError, Folder, FolderEntry, FolderLock, SharedLock};
use crate::storage::{self, Checkpoints, LogReader, LogWriter, StorageError};
use crate::units::{Offset, TopicName, TopicPartition};
use checkpoints::{CheckpointFile, OffsetRows};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What a broker leaves in a directory that it owns.
const BROKER_MARKS: [&str; 2] = ["meta.properties", "__cluster_metadata-0"];
/// A broker's word that it closed every log in order; untrue as soon as somebody else writes.
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// A broker's own metadata, whose folder is no topic's.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// A broker's cache of tiered segments, the one folder in a log dir that is no partition.
const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";

/// A log dir that is open.
pub struct LogDir {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Held while this log dir is open to write.
    lock: Option<Arc<dyn SharedLock>>,
    /// Recovery points and log start offsets as they were when this log dir was first asked, or has changed them last;
    /// writers read the files anew.
    offsets: Mutex<Option<Arc<(OffsetRows, OffsetRows)>>>,
}

/// What [`LogDir::find_topics`] finds.
#[derive(Debug, Default)]
pub struct FoundTopics {
    /// By name. One whose topic file is damaged is here as its folders show it.
    pub topics: Vec<Topic>,
    /// Topics whose file cannot be read, each with the reason.
    pub damaged: Vec<(TopicName, LogDirError)>,
}

impl LogDir {
    /// Opens a log dir to read. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        match disk.stat(root)? {
            Some(stat) if stat.is_folder => {
                Ok(Self { disk, root: root.to_owned(), lock: None, offsets: Mutex::new(None) })
            }
            Some(_) => Err(DiskError {
                doing: "open",
                path: root.to_owned(),
                source: std::io::ErrorKind::NotADirectory.into(),
            }
            .into()),
            None => Err(LogDirError::Missing { path: root.to_owned() }),
        }
    }

    /// Opens a log dir to write. No broker can start on it as long as this lives. A process opens one at a time: the
    /// lock is the process's.
    ///
    /// # Errors
    /// When there is no such directory, a broker has it, or it cannot be written to.
    pub fn open_to_write(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        let mut log_dir = Self::open(disk, root)?;
        let held = || LogDirError::HeldByBroker { path: root.to_owned() };
        log_dir.lock = Some(log_dir.disk.share(&root.join(".lock"))?.ok_or_else(held)?);
        Ok(log_dir)
    }

    /// Makes the directory, and those above it, where it is missing.
    ///
    /// # Errors
    /// When one of them cannot be made.
    pub fn make(disk: &dyn Disk, root: &Path) -> Result<()> {
        let missing = |path: &&Path| disk.stat(path).is_ok_and(|stat| stat.is_none());
        let mut folders: Vec<&Path> =
            root.ancestors().filter(|path| !path.as_os_str().is_empty()).take_while(missing).collect();
        while let Some(folder) = folders.pop() {
            match disk.create_folder(folder) {
                Err(error) if error.source.kind() != std::io::ErrorKind::AlreadyExists => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file system that it is on.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// What shows that the directory belongs to a broker.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn broker_mark(&self) -> Result<Option<&'static str>> {
        for mark in BROKER_MARKS {
            if self.disk.stat(&self.root.join(mark))?.is_some() {
                return Ok(Some(mark));
            }
        }
        Ok(None)
    }

    fn refuse_broker_owned(&self) -> Result<()> {
        match self.broker_mark()? {
            Some(mark) => Err(LogDirError::BrokerOwned { path: self.root.clone(), mark }),
            None => Ok(()),
        }
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn topic(&self, name: &TopicName) -> Result<Topic> {
        self.find_topic(name)?.ok_or_else(|| self.topic_not_found(name))
    }

    fn topic_not_found(&self, name: &TopicName) -> LogDirError {
        // What keeps others from being listed is not what was asked.
        let others = self.find_topics().unwrap_or_default().topics;
        let nearest = nearest::nearest(name.as_str(), others.iter().map(|topic| topic.name.as_str()));
        let nearest = nearest.map(str::to_owned);
        LogDirError::TopicNotFound { topic: name.clone(), path: self.root.clone(), nearest }
    }

    /// The topic of that name, if there is one.
    ///
    /// # Errors
    /// When the disk fails or the topic file is damaged.
    pub fn find_topic(&self, name: &TopicName) -> Result<Option<Topic>> {
        if let Some(topic) = self.read_topic_file(name)? {
            return Ok(Some(topic));
        }
        let topics = self.broker_topics(&self.disk.list(&self.root)?)?;
        Ok(topics.into_iter().find(|topic| topic.name == *name))
    }

    fn read_topic_file(&self, name: &TopicName) -> Result<Option<Topic>> {
        topic::read_topic_file(&*self.disk, &self.topic_file(name))
    }

    /// Every topic, by name.
    ///
    /// # Errors
    /// When the disk fails or a topic file is damaged.
    pub fn topics(&self) -> Result<Vec<Topic>> {
        let mut found = self.find_topics()?;
        if found.damaged.is_empty() { Ok(found.topics) } else { Err(found.damaged.swap_remove(0).1) }
    }

    /// Every topic, by name, and what keeps others from being read.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn find_topics(&self) -> Result<FoundTopics> {
        let entries = self.disk.list(&self.root)?;
        let mut of_brokers = self.broker_topics(&entries)?;
        let mut found = FoundTopics::default();
        let names = entries.iter().filter(|entry| !entry.is_folder).map(|entry| &entry.name);
        for name in names.filter_map(|name| name.strip_suffix(topic::TOPIC_FILE_SUFFIX)?.parse().ok()) {
            match self.read_topic_file(&name) {
                Ok(topic) => found.topics.extend(topic),
                // A file that describes no topic, without a folder of that topic, is somebody else's.
                Err(LogDirError::DamagedFile { .. }) if of_brokers.iter().all(|topic| topic.name != name) => {}
                Err(error) => found.damaged.push((name, error)),
            }
        }
        found.topics.append(&mut of_brokers);
        // A topic file says more than the folders: it stands first of the two, and the sort keeps it there.
        found.topics.sort_by(|one, other| one.name.cmp(&other.name));
        found.topics.dedup_by(|other, one| one.name == other.name);
        Ok(found)
    }

    /// The topics of which there are folders; what waits to be deleted is none.
    fn broker_topics(&self, entries: &[FolderEntry]) -> Result<Vec<Topic>> {
        let mut folders = BTreeMap::<TopicName, Vec<i32>>::new();
        for entry in entries.iter().filter(|entry| entry.is_folder) {
            if let Some(it) = TopicPartition::parse_folder_name(&entry.name) {
                folders.entry(it.topic).or_default().push(it.partition);
            }
        }
        for (_, deleted) in self.topics_to_delete(entries)? {
            folders.remove(&deleted);
        }
        folders.retain(|name, _| name.as_str() != METADATA_TOPIC);
        let topic = |(name, mut partitions): (TopicName, Vec<i32>)| {
            partitions.sort_unstable();
            Topic::of_broker(name, partitions)
        };
        Ok(folders.into_iter().map(topic).collect())
    }

    fn partition_folders(&self) -> Result<impl Iterator<Item = TopicPartition> + use<>> {
        let folders = self.disk.list(&self.root)?.into_iter().filter(|entry| entry.is_folder);
        Ok(folders.filter_map(|entry| TopicPartition::parse_folder_name(&entry.name)))
    }

    fn topic_file(&self, name: &TopicName) -> PathBuf {
        self.root.join(format!("{name}{}", topic::TOPIC_FILE_SUFFIX))
    }

    /// The folder of a partition.
    #[must_use]
    pub fn partition_path(&self, partition: &TopicPartition) -> PathBuf {
        self.root.join(partition.folder_name())
    }

    /// Opens a partition to read; `None` where its folder is missing, which is an empty partition. Reads `chunk` bytes at
    /// a time.
    ///
    /// # Errors
    /// When the disk fails, or durable records are nowhere.
    pub fn open_reader(&self, partition: &TopicPartition, chunk: usize) -> Result<Option<LogReader>> {
        let (recovery_point, log_start_offset) = self.checkpointed(partition)?;
        let path = self.partition_path(partition);
        match LogReader::open(&self.disk, &path, log_start_offset, recovery_point, chunk) {
            Ok(reader) => {
                if reader.is_empty() {
                    self.refuse_lost(partition)?;
                }
                Ok(Some(reader))
            }
            Err(StorageError::PartitionDeleted { .. }) => self.refuse_lost(partition).map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    /// Refuses a partition of which no segment was found although records in it were durable. Rows leave the checkpoint
    /// files before a folder goes, so these are read after it.
    fn refuse_lost(&self, partition: &TopicPartition) -> Result<()> {
        let recovery_point = self.offset_rows(CheckpointFile::RecoveryPoint)?.get(partition);
        if recovery_point <= self.offset_rows(CheckpointFile::LogStart)?.get(partition) {
            return Ok(());
        }
        Err(storage::no_segments(&self.partition_path(partition), recovery_point).into())
    }

    /// Recovery point and log start offset as the checkpoint files had them when this log dir was first asked; 0 without
    /// a row.
    ///
    /// # Errors
    /// When a checkpoint file is damaged.
    pub fn checkpointed(&self, partition: &TopicPartition) -> Result<(Offset, Offset)> {
        let mut kept = self.offsets.lock().unwrap_or_else(PoisonError::into_inner);
        let offsets = match &*kept {
            Some(offsets) => Arc::clone(offsets),
            None => {
                let rows = |file| self.offset_rows(file);
                Arc::new((rows(CheckpointFile::RecoveryPoint)?, rows(CheckpointFile::LogStart)?))
            }
        };
        *kept = Some(Arc::clone(&offsets));
        Ok((offsets.0.get(partition), offsets.1.get(partition)))
    }

    /// Replaces a checkpoint file. The caller holds the root lock.
    fn write_rows(&self, file: CheckpointFile, rows: &OffsetRows) -> Result<()> {
        *self.offsets.lock().unwrap_or_else(PoisonError::into_inner) = None;
        rows.write(&*self.disk, &self.root, file)
    }

    fn offset_rows(&self, file: CheckpointFile) -> Result<OffsetRows> {
        OffsetRows::read(&*self.disk, &self.root, file)
    }

    /// Opens a partition to write, making its folder where it is missing.
    ///
    /// # Errors
    /// When the partition is corrupt or gone, or the disk fails.
    pub fn open_writer(&self, topic: &Topic, partition: i32, now_ms: i64) -> Result<LogWriter> {
        let process_lock = self.lock.as_ref().expect("this log dir was opened to write");
        let partition = topic.partition(partition)?;
        let path = self.partition_path(&partition);
        if self.is_half_made(topic, &path)? {
            self.make_missing_partition(topic, &partition)?;
        }
        self.remove_clean_shutdown_file()?;
        let read_checkpoints = || {
            let read = |file| match self.offset_rows(file) {
                Ok(rows) => Ok(rows.get(&partition)),
                Err(error) => Err(storage_error(error)),
            };
            Ok(Checkpoints {
                recovery_point: read(CheckpointFile::RecoveryPoint)?,
                log_start_offset: read(CheckpointFile::LogStart)?,
            })
        };
        let config = topic.log_config();
        let writer = LogWriter::open(&self.disk, process_lock, &path, config, now_ms, read_checkpoints);
        writer.map_err(|error| self.at_topic(error, &topic.name))
    }

    /// Takes back a broker's word: from now on somebody else writes.
    fn remove_clean_shutdown_file(&self) -> Result<()> {
        let path = self.root.join(CLEAN_SHUTDOWN_FILE);
        if self.disk.stat(&path)?.is_some() {
            let _lock = self.lock_root()?;
            self.remove_if_there(&path)?;
            self.sync_root()?;
        }
        Ok(())
    }

    /// Whether a crash has left a partition without its folder, or the folder without what a broker wants in it.
    fn is_half_made(&self, topic: &Topic, path: &Path) -> Result<bool> {
        let is_ours = matches!(topic.origin, Origin::TopicFile(_));
        Ok(match self.disk.stat(path)? {
            Some(stat) if stat.is_folder && is_ours => {
                self.disk.stat(&path.join(verify::PARTITION_METADATA_FILE))?.is_none()
            }
            found => found.is_none(),
        })
    }

    /// Says of a partition that is gone that its topic is.
    fn at_topic(&self, error: StorageError, topic: &TopicName) -> LogDirError {
        match error {
            StorageError::PartitionDeleted { .. } => LogDirError::TopicDeleted { topic: topic.clone() },
            StorageError::HeldByBroker => LogDirError::HeldByBroker { path: self.root.clone() },
            other => other.into(),
        }
    }

    /// Takes the lock under which topics and checkpoint files change. Each call opens the folder anew, so that threads
    /// exclude each other as processes do.
    fn lock_root(&self) -> Result<FolderLock> {
        let process_lock = self.lock.as_ref().expect("this log dir was opened to write");
        let lock = FolderLock::take(&self.disk.open_folder(&self.root)?)?;
        if !process_lock.still_guards()? {
            return Err(LogDirError::HeldByBroker { path: self.root.clone() });
        }
        Ok(lock)
    }

    fn sync_root(&self) -> Result<()> {
        let folder: Arc<dyn Folder> = self.disk.open_folder(&self.root)?;
        Ok(folder.sync()?)
    }

    fn remove_if_there(&self, path: &Path) -> Result<()> {
        match self.disk.remove_file(path) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Raises the recovery point of a partition, if the folder is still the one that was synced: a topic that was made
    /// anew under the same name has its own.
    ///
    /// # Errors
    /// When the checkpoint file cannot be read or written.
    pub(crate) fn advance_recovery_point(
        &self,
        partition: &TopicPartition,
        folder: crate::disk::FileId,
        offset: Offset,
    ) -> Result<()> {
        self.raise(CheckpointFile::RecoveryPoint, partition, folder, offset)
    }

    fn raise(
        &self,
        file: CheckpointFile,
        partition: &TopicPartition,
        folder: crate::disk::FileId,
        offset: Offset,
    ) -> Result<()> {
        let _lock = self.lock_root()?;
        if self.disk.stat(&self.partition_path(partition))?.map(|stat| stat.id) != Some(folder) {
            return Err(LogDirError::TopicDeleted { topic: partition.topic.clone() });
        }
        let mut rows = self.offset_rows(file)?;
        if rows.raise(partition, offset) {
            self.write_rows(file, &rows)?;
        }
        Ok(())
    }
}

/// What a checkpoint file says is needed below this floor, whose errors it then speaks.
fn storage_error(error: LogDirError) -> StorageError {
    match error {
        LogDirError::Storage(error) => error,
        LogDirError::Disk(error) => error.into(),
        other => StorageError::Corrupt {
            path: match &other {
                LogDirError::DamagedFile { path, .. } => path.clone(),
                _ => PathBuf::new(),
            },
            position: crate::units::Position::ZERO,
            offset: Offset::ZERO,
            what: other.to_string(),
        },
    }
}
