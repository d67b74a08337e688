//! Puts a compacted segment in the place of those that it was made from.
//!
//! All of it happens under the guard, and the caller has seen that every segment is what was read. What a crash
//! leaves after each step:
//! 1. `compacting-…` becomes `….cleaned`: the old segments count, and the next writer removes the new files.
//! 2. `….cleaned` becomes `….swap`: as long as one `.cleaned` is left, the same. From then on the new segment counts; who
//!    loads the log next, a broker as well, removes what its offsets cover. It ends where the old ones did, so that is all
//!    of them.
//! 3. The old files become `….deleted`, and the new ones get their names, the `.log` last.
//!
//! The folder is synced between the steps, since a file system may make the names of one step durable before those of the
//! step before. Source: `LocalLog.replaceSegments`, and [`leftovers`](crate::storage::leftovers).

use super::output::Written;
use super::source::Source;
use crate::disk::{Access, DiskFile};
use crate::storage::file_name::{CLEANED_SUFFIX, DELETED_SUFFIX, FileKind, SWAP_SUFFIX, compacting_name, segment_name};
use crate::storage::{PartitionGuard, Result, StorageError};
use std::sync::Arc;

/// Segments that have no name any more. Their space is freed when this is dropped, which takes long where they are large, and
/// needs no guard.
#[must_use]
pub struct Replaced {
    _logs: Vec<Arc<dyn DiskFile>>,
}

/// Puts `new` in the place of `old`.
pub(super) fn swap(guard: &PartitionGuard, old: &[Source], new: Written) -> Result<Replaced> {
    let folder = &**guard.folder();
    let has = |kind: &FileKind| match kind {
        FileKind::Snapshot => false,
        FileKind::TransactionIndex => new.has_transaction_index,
        FileKind::Log | FileKind::OffsetIndex | FileKind::TimeIndex => true,
    };
    let named = |suffix: &'static str| move |name: String| format!("{name}{suffix}");
    let name = |kind| segment_name(new.base_offset, kind);
    let (cleaned, swapped, deleted) = (named(CLEANED_SUFFIX), named(SWAP_SUFFIX), named(DELETED_SUFFIX));
    let kinds = || FileKind::ALL.into_iter().filter(has);
    for kind in kinds() {
        guard.rename(&compacting_name(new.base_offset, kind), &cleaned(name(kind)))?;
    }
    folder.sync()?;
    for kind in kinds() {
        guard.rename(&cleaned(name(kind)), &swapped(name(kind)))?;
    }
    folder.sync()?;
    let mut gone = Vec::new();
    for source in old {
        let base = source.segment.base_offset;
        for kind in FileKind::ALL.into_iter().filter(|&kind| kind != FileKind::Snapshot || base != new.base_offset) {
            let from = segment_name(base, kind);
            let to = deleted(from.clone());
            match guard.rename(&from, &to) {
                Err(StorageError::Disk(error)) if error.is_not_found() => {}
                renamed => {
                    renamed?;
                    gone.push(to);
                }
            }
        }
    }
    for kind in kinds() {
        guard.rename(&swapped(name(kind)), &name(kind))?;
    }
    folder.sync()?;
    // Where one cannot be opened, its space is freed here.
    let open = |source: &Source| {
        folder.open(&deleted(segment_name(source.segment.base_offset, FileKind::Log)), Access::Read).ok()
    };
    let replaced = Replaced { _logs: old.iter().filter_map(open).collect() };
    gone.iter().try_for_each(|name| guard.remove(name))?;
    Ok(replaced)
}
