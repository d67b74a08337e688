//! What a test sets to fail, by the number of the operation.

use super::FaultyDisk;
use std::path::Path;

#[derive(Clone, Default)]
pub(super) struct Faults {
    pub(super) fail_once_at: Option<u64>,
    pub(super) fail_from: Option<u64>,
    pub(super) crash_at: Option<u64>,
    pub(super) lose_write_backs_at: Option<u64>,
    /// Bytes; without it there is room for everything.
    pub(super) space_left: Option<u64>,
}

impl FaultyDisk {
    /// Lets operation `n` fail, and only it. It changes nothing, but of a write any first part may be written.
    pub fn fail_once_at(&self, n: u64) {
        self.state().faults.fail_once_at = Some(n);
    }

    /// Lets operation `n` and all later ones fail. Reads go on.
    pub fn fail_from(&self, n: u64) {
        self.state().faults.fail_from = Some(n);
    }

    /// Lets the machine crash in operation `n`: it and everything after it, reads included, fails
    /// ([`is_crash`](super::is_crash)). Of a write any first part may be written. Nothing is counted from then on;
    /// [`FaultyDisk::crash`] tells what is left.
    pub fn crash_at(&self, n: u64) {
        self.state().faults.crash_at = Some(n);
    }

    /// Lets the disk be full after `bytes` more. A file takes the space up to its last written byte, so that a new file
    /// and a larger size take none; cutting a file and removing its last name give space back.
    pub fn space_left(&self, bytes: u64) {
        self.state().faults.space_left = Some(bytes);
    }

    /// Lets what was written to the file at `path` and not synced be lost by the kernel's own write-back: it is seen as
    /// before, and no sync makes it durable. The next sync of each open handle fails, those of later handles do not.
    ///
    /// # Panics
    /// When the file does not exist.
    pub fn lose_write_back(&self, path: impl AsRef<Path>) {
        let mut state = self.state();
        let inode = state.inode_at(path.as_ref()).expect("the test names a file that exists");
        state.file(inode).lose_write_back();
    }

    /// Does the same to every file just before operation `n`, like a disk that fails for a moment while the kernel writes
    /// back on its own.
    pub fn lose_write_backs_at(&self, n: u64) {
        self.state().faults.lose_write_backs_at = Some(n);
    }

    /// Takes back all faults that have not struck, and gives a full disk space. A crash stays a crash.
    pub fn disarm(&self) {
        self.state().faults = Faults::default();
    }
}

#[cfg(test)]
mod tests {
    use super::super::is_crash;
    use super::super::tests::{content, disk_with, kind, p};
    use super::*;
    use crate::disk::{Access, Disk};
    use std::collections::BTreeSet;
    use std::io::ErrorKind;

    #[test]
    fn one_failure_is_one_failure() {
        let (disk, file) = disk_with("/f", b"");
        disk.fail_once_at(2);
        file.write_at(b"a", 0).unwrap();
        let error = file.sync().unwrap_err();
        assert_eq!((error.doing, is_crash(&error)), ("sync", false));
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"", "the sync that failed did nothing");
        file.sync().unwrap();
        assert_eq!(content(&disk.crash(0), "/f").unwrap(), b"", "the next one lies");
        assert_eq!(disk.trace(), ["write /f 1 bytes at 0", "sync /f", "sync /f"]);
    }

    #[test]
    fn a_persistent_failure_stays_until_it_is_disarmed_and_leaves_reads_alone() {
        let (disk, file) = disk_with("/f", b"kept");
        disk.fail_from(2);
        file.set_len(3).unwrap();
        assert!(file.sync().is_err() && file.set_len(0).is_err() && disk.create_folder(p("/g")).is_err());
        assert!(disk.open(p("/h"), Access::Create).is_err() && disk.remove_file(p("/f")).is_err());
        assert_eq!((content(&disk, "/f").unwrap(), disk.list(p("/")).unwrap().len()), (b"kep".to_vec(), 1));
        disk.disarm();
        file.sync().unwrap();
    }

    #[test]
    fn a_failing_write_leaves_any_first_part() {
        let mut kinds = BTreeSet::new();
        let mut sizes = BTreeSet::new();
        for (seed, crash) in (0..100).zip([true, false].into_iter().cycle()) {
            let disk = FaultyDisk::with_seed(seed);
            let file = disk.open(p("/f"), Access::Create).unwrap();
            if crash {
                disk.crash_at(2)
            } else {
                disk.fail_once_at(2)
            };
            let error = file.write_at(b"12345", 0).unwrap_err();
            assert_eq!((is_crash(&error), file.stat().is_err()), (crash, crash));
            kinds.insert(format!("{:?}", error.source.kind()));
            let left = content(&disk.kill(), "/f").unwrap();
            assert!(b"12345".starts_with(&left));
            sizes.insert(left.len());
        }
        assert_eq!(sizes, (0..=5).collect());
        assert_eq!(kinds, ["Other", "StorageFull"].map(String::from).into());
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_gives_space_back() {
        let (disk, file) = disk_with("/f", b"1234");
        disk.space_left(3);
        file.write_at(b"4321", 0).unwrap();
        file.set_len(1000).unwrap();
        let other = disk.open(p("/g"), Access::Create).unwrap();
        assert_eq!(kind(other.write_at(b"abcde", 0)), Some(ErrorKind::StorageFull));
        assert_eq!(content(&disk, "/g").unwrap(), b"abc");
        assert_eq!(kind(file.write_at(b"5", 4)), Some(ErrorKind::StorageFull));
        other.set_len(2).unwrap();
        file.write_at(b"5", 4).unwrap();
        assert_eq!(kind(file.write_at(b"6", 5)), Some(ErrorKind::StorageFull));
        disk.rename(p("/g"), p("/h")).unwrap();
        assert_eq!(kind(file.write_at(b"6", 5)), Some(ErrorKind::StorageFull), "a rename frees nothing");
        disk.remove_file(p("/h")).unwrap();
        file.write_at(b"67", 5).unwrap();
        assert_eq!(kind(file.write_at(b"8", 7)), Some(ErrorKind::StorageFull));
    }
}
