//! Messages v0 and v1 (magic 0 and 1), which Kafka wrote before 0.11. Read only.
//!
//! ```text
//!  0        8      12    16 17   18 / 18          26
//!  ┌────────┬──────┬─────┬──┬────┬─────────┬────────────┬──────────────┐
//!  │ offset │ size │ crc │mg│attr│timestamp│ key length │ value length │
//!  │ i64    │ i32  │ u32 │01│ i8 │ v1: i64 │ i32, bytes │ i32, bytes   │
//!  └────────┴──────┴─────┴──┴────┴─────────┴────────────┴──────────────┘
//! ```
//!
//! The fields before the key are in [`header`](super::header). A length of -1 is null. An uncompressed message is one
//! record. A compressed one is a wrapper: its value holds whole messages of the same format, uncompressed, one behind the
//! other.
//!
//! | of a message inside | v0 | v1 |
//! | --- | --- | --- |
//! | offset | absolute | relative: the wrapper has the last one's; at 0 (old librdkafka) it adds nothing |
//! | timestamp | none | its own; the wrapper's where that has LogAppendTime |
//!
//! Readers above this floor know only records of v2: [`to_records`] gives them those.
//! Sources: `LegacyRecord.java`, `AbstractLegacyRecordBatch.java`.

use super::compression::{Codec, Decompressor};
use super::header::{BatchHeader, MAGIC, legacy_body};
use super::record::NewRecord;
use super::{FormatError, crc};
use crate::units::Offset;

const SIZE: usize = 8;
const CRC: usize = SIZE + 4;
const ATTRIBUTES: usize = MAGIC + 1;
const BODY: usize = legacy_body(0);
const TIMESTAMP_SIZE: usize = legacy_body(1) - BODY;
/// The bytes that the size field does not count.
const LENGTH_OVERHEAD: usize = CRC;

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
    pub timestamp: Option<i64>,
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
        let head = bytes.get(..BODY).ok_or_else(cut)?;
        let field = |at: usize| i32::from_be_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let size = usize::try_from(field(SIZE)).map_err(|_| FormatError::corrupt("the message has a negative size"))?;
        let message = bytes.get(..LENGTH_OVERHEAD + size).filter(|it| it.len() >= BODY).ok_or_else(cut)?;
        let magic = head[MAGIC] as i8;
        if !matches!(magic, 0 | 1) {
            return Err(FormatError::corrupt(format!("magic {magic} is no message of an old format")));
        }
        if crc::crc32(&message[MAGIC..]) != field(CRC) as u32 {
            return Err(FormatError::corrupt("the checksum of the message does not match its bytes"));
        }
        let mut rest = &message[BODY..];
        let mut timestamp = None;
        if magic == 1 {
            let (bytes, behind) = rest.split_first_chunk::<TIMESTAMP_SIZE>().ok_or_else(cut)?;
            (timestamp, rest) = (Some(i64::from_be_bytes(*bytes)), behind);
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

/// Makes v2 records of the message that `header` stands for: appends them to `records` and returns the header that a
/// batch of them has, its size aside. `inside` is room for what is compressed, of at most `size_max` bytes.
///
/// # Errors
/// When the message or one inside it is damaged, or what is inside is larger than `size_max`.
pub fn to_records(
    header: &BatchHeader,
    bytes: &[u8],
    decompressor: &mut Decompressor,
    inside: &mut Vec<u8>,
    size_max: usize,
    records: &mut Vec<u8>,
) -> Result<BatchHeader, FormatError> {
    let wrapper = Message::parse(bytes)?;
    let codec = header.attributes.codec()?;
    if codec == Codec::None {
        inside.clear();
        return append_records(header, bytes, 0, records);
    }
    if codec == Codec::Zstd {
        return Err(FormatError::corrupt(format!("zstd in a message of format v{}", header.magic)));
    }
    let value = wrapper.value.ok_or_else(|| FormatError::corrupt("a compressed message has no value"))?;
    decompressor.decompress(codec, header.magic as u8, value, inside, size_max)?;
    let added = if header.magic == 0 || wrapper.offset == Offset::ZERO {
        0
    } else {
        let last = last_offset(inside)?;
        let added = wrapper.offset.0.checked_sub(last).filter(|&added| last >= 0 && added >= 0);
        added.ok_or_else(|| {
            FormatError::corrupt(format!(
                "a compressed message has offset {}, its last one inside {last}",
                wrapper.offset
            ))
        })?
    };
    append_records(header, inside, added, records)
}

/// The offset of the last of several messages, as it stands there.
fn last_offset(messages: &[u8]) -> Result<i64, FormatError> {
    let (mut at, mut last) = (0, -1);
    while at < messages.len() {
        let message = Message::parse(&messages[at..])?;
        (at, last) = (at + message.size, message.offset.0);
    }
    Ok(last)
}

fn append_records(
    header: &BatchHeader,
    messages: &[u8],
    added: i64,
    records: &mut Vec<u8>,
) -> Result<BatchHeader, FormatError> {
    let is_compressed = header.attributes.codec()? != Codec::None;
    let mut made = BatchHeader { record_count: 0, last_offset_delta: 0, ..*header };
    let mut at = 0;
    while at < messages.len() {
        let message = Message::parse(&messages[at..])?;
        at += message.size;
        if is_compressed && (message.magic != header.magic || message.attributes & 7 != 0) {
            return Err(FormatError::corrupt("a compressed message holds one of another format, or a compressed one"));
        }
        let offset = message.offset.0.checked_add(added).map(Offset);
        let offset = offset.filter(|offset| (Offset::ZERO..=Offset::BASE_MAX).contains(offset));
        let offset =
            offset.ok_or_else(|| FormatError::corrupt("a message inside a compressed one has an impossible offset"))?;
        let timestamp_ms = message.timestamp.unwrap_or(-1);
        if made.record_count == 0 {
            (made.base_offset, made.base_timestamp) = (offset, timestamp_ms);
        }
        let delta = offset.0.checked_sub(made.base_offset.0).and_then(|delta| i32::try_from(delta).ok());
        let delta = delta.filter(|&delta| delta >= made.last_offset_delta).ok_or_else(offsets_fall)?;
        made.last_offset_delta = delta;
        made.record_count += 1;
        let record = NewRecord { timestamp_ms, key: message.key, value: message.value, headers: &[] };
        record.write(timestamp_ms.wrapping_sub(made.base_timestamp), delta, records);
    }
    if made.record_count == 0 {
        return Err(FormatError::corrupt("a compressed message holds none"));
    }
    Ok(made)
}

#[cold]
fn offsets_fall() -> FormatError {
    FormatError::corrupt("the offsets inside a compressed message do not rise")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compression::{Compression, Compressor};
    use crate::format::record_cursor::RecordCursor;

    const VECTOR_C: &str = "00000000000000000000001aa5da6a6201000000018bcfe56800000000026b31000000027631";
    const VECTOR_D: &str = "00000000000000000000001257e7496e0000000000026b31000000027631";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn reads_vectors_c_and_d() {
        for (vector, magic, timestamp) in [(VECTOR_C, 1, Some(1_700_000_000_000)), (VECTOR_D, 0, None)] {
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

    /// A message of an old format.
    fn message(magic: i8, offset: i64, codec: Codec, timestamp: i64, parts: [Option<&[u8]>; 2]) -> Vec<u8> {
        let mut body = vec![magic as u8, codec.attribute_bits()];
        if magic == 1 {
            body.extend_from_slice(&timestamp.to_be_bytes());
        }
        for part in parts {
            body.extend_from_slice(&part.map_or(-1, |part| part.len() as i32).to_be_bytes());
            body.extend_from_slice(part.unwrap_or_default());
        }
        let mut message = offset.to_be_bytes().to_vec();
        message.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        message.extend_from_slice(&crc::crc32(&body).to_be_bytes());
        message.extend_from_slice(&body);
        message
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::new();
        let compression = Compression { codec: Codec::Gzip, level: None };
        Compressor::new(compression).compress(bytes, &mut compressed).unwrap();
        compressed
    }

    /// Offset, timestamp and value.
    type Found = (i64, i64, Vec<u8>);

    /// The header that the records go by, and every record.
    fn read(bytes: &[u8]) -> Result<(BatchHeader, Vec<Found>), FormatError> {
        let header = BatchHeader::parse(bytes).unwrap();
        let (mut inside, mut records) = (Vec::new(), Vec::new());
        let made = to_records(&header, bytes, &mut Decompressor::default(), &mut inside, 1 << 20, &mut records)?;
        let (mut cursor, mut found) = (RecordCursor::new(&made), Vec::new());
        while let Some(span) = cursor.next(&records)? {
            let record = span.record(&records);
            let offset = made.base_offset.0 + i64::from(record.offset_delta);
            let value = record.value.unwrap_or(b"null").to_vec();
            found.push((offset, made.record_timestamp(record.timestamp_delta), value));
        }
        Ok((made, found))
    }

    fn wrapper(magic: i8, offset: i64, inside: &[(i64, i64)]) -> Vec<u8> {
        let inner = |&(offset, timestamp): &(i64, i64)| {
            message(magic, offset, Codec::None, timestamp, [None, Some(&offset.to_string().into_bytes())])
        };
        let messages: Vec<u8> = inside.iter().flat_map(inner).collect();
        message(magic, offset, Codec::Gzip, 30, [None, Some(&gzip(&messages))])
    }

    #[test]
    fn messages_inside_a_wrapper_have_the_offsets_that_their_format_gives_them() {
        for (magic, wrapper_offset, inside, expected) in [
            (0, 12, [5, 9, 12], [5, 9, 12]),
            (1, 12, [0, 1, 2], [10, 11, 12]),
            (1, 12, [0, 4, 7], [5, 9, 12]),
            (1, 0, [3, 4, 5], [3, 4, 5]),
            (0, 0, [3, 4, 5], [3, 4, 5]),
        ] {
            let bytes = wrapper(magic, wrapper_offset, &inside.map(|offset| (offset, 10 * offset)));
            let (header, found) = read(&bytes).unwrap();
            assert_eq!(found.iter().map(|it| it.0).collect::<Vec<_>>(), expected, "v{magic} at {wrapper_offset}");
            assert_eq!(
                (header.base_offset.0, header.last_offset().0, header.record_count),
                (expected[0], expected[2], 3)
            );
            let times = inside.map(|offset| if magic == 0 { -1 } else { 10 * offset });
            assert_eq!(found.iter().map(|it| it.1).collect::<Vec<_>>(), times, "v{magic}");
        }
    }

    #[test]
    fn under_log_append_time_messages_inside_have_the_wrappers_time() {
        let mut bytes = wrapper(1, 1, &[(0, 10), (1, 20)]);
        bytes[ATTRIBUTES] |= 1 << 3;
        let checksum = crc::crc32(&bytes[MAGIC..]);
        bytes[CRC..MAGIC].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(read(&bytes).unwrap().1.iter().map(|it| it.1).collect::<Vec<_>>(), [30, 30]);
    }

    #[test]
    fn an_uncompressed_message_is_one_record() {
        let bytes = message(1, 7, Codec::None, 99, [Some(b"k"), None]);
        assert_eq!(read(&bytes).unwrap().1, [(7, 99, b"null".to_vec())]);
    }

    #[test]
    fn refuses_wrappers_that_break_their_rules() {
        let plain = message(1, 0, Codec::None, 1, [None, Some(b"v")]);
        let nested = message(1, 0, Codec::Gzip, 1, [None, Some(&gzip(&plain))]);
        let older = message(0, 0, Codec::None, 1, [None, Some(b"v")]);
        let mut damaged = plain.clone();
        *damaged.last_mut().unwrap() ^= 1;
        for (bytes, why) in [
            (message(1, 5, Codec::Gzip, 1, [None, None]), "no value"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(b""))]), "nothing inside"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(&nested))]), "a wrapper inside"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(&older))]), "another format inside"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(&damaged))]), "a wrong checksum inside"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(&plain[..20]))]), "a message cut short inside"),
            (message(1, 5, Codec::Zstd, 1, [None, Some(&gzip(&plain))]), "zstd"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&[0; 50])]), "no gzip"),
            (message(1, 5, Codec::Gzip, 1, [None, Some(&gzip(&vec![0; 2 << 20]))]), "more than the limit"),
            (wrapper(1, 5, &[(0, 1), (6, 1)]), "a last offset above the wrapper's"),
            (wrapper(1, 5, &[(3, 1), (2, 1), (4, 1)]), "offsets that fall"),
            (wrapper(0, 5, &[(-1, 1), (5, 1)]), "a negative offset"),
            (wrapper(0, 5, &[(i64::MAX, 1)]), "an offset with none behind it"),
            (wrapper(0, 1 << 40, &[(0, 1), (1 << 40, 1)]), "offsets too far apart"),
        ] {
            assert!(read(&bytes).is_err(), "{why}");
        }
    }
}
