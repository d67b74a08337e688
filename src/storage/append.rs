//! Appends batches to a partition, beside other processes that do the same.
//!
//! Under the folder's lock, every append first sees that nothing has changed since this writer looked last: the active
//! segment has the same file and size *by name*, and no `<log end offset>.log` stands beside it (a roll by somebody else
//! leaves the old segment's size as it was). If anything differs, the folder is listed and the end of the log checked
//! anew. Then the batches get their offsets and go out, as many as go into one segment.
//!
//! States that a crash can leave, and who mends them:
//! - index entries without their batches (the entries go first, so that a full disk stops an append whole): not used by
//!   readers, replaced by the next writer;
//! - some of the batches, the last of them half written: what is whole is shown and stays, what is not is not shown by
//!   readers and cut by the next writer;
//! - index files without their `.log` (a roll half done): overwritten by the next roll to that offset.

use super::append_plan::{AppendPlan, SegmentEnd, time_entry};
use super::config::LogConfig;
use super::file_name::{FileKind, segment_path};
use super::lookup::Indexes;
use super::recovery::{Check, CheckedSegment, Notice};
use super::segments::{self, OpenLog};
use super::sync::PendingSync;
use super::{Result, StorageError, at_place, leftovers};
use crate::disk::{Access, Disk, FileId, Folder, FolderLock, SharedLock, atomic};
use crate::format::batch;
use crate::format::checkpoint::{LeaderEpochCheckpoint, LeaderEpochRow};
use crate::format::header::BatchHeader;
use crate::format::index::{OFFSET_INDEX_ENTRY_SIZE, TIME_INDEX_ENTRY_SIZE};
use crate::units::{Offset, Position};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file in a partition's folder that tells which leader epoch began at which offset.
pub const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";
/// A larger one is none.
pub(super) const LEADER_EPOCH_SIZE_MAX: usize = 16 << 20;

/// What the log dir's files say of a partition, read while the partition is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoints {
    /// All below is durable.
    pub recovery_point: Offset,
    /// The first offset that may be read, unless the first segment begins above it.
    pub log_start_offset: Offset,
}

/// Where appended batches went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// How many there were.
    pub batch_count: usize,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Whether a segment was rolled for them.
    pub rolled: bool,
}

/// The one that writes to a partition in this process.
pub struct LogWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    folder: Arc<dyn Folder>,
    process_lock: Arc<dyn SharedLock>,
    config: LogConfig,
    checkpoints: Checkpoints,
    /// What appended batches carry.
    leader_epoch: i32,
    active: CheckedSegment,
    active_id: FileId,
    /// When this writer first saw the active segment: what `segment.ms` counts from where no batch has a timestamp.
    active_since_ms: i64,
    pending: Arc<Mutex<PendingSync>>,
    notices: Vec<Notice>,
    /// Whether this writer has appended since the final time entry was written.
    appended: bool,
    /// Whether a segment is synced before the next is begun.
    syncs_rolls: bool,
}

impl LogWriter {
    /// Opens the partition in the folder `path` and brings its end in order. `read_checkpoints` is called while the
    /// folder is locked, so that what it reads belongs to the folder.
    ///
    /// # Errors
    /// When a broker holds the log dir, the partition is gone or corrupt, or the disk fails.
    pub fn open(
        disk: &Arc<dyn Disk>,
        process_lock: &Arc<dyn SharedLock>,
        path: &Path,
        config: LogConfig,
        now_ms: i64,
        read_checkpoints: impl FnOnce() -> Result<Checkpoints>,
    ) -> Result<Self> {
        let deleted = || StorageError::PartitionDeleted { path: path.to_owned() };
        let folder = match disk.open_folder(path) {
            Ok(folder) => folder,
            Err(error) if error.is_not_found() => return Err(deleted()),
            Err(error) => return Err(error.into()),
        };
        let lock = FolderLock::take(&folder)?;
        if disk.stat(path)?.map(|stat| stat.id) != Some(folder.id()) {
            return Err(deleted());
        }
        if !process_lock.still_guards()? {
            return Err(StorageError::HeldByBroker);
        }
        let checkpoints = read_checkpoints()?;
        let mut pending = PendingSync::new(Arc::clone(disk), path.to_owned(), Arc::clone(&folder));
        let mut notices = Vec::new();
        leftovers::settle(&**disk, path, &mut notices)?;
        let opening = Opening { disk: &**disk, path, config: &config, checkpoints: &checkpoints };
        let active = opening.check_segments(&mut pending, &mut notices)?;
        let active_id = active.log.file.stat()?.id;
        let leader_epoch = latest_leader_epoch(&**disk, path, active.end.next_offset)?;
        drop(lock);
        Ok(Self {
            disk: Arc::clone(disk),
            path: path.to_owned(),
            folder,
            process_lock: Arc::clone(process_lock),
            config,
            checkpoints,
            leader_epoch,
            active,
            active_id,
            active_since_ms: now_ms,
            pending: Arc::new(Mutex::new(pending)),
            notices,
            appended: false,
            syncs_rolls: true,
        })
    }

    /// Leaves all syncing to the operating system, at rolls as well. After a power failure, a segment may then be torn
    /// while the next one is not, which is corruption to whoever opens the log.
    #[must_use]
    pub fn without_syncs(mut self) -> Self {
        self.syncs_rolls = false;
        self
    }

    /// The offset that the next record gets, if nobody else appends before.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.active.end.next_offset
    }

    /// What is to be synced, to be shared with whoever syncs.
    #[must_use]
    pub fn pending_sync(&self) -> &Arc<Mutex<PendingSync>> {
        &self.pending
    }

    /// Which folder is written to.
    #[must_use]
    pub fn folder_id(&self) -> FileId {
        self.folder.id()
    }

    /// What was done to the log beside appending, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Appends finished batches, whose base offsets and leader epochs are filled in here: the first of them, and with it
    /// those behind it that go into the same segment. All of these are in the log when this returns, or none: a write
    /// that fails or falls short is cut back.
    ///
    /// # Errors
    /// When a broker has taken the log dir, the partition is gone or corrupt, or the disk fails. The writer then takes
    /// nothing more: what is on disk is for the next opening to find out.
    ///
    /// # Panics
    /// When there is no batch, or one that was built for another limit.
    pub fn append(&mut self, batches: &mut [&mut [u8]], now_ms: i64) -> Result<Appended> {
        let parse = |batch: &&mut [u8]| BatchHeader::parse(batch).expect("a batch to be appended was built here");
        let headers: Vec<BatchHeader> = batches.iter().map(parse).collect();
        let (largest, limit) = (headers.iter().map(|header| header.size).max(), self.config.batch_size_max());
        let largest = largest.expect("there is a batch to append");
        assert!(largest <= limit, "a batch of {largest} bytes was built for a limit of {limit}");
        if self.pending().has_failed() {
            return Err(StorageError::PreviousFailure { path: self.path.clone() });
        }
        let folder = Arc::clone(&self.folder);
        let _lock = FolderLock::take(&folder)?;
        let appended = self.append_locked(batches, &headers, now_ms);
        if appended.is_err() {
            self.pending().note_failure();
        }
        appended
    }

    fn append_locked(&mut self, batches: &mut [&mut [u8]], headers: &[BatchHeader], now_ms: i64) -> Result<Appended> {
        if !self.process_lock.still_guards()? {
            return Err(StorageError::HeldByBroker);
        }
        self.catch_up(now_ms)?;
        if self.active.end.next_offset > Offset::BASE_MAX {
            return Err(self.offsets_used_up());
        }
        let rolled = self.should_roll(&self.empty_plan(-1), &headers[0], now_ms);
        if rolled {
            self.roll(now_ms)?;
        }
        let plan = self.plan(headers, now_ms)?;
        let (base_offset, mut next_offset) = (self.active.end.next_offset, self.active.end.next_offset);
        for (batch, header) in batches.iter_mut().zip(&headers[..plan.count]) {
            batch::stamp(batch, next_offset, self.leader_epoch);
            next_offset = next_offset + i64::from(header.last_offset_delta) + 1;
        }
        if let Err(error) = self.write(&plan, &batches[..plan.count]) {
            // Best effort: if this fails as well, the next writer cuts the tail.
            let _ = self.active.log.file.set_len(self.active.end.size);
            return Err(error);
        }
        self.active.end = plan.end;
        self.appended = true;
        let last_offset = Offset(plan.end.next_offset.0 - 1);
        self.pending().note_append(base_offset, last_offset, plan.cost);
        Ok(Appended { batch_count: plan.count, base_offset, last_offset, rolled })
    }

    fn empty_plan(&self, indexed_timestamp: i64) -> AppendPlan {
        let active = &self.active;
        AppendPlan::new(active.log.base_offset, active.end, self.config.index_interval_bytes, indexed_timestamp)
    }

    /// Plans to append the first batch and those behind it that no roll parts from it.
    fn plan(&mut self, headers: &[BatchHeader], now_ms: i64) -> Result<AppendPlan> {
        let mut indexed_timestamp = -1;
        let before_last: usize = headers[..headers.len() - 1].iter().map(|header| header.size).sum();
        let farthest = self.active.end.size + before_last as u64;
        if farthest - self.active.end.indexed_position > self.config.index_interval_bytes {
            self.settle_indexes(now_ms)?;
            indexed_timestamp = self.active.indexes.time.last()?.map_or(-1, |entry| entry.timestamp);
        }
        let mut plan = self.empty_plan(indexed_timestamp);
        plan.add(&headers[0]);
        for header in &headers[1..] {
            if plan.end.next_offset > Offset::BASE_MAX || self.should_roll(&plan, header, now_ms) {
                break;
            }
            plan.add(header);
        }
        Ok(plan)
    }

    /// Writes the index entries first, so that a full disk stops an append whole. Each batch has a write of its own: with a
    /// MiB at once the kernel looks for page cache in pieces as large, which took up to five times as long where memory was
    /// in use or its host had taken it back.
    fn write(&mut self, plan: &AppendPlan, batches: &[&mut [u8]]) -> Result<()> {
        if !plan.offset_entries.is_empty() {
            self.active.indexes.offset.append_all(&plan.offset_entries)?;
        }
        if !plan.time_entries.is_empty() {
            self.active.indexes.time.append_all(&plan.time_entries)?;
        }
        let mut position = self.active.end.size;
        for batch in batches {
            self.active.log.file.write_at(batch, position)?;
            position += batch.len() as u64;
        }
        Ok(())
    }

    #[cold]
    fn offsets_used_up(&self) -> StorageError {
        let (path, position) = (self.active.log.path.clone(), Position(self.active.end.size));
        let what = "no offset is left for another batch".to_owned();
        StorageError::Unsupported { path, position, offset: self.active.end.next_offset, what }
    }

    /// Brings the indexes in line again where somebody else has changed them and not the log: a writer that was killed
    /// between an entry and its batch, or one that opened with another interval, since the topic was altered.
    fn settle_indexes(&mut self, now_ms: i64) -> Result<()> {
        let indexes = &self.active.indexes;
        if indexes.offset.is_trimmed()? && indexes.time.is_trimmed()? { Ok(()) } else { self.look_again(now_ms) }
    }

    /// Adds the largest timestamp so far, unless it is there. Another process may have added the same entry at the same
    /// place meanwhile (its final one): both are derived from the same batches, so one overwrites the other unharmed.
    fn write_time_entry(&mut self, now_ms: i64) -> Result<()> {
        self.settle_indexes(now_ms)?;
        let largest = self.active.end.largest_timestamp;
        let indexed = self.active.indexes.time.last()?.map_or(-1, |entry| entry.timestamp);
        if largest.0 > indexed {
            self.active.indexes.time.append(&time_entry(self.active.log.base_offset, largest))?;
        }
        Ok(())
    }

    /// Sees that the log is as this writer knows it, or learns what it is now. To be called with the lock held.
    pub(super) fn catch_up(&mut self, now_ms: i64) -> Result<()> {
        let base = self.active.log.base_offset;
        let stat = self.disk.stat(&self.active.log.path)?;
        let same = stat.is_some_and(|stat| stat.id == self.active_id && stat.size == self.active.end.size);
        if same && (self.active.end.next_offset == base || !self.has_successor()?) {
            return Ok(());
        }
        self.look_again(now_ms)
    }

    /// Learns what the log is now.
    fn look_again(&mut self, now_ms: i64) -> Result<()> {
        if self.disk.stat(&self.path)?.map(|stat| stat.id) != Some(self.folder.id()) {
            return Err(StorageError::PartitionDeleted { path: self.path.clone() });
        }
        let (base, end) = (self.active.log.base_offset, self.active.end);
        let stat = self.disk.stat(&self.active.log.path)?;
        let has_only_grown = stat.is_some_and(|stat| stat.id == self.active_id && stat.size >= end.size);
        let grown = has_only_grown.then_some(base);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let opening =
            Opening { disk: &*self.disk, path: &self.path, config: &self.config, checkpoints: &self.checkpoints };
        let active = opening.check_active(end.next_offset, grown, &mut pending, &mut self.notices)?;
        drop(pending);
        let id = active.log.file.stat()?.id;
        if id != self.active_id {
            (self.active_id, self.active_since_ms) = (id, now_ms);
        }
        self.active = active;
        Ok(())
    }

    fn has_successor(&self) -> Result<bool> {
        let path = segment_path(&self.path, self.active.end.next_offset, FileKind::Log);
        Ok(self.disk.stat(&path)?.is_some())
    }

    /// Kafka's four conditions, asked about the batch that comes behind those of `plan`.
    fn should_roll(&self, plan: &AppendPlan, header: &BatchHeader, now_ms: i64) -> bool {
        let (active, end) = (&self.active, &plan.end);
        if end.size == 0 {
            return false;
        }
        let waited_ms = match end.first_batch_timestamp {
            Some(first) if first >= 0 => header.max_timestamp - first,
            _ => now_ms - self.active_since_ms,
        };
        let entries_max = |entry_size: usize| self.config.segment_index_bytes as usize / entry_size;
        let offset_entries = active.indexes.offset.count() + plan.offset_entries.len();
        let time_entries = active.indexes.time.count() + plan.time_entries.len();
        let last_offset = end.next_offset + i64::from(header.last_offset_delta);
        end.size + header.size as u64 > self.config.segment_bytes
            || waited_ms > self.config.segment_ms - self.jitter_ms()
            || offset_entries >= entries_max(OFFSET_INDEX_ENTRY_SIZE)
            || time_entries + 1 >= entries_max(TIME_INDEX_ENTRY_SIZE)
            || last_offset.relative_to(active.log.base_offset).is_none()
    }

    /// The segment's share of `segment.jitter.ms`. Drawn from the base offset, not from chance, so that every process
    /// rolls the segment at the same time.
    fn jitter_ms(&self) -> i64 {
        let bound = self.config.segment_jitter_ms.min(self.config.segment_ms);
        if bound <= 0 {
            return 0;
        }
        let spread =
            (self.active.log.base_offset.0 as u64 ^ self.folder.id().inode).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread % bound as u64) as i64
    }

    /// Closes the active segment and begins the next one at the log end offset. The old segment is durable before the
    /// new one appears: a power failure then leaves no segment behind a torn one.
    fn roll(&mut self, now_ms: i64) -> Result<()> {
        self.write_time_entry(now_ms)?;
        if self.syncs_rolls {
            self.active.log.file.sync()?;
            self.active.indexes.offset.sync()?;
            self.active.indexes.time.sync()?;
        }
        let base = self.active.end.next_offset;
        self.active = create_segment(&*self.disk, &self.path, base)?;
        self.active_id = self.active.log.file.stat()?.id;
        self.active_since_ms = now_ms;
        let file = Arc::clone(&self.active.log.file);
        self.pending().note_segment(base, Some(file));
        Ok(())
    }

    /// Rolls if the active segment holds anything, so that all of the others may go. Used by retention.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub(super) fn roll_for_removal(&mut self, now_ms: i64) -> Result<()> {
        if self.active.end.size > 0 { self.roll(now_ms) } else { Ok(()) }
    }

    /// Does `work` while the partition is locked and known to be the one that was opened.
    pub(super) fn locked<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let folder = Arc::clone(&self.folder);
        let _lock = FolderLock::take(&folder)?;
        if !self.process_lock.still_guards()? {
            return Err(StorageError::HeldByBroker);
        }
        if self.disk.stat(&self.path)?.map(|stat| stat.id) != Some(self.folder.id()) {
            return Err(StorageError::PartitionDeleted { path: self.path.clone() });
        }
        work(self)
    }

    pub(super) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The partition's folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the final time entry of the active segment, as a broker does when it stops. To be called when no more is
    /// appended; without it, nothing is lost but a little time.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn close(&mut self, now_ms: i64) -> Result<()> {
        if !std::mem::take(&mut self.appended) || self.pending().has_failed() {
            return Ok(());
        }
        self.locked(|writer| {
            writer.catch_up(now_ms)?;
            writer.write_time_entry(now_ms)
        })
    }

    fn pending(&self) -> MutexGuard<'_, PendingSync> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest epoch of the partition; where none has begun, epoch 0 begins at the log end.
fn latest_leader_epoch(disk: &dyn Disk, folder: &Path, log_end_offset: Offset) -> Result<i32> {
    let path = folder.join(LEADER_EPOCH_FILE);
    let bytes = atomic::read_small(disk, &path, LEADER_EPOCH_SIZE_MAX)?.unwrap_or_default();
    let epochs =
        LeaderEpochCheckpoint::parse(&bytes).map_err(|error| at_place(error, &path, Position::ZERO, log_end_offset))?;
    if let Some(latest) = epochs.rows.last() {
        return Ok(latest.epoch);
    }
    let first = LeaderEpochCheckpoint { rows: vec![LeaderEpochRow { epoch: 0, start_offset: log_end_offset }] };
    let temporary = folder.join(format!("{LEADER_EPOCH_FILE}.tmp"));
    atomic::replace(disk, &temporary, &path, first.print().as_bytes())?;
    Ok(0)
}

/// Makes the first segment of a partition that has none.
///
/// # Errors
/// When the disk fails.
pub fn create_empty_log(disk: &dyn Disk, folder: &Path, base_offset: Offset) -> Result<()> {
    create_segment(disk, folder, base_offset).map(drop)
}

/// Makes the files of a new, empty segment; the `.log` comes last, since with it the segment exists.
fn create_segment(disk: &dyn Disk, folder: &Path, base_offset: Offset) -> Result<CheckedSegment> {
    for kind in FileKind::ALL {
        match disk.remove_file(&segment_path(folder, base_offset, kind)) {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
    }
    let indexes = Indexes::open(disk, folder, base_offset, Access::Create)?;
    let file = disk.open(&segment_path(folder, base_offset, FileKind::Log), Access::Create)?;
    let log = OpenLog::new(folder, base_offset, file);
    Ok(CheckedSegment { log, indexes, end: SegmentEnd::of_empty(base_offset), bytes_walked: 0 })
}

/// The error of a log whose durable records are nowhere.
#[must_use]
pub fn no_segments(folder: &Path, recovery_point: Offset) -> StorageError {
    StorageError::Corrupt {
        path: folder.to_owned(),
        position: Position::ZERO,
        offset: recovery_point,
        what: format!("there is no segment, and everything below offset {recovery_point} was durable"),
    }
}

/// What it takes to find the end of a log.
struct Opening<'a> {
    disk: &'a dyn Disk,
    path: &'a Path,
    config: &'a LogConfig,
    checkpoints: &'a Checkpoints,
}

impl Opening<'_> {
    /// Checks every segment from the one that holds the recovery point to the last.
    fn check_segments(&self, pending: &mut PendingSync, notices: &mut Vec<Notice>) -> Result<CheckedSegment> {
        let bases = segments::base_offsets(self.disk, self.path)?;
        let believed = self.checkpoints.recovery_point;
        let Some(&last) = bases.last() else {
            if believed > self.checkpoints.log_start_offset {
                return Err(no_segments(self.path, believed));
            }
            return self.begin_at(self.checkpoints.log_start_offset, pending);
        };
        let first = segments::holding(&bases, believed);
        for pair in bases[first..].windows(2) {
            let (base, next) = (pair[0], pair[1]);
            let closed = self.check(base, believed, false).run(notices)?;
            if closed.end.next_offset > next {
                return Err(StorageError::Corrupt {
                    path: closed.log.path,
                    position: Position(closed.end.size),
                    offset: closed.end.next_offset,
                    what: format!("the segment ends behind the base offset {next} of the next one"),
                });
            }
            pending.note_segment(base, Some(closed.log.file));
            pending.note_end(closed.end.next_offset, closed.bytes_walked);
        }
        let active = self.check(last, believed, true).run(notices)?;
        if active.end.next_offset < believed {
            return Err(StorageError::Corrupt {
                path: active.log.path,
                position: Position(active.end.size),
                offset: active.end.next_offset,
                what: format!("the log ends before its recovery point {believed}: durable records are missing"),
            });
        }
        self.settle(active, pending)
    }

    /// Checks the end of the log anew after somebody else has changed it, and notes the segments that were added. The
    /// segment `grown` has done nothing but grow.
    fn check_active(
        &self,
        known: Offset,
        grown: Option<Offset>,
        pending: &mut PendingSync,
        notices: &mut Vec<Notice>,
    ) -> Result<CheckedSegment> {
        let bases = segments::base_offsets(self.disk, self.path)?;
        let Some(&last) = bases.last() else { return self.begin_at(known, pending) };
        let first = segments::holding(&bases, Offset(known.0 - 1));
        for &base in &bases[first..bases.len() - 1] {
            pending.note_segment(base, None);
        }
        let check = Check { has_only_grown: grown == Some(last), ..self.check(last, known, true) };
        self.settle(check.run(notices)?, pending)
    }

    fn check(&self, base_offset: Offset, believed: Offset, is_last: bool) -> Check<'_> {
        Check {
            disk: self.disk,
            folder: self.path,
            base_offset,
            believed,
            has_only_grown: false,
            recovery_point: self.checkpoints.recovery_point,
            is_last,
            index_interval_bytes: self.config.index_interval_bytes,
        }
    }

    /// Takes a checked segment as the active one, unless the log start lies behind its end: then nothing in the log
    /// counts any more and the next offset is the log start, so that no reader ever sees an offset twice.
    fn settle(&self, active: CheckedSegment, pending: &mut PendingSync) -> Result<CheckedSegment> {
        let log_start_offset = self.checkpoints.log_start_offset;
        if active.end.next_offset < log_start_offset {
            return self.begin_at(log_start_offset, pending);
        }
        pending.note_segment(active.log.base_offset, Some(Arc::clone(&active.log.file)));
        pending.note_end(active.end.next_offset, active.bytes_walked);
        Ok(active)
    }

    fn begin_at(&self, base_offset: Offset, pending: &mut PendingSync) -> Result<CheckedSegment> {
        let active = create_segment(self.disk, self.path, base_offset)?;
        pending.note_segment(base_offset, Some(Arc::clone(&active.log.file)));
        pending.note_end(base_offset, 0);
        Ok(active)
    }
}
