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
//! Deliberately absent: a failed sync that makes later ones lie (its changes stay unsynced, and the next sync takes
//! them), an operation that takes effect although it reports an error (except part of a write), failing reads short of
//! a crash, links, and `..` in paths.

use super::named;
use super::{Access, Disk, DiskError, DiskFile, FileId, Folder, FolderEntry, Result, SharedLock, Stat};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const ROOT: u64 = 1;
/// What a crash writes whole or not at all.
const PAGE_SIZE: usize = 512;
/// No test needs a larger file; a wrong position would otherwise take all memory.
const FILE_SIZE_MAX: u64 = 1 << 30;
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
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

    /// Lets operation `n` fail, and only it. It changes nothing, but of a write any first part may be written.
    pub fn fail_once_at(&self, n: u64) {
        self.state().faults.fail_once_at = Some(n);
    }

    /// Lets operation `n` and all later ones fail. Reads go on.
    pub fn fail_from(&self, n: u64) {
        self.state().faults.fail_from = Some(n);
    }

    /// Lets the machine crash in operation `n`: it and everything after it, reads included, fails ([`is_crash`]). Of a
    /// write any first part may be written. Nothing is counted from then on; [`FaultyDisk::crash`] tells what is left.
    pub fn crash_at(&self, n: u64) {
        self.state().faults.crash_at = Some(n);
    }

    /// Lets the disk be full after `bytes` more. A file takes the space up to its last written byte, so that a new file
    /// and a larger size take none; cutting a file and removing its last name give space back.
    pub fn space_left(&self, bytes: u64) {
        self.state().faults.space_left = Some(bytes);
    }

    /// Takes back all faults that have not struck, and gives a full disk space. A crash stays a crash.
    pub fn disarm(&self) {
        self.state().faults = Faults::default();
    }

    /// The disk as it is found when the power is back: what is durable, and by the seed some of what is not. With seed 0
    /// nothing else: the worst case of a program that does not sync. The new disk is apart from this one, has no faults
    /// and no locks, and counts from 0.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut random = Random(seed);
        let mut found = State { last_number: state.last_number, clock_ms: state.clock_ms, ..State::default() };
        let mut reached = vec![ROOT];
        while let Some(inode) = reached.pop() {
            if let Some(folder) = state.folders.get(&inode) {
                found.folders.entry(inode).or_insert_with(|| {
                    let entries = if seed == 0 { folder.durable.clone() } else { folder.some_first_part(&mut random) };
                    reached.extend(entries.values());
                    Kept::durable(entries, folder.modified_ms)
                });
            } else if let Some(file) = found.files.get_mut(&inode) {
                file.links += 1;
            } else {
                let content = &state.files[&inode].content;
                let bytes = if seed == 0 { content.durable.clone() } else { after_crash(content, &mut random) };
                let written_end = bytes.len() as u64;
                let content = Kept::durable(bytes, content.modified_ms);
                found.files.insert(inode, FileNode { content, links: 1, written_end });
            }
        }
        found.random = random;
        Self::of(found)
    }

    /// The disk as it is found when only the processes died: all that was written is seen, though what was not synced can
    /// still be lost to a later crash. The new disk is apart from this one, has no faults and no locks, and counts from 0.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state().clone();
        (state.faults, state.crashed) = (Faults::default(), false);
        state.folder_locks.clear();
        state.shares.clear();
        state.brokers.clear();
        state.reset_counts();
        Self::of(state)
    }

    /// Plays a broker that starts: takes the file at `path` exclusively, making it when it is missing, which is not
    /// counted. `false` when it is shared ([`Disk::share`]) or another broker has it.
    ///
    /// # Panics
    /// When there can be no file at `path`.
    #[must_use]
    pub fn hold_exclusively(&self, path: impl AsRef<Path>) -> bool {
        let (mut state, path) = (self.state(), path.as_ref());
        let found = state.inode_at(path).or_else(|_| state.make_file(path));
        let inode = found.expect("the test names a file in a folder that exists");
        if state.shares.contains_key(&inode) || state.is_held_by_broker(inode) {
            return false;
        }
        state.brokers.insert(path.to_owned(), inode);
        true
    }

    /// Plays a broker that stops, without deleting the file, which newer brokers do by [`Disk::remove_file`].
    pub fn release_exclusive(&self, path: impl AsRef<Path>) {
        self.state().brokers.remove(path.as_ref());
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
}

/// Splitmix64: small, and any seed is a good one.
#[derive(Clone, Default)]
struct Random(u64);

impl Random {
    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

/// Something with a state that is seen, a state that is durable, and the changes that lead from one to the other.
#[derive(Clone)]
struct Kept<T: Changes> {
    now: T,
    durable: T,
    unsynced: Vec<T::Change>,
    modified_ms: i64,
}

trait Changes: Clone {
    type Change: Clone;
    fn apply(&mut self, change: &Self::Change);
    /// A part of a change that a crash can leave; `None` when it is done whole or not at all.
    fn torn(change: &Self::Change, random: &mut Random) -> Option<Self::Change>;
}

impl<T: Changes> Kept<T> {
    fn durable(state: T, modified_ms: i64) -> Self {
        Self { now: state.clone(), durable: state, unsynced: Vec::new(), modified_ms }
    }

    fn change(&mut self, change: T::Change, clock_ms: i64) {
        self.now.apply(&change);
        self.unsynced.push(change);
        self.modified_ms = clock_ms;
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.durable.apply(&change);
        }
    }

    /// What is durable, and the first so many of the unsynced changes; the next one torn.
    fn some_first_part(&self, random: &mut Random) -> T {
        let whole = random.below(self.unsynced.len() + 1);
        let mut state = self.durable.clone();
        for change in &self.unsynced[..whole] {
            state.apply(change);
        }
        if let Some(change) = self.unsynced.get(whole).and_then(|next| T::torn(next, random)) {
            state.apply(&change);
        }
        state
    }
}

/// The names in a folder, and what they name.
type Entries = BTreeMap<String, u64>;

impl Changes for Entries {
    /// Names that come or go together.
    type Change = Vec<(String, Option<u64>)>;

    fn apply(&mut self, change: &Self::Change) {
        for (name, inode) in change {
            match inode {
                Some(inode) => self.insert(name.clone(), *inode),
                None => self.remove(name),
            };
        }
    }

    fn torn(_: &Self::Change, _: &mut Random) -> Option<Self::Change> {
        None
    }
}

#[derive(Clone)]
enum FileChange {
    Write { position: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl Changes for Vec<u8> {
    type Change = FileChange;

    fn apply(&mut self, change: &FileChange) {
        match change {
            FileChange::Write { position, bytes } => {
                let end = position + bytes.len();
                self.resize(self.len().max(end), 0);
                self[*position..end].copy_from_slice(bytes);
            }
            FileChange::SetLen(size) => self.resize(*size, 0),
        }
    }

    fn torn(change: &FileChange, random: &mut Random) -> Option<FileChange> {
        let FileChange::Write { position, bytes } = change else {
            return None;
        };
        let bytes = bytes[..random.below(bytes.len())].to_vec();
        (!bytes.is_empty()).then_some(FileChange::Write { position: *position, bytes })
    }
}

/// What a crash leaves of a file.
fn after_crash(content: &Kept<Vec<u8>>, random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => content.durable.clone(),
        1 => content.now.clone(),
        2 => content.some_first_part(random),
        _ => with_holes(content, random),
    }
}

/// The size is there, but of the pages that were written only some: in place of the others stands what was there before,
/// or zeros where the file had ended, as file systems leave it that write sizes ahead of data.
fn with_holes(content: &Kept<Vec<u8>>, random: &mut Random) -> Vec<u8> {
    let mut bytes = content.durable.clone();
    let mut pages = BTreeSet::new();
    for change in &content.unsynced {
        match change {
            FileChange::Write { position, bytes } => {
                pages.extend(position / PAGE_SIZE..(position + bytes.len()).div_ceil(PAGE_SIZE));
            }
            // What was cut off does not come back where the file then grew again.
            FileChange::SetLen(size) => bytes.truncate(*size),
        }
    }
    bytes.resize(content.now.len(), 0);
    for page in pages {
        let (start, end) = (page * PAGE_SIZE, ((page + 1) * PAGE_SIZE).min(bytes.len()));
        if start < end && random.below(2) == 0 {
            bytes[start..end].copy_from_slice(&content.now[start..end]);
        }
    }
    bytes
}

#[derive(Clone)]
struct FileNode {
    content: Kept<Vec<u8>>,
    links: u64,
    /// Up to where it takes space.
    written_end: u64,
}

#[derive(Clone, Default)]
struct Faults {
    fail_once_at: Option<u64>,
    fail_from: Option<u64>,
    crash_at: Option<u64>,
    space_left: Option<u64>,
}

/// Inodes stay in the maps when their last name goes: handles and durable names may still lead to them.
#[derive(Clone, Default)]
struct State {
    files: BTreeMap<u64, FileNode>,
    folders: BTreeMap<u64, Kept<Entries>>,
    /// The last number given to an inode or a handle of a folder.
    last_number: u64,
    clock_ms: i64,
    trace: Vec<String>,
    reads: u64,
    bytes_read: u64,
    faults: Faults,
    crashed: bool,
    random: Random,
    /// Folder to the handle that has it locked.
    folder_locks: BTreeMap<u64, u64>,
    /// File to how many share it.
    shares: BTreeMap<u64, u64>,
    /// Path to the file that a broker found there and holds.
    brokers: BTreeMap<PathBuf, u64>,
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    fn reset_counts(&mut self) {
        self.trace.clear();
        (self.reads, self.bytes_read) = (0, 0);
    }

    /// Counts an operation, and says so when it is one to fail.
    fn count(&mut self, what: String) -> io::Result<()> {
        self.trace.push(what);
        let n = self.trace.len() as u64;
        if self.faults.crash_at.is_some_and(|at| n >= at) {
            self.crashed = true;
            return Err(io::Error::other(CRASHED));
        }
        if self.faults.fail_once_at == Some(n) || self.faults.fail_from.is_some_and(|from| n >= from) {
            let kind = [ErrorKind::StorageFull, ErrorKind::Other][self.random.below(2)];
            return Err(io::Error::new(kind, format!("operation {n} was set to fail")));
        }
        Ok(())
    }

    fn file(&mut self, inode: u64) -> &mut FileNode {
        self.files.get_mut(&inode).expect("a file's inode is never dropped")
    }

    fn folder(&mut self, inode: u64) -> &mut Kept<Entries> {
        self.folders.get_mut(&inode).expect("a folder's inode is never dropped")
    }

    fn inode_at(&self, path: &Path) -> io::Result<u64> {
        let mut inode = ROOT;
        for component in path.components() {
            let name = match component {
                Component::Normal(name) => name.to_string_lossy(),
                Component::RootDir | Component::CurDir => continue,
                Component::ParentDir | Component::Prefix(_) => return Err(ErrorKind::InvalidInput.into()),
            };
            let folder = self.folders.get(&inode).ok_or(ErrorKind::NotADirectory)?;
            inode = *folder.now.get(&*name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(inode)
    }

    /// The folder that holds `path`, or would, and the name in it.
    fn place_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let folder = self.inode_at(parent)?;
        if !self.folders.contains_key(&folder) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok((folder, name.to_string_lossy().into_owned()))
    }

    fn stat(&self, inode: u64) -> Stat {
        let id = FileId { device: 1, inode };
        if let Some(folder) = self.folders.get(&inode) {
            return Stat { id, size: 0, modified_ms: folder.modified_ms, links: 1, is_folder: true, is_file: false };
        }
        let FileNode { content, links, .. } = &self.files[&inode];
        let size = content.now.len() as u64;
        Stat { id, size, modified_ms: content.modified_ms, links: *links, is_folder: false, is_file: true }
    }

    fn make_file(&mut self, path: &Path) -> io::Result<u64> {
        let (folder, name) = self.place_of(path)?;
        let inode = self.next_number();
        let content = Kept::durable(Vec::new(), self.clock_ms);
        self.files.insert(inode, FileNode { content, links: 0, written_end: 0 });
        self.change_entries(folder, vec![(name, Some(inode))]);
        Ok(inode)
    }

    fn open(&mut self, path: &Path, access: Access) -> io::Result<u64> {
        match self.inode_at(path) {
            Ok(inode) if self.folders.contains_key(&inode) => Err(ErrorKind::IsADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound && access == Access::Create => {
                self.place_of(path)?;
                self.count(format!("create {}", path.display()))?;
                self.make_file(path)
            }
            found => found,
        }
    }

    /// Changes names of one folder. A new name of a file comes before its old one goes, so that it keeps its space.
    fn change_entries(&mut self, folder: u64, change: Vec<(String, Option<u64>)>) {
        for (name, new) in &change {
            if let Some(file) = new.and_then(|inode| self.files.get_mut(&inode)) {
                file.links += 1;
            }
            let old = self.folders[&folder].now.get(name);
            if let Some(file) = old.and_then(|inode| self.files.get_mut(inode)) {
                file.links -= 1;
                if file.links == 0 {
                    let freed = std::mem::take(&mut file.written_end);
                    self.faults.space_left = self.faults.space_left.map(|left| left + freed);
                }
            }
        }
        let clock_ms = self.clock_ms;
        self.folder(folder).change(change, clock_ms);
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.inode_at(from)?;
        let (from_folder, from_name) = self.place_of(from)?;
        let (to_folder, to_name) = self.place_of(to)?;
        let is_folder = self.folders.contains_key(&inode);
        if let Some(&replaced) = self.folders[&to_folder].now.get(&to_name) {
            if replaced == inode {
                return Ok(());
            }
            match self.folders.get(&replaced) {
                Some(_) if !is_folder => return Err(ErrorKind::IsADirectory.into()),
                Some(folder) if !folder.now.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
                None if is_folder => return Err(ErrorKind::NotADirectory.into()),
                Some(_) | None => {}
            }
        }
        if is_folder && to.starts_with(from) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if from_folder == to_folder {
            self.change_entries(to_folder, vec![(to_name, Some(inode)), (from_name, None)]);
        } else {
            self.change_entries(to_folder, vec![(to_name, Some(inode))]);
            self.change_entries(from_folder, vec![(from_name, None)]);
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path, want_folder: bool) -> io::Result<()> {
        let inode = self.inode_at(path)?;
        match self.folders.get(&inode) {
            Some(_) if !want_folder => return Err(ErrorKind::IsADirectory.into()),
            None if want_folder => return Err(ErrorKind::NotADirectory.into()),
            Some(folder) if !folder.now.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(_) | None => {}
        }
        let (folder, name) = self.place_of(path)?;
        self.change_entries(folder, vec![(name, None)]);
        Ok(())
    }

    /// Writes what fits, and of a write that is to fail only some of that.
    fn write_at(&mut self, inode: u64, what: String, bytes: &[u8], position: u64) -> io::Result<()> {
        check_size(position.saturating_add(bytes.len() as u64))?;
        let mut result = self.count(what);
        let written_end = self.file(inode).written_end;
        let mut part = bytes;
        if let Some(left) = self.faults.space_left {
            let fits = (written_end + left).saturating_sub(position);
            if fits < bytes.len() as u64 {
                part = &bytes[..fits as usize];
                result = result.and(Err(ErrorKind::StorageFull.into()));
            }
        }
        if result.is_err() && part.len() == bytes.len() {
            part = &bytes[..self.random.below(bytes.len() + 1)];
        }
        if !part.is_empty() {
            let taken = (position + part.len() as u64).saturating_sub(written_end);
            self.faults.space_left = self.faults.space_left.map(|left| left - taken);
            let clock_ms = self.clock_ms;
            let file = self.file(inode);
            file.written_end += taken;
            file.content.change(FileChange::Write { position: position as usize, bytes: part.to_vec() }, clock_ms);
        }
        result
    }

    fn set_len(&mut self, inode: u64, size: u64) -> io::Result<()> {
        check_size(size)?;
        let clock_ms = self.clock_ms;
        let file = self.file(inode);
        file.content.change(FileChange::SetLen(size as usize), clock_ms);
        let freed = file.written_end.saturating_sub(size);
        file.written_end -= freed;
        self.faults.space_left = self.faults.space_left.map(|left| left + freed);
        Ok(())
    }

    fn is_held_by_broker(&self, inode: u64) -> bool {
        self.brokers.values().any(|held| *held == inode)
    }

    fn share(&mut self, path: &Path) -> io::Result<Option<u64>> {
        let inode = self.open(path, Access::Create)?;
        if self.is_held_by_broker(inode) {
            return Ok(None);
        }
        *self.shares.entry(inode).or_default() += 1;
        Ok(Some(inode))
    }

    fn unshare(&mut self, inode: u64) {
        if let Some(count) = self.shares.get_mut(&inode) {
            *count -= 1;
            if *count == 0 {
                self.shares.remove(&inode);
            }
        }
    }
}

fn check_size(size: u64) -> io::Result<()> {
    if size > FILE_SIZE_MAX { Err(ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        let doing = if access == Access::Create { "create" } else { "open" };
        let inode = self.run(doing, path, |state| state.open(path, access))?;
        let writable = access != Access::Read;
        Ok(Arc::new(FaultyFile { disk: self.clone(), inode, path: path.to_owned(), writable }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        self.run("look at", path, |state| match state.inode_at(path) {
            Ok(inode) => Ok(Some(state.stat(inode))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn list(&self, folder: &Path) -> Result<Vec<FolderEntry>> {
        self.run("list", folder, |state| {
            let inode = state.inode_at(folder)?;
            let entries = &state.folders.get(&inode).ok_or(ErrorKind::NotADirectory)?.now;
            let is_folder = |inode| state.folders.contains_key(inode);
            Ok(entries.iter().map(|(name, i)| FolderEntry { name: name.clone(), is_folder: is_folder(i) }).collect())
        })
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        self.run("create", path, |state| {
            state.count(format!("create folder {}", path.display()))?;
            if state.inode_at(path).is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let (parent, name) = state.place_of(path)?;
            let inode = state.next_number();
            state.folders.insert(inode, Kept::durable(Entries::new(), state.clock_ms));
            state.change_entries(parent, vec![(name, Some(inode))]);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.run("rename", from, |state| {
            state.count(format!("rename {} to {}", from.display(), to.display()))?;
            state.rename(from, to)
        })
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.run("remove", path, |state| {
            state.count(format!("remove {}", path.display()))?;
            state.remove(path, false)
        })
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        self.run("remove", path, |state| {
            state.count(format!("remove folder {}", path.display()))?;
            state.remove(path, true)
        })
    }

    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        let (inode, handle) = self.run("open", path, |state| {
            let inode = state.inode_at(path)?;
            state.folders.get(&inode).ok_or(ErrorKind::NotADirectory)?;
            Ok((inode, state.next_number()))
        })?;
        Ok(Arc::new(FaultyFolder { disk: self.clone(), inode, handle, path: path.to_owned() }))
    }

    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>> {
        let Some(inode) = self.run("open", path, |state| state.share(path))? else {
            return Ok(None);
        };
        let lock = FaultyShare { disk: self.clone(), path: path.to_owned(), inode: Mutex::new(inode) };
        Ok(Some(Arc::new(lock)))
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    inode: u64,
    path: PathBuf,
    writable: bool,
}

impl FaultyFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::Error::new(ErrorKind::PermissionDenied, "it was opened to read")) }
    }
}

impl DiskFile for FaultyFile {
    fn stat(&self) -> Result<Stat> {
        self.disk.run("look at", &self.path, |state| Ok(state.stat(self.inode)))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.disk.run("read", &self.path, |state| {
            let content = &state.files[&self.inode].content.now;
            let start = content.len().min(usize::try_from(position).unwrap_or(usize::MAX));
            let count = buffer.len().min(content.len() - start);
            buffer[..count].copy_from_slice(&content[start..start + count]);
            state.reads += 1;
            state.bytes_read += count as u64;
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        self.disk.run("write to", &self.path, |state| {
            self.check_writable()?;
            let what = format!("write {} {} bytes at {position}", self.path.display(), bytes.len());
            state.write_at(self.inode, what, bytes, position)
        })
    }

    fn set_len(&self, size: u64) -> Result<()> {
        self.disk.run("cut", &self.path, |state| {
            self.check_writable()?;
            state.count(format!("cut {} to {size} bytes", self.path.display()))?;
            state.set_len(self.inode, size)
        })
    }

    fn sync(&self) -> Result<()> {
        self.disk.run("sync", &self.path, |state| {
            state.count(format!("sync {}", self.path.display()))?;
            state.file(self.inode).content.sync();
            Ok(())
        })
    }
}

struct FaultyFolder {
    disk: FaultyDisk,
    inode: u64,
    handle: u64,
    path: PathBuf,
}

impl Folder for FaultyFolder {
    fn id(&self) -> FileId {
        FileId { device: 1, inode: self.inode }
    }

    fn sync(&self) -> Result<()> {
        self.disk.run("sync", &self.path, |state| {
            state.count(format!("sync folder {}", self.path.display()))?;
            state.folder(self.inode).sync();
            Ok(())
        })
    }

    fn lock_exclusive(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let owner = self
                .disk
                .run("lock", &self.path, |state| Ok(*state.folder_locks.entry(self.inode).or_insert(self.handle)))?;
            if owner == self.handle {
                return Ok(());
            }
            let path = self.path.display();
            assert!(started.elapsed() < LOCK_WAIT_MAX, "deadlock in a test: {path} stays locked by another handle");
            std::thread::yield_now();
        }
    }

    fn unlock(&self) {
        let mut state = self.disk.state();
        if state.folder_locks.get(&self.inode) == Some(&self.handle) {
            state.folder_locks.remove(&self.inode);
        }
    }
}

impl Drop for FaultyFolder {
    fn drop(&mut self) {
        self.unlock();
    }
}

struct FaultyShare {
    disk: FaultyDisk,
    path: PathBuf,
    /// Another file after a broker has deleted the first by name.
    inode: Mutex<u64>,
}

impl SharedLock for FaultyShare {
    fn still_guards(&self) -> Result<bool> {
        self.disk.run("look at", &self.path, |state| {
            let mut inode = self.inode.lock().unwrap_or_else(PoisonError::into_inner);
            if state.files[&*inode].links > 0 {
                return Ok(true);
            }
            let Some(anew) = state.share(&self.path)? else {
                return Ok(false);
            };
            state.unshare(std::mem::replace(&mut *inode, anew));
            Ok(true)
        })
    }
}

impl Drop for FaultyShare {
    fn drop(&mut self) {
        let inode = *self.inode.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.disk.state().unshare(inode);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FolderLock;
    use crate::disk::atomic::{read_small, replace};
    use std::collections::BTreeSet;

    fn p(path: &str) -> &Path {
        Path::new(path)
    }

    /// `None` when there is no such file.
    fn content(disk: &FaultyDisk, path: &str) -> Option<Vec<u8>> {
        read_small(disk, p(path), usize::MAX).unwrap()
    }

    fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.source.kind())
    }

    /// A disk with a durable file of these bytes.
    fn disk_with(path: &str, bytes: &[u8]) -> (FaultyDisk, Arc<dyn DiskFile>) {
        let disk = FaultyDisk::new();
        let file = disk.open(p(path), Access::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        disk.reset_counts();
        (disk, file)
    }

    /// Every content of a file that one of many crashes leaves.
    fn found_after_crashes(disk: &FaultyDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
        (0..500).map(|seed| content(&disk.crash(seed), path)).collect()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_may_lose_or_tear_the_rest() {
        let (disk, file) = disk_with("/f", b"kept");
        file.write_at(b"one", 4).unwrap();
        file.write_at(b"two", 7).unwrap();
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"kept", "seed 0 keeps nothing else");
        let found: BTreeSet<_> = found_after_crashes(&disk, "/f").into_iter().map(Option::unwrap).collect();
        assert!(found.iter().all(|bytes| bytes.starts_with(b"kept")));
        let whole = b"keptonetwo";
        for size in 4..=whole.len() {
            assert!(found.contains(&whole[..size]), "{size} bytes, in {found:?}");
        }
        assert!(found.contains(&b"kept\0\0\0\0\0\0"[..]), "the size without the data, in {found:?}");
        assert_eq!(content(&disk.crash(7), "/f"), content(&disk.crash(7), "/f"), "a seed is a crash");
        file.sync().unwrap();
        assert_eq!(found_after_crashes(&disk, "/f"), BTreeSet::from([Some(whole.to_vec())]));
    }

    #[test]
    fn holes_are_whole_pages_and_what_was_cut_does_not_come_back() {
        let (disk, file) = disk_with("/f", &[1; 2 * PAGE_SIZE]);
        file.set_len(100).unwrap();
        file.write_at(&[2; 4 * PAGE_SIZE], 100).unwrap();
        let inode = file.stat().unwrap().id.inode;
        let state = disk.state();
        let kept = &state.files[&inode].content;
        let found: BTreeSet<_> = (0..200).map(|seed| with_holes(kept, &mut Random(seed))).collect();
        assert_eq!(found.len(), 1 << 5, "five pages, each there or not");
        for bytes in found {
            assert_eq!(bytes.len(), 100 + 4 * PAGE_SIZE);
            assert_eq!(bytes[..100], [1; 100]);
            let pages = std::iter::once(&bytes[100..PAGE_SIZE]).chain(bytes[PAGE_SIZE..].chunks(PAGE_SIZE));
            assert!(pages.into_iter().all(|page| [0, 2].contains(&page[0]) && page.iter().all(|b| *b == page[0])));
        }
    }

    #[test]
    fn unsynced_names_survive_a_crash_as_a_first_part_in_order() {
        let (disk, _file) = disk_with("/a", b"A");
        disk.create_folder(p("/folder")).unwrap();
        disk.rename(p("/a"), p("/b")).unwrap();
        disk.rename(p("/b"), p("/c")).unwrap();
        let names = |disk: FaultyDisk| disk.list(p("/")).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
        let found: BTreeSet<_> = (0..200).map(|seed| names(disk.crash(seed))).collect();
        let expected = [&["a"][..], &["a", "folder"], &["b", "folder"], &["c", "folder"]];
        assert_eq!(found, expected.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect());
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        assert!((0..200).all(|seed| names(disk.crash(seed)) == ["c", "folder"]));
    }

    #[test]
    fn a_synced_name_says_nothing_of_content_and_synced_content_nothing_of_the_name() {
        let disk = FaultyDisk::new();
        let write = |path| {
            let file = disk.open(p(path), Access::Create).unwrap();
            file.write_at(b"bytes", 0).unwrap();
            file
        };
        write("/name");
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        write("/content").sync().unwrap();
        let found = disk.crash(0);
        assert_eq!(content(&found, "/name").unwrap(), b"");
        assert_eq!(content(&found, "/content"), None);
    }

    #[test]
    fn a_removed_file_comes_back_when_its_folder_was_not_synced() {
        let (disk, file) = disk_with("/f", b"kept");
        disk.remove_file(p("/f")).unwrap();
        assert_eq!(file.stat().unwrap().links, 0);
        let back = disk.crash(0).open(p("/f"), Access::Read).unwrap().stat().unwrap();
        assert_eq!((back.id, back.size, back.links), (file.stat().unwrap().id, 4, 1));
        assert_eq!(found_after_crashes(&disk, "/f"), BTreeSet::from([None, Some(b"kept".to_vec())]));
    }

    #[test]
    fn replacing_a_file_is_atomic_at_every_crash_and_failure() {
        let (disk, _file) = disk_with("/f", b"old");
        replace(&disk.kill(), p("/f.tmp"), p("/f"), b"new!").unwrap();
        for n in 1..=7 {
            let crashing = disk.kill();
            crashing.crash_at(n);
            let error = replace(&crashing, p("/f.tmp"), p("/f"), b"new!").err();
            assert_eq!(error.is_some_and(|error| is_crash(&error)), n < 7, "{:?}", crashing.trace());
            assert_eq!(crashing.operations(), n.min(6));
            let found = found_after_crashes(&crashing, "/f");
            let may_be = BTreeSet::from([Some(b"old".to_vec()), Some(b"new!".to_vec())]);
            assert!(found.is_subset(&may_be), "{n}: {found:?}");
        }
    }

    #[test]
    fn a_kill_keeps_everything_written_but_makes_nothing_durable() {
        let (disk, file) = disk_with("/f", b"kept");
        file.write_at(b" and written", 4).unwrap();
        disk.crash_at(2);
        assert!(is_crash(&file.sync().unwrap_err()));
        let found = disk.kill();
        assert_eq!(content(&found, "/f").unwrap(), b"kept and written");
        assert_eq!(found.operations(), 0);
        assert_eq!(content(&found.crash(0), "/f").unwrap(), b"kept");
    }

    #[test]
    fn one_failure_is_one_failure() {
        let (disk, file) = disk_with("/f", b"");
        disk.fail_once_at(2);
        file.write_at(b"a", 0).unwrap();
        let error = file.sync().unwrap_err();
        assert_eq!((error.doing, is_crash(&error)), ("sync", false));
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"", "the sync that failed did nothing");
        file.sync().unwrap();
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"a");
        assert_eq!(disk.trace(), ["write /f 1 bytes at 0", "sync /f", "sync /f"]);
    }

    #[test]
    fn a_persistent_failure_stays_until_it_is_disarmed_and_leaves_reads_alone() {
        let (disk, file) = disk_with("/f", b"kept");
        disk.fail_from(2);
        file.set_len(3).unwrap();
        assert!(file.sync().is_err() && file.set_len(0).is_err() && disk.create_folder(p("/g")).is_err());
        assert!(disk.open(p("/h"), Access::Create).is_err() && disk.remove_file(p("/f")).is_err());
        assert_eq!((content(&disk, "/f").unwrap(), disk.list(p("/")).unwrap().len()), (b"kep".to_vec(), 1));
        disk.disarm();
        file.sync().unwrap();
    }

    #[test]
    fn a_failing_write_leaves_any_first_part() {
        let mut kinds = BTreeSet::new();
        let mut sizes = BTreeSet::new();
        for (seed, crash) in (0..100).zip([true, false].into_iter().cycle()) {
            let disk = FaultyDisk::with_seed(seed);
            let file = disk.open(p("/f"), Access::Create).unwrap();
            if crash {
                disk.crash_at(2)
            } else {
                disk.fail_once_at(2)
            };
            let error = file.write_at(b"12345", 0).unwrap_err();
            assert_eq!((is_crash(&error), file.stat().is_err()), (crash, crash));
            kinds.insert(format!("{:?}", error.source.kind()));
            let left = content(&disk.kill(), "/f").unwrap();
            assert!(b"12345".starts_with(&left));
            sizes.insert(left.len());
        }
        assert_eq!(sizes, (0..=5).collect());
        assert_eq!(kinds, ["Other", "StorageFull"].map(String::from).into());
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_gives_space_back() {
        let (disk, file) = disk_with("/f", b"1234");
        disk.space_left(3);
        file.write_at(b"4321", 0).unwrap();
        file.set_len(1000).unwrap();
        let other = disk.open(p("/g"), Access::Create).unwrap();
        assert_eq!(kind(other.write_at(b"abcde", 0)), Some(ErrorKind::StorageFull));
        assert_eq!(content(&disk, "/g").unwrap(), b"abc");
        assert_eq!(kind(file.write_at(b"5", 4)), Some(ErrorKind::StorageFull));
        other.set_len(2).unwrap();
        file.write_at(b"5", 4).unwrap();
        assert_eq!(kind(file.write_at(b"6", 5)), Some(ErrorKind::StorageFull));
        disk.rename(p("/g"), p("/h")).unwrap();
        assert_eq!(kind(file.write_at(b"6", 5)), Some(ErrorKind::StorageFull), "a rename frees nothing");
        disk.remove_file(p("/h")).unwrap();
        file.write_at(b"67", 5).unwrap();
        assert_eq!(kind(file.write_at(b"8", 7)), Some(ErrorKind::StorageFull));
    }

    #[test]
    fn a_handle_outlives_its_name() {
        let (disk, file) = disk_with("/f", b"first");
        disk.open(p("/new"), Access::Create).unwrap().write_at(b"second", 0).unwrap();
        disk.rename(p("/new"), p("/f")).unwrap();
        file.write_at(b"F", 0).unwrap();
        let mut buffer = [0; 9];
        assert_eq!(file.read_at(&mut buffer, 1).unwrap(), 4);
        assert_eq!((&buffer[..4], file.stat().unwrap().links), (&b"irst"[..], 0));
        assert_eq!(content(&disk, "/f").unwrap(), b"second");
        assert_ne!(disk.stat(p("/f")).unwrap().unwrap().id, file.stat().unwrap().id);
    }

    #[test]
    fn refuses_what_a_real_disk_refuses() {
        use ErrorKind::{AlreadyExists, DirectoryNotEmpty, IsADirectory, NotADirectory, NotFound};
        let (disk, _file) = disk_with("/f", b"");
        for path in ["/a", "/a/b", "/c"] {
            disk.create_folder(p(path)).unwrap();
        }
        let cases = [
            ("open missing", kind(disk.open(p("/x"), Access::Write)), NotFound),
            ("create in missing", kind(disk.open(p("/x/y"), Access::Create)), NotFound),
            ("create in file", kind(disk.open(p("/f/y"), Access::Create)), NotADirectory),
            ("open folder as file", kind(disk.open(p("/a"), Access::Write)), IsADirectory),
            ("stat in file", kind(disk.stat(p("/f/y"))), NotADirectory),
            ("list file", kind(disk.list(p("/f"))), NotADirectory),
            ("list missing", kind(disk.list(p("/x"))), NotFound),
            ("open file as folder", kind(disk.open_folder(p("/f"))), NotADirectory),
            ("make a folder twice", kind(disk.create_folder(p("/a"))), AlreadyExists),
            ("make a folder in none", kind(disk.create_folder(p("/x/y"))), NotFound),
            ("remove folder as file", kind(disk.remove_file(p("/a"))), IsADirectory),
            ("remove file as folder", kind(disk.remove_folder(p("/f"))), NotADirectory),
            ("remove full folder", kind(disk.remove_folder(p("/a"))), DirectoryNotEmpty),
            ("rename missing", kind(disk.rename(p("/x"), p("/y"))), NotFound),
            ("rename over full folder", kind(disk.rename(p("/c"), p("/a"))), DirectoryNotEmpty),
            ("rename file over folder", kind(disk.rename(p("/f"), p("/c"))), IsADirectory),
            ("rename folder over file", kind(disk.rename(p("/c"), p("/f"))), NotADirectory),
            ("rename into itself", kind(disk.rename(p("/a"), p("/a/b/d"))), ErrorKind::InvalidInput),
        ];
        for (name, found, expected) in cases {
            assert_eq!(found, Some(expected), "{name}");
        }
        assert!(disk.stat(p("/x")).unwrap().is_none());
        disk.rename(p("/a"), p("/c")).unwrap();
        assert!(disk.stat(p("/c/b")).unwrap().unwrap().is_folder);
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
    fn a_folder_lock_excludes_other_handles_across_threads() {
        let disk = FaultyDisk::new();
        let counter = disk.open(p("/counter"), Access::Create).unwrap();
        counter.write_at(&[0], 0).unwrap();
        assert_eq!(disk.open_folder(p("/")).unwrap().id(), disk.stat(p("/")).unwrap().unwrap().id);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let folder = disk.open_folder(p("/")).unwrap();
                    for _ in 0..50 {
                        let _lock = FolderLock::take(&folder).unwrap();
                        let mut value = [0];
                        counter.read_at(&mut value, 0).unwrap();
                        std::thread::yield_now();
                        counter.write_at(&[value[0] + 1], 0).unwrap();
                    }
                });
            }
        });
        assert_eq!(content(&disk, "/counter").unwrap(), [200]);
        let _held = FolderLock::take(&disk.open_folder(p("/")).unwrap()).unwrap();
        for found in [disk.kill(), disk.crash(1)] {
            FolderLock::take(&found.open_folder(p("/")).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_broker_and_sharers_exclude_each_other() {
        let disk = FaultyDisk::new();
        let share = || disk.share(p("/.lock")).unwrap();
        assert!(disk.hold_exclusively("/.lock"));
        assert!(share().is_none());
        disk.release_exclusive("/.lock");
        let (one, two) = (share().unwrap(), share().unwrap());
        drop(two);
        assert!(!disk.hold_exclusively("/.lock"));
        assert!(one.still_guards().unwrap());
        disk.remove_file(p("/.lock")).unwrap();
        assert!(one.still_guards().unwrap());
        assert!(!disk.hold_exclusively("/.lock"), "the new file is locked");
        disk.remove_file(p("/.lock")).unwrap();
        assert!(disk.hold_exclusively("/.lock"), "nobody had looked yet");
        assert!(!one.still_guards().unwrap());
        disk.release_exclusive("/.lock");
        drop(one);
        assert!(disk.hold_exclusively("/.lock"));
    }
}
