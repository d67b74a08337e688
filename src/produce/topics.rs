//! The topics of a run whose records name theirs.
//!
//! A topic is looked for when the first record names it, and belongs to the run from then on: where it is deleted and made
//! again, that is another topic, and storing fails.

use super::batcher::BatchRule;
use super::error::{Place, Problem, ProduceError, Result};
use super::partitioner::Partitioner;
use super::pipeline::Finishing;
use super::producer::Options;
use super::router::{Placement, Route};
use super::topic_writer::TopicWriter;
use crate::format::compression::Compression;
use crate::logdir::config::TopicConfig;
use crate::logdir::{Created, LogDir, LogDirError, NewTopic, Topic};
use crate::units::TopicName;
use std::collections::HashMap;

/// What becomes of a topic that is named and missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingTopic {
    /// The record makes none.
    Reject,
    /// The topic is made, with so many partitions.
    Create(i32),
}

/// What a topic's route is made of, beside the topic.
#[derive(Clone, Copy)]
pub(super) struct RouteRule {
    partition: Option<i32>,
    partitioner: Partitioner,
    compression: Option<Compression>,
    batch_size: u64,
}

impl RouteRule {
    pub(super) const fn new(options: &Options) -> Self {
        let &Options { partition, partitioner, compression, batch_size, .. } = options;
        Self { partition, partitioner, compression, batch_size }
    }

    /// The route before the first record, which it never leads anywhere.
    pub(super) fn to_nowhere(self, batch_size_max: usize) -> Route {
        let Self { partition, partitioner, batch_size, .. } = self;
        let finishing = Finishing { compression: Compression::default(), batch_size_max };
        Route {
            placement: Placement { partition, partitioner, partition_count: 0 },
            partitions: Vec::new(),
            batches: BatchRule { first_slot: 0, batch_size: batch_size.min(batch_size_max as u64) as usize, finishing },
            needs_key: false,
            next_in_turn: None,
        }
    }

    /// The route to a topic whose partition 0 has this slot.
    pub(super) fn route(self, topic: &Topic, partition_count: i32, first_slot: i32) -> Route {
        let config = topic.log_config();
        let batch_size_max = config.batch_size_max();
        let compression = self.compression.unwrap_or_else(|| topic.compression());
        Route {
            placement: Placement { partition: self.partition, partitioner: self.partitioner, partition_count },
            partitions: topic.partitions.clone(),
            batches: BatchRule {
                first_slot,
                batch_size: self.batch_size.min(batch_size_max as u64) as usize,
                finishing: Finishing { compression, batch_size_max },
            },
            needs_key: config.cleanup_policy.compact,
            next_in_turn: None,
        }
    }
}

/// The topics that records have named so far.
pub(super) struct Topics {
    log_dir: LogDir,
    missing: MissingTopic,
    rule: RouteRule,
    /// Where the last record went; nowhere before the first.
    current: Option<TopicName>,
    /// The routes to all others.
    others: HashMap<TopicName, Route>,
}

impl Topics {
    pub(super) fn new(log_dir: LogDir, missing: MissingTopic, rule: RouteRule) -> Self {
        Self { log_dir, missing, rule, current: None, others: HashMap::new() }
    }

    /// The longest record that any topic takes. One that is made later may take longer ones.
    ///
    /// # Errors
    /// When the topics cannot be listed.
    pub(super) fn record_size_max(&self) -> Result<usize> {
        let found = self.log_dir.find_topics()?.topics;
        let default = TopicConfig::default();
        let of_new = default.integer("max.message.bytes").min(default.integer("segment.bytes")) as usize;
        Ok(found.iter().map(|topic| topic.log_config().batch_size_max()).fold(of_new, usize::max))
    }

    /// Whether the last record went to the topic of this name.
    #[inline(always)]
    pub(super) fn is_current(&self, name: &str) -> bool {
        self.current.as_ref().is_some_and(|current| current.as_str() == name)
    }

    /// Replaces `route` by that to the topic of this name, which is another than it leads to.
    ///
    /// # Errors
    /// [`ProduceError::Refused`] where records cannot go to a topic of that name; another where the log dir fails.
    pub(super) fn go_to(
        &mut self,
        name: &TopicName,
        route: &mut Route,
        place: impl FnOnce() -> Place,
        writer: &mut TopicWriter,
    ) -> Result<()> {
        let next = match self.others.remove(name) {
            Some(known) => known,
            None => {
                let topic = self.find_or_create(name, place)?;
                let count = topic.partition_count()?;
                let first_slot = writer.add(topic.clone())?;
                self.rule.route(&topic, count, first_slot)
            }
        };
        let before = std::mem::replace(route, next);
        if let Some(current) = self.current.replace(name.clone()) {
            self.others.insert(current, before);
        }
        Ok(())
    }

    fn find_or_create(&self, name: &TopicName, place: impl FnOnce() -> Place) -> Result<Topic> {
        let partitions = match (self.log_dir.topic(name), self.missing) {
            (Err(LogDirError::TopicNotFound { .. }), MissingTopic::Create(partitions)) => partitions,
            (Err(LogDirError::TopicNotFound { topic, .. }), MissingTopic::Reject) => {
                return Err(Problem::NoSuchTopic { place: place(), topic }.into());
            }
            (found, _) => return Ok(found?),
        };
        let new = NewTopic { name: name.clone(), partitions, config: TopicConfig::default() };
        match self.log_dir.create_topic(&new) {
            Ok(Created::New(topic) | Created::Existing(topic)) => Ok(topic),
            Err(error @ (LogDirError::TopicCollides { .. } | LogDirError::NameTooLong { .. })) => {
                Err(Problem::BadTopic { place: place(), what: error.to_string() }.into())
            }
            Err(error) => Err(ProduceError::LogDir(error)),
        }
    }
}
