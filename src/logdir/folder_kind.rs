//! What a folder `<topic>-<number>` at the root is: not each that is named like a partition is one.

use super::checkpoints::{CheckpointFile, OffsetRows};
use super::topic::PARTITION_METADATA_FILE;
use super::{LogDir, LogDirError, Result, Topic};
use crate::disk::Folder;
use crate::storage::file_name;
use crate::units::TopicPartition;
use std::cell::OnceCell;

/// What shows that a folder is a partition's, beside files of segments.
pub(super) const PARTITION_FILES: [&str; 2] = [PARTITION_METADATA_FILE, "leader-epoch-checkpoint"];

/// What a folder with a partition's name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FolderKind {
    /// What is in it, or a checkpoint file, shows it to be a partition.
    Partition,
    /// Nothing is in it: a partition, if others of the topic are.
    Empty,
    /// Somebody else's.
    Foreign,
}

/// The partitions that checkpoint files at the root name, read when that is first asked.
#[derive(Default)]
pub(super) struct NamedPartitions(OnceCell<Vec<OffsetRows>>);

impl NamedPartitions {
    fn contain(&self, log_dir: &LogDir, partition: &TopicPartition) -> bool {
        // A file that is damaged names none.
        let read = || CheckpointFile::ALL.into_iter().filter_map(|file| log_dir.offset_rows(file).ok()).collect();
        self.0.get_or_init(read).iter().any(|rows| rows.row(partition).is_some())
    }
}

impl LogDir {
    /// What the folder of that name is. One that cannot be looked into goes by its name: what keeps it from being read is
    /// said by whoever reads it.
    pub(super) fn folder_kind(&self, partition: &TopicPartition, named: &NamedPartitions) -> FolderKind {
        let folder = self.root.open_folder(&partition.folder_name());
        match folder.map_err(LogDirError::from).and_then(|folder| kind_by_content(&*folder)) {
            Ok(FolderKind::Partition) | Err(_) => FolderKind::Partition,
            Ok(_) if named.contain(self, partition) => FolderKind::Partition,
            Ok(kind) => kind,
        }
    }

    /// Whether this is the folder of a partition in place of a log dir.
    pub(super) fn is_partition_folder(&self) -> bool {
        matches!(kind_by_content(&*self.root), Ok(FolderKind::Partition))
    }

    /// Refuses to delete a topic in whose folders there is something that is not part of a log, or one of whose folders a broker
    /// has set aside: without its topic file nothing says what that was.
    pub(super) fn refuse_foreign_content(&self, topic: &Topic) -> Result<()> {
        let mut missing = Vec::new();
        for &number in &topic.partitions {
            let partition = topic.partition(number)?;
            let folder = match self.root.open_folder(&partition.folder_name()) {
                Err(error) if error.is_not_found() => {
                    missing.push(partition);
                    continue;
                }
                folder => folder?,
            };
            if let Some(name) = foreign_name(&*folder)? {
                return Err(LogDirError::ForeignContent { path: folder.path().join(name) });
            }
        }
        self.refuse_strays_of(&missing)
    }
}

fn kind_by_content(folder: &dyn Folder) -> Result<FolderKind> {
    for name in PARTITION_FILES {
        if folder.stat(name)?.is_some() {
            return Ok(FolderKind::Partition);
        }
    }
    let entries = folder.list()?;
    Ok(match entries.iter().any(|entry| !entry.is_folder && file_name::is_of_a_segment(&entry.name)) {
        true => FolderKind::Partition,
        false if entries.is_empty() => FolderKind::Empty,
        false => FolderKind::Foreign,
    })
}

/// The name of something in a folder that is no part of a partition.
pub(super) fn foreign_name(folder: &dyn Folder) -> Result<Option<String>> {
    let is_foreign = |entry: &crate::disk::FolderEntry| entry.is_folder || !file_name::is_of_a_partition(&entry.name);
    Ok(folder.list()?.into_iter().find(is_foreign).map(|entry| entry.name))
}
