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

use super::file_name::{CLEANED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, parse_segment_name, segment_name};
use super::recovery::Notice;
use super::scan::{Scanner, Step};
use super::segments::OpenLog;
use super::{PartitionGuard, Result, clean};
use crate::disk::{Access, Folder};
use crate::units::{Offset, Position};

/// Bytes read at a time while a new segment is checked.
const CHUNK: usize = 256 << 10;

/// Finishes or undoes what was interrupted. Returns the offsets of a broker's snapshots of its producers.
///
/// # Errors
/// When the disk fails, or a new segment is damaged: then the old ones stay.
pub(super) fn settle(guard: &PartitionGuard, notices: &mut Vec<Notice>) -> Result<Vec<Offset>> {
    let folder = &**guard.folder();
    let names: Vec<String> =
        folder.list()?.into_iter().filter(|entry| !entry.is_folder).map(|entry| entry.name).collect();
    clean::remove_leftovers(guard, &names)?;
    let of_suffix = |suffix| {
        let segment_file = move |name: &String| parse_segment_name(name.strip_suffix(suffix)?);
        names.iter().filter_map(move |name| Some((name.as_str(), segment_file(name)?)))
    };
    for name in names.iter().filter(|name| name.ends_with(DELETED_SUFFIX)) {
        guard.remove(name)?;
    }
    let lowest_cleaned = of_suffix(CLEANED_SUFFIX).map(|(_, (base, _))| base).min();
    let is_incomplete = |base: Offset| lowest_cleaned.is_some_and(|lowest| base >= lowest);
    let incomplete = of_suffix(SWAP_SUFFIX).filter(|&(_, (base, _))| is_incomplete(base));
    for (name, _) in of_suffix(CLEANED_SUFFIX).chain(incomplete) {
        guard.remove(name)?;
    }
    let swaps: Vec<(&str, (Offset, FileKind))> =
        of_suffix(SWAP_SUFFIX).filter(|&(_, (base, _))| !is_incomplete(base)).collect();
    let segment_files = names.iter().filter_map(|name| parse_segment_name(name));
    let snapshots = segment_files.filter(|&(_, kind)| kind == FileKind::Snapshot).map(|(offset, _)| offset).collect();
    if swaps.is_empty() {
        return Ok(snapshots);
    }
    let logs = swaps.iter().filter(|(_, (_, kind))| *kind == FileKind::Log);
    let covered = logs.map(|&(name, (base, _))| Ok(base..end_of(folder, name, base)?)).collect::<Result<Vec<_>>>()?;
    if let Some(first) = covered.iter().map(|range| range.start).min() {
        let end = covered.iter().map(|range| range.end).max().unwrap_or(first);
        for name in &names {
            if parse_segment_name(name).is_some_and(|(base, _)| (first..end).contains(&base)) {
                guard.remove(name)?;
            }
        }
    }
    // The log last: as long as it is a `.swap`, its indexes are looked for again.
    for kind in FileKind::ALL {
        for &(name, (base, _)) in swaps.iter().filter(|(_, (_, it))| *it == kind) {
            guard.rename(name, &segment_name(base, kind))?;
        }
    }
    folder.sync()?;
    notices.push(Notice::CompactionFinished { path: folder.path().to_owned() });
    Ok(snapshots)
}

/// Removes a broker's snapshots above the log end, as a broker does when it loads the log: they describe producers whose
/// records are gone, and would be wrong once the log reaches their offset again.
pub(super) fn remove_snapshots_above(
    guard: &PartitionGuard,
    snapshots: &[Offset],
    log_end_offset: Offset,
) -> Result<()> {
    let above = snapshots.iter().filter(|&&offset| offset > log_end_offset);
    above.map(|&offset| segment_name(offset, FileKind::Snapshot)).try_for_each(|name| guard.remove(&name))
}

/// The first offset behind a new segment, all of which is checked.
fn end_of(folder: &dyn Folder, name: &str, base_offset: Offset) -> Result<Offset> {
    let log = OpenLog { base_offset, file: folder.open(name, Access::Read)?, path: folder.path().join(name) };
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
