//! How far a run has come since it replaced its cursor file: a file beside that one, written in place before each chunk of
//! output and never synced.
//!
//! To replace the cursor file takes syncs of the log and of the file, too long for every chunk. What is only written outlives
//! a killed process, and that is all that this file is for: it counts until the machine is started again, and only beside
//! the very file that the run had kept, unchanged. A run that ends in order removes it.
//!
//! ```text
//! 1 6c0d9a8e-… 1234567 1700000000000000000 57 5f3a0c11     version, boot, inode and change time of the cursor file,
//! 1                                                        length and CRC-32C of what follows: the text of a cursor file
//! 1
//! app 0 1234 sB3mXqCLQ8yF8tBTuXwGpA
//! ```

use crate::disk::{self, Access, DiskFile, Folder, Stat, atomic};
use crate::format::crc::crc32c;
use std::sync::Arc;

/// The file is open.
pub(super) struct CursorMark {
    file: Arc<dyn DiskFile>,
    /// What a line begins with that speaks of the cursor file as it is now.
    of: String,
}

/// As long as a name may be.
const NAME_MAX: usize = 255;

/// A name that no file of the user's has; `None` where it would be too long.
fn name(cursor_file: &str) -> Option<String> {
    Some(format!(".{cursor_file}.kdir.mark")).filter(|name| name.len() <= NAME_MAX)
}

/// `None` where the system does not say which start of the machine this is.
fn begin(folder: &dyn Folder, cursor_file: &Stat) -> Option<String> {
    let boot = folder.boot();
    (!boot.is_nil()).then(|| format!("1 {boot} {} {}", cursor_file.id.inode, cursor_file.changed_ns))
}

impl CursorMark {
    /// Makes it beside a cursor file of that name; `None` where it cannot be known later what it is worth.
    /// The caller holds the lock on the cursor file.
    pub(super) fn make(folder: &dyn Folder, cursor_file: &str, stat: &Stat) -> disk::Result<Option<Self>> {
        let Some((of, name)) = begin(folder, stat).zip(name(cursor_file)) else { return Ok(None) };
        remove(folder, cursor_file)?;
        Ok(Some(Self { file: folder.open(&name, Access::New)?, of }))
    }

    /// What it says of a run that has come to the positions of `text`.
    pub(super) fn line(&self, text: &str) -> String {
        format!("{} {} {:08x}\n{text}", self.of, text.len(), crc32c(text.as_bytes()))
    }

    /// Says that.
    pub(super) fn write(&self, line: &str) -> disk::Result<()> {
        self.file.write_at(line.as_bytes(), 0)
    }
}

/// The text that a killed run has left, if it is worth anything.
pub(super) fn left(
    folder: &dyn Folder,
    cursor_file: &str,
    stat: &Stat,
    size_max: usize,
) -> disk::Result<Option<Vec<u8>>> {
    let Some(name) = name(cursor_file) else { return Ok(None) };
    // Nothing but a file was left by a run.
    if folder.stat(&name)?.is_none_or(|stat| !stat.is_file) {
        return Ok(None);
    }
    let Some(bytes) = atomic::read_small(folder, &name, size_max)? else { return Ok(None) };
    Ok(begin(folder, stat).and_then(|of| parse(&bytes, &of)).map(<[u8]>::to_vec))
}

fn parse<'a>(bytes: &'a [u8], of: &str) -> Option<&'a [u8]> {
    let end = memchr::memchr(b'\n', bytes)?;
    let rest = std::str::from_utf8(&bytes[..end]).ok()?.strip_prefix(of)?.strip_prefix(' ')?;
    let (length, crc) = rest.split_once(' ')?;
    // After it there may be the end of a longer one.
    let text = bytes[end + 1..].get(..length.parse().ok()?)?;
    (u32::from_str_radix(crc, 16) == Ok(crc32c(text))).then_some(text)
}

/// Removes it, or the one of a run before. The caller holds the lock on the cursor file.
pub(super) fn remove(folder: &dyn Folder, cursor_file: &str) -> disk::Result<()> {
    match name(cursor_file) {
        // On a file system that is not to be written, to remove nothing is an error.
        Some(name) if folder.stat(&name)?.is_some() => folder.remove_file(&name),
        _ => Ok(()),
    }
}
