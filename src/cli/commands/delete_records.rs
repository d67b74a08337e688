use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{self, Exit, FAILED};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::consume::{OffsetAt, PerPartition};
use crate::groups::{CommittedOffsets, GroupError, GroupReaders, WhichGroups};
use crate::logdir::{LogDir, Partition, Readers, Topic};
use crate::storage::StorageError;
use crate::units::{GroupId, Offset, Timestamp, TopicName};
use std::collections::BTreeMap;
use std::io::IsTerminal;

/// Delete the oldest records, or what groups have read
///
/// Moves the log start offset forward: what lies below it is not shown any more, from now on. The bytes go when
/// `kdir retention` next runs, segment by segment. It never moves back. A topic that is only compacted refuses.
///
/// --consumed and --consumed-by delete what groups have read: the new log start offset of a partition is the smallest one that
/// they have committed there, or of a share group its start offset, below which all records are done, and at most the log end
/// offset. In a partition where one of them has committed nothing, nothing is deleted. A group reads a topic once it has
/// committed an offset of any of its partitions, has a state of it as a share group, or a member of it runs. Offsets are read
/// again when records are deleted: a group that was reset to an earlier one keeps what it reads again, and what was read since
/// is not deleted. Groups whose offsets are in another log dir or on another broker do not count.
///
/// Asks on a terminal and needs --yes elsewhere. Answered with no, it deletes nothing and the exit status is 1.
///
/// Columns of JSON and TSV: topic, partition, log_start_offset, deleted_records (the offsets between the log start before
/// and after; a compacted topic may have held fewer records)
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir delete-records app --before '7d ago' --dry-run\n  \
                       kdir delete-records app --before-offset 0:1000,1:2500 --yes\n  \
                       kdir delete-records orders --consumed-by billing --dry-run")]
#[group(id = "before", required = true, multiple = false,
        args = ["before_offset", "before_time", "consumed", "consumed_by"])]
pub(crate) struct DeleteRecordsArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    topic: TopicName,
    /// The new log start offsets, by partition: N, -N to keep the last N, or `latest` to delete all; one number where there is
    /// one partition
    #[arg(long, value_name = "P:N,...")]
    before_offset: Option<PerPartition>,
    /// Delete records older than this time: all before the first record at or after it
    #[arg(long = "before", value_name = "TIME", allow_hyphen_values = true)]
    before_time: Option<String>,
    /// Delete what every group that reads the topic has read
    #[arg(long)]
    consumed: bool,
    /// Delete what each of these groups has read (can be repeated)
    #[arg(long, value_name = "GROUP,...", value_delimiter = ',', value_parser = args::group)]
    consumed_by: Vec<GroupId>,
    /// Do not ask
    #[arg(short, long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show what would be deleted; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 4] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("log_start_offset", "LOG START"),
    number("deleted_records", "DELETED"),
];

/// A partition, its log start offset, and what that is to be.
struct Target {
    partition: Partition,
    start: Offset,
    new_start: Offset,
}

impl Target {
    /// What lies between the two.
    fn records(&self) -> i64 {
        (self.new_start.0 - self.start.0).max(0)
    }
}

pub(crate) fn run(args: &DeleteRecordsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let before_time = match &args.before_time {
        Some(text) => Some(args::time("--before", text, &context.zone)?),
        None => None,
    };
    if args.before_offset.as_ref().is_some_and(names_minus_one) {
        return Err(exit::advised_usage(
            "--before-offset -1 is not an offset: to Kafka's kafka-delete-records it means all records",
            "use `latest` to delete all records, or N: the offset of the first record to keep",
        ));
    }
    let is_asked = !args.yes && !args.dry_run;
    if is_asked && !std::io::stdin().is_terminal() {
        return Err(exit::advised_usage(
            "delete-records asks on a terminal; elsewhere it needs --yes",
            "--dry-run shows what would be deleted",
        ));
    }
    let log_dir = if args.dry_run { context.open()? } else { context.open_to_write()? };
    let topic = log_dir.topic(&args.topic)?;
    topic.check_delete_records()?;
    let mut committed = match args.consumed || !args.consumed_by.is_empty() {
        true => Some(CommittedOffsets::open(&log_dir, &args.consumed_by)?),
        false => None,
    };
    let mut readers = committed.as_mut().map(|it| readers(args, &topic, it)).transpose()?;
    let targets = match (&args.before_offset, before_time, &mut readers) {
        // The offset is decided and applied through one handle: never on one topic for another of its name.
        (Some(offsets), ..) => by_offset(&log_dir, &topic, offsets)?,
        (None, Some(time), _) => by_time(&log_dir, &topic, time)?,
        (None, None, Some(readers)) => by_groups(&log_dir, &topic, readers)?,
        (None, None, None) => return Err(exit::usage("give --before-offset, --before or --consumed")),
    };
    if is_asked && !confirm(&topic, &targets, context)? {
        context.ui.status("nothing was deleted");
        return Ok(Exit::Told(FAILED));
    }
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let row = |target: &Target, start: Offset| {
        let partition = target.partition.id();
        let records = (start.0 - target.start.0).max(0);
        vec![
            Cell::text(&partition.topic),
            Cell::Number(partition.partition.into()),
            Cell::Number(start.0),
            Cell::Number(records),
        ]
    };
    if args.dry_run {
        targets.iter().try_for_each(|target| report.row(row(target, target.new_start.max(target.start))))?;
        report.finish()?;
        return Ok(Exit::Done);
    }
    let mut moved = BTreeMap::new();
    let each = targets.iter().map(|target| (&target.partition, target.new_start));
    let now = crate::cli::now();
    let on_moved = |partition: &Partition, start| {
        moved.insert(partition.id().partition, start);
    };
    let deleted = match &mut readers {
        Some(readers) => log_dir.delete_records_read(each, readers, now, on_moved).map_err(anyhow::Error::from),
        None => log_dir.delete_records_of(each, now, on_moved).map_err(anyhow::Error::from),
    };
    for target in &targets {
        if let Some(&start) = moved.get(&target.partition.id().partition) {
            report.row(row(target, start))?;
        }
    }
    deleted?;
    report.finish()?;
    Ok(Exit::Done)
}

/// -1, which Kafka takes for the high watermark and the rest of kdir for the last record.
fn names_minus_one(offsets: &PerPartition) -> bool {
    let is_it = |at: &OffsetAt| *at == OffsetAt::BeforeEnd(1);
    match offsets {
        PerPartition::All(at) => is_it(at),
        PerPartition::Each(each) => each.iter().any(|(_, at)| is_it(at)),
    }
}

fn confirm(topic: &Topic, targets: &[Target], context: &Context) -> anyhow::Result<bool> {
    let records: i64 = targets.iter().map(Target::records).sum();
    let concerned = targets.iter().filter(|target| target.records() > 0).count();
    // There is nothing to ask about.
    if records == 0 {
        return Ok(true);
    }
    let question = format!(
        "delete {} in {} of topic {}?",
        super::counted(records as u64, "record"),
        super::counted(concerned as u64, "partition"),
        topic.name
    );
    Ok(context.ui.confirm(&question)?)
}

/// The groups whose records are deleted once they have read them.
fn readers<'a>(
    args: &DeleteRecordsArgs,
    topic: &Topic,
    committed: &'a mut CommittedOffsets,
) -> anyhow::Result<GroupReaders<'a>> {
    let mut readers = GroupReaders::of(committed, topic, WhichGroups::All)?;
    let reading = readers.reading()?;
    if args.consumed {
        if reading.is_empty() {
            return Err(exit::advised(
                format!("no group reads topic {}, so nobody has read its records", topic.name),
                "`kdir groups list` shows what groups there are; give --before-offset or --before to delete without them",
            ));
        }
        return Ok(readers);
    }
    match args.consumed_by.iter().find(|id| !readers.is_known(id) && !reading.contains(id)) {
        Some(id) => {
            let error = GroupError::NotFound { group: id.clone() };
            Err(exit::advised(error.to_string(), "`kdir groups list` shows what groups there are"))
        }
        None => Ok(readers.only(args.consumed_by.clone())),
    }
}

fn by_groups(log_dir: &LogDir, topic: &Topic, readers: &mut GroupReaders<'_>) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for partition in log_dir.partitions(topic)? {
        let (start, end) = super::range(&partition)?;
        let read = readers.slowest(&partition, start)?.map_or(start, |unread| unread.from);
        partition.let_go()?;
        targets.push(Target { partition, start, new_start: read.min(end) });
    }
    Ok(targets)
}

fn by_offset(log_dir: &LogDir, topic: &Topic, offsets: &PerPartition) -> anyhow::Result<Vec<Target>> {
    let each: BTreeMap<i32, OffsetAt> = match offsets {
        PerPartition::Each(each) => each.iter().copied().collect(),
        PerPartition::All(OffsetAt::At(_)) if topic.partitions.len() != 1 => {
            return Err(exit::usage(format!(
                "topic {} has {} partitions: give each its offset, as in 0:100,1:250",
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
            return Err(exit::advised(
                format!("{}: {out_of_range}", partition.id()),
                "`latest` deletes all records; `kdir offsets TOPIC --at latest` shows the log end offsets"
                    .replace("TOPIC", topic.name.as_str()),
            ));
        }
        let new_start = match at {
            OffsetAt::Earliest => start,
            OffsetAt::Latest => end,
            OffsetAt::At(offset) => Offset(offset),
            OffsetAt::BeforeEnd(count) => Offset(end.0.saturating_sub(count)).max(start),
        };
        targets.push(Target { partition, start, new_start });
    }
    Ok(targets)
}

fn by_time(log_dir: &LogDir, topic: &Topic, time: Timestamp) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for partition in log_dir.partitions(topic)? {
        let view = partition.view()?;
        if !view.has_folder() {
            continue;
        }
        let start = view.log_start_offset();
        let new_start = match view.offset_for_time(time)? {
            Some((offset, _)) => offset,
            None => view.log_end_offset()?,
        };
        if let Some((offset, Timestamp::NONE)) = view.offset_for_time(Timestamp::NONE)?
            && offset < new_start
        {
            return Err(exit::advised(
                format!(
                    "{}: the record at offset {offset} has no timestamp, so whether it is older than the time is not known",
                    partition.id()
                ),
                "give --before-offset",
            ));
        }
        drop(view);
        partition.let_go()?;
        targets.push(Target { partition, start, new_start });
    }
    Ok(targets)
}
