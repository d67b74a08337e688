//! Where each record goes, and when what was gathered is stored.

use super::Result;
use super::batcher::{BatchRule, Batcher};
use super::error::Problem;
use super::event::{Event, Listener};
use super::gathering::Gathering;
use super::input::{Input, Readiness};
use super::input_prefix::{InputPosition, InputPrefix};
use super::intake::{At, Taken, broken};
use super::pacer::Pacer;
use super::partitioner::Partitioner;
use super::producer::Clock;
use super::rejects::Rejects;
use super::store::{SharedStore, locked};
use super::syncer::SyncPolicy;
use super::topics::Topics;
use crate::format::record::NewRecord;
use crate::units::{Timestamp, TopicName};
use std::sync::Arc;

/// Where records go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placement {
    /// The one partition for all of them.
    pub(super) partition: Option<i32>,
    /// Otherwise, by what rule.
    pub(super) partitioner: Partitioner,
    /// Over how many.
    pub(super) partition_count: i32,
}

/// How records go to one topic.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) placement: Placement,
    /// Of the topic, in order.
    pub(super) partitions: Vec<i32>,
    pub(super) batches: BatchRule,
    /// Whether a record must have a key.
    pub(super) needs_key: bool,
    /// The next partition in turn, once it is known.
    pub(super) next_in_turn: Option<i32>,
}

/// Gives each record its partition and gathers them into batches.
pub(super) struct Router {
    /// To the topic of the record; where records name theirs, [`Router::go_to`] comes before any.
    pub(super) route: Route,
    /// Where records name their topics.
    pub(super) topics: Option<Topics>,
    pub(super) batcher: Batcher,
    /// The bytes of the input that may be a record.
    pub(super) record_size_max: usize,
    pub(super) gathering: Gathering,
    /// The time that the records of the last read carry; it never steps back, so that a merge by time keeps their order.
    pub(super) now: Timestamp,
    /// What went into no record.
    pub(super) rejected: InputPosition,
    pub(super) prefix: Arc<InputPrefix>,
    pub(super) store: SharedStore,
    /// When records are made durable; rejects are then, too.
    pub(super) sync: SyncPolicy,
    pub(super) rejects: Rejects,
    pub(super) clock: Clock,
    pub(super) listener: Listener,
    /// Where the input is to be held back.
    pub(super) pacer: Option<Pacer>,
}

impl Router {
    // A record costs no call, whoever else calls this.
    #[inline(always)]
    pub(super) fn add(&mut self, record: &NewRecord<'_>, named: Option<i32>, framed: &[u8], at: At<'_>) -> Result<()> {
        if self.route.needs_key && record.key.is_none() {
            return self.reject(framed, Problem::NoKey { place: at.place() });
        }
        if self.batcher.is_too_large(record) {
            let (place, limit) = (at.place(), self.route.batches.finishing.batch_size_max);
            let size = record.payload_size() as u64;
            return self.reject(framed, Problem::RecordTooLarge { place, size, size_is_exact: true, limit });
        }
        let Placement { partition, partitioner, partition_count } = self.route.placement;
        let partition = match partition.or(named) {
            Some(partition) if self.route.partitions.binary_search(&partition).is_ok() => partition,
            Some(partition) => {
                return self.reject(framed, Problem::NoSuchPartition { place: at.place(), partition });
            }
            None => match partitioner.by_key(record.key, partition_count) {
                Some(partition) => partition,
                None => self.in_turn()?,
            },
        };
        self.batcher.add(partition, record, framed.len())
    }

    /// Adds records whose values are `lines`, as far as they all go to one partition and into its batch. Returns how many
    /// bytes that took, and how many records.
    pub(super) fn add_lines(&mut self, lines: &[u8], delimiter: u8, timestamp: Option<Timestamp>) -> (usize, u64) {
        let Placement { partition, partition_count, .. } = self.route.placement;
        let only = partition.or((partition_count == 1).then_some(0));
        let Some(partition) = only.filter(|_| !self.route.needs_key) else { return (0, 0) };
        let (bytes, records) = self.batcher.add_lines(partition, lines, delimiter, timestamp.unwrap_or(self.now));
        (bytes, records as u64)
    }

    #[inline(always)]
    fn in_turn(&mut self) -> Result<i32> {
        let count = self.route.placement.partition_count;
        let partition = match self.route.next_in_turn {
            Some(partition) => partition,
            None => self.first_in_turn()?,
        };
        self.route.next_in_turn = Some(if partition + 1 == count { 0 } else { partition + 1 });
        Ok(partition)
    }

    #[cold]
    fn first_in_turn(&self) -> Result<i32> {
        let Route { placement: Placement { partition_count: count, .. }, batches, .. } = self.route;
        if count == 1 {
            return Ok(0);
        }
        Ok(locked(&self.store).writer.log_end_offsets_sum(batches.first_slot)?.rem_euclid(i64::from(count)) as i32)
    }

    /// Has the records to come go to the topic of this name.
    ///
    /// # Errors
    /// [`ProduceError::Refused`](super::ProduceError::Refused) where they cannot.
    #[cold]
    pub(super) fn go_to(&mut self, name: &TopicName, at: At<'_>) -> Result<()> {
        let Some(topics) = &mut self.topics else { return Ok(()) };
        let mut store = locked(&self.store);
        topics.go_to(name, &mut self.route, || at.place(), &mut store.writer)?;
        self.batcher.go_to(self.route.batches, store.writer.slots());
        self.record_size_max = self.record_size_max.max(self.route.batches.finishing.batch_size_max);
        if store.writer.closes_partitions() {
            self.gathering.spread();
        }
        Ok(())
    }

    /// Waits for input. What has been gathered is stored before a wait that may be long, or before any, and where it has
    /// waited long enough.
    pub(super) fn wait(&mut self, input: &mut dyn Input) -> Result<Readiness> {
        let wait = |input: &mut dyn Input, timeout| match input.wait(timeout) {
            Ok(readiness) => Ok(readiness),
            Err(source) => Err(broken(input.name(), source)),
        };
        let now = (self.clock)();
        if let Some(patience) = self.gathering.patience(self.batcher.is_empty(), now) {
            match wait(input, Some(patience))? {
                Readiness::NotReady => {}
                Readiness::Ready if self.gathering.is_late(now) => {}
                readiness => return Ok(readiness),
            }
        }
        self.store()?;
        wait(input, None)
    }

    fn store(&mut self) -> Result<()> {
        self.batcher.flush()?;
        self.gathering.is_stored();
        self.sync_point()
    }

    /// Pauses where the record of so many bytes that was just taken in came ahead of its time; what was gathered is stored
    /// before. Once a stop was asked for, what has been read is taken in without a pause.
    pub(super) fn pace(&mut self, bytes: usize, input: &mut dyn Input) -> Result<()> {
        let Some(pacer) = &mut self.pacer else { return Ok(()) };
        let Some(pause) = pacer.take(bytes, || (self.clock)()) else { return Ok(()) };
        self.store()?;
        let paused = input.pause(pause).map_err(|source| broken(input.name(), source))?;
        self.has_read();
        if paused == Readiness::Stop {
            self.pacer = None;
        }
        Ok(())
    }

    /// A place where the input may stand still: everything read so far has been stored.
    pub(super) fn sync_point(&mut self) -> Result<()> {
        if matches!(self.sync, SyncPolicy::Always | SyncPolicy::Every(_)) {
            self.sync_rejects()?;
        }
        Ok(locked(&self.store).writer.sync_point()?)
    }

    /// Makes durable what was kept of inputs that made no record: from then on the input is done with there.
    pub(super) fn sync_rejects(&mut self) -> Result<()> {
        let unsynced = self.rejects.unsynced();
        self.rejects.sync()?;
        unsynced.into_iter().for_each(|at| self.prefix.rejects_durable(at));
        Ok(())
    }

    /// Notes that time has gone by with a read or a pause.
    pub(super) fn has_read(&mut self) {
        self.now = self.now.max((self.clock)());
        (self.listener)(Event::Progress(self.taken()));
    }

    /// Leaves an input out that makes no record, of which this is all or the last piece.
    ///
    /// # Errors
    /// The problem, where the run is to stop at it.
    #[cold]
    pub(super) fn reject(&mut self, last_piece: &[u8], problem: Problem) -> Result<()> {
        if !self.rejects.skips() {
            return Err(problem.into());
        }
        self.rejects.take(last_piece, self.batcher.position())?;
        self.rejects.unsynced().into_iter().for_each(|at| self.prefix.begins(at));
        self.leave_out(1, last_piece.len());
        (self.listener)(Event::Rejected(&problem));
        Ok(())
    }

    /// Notes that so much of the input goes into no record.
    pub(super) fn leave_out(&mut self, records: u64, bytes: usize) {
        self.rejected.records += records;
        self.rejected.bytes += bytes as u64;
        self.batcher.leave_out(records, bytes);
    }

    /// What has become records so far.
    pub(super) fn taken(&self) -> Taken {
        let InputPosition { records, bytes } = self.batcher.position();
        let (records, bytes) = (records - self.rejected.records, bytes - self.rejected.bytes);
        Taken { records, bytes, ..Taken::default() }
    }
}
