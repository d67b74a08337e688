//! The configuration of a topic as brokers take it: one value that a broker does not take keeps all of it from starting.
//!
//! | key | what brokers do | here |
//! | --- | --- | --- |
//! | `segment.bytes` under 1 MiB | 4.1 and later do not start | raised |
//! | `*.replication.throttled.replicas` that is not a list | no release starts | dropped |
//! | `remote.storage.enable=true` | cannot serve the topic without remote storage | dropped |
//!
//! Keys that a broker does not know are harmless. Tried with every key at both ends of what kdir takes, on 3.9, 4.0, 4.3 and
//! 4.4.

use super::options::KafkaRelease;
use crate::logdir::config::{TopicConfig, is_list_of_replicas};

/// What later releases take at least.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;
/// What retention is turned off with.
pub(super) const UNLIMITED: [(&str, &str); 2] = [("retention.ms", "-1"), ("retention.bytes", "-1")];

/// A setting that is not handed over as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigChange {
    /// The key.
    pub key: String,
    /// What the topic has.
    pub from: String,
    /// What the broker gets; `None` for its default.
    pub to: Option<String>,
}

/// The settings that a broker gets for a topic, and what was changed in them.
pub(super) fn for_broker(
    config: &TopicConfig,
    release: Option<KafkaRelease>,
) -> (Vec<(String, String)>, Vec<ConfigChange>) {
    let (mut kept, mut changes) = (Vec::new(), Vec::new());
    for (key, value) in config.overrides() {
        let to = match key {
            "segment.bytes" if release.is_none_or(KafkaRelease::refuses_small_segments) => {
                let bytes: i64 = value.parse().unwrap_or(SEGMENT_BYTES_MIN);
                Some(bytes.max(SEGMENT_BYTES_MIN).to_string())
            }
            "leader.replication.throttled.replicas" | "follower.replication.throttled.replicas" => {
                is_list_of_replicas(value).then(|| value.to_owned())
            }
            "remote.storage.enable" => (value != "true").then(|| value.to_owned()),
            _ => Some(value.to_owned()),
        };
        if to.as_deref() != Some(value) {
            changes.push(ConfigChange { key: key.to_owned(), from: value.to_owned(), to: to.clone() });
        }
        kept.extend(to.map(|to| (key.to_owned(), to)));
    }
    (kept, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> TopicConfig {
        TopicConfig::from_stored(pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()).unwrap()
    }

    #[test]
    fn what_no_broker_takes_is_dropped_or_raised() {
        const FOLLOWER: &str = "follower.replication.throttled.replicas";
        for (key, value, release, expected) in [
            ("segment.bytes", "1024", None, Some("1048576")),
            ("segment.bytes", "1024", Some(KafkaRelease::V4_1), Some("1048576")),
            ("segment.bytes", "1024", Some(KafkaRelease::V4_0), Some("1024")),
            ("segment.bytes", "1048577", None, Some("1048577")),
            (FOLLOWER, "foo", None, None),
            (FOLLOWER, "0:1,", None, None),
            (FOLLOWER, "0:1,12:3", None, Some("0:1,12:3")),
            (FOLLOWER, "*", None, Some("*")),
            ("remote.storage.enable", "true", None, None),
            ("remote.storage.enable", "false", None, Some("false")),
            ("retention.ms", "-1", None, Some("-1")),
            ("a.key.of.a.later.kafka", "x", None, Some("x")),
        ] {
            let (kept, changes) = for_broker(&config(&[(key, value)]), release);
            assert_eq!(kept.first().map(|(_, to)| to.as_str()), expected, "{key}={value}");
            assert_eq!(changes.is_empty(), expected == Some(value), "{key}={value}: {changes:?}");
        }
    }
}
