//! A partition of `__share_group_state`, replayed and written as a share coordinator does it.
//!
//! What workers have done is appended under the partition's guard, with the log replayed up to it. The caller makes it durable
//! ([`ShareLog::sync`]) without the guard.
//!
//! The log is kept short: a segment that is large enough is rolled, the next one begins with a snapshot of every key, and when
//! these are durable the log start offset moves to them. A crash leaves the old segments beside the new one, which say the same
//! together. A snapshot does not say when a record failed, so an update with its time follows for each that is to be delivered
//! again.

use super::coordinator_log::PassedOver;
use super::share_state::{Delivery, ShareState};
use super::{GroupError, Result};
use crate::format::batch::{BatchBuilder, compressor};
use crate::format::compression::{Codec, Compression};
use crate::format::internal::share_records::{DeliveryState, ShareKey, StateBatch};
use crate::format::internal::{InternalTopic, Part};
use crate::format::record::{NewRecord, Record};
use crate::logdir::{LimitOverrides, LogDir, Partition};
use crate::storage::{self, BatchRecords, Durability, LogReader, LogWriter, Next, PartitionGuard, SyncFor};
use crate::units::{Offset, Timestamp};
use std::collections::BTreeMap;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Segments are rolled at this size, or at so many times what the snapshots took that begin them.
const ROLL_BYTES: u64 = 1 << 20;
const ROLL_SNAPSHOTS: u64 = 4;
/// Batches from this size on, which are those of snapshots, are compressed: they are to fit the topic's `max.message.bytes`.
const COMPRESSED_FROM: usize = 16 << 10;

/// The states of a partition, as far as its log has been read.
pub struct ShareLog {
    partition: Partition,
    log: LogReader,
    records: BatchRecords,
    states: ShareStates,
    writer: Option<LogWriter>,
    /// The log dir, where the log is ours to make short: a broker does it for itself.
    own: Option<LogDir>,
    /// What the snapshots took that were written last.
    snapshot_bytes: u64,
}

/// States by their keys.
#[derive(Default)]
struct ShareStates {
    states: BTreeMap<ShareKey, ShareState>,
    /// The newest time of a record of each.
    written_at: BTreeMap<ShareKey, Timestamp>,
    passed_over: Vec<PassedOver>,
}

/// What is to be written of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareChange {
    /// Whose.
    pub key: ShareKey,
    /// Below it all are terminal.
    pub start_offset: Offset,
    /// What has changed, by offset, and when that counts as written.
    pub batches: Vec<(StateBatch, Timestamp)>,
    /// Offsets whose last delivery is not to count: with how many count, and when the last of them counts as written.
    pub lowered: Vec<(Offset, i16, Timestamp)>,
}

struct NewValue {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    timestamp: Timestamp,
}

impl ShareLog {
    /// Replays what is there now.
    ///
    /// # Errors
    /// When the log is corrupt, or the disk fails.
    pub fn open(own: Option<&LogDir>, partition: Partition) -> Result<Self> {
        let mut log = Self {
            log: partition.reader(CHUNK)?,
            partition,
            records: BatchRecords::default(),
            states: ShareStates::default(),
            writer: None,
            own: own.cloned(),
            snapshot_bytes: 0,
        };
        log.replay()?;
        Ok(log)
    }

    /// Replays what has come since.
    ///
    /// # Errors
    /// As [`ShareLog::open`].
    pub fn catch_up(&mut self) -> Result<()> {
        if !self.log.view().has_folder() {
            (self.log, self.states) = (self.partition.reader(CHUNK)?, ShareStates::default());
        }
        self.replay()
    }

    fn replay(&mut self) -> Result<()> {
        let Self { log, records, states, .. } = self;
        loop {
            match log.next()? {
                Next::Batch(header) if header.attributes.is_control() => {}
                Next::Batch(header) => {
                    records.each(log, &header, &mut |offset, record| {
                        states.apply(offset, &record, header.record_timestamp(record.timestamp_delta));
                    })?;
                }
                // What was removed is in snapshots that come later.
                Next::LogStartPassed { .. } => {}
                Next::End => return Ok(()),
            }
        }
    }

    /// The state of a key, if there is one.
    #[must_use]
    pub fn state(&self, key: &ShareKey) -> Option<&ShareState> {
        self.states.states.get(key)
    }

    /// The states, by their keys.
    pub fn states(&self) -> impl Iterator<Item = (&ShareKey, &ShareState)> {
        self.states.states.iter()
    }

    /// The newest time of a record of a key, if it has a state.
    #[must_use]
    pub fn written_at(&self, key: &ShareKey) -> Option<Timestamp> {
        self.states.written_at.get(key).copied()
    }

    /// What could not be read.
    #[must_use]
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.states.passed_over
    }

    /// Where the log is, where it has a folder.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.log.view().path()
    }

    /// Writes the first snapshots of keys, but for those that have one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn begin(&mut self, keys: &[(ShareKey, ShareState)], now: Timestamp) -> Result<()> {
        self.append(now, |states| {
            let new = keys.iter().filter(|(key, _)| !states.states.contains_key(key));
            Ok(new.map(|(key, state)| NewValue::of(key.snapshot(), state.snapshot(now), now)).collect())
        })
    }

    /// Writes what workers have done. Who writes it has claims on the offsets.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn change(&mut self, changes: &[ShareChange], now: Timestamp) -> Result<()> {
        self.append(now, |states| {
            let values = changes.iter().map(|change| states.change(change, now));
            Ok(values.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        })
    }

    /// Forgets keys.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&mut self, is_meant: impl Fn(&ShareKey) -> bool, now: Timestamp) -> Result<()> {
        self.append(now, |states| {
            let meant = states.states.keys().filter(|key| is_meant(key));
            Ok(meant.map(|key| NewValue { key: key.snapshot(), value: None, timestamp: now }).collect())
        })
    }

    /// Replaces states whole.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn replace(&mut self, keys: &[(ShareKey, Offset)], now: Timestamp) -> Result<()> {
        self.append(now, |states| {
            let replaced = keys.iter().filter_map(|(key, start)| {
                let before = states.states.get(key)?;
                let value = before.begun_again(*start).snapshot(now);
                Some(NewValue::of(key.snapshot(), value, now))
            });
            Ok(replaced.collect())
        })
    }

    fn append(&mut self, now: Timestamp, make: impl FnOnce(&mut ShareStates) -> Result<Vec<NewValue>>) -> Result<()> {
        let guard = self.partition.guard()?;
        self.catch_up()?;
        let prune_to = self.roll_if_large(&guard, now)?;
        let values = make(&mut self.states)?;
        if !values.is_empty() {
            self.write(&guard, &values, now)?;
        }
        drop(guard);
        match prune_to {
            Some(start) => self.prune(start, now),
            None => Ok(()),
        }
    }

    /// Begins a new segment with snapshots where the active one is large. Returns the offset of the first of them.
    fn roll_if_large(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<Option<Offset>> {
        let limit = ROLL_BYTES.max(self.snapshot_bytes * ROLL_SNAPSHOTS);
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => self.writer.insert(LogWriter::open(guard, Durability::Synced, now)?),
        };
        if self.own.is_none() || writer.active_size(guard, now)? < limit {
            return Ok(None);
        }
        writer.roll_unless_empty(guard, now)?;
        let start = writer.log_end_offset();
        self.snapshot_bytes = 0;
        let snapshots: Vec<_> =
            self.states.states.iter_mut().map(|(key, state)| snapshot_of(key, state, now)).collect();
        for values in &snapshots {
            self.snapshot_bytes += self.write(guard, values, now)?;
        }
        Ok(Some(start))
    }

    /// Appends records as one batch. Returns how many bytes it takes.
    fn write(&mut self, guard: &PartitionGuard, values: &[NewValue], now: Timestamp) -> Result<u64> {
        let writer = self.writer.as_mut().expect("it was opened before anything was written");
        let mut builder = BatchBuilder::new(0);
        for NewValue { key, value, timestamp } in values {
            builder.push(&NewRecord { timestamp: *timestamp, key: Some(key), value: value.as_deref(), headers: &[] });
        }
        let codec = if builder.size() < COMPRESSED_FROM { Codec::None } else { Codec::Zstd };
        let mut compressor = compressor(Compression { codec, level: None });
        let batch = builder.finish(compressor.as_mut(), usize::MAX).expect("memory takes what is compressed");
        writer.append(guard, &mut [batch], now)?;
        Ok(batch.len() as u64)
    }

    /// Removes what is below the snapshots at `start`, once they are durable.
    fn prune(&mut self, start: Offset, now: Timestamp) -> Result<()> {
        self.sync()?;
        self.end(now)?;
        let Some(own) = &self.own else { return Ok(()) };
        own.delete_records(&self.partition, start, now)?;
        self.partition.apply_retention(LimitOverrides::default(), now, &mut Vec::new(), |_| {})?;
        Ok(())
    }

    /// Makes what was appended durable.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        if let Some(writer) = &self.writer {
            storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        }
        Ok(())
    }

    /// Ends the writing, after the last sync, for one who may yet write more.
    ///
    /// # Errors
    /// When the disk fails: the next who writes then checks more than it had to.
    pub fn end(&mut self, now: Timestamp) -> Result<()> {
        match self.writer.take() {
            Some(mut writer) => Ok(self.partition.close(&mut writer, now)?),
            None => Ok(()),
        }
    }
}

impl ShareStates {
    fn apply(&mut self, offset: Offset, record: &Record<'_>, at: Timestamp) {
        let decoded = InternalTopic::ShareGroupState.decode(record.key, record.value);
        let (key_type, data) = match decoded.key {
            Ok(Part::Key { key_type, data }) => (key_type, data),
            Ok(_) => return self.pass_over(offset, "a record without a key".into()),
            Err(error) => return self.pass_over(offset, error.to_string()),
        };
        let key = ShareKey {
            group: data.text("groupId").unwrap_or_default().to_owned(),
            topic_id: data.uuid("topicId").unwrap_or_default(),
            partition: data.int("partition").and_then(|it| i32::try_from(it).ok()).unwrap_or(-1),
        };
        if matches!(decoded.value, Ok(Part::Value { .. })) {
            let newest = self.written_at.entry(key.clone()).or_insert(at);
            *newest = at.max(*newest);
        }
        match (key_type, decoded.value) {
            (_, Err(error)) => self.pass_over(offset, format!("the value of a record of type {key_type}: {error}")),
            (0, Ok(Part::Value { data, .. })) => drop(self.states.insert(key, ShareState::of_snapshot(&data))),
            (1, Ok(Part::Value { data, .. })) => match self.states.get_mut(&key) {
                Some(state) => state.update(&data, at),
                None => self.pass_over(offset, "an update without a snapshot before it".into()),
            },
            (_, Ok(_)) => drop((self.states.remove(&key), self.written_at.remove(&key))),
        }
    }

    /// Takes a change over, and returns what is to be written of it. A delivery that does not count is for a snapshot to say.
    fn change(&mut self, change: &ShareChange, now: Timestamp) -> Result<Vec<NewValue>> {
        let gone = || GroupError::StateGone { group: change.key.group.clone() };
        let state = self.states.get_mut(&change.key).ok_or_else(gone)?;
        state.raise_start(change.start_offset);
        change.batches.iter().for_each(|(batch, at)| state.set(batch, *at));
        if change.batches.is_empty() && change.lowered.is_empty() {
            return Ok(vec![NewValue::of(change.key.update(), state.update_of(&[]), now)]);
        }
        if change.lowered.is_empty() {
            return Ok(updates_of(&change.key, state, change.batches.iter().copied()));
        }
        change.lowered.iter().for_each(|&(offset, count, at)| state.lower(offset, count, at));
        Ok(snapshot_of(&change.key, state, now))
    }

    fn pass_over(&mut self, offset: Offset, what: String) {
        self.passed_over.push(PassedOver { offset, what });
    }
}

/// The next snapshot of a key, and the times of the records that are to be delivered again.
fn snapshot_of(key: &ShareKey, state: &mut ShareState, now: Timestamp) -> Vec<NewValue> {
    let mut values = vec![NewValue::of(key.snapshot(), state.next_snapshot(now), now)];
    let waits =
        |(batch, at): &(StateBatch, Timestamp)| batch.state == DeliveryState::Available && *at > Delivery::NEVER;
    values.extend(updates_of(key, state, state.batches().filter(waits)));
    values
}

/// Updates that say what has changed, one for each time: a record has one.
fn updates_of(
    key: &ShareKey,
    state: &ShareState,
    batches: impl Iterator<Item = (StateBatch, Timestamp)>,
) -> Vec<NewValue> {
    let mut by_time = BTreeMap::<Timestamp, Vec<StateBatch>>::new();
    batches.for_each(|(batch, at)| by_time.entry(at).or_default().push(batch));
    by_time.into_iter().map(|(at, batches)| NewValue::of(key.update(), state.update_of(&batches), at)).collect()
}

impl NewValue {
    fn of(key: Vec<u8>, value: Vec<u8>, timestamp: Timestamp) -> Self {
        Self { key, value: Some(value), timestamp }
    }
}
