//! SIGINT and SIGTERM as something to wait for, for commands that must end in order, and SIGXFSZ out of their way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

/// Lets a write beyond the limit on file sizes (`ulimit -f`) fail as one to a full disk does, and end in order. Without
/// this, the signal that comes with it ends the process in the middle of the write.
pub(crate) fn outlive_file_size_limit() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// The signal that came, 0 before one did. The program's, not a [`Stop`]'s: a wait for a lock, deep in the library, asks it.
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Whether a signal asks the program to stop. Without a [`Stop`], a signal ends the program at once.
pub(crate) fn is_stopped() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// The signal that asks the program to stop.
pub(crate) fn current() -> Option<i32> {
    Some(SIGNAL.load(Ordering::SeqCst) as i32).filter(|&number| number != 0)
}

/// SIGINT and SIGTERM wait while this lives. A signal that comes between two steps of the making of its handler would
/// neither end the program nor be seen.
struct HeldBack(SigSet);

impl HeldBack {
    fn new() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM].into_iter().collect();
        Ok(Self(signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?))
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // Only an unknown `how` is refused, and this has none.
        let _ = self.0.thread_set_mask();
    }
}

/// Becomes readable when the program is to stop: by a signal, or by a part of the program itself. The same signal a
/// second time ends the process at once.
pub(crate) struct Stop {
    reader: UnixStream,
    waker: UnixStream,
}

impl Stop {
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (reader, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let _held_back = HeldBack::new()?;
        for number in [SIGINT, SIGTERM] {
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register_conditional_default(number, Arc::clone(&seen))?;
            signal_hook::flag::register(number, seen)?;
            signal_hook::flag::register_usize(number, Arc::clone(&SIGNAL), number as usize)?;
            signal_hook::low_level::pipe::register(number, OwnedFd::from(waker.try_clone()?))?;
        }
        Ok(Self { reader, waker })
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        current()
    }

    /// A handle to stop with from elsewhere.
    pub(crate) fn waker(&self) -> io::Result<UnixStream> {
        self.waker.try_clone()
    }

    /// Readable when the program is to stop.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
