use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::consume;
use crate::units::{Timestamp, TopicName};

/// Show the first offset at or after a time, per partition
///
/// `earliest` is the log start offset, `latest` the log end offset. For a time, the answer is the first record whose
/// timestamp is at or after it, with that timestamp; nothing where all records are older.
///
/// A time is RFC 3339, a date (2026-11-22), a time of day (10:00), `yesterday 10:00`, an age (2h, -2h, '2h ago'), @SECONDS, or
/// milliseconds since the epoch; `kdir consume --help` has all forms.
///
/// Columns of JSON and TSV: topic, partition, offset, timestamp
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir offsets app --at '2h ago'")]
pub(crate) struct OffsetsArgs {
    /// The topic
    #[arg(value_parser = args::topic_to_read, add = complete::topics())]
    topic: TopicName,
    /// earliest, latest, or a time
    #[arg(long, value_name = "earliest|latest|TIME", allow_hyphen_values = true)]
    at: String,
    /// Only these partitions
    #[arg(short, long, value_name = "N,M", value_delimiter = ',')]
    #[arg(add = complete::partitions())]
    partition: Vec<i32>,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 4] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("offset", "OFFSET"),
    text("timestamp", "TIMESTAMP"),
];

enum At {
    Earliest,
    Latest,
    Time(Timestamp),
}

pub(crate) fn run(args: &OffsetsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let at = match args.at.as_str() {
        "earliest" => At::Earliest,
        "latest" => At::Latest,
        text => At::Time(args::time("--at", text, &context.zone)?),
    };
    let log_dirs = context.open_to_read()?;
    let topic = log_dirs.named(&args.topic)?;
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    for partition in consume::partitions_of(&topic, &args.partition)? {
        let view = log_dirs.partition(&topic, partition)?.view()?;
        let (offset, timestamp) = match at {
            At::Earliest => (Some(view.log_start_offset()), None),
            At::Latest => (Some(view.log_end_offset()?), None),
            At::Time(time) => view.offset_for_time(time)?.unzip(),
        };
        report.row(vec![
            Cell::text(&topic.name),
            Cell::Number(partition.into()),
            offset.map_or(Cell::Nothing, |offset| Cell::Number(offset.0)),
            Cell::time(timestamp),
        ])?;
    }
    report.finish()?;
    Ok(Exit::Done)
}
