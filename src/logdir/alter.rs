//! Changes topics: configuration, and more partitions.
//!
//! The topic file is replaced under the root lock. A crash leaves the old file or the new; partitions that the new one
//! counts and that have no folder yet are empty, and made by the next writer.

use super::config::TopicConfig;
use super::{LogDir, LogDirError, Origin, Result, Topic};
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
        let _lock = self.lock_root()?;
        let mut topic = self.topic(name)?;
        let alteration = change(&topic)?;
        Ok(self.apply_alteration(&mut topic, alteration).map(|()| topic)?)
    }

    fn apply_alteration(&self, topic: &mut Topic, alteration: Alteration) -> Result<()> {
        if topic.origin == Origin::Broker {
            return Err(LogDirError::BrokerTopic { topic: topic.name.clone() });
        }
        if let Some(config) = alteration.config {
            topic.config = config;
        }
        let current = topic.partitions.len();
        if let Some(requested) = alteration.partitions {
            self.refuse_broker_owned()?;
            self.refuse_long_folder_name(&topic.name, requested)?;
            if requested <= current as i32 {
                return Err(LogDirError::NotMorePartitions { topic: topic.name.clone(), current, requested });
            }
            topic.partitions = (0..requested).collect();
        }
        topic.write(&*self.disk, &self.root)?;
        for &partition in &topic.partitions[current..] {
            self.make_partition(topic, &topic.partition(partition)?)?;
        }
        self.sync_root()
    }
}
