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

/// CRC-32C of bytes that come piece by piece.
#[derive(Debug)]
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32c {
    /// Of no bytes yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all pieces.
    #[must_use]
    pub fn finish(&self) -> u32 {
        self.0.finalize() as u32
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
        let mut crc = Crc32c::new();
        for piece in bytes.chunks(777) {
            crc.update(piece);
        }
        assert_eq!(crc.finish(), crc32c(&bytes));
    }
}
