//! What can go wrong with a log dir.

use super::Meant;
use crate::disk::DiskError;
use crate::format::properties::topic_id_to_text;
use crate::storage::StorageError;
use crate::units::{SetAside, TopicName, TopicPartition};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What can go wrong with a log dir.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogDirError {
    /// The file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A partition failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// There is no such directory.
    #[error("there is no log dir {}", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that no log dir holds.
    #[error("{} is not a log dir: it holds the folder {entry}, which is no partition", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What it holds.
        entry: String,
    },
    /// Something lies in a partition's folder that is not part of a log.
    #[error("{} is not a file of a partition: nothing was deleted", path.display())]
    ForeignContent {
        /// What it is.
        path: PathBuf,
    },
    /// A file or folder has the name of a topic's, and is somebody else's.
    #[error("{} is in the way, and is not of a topic", path.display())]
    InTheWay {
        /// What it is.
        path: PathBuf,
    },
    /// A broker is running on the directory.
    #[error("{} is in use by a running Kafka broker", path.display())]
    HeldByBroker {
        /// The directory.
        path: PathBuf,
    },
    /// Another process of kdir writes to the directory.
    #[error("{} is in use by another kdir process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory belongs to a broker, whose metadata would not know the topic.
    #[error("{} belongs to a Kafka broker ({mark} is there), which would set aside a topic that it did not make", path.display())]
    BrokerOwned {
        /// The directory.
        path: PathBuf,
        /// What shows it.
        mark: &'static str,
    },
    /// No such topic.
    #[error("there is no topic {topic} in {}", listed(log_dirs))]
    TopicNotFound {
        /// The topic.
        topic: TopicName,
        /// The log dirs.
        log_dirs: Vec<PathBuf>,
        /// What else the name looks like.
        meant: Option<Meant>,
    },
    /// No topic has a name that a pattern matches.
    #[error("no topic in {} matches {pattern}", listed(log_dirs))]
    NoTopicMatches {
        /// The pattern.
        pattern: String,
        /// The log dirs.
        log_dirs: Vec<PathBuf>,
    },
    /// No such topic, but folders of one that were set aside.
    #[error("there is no topic {topic} in {}, but {} that {} set aside: {}",
        listed(log_dirs), if folders.len() == 1 { "a folder of it" } else { "folders of it" },
        if folders.len() == 1 { "was" } else { "were" }, shown_folders(folders))]
    TopicSetAside {
        /// The topic.
        topic: TopicName,
        /// The log dirs.
        log_dirs: Vec<PathBuf>,
        /// Those that were set aside; at least one.
        folders: Vec<SetAside>,
    },
    /// A partition has no folder, since a broker has set it aside.
    #[error("the partition folder {} is missing: a broker set it aside as {folder}", path.display())]
    PartitionSetAside {
        /// Where it was.
        path: PathBuf,
        /// What became of it.
        folder: SetAside,
    },
    /// A folder that was set aside is to be changed.
    #[error("{} is a folder that was set aside: it can only be read", path.display())]
    SetAsideFolder {
        /// The folder.
        path: PathBuf,
    },
    /// What is to be a log dir is one partition's folder.
    #[error("{} is the folder of a partition, not a log dir", path.display())]
    PartitionFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Two log dirs have the same partition.
    #[error("{} and {} are the same partition", one.display(), other.display())]
    PartitionTwice {
        /// The first.
        one: PathBuf,
        /// The second.
        other: PathBuf,
    },
    /// The topic was deleted while it was in use.
    #[error("the topic {topic} was deleted")]
    TopicDeleted {
        /// The topic.
        topic: TopicName,
    },
    /// A partition's folder is another topic's, by the id in it.
    #[error(
        "{} is not the folder of this topic {topic}: its partition.metadata has topic id {}, the topic file {}",
        path.display(), topic_id_to_text(*found), topic_id_to_text(*topic_id)
    )]
    OtherTopicsFolder {
        /// The folder.
        path: PathBuf,
        /// The topic.
        topic: TopicName,
        /// The id in the folder.
        found: Uuid,
        /// The topic's id.
        topic_id: Uuid,
    },
    /// A partition was made once, and its folder is gone.
    #[error("the partition folder {} is missing, with all of its records", path.display())]
    FolderLost {
        /// Where it was.
        path: PathBuf,
    },
    /// The topic's cleanup.policy was changed during a run that was begun under the other one.
    #[error("the cleanup.policy of topic {topic} was changed; start again to go by the new one")]
    PolicyChanged {
        /// The topic.
        topic: TopicName,
    },
    /// The topic is there already.
    #[error("the topic {topic} exists already")]
    TopicExists {
        /// The topic.
        topic: TopicName,
    },
    /// Two names that Kafka's metrics cannot tell apart.
    #[error("the topic {topic} collides with {other}: Kafka takes . and _ in topic names for the same")]
    TopicCollides {
        /// The new topic.
        topic: TopicName,
        /// The one that is there.
        other: TopicName,
    },
    /// The name leaves no room for the partition number.
    #[error("{partitions} partitions are too many for a topic name of {} bytes: a folder name ends at 255", topic.as_str().len())]
    NameTooLong {
        /// The topic.
        topic: TopicName,
        /// How many partitions it was to have.
        partitions: i32,
    },
    /// No such partition.
    #[error("the topic {topic} has no partition {partition}; it has {}", shown(partitions))]
    PartitionNotFound {
        /// The topic.
        topic: TopicName,
        /// The partition.
        partition: i32,
        /// Those that it has.
        partitions: Vec<i32>,
    },
    /// Partitions are only ever added.
    #[error(
        "topic {topic} already has {current} partitions; the partition count can only be increased, not set to {requested}"
    )]
    NotMorePartitions {
        /// The topic.
        topic: TopicName,
        /// How many there are.
        current: usize,
        /// How many were asked for.
        requested: i32,
    },
    /// Another program has locked a file that only kdir locks.
    #[error("{} is locked by another program", path.display())]
    FileLocked {
        /// The file.
        path: PathBuf,
    },
    /// The topic's configuration is kept by its broker.
    #[error("the configuration and partitions of topic {topic} are in the metadata of a Kafka broker")]
    BrokerTopic {
        /// The topic.
        topic: TopicName,
    },
    /// Other brokers have a partition as well.
    #[error(
        "{partition} is replicated, on the brokers {}: what is appended here alone would be cut off",
        numbers(replicas)
    )]
    Replicated {
        /// The partition.
        partition: TopicPartition,
        /// The brokers that have it.
        replicas: Vec<i32>,
    },
    /// Its records are not to be compacted.
    #[error("topic {topic} is not compacted: its cleanup.policy is {}", policy.as_deref().unwrap_or("not known here"))]
    NotCompacted {
        /// The topic.
        topic: TopicName,
        /// What its configuration says; `None` where that is in a broker's metadata elsewhere.
        policy: Option<String>,
    },
    /// A topic that kdir made has no topic file: its configuration is not known.
    #[error("the topic file of {topic} is missing: {}", path.display())]
    TopicFileLost {
        /// The topic.
        topic: TopicName,
        /// Where it was.
        path: PathBuf,
    },
    /// A partition is missing in the middle, so that no rule says where a record goes.
    #[error(
        "the topic {topic} has {} here, not all from 0 on, so a record needs its partition named",
        shown(partitions)
    )]
    PartitionsHaveGaps {
        /// The topic.
        topic: TopicName,
        /// Those that are there.
        partitions: Vec<i32>,
    },
    /// Records of a compacted topic go by key, never by offset.
    #[error("the topic {topic} is compacted (cleanup.policy=compact): its records cannot be deleted by offset")]
    CompactedTopic {
        /// The topic.
        topic: TopicName,
    },
    /// A small file of the log dir is of a later format.
    #[error("{} is of a later format: {what}", path.display())]
    NewerFile {
        /// The file.
        path: PathBuf,
        /// Which format.
        what: String,
    },
    /// A small file of the log dir does not say what it should.
    #[error("{} is damaged: {what}", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// More than these are not named one by one.
const FOLDERS_SHOWN: usize = 3;

fn shown_folders(folders: &[SetAside]) -> String {
    let mut shown: Vec<String> = folders.iter().take(FOLDERS_SHOWN).map(SetAside::to_string).collect();
    if let more @ 1.. = folders.len().saturating_sub(FOLDERS_SHOWN) {
        shown.push(format!("and {more} more"));
    }
    shown.join(", ")
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Numbers with commas between them.
pub(crate) fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
}

fn shown(partitions: &[i32]) -> String {
    match partitions {
        [] => "no partitions".into(),
        [one] => format!("partition {one}"),
        [first, .., last] if (last - first) as usize + 1 == partitions.len() => format!("partitions {first} to {last}"),
        some => format!("partitions {}", numbers(some)),
    }
}

impl LogDirError {
    /// Whether it is about what is in one partition, so that others can be dealt with all the same. `roots` are the log
    /// dirs, whose own files are not one partition's.
    #[must_use]
    pub fn is_of_a_partition<'a>(&self, mut roots: impl Iterator<Item = &'a Path>) -> bool {
        match self {
            Self::Storage(error) => error.is_of_a_partition(),
            Self::FolderLost { .. }
            | Self::PartitionSetAside { .. }
            | Self::OtherTopicsFolder { .. }
            | Self::Disk(_) => true,
            Self::DamagedFile { path, .. } => roots.all(|root| path.parent() != Some(root)),
            _ => false,
        }
    }
}

/// What this floor returns.
pub type Result<T, E = LogDirError> = std::result::Result<T, E>;
