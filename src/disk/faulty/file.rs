//! An open file.

use super::FaultyDisk;
use super::file_node::PAGE_SIZE;
use super::locks::wait_for_lock;
use crate::disk::{DiskFile, Result, Stat};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) struct FaultyFile {
    pub(super) disk: FaultyDisk,
    pub(super) inode: u64,
    pub(super) handle: u64,
    pub(super) path: PathBuf,
    pub(super) writable: bool,
    /// How many lost write-backs this handle was told of, or was opened after.
    pub(super) told: AtomicU64,
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

    /// Pages of zeros are holes, whether they were written or not.
    fn next_data(&self, position: u64) -> Result<Range<u64>> {
        self.disk.run("find the data of", &self.path, |state| {
            let content = &state.files[&self.inode].content.now;
            let (start, size) = (usize::try_from(position).unwrap_or(usize::MAX), content.len());
            if state.keeps_no_holes || start >= size {
                return Ok(position..position.max(size as u64));
            }
            let is_data = |page: &usize| content[*page..size.min(page + PAGE_SIZE)].iter().any(|&byte| byte != 0);
            let mut pages = (start / PAGE_SIZE * PAGE_SIZE..size).step_by(PAGE_SIZE);
            let data = pages.by_ref().find(is_data).map_or(size, |page| page.max(start));
            let hole = pages.find(|page| !is_data(page)).unwrap_or(size);
            Ok(data as u64..hole as u64)
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

    fn set_modified(&self, modified_ms: i64) -> Result<()> {
        self.disk.run("set the time of", &self.path, |state| {
            self.check_writable()?;
            state.file(self.inode).content.modified_ms = modified_ms;
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        self.disk.run("sync", &self.path, |state| {
            if let Err(error) = state.count(format!("sync {}", self.path.display())) {
                if !state.crashed {
                    let file = state.file(self.inode);
                    file.lose_write_back();
                    self.told.store(file.losses, Ordering::Relaxed);
                }
                return Err(error);
            }
            let file = state.file(self.inode);
            file.sync();
            if self.told.swap(file.losses, Ordering::Relaxed) < file.losses {
                return Err(io::Error::other("a write-back was lost"));
            }
            Ok(())
        })
    }

    fn drop_cache(&self, position: u64, size: u64) -> Result<()> {
        self.disk.run("drop the cache of", &self.path, |state| {
            state.file(self.inode).drop_cache(position, size);
            Ok(())
        })
    }

    fn try_lock(&self) -> Result<bool> {
        self.disk.run("lock", &self.path, |state| Ok(state.locks.take(self.inode, self.handle)))
    }

    fn lock(&self) -> Result<()> {
        wait_for_lock(&self.path, || self.try_lock())
    }

    fn holder(&self) -> Option<u32> {
        None
    }

    fn try_lock_range(&self, range: Range<u64>) -> Result<bool> {
        self.disk.run("lock", &self.path, |state| Ok(state.locks.take_range(self.inode, self.handle, range)))
    }

    fn unlock_range(&self, range: Range<u64>) -> Result<()> {
        self.disk.run("unlock", &self.path, |state| {
            state.locks.give_range_back(self.inode, self.handle, &range);
            Ok(())
        })
    }

    fn locked_range(&self, range: Range<u64>) -> Result<Option<Range<u64>>> {
        self.disk.run("look for locks of", &self.path, |state| {
            Ok(state.locks.range_of_another(self.inode, self.handle, &range))
        })
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.disk.state().close(self.inode, self.handle);
    }
}
