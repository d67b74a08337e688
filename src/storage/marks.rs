//! Marks of runs whose bytes may not be durable: the files `unsynced-<uuid>` in a partition's folder.
//!
//! Linux reports a failed write-back once per open file and calls the pages clean after it, so a process that syncs later
//! learns nothing of what an earlier one wrote in vain. And the one that is told may be a `sync` that is not ours, or may
//! die of it. So the mark is written ahead: before a run's first append, whatever its sync policy, its mark is there; its
//! owner removes it after a last sync that succeeded. Who opens the log to write, or comes to a segment that
//! another has begun, looks for the marks of others: from the smallest of their offsets on it reads whole batches, writes
//! them again ([`rewrite`](super::rewrite)), and only then may its own sync vouch for them. Bytes that were written
//! since through a descriptor that it had open before need no such care: the kernel tells every open descriptor.
//!
//! A mark is not synced: the lie lasts as long as the page cache. One of an earlier boot says nothing that recovery from
//! the recovery point does not find out, and is dropped after it.
//!
//! ```text
//! 1 00000000000000001234 6c0d9a8e-… 0000012345 5f3a0c11\n      version, offset, boot, process, CRC-32C of what is before
//! ```
//! The owner holds an exclusive lock on the file, which falls when it dies: such a mark is removed by the one who has
//! written its bytes again and synced them. One that cannot be read counts from offset 0.

use super::{PartitionGuard, Result};
use crate::disk::{Access, DiskFile, Folder, atomic};
use crate::format::crc::crc32c;
use crate::units::Offset;
use std::sync::Arc;
use uuid::Uuid;

const PREFIX: &str = "unsynced-";
/// A larger file is none of ours.
const SIZE_MAX: usize = 256;

/// The mark of this run.
pub(super) struct Mark {
    file: Arc<dyn DiskFile>,
    name: String,
    boot: Uuid,
}

impl Mark {
    /// Makes it: all below `durable` is durable for certain.
    pub(super) fn make(guard: &PartitionGuard, durable: Offset) -> Result<Self> {
        let (folder, name) = (&**guard.folder(), format!("{PREFIX}{}", Uuid::new_v4()));
        let mark = Self { file: folder.open(&name, Access::New)?, boot: folder.boot(), name };
        let made = mark.file.lock().map_err(Into::into).and_then(|()| mark.write(durable));
        if made.is_err() {
            // One that is left without content would make every reader and writer begin at offset 0.
            let _ = guard.remove(&mark.name);
        }
        made.map(|()| mark)
    }

    /// The name of its file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says that all below `durable` is durable by now.
    pub(super) fn write(&self, durable: Offset) -> Result<()> {
        Ok(self.file.write_at(print(durable, self.boot).as_bytes(), 0)?)
    }

    /// Removes it: all that the run has written is durable.
    pub(super) fn remove(&self, guard: &PartitionGuard) -> Result<()> {
        guard.remove(&self.name)
    }
}

fn print(durable: Offset, boot: Uuid) -> String {
    let text = format!("1 {:020} {boot} {:010}", durable.0, std::process::id());
    format!("{text} {:08x}\n", crc32c(text.as_bytes()))
}

/// Offset and boot of a mark; `None` where it holds something else.
fn parse(bytes: &[u8]) -> Option<(Offset, Uuid)> {
    let (text, crc) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    let mut parts = text.split(' ');
    let (version, offset, boot) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    (version == "1" && u32::from_str_radix(crc, 16) == Ok(crc32c(text.as_bytes()))).then_some((Offset(offset), boot))
}

/// The marks of others in a folder.
#[derive(Debug, Default)]
pub(super) struct OthersMarks {
    /// The smallest offset of those that may speak of bytes which are not durable; `None` without any.
    pub(super) from: Option<Offset>,
    /// Those whose process has ended.
    pub(super) left: Vec<String>,
}

impl OthersMarks {
    /// Finds them. The folder is guarded, so that no mark is half made.
    pub(super) fn find(guard: &PartitionGuard, own: Option<&Mark>) -> Result<Self> {
        let folder = &**guard.folder();
        let mut found = Self::default();
        for entry in folder.list()?.into_iter().filter(|it| !it.is_folder && it.name.starts_with(PREFIX)) {
            if own.is_some_and(|own| own.name == entry.name) {
                continue;
            }
            let file = match folder.open(&entry.name, Access::Read) {
                Err(error) if error.is_not_found() => continue,
                file => file?,
            };
            let bytes = atomic::read_file(&*file, &folder.path().join(&entry.name), SIZE_MAX)?;
            let smaller = |known: Option<Offset>, offset| Some(known.map_or(offset, |known: Offset| known.min(offset)));
            match parse(&bytes) {
                Some((_, boot)) if boot != folder.boot() => {}
                Some((offset, _)) => found.from = smaller(found.from, offset),
                None => found.from = Some(Offset::ZERO),
            }
            if file.try_lock()? {
                found.left.push(entry.name);
            }
        }
        Ok(found)
    }
}

/// The offset from which on a log may hold bytes that are not durable, whatever a sync says; `None` where there are none.
///
/// # Errors
/// When the disk fails.
pub fn unsynced_from(folder: &dyn Folder) -> Result<Option<Offset>> {
    let mut from = None;
    for entry in folder.list()?.into_iter().filter(|it| !it.is_folder && it.name.starts_with(PREFIX)) {
        let Some(bytes) = atomic::read_small(folder, &entry.name, SIZE_MAX)? else { continue };
        let offset = match parse(&bytes) {
            Some((_, boot)) if boot != folder.boot() => continue,
            Some((offset, _)) => offset,
            None => Offset::ZERO,
        };
        from = Some(from.map_or(offset, |from: Offset| from.min(offset)));
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_no_part_of_one_is() {
        let boot = Uuid::from_u128(7);
        let text = print(Offset(1234), boot);
        assert_eq!(parse(text.as_bytes()), Some((Offset(1234), boot)));
        for size in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..size]), None, "{size}");
        }
        assert_eq!(parse(text.replace("1234", "1235").as_bytes()), None);
    }
}
