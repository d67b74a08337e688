//! What `__share_group_state` says of share groups, for who reads only.
//!
//! Where the topic is kdir's, the place of a state is known. Of a broker's, whose other partitions may be on other brokers, only
//! the folders are known that are here: all of them are read.

use super::Result;
use super::group::{Group, GroupKind};
use super::share_group::{share_key, state_partition_of, state_topic_name};
use super::share_log::ShareLog;
use super::share_state::ShareState;
use crate::format::internal::share_records::ShareKey;
use crate::logdir::{LogDirError, LogDirs, Partition, Topic};
use crate::units::{GroupId, Offset, Timestamp, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use uuid::Uuid;

/// The states of share groups, each partition of the topic read when it is asked for.
pub struct ShareReader {
    log_dirs: LogDirs,
    /// `None` where there never was a state.
    topic: Option<Topic>,
    logs: BTreeMap<i32, ShareLog>,
}

impl ShareReader {
    /// Those in some log dirs.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn find(log_dirs: &LogDirs) -> Result<Self> {
        let topic = match log_dirs.named(&state_topic_name()) {
            Err(LogDirError::TopicNotFound { .. }) => None,
            found => Some(found?),
        };
        Ok(Self { log_dirs: log_dirs.clone(), topic, logs: BTreeMap::new() })
    }

    /// The partitions of the topic that may have the state of a key.
    fn places_of(&self, key: &ShareKey) -> Vec<i32> {
        let Some(topic) = &self.topic else { return Vec::new() };
        match topic.partition_count() {
            Ok(count) if !topic.is_of_broker() => vec![state_partition_of(key, count)],
            _ => topic.partitions.clone(),
        }
    }

    /// The log that has a state, as it was read last.
    fn log_of(&mut self, key: &ShareKey) -> Result<Option<&ShareLog>> {
        let (mut found, mut failed) = (None, None);
        for number in self.places_of(key) {
            match self.read(number) {
                Ok(log) if log.state(key).is_some() => {
                    found = Some(number);
                    break;
                }
                Ok(_) => {}
                // It may be in another one.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        match (found, failed) {
            (Some(number), _) => Ok(self.logs.get(&number)),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }

    fn read(&mut self, number: i32) -> Result<&ShareLog> {
        if let (false, Some(topic)) = (self.logs.contains_key(&number), &self.topic) {
            let log = ShareLog::open(None, self.log_dirs.partition(topic, number)?)?;
            self.logs.insert(number, log);
        }
        Ok(&self.logs[&number])
    }

    /// The state of a key, as it was read last; `None` where there is none.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn state(&mut self, key: &ShareKey) -> Result<Option<&ShareState>> {
        Ok(self.log_of(key)?.and_then(|log| log.state(key)))
    }

    /// The newest time of the records of a group.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn written_at(&mut self, (id, group): (&GroupId, &Group)) -> Result<Option<Timestamp>> {
        let mut newest = None;
        for (topic_id, (_, partitions)) in &group.share.initialized {
            for &partition in partitions {
                let key = share_key(id, *topic_id, partition);
                newest = newest.max(self.log_of(&key)?.and_then(|log| log.written_at(&key)));
            }
        }
        Ok(newest)
    }

    /// The offset from which on a share group has something to do in a partition; `None` where it has no state of it, or a
    /// broker is yet to choose it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn start_offset(
        &mut self,
        (id, group): (&GroupId, &Group),
        partition: &TopicPartition,
        topic_id: Option<Uuid>,
    ) -> Result<Option<Offset>> {
        let state = self.state_in((id, group), partition, topic_id)?;
        Ok(state.and_then(ShareState::start_offset))
    }

    fn state_in(
        &mut self,
        (id, group): (&GroupId, &Group),
        partition: &TopicPartition,
        topic_id: Option<Uuid>,
    ) -> Result<Option<&ShareState>> {
        let known = group.share_topic(&partition.topic, topic_id);
        match known.filter(|(_, partitions)| partitions.contains(&partition.partition)) {
            Some((topic_id, _)) => self.state(&share_key(id, topic_id, partition.partition)),
            None => Ok(None),
        }
    }

    /// How many of some offsets of a partition a group has not read, or a share group is not done with; none of a topic that it
    /// does not read.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn unread_in(
        &mut self,
        (id, group): (&GroupId, &Group),
        (partition, topic_id): (&TopicPartition, Option<Uuid>),
        offsets: &Range<Offset>,
    ) -> Result<u64> {
        if group.kind() != GroupKind::Share {
            return Ok(group.unread_in(partition, offsets));
        }
        if group.share_topic(&partition.topic, topic_id).is_none() {
            return Ok(0);
        }
        let all = u64::try_from(offsets.end - offsets.start).unwrap_or(0);
        let state = self.state_in((id, group), partition, topic_id)?;
        Ok(state.map_or(all, |state| state.unfinished_in(offsets)))
    }

    /// Reads what has come since to the logs that were read.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn catch_up(&mut self) -> Result<()> {
        self.logs.values_mut().try_for_each(ShareLog::catch_up)
    }

    /// The partitions that may have the states of some keys, in order.
    pub(super) fn partitions_of(&self, keys: &[ShareKey]) -> Result<Vec<Partition>> {
        let Some(topic) = &self.topic else { return Ok(Vec::new()) };
        let numbers: BTreeSet<i32> = keys.iter().flat_map(|key| self.places_of(key)).collect();
        numbers.into_iter().map(|number| Ok(self.log_dirs.partition(topic, number)?)).collect()
    }
}
