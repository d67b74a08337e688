//! Deletes topics.
//!
//! Under the root lock: the topic file is renamed to `<topic-id>.deleted`, rows leave the checkpoint files, the folders
//! are renamed to the form in which a broker sets aside what it will remove. Then, without the lock, the folders are
//! emptied and removed, and the renamed topic file last. On a disk that is too full to write the checkpoint files anew, rows
//! leave them when the folders are gone.
//!
//! States that a crash can leave: a `.deleted` file with any of the rest undone. Whoever finds one while creating or
//! deleting a topic does the rest; until then the topic is gone for everybody, since its topic file is. A broker's topic
//! has no such file: what is left of it is its folders, and deleting it again goes on from there.

use super::checkpoints::CheckpointFile;
use super::{LogDir, LogDirError, Origin, Result, Topic, topic};
use crate::disk::FolderEntry;
use crate::format::properties::topic_id_to_text;
use crate::units::{TopicName, TopicPartition};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const DELETED_TOPIC_SUFFIX: &str = ".deleted";
const DELETED_FOLDER_SUFFIX: &str = "-delete";
/// Where the length of a folder name ends.
const FOLDER_NAME_MAX: usize = 255;

impl LogDir {
    /// Deletes a topic. `on_removed` hears of each file that is gone.
    ///
    /// # Errors
    /// When there is no such topic or the disk fails. What was begun is finished by the next `create` or `delete`.
    pub fn delete_topic(&self, name: &TopicName, mut on_removed: impl FnMut(&Path)) -> Result<Topic> {
        let (topic, marker, folders, rows_stay) = {
            let _lock = self.lock_root()?;
            self.finish_deletions()?;
            let topic = self.topic(name)?;
            let marker = match topic.origin {
                Origin::Broker => None,
                Origin::TopicFile(id) => {
                    let marker = self.root.join(format!("{}{DELETED_TOPIC_SUFFIX}", topic_id_to_text(id)));
                    self.disk.rename(&self.topic_file(name), &marker)?;
                    self.sync_root()?;
                    Some(marker)
                }
            };
            let rows_stay = self.set_aside(name)?;
            (topic, marker, self.folders_set_aside(name)?, rows_stay)
        };
        self.remove_folders(&folders, &mut on_removed)?;
        if rows_stay {
            let _lock = self.lock_root()?;
            // Rows of a new topic of that name are not touched: whoever made it has seen to the old ones.
            if self.disk.stat(&self.topic_file(name))?.is_none() {
                self.forget_rows(name)?;
            }
        }
        if let Some(marker) = marker {
            self.remove_if_there(&marker)?;
        }
        self.sync_root()?;
        Ok(topic)
    }

    /// Takes a topic's rows and folders out of the way of a new topic of its name. Tells whether rows have stayed, since the
    /// disk is full.
    fn set_aside(&self, name: &TopicName) -> Result<bool> {
        let rows_stay = match self.forget_rows(name) {
            Err(LogDirError::Disk(error)) if error.is_full() => true,
            forgotten => forgotten.map(|()| false)?,
        };
        for partition in self.partition_folders()?.filter(|it| it.topic == *name) {
            let path = self.partition_path(&partition);
            self.disk.rename(&path, &self.root.join(set_aside_name(&partition)))?;
        }
        self.sync_root()?;
        Ok(rows_stay)
    }

    fn forget_rows(&self, name: &TopicName) -> Result<()> {
        CheckpointFile::ALL.into_iter().try_for_each(|file| self.forget_topic(file, name))
    }

    /// The folders of a topic that wait to be removed.
    fn folders_set_aside(&self, name: &TopicName) -> Result<Vec<PathBuf>> {
        let entries = self.disk.list(&self.root)?.into_iter().filter(|entry| entry.is_folder);
        let names = entries.filter(|entry| is_set_aside(&entry.name, name));
        Ok(names.map(|entry| self.root.join(entry.name)).collect())
    }

    fn remove_folders(&self, folders: &[PathBuf], on_removed: &mut dyn FnMut(&Path)) -> Result<()> {
        for folder in folders {
            for entry in self.disk.list(folder)? {
                let path = folder.join(entry.name);
                match self.remove_if_there(&path) {
                    // A folder that somebody has put there goes as well, as it does with a broker. A link is removed, never
                    // what it leads to.
                    Err(_) if entry.is_folder => self.remove_folders(&[path], on_removed)?,
                    removed => {
                        removed?;
                        on_removed(&path);
                    }
                }
            }
            match self.disk.remove_folder(folder) {
                // The folder was linked in from elsewhere: what was in it is gone, the link goes.
                Err(error) if error.source.kind() == ErrorKind::NotADirectory => self.remove_if_there(folder)?,
                Err(error) if !error.is_not_found() => return Err(error.into()),
                _ => {}
            }
        }
        Ok(())
    }

    /// Finishes what a crash has interrupted. The caller holds the root lock.
    pub(super) fn finish_deletions(&self) -> Result<()> {
        for (marker, deleted) in self.topics_to_delete(&self.disk.list(&self.root)?)? {
            let rows_stay = self.disk.stat(&self.topic_file(&deleted))?.is_none() && self.set_aside(&deleted)?;
            self.remove_folders(&self.folders_set_aside(&deleted)?, &mut |_| {})?;
            if rows_stay {
                self.forget_rows(&deleted)?;
            }
            self.remove_if_there(&marker)?;
            self.sync_root()?;
        }
        Ok(())
    }

    /// The topics whose deletion has begun and not ended, each with the file that says so.
    pub(super) fn topics_to_delete(&self, entries: &[FolderEntry]) -> Result<Vec<(PathBuf, TopicName)>> {
        let mut topics = Vec::new();
        for entry in entries.iter().filter(|it| !it.is_folder && it.name.ends_with(DELETED_TOPIC_SUFFIX)) {
            let marker = self.root.join(&entry.name);
            match topic::read_set_aside(&*self.disk, &marker) {
                Ok(Some(topic)) => topics.push((marker, topic.name)),
                // Gone meanwhile, or somebody else's file of such a name.
                Ok(None) | Err(LogDirError::DamagedFile { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(topics)
    }
}

/// `<topic>-<partition>.<32 hex digits>-delete`, the topic cut so that the whole fits a folder name.
fn set_aside_name(partition: &TopicPartition) -> String {
    let tail = format!("-{}.{}{DELETED_FOLDER_SUFFIX}", partition.partition, Uuid::new_v4().simple());
    let topic = partition.topic.as_str();
    format!("{}{tail}", &topic[..topic.len().min(FOLDER_NAME_MAX - tail.len())])
}

/// Whether a folder is one that [`set_aside_name`] gives to a partition of `topic`.
fn is_set_aside(folder: &str, topic: &TopicName) -> bool {
    let Some((partition, id)) = folder.strip_suffix(DELETED_FOLDER_SUFFIX).and_then(|rest| rest.rsplit_once('.'))
    else {
        return false;
    };
    let Some((name, number)) = partition.rsplit_once('-') else { return false };
    let Ok(number) = number.parse::<i32>() else { return false };
    let full = TopicPartition { topic: topic.clone(), partition: number };
    id.len() == 32 && set_aside_name(&full).starts_with(&format!("{name}-{number}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_set_aside_is_known_by_its_topic_and_fits_a_name() {
        for length in [1, 3, 200, 249] {
            let topic: TopicName = "t".repeat(length).parse().unwrap();
            let name = set_aside_name(&TopicPartition { topic: topic.clone(), partition: 12 });
            assert!(name.len() <= FOLDER_NAME_MAX);
            assert!(is_set_aside(&name, &topic), "{name}");
            assert!(!is_set_aside(&name, &"other".parse().unwrap()), "{name}");
        }
    }
}
