//! Replaces a small file so that a reader, and the next start after a crash, sees the old content or the new, whole.

use super::{Access, Disk, DiskFile, Folder, Result};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// Writes `bytes` to the new file `temporary` of `folder`, syncs it, renames it to `name` and syncs the folder.
///
/// A crash leaves the old file and perhaps a temporary one, which the next call removes; or the new file. The caller
/// holds the lock under which `temporary` has one writer.
///
/// # Errors
/// When the disk fails. The old file is then still there, unless the last step failed: the new one may be.
pub fn replace(folder: &dyn Folder, temporary: &str, name: &str, bytes: &[u8]) -> Result<()> {
    put(folder, temporary, name, bytes)?;
    folder.sync()
}

/// Does the same but for syncing the folder: the caller does, once for several files.
///
/// # Errors
/// When the disk fails. The old file is then still there, and the temporary one removed if that can be done.
pub fn put(folder: &dyn Folder, temporary: &str, name: &str, bytes: &[u8]) -> Result<()> {
    put_prepared(folder, temporary, name, bytes, |_| Ok(())).map(drop)
}

/// Does what [`replace`] does for a file that its user keeps locked: the new file is locked before it gets the name, and
/// returned.
///
/// # Errors
/// As [`replace`].
pub fn replace_locked(folder: &dyn Folder, temporary: &str, name: &str, bytes: &[u8]) -> Result<Arc<dyn DiskFile>> {
    let file = put_prepared(folder, temporary, name, bytes, |file| file.lock())?;
    folder.sync()?;
    Ok(file)
}

fn put_prepared(
    folder: &dyn Folder,
    temporary: &str,
    name: &str,
    bytes: &[u8],
    prepare: impl FnOnce(&dyn DiskFile) -> Result<()>,
) -> Result<Arc<dyn DiskFile>> {
    // Never through a file that is there already: it may be a link to somebody else's.
    let file = match folder.open(temporary, Access::New) {
        Err(error) if error.source.kind() == ErrorKind::AlreadyExists => {
            folder.remove_file(temporary)?;
            folder.open(temporary, Access::New)?
        }
        file => file?,
    };
    let written = file.write_at(bytes, 0).and_then(|()| file.sync()).and_then(|()| prepare(&*file));
    let put = written.and_then(|()| folder.rename(temporary, name));
    if put.is_err() {
        // On a full disk it would stay for good where its name is not used again, as a topic's id is not.
        let _ = folder.remove_file(temporary);
    }
    put.map(|()| file)
}

/// The folder that holds the file `path`.
///
/// # Errors
/// When the folder does not exist.
pub fn folder_of(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn Folder>> {
    match path.parent() {
        // A name alone is a file of the folder that the process runs in.
        Some(folder) if !folder.as_os_str().is_empty() => disk.open_folder(folder),
        _ => disk.open_folder(Path::new(".")),
    }
}

/// All of a small file; `None` when it does not exist. Files over `size_max` bytes are cut there: no text file of a log
/// dir comes near it, and a reader of one never takes memory without bound.
///
/// # Errors
/// When the disk fails, or a pipe, device or folder has that name.
pub fn read_small(folder: &dyn Folder, name: &str, size_max: usize) -> Result<Option<Vec<u8>>> {
    match folder.open(name, Access::Read) {
        Ok(file) => read_file(&*file, &folder.path().join(name), size_max).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same by path.
///
/// # Errors
/// As [`read_small`].
pub fn read_small_at(disk: &dyn Disk, path: &Path, size_max: usize) -> Result<Option<Vec<u8>>> {
    match disk.open(path, Access::Read) {
        Ok(file) => read_file(&*file, path, size_max).map(Some),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// All of a small file that is open, as [`read_small`] reads it.
///
/// # Errors
/// As [`read_small`].
pub fn read_file(file: &dyn super::DiskFile, path: &Path, size_max: usize) -> Result<Vec<u8>> {
    let stat = file.stat()?;
    if !stat.is_file {
        let source = std::io::Error::new(ErrorKind::InvalidInput, "it is not a regular file");
        return Err(super::DiskError { doing: "read", path: path.to_owned(), source });
    }
    let mut bytes = vec![0; (stat.size as usize).min(size_max)];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}
