//! The header of a record batch v2 (magic 2), which Kafka writes since 0.11; and of any batch of a log, as a value.
//!
//! ```text
//!  0               8         12          16 17    21     23          27
//!  ┌───────────────┬─────────┬───────────┬──┬─────┬──────┬───────────┐
//!  │ baseOffset    │ batch-  │ partition-│mg│ crc │attri-│ last-     │
//!  │               │ Length  │ LeaderEp. │ 2│     │butes │ OffsetDe. │
//!  ├───────────────┼─────────┴───────────┼──┴─────┴──────┴───────────┤
//! 27 baseTimestamp │ 35 maxTimestamp     │ 43 producerId             │
//!  ├───────────────┼─────────────────────┼───────────────────────────┤
//! 51 producerEpoch │ 53 baseSequence     │ 57 recordCount │ 61 records
//!  └───────────────┴─────────────────────┴───────────────────────────┘
//! ```
//!
//! | at | width | field | legal values |
//! | --- | --- | --- | --- |
//! | 0 | i64 | baseOffset | ≥ 0; the offset of the first record that the batch ever held |
//! | 8 | i32 | batchLength | bytes after this field, ≥ 49 |
//! | 12 | i32 | partitionLeaderEpoch | ≥ -1 |
//! | 16 | i8 | magic | 2 |
//! | 17 | u32 | crc | CRC-32C of everything from `attributes` to the end |
//! | 21 | i16 | attributes | bits 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon |
//! | 23 | i32 | lastOffsetDelta | ≥ 0; last offset minus base offset; kept by compaction |
//! | 27 | i64 | baseTimestamp | ms; what the records' deltas add to; the delete horizon where bit 6 is set |
//! | 35 | i64 | maxTimestamp | ms; the largest timestamp of a record, or the append time under LogAppendTime |
//! | 43 | i64 | producerId | -1 without idempotence |
//! | 51 | i16 | producerEpoch | -1 without |
//! | 53 | i32 | baseSequence | -1 without |
//! | 57 | i32 | recordCount | ≥ 0; 0 is an empty batch, which compaction leaves to keep an offset or a producer |
//!
//! The checksum leaves out base offset and leader epoch because the broker gives these when it appends, after the
//! producer has computed the checksum: so does a writer here, under the partition's lock. It covers the compressed
//! bytes. `produce` writes producer fields -1 and no flag but the timestamp type.
//!
//! Any other magic is that of an older format, which [`legacy`] reads, or of one that is not known yet.
//! Source: `DefaultRecordBatch.java`.

pub use super::attributes::{Attributes, TimestampType};

use super::compression::Codec;
use super::crc::Checksum;
use super::{FormatError, crc, legacy};
use crate::units::{Offset, Timestamp};

pub(super) const BASE_OFFSET: usize = 0;
pub(super) const BATCH_LENGTH: usize = BASE_OFFSET + 8;
pub(super) const LEADER_EPOCH: usize = BATCH_LENGTH + 4;
pub(super) const MAGIC: usize = LEADER_EPOCH + 4;
pub(super) const CRC: usize = MAGIC + 1;
pub(super) const ATTRIBUTES: usize = CRC + 4;
pub(super) const LAST_OFFSET_DELTA: usize = ATTRIBUTES + 2;
pub(super) const BASE_TIMESTAMP: usize = LAST_OFFSET_DELTA + 4;
pub(super) const MAX_TIMESTAMP: usize = BASE_TIMESTAMP + 8;
pub(super) const PRODUCER_ID: usize = MAX_TIMESTAMP + 8;
pub(super) const PRODUCER_EPOCH: usize = PRODUCER_ID + 8;
pub(super) const BASE_SEQUENCE: usize = PRODUCER_EPOCH + 2;
pub(super) const RECORD_COUNT: usize = BASE_SEQUENCE + 4;

/// The bytes of a v2 batch before its first record; as much as has to be seen of any batch.
pub const BATCH_HEADER_SIZE: usize = RECORD_COUNT + 4;
const _: () = assert!(BATCH_HEADER_SIZE == 61);
/// The bytes that `batchLength` and `size` do not count.
pub(super) const LENGTH_OVERHEAD: usize = LEADER_EPOCH;
/// The magic that this program writes.
pub const MAGIC_V2: i8 = 2;
/// Where the magic stands, in every format.
pub const MAGIC_AT: usize = MAGIC;

/// The fields before the records, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// 0, 1 or 2.
    pub magic: i8,
    /// The offset of the first record that the batch ever held. A compressed message of an old format does not tell: it
    /// is then the last one's.
    pub base_offset: Offset,
    /// The bytes of the whole batch, header included.
    pub size: usize,
    /// -1 where unknown.
    pub leader_epoch: i32,
    /// See [`BatchHeader::checksum`].
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Last offset minus [`BatchHeader::base_offset`]. Never derived from the record count: compaction leaves gaps.
    pub last_offset_delta: i32,
    /// What timestamp deltas add to.
    pub base_timestamp: Timestamp,
    /// [`Timestamp::NONE`] where no record has one.
    pub max_timestamp: Timestamp,
    /// -1 without idempotence.
    pub producer_id: i64,
    /// -1 without idempotence.
    pub producer_epoch: i16,
    /// -1 without idempotence.
    pub base_sequence: i32,
    /// May be 0; -1 where a compressed message of an old format does not tell.
    pub record_count: i32,
}

/// Why there is no batch header at a place: different answers, since each means something else for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoBatch {
    /// Fewer bytes than a header has: perhaps the rest is still being written.
    Incomplete,
    /// Nothing but zeros: the unwritten part of a preallocated file.
    Zeros,
    /// Bytes that are no batch header.
    Invalid(FormatError),
    /// A header that may be one of a format that came later; its size is of no known meaning but the same place.
    Unknown {
        /// Above 2, or below 0.
        magic: i8,
        /// The bytes of the whole batch.
        size: usize,
    },
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the caller has checked the length")
}

impl BatchHeader {
    /// The header of an empty batch v2 at offset 0, without producer, leader epoch, timestamp or flag: what a template is
    /// made of, and what a producer without idempotence sends.
    pub const PLAIN: Self = Self {
        magic: MAGIC_V2,
        base_offset: Offset::ZERO,
        size: BATCH_HEADER_SIZE,
        leader_epoch: -1,
        crc: 0,
        attributes: Attributes::PLAIN,
        last_offset_delta: 0,
        base_timestamp: Timestamp::NONE,
        max_timestamp: Timestamp::NONE,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        record_count: 0,
    };

    /// Writes the header of a batch v2 at the start of `batch`, which holds the records already and nothing after them.
    /// Size and checksum are those of the bytes.
    pub(super) fn write(&self, batch: &mut [u8]) {
        let length = (batch.len() - LENGTH_OVERHEAD) as u32;
        let mut put = |at: usize, field: &[u8]| batch[at..at + field.len()].copy_from_slice(field);
        put(BASE_OFFSET, &self.base_offset.0.to_be_bytes());
        put(BATCH_LENGTH, &length.to_be_bytes());
        put(LEADER_EPOCH, &self.leader_epoch.to_be_bytes());
        put(MAGIC, &MAGIC_V2.to_be_bytes());
        put(ATTRIBUTES, &self.attributes.bits().to_be_bytes());
        put(LAST_OFFSET_DELTA, &self.last_offset_delta.to_be_bytes());
        put(BASE_TIMESTAMP, &self.base_timestamp.0.to_be_bytes());
        put(MAX_TIMESTAMP, &self.max_timestamp.0.to_be_bytes());
        put(PRODUCER_ID, &self.producer_id.to_be_bytes());
        put(PRODUCER_EPOCH, &self.producer_epoch.to_be_bytes());
        put(BASE_SEQUENCE, &self.base_sequence.to_be_bytes());
        put(RECORD_COUNT, &self.record_count.to_be_bytes());
        let crc = crc::crc32c(&batch[ATTRIBUTES..]);
        batch[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    }

    /// Reads the header at the start of `bytes`, which may end anywhere behind it.
    ///
    /// # Errors
    /// See [`NoBatch`]. The checksum is not looked at: see [`checksum_matches`].
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, NoBatch> {
        if bytes.len() < BATCH_HEADER_SIZE || bytes[MAGIC] as i8 != MAGIC_V2 {
            return Self::parse_other(bytes);
        }
        let header = Self {
            magic: MAGIC_V2,
            base_offset: Offset(i64::from_be_bytes(array(bytes, BASE_OFFSET))),
            size: LENGTH_OVERHEAD + u32::from_be_bytes(array(bytes, BATCH_LENGTH)) as usize,
            leader_epoch: i32::from_be_bytes(array(bytes, LEADER_EPOCH)),
            crc: u32::from_be_bytes(array(bytes, CRC)),
            attributes: Attributes::from_bits(i16::from_be_bytes(array(bytes, ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(array(bytes, LAST_OFFSET_DELTA)),
            base_timestamp: Timestamp(i64::from_be_bytes(array(bytes, BASE_TIMESTAMP))),
            max_timestamp: Timestamp(i64::from_be_bytes(array(bytes, MAX_TIMESTAMP))),
            producer_id: i64::from_be_bytes(array(bytes, PRODUCER_ID)),
            producer_epoch: i16::from_be_bytes(array(bytes, PRODUCER_EPOCH)),
            base_sequence: i32::from_be_bytes(array(bytes, BASE_SEQUENCE)),
            record_count: i32::from_be_bytes(array(bytes, RECORD_COUNT)),
        };
        if (Offset::ZERO..=Offset::BASE_MAX).contains(&header.base_offset)
            && (BATCH_HEADER_SIZE..=LENGTH_OVERHEAD + i32::MAX as usize).contains(&header.size)
            && header.last_offset_delta >= 0
            && header.record_count >= 0
        {
            return Ok(header);
        }
        Err(header.impossible())
    }

    /// Everything but a batch v2 whose header is all there.
    #[cold]
    fn parse_other(bytes: &[u8]) -> Result<Self, NoBatch> {
        let head = &bytes[..bytes.len().min(BATCH_HEADER_SIZE)];
        if !head.is_empty() && head.iter().all(|&byte| byte == 0) {
            return Err(NoBatch::Zeros);
        }
        let Some(&magic) = head.get(MAGIC) else { return Err(NoBatch::Incomplete) };
        if let Some(parsed) = legacy::parse_header(head) {
            return parsed;
        }
        if head.len() < BATCH_HEADER_SIZE {
            return Err(NoBatch::Incomplete);
        }
        Err(match announced_size(head) {
            Some(size) => NoBatch::Unknown { magic: magic as i8, size },
            None => NoBatch::Invalid(FormatError::corrupt("no batch header")),
        })
    }

    #[cold]
    pub(super) fn impossible(&self) -> NoBatch {
        NoBatch::Invalid(FormatError::corrupt(format!(
            "impossible header of a batch of format v{} (base offset {}, size {}, last offset delta {}, {} records)",
            self.magic, self.base_offset, self.size, self.last_offset_delta, self.record_count
        )))
    }

    /// Whether the base offset is the first one: a compressed message of an old format has that of the last message inside.
    #[must_use]
    pub fn has_first_offset(&self) -> bool {
        self.magic == MAGIC_V2 || matches!(self.attributes.codec(), Ok(Codec::None))
    }

    /// The last offset that the batch covers.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The first offset after the batch.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// The timestamp of the first record; the largest where a delete horizon stands in its place.
    #[must_use]
    pub fn first_timestamp(&self) -> Timestamp {
        if self.attributes.has_delete_horizon() { self.max_timestamp } else { self.record_timestamp(0) }
    }

    /// The timestamp of a record with this delta.
    #[inline]
    #[must_use]
    pub fn record_timestamp(&self, timestamp_delta: i64) -> Timestamp {
        match self.timestamp_type() {
            TimestampType::CreateTime => Timestamp(self.base_timestamp.0.wrapping_add(timestamp_delta)),
            TimestampType::LogAppendTime => self.max_timestamp,
            TimestampType::NoTimestampType => Timestamp::NONE,
        }
    }

    /// Who gave the records their timestamps.
    #[inline]
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes.is_log_append_time() {
            TimestampType::LogAppendTime
        } else if legacy::has_timestamp(self.magic) {
            TimestampType::CreateTime
        } else {
            TimestampType::NoTimestampType
        }
    }

    /// Where the bytes begin that the checksum covers, and the checksum of none of them yet.
    #[must_use]
    pub fn checksum(&self) -> (usize, Checksum) {
        if self.magic == MAGIC_V2 { (ATTRIBUTES, Checksum::crc32c()) } else { legacy::checksum() }
    }
}

/// Whether the checksum of a whole batch is that of its bytes.
#[inline]
#[must_use]
pub fn checksum_matches(header: &BatchHeader, batch: &[u8]) -> bool {
    if header.magic == MAGIC_V2 {
        crc::crc32c(&batch[ATTRIBUTES..header.size]) == header.crc
    } else {
        legacy::checksum_matches(header, batch)
    }
}

/// The bytes that the batch at the start of `bytes` claims to have, in any format; `None` where that is impossible. What
/// a search asks of every place before it looks closer.
#[inline]
#[must_use]
pub fn announced_size(bytes: &[u8]) -> Option<usize> {
    let size = i32::from_be_bytes(array(bytes.get(..MAGIC)?, BATCH_LENGTH));
    usize::try_from(size).ok().map(|size| LENGTH_OVERHEAD + size).filter(|&size| size >= legacy::SIZE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vectors::{VECTOR_A, unhex};

    #[test]
    fn incomplete_zeros_and_invalid_are_three_answers() {
        let whole = unhex(VECTOR_A);
        assert_eq!(BatchHeader::parse(&whole[..60]), Err(NoBatch::Incomplete));
        assert_eq!(BatchHeader::parse(&[]), Err(NoBatch::Incomplete));
        assert_eq!(BatchHeader::parse(&[0; 20]), Err(NoBatch::Zeros));
        assert_eq!(BatchHeader::parse(&[0; 100]), Err(NoBatch::Zeros));
        for (at, byte, why) in [
            (0, 0x80, "negative base offset"),
            (0, 0x7f, "a base offset without room above"),
            (8, 0x80, "negative length"),
            (23, 0x80, "negative last offset delta"),
            (57, 0x80, "negative record count"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            if at == 0 && byte == 0x7f {
                bytes[..8].fill(0xff);
                bytes[0] = 0x7f;
            }
            assert!(matches!(BatchHeader::parse(&bytes), Err(NoBatch::Invalid(_))), "{why}");
        }
    }
    #[test]
    fn a_batch_of_an_unknown_format_is_told_with_its_size() {
        let mut bytes = unhex(VECTOR_A);
        for magic in [3_i8, 127, -1] {
            bytes[MAGIC] = magic as u8;
            assert_eq!(BatchHeader::parse(&bytes), Err(NoBatch::Unknown { magic, size: bytes.len() }));
        }
        bytes[8] = 0x80;
        assert!(matches!(BatchHeader::parse(&bytes), Err(NoBatch::Invalid(_))), "a negative size");
    }
}
