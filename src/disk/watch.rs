//! Waits until something changes in a folder, or an output is closed, without working meanwhile.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something changed, or the time is up: look again.
    Look,
    /// Nobody reads the output any more.
    OutputClosed,
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
    /// Watches `folders` and the names in them.
    #[must_use]
    pub fn new<'a>(folders: impl Iterator<Item = &'a Path>) -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
            let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            let mut complete = inotify.is_some();
            if let Some(inotify) = &inotify {
                for folder in folders {
                    complete &= add_watch(inotify, folder, flags).is_ok();
                }
            }
            Self { inotify, complete }
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _ = folders;
            Self { complete: false }
        }
    }

    /// Waits for a change, for `output` to be closed by its reader, or for half a second (20 ms without notifications).
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&self, output: BorrowedFd<'_>) -> io::Result<Woken> {
        let pause = if self.complete { PAUSE_NOTIFIED } else { PAUSE_POLLING };
        let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
        // Asking for nothing still reports errors and hang-ups, which is how a closed pipe shows itself.
        let mut descriptors = vec![PollFd::from_borrowed_fd(output, PollFlags::empty())];
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(inotify) = &self.inotify {
            descriptors.push(PollFd::new(inotify, PollFlags::IN));
        }
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        if descriptors[0].revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL) {
            return Ok(Woken::OutputClosed);
        }
        self.drain();
        Ok(Woken::Look)
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
