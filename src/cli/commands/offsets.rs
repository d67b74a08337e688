use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::consume;
use crate::logdir::{Partition, TopicPattern};
use crate::units::{Offset, Timestamp};

/// Show the first offset at or after a time, per partition
///
/// `earliest` is the log start offset, `latest` the log end offset, and `max-timestamp` the first record with the largest
/// timestamp. For a time, the answer is the first record whose timestamp is at or after it, with that timestamp; nothing
/// where all records are older. -2, -1 and -3 are the same three as in Kafka's kafka-get-offsets.
///
/// A time is RFC 3339, a date (2026-11-22), a time of day (10:00), `yesterday 10:00`, an age (2h, -2h, '2h ago'), @SECONDS, or
/// milliseconds since the epoch; `kdir consume --help` has all forms.
///
/// Columns of JSON and TSV: topic, partition, offset, timestamp
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  kdir offsets app --at '2h ago'\n  kdir offsets 'app-*' orders --at max-timestamp"
)]
pub(crate) struct OffsetsArgs {
    /// The topics, by name or pattern (see `kdir consume`)
    #[arg(required = true, value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// earliest, latest, max-timestamp, or a time
    #[arg(long, value_name = "earliest|latest|max-timestamp|TIME", allow_hyphen_values = true)]
    at: String,
    /// Only these partitions
    #[arg(short, long, value_name = "N,M", value_delimiter = ',')]
    #[arg(value_parser = args::partition_number, add = complete::partitions())]
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

#[derive(Clone, Copy)]
enum At {
    Earliest,
    Latest,
    MaxTimestamp,
    Time(Timestamp),
}

impl At {
    fn parse(text: &str, context: &Context) -> anyhow::Result<Self> {
        Ok(match text {
            "earliest" | "-2" => Self::Earliest,
            "latest" | "-1" => Self::Latest,
            "max-timestamp" | "-3" => Self::MaxTimestamp,
            text => Self::Time(args::time("--at", text, &context.zone)?),
        })
    }

    /// The offset in a partition, and the timestamp of its record where that was asked for.
    fn find(self, partition: &Partition) -> anyhow::Result<(Option<Offset>, Option<Timestamp>)> {
        let view = partition.view()?;
        Ok(match self {
            Self::Earliest => (Some(view.log_start_offset()), None),
            Self::Latest => (Some(view.log_end_offset()?), None),
            Self::MaxTimestamp => view.offset_of_largest_timestamp()?.unzip(),
            Self::Time(time) => view.offset_for_time(time)?.unzip(),
        })
    }
}

pub(crate) fn run(args: &OffsetsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let at = At::parse(&args.at, context)?;
    let log_dirs = context.open_to_read()?;
    let mut partitions = Vec::new();
    for topic in log_dirs.matching_topics(&args.topic)? {
        for number in consume::partitions_of(&topic, &args.partition)? {
            partitions.push(log_dirs.partition(&topic, number)?);
        }
    }
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let mut failures = Failures::new(context.ui);
    for partition in partitions {
        let (offset, timestamp) = match at.find(&partition) {
            Ok(found) => found,
            Err(error) => {
                failures.tell(error);
                continue;
            }
        };
        report.row(vec![
            Cell::text(&partition.id().topic),
            Cell::Number(partition.id().partition.into()),
            offset.map_or(Cell::Nothing, |offset| Cell::Number(offset.0)),
            Cell::time(timestamp),
        ])?;
    }
    report.finish()?;
    Ok(failures.exit())
}
