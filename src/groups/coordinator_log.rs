//! A partition of `__consumer_offsets`, replayed as a group coordinator replays it.
//!
//! The last value of a key counts. What was committed in a transaction counts once that is committed, unless the partition
//! was committed again since. What cannot be read is passed over and counted: it stops nobody.

use super::Result;
use super::group::{Committed, Group, committed_of, offset_of};
use crate::format::internal::{InternalTopic, Part};
use crate::format::record::Record;
use crate::format::txn::ControlType;
use crate::logdir::Partition;
use crate::storage::{BatchRecords, LogReader, Next};
use crate::units::{GroupId, Offset, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// The groups of a partition, as far as its log has been read.
pub struct CoordinatorLog {
    log: LogReader,
    records: BatchRecords,
    groups: Groups,
}

/// Groups by their ids.
#[derive(Default)]
struct Groups {
    groups: BTreeMap<GroupId, Group>,
    /// Offsets of transactions that have not ended, by producer.
    pending: HashMap<i64, Vec<(GroupId, TopicPartition, Committed)>>,
    passed_over: Vec<PassedOver>,
}

/// A record that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Its offset.
    pub offset: Offset,
    /// Why.
    pub what: String,
}

impl CoordinatorLog {
    /// Replays what is there now.
    ///
    /// # Errors
    /// When the log is corrupt, or the disk fails.
    pub fn open(partition: &Partition) -> Result<Self> {
        let mut log =
            Self { log: partition.reader(CHUNK)?, records: BatchRecords::default(), groups: Groups::default() };
        log.catch_up()?;
        Ok(log)
    }

    /// Replays what has come since.
    ///
    /// # Errors
    /// As [`CoordinatorLog::open`].
    pub fn catch_up(&mut self) -> Result<()> {
        let Self { log, records, groups } = self;
        loop {
            match log.next()? {
                Next::Batch(header) if header.attributes.is_control() => {
                    if let Some(ended) = records.control_type(log, &header)? {
                        groups.end_transaction(header.producer_id, ended);
                    }
                }
                Next::Batch(header) => {
                    let producer = header.attributes.is_transactional().then_some(header.producer_id);
                    records.each(log, &header, &mut |offset, record| groups.apply(offset, &record, producer))?;
                }
                // A compaction has left nothing older, or retention was applied by hand.
                Next::LogStartPassed { .. } => {}
                Next::End => return Ok(()),
            }
        }
    }

    /// Whether there was a log when it was opened.
    #[must_use]
    pub fn has_folder(&self) -> bool {
        self.log.view().has_folder()
    }

    /// The groups, by their ids.
    #[must_use]
    pub fn into_groups(self) -> BTreeMap<GroupId, Group> {
        self.groups.groups
    }

    /// The groups, in the order of their ids.
    pub fn groups(&self) -> impl Iterator<Item = (&GroupId, &Group)> {
        self.groups.groups.iter()
    }

    /// A group, if something is known of it.
    #[must_use]
    pub fn group(&self, id: &GroupId) -> Option<&Group> {
        self.groups.groups.get(id)
    }

    /// The partitions that a group has sent offsets of in transactions that have not ended.
    #[must_use]
    pub fn pending(&self, id: &GroupId) -> BTreeSet<TopicPartition> {
        let sent = self.groups.pending.values().flatten();
        sent.filter(|(of, ..)| of == id).map(|(_, partition, _)| partition.clone()).collect()
    }

    /// What could not be read.
    #[must_use]
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.groups.passed_over
    }
}

impl Groups {
    fn apply(&mut self, offset: Offset, record: &Record<'_>, producer: Option<i64>) {
        let decoded = InternalTopic::ConsumerOffsets.decode(record.key, record.value);
        let (key_type, key) = match decoded.key {
            Ok(Part::Key { key_type, data }) => (key_type, data),
            Ok(_) => return self.pass_over(offset, "a record without a key".into()),
            Err(error) => return self.pass_over(offset, error.to_string()),
        };
        let value = match decoded.value {
            Ok(Part::Value { data, .. }) => Some(data),
            Ok(_) => None,
            Err(error) => return self.pass_over(offset, format!("the value of a record of type {key_type}: {error}")),
        };
        let id = key.text("group").or_else(|| key.text("groupId")).unwrap_or_default();
        let id: GroupId = match id.parse() {
            Ok(id) => id,
            Err(error) => return self.pass_over(offset, format!("a record of type {key_type}: {error}")),
        };
        match offset_of(key_type, &key) {
            Some(Err(error)) => self.pass_over(offset, error),
            Some(Ok(partition)) => {
                let committed = value.map(|value| committed_of(&value, offset));
                match (producer, committed) {
                    (Some(producer), Some(committed)) => {
                        self.pending.entry(producer).or_default().push((id, partition, committed));
                    }
                    (_, committed) => self.commit(id, partition, committed),
                }
            }
            None => {
                let group = self.groups.entry(id.clone()).or_default();
                group.apply(key_type, &key, value.as_ref());
                if group.is_gone() {
                    self.groups.remove(&id);
                }
            }
        }
    }

    /// Without an offset, what transactions have sent that are open is gone as well: a broker of 4 reads a tombstone so, and
    /// older ones write it so.
    fn commit(&mut self, id: GroupId, partition: TopicPartition, committed: Option<Committed>) {
        let Some(committed) = committed else {
            for sent in self.pending.values_mut() {
                sent.retain(|(of, at, _)| (of, at) != (&id, &partition));
            }
            let Some(group) = self.groups.get_mut(&id) else { return };
            group.committed.remove(&partition);
            if group.is_gone() {
                self.groups.remove(&id);
            }
            return;
        };
        self.groups.entry(id).or_default().committed.insert(partition, committed);
    }

    fn end_transaction(&mut self, producer: i64, ended: ControlType) {
        if matches!(ended, ControlType::Other(_)) {
            return;
        }
        let pending = self.pending.remove(&producer).unwrap_or_default();
        if ended == ControlType::Abort {
            return;
        }
        for (id, partition, committed) in pending {
            let since = self.groups.get(&id).and_then(|group| group.committed.get(&partition));
            if since.is_none_or(|since| since.record_offset < committed.record_offset) {
                self.commit(id, partition, Some(committed));
            }
        }
    }

    fn pass_over(&mut self, offset: Offset, what: String) {
        self.passed_over.push(PassedOver { offset, what });
    }
}
