//! Brings the records of several partitions into one order.
//!
//! By time: of the records that stand at the front of each partition, the one with the smallest timestamp comes first,
//! then the smaller offset, then the smaller partition; each partition's own order is kept. By partition: one after the
//! other. Memory is one batch a partition as it is on disk, and what [`ReadMemory`](crate::storage::ReadMemory) allows of
//! decompressed ones; nothing is allocated a record. With more partitions than files may be open,
//! the one that was opened first gives its files back for the next, and opens them again when it needs them.
//!
//! A partition that cannot be read ends at that point, or continues after the damage ([`OnDamage`]). The others are read to
//! their ends.

use super::newest::Newest;
use crate::storage::{Advance, RecordReader, Result, StorageError};
use crate::stream::filter::Filter;
use crate::stream::json::Located;
use crate::units::{Offset, Timestamp, TopicName, TopicPartition};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use uuid::Uuid;

/// In which order partitions are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By timestamp.
    #[default]
    Time,
    /// One partition after the other.
    Partition,
}

/// What is done where a partition is corrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// It ends there.
    #[default]
    End,
    /// It continues after the damage, if there are batches.
    StepOver,
}

/// A partition to be read.
pub struct Source {
    /// The topic it belongs to.
    pub topic: TopicName,
    /// That topic's id, where it is wanted and there is one.
    pub topic_id: Option<Uuid>,
    /// Its number.
    pub partition: i32,
    /// Its records, from where they are wanted.
    pub records: RecordReader,
    /// Which of them are wanted.
    pub filter: Filter,
    /// Which of them are the newest of their keys, where only those are wanted.
    pub newest: Option<Newest>,
    /// What is done where it is corrupt.
    pub on_damage: OnDamage,
    /// Whether to stop, asked now and then where nothing is found.
    pub is_stopped: Option<fn() -> bool>,
}

/// A source is asked whether to stop after so many places that held no wanted record.
const PASSED_MAX: u32 = 64;

/// Records that were gone before they were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: i32,
    /// The first that was missed.
    pub from: Offset,
    /// The first that is there.
    pub log_start_offset: Offset,
}

/// Damage that was stepped over.
#[derive(Debug)]
pub struct Damaged {
    /// What is wrong, and where.
    pub damage: StorageError,
    /// Where it went on.
    pub next_offset: Offset,
}

/// Records that are not shown, to be reported.
#[derive(Debug, Default)]
pub struct Unseen {
    /// Those that were removed.
    pub missed: Vec<Missed>,
    /// Those that are damaged, the first [`DAMAGED_MAX`] places.
    pub damaged: Vec<Damaged>,
    /// How many more places there are.
    pub damaged_more: u64,
}

/// Further places are only counted: every batch after a flipped bit can be one.
pub const DAMAGED_MAX: usize = 100;

impl Source {
    /// The next wanted record, if there is one now, and unless [`Source::is_stopped`] says to stop. What is not to be seen is
    /// added to `unseen`.
    ///
    /// # Errors
    /// When the partition cannot be read.
    #[inline]
    pub fn advance(&mut self, unseen: &mut Unseen) -> Result<bool> {
        loop {
            match self.advance_undamaged(unseen) {
                Ok(found) => return Ok(found),
                Err(damage) => self.step_over(damage, unseen)?,
            }
        }
    }

    /// Continues after damage, with [`OnDamage::StepOver`] and if there are batches.
    #[cold]
    fn step_over(&mut self, damage: StorageError, unseen: &mut Unseen) -> Result<()> {
        let is_damage = matches!(damage, StorageError::Corrupt { .. } | StorageError::Unsupported { .. });
        if self.on_damage == OnDamage::End || !is_damage {
            return Err(damage);
        }
        match self.records.step_over()? {
            Some(next_offset) => {
                if unseen.damaged.len() < DAMAGED_MAX {
                    unseen.damaged.push(Damaged { damage, next_offset });
                } else {
                    unseen.damaged_more += 1;
                }
                Ok(())
            }
            None => Err(damage),
        }
    }

    #[inline]
    fn advance_undamaged(&mut self, unseen: &mut Unseen) -> Result<bool> {
        let mut passed = 0;
        loop {
            if self.filter.searches()
                && self.newest.is_none()
                && let Some((records, start, bytes)) = self.records.ahead()
            {
                let candidate = self.filter.next_candidate(records, start, bytes);
                if candidate > start {
                    self.records.skip_to(candidate);
                }
            }
            match self.records.advance()? {
                // Without a filter nobody looks into the record here.
                Advance::Record
                    if self.newest.as_mut().is_none_or(|newest| newest.wants(&self.records))
                        && (self.filter.is_empty() || self.filter.passes(&self.records.record())) =>
                {
                    return Ok(true);
                }
                Advance::Record => {
                    passed += 1;
                    if passed % PASSED_MAX == 0 && self.is_stopped.is_some_and(|is_stopped| is_stopped()) {
                        return Ok(false);
                    }
                }
                Advance::End => return Ok(false),
                Advance::LogStartPassed { missed_from: from, log_start_offset } => {
                    let (topic, partition) = (self.topic.clone(), self.partition);
                    unseen.missed.push(Missed { topic, partition, from, log_start_offset });
                }
            }
        }
    }

    fn rank(&self, place: usize, order: Order) -> Rank {
        match order {
            Order::Time => Reverse((self.records.timestamp(), self.records.offset(), place)),
            Order::Partition => Reverse((Timestamp::default(), Offset::ZERO, place)),
        }
    }

    /// The record that stands at the front.
    #[inline]
    #[must_use]
    pub fn front(&self) -> Located<'_> {
        Located {
            topic: self.topic.as_str(),
            partition: self.partition,
            offset: self.records.offset(),
            timestamp: self.records.timestamp(),
            timestamp_type: self.records.timestamp_type(),
            record: self.records.record(),
        }
    }
}

/// What decides which source comes next: timestamp, offset, place in the list.
type Rank = Reverse<(Timestamp, Offset, usize)>;

/// What a source has to give, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A record stands at its front.
    Ready,
    /// It had none when it was asked last.
    Idle,
    /// It could not be read.
    Failed,
    /// No more of it is shown.
    Retired,
    /// The same, and where it is counts no more.
    Gone,
}

/// The records of several partitions in one order.
pub struct Merge {
    sources: Vec<Source>,
    order: Order,
    /// The sources that have a record at their front.
    ready: BinaryHeap<Rank>,
    /// By place.
    states: Vec<State>,
    /// How many sources may have files open.
    open_max: usize,
    /// The sources that have, in the order in which they were opened; kept where there are more sources than may.
    open: VecDeque<usize>,
    /// The source whose front has been handed out: the first in order.
    shown: Option<usize>,
    unseen: Unseen,
    failed: Vec<StorageError>,
}

impl Merge {
    /// Merges `sources`, which stand in the order that decides where all else is equal.
    #[must_use]
    pub fn new(sources: Vec<Source>, order: Order) -> Self {
        let states = vec![State::Idle; sources.len()];
        Self {
            sources,
            order,
            ready: BinaryHeap::new(),
            states,
            open_max: usize::MAX,
            open: VecDeque::new(),
            shown: None,
            unseen: Unseen::default(),
            failed: Vec::new(),
        }
    }

    /// The same, but with files open in so many partitions at most, and in one at least.
    #[must_use]
    pub fn with_open_max(mut self, open_max: usize) -> Self {
        self.open_max = open_max.max(1);
        self.open = (0..self.sources.len()).filter(|&place| self.sources[place].records.is_open()).collect();
        self
    }

    /// The partitions.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Adds a partition, and asks it. What was shown is dealt with.
    ///
    /// # Errors
    /// When it was deleted.
    pub fn add(&mut self, source: Source) -> Result<()> {
        // Else the newcomer might come to stand where the partition of what was shown is looked for.
        self.pass_shown()?;
        // The rank of an only source is not kept up to date.
        if let [only] = &self.sources[..]
            && self.ready.pop().is_some()
        {
            self.ready.push(only.rank(0, self.order));
        }
        let place = self.sources.len();
        self.states.push(State::Idle);
        self.open.extend(source.records.is_open().then_some(place));
        self.sources.push(source);
        self.look_at(place)
    }

    /// Whether no partition can ever have more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let is_over = |(source, state): (&Source, &State)| match state {
            State::Failed | State::Retired | State::Gone => true,
            State::Ready | State::Idle => source.records.is_done(),
        };
        self.ready.is_empty() && self.sources.iter().zip(&self.states).all(is_over)
    }

    /// Whether a partition has a record that can be shown.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The place of each partition among [`Merge::sources`], and the offset that it is to go on at. `shown_is_done` says that the
    /// record that [`Merge::next`] returned last has been dealt with.
    pub fn next_offsets(&self, shown_is_done: bool) -> impl Iterator<Item = (usize, &Source, Offset)> {
        let shown = self.shown.filter(|_| shown_is_done);
        let sources = self.sources.iter().zip(&self.states).enumerate();
        sources.filter(|(_, (_, state))| **state != State::Gone).map(move |(place, (source, _))| {
            let next = source.records.next_offset();
            let is_past = shown == Some(place) && next == source.records.offset();
            (place, source, if is_past { next.next() } else { next })
        })
    }

    /// Whether where the partition at that place is counts no more.
    #[must_use]
    pub fn is_gone(&self, place: usize) -> bool {
        self.states[place] == State::Gone
    }

    /// Whether a partition is read, or was until it could not be.
    #[must_use]
    pub fn reads(&self, partition: &TopicPartition) -> bool {
        self.place_of(partition, |state| !matches!(state, State::Retired | State::Gone)).is_some()
    }

    /// Whether any partition is read.
    #[must_use]
    pub fn reads_any(&self) -> bool {
        self.states.iter().any(|state| !matches!(state, State::Retired | State::Gone))
    }

    /// Shows no more of a partition, once what was shown is dealt with. Returns the offset behind what was shown of it; `None`
    /// where it is not read.
    ///
    /// # Errors
    /// When a partition was deleted.
    pub fn retire(&mut self, partition: &TopicPartition) -> Result<Option<Offset>> {
        self.pass_shown()?;
        let Some(place) = self.place_of(partition, |state| !matches!(state, State::Retired | State::Gone)) else {
            return Ok(None);
        };
        self.states[place] = State::Retired;
        self.ready.retain(|&Reverse((_, _, ready))| ready != place);
        Ok(Some(self.sources[place].records.next_offset()))
    }

    /// Where a partition is that was retired counts no more. Returns its place.
    ///
    /// # Errors
    /// When its files cannot be closed.
    pub fn drop_retired(&mut self, partition: &TopicPartition) -> Result<Option<usize>> {
        let Some(place) = self.place_of(partition, |state| state == State::Retired) else { return Ok(None) };
        self.states[place] = State::Gone;
        self.sources[place].records.close()?;
        self.open.retain(|&open| open != place);
        Ok(Some(place))
    }

    fn place_of(&self, partition: &TopicPartition, is_meant: impl Fn(State) -> bool) -> Option<usize> {
        let is_it = |source: &Source| source.topic == partition.topic && source.partition == partition.partition;
        let mut places = self.sources.iter().zip(&self.states).enumerate();
        places.find(|(_, (source, state))| is_it(source) && is_meant(**state)).map(|(place, _)| place)
    }

    /// Asks the partitions that had nothing left whether they have now.
    ///
    /// # Errors
    /// When one was deleted.
    pub fn look_again(&mut self) -> Result<()> {
        (0..self.sources.len()).try_for_each(|place| self.look_at(place))
    }

    /// Asks the partition at `place` among [`Merge::sources`] whether it has more now, if it had nothing left.
    ///
    /// # Errors
    /// When it was deleted.
    pub fn look_at(&mut self, place: usize) -> Result<()> {
        if self.states[place] == State::Idle && self.advance(place)? {
            self.states[place] = State::Ready;
            self.ready.push(self.sources[place].rank(place, self.order));
            // Its turn may come late: until then it holds no more memory than its share.
            if self.sources[place].records.is_over() {
                self.sources[place].records.give_back();
            }
        }
        Ok(())
    }

    fn first_ready(&self) -> Option<usize> {
        self.ready.peek().map(|&Reverse((_, _, place))| place)
    }

    /// Whether the source at `place` has a next record.
    #[inline(always)]
    fn advance(&mut self, place: usize) -> Result<bool> {
        let (open, sources) = (self.open.len(), self.sources.len());
        let advanced = if open == sources && open <= self.open_max {
            self.sources[place].advance(&mut self.unseen)
        } else {
            self.advance_among_closed(place)
        };
        match advanced {
            Ok(found) => Ok(found),
            Err(error) => self.fail(place, error).map(|()| false),
        }
    }

    /// Ends a partition that cannot be read. One that was deleted is no damage.
    #[cold]
    fn fail(&mut self, place: usize, error: StorageError) -> Result<()> {
        if matches!(error, StorageError::PartitionDeleted { .. }) {
            return Err(error);
        }
        self.states[place] = State::Failed;
        self.failed.push(error);
        Ok(())
    }

    /// The same where sources have no files open, or more have than may.
    fn advance_among_closed(&mut self, place: usize) -> Result<bool> {
        let was_open = self.sources[place].records.is_open();
        let found = self.sources[place].advance(&mut self.unseen)?;
        if !was_open || self.open.len() > self.open_max {
            self.close_others(place, was_open)?;
        }
        Ok(found)
    }

    /// Closes the files of sources that were opened before the one at `place`, until no more are open than may be.
    #[cold]
    fn close_others(&mut self, place: usize, was_open: bool) -> Result<()> {
        if !was_open && self.sources[place].records.is_open() {
            self.open.push_back(place);
        }
        while self.open.len() > self.open_max {
            match self.open.pop_front() {
                Some(first) if first == place => self.open.push_back(first),
                Some(first) => self.sources[first].records.close()?,
                None => break,
            }
        }
        Ok(())
    }

    /// The next record; `None` when no partition has one now.
    ///
    /// # Errors
    /// When a partition was deleted.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an end is not final, and the item borrows from here")]
    pub fn next(&mut self) -> Result<Option<&Source>> {
        self.pass_shown()?;
        while let Some(&Reverse((_, _, place))) = self.ready.peek() {
            match self.sources[place].records.take_up() {
                Ok(()) => {
                    self.shown = Some(place);
                    return Ok(Some(&self.sources[place]));
                }
                Err(error) => {
                    self.ready.pop();
                    self.fail(place, error)?;
                }
            }
        }
        Ok(None)
    }

    /// Goes on in the partition of the record that was shown.
    #[inline(always)]
    fn pass_shown(&mut self) -> Result<()> {
        if let Some(place) = self.shown.take() {
            if self.advance(place)? {
                if self.sources.len() > 1 {
                    *self.ready.peek_mut().expect("a source was shown") = self.sources[place].rank(place, self.order);
                    if self.sources[place].records.is_over() && self.first_ready() != Some(place) {
                        self.sources[place].records.give_back();
                    }
                }
            } else {
                self.ready.pop();
                if self.states[place] == State::Ready {
                    self.states[place] = State::Idle;
                }
            }
        }
        Ok(())
    }

    /// Appends the records that come next for certain as lines: see [`RecordReader::append_lines`]. Returns how many there
    /// were; the last of them takes the place of the one that [`Merge::next`] has returned.
    #[inline]
    pub fn append_lines(&mut self, delimiter: u8, limits: (u64, usize), lines: &mut Vec<u8>) -> u64 {
        match &mut self.sources[..] {
            [only] if self.shown.is_some() && only.filter.is_empty() && only.newest.is_none() => {
                only.records.append_lines(delimiter, limits, lines)
            }
            _ => 0,
        }
    }

    /// The partition whose record [`Merge::next`] has returned last.
    #[inline]
    #[must_use]
    pub fn shown(&self) -> &Source {
        &self.sources[self.shown.expect("a source was shown")]
    }

    /// Which of [`Merge::sources`] that is, and the record's offset.
    #[inline]
    #[must_use]
    pub fn shown_at(&self) -> (usize, Offset) {
        let place = self.shown.expect("a source was shown");
        (place, self.sources[place].records.offset())
    }

    /// Why partitions could not be read any further, since the last call.
    pub fn take_failed(&mut self) -> Vec<StorageError> {
        std::mem::take(&mut self.failed)
    }

    /// What was not to be seen since the last call.
    pub fn take_unseen(&mut self) -> Unseen {
        std::mem::take(&mut self.unseen)
    }
}
