//! What an interrupted retention run, or a broker's interrupted cleaner, has left in a partition's folder.
//!
//! Retention renames the files of a segment to `….deleted` and then unlinks them. A cleaner (and a broker that splits a
//! segment of an old format) goes through these phases, of which a crash can leave any:
//! 1. The new segments are written as `….cleaned`. The old ones are all there: the new ones are thrown away.
//! 2. All of them are synced and renamed to `….swap`, the highest base offset first. As long as a `.cleaned` is left, the
//!    `.swap` files at or above the lowest such offset are thrown away as well: not all of the group is there.
//! 3. The segments that they replace are renamed to `….deleted`, then the `.swap` files get their final names. Whoever finds
//!    `.swap` files without a `.cleaned` finishes that: it removes what the offsets in them cover, and renames them.
//!
//! The writer does here what a broker does when it starts, and holds the new segments' checksums against their bytes before
//! it removes the old. A crash of ours leaves a state of the same list. Readers change nothing: a segment that stands as
//! `.log.swap` only is read under that name ([`segments`](super::segments)).
//! Source: `LogLoader.java`, `LocalLog.replaceSegments`.

use super::file_name::{CLEANED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, parse_segment_name, segment_path};
use super::recovery::Notice;
use super::scan::{Scanner, Step};
use super::segments::OpenLog;
use super::{Result, StorageError};
use crate::disk::{Access, Disk};
use crate::units::{Offset, Position};
use std::path::Path;

/// Bytes read at a time while a new segment is checked.
const CHUNK: usize = 256 << 10;

/// Finishes or undoes what was interrupted. To be called with the folder locked.
///
/// # Errors
/// When the disk fails, or a new segment is damaged: then the old ones stay.
pub(super) fn settle(disk: &dyn Disk, folder: &Path, notices: &mut Vec<Notice>) -> Result<()> {
    let names: Vec<String> =
        disk.list(folder)?.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name).collect();
    let of_suffix = |suffix| {
        let segment_file = move |name: &String| parse_segment_name(name.strip_suffix(suffix)?);
        names.iter().filter_map(move |name| Some((name.as_str(), segment_file(name)?)))
    };
    for name in names.iter().filter(|name| name.ends_with(DELETED_SUFFIX)) {
        remove(disk, &folder.join(name))?;
    }
    let lowest_cleaned = of_suffix(CLEANED_SUFFIX).map(|(_, (base, _))| base).min();
    let is_incomplete = |base: Offset| lowest_cleaned.is_some_and(|lowest| base >= lowest);
    let incomplete = of_suffix(SWAP_SUFFIX).filter(|&(_, (base, _))| is_incomplete(base));
    for (name, _) in of_suffix(CLEANED_SUFFIX).chain(incomplete) {
        remove(disk, &folder.join(name))?;
    }
    let swaps: Vec<(&str, (Offset, FileKind))> =
        of_suffix(SWAP_SUFFIX).filter(|&(_, (base, _))| !is_incomplete(base)).collect();
    if swaps.is_empty() {
        return Ok(());
    }
    let logs = swaps.iter().filter(|(_, (_, kind))| *kind == FileKind::Log);
    let covered =
        logs.map(|&(name, (base, _))| Ok(base..end_of(disk, folder, name, base)?)).collect::<Result<Vec<_>>>()?;
    if let Some(first) = covered.iter().map(|range| range.start).min() {
        let end = covered.iter().map(|range| range.end).max().unwrap_or(first);
        for name in &names {
            if parse_segment_name(name).is_some_and(|(base, _)| (first..end).contains(&base)) {
                remove(disk, &folder.join(name))?;
            }
        }
    }
    // The log last: as long as it is a `.swap`, its indexes are looked for again.
    for kind in FileKind::ALL {
        for &(name, (base, _)) in swaps.iter().filter(|(_, (_, it))| *it == kind) {
            disk.rename(&folder.join(name), &segment_path(folder, base, kind))?;
        }
    }
    disk.open_folder(folder)?.sync()?;
    notices.push(Notice::CompactionFinished { path: folder.to_owned() });
    Ok(())
}

/// The first offset behind a new segment, all of which is checked.
fn end_of(disk: &dyn Disk, folder: &Path, name: &str, base_offset: Offset) -> Result<Offset> {
    let path = folder.join(name);
    let log = OpenLog { base_offset, file: disk.open(&path, Access::Read)?, path };
    let mut scanner = Scanner::new(log, Position::ZERO, CHUNK)?;
    loop {
        match scanner.step()? {
            Step::Batch(header) if scanner.checksum_matches(&header)? => scanner.pass(&header),
            Step::Batch(_) => return Err(scanner.corrupt(scanner.checksum_error())),
            Step::Bad(problem) => return Err(scanner.corrupt(problem)),
            Step::End => return Ok(scanner.expected()),
        }
    }
}

fn remove(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.remove_file(path) {
        Err(error) if !error.is_not_found() => Err(StorageError::Disk(error)),
        _ => Ok(()),
    }
}
