//! Topics as the cluster's metadata has them, where it is in the log dir: it outranks topic files, which a broker does not
//! read and which are as old as the last run of kdir.
//!
//! A topic that the metadata does not name has folders at most: a broker sets them aside when it starts. The metadata is read
//! once for an open log dir, since a broker that would change it is kept out, or owns the log dir and is read beside.

use super::config::TopicConfig;
use super::{ClusterMetadata, LogDir, LogDirError, METADATA_FOLDER, Origin, Result, Topic};
use crate::disk::Folder;
use crate::format::properties::MetaProperties;
use crate::units::{TopicName, TopicPartition};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// Where the metadata is, and what it says once it has been read.
pub(super) struct Cluster {
    root: Arc<dyn Folder>,
    metadata: OnceLock<Option<Arc<ClusterMetadata>>>,
}

impl Cluster {
    pub(super) fn at(root: &Arc<dyn Folder>) -> Arc<Self> {
        Arc::new(Self { root: Arc::clone(root), metadata: OnceLock::new() })
    }

    /// Whether there is a metadata log.
    pub(super) fn is_here(&self) -> Result<bool> {
        Ok(self.root.stat(METADATA_FOLDER)?.is_some())
    }

    fn metadata(&self) -> Result<Option<Arc<ClusterMetadata>>> {
        if let Some(known) = self.metadata.get() {
            return Ok(known.clone());
        }
        let metadata = ClusterMetadata::read(&*self.root)?.map(Arc::new);
        Ok(self.metadata.get_or_init(|| metadata).clone())
    }
}

/// A broker's log dir: what its partitions are assigned to.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReplicaHere {
    node_id: i32,
    directory: Option<Uuid>,
}

impl LogDir {
    /// What the cluster's metadata says; `None` where it is not here.
    ///
    /// # Errors
    /// When it cannot be read, is damaged or incomplete.
    pub fn cluster_metadata(&self) -> Result<Option<Arc<ClusterMetadata>>> {
        if self.broker_mark()?.is_none() {
            return Ok(None);
        }
        self.cluster.metadata()
    }

    /// The same; metadata that cannot be read names no topic: that is [reported](Self::take_damaged_checkpoints) for itself.
    pub(super) fn readable_metadata(&self) -> Result<Option<Arc<ClusterMetadata>>> {
        match self.cluster_metadata() {
            Err(LogDirError::Disk(error)) if !error.is_unreadable() => Err(error.into()),
            Err(_) => Ok(None),
            metadata => metadata,
        }
    }

    /// Which broker's log dir it is, as far as its properties say.
    pub(super) fn replica_here(&self) -> Result<Option<ReplicaHere>> {
        let properties = match self.meta_properties() {
            // What is wrong with it is found by a check of the root.
            Err(LogDirError::DamagedFile { .. }) => None,
            properties => properties?,
        };
        let here = |it: MetaProperties| Some(ReplicaHere { node_id: it.node_id?, directory: it.directory_id });
        Ok(properties.and_then(here))
    }

    /// A topic that the metadata names, with the partitions that are in this log dir: those that it gives to this broker, and
    /// those in `folders`. `None` where it does not name the topic, or nothing of it is here.
    pub(super) fn cluster_topic(
        &self,
        metadata: &ClusterMetadata,
        name: &TopicName,
        here: Option<ReplicaHere>,
        folders: &[i32],
    ) -> Result<Option<Topic>> {
        let Some(topic_id) = metadata.topic_id(name) else { return Ok(None) };
        let mut partitions: BTreeSet<i32> = folders.iter().copied().collect();
        if let Some(ReplicaHere { node_id, directory }) = here {
            partitions.extend(metadata.partitions_in(topic_id, node_id, directory));
        }
        if partitions.is_empty() {
            return Ok(None);
        }
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let config = TopicConfig::from_stored(metadata.config(name).map(owned).collect()).map_err(|error| {
            let what = format!("the configuration of topic {name}: {error}");
            LogDirError::DamagedFile { path: self.root().join(METADATA_FOLDER), what }
        })?;
        let (origin, partitions) = (Origin::Cluster(topic_id), partitions.into_iter().collect());
        Ok(Some(Topic { name: name.clone(), origin, partitions, config, homes: Vec::new() }))
    }

    /// Refuses a partition that other brokers have as well: what is appended to one of them alone is cut off when they meet.
    ///
    /// # Errors
    /// When they have, or what the metadata says of it cannot be read.
    pub fn refuse_replicated(&self, topic: &Topic) -> Result<()> {
        let Origin::Cluster(topic_id) = topic.origin else { return self.cluster_metadata().map(drop) };
        let Some(metadata) = self.cluster_metadata()? else { return Ok(()) };
        let shared = metadata.partitions(topic_id).find(|(_, partition)| partition.replicas.len() > 1);
        let Some((number, partition)) = shared else { return Ok(()) };
        let partition_id = TopicPartition { topic: topic.name.clone(), partition: number };
        Err(LogDirError::Replicated { partition: partition_id, replicas: partition.replicas.clone() })
    }
}
