//! What a broker's `__cluster_metadata` says of topics: their ids, the brokers that have their partitions, who leads them,
//! their configurations; and the features of the cluster.
//!
//! The metadata is the newest snapshot, `<offset>-<epoch>.checkpoint`, and then every record of the log from that offset on.
//! The snapshot at offset 0 is what a cluster began with, which the log repeats. Records of a metadata transaction count once
//! it has ended. Records of other kinds are passed over, whatever their version.
//!
//! Source: `SnapshotPath`, `TopicsDelta.java`, `ConfigurationsDelta.java`, and metadata logs of 3.9 and 4.3 brokers.

use super::broker_root::QUORUM_STATE;
use super::{LogDirError, METADATA_FOLDER, Result};
use crate::disk::Folder;
use crate::format::FormatError;
use crate::format::internal::metadata::{self, MetadataRecord, api_key};
use crate::format::internal::value::{Struct, Value};
use crate::storage::dump::{Dumped, LogDump};
use crate::storage::{Advance, Checkpoints, LogReader, LogView, RecordReader};
use crate::units::{Offset, TopicName};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The ids below stand for directories that are not known: lost, unassigned, being migrated. Source: `DirectoryId.java`.
const RESERVED_DIRECTORIES: u128 = 100;

/// The kinds of records that say something of topics and features.
const KEPT: [u32; 7] = [
    api_key::TOPIC,
    api_key::PARTITION,
    api_key::PARTITION_CHANGE,
    api_key::REMOVE_TOPIC,
    api_key::CONFIG,
    api_key::FEATURE_LEVEL,
    api_key::PRODUCER_IDS,
];

/// Topics as a cluster's metadata has them.
#[derive(Debug, Default)]
pub struct ClusterMetadata {
    topics: HashMap<Uuid, MetadataTopic>,
    ids: HashMap<String, Uuid>,
    configs: HashMap<String, BTreeMap<String, String>>,
    /// The levels of features, by their names.
    features: HashMap<String, i64>,
    /// Producer ids below it are taken.
    next_producer_id: i64,
    /// Of a metadata transaction that has not ended.
    pending: Option<Vec<Change>>,
}

/// A topic of a cluster.
#[derive(Debug, Default)]
struct MetadataTopic {
    name: String,
    partitions: BTreeMap<i32, MetadataPartition>,
}

/// A partition as the metadata has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetadataPartition {
    /// The brokers that have it.
    pub replicas: Vec<i32>,
    /// Those of them that have all of it.
    pub isr: Vec<i32>,
    /// In which directory of each of them it is; empty in clusters that do not say.
    pub directories: Vec<Uuid>,
    /// How often it has had a leader, or none, since the first one.
    pub leader_epoch: i32,
}

impl MetadataPartition {
    /// Whether a broker has it in a log dir with this id. Directories that are not known yet are any.
    fn is_in(&self, node_id: i32, directory: Option<Uuid>) -> bool {
        let Some(place) = self.replicas.iter().position(|replica| *replica == node_id) else { return false };
        match (self.directories.get(place), directory) {
            (Some(assigned), Some(directory)) => assigned.as_u128() < RESERVED_DIRECTORIES || *assigned == directory,
            _ => true,
        }
    }
}

/// What a change of a partition changes.
#[derive(Debug)]
struct PartitionDelta {
    replicas: Option<Vec<i32>>,
    isr: Option<Vec<i32>>,
    directories: Option<Vec<Uuid>>,
    has_new_leader: bool,
}

/// What a record changes.
#[derive(Debug)]
enum Change {
    Topic {
        id: Uuid,
        name: String,
    },
    Partition {
        id: Uuid,
        partition: i32,
        of: MetadataPartition,
    },
    PartitionDelta {
        id: Uuid,
        partition: i32,
        delta: PartitionDelta,
    },
    RemoveTopic {
        id: Uuid,
    },
    /// `None` unsets the key.
    Config {
        topic: String,
        key: String,
        value: Option<String>,
    },
    Feature {
        name: String,
        level: i64,
    },
    ProducerIds {
        next: i64,
    },
}

impl ClusterMetadata {
    /// Whether there is a topic of that name.
    #[must_use]
    pub fn has(&self, topic: &TopicName) -> bool {
        self.ids.contains_key(topic.as_str())
    }

    /// The id of a topic.
    pub(super) fn topic_id(&self, topic: &TopicName) -> Option<Uuid> {
        self.ids.get(topic.as_str()).copied()
    }

    /// The name of a topic.
    pub(super) fn topic_name(&self, topic_id: Uuid) -> Option<&str> {
        Some(&self.topics.get(&topic_id)?.name)
    }

    /// A partition of a topic.
    #[must_use]
    pub fn partition(&self, topic_id: Uuid, partition: i32) -> Option<&MetadataPartition> {
        self.topics.get(&topic_id)?.partitions.get(&partition)
    }

    /// The brokers that have a partition.
    pub(super) fn replicas(&self, topic_id: Uuid, partition: i32) -> Option<&[i32]> {
        Some(&self.partition(topic_id, partition)?.replicas)
    }

    /// The topics, by name, with their ids.
    #[must_use]
    pub fn topics(&self) -> BTreeMap<&str, Uuid> {
        self.ids.iter().map(|(name, id)| (name.as_str(), *id)).collect()
    }

    /// The partitions of a topic, by number.
    pub fn partitions(&self, topic_id: Uuid) -> impl Iterator<Item = (i32, &MetadataPartition)> {
        let partitions = self.topics.get(&topic_id).into_iter().flat_map(|topic| &topic.partitions);
        partitions.map(|(number, partition)| (*number, partition))
    }

    /// The partitions of a topic that a broker has in a log dir with this id.
    pub(super) fn partitions_in(&self, topic_id: Uuid, node_id: i32, directory: Option<Uuid>) -> Vec<i32> {
        let here = self.partitions(topic_id).filter(|(_, partition)| partition.is_in(node_id, directory));
        here.map(|(number, _)| number).collect()
    }

    /// Producer ids below this one were given out.
    #[must_use]
    pub const fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Whether a topic's own configuration says that it is compacted.
    pub(super) fn is_compacted(&self, topic: &TopicName) -> bool {
        let policy = self.config(topic).find(|(key, _)| *key == "cleanup.policy");
        policy.is_some_and(|(_, value)| value.split(',').any(|word| word.trim() == "compact"))
    }

    /// The configuration of a topic, as far as it is its own.
    pub fn config(&self, topic: &TopicName) -> impl Iterator<Item = (&str, &str)> {
        let config = self.configs.get(topic.as_str()).into_iter().flatten();
        config.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The level of a feature, such as `metadata.version` or `share.version`; 0 where it is not on.
    #[must_use]
    pub fn feature(&self, name: &str) -> i64 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The metadata in a log dir; `None` without a metadata log, as on a broker whose `metadata.log.dir` is elsewhere, and
    /// where none of its controllers has run yet.
    ///
    /// # Errors
    /// When a file cannot be read, is damaged or missing.
    pub(super) fn read(root: &dyn Folder) -> Result<Option<Self>> {
        let folder = match root.open_folder(METADATA_FOLDER) {
            Err(error) if error.is_not_found() => return Ok(None),
            folder => folder?,
        };
        let mut metadata = Self::default();
        let start = match newest_metadata_snapshot(&*folder)? {
            Some((end, name)) => {
                metadata.read_snapshot(&*folder, &name)?;
                end
            }
            None => Offset::ZERO,
        };
        let has_quorum = folder.stat(QUORUM_STATE)?.is_some();
        let end = metadata.read_log(folder, start)?;
        Ok((has_quorum || end > Offset::ZERO).then_some(metadata))
    }

    fn read_snapshot(&mut self, folder: &dyn Folder, name: &str) -> Result<()> {
        let mut snapshot = LogDump::open(&*folder.disk(), &folder.path().join(name), Offset::ZERO)?;
        while let Some(found) = snapshot.next()? {
            match found {
                Dumped::Damage { damage, .. } => return Err(damage.into()),
                Dumped::Batch(batch) if !batch.checksum_matches => return Err(snapshot.checksum_error().into()),
                Dumped::Batch(batch) if batch.header.attributes.is_control() => {}
                Dumped::Batch(_) => {
                    let mut decoded = Ok(());
                    snapshot.records(|_, _, record| {
                        if decoded.is_ok() {
                            decoded = record.value.map_or(Ok(()), |value| self.take(value));
                        }
                    })?;
                    decoded.map_err(|error| damaged(folder.path().join(name), error))?;
                }
            }
        }
        Ok(())
    }

    /// Reads the log from `start` on, and returns where it ends.
    fn read_log(&mut self, folder: Arc<dyn Folder>, start: Offset) -> Result<Offset> {
        let view = LogView::of(folder, Checkpoints::default())?;
        let path = view.path().to_owned();
        if view.log_start_offset() > start {
            let what = format!(
                "the log begins at offset {}, and the newest snapshot ends at {start}: records in between are missing",
                view.log_start_offset()
            );
            return Err(LogDirError::DamagedFile { path, what });
        }
        let end = view.log_end_offset()?;
        if end < start {
            let what = format!("the log ends at offset {end}, and the newest snapshot at {start}: records are missing");
            return Err(LogDirError::DamagedFile { path, what });
        }
        let mut log = LogReader::new(view, CHUNK);
        log.seek(start);
        let mut records = RecordReader::new(log);
        while records.advance()? == Advance::Record {
            if let Some(value) = records.record().value {
                self.take(value).map_err(|error| damaged(path.clone(), error))?;
            }
        }
        Ok(end)
    }
}

impl ClusterMetadata {
    /// Takes in a record of the log or a snapshot.
    fn take(&mut self, record: &[u8]) -> std::result::Result<(), FormatError> {
        match metadata::api_key_of(record)? {
            api_key::BEGIN_TRANSACTION => self.pending = Some(Vec::new()),
            api_key::ABORT_TRANSACTION => self.pending = None,
            api_key::END_TRANSACTION => {
                self.pending.take().into_iter().flatten().for_each(|change| self.apply(change));
            }
            key if KEPT.contains(&key) => match (Change::of(&MetadataRecord::decode(record)?), &mut self.pending) {
                (Some(change), Some(pending)) => pending.push(change),
                (Some(change), None) => self.apply(change),
                (None, _) => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn apply(&mut self, change: Change) {
        match change {
            Change::Topic { id, name } => {
                self.ids.insert(name.clone(), id);
                self.topics.insert(id, MetadataTopic { name, partitions: BTreeMap::new() });
            }
            Change::Partition { id, partition, of } => {
                if let Some(topic) = self.topics.get_mut(&id) {
                    topic.partitions.insert(partition, of);
                }
            }
            Change::PartitionDelta { id, partition, delta } => {
                if let Some(topic) = self.topics.get_mut(&id) {
                    delta.apply(topic.partitions.entry(partition).or_default());
                }
            }
            Change::RemoveTopic { id } => {
                if let Some(topic) = self.topics.remove(&id) {
                    self.ids.remove(&topic.name);
                    self.configs.remove(&topic.name);
                }
            }
            Change::Config { topic, key, value } => {
                let config = self.configs.entry(topic).or_default();
                match value {
                    Some(value) => drop(config.insert(key, value)),
                    None => drop(config.remove(&key)),
                }
            }
            Change::Feature { name, level } => drop(self.features.insert(name, level)),
            Change::ProducerIds { next } => self.next_producer_id = self.next_producer_id.max(next),
        }
    }
}

impl PartitionDelta {
    fn apply(self, partition: &mut MetadataPartition) {
        let Self { replicas, isr, directories, has_new_leader } = self;
        for (new, current) in [(replicas, &mut partition.replicas), (isr, &mut partition.isr)] {
            if let Some(new) = new {
                *current = new;
            }
        }
        if let Some(directories) = directories {
            partition.directories = directories;
        }
        partition.leader_epoch += i32::from(has_new_leader);
    }
}

impl Change {
    /// What a record changes; `None` where it changes nothing that is kept here.
    fn of(record: &MetadataRecord<'_>) -> Option<Self> {
        const TOPIC_RESOURCE: i64 = 2;
        let data = &record.data;
        let text = |name| data.text(name).map(str::to_owned);
        Some(match record.kind.api_key {
            api_key::TOPIC => Self::Topic { id: data.uuid("topicId")?, name: text("name")? },
            api_key::REMOVE_TOPIC => Self::RemoveTopic { id: data.uuid("topicId")? },
            api_key::CONFIG if data.int("resourceType")? == TOPIC_RESOURCE => {
                Self::Config { topic: text("resourceName")?, key: text("name")?, value: text("value") }
            }
            api_key::FEATURE_LEVEL => Self::Feature { name: text("name")?, level: data.int("featureLevel")? },
            api_key::PRODUCER_IDS => Self::ProducerIds { next: data.int("nextProducerId")? },
            api_key::PARTITION => {
                let of = MetadataPartition {
                    replicas: nodes(data, "replicas")?,
                    isr: nodes(data, "isr").unwrap_or_default(),
                    directories: directories(data).unwrap_or_default(),
                    leader_epoch: data.int("leaderEpoch")? as i32,
                };
                Self::Partition { id: data.uuid("topicId")?, partition: data.int("partitionId")? as i32, of }
            }
            // What has not changed is not there.
            api_key::PARTITION_CHANGE => {
                let delta = PartitionDelta {
                    replicas: nodes(data, "replicas"),
                    isr: nodes(data, "isr"),
                    directories: directories(data),
                    has_new_leader: data.int("leader").is_some(),
                };
                Self::PartitionDelta { id: data.uuid("topicId")?, partition: data.int("partitionId")? as i32, delta }
            }
            _ => return None,
        })
    }
}

fn nodes(data: &Struct<'_>, name: &str) -> Option<Vec<i32>> {
    Some(data.ints(name)?.into_iter().map(|node| node as i32).collect())
}

fn directories(data: &Struct<'_>) -> Option<Vec<Uuid>> {
    let id = |value: &Value<'_>| if let Value::Uuid(id) = value { Some(*id) } else { None };
    data.list("directories")?.iter().map(id).collect()
}

fn damaged(path: PathBuf, error: FormatError) -> LogDirError {
    let what = error.to_string();
    match error {
        FormatError::Unsupported { .. } => LogDirError::NewerFile { path, what },
        _ => LogDirError::DamagedFile { path, what },
    }
}

/// The snapshot of the highest offset and epoch, and where it ends.
fn newest_metadata_snapshot(folder: &dyn Folder) -> Result<Option<(Offset, String)>> {
    let snapshots = folder.list()?.into_iter().filter(|entry| !entry.is_folder).filter_map(|entry| {
        let (end, epoch) = parse_snapshot_name(&entry.name)?;
        (end > Offset::ZERO).then_some((end, epoch, entry.name))
    });
    Ok(snapshots.max().map(|(end, _, name)| (end, name)))
}

/// Offset and epoch in a name such as `00000000000000000042-0000000007.checkpoint`.
fn parse_snapshot_name(name: &str) -> Option<(Offset, u32)> {
    let (end, epoch) = name.strip_suffix(".checkpoint")?.split_once('-')?;
    let has_digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    (has_digits(end, 20) && has_digits(epoch, 10)).then_some(())?;
    Some((Offset(end.parse().ok()?), epoch.parse().ok()?))
}
