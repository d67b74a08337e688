//! Which partitions are read, from where to where, and which of their records are wanted.

use super::cursor::Cursor;
use super::printer::deleted_topic;
use super::{ConsumeArgs, Isolation, Reset};
use crate::cli::Context;
use crate::cli::args::{self, OffsetAt, PerPartition};
use crate::cli::exit::{self, Failures};
use crate::disk::descriptors;
use crate::logdir::{LogDirs, Origin, Partition, Topic};
use crate::storage::{Bounds, LogReader, LogView, ReadMemory, RecordReader, StorageError};
use crate::stream::filter::{Filter, Part, Test};
use crate::stream::merge::{OnDamage, Source};
use crate::stream::tail;
use crate::units::{Offset, Timestamp, TopicPartition};
use anyhow::Context as _;
use regex::bytes::Regex;

/// Bytes read at a time from one partition; with many, less, so that memory stays within bounds.
const CHUNK_MAX: usize = 256 << 10;
const CHUNK_MIN: usize = 16 << 10;
const CHUNKS_TOTAL: usize = 4 << 20;

/// How many partitions may have files open at once.
pub(super) fn open_partitions_max() -> usize {
    descriptors::room_for(RecordReader::DESCRIPTORS_MAX)
}

/// Which records the user wants.
pub(super) struct Selection<'a> {
    args: &'a ConsumeArgs,
    since: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
    filter: Filter,
    /// What all partitions share.
    memory: ReadMemory,
}

/// `NAME` or `NAME=REGEX`.
pub(super) fn header_test(text: &str) -> Result<(String, Option<Regex>), String> {
    let (name, pattern) = text.split_once('=').map_or((text, None), |(name, pattern)| (name, Some(pattern)));
    if name.is_empty() {
        return Err("expected NAME or NAME=REGEX".into());
    }
    let pattern = pattern.map(|it| it.parse::<Regex>().map_err(|error| error.to_string())).transpose()?;
    Ok((name.to_owned(), pattern))
}

fn filter(args: &ConsumeArgs) -> Filter {
    let test = |part: Part, pattern: Option<&Regex>, inverted| Test { part, pattern: pattern.cloned(), inverted };
    let mut tests = Vec::new();
    for (part, patterns, inverted) in [
        (Part::Value, &args.grep, false),
        (Part::Value, &args.grep_not, true),
        (Part::Key, &args.key, false),
        (Part::Key, &args.key_not, true),
    ] {
        tests.extend(patterns.iter().map(|pattern| test(part.clone(), Some(pattern), inverted)));
    }
    for (headers, inverted) in [(&args.header, false), (&args.header_not, true)] {
        let part = |name: &str| Part::Header(name.as_bytes().to_vec());
        tests.extend(headers.iter().map(|(name, pattern)| test(part(name), pattern.as_ref(), inverted)));
    }
    Filter::new(tests)
}

impl<'a> Selection<'a> {
    pub(super) fn new(args: &'a ConsumeArgs, context: &Context) -> anyhow::Result<Self> {
        let time = |option, text: &Option<String>| match text {
            Some(text) => args::time(option, text, &context.zone).map(Some),
            None => Ok(None),
        };
        let (since, until) = (time("--since", &args.since)?, time("--until", &args.until)?);
        if let (Some(since), Some(until)) = (since, until)
            && since >= until
        {
            return Err(exit::usage("--since is not before --until: no record can be between them"));
        }
        if args.skip_corrupt && matches!(args.isolation, Isolation::ReadCommitted) {
            return Err(exit::usage("--skip-corrupt reads uncommitted records only: leave out --isolation"));
        }
        Ok(Self { args, since, until, filter: filter(args), memory: ReadMemory::default() })
    }

    /// The partitions that are meant now.
    pub(super) fn partitions(&self, log_dirs: &LogDirs) -> anyhow::Result<Vec<Partition>> {
        let mut all = Vec::new();
        for topic in log_dirs.matching_topics(&self.args.topic)? {
            if topic.origin == Origin::SetAside && self.args.cursor_file.is_some() {
                return Err(exit::usage(format!(
                    "--cursor-file keeps positions in topics, and {} is a folder that was set aside",
                    topic.name
                )));
            }
            let partitions = args::partitions(&topic, &self.args.partition)?;
            self.check_offsets(&topic, &partitions)?;
            for partition in partitions {
                all.push(log_dirs.partition(&topic, partition)?);
            }
        }
        Ok(all)
    }

    /// Refuses one number for several partitions, and partitions that are not read.
    fn check_offsets(&self, topic: &Topic, partitions: &[i32]) -> anyhow::Result<()> {
        for (option, offsets) in [("--from-offset", &self.args.from_offset), ("--to-offset", &self.args.to_offset)] {
            match offsets {
                Some(PerPartition::All(OffsetAt::At(offset))) if partitions.len() > 1 => {
                    return Err(exit::usage(format!(
                        "{option} {offset} needs one partition: name it with -p, or each with {option} 0:{offset},1:…"
                    )));
                }
                Some(PerPartition::Each(each)) => {
                    for &(partition, _) in each {
                        topic.partition(partition).with_context(|| option.to_owned())?;
                        if !partitions.contains(&partition) {
                            return Err(exit::usage(format!(
                                "{option} names partition {partition}, and -p leaves it out"
                            )));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The partitions from where they are wanted. A handle holds its partition's folder open, so each goes once its source is
    /// made. A partition that cannot be read is left out, and its error printed.
    pub(super) fn sources(
        &self,
        partitions: Vec<Partition>,
        cursor: Option<&Cursor<'_>>,
        context: &Context,
        failures: &mut Failures,
    ) -> anyhow::Result<Selected> {
        let chunk = (CHUNKS_TOTAL / partitions.len().max(1)).clamp(CHUNK_MIN, CHUNK_MAX);
        let is_limited = partitions.len() > open_partitions_max();
        let (mut selected, mut found) = (Selected::default(), 0_u64);
        for partition in partitions {
            match self.source_of(&partition, chunk, cursor, context) {
                Ok(Some((mut source, records))) => {
                    if is_limited {
                        source.records.close().map_err(deleted_topic)?;
                    }
                    found += records;
                    selected.sources.push(source);
                }
                Ok(None) => {
                    context.ui.verbose(&format!("partition {} has no folder yet and is empty", partition.id()));
                }
                Err(error) if exit::is_of_a_partition(&error, &context.roots) => {
                    failures.tell(error);
                    selected.unreadable.push(partition.id().clone());
                }
                Err(error) => return Err(error),
            }
        }
        selected.passed_over = self.args.tail.map_or(0, |count| found.saturating_sub(count));
        Ok(selected)
    }

    /// A partition from where it is wanted, and how many records of a tail it has; `None` where it has no folder.
    fn source_of(
        &self,
        partition: &Partition,
        chunk: usize,
        cursor: Option<&Cursor<'_>>,
        context: &Context,
    ) -> anyhow::Result<Option<(Source, u64)>> {
        let view = partition.view()?;
        if !view.has_folder() {
            return Ok(None);
        }
        let mut range = self.range(&view, partition, cursor, context)?;
        let mut found = 0;
        if let Some(count) = self.args.tail {
            let open = |from, to| -> anyhow::Result<Option<Source>> {
                self.source(LogReader::new(view.clone(), chunk), partition, from, Some(to)).map(Some)
            };
            let end = range.to.unwrap_or(range.end).min(range.end);
            (range.from, found) = tail::find(count, range.from, end, open)?;
        }
        let source = self.source(LogReader::new(view, chunk), partition, range.from, range.to)?;
        Ok(Some((source, found)))
    }

    /// A partition that came while others were followed, from its start. It has no file open before it is asked: many can
    /// come at once.
    pub(super) fn newcomer(&self, partition: &Partition) -> anyhow::Result<Option<Source>> {
        let view = partition.view()?;
        if !view.has_folder() {
            return Ok(None);
        }
        let start = view.log_start_offset();
        let mut source = self.source(LogReader::new(view, CHUNK_MIN), partition, start, None)?;
        source.records.close().map_err(deleted_topic)?;
        Ok(Some(source))
    }

    fn source(
        &self,
        mut reader: LogReader,
        partition: &Partition,
        from: Offset,
        to: Option<Offset>,
    ) -> anyhow::Result<Source> {
        reader.seek(from);
        let records = match self.args.isolation {
            Isolation::ReadUncommitted => RecordReader::new(reader),
            Isolation::ReadCommitted => RecordReader::read_committed(reader)?,
        };
        let bounds = Bounds { end: to, since: self.since, until: self.until };
        let topic_id = if self.args.cursor_file.is_some() { partition.incarnation()? } else { None };
        let TopicPartition { topic, partition } = partition.id().clone();
        let records = records.within(bounds).sharing(&self.memory);
        let on_damage = if self.args.skip_corrupt { OnDamage::StepOver } else { OnDamage::End };
        Ok(Source { topic, topic_id, partition, records, filter: self.filter.clone(), on_damage })
    }

    fn range(
        &self,
        view: &LogView,
        handle: &Partition,
        cursor: Option<&Cursor<'_>>,
        context: &Context,
    ) -> anyhow::Result<Range> {
        let start = view.log_start_offset();
        // A damaged log is read up to the damage, which is then said in its place.
        let (end, is_sound) = match view.log_end_offset() {
            Ok(end) => (end, true),
            Err(StorageError::Corrupt { offset, .. }) => (offset, false),
            Err(error) => return Err(error.into()),
        };
        let partition = handle.id();
        let within = LogRange { partition, start, end };
        let kept = cursor.map_or(Ok(None), |cursor| cursor.position(handle, context))?;
        let from_option = at(self.args.from_offset.as_ref(), partition.partition);
        let mut from = match kept {
            Some(kept) if kept < start => {
                context.ui.warning(&missed(partition, kept, start));
                start
            }
            Some(kept) => self.checked(kept, &within)?,
            None => self.from(from_option, &within)?,
        };
        let to = at(self.args.to_offset.as_ref(), partition.partition).map(|to| self.to(to, end, is_sound));
        if kept.is_none()
            && let (Some(_), Some(to)) = (from_option, to)
            && from > to
        {
            return Err(exit::usage(format!(
                "{partition}: --from-offset is {from} and --to-offset {to}: no record can be between them"
            )));
        }
        if let Some(since) = self.since {
            match view.offset_for_time(since) {
                Ok(found) => from = from.max(found.map_or(end, |(offset, _)| offset)),
                // The records themselves tell.
                Err(StorageError::Corrupt { .. }) if self.args.skip_corrupt => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Range { from, to: to.or((!self.args.follow && is_sound).then_some(end)), end })
    }

    fn from(&self, from: Option<OffsetAt>, log: &LogRange<'_>) -> anyhow::Result<Offset> {
        match from {
            None | Some(OffsetAt::Earliest) => Ok(log.start),
            Some(OffsetAt::Latest) => Ok(log.end),
            Some(OffsetAt::BeforeEnd(count)) => Ok(Offset(log.end.0.saturating_sub(count)).max(log.start)),
            Some(OffsetAt::At(offset)) => self.checked(Offset(offset), log),
        }
    }

    /// An offset that must lie in the log, unless the user says what else to take.
    fn checked(&self, requested: Offset, log: &LogRange<'_>) -> anyhow::Result<Offset> {
        if (log.start..=log.end).contains(&requested) {
            return Ok(requested);
        }
        match self.args.reset {
            Some(Reset::Earliest) => Ok(log.start),
            Some(Reset::Latest) => Ok(log.end),
            None => {
                let (log_start_offset, log_end_offset) = (log.start, log.end);
                let out_of_range = StorageError::OffsetOutOfRange { requested, log_start_offset, log_end_offset };
                Err(anyhow::Error::from(out_of_range).context(log.partition.to_string()))
            }
        }
    }

    /// Where to stop; past the end is the end, unless the log goes on there.
    fn to(&self, to: OffsetAt, end: Offset, is_sound: bool) -> Offset {
        match to {
            OffsetAt::Earliest => Offset::ZERO,
            OffsetAt::Latest => end,
            OffsetAt::BeforeEnd(count) => Offset(end.0.saturating_sub(count)),
            OffsetAt::At(offset) if self.args.follow || !is_sound => Offset(offset),
            OffsetAt::At(offset) => Offset(offset).min(end),
        }
    }
}

/// The partitions that are read.
#[derive(Default)]
pub(super) struct Selected {
    pub(super) sources: Vec<Source>,
    /// How many of their first records are not wanted: those before the last ones that --tail asks for.
    pub(super) passed_over: u64,
    /// Those that cannot be read.
    pub(super) unreadable: Vec<TopicPartition>,
}

/// What a log holds.
struct LogRange<'a> {
    partition: &'a TopicPartition,
    start: Offset,
    end: Offset,
}

/// What of a log is wanted.
struct Range {
    from: Offset,
    /// `None` goes on without end.
    to: Option<Offset>,
    /// The log end offset as it was found.
    end: Offset,
}

fn at(offsets: Option<&PerPartition>, partition: i32) -> Option<OffsetAt> {
    match offsets? {
        PerPartition::All(at) => Some(*at),
        PerPartition::Each(each) => each.iter().find(|(other, _)| *other == partition).map(|(_, at)| *at),
    }
}

/// Says that records were gone before they were read.
pub(super) fn missed(partition: &TopicPartition, from: Offset, log_start_offset: Offset) -> String {
    format!(
        "offsets {from} to {} of {partition} were removed before they were read; going on at {log_start_offset}",
        log_start_offset.0 - 1
    )
}
