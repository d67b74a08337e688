//! What files at the root say of partitions, gathered once for a check.

use super::broker_root::BrokerRoot;
use super::checkpoints::{CheckpointFile, OffsetRows};
use super::{LogDir, LogDirError, Origin, Result, Topic};
use crate::storage::Checkpoints;
use crate::storage::check::{Acknowledgement, Finding, Gaps, Problem};
use crate::units::{Offset, TopicPartition};
use std::collections::HashSet;

/// The checkpoint files, and what a broker goes by.
pub(super) struct Witnesses {
    recovery_points: OffsetRows,
    log_starts: OffsetRows,
    high_watermarks: OffsetRows,
    cleaned: OffsetRows,
    /// Whether the log dir has had a cleaner.
    is_cleaner_known: bool,
    is_broker_owned: bool,
    pub(super) broker: BrokerRoot,
}

impl Witnesses {
    /// Reads them. A checkpoint file that is damaged says what can be read of it, one of a later format nothing; `damaged` is
    /// given what is wrong.
    pub(super) fn read(log_dir: &LogDir, pause: fn(), mut damaged: impl FnMut(Finding)) -> Result<Self> {
        let mut rows = |file| match log_dir.offset_rows(file) {
            Err(LogDirError::DamagedFile { path, what }) => {
                damaged(Finding { path, position: None, offset: None, problem: Problem::DamagedFile { what } });
                OffsetRows::salvage(&*log_dir.root, file)
            }
            Err(LogDirError::NewerFile { path, what }) => {
                damaged(Finding { path, position: None, offset: None, problem: Problem::NewerFile { what } });
                Ok(OffsetRows::default())
            }
            rows => rows,
        };
        Ok(Self {
            recovery_points: rows(CheckpointFile::RecoveryPoint)?,
            log_starts: rows(CheckpointFile::LogStart)?,
            high_watermarks: rows(CheckpointFile::HighWatermark)?,
            cleaned: rows(CheckpointFile::Cleaner)?,
            is_cleaner_known: log_dir.root.stat(CheckpointFile::Cleaner.name())?.is_some(),
            is_broker_owned: log_dir.broker_mark()?.is_some(),
            broker: log_dir.check_broker_root(pause)?,
        })
    }

    pub(super) fn checkpoints(&self, partition: &TopicPartition) -> Checkpoints {
        Checkpoints::of_files(self.recovery_points.get(partition), self.log_starts.get(partition))
            .with_high_watermark(self.high_watermarks.get(partition))
    }

    /// Whether the partition was made in full once.
    pub(super) fn is_known(&self, partition: &TopicPartition) -> bool {
        self.recovery_points.row(partition).is_some()
    }

    /// The partitions of a broker that held records by its checkpoint files, and whose folder is missing. Rows of a topic that
    /// was deleted can be there for a minute after: the cluster's metadata knows, and without it a folder that is about to go.
    pub(super) fn missed_partitions(&self, log_dir: &LogDir) -> Result<Vec<TopicPartition>> {
        if !self.is_broker_owned {
            return Ok(Vec::new());
        }
        let folders: HashSet<String> =
            log_dir.root.list()?.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect();
        let is_going = |partition: &TopicPartition| {
            let begin = format!("{partition}.");
            folders.iter().any(|folder| folder.starts_with(&begin))
        };
        let is_missed = |it: &TopicPartition| {
            let checkpoints = self.checkpoints(it);
            let held_records = checkpoints.acknowledged() > checkpoints.log_start_offset;
            let has_it = || self.broker.has_partition(it).unwrap_or_else(|| self.is_known(it) && !is_going(it));
            held_records && !folders.contains(&it.folder_name()) && has_it()
        };
        Ok(self.high_watermarks.partitions().filter(is_missed).collect())
    }

    /// What offsets that are missing in the middle mean.
    pub(super) fn gaps(&self, topic: &Topic, partition: &TopicPartition) -> Gaps {
        let is_compacted = || self.broker.metadata().is_some_and(|metadata| metadata.is_compacted(&topic.name));
        if self.cleaned.get(partition) > Offset::ZERO || (self.is_broker_owned && is_compacted()) {
            return Gaps::Legal;
        }
        match topic.origin {
            Origin::TopicFile(_) if topic.log_config().cleanup_policy.compact => Gaps::Legal,
            Origin::TopicFile(_) if !self.is_broker_owned => Gaps::Loss,
            Origin::Cluster(_) | Origin::Broker | Origin::SetAside
                if topic.name.is_internal() || !self.is_cleaner_known =>
            {
                Gaps::Legal
            }
            // Its policy was another once, or its metadata is not here.
            _ => Gaps::Unexplained,
        }
    }

    pub(super) fn acknowledgement(&self, topic: &Topic) -> Acknowledgement {
        match topic.origin {
            Origin::TopicFile(_) if !self.is_broker_owned => Acknowledgement::AfterSync,
            _ => Acknowledgement::BeforeSync,
        }
    }
}
