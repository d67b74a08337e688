//! Takes bytes out of a log, and puts empty batches in the place of records that are given up.
//!
//! Every change of a `.log` is one rename, of a file that was synced, after what is taken out was kept and its name made
//! durable. In the order in which a crash can leave them:
//! 1. `repair-<base offset>` is there, whole or not: the next repair overwrites it, nothing reads it.
//! 2. Some or all of the `cut-*` files are there and the log is the old one: the same findings, and the next repair keeps the
//!    bytes once more.
//! 3. The log is the new one, its indexes are those of the old one: entries that the batches contradict are believed by
//!    nobody, and are findings of their own.
//! 4. Offsets that one segment cannot hold are filled by segments of their own, rising: the first of them are there. What is
//!    not filled yet is still reported, as missing or as an end below the claim that was not reached yet.
//! 5. Of a segment that is set aside some indexes are gone, and its log is there: it overlaps as before.
//!
//! No log ends lower than a claim because of any of these: a claim is only lowered, before, where it is out of reach (see
//! [`REACH`](super::REACH)).

use super::super::file_name::{DAMAGED_SUFFIX, FileKind, cut_name, segment_name};
use super::super::recovery::free_name;
use super::super::segments::OpenLog;
use super::super::{PartitionGuard, Result, leader_epochs};
use crate::disk::DiskFile;
use crate::format::batch;
use crate::format::checkpoint::LeaderEpochRow;
use crate::storage::check::Loss;
use crate::units::{Offset, Position};
use std::ops::Range;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// One contiguous range of bytes that is taken out of a segment, and the offsets that empty batches take in its place.
struct Splice {
    bytes: Range<u64>,
    fills: Vec<Range<i64>>,
}

/// The splices of all losses in a segment of that size: those that touch are one, so that what is taken out of one place is
/// kept in one file.
fn splices(losses: &[Loss], size: u64) -> Vec<Splice> {
    let clipped = |position: Position| position.0.min(size);
    let mut splices: Vec<Splice> = Vec::new();
    for loss in losses {
        splices.push(Splice { bytes: clipped(loss.bytes.start)..clipped(loss.bytes.end), fills: Vec::new() });
        let fill = |(at, fill): &(Position, Range<Offset>)| Splice {
            bytes: clipped(*at)..clipped(*at),
            fills: std::iter::once(fill.start.0..fill.end.0).collect(),
        };
        splices.extend(loss.fills.iter().map(fill));
    }
    splices.sort_by_key(|it| (it.bytes.start, it.bytes.end));
    let mut merged: Vec<Splice> = Vec::new();
    for splice in splices {
        match merged.last_mut() {
            Some(last) if splice.bytes.start <= last.bytes.end => {
                last.bytes.end = last.bytes.end.max(splice.bytes.end);
                last.fills.extend(splice.fills);
            }
            _ => merged.push(splice),
        }
    }
    for splice in &mut merged {
        splice.fills.sort_by_key(|fill| (fill.start, fill.end));
        splice.fills = joined(&splice.fills);
    }
    merged
}

/// The same offsets in ranges that neither touch nor overlap.
fn joined(fills: &[Range<i64>]) -> Vec<Range<i64>> {
    let mut joined: Vec<Range<i64>> = Vec::new();
    for fill in fills {
        match joined.last_mut() {
            Some(last) if fill.start <= last.end => last.end = last.end.max(fill.end),
            _ => joined.push(fill.clone()),
        }
    }
    joined
}

/// Writes a segment again without what `losses` name, and puts it in the place of the old one. Offsets at its end that it
/// cannot hold get segments of their own, whose base offsets are returned.
pub(super) fn rewrite(
    guard: &PartitionGuard,
    log: &OpenLog,
    losses: &[Loss],
    epochs: &[LeaderEpochRow],
) -> Result<Vec<Offset>> {
    let size = log.file.stat()?.size;
    let (folder, temporary) = (&**guard.folder(), temporary(log.base_offset));
    let new = guard.create(&temporary)?;
    new.set_len(0)?;
    let (mut written, mut at, mut beyond) = (0, 0, None);
    for splice in splices(losses, size) {
        written += copy(&*log.file, at..splice.bytes.start, &*new, written)?;
        let is_end = splice.bytes.end == size;
        for fill in &splice.fills {
            // What follows in the segment is already where no index entry leads to.
            let (mut within, rest) = if is_end { split(log.base_offset, fill) } else { (fill.clone(), 0..0) };
            while let (part, left) = split(Offset(within.start), &within)
                && let Some(batch) = empty(&part, epochs)
            {
                new.write_at(&batch, written)?;
                written += batch.len() as u64;
                within = left;
            }
            beyond = Some(rest).filter(|rest| !rest.is_empty());
        }
        if !splice.bytes.is_empty() {
            let kept = free_name(folder, &cut_name(log.base_offset, Position(splice.bytes.start)))?;
            let kept = guard.create(&kept)?;
            copy(&*log.file, splice.bytes.clone(), &*kept, 0)?;
            kept.sync()?;
        }
        at = splice.bytes.end;
    }
    copy(&*log.file, at..size, &*new, written)?;
    new.sync()?;
    // What was kept has its name before the original loses its own.
    folder.sync()?;
    guard.rename(&temporary, log.name())?;
    folder.sync()?;
    beyond.map_or(Ok(Vec::new()), |beyond| fill_segments(guard, beyond, epochs))
}

/// Makes segments of one empty batch each that take these offsets.
fn fill_segments(guard: &PartitionGuard, mut lost: Range<i64>, epochs: &[LeaderEpochRow]) -> Result<Vec<Offset>> {
    let mut bases = Vec::new();
    while !lost.is_empty() {
        let base = Offset(lost.start);
        let (within, rest) = split(base, &lost);
        make_log(guard, base, &within, epochs)?;
        bases.push(base);
        lost = rest;
    }
    Ok(bases)
}

/// Makes the log of a segment whose records are lost: an empty batch takes their offsets.
pub(super) fn make_log(
    guard: &PartitionGuard,
    base: Offset,
    lost: &Range<i64>,
    epochs: &[LeaderEpochRow],
) -> Result<()> {
    let temporary = temporary(base);
    let new = guard.create(&temporary)?;
    new.set_len(0)?;
    if let Some(batch) = empty(lost, epochs) {
        new.write_at(&batch, 0)?;
    }
    new.sync()?;
    guard.rename(&temporary, &segment_name(base, FileKind::Log))?;
    Ok(guard.folder().sync()?)
}

/// Keeps a whole segment under the name of what is cut, and its other files as damaged ones. Its log goes last: as long as
/// that is there, so is the segment.
pub(super) fn set_aside(guard: &PartitionGuard, base: Offset) -> Result<()> {
    for kind in FileKind::ALL {
        let name = segment_name(base, kind);
        if guard.folder().stat(&name)?.is_none() {
            continue;
        }
        let kept = match kind {
            FileKind::Log => cut_name(base, Position::ZERO),
            _ => format!("{name}{DAMAGED_SUFFIX}"),
        };
        guard.rename(&name, &free_name(&**guard.folder(), &kept)?)?;
    }
    Ok(guard.folder().sync()?)
}

fn temporary(base: Offset) -> String {
    format!("repair-{:020}", base.0)
}

/// What of these offsets a segment at `base` can hold, and the rest.
fn split(base: Offset, lost: &Range<i64>) -> (Range<i64>, Range<i64>) {
    let end = lost.end.min(base.0.saturating_add(i64::from(i32::MAX) + 1)).max(lost.start);
    (lost.start..end, end..lost.end)
}

/// The empty batch that takes these offsets; `None` where there are none.
fn empty(lost: &Range<i64>, epochs: &[LeaderEpochRow]) -> Option<Vec<u8>> {
    let epoch = leader_epochs::epoch_at(epochs, Offset(lost.start));
    (!lost.is_empty()).then(|| batch::empty(Offset(lost.start), Offset(lost.end - 1), epoch).to_vec())
}

fn copy(from: &dyn DiskFile, bytes: Range<u64>, to: &dyn DiskFile, position: u64) -> Result<u64> {
    let mut piece = vec![0; CHUNK.min((bytes.end.saturating_sub(bytes.start)) as usize)];
    let mut at = bytes.start;
    while at < bytes.end {
        let wanted = piece.len().min((bytes.end - at) as usize);
        let read = from.read_at(&mut piece[..wanted], at)?;
        if read == 0 {
            break;
        }
        to.write_at(&piece[..read], position + at - bytes.start)?;
        at += read as u64;
    }
    Ok(at - bytes.start)
}
