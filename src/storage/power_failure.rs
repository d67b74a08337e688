//! What a power failure leaves of bytes that were not synced: damage anywhere above what was durable, with whole batches
//! after it, in that segment or the next.
//!
//! A sync makes everything before durable in order, and only then is a record acknowledged. So where the power failed while
//! a run was writing, nothing from the first damaged place on was ever acknowledged, and the log can be cut there: a run
//! that ended in order has left the point below which all is durable, which the damage must not be. That the machine was
//! started again is not guessed: no file from the damaged one on was changed since, and a copy is a change. Everything that
//! is cut is kept in the folder; if there is no room for that, nothing is cut. In a file that was changed since, or
//! below that point, damage is corruption and stays as it is; so does a whole batch, of whatever format.
//!
//! What is cut is copied first. Then the segments after the damage go, the last of them first of all, and the damaged one is
//! cut at the end: a crash leaves a copy too many, or a shorter log with the same damage, and the next opening goes on.

use super::file_name::{FileKind, cut_name, segment_name};
use super::recovery::{Notice, keep};
use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::segments::{self, OpenLog};
use super::{PartitionGuard, Result, StorageError};
use crate::disk::{Access, Folder};
use crate::format::header::NoBatch;
use crate::units::{Offset, Position};

/// Cuts the log where `damage` was found, if it lies above what was durable and the machine was started again since; else
/// returns it.
pub(super) fn cut(guard: &PartitionGuard, damage: StorageError, notices: &mut Vec<Notice>) -> Result<()> {
    let StorageError::Corrupt { path, position, offset, .. } = &damage else { return Err(damage) };
    let (folder, position) = (&**guard.folder(), *position);
    let bases = segments::base_offsets(folder)?;
    let damaged = bases.iter().position(|&base| folder.path().join(segment_name(base, FileKind::Log)) == *path);
    let Some(damaged) = damaged.filter(|_| *offset >= guard.checkpoints().acknowledged()) else { return Err(damage) };
    let log = OpenLog::open(folder, bases[damaged], Access::Write)?;
    if was_changed_since_boot(folder, &bases[damaged..])? || !is_damaged(&log, position, *offset)? {
        return Err(damage);
    }
    let bytes = log.file.stat()?.size.saturating_sub(position.0);
    let Some(kept_as) = keep(guard, &log, position)? else { return Err(damage) };
    folder.sync()?;
    for &base in bases[damaged + 1..].iter().rev() {
        keep_segment(guard, base, notices)?;
    }
    log.file.set_len(position.0)?;
    notices.push(Notice::TailCut { path: log.path, position, bytes, kept_as: Some(kept_as) });
    Ok(folder.sync()?)
}

/// By the time of the last change: a copy can have any time of modification.
fn was_changed_since_boot(folder: &dyn Folder, bases: &[Offset]) -> Result<bool> {
    let booted_ns = folder.booted_ms().saturating_mul(1_000_000);
    for &base in bases {
        // One that is gone by now was removed since.
        if folder.stat(&segment_name(base, FileKind::Log))?.is_none_or(|stat| stat.changed_ns >= booted_ns) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the batch at a position is damaged. Overlapping segments and batches of an unknown format are sound.
fn is_damaged(log: &OpenLog, position: Position, expected: Offset) -> Result<bool> {
    let mut scanner = Scanner::new(log.clone(), position, HEADER_CHUNK)?;
    scanner.go_to(position, expected);
    Ok(match scanner.step()? {
        Step::Batch(header) => !scanner.checksum_matches(&header)?,
        Step::Bad(problem) => !matches!(problem, NoBatch::Unknown { .. }),
        Step::End => false,
    })
}

/// Keeps a whole segment under the name of what is cut, and removes its indexes.
fn keep_segment(guard: &PartitionGuard, base: Offset, notices: &mut Vec<Notice>) -> Result<()> {
    let (folder, name) = (&**guard.folder(), segment_name(base, FileKind::Log));
    let kept = super::recovery::free_name(folder, &cut_name(base, Position::ZERO))?;
    let bytes = folder.stat(&name)?.map_or(0, |stat| stat.size);
    guard.rename(&name, &kept)?;
    for kind in FileKind::ALL.into_iter().filter(|&kind| kind != FileKind::Log) {
        guard.remove(&segment_name(base, kind))?;
    }
    let (path, kept_as) = (folder.path().join(name), Some(folder.path().join(kept)));
    notices.push(Notice::TailCut { path, position: Position::ZERO, bytes, kept_as });
    Ok(folder.sync()?)
}
