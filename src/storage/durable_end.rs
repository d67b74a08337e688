//! The point that the end of each run leaves: the file `durable-end` in a partition's folder.
//!
//! Everything below its offset was durable when it was written, so that what exit status 0 has acknowledged lies below a
//! point even where Kafka's own `recovery-point-offset-checkpoint`, which takes syncs and the root lock, is not due yet.
//! It is written in place under the guard and not synced: after a power failure it is old, torn or empty, and then says
//! less or nothing. It counts only in the folder that it was written in, for the topic and the leader epoch that it names:
//! a broker that has the partition since begins another epoch, and may cut what this point promises. In another folder it
//! is the proof of a copy, made perhaps while the log was written: what checkpoint files promise of the original is then
//! no promise of the copy. Brokers ignore the file.
//!
//! It also says of which file the name was durable then: the next run that appends to it need not sync the folder.
//!
//! ```text
//! 2 00000000000000001234 0000000000 6c0d9a8e-… 00000000000000123456 00000000000000123457 01700000000000000000 5f3a0c11\n
//!   version, offset, leader epoch, topic id, inode of the folder, of a log or 0, when that was changed, CRC-32C of all before
//! ```

use super::checkpoints::NamedLog;
use super::leader_epochs::{self, LEADER_EPOCH_FILE};
use super::scan::{HEADER_CHUNK, Scanner, Step};
use super::{Checkpoints, PartitionGuard, Result, StorageError, segments};
use crate::disk::{Folder, atomic};
use crate::format::checkpoint::LeaderEpochRow;
use crate::format::crc::crc32c;
use crate::format::header::MAGIC_V2;
use crate::units::{Offset, Position};
use uuid::Uuid;

/// Its name.
pub const FILE: &str = "durable-end";
/// A larger file is none of ours.
const SIZE_MAX: usize = 256;

/// What the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct EndPoint {
    offset: Offset,
    leader_epoch: i32,
    /// Nil for a topic without one.
    topic_id: Uuid,
    inode: u64,
    named_log: Option<NamedLog>,
}

/// What a run knows when it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    /// All below is durable.
    pub durable: Offset,
    /// See [`Checkpoints::named_log`].
    pub named_log: Option<NamedLog>,
}

/// What the file is worth in the folder where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DurableEnd {
    /// All below the offset is durable, if this is the partition's leader epoch.
    At {
        /// The offset.
        offset: Offset,
        /// The epoch in which it was written.
        leader_epoch: i32,
        /// See [`Checkpoints::named_log`].
        named_log: Option<NamedLog>,
    },
    /// The folder is a copy of the one that the file was written in.
    Copy,
    /// There is no such file, or it says nothing.
    Unknown,
}

/// Reads the file of a partition's folder. A topic of a broker has no id here.
///
/// # Errors
/// When the disk fails.
pub fn read(folder: &dyn Folder, topic_id: Option<Uuid>) -> Result<DurableEnd> {
    let bytes = atomic::read_small(folder, FILE, SIZE_MAX)?.unwrap_or_default();
    Ok(match parse(&bytes) {
        Some(found) if found.inode != folder.id().inode => DurableEnd::Copy,
        Some(EndPoint { offset, leader_epoch, topic_id: found, named_log, .. })
            if found == topic_id.unwrap_or_default() =>
        {
            DurableEnd::At { offset, leader_epoch, named_log }
        }
        _ => DurableEnd::Unknown,
    })
}

/// The topic id that the file names, whichever folder it was written in; `None` where it names none.
///
/// # Errors
/// When the disk fails.
pub fn topic_id(folder: &dyn Folder) -> Result<Option<Uuid>> {
    let bytes = atomic::read_small(folder, FILE, SIZE_MAX)?.unwrap_or_default();
    Ok(parse(&bytes).map(|found| found.topic_id).filter(|topic_id| !topic_id.is_nil()))
}

/// What a partition's folder and the checkpoint files together promise. A folder that is a copy begins with no promise: it
/// may have been made while the log was written, and then ends below what the checkpoint file says of the original.
///
/// # Errors
/// When the disk fails.
pub fn promised(folder: &dyn Folder, topic_id: Option<Uuid>, of_files: Checkpoints) -> Result<Checkpoints> {
    Ok(match read(folder, topic_id)? {
        DurableEnd::At { offset, leader_epoch, named_log }
            if offset > of_files.recovery_point && is_latest(folder, leader_epoch)? =>
        {
            Checkpoints { recovery_point: offset, named_log, ..of_files }
        }
        DurableEnd::Copy => Checkpoints { log_start_offset: of_files.log_start_offset, ..Checkpoints::default() },
        DurableEnd::At { .. } | DurableEnd::Unknown => of_files,
    })
}

/// Below which offset a run of ours has found all durable, in this folder and no copy of it.
///
/// # Errors
/// When the disk fails.
pub fn of_this_folder(folder: &dyn Folder, topic_id: Option<Uuid>) -> Result<Offset> {
    match read(folder, topic_id)? {
        DurableEnd::At { offset, leader_epoch, .. } if is_latest(folder, leader_epoch)? => Ok(offset),
        DurableEnd::At { .. } | DurableEnd::Copy | DurableEnd::Unknown => Ok(Offset::ZERO),
    }
}

/// Whether no leader epoch has begun after this one. A broker that begins one writes it to a file of its own, without a crash
/// in between: one that is missing, damaged or contradicted by a batch of the log is not what a broker has left.
fn is_latest(folder: &dyn Folder, leader_epoch: i32) -> Result<bool> {
    if folder.stat(LEADER_EPOCH_FILE)?.is_none_or(|stat| stat.size == 0) {
        return Ok(true);
    }
    match leader_epochs::read(folder) {
        Err(StorageError::Disk(error)) => Err(error.into()),
        Err(_) => Ok(true),
        Ok(rows) => Ok(rows.last().is_some_and(|row| row.epoch == leader_epoch) || contradicts(folder, &rows)?),
    }
}

/// Whether the first batch that is whole, of those that these rows cover, has another epoch than they say. Rows below the log
/// start go when records are deleted.
fn contradicts(folder: &dyn Folder, rows: &[LeaderEpochRow]) -> Result<bool> {
    for base in segments::base_offsets(folder)? {
        let Some(log) = segments::open_log(folder, base)? else { continue };
        let mut scanner = Scanner::new(log, Position::ZERO, HEADER_CHUNK)?;
        if let Step::Batch(header) = scanner.peek()?
            && header.magic == MAGIC_V2
            && rows.first().is_some_and(|row| row.start_offset <= header.base_offset)
            && scanner.checksum_matches(&header)?
        {
            return Ok(leader_epochs::epoch_at(rows, header.base_offset) != header.leader_epoch);
        }
    }
    Ok(false)
}

/// Raises the point of the file: another run that ended before may have left a higher one.
///
/// # Errors
/// When the disk fails.
pub fn raise(guard: &PartitionGuard, topic_id: Option<Uuid>, leader_epoch: i32, end: RunEnd) -> Result<()> {
    let known = read(&**guard.folder(), topic_id)?;
    let point = |offset| EndPoint {
        offset,
        leader_epoch,
        topic_id: topic_id.unwrap_or_default(),
        inode: guard.folder().id().inode,
        named_log: end.named_log,
    };
    match known {
        DurableEnd::At { offset, leader_epoch: epoch, named_log } if epoch == leader_epoch && offset >= end.durable => {
            if named_log == end.named_log {
                Ok(())
            } else {
                point(offset).write(guard)
            }
        }
        _ => point(end.durable).write(guard),
    }
}

/// Lowers the point of the file to `end`, durably: the log is about to end there.
///
/// # Errors
/// When the disk fails.
pub fn lower(guard: &PartitionGuard, topic_id: Option<Uuid>, end: Offset) -> Result<()> {
    match read(&**guard.folder(), topic_id)? {
        DurableEnd::At { offset, leader_epoch, .. } if offset > end => {
            let (topic_id, inode) = (topic_id.unwrap_or_default(), guard.folder().id().inode);
            EndPoint { offset: end, leader_epoch, topic_id, inode, named_log: None }.write(guard)?;
            Ok(guard.create(FILE)?.sync()?)
        }
        DurableEnd::At { .. } | DurableEnd::Copy | DurableEnd::Unknown => Ok(()),
    }
}

/// Writes the file of a partition of which nothing is known to be durable.
///
/// # Errors
/// When the disk fails.
pub fn begin(guard: &PartitionGuard, topic_id: Option<Uuid>) -> Result<()> {
    let (topic_id, inode) = (topic_id.unwrap_or_default(), guard.folder().id().inode);
    EndPoint { offset: Offset::ZERO, leader_epoch: 0, topic_id, inode, named_log: None }.write(guard)
}

/// Removes the file: what it says is somewhere else by now.
///
/// # Errors
/// When the disk fails.
pub fn remove(guard: &PartitionGuard) -> Result<()> {
    guard.remove(FILE)
}

impl EndPoint {
    fn write(&self, guard: &PartitionGuard) -> Result<()> {
        Ok(guard.create(FILE)?.write_at(self.print().as_bytes(), 0)?)
    }

    fn print(&self) -> String {
        let Self { offset, leader_epoch, topic_id, inode, named_log } = self;
        let log = named_log.unwrap_or(NamedLog { inode: 0, changed_ns: 0 });
        let log = format!("{:020} {:020}", log.inode, log.changed_ns);
        let text = format!("2 {:020} {leader_epoch:010} {topic_id} {inode:020} {log}", offset.0);
        format!("{text} {:08x}\n", crc32c(text.as_bytes()))
    }
}

fn parse(bytes: &[u8]) -> Option<EndPoint> {
    let (text, crc) = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?.rsplit_once(' ')?;
    if u32::from_str_radix(crc, 16) != Ok(crc32c(text.as_bytes())) {
        return None;
    }
    let mut parts = text.strip_prefix("2 ")?.split(' ');
    Some(EndPoint {
        offset: Offset(parts.next()?.parse().ok()?),
        leader_epoch: parts.next()?.parse().ok()?,
        topic_id: parts.next()?.parse().ok()?,
        inode: parts.next()?.parse().ok()?,
        named_log: {
            let (inode, changed_ns) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            (inode != 0).then_some(NamedLog { inode, changed_ns })
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_read_as_it_was_written_and_no_part_of_one_is() {
        let (offset, topic_id) = (Offset(1234), Uuid::from_u128(7));
        let named_log = Some(NamedLog { inode: 100, changed_ns: -5 });
        let point = EndPoint { offset, leader_epoch: 5, topic_id, inode: 99, named_log };
        let text = point.print();
        assert_eq!(parse(text.as_bytes()), Some(point));
        for size in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..size]), None, "{size}");
        }
        assert_eq!(parse(text.replace("1234", "1235").as_bytes()), None);
    }
}
