//! The codecs of record batches, in Kafka's framings.
//!
//! | bits 0-2 | codec | bytes in the batch |
//! | --- | --- | --- |
//! | 0 | none | the records |
//! | 1 | gzip | RFC 1952 members |
//! | 2 | snappy | xerial's stream: 16 bytes `82 SNAPPY 00`, version 1, compatible 1; then i32 length and a raw block each |
//! | 3 | lz4 | one LZ4 frame: version 1, independent blocks of 64 KiB, no block or content checksum, no content size |
//! | 4 | zstd | standard frames |
//!
//! 5 to 7 are no codec. All of a batch's records are one compressed stream.
//!
//! Read beside what is written: snappy as one raw block without the stream (librdkafka), with blocks of any size and with
//! the stream's head again between blocks; lz4 with blocks up to 4 MiB, block checksums (verified), content size and
//! checksum (passed over), and, in message sets v0, a header checksum that is wrong by an old mistake.
//! Sources: `CompressionType.java`, `Lz4BlockInputStream.java`, snappy-java's `SnappyCodec.java`.

mod codec;
mod gzip;
mod lz4;
mod snappy;
mod zstd;

pub use codec::{Codec, Compression, CompressionError};

use super::FormatError;
use std::fmt;

/// No batch that this program makes holds more plain bytes than this in compressed form: a larger one stays uncompressed.
/// Readers take any batch up to here, whatever its topic is configured to now, and take a smaller one that claims more for a
/// bomb: a batch of Kafka's default size, 1 MiB, may be compressed by 256.
pub const DECOMPRESSED_SIZE_MAX: usize = 256 << 20;

/// Compresses batch after batch with the same memory.
pub struct Compressor {
    compression: Compression,
    engine: Engine,
}

enum Engine {
    None,
    Gzip(flate2::Compress),
    Snappy(Box<snap::raw::Encoder>),
    Lz4,
    Zstd(Box<zstd::Compressor>),
}

fn failed(codec: Codec, error: impl fmt::Display) -> FormatError {
    FormatError::corrupt(format!("{}: {error}", codec.name()))
}

impl Compressor {
    /// A compressor.
    ///
    /// # Panics
    /// When zstd has no memory.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        let default = compression.codec.levels().map_or(0, |(_, _, default)| default);
        let level = compression.level.unwrap_or(default);
        let engine = match compression.codec {
            Codec::None => Engine::None,
            Codec::Gzip => Engine::Gzip(flate2::Compress::new(flate2::Compression::new(level as u32), false)),
            Codec::Snappy => Engine::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Lz4 => Engine::Lz4,
            Codec::Zstd => Engine::Zstd(Box::new(zstd::compressor(level))),
        };
        Self { compression, engine }
    }

    /// What it was made for.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Compresses `plain` and appends the result to `out`.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn compress(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), FormatError> {
        match &mut self.engine {
            Engine::None => out.extend_from_slice(plain),
            Engine::Gzip(engine) => gzip::compress(engine, plain, out)?,
            Engine::Snappy(engine) => snappy::compress(engine, plain, out)?,
            Engine::Lz4 => lz4::compress(plain, out)?,
            Engine::Zstd(engine) => zstd::compress(engine, plain, out)?,
        }
        Ok(())
    }
}

/// Decompresses batch after batch with the same memory.
#[derive(Default)]
pub struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: Option<zstd::Decompressor>,
}

impl Decompressor {
    /// Decompresses `bytes` into `out`, which is cleared first and never grows over `limit`. `magic` is that of the batch:
    /// the lz4 frames of message sets v0 have a header checksum of their own.
    ///
    /// # Errors
    /// When the bytes are damaged, cut short, followed by others, or decompress to more than `limit`.
    pub fn decompress(
        &mut self,
        codec: Codec,
        magic: u8,
        bytes: &[u8],
        out: &mut Vec<u8>,
        limit: usize,
    ) -> Result<(), FormatError> {
        out.clear();
        match codec {
            Codec::None if bytes.len() > limit => Err(FormatError::TooLarge { limit }),
            Codec::None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Codec::Gzip => gzip::decompress(bytes, out, limit),
            Codec::Snappy => snappy::decompress(&mut self.snappy, bytes, out, limit),
            Codec::Lz4 => lz4::decompress(magic, bytes, out, limit),
            Codec::Zstd => zstd::decompress(&mut self.zstd, bytes, out, limit),
        }
    }
}

/// Gives an output of which all is filled more room, up to one byte over the limit: it tells data that ends there from
/// data that goes on. Room that was given before is used up first, since a stream may give its data in tiny pieces.
fn make_room(out: &mut Vec<u8>, filled: usize, compressed: usize, limit: usize) -> Result<(), FormatError> {
    if filled > limit {
        return Err(FormatError::TooLarge { limit });
    }
    if filled == out.len() {
        let more = filled.max(compressed * 4).max(4096);
        out.resize(filled + more.min(limit + 1 - filled), 0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use twox_hash::XxHash32;

    const LIMIT: usize = 8 << 20;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(|_| next()).collect()
    }

    fn compressed(name: &str, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Compressor::new(name.parse().unwrap()).compress(plain, &mut out).unwrap();
        out
    }

    fn plain(codec: Codec, bytes: &[u8], limit: usize) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::new();
        Decompressor::default().decompress(codec, 2, bytes, &mut out, limit).map(|()| out)
    }

    const NAMES: [&str; 8] = ["none", "gzip", "gzip:9", "snappy", "lz4", "zstd", "zstd:-5", "zstd:19"];

    #[test]
    fn every_codec_gives_back_what_it_took() {
        let text = b"a line of a log that repeats itself, more or less\n".repeat(2000);
        for name in NAMES {
            let compression: Compression = name.parse().unwrap();
            let (mut compressor, mut decompressor) = (Compressor::new(compression), Decompressor::default());
            for original in [&b""[..], b"x", &text, &noise(100_000), &text.repeat(30)] {
                let (mut bytes, mut out) = (b"head".to_vec(), Vec::new());
                compressor.compress(original, &mut bytes).unwrap();
                assert_eq!(&bytes[..4], b"head", "appended, not replaced");
                decompressor.decompress(compression.codec, 2, &bytes[4..], &mut out, LIMIT).unwrap();
                assert!(out == original, "{name}, {} bytes", original.len());
            }
        }
    }

    #[test]
    fn framings_begin_as_kafkas() {
        assert_eq!(compressed("gzip", b"x")[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff]);
        assert_eq!(compressed("snappy", b"x")[..20], *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x03");
        assert_eq!(compressed("lz4", b"x"), b"\x04\x22\x4d\x18\x60\x40\x82\x01\0\0\x80x\0\0\0\0");
        assert_eq!(compressed("zstd", b"x")[..4], [0x28, 0xb5, 0x2f, 0xfd]);
    }

    #[test]
    fn snappy_is_read_raw_in_blocks_of_any_size_and_joined() {
        let raw = snap::raw::Encoder::new().compress_vec(b"hello").unwrap();
        assert_eq!(plain(Codec::Snappy, &raw, LIMIT).unwrap(), b"hello");
        let joined = [compressed("snappy", b"one"), compressed("snappy", b"two")].concat();
        assert_eq!(plain(Codec::Snappy, &joined, LIMIT).unwrap(), b"onetwo");
    }

    #[test]
    fn gzip_and_zstd_are_read_in_several_members() {
        for (name, codec) in [("gzip", Codec::Gzip), ("zstd", Codec::Zstd)] {
            let joined = [compressed(name, b"one"), compressed(name, b"two")].concat();
            assert_eq!(plain(codec, &joined, LIMIT).unwrap(), b"onetwo", "{name}");
        }
    }

    #[test]
    fn lz4_frames_of_others_are_read_as_far_as_kafka_reads_them() {
        let frame = |flags: u8, block_size: u8, tail: &[u8]| {
            let mut bytes = vec![4, 0x22, 0x4d, 0x18, flags, block_size];
            if flags & 8 != 0 {
                bytes.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
            }
            bytes.push((XxHash32::oneshot(0, &bytes[4..]) >> 8) as u8);
            bytes.extend_from_slice(tail);
            bytes
        };
        let stored = b"\x01\0\0\x80x";
        let end = [0; 4];
        let checksum = XxHash32::oneshot(0, b"x").to_be_bytes();
        let checksum: Vec<u8> = checksum.into_iter().rev().collect();
        let simple = [&stored[..], &end].concat();
        let checked = [&stored[..], &checksum, &end].concat();
        for (bytes, what) in [
            (frame(0x60, 0x70, &simple), "4 MiB blocks"),
            (frame(0x68, 0x40, &simple), "a content size"),
            (frame(0x64, 0x40, &[&simple[..], &[9, 9, 9, 9]].concat()), "a content checksum"),
            (frame(0x70, 0x40, &checked), "block checksums"),
        ] {
            assert_eq!(plain(Codec::Lz4, &bytes, LIMIT).unwrap(), b"x", "{what}");
        }
        for (bytes, what) in [
            (frame(0x40, 0x40, &simple), "dependent blocks"),
            (frame(0x61, 0x40, &simple), "a dictionary"),
            (frame(0xa0, 0x40, &simple), "another version"),
            (frame(0x60, 0x30, &simple), "a block size that is none"),
            (frame(0x60, 0x40, stored), "no end mark"),
            (frame(0x60, 0x40, &[&simple[..], b"!"].concat()), "bytes behind the frame"),
            (frame(0x70, 0x40, &[&stored[..], &[0; 4], &end].concat()), "a wrong block checksum"),
        ] {
            assert!(plain(Codec::Lz4, &bytes, LIMIT).is_err(), "{what}");
        }
        let mut old = frame(0x60, 0x40, &simple);
        old[6] ^= 0xff;
        let mut out = Vec::new();
        assert!(plain(Codec::Lz4, &old, LIMIT).is_err());
        Decompressor::default().decompress(Codec::Lz4, 0, &old, &mut out, LIMIT).unwrap();
        assert_eq!(out, b"x", "message sets v0 have another header checksum");
    }

    #[test]
    fn what_inflates_beyond_the_limit_is_refused_before_it_takes_the_memory() {
        let zeros = vec![0; 4 << 20];
        for name in NAMES {
            let compression: Compression = name.parse().unwrap();
            let bytes = compressed(name, &zeros);
            let mut out = Vec::new();
            let limit = 100_000;
            let result = Decompressor::default().decompress(compression.codec, 2, &bytes, &mut out, limit);
            assert_eq!(result, Err(FormatError::TooLarge { limit }), "{name}");
            assert!(out.capacity() < 3 * limit, "{name} took {}", out.capacity());
            assert!(plain(compression.codec, &bytes, zeros.len()).is_ok(), "{name} at the limit");
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        for name in NAMES {
            let codec = name.parse::<Compression>().unwrap().codec;
            let bytes = compressed(name, b"some text, some text, some text");
            for cut in 1..bytes.len() {
                // An xerial stream without blocks is whole, and is what no writer writes.
                let is_whole = codec == Codec::None || codec == Codec::Snappy && cut == 16;
                assert!(is_whole || plain(codec, &bytes[..cut], LIMIT).is_err(), "{name} cut at {cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_data_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), magic in 0_u8..3) {
            for codec in Codec::ALL {
                let mut out = Vec::new();
                let _ = Decompressor::default().decompress(codec, magic, &bytes, &mut out, 10_000);
                prop_assert!(out.len() <= 10_001);
            }
        }

        #[test]
        fn any_bytes_behind_a_true_head_give_data_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for name in NAMES {
                let codec = name.parse::<Compression>().unwrap().codec;
                let mut whole = compressed(name, b"some text, some text");
                let keep = whole.len() / 2;
                whole.truncate(keep);
                whole.extend_from_slice(&bytes);
                let _ = plain(codec, &whole, 10_000);
            }
        }
    }
}
