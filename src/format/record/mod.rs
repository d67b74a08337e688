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

mod new_record;
mod plain;

pub(super) use new_record::SMALL_FIELDS_MAX;
pub use new_record::{NewRecord, copy};
pub(super) use plain::{SHORT_MAX, find_in_short, parse_short, parse_value, put_plain, put_short};

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
                    round_trip(NewRecord { key, value, headers, ..NewRecord::default() }, -5, 7);
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

    proptest! {
        #[test]
        fn any_bytes_give_a_record_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(span) = RecordSpan::parse(&bytes, 0) {
                let record = span.record(&bytes);
                prop_assert_eq!(record.headers.iter().count(), record.headers.len());
            }
        }
    }
}
