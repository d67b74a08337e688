//! The first member of an export: `kdir-export.json`, one JSON object.
//!
//! | field | meaning |
//! | --- | --- |
//! | `format_version` | 1 |
//! | `created_by` | the program and its version |
//! | `topics` | `name`, `topic_id`, `config`, `partition_count`, `partitions`; null where not known |
//! | `partitions` of a topic | `partition`, `log_start_offset`, `log_end_offset`, `first_dirty_offset`, `segments` |
//! | `segments` of a partition | `base_offset`, `size` in bytes, `modified_ms`; at least one |
//! | `groups` | `group`, and `offsets`: `topic`, `partition`, `offset`, `metadata` |
//!
//! `first_dirty_offset` is where the next compaction begins; null before the first one.

use super::{ArchiveError, Result};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::logdir::ImportedEnds;
use crate::logdir::config::TopicConfig;
use crate::logdir::topic::PARTITIONS_MAX;
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Its name.
pub(super) const MANIFEST_FILE: &str = "kdir-export.json";
/// Room for some million segments.
pub(super) const MANIFEST_SIZE_MAX: usize = 256 << 20;
const FORMAT_VERSION: u32 = 1;

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The topics, each once.
    pub topics: Vec<ArchivedTopic>,
    /// Groups that have committed offsets of these topics.
    pub groups: Vec<ArchivedGroup>,
}

/// A topic of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedTopic {
    /// Its name.
    pub name: TopicName,
    /// Its id, if it had one.
    pub topic_id: Option<Uuid>,
    /// What differs from Kafka's defaults; `None` where it is in the metadata of a broker, and that is not known.
    pub config: Option<TopicConfig>,
    /// How many partitions it has.
    pub partition_count: i32,
    /// Those that are here, rising.
    pub partitions: Vec<ArchivedPartition>,
}

/// A partition of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedPartition {
    /// Its number.
    pub partition: i32,
    /// Where its log begins and ends.
    pub ends: ImportedEnds,
    /// Its segments, oldest first; at least one.
    pub segments: Vec<ArchivedSegment>,
}

/// A segment of an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchivedSegment {
    /// The offset in its name.
    pub base_offset: Offset,
    /// Bytes.
    pub size: u64,
    /// When it was changed last.
    pub modified: Timestamp,
}

/// A group of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedGroup {
    /// Its id.
    pub group: GroupId,
    /// What it has committed.
    pub offsets: Vec<ArchivedOffset>,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedOffset {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset that the group reads.
    pub offset: Offset,
    /// Text of the client's own.
    pub metadata: String,
}

#[derive(Serialize, Deserialize)]
struct ManifestJson {
    format_version: u32,
    created_by: String,
    topics: Vec<TopicJson>,
    groups: Vec<GroupJson>,
}

/// What is read first, whatever follows.
#[derive(Deserialize)]
struct VersionJson {
    format_version: u32,
}

#[derive(Serialize, Deserialize)]
struct TopicJson {
    name: String,
    topic_id: Option<String>,
    config: Option<BTreeMap<String, String>>,
    partition_count: i32,
    partitions: Vec<PartitionJson>,
}

#[derive(Serialize, Deserialize)]
struct PartitionJson {
    partition: i32,
    log_start_offset: i64,
    log_end_offset: i64,
    first_dirty_offset: Option<i64>,
    segments: Vec<SegmentJson>,
}

#[derive(Serialize, Deserialize)]
struct SegmentJson {
    base_offset: i64,
    size: u64,
    modified_ms: i64,
}

#[derive(Serialize, Deserialize)]
struct GroupJson {
    group: String,
    offsets: Vec<OffsetJson>,
}

#[derive(Serialize, Deserialize)]
struct OffsetJson {
    topic: String,
    partition: i32,
    offset: i64,
    metadata: String,
}

impl Manifest {
    /// The text of the member.
    pub(super) fn print(&self) -> Vec<u8> {
        let manifest = ManifestJson {
            format_version: FORMAT_VERSION,
            created_by: concat!("kdir ", env!("CARGO_PKG_VERSION")).to_owned(),
            topics: self.topics.iter().map(ArchivedTopic::to_json).collect(),
            groups: self.groups.iter().map(ArchivedGroup::to_json).collect(),
        };
        let mut text = serde_json::to_vec_pretty(&manifest).expect("structs of plain fields are JSON");
        text.push(b'\n');
        text
    }

    /// Reads the member.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        let not_json = |error: serde_json::Error| altered(error.to_string());
        let VersionJson { format_version } = serde_json::from_slice(text).map_err(not_json)?;
        if format_version > FORMAT_VERSION {
            return Err(ArchiveError::Newer { version: format_version, known: FORMAT_VERSION });
        }
        let json: ManifestJson = serde_json::from_slice(text).map_err(not_json)?;
        let topics = json.topics.into_iter().map(ArchivedTopic::of_json).collect::<Result<Vec<_>>>()?;
        let groups = json.groups.into_iter().map(ArchivedGroup::of_json).collect::<Result<Vec<_>>>()?;
        for (place, topic) in topics.iter().enumerate() {
            let is_same = |other: &ArchivedTopic| other.name == topic.name || other.name.collides_with(&topic.name);
            if topics[..place].iter().any(is_same) {
                return Err(altered(format!("topic {} is there twice", topic.name)));
            }
        }
        Ok(Self { topics, groups })
    }

    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &TopicName) -> Option<&ArchivedTopic> {
        self.topics.iter().find(|topic| topic.name == *name)
    }
}

fn altered(what: impl Into<String>) -> ArchiveError {
    ArchiveError::altered(MANIFEST_FILE, what)
}

/// A value out of its text; what is wrong with that is the manifest's fault.
fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error| altered(format!("{text:?}: {error}")))
}

impl ArchivedTopic {
    /// A partition of it.
    #[must_use]
    pub fn partition(&self, partition: &ArchivedPartition) -> TopicPartition {
        TopicPartition { topic: self.name.clone(), partition: partition.partition }
    }

    /// Bytes of its segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.partitions.iter().flat_map(|partition| &partition.segments).map(|segment| segment.size).sum()
    }

    /// The offsets from where each partition begins to where it ends.
    #[must_use]
    pub fn offsets(&self) -> u64 {
        let offsets = |it: &ArchivedPartition| it.ends.log_end_offset - it.ends.log_start_offset;
        self.partitions.iter().map(|partition| offsets(partition).max(0) as u64).sum()
    }

    fn to_json(&self) -> TopicJson {
        let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        TopicJson {
            name: self.name.to_string(),
            topic_id: self.topic_id.map(topic_id_to_text),
            config: self.config.as_ref().map(|config| config.overrides().map(owned).collect()),
            partition_count: self.partition_count,
            partitions: self.partitions.iter().map(ArchivedPartition::to_json).collect(),
        }
    }

    fn of_json(json: TopicJson) -> Result<Self> {
        let name: TopicName = parsed(&json.name)?;
        let topic_id = json.topic_id.map(|text| topic_id_from_text(&text).map_err(|error| altered(error.to_string())));
        let config =
            json.config.map(|config| TopicConfig::from_stored(config).map_err(|error| altered(error.to_string())));
        let partitions = json.partitions.into_iter().map(ArchivedPartition::of_json).collect::<Result<Vec<_>>>()?;
        let is_count = (1..=PARTITIONS_MAX).contains(&json.partition_count);
        let numbers = || partitions.iter().map(|it| it.partition);
        let is_within = numbers().all(|number| (0..json.partition_count).contains(&number));
        if !is_count || !is_within || !numbers().is_sorted_by(|one, other| one < other) {
            return Err(altered(format!("the partitions of topic {name} are not some of 0 to its partition count")));
        }
        Ok(Self {
            name,
            topic_id: topic_id.transpose()?,
            config: config.transpose()?,
            partition_count: json.partition_count,
            partitions,
        })
    }
}

impl ArchivedPartition {
    fn to_json(&self) -> PartitionJson {
        let segment = |it: &ArchivedSegment| SegmentJson {
            base_offset: it.base_offset.0,
            size: it.size,
            modified_ms: it.modified.0,
        };
        PartitionJson {
            partition: self.partition,
            log_start_offset: self.ends.log_start_offset.0,
            log_end_offset: self.ends.log_end_offset.0,
            first_dirty_offset: self.ends.first_dirty_offset.map(|offset| offset.0),
            segments: self.segments.iter().map(segment).collect(),
        }
    }

    fn of_json(json: PartitionJson) -> Result<Self> {
        let segment = |it: SegmentJson| ArchivedSegment {
            base_offset: Offset(it.base_offset),
            size: it.size,
            modified: Timestamp(it.modified_ms),
        };
        let segments: Vec<ArchivedSegment> = json.segments.into_iter().map(segment).collect();
        let (start, end) = (Offset(json.log_start_offset), Offset(json.log_end_offset));
        let bases = || segments.iter().map(|segment| segment.base_offset);
        let is_log = bases().next().is_some_and(|first| Offset::ZERO <= first && first <= start)
            && bases().is_sorted_by(|one, other| one < other)
            && bases().all(|base| base <= end.min(Offset::BASE_MAX))
            && start <= end;
        if !is_log {
            let number = json.partition;
            return Err(altered(format!("the offsets of partition {number} are not those of a log")));
        }
        let first_dirty_offset = json.first_dirty_offset.map(Offset);
        let ends = ImportedEnds { log_start_offset: start, log_end_offset: end, first_dirty_offset };
        Ok(Self { partition: json.partition, ends, segments })
    }
}

impl ArchivedGroup {
    fn to_json(&self) -> GroupJson {
        let offset = |it: &ArchivedOffset| OffsetJson {
            topic: it.partition.topic.to_string(),
            partition: it.partition.partition,
            offset: it.offset.0,
            metadata: it.metadata.clone(),
        };
        GroupJson { group: self.group.as_str().to_owned(), offsets: self.offsets.iter().map(offset).collect() }
    }

    fn of_json(json: GroupJson) -> Result<Self> {
        let offset = |it: OffsetJson| {
            let partition = TopicPartition { topic: parsed(&it.topic)?, partition: it.partition };
            Ok(ArchivedOffset { partition, offset: Offset(it.offset), metadata: it.metadata })
        };
        let offsets = json.offsets.into_iter().map(offset).collect::<Result<Vec<_>>>()?;
        Ok(Self { group: parsed(&json.group)?, offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let ends = ImportedEnds {
            log_start_offset: Offset(5),
            log_end_offset: Offset(9),
            first_dirty_offset: Some(Offset(7)),
        };
        let segment = |base| ArchivedSegment { base_offset: Offset(base), size: 100, modified: Timestamp(base) };
        let partition = ArchivedPartition { partition: 2, ends, segments: vec![segment(3), segment(6)] };
        let name: TopicName = "app".parse().unwrap();
        let offset = ArchivedOffset {
            partition: TopicPartition { topic: name.clone(), partition: 2 },
            offset: Offset(7),
            metadata: "x".into(),
        };
        let mut config = TopicConfig::default();
        config.set("retention.ms", "5").unwrap();
        Manifest {
            topics: vec![ArchivedTopic {
                name,
                topic_id: Some(Uuid::from_u128(7)),
                config: Some(config),
                partition_count: 4,
                partitions: vec![partition],
            }],
            groups: vec![ArchivedGroup { group: "g".parse().unwrap(), offsets: vec![offset] }],
        }
    }

    #[test]
    fn a_manifest_goes_there_and_back() {
        assert_eq!(Manifest::parse(&manifest().print()).unwrap(), manifest());
    }

    #[test]
    fn what_no_export_writes_is_refused() {
        let text = String::from_utf8(manifest().print()).unwrap();
        for (from, to) in [
            ("\"app\",\n      \"topic_id\"", "\"../app\",\n      \"topic_id\""),
            ("\"partition_count\": 4", "\"partition_count\": 2"),
            ("\"partition_count\": 4", "\"partition_count\": 2000000000"),
            ("\"log_start_offset\": 5", "\"log_start_offset\": 2"),
            ("\"log_end_offset\": 9", "\"log_end_offset\": 4"),
            ("\"base_offset\": 6", "\"base_offset\": 3"),
            ("\"base_offset\": 3", "\"base_offset\": -3"),
            ("\"retention.ms\": \"5\"", "\"retention.ms\": \"x\""),
            ("\"size\": 100", "\"size\": -1"),
        ] {
            assert!(text.contains(from), "{from}");
            let altered = text.replacen(from, to, 1);
            let error = Manifest::parse(altered.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with("kdir-export.json in the input was altered: "), "{error}");
        }
        let newer = text.replacen("\"format_version\": 1", "\"format_version\": 2", 1);
        assert!(matches!(Manifest::parse(newer.as_bytes()), Err(ArchiveError::Newer { version: 2, known: 1 })));
    }
}
