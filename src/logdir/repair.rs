//! Mends what a verification has found, each part under its lock: files at the root under the root lock, a partition under
//! its folder's.
//!
//! Each file is replaced whole, and the damaged one kept beside it as `<name>.damaged`; a crash leaves the old or the new.
//! A topic file is made anew from the folders and the topic id in `partition.metadata`. What it said of the configuration
//! is lost, so the new one sets no limit on retention: nothing is deleted before the owner says so.

use super::checkpoints::CheckpointFile;
use super::config::TopicConfig;
use super::verify::{PARTITION_METADATA_FILE, PARTITION_METADATA_SIZE_MAX};
use super::{CheckedPartition, LogDir, LogDirError, Origin, Result, Topic, TopicPattern};
use crate::disk::{FolderLock, atomic};
use crate::format::checkpoint::OffsetCheckpoint;
use crate::format::properties::PartitionMetadata;
use crate::storage::repair::{Remedy, Repair, replace_damaged};
use crate::storage::verify::{Finding, Problem};
use crate::storage::{self, Notice, StorageError};
use crate::units::{Offset, TopicName, TopicPartition};
use std::path::Path;
use uuid::Uuid;

/// How often a partition is looked at: some findings show only when others are mended.
const ROUNDS_MAX: usize = 4;

/// How a repair is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepairOptions {
    /// Whether records that are damaged may be given up.
    pub skip_corrupt: bool,
    /// Threads that look for damage.
    pub threads: usize,
}

impl LogDir {
    /// Mends the files at the root. Topics are to be asked for anew afterwards.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn repair_root(&self, findings: &[Finding]) -> Result<()> {
        let _lock = self.lock_root()?;
        for finding in findings {
            let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(file) = CheckpointFile::ALL.into_iter().find(|file| file.name() == name) {
                self.rewrite_checkpoint(file, &finding.path)?;
            } else if let Some(Ok(topic)) = name.strip_suffix(super::topic::TOPIC_FILE_SUFFIX).map(str::parse) {
                self.rewrite_topic_file(&topic, &finding.path)?;
            }
        }
        Ok(())
    }

    /// Log start offsets cannot be had from elsewhere, so every line that still says one is kept. The others may be
    /// forgotten: a recovery point of 0 is a longer check, and a broker makes the rest anew.
    fn rewrite_checkpoint(&self, file: CheckpointFile, path: &Path) -> Result<()> {
        let rows = match file {
            CheckpointFile::LogStart => self.small_file(path)?.map(|bytes| OffsetCheckpoint::salvage(&bytes)),
            _ => None,
        };
        self.replace_damaged(path, rows.unwrap_or_default().print().as_bytes())
    }

    fn rewrite_topic_file(&self, name: &TopicName, path: &Path) -> Result<()> {
        let partitions: Vec<i32> =
            self.partition_folders()?.filter(|it| it.topic == *name).map(|it| it.partition).collect();
        let count = partitions.iter().max().map_or(1, |last| last + 1);
        let mut topic_id = None;
        for partition in 0..count {
            let partition = TopicPartition { topic: name.clone(), partition };
            topic_id = topic_id.or(self.topic_id_in(&partition)?);
        }
        let config = TopicConfig::from_stored(
            [("retention.ms", "-1"), ("retention.bytes", "-1")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        let topic = Topic {
            name: name.clone(),
            origin: Origin::TopicFile(topic_id.unwrap_or_else(super::create::new_topic_id)),
            partitions: (0..count).collect(),
            config: config.expect("no limit is a legal one"),
        };
        self.replace_damaged(path, &topic.print()?)
    }

    fn topic_id_in(&self, partition: &TopicPartition) -> Result<Option<Uuid>> {
        let path = self.partition_path(partition).join(PARTITION_METADATA_FILE);
        let bytes = atomic::read_small(&*self.disk, &path, PARTITION_METADATA_SIZE_MAX)?;
        Ok(bytes.and_then(|bytes| PartitionMetadata::parse(&bytes).ok()).map(|metadata| metadata.topic_id))
    }

    fn small_file(&self, path: &Path) -> Result<Option<Vec<u8>>> {
        Ok(atomic::read_small(&*self.disk, path, super::checkpoints::SIZE_MAX)?)
    }

    fn replace_damaged(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let temporary = self.root.join("repair.tmp");
        Ok(replace_damaged(&*self.disk, &temporary, path, bytes)?)
    }

    /// Mends a partition. Returns what is still wrong with it.
    ///
    /// # Errors
    /// When the partition was deleted meanwhile, a broker has the log dir, or the disk fails.
    pub fn repair_partition(
        &self,
        partition: &TopicPartition,
        options: RepairOptions,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<Finding>> {
        let topic = self.topic(&partition.topic)?;
        let path = self.partition_path(partition);
        self.remove_clean_shutdown_file()?;
        if self.disk.stat(&path)?.is_none() && options.skip_corrupt {
            self.begin_anew(&topic, partition)?;
        }
        let folder = match self.disk.open_folder(&path) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return self.look_at(partition, options),
            Err(error) => return Err(error.into()),
        };
        let _lock = FolderLock::take(&folder)?;
        let process_lock = self.lock.as_ref().expect("this log dir was opened to write");
        if !process_lock.still_guards()? {
            return Err(LogDirError::HeldByBroker { path: self.root.clone() });
        }
        let mut findings = self.look_at(partition, options)?;
        for _ in 0..ROUNDS_MAX {
            if !Remedy::of_all(&findings, options.skip_corrupt).iter().any(|remedy| remedy.acts()) {
                break;
            }
            if self.disk.stat(&path)?.map(|stat| stat.id) != Some(folder.id()) {
                return Err(LogDirError::TopicDeleted { topic: partition.topic.clone() });
            }
            self.write_metadata(&topic, partition, &findings)?;
            let repair = Repair {
                disk: &*self.disk,
                folder: &*folder,
                path: &path,
                index_interval_bytes: topic.log_config().index_interval_bytes,
                skip_corrupt: options.skip_corrupt,
            };
            repair.apply(&findings, notices)?;
            findings = self.look_at(partition, options)?;
        }
        Ok(findings)
    }

    fn look_at(&self, partition: &TopicPartition, options: RepairOptions) -> Result<Vec<Finding>> {
        let verification =
            self.begin_verification(&[TopicPattern::Name(partition.topic.clone())], || {})?.only(partition);
        let checked = verification.run(options.threads, &|_| {})?;
        Ok(checked.into_iter().flat_map(|it: CheckedPartition| it.checked.findings).collect())
    }

    /// Makes the folder of a partition whose records are lost: its log begins behind them.
    fn begin_anew(&self, topic: &Topic, partition: &TopicPartition) -> Result<()> {
        let _lock = self.lock_root()?;
        let rows = |file| Ok::<Offset, LogDirError>(self.offset_rows(file)?.get(partition));
        let behind = rows(CheckpointFile::RecoveryPoint)?.max(rows(CheckpointFile::LogStart)?);
        let path = self.partition_path(partition);
        self.disk.create_folder(&path)?;
        storage::create_empty_log(&*self.disk, &path, behind)?;
        self.make_partition(topic, partition)?;
        self.sync_root()
    }

    /// Puts `partition.metadata` right where it is among the findings.
    fn write_metadata(&self, topic: &Topic, partition: &TopicPartition, findings: &[Finding]) -> Result<()> {
        let path = self.partition_path(partition).join(PARTITION_METADATA_FILE);
        let Origin::TopicFile(topic_id) = topic.origin else { return Ok(()) };
        let is_wrong =
            |it: &Finding| it.path == path && matches!(it.problem, Problem::WrongTopicId | Problem::DamagedFile { .. });
        if !findings.iter().any(is_wrong) {
            return Ok(());
        }
        let text = PartitionMetadata { version: 0, topic_id }.print();
        let temporary = path.with_extension("metadata.tmp");
        replace_damaged(&*self.disk, &temporary, &path, text.as_bytes()).map_err(|error: StorageError| error.into())
    }
}
