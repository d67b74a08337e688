//! The newest record of each key, of a partition that is not changed.
//!
//! The records are read once before any is shown. What is appended meanwhile and later is shown as well, in its order.

use super::Result;
use super::merge::{Source, Unseen};
use crate::disk::Disk;
use crate::storage::RecordReader;
use crate::storage::clean::{NewestByKey, Superseded};
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
    tombstones: Tombstones,
}

impl LatestByKey {
    /// Finds them among all of `source`, which is read from `start` to `end`.
    pub(super) fn find(self, mut source: Source, start: Offset, end: Offset, disk: &dyn Disk) -> Result<Newest> {
        let mut keys = NewestByKey::new(start, self.memory);
        let mut unseen = Unseen::default();
        while source.advance(&mut unseen)? {
            if let Some(key) = source.records.record().key {
                let offset = source.records.offset();
                keys.add(key, offset, &mut || disk.scratch()).map_err(crate::storage::StorageError::from)?;
            }
        }
        let superseded = keys.finish().map_err(crate::storage::StorageError::from)?;
        Ok(Newest { superseded, end, tombstones: self.tombstones })
    }
}

impl Newest {
    /// Whether the record at the front of `records` is wanted.
    #[inline]
    pub(super) fn wants(&self, records: &RecordReader) -> bool {
        let offset = records.offset();
        if offset >= self.end {
            return true;
        }
        let record = records.record();
        record.key.is_some()
            && (record.value.is_some() || self.tombstones == Tombstones::Shown)
            && !self.superseded.contains(offset)
    }
}
