use crate::cli::Context;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::logdir::{LogDir, Partition, Topic};

/// List topics
///
/// One row a topic: partitions, records (log end offset minus log start offset, summed; a compacted topic may hold
/// fewer) and the bytes of its .log files. What cannot be read is named and not counted.
///
/// Columns of JSON and TSV: topic, partitions, records, bytes
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir list -o json | jq -r 'select(.bytes > 1e9) | .topic'")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 4] = [
    text("topic", "TOPIC"),
    number("partitions", "PARTITIONS"),
    number("records", "RECORDS"),
    number("bytes", "BYTES"),
];

pub(crate) fn run(args: &ListArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dir = context.open_to_read()?;
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let mut failures = Failures::new(context.ui);
    let topics = super::named_topics_or_all(&log_dir, &[], &mut failures)?;
    for topic in &topics {
        let (records, bytes) = totals(&log_dir, topic, &mut failures)?;
        report.row(vec![
            Cell::text(&topic.name),
            Cell::Number(topic.partitions.len() as i64),
            Cell::Number(records),
            Cell::Bytes(bytes),
        ])?;
    }
    report.finish()?;
    if topics.is_empty() && failures.exit() == Exit::Done {
        context.ui.status(&no_topics(context));
    }
    Ok(failures.exit())
}

/// Says that there is nothing to be shown, and why where it can be seen.
pub(super) fn no_topics(context: &Context) -> String {
    let root = &context.root;
    let is_partition = context.disk.stat(&root.join("leader-epoch-checkpoint")).is_ok_and(|stat| stat.is_some());
    match root.parent().filter(|_| is_partition) {
        Some(log_dir) => {
            format!("{} is the folder of a partition: its log dir is {}", root.display(), log_dir.display())
        }
        None => format!("there are no topics in {}", root.display()),
    }
}

/// Records and bytes of a topic: of those partitions that can be read.
pub(crate) fn totals(log_dir: &LogDir, topic: &Topic, failures: &mut Failures) -> anyhow::Result<(i64, u64)> {
    let (mut records, mut bytes) = (0, 0);
    for partition in log_dir.partitions(topic)? {
        match of_partition(&partition) {
            Ok((found, size)) => (records, bytes) = (records + found, bytes + size),
            Err(error) => failures.tell(error),
        }
    }
    Ok((records, bytes))
}

fn of_partition(partition: &Partition) -> anyhow::Result<(i64, u64)> {
    let view = partition.view()?;
    let bytes = view.segments()?.iter().map(|segment| segment.size).sum();
    Ok((view.log_end_offset()? - view.log_start_offset(), bytes))
}
