//! What messages v0 and v1 hold, as records v2.

use super::Message;
use crate::format::FormatError;
use crate::format::compression::{Codec, Decompressor};
use crate::format::header::BatchHeader;
use crate::format::record::NewRecord;
use crate::units::{Offset, Timestamp};

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
        let timestamp = message.timestamp.unwrap_or(Timestamp::NONE);
        if made.record_count == 0 {
            (made.base_offset, made.base_timestamp) = (offset, timestamp);
        }
        let delta = offset.0.checked_sub(made.base_offset.0).and_then(|delta| i32::try_from(delta).ok());
        let delta = delta.filter(|&delta| delta >= made.last_offset_delta).ok_or_else(offsets_fall)?;
        made.last_offset_delta = delta;
        made.record_count += 1;
        let record = NewRecord { timestamp, key: message.key, value: message.value, headers: &[] };
        record.write(timestamp.0.wrapping_sub(made.base_timestamp.0), delta, records);
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
    use crate::format::crc;
    use crate::format::header::MAGIC;
    use crate::format::legacy::{ATTRIBUTES, CRC};
    use crate::format::record_cursor::RecordCursor;

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
            found.push((offset, made.record_timestamp(record.timestamp_delta).0, value));
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
