//! The topic file: what Kafka keeps in its metadata quorum and a log dir alone has no place for.
//!
//! `<log-dir>/<topic>.json`, one JSON object and a newline:
//!
//! | field | meaning |
//! | --- | --- |
//! | `format_version` | 1 |
//! | `name` | the topic |
//! | `topic_id` | 16 bytes as Kafka writes them: base64url, no padding, 22 characters |
//! | `partitions` | how many: folders `<name>-0` to `<name>-<n-1>`; a missing folder is an empty partition |
//! | `config` | the configuration that differs from Kafka's defaults, key to value as text |
//!
//! Written to `<topic-id>.tmp`, synced, renamed, folder synced: the name of the topic may fill a file name. Both names are
//! plain files at the root, which a broker ignores.

use super::config::TopicConfig;
use super::{LogDir, LogDirError, Result};
use crate::disk::{Access, DiskFile, Folder, Stat, atomic};
use crate::format::compression::Compression;
use crate::format::header::TimestampType;
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::storage::{CleanupPolicy, LogConfig};
use crate::units::{SetAside, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// The file in a partition's folder that names its topic's id.
pub(crate) const PARTITION_METADATA_FILE: &str = "partition.metadata";
/// A larger one is none.
pub(super) const PARTITION_METADATA_SIZE_MAX: usize = 4096;

/// Behind the topic's name.
pub(super) const TOPIC_FILE_SUFFIX: &str = ".json";
const FORMAT_VERSION: u32 = 1;
/// The most partitions that a topic can have here: each is a folder with five files.
pub const PARTITIONS_MAX: i32 = 100_000;
/// A topic file larger than this is none.
const SIZE_MAX: usize = 1 << 20;

/// Who made a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It has a topic file.
    TopicFile(Uuid),
    /// The metadata of the cluster, which is in the log dir, has it by this id.
    Cluster(Uuid),
    /// A broker, elsewhere: its folders are all there is of it here.
    Broker,
    /// It is one folder that was set aside, has the name of that folder, and can only be read.
    SetAside,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: TopicName,
    /// Who made it.
    pub origin: Origin,
    /// The partitions that it has, rising; all from 0 on, unless a broker keeps the others elsewhere.
    pub partitions: Vec<i32>,
    /// What differs from Kafka's defaults.
    pub config: TopicConfig,
    /// In which of several log dirs each of the partitions is; empty where all are in the first.
    pub(super) homes: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct TopicJson {
    format_version: u32,
    name: String,
    topic_id: String,
    partitions: i32,
    config: BTreeMap<String, String>,
}

impl Topic {
    /// A topic of which only the folders are here: Kafka's defaults apply.
    pub(super) fn of_broker(name: TopicName, partitions: Vec<i32>) -> Self {
        Self { name, origin: Origin::Broker, partitions, config: TopicConfig::default(), homes: Vec::new() }
    }

    /// A folder that was set aside, as a topic of one partition.
    pub(super) fn of_set_aside(folder: &SetAside) -> Self {
        let topic = Self::of_broker(folder.folder.clone(), vec![folder.partition.partition]);
        Self { origin: Origin::SetAside, ..topic }
    }

    /// Whether a broker decides on it.
    #[must_use]
    pub const fn is_of_broker(&self) -> bool {
        matches!(self.origin, Origin::Cluster(_) | Origin::Broker)
    }

    /// In which of several log dirs a partition is.
    pub(crate) fn home(&self, partition: i32) -> usize {
        let place = self.partitions.binary_search(&partition).ok();
        place.and_then(|place| self.homes.get(place)).copied().unwrap_or_default()
    }

    /// The name of the folder of one of the topic's partitions.
    pub(super) fn folder_name(&self, partition: &TopicPartition) -> String {
        match self.origin {
            Origin::SetAside => self.name.to_string(),
            Origin::TopicFile(_) | Origin::Cluster(_) | Origin::Broker => partition.folder_name(),
        }
    }

    /// The partition of that number.
    ///
    /// # Errors
    /// When the topic has none.
    pub fn partition(&self, partition: i32) -> Result<TopicPartition> {
        if self.partitions.binary_search(&partition).is_ok() {
            return Ok(TopicPartition { topic: self.name.clone(), partition });
        }
        let (topic, partitions) = (self.name.clone(), self.partitions.clone());
        Err(LogDirError::PartitionNotFound { topic, partition, partitions })
    }

    /// Adds a partition that is missed.
    pub(super) fn add_partition(&mut self, partition: i32) {
        if let Err(place) = self.partitions.binary_search(&partition) {
            self.partitions.insert(place, partition);
        }
    }

    /// Every partition of it that is here.
    pub(super) fn all_partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.partitions.iter().map(|&partition| TopicPartition { topic: self.name.clone(), partition })
    }

    /// How many partitions records are spread over.
    ///
    /// # Errors
    /// When they are not all here.
    pub fn partition_count(&self) -> Result<i32> {
        let count = self.partitions.len() as i32;
        if self.partitions.last() == Some(&(count - 1)) {
            return Ok(count);
        }
        Err(LogDirError::PartitionsHaveGaps { topic: self.name.clone(), partitions: self.partitions.clone() })
    }

    /// The configuration as the engine takes it. Of a broker's topic only limits of its own are known: all others are in the
    /// broker's properties.
    #[must_use]
    pub fn log_config(&self) -> LogConfig {
        let integer = |key| self.config.integer(key);
        let limit = |key| if self.is_of_broker() && !self.config.has(key) { -1 } else { integer(key) };
        let unsigned = |key| integer(key).max(0) as u64;
        let policy = self.config.text("cleanup.policy");
        let has = |word| policy.split(',').any(|part| part.trim() == word);
        let cleanup_policy = CleanupPolicy { delete: has("delete"), compact: has("compact") };
        let segment_ms = integer("segment.ms");
        let is_log_append_time = self.config.text("message.timestamp.type") == "LogAppendTime";
        LogConfig {
            segment_bytes: unsigned("segment.bytes"),
            segment_ms: if cleanup_policy.compact {
                segment_ms.min(integer("max.compaction.lag.ms"))
            } else {
                segment_ms
            },
            segment_jitter_ms: integer("segment.jitter.ms"),
            segment_index_bytes: unsigned("segment.index.bytes"),
            index_interval_bytes: unsigned("index.interval.bytes"),
            max_message_bytes: unsigned("max.message.bytes"),
            retention_ms: limit("retention.ms"),
            retention_bytes: limit("retention.bytes"),
            cleanup_policy,
            timestamp_type: if is_log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            min_cleanable_dirty_ratio: self.config.ratio("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: integer("min.compaction.lag.ms"),
            max_compaction_lag_ms: integer("max.compaction.lag.ms"),
            delete_retention_ms: integer("delete.retention.ms"),
        }
    }

    /// The configuration, as far as it is known here: of a topic that only folders are known of, what brokers make their
    /// internal topics with.
    #[must_use]
    pub fn known_config(&self) -> Option<TopicConfig> {
        match self.origin {
            Origin::TopicFile(_) | Origin::Cluster(_) => Some(self.config.clone()),
            Origin::Broker | Origin::SetAside if !self.name.is_internal() => None,
            Origin::Broker | Origin::SetAside => {
                let mut config = TopicConfig::default();
                for (key, value) in [("cleanup.policy", "compact"), ("segment.bytes", "104857600")] {
                    config.set(key, value).expect("what brokers set is valid");
                }
                Some(config)
            }
        }
    }

    /// The same topic with all of its configuration that is [known](Self::known_config).
    #[must_use]
    pub fn with_known_config(&self) -> Self {
        self.clone().with_config(self.known_config().unwrap_or_default())
    }

    /// The same topic with another configuration.
    #[must_use]
    pub fn with_config(self, config: TopicConfig) -> Self {
        Self { config, ..self }
    }

    /// Whether records may be missing between its offsets by its configuration; of the internal topics of brokers, which have
    /// no topic file, that is known. See [`LogDir::cleaned_topics`] for what has been compacted.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.log_config().cleanup_policy.compact || (self.is_of_broker() && self.name.is_internal())
    }

    /// How batches are compressed where the producer does not say.
    #[must_use]
    pub fn compression(&self) -> Compression {
        let name = match self.config.text("compression.type") {
            "producer" | "uncompressed" => "none".to_owned(),
            codec @ ("gzip" | "lz4" | "zstd") => match self.config.integer(&format!("compression.{codec}.level")) {
                -1 if codec == "gzip" => codec.to_owned(),
                level => format!("{codec}:{level}"),
            },
            other => other.to_owned(),
        };
        name.parse().expect("the configuration holds only codecs and levels that exist")
    }

    /// Replaces the topic file. The caller holds the root lock.
    pub(super) fn write(&self, root: &dyn Folder) -> Result<()> {
        let temporary = format!("{}.tmp", topic_id_to_text(self.topic_id()?));
        Ok(atomic::replace(root, &temporary, &topic_file(&self.name), &self.print()?)?)
    }

    fn topic_id(&self) -> Result<Uuid> {
        match self.origin {
            Origin::TopicFile(topic_id) => Ok(topic_id),
            Origin::Cluster(_) | Origin::Broker | Origin::SetAside => {
                Err(LogDirError::BrokerTopic { topic: self.name.clone() })
            }
        }
    }

    /// The text of the topic file.
    pub(super) fn print(&self) -> Result<Vec<u8>> {
        let file = TopicJson {
            format_version: FORMAT_VERSION,
            name: self.name.to_string(),
            topic_id: topic_id_to_text(self.topic_id()?),
            partitions: self.partitions.len() as i32,
            config: self.config.overrides().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&file).expect("a struct of plain fields is JSON");
        text.push(b'\n');
        Ok(text)
    }
}

/// The name of a topic's file.
pub(super) fn topic_file(name: &TopicName) -> String {
    format!("{name}{TOPIC_FILE_SUFFIX}")
}

/// The topic of that name by its topic file; `None` where there is no such file. A file that has another name inside is a
/// copy, or was renamed: what is written to the topic would go to another's folders.
pub(super) fn read_topic_file(root: &dyn Folder, name: &TopicName) -> Result<Option<Topic>> {
    let file_name = topic_file(name);
    let Some(bytes) = atomic::read_small(root, &file_name, SIZE_MAX)? else { return Ok(None) };
    parse_topic_file(root, &file_name, &bytes).map(Some)
}

fn parse_topic_file(root: &dyn Folder, file_name: &str, bytes: &[u8]) -> Result<Topic> {
    let topic = parse(root, file_name, bytes)?;
    if topic_file(&topic.name) != file_name {
        let (path, what) =
            (root.path().join(file_name), format!("it describes the topic of {}", topic_file(&topic.name)));
        return Err(LogDirError::DamagedFile { path, what });
    }
    Ok(topic)
}

/// The topic that the file `name` describes, whatever that name is; `None` where there is no such file.
pub(super) fn read_set_aside(root: &dyn Folder, name: &str) -> Result<Option<Topic>> {
    let Some(bytes) = atomic::read_small(root, name, SIZE_MAX)? else { return Ok(None) };
    parse(root, name, &bytes).map(Some)
}

fn parse(root: &dyn Folder, name: &str, bytes: &[u8]) -> Result<Topic> {
    let damaged = |what: String| LogDirError::DamagedFile { path: root.path().join(name), what };
    let file: TopicJson = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if file.format_version > FORMAT_VERSION {
        let what = format!("format version {}, and this kdir reads up to {FORMAT_VERSION}", file.format_version);
        return Err(LogDirError::NewerFile { path: root.path().join(name), what });
    }
    let name: TopicName = file.name.parse().map_err(|error| damaged(format!("{error}")))?;
    let topic_id = topic_id_from_text(&file.topic_id).map_err(|error| damaged(error.to_string()))?;
    if !(1..=PARTITIONS_MAX).contains(&file.partitions) {
        return Err(damaged(format!("{} partitions, and a topic has 1 to {PARTITIONS_MAX}", file.partitions)));
    }
    let config = TopicConfig::from_stored(file.config).map_err(|error| damaged(error.to_string()))?;
    let partitions = (0..file.partitions).collect();
    Ok(Topic { name, origin: Origin::TopicFile(topic_id), partitions, config, homes: Vec::new() })
}

/// A topic as the handles of its partitions know it: its id, and its configuration, read again where the file has changed.
pub(super) struct TopicFile {
    name: TopicName,
    id: Option<Uuid>,
    /// As it was when the topic was found; what a topic without a file has for good.
    config: Arc<LogConfig>,
    kept: Mutex<Option<KeptConfig>>,
}

/// A topic file as it was read. It stays open, so that no later one can have its inode.
struct KeptConfig {
    _open: Arc<dyn DiskFile>,
    stat: Stat,
    config: Arc<LogConfig>,
}

impl TopicFile {
    pub(super) fn of(topic: &Topic) -> Self {
        let id = match topic.origin {
            Origin::TopicFile(id) => Some(id),
            Origin::Cluster(_) | Origin::Broker | Origin::SetAside => None,
        };
        Self { name: topic.name.clone(), id, config: Arc::new(topic.log_config()), kept: Mutex::default() }
    }

    pub(super) const fn id(&self) -> Option<Uuid> {
        self.id
    }

    /// The configuration as it was when the topic was found.
    pub(super) fn config_as_found(&self) -> &LogConfig {
        &self.config
    }

    /// The configuration in force; an error where the topic is not there any more, or another one has its name.
    pub(super) fn config(&self, log_dir: &LogDir) -> Result<Arc<LogConfig>> {
        let Some(id) = self.id else { return Ok(Arc::clone(&self.config)) };
        let (root, file_name) = (log_dir.folder(), topic_file(&self.name));
        let deleted = || LogDirError::TopicDeleted { topic: self.name.clone() };
        let found = root.stat(&file_name)?.ok_or_else(deleted)?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*kept
            && (known.stat.id, known.stat.changed_ns) == (found.id, found.changed_ns)
        {
            return Ok(Arc::clone(&known.config));
        }
        let open = match root.open(&file_name, Access::Read) {
            Err(error) if error.is_not_found() => return Err(deleted()),
            open => open?,
        };
        let stat = open.stat()?;
        let bytes = atomic::read_file(&*open, &root.path().join(&file_name), SIZE_MAX)?;
        let topic = parse_topic_file(&**root, &file_name, &bytes)?;
        if topic.origin != Origin::TopicFile(id) {
            return Err(deleted());
        }
        let config = Arc::new(topic.log_config());
        *kept = Some(KeptConfig { _open: open, stat, config: Arc::clone(&config) });
        Ok(config)
    }
}
