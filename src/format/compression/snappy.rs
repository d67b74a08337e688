//! Snappy, in xerial's stream or as one raw block.

use super::{Codec, FormatError, failed};
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const HEADER_SIZE: usize = 16;
/// Plain bytes in a block, as snappy-java cuts them.
const BLOCK_SIZE: usize = 32 << 10;

pub(super) fn compress(engine: &mut Encoder, plain: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&1_i32.to_be_bytes());
    out.extend_from_slice(&1_i32.to_be_bytes());
    for block in plain.chunks(BLOCK_SIZE) {
        let start = out.len() + 4;
        out.resize(start + max_compress_len(block.len()), 0);
        let written = engine.compress(block, &mut out[start..]).map_err(|error| failed(Codec::Snappy, error))?;
        out.truncate(start + written);
        out[start - 4..start].copy_from_slice(&(written as i32).to_be_bytes());
    }
    Ok(())
}

pub(super) fn decompress(
    engine: &mut Decoder,
    bytes: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), FormatError> {
    if !bytes.starts_with(&MAGIC) || bytes.len() < HEADER_SIZE {
        return block(engine, bytes, out, limit);
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        if rest.starts_with(&MAGIC) && rest.len() >= HEADER_SIZE {
            rest = &rest[HEADER_SIZE..];
            continue;
        }
        let cut = || failed(Codec::Snappy, "a block is cut short");
        let (length, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| cut())?;
        block(engine, behind.get(..length).ok_or_else(cut)?, out, limit)?;
        rest = &behind[length..];
    }
    Ok(())
}

fn block(engine: &mut Decoder, bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), FormatError> {
    let length = decompress_len(bytes).map_err(|error| failed(Codec::Snappy, error))?;
    let filled = out.len();
    if length > limit - filled {
        return Err(FormatError::TooLarge { limit });
    }
    // A length is believed only as far as the format can stretch: no byte gives more than 64.
    if length / 64 > bytes.len() {
        return Err(failed(Codec::Snappy, "a block announces more than it can hold"));
    }
    out.resize(filled + length, 0);
    let written = engine.decompress(bytes, &mut out[filled..]).map_err(|error| failed(Codec::Snappy, error))?;
    out.truncate(filled + written);
    Ok(())
}
