//! Checks partitions: every batch checksum, every record inside, the order of offsets, the bounds of segments, leader
//! epochs, and every index entry against the log. Reads only.
//!
//! The end of each log is fixed first, so that a log in use is judged by what was there when the check began: what is
//! appended later is not looked at, and a segment that retention or a broker's cleaner takes away meanwhile is left out.
//! Then the segments are cut into units at entries of their offset indexes, which the workers take one by one. A segment
//! in which anything was found is walked a second time, from its file as it is named by then: what a writer or a cleaner
//! was just changing is not reported.
//!
//! Gaps between offsets are legal in a log that was compacted, and only there. Whether it was is known from its
//! configuration and checkpoint, or seen: a batch that has lost records. Where neither says anything, a gap is a note.
//!
//! Each finding has a [`Severity`], and rests on what is on the disk: the batches beside it, a checkpoint file, an index. What
//! index entries alone say is never a reason to call records lost: after a crash they can be ahead of the log.

mod entries;
mod finding;
mod hidden;
mod loss;
mod meaning;
mod names;
mod order;
mod originals;
mod overlap;
mod survey;
mod walk;

pub use finding::{Acknowledgement, Finding, Owner, Problem, Severity};
pub use loss::{Loss, Overlap};

use super::lookup::Indexes;
use super::record_buffer::RecordBuffer;
use super::{Checkpoints, LogView, OpenTransaction, Result, StorageError, segments};
use crate::disk::Folder;
use crate::units::{Offset, Timestamp};
use std::iter;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use survey::Survey;
use walk::{Frame, Unit, Walk, Walked};

/// Kafka's default of `transaction.max.timeout.ms`: a broker that runs aborts what is open for longer.
const TRANSACTION_TIMEOUT_MAX_MS: i64 = 900_000;

/// A partition to be checked.
#[derive(Clone)]
pub struct Subject {
    /// The log dir, and the name of the partition's folder in it. It is opened when it is read: there may be more partitions
    /// than a process has descriptors.
    pub root: Arc<dyn Folder>,
    /// See there.
    pub folder_name: String,
    /// From the checkpoint files.
    pub checkpoints: Checkpoints,
    /// The most plain bytes that are taken out of one batch.
    pub decompressed_size_max: usize,
    /// What offsets that are missing in the middle mean.
    pub gaps: Gaps,
    /// How whoever wrote the log last acknowledged records.
    pub acknowledgement: Acknowledgement,
}

/// What offsets that no batch has mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gaps {
    /// The topic is compacted, or was.
    Legal,
    /// The log was never compacted: the records are lost.
    Loss,
    /// Nothing says whether the log was compacted.
    Unexplained,
}

impl Subject {
    /// The folder; `None` where there is none.
    fn folder(&self) -> Result<Option<Arc<dyn Folder>>> {
        match self.root.open_folder(&self.folder_name) {
            Ok(folder) => Ok(Some(folder)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// In the order of the log.
    pub findings: Vec<Finding>,
    /// Segments that were read.
    pub segments: u64,
    /// Bytes of their `.log` files.
    pub bytes: u64,
    /// Batches with a right checksum.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
}

impl Checked {
    /// Adds what was found elsewhere.
    pub fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.segments += other.segments;
        self.bytes += other.bytes;
        self.batches += other.batches;
        self.records += other.records;
    }
}

/// Partitions whose log ends are fixed, ready to be checked.
pub struct Verification {
    surveys: Vec<Survey>,
    bytes: u64,
    pauses: Pauses,
}

/// So often at most, in all partitions together, a segment is given time before it is walked again.
const PAUSES_MAX: u32 = 100;

/// Pauses that are left.
struct Pauses {
    pause: fn(),
    left: u32,
}

impl Pauses {
    fn take(&mut self) {
        if let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            (self.pause)();
        }
    }
}

impl Verification {
    /// Fixes the log ends of all `subjects`. A batch that looks half written, and a folder in which something looks wrong, is
    /// looked at again after each `pause`, twenty times, before that counts.
    ///
    /// # Errors
    /// Never for what is wrong with a partition, which becomes a finding; when the disk fails otherwise.
    pub fn begin(subjects: Vec<Subject>, pause: fn()) -> Result<Self> {
        let mut surveys: Vec<Survey> =
            subjects.into_iter().map(|subject| Survey::take(subject, pause)).collect::<Result<_>>()?;
        for _ in 0..survey::LOOKS {
            if surveys.iter().all(|survey| survey.suspicions.is_empty()) {
                break;
            }
            pause();
            let mut suspect = surveys.iter_mut().filter(|survey| !survey.suspicions.is_empty());
            suspect.try_for_each(Survey::look_again)?;
        }
        for survey in &mut surveys {
            survey.findings.extend(survey.suspicions.drain(..).map(|it| it.finding));
        }
        let bytes = surveys.iter().flat_map(|survey| &survey.units).map(|unit| unit.end - unit.start).sum();
        Ok(Self { surveys, bytes, pauses: Pauses { pause, left: PAUSES_MAX } })
    }

    /// The same, with notes on what only the time of the check shows: timestamps in the future, and transactions that have been
    /// open for long.
    #[must_use]
    pub fn as_of(mut self, now: Timestamp) -> Self {
        self.surveys.iter_mut().for_each(|survey| survey.now = Some(now));
        self
    }

    /// How many bytes of `.log` files there are to be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Checks them on so many threads. `on_progress` hears of bytes that were read. Returns one for each subject, in
    /// their order.
    ///
    /// # Errors
    /// When the disk fails in other ways than by refusing to read a file of a partition.
    pub fn run(self, threads: usize, on_progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Checked>> {
        let place =
            |(at, survey): (usize, &Survey)| (0..survey.units.len()).map(move |unit| (at, unit)).collect::<Vec<_>>();
        let jobs: Vec<(usize, usize)> = self.surveys.iter().enumerate().flat_map(place).collect();
        let next = AtomicUsize::new(0);
        let walked = Mutex::new(jobs.iter().map(|_| None).collect::<Vec<_>>());
        let work = || {
            let mut buffer = RecordBuffer::default();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&(survey, unit)) = jobs.get(at) else { break };
                let survey = &self.surveys[survey];
                let outcome = walk(survey, &survey.units[unit], on_progress, &mut buffer);
                walked.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(outcome);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads.min(jobs.len()) {
                // Without another thread to be had, those that there are do it.
                if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                    break;
                }
            }
            work();
        });
        let mut walked = walked.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten();
        let (mut checked, mut pauses) = (Vec::with_capacity(self.surveys.len()), self.pauses);
        for survey in self.surveys {
            let outcomes = walked.by_ref().take(survey.units.len()).collect::<Result<Vec<_>>>()?;
            checked.push(conclude(survey, outcomes, &mut pauses)?);
        }
        Ok(checked)
    }
}

/// What became of a unit.
enum Outcome {
    Walked(Box<Walked>),
    /// Its segment was removed meanwhile.
    Gone,
    /// The disk does not give it.
    Unreadable(Finding),
}

fn walk(
    survey: &Survey,
    unit: &Unit,
    on_progress: &(dyn Fn(u64) + Sync),
    buffer: &mut RecordBuffer,
) -> Result<Outcome> {
    let mut walked = || {
        let folder = survey.subject.folder()?.filter(|folder| Some(folder.id()) == survey.folder_id);
        let Some(folder) = folder else { return Ok(Outcome::Gone) };
        let Some(log) = segments::open_log(&*folder, unit.base_offset)? else { return Ok(Outcome::Gone) };
        let unreadable = survey.unreadable_indexes_of(unit.base_offset);
        let indexes = Indexes::open_readable(&*folder, unit.base_offset, &unreadable)?;
        let Subject { acknowledgement, decompressed_size_max, gaps, .. } = survey.subject;
        let checkpoints = survey.subject.checkpoints;
        let epochs = &survey.epochs;
        let now = survey.now;
        let frame = Frame { epochs, gaps, checkpoints, acknowledgement, decompressed_size_max, now, on_progress };
        Ok(Outcome::Walked(Box::new(Walk::new(log, &indexes, unit, frame, buffer)?.run()?)))
    };
    match walked() {
        Err(StorageError::Disk(error)) => Ok(Outcome::Unreadable(survey::unreadable(error))),
        outcome => outcome,
    }
}

/// Puts together what the units of a partition have shown.
fn conclude(survey: Survey, outcomes: Vec<Outcome>, pauses: &mut Pauses) -> Result<Checked> {
    let mut conclusion = Conclusion::new(&survey, &outcomes);
    let mut outcomes = outcomes.into_iter();
    for units in survey.units.chunk_by(|one, other| one.base_offset == other.base_offset) {
        let outcomes: Vec<Outcome> = outcomes.by_ref().take(units.len()).collect();
        conclusion.take_segment(units, outcomes, pauses)?;
    }
    Ok(conclusion.end())
}

/// What the segments of a partition have shown so far.
struct Conclusion<'a> {
    survey: &'a Survey,
    gaps_are_legal: bool,
    checked: Checked,
    gaps: Vec<Finding>,
    /// Whether there are some within a segment.
    is_gap_within: bool,
    future: Option<Finding>,
    is_transactional: bool,
}

impl<'a> Conclusion<'a> {
    fn new(survey: &'a Survey, outcomes: &[Outcome]) -> Self {
        let is_compacted = outcomes.iter().any(|it| matches!(it, Outcome::Walked(walked) if walked.is_compacted));
        Self {
            survey,
            gaps_are_legal: survey.subject.gaps == Gaps::Legal || is_compacted,
            checked: Checked { findings: survey.findings.clone(), ..Checked::default() },
            gaps: Vec::new(),
            is_gap_within: false,
            future: None,
            is_transactional: false,
        }
    }

    fn take_segment(&mut self, units: &[Unit], mut outcomes: Vec<Outcome>, pauses: &mut Pauses) -> Result<()> {
        if is_suspect(&outcomes, self.gaps_are_legal) {
            outcomes = vec![match walk_again(self.survey, units, self.gaps_are_legal, pauses) {
                Err(StorageError::Disk(error)) => Outcome::Unreadable(survey::unreadable(error)),
                outcome => outcome?,
            }];
        }
        self.checked.segments += 1;
        self.checked.bytes += units.iter().map(|unit| unit.end - unit.start).sum::<u64>();
        for outcome in outcomes {
            match outcome {
                Outcome::Gone => {}
                Outcome::Unreadable(finding) => self.checked.findings.push(finding),
                Outcome::Walked(walked) => self.take_walked(units[0].base_offset, *walked)?,
            }
        }
        Ok(())
    }

    fn take_walked(&mut self, base: Offset, mut walked: Walked) -> Result<()> {
        self.checked.batches += walked.batches;
        self.checked.records += walked.records;
        // Each segment finds the same of a file that they share.
        let is_known = |it: &Finding, known: &[Finding]| {
            it.position.is_none() && known.iter().any(|known| known.path == it.path && it.offset.is_none())
        };
        walked.findings.retain(|it| !is_known(it, &self.checked.findings));
        for finding in walked.findings {
            match finding.problem {
                Problem::OverlappingSegments { .. } => match self.overlap(base, finding) {
                    Err(StorageError::Disk(error)) => self.checked.findings.push(survey::unreadable(error)),
                    found => self.checked.findings.extend(found?),
                },
                _ => self.checked.findings.push(finding),
            }
        }
        self.checked.findings.extend(walked.log_end.and_then(|end| self.survey.check_bounds(&end)));
        self.is_gap_within |= !walked.gaps.is_empty();
        self.is_transactional |= walked.is_transactional;
        self.future = self.future.take().or(walked.future);
        self.gaps.extend(walked.gaps.into_iter().chain(walked.gap_behind));
        Ok(())
    }

    /// An overlap with what is given up for it and what it hides; nothing where the segments are no longer beside each other.
    fn overlap(&self, base: Offset, mut finding: Finding) -> Result<Vec<Finding>> {
        let Problem::OverlappingSegments { base_offset: next, .. } = finding.problem else { return Ok(vec![finding]) };
        let Some(folder) = self.survey.subject.folder()? else { return Ok(Vec::new()) };
        overlap::weigh(&*folder, &mut finding, base, self.survey.subject.checkpoints.acknowledged())?;
        let hidden = hidden::find(&*folder, base, next)?;
        Ok(hidden.map_or(Vec::new(), |hidden| iter::once(finding).chain(hidden).collect()))
    }

    fn end(mut self) -> Checked {
        let (survey, gaps_are_legal) = (self.survey, self.gaps_are_legal);
        let log_start_offset = survey.subject.checkpoints.log_start_offset;
        self.gaps.retain(|gap| match gap.problem {
            Problem::MissingOffsets { next_offset } => !gaps_are_legal && next_offset > log_start_offset,
            _ => !gaps_are_legal,
        });
        // A cleaner leaves gaps between batches; where there are none but between segments, segments are missing.
        if survey.subject.gaps == Gaps::Unexplained && self.is_gap_within {
            self.gaps = together(self.gaps);
        }
        self.checked.findings.extend(self.gaps);
        self.checked.findings.extend(self.future);
        if self.is_transactional {
            self.checked.findings.extend(hanging_transactions(survey));
        }
        self.checked
    }
}

/// Transactions that have been open for longer than a broker lets them. What keeps the log from being read is a finding of its
/// own.
fn hanging_transactions(survey: &Survey) -> Vec<Finding> {
    let (Some(now), Ok(Some(folder))) = (survey.now, survey.subject.folder()) else { return Vec::new() };
    let path = folder.path().to_owned();
    let open = LogView::of(folder, survey.subject.checkpoints).and_then(|view| view.open_transactions());
    let mut hanging = Vec::new();
    for OpenTransaction { producer_id, offset, since } in open.unwrap_or_default() {
        let age_ms = since.map(|since| i64::try_from(now.since(since)).unwrap_or(i64::MAX));
        if age_ms.is_none_or(|age_ms| age_ms > TRANSACTION_TIMEOUT_MAX_MS) {
            let problem = Problem::OpenTransaction { producer_id, age_ms };
            hanging.push(Finding { path: path.clone(), position: None, offset: Some(offset), problem });
        }
    }
    hanging
}

/// One finding for gaps that nothing explains.
fn together(gaps: Vec<Finding>) -> Vec<Finding> {
    let count = gaps.len() as u64;
    let note = |gap: Finding| match gap.problem {
        Problem::MissingOffsets { next_offset } => Finding { problem: Problem::Gaps { count, next_offset }, ..gap },
        _ => gap,
    };
    gaps.into_iter().take(1).map(note).collect()
}

/// Whether a segment has to be walked again, in one piece.
fn is_suspect(outcomes: &[Outcome], gaps_are_legal: bool) -> bool {
    let mut largest_timestamp = Timestamp::NONE;
    outcomes.iter().any(|outcome| match outcome {
        Outcome::Walked(walked) => {
            let falls = walked.first_time_entry.is_some_and(|(_, timestamp)| timestamp < largest_timestamp);
            largest_timestamp = largest_timestamp.max(walked.largest_timestamp);
            falls
                || !walked.findings.is_empty()
                || !walked.ends_in_place
                || !(gaps_are_legal || (walked.gaps.is_empty() && walked.gap_behind.is_none()))
        }
        Outcome::Gone | Outcome::Unreadable(_) => false,
    })
}

/// Walks a segment in which something was found once more, as it is named now, and again while its files are being replaced.
/// Where some are about to be, what is found counts once nothing has changed for a while.
fn walk_again(survey: &Survey, units: &[Unit], gaps_are_legal: bool, pauses: &mut Pauses) -> Result<Outcome> {
    let mut looks = 0;
    loop {
        let Some((files, unit)) = survey.as_named(units)? else { return Ok(Outcome::Gone) };
        let outcome = walk(survey, &unit, &|_| {}, &mut RecordBuffer::default())?;
        if !is_suspect(std::slice::from_ref(&outcome), gaps_are_legal) {
            return Ok(outcome);
        }
        let quiet = if files.may_be_changing() { survey::LOOKS / 2 } else { 1 };
        let mut is_unchanged = true;
        for _ in 0..quiet {
            pauses.take();
            is_unchanged &= survey.files(unit.base_offset)?.as_ref() == Some(&files);
        }
        looks += 1;
        if is_unchanged || looks == survey::LOOKS {
            return Ok(outcome);
        }
    }
}
