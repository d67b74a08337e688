//! Writes records to stdout.

use super::ConsumeArgs;
use super::cursor::Cursor;
use super::delivery::Delivery;
use super::follow::Follower;
use super::output::Output;
use super::pace::Pace;
use super::selection::missed;
use crate::cli::exit::{Exit, Failures};
use crate::cli::signals::Stop;
use crate::cli::ui::{self, Progress, Unit};
use crate::cli::{Context, now};
use crate::disk::watch::{Wakers, Woken};
use crate::storage::{OpenTransaction, StorageError};
use crate::stream::merge::Merge;
use crate::stream::output::RecordFormat;
use crate::units::{ByteSize, Offset, Timestamp, TopicPartition};
use std::time::Duration;

/// Bytes gathered before they are written. A pipe has twice that room: its reader has half of it while the other half is
/// filled, and with more at once it took 1.4 times as long. Into a file, more at once took up to four times as long where
/// the kernel had no page cache in pieces as large.
const OUTPUT_SIZE: usize = 128 << 10;
/// How long a wait lasts at most before the display is brought up to date.
const PAUSE_MAX: Duration = Duration::from_millis(200);

pub(super) struct Printer<'a> {
    context: &'a Context,
    format: RecordFormat,
    /// Records that are passed over before the first is printed.
    pub(super) skip: u64,
    left: u64,
    pub(super) pace: Option<Pace>,
    pub(super) cursor: Option<Cursor<'a>>,
    pub(super) until: Option<Timestamp>,
    stop: Option<&'a Stop>,
    /// Partitions that could not be read.
    failures: Failures,
    buffer: Vec<u8>,
    last_record: LastRecord,
    output: Output,
    /// Where a position is kept of what is written to a pipe.
    delivery: Option<Delivery>,
    /// Whether the record that the merge has shown last is in the buffer, or behind it.
    shown_is_done: bool,
    printed: u64,
    bytes: u64,
    progress: Option<Progress>,
}

/// The last record that is in the buffer with at least one byte; kept up to date for a [`Delivery`] only.
#[derive(Debug, Clone, Copy, Default)]
struct LastRecord {
    start: usize,
    /// As [`Merge::shown_at`] says of it.
    shown: Option<(usize, Offset)>,
}

/// Why printing has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Complete,
    OutputClosed,
    Stopped,
}

impl<'a> Printer<'a> {
    pub(super) fn new(
        args: &ConsumeArgs,
        context: &'a Context,
        format: RecordFormat,
        stop: Option<&'a Stop>,
        failures: Failures,
    ) -> Self {
        // Into a terminal or a pager, a display on stderr would write over the records; a replay is worth it all the same.
        if args.cursor_file.is_none() {
            ui::widen_stdout(OUTPUT_SIZE * 2);
        }
        let is_shown =
            if args.speed.is_some() { !ui::stdout_is_terminal() } else { ui::stdout_is_file() && !args.follow };
        Self {
            context,
            format,
            skip: 0,
            left: args.max_records.unwrap_or(u64::MAX),
            pace: None,
            cursor: None,
            until: None,
            stop,
            failures,
            buffer: Vec::with_capacity(OUTPUT_SIZE + (OUTPUT_SIZE >> 2)),
            last_record: LastRecord::default(),
            output: Output::new(context.ui),
            delivery: args.cursor_file.as_ref().and_then(|_| Delivery::to_stdout()),
            shown_is_done: false,
            printed: 0,
            bytes: 0,
            progress: is_shown.then(|| context.ui.progress(None, Unit::Records)),
        }
    }

    /// Prints what `merge` has; with a follower, until something ends it.
    pub(super) fn print(mut self, mut merge: Merge, follower: Option<Follower<'_>>) -> anyhow::Result<Exit> {
        self.note_starts(&merge)?;
        let printed = self.print_all(&mut merge, follower);
        self.tell_unseen(&mut merge);
        // What was read before an error is the user's all the same.
        let finished = self.finish(&merge, printed.as_ref().ok().copied());
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        let mut ended = printed?;
        if ended != Ended::OutputClosed {
            ended = finished?;
        }
        match (ended, self.stop.and_then(Stop::signal)) {
            (Ended::Stopped, Some(signal)) => Ok(Exit::Signal(signal)),
            _ => Ok(self.failures.exit()),
        }
    }

    /// Writes what is left, and where a position is kept, waits for the reader to take it. Returns how all has ended.
    fn finish(&mut self, merge: &Merge, printed: Option<Ended>) -> anyhow::Result<Ended> {
        let finished = match printed {
            None | Some(Ended::Complete) => self.finish_complete(merge),
            // After a signal kdir does not wait for the reader, so the position stays before what is in the pipe.
            Some(ended) if self.delivery.is_some() => Ok(ended),
            Some(ended) => self.write_and_note(merge).map(|_| ended),
        };
        if let Some(cursor) = &mut self.cursor {
            keep(cursor, self.delivery.as_ref())?;
        }
        finished
    }

    /// As [`Self::finish`], where all was printed that was to be.
    fn finish_complete(&mut self, merge: &Merge) -> anyhow::Result<Ended> {
        if let Some(ended) = self.write_and_note(merge)? {
            return Ok(ended);
        }
        match self.wait_until_taken()? {
            Woken::OutputClosed => return Ok(Ended::OutputClosed),
            Woken::Stop => return Ok(Ended::Stopped),
            // The same signal may have stopped the reader before it processed the record.
            Woken::Look if self.is_stopped() => return Ok(Ended::Stopped),
            Woken::Look => {}
        }
        // A reader may go when it has all that was asked for. Of any other the last record is not known to be processed.
        let is_there = self.left == 0 || !self.wakers().is_output_closed()?;
        if let Some(cursor) = self.cursor.as_mut().filter(|_| is_there) {
            cursor.process_all();
        }
        Ok(Ended::Complete)
    }

    /// Where a position is kept of what goes into a pipe, waits until the last chunk has been taken.
    fn wait_until_taken(&mut self) -> anyhow::Result<Woken> {
        let wakers = self.wakers();
        let (Some(delivery), Some(cursor)) = (&mut self.delivery, &mut self.cursor) else { return Ok(Woken::Look) };
        delivery.wait(&wakers, |delivery| if cursor.is_due() { keep(cursor, Some(delivery)) } else { Ok(()) })
    }

    fn is_stopped(&self) -> bool {
        self.stop.is_some_and(|stop| stop.signal().is_some())
    }

    fn print_all(&mut self, merge: &mut Merge, mut follower: Option<Follower<'_>>) -> anyhow::Result<Ended> {
        let mut is_first = true;
        loop {
            // What is appended after this time is not wanted any more, so all that was appended before it is read once more.
            let is_over = self.until.is_some_and(|until| now() >= until);
            if std::mem::take(&mut is_first) || is_over {
                merge.look_again().map_err(deleted_topic)?;
            }
            if let Some(ended) = self.print_what_is_there(merge)? {
                return Ok(ended);
            }
            self.tell_unseen(merge);
            let Some(follower) = &mut follower else {
                self.tell_open_transactions(merge);
                return Ok(Ended::Complete);
            };
            if self.left == 0 || is_over || merge.is_done() {
                return Ok(Ended::Complete);
            }
            if let Some(ended) = self.write_and_keep(merge)? {
                return Ok(ended);
            }
            let at_most = self.until.map_or(Duration::MAX, time_until).min(self.pause_before_keeping());
            let partitions = merge.sources().len();
            match follower.wait(&self.wakers(), at_most, merge)? {
                Woken::Look if merge.sources().len() > partitions => self.note_starts(merge)?,
                Woken::Look => {}
                Woken::OutputClosed => return Ok(Ended::OutputClosed),
                Woken::Stop => return Ok(Ended::Stopped),
            }
        }
    }

    /// Prints all that can be had without waiting for the log; `Some` where printing is to end before.
    fn print_what_is_there(&mut self, merge: &mut Merge) -> anyhow::Result<Option<Ended>> {
        while self.left > 0 {
            self.shown_is_done = true;
            if merge.next().map_err(deleted_topic)?.is_none() {
                return Ok(None);
            }
            // Only now is it known that the buffer does not hold the last record.
            if self.buffer.len() >= self.size() {
                self.shown_is_done = false;
                if let Some(ended) = self.pass(merge)? {
                    return Ok(Some(ended));
                }
                if self.is_stopped() {
                    return Ok(Some(Ended::Stopped));
                }
                self.shown_is_done = true;
            }
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            if let Some(pace) = &mut self.pace {
                let timestamp = merge.shown().front().timestamp;
                let pause = pace.pause(timestamp);
                if !pause.is_zero() {
                    self.shown_is_done = false;
                    if let Some(ended) = self.wait_until_due(merge, timestamp)? {
                        return Ok(Some(ended));
                    }
                    self.shown_is_done = true;
                }
                self.show_time(timestamp);
            }
            self.print_shown(merge);
            self.print_lines(merge);
        }
        Ok(None)
    }

    /// Prints the record that the merge has shown.
    fn print_shown(&mut self, merge: &Merge) {
        let start = self.buffer.len();
        self.format.write(&merge.shown().front(), &mut self.buffer);
        self.left -= 1;
        self.printed += 1;
        if self.delivery.is_some() && self.buffer.len() > start {
            self.last_record = LastRecord { start, shown: Some(merge.shown_at()) };
        }
    }

    /// Prints the records that come next, where they are lines: that needs no look at each from all sides.
    fn print_lines(&mut self, merge: &mut Merge) {
        if let (Some(delimiter), None) = (self.format.line_delimiter(), &self.pace) {
            let count = merge.append_lines(delimiter, (self.left, self.size()), &mut self.buffer);
            self.left -= count;
            self.printed += count;
            if self.delivery.is_some() && count > 0 {
                // A value that holds the delimiter is more than one line to the reader, too.
                let lines = &self.buffer[..self.buffer.len() - 1];
                let start = memchr::memrchr(delimiter, lines).map_or(0, |end| end + 1);
                self.last_record = LastRecord { start, shown: Some(merge.shown_at()) };
            }
        }
    }

    /// Waits until a record is due; `Some` where printing is to end before it.
    fn wait_until_due(&mut self, merge: &Merge, timestamp: Timestamp) -> anyhow::Result<Option<Ended>> {
        loop {
            if let Some(ended) = self.write_and_keep(merge)? {
                return Ok(Some(ended));
            }
            let pause = self.pace.as_mut().map_or(Duration::ZERO, |pace| pace.pause(timestamp));
            if pause.is_zero() {
                return Ok(None);
            }
            match self.wakers().pause(pause.min(PAUSE_MAX))? {
                Woken::Look => {}
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
            }
            self.show_time(timestamp);
        }
    }

    /// Shows where in time a replay stands.
    fn show_time(&mut self, next: Timestamp) {
        if let (Some(progress), Some(pace)) = (&mut self.progress, &self.pace) {
            let zone = &self.context.zone;
            progress.set(self.printed, || pace.stands_at(next).to_civil(zone));
        }
    }

    fn wakers(&self) -> Wakers<'a> {
        Wakers { output: ui::stdout(), stop: self.stop.map(Stop::descriptor) }
    }

    /// Warns about records that could not be printed.
    fn tell_unseen(&mut self, merge: &mut Merge) {
        let unseen = merge.take_unseen();
        for it in unseen.missed {
            let partition = TopicPartition { topic: it.topic, partition: it.partition };
            self.context.ui.warning(&missed(&partition, it.from, it.log_start_offset));
        }
        for it in unseen.damaged {
            self.context.ui.warning(&format!("{}; going on at offset {}", it.damage, it.next_offset));
            self.failures.note_corruption();
        }
        if unseen.damaged_more > 0 {
            self.context.ui.warning(&format!("{} more places were passed over", unseen.damaged_more));
        }
        merge.take_failed().into_iter().for_each(|error| self.failures.tell(error));
    }

    /// Warns about records that are not shown since a transaction has not ended.
    fn tell_open_transactions(&self, merge: &Merge) {
        for source in merge.sources() {
            let Some(OpenTransaction { producer_id, offset, since }) = source.records.open_transaction() else {
                continue;
            };
            let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
            let since = since.map_or(String::new(), |it| format!(" since {}", it.to_civil(&self.context.zone)));
            self.context.ui.warning(&format!(
                "{partition}: nothing is shown from offset {offset} on: a transaction of producer {producer_id} is open{since}"
            ));
        }
    }

    /// How many bytes make the buffer full.
    fn size(&self) -> usize {
        self.delivery.as_ref().map_or(OUTPUT_SIZE, Delivery::size)
    }

    /// Passes a full buffer on; `Some` where printing is to end before.
    fn pass(&mut self, merge: &Merge) -> anyhow::Result<Option<Ended>> {
        if self.delivery.is_some() || self.cursor.as_ref().is_some_and(Cursor::is_due) {
            let ended = self.write()?;
            if ended.is_none() {
                self.note(merge);
                self.keep_if_due()?;
            }
            return Ok(ended);
        }
        self.bytes += self.buffer.len() as u64;
        self.output.pass(&mut self.buffer)?;
        self.show_progress();
        Ok(None)
    }

    /// Writes all that was printed, and keeps a position if one is due; `Some` where printing is to end before.
    fn write_and_keep(&mut self, merge: &Merge) -> anyhow::Result<Option<Ended>> {
        let ended = self.write_and_note(merge)?;
        self.keep_if_due()?;
        Ok(ended)
    }

    /// Writes all that was printed. There may be nothing more to print, so the last record is a chunk of its own.
    fn write_and_note(&mut self, merge: &Merge) -> anyhow::Result<Option<Ended>> {
        let LastRecord { start, shown } = self.last_record;
        if start > 0 {
            let last = self.buffer.split_off(start);
            if let Some(ended) = self.write()? {
                return Ok(Some(ended));
            }
            if let Some(cursor) = &mut self.cursor {
                cursor.note(merge, self.shown_is_done, shown);
            }
            self.buffer.extend_from_slice(&last);
        }
        let ended = self.write()?;
        if ended.is_none() {
            self.note(merge);
        }
        Ok(ended)
    }

    /// Writes the buffer, into a pipe whose reader counts when that has taken the chunk before; `Some` where printing is to
    /// end before.
    fn write(&mut self) -> anyhow::Result<Option<Ended>> {
        let bytes = self.buffer.len();
        if self.delivery.is_some() {
            if bytes == 0 {
                return Ok(None);
            }
            match self.wait_until_taken()? {
                Woken::OutputClosed => return Ok(Some(Ended::OutputClosed)),
                Woken::Stop => return Ok(Some(Ended::Stopped)),
                Woken::Look => {}
            }
            if let Some(cursor) = &mut self.cursor {
                cursor.process_before_last();
            }
        }
        self.output.write(&mut self.buffer)?;
        if let (Some(delivery), Some(cursor)) = (&mut self.delivery, &mut self.cursor) {
            delivery.note(bytes);
            cursor.begin_chunk();
        }
        self.last_record = LastRecord::default();
        self.bytes += bytes as u64;
        self.show_progress();
        Ok(None)
    }

    /// Notes that what the merge has shown is written.
    fn note(&mut self, merge: &Merge) {
        let Some(cursor) = &mut self.cursor else { return };
        cursor.note(merge, self.shown_is_done, None);
        if self.delivery.as_ref().is_none_or(Delivery::is_unused) {
            cursor.process_all();
        }
    }

    /// Keeps where partitions begin of which no position is kept: `latest` or a time means another offset in the next run.
    fn note_starts(&mut self, merge: &Merge) -> anyhow::Result<()> {
        self.cursor.as_mut().map_or(Ok(()), |cursor| {
            cursor.note_starts(merge);
            cursor.keep()
        })
    }

    fn keep_if_due(&mut self) -> anyhow::Result<()> {
        match &mut self.cursor {
            Some(cursor) if cursor.is_due() => keep(cursor, self.delivery.as_ref()),
            _ => Ok(()),
        }
    }

    /// How long a wait lasts at most before the pipe is looked at again: nothing wakes kdir when a reader has emptied it.
    fn pause_before_keeping(&self) -> Duration {
        if self.cursor.as_ref().is_some_and(Cursor::is_behind) { PAUSE_MAX } else { Duration::MAX }
    }

    fn show_progress(&mut self) {
        if let (Some(progress), None) = (&mut self.progress, &self.pace) {
            let bytes = ByteSize(self.bytes);
            progress.set(self.printed, || bytes.to_string());
        }
    }
}

/// Keeps the positions after what the reader is known to have processed.
fn keep(cursor: &mut Cursor<'_>, delivery: Option<&Delivery>) -> anyhow::Result<()> {
    if delivery.map_or(Ok(false), Delivery::is_begun)? {
        cursor.process_before_last();
    }
    cursor.keep()
}

fn time_until(until: Timestamp) -> Duration {
    Duration::from_millis(until.since(now()).max(0) as u64)
}

/// Says of a folder that is gone that its topic was deleted.
pub(super) fn deleted_topic(error: StorageError) -> anyhow::Error {
    match &error {
        StorageError::PartitionDeleted { path } => {
            let folder = path.file_name().unwrap_or_default().to_string_lossy();
            let topic = folder.rsplit_once('-').map_or(&*folder, |(topic, _)| topic).to_owned();
            anyhow::anyhow!("the topic {topic} was deleted")
        }
        _ => error.into(),
    }
}
