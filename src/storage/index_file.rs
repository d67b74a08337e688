//! An index file: entries of one size, rising, perhaps with zeros behind them.
//!
//! A running broker keeps the indexes of its active segment preallocated, so the file's length says nothing about the
//! entries: they end at the first that is all zero. (The first batch of a segment is never indexed, so no real entry is.)

use super::{Result, StorageError};
use crate::disk::{Access, DiskFile, Folder};
use crate::format::index::{OFFSET_INDEX_ENTRY_SIZE, OffsetIndexEntry, TIME_INDEX_ENTRY_SIZE, TimeIndexEntry};
use std::marker::PhantomData;
use std::sync::Arc;

/// What an index file holds.
pub(crate) trait IndexEntry: Copy {
    const SIZE: usize;
    /// `None` for zeros and for what no writer writes.
    fn decode(bytes: &[u8]) -> Option<Self>;
    fn encode(&self, out: &mut [u8]);
}

impl IndexEntry for OffsetIndexEntry {
    const SIZE: usize = OFFSET_INDEX_ENTRY_SIZE;
    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok().filter(|entry| !entry.is_zero())
    }
    fn encode(&self, out: &mut [u8]) {
        out.copy_from_slice(&Self::encode(*self));
    }
}

impl IndexEntry for TimeIndexEntry {
    const SIZE: usize = TIME_INDEX_ENTRY_SIZE;
    fn decode(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok().filter(|entry| !entry.is_zero())
    }
    fn encode(&self, out: &mut [u8]) {
        out.copy_from_slice(&Self::encode(*self));
    }
}

const ENTRY_SIZE_MAX: usize = TIME_INDEX_ENTRY_SIZE;

/// Entries read at a time by one who reads them in order.
const RUN: usize = 1024;

/// Entries of an index in order, read many at a time.
pub(crate) struct EntryRun<E> {
    first: usize,
    entries: Vec<Option<E>>,
}

impl<E> Default for EntryRun<E> {
    fn default() -> Self {
        Self { first: 0, entries: Vec::new() }
    }
}

impl<E: IndexEntry> EntryRun<E> {
    /// Entry `at` of `index`; `None` behind the last and where it is damaged.
    pub(crate) fn get(&mut self, index: &IndexFile<E>, at: usize) -> Result<Option<E>> {
        if at >= index.count {
            return Ok(None);
        }
        if at < self.first || at - self.first >= self.entries.len() {
            let mut bytes = vec![0; RUN.min(index.count - at) * E::SIZE];
            let file = index.file.as_ref().expect("an index with entries is open");
            let read = file.read_at(&mut bytes, (at * E::SIZE) as u64)?;
            bytes[read..].fill(0);
            self.entries.clear();
            self.entries.extend(bytes.chunks_exact(E::SIZE).map(E::decode));
            self.first = at;
        }
        Ok(self.entries[at - self.first])
    }
}

/// What to do when an index cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unreadable {
    /// Fail: for writers and for `verify`.
    Fail,
    /// Go without: look-ups read the log instead.
    GoWithout,
}

/// An index that is open; a missing file is an index without entries.
pub(crate) struct IndexFile<E> {
    file: Option<Arc<dyn DiskFile>>,
    count: usize,
    unreadable: Unreadable,
    entry: PhantomData<E>,
}

impl<E: IndexEntry> IndexFile<E> {
    pub(crate) fn open(folder: &dyn Folder, name: &str, access: Access) -> Result<Self> {
        Self::open_as(folder, name, access, Unreadable::Fail)
    }

    /// The same to look something up. A file whose end cannot be read counts as empty: what would be taken for its last
    /// entry is believed to be the last. An entry in the middle that cannot be read counts as damaged.
    pub(crate) fn open_for_lookups(folder: &dyn Folder, name: &str) -> Result<Self> {
        Self::open_as(folder, name, Access::Read, Unreadable::GoWithout)
    }

    fn open_as(folder: &dyn Folder, name: &str, access: Access, unreadable: Unreadable) -> Result<Self> {
        let file = match folder.open(name, access) {
            Ok(file) => Some(file),
            Err(error) if error.is_not_found() => None,
            Err(error) if unreadable == Unreadable::GoWithout && error.is_unreadable() => None,
            Err(error) => return Err(error.into()),
        };
        let mut index = Self { file, count: 0, unreadable, entry: PhantomData };
        match index.reload() {
            Err(StorageError::Disk(error)) if unreadable == Unreadable::GoWithout && error.is_unreadable() => {
                Ok(Self::none())
            }
            reloaded => reloaded.map(|()| index),
        }
    }

    /// An index without entries.
    pub(crate) const fn none() -> Self {
        Self { file: None, count: 0, unreadable: Unreadable::Fail, entry: PhantomData }
    }

    /// The index in an open file.
    pub(crate) fn of(file: Arc<dyn DiskFile>) -> Result<Self> {
        let mut index = Self { file: Some(file), count: 0, unreadable: Unreadable::Fail, entry: PhantomData };
        index.reload()?;
        Ok(index)
    }

    /// Counts the entries anew.
    pub(crate) fn reload(&mut self) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut count = file.stat()?.size as usize / E::SIZE;
        if count > 0 && entry_in::<E>(&**file, count - 1)?.is_none() {
            let (mut entries, mut end) = (0, count);
            while entries < end {
                let middle = entries.midpoint(end);
                if entry_in::<E>(&**file, middle)?.is_some() { entries = middle + 1 } else { end = middle }
            }
            count = entries;
        }
        self.count = count;
        Ok(())
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Entry `at`; `None` where it is damaged.
    pub(crate) fn get(&self, at: usize) -> Result<Option<E>> {
        let Some(file) = &self.file else { return Ok(None) };
        match entry_in(&**file, at) {
            Err(StorageError::Disk(error)) if self.unreadable == Unreadable::GoWithout && error.is_unreadable() => {
                Ok(None)
            }
            entry => entry,
        }
    }

    pub(crate) fn last(&self) -> Result<Option<E>> {
        if self.count == 0 { Ok(None) } else { self.get(self.count - 1) }
    }

    /// How many entries come before the first for which `holds` is false; a damaged entry counts as one.
    pub(crate) fn partition_point(&self, holds: impl Fn(&E) -> bool) -> Result<usize> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low.midpoint(high);
            if self.get(middle)?.is_some_and(|entry| holds(&entry)) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Adds an entry behind the last one; what a failed write leaves is overwritten by the next.
    pub(crate) fn append(&mut self, entry: &E) -> Result<()> {
        self.append_all(std::slice::from_ref(entry))
    }

    pub(crate) fn append_all(&mut self, entries: &[E]) -> Result<()> {
        let file = self.file.as_ref().expect("an index that is written to is open");
        let mut bytes = vec![0; entries.len() * E::SIZE];
        for (entry, out) in entries.iter().zip(bytes.chunks_exact_mut(E::SIZE)) {
            entry.encode(out);
        }
        file.write_at(&bytes, (self.count * E::SIZE) as u64)?;
        self.count += entries.len();
        Ok(())
    }

    /// Keeps the first `count` entries and cuts everything behind them, zeros included.
    pub(crate) fn truncate(&mut self, count: usize) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let size = (count * E::SIZE) as u64;
        if file.stat()?.size != size {
            file.set_len(size)?;
        }
        self.count = count;
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<()> {
        match &self.file {
            None => Ok(()),
            Some(file) => Ok(file.sync()?),
        }
    }

    /// Where bytes stand behind the entries that are neither the zeros of preallocation nor an entry that has come since.
    pub(crate) fn junk_behind(&self) -> Result<Option<u64>> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut at = (self.count * E::SIZE) as u64;
        let mut piece = vec![0; E::SIZE * RUN];
        loop {
            let read = file.read_at(&mut piece, at)?;
            let junk = piece[..read].chunks(E::SIZE).position(|entry| {
                entry.iter().any(|&byte| byte != 0) && (entry.len() < E::SIZE || E::decode(entry).is_none())
            });
            match junk {
                Some(place) => return Ok(Some(at + (place * E::SIZE) as u64)),
                None if read < piece.len() => return Ok(None),
                None => at += read as u64,
            }
        }
    }

    /// Whether the file is exactly its entries, nothing behind them.
    pub(crate) fn is_trimmed(&self) -> Result<bool> {
        match &self.file {
            None => Ok(true),
            Some(file) => Ok(file.stat()?.size == (self.count * E::SIZE) as u64),
        }
    }
}

/// Entry `at` of an index; `None` where it is damaged.
fn entry_in<E: IndexEntry>(file: &dyn DiskFile, at: usize) -> Result<Option<E>> {
    let mut bytes = [0; ENTRY_SIZE_MAX];
    let read = file.read_at(&mut bytes[..E::SIZE], (at * E::SIZE) as u64)?;
    Ok(if read == E::SIZE { E::decode(&bytes[..E::SIZE]) } else { None })
}
