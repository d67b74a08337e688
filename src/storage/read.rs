//! Reads a partition without a lock, beside writers, retention and brokers.
//!
//! What a reader believes:
//! - It shows a batch only after its checksum has matched.
//! - A last batch that is not whole or not valid is the end for now. It is read afresh from its first byte when the
//!   reader looks again, since the writer may have finished it, or another may have cut it and written in its place.
//! - The same is corruption, and said, when it lies below the recovery point, when valid batches follow, when another
//!   segment does, or when it is a whole batch of a format that is not known; and only after size and file were looked
//!   at again and the bytes failed twice.
//! - Where a segment goes on past the base offset of the next one, the next one's records count from there on, as for a
//!   broker that is asked for one of these offsets: it looks into the segment with the greatest base offset that is not
//!   above it. A last batch there that leaves out offsets is corruption: it is its base offset that may be damaged.
//! - When a successor has appeared, the old segment is read to its end once more before it is left. A gap between two
//!   segments is believed only after a second listing. A segment that is gone means to list again.

use super::file_name::{FileKind, SWAP_SUFFIX, segment_name};
use super::scan::{Scanner, Step};
use super::segments::{self, OpenLog};
use super::tail::{self, Place, Tail};
use super::view::{LISTINGS_MAX, LogView};
use super::{Result, lookup};
use crate::disk::FileId;
use crate::format::header::{BatchHeader, NoBatch};
use crate::units::{Offset, Position};
use std::path::Path;
use std::sync::Arc;

/// The end of a segment that has no successor yet.
const NO_END: Offset = Offset(i64::MAX);

/// What [`LogReader::next`] finds.
#[derive(Debug)]
pub enum Next {
    /// A batch with a right checksum; its bytes are at [`LogReader::batch`] until the next call.
    Batch(BatchHeader),
    /// Nothing more for now.
    End,
    /// The records from the first offset up to the second were removed before they were read; the reader goes on at the
    /// second.
    LogStartPassed {
        /// The offset that was to be read.
        missed_from: Offset,
        /// The first offset that is still there.
        log_start_offset: Offset,
    },
}

/// A view of a partition and a place in it, to read from. The view is listed again where the log has gone on.
pub struct LogReader {
    view: LogView,
    /// Bytes read at a time.
    chunk: usize,
    scanner: Option<Scanner>,
    /// Where the next segment begins; no batch of this one may claim an offset from there on.
    segment_end: Offset,
    /// The batch that was shown last.
    current: Option<BatchHeader>,
    next_offset: Offset,
    /// The file and position of what looked like damage, and was approached afresh since.
    doubted: Option<(FileId, Position)>,
    /// The segment that is read from its first batch on, since an index led past what is doubted.
    read_whole: Option<Offset>,
    /// Segment and position of a batch that goes on from those before it, although the next one contradicts it.
    trusted: Option<(Offset, Position)>,
    /// A segment, the position after the last skipped bytes, and the lowest offset that may follow there.
    stepped_over: Option<(Offset, Position, Offset)>,
}

impl LogReader {
    /// Reads the log of `view` from its log start offset on, `chunk` bytes at a time.
    #[must_use]
    pub fn new(view: LogView, chunk: usize) -> Self {
        let next_offset = view.log_start_offset();
        Self {
            view,
            chunk,
            scanner: None,
            segment_end: NO_END,
            current: None,
            next_offset,
            doubted: None,
            read_whole: None,
            trusted: None,
            stepped_over: None,
        }
    }

    /// A reader at `next_offset`, for which `scanner` is in place.
    pub(super) fn standing_in(view: LogView, next_offset: Offset, scanner: Scanner, chunk: usize) -> Self {
        let mut reader = Self::new(view, chunk);
        reader.next_offset = next_offset;
        reader.stand_in(scanner);
        reader
    }

    /// A reader of the same view, at its log start offset. Nothing is listed again.
    pub(super) fn another(&self, chunk: usize) -> Self {
        Self::new(self.view.clone(), chunk)
    }

    /// What is known of the log.
    #[must_use]
    pub fn view(&self) -> &LogView {
        &self.view
    }

    /// The most plain bytes that are taken out of one batch.
    #[must_use]
    pub fn decompressed_size_max(&self) -> usize {
        self.view.decompressed_size_max()
    }

    /// The open segment and the position of the next batch in it.
    pub(super) fn log(&self) -> Option<(&OpenLog, Position)> {
        self.scanner.as_ref().map(|scanner| (scanner.log(), scanner.position()))
    }

    /// The base offset of the segment that it stands in.
    pub(super) fn segment(&self) -> Option<Offset> {
        self.scanner.as_ref().map(|scanner| scanner.log().base_offset)
    }

    /// The offset of the next record to be read, or after the last one read.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Whether it holds file descriptors.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.view.is_open()
    }

    /// Gives the file descriptors back until the reader needs the disk again. What it has in memory stays, the batch that
    /// was shown last included.
    ///
    /// # Errors
    /// When the disk fails or the partition was deleted.
    pub fn close(&mut self) -> Result<()> {
        self.view.close()?;
        if let Some(scanner) = &mut self.scanner {
            scanner.close_file();
        }
        Ok(())
    }

    /// Opens what [`LogReader::close`] has closed and looks for the next offset anew: the segment may have been replaced.
    #[cold]
    fn open_again(&mut self) -> Result<()> {
        self.view.reopen()?;
        self.scanner = None;
        Ok(())
    }

    /// Goes to `offset`, which the caller has found to lie between log start and log end.
    pub fn seek(&mut self, offset: Offset) {
        self.scanner = None;
        self.current = None;
        self.next_offset = offset;
    }

    /// The next batch that holds or follows the place of the reader.
    ///
    /// # Errors
    /// When the disk fails, the partition was deleted, or the log is corrupt here.
    #[expect(clippy::should_implement_trait, reason = "an end is not final, and an error is no item")]
    pub fn next(&mut self) -> Result<Next> {
        if let (Some(header), Some(scanner)) = (self.current.take(), &mut self.scanner) {
            scanner.pass(&header);
            self.next_offset = self.next_offset.max(header.next_offset().min(self.segment_end));
        }
        loop {
            if self.view.is_closed() && !self.scanner.as_ref().is_some_and(Scanner::holds_next) {
                self.open_again()?;
            }
            let Some(scanner) = &mut self.scanner else {
                match self.open_segment()? {
                    Opened::Segment => continue,
                    Opened::Nothing => return Ok(Next::End),
                    Opened::LogStartPassed(missed_from) => {
                        return Ok(Next::LogStartPassed { missed_from, log_start_offset: self.next_offset });
                    }
                }
            };
            match scanner.step()? {
                Step::Batch(header) if header.last_offset() < self.next_offset => scanner.pass(&header),
                Step::Batch(header) => {
                    if scanner.checksum_matches(&header)? {
                        if (scanner.overlaps_next(&header)?
                            || header.next_offset() > self.segment_end
                            || (self.segment_end == NO_END
                                && scanner.may_end_after_gap(&header)
                                && lookup::may_be_denied(scanner.log(), &header, &self.view.checkpoints())))
                            && self.trusted != Some((scanner.log().base_offset, scanner.position()))
                            && self.is_in_doubt(&header)?
                        {
                            continue;
                        }
                        let scanner = self.scanner.as_mut().expect("a batch was found in a segment");
                        scanner.load(&header)?;
                        self.current = Some(header);
                        return Ok(Next::Batch(header));
                    }
                    let problem = scanner.checksum_error();
                    if self.is_end(problem)? {
                        return Ok(Next::End);
                    }
                }
                Step::End => {
                    if !self.cross()? {
                        return Ok(Next::End);
                    }
                }
                Step::Bad(problem) => {
                    if self.is_end(problem)? {
                        return Ok(Next::End);
                    }
                }
            }
        }
    }

    /// Looks again at a batch that claims offsets of the one after it or of the next segment, or is the last one and leaves
    /// out offsets; `false` where it is to be shown. The listing may be stale: a broker's cleaner puts one segment in the place
    /// of several, and while it does, those stand beside the new one.
    ///
    /// # Errors
    /// When its base offset is damaged, or that of the one after it.
    #[cold]
    fn is_in_doubt(&mut self, header: &BatchHeader) -> Result<bool> {
        if self.view.is_closed() {
            return self.open_again().map(|()| true);
        }
        let known = self.segment_end;
        self.list_again()?;
        let segment_end = self.segment_end;
        let scanner = self.scanner.as_mut().expect("a batch was found in a segment");
        // The batch may have been read before others were written in its place, and the next one after.
        scanner.refresh()?;
        if !matches!(scanner.step()?, Step::Batch(found) if found == *header) {
            return Ok(true);
        }
        if scanner.overlaps_next(header)? {
            return Err(scanner.overlap(header));
        }
        let log = scanner.log();
        if log.path.extension().is_some_and(|it| it == SWAP_SUFFIX.trim_start_matches('.')) {
            self.segment_end = NO_END;
            return Ok(false);
        }
        if header.next_offset() <= segment_end {
            let checkpoints = self.view.checkpoints();
            if segment_end == NO_END && scanner.may_end_after_gap(header) {
                let index = self.view.offset_index(log.base_offset)?;
                if let Some(batch) = lookup::denied(scanner, header, &index, &checkpoints)? {
                    return Err(scanner.denied(batch, &checkpoints));
                }
            }
            return Ok(false);
        }
        if segment_end != known {
            return Ok(true);
        }
        if !scanner.knows_what_precedes() {
            scanner.go_to(Position::ZERO, scanner.log().base_offset);
            return Ok(true);
        }
        if scanner.may_end_after_gap(header) {
            return Err(scanner.overlap(header));
        }
        let is_passed = header.base_offset >= segment_end;
        if is_passed {
            self.scanner = None;
            self.next_offset = self.next_offset.max(segment_end);
        }
        Ok(is_passed)
    }

    /// Where the segment ends by the name of the next one: what a batch holds from there on is not shown.
    pub(super) fn segment_end(&self) -> Offset {
        self.segment_end
    }

    /// After an error: skips what is corrupt or unsupported. Returns the lowest offset that the next record can have; `None` if
    /// no batch follows.
    ///
    /// # Errors
    /// When the disk fails.
    pub(super) fn step_over(&mut self) -> Result<Option<Offset>> {
        let Some(scanner) = &mut self.scanner else { return Ok(None) };
        let (position, size) = (scanner.position(), scanner.size());
        let base = scanner.log().base_offset;
        if let Some(header) = self.current.take() {
            scanner.pass(&header);
            self.next_offset = self.next_offset.max(header.next_offset());
            self.stepped_over = Some((base, scanner.position(), scanner.expected()));
            return Ok(Some(self.next_offset));
        }
        let expected = scanner.expected().max(self.next_offset);
        match scanner.peek()? {
            Step::Batch(header) if scanner.checksum_matches(&header)? => {
                let behind = position + header.size as u64;
                let place = Some((base, position));
                // It continues from the batches before it, so the next one is wrong. A batch that is already trusted has another
                // fault.
                if header.base_offset == scanner.expected() && self.trusted != place {
                    self.trusted = place;
                    return Ok(Some(expected));
                }
                scanner.go_to(behind, expected);
                self.stepped_over = Some((base, behind, expected));
                return Ok(Some(expected));
            }
            _ => {}
        }
        let place = Place { log: scanner.log(), position, expected, reached: expected, size };
        if let Some((next, header)) = tail::next_batch(&place)?.filter(|(next, _)| *next > position) {
            scanner.go_to(next, header.base_offset);
            self.stepped_over = Some((base, next, header.base_offset));
            self.next_offset = self.next_offset.max(header.base_offset);
            return Ok(Some(self.next_offset));
        }
        let Some(successor) = self.view.successor(base) else { return Ok(None) };
        self.scanner = None;
        self.next_offset = self.next_offset.max(successor);
        Ok(Some(self.next_offset))
    }

    /// Goes back before the batch that [`LogReader::next`] has shown last.
    pub(super) fn unread(&mut self) {
        self.current = None;
    }

    /// Goes to the batch that `other`, a reader of the same partition, has shown last, without looking it up. Bytes of that
    /// file that were read already are kept.
    pub(super) fn go_to_batch_of(&mut self, other: &Self) {
        let place = other.scanner.as_ref().expect("a batch comes from a segment");
        (self.current, self.next_offset) = (None, other.next_offset);
        if let Some(scanner) = &mut self.scanner
            && Arc::ptr_eq(&scanner.log().file, &place.log().file)
        {
            scanner.go_to(place.position(), place.expected());
            return;
        }
        let mut scanner = Scanner::of_size(place.log().clone(), place.position(), place.size(), self.chunk);
        scanner.go_to(place.position(), place.expected());
        self.stand_in(scanner);
    }

    /// The bytes of the batch that [`LogReader::next`] has shown last.
    #[must_use]
    pub fn batch(&self) -> &[u8] {
        let header = self.current.as_ref().expect("a batch has been shown");
        self.scanner.as_ref().expect("a batch comes from a segment").loaded(header)
    }

    /// The header of the batch that [`LogReader::next`] has shown last.
    pub(super) fn header(&self) -> &BatchHeader {
        self.current.as_ref().expect("a batch has been shown")
    }

    /// The segment file and the position of the batch that was shown last.
    #[must_use]
    pub fn place(&self) -> (&Path, Position) {
        self.scanner
            .as_ref()
            .map_or((self.view.path(), Position::ZERO), |scanner| (&scanner.log().path, scanner.position()))
    }

    /// Judges a place without a valid batch: `true` is the end for now, `false` means to look at it again.
    #[cold]
    fn is_end(&mut self, problem: NoBatch) -> Result<bool> {
        if self.view.is_closed() {
            return self.open_again().map(|()| false);
        }
        let scanner = self.scanner.as_mut().expect("a problem was found in a segment");
        let id = scanner.refresh()?.id;
        if is_sound(scanner)? {
            return Ok(false);
        }
        let (log, expected) = (scanner.log().clone(), scanner.expected());
        if self.view.stat_log(&log)?.map(|stat| stat.id) != Some(id) {
            self.scanner = None;
            self.list_again()?;
            return Ok(false);
        }
        self.list_again()?;
        let is_last = self.view.bases().last().is_none_or(|&last| last <= log.base_offset);
        let scanner = self.scanner.as_mut().expect("still open");
        let may_be_end = is_last
            && !matches!(problem, NoBatch::Unknown { .. })
            && expected.max(self.next_offset) >= self.view.checkpoints().acknowledged()
            && !scanner.has_gap_over_end(&self.view.checkpoints());
        if may_be_end && matches!(scanner.judge_tail()?, Tail::Zeros | Tail::Torn) {
            return Ok(true);
        }
        // A writer may have finished the batch, and the next one or two, while we searched: only what is still bad now
        // was bad when its successors were written.
        scanner.refresh()?;
        if is_sound(scanner)? {
            return Ok(false);
        }
        // Where the log was cut and written on since, this place may lie inside a batch.
        let here = (id, scanner.position());
        if self.doubted.replace(here) != Some(here) {
            self.scanner = None;
            return Ok(false);
        }
        Err(scanner.corrupt(problem))
    }

    /// Looks for more at the end of a segment: in it, or in the next one.
    fn cross(&mut self) -> Result<bool> {
        let scanner = self.scanner.as_mut().expect("the end of a segment");
        let size = scanner.size();
        let id = scanner.refresh()?.id;
        if scanner.size() > size {
            return Ok(true);
        }
        if scanner.size() < scanner.position().0 {
            // Cut, and perhaps written on since: the next offset is to be looked for from a batch that is there.
            self.scanner = None;
            return Ok(true);
        }
        let log = scanner.log().clone();
        let (base, end) = (log.base_offset, scanner.expected());
        let position = scanner.position();
        if self.doubted.is_some_and(|(of, at)| of == id && at < position) {
            if self.read_whole.replace(base) != Some(base) {
                self.scanner = None;
                return Ok(true);
            }
            (self.doubted, self.read_whole) = (None, None);
        }
        if self.view.successor(base).is_none() {
            // Whoever looks for an offset behind a roll that was not listed stands at the end of a segment below it.
            let rolled =
                self.begins_at(self.next_offset, base)? || (end != self.next_offset && self.begins_at(end, base)?);
            let is_there = self.view.stat_log(&log)?.is_some_and(|stat| stat.id == id);
            if !rolled && is_there && self.view.is_named()? {
                return Ok(false);
            }
            self.list_again()?;
        }
        let Some(mut successor) = self.view.successor(base) else {
            // Without a successor the segment was removed, and perhaps made anew, or nothing happened after all.
            let same = self.view.stat_log(&log)?.is_some_and(|stat| stat.id == id);
            if !same {
                self.scanner = None;
            }
            return Ok(!same && self.view.bases().contains(&base));
        };
        if successor > self.next_offset {
            self.list_again()?;
            successor = self.view.successor(base).unwrap_or(successor);
        }
        // The successor was listed, so nothing is appended to this segment any more: what is read now is its end.
        let scanner = self.scanner.as_mut().expect("still open");
        scanner.refresh()?;
        if !matches!(scanner.step()?, Step::End) {
            return Ok(true);
        }
        self.scanner = None;
        // A cleaner may have put one segment in the place of this one and of others, whose records are no gap: they are looked
        // for in what has the name now.
        if successor > self.next_offset && self.view.stat_log(&log)?.is_some_and(|stat| stat.id != id) {
            return Ok(true);
        }
        let gone = self.view.bases().first().is_some_and(|&first| first > self.next_offset);
        if !gone {
            self.next_offset = self.next_offset.max(successor);
        }
        Ok(true)
    }

    /// Whether a segment behind the one at `base` begins at `offset`.
    fn begins_at(&self, offset: Offset, base: Offset) -> Result<bool> {
        if offset <= base {
            return Ok(false);
        }
        let Some(folder) = self.view.opened_folder()? else { return Ok(false) };
        Ok(folder.stat(&segment_name(offset, FileKind::Log))?.is_some())
    }

    fn stand_in(&mut self, scanner: Scanner) {
        self.segment_end = self.view.successor(scanner.log().base_offset).unwrap_or(NO_END);
        self.scanner = Some(scanner);
    }

    /// Lists the folder again.
    pub(super) fn list_again(&mut self) -> Result<()> {
        self.view = self.view.list_again()?;
        if let Some(scanner) = &self.scanner {
            self.segment_end = self.view.successor(scanner.log().base_offset).unwrap_or(NO_END);
        }
        Ok(())
    }

    /// Opens the segment that holds the next offset, at the batch that does or before it.
    fn open_segment(&mut self) -> Result<Opened> {
        for _ in 0..LISTINGS_MAX {
            let Some(&first) = self.view.bases().first() else {
                self.list_again()?;
                if self.view.is_empty() {
                    return Ok(Opened::Nothing);
                }
                continue;
            };
            if first > self.next_offset {
                self.list_again()?;
                if self.view.bases().first() != Some(&first) {
                    continue;
                }
                let missed_from = self.next_offset;
                self.next_offset = first;
                return Ok(Opened::LogStartPassed(missed_from));
            }
            let bases = self.view.bases();
            let base = bases[segments::holding(bases, self.next_offset)];
            let Some(log) = self.view.open_log(base)? else {
                self.list_again()?;
                continue;
            };
            let mut start = Position::ZERO;
            if self.next_offset > base && self.read_whole != Some(base) {
                let size = log.file.stat()?.size;
                start = lookup::start_for_offset(&log, size, &self.view.offset_index(base)?, self.next_offset)?.0;
            }
            let mut scanner = Scanner::new(log, start, self.chunk)?;
            if let Some((_, behind, expected)) =
                self.stepped_over.filter(|&(of, behind, _)| of == base && behind > start)
            {
                scanner.go_to(behind, expected);
            }
            self.stand_in(scanner);
            return Ok(Opened::Segment);
        }
        Err(self.view.deleted())
    }
}

enum Opened {
    Segment,
    Nothing,
    LogStartPassed(Offset),
}

fn is_sound(scanner: &mut Scanner) -> Result<bool> {
    match scanner.step()? {
        Step::Batch(header) => scanner.checksum_matches(&header),
        Step::End => Ok(true),
        Step::Bad(_) => Ok(false),
    }
}
