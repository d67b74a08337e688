//! Finds the end of a log that is opened to write, or that others have changed since, and the segments that are to be synced
//! before anything in it is acknowledged.

use super::checkpoints::NamedLog;
use super::file_name::{FileKind, segment_name};
use super::marks::OthersMarks;
use super::recovery::{Check, CheckedSegment, Notice};
use super::segment_writer::SegmentWriter;
use super::segments::{self, OpenLog};
use super::sync::{Durability, PendingSync};
use super::{Checkpoints, PartitionGuard, Result, StorageError};
use crate::units::{Offset, Position};
use std::path::Path;
use std::sync::Arc;

/// The error of a log whose durable records are nowhere.
#[must_use]
pub fn no_segments(folder: &Path, checkpoints: &Checkpoints) -> StorageError {
    StorageError::Corrupt {
        path: folder.to_owned(),
        position: Position::ZERO,
        offset: checkpoints.acknowledged(),
        what: format!("there is no segment, and {}", checkpoints.promise()),
    }
}

/// What it takes to find the end of a log.
pub(super) struct Opening<'a> {
    pub(super) guard: &'a PartitionGuard,
    pub(super) durability: Durability,
    /// See [`Check::rewrite_from`].
    pub(super) rewrite_from: Option<Offset>,
}

impl Opening<'_> {
    /// Checks every segment from the one that holds the recovery point to the last.
    pub(super) fn begin(&self, notices: &mut Vec<Notice>) -> Result<(SegmentWriter, PendingSync)> {
        let mut pending = PendingSync::new(Arc::clone(self.guard.folder()));
        let active = self.check_segments(&mut pending, notices);
        pending.remove_mark(self.guard)?;
        Ok((active?, pending))
    }

    fn check_segments(&self, pending: &mut PendingSync, notices: &mut Vec<Notice>) -> Result<SegmentWriter> {
        let folder = &**self.guard.folder();
        let bases = segments::base_offsets(folder)?;
        let checkpoints = self.guard.checkpoints();
        let Checkpoints { index_point: believed, log_start_offset, .. } = checkpoints;
        let Some(&last) = bases.last() else {
            if checkpoints.promise_more_than(Offset::ZERO) {
                return Err(no_segments(folder.path(), &checkpoints));
            }
            return begin_at(self.guard, log_start_offset, pending);
        };
        let first = segments::holding(&bases, believed);
        for pair in bases[first..].windows(2) {
            self.check_closed((pair[0], pair[1]), believed, pending, notices)?;
        }
        let active = self.check(last, believed, true).run(self.guard, notices)?;
        let end = active.segment.end;
        if checkpoints.promise_more_than(end.next_offset) {
            return Err(StorageError::Corrupt {
                path: active.segment.log.path,
                position: Position(end.size),
                offset: end.next_offset,
                what: format!("the log ends here, and {}", checkpoints.promise()),
            });
        }
        let is_only = first + 1 == bases.len() && notices.is_empty();
        let active = self.settle(active, pending)?;
        if is_only && checkpoints.named_log == Some(NamedLog::of(&*active.log.file)?) {
            pending.note_names_durable();
        }
        Ok(active)
    }

    /// Checks a closed segment, and makes it durable at once: a log may have more of them to be synced than a process has
    /// descriptors. The mark comes first, so that the next writer learns of a sync that failed.
    fn check_closed(
        &self,
        (base, next): (Offset, Offset),
        believed: Offset,
        pending: &mut PendingSync,
        notices: &mut Vec<Notice>,
    ) -> Result<()> {
        let closed = self.check(base, believed, false).run(self.guard, notices)?;
        let end = closed.segment.end;
        if end.next_offset > next {
            return Err(StorageError::Corrupt {
                path: closed.segment.log.path,
                position: Position(end.size),
                offset: end.next_offset,
                what: format!("the segment ends above the base offset {next} of the next one"),
            });
        }
        match self.durability {
            Durability::Synced => {
                pending.make_mark(self.guard)?;
                closed.segment.sync(self.guard).inspect_err(|_| pending.note_failure())?;
                pending.note_durable(base);
            }
            Durability::Unsynced => pending.note_segment(base, None),
        }
        pending.note_end(end.next_offset, closed.bytes_walked);
        Ok(())
    }

    /// Checks what was added to the active segment, which has only grown. Returns `None` if it is no longer the last one, or
    /// ends below the log start. The next segment's name is this one's end, so one look at that name replaces a listing: the
    /// cost follows the bytes that were added, however many segments there are.
    pub(super) fn check_grown(
        &self,
        known: Offset,
        grown: &OpenLog,
        pending: &mut PendingSync,
        notices: &mut Vec<Notice>,
    ) -> Result<Option<SegmentWriter>> {
        let check = Check { grown: Some(grown.clone()), ..self.check(grown.base_offset, known, true) };
        let walked = check.walk(self.guard)?;
        let end = walked.next_offset();
        let follower = segment_name(end, FileKind::Log);
        let is_followed = end > grown.base_offset && self.guard.folder().stat(&follower)?.is_some();
        if is_followed || end < self.guard.checkpoints().log_start_offset {
            return Ok(None);
        }
        let checked = check.finish(self.guard, walked, notices)?;
        self.settle(checked, pending).map(Some)
    }

    /// Checks the end of the log again after somebody else has changed it, and notes the segments that were added. The
    /// segment `grown` has done nothing but grow.
    pub(super) fn check_active(
        mut self,
        known: Offset,
        grown: Option<OpenLog>,
        pending: &mut PendingSync,
        notices: &mut Vec<Notice>,
    ) -> Result<SegmentWriter> {
        let bases = segments::base_offsets(&**self.guard.folder())?;
        let Some(&last) = bases.last() else { return begin_at(self.guard, known, pending) };
        let grown = grown.filter(|log| log.base_offset == last);
        if grown.is_none() && self.durability == Durability::Synced {
            // What others have written to segments that this run opens only now is vouched for by no descriptor of its own.
            let from = OthersMarks::find(self.guard, pending.mark())?.from;
            // Below the recovery point all is durable, and nobody looks at an index again.
            self.rewrite_from = from.map(|from| from.max(self.guard.checkpoints().recovery_point));
        }
        let first = segments::holding(&bases, self.rewrite_from.unwrap_or(known).min(Offset(known.0 - 1)));
        for pair in bases[first..].windows(2) {
            match self.rewrite_from {
                Some(from) if from < pair[1] => self.check_closed((pair[0], pair[1]), known, pending, notices)?,
                _ => pending.note_segment(pair[0], None),
            }
        }
        let checked = Check { grown, ..self.check(last, known, true) }.run(self.guard, notices)?;
        self.settle(checked, pending)
    }

    fn check(&self, base_offset: Offset, believed: Offset, is_last: bool) -> Check {
        // The walk begins below what is to be written again, and below the recovery point nothing is.
        let rewrite_from = self.rewrite_from.map(|from| from.max(self.guard.checkpoints().recovery_point));
        let believed = rewrite_from.map_or(believed, |from| from.min(believed));
        Check { base_offset, believed, grown: None, rewrite_from, is_last }
    }

    /// Takes a checked segment as the active one, unless the log start lies above its end: then nothing in the log counts
    /// any more and the next offset is the log start, so that no reader ever sees an offset twice.
    fn settle(&self, checked: CheckedSegment, pending: &mut PendingSync) -> Result<SegmentWriter> {
        let CheckedSegment { segment, bytes_walked } = checked;
        let log_start_offset = self.guard.checkpoints().log_start_offset;
        if segment.end.next_offset < log_start_offset {
            return begin_at(self.guard, log_start_offset, pending);
        }
        pending.note_segment(segment.log.base_offset, Some(Arc::clone(&segment.log.file)));
        pending.note_end(segment.end.next_offset, bytes_walked);
        Ok(segment)
    }
}

fn begin_at(guard: &PartitionGuard, base_offset: Offset, pending: &mut PendingSync) -> Result<SegmentWriter> {
    let active = SegmentWriter::create(guard, base_offset)?;
    pending.note_segment(base_offset, Some(Arc::clone(&active.log.file)));
    pending.note_end(base_offset, 0);
    Ok(active)
}
