//! What a log holds past its last whole batch: the one judge that readers, recovery and `verify` ask.
//!
//! An append is one write at the end of the file, so a log that nothing has damaged ends in one of two ways: in the zeros of
//! preallocation, or in a torn append that no batch can follow. A valid batch further on is what tells damage from these
//! two, and damage is reported: it is cut only where a
//! power failure explains it (see `power_failure.rs`). So the question is which bytes are evidence of a later batch:
//!
//! 1. Bytes inside a value are not. A value may hold batches, whole segments even. Where a credible header announces more
//!    bytes than the file has, the end is torn, whatever lies inside. A header is credible if its base offset is the one
//!    expected, or a higher one and it counts as many records as offsets: where a batch has lost bytes, what is behind it is
//!    read at the wrong place and may look like a header, but not like that.
//! 2. The length is outside the checksum. A header is not believed where its checksum holds for a shorter batch that ends
//!    exactly where the header of a later one begins: then only the length is damaged, and the later batch is evidence.
//! 3. A valid batch where a damaged one ends by its own header is evidence, if the batch after it does not contradict it.
//! 4. A batch that is found by search is evidence only if its base offset can follow and batches chain from it on: each
//!    begins where the one before ends, with rising offsets, up to the end of the file, to the zeros or the torn append at
//!    its end, or for [`CHAIN_ENOUGH`] bytes, which is more than a value has. A chain may pass a damaged batch whose
//!    header leads to a valid one.
//! 5. A valid batch at the very place is evidence: it begins where its predecessor ends, so only its base offset, which no
//!    checksum covers, is wrong.
//! 6. A valid batch is evidence, whatever its offsets, if there are only zeros before it: an append does not begin with them,
//!    so that it is in no value.
//!
//! A search reads the file once or twice, and checksums no more than [`BUDGET_FACTOR`] times its length: bytes that claim to
//! be many overlapping batches cost no more. When that is used up the answer is [`Tail::Undecided`], which stops a writer
//! and a reader as damage does: nothing is cut that may be sound.
//!
//! [`CHAIN_ENOUGH`]: search::CHAIN_ENOUGH
//! [`BUDGET_FACTOR`]: search::BUDGET_FACTOR

mod search;
mod zeros;

pub(crate) use zeros::KnownZeros;

use super::Result;
use super::segments::OpenLog;
use crate::format::header::BatchHeader;
use crate::units::{Offset, Position};
use search::{Search, Stop};

/// What follows the last whole batch of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Zeros up to the end of the file: it was preallocated, or extended by a crash.
    Zeros,
    /// An append that never ended; no batch follows it.
    Torn,
    /// A batch is damaged, and later ones are there.
    Damaged {
        /// Where the log goes on, and with what.
        next: (Position, BatchHeader),
    },
    /// The search has used up what it may checksum: later batches may be there, so nothing may be cut.
    Undecided,
}

/// A place in a log where no valid batch begins, or one that its offsets do not allow there.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) log: &'a OpenLog,
    pub(crate) position: Position,
    /// The lowest offset that may follow.
    pub(crate) expected: Offset,
    /// Where the last batch before ends, by its header.
    pub(crate) reached: Offset,
    /// The size of the file.
    pub(crate) size: u64,
}

/// Judges the end of an open log: its last segment, above the recovery point.
pub(crate) fn judge(place: &Place<'_>, known: &mut KnownZeros) -> Result<Tail> {
    if known.reach(&*place.log.file, place.position.0, place.size)? {
        return Ok(Tail::Zeros);
    }
    match Search::new(place).open_end(known) {
        Ok(tail) => Ok(tail),
        Err(Stop::OutOfBudget) => Ok(Tail::Undecided),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// Where the log goes on after damage in the middle of it, where nothing can be torn: below the recovery point, or in a
/// segment that another follows. `None` where it does not, or the search has used up what it may checksum.
pub(crate) fn next_batch(place: &Place<'_>) -> Result<Option<(Position, BatchHeader)>> {
    match Search::new(place).after_damage() {
        Ok(next) => Ok(next),
        Err(Stop::OutOfBudget) => Ok(None),
        Err(Stop::Failed(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::search::{BUDGET_FACTOR, BUDGET_MIN};
    use super::zeros::FIRST_CHUNK;
    use super::*;
    use crate::disk::faulty::FaultyDisk;
    use crate::disk::{Access, Disk};
    use crate::format::batch::{self, BatchBuilder};
    use crate::format::header::{BATCH_HEADER_SIZE, MAGIC_AT};
    use crate::format::record::NewRecord;
    use crate::units::Timestamp;
    use std::path::Path;

    const BASE: i64 = 1000;

    /// A batch with one record for each of these values, from `base_offset` on.
    fn batch(base_offset: i64, values: &[&[u8]]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        for value in values {
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"header", Some(b"x"))];
            builder.push(&NewRecord {
                timestamp: Timestamp(1_700_000_000_000),
                key: None,
                value: Some(value),
                headers,
            });
        }
        let mut bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
        batch::stamp(&mut bytes, Offset(base_offset), 0);
        bytes
    }

    /// Batches of one record each.
    fn batches(offsets: std::ops::Range<i64>) -> Vec<u8> {
        offsets.flat_map(|offset| batch(offset, &[format!("value {offset}").as_bytes()])).collect()
    }

    fn disk_of(bytes: &[u8]) -> (FaultyDisk, OpenLog) {
        let disk = FaultyDisk::new();
        let path = Path::new("/log");
        let file = disk.open(path, Access::Create).unwrap();
        file.write_at(bytes, 0).unwrap();
        disk.reset_counts();
        (disk, OpenLog { base_offset: Offset(BASE), file, path: path.to_owned() })
    }

    /// What follows two whole batches, and is expected to begin at offset BASE + 2.
    fn judged(tail: &[u8]) -> Tail {
        let head = batches(BASE..BASE + 2);
        let (_disk, log) = disk_of(&[&head[..], tail].concat());
        let place = place(&log, head.len());
        judge(&place, &mut KnownZeros::default()).unwrap()
    }

    fn place(log: &OpenLog, position: usize) -> Place<'_> {
        let size = log.file.stat().unwrap().size;
        Place { log, position: Position(position as u64), expected: Offset(BASE + 2), reached: Offset(BASE + 2), size }
    }

    /// Where in the tail the next batch is found.
    fn next_at(tail: &[u8]) -> Option<usize> {
        match judged(tail) {
            Tail::Damaged { next: (position, _) } => Some(position.0 as usize - batches(BASE..BASE + 2).len()),
            _ => None,
        }
    }

    #[test]
    fn zeros_to_the_end_are_preallocation() {
        for zeros in [1, 11, 61, 5000, 3 << 20] {
            assert_eq!(judged(&vec![0; zeros]), Tail::Zeros, "{zeros}");
        }
    }

    #[test]
    fn a_torn_append_is_torn_wherever_it_ends() {
        let plain = batch(BASE + 2, &[b"value"]);
        for left in 8..plain.len() {
            assert_eq!(judged(&plain[..left]), Tail::Torn, "{left} bytes");
            assert_eq!(judged(&[&plain[..left], &vec![0; 100_000]].concat()), Tail::Torn, "{left} bytes, then zeros");
        }
    }

    #[test]
    fn a_value_that_holds_a_batch_is_never_evidence() {
        let segment = batches(BASE + 2..BASE + 12);
        let holder = batch(BASE + 2, &[&segment, b"another", &segment]);
        for left in 8..holder.len() {
            assert_eq!(judged(&holder[..left]), Tail::Torn, "{left} bytes of {}", holder.len());
        }
        for byte in 0..BATCH_HEADER_SIZE + 4 {
            // Base offset and epoch are outside the checksum: with them changed, the batch is still a whole one.
            if (12..16).contains(&byte) || byte < 8 {
                continue;
            }
            let mut damaged = holder.clone();
            damaged[byte] ^= 0x15;
            assert_eq!(judged(&damaged), Tail::Torn, "byte {byte} of the last batch");
        }
        let mut headless = holder;
        headless[..BATCH_HEADER_SIZE].fill(0xee);
        assert_eq!(judged(&headless), Tail::Torn, "no header");
    }

    #[test]
    fn a_value_that_holds_a_batch_does_not_hide_the_batch_that_follows() {
        let segment = batches(BASE + 2..BASE + 12);
        let holder = batch(BASE + 2, &[&segment, &segment]);
        for byte in [8, 10, 11, 16, 17, 23, 26, 40, 57, 61, 100, holder.len() - 1] {
            for bits in [0x01, 0x30, 0x80] {
                let mut bytes = [&holder[..], &batches(BASE + 4..BASE + 20)].concat();
                bytes[byte] ^= bits;
                assert_eq!(next_at(&bytes), Some(holder.len()), "byte {byte}, bits {bits:x}");
                bytes.extend_from_slice(&[0; 5000]);
                assert_eq!(next_at(&bytes), Some(holder.len()), "byte {byte}, bits {bits:x}, then zeros");
            }
        }
    }

    #[test]
    fn damage_before_a_chain_is_found_wherever_it_is() {
        let (first, rest) = (batch(BASE + 2, &[b"damaged"]), batches(BASE + 3..BASE + 9));
        let one = batch(BASE + 3, &[b"value 1003"]).len();
        let mut passed = rest.clone();
        passed[2 * one + 70] ^= 1;
        let mut last = rest.clone();
        *last.last_mut().unwrap() ^= 1;
        let ends: [(&str, Vec<u8>); 6] = [
            ("the end of the file", rest.clone()),
            ("zeros", [&rest[..], &[0; 3000]].concat()),
            ("a torn append", [&rest[..], &batch(BASE + 9, &[b"torn"])[..70]].concat()),
            ("a torn header", [&rest[..], &batch(BASE + 9, &[b"torn"])[..20]].concat()),
            ("a damaged batch on the way", passed),
            ("a damaged batch at the end", last),
        ];
        for (what, after) in &ends {
            for byte in 8..first.len() {
                let mut damaged = first.clone();
                damaged[byte] ^= 0x81;
                // The leader epoch is outside the checksum.
                let expected = if (12..16).contains(&byte) { 0 } else { first.len() };
                assert_eq!(next_at(&[&damaged[..], after].concat()), Some(expected), "byte {byte}, {what}");
            }
            for gone in [vec![0xee; 61], vec![0; 61], vec![0; 5000], vec![0xee; 300_000]] {
                assert_eq!(next_at(&[&gone[..], after].concat()), Some(gone.len()), "{} bytes, {what}", gone.len());
            }
        }
    }

    /// Bytes that look like the header of a batch with so many offsets that ends with `rest`.
    fn header_that_claims(base_offset: i64, offsets: i32, rest: &[u8]) -> Vec<u8> {
        let mut header = batch(base_offset, &[b"claims"]);
        header.truncate(BATCH_HEADER_SIZE);
        let length = (BATCH_HEADER_SIZE + rest.len() - 12) as u32;
        header[8..12].copy_from_slice(&length.to_be_bytes());
        header[23..27].copy_from_slice(&(offsets - 1).to_be_bytes());
        [&header[..], rest].concat()
    }

    #[test]
    fn a_header_that_is_not_credible_hides_no_batches() {
        let rest = batches(BASE + 4..BASE + 12);
        let mut damaged = batch(BASE + 2, &[b"damaged"]);
        damaged[70] ^= 1;
        for base_offset in [BASE + 4, BASE + 50] {
            let claims = header_that_claims(base_offset, 2, &rest);
            assert_eq!(next_at(&claims), Some(BATCH_HEADER_SIZE), "at the place");
            let behind = [&damaged[..], &claims].concat();
            assert_eq!(next_at(&behind), Some(damaged.len() + BATCH_HEADER_SIZE), "behind a damaged batch");
            // This could be an append that did not get to the disk, after what was compacted away, and the rest a value.
            let torn = header_that_claims(base_offset, 1, &rest);
            assert_eq!(judged(&torn), Tail::Torn);
            assert_eq!(judged(&[&damaged[..], &torn].concat()), Tail::Torn);
        }
        // A compacted batch has more offsets than records.
        assert_eq!(judged(&header_that_claims(BASE + 2, 5, &rest)), Tail::Torn);
        assert_eq!(judged(&[&damaged[..], &header_that_claims(BASE + 3, 5, &rest)].concat()), Tail::Torn);
    }

    #[test]
    fn a_valid_batch_that_does_not_chain_is_no_evidence() {
        let (junk, valid) = (vec![0xee; 200], batches(BASE + 5..BASE + 8));
        let cases: [(&str, Vec<u8>); 5] = [
            ("junk after it", [&junk[..], &valid, &junk].concat()),
            ("junk shorter than a header after it", [&junk[..], &valid, &junk[..20]].concat()),
            ("a lower offset after it", [&junk[..], &valid, &batches(BASE + 3..BASE + 4)].concat()),
            ("offsets below the expected one", [&junk[..], &batches(BASE..BASE + 2)].concat()),
            ("offsets of another segment", [&junk[..], &batches(BASE + (1 << 40)..BASE + (1 << 40) + 2)].concat()),
        ];
        for (what, tail) in cases {
            // The last batch of a chain that breaks is one of its own where it begins after the break.
            let expected = if what.starts_with("a lower") { Some(200 + valid.len()) } else { None };
            assert_eq!(next_at(&tail), expected, "{what}");
            assert!(expected.is_some() || judged(&tail) == Tail::Torn, "{what}");
        }
    }

    #[test]
    fn a_valid_batch_at_the_place_has_only_a_wrong_offset() {
        for offset in [BASE, BASE + 1, BASE + 700, 5, 1 << 50] {
            assert_eq!(next_at(&batches(offset..offset + 1)), Some(0), "{offset}");
        }
    }

    #[test]
    fn a_batch_of_a_later_format_ends_a_chain_and_is_no_evidence_by_itself() {
        let (junk, valid, mut later) = (vec![0xee; 200], batches(BASE + 3..BASE + 5), batch(BASE + 5, &[b"later"]));
        later[MAGIC_AT] = 3;
        assert_eq!(next_at(&[&junk[..], &valid, &later].concat()), Some(junk.len()));
        assert_eq!(judged(&[&junk[..], &later].concat()), Tail::Torn);
    }

    #[test]
    fn below_the_recovery_point_a_length_that_leads_out_of_the_file_is_damage() {
        let (mut first, rest) = (batch(BASE + 2, &[b"damaged"]), batches(BASE + 3..BASE + 6));
        let size = first.len();
        first[8] = 0x70;
        first[70] ^= 1;
        let (_disk, log) = disk_of(&[&first[..], &rest].concat());
        let found = next_batch(&place(&log, 0)).unwrap();
        assert_eq!(found.map(|(position, _)| position.0), Some(size as u64));
        assert_eq!(judge(&place(&log, 0), &mut KnownZeros::default()).unwrap(), Tail::Torn);
    }

    #[test]
    fn headers_that_all_claim_the_rest_cost_no_more_than_the_budget() {
        for size in [1_usize << 20, 6 << 20] {
            let mut tail = vec![0xee; 61];
            let one = batch(BASE + 5, &[b""]);
            let count = size / BATCH_HEADER_SIZE;
            for left in (1..=count).rev() {
                let start = tail.len();
                tail.extend_from_slice(&one[..BATCH_HEADER_SIZE]);
                let length = (left * BATCH_HEADER_SIZE - 12) as u32;
                tail[start + 8..start + 12].copy_from_slice(&length.to_be_bytes());
            }
            let (disk, log) = disk_of(&tail);
            let place = Place { position: Position::ZERO, ..place(&log, 0) };
            let mut search = Search::new(&place);
            assert!(matches!(search.open_end(&mut KnownZeros::default()), Err(Stop::OutOfBudget)), "{size}");
            assert_eq!(judge(&place, &mut KnownZeros::default()).unwrap(), Tail::Undecided);
            let limit = 2 * (BUDGET_MIN.max(BUDGET_FACTOR * tail.len() as u64) + 4 * tail.len() as u64);
            assert!(disk.bytes_read() <= limit, "{size}: {} bytes read", disk.bytes_read());
        }
    }

    #[test]
    fn small_chains_that_break_are_read_once() {
        let tail: Vec<u8> = (0..8000).flat_map(|_| [&batches(BASE + 5..BASE + 6)[..], &[0xee; 30]].concat()).collect();
        let (disk, log) = disk_of(&[&[0xee; 61][..], &tail, &[0xee; 61]].concat());
        assert_eq!(judge(&place(&log, 0), &mut KnownZeros::default()).unwrap(), Tail::Torn);
        assert!(disk.bytes_read() < 4 * tail.len() as u64, "{} of {}", disk.bytes_read(), tail.len());
    }

    #[test]
    fn zeros_are_read_once_and_holes_never() {
        const SIZE: u64 = 8 << 20;
        for keeps_holes in [true, false] {
            let (disk, log) = disk_of(&batches(BASE..BASE + 2));
            if !keeps_holes {
                disk.keep_no_holes();
            }
            let mut position = log.file.stat().unwrap().size;
            log.file.set_len(SIZE).unwrap();
            let mut known = KnownZeros::default();
            for offset in BASE + 2..BASE + 50 {
                let place = Place { expected: Offset(offset), ..place(&log, position as usize) };
                assert_eq!(judge(&place, &mut known).unwrap(), Tail::Zeros);
                let next = batch(offset, &[b"written into the zeros"]);
                log.file.write_at(&next[..70], position).unwrap();
                assert_eq!(judge(&place, &mut known).unwrap(), Tail::Torn, "half of it");
                log.file.write_at(&next, position).unwrap();
                position += next.len() as u64;
            }
            let limit = if keeps_holes { 0 } else { SIZE } + 48 * 4 * (FIRST_CHUNK as u64);
            assert!(disk.bytes_read() <= limit, "{} bytes read", disk.bytes_read());
        }
    }
}
