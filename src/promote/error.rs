//! What keeps a log dir from being promoted or demoted.

use crate::disk::DiskError;
use crate::groups::GroupError;
use crate::logdir::{LogDirError, numbers};
use crate::storage::StorageError;
use crate::units::{SetAside, TopicName, TopicPartition};
use std::path::PathBuf;

/// What keeps a log dir from being promoted or demoted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromoteError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The log dir failed.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A partition failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The groups cannot be taken along.
    #[error(transparent)]
    Groups(#[from] GroupError),
    /// A broker has run on the log dir, and goes by its own metadata.
    #[error("a Kafka broker has run on {}, and takes no topics but those in its own metadata", path.display())]
    HasRun {
        /// The log dir.
        path: PathBuf,
    },
    /// A broker with ZooKeeper has the log dir.
    #[error("{} belongs to a Kafka broker with ZooKeeper", path.display())]
    ZooKeeper {
        /// The log dir.
        path: PathBuf,
    },
    /// What `kafka-storage format` leaves is not there.
    #[error("{} was not formatted for a controller: {what}", path.display())]
    NotFormatted {
        /// The log dir.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// Two log dirs are of different clusters or nodes.
    #[error("{} is of {what}", path.display())]
    OtherCluster {
        /// The log dir.
        path: PathBuf,
        /// Of which, and which was expected.
        what: String,
    },
    /// An option contradicts what is there, or another option.
    #[error("{what}")]
    Contradiction {
        /// What contradicts what.
        what: String,
    },
    /// There is a file of that name already, with something else in it.
    #[error("{} is there already, and says something else than what this broker needs", path.display())]
    PropertiesDiffer {
        /// The file.
        path: PathBuf,
    },
    /// A broker cannot be told of a log dir by its path.
    #[error("{} cannot be written in log.dirs, which has commas between its paths", path.display())]
    PathOfNoBroker {
        /// The log dir.
        path: PathBuf,
    },
    /// There is nothing to undo.
    #[error("{} is not promoted", path.display())]
    NotPromoted {
        /// The log dir.
        path: PathBuf,
    },
    /// There is nothing to demote.
    #[error("no Kafka broker with KRaft has {}", path.display())]
    NotABrokers {
        /// The log dir.
        path: PathBuf,
    },
    /// The cluster's metadata is not in the log dir.
    #[error("the cluster's metadata is not in {}: what topics there are is not known", path.display())]
    NoMetadata {
        /// The log dir.
        path: PathBuf,
    },
    /// A small file does not say what it should.
    #[error("{} is damaged: {what}", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log dir holds something that has to be settled first.
    #[error("{} cannot be handed over yet:{}", path.display(), listed(reasons))]
    Refused {
        /// The log dir.
        path: PathBuf,
        /// Each reason.
        reasons: Vec<Refusal>,
    },
}

/// As many are printed one by one.
const SHOWN: usize = 20;

fn listed(reasons: &[Refusal]) -> String {
    let mut lines: String = reasons.iter().take(SHOWN).map(|reason| format!("\n  {reason}")).collect();
    if let more @ 1.. = reasons.len().saturating_sub(SHOWN) {
        lines.push_str(&format!("\n  and {more} more"));
    }
    lines
}

/// What has to be settled before a log dir is handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A folder that was set aside.
    #[error("{folder} is a folder that was set aside ({})", folder.kind.name())]
    SetAside {
        /// The folder.
        folder: SetAside,
    },
    /// Partitions of a topic are missing.
    #[error("topic {topic} does not have all partitions from 0 on here: a broker would make the missing ones, empty")]
    PartitionsHaveGaps {
        /// The topic.
        topic: TopicName,
    },
    /// The folders of a topic have several topic ids.
    #[error("the partitions of topic {topic} have different topic ids in partition.metadata")]
    TopicIdsDiffer {
        /// The topic.
        topic: TopicName,
    },
    /// Two topics have one id.
    #[error("topics {one} and {other} have the same topic id")]
    SameTopicId {
        /// The one.
        one: TopicName,
        /// The other.
        other: TopicName,
    },
    /// Records of a topic are older than its broker keeps them.
    #[error("a broker would delete {records} records of topic {topic} at its first check, {why}")]
    Expiring {
        /// The topic.
        topic: TopicName,
        /// How many records.
        records: i64,
        /// By which limit.
        why: String,
    },
    /// Bytes of a partition may be in the page cache alone.
    #[error("records of {partition} may not be durable: a run that wrote them has failed")]
    NotDurable {
        /// The partition.
        partition: TopicPartition,
    },
    /// A partition is on other brokers as well, and not known to be whole here.
    #[error("{partition} has in-sync replicas on other brokers: {}", numbers(others))]
    InSyncElsewhere {
        /// The partition.
        partition: TopicPartition,
        /// Those.
        others: Vec<i32>,
    },
    /// A partition is not, or not whole, on this broker.
    #[error("{partition} is not whole on this broker, node {node_id}")]
    NotInSync {
        /// The partition.
        partition: TopicPartition,
        /// This broker.
        node_id: i32,
    },
    /// There are folders of a topic that the broker does not know.
    #[error("topic {topic} is not in the broker's metadata")]
    Unknown {
        /// The topic.
        topic: TopicName,
    },
    /// Kafka 4.0 stops at the records of share groups.
    #[error(
        "Kafka 4.0 cannot read share groups, and reads no group that is in the same partition of __consumer_offsets"
    )]
    ShareGroups,
    /// A partition or a topic cannot be read.
    #[error("{0}")]
    Unreadable(LogDirError),
}

/// What this floor returns.
pub type Result<T, E = PromoteError> = std::result::Result<T, E>;
