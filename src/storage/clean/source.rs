//! The closed segments that a compaction reads, as they were when it began.

use super::pieces::{PIECE, Pieces};
use crate::disk::{DiskError, Folder};
use crate::format::header::BatchHeader;
use crate::storage::file_name::{FileKind, segment_name};
use crate::storage::scan::Scanner;
use crate::storage::segments::{self, OpenLog};
use crate::storage::{Result, Segment, StorageError};
use crate::units::{Offset, Position};
use std::io::ErrorKind;
use std::path::Path;

/// Called with a batch: its header, its bytes, and where they are.
pub(super) type Visit<'a> = dyn FnMut(&BatchHeader, &[u8], (&Path, Position)) -> Result<()> + 'a;

/// A closed segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) segment: Segment,
    /// When its `.log` was changed last: while that and the file are the same, so are its bytes.
    changed_ns: i64,
    /// Where the next segment begins.
    pub(super) end: Offset,
    pub(super) offset_index_size: u64,
    pub(super) time_index_size: u64,
}

impl Source {
    /// The segment as it is now; `None` where it is gone or another.
    pub(super) fn find(folder: &dyn Folder, segment: Segment, end: Offset) -> Result<Option<Self>> {
        let base = segment.base_offset;
        let Some(stat) = folder.stat(&segment_name(base, FileKind::Log))? else { return Ok(None) };
        // One that is being written to may have grown: what has come is not asked.
        if stat.id != segment.id || stat.size < segment.size {
            return Ok(None);
        }
        let size = |kind| Ok::<_, DiskError>(folder.stat(&segment_name(base, kind))?.map_or(0, |stat| stat.size));
        let (offset_index_size, time_index_size) = (size(FileKind::OffsetIndex)?, size(FileKind::TimeIndex)?);
        let segment = Segment { size: stat.size, ..segment };
        Ok(Some(Self { segment, changed_ns: stat.changed_ns, end, offset_index_size, time_index_size }))
    }

    /// Whether it is still what it was.
    pub(super) fn is_there(&self, folder: &dyn Folder) -> Result<bool> {
        let stat = folder.stat(&segment_name(self.segment.base_offset, FileKind::Log))?;
        let facts = stat.map(|stat| (stat.id, stat.size, stat.changed_ns));
        Ok(facts == Some((self.segment.id, self.segment.size, self.changed_ns)))
    }

    /// Opens it, if it is still the same.
    pub(super) fn open(&self, folder: &dyn Folder) -> Result<OpenLog> {
        let base = self.segment.base_offset;
        match segments::open_log(folder, base)? {
            Some(log) if log.file.stat()?.id == self.segment.id => Ok(log),
            _ => Err(changed(folder.path())),
        }
    }

    /// Shows every batch, its checksum checked, with its bytes and where it is.
    pub(super) fn each_batch(&self, folder: &dyn Folder, watch: &mut Watch<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let scanner = Scanner::new(self.open(folder)?, Position::ZERO, PIECE)?;
        Pieces { scanner, end: self.end }.show(watch, visit)
    }
}

/// The error of a log that somebody else has changed in the middle.
pub(super) fn changed(folder: &Path) -> StorageError {
    StorageError::Changed { path: folder.to_owned() }
}

/// The error of one that was stopped.
pub(super) fn interrupted(path: &Path) -> StorageError {
    let (path, source) = (path.to_owned(), ErrorKind::Interrupted.into());
    DiskError { doing: "compact", path, source }.into()
}

/// Who looks on, and may stop it.
pub struct Watch<'a> {
    /// Asked now and then.
    pub is_stopped: &'a dyn Fn() -> bool,
    /// Called with how many bytes were read since the last call.
    pub on_bytes: &'a mut dyn FnMut(u64),
}

impl Watch<'_> {
    pub(super) fn pass(&mut self, bytes: u64, path: &Path) -> Result<()> {
        (self.on_bytes)(bytes);
        if (self.is_stopped)() {
            return Err(interrupted(path));
        }
        Ok(())
    }
}
