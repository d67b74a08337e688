//! The newest record of each key, of a partition that is not changed.
//!
//! The records are read once before any is shown. What is appended after that begins is shown as well, in its order.

use super::Result;
use super::merge::{Source, Unseen};
use crate::disk::Disk;
use crate::storage::clean::{NewestByKey, Superseded};
use crate::storage::{RecordReader, StorageError};
use crate::units::Offset;

/// How the newest records are found.
#[derive(Debug, Clone, Copy)]
pub struct LatestByKey {
    /// Bytes of memory for keys.
    pub memory: u64,
    /// Whether a newest record without a value is shown: it says that its key was deleted.
    pub tombstones: Tombstones,
}

/// What is done with records that have a key and no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tombstones {
    /// Their keys are gone.
    #[default]
    Hidden,
    /// They are shown.
    Shown,
}

/// The records of a partition that are the newest of their keys.
#[derive(Debug)]
pub struct Newest {
    superseded: Superseded,
    /// From here on, everything is.
    end: Offset,
    /// How many of the newest records before that have not been seen again.
    unseen: u64,
    tombstones: Tombstones,
}

impl LatestByKey {
    /// Finds them among all of `source`, which is read from `start` to `end`.
    pub(super) fn find(self, mut source: Source, start: Offset, end: Offset, disk: &dyn Disk) -> Result<Newest> {
        let mut keys = NewestByKey::new(start, self.memory);
        let (mut unseen, mut count) = (Unseen::default(), 0);
        while source.advance(&mut unseen)? {
            if let Some(key) = source.records.record().key {
                keys.add(key, source.records.offset(), &mut || disk.scratch()).map_err(StorageError::from)?;
                count += 1;
            }
        }
        let is_stopped = || source.is_stopped.is_some_and(|is_stopped| is_stopped());
        // Who was stopped shows nothing.
        let superseded = keys.finish(&is_stopped).map_err(StorageError::from)?.unwrap_or_default();
        let unseen = count - superseded.count();
        Ok(Newest { superseded, end, unseen, tombstones: self.tombstones })
    }
}

impl Newest {
    /// Whether the record at the front of `records` is wanted.
    #[inline]
    pub(super) fn wants(&mut self, records: &RecordReader) -> bool {
        let offset = records.offset();
        if offset >= self.end {
            return true;
        }
        let record = records.record();
        if record.key.is_none() || self.superseded.contains(offset) {
            return false;
        }
        self.unseen = self.unseen.saturating_sub(1);
        record.value.is_some() || self.tombstones == Tombstones::Shown
    }

    /// How many of the newest records were not there any more when all had been read: a compaction has removed them, and what
    /// superseded them came later.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }
}
