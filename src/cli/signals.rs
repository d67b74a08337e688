//! SIGINT and SIGTERM as something to wait for, for commands that must end in order.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// Becomes readable when the program is to stop: by a signal, or by a part of the program itself. The same signal a
/// second time ends the process at once.
pub(crate) struct Stop {
    reader: UnixStream,
    waker: UnixStream,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    pub(crate) fn on_signals() -> io::Result<Self> {
        let (reader, waker) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM] {
            let seen = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register_conditional_default(number, Arc::clone(&seen))?;
            signal_hook::flag::register(number, seen)?;
            signal_hook::flag::register_usize(number, Arc::clone(&signal), number as usize)?;
            signal_hook::low_level::pipe::register(number, OwnedFd::from(waker.try_clone()?))?;
        }
        Ok(Self { reader, waker, signal })
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            number => Some(number as i32),
        }
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
