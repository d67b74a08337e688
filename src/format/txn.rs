//! What tells how transactions ended: the markers in the log, and the index of the aborted ones.
//!
//! A marker is the only record of a control batch. Its key is an i16 version, 0, and an i16 type: 0 ABORT, 1 COMMIT. Those of
//! Kafka's own metadata log are 2 LEADER_CHANGE, 3 SNAPSHOT_HEADER, 4 SNAPSHOT_FOOTER, 5 KRAFT_VERSION, 6 KRAFT_VOTERS.
//! Source: `ControlRecordType.java`.
//!
//! The transaction index (`.txnindex`) names the transactions that end in its segment and were aborted:
//!
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i16 | version | 0 |
//! | 2 | i64 | producer id | whose transaction |
//! | 10 | i64 | first offset | of the transaction in this partition |
//! | 18 | i64 | last offset | of the ABORT marker; rises from entry to entry |
//! | 26 | i64 | last stable offset | once this abort is counted |
//!
//! 34 bytes an entry, no checksum, never preallocated. Written since Kafka 0.11 by brokers; here by
//! compaction only, which copies entries.
//! Source: `AbortedTxn.java`, `TransactionIndex.java`.

use super::FormatError;
use std::borrow::Cow;

/// What a control batch says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The transaction of its producer ends here and is void.
    Abort,
    /// The transaction of its producer ends here and counts.
    Commit,
    /// Nothing about a transaction.
    Other(i16),
}

impl ControlType {
    /// Reads the key of a control record.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn parse(key: &[u8]) -> Result<Self, FormatError> {
        let key = key.first_chunk::<4>();
        let [_, _, high, low] = key.ok_or_else(|| FormatError::corrupt("the key of a control record is cut short"))?;
        Ok(match i16::from_be_bytes([*high, *low]) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        })
    }

    /// Kafka's name for it, or its number where Kafka 4.3 has no such type.
    #[must_use]
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Abort => "ABORT",
            Self::Commit => "COMMIT",
            Self::Other(2) => "LEADER_CHANGE",
            Self::Other(3) => "SNAPSHOT_HEADER",
            Self::Other(4) => "SNAPSHOT_FOOTER",
            Self::Other(5) => "KRAFT_VERSION",
            Self::Other(6) => "KRAFT_VOTERS",
            Self::Other(number) => return Cow::Owned(number.to_string()),
        })
    }
}

/// Bytes of an entry.
pub const ABORTED_TRANSACTION_SIZE: usize = 34;

/// An aborted transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose transaction.
    pub producer_id: i64,
    /// Its first offset in this partition.
    pub first_offset: i64,
    /// The offset of its ABORT marker.
    pub last_offset: i64,
    /// The last stable offset once this abort is counted.
    pub last_stable_offset: i64,
}

impl AbortedTransaction {
    /// Reads the entry at the start of `bytes`.
    ///
    /// # Errors
    /// When it is cut short or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let entry = bytes
            .first_chunk::<ABORTED_TRANSACTION_SIZE>()
            .ok_or_else(|| FormatError::corrupt("a transaction index entry is cut short"))?;
        let version = i16::from_be_bytes([entry[0], entry[1]]);
        if version != 0 {
            return Err(FormatError::Unsupported { what: format!("transaction index entry version {version}") });
        }
        let field = |at: usize| i64::from_be_bytes(entry[at..at + 8].try_into().expect("eight bytes"));
        Ok(Self {
            producer_id: field(2),
            first_offset: field(10),
            last_offset: field(18),
            last_stable_offset: field(26),
        })
    }

    /// The bytes of the entry.
    #[must_use]
    pub fn encode(&self) -> [u8; ABORTED_TRANSACTION_SIZE] {
        let mut bytes = [0; ABORTED_TRANSACTION_SIZE];
        let fields = [self.producer_id, self.first_offset, self.last_offset, self.last_stable_offset];
        for (field, place) in fields.iter().zip(bytes[2..].chunks_exact_mut(8)) {
            place.copy_from_slice(&field.to_be_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_the_markers_apart() {
        for (key, expected) in [
            (&[0, 0, 0, 0][..], ControlType::Abort),
            (&[0, 0, 0, 1, 9], ControlType::Commit),
            (&[0, 0, 0, 2], ControlType::Other(2)),
        ] {
            assert_eq!(ControlType::parse(key), Ok(expected));
        }
        assert!(ControlType::parse(&[0, 0, 0]).is_err());
    }

    #[test]
    fn reads_vector_f() {
        let mut bytes = vec![0, 0];
        for field in [1000_i64, 0, 3, 4] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        let expected = AbortedTransaction { producer_id: 1000, first_offset: 0, last_offset: 3, last_stable_offset: 4 };
        assert_eq!(bytes[..10], [0, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8]);
        assert_eq!(AbortedTransaction::decode(&bytes), Ok(expected));
        assert_eq!(expected.encode(), bytes[..]);
        assert!(AbortedTransaction::decode(&bytes[..33]).is_err());
        bytes[1] = 1;
        assert!(AbortedTransaction::decode(&bytes).is_err());
    }
}
