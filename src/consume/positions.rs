//! Where a reader's positions are kept.

use super::{CursorFile, GroupPositions, Result};
use crate::logdir::LogDirs;
use crate::units::{Offset, TopicPartition};
use uuid::Uuid;

/// Where a reader is to go on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderPosition {
    /// The partition.
    pub partition: TopicPartition,
    /// Of the topic that it was read in; `None` where that is not known, as with a broker's.
    pub topic_id: Option<Uuid>,
    /// Behind the last record that was read.
    pub offset: Offset,
}

impl ReaderPosition {
    /// Whether it is one of the topic with that id, as far as both are known.
    #[must_use]
    pub fn is_of(&self, topic_id: Option<Uuid>) -> bool {
        self.topic_id.is_none() || topic_id.is_none() || self.topic_id == topic_id
    }
}

/// Where positions are kept between two runs.
pub enum Positions {
    /// Nowhere.
    None,
    /// Where these say, and they stay as they are.
    Known(Vec<ReaderPosition>),
    /// In a file.
    CursorFile(CursorFile),
    /// In `__consumer_offsets`, for a group.
    Group(Box<GroupPositions>),
}

impl Positions {
    /// Whether they are kept.
    #[must_use]
    pub const fn are_kept(&self) -> bool {
        matches!(self, Self::CursorFile(_) | Self::Group(_))
    }

    /// The positions that were kept last.
    pub(super) fn kept(&mut self) -> Result<Vec<ReaderPosition>> {
        match self {
            Self::None => Ok(Vec::new()),
            Self::Known(positions) => Ok(positions.clone()),
            Self::CursorFile(file) => file.kept(),
            Self::Group(group) => group.kept(),
        }
    }

    /// Keeps positions, as far as all before them is durable. Returns whether that is all of them.
    pub(super) fn keep(&mut self, log_dirs: &LogDirs, positions: Vec<ReaderPosition>) -> Result<bool> {
        match self {
            Self::None | Self::Known(_) => Ok(true),
            // A file has no others who wait for it.
            Self::CursorFile(file) => file.keep(log_dirs, positions).map(|()| true),
            Self::Group(group) => group.keep(log_dirs, positions),
        }
    }

    /// Prepares to [`Self::mark`] how far the reader will have come.
    pub(super) fn prepare_mark<'a>(&mut self, positions: impl ExactSizeIterator<Item = &'a ReaderPosition>) {
        match self {
            Self::None | Self::Known(_) | Self::Group(_) => {}
            Self::CursorFile(file) => file.prepare_mark(positions),
        }
    }

    /// Marks what was prepared, for the case that this process is killed. Returns whether something was, since positions were
    /// kept last.
    pub(super) fn mark(&mut self) -> bool {
        match self {
            // What a group has committed outlives a killed process, and there is no lesser way.
            Self::None | Self::Known(_) | Self::Group(_) => false,
            Self::CursorFile(file) => file.mark(),
        }
    }

    /// To be called when positions were kept for the last time.
    pub(super) fn close(&mut self) -> Result<()> {
        match self {
            Self::None | Self::Known(_) => Ok(()),
            Self::CursorFile(file) => file.close(),
            Self::Group(group) => group.close(),
        }
    }
}
