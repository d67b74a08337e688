//! What a promotion does, decided before anything is written.

use super::broker_config::ConfigChange;
use super::broker_file::{BrokerFile, Handed};
use super::identity::Identity;
use super::options::{FirstStart, PromoteOptions, Quorum};
use super::root::Root;
use super::share_groups::PlannedShareGroup;
use super::survey::Survey;
use super::{Refusal, Result};
use crate::logdir::{LogDir, LogDirs, Topic};
use crate::units::{GroupId, Offset, Timestamp};
use std::path::PathBuf;
use uuid::Uuid;

/// What a promotion does.
pub struct PromotionPlan {
    /// What begins it.
    pub start: Start,
    /// The cluster.
    pub cluster_id: String,
    /// The broker.
    pub node_id: i32,
    /// The topics, by name.
    pub topics: Vec<PlannedTopic>,
    /// The groups of consumers that come along.
    pub groups: Vec<GroupId>,
    /// The share groups that come along.
    pub share_groups: Vec<PlannedShareGroup>,
    /// What has to be settled before.
    pub refusals: Vec<Refusal>,
    /// The properties for the broker, and where they are written; `None` where it has its own.
    pub properties: Option<(PathBuf, String)>,
    /// Where the broker is reached.
    pub listener: String,
    /// The ids of the log dirs, in their order.
    pub(super) directory_ids: Vec<Uuid>,
    pub(super) handed: Vec<Handed>,
    pub(super) metadata_dirs: Vec<PathBuf>,
    pub(super) features: Vec<(String, i16)>,
    pub(super) metadata_version: i16,
    pub(super) share_version: i16,
    pub(super) replicas: Vec<i32>,
    pub(super) next_producer_id: i64,
    pub(super) leader_epoch: i32,
    pub(super) quorum: Quorum,
    pub(super) first_start: FirstStart,
}

/// What a promotion begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No broker has the log dir: all that one starts with is made.
    Full,
    /// The log dir, or that of its controllers, was formatted: topics are added to what format has made.
    Formatted,
    /// It is promoted already, and no broker has started.
    Done,
}

/// A topic that a broker is to serve.
pub struct PlannedTopic {
    /// The topic as it is here.
    pub topic: Topic,
    /// Its id.
    pub topic_id: Uuid,
    /// Its partitions, by number.
    pub partitions: Vec<PlannedPartition>,
    /// The configuration that the broker gets.
    pub config: Vec<(String, String)>,
    /// What of it differs from the topic's.
    pub changes: Vec<ConfigChange>,
    /// Whether the folders have to be given the id.
    pub(super) needs_id: bool,
}

/// A partition that a broker is to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedPartition {
    /// Its number.
    pub partition: i32,
    /// The first offset.
    pub log_start_offset: Offset,
    /// The next offset.
    pub log_end_offset: Offset,
    /// How many records a broker deletes at its first check.
    pub expiring: i64,
    pub(super) leader_epoch: i32,
    /// In which log dir it is.
    pub(super) home: usize,
}

impl PlannedTopic {
    /// Offsets of all partitions together.
    #[must_use]
    pub fn records(&self) -> i64 {
        self.partitions.iter().map(|it| it.log_end_offset - it.log_start_offset).sum()
    }

    /// How many of them a broker deletes at its first check.
    #[must_use]
    pub fn expiring(&self) -> i64 {
        self.partitions.iter().map(|it| it.expiring).sum()
    }
}

impl PromotionPlan {
    /// Plans the promotion of log dirs, which are one broker's. Changes nothing.
    ///
    /// # Errors
    /// When a broker has run on them, an option contradicts what is there, or the disk fails. What can be settled is among the
    /// [refusals](Self::refusals).
    pub fn make(log_dirs: &LogDirs, controllers: &[LogDir], options: &PromoteOptions, now: Timestamp) -> Result<Self> {
        let roots = log_dirs.each().iter().map(Root::of).collect::<Result<Vec<_>>>()?;
        let identity = Identity::find(&roots, controllers, options)?;
        let mut survey = Survey::new(log_dirs, options, now);
        let topics = survey.topics()?;
        let (groups, share_groups) = survey.groups()?;
        survey.refuse_share_groups(&topics, identity.metadata_version);
        let remembered = roots.iter().find_map(|root| root.remembered.as_ref());
        let next_producer_id = survey.next_producer_id(remembered)?;
        let refusals = survey.refusals;
        Ok(Self {
            start: identity.start,
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            topics,
            groups,
            share_groups,
            refusals,
            properties: identity.properties,
            listener: options.listener.to_string(),
            directory_ids: identity.directory_ids,
            handed: identity.handed,
            metadata_dirs: options.metadata_dirs.clone(),
            metadata_version: identity.metadata_version,
            features: identity.features,
            replicas: identity.replicas,
            next_producer_id,
            leader_epoch: remembered.map_or(0, |it| it.leader_epoch),
            quorum: identity.quorum,
            share_version: identity.share_version,
            first_start: options.first_start,
        })
    }

    /// Whether the cluster has share groups from its first start on.
    #[must_use]
    pub const fn serves_share_groups(&self) -> bool {
        self.share_version > 0
    }

    /// What is to be remembered of the broker of a log dir.
    pub(super) fn to_remember(&self, home: usize) -> BrokerFile {
        BrokerFile {
            handed: self.handed[home],
            cluster_id: self.cluster_id.clone(),
            node_id: self.node_id,
            directory_id: self.directory_ids[home],
            next_producer_id: self.next_producer_id,
            leader_epoch: self.leader_epoch,
            metadata_dirs: self.metadata_dirs.clone(),
            properties: self.properties.clone().filter(|_| home == 0),
        }
    }
}
