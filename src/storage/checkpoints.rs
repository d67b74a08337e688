//! What is promised of a partition: one value, never two offsets side by side.

use crate::units::Offset;

/// Recovery point and log start offset of a partition; 0 where a file has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// All below is durable.
    pub recovery_point: Offset,
    /// At or below the recovery point: below this, the indexes are durable as well.
    pub index_point: Offset,
    /// The first offset that may be read, unless the first segment begins above it.
    pub log_start_offset: Offset,
}

impl Checkpoints {
    /// What the two checkpoint files say.
    #[must_use]
    pub const fn of_files(recovery_point: Offset, log_start_offset: Offset) -> Self {
        Self { recovery_point, index_point: recovery_point, log_start_offset }
    }

    /// Whether records were durable that a log without a segment does not have.
    #[must_use]
    pub fn promise_records(&self) -> bool {
        self.recovery_point > self.log_start_offset
    }
}
