//! What every batch of a log tells of itself before its records, in the three formats that Kafka has had.
//!
//! Record batch v2 (magic 2), since 0.11:
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
//! bytes. This program writes producer fields -1 and no flag but the timestamp type.
//!
//! Messages v0 and v1 (magic 0 up to Kafka 0.9, magic 1 in 0.10), each with a header of its own:
//!
//! ```text
//!  0        8      12    16 17   18
//!  ┌────────┬──────┬─────┬──┬────┬───────────────────┐
//!  │ offset │ size │ crc │mg│attr│ v1: timestamp i64 │ key and value
//!  └────────┴──────┴─────┴──┴────┴───────────────────┘
//! ```
//!
//! | at | width | field | legal values |
//! | --- | --- | --- | --- |
//! | 0 | i64 | offset | ≥ 0; of the message; of the last one inside where it is compressed |
//! | 8 | i32 | size | bytes after this field: ≥ 14 (v0) or 22 (v1) |
//! | 12 | u32 | crc | plain CRC-32 of everything from the magic on |
//! | 16 | i8 | magic | 0 or 1 |
//! | 17 | i8 | attributes | bits 0-2 codec; v1: bit 3 LogAppendTime |
//! | 18 | i64 | timestamp | v1 only, ms; -1 none |
//!
//! The magic stands at the same place in all three, so one look ahead tells them apart. One log may hold all three.
//! Sources: `DefaultRecordBatch.java`, `LegacyRecord.java`, `AbstractLegacyRecordBatch.java`.

use super::compression::Codec;
use super::crc::Checksum;
use super::{FormatError, crc};
use crate::units::Offset;

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

const LEGACY_CRC: usize = LENGTH_OVERHEAD;
const LEGACY_ATTRIBUTES: usize = MAGIC + 1;
const LEGACY_TIMESTAMP: usize = LEGACY_ATTRIBUTES + 1;
/// The smallest message of an old format: null key and null value.
pub const LEGACY_SIZE_MIN: usize = legacy_body(0) + 8;
const _: () = assert!(legacy_body(0) == 18 && legacy_body(1) == 26);

/// Where the key length stands in a message of an old format.
#[must_use]
pub const fn legacy_body(magic: i8) -> usize {
    if magic == 0 { LEGACY_TIMESTAMP } else { LEGACY_TIMESTAMP + 8 }
}

/// What a batch's attributes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(i16);

impl Attributes {
    const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    pub(super) const DELETE_HORIZON: i16 = 1 << 6;

    pub(super) fn new(codec: Codec, timestamp_type: TimestampType) -> Self {
        let kind = if timestamp_type == TimestampType::LogAppendTime { Self::LOG_APPEND_TIME } else { 0 };
        Self(i16::from(codec.attribute_bits()) | kind)
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// When bits 0 to 2 name no codec.
    pub fn codec(self) -> Result<Codec, FormatError> {
        Codec::from_attribute_bits(self.0 as u8 & 7)
    }

    /// The bytes in the file.
    pub(super) const fn bits(self) -> i16 {
        self.0
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a marker in place of records; such a batch takes offsets but is never shown.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which tombstones and markers in the batch may go.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// Who gave a record its timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TimestampType {
    /// The producer, record by record.
    #[default]
    CreateTime,
    /// The log, batch by batch: every record has the batch's max timestamp, whatever its delta.
    LogAppendTime,
    /// Nobody: messages v0 have none, and every timestamp reads -1.
    NoTimestampType,
}

impl TimestampType {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::CreateTime => "CreateTime",
            Self::LogAppendTime => "LogAppendTime",
            Self::NoTimestampType => "NoTimestampType",
        }
    }
}

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
    /// Milliseconds; what timestamp deltas add to.
    pub base_timestamp: i64,
    /// Milliseconds; -1 where no record has a timestamp.
    pub max_timestamp: i64,
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
            attributes: Attributes(i16::from_be_bytes(array(bytes, ATTRIBUTES))),
            last_offset_delta: i32::from_be_bytes(array(bytes, LAST_OFFSET_DELTA)),
            base_timestamp: i64::from_be_bytes(array(bytes, BASE_TIMESTAMP)),
            max_timestamp: i64::from_be_bytes(array(bytes, MAX_TIMESTAMP)),
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

    /// What is no v2 batch whose header is all there.
    #[cold]
    fn parse_other(bytes: &[u8]) -> Result<Self, NoBatch> {
        let head = &bytes[..bytes.len().min(BATCH_HEADER_SIZE)];
        if !head.is_empty() && head.iter().all(|&byte| byte == 0) {
            return Err(NoBatch::Zeros);
        }
        match head.get(MAGIC).map(|&magic| magic as i8) {
            Some(magic @ (0 | 1)) if head.len() >= legacy_body(magic) => Self::parse_legacy(magic, head),
            Some(magic) if head.len() == BATCH_HEADER_SIZE => Err(match announced_size(head) {
                Some(size) => NoBatch::Unknown { magic, size },
                None => NoBatch::Invalid(FormatError::corrupt("no batch header")),
            }),
            _ => Err(NoBatch::Incomplete),
        }
    }

    fn parse_legacy(magic: i8, bytes: &[u8]) -> Result<Self, NoBatch> {
        let attributes = Attributes(i16::from(bytes[LEGACY_ATTRIBUTES] & if magic == 0 { 7 } else { 15 }));
        let timestamp = if magic == 0 { -1 } else { i64::from_be_bytes(array(bytes, LEGACY_TIMESTAMP)) };
        let header = Self {
            magic,
            base_offset: Offset(i64::from_be_bytes(array(bytes, BASE_OFFSET))),
            size: LENGTH_OVERHEAD + u32::from_be_bytes(array(bytes, BATCH_LENGTH)) as usize,
            leader_epoch: -1,
            crc: u32::from_be_bytes(array(bytes, LEGACY_CRC)),
            attributes,
            last_offset_delta: 0,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            record_count: if attributes.codec() == Ok(Codec::None) { 1 } else { -1 },
        };
        let sizes = legacy_body(magic) + 8..=LENGTH_OVERHEAD + i32::MAX as usize;
        if (Offset::ZERO..=Offset::BASE_MAX).contains(&header.base_offset) && sizes.contains(&header.size) {
            return Ok(header);
        }
        Err(header.impossible())
    }

    #[cold]
    fn impossible(&self) -> NoBatch {
        NoBatch::Invalid(FormatError::corrupt(format!(
            "impossible header of a batch of format v{} (base offset {}, size {}, last offset delta {}, {} records)",
            self.magic, self.base_offset, self.size, self.last_offset_delta, self.record_count
        )))
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
    pub fn first_timestamp(&self) -> i64 {
        if self.attributes.has_delete_horizon() { self.max_timestamp } else { self.record_timestamp(0) }
    }

    /// The timestamp of a record with this delta.
    #[inline]
    #[must_use]
    pub fn record_timestamp(&self, timestamp_delta: i64) -> i64 {
        match self.timestamp_type() {
            TimestampType::CreateTime => self.base_timestamp.wrapping_add(timestamp_delta),
            TimestampType::LogAppendTime => self.max_timestamp,
            TimestampType::NoTimestampType => -1,
        }
    }

    /// Who gave the records their timestamps.
    #[inline]
    #[must_use]
    pub const fn timestamp_type(&self) -> TimestampType {
        if self.attributes.0 & Attributes::LOG_APPEND_TIME != 0 {
            TimestampType::LogAppendTime
        } else if self.magic == 0 {
            TimestampType::NoTimestampType
        } else {
            TimestampType::CreateTime
        }
    }

    /// Where the bytes begin that the checksum covers, and the checksum of none of them yet.
    #[must_use]
    pub fn checksum(&self) -> (usize, Checksum) {
        if self.magic == MAGIC_V2 { (ATTRIBUTES, Checksum::crc32c()) } else { (MAGIC, Checksum::crc32()) }
    }
}

/// Whether the checksum of a whole batch is that of its bytes.
#[inline]
#[must_use]
pub fn checksum_matches(header: &BatchHeader, batch: &[u8]) -> bool {
    if header.magic == MAGIC_V2 {
        crc::crc32c(&batch[ATTRIBUTES..header.size]) == header.crc
    } else {
        crc::crc32(&batch[MAGIC..header.size]) == header.crc
    }
}

/// The bytes that the batch at the start of `bytes` claims to have, in any format; `None` where that is impossible. What
/// a search asks of every place before it looks closer.
#[inline]
#[must_use]
pub fn announced_size(bytes: &[u8]) -> Option<usize> {
    let size = i32::from_be_bytes(array(bytes.get(..MAGIC)?, BATCH_LENGTH));
    usize::try_from(size).ok().map(|size| LENGTH_OVERHEAD + size).filter(|&size| size >= LEGACY_SIZE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR_A: &str = "0000000000000000000000500000000002cb66957a0000000000020000018bcfe568000000018bcfe56807\
        ffffffffffffffffffffffffffff000000031c000000046b3104763102026802780c000a0201000010000e04046b310100";
    const VECTOR_C: &str = "00000000000000000000001aa5da6a6201000000018bcfe56800000000026b31000000027631";
    const VECTOR_D: &str = "00000000000000000000001257e7496e0000000000026b31000000027631";

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap()).collect()
    }

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

    #[test]
    fn old_formats_are_told_by_the_magic() {
        for (vector, magic, timestamp_type, timestamp) in [
            (VECTOR_C, 1, TimestampType::CreateTime, 1_700_000_000_000),
            (VECTOR_D, 0, TimestampType::NoTimestampType, -1),
        ] {
            let bytes = unhex(vector);
            for cut in 1..legacy_body(magic) {
                let expected = if cut <= 11 { NoBatch::Zeros } else { NoBatch::Incomplete };
                assert_eq!(BatchHeader::parse(&bytes[..cut]), Err(expected), "magic {magic}, cut at {cut}");
            }
            let header = BatchHeader::parse(&bytes).unwrap();
            assert_eq!((header.magic, header.size, header.record_count), (magic, bytes.len(), 1));
            assert_eq!((header.base_offset, header.next_offset()), (Offset(0), Offset(1)));
            assert_eq!((header.timestamp_type(), header.record_timestamp(0)), (timestamp_type, timestamp));
            assert!(checksum_matches(&header, &bytes));
            assert_eq!(announced_size(&bytes), Some(bytes.len()));
            for (at, byte, why) in [(0, 0x80, "a negative offset"), (8, 0x80, "a negative size"), (11, 13, "too small")]
            {
                let mut bytes = bytes.clone();
                bytes[at] = byte;
                assert!(matches!(BatchHeader::parse(&bytes), Err(NoBatch::Invalid(_))), "magic {magic}: {why}");
            }
        }
    }
}
