//! The JSON envelope: one line a record, in which nothing of the record is lost.
//!
//! | field | meaning |
//! | --- | --- |
//! | `topic`, `partition`, `offset` | where the record is; on the way in the partition counts, and the topic if it is to |
//! | `timestamp`, `timestamp_type` | ms since the epoch; `CreateTime` or `LogAppendTime` |
//! | `key`, `value` | text, or null; `null` differs from `""` |
//! | `key_b64`, `value_b64` | in their place where the bytes are not UTF-8 |
//! | `headers` | an array of `{"key","value"}` in order, duplicates kept; `key_b64`, `value_b64` likewise |
//!
//! It is written here, and read by [`Envelope`](super::envelope::Envelope).

use crate::format::header::TimestampType;
use crate::format::record::{Headers, Record};
use crate::units::{Offset, Timestamp};
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use std::io::Write;

/// A record with what an envelope says of it.
#[derive(Clone, Copy)]
pub struct Located<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition's number.
    pub partition: i32,
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// Who gave it the timestamp.
    pub timestamp_type: TimestampType,
    /// The record itself.
    pub record: Record<'a>,
}

/// Appends the envelope of a record and a newline. Field by field, records of 100 bytes take half the time of a struct that
/// serde serializes.
pub fn write(it: &Located<'_>, out: &mut Vec<u8>) {
    write_place(it, out);
    write_from_offset(it, out);
}

/// Appends the beginning of an envelope, up to the offset.
#[inline(always)]
pub fn write_place(it: &Located<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"topic\":");
    write_text(it.topic, out);
    out.extend_from_slice(b",\"partition\":");
    write_json(&it.partition, out);
    out.extend_from_slice(b",\"offset\":");
}

/// Appends the rest of an envelope, from the offset on, and a newline.
#[inline]
pub fn write_from_offset(it: &Located<'_>, out: &mut Vec<u8>) {
    write_offset_and_time(it, out);
    out.extend_from_slice(b",\"key");
    write_part(it.record.key, out);
    out.extend_from_slice(b",\"value");
    write_part(it.record.value, out);
    write_headers(it, out);
}

/// Appends the offset, and what comes after it up to the key.
#[inline(always)]
pub fn write_offset_and_time(it: &Located<'_>, out: &mut Vec<u8>) {
    write_json(&it.offset.0, out);
    out.extend_from_slice(b",\"timestamp\":");
    write_json(&it.timestamp.0, out);
    out.extend_from_slice(b",\"timestamp_type\":");
    write_text(it.timestamp_type.name(), out);
}

/// Appends what comes after the value, and a newline.
#[inline(always)]
pub fn write_headers(it: &Located<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"headers\":");
    write_header_list(it.record.headers, out);
    out.extend_from_slice(b"}\n");
}

/// Appends headers as a list.
#[inline(always)]
pub fn write_header_list(headers: Headers<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    for (place, (key, value)) in headers.iter().enumerate() {
        out.extend_from_slice(if place == 0 { b"{\"key" } else { b",{\"key" });
        write_part(Some(key), out);
        out.extend_from_slice(b",\"value");
        write_part(value, out);
        out.push(b'}');
    }
    out.push(b']');
}

/// Appends what follows the name of a field that holds bytes, from the end of the name on.
pub(super) fn write_part(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(bytes) = bytes else { return out.extend_from_slice(b"\":null") };
    if let Ok(text) = std::str::from_utf8(bytes) {
        out.extend_from_slice(b"\":");
        write_text(text, out);
    } else {
        out.extend_from_slice(b"_b64\":");
        write_base64(bytes, out);
    }
}

/// Appends bytes as a JSON string of base64.
pub fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    write!(out, "\"{}\"", Base64Display::new(bytes, &BASE64)).expect("memory takes every write");
}

/// Appends a JSON string. What needs no escape, which takes a look at many bytes at once, stands there as it is.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = |byte: u8| (byte >= b' ') & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        write_json(text, out);
    }
}

fn write_json<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("numbers and text are JSON, and memory takes every write");
}
