//! What log dirs hold that is to be handed over, and what has to be settled before.

use super::broker_config::{self, ConfigChange, UNLIMITED};
use super::broker_file::BrokerFile;
use super::identity::new_id;
use super::options::{Expiring, PromoteOptions};
use super::plan::{PlannedPartition, PlannedTopic};
use super::producer_ids;
use super::share_groups::{self, PlannedShareGroup};
use super::{Refusal, Result};
use crate::format::internal::InternalTopic;
use crate::groups::{Group, GroupKind, GroupsTopic};
use crate::logdir::{LimitOverrides, LogDirError, LogDirs, Partition, Topic};
use crate::storage::{self, latest_epoch};
use crate::units::{GroupId, Offset, SetAsideKind, Timestamp, TopicName};
use std::collections::HashMap;
use uuid::Uuid;

/// A broker gives producer ids out by so many.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// What is found in log dirs, topic by topic.
pub(super) struct Survey<'a> {
    log_dirs: &'a LogDirs,
    options: &'a PromoteOptions,
    now: Timestamp,
    pub(super) refusals: Vec<Refusal>,
    /// The largest producer id of any batch.
    largest_producer_id: Option<i64>,
}

impl<'a> Survey<'a> {
    pub(super) const fn new(log_dirs: &'a LogDirs, options: &'a PromoteOptions, now: Timestamp) -> Self {
        Self { log_dirs, options, now, refusals: Vec::new(), largest_producer_id: None }
    }

    pub(super) fn topics(&mut self) -> Result<Vec<PlannedTopic>> {
        let found = self.log_dirs.find_topics()?;
        // Folders of deleted partitions are removed by the next writer or broker.
        let set_aside = found.set_aside.into_iter().filter(|folder| folder.kind != SetAsideKind::Deleting);
        self.refusals.extend(set_aside.map(|folder| Refusal::SetAside { folder }));
        self.refusals.extend(found.damaged.into_iter().map(|(_, error)| Refusal::Unreadable(error)));
        let mut topics = Vec::with_capacity(found.topics.len());
        for topic in found.topics {
            for dir in self.log_dirs.each() {
                dir.refuse_lost_file(&topic)?;
            }
            if topic.partition_count().is_err() {
                self.refusals.push(Refusal::PartitionsHaveGaps { topic: topic.name.clone() });
                continue;
            }
            topics.extend(self.topic(topic)?);
        }
        self.refuse_same_ids(&topics);
        Ok(topics)
    }

    /// `None` where it cannot be read, which is refused.
    fn topic(&mut self, topic: Topic) -> Result<Option<PlannedTopic>> {
        let handles = self.log_dirs.partitions(&topic)?;
        let ids_found: Vec<Option<Uuid>> = match handles.iter().map(Partition::incarnation).collect() {
            Ok(known) => known,
            Err(error) => return self.unreadable(error),
        };
        let ids: Vec<Uuid> = ids_found.iter().flatten().copied().collect();
        if ids.iter().any(|id| *id != ids[0]) {
            self.refusals.push(Refusal::TopicIdsDiffer { topic: topic.name });
            return Ok(None);
        }
        let topic_id = ids.first().copied().unwrap_or_else(new_id);
        let mut partitions = Vec::with_capacity(handles.len());
        for partition in &handles {
            match self.partition(&topic, partition) {
                Ok(planned) => partitions.push(planned),
                Err(error) => return self.unreadable(error),
            }
        }
        let known = topic.with_known_config();
        let (mut config, changes) = broker_config::for_broker(&known.config, self.options.release);
        let mut planned = PlannedTopic {
            topic,
            topic_id,
            partitions,
            config: Vec::new(),
            changes,
            needs_id: ids_found.contains(&None),
        };
        if planned.expiring() > 0 {
            match self.options.expiring {
                Expiring::Delete => {}
                Expiring::Refuse => self.refusals.push(expiring(&planned)),
                Expiring::Keep => {
                    config.retain(|(key, _)| UNLIMITED.iter().all(|(unlimited, _)| key != unlimited));
                    config.extend(UNLIMITED.map(|(key, value)| (key.to_owned(), value.to_owned())));
                    let change = |(key, to): (&str, &str)| {
                        let from = planned.topic.config.text(key).to_owned();
                        ConfigChange { key: key.to_owned(), from, to: Some(to.to_owned()) }
                    };
                    let kept = UNLIMITED.map(change);
                    planned.changes.extend(kept.into_iter().filter(|change| change.to.as_ref() != Some(&change.from)));
                    planned.partitions.iter_mut().for_each(|partition| partition.expiring = 0);
                }
            }
        }
        Ok(Some(PlannedTopic { config, ..planned }))
    }

    fn unreadable<T>(&mut self, error: LogDirError) -> Result<Option<T>> {
        self.refusals.push(Refusal::Unreadable(error));
        Ok(None)
    }

    fn partition(
        &mut self,
        topic: &Topic,
        partition: &Partition,
    ) -> std::result::Result<PlannedPartition, LogDirError> {
        let view = partition.view()?;
        let folder = partition.folder()?;
        let latest = folder.map(|folder| latest_epoch(&*folder)).transpose()?.flatten();
        let (start, end) = (view.log_start_offset(), view.log_end_offset()?);
        let going = match topic.with_known_config().log_config().cleanup_policy.delete {
            true => self.first_check(topic, partition)?,
            false => None,
        };
        self.largest_producer_id = self.largest_producer_id.max(storage::largest_producer_id(&view)?);
        // There may be more partitions than descriptors.
        partition.let_go()?;
        Ok(PlannedPartition {
            partition: partition.id().partition,
            log_start_offset: start,
            log_end_offset: end,
            expiring: going.map_or(0, |next| (next - start).max(0)),
            leader_epoch: latest.unwrap_or(0),
            home: topic.home(partition.id().partition),
        })
    }

    /// Up to where a broker deletes by the limits of the topic, and by its own defaults where the topic has none.
    fn first_check(&self, topic: &Topic, partition: &Partition) -> std::result::Result<Option<Offset>, LogDirError> {
        let limit = |key| Some(topic.config.integer(key));
        let limits = LimitOverrides { retention_ms: limit("retention.ms"), retention_bytes: limit("retention.bytes") };
        let planned = partition.plan_retention(limits, self.now)?;
        Ok(planned.plan.going().map(|decision| decision.next_offset).max())
    }

    fn refuse_same_ids(&mut self, topics: &[PlannedTopic]) {
        let mut seen = HashMap::<Uuid, &TopicName>::new();
        for PlannedTopic { topic, topic_id, .. } in topics {
            if let Some(one) = seen.insert(*topic_id, &topic.name) {
                self.refusals.push(Refusal::SameTopicId { one: one.clone(), other: topic.name.clone() });
            }
        }
    }

    /// The groups whose offsets a broker would forget for their age, and the share groups.
    pub(super) fn groups(&self) -> Result<(Vec<GroupId>, Vec<PlannedShareGroup>)> {
        let found = GroupsTopic::find(self.log_dirs)?.all()?;
        if let Some(error) = found.failed.into_iter().next() {
            return Err(error.into());
        }
        let is_old = |group: &Group| {
            matches!(group.kind(), GroupKind::Classic | GroupKind::Consumer) && !group.committed.is_empty()
        };
        // A log that cannot be read is among the refusals.
        let share_groups = match self.refusals.is_empty() {
            true => share_groups::of(&found.groups, self.log_dirs)?,
            false => Vec::new(),
        };
        Ok((found.groups.into_iter().filter(|(_, group)| is_old(group)).map(|(id, _)| id).collect(), share_groups))
    }

    /// A share group that was deleted has left tombstones, which such a broker cannot read either.
    pub(super) fn refuse_share_groups(&mut self, topics: &[PlannedTopic], metadata_version: i16) {
        let is_state = |planned: &PlannedTopic| planned.topic.name.as_str() == InternalTopic::ShareGroupState.name();
        if share_groups::are_unreadable(metadata_version) && topics.iter().any(is_state) {
            self.refusals.push(Refusal::ShareGroups);
        }
    }

    /// The first producer id that no batch has, and no transactional id.
    pub(super) fn next_producer_id(&self, remembered: Option<&BrokerFile>) -> Result<i64> {
        let largest = self.largest_producer_id.max(producer_ids::largest_of_transactions(self.log_dirs)?);
        let after = largest.map_or(0, |id: i64| (id / PRODUCER_ID_BLOCK + 1) * PRODUCER_ID_BLOCK);
        Ok(after.max(remembered.map_or(0, |it| it.next_producer_id)))
    }
}

fn expiring(planned: &PlannedTopic) -> Refusal {
    let limits = UNLIMITED.map(|(key, _)| format!("{key}={}", planned.topic.config.text(key)));
    let why = match planned.topic.is_of_broker() {
        true => "by its default of 7 days: what the topic's own limit was is not known here".to_owned(),
        false => format!("by {}", limits.join(" and ")),
    };
    Refusal::Expiring { topic: planned.topic.name.clone(), records: planned.expiring(), why }
}
