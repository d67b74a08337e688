//! The topic `__consumer_offsets`, and where in it a group is.

use super::coordinator_log::{CoordinatorLog, PassedOver};
use super::group::Group;
use super::{GroupError, Result};
use crate::format::internal::InternalTopic;
use crate::logdir::{LogDirError, LogDirs, Partition, Topic};
use crate::units::{GroupId, TopicName, TopicPartition};
use std::collections::BTreeMap;

/// The topic, as it is in some log dirs. `None` inside where nothing was ever committed.
pub struct GroupsTopic<'a> {
    log_dirs: &'a LogDirs,
    topic: Option<Topic>,
}

/// Groups, and what kept others from being read.
#[derive(Default)]
pub struct FoundGroups {
    /// By their ids.
    pub groups: BTreeMap<GroupId, Group>,
    /// Records that say something else, or nothing that can be read.
    pub passed_over: Vec<(TopicPartition, PassedOver)>,
    /// Partitions that cannot be read, and why.
    pub failed: Vec<GroupError>,
}

impl<'a> GroupsTopic<'a> {
    /// Looks for it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn find(log_dirs: &'a LogDirs) -> Result<Self> {
        let topic = match log_dirs.named(&name()) {
            Err(LogDirError::TopicNotFound { .. }) => None,
            found => Some(found?),
        };
        Ok(Self { log_dirs, topic })
    }

    /// Every group.
    ///
    /// # Errors
    /// None that keeps the others from being read.
    pub fn all(&self) -> Result<FoundGroups> {
        let mut found = FoundGroups::default();
        for partition in self.partitions()? {
            match CoordinatorLog::open(&partition) {
                Ok(log) => found.add(&partition, log),
                Err(error) => found.failed.push(error),
            }
        }
        Ok(found)
    }

    /// The partitions whose folders are here.
    fn partitions(&self) -> Result<Vec<Partition>> {
        Ok(self.topic.as_ref().map_or(Ok(Vec::new()), |topic| self.log_dirs.partitions(topic))?)
    }
}

impl FoundGroups {
    fn add(&mut self, partition: &Partition, log: CoordinatorLog) {
        let passed_over = log.passed_over().iter().map(|record| (partition.id().clone(), record.clone()));
        self.passed_over.extend(passed_over);
        for (id, group) in log.into_groups() {
            // Of a group that is in two partitions, as no coordinator has it, all that was committed is shown.
            match self.groups.entry(id) {
                std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(group)),
                std::collections::btree_map::Entry::Occupied(mut place) => {
                    place.get_mut().committed.extend(group.committed)
                }
            }
        }
    }
}

fn name() -> TopicName {
    InternalTopic::ConsumerOffsets.name().parse().expect("the name of a topic")
}
