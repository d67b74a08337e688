//! Mends what a verification has found, each part under its lock: files at the root under the root lock, a partition under
//! its folder's. The plan that is shown is made without a lock, and made again under the lock before it is applied.
//!
//! Each file is replaced whole, and the damaged one kept beside it as `<name>.damaged`; a crash leaves the old or the new.
//! A topic file is made anew from the folders and the topic id in `partition.metadata`. What it said of the configuration
//! is lost, so the new one sets no limit on retention: nothing is deleted before the owner says so.

use super::checkpoints::CheckpointFile;
use super::config::TopicConfig;
use super::partition::{Identity, topic_id_in};
use super::topic::{PARTITION_METADATA_FILE, TOPIC_FILE_SUFFIX};
use super::{LogDir, LogDirError, Origin, Partition, Result, Topic, TopicFindings};
use crate::disk::{FolderLock, atomic};
use crate::format::checkpoint::OffsetCheckpoint;
use crate::format::properties::PartitionMetadata;
use crate::storage::check::{Finding, Problem};
use crate::storage::repair::{self, DamagedRecords, Plan, replace_damaged};
use crate::storage::{self, Checkpoints, Notice, PartitionGuard};
use crate::units::{TopicName, TopicPartition};
use std::slice;
use std::sync::Arc;
use uuid::Uuid;

/// How often a partition is looked at: some findings show only when others are mended.
const ROUNDS_MAX: usize = 4;

/// What a repair would do to a partition, or to the files at the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairPlan {
    /// Which partition; `None` for the files at the root.
    pub partition: Option<TopicPartition>,
    /// A decision on each finding.
    pub plan: Plan,
    /// What was planned by, and is again when the plan is applied.
    pub damaged_records: DamagedRecords,
}

impl TopicFindings {
    /// Decides on every finding: a plan for the root, then one for each partition.
    #[must_use]
    pub fn plan_repair(self, damaged_records: DamagedRecords) -> Vec<RepairPlan> {
        let of_partitions = self.partitions.into_iter().map(|it| (Some(it.partition), it.checked.findings));
        let all = std::iter::once((None, self.root)).chain(of_partitions);
        let planned = |(partition, findings)| {
            let plan = repair::plan(findings, damaged_records);
            RepairPlan { partition, plan, damaged_records }
        };
        all.map(planned).collect()
    }
}

impl LogDir {
    /// Applies a plan, on so many threads. A partition is looked at again under its guard and planned anew, until nothing is
    /// left to be done. Returns what is still wrong. The plan of the root goes before those of partitions: a topic is known
    /// by its file.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, or the disk fails.
    pub fn apply_repair(
        &self,
        planned: &RepairPlan,
        threads: usize,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<Finding>> {
        match &planned.partition {
            _ if !planned.plan.acts() => Ok(planned.plan.findings().cloned().collect()),
            None => {
                self.repair_root(&planned.plan)?;
                let left = planned.plan.decisions.iter().filter(|decision| !decision.remedy.acts());
                Ok(left.map(|decision| decision.finding.clone()).collect())
            }
            Some(partition) => self.repair_partition(partition, planned.damaged_records, threads, notices),
        }
    }

    fn repair_root(&self, plan: &Plan) -> Result<()> {
        let lock = self.lock_root()?;
        for finding in plan.findings() {
            let name = finding.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if let Some(file) = CheckpointFile::ALL.into_iter().find(|file| file.name() == name) {
                self.rewrite_checkpoint(&lock, file)?;
            } else if let Some(Ok(topic)) = name.strip_suffix(TOPIC_FILE_SUFFIX).map(str::parse) {
                self.rewrite_topic_file(&lock, &topic)?;
            }
        }
        Ok(())
    }

    /// Log start offsets cannot be had from elsewhere, so every line that still says one is kept. The others may be
    /// forgotten: a recovery point of 0 is a longer check, and a broker makes the rest again. A file that is whole by now,
    /// since somebody has put it back, is left alone.
    fn rewrite_checkpoint(&self, lock: &FolderLock, file: CheckpointFile) -> Result<()> {
        if !matches!(self.offset_rows(file), Err(LogDirError::DamagedFile { .. })) {
            return Ok(());
        }
        let rows = match file {
            CheckpointFile::LogStart => {
                atomic::read_small(&**lock.folder(), file.name(), super::checkpoints::SIZE_MAX)?
                    .map(|bytes| OffsetCheckpoint::salvage(&bytes))
            }
            _ => None,
        };
        Ok(replace_damaged(lock, file.name(), rows.unwrap_or_default().print().as_bytes())?)
    }

    fn rewrite_topic_file(&self, lock: &FolderLock, name: &TopicName) -> Result<()> {
        if !matches!(self.read_topic_file(name), Err(LogDirError::DamagedFile { .. })) {
            return Ok(());
        }
        let partitions: Vec<i32> =
            self.broker_topics(&self.root.list()?, |it| it == name)?.pop().map_or(Vec::new(), |topic| topic.partitions);
        let count = partitions.iter().max().map_or(1, |last| last + 1);
        let mut topic_id = None;
        for partition in 0..count {
            let partition = TopicPartition { topic: name.clone(), partition };
            topic_id = topic_id.or(self.topic_id_of(&partition)?);
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
            homes: Vec::new(),
        };
        Ok(replace_damaged(lock, &super::topic::topic_file(name), &topic.print()?)?)
    }

    /// The topic id in a partition's folder, if one can be read there.
    fn topic_id_of(&self, partition: &TopicPartition) -> Result<Option<Uuid>> {
        let folder = match self.root.open_folder(&partition.folder_name()) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match topic_id_in(&*folder) {
            Err(LogDirError::DamagedFile { .. }) => Ok(None),
            found => found,
        }
    }

    /// Plans and applies under the guard of a partition until nothing is left to be done. Returns what is still wrong.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, or the disk fails.
    pub fn repair_partition(
        &self,
        partition: &TopicPartition,
        damaged_records: DamagedRecords,
        threads: usize,
        notices: &mut Vec<Notice>,
    ) -> Result<Vec<Finding>> {
        let handle = self.partition(&self.topic(&partition.topic)?, partition.partition)?;
        let look = || -> Result<Plan> { Ok(repair::plan(self.findings_of(partition, threads)?, damaged_records)) };
        if handle.folder()?.is_none() {
            match damaged_records {
                DamagedRecords::Keep => return self.findings_of(partition, threads),
                DamagedRecords::GiveUp => self.begin_again(&handle)?,
            }
        }
        let guard = handle.guard_of(Identity::Repaired)?;
        let mut plan = look()?;
        for _ in 0..ROUNDS_MAX {
            if !plan.acts() {
                break;
            }
            write_metadata(&guard, &handle, &plan)?;
            repair::apply(&guard, &plan, notices)?;
            plan = look()?;
        }
        Ok(plan.decisions.into_iter().map(|decision| decision.finding).collect())
    }

    fn findings_of(&self, partition: &TopicPartition, threads: usize) -> Result<Vec<Finding>> {
        let found = self.begin_verification_of(partition)?.run(threads, &|_| {})?;
        Ok(found.partitions.into_iter().flat_map(|it| it.checked.findings).collect())
    }

    /// Makes the folder of a partition whose records are lost: its log begins after them.
    fn begin_again(&self, partition: &Partition) -> Result<()> {
        let _lock = self.lock_root()?;
        // A topic that was deleted while the lock was waited for does not come back as a folder.
        partition.config()?;
        if self.root.stat(&partition.id().folder_name())?.is_some() {
            return Ok(());
        }
        self.refuse_strays_of(slice::from_ref(partition.id()))?;
        let checkpoints = self.checkpoint_files().now(partition.id())?;
        let next = checkpoints.acknowledged().max(checkpoints.log_start_offset);
        self.root.create_folder(&partition.id().folder_name())?;
        let folder = self.root.open_folder(&partition.id().folder_name())?;
        let guard = PartitionGuard::new(FolderLock::take(&folder)?, Arc::default(), Checkpoints::default());
        storage::create_empty_log(&guard, next)?;
        drop(guard);
        partition.make()?;
        Ok(self.root.sync()?)
    }
}

/// Writes `partition.metadata` again where it is among the findings.
fn write_metadata(guard: &PartitionGuard, partition: &Partition, plan: &Plan) -> Result<()> {
    let path = guard.folder().path().join(PARTITION_METADATA_FILE);
    let Some(topic_id) = partition.topic_id() else { return Ok(()) };
    let is_wrong =
        |it: &Finding| it.path == path && matches!(it.problem, Problem::WrongTopicId | Problem::DamagedFile { .. });
    if !plan.findings().any(is_wrong) {
        return Ok(());
    }
    let text = PartitionMetadata { version: 0, topic_id }.print();
    Ok(guard.replace_damaged(PARTITION_METADATA_FILE, text.as_bytes())?)
}
