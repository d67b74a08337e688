use super::ChosenTopic;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{self, Exit};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::groups::{
    Commits, Committed, Excluded, Group, GroupError, GroupKind, GroupsTopic, Moved, ResetRow, ResetTo, ShareReader,
    apply_reset, apply_share_reset, exclude_members, plan_reset, plan_share_reset,
};
use crate::logdir::{LogDir, LogDirs, Partition};
use crate::units::{GroupId, Offset, TopicName, TopicPartition};
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

/// How long to wait before it is looked again whether members run.
const WAIT_PAUSE: Duration = Duration::from_millis(50);

/// Set where a group goes on
///
/// Writes at once what the group has committed from now on, and prints it; --dry-run only prints it. A group that is not there
/// is made. Refused while members of the group run, unless --wait is given: then it waits until they have ended. An offset that
/// is not in the log becomes the nearest one that is, with a warning. What is below is made durable before; of what a
/// producer has not synced yet, the group goes on at the start, with a warning.
///
/// The workers of a share group go on at the new start offset as if nothing had been tried: its attempts are forgotten, and
/// what was done past the offset is done again. Refused also while a handler runs whose worker has died.
///
/// Columns of JSON and TSV: group, topic, partition, prior, new
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("where").required(true),
    group = clap::ArgGroup::new("which").required(true),
    after_long_help = "Examples:\n  kdir groups reset billing --topic orders --to earliest --dry-run\n  \
        kdir groups reset billing --all-topics --to '2h ago' --dry-run\n  \
        kdir groups reset billing --topic orders:0,1 --shift -10 --dry-run"
)]
pub(super) struct ResetArgs {
    /// The group
    #[arg(value_parser = args::group)]
    group: GroupId,
    /// A topic, or some of its partitions (can be repeated)
    #[arg(short, long, value_name = "TOPIC[:N,M]", group = "which", value_parser = ChosenTopic::parse)]
    topic: Vec<ChosenTopic>,
    /// Every topic that the group has committed offsets of, or has a state of as a share group
    #[arg(long, group = "which")]
    all_topics: bool,
    /// earliest, latest, current, an offset, or a time (see `kdir consume`)
    #[arg(long, value_name = "WHERE", group = "where", allow_hyphen_values = true)]
    to: Option<String>,
    /// So many offsets further, or back with a minus
    #[arg(long, value_name = "N", group = "where", allow_negative_numbers = true)]
    shift: Option<i64>,
    /// Where the lines `TOPIC,PARTITION,OFFSET` of a file say, as --export prints them; - is stdin
    #[arg(long, value_name = "FILE", group = "where", value_parser = args::any_path())]
    from_file: Option<PathBuf>,
    /// Where another group is
    #[arg(long, value_name = "GROUP", group = "where", value_parser = args::group)]
    like: Option<GroupId>,
    /// Wait until no member of the group runs
    #[arg(long, conflicts_with_all = ["dry_run", "export"])]
    wait: bool,
    /// Change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print `TOPIC,PARTITION,OFFSET`, as Kafka's tools do, and change nothing
    #[arg(long, conflicts_with = "output")]
    export: bool,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 5] = [
    text("group", "GROUP"),
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("prior", "PRIOR"),
    number("new", "NEW"),
];

const EXPORTED: [Column; 1] = [text("line", "")];

/// What is to be set.
struct Plan {
    partitions: Vec<Partition>,
    /// What is known of the group.
    group: Option<Group>,
    to: ResetTo,
}

impl Plan {
    fn share_group(&self) -> Option<&Group> {
        self.group.as_ref().filter(|group| group.kind() == GroupKind::Share)
    }

    fn rows(&self, args: &ResetArgs, log_dir: &LogDir) -> anyhow::Result<Vec<ResetRow>> {
        Ok(match self.share_group() {
            Some(group) => {
                let mut shares = ShareReader::find(&log_dir.clone().into())?;
                plan_share_reset(&self.partitions, (&args.group, group), &mut shares, &self.to)?
            }
            None => plan_reset(&self.partitions, self.group.as_ref(), &self.to)?,
        })
    }

    fn topics(&self) -> BTreeSet<TopicName> {
        self.partitions.iter().map(|partition| partition.id().topic.clone()).collect()
    }
}

pub(super) fn run(args: &ResetArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let to = reset_to(args, context)?;
    let is_shown_only = args.dry_run || args.export;
    let log_dir = if is_shown_only { context.open()? } else { context.open_to_write()? };
    let mut plan = planned(args, &log_dir, to.as_ref())?;
    if is_shown_only {
        let rows = plan.rows(args, &log_dir)?;
        return show(args, &plan, &rows, context);
    }
    let excluded = loop {
        let topics = plan.topics();
        let excluded = exclude(args, &log_dir, &topics, context)?;
        // Members may have come to another topic until then.
        plan = planned(args, &log_dir, to.as_ref())?;
        if plan.topics() == topics {
            break excluded;
        }
    };
    if plan.share_group().is_some() {
        let mut rows = plan.rows(args, &log_dir)?;
        apply_share_reset(&log_dir, &args.group, &excluded, &mut rows, crate::cli::now())?;
        return show(args, &plan, &rows, context);
    }
    let mut commits = Commits::open(&log_dir, &args.group)?;
    let mut rows = plan_reset(&plan.partitions, commits.group()?, &plan.to)?;
    apply_reset(&log_dir, &mut commits, &mut rows, crate::cli::now())?;
    commits.close(crate::cli::now())?;
    show(args, &plan, &rows, context)
}

/// What is to be set, by what is committed now.
fn planned(args: &ResetArgs, log_dir: &LogDir, to: Option<&ResetTo>) -> anyhow::Result<Plan> {
    let log_dirs = LogDirs::from(log_dir.clone());
    let mut found = GroupsTopic::find(&log_dirs)?.all()?;
    let to = match (to, &args.like) {
        (Some(to), _) => to.clone(),
        (None, Some(like)) => {
            let group = found.groups.get(like).ok_or_else(|| GroupError::NotFound { group: like.clone() })?;
            ResetTo::Listed(offsets_of((like, group), &log_dirs)?)
        }
        (None, None) => unreachable!("clap asks for one of them"),
    };
    let group = found.groups.remove(&args.group);
    Ok(Plan { partitions: partitions(args, log_dir, group.as_ref())?, group, to })
}

/// Where a group is.
fn offsets_of((id, group): (&GroupId, &Group), log_dirs: &LogDirs) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
    let offset = |(id, committed): (&TopicPartition, &Committed)| (id.clone(), committed.offset);
    let mut offsets: BTreeMap<_, _> = group.committed.iter().map(offset).collect();
    let mut shares = ShareReader::find(log_dirs)?;
    for partition in shared_partitions(group) {
        // Not of an earlier topic of the name.
        let Ok(topic) = log_dirs.named(&partition.topic) else { continue };
        let Ok(handle) = log_dirs.partition(&topic, partition.partition) else { continue };
        if let Some(start) = shares.start_offset((id, group), &partition, handle.incarnation()?)? {
            offsets.insert(partition, start);
        }
    }
    Ok(offsets)
}

/// The partitions that a share group has a state of.
fn shared_partitions(group: &Group) -> Vec<TopicPartition> {
    let topics = group.share.initialized.values();
    let topics = topics.filter_map(|(name, partitions)| Some((name.parse::<TopicName>().ok()?, partitions)));
    let of = |(topic, partitions): (TopicName, &BTreeSet<i32>)| {
        let partition = |&partition: &i32| TopicPartition { topic: topic.clone(), partition };
        partitions.iter().map(partition).collect::<Vec<_>>()
    };
    topics.flat_map(of).collect()
}

/// Keeps members out, once there are none where that is waited for.
fn exclude(
    args: &ResetArgs,
    log_dir: &LogDir,
    topics: &BTreeSet<TopicName>,
    context: &Context,
) -> anyhow::Result<Excluded> {
    let mut told = Vec::new();
    loop {
        match exclude_members(log_dir, &args.group, topics) {
            Err(GroupError::HasMembers { members, .. }) if args.wait => {
                if members != told {
                    context.ui.status(&format!("waiting for the end of {}", members.join(", ")));
                    told = members;
                }
                thread::sleep(WAIT_PAUSE);
            }
            excluded => return Ok(excluded?),
        }
    }
}

/// Where to; `None` where another group is.
fn reset_to(args: &ResetArgs, context: &Context) -> anyhow::Result<Option<ResetTo>> {
    if let Some(shift) = args.shift {
        return Ok(Some(ResetTo::Shift(shift)));
    }
    if let Some(path) = &args.from_file {
        let text = context.read_text(path)?;
        return listed(&text, &args.group).with_context(|| path.display().to_string()).map(Some);
    }
    let Some(to) = &args.to else { return Ok(None) };
    Ok(Some(match to.as_str() {
        "earliest" => ResetTo::Earliest,
        "latest" => ResetTo::Latest,
        "current" => ResetTo::Current,
        text => match text.parse() {
            Ok(offset) if offset >= 0 => ResetTo::Offset(Offset(offset)),
            _ => ResetTo::Time(args::time("--to", text, &context.zone)?),
        },
    }))
}

/// Lines of three fields, or of four with a group before them: then those of this group.
fn listed(text: &str, group: &GroupId) -> anyhow::Result<ResetTo> {
    let mut offsets = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let fields: Vec<&str> = line.trim().split(',').collect();
        let parsed = match fields[..] {
            [of, topic, partition, offset] if of == group.as_str() => parse_row(topic, partition, offset),
            [_, _, _, _] => continue,
            [topic, partition, offset] => parse_row(topic, partition, offset),
            _ => None,
        };
        let (partition, offset) =
            parsed.ok_or_else(|| exit::usage(format!("line {number} is not TOPIC,PARTITION,OFFSET: {line}")))?;
        offsets.insert(partition, offset);
    }
    Ok(ResetTo::Listed(offsets))
}

fn parse_row(topic: &str, partition: &str, offset: &str) -> Option<(TopicPartition, Offset)> {
    let (topic, partition, offset) = (topic.parse().ok()?, partition.parse().ok()?, offset.parse().ok()?);
    Some((TopicPartition { topic, partition }, Offset(offset))).filter(|(_, offset)| offset.0 >= 0)
}

/// The partitions that are meant.
fn partitions(args: &ResetArgs, log_dir: &LogDir, group: Option<&Group>) -> anyhow::Result<Vec<Partition>> {
    let mut partitions: Vec<Partition> = Vec::new();
    if args.all_topics {
        let group = group.ok_or_else(|| GroupError::NotFound { group: args.group.clone() })?;
        for id in group.committed.keys().cloned().chain(shared_partitions(group)) {
            let Some(topic) = log_dir.find_topic(&id.topic)? else { continue };
            partitions.push(log_dir.partition(&topic, id.partition)?);
        }
    }
    for ChosenTopic { topic, partitions: chosen } in &args.topic {
        let topic = log_dir.topic(topic)?;
        for number in crate::consume::partitions_of(&topic, chosen)? {
            partitions.push(log_dir.partition(&topic, number)?);
        }
    }
    let mut seen = BTreeSet::new();
    partitions.retain(|partition| seen.insert(partition.id().clone()));
    Ok(partitions)
}

fn show(args: &ResetArgs, plan: &Plan, rows: &[ResetRow], context: &Context) -> anyhow::Result<Exit> {
    for ResetRow { partition, new, asked, .. } in rows {
        match asked {
            Some((asked, Moved::NotInLog)) => {
                context.ui.warning(&format!("{partition} has no offset {asked}: the nearest is {new}"));
            }
            Some((asked, Moved::NotDurable)) => context.ui.warning(&format!(
                "{partition}: the group goes on at {new} and not at {asked}: what comes between is not known to be durable"
            )),
            None => {}
        }
    }
    if let (ResetTo::Listed(offsets), Some(file)) = (&plan.to, &args.from_file) {
        let is_set = |id: &TopicPartition| plan.partitions.iter().any(|partition| partition.id() == id);
        for id in offsets.keys().filter(|id| !is_set(id)) {
            context
                .ui
                .warning(&format!("{}: {id} is left out: it is not here, or not among what is set", file.display()));
        }
    }
    let columns: &[Column] = if args.export { &EXPORTED } else { &COLUMNS };
    let format = if args.export { crate::cli::report::ReportFormat::Tsv } else { args.report.output };
    let mut report = Report::new(context.ui, format, &context.zone, columns);
    for ResetRow { partition, prior, new, .. } in rows {
        let TopicPartition { topic, partition } = partition;
        report.row(match args.export {
            true => vec![Cell::Text(format!("{topic},{partition},{new}"))],
            false => vec![
                Cell::text(&args.group),
                Cell::text(topic),
                Cell::Number((*partition).into()),
                prior.map_or(Cell::Nothing, |prior| Cell::Number(prior.0)),
                Cell::Number(new.0),
            ],
        })?;
    }
    report.finish()?;
    Ok(Exit::Done)
}
