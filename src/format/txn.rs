//! The transaction index (`.txnindex`): which transactions that end in this segment were aborted.
//!
//! | at | width | field | meaning |
//! | --- | --- | --- | --- |
//! | 0 | i16 | version | 0 |
//! | 2 | i64 | producer id | whose transaction |
//! | 10 | i64 | first offset | of the transaction in this partition |
//! | 18 | i64 | last offset | of the ABORT marker; rises from entry to entry |
//! | 26 | i64 | last stable offset | once this abort is counted |
//!
//! 34 bytes an entry, no checksum, never preallocated. Written since Kafka 0.11 by brokers only; read here.
//! Source: `AbortedTxn.java`, `TransactionIndex.java`.

use super::FormatError;

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_vector_f() {
        let mut bytes = vec![0, 0];
        for field in [1000_i64, 0, 3, 4] {
            bytes.extend_from_slice(&field.to_be_bytes());
        }
        let expected = AbortedTransaction { producer_id: 1000, first_offset: 0, last_offset: 3, last_stable_offset: 4 };
        assert_eq!(bytes[..10], [0, 0, 0, 0, 0, 0, 0, 0, 3, 0xe8]);
        assert_eq!(AbortedTransaction::decode(&bytes), Ok(expected));
        assert!(AbortedTransaction::decode(&bytes[..33]).is_err());
        bytes[1] = 1;
        assert!(AbortedTransaction::decode(&bytes).is_err());
    }
}
