//! Carries a promotion out.
//!
//! Every other process is kept out of the log dir. The order: what is remembered of the broker; every partition whole, durable
//! and of its topic's id, with the groups stamped; checkpoint files; the broker's properties; then the file of the controller's
//! first records, and `meta.properties` last. A broker does not start without `meta.properties`, so until then the log dir is
//! kdir's, and a promotion that was interrupted is begun again with the same ids. In a log dir that was formatted the file of
//! first records is the last one: one rename. Started before it, a broker would set every topic aside; started after it, it
//! serves all of them.

use super::bootstrap::{self, BOOTSTRAP_CHECKPOINT, Bootstrap, FIRST_SNAPSHOT};
use super::broker_file::BrokerFile;
use super::options::{Address, FirstStart, Quorum};
use super::plan::{PlannedTopic, PromotionPlan, Start};
use super::{PromoteError, Refusal, Result, server_properties};
use crate::disk::{Folder, atomic};
use crate::format::internal::metadata_records::{self, PartitionRecord, UNASSIGNED_DIRECTORY};
use crate::format::internal::metadata_snapshot::Voter;
use crate::format::properties::MetaProperties;
use crate::groups;
use crate::logdir::{DurableBelow, LogDir, LogDirs, META_PROPERTIES, METADATA_FOLDER, Partition};
use crate::storage::{self, Durability, Notice, SyncFor, durable_end};
use crate::units::{Offset, Timestamp};
use std::path::Path;

/// A promotion that is planned, and what it is carried out on.
pub struct Promotion<'a> {
    /// The log dirs of the broker, each opened for this process alone.
    pub log_dirs: &'a LogDirs,
    /// Those of controllers that are processes of their own.
    pub controllers: &'a [LogDir],
    /// Where the controller is reached that the broker is as well.
    pub controller: &'a Address,
}

impl Promotion<'_> {
    /// Carries out what was planned. `on_partition` is called for each that is ready.
    ///
    /// # Errors
    /// When something has to be settled before, or the disk fails. The log dir is then as it was to a broker; to be called
    /// again.
    pub fn apply(
        &self,
        plan: PromotionPlan,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        on_partition: &mut dyn FnMut(),
    ) -> Result<PromotionPlan> {
        let plan = self.refuse(plan)?;
        if plan.start == Start::Done {
            return Ok(plan);
        }
        for (home, dir) in self.log_dirs.each().iter().enumerate() {
            dir.finish_deletions()?;
            plan.to_remember(home).write(&**dir.folder())?;
        }
        groups::keep_from_expiring(self.log_dirs, now)?;
        for (dir, partitions) in self.log_dirs.each().iter().zip(self.settle_all(&plan, now, notices, on_partition)?) {
            dir.folder().sync()?;
            let ends = || partitions.iter().map(|(partition, end)| (partition, *end));
            dir.raise_recovery_points(ends())?;
            dir.raise_high_watermarks(ends())?;
            partitions.iter().try_for_each(|(partition, _)| forget_promise(partition))?;
        }
        if plan.first_start == FirstStart::Trusts {
            self.log_dirs.each().iter().try_for_each(LogDir::write_clean_shutdown_file)?;
        }
        self.write_properties(&plan)?;
        self.write_first_records(&plan, now)?;
        self.write_meta_properties(&plan)?;
        Ok(plan)
    }

    fn refuse(&self, mut plan: PromotionPlan) -> Result<PromotionPlan> {
        if plan.refusals.is_empty() {
            return Ok(plan);
        }
        let path = self.log_dirs.first().root().to_owned();
        Err(PromoteError::Refused { path, reasons: std::mem::take(&mut plan.refusals) })
    }

    /// Makes every partition whole, durable and its topic's. Returns them by log dir, each with its end.
    fn settle_all(
        &self,
        plan: &PromotionPlan,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        on_partition: &mut dyn FnMut(),
    ) -> Result<Vec<Vec<(Partition, Offset)>>> {
        let mut settled: Vec<Vec<(Partition, Offset)>> = self.log_dirs.each().iter().map(|_| Vec::new()).collect();
        for topic in &plan.topics {
            for (planned, partition) in topic.partitions.iter().zip(self.log_dirs.partitions(&topic.topic)?) {
                let end = self.settle(topic, &partition, now, notices)?;
                // There may be more partitions than descriptors.
                partition.let_go()?;
                settled[planned.home].push((partition, end));
                on_partition();
            }
        }
        Ok(settled)
    }

    fn settle(
        &self,
        topic: &PlannedTopic,
        partition: &Partition,
        now: Timestamp,
        notices: &mut Vec<Notice>,
    ) -> Result<Offset> {
        let guard = partition.guard()?;
        if topic.needs_id {
            partition.give_topic_id(&guard, topic.topic_id)?;
        }
        let mut writer = partition.log_dir().open_writer(partition, &guard, Durability::Synced, now)?;
        notices.extend(writer.take_notices());
        drop(guard);
        let end = writer.log_end_offset();
        if end > Offset::ZERO {
            storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        }
        partition.close(&mut writer, now)?;
        let durable = DurableBelow::default().raise(self.log_dirs, partition.id(), partition.topic_id(), end)?;
        let folder = partition.folder()?;
        let is_marked = folder.map(|folder| storage::unsynced_from(&*folder)).transpose()?.flatten().is_some();
        if durable < end || is_marked {
            let path = partition.log_dir().root().to_owned();
            let reasons = vec![Refusal::NotDurable { partition: partition.id().clone() }];
            return Err(PromoteError::Refused { path, reasons });
        }
        // Below a recovery point a broker does not look for entries that are missing.
        if let Some(&active) = partition.view()?.bases().last().filter(|_| end > Offset::ZERO) {
            storage::make_indexes_durable(&partition.guard()?, active)?;
        }
        Ok(end)
    }

    /// Never over another file: it is the user's.
    fn write_properties(&self, plan: &PromotionPlan) -> Result<()> {
        let Some((path, text)) = &plan.properties else { return Ok(()) };
        let disk = self.log_dirs.first().disk();
        server_properties::refuse_other(&**disk, path, text)?;
        if disk.stat(path)?.is_some() {
            return Ok(());
        }
        let folder = atomic::folder_of(&**disk, path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(atomic::replace(&*folder, &format!("{name}.tmp"), &name, text.as_bytes())?)
    }

    fn write_first_records(&self, plan: &PromotionPlan, now: Timestamp) -> Result<()> {
        let root = self.log_dirs.first().folder();
        if plan.quorum == Quorum::Dynamic && plan.start == Start::Full {
            write_first_snapshot(&**root, plan, self.controller, now)?;
        }
        let own = self.controllers.is_empty().then_some(root);
        for root in own.into_iter().chain(self.controllers.iter().map(LogDir::folder)) {
            let bootstrap = Bootstrap::find(root)?;
            let kept = if plan.start == Start::Formatted { bootstrap.others()? } else { Vec::new() };
            let records = records(plan, kept);
            if !bootstrap.has(&records) {
                bootstrap.write(&records, now)?;
            }
        }
        Ok(())
    }

    /// That of the first log dir last: no broker starts as long as one of them is missing.
    fn write_meta_properties(&self, plan: &PromotionPlan) -> Result<()> {
        for (dir, id) in self.log_dirs.each().iter().zip(&plan.directory_ids).rev() {
            if dir.meta_properties()?.is_none() {
                let text = MetaProperties::print(&plan.cluster_id, plan.node_id, *id);
                let temporary = format!("{META_PROPERTIES}.tmp");
                atomic::replace(&**dir.folder(), &temporary, META_PROPERTIES, text.as_bytes())?;
            }
        }
        Ok(())
    }
}

fn write_first_snapshot(root: &dyn Folder, plan: &PromotionPlan, at: &Address, now: Timestamp) -> Result<()> {
    if root.stat(METADATA_FOLDER)?.is_none() {
        root.create_folder(METADATA_FOLDER)?;
        root.sync()?;
    }
    let folder = root.open_folder(METADATA_FOLDER)?;
    let voter = Voter {
        node_id: plan.node_id,
        directory: plan.directory_ids[0],
        listener: "CONTROLLER".into(),
        host: at.host.clone(),
        port: at.port,
    };
    let bytes = bootstrap::first_snapshot(voter, now);
    Ok(atomic::replace(&*folder, &format!("{FIRST_SNAPSHOT}.tmp"), FIRST_SNAPSHOT, &bytes)?)
}

/// The records that a controller begins with: those that are kept, features, producer ids, and each topic with its partitions
/// and configuration.
fn records(plan: &PromotionPlan, kept: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut records = kept;
    records.extend(plan.features.iter().map(|(name, level)| metadata_records::feature_level(name, *level)));
    if plan.next_producer_id > 0 {
        records.push(metadata_records::producer_ids(plan.node_id, plan.next_producer_id));
    }
    for topic in &plan.topics {
        let name = topic.topic.name.as_str();
        records.push(metadata_records::topic(name, topic.topic_id));
        for partition in &topic.partitions {
            let own = plan.directory_ids[partition.home];
            let directory = |replica: &i32| if *replica == plan.node_id { own } else { UNASSIGNED_DIRECTORY };
            let record = PartitionRecord {
                topic_id: topic.topic_id,
                partition: partition.partition,
                replicas: &plan.replicas,
                directories: &plan.replicas.iter().map(directory).collect::<Vec<_>>(),
                isr: &[plan.node_id],
                leader: plan.node_id,
                leader_epoch: partition.leader_epoch.max(plan.leader_epoch),
            };
            records.push(metadata_records::partition(plan.metadata_version, &record));
        }
        let config = topic.config.iter();
        records.extend(config.map(|(key, value)| metadata_records::topic_config(name, key, value)));
    }
    records
}

/// Removes what kdir has promised of a partition in a file of its own: it is in the checkpoint files by now, and a broker that
/// cuts the log does not know the file. That it is gone is not made durable: one of an earlier leader epoch counts for nothing.
fn forget_promise(partition: &Partition) -> Result<()> {
    let folder = partition.folder()?;
    if folder.is_some_and(|folder| !folder.stat(durable_end::FILE).is_ok_and(|stat| stat.is_none())) {
        durable_end::remove(&partition.guard()?)?;
    }
    Ok(partition.let_go()?)
}

/// Removes a file; one that is not there is removed.
pub(super) fn remove(folder: &dyn Folder, name: &str) -> Result<()> {
    match folder.remove_file(name) {
        Err(error) if !error.is_not_found() => Err(error.into()),
        _ => Ok(()),
    }
}

/// Removes what a controller begins with, where none has begun.
pub(super) fn remove_first_records(root: &dyn Folder) -> Result<()> {
    remove(root, BOOTSTRAP_CHECKPOINT)?;
    if root.stat(METADATA_FOLDER)?.is_some() {
        let folder = root.open_folder(METADATA_FOLDER)?;
        for entry in folder.list()?.into_iter().filter(|entry| !entry.is_folder) {
            folder.remove_file(&entry.name)?;
        }
        root.remove_folder(METADATA_FOLDER)?;
    }
    Ok(root.sync()?)
}

/// Removes the properties that were written for a broker, if they are as they were written.
pub(super) fn remove_properties(dir: &LogDir, remembered: &BrokerFile) -> Result<bool> {
    let Some((path, text)) = &remembered.properties else { return Ok(false) };
    let disk = dir.disk();
    match atomic::read_small_at(&**disk, path, server_properties::SIZE_MAX)? {
        Some(found) if found == text.as_bytes() => {
            let folder = atomic::folder_of(&**disk, path)?;
            remove(&*folder, &name_of(path))?;
            folder.sync()?;
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
