//! Zig-zag varints, the variable-length integers inside record batches v2.
//!
//! A signed number is folded so that small magnitudes become small unsigned ones (0, -1, 1, -2 → 0, 1, 2, 3), then
//! written in groups of 7 bits, lowest group first, the high bit of each byte set when another one follows. At most
//! 5 bytes for 32 bits and 10 for 64. Source: Kafka's `ByteUtils.writeVarint`, `writeVarlong`. Lengths inside the records of
//! internal topics are written in the same groups, but not folded: `ByteUtils.writeUnsignedVarint`.

use super::FormatError;

/// The most bytes that [`write()`] adds.
pub const VARINT_SIZE_MAX: usize = 10;

/// The number that stands for `value`: small magnitudes become small numbers.
#[inline]
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The bytes that `value` takes.
#[inline]
#[must_use]
pub const fn size(value: i64) -> usize {
    // Each byte carries 7 bits; zero still takes one byte. The multiplication divides by 7 for 1..=64.
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    (bits * 9 + 64) / 64
}

/// Appends `value`. The same bytes serve a 32-bit and a 64-bit field.
#[inline]
pub fn write(out: &mut Vec<u8>, value: i64) {
    let (mut bytes, mut length) = ([0; VARINT_SIZE_MAX], 0);
    put(&mut bytes, &mut length, value);
    out.extend_from_slice(&bytes[..length]);
}

/// Writes `value` at `*at`, which has room for it, and moves `*at` behind it.
#[inline]
pub fn put(out: &mut [u8], at: &mut usize, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        out[*at] = rest as u8 | 0x80;
        rest >>= 7;
        *at += 1;
    }
    out[*at] = rest as u8;
    *at += 1;
}

/// The bytes of a varint of at most three, as a number whose lowest byte is the first, and how many they are. `folded` is
/// what [`zigzag`] gives.
#[inline(always)]
pub(super) const fn packed(folded: u64) -> Option<(u64, usize)> {
    match folded {
        0..0x80 => Some((folded, 1)),
        0x80..0x4000 => Some((folded & 0x7f | 0x80 | folded >> 7 << 8, 2)),
        0x4000..0x20_0000 => Some((folded & 0x7f | 0x80 | (folded >> 7 & 0x7f | 0x80) << 8 | folded >> 14 << 16, 3)),
        _ => None,
    }
}

/// What [`packed`] was given, and how many bytes it took; bytes that lie above do not matter.
#[inline(always)]
pub(super) const fn unpacked(bytes: u64) -> Option<(u64, usize)> {
    let low = bytes & 0x7f;
    if bytes & 0x80 == 0 {
        Some((low, 1))
    } else if bytes & 0x8000 == 0 {
        Some((low | bytes >> 1 & 0x3f80, 2))
    } else if bytes & 0x80_0000 == 0 {
        Some((low | bytes >> 1 & 0x3f80 | bytes >> 2 & 0x1f_c000, 3))
    } else {
        None
    }
}

/// Reads a 64-bit varint at `*at` and moves `*at` behind it.
#[inline(always)]
pub fn read_i64(bytes: &[u8], at: &mut usize) -> Result<i64, FormatError> {
    let first = *bytes.get(*at).ok_or_else(cut)?;
    *at += 1;
    // One byte and two are nearly all that there are.
    let raw = if first < 0x80 {
        u64::from(first)
    } else if let Some(&second @ 0..0x80) = bytes.get(*at) {
        *at += 1;
        u64::from(first & 0x7f) | u64::from(second) << 7
    } else {
        read_rest(bytes, at, u64::from(first & 0x7f))?
    };
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Appends a varint that is not folded, as lengths in flexible messages are.
pub fn write_u32(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a 32-bit varint that is not folded at `*at` and moves `*at` past it.
pub fn read_u32(bytes: &[u8], at: &mut usize) -> Result<u32, FormatError> {
    let unfolded = read_i64(bytes, at)?;
    let raw = (unfolded << 1 ^ unfolded >> 63) as u64;
    u32::try_from(raw).map_err(|_| out_of_range())
}

/// Reads a 32-bit varint at `*at` and moves `*at` behind it.
#[inline(always)]
pub fn read_i32(bytes: &[u8], at: &mut usize) -> Result<i32, FormatError> {
    i32::try_from(read_i64(bytes, at)?).map_err(|_| out_of_range())
}

#[cold]
fn out_of_range() -> FormatError {
    FormatError::corrupt("a 32-bit varint is out of range")
}

#[cold]
fn cut() -> FormatError {
    FormatError::corrupt("a varint is cut short")
}

#[inline(never)]
fn read_rest(bytes: &[u8], at: &mut usize, mut raw: u64) -> Result<u64, FormatError> {
    for group in 1..VARINT_SIZE_MAX {
        let byte = *bytes.get(*at).ok_or_else(cut)?;
        *at += 1;
        if group == VARINT_SIZE_MAX - 1 && byte > 1 {
            break;
        }
        raw |= u64::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Ok(raw);
        }
    }
    Err(FormatError::corrupt("a varint is longer than 10 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_kafkas_bytes() {
        for (value, bytes) in [
            (0, &[0x00][..]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            write(&mut out, value);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(size(value), bytes.len(), "{value}");
            let number = bytes.iter().rev().fold(0, |above, &byte| above << 8 | u64::from(byte));
            let expected = (bytes.len() <= 3).then_some((number, bytes.len()));
            assert_eq!(packed(zigzag(value)), expected, "{value}");
            let above = 0xa5a5_a5a5_a5a5_a5a5_u64.checked_shl(8 * bytes.len() as u32).unwrap_or(0);
            assert_eq!(unpacked(number | above), expected.map(|_| (zigzag(value), bytes.len())), "{value}");
            let mut at = 0;
            assert_eq!(read_i64(bytes, &mut at), Ok(value));
            assert_eq!(at, bytes.len());
        }
    }

    #[test]
    fn every_size_is_the_size_written() {
        for bits in 0..63 {
            for value in [(1_i64 << bits) - 1, 1 << bits, -(1 << bits), -(1 << bits) - 1] {
                let mut out = Vec::new();
                write(&mut out, value);
                assert_eq!(size(value), out.len(), "{value}");
            }
        }
    }

    #[test]
    fn refuses_a_cut_an_endless_and_an_oversized_varint() {
        assert!(read_i64(&[], &mut 0).is_err());
        assert!(read_i64(&[0x80], &mut 0).is_err());
        assert!(read_i64(&[0x80; 11], &mut 0).is_err());
        assert!(read_i64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], &mut 0).is_err());
        assert!(read_i32(&[0x80, 0x80, 0x80, 0x80, 0x10], &mut 0).is_err());
        assert!(read_u32(&[0x80, 0x80, 0x80, 0x80, 0x10], &mut 0).is_err());
    }

    #[test]
    fn reads_a_number_that_is_not_folded() {
        for (bytes, expected) in [
            (&[0x00][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0xff, 0x01], 32767),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX),
        ] {
            let mut at = 0;
            assert_eq!(read_u32(bytes, &mut at), Ok(expected));
            assert_eq!(at, bytes.len());
        }
    }
}
