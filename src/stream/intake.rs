//! From an input to batches: reads, cuts, splits off keys, places each record, and writes what is there as soon as the
//! input would block.

use super::batcher::Batcher;
use super::framing::{Frame, Framing, LENGTH_SIZE};
use super::json::Envelope;
use super::line_time::{LineTime, LineTimeState};
use super::partitioner::Partitioner;
use super::pipeline::BatchStore;
use super::storing::{Gathering, Storing};
use super::{Place, StreamError};
use crate::format::record::NewRecord;
use crate::units::{Passes, Timestamp};
use memchr::memmem::Finder;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// Bytes read at a time.
const READ_SIZE: usize = 256 << 10;
/// A record that is too large is counted to its end for the message, but no further than this.
const COUNT_MAX: u64 = 1 << 30;

/// What to expect of an input now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// A read returns at once, with bytes or with the end.
    Ready,
    /// Nothing came in time.
    NotReady,
    /// The user or a failure asks to stop.
    Stop,
}

/// Bytes to come.
pub trait Input {
    /// What messages call it.
    fn name(&self) -> &str;
    /// Waits until there is something to read or the time is up; `None` waits without end.
    ///
    /// # Errors
    /// When the input is broken.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Readiness>;
    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// When the input is broken.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

/// What a record is made of, beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct RecordRule {
    /// The key of every record.
    pub key: Option<Vec<u8>>,
    /// What stands between key and value of each.
    pub key_delimiter: Option<Vec<u8>>,
    /// On every record.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// The timestamp of every record; otherwise the time when it was read.
    pub timestamp: Option<Timestamp>,
    /// How each record has its own time. One that has none has that of the record before it, as the later lines of a stack trace
    /// do.
    pub line_time: Option<LineTime>,
    /// Whether an empty key or value is null.
    pub null_empty: bool,
    /// Whether each record is a JSON envelope.
    pub is_json: bool,
    /// Whether a record must have a key.
    pub needs_key: bool,
}

/// Where records go.
#[derive(Debug, Clone, Copy)]
pub struct Placement {
    /// The one partition for all of them.
    pub partition: Option<i32>,
    /// Otherwise, by what rule.
    pub partitioner: Partitioner,
    /// Over how many.
    pub partition_count: i32,
}

/// What the intake asks and tells on its way.
pub trait IntakeSink {
    /// What can go wrong.
    type Error: From<StreamError>;
    /// What stores the batches.
    type Store: BatchStore<Error = Self::Error>;
    /// What time it is.
    fn now(&self) -> Timestamp;
    /// Where round-robin goes on: the sum of the log end offsets. Asked once, when the first record needs it.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn round_robin_start(&mut self) -> Result<i64, Self::Error>;
    /// Whether the topic has this partition.
    fn has_partition(&self, partition: i32) -> bool;
    /// Everything read so far has been stored: the input is idle, has ended, or is stored [`Storing::EachRead`].
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn sync_point(&mut self) -> Result<(), Self::Error>;
    /// Hears of progress after each read: bytes and records taken in so far.
    fn progress(&mut self, bytes: u64, records: u64);
    /// Whether the intake goes on behind an input that makes no record.
    fn skips(&self) -> bool;
    /// Takes a piece of such an input, whose end has not come. Only where it [`IntakeSink::skips`].
    ///
    /// # Errors
    /// When it cannot be kept.
    fn reject_piece(&mut self, piece: &[u8]) -> Result<(), Self::Error>;
    /// Takes such an input, or its last piece, with what ended it.
    ///
    /// # Errors
    /// `problem`, which ends the intake, unless it [`IntakeSink::skips`].
    fn reject(&mut self, last_piece: &[u8], problem: StreamError) -> Result<(), Self::Error>;
}

/// How an input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// At its end.
    Complete,
    /// Because of a stop; so many bytes of a record that was not complete were left out.
    Stopped {
        /// 0 where the input stopped between two records.
        left_out: usize,
    },
}

/// How much has been taken in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of the input that became records, with what ends each.
    pub bytes: u64,
    /// Records.
    pub records: u64,
    /// Those of them that had no time where a [`RecordRule::line_time`] was given.
    pub untimed: u64,
    /// How their local times were read that come twice.
    pub passes: Passes,
}

/// Takes inputs in, one after the other.
pub struct Intake<B: BatchStore> {
    framing: Framing,
    rule: RecordRule,
    router: Router<B>,
    window: Window,
}

/// The bytes that have been read, and which of them have not been used.
struct Window {
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
}

impl Window {
    fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Moves what is unread to the front, and takes more memory where a record needs it.
    fn make_room(&mut self) -> &mut [u8] {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.buffer.len() < self.unread.end + READ_SIZE / 2 {
            self.buffer.resize(self.unread.end + READ_SIZE, 0);
        }
        &mut self.buffer[self.unread.end..]
    }

    /// Reads once; 0 is the end.
    fn read(&mut self, input: &mut dyn Input) -> Result<usize, StreamError> {
        let read = input.read(self.make_room()).map_err(|source| broken(input.name(), source))?;
        self.unread.end += read;
        Ok(read)
    }
}

/// Where a record stands, for messages.
#[derive(Clone, Copy)]
struct At<'a> {
    input: &'a str,
    unit: &'static str,
    number: u64,
}

impl At<'_> {
    fn place(self) -> Place {
        Place { input: self.input.to_owned(), unit: self.unit, number: self.number }
    }
}

fn broken(input: &str, source: io::Error) -> StreamError {
    StreamError::Read { input: input.to_owned(), source }
}

impl<B: BatchStore> Intake<B> {
    /// An intake for one topic.
    #[must_use]
    pub fn new(
        framing: Framing,
        rule: RecordRule,
        placement: Placement,
        batcher: Batcher<B>,
        batch_size_max: usize,
        storing: Storing,
    ) -> Self {
        let needs_key = rule.needs_key;
        let router = Router {
            placement,
            batcher,
            batch_size_max,
            gathering: Gathering::new(storing),
            needs_key,
            next_in_turn: None,
            now: Timestamp::default(),
            line_times: LineTimeState::default(),
            taken: Taken::default(),
        };
        Self { framing, rule, router, window: Window { buffer: vec![0; READ_SIZE], unread: 0..0 } }
    }

    /// The same, where a record is stored after so long at the latest, although its batch is not full and the input does not
    /// stand still.
    #[must_use]
    pub fn gathering_at_most(mut self, at_most: Duration) -> Self {
        self.router.gathering = self.router.gathering.at_most(at_most);
        self
    }

    /// What has been taken in so far.
    #[must_use]
    pub const fn taken(&self) -> Taken {
        let Router { line_times, taken, .. } = &self.router;
        Taken { untimed: line_times.untimed(), passes: line_times.passes(), ..*taken }
    }

    /// Takes all of `input` in. Whatever ends it, the records before have been passed on.
    ///
    /// # Errors
    /// When the input is broken or holds something that cannot be stored, or the sink fails.
    pub fn take<S: IntakeSink<Store = B, Error = B::Error>>(
        &mut self,
        input: &mut dyn Input,
        sink: &mut S,
    ) -> Result<Ended, S::Error> {
        let taken = self.take_records(input, sink);
        let flushed = self.router.batcher.flush();
        // What could not be stored is of more interest than why the input ended.
        flushed?;
        let ended = taken?;
        sink.sync_point()?;
        Ok(ended)
    }

    fn take_records<S: IntakeSink<Store = B, Error = B::Error>>(
        &mut self,
        input: &mut dyn Input,
        sink: &mut S,
    ) -> Result<Ended, S::Error> {
        let Self { framing, rule, router, window } = self;
        let mut maker = RecordMaker::new(rule);
        let unit = if rule.is_json { "line" } else { framing.unit() };
        let (mut number, mut searched, mut ended) = (0, 0, false);
        window.unread = 0..0;
        router.line_times.next_input();
        router.now = router.now.max(sink.now());
        let plain = maker.is_plain(framing);
        loop {
            if let Some(delimiter) = plain
                && searched == 0
            {
                let (bytes, records) = router.add_lines(window.unread(), delimiter, rule.timestamp);
                window.unread.start += bytes;
                number += records;
            }
            let frame = framing.next(window.unread(), ended, searched);
            let at = At { input: input.name(), unit, number: number + 1 };
            let at_least = match frame {
                Frame::Record { start, end, next } => {
                    maker.take(&window.unread()[..next], start..end, at, router, sink)?;
                    number += 1;
                    window.unread.start += next;
                    searched = 0;
                    continue;
                }
                Frame::End => return Ok(Ended::Complete),
                Frame::Cut { announced } => {
                    let what = format!("{announced} bytes announced, and the input ends before them");
                    sink.reject(window.unread(), StreamError::Cut { place: at.place(), what })?;
                    return Ok(Ended::Complete);
                }
                Frame::More { at_least } => at_least,
            };
            searched = window.unread.len();
            if at_least > router.batch_size_max {
                let place = at.place();
                let oversize = Oversize::new(framing, at_least, place, router.batch_size_max);
                match oversize.pass_over(window, &mut ended, input, sink, router)? {
                    Ended::Complete => (number, searched) = (number + 1, 0),
                    stopped => return Ok(stopped),
                }
                continue;
            }
            if router.wait(input, sink)? == Readiness::Stop {
                return Ok(Ended::Stopped { left_out: window.unread.len() });
            }
            ended = window.read(input)? == 0;
            router.now = router.now.max(sink.now());
            sink.progress(router.taken.bytes, router.taken.records);
        }
    }
}

/// A record that is too large already, although its end has not come.
struct Oversize<'a> {
    framing: &'a Framing,
    /// Bytes of it that are to come or at hand, where it announces them.
    announced: Option<usize>,
    place: Place,
    limit: usize,
}

impl<'a> Oversize<'a> {
    fn new(framing: &'a Framing, at_least: usize, place: Place, limit: usize) -> Self {
        Self { framing, announced: matches!(framing, Framing::Len32).then_some(at_least), place, limit }
    }

    fn problem(&self, size: u64, size_is_exact: bool) -> StreamError {
        StreamError::RecordTooLarge { place: self.place.clone(), size, size_is_exact, limit: self.limit }
    }

    /// Goes behind it. Where the sink stops at it, that is only done to tell its size.
    #[cold]
    fn pass_over<S: IntakeSink>(
        self,
        window: &mut Window,
        ended: &mut bool,
        input: &mut dyn Input,
        sink: &mut S,
        router: &mut Router<S::Store>,
    ) -> Result<Ended, S::Error> {
        let size_announced = self.announced.map(|total| (total - LENGTH_SIZE) as u64);
        let count_max = match (sink.skips(), size_announced) {
            (true, _) => u64::MAX,
            (false, None) => COUNT_MAX,
            (false, Some(_)) => 0,
        };
        let mut passed = 0;
        loop {
            if passed >= count_max {
                let problem = self.problem(size_announced.unwrap_or(passed), size_announced.is_some());
                sink.reject(&[], problem)?;
            }
            let unread = window.unread();
            let (piece, end) = self.piece(unread, passed, *ended);
            if let Some(end) = end {
                let size = size_announced.unwrap_or(passed + end as u64);
                sink.reject(&unread[..piece], self.problem(size, true))?;
                window.unread.start += piece;
                return Ok(Ended::Complete);
            }
            if sink.skips() {
                sink.reject_piece(&unread[..piece])?;
            }
            passed += piece as u64;
            window.unread.start += piece;
            if router.wait(input, sink)? == Readiness::Stop {
                return Ok(Ended::Stopped { left_out: passed as usize + window.unread.len() });
            }
            *ended = window.read(input)? == 0;
        }
    }

    /// How much of the bytes at hand belongs to it, and, where it ends there, how many of them before what ends it.
    fn piece(&self, unread: &[u8], passed: u64, ended: bool) -> (usize, Option<usize>) {
        if let Some(total) = self.announced {
            let left = total - passed as usize;
            let piece = left.min(unread.len());
            return (piece, (piece == left || ended).then_some(piece));
        }
        match self.framing.next(unread, ended, 0) {
            Frame::Record { end, next, .. } => (next, Some(end)),
            // The first bytes of a longer delimiter may be at hand.
            Frame::More { .. } => (unread.len().saturating_sub(self.framing.delimiter_size() - 1), None),
            Frame::End | Frame::Cut { .. } => (unread.len(), Some(unread.len())),
        }
    }
}

/// Makes a record of the bytes of each frame.
struct RecordMaker<'a> {
    rule: &'a RecordRule,
    key_finder: Option<Finder<'a>>,
    headers: Vec<(&'a [u8], Option<&'a [u8]>)>,
}

impl<'a> RecordMaker<'a> {
    fn new(rule: &'a RecordRule) -> Self {
        Self {
            rule,
            key_finder: rule.key_delimiter.as_ref().map(Finder::new),
            headers: rule.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect(),
        }
    }

    /// Where each record is a line that has nothing but a value: what ends it.
    fn is_plain(&self, framing: &Framing) -> Option<u8> {
        let rule = self.rule;
        let has_more = rule.is_json
            || rule.needs_key
            || rule.null_empty
            || rule.key.is_some()
            || !rule.headers.is_empty()
            || rule.key_delimiter.is_some()
            || rule.line_time.is_some();
        match framing {
            Framing::Byte(delimiter) if !has_more => Some(*delimiter),
            _ => None,
        }
    }

    /// Makes a record of those of the `framed` bytes that `content` names.
    #[inline]
    fn take<S: IntakeSink>(
        &mut self,
        framed: &[u8],
        content: Range<usize>,
        at: At<'_>,
        router: &mut Router<S::Store>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let bytes = &framed[content];
        if self.rule.is_json {
            return self.take_envelope(framed, bytes, at, router, sink);
        }
        let (mut key, mut value) = (self.rule.key.as_deref(), Some(bytes));
        if let Some(finder) = &self.key_finder {
            let Some(split) = finder.find(bytes) else {
                let delimiter = String::from_utf8_lossy(finder.needle()).into_owned();
                return sink.reject(framed, StreamError::NoKeyDelimiter { place: at.place(), delimiter });
            };
            (key, value) = (Some(&bytes[..split]), Some(&bytes[split + finder.needle().len()..]));
        }
        if self.rule.null_empty {
            (key, value) = (key.filter(|key| !key.is_empty()), value.filter(|value| !value.is_empty()));
        }
        let timestamp = match &self.rule.line_time {
            None => self.rule.timestamp.unwrap_or(router.now),
            Some(line_time) => match line_time.of_record(bytes, router.now, &mut router.line_times) {
                Ok(timestamp) => timestamp,
                Err(refusal) => return sink.reject(framed, refusal.at(at.place())),
            },
        };
        let record = NewRecord { timestamp, key, value, headers: &self.headers };
        router.add(&record, None, framed, at, sink)
    }

    fn take_envelope<S: IntakeSink>(
        &self,
        framed: &[u8],
        bytes: &[u8],
        at: At<'_>,
        router: &mut Router<S::Store>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let refused = |(column, what)| StreamError::BadJson { place: at.place(), column, what };
        let envelope = match Envelope::parse(bytes) {
            Ok(envelope) if envelope.timestamp.is_none_or(|timestamp| timestamp >= Timestamp::NONE) => envelope,
            Ok(_) => return sink.reject(framed, refused((1, "a timestamp is -1 (none) or later".into()))),
            Err(refusal) => return sink.reject(framed, refused(refusal)),
        };
        let headers: Vec<_> = envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let record = NewRecord {
            timestamp: envelope.timestamp.or(self.rule.timestamp).unwrap_or(router.now),
            key: envelope.key.as_deref(),
            value: envelope.value.as_deref(),
            headers: &headers,
        };
        router.add(&record, envelope.partition, framed, at, sink)
    }
}

/// Gives each record its partition and gathers them into batches.
struct Router<B: BatchStore> {
    placement: Placement,
    batcher: Batcher<B>,
    batch_size_max: usize,
    gathering: Gathering,
    needs_key: bool,
    /// The next partition in turn, once it is known.
    next_in_turn: Option<i32>,
    /// The time that the records of the last read carry; it never steps back, so that a merge by time keeps their order.
    now: Timestamp,
    line_times: LineTimeState,
    taken: Taken,
}

impl<B: BatchStore> Router<B> {
    #[inline]
    fn add<S: IntakeSink<Store = B, Error = B::Error>>(
        &mut self,
        record: &NewRecord<'_>,
        named: Option<i32>,
        framed: &[u8],
        at: At<'_>,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        if self.needs_key && record.key.is_none() {
            return sink.reject(framed, StreamError::NoKey { place: at.place() });
        }
        if self.batcher.is_too_large(record) {
            let (place, limit) = (at.place(), self.batch_size_max);
            let size = record.payload_size() as u64;
            return sink.reject(framed, StreamError::RecordTooLarge { place, size, size_is_exact: true, limit });
        }
        let Placement { partition, partitioner, partition_count } = self.placement;
        let partition = match partition.or(named) {
            Some(partition) if sink.has_partition(partition) => partition,
            Some(partition) => {
                return sink.reject(framed, StreamError::NoSuchPartition { place: at.place(), partition });
            }
            None => match partitioner.by_key(record.key, partition_count) {
                Some(partition) => partition,
                None => self.in_turn(sink)?,
            },
        };
        self.taken.records += 1;
        self.taken.bytes += framed.len() as u64;
        self.batcher.add(partition, record, framed.len())
    }

    /// Adds records whose values are `lines`, as far as they all go to one partition and into its batch. Returns how many
    /// bytes that took, and how many records.
    fn add_lines(&mut self, lines: &[u8], delimiter: u8, timestamp: Option<Timestamp>) -> (usize, u64) {
        let Placement { partition, partition_count, .. } = self.placement;
        let Some(partition) = partition.or((partition_count == 1).then_some(0)) else { return (0, 0) };
        let (bytes, records) = self.batcher.add_lines(partition, lines, delimiter, timestamp.unwrap_or(self.now));
        self.taken.records += records as u64;
        self.taken.bytes += bytes as u64;
        (bytes, records as u64)
    }

    #[inline]
    fn in_turn<S: IntakeSink<Store = B, Error = B::Error>>(&mut self, sink: &mut S) -> Result<i32, S::Error> {
        let count = self.placement.partition_count;
        let partition = match self.next_in_turn {
            Some(partition) => partition,
            None if count == 1 => 0,
            None => sink.round_robin_start()?.rem_euclid(i64::from(count)) as i32,
        };
        self.next_in_turn = Some(if partition + 1 == count { 0 } else { partition + 1 });
        Ok(partition)
    }

    /// Waits for input. What has been gathered is stored before a wait that may be long, or before any, and where it has
    /// waited long enough.
    fn wait<S: IntakeSink<Store = B, Error = B::Error>>(
        &mut self,
        input: &mut dyn Input,
        sink: &mut S,
    ) -> Result<Readiness, S::Error> {
        let wait = |input: &mut dyn Input, timeout| match input.wait(timeout) {
            Ok(readiness) => Ok(readiness),
            Err(source) => Err(broken(input.name(), source)),
        };
        let now = sink.now();
        if let Some(patience) = self.gathering.patience(self.batcher.is_empty(), now) {
            match wait(input, Some(patience))? {
                Readiness::NotReady => {}
                Readiness::Ready if self.gathering.is_late(now) => {}
                readiness => return Ok(readiness),
            }
        }
        self.batcher.flush()?;
        self.gathering.is_stored();
        sink.sync_point()?;
        Ok(wait(input, None)?)
    }
}
