//! What a crash leaves, of a disk and of a file, and what the death of the processes leaves.

use super::FaultyDisk;
use super::faults::Faults;
use super::file_node::{FileChange, FileNode, PAGE_SIZE, pages_of};
use super::kept::Kept;
use super::locks::Locks;
use super::random::Random;
use super::state::{ROOT, State};
use std::collections::BTreeSet;

impl FaultyDisk {
    /// The disk as it is found when the power is back: what is durable, and by the seed some of what is not. With seed 0
    /// nothing else: the worst case of a program that does not sync. The new disk is apart from this one, has no faults
    /// and no locks, and counts from 0.
    #[must_use]
    pub fn crash(&self, seed: u64) -> Self {
        let state = self.state();
        let mut random = Random(seed);
        let mut found = State { last_number: state.last_number, clock_ms: state.clock_ms, ..State::default() };
        (found.boot, found.booted_ms) = (state.boot + 1, Some(state.clock_ms + 1));
        found.clock_ms += 1;
        let mut reached = vec![ROOT];
        while let Some(inode) = reached.pop() {
            if let Some(folder) = state.folders.get(&inode) {
                found.folders.entry(inode).or_insert_with(|| {
                    let entries = if seed == 0 { folder.durable.clone() } else { folder.some_first_part(&mut random) };
                    reached.extend(entries.values());
                    Kept::durable(entries, folder.modified_ms)
                });
            } else if let Some(file) = found.files.get_mut(&inode) {
                file.links += 1;
            } else {
                let content = &state.files[&inode].content.without_lost();
                let bytes = if seed == 0 { content.durable.clone() } else { after_crash(content, &mut random) };
                found.files.insert(inode, FileNode::durable(bytes, content.modified_ms, 1));
            }
        }
        found.random = random;
        Self::of(found)
    }

    /// The disk as it is found when only the processes died: all that was written is seen, though what was not synced can
    /// still be lost to a later crash. The new disk is apart from this one, has no faults and no locks, and counts from 0.
    #[must_use]
    pub fn kill(&self) -> Self {
        let mut state = self.state().clone();
        (state.faults, state.crashed) = (Faults::default(), false);
        (state.open_count, state.open_max) = (0, None);
        state.locks = Locks::default();
        state.reset_counts();
        Self::of(state)
    }
}

/// What a crash leaves of a file.
fn after_crash(content: &Kept<Vec<u8>>, random: &mut Random) -> Vec<u8> {
    match random.below(4) {
        0 => content.durable.clone(),
        1 => content.now.clone(),
        2 => content.some_first_part(random),
        _ => with_holes(content, random),
    }
}

/// The size is there, but of the pages that were written only some: in place of the others stands what was there before,
/// or zeros where the file had ended, as file systems leave it that write sizes ahead of data.
fn with_holes(content: &Kept<Vec<u8>>, random: &mut Random) -> Vec<u8> {
    let mut bytes = content.durable.clone();
    let mut pages = BTreeSet::new();
    for change in &content.unsynced {
        match change {
            FileChange::Write { position, bytes } => {
                pages.extend(pages_of(*position, bytes.len()));
            }
            // What was cut off does not come back where the file then grew again.
            FileChange::SetLen(size) => bytes.truncate(*size),
        }
    }
    bytes.resize(content.now.len(), 0);
    for page in pages {
        let (start, end) = (page * PAGE_SIZE, ((page + 1) * PAGE_SIZE).min(bytes.len()));
        if start < end && random.below(2) == 0 {
            bytes[start..end].copy_from_slice(&content.now[start..end]);
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::is_crash;
    use super::super::tests::{content, disk_with, p};
    use super::*;
    use crate::disk::{Access, Disk, Result, atomic};

    fn replace(disk: &FaultyDisk, bytes: &[u8]) -> Result<()> {
        atomic::replace(&*disk.open_folder(p("/"))?, "f.tmp", "f", bytes)
    }

    /// Every content of a file that one of many crashes leaves.
    fn found_after_crashes(disk: &FaultyDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
        (0..500).map(|seed| content(&disk.crash(seed), path)).collect()
    }

    #[test]
    fn a_crash_keeps_what_was_synced_and_may_lose_or_tear_the_rest() {
        let (disk, file) = disk_with("/f", b"kept");
        file.write_at(b"one", 4).unwrap();
        file.write_at(b"two", 7).unwrap();
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"kept", "seed 0 keeps nothing else");
        let found: BTreeSet<_> = found_after_crashes(&disk, "/f").into_iter().map(Option::unwrap).collect();
        assert!(found.iter().all(|bytes| bytes.starts_with(b"kept")));
        let whole = b"keptonetwo";
        for size in 4..=whole.len() {
            assert!(found.contains(&whole[..size]), "{size} bytes, in {found:?}");
        }
        assert!(found.contains(&b"kept\0\0\0\0\0\0"[..]), "the size without the data, in {found:?}");
        assert_eq!(content(&disk.crash(7), "/f"), content(&disk.crash(7), "/f"), "a seed is a crash");
        file.sync().unwrap();
        assert_eq!(found_after_crashes(&disk, "/f"), BTreeSet::from([Some(whole.to_vec())]));
    }

    #[test]
    fn holes_are_whole_pages_and_what_was_cut_does_not_come_back() {
        let (disk, file) = disk_with("/f", &[1; 2 * PAGE_SIZE]);
        file.set_len(100).unwrap();
        file.write_at(&[2; 4 * PAGE_SIZE], 100).unwrap();
        let inode = file.stat().unwrap().id.inode;
        let state = disk.state();
        let kept = &state.files[&inode].content;
        let found: BTreeSet<_> = (0..200).map(|seed| with_holes(kept, &mut Random(seed))).collect();
        assert_eq!(found.len(), 1 << 5, "five pages, each there or not");
        for bytes in found {
            assert_eq!(bytes.len(), 100 + 4 * PAGE_SIZE);
            assert_eq!(bytes[..100], [1; 100]);
            let pages = std::iter::once(&bytes[100..PAGE_SIZE]).chain(bytes[PAGE_SIZE..].chunks(PAGE_SIZE));
            assert!(pages.into_iter().all(|page| [0, 2].contains(&page[0]) && page.iter().all(|b| *b == page[0])));
        }
    }

    #[test]
    fn unsynced_names_survive_a_crash_as_a_first_part_in_order() {
        let (disk, _file) = disk_with("/a", b"A");
        disk.create_folder(p("/folder")).unwrap();
        disk.rename(p("/a"), p("/b")).unwrap();
        disk.rename(p("/b"), p("/c")).unwrap();
        let names = |disk: FaultyDisk| disk.list(p("/")).unwrap().into_iter().map(|e| e.name).collect::<Vec<_>>();
        let found: BTreeSet<_> = (0..200).map(|seed| names(disk.crash(seed))).collect();
        let expected = [&["a"][..], &["a", "folder"], &["b", "folder"], &["c", "folder"]];
        assert_eq!(found, expected.iter().map(|names| names.iter().map(ToString::to_string).collect()).collect());
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        assert!((0..200).all(|seed| names(disk.crash(seed)) == ["c", "folder"]));
    }

    #[test]
    fn a_synced_name_says_nothing_of_content_and_synced_content_nothing_of_the_name() {
        let disk = FaultyDisk::new();
        let write = |path| {
            let file = disk.open(p(path), Access::Create).unwrap();
            file.write_at(b"bytes", 0).unwrap();
            file
        };
        write("/name");
        disk.open_folder(p("/")).unwrap().sync().unwrap();
        write("/content").sync().unwrap();
        let found = disk.crash(0);
        assert_eq!(content(&found, "/name").unwrap(), b"");
        assert_eq!(content(&found, "/content"), None);
    }

    #[test]
    fn a_removed_file_comes_back_when_its_folder_was_not_synced() {
        let (disk, file) = disk_with("/f", b"kept");
        disk.remove_file(p("/f")).unwrap();
        assert_eq!(file.stat().unwrap().links, 0);
        let back = disk.crash(0).open(p("/f"), Access::Read).unwrap().stat().unwrap();
        assert_eq!((back.id, back.size, back.links), (file.stat().unwrap().id, 4, 1));
        assert_eq!(found_after_crashes(&disk, "/f"), BTreeSet::from([None, Some(b"kept".to_vec())]));
    }

    #[test]
    fn replacing_a_file_is_atomic_at_every_crash_and_failure() {
        let (disk, _file) = disk_with("/f", b"old");
        replace(&disk.kill(), b"new!").unwrap();
        for n in 1..=6 {
            let crashing = disk.kill();
            crashing.crash_at(n);
            let error = replace(&crashing, b"new!").err();
            assert_eq!(error.is_some_and(|error| is_crash(&error)), n < 6, "{:?}", crashing.trace());
            assert_eq!(crashing.operations(), n.min(5));
            let found = found_after_crashes(&crashing, "/f");
            let may_be = BTreeSet::from([Some(b"old".to_vec()), Some(b"new!".to_vec())]);
            assert!(found.is_subset(&may_be), "{n}: {found:?}");
        }
    }

    #[test]
    fn a_kill_keeps_everything_written_but_makes_nothing_durable() {
        let (disk, file) = disk_with("/f", b"kept");
        file.write_at(b" and written", 4).unwrap();
        disk.crash_at(2);
        assert!(is_crash(&file.sync().unwrap_err()));
        let found = disk.kill();
        assert_eq!(content(&found, "/f").unwrap(), b"kept and written");
        assert_eq!(found.operations(), 0);
        assert_eq!(content(&found.crash(0), "/f").unwrap(), b"kept");
    }
}
