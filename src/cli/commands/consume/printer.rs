//! Writes records to stdout.

use super::ConsumeArgs;
use super::cursor::{Cursor, Reader};
use super::follow::Follower;
use super::output::Output;
use super::pace::Pace;
use super::selection::missed;
use crate::cli::exit::Exit;
use crate::cli::signals::Stop;
use crate::cli::ui::{self, Progress, Unit};
use crate::cli::{Context, now};
use crate::disk::watch::{Wakers, Woken};
use crate::storage::StorageError;
use crate::stream::merge::Merge;
use crate::stream::output::RecordFormat;
use crate::units::{ByteSize, Timestamp, TopicPartition};
use std::time::Duration;

/// Bytes gathered before they are written. A pipe has twice that room: its reader has half of it while the other half is
/// filled, and with more at once it took 1.4 times as long. Into a file, more at once took up to four times as long where
/// the kernel had no page cache in pieces as large.
const OUTPUT_SIZE: usize = 128 << 10;
/// How long a wait lasts at most before the display is brought up to date.
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Between two looks at what the reader has taken, at the end.
const TAKEN_PAUSE: Duration = Duration::from_millis(5);

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
    buffer: Vec<u8>,
    output: Output,
    /// Whether the record that the merge has shown last is in the buffer, or behind it.
    shown_is_done: bool,
    printed: u64,
    bytes: u64,
    /// Those of them that were written for certain.
    written: u64,
    progress: Option<Progress>,
}

/// Why printing has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Complete,
    OutputClosed,
    Stopped,
}

impl<'a> Printer<'a> {
    pub(super) fn new(args: &ConsumeArgs, context: &'a Context, format: RecordFormat, stop: Option<&'a Stop>) -> Self {
        // What stands in a pipe is printed again by the run after one that was killed: no more of it than need be.
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
            buffer: Vec::with_capacity(OUTPUT_SIZE + (OUTPUT_SIZE >> 2)),
            output: Output::new(context.ui),
            shown_is_done: false,
            printed: 0,
            bytes: 0,
            written: 0,
            progress: is_shown.then(|| context.ui.progress(None, Unit::Records)),
        }
    }

    /// Prints what `merge` has; with a follower, until something ends it.
    pub(super) fn print(mut self, mut merge: Merge, follower: Option<Follower<'_>>) -> anyhow::Result<Exit> {
        let printed = self.print_all(&mut merge, follower);
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
            _ => Ok(Exit::Done),
        }
    }

    /// Writes what is left, and where a position is kept, waits for the reader to take it. Returns how all has ended.
    fn finish(&mut self, merge: &Merge, printed: Option<Ended>) -> anyhow::Result<Ended> {
        let mut ended = printed.unwrap_or(Ended::Complete);
        if let Err(error) = self.flush() {
            // The reader may have used what it took before it went.
            self.cursor.as_mut().map_or(Ok(true), |cursor| cursor.keep(self.written, Reader::Gone))?;
            return Err(error);
        }
        let wakers = self.wakers();
        let Some(cursor) = &mut self.cursor else { return Ok(ended) };
        cursor.note(merge, self.shown_is_done, self.written);
        loop {
            // A reader may go when it has all that was asked for.
            let has_gone = self.left > 0 && (ended == Ended::OutputClosed || wakers.is_output_closed()?);
            let reader = if has_gone { Reader::Gone } else { Reader::There };
            if cursor.keep(self.written, reader)? || ended != Ended::Complete {
                return Ok(ended);
            }
            ended = match wakers.pause(TAKEN_PAUSE)? {
                Woken::Look => Ended::Complete,
                Woken::OutputClosed => Ended::OutputClosed,
                Woken::Stop => Ended::Stopped,
            };
        }
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
            self.tell_missed(merge);
            let Some(follower) = &mut follower else { return Ok(Ended::Complete) };
            if self.left == 0 || is_over || merge.is_done() {
                return Ok(Ended::Complete);
            }
            self.flush_and_keep(merge)?;
            let at_most = self.until.map_or(Duration::MAX, time_until).min(self.pause_before_keeping());
            match follower.wait(&self.wakers(), at_most, merge)? {
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
            let Some(source) = merge.next().map_err(deleted_topic)? else { return Ok(None) };
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            if let Some(pace) = &mut self.pace {
                let timestamp = source.front().timestamp;
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
            self.format.write(&merge.shown().front(), &mut self.buffer);
            self.left -= 1;
            self.printed += 1;
            self.print_lines(merge);
            if self.buffer.len() >= OUTPUT_SIZE {
                self.pass(merge)?;
                if self.stop.is_some_and(|stop| stop.signal().is_some()) {
                    return Ok(Some(Ended::Stopped));
                }
            }
        }
        Ok(None)
    }

    /// Prints the records that come next, where they are lines: that needs no look at each from all sides.
    fn print_lines(&mut self, merge: &mut Merge) {
        if let (Some(delimiter), None) = (self.format.line_delimiter(), &self.pace) {
            let count = merge.append_lines(delimiter, (self.left, OUTPUT_SIZE), &mut self.buffer);
            self.left -= count;
            self.printed += count;
        }
    }

    /// Waits until a record is due; `Some` where printing is to end before it.
    fn wait_until_due(&mut self, merge: &Merge, timestamp: Timestamp) -> anyhow::Result<Option<Ended>> {
        loop {
            self.flush_and_keep(merge)?;
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

    fn tell_missed(&self, merge: &mut Merge) {
        for it in merge.take_missed() {
            let partition = TopicPartition { topic: it.topic, partition: it.partition };
            self.context.ui.warning(&missed(&partition, it.from, it.log_start_offset));
        }
    }

    /// Passes a full buffer on.
    fn pass(&mut self, merge: &Merge) -> anyhow::Result<()> {
        if self.cursor.as_ref().is_some_and(Cursor::is_due) {
            return self.flush_and_keep(merge);
        }
        self.bytes += self.buffer.len() as u64;
        self.output.pass(&mut self.buffer)?;
        self.show_progress();
        Ok(())
    }

    fn flush_and_keep(&mut self, merge: &Merge) -> anyhow::Result<()> {
        self.flush()?;
        if let Some(cursor) = &mut self.cursor {
            cursor.note(merge, self.shown_is_done, self.written);
            if cursor.is_due() {
                cursor.keep(self.written, Reader::There)?;
            }
        }
        Ok(())
    }

    /// How long a wait lasts at most before the pipe is looked at again: nothing wakes kdir when a reader has emptied it.
    fn pause_before_keeping(&self) -> Duration {
        if self.cursor.as_ref().is_some_and(Cursor::is_behind) { PAUSE_MAX } else { Duration::MAX }
    }

    /// Writes all that was printed.
    fn flush(&mut self) -> anyhow::Result<()> {
        self.bytes += self.buffer.len() as u64;
        self.output.write(&mut self.buffer)?;
        self.written = self.bytes;
        self.show_progress();
        Ok(())
    }

    fn show_progress(&mut self) {
        if let (Some(progress), None) = (&mut self.progress, &self.pace) {
            let bytes = ByteSize(self.bytes);
            progress.set(self.printed, || bytes.to_string());
        }
    }
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
