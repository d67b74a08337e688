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
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i64 | offset | of the message; of the last one inside where it is compressed |
//! | 8 | i32 | size | bytes after this field: at least 14 (v0) or 22 (v1) |
//! | 12 | u32 | crc | plain CRC-32 of everything from the magic on; unlike v2's, it covers no length |
//! | 16 | i8 | magic | 0 or 1 |
//! | 17 | i8 | attributes | bits 0-2 codec; v1: bit 3 LogAppendTime |
//! | 18 | i64 | timestamp | v1 only, ms; -1 none |
//! | 18 or 26 | i32 | key length | -1 null; then the key, then value length and value in the same way |
//!
//! The magic stands where it stands in a record batch, so one look ahead tells the formats apart.
//! Source: `LegacyRecord.java`, `AbstractLegacyRecordBatch.java`.

use super::{FormatError, crc};
use crate::units::Offset;

const SIZE: usize = 8;
const CRC: usize = SIZE + 4;
const MAGIC: usize = CRC + 4;
const ATTRIBUTES: usize = MAGIC + 1;
const BODY: usize = ATTRIBUTES + 1;
const TIMESTAMP_SIZE: usize = 8;
/// The bytes that the size field does not count.
const LENGTH_OVERHEAD: usize = CRC;
const _: () = assert!(BODY == 18);

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
