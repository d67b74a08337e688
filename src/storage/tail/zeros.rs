//! Zeros up to the end of a file: preallocation, as a rule, and by the gigabyte.

use crate::disk::DiskFile;
use crate::format::header::BATCH_HEADER_SIZE;
use crate::storage::Result;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// The first bytes that are read where zeros are looked for: most ends are not zero, and show it at once.
pub(super) const FIRST_CHUNK: usize = 4 << 10;

/// Zeros that were found at the end of an open file, so that they are not read again each time a batch is written into
/// them.
///
/// What was zero may have changed since, but only by a writer that appends in order: its first bytes are then at the place
/// that is asked about, where they are read each time. A file that has become shorter is read again in full.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct KnownZeros {
    start: u64,
    end: u64,
}

impl KnownZeros {
    /// Whether the bytes of `file` from `position` to `size` are zero.
    pub(crate) fn reach(&mut self, file: &dyn DiskFile, position: u64, size: u64) -> Result<bool> {
        let is_known = self.start <= position && position < self.end && self.end <= size;
        let mut from = position;
        if is_known {
            let mut head = [0; BATCH_HEADER_SIZE];
            let read = file.read_at(&mut head[..BATCH_HEADER_SIZE.min((size - position) as usize)], position)?;
            if first_nonzero_in(&head[..read]).is_some() {
                return Ok(false);
            }
            from = self.end;
        }
        if first_nonzero(file, from, size)?.is_some() {
            return Ok(false);
        }
        *self = Self { start: if is_known { self.start } else { position }, end: size };
        Ok(true)
    }
}

/// The position of the first byte from `at` up to `size` that is not zero. Holes are skipped unread.
pub(super) fn first_nonzero(file: &dyn DiskFile, mut at: u64, size: u64) -> Result<Option<u64>> {
    let mut piece = Vec::new();
    let mut chunk = FIRST_CHUNK;
    while at < size {
        at = file.next_data(at)?;
        let wanted = chunk.min(size.saturating_sub(at) as usize);
        piece.resize(piece.len().max(wanted), 0);
        let read = file.read_at(&mut piece[..wanted], at)?;
        if read == 0 {
            break;
        }
        if let Some(found) = first_nonzero_in(&piece[..read]) {
            return Ok(Some(at + found as u64));
        }
        at += read as u64;
        chunk = (chunk * 8).min(CHUNK);
    }
    Ok(None)
}

fn first_nonzero_in(bytes: &[u8]) -> Option<usize> {
    // A block is folded without a branch, by vector instructions; only the one that is not zero is searched.
    const BLOCK: usize = 1024;
    let block = bytes.chunks(BLOCK).position(|block| block.iter().fold(0, |all, &byte| all | byte) != 0)?;
    let start = block * BLOCK;
    bytes[start..].iter().position(|&byte| byte != 0).map(|within| start + within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::faulty::FaultyDisk;
    use crate::disk::{Access, Disk};
    use std::path::Path;

    #[test]
    fn zeros_beyond_those_that_are_known_are_read() {
        let disk = FaultyDisk::new();
        let file = disk.open(Path::new("/log"), Access::Create).unwrap();
        file.write_at(&[0; 5000], 0).unwrap();
        disk.keep_no_holes();
        let mut known = KnownZeros::default();
        assert!(known.reach(&*file, 100, 5000).unwrap());
        file.write_at(&[1], 6000).unwrap();
        assert!(!known.reach(&*file, 200, 6001).unwrap(), "what the file has grown by");
        assert!(known.reach(&*file, 300, 6000).unwrap());
        file.write_at(&[1], 340).unwrap();
        assert!(!known.reach(&*file, 300, 6000).unwrap(), "where the next batch begins");
        file.write_at(&[1], 50).unwrap();
        assert!(!known.reach(&*file, 40, 6000).unwrap(), "before the place that was asked about first");
        file.set_len(5500).unwrap();
        file.write_at(&[1], 5499).unwrap();
        assert!(!known.reach(&*file, 400, 5500).unwrap(), "a file that has become shorter");
    }
}
