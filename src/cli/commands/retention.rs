use crate::cli::Context;
use crate::cli::args::{self, Retention, RetentionBytes, SpareMax};
use crate::cli::complete;
use crate::cli::exit::{self, Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, number, text};
use crate::cli::ui::Unit;
use crate::groups::{CommittedOffsets, Group, GroupError, GroupReaders, GroupsTopic, ShareReader, WhichGroups};
use crate::logdir::{
    LimitOverrides, LogDir, LogDirError, LogDirs, Partition, RetentionPlan, Sparing, Topic, TopicPattern, Unread,
};
use crate::storage::retention::{Decision, Limits, Verdict};
use crate::units::{ByteSize, Duration, GroupId, Offset, Timestamp, TopicPartition};
use std::collections::BTreeMap;

/// Apply retention once
///
/// Deletes whole segments, oldest first, by Kafka's own three passes: those below the log start offset, then those that
/// retention.bytes does without, then those whose largest timestamp is older than retention.ms. The active segment is not
/// exempt. Nothing else in kdir ever deletes data on its own. A segment with a timestamp in the future, and with it all that
/// follow, is kept until then, as by a broker of Kafka 4: a warning names it.
///
/// Without a topic: all topics that kdir made. A broker's topic is skipped, unless a limit is given here, or is its own by the
/// cluster's metadata in the log dir: the defaults of a broker are not known. Internal topics (__*) only when named. --quiet
/// prints no rows, unless --dry-run or -o asks for them. A log dir that does not exist yet is not an error.
///
/// --dry-run names the groups that have not read all of what would be deleted, with how many offsets that is.
///
/// --spare-groups keeps what groups have not read: every segment with an offset at or past the smallest one that they have
/// committed in the partition, or of a share group its start offset, below which all records are done. A group reads a topic
/// once it has committed an offset of any of its partitions, has a state of it as a share group, or a member of it runs; in a
/// partition where it has committed nothing, all is kept for it. A topic that is given here and that no group reads is an
/// error. In a run over all topics it is handled as without the option, a group that is named counts only for the topics that
/// it reads, and one that has committed nothing at all is an error.
///
/// A forgotten group keeps its records for ever: --spare-max bounds that, and `kdir groups delete` ends it. Nothing is kept
/// for groups whose offsets are in another log dir or on another broker; where such a group is named, all is kept for it.
/// Records that `kdir delete-records` has hidden are deleted even if a group has not read them.
///
/// A row a partition: what is deleted (segments, records, bytes, the timestamp of the first record and the largest), and what
/// is kept (records, bytes, the timestamp of the first record, and until when the first segment is kept by time). With
/// --dry-run all partitions are listed, else those of which something was deleted. With --verbose, a row a segment with the
/// reason why it is deleted or kept. On a narrow terminal a time of today is 10:05, one of the months around 11-22, any other
/// the year.
///
/// Columns of JSON and TSV: topic, partition, deleted_segments, deleted_records, deleted_bytes, deleted_from, deleted_to,
/// kept_records, kept_bytes, kept_from, kept_until; with --verbose: topic, partition, base_offset, next_offset, bytes, newest,
/// action, reason. A compacted topic may hold fewer records.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir retention --dry-run app\n  kdir retention --dry-run --verbose app\n  \
        kdir retention --dry-run orders --spare-groups=billing,audit\n  \
        kdir retention --dry-run --spare-groups --spare-max 30d")]
pub(crate) struct RetentionArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Show what would be deleted; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// In place of the topics' retention.ms: 7d, 36h, 90s, or forever
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,
    /// In place of the topics' retention.bytes: 10GB, 512MiB, or unlimited
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<RetentionBytes>,
    /// Keep what groups have not read: these groups, or all that read the topic (can be repeated)
    #[arg(long, value_name = "GROUP,...", num_args = 0.., require_equals = true, value_delimiter = ',',
          value_parser = args::group)]
    spare_groups: Option<Vec<GroupId>>,
    /// Keep for them at most this much of the end of the log (10GB), or what is younger than this (30d)
    #[arg(long, value_name = "SIZE|AGE")]
    spare_max: Option<SpareMax>,
    #[command(flatten)]
    report: ReportArgs,
}

/// All of a row fits 80 columns, for names and numbers that are not too long.
const COLUMNS: [Column; 11] = [
    text("topic", "TOPIC"),
    number("partition", "P"),
    number("deleted_segments", "SEGS"),
    number("deleted_records", "RECORDS"),
    number("deleted_bytes", "BYTES"),
    text("deleted_from", "FROM"),
    text("deleted_to", "TO"),
    number("kept_records", "KEPT"),
    number("kept_bytes", "BYTES"),
    text("kept_from", "OLDEST"),
    text("kept_until", "UNTIL"),
];

const SEGMENT_COLUMNS: [Column; 8] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("base_offset", "BASE OFFSET"),
    number("next_offset", "NEXT OFFSET").leaves(1),
    number("bytes", "BYTES"),
    text("newest", "NEWEST").leaves(2),
    text("action", "ACTION"),
    text("reason", "REASON"),
];

pub(crate) fn run(args: &RetentionArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.spare_max.is_some() && args.spare_groups.is_none() {
        return Err(exit::usage("--spare-max bounds what --spare-groups keeps: give that as well"));
    }
    let opened = if args.dry_run { context.open() } else { context.open_to_write() };
    let log_dir = match opened {
        Err(error) if matches!(error.downcast_ref(), Some(LogDirError::Missing { .. })) => {
            context.ui.status(&format!("{error}, so there is nothing to delete"));
            return Ok(Exit::Done);
        }
        opened => opened?,
    };
    let by_segment = context.ui.is_verbose();
    let columns: &[Column] = if by_segment { &SEGMENT_COLUMNS } else { &COLUMNS };
    let mut report = Report::new(context.ui, args.report.output, &context.zone, columns);
    // A table is for a person, who has asked for nothing to be said.
    let is_shown = args.dry_run || args.report.output != ReportFormat::Table || !context.ui.is_quiet();
    let (mut removed, mut records, mut bytes) = (0, 0, 0);
    let mut failures = Failures::new(context.ui);
    let overrides = overrides(args);
    let mut groups = if args.dry_run { Some(KnownGroups::read(&log_dir, context)?) } else { None };
    let mut spared_groups = SparedGroups::open(args, &log_dir, context)?;
    for topic in chosen(args, &log_dir, context, &mut failures)? {
        let mut readers = match spared_groups.as_mut().map_or(Ok(None), |it| it.readers_of(&topic)) {
            Ok(readers) => readers,
            Err(error) => {
                failures.tell(error);
                continue;
            }
        };
        for partition in log_dir.partitions(&topic)? {
            let now = crate::cli::now();
            let planned = retain(args, &partition, overrides, readers.as_mut(), now, context);
            let planned = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    failures.tell(error);
                    continue;
                }
            };
            let RetentionPlan { plan, .. } = &planned;
            let kept_by_future = plan.kept_by_future(now);
            if let Some(decision) = kept_by_future {
                warn_of_future(partition.id(), decision, context);
            }
            let deleted = Amount::of(plan.going(), Offset::ZERO);
            if let Some(groups) = &mut groups {
                groups.warn_of_unread(&partition, &planned, context)?;
            } else if let Some(readers) = &mut readers {
                warn_of_lost(partition.id(), &planned, readers, context)?;
            }
            tell_spared(partition.id(), &planned, args.dry_run, context);
            if by_segment && is_shown {
                for decision in plan.decisions.iter().filter(|it| args.dry_run || it.verdict.goes()) {
                    let reason = match kept_by_future {
                        Some(kept) if kept == decision => "a timestamp in the future".into(),
                        _ => reason(decision.verdict, &planned),
                    };
                    report.row(segment_row(&topic, partition.id().partition, decision, reason))?;
                }
            } else if is_shown && (args.dry_run || deleted.segments > 0) {
                report.row(row(partition.id(), &planned, &deleted, now))?;
            }
            removed += deleted.segments;
            records += deleted.records;
            bytes += deleted.bytes;
        }
    }
    report.finish()?;
    let verb = if args.dry_run { "would delete" } else { "deleted" };
    context.ui.status(&format!(
        "{verb} {}, {}, {}",
        super::counted(removed, "segment"),
        super::counted(records as u64, "record"),
        ByteSize(bytes)
    ));
    Ok(failures.exit())
}

const LIMITS: [&str; 2] = ["retention.ms", "retention.bytes"];

/// The topics that the run is about.
fn chosen(
    args: &RetentionArgs,
    log_dir: &LogDir,
    context: &Context,
    failures: &mut Failures,
) -> anyhow::Result<Vec<Topic>> {
    let has_limits = args.retention.is_some() || args.retention_bytes.is_some();
    let mut topics = match &args.topic[..] {
        [] => super::readable(log_dir.find_topics()?, failures),
        patterns => log_dir.matching_topics(patterns)?,
    };
    topics.retain(|topic| !(args.topic.is_empty() && topic.name.is_internal()));
    let mut chosen = Vec::with_capacity(topics.len());
    for topic in topics {
        if let Err(error) = log_dir.refuse_lost_file(&topic) {
            failures.tell(error);
            continue;
        }
        let has_own = || LIMITS.into_iter().any(|key| topic.config.has(key));
        if has_limits || log_dir.decides_on(&topic)? || (topic.is_of_broker() && has_own()) {
            chosen.push(topic);
            continue;
        }
        context.ui.warning(&format!(
            "topic {} is skipped: its broker knows its limits; give --retention or --retention-bytes",
            topic.name
        ));
    }
    Ok(chosen)
}

/// The limits of the command line.
fn overrides(args: &RetentionArgs) -> LimitOverrides {
    let retention_ms = args.retention.map(|retention| match retention {
        Retention::Forever => -1,
        Retention::For(duration) => duration.0,
    });
    let retention_bytes = args.retention_bytes.map(|RetentionBytes(bytes)| bytes);
    LimitOverrides { retention_ms, retention_bytes }
}

/// The groups that segments are kept for.
struct SparedGroups<'a> {
    offsets: CommittedOffsets,
    named: &'a [GroupId],
    has_topics: bool,
}

impl<'a> SparedGroups<'a> {
    /// `None` where none is spared.
    fn open(args: &'a RetentionArgs, log_dir: &LogDir, context: &Context) -> anyhow::Result<Option<Self>> {
        let Some(named) = &args.spare_groups else { return Ok(None) };
        let offsets = CommittedOffsets::open(log_dir, named)?;
        for id in named.iter().filter(|id| !offsets.has(id)) {
            // Mistyped, it would keep nothing of any topic.
            if args.topic.is_empty() {
                let error = GroupError::NotFound { group: id.clone() };
                return Err(exit::advised(error.to_string(), "`kdir groups list` shows what groups there are"));
            }
            context.ui.warning(&format!("group {id} has committed nothing yet: see `kdir groups list`"));
        }
        Ok(Some(Self { offsets, named, has_topics: !args.topic.is_empty() }))
    }

    /// Those that read a topic; `None` where none does and that is as it may be.
    fn readers_of(&mut self, topic: &Topic) -> anyhow::Result<Option<GroupReaders<'_>>> {
        let reading = GroupReaders::of(&mut self.offsets, topic, WhichGroups::All)?.reading()?;
        let which = match self.named {
            [] if reading.is_empty() && self.has_topics => {
                return Err(exit::advised(
                    format!("no group reads topic {}, so --spare-groups would keep nothing", topic.name),
                    "name the groups that it is kept for, as in --spare-groups=billing, or leave --spare-groups out",
                ));
            }
            [] if reading.is_empty() => return Ok(None),
            [] => WhichGroups::All,
            named if self.has_topics => WhichGroups::Named(named.to_vec()),
            named => match named.iter().filter(|id| reading.contains(id)).cloned().collect::<Vec<_>>() {
                reading if reading.is_empty() => return Ok(None),
                reading => WhichGroups::Named(reading),
            },
        };
        Ok(Some(GroupReaders::of(&mut self.offsets, topic, which)?))
    }
}

/// What groups have read.
struct KnownGroups {
    groups: BTreeMap<GroupId, Group>,
    shares: ShareReader,
}

impl KnownGroups {
    fn read(log_dir: &LogDir, context: &Context) -> anyhow::Result<Self> {
        let log_dirs = LogDirs::from(log_dir.clone());
        let found = GroupsTopic::find(&log_dirs)?.all()?;
        for error in found.failed {
            context.ui.warning(&format!("what some groups have read is not known: {error}"));
        }
        Ok(Self { groups: found.groups, shares: ShareReader::find(&log_dirs)? })
    }

    /// Names the groups that have not read what would be deleted.
    fn warn_of_unread(
        &mut self,
        partition: &Partition,
        planned: &RetentionPlan,
        context: &Context,
    ) -> anyhow::Result<()> {
        let Some(end) = planned.plan.going().map(|it| it.next_offset).max() else { return Ok(()) };
        let deleted = planned.times.log_start_offset..end;
        let (topic_id, partition) = (partition.incarnation()?, partition.id());
        for (id, group) in &self.groups {
            match self.shares.unread_in((id, group), (partition, topic_id), &deleted) {
                Ok(0) => {}
                Ok(unread) => {
                    let records = super::counted(unread, "record");
                    let what = format!("group {id} has not read {records} of {partition} that would be deleted");
                    context.ui.warning(&what);
                }
                Err(error) => {
                    context.ui.warning(&format!("what group {id} has read of {partition} is not known: {error}"));
                }
            }
        }
        Ok(())
    }
}

/// Names the groups that have not read what was deleted: --spare-max has bounded what is kept for them.
fn warn_of_lost(
    partition: &TopicPartition,
    planned: &RetentionPlan,
    readers: &mut GroupReaders<'_>,
    context: &Context,
) -> anyhow::Result<()> {
    let Some(end) = planned.plan.going().map(|it| it.next_offset).max() else { return Ok(()) };
    for (id, unread) in readers.unread_in(partition, &(planned.times.log_start_offset..end))? {
        let records = super::counted(unread, "record");
        context.ui.warning(&format!(
            "group {id} had not read {records} of {partition}, deleted since --spare-max keeps no more"
        ));
    }
    Ok(())
}

/// Says what is kept for a group.
fn tell_spared(partition: &TopicPartition, planned: &RetentionPlan, is_plan: bool, context: &Context) {
    let Some(unread) = &planned.spared_for else { return };
    let Amount { segments, bytes, .. } = Amount::of(planned.plan.spared(), Offset::ZERO);
    let verb = if is_plan { "would keep" } else { "kept" };
    let segments = super::counted(segments, "segment");
    let why = reader(unread, planned);
    context.ui.status(&format!("{verb} {segments} of {partition} for {why}, {}", ByteSize(bytes)));
}

/// A group that segments are kept for, and its lag.
fn reader(unread: &Unread, planned: &RetentionPlan) -> String {
    let lag = planned.plan.log_end_offset - unread.from;
    let without = if unread.has_position { "" } else { ", nothing committed" };
    format!("{} (lag {lag}{without})", unread.reader)
}

/// Names the segment that retention by time cannot get past, as brokers since 4.1 do.
fn warn_of_future(partition: &TopicPartition, decision: &Decision, context: &Context) {
    let Some(newest) = decision.largest_timestamp else { return };
    let (base, next) = (decision.segment.base_offset, decision.next_offset);
    context.ui.warning(&format!(
        "{partition}: the segment at offset {base} has a timestamp in the future, {}: retention.ms keeps it and all after it",
        newest.to_civil_or_guess(&context.zone)
    ));
    context.ui.hint(&format!(
        "`kdir delete-records {} --before-offset {}:{next}` lets retention remove it",
        partition.topic, partition.partition
    ));
}

/// Plans retention of a partition, and carries it out unless that is not asked for.
fn retain(
    args: &RetentionArgs,
    partition: &Partition,
    overrides: LimitOverrides,
    readers: Option<&mut GroupReaders<'_>>,
    now: Timestamp,
    context: &Context,
) -> anyhow::Result<RetentionPlan> {
    let max = args.spare_max.map_or(Limits::NONE, |SpareMax(max)| max);
    let mut sparing = readers.map(|readers| Sparing { readers, max });
    if args.dry_run {
        return Ok(match &mut sparing {
            Some(sparing) => partition.plan_retention_sparing(overrides, sparing, now)?,
            None => partition.plan_retention(overrides, now)?,
        });
    }
    let mut progress = context.ui.progress(None, Unit::Segments);
    let mut removed = 0;
    let mut notices = Vec::new();
    let on_removed = |_: &Decision| {
        removed += 1;
        progress.set(removed, || partition.id().to_string());
    };
    let planned = match &mut sparing {
        Some(sparing) => partition
            .apply_retention_sparing(overrides, sparing, now, &mut notices, on_removed)
            .map_err(anyhow::Error::from),
        None => partition.apply_retention(overrides, now, &mut notices, on_removed).map_err(anyhow::Error::from),
    };
    progress.finish();
    notices.iter().for_each(|notice| context.ui.warning(&super::told(notice)));
    planned
}

/// How much is in some segments.
#[derive(Default)]
struct Amount {
    segments: u64,
    records: i64,
    bytes: u64,
}

impl Amount {
    fn of<'a>(decisions: impl Iterator<Item = &'a Decision>, start: Offset) -> Self {
        decisions.fold(Self::default(), |sum, it| Self {
            segments: sum.segments + 1,
            records: sum.records + (it.next_offset - it.segment.base_offset.max(start)).max(0),
            bytes: sum.bytes + it.segment.size,
        })
    }
}

fn row(partition: &TopicPartition, planned: &RetentionPlan, deleted: &Amount, now: Timestamp) -> Vec<Cell> {
    let RetentionPlan { plan, limits, times, .. } = planned;
    let kept = Amount::of(plan.decisions.iter().filter(|it| !it.verdict.goes()), times.log_start_offset);
    let has_time_limit = limits.deletes && limits.retention_ms >= 0;
    let until = plan
        .first_kept()
        .filter(|it| has_time_limit && it.verdict != Verdict::Spared)
        .and_then(|it| it.largest_timestamp);
    let until = until.map(|largest| Timestamp(largest.0.saturating_add(limits.retention_ms)));
    let (from, to) = if deleted.segments > 0 { (times.deleted_first, times.deleted_largest) } else { (None, None) };
    vec![
        Cell::text(&partition.topic),
        Cell::Number(partition.partition.into()),
        Cell::Number(deleted.segments as i64),
        Cell::Number(deleted.records),
        Cell::Bytes(deleted.bytes),
        Cell::moment(from, now),
        Cell::moment(to, now),
        Cell::Number(kept.records),
        Cell::Bytes(kept.bytes),
        Cell::moment(times.kept_first, now),
        Cell::moment(until, now),
    ]
}

fn segment_row(topic: &Topic, partition: i32, decision: &Decision, reason: String) -> Vec<Cell> {
    vec![
        Cell::text(&topic.name),
        Cell::Number(partition.into()),
        Cell::Number(decision.segment.base_offset.0),
        Cell::Number(decision.next_offset.0),
        Cell::Bytes(decision.segment.size),
        Cell::time(decision.largest_timestamp),
        Cell::text(if decision.verdict.goes() { "delete" } else { "keep" }),
        Cell::Text(reason),
    ]
}

fn reason(verdict: Verdict, planned: &RetentionPlan) -> String {
    let limits = &planned.limits;
    match verdict {
        Verdict::BelowLogStart => "below the log start offset".into(),
        Verdict::OverSize => {
            let limit = u64::try_from(limits.retention_bytes).unwrap_or_default();
            format!("the rest has retention.bytes={} ({})", limits.retention_bytes, ByteSize(limit))
        }
        Verdict::TooOld => {
            format!("older than retention.ms={} ({})", limits.retention_ms, Duration(limits.retention_ms).rounded())
        }
        Verdict::Spared => {
            let spared_for = planned.spared_for.as_ref().expect("what is spared is spared for somebody");
            format!("kept for {}", reader(spared_for, planned))
        }
        Verdict::WithinLimits if limits.retention_ms < 0 && limits.retention_bytes < 0 => "no limit is set".into(),
        Verdict::WithinLimits => "within the limits".into(),
        Verdict::BehindOneThatStays => "a segment before it is kept".into(),
        Verdict::EmptyActive => "the active segment, empty".into(),
    }
}
