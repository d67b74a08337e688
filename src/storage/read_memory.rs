//! The memory that the readers of one command share for records that had to be decompressed.
//!
//! A few bytes on disk can become hundreds of MiB of records, and a merge holds a batch of each partition. So half of
//! [`SIZE_MAX`] goes to whole batches, as they come; with that used up, a reader keeps a window of its batch, at most its
//! share of the other half, and decompresses the batch again for the next window. Only a single record can take more, and
//! the merge lets no more than one reader hold such a record while others wait for their turn.

use crate::format::compression::Decompressor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of decompressed records that all readers keep, single larger records aside.
const SIZE_MAX: usize = 64 << 20;
const WHOLE_MAX: usize = SIZE_MAX / 2;
const SHARES_MAX: usize = SIZE_MAX - WHOLE_MAX;
/// A smaller window would be decompressed for too few records.
const SHARE_MIN: usize = 4 << 10;

/// Memory that readers share; clones are the same memory.
#[derive(Clone, Default)]
pub struct ReadMemory {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    readers: AtomicUsize,
    /// What they hold.
    used: AtomicUsize,
    decompressor: Mutex<Decompressor>,
}

impl ReadMemory {
    /// Bytes that all readers hold now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.state.used.load(Ordering::Relaxed)
    }
}

/// One reader's part of a [`ReadMemory`]; given back when dropped.
pub(super) struct Share {
    memory: ReadMemory,
    held: usize,
}

impl Share {
    pub(super) fn new(memory: &ReadMemory) -> Self {
        memory.state.readers.fetch_add(1, Ordering::Relaxed);
        Self { memory: memory.clone(), held: 0 }
    }

    /// The decompressor of all readers.
    pub(super) fn decompressor(&self) -> MutexGuard<'_, Decompressor> {
        // A panic in the middle of a batch leaves nothing that the next batch does not begin anew.
        self.memory.state.decompressor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `wanted` bytes this reader may hold now, in place of all that it holds. A reader without others may hold
    /// any batch: it has no more than one.
    pub(super) fn allowed(&self, wanted: usize) -> usize {
        let state = &self.memory.state;
        let readers = state.readers.load(Ordering::Relaxed).max(1);
        let others = self.memory.used().saturating_sub(self.held);
        if readers == 1 || others.saturating_add(wanted) <= WHOLE_MAX {
            wanted
        } else {
            wanted.min((SHARES_MAX / readers).max(SHARE_MIN))
        }
    }

    /// Notes how many bytes it holds now.
    pub(super) fn hold(&mut self, bytes: usize) {
        let used = &self.memory.state.used;
        used.fetch_add(bytes, Ordering::Relaxed);
        used.fetch_sub(self.held, Ordering::Relaxed);
        self.held = bytes;
    }

    /// Whether it holds more than its share while all readers together hold too much.
    pub(super) fn is_over(&self) -> bool {
        self.memory.used() > SIZE_MAX && self.held > self.allowed(self.held)
    }
}

impl Default for Share {
    fn default() -> Self {
        Self::new(&ReadMemory::default())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.memory.state.used.fetch_sub(self.held, Ordering::Relaxed);
        self.memory.state.readers.fetch_sub(1, Ordering::Relaxed);
    }
}
