//! Floor 2: the only door to the file system.
//!
//! Everything above speaks to [`Disk`], so that the same engine runs on the operating system ([`real::RealDisk`]) and
//! on a disk in memory that fails and crashes on a count (`faulty::FaultyDisk`; with the feature `faulty-disk` only, which
//! tests have and a released library has not).
//!
//! What must stay true:
//! - No bare `io::Error` leaves this floor: a path and a verb go with it ([`DiskError`]).
//! - A write is durable after [`DiskFile::sync`]; a new, renamed or removed name is durable after [`Folder::sync`] of
//!   the folder that holds it. Nothing else promises anything.
//! - Dispatch is dynamic, once a batch and never once a record.
//!
//! Deliberately absent: memory maps (a torn page would be a signal, not an error value) and a lock file of our own
//! (writers lock the partition's folder itself).

pub mod atomic;
pub mod descriptors;
#[cfg(any(test, feature = "faulty-disk"))]
pub mod faulty;
mod lock;
pub mod outlet;
pub mod owner;
pub mod pipe_readers;
pub mod process;
pub mod real;
pub mod suspension;
pub mod watch;

use std::fs::Metadata;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// What the umask takes from. Nothing is ever writable by all: who can write to a log can forge it.
const FILE_MODE: u32 = 0o664;
const FOLDER_MODE: u32 = 0o775;

/// A file system operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct DiskError {
    /// What was tried, as a verb: `open`, `write to`, `sync`.
    pub doing: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl DiskError {
    /// Whether the path does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether a wait ended because the program is to stop.
    #[must_use]
    pub fn is_interrupted(&self) -> bool {
        self.source.kind() == io::ErrorKind::Interrupted
    }

    /// Whether the file is there, and its permissions or the device do not give what is in it.
    #[must_use]
    pub fn is_unreadable(&self) -> bool {
        let io_error = rustix::io::Errno::IO.raw_os_error();
        self.source.kind() == io::ErrorKind::PermissionDenied || self.source.raw_os_error() == Some(io_error)
    }

    /// Whether there was no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}

/// Names the operation and the path of an `io::Error`.
fn named<T>(doing: &'static str, path: &Path, result: io::Result<T>) -> Result<T> {
    result.map_err(|source| DiskError { doing, path: path.to_owned(), source })
}

/// What this floor returns.
pub type Result<T> = std::result::Result<T, DiskError>;

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A file to read and write, made when it is missing.
    Create,
    /// A new file to read and write; an error where the name is taken, by a link as well.
    New,
}

/// A file or folder, whatever it is called: two paths with one identity are the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileId {
    /// The file system.
    pub device: u64,
    /// The file in it. Not given to another file while somebody holds this one open.
    pub inode: u64,
}

/// What the file system knows of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Which file.
    pub id: FileId,
    /// Bytes.
    pub size: u64,
    /// When its content last changed, ms since the epoch.
    pub modified_ms: i64,
    /// When its content or its facts last changed, ns since the epoch. A file with the same id and the same time has the
    /// same content, but for two changes within one tick of the file system's clock.
    pub changed_ns: i64,
    /// Names it has; 0 when it was removed while open.
    pub links: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Whether it is a plain file, which another can take the place of: no folder, device or pipe.
    pub is_file: bool,
}

impl Stat {
    fn of(metadata: &Metadata) -> Self {
        Self {
            id: FileId { device: metadata.dev(), inode: metadata.ino() },
            size: metadata.size(),
            modified_ms: metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000,
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
            links: metadata.nlink(),
            is_folder: metadata.is_dir(),
            is_file: metadata.is_file(),
        }
    }

    #[expect(clippy::unnecessary_cast, reason = "the fields have other types on other systems")]
    fn of_raw(raw: &rustix::fs::Stat) -> Self {
        let kind = rustix::fs::FileType::from_raw_mode(raw.st_mode);
        Self {
            id: FileId { device: raw.st_dev as u64, inode: raw.st_ino as u64 },
            size: raw.st_size as u64,
            modified_ms: raw.st_mtime as i64 * 1000 + raw.st_mtime_nsec as i64 / 1_000_000,
            changed_ns: nanoseconds(raw.st_ctime as i64, raw.st_ctime_nsec as i64),
            links: raw.st_nlink as u64,
            is_folder: kind.is_dir(),
            is_file: kind.is_file(),
        }
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.wrapping_mul(1_000_000_000).wrapping_add(nanoseconds)
}

/// A name in a folder. A name that is not UTF-8 is none of ours: it is listed with replacement characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// The name, without the folder's path.
    pub name: String,
    /// Whether it is a folder itself, or a symbolic link to one.
    pub is_folder: bool,
    /// Whether it is a symbolic link.
    pub is_link: bool,
}

/// A file system, by path. Names are changed through an open [`Folder`], never by path: what a path leads to can be
/// exchanged between two calls, the folder that is open cannot.
pub trait Disk: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>>;
    /// What is at `path`; `None` when there is nothing.
    fn stat(&self, path: &Path) -> Result<Option<Stat>>;
    /// Makes a folder; its parent must exist.
    fn create_folder(&self, path: &Path) -> Result<()>;
    /// The path of what `path` leads to, through every link; it must be there.
    fn resolve(&self, path: &Path) -> Result<PathBuf>;
    /// Opens a folder.
    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>>;
    /// A file without a name, to keep what memory has no room for: gone with its handle. It is where the system has such
    /// files (`TMPDIR`, /tmp).
    fn scratch(&self) -> Result<Arc<dyn DiskFile>>;
    /// Takes a shared lock on a file as Kafka's `FileLock` sees it, making the file when it is missing; `None` when a
    /// broker holds it.
    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Facts of the file that is open, whatever its path names by now.
    fn stat(&self) -> Result<Stat>;
    /// Reads until `buffer` is full or the file ends; returns how many bytes came.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize>;
    /// The first bytes at or after `position` that may be data: up to there the file is a hole, which reads as zeros. They are
    /// all up to the end of the file where the file system cannot say, and none at that end where only a hole follows.
    fn next_data(&self, position: u64) -> Result<Range<u64>>;
    /// Writes all of `bytes`. After an error, any part of them may have been written.
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()>;
    /// Cuts or extends the file.
    fn set_len(&self, size: u64) -> Result<()>;
    /// Sets the time when its content last changed, ms since the epoch.
    fn set_modified(&self, modified_ms: i64) -> Result<()>;
    /// Makes content and size durable.
    fn sync(&self) -> Result<()>;
    /// Drops what is cached of these bytes and is not waiting to be written, as far as the system does so.
    fn drop_cache(&self, position: u64, size: u64) -> Result<()>;
    /// Takes the exclusive lock on the file, held for as long as this handle lives; `false` when another handle has it. It
    /// falls when the process dies.
    fn try_lock(&self) -> Result<bool>;
    /// Waits for that lock.
    fn lock(&self) -> Result<()>;
    /// The process that has that lock, where the system names it.
    fn holder(&self) -> Option<u32>;
    /// Takes an exclusive lock on a range of bytes, which may be behind the end of the file, held until it is given back, this
    /// handle is dropped or the process dies; `false` when another handle has one of them. It sees no other kind of lock.
    fn try_lock_range(&self, range: Range<u64>) -> Result<bool>;
    /// Gives the locks of this handle in a range back.
    fn unlock_range(&self, range: Range<u64>) -> Result<()>;
    /// A range that another handle has locked, one of those that reach into `range`; needs no right to write.
    fn locked_range(&self, range: Range<u64>) -> Result<Option<Range<u64>>>;
    /// The descriptor, for another process to inherit; `None` on a disk that no other process sees.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
    /// The same open file under a high number: when a process dies, Linux lets go of its files from the highest number down, and
    /// of an inotify instance only after up to 20 ms. `None` where it cannot have such a number.
    fn under_a_high_number(&self) -> Option<Arc<dyn DiskFile>> {
        None
    }
}

/// An open folder: the same one for as long as it is held, whatever its path names by then. Names are single names in it,
/// never paths.
pub trait Folder: Send + Sync {
    /// Which folder.
    fn id(&self) -> FileId;
    /// The path that it was opened by.
    fn path(&self) -> &Path;
    /// The file system that it is on, by which its path can be opened again after the folder was let go of.
    fn disk(&self) -> Arc<dyn Disk>;
    /// Whether that path still leads to this folder.
    fn is_named(&self) -> Result<bool>;
    /// The name of the file system that it is on, where that is one whose locks need not reach all who have mounted it.
    fn shared_file_system(&self) -> Result<Option<&'static str>>;
    /// When the machine was started, ms since the epoch, by the clock that files have their times from; the lowest number
    /// where the system does not say.
    fn booted_ms(&self) -> i64;
    /// Which start of the machine this is; nil where the system does not say. What was written and not synced before it is
    /// as the disk has it.
    fn boot(&self) -> Uuid;
    /// Opens a file.
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>>;
    /// What has that name; `None` when nothing has.
    fn stat(&self, name: &str) -> Result<Option<Stat>>;
    /// The names in it, in no order.
    fn list(&self) -> Result<Vec<FolderEntry>>;
    /// Opens a folder in it.
    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>>;
    /// Makes a folder in it.
    fn create_folder(&self, name: &str) -> Result<()>;
    /// Renames a file or folder, replacing a file of the new name.
    fn rename(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file.
    fn remove_file(&self, name: &str) -> Result<()>;
    /// Removes an empty folder.
    fn remove_folder(&self, name: &str) -> Result<()>;
    /// Makes the names in it durable.
    fn sync(&self) -> Result<()>;
    /// Waits for the exclusive lock. Use [`FolderLock::take`], which gives it back.
    fn lock_exclusive(&self) -> Result<()>;
    /// Gives the lock back.
    fn unlock(&self);
}

/// The exclusive lock on a folder; given back when dropped. It excludes other processes and other handles of this
/// process, not a second lock through the same handle: each thread opens its own.
pub struct FolderLock {
    folder: Arc<dyn Folder>,
}

impl FolderLock {
    /// Waits for the lock.
    ///
    /// # Errors
    /// When the file system has no such locks (some network file systems).
    pub fn take(folder: &Arc<dyn Folder>) -> Result<Self> {
        folder.lock_exclusive()?;
        Ok(Self { folder: Arc::clone(folder) })
    }

    /// The folder that is locked.
    #[must_use]
    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.folder
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        self.folder.unlock();
    }
}

/// A shared lock that keeps Kafka brokers out for as long as it lives.
pub trait SharedLock: Send + Sync {
    /// Sees that the lock still guards the path: a broker that stops deletes the file by name. Locks anew where it has;
    /// `false` when a broker was sooner. One system call when all is well.
    fn still_guards(&self) -> Result<bool>;
    /// Makes it exclusive, so that it keeps out who shares it as well; `false` when somebody does.
    fn exclude_others(&self) -> Result<bool>;
}
