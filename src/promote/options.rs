//! What a log dir is promoted with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The `metadata.version` of Kafka 3.9, which every release from then on starts on.
pub(super) const METADATA_VERSION_3_9: i16 = 21;

/// A release of Kafka, for the features that a new cluster of it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum KafkaRelease {
    /// 3.9.
    V3_9,
    /// 4.0.
    V4_0,
    /// 4.1.
    V4_1,
    /// 4.2.
    V4_2,
    /// 4.3.
    V4_3,
    /// 4.4.
    V4_4,
}

impl KafkaRelease {
    /// All of them, oldest first.
    pub const ALL: [Self; 6] = [Self::V3_9, Self::V4_0, Self::V4_1, Self::V4_2, Self::V4_3, Self::V4_4];

    /// As Kafka calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_9 => "3.9",
            Self::V4_0 => "4.0",
            Self::V4_1 => "4.1",
            Self::V4_2 => "4.2",
            Self::V4_3 => "4.3",
            Self::V4_4 => "4.4",
        }
    }

    /// The features that `kafka-storage format` of the release gives a cluster, `metadata.version` first, but for eligible
    /// leader replicas: with them the first start counts as an unclean one. Source: `Feature.java`, `MetadataVersion.java`,
    /// and what each release has formatted.
    pub(super) fn features(self) -> Vec<(&'static str, i16)> {
        let metadata_version = match self {
            Self::V3_9 => METADATA_VERSION_3_9,
            Self::V4_0 => 25,
            Self::V4_1 => 27,
            Self::V4_2 => 29,
            Self::V4_3 => 30,
            Self::V4_4 => 33,
        };
        let mut features = vec![("metadata.version", metadata_version)];
        if self >= Self::V4_0 {
            features.push(("group.version", 1));
        }
        if self >= Self::V4_2 {
            features.extend([("share.version", if self >= Self::V4_4 { 2 } else { 1 }), ("streams.version", 1)]);
        }
        if self >= Self::V4_0 {
            features.push(("transaction.version", 2));
        }
        features
    }

    /// Whether it refuses segments of less than 1 MiB.
    pub(super) fn refuses_small_segments(self) -> bool {
        self >= Self::V4_1
    }
}

impl FromStr for KafkaRelease {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|it| it.name() == text).ok_or_else(|| format!("it is one of {}", known()))
    }
}

/// Where a listener is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or an IP address; one of IPv6 in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "it is HOST:PORT, as in 10.0.0.7:9092".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(expected)?;
        let is_bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let is_host = !host.is_empty() && !is_bare_ipv6 && !host.contains([' ', ',', '/', '\n', '=']);
        let port = port.parse().ok().filter(|port| *port > 0);
        match port {
            Some(port) if is_host => Ok(Self { host: host.to_owned(), port }),
            _ => Err(expected()),
        }
    }
}

/// What to do about topics that a broker would delete records of at its first check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiring {
    /// Promote nothing.
    Refuse,
    /// Promote them without a limit.
    Keep,
    /// Promote them as they are.
    Delete,
}

/// How the voters of the metadata quorum are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// By the properties of each node: `controller.quorum.voters`.
    Static,
    /// By the metadata itself, so that voters can be added (KIP-853).
    Dynamic,
}

impl Quorum {
    /// As the command line has it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dynamic => "dynamic",
        }
    }
}

/// What a broker does about the logs when it starts for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstStart {
    /// It reads every active segment from its beginning.
    Checks,
    /// It believes that all is as a broker leaves it, which the caller has verified.
    Trusts,
}

/// What a log dir is promoted with.
#[derive(Debug, Clone)]
pub struct PromoteOptions {
    /// The release whose features the cluster has; without one, those that every release from 3.9 on starts with.
    pub release: Option<KafkaRelease>,
    /// The node id of the broker.
    pub node_id: Option<i32>,
    /// The id of the cluster.
    pub cluster_id: Option<String>,
    /// Where clients reach the broker.
    pub listener: Address,
    /// Where the controller is reached, which is the last of them, or each of those of their own.
    pub controllers: Vec<Address>,
    /// The brokers that are to have each partition, this one among them; empty for this one alone.
    pub replicas: Vec<i32>,
    /// The log dirs of controllers that are processes of their own, each formatted.
    pub metadata_dirs: Vec<PathBuf>,
    /// Where the broker's properties are written.
    pub properties: Option<PathBuf>,
    /// How the voters are known; `None` for as they were formatted, or by the properties.
    pub quorum: Option<Quorum>,
    /// Whether the broker checks the logs.
    pub first_start: FirstStart,
    /// Records that a broker would delete at once.
    pub expiring: Expiring,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for text in ["127.0.0.1:9092", "kafka-1.example:1", "[::1]:65535"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", "host", ":9092", "host:0", "host:65536", "host:x", "::1:9092", "a b:1", "a,b:1", "a\nb:1"] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_later_release_has_the_features_of_those_before_it() {
        for pair in KafkaRelease::ALL.windows(2) {
            let (before, after) = (pair[0].features(), pair[1].features());
            for (name, level) in before {
                assert!(after.iter().any(|(found, later)| *found == name && *later >= level), "{name}");
            }
        }
    }
}
