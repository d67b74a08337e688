//! Log dirs to read: one, or the several of a broker with many disks (JBOD, KIP-112), which are one to the eye.
//!
//! A partition is in one of them, with its rows in the checkpoint files there. Where two have it, neither is taken.

use super::{FoundTopics, LogDir, LogDirError, Origin, Partition, Result, Topic, TopicPattern, nearest, pattern};
use crate::disk::{Disk, Folder};
use crate::units::{SetAside, Timestamp, TopicName, TopicPartition};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Log dirs that are open to read. There is at least one.
#[derive(Clone)]
pub struct LogDirs(Vec<LogDir>);

impl From<LogDir> for LogDirs {
    fn from(only: LogDir) -> Self {
        Self(vec![only])
    }
}

impl LogDirs {
    /// Opens each of `roots`, of which there is at least one. Takes no lock and writes nothing.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn open(disk: &Arc<dyn Disk>, roots: &[PathBuf]) -> Result<Self> {
        let mut dirs: Vec<LogDir> = Vec::with_capacity(roots.len());
        for root in roots {
            let dir = LogDir::open(Arc::clone(disk), root)?;
            // By two paths it is still one.
            if dirs.iter().all(|known| known.root.id() != dir.root.id()) {
                dirs.push(dir);
            }
        }
        Self(dirs).with_one_cluster()
    }

    /// Opens each of `roots` to write, for this process alone.
    ///
    /// # Errors
    /// When one of them is missing, given twice, or in use.
    pub fn open_alone(disk: &Arc<dyn Disk>, roots: &[PathBuf]) -> Result<Self> {
        let dirs = roots.iter().map(|root| LogDir::open_alone(Arc::clone(disk), root)).collect::<Result<Vec<_>>>()?;
        Self(dirs).with_one_cluster()
    }

    /// A broker has the cluster's metadata in one of its log dirs.
    fn with_one_cluster(mut self) -> Result<Self> {
        for dir in &self.0 {
            if dir.cluster.is_here()? {
                let cluster = Arc::clone(&dir.cluster);
                self.0.iter_mut().for_each(|dir| dir.cluster = Arc::clone(&cluster));
                break;
            }
        }
        Ok(self)
    }

    /// Each of them.
    #[must_use]
    pub fn each(&self) -> &[LogDir] {
        &self.0
    }

    /// The first: for what does not depend on which.
    #[must_use]
    pub fn first(&self) -> &LogDir {
        &self.0[0]
    }

    /// Opens them again: what an open log dir knows of its checkpoint files is as old as itself.
    ///
    /// # Errors
    /// When one of them is missing.
    pub fn open_again(&self) -> Result<Self> {
        self.0.iter().map(|dir| LogDir::open(Arc::clone(&dir.disk), dir.root())).collect::<Result<_>>().map(Self)
    }

    /// Where they are.
    pub fn roots(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(LogDir::root)
    }

    /// When names in each of them changed last.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn modified(&self) -> Result<Vec<Timestamp>> {
        let of_dir = |dir: &LogDir| {
            Ok(dir.disk.stat(dir.root())?.map_or(Timestamp::default(), |stat| Timestamp(stat.modified_ms)))
        };
        self.0.iter().map(of_dir).collect()
    }

    /// Every topic, by name, and what keeps others from being read.
    ///
    /// # Errors
    /// When a root cannot be listed, or is the folder of a partition.
    pub fn find_topics(&self) -> Result<FoundTopics> {
        let found = match &self.0[..] {
            [only] => only.find_topics()?,
            several => self.find_in(several)?,
        };
        if found.topics.is_empty() && found.damaged.is_empty() {
            nearest::refuse_partition_folder(&self.0)?;
        }
        Ok(found)
    }

    fn find_in(&self, dirs: &[LogDir]) -> Result<FoundTopics> {
        let mut all = FoundTopics::default();
        let mut topics = BTreeMap::<TopicName, Vec<(usize, Topic)>>::new();
        for (home, dir) in dirs.iter().enumerate() {
            let found = dir.find_topics()?;
            all.damaged.extend(found.damaged);
            all.set_aside.extend(found.set_aside);
            for topic in found.topics {
                topics.entry(topic.name.clone()).or_default().push((home, topic));
            }
        }
        for (name, found) in topics {
            match self.together(found) {
                Ok(topic) => all.topics.extend(topic),
                Err(error @ LogDirError::PartitionTwice { .. }) => all.damaged.push((name, error)),
                Err(error) => return Err(error),
            }
        }
        all.set_aside.sort_by(|one, other| one.folder.cmp(&other.folder));
        Ok(all)
    }

    /// One topic out of what each log dir has of it.
    fn together(&self, found: Vec<(usize, Topic)>) -> Result<Option<Topic>> {
        let (mut homes, mut merged) = (BTreeMap::<i32, usize>::new(), None::<Topic>);
        for (home, topic) in found {
            for &partition in &topic.partitions {
                // A topic file counts partitions whose folders are elsewhere.
                if let Some(&other) = homes.get(&partition)
                    && let Some(one) = self.folder(other, &topic, partition)?
                {
                    match self.folder(home, &topic, partition)? {
                        Some(other) => return Err(LogDirError::PartitionTwice { one, other }),
                        None => continue,
                    }
                }
                homes.insert(partition, home);
            }
            // What a topic file says counts more.
            if merged.as_ref().is_none_or(|known| known.origin == Origin::Broker) {
                merged = Some(topic);
            }
        }
        Ok(merged.map(|topic| {
            let (partitions, homes) = homes.into_iter().unzip();
            Topic { partitions, homes, ..topic }
        }))
    }

    /// The path of a partition's folder in one of the log dirs, if it is there.
    fn folder(&self, home: usize, topic: &Topic, partition: i32) -> Result<Option<PathBuf>> {
        let (dir, partition) = (&self.0[home], topic.partition(partition)?);
        let is_there = dir.root.stat(&partition.folder_name())?.is_some_and(|stat| stat.is_folder);
        Ok(is_there.then(|| dir.partition_path(&partition)))
    }

    /// See [`LogDir::cleaned_topics`].
    ///
    /// # Errors
    /// See there.
    pub fn cleaned_topics(&self) -> Result<HashSet<TopicName>> {
        let mut cleaned = HashSet::new();
        self.0.iter().try_for_each(|dir| dir.cleaned_topics().map(|topics| cleaned.extend(topics)))?;
        Ok(cleaned)
    }

    /// The topic of that name, or the folder of that name that was set aside.
    ///
    /// # Errors
    /// When there is none, or two log dirs have one of its partitions.
    pub fn named(&self, name: &TopicName) -> Result<Topic> {
        if let Some((_, folder)) = self.set_aside(name)? {
            return Ok(folder);
        }
        let mut found = Vec::new();
        for (home, dir) in self.0.iter().enumerate() {
            found.extend(dir.find_topic(name)?.map(|topic| (home, topic)));
        }
        let topic = if self.0.len() == 1 { found.pop().map(|(_, topic)| topic) } else { self.together(found)? };
        topic.ok_or_else(|| nearest::topic_not_found(&self.0, name))
    }

    /// The folder of that name that was set aside, and in which log dir it is.
    pub(super) fn set_aside(&self, name: &TopicName) -> Result<Option<(usize, Topic)>> {
        let Some(folder) = SetAside::parse(name.as_str()) else { return Ok(None) };
        for (home, dir) in self.0.iter().enumerate() {
            if dir.root.stat(name.as_str())?.is_some_and(|stat| stat.is_folder) {
                return Ok(Some((home, Topic { homes: vec![home], ..Topic::of_set_aside(&folder) })));
            }
        }
        Ok(None)
    }

    /// The topics that are meant, each once: see [`LogDir::matching_topics`]. A name can be that of a folder that was set aside.
    ///
    /// # Errors
    /// When there is none for one of them, or one that is meant cannot be read.
    pub fn matching_topics(&self, patterns: &[TopicPattern]) -> Result<Vec<Topic>> {
        pattern::matching(patterns, &self.0, |name| self.named(name), || self.find_topics())
    }

    /// The folder of a partition, and the log dir that it is in.
    pub(super) fn open_folder(&self, partition: &TopicPartition) -> Result<Option<(&LogDir, Arc<dyn Folder>)>> {
        for dir in &self.0 {
            match dir.root.open_folder(&partition.folder_name()) {
                Ok(folder) => return Ok(Some((dir, folder))),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// The handle of one of a topic's partitions.
    ///
    /// # Errors
    /// When the topic does not have it.
    pub fn partition(&self, topic: &Topic, partition: i32) -> Result<Partition> {
        self.0[topic.home(partition)].partition(topic, partition)
    }

    /// The handles of all of a topic's partitions.
    ///
    /// # Errors
    /// None: a topic has its partitions.
    pub fn partitions(&self, topic: &Topic) -> Result<Vec<Partition>> {
        if topic.homes.is_empty() {
            return self.first().partitions(topic);
        }
        topic.partitions.iter().map(|&partition| self.partition(topic, partition)).collect()
    }
}
