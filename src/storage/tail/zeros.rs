//! Zeros up to the end of a file: preallocation, as a rule, and by the gigabyte.

use crate::disk::DiskFile;
use crate::format::header::BATCH_HEADER_SIZE;
use crate::storage::Result;
use std::ops::Range;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// The first bytes that are read where zeros are looked for: most ends are not zero, and show it at once.
pub(super) const FIRST_CHUNK: usize = 4 << 10;
/// In how many ranges data is looked for; what follows the last of them is read whole.
const RANGES_MAX: usize = 64;

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
pub(super) fn first_nonzero(file: &dyn DiskFile, at: u64, size: u64) -> Result<Option<u64>> {
    // Where the file system is asked, it may look at each page up to the next hole.
    let start = size.min(at + FIRST_CHUNK as u64);
    let first = first_nonzero_within(file, at..start)?;
    if first.is_some() {
        return Ok(first);
    }
    let ranges = data_ranges(file, start, size)?;
    for data in &ranges {
        if let Some(found) = first_nonzero_within(file, data.clone())? {
            return Ok(Some(found));
        }
    }
    // What was allocated and never written is a hole only as long as it is not cached. What reading ahead has cached of it is
    // dropped: it would be read the next time, and more be cached behind it.
    let starts = ranges.iter().skip(1).map(|data| data.start).chain([size]);
    for (data, next) in ranges.iter().zip(starts).filter(|(data, next)| data.end < *next) {
        file.drop_cache(data.end, next - data.end)?;
    }
    Ok(None)
}

/// What may be other than zero from `at` up to `size`, as it is before any of it is read.
fn data_ranges(file: &dyn DiskFile, mut at: u64, size: u64) -> Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    while at < size && ranges.len() < RANGES_MAX {
        let data = file.next_data(at)?;
        at = if ranges.len() + 1 < RANGES_MAX { data.end } else { size };
        ranges.extend((data.start < size).then_some(data.start..at.min(size)));
        if data.is_empty() {
            break;
        }
    }
    Ok(ranges)
}

fn first_nonzero_within(file: &dyn DiskFile, Range { start: mut at, end }: Range<u64>) -> Result<Option<u64>> {
    let mut piece = Vec::new();
    let mut chunk = FIRST_CHUNK;
    while at < end {
        let wanted = chunk.min((end - at) as usize);
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

    #[test]
    fn data_in_any_number_of_ranges_is_found() {
        let disk = FaultyDisk::new();
        let file = disk.open(Path::new("/log"), Access::Create).unwrap();
        let size = 1 << 20;
        file.set_len(size).unwrap();
        for at in (5000..size - 8192).step_by(8192) {
            file.write_at(&[1], at).unwrap();
            assert_eq!(first_nonzero(&*file, 0, size).unwrap(), Some(5000));
            assert_eq!(first_nonzero(&*file, at - 3, size).unwrap(), Some(at));
            assert_eq!(first_nonzero(&*file, at + 1, size).unwrap(), None);
        }
        for at in (5000..size - 16384).step_by(8192) {
            file.write_at(&[0], at).unwrap();
            assert_eq!(first_nonzero(&*file, 0, size).unwrap(), Some(at + 8192));
        }
    }
}
