use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, json_only, number, text};
use crate::logdir::{LogDirError, LogDirs, Origin, Partition, Topic, TopicPattern};
use crate::units::{SetAside, SetAsideKind, TopicPartition};
use serde_json::Value;

/// List topics
///
/// One row a topic: partitions, records (log end offset minus log start offset, summed) and the bytes of its .log files.
/// A compacted topic may hold fewer records: the table marks the number. What cannot be read is named and not counted.
///
/// Folders of partitions that were set aside are counted in a message, and listed with --all: `stray`, a broker did not find the
/// partition in its metadata when it started; `future`, a copy that was being made from another log dir; `deleting`, the
/// partition was deleted and its folder not removed yet. consume, describe, offsets and verify take the name of such a folder
/// in the place of a topic.
///
/// Columns of JSON and TSV: topic, partitions, records, bytes; with --all also kind (topic, stray, future or deleting) and
/// topic_partition, the partition that a folder is of. A topic name that Kafka has cut, to fit a folder name, ends in `*` there.
/// JSON has also exact: false where a topic may hold fewer records.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  kdir list 'app-*'\n  kdir list -o json | jq -r 'select(.bytes > 1e9) | .topic'"
)]
pub(crate) struct ListArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// List also the folders of partitions that were set aside
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    report: ReportArgs,
}

const ALL_COLUMNS: [Column; 7] = [
    text("topic", "TOPIC"),
    number("partitions", "PARTITIONS").leaves(1),
    number("records", "RECORDS"),
    number("bytes", "BYTES"),
    text("kind", "KIND"),
    text("topic_partition", "PARTITION").leaves(2),
    json_only("exact"),
];

const COLUMNS: [Column; 5] = [
    text("topic", "TOPIC"),
    number("partitions", "PARTITIONS"),
    number("records", "RECORDS"),
    number("bytes", "BYTES"),
    json_only("exact"),
];

pub(crate) fn run(args: &ListArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_to_read()?;
    let columns: &[Column] = if args.all { &ALL_COLUMNS } else { &COLUMNS };
    let mut report = Report::new(context.ui, args.report.output, &context.zone, columns);
    let mut failures = Failures::new(context.ui);
    let (topics, set_aside) = named(args, &log_dirs, &mut failures)?;
    let cleaned = log_dirs.cleaned_topics()?;
    for topic in &topics {
        let is_compacted = topic.is_compacted() || cleaned.contains(&topic.name);
        let mut row = row(topic, log_dirs.partitions(topic)?, is_compacted, &mut failures);
        if args.all {
            row.splice(4..4, [Cell::text("topic"), Cell::Nothing]);
        }
        report.row(row)?;
    }
    if args.all {
        for folder in &set_aside {
            // One that is gone by now is a topic or deleted.
            let Ok(topic) = log_dirs.named(&folder.folder) else { continue };
            let is_compacted = cleaned.contains(&folder.partition.topic);
            let mut row = row(&topic, log_dirs.partitions(&topic)?, is_compacted, &mut failures);
            row.splice(4..4, [Cell::text(folder.kind.name()), Cell::text(shown_partition(folder))]);
            report.row(row)?;
        }
    }
    report.finish()?;
    let has_rows = !topics.is_empty() || args.all && !set_aside.is_empty();
    if !has_rows && failures.exit() == Exit::Done {
        context.ui.status(&no_topics(context));
    }
    if !args.all && !set_aside.is_empty() {
        context.ui.warning(&counts(&set_aside));
        context.ui.hint("`kdir list --all` shows them; `kdir consume FOLDER` reads one");
    }
    Ok(failures.exit())
}

/// The topics that are meant, and the folders that were set aside of those; without a name, all that are there.
fn named(args: &ListArgs, log_dirs: &LogDirs, failures: &mut Failures) -> anyhow::Result<(Vec<Topic>, Vec<SetAside>)> {
    let mut found = log_dirs.find_topics()?;
    let mut set_aside = std::mem::take(&mut found.set_aside);
    if args.topic.is_empty() {
        return Ok((super::readable(found, failures), set_aside));
    }
    let is_named = |folder: &SetAside| {
        args.topic.iter().any(|it| it.matches(&folder.partition.topic) || it.matches(&folder.folder))
    };
    set_aside.retain(is_named);
    let mut topics = match log_dirs.matching_topics(&args.topic) {
        // What is left of it is listed.
        Err(LogDirError::TopicSetAside { .. } | LogDirError::NoTopicMatches { .. })
            if args.all && !set_aside.is_empty() =>
        {
            Vec::new()
        }
        found => found?,
    };
    topics.retain(|topic| !args.all || topic.origin != Origin::SetAside);
    Ok((topics, set_aside))
}

/// A compacted log may hold fewer records than its offsets say.
fn row(topic: &Topic, partitions: Vec<Partition>, is_compacted: bool, failures: &mut Failures) -> Vec<Cell> {
    let count = Cell::Number(partitions.len() as i64);
    let (records, bytes) = totals(partitions, failures);
    let is_exact = records == 0 || !is_compacted;
    let records = if is_exact { Cell::Number(records) } else { Cell::AtMost(records) };
    vec![Cell::text(&topic.name), count, records, Cell::Bytes(bytes), Cell::Json(Value::Bool(is_exact))]
}

/// The partition that a folder is of; of a topic whose name may be cut, `*` stands for the rest.
fn shown_partition(folder: &SetAside) -> String {
    let TopicPartition { topic, partition } = &folder.partition;
    if folder.is_cut() { format!("{topic}*-{partition}") } else { folder.partition.to_string() }
}

/// How many folders were set aside, by kind.
fn counts(folders: &[SetAside]) -> String {
    let of_kind = |kind: SetAsideKind| match folders.iter().filter(|it| it.kind == kind).count() {
        0 => None,
        count => Some(format!("{count} {}", kind.name())),
    };
    let kinds: Vec<String> = SetAsideKind::ALL.into_iter().filter_map(of_kind).collect();
    let verb = if folders.len() == 1 { "is" } else { "are" };
    format!("{} {verb} set aside ({})", super::counted(folders.len() as u64, "partition folder"), kinds.join(", "))
}

/// Says that there is nothing to be shown.
pub(super) fn no_topics(context: &Context) -> String {
    let roots: Vec<String> = context.roots.iter().map(|root| root.display().to_string()).collect();
    format!("there are no topics in {}", roots.join(", "))
}

/// Records and bytes of a topic: of those of its partitions that can be read.
pub(super) fn totals(partitions: Vec<Partition>, failures: &mut Failures) -> (i64, u64) {
    let (mut records, mut bytes) = (0, 0);
    for partition in partitions {
        match of_partition(&partition) {
            Ok((found, size)) => (records, bytes) = (records + found, bytes + size),
            Err(error) => failures.tell(error),
        }
    }
    (records, bytes)
}

fn of_partition(partition: &Partition) -> anyhow::Result<(i64, u64)> {
    let view = partition.view()?;
    let bytes = view.segments()?.iter().map(|segment| segment.size).sum();
    Ok((view.log_end_offset()? - view.log_start_offset(), bytes))
}
