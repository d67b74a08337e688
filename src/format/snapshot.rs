//! The producer snapshot (`.snapshot`): what idempotent producers had written up to the offset in its name.
//!
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i16 | version | 1 |
//! | 2 | u32 | crc | CRC-32C of everything from byte 6 on: what comes before is its own frame |
//! | 6 | i32 | count | entries that follow, 46 bytes each |
//! | +0 | i64 | producer id | |
//! | +8 | i16 | producer epoch | |
//! | +10 | i32 | last sequence | -1 none |
//! | +14 | i64 | last offset | of the last batch; -1 none |
//! | +22 | i32 | offset delta | last minus first offset of the last batch |
//! | +26 | i64 | timestamp | of the last batch, ms |
//! | +34 | i32 | coordinator epoch | -1 none |
//! | +38 | i64 | transaction's first offset | -1 none is open |
//!
//! Written since Kafka 0.11 by brokers only; read here. Source: `ProducerSnapshot.json`.

use super::{FormatError, crc};
use crate::units::Timestamp;

const CRC_AT: usize = 2;
const COUNT_AT: usize = CRC_AT + 4;
const ENTRIES_AT: usize = COUNT_AT + 4;
const ENTRY_SIZE: usize = 46;
const VERSION: i16 = 1;

/// What one producer had written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerEntry {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence of its last record; -1 none.
    pub last_sequence: i32,
    /// The offset of its last record; -1 none.
    pub last_offset: i64,
    /// Last minus first offset of its last batch.
    pub offset_delta: i32,
    /// Of its last batch, ms.
    pub timestamp: Timestamp,
    /// Of the coordinator that wrote its last marker; -1 none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins; -1 none.
    pub transaction_first_offset: i64,
}

/// Reads a whole snapshot.
///
/// # Errors
/// When the version is unknown, the checksum wrong, or the count not that of the bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerEntry>, FormatError> {
    if bytes.len() < ENTRIES_AT {
        return Err(FormatError::corrupt("the snapshot is cut short"));
    }
    let version = i16::from_be_bytes([bytes[0], bytes[1]]);
    if version != VERSION {
        return Err(FormatError::Unsupported { what: format!("producer snapshot version {version}") });
    }
    let announced = u32::from_be_bytes(bytes[CRC_AT..COUNT_AT].try_into().expect("four bytes"));
    if crc::crc32c(&bytes[COUNT_AT..]) != announced {
        return Err(FormatError::corrupt("the checksum of the snapshot does not match its bytes"));
    }
    let count = i32::from_be_bytes(bytes[COUNT_AT..ENTRIES_AT].try_into().expect("four bytes"));
    let entries = bytes[ENTRIES_AT..].chunks_exact(ENTRY_SIZE);
    if !entries.remainder().is_empty() || usize::try_from(count) != Ok(entries.len()) {
        return Err(FormatError::corrupt(format!("the snapshot announces {count} entries and holds others")));
    }
    Ok(entries.map(entry).collect())
}

fn entry(bytes: &[u8]) -> ProducerEntry {
    let long = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let int = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    ProducerEntry {
        producer_id: long(0),
        producer_epoch: i16::from_be_bytes([bytes[8], bytes[9]]),
        last_sequence: int(10),
        last_offset: long(14),
        offset_delta: int(22),
        timestamp: Timestamp(long(26)),
        coordinator_epoch: int(34),
        transaction_first_offset: long(38),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::vectors::{VECTOR_E, unhex};

    #[test]
    fn reads_vector_e() {
        let expected = ProducerEntry {
            producer_id: 1000,
            producer_epoch: 0,
            last_sequence: 2,
            last_offset: 2,
            offset_delta: 2,
            timestamp: Timestamp(1_700_000_000_007),
            coordinator_epoch: -1,
            transaction_first_offset: -1,
        };
        assert_eq!(decode(&unhex(VECTOR_E)), Ok(vec![expected]));
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let whole = unhex(VECTOR_E);
        for cut in 0..whole.len() {
            assert!(decode(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bytes).is_err(), "bit {bit}");
        }
    }
}
