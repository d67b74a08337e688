//! The way back: what a broker knows of topics becomes topic files, and what only brokers need is removed.
//!
//! Topic files are written and those of topics that the broker has deleted are removed while the metadata still outranks them;
//! then what is to be remembered of the broker. `meta.properties` is removed next, in one step: before it the log dir is the
//! broker's, after it kdir's, since a broker does not start without. What is left of the broker after a crash is removed by the
//! next run.

use super::apply::{remove, remove_first_records};
use super::broker_file::{BrokerFile, Handed};
use super::{PromoteError, Refusal, Result};
use crate::format::properties::MetaProperties;
use crate::logdir::{ClusterMetadata, LogDir, META_PROPERTIES, Origin, Topic};
use crate::units::{SetAsideKind, TopicName, TopicPartition};
use std::sync::Arc;
use uuid::Uuid;

/// What a demotion does.
pub struct DemotionPlan {
    /// The topics, as their files will say.
    pub topics: Vec<Topic>,
    /// Topics of the cluster that have no partition here.
    pub elsewhere: Vec<TopicName>,
    /// What has to be settled before.
    pub refusals: Vec<Refusal>,
    /// Whether only what an earlier run has left is to be removed.
    pub is_done: bool,
    remembered: Option<BrokerFile>,
}

impl DemotionPlan {
    /// Plans the demotion of a log dir. Changes nothing.
    ///
    /// # Errors
    /// When no broker has the log dir, its metadata is not here, or the disk fails.
    pub fn make(log_dir: &LogDir) -> Result<Self> {
        let path = || log_dir.root().to_owned();
        let Some(properties) = log_dir.meta_properties()? else {
            return match BrokerFile::read(&**log_dir.folder())? {
                Some(file) if file.handed == Handed::Demoted => Ok(Self::done()),
                _ => Err(PromoteError::NotABrokers { path: path() }),
            };
        };
        if !properties.is_kraft {
            return Err(PromoteError::ZooKeeper { path: path() });
        }
        let metadata = log_dir.cluster_metadata()?.ok_or_else(|| PromoteError::NoMetadata { path: path() })?;
        let node_id = properties.node_id.ok_or_else(|| PromoteError::NotABrokers { path: path() })?;
        let mut plan = Self { remembered: Some(remembered(&properties, node_id, &metadata)), ..Self::done() };
        plan.is_done = false;
        plan.survey(log_dir, &metadata, node_id)?;
        Ok(plan)
    }

    const fn done() -> Self {
        Self { topics: Vec::new(), elsewhere: Vec::new(), refusals: Vec::new(), is_done: true, remembered: None }
    }

    fn survey(&mut self, log_dir: &LogDir, metadata: &Arc<ClusterMetadata>, node_id: i32) -> Result<()> {
        let found = log_dir.find_topics()?;
        self.refusals.extend(found.damaged.into_iter().map(|(_, error)| Refusal::Unreadable(error)));
        let kept_aside = found.set_aside.into_iter().filter(|folder| folder.kind != SetAsideKind::Deleting);
        self.refusals.extend(kept_aside.map(|folder| Refusal::SetAside { folder }));
        for topic in found.topics {
            let Origin::Cluster(topic_id) = topic.origin else {
                self.refusals.push(Refusal::Unknown { topic: topic.name });
                continue;
            };
            self.refuse_partial(&topic, topic_id, metadata, node_id);
            self.topics.push(topic.of_file(topic_id));
        }
        let is_here = |name: &str| self.topics.iter().any(|topic| topic.name.as_str() == name);
        let elsewhere =
            metadata.topics().into_keys().filter(|name| !is_here(name)).filter_map(|name| name.parse().ok());
        self.elsewhere = elsewhere.collect();
        Ok(())
    }

    /// A partition that is not whole here would be one that has lost records.
    fn refuse_partial(&mut self, topic: &Topic, topic_id: Uuid, metadata: &ClusterMetadata, node_id: i32) {
        for (number, partition) in metadata.partitions(topic_id) {
            let id = TopicPartition { topic: topic.name.clone(), partition: number };
            if !partition.isr.contains(&node_id) || topic.partitions.binary_search(&number).is_err() {
                self.refusals.push(Refusal::NotInSync { partition: id, node_id });
                continue;
            }
            let others: Vec<i32> = partition.isr.iter().copied().filter(|other| *other != node_id).collect();
            if !others.is_empty() {
                self.refusals.push(Refusal::InSyncElsewhere { partition: id, others });
            }
        }
    }

    /// Carries it out. The log dir is opened for this process alone.
    ///
    /// # Errors
    /// When something has to be settled before, or the disk fails. The log dir is the broker's then, or kdir's; to be called
    /// again.
    pub fn apply(mut self, log_dir: &LogDir) -> Result<Self> {
        let root = &**log_dir.folder();
        if !self.refusals.is_empty() {
            let reasons = std::mem::take(&mut self.refusals);
            return Err(PromoteError::Refused { path: log_dir.root().to_owned(), reasons });
        }
        if let Some(remembered) = &self.remembered {
            log_dir.replace_topic_files(&self.topics)?;
            remembered.write(root)?;
            remove(root, META_PROPERTIES)?;
            root.sync()?;
        }
        remove_first_records(root)?;
        log_dir.remove_what_only_brokers_need()?;
        Ok(self)
    }
}

fn remembered(properties: &MetaProperties, node_id: i32, metadata: &ClusterMetadata) -> BrokerFile {
    let partitions = metadata.topics().into_values().flat_map(|id| metadata.partitions(id));
    let leader_epoch = partitions.map(|(_, partition)| partition.leader_epoch).max().unwrap_or(0);
    BrokerFile {
        handed: Handed::Demoted,
        cluster_id: properties.cluster_id.clone().unwrap_or_default(),
        node_id,
        directory_id: properties.directory_id.unwrap_or_else(Uuid::new_v4),
        next_producer_id: metadata.next_producer_id(),
        leader_epoch,
        metadata_dirs: Vec::new(),
        properties: None,
    }
}
