use super::{ChosenTopic, LagTest, members, shares, totals};
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, ReportFormat, json_only, number, text};
use crate::cli::ui::OutputError;
use crate::groups::{Group, GroupError, GroupState, LagRow, TopicLogs};
use crate::units::{GroupId, Timestamp, TopicPartition};
use std::collections::BTreeMap;

/// Show how far groups are, partition by partition
///
/// A row for each partition of the topics that a group has committed offsets of, and of those that its members had. LAG is
/// the log end offset less the committed one, or less the log start offset where nothing was committed or records that the
/// group has not read were removed. BEHIND is how long ago the first record was written that the group has not read. MEMBER
/// and HOST are of the run of `kdir consume --group` that has the partition; the recorded ones of the member that had it when
/// a broker wrote that down last.
///
/// Share groups have a table of their own, with a row for each partition that they have a state of. All records below START are
/// done, and DONE AHEAD of them past it; LAG counts those that are not done. IN FLIGHT are the records that are being handled,
/// by the processes in PIDS; RETRYING those that have failed and are to be tried again. OLDEST is how long ago the first record
/// was written that is not done. With --records, a row for each record that was tried or is being handled: its state (in
/// flight, retrying, done, given up, or waiting: after a run of several records has failed), the attempts that count, when the
/// last one was written down, and when the next is due, by the --backoff of the workers that run.
///
/// With --by group or topic, LAG and LOST are sums, BEHIND is that of the partition that is farthest behind, and PARTITIONS
/// those with a lag that --lag asks for. With --members, a row for each member and topic: those that run, also without a
/// partition, and those that a broker wrote down last, which may be gone. Workers of `kdir work` share records, and have no
/// partitions.
///
/// Columns of JSON and TSV: group, type, state, topic, partition, committed, log_start_offset, log_end_offset, lag, behind_ms,
/// lost, member, host, recorded_member, recorded_host, client_id; of JSON also committed_at, leader_epoch, metadata. Of share
/// groups: group, type, state, topic, partition, start_offset, log_start_offset, log_end_offset, lag, in_flight, pids, retrying,
/// done_ahead, oldest_ms, lost; of JSON also claimed (offset and pid of each). With --records: group, topic, partition, offset,
/// state, attempts, last_attempt, due, pid. With --by: group, topic (not by group), partitions, lag, behind_ms, lost. With
/// --members: group, topic, member, host, client_id, state (running, manual or recorded), partitions, assigned
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir groups describe\n  kdir groups describe billing -o json\n  \
        kdir groups describe --topic orders --lag '>=0'\n  \
        kdir groups describe --by topic\n  \
        kdir groups describe --members\n  \
        kdir groups describe --records")]
pub(super) struct DescribeArgs {
    /// The groups; all without one
    #[arg(value_parser = args::group)]
    group: Vec<GroupId>,
    /// Only a topic, or some of its partitions (can be repeated)
    #[arg(short, long, value_name = "TOPIC[:N,M]", value_parser = ChosenTopic::parse)]
    topic: Vec<ChosenTopic>,
    /// Only partitions with such a lag, as '>100'
    #[arg(long, value_name = "TEST", value_parser = LagTest::parse)]
    lag: Option<LagTest>,
    /// A row for each group, or each topic of a group, in place of each partition
    #[arg(long, value_name = "group|topic")]
    by: Option<totals::By>,
    /// Show members in place of partitions
    #[arg(long, conflicts_with_all = ["by", "lag"])]
    members: bool,
    /// Show the records that share groups have tried, in place of partitions
    #[arg(long, conflicts_with_all = ["by", "members"])]
    records: bool,
    #[command(flatten)]
    report: ReportArgs,
}

impl DescribeArgs {
    fn has(&self, partition: &TopicPartition, lag: Option<i64>) -> bool {
        self.has_topic_of(partition) && self.lag.is_none_or(|test| test.has(lag))
    }

    fn has_topic_of(&self, partition: &TopicPartition) -> bool {
        self.topic.is_empty() || self.topic.iter().any(|topic| topic.has(partition))
    }
}

const COLUMNS: [Column; 19] = [
    text("group", "GROUP"),
    text("type", "").leaves(1),
    text("state", "").leaves(1),
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("committed", "COMMITTED"),
    number("log_start_offset", "LOG START").leaves(2),
    number("log_end_offset", "LOG END"),
    number("lag", "LAG"),
    number("behind_ms", "BEHIND"),
    number("lost", "").leaves(1),
    text("member", "MEMBER").leaves(3),
    text("host", "HOST").leaves(4),
    text("recorded_member", "").leaves(1),
    text("recorded_host", "").leaves(1),
    text("client_id", "").leaves(1),
    json_only("committed_at"),
    json_only("leader_epoch"),
    json_only("metadata"),
];

/// What there is a row for.
#[derive(Clone, Copy)]
enum Rows {
    Partition,
    Record,
    Member,
    Sum(totals::By),
}

impl Rows {
    const fn of(args: &DescribeArgs) -> Self {
        match (args.records, args.members, args.by) {
            (true, ..) => Self::Record,
            (_, true, _) => Self::Member,
            (.., Some(by)) => Self::Sum(by),
            _ => Self::Partition,
        }
    }

    /// Of share groups, which have rows of their own for partitions, or of others.
    const fn columns(self, is_shared: bool) -> &'static [Column] {
        match self {
            Self::Partition if is_shared => &shares::COLUMNS,
            Self::Partition => &COLUMNS,
            Self::Record => &shares::RECORD_COLUMNS,
            Self::Member => &members::COLUMNS,
            Self::Sum(by) => by.columns(),
        }
    }
}

pub(super) fn run(args: &DescribeArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_to_read()?;
    let mut failures = Failures::new(context.ui);
    let found = super::all_groups(&log_dirs, context, &mut failures)?;
    let (mut logs, kind) = (TopicLogs::of(&log_dirs), Rows::of(args));
    let chosen = chosen(args, &found.groups, &mut failures);
    // One table of all, or one of each kind of group.
    let of_kind = |is_shared: bool| chosen.iter().copied().filter(move |(_, group)| shares::is_one(group) == is_shared);
    let tables: Vec<(bool, Vec<_>)> = match kind {
        Rows::Member | Rows::Sum(_) => vec![(false, chosen.clone())],
        Rows::Record => vec![(true, of_kind(true).collect())],
        Rows::Partition => vec![(false, of_kind(false).collect()), (true, of_kind(true).collect())],
    };
    if args.records {
        for (id, group) in of_kind(false).filter(|(id, _)| args.group.contains(id)) {
            let kind = group.kind().name().to_lowercase();
            failures.tell(anyhow::anyhow!("{id} is a {kind} group: --records shows the records of share groups"));
        }
    }
    let (mut is_empty, mut has_table) = (true, false);
    for (is_shared, groups) in tables {
        let mut report = Report::new(context.ui, args.report.output, &context.zone, kind.columns(is_shared));
        let mut has_rows = false;
        for (id, group) in groups {
            let mut add = |cells: Vec<Cell>| {
                if has_table && !has_rows && args.report.output == ReportFormat::Table {
                    context.ui.data(b"\n")?;
                }
                has_rows = true;
                report.row(cells)
            };
            if let Err(error) = rows(args, kind, (id, group), &mut logs, context, &mut add) {
                if error.is::<OutputError>() {
                    return Err(error);
                }
                failures.tell(error);
            }
        }
        report.finish()?;
        is_empty &= !has_rows;
        has_table |= has_rows;
    }
    if args.members && is_empty && failures.exit() == Exit::Done {
        context.ui.status("no members run, and brokers have recorded none");
    }
    Ok(failures.exit())
}

/// The rows of a group.
fn rows(
    args: &DescribeArgs,
    kind: Rows,
    (id, group): (&GroupId, &Group),
    logs: &mut TopicLogs<'_>,
    context: &Context,
    add: &mut dyn FnMut(Vec<Cell>) -> Result<(), OutputError>,
) -> anyhow::Result<()> {
    if let Rows::Member = kind {
        let rows = members::rows((id, group), logs, |partition| args.has_topic_of(partition))?;
        return Ok(rows.into_iter().try_for_each(add)?);
    }
    // Of all its topics, whichever are shown.
    let has_members = !logs.members(id, group)?.is_empty();
    let state = if has_members { GroupState::Stable } else { group.state() };
    if shares::is_one(group) {
        let mut found = logs.share_rows(id, group)?;
        found.retain(|row| args.has(&row.partition, row.lag()));
        warn_of_lost(id, found.iter().map(|row| (&row.partition, row.lost())), context);
        match kind {
            Rows::Sum(by) => totals::rows(by, id, &shares::standings(&found, logs)?).into_iter().try_for_each(add)?,
            Rows::Record => {
                let now = crate::cli::now();
                found.iter().flat_map(|row| shares::record_rows(id, row, now)).try_for_each(add)?;
            }
            _ => {
                for row in &found {
                    add(shares::cells(id, (group, state), row, logs.oldest_timestamp(row)?))?;
                }
            }
        }
        return Ok(());
    }
    let mut found = logs.rows(id, group)?;
    found.retain(|row| args.has(&row.partition, row.lag()));
    warn_of_lost(id, found.iter().map(|row| (&row.partition, row.lost())), context);
    let mut standings = Vec::new();
    for row in &found {
        let next = logs.next_timestamp(row)?;
        match kind {
            Rows::Sum(_) => {
                let (topic, lag, lost) = (row.partition.topic.clone(), row.lag(), row.lost());
                standings.push(totals::Standing { topic, lag, next, lost });
            }
            _ => add(cells(id, (group, state), row, next))?,
        }
    }
    match kind {
        Rows::Sum(by) => Ok(totals::rows(by, id, &standings).into_iter().try_for_each(add)?),
        _ => Ok(()),
    }
}

fn warn_of_lost<'a>(id: &GroupId, lost: impl Iterator<Item = (&'a TopicPartition, i64)>, context: &Context) {
    for (partition, lost) in lost.filter(|(_, lost)| *lost > 0) {
        let lost = super::super::counted(lost as u64, "record");
        context.ui.warning(&format!("{id} has lost {lost} of {partition}: they were removed before it read them"));
    }
}

/// The groups that are meant.
fn chosen<'a>(
    args: &'a DescribeArgs,
    groups: &'a BTreeMap<GroupId, Group>,
    failures: &mut Failures,
) -> Vec<(&'a GroupId, &'a Group)> {
    if args.group.is_empty() {
        return groups.iter().collect();
    }
    let mut chosen = Vec::new();
    for id in &args.group {
        match groups.get(id) {
            Some(group) => chosen.push((id, group)),
            None => failures.tell(GroupError::NotFound { group: id.clone() }),
        }
    }
    chosen
}

fn cells(
    id: &GroupId,
    (group, state): (&Group, GroupState),
    row: &LagRow,
    next_timestamp: Option<Timestamp>,
) -> Vec<Cell> {
    let number = |number: Option<i64>| number.map_or(Cell::Nothing, Cell::Number);
    let words = |text: Option<&str>| text.map_or(Cell::Nothing, Cell::text);
    let recorded = row.recorded_member.as_ref().and_then(|member| group.recorded_members.get(member));
    let (pid, host) = row.member.as_ref().and_then(|member| member.split_once(' ')).unzip();
    let committed = row.committed.as_ref();
    let behind = next_timestamp.map(totals::behind);
    vec![
        Cell::text(id),
        Cell::text(group.kind().name()),
        Cell::text(state.name()),
        Cell::text(&row.partition.topic),
        Cell::Number(row.partition.partition.into()),
        number(committed.map(|committed| committed.offset.0)),
        number(row.log_start_offset.map(|offset| offset.0)),
        number(row.log_end_offset.map(|offset| offset.0)),
        number(row.lag()),
        behind.map_or(Cell::Nothing, Cell::Age),
        Cell::Number(row.lost()),
        pid.map_or(Cell::Nothing, |pid| Cell::Text(format!("kdir-{pid}"))),
        words(host),
        words(row.recorded_member.as_deref()),
        words(recorded.map(|member| member.host.as_str())),
        words(recorded.map(|member| member.client_id.as_str())),
        Cell::time(committed.map(|committed| committed.timestamp)),
        number(committed.and_then(|committed| committed.leader_epoch).map(i64::from)),
        words(committed.map(|committed| committed.metadata.as_str())),
    ]
}
