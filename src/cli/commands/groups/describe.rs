use super::{ChosenTopic, LagTest, members, totals};
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, json_only, number, text};
use crate::groups::{Group, GroupError, GroupKind, GroupState, LagRow, TopicLogs};
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
/// With --by group or topic, LAG and LOST are sums, BEHIND is that of the partition that is farthest behind, and PARTITIONS
/// those with a lag that --lag asks for. With --members, a row for each member and topic: those that run, also without a
/// partition, and those that a broker wrote down last, which may be gone.
///
/// Columns of JSON and TSV: group, type, state, topic, partition, committed, log_start_offset, log_end_offset, lag, behind_ms,
/// lost, member, host, recorded_member, recorded_host, client_id; of JSON also committed_at, leader_epoch, metadata. With
/// --by: group, topic (not by group), partitions, lag, behind_ms, lost. With --members: group, topic, member, host, client_id,
/// state (running, manual or recorded), partitions, assigned
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir groups describe\n  kdir groups describe billing -o json\n  \
        kdir groups describe --topic orders --lag '>=0'\n  \
        kdir groups describe --by topic\n  \
        kdir groups describe --members")]
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
    #[command(flatten)]
    report: ReportArgs,
}

impl DescribeArgs {
    fn has(&self, row: &LagRow) -> bool {
        self.has_topic_of(&row.partition) && self.lag.is_none_or(|test| test.has(row.lag()))
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

pub(super) fn run(args: &DescribeArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_to_read()?;
    let mut failures = Failures::new(context.ui);
    let found = super::all_groups(&log_dirs, context, &mut failures)?;
    let mut logs = TopicLogs::of(&log_dirs);
    let (format, zone) = (args.report.output, &context.zone);
    let mut report = match (args.members, args.by) {
        (true, _) => Report::new(context.ui, format, zone, &members::COLUMNS),
        (_, Some(by)) => Report::new(context.ui, format, zone, by.columns()),
        _ => Report::new(context.ui, format, zone, &COLUMNS),
    };
    let mut is_empty = true;
    for (id, group) in chosen(args, &found.groups, &mut failures) {
        let rows = match (args.members, args.by) {
            (true, _) => members::rows((id, group), &mut logs, |partition| args.has_topic_of(partition)),
            (_, by) => lag_rows(args, (id, group), &mut logs, context).and_then(|rows| match by {
                Some(by) => totals::rows(by, (id, group), &rows, &mut logs),
                None => partition_rows((id, group), &rows, &mut logs),
            }),
        };
        match rows {
            Ok(rows) => {
                is_empty &= rows.is_empty();
                rows.into_iter().try_for_each(|row| report.row(row))?;
            }
            Err(error) => failures.tell(error),
        }
    }
    report.finish()?;
    if args.members && is_empty && failures.exit() == Exit::Done {
        context.ui.status("no members run, and brokers have recorded none");
    }
    Ok(failures.exit())
}

/// How far a group is in the partitions that are meant.
fn lag_rows(
    args: &DescribeArgs,
    (id, group): (&GroupId, &Group),
    logs: &mut TopicLogs<'_>,
    context: &Context,
) -> anyhow::Result<Vec<LagRow>> {
    let mut rows = logs.rows(id, group)?;
    rows.retain(|row| args.has(row));
    for row in rows.iter().filter(|row| row.lost() > 0) {
        let (partition, lost) = (&row.partition, super::super::counted(row.lost() as u64, "record"));
        context.ui.warning(&format!("{id} has lost {lost} of {partition}: they were removed before it read them"));
    }
    Ok(rows)
}

fn partition_rows(
    (id, group): (&GroupId, &Group),
    rows: &[LagRow],
    logs: &mut TopicLogs<'_>,
) -> anyhow::Result<Vec<Vec<Cell>>> {
    // Of all its topics, whichever are shown.
    let has_members = !logs.members(id, group)?.is_empty();
    let state = if has_members { GroupState::Stable } else { group.state() };
    rows.iter().map(|row| Ok(cells(id, (group, state), row, logs.next_timestamp(row)?))).collect()
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
    let is_shared = group.kind() == GroupKind::Share;
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
        number(row.lag().filter(|_| !is_shared)),
        behind.filter(|_| !is_shared).map_or(Cell::Nothing, Cell::Age),
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
