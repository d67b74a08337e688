//! The operating system's file system.

#![expect(clippy::disallowed_methods, reason = "this is the door through which everything else goes to std::fs")]

use super::lock::PosixSharedLock;
use super::{
    Access, Disk, DiskError, DiskFile, FILE_MODE, FOLDER_MODE, FileId, Folder, FolderEntry, Result, SharedLock, Stat,
    lock, named,
};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Called once when a lock has been waited for longer than a second, with the path of what is locked.
pub type OnWait = fn(&Path);

/// The operating system's file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk {
    on_wait: OnWait,
}

impl RealDisk {
    /// A disk that tells `on_wait` of locks that take long.
    #[must_use]
    pub const fn new(on_wait: OnWait) -> Self {
        Self { on_wait }
    }
}

impl Default for RealDisk {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

/// Opens a user's input file to read it from front to back; it may be a pipe or a device.
///
/// # Errors
/// When it cannot be opened.
pub fn open_input(path: &Path) -> Result<File> {
    let file = named("open", path, File::open(path))?;
    if named("read", path, file.metadata())?.is_dir() {
        return Err(DiskError { doing: "read", path: path.to_owned(), source: io::ErrorKind::IsADirectory.into() });
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

impl Disk for RealDisk {
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(access != Access::Read).create(access == Access::Create).mode(FILE_MODE);
        let doing = if access == Access::Create { "create" } else { "open" };
        let file = named(doing, path, options.open(path))?;
        Ok(Arc::new(RealFile { file, path: path.to_owned() }))
    }

    fn stat(&self, path: &Path) -> Result<Option<Stat>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Stat::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => named("look at", path, Err(error)),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<FolderEntry>> {
        let mut entries = Vec::new();
        for entry in named("list", folder, fs::read_dir(folder))? {
            let entry = named("list", folder, entry)?;
            let mut kind = named("list", folder, entry.file_type())?;
            if kind.is_symlink() {
                // A partition may be linked in from another disk. A link that leads nowhere is a file that is not there.
                if let Ok(metadata) = fs::metadata(entry.path()) {
                    kind = metadata.file_type();
                }
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            entries.push(FolderEntry { name, is_folder: kind.is_dir() });
        }
        Ok(entries)
    }

    fn create_folder(&self, path: &Path) -> Result<()> {
        named("create", path, DirBuilder::new().mode(FOLDER_MODE).create(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        named("rename", from, fs::rename(from, to))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        named("remove", path, fs::remove_file(path))
    }

    fn remove_folder(&self, path: &Path) -> Result<()> {
        named("remove", path, fs::remove_dir(path))
    }

    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        let file = named("open", path, File::open(path))?;
        let metadata = named("open", path, file.metadata())?;
        if !metadata.is_dir() {
            return named("open", path, Err(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Arc::new(RealFolder { file, path: path.to_owned(), id: Stat::of(&metadata).id, on_wait: self.on_wait }))
    }

    fn share(&self, path: &Path) -> Result<Option<Arc<dyn SharedLock>>> {
        Ok(PosixSharedLock::take(path)?.map(|lock| Arc::new(lock) as Arc<dyn SharedLock>))
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
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

    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        named("write to", &self.path, self.file.write_all_at(bytes, position))
    }

    fn set_len(&self, size: u64) -> Result<()> {
        named("cut", &self.path, self.file.set_len(size))
    }

    fn sync(&self) -> Result<()> {
        named("sync", &self.path, self.file.sync_data())
    }
}

#[derive(Debug)]
struct RealFolder {
    file: File,
    path: PathBuf,
    id: FileId,
    on_wait: OnWait,
}

impl Folder for RealFolder {
    fn id(&self) -> FileId {
        self.id
    }

    fn sync(&self) -> Result<()> {
        named("sync", &self.path, self.file.sync_all())
    }

    fn lock_exclusive(&self) -> Result<()> {
        named("lock", &self.path, lock::lock_exclusive(&self.file, || (self.on_wait)(&self.path)))
    }

    fn unlock(&self) {
        lock::unlock(&self.file);
    }
}
