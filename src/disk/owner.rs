//! Who owns files, and who may not use them.
//!
//! A log dir that several users share works as git's shared repositories do: what is made in a folder takes the folder's group
//! and its permissions for the group, whatever the umask is, and where root makes it, the folder's owner as well. So one
//! `sudo kdir produce` does not lock out the user whose log dir it is.

use super::DiskError;
use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{Access, Mode, access, fchmod, fchown, fstat, stat};
use rustix::process::{getegid, geteuid, getgroups};
use std::fmt;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const FOR_GROUP: u32 = 0o070;
const FOR_OTHERS: u32 = 0o007;
/// What a file that is no folder may have of the permissions of one.
const OF_FILES: u32 = 0o666;

/// Gives what was made in `folder` to whom the folder belongs, as far as the system lets this user: some file systems have
/// neither owners nor modes, and a user can give files only to groups of their own.
pub(super) fn hand_over(made: impl AsFd, folder: impl AsFd) -> rustix::io::Result<()> {
    let (stat, folder) = (fstat(&made)?, fstat(folder)?);
    let owner = (stat.st_uid != folder.st_uid && geteuid().is_root()).then_some(folder.st_uid);
    let group = (stat.st_gid != folder.st_gid).then_some(folder.st_gid);
    let (owner, group) = (owner.map(rustix::fs::Uid::from_raw), group.map(rustix::fs::Gid::from_raw));
    let is_given = (owner.is_none() && group.is_none()) || fchown(&made, owner, group).is_ok();
    let mode = Mode::from_raw_mode(stat.st_mode);
    let shared = Mode::from_raw_mode(mode_in(stat.st_mode, folder.st_mode, is_given));
    if shared != mode {
        let _ = fchmod(&made, shared);
    }
    Ok(())
}

/// The mode of what was made in a folder of that mode. Another group than the folder's gets nothing that the umask did not give.
fn mode_in(made: u32, folder: u32, is_of_same_group: bool) -> u32 {
    let is_folder = rustix::fs::FileType::from_raw_mode(made).is_dir();
    let offered = if is_folder { folder } else { folder & OF_FILES };
    let group = if is_of_same_group { offered } else { offered & made };
    made & !(FOR_GROUP | FOR_OTHERS) | group & FOR_GROUP | offered & made & FOR_OTHERS
}

/// Whether a file or folder belongs to root, whose files another user's broker cannot write to.
#[must_use]
pub fn is_roots(path: &Path) -> bool {
    stat(path).is_ok_and(|stat| stat.st_uid == 0)
}

/// Why the permissions of a file or folder do not let this user do something.
#[derive(Debug)]
pub struct Denied {
    path: PathBuf,
    owner: u32,
    group: u32,
    mode: u32,
}

/// Finds out why an operation was denied; `None` where it failed for something else.
#[must_use]
pub fn denied(error: &DiskError) -> Option<Denied> {
    if error.source.kind() != ErrorKind::PermissionDenied {
        return None;
    }
    let path = in_the_way(error);
    let stat = stat(path).ok()?;
    Some(Denied { path: path.to_owned(), owner: stat.st_uid, group: stat.st_gid, mode: stat.st_mode & 0o7777 })
}

/// The folder on the way that cannot be entered; else the file itself, or the folder that its name is in.
fn in_the_way(error: &DiskError) -> &Path {
    let path = &*error.path;
    let folders: Vec<&Path> = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()).collect();
    if let Some(closed) = folders.iter().rev().find(|folder| access(**folder, Access::EXEC_OK).is_err()) {
        return closed;
    }
    let changes_names = matches!(error.doing, "rename" | "remove") || stat(path).is_err();
    match folders.first() {
        Some(folder) if changes_names => folder,
        None if changes_names => Path::new("."),
        _ => path,
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let group = group_name(self.group);
        let is_member = getegid().as_raw() == self.group
            || getgroups().is_ok_and(|groups| groups.iter().any(|it| it.as_raw() == self.group));
        let (path, owner, me) = (self.path.display(), user_name(self.owner), user_name(geteuid().as_raw()));
        write!(f, "{path} is owned by {owner}:{group} with mode {:04o}, and you are {me}, ", self.mode)?;
        write!(f, "{} group {group}: ", if is_member { "in" } else { "not in" })?;
        write!(f, "run as {owner}, or change its owner, group or mode")
    }
}

fn user_name(id: u32) -> String {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| format!("uid {id}"), |user| user.name)
}

fn group_name(id: u32) -> String {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| format!("gid {id}"), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_has_the_folders_bits_for_its_group_and_no_more_than_them_for_others() {
        const FILE: u32 = 0o100_000;
        const FOLDER: u32 = 0o040_000;
        for (made, folder, is_of_same_group, expected) in [
            (FILE | 0o644, 0o2775, true, 0o664),
            (FILE | 0o600, 0o2775, true, 0o660),
            (FILE | 0o664, 0o755, true, 0o644),
            (FILE | 0o644, 0o700, true, 0o600),
            (FILE | 0o644, 0o2770, true, 0o660),
            (FILE | 0o644, 0o2775, false, 0o644),
            (FILE | 0o600, 0o2775, false, 0o600),
            (FOLDER | 0o2755, 0o2775, true, 0o2775),
            (FOLDER | 0o700, 0o775, true, 0o770),
            (FOLDER | 0o755, 0o750, true, 0o750),
        ] {
            let found = mode_in(made, FOLDER | folder, is_of_same_group) & 0o7777;
            assert_eq!(found, expected, "{made:o} in {folder:o}: {found:o}");
        }
    }
}
