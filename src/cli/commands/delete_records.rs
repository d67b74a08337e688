use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::consume::{OffsetAt, PerPartition};
use crate::logdir::{LogDir, Partition, Topic};
use crate::storage::StorageError;
use crate::units::{Offset, Timestamp, TopicName};
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
    #[arg(long = "before", value_name = "TIME", allow_hyphen_values = true)]
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
        // The offset is decided and applied through one handle: never on one topic for another of its name.
        (Some(offsets), _) => by_offset(&log_dir, &topic, offsets)?,
        (None, Some(time)) => by_time(&log_dir, &topic, time)?,
        (None, None) => return Err(exit::usage("give --before-offset or --before")),
    };
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let mut moved = Vec::new();
    let targets = targets.iter().map(|(partition, offset)| (partition, *offset));
    let deleted = log_dir.delete_records_of(targets, crate::cli::now(), |partition, start| {
        moved.push((partition.id().partition, start));
    });
    for (number, start) in moved {
        report.row(vec![Cell::text(&topic.name), Cell::Number(number.into()), Cell::Number(start.0)])?;
    }
    deleted?;
    report.finish()?;
    Ok(Exit::Done)
}

fn by_offset(log_dir: &LogDir, topic: &Topic, offsets: &PerPartition) -> anyhow::Result<Vec<(Partition, Offset)>> {
    let each: BTreeMap<i32, OffsetAt> = match offsets {
        PerPartition::Each(each) => each.iter().copied().collect(),
        PerPartition::All(OffsetAt::At(_)) if topic.partitions.len() != 1 => {
            return Err(exit::usage(format!(
                "topic {} has {} partitions: name each offset's, as in 0:100,1:250",
                topic.name,
                topic.partitions.len()
            )));
        }
        PerPartition::All(at) => topic.partitions.iter().map(|&partition| (partition, *at)).collect(),
    };
    each.keys().try_for_each(|&number| topic.partition(number).map(drop))?;
    let mut targets = Vec::new();
    // Taken together, the handles share the topic file, which each would hold open otherwise.
    for partition in log_dir.partitions(topic)? {
        let Some(&at) = each.get(&partition.id().partition) else { continue };
        let (start, end) = super::range(&partition)?;
        partition.let_go()?;
        // All are checked before any is moved.
        if let OffsetAt::At(offset) = at
            && Offset(offset) > end
        {
            let out_of_range = StorageError::OffsetOutOfRange {
                requested: Offset(offset),
                log_start_offset: start,
                log_end_offset: end,
            };
            return Err(anyhow::Error::from(out_of_range).context(partition.id().to_string()));
        }
        let offset = match at {
            OffsetAt::Earliest => start,
            OffsetAt::Latest => end,
            OffsetAt::At(offset) => Offset(offset),
            OffsetAt::BeforeEnd(count) => Offset(end.0.saturating_sub(count)).max(start),
        };
        targets.push((partition, offset));
    }
    Ok(targets)
}

fn by_time(log_dir: &LogDir, topic: &Topic, time: Timestamp) -> anyhow::Result<Vec<(Partition, Offset)>> {
    let mut targets = Vec::new();
    for partition in log_dir.partitions(topic)? {
        let view = partition.view()?;
        if !view.has_folder() {
            continue;
        }
        let offset = match view.offset_for_time(time)? {
            Some((offset, _)) => offset,
            None => view.log_end_offset()?,
        };
        drop(view);
        partition.let_go()?;
        targets.push((partition, offset));
    }
    Ok(targets)
}
