//! Claims on the records of a work queue: locks on bytes of the group's [`LockFile`].
//!
//! From 2^62 on, 2^40 bytes for each partition: the byte of a record is its offset modulo 2^40. A claim is a lock of one open
//! file, and the handler of the record has that file open as well: so it falls when the worker and the handler have both
//! ended, and until then nobody else gets the record. Who has the verdict gives the claim back by an unlock, whoever else may
//! have the file open by then, a daemon for one that the handler has left; and each claim has an open file of its own.
//!
//! Beside the locks, the file has a table that says which process handles a record. It is true while the record is claimed,
//! and two records that share a row leave one of them without a word: it is for people.

use super::lock_file::LockFile;
use super::{GroupError, Result};
use crate::disk::{Access, DiskFile};
use crate::logdir::LogDirError;
use crate::units::Offset;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const CLAIMS_FROM: u64 = 1 << 62;
const CLAIMS_EACH: u64 = 1 << 40;
/// Whose claims are told apart from others: 2^62 + 2^22 times 2^40 is the end of what can be locked.
pub(super) const PARTITIONS_MAX: i32 = 1 << 22;
/// The byte that is locked by who makes the first state of a topic's partitions.
const BEGIN: Range<u64> = 1 << 31..(1 << 31) + 1;
/// It takes seconds for thousands of partitions, and falls with who has it.
const BEGIN_MAX: Duration = Duration::from_secs(600);
const BEGIN_PAUSE: Duration = Duration::from_millis(5);
/// The table of who handles what, after the texts of the members.
const HOLDERS_FROM: u64 = 1 << 26;
const HOLDERS: u64 = 4096;
const HOLDER_SIZE: u64 = 64;

/// Claims of one handler.
pub struct Claims {
    file: Arc<dyn DiskFile>,
}

/// A claim that somebody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The record, as far as a byte can say it: modulo 2^40.
    pub offset: Offset,
    /// The process that handles it, where that was written down.
    pub pid: Option<u32>,
}

/// The lock that one has who makes the first states of a topic; given back when dropped.
pub(super) struct Beginning(#[expect(dead_code, reason = "it is held")] Arc<dyn DiskFile>);

impl Claims {
    /// Claims a record; `false` where somebody else has it.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn try_claim(&self, partition: i32, offset: Offset) -> Result<bool> {
        Ok(self.file.try_lock_range(byte_of(partition, offset)).map_err(LogDirError::from)?)
    }

    /// Gives a record back.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn release(&self, partition: i32, offset: Offset) -> Result<()> {
        Ok(self.file.unlock_range(byte_of(partition, offset)).map_err(LogDirError::from)?)
    }

    /// The open file, for the handler to inherit. `None` on a disk that no process can share.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.file.descriptor()
    }

    /// Says which process handles a record. That it is not said costs nothing but the word.
    pub fn name_holder(&self, partition: i32, offset: Offset, pid: u32) {
        let mut text = format!("{partition}:{} {pid}\n", offset.0).into_bytes();
        text.resize(HOLDER_SIZE as usize, b'\n');
        let _ = self.file.write_at(&text, holder_position(partition, offset));
    }
}

impl LockFile {
    /// Claims for a handler: none yet.
    ///
    /// # Errors
    /// When the file was removed, with its topic or alone, or the disk fails.
    pub fn claims(&self) -> Result<Claims> {
        let file = match self.folder.open(&self.name, Access::Write) {
            Err(error) if error.is_not_found() => return Err(GroupError::LockFileRemoved { path: self.path.clone() }),
            file => file.map_err(LogDirError::from)?,
        };
        let is_same = file.stat().map_err(LogDirError::from)?.id == self.file.stat().map_err(LogDirError::from)?.id;
        if is_same { Ok(Claims { file }) } else { Err(GroupError::LockFileRemoved { path: self.path.clone() }) }
    }

    /// What is claimed of a partition, by anybody but who has this file open, in order.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn claimed(&self, partition: i32) -> Result<Vec<Claimed>> {
        let from = CLAIMS_FROM + partition as u64 * CLAIMS_EACH;
        let all = from..from + CLAIMS_EACH;
        let (mut offsets, mut ranges) = (Vec::new(), vec![all]);
        while let Some(range) = ranges.pop() {
            let Some(found) = self.file.locked_range(range.clone()).map_err(LogDirError::from)? else { continue };
            let found = found.start.max(range.start)..found.end.min(range.end);
            offsets.extend(found.clone().map(|byte| Offset((byte - from) as i64)));
            ranges.extend([range.start..found.start, found.end..range.end].into_iter().filter(|it| !it.is_empty()));
        }
        offsets.sort_unstable();
        offsets.into_iter().map(|offset| Ok(Claimed { offset, pid: self.holder(partition, offset)? })).collect()
    }

    /// Whether somebody else has a record.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn is_claimed(&self, partition: i32, offset: Offset) -> Result<bool> {
        Ok(self.file.locked_range(byte_of(partition, offset)).map_err(LogDirError::from)?.is_some())
    }

    fn holder(&self, partition: i32, offset: Offset) -> Result<Option<u32>> {
        let mut bytes = [0; HOLDER_SIZE as usize];
        let position = holder_position(partition, offset);
        let read = self.file.read_at(&mut bytes, position).map_err(LogDirError::from)?;
        let text = String::from_utf8_lossy(&bytes[..read]);
        let mut words = text.lines().next().unwrap_or_default().split(' ');
        let is_of_it = words.next() == Some(&format!("{partition}:{}", offset.0));
        Ok(words.next().filter(|_| is_of_it).and_then(|pid| pid.parse().ok()))
    }

    /// Waits until nobody else makes the first states of this topic.
    pub(super) fn begin(&self) -> Result<Beginning> {
        let (file, started) = (self.claims()?.file, Instant::now());
        while !file.try_lock_range(BEGIN).map_err(LogDirError::from)? {
            if started.elapsed() > BEGIN_MAX {
                return Err(GroupError::IsBegun { path: self.path.clone() });
            }
            thread::sleep(BEGIN_PAUSE);
        }
        Ok(Beginning(file))
    }
}

const fn byte_of(partition: i32, offset: Offset) -> Range<u64> {
    let byte = CLAIMS_FROM + partition as u64 * CLAIMS_EACH + offset.0 as u64 % CLAIMS_EACH;
    byte..byte + 1
}

const fn holder_position(partition: i32, offset: Offset) -> u64 {
    let row = (offset.0 as u64).wrapping_add((partition as u64).wrapping_mul(0x9e37_79b9)) % HOLDERS;
    HOLDERS_FROM + row * HOLDER_SIZE
}
