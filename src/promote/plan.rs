//! What a promotion does, decided before anything is written.

use super::bootstrap::Bootstrap;
use super::broker_config::{self, ConfigChange, UNLIMITED};
use super::broker_file::{BrokerFile, Handed};
use super::options::{Expiring, FirstStart, KafkaRelease, METADATA_VERSION_3_9, PromoteOptions, Quorum};
use super::root::{Owner, Root};
use super::{PromoteError, Refusal, Result};
use super::{producer_ids, server_properties};
use crate::format::properties::topic_id_to_text;
use crate::groups::{GroupKind, GroupsTopic};
use crate::logdir::{LimitOverrides, LogDir, LogDirError, LogDirs, Partition, Topic};
use crate::storage::{self, latest_epoch};
use crate::units::{GroupId, Offset, SetAsideKind, Timestamp, TopicName};
use std::collections::HashMap;
use std::path::PathBuf;
use uuid::Uuid;

/// A broker gives producer ids out by so many.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// Kafka's own ids of directories never begin with a `-`, and the first hundred ids have meanings of their own.
const RESERVED_IDS: u128 = 100;

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
        let mut survey = Survey { log_dirs, options, now, refusals: Vec::new() };
        survey.refuse_set_aside()?;
        let topics = survey.topics()?;
        survey.refuse_same_ids(&topics);
        let groups = survey.groups()?;
        let remembered = roots.iter().find_map(|root| root.remembered.as_ref());
        let next_producer_id = survey.next_producer_id(remembered)?;
        let refusals = survey.refusals;
        let properties = identity.properties(log_dirs, options);
        Ok(Self {
            start: identity.start,
            cluster_id: identity.cluster_id,
            node_id: identity.node_id,
            topics,
            groups,
            refusals,
            properties,
            listener: options.listener.to_string(),
            directory_ids: identity.directory_ids,
            handed: identity.handed,
            metadata_dirs: options.metadata_dirs.clone(),
            metadata_version: identity.metadata_version,
            features: identity.features,
            replicas: identity.replicas,
            next_producer_id,
            leader_epoch: remembered.map_or(0, |it| it.leader_epoch),
            quorum: options.quorum,
            first_start: options.first_start,
        })
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

/// Which broker of which cluster it is to be.
struct Identity {
    start: Start,
    cluster_id: String,
    node_id: i32,
    directory_ids: Vec<Uuid>,
    handed: Vec<Handed>,
    metadata_version: i16,
    /// Those that are ours to give.
    features: Vec<(String, i16)>,
    replicas: Vec<i32>,
}

impl Identity {
    fn find(roots: &[Root<'_>], controllers: &[LogDir], options: &PromoteOptions) -> Result<Self> {
        let formatted = roots.iter().find_map(|root| match &root.owner {
            Owner::Formatted(properties) | Owner::Promoted(properties) => Some(properties),
            Owner::Kdir => None,
        });
        let is_done = roots.iter().all(|root| matches!(root.owner, Owner::Promoted(_)));
        let is_formatted = roots.iter().any(|root| matches!(root.owner, Owner::Formatted(_)));
        let start = match (is_done, is_formatted || !controllers.is_empty()) {
            (true, _) => Start::Done,
            (false, true) => Start::Formatted,
            (false, false) => Start::Full,
        };
        let of_controllers = controllers.iter().map(controller_properties).collect::<Result<Vec<_>>>()?;
        let remembered = roots.iter().find_map(|root| root.remembered.as_ref());
        let known_cluster = of_controllers
            .first()
            .or(formatted)
            .and_then(|properties| properties.cluster_id.clone())
            .or_else(|| begun(remembered).map(|it| it.cluster_id.clone()));
        let cluster_id = same("cluster id", options.cluster_id.clone(), known_cluster)?.unwrap_or_else(new_id_text);
        for (dir, properties) in controllers.iter().zip(&of_controllers) {
            if properties.cluster_id.as_deref() != Some(&cluster_id) {
                let what = format!(
                    "cluster {}, and the others of {cluster_id}",
                    properties.cluster_id.as_deref().unwrap_or_default()
                );
                return Err(PromoteError::OtherCluster { path: dir.root().to_owned(), what });
            }
        }
        let known_node = formatted.and_then(|it| it.node_id).or_else(|| remembered.map(|it| it.node_id));
        let node_id = same("node id", options.node_id, known_node)?.unwrap_or(1);
        if of_controllers.iter().any(|it| it.node_id == Some(node_id)) {
            let what = format!("a controller has node id {node_id}: give the broker another one with --node-id");
            return Err(PromoteError::Contradiction { what });
        }
        let target = controllers.first().or_else(|| (start == Start::Formatted).then(|| roots[0].log_dir));
        let known = target.map(|dir| Bootstrap::find(dir.folder())?.metadata_version()).transpose()?.flatten();
        let features = features(known, options.release)?;
        let of_features = features.first().map_or(METADATA_VERSION_3_9, |(_, level)| *level);
        Ok(Self {
            start,
            cluster_id,
            node_id,
            directory_ids: roots.iter().map(directory_id).collect(),
            handed: roots.iter().map(Root::handed).collect(),
            metadata_version: known.unwrap_or(of_features),
            features,
            replicas: replicas(options, node_id)?,
        })
    }

    /// Who has formatted a log dir has properties for it, too.
    fn properties(&self, log_dirs: &LogDirs, options: &PromoteOptions) -> Option<(PathBuf, String)> {
        let is_wanted = self.start != Start::Formatted || options.properties.is_some();
        let path = || log_dirs.first().root().join("server.properties");
        is_wanted.then(|| {
            let dirs: Vec<PathBuf> = log_dirs.roots().map(|root| absolute(log_dirs, root)).collect();
            (options.properties.clone().unwrap_or_else(path), server_properties::text(self.node_id, &dirs, options))
        })
    }
}

/// The path that a broker finds a log dir at, wherever it is started.
fn absolute(log_dirs: &LogDirs, root: &std::path::Path) -> PathBuf {
    log_dirs.first().disk().resolve(root).unwrap_or_else(|_| root.to_owned())
}

/// What `meta.properties` of a controller's log dir says, which was formatted and has never run.
fn controller_properties(dir: &LogDir) -> Result<crate::format::properties::MetaProperties> {
    let path = || dir.root().to_owned();
    let properties = dir.meta_properties()?;
    let properties = properties
        .ok_or_else(|| PromoteError::NotFormatted { path: path(), what: "meta.properties is not there".into() })?;
    if !properties.is_kraft {
        return Err(PromoteError::ZooKeeper { path: path() });
    }
    if dir.has_run_metadata()? {
        return Err(PromoteError::HasRun { path: path() });
    }
    Ok(properties)
}

/// What was asked for, and what is there, which is to be the same.
fn same<T: PartialEq + std::fmt::Display>(what: &str, asked: Option<T>, known: Option<T>) -> Result<Option<T>> {
    match (asked, known) {
        (Some(asked), Some(known)) if asked != known => Err(PromoteError::Contradiction {
            what: format!("the {what} is to be {asked}, and what is there has {known}"),
        }),
        (asked, known) => Ok(known.or(asked)),
    }
}

/// The features that are ours to give: a cluster that was formatted has its own.
fn features(known: Option<i16>, release: Option<KafkaRelease>) -> Result<Vec<(String, i16)>> {
    match (known, release) {
        (Some(_), Some(release)) => Err(PromoteError::Contradiction {
            what: format!(
                "--kafka {} is for a log dir that was not formatted: this one has its features",
                release.name()
            ),
        }),
        (Some(_), None) => Ok(Vec::new()),
        (None, release) => {
            let least = || vec![("metadata.version", METADATA_VERSION_3_9)];
            let features = release.map_or_else(least, KafkaRelease::features);
            Ok(features.into_iter().map(|(name, level)| (name.to_owned(), level)).collect())
        }
    }
}

fn replicas(options: &PromoteOptions, node_id: i32) -> Result<Vec<i32>> {
    if options.replicas.is_empty() {
        return Ok(vec![node_id]);
    }
    let mut replicas = options.replicas.clone();
    let Some(place) = replicas.iter().position(|replica| *replica == node_id) else {
        let what = format!("--replicas does not name this broker, node {node_id}, which has the records");
        return Err(PromoteError::Contradiction { what });
    };
    // The first is the preferred leader.
    replicas[..=place].rotate_right(1);
    Ok(replicas)
}

/// What is remembered of a promotion that has begun. After a demotion the cluster is another one, with a metadata log of its own:
/// nodes of the earlier one are not to take it for theirs.
fn begun(remembered: Option<&BrokerFile>) -> Option<&BrokerFile> {
    remembered.filter(|it| it.handed != Handed::Demoted)
}

fn directory_id(root: &Root<'_>) -> Uuid {
    let of_properties = match &root.owner {
        Owner::Formatted(properties) | Owner::Promoted(properties) => properties.directory_id,
        Owner::Kdir => None,
    };
    of_properties.or_else(|| begun(root.remembered.as_ref()).map(|it| it.directory_id)).unwrap_or_else(new_id)
}

fn new_id() -> Uuid {
    loop {
        let id = Uuid::new_v4();
        if id.as_u128() >= RESERVED_IDS && !topic_id_to_text(id).starts_with('-') {
            return id;
        }
    }
}

fn new_id_text() -> String {
    topic_id_to_text(new_id())
}

/// A look at all that is to be handed over.
struct Survey<'a> {
    log_dirs: &'a LogDirs,
    options: &'a PromoteOptions,
    now: Timestamp,
    refusals: Vec<Refusal>,
}

impl Survey<'_> {
    /// Folders of deleted partitions are removed by the next writer or broker.
    fn refuse_set_aside(&mut self) -> Result<()> {
        for folder in self.log_dirs.find_topics()?.set_aside {
            if folder.kind != SetAsideKind::Deleting {
                self.refusals.push(Refusal::SetAside { folder });
            }
        }
        Ok(())
    }

    fn topics(&mut self) -> Result<Vec<PlannedTopic>> {
        let found = self.log_dirs.find_topics()?;
        self.refusals.extend(found.damaged.into_iter().map(|(_, error)| Refusal::Unreadable(error)));
        let mut topics = Vec::with_capacity(found.topics.len());
        for topic in found.topics {
            for dir in self.log_dirs.each() {
                dir.refuse_lost_file(&topic)?;
            }
            if topic.partition_count().is_err() {
                self.refusals.push(Refusal::PartitionsHaveGaps { topic: topic.name.clone() });
                continue;
            }
            topics.extend(self.topic(topic)?);
        }
        Ok(topics)
    }

    /// `None` where it cannot be read, which is refused.
    fn topic(&mut self, topic: Topic) -> Result<Option<PlannedTopic>> {
        let handles = self.log_dirs.partitions(&topic)?;
        let ids_found: Vec<Option<Uuid>> = match handles.iter().map(Partition::incarnation).collect() {
            Ok(known) => known,
            Err(error) => return self.unreadable(error),
        };
        let ids: Vec<Uuid> = ids_found.iter().flatten().copied().collect();
        if ids.iter().any(|id| *id != ids[0]) {
            self.refusals.push(Refusal::TopicIdsDiffer { topic: topic.name });
            return Ok(None);
        }
        let topic_id = ids.first().copied().unwrap_or_else(new_id);
        let mut partitions = Vec::with_capacity(handles.len());
        for partition in &handles {
            match self.partition(&topic, partition) {
                Ok(planned) => partitions.push(planned),
                Err(error) => return self.unreadable(error),
            }
        }
        let known = topic.with_known_config();
        let (mut config, changes) = broker_config::for_broker(&known.config, self.options.release);
        let mut planned = PlannedTopic {
            topic,
            topic_id,
            partitions,
            config: Vec::new(),
            changes,
            needs_id: ids_found.contains(&None),
        };
        if planned.expiring() > 0 {
            match self.options.expiring {
                Expiring::Delete => {}
                Expiring::Refuse => self.refusals.push(expiring(&planned)),
                Expiring::Keep => {
                    config.retain(|(key, _)| UNLIMITED.iter().all(|(unlimited, _)| key != unlimited));
                    config.extend(UNLIMITED.map(|(key, value)| (key.to_owned(), value.to_owned())));
                    let change = |(key, to): (&str, &str)| {
                        let from = planned.topic.config.text(key).to_owned();
                        ConfigChange { key: key.to_owned(), from, to: Some(to.to_owned()) }
                    };
                    let kept = UNLIMITED.map(change);
                    planned.changes.extend(kept.into_iter().filter(|change| change.to.as_ref() != Some(&change.from)));
                    planned.partitions.iter_mut().for_each(|partition| partition.expiring = 0);
                }
            }
        }
        Ok(Some(PlannedTopic { config, ..planned }))
    }

    fn unreadable<T>(&mut self, error: LogDirError) -> Result<Option<T>> {
        self.refusals.push(Refusal::Unreadable(error));
        Ok(None)
    }

    fn partition(&self, topic: &Topic, partition: &Partition) -> std::result::Result<PlannedPartition, LogDirError> {
        let view = partition.view()?;
        let folder = partition.folder()?;
        let latest = folder.map(|folder| latest_epoch(&*folder)).transpose()?.flatten();
        let (start, end) = (view.log_start_offset(), view.log_end_offset()?);
        let going = match topic.with_known_config().log_config().cleanup_policy.delete {
            true => self.first_check(topic, partition)?,
            false => None,
        };
        Ok(PlannedPartition {
            partition: partition.id().partition,
            log_start_offset: start,
            log_end_offset: end,
            expiring: going.map_or(0, |next| (next - start).max(0)),
            leader_epoch: latest.unwrap_or(0),
            home: topic.home(partition.id().partition),
        })
    }

    /// Up to where a broker deletes by the limits of the topic, and by its own defaults where the topic has none.
    fn first_check(&self, topic: &Topic, partition: &Partition) -> std::result::Result<Option<Offset>, LogDirError> {
        let limit = |key| Some(topic.config.integer(key));
        let limits = LimitOverrides { retention_ms: limit("retention.ms"), retention_bytes: limit("retention.bytes") };
        let planned = partition.plan_retention(limits, self.now)?;
        Ok(planned.plan.going().map(|decision| decision.next_offset).max())
    }

    fn refuse_same_ids(&mut self, topics: &[PlannedTopic]) {
        let mut seen = HashMap::<Uuid, &TopicName>::new();
        for PlannedTopic { topic, topic_id, .. } in topics {
            if let Some(one) = seen.insert(*topic_id, &topic.name) {
                self.refusals.push(Refusal::SameTopicId { one: one.clone(), other: topic.name.clone() });
            }
        }
    }

    /// The groups whose offsets a broker would forget for their age.
    fn groups(&self) -> Result<Vec<GroupId>> {
        let found = GroupsTopic::find(self.log_dirs)?.all()?;
        if let Some(error) = found.failed.into_iter().next() {
            return Err(error.into());
        }
        let is_old = |group: &crate::groups::Group| {
            matches!(group.kind(), GroupKind::Classic | GroupKind::Consumer) && !group.committed.is_empty()
        };
        Ok(found.groups.into_iter().filter(|(_, group)| is_old(group)).map(|(id, _)| id).collect())
    }

    /// The first producer id that no batch has, and no transactional id.
    fn next_producer_id(&self, remembered: Option<&BrokerFile>) -> Result<i64> {
        let mut largest = None;
        for topic in self.log_dirs.find_topics()?.topics {
            for partition in self.log_dirs.partitions(&topic)? {
                let Ok(view) = partition.view() else { continue };
                largest = largest.max(storage::largest_producer_id(&view)?);
            }
        }
        let largest = largest.max(producer_ids::largest_of_transactions(self.log_dirs)?);
        let after = largest.map_or(0, |id: i64| (id / PRODUCER_ID_BLOCK + 1) * PRODUCER_ID_BLOCK);
        Ok(after.max(remembered.map_or(0, |it| it.next_producer_id)))
    }
}

fn expiring(planned: &PlannedTopic) -> Refusal {
    let limits = UNLIMITED.map(|(key, _)| format!("{key}={}", planned.topic.config.text(key)));
    let why = match planned.topic.is_of_broker() {
        true => "by its default of 7 days: what the topic's own limit was is not known here".to_owned(),
        false => format!("by {}", limits.join(" and ")),
    };
    Refusal::Expiring { topic: planned.topic.name.clone(), records: planned.expiring(), why }
}
