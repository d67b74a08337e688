//! Floor 1: Kafka's formats, as pure functions over bytes.
//!
//! Nothing here opens a file, reads a clock or knows where its bytes came from: a decoder answers with a value or with
//! [`FormatError`], to which the floors above add file, position and offset.

pub mod attributes;
pub mod batch;
pub mod batch_builder;
pub mod checkpoint;
pub mod compression;
pub mod crc;
pub mod header;
pub mod index;
pub mod internal;
pub mod legacy;
mod lines_put;
pub mod properties;
pub mod record;
pub mod record_cursor;
pub mod snapshot;
pub mod txn;
pub mod varint;
#[cfg(test)]
mod vectors;

/// What is wrong with the bytes at hand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The bytes break a rule of their format.
    #[error("{what}")]
    Corrupt {
        /// Which rule, as a person would say it.
        what: String,
    },
    /// The bytes are legal, but of a kind that this program does not read.
    #[error("{what} is not supported")]
    Unsupported {
        /// The kind.
        what: String,
    },
    /// Decompressed data exceeds the limit that its reader set. The bytes may well be sound.
    #[error("the records decompress to more than {limit} bytes, the most that is read here (see max.message.bytes)")]
    TooLarge {
        /// Bytes.
        limit: usize,
    },
}

impl FormatError {
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt { what: what.into() }
    }
}
