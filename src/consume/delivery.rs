//! Records on their way to a reader: the buffer that they are gathered in, the output, and where positions are kept, what
//! the reader has processed.
//!
//! Into a pipe, positions go by [`Chunks`]. Into anything else, what is written counts as processed.

use super::chunks::Chunks;
use super::ledger::Ledger;
use super::merge::Merge;
use super::output::Output;
use super::{ConsumeError, Ended, Environment, Positions, Result};
use crate::disk::watch::{Wakers, Woken};
use crate::logdir::{LogDirs, Partition};
use crate::stream::output::RecordFormat;
use crate::units::Offset;
use std::time::Duration;

/// Bytes gathered before they are written. A pipe has twice that room: its reader has half of it while the other half is
/// filled, and with more at once it took 1.4 times as long. Into a file, more at once took up to four times as long where
/// the kernel had no page cache in pieces as large.
const OUTPUT_SIZE: usize = 128 << 10;
/// How long a wait lasts at most before the pipe is asked again: nothing wakes kdir when a reader has emptied it.
const PAUSE_MAX: Duration = Duration::from_millis(200);

pub(super) struct Delivery<'a> {
    environment: Environment<'a>,
    pub(super) ledger: Option<Ledger<'a>>,
    /// Where positions are kept of what is written to a pipe.
    chunks: Option<Chunks>,
    buffer: Vec<u8>,
    last_record: LastRecord,
    output: Output,
    /// Whether the record that the merge has shown last is in the buffer, or was written before.
    pub(super) shown_is_done: bool,
    /// Bytes that were written.
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
        let ledger = Ledger::open(log_dirs, positions)?;
        Ok(Self {
            environment,
            chunks: ledger.as_ref().and_then(|_| Chunks::to(environment.outlet)),
            ledger,
            buffer: Vec::with_capacity(OUTPUT_SIZE + (OUTPUT_SIZE >> 2)),
            last_record: LastRecord::default(),
            output: Output::new(environment.outlet),
            shown_is_done: false,
            bytes: 0,
        })
    }

    /// Gives the output as much room as makes its reader fast, where nothing depends on what is in it.
    pub(super) fn widen(&self) {
        if self.ledger.is_none() {
            self.environment.outlet.widen(OUTPUT_SIZE * 2);
        }
    }

    pub(super) fn refuse_other_topics(&self, partitions: &[Partition]) -> Result<()> {
        self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.refuse_other_topics(partitions))
    }

    /// How many bytes make the buffer full.
    fn size(&self) -> usize {
        self.chunks.as_ref().map_or(OUTPUT_SIZE, Chunks::size)
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.buffer.len() >= self.size()
    }

    /// Adds the record that the merge has shown.
    #[inline]
    pub(super) fn add_shown(&mut self, format: &RecordFormat, merge: &Merge) {
        let start = self.buffer.len();
        format.write(&merge.shown().front(), &mut self.buffer);
        if self.chunks.is_some() && self.buffer.len() > start {
            self.last_record = LastRecord { start, shown: Some(merge.shown_at()) };
        }
    }

    /// Adds the records that come next, `records_max` at most, as lines. Returns how many there were.
    #[inline]
    pub(super) fn add_lines(&mut self, delimiter: u8, records_max: u64, merge: &mut Merge) -> u64 {
        let count = merge.append_lines(delimiter, (records_max, self.size()), &mut self.buffer);
        if self.chunks.is_some() && count > 0 {
            // A value that holds the delimiter is more than one line to the reader, too.
            let lines = &self.buffer[..self.buffer.len() - 1];
            let start = memchr::memrchr(delimiter, lines).map_or(0, |end| end + 1);
            self.last_record = LastRecord { start, shown: Some(merge.shown_at()) };
        }
        count
    }

    /// Passes a full buffer on; `Some` where reading is to end before.
    pub(super) fn pass(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        if self.chunks.is_some() || self.ledger.as_ref().is_some_and(Ledger::is_due) {
            let ended = self.write()?;
            if ended.is_none() {
                self.note(merge);
                self.keep_if_due()?;
            }
            return Ok(ended);
        }
        self.bytes += self.buffer.len() as u64;
        self.output.pass(&mut self.buffer).map_err(ConsumeError::Output)?;
        Ok(None)
    }

    /// Writes all that was added, and keeps a position if one is due; `Some` where reading is to end before.
    pub(super) fn write_and_keep(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let ended = self.write_and_note(merge)?;
        self.keep_if_due()?;
        Ok(ended)
    }

    /// Writes all that was added. There may be nothing more to add, so the last record is a chunk of its own.
    fn write_and_note(&mut self, merge: &Merge) -> Result<Option<Ended>> {
        let LastRecord { start, shown } = self.last_record;
        if start > 0 {
            let last = self.buffer.split_off(start);
            if let Some(ended) = self.write()? {
                return Ok(Some(ended));
            }
            if let Some(ledger) = &mut self.ledger {
                ledger.note(merge, self.shown_is_done, shown);
            }
            self.buffer.extend_from_slice(&last);
        }
        let ended = self.write()?;
        if ended.is_none() {
            self.note(merge);
        }
        Ok(ended)
    }

    /// Writes the buffer, into a pipe whose reader counts when that has taken the chunk before; `Some` where reading is to
    /// end before.
    fn write(&mut self) -> Result<Option<Ended>> {
        let bytes = self.buffer.len();
        if self.chunks.is_some() {
            if bytes == 0 {
                return Ok(None);
            }
            match self.wait_until_taken()? {
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
                Woken::Look => {}
            }
            if let Some(ledger) = &mut self.ledger {
                ledger.process_before_last();
            }
        }
        self.output.write(&mut self.buffer).map_err(ConsumeError::Output)?;
        if let (Some(chunks), Some(ledger)) = (&mut self.chunks, &mut self.ledger) {
            chunks.note(bytes);
            ledger.begin_chunk();
        }
        self.last_record = LastRecord::default();
        self.bytes += bytes as u64;
        Ok(None)
    }

    /// Notes that what the merge has shown is written.
    fn note(&mut self, merge: &Merge) {
        let Some(ledger) = &mut self.ledger else { return };
        ledger.note(merge, self.shown_is_done, None);
        if self.chunks.as_ref().is_none_or(Chunks::is_unused) {
            ledger.process_all();
        }
    }

    /// Keeps where partitions begin of which no position is kept: `latest` or a time means another offset in the next run.
    pub(super) fn note_starts(&mut self, merge: &Merge) -> Result<()> {
        self.ledger.as_mut().map_or(Ok(()), |ledger| {
            ledger.note_starts(merge);
            ledger.keep()
        })
    }

    fn keep_if_due(&mut self) -> Result<()> {
        match &mut self.ledger {
            Some(ledger) if ledger.is_due() => keep(ledger, self.chunks.as_ref()),
            _ => Ok(()),
        }
    }

    /// How long a wait lasts at most before positions may have to be kept.
    pub(super) fn pause_before_keeping(&self) -> Duration {
        if self.ledger.as_ref().is_some_and(Ledger::is_behind) { PAUSE_MAX } else { Duration::MAX }
    }

    /// Writes what is left, and where a position is kept, waits for the reader to take it. `so_far` is how reading has ended,
    /// `None` after an error, and `has_all` whether the reader has got all that was asked for. Returns how all has ended.
    pub(super) fn finish(&mut self, merge: &Merge, so_far: Option<Ended>, has_all: bool) -> Result<Ended> {
        let finished = match so_far {
            None | Some(Ended::Complete) => self.finish_complete(merge, has_all),
            // After a signal kdir does not wait for the reader, so the position stays before what is in the pipe.
            Some(ended) if self.chunks.is_some() => Ok(ended),
            Some(ended) => self.write_and_note(merge).map(|_| ended),
        };
        if let Some(ledger) = &mut self.ledger {
            keep(ledger, self.chunks.as_ref())?;
        }
        finished
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

    /// Where a position is kept of what goes into a pipe, waits until the last chunk has been taken.
    fn wait_until_taken(&mut self) -> Result<Woken> {
        let wakers: Wakers<'_> = self.environment.wakers();
        let (Some(chunks), Some(ledger)) = (&mut self.chunks, &mut self.ledger) else { return Ok(Woken::Look) };
        chunks.wait(&wakers, |chunks| if ledger.is_due() { keep(ledger, Some(chunks)) } else { Ok(()) })
    }
}

/// Keeps the positions after what the reader is known to have processed.
fn keep(ledger: &mut Ledger<'_>, chunks: Option<&Chunks>) -> Result<()> {
    if chunks.map_or(Ok(false), Chunks::is_begun)? {
        ledger.process_before_last();
    }
    ledger.keep()
}
