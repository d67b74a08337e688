//! Walks a stretch of one segment, batch by batch and record by record.
//!
//! A checksum leaves out base offset and leader epoch, so these are held against the batches beside it ([`Order`]) and
//! against `leader-epoch-checkpoint`.

use super::Gaps;
use super::entries::{self, OffsetEntries, TimeEntries};
use super::finding::{Acknowledgement, Finding, Problem};
use super::loss::Loss;
use super::order::{Disorder, Order, Placed};
use super::originals::Originals;
use super::overlap;
use crate::format::FormatError;
use crate::format::checkpoint::LeaderEpochRow;
use crate::format::compression::Codec;
use crate::format::header::{BatchHeader, MAGIC_V2, NoBatch};
use crate::format::record_cursor::RecordCursor;
use crate::storage::leader_epochs::LEADER_EPOCH_FILE;
use crate::storage::lookup::Indexes;
use crate::storage::record_buffer::RecordBuffer;
use crate::storage::scan::{self, Scanner, Step};
use crate::storage::segments::OpenLog;
use crate::storage::tail::{self, KnownZeros, Place, Tail};
use crate::storage::{Checkpoints, Result};
use crate::units::{Offset, Position, Timestamp};
use std::mem;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Bytes read at a time: what fits a core's cache is copied and checked without a second trip to memory.
const CHUNK: usize = 256 << 10;
/// How many bytes pass between two words of progress.
const PROGRESS_STEP: u64 = 1 << 20;

/// A stretch of a segment: from one batch to the beginning of another, or to the end.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) base_offset: Offset,
    pub(super) start: Position,
    pub(super) end: Position,
    /// The offset with which the first batch must begin, gaps aside.
    pub(super) expected: Offset,
    /// The offset with which what follows begins; `None` at the end of the log.
    pub(super) followed_by: Option<Offset>,
    pub(super) ends_segment: bool,
    pub(super) offset_entries: Range<usize>,
    pub(super) time_entries: Range<usize>,
    /// The highest leader epoch of the first batches of the segments before, as far as `leader-epoch-checkpoint` has them; -1
    /// where there are none.
    pub(super) epoch_reached: i32,
    /// Whether look-ups go by the last entry of the segment's time index: it is closed, below the recovery point.
    pub(super) is_believed: bool,
}

/// The last time entry of a segment where look-ups believe it, for all that lies before the last entry of the offset index.
#[derive(Debug, Clone, Copy)]
struct Believed {
    before: Position,
    timestamp: Timestamp,
}

impl Believed {
    /// By the indexes that the walk has opened: those of an earlier look may be another file's by now.
    fn of(indexes: &Indexes) -> Result<Option<Self>> {
        let (offset, time) = (indexes.offset.last()?, indexes.time.last()?);
        Ok(offset.zip(time).map(|(offset, time)| Self { before: offset.position, timestamp: time.timestamp }))
    }
}

/// What does not change from unit to unit of a partition.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) epochs: &'a [LeaderEpochRow],
    pub(super) gaps: Gaps,
    pub(super) checkpoints: Checkpoints,
    pub(super) acknowledgement: Acknowledgement,
    pub(super) decompressed_size_max: usize,
    pub(super) now: Option<Timestamp>,
    pub(super) on_progress: &'a (dyn Fn(u64) + Sync),
}

/// The end of a log.
#[derive(Debug)]
pub(super) struct LogEndFound {
    pub(super) path: PathBuf,
    pub(super) position: Position,
    pub(super) offset: Offset,
}

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) findings: Vec<Finding>,
    /// Offsets that no batch has, which is legal if the log was compacted: between batches, and between the last batch and the
    /// segment that follows.
    pub(super) gaps: Vec<Finding>,
    pub(super) gap_behind: Option<Finding>,
    /// Where the log ends, unless it ends in damage.
    pub(super) log_end: Option<LogEndFound>,
    /// Whether a batch shows that the log was compacted: it has lost records.
    pub(super) is_compacted: bool,
    /// The first batch with a timestamp far in the future.
    pub(super) future: Option<Finding>,
    /// Whether a batch is part of a transaction.
    pub(super) is_transactional: bool,
    /// Whether the walk ended where its unit does: if not, the next one began at a wrong place.
    pub(super) ends_in_place: bool,
    pub(super) largest_timestamp: Timestamp,
    /// The same of the batches for which a time entry is [believed](Unit::is_believed), if there are any.
    pub(super) largest_not_asked: Timestamp,
    /// Number and timestamp of the first time entry.
    pub(super) first_time_entry: Option<(usize, Timestamp)>,
    pub(super) batches: u64,
    pub(super) records: u64,
}

pub(super) struct Walk<'a> {
    frame: Frame<'a>,
    unit: &'a Unit,
    scanner: Scanner,
    buffer: &'a mut RecordBuffer,
    offsets: OffsetEntries<'a>,
    times: TimeEntries<'a>,
    order: Order,
    /// Batches whose leader epoch is not that of `leader-epoch-checkpoint`, each with its number in the unit; without a finding
    /// where their place is in doubt.
    wrong_epochs: Vec<(u64, Option<Finding>)>,
    /// The first batch that no index entry can name.
    out_of_reach: Option<Finding>,
    walked: Walked,
    believed: Option<Believed>,
}

/// Whether the records of a batch are not compressed.
fn is_plain(header: &BatchHeader) -> bool {
    matches!(header.attributes.codec(), Ok(Codec::None))
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        log: OpenLog,
        indexes: &'a Indexes,
        unit: &'a Unit,
        frame: Frame<'a>,
        buffer: &'a mut RecordBuffer,
    ) -> Result<Self> {
        let base = unit.base_offset;
        Ok(Self {
            frame,
            unit,
            believed: if unit.is_believed { Believed::of(indexes)? } else { None },
            scanner: Scanner::new(log, unit.start, CHUNK)?,
            buffer,
            offsets: OffsetEntries::new(&indexes.offset, unit.offset_entries.clone(), base),
            times: TimeEntries::new(&indexes.time, unit.time_entries.clone(), base),
            order: Order::new(unit.expected, frame.gaps),
            wrong_epochs: Vec::new(),
            out_of_reach: None,
            walked: Walked { largest_not_asked: Timestamp::NONE, ..Walked::default() },
        })
    }

    pub(super) fn run(mut self) -> Result<Walked> {
        let mut told = self.scanner.position();
        while self.scanner.position() < self.unit.end {
            match self.scanner.peek()? {
                Step::Batch(header) if self.scanner.checksum_matches(&header)? => self.batch(&header)?,
                Step::Batch(_) => self.damage(self.scanner.checksum_error())?,
                Step::Bad(problem) => self.damage(problem)?,
                // Cut while it was read: there is no more to be looked at.
                Step::End => break,
            }
            let position = self.scanner.position();
            if position - told >= PROGRESS_STEP || position >= self.unit.end {
                (self.frame.on_progress)(position.min(self.unit.end) - told.min(self.unit.end));
                told = position;
            }
        }
        self.finish()
    }

    fn path(&self) -> &Path {
        &self.scanner.log().path
    }

    fn finding(&self, position: Position, offset: Offset, problem: Problem) -> Finding {
        Finding { path: self.path().to_owned(), position: Some(position), offset: Some(offset), problem }
    }

    fn batch(&mut self, stored: &BatchHeader) -> Result<()> {
        let position = self.scanner.position();
        self.scanner.load(stored)?;
        let header = match self.look_inside(stored) {
            Ok(header) => header,
            Err(error) => {
                let (what, end) = (error.to_string(), position + stored.size as u64);
                let is_damaged = matches!(error, FormatError::Corrupt { .. });
                let problem = if is_damaged {
                    Problem::DamagedBatch { end, next_offset: stored.next_offset(), what }
                } else {
                    Problem::UnsupportedBatch { what }
                };
                self.walked.findings.push(self.finding(position, stored.base_offset, problem));
                if is_damaged { *stored } else { self.at_expected(stored) }
            }
        };
        if stored.magic == 0 && !is_plain(stored) && header.last_offset() != stored.last_offset() {
            // The messages inside have offsets of their own, which the checksum covers.
            let problem = Problem::WrongBaseOffset { claimed: stored.base_offset };
            self.walked.findings.push(self.finding(position, header.last_offset(), problem));
        }
        let (end, span) = (position + stored.size as u64, i64::from(header.last_offset_delta) + 1);
        let moves_records = header.magic == MAGIC_V2 || is_plain(stored);
        self.order.place(Placed { position, end, base: header.base_offset, span, moves_records });
        self.epoch(position, &header);
        self.offsets.batch(position, stored)?;
        self.times.batch(stored)?;
        if self.believed.is_some_and(|believed| position < believed.before) {
            self.walked.largest_not_asked = self.walked.largest_not_asked.max(stored.max_timestamp);
        }
        if self.out_of_reach.is_none() && header.last_offset().relative_to(self.unit.base_offset).is_none() {
            self.out_of_reach = Some(self.finding(position, header.base_offset, Problem::OffsetsOutOfReach));
        }
        self.note_times(position, stored);
        self.walked.is_transactional |= stored.attributes.is_transactional();
        self.walked.batches += 1;
        self.scanner.pass(stored);
        Ok(())
    }

    fn note_times(&mut self, position: Position, stored: &BatchHeader) {
        let timestamp = stored.max_timestamp;
        if self.walked.future.is_none() && self.frame.now.is_some_and(|now| timestamp.is_far_ahead_of(now)) {
            let problem = Problem::FutureTimestamp { timestamp };
            self.walked.future = Some(self.finding(position, stored.base_offset, problem));
        }
    }

    /// The header of a batch that is sound and was not opened. A compressed message of an old format tells only its last
    /// offset: it is taken to begin where it must.
    fn at_expected(&self, stored: &BatchHeader) -> BatchHeader {
        let base_offset = self.order.next();
        match i32::try_from(stored.last_offset() - base_offset) {
            Ok(last_offset_delta @ 0..) if stored.magic != MAGIC_V2 => {
                BatchHeader { base_offset, last_offset_delta, ..*stored }
            }
            _ => *stored,
        }
    }

    /// Steps through the records. Returns the header by which their offsets go.
    fn look_inside(&mut self, stored: &BatchHeader) -> std::result::Result<BatchHeader, FormatError> {
        let batch = self.scanner.loaded(stored);
        let header = self.buffer.load(stored, batch, self.frame.decompressed_size_max)?;
        let records = self.buffer.records(batch);
        if header.record_count > 0 && header.record_count - 1 != header.last_offset_delta {
            self.walked.is_compacted = true;
        }
        RecordCursor::new(&header).check_rest(records)?;
        self.walked.records += u64::from(header.record_count.unsigned_abs());
        Ok(header)
    }

    fn epoch(&mut self, position: Position, header: &BatchHeader) {
        let epochs = self.frame.epochs;
        let began = epochs.partition_point(|row| row.start_offset <= header.base_offset);
        if header.magic == MAGIC_V2
            && let Some(row) = began.checked_sub(1).map(|last| epochs[last])
            && row.epoch != header.leader_epoch
        {
            let problem = Problem::WrongLeaderEpoch { claimed: header.leader_epoch, right: row.epoch };
            let finding = self.finding(position, header.base_offset, problem);
            self.wrong_epochs.push((self.walked.batches, Some(finding)));
        }
    }

    /// Passes bytes that are no valid batch.
    #[cold]
    fn damage(&mut self, problem: NoBatch) -> Result<()> {
        let (position, checkpoints) = (self.scanner.position(), self.frame.checkpoints);
        let is_log_end = self.unit.ends_segment && self.unit.followed_by.is_none();
        // By the same rules as recovery: a last batch past a gap is as good as any, unless something contradicts it.
        let is_after_gap = self.scanner.passed_after_gap().is_some_and(|batch| batch.from == self.order.decided());
        let may_be_torn = is_log_end
            && (self.order.is_decided() || is_after_gap)
            && self.order.next() >= checkpoints.acknowledged()
            && !self.scanner.has_gap_over_end(&checkpoints)
            && !matches!(problem, NoBatch::Unknown { .. });
        // What is not decided may claim offsets far above those that follow.
        let decided = self.order.decided();
        let expected = if may_be_torn { self.scanner.proven() } else { decided };
        let mut what = scan::described(problem).to_string();
        let size = self.scanner.size();
        let reached = self.scanner.expected();
        let place = Place { log: self.scanner.log(), position, expected, reached, size };
        let (next, is_torn) = if may_be_torn {
            match tail::judge(&place, &mut KnownZeros::default())? {
                Tail::Zeros | Tail::Torn => (None, true),
                Tail::Damaged { next } => (Some(next), false),
                Tail::Undecided => {
                    what.push_str("; whether batches follow takes too long to find out");
                    (None, false)
                }
            }
        } else {
            (tail::next_batch(&place)?, false)
        };
        if next.is_some_and(|(next, _)| next == position) {
            // It has been written since it was read.
            return self.scanner.refresh().map(drop);
        }
        let end = next.map_or(Position(size), |(next, _)| next);
        let next_offset = match next {
            Some((_, header)) => Some(header.base_offset),
            None => self.unit.followed_by.filter(|_| self.unit.ends_segment),
        };
        let offset = if is_torn { self.order.next() } else { decided };
        self.order.pass_damage(self.walked.findings.len());
        // By now the batches before it are decided on.
        let from = self.order.decided();
        let next_offset = next_offset.unwrap_or(checkpoints.acknowledged().max(from)).max(decided);
        let (offset, problem) = if is_torn {
            (offset, Problem::TornTail { bytes: end - position, what, acknowledgement: self.frame.acknowledgement })
        } else {
            (if from <= next_offset { from } else { offset }, Problem::DamagedBatch { end, next_offset, what })
        };
        self.walked.findings.push(self.finding(position, offset, problem));
        self.offsets.skip_below(end)?;
        self.times.skip_below(if is_torn { offset } else { next_offset.max(offset) })?;
        self.scanner.go_to(end, self.unit.base_offset);
        Ok(())
    }

    fn finish(mut self) -> Result<Walked> {
        let position = self.scanner.position();
        let is_log_end = self.unit.ends_segment && self.unit.followed_by.is_none();
        self.walked.ends_in_place = position == self.unit.end;
        let followed_by = self.unit.followed_by.filter(|_| self.walked.ends_in_place);
        let expected = self.tell_order(followed_by)?;
        self.tell_epochs();
        self.tell_out_of_reach();
        if let Some(next) = followed_by {
            self.join(position, expected, next);
        }
        let is_end = |it: &Finding| matches!(it.problem, Problem::DamagedBatch { end, .. } if end == position);
        if is_log_end && !self.walked.findings.iter().any(is_end) {
            let path = self.path().to_owned();
            let position = self.tail_start().unwrap_or(position);
            self.walked.log_end = Some(LogEndFound { path, position, offset: expected });
        }
        self.walked.findings.sort_by_key(|finding| finding.position);
        let (base, path) = (self.unit.base_offset, self.path().to_owned());
        let wrong_offsets = self.offsets.finish(is_log_end.then_some((position, expected)))?;
        self.walked.first_time_entry = self.times.first;
        let (wrong_times, largest) = self.times.finish(is_log_end.then_some(expected))?;
        self.walked.largest_timestamp = largest;
        let believed = self.believed;
        for (wrong, suffix, size) in [(wrong_offsets, "index", 8), (wrong_times, "timeindex", 12)] {
            if let Some(entries::Wrong { count, first, what }) = wrong {
                self.walked.findings.push(Finding {
                    path: path.with_extension(suffix),
                    position: Some(Position((first * size) as u64)),
                    offset: Some(base),
                    problem: Problem::WrongIndexEntries { count, what },
                });
            }
        }
        let largest = self.walked.largest_not_asked;
        if let Some(Believed { timestamp, .. }) = believed.filter(|believed| believed.timestamp < largest) {
            let problem = Problem::MissingTimeEntries { believed: timestamp, largest };
            let path = path.with_extension("timeindex");
            self.walked.findings.push(Finding { path, position: None, offset: Some(base), problem });
        }
        Ok(self.walked)
    }

    /// Tells what the order of the batches has shown. Returns where those that are in order end.
    fn tell_order(&mut self, followed_by: Option<Offset>) -> Result<Offset> {
        let order = mem::replace(&mut self.order, Order::new(Offset::ZERO, self.frame.gaps));
        let (mut expected, disorder) = order.finish(followed_by);
        for it in &disorder {
            if let Disorder::Resumed { mark, next } = *it
                && let Problem::DamagedBatch { next_offset, .. } = &mut self.walked.findings[mark].problem
            {
                *next_offset = next;
            }
        }
        let originals = Originals { disordered: disorder.iter().filter_map(Disorder::stretch).collect() };
        for it in &disorder {
            match self.find_denied(it, &originals)? {
                Some((batch, from)) => {
                    self.disordered(batch, from, Problem::WrongBaseOffset { claimed: batch.base });
                    // It has these offsets: they are not missing at the end of the log.
                    expected = from + batch.span;
                }
                None => self.tell_of(*it, &originals)?,
            }
        }
        for it in disorder {
            if let Disorder::Exchanged { batch, from } = it {
                self.note_exchanged(batch, from);
            }
        }
        Ok(expected)
    }

    /// The last batch of the log, where its base offset is denied, and the offset that it has.
    fn find_denied(&self, disorder: &Disorder, originals: &Originals) -> Result<Option<(Placed, Offset)>> {
        let (Disorder::Gap { batch, from } | Disorder::OutOfOrder { batch, from, .. }) = *disorder else {
            return Ok(None);
        };
        if !self.is_denied(batch, from)? {
            return Ok(None);
        }
        // A copy of another batch has the offset of that one.
        let is_out_of_order = matches!(disorder, Disorder::OutOfOrder { .. });
        let is_copy = is_out_of_order && originals.find(self.scanner.log(), batch, batch.end)?.is_some();
        Ok((!is_copy).then_some((batch, from)))
    }

    fn tell_of(&mut self, disorder: Disorder, originals: &Originals) -> Result<()> {
        match disorder {
            Disorder::Resumed { .. } | Disorder::Exchanged { .. } => {}
            Disorder::Gap { batch, from } => {
                // What the next segment has is not missing.
                let next_offset = self.unit.followed_by.map_or(batch.base, |next| batch.base.min(next.max(from)));
                // A compacted log can have one after each record.
                if self.frame.gaps != Gaps::Legal {
                    let problem = Problem::MissingOffsets { next_offset };
                    self.walked.gaps.push(self.finding(batch.position, from, problem));
                }
            }
            Disorder::Misplaced { batch, right } => {
                let problem = match originals.find(self.scanner.log(), batch, batch.end)? {
                    Some(original) => Problem::RepeatedBatches { end: batch.end, original },
                    // It was not there when the index was written.
                    None if self.offsets.leads_astray => self.out_of_order(batch, right, right + batch.span),
                    None => Problem::WrongBaseOffset { claimed: batch.base },
                };
                self.disordered(batch, right, problem);
            }
            Disorder::OutOfOrder { batch, from, next } => {
                let problem = match originals.find(self.scanner.log(), batch, batch.end)? {
                    Some(original) => {
                        // No batch has these once the second copy is taken out.
                        if next > from {
                            let problem = Problem::MissingOffsets { next_offset: next };
                            self.walked.gaps.push(self.finding(batch.end, from, problem));
                        }
                        Problem::RepeatedBatches { end: batch.end, original }
                    }
                    None => self.out_of_order(batch, from, next),
                };
                self.disordered(batch, from, problem);
            }
            Disorder::Contradiction { batch, second, wrong, from, is_followed } => {
                let loss = Box::new(Loss::of_one(batch, second, wrong, from, is_followed));
                self.disordered(batch, batch.base, Problem::Contradiction { next: second.base, loss });
            }
            Disorder::StepsBack { first, end, next, reached } => {
                let problem = match originals.find(self.scanner.log(), first, end)? {
                    Some(original) => Problem::RepeatedBatches { end, original },
                    None => {
                        let loss = Loss::taken_out(first.position..end, first.base..next, "the batches before them");
                        Problem::StepsBack { reached, loss: Box::new(loss.and_fill(first.position, reached..next)) }
                    }
                };
                self.disordered(first, first.base, problem);
            }
        }
        Ok(())
    }

    /// Where a batch out of order is the last one of the log, it may be one that was appended there, and its offsets given.
    fn out_of_order(&self, batch: Placed, from: Offset, next: Offset) -> Problem {
        let next_offset = if self.is_last_of_log(batch) { next.max(from + batch.span) } else { next };
        Problem::OutOfOrder { end: batch.end, claimed: batch.base, next_offset, span: batch.span, leaves: Vec::new() }
    }

    /// The offsets from `from` to where `batch` begins are missing once the batches that claim them are taken out.
    fn note_exchanged(&mut self, batch: Placed, from: Offset) {
        let (place, offsets) = (batch.position, from..batch.base);
        for finding in &mut self.walked.findings {
            match &mut finding.problem {
                Problem::OutOfOrder { claimed, leaves, .. } if offsets.contains(claimed) => {
                    return leaves.push((place, offsets));
                }
                Problem::Contradiction { loss, .. } if offsets.contains(&loss.offsets.start) => {
                    return loss.fills.push((place, offsets));
                }
                _ => {}
            }
        }
        let problem = Problem::MissingOffsets { next_offset: batch.base };
        self.walked.gaps.push(self.finding(place, from, problem));
    }

    fn is_last_of_log(&self, batch: Placed) -> bool {
        self.unit.ends_segment && self.unit.followed_by.is_none() && batch.end == self.scanner.position()
    }

    /// Where the bytes begin that are no part of the log any more.
    fn tail_start(&self) -> Option<Position> {
        let torn = self.walked.findings.iter().find(|it| matches!(it.problem, Problem::TornTail { .. }));
        torn.and_then(|finding| finding.position)
    }

    /// A batch between others that have the epoch of the file is wrong, and one with an epoch below that of a segment before: no
    /// epoch falls. Where those beside it contradict the file as well, or there are none, it is the file.
    fn tell_epochs(&mut self) {
        let wrong = mem::take(&mut self.wrong_epochs);
        let is_wrong = |number: u64| wrong.binary_search_by_key(&number, |(number, _)| *number).is_ok();
        let is_alone = |number: u64| {
            let is_beside = number.checked_sub(1).is_some_and(is_wrong) || is_wrong(number + 1);
            !is_beside && self.walked.batches > 1
        };
        let reached = self.unit.epoch_reached;
        let falls = |it: &Finding| matches!(it.problem, Problem::WrongLeaderEpoch { claimed, .. } if claimed < reached);
        let found = wrong.iter().filter_map(|(number, it)| Some((*number, it.as_ref()?)));
        let (of_batches, of_file): (Vec<_>, Vec<_>) = found.partition(|(number, it)| is_alone(*number) || falls(it));
        self.walked.findings.extend(of_batches.into_iter().map(|(_, it)| it.clone()));
        let contradicts = of_file.first().map(|(_, it)| (it.offset, &it.problem));
        let Some((offset, &Problem::WrongLeaderEpoch { claimed, right })) = contradicts else { return };
        let offset = offset.unwrap_or_default();
        let what =
            format!("it has the leader epoch {right} for offset {offset}, where batches in a row have {claimed}");
        let path = self.path().with_file_name(LEADER_EPOCH_FILE);
        self.walked.findings.push(Finding {
            path,
            position: None,
            offset: None,
            problem: Problem::DamagedFile { what },
        });
    }

    /// A damaged base offset can be out of reach as well, and is found for what it is.
    fn tell_out_of_reach(&mut self) {
        let is_found = |it: &Finding, other: &Finding| it.position == other.position;
        let out_of_reach = self.out_of_reach.take();
        self.walked
            .findings
            .extend(out_of_reach.filter(|found| !self.walked.findings.iter().any(|it| is_found(it, found))));
    }

    /// Whether the last batch of the log goes on at `from` by the batch before it, and ends so many offsets later by the offset
    /// index, or by what was acknowledged. An entry of the index alone is not enough where gaps may be legal: it is as well
    /// that of a batch which is not there any more. (Readers and writers go by the latter alone: no index changes what they
    /// do.)
    fn is_denied(&self, batch: Placed, from: Offset) -> Result<bool> {
        let (end, checkpoints) = (from + batch.span, &self.frame.checkpoints);
        // As far as was acknowledged, it is right as it is.
        let is_right = end < batch.next() && batch.next() <= checkpoints.acknowledged();
        if !self.is_last_of_log(batch) || !batch.base.is_a_flip_of(from) || is_right {
            return Ok(false);
        }
        let is_evidence = self.frame.gaps == Gaps::Loss;
        Ok(checkpoints.deny(batch.base, from, batch.span)
            || (is_evidence && self.offsets.last_named_at(batch.position)? == Some(end + -1)))
    }

    /// Adds what is wrong with the place of a batch. What epoch it is to have goes by its offset, which is in doubt.
    fn disordered(&mut self, batch: Placed, offset: Offset, problem: Problem) {
        let is_it = |it: &Finding| it.position == Some(batch.position);
        if let Some((_, found)) = self.wrong_epochs.iter_mut().find(|(_, it)| it.as_ref().is_some_and(is_it)) {
            *found = None;
        }
        // One that is damaged inside as well is given up at the offsets that it has by the others.
        for finding in self.walked.findings.iter_mut().filter(|it| it.position == Some(batch.position)) {
            if let Problem::DamagedBatch { next_offset, .. } = &mut finding.problem {
                (finding.offset, *next_offset) = (Some(offset), offset + batch.span);
            }
        }
        self.walked.findings.push(self.finding(batch.position, offset, problem));
    }

    /// Holds the end of the stretch against what follows it: the next unit, or the next segment.
    fn join(&mut self, position: Position, expected: Offset, next: Offset) {
        if next > expected {
            let problem = Problem::MissingOffsets { next_offset: next };
            let gap = self.finding(position, expected, problem);
            if self.unit.ends_segment {
                self.walked.gap_behind = Some(gap);
            } else {
                self.walked.gaps.push(gap);
            }
        } else if next < expected && self.unit.ends_segment {
            self.walked.findings.push(self.finding(position, next, overlap::found(next, expected)));
        } else if next < expected {
            self.walked.ends_in_place = false;
        }
    }
}
