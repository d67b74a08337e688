//! What a broker finds at the root of a log dir when it starts, and what it does about it.
//!
//! | found | a broker with KRaft |
//! | --- | --- |
//! | a folder that is not called as a partition, nor as one of its own | does not start |
//! | `meta.properties` that lacks something | does not start |
//! | `bootstrap.checkpoint` without a byte, `quorum-state` that is not JSON | does not start |
//! | `partition.metadata` that is not what it should be | does not start |
//! | a batch of `__cluster_metadata` that is damaged | cuts the metadata there, and goes on without the rest |
//! | a partition that its metadata does not give it | renames the folder to `…-stray` |
//! | a partition without `partition.metadata` | likewise |
//! | a folder called as a partition that is none | likewise |
//!
//! Brokers with ZooKeeper have no such metadata here, and do without `meta.properties`. Sources: `LogManager.scala`,
//! `UnifiedLog.java` (`parseTopicPartitionName`), `MetaPropertiesEnsemble.java`, and brokers of 2.8, 3.9 and 4.3 that were
//! started on such log dirs.

use super::cluster_metadata::ClusterMetadata;
use super::partition::topic_id_in;
use super::topic::PARTITION_METADATA_FILE;
use super::{BROKER_FILE, LogDir, LogDirError, METADATA_FOLDER, METADATA_TOPIC, REMOTE_INDEX_CACHE, Result, Topic};
use crate::disk::{Folder, atomic};
use crate::format::FormatError;
use crate::format::compression::DECOMPRESSED_SIZE_MAX;
use crate::format::properties::{MetaProperties, topic_id_to_text};
use crate::storage::check::{Acknowledgement, Finding, Gaps, Owner, Problem, Subject, Verification};
use crate::storage::{Checkpoints, StorageError};
use crate::units::{SetAside, SetAsideKind, TopicPartition};
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// What a broker takes for its own at the root.
pub const META_PROPERTIES: &str = "meta.properties";
const BOOTSTRAP_CHECKPOINT: &str = "bootstrap.checkpoint";
/// Of the metadata's folder.
pub(super) const QUORUM_STATE: &str = "quorum-state";
/// The feature of a cluster that share groups are.
const SHARE_VERSION: &str = "share.version";
/// A larger one is none of these.
const META_PROPERTIES_SIZE_MAX: usize = 1 << 20;

/// What a broker will go by when it starts.
#[derive(Default)]
pub(super) struct BrokerRoot {
    pub(super) findings: Vec<Finding>,
    node_id: Option<i32>,
    is_kraft: bool,
    metadata: Option<Arc<ClusterMetadata>>,
}

impl BrokerRoot {
    /// What the broker's metadata says of topics, if it is here and whole.
    pub(super) const fn metadata(&self) -> Option<&Arc<ClusterMetadata>> {
        self.metadata.as_ref()
    }

    /// Goes by the metadata in another of the broker's log dirs, where it is not in this one.
    pub(super) fn share(&mut self, metadata: Option<&Arc<ClusterMetadata>>) {
        if self.metadata.is_none() {
            self.metadata = metadata.cloned();
        }
    }

    /// Whether the metadata gives this broker a partition; `None` where it is not here.
    pub(super) fn has_partition(&self, partition: &TopicPartition) -> Option<bool> {
        let (node_id, metadata) = (self.node_id?, self.metadata.as_ref()?);
        let replicas = metadata.topic_id(&partition.topic).and_then(|id| metadata.replicas(id, partition.partition));
        Some(replicas.is_some_and(|replicas| replicas.contains(&node_id)))
    }

    /// Whether the broker sets aside a folder with records that has no topic id: it writes the id before the first of them.
    pub(super) const fn needs_topic_ids(&self) -> bool {
        self.is_kraft
    }

    /// Why the broker sets the folder of a partition aside, which has this topic id in its `partition.metadata`.
    pub(super) fn why_not_served(&self, partition: &TopicPartition, topic_id: Option<Uuid>) -> Option<String> {
        let (node_id, metadata) = (self.node_id?, self.metadata.as_ref()?);
        let Some(topic_id) = topic_id else {
            let known =
                metadata.topic_id(&partition.topic).map(|id| format!("; the topic's id is {}", topic_id_to_text(id)));
            return Some(format!("the file is missing{}", known.unwrap_or_default()));
        };
        let id = topic_id_to_text(topic_id);
        if let Some(other) = metadata.topic_name(topic_id).filter(|name| *name != partition.topic.as_str()) {
            return Some(format!("the topic id {id} is that of the topic {other}"));
        }
        match metadata.replicas(topic_id, partition.partition) {
            Some(replicas) if replicas.contains(&node_id) => None,
            Some(replicas) => Some(format!(
                "the cluster's metadata gives the partition to the brokers {replicas:?}, and this one is {node_id}"
            )),
            None => Some(match metadata.topic_id(&partition.topic) {
                Some(known) if known != topic_id => {
                    format!(
                        "the topic id is {id}, and the cluster's metadata has {} for the topic",
                        topic_id_to_text(known)
                    )
                }
                _ => format!("the cluster's metadata has no such partition of a topic with the id {id}"),
            }),
        }
    }
}

impl LogDir {
    /// Checks what a broker goes by when it starts. Where no broker owns the log dir, that is what one will go by once it is
    /// given the directory.
    pub(super) fn check_broker_root(&self, pause: fn()) -> Result<BrokerRoot> {
        let owner = if self.broker_mark()?.is_some() { Owner::Broker } else { Owner::Kdir };
        let folders: Vec<String> =
            self.root.list()?.into_iter().filter(|entry| entry.is_folder).map(|entry| entry.name).collect();
        let current_of = |name: &str| {
            SetAside::parse(name).filter(|it| it.kind == SetAsideKind::Future).map(|it| it.partition.folder_name())
        };
        let mut root = BrokerRoot::default();
        for name in &folders {
            if !is_a_brokers(name) {
                root.findings.push(self.at_root(name, Problem::ForeignFolder { owner }));
            } else if current_of(name).is_some_and(|current| folders.contains(&current)) {
                let what = "the partition is here already, so a broker cannot put this folder in its place".into();
                root.findings.push(self.at_root(name, Problem::StopsABroker { what }));
            }
        }
        match self.meta_properties() {
            Ok(None) if self.root.stat(METADATA_FOLDER)?.is_some() => {
                root.findings
                    .push(self.at_root(META_PROPERTIES, Problem::StopsABroker { what: "the file is missing".into() }));
            }
            Ok(properties) => {
                root.node_id = properties.as_ref().and_then(|it| it.node_id);
                root.is_kraft = properties.is_some_and(|it| it.is_kraft);
            }
            Err(error) => {
                let has_ids = self.has_topic_ids()?;
                let problem = |what| match has_ids {
                    true => Problem::StopsABroker { what },
                    false => Problem::DamagedBrokerFile { what },
                };
                root.findings.push(self.unreadable_at_root(META_PROPERTIES, error, problem)?);
            }
        }
        root.findings.extend(self.check_quorum_files()?);
        let damage = self.check_metadata_log(pause)?;
        if damage.is_empty() {
            match ClusterMetadata::read(&*self.root) {
                Ok(metadata) => root.metadata = metadata.map(Arc::new),
                Err(error) => {
                    let damaged = |what| Problem::DamagedMetadata { what };
                    root.findings.push(self.unreadable_at_root(METADATA_FOLDER, error, damaged)?);
                }
            }
        }
        root.findings.extend(damage);
        Ok(root)
    }

    /// Checks the root together with the topics in it.
    pub(super) fn check_topics_of_broker(&self, root: &BrokerRoot, topics: &[Topic]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let is_of_broker = Topic::is_of_broker;
        if root.metadata.is_none() {
            // Where the metadata began, it is missed.
            let began_here =
                self.root.stat(BOOTSTRAP_CHECKPOINT)?.is_some() && self.root.stat(METADATA_FOLDER)?.is_none();
            // What a promotion writes is where the metadata will begin.
            let began_here = began_here && self.root.stat(BROKER_FILE)?.is_none();
            if began_here && topics.iter().any(is_of_broker) {
                let what = "the folder is missing, and the topics were made by a broker".into();
                findings.push(self.at_root(METADATA_FOLDER, Problem::DamagedMetadata { what }));
            }
            return Ok(findings);
        }
        let known: HashSet<TopicPartition> = topics.iter().flat_map(Topic::all_partitions).collect();
        let mut strangers: Vec<_> = self.partition_folders()?.filter(|it| !known.contains(it)).collect();
        strangers.retain(|it| it.topic.as_str() != METADATA_TOPIC);
        for deletion in self.deletions(&self.root.list()?)? {
            strangers.retain(|it| it.topic != *deletion.topic_name());
        }
        let set_aside = |it: TopicPartition| {
            let what = "the folder is named like a partition but is not one".into();
            self.at_root(&it.folder_name(), Problem::NotServed { what })
        };
        findings.extend(strangers.into_iter().map(set_aside));
        Ok(findings)
    }

    fn at_root(&self, name: &str, problem: Problem) -> Finding {
        Finding { path: self.root().join(name), position: None, offset: None, problem }
    }

    /// Whether the broker knows all topics by id. One with ZooKeeper that does not writes `meta.properties` again when it
    /// starts.
    fn has_topic_ids(&self) -> Result<bool> {
        for file in [METADATA_FOLDER, BOOTSTRAP_CHECKPOINT] {
            if self.root.stat(file)?.is_some() {
                return Ok(true);
            }
        }
        let mut has_all = false;
        for partition in self.partition_folders()? {
            let folder = self.root.open_folder(&partition.folder_name());
            if !folder.is_ok_and(|folder| matches!(topic_id_in(&*folder), Ok(Some(_)))) {
                return Ok(false);
            }
            has_all = true;
        }
        Ok(has_all)
    }

    /// Why the broker that owns the log dir has no share groups, as far as the log dir shows it; `None` where it may have
    /// them, or no broker owns the log dir. One with ZooKeeper has none, and up to 2.8 gives up every group that is in one
    /// partition of `__consumer_offsets` with a share group. One with KRaft has them where `share.version` is 1 or more.
    ///
    /// # Errors
    /// When what a broker leaves here is damaged, or the disk fails.
    pub fn why_no_share_groups(&self) -> Result<Option<String>> {
        if self.broker_mark()?.is_none() {
            return Ok(None);
        }
        if let Some(metadata) = self.cluster_metadata()? {
            let level = metadata.feature(SHARE_VERSION);
            return Ok((level < 1).then(|| format!("its {SHARE_VERSION} is {level}")));
        }
        let is_kraft = self.meta_properties()?.is_some_and(|it| it.is_kraft);
        Ok((!is_kraft).then(|| "it runs with ZooKeeper".into()))
    }

    /// What `meta.properties` says; `None` where it is not there.
    ///
    /// # Errors
    /// When it is damaged, or the disk fails.
    pub(crate) fn meta_properties(&self) -> Result<Option<MetaProperties>> {
        let Some(bytes) = atomic::read_small(&*self.root, META_PROPERTIES, META_PROPERTIES_SIZE_MAX)? else {
            return Ok(None);
        };
        let path = self.root().join(META_PROPERTIES);
        let damaged = |error: FormatError| LogDirError::DamagedFile { path, what: error.to_string() };
        MetaProperties::parse(&bytes).map(Some).map_err(damaged)
    }

    /// Whether a broker or a controller has run on what is here.
    ///
    /// # Errors
    /// When its metadata is damaged, or the disk fails.
    pub(crate) fn has_run_metadata(&self) -> Result<bool> {
        Ok(ClusterMetadata::read(&*self.root)?.is_some())
    }

    /// Small files without which, or with nothing in which, a broker does not start. Damage in `quorum-state`, JSON, is seen
    /// where a power failure has left it empty or full of zeros.
    fn check_quorum_files(&self) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let bootstrap = self.root.stat(BOOTSTRAP_CHECKPOINT)?;
        if bootstrap.is_some_and(|stat| !stat.is_folder && stat.size == 0) {
            findings
                .push(self.at_root(BOOTSTRAP_CHECKPOINT, Problem::StopsABroker { what: "the file is empty".into() }));
        }
        let folder = match self.root.open_folder(METADATA_FOLDER) {
            Err(error) if error.is_not_found() => return Ok(findings),
            folder => folder?,
        };
        let mut check = |name: &str, checked: Result<()>| -> Result<()> {
            match checked {
                Ok(()) => Ok(()),
                Err(error) => {
                    let stops = |what| Problem::StopsABroker { what };
                    findings.push(self.unreadable_at_root(&format!("{METADATA_FOLDER}/{name}"), error, stops)?);
                    Ok(())
                }
            }
        };
        check(QUORUM_STATE, check_quorum_state(&*folder))?;
        check(PARTITION_METADATA_FILE, brokers_topic_id(&*folder).map(drop))?;
        Ok(findings)
    }

    /// What is wrong with the log of the metadata. Its end may be torn: it is synced before it counts.
    fn check_metadata_log(&self, pause: fn()) -> Result<Vec<Finding>> {
        let metadata_log = Subject {
            root: Arc::clone(&self.root),
            folder_name: METADATA_FOLDER.to_owned(),
            checkpoints: Checkpoints::default(),
            decompressed_size_max: DECOMPRESSED_SIZE_MAX,
            gaps: Gaps::Loss,
            acknowledgement: Acknowledgement::AfterSync,
        };
        let checked = Verification::begin(vec![metadata_log], pause)?.run(1, &|_| {})?;
        let wrong = checked.into_iter().flat_map(|it| it.findings).filter(|finding| finding.severity().is_wrong());
        let damaged = |finding: Finding| {
            let what = finding.problem.to_string();
            Finding { problem: Problem::DamagedMetadata { what }, ..finding }
        };
        Ok(wrong.map(damaged).collect())
    }

    /// The finding of something that cannot be read; `problem` is what it is where it is damaged.
    fn unreadable_at_root(
        &self,
        name: &str,
        error: LogDirError,
        problem: impl Fn(String) -> Problem,
    ) -> Result<Finding> {
        let problem = match error {
            LogDirError::Disk(error) | LogDirError::Storage(StorageError::Disk(error)) if error.is_unreadable() => {
                Problem::Unreadable { what: format!("{error}: {}", error.source) }
            }
            error @ (LogDirError::Disk(_) | LogDirError::Storage(StorageError::Disk(_))) => return Err(error),
            LogDirError::NewerFile { what, .. } => Problem::NewerFile { what },
            LogDirError::DamagedFile { what, .. } => problem(what),
            error => problem(error.to_string()),
        };
        Ok(self.at_root(name, problem))
    }
}

fn check_quorum_state(folder: &dyn Folder) -> Result<()> {
    let state = atomic::read_small(folder, QUORUM_STATE, META_PROPERTIES_SIZE_MAX)?;
    if state.is_none_or(|state| state.trim_ascii().starts_with(b"{")) {
        return Ok(());
    }
    Err(LogDirError::DamagedFile { path: folder.path().join(QUORUM_STATE), what: "the file is not JSON".into() })
}

/// The topic id in a folder that only a broker has written to, which does not start where the file is there and empty.
pub(super) fn brokers_topic_id(folder: &dyn Folder) -> Result<Option<Uuid>> {
    match topic_id_in(folder)? {
        None if folder.stat(PARTITION_METADATA_FILE)?.is_some() => {
            let (path, what) = (folder.path().join(PARTITION_METADATA_FILE), "the file is empty".into());
            Err(LogDirError::DamagedFile { path, what })
        }
        found => Ok(found),
    }
}

/// Whether a broker takes a folder of that name for one of its own: a partition, one that is set aside, being moved or
/// deleted, or a cache.
pub(super) fn is_a_brokers(name: &str) -> bool {
    const OF_BROKERS: [&str; 2] = [METADATA_FOLDER, REMOTE_INDEX_CACHE];
    if OF_BROKERS.contains(&name) || SetAside::is_accepted(name) {
        return true;
    }
    let number = name.rsplit_once('-').filter(|(topic, _)| !topic.is_empty()).map(|(_, number)| number.parse::<i32>());
    matches!(number, Some(Ok(_)))
}
