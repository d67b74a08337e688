//! A partition of a topic, as a handle: views and readers come from it, and the right to change it.
//!
//! The handle stands for one incarnation of the topic. Its folder is opened once and held, so that what was decided on one
//! folder is never applied to another of the same name; a topic that was deleted, or deleted and created again, is an error
//! to every change. Who has more partitions than descriptors lets some of the folders go for a time: which ones they are is
//! kept, and a folder that is opened again must be the same file, of the same topic id.

use super::checkpoints::{CheckpointFile, CheckpointFiles};
use super::topic::{PARTITION_METADATA_FILE, PARTITION_METADATA_SIZE_MAX, TopicFile};
use super::{LogDir, LogDirError, Result, Topic};
use crate::disk::{FileId, Folder, FolderLock, atomic};
use crate::format::properties::PartitionMetadata;
use crate::storage::durable_end::{self, DurableEnd};
use crate::storage::{
    self, Checkpoints, Durability, FIRST_EPOCH, LEADER_EPOCH_FILE, LogConfig, LogReader, LogView, LogWriter,
    PartitionGuard,
};
use crate::units::{Offset, Timestamp, TopicPartition};
use std::path::PathBuf;
use std::slice;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// One partition of one topic.
pub struct Partition {
    log_dir: LogDir,
    id: TopicPartition,
    /// What the folder is called in the log dir.
    folder_name: String,
    topic: Arc<TopicFile>,
    open: Mutex<Open>,
}

/// What is known of the partition's folder.
#[derive(Default)]
struct Open {
    folder: KnownFolder,
    /// Whether `partition.metadata` in that folder was seen to have the topic's id.
    is_identified: bool,
    /// Whether what the first change of the partition needs was done: a broker's word that it closed every log in order is
    /// taken back, a copied folder has its own promise, and the partition is known to the recovery-point file.
    is_prepared: bool,
    /// Below which offset all was durable when the last run ended, by the file that was like this.
    durable_end: Option<(FileVersion, Checkpoints)>,
}

/// Which file, and when it was changed last; `None` where there is none.
type FileVersion = Option<(FileId, i64)>;

/// The folder that the handle stands for.
#[derive(Default)]
enum KnownFolder {
    /// It was not there when it was looked for last, or never looked for.
    #[default]
    None,
    Held(Arc<dyn Folder>),
    /// No descriptor holds it: another folder can get its inode number, and the topic id tells them apart.
    LetGo {
        id: FileId,
        /// As `partition.metadata` has it; `None` without that file, as before Kafka 2.8.
        topic_id: Option<Uuid>,
    },
}

/// Whether a folder must be its topic's before it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// A change of records: the topic id in the folder is the topic's.
    Required,
    /// A repair, which writes the id where it is wrong.
    Repaired,
}

impl Partition {
    fn new(log_dir: LogDir, topic: &Topic, partition: i32, file: Arc<TopicFile>) -> Result<Self> {
        let id = topic.partition(partition)?;
        let folder_name = topic.folder_name(&id);
        Ok(Self { log_dir, id, folder_name, topic: file, open: Mutex::default() })
    }

    /// Where its folder is.
    fn path(&self) -> PathBuf {
        self.log_dir.root().join(&self.folder_name)
    }

    /// The log dir that it is in.
    pub(crate) fn log_dir(&self) -> &LogDir {
        &self.log_dir
    }

    /// Topic and number.
    #[must_use]
    pub fn id(&self) -> &TopicPartition {
        &self.id
    }

    /// The topic's id; `None` for one of a broker, whose folders alone are known.
    #[must_use]
    pub fn topic_id(&self) -> Option<Uuid> {
        self.topic.id()
    }

    /// The topic's id; for a broker's topic the one that the folder names, where it names one.
    ///
    /// # Errors
    /// When the folder's file is damaged, or the disk fails.
    pub fn incarnation(&self) -> Result<Option<Uuid>> {
        match (self.topic_id(), self.folder()?) {
            (None, Some(folder)) => topic_id_in(&*folder),
            (topic_id, _) => Ok(topic_id),
        }
    }

    /// What the log is now. A partition without a folder is an empty log.
    ///
    /// # Errors
    /// When the disk fails, a checkpoint file is damaged, or durable records are nowhere.
    pub fn view(&self) -> Result<LogView> {
        let of_files = self.checkpoints()?;
        let view = match self.folder()? {
            Some(folder) => {
                let promised = durable_end::promised(&*folder, self.topic_id(), of_files)?;
                LogView::of(folder, promised)?
            }
            None => LogView::missing(self.path(), of_files),
        };
        if view.is_empty() {
            self.refuse_lost()?;
        }
        Ok(view.decompressing(self.topic.config_as_found().decompressed_size_max()))
    }

    /// Reads from the log start offset on, `chunk` bytes at a time.
    ///
    /// # Errors
    /// As [`Partition::view`].
    pub fn reader(&self, chunk: usize) -> Result<LogReader> {
        Ok(LogReader::new(self.view()?, chunk))
    }

    /// Waits for the right to change the partition, making its folder where it is missing. What it hands out are the
    /// configuration and checkpoints that are in force now.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, the folder is another topic's, or the disk fails.
    pub fn guard(&self) -> Result<PartitionGuard> {
        self.guard_of(Identity::Required)
    }

    pub(super) fn guard_of(&self, identity: Identity) -> Result<PartitionGuard> {
        // Each of these may take the root lock, which nobody waits for who holds a partition.
        let is_prepared = self.open().is_prepared;
        if !is_prepared {
            self.log_dir.remove_clean_shutdown_file()?;
        }
        let folder = match self.folder()? {
            Some(folder) => folder,
            None => self.make_missing()?,
        };
        if !is_prepared {
            if self.topic_id().is_none() {
                self.log_dir.refuse_folder_of_lost_file(&*folder, &self.id.topic)?;
            }
            self.settle_copy(&folder)?;
            self.make_known()?;
            self.open().is_prepared = true;
        }
        let lock = FolderLock::take(&folder)?;
        self.check_named(&*folder)?;
        self.log_dir.check_process_lock()?;
        let config = self.topic.config(&self.log_dir)?;
        let mut checkpoints = self.log_dir.checkpoint_files().now(&self.id)?;
        let of_folder = self.durable_end(&*folder)?;
        checkpoints.recovery_point = checkpoints.recovery_point.max(of_folder.recovery_point);
        checkpoints.named_log = of_folder.named_log;
        let guard = PartitionGuard::new(lock, config, checkpoints);
        if identity == Identity::Required {
            self.identify(&guard)?;
        }
        Ok(guard)
    }

    /// Adds the partition's row to the recovery-point file, so that a folder that goes missing is found out. A partition whose
    /// creator died has no row; nor do some that an earlier kdir made.
    fn make_known(&self) -> Result<()> {
        if self.topic_id().is_none() || self.log_dir.checkpoint_files().is_known(&self.id)? {
            return Ok(());
        }
        self.log_dir.folder().sync()?;
        match self.log_dir.raise(CheckpointFile::RecoveryPoint, [(self, Offset::ZERO)]) {
            // Not what keeps retention from making room.
            Err(LogDirError::Disk(error)) if error.is_full() => Ok(()),
            // A repair goes on without it, and no other writer comes here.
            Err(LogDirError::NewerFile { .. }) => Ok(()),
            raised => raised,
        }
    }

    /// Settles what a power failure or a killed writer has left, as a writer does before its first append: to a reader a batch
    /// that was lost with later ones there is corruption. A partition without a folder has nothing.
    ///
    /// # Errors
    /// As [`Partition::guard`], and when the log is corrupt.
    pub fn settle(&self) -> Result<()> {
        if self.folder()?.is_some() {
            let guard = self.guard()?;
            LogWriter::open(&guard, Durability::Synced, Timestamp::NONE)?;
        }
        Ok(())
    }

    /// Ends the run of a writer after its last sync: see [`LogWriter::close`]. What it knows to be durable is kept in the
    /// folder.
    ///
    /// # Errors
    /// As [`Partition::guard`], and when the disk fails.
    pub fn close(&self, writer: &mut LogWriter, now: Timestamp) -> Result<()> {
        if !writer.needs_close() {
            return Ok(());
        }
        let guard = self.guard()?;
        if let Some(end) = writer.close(&guard, now)? {
            durable_end::raise(&guard, self.topic_id(), writer.leader_epoch(), end)?;
        }
        Ok(())
    }

    /// What the file in the folder, which is locked, says to be durable. It is read again when it was changed.
    fn durable_end(&self, folder: &dyn Folder) -> Result<Checkpoints> {
        let version = folder.stat(durable_end::FILE)?.map(|stat| (stat.id, stat.changed_ns));
        let known = self.open().durable_end;
        if let Some((_, said)) = known.filter(|(known, _)| *known == version) {
            return Ok(said);
        }
        let said = durable_end::promised(folder, self.topic_id(), Checkpoints::default())?;
        self.open().durable_end = Some((version, said));
        Ok(said)
    }

    /// Lets a folder that is a copy begin with no promise: it may have been made while the log was written, and then ends
    /// below what the checkpoint file says of the original. Of two that find the copy, the second sees what the first has
    /// promised since, so it looks again under the locks. A crash after the row was lowered leaves the copy to be found.
    fn settle_copy(&self, folder: &Arc<dyn Folder>) -> Result<()> {
        let topic_id = self.topic_id();
        if durable_end::read(&**folder, topic_id)? != DurableEnd::Copy {
            return Ok(());
        }
        let root = self.log_dir.lock_root()?;
        let lock = FolderLock::take(folder)?;
        self.check_named(&**folder)?;
        if durable_end::read(&**folder, topic_id)? != DurableEnd::Copy {
            return Ok(());
        }
        for file in [CheckpointFile::RecoveryPoint, CheckpointFile::HighWatermark] {
            let mut rows = match self.log_dir.offset_rows(file) {
                Err(LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. }) if file.is_brokers() => continue,
                rows => rows?,
            };
            if rows.lower(&self.id, Offset::ZERO) {
                rows.write(&**root.folder(), file)?;
            }
        }
        let guard = PartitionGuard::new(lock, Arc::default(), Checkpoints::default());
        Ok(durable_end::begin(&guard, topic_id)?)
    }

    /// Whether the topic's configuration is what its file says: see [`LogDir::decides_on`].
    pub(super) fn is_configured_here(&self) -> Result<bool> {
        Ok(self.topic_id().is_some() && self.log_dir.broker_mark()?.is_none())
    }

    /// The configuration in force.
    ///
    /// # Errors
    /// When the topic was deleted, or its file is damaged.
    pub fn config(&self) -> Result<Arc<LogConfig>> {
        self.topic.config(&self.log_dir)
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The folder, once it is there always the same. It is held from then on.
    ///
    /// # Errors
    /// When it cannot be opened, or is another topic's by now.
    pub fn folder(&self) -> Result<Option<Arc<dyn Folder>>> {
        let mut open = self.open();
        let folder = self.find_folder(&open)?;
        if let Some(folder) = &folder {
            open.folder = KnownFolder::Held(Arc::clone(folder));
        }
        Ok(folder)
    }

    /// The folder, opened for the caller alone where it is not held.
    fn find_folder(&self, open: &Open) -> Result<Option<Arc<dyn Folder>>> {
        let found = match &open.folder {
            KnownFolder::Held(folder) => return Ok(Some(Arc::clone(folder))),
            KnownFolder::None | KnownFolder::LetGo { .. } => self.log_dir.folder().open_folder(&self.folder_name),
        };
        let folder = match found {
            Ok(folder) => Some(folder),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let KnownFolder::LetGo { id, topic_id } = open.folder else { return Ok(folder) };
        let folder = folder.filter(|folder| folder.id() == id).ok_or_else(|| self.deleted())?;
        let found = topic_id_in(&*folder)?;
        // A folder that was half made is completed by whoever changes it first.
        let was_completed = topic_id.is_none() && found == self.topic_id();
        if found == topic_id || was_completed { Ok(Some(folder)) } else { Err(self.deleted()) }
    }

    /// Gives the folder's descriptor back, until the folder is needed again. Another one that has its name then is an error.
    ///
    /// # Errors
    /// When the disk fails, or the folder's topic id cannot be read.
    pub fn let_go(&self) -> Result<()> {
        let mut open = self.open();
        let KnownFolder::Held(folder) = &open.folder else { return Ok(()) };
        let topic_id = if open.is_identified { self.topic_id() } else { topic_id_in(&**folder)? };
        let folder = KnownFolder::LetGo { id: folder.id(), topic_id };
        (open.folder, open.durable_end) = (folder, None);
        Ok(())
    }

    fn deleted(&self) -> LogDirError {
        LogDirError::TopicDeleted { topic: self.id.topic.clone() }
    }

    /// Refuses a partition whose topic is gone, or whose folder is another one by now.
    pub(super) fn check_current(&self) -> Result<()> {
        self.topic.config(&self.log_dir)?;
        let folder = self.find_folder(&self.open())?;
        self.check_named(&*folder.ok_or_else(|| self.deleted())?)
    }

    /// Refuses a folder that is not the one that the partition's name leads to.
    pub(super) fn check_named(&self, folder: &dyn Folder) -> Result<()> {
        match self.log_dir.folder().stat(&self.folder_name)? {
            Some(stat) if stat.id == folder.id() => Ok(()),
            _ => Err(self.deleted()),
        }
    }

    /// Checkpoints that a reader goes by: as they were when the log dir was first asked, which spares one who reads ten
    /// thousand partitions to read the files as often. Who may write gets those that are in force.
    fn checkpoints(&self) -> Result<Checkpoints> {
        let files: &CheckpointFiles = self.log_dir.checkpoint_files();
        if self.log_dir.is_writable() { files.now(&self.id) } else { files.as_first_read(&self.id) }
    }

    /// Refuses a partition that has no segment although records in it were durable, or no folder since a broker has set it
    /// aside. A promise counts only if it was there both before and after the folder was listed: it is written after the
    /// records, and its rows are removed from the checkpoint files before the folder is deleted.
    pub(super) fn refuse_lost(&self) -> Result<()> {
        let (files, path) = (self.log_dir.checkpoint_files(), self.path());
        let promise = |folder: &Option<Arc<dyn Folder>>| -> Result<Checkpoints> {
            let of_files = files.now(&self.id)?;
            match folder {
                Some(folder) => Ok(durable_end::promised(&**folder, self.topic_id(), of_files)?),
                None => Ok(of_files),
            }
        };
        let (before, was_known) = (promise(&self.folder()?)?, files.is_known(&self.id)?);
        let folder = self.folder()?;
        if let Some(folder) = &folder
            && !storage::segments::base_offsets(&**folder)?.is_empty()
        {
            return Ok(());
        }
        if folder.is_none() {
            self.log_dir.refuse_strays_of(slice::from_ref(&self.id))?;
        }
        let after = promise(&folder)?;
        if before.promise_more_than(Offset::ZERO) && after.promise_more_than(Offset::ZERO) {
            return Err(storage::no_segments(&path, &after).into());
        }
        if self.topic.id().is_some() && folder.is_none() && was_known && files.is_known(&self.id)? {
            // Not the row of another topic of the name, whose folder is about to be made.
            self.topic.config(&self.log_dir)?;
            return Err(LogDirError::FolderLost { path });
        }
        Ok(())
    }

    /// Makes the folder that the topic says is there.
    fn make_missing(&self) -> Result<Arc<dyn Folder>> {
        let _lock = self.log_dir.lock_root()?;
        // A topic deleted since its file was read must not come back as a folder.
        self.topic.config(&self.log_dir)?;
        self.refuse_lost()?;
        let folder = self.make()?;
        self.log_dir.folder().sync()?;
        Ok(folder)
    }

    /// Makes the folder, under the root lock for no longer than that takes. Its name is durable when the root has been
    /// synced.
    pub(super) fn make_new(&self) -> Result<()> {
        let _lock = self.log_dir.lock_root()?;
        self.topic.config(&self.log_dir)?;
        self.make().map(drop)
    }

    /// Makes what a broker makes for a new partition, and completes what a crash has left of it. The caller holds the root
    /// lock. The folder is locked: a writer that has seen the topic file may be in it already.
    pub(super) fn make(&self) -> Result<Arc<dyn Folder>> {
        let root = self.log_dir.folder();
        if root.stat(&self.folder_name)?.is_none() {
            root.create_folder(&self.folder_name)?;
        }
        let folder = self.folder()?.ok_or_else(|| self.deleted())?;
        let lock = FolderLock::take(&folder)?;
        let guard = PartitionGuard::new(lock, Arc::default(), Checkpoints::default());
        self.complete(&guard)?;
        Ok(folder)
    }

    /// Makes the files that a broker wants in a partition's folder, where they are missing or empty.
    fn complete(&self, guard: &PartitionGuard) -> Result<()> {
        let folder = &**guard.folder();
        if let Some(topic_id) = self.topic.id()
            && is_without_content(folder, PARTITION_METADATA_FILE)?
        {
            guard.put(PARTITION_METADATA_FILE, PartitionMetadata { version: 0, topic_id }.print().as_bytes())?;
        }
        if is_without_content(folder, LEADER_EPOCH_FILE)? {
            guard.put(LEADER_EPOCH_FILE, FIRST_EPOCH)?;
        }
        if durable_end::read(folder, self.topic_id())? == DurableEnd::Unknown {
            durable_end::begin(guard, self.topic_id())?;
        }
        if storage::segments::base_offsets(folder)?.is_empty() {
            storage::create_empty_log(guard, Offset::ZERO)?;
        }
        Ok(folder.sync()?)
    }

    /// Holds the topic id in the folder against the topic's, once.
    fn identify(&self, guard: &PartitionGuard) -> Result<()> {
        let mut open = self.open();
        let Some(topic_id) = self.topic.id().filter(|_| !open.is_identified) else { return Ok(()) };
        match topic_id_in(&**guard.folder())? {
            Some(found) if found == topic_id => {}
            Some(found) => {
                let (path, topic) = (guard.folder().path().to_owned(), self.id.topic.clone());
                return Err(LogDirError::OtherTopicsFolder { path, topic, found, topic_id });
            }
            // A crash has left it half made.
            None => self.complete(guard)?,
        }
        open.is_identified = true;
        Ok(())
    }
}

fn is_without_content(folder: &dyn Folder, name: &str) -> Result<bool> {
    Ok(folder.stat(name)?.is_none_or(|stat| stat.size == 0))
}

/// The topic id that `partition.metadata` in a folder has; `None` where there is no such file, or nothing in it.
pub(super) fn topic_id_in(folder: &dyn Folder) -> Result<Option<Uuid>> {
    let bytes = atomic::read_small(folder, PARTITION_METADATA_FILE, PARTITION_METADATA_SIZE_MAX)?;
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    match PartitionMetadata::parse(&bytes) {
        Ok(metadata) => Ok(Some(metadata.topic_id)),
        Err(error) => {
            let path = folder.path().join(PARTITION_METADATA_FILE);
            Err(LogDirError::DamagedFile { path, what: error.to_string() })
        }
    }
}

impl LogDir {
    /// The handle of one of a topic's partitions.
    ///
    /// # Errors
    /// When the topic does not have it.
    pub fn partition(&self, topic: &Topic, partition: i32) -> Result<Partition> {
        Partition::new(self.clone(), topic, partition, Arc::new(TopicFile::of(topic)))
    }

    /// The handles of all of a topic's partitions.
    ///
    /// # Errors
    /// None: a topic has its partitions.
    pub fn partitions(&self, topic: &Topic) -> Result<Vec<Partition>> {
        let file = Arc::new(TopicFile::of(topic));
        let handle = |&partition: &i32| Partition::new(self.clone(), topic, partition, Arc::clone(&file));
        topic.partitions.iter().map(handle).collect()
    }
}
