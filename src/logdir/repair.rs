//! Mends what a verification has found, each part under its lock: files at the root under the root lock, a partition under
//! its folder's. The plan that is shown is made without a lock, and made again under the lock before it is applied.
//!
//! Each file is replaced whole, and the damaged one kept beside it as `<name>.damaged`; a crash leaves the old or the new.
//! A topic file that is damaged or missing is written again from the folders and the topic id in `partition.metadata`. What
//! it said of the configuration is lost, so the new one sets no limit on retention: nothing is deleted before the owner
//! says so.
//!
//! Where claims are to be lowered, that comes first, under the root lock and then the partition's: each checkpoint file is
//! replaced and durable, then what the folder claims, and only then is the log changed. A crash leaves some of the claims
//! lowered, and the log as it was; it is reported by those that are left, and the next repair lowers them.
//!
//! A missing folder is made under the root lock. A crash leaves it without a segment, which is reported by the same claims;
//! or with its first segment and without `partition.metadata`, which the next writer completes.

use super::checkpoints::{CheckpointFile, OffsetRows};
use super::config::TopicConfig;
use super::partition::{Identity, topic_id_in};
use super::topic::{PARTITION_METADATA_FILE, PARTITIONS_MAX, TOPIC_FILE_SUFFIX};
use super::{LogDir, LogDirError, Origin, Partition, Result, Topic, TopicFindings};
use crate::disk::{Folder, FolderLock};
use crate::format::properties::PartitionMetadata;
use crate::storage::check::{Finding, Problem};
use crate::storage::repair::{self, DamagedRecords, Decision, Plan, Remedy, replace_damaged};
use crate::storage::{self, Checkpoints, Notice, PartitionGuard, durable_end};
use crate::units::{Offset, TopicName, TopicPartition};
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

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repaired {
    /// What was found and done, in the order in which it was.
    pub done: Vec<Decision>,
    /// What is still wrong.
    pub left: Vec<Finding>,
}

/// What helps a partition that a reader or writer refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepairAdvice {
    /// There is nothing to be repaired.
    NothingWrong,
    /// A repair that gives nothing up.
    Repair,
    /// Only going on without what is lost.
    AcceptLoss,
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
    /// left to be done. The plan of the root goes before those of partitions: a topic is known by its file.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, or the disk fails.
    pub fn apply_repair(&self, planned: &RepairPlan, threads: usize, notices: &mut Vec<Notice>) -> Result<Repaired> {
        let acting = |decision: &&Decision| decision.remedy.acts();
        match &planned.partition {
            Some(partition) if planned.plan.acts() => {
                self.repair_in_rounds(partition, planned.damaged_records, threads, notices)
            }
            None if planned.plan.acts() => {
                self.repair_root(&planned.plan)?;
                let (done, left): (Vec<_>, Vec<_>) = planned.plan.decisions.iter().cloned().partition(|it| acting(&it));
                Ok(Repaired { done, left: left.into_iter().map(|it| it.finding).collect() })
            }
            _ => Ok(Repaired { done: Vec::new(), left: planned.plan.findings().cloned().collect() }),
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
        let rows = OffsetRows::salvage(&**lock.folder(), file)?;
        Ok(replace_damaged(lock, file.name(), rows.print().as_bytes())?)
    }

    fn rewrite_topic_file(&self, lock: &FolderLock, name: &TopicName) -> Result<()> {
        let mut topic_id = match self.read_topic_file(name) {
            Err(LogDirError::DamagedFile { .. }) => None,
            Ok(None) => match self.find_topic(name)?.map(|topic| self.id_of_lost_file(&topic)).transpose()?.flatten() {
                Some(topic_id) => Some(topic_id),
                None => return Ok(()),
            },
            _ => return Ok(()),
        };
        let partitions: Vec<i32> =
            self.broker_topics(&self.root.list()?, |it| it == name)?.pop().map_or(Vec::new(), |topic| topic.partitions);
        let rows = OffsetRows::salvage(&*self.root, CheckpointFile::RecoveryPoint)?;
        let known = rows.partitions().filter(|it| it.topic == *name).map(|it| it.partition);
        let count = partitions.into_iter().chain(known).max().map_or(1, |last| last.saturating_add(1));
        let count = count.min(PARTITIONS_MAX);
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
        Ok(self.repair_in_rounds(partition, damaged_records, threads, notices)?.left)
    }

    fn repair_in_rounds(
        &self,
        partition: &TopicPartition,
        damaged_records: DamagedRecords,
        threads: usize,
        notices: &mut Vec<Notice>,
    ) -> Result<Repaired> {
        let handle = self.partition(&self.topic(&partition.topic)?, partition.partition)?;
        let look = || -> Result<Plan> { Ok(repair::plan(self.findings_of(partition, threads)?, damaged_records)) };
        let mut repaired = Repaired::default();
        if handle.folder()?.map_or(Ok(true), |folder| is_empty(&*folder))? {
            let plan = look()?;
            if damaged_records == DamagedRecords::Keep {
                repaired.left = plan.findings().cloned().collect();
                return Ok(repaired);
            }
            self.begin_again(&handle)?;
            repaired.done.extend(plan.decisions.into_iter().filter(|it| it.remedy.acts()));
        }
        let mut guard = handle.guard_of(Identity::Repaired)?;
        let mut plan = look()?;
        for _ in 0..ROUNDS_MAX {
            if !plan.acts() {
                break;
            }
            if let Some(end) = plan.out_of_reach() {
                // Who holds a partition does not wait for the root. Until it is held again, no writer can open the log.
                drop(guard);
                guard = self.lower_claims(&handle, end)?;
            }
            write_metadata(&guard, &handle, &plan)?;
            repair::apply(&guard, &plan, notices)?;
            repaired.done.extend(plan.decisions.into_iter().filter(|it| it.remedy.acts()));
            plan = look()?;
        }
        repaired.left = plan.decisions.into_iter().map(|decision| decision.finding).collect();
        Ok(repaired)
    }

    /// Lowers every claim of more than `end`, durably: the rows of the checkpoint files, then what is in the folder.
    fn lower_claims(&self, partition: &Partition, end: Offset) -> Result<PartitionGuard> {
        let root = self.lock_root()?;
        let guard = partition.guard_of(Identity::Repaired)?;
        // What empty batches can reach stays: the offsets below it are not given again.
        let claimed = self.checkpoint_files().now(partition.id())?;
        let of_folder = durable_end::promised(&**guard.folder(), partition.topic_id(), Checkpoints::default())?;
        let claims = [claimed.recovery_point, claimed.high_watermark, of_folder.recovery_point];
        let end = claims.into_iter().filter(|&claim| claim - end <= repair::REACH).fold(end, Offset::max);
        for file in [CheckpointFile::RecoveryPoint, CheckpointFile::HighWatermark, CheckpointFile::Cleaner] {
            let mut rows = match self.offset_rows(file) {
                // It says nothing, or nothing that is known here.
                Err(LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. }) => continue,
                rows => rows?,
            };
            if rows.lower(partition.id(), end) {
                rows.write(&**root.folder(), file)?;
            }
        }
        repair::lower_claims(&guard, partition.topic_id(), end)?;
        Ok(guard)
    }

    /// What helps a partition; `None` where finding it out takes more than so many bytes to be read.
    ///
    /// # Errors
    /// When there is no such topic, or the disk fails.
    pub fn repair_advice(&self, partition: &TopicPartition, bytes_max: u64) -> Result<Option<RepairAdvice>> {
        let verification = self.begin_verification_of(partition)?;
        if verification.bytes() > bytes_max {
            return Ok(None);
        }
        let found = verification.run(1, &|_| {})?.partitions.into_iter().flat_map(|it| it.checked.findings);
        let plan = repair::plan(found.filter(|it| it.severity().is_wrong()).collect(), DamagedRecords::Keep);
        let is_waiting = plan.decisions.iter().any(|it| it.remedy == Remedy::IfLossIsAccepted);
        Ok(Some(match plan.acts() {
            _ if is_waiting => RepairAdvice::AcceptLoss,
            true => RepairAdvice::Repair,
            false => RepairAdvice::NothingWrong,
        }))
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
        let name = partition.id().folder_name();
        match self.root.stat(&name)? {
            Some(_) if is_empty(&*self.root.open_folder(&name)?)? => {}
            Some(_) => return Ok(()),
            None => {
                self.refuse_strays_of(slice::from_ref(partition.id()))?;
                self.root.create_folder(&name)?;
            }
        }
        let checkpoints = self.checkpoint_files().now(partition.id())?;
        let next = checkpoints.acknowledged().max(checkpoints.log_start_offset);
        let folder = self.root.open_folder(&partition.id().folder_name())?;
        let guard = PartitionGuard::new(FolderLock::take(&folder)?, Arc::default(), Checkpoints::default());
        storage::create_empty_log(&guard, next)?;
        drop(guard);
        partition.make()?;
        Ok(self.root.sync()?)
    }
}

fn is_empty(folder: &dyn Folder) -> Result<bool> {
    Ok(folder.list()?.is_empty())
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
