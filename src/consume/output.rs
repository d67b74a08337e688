//! Writes records to an output: full buffers on a thread of its own, while the next is filled. To `cat`, records of
//! 1 KiB and of 100 bytes took 0.65 times as long as on one thread, of 10 bytes 0.8 times, and into a file 0.6 times.
//!
//! What is less than a full buffer comes at the end and before a wait, and is written by the thread that brings it: that is
//! sooner than a hand-over, and a short output needs no thread at all. Nor does a device: /dev/null takes less time than
//! the hand-over.
//!
//! After a failure nothing more is written, so that an output has no gap.

use crate::disk::outlet::{Outlet, OutletKind};
use std::collections::VecDeque;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Full buffers on their way at most.
const ON_THE_WAY_MAX: usize = 2;
/// A larger one, as a single record can make it, is not handed over: there is to be no memory for several of them.
const HANDED_OVER_MAX: usize = 1 << 20;

pub(super) struct Output {
    outlet: Outlet,
    writer: Option<Writer>,
    /// To be filled again.
    empty: Vec<Vec<u8>>,
    has_failed: bool,
}

/// The thread that writes full buffers, and hands them back.
struct Writer {
    full: SyncSender<Vec<u8>>,
    written: Receiver<io::Result<Vec<u8>>>,
    /// How many bytes each of the buffers has that are on their way, the oldest first.
    on_the_way: VecDeque<usize>,
}

impl Output {
    pub(super) const fn new(outlet: Outlet) -> Self {
        Self { outlet, writer: None, empty: Vec::new(), has_failed: false }
    }

    /// Hands a full buffer over, and puts an empty one in its place. An error may be that of one before it.
    pub(super) fn pass(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        if self.outlet.kind() == OutletKind::Device || buffer.len() > HANDED_OVER_MAX {
            return self.write(buffer);
        }
        self.take_back(ON_THE_WAY_MAX - 1)?;
        let Some(writer) = self.writer.take().or_else(|| Writer::start(self.outlet)) else { return self.write(buffer) };
        let writer = self.writer.insert(writer);
        let (empty, bytes) = (self.empty.pop().unwrap_or_else(|| Vec::with_capacity(buffer.len())), buffer.len());
        if writer.full.send(std::mem::replace(buffer, empty)).is_err() {
            // The thread has ended at a write that failed, and that is the next to come back.
            return self.take_back(0);
        }
        writer.on_the_way.push_back(bytes);
        Ok(())
    }

    /// Writes what was handed over, and then a buffer, which it empties.
    pub(super) fn write(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        self.take_back(0)?;
        self.outlet.write(buffer).inspect_err(|_| self.has_failed = true)?;
        buffer.clear();
        // As much as a buffer has that may be handed over: what a single record took is given back.
        buffer.shrink_to(HANDED_OVER_MAX);
        Ok(())
    }

    /// How many of the bytes that were brought are not known to be written; `None` after a failure, when nothing is known.
    pub(super) fn on_the_way(&self) -> Option<u64> {
        let bytes = self.writer.as_ref().map_or(0, |writer| writer.on_the_way.iter().sum());
        (!self.has_failed).then_some(bytes as u64)
    }

    /// Waits until no more buffers than that are on their way.
    fn take_back(&mut self, on_the_way_max: usize) -> io::Result<()> {
        if self.has_failed {
            return Err(io::Error::other("a write before it has failed"));
        }
        while let Some(writer) = self.writer.as_mut().filter(|writer| writer.on_the_way.len() > on_the_way_max) {
            writer.on_the_way.pop_front();
            let written = writer.written.recv().expect("the thread answers for each buffer");
            self.empty.push(written.inspect_err(|_| self.has_failed = true)?);
        }
        Ok(())
    }
}

impl Writer {
    /// `None` where the system has no thread for it.
    fn start(outlet: Outlet) -> Option<Self> {
        let (full, to_write) = sync_channel::<Vec<u8>>(ON_THE_WAY_MAX);
        let (back, written) = sync_channel(ON_THE_WAY_MAX);
        let write = move || {
            for mut buffer in to_write {
                let result = outlet.write(&buffer);
                buffer.clear();
                let has_failed = result.is_err();
                if back.send(result.map(|()| buffer)).is_err() || has_failed {
                    return;
                }
            }
        };
        std::thread::Builder::new().spawn(write).ok()?;
        Some(Self { full, written, on_the_way: VecDeque::new() })
    }
}
