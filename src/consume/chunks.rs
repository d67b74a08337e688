//! Output into a pipe or socket in chunks, which shows how far its reader has come.
//!
//! What has been taken from a pipe has not been processed: it can be in the reader's own buffer. A reader that goes through
//! its input in order takes more only when it has used up what it had. So a chunk is written when the pipe is empty, and has
//! been processed when the first byte of the chunk after it has been taken. Of the last chunk of a run this is not to be
//! known, so it is a single record. Programs that are known to work ahead are given more ([`ReadAhead`]); others that do, and
//! several at one pipe, cannot be seen through.

use super::Result;
use super::read_ahead::ReadAhead;
use crate::disk::outlet::{Outlet, OutletKind};
use crate::disk::watch::{Wakers, Woken};
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// Chunks end after at most so many bytes and one record: what a pipe holds, but for a page. Pipes are widened for that, where
/// the system lets us; with half of it, cat took 1.3 times as long.
const CHUNK_MAX: usize = PIPE_SIZE - PAGE;
const PIPE_SIZE: usize = 128 << 10;
const PAGE: usize = 4 << 10;
/// A reader that takes a chunk within this time gets the next one twice as large, and else half as large: what a slow one
/// was given is what it gets again when it is killed.
const PROMPT: Duration = Duration::from_millis(50);
/// Looks at the pipe without a pause between them. A reader that copies its input takes less time than the shortest pause.
const LOOKS_AT_ONCE: u32 = 20;
/// Pauses between further looks, since nothing wakes a writer when its pipe is empty: a part of the time that has passed, so
/// that the reader does not wait long in comparison.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_micros(20)..=Duration::from_millis(5);
const PAUSE_PART: u32 = 16;

/// The chunks that are written to a pipe.
pub(super) struct Chunks {
    outlet: Outlet,
    /// How large the next chunk is to be, and how large one is at most.
    size: usize,
    size_max: usize,
    /// The length of the last chunk, and when it was written.
    last: u64,
    written: Instant,
    /// How many bytes were written after the positions that are to be processed next.
    after: u64,
    read_ahead: ReadAhead,
}

impl Chunks {
    /// `None` where the output is neither a pipe nor a socket: what is written to anything else is out of kdir's hands.
    pub(super) fn to(outlet: Outlet) -> Option<Self> {
        let shows_what_is_taken = matches!(outlet.kind(), OutletKind::Pipe | OutletKind::Socket);
        shows_what_is_taken.then(|| {
            outlet.widen(PIPE_SIZE);
            Self {
                outlet,
                size: 1,
                size_max: outlet.pipe_size().saturating_sub(PAGE).clamp(PAGE, CHUNK_MAX),
                last: 0,
                written: Instant::now(),
                after: 0,
                read_ahead: ReadAhead::default(),
            }
        })
    }

    /// A chunk is to be written when it has so many bytes.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// Whether nothing was written yet.
    pub(super) const fn is_unused(&self) -> bool {
        self.last == 0
    }

    /// A chunk has been written.
    pub(super) fn note(&mut self, bytes: usize) {
        (self.last, self.written) = (bytes as u64, Instant::now());
        self.after += self.last;
    }

    /// Positions are to be processed next that were noted before the last chunk.
    pub(super) fn begin(&mut self) {
        self.after = self.last;
    }

    /// Waits until all of the last chunk has been taken: then [`Woken::Look`]. Calls `on_pause` now and then.
    pub(super) fn wait(&mut self, wakers: &Wakers<'_>, mut on_pause: impl FnMut(&Self) -> Result<()>) -> Result<Woken> {
        let (outlet, written) = (self.outlet, self.written);
        let (woken, looks) = wait_until_empty(outlet, wakers, written, || on_pause(self))?;
        if woken != Woken::Look {
            return Ok(woken);
        }
        let last = self.last as usize;
        if last > 0 {
            self.read_ahead.note(outlet, self.last);
        }
        if self.written.elapsed() <= PROMPT {
            self.size = (last * 2).clamp(1, self.size_max);
        } else if looks > 0 {
            self.size = (last / 2).clamp(1, self.size_max);
        }
        Ok(Woken::Look)
    }

    /// Whether the reader has come so far that it has processed what was written before: as far as the last chunk, or further
    /// where it works ahead.
    pub(super) fn is_begun(&self) -> io::Result<bool> {
        let taken = self.after.saturating_sub(self.outlet.unread()?);
        Ok(taken > self.read_ahead.bytes())
    }

    /// The same once all has been taken.
    pub(super) const fn is_begun_when_empty(&self) -> bool {
        self.after > self.read_ahead.bytes()
    }
}

/// Waits until a pipe is empty that was written to at that time: then [`Woken::Look`], after so many looks. Calls `on_pause`
/// now and then.
pub(super) fn wait_until_empty(
    outlet: Outlet,
    wakers: &Wakers<'_>,
    written: Instant,
    mut on_pause: impl FnMut() -> Result<()>,
) -> Result<(Woken, u32)> {
    let mut looks = 0;
    while outlet.unread()? > 0 {
        looks += 1;
        if looks <= LOOKS_AT_ONCE {
            thread::yield_now();
            continue;
        }
        on_pause()?;
        let pause = (written.elapsed() / PAUSE_PART).clamp(*PAUSES.start(), *PAUSES.end());
        match wakers.pause(pause)? {
            Woken::Look => {}
            // It may have taken all before it went.
            Woken::OutputClosed if outlet.unread()? == 0 => break,
            woken => return Ok((woken, looks)),
        }
    }
    Ok((Woken::Look, looks))
}
