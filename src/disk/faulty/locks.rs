//! Who has locked what.

use super::FaultyDisk;
#[cfg(doc)]
use crate::disk::Disk;
use crate::disk::{Result, SharedLock};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);

/// The locks that are held. The death of the processes ends them all.
#[derive(Clone, Default)]
pub(super) struct Locks {
    /// File or folder to the handle that has it locked.
    exclusive: BTreeMap<u64, u64>,
    /// Ranges of files, each with the handle that has it.
    ranges: Vec<(u64, u64, Range<u64>)>,
    /// File to how many share it.
    shares: BTreeMap<u64, u64>,
    /// Path to the file that a broker found there and holds.
    brokers: BTreeMap<PathBuf, u64>,
}

impl Locks {
    /// Whether this handle has the lock of a file or folder now.
    pub(super) fn take(&mut self, inode: u64, handle: u64) -> bool {
        *self.exclusive.entry(inode).or_insert(handle) == handle
    }

    /// Gives all back that a handle has of a file or folder.
    pub(super) fn give_back(&mut self, inode: u64, handle: u64) {
        if self.exclusive.get(&inode) == Some(&handle) {
            self.exclusive.remove(&inode);
        }
        self.ranges.retain(|(of, by, _)| (*of, *by) != (inode, handle));
    }

    /// Whether this handle has a range of a file now.
    pub(super) fn take_range(&mut self, inode: u64, handle: u64, range: Range<u64>) -> bool {
        if self.range_of_another(inode, handle, &range).is_some() {
            return false;
        }
        self.give_range_back(inode, handle, &range);
        self.ranges.push((inode, handle, range));
        true
    }

    /// As the kernel does: of a range that is longer, the rest stays.
    pub(super) fn give_range_back(&mut self, inode: u64, handle: u64, given: &Range<u64>) {
        let (own, mut kept): (Vec<_>, Vec<_>) =
            self.ranges.drain(..).partition(|(of, by, _)| (*of, *by) == (inode, handle));
        for (_, _, range) in own {
            let rest = [range.start..range.end.min(given.start), range.start.max(given.end)..range.end];
            kept.extend(rest.into_iter().filter(|it| it.start < it.end).map(|it| (inode, handle, it)));
        }
        self.ranges = kept;
    }

    pub(super) fn range_of_another(&self, inode: u64, handle: u64, range: &Range<u64>) -> Option<Range<u64>> {
        let is_in_the_way = |(of, by, held): &&(u64, u64, Range<u64>)| {
            *of == inode && *by != handle && held.start < range.end && range.start < held.end
        };
        self.ranges.iter().find(is_in_the_way).map(|(_, _, held)| held.clone())
    }

    fn is_held_by_broker(&self, inode: u64) -> bool {
        self.brokers.values().any(|held| *held == inode)
    }

    /// Whether the file is shared with one more now: not while a broker holds it.
    pub(super) fn share(&mut self, inode: u64) -> bool {
        if self.is_held_by_broker(inode) {
            return false;
        }
        *self.shares.entry(inode).or_default() += 1;
        true
    }

    /// Whether only one shares it. Later ones are let in: tests of one who is alone have no others.
    fn is_shared_once(&self, inode: u64) -> bool {
        self.shares.get(&inode) == Some(&1)
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

impl FaultyDisk {
    /// Plays a broker that starts: takes the file at `path` exclusively, making it when it is missing, which is not
    /// counted. `false` when it is shared ([`Disk::share`]) or another broker has it.
    ///
    /// # Panics
    /// When there can be no file at `path`.
    #[must_use]
    pub fn hold_exclusively(&self, path: impl AsRef<Path>) -> bool {
        let (mut state, path) = (self.state(), path.as_ref());
        let (folder, name) = state.place_of(path).expect("the test names a file in a folder that exists");
        let inode = state.entry(folder, &name).unwrap_or_else(|_| state.make_file(folder, &name));
        if state.locks.shares.contains_key(&inode) || state.locks.is_held_by_broker(inode) {
            return false;
        }
        state.locks.brokers.insert(path.to_owned(), inode);
        true
    }

    /// Plays a broker that stops, without deleting the file, which newer brokers do by [`FaultyDisk::remove_file`].
    pub fn release_exclusive(&self, path: impl AsRef<Path>) {
        self.state().locks.brokers.remove(path.as_ref());
    }
}

pub(super) fn wait_for_lock(path: &Path, try_lock: impl Fn() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    while !try_lock()? {
        let path = path.display();
        assert!(started.elapsed() < LOCK_WAIT_MAX, "deadlock in a test: {path} stays locked by another handle");
        std::thread::yield_now();
    }
    Ok(())
}

pub(super) struct FaultyShare {
    pub(super) disk: FaultyDisk,
    pub(super) path: PathBuf,
    /// Another file after a broker has deleted the first by name.
    pub(super) inode: Mutex<u64>,
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
            state.locks.unshare(std::mem::replace(&mut *inode, anew));
            Ok(true)
        })
    }

    fn exclude_others(&self) -> Result<bool> {
        self.disk.run("lock", &self.path, |state| {
            let inode = *self.inode.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(state.locks.is_shared_once(inode))
        })
    }
}

impl Drop for FaultyShare {
    fn drop(&mut self) {
        let inode = *self.inode.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.disk.state().locks.unshare(inode);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{content, p};
    use super::*;
    use crate::disk::{Access, Disk, FolderLock};

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
