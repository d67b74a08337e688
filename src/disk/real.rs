//! The operating system's file system.

#![expect(clippy::disallowed_methods, reason = "this is the door through which everything else goes to std::fs")]

use super::lock::PosixSharedLock;
use super::{
    Access, Disk, DiskError, DiskFile, FILE_MODE, FOLDER_MODE, FileId, Folder, FolderEntry, Result, SharedLock, Stat,
    lock, named, owner, suspension,
};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, futimens, mkdirat, openat,
    renameat, statat, unlinkat,
};
use rustix::io::{Errno, fcntl_dupfd_cloexec, retry_on_intr};
use std::ffi::CStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use uuid::Uuid;

/// What a user's input file is.
pub use std::fs::Metadata;

/// Called once when a lock has been waited for longer than a second, with the path of what is locked.
pub type OnWait = fn(&Path);

/// Asked again and again while a lock is waited for: whether the program is to stop, which ends the wait.
pub type IsStopped = fn() -> bool;

/// The operating system's file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk {
    on_wait: OnWait,
    is_stopped: IsStopped,
}

impl RealDisk {
    /// A disk that calls `on_wait` for locks that take long, and gives up waiting once `is_stopped`.
    #[must_use]
    pub const fn new(on_wait: OnWait, is_stopped: IsStopped) -> Self {
        Self { on_wait, is_stopped }
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new(|_| {}, || false)
    }
}

/// What a user's input file is, found out without opening it: a pipe waits for its writer only when it is opened.
///
/// # Errors
/// When it is missing or a directory.
pub fn stat_input(path: &Path) -> Result<Metadata> {
    let metadata = named("open", path, fs::metadata(path))?;
    if metadata.is_dir() { Err(is_a_directory(path)) } else { Ok(metadata) }
}

fn is_a_directory(path: &Path) -> DiskError {
    DiskError { doing: "read", path: path.to_owned(), source: io::ErrorKind::IsADirectory.into() }
}

/// Opens a user's input file to read it from front to back; it may be a pipe or a device.
///
/// # Errors
/// When it cannot be opened.
pub fn open_input(path: &Path) -> Result<File> {
    let file = named("open", path, File::open(path))?;
    if named("read", path, file.metadata())?.is_dir() {
        return Err(is_a_directory(path));
    }
    Ok(file)
}

/// Opens a file to add to its end, making it when it is missing.
///
/// # Errors
/// When it cannot be opened.
pub fn open_output(path: &Path) -> Result<File> {
    named("open", path, OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path))
}

/// The folder that a name is in; that of the process where it is a name alone.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        match access {
            Access::Read | Access::Write => open_at(CWD, path, path.to_owned(), access, *self),
            // In its folder, whose permissions it takes.
            Access::Create | Access::New => {
                let folder = RealFolder::open(CWD, folder_of(path), path.to_owned(), *self)?;
                open_at(&folder.file, Path::new(path.file_name().unwrap_or_default()), path.to_owned(), access, *self)
            }
        }
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stat::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => named("look at", path, Err(error)),
        }
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        named("find", path, fs::canonicalize(path))
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        named("create", path, DirBuilder::new().mode(FOLDER_MODE).create(path))
    }

    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(RealFolder::open(CWD, path, path.to_owned(), *self)?))
    }

    fn scratch(&self) -> Result<Arc<dyn DiskFile>> {
        let folder = std::env::temp_dir();
        let made = match openat(CWD, &folder, OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
        {
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let path = folder.join(format!("kdir-{}", Uuid::new_v4()));
                let made = open_with(CWD, &path, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW);
                made.and_then(|file| unlinkat(CWD, &path, AtFlags::empty()).map(|()| file))
            }
            made => made.map(File::from),
        };
        let file = named("create a file in", &folder, made.map_err(io::Error::from))?;
        Ok(Arc::new(RealFile { file, path: folder, disk: *self }))
    }

    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>> {
        Ok(PosixSharedLock::take(path)?.map(|lock| Arc::new(lock) as Arc<dyn SharedLock>))
    }
}

/// Opens a file relative to a folder. A pipe of that name does not block: what reads it sees that it is no plain file.
fn open_at(folder: impl AsFd, name: &Path, path: PathBuf, access: Access, disk: RealDisk) -> Result<Arc<dyn DiskFile>> {
    let (doing, opened) = match access {
        Access::Read => ("open", open_with(&folder, name, OFlags::RDONLY)),
        Access::Write => ("open", open_with(&folder, name, OFlags::RDWR)),
        Access::Create => open_or_make(&folder, name),
        Access::New => ("create", make(&folder, name)),
    };
    let file = named(doing, &path, opened.map_err(io::Error::from))?;
    Ok(Arc::new(RealFile { file, path, disk }))
}

fn open_with(folder: impl AsFd, name: &Path, flags: OFlags) -> rustix::io::Result<File> {
    let (flags, mode) = (flags | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::from_raw_mode(FILE_MODE));
    Ok(File::from(retry_on_intr(|| openat(&folder, name, flags, mode))?))
}

/// Makes a file, which belongs to whom its folder belongs.
fn make(folder: impl AsFd, name: &Path) -> rustix::io::Result<File> {
    let file = open_with(&folder, name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW)?;
    owner::hand_over(&file, folder)?;
    Ok(file)
}

/// Opens a file, and makes it where it is missing: what was done of these, and the file. Only who makes it may hand it over.
pub(super) fn open_or_make(folder: impl AsFd, name: &Path) -> (&'static str, rustix::io::Result<File>) {
    match open_with(&folder, name, OFlags::RDWR) {
        Err(Errno::NOENT) => {}
        opened => return ("open", opened),
    }
    match make(&folder, name) {
        // Made by another process since, or a link that leads nowhere yet.
        Err(Errno::EXIST) => ("create", open_with(&folder, name, OFlags::RDWR | OFlags::CREATE)),
        made => ("create", made),
    }
}

/// Above those of a process that has opened little else yet. A table of descriptors has room for 64 at first: to make it larger,
/// a process with threads waits for up to 20 ms as well. Source: `close_files`, `task_work_run`, `expand_fdtable` of Linux.
const HIGH_NUMBER: RawFd = 32;

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    disk: RealDisk,
}

impl DiskFile for RealFile {
    fn stat(&self) -> Result<Stat> {
        Ok(Stat::of(&named("look at", &self.path, self.file.metadata())?))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return named("read", &self.path, Err(error)),
            }
        }
        Ok(filled)
    }

    fn next_data(&self, position: u64) -> Result<Range<u64>> {
        // The size first: what is appended after it was taken is not part of the hole that the seek reports.
        let size = named("stat", &self.path, self.file.metadata())?.size().max(position);
        // This moves the descriptor's own place in the file, which nothing here reads or writes by.
        let data = match rustix::fs::seek(&self.file, SeekFrom::Data(position)) {
            Ok(data) => data.clamp(position, size),
            Err(Errno::NXIO) => return Ok(size..size),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS | Errno::SPIPE) => return Ok(position..size),
            Err(error) => return named("find the data of", &self.path, Err(error.into())),
        };
        match rustix::fs::seek(&self.file, SeekFrom::Hole(data)) {
            Ok(hole) => Ok(data..hole.clamp(data, size)),
            // Another process has cut it in between.
            Err(Errno::NXIO) => Ok(data..size),
            Err(error) => named("find the holes of", &self.path, Err(error.into())),
        }
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        named("write to", &self.path, self.file.write_all_at(bytes, position))
    }

    fn set_len(&self, size: u64) -> Result<()> {
        named("cut", &self.path, self.file.set_len(size))
    }

    fn set_modified(&self, modified_ms: i64) -> Result<()> {
        let modified =
            Timespec { tv_sec: modified_ms.div_euclid(1000), tv_nsec: modified_ms.rem_euclid(1000) * 1_000_000 };
        let times =
            Timestamps { last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT }, last_modification: modified };
        named("set the time of", &self.path, futimens(&self.file, &times).map_err(io::Error::from))
    }

    fn sync(&self) -> Result<()> {
        named("sync", &self.path, self.file.sync_data())
    }

    fn drop_cache(&self, position: u64, size: u64) -> Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            use rustix::fs::{Advice, fadvise};
            let advised = fadvise(&self.file, position, std::num::NonZero::new(size), Advice::DontNeed);
            named("drop the cache of", &self.path, advised.map_err(io::Error::from))?;
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = (position, size);
        Ok(())
    }

    fn try_lock(&self) -> Result<bool> {
        named("lock", &self.path, lock::try_lock(&self.file))
    }

    fn lock(&self) -> Result<()> {
        let RealDisk { on_wait, is_stopped } = self.disk;
        let try_lock = || lock::try_lock(&self.file);
        named("lock", &self.path, lock::wait_for(try_lock, || on_wait(&self.path), is_stopped))
    }

    fn holder(&self) -> Option<u32> {
        lock::holder(&Stat::of(&self.file.metadata().ok()?).id)
    }

    fn try_lock_range(&self, range: Range<u64>) -> Result<bool> {
        named("lock", &self.path, lock::try_lock_range(&self.file, range))
    }

    fn unlock_range(&self, range: Range<u64>) -> Result<()> {
        named("unlock", &self.path, lock::unlock_range(&self.file, range))
    }

    fn locked_range(&self, range: Range<u64>) -> Result<Option<Range<u64>>> {
        named("look for locks of", &self.path, lock::locked_range(&self.file, range))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.file.as_fd())
    }

    fn under_a_high_number(&self) -> Option<Arc<dyn DiskFile>> {
        let file = fcntl_dupfd_cloexec(&self.file, HIGH_NUMBER).ok()?.into();
        Some(Arc::new(Self { file, path: self.path.clone(), disk: self.disk }))
    }
}

#[derive(Debug)]
struct RealFolder {
    file: File,
    path: PathBuf,
    id: FileId,
    disk: RealDisk,
}

impl RealFolder {
    fn open(folder: impl AsFd, name: &Path, path: PathBuf, disk: RealDisk) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = retry_on_intr(|| openat(&folder, name, flags, Mode::empty()));
        let file = File::from(named("open", &path, opened.map_err(io::Error::from))?);
        let id = Stat::of(&named("open", &path, file.metadata())?).id;
        Ok(Self { file, path, id, disk })
    }

    /// Does something with a name in the folder.
    fn at<T>(&self, doing: &'static str, name: &str, done: rustix::io::Result<T>) -> Result<T> {
        done.map_err(|error| DiskError { doing, path: self.path.join(name), source: error.into() })
    }

    /// The facts of a name; of what it leads to where it is a link.
    fn stat_of(&self, name: &CStr) -> rustix::io::Result<Option<Stat>> {
        match statat(&self.file, name, AtFlags::empty()) {
            Ok(stat) => Ok(Some(Stat::of_raw(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Folder for RealFolder {
    fn id(&self) -> FileId {
        self.id
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk)
    }

    fn booted_ms(&self) -> i64 {
        static BOOTED: OnceLock<i64> = OnceLock::new();
        let read = || -> Option<i64> {
            let stat = fs::read_to_string("/proc/stat").ok()?;
            let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
            Some(seconds.trim().parse::<i64>().ok()? * 1000)
        };
        *BOOTED.get_or_init(|| read().unwrap_or(i64::MIN))
    }

    fn boot(&self) -> Uuid {
        static BOOT: OnceLock<Uuid> = OnceLock::new();
        let read = || fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?.trim().parse().ok();
        *BOOT.get_or_init(|| read().unwrap_or_default())
    }

    fn shared_file_system(&self) -> Result<Option<&'static str>> {
        named("look at the file system of", &self.path, lock::shared_file_system(&self.file))
    }

    fn is_named(&self) -> Result<bool> {
        Ok(self.disk.stat(&self.path)?.is_some_and(|stat| stat.id == self.id))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>> {
        open_at(&self.file, Path::new(name), self.path.join(name), access, self.disk)
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        match statat(&self.file, name, AtFlags::empty()) {
            Ok(stat) => Ok(Some(Stat::of_raw(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => self.at("look at", name, Err(error)),
        }
    }

    fn list(&self) -> Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        let read = |error: Errno| DiskError { doing: "list", path: self.path.clone(), source: error.into() };
        for entry in Dir::read_from(&self.file).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let file_type = match entry.file_type() {
                // Not every file system says it with the name.
                FileType::Unknown => statat(&self.file, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                known => known,
            };
            let is_link = file_type == FileType::Symlink;
            // A partition may be linked in from another disk. A link that leads nowhere is a file that is not there.
            let is_folder = match is_link {
                true => self.stat_of(name).ok().flatten().is_some_and(|stat| stat.is_folder),
                false => file_type == FileType::Directory,
            };
            entries.push(FolderEntry { name: name.to_string_lossy().into_owned(), is_folder, is_link });
        }
        Ok(entries)
    }

    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(Self::open(&self.file, Path::new(name), self.path.join(name), self.disk)?))
    }

    fn create_folder(&self, name: &str) -> Result<()> {
        let made = mkdirat(&self.file, name, Mode::from_raw_mode(FOLDER_MODE)).and_then(|()| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            owner::hand_over(retry_on_intr(|| openat(&self.file, name, flags, Mode::empty()))?, &self.file)
        });
        self.at("create", name, made)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.at("rename", from, renameat(&self.file, from, &self.file, to))
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        self.at("remove", name, unlinkat(&self.file, name, AtFlags::empty()))
    }

    fn remove_folder(&self, name: &str) -> Result<()> {
        self.at("remove", name, unlinkat(&self.file, name, AtFlags::REMOVEDIR))
    }

    fn sync(&self) -> Result<()> {
        named("sync", &self.path, self.file.sync_all())
    }

    fn lock_exclusive(&self) -> Result<()> {
        let RealDisk { on_wait, is_stopped } = self.disk;
        let try_lock = || suspension::hold(|| lock::try_lock(&self.file));
        named("lock", &self.path, lock::wait_for(try_lock, || on_wait(&self.path), is_stopped))
    }

    fn unlock(&self) {
        lock::unlock(&self.file);
        suspension::release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_ends_where_the_data_begins_or_with_the_file() {
        const MIB: u64 = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let disk = RealDisk::default();
        let file = disk.open(&folder.path().join("f"), Access::Create).unwrap();
        assert_eq!(file.next_data(0).unwrap(), 0..0, "an empty file");
        file.write_at(b"head", 0).unwrap();
        file.write_at(b"data", 4 * MIB).unwrap();
        file.set_len(8 * MIB).unwrap();
        let mut byte = [0];
        // Where the file system keeps no holes, every position may hold data.
        for (from, least, most) in [(0, 0, 0), (MIB, MIB, 4 * MIB), (4 * MIB + 2, 4 * MIB + 2, 4 * MIB + 2)] {
            let found = file.next_data(from).unwrap();
            assert!((least..=most).contains(&found.start), "{from}: {found:?}");
            assert!(found.end > found.start && found.end <= 8 * MIB, "{from}: {found:?}");
        }
        for from in [5 * MIB, 8 * MIB, 9 * MIB] {
            let found = file.next_data(from).unwrap();
            assert!((from..=from.max(8 * MIB)).contains(&found.start), "{from}: {found:?}");
            assert_eq!(found.end, from.max(8 * MIB), "{from}");
        }
        assert_eq!(
            (file.read_at(&mut byte, 4 * MIB).unwrap(), byte),
            (1, *b"d"),
            "reading does not depend on the seek"
        );
    }
}
