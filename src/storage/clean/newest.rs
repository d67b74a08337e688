//! Which records of a log are not the newest of their keys, for who reads it and changes nothing.

use super::bits::Marks;
use super::key_buckets::{KeyBuckets, NUMBER_MAX};
use crate::disk::{self, DiskFile};
use crate::units::Offset;
use std::collections::HashMap;
use std::sync::Arc;

/// Bits of one piece.
const PIECE_BITS: u64 = 1024;

/// Gathers keys, in the order of their offsets.
pub struct NewestByKey {
    start: Offset,
    keys: KeyBuckets,
}

/// Offsets of records that a later one has the key of. Takes a bit for each offset near one of these, and little more.
#[derive(Debug, Default)]
pub struct Superseded {
    start: Offset,
    count: u64,
    pieces: HashMap<u64, Box<[u64; (PIECE_BITS / 64) as usize]>>,
}

impl NewestByKey {
    /// For records from `start` on, in about so many bytes of memory.
    #[must_use]
    pub fn new(start: Offset, memory: u64) -> Self {
        Self { start, keys: KeyBuckets::new(memory) }
    }

    /// Adds the next record. One that is a million million offsets after the first supersedes none.
    ///
    /// # Errors
    /// When the scratch file cannot be written.
    pub fn add(
        &mut self,
        key: &[u8],
        offset: Offset,
        open_scratch: &mut dyn FnMut() -> disk::Result<Arc<dyn DiskFile>>,
    ) -> disk::Result<()> {
        match u64::try_from(offset - self.start) {
            Ok(number) if number < NUMBER_MAX => self.keys.add(key, number, open_scratch),
            _ => Ok(()),
        }
    }

    /// Which of them are superseded; `None` where it was stopped.
    ///
    /// # Errors
    /// When the scratch file cannot be read.
    pub fn finish(self, is_stopped: &dyn Fn() -> bool) -> disk::Result<Option<Superseded>> {
        let mut superseded = Superseded { start: self.start, ..Superseded::default() };
        let marked = self.keys.mark_superseded(u64::MAX, &mut superseded, is_stopped)?;
        Ok(marked.map(|_| superseded))
    }
}

impl Superseded {
    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether the record at an offset is.
    #[must_use]
    pub fn contains(&self, offset: Offset) -> bool {
        u64::try_from(offset - self.start).is_ok_and(|number| self.has(number))
    }
}

impl Marks for Superseded {
    fn set(&mut self, number: u64) -> bool {
        let piece = self.pieces.entry(number / PIECE_BITS).or_default();
        let (word, bit) = (&mut piece[(number % PIECE_BITS / 64) as usize], 1 << (number % 64));
        let was_set = *word & bit != 0;
        *word |= bit;
        self.count += u64::from(!was_set);
        !was_set
    }

    fn has(&self, number: u64) -> bool {
        let piece = self.pieces.get(&(number / PIECE_BITS));
        piece.is_some_and(|piece| piece[(number % PIECE_BITS / 64) as usize] & 1 << (number % 64) != 0)
    }

    fn join(&mut self, other: &Self) -> u64 {
        let before = self.count;
        for (&place, bits) in &other.pieces {
            let piece = self.pieces.entry(place).or_default();
            for (word, other) in piece.iter_mut().zip(&**bits) {
                self.count += u64::from((other & !*word).count_ones());
                *word |= other;
            }
        }
        self.count - before
    }
}
