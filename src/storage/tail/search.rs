//! The search for evidence of a later batch, by the rules at the head of [`super`].

use super::zeros::{KnownZeros, first_nonzero};
use super::{Place, Tail};
use crate::disk::DiskError;
use crate::format::header::{self, BATCH_HEADER_SIZE, BatchHeader, MAGIC_AT, MAGIC_V2, NoBatch};
use crate::format::legacy;
use crate::storage::StorageError;
use crate::storage::scan::{self, HEADER_CHUNK, Scanner, Step};
use crate::units::{Offset, Position};

/// A chain of so many bytes is longer than a value that could hold it, unless `max.message.bytes` was raised far above its
/// default; there, damage is reported where the end might be cut.
pub(super) const CHAIN_ENOUGH: u64 = 16 << 20;
/// How often the length of what is searched may be checksummed.
pub(super) const BUDGET_FACTOR: u64 = 8;
/// The least that a search may checksum.
pub(super) const BUDGET_MIN: u64 = 16 << 20;
/// Bytes read at a time.
const CHUNK: usize = 256 << 10;
/// Up to so many bytes of a header may be zero before its first other byte: the base offset and most of the length.
const ZEROS_OF_HEADER_MAX: u64 = 11;

/// Why a search ended without an answer.
pub(super) enum Stop {
    OutOfBudget,
    Failed(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

impl From<DiskError> for Stop {
    fn from(error: DiskError) -> Self {
        Self::Failed(error.into())
    }
}

pub(super) type Found<T> = std::result::Result<T, Stop>;

/// One search, from a place on.
pub(super) struct Search<'a> {
    place: Place<'a>,
    /// Reads what is checked. Places are checked mostly in rising order, so that its buffer serves many of them.
    scanner: Scanner,
    /// The bytes that are searched, from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
    budget: u64,
    /// The highest offset that a batch of the log may have: what its index entries can name, counted from its base offset
    /// or, in a segment that has gone past that, from where it has come to.
    reach: Offset,
}

impl<'a> Search<'a> {
    pub(super) fn new(place: &Place<'a>) -> Self {
        let scanner = Scanner::of_size(place.log.clone(), place.position, place.size, HEADER_CHUNK);
        let length = place.size.saturating_sub(place.position.0);
        let budget = BUDGET_MIN.max(length.saturating_mul(BUDGET_FACTOR));
        let reach_from = |offset: Offset| Offset(offset.0.saturating_add(i32::MAX.into()));
        let within = reach_from(place.log.base_offset);
        let reach = if place.reached <= within { within } else { reach_from(place.reached) };
        Self { place: *place, scanner, window: Vec::new(), window_start: 0, budget, reach }
    }

    /// What an open log ends with, where its rest is not all zeros.
    pub(super) fn open_end(&mut self, known: &mut KnownZeros) -> Found<Tail> {
        let (start, size) = (self.place.position.0, self.place.size);
        let header = match self.look(start)? {
            Step::Batch(header) => header,
            Step::Bad(NoBatch::Zeros) if let Some(next) = self.after_zeros(start)? => {
                return Ok(Tail::Damaged { next });
            }
            _ => return self.searched(start),
        };
        if self.is_valid(&header, start)? {
            return Ok(Tail::Damaged { next: (self.place.position, header) });
        }
        if !self.can_follow(&header, self.place.expected) {
            return match self.after_out_of_reach(&header)? {
                Some(next) => Ok(Tail::Damaged { next }),
                None => self.searched(start + 1),
            };
        }
        let end = start + header.size as u64;
        // Past the batch there may be zeros by the gigabyte, in which no batch begins.
        let is_last = end >= size || known.reach(&*self.place.log.file, end, size)?;
        let next = if is_last { self.shorter(&header, end.min(size))? } else { self.after(&header)? };
        if let Some(next) = next {
            return Ok(Tail::Damaged { next });
        }
        match is_last {
            true if is_credible(&header, self.place.expected) => Ok(Tail::Torn),
            true => self.searched(start + 1),
            false => self.past_damaged(end, header.next_offset(), known),
        }
    }

    /// The valid batch before which there are only zeros from `start` on, whatever offsets it claims.
    fn after_zeros(&mut self, start: u64) -> Found<Option<(Position, BatchHeader)>> {
        let Some(data) = first_nonzero(&*self.place.log.file, start, self.place.size)? else { return Ok(None) };
        for at in start.max(data.saturating_sub(ZEROS_OF_HEADER_MAX))..=data {
            if let Step::Batch(header) = self.look(at)?
                && self.is_valid(&header, at)?
            {
                return Ok(Some((Position(at), header)));
            }
        }
        Ok(None)
    }

    /// Judges what a damaged batch leads to by its header: others that were appended with it and did not get to the disk
    /// either, a valid one, or the end.
    fn past_damaged(&mut self, mut at: u64, mut next: Offset, known: &mut KnownZeros) -> Found<Tail> {
        while let Step::Batch(header) = self.look(at)? {
            if let Some(next) = self.next_at(at, self.place.expected.next())? {
                return Ok(Tail::Damaged { next });
            }
            if !is_credible(&header, next) {
                break;
            }
            (at, next) = (at + header.size as u64, header.next_offset());
            if at >= self.place.size || known.reach(&*self.place.log.file, at, self.place.size)? {
                return Ok(Tail::Torn);
            }
        }
        self.searched(self.place.position.0 + 1)
    }

    /// Where the log goes on after damage that cannot be a torn append.
    pub(super) fn after_damage(&mut self) -> Found<Option<(Position, BatchHeader)>> {
        let start = self.place.position.0;
        if let Step::Batch(header) = self.look(start)? {
            let next = match self.can_follow(&header, self.place.expected) {
                true => self.after(&header)?,
                false => self.after_out_of_reach(&header)?,
            };
            if next.is_some() {
                return Ok(next);
            }
        }
        self.chained_batch(start + 1)
    }

    /// The batch after the one at the place, where the header of that leads to it, or would with another length.
    fn after(&mut self, header: &BatchHeader) -> Found<Option<(Position, BatchHeader)>> {
        let end = self.place.position.0 + header.size as u64;
        if let Some(next) = self.next_at(end, header.base_offset.next())? {
            return Ok(Some(next));
        }
        self.shorter(header, self.place.size)
    }

    /// The batch after the one at the place, by the header of that, which no entry can name or is none.
    fn after_out_of_reach(&mut self, header: &BatchHeader) -> Found<Option<(Position, BatchHeader)>> {
        if header.base_offset < self.place.expected {
            return Ok(None);
        }
        self.next_at(self.place.position.0 + header.size as u64, header.base_offset.next())
    }

    /// The valid batch at `at`, where a damaged one ends, if it begins at `lowest` or above. It may be the first one that no
    /// entry can name.
    fn next_at(&mut self, at: u64, lowest: Offset) -> Found<Option<(Position, BatchHeader)>> {
        if at < self.place.size
            && let Step::Batch(next) = self.look(at)?
            && next.base_offset >= lowest
            && self.is_next(&next, at)?
        {
            return Ok(Some((Position(at), next)));
        }
        Ok(None)
    }

    fn searched(&mut self, from: u64) -> Found<Tail> {
        Ok(self.chained_batch(from)?.map_or(Tail::Torn, |next| Tail::Damaged { next }))
    }

    /// The first batch from `from` on that is evidence of a log that goes on.
    fn chained_batch(&mut self, mut from: u64) -> Found<Option<(Position, BatchHeader)>> {
        while let Some((at, header)) = self.valid_batch(from)? {
            match self.chain_end(at, &header)? {
                None => return Ok(Some((Position(at), header))),
                // What began inside the chain would share its end.
                Some(broken) => from = broken,
            }
        }
        Ok(None)
    }

    /// Where the chain of batches that begins at `start` breaks; `None` where it is evidence.
    fn chain_end(&mut self, start: u64, first: &BatchHeader) -> Found<Option<u64>> {
        let size = self.place.size;
        let (mut at, mut lowest) = (start + first.size as u64, first.next_offset());
        while at < size && at - start < CHAIN_ENOUGH {
            let next = match self.look(at)? {
                Step::Batch(header) if self.can_follow(&header, lowest) => header,
                Step::Bad(NoBatch::Zeros) if first_nonzero(&*self.place.log.file, at, size)?.is_none() => break,
                Step::Bad(NoBatch::Incomplete | NoBatch::Unknown { .. }) if self.may_be_offset(at, lowest)? => break,
                _ => return Ok(Some(at)),
            };
            let end = at + next.size as u64;
            if end > size {
                break;
            }
            lowest = if self.is_valid(&next, at)? {
                next.next_offset()
            } else if end == size || self.is_passed(end, next.base_offset.next())? {
                next.base_offset.next()
            } else {
                return Ok(Some(at));
            };
            at = end;
        }
        Ok(None)
    }

    /// Whether a valid batch, or nothing but zeros, is at the end of a damaged one.
    fn is_passed(&mut self, at: u64, lowest: Offset) -> Found<bool> {
        match self.look(at)? {
            Step::Batch(header) => Ok(self.can_follow(&header, lowest) && self.is_valid(&header, at)?),
            Step::Bad(NoBatch::Zeros) => Ok(first_nonzero(&*self.place.log.file, at, self.place.size)?.is_none()),
            Step::Bad(_) | Step::End => Ok(false),
        }
    }

    /// The first valid batch from `from` on whose base offset can follow.
    fn valid_batch(&mut self, from: u64) -> Found<Option<(u64, BatchHeader)>> {
        let size = self.place.size;
        let mut at = from;
        while at + legacy::SIZE_MIN as u64 <= size {
            let Some(start) = self.fill_window(at)? else { return Ok(None) };
            // Nothing that is called on the way reads the window, and whatever ends the search ends its use.
            let window = std::mem::take(&mut self.window);
            let at_end = self.window_start + window.len() as u64 >= size;
            let needed = if at_end { legacy::SIZE_MIN } else { BATCH_HEADER_SIZE };
            let Some(last) = window.len().checked_sub(needed) else { return Ok(None) };
            let first = (start - self.window_start) as usize;
            // The magic byte is the rarest thing in a header that can be searched for.
            let magics = window.get(first + MAGIC_AT..=last + MAGIC_AT).unwrap_or_default();
            for place in memchr::memchr3_iter(0, 1, 2, magics).map(|place| first + place) {
                let (bytes, position) = (&window[place..], self.window_start + place as u64);
                if header::announced_size(bytes).is_some_and(|announced| position + announced as u64 <= size)
                    && self.offset_is_possible(bytes, self.place.expected)
                    && let Ok(header) = BatchHeader::parse(bytes)
                    && self.can_follow(&header, self.place.expected)
                    && self.is_valid(&header, position)?
                {
                    self.window = window;
                    return Ok(Some((position, header)));
                }
            }
            at = self.window_start + last as u64 + 1;
            self.window = window;
        }
        Ok(None)
    }

    /// Brings the bytes at `at` into the window, unless they are there; zeros are skipped. Returns where to go on, `None`
    /// where there are only zeros.
    fn fill_window(&mut self, at: u64) -> Found<Option<u64>> {
        let end = self.window_start + self.window.len() as u64;
        let is_there = at >= self.window_start && (at + BATCH_HEADER_SIZE as u64 <= end || end >= self.place.size);
        if is_there && !self.window.is_empty() {
            return Ok(Some(at));
        }
        let file = &*self.place.log.file;
        let Some(data) = first_nonzero(file, at, self.place.size)? else { return Ok(None) };
        let start = at.max(data.saturating_sub(ZEROS_OF_HEADER_MAX));
        self.window.resize(CHUNK.min((self.place.size - start) as usize), 0);
        let read = file.read_at(&mut self.window, start)?;
        self.window.truncate(read);
        self.window_start = start;
        Ok(Some(start))
    }

    /// The batch after the one at the place, if the checksum of that one holds for fewer bytes than its header announces:
    /// up to where the header of a batch that can follow it begins. Looks as far as `end`.
    fn shorter(&self, header: &BatchHeader, end: u64) -> Found<Option<(Position, BatchHeader)>> {
        let (covered_from, mut checksum) = header.checksum();
        let mut at = self.place.position.0 + covered_from as u64;
        let mut piece = vec![0; CHUNK.min(end.saturating_sub(at) as usize)];
        loop {
            let wanted = piece.len().min(end.saturating_sub(at) as usize);
            let read = self.place.log.file.read_at(&mut piece[..wanted], at)?;
            let at_end = at + read as u64 >= end;
            let needed = if at_end { legacy::SIZE_MIN } else { BATCH_HEADER_SIZE };
            let Some(last) = read.checked_sub(needed) else { return Ok(None) };
            let mut summed = 0;
            for place in memchr::memchr3_iter(0, 1, 2, &piece[MAGIC_AT..=last + MAGIC_AT]) {
                if self.offset_is_possible(&piece[place..read], header.next_offset())
                    && let Ok(next) = BatchHeader::parse(&piece[place..read])
                    && self.can_follow(&next, header.next_offset())
                {
                    checksum.update(&piece[summed..place]);
                    summed = place;
                    if checksum.clone().finish() == header.crc {
                        return Ok(Some((Position(at + place as u64), next)));
                    }
                }
            }
            checksum.update(&piece[summed..=last]);
            at += last as u64 + 1;
        }
    }

    /// What is at `at` by its header, whether all of the batch is there or not.
    fn look(&mut self, at: u64) -> Found<Step> {
        self.scanner.go_to(Position(at), self.place.expected);
        Ok(match BatchHeader::parse(self.scanner.head()?) {
            Ok(header) => Step::Batch(header),
            Err(problem) => Step::Bad(problem),
        })
    }

    /// Whether a batch may have these offsets where `lowest` is the first that may follow.
    fn can_follow(&self, header: &BatchHeader, lowest: Offset) -> bool {
        header.base_offset >= lowest && header.last_offset() <= self.reach
    }

    /// Whether what is at `at` may begin with an offset that can follow.
    fn may_be_offset(&mut self, at: u64, lowest: Offset) -> Found<bool> {
        self.scanner.go_to(Position(at), self.place.expected);
        let mut head = [0; size_of::<i64>()];
        let found = self.scanner.head()?;
        let known = found.len().min(head.len());
        head[..known].copy_from_slice(&found[..known]);
        Ok(self.offset_is_possible(&head[..known], lowest))
    }

    /// Whether `bytes`, few as they may be, begin with an offset that can follow. Costs nothing, where a header that is
    /// not one costs the error that says so.
    #[inline]
    fn offset_is_possible(&self, bytes: &[u8], lowest: Offset) -> bool {
        let known = bytes.len().min(size_of::<i64>());
        bytes[..known] >= lowest.0.to_be_bytes()[..known] && bytes[..known] <= self.reach.0.to_be_bytes()[..known]
    }

    /// Whether a valid batch with this header is at `at`, the end of a damaged one, and not contradicted by the one after.
    fn is_next(&mut self, header: &BatchHeader, at: u64) -> Found<bool> {
        Ok(self.is_valid(header, at)? && !self.scanner.overlaps_next(header)?)
    }

    /// Whether all of the batch with this header is at `at`, with a right checksum.
    fn is_valid(&mut self, header: &BatchHeader, at: u64) -> Found<bool> {
        if !scan::may_be_valid(self.place.log, header, Position(at), self.place.size)? {
            return Ok(false);
        }
        self.budget = self.budget.checked_sub(header.size as u64).ok_or(Stop::OutOfBudget)?;
        self.scanner.go_to(Position(at), self.place.expected);
        Ok(self.scanner.checksum_matches(header)?)
    }
}

/// Whether a header where a batch from `next` on is expected is one, or bytes that only look like it.
fn is_credible(header: &BatchHeader, next: Offset) -> bool {
    let counts_right = header.magic != MAGIC_V2 || header.record_count == header.last_offset_delta.saturating_add(1);
    header.base_offset == next || (header.base_offset > next && counts_right)
}
