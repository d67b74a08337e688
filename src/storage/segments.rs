//! The segments of a partition as its folder lists them.

use super::Result;
use super::file_name::{DELETED_SUFFIX, FileKind, SWAP_SUFFIX, parse_segment_name, segment_name};
use crate::disk::{Access, DiskFile, FileId, Folder, Stat};
use crate::units::{Offset, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// A segment as the file system shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The offset in its name: at or below its first record's.
    pub base_offset: Offset,
    /// Bytes of its `.log`.
    pub size: u64,
    /// When the `.log` last changed.
    pub modified: Timestamp,
    /// Which file the `.log` is.
    pub id: FileId,
}

impl Segment {
    pub(crate) const fn new(base_offset: Offset, &Stat { size, modified_ms, id, .. }: &Stat) -> Self {
        Self { base_offset, size, modified: Timestamp(modified_ms), id }
    }
}

/// The base offsets of the segments in `folder`, rising; those that a broker's cleaner is about to put in the place of
/// others included.
///
/// # Errors
/// When the folder cannot be listed.
pub fn base_offsets(folder: &dyn Folder) -> Result<Vec<Offset>> {
    let (mut bases, is_in_motion) = listed(folder)?;
    if is_in_motion {
        // While files are being renamed, a list can show one under neither of its names.
        let before = std::mem::replace(&mut bases, listed(folder)?.0);
        for base in before {
            if let Err(place) = bases.binary_search(&base)
                && !stat_all(folder, &[base])?.is_empty()
            {
                bases.insert(place, base);
            }
        }
    }
    Ok(bases)
}

/// The base offsets that one list shows, and whether files are about to be removed.
fn listed(folder: &dyn Folder) -> Result<(Vec<Offset>, bool)> {
    let names = folder.list()?;
    let is_in_motion = names.iter().any(|entry| entry.name.ends_with(DELETED_SUFFIX));
    let logs = names
        .iter()
        .filter(|entry| !entry.is_folder)
        .filter_map(|entry| parse_segment_name(entry.name.strip_suffix(SWAP_SUFFIX).unwrap_or(&entry.name)));
    let mut bases: Vec<Offset> =
        logs.filter(|&(_, kind)| kind == FileKind::Log).map(|(base_offset, _)| base_offset).collect();
    bases.sort_unstable();
    bases.dedup();
    Ok((bases, is_in_motion))
}

/// Opens the `.log` of a segment to read; `None` where it is gone. One that a broker's cleaner has not yet given its
/// final name is read under the name that it has.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_log(folder: &dyn Folder, base_offset: Offset) -> Result<Option<OpenLog>> {
    for name in names_of(base_offset) {
        match folder.open(&name, Access::Read) {
            Ok(file) => return Ok(Some(OpenLog { base_offset, file, path: folder.path().join(name) })),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The names that the `.log` of a segment can have; the final one once more at the end, since it may be given in between.
fn names_of(base_offset: Offset) -> impl Iterator<Item = String> {
    let name = segment_name(base_offset, FileKind::Log);
    ["", SWAP_SUFFIX, ""].into_iter().map(move |suffix| format!("{name}{suffix}"))
}

/// The segments in `folder`, oldest first. One that goes while it is looked at is left out.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(folder: &dyn Folder) -> Result<Vec<Segment>> {
    stat_all(folder, &base_offsets(folder)?)
}

/// The segments of `folder` that begin at these offsets. One that is gone is left out.
pub(crate) fn stat_all(folder: &dyn Folder, bases: &[Offset]) -> Result<Vec<Segment>> {
    let mut segments = Vec::with_capacity(bases.len());
    for &base_offset in bases {
        for name in names_of(base_offset) {
            if let Some(stat) = folder.stat(&name)? {
                segments.push(Segment::new(base_offset, &stat));
                break;
            }
        }
    }
    Ok(segments)
}

/// The place of the segment that holds `offset`: the last one whose base is not above it; the first where all are.
#[must_use]
pub fn holding(bases: &[Offset], offset: Offset) -> usize {
    bases.partition_point(|&base| base <= offset).saturating_sub(1)
}

/// A `.log` that is open.
#[derive(Clone)]
pub(crate) struct OpenLog {
    pub(crate) base_offset: Offset,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
}

impl OpenLog {
    /// Opens the `.log` of a segment by its final name.
    pub(crate) fn open(folder: &dyn Folder, base_offset: Offset, access: Access) -> Result<Self> {
        let name = segment_name(base_offset, FileKind::Log);
        let file = folder.open(&name, access)?;
        Ok(Self { base_offset, file, path: folder.path().join(name) })
    }

    /// The name that it was opened by.
    pub(crate) fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).expect("a segment's file has a name of digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_held_by_the_last_segment_that_starts_at_or_below_it() {
        let bases = [Offset(5), Offset(10), Offset(20)];
        for (offset, place) in [(5, 0), (9, 0), (10, 1), (19, 1), (20, 2), (1000, 2), (0, 0)] {
            assert_eq!(holding(&bases, Offset(offset)), place, "{offset}");
        }
    }
}
