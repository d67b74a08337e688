//! Replaces a small file so that a reader, and the next start after a crash, sees the old content or the new, whole.

use super::{Access, Disk, Result};
use std::path::Path;

/// Writes `bytes` to `temporary`, syncs it, renames it to `path` and syncs the folder of both.
///
/// A crash leaves the old file and perhaps a temporary one, which the next call overwrites; or the new file. The caller
/// holds the lock under which `temporary` has one writer.
///
/// # Errors
/// When the disk fails. The old file is then still there, unless the last step failed: the new one may be.
pub fn replace(disk: &dyn Disk, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    put(disk, temporary, path, bytes)?;
    disk.open_folder(folder_of(path))?.sync()
}

/// Does the same but for syncing the folder: the caller does, once for several files.
///
/// # Errors
/// When the disk fails. The old file is then still there, and the temporary one removed if that can be done.
pub fn put(disk: &dyn Disk, temporary: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let file = disk.open(temporary, Access::Create)?;
    let put = file
        .set_len(0)
        .and_then(|()| file.write_at(bytes, 0))
        .and_then(|()| file.sync())
        .and_then(|()| disk.rename(temporary, path));
    if put.is_err() {
        // On a full disk it would stay for good where its name is not used again, as a topic's id is not.
        let _ = disk.remove_file(temporary);
    }
    put
}

/// The folder that holds the file `path`.
#[must_use]
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        // A name alone is a file of the folder that the process runs in.
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// All of a small file; `None` when it does not exist. Files over `size_max` bytes are cut there: no text file of a log
/// dir comes near it, and a reader of one never takes memory without bound.
///
/// # Errors
/// When the disk fails.
pub fn read_small(disk: &dyn Disk, path: &Path, size_max: usize) -> Result<Option<Vec<u8>>> {
    let file = match disk.open(path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = (file.stat()?.size as usize).min(size_max);
    let mut bytes = vec![0; size];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}
