//! A file: its bytes, and the pages that hold them.

use super::kept::{Changes, Kept};
use super::random::Random;
use std::collections::BTreeSet;
use std::ops::Range;

/// What a crash writes whole or not at all.
pub(super) const PAGE_SIZE: usize = 512;

#[derive(Clone)]
pub(super) enum FileChange {
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

#[derive(Clone)]
pub(super) struct FileNode {
    pub(super) content: Kept<Vec<u8>>,
    pub(super) links: u64,
    /// Up to where it takes space.
    pub(super) written_end: u64,
    /// How often a write-back was lost.
    pub(super) losses: u64,
    /// Cached pages that no write makes durable any more, since the file system takes their blocks for written.
    pub(super) stale: BTreeSet<usize>,
}

impl FileNode {
    /// A file that is durable, with as many names.
    pub(super) fn durable(bytes: Vec<u8>, modified_ms: i64, links: u64) -> Self {
        let written_end = bytes.len() as u64;
        Self { content: Kept::durable(bytes, modified_ms), links, written_end, losses: 0, stale: BTreeSet::new() }
    }

    /// Makes durable what was written, but for stale pages: the disk keeps what it has there.
    pub(super) fn sync(&mut self) {
        let page_of = |bytes: &[u8], page: usize| {
            let mut kept = bytes.get(page * PAGE_SIZE..).unwrap_or_default().to_vec();
            kept.resize(PAGE_SIZE, 0);
            (page * PAGE_SIZE, kept)
        };
        let kept: Vec<_> = self.stale.iter().map(|&page| page_of(&self.content.durable, page)).collect();
        self.content.sync();
        for (start, bytes) in kept {
            let end = (start + PAGE_SIZE).min(self.content.durable.len());
            if start < end {
                self.content.durable[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
    }

    /// Lets no sync make durable what was written and not synced.
    pub(super) fn lose_write_back(&mut self) {
        for change in &self.content.unsynced {
            if let FileChange::Write { position, bytes } = change {
                self.stale.extend(pages_of(*position, bytes.len()));
            }
        }
        self.content.lost = self.content.unsynced.len();
        self.losses += 1;
    }

    /// Of stale pages, what the disk has takes the place of what was seen, and writes reach the disk again. Pages that wait
    /// to be written stay.
    pub(super) fn drop_cache(&mut self, position: u64, size: u64) {
        let dirty = self.content.without_lost();
        for page in pages_of(position as usize, size as usize) {
            if self.stale.remove(&page) {
                let bytes = page * PAGE_SIZE..((page + 1) * PAGE_SIZE).min(self.content.now.len());
                for at in bytes {
                    self.content.now[at] = dirty.now.get(at).copied().unwrap_or(0);
                }
            }
        }
    }
}

/// The pages that these bytes touch.
pub(super) fn pages_of(position: usize, size: usize) -> Range<usize> {
    position / PAGE_SIZE..(position + size).div_ceil(PAGE_SIZE)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{content, disk_with, p};
    use super::*;
    use crate::disk::{Access, Disk};

    #[test]
    fn what_a_lost_write_back_left_is_durable_only_when_dropped_from_the_cache_and_written_again() {
        let (disk, file) = disk_with("/f", b"kept");
        file.write_at(b"lost", 4).unwrap();
        let other = disk.open(p("/f"), Access::Read).unwrap();
        disk.lose_write_back("/f");
        let later = disk.open(p("/f"), Access::Read).unwrap();
        assert!(
            file.sync().is_err() && other.sync().is_err() && later.sync().is_ok(),
            "handles opened before the loss report it"
        );
        assert!(file.sync().is_ok(), "once");
        assert_eq!(content(&disk, "/f").unwrap(), b"keptlost");
        file.write_at(b"lost", 4).unwrap();
        file.sync().unwrap();
        assert_ne!(content(&disk.crash(0), "/f").unwrap(), b"keptlost", "the place is still taken for written");
        file.drop_cache(0, 8).unwrap();
        assert_ne!(content(&disk, "/f").unwrap(), b"keptlost", "what the disk has is seen");
        file.write_at(b"lost", 4).unwrap();
        file.sync().unwrap();
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"keptlost");
    }

    #[test]
    fn pages_of_zeros_are_holes() {
        let (_disk, file) = disk_with("/f", b"head");
        let page = PAGE_SIZE as u64;
        file.write_at(b"data", 4 * page + 100).unwrap();
        file.set_len(8 * page).unwrap();
        for (from, expected) in [
            (0, 0..page),
            (4, 4..page),
            (page, 4 * page..5 * page),
            (4 * page + 102, 4 * page + 102..5 * page),
            (5 * page, 8 * page..8 * page),
            (8 * page, 8 * page..8 * page),
            (9 * page, 9 * page..9 * page),
        ] {
            assert_eq!(file.next_data(from).unwrap(), expected, "{from}");
        }
    }
}
