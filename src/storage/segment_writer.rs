//! A segment and its indexes, to be written.
//!
//! Index entries go out before their batches, so that a full disk stops an append whole: an entry without its batch is not
//! used by readers and is replaced by the next writer.

use super::append_plan::{AppendPlan, SegmentEnd};
use super::file_name::{FileKind, segment_name};
use super::index_rule::time_entry;
use super::lookup::Indexes;
use super::segments::OpenLog;
use super::{PartitionGuard, Result, rewrite};
use crate::disk::Access;
use crate::units::{Offset, Timestamp};

/// A segment whose end and indexes are known to be right.
pub(crate) struct SegmentWriter {
    pub(crate) log: OpenLog,
    pub(crate) indexes: Indexes,
    pub(crate) end: SegmentEnd,
    pub(crate) index_entries: IndexEntries,
}

/// Who wrote the entries of a segment's indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IndexEntries {
    /// This writer, all of them, through the descriptors that it has: a sync of these vouches for them.
    Own,
    /// Others as well, or this writer through descriptors that it has no more.
    Found,
}

impl SegmentWriter {
    /// Makes the files of a new, empty segment; the `.log` comes last, since with it the segment exists.
    pub(crate) fn create(guard: &PartitionGuard, base_offset: Offset) -> Result<Self> {
        // A broker's snapshot of its producers at this offset stays: it describes everything before it.
        for kind in FileKind::ALL.into_iter().filter(|&kind| kind != FileKind::Snapshot) {
            guard.remove(&segment_name(base_offset, kind))?;
        }
        let folder = &**guard.folder();
        let indexes = Indexes::open(folder, base_offset, Access::Create)?;
        let log = OpenLog::open(folder, base_offset, Access::Create)?;
        let (end, index_entries) = (SegmentEnd::of_empty(base_offset), IndexEntries::Own);
        Ok(Self { log, indexes, end, index_entries })
    }

    /// Writes the batches of a plan and their index entries. Returns how many batches went out whole, and what kept the
    /// next one from it.
    ///
    /// Each batch has a write of its own: with a MiB at once the kernel looks for page cache in pieces as large, which took
    /// up to five times as long where memory was in use or its host had taken it back.
    pub(super) fn write(&mut self, plan: &AppendPlan, batches: &[&mut [u8]]) -> (usize, Result<()>) {
        let entries = self.write_entries(plan);
        if entries.is_err() {
            return (0, entries);
        }
        let mut position = self.end.size;
        for (count, batch) in batches.iter().enumerate() {
            if let Err(error) = self.log.file.write_at(batch, position) {
                // Best effort: if this fails as well, the next writer cuts the torn batch.
                let _ = self.log.file.set_len(position);
                return (count, Err(error.into()));
            }
            position += batch.len() as u64;
        }
        self.end = plan.end;
        (batches.len(), Ok(()))
    }

    fn write_entries(&mut self, plan: &AppendPlan) -> Result<()> {
        if !plan.offset_entries.is_empty() {
            self.indexes.offset.append_all(&plan.offset_entries)?;
        }
        if !plan.time_entries.is_empty() {
            self.indexes.time.append_all(&plan.time_entries)?;
        }
        Ok(())
    }

    /// Takes the first batches of a plan as the ones that went out, and drops the index entries of the others. `plan` is
    /// for those batches alone; `whole` is the plan that was written.
    pub(super) fn keep_first(&mut self, plan: &AppendPlan, whole: &AppendPlan) {
        let (offsets, times) = (&mut self.indexes.offset, &mut self.indexes.time);
        // What cannot be cut now is cut by the next writer, and believed by nobody before.
        let surplus = whole.offset_entries.len() - plan.offset_entries.len();
        let _ = offsets.truncate(offsets.count().saturating_sub(surplus));
        let surplus = whole.time_entries.len() - plan.time_entries.len();
        let _ = times.truncate(times.count().saturating_sub(surplus));
        self.end = plan.end;
    }

    /// Adds the largest timestamp so far to the time index, unless it is there. Another process may have added the same
    /// entry at the same place (its final one): both are derived from the same batches, so one overwrites the other
    /// unharmed.
    pub(crate) fn write_time_entry(&mut self) -> Result<()> {
        let largest = self.end.largest_timestamp;
        let indexed = self.indexes.time.last()?.map_or(Timestamp::NONE, |entry| entry.timestamp);
        if largest.0 > indexed
            && let Some(entry) = time_entry(self.log.base_offset, largest)
        {
            self.indexes.time.append(&entry)?;
        }
        Ok(())
    }

    /// Makes the log and its indexes durable.
    pub(crate) fn sync(&self, guard: &PartitionGuard) -> Result<()> {
        self.log.file.sync()?;
        match self.index_entries {
            IndexEntries::Own => {
                self.indexes.offset.sync()?;
                self.indexes.time.sync()
            }
            IndexEntries::Found => rewrite::make_indexes_durable(guard, self.log.base_offset),
        }
    }
}
