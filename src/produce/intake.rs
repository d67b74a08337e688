//! From an input to batches: reads, cuts into frames, and has a record made of each.

use super::Result;
use super::error::{Place, Problem, ProduceError};
use super::input::{Input, Readiness};
use super::record_maker::{RecordMaker, RecordRule};
use super::router::Router;
use crate::stream::framing::{Frame, Framing, LENGTH_SIZE};
use crate::stream::line_time::LineTimeState;
use crate::units::Passes;
use std::io;
use std::time::Duration;

/// Bytes read at a time.
const READ_SIZE: usize = 256 << 10;
/// A record that is too large is counted to its end for the message, but no further than this.
const COUNT_MAX: u64 = 1 << 30;

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
    /// Those of them without a time of their own where a [`RecordRule::line_time`] was given.
    pub untimed: u64,
    /// How their local times that come twice were read.
    pub passes: Passes,
    /// Those that came with a timestamp that may be in seconds.
    pub in_seconds: u64,
}

/// Takes inputs in, one after the other.
pub(super) struct Intake {
    framing: Framing,
    rule: RecordRule,
    router: Router,
    line_times: LineTimeState,
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

    /// Waits and reads once.
    fn read(&mut self, input: &mut dyn Input, router: &mut Router) -> Result<Arrived> {
        if router.wait(input)? == Readiness::Stop {
            return Ok(Arrived::Stop);
        }
        let read = input.read(self.make_room()).map_err(|source| broken(input.name(), source))?;
        self.unread.end += read;
        router.has_read();
        if read > 0 {
            return Ok(Arrived::Bytes);
        }
        // A signal often ends the program that writes the input, too: what looks like its end is cut off anywhere then.
        let stopped = input.wait(Some(Duration::ZERO)).map_err(|source| broken(input.name(), source))?;
        Ok(if stopped == Readiness::Stop { Arrived::Stop } else { Arrived::End })
    }
}

/// What a wait and a read have brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrived {
    /// More of the input.
    Bytes,
    /// The end of the input.
    End,
    /// A stop, whether or not the input has ended.
    Stop,
}

/// Where a record stands, for messages.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub(super) input: &'a str,
    pub(super) unit: &'static str,
    pub(super) number: u64,
}

impl At<'_> {
    pub(super) fn place(self) -> Place {
        Place { input: self.input.to_owned(), unit: self.unit, number: self.number }
    }
}

pub(super) fn broken(input: &str, source: io::Error) -> ProduceError {
    ProduceError::Read { input: input.to_owned(), source }
}

impl Intake {
    /// An intake for one topic.
    pub(super) fn new(framing: Framing, rule: RecordRule, router: Router) -> Self {
        let line_times = LineTimeState::default();
        Self { framing, rule, router, line_times, window: Window { buffer: vec![0; READ_SIZE], unread: 0..0 } }
    }

    /// What has been taken in so far.
    pub(super) fn taken(&self) -> Taken {
        let Self { router, line_times, .. } = self;
        let (untimed, passes, in_seconds) = (line_times.untimed(), line_times.passes(), line_times.in_seconds());
        Taken { untimed, passes, in_seconds, ..router.taken() }
    }

    /// Ends the threads that store, and makes durable what was kept of inputs that made no record; returns how many they are.
    pub(super) fn finish(mut self) -> (u64, Result<()>) {
        let router = &mut self.router;
        let kept = router.rejects.end_torn().and_then(|()| router.sync_rejects());
        (router.rejects.count(), kept)
    }

    /// Takes all of `input` in. Whatever ends it, the records before have been passed on.
    ///
    /// # Errors
    /// When the input is broken or holds something that cannot be stored, or they cannot be stored.
    pub(super) fn take(&mut self, input: &mut dyn Input) -> Result<Ended> {
        let taken = self.take_records(input);
        let flushed = self.router.batcher.flush();
        // What could not be stored is of more interest than why the input ended.
        flushed?;
        let ended = taken?;
        self.router.sync_point()?;
        Ok(ended)
    }

    fn take_records(&mut self, input: &mut dyn Input) -> Result<Ended> {
        let Self { framing, rule, router, line_times, window } = self;
        line_times.next_input();
        let mut maker = RecordMaker::new(rule, line_times);
        let unit = if rule.is_json { "line" } else { framing.unit() };
        let (mut number, mut searched, mut ended) = (0, 0, false);
        window.unread = 0..0;
        router.now = router.now.max((router.clock)());
        let plain = maker.is_plain(framing).filter(|_| router.pacer.is_none());
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
                    maker.take(&window.unread()[..next], start..end, at, router)?;
                    number += 1;
                    window.unread.start += next;
                    searched = 0;
                    router.pace(next, input)?;
                    continue;
                }
                // An input that is one record is so if it is empty, too.
                Frame::End if number == 0 && matches!(framing, Framing::Raw) => {
                    maker.take(&[], 0..0, at, router)?;
                    return Ok(Ended::Complete);
                }
                Frame::End => return Ok(Ended::Complete),
                Frame::Cut { announced } => {
                    let what = format!("{announced} bytes announced, and the input ends before them");
                    router.reject(window.unread(), Problem::Cut { place: at.place(), what })?;
                    return Ok(Ended::Complete);
                }
                Frame::More { at_least } => at_least,
            };
            searched = window.unread.len();
            if at_least > router.record_size_max {
                let place = at.place();
                let oversize = Oversize::new(framing, at_least, place, router.record_size_max);
                match oversize.pass_over(window, &mut ended, input, router)? {
                    Ended::Complete => (number, searched) = (number + 1, 0),
                    stopped => return Ok(stopped),
                }
                continue;
            }
            match window.read(input, router)? {
                Arrived::Stop => return Ok(Ended::Stopped { left_out: window.unread.len() }),
                arrived => ended = arrived == Arrived::End,
            }
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

    fn problem(&self, size: u64, size_is_exact: bool) -> Problem {
        Problem::RecordTooLarge { place: self.place.clone(), size, size_is_exact, limit: self.limit }
    }

    /// Goes behind it. Where the run stops at it, that is only done to tell its size.
    #[cold]
    fn pass_over(
        self,
        window: &mut Window,
        ended: &mut bool,
        input: &mut dyn Input,
        router: &mut Router,
    ) -> Result<Ended> {
        let size_announced = self.announced.map(|total| (total - LENGTH_SIZE) as u64);
        let count_max = match (router.rejects.skips(), size_announced) {
            (true, _) => u64::MAX,
            (false, None) => COUNT_MAX,
            (false, Some(_)) => 0,
        };
        let mut passed = 0;
        loop {
            if passed >= count_max {
                let problem = self.problem(size_announced.unwrap_or(passed), size_announced.is_some());
                router.reject(&[], problem)?;
            }
            let unread = window.unread();
            let (piece, end) = self.piece(unread, passed, *ended);
            if let Some(end) = end {
                let size = size_announced.unwrap_or(passed + end as u64);
                router.reject(&unread[..piece], self.problem(size, true))?;
                // Only now: before its end has come, the input is done with up to where it begins.
                router.leave_out(0, passed as usize);
                window.unread.start += piece;
                return Ok(Ended::Complete);
            }
            if router.rejects.skips() {
                router.rejects.write_piece(&unread[..piece])?;
            }
            passed += piece as u64;
            window.unread.start += piece;
            match window.read(input, router)? {
                Arrived::Stop => return Ok(Ended::Stopped { left_out: passed as usize + window.unread.len() }),
                arrived => *ended = arrived == Arrived::End,
            }
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
            Frame::More { .. } => (unread.len().saturating_sub(self.framing.delimiter().len().saturating_sub(1)), None),
            Frame::End | Frame::Cut { .. } => (unread.len(), Some(unread.len())),
        }
    }
}
