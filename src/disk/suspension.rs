//! Ctrl-Z waits while a folder is locked: a process that is suspended with a lock in its hands suspends all others that want it.
//!
//! SIGTSTP is of the whole process, and any thread may be the one that holds a lock. So it is blocked in every thread: it stays
//! pending with the system, and a thread of its own watches for that. While no folder is locked this thread unblocks it for a
//! moment, and the system acts on it; else the one that gives the last lock back does. The signal is never taken and sent
//! again, so everything else is as the system has it: a shell sees SIGTSTP, a SIGCONT that comes first withdraws it, and it
//! does nothing where it was ignored from the start or where no shell could continue the process.
//!
//! Deliberately absent: SIGTTIN and SIGTTOU, which a process sends itself by using the terminal; nothing that holds a lock
//! reads from one.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};

/// What the watching thread needs: it calls a few functions that need little.
const STACK_SIZE: usize = 64 << 10;

#[derive(Debug)]
struct Gate {
    /// How many folders are locked, or being tried.
    held: usize,
    /// Whether a signal waits for the last of them.
    has_signal: bool,
}

static GATE: Mutex<Gate> = Mutex::new(Gate { held: 0, has_signal: false });
static PASSED: Condvar = Condvar::new();

fn gate() -> MutexGuard<'static, Gate> {
    GATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on SIGTSTP suspends the process only while it has no folder locked. The caller is the only thread that there is:
/// those that begin later block the signal as it does.
pub fn wait_for_locks() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let signals = suspending();
        // Without a thread more, or a descriptor, it is as it was before.
        if signals.thread_block().is_ok() && watch(signals).is_err() {
            let _ = signals.thread_unblock();
        }
    });
}

fn suspending() -> SigSet {
    Signal::SIGTSTP.into()
}

fn watch(signals: SigSet) -> io::Result<()> {
    let pending = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC)?;
    let watch = move || {
        loop {
            match poll(&mut [PollFd::new(&pending, PollFlags::IN)], None) {
                Ok(_) => pass_when_unlocked(),
                Err(Errno::INTR) => {}
                // The system has no memory for one descriptor: nothing that would be tried next could work.
                Err(_) => return,
            }
        }
    };
    std::thread::Builder::new().name("suspension".into()).stack_size(STACK_SIZE).spawn(watch).map(drop)
}

fn pass_when_unlocked() {
    let mut gate = gate();
    if gate.held == 0 {
        pass();
        return;
    }
    gate.has_signal = true;
    drop(PASSED.wait_while(gate, |gate| gate.has_signal));
}

/// Lets the system act on the pending signal, if it still is. The caller has the gate, so that no folder can be locked between
/// the look at the count and the stop: whoever tries is stopped as well.
fn pass() {
    let signals = suspending();
    // Neither is refused: the set is one of signals, and the process is the caller's own.
    let _ = signals.thread_unblock();
    let _ = signals.thread_block();
}

/// Tries to lock a folder. The process is not suspended from before the try until [`release`], or until it has failed.
pub(super) fn hold(try_lock: impl FnOnce() -> io::Result<bool>) -> io::Result<bool> {
    gate().held += 1;
    let tried = try_lock();
    if !matches!(tried, Ok(true)) {
        release();
    }
    tried
}

/// A folder has been unlocked. Where it was the last one, a signal that waited suspends the process here.
pub(super) fn release() {
    let mut gate = gate();
    gate.held -= 1;
    if gate.held == 0 && gate.has_signal {
        pass();
        gate.has_signal = false;
        PASSED.notify_all();
    }
}
