//! One partition as a queue: which of its records can be taken now.
//!
//! The log is read once, in order. What cannot be taken yet is kept by its offset: it is due later, somebody else has it, or an
//! earlier one comes first. All below the place of the reader that is neither kept nor known to be terminal is nothing: markers
//! of transactions, what was aborted, what compaction has removed.

use super::Result;
use super::options::{Backoff, Ordered};
use crate::format::internal::share_records::ShareKey;
use crate::format::record::Record;
use crate::groups::{ShareState, share_key};
use crate::logdir::{DurableBelow, LogDirs, Partition};
use crate::produce::NOT_BEFORE;
use crate::storage::{self, Advance, Durability, LogReader, LogWriter, RecordReader, SyncFor};
use crate::units::{GroupId, Offset, Timestamp};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};
use twox_hash::XxHash3_128;
use uuid::Uuid;

/// Bytes read at a time, in order and to find one record again.
const CHUNK: usize = 256 << 10;
const CHUNK_OF_ONE: usize = 16 << 10;
/// No more records are kept that cannot be taken.
const KEPT_MAX: usize = 100_000;
/// No more runs of offsets are between the first that is not done and the last: the state is to fit one batch.
const RUNS_MAX: usize = 50_000;
/// A record that somebody else has is tried again after so long, if nothing shows before.
const TRY_AGAIN_MS: i64 = 1000;
/// Records that their producer does not make durable are made durable here after so long.
const DURABLE_AFTER: Duration = Duration::from_millis(1500);

/// Why a kept record is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Me,
    Another,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    due: Timestamp,
    /// Of those that go one after the other.
    key: Option<u64>,
    holder: Holder,
    /// Whether a handler has put it back, or was stopped: it is not waited for.
    is_put_back: bool,
}

/// A partition as a queue.
pub(super) struct Queue {
    pub(super) partition: Partition,
    pub(super) key: ShareKey,
    topic_id: Uuid,
    reader: RecordReader,
    /// Whether the reader is at a record that was not dealt with yet.
    is_at_record: bool,
    /// Whether it cannot be read.
    is_failed: bool,
    /// Whether it was told that a record holds it back.
    pub(super) is_held_back: bool,
    /// Whether nothing new was there when it was looked at last.
    is_idle: bool,
    ordered: Ordered,
    /// Whether what comes after the start is taken as well.
    follows: bool,
    kept: BTreeMap<Offset, Kept>,
    /// Those of them that may be taken, by when.
    ready: BTreeSet<(Timestamp, Offset)>,
    /// Those of them that others have.
    elsewhere: BTreeSet<Offset>,
    /// Those of them that go one after the other.
    by_key: HashMap<u64, BTreeSet<Offset>>,
    /// What comes before is durable.
    durable: Offset,
    durable_below: DurableBelow,
    /// Since when there is something that is not.
    waits_for_sync: Option<Instant>,
    /// The log end offset at the start.
    end_at_start: Offset,
    /// Records that retention has removed before they were done.
    pub(super) lost: u64,
}

/// A record that is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    pub(super) offset: Offset,
    /// When it may be taken, as far as is known.
    pub(super) due: Timestamp,
    /// Whether another worker has it, or one that it waits for.
    pub(super) is_elsewhere: bool,
    /// Whether a handler has put it back, or one that it waits for.
    pub(super) is_put_back: bool,
}

/// What [`Queue::next`] finds.
pub(super) enum Found {
    /// A record to try.
    Record(Offset),
    /// None for now.
    Nothing,
}

impl Queue {
    pub(super) fn open(
        partition: Partition,
        group: &GroupId,
        topic_id: Uuid,
        (ordered, follows): (Ordered, bool),
        state: &ShareState,
    ) -> Result<Self> {
        let view = partition.view()?;
        let (log_start, end_at_start) = (view.log_start_offset(), view.log_end_offset()?);
        let start = state.start_offset().unwrap_or(log_start);
        let mut log = LogReader::new(view, CHUNK);
        log.seek(start.max(log_start));
        let mut queue = Self {
            key: share_key(group, topic_id, partition.id().partition),
            partition,
            topic_id,
            reader: RecordReader::read_committed(log)?,
            is_at_record: false,
            is_failed: false,
            is_held_back: false,
            is_idle: false,
            ordered,
            follows,
            kept: BTreeMap::new(),
            ready: BTreeSet::new(),
            elsewhere: BTreeSet::new(),
            by_key: HashMap::new(),
            durable: Offset::ZERO,
            durable_below: DurableBelow::default(),
            waits_for_sync: None,
            end_at_start,
            lost: 0,
        };
        queue.note_lost(start, log_start, state);
        Ok(queue)
    }

    /// What is below it is terminal, or nothing.
    pub(super) fn start_offset(&self) -> Offset {
        let read = self.read_to();
        self.kept.first_key_value().map_or(read, |(&first, _)| first.min(read))
    }

    /// What comes before was read and dealt with.
    fn read_to(&self) -> Offset {
        let next = self.reader.next_offset();
        // The record that it has found last was dealt with.
        if !self.is_at_record && self.reader.batch().is_some() { next.next() } else { next }
    }

    /// Records that are kept and that nobody here handles.
    fn waiting(&self) -> impl Iterator<Item = Left> {
        let waits = self.kept.iter().filter(|(_, kept)| kept.holder != Holder::Me);
        waits.map(|(&offset, kept)| {
            let first = kept.key.and_then(|key| self.by_key.get(&key)?.first());
            let decides = first.and_then(|first| self.kept.get(first)).unwrap_or(kept);
            let (due, is_elsewhere) = (kept.due.max(decides.due), decides.holder == Holder::Another);
            Left { offset, due, is_elsewhere, is_put_back: decides.is_put_back }
        })
    }

    /// Those of them that were there at the start.
    pub(super) fn left(&self) -> impl Iterator<Item = Left> {
        self.waiting().filter(|left| left.offset < self.end_at_start)
    }

    /// Whether others have some of them.
    pub(super) fn has_elsewhere(&self) -> bool {
        !self.elsewhere.is_empty()
    }

    /// It cannot be read on: what is kept of it is all that is taken.
    pub(super) fn fail(&mut self) {
        self.is_failed = true;
    }

    /// There may be something new.
    pub(super) fn has_changed(&mut self) {
        self.is_idle = false;
    }

    /// The next time when something is due.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.ready.first().map(|&(due, _)| due)
    }

    /// Whether all was read that was there at the start. What a transaction keeps back that is open is not there.
    pub(super) fn has_read_all(&self) -> bool {
        if self.is_failed {
            return true;
        }
        let is_kept_back = !self.is_at_record && self.reader.open_transaction().is_some();
        self.reader.next_offset() >= self.end_at_start || (self.is_idle && is_kept_back)
    }

    /// Whether there is something that its producer has not made durable yet.
    pub(super) const fn waits_for_sync(&self) -> bool {
        self.waits_for_sync.is_some()
    }

    /// Finds a record that may be taken: one that was kept and is due, or the next of the log.
    pub(super) fn next(
        &mut self,
        state: &ShareState,
        backoff: Backoff,
        log_dirs: &LogDirs,
        now: Timestamp,
    ) -> Result<Found> {
        while let Some(&(due, offset)) = self.ready.first().filter(|(due, _)| *due <= now) {
            self.ready.remove(&(due, offset));
            if state.is_terminal(offset) {
                self.drop_kept(offset);
                continue;
            }
            let again = self.kept.get(&offset).map_or(due, |kept| self.due_of(kept.due, offset, state, backoff, now));
            if again > now {
                self.keep_until(offset, again);
                continue;
            }
            return Ok(Found::Record(offset));
        }
        self.is_held_back &= self.is_full(state);
        if self.is_idle || self.is_failed || self.is_full(state) {
            return Ok(Found::Nothing);
        }
        loop {
            // Of very many records that wait, not all can be kept.
            if self.kept.len() >= KEPT_MAX {
                return Ok(Found::Nothing);
            }
            if !self.is_at_record {
                match self.reader.advance()? {
                    Advance::Record => self.is_at_record = true,
                    Advance::LogStartPassed { missed_from, log_start_offset } => {
                        self.note_lost(missed_from, log_start_offset, state);
                        self.drop_below(log_start_offset);
                        continue;
                    }
                    Advance::End => {
                        self.is_idle = true;
                        return Ok(Found::Nothing);
                    }
                }
            }
            let offset = self.reader.offset();
            if !self.follows && offset >= self.end_at_start {
                return Ok(Found::Nothing);
            }
            if state.is_terminal(offset) {
                self.is_at_record = false;
                continue;
            }
            if self.is_full(state) {
                return Ok(Found::Nothing);
            }
            if offset >= self.durable && !self.make_durable(offset, log_dirs, now)? {
                return Ok(Found::Nothing);
            }
            self.is_at_record = false;
            let record = self.reader.record();
            let not_before = not_before_of(&record);
            let key = match self.ordered {
                Ordered::No => None,
                Ordered::Key => record.key.map(|key| XxHash3_128::oneshot(key) as u64),
                Ordered::Partition => Some(0),
            };
            let due = self.due_of(not_before.unwrap_or(Timestamp(0)), offset, state, backoff, now);
            self.keep(offset, due, key);
            if self.is_first_of_its_key(offset, key) && due <= now {
                self.ready.remove(&(due, offset));
                return Ok(Found::Record(offset));
            }
        }
    }

    /// Whether nothing new is taken until something that is kept is done. A record before others that were tried is nothing new:
    /// it makes the state no longer, and a worker that has just begun keeps nothing yet.
    pub(super) fn is_full(&self, state: &ShareState) -> bool {
        self.kept.len() >= KEPT_MAX || (state.run_count() >= RUNS_MAX && self.read_to() >= state.tried_to())
    }

    /// The first record that is not done.
    pub(super) fn first_kept(&self) -> Option<Offset> {
        self.kept.first_key_value().map(|(&offset, _)| offset)
    }

    /// Not before the time of the record itself, nor before the wait after its last attempt is over.
    fn due_of(
        &self,
        due: Timestamp,
        offset: Offset,
        state: &ShareState,
        backoff: Backoff,
        now: Timestamp,
    ) -> Timestamp {
        match state.delivery(offset) {
            Some(delivery) if !delivery.state.is_terminal() => due.max(backoff.due(delivery.at, delivery.count, now)),
            _ => due,
        }
    }

    fn keep(&mut self, offset: Offset, due: Timestamp, key: Option<u64>) {
        self.kept.insert(offset, Kept { due, key, holder: Holder::Nobody, is_put_back: false });
        if let Some(key) = key {
            self.by_key.entry(key).or_default().insert(offset);
        }
        if self.is_first_of_its_key(offset, key) {
            self.ready.insert((due, offset));
        }
    }

    fn is_first_of_its_key(&self, offset: Offset, key: Option<u64>) -> bool {
        key.and_then(|key| self.by_key.get(&key)?.first()).is_none_or(|&first| first == offset)
    }

    /// The record that was found is handled here from now on.
    pub(super) fn take(&mut self, offset: Offset) {
        if let Some(kept) = self.kept.get_mut(&offset) {
            kept.holder = Holder::Me;
        }
        self.elsewhere.remove(&offset);
    }

    /// Somebody else has the record that was found.
    pub(super) fn leave_to_another(&mut self, offset: Offset, now: Timestamp) {
        self.keep_as(offset, now + TRY_AGAIN_MS, Holder::Another);
    }

    /// The record is to be tried again, not before `due`.
    pub(super) fn keep_until(&mut self, offset: Offset, due: Timestamp) {
        self.keep_as(offset, due, Holder::Nobody);
    }

    /// The same, and nobody waits for it.
    pub(super) fn put_back(&mut self, offset: Offset, due: Timestamp) {
        self.keep_as(offset, due, Holder::Nobody);
        if let Some(kept) = self.kept.get_mut(&offset) {
            kept.is_put_back = true;
        }
    }

    /// The record is not done, and is nothing for this run any more.
    pub(super) fn leave(&mut self, offset: Offset) {
        self.take(offset);
    }

    fn keep_as(&mut self, offset: Offset, due: Timestamp, holder: Holder) {
        if let Some(kept) = self.kept.get_mut(&offset) {
            (kept.due, kept.holder, kept.is_put_back) = (due, holder, false);
            self.ready.insert((due, offset));
            if holder == Holder::Another {
                self.elsewhere.insert(offset);
            } else {
                self.elsewhere.remove(&offset);
            }
        }
    }

    /// Something has shown that others may have given records back: they are tried at once.
    pub(super) fn try_all_elsewhere(&mut self, now: Timestamp) {
        for offset in self.elsewhere.clone() {
            if let Some(kept) = self.kept.get(&offset) {
                self.ready.remove(&(kept.due, offset));
            }
            self.keep_as(offset, now, Holder::Another);
        }
    }

    /// Forgets records that others have done in the meantime.
    pub(super) fn forget_done(&mut self, state: &ShareState) {
        let done: Vec<Offset> =
            self.waiting().map(|left| left.offset).filter(|&offset| state.is_terminal(offset)).collect();
        done.into_iter().for_each(|offset| self.drop_kept(offset));
    }

    /// The record is done, or given up; the next one with its key may be taken.
    pub(super) fn drop_kept(&mut self, offset: Offset) {
        let Some(kept) = self.kept.remove(&offset) else { return };
        self.ready.remove(&(kept.due, offset));
        self.elsewhere.remove(&offset);
        let Some(key) = kept.key else { return };
        let Some(others) = self.by_key.get_mut(&key) else { return };
        others.remove(&offset);
        match others.first() {
            None => drop(self.by_key.remove(&key)),
            Some(next) => {
                if let Some(kept) = self.kept.get(next).filter(|kept| kept.holder != Holder::Me) {
                    self.ready.insert((kept.due, *next));
                }
            }
        }
    }

    fn drop_below(&mut self, start: Offset) {
        let below: Vec<Offset> =
            self.kept.range(..start).filter(|(_, kept)| kept.holder != Holder::Me).map(|(&offset, _)| offset).collect();
        self.lost += below.len() as u64;
        below.into_iter().for_each(|offset| self.drop_kept(offset));
    }

    /// Retention has removed a record that was kept.
    pub(super) fn lose(&mut self, offset: Offset) {
        self.lost += 1;
        self.drop_kept(offset);
    }

    /// Counts what retention has removed and was not done.
    fn note_lost(&mut self, from: Offset, log_start: Offset, state: &ShareState) {
        let from = state.start_offset().map_or(from, |start| start.max(from));
        let done: i64 = state
            .batches()
            .filter(|(batch, _)| batch.state.is_terminal() && batch.first < log_start && batch.last >= from)
            .map(|(batch, _)| batch.last.0.min(log_start.0 - 1) - batch.first.0.max(from.0) + 1)
            .sum();
        self.lost += (log_start - from - done).max(0) as u64;
    }

    /// Whether a record is durable, or can be made so: what is done of it would otherwise outlive it, and count for another
    /// that gets its offset. Its producer has a while to see to it.
    fn make_durable(&mut self, offset: Offset, log_dirs: &LogDirs, now: Timestamp) -> Result<bool> {
        let end = self.partition.view()?.log_end_offset()?.max(offset.next());
        self.durable = self.durable_below.raise(log_dirs, self.partition.id(), Some(self.topic_id), end)?;
        if offset < self.durable {
            self.waits_for_sync = None;
            return Ok(true);
        }
        let since = *self.waits_for_sync.get_or_insert_with(Instant::now);
        if since.elapsed() < DURABLE_AFTER {
            return Ok(false);
        }
        let guard = self.partition.guard()?;
        let mut writer = LogWriter::open(&guard, Durability::Synced, now)?;
        self.durable = writer.log_end_offset();
        drop(guard);
        storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
        self.partition.close(&mut writer, now)?;
        self.waits_for_sync = None;
        Ok(offset < self.durable)
    }

    /// Shows a record that was found. Returns `None` where it is not there any more.
    pub(super) fn read<T>(
        &mut self,
        offset: Offset,
        show: impl FnOnce(Timestamp, crate::format::header::TimestampType, &Record<'_>) -> T,
    ) -> Result<Option<T>> {
        if self.reader.batch().is_some() && self.reader.offset() == offset {
            return Ok(Some(show(self.reader.timestamp(), self.reader.timestamp_type(), &self.reader.record())));
        }
        let view = self.partition.view()?;
        if offset < view.log_start_offset() {
            return Ok(None);
        }
        let mut log = LogReader::new(view, CHUNK_OF_ONE);
        log.seek(offset);
        let mut reader = RecordReader::new(log);
        loop {
            match reader.advance()? {
                Advance::Record if reader.offset() == offset => {
                    return Ok(Some(show(reader.timestamp(), reader.timestamp_type(), &reader.record())));
                }
                Advance::LogStartPassed { .. } => {}
                Advance::Record | Advance::End => return Ok(None),
            }
        }
    }

    /// Where the log is.
    pub(super) fn path(&self) -> &std::path::Path {
        self.reader.log().view().path()
    }
}

/// The time before which a record is not to be taken, where it says one.
fn not_before_of(record: &Record<'_>) -> Option<Timestamp> {
    let (_, value) = record.headers.iter().find(|(name, _)| *name == NOT_BEFORE)?;
    std::str::from_utf8(value?).ok()?.trim().parse().ok().map(Timestamp)
}
