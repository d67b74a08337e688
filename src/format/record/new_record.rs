//! Records to be written: the encoding of any record.

use crate::format::varint;
use crate::units::Timestamp;

/// What is to become a record.
#[derive(Debug, Clone, Copy, Default)]
pub struct NewRecord<'a> {
    /// [`Timestamp::NONE`] where it has none.
    pub timestamp: Timestamp,
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
pub(in crate::format) const SMALL_FIELDS_MAX: usize = 40;

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
