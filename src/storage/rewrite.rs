//! Writes bytes again that a failed write-back may have left in the page cache alone, and sees that they are on the disk.
//!
//! To write over the cached pages is not enough: ext4 takes the blocks of a write-back that failed for written, and a later
//! write into them never makes them so; after the cache is gone they read as zeros, though every sync has succeeded. So each
//! piece is read into memory, its clean pages are dropped from the cache, and it is written from memory: what the file
//! system knows of the place is then what the disk has. Pieces are aligned, so that no page that is dropped holds bytes
//! outside the piece. At the end the file is synced, the cache dropped once more, and every checksum compared with what
//! comes back.

use super::file_name::{FileKind, segment_name};
use super::scan::{Scanner, Step};
use super::segments::OpenLog;
use super::{PartitionGuard, Result, StorageError};
use crate::disk::DiskFile;
use crate::format::crc::Checksum;
use crate::units::{Offset, Position};
use std::ops::Range;

/// Larger than any page that a cache has, and a multiple of each.
const PIECE: u64 = 4 << 20;

/// Makes the batches from `start`, where one begins, up to `end` durable.
pub(super) fn make_durable(log: &OpenLog, start: Position, end: Position) -> Result<()> {
    write_again(&*log.file, start.0..end.0)?;
    log.file.sync()?;
    log.file.drop_cache(start.0, end - start)?;
    check(log, start, end)
}

/// Makes the indexes of a segment durable, whoever wrote their entries: a write-back that was lost may have taken some, and
/// below the recovery point missing ones are never looked for.
///
/// # Errors
/// When the disk fails, or does not give back what was written.
pub fn make_indexes_durable(guard: &PartitionGuard, base_offset: Offset) -> Result<()> {
    [FileKind::OffsetIndex, FileKind::TimeIndex]
        .into_iter()
        .try_for_each(|kind| make_index_durable(guard, base_offset, kind))
}

fn make_index_durable(guard: &PartitionGuard, base_offset: Offset, kind: FileKind) -> Result<()> {
    let name = segment_name(base_offset, kind);
    let file = guard.create(&name)?;
    let size = file.stat()?.size;
    let written = write_again(&*file, 0..size)?;
    file.sync()?;
    file.drop_cache(0, size)?;
    let mut found = Checksum::crc32c();
    for_each_piece(&*file, 0..size, &mut |_, piece| {
        found.update(piece);
        Ok(())
    })?;
    if found.finish() == written {
        return Ok(());
    }
    Err(StorageError::NotDurable {
        path: guard.folder().path().join(name),
        position: Position::ZERO,
        offset: base_offset,
    })
}

/// Writes the pieces that hold these bytes again, from memory. Returns their checksum.
fn write_again(file: &dyn DiskFile, bytes: Range<u64>) -> Result<u32> {
    let mut written = Checksum::crc32c();
    for_each_piece(file, bytes, &mut |at, piece| {
        file.drop_cache(at, piece.len() as u64)?;
        file.write_at(piece, at)?;
        written.update(piece);
        Ok(())
    })?;
    Ok(written.finish())
}

fn for_each_piece(
    file: &dyn DiskFile,
    bytes: Range<u64>,
    action: &mut dyn FnMut(u64, &[u8]) -> Result<()>,
) -> Result<()> {
    let mut piece = vec![0; PIECE.min(bytes.end) as usize];
    let mut at = bytes.start / PIECE * PIECE;
    while at < bytes.end {
        let size = PIECE.min(bytes.end - at) as usize;
        let read = file.read_at(&mut piece[..size], at)?;
        action(at, &piece[..read])?;
        at += PIECE;
    }
    Ok(())
}

fn check(log: &OpenLog, start: Position, end: Position) -> Result<()> {
    let mut scanner = Scanner::new(log.clone(), start, PIECE as usize / 16)?;
    while scanner.position() < end {
        match scanner.step()? {
            Step::Batch(header) if scanner.checksum_matches(&header)? => scanner.pass(&header),
            _ => {
                let (path, position, offset) = (log.path.clone(), scanner.position(), scanner.expected());
                return Err(StorageError::NotDurable { path, position, offset });
            }
        }
    }
    Ok(())
}
