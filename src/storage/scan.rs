//! Steps through the batches of a `.log`, from a position on, in large reads.
//!
//! Memory is bounded by the chunk and by the largest batch that the file really holds: a length field is believed only
//! as far as the file goes, and a large batch is loaded only after its checksum has matched piece by piece.

use super::segments::OpenLog;
use super::tail::{self, KnownZeros, Place, Tail};
use super::{Checkpoints, Result, StorageError, at_place};
use crate::disk::{self, DiskError, DiskFile, Stat};
use crate::format::header::{self, BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2, NoBatch};
use crate::format::{FormatError, legacy};
use crate::units::{Offset, Position};
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A batch larger than this is checked piece by piece before memory is taken for it.
const LOAD_UNCHECKED_MAX: usize = 4 << 20;

/// Bytes read at a time while only headers are wanted: an index interval and a header.
pub(crate) const HEADER_CHUNK: usize = 8 << 10;

/// No log leaves out so many offsets: it would take one lost or removed every second for 17 000 years.
pub(crate) const GAP_MAX: i64 = 1 << 39;

/// What stands at the scanner's position.
#[derive(Debug)]
pub(crate) enum Step {
    /// A batch whose header is sound and whose bytes are all there; the checksum has not been looked at.
    Batch(BatchHeader),
    /// The file ends here.
    End,
    /// No batch.
    Bad(NoBatch),
}

/// A place in a `.log`, with the bytes around it.
pub(crate) struct Scanner {
    log: OpenLog,
    /// Where the next batch begins.
    position: u64,
    /// The size of the file when it was last asked for.
    size: u64,
    /// The offset below which no batch may begin from here on.
    expected: Offset,
    /// See [`Scanner::proven`]; `None` before the first batch after a start inside the file.
    proven: Option<Offset>,
    /// The offsets that the last batch has left out, and where it begins; none where it goes on from the one before.
    gap: Range<Offset>,
    gap_at: Position,
    /// Zeros that were found at the end of the file.
    known_zeros: KnownZeros,
    buffer: Vec<u8>,
    /// The position of the buffer's first byte, and how many bytes of it are filled.
    start: u64,
    filled: usize,
    chunk: usize,
}

impl Scanner {
    /// Starts at `position`, where a batch begins. Reads `chunk` bytes at a time.
    pub(crate) fn new(log: OpenLog, position: Position, chunk: usize) -> Result<Self> {
        let size = log.file.stat()?.size;
        Ok(Self::of_size(log, position, size, chunk))
    }

    /// The same, of a file that has just been seen to have that size.
    pub(crate) fn of_size(log: OpenLog, position: Position, size: u64, chunk: usize) -> Self {
        let (position, expected) = (position.0, log.base_offset);
        let proven = (position == 0).then_some(expected);
        let (known_zeros, buffer) = (KnownZeros::default(), Vec::new());
        Self {
            log,
            position,
            size,
            expected,
            proven,
            gap: Offset::ZERO..Offset::ZERO,
            gap_at: Position(position),
            known_zeros,
            buffer,
            start: position,
            filled: 0,
            chunk,
        }
    }

    pub(crate) fn log(&self) -> &OpenLog {
        &self.log
    }

    pub(crate) fn position(&self) -> Position {
        Position(self.position)
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The offset that the next batch has if nothing was compacted away.
    pub(crate) fn expected(&self) -> Offset {
        self.expected
    }

    /// The end of the last batch that begins where the one before it ends. The base offset of one after it may be damaged,
    /// which no checksum covers, or lie behind what was compacted away.
    pub(crate) fn proven(&self) -> Offset {
        self.proven.unwrap_or(self.expected)
    }

    /// Whether the end that the log had when `checkpoints` were written lies within the gap before the last batch. A batch ended
    /// there then, so the gap is no work of a cleaner: the base offset of the batch after it is damaged. Where the gap ends
    /// there, that batch was the next one.
    pub(crate) fn has_gap_over_end(&self, checkpoints: &Checkpoints) -> bool {
        let end = checkpoints.acknowledged();
        end > checkpoints.log_start_offset && self.gap.start < end && end < self.gap.end
    }

    /// The batch that was passed last, if it has left out offsets.
    pub(crate) fn passed_after_gap(&self) -> Option<AfterGap> {
        let Range { start: from, end: base } = self.gap;
        (from < base).then(|| AfterGap { position: self.gap_at, claimed: base, from, span: self.expected - base })
    }

    /// Whether the file ends with the batch at this place, and that is not known to go on from the one before it.
    #[inline]
    pub(crate) fn may_end_after_gap(&self, header: &BatchHeader) -> bool {
        header.base_offset != self.expected && header.has_first_offset() && self.is_last(header)
    }

    /// Asks for the facts of the file again and forgets every byte read: a batch that was not whole or not valid is read
    /// afresh from its first byte.
    pub(crate) fn refresh(&mut self) -> Result<Stat> {
        let stat = self.log.file.stat()?;
        self.size = stat.size;
        self.start = self.position;
        self.filled = 0;
        Ok(stat)
    }

    /// Closes the file and keeps the bytes that were read. After this the scanner may be used only while
    /// [`Scanner::holds_next`].
    pub(crate) fn close_file(&mut self) {
        self.log.file = Arc::new(ClosedFile { path: self.log.path.clone() });
    }

    /// Whether the bytes that were read are enough to show the next batch: all of it, and the header of the one behind it.
    pub(crate) fn holds_next(&self) -> bool {
        let within = self.position.checked_sub(self.start).map_or(usize::MAX, |within| within as usize);
        let header_at = |within: usize| {
            let bytes = self.buffer[..self.filled].get(within..within.checked_add(BATCH_HEADER_SIZE)?)?;
            BatchHeader::parse(bytes).ok()
        };
        header_at(within).filter(|header| header.size <= LOAD_UNCHECKED_MAX).is_some_and(|header| {
            header_at(within + header.size).is_some_and(|next| next.base_offset >= header.next_offset())
        })
    }

    /// Looks at the next batch without passing it.
    #[inline]
    pub(crate) fn step(&mut self) -> Result<Step> {
        Ok(match self.peek()? {
            Step::Batch(header) if !(0..GAP_MAX).contains(&(header.base_offset - self.expected)) => {
                Step::Bad(NoBatch::Invalid(self.out_of_order(&header)))
            }
            found => found,
        })
    }

    #[cold]
    fn out_of_order(&self, header: &BatchHeader) -> FormatError {
        let Self { expected, .. } = self;
        let base_offset = header.base_offset;
        FormatError::corrupt(match base_offset < *expected {
            true => format!("the batch begins at offset {base_offset}, but {expected} is the lowest that may follow"),
            false => format!("the batch begins at offset {base_offset}, too far from {expected}, where it may begin"),
        })
    }

    /// Looks at the next batch without passing it, whatever offsets it claims.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<Step> {
        let left = self.size.saturating_sub(self.position);
        if left == 0 {
            return Ok(Step::End);
        }
        Ok(match BatchHeader::parse(self.head()?) {
            Ok(header) if header.size as u64 > left => Step::Bad(NoBatch::Incomplete),
            Ok(header) => Step::Batch(header),
            // What does not fit is garbage, not a batch of a later format.
            Err(NoBatch::Unknown { size, .. }) if size as u64 > left => {
                Step::Bad(NoBatch::Invalid(FormatError::corrupt("no record batch")))
            }
            Err(problem) => Step::Bad(problem),
        })
    }

    /// The bytes at this place that a header may have; fewer where the file ends.
    #[inline]
    pub(crate) fn head(&mut self) -> Result<&[u8]> {
        let left = self.size.saturating_sub(self.position);
        self.bytes(BATCH_HEADER_SIZE.min(left as usize))
    }

    /// Judges what is here, at the end of an open log, where [`Scanner::step`] has found no valid batch.
    pub(crate) fn judge_tail(&mut self) -> Result<Tail> {
        let (position, expected, size) = (self.position(), self.proven(), self.size);
        let place = Place { log: &self.log, position, expected, reached: self.expected, size };
        tail::judge(&place, &mut self.known_zeros)
    }

    /// Whether nothing but zeros follows.
    pub(crate) fn is_zero_to_end(&mut self) -> Result<bool> {
        self.known_zeros.reach(&*self.log.file, self.position, self.size)
    }

    /// Goes to `position`, where a batch that begins at `expected` or above may follow.
    pub(crate) fn go_to(&mut self, position: Position, expected: Offset) {
        (self.position, self.expected, self.proven, self.gap) =
            (position.0, expected, Some(expected), expected..expected);
    }

    /// Passes a batch that [`Scanner::step`] has shown.
    #[inline]
    pub(crate) fn pass(&mut self, header: &BatchHeader) {
        let next = header.next_offset();
        if header.base_offset == self.expected || self.proven.is_none() {
            (self.proven, self.gap) = (Some(next), next..next);
        } else if !header.has_first_offset() {
            (self.proven, self.gap) = (Some(self.expected), next..next);
        } else {
            (self.gap, self.gap_at) = (self.expected..header.base_offset, Position(self.position));
        }
        self.position += header.size as u64;
        self.expected = next;
    }

    /// Whether the file ends with the batch at this place.
    pub(crate) const fn is_last(&self, header: &BatchHeader) -> bool {
        self.position + header.size as u64 == self.size
    }

    /// Whether the checksum of the batch at this place is right.
    #[inline]
    pub(crate) fn checksum_matches(&mut self, header: &BatchHeader) -> Result<bool> {
        if header.size > LOAD_UNCHECKED_MAX {
            return self.checksum_matches_piecewise(header);
        }
        Ok(header::checksum_matches(header, self.bytes(header.size)?))
    }

    #[cold]
    fn checksum_matches_piecewise(&mut self, header: &BatchHeader) -> Result<bool> {
        let (start, mut checksum) = header.checksum();
        let mut piece = vec![0; self.chunk.max(BATCH_HEADER_SIZE)];
        let (mut at, end) = (self.position + start as u64, self.position + header.size as u64);
        while at < end {
            let wanted = piece.len().min((end - at) as usize);
            let read = self.log.file.read_at(&mut piece[..wanted], at)?;
            if read == 0 {
                return Ok(false);
            }
            checksum.update(&piece[..read]);
            at += read as u64;
        }
        Ok(checksum.finish() == header.crc)
    }

    /// Whether the batch behind this one is valid and begins below its end: then the base offset of one of the two is
    /// damaged, which no checksum covers.
    #[inline]
    pub(crate) fn overlaps_next(&mut self, header: &BatchHeader) -> Result<bool> {
        let behind = self.position + header.size as u64;
        let within = (behind - self.start) as usize;
        let next = match self.buffer.get(within..(within + BATCH_HEADER_SIZE).min(self.filled)) {
            Some(bytes) if bytes.len() == BATCH_HEADER_SIZE => BatchHeader::parse(bytes).ok(),
            _ => header_at(&*self.log.file, Position(behind), self.size)?,
        };
        match next {
            Some(next) if next.base_offset < header.next_offset() => {
                is_valid_batch(&self.log, &next, Position(behind), self.size)
            }
            _ => Ok(false),
        }
    }

    /// Brings all bytes of the batch at this place into memory; its checksum is to be looked at first.
    #[inline]
    pub(crate) fn load(&mut self, header: &BatchHeader) -> Result<()> {
        self.bytes(header.size).map(drop)
    }

    /// The bytes of a batch at this place that has been loaded.
    #[inline]
    pub(crate) fn loaded(&self, header: &BatchHeader) -> &[u8] {
        let within = (self.position - self.start) as usize;
        &self.buffer[within..within + header.size]
    }

    /// The bytes from a place up to this one, all of which are in memory.
    pub(crate) fn loaded_since(&self, from: Position) -> &[u8] {
        &self.buffer[(from.0 - self.start) as usize..(self.position - self.start) as usize]
    }

    /// Whether the next batch can be looked at, checked and passed without reading: what was passed stays in memory.
    pub(crate) fn can_go_on_in_memory(&self) -> bool {
        let Some(within) = self.position.checked_sub(self.start) else { return false };
        let bytes = self.buffer[..self.filled].get(within as usize..).unwrap_or_default();
        bytes.len() >= BATCH_HEADER_SIZE && BatchHeader::parse(bytes).is_ok_and(|header| header.size <= bytes.len())
    }

    /// Whether all of the next batch is in memory.
    pub(crate) fn has_loaded_next(&self) -> bool {
        let Some(within) = self.position.checked_sub(self.start) else { return false };
        let bytes = self.buffer[..self.filled].get(within as usize..).unwrap_or_default();
        BatchHeader::parse(bytes).is_ok_and(|header| header.size <= bytes.len())
    }

    /// Hands over the bytes in memory, for other memory to read into: what was passed since it was read last, and what
    /// follows. Returns the position of the first.
    pub(crate) fn exchange_buffer(&mut self, buffer: &mut Vec<u8>) -> Position {
        std::mem::swap(&mut self.buffer, buffer);
        let within = (self.position.saturating_sub(self.start) as usize).min(self.filled);
        let ahead = &buffer[within..self.filled];
        let first = Position(self.start);
        if self.buffer.len() < ahead.len() {
            self.buffer.resize(ahead.len(), 0);
        }
        self.buffer[..ahead.len()].copy_from_slice(ahead);
        (self.start, self.filled) = (self.position, ahead.len());
        first
    }

    /// The next `wanted` bytes; fewer if the file was cut meanwhile.
    #[inline]
    fn bytes(&mut self, wanted: usize) -> Result<&[u8]> {
        let within = (self.position.wrapping_sub(self.start)) as usize;
        if self.position >= self.start && within + wanted <= self.filled {
            return Ok(&self.buffer[within..within + wanted]);
        }
        self.fill(wanted)
    }

    fn fill(&mut self, wanted: usize) -> Result<&[u8]> {
        let within = self.position.wrapping_sub(self.start) as usize;
        if self.position >= self.start && within < self.filled {
            self.buffer.copy_within(within..self.filled, 0);
            self.filled -= within;
        } else {
            self.filled = 0;
        }
        self.start = self.position;
        let target = wanted.max(self.chunk.min(self.size.saturating_sub(self.start) as usize));
        if self.buffer.len() < target {
            self.buffer.resize(target, 0);
        }
        let place = self.start + self.filled as u64;
        self.filled += self.log.file.read_at(&mut self.buffer[self.filled..target], place)?;
        if self.filled < wanted {
            // Cut while we read: what is missing reads as zeros, which no checksum accepts.
            self.buffer[self.filled..wanted].fill(0);
            self.filled = wanted;
        }
        Ok(&self.buffer[..wanted])
    }

    /// What is wrong here, as an error.
    pub(crate) fn corrupt(&self, problem: NoBatch) -> StorageError {
        at_place(described(problem), &self.log.path, self.position(), self.expected)
    }

    /// Whether it is known what comes before this place.
    pub(crate) fn knows_what_precedes(&self) -> bool {
        self.proven.is_some()
    }

    /// The error of a batch that ends behind the beginning of the next.
    pub(crate) fn overlap(&self, header: &BatchHeader) -> StorageError {
        let (first, last) = (header.base_offset, header.last_offset());
        self.corrupt(NoBatch::Invalid(FormatError::corrupt(format!(
            "the batch claims the offsets {first} to {last}, and the next one begins below its end"
        ))))
    }

    /// The error of a last batch whose base offset is [denied](Checkpoints::deny).
    pub(crate) fn denied(&self, batch: AfterGap, checkpoints: &Checkpoints) -> StorageError {
        let what =
            format!("the last batch leaves out offsets, and {}: its base offset is damaged", checkpoints.promise());
        at_place(FormatError::corrupt(what), &self.log.path, batch.position, batch.from)
    }

    /// The error of a batch whose checksum is wrong.
    pub(crate) fn checksum_error(&self) -> NoBatch {
        NoBatch::Invalid(FormatError::corrupt("the checksum of the batch does not match its bytes"))
    }
}

/// A batch that begins above the end of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AfterGap {
    pub(crate) position: Position,
    /// Its base offset, as its header has it.
    pub(crate) claimed: Offset,
    /// Where the batch before it ends.
    pub(crate) from: Offset,
    /// How many offsets it takes.
    pub(crate) span: i64,
}

/// Takes the place of a file that was closed. A use of it is a mistake of this program, and an error all the same.
struct ClosedFile {
    path: PathBuf,
}

impl ClosedFile {
    fn refused<T>(&self, doing: &'static str) -> disk::Result<T> {
        Err(DiskError { doing, path: self.path.clone(), source: io::Error::other("the file was closed") })
    }
}

impl DiskFile for ClosedFile {
    fn stat(&self) -> disk::Result<Stat> {
        self.refused("look at")
    }

    fn read_at(&self, _: &mut [u8], _: u64) -> disk::Result<usize> {
        self.refused("read")
    }

    fn next_data(&self, _: u64) -> disk::Result<Range<u64>> {
        self.refused("find the data of")
    }

    fn write_at(&self, _: &[u8], _: u64) -> disk::Result<()> {
        self.refused("write to")
    }

    fn set_len(&self, _: u64) -> disk::Result<()> {
        self.refused("cut")
    }

    fn set_modified(&self, _: i64) -> disk::Result<()> {
        self.refused("set the time of")
    }

    fn sync(&self) -> disk::Result<()> {
        self.refused("sync")
    }

    fn drop_cache(&self, _: u64, _: u64) -> disk::Result<()> {
        self.refused("drop the cache of")
    }

    fn try_lock(&self) -> disk::Result<bool> {
        self.refused("lock")
    }

    fn lock(&self) -> disk::Result<()> {
        self.refused("lock")
    }

    fn holder(&self) -> Option<u32> {
        None
    }

    fn try_lock_range(&self, _: Range<u64>) -> disk::Result<bool> {
        self.refused("lock")
    }

    fn unlock_range(&self, _: Range<u64>) -> disk::Result<()> {
        self.refused("unlock")
    }

    fn locked_range(&self, _: Range<u64>) -> disk::Result<Option<Range<u64>>> {
        self.refused("look for locks of")
    }
}

/// What is wrong at a place without a batch.
pub(crate) fn described(problem: NoBatch) -> FormatError {
    match problem {
        NoBatch::Incomplete => FormatError::corrupt("the batch is cut short"),
        NoBatch::Zeros => FormatError::corrupt("zeros in place of a batch"),
        NoBatch::Invalid(error) => error,
        NoBatch::Unknown { magic, .. } => {
            FormatError::corrupt(format!("a batch of an unknown format (magic {magic}), or a damaged one"))
        }
    }
}

/// Whether `size` bytes at one place are those at another.
pub(crate) fn are_equal(file: &dyn DiskFile, one: Position, other: Position, size: u64) -> Result<bool> {
    let mut pieces = [vec![0; HEADER_CHUNK], vec![0; HEADER_CHUNK]];
    let mut at = 0;
    while at < size {
        let wanted = HEADER_CHUNK.min((size - at) as usize);
        for (piece, start) in pieces.iter_mut().zip([one, other]) {
            if file.read_at(&mut piece[..wanted], start.0 + at)? < wanted {
                return Ok(false);
            }
        }
        if pieces[0][..wanted] != pieces[1][..wanted] {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

/// The header of the batch at `position`, if there is one whose bytes are all in the file.
pub(crate) fn header_at(file: &dyn DiskFile, position: Position, size: u64) -> Result<Option<BatchHeader>> {
    let mut bytes = [0; BATCH_HEADER_SIZE];
    let read = file.read_at(&mut bytes, position.0)?;
    let header = BatchHeader::parse(&bytes[..read]).ok();
    Ok(header.filter(|header| position.0 + header.size as u64 <= size))
}

/// Whether a valid batch begins at `position`.
pub(crate) fn is_valid_batch_at(log: &OpenLog, position: Position) -> Result<bool> {
    let size = log.file.stat()?.size;
    match header_at(&*log.file, position, size)? {
        Some(header) => is_valid_batch(log, &header, position, size),
        None => Ok(false),
    }
}

/// Whether all of the batch with this header is there, its checksum is right and, as far as that costs little, its records
/// can be.
pub(crate) fn is_valid_batch(log: &OpenLog, header: &BatchHeader, position: Position, size: u64) -> Result<bool> {
    if !may_be_valid(log, header, position, size)? {
        return Ok(false);
    }
    // No byte behind the batch is read: a lookup asks for one of them, wherever it lies.
    Scanner::new(log.clone(), position, header.size.min(64 << 10))?.checksum_matches(header)
}

/// The same without the checksum, which costs more.
pub(crate) fn may_be_valid(log: &OpenLog, header: &BatchHeader, position: Position, size: u64) -> Result<bool> {
    Ok(position.0 + header.size as u64 <= size
        && header.attributes.codec().is_ok()
        && (header.magic == MAGIC_V2 || parts_fill(log, header, position)?))
}

/// See [`legacy::parts_fill`].
fn parts_fill(log: &OpenLog, header: &BatchHeader, position: Position) -> Result<bool> {
    legacy::parts_fill(header, |at| {
        let mut length = [0; 4];
        let read = log.file.read_at(&mut length, position.0 + at as u64)?;
        Ok((read == length.len()).then_some(length))
    })
}
