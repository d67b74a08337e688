//! From an input to batches: reads, cuts, splits off keys, places each record, and writes what is there as soon as the
//! input would block.

use super::batcher::{BatchSink, Batcher};
use super::framing::{Frame, Framing};
use super::json::Envelope;
use super::partitioner::Partitioner;
use super::{Place, StreamError};
use crate::format::record::NewRecord;
use memchr::memmem::Finder;
use std::io;
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
    pub timestamp_ms: Option<i64>,
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

/// What the intake asks of whoever stores the batches.
pub trait IntakeSink: BatchSink {
    /// Milliseconds since the epoch.
    fn now_ms(&self) -> i64;
    /// Where round-robin goes on: the sum of the log end offsets. Asked once, when the first record needs it.
    ///
    /// # Errors
    /// When it cannot be found out.
    fn round_robin_start(&mut self) -> Result<i64, Self::Error>;
    /// Whether the topic has this partition.
    fn has_partition(&self, partition: i32) -> bool;
    /// Everything read so far has been appended and the input stands still.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn sync_point(&mut self) -> Result<(), Self::Error>;
    /// Hears of progress after each read: bytes and records taken in so far.
    fn progress(&mut self, bytes: u64, records: u64);
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

/// Takes inputs in, one after the other.
pub struct Intake {
    framing: Framing,
    rule: RecordRule,
    key_finder: Option<Finder<'static>>,
    placement: Placement,
    batcher: Batcher,
    batch_size_max: usize,
    linger: Duration,
    /// The next partition in turn, once it is known.
    next_in_turn: Option<i32>,
    buffer: Vec<u8>,
    /// The bytes of the buffer that have been read and not used.
    unread: std::ops::Range<usize>,
    /// The time that the records of the last read carry; it never steps back, so that a merge by time keeps their order.
    now_ms: i64,
    bytes: u64,
    records: u64,
}

impl Intake {
    /// An intake for one topic.
    #[must_use]
    pub fn new(
        framing: Framing,
        rule: RecordRule,
        placement: Placement,
        batcher: Batcher,
        batch_size_max: usize,
        linger: Duration,
    ) -> Self {
        let key_finder = rule.key_delimiter.as_ref().map(|delimiter| Finder::new(delimiter).into_owned());
        Self {
            framing,
            rule,
            key_finder,
            placement,
            batcher,
            batch_size_max,
            linger,
            next_in_turn: None,
            buffer: vec![0; READ_SIZE],
            unread: 0..0,
            now_ms: 0,
            bytes: 0,
            records: 0,
        }
    }

    /// Bytes and records taken in so far.
    #[must_use]
    pub const fn taken(&self) -> (u64, u64) {
        (self.bytes, self.records)
    }

    /// Takes all of `input` in. Whatever ends it, the records before have been passed on.
    ///
    /// # Errors
    /// When the input is broken or holds something that cannot be stored, or the sink fails.
    pub fn take<S: IntakeSink>(&mut self, input: &mut dyn Input, sink: &mut S) -> Result<Ended, S::Error> {
        let taken = self.take_records(input, sink);
        let flushed = self.batcher.flush_all(self.now_ms, sink);
        let ended = taken?;
        flushed?;
        sink.sync_point()?;
        Ok(ended)
    }

    fn take_records<S: IntakeSink>(&mut self, input: &mut dyn Input, sink: &mut S) -> Result<Ended, S::Error> {
        let broken = |input: &dyn Input, source| StreamError::Read { input: input.name().to_owned(), source };
        self.unread = 0..0;
        let (mut number, mut searched, mut ended) = (0, 0, false);
        self.now_ms = self.now_ms.max(sink.now_ms());
        loop {
            let at_least = match self.framing.next(&self.buffer[self.unread.clone()], ended, searched) {
                Frame::Record { start, end, next } => {
                    number += 1;
                    let record = self.unread.start + start..self.unread.start + end;
                    self.take_record(record, number, input, sink)?;
                    self.unread.start += next;
                    searched = 0;
                    continue;
                }
                Frame::End => return Ok(Ended::Complete),
                Frame::Cut { announced } => {
                    let place = self.place(input, number + 1);
                    let what = format!("{announced} bytes announced, and the input ends before them");
                    return Err(StreamError::Cut { place, what }.into());
                }
                Frame::More { at_least } => at_least,
            };
            searched = self.unread.len();
            if at_least > self.batch_size_max {
                return Err(self.too_large(at_least, number + 1, input).into());
            }
            match self.wait(input, sink)? {
                Readiness::Stop => return Ok(Ended::Stopped { left_out: self.unread.len() }),
                Readiness::Ready | Readiness::NotReady => {}
            }
            self.make_room();
            let read = input.read(&mut self.buffer[self.unread.end..]).map_err(|source| broken(input, source))?;
            ended = read == 0;
            self.unread.end += read;
            self.bytes += read as u64;
            self.now_ms = self.now_ms.max(sink.now_ms());
            sink.progress(self.bytes, self.records);
        }
    }

    /// Waits for input. What has been gathered is written before a wait that may be long.
    fn wait<S: IntakeSink>(&mut self, input: &mut dyn Input, sink: &mut S) -> Result<Readiness, S::Error> {
        let broken = |input: &dyn Input, source| StreamError::Read { input: input.name().to_owned(), source };
        let linger = if self.batcher.is_empty() { Duration::ZERO } else { self.linger };
        let readiness = input.wait(Some(linger)).map_err(|source| broken(input, source))?;
        if readiness != Readiness::NotReady {
            return Ok(readiness);
        }
        self.batcher.flush_all(self.now_ms, sink)?;
        sink.sync_point()?;
        Ok(input.wait(None).map_err(|source| broken(input, source))?)
    }

    /// Moves what is unread to the front, and takes more memory where a record needs it.
    fn make_room(&mut self) {
        if self.unread.start > 0 {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        if self.buffer.len() < self.unread.end + READ_SIZE / 2 {
            self.buffer.resize(self.unread.end + READ_SIZE, 0);
        }
    }

    fn place(&self, input: &dyn Input, number: u64) -> Place {
        let unit = if self.rule.is_json { "line" } else { self.framing.unit() };
        Place { input: input.name().to_owned(), unit, number }
    }

    #[inline]
    fn take_record<S: IntakeSink>(
        &mut self,
        record: std::ops::Range<usize>,
        number: u64,
        input: &dyn Input,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        // The buffer steps aside so that the record can be borrowed from it while the rest of this is changed.
        let buffer = std::mem::take(&mut self.buffer);
        let taken = self.place_record(&buffer[record], number, input, sink);
        self.buffer = buffer;
        taken
    }

    #[inline]
    fn place_record<S: IntakeSink>(
        &mut self,
        bytes: &[u8],
        number: u64,
        input: &dyn Input,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        if self.rule.is_json {
            return self.place_envelope(bytes, number, input, sink);
        }
        let (mut key, mut value) = (self.rule.key.as_deref(), Some(bytes));
        if let Some(finder) = &self.key_finder {
            let Some(at) = finder.find(bytes) else {
                let delimiter = String::from_utf8_lossy(finder.needle()).into_owned();
                return Err(StreamError::NoKeyDelimiter { place: self.place(input, number), delimiter }.into());
            };
            (key, value) = (Some(&bytes[..at]), Some(&bytes[at + finder.needle().len()..]));
        }
        if self.rule.null_empty {
            (key, value) = (key.filter(|key| !key.is_empty()), value.filter(|value| !value.is_empty()));
        }
        let timestamp_ms = self.rule.timestamp_ms.unwrap_or(self.now_ms);
        if self.rule.headers.is_empty() {
            let record = NewRecord { timestamp_ms, key, value, headers: &[] };
            return self.add(&record, None, number, input, sink);
        }
        let rule_headers = std::mem::take(&mut self.rule.headers);
        let key_owned = key.map(<[u8]>::to_vec);
        let headers: Vec<_> = rule_headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let record = NewRecord { timestamp_ms, key: key_owned.as_deref(), value, headers: &headers };
        let added = self.add(&record, None, number, input, sink);
        drop(headers);
        self.rule.headers = rule_headers;
        added
    }

    fn place_envelope<S: IntakeSink>(
        &mut self,
        bytes: &[u8],
        number: u64,
        input: &dyn Input,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        let envelope = Envelope::parse(bytes).map_err(|(column, what)| {
            let place = self.place(input, number);
            StreamError::BadJson { place, column, what }
        })?;
        let headers: Vec<_> = envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
        let record = NewRecord {
            timestamp_ms: envelope.timestamp_ms.or(self.rule.timestamp_ms).unwrap_or(self.now_ms),
            key: envelope.key.as_deref(),
            value: envelope.value.as_deref(),
            headers: &headers,
        };
        self.add(&record, envelope.partition, number, input, sink)
    }

    #[inline]
    fn add<S: IntakeSink>(
        &mut self,
        record: &NewRecord<'_>,
        named: Option<i32>,
        number: u64,
        input: &dyn Input,
        sink: &mut S,
    ) -> Result<(), S::Error> {
        if self.rule.needs_key && record.key.is_none() {
            return Err(StreamError::NoKey { place: self.place(input, number) }.into());
        }
        let size = Batcher::size_alone(record);
        if size > self.batch_size_max {
            let (place, size, limit) = (self.place(input, number), size as u64, self.batch_size_max);
            return Err(StreamError::RecordTooLarge { place, size, size_is_exact: true, limit }.into());
        }
        let Placement { partition, partitioner, partition_count } = self.placement;
        let partition = match partition.or(named) {
            Some(partition) if sink.has_partition(partition) => partition,
            Some(partition) => {
                return Err(StreamError::NoSuchPartition { place: self.place(input, number), partition }.into());
            }
            None => match partitioner.by_key(record.key, partition_count) {
                Some(partition) => partition,
                None => self.in_turn(sink)?,
            },
        };
        self.records += 1;
        self.batcher.add(partition, record, self.now_ms, sink)
    }

    #[inline]
    fn in_turn<S: IntakeSink>(&mut self, sink: &mut S) -> Result<i32, S::Error> {
        let count = self.placement.partition_count;
        let partition = match self.next_in_turn {
            Some(partition) => partition,
            None => sink.round_robin_start()?.rem_euclid(i64::from(count)) as i32,
        };
        self.next_in_turn = Some(if partition + 1 == count { 0 } else { partition + 1 });
        Ok(partition)
    }

    /// The error of a record whose end has not come when it is too large already; reads on to tell its size.
    #[cold]
    fn too_large(&mut self, at_least: usize, number: u64, input: &mut dyn Input) -> StreamError {
        let place = self.place(input, number);
        let mut size = at_least as u64;
        let mut exact = matches!(self.framing, Framing::Len32);
        let mut piece = vec![0; READ_SIZE];
        // The tail of what was read before, so that a delimiter across two reads is found.
        while !exact && size < COUNT_MAX {
            match input.wait(None).and_then(|_| input.read(&mut piece)) {
                Ok(0) => exact = true,
                Ok(read) => match self.framing.next(&piece[..read], false, 0) {
                    Frame::Record { end, .. } => (size, exact) = (size + end as u64, true),
                    _ => size += read as u64,
                },
                Err(_) => break,
            }
        }
        StreamError::RecordTooLarge { place, size, size_is_exact: exact, limit: self.batch_size_max }
    }
}
