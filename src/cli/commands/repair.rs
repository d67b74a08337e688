use super::verify::Findings;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{self, Exit, Failures};
use crate::cli::report::{Cell, Column, ReportArgs, ReportFormat, number, text};
use crate::cli::ui::OutputError;
use crate::logdir::{RepairPlan, TopicPattern};
use crate::storage::repair::{DamagedRecords, Decision, Remedy};
use crate::units::{Offset, TopicName, TopicPartition};
use std::collections::BTreeSet;

/// Repair what verify finds
///
/// First all of the topics' logs are checked, as `kdir verify` does it; a log without a finding is not touched, nor is
/// anything sound in the others. Indexes are rebuilt, a half-written end is cut, offsets and epochs outside the checksum
/// are corrected, a broker's interrupted compaction is finished, damaged small files are rebuilt.
///
/// Where records are lost, the log goes on without them only with --accept-loss: damaged batches, and one of two that
/// contradict each other, are removed, and empty batches keep the offsets, so that none is given twice. What is given up
/// is printed before anything is changed, and by --dry-run: partition, offsets, how many records at most, and what shows
/// that they are lost.
///
/// What is removed is kept beside the log: bytes as `cut-<base offset>-<position>`, files as `<name>.damaged`. Exit status
/// 4 says that something is still wrong, or, with --dry-run, that something is: see the severities of `kdir verify`.
///
/// Columns of JSON and TSV: topic, partition, path, position, offset, severity, problem, what, remedy, lost_from, lost_to,
/// records_max, witness
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir repair --dry-run --accept-loss app && kdir repair --accept-loss app")]
pub(crate) struct RepairArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Show what is wrong and what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Go on without records that are lost or damaged
    #[arg(long, alias = "skip-corrupt")]
    accept_loss: bool,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 13] = {
    let [a, b, c, d, e, f, g, h, i] = super::verify::columns("remedy");
    let (from, to, most) = (number("lost_from", ""), number("lost_to", ""), number("records_max", ""));
    [a, b, c, d, e, f, g, h, i, from, to, most, text("witness", "")]
};

pub(crate) fn run(args: &RepairArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let damaged_records = if args.accept_loss { DamagedRecords::GiveUp } else { DamagedRecords::Keep };
    let verification = context.open()?.begin_verification(&args.topic, super::verify::half_written_pause)?;
    let plans = super::verify::check(verification, context)?.plan_repair(damaged_records);
    let mut report = Decisions::new(context, args.report.output);
    for planned in &plans {
        planned.plan.decisions.iter().try_for_each(|it| report.add(planned.partition.as_ref(), it))?;
    }
    let count = plans.iter().map(|planned| planned.plan.decisions.len()).sum::<usize>();
    if count == 0 {
        report.rows.finish()?;
        context.ui.status("nothing is wrong, nothing was changed");
        return Ok(Exit::Done);
    }
    for (planned, reason) in plans.iter().filter_map(|it| Some((it, it.plan.is_incomplete()?))) {
        let name = planned.partition.as_ref().map_or("the log dir".into(), ToString::to_string);
        context.ui.warning(&format!("{name}: more may be found while it is repaired: {reason}"));
    }
    if args.dry_run || !plans.iter().any(|planned| planned.plan.acts()) {
        let cost = report.cost("would be given up");
        report.rows.finish()?;
        context.ui.status(&format!("{}, nothing was changed{cost}", super::counted(count as u64, "finding")));
        hint(context, &plans);
        return Ok(super::verify::exit(plans.iter().flat_map(|planned| planned.plan.findings())));
    }
    let log_dir = context.open_to_repair()?;
    let mut failures = Failures::new(context.ui);
    let (mut done, mut left) = (0, Vec::new());
    for planned in &plans {
        let mut notices = Vec::new();
        let repaired = log_dir.apply_repair(planned, super::verify::threads(), &mut notices);
        notices.iter().for_each(|notice| context.ui.status(&super::told(notice)));
        let repaired = match repaired.map_err(anyhow::Error::from) {
            Err(error) if exit::is_of_a_partition(&error, &context.roots) => {
                failures.tell(error);
                continue;
            }
            repaired => repaired?,
        };
        done += repaired.done.len() as u64;
        // What has shown only once other findings were dealt with.
        let is_new = |it: &&Decision| !planned.plan.decisions.contains(it);
        repaired.done.iter().filter(is_new).try_for_each(|it| report.add(planned.partition.as_ref(), it))?;
        left.extend(repaired.left);
    }
    let cost = report.cost("given up");
    report.rows.finish()?;
    for finding in &left {
        context.ui.warning(&format!("{}: {}", finding.path.display(), finding.problem));
    }
    context.ui.status(&format!("repaired {}, {} left{cost}", super::counted(done, "finding"), left.len()));
    hint(context, &plans);
    Ok(match failures.exit() {
        Exit::Done => super::verify::exit(left.iter()),
        failed => failed,
    })
}

/// Names the command that goes on where this one does not.
fn hint(context: &Context, plans: &[RepairPlan]) {
    let waits = |it: &&RepairPlan| it.plan.decisions.iter().any(|it| it.remedy == Remedy::IfLossIsAccepted);
    let topics: BTreeSet<&TopicName> =
        plans.iter().filter(waits).filter_map(|it| Some(&it.partition.as_ref()?.topic)).collect();
    if !topics.is_empty() {
        let topics: Vec<&str> = topics.into_iter().map(TopicName::as_str).collect();
        context.ui.hint(&exit::accept_loss(&topics.join(" ")));
    }
}

/// Findings with what is done about them, and what that costs.
struct Decisions<'a> {
    rows: Findings<'a>,
    records_max: u64,
}

impl<'a> Decisions<'a> {
    fn new(context: &'a Context, format: ReportFormat) -> Self {
        Self { rows: Findings::new(context, format, &COLUMNS), records_max: 0 }
    }

    fn add(&mut self, partition: Option<&TopicPartition>, decision: &Decision) -> Result<(), OutputError> {
        let mut then = decision.remedy.text().to_owned();
        let Some(loss) = decision.cost() else {
            let none = vec![Cell::Nothing, Cell::Nothing, Cell::Nothing, Cell::Nothing];
            return self.rows.add_with(&decision.finding, partition, &then, none);
        };
        self.records_max = self.records_max.saturating_add(loss.records_max);
        let (from, last) = (loss.offsets.start, Offset(loss.offsets.end.0 - 1));
        let name = partition.map_or(String::new(), |it| format!(" of {it}"));
        let given_up = match loss.offsets.is_empty() {
            true => format!("all records{name}; how many is not known"),
            false => {
                let records = super::counted(loss.records_max, "record");
                format!("offsets {from} to {last}{name}, at most {records}")
            }
        };
        then.push_str(&format!("\ngives up {given_up}; witness: {}", loss.witness));
        let more = vec![
            Cell::Number(from.0),
            if loss.offsets.is_empty() { Cell::Nothing } else { Cell::Number(last.0) },
            Cell::Number(i64::try_from(loss.records_max).unwrap_or(i64::MAX)),
            Cell::text(loss.witness),
        ];
        let then = if self.rows.is_table() { then } else { decision.remedy.text().to_owned() };
        self.rows.add_with(&decision.finding, partition, &then, more)
    }

    /// The end of a sentence about how much is given up.
    fn cost(&self, verb: &str) -> String {
        match self.records_max {
            0 => String::new(),
            records => format!("; at most {} {verb}", super::counted(records, "record")),
        }
    }
}
