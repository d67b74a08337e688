//! The entries of a segment's two sparse indexes.
//!
//! Offset index (`.index`), 8 bytes an entry:
//!
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i32 | relative offset | *last* offset of the indexed batch minus the segment's base offset, ≥ 0 |
//! | 4 | i32 | position | where that batch *begins* in the `.log`, ≥ 0 |
//!
//! Time index (`.timeindex`), 12 bytes an entry:
//!
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i64 | timestamp | the largest timestamp of the segment up to here, ms |
//! | 8 | i32 | relative offset | last offset of the first batch that has it, minus the base offset, ≥ 0 |
//!
//! No checksum: an entry is held against the batch that it names before it is used. An entry of zeros ends an index that
//! a broker has preallocated. Written so by every Kafka since 0.10.1 (the offset index since 0.8).
//! Source: `OffsetIndex.java`, `TimeIndex.java`.

use super::FormatError;
use crate::units::{Position, RelativeOffset, Timestamp};

/// Bytes of an offset index entry.
pub const OFFSET_INDEX_ENTRY_SIZE: usize = 8;
/// Bytes of a time index entry.
pub const TIME_INDEX_ENTRY_SIZE: usize = 12;

/// An entry of the offset index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetIndexEntry {
    /// The last offset of the batch.
    pub relative_offset: RelativeOffset,
    /// Where the batch begins.
    pub position: Position,
}

/// An entry of the time index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeIndexEntry {
    /// The largest timestamp so far.
    pub timestamp: Timestamp,
    /// The last offset of the first batch that has it.
    pub relative_offset: RelativeOffset,
}

fn not_negative(bytes: &[u8]) -> Result<u32, FormatError> {
    let value = i32::from_be_bytes(bytes.try_into().expect("four bytes"));
    u32::try_from(value).map_err(|_| FormatError::corrupt("an index entry is negative"))
}

fn cut() -> FormatError {
    FormatError::corrupt("an index entry is cut short")
}

impl OffsetIndexEntry {
    /// Reads the entry at the start of `bytes`.
    ///
    /// # Errors
    /// When it is cut short or negative.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let entry = bytes.first_chunk::<OFFSET_INDEX_ENTRY_SIZE>().ok_or_else(cut)?;
        Ok(Self {
            relative_offset: RelativeOffset(not_negative(&entry[..4])?),
            position: Position(not_negative(&entry[4..])?.into()),
        })
    }

    /// The bytes of the entry. A position lies below 2^31, since a segment does.
    #[must_use]
    pub fn encode(self) -> [u8; OFFSET_INDEX_ENTRY_SIZE] {
        let mut bytes = [0; OFFSET_INDEX_ENTRY_SIZE];
        bytes[..4].copy_from_slice(&self.relative_offset.0.to_be_bytes());
        bytes[4..].copy_from_slice(&(self.position.0 as u32).to_be_bytes());
        bytes
    }

    /// Whether it is no entry but preallocated zeros: the first batch of a segment is never indexed.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.relative_offset.0 == 0 && self.position.0 == 0
    }
}

impl TimeIndexEntry {
    /// Reads the entry at the start of `bytes`.
    ///
    /// # Errors
    /// When it is cut short or its offset negative.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let entry = bytes.first_chunk::<TIME_INDEX_ENTRY_SIZE>().ok_or_else(cut)?;
        let (timestamp, offset) = entry.split_at(8);
        Ok(Self {
            timestamp: Timestamp(i64::from_be_bytes(timestamp.try_into().expect("eight bytes"))),
            relative_offset: RelativeOffset(not_negative(offset)?),
        })
    }

    /// The bytes of the entry.
    #[must_use]
    pub fn encode(self) -> [u8; TIME_INDEX_ENTRY_SIZE] {
        let mut bytes = [0; TIME_INDEX_ENTRY_SIZE];
        bytes[..8].copy_from_slice(&self.timestamp.0.to_be_bytes());
        bytes[8..].copy_from_slice(&self.relative_offset.0.to_be_bytes());
        bytes
    }

    /// Whether it is no entry but preallocated zeros.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.timestamp.0 == 0 && self.relative_offset.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_big_endian() {
        let entry = OffsetIndexEntry { relative_offset: RelativeOffset(0x0102_0304), position: Position(0x0506_0708) };
        assert_eq!(entry.encode(), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(OffsetIndexEntry::decode(&entry.encode()), Ok(entry));
        let entry = TimeIndexEntry { timestamp: Timestamp(0x0102_0304_0506_0708), relative_offset: RelativeOffset(9) };
        assert_eq!(entry.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9]);
        assert_eq!(TimeIndexEntry::decode(&entry.encode()), Ok(entry));
    }

    #[test]
    fn what_is_cut_or_negative_is_no_entry() {
        assert!(OffsetIndexEntry::decode(&[0; 7]).is_err());
        assert!(OffsetIndexEntry::decode(&[0x80, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(OffsetIndexEntry::decode(&[0, 0, 0, 0, 0x80, 0, 0, 0]).is_err());
        assert!(TimeIndexEntry::decode(&[0; 11]).is_err());
        assert!(TimeIndexEntry::decode(&[0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0, 0, 0]).is_err());
        assert!(OffsetIndexEntry::decode(&[0; 8]).unwrap().is_zero());
        assert!(TimeIndexEntry::decode(&[0; 12]).unwrap().is_zero());
    }
}
