//! The attributes of a batch: its codec and its flags, as bits. The table of a batch's fields is in
//! [`header`](super::header).

use super::FormatError;
use super::compression::Codec;

/// What a batch's attributes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(i16);

impl Attributes {
    const CODEC: i16 = 0b111;
    pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
    const TRANSACTIONAL: i16 = 1 << 4;
    const CONTROL: i16 = 1 << 5;
    const DELETE_HORIZON: i16 = 1 << 6;

    /// Of bytes in a file.
    pub(super) const fn from_bits(bits: i16) -> Self {
        Self(bits)
    }

    /// No compression and no flag: what a batch has that belongs to no transaction and has `CreateTime`.
    pub const PLAIN: Self = Self(0);

    /// How the records are compressed.
    ///
    /// # Errors
    /// When bits 0 to 2 name no codec.
    pub fn codec(self) -> Result<Codec, FormatError> {
        Codec::from_attribute_bits((self.0 & Self::CODEC) as u8)
    }

    /// The same flags with this codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self(self.0 & !Self::CODEC | codec.attribute_bits() as i16)
    }

    /// The same with the timestamps given by the log. The batch's max timestamp is then the time of the append.
    #[must_use]
    pub const fn with_log_append_time(self) -> Self {
        Self(self.0 | Self::LOG_APPEND_TIME)
    }

    /// The same, as part of a transaction.
    #[must_use]
    pub const fn with_transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// The same, with a marker in place of records.
    #[must_use]
    pub const fn with_control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }

    /// The same, with the delete horizon for base timestamp.
    #[must_use]
    pub const fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// The same, with a base timestamp that is one.
    pub(super) const fn without_delete_horizon(self) -> Self {
        Self(self.0 & !Self::DELETE_HORIZON)
    }

    /// The bytes in the file.
    pub(super) const fn bits(self) -> i16 {
        self.0
    }

    /// Whether the log gave the records their timestamps.
    #[must_use]
    pub const fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
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
