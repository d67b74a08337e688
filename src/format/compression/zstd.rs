//! Zstandard frames.

use super::{Codec, FormatError, failed, make_room};
use zstd::stream::raw::{InBuffer, Operation, OutBuffer};

pub(super) type Compressor = zstd::bulk::Compressor<'static>;
pub(super) type Decompressor = zstd::stream::raw::Decoder<'static>;

/// # Panics
/// When zstd has no memory.
pub(super) fn compressor(level: i32) -> Compressor {
    Compressor::new(level).expect("zstd takes memory and a level within its range")
}

pub(super) fn compress(engine: &mut Compressor, plain: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    let start = out.len();
    out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
    let written = engine.compress_to_buffer(plain, &mut out[start..]);
    out.truncate(start + written.map_err(|error| failed(Codec::Zstd, error))?);
    Ok(())
}

/// Decompresses with the decoder of the last call, unless that failed.
pub(super) fn decompress(
    kept: &mut Option<Decompressor>,
    bytes: &[u8],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), FormatError> {
    let mut decoder = match kept.take() {
        Some(decoder) => decoder,
        None => Decompressor::new().map_err(|error| failed(Codec::Zstd, error))?,
    };
    decoder.reinit().map_err(|error| failed(Codec::Zstd, error))?;
    let mut input = InBuffer::around(bytes);
    let mut filled = 0;
    loop {
        make_room(out, filled, bytes.len(), limit)?;
        let mut output = OutBuffer::around(&mut out[filled..]);
        let hint = decoder.run(&mut input, &mut output).map_err(|error| failed(Codec::Zstd, error))?;
        filled += output.pos();
        let all_read = input.pos == bytes.len();
        if all_read && hint == 0 {
            break;
        }
        if all_read && filled < out.len() {
            return Err(failed(Codec::Zstd, "the data is cut short"));
        }
    }
    *kept = Some(decoder);
    out.truncate(filled);
    if filled > limit { Err(FormatError::TooLarge { limit }) } else { Ok(()) }
}
