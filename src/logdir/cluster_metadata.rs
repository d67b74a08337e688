//! What a broker's `__cluster_metadata` says of topics: their ids, the brokers that have their partitions, their
//! configurations; and the features of the cluster.
//!
//! The metadata is the newest snapshot, `<offset>-<epoch>.checkpoint`, and then every record of the log from that offset on.
//! The snapshot at offset 0 is what a cluster began with, which the log repeats. Records of a metadata transaction count once
//! it has ended. Records of other kinds are passed over, whatever their version.
//!
//! Source: `SnapshotPath`, `TopicsDelta.java`, `ConfigurationsDelta.java`, and metadata logs of 3.9 and 4.3 brokers.

use super::{LogDirError, METADATA_FOLDER, Result};
use crate::disk::Folder;
use crate::format::FormatError;
use crate::format::internal::metadata::{self, MetadataRecord, api_key};
use crate::storage::dump::{Dumped, LogDump};
use crate::storage::{Advance, Checkpoints, LogReader, LogView, RecordReader};
use crate::units::{Offset, TopicName};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The kinds of records that say something of topics and features.
const KEPT: [u32; 6] = [
    api_key::TOPIC,
    api_key::PARTITION,
    api_key::PARTITION_CHANGE,
    api_key::REMOVE_TOPIC,
    api_key::CONFIG,
    api_key::FEATURE_LEVEL,
];

/// Topics as a cluster's metadata has them.
#[derive(Debug, Default)]
pub struct ClusterMetadata {
    topics: HashMap<Uuid, MetadataTopic>,
    ids: HashMap<String, Uuid>,
    configs: HashMap<String, BTreeMap<String, String>>,
    /// The levels of features, by their names.
    features: HashMap<String, i64>,
    /// Of a metadata transaction that has not ended.
    pending: Option<Vec<Change>>,
}

/// A topic of a cluster.
#[derive(Debug, Default)]
struct MetadataTopic {
    name: String,
    /// The brokers that have each partition.
    replicas: BTreeMap<i32, Vec<i32>>,
}

/// What a record changes.
#[derive(Debug)]
enum Change {
    Topic {
        id: Uuid,
        name: String,
    },
    Replicas {
        id: Uuid,
        partition: i32,
        replicas: Vec<i32>,
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

    /// The brokers that have a partition.
    pub(super) fn replicas(&self, topic_id: Uuid, partition: i32) -> Option<&[i32]> {
        Some(self.topics.get(&topic_id)?.replicas.get(&partition)?)
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

    /// The metadata in a log dir; `None` without a metadata log, as on a broker whose `metadata.log.dir` is elsewhere.
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
        metadata.read_log(folder, start)?;
        Ok(Some(metadata))
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

    fn read_log(&mut self, folder: Arc<dyn Folder>, start: Offset) -> Result<()> {
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
        Ok(())
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
                self.topics.insert(id, MetadataTopic { name, replicas: BTreeMap::new() });
            }
            Change::Replicas { id, partition, replicas } => {
                if let Some(topic) = self.topics.get_mut(&id) {
                    topic.replicas.insert(partition, replicas);
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
        }
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
            // A change of a partition names the replicas only if they are others than before.
            api_key::PARTITION | api_key::PARTITION_CHANGE => Self::Replicas {
                id: data.uuid("topicId")?,
                partition: data.int("partitionId")? as i32,
                replicas: data.ints("replicas")?.into_iter().map(|replica| replica as i32).collect(),
            },
            _ => return None,
        })
    }
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
