//! Records inside a record batch v2, borrowed from the batch's bytes.
//!
//! ```text
//! ┌────────┬────────────┬────────────────┬─────────────┬───────────┬─────────────┬─────────┐
//! │ length │ attributes │ timestampDelta │ offsetDelta │ key       │ value       │ headers │
//! │ varint │ int8       │ varint (64)    │ varint      │ len bytes │ len bytes   │ n × k,v │
//! └────────┴────────────┴────────────────┴─────────────┴───────────┴─────────────┴─────────┘
//! ```
//!
//! | field | encoding | meaning |
//! | --- | --- | --- |
//! | length | varint | bytes after this field |
//! | attributes | int8 | unused, written 0, not looked at |
//! | timestampDelta | varint (64 bits) | timestamp minus the batch's base timestamp; may be negative |
//! | offsetDelta | varint | offset minus the batch's base offset |
//! | key, value | varint length, bytes | length -1 is null, which differs from empty |
//! | headers | varint count, then key (not null) and value (may be null) each | order and duplicates kept |
//!
//! Written since Kafka 0.11. Source: `DefaultRecord.java`, `ByteUtils.java`. No checksum here: the batch has it.

use super::{FormatError, varint};

/// One record, borrowed from a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Offset minus the base offset of the batch.
    pub offset_delta: i32,
    /// Milliseconds minus the base timestamp of the batch.
    pub timestamp_delta: i64,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null (a tombstone where there is a key).
    pub value: Option<&'a [u8]>,
    /// The headers, in the order of the file.
    pub headers: Headers<'a>,
}

/// The headers of a record, as they stand in the file: checked once, decoded when asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.count == 0
    }

    /// Key and value of each, in order. Keys are UTF-8 by Kafka's rule, which nothing enforces: they are bytes here.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut at = 0;
        (0..self.count).map_while(move |_| read_header(self.bytes, &mut at).ok())
    }
}

/// Where the parts of one record lie in the records of its batch: a [`Record`] that borrows nothing, so that a reader
/// can hold the next record of each of many partitions.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordSpan {
    /// See [`Record::offset_delta`].
    pub offset_delta: i32,
    /// See [`Record::timestamp_delta`].
    pub timestamp_delta: i64,
    key: (usize, usize),
    value: (usize, usize),
    headers: (usize, usize),
    header_count: usize,
    /// Where the next record begins.
    pub end: usize,
}

/// The length that stands for null in a span.
const NULL: usize = usize::MAX;

impl RecordSpan {
    /// Finds the parts of the record that begins at `at`.
    ///
    /// # Errors
    /// When a length points outside the record or the record outside `bytes`.
    #[inline]
    pub fn parse(bytes: &[u8], start: usize) -> Result<Self, FormatError> {
        let mut at = start;
        let length = varint::read_i32(bytes, &mut at)?;
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let end = end.filter(|&end| end <= bytes.len()).ok_or_else(outside_the_batch)?;
        let body = &bytes[..end];
        at += 1;
        let timestamp_delta = varint::read_i64(body, &mut at)?;
        let offset_delta = varint::read_i32(body, &mut at)?;
        let key = read_span(body, &mut at)?;
        let value = read_span(body, &mut at)?;
        let header_count = varint::read_i32(body, &mut at)?;
        let headers = at;
        let header_count =
            usize::try_from(header_count).map_err(|_| FormatError::corrupt("a record has a negative header count"))?;
        for _ in 0..header_count {
            read_header(body, &mut at)?;
        }
        if at != end {
            return Err(FormatError::corrupt("a record is longer than its parts"));
        }
        Ok(Self { offset_delta, timestamp_delta, key, value, headers: (headers, end - headers), header_count, end })
    }

    /// Where the value begins, and its length; that of a null value is 0.
    #[inline]
    const fn value_place(&self) -> (usize, usize) {
        let (start, length) = self.value;
        (start, if length == NULL { 0 } else { length })
    }

    /// The record itself; `bytes` are those that the span was parsed from.
    #[inline]
    #[must_use]
    pub fn record<'a>(&self, bytes: &'a [u8]) -> Record<'a> {
        let part = |(start, length): (usize, usize)| (length != NULL).then(|| &bytes[start..start + length]);
        Record {
            offset_delta: self.offset_delta,
            timestamp_delta: self.timestamp_delta,
            key: part(self.key),
            value: part(self.value),
            headers: Headers {
                bytes: &bytes[self.headers.0..self.headers.0 + self.headers.1],
                count: self.header_count,
            },
        }
    }
}

/// Where a record stands, and its value.
pub(super) struct ValueSpan {
    pub(super) offset_delta: i32,
    pub(super) value: usize,
    pub(super) value_length: usize,
    pub(super) end: usize,
}

/// [`RecordSpan::parse`] for who wants no more than the value. By the general way alone, to consume records of 100 bytes took
/// 1.35 times as long, and to verify them 1.4 times.
#[inline(always)]
pub(super) fn parse_value(bytes: &[u8], start: usize) -> Result<ValueSpan, FormatError> {
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
pub(super) fn parse_short(bytes: &[u8], start: usize) -> Option<ValueSpan> {
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
pub(super) fn parse_plain(bytes: &[u8], start: usize) -> Option<ValueSpan> {
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

#[cold]
fn outside_the_batch() -> FormatError {
    FormatError::corrupt("a record reaches outside its batch")
}

/// Reads a length and steps over as many bytes; -1 is null.
#[inline(always)]
fn read_span(bytes: &[u8], at: &mut usize) -> Result<(usize, usize), FormatError> {
    let length = varint::read_i32(bytes, at)?;
    let Ok(length) = usize::try_from(length) else {
        return if length == -1 {
            Ok((*at, NULL))
        } else {
            Err(FormatError::corrupt("a key or value has a negative length"))
        };
    };
    let start = *at;
    if bytes.len() - start < length {
        return Err(FormatError::corrupt("a key or value reaches outside its record"));
    }
    *at = start + length;
    Ok((start, length))
}

fn read_header<'a>(bytes: &'a [u8], at: &mut usize) -> Result<(&'a [u8], Option<&'a [u8]>), FormatError> {
    let (key, key_length) = read_span(bytes, at)?;
    if key_length == NULL {
        return Err(FormatError::corrupt("a header has a null key"));
    }
    let (value, value_length) = read_span(bytes, at)?;
    let value = (value_length != NULL).then(|| &bytes[value..value + value_length]);
    Ok((&bytes[key..key + key_length], value))
}

/// What is to become a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
    /// The headers, in order.
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

impl NewRecord<'_> {
    /// The bytes of the record's body, the length field not counted.
    #[inline]
    fn body_size(&self, timestamp_delta: i64, offset_delta: i32) -> usize {
        let mut size = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + part_size(self.key)
            + part_size(self.value)
            + varint::size(self.headers.len() as i64);
        for (key, value) in self.headers {
            size += part_size(Some(key)) + part_size(*value);
        }
        size
    }

    /// The bytes that the record takes at this place in a batch.
    #[inline]
    #[must_use]
    pub fn size(&self, timestamp_delta: i64, offset_delta: i32) -> usize {
        let body = self.body_size(timestamp_delta, offset_delta);
        varint::size(body as i64) + body
    }

    /// More bytes than the record takes anywhere, found without looking at deltas: the five small fields are at most 40
    /// bytes, and each of a header's two lengths 5.
    #[inline]
    #[must_use]
    pub fn size_max(&self) -> usize {
        SMALL_FIELDS_MAX + self.payload_size() + 10 * self.headers.len()
    }

    /// The bytes of key, value and headers.
    #[inline]
    #[must_use]
    pub fn payload_size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(key, value)| key.len() + value.map_or(0, <[u8]>::len)).sum();
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len) + headers
    }

    /// Writes the record at `*at`, where `out` has room for [`NewRecord::size_max`] bytes, and moves `*at` behind it.
    #[inline(always)]
    pub fn put(&self, timestamp_delta: i64, offset_delta: i32, out: &mut [u8], at: &mut usize) {
        varint::put(out, at, self.body_size(timestamp_delta, offset_delta) as i64);
        out[*at] = 0;
        *at += 1;
        varint::put(out, at, timestamp_delta);
        varint::put(out, at, i64::from(offset_delta));
        put_part(out, at, self.key);
        put_part(out, at, self.value);
        varint::put(out, at, self.headers.len() as i64);
        for (key, value) in self.headers {
            put_part(out, at, Some(key));
            put_part(out, at, *value);
        }
    }

    /// Appends the record.
    pub fn write(&self, timestamp_delta: i64, offset_delta: i32, out: &mut Vec<u8>) {
        let mut at = out.len();
        out.resize(at + self.size_max(), 0);
        self.put(timestamp_delta, offset_delta, out, &mut at);
        out.truncate(at);
    }
}

/// The most bytes that the length, the deltas, the counts and the lengths of key and value take.
pub(super) const SMALL_FIELDS_MAX: usize = 40;

/// The most bytes of a value that [`put_short`] takes.
pub(super) const SHORT_MAX: usize = 15;
/// The most bytes that it writes at once: eight of small fields, the value, and what stands behind it.
pub(super) const SHORT_ROOM: usize = 8 + SHORT_MAX + 1;

/// [`NewRecord::put`] for a record that has a short value and nothing else. The small fields go out as one number; the
/// deltas are given as [`varint::packed`]. Returns the size of the record.
#[inline(always)]
pub(super) fn put_short(
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

/// [`NewRecord::put`] for a record that has a value of any common size and nothing else, its small fields as three numbers.
/// Returns the size of the record, and `None` where it does not fit `room` or a field takes more than three bytes.
#[inline(always)]
pub(super) fn put_plain(
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
pub(super) fn find_in_short(byte: u8, bytes: &[u8; SHORT_MAX + 1]) -> Option<usize> {
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

#[inline]
fn part_size(part: Option<&[u8]>) -> usize {
    part.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

#[inline]
fn put_part(out: &mut [u8], at: &mut usize, part: Option<&[u8]>) {
    let Some(bytes) = part else { return varint::put(out, at, -1) };
    varint::put(out, at, bytes.len() as i64);
    copy(bytes, &mut out[*at..*at + bytes.len()]);
    *at += bytes.len();
}

/// Copies `from`, of the length of `to`. Up to 32 bytes go as two overlapping pieces of a fixed length: to produce lines of 24
/// bytes with keys takes a fifth less.
#[inline]
pub fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        16..=32 => copy_ends::<16>(from, to),
        8..=15 => copy_ends::<8>(from, to),
        4..=7 => copy_ends::<4>(from, to),
        _ => to.copy_from_slice(from),
    }
}

#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        let behind = to.len() - N;
        to[..N].copy_from_slice(first);
        to[behind..].copy_from_slice(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(record: NewRecord<'_>, timestamp_delta: i64, offset_delta: i32) {
        let mut bytes = b"before".to_vec();
        record.write(timestamp_delta, offset_delta, &mut bytes);
        assert_eq!(bytes.len() - 6, record.size(timestamp_delta, offset_delta));
        let span = RecordSpan::parse(&bytes, 6).expect("parses");
        assert_eq!(span.end, bytes.len());
        let read = span.record(&bytes);
        assert_eq!((read.timestamp_delta, read.offset_delta), (timestamp_delta, offset_delta));
        assert_eq!((read.key, read.value), (record.key, record.value));
        assert_eq!(read.headers.iter().collect::<Vec<_>>(), record.headers);
        for cut in 6..bytes.len() {
            assert!(RecordSpan::parse(&bytes[..cut], 6).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn null_empty_and_full_parts_stay_what_they_are() {
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x")), (b"", None), (b"h", Some(b""))];
        for key in [None, Some(&b""[..]), Some(b"k")] {
            for value in [None, Some(&b""[..]), Some(b"v")] {
                for headers in [&[], headers] {
                    round_trip(NewRecord { timestamp_ms: 0, key, value, headers }, -5, 7);
                }
            }
        }
    }

    #[test]
    fn refuses_lengths_that_do_not_add_up() {
        for (bytes, why) in [
            (&[0x03, 0, 0, 0, 1, 1, 0][..], "negative record length"),
            (&[0x0e, 0, 0, 0, 1, 1, 0, 0][..], "longer than its parts"),
            (&[0x0c, 0, 0, 0, 0x03, 1, 0], "key length -2"),
            (&[0x0c, 0, 0, 0, 0x7e, 1, 0], "key outside the record"),
            (&[0x0c, 0, 0, 0, 1, 1, 0x01], "negative header count"),
            (&[0x10, 0, 0, 0, 1, 1, 2, 1, 1], "null header key"),
        ] {
            assert!(RecordSpan::parse(bytes, 0).is_err(), "{why}");
        }
    }

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

        #[test]
        fn any_bytes_give_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(span) = RecordSpan::parse(&bytes, 0) {
                let record = span.record(&bytes);
                prop_assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
    }
}
