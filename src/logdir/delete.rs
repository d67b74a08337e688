//! Deletes topics.
//!
//! Under the root lock the topic file is renamed to `<topic-id>.deleted`, which the deleter locks, and rows leave the
//! checkpoint files. Then, without the root lock, partition by partition: the folder is locked, its topic id compared, and
//! it is renamed to the form in which a broker sets aside what it will remove, with the topic id in it. What was set aside
//! is emptied and removed, and the renamed topic file last. On a disk that is too full to write the checkpoint files again,
//! rows leave them when the folders are gone. A folder that cannot be renamed, as in the lower layer of an overlay, is emptied
//! and removed under its own name and lock.
//!
//! An [import](super::TopicImport) begins with such a file, so that one that is killed is undone here.
//!
//! A topic whose file was renamed is gone for everybody: guards of its partitions refuse. States that a crash can leave: a
//! `.deleted` file that nobody has locked, with any of the rest undone. The next `delete`, and a `create` of that name, do
//! the rest. A broker's topic has no such file: what is left of it is its folders, and deleting it again goes on from there.
//!
//! Nothing is removed for its name alone. A topic in whose folders there is something that no log has is refused before
//! anything is changed. What comes into one later stays, and the folder with it. Of a folder that is linked in from elsewhere
//! the link is removed, and nothing that it leads to. A `.deleted` file counts if its name is the topic id in it; a folder
//! belongs to the topic if its `partition.metadata` has that id, or if it has no such file and holds no record.

use super::checkpoints::CheckpointFile;
use super::folder_kind::foreign_name;
use super::partition::topic_id_in;
use super::topic::{PARTITION_METADATA_FILE, topic_file};
use super::{LogDir, LogDirError, Origin, Result, Topic, topic};
use crate::disk::{Access, DiskFile, Folder, FolderEntry, FolderLock};
use crate::format::properties::topic_id_to_text;
use crate::storage::file_name::is_of_a_partition;
use crate::storage::segments;
use crate::units::{SetAside, SetAsideKind, TopicName, TopicPartition};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

pub(super) const DELETED_TOPIC_SUFFIX: &str = ".deleted";

/// What a deletion has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deleting<'a> {
    /// A file is gone.
    Removed(&'a Path),
    /// A partition's folder was a symbolic link: the link is gone, and what it leads to is as it was.
    Unlinked(&'a Path),
}

/// A topic whose deletion has begun.
pub(super) struct Deletion {
    topic: Topic,
    topic_id: Uuid,
}

impl Deletion {
    pub(super) fn new(topic: Topic, topic_id: Uuid) -> Self {
        Self { topic, topic_id }
    }

    pub(super) fn topic_name(&self) -> &TopicName {
        &self.topic.name
    }

    /// The name of the file that says so.
    pub(super) fn marker(&self) -> String {
        format!("{}{DELETED_TOPIC_SUFFIX}", topic_id_to_text(self.topic_id))
    }
}

impl LogDir {
    /// Refuses a topic that [`LogDir::delete_topic`] would refuse as it is now.
    ///
    /// # Errors
    /// When there is no such topic, or its folders hold something else.
    pub fn check_delete(&self, name: &TopicName) -> Result<()> {
        let topic = self.topic(name)?;
        self.refuse_topic_of_owner(&topic)?;
        self.refuse_foreign_content(&topic)
    }

    /// Refuses a topic of a broker that owns the log dir, which would make it again by its metadata, empty.
    fn refuse_topic_of_owner(&self, topic: &Topic) -> Result<()> {
        match self.broker_mark()? {
            Some(_) => Err(LogDirError::BrokerTopic { topic: topic.name.clone() }),
            None => Ok(()),
        }
    }

    /// Deletes a topic. `on_step` is called for each file or link that is gone.
    ///
    /// # Errors
    /// When there is no such topic, its folders hold something else, or the disk fails. What was begun is finished by the next
    /// `delete`, or a `create` of the name.
    pub fn delete_topic(&self, name: &TopicName, mut on_step: impl FnMut(Deleting<'_>)) -> Result<Topic> {
        self.finish_deletions()?;
        let lock = self.lock_root()?;
        let topic = self.topic(name)?;
        self.refuse_topic_of_owner(&topic)?;
        self.refuse_foreign_content(&topic)?;
        let Origin::TopicFile(topic_id) = topic.origin else {
            self.forget_rows(name)?;
            drop(lock);
            self.delete_folders_of_broker(&topic, &mut on_step)?;
            return Ok(topic);
        };
        let deletion = Deletion { topic, topic_id };
        // Locked before it is renamed: otherwise another process could lock the marker first, to finish the deletion, and wait
        // for the root lock. Only deletions lock topic files, so nothing of ours has this lock; it is not waited for while
        // the root is locked.
        let marker = self.root.open(&topic_file(name), Access::Read)?;
        if !marker.try_lock()? {
            return Err(LogDirError::FileLocked { path: self.root().join(topic_file(name)) });
        }
        self.root.rename(&topic_file(name), &deletion.marker())?;
        self.root.sync()?;
        let forgotten = self.forget_rows(name);
        drop(lock);
        match forgotten {
            Err(LogDirError::Disk(error)) if error.is_full() => {}
            forgotten => forgotten?,
        }
        self.finish_locked(&deletion, &mut on_step)?;
        Ok(deletion.topic)
    }

    /// Finishes deletions, and undoes imports, whose processes have died.
    pub(crate) fn finish_deletions(&self) -> Result<()> {
        let left = self.deletions(&self.root.list()?)?;
        left.iter().try_for_each(|deletion| self.finish(deletion, Contended::Leave, &mut |_| {}))
    }

    /// The deletion of a topic of that name that has begun and not ended.
    pub(super) fn deletion_of(&self, name: &TopicName) -> Result<Option<Deletion>> {
        Ok(self.deletions(&self.root.list()?)?.into_iter().find(|it| it.topic.name == *name))
    }

    /// Waits for the deletion of a topic to end, or ends it where its process has died.
    pub(super) fn await_deletion(&self, name: &TopicName) -> Result<()> {
        match self.deletion_of(name)? {
            Some(deletion) => self.finish(&deletion, Contended::Wait, &mut |_| {}),
            None => Ok(()),
        }
    }

    /// The topics whose deletion has begun and not ended.
    pub(super) fn deletions(&self, entries: &[FolderEntry]) -> Result<Vec<Deletion>> {
        let mut deletions = Vec::new();
        for entry in entries.iter().filter(|it| !it.is_folder && it.name.ends_with(DELETED_TOPIC_SUFFIX)) {
            match topic::read_set_aside(&*self.root, &entry.name) {
                Ok(Some(topic)) => {
                    let Origin::TopicFile(topic_id) = topic.origin else { continue };
                    // Another name is a copy of a topic file, or one that somebody renamed.
                    let deletion = Deletion { topic, topic_id };
                    deletions.extend(Some(deletion).filter(|it| it.marker() == entry.name));
                }
                // Gone since it was listed, or somebody else's file of such a name.
                Ok(None) | Err(LogDirError::DamagedFile { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(deletions)
    }

    /// Does what is left of a deletion, unless a living process is at it.
    fn finish(&self, deletion: &Deletion, contended: Contended, on_step: &mut dyn FnMut(Deleting<'_>)) -> Result<()> {
        let marker: Arc<dyn DiskFile> = match self.root.open(&deletion.marker(), Access::Read) {
            Ok(marker) => marker,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        match contended {
            Contended::Wait => marker.lock()?,
            Contended::Leave if marker.try_lock()? => {}
            Contended::Leave => return Ok(()),
        }
        // Whoever had the lock may have ended it.
        let is_there = self.root.stat(&deletion.marker())?.map(|stat| stat.id) == Some(marker.stat()?.id);
        if is_there { self.finish_locked(deletion, on_step) } else { Ok(()) }
    }

    /// The same, for the one who has the marker locked.
    pub(super) fn finish_locked(&self, deletion: &Deletion, on_step: &mut dyn FnMut(Deleting<'_>)) -> Result<()> {
        let name = &deletion.topic.name;
        let is_of_topic = |it: &TopicPartition| it.topic == *name && deletion.topic.partition(it.partition).is_ok();
        for partition in self.partition_folders()?.filter(is_of_topic) {
            self.set_aside(&partition, deletion.topic_id, on_step)?;
        }
        self.root.sync()?;
        let entries = self.root.list()?.into_iter().filter(|entry| entry.is_folder);
        for entry in entries.filter(|entry| is_set_aside(&entry.name, name, deletion.topic_id)) {
            self.remove_folder(&entry, on_step)?;
        }
        if self.root.stat(&topic_file(name))?.is_none() {
            let _lock = self.lock_root()?;
            // Rows of a new topic of that name are not touched: who made it has seen to the old ones.
            if self.root.stat(&topic_file(name))?.is_none() {
                self.forget_rows(name)?;
            }
        }
        self.remove_if_there(&deletion.marker())?;
        Ok(self.root.sync()?)
    }

    /// Renames the folder of a partition out of the way, if it is the topic's; or removes it where it cannot be renamed.
    fn set_aside(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        on_step: &mut dyn FnMut(Deleting<'_>),
    ) -> Result<()> {
        let folder_name = partition.folder_name();
        let folder = match self.root.open_folder(&folder_name) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let _lock = FolderLock::take(&folder)?;
        let is_named = self.root.stat(&folder_name)?.is_some_and(|stat| stat.id == folder.id());
        if is_named && belongs_to(&*folder, topic_id)? {
            self.rename_or_remove(&folder_name, &set_aside_name(partition, topic_id), on_step)?;
        }
        Ok(())
    }

    /// Renames a folder; or removes it with its files where it is in the lower layer of an overlay, as in a container's image,
    /// since such a folder keeps its name. Its topic id goes last, so a crash in between leaves it the topic's.
    fn rename_or_remove(&self, name: &str, to: &str, on_step: &mut dyn FnMut(Deleting<'_>)) -> Result<()> {
        match self.root.rename(name, to) {
            Err(error) if error.source.kind() == ErrorKind::CrossesDevices => {
                let entries = self.root.list()?;
                entries.iter().filter(|entry| entry.name == name).try_for_each(|it| self.remove_folder(it, on_step))
            }
            renamed => Ok(renamed?),
        }
    }

    /// Deletes a topic that has no file: the folders that have its name now.
    fn delete_folders_of_broker(&self, topic: &Topic, on_step: &mut dyn FnMut(Deleting<'_>)) -> Result<()> {
        let mut set_aside = Vec::new();
        for &partition in &topic.partitions {
            let partition = topic.partition(partition)?;
            let folder_name = partition.folder_name();
            let folder = match self.root.open_folder(&folder_name) {
                Ok(folder) => folder,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(error.into()),
            };
            let _lock = FolderLock::take(&folder)?;
            if self.root.stat(&folder_name)?.is_some_and(|stat| stat.id == folder.id()) {
                let name = set_aside_name(&partition, Uuid::new_v4());
                self.rename_or_remove(&folder_name, &name, on_step)?;
                set_aside.push(name);
            }
        }
        self.root.sync()?;
        for entry in self.root.list()?.into_iter().filter(|entry| entry.is_folder && set_aside.contains(&entry.name)) {
            self.remove_folder(&entry, on_step)?;
        }
        Ok(self.root.sync()?)
    }

    /// Rows in a file that is damaged say nothing any more.
    pub(super) fn forget_rows(&self, name: &TopicName) -> Result<()> {
        CheckpointFile::ALL.into_iter().try_for_each(|file| match self.forget_topic(file, name) {
            Err(LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. }) if file.is_brokers() => Ok(()),
            forgotten => forgotten,
        })
    }

    /// Removes a folder and the files of a partition in it, the oldest segments first, so that a crash leaves no gap. The topic
    /// id goes last, since it says whose the rest is.
    fn remove_folder(&self, entry: &FolderEntry, on_step: &mut dyn FnMut(Deleting<'_>)) -> Result<()> {
        let name = &entry.name;
        if entry.is_link {
            self.remove_if_there(name)?;
            on_step(Deleting::Unlinked(&self.root().join(name)));
            return Ok(());
        }
        let folder = match self.root.open_folder(name) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut entries = folder.list()?;
        let place = |entry: &FolderEntry| (entry.name == PARTITION_METADATA_FILE, entry.name.clone());
        entries.sort_by_cached_key(place);
        // What somebody else has put there since stays, and the folder with it.
        for entry in entries.into_iter().filter(|entry| !entry.is_folder && is_of_a_partition(&entry.name)) {
            match folder.remove_file(&entry.name) {
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => on_step(Deleting::Removed(&folder.path().join(&entry.name))),
            }
        }
        match self.root.remove_folder(name) {
            Err(error) if error.source.kind() == ErrorKind::DirectoryNotEmpty => Ok(()),
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// What is not a file of a partition in folders that were set aside to be deleted, and keeps them from being removed.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn kept_of_deleted_topics(&self) -> Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for entry in
            self.root.list()?.into_iter().filter(|it| it.is_folder && !it.is_link && is_form_of_set_aside(&it.name))
        {
            let folder = match self.root.open_folder(&entry.name) {
                Err(error) if error.is_not_found() => continue,
                folder => folder?,
            };
            let entries = folder.list()?;
            let is_ours = |entry: &FolderEntry| !entry.is_folder && is_of_a_partition(&entry.name);
            // A folder with files of a partition is still being deleted, or a broker's.
            if !entries.iter().any(is_ours) {
                kept.extend(entries.iter().map(|entry| folder.path().join(&entry.name)));
            }
        }
        kept.sort_unstable();
        Ok(kept)
    }
}

/// What to do about a deletion that a living process is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contended {
    Wait,
    Leave,
}

/// Whether a folder is of the topic with that id.
fn belongs_to(folder: &dyn Folder, topic_id: Uuid) -> Result<bool> {
    match topic_id_in(folder)? {
        Some(found) => Ok(found == topic_id),
        None => Ok(segments::list(folder)?.iter().all(|segment| segment.size == 0) && foreign_name(folder)?.is_none()),
    }
}

/// The name that a partition's folder gets before it is removed.
fn set_aside_name(partition: &TopicPartition, id: Uuid) -> String {
    SetAside::name(partition, SetAsideKind::Deleting, &id.simple().to_string())
}

/// Whether a folder has a name that [`set_aside_name`] gives.
fn is_form_of_set_aside(folder: &str) -> bool {
    SetAside::parse(folder).is_some_and(|it| it.kind == SetAsideKind::Deleting)
}

/// Whether a folder is one that [`set_aside_name`] gives to a partition of the topic with that id.
fn is_set_aside(folder: &str, topic: &TopicName, topic_id: Uuid) -> bool {
    SetAside::parse(folder).is_some_and(|it| {
        it.kind == SetAsideKind::Deleting && it.id == topic_id.simple().to_string() && it.is_of(topic)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_set_aside_is_known_by_topic_and_id() {
        let (id, other) = (Uuid::from_u128(7), Uuid::from_u128(8));
        for length in [1, 3, 200, 249] {
            let topic: TopicName = "t".repeat(length).parse().unwrap();
            let name = set_aside_name(&TopicPartition { topic: topic.clone(), partition: 12 }, id);
            assert!(is_set_aside(&name, &topic, id), "{name}");
            assert!(!is_set_aside(&name, &topic, other), "{name}");
            assert!(!is_set_aside(&name, &"other".parse().unwrap(), id), "{name}");
        }
    }
}
