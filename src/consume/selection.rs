//! Which partitions are read, from where to where, and which of their records are wanted.

use super::ledger::Ledger;
use super::merge::{OnDamage, Source};
use super::newest::LatestByKey;
use super::range::{LogRange, OffsetAt, PerPartition, RangeEnd, Reset};
use super::tail;
use super::{ConsumeError, Event, Result};
use crate::disk::{Disk, descriptors};
use crate::logdir::{LogDirError, LogDirs, Origin, Partition, Topic, TopicPattern};
use crate::storage::{Bounds, LogReader, LogView, ReadMemory, RecordReader, StorageError};
use crate::stream::filter::Filter;
use crate::units::{Offset, Timestamp, TopicName, TopicPartition};
use std::collections::HashSet;
use std::slice;

/// Bytes read at a time from one partition; with many, less, so that memory stays within bounds.
const CHUNK_MAX: usize = 256 << 10;
const CHUNK_MIN: usize = 16 << 10;
const CHUNKS_TOTAL: usize = 4 << 20;

/// How many partitions may have files open at once.
pub(super) fn open_partitions_max() -> usize {
    descriptors::room_for(RecordReader::DESCRIPTORS_MAX)
}

/// Whether records of transactions are shown that were aborted or have not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// They are.
    #[default]
    ReadUncommitted,
    /// They are not, nor is what follows the beginning of one that has not ended.
    ReadCommitted,
}

/// Which records a reader wants. By default all of no topic.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The topics.
    pub topics: Vec<TopicPattern>,
    /// These partitions of them; all, where none is named.
    pub partitions: Vec<i32>,
    /// Where to begin in a run that no position is kept for; at the log start offset by default.
    pub from: Option<PerPartition>,
    /// Where to end; at the end that the log has by default, and never where it is followed.
    pub to: Option<PerPartition>,
    /// Where to begin when that offset is not in the log, in place of an error.
    pub reset: Option<Reset>,
    /// Only records at or after this time.
    pub since: Option<Timestamp>,
    /// Only records before this time.
    pub until: Option<Timestamp>,
    /// Only the last so many of all that the rest of the selection leaves, unless a position says where to go on.
    pub tail: Option<u64>,
    /// Only the newest record of each key, of those that are there at the start.
    pub latest_by_key: Option<LatestByKey>,
    /// Which records.
    pub filter: Filter,
    /// Whether those of open and aborted transactions are among them.
    pub isolation: Isolation,
    /// What is done where a partition is corrupt.
    pub on_damage: OnDamage,
}

/// The partitions of a topic that are named, or all of them.
///
/// # Errors
/// When the topic does not have one of them.
pub fn partitions_of(topic: &Topic, named: &[i32]) -> Result<Vec<i32>> {
    if named.is_empty() {
        return Ok(topic.partitions.clone());
    }
    let mut partitions = Vec::new();
    for &partition in named {
        topic.partition(partition).map_err(|source| ConsumeError::NoSuchPartition { partition, source })?;
        if !partitions.contains(&partition) {
            partitions.push(partition);
        }
    }
    partitions.sort_unstable();
    Ok(partitions)
}

/// Opens what a [`Selection`] names.
pub(super) struct Selector<'a> {
    pub(super) selection: &'a Selection,
    /// Whether reading goes on at the end of the log.
    pub(super) follow: bool,
    /// Whether positions are kept, which belong to topics by their ids.
    pub(super) keeps_positions: bool,
    /// Whether to stop.
    pub(super) is_stopped: Option<fn() -> bool>,
    /// Whether what cannot be read is left to others, whatever keeps it from that.
    pub(super) is_shared: bool,
    /// What all partitions share.
    pub(super) memory: ReadMemory,
    /// Where what memory has no room for is kept.
    pub(super) disk: &'a dyn Disk,
}

impl Selector<'_> {
    /// The partitions that are meant at the start, of which the offsets are that are asked for.
    pub(super) fn partitions(
        &self,
        log_dirs: &LogDirs,
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Partition>> {
        let topics = self.topics(log_dirs, tell)?;
        let mut all = Vec::new();
        for topic in &topics {
            all.extend(self.partitions_in(log_dirs, topic)?);
        }
        let Beginning { from, .. } = self.beginning(ledger, &all);
        topics.iter().try_for_each(|topic| self.check_offsets(topic, from))?;
        Ok(all)
    }

    /// The same by topic, for one who follows: each may be one that cannot be read as it is meant.
    pub(super) fn partitions_by_topic(&self, log_dirs: &LogDirs) -> Result<Vec<(TopicName, Result<Vec<Partition>>)>> {
        let topics = self.topics(log_dirs, &mut |_| ())?;
        Ok(topics.into_iter().map(|topic| (topic.name.clone(), self.partitions_in(log_dirs, &topic))).collect())
    }

    /// The topics that are meant, each once. Where reading goes on, a pattern may match its first topic later.
    pub(super) fn topics(&self, log_dirs: &LogDirs, tell: &mut dyn FnMut(Event<'_>)) -> Result<Vec<Topic>> {
        let patterns = &self.selection.topics;
        if !self.follow {
            return Ok(log_dirs.matching_topics(patterns)?);
        }
        let (mut topics, mut names) = (Vec::new(), HashSet::new());
        for pattern in patterns {
            match log_dirs.matching_topics(slice::from_ref(pattern)) {
                Err(LogDirError::NoTopicMatches { pattern, .. }) => tell(Event::NothingMatches { pattern: &pattern }),
                found => topics.extend(found?.into_iter().filter(|topic| names.insert(topic.name.clone()))),
            }
        }
        Ok(topics)
    }

    fn partitions_in(&self, log_dirs: &LogDirs, topic: &Topic) -> Result<Vec<Partition>> {
        if topic.origin == Origin::SetAside && self.keeps_positions {
            return Err(ConsumeError::NoPositionsIn { topic: topic.name.clone() });
        }
        let partitions = partitions_of(topic, &self.selection.partitions)?;
        partitions.into_iter().map(|partition| Ok(log_dirs.partition(topic, partition)?)).collect()
    }

    /// What the selection says of where to begin. It is for the first run: once there are positions, a partition without one
    /// is new, and nothing of it was read.
    fn beginning(&self, ledger: Option<&Ledger<'_>>, partitions: &[Partition]) -> Beginning<'_> {
        if ledger.is_some_and(|ledger| ledger.knows_any_of(partitions)) {
            return Beginning { from: None, tail: None };
        }
        Beginning { from: self.selection.from.as_ref(), tail: self.selection.tail }
    }

    /// Refuses one number for several partitions, and partitions that are not read.
    fn check_offsets(&self, topic: &Topic, from: Option<&PerPartition>) -> Result<()> {
        let partitions = partitions_of(topic, &self.selection.partitions)?;
        for (end, offsets) in [(RangeEnd::From, from), (RangeEnd::To, self.selection.to.as_ref())] {
            match offsets {
                Some(PerPartition::All(OffsetAt::At(offset))) if partitions.len() > 1 => {
                    return Err(ConsumeError::OneOffsetForSeveral { end, offset: *offset });
                }
                Some(PerPartition::Each(each)) => {
                    for &(partition, _) in each {
                        topic.partition(partition).map_err(|source| ConsumeError::NoSuchPartitionIn { end, source })?;
                        if !partitions.contains(&partition) {
                            return Err(ConsumeError::PartitionNotRead { end, partition });
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The partitions from where they are wanted. A handle holds its partition's folder open, so each goes once its source is
    /// made. A partition that cannot be read is left out, and its error told.
    pub(super) fn sources(
        &self,
        log_dirs: &LogDirs,
        partitions: Vec<Partition>,
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Selected> {
        let beginning = self.beginning(ledger, &partitions);
        self.sources_from(log_dirs, partitions, beginning, ledger, tell)
    }

    /// Partitions that have come since the start: from their start, unless there is a position.
    pub(super) fn newcomers(
        &self,
        log_dirs: &LogDirs,
        partitions: Vec<Partition>,
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Selected> {
        self.sources_from(log_dirs, partitions, Beginning { from: None, tail: None }, ledger, tell)
    }

    fn sources_from(
        &self,
        log_dirs: &LogDirs,
        partitions: Vec<Partition>,
        beginning: Beginning<'_>,
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Selected> {
        let chunk = (CHUNKS_TOTAL / partitions.len().max(1)).clamp(CHUNK_MIN, CHUNK_MAX);
        let is_limited = partitions.len() > open_partitions_max();
        let (mut selected, mut found) = (Selected::default(), 0_u64);
        for partition in partitions {
            match self.source_of(&partition, (chunk, beginning), ledger, tell) {
                Ok(Some((mut source, records))) => {
                    if is_limited {
                        source.records.close()?;
                    }
                    found += records;
                    selected.sources.push(source);
                }
                Ok(None) => tell(Event::NoFolder { partition: partition.id() }),
                Err(error) if self.is_shared || error.is_of_a_partition(log_dirs.roots()) => {
                    tell(Event::Failed { error });
                    selected.unreadable.push(partition.id().clone());
                }
                Err(error) => return Err(error),
            }
        }
        selected.passed_over = beginning.tail.map_or(0, |count| found.saturating_sub(count));
        Ok(selected)
    }

    /// A partition from where it is wanted, and how many records of a tail it has; `None` where it has no folder.
    fn source_of(
        &self,
        partition: &Partition,
        (chunk, beginning): (usize, Beginning<'_>),
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<(Source, u64)>> {
        let view = partition.view()?;
        if !view.has_folder() {
            return Ok(None);
        }
        let mut range = self.range(&view, (partition, beginning.from), ledger, tell)?;
        let mut found = 0;
        if let Some(count) = beginning.tail {
            let open = |from, to| -> Result<Option<Source>> {
                self.source(LogReader::new(view.clone(), chunk), partition, from, Some(to)).map(Some)
            };
            let end = range.to.unwrap_or(range.end).min(range.end);
            (range.from, found) = tail::find(count, range.from, end, open)?;
        }
        let newest = match self.selection.latest_by_key {
            Some(latest) => {
                let end = range.to.unwrap_or(range.end).min(range.end);
                let all = self.source(LogReader::new(view.clone(), chunk), partition, range.from, Some(end))?;
                Some(latest.find(Source { filter: Filter::default(), ..all }, range.from, end, self.disk)?)
            }
            None => None,
        };
        let source = self.source(LogReader::new(view, chunk), partition, range.from, range.to)?;
        Ok(Some((Source { newest, ..source }, found)))
    }

    /// A partition that came while others were followed, from its start. It has no file open before it is asked: many can
    /// come at once.
    pub(super) fn newcomer(&self, partition: &Partition) -> Result<Option<Source>> {
        let view = partition.view()?;
        if !view.has_folder() {
            return Ok(None);
        }
        let start = view.log_start_offset();
        let mut source = self.source(LogReader::new(view, CHUNK_MIN), partition, start, None)?;
        source.records.close()?;
        Ok(Some(source))
    }

    fn source(&self, mut reader: LogReader, partition: &Partition, from: Offset, to: Option<Offset>) -> Result<Source> {
        let selection = self.selection;
        reader.seek(from);
        let records = match selection.isolation {
            Isolation::ReadUncommitted => RecordReader::new(reader),
            Isolation::ReadCommitted => RecordReader::read_committed(reader)?,
        };
        let bounds = Bounds { end: to, since: selection.since, until: selection.until };
        let topic_id = if self.keeps_positions { partition.incarnation()? } else { None };
        let TopicPartition { topic, partition } = partition.id().clone();
        let records = records.within(bounds).sharing(&self.memory);
        let (filter, on_damage) = (selection.filter.clone(), selection.on_damage);
        Ok(Source { topic, topic_id, partition, records, filter, newest: None, on_damage, is_stopped: self.is_stopped })
    }

    fn range(
        &self,
        view: &LogView,
        (handle, from): (&Partition, Option<&PerPartition>),
        ledger: Option<&Ledger<'_>>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Range> {
        let (selection, partition) = (self.selection, handle.id());
        // A damaged log is read up to the damage, which is then told in its place.
        let (end, is_sound) = match view.log_end_offset() {
            Ok(end) => (end, true),
            Err(StorageError::Corrupt { offset, .. }) => (offset, false),
            Err(error) => return Err(error.into()),
        };
        let log = LogRange { partition, start: view.log_start_offset(), end, is_sound };
        let kept = ledger.map_or(Ok(None), |ledger| ledger.position(handle, tell))?;
        let at = |offsets: Option<&PerPartition>| offsets.and_then(|it| it.of(partition.partition));
        let from_option = at(from);
        let mut from = log.begin(kept, from_option, selection.reset, tell)?;
        let to = at(selection.to.as_ref()).map(|to| log.stop(to, self.follow));
        if kept.is_none()
            && let (Some(_), Some(to)) = (from_option, to)
            && from > to
        {
            return Err(ConsumeError::EmptyRange { partition: partition.clone(), from, to });
        }
        if let Some(since) = selection.since {
            match view.offset_for_time(since) {
                Ok(found) => from = from.max(found.map_or(end, |(offset, _)| offset)),
                // The records themselves tell.
                Err(StorageError::Corrupt { .. }) if selection.on_damage == OnDamage::StepOver => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Range { from, to: to.or((!self.follow && is_sound).then_some(end)), end })
    }
}

/// The partitions that are read.
#[derive(Default)]
pub(super) struct Selected {
    pub(super) sources: Vec<Source>,
    /// How many of their first records are not wanted: those before the last ones that a tail asks for.
    pub(super) passed_over: u64,
    /// Those that cannot be read.
    pub(super) unreadable: Vec<TopicPartition>,
}

/// Where a first run begins.
#[derive(Clone, Copy)]
struct Beginning<'a> {
    from: Option<&'a PerPartition>,
    tail: Option<u64>,
}

/// What of a log is wanted.
struct Range {
    from: Offset,
    /// `None` goes on without end.
    to: Option<Offset>,
    /// The log end offset as it was found.
    end: Offset,
}
