//! Which partition a record goes to.

use crate::format::crc;

/// How records are spread over the partitions of a topic. Whatever the hash, a record without a key goes round-robin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partitioner {
    /// By key as Kafka's Java client hashes it.
    #[default]
    Murmur2,
    /// By key as librdkafka's `consistent` partitioner hashes it (CRC-32).
    Crc32,
    /// Record by record, keys or not.
    RoundRobin,
}

impl Partitioner {
    /// The partition that a key names; `None` where the record goes round-robin.
    #[inline(always)]
    #[must_use]
    pub fn by_key(self, key: Option<&[u8]>, partition_count: i32) -> Option<i32> {
        self.by_its_hash(key?, partition_count)
    }

    fn by_its_hash(self, key: &[u8], partition_count: i32) -> Option<i32> {
        let hash = match self {
            Self::Murmur2 => murmur2(key) & 0x7fff_ffff,
            Self::Crc32 => crc::crc32(key),
            Self::RoundRobin => return None,
        };
        Some((hash % partition_count as u32) as i32)
    }
}

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;
const R: u32 = 24;

/// The 32-bit murmur2 of Kafka's `Utils.murmur2`.
#[expect(clippy::little_endian_bytes, reason = "murmur2 reads its words in little-endian order, unlike Kafka's files")]
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    let mut hash = SEED ^ bytes.len() as u32;
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("a chunk of four"));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (place, &byte) in tail.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn murmur2_is_kafkas() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("abc", 479_470_107),
            ("", 275_646_681),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn an_empty_key_is_a_key_and_a_null_key_is_none() {
        assert_eq!(Partitioner::Murmur2.by_key(Some(b""), 7), Some(275_646_681 % 7));
        assert_eq!(Partitioner::Murmur2.by_key(None, 7), None);
        assert_eq!(Partitioner::Crc32.by_key(Some(b"123456789"), 1000), Some((0xCBF4_3926_u32 % 1000) as i32));
        assert_eq!(Partitioner::RoundRobin.by_key(Some(b"k"), 7), None);
    }
}
