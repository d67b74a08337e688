//! Reads the partitions that are wanted in one order, at the pace that is wanted, to the end or on and on.

use super::delivery::Delivery;
use super::follow::{Follower, Newcomers};
use super::merge::{Merge, Order};
use super::newest::Newest;
use super::pace::{Pace, Speed};
use super::selection::{Selector, open_partitions_max};
use super::sharing::Sharing;
use super::{Commit, ConsumeError, Positions, Result, Selection};
use crate::disk::outlet::Outlet;
use crate::disk::watch::{Wakers, Woken};
use crate::logdir::LogDirs;
use crate::storage::{OpenTransaction, ReadMemory, StorageError};
use crate::stream::output::RecordFormat;
use crate::units::{self, Offset, Timestamp, TopicPartition};
use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// How long a pause between records lasts at most before [`Event::Paused`] comes again.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// What is read, and how it is written.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which records.
    pub selection: Selection,
    /// How partitions are merged.
    pub order: Order,
    /// How a record is written.
    pub format: RecordFormat,
    /// Stop after this many records.
    pub records_max: Option<u64>,
    /// Go on at the end of the log. The time bound of the selection ends that when it has come.
    pub follow: bool,
    /// End when so long nothing was written that was waited for.
    pub idle_timeout: Option<units::Duration>,
    /// Keep the pauses between records.
    pub speed: Option<Speed>,
}

/// What a consumer works with besides the log dirs.
#[derive(Debug, Clone, Copy)]
pub struct Environment<'a> {
    /// Where records are written.
    pub outlet: Outlet,
    /// When a position passes a record.
    pub commit: Commit<'a>,
    /// How often positions are kept; as often as costs little, where that is not said.
    pub commit_every: Option<Duration>,
    /// What may ask it to stop.
    pub interrupt: Option<Interrupt<'a>>,
    /// The time now.
    pub clock: fn() -> Timestamp,
}

/// A request to stop.
#[derive(Debug, Clone, Copy)]
pub struct Interrupt<'a> {
    /// Readable once it has come.
    pub descriptor: BorrowedFd<'a>,
    /// Whether it has come.
    pub has_come: fn() -> bool,
}

impl<'a> Environment<'a> {
    pub(super) fn wakers(&self) -> Wakers<'a> {
        let stop = self.interrupt.map(|interrupt| interrupt.descriptor);
        Wakers { output: self.outlet.descriptor(), stop, input: None }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.interrupt.is_some_and(|interrupt| (interrupt.has_come)())
    }
}

/// What is to be said while records are read. None of it ends the reading.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A pattern matches no topic yet.
    NothingMatches {
        /// The pattern.
        pattern: &'a str,
    },
    /// A partition has no folder yet and is empty.
    NoFolder {
        /// The partition.
        partition: &'a TopicPartition,
    },
    /// A partition cannot be read, or not any further.
    Failed {
        /// Why.
        error: ConsumeError,
    },
    /// A position is not used, since it belongs to a deleted topic of the same name.
    PositionIgnored {
        /// The partition.
        partition: &'a TopicPartition,
    },
    /// Records were removed before they were read.
    Missed {
        /// The partition.
        partition: &'a TopicPartition,
        /// The first that was missed.
        from: Offset,
        /// Where reading goes on.
        log_start_offset: Offset,
    },
    /// Damage was stepped over.
    SteppedOver {
        /// What is wrong, and where.
        damage: StorageError,
        /// Where reading goes on.
        next_offset: Offset,
    },
    /// Damage was stepped over at further places.
    SteppedOverMore {
        /// How many.
        places: u64,
    },
    /// Nothing more is shown of a partition since a transaction has not ended.
    TransactionOpen {
        /// The partition.
        partition: &'a TopicPartition,
        /// The transaction.
        transaction: OpenTransaction,
    },
    /// Other members of the group have partitions that this one is to have.
    WaitsForMembers {
        /// What they say of themselves.
        members: &'a [String],
    },
    /// A group's position could not be kept behind all that the reader has processed: some of it is not known to be durable.
    NotDurable,
    /// The reader has not acknowledged all that was written.
    Unacknowledged {
        /// How many records.
        records: usize,
    },
    /// Records were written.
    Written {
        /// How many so far.
        records: u64,
        /// How many bytes so far.
        bytes: u64,
    },
    /// The next record is waited for, as there was a pause before it.
    Paused {
        /// How many records were written so far.
        records: u64,
        /// Where in time the replay is.
        at: Timestamp,
    },
}

/// How reading has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All was written that was wanted.
    Complete,
    /// Nobody reads the output any more.
    OutputClosed,
    /// It was asked to stop.
    Stopped,
}

/// Reads topics.
pub struct Consumer<'a> {
    pub(super) log_dirs: &'a LogDirs,
    pub(super) options: &'a Options,
    pub(super) selector: Selector<'a>,
    pub(super) environment: Environment<'a>,
    pub(super) tell: &'a mut dyn FnMut(Event<'_>),
    pub(super) merge: Merge,
    pub(super) follower: Option<Follower>,
    /// How partitions are shared with the other members of a group.
    pub(super) shared: Option<Sharing>,
    pub(super) delivery: Delivery<'a>,
    /// Records that are passed over before the first is written.
    skip: u64,
    left: u64,
    /// Whether no topic was there at the start, of those that may come.
    awaits_topics: bool,
    pace: Option<Pace>,
    written: u64,
    idle: Idle,
}

/// Since when nothing was written, and how many records were by then.
struct Idle {
    since: Timestamp,
    written: u64,
}

impl<'a> Consumer<'a> {
    /// Opens what `options` select, where `positions` have it go on. Nothing is written yet. `tell` is called with what is to
    /// be said, from here on.
    ///
    /// # Errors
    /// When nothing can be read of what is selected, or the selection does not fit the topics.
    pub fn open(
        log_dirs: &'a LogDirs,
        options: &'a Options,
        positions: Positions,
        environment: Environment<'a>,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let mut delivery = Delivery::new(log_dirs, positions, environment)?;
        let selector = Selector {
            selection: &options.selection,
            follow: options.follow,
            keeps_positions: delivery.ledger.is_some(),
            is_stopped: environment.interrupt.map(|interrupt| interrupt.has_come),
            is_shared: delivery.group().is_some(),
            memory: ReadMemory::default(),
            disk: &**log_dirs.first().disk(),
        };
        let shared = Sharing::begin(log_dirs, &selector, &mut delivery)?;
        let follows_all = options.follow && shared.is_none();
        let newcomers = follows_all.then(|| Newcomers::new(log_dirs, (environment.clock)())).transpose()?;
        let mut partitions = selector.partitions(log_dirs, delivery.ledger.as_ref(), tell)?;
        if let Some(group) = delivery.group() {
            partitions.retain(|partition| group.has(partition));
        }
        let awaits_topics = partitions.is_empty() && shared.is_none();
        delivery.refuse_other_topics(&partitions)?;
        let selected = selector.sources(log_dirs, partitions, delivery.ledger.as_ref(), tell)?;
        if let Some(group) = delivery.group() {
            selected.unreadable.iter().try_for_each(|partition| group.refuse(partition))?;
        }
        let newcomers = newcomers.map(|mut newcomers| {
            newcomers.know(&selected.sources);
            newcomers.leave_out(selected.unreadable);
            newcomers
        });
        delivery.widen();
        let merge = Merge::new(selected.sources, options.order).with_open_max(open_partitions_max());
        let mut follower = options.follow.then(|| Follower::new(log_dirs, newcomers, &merge));
        if let (Some(shared), Some(follower)) = (&shared, &mut follower) {
            shared.lock_files().for_each(|file| follower.watch_members(file));
        }
        Ok(Self {
            log_dirs,
            options,
            awaits_topics,
            selector,
            environment,
            tell,
            merge,
            follower,
            shared,
            delivery,
            skip: selected.passed_over,
            left: options.records_max.unwrap_or(u64::MAX),
            pace: options.speed.map(Pace::new),
            written: 0,
            idle: Idle { since: (environment.clock)(), written: 0 },
        })
    }

    /// Writes what there is; when it follows, until something ends it.
    ///
    /// # Errors
    /// When a topic was deleted, the output takes no more, or a position cannot be kept.
    pub fn run(mut self) -> Result<Ended> {
        let begun = self.begin();
        self.tell_unseen();
        begun?;
        self.delivery.add(&self.options.format.heading());
        let written = self.write_all();
        self.tell_unseen();
        // What was read before an error is the user's all the same.
        let finished = self.delivery.finish(&self.merge, written.as_ref().ok().copied(), self.left == 0);
        self.tell_written();
        if self.delivery.unacknowledged() > 0 && written.is_ok() {
            (self.tell)(Event::Unacknowledged { records: self.delivery.unacknowledged() });
        }
        if finished.is_ok() && self.delivery.is_ahead_of_durable() {
            (self.tell)(Event::NotDurable);
        }
        // A reader that has gone wants no more: that is an end and no error, and hides none of what is kept.
        match (or_closed(written)?, or_closed(finished)) {
            (Ended::OutputClosed, Ok(_) | Err(ConsumeError::Output(_))) => Ok(Ended::OutputClosed),
            (_, finished) => finished,
        }
    }

    /// Goes to the first record that is wanted, and keeps where that is.
    fn begin(&mut self) -> Result<()> {
        self.merge.look_again()?;
        self.delivery.shown_is_done = true;
        while self.skip > 0 && self.merge.next()?.is_some() {
            self.skip -= 1;
        }
        self.delivery.note_starts(&self.merge)
    }

    fn write_all(&mut self) -> Result<Ended> {
        loop {
            // What is appended after this time is not wanted any more, so all that was appended before it is read once more.
            let until = self.options.selection.until;
            let is_over = until.is_some_and(|until| (self.environment.clock)() >= until);
            if is_over {
                self.merge.look_again()?;
            }
            if let Some(ended) = self.write_what_is_there()? {
                return Ok(ended);
            }
            self.tell_unseen();
            self.share()?;
            // Of a partition that was taken over just now, there may be records.
            if self.left > 0 && self.merge.has_ready() {
                continue;
            }
            if self.follower.is_none() {
                let waits = if self.left > 0 { self.wait_for_members()? } else { None };
                if let Some(woken) = waits {
                    match woken {
                        Woken::Look => continue,
                        Woken::OutputClosed => return Ok(Ended::OutputClosed),
                        Woken::Stop => return Ok(Ended::Stopped),
                    }
                }
                self.tell_open_transactions();
                self.tell_overtaken();
                return Ok(Ended::Complete);
            }
            let awaits_others = self.shared.is_some() && !self.merge.reads_any();
            let is_done =
                self.merge.is_done() && !(self.awaits_topics && self.merge.sources().is_empty()) && !awaits_others;
            if self.left == 0 || is_over || is_done || self.is_idle_for_too_long() {
                return Ok(Ended::Complete);
            }
            if let Some(ended) = self.write_and_keep()? {
                return Ok(ended);
            }
            if let Some(ended) = self.wait_for_more()? {
                return Ok(ended);
            }
        }
    }

    /// Whether nothing has come for as long as is waited for.
    fn is_idle_for_too_long(&mut self) -> bool {
        let now = (self.environment.clock)();
        // A clock that was set back does not make the wait longer.
        if self.idle.written != self.written || now < self.idle.since {
            self.idle = Idle { since: now, written: self.written };
        }
        self.idle_left(now).is_some_and(|left| left.is_zero())
    }

    fn idle_left(&self, now: Timestamp) -> Option<Duration> {
        let left = i128::from(self.options.idle_timeout?.0) - now.since(self.idle.since);
        Some(Duration::from_millis(left.clamp(0, i128::from(i64::MAX)) as u64))
    }

    /// Waits until there may be more; `Some` where reading is to end.
    fn wait_for_more(&mut self) -> Result<Option<Ended>> {
        let idle_left = self.idle_left((self.environment.clock)());
        let Some(follower) = &mut self.follower else { return Ok(None) };
        let clock = self.environment.clock;
        let until = self.options.selection.until;
        let at_most = until.map_or(Duration::MAX, |until| Duration::from_millis(until.since(clock()).max(0) as u64));
        let at_most = at_most.min(self.delivery.pause_before_keeping());
        let at_most = idle_left.map_or(at_most, |left| at_most.min(left));
        let at_most = self.shared.as_ref().map_or(at_most, |shared| at_most.min(shared.pause()));
        let partitions = self.merge.sources().len();
        let (wakers, opener) = (self.delivery.wakers(), (&self.selector, self.log_dirs));
        match follower.wait(&wakers, at_most, opener, clock, &mut self.merge, self.tell)? {
            Woken::Look if self.merge.sources().len() > partitions => self.delivery.note_starts(&self.merge)?,
            Woken::Look => {}
            Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
            Woken::Stop => return Ok(Some(Ended::Stopped)),
        }
        Ok(None)
    }

    /// Writes all that can be had without waiting for the log; `Some` where reading is to end before.
    fn write_what_is_there(&mut self) -> Result<Option<Ended>> {
        let options = self.options;
        let lines = options.format.line_delimiter().filter(|_| self.pace.is_none() && self.delivery.takes_lines());
        while self.left > 0 {
            self.delivery.shown_is_done = true;
            // What was shown last is in the buffer, and no record is shown that is not.
            if self.shared.as_mut().is_some_and(Sharing::take_due) {
                self.share()?;
            }
            if self.merge.next()?.is_none() {
                // It may be the stop that has ended the search for one.
                return Ok(self.environment.is_stopped().then_some(Ended::Stopped));
            }
            // Only now is it known that the buffer does not hold the last record.
            if self.delivery.is_full() {
                self.delivery.shown_is_done = false;
                let ended = self.delivery.pass(&self.merge)?;
                if let Some(ended) = ended {
                    return Ok(Some(ended));
                }
                self.tell_written();
                if self.environment.is_stopped() {
                    return Ok(Some(Ended::Stopped));
                }
                self.note_if_due_to_share();
                self.delivery.shown_is_done = true;
            }
            if let Some(ended) = self.keep_pace()? {
                return Ok(Some(ended));
            }
            self.delivery.add_shown(&options.format, &self.merge);
            self.left -= 1;
            self.written += 1;
            // Lines need no look at each from all sides.
            if let Some(delimiter) = lines {
                let count = self.delivery.add_lines(delimiter, self.left, &mut self.merge);
                self.left -= count;
                self.written += count;
            }
        }
        Ok(None)
    }

    /// Waits until the record that is shown is due; `Some` where reading is to end before it.
    #[inline]
    fn keep_pace(&mut self) -> Result<Option<Ended>> {
        let Some(pace) = &mut self.pace else { return Ok(None) };
        let timestamp = self.merge.shown().front().timestamp;
        if pace.pause(timestamp).is_zero() {
            return Ok(None);
        }
        self.delivery.shown_is_done = false;
        let ended = self.wait_until_due(timestamp)?;
        self.delivery.shown_is_done = ended.is_none();
        Ok(ended)
    }

    fn wait_until_due(&mut self, timestamp: Timestamp) -> Result<Option<Ended>> {
        loop {
            if let Some(ended) = self.write_and_keep()? {
                return Ok(Some(ended));
            }
            let Some(pace) = &mut self.pace else { return Ok(None) };
            let pause = pace.pause(timestamp);
            (self.tell)(Event::Paused { records: self.written, at: pace.stands_at(timestamp) });
            if pause.is_zero() {
                return Ok(None);
            }
            match self.delivery.wakers().pause(pause.min(PAUSE_MAX))? {
                Woken::Look => {}
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
            }
        }
    }

    pub(super) fn write_and_keep(&mut self) -> Result<Option<Ended>> {
        let ended = self.delivery.write_and_keep(&self.merge)?;
        if ended.is_none() {
            self.tell_written();
        }
        Ok(ended)
    }

    fn tell_written(&mut self) {
        (self.tell)(Event::Written { records: self.written, bytes: self.delivery.bytes });
    }

    /// Tells of records that could not be shown.
    fn tell_unseen(&mut self) {
        let unseen = self.merge.take_unseen();
        for it in unseen.missed {
            let partition = &TopicPartition { topic: it.topic, partition: it.partition };
            (self.tell)(Event::Missed { partition, from: it.from, log_start_offset: it.log_start_offset });
        }
        for it in unseen.damaged {
            (self.tell)(Event::SteppedOver { damage: it.damage, next_offset: it.next_offset });
        }
        if unseen.damaged_more > 0 {
            (self.tell)(Event::SteppedOverMore { places: unseen.damaged_more });
        }
        for error in self.merge.take_failed() {
            (self.tell)(Event::Failed { error: error.into() });
        }
    }

    /// Tells of newest records that were removed before they were shown, where all were to be.
    fn tell_overtaken(&mut self) {
        for source in self.merge.sources().iter().filter(|_| self.left > 0) {
            let records = source.newest.as_ref().map_or(0, Newest::unseen);
            if records > 0 {
                let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
                (self.tell)(Event::Failed { error: ConsumeError::Overtaken { partition, records } });
            }
        }
    }

    /// Tells of records that are not shown since a transaction has not ended.
    fn tell_open_transactions(&mut self) {
        for source in self.merge.sources() {
            let Some(transaction) = source.records.open_transaction() else { continue };
            let partition = &TopicPartition { topic: source.topic.clone(), partition: source.partition };
            (self.tell)(Event::TransactionOpen { partition, transaction });
        }
    }
}

/// That nobody reads the output is an end, however it has shown.
fn or_closed(ended: Result<Ended>) -> Result<Ended> {
    match ended {
        Err(ConsumeError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(Ended::OutputClosed),
        ended => ended,
    }
}
