//! Appends batches to a partition, beside other processes that do the same.
//!
//! Under the folder's lock, every append first sees that nothing has changed since this writer looked last: the active
//! segment has the same file and size *by name*, and no `<log end offset>.log` stands beside it (a roll by somebody else
//! leaves the old segment's size as it was). If anything differs, the end of the log is checked again; the folder is listed
//! unless the segment has only grown. Then the batches get their offsets and go out, as many as go into one
//! segment.
//!
//! States that a crash can leave, and who mends them:
//! - index entries without their batches (the entries go first, so that a full disk stops an append whole): not used by
//!   readers, replaced by the next writer;
//! - some of the batches, the last of them half written: what is whole is shown and stays, what is not is not shown by
//!   readers and cut by the next writer;
//! - index files without their `.log` (a roll half done): overwritten by the next roll to that offset.

use super::append_plan::AppendPlan;
use super::checkpoints::NamedLog;
use super::config::LogConfig;
use super::durable_end::RunEnd;
use super::file_name::{FileKind, segment_name};
use super::known_end::{self, KnownEnd};
use super::marks::OthersMarks;
use super::opening::Opening;
use super::recovery::Notice;
use super::segment_writer::SegmentWriter;
use super::sync::{Durability, PendingSync};
use super::{PartitionGuard, Result, StorageError, leader_epochs, leftovers, power_failure};
use crate::disk::{FileId, Folder};
use crate::format::batch;
use crate::format::header::{BatchHeader, TimestampType};
use crate::format::index::{OFFSET_INDEX_ENTRY_SIZE, TIME_INDEX_ENTRY_SIZE};
use crate::units::{Offset, Position, Timestamp};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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

/// The one that writes to a partition in this process. Each change is made under a [`PartitionGuard`] of the folder that
/// it was opened on, with the configuration and checkpoints of that guard.
pub struct LogWriter {
    folder: Arc<dyn Folder>,
    /// What appended batches carry.
    leader_epoch: i32,
    active: SegmentWriter,
    active_id: FileId,
    /// When this writer first saw the active segment: what `segment.ms` counts from where no batch has a timestamp.
    active_since: Timestamp,
    pending: Arc<Mutex<PendingSync>>,
    notices: Vec<Notice>,
    /// Whether this writer has appended since the final time entry was written.
    appended: bool,
    /// The mark that it had before its files were given back, which the next one takes the place of.
    former_mark: Option<String>,
    durability: Durability,
    /// The marks of runs that have ended. A run that syncs has written their bytes again when it opened the log, and removes
    /// them when those are durable. One that does not removes them once it has its own mark: see [`LogWriter::mark`].
    left: Vec<String>,
    /// Why nothing more is written: an append that failed after some of its batches had gone out whole.
    failure: Option<StorageError>,
    has_failed: bool,
}

impl LogWriter {
    /// How many file descriptors it holds at most: the folder, the active segment with its two indexes, and the mark.
    pub const DESCRIPTORS_MAX: usize = 5;

    /// Opens the partition and brings its end in order.
    ///
    /// # Errors
    /// When the partition is corrupt, or the disk fails.
    pub fn open(guard: &PartitionGuard, durability: Durability, now: Timestamp) -> Result<Self> {
        let mut notices = Vec::new();
        let snapshots = leftovers::settle(guard, &mut notices)?;
        let others = OthersMarks::find(guard, None)?;
        let rewrite_from = others.from.filter(|_| durability == Durability::Synced);
        let opening = Opening { guard, durability, rewrite_from };
        let (active, mut pending) = match opening.begin(&mut notices) {
            Err(damage) => {
                power_failure::cut(guard, damage, &mut notices)?;
                opening.begin(&mut notices)?
            }
            begun => begun?,
        };
        leftovers::remove_snapshots_above(guard, &snapshots, active.end.next_offset)?;
        let active_id = active.log.file.stat()?.id;
        let leader_epoch = leader_epochs::settle(guard, active.end.next_offset)?;
        if durability == Durability::Unsynced {
            pending.forget_closed();
        }
        Ok(Self {
            folder: Arc::clone(guard.folder()),
            leader_epoch,
            active,
            active_id,
            active_since: now,
            pending: Arc::new(Mutex::new(pending)),
            notices,
            appended: false,
            former_mark: None,
            durability,
            left: others.left,
            failure: None,
            has_failed: false,
        })
    }

    /// Gives the files back, when this writer was closed and is to go on later. What it knows of the log is kept.
    ///
    /// # Panics
    /// When it has failed: such a writer never goes on.
    #[must_use]
    pub fn into_known_end(self) -> KnownEnd {
        let mut pending = self.pending();
        assert!(!self.has_failed && !pending.has_failed(), "a writer that has failed does not go on");
        let indexes = &self.active.indexes;
        KnownEnd {
            base_offset: self.active.log.base_offset,
            id: self.active_id,
            since: self.active_since,
            end: self.active.end,
            entries: (indexes.offset.count(), indexes.time.count()),
            leader_epoch: self.leader_epoch,
            durability: self.durability,
            synced: pending.synced(),
            mark: pending.take_mark().map(|mark| mark.name().to_owned()).or_else(|| self.former_mark.clone()),
        }
    }

    /// Opens the partition again on which a writer gave its files back. Where nobody else has changed the log since, that
    /// costs as much for a large log as for a small one.
    ///
    /// # Errors
    /// When the partition is corrupt, or the disk fails.
    pub fn reopen(known: &KnownEnd, guard: &PartitionGuard, now: Timestamp) -> Result<Self> {
        let durability = known.durability;
        let mut pending = PendingSync::going_on(Arc::clone(guard.folder()), known.synced);
        let mut notices = Vec::new();
        let active = match known.unchanged(guard)? {
            Some(active) => {
                pending.go_on_at(active.log.base_offset, Arc::clone(&active.log.file), active.end.next_offset);
                active
            }
            None => known.find_end(guard, &mut pending, &mut notices)?,
        };
        let active_id = active.log.file.stat()?.id;
        Ok(Self {
            folder: Arc::clone(guard.folder()),
            leader_epoch: known.leader_epoch,
            active,
            active_id,
            active_since: if active_id == known.id { known.since } else { now },
            pending: Arc::new(Mutex::new(pending)),
            notices,
            appended: false,
            former_mark: known.mark.clone(),
            durability,
            left: Vec::new(),
            failure: None,
            has_failed: false,
        })
    }

    /// Refuses to go on where an append or a sync has failed.
    ///
    /// # Errors
    /// What came between the batches of an append and was not told yet; otherwise that there was a failure.
    pub fn check(&mut self) -> Result<()> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if self.has_failed || self.pending().has_failed() {
            return Err(StorageError::PreviousFailure { path: self.folder.path().to_owned() });
        }
        Ok(())
    }

    /// The offset that the next record gets, if nobody else appends before.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.active.end.next_offset
    }

    /// The bytes of the segment that is written to, with what others have appended by now.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub fn active_size(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<u64> {
        self.check()?;
        self.catch_up(guard, now)?;
        Ok(self.active.end.size)
    }

    /// What is to be synced, to be shared with whoever syncs.
    #[must_use]
    pub fn pending_sync(&self) -> &Arc<Mutex<PendingSync>> {
        &self.pending
    }

    /// The folder that is written to.
    #[must_use]
    pub fn folder(&self) -> &Arc<dyn Folder> {
        &self.folder
    }

    /// What was done to the log beside appending, since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Appends finished batches, whose base offsets, leader epochs and, where the topic says so, append times are filled in
    /// here: the first of them, and with it those after it that go into the same segment. Where a write fails or falls
    /// short, the batches that went out whole are in the log and count as appended, since readers may have shown them; the
    /// next call returns the error.
    ///
    /// # Errors
    /// When the partition is corrupt or the disk fails. The writer then takes nothing more: what is on disk is for the
    /// next opening to find out.
    ///
    /// # Panics
    /// When there is no batch, one that was built for another limit, or the guard is of another folder.
    pub fn append(&mut self, guard: &PartitionGuard, batches: &mut [&mut [u8]], now: Timestamp) -> Result<Appended> {
        assert!(guard.folder().id() == self.folder.id(), "the guard is of the folder that is written to");
        let parse = |batch: &&mut [u8]| BatchHeader::parse(batch).expect("a batch to be appended was built here");
        let mut headers: Vec<BatchHeader> = batches.iter().map(parse).collect();
        self.check()?;
        let appended = self.append_to(guard, batches, &mut headers, now);
        self.has_failed |= appended.is_err();
        appended
    }

    fn append_to(
        &mut self,
        guard: &PartitionGuard,
        batches: &mut [&mut [u8]],
        headers: &mut [BatchHeader],
        now: Timestamp,
    ) -> Result<Appended> {
        refuse_large(headers, guard.config())?;
        self.catch_up(guard, now)?;
        if self.active.end.next_offset > Offset::BASE_MAX {
            return Err(self.offsets_used_up());
        }
        let append_time = self.append_time(guard.config(), now);
        if let Some(append_time) = append_time {
            headers.iter_mut().for_each(|header| header.max_timestamp = append_time);
        }
        let rolled =
            self.should_roll(guard.config(), &self.empty_plan(guard.config(), Timestamp::NONE), &headers[0], now);
        if rolled {
            self.roll(guard, now)?;
        }
        let indexed_timestamp = self.indexed_timestamp(guard, headers, now)?;
        let plan = self.plan(guard.config(), headers, indexed_timestamp, now);
        let base_offset = self.active.end.next_offset;
        let mut next_offset = base_offset;
        for (batch, header) in batches.iter_mut().zip(&headers[..plan.count]) {
            if let Some(append_time) = append_time {
                batch::stamp_append_time(batch, append_time);
            }
            batch::stamp(batch, next_offset, self.leader_epoch);
            next_offset = next_offset + i64::from(header.last_offset_delta) + 1;
        }
        self.mark(guard)?;
        let begun = self.active.end;
        let plan = match self.active.write(&plan, &batches[..plan.count]) {
            (_, Ok(())) => plan,
            (0, Err(error)) => return Err(error),
            (count, Err(error)) => {
                (self.failure, self.has_failed) = (Some(error), true);
                let interval = guard.config().index_interval_bytes;
                let mut went = AppendPlan::new(self.active.log.base_offset, begun, interval, indexed_timestamp);
                headers[..count].iter().for_each(|header| went.add(header));
                self.active.keep_first(&went, &plan);
                went
            }
        };
        self.appended = true;
        let last_offset = Offset(plan.end.next_offset.0 - 1);
        match self.durability {
            Durability::Synced => self.pending().note_append(base_offset, last_offset, plan.cost),
            Durability::Unsynced => self.pending().note_end(plan.end.next_offset, plan.cost),
        }
        Ok(Appended { batch_count: plan.count, base_offset, last_offset, rolled })
    }

    /// The timestamp of all records that are appended now, where the topic has it given at the append: the time, but never
    /// one before a timestamp in the active segment. So times do not step back from batch to batch, whatever producer has
    /// waited longer for the lock and whatever the clock does. A timestamp from the future holds no longer than its segment.
    fn append_time(&self, config: &LogConfig, now: Timestamp) -> Option<Timestamp> {
        let is_given_here = config.timestamp_type == TimestampType::LogAppendTime;
        is_given_here.then(|| now.max(self.active.end.largest_timestamp.0))
    }

    /// Sees that this run has its mark before it writes. The mark of a run that never syncs takes the place of those of runs
    /// that have ended, of which there would be one more with every such run.
    ///
    /// That loses nothing. All below the recovery point in force is durable, whatever a mark says, and this mark begins at
    /// that point: it speaks of every byte above it that one of theirs speaks of. It is never moved forward, since this run
    /// syncs nothing, and it goes only when a run that syncs has written again what it speaks of, or when another one like
    /// it has taken its place. A mark of an earlier boot says nothing that the recovery by this run has not found out. Those
    /// that are removed were found with their lock free, which nobody takes again: a live run keeps its mark, but for one
    /// that has given its files back, whose bytes this mark speaks of too.
    ///
    /// A crash leaves this mark and any of theirs; before this one is whole all of theirs, and an unfinished one counts from
    /// offset 0. A power failure may leave any of them, and each is then of an earlier boot.
    fn mark(&mut self, guard: &PartitionGuard) -> Result<()> {
        self.pending().make_mark(guard)?;
        if let Some(former) = self.former_mark.take() {
            guard.remove(&former)?;
        }
        if self.durability == Durability::Unsynced {
            self.left.drain(..).try_for_each(|mark| guard.remove(&mark))?;
        }
        Ok(())
    }

    fn empty_plan(&self, config: &LogConfig, indexed_timestamp: Timestamp) -> AppendPlan {
        let active = &self.active;
        AppendPlan::new(active.log.base_offset, active.end, config.index_interval_bytes, indexed_timestamp)
    }

    /// The timestamp of the last time entry, asked for only where these batches may add one, and otherwise none.
    fn indexed_timestamp(
        &mut self,
        guard: &PartitionGuard,
        headers: &[BatchHeader],
        now: Timestamp,
    ) -> Result<Timestamp> {
        // Up to the end of the last batch, not only where it begins: an entry that a killed writer has left could lead into
        // it, and a value that holds a batch just there would be taken for one of the log's own.
        let size: usize = headers.iter().map(|header| header.size).sum();
        let farthest = self.active.end.size + size as u64;
        if farthest - self.active.end.indexed_position <= guard.config().index_interval_bytes {
            return Ok(Timestamp::NONE);
        }
        self.settle_indexes(guard, now)?;
        Ok(self.active.indexes.time.last()?.map_or(Timestamp::NONE, |entry| entry.timestamp))
    }

    /// Plans to append the first batch and those after it that no roll parts from it.
    fn plan(
        &self,
        config: &LogConfig,
        headers: &[BatchHeader],
        indexed_timestamp: Timestamp,
        now: Timestamp,
    ) -> AppendPlan {
        let mut plan = self.empty_plan(config, indexed_timestamp);
        plan.add(&headers[0]);
        for header in &headers[1..] {
            if plan.end.next_offset > Offset::BASE_MAX || self.should_roll(config, &plan, header, now) {
                break;
            }
            plan.add(header);
        }
        plan
    }

    #[cold]
    fn offsets_used_up(&self) -> StorageError {
        let (path, position) = (self.active.log.path.clone(), Position(self.active.end.size));
        let what = "no offset is left for another batch".to_owned();
        StorageError::Unsupported { path, position, offset: self.active.end.next_offset, what }
    }

    /// Brings the indexes in line again where somebody else has changed them and not the log: a writer that was killed
    /// between an entry and its batch, or one that opened with another interval, since the topic was altered.
    fn settle_indexes(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<()> {
        let indexes = &self.active.indexes;
        if indexes.offset.is_trimmed()? && indexes.time.is_trimmed()? { Ok(()) } else { self.look_again(guard, now) }
    }

    /// Sees that the log is as this writer knows it, or learns what it is now.
    pub(super) fn catch_up(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<()> {
        let base = self.active.log.base_offset;
        let stat = self.folder.stat(self.active.log.name())?;
        let same = stat.is_some_and(|stat| stat.id == self.active_id && stat.size == self.active.end.size);
        if same && (self.active.end.next_offset == base || !self.has_successor()?) {
            return Ok(());
        }
        self.look_again(guard, now)
    }

    /// Learns what the log is now.
    fn look_again(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<()> {
        let end = self.active.end;
        let stat = self.folder.stat(self.active.log.name())?;
        let has_only_grown = stat.is_some_and(|stat| stat.id == self.active_id && stat.size >= end.size);
        let grown = has_only_grown.then(|| self.active.log.clone());
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let opening = Opening { guard, durability: self.durability, rewrite_from: None };
        let notices = &mut self.notices;
        let active = match &grown {
            Some(log) => opening.check_grown(end.next_offset, log, &mut pending, notices)?,
            None => None,
        };
        let active = match active {
            Some(active) => active,
            None => {
                let certain = known_end::certain(self.durability, pending.durable(), end.next_offset);
                let active = opening.check_active(end.next_offset, grown, &mut pending, notices)?;
                known_end::refuse_shorter(guard, active, certain)?
            }
        };
        let former = &self.active.log;
        if active.log.base_offset != former.base_offset {
            // Its handle is the one to learn that what was written through it is not durable.
            if self.durability == Durability::Synced {
                former.file.sync().inspect_err(|_| pending.note_failure())?;
            }
            pending.note_closed(former.base_offset);
        }
        if self.durability == Durability::Unsynced {
            pending.forget_closed();
        }
        drop(pending);
        let id = active.log.file.stat()?.id;
        if id != self.active_id {
            (self.active_id, self.active_since) = (id, now);
        }
        self.active = active;
        Ok(())
    }

    fn has_successor(&self) -> Result<bool> {
        Ok(self.folder.stat(&segment_name(self.active.end.next_offset, FileKind::Log))?.is_some())
    }

    /// Kafka's four conditions, asked about the batch that comes after those of `plan`.
    fn should_roll(&self, config: &LogConfig, plan: &AppendPlan, header: &BatchHeader, now: Timestamp) -> bool {
        let (active, end) = (&self.active, &plan.end);
        if end.size == 0 {
            return false;
        }
        let waited_ms = match end.first_batch_timestamp.and_then(Timestamp::known) {
            Some(first) => header.max_timestamp.since(first),
            None => now.since(self.active_since),
        };
        let entries_max = |entry_size: usize| config.segment_index_bytes as usize / entry_size;
        let offset_entries = active.indexes.offset.count() + plan.offset_entries.len();
        let time_entries = active.indexes.time.count() + plan.time_entries.len();
        let last_offset = end.next_offset + i64::from(header.last_offset_delta);
        end.size + header.size as u64 > config.segment_bytes
            || waited_ms > i128::from(config.segment_ms - self.jitter_ms(config))
            || offset_entries >= entries_max(OFFSET_INDEX_ENTRY_SIZE)
            || time_entries + 1 >= entries_max(TIME_INDEX_ENTRY_SIZE)
            || last_offset.relative_to(active.log.base_offset).is_none()
    }

    /// The segment's share of `segment.jitter.ms`. Drawn from the base offset, not from chance, so that every process
    /// rolls the segment at the same time.
    fn jitter_ms(&self, config: &LogConfig) -> i64 {
        let bound = config.segment_jitter_ms.min(config.segment_ms);
        if bound <= 0 {
            return 0;
        }
        let spread =
            (self.active.log.base_offset.0 as u64 ^ self.folder.id().inode).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (spread % bound as u64) as i64
    }

    /// Closes the active segment and begins the next one at the log end offset. The old segment is durable before the
    /// new one appears: a power failure then leaves no segment behind a torn one.
    fn roll(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<()> {
        self.settle_indexes(guard, now)?;
        self.active.write_time_entry()?;
        if self.durability == Durability::Synced {
            self.active.sync(guard).inspect_err(|_| self.pending().note_failure())?;
        }
        let (closed, base) = (self.active.log.base_offset, self.active.end.next_offset);
        self.active = SegmentWriter::create(guard, base)?;
        self.active_id = self.active.log.file.stat()?.id;
        self.active_since = now;
        let mut pending = self.pending();
        match self.durability {
            Durability::Synced => pending.note_durable(closed),
            Durability::Unsynced => pending.note_closed(closed),
        }
        pending.note_segment(base, Some(Arc::clone(&self.active.log.file)));
        if self.durability == Durability::Unsynced {
            pending.forget_closed();
        }
        Ok(())
    }

    /// Rolls if the active segment holds anything, so that what it holds may be removed or compacted.
    ///
    /// # Errors
    /// As [`LogWriter::append`].
    pub(crate) fn roll_unless_empty(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<()> {
        self.catch_up(guard, now)?;
        if self.active.end.size > 0 { self.roll(guard, now) } else { Ok(()) }
    }

    /// Ends the run: writes the final time entry of the active segment, as a broker does when it stops, and where all that
    /// was appended is durable, removes the marks that said otherwise. Returns what is durable, if this run knows. To be
    /// called after the last sync; without it, the next run checks more than it had to.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn close(&mut self, guard: &PartitionGuard, now: Timestamp) -> Result<Option<RunEnd>> {
        if !self.needs_close() || self.pending().has_failed() {
            return Ok(None);
        }
        if std::mem::take(&mut self.appended) {
            self.catch_up(guard, now)?;
            self.settle_indexes(guard, now)?;
            self.active.write_time_entry()?;
        }
        let mut pending = self.pending();
        let durable = pending.durable().filter(|_| !pending.is_dirty());
        let named_log = NamedLog::of(&*self.active.log.file)?;
        let named_log = Some(named_log).filter(|_| pending.are_names_durable());
        if durable.is_some() {
            pending.remove_mark(guard)?;
            drop(pending);
            self.left.drain(..).try_for_each(|mark| guard.remove(&mark))?;
        }
        Ok(durable.map(|durable| RunEnd { durable, named_log }))
    }

    /// Whether [`LogWriter::close`] has something to do.
    #[must_use]
    pub fn needs_close(&self) -> bool {
        self.appended || !self.left.is_empty() || self.pending().mark().is_some()
    }

    /// The leader epoch of what is appended.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    fn pending(&self) -> MutexGuard<'_, PendingSync> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A batch that was built for other limits than are in force now.
fn refuse_large(headers: &[BatchHeader], config: &LogConfig) -> Result<()> {
    let limit = config.batch_size_max();
    match headers.iter().map(|header| header.size).max() {
        Some(size) if size > limit => Err(StorageError::BatchTooLarge { size, limit }),
        _ => Ok(()),
    }
}

/// Makes the first segment of a partition that has none.
///
/// # Errors
/// When the disk fails.
pub fn create_empty_log(guard: &PartitionGuard, base_offset: Offset) -> Result<()> {
    SegmentWriter::create(guard, base_offset).map(drop)
}
