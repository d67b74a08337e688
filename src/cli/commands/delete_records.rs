use crate::cli::Context;
use crate::cli::args::{self, OffsetAt, PerPartition};
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::logdir::{LogDir, Topic};
use crate::storage::StorageError;
use crate::units::{Offset, TopicName};
use std::collections::BTreeMap;

/// Delete records before an offset or a time
///
/// Moves the log start offset forward: what lies below it is not shown any more, from now on. The bytes go when
/// `kdir retention` next runs, segment by segment. It never moves back. A topic that is only compacted refuses.
///
/// Columns of JSON and TSV: topic, partition, log_start_offset
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir delete-records app --before-offset 0:1000,1:2500")]
#[group(id = "before", required = true, multiple = false, args = ["before_offset", "before_time"])]
pub(crate) struct DeleteRecordsArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    topic: TopicName,
    /// The new log start offsets, by partition; `latest` is the log end; one number where there is one partition
    #[arg(long, value_name = "P:N,...")]
    before_offset: Option<PerPartition>,
    /// The first record that stays is the first at or after this time; where all are older, none stays
    #[arg(long = "before", value_name = "TIME")]
    before_time: Option<String>,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 3] =
    [text("topic", "TOPIC"), number("partition", "PARTITION"), number("log_start_offset", "LOG START")];

pub(crate) fn run(args: &DeleteRecordsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let before_time = match &args.before_time {
        Some(text) => Some(args::time("--before", text, &context.zone)?),
        None => None,
    };
    let log_dir = context.open_to_write()?;
    let topic = log_dir.topic(&args.topic)?;
    let targets = match (&args.before_offset, before_time) {
        (Some(offsets), _) => by_offset(&log_dir, &topic, offsets)?,
        (None, Some(time)) => by_time(&log_dir, &topic, time.0)?,
        (None, None) => return Err(exit::usage("give --before-offset or --before")),
    };
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    for (partition, offset) in targets {
        let start = log_dir.delete_records(&topic, partition, offset, crate::cli::now().0)?;
        report.row(vec![Cell::text(&topic.name), Cell::Number(partition.into()), Cell::Number(start.0)])?;
    }
    report.finish()?;
    Ok(Exit::Done)
}

fn by_offset(log_dir: &LogDir, topic: &Topic, offsets: &PerPartition) -> anyhow::Result<BTreeMap<i32, Offset>> {
    let each = match offsets {
        PerPartition::Each(each) => each.clone(),
        PerPartition::All(OffsetAt::At(_)) if topic.partitions.len() != 1 => {
            return Err(exit::usage(format!(
                "topic {} has {} partitions: name each offset's, as in 0:100,1:250",
                topic.name,
                topic.partitions.len()
            )));
        }
        PerPartition::All(at) => topic.partitions.iter().map(|&partition| (partition, *at)).collect(),
    };
    let mut targets = BTreeMap::new();
    for (partition, at) in each {
        let (start, end) = super::range(log_dir, &topic.partition(partition)?)?;
        // All are checked before any is moved.
        if let OffsetAt::At(offset) = at
            && Offset(offset) > end
        {
            let out_of_range = StorageError::OffsetOutOfRange {
                requested: Offset(offset),
                log_start_offset: start,
                log_end_offset: end,
            };
            return Err(anyhow::Error::from(out_of_range).context(format!("{}-{partition}", topic.name)));
        }
        let offset = match at {
            OffsetAt::Earliest => start,
            OffsetAt::Latest => end,
            OffsetAt::At(offset) => Offset(offset),
            OffsetAt::BeforeEnd(count) => Offset(end.0.saturating_sub(count)).max(start),
        };
        targets.insert(partition, offset);
    }
    Ok(targets)
}

fn by_time(log_dir: &LogDir, topic: &Topic, time_ms: i64) -> anyhow::Result<BTreeMap<i32, Offset>> {
    let mut targets = BTreeMap::new();
    for &partition in &topic.partitions {
        let Some(reader) = log_dir.open_reader(&topic.partition(partition)?, 0)? else { continue };
        let offset = match reader.offset_for_time(time_ms)? {
            Some((offset, _)) => offset,
            None => reader.log_end_offset()?,
        };
        targets.insert(partition, offset);
    }
    Ok(targets)
}
