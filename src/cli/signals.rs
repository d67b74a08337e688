//! SIGINT, SIGTERM and SIGHUP as something to wait for, for commands that must end in order, and SIGXFSZ out of their way.
//!
//! A command that has ended in order ends the process by the signal that asked for it: a shell stops its loop then, and a
//! service manager sees a stop that it asked for, not a failure. A signal that was ignored when the program was started, as
//! under nohup, stays ignored.
//!
//! The first process of a container (PID 1) is another matter: there the system drops signals whose action is the default one.
//! So it handles them from the start, and ends with 128 plus the number.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{flag, low_level};

use crate::disk::process;

/// The signals that ask the program to stop.
const STOPPING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];
/// What shells add to the number of a signal.
const CODE_BASE: i32 = 128;

/// Whether a signal ends the first process of a container at once: not while a [`Stop`] lives.
static ENDS_AT_ONCE: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| Arc::new(AtomicBool::new(true)));

/// Lets a write beyond the limit on file sizes (`ulimit -f`) fail as one to a full disk does, and end in order. Without
/// this, the signal that comes with it ends the process in the middle of the write.
pub(crate) fn outlive_file_size_limit() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

fn is_first_process() -> bool {
    rustix::process::getpid().is_init()
}

/// Lets signals end the first process of a container, as they end any other.
pub(crate) fn handle_as_first_process() -> io::Result<()> {
    if is_first_process() {
        for number in STOPPING {
            flag::register_conditional_shutdown(number, CODE_BASE + number, Arc::clone(&ENDS_AT_ONCE))?;
        }
    }
    Ok(())
}

/// Ends the process by a signal that has stopped its work. Returns the exit code to end with where that cannot be.
pub(crate) fn end_by(number: i32) -> u8 {
    if !is_first_process() {
        // It does not return, unless the number is none of a signal.
        let _ = low_level::emulate_default_handler(number);
    }
    (CODE_BASE + number) as u8
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

/// Signals that stop the program wait while this lives. A signal that comes between two steps of the making of its handler would
/// neither end the program nor be seen.
struct HeldBack(SigSet);

impl HeldBack {
    fn new() -> io::Result<Self> {
        let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
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
    /// For a command that decides itself what a second signal is: a byte can be read for each.
    pub(crate) fn on_signals_counted() -> io::Result<Self> {
        let (reader, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let _held_back = HeldBack::new()?;
        let ignored = process::IgnoredSignals::read();
        for number in STOPPING.into_iter().filter(|&number| !ignored.has(number)) {
            flag::register_usize(number, Arc::clone(&SIGNAL), number as usize)?;
            low_level::pipe::register(number, OwnedFd::from(waker.try_clone()?))?;
        }
        ENDS_AT_ONCE.store(false, Ordering::SeqCst);
        Ok(Self { reader, waker })
    }

    pub(crate) fn on_signals() -> io::Result<Self> {
        let (reader, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let _held_back = HeldBack::new()?;
        let ignored = process::IgnoredSignals::read();
        for number in STOPPING.into_iter().filter(|&number| !ignored.has(number)) {
            let seen = Arc::new(AtomicBool::new(false));
            if is_first_process() {
                flag::register_conditional_shutdown(number, CODE_BASE + number, Arc::clone(&seen))?;
            } else {
                flag::register_conditional_default(number, Arc::clone(&seen))?;
            }
            flag::register(number, seen)?;
            flag::register_usize(number, Arc::clone(&SIGNAL), number as usize)?;
            low_level::pipe::register(number, OwnedFd::from(waker.try_clone()?))?;
        }
        ENDS_AT_ONCE.store(false, Ordering::SeqCst);
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
