//! Brings the records of several partitions into one order.
//!
//! By time: of the records that stand at the front of each partition, the one with the smallest timestamp comes first,
//! then the smaller offset, then the smaller partition; each partition's own order is kept. By partition: one after the
//! other. Memory is one batch a partition, and nothing is allocated a record.

use super::filter::Filter;
use super::json::Located;
use crate::storage::{Advance, RecordReader, Result};
use crate::units::{Offset, TopicName};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

/// In which order partitions are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// By timestamp.
    #[default]
    Time,
    /// One partition after the other.
    Partition,
}

/// A partition to be read.
pub struct Source {
    /// The topic it belongs to.
    pub topic: TopicName,
    /// Its number.
    pub partition: i32,
    /// Its records, from where they are wanted.
    pub records: RecordReader,
    /// Which of them are wanted.
    pub filter: Filter,
}

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

impl Source {
    /// The next wanted record, if there is one now. What was gone before it was read is added to `missed`.
    ///
    /// # Errors
    /// When the partition cannot be read.
    #[inline]
    pub fn advance(&mut self, missed: &mut Vec<Missed>) -> Result<bool> {
        loop {
            if self.filter.searches()
                && let Some((records, start, base_offset)) = self.records.ahead()
            {
                let candidate = self.filter.next_candidate(records, start, base_offset);
                if candidate > start {
                    self.records.skip_to(candidate);
                }
            }
            match self.records.advance()? {
                Advance::Record if self.filter.passes(&self.records.record()) => return Ok(true),
                Advance::Record => {}
                Advance::End => return Ok(false),
                Advance::LogStartPassed { missed_from: from, log_start_offset } => {
                    let (topic, partition) = (self.topic.clone(), self.partition);
                    missed.push(Missed { topic, partition, from, log_start_offset });
                }
            }
        }
    }

    fn rank(&self, place: usize, order: Order) -> Rank {
        match order {
            Order::Time => Reverse((self.records.timestamp(), self.records.offset(), place)),
            Order::Partition => Reverse((0, Offset::ZERO, place)),
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
            timestamp_ms: self.records.timestamp(),
            timestamp_type: self.records.timestamp_type(),
            record: self.records.record(),
        }
    }
}

/// What decides which source comes next: timestamp, offset, place in the list.
type Rank = Reverse<(i64, Offset, usize)>;

/// The records of several partitions in one order.
pub struct Merge {
    sources: Vec<Source>,
    order: Order,
    /// The sources that have a record at their front.
    ready: BinaryHeap<Rank>,
    /// The sources that had none when they were asked last.
    idle: Vec<usize>,
    /// Whether the front of the first source in order has been handed out.
    shown: bool,
    missed: Vec<Missed>,
}

impl Merge {
    /// Merges `sources`, which stand in the order that decides where all else is equal.
    #[must_use]
    pub fn new(sources: Vec<Source>, order: Order) -> Self {
        let idle = (0..sources.len()).collect();
        Self { sources, order, ready: BinaryHeap::new(), idle, shown: false, missed: Vec::new() }
    }

    /// The partitions.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Adds a partition, to be asked with the next look.
    pub fn add(&mut self, source: Source) {
        self.idle.push(self.sources.len());
        self.sources.push(source);
    }

    /// Whether no partition can ever have more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.ready.is_empty() && self.sources.iter().all(|source| source.records.is_done())
    }

    /// The offset that each partition is to go on at. `shown_is_done` says that the record that [`Merge::next`] returned
    /// last has been dealt with.
    pub fn next_offsets(&self, shown_is_done: bool) -> impl Iterator<Item = (&Source, Offset)> {
        let shown = self.ready.peek().filter(|_| self.shown && shown_is_done).map(|Reverse((_, _, place))| *place);
        self.sources.iter().enumerate().map(move |(place, source)| {
            let next = source.records.next_offset();
            let is_past = shown == Some(place) && next == source.records.offset();
            (source, if is_past { next.next() } else { next })
        })
    }

    /// Asks the partitions that had nothing left whether they have now.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn look_again(&mut self) -> Result<()> {
        let mut still_idle = Vec::new();
        for place in std::mem::take(&mut self.idle) {
            if self.sources[place].advance(&mut self.missed)? {
                self.ready.push(self.sources[place].rank(place, self.order));
            } else {
                still_idle.push(place);
            }
        }
        self.idle = still_idle;
        Ok(())
    }

    /// The next record; `None` when no partition has one now.
    ///
    /// # Errors
    /// When a partition cannot be read.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "an end is not final, and the item borrows from here")]
    pub fn next(&mut self) -> Result<Option<&Source>> {
        if std::mem::take(&mut self.shown) {
            let mut first = self.ready.peek_mut().expect("a source was shown");
            let Reverse((_, _, place)) = *first;
            if self.sources[place].advance(&mut self.missed)? {
                if self.sources.len() > 1 {
                    *first = self.sources[place].rank(place, self.order);
                }
            } else {
                PeekMut::pop(first);
                self.idle.push(place);
            }
        }
        let Some(&Reverse((_, _, place))) = self.ready.peek() else { return Ok(None) };
        self.shown = true;
        Ok(Some(&self.sources[place]))
    }

    /// Appends the records that come next for certain as lines: see [`RecordReader::append_lines`]. Returns how many there
    /// were; the last of them takes the place of the one that [`Merge::next`] has returned.
    #[inline]
    pub fn append_lines(&mut self, delimiter: u8, limits: (u64, usize), lines: &mut Vec<u8>) -> u64 {
        match &mut self.sources[..] {
            [only] if self.shown && only.filter.is_empty() => only.records.append_lines(delimiter, limits, lines),
            _ => 0,
        }
    }

    /// The partition whose record [`Merge::next`] has returned last.
    #[inline]
    #[must_use]
    pub fn shown(&self) -> &Source {
        let Reverse((_, _, place)) = self.ready.peek().expect("a source was shown");
        &self.sources[*place]
    }

    /// The records that were gone before they were read, since the last call.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        std::mem::take(&mut self.missed)
    }
}
