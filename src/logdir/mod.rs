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
//! A [`Partition`] is the handle of one incarnation: views, readers and guards come from it.
//!
//! Locks are taken in one order: `.lock` (when a [`LogDir`] is opened to write), the root folder (to create, alter and
//! delete topics and to write checkpoint files; brief), one partition's folder (to append, roll and remove; brief). Who holds
//! a partition waits for neither the root nor another partition.
//!
//! In a broker's log dir the cluster's metadata says what topics there are, if it is here. A topic without a topic file that no
//! metadata names is a broker's, too: its partitions are read as they are.

mod alter;
mod broker_root;
mod brokers_files;
mod checkpoints;
mod cluster;
mod cluster_metadata;
mod compact;
pub mod config;
mod create;
mod delete;
mod delete_records;
mod durable_below;
mod error;
mod folder_kind;
mod import;
mod log_dirs;
mod lost_file;
mod nearest;
mod partition;
mod pattern;
mod repair;
mod retention;
mod set_aside;
pub mod topic;
mod unread;
mod verify;
mod witnesses;

pub use alter::Alteration;
pub use cluster_metadata::ClusterMetadata;
pub use compact::{Amount, CompactOptions, CompactionReport, Outcome};
pub use create::{Created, NewTopic};
pub use delete::Deleting;
pub use durable_below::DurableBelow;
pub(crate) use error::numbers;
pub use error::{LogDirError, Result};
pub use import::{ImportedEnds, PartitionImport, TopicImport};
pub use log_dirs::LogDirs;
pub use nearest::Meant;
pub use partition::Partition;
pub use pattern::{TopicPattern, TopicPatternError};
pub use repair::{RepairAdvice, RepairPlan, Repaired};
pub use retention::{LimitOverrides, RetentionPlan, Sparing};
pub use topic::{Origin, Topic};
pub use unread::{Readers, Unread};
pub use verify::{CheckedPartition, TopicFindings, TopicVerification};

use crate::disk::{Disk, Folder, FolderEntry, FolderLock, SharedLock};
use crate::storage::{Durability, LogWriter, PartitionGuard};
use crate::units::{Offset, SetAside, Timestamp, TopicName, TopicPartition};
pub use broker_root::META_PROPERTIES;
use checkpoints::{CheckpointFile, CheckpointFiles, OffsetRows};
use cluster::Cluster;
use folder_kind::{FolderKind, NamedPartitions};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::slice;
use std::sync::{Arc, OnceLock};

/// A broker's word that it closed every log in order; untrue as soon as somebody else writes.
const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";
/// A broker's own metadata, whose folder is no topic's.
const METADATA_TOPIC: &str = "__cluster_metadata";
/// The folder of the cluster's metadata.
pub const METADATA_FOLDER: &str = "__cluster_metadata-0";
/// What kdir remembers of a broker. Where it is and `meta.properties` is not, no broker has the log dir, whatever else of one is
/// there.
pub const BROKER_FILE: &str = ".kdir-broker";
/// A broker's cache of tiered segments, the one folder in a log dir that is no partition.
const REMOTE_INDEX_CACHE: &str = "remote-log-index-cache";

/// A log dir that is open. Clones are the same one.
#[derive(Clone)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    root: Arc<dyn Folder>,
    /// Held while this log dir is open to write.
    lock: Option<Arc<dyn SharedLock>>,
    checkpoints: Arc<CheckpointFiles>,
    /// Stray folders, as they were when they were first listed.
    strays: Arc<OnceLock<Arc<Vec<SetAside>>>>,
    cluster: Arc<Cluster>,
}

/// What [`LogDir::find_topics`] finds.
#[derive(Debug, Default)]
pub struct FoundTopics {
    /// By name. One whose topic file is damaged is here as its folders show it.
    pub topics: Vec<Topic>,
    /// Topics whose file cannot be read, each with the reason.
    pub damaged: Vec<(TopicName, LogDirError)>,
    /// Folders that were set aside, by name.
    pub set_aside: Vec<SetAside>,
}

impl LogDir {
    /// Opens a log dir to read. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        let root = match disk.open_folder(root) {
            Err(error) if error.is_not_found() => return Err(LogDirError::Missing { path: root.to_owned() }),
            root => root?,
        };
        let checkpoints = Arc::new(CheckpointFiles::to_read(Arc::clone(&root)));
        let cluster = Cluster::at(&root);
        Ok(Self { disk, root, lock: None, checkpoints, strays: Arc::default(), cluster })
    }

    /// Opens a log dir to write. No broker can start on it as long as this lives. A process opens one at a time: the
    /// lock is the process's.
    ///
    /// # Errors
    /// When there is no such directory, a broker has it, or it cannot be written to.
    pub fn open_to_write(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        let mut log_dir = Self::open(disk, root)?;
        let held = || LogDirError::HeldByBroker { path: root.to_owned() };
        log_dir.checkpoints = Arc::new(CheckpointFiles::to_write(Arc::clone(&log_dir.root)));
        log_dir.lock = Some(log_dir.disk.share(&root.join(".lock"))?.ok_or_else(held)?);
        Ok(log_dir)
    }

    /// Opens a log dir to write, with every other writer kept out: brokers and other kdir processes.
    ///
    /// # Errors
    /// As [`LogDir::open_to_write`], and when another process writes to it.
    pub fn open_alone(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        let log_dir = Self::open_to_write(disk, root)?;
        match &log_dir.lock {
            Some(lock) if lock.exclude_others()? => Ok(log_dir),
            _ => Err(LogDirError::InUse { path: root.to_owned() }),
        }
    }

    /// Opens a log dir to repair it. As to write, but a checkpoint file that cannot be read keeps no partition from being
    /// repaired: what it says is then not known.
    ///
    /// # Errors
    /// As [`LogDir::open_to_write`].
    pub fn open_to_repair(disk: Arc<dyn Disk>, root: &Path) -> Result<Self> {
        let mut log_dir = Self::open_to_write(disk, root)?;
        log_dir.checkpoints = Arc::new(CheckpointFiles::to_repair(Arc::clone(&log_dir.root)));
        Ok(log_dir)
    }

    /// Makes the directory, and those above it, where it is missing, and their names durable.
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
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            disk.open_folder(parent.unwrap_or(Path::new(".")))?.sync()?;
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The open directory.
    pub(crate) fn folder(&self) -> &Arc<dyn Folder> {
        &self.root
    }

    fn checkpoint_files(&self) -> &CheckpointFiles {
        &self.checkpoints
    }

    fn is_writable(&self) -> bool {
        self.lock.is_some()
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
        if self.root.stat(META_PROPERTIES)?.is_some() {
            return Ok(Some(META_PROPERTIES));
        }
        let has = |name| self.root.stat(name).map(|stat| stat.is_some());
        Ok((has(METADATA_FOLDER)? && !has(BROKER_FILE)?).then_some(METADATA_FOLDER))
    }

    /// Whether the configuration in a topic's file is in force. In a log dir that a broker owns it is not, even for topics
    /// that kdir created: the broker goes by its own metadata.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn decides_on(&self, topic: &Topic) -> Result<bool> {
        Ok(matches!(topic.origin, Origin::TopicFile(_)) && self.broker_mark()?.is_none())
    }

    fn refuse_broker_owned(&self) -> Result<()> {
        match self.broker_mark()? {
            Some(mark) => Err(LogDirError::BrokerOwned { path: self.root().to_owned(), mark }),
            None => Ok(()),
        }
    }

    /// The topic of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn topic(&self, name: &TopicName) -> Result<Topic> {
        self.find_topic(name)?.ok_or_else(|| nearest::topic_not_found(slice::from_ref(self), name))
    }

    /// The topic of that name, if there is one.
    ///
    /// # Errors
    /// When the disk fails or the topic file is damaged.
    pub fn find_topic(&self, name: &TopicName) -> Result<Option<Topic>> {
        match self.look_for_topic(name)? {
            // Its file may have been written after it was looked for, and before the folder was; or the topic is being deleted.
            // Each shows the second time: a deletion has its marker from before its file goes until after the folders do.
            Some(topic) if topic.origin == Origin::Broker => self.look_for_topic(name),
            found => Ok(found),
        }
    }

    fn look_for_topic(&self, name: &TopicName) -> Result<Option<Topic>> {
        if let Some(metadata) = self.readable_metadata()? {
            let of_folders = self.broker_topics(&self.root.list()?, |it| it == name)?.pop();
            let folders = of_folders.as_ref().map_or(&[][..], |topic| &topic.partitions);
            return Ok(self.cluster_topic(&metadata, name, self.replica_here()?, folders)?.or(of_folders));
        }
        let of_file = match self.read_topic_file(name) {
            Ok(Some(topic)) => return Ok(Some(topic)),
            of_file => of_file,
        };
        let of_broker = self.broker_topics(&self.root.list()?, |it| it == name)?.pop();
        match of_file {
            // A file that describes no topic, without a partition of that topic, is somebody else's.
            Err(LogDirError::DamagedFile { .. }) if of_broker.is_none() => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Ok(of_broker),
        }
    }

    fn read_topic_file(&self, name: &TopicName) -> Result<Option<Topic>> {
        topic::read_topic_file(&*self.root, name)
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
        let entries = self.root.list()?;
        if let Some(metadata) = self.readable_metadata()? {
            return self.find_topics_by(&metadata, &entries);
        }
        let (mut found, mut has_file) = (FoundTopics::default(), HashSet::new());
        let names = entries.iter().filter(|entry| !entry.is_folder).map(|entry| &entry.name);
        for name in names.filter_map(|name| name.strip_suffix(topic::TOPIC_FILE_SUFFIX)?.parse().ok()) {
            match self.read_topic_file(&name) {
                // One that is gone by now is a topic that was deleted, whose folders are in the list as well.
                Ok(topic) => {
                    found.topics.extend(topic);
                    has_file.insert(name);
                }
                Err(error) => found.damaged.push((name, error)),
            }
        }
        let mut of_brokers = self.broker_topics(&entries, |name| !has_file.contains(name))?;
        for topic in &mut of_brokers {
            // As in `find_topic`.
            if let Ok(Some(of_file)) = self.read_topic_file(&topic.name) {
                *topic = of_file;
            }
        }
        // A file that describes no topic, without a partition of that topic, is somebody else's.
        found.damaged.retain(|(name, error)| {
            !matches!(error, LogDirError::DamagedFile { .. }) || of_brokers.iter().any(|topic| topic.name == *name)
        });
        found.topics.extend(of_brokers);
        found.topics.sort_by(|one, other| one.name.cmp(&other.name));
        found.set_aside = set_aside::among(&entries);
        Ok(found)
    }

    /// Every topic in a log dir that has the cluster's metadata.
    fn find_topics_by(&self, metadata: &ClusterMetadata, entries: &[FolderEntry]) -> Result<FoundTopics> {
        let mut of_folders: BTreeMap<TopicName, Topic> =
            self.broker_topics(entries, |_| true)?.into_iter().map(|topic| (topic.name.clone(), topic)).collect();
        let mut found = FoundTopics { set_aside: set_aside::among(entries), ..FoundTopics::default() };
        let here = self.replica_here()?;
        for name in metadata.topics().into_keys().filter_map(|name| name.parse::<TopicName>().ok()) {
            let folders = of_folders.remove(&name);
            match self.cluster_topic(metadata, &name, here, folders.as_ref().map_or(&[][..], |topic| &topic.partitions))
            {
                Ok(topic) => found.topics.extend(topic),
                Err(error) => {
                    found.damaged.push((name, error));
                    found.topics.extend(folders);
                }
            }
        }
        found.topics.extend(of_folders.into_values());
        found.topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The topics, among those that are wanted, of which there are partitions; what waits to be deleted is none. A folder in
    /// which nothing is counts beside one that is a partition for certain.
    fn broker_topics(&self, entries: &[FolderEntry], is_wanted: impl Fn(&TopicName) -> bool) -> Result<Vec<Topic>> {
        let mut folders = BTreeMap::<TopicName, Vec<i32>>::new();
        let (mut proven, named) = (HashSet::new(), NamedPartitions::default());
        let names = entries.iter().filter(|entry| entry.is_folder).map(|entry| &entry.name);
        for it in names.filter_map(|name| TopicPartition::parse_folder_name(name)).filter(|it| is_wanted(&it.topic)) {
            match self.folder_kind(&it, &named) {
                FolderKind::Foreign => continue,
                FolderKind::Partition => drop(proven.insert(it.topic.clone())),
                FolderKind::Empty => {}
            }
            folders.entry(it.topic).or_default().push(it.partition);
        }
        folders.retain(|name, _| proven.contains(name));
        for deletion in self.deletions(entries)? {
            folders.remove(deletion.topic_name());
        }
        folders.retain(|name, _| name.as_str() != METADATA_TOPIC);
        let topic = |(name, mut partitions): (TopicName, Vec<i32>)| {
            partitions.sort_unstable();
            Topic::of_broker(name, partitions)
        };
        Ok(folders.into_iter().map(topic).collect())
    }

    /// The folders that have names of partitions.
    fn partition_folders(&self) -> Result<impl Iterator<Item = TopicPartition> + use<>> {
        let folders = self.root.list()?.into_iter().filter(|entry| entry.is_folder);
        Ok(folders.filter_map(|entry| TopicPartition::parse_folder_name(&entry.name)))
    }

    /// The path of a partition's folder.
    #[must_use]
    pub fn partition_path(&self, partition: &TopicPartition) -> PathBuf {
        self.root().join(partition.folder_name())
    }

    /// What is wrong with files at the root that readers can do without; returned once.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn take_damaged_checkpoints(&self) -> Result<Vec<LogDirError>> {
        let mut damaged = self.checkpoints.take_damaged()?;
        match self.offset_rows(CheckpointFile::Cleaner) {
            Err(error @ (LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. })) => damaged.push(error),
            Err(LogDirError::Disk(error)) if error.is_unreadable() => damaged.push(error.into()),
            rows => drop(rows?),
        }
        damaged.extend(self.cluster_metadata().err());
        Ok(damaged)
    }

    /// The topics that a broker's cleaner has compacted here. A file that cannot be read names none: that is
    /// [reported](Self::take_damaged_checkpoints) for itself.
    ///
    /// # Errors
    /// When the disk fails otherwise.
    pub fn cleaned_topics(&self) -> Result<HashSet<TopicName>> {
        match self.offset_rows(CheckpointFile::Cleaner) {
            Err(LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. }) => Ok(HashSet::new()),
            Err(LogDirError::Disk(error)) if error.is_unreadable() => Ok(HashSet::new()),
            rows => Ok(rows?.topics().collect()),
        }
    }

    fn offset_rows(&self, file: CheckpointFile) -> Result<OffsetRows> {
        OffsetRows::read(&*self.root, file)
    }

    /// Takes back a broker's word: from now on somebody else writes.
    fn remove_clean_shutdown_file(&self) -> Result<()> {
        if self.root.stat(CLEAN_SHUTDOWN_FILE)?.is_some() {
            let _lock = self.lock_root()?;
            self.remove_if_there(CLEAN_SHUTDOWN_FILE)?;
            self.root.sync()?;
        }
        Ok(())
    }

    /// Refuses to go on where a broker has taken the log dir.
    fn check_process_lock(&self) -> Result<()> {
        let lock = self.lock.as_ref().expect("a log dir that is changed was opened to write");
        if lock.still_guards()? { Ok(()) } else { Err(LogDirError::HeldByBroker { path: self.root().to_owned() }) }
    }

    /// Takes the lock under which topics and checkpoint files change. Each call opens the folder again, so that threads
    /// exclude each other as processes do.
    fn lock_root(&self) -> Result<FolderLock> {
        let lock = FolderLock::take(&self.disk.open_folder(self.root())?)?;
        self.check_process_lock()?;
        Ok(lock)
    }

    fn remove_if_there(&self, name: &str) -> Result<()> {
        match self.root.remove_file(name) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Raises offsets of partitions in one of the checkpoint files, up to the first that is an error, with one write of it. A
    /// topic that was deleted, or created again since, has its own.
    fn raise<'a>(
        &self,
        file: CheckpointFile,
        offsets: impl IntoIterator<Item = (&'a Partition, Offset)>,
    ) -> Result<()> {
        let _lock = self.lock_root()?;
        self.raise_locked(file, offsets)
    }

    /// The same, for a holder of the root lock.
    fn raise_locked<'a>(
        &self,
        file: CheckpointFile,
        offsets: impl IntoIterator<Item = (&'a Partition, Offset)>,
    ) -> Result<()> {
        let mut rows = self.offset_rows(file)?;
        let mut is_raised = false;
        let mut raise = |(partition, offset): (&Partition, Offset)| {
            partition.check_current()?;
            is_raised |= rows.raise(partition.id(), offset);
            Ok(())
        };
        let checked = offsets.into_iter().try_for_each(&mut raise);
        if is_raised {
            rows.write(&*self.root, file)?;
        }
        checked
    }

    /// Raises recovery points: everything below them is durable.
    ///
    /// # Errors
    /// When the file cannot be written, or a partition is gone.
    pub(crate) fn raise_recovery_points<'a>(
        &self,
        points: impl IntoIterator<Item = (&'a Partition, Offset)>,
    ) -> Result<()> {
        self.raise(CheckpointFile::RecoveryPoint, points)
    }

    /// Opens the log of a partition that is guarded to write to it.
    ///
    /// # Errors
    /// When the log is corrupt, or the disk fails.
    pub fn open_writer(
        &self,
        partition: &Partition,
        guard: &PartitionGuard,
        durability: Durability,
        now: Timestamp,
    ) -> Result<LogWriter> {
        if !self.checkpoint_files().is_known(partition.id())? {
            // Who made it may have died before its name was durable.
            self.root.sync()?;
        }
        Ok(LogWriter::open(guard, durability, now)?)
    }
}
