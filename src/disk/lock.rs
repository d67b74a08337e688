//! The three kinds of lock. Those on whole files and folders do not see each other on Linux.
//!
//! - *fcntl* (POSIX) over the whole file, shared, on `<log-dir>/.lock`: the kind that a JVM takes exclusively
//!   (`FileChannel.tryLock`: `F_SETLK`, `F_WRLCK`, from 0 to the end). It belongs to the process and falls when *any*
//!   descriptor of the file is closed in it, so a process opens the file once.
//! - *flock* on a folder's descriptor, exclusive: between writers of ours. It belongs to the descriptor, and no lock
//!   file is left behind.

#![expect(clippy::disallowed_methods, reason = "part of the door to the file system")]

use super::real::{folder_of, open_or_make};
use super::{FileId, Result, SharedLock, Stat, named};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use rustix::fs::{FlockOperation, fcntl_lock, flock, fstatfs};
use rustix::io::Errno;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const WAIT_BEFORE_SAYING: Duration = Duration::from_secs(1);
/// What was read before a signal is to be stored, and others hold the lock for milliseconds.
const WAIT_WHEN_STOPPED: Duration = Duration::from_secs(3);
const PAUSE_MIN: Duration = Duration::from_micros(20);
const PAUSE_MAX: Duration = Duration::from_millis(2);

/// Waits for the exclusive flock, which `try_lock` takes if nobody has it. It asks again and again in place of sleeping in the
/// kernel: holders keep it for the length of one write, and a signal handler that only sets a flag would not end a sleep in
/// `flock`. Once `is_stopped`, the wait goes on for no longer than a holder takes in the ordinary course, and then ends as
/// interrupted.
pub(super) fn wait_for(
    try_lock: impl Fn() -> io::Result<bool>,
    on_wait: impl Fn(),
    is_stopped: impl Fn() -> bool,
) -> io::Result<()> {
    let started = Instant::now();
    let (mut pause, mut said, mut stopped) = (PAUSE_MIN, false, None);
    while !try_lock()? {
        if is_stopped() && stopped.get_or_insert_with(Instant::now).elapsed() > WAIT_WHEN_STOPPED {
            return Err(io::ErrorKind::Interrupted.into());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        if !said && started.elapsed() > WAIT_BEFORE_SAYING {
            said = true;
            on_wait();
        }
    }
    Ok(())
}

/// The magic numbers of file systems that other machines or programs may have mounted as well. Source: statfs(2) and
/// `linux/magic.h`.
const SHARED_FILE_SYSTEMS: [(u32, &str); 12] = [
    (0x0000_6969, "NFS"),
    (0x0000_517b, "SMB"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x6573_5546, "FUSE or virtiofs"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6b41_4653, "AFS"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
    (0x7461_636f, "OCFS2"),
];

/// The name of the file system of an open file or folder, if it is one of these.
pub(super) fn shared_file_system(file: &File) -> io::Result<Option<&'static str>> {
    // The number has 32 bits, whatever type it is told in.
    Ok(shared_name(fstatfs(file)?.f_type as u32))
}

fn shared_name(magic: u32) -> Option<&'static str> {
    SHARED_FILE_SYSTEMS.iter().find(|(of, _)| *of == magic).map(|(_, name)| *name)
}

/// Takes the exclusive flock if nobody has it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) => return Ok(false),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The process that has the exclusive flock on a file, as `/proc/locks` names it. File systems with volumes show another
/// device there than in the file's own facts, so a single row of that inode counts as well.
pub(super) fn holder(id: &FileId) -> Option<u32> {
    holder_in(&fs::read_to_string("/proc/locks").ok()?, id)
}

/// A row: `1: FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`, with the device in hexadecimal digits.
fn holder_in(locks: &str, id: &FileId) -> Option<u32> {
    let row = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let is_ours = words.next() == Some("FLOCK") && words.nth(1) == Some("WRITE");
        let (pid, file) = (words.next()?.parse::<u32>().ok()?, words.next()?);
        let mut numbers = file.split(':');
        let mut device = || u32::from_str_radix(numbers.next()?, 16).ok();
        let device = rustix::fs::makedev(device()?, device()?);
        let inode = numbers.next()?.parse::<u64>().ok()?;
        (is_ours && inode == id.inode && pid > 0).then_some((device, pid))
    };
    let rows: Vec<_> = locks.lines().filter_map(row).collect();
    match (rows.iter().find(|(device, _)| *device == id.device), &rows[..]) {
        (Some((_, pid)), _) | (None, [(_, pid)]) => Some(*pid),
        _ => None,
    }
}

/// Takes the lock of a range if nobody has any of it.
pub(super) fn try_lock_range(file: &File, range: Range<u64>) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&range_lock(libc::F_WRLCK, &range)?)) {
        Ok(_) => Ok(true),
        Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn unlock_range(file: &File, range: Range<u64>) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&range_lock(libc::F_UNLCK, &range)?))?;
    Ok(())
}

/// What another open file has locked of a range, one range of it.
pub(super) fn locked_range(file: &File, range: Range<u64>) -> io::Result<Option<Range<u64>>> {
    let mut found = range_lock(libc::F_WRLCK, &range)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    if i32::from(found.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    let start = found.l_start as u64;
    // A length of 0 is up to the end, wherever that is.
    let end = if found.l_len == 0 { u64::MAX } else { start + found.l_len as u64 };
    Ok(Some(start..end))
}

fn range_lock(kind: i32, range: &Range<u64>) -> io::Result<libc::flock> {
    let too_far = || io::Error::from(io::ErrorKind::InvalidInput);
    let start = i64::try_from(range.start).map_err(|_| too_far())?;
    let length = i64::try_from(range.end - range.start).map_err(|_| too_far())?;
    Ok(libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: start, l_len: length, l_pid: 0 })
}

pub(super) fn unlock(file: &File) {
    // An unlock cannot fail on a descriptor that is locked, and closing it would unlock it all the same.
    let _ = flock(file, FlockOperation::Unlock);
}

/// A shared fcntl lock on a path.
#[derive(Debug)]
pub(super) struct PosixSharedLock {
    path: PathBuf,
    /// The file that is locked; another one after a broker has deleted the first by name.
    file: Mutex<File>,
}

impl PosixSharedLock {
    /// `None` when another process has the file exclusively.
    pub(super) fn take(path: &Path) -> Result<Option<Self>> {
        Ok(lock_file_at(path)?.map(|file| Self { path: path.to_owned(), file: Mutex::new(file) }))
    }
}

/// Locks the file that `path` names when the lock has been taken: one that was unlinked between open and lock guards
/// nothing, so it is given up for the next.
fn lock_file_at(path: &Path) -> Result<Option<File>> {
    loop {
        let file = open_lock_file(path)?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => return Ok(None),
            Err(error) => return named("lock", path, Err(error.into())),
        }
        let held = Stat::of(&named("look at", path, file.metadata())?);
        match fs::metadata(path) {
            Ok(found) if Stat::of(&found).id == held.id => return Ok(Some(file)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return named("look at", path, Err(error)),
        }
    }
}

/// A shared lock needs no more than to read the file, which may be of another user's.
fn open_lock_file(path: &Path) -> Result<File> {
    let folder = named("open", path, File::open(folder_of(path)))?;
    match open_or_make(&folder, Path::new(path.file_name().unwrap_or_default())) {
        (_, Err(Errno::ACCESS)) => named("open", path, File::open(path)),
        (doing, opened) => named(doing, path, opened.map_err(io::Error::from)),
    }
}

impl SharedLock for PosixSharedLock {
    fn still_guards(&self) -> Result<bool> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if Stat::of(&named("look at", &self.path, file.metadata())?).links > 0 {
            return Ok(true);
        }
        match lock_file_at(&self.path)? {
            None => Ok(false),
            Some(anew) => {
                *file = anew;
                Ok(true)
            }
        }
    }

    fn exclude_others(&self) -> Result<bool> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match fcntl_lock(&*file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
            Err(error) => named("lock", &self.path, Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_several_machines_are_known() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(shared_file_system(&File::open(folder.path()).unwrap()).unwrap(), None);
        assert_eq!(
            [0x6969, 0xff53_4d42, 0x6573_5546, 0xef53].map(shared_name),
            [Some("NFS"), Some("SMB"), Some("FUSE or virtiofs"), None]
        );
    }

    #[test]
    fn a_deleted_lock_file_is_locked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let lock = PosixSharedLock::take(&path).unwrap().unwrap();
        assert!(lock.still_guards().unwrap());
        fs::remove_file(&path).unwrap();
        assert!(lock.still_guards().unwrap());
        assert!(path.exists(), "the new file stands at the path");
    }

    #[test]
    fn a_lock_that_nobody_else_shares_can_be_made_exclusive() {
        let folder = tempfile::tempdir().unwrap();
        let lock = PosixSharedLock::take(&folder.path().join(".lock")).unwrap().unwrap();
        assert!(lock.exclude_others().unwrap());
        assert!(lock.still_guards().unwrap());
    }

    #[test]
    fn two_handles_of_a_folder_exclude_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let (one, other) = (File::open(folder.path()).unwrap(), File::open(folder.path()).unwrap());
        wait_for(|| try_lock(&one), || {}, || false).unwrap();
        assert!(!try_lock(&other).unwrap());
        unlock(&one);
        wait_for(|| try_lock(&other), || {}, || false).unwrap();
    }

    #[test]
    fn the_holder_of_a_lock_is_the_one_of_that_file() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 08:01:7 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 11 08:01:7 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 08:01:7 0 EOF\n\
                     3: FLOCK  ADVISORY  READ  13 08:01:7 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 14 08:02:7 0 EOF\n\
                     5: FLOCK  ADVISORY  WRITE 15 00:2a:8 0 EOF\n";
        let file = |major, minor, inode| FileId { device: rustix::fs::makedev(major, minor), inode };
        assert_eq!(holder_in(locks, &file(8, 1, 7)), Some(11));
        assert_eq!(holder_in(locks, &file(8, 2, 7)), Some(14));
        assert_eq!(holder_in(locks, &file(8, 3, 7)), None, "two files have that number");
        assert_eq!(holder_in(locks, &file(0, 43, 8)), Some(15), "a volume has a device of its own");
        assert_eq!(holder_in(locks, &file(8, 1, 9)), None);
    }
}
