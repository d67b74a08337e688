//! A cut through a log: its segments at one moment, ending after the last whole batch, to be copied while others write.
//!
//! What must stay true:
//! - The cut ends where a batch ends that is whole and whose checksum matches. What is appended after that is not part of it.
//! - Bytes are handed out batch by batch, each checked: a copy never holds more than whole, valid batches that rise from segment
//!   to segment.
//! - A segment is a file, not a name: what a retention run removes in the meantime is read on through the open file, and a
//!   file that a compaction has put in its place is an error.

use super::file_name::{FileKind, parse_segment_name};
use super::read::{LogReader, Next};
use super::read_folder::ReadFolder;
use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::segments::{self, OpenLog, Segment};
use super::view::{LISTINGS_MAX, LogView};
use super::{Result, StorageError, leader_epochs, lookup};
use crate::disk::{Folder, atomic};
use crate::format::checkpoint::LeaderEpochCheckpoint;
use crate::format::header::{BatchHeader, NoBatch};
use crate::format::txn::{ABORTED_TRANSACTION_SIZE, AbortedTransaction};
use crate::format::{FormatError, snapshot};
use crate::units::{Offset, Position, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes read at a time.
const CHUNK: usize = 512 << 10;
/// A larger transaction index or snapshot is none.
const SIDE_FILE_MAX: usize = 64 << 20;

/// A log at one moment.
pub struct LogCut {
    path: PathBuf,
    /// `None` where the partition has no folder, which is an empty log.
    folder: Option<ReadFolder>,
    segments: Vec<CutSegment>,
    log_start_offset: Offset,
    log_end_offset: Offset,
}

/// A segment of a [`LogCut`].
pub struct CutSegment {
    /// The offset in its name.
    pub base_offset: Offset,
    /// Bytes of its `.log` that are part of the cut.
    pub size: u64,
    /// When the `.log` last changed.
    pub modified: Timestamp,
    /// The base offset of the next segment; of the last, the log end offset of the cut.
    next_base: Offset,
    found: Segment,
    /// `None` where there are too many segments to keep each open.
    log: Option<OpenLog>,
}

impl LogView {
    /// Cuts the log where its last whole batch ends now. At most `open_max` segments are kept open, the oldest first, since
    /// retention removes those first.
    ///
    /// # Errors
    /// When the disk fails, the partition was deleted, or the log is corrupt at its end.
    pub fn cut(&self, open_max: usize) -> Result<LogCut> {
        let mut view = self.opened()?;
        for _ in 0..LISTINGS_MAX {
            if let Some(cut) = view.try_cut(open_max)? {
                return Ok(cut);
            }
            view = view.list_again()?;
        }
        Err(StorageError::Changed { path: self.path().to_owned() })
    }

    /// `None` where the segments have changed since they were listed.
    fn try_cut(&self, open_max: usize) -> Result<Option<LogCut>> {
        let start = self.log_start_offset();
        let kept = |folder: Option<&Arc<dyn Folder>>| folder.map(|folder| ReadFolder::new(Arc::clone(folder)));
        let (folder, path) = (self.opened_folder()?, self.path().to_owned());
        let (Some(folder), Some(&last)) = (&folder, self.bases().last()) else {
            let (folder, segments) = (kept(folder.as_ref()), Vec::new());
            return Ok(Some(LogCut { path, folder, segments, log_start_offset: start, log_end_offset: start }));
        };
        let Some((log, end)) = self.end_in(last)? else { return Ok(None) };
        let found = segments::stat_all(&**folder, self.bases())?;
        if found.len() != self.bases().len() || found.last().map(|it| it.id) != Some(log.file.stat()?.id) {
            return Ok(None);
        }
        let log_end_offset = end.offset.max(start);
        let mut cut_segments = Vec::with_capacity(found.len());
        for (place, found) in found.iter().copied().enumerate() {
            let next = self.bases().get(place + 1).copied();
            let log = if next.is_none() {
                Some(log.clone())
            } else if place < open_max {
                let Some(log) = self.open_log(found.base_offset)? else { return Ok(None) };
                if log.file.stat()?.id != found.id {
                    return Ok(None);
                }
                Some(log)
            } else {
                None
            };
            cut_segments.push(CutSegment {
                base_offset: found.base_offset,
                size: if next.is_some() { found.size } else { end.position.0 },
                modified: found.modified,
                next_base: next.unwrap_or(log_end_offset),
                found,
                log,
            });
        }
        // A cleaner that put one segment in the place of several, or retention, shows in a second listing.
        let bases = segments::base_offsets(&**folder)?;
        let again = segments::stat_all(&**folder, self.bases())?;
        let is_same = bases.starts_with(self.bases())
            && again.iter().map(|it| it.id).eq(cut_segments.iter().map(|it| it.found.id));
        let folder = kept(Some(folder));
        let cut = LogCut { path, folder, segments: cut_segments, log_start_offset: start, log_end_offset };
        Ok(is_same.then_some(cut))
    }

    /// The last segment, and where its last whole batch ends; `None` where it is not the last one any more.
    fn end_in(&self, last: Offset) -> Result<Option<(OpenLog, End)>> {
        let Some(log) = self.open_log(last)? else { return Ok(None) };
        let index = self.offset_index(last)?;
        let size = log.file.stat()?.size;
        let scanner = lookup::scan_from_last_entry(log, size, &index, HEADER_CHUNK)?;
        let mut probe = LogReader::standing_in(self.clone(), last, scanner, HEADER_CHUNK);
        while let Next::Batch(_) | Next::LogStartPassed { .. } = probe.next()? {}
        let Some((log, position)) = probe.log().filter(|(log, _)| log.base_offset == last) else { return Ok(None) };
        Ok(Some((log.clone(), End { position, offset: probe.next_offset() })))
    }
}

/// Where the last whole batch of a log ends.
struct End {
    position: Position,
    offset: Offset,
}

impl LogCut {
    /// The first offset that may be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.log_start_offset
    }

    /// The offset after the last record.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.log_end_offset
    }

    /// The segments, oldest first.
    #[must_use]
    pub fn segments(&self) -> &[CutSegment] {
        &self.segments
    }

    /// How many descriptors it holds.
    #[must_use]
    pub fn open_count(&self) -> usize {
        let folder = usize::from(self.folder.as_ref().is_some_and(ReadFolder::is_open));
        folder + self.segments.iter().filter(|segment| segment.log.is_some()).count()
    }

    /// Gives the descriptors back. What is opened again later must be the same files.
    ///
    /// # Errors
    /// When the partition was deleted, or the disk fails.
    pub fn close(&mut self) -> Result<()> {
        self.segments.iter_mut().for_each(|segment| segment.log = None);
        self.folder.as_mut().map_or(Ok(()), ReadFolder::close)
    }

    fn opened_folder(&self) -> Result<Option<Arc<dyn Folder>>> {
        self.folder.as_ref().map(ReadFolder::opened).transpose()
    }

    /// Moves the start to `offset`, which lies in the log, and leaves out the segments that lie wholly below it.
    pub fn begin_at(&mut self, offset: Offset) {
        self.log_start_offset = offset;
        self.segments.retain(|segment| segment.next_base > offset);
    }

    /// The batches of a segment.
    ///
    /// # Errors
    /// When the segment is gone, another file has its name, or the disk fails.
    pub fn batches<'a>(&'a self, segment: &'a CutSegment) -> Result<SegmentBatches<'a>> {
        let changed = || StorageError::Changed { path: self.path.clone() };
        let log = match (&segment.log, self.opened_folder()?) {
            (Some(log), _) => log.clone(),
            (None, Some(folder)) => segments::open_log(&*folder, segment.base_offset)?.ok_or_else(changed)?,
            (None, None) => return Err(changed()),
        };
        if log.file.stat()?.id != segment.found.id {
            return Err(changed());
        }
        let scanner = Scanner::of_size(log, Position::ZERO, segment.size, CHUNK);
        Ok(SegmentBatches { cut: self, segment, scanner })
    }

    /// The text of `leader-epoch-checkpoint` for this log: without epochs that begin after its end.
    ///
    /// # Errors
    /// When the file is damaged, or the disk fails.
    pub fn leader_epochs(&self) -> Result<String> {
        let mut rows = self.opened_folder()?.map_or(Ok(Vec::new()), |folder| leader_epochs::read(&*folder))?;
        rows.retain(|row| row.start_offset < self.log_end_offset || row.start_offset == Offset::ZERO);
        Ok(LeaderEpochCheckpoint { rows }.print())
    }

    /// The names of the small files beside these segments, which brokers write: transaction indexes and snapshots of producers.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn side_files(&self) -> Result<Vec<String>> {
        let (Some(folder), Some(first)) = (self.opened_folder()?, self.segments.first()) else { return Ok(Vec::new()) };
        let has_segment = |base| self.segments.binary_search_by_key(&base, |segment| segment.base_offset).is_ok();
        let snapshots = first.base_offset..=self.log_end_offset;
        let is_wanted = |name: &String| match parse_segment_name(name) {
            Some((base, FileKind::TransactionIndex)) => has_segment(base),
            Some((base, FileKind::Snapshot)) => snapshots.contains(&base),
            _ => false,
        };
        let mut names: Vec<String> = folder.list()?.into_iter().map(|entry| entry.name).filter(is_wanted).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// What such a file says of the cut. It is derived: `None` where it says nothing, is damaged, or was removed since.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn side_file(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(folder) = self.opened_folder()? else { return Ok(None) };
        let Some(bytes) = atomic::read_small(&*folder, name, SIDE_FILE_MAX)? else { return Ok(None) };
        Ok(match parse_segment_name(name) {
            Some((_, FileKind::TransactionIndex)) => {
                Some(self.aborted_within(&bytes)).filter(|bytes| !bytes.is_empty())
            }
            _ => snapshot::decode(&bytes).is_ok().then_some(bytes),
        })
    }

    /// The entries of a transaction index up to the first that is no entry, or is about what comes after the cut.
    fn aborted_within(&self, bytes: &[u8]) -> Vec<u8> {
        let is_within =
            |entry: &&[u8]| AbortedTransaction::decode(entry).is_ok_and(|it| it.last_offset < self.log_end_offset.0);
        bytes.chunks_exact(ABORTED_TRANSACTION_SIZE).take_while(is_within).flatten().copied().collect()
    }
}

/// Reads the batches of one segment of a cut.
pub struct SegmentBatches<'a> {
    cut: &'a LogCut,
    segment: &'a CutSegment,
    scanner: Scanner,
}

impl SegmentBatches<'_> {
    /// The bytes of the next batches whose checksums match, as many as are in memory at once; `None` after the last.
    ///
    /// # Errors
    /// When the segment is corrupt, was cut shorter since, or the disk fails.
    #[expect(clippy::should_implement_trait, reason = "the bytes are borrowed, and an error is no item")]
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        let begin = self.scanner.position();
        let mut found = self.check()?;
        if matches!(found, Found::Bad(_)) {
            // Bytes that fail once may have been read while somebody else changed them.
            let (position, expected) = (self.scanner.position(), self.scanner.expected());
            let log = self.scanner.log().clone();
            self.scanner = Scanner::of_size(log, position, self.segment.size, CHUNK);
            self.scanner.go_to(position, expected);
            found = self.check()?;
        }
        match found {
            Found::Batch(header) => {
                self.scanner.load(&header)?;
                self.scanner.pass(&header);
            }
            Found::End => return Ok(None),
            Found::Bad(problem) if self.scanner.log().file.stat()?.size >= self.segment.size => {
                return Err(self.scanner.corrupt(problem));
            }
            Found::Bad(_) => return Err(StorageError::Changed { path: self.cut.path.clone() }),
        }
        while self.scanner.can_go_on_in_memory()
            && let Found::Batch(header) = self.check()?
        {
            self.scanner.pass(&header);
        }
        Ok(Some(self.scanner.loaded_since(begin)))
    }

    fn check(&mut self) -> Result<Found> {
        let next_base = self.segment.next_base;
        Ok(match self.scanner.step()? {
            Step::End => Found::End,
            Step::Batch(header) if !self.scanner.checksum_matches(&header)? => {
                Found::Bad(self.scanner.checksum_error())
            }
            Step::Batch(header) if header.next_offset() > next_base => {
                let what = format!("the batch ends above {next_base}, where the segment ends");
                Found::Bad(NoBatch::Invalid(FormatError::corrupt(what)))
            }
            Step::Batch(header) => Found::Batch(header),
            Step::Bad(problem) => Found::Bad(problem),
        })
    }
}

enum Found {
    Batch(BatchHeader),
    End,
    Bad(NoBatch),
}
