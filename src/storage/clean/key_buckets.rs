//! Which records of many have a later one of the same key, whatever the number of keys.
//!
//! Each record becomes an entry of 16 bytes: 88 bits of a hash of its key, and its number. Entries are gathered in buckets by
//! eight other bits of the hash; one that is full goes to a scratch file, so that memory is bounded. At the end each
//! bucket is gone through with a table of its keys, which is small enough for the processor's cache.
//!
//! The hash is XXH3 of 128 bits with a random seed, and 96 bits of it are compared: among ten billion keys two are taken for
//! one with a chance of one in a billion. A broker compares 128 bits of MD5.

use super::bits::Marks;
use crate::disk::{self, DiskError, DiskFile};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::thread;
use twox_hash::XxHash3_128;
use uuid::Uuid;

const BUCKETS: usize = 256;
type Entry = [u8; 16];
/// Low bits of an entry: the number of the record, and one more, so that no entry is zero.
const NUMBER_BITS: u32 = 40;
const NUMBER_MASK: u128 = (1 << NUMBER_BITS) - 1;
/// Numbers of records are below it.
pub(super) const NUMBER_MAX: u64 = NUMBER_MASK as u64;
/// How many threads go through the buckets at the end.
const THREADS: usize = 2;
/// So many entries are gone through by one.
const ALONE_MAX: usize = 64 << 10;
/// Entries of a bucket in memory, at least.
const ENTRIES_MIN: usize = 256;

/// Opens the scratch file, when there is more than memory is to hold.
pub(super) type OpenScratch<'a> = dyn FnMut() -> disk::Result<Arc<dyn DiskFile>> + 'a;

#[derive(Default)]
struct Bucket {
    entries: Vec<Entry>,
    /// Where in the scratch file pieces of it are, each of as many entries as a bucket has in memory at most.
    pieces: Vec<u64>,
}

/// The entries of records, in the order of their numbers.
pub(super) struct KeyBuckets {
    seed: u64,
    buckets: Vec<Bucket>,
    /// Entries of a bucket in memory, at most.
    entries_max: usize,
    scratch: Option<Arc<dyn DiskFile>>,
    scratch_size: u64,
}

impl KeyBuckets {
    /// Empty ones, which take half of `memory` bytes at most; the other half is for the tables at the end.
    pub(super) fn new(memory: u64) -> Self {
        let entries = memory as usize / 2 / BUCKETS / size_of::<Entry>();
        let (seed, _) = Uuid::new_v4().as_u64_pair();
        Self {
            seed,
            buckets: (0..BUCKETS).map(|_| Bucket::default()).collect(),
            entries_max: entries.max(ENTRIES_MIN),
            scratch: None,
            scratch_size: 0,
        }
    }

    /// Adds the record with that number, which is above those before.
    #[inline]
    pub(super) fn add(&mut self, key: &[u8], number: u64, open_scratch: &mut OpenScratch<'_>) -> disk::Result<()> {
        let hash = XxHash3_128::oneshot_with_seed(self.seed, key);
        debug_assert!(number < NUMBER_MAX, "numbers have 40 bits");
        let entry = hash & !NUMBER_MASK | (u128::from(number) + 1);
        // The low bits are not in the entry, whose place the number takes.
        let bucket = &mut self.buckets[hash as u8 as usize];
        bucket.entries.push(entry.to_be_bytes());
        if bucket.entries.len() < self.entries_max { Ok(()) } else { self.set_aside(hash as u8, open_scratch) }
    }

    /// Moves a bucket to the scratch file.
    #[cold]
    fn set_aside(&mut self, bucket: u8, open_scratch: &mut OpenScratch<'_>) -> disk::Result<()> {
        let bucket = &mut self.buckets[usize::from(bucket)];
        let scratch = match &self.scratch {
            Some(scratch) => scratch,
            None => self.scratch.insert(open_scratch()?),
        };
        let bytes = bucket.entries.as_flattened();
        scratch.write_at(bytes, self.scratch_size)?;
        bucket.pieces.push(self.scratch_size);
        self.scratch_size += bytes.len() as u64;
        bucket.entries.clear();
        Ok(())
    }

    /// Bytes in the scratch file.
    pub(super) const fn scratch_size(&self) -> u64 {
        self.scratch_size
    }

    /// Marks the records below `end` that a later one below it has the key of. A record that is marked before supersedes nothing.
    /// Returns how many were marked; `None` where it was stopped.
    pub(super) fn mark_superseded<M: Marks>(
        self,
        end: u64,
        superseded: &mut M,
        is_stopped: &dyn Fn() -> bool,
    ) -> disk::Result<Option<u64>> {
        let (marked, next, is_over) = (&*superseded, AtomicUsize::new(0), AtomicBool::new(false));
        let mark = |is_stopped: &dyn Fn() -> bool| -> disk::Result<M> {
            let mut marker = Marker::new(marked, end, self.entries_max * BUCKETS / 4 / THREADS);
            while let Some(bucket) = self.buckets.get(next.fetch_add(1, Relaxed)) {
                // Keys that are too many for a table are gone through part by part.
                let mut parts = vec![Part { number: 0, of: 1 }];
                while let Some(part) = parts.pop() {
                    if is_over.load(Relaxed) || is_stopped() {
                        is_over.store(true, Relaxed);
                        return Ok(marker.found);
                    }
                    marker.begin(part);
                    if !self.mark_in(bucket, &mut |entries| marker.mark(entries))? {
                        parts.extend(part.halves());
                    }
                }
            }
            Ok(marker.found)
        };
        let found = thread::scope(|scope| {
            let begin = || thread::Builder::new().spawn_scoped(scope, || mark(&|| false)).ok();
            // Where there is no thread to be had, this one does it all.
            let other = self.is_large().then(begin).flatten();
            let here = mark(is_stopped);
            if here.is_err() {
                is_over.store(true, Relaxed);
            }
            let there = other.map(|other| other.join().unwrap_or_else(|panic| resume_unwind(panic)));
            Ok::<_, DiskError>([Some(here?), there.transpose()?])
        })?;
        if is_over.load(Relaxed) {
            return Ok(None);
        }
        Ok(Some(found.into_iter().flatten().map(|found| superseded.join(&found)).sum()))
    }

    /// Whether to go through all entries takes longer than to begin a thread.
    fn is_large(&self) -> bool {
        self.scratch_size > 0 || self.buckets.iter().map(|bucket| bucket.entries.len()).sum::<usize>() > ALONE_MAX
    }

    /// Shows the entries of a bucket in order, as long as `mark` has room for them; whether it had for all.
    fn mark_in(&self, bucket: &Bucket, mark: &mut dyn FnMut(&[Entry]) -> bool) -> disk::Result<bool> {
        let mut piece = vec![Entry::default(); if bucket.pieces.is_empty() { 0 } else { self.entries_max }];
        for &position in &bucket.pieces {
            let scratch = self.scratch.as_deref().expect("a piece is in the scratch file");
            scratch.read_at(piece.as_flattened_mut(), position)?;
            if !mark(&piece) {
                return Ok(false);
            }
        }
        Ok(mark(&bucket.entries))
    }
}

/// Those of the keys of a bucket whose hash leaves `number` when it is divided by `of`.
#[derive(Debug, Clone, Copy)]
struct Part {
    number: usize,
    of: usize,
}

impl Part {
    fn has(self, entry: u128) -> bool {
        self.of == 1 || (entry >> 96) as usize % self.of == self.number
    }

    fn halves(self) -> [Self; 2] {
        let of = self.of * 2;
        [Self { number: self.number, of }, Self { number: self.number + self.of, of }]
    }
}

const TABLE_MIN: usize = 1024;

/// The newest entry of each key of one part of a bucket, and what was found in all that it has gone through.
struct Marker<'a, M> {
    /// What is marked before.
    marked: &'a M,
    found: M,
    /// Numbers from here on are not asked.
    end: u64,
    part: Part,
    /// The newest entries, by their hash. A place that is 0 is free.
    slots: Vec<u128>,
    taken: usize,
    /// So many keys at most.
    taken_max: usize,
}

impl<'a, M: Marks> Marker<'a, M> {
    fn new(marked: &'a M, end: u64, taken_max: usize) -> Self {
        let (part, slots) = (Part { number: 0, of: 1 }, vec![0; TABLE_MIN]);
        Self { marked, found: M::default(), end, part, slots, taken: 0, taken_max }
    }

    fn begin(&mut self, part: Part) {
        self.slots.fill(0);
        (self.part, self.taken) = (part, 0);
    }

    /// Marks what these entries supersede, and what supersedes them is for later ones to say; `false` where there are too many
    /// keys.
    fn mark(&mut self, entries: &[Entry]) -> bool {
        let number_of = |entry: u128| (entry & NUMBER_MASK) as u64 - 1;
        for entry in entries {
            let entry = u128::from_be_bytes(*entry);
            let number = number_of(entry);
            if number >= self.end || !self.part.has(entry) || self.marked.has(number) {
                continue;
            }
            let slot = self.slot(entry);
            let before = std::mem::replace(&mut self.slots[slot], entry);
            if before != 0 {
                self.found.set(number_of(before));
                continue;
            }
            self.taken += 1;
            if self.taken > self.taken_max {
                return false;
            }
            // A quarter of it stays free.
            if self.taken > self.slots.len() / 4 * 3 {
                self.grow();
            }
        }
        true
    }

    #[cold]
    fn grow(&mut self) {
        let larger = vec![0; self.slots.len() * 2];
        for entry in std::mem::replace(&mut self.slots, larger).into_iter().filter(|&entry| entry != 0) {
            let slot = self.slot(entry);
            self.slots[slot] = entry;
        }
    }

    /// The place of a key, taken or free.
    #[inline]
    fn slot(&self, entry: u128) -> usize {
        let mask = self.slots.len() - 1;
        let mut at = (entry >> 64) as usize & mask;
        while self.slots[at] != 0 && (self.slots[at] ^ entry) >> NUMBER_BITS != 0 {
            at = (at + 1) & mask;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::Bits;
    use super::*;
    use crate::disk::Disk;
    use crate::disk::faulty::FaultyDisk;
    use std::collections::HashMap;

    /// Numbers that are superseded, the simple way.
    fn expected(keys: &[u32], end: u64, skipped: &[u64]) -> Vec<u64> {
        let mut newest: HashMap<u32, u64> = HashMap::new();
        for (number, &key) in (0..).zip(keys) {
            if number < end && !skipped.contains(&number) {
                newest.insert(key, number);
            }
        }
        let is_superseded =
            |(number, key): &(u64, &u32)| *number < end && newest.get(key).is_some_and(|newest| newest > number);
        let mut all: Vec<u64> = (0..).zip(keys).filter(is_superseded).map(|(number, _)| number).collect();
        all.extend(skipped);
        all.sort_unstable();
        all.dedup();
        all
    }

    #[test]
    fn what_is_superseded_is_found_with_any_memory() {
        let disk = FaultyDisk::new();
        let mut state = 7_u64;
        let mut chance = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for (records, keys) in [(0, 1), (1, 1), (1000, 1), (1000, 30), (300_000, 60_000), (300_000, 3_000_000)] {
            for memory in [0, 1 << 20, 64 << 20] {
                let keys: Vec<u32> = (0..records).map(|_| chance(keys) as u32).collect();
                let end = records - chance(records / 2 + 1);
                let skipped: Vec<u64> = (0..records / 100).map(|_| chance(records)).collect();
                let (mut buckets, mut bits) = (KeyBuckets::new(memory), Bits::default());
                for (number, key) in (0..).zip(&keys) {
                    buckets.add(&key.to_be_bytes(), number, &mut || disk.scratch()).unwrap();
                }
                for &number in &skipped {
                    bits.set(number);
                }
                let before = bits.count(0..records);
                let is_set_aside = buckets.scratch_size() > 0;
                assert!(is_set_aside || records < 100_000 || memory == 64 << 20);
                let count = buckets.mark_superseded(end, &mut bits, &|| false).unwrap().unwrap();
                let found: Vec<u64> = (0..records).filter(|&number| bits.has(number)).collect();
                assert_eq!(found, expected(&keys, end, &skipped), "{records} records, {memory} bytes");
                assert_eq!(count, bits.count(0..records) - before);
            }
        }
    }
}
