//! A disk in memory that fails, tears and crashes on a count, for tests of everything above.
//!
//! Files and folders behave as POSIX has it: a handle outlives the name it was opened by, a rename replaces at once, an
//! inode number is never given twice. What is seen now and what is durable are kept apart, with the changes between
//! them in order:
//! - a file's changes become durable with [`DiskFile::sync`] of it, the names in a folder with [`Folder::sync`] of that
//!   folder, and neither does anything for the other;
//! - after a crash, of the names of one folder some first part of the unsynced changes is there, independently of other
//!   folders: an unsynced rename between two folders may leave both names or none;
//! - of a file's unsynced changes there is nothing, everything, a first part with the last write torn, or the whole size
//!   with pages missing.
//!
//! Every operation that changes or syncs takes a number, from 1 on, and faults are set on numbers: run once and count,
//! then once for each number and fault.
//!
//! A sync that fails makes later ones lie, as Linux has it: what was not durable is taken for clean, every handle that was
//! open is told once, and no sync makes it durable any more unless it is written again ([`FaultyDisk::lose_write_back`]).
//!
//! Deliberately absent: an operation that takes effect although it reports an error (except part of a write), failing
//! reads short of a crash, links, and `..` in paths.

mod crash;
mod faults;
mod file;
mod file_node;
mod folder;
mod kept;
mod locks;
mod random;
mod state;

use super::named;
use super::{Access, Disk, DiskError, DiskFile, Folder, FolderEntry, Result, SharedLock, Stat};
use file::FaultyFile;
use folder::FaultyFolder;
use kept::Kept;
use locks::FaultyShare;
use random::Random;
use state::{Entries, ROOT, State};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const CRASHED: &str = "the machine has crashed";

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

/// Whether an operation failed because of [`FaultyDisk::crash_at`].
#[must_use]
pub fn is_crash(error: &DiskError) -> bool {
    error.source.to_string() == CRASHED
}

impl Default for FaultyDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl FaultyDisk {
    /// A disk with the folder `/`, durable and empty, and no faults.
    #[must_use]
    pub fn new() -> Self {
        Self::with_seed(0)
    }

    /// As [`FaultyDisk::new`]; the seed picks how much of a failing write is written, and the kind of its error.
    #[must_use]
    pub fn with_seed(seed: u64) -> Self {
        let mut state = State { random: Random(seed), last_number: ROOT, ..State::default() };
        state.folders.insert(ROOT, Kept::durable(Entries::new(), 0));
        Self::of(state)
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// How many operations that change or sync were asked for. The first one has number 1.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().trace.len() as u64
    }

    /// The operations, in order, with paths as they were opened: for messages of tests.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.state().trace.clone()
    }

    /// How many times [`DiskFile::read_at`] was called.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    /// How many bytes those reads returned.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.state().bytes_read
    }

    /// Counts operations and reads from 0 again. Faults are set on the new numbers from then on.
    pub fn reset_counts(&self) {
        self.state().reset_counts();
    }

    /// Sets the time that files changed from now on have as theirs. The clock stands still otherwise; it starts at 0.
    pub fn set_clock_ms(&self, ms: i64) {
        self.state().clock_ms = ms;
    }

    /// Sets when the file or folder at `path` was last changed.
    ///
    /// # Panics
    /// When there is nothing at `path`.
    pub fn set_modified_ms(&self, path: impl AsRef<Path>, ms: i64) {
        let mut state = self.state();
        let inode = state.inode_at(path.as_ref()).expect("the test names something that exists");
        match state.folders.get_mut(&inode) {
            Some(folder) => folder.modified_ms = ms,
            None => state.file(inode).content.modified_ms = ms,
        }
    }

    /// How many files and folders are open.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.state().open_count
    }

    /// Lets no more than so many files and folders be open at once, those that are open now among them.
    pub fn open_at_most(&self, count: usize) {
        self.state().open_max = Some(count);
    }

    /// Lets files be without holes, as on a file system that keeps none: zeros are found by reading them.
    pub fn keep_no_holes(&self) {
        self.state().keeps_no_holes = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something on a machine that runs, and names it when it fails.
    fn run<T>(
        &self,
        doing: &'static str,
        path: &Path,
        operation: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let result = if state.crashed { Err(io::Error::other(CRASHED)) } else { operation(&mut state) };
        named(doing, path, result)
    }

    fn open_place(
        &self,
        path: PathBuf,
        access: Access,
        place: impl FnOnce(&State) -> io::Result<(u64, String)>,
    ) -> Result<Arc<dyn DiskFile>> {
        let doing = if matches!(access, Access::Create | Access::New) { "create" } else { "open" };
        let (inode, handle, losses) = self.run(doing, &path, |state| {
            state.check_open_max()?;
            let (folder, name) = place(state)?;
            let inode = state.open(folder, &name, access, &path)?;
            Ok((inode, state.next_handle(), state.file(inode).losses))
        })?;
        let (writable, told) = (access != Access::Read, AtomicU64::new(losses));
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode, handle, path, writable, told }))
    }

    fn stat_place(&self, path: &Path, find: impl FnOnce(&State) -> io::Result<u64>) -> Result<Option<Stat>> {
        self.run("look at", path, |state| match find(state) {
            Ok(inode) => Ok(Some(state.stat(inode))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn open_folder_place(
        &self,
        path: PathBuf,
        find: impl FnOnce(&State) -> io::Result<u64>,
    ) -> Result<Arc<dyn Folder>> {
        let (inode, handle) = self.run("open", &path, |state| {
            state.check_open_max()?;
            let inode = find(state)?;
            state.folders.get(&inode).ok_or(ErrorKind::NotADirectory)?;
            Ok((inode, state.next_handle()))
        })?;
        Ok(Arc::new(FaultyFolder { disk: self.clone(), inode, handle, path }))
    }

    /// The names in a folder, for tests.
    ///
    /// # Errors
    /// When the folder does not exist.
    pub fn list(&self, folder: &Path) -> Result<Vec<FolderEntry>> {
        self.open_folder(folder)?.list()
    }

    /// Renames by path, for tests: also into another folder.
    ///
    /// # Errors
    /// When it is set to fail, or cannot be.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.run("rename", from, |state| {
            state.count(format!("rename {} to {}", from.display(), to.display()))?;
            let ((from, from_name), (to, to_name)) = (state.place_of(from)?, state.place_of(to)?);
            state.rename((from, &from_name), (to, &to_name))
        })
    }

    /// Removes a file by path, for tests.
    ///
    /// # Errors
    /// When it is set to fail, or cannot be.
    pub fn remove_file(&self, path: &Path) -> Result<()> {
        let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        self.open_folder(folder)?.remove_file(&name.to_string_lossy())
    }

    /// Removes a folder by path, for tests.
    ///
    /// # Errors
    /// When it is set to fail, or cannot be.
    pub fn remove_folder(&self, path: &Path) -> Result<()> {
        let (folder, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        self.open_folder(folder)?.remove_folder(&name.to_string_lossy())
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        self.open_place(path.to_owned(), access, |state| state.place_of(path))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        self.stat_place(path, |state| state.inode_at(path))
    }

    fn resolve(&self, path: &Path) -> Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        self.run("create", path, |state| {
            state.count(format!("create folder {}", path.display()))?;
            if state.inode_at(path).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let (folder, name) = state.place_of(path)?;
            state.create_folder(folder, &name)
        })
    }

    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        self.open_folder_place(path.to_owned(), |state| state.inode_at(path))
    }

    /// On a disk of its own, which does not fail.
    fn scratch(&self) -> Result<Arc<dyn DiskFile>> {
        Self::new().open(Path::new("/scratch"), Access::New)
    }

    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>> {
        let Some(inode) = self.run("open", path, |state| state.share(path))? else {
            return Ok(None);
        };
        let lock = FaultyShare { disk: self.clone(), path: path.to_owned(), inode: Mutex::new(inode) };
        Ok(Some(Arc::new(lock)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::atomic;

    pub(super) fn p(path: &str) -> &Path {
        Path::new(path)
    }

    /// `None` when there is no such file.
    pub(super) fn content(disk: &FaultyDisk, path: &str) -> Option<Vec<u8>> {
        atomic::read_small_at(disk, p(path), usize::MAX).unwrap()
    }

    pub(super) fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.source.kind())
    }

    /// A disk with a durable file of these bytes.
    pub(super) fn disk_with(path: &str, bytes: &[u8]) -> (FaultyDisk, Arc<dyn DiskFile>) {
        let disk = FaultyDisk::new();
        let file = disk.open(p(path), Access::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        disk.reset_counts();
        (disk, file)
    }

    #[test]
    fn counts_reads_and_tells_times() {
        let (disk, file) = disk_with("/f", b"12345");
        assert_eq!(file.read_at(&mut [0; 3], 1).unwrap() + file.read_at(&mut [0; 3], 4).unwrap(), 4);
        assert_eq!((disk.reads(), disk.bytes_read(), disk.operations()), (2, 4, 0));
        disk.set_clock_ms(7);
        file.set_len(0).unwrap();
        assert_eq!(file.stat().unwrap().modified_ms, 7);
        disk.set_modified_ms("/f", 5);
        assert_eq!(disk.stat(p("/f")).unwrap().unwrap().modified_ms, 5);
    }

    #[test]
    fn no_more_files_and_folders_are_open_than_may_be() {
        let (disk, file) = disk_with("/f", b"");
        let folder = disk.open_folder(p("/")).unwrap();
        assert_eq!(disk.open_count(), 2);
        disk.open_at_most(3);
        let another = folder.open("g", Access::Create).unwrap();
        assert!(folder.open("h", Access::Create).is_err() && disk.open_folder(p("/")).is_err());
        assert_eq!((disk.stat(p("/h")).unwrap(), disk.open_count()), (None, 3));
        drop(file);
        assert!(disk.open_folder(p("/")).is_ok());
        drop((folder, another));
        assert_eq!(disk.open_count(), 0);
    }
}
