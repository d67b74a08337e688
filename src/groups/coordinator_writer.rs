//! Writes what is known of one group into its partition of `__consumer_offsets`.
//!
//! What belongs together is one batch of records: it has one checksum, and a group is in one partition, so that all of it
//! counts or nothing does. It is appended under that partition's guard, with the log replayed up to it; it is made durable
//! without the guard, so that processes that write at the same time share syncs. States that a crash can leave: what was there
//! before; or this, which a power failure may take back until it was synced.

use super::coordinator_log::CoordinatorLog;
use super::group::Group;
use super::{GroupError, Result};
use crate::format::batch::BatchBuilder;
use crate::format::internal::InternalTopic;
use crate::format::record::NewRecord;
use crate::logdir::config::TopicConfig;
use crate::logdir::{CompactOptions, Created, LogDir, NewTopic, Partition, Topic};
use crate::storage::clean::{ActiveSegment, Watch};
use crate::storage::{self, Durability, LogConfig, LogWriter, SyncFor};
use crate::units::{GroupId, Timestamp, TopicName, TopicPartition};
use std::collections::BTreeSet;

/// As many partitions as Kafka's own topics of coordinators have.
const PARTITIONS: i32 = 50;
/// Kafka's are 100 MiB. With as little as its later releases allow, old commits are soon compacted.
const CONFIG: [(&str, &str); 3] =
    [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "1048576")];

/// For keys of a segment or two.
const COMPACTION_MEMORY: u64 = 1 << 20;

/// A group's place in `__consumer_offsets`, to be written to.
pub(super) struct CoordinatorWriter {
    group: GroupId,
    partition: Partition,
    replayed: CoordinatorLog,
    writer: Option<LogWriter>,
    /// The configuration of the topic; `None` where a broker has the log dir.
    own_config: Option<LogConfig>,
}

/// A record to be written; without a value a tombstone.
pub(super) struct CoordinatorRecord {
    pub(super) key: Vec<u8>,
    pub(super) value: Option<Vec<u8>>,
}

impl CoordinatorWriter {
    /// Opens the place of a group. Makes the topic where there is none.
    pub(super) fn open(log_dir: &LogDir, group: &GroupId) -> Result<Self> {
        let (topic, partition) = place_of(log_dir, group)?;
        let own_config = log_dir.decides_on(&topic)?.then(|| topic.log_config());
        Self::of(partition, group.clone(), own_config)
    }

    /// Opens a partition of the topic for one of its groups.
    pub(super) fn of(partition: Partition, group: GroupId, own_config: Option<LogConfig>) -> Result<Self> {
        let replayed = match CoordinatorLog::open(&partition) {
            // What a power failure has left is corruption to a reader, and settled by a writer.
            Err(_) => partition.settle().map_err(GroupError::from).and_then(|()| CoordinatorLog::open(&partition))?,
            opened => opened?,
        };
        Ok(Self { group, partition, replayed, writer: None, own_config })
    }

    /// The group's id.
    pub(super) const fn id(&self) -> &GroupId {
        &self.group
    }

    /// What is known of the group by now.
    pub(super) fn group(&mut self) -> Result<Option<&Group>> {
        self.catch_up()?;
        Ok(self.replayed.group(&self.group))
    }

    /// Appends the records that `make` gives, for what the group is under the guard and what it has in open transactions, and
    /// makes them durable.
    pub(super) fn append(
        &mut self,
        now: Timestamp,
        make: impl FnOnce(Option<&Group>, &BTreeSet<TopicPartition>) -> Result<Vec<CoordinatorRecord>>,
    ) -> Result<()> {
        let guard = self.partition.guard()?;
        self.catch_up()?;
        let records = make(self.replayed.group(&self.group), &self.replayed.pending(&self.group))?;
        if records.is_empty() {
            return Ok(());
        }
        let mut builder = BatchBuilder::new(0);
        for record in &records {
            let (key, value) = (Some(&record.key[..]), record.value.as_deref());
            builder.push(&NewRecord { timestamp: now, key, value, headers: &[] });
        }
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(LogWriter::open(&guard, Durability::Synced, now)?),
        };
        let batch = builder.finish(None, usize::MAX).expect("records that are not compressed fit a batch");
        let appended = writer.append(&guard, &mut [batch], now)?;
        drop(guard);
        storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        if appended.rolled { self.compact(now) } else { Ok(()) }
    }

    /// Compacts what is in closed segments, in a log dir of our own: a broker does it for itself. Who compacts already does it
    /// for all, and where there is no room for it, what was committed stands.
    fn compact(&self, now: Timestamp) -> Result<()> {
        let Some(config) = &self.own_config else { return Ok(()) };
        let options = CompactOptions {
            config: config.clone(),
            is_forced: true,
            active_segment: ActiveSegment::Stays,
            memory: COMPACTION_MEMORY,
            min_gain_percent: 0,
        };
        let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
        match self.partition.compact(&options, now, &mut Vec::new(), &mut watch).map_err(GroupError::from) {
            Err(error) if !error.is_full() => Err(error),
            _ => Ok(()),
        }
    }

    /// A log that had no folder yet is another one once it has.
    fn catch_up(&mut self) -> Result<()> {
        if self.replayed.has_folder() {
            return self.replayed.catch_up();
        }
        self.replayed = CoordinatorLog::open(&self.partition)?;
        Ok(())
    }

    /// Ends the writing, for one who may yet write more. When the disk fails, the next who writes checks more than it had to.
    pub(super) fn end(&mut self, now: Timestamp) -> Result<()> {
        match self.writer.take() {
            Some(mut writer) => Ok(self.partition.close(&mut writer, now)?),
            None => Ok(()),
        }
    }
}

/// The partition that a group is in.
fn place_of(log_dir: &LogDir, group: &GroupId) -> Result<(Topic, Partition)> {
    let topic = find_or_make(log_dir, InternalTopic::ConsumerOffsets, &CONFIG)?;
    // Of the topic of a broker, whose other partitions may be on other brokers, only the folders are known.
    if topic.is_of_broker() {
        let partition = place_in_broker_topic(log_dir, &topic, group)?;
        return Ok((topic, partition));
    }
    let partition = log_dir.partition(&topic, group.partition_of(topic.partition_count()?))?;
    Ok((topic, partition))
}

fn place_in_broker_topic(log_dir: &LogDir, topic: &Topic, group: &GroupId) -> Result<Partition> {
    if let Ok(count) = topic.partition_count() {
        return Ok(log_dir.partition(topic, group.partition_of(count))?);
    }
    for partition in log_dir.partitions(topic)? {
        if CoordinatorLog::open(&partition)?.group(group).is_some() {
            return Ok(partition);
        }
    }
    Err(GroupError::Elsewhere { group: group.clone(), log_dir: log_dir.root().to_owned() })
}

/// The topic of a coordinator, made with this configuration where there is none.
pub(super) fn find_or_make(log_dir: &LogDir, topic: InternalTopic, config: &[(&str, &str)]) -> Result<Topic> {
    let name: TopicName = topic.name().parse().expect("the name of a topic");
    if let Some(topic) = log_dir.find_topic(&name)? {
        log_dir.refuse_replicated(&topic)?;
        return Ok(topic);
    }
    let mut made_with = TopicConfig::default();
    for (key, value) in config {
        made_with.set(key, value).expect("a configuration of our own is valid");
    }
    let new = NewTopic { name, partitions: PARTITIONS, config: made_with };
    match log_dir.declare_topic(&new)? {
        Created::New(topic) | Created::Existing(topic) => Ok(topic),
    }
}
