use crate::cli::Context;
use crate::cli::args::{self, Retention, RetentionBytes};
use crate::cli::complete;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, number, text};
use crate::cli::ui::Unit;
use crate::logdir::{LimitOverrides, LogDir, LogDirError, Partition, RetentionPlan, Topic, TopicPattern};
use crate::storage::retention::{Decision, Limits, Verdict};
use crate::units::{ByteSize, Timestamp, TopicPartition};

/// Apply retention once
///
/// Whole segments go, oldest first, by Kafka's own three passes: those below the log start offset, then those that
/// retention.bytes does without, then those whose largest timestamp is older than retention.ms. The active segment is not
/// exempt. Nothing else in kdir ever deletes data on its own. A segment with a timestamp in the future, and with it all that
/// follow, is kept until then, as by a broker of Kafka 4: a warning names it.
///
/// Without a topic: all topics that kdir made. A broker's topic is skipped, unless the limits are given here; internal
/// topics (__*) only when named. With --dry-run every segment is listed with the reason why it goes or stays; without,
/// those that went: nothing with --quiet, unless -o asks for JSON or TSV. Where there is no log dir yet, there is nothing to do.
///
/// Columns of JSON and TSV: topic, partition, base_offset, next_offset, bytes, newest, action, reason
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir retention --dry-run app")]
pub(crate) struct RetentionArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Show what would go, and why; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// In place of the topics' retention.ms: 7d, 36h, 90s, or forever
    #[arg(long, value_name = "DURATION")]
    retention: Option<Retention>,
    /// In place of the topics' retention.bytes: 10GB, 512MiB, or unlimited
    #[arg(long, value_name = "SIZE")]
    retention_bytes: Option<RetentionBytes>,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 8] = [
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
    let opened = if args.dry_run { context.open() } else { context.open_to_write() };
    let log_dir = match opened {
        Err(error) if matches!(error.downcast_ref(), Some(LogDirError::Missing { .. })) => {
            context.ui.status(&format!("{error}, so there is nothing to remove"));
            return Ok(Exit::Done);
        }
        opened => opened?,
    };
    let shows_rows = args.dry_run || args.report.output != ReportFormat::Table || !context.ui.is_quiet();
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let (mut removed, mut bytes) = (0, 0);
    let mut failures = Failures::new(context.ui);
    let overrides = overrides(args);
    for topic in chosen(args, &log_dir, context, &mut failures)? {
        for partition in log_dir.partitions(&topic)? {
            let now = crate::cli::now();
            let planned = if args.dry_run {
                partition.plan_retention(overrides, now).map_err(anyhow::Error::from)
            } else {
                apply(&partition, overrides, now, context)
            };
            let RetentionPlan { plan, limits } = match planned {
                Ok(planned) => planned,
                Err(error) => {
                    failures.tell(error);
                    continue;
                }
            };
            let kept_by_future = plan.kept_by_future(now);
            if let Some(decision) = kept_by_future {
                warn_of_future(partition.id(), decision, context);
            }
            for decision in plan.decisions.iter().filter(|it| shows_rows && (args.dry_run || it.verdict.goes())) {
                let reason = match kept_by_future {
                    Some(kept) if kept == decision => "a timestamp in the future".into(),
                    _ => reason(decision.verdict, &limits),
                };
                report.row(row(&topic, partition.id().partition, decision, reason))?;
            }
            removed += plan.going().count() as u64;
            bytes += plan.going().map(|decision| decision.segment.size).sum::<u64>();
        }
    }
    report.finish()?;
    let verb = if args.dry_run { "would remove" } else { "removed" };
    context.ui.status(&format!("{verb} {}, {}", super::counted(removed, "segment"), ByteSize(bytes)));
    Ok(failures.exit())
}

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
        if has_limits || log_dir.decides_on(&topic)? {
            chosen.push(topic);
            continue;
        }
        context.ui.warning(&format!(
            "topic {} is skipped: its limits are in its broker's metadata; give --retention or --retention-bytes",
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

fn apply(
    partition: &Partition,
    overrides: LimitOverrides,
    now: Timestamp,
    context: &Context,
) -> anyhow::Result<RetentionPlan> {
    let mut progress = context.ui.progress(None, Unit::Segments);
    let mut removed = 0;
    let mut notices = Vec::new();
    let planned = partition.apply_retention(overrides, now, &mut notices, |_| {
        removed += 1;
        progress.set(removed, || partition.id().to_string());
    });
    progress.finish();
    notices.iter().for_each(|notice| context.ui.warning(&super::told(notice)));
    Ok(planned?)
}

fn row(topic: &Topic, partition: i32, decision: &Decision, reason: String) -> Vec<Cell> {
    vec![
        Cell::text(&topic.name),
        Cell::Number(partition.into()),
        Cell::Number(decision.segment.base_offset.0),
        Cell::Number(decision.next_offset.0),
        Cell::Bytes(decision.segment.size),
        Cell::time(decision.largest_timestamp),
        Cell::text(if decision.verdict.goes() { "remove" } else { "keep" }),
        Cell::Text(reason),
    ]
}

fn reason(verdict: Verdict, limits: &Limits) -> String {
    match verdict {
        Verdict::BelowLogStart => "below the log start offset".into(),
        Verdict::OverSize => format!("the rest is at least retention.bytes={}", limits.retention_bytes),
        Verdict::TooOld => format!("older than retention.ms={}", limits.retention_ms),
        Verdict::WithinLimits if limits.retention_ms < 0 && limits.retention_bytes < 0 => "no limit is set".into(),
        Verdict::WithinLimits => "within the limits".into(),
        Verdict::BehindOneThatStays => "a segment before it stays".into(),
        Verdict::EmptyActive => "the active segment, empty".into(),
    }
}
