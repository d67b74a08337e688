//! Waits until something changes in one of many folders, an output is closed or the program is to stop.
//!
//! A wait returns which folders to check, so that one busy folder among thousands costs as little as one alone. What must
//! stay true: a change made after [`Watch::add`] is returned by some later wait. The kernel may drop notifications (its
//! queue overflows, a network file system sends none) or refuse to watch a folder (`fs.inotify.max_user_watches`).
//! So an overflow returns every folder, a folder without notifications is returned by time alone, and a slow round
//! returns every folder now and then, in portions, so that no single wait has to check all of them.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Something changed, or the time is up.
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
    /// Readable when there is something else to see to: the wait ends as with a change.
    pub input: Option<BorrowedFd<'a>>,
}

impl Wakers<'_> {
    /// Waits for one of them, or for so long.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn pause(&self, at_most: Duration) -> io::Result<Woken> {
        self.wait(PollFlags::empty(), None, at_most)
    }

    /// The same, or until the output takes more.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn pause_for_room(&self, at_most: Duration) -> io::Result<Woken> {
        self.wait(PollFlags::OUT, None, at_most)
    }

    /// Whether the reader of the output has gone.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn is_output_closed(&self) -> io::Result<bool> {
        let output = Wakers { output: self.output, stop: None, input: None };
        Ok(output.pause(Duration::ZERO)? == Woken::OutputClosed)
    }

    fn wait(&self, output: PollFlags, change: Option<BorrowedFd<'_>>, at_most: Duration) -> io::Result<Woken> {
        let timeout = Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        // Asking for nothing still reports errors and hang-ups, which is how a closed pipe shows itself.
        let mut descriptors = vec![PollFd::from_borrowed_fd(self.output, output)];
        let readable = |descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN);
        descriptors.extend(self.stop.map(readable));
        descriptors.extend(change.map(readable));
        descriptors.extend(self.input.map(readable));
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

/// Where notifications work, every folder is returned about this often all the same.
const ROUND_NOTIFIED: Duration = Duration::from_millis(500);
/// Folders in one portion of that round, and the pause between two portions. With many folders, a round takes longer.
const PORTION_NOTIFIED: usize = 64;
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Folders without notifications that are returned at once, and the pause before the next of them.
const PORTION_POLLED: usize = 256;
const PAUSE_POLLED: Duration = Duration::from_millis(20);

/// Watches folders, each known by a number: 0 for the first that is added, and so on.
#[derive(Debug)]
pub struct Watch {
    notifier: Notifier,
    /// By number: whether the folder is to be returned by the wait that is under way.
    changed: Vec<bool>,
    /// The numbers of the folders without notifications.
    polled: Vec<usize>,
    all_round: Round,
    polled_round: Round,
}

impl Watch {
    /// Watches nothing yet.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            notifier: Notifier::start(),
            changed: Vec::new(),
            polled: Vec::new(),
            all_round: Round { next: 0, due: now + ROUND_NOTIFIED },
            polled_round: Round { next: 0, due: now + PAUSE_POLLED },
        }
    }

    /// Watches `folder` and the names in it, and returns its number. What was there before is the caller's to check,
    /// after this call.
    pub fn add(&mut self, folder: &Path) -> usize {
        let number = self.changed.len();
        self.changed.push(false);
        if !self.notifier.add(folder, number) {
            self.polled.push(number);
        }
        number
    }

    /// Watches a file, and who closes it that could write to it: a process that dies closes its files.
    pub fn add_file(&mut self, file: &Path) -> usize {
        let number = self.changed.len();
        self.changed.push(false);
        if !self.notifier.add_file(file, number) {
            self.polled.push(number);
        }
        number
    }

    /// Waits for a change, for one of `wakers`, or for the next portion of a round, and no longer than `at_most`. Appends
    /// the numbers of the folders to check to `changed`, each once.
    ///
    /// # Errors
    /// When the system cannot wait.
    pub fn wait(&mut self, wakers: &Wakers<'_>, at_most: Duration, changed: &mut Vec<usize>) -> io::Result<Woken> {
        let mut due = self.all_round.due;
        if !self.polled.is_empty() {
            due = due.min(self.polled_round.due);
        }
        let pause = due.saturating_duration_since(Instant::now()).min(at_most);
        let woken = wakers.wait(PollFlags::empty(), self.notifier.descriptor(), pause)?;
        let first = changed.len();
        self.take_notifications(changed);
        self.take_rounds(Instant::now(), changed);
        changed[first..].iter().for_each(|&number| self.changed[number] = false);
        Ok(woken)
    }

    fn take_notifications(&mut self, changed: &mut Vec<usize>) {
        let (flags, polled) = (&mut self.changed, &mut self.polled);
        let count = flags.len();
        self.notifier.read(|notification| match notification {
            Notification::Changed(number) => mark(number, flags, changed),
            Notification::Ended(number) => {
                polled.push(number);
                mark(number, flags, changed);
            }
            Notification::Lost => (0..count).for_each(|number| mark(number, flags, changed)),
        });
    }

    fn take_rounds(&mut self, now: Instant, changed: &mut Vec<usize>) {
        let count = self.changed.len();
        let pause = ROUND_NOTIFIED.mul_f64((PORTION_NOTIFIED as f64 / count.max(1) as f64).min(1.0)).max(PAUSE_MIN);
        for number in self.all_round.portion(now, count, PORTION_NOTIFIED, pause) {
            mark(number, &mut self.changed, changed);
        }
        for place in self.polled_round.portion(now, self.polled.len(), PORTION_POLLED, PAUSE_POLLED) {
            mark(self.polled[place], &mut self.changed, changed);
        }
    }
}

fn mark(number: usize, flags: &mut [bool], changed: &mut Vec<usize>) {
    if !std::mem::replace(&mut flags[number], true) {
        changed.push(number);
    }
}

/// Goes through a list over and over, a portion at a time.
#[derive(Debug)]
struct Round {
    next: usize,
    /// When the next portion may be taken.
    due: Instant,
}

impl Round {
    /// The next portion of `count` places, if it is time for it.
    fn portion(&mut self, now: Instant, count: usize, size: usize, pause: Duration) -> std::ops::Range<usize> {
        if now < self.due {
            return 0..0;
        }
        let first = if self.next < count { self.next } else { 0 };
        self.next = (first + size).min(count);
        self.due = now + pause;
        first..self.next
    }
}

/// What the kernel says of a watched folder.
#[derive(Debug, Clone, Copy)]
enum Notification {
    /// Something changed in the folder of this number.
    Changed(usize),
    /// The folder of this number is not watched any more: it was removed or its file system unmounted.
    Ended(usize),
    /// Notifications were dropped.
    Lost,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
use linux::Notifier;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use other::Notifier;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use super::Notification;
    use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
    use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init};
    use std::collections::HashMap;
    use std::mem::MaybeUninit;
    use std::path::Path;

    /// One inotify instance for all folders.
    #[derive(Debug)]
    pub(super) struct Notifier {
        inotify: Option<OwnedFd>,
        /// The numbers of the folders by watch descriptor. Two paths to one folder share a descriptor.
        numbers: HashMap<i32, Vec<usize>>,
    }

    impl Notifier {
        pub(super) fn start() -> Self {
            Self { inotify: init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(), numbers: HashMap::new() }
        }

        pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            self.inotify.as_ref().map(AsFd::as_fd)
        }

        /// `false` where the system refuses to watch it.
        pub(super) fn add(&mut self, folder: &Path, number: usize) -> bool {
            let flags = WatchFlags::MODIFY
                | WatchFlags::CREATE
                | WatchFlags::DELETE
                | WatchFlags::MOVE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF;
            self.add_with(folder, number, flags)
        }

        /// The same of a file.
        pub(super) fn add_file(&mut self, file: &Path, number: usize) -> bool {
            let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
            self.add_with(file, number, flags)
        }

        fn add_with(&mut self, path: &Path, number: usize, flags: WatchFlags) -> bool {
            let Some(Ok(descriptor)) = self.inotify.as_ref().map(|it| add_watch(it, path, flags)) else {
                return false;
            };
            self.numbers.entry(descriptor).or_default().push(number);
            true
        }

        /// Calls `tell` with all that has come.
        pub(super) fn read(&mut self, mut tell: impl FnMut(Notification)) {
            let Some(inotify) = &self.inotify else { return };
            let mut buffer = [MaybeUninit::uninit(); 8192];
            let mut reader = Reader::new(inotify, &mut buffer);
            // An error is the end of what has come; the rounds make up for any other.
            while let Ok(event) = reader.next() {
                if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                    tell(Notification::Lost);
                } else if event.events().contains(ReadFlags::IGNORED) {
                    self.numbers
                        .remove(&event.wd())
                        .unwrap_or_default()
                        .into_iter()
                        .map(Notification::Ended)
                        .for_each(&mut tell);
                } else if let Some(numbers) = self.numbers.get(&event.wd()) {
                    numbers.iter().copied().map(Notification::Changed).for_each(&mut tell);
                }
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other {
    use super::Notification;
    use std::os::fd::BorrowedFd;
    use std::path::Path;

    /// No notifications.
    #[derive(Debug)]
    pub(super) struct Notifier;

    impl Notifier {
        pub(super) const fn start() -> Self {
            Self
        }

        pub(super) const fn descriptor(&self) -> Option<BorrowedFd<'_>> {
            None
        }

        pub(super) const fn add(&mut self, _: &Path, _: usize) -> bool {
            false
        }

        pub(super) fn read(&mut self, _: impl FnMut(Notification)) {}
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test has files of its own")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;
    use std::path::PathBuf;

    struct Folders {
        temp: tempfile::TempDir,
        /// Stays open and empty.
        output: File,
        watch: Watch,
    }

    impl Folders {
        fn new(count: usize) -> Self {
            let temp = tempfile::tempdir().unwrap();
            let output = File::create(temp.path().join("output")).unwrap();
            let mut it = Self { temp, output, watch: Watch::start() };
            for number in 0..count {
                fs::create_dir(it.path(number)).unwrap();
                assert_eq!(it.watch.add(&it.path(number)), number);
            }
            it.hold_rounds();
            it
        }

        fn path(&self, number: usize) -> PathBuf {
            self.temp.path().join(number.to_string())
        }

        /// Lets nothing but notifications return a folder.
        fn hold_rounds(&mut self) {
            let never = Instant::now() + Duration::from_secs(3600);
            (self.watch.all_round.due, self.watch.polled_round.due) = (never, never);
        }

        fn wait(&mut self, at_most: Duration) -> Vec<usize> {
            let wakers = Wakers { output: self.output.as_fd(), stop: None, input: None };
            let mut changed = Vec::new();
            assert_eq!(self.watch.wait(&wakers, at_most, &mut changed).unwrap(), Woken::Look);
            changed.sort_unstable();
            changed
        }

        /// What a wait returns that something is certain to end.
        fn next(&mut self) -> Vec<usize> {
            self.wait(Duration::from_secs(60))
        }
    }

    #[test]
    fn a_wait_returns_the_folders_that_changed_and_no_others() {
        let mut folders = Folders::new(300);
        let log = File::create(folders.path(7).join("log")).unwrap();
        assert_eq!(folders.next(), [7], "a new file");
        log.write_all_at(b"x", 0).unwrap();
        fs::create_dir(folders.path(299).join("d")).unwrap();
        assert_eq!(folders.next(), [7, 299], "an append, and a new folder");
        fs::rename(folders.path(7).join("log"), folders.path(7).join("log.deleted")).unwrap();
        assert_eq!(folders.next(), [7], "a rename");
        fs::rename(folders.path(8), folders.temp.path().join("8-delete")).unwrap();
        assert_eq!(folders.next(), [8], "the folder itself");
        assert_eq!(folders.wait(Duration::ZERO), [0_usize; 0], "each change once");
    }

    #[test]
    fn a_folder_that_was_removed_and_made_again_is_returned_until_it_is_added_anew() {
        let mut folders = Folders::new(2);
        fs::remove_dir(folders.path(1)).unwrap();
        assert_eq!(folders.next(), [1]);
        fs::create_dir(folders.path(1)).unwrap();
        folders.watch.polled_round.due = Instant::now();
        assert_eq!(folders.next(), [1], "no notification can come, so time returns it");
    }

    #[test]
    fn two_paths_to_one_folder_are_both_returned() {
        let mut folders = Folders::new(1);
        std::os::unix::fs::symlink(folders.path(0), folders.path(1)).unwrap();
        assert_eq!(folders.watch.add(&folders.path(1)), 1);
        File::create(folders.path(0).join("log")).unwrap();
        assert_eq!(folders.next(), [0, 1]);
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_returned_by_time() {
        let mut folders = Folders::new(2);
        let missing = folders.path(2);
        assert_eq!(folders.watch.add(&missing), 2);
        folders.watch.polled_round.due = Instant::now() + PAUSE_POLLED;
        assert_eq!(folders.next(), [2]);
        assert_eq!(folders.next(), [2], "again and again");
    }

    #[test]
    fn an_overflow_of_the_queue_returns_every_folder() {
        let mut folders = Folders::new(3);
        let queued_max = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let files = ["a", "b"].map(|name| File::create(folders.path(0).join(name)).unwrap());
        for round in 0..queued_max.trim().parse::<u64>().unwrap() {
            // Two equal notifications in a row are one.
            files[round as usize % 2].write_all_at(b"x", round).unwrap();
        }
        File::create(folders.path(2).join("after the overflow")).unwrap();
        assert_eq!(folders.next(), [0, 1, 2]);
        File::create(folders.path(2).join("later")).unwrap();
        assert_eq!(folders.next(), [2]);
    }

    #[test]
    fn a_slow_round_returns_every_folder_in_portions() {
        let mut folders = Folders::new(3 * PORTION_NOTIFIED + 1);
        let mut seen = Vec::new();
        for portion in 0..4 {
            folders.watch.all_round.due = Instant::now();
            let changed = folders.next();
            assert_eq!(changed.len(), if portion < 3 { PORTION_NOTIFIED } else { 1 });
            seen.extend(changed);
        }
        assert_eq!(seen, (0..3 * PORTION_NOTIFIED + 1).collect::<Vec<_>>());
        folders.watch.all_round.due = Instant::now();
        assert_eq!(folders.next()[0], 0, "and begins again");
    }

    #[test]
    fn a_round_goes_on_while_one_folder_is_busy() {
        let mut folders = Folders::new(2);
        let log = File::create(folders.path(0).join("log")).unwrap();
        folders.watch.all_round.due = Instant::now() + Duration::from_millis(20);
        let mut at = 0;
        loop {
            log.write_all_at(b"x", at).unwrap();
            at += 1;
            if folders.next() == [0, 1] {
                break;
            }
        }
    }
}
