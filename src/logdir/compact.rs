//! Compacts a partition: planned and written without a lock, put in place group by group under guards.
//!
//! States that a crash leaves: the files of the compaction, which the next writer removes; a group half swapped, which the
//! next writer, or a broker, finishes or undoes; groups done and a row of `cleaner-offset-checkpoint` that says less: the
//! next compaction goes through them again.

use super::checkpoints::{CheckpointFile, OffsetRows};
use super::{LogDirError, Partition, Result};
use crate::storage::clean::{
    ActiveSegment, Cleanable, Compaction, Counts, Due, Group, Maintenance, Means, Replaced, Watch,
};
use crate::storage::{self, Durability, LogConfig, LogView, LogWriter, Notice, StorageError, SyncFor};
use crate::units::{Offset, Timestamp};
use std::thread;

/// How often a log is read that others change meanwhile.
const ROUNDS_MAX: u32 = 3;

/// How a partition is to be compacted.
#[derive(Debug, Clone)]
pub struct CompactOptions {
    /// The configuration of the topic.
    pub config: LogConfig,
    /// Whatever its configuration says of when.
    pub is_forced: bool,
    /// What becomes of the active segment.
    pub active_segment: ActiveSegment,
    /// Bytes of memory for keys.
    pub memory: u64,
    /// A group of segments that gives back less than so many percent of its bytes is left.
    pub min_gain_percent: u8,
}

/// What a compaction has done, or would do.
#[derive(Debug, Clone)]
pub struct CompactionReport {
    /// What it was about.
    pub cleanable: Cleanable,
    /// What goes.
    pub counts: Counts,
    /// When the first of the tombstones goes that still stay.
    pub tombstones_until: Option<Timestamp>,
    /// Segments and bytes of the log, and what there are of them afterwards.
    pub before: Amount,
    /// About as many where nothing was written.
    pub after: Amount,
    /// Bytes that went to a scratch file for want of memory.
    pub scratch_size: u64,
    /// Whether it was done, would be, or why not.
    pub outcome: Outcome,
}

/// Segments and bytes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Segments.
    pub segments: u64,
    /// Bytes of their logs.
    pub bytes: u64,
}

/// How a compaction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything up to the limit was gone through, or would be.
    Done,
    /// It is not due by its configuration.
    NotDue,
    /// There is nothing before the limit.
    Nothing,
    /// Another process compacts the partition.
    Busy,
    /// Somebody else has changed segments: from this offset on, it is for the next time.
    Changed(Offset),
}

impl Partition {
    /// Finds out what a compaction would do now. Changes nothing.
    ///
    /// # Errors
    /// When the topic was deleted, the log is corrupt, or the disk fails.
    pub fn plan_compaction(
        &self,
        options: &CompactOptions,
        now: Timestamp,
        watch: &mut Watch<'_>,
    ) -> Result<Option<CompactionReport>> {
        let found = self.find_cleanable(Offset(i64::MAX), options, now)?;
        let (view, cleanable, before) = match found {
            Found::Due { view, cleanable, before } => (view, cleanable, before),
            Found::NotDue(report) => return Ok(report),
        };
        let disk = self.log_dir().disk().clone();
        let mut means = Means {
            memory: options.memory,
            open_scratch: &mut || disk.scratch(),
            min_gain_percent: options.min_gain_percent,
        };
        let compaction = Compaction::plan(&view, cleanable, &options.config, now, &mut means, watch)?;
        Ok(compaction.map(|compaction| {
            let written = compaction.groups.iter().filter(|group| group.is_written);
            let after = written.fold(before, |sum, group| after(sum, group, group.bytes_after));
            let counts = compaction.groups.iter().map(|group| compaction.counts(group));
            let counts = counts.fold(Counts::default(), Counts::and);
            report(&compaction, counts, (before, after), Outcome::Done)
        }))
    }

    /// Compacts the partition. What is written is durable before it takes the place of anything.
    ///
    /// # Errors
    /// When the topic was deleted, a broker has the log dir, the log is corrupt, or the disk fails. Each segment is then the
    /// old one, or all of a group of them its new one.
    pub fn compact(
        &self,
        options: &CompactOptions,
        now: Timestamp,
        notices: &mut Vec<Notice>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<CompactionReport>> {
        let found = self.find_cleanable(Offset(i64::MAX), options, now)?;
        let (cleanable, before) = match found {
            Found::Due { cleanable, before, .. } => (cleanable, before),
            Found::NotDue(report) => return Ok(report),
        };
        let guard = self.guard()?;
        let Some(maintenance) = Maintenance::begin(&guard)? else {
            return Ok(Some(undone(cleanable, before, Outcome::Busy)));
        };
        drop(guard);
        let mut rounds = 1..ROUNDS_MAX;
        let done = loop {
            match self.compact_alone(options, now, &maintenance, notices, watch) {
                Err(LogDirError::Storage(StorageError::Changed { .. })) if rounds.next().is_some() => {}
                done => break done,
            }
        };
        let ended = self.guard().and_then(|guard| Ok(maintenance.end(&guard)?));
        let done = done?;
        ended?;
        Ok(done)
    }

    /// As [`Partition::compact`], by the only one who does.
    fn compact_alone(
        &self,
        options: &CompactOptions,
        now: Timestamp,
        maintenance: &Maintenance,
        notices: &mut Vec<Notice>,
        watch: &mut Watch<'_>,
    ) -> Result<Option<CompactionReport>> {
        let durable = self.make_durable(options.active_segment, now, notices)?;
        let options = &CompactOptions { active_segment: ActiveSegment::Stays, ..options.clone() };
        let found = self.find_cleanable(durable, options, now)?;
        let (view, cleanable, before) = match found {
            Found::Due { view, cleanable, before } => (view, cleanable, before),
            Found::NotDue(report) => return Ok(report),
        };
        let scratch = maintenance.scratch();
        let mut means = Means {
            memory: options.memory,
            open_scratch: &mut || Ok(scratch.clone()),
            min_gain_percent: options.min_gain_percent,
        };
        let compaction = Compaction::plan(&view, cleanable, &options.config, now, &mut means, watch)?;
        let Some(compaction) = compaction else { return Ok(None) };
        self.rewrite_all(&compaction, before, watch).map(Some)
    }

    /// Writes the groups that are to be, and keeps where the next compaction begins.
    fn rewrite_all(&self, compaction: &Compaction, before: Amount, watch: &mut Watch<'_>) -> Result<CompactionReport> {
        let (mut left, mut outcome): (Option<Offset>, _) = (None, Outcome::Done);
        let (mut now_is, mut counts) = (before, Counts::default());
        thread::scope(|scope| -> Result<()> {
            for group in &compaction.groups {
                let begins = compaction.first_offset(group);
                if !group.is_written {
                    counts = counts.and(compaction.counts(group));
                    left = left.or(Some(begins).filter(|_| group.is_left()));
                    continue;
                }
                // What goes from later groups may be what hides a record that stays here.
                let Some((bytes, replaced)) = self.rewrite(compaction, group, watch)? else {
                    left = left.or(Some(begins));
                    outcome = Outcome::Changed(begins);
                    break;
                };
                now_is = after(now_is, group, bytes);
                counts = counts.and(compaction.counts(group));
                // While the next group is written; where there is no thread for it, here.
                let _ = thread::Builder::new().spawn_scoped(scope, move || drop(replaced));
            }
            Ok(())
        })?;
        let end = left.map_or(compaction.end(), |left| left.min(compaction.end()));
        self.set_cleaned_to(end)?;
        Ok(report(compaction, counts, (before, now_is), outcome))
    }

    /// Writes one group and puts it in place: returns its bytes, and what it has replaced; `None` where somebody else has
    /// changed a segment.
    fn rewrite(
        &self,
        compaction: &Compaction,
        group: &Group,
        watch: &mut Watch<'_>,
    ) -> Result<Option<(u64, Replaced)>> {
        let guard = self.guard()?;
        let begun = compaction.begin(group, &guard)?;
        let folder = guard.folder().clone();
        drop(guard);
        let ready = compaction.write(group, &*folder, begun, watch)?;
        let guard = self.guard()?;
        Ok(compaction.put_in_place(group, &guard, ready)?.map(|replaced| (ready.bytes(), replaced)))
    }

    /// Makes all of the log durable: a record that goes must not outlive the one that supersedes it. Returns where it ends.
    fn make_durable(&self, active_segment: ActiveSegment, now: Timestamp, notices: &mut Vec<Notice>) -> Result<Offset> {
        let guard = self.guard()?;
        let mut writer = LogWriter::open(&guard, Durability::Synced, now)?;
        if active_segment == ActiveSegment::IsRolled {
            writer.roll_unless_empty(&guard, now)?;
        }
        notices.append(&mut writer.take_notices());
        drop(guard);
        let durable = storage::sync_now(writer.pending_sync(), SyncFor::RecoveryPoint)?;
        self.close(&mut writer, now)?;
        Ok(durable.through)
    }

    /// Finds what can be compacted, of what is durable.
    fn find_cleanable(&self, durable: Offset, options: &CompactOptions, now: Timestamp) -> Result<Found> {
        let view = self.view()?;
        let row = self.cleaner_rows()?.row(self.id());
        let found = Cleanable::find(&view, row, (durable, options.active_segment), &options.config, now)?;
        let Some(cleanable) = found else { return Ok(Found::NotDue(None)) };
        let before = amount_of(&view)?;
        let outcome = if cleanable.is_empty() {
            Outcome::Nothing
        } else if cleanable.due == Due::No && !options.is_forced {
            Outcome::NotDue
        } else {
            return Ok(Found::Due { view, cleanable, before });
        };
        Ok(Found::NotDue(Some(undone(cleanable, before, outcome))))
    }

    /// The offset that the next compaction begins at, by the cleaner's checkpoint file; `None` before the first one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn first_dirty_offset(&self) -> Result<Option<Offset>> {
        Ok(self.cleaner_rows()?.row(self.id()))
    }

    /// The rows of the cleaner's checkpoint file; none of one that is damaged, which a broker does without as well.
    fn cleaner_rows(&self) -> Result<OffsetRows> {
        match self.log_dir().offset_rows(CheckpointFile::Cleaner) {
            Err(LogDirError::DamagedFile { .. }) => Ok(OffsetRows::default()),
            rows => rows,
        }
    }

    /// Keeps where the next compaction begins.
    fn set_cleaned_to(&self, offset: Offset) -> Result<()> {
        let root = self.log_dir().lock_root()?;
        self.check_current()?;
        let mut rows = self.cleaner_rows()?;
        let is_lowered = rows.lower(self.id(), offset);
        if rows.raise(self.id(), offset) || is_lowered {
            rows.write(&**root.folder(), CheckpointFile::Cleaner)?;
        }
        Ok(())
    }

    /// Where the last compaction ended, and how much of what can be compacted has come since.
    ///
    /// # Errors
    /// When the log is corrupt at its end, or the disk fails.
    pub fn cleaned(&self, view: &LogView, config: &LogConfig, now: Timestamp) -> Result<Option<Cleanable>> {
        let row = self.cleaner_rows()?.row(self.id());
        let found = Cleanable::find(view, row, (Offset(i64::MAX), ActiveSegment::Stays), config, now);
        match found {
            Err(StorageError::Corrupt { .. }) => Ok(None),
            found => Ok(found?),
        }
    }
}

/// What can be compacted of a partition.
enum Found {
    Due { view: LogView, cleanable: Cleanable, before: Amount },
    NotDue(Option<CompactionReport>),
}

fn undone(cleanable: Cleanable, before: Amount, outcome: Outcome) -> CompactionReport {
    let counts = Counts::default();
    CompactionReport { cleanable, counts, tombstones_until: None, before, after: before, scratch_size: 0, outcome }
}

fn report(
    compaction: &Compaction,
    counts: Counts,
    (before, after): (Amount, Amount),
    outcome: Outcome,
) -> CompactionReport {
    CompactionReport {
        cleanable: compaction.cleanable.clone(),
        counts,
        tombstones_until: compaction.tombstones_until(),
        before,
        after,
        scratch_size: compaction.scratch_size(),
        outcome,
    }
}

fn amount_of(view: &LogView) -> Result<Amount> {
    let segments = view.segments()?;
    Ok(Amount { segments: segments.len() as u64, bytes: segments.iter().map(|segment| segment.size).sum() })
}

/// What there is once a group has become one segment of so many bytes.
fn after(amount: Amount, group: &Group, bytes: u64) -> Amount {
    Amount {
        segments: amount.segments + 1 - group.segments() as u64,
        bytes: (amount.bytes + bytes).saturating_sub(group.bytes),
    }
}
