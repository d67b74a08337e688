//! All that the disk knows: files and folders by inode, names, what is counted, and what is set to fail.

use super::CRASHED;
use super::faults::Faults;
use super::file_node::{FileChange, FileNode};
use super::kept::{Changes, Kept};
use super::locks::Locks;
use super::random::Random;
use crate::disk::{Access, FileId, Stat};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Component, Path};

pub(super) const ROOT: u64 = 1;
/// No test needs a larger file; a wrong position would otherwise take all memory.
const FILE_SIZE_MAX: u64 = 1 << 30;

/// The names in a folder, and what they name.
pub(super) type Entries = BTreeMap<String, u64>;

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

/// Inodes stay in the maps when their last name goes: handles and durable names may still lead to them.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<u64, FileNode>,
    pub(super) folders: BTreeMap<u64, Kept<Entries>>,
    /// The last number given to an inode or a handle of a folder.
    pub(super) last_number: u64,
    pub(super) clock_ms: i64,
    pub(super) trace: Vec<String>,
    pub(super) reads: u64,
    pub(super) bytes_read: u64,
    pub(super) faults: Faults,
    pub(super) crashed: bool,
    /// How many times the machine has started again.
    pub(super) boot: u64,
    /// When it has; the lowest number before it has.
    pub(super) booted_ms: Option<i64>,
    pub(super) keeps_no_holes: bool,
    /// How many handles there are, and how many there may be.
    pub(super) open_count: usize,
    pub(super) open_max: Option<usize>,
    pub(super) random: Random,
    pub(super) locks: Locks,
}

impl State {
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Sees that another handle may be opened.
    pub(super) fn check_open_max(&self) -> io::Result<()> {
        match self.open_max {
            Some(max) if self.open_count >= max => Err(rustix::io::Errno::MFILE.into()),
            _ => Ok(()),
        }
    }

    /// The number of a new handle.
    pub(super) fn next_handle(&mut self) -> u64 {
        self.open_count += 1;
        self.next_number()
    }

    /// Ends a handle, and gives its lock back.
    pub(super) fn close(&mut self, inode: u64, handle: u64) {
        self.open_count -= 1;
        self.locks.give_back(inode, handle);
    }

    pub(super) fn reset_counts(&mut self) {
        self.trace.clear();
        (self.reads, self.bytes_read) = (0, 0);
    }

    /// Counts an operation, and says so when it is one to fail.
    pub(super) fn count(&mut self, what: String) -> io::Result<()> {
        self.trace.push(what);
        let n = self.trace.len() as u64;
        if self.faults.crash_at.is_some_and(|at| n >= at) {
            self.crashed = true;
            return Err(io::Error::other(CRASHED));
        }
        if self.faults.lose_write_backs_at == Some(n) {
            self.files.values_mut().for_each(FileNode::lose_write_back);
        }
        if self.faults.fail_once_at == Some(n) || self.faults.fail_from.is_some_and(|from| n >= from) {
            let kind = [ErrorKind::StorageFull, ErrorKind::Other][self.random.below(2)];
            return Err(io::Error::new(kind, format!("operation {n} was set to fail")));
        }
        Ok(())
    }

    pub(super) fn file(&mut self, inode: u64) -> &mut FileNode {
        self.files.get_mut(&inode).expect("a file's inode is never dropped")
    }

    pub(super) fn folder(&mut self, inode: u64) -> &mut Kept<Entries> {
        self.folders.get_mut(&inode).expect("a folder's inode is never dropped")
    }

    pub(super) fn inode_at(&self, path: &Path) -> io::Result<u64> {
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
    pub(super) fn place_of(&self, path: &Path) -> io::Result<(u64, String)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let folder = self.inode_at(parent)?;
        if !self.folders.contains_key(&folder) {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok((folder, name.to_string_lossy().into_owned()))
    }

    pub(super) fn stat(&self, inode: u64) -> Stat {
        let id = FileId { device: 1, inode };
        if let Some(folder) = self.folders.get(&inode) {
            let (modified_ms, changed_ns) = (folder.modified_ms, folder.changed_ns);
            let links = self.links_of_folder(inode) as u64;
            return Stat { id, size: 0, modified_ms, changed_ns, links, is_folder: true, is_file: false };
        }
        let FileNode { content, links, .. } = &self.files[&inode];
        let size = content.now.len() as u64;
        let (modified_ms, changed_ns) = (content.modified_ms, content.changed_ns);
        Stat { id, size, modified_ms, changed_ns, links: *links, is_folder: false, is_file: true }
    }

    /// What has a name in a folder.
    pub(super) fn entry(&self, folder: u64, name: &str) -> io::Result<u64> {
        let folder = self.folders.get(&folder).ok_or(ErrorKind::NotADirectory)?;
        Ok(*folder.now.get(name).ok_or(ErrorKind::NotFound)?)
    }

    pub(super) fn make_file(&mut self, folder: u64, name: &str) -> u64 {
        let inode = self.next_number();
        self.files.insert(inode, FileNode::durable(Vec::new(), self.clock_ms, 0));
        self.change_entries(folder, vec![(name.to_owned(), Some(inode))]);
        inode
    }

    pub(super) fn open(&mut self, folder: u64, name: &str, access: Access, path: &Path) -> io::Result<u64> {
        match self.entry(folder, name) {
            Ok(_) if access == Access::New => Err(ErrorKind::AlreadyExists.into()),
            Ok(inode) if self.folders.contains_key(&inode) => Err(ErrorKind::IsADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound && matches!(access, Access::Create | Access::New) => {
                self.count(format!("create {}", path.display()))?;
                if self.links_of_folder(folder) == 0 {
                    return Err(ErrorKind::NotFound.into());
                }
                Ok(self.make_file(folder, name))
            }
            found => found,
        }
    }

    /// 0 for a folder that was removed while open: nothing can be made in it.
    pub(super) fn links_of_folder(&self, folder: u64) -> usize {
        if folder == ROOT {
            return 1;
        }
        self.folders.values().filter(|it| it.now.values().any(|inode| *inode == folder)).count()
    }

    pub(super) fn create_folder(&mut self, folder: u64, name: &str) -> io::Result<()> {
        if self.entry(folder, name).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if self.links_of_folder(folder) == 0 {
            return Err(ErrorKind::NotFound.into());
        }
        let inode = self.next_number();
        self.folders.insert(inode, Kept::durable(Entries::new(), self.clock_ms));
        self.change_entries(folder, vec![(name.to_owned(), Some(inode))]);
        Ok(())
    }

    /// Changes names of one folder. A new name of a file comes before its old one goes, so that it keeps its space.
    pub(super) fn change_entries(&mut self, folder: u64, change: Vec<(String, Option<u64>)>) {
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

    pub(super) fn rename(&mut self, from: (u64, &str), to: (u64, &str)) -> io::Result<()> {
        let inode = self.entry(from.0, from.1)?;
        let is_folder = self.folders.contains_key(&inode);
        if is_folder && self.is_inside(to.0, inode) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Ok(replaced) = self.entry(to.0, to.1) {
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
        let (come, go) = ((to.1.to_owned(), Some(inode)), (from.1.to_owned(), None));
        if from.0 == to.0 {
            self.change_entries(to.0, vec![come, go]);
        } else {
            self.change_entries(to.0, vec![come]);
            self.change_entries(from.0, vec![go]);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, folder: u64, name: &str, want_folder: bool) -> io::Result<()> {
        match self.folders.get(&self.entry(folder, name)?) {
            Some(_) if !want_folder => return Err(ErrorKind::IsADirectory.into()),
            None if want_folder => return Err(ErrorKind::NotADirectory.into()),
            Some(folder) if !folder.now.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            Some(_) | None => {}
        }
        self.change_entries(folder, vec![(name.to_owned(), None)]);
        Ok(())
    }

    /// Whether a folder is another, or lies in it.
    pub(super) fn is_inside(&self, folder: u64, outer: u64) -> bool {
        let holds = |(_, it): &(&u64, &Kept<Entries>)| it.now.values().any(|inode| *inode == folder);
        folder == outer || self.folders.iter().find(holds).is_some_and(|(&parent, _)| self.is_inside(parent, outer))
    }

    /// Writes what fits, and of a write that is to fail only some of that.
    pub(super) fn write_at(&mut self, inode: u64, what: String, bytes: &[u8], position: u64) -> io::Result<()> {
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

    pub(super) fn set_len(&mut self, inode: u64, size: u64) -> io::Result<()> {
        check_size(size)?;
        let clock_ms = self.clock_ms;
        let file = self.file(inode);
        file.content.change(FileChange::SetLen(size as usize), clock_ms);
        let freed = file.written_end.saturating_sub(size);
        file.written_end -= freed;
        self.faults.space_left = self.faults.space_left.map(|left| left + freed);
        Ok(())
    }

    /// The file at `path`, made when it is missing, shared with one more; `None` when a broker holds it.
    pub(super) fn share(&mut self, path: &Path) -> io::Result<Option<u64>> {
        let (folder, name) = self.place_of(path)?;
        let inode = self.open(folder, &name, Access::Create, path)?;
        Ok(self.locks.share(inode).then_some(inode))
    }
}

fn check_size(size: u64) -> io::Result<()> {
    if size > FILE_SIZE_MAX { Err(ErrorKind::FileTooLarge.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{content, disk_with, kind, p};
    use super::*;
    use crate::disk::Disk;

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
}
