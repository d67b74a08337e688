use super::{Kind, LagTest};
use crate::cli::Context;
use crate::cli::exit::{Exit, Failures};
use crate::cli::report::{Cell, Column, Report, ReportArgs, number, text};
use crate::groups::{Group, GroupKind, GroupState, TopicLogs};
use crate::units::GroupId;

/// List groups
///
/// A row for each group: its type and state as Kafka's tools name them; the members that run now, of `kdir consume --group` or
/// `kdir work`; the topics that it has committed offsets of, or has a state of as a share group; how many offsets it is behind in
/// them, or records are not done; and when it has committed last, or its state was written. Of a group without such members the
/// state is what a broker has written last.
///
/// Columns of JSON and TSV: group, type, state, members, recorded_members (what a broker has written last), topics, lag,
/// last_commit
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir groups list\n  kdir groups list --type classic -o json")]
pub(super) struct ListArgs {
    /// Only groups of this type
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
    /// Only groups with such a lag in all, as '>100'
    #[arg(long, value_name = "TEST", value_parser = LagTest::parse)]
    lag: Option<LagTest>,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 8] = [
    text("group", "GROUP"),
    text("type", "TYPE"),
    text("state", "STATE"),
    number("members", "MEMBERS"),
    number("recorded_members", "").leaves(1),
    number("topics", "TOPICS"),
    number("lag", "LAG"),
    text("last_commit", "LAST COMMIT"),
];

pub(super) fn run(args: &ListArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let log_dirs = context.open_to_read()?;
    let mut failures = Failures::new(context.ui);
    let found = super::all_groups(&log_dirs, context, &mut failures)?;
    let mut logs = TopicLogs::of(&log_dirs);
    let mut report = Report::new(context.ui, args.report.output, &context.zone, &COLUMNS);
    let is_meant = |group: &Group| args.kind.is_none_or(|kind| GroupKind::from(kind) == group.kind());
    let mut is_empty = true;
    for (id, group) in found.groups.iter().filter(|(_, group)| is_meant(group)) {
        is_empty = false;
        let lag = lag_of(id, group, &mut logs);
        match lag.and_then(|lag| Ok((lag, row(id, group, lag, &mut logs)?))) {
            Ok((lag, row)) if args.lag.is_none_or(|test| test.has(lag)) => report.row(row)?,
            Ok(_) => {}
            Err(error) => failures.tell(error),
        }
    }
    report.finish()?;
    if is_empty && failures.exit() == Exit::Done {
        context.ui.status("there are no groups");
    }
    Ok(failures.exit())
}

/// The sum over its partitions.
fn lag_of(id: &GroupId, group: &Group, logs: &mut TopicLogs<'_>) -> anyhow::Result<Option<i64>> {
    let lags: Vec<i64> = match group.kind() {
        GroupKind::Share => logs.share_rows(id, group)?.iter().filter_map(|row| row.lag()).collect(),
        _ => logs.rows(id, group)?.iter().filter_map(|row| row.lag()).collect(),
    };
    Ok((!lags.is_empty()).then(|| lags.iter().sum()))
}

fn row(id: &GroupId, group: &Group, lag: Option<i64>, logs: &mut TopicLogs<'_>) -> anyhow::Result<Vec<Cell>> {
    let now = crate::cli::now();
    let last_commit = match group.kind() {
        // One that waits longer than usual is written with a time to come.
        GroupKind::Share => logs.share_written_at(id, group)?.map(|at| at.min(now)),
        _ => group.committed.values().map(|committed| committed.timestamp).max(),
    };
    let members = logs.members(id, group)?.len() as i64;
    let state = if members > 0 { GroupState::Stable } else { group.state() };
    Ok(vec![
        Cell::text(id),
        Cell::text(group.kind().name()),
        Cell::text(state.name()),
        Cell::Number(members),
        Cell::Number(group.recorded_members.len() as i64),
        Cell::Number(group.topics().len() as i64),
        lag.map_or(Cell::Nothing, Cell::Number),
        Cell::moment(last_commit, now),
    ])
}
