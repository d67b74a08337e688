//! Holds the entries of an index against the batches of its segment, both in the order of the file.

use crate::format::header::BatchHeader;
use crate::format::index::{OffsetIndexEntry, TimeIndexEntry};
use crate::storage::Result;
use crate::storage::index_file::{EntryRun, IndexEntry, IndexFile};
use crate::storage::index_rule::{Named, named, names_time_of};
use crate::units::{Offset, Position, Timestamp};
use std::ops::Range;

/// Entries that the batches contradict.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) count: usize,
    /// The number of the first one in the index.
    pub(super) first: usize,
    /// What is wrong with that.
    pub(super) what: String,
}

/// Some entries of an index, and what was found wrong with them.
pub(super) struct Entries<'a, E> {
    index: &'a IndexFile<E>,
    run: EntryRun<E>,
    left: Range<usize>,
    wrong: Option<Wrong>,
}

impl<'a, E: IndexEntry> Entries<'a, E> {
    /// The entries of `range`, as far as they are still there: retention takes the indexes of a segment before its log.
    pub(super) fn new(index: &'a IndexFile<E>, range: Range<usize>) -> Self {
        let count = index.count();
        Self { index, run: EntryRun::default(), left: range.start.min(count)..range.end.min(count), wrong: None }
    }

    /// The next entry; damaged ones before it are noted and passed.
    fn peek(&mut self) -> Result<Option<E>> {
        while !self.left.is_empty() {
            match self.run.get(self.index, self.left.start)? {
                Some(entry) => return Ok(Some(entry)),
                None => self.reject(|| "the entry is no entry".into()),
            }
        }
        Ok(None)
    }

    /// The entry behind the next one.
    fn following(&mut self) -> Result<Option<E>> {
        if self.left.len() < 2 { Ok(None) } else { self.run.get(self.index, self.left.start + 1) }
    }

    fn accept(&mut self) {
        self.left.start += 1;
    }

    fn reject(&mut self, what: impl FnOnce() -> String) {
        let first = self.left.start;
        match &mut self.wrong {
            Some(wrong) => wrong.count += 1,
            None => self.wrong = Some(Wrong { count: 1, first, what: what() }),
        }
        self.left.start += 1;
    }
}

/// The offset index of a unit.
pub(super) struct OffsetEntries<'a> {
    entries: Entries<'a, OffsetIndexEntry>,
    base: Offset,
    /// The offset of an entry that names a later batch than the one at its position: see [`Named::Later`].
    awaited: Option<Offset>,
    /// Whether an entry leads where no batch begins: bytes have moved since it was written.
    pub(super) leads_astray: bool,
}

impl<'a> OffsetEntries<'a> {
    pub(super) fn new(index: &'a IndexFile<OffsetIndexEntry>, range: Range<usize>, base: Offset) -> Self {
        Self { entries: Entries::new(index, range), base, awaited: None, leads_astray: false }
    }

    /// The offset that the last entry names, if it leads to `position`.
    pub(super) fn last_named_at(&self, position: Position) -> Result<Option<Offset>> {
        let last = self.entries.index.last()?.filter(|entry| entry.position == position);
        Ok(last.map(|entry| entry.relative_offset.absolute(self.base)))
    }

    /// Passes a batch.
    pub(super) fn batch(&mut self, position: Position, header: &BatchHeader) -> Result<()> {
        let last = header.last_offset();
        while let Some(entry) = self.entries.peek()? {
            let offset = entry.relative_offset.absolute(self.base);
            if let Some(awaited) = self.awaited {
                if awaited == last {
                    self.awaited = None;
                    self.entries.accept();
                } else if awaited < last || self.entries.following()?.is_some_and(|next| next.position <= position) {
                    self.awaited = None;
                    self.entries.reject(|| format!("the entry has offset {awaited}, at which no batch ends"));
                } else {
                    return Ok(());
                }
                continue;
            }
            if entry.position > position && offset > last {
                return Ok(());
            }
            if entry.position != position {
                self.leads_astray |= entry.position < position;
                self.entries
                    .reject(|| format!("the entry leads to position {}, where no batch begins", entry.position));
                continue;
            }
            match named(offset, header) {
                Named::Batch => self.entries.accept(),
                Named::Later => {
                    self.awaited = Some(offset);
                    return Ok(());
                }
                Named::Nothing => {
                    self.entries.reject(|| format!("the entry has offset {offset}, and its batch ends at {last}"));
                }
            }
        }
        Ok(())
    }

    /// Leaves out the entries that lead to damaged bytes.
    pub(super) fn skip_below(&mut self, end: Position) -> Result<()> {
        self.awaited = None;
        while self.entries.peek()?.is_some_and(|entry| entry.position < end) {
            self.entries.accept();
        }
        Ok(())
    }

    /// Judges what no batch has come for. `log_end` is where the log ends, if these are its last entries: what leads
    /// behind it is being written.
    pub(super) fn finish(mut self, log_end: Option<(Position, Offset)>) -> Result<Option<Wrong>> {
        while let Some(entry) = self.entries.peek()? {
            let is_behind = |(position, offset): (Position, Offset)| {
                entry.position >= position && entry.relative_offset.absolute(self.base) >= offset
            };
            if self.awaited.is_none() && log_end.is_some_and(is_behind) {
                break;
            }
            self.awaited = None;
            self.entries.reject(|| format!("the entry leads to position {}, where no batch begins", entry.position));
        }
        Ok(self.entries.wrong)
    }
}

/// The time index of a unit.
pub(super) struct TimeEntries<'a> {
    entries: Entries<'a, TimeIndexEntry>,
    base: Offset,
    largest: Timestamp,
    /// The number and timestamp of the first entry: every unit before has to have smaller ones.
    pub(super) first: Option<(usize, Timestamp)>,
}

impl<'a> TimeEntries<'a> {
    pub(super) fn new(index: &'a IndexFile<TimeIndexEntry>, range: Range<usize>, base: Offset) -> Self {
        Self { entries: Entries::new(index, range), base, largest: Timestamp::NONE, first: None }
    }

    /// Passes a batch.
    pub(super) fn batch(&mut self, header: &BatchHeader) -> Result<()> {
        self.largest = self.largest.max(header.max_timestamp);
        while let Some(entry) = self.entries.peek()? {
            let offset = entry.relative_offset.absolute(self.base);
            if offset > header.last_offset() {
                break;
            }
            if names_time_of((entry.timestamp, offset), header) && entry.timestamp == self.largest {
                self.first.get_or_insert((self.entries.left.start, entry.timestamp));
                self.entries.accept();
            } else {
                let Timestamp(timestamp) = entry.timestamp;
                self.entries.reject(|| {
                    format!("the entry says that {timestamp} is the largest timestamp up to offset {offset}, which it is not")
                });
            }
        }
        Ok(())
    }

    /// Leaves out the entries that name damaged batches.
    pub(super) fn skip_below(&mut self, end: Offset) -> Result<()> {
        while self.entries.peek()?.is_some_and(|entry| entry.relative_offset.absolute(self.base) < end) {
            self.entries.accept();
        }
        Ok(())
    }

    /// Judges what no batch has come for; see [`OffsetEntries::finish`]. Returns the largest timestamp as well.
    pub(super) fn finish(mut self, log_end: Option<Offset>) -> Result<(Option<Wrong>, Timestamp)> {
        while let Some(entry) = self.entries.peek()? {
            let offset = entry.relative_offset.absolute(self.base);
            if log_end.is_some_and(|end| offset >= end) {
                break;
            }
            self.entries.reject(|| format!("the entry names offset {offset}, which is not in the segment"));
        }
        Ok((self.entries.wrong, self.largest))
    }
}
