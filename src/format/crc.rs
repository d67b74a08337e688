//! The two checksums of Kafka's files, which never mix.
//!
//! - CRC-32C (Castagnoli): record batches v2, producer snapshots.
//! - CRC-32 (IEEE, zlib's): message sets v0 and v1, and librdkafka's `consistent` partitioner.
//!
//! Their values for `123456789` are 0xE3069283 and 0xCBF43926.

use crc_fast::{CrcAlgorithm, Digest};

/// CRC-32C of `bytes`.
#[inline]
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// CRC-32 of `bytes`.
#[must_use]
pub fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// A checksum of bytes that come piece by piece.
#[derive(Debug, Clone)]
pub struct Checksum(Kind);

#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack, one at a time")]
enum Kind {
    Crc32c(Digest),
    Crc32(crc32fast::Hasher),
}

impl Checksum {
    /// CRC-32C of no bytes yet.
    #[must_use]
    pub fn crc32c() -> Self {
        Self(Kind::Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi)))
    }

    /// CRC-32 of no bytes yet.
    #[must_use]
    pub fn crc32() -> Self {
        Self(Kind::Crc32(crc32fast::Hasher::new()))
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            Kind::Crc32c(digest) => digest.update(bytes),
            Kind::Crc32(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all pieces.
    #[must_use]
    pub fn finish(self) -> u32 {
        match self.0 {
            Kind::Crc32c(digest) => digest.finalize() as u32,
            Kind::Crc32(hasher) => hasher.finalize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        let bytes: Vec<u8> = (0..10_000_u32).map(|it| ((it * 31) >> 3) as u8).collect();
        let (mut new, mut old) = (Checksum::crc32c(), Checksum::crc32());
        for piece in bytes.chunks(777) {
            new.update(piece);
            old.update(piece);
        }
        assert_eq!((new.finish(), old.finish()), (crc32c(&bytes), crc32(&bytes)));
    }
}
