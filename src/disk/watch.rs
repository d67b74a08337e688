//! Waits until something changes in a folder, an output is closed or the program is to stop, without working meanwhile.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something changed, or the time is up: look again.
    Look,
    /// Nobody reads the output any more.
    OutputClosed,
    /// The program is to stop.
    Stop,
}

/// What ends a wait, whatever it is for.
#[derive(Debug, Clone, Copy)]
pub struct Wakers<'a> {
    /// The output, whose reader may go.
    pub output: BorrowedFd<'a>,
    /// Readable when the program is to stop.
    pub stop: Option<BorrowedFd<'a>>,
}

impl Wakers<'_> {
    /// Waits for one of them, or for so long.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn pause(&self, at_most: Duration) -> io::Result<Woken> {
        self.wait(None, at_most)
    }

    fn wait(&self, change: Option<BorrowedFd<'_>>, at_most: Duration) -> io::Result<Woken> {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        // Asking for nothing still reports errors and hang-ups, which is how a closed pipe shows itself.
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.output, PollFlags::empty())];
        let readable = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        descriptors.extend(self.stop.map(readable));
        descriptors.extend(change.map(readable));
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if self.stop.is_some() && !descriptors[1].revents().is_empty() {
            return Ok(Woken::Stop);
        }
        if descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Ok(Woken::OutputClosed);
        }
        Ok(Woken::Look)
    }
}

/// Watches folders. Where the system has no notifications, or refuses more of them, [`Watch::wait`] ends by time alone,
/// so the caller must look again at every return whatever the reason.
#[derive(Debug)]
pub struct Watch {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    inotify: Option<rustix::fd::OwnedFd>,
    /// Whether every folder asked for is watched, so that a wait may be long.
    complete: bool,
}

/// How long to wait where notifications tell of changes: they may be lost on a network file system.
const PAUSE_NOTIFIED: Duration = Duration::from_millis(500);
/// How long to wait where nothing tells of changes.
const PAUSE_POLLING: Duration = Duration::from_millis(20);

impl Watch {
    /// Watches nothing yet.
    #[must_use]
    pub fn start() -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::inotify::{CreateFlags, init};
            let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
            let complete = inotify.is_some();
            Self { inotify, complete }
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Self { complete: false }
    }

    /// Watches `folder` and the names in it.
    pub fn add(&mut self, folder: &Path) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(inotify) = &self.inotify {
            use rustix::fs::inotify::{WatchFlags, add_watch};
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            self.complete &= add_watch(inotify, folder, flags).is_ok();
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = folder;
    }

    /// Waits for a change, for one of `wakers`, or for half a second (20 ms without notifications), and no longer than
    /// `at_most`.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&self, wakers: &Wakers<'_>, at_most: Duration) -> io::Result<Woken> {
        let pause = if self.complete { PAUSE_NOTIFIED } else { PAUSE_POLLING }.min(at_most);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let woken = wakers.wait(self.inotify.as_ref().map(AsFd::as_fd), pause)?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let woken = wakers.wait(None, pause)?;
        self.drain();
        Ok(woken)
    }

    /// Forgets the changes seen so far: what they were does not matter, only that there were some.
    fn drain(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(inotify) = &self.inotify {
            let mut buffer = [0_u8; 4096];
            while matches!(rustix::io::read(inotify, &mut buffer), Ok(count) if count > 0) {}
        }
    }
}
