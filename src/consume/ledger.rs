//! What was written to a reader, chunk by chunk, and what of it the reader has processed.

use super::merge::{Merge, Source};
use super::{ConsumeError, Event, GroupPositions, Positions, ReaderPosition, Result};
use crate::disk::outlet::{Outlet, OutletKind};
use crate::logdir::{LogDirs, Partition};
use crate::units::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::mem;
use std::time::{Duration, Instant};

/// Keeping a position syncs the log and the file. While records flow it is done again after so many times as long as it
/// took, so that a run that is killed repeats little, and within these limits.
const KEEP_PART: u32 = 256;
const KEEP_EVERY: std::ops::RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(1);
/// Positions are marked at each chunk of output; of more partitions than that, after so many times as long as it took.
const MARKED_AT_ONCE: usize = 16;
const MARK_PART: u32 = 4;
type ByPartition = BTreeMap<TopicPartition, ReaderPosition>;

pub(super) struct Ledger<'a> {
    log_dirs: &'a LogDirs,
    positions: Positions,
    /// After what the reader has processed.
    processed: ByPartition,
    /// What is different of them after the chunks of output before the last one, and after the last.
    before_last: ByPartition,
    last: ByPartition,
    /// Whether the positions are to be kept again.
    has_changed: bool,
    /// How often they are kept; as often as costs little, where that is not said.
    every: Option<Duration>,
    /// When they were kept last, and how long after that they are due again.
    kept: Option<(Instant, Duration)>,
    /// Whether they have changed since they were marked.
    is_unmarked: bool,
    /// The same as `kept`.
    marked: Option<(Instant, Duration)>,
}

fn is_due(last: Option<(Instant, Duration)>) -> bool {
    last.is_none_or(|(last, pause)| last.elapsed() >= pause)
}

impl<'a> Ledger<'a> {
    /// `None` where there are no positions to go on at.
    pub(super) fn open(
        log_dirs: &'a LogDirs,
        mut positions: Positions,
        every: Option<Duration>,
    ) -> Result<Option<Self>> {
        if matches!(positions, Positions::None) {
            return Ok(None);
        }
        let processed = positions.kept()?.into_iter().map(|position| (position.partition.clone(), position)).collect();
        Ok(Some(Self {
            log_dirs,
            positions,
            processed,
            before_last: ByPartition::new(),
            last: ByPartition::new(),
            // They are there after every run, also where nothing was written.
            has_changed: true,
            every,
            kept: None,
            is_unmarked: false,
            marked: None,
        }))
    }

    /// The group whose positions are kept, if it is one.
    pub(super) fn group(&mut self) -> Option<&mut GroupPositions> {
        if let Positions::Group(group) = &mut self.positions { Some(group) } else { None }
    }

    /// Goes on in partitions that were taken just now, where they were left.
    pub(super) fn take_over(&mut self, taken: &[TopicPartition]) -> Result<()> {
        taken.iter().for_each(|partition| self.forget(partition));
        let kept = self.positions.kept()?.into_iter().filter(|position| taken.contains(&position.partition));
        self.processed.extend(kept.map(|position| (position.partition.clone(), position)));
        Ok(())
    }

    /// Knows nothing of a partition any more.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        for positions in [&mut self.processed, &mut self.before_last, &mut self.last] {
            positions.remove(partition);
        }
    }

    /// Where to go on in a partition.
    pub(super) fn position(&self, partition: &Partition, tell: &mut dyn FnMut(Event<'_>)) -> Result<Option<Offset>> {
        let Some(kept) = self.processed.get(partition.id()) else { return Ok(None) };
        if kept.is_of(partition.incarnation()?) {
            return Ok(Some(kept.offset));
        }
        tell(Event::PositionIgnored { partition: partition.id() });
        Ok(None)
    }

    /// Whether the positions say that this is not the first run, as those of a file that has one of these partitions do. A
    /// group begins in each partition where it is asked to that it has kept nothing of.
    pub(super) fn knows_any_of(&self, partitions: &[Partition]) -> bool {
        if !matches!(self.positions, Positions::CursorFile(_)) {
            return false;
        }
        partitions.iter().any(|partition| self.processed.contains_key(partition.id()))
    }

    /// Refuses a file that knows other topics, and none of these.
    pub(super) fn refuse_other_topics(&self, partitions: &[Partition]) -> Result<()> {
        let Positions::CursorFile(file) = &self.positions else { return Ok(()) };
        let is_read = |topic| partitions.iter().any(|partition| &partition.id().topic == topic);
        match self.processed.keys().find(|kept| !is_read(&kept.topic)) {
            Some(other) if !self.processed.keys().any(|kept| is_read(&kept.topic)) => {
                Err(ConsumeError::OtherTopics { path: file.path().to_owned(), topic: other.topic.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Whether positions are kept, and not only known.
    pub(super) const fn is_kept(&self) -> bool {
        self.positions.are_kept()
    }

    /// Whether it is time to keep the positions.
    pub(super) fn is_due(&self) -> bool {
        self.is_kept() && (is_due(self.kept) || self.is_awaited())
    }

    /// Whether another member waits for a position, which is then not put off.
    fn is_awaited(&self) -> bool {
        let Positions::Group(group) = &self.positions else { return false };
        group.is_leaving_any()
            && self.has_changed
            && self.kept.is_none_or(|(kept, _)| kept.elapsed() >= *KEEP_EVERY.start())
    }

    /// Whether positions may have to be kept although nothing more is written.
    pub(super) fn is_behind(&self) -> bool {
        self.is_kept() && (self.has_changed || !self.before_last.is_empty())
    }

    /// Whether positions of a group could not be kept, since what comes before them is not known to be durable.
    pub(super) const fn is_ahead_of_durable(&self) -> bool {
        matches!(self.positions, Positions::Group(_)) && self.has_changed
    }

    /// Whether something was noted before the last chunk that the reader is not known to have processed.
    pub(super) fn has_before_last(&self) -> bool {
        !self.before_last.is_empty()
    }

    /// One more chunk of output has been written.
    pub(super) fn begin_chunk(&mut self) {
        self.before_last.append(&mut self.last);
    }

    /// Notes where `merge` is: all before it has been written, but for what comes from the offset on that `left` has for one
    /// of its sources. `shown_is_done` as in [`Merge::next_offsets`].
    pub(super) fn note(&mut self, merge: &Merge, shown_is_done: bool, left: impl Fn(usize) -> Option<Offset>) {
        for (place, source, next) in merge.next_offsets(shown_is_done) {
            let offset = left(place).unwrap_or(next);
            let position = position_in(source, offset);
            let noted = [&self.last, &self.before_last, &self.processed];
            let before = noted.into_iter().find_map(|positions| positions.get(&position.partition));
            if before != Some(&position) {
                self.last.insert(position.partition.clone(), position);
            }
        }
    }

    /// Notes where `merge` begins in partitions that nothing was kept of, before any of their records is written.
    pub(super) fn note_starts(&mut self, merge: &Merge, shown_is_done: bool) {
        for (_, source, offset) in merge.next_offsets(shown_is_done) {
            let position = position_in(source, offset);
            let kept = self.processed.get(&position.partition);
            if kept.is_none_or(|kept| !kept.is_of(position.topic_id)) {
                self.processed.insert(position.partition.clone(), position);
                self.has_changed = true;
            }
        }
    }

    /// The reader has processed all that was written before the last chunk.
    pub(super) fn process_before_last(&mut self) {
        self.has_changed |= !self.before_last.is_empty();
        self.is_unmarked |= !self.before_last.is_empty();
        self.processed.append(&mut self.before_last);
    }

    /// The reader has processed all that was written.
    pub(super) fn process_all(&mut self) {
        self.begin_chunk();
        self.process_before_last();
    }

    /// Prepares to mark where the reader is when it has begun with the last chunk: between that moment and the next chunk it
    /// waits.
    pub(super) fn prepare_mark(&mut self) {
        if self.processed.len() <= MARKED_AT_ONCE && !self.before_last.is_empty() {
            let mut next = self.processed.clone();
            next.extend(self.before_last.clone());
            self.positions.prepare_mark(next.values());
        }
    }

    /// Marks the positions after what the reader has processed, so that a run after this one was killed finds them.
    pub(super) fn mark(&mut self) {
        // What is prepared comes true no sooner than what is processed changes.
        if !self.is_unmarked || !is_due(self.marked) {
            return;
        }
        self.is_unmarked = false;
        if self.positions.mark() {
            return;
        }
        let started = Instant::now();
        self.positions.prepare_mark(self.processed.values());
        self.positions.mark();
        self.marked = (self.processed.len() > MARKED_AT_ONCE).then(|| (Instant::now(), started.elapsed() * MARK_PART));
    }

    /// Ends the keeping of positions.
    pub(super) fn close(&mut self) -> Result<()> {
        self.positions.close()
    }

    /// Keeps the positions after what the reader has processed. A file that was written to is made durable before.
    pub(super) fn keep(&mut self, outlet: Outlet) -> Result<()> {
        if !self.is_kept() {
            return Ok(());
        }
        let started = Instant::now();
        if mem::take(&mut self.has_changed) {
            if outlet.kind() == OutletKind::File {
                outlet.sync().map_err(ConsumeError::Output)?;
            }
            // What is not durable yet is kept the next time.
            self.has_changed = !self.positions.keep(self.log_dirs, self.processed.values().cloned().collect())?;
            // What is not durable is kept later, and can be marked now.
            self.is_unmarked = true;
        }
        let pause = || (started.elapsed() * KEEP_PART).clamp(*KEEP_EVERY.start(), *KEEP_EVERY.end());
        self.kept = Some((Instant::now(), self.every.unwrap_or_else(pause)));
        Ok(())
    }
}

fn position_in(source: &Source, offset: Offset) -> ReaderPosition {
    let partition = TopicPartition { topic: source.topic.clone(), partition: source.partition };
    ReaderPosition { partition, topic_id: source.topic_id, offset }
}
