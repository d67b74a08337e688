//! gzip: RFC 1952 members.

#![expect(clippy::little_endian_bytes, reason = "the trailer of a gzip member is little-endian")]

use super::{Codec, FormatError, failed, make_room};
use flate2::{Compress, FlushCompress, Status};
use std::io::Read;

/// No name, no time, no particular system: what Kafka's Java clients write since JDK 16.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

pub(super) fn compress(engine: &mut Compress, plain: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
    engine.reset();
    out.extend_from_slice(&HEADER);
    loop {
        out.reserve((plain.len() / 2).max(1024));
        let rest = &plain[engine.total_in() as usize..];
        let status = engine.compress_vec(rest, out, FlushCompress::Finish);
        if status.map_err(|error| failed(Codec::Gzip, error))? == Status::StreamEnd {
            break;
        }
    }
    out.extend_from_slice(&crc32fast::hash(plain).to_le_bytes());
    out.extend_from_slice(&(plain.len() as u32).to_le_bytes());
    Ok(())
}

pub(super) fn decompress(bytes: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), FormatError> {
    let mut decoder = flate2::bufread::MultiGzDecoder::new(bytes);
    let mut filled = 0;
    loop {
        make_room(out, filled, bytes.len(), limit)?;
        let read = decoder.read(&mut out[filled..]).map_err(|error| failed(Codec::Gzip, error))?;
        filled += read;
        if read == 0 {
            out.truncate(filled);
            return Ok(());
        }
    }
}
