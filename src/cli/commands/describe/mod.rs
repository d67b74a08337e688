mod chart;

use crate::cli::Context;
use crate::cli::args;
use crate::cli::commands::list::no_topics;
use crate::cli::complete;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, json_only, number, text};
use crate::format::properties::topic_id_to_text;
use crate::logdir::config::TopicConfig;
use crate::logdir::{LogDirs, Topic, TopicPattern};
use crate::storage::OpenTransaction;
use crate::storage::clean::Cleanable;
use crate::storage::summary::Summary;
use crate::units::{Duration, TopicName};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Describe topics, partition by partition
///
/// One row a partition: log start offset, log end offset, segments, bytes, the timestamp of the first record and the
/// largest timestamp. Without a topic, all topics are described. The time it takes grows with the number of
/// segments, not with their bytes.
///
/// A line below the table names each partition in which a transaction is open: readers of committed records stop at the
/// last stable offset. Found are the transactions that were open when the broker stopped or began its last segment, and
/// all if that segment is below 64 KiB; `kdir verify` reads everything and finds the others.
///
/// Another names each partition of a compacted topic, with what share of its bytes the next compaction would go through, and
/// where the last one ended.
///
/// With --chart, how many records each topic got by day, hour or minute, in the local zone: a bar a line, the number of
/// records and their share of the bytes of their batches. That reads every batch of more than one record. Timestamps after
/// the year 9999 have a line of their own, by the unit that was most likely meant.
///
/// Columns of TSV: topic, partition, log_start_offset, log_end_offset, segments, bytes, oldest (of the first record), newest;
/// with --segments: topic, partition, base_offset, next_offset, bytes, oldest, newest; with --chart: topic, time, records,
/// bytes. JSON has also topic_id and config (of a broker's topics, those in `partition.metadata` and `__cluster_metadata`),
/// last_stable_offset and open_transactions (null without an open transaction), dirty_ratio and cleaner_offset (null for a
/// topic that is not compacted). On a narrow terminal, a table is without the
/// columns that it has no room for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir describe app --segments\n  kdir describe app --chart hour")]
pub(crate) struct DescribeArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// One row a segment
    #[arg(long)]
    segments: bool,
    /// How many records there were when, as bars
    #[arg(long, value_name = "day|hour|minute", conflicts_with = "segments")]
    chart: Option<chart::Step>,
    #[command(flatten)]
    report: ReportArgs,
}

/// What differs from Kafka's defaults.
type Config = BTreeMap<String, String>;

const PARTITION_COLUMNS: [Column; 14] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("log_start_offset", "LOG START").leaves(3),
    number("log_end_offset", "LOG END"),
    number("segments", "SEGMENTS").leaves(2),
    number("bytes", "BYTES"),
    text("oldest", "FIRST").leaves(1),
    text("newest", "NEWEST"),
    json_only("topic_id"),
    json_only("config"),
    json_only("last_stable_offset"),
    json_only("open_transactions"),
    json_only("dirty_ratio"),
    json_only("cleaner_offset"),
];

const SEGMENT_COLUMNS: [Column; 7] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("base_offset", "BASE OFFSET"),
    number("next_offset", "NEXT OFFSET").leaves(2),
    number("bytes", "BYTES"),
    text("oldest", "FIRST").leaves(1),
    text("newest", "NEWEST"),
];

pub(crate) fn run(args: &DescribeArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_to_read()?;
    let mut failures = Failures::new(context.ui);
    let topics = super::named_topics_or_all(&log_dirs, &args.topic, &mut failures)?;
    if let Some(step) = args.chart {
        chart::run(&log_dirs, &topics, step, args.report.output, context, &mut failures)?;
        return Ok(ended(&topics, &failures, context));
    }
    let columns: &[Column] = if args.segments { &SEGMENT_COLUMNS } else { &PARTITION_COLUMNS };
    let mut report = Report::new(context.ui, args.report.output, &context.zone, columns);
    let configs = configurations(&topics);
    let mut below = String::new();
    for topic in &topics {
        for &partition in &topic.partitions {
            let found = match find(&log_dirs, topic, partition, &configs[&topic.name]) {
                Ok(found) => found,
                Err(error) => {
                    failures.tell(error);
                    continue;
                }
            };
            if args.segments {
                segment_rows(topic, partition, &found.summary).try_for_each(|row| report.row(row))?;
            } else {
                below.extend(open_transaction(topic, partition, &found.summary, context));
                below.extend(dirt(topic, partition, &found));
                report.row(partition_row(topic, partition, &found, &configs[&topic.name]))?;
            }
        }
    }
    report.finish()?;
    if args.report.output == ReportFormat::Table && !args.segments {
        context.ui.data(below.as_bytes())?;
        context.ui.data(config_lines(&configs).as_bytes())?;
    }
    Ok(ended(&topics, &failures, context))
}

fn ended(topics: &[Topic], failures: &Failures, context: &Context) -> Exit {
    if topics.is_empty() && failures.exit() == Exit::Done {
        context.ui.status(&no_topics(context));
    }
    failures.exit()
}

/// What a partition holds.
struct Found {
    summary: Summary,
    /// Its topic's id, where one is known.
    topic_id: Option<Uuid>,
    /// Of a compacted topic.
    cleanable: Option<Cleanable>,
}

fn find(log_dirs: &LogDirs, topic: &Topic, partition: i32, config: &Config) -> anyhow::Result<Found> {
    let partition = log_dirs.partition(topic, partition)?;
    let view = partition.view()?;
    let config = TopicConfig::from_stored(config.clone()).unwrap_or_default();
    let config = topic.clone().with_config(config).log_config();
    let cleanable = match config.cleanup_policy.compact {
        true => partition.cleaned(&view, &config, crate::cli::now())?,
        false => None,
    };
    Ok(Found { summary: view.summary()?, topic_id: partition.incarnation()?, cleanable })
}

/// A line on how much of a compacted partition has not been compacted.
fn dirt(topic: &Topic, partition: i32, found: &Found) -> Option<String> {
    let cleanable = found.cleanable.as_ref()?;
    let (ratio, offset) = (cleanable.dirty_ratio(), cleanable.first_dirty_offset);
    Some(format!("\n{}-{partition}  dirty ratio {ratio:.2}, compacted up to offset {offset}\n", topic.name))
}

fn partition_row(topic: &Topic, partition: i32, found: &Found, config: &Config) -> Vec<Cell> {
    let Found { summary, topic_id, cleanable } = found;
    let config = config.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    let open = &summary.open_transactions;
    let topic_id = topic_id.map_or(Value::Null, |id| Value::from(topic_id_to_text(id)));
    vec![
        Cell::text(&topic.name),
        Cell::Number(partition.into()),
        Cell::Number(summary.log_start_offset.0),
        Cell::Number(summary.log_end_offset.0),
        Cell::Number(summary.segments.len() as i64),
        Cell::Bytes(summary.bytes()),
        Cell::time(summary.first_timestamp()),
        Cell::time(summary.newest_timestamp().or(summary.first_timestamp())),
        Cell::Json(topic_id),
        Cell::Json(Value::Object(config.collect::<Map<_, _>>())),
        Cell::Json(open.first().map_or(Value::Null, |first| first.offset.0.into())),
        Cell::Json(if open.is_empty() { Value::Null } else { open.iter().map(transaction).collect() }),
        cleanable.as_ref().map_or(Cell::Json(Value::Null), |it| Cell::Ratio(it.dirty_ratio())),
        cleanable.as_ref().map_or(Cell::Json(Value::Null), |it| Cell::Number(it.first_dirty_offset.0)),
    ]
}

fn transaction(open: &OpenTransaction) -> Value {
    let OpenTransaction { producer_id, offset, since } = *open;
    json!({ "producer_id": producer_id, "first_offset": offset.0, "timestamp": since.map(|since| since.0) })
}

/// A line on what keeps readers of committed records from the log end.
fn open_transaction(topic: &Topic, partition: i32, summary: &Summary, context: &Context) -> Option<String> {
    let (first, others) = summary.open_transactions.split_first()?;
    let OpenTransaction { producer_id, offset, since } = *first;
    let since = since.map_or(String::new(), |since| {
        let age = i64::try_from(crate::cli::now().since(since)).unwrap_or(i64::MAX);
        format!(" since {} ({})", since.to_civil(&context.zone), Duration(age.max(0)).rounded())
    });
    let more = match others.len() as u64 {
        0 => String::new(),
        count => format!("\n  and {} after it", super::counted(count, "open transaction")),
    };
    let name = &topic.name;
    Some(format!(
        "\n{name}-{partition}  last stable offset {offset}\n  open transaction of producer {producer_id}{since}{more}\n"
    ))
}

fn segment_rows(topic: &Topic, partition: i32, summary: &Summary) -> impl Iterator<Item = Vec<Cell>> {
    let name = topic.name.clone();
    summary.segments.iter().map(move |it| {
        vec![
            Cell::text(&name),
            Cell::Number(partition.into()),
            Cell::Number(it.segment.base_offset.0),
            Cell::Number(it.next_offset.0),
            Cell::Bytes(it.segment.size),
            Cell::time(it.first_timestamp),
            Cell::time(it.largest_timestamp.or(it.first_timestamp)),
        ]
    })
}

/// The configuration of each topic, as far as it differs from Kafka's defaults.
fn configurations(topics: &[Topic]) -> BTreeMap<TopicName, Config> {
    topics.iter().map(|topic| (topic.name.clone(), owned(topic.config.overrides()))).collect()
}

fn owned<'a>(config: impl Iterator<Item = (&'a str, &'a str)>) -> Config {
    config.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A line for each topic that has a configuration of its own.
fn config_lines(configs: &BTreeMap<TopicName, Config>) -> String {
    let mut lines = String::new();
    for (topic, config) in configs {
        let pairs: Vec<String> = config.iter().map(|(key, value)| format!("{key}={value}")).collect();
        if !pairs.is_empty() {
            lines.push_str(&format!("\n{topic}  {}", pairs.join("  ")));
        }
    }
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}
