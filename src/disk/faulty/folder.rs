//! An open folder.

use super::FaultyDisk;
use super::locks::wait_for_lock;
use crate::disk::{Access, Disk, DiskFile, FileId, Folder, FolderEntry, Result, Stat};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

pub(super) struct FaultyFolder {
    pub(super) disk: FaultyDisk,
    pub(super) inode: u64,
    pub(super) handle: u64,
    pub(super) path: PathBuf,
}

impl Folder for FaultyFolder {
    fn id(&self) -> FileId {
        FileId { device: 1, inode: self.inode }
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.disk.clone())
    }

    fn booted_ms(&self) -> i64 {
        self.disk.state().booted_ms.unwrap_or(i64::MIN)
    }

    fn boot(&self) -> Uuid {
        Uuid::from_u128(u128::from(self.disk.state().boot) + 1)
    }

    fn shared_file_system(&self) -> Result<Option<&'static str>> {
        Ok(None)
    }

    fn is_named(&self) -> Result<bool> {
        Ok(self.disk.stat(&self.path)?.is_some_and(|stat| stat.id.inode == self.inode))
    }

    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>> {
        self.disk.open_place(self.path.join(name), access, |_| Ok((self.inode, name.to_owned())))
    }

    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        self.disk.stat_place(&self.path.join(name), |state| state.entry(self.inode, name))
    }

    fn list(&self) -> Result<Vec<FolderEntry>> {
        self.disk.run("list", &self.path, |state| {
            let entries = &state.folders[&self.inode].now;
            let is_folder = |inode| state.folders.contains_key(inode);
            let entry = |(name, inode): (&String, _)| FolderEntry {
                name: name.clone(),
                is_folder: is_folder(inode),
                is_link: false,
            };
            Ok(entries.iter().map(entry).collect())
        })
    }

    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>> {
        self.disk.open_folder_place(self.path.join(name), |state| state.entry(self.inode, name))
    }

    fn create_folder(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.run("create", &path, |state| {
            state.count(format!("create folder {}", path.display()))?;
            state.create_folder(self.inode, name)
        })
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.path.join(from);
        self.disk.run("rename", &path, |state| {
            state.count(format!("rename {} to {}", path.display(), self.path.join(to).display()))?;
            state.rename((self.inode, from), (self.inode, to))
        })
    }

    fn remove_file(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.run("remove", &path, |state| {
            state.count(format!("remove {}", path.display()))?;
            state.remove(self.inode, name, false)
        })
    }

    fn remove_folder(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        self.disk.run("remove", &path, |state| {
            state.count(format!("remove folder {}", path.display()))?;
            state.remove(self.inode, name, true)
        })
    }

    fn sync(&self) -> Result<()> {
        self.disk.run("sync", &self.path, |state| {
            state.count(format!("sync folder {}", self.path.display()))?;
            state.folder(self.inode).sync();
            Ok(())
        })
    }

    fn lock_exclusive(&self) -> Result<()> {
        let try_lock = || self.disk.run("lock", &self.path, |state| Ok(state.locks.take(self.inode, self.handle)));
        wait_for_lock(&self.path, try_lock)
    }

    fn unlock(&self) {
        self.disk.state().locks.give_back(self.inode, self.handle);
    }
}

impl Drop for FaultyFolder {
    fn drop(&mut self) {
        self.disk.state().close(self.inode, self.handle);
    }
}
