use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, number, text};
use crate::cli::signals::{self, Stop};
use crate::cli::ui::Unit;
use crate::logdir::{CompactOptions, CompactionReport, LogDir, LogDirError, Outcome, Partition, Topic, TopicPattern};
use crate::storage::LogConfig;
use crate::storage::clean::{ActiveSegment, Due, Held, Watch};
use crate::units::{ByteSize, Timestamp};

/// Compact logs once: keep the newest record of each key
///
/// Does what Kafka's log cleaner would do now, by the topic's configuration: a partition is compacted when the bytes since the
/// last time are more than min.cleanable.dirty.ratio of all, or a record is older than max.compaction.lag.ms. What goes: records
/// that a later one has the key of, records of aborted transactions, markers of transactions that nothing is left of, records
/// without a key. A tombstone, which is a record with a key and no value, goes delete.retention.ms after the compaction that
/// has met it first. Offsets stay as they are. The active segment is not compacted, nor what is after an open transaction
/// or younger than min.compaction.lag.ms. Producers and readers go on; everything written is durable before it takes the place
/// of anything. Topics with both policies: `kdir retention` removes whole segments.
///
/// Without a topic: all topics that kdir made and whose cleanup.policy holds compact. A broker's topic has to be named; its
/// configuration is taken from the broker's metadata where that is here, and from --config.
///
/// Memory: --memory for keys, of which there may be any number (those that it has no room for go to a file in the partition's
/// folder, with --dry-run in $TMPDIR, 16 bytes a record), and one bit for each record.
///
/// Columns of JSON and TSV: topic, partition, action, dirty_ratio, first_dirty_offset, limit, segments, segments_after, bytes,
/// bytes_after, records, superseded, tombstones, aborted, markers, keyless, reasons. With --dry-run bytes_after is an estimate.
/// The reasons say why a partition is left, or what is left of it, and until when. Exit status 0 also where nothing was due.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir compact --dry-run users\n  kdir compact --force --roll users\n  \
                       kdir compact users -o json | jq .reasons")]
pub(crate) struct CompactArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Show what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Whatever the dirty ratio is
    #[arg(short, long)]
    force: bool,
    /// Close the active segment before, so that it is compacted as well
    #[arg(long)]
    roll: bool,
    /// Memory for keys
    #[arg(long, value_name = "SIZE", default_value = "32MiB")]
    memory: ByteSize,
    /// Leave segments that would give back less than that much of their bytes
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=100))]
    min_gain: u8,
    /// In place of a topic configuration, such as delete.retention.ms=1h (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = args::key_value, add = complete::config())]
    config: Vec<(String, String)>,
    #[command(flatten)]
    report: ReportArgs,
}

/// A time that is further away is shown as never.
const YEARS_MS: i64 = 1000 * 365 * 86_400_000;

const POLICY: &str = "cleanup.policy";

const COLUMNS: [Column; 17] = [
    text("topic", "TOPIC"),
    number("partition", "P"),
    text("action", "ACTION"),
    number("dirty_ratio", "DIRTY"),
    number("first_dirty_offset", "").leaves(1),
    number("limit", "").leaves(1),
    number("segments", "SEGS"),
    number("segments_after", "AFTER"),
    number("bytes", "BYTES"),
    number("bytes_after", "AFTER"),
    number("records", "").leaves(1),
    number("superseded", "SUPERSEDED").leaves(5),
    number("tombstones", "TOMBSTONES").leaves(4),
    number("aborted", "ABORTED").leaves(2),
    number("markers", "MARKERS").leaves(1),
    number("keyless", "KEYLESS").leaves(3),
    text("reasons", "REASONS"),
];

pub(crate) fn run(args: &CompactArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let opened = if args.dry_run { context.open() } else { context.open_to_write() };
    let log_dir = match opened {
        Err(error) if matches!(error.downcast_ref(), Some(LogDirError::Missing { .. })) => {
            context.ui.status(&format!("{error}, so there is nothing to compact"));
            return Ok(Exit::Done);
        }
        opened => opened?,
    };
    let _stop = Stop::on_signals()?;
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let is_shown = args.dry_run || args.report.output != ReportFormat::Table || !context.ui.is_quiet();
    let mut failures = Failures::new(context.ui);
    let mut gained = 0;
    for (topic, config) in chosen(args, &log_dir, context, &mut failures)? {
        let options = CompactOptions {
            config,
            is_forced: args.force,
            active_segment: if args.roll { ActiveSegment::IsRolled } else { ActiveSegment::Stays },
            memory: args.memory.0,
            min_gain_percent: args.min_gain,
        };
        for partition in log_dir.partitions(&topic)? {
            match compact(&partition, &options, args.dry_run, context) {
                Ok(None) => {}
                Ok(Some(done)) => {
                    if done.scratch_size > 0 {
                        let (partition, size) = (partition.id(), ByteSize(done.scratch_size));
                        context.ui.verbose(&format!("{partition}: {size} of hashes of keys went to a file (--memory)"));
                    }
                    gained += done.before.bytes.saturating_sub(done.after.bytes);
                    if is_shown {
                        report.row(row(&partition, &done, &options, args.dry_run, context))?;
                    }
                }
                Err(error) if signals::is_stopped() => {
                    report.finish()?;
                    return Err(error);
                }
                Err(error) => failures.tell(error),
            }
        }
    }
    report.finish()?;
    let verb = if args.dry_run { "would give back about" } else { "gave back" };
    context.ui.status(&format!("{verb} {}", ByteSize(gained)));
    Ok(failures.exit())
}

fn compact(
    partition: &Partition,
    options: &CompactOptions,
    is_dry_run: bool,
    context: &Context,
) -> anyhow::Result<Option<CompactionReport>> {
    let now = crate::cli::now();
    let mut progress = context.ui.progress(None, Unit::Bytes);
    let mut bytes = 0;
    let mut watch = Watch {
        is_stopped: &signals::is_stopped,
        on_bytes: &mut |count| {
            bytes += count;
            progress.set(bytes, || partition.id().to_string());
        },
    };
    let mut notices = Vec::new();
    let done = if is_dry_run {
        partition.plan_compaction(options, now, &mut watch)
    } else {
        partition.compact(options, now, &mut notices, &mut watch)
    };
    progress.finish();
    notices.iter().for_each(|notice| context.ui.warning(&super::told(notice)));
    Ok(done?)
}

/// The topics that the run is about, with their configuration.
fn chosen(
    args: &CompactArgs,
    log_dir: &LogDir,
    context: &Context,
    failures: &mut Failures,
) -> anyhow::Result<Vec<(Topic, LogConfig)>> {
    let topics = match &args.topic[..] {
        [] => super::readable(log_dir.find_topics()?, failures),
        patterns => log_dir.matching_topics(patterns)?,
    };
    let mut chosen = Vec::new();
    for topic in topics {
        if let Err(error) = log_dir.refuse_lost_file(&topic) {
            failures.tell(error);
            continue;
        }
        let is_own = log_dir.decides_on(&topic)?;
        if !is_own && args.topic.is_empty() {
            continue;
        }
        let known = topic.known_config().filter(|_| is_own || topic.is_of_broker());
        let is_known = known.is_some() || args.config.iter().any(|(key, _)| key == POLICY);
        let mut config = known.unwrap_or_default();
        for warning in args::configure(&mut config, &args.config, None, None)? {
            context.ui.warning(&warning);
        }
        let policy = config.text(POLICY).to_owned();
        let effective = topic.clone().with_config(config).log_config();
        if effective.cleanup_policy.compact {
            chosen.push((topic, effective));
        } else if !args.topic.is_empty() {
            failures.tell(LogDirError::NotCompacted { topic: topic.name, policy: is_known.then_some(policy) });
        }
    }
    Ok(chosen)
}

fn row(
    partition: &Partition,
    done: &CompactionReport,
    options: &CompactOptions,
    is_dry_run: bool,
    context: &Context,
) -> Vec<Cell> {
    let CompactionReport { cleanable, counts, before, after, .. } = done;
    let action = match done.outcome {
        Outcome::Done | Outcome::Changed(_) if is_dry_run => "would compact",
        Outcome::Done | Outcome::Changed(_) => "compacted",
        Outcome::NotDue | Outcome::Nothing | Outcome::Busy => "left",
    };
    let count = |count: u64| Cell::Number(count as i64);
    vec![
        Cell::text(&partition.id().topic),
        Cell::Number(partition.id().partition.into()),
        Cell::text(action),
        Cell::Ratio(cleanable.dirty_ratio()),
        Cell::Number(cleanable.first_dirty_offset.0),
        Cell::Number(cleanable.limit.0),
        count(before.segments),
        count(after.segments),
        Cell::Bytes(before.bytes),
        Cell::Bytes(after.bytes),
        count(counts.records),
        count(counts.superseded),
        count(counts.tombstones),
        count(counts.aborted),
        count(counts.markers),
        count(counts.keyless),
        Cell::Text(reasons(done, options, context).join("; ")),
    ]
}

/// Why the partition is left, and why not all of it was compacted.
fn reasons(done: &CompactionReport, options: &CompactOptions, context: &Context) -> Vec<String> {
    let CompactionReport { cleanable, before, .. } = done;
    let mut reasons = Vec::new();
    match done.outcome {
        Outcome::Done => {}
        Outcome::NotDue => {
            let (ratio, limit) = (cleanable.dirty_ratio(), options.config.min_cleanable_dirty_ratio);
            reasons.push(format!("dirty ratio {ratio:.2} is not above {limit} (--force)"));
        }
        Outcome::Nothing => reasons.push("no closed segment to compact".into()),
        Outcome::Busy => reasons.push("another compaction is going on".into()),
        Outcome::Changed(from) => reasons.push(format!("changed by others from offset {from} on: run it again")),
    }
    if done.outcome == Outcome::Done && cleanable.due == Due::MaxLag {
        reasons.push("due by max.compaction.lag.ms".into());
    }
    let time = |at: Timestamp| at.to_civil_or_guess(&context.zone);
    match &cleanable.held {
        Held::Active { bytes: 0 } => {}
        // It has come since.
        Held::Active { .. } if options.active_segment == ActiveSegment::IsRolled => {}
        Held::Active { bytes } => {
            let percent = bytes * 100 / before.bytes.max(1);
            reasons.push(format!("active segment: {percent} % of the bytes (--roll)"));
        }
        Held::Transaction(open) => {
            reasons.push(format!("transaction of producer {} open since offset {}", open.producer_id, open.offset));
        }
        Held::TooYoung { base_offset, until } => {
            reasons.push(format!("segment {base_offset} is within min.compaction.lag.ms until {}", time(*until)));
        }
        Held::NotDurable => reasons.push("what follows is not durable yet".into()),
    }
    let is_far = |until: &Timestamp| until.is_far_ahead_of(Timestamp(crate::cli::now().0.saturating_add(YEARS_MS)));
    reasons.extend(done.tombstones_until.map(|until| match until {
        until if is_far(&until) => "tombstones stay".to_owned(),
        until => format!("tombstones wait until {}", time(until)),
    }));
    reasons
}
