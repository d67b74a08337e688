//! Messages v0 and v1 (magic 0 and 1), which Kafka wrote before record batches: all of their layout. Read only.
//!
//! ```text
//!  0        8      12    16 17   18         18 / 26
//!  ┌────────┬──────┬─────┬──┬────┬─────────┬────────────┬──────────────┐
//!  │ offset │ size │ crc │mg│attr│timestamp│ key length │ value length │
//!  │ i64    │ i32  │ u32 │01│ i8 │ v1: i64 │ i32, bytes │ i32, bytes   │
//!  └────────┴──────┴─────┴──┴────┴─────────┴────────────┴──────────────┘
//! ```
//!
//! | at (v0 / v1) | width | field | legal values |
//! | --- | --- | --- | --- |
//! | 0 | i64 | offset | ≥ 0; of the message; of the last one inside where it is compressed |
//! | 8 | i32 | size | bytes after this field: ≥ 14 (v0) or 22 (v1) |
//! | 12 | u32 | crc | plain CRC-32 of everything from the magic to the end |
//! | 16 | i8 | magic | 0 (up to Kafka 0.9) or 1 (0.10) |
//! | 17 | i8 | attributes | bits 0-2 codec (not zstd); v1: bit 3 LogAppendTime |
//! | 18 | i64 | timestamp | v1 only, ms; -1 none |
//! | 18 / 26 | i32 | key length | -1 null; then as many bytes |
//! | after the key | i32 | value length | -1 null; then as many bytes, which end the message |
//!
//! The magic is at the same position as in a record batch v2, so one look ahead tells the formats apart. One log may hold
//! all three. The checksum covers all that a broker does not change when it appends; each message has its own, those
//! inside a compressed one too.
//!
//! An uncompressed message is one record. A compressed one is a wrapper: its value holds whole messages of the same
//! format, uncompressed, one after the other.
//!
//! | of a message inside | v0 | v1 |
//! | --- | --- | --- |
//! | offset | absolute | relative: the wrapper has the last one's; at 0 (old librdkafka) it adds nothing |
//! | timestamp | none | its own; the wrapper's where that has LogAppendTime |
//!
//! Floors above know these messages as batches: `parse_header` makes a [`BatchHeader`] of a message's fields, and
//! [`to_records`] makes records v2 of what it holds. [`header`](super::header) calls the first for any magic but 2.
//! Sources: `LegacyRecord.java`, `AbstractLegacyRecordBatch.java`.

mod records;

pub use records::to_records;

use super::FormatError;
use super::compression::Codec;
use super::crc::{self, Checksum};
use super::header::{Attributes, BATCH_LENGTH, BatchHeader, LENGTH_OVERHEAD, MAGIC, NoBatch};
use crate::units::{Offset, Timestamp};

const OFFSET: usize = 0;
const SIZE: usize = OFFSET + 8;
const CRC: usize = SIZE + 4;
const ATTRIBUTES: usize = MAGIC + 1;
const TIMESTAMP: usize = ATTRIBUTES + 1;
const LENGTH_SIZE: usize = 4;
/// The offset and size fields are those of a record batch v2, and what the checksum covers begins at the magic.
const _: () = assert!(SIZE == BATCH_LENGTH && CRC == LENGTH_OVERHEAD && CRC + 4 == MAGIC);
const _: () = assert!(header_size(0) == 18 && header_size(1) == 26);
/// The smallest message: v0 with a null key and a null value. No batch of any format is smaller.
pub const SIZE_MIN: usize = size_min(0);
const _: () = assert!(SIZE_MIN == 26 && size_min(1) == 34);

/// The bytes before the key length.
const fn header_size(magic: i8) -> usize {
    if has_timestamp(magic) { TIMESTAMP + 8 } else { TIMESTAMP }
}

const fn size_min(magic: i8) -> usize {
    header_size(magic) + 2 * LENGTH_SIZE
}

/// Whether messages with this magic have a timestamp. Those of v0 do not.
#[inline]
#[must_use]
pub const fn has_timestamp(magic: i8) -> bool {
    magic != 0
}

/// Reads the fields before the key at the start of `bytes`, which has a magic and may end anywhere after it, as the
/// header of a batch. `None` where the magic is not 0 or 1.
pub(super) fn parse_header(bytes: &[u8]) -> Option<Result<BatchHeader, NoBatch>> {
    let magic = bytes[MAGIC] as i8;
    if !matches!(magic, 0 | 1) {
        return None;
    }
    let Some(fields) = bytes.get(..header_size(magic)) else { return Some(Err(NoBatch::Incomplete)) };
    let (attributes_used, timestamp) = if has_timestamp(magic) {
        (0b1111, Timestamp(i64::from_be_bytes(array(fields, TIMESTAMP))))
    } else {
        (0b111, Timestamp::NONE)
    };
    let attributes = Attributes::from_bits(i16::from(fields[ATTRIBUTES] & attributes_used));
    let header = BatchHeader {
        magic,
        base_offset: Offset(i64::from_be_bytes(array(fields, OFFSET))),
        size: LENGTH_OVERHEAD + u32::from_be_bytes(array(fields, SIZE)) as usize,
        leader_epoch: -1,
        crc: u32::from_be_bytes(array(fields, CRC)),
        attributes,
        last_offset_delta: 0,
        base_timestamp: timestamp,
        max_timestamp: timestamp,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: if attributes.codec() == Ok(Codec::None) { 1 } else { -1 },
    };
    let sizes = size_min(magic)..=LENGTH_OVERHEAD + i32::MAX as usize;
    let is_possible = (Offset::ZERO..=Offset::BASE_MAX).contains(&header.base_offset) && sizes.contains(&header.size);
    Some(if is_possible { Ok(header) } else { Err(header.impossible()) })
}

/// Where the bytes begin that the checksum of a message covers, and the checksum of no bytes.
pub(super) fn checksum() -> (usize, Checksum) {
    (MAGIC, Checksum::crc32())
}

/// Whether the checksum of a whole message is that of its bytes.
pub(super) fn checksum_matches(header: &BatchHeader, message: &[u8]) -> bool {
    crc::crc32(&message[MAGIC..header.size]) == header.crc
}

/// Whether key and value take up a message exactly. The magics 0 and 1 are bytes so common that a search asks this
/// before it computes a checksum. `read` reads a length field at a position in the message; `None` where the file ends
/// before it.
///
/// # Errors
/// Those of `read`.
pub fn parts_fill<E>(
    header: &BatchHeader,
    mut read: impl FnMut(usize) -> Result<Option<[u8; LENGTH_SIZE]>, E>,
) -> Result<bool, E> {
    let mut at = header_size(header.magic);
    for _ in 0..2 {
        if at + LENGTH_SIZE > header.size {
            return Ok(false);
        }
        let Some(length) = read(at)? else { return Ok(false) };
        // Null is -1 and takes no bytes.
        at += LENGTH_SIZE + i32::from_be_bytes(length).max(0) as usize;
    }
    Ok(at == header.size)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the caller has checked the length")
}

/// One message, borrowed from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its offset; where it is compressed, that of the last message inside (v0, v1).
    pub offset: Offset,
    /// The bytes that it takes in the log.
    pub size: usize,
    /// 0 or 1.
    pub magic: i8,
    /// Codec, and in v1 the timestamp type.
    pub attributes: i8,
    /// Milliseconds; `None` in v0.
    pub timestamp: Option<Timestamp>,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value, or the compressed messages inside; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// Reads the message at the start of `bytes`.
    ///
    /// # Errors
    /// When it is cut short, its checksum is wrong, or a length points outside it.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let cut = || FormatError::corrupt("the message is cut short");
        let head = bytes.get(..TIMESTAMP).ok_or_else(cut)?;
        let field = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let size = usize::try_from(field(SIZE)).map_err(|_| FormatError::corrupt("the message has a negative size"))?;
        let message = bytes.get(..LENGTH_OVERHEAD + size).filter(|it| it.len() >= TIMESTAMP).ok_or_else(cut)?;
        let magic = head[MAGIC] as i8;
        if !matches!(magic, 0 | 1) {
            return Err(FormatError::corrupt(format!("magic {magic} is no message of an old format")));
        }
        if crc::crc32(&message[MAGIC..]) != field(CRC) as u32 {
            return Err(FormatError::corrupt("the checksum of the message does not match its bytes"));
        }
        let mut rest = &message[TIMESTAMP..];
        let mut timestamp = None;
        if has_timestamp(magic) {
            let (bytes, behind) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
            (timestamp, rest) = (Some(Timestamp(i64::from_be_bytes(*bytes))), behind);
        }
        let (key, value) = (part(&mut rest)?, part(&mut rest)?);
        if !rest.is_empty() {
            return Err(FormatError::corrupt("the message is longer than its parts"));
        }
        let offset = Offset(i64::from_be_bytes(head[..SIZE].try_into().expect("eight bytes")));
        let (size, attributes) = (message.len(), head[ATTRIBUTES] as i8);
        Ok(Self { offset, size, magic, attributes, timestamp, key, value })
    }
}

/// A length and as many bytes; -1 is null.
fn part<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, FormatError> {
    let outside = || FormatError::corrupt("a key or value reaches outside its message");
    let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(outside)?;
    let length = i32::from_be_bytes(*length);
    if length == -1 {
        *rest = behind;
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| outside())?;
    let (bytes, behind) = behind.split_at_checked(length).ok_or_else(outside)?;
    *rest = behind;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::header::{self, TimestampType};
    use crate::format::vectors::{VECTOR_C, VECTOR_D, unhex};

    #[test]
    fn reads_vectors_c_and_d() {
        for (vector, magic, timestamp) in [(VECTOR_C, 1, Some(Timestamp(1_700_000_000_000))), (VECTOR_D, 0, None)] {
            let bytes = unhex(vector);
            let message = Message::parse(&bytes).unwrap();
            let (key, value) = (Some(&b"k1"[..]), Some(&b"v1"[..]));
            let size = bytes.len();
            assert_eq!(message, Message { offset: Offset(0), size, magic, attributes: 0, timestamp, key, value });
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_behind_the_offset_is_refused() {
        for vector in [VECTOR_C, VECTOR_D] {
            let whole = unhex(vector);
            for cut in 0..whole.len() {
                assert!(Message::parse(&whole[..cut]).is_err(), "cut at {cut}");
            }
            for bit in SIZE * 8..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Message::parse(&bytes).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_message_is_parsed_as_a_batch_of_its_format() {
        for (vector, magic, timestamp_type, timestamp) in [
            (VECTOR_C, 1, TimestampType::CreateTime, Timestamp(1_700_000_000_000)),
            (VECTOR_D, 0, TimestampType::NoTimestampType, Timestamp::NONE),
        ] {
            let bytes = unhex(vector);
            for cut in 1..header_size(magic) {
                let expected = if cut <= 11 { NoBatch::Zeros } else { NoBatch::Incomplete };
                assert_eq!(BatchHeader::parse(&bytes[..cut]), Err(expected), "magic {magic}, cut at {cut}");
            }
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!((header.magic, header.size, header.record_count), (magic, bytes.len(), 1));
            assert_eq!((header.base_offset, header.next_offset()), (Offset(0), Offset(1)));
            assert_eq!((header.timestamp_type(), header.record_timestamp(0)), (timestamp_type, timestamp));
            assert!(header::checksum_matches(&header, &bytes));
            assert_eq!(header::announced_size(&bytes), Some(bytes.len()));
            for (at, byte, why) in [(0, 0x80, "a negative offset"), (8, 0x80, "a negative size"), (11, 13, "too small")]
            {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                assert!(matches!(BatchHeader::parse(&bytes), Err(NoBatch::Invalid(_))), "magic {magic}: {why}");
            }
        }
    }

    #[test]
    fn key_and_value_fill_a_message_or_it_is_not_one() {
        for vector in [VECTOR_C, VECTOR_D] {
            let whole = unhex(vector);
            let header = BatchHeader::parse(&whole).unwrap();
            let fills = |bytes: &[u8]| {
                parts_fill(&header, |at| Ok::<_, ()>(bytes.get(at..).and_then(<[u8]>::first_chunk).copied())).unwrap()
            };
            assert!(fills(&whole));
            assert!(!fills(&whole[..whole.len() - 6]), "the value length is cut short");
            for (back, byte, why) in [(9, 1, "a shorter key"), (9, 200, "a longer one"), (3, 3, "a longer value")] {
                let mut bytes = whole.clone();
                let at = bytes.len() - back;
                bytes[at] = byte;
                assert!(!fills(&bytes), "{why}");
            }
        }
    }
}
