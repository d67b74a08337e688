//! What is promised of a partition: one value, never two offsets side by side.

use super::Result;
use crate::disk::{DiskFile, Stat};
use crate::units::Offset;

/// Recovery point, log start offset and high watermark of a partition; 0 where a file has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// All below is durable.
    pub recovery_point: Offset,
    /// At or below the recovery point: below this, the indexes are durable as well.
    pub index_point: Offset,
    /// The first offset that may be read, unless the first segment begins above it.
    pub log_start_offset: Offset,
    /// All below was acknowledged by a broker, which does that before it syncs.
    pub high_watermark: Offset,
    /// The log whose name was durable when a run of kdir ended, as it was then.
    pub named_log: Option<NamedLog>,
}

/// A log as it was: nothing has written to it since, or given it another name, while both are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedLog {
    /// Its inode.
    pub inode: u64,
    /// When it was last changed: see [`Stat::changed_ns`](crate::disk::Stat::changed_ns).
    pub changed_ns: i64,
}

impl NamedLog {
    /// What it is now.
    pub(super) fn of(log: &dyn DiskFile) -> Result<Self> {
        let Stat { id, changed_ns, .. } = log.stat()?;
        Ok(Self { inode: id.inode, changed_ns })
    }
}

impl Checkpoints {
    /// What the files of kdir and brokers say.
    #[must_use]
    pub const fn of_files(recovery_point: Offset, log_start_offset: Offset) -> Self {
        Self {
            recovery_point,
            index_point: recovery_point,
            log_start_offset,
            high_watermark: Offset::ZERO,
            named_log: None,
        }
    }

    /// The same with what a broker's file says.
    #[must_use]
    pub const fn with_high_watermark(self, high_watermark: Offset) -> Self {
        Self { high_watermark, ..self }
    }

    /// All below was acknowledged: it was durable, or committed.
    #[must_use]
    pub fn acknowledged(&self) -> Offset {
        self.recovery_point.max(self.high_watermark)
    }

    /// Whether records were acknowledged that a log which ends at `end` does not have.
    #[must_use]
    pub fn promise_more_than(&self, end: Offset) -> bool {
        self.acknowledged() > end.max(self.log_start_offset)
    }

    /// Whether the last batch of a log has a damaged base offset, which no checksum covers. It takes `span` offsets from
    /// `claimed` on and leaves out those from `from` on, where the batch before it ends; what was durable ends just where
    /// it would if it had left out none, and one bit makes the difference. A high watermark alone is no evidence: it lags.
    #[must_use]
    pub(super) fn deny(&self, claimed: Offset, from: Offset, span: i64) -> bool {
        let end = from + span;
        claimed.is_a_flip_of(from)
            && self.recovery_point == end
            && self.high_watermark <= end
            && end > self.log_start_offset
    }

    /// Who says how far the log reached, as a sentence for a person.
    #[must_use]
    pub fn promise(&self) -> String {
        let Self { recovery_point, high_watermark, .. } = self;
        match self.high_watermark > self.recovery_point {
            true => format!("everything below the high watermark {high_watermark} was acknowledged"),
            false => format!("everything below offset {recovery_point} was durable"),
        }
    }
}
