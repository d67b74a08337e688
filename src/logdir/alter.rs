//! Changes topics: configuration, and more partitions.
//!
//! The topic file is replaced under the root lock; the folders of new partitions are made after it, as when a topic is made.
//! A crash leaves the old file or the new; partitions that the new one counts and that have no folder yet are empty, and
//! made by the next writer.

use super::config::TopicConfig;
use super::{LogDir, LogDirError, Result, Topic};
use crate::units::TopicName;

/// What is to change.
#[derive(Debug, Default)]
pub struct Alteration {
    /// The new configuration in full; `None` leaves it.
    pub config: Option<TopicConfig>,
    /// The new number of partitions; `None` leaves it.
    pub partitions: Option<i32>,
}

impl LogDir {
    /// Changes a topic. `change` is given the topic as it is under the lock and says what is to change.
    ///
    /// # Errors
    /// When there is no such topic, it is a broker's, there would be fewer partitions, or `change` refuses.
    pub fn alter_topic<E: From<LogDirError>>(
        &self,
        name: &TopicName,
        change: impl FnOnce(&Topic) -> std::result::Result<Alteration, E>,
    ) -> std::result::Result<Topic, E> {
        let lock = self.lock_root()?;
        let mut topic = self.topic(name)?;
        let known = topic.partitions.len();
        let alteration = change(&topic)?;
        self.apply_alteration(&mut topic, alteration)?;
        drop(lock);
        self.make_partitions(&topic, &topic.partitions[known..])?;
        Ok(topic)
    }

    fn apply_alteration(&self, topic: &mut Topic, alteration: Alteration) -> Result<()> {
        if !self.decides_on(topic)? {
            self.refuse_lost_file(topic)?;
            return Err(LogDirError::BrokerTopic { topic: topic.name.clone() });
        }
        if let Some(config) = alteration.config {
            topic.config = config;
        }
        let current = topic.partitions.len();
        if let Some(requested) = alteration.partitions {
            self.refuse_long_folder_name(&topic.name, requested)?;
            if requested <= current as i32 {
                return Err(LogDirError::NotMorePartitions { topic: topic.name.clone(), current, requested });
            }
            self.refuse_folders_in_the_way(&topic.name, current as i32..requested)?;
            topic.partitions = (0..requested).collect();
            let added =
                topic.partitions[current..].iter().map(|&it| topic.partition(it)).collect::<Result<Vec<_>>>()?;
            self.refuse_strays_of(&added)?;
        }
        topic.write(&*self.root)
    }
}
