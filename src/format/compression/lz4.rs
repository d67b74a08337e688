//! LZ4 frames.

#![expect(clippy::little_endian_bytes, reason = "the LZ4 frame format is little-endian")]

use super::{Codec, FormatError, failed};
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};
use twox_hash::XxHash32;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
const VERSION: u8 = 1 << 6;
const INDEPENDENT: u8 = 1 << 5;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const CONTENT_SIZE: u8 = 1 << 3;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const RESERVED_OR_DICTIONARY: u8 = 0b11;
/// Plain bytes in a block, and the byte that says so.
const BLOCK_SIZE: usize = 64 << 10;
const BLOCK_SIZE_BYTE: u8 = 0x40;
/// The most bytes that one compressed byte gives: it makes a match longer by so much.
const EXPANSION_MAX: usize = 255;
/// Set in the length of a block that is stored as it is.
const STORED: u32 = 1 << 31;

fn header_checksum(descriptor: &[u8]) -> u8 {
    (XxHash32::oneshot(0, descriptor) >> 8) as u8
}

pub(super) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let descriptor = [VERSION | INDEPENDENT, BLOCK_SIZE_BYTE];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&descriptor);
    out.push(header_checksum(&descriptor));
    for block in plain.chunks(BLOCK_SIZE) {
        let start = out.len() + 4;
        out.resize(start + get_maximum_output_size(block.len()), 0);
        let written = compress_into(block, &mut out[start..]).map_err(|error| failed(Codec::Lz4, error))?;
        let length = if written < block.len() {
            out.truncate(start + written);
            written as u32
        } else {
            out.truncate(start);
            out.extend_from_slice(block);
            block.len() as u32 | STORED
        };
        out[start - 4..start].copy_from_slice(&length.to_le_bytes());
    }
    out.extend_from_slice(&0_u32.to_le_bytes());
    Ok(())
}

fn cut() -> FormatError {
    failed(Codec::Lz4, "the frame is cut short")
}

/// What the head of a frame says.
struct Frame {
    flags: u8,
    block_size_max: usize,
}

/// Reads the head and moves `rest` behind it.
fn head(magic: u8, rest: &mut &[u8]) -> Result<Frame, FormatError> {
    let behind = rest.strip_prefix(&MAGIC).ok_or_else(|| failed(Codec::Lz4, "no LZ4 frame"))?;
    let [flags, block_size, ..] = *behind else { return Err(cut()) };
    let content_size = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    let (descriptor, behind) = behind.split_at_checked(2 + content_size).ok_or_else(cut)?;
    let (&checksum, behind) = behind.split_first().ok_or_else(cut)?;
    if flags >> 6 != 1 || flags & INDEPENDENT == 0 || flags & RESERVED_OR_DICTIONARY != 0 {
        return Err(FormatError::Unsupported { what: format!("an LZ4 frame with the flags {flags:#04x}") });
    }
    let block_size_max = match (block_size >> 4) & 7 {
        code @ 4..=7 if block_size & 0x8f == 0 => 1 << (8 + 2 * code),
        _ => return Err(failed(Codec::Lz4, format!("impossible block size {block_size:#04x}"))),
    };
    // Writers of message sets v0 hashed the magic number as well.
    if magic > 0 && header_checksum(descriptor) != checksum {
        return Err(failed(Codec::Lz4, "the checksum of the frame header does not match"));
    }
    *rest = behind;
    Ok(Frame { flags, block_size_max })
}

pub(super) fn decompress(magic: u8, bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), FormatError> {
    let mut rest = bytes;
    let frame = head(magic, &mut rest)?;
    loop {
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length);
        rest = behind;
        if length == 0 {
            break;
        }
        let (block, behind) = rest.split_at_checked((length & !STORED) as usize).ok_or_else(cut)?;
        rest = behind;
        if frame.flags & BLOCK_CHECKSUM != 0 {
            let (checksum, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            if XxHash32::oneshot(0, block) != u32::from_le_bytes(*checksum) {
                return Err(failed(Codec::Lz4, "the checksum of a block does not match"));
            }
            rest = behind;
        }
        let room = frame.block_size_max.min(limit - out.len());
        if length & STORED != 0 {
            if block.len() > room {
                return Err(too_large(&frame, limit, out.len()));
            }
            out.extend_from_slice(block);
            continue;
        }
        // A block takes no more room than its bytes can fill: a frame may hold very many of a few bytes.
        let filled = out.len();
        out.resize(filled + room.min(block.len() * EXPANSION_MAX), 0);
        let Ok(written) = decompress_into(block, &mut out[filled..]) else {
            out.truncate(filled);
            return Err(too_large(&frame, limit, filled));
        };
        out.truncate(filled + written);
    }
    if frame.flags & CONTENT_CHECKSUM != 0 {
        rest = rest.get(4..).ok_or_else(cut)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(failed(Codec::Lz4, "bytes follow the frame")) }
}

/// A block that does not fit is damaged, or there was no room for a whole one.
fn too_large(frame: &Frame, limit: usize, filled: usize) -> FormatError {
    if limit - filled < frame.block_size_max {
        FormatError::TooLarge { limit }
    } else {
        failed(Codec::Lz4, "a block is damaged")
    }
}
