//! Kafka's topic configuration: every key of Kafka 4.0 with type, range and default, in one table.
//!
//! Values are kept as the text that Kafka would keep. Keys that count bytes also take `64MiB`, keys that count
//! milliseconds also take `7d`; what is kept is the plain number. Source: `TopicConfig.java`, `LogConfig.java`.

use super::nearest::nearest;
use crate::units::{ByteSize, Duration};
use std::collections::BTreeMap;
use std::fmt;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// An integer.
    Integer {
        /// The lowest legal value.
        min: i64,
        /// The highest legal value.
        max: i64,
    },
    /// A number from 0 to 1.
    Ratio,
    /// `true` or `false`.
    Boolean,
    /// One of some words.
    Word(&'static [&'static str]),
    /// A comma-separated list of some words, at least one.
    Words(&'static [&'static str]),
    /// Replicas, each as partition and broker; `*` for all, `none` or nothing for none.
    Replicas,
}

/// What an integer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// Bytes.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Something else.
    Plain,
}

/// A key of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definition {
    /// Kafka's name.
    pub key: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What its integers count.
    pub counts: Counts,
    /// Kafka's default.
    pub default: &'static str,
    /// Whether kdir acts on it; otherwise it is kept for the broker that the directory may be handed to.
    pub honoured: bool,
}

const LONG_MAX: i64 = i64::MAX;
const INT_MAX: i64 = i32::MAX as i64;
const POLICIES: &[&str] = &["compact", "delete"];
const COMPRESSIONS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];

const fn bytes(key: &'static str, min: i64, max: i64, default: &'static str) -> Definition {
    Definition { key, kind: Kind::Integer { min, max }, counts: Counts::Bytes, default, honoured: true }
}

const fn ms(key: &'static str, min: i64, default: &'static str) -> Definition {
    let kind = Kind::Integer { min, max: LONG_MAX };
    Definition { key, kind, counts: Counts::Milliseconds, default, honoured: true }
}

const fn plain(key: &'static str, kind: Kind, default: &'static str) -> Definition {
    Definition { key, kind, counts: Counts::Plain, default, honoured: true }
}

const fn stored(definition: Definition) -> Definition {
    Definition { honoured: false, ..definition }
}

const fn integer(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

/// Every topic configuration of Kafka 4.0, by name.
pub const DEFINITIONS: [Definition; 33] = [
    plain("cleanup.policy", Kind::Words(POLICIES), "delete"),
    plain("compression.gzip.level", integer(-1, 9), "-1"),
    plain("compression.lz4.level", integer(1, 17), "9"),
    plain("compression.type", Kind::Word(COMPRESSIONS), "producer"),
    plain("compression.zstd.level", integer(-131_072, 22), "3"),
    ms("delete.retention.ms", 0, "86400000"),
    stored(ms("file.delete.delay.ms", 0, "60000")),
    stored(plain("flush.messages", integer(1, LONG_MAX), "9223372036854775807")),
    stored(ms("flush.ms", 0, "9223372036854775807")),
    stored(plain("follower.replication.throttled.replicas", Kind::Replicas, "")),
    bytes("index.interval.bytes", 0, INT_MAX, "4096"),
    stored(plain("leader.replication.throttled.replicas", Kind::Replicas, "")),
    stored(bytes("local.retention.bytes", -2, LONG_MAX, "-2")),
    stored(ms("local.retention.ms", -2, "-2")),
    ms("max.compaction.lag.ms", 1, "9223372036854775807"),
    bytes("max.message.bytes", 0, INT_MAX, "1048588"),
    stored(ms("message.timestamp.after.max.ms", 0, "3600000")),
    stored(ms("message.timestamp.before.max.ms", 0, "9223372036854775807")),
    plain("message.timestamp.type", Kind::Word(TIMESTAMP_TYPES), "CreateTime"),
    plain("min.cleanable.dirty.ratio", Kind::Ratio, "0.5"),
    ms("min.compaction.lag.ms", 0, "0"),
    stored(plain("min.insync.replicas", integer(1, INT_MAX), "1")),
    stored(plain("preallocate", Kind::Boolean, "false")),
    stored(plain("remote.log.copy.disable", Kind::Boolean, "false")),
    stored(plain("remote.log.delete.on.disable", Kind::Boolean, "false")),
    stored(plain("remote.storage.enable", Kind::Boolean, "false")),
    bytes("retention.bytes", i64::MIN, LONG_MAX, "-1"),
    ms("retention.ms", -1, "604800000"),
    bytes("segment.bytes", 14, INT_MAX, "1073741824"),
    bytes("segment.index.bytes", 4, INT_MAX, "10485760"),
    ms("segment.jitter.ms", 0, "0"),
    ms("segment.ms", 1, "604800000"),
    stored(plain("unclean.leader.election.enable", Kind::Boolean, "false")),
];

/// Keys that Kafka 4.0 no longer has.
const REMOVED: [&str; 3] =
    ["message.downconversion.enable", "message.format.version", "message.timestamp.difference.max.ms"];

/// Under this, Kafka 4.1 and later refuse a topic's `segment.bytes`.
const SEGMENT_BYTES_SAFE_MIN: i64 = 1 << 20;

/// A configuration that is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// There is no such key.
    #[error("there is no topic configuration {key}{}", did_you_mean(nearest))]
    UnknownKey {
        /// What was given.
        key: String,
        /// The key that looks most like it.
        nearest: Option<&'static str>,
    },
    /// Kafka had the key before.
    #[error("the topic configuration {key} was removed in Kafka 4.0")]
    RemovedKey {
        /// What was given.
        key: String,
    },
    /// The value is not one that the key takes.
    #[error("{key}={value} is refused: expected {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// What was given.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Two values contradict each other.
    #[error("{low} ({low_value}) must not be larger than {high} ({high_value})")]
    Contradiction {
        /// The key that must be smaller.
        low: &'static str,
        /// Its value.
        low_value: i64,
        /// The key that must be larger.
        high: &'static str,
        /// Its value.
        high_value: i64,
    },
}

fn did_you_mean(nearest: &Option<&'static str>) -> String {
    nearest.map_or(String::new(), |nearest| format!("; did you mean {nearest}?"))
}

/// Something about a value that its owner should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What differs from Kafka's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TopicConfig {
    overrides: BTreeMap<String, String>,
}

fn definition(key: &str) -> Result<&'static Definition, ConfigError> {
    if let Ok(place) = DEFINITIONS.binary_search_by(|definition| definition.key.cmp(key)) {
        return Ok(&DEFINITIONS[place]);
    }
    if REMOVED.contains(&key) {
        return Err(ConfigError::RemovedKey { key: key.to_owned() });
    }
    let mut keys = DEFINITIONS.iter().map(|definition| definition.key);
    let nearest = in_milliseconds(key).or_else(|| nearest(key, keys.by_ref()));
    Err(ConfigError::UnknownKey { key: key.to_owned(), nearest })
}

/// The key of a topic for one of a broker that counts in larger units: `log.retention.hours`.
fn in_milliseconds(key: &str) -> Option<&'static str> {
    let (name, unit) = key.strip_prefix("log.").unwrap_or(key).rsplit_once('.')?;
    let is_meant = |key: &str| key.strip_suffix(".ms") == Some(name);
    let is_time = matches!(unit, "days" | "hours" | "minutes" | "seconds");
    DEFINITIONS.iter().map(|definition| definition.key).find(|key| is_time && is_meant(key))
}

impl Definition {
    /// The text to keep for what a person wrote.
    fn canonical(&self, text: &str) -> Result<String, ConfigError> {
        let text = text.trim();
        let kept = match self.kind {
            Kind::Integer { min, max } => {
                self.integer(text).filter(|value| (min..=max).contains(value)).map(|value| value.to_string())
            }
            Kind::Ratio => text.parse::<f64>().ok().filter(|it| (0.0..=1.0).contains(it)).map(|_| text.to_owned()),
            Kind::Boolean => matches!(text, "true" | "false").then(|| text.to_owned()),
            Kind::Word(words) => words.contains(&text).then(|| text.to_owned()),
            Kind::Words(words) => list(text, words),
            // What was stored before it was checked is kept.
            Kind::Replicas => Some(text.to_owned()),
        };
        kept.ok_or_else(|| ConfigError::Value { key: self.key, value: text.to_owned(), expected: self.expected() })
    }

    fn integer(&self, text: &str) -> Option<i64> {
        if let Ok(value) = text.parse() {
            // Gzip has no level 0, which lies within the range that its default -1 opens.
            return Some(value).filter(|&value: &i64| value != 0 || self.key != "compression.gzip.level");
        }
        match self.counts {
            Counts::Bytes => text.parse::<ByteSize>().ok().and_then(|size| i64::try_from(size.0).ok()),
            Counts::Milliseconds => text.parse::<Duration>().ok().map(|duration| duration.0),
            Counts::Plain => None,
        }
    }

    /// What it takes, in words.
    #[must_use]
    pub fn expected(&self) -> String {
        let unit = match self.counts {
            Counts::Bytes => " bytes, or a size such as 64MiB",
            Counts::Milliseconds => " ms, or a duration such as 7d",
            Counts::Plain => "",
        };
        match self.kind {
            Kind::Integer { min: i64::MIN, .. } => format!("a number of{unit}"),
            Kind::Integer { min, max: LONG_MAX } => format!("{min} or more{unit}"),
            Kind::Integer { min, max } => format!("{min} to {max}{unit}"),
            Kind::Ratio => "a number from 0 to 1".into(),
            Kind::Boolean => "true or false".into(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::Words(words) => format!("a comma-separated list of {}", words.join(", ")),
            Kind::Replicas => "*, none, or PARTITION:BROKER,... as in 0:1,1:2".into(),
        }
    }
}

/// Whether brokers take a value as a list of replicas: one with another keeps all of a broker from starting. Source:
/// `ThrottledReplicaListValidator.java`.
pub(crate) fn is_list_of_replicas(value: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_replica = |text: &str| text.split_once(':').is_some_and(|(one, other)| is_number(one) && is_number(other));
    matches!(value.trim(), "" | "*" | "none") || value.split(',').all(|part| is_replica(part.trim()))
}

/// A list of words, each once, in the order given.
fn list(text: &str, words: &[&str]) -> Option<String> {
    let mut kept: Vec<&str> = Vec::new();
    for word in text.split(',').map(str::trim) {
        if !words.contains(&word) {
            return None;
        }
        if !kept.contains(&word) {
            kept.push(word);
        }
    }
    Some(kept.join(","))
}

impl TopicConfig {
    /// Takes a configuration from a topic file, which a person may have edited: values count as [`TopicConfig::set`] would
    /// take them. Keys that are not known here are kept: a newer version wrote them.
    ///
    /// # Errors
    /// When a known key has a value that it does not take.
    pub fn from_stored(mut stored: BTreeMap<String, String>) -> Result<Self, ConfigError> {
        for (key, value) in &mut stored {
            if let Some(definition) = DEFINITIONS.iter().find(|definition| definition.key == key) {
                *value = definition.canonical(value)?;
            }
        }
        Ok(Self { overrides: stored })
    }

    /// Sets a key.
    ///
    /// # Errors
    /// When there is no such key or it does not take the value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<Option<Warning>, ConfigError> {
        let definition = definition(key)?;
        let value = definition.canonical(value)?;
        if definition.kind == Kind::Replicas && !is_list_of_replicas(&value) {
            return Err(ConfigError::Value { key: definition.key, value, expected: definition.expected() });
        }
        let is_small = key == "segment.bytes" && value.parse().is_ok_and(|bytes: i64| bytes < SEGMENT_BYTES_SAFE_MIN);
        let warning = is_small.then(|| {
            Warning(format!(
                "segment.bytes={value} is under {SEGMENT_BYTES_SAFE_MIN}, which Kafka 4.1 and later refuse"
            ))
        });
        self.overrides.insert(key.to_owned(), value);
        Ok(warning)
    }

    /// Puts a key back to Kafka's default; `false` where it was not set.
    ///
    /// # Errors
    /// When there is no such key.
    pub fn unset(&mut self, key: &str) -> Result<bool, ConfigError> {
        if self.overrides.remove(key).is_some() {
            return Ok(true);
        }
        definition(key).map(|_| false)
    }

    /// What differs from the defaults, by key.
    pub fn overrides(&self) -> impl Iterator<Item = (&str, &str)> {
        self.overrides.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether a key is set.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.overrides.contains_key(key)
    }

    /// Holds the values against each other.
    ///
    /// # Errors
    /// When two contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.at_most("min.compaction.lag.ms", "max.compaction.lag.ms")?;
        if self.text("remote.storage.enable") != "true" {
            return Ok(());
        }
        // -2 stands for the limit of the whole log, and a negative limit of the whole log for none.
        for (low, high) in [("local.retention.ms", "retention.ms"), ("local.retention.bytes", "retention.bytes")] {
            if self.integer(low) != -2 && self.integer(high) >= 0 {
                self.at_most(low, high)?;
            }
        }
        Ok(())
    }

    fn at_most(&self, low: &'static str, high: &'static str) -> Result<(), ConfigError> {
        let (low_value, high_value) = (self.integer(low), self.integer(high));
        if low_value <= high_value {
            return Ok(());
        }
        Err(ConfigError::Contradiction { low, low_value, high, high_value })
    }

    /// The value of a key, or its default.
    ///
    /// # Panics
    /// When the table has no such key: a mistake of ours.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        let default = definition(key).expect("a key of the table").default;
        self.overrides.get(key).map_or(default, String::as_str)
    }

    /// The value of a key that takes integers, or its default.
    ///
    /// # Panics
    /// When the table has no such key, or it takes no integers: a mistake of ours.
    #[must_use]
    pub fn integer(&self, key: &str) -> i64 {
        self.text(key).parse().expect("values were checked when they were set, defaults by a test")
    }

    /// The value of a key that takes a number from 0 to 1, or its default.
    ///
    /// # Panics
    /// When the table has no such key, or it takes no such number: a mistake of ours.
    #[must_use]
    pub fn ratio(&self, key: &str) -> f64 {
        self.text(key).parse().expect("values were checked when they were set, defaults by a test")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_legal_and_keys_are_sorted() {
        for definition in &DEFINITIONS {
            assert_eq!(
                definition.canonical(definition.default).as_deref(),
                Ok(definition.default),
                "{}",
                definition.key
            );
        }
        let keys: Vec<_> = DEFINITIONS.iter().map(|definition| definition.key).collect();
        assert!(keys.is_sorted(), "{keys:?}");
    }

    #[test]
    fn values_are_held_against_their_ranges() {
        for (key, legal, illegal) in [
            ("retention.ms", &["-1", "0", "7", "7d", "9223372036854775807"][..], &["-2", "x", ""][..]),
            ("retention.bytes", &["-1", "-5", "100GB"], &["ten", "1.5"]),
            ("segment.bytes", &["14", "64MiB", "2147483647"], &["13", "2GiB", "-1"]),
            ("index.interval.bytes", &["0", "4096"], &["-1"]),
            ("segment.ms", &["1", "1h"], &["0"]),
            ("compression.gzip.level", &["-1", "1", "9"], &["0", "10", "-2"]),
            ("compression.lz4.level", &["1", "17"], &["0", "18"]),
            ("compression.zstd.level", &["-131072", "22"], &["-131073", "23"]),
            ("compression.type", &["producer", "zstd", "uncompressed"], &["none", "ZSTD"]),
            ("cleanup.policy", &["delete", "compact", "compact,delete"], &["", "remove", "delete,"]),
            ("message.timestamp.type", &["CreateTime", "LogAppendTime"], &["createtime"]),
            ("min.cleanable.dirty.ratio", &["0", "1", "0.25"], &["-0.1", "1.1", "half", "NaN"]),
            ("preallocate", &["true", "false"], &["yes"]),
            (
                "leader.replication.throttled.replicas",
                &["", "*", "none", "0:1", "0:1,12:3"],
                &["foo", "0", "0:1,", ":1"],
            ),
            ("min.insync.replicas", &["1"], &["0"]),
        ] {
            for value in legal {
                assert!(TopicConfig::default().set(key, value).is_ok(), "{key}={value}");
            }
            for value in illegal {
                assert!(TopicConfig::default().set(key, value).is_err(), "{key}={value}");
            }
        }
    }

    #[test]
    fn sizes_and_durations_are_kept_as_plain_numbers() {
        let mut config = TopicConfig::default();
        config.set("segment.bytes", "64MiB").unwrap();
        config.set("retention.ms", "36h").unwrap();
        config.set("cleanup.policy", " compact , delete,compact").unwrap();
        let kept: Vec<_> = config.overrides().collect();
        assert_eq!(
            kept,
            [("cleanup.policy", "compact,delete"), ("retention.ms", "129600000"), ("segment.bytes", "67108864")]
        );
        assert_eq!((config.integer("segment.bytes"), config.integer("segment.ms")), (64 << 20, 604_800_000));
        assert_eq!((config.unset("retention.ms"), config.unset("retention.ms")), (Ok(true), Ok(false)));
        assert_eq!(config.integer("retention.ms"), 604_800_000);
    }

    #[test]
    fn a_wrong_key_is_answered_with_the_nearest() {
        for (key, words) in [
            ("retenton.ms", "did you mean retention.ms?"),
            ("segment.byte", "did you mean segment.bytes?"),
            ("retention.hours", "did you mean retention.ms?"),
            ("log.roll.hours", "there is no topic configuration log.roll.hours"),
            ("colour", "there is no topic configuration colour"),
            ("message.format.version", "removed in Kafka 4.0"),
        ] {
            let error = TopicConfig::default().set(key, "1").unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
            assert!(TopicConfig::default().unset(key).is_err());
        }
        assert!(!TopicConfig::default().set("colour", "1").unwrap_err().to_string().contains("mean"));
    }

    #[test]
    fn small_segments_are_taken_with_a_warning() {
        let mut config = TopicConfig::default();
        let warning = config.set("segment.bytes", "1048575").unwrap().unwrap();
        assert!(warning.to_string().contains("4.1"), "{warning}");
        assert_eq!(config.set("segment.bytes", "1048576"), Ok(None));
    }

    #[test]
    fn contradictions_are_refused() {
        for (pairs, fine) in [
            (&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")][..], false),
            (&[("min.compaction.lag.ms", "1"), ("max.compaction.lag.ms", "1")], true),
            (&[("remote.storage.enable", "true"), ("local.retention.ms", "2"), ("retention.ms", "1")], false),
            (&[("local.retention.ms", "2"), ("retention.ms", "1")], true),
            (&[("remote.storage.enable", "true"), ("local.retention.ms", "2"), ("retention.ms", "-1")], true),
            (&[("remote.storage.enable", "true"), ("local.retention.bytes", "2"), ("retention.bytes", "1")], false),
            (&[("retention.ms", "-1")], true),
        ] {
            let mut config = TopicConfig::default();
            for (key, value) in pairs {
                config.set(key, value).unwrap();
            }
            assert_eq!(config.validate().is_ok(), fine, "{pairs:?}");
        }
    }

    #[test]
    fn what_a_newer_version_wrote_is_kept() {
        let stored = BTreeMap::from([("future.key".to_owned(), "x".to_owned())]);
        let mut config = TopicConfig::from_stored(stored).unwrap();
        assert_eq!(config.overrides().collect::<Vec<_>>(), [("future.key", "x")]);
        assert_eq!(config.unset("future.key"), Ok(true));
        assert!(TopicConfig::from_stored(BTreeMap::from([("retention.ms".to_owned(), "x".to_owned())])).is_err());
    }

    #[test]
    fn what_a_person_wrote_into_the_topic_file_counts_as_on_the_command_line() {
        for (key, text, value) in [
            ("segment.bytes", "64MiB", "67108864"),
            ("retention.ms", " 7d", "604800000"),
            ("compression.type", "zstd ", "zstd"),
            ("cleanup.policy", "compact, delete", "compact,delete"),
        ] {
            let config = TopicConfig::from_stored(BTreeMap::from([(key.to_owned(), text.to_owned())])).unwrap();
            assert_eq!(config.text(key), value);
        }
    }
}
