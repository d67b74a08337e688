//! Plain records, which have a value and nothing else: read and written as a few numbers in place of field by field.
//!
//! Nothing here decides what a record is: where a record is not plain, or too large, each function gives up, and
//! [`RecordSpan::parse`] or [`NewRecord::put`](super::NewRecord::put) is to be called.

use super::{RecordSpan, SMALL_FIELDS_MAX, copy};
use crate::format::{FormatError, varint};

/// Where a record stands, and its value.
pub(in crate::format) struct ValueSpan {
    pub(in crate::format) offset_delta: i32,
    pub(in crate::format) value: usize,
    pub(in crate::format) value_length: usize,
    pub(in crate::format) end: usize,
}

/// [`RecordSpan::parse`] for who wants no more than the value. By the general way alone, to consume records of 100 bytes took
/// 1.35 times as long, and to verify them 1.4 times.
#[inline(always)]
pub(in crate::format) fn parse_value(bytes: &[u8], start: usize) -> Result<ValueSpan, FormatError> {
    if let Some(plain) = parse_plain(bytes, start) {
        return Ok(plain);
    }
    let span = RecordSpan::parse(bytes, start)?;
    let (value, value_length) = span.value_place();
    Ok(ValueSpan { offset_delta: span.offset_delta, value, value_length, end: span.end })
}

/// [`parse_plain`] for a value of at most 63 bytes where the other fields are as small: all of them are looked at as one
/// number.
#[inline(always)]
pub(in crate::format) fn parse_short(bytes: &[u8], start: usize) -> Option<ValueSpan> {
    let word = word_at(bytes, start)?;
    // Length and timestamp delta of one byte each, the length not negative.
    if word & 0x80_0081 != 0 {
        return None;
    }
    let (offset, offset_size) = varint::unpacked(word >> 24)?;
    // A null key, and a length of one byte that is not negative; an offset delta that is not negative.
    let behind = word >> (24 + 8 * offset_size);
    if behind & 0x81ff != 0x0001 || offset & 1 != 0 {
        return None;
    }
    let (value, value_length) = (start + 5 + offset_size, (behind >> 9 & 0x3f) as usize);
    let end = start + 1 + (word >> 1 & 0x3f) as usize;
    // No headers.
    let is_whole = value + value_length + 1 == end && bytes.get(end - 1) == Some(&0);
    is_whole.then_some(ValueSpan { offset_delta: (offset >> 1) as i32, value, value_length, end })
}

/// [`RecordSpan::parse`] for a record of less than a MiB that has a value and nothing else: its small fields are looked at
/// as two numbers. `None` says nothing about the record.
#[inline(always)]
pub(in crate::format) fn parse_plain(bytes: &[u8], start: usize) -> Option<ValueSpan> {
    let (length, length_size) = varint::unpacked(word_at(bytes, start)?)?;
    let deltas = word_at(bytes, start)? >> (8 * length_size + 8);
    let (offset, offset_size) = varint::unpacked(deltas >> 8)?;
    let key = start + length_size + 2 + offset_size;
    let parts = word_at(bytes, key)?;
    let (value_length, value_length_size) = varint::unpacked(parts >> 8)?;
    // A timestamp delta of one byte, a null key, and nothing that is negative.
    if deltas & 0x80 != 0 || parts & 0xff != 1 || (length | offset | value_length) & 1 != 0 {
        return None;
    }
    let (value, value_length) = (key + 1 + value_length_size, (value_length >> 1) as usize);
    let end = start + length_size + (length >> 1) as usize;
    // No headers.
    let is_whole = value + value_length + 1 == end && bytes.get(end - 1) == Some(&0);
    is_whole.then_some(ValueSpan { offset_delta: (offset >> 1) as i32, value, value_length, end })
}

/// Eight bytes, the first of them the lowest.
#[inline(always)]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    #[expect(clippy::little_endian_bytes, reason = "this is no field of its own")]
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The most bytes of a value that [`put_short`] takes.
pub(in crate::format) const SHORT_MAX: usize = 15;
/// The most bytes that it writes at once: eight of small fields, the value, and what stands behind it.
pub(in crate::format) const SHORT_ROOM: usize = 8 + SHORT_MAX + 1;

/// `NewRecord::put` for a record that has a short value and nothing else. The small fields go out as one number; the
/// deltas are given as [`varint::packed`]. Returns the size of the record.
#[inline(always)]
pub(in crate::format) fn put_short(
    (value, length): (&[u8; SHORT_MAX + 1], usize),
    timestamp: u8,
    (offset, offset_size): (u64, usize),
    room: &mut [u8; SHORT_ROOM],
) -> usize {
    let small_size = 5 + offset_size;
    let body_size = small_size + length;
    // From the lowest byte: length, attributes (0), timestamp delta, offset delta, null key, length of the value.
    let front = (body_size as u64) << 1 | u64::from(timestamp) << 16 | offset << 24;
    let behind = 1 | (length as u64) << 9;
    #[expect(clippy::little_endian_bytes, reason = "the lowest byte is the first; this is no field of its own")]
    room[..8].copy_from_slice(&(front | behind << (24 + 8 * offset_size)).to_le_bytes());
    // What of it does not belong to the value is written over: by the header count, and by the next record.
    room[small_size..small_size + value.len()].copy_from_slice(value);
    room[body_size] = 0;
    body_size + 1
}

/// `NewRecord::put` for a record that has a value of any common size and nothing else, its small fields as three numbers.
/// Returns the size of the record, and `None` where it does not fit `room` or a field takes more than three bytes.
#[inline(always)]
pub(in crate::format) fn put_plain(
    value: &[u8],
    timestamp: u8,
    (offset, offset_size): (u64, usize),
    room: &mut [u8],
) -> Option<usize> {
    let (length, length_size) = varint::packed((value.len() as u64) << 1)?;
    let (body, body_size) = varint::packed(((4 + offset_size + length_size + value.len()) as u64) << 1)?;
    let head = room.first_chunk_mut::<SMALL_FIELDS_MAX>()?;
    let behind_offset = body_size + 2 + offset_size;
    #[expect(clippy::little_endian_bytes, reason = "the lowest byte is the first; these are no fields of their own")]
    {
        // Each is written over what the one before it has too much: length; attributes (0), deltas; null key, value length.
        head[..4].copy_from_slice(&(body as u32).to_le_bytes());
        head[body_size..body_size + 8].copy_from_slice(&(u64::from(timestamp) << 8 | offset << 16).to_le_bytes());
        head[behind_offset..behind_offset + 4].copy_from_slice(&(1 | (length as u32) << 8).to_le_bytes());
    }
    let start = behind_offset + 1 + length_size;
    let end = start + value.len();
    copy(value, room.get_mut(start..end)?);
    *room.get_mut(end)? = 0;
    Some(end + 1)
}

/// Where `byte` stands first among the bytes of a short value and the one behind it.
#[inline(always)]
pub(in crate::format) fn find_in_short(byte: u8, bytes: &[u8; SHORT_MAX + 1]) -> Option<usize> {
    let (words, _) = bytes.as_chunks();
    find_in_word(byte, words[0]).or_else(|| find_in_word(byte, words[1]).map(|at| 8 + at))
}

#[inline(always)]
fn find_in_word(byte: u8, word: [u8; 8]) -> Option<usize> {
    #[expect(clippy::little_endian_bytes, reason = "the first byte is to be the lowest")]
    let differs = u64::from_le_bytes(word) ^ u64::from_le_bytes([byte; 8]);
    // The high bit of the lowest byte that is zero, and perhaps of some above it.
    let found = differs.wrapping_sub(0x0101_0101_0101_0101) & !differs & 0x8080_8080_8080_8080;
    (found != 0).then(|| found.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{NULL, NewRecord};
    use proptest::prelude::*;

    /// Whether what is read as a plain record at the start is what the record there is.
    fn plain_is_right(bytes: &[u8]) -> bool {
        let is_right = |plain: ValueSpan| {
            let span = RecordSpan::parse(bytes, 0).expect("it was no record");
            let place = (span.offset_delta, span.value.0, span.value.1, span.end);
            place == (plain.offset_delta, plain.value, plain.value_length, plain.end)
                && (span.key.1, span.header_count) == (NULL, 0)
        };
        parse_short(bytes, 0).is_none_or(is_right) && parse_plain(bytes, 0).is_none_or(is_right)
    }

    #[test]
    fn plain_records_are_read_as_such() {
        for length in (0..=64).chain([100, 8191, 8192, (1 << 20) - 20, 1 << 20]) {
            for offset_delta in [0, 63, 64, 8191, 8192, 1 << 20] {
                let value = vec![b'v'; length];
                let mut bytes = Vec::new();
                let record = NewRecord { value: Some(&value), ..NewRecord::default() };
                record.write(7, offset_delta, &mut bytes);
                bytes.extend_from_slice(b"behind it");
                let is_short = record.size(7, offset_delta) <= 64 && offset_delta < 1 << 20;
                let is_plain = length < 1 << 20 && offset_delta < 1 << 20;
                assert_eq!(parse_short(&bytes, 0).is_some(), is_short, "{length} bytes at {offset_delta}");
                assert_eq!(parse_plain(&bytes, 0).is_some(), is_plain, "{length} bytes at {offset_delta}");
                assert!(plain_is_right(&bytes));
                for place in 0..12 {
                    bytes[place] ^= 1;
                    assert!(plain_is_right(&bytes), "{length} bytes at {offset_delta} with another byte {place}");
                    bytes[place] ^= 1;
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_as_a_plain_record_is_one(
            length in prop_oneof![0..70_usize, 8_100..8_300_usize],
            (timestamp_delta, offset_delta) in (-100..100_i64, -100..20_000_i32),
            (place, byte) in (0..14_usize, any::<u8>()),
            (key, behind) in (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..12)),
        ) {
            let value = vec![b'v'; length];
            let record = NewRecord { key: key.then_some(b"k"), value: Some(&value), ..NewRecord::default() };
            let mut bytes = Vec::new();
            record.write(timestamp_delta, offset_delta, &mut bytes);
            bytes.extend_from_slice(&behind);
            prop_assert!(plain_is_right(&bytes));
            for cut in 0..bytes.len() {
                prop_assert!(plain_is_right(&bytes[..cut]));
            }
            let place = place.min(bytes.len() - 1);
            bytes[place] = byte;
            prop_assert!(plain_is_right(&bytes));
        }
    }
}
