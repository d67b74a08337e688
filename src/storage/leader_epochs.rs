//! Which leader epoch began at which offset: the file `leader-epoch-checkpoint` in a partition's folder.
//!
//! Rows at or above the log end are a broker's normal state after a power failure: it drops them when it loads the log, and
//! so does a writer here, since the batches to come get their epochs from what is left. Source: `LeaderEpochFileCache.java`.

use super::{PartitionGuard, Result, StorageError, at_place};
use crate::disk::{Folder, atomic};
use crate::format::checkpoint::{LeaderEpochCheckpoint, LeaderEpochRow};
use crate::units::{Offset, Position};

/// The file in a partition's folder that names the leader epochs.
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// A larger one is none.
pub(super) const LEADER_EPOCH_SIZE_MAX: usize = 16 << 20;
/// What a new partition's file holds: epoch 0 from offset 0 on.
pub const FIRST_EPOCH: &[u8] = b"0\n1\n0 0\n";

/// The rows of the file; none where it is missing.
pub(super) fn read(folder: &dyn Folder) -> Result<Vec<LeaderEpochRow>> {
    let bytes = atomic::read_small(folder, LEADER_EPOCH_FILE, LEADER_EPOCH_SIZE_MAX)?.unwrap_or_default();
    let path = folder.path().join(LEADER_EPOCH_FILE);
    let checkpoint = LeaderEpochCheckpoint::parse(&bytes);
    Ok(checkpoint.map_err(|error| at_place(error, &path, Position::ZERO, Offset::ZERO))?.rows)
}

/// The latest epoch that has begun; `None` where none has, or the file is damaged.
///
/// # Errors
/// When the disk fails.
pub fn latest_epoch(folder: &dyn Folder) -> Result<Option<i32>> {
    match read(folder) {
        Ok(rows) => Ok(rows.last().map(|row| row.epoch)),
        Err(StorageError::Disk(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The epoch that batches appended at the log end carry; where none has begun, epoch 0 begins there. The file is brought in
/// line with that.
pub(super) fn settle(guard: &PartitionGuard, log_end_offset: Offset) -> Result<i32> {
    let listed = read(&**guard.folder())?;
    let begun = listed.partition_point(|row| row.start_offset < log_end_offset);
    let mut rows = listed[..begun].to_vec();
    if rows.is_empty() {
        let epoch = listed.first().filter(|row| row.start_offset == log_end_offset).map_or(0, |row| row.epoch);
        rows.push(LeaderEpochRow { epoch, start_offset: log_end_offset });
    }
    let epoch = rows[rows.len() - 1].epoch;
    if rows != listed {
        guard.replace(LEADER_EPOCH_FILE, LeaderEpochCheckpoint { rows }.print().as_bytes())?;
    }
    Ok(epoch)
}

/// The epoch of the batch at `offset`; -1 where none is known.
pub(super) fn epoch_at(rows: &[LeaderEpochRow], offset: Offset) -> i32 {
    let began = rows.partition_point(|row| row.start_offset <= offset);
    began.checked_sub(1).map_or(-1, |last| rows[last].epoch)
}
