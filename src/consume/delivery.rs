//! Records on their way to a reader: the buffer that they are gathered in, the output, and where positions are kept, what
//! the reader has processed.
//!
//! What counts as processed is a matter of [`Evidence`].

use super::chunks::{Chunks, wait_until_empty};
use super::evidence::Evidence;
use super::ledger::Ledger;
use super::merge::Merge;
use super::output::Output;
use super::{ConsumeError, Ended, Environment, GroupPositions, Positions, Result};
use crate::disk::watch::{Wakers, Woken};
use crate::logdir::{LogDirs, Partition};
use crate::stream::output::RecordFormat;
use crate::units::Offset;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes gathered before they are written. A pipe has twice that room: its reader has half of it while the other half is
/// filled, and with more at once it took 1.4 times as long. Into a file, more at once took up to four times as long where
/// the kernel had no page cache in pieces as large.
const OUTPUT_SIZE: usize = 128 << 10;
/// How long a wait lasts at most before the pipe is asked again: nothing wakes kdir when a reader has emptied it.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How long acknowledgements of what was written are waited for after a request to stop, or when the output is closed.
const GRACE: Duration = Duration::from_secs(5);

/// A running producer syncs once a second by default: its next sync is waited for that long.
const SYNCED_WITHIN: Duration = Duration::from_millis(1300);
const SYNCED_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Delivery<'a> {
    environment: Environment<'a>,
    pub(super) ledger: Option<Ledger<'a>>,
    evidence: Evidence<'a>,
    buffer: Vec<u8>,
    /// The buffer is full when it has so many bytes.
    size: usize,
    /// Whether it matters which record is the last in the buffer.
    is_tracked: bool,
    last_record: LastRecord,
    output: Output,
    /// What fits into the output when it is an empty pipe, in bytes: less is written without a wait.
    pipe_size: usize,
    /// Whether the record that the merge has shown last is in the buffer, or was written before.
    pub(super) shown_is_done: bool,
    /// Bytes that were written, or are on their way.
    pub(super) bytes: u64,
}

/// The last record that is in the buffer with at least one byte; kept up to date for [`Chunks`] only.
#[derive(Debug, Clone, Copy, Default)]
struct LastRecord {
    start: usize,
    /// As [`Merge::shown_at`] says of it.
    shown: Option<(usize, Offset)>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(log_dirs: &'a LogDirs, positions: Positions, environment: Environment<'a>) -> Result<Self> {
        let ledger = Ledger::open(log_dirs, positions, environment.commit_every)?;
        let evidence = match &ledger {
            Some(ledger) if ledger.is_kept() => Evidence::new(environment.commit, environment.outlet),
            _ => Evidence::Written,
        };
        let (is_tracked, size) = match &evidence {
            Evidence::Chunks(chunks) => (true, chunks.size()),
            Evidence::Acks(_) => (true, OUTPUT_SIZE),
            Evidence::Written | Evidence::Taken { .. } => (false, OUTPUT_SIZE),
        };
        Ok(Self {
            environment,
            ledger,
            evidence,
            buffer: Vec::with_capacity(OUTPUT_SIZE + (OUTPUT_SIZE >> 2)),
            size,
            is_tracked,
            last_record: LastRecord::default(),
            output: Output::new(environment.outlet),
            pipe_size: environment.outlet.pipe_size(),
            shown_is_done: false,
            bytes: 0,
        })
    }

    /// Gives the output as much room as makes its reader fast, where nothing depends on what is in it.
    pub(super) fn widen(&self) {
        if !matches!(self.evidence, Evidence::Chunks(_)) {
            self.environment.outlet.widen(OUTPUT_SIZE * 2);
        }
    }

    pub(super) fn refuse_other_topics(&self, partitions: &[Partition]) -> Result<()> {
        self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.refuse_other_topics(partitions))
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= self.size
    }

    /// Whether records may be added many at a time.
    pub(super) const fn takes_lines(&self) -> bool {
        !matches!(self.evidence, Evidence::Acks(_))
    }

    /// Adds bytes that belong to no record.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Adds the record that the merge has shown.
    #[inline]
    pub(super) fn add_shown(&mut self, format: &RecordFormat, merge: &Merge) {
        let start = self.buffer.len();
        format.write(&merge.shown().front(), &mut self.buffer);
        if self.is_tracked {
            self.track(start, merge.shown_at());
        }
    }

    fn track(&mut self, start: usize, shown: (usize, Offset)) {
        if let Evidence::Acks(acks) = &mut self.evidence {
            acks.add(shown, self.buffer.len());
            // The next record has to wait.
            self.size = if acks.is_full() { 0 } else { OUTPUT_SIZE };
        } else if self.buffer.len() > start {
            self.last_record = LastRecord { start, shown: Some(shown) };
        }
    }

    /// Adds the records that come next, `records_max` at most, as lines. Returns how many there were.
    #[inline]
    pub(super) fn add_lines(&mut self, delimiter: u8, records_max: u64, merge: &mut Merge) -> u64 {
        let count = merge.append_lines(delimiter, (records_max, self.size), &mut self.buffer);
        if self.is_tracked && count > 0 {
            // A value that holds the delimiter is more than one line to the reader, too.
            let lines = &self.buffer[..self.buffer.len() - 1];
            let start = memchr::memrchr(delimiter, lines).map_or(0, |end| end + 1);
            self.last_record = LastRecord { start, shown: Some(merge.shown_at()) };
        }
        count
    }

    /// Passes a full buffer on; `Some` where reading is to end before.
    pub(super) fn pass(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let is_due = self.ledger.as_ref().is_some_and(Ledger::is_due);
        if is_due && matches!(self.evidence, Evidence::Taken { .. }) {
            // The reader is kept busy while positions are.
            self.hand_over()?;
            self.note(merge)?;
            self.keep_if_due()?;
            return Ok(None);
        }
        if self.is_tracked || is_due {
            if let Some(ended) = self.write(merge)? {
                return Ok(Some(ended));
            }
            if let Some(ended) = self.wait_for_acks(merge)? {
                return Ok(Some(ended));
            }
            self.note(merge)?;
            self.keep_if_due()?;
            return Ok(None);
        }
        self.hand_over()?;
        Ok(None)
    }

    fn hand_over(&mut self) -> Result<()> {
        self.bytes += self.buffer.len() as u64;
        self.output.pass(&mut self.buffer).map_err(ConsumeError::Output)
    }

    /// Whether the reader is known by now to have processed what was written before the last chunk. After a failure it is not
    /// known how much was written.
    fn is_past_before_last(&self) -> Result<bool> {
        let Some(on_the_way) = self.output.on_the_way() else { return Ok(false) };
        Ok(self.evidence.is_past_before_last(self.environment.outlet, self.bytes - on_the_way)?)
    }

    /// Writes all that was added, and keeps a position if one is due; `Some` where reading is to end before.
    pub(super) fn write_and_keep(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let mut ended = self.write_and_note(merge)?;
        if let Evidence::Acks(acks) = &mut self.evidence {
            acks.take(merge)?;
            if acks.has_ended() && ended.is_none() {
                ended = Some(Ended::OutputClosed);
            }
            self.note(merge)?;
        }
        self.keep_if_due()?;
        Ok(ended)
    }

    /// Writes all that was added. There may be nothing more to add, so the last record is a chunk of its own.
    fn write_and_note(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let LastRecord { start, shown } = self.last_record;
        if start > 0 {
            let last = self.buffer.split_off(start);
            if let Some(ended) = self.write(merge)? {
                return Ok(Some(ended));
            }
            if let Some(ledger) = &mut self.ledger {
                let left = |place| shown.filter(|(it, _)| *it == place).map(|(_, offset)| offset);
                ledger.note(merge, self.shown_is_done, left);
            }
            self.buffer.extend_from_slice(&last);
        }
        let ended = self.write(merge)?;
        if ended.is_none() {
            self.note(merge)?;
        }
        Ok(ended)
    }

    /// Writes the buffer, into a pipe whose reader counts when that has taken the chunk before; `Some` where reading is to
    /// end before.
    fn write(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let bytes = self.buffer.len();
        let is_chunk = matches!(self.evidence, Evidence::Chunks(_));
        if is_chunk {
            if bytes == 0 {
                return Ok(None);
            }
            match self.wait_until_taken()? {
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
                Woken::Look => {}
            }
            if let (Evidence::Chunks(chunks), Some(ledger)) = (&self.evidence, &mut self.ledger) {
                if chunks.is_begun_when_empty() {
                    ledger.process_before_last();
                }
                ledger.mark();
            }
        }
        if matches!(self.evidence, Evidence::Acks(_)) || is_chunk && bytes > self.pipe_size {
            if let Some(ended) = self.write_as_it_is_taken(merge)? {
                return Ok(Some(ended));
            }
        } else {
            self.output.write(&mut self.buffer).map_err(ConsumeError::Output)?;
        }
        if let (Evidence::Chunks(chunks), Some(ledger)) = (&mut self.evidence, &mut self.ledger) {
            chunks.note(bytes);
            self.size = chunks.size();
            // Newer notes would put off what is noted already.
            if !ledger.has_before_last() {
                chunks.begin();
                ledger.begin_chunk();
                ledger.prepare_mark();
            }
        }
        self.last_record = LastRecord::default();
        self.bytes += bytes as u64;
        Ok(None)
    }

    /// Writes the buffer, and heeds a request to stop in the meantime. Takes acknowledgements, too: the reader may take no more
    /// before it is rid of them, and what it gets of a record that is cut it may acknowledge as if it were all. So a record that
    /// is begun is ended, if the reader takes it.
    fn write_as_it_is_taken(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let (outlet, mut written, mut size) = (self.environment.outlet, 0, self.buffer.len());
        let mut until: Option<Instant> = None;
        while written < size {
            let mut cut = None;
            if let Evidence::Acks(acks) = &mut self.evidence {
                cut = acks.written(written);
                acks.take(merge)?;
            }
            let count = outlet.write_some(&self.buffer[written..size]).map_err(ConsumeError::Output)?;
            written += count;
            if count > 0 {
                continue;
            }
            let left = until.map_or(PAUSE_MAX, |until| until.saturating_duration_since(Instant::now()).min(PAUSE_MAX));
            // A request to stop stays there, and does not end a second wait.
            let stop = if until.is_none() { self.wakers().stop } else { None };
            match (Wakers { stop, ..self.wakers() }).pause_for_room(left)? {
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop if cut.is_some() => {
                    size = cut.unwrap_or(size);
                    until = Some(Instant::now() + GRACE);
                }
                Woken::Stop => return Ok(Some(Ended::Stopped)),
                Woken::Look if left.is_zero() => return Ok(Some(Ended::Stopped)),
                Woken::Look => {}
            }
        }
        if let Evidence::Acks(acks) = &mut self.evidence {
            acks.written(written);
            acks.all_written();
        }
        if until.is_some() {
            return Ok(Some(Ended::Stopped));
        }
        self.buffer.clear();
        Ok(None)
    }

    /// Notes that what the merge has shown is written.
    fn note(&mut self, merge: &Merge) -> Result<()> {
        let has_before_last = self.ledger.as_ref().is_some_and(Ledger::has_before_last);
        // A newer note would put off what is noted already.
        if has_before_last && matches!(self.evidence, Evidence::Taken { .. }) && !self.is_past_before_last()? {
            return Ok(());
        }
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        match &mut self.evidence {
            Evidence::Written => {
                ledger.note(merge, self.shown_is_done, |_| None);
                ledger.process_all();
            }
            Evidence::Chunks(chunks) => {
                ledger.note(merge, self.shown_is_done, |_| None);
                if chunks.is_unused() {
                    ledger.process_all();
                }
            }
            Evidence::Taken { noted } => {
                ledger.process_before_last();
                ledger.note(merge, self.shown_is_done, |_| None);
                ledger.begin_chunk();
                *noted = self.bytes;
            }
            Evidence::Acks(acks) => {
                acks.take_changed();
                let first = acks.first_in_flight();
                ledger.note(merge, self.shown_is_done, |place| first.get(&place).copied());
                ledger.process_all();
            }
        }
        Ok(())
    }

    /// Keeps where partitions begin of which no position is kept: `latest` or a time means another offset in the next run.
    pub(super) fn note_starts(&mut self, merge: &Merge) -> Result<()> {
        self.ledger.as_mut().map_or(Ok(()), |ledger| {
            ledger.note_starts(merge, self.shown_is_done);
            ledger.keep(self.environment.outlet)
        })
    }

    fn keep_if_due(&mut self) -> Result<()> {
        match &mut self.ledger {
            Some(ledger) if ledger.is_due() => return self.keep(),
            Some(ledger) => ledger.mark(),
            None => {}
        }
        Ok(())
    }

    /// Keeps the positions after what the reader is known to have processed.
    fn keep(&mut self) -> Result<()> {
        let is_past = self.ledger.is_some() && self.is_past_before_last()?;
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        if is_past {
            ledger.process_before_last();
        }
        ledger.keep(self.environment.outlet)
    }

    /// Waits for no acknowledgement any more of the partition at that place, which was given up.
    pub(super) fn forget(&mut self, place: usize) {
        if let Evidence::Acks(acks) = &mut self.evidence {
            acks.forget(place);
        }
    }

    /// The group whose positions are kept, if it is one.
    pub(super) fn group(&mut self) -> Option<&mut GroupPositions> {
        self.ledger.as_mut().and_then(Ledger::group)
    }

    /// How long a wait lasts at most before positions may have to be kept.
    pub(super) fn pause_before_keeping(&self) -> Duration {
        if self.ledger.as_ref().is_some_and(Ledger::is_behind) { PAUSE_MAX } else { Duration::MAX }
    }

    /// What ends a wait.
    pub(super) fn wakers(&self) -> Wakers<'a> {
        let input = if let Evidence::Acks(acks) = &self.evidence { acks.input() } else { None };
        Wakers { input, ..self.environment.wakers() }
    }

    /// How many records were written that are not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        if let Evidence::Acks(acks) = &self.evidence { acks.in_flight() } else { 0 }
    }

    /// Writes what is left, and where a position is kept, waits for the reader to take it. `so_far` is how reading has ended,
    /// `None` after an error, and `has_all` whether the reader has got all that was asked for. Returns how all has ended.
    pub(super) fn finish(&mut self, merge: &Merge, so_far: Option<Ended>, has_all: bool) -> Result<Ended> {
        let finished = match (so_far, &self.evidence) {
            (_, Evidence::Acks(_)) => self.finish_acknowledged(merge, so_far),
            (None | Some(Ended::Complete), _) => self.finish_complete(merge, has_all),
            // After a signal kdir does not wait for the reader, so the position stays before what is in the pipe.
            (Some(ended), Evidence::Chunks(_) | Evidence::Taken { .. }) => Ok(ended),
            (Some(ended), Evidence::Written) => self.write_and_note(merge).map(|_| ended),
        };
        self.keep()?;
        self.keep_what_is_synced_soon()?;
        self.ledger.as_mut().map_or(Ok(()), Ledger::close)?;
        finished
    }

    /// Gives a producer that runs the time to sync what was read of it.
    fn keep_what_is_synced_soon(&mut self) -> Result<()> {
        let until = Instant::now() + SYNCED_WITHIN;
        while self.is_ahead_of_durable() && Instant::now() < until {
            thread::sleep(SYNCED_PAUSE);
            self.keep()?;
        }
        Ok(())
    }

    /// Whether positions of a group could not be kept, since what comes before them is not known to be durable.
    pub(super) fn is_ahead_of_durable(&self) -> bool {
        self.ledger.as_ref().is_some_and(Ledger::is_ahead_of_durable)
    }

    /// As [`Self::finish`], where all was read that was to be.
    fn finish_complete(&mut self, merge: &Merge, has_all: bool) -> Result<Ended> {
        if let Some(ended) = self.write_and_note(merge)? {
            return Ok(ended);
        }
        match self.wait_until_taken()? {
            Woken::OutputClosed => return Ok(Ended::OutputClosed),
            Woken::Stop => return Ok(Ended::Stopped),
            // The same signal may have stopped the reader before it processed the record.
            Woken::Look if self.environment.is_stopped() => return Ok(Ended::Stopped),
            Woken::Look => {}
        }
        // A reader may go when it has all that was asked for. Of any other the last record is not known to be processed.
        let is_there = has_all || !self.environment.wakers().is_output_closed()?;
        if let Some(ledger) = self.ledger.as_mut().filter(|_| is_there) {
            ledger.process_all();
        }
        Ok(Ended::Complete)
    }

    /// As [`Self::finish`], where the reader acknowledges records: it is shown the end of the output, so that it finishes what
    /// it has. After an error nothing is waited for.
    fn finish_acknowledged(&mut self, merge: &Merge, so_far: Option<Ended>) -> Result<Ended> {
        let Some(mut ended) = so_far else {
            self.note(merge)?;
            return Ok(Ended::Complete);
        };
        if ended == Ended::Complete {
            ended = self.write(merge)?.unwrap_or(ended);
        }
        self.environment.outlet.end().map_err(ConsumeError::Output)?;
        let mut until = (ended != Ended::Complete).then(|| Instant::now() + GRACE);
        while let Evidence::Acks(acks) = &mut self.evidence {
            acks.take(merge)?;
            let (is_over, has_changed) = (acks.in_flight() == 0 || acks.has_ended(), acks.has_changed());
            if has_changed {
                self.note(merge)?;
            }
            self.keep_if_due()?;
            let left = until.map_or(PAUSE_MAX, |until| until.saturating_duration_since(Instant::now()).min(PAUSE_MAX));
            if is_over || left.is_zero() {
                break;
            }
            // A request to stop stays there, and does not end a second wait.
            let stop = if until.is_none() { self.wakers().stop } else { None };
            if (Wakers { stop, ..self.wakers() }).pause(left)? == Woken::Stop {
                (ended, until) = (Ended::Stopped, Some(Instant::now() + GRACE));
            }
        }
        self.note(merge)?;
        // The signal that has ended the reader, and with it the acknowledgements, may have come here as well.
        Ok(if self.environment.is_stopped() { Ended::Stopped } else { ended })
    }

    /// Where records are acknowledged, waits until another may be written; `Some` where reading is to end before.
    fn wait_for_acks(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        while let Evidence::Acks(acks) = &mut self.evidence {
            acks.take(merge)?;
            if !acks.is_full() {
                self.size = OUTPUT_SIZE;
                break;
            }
            if acks.has_ended() {
                return Ok(Some(Ended::OutputClosed));
            }
            self.note(merge)?;
            self.keep_if_due()?;
            match self.wakers().pause(PAUSE_MAX)? {
                Woken::Look => {}
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
            }
        }
        Ok(None)
    }

    /// Where a position is kept of what goes into a pipe, waits until the last chunk has been taken.
    fn wait_until_taken(&mut self) -> Result<Woken> {
        let (outlet, wakers) = (self.environment.outlet, self.environment.wakers());
        let Some(ledger) = &mut self.ledger else { return Ok(Woken::Look) };
        match &mut self.evidence {
            Evidence::Written | Evidence::Acks(_) => Ok(Woken::Look),
            Evidence::Taken { .. } => Ok(wait_until_empty(outlet, &wakers, Instant::now(), || Ok(()))?.0),
            Evidence::Chunks(chunks) => chunks.wait(&wakers, |chunks: &Chunks| {
                if !ledger.is_due() {
                    return Ok(());
                }
                if chunks.is_begun()? {
                    ledger.process_before_last();
                }
                ledger.keep(outlet)
            }),
        }
    }
}
