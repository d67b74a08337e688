//! The lock file of a group: which members are alive, and which of them has which partition.
//!
//! `GROUP.group` in the folder of partition 0 of a topic; it goes with the topic, and brokers of 2.8 to 4.3 pass it over. What
//! counts are exclusive locks on ranges of its bytes, which fall when a member dies:
//!
//! | bytes | locked |
//! | --- | --- |
//! | `s` below 2^16 | a member has slot `s` |
//! | `s` from 2^16 to 2^17 | one that has chosen its partitions itself |
//! | 2^31 | somebody makes the first states of a work queue |
//! | from 2^32 + `p` 2^17 on, `s` + 1 of them | the member in slot `s` has partition `p` |
//! | from 2^62 on | records of a work queue that are being handled: see [`Claims`](super::Claims) |
//!
//! The ranges of a partition all begin with the same byte, so that they exclude each other, and the length of one names its
//! slot: a lock of this kind does not tell whose it is. What the file holds, from 256 (`s` + 1) on, is text about the member in
//! slot `s`, which is true while the slot is locked.

use super::{GroupError, Result};
use crate::disk::{self, Access, DiskFile, Folder};
use crate::logdir::LogDirError;
use crate::storage::PartitionGuard;
use crate::storage::file_name::GROUP_SUFFIX;
use crate::units::{GroupId, TopicName};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use twox_hash::XxHash3_128;

/// The slots of members: of those that share what there is, and behind them of those that have chosen their partitions.
const SLOTS: Range<u64> = 0..1 << 17;
pub(super) const SHARING_SLOTS: Range<u64> = 0..1 << 16;
pub(super) const MANUAL_SLOTS: Range<u64> = 1 << 16..1 << 17;
/// Where the ranges of partitions begin, and how far apart they are.
const OWNERS_FROM: u64 = 1 << 32;
const OWNERS_EACH: u64 = 1 << 17;
const TEXT_SIZE: u64 = 256;
/// A file name has at most 255 bytes.
const NAME_MAX: usize = 240;

/// A member that is alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its slot.
    pub slot: u64,
    /// What it says of itself: `PID HOST`.
    pub text: String,
    /// How it works, of a worker of a queue; empty of others.
    pub note: String,
}

impl Member {
    /// Whether it has chosen its partitions itself.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        is_manual(self.slot)
    }
}

/// Whether a slot is one of a member that has chosen its partitions itself.
pub(super) const fn is_manual(slot: u64) -> bool {
    slot >= MANUAL_SLOTS.start
}

/// The lock file of a group, open.
pub struct LockFile {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) folder: Arc<dyn Folder>,
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl LockFile {
    /// The name of a group's file: its id, with all but `a-z A-Z 0-9 . _ -` as `%` and two hexadecimal digits. Of an id that is
    /// too long for that, a hash.
    #[must_use]
    pub fn name(group: &GroupId) -> String {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        let name: String = group.as_str().bytes().map(encode).collect();
        if name.len() <= NAME_MAX {
            return name + GROUP_SUFFIX;
        }
        format!("%{:032x}{GROUP_SUFFIX}", XxHash3_128::oneshot(group.as_str().as_bytes()))
    }

    /// The names of the lock files in a folder on which a member has a slot, or somebody keeps members out.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn held_in(folder: &Arc<dyn Folder>) -> Result<Vec<String>> {
        let mut held = Vec::new();
        for entry in folder.list().map_err(LogDirError::from)? {
            if entry.is_folder || !entry.name.ends_with(GROUP_SUFFIX) {
                continue;
            }
            match folder.open(&entry.name, Access::Read) {
                Err(error) if error.is_not_found() => {}
                file => {
                    let file = file.map_err(LogDirError::from)?;
                    if file.locked_range(SLOTS).map_err(LogDirError::from)?.is_some() {
                        held.push(entry.name);
                    }
                }
            }
        }
        Ok(held)
    }

    /// The group that a lock file is of, by its name. A group whose id is too long for a name goes by that of its file.
    ///
    /// # Panics
    /// Where there is no name.
    #[must_use]
    pub fn group_of(name: &str) -> GroupId {
        let mut parts = name.strip_suffix(GROUP_SUFFIX).unwrap_or(name).split('%');
        let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
        for part in parts {
            let (digits, rest) = part.split_at_checked(2).unwrap_or((part, ""));
            bytes.extend(u8::from_str_radix(digits, 16).ok());
            bytes.extend_from_slice(rest.as_bytes());
        }
        let id = String::from_utf8(bytes).ok().and_then(|id| id.parse().ok());
        id.filter(|id| Self::name(id) == name).unwrap_or_else(|| name.parse().expect("a file has a name"))
    }

    /// Opens it to look who is there; `None` where there is none, and so nobody.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn look(folder: &Arc<dyn Folder>, group: &GroupId) -> Result<Option<Self>> {
        match folder.open(&Self::name(group), Access::Read) {
            Err(error) if error.is_not_found() => Ok(None),
            file => Ok(Some(Self::of(folder, group, file.map_err(LogDirError::from)?))),
        }
    }

    /// Opens it to take locks, and makes it where it is missing.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn open(guard: &PartitionGuard, group: &GroupId) -> Result<Self> {
        let file = guard.folder().open(&Self::name(group), Access::Create).map_err(LogDirError::from)?;
        // Others wait for its locks when this process dies.
        let file = file.under_a_high_number().unwrap_or(file);
        Ok(Self::of(guard.folder(), group, file))
    }

    /// Removes its name, for who keeps members out: one that comes finds that its file has none, and makes another.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn remove(&self, guard: &PartitionGuard) -> Result<()> {
        Ok(guard.folder().remove_file(&self.name).map_err(LogDirError::from)?)
    }

    fn of(folder: &Arc<dyn Folder>, group: &GroupId, file: Arc<dyn DiskFile>) -> Self {
        let name = Self::name(group);
        Self { file, folder: Arc::clone(folder), path: folder.path().join(&name), name }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a file whose locks may be seen by this machine only.
    ///
    /// # Errors
    /// That its file system is such a one, or that the disk fails.
    pub(super) fn refuse_shared_file_system(&self) -> Result<()> {
        match self.folder.shared_file_system().map_err(LogDirError::from)? {
            None => Ok(()),
            Some(file_system) => Err(GroupError::SharedFileSystem { path: self.path.clone(), file_system }),
        }
    }

    /// Whether its name still leads to it: not where the topic was deleted.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn is_named(&self) -> Result<bool> {
        let is_named = || -> disk::Result<bool> {
            let here = self.folder.stat(&self.name)?.map(|stat| stat.id);
            Ok(self.folder.is_named()? && here == Some(self.file.stat()?.id))
        };
        Ok(is_named().map_err(LogDirError::from)?)
    }

    /// Why its name does not lead to it any more: the topic was deleted, or only this file.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn why_unnamed(&self, topic: &TopicName) -> Result<GroupError> {
        if self.folder.is_named().map_err(LogDirError::from)? {
            return Ok(GroupError::LockFileRemoved { path: self.path.clone() });
        }
        Ok(LogDirError::TopicDeleted { topic: topic.clone() }.into())
    }

    /// Takes the lowest of these slots that is free, and says there what `text` says: a line of who it is, and one of how it
    /// works. `None` where members are kept out.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn take_slot(&self, slots: Range<u64>, text: &str) -> Result<Option<u64>> {
        let take = || -> disk::Result<Option<u64>> {
            for slot in slots {
                let range = slot..slot + 1;
                if self.file.try_lock_range(range.clone())? {
                    let mut bytes = text.as_bytes()[..text.len().min(TEXT_SIZE as usize - 1)].to_vec();
                    bytes.resize(TEXT_SIZE as usize, b'\n');
                    self.file.write_at(&bytes, TEXT_SIZE * (slot + 1))?;
                    return Ok(Some(slot));
                }
                // One lock on many slots is of who keeps members out.
                if self.file.locked_range(range)?.is_some_and(|held| held.end - held.start > 1) {
                    return Ok(None);
                }
            }
            Ok(None)
        };
        Ok(take().map_err(LogDirError::from)?)
    }

    /// Takes a partition for the member in a slot, if nobody has it.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn take_owner(&self, partition: i32, slot: u64) -> Result<bool> {
        let from = owners_of(partition).start;
        Ok(self.file.try_lock_range(from..from + slot + 1).map_err(LogDirError::from)?)
    }

    /// Gives a partition up.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn unlock_owner(&self, partition: i32) -> Result<()> {
        Ok(self.file.unlock_range(owners_of(partition)).map_err(LogDirError::from)?)
    }

    /// The slot of another member that has a partition.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn owner(&self, partition: i32) -> Result<Option<u64>> {
        let held = self.file.locked_range(owners_of(partition)).map_err(LogDirError::from)?;
        Ok(held.map(|held| held.end - held.start - 1))
    }

    /// The members that are alive, but for who has this file open, by slot.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn members(&self) -> Result<Vec<Member>> {
        let mut slots = Vec::new();
        // What the kernel answers is any range of those in the way: those before and behind it are asked for in turn.
        let mut ranges = vec![SLOTS];
        while let Some(range) = ranges.pop() {
            let Some(found) = self.file.locked_range(range.clone()).map_err(LogDirError::from)? else { continue };
            let found = found.start.max(range.start)..found.end.min(range.end);
            slots.push(found.start);
            ranges.extend([range.start..found.start, found.end..range.end].into_iter().filter(|it| !it.is_empty()));
        }
        slots.sort_unstable();
        slots.into_iter().map(|slot| self.member(slot)).collect()
    }

    fn member(&self, slot: u64) -> Result<Member> {
        let mut bytes = [0; TEXT_SIZE as usize];
        let read = self.file.read_at(&mut bytes, TEXT_SIZE * (slot + 1)).map_err(LogDirError::from)?;
        let mut lines = bytes[..read].split(|&byte| byte == b'\n' || byte == 0);
        let mut line = || String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
        Ok(Member { slot, text: line(), note: line() })
    }

    /// Keeps members out for as long as this file is open.
    ///
    /// # Errors
    /// When there are some, who are named.
    pub(super) fn exclude_members(&self, group: &GroupId) -> Result<()> {
        if self.file.try_lock_range(SLOTS).map_err(LogDirError::from)? {
            return Ok(());
        }
        let members = self.members()?.into_iter().map(|member| member.text).collect();
        Err(GroupError::HasMembers { group: group.clone(), members })
    }
}

/// The bytes of a partition's owners.
const fn owners_of(partition: i32) -> Range<u64> {
    let from = OWNERS_FROM + partition as u64 * OWNERS_EACH;
    from..from + OWNERS_EACH
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;
    use crate::disk::faulty::FaultyDisk;
    use crate::disk::real::RealDisk;
    use std::path::Path;

    #[test]
    fn a_name_is_one_in_a_folder() {
        let name = |id: &str| LockFile::name(&id.parse().unwrap());
        assert_eq!(name("billing"), "billing.group");
        assert_eq!(name("../é %"), "..%2F%C3%A9%20%25.group");
        assert!(name(&"x".repeat(240)).len() == 246 && name(&"x".repeat(241)).len() == 39);
        for id in ["billing", "../é %", "%41", "100%"] {
            assert_eq!(LockFile::group_of(&name(id)).as_str(), id);
        }
        let hashed = name(&"x".repeat(241));
        for other in [&hashed[..], "%4x.group", "%.group", ".group", "%61.group"] {
            assert_eq!(LockFile::group_of(other).as_str(), other);
        }
    }

    fn members_are_seen_in(disk: &dyn Disk, folder: &Path) {
        let folder = disk.open_folder(folder).unwrap();
        let group = "g".parse().unwrap();
        let open = || LockFile::of(&folder, &group, folder.open("g.group", Access::Create).unwrap());
        let (one, other, eye) = (open(), open(), open());
        let slots = |file: &LockFile| file.members().unwrap().iter().map(|it| it.slot).collect::<Vec<_>>();
        for slot in [3, 7, MANUAL_SLOTS.start + 1] {
            assert!(one.file.try_lock_range(slot..slot + 1).unwrap());
        }
        assert!(other.file.try_lock_range(0..1).unwrap());
        assert!(!other.file.try_lock_range(7..8).unwrap());
        other.file.write_at(b"4711 web1\n", TEXT_SIZE).unwrap();
        assert_eq!(slots(&eye), [0, 3, 7, MANUAL_SLOTS.start + 1]);
        assert_eq!(eye.members().unwrap()[0].text, "4711 web1");
        assert!(eye.members().unwrap()[3].is_manual());
        assert_eq!(slots(&other), [3, 7, MANUAL_SLOTS.start + 1]);
        let group = "g".parse().unwrap();
        assert!(
            matches!(eye.exclude_members(&group), Err(GroupError::HasMembers { members, .. }) if members.len() == 4)
        );
        drop((one, other));
        eye.exclude_members(&group).unwrap();
        // To whoever looks it is one lock on all slots.
        assert_eq!(slots(&open()), [0]);
    }

    #[test]
    fn members_are_seen_and_kept_out() {
        let disk = FaultyDisk::new();
        members_are_seen_in(&disk, Path::new("/"));
        let folder = tempfile::tempdir().unwrap();
        members_are_seen_in(&RealDisk::default(), folder.path());
    }
}
