use super::verify::Findings;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::Exit;
use crate::cli::report::{Column, ReportArgs};
use crate::logdir::TopicPattern;
use crate::storage::repair::DamagedRecords;

/// Mend what verify finds
///
/// First all of the topics' logs are checked, as `kdir verify` does it; a log without a finding is not touched, nor is
/// anything sound in the others. Indexes are rebuilt, a half-written end is cut, offsets and epochs outside the checksum
/// are put right, a broker's interrupted compaction is finished, damaged small files are made anew. With --skip-corrupt,
/// damaged batches in the middle are stepped over: an empty batch keeps their offsets.
///
/// What is removed is kept beside the log: bytes as `cut-<base offset>-<position>`, files as `<name>.damaged`. Exit status
/// 4 says that something is still wrong, or, with --dry-run, that something is: see the severities of `kdir verify`.
///
/// Columns of JSON and TSV: topic, partition, path, position, offset, severity, problem, what, remedy
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir repair --dry-run app && kdir repair app")]
pub(crate) struct RepairArgs {
    /// The topics, by name or pattern (see `kdir consume`); all without one
    #[arg(value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Show what is wrong and what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Give damaged records up, and go on behind them
    #[arg(long)]
    skip_corrupt: bool,
    #[command(flatten)]
    report: ReportArgs,
}

const COLUMNS: [Column; 9] = super::verify::columns("remedy");

pub(crate) fn run(args: &RepairArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let damaged_records = if args.skip_corrupt { DamagedRecords::GiveUp } else { DamagedRecords::Keep };
    let verification = context.open()?.begin_verification(&args.topic, super::verify::half_written_pause)?;
    let plans = super::verify::check(verification, context)?.plan_repair(damaged_records);
    let mut report = Findings::new(context, args.report.output, &COLUMNS);
    for planned in &plans {
        for decision in &planned.plan.decisions {
            report.add(&decision.finding, planned.partition.as_ref(), decision.remedy.text())?;
        }
    }
    report.finish()?;
    let count = plans.iter().map(|planned| planned.plan.decisions.len()).sum::<usize>();
    if count == 0 {
        context.ui.status("nothing is wrong, nothing was changed");
        return Ok(Exit::Done);
    }
    if args.dry_run || !plans.iter().any(|planned| planned.plan.acts()) {
        context.ui.status(&format!("{}, nothing was changed", super::counted(count as u64, "finding")));
        return Ok(super::verify::exit(plans.iter().flat_map(|planned| planned.plan.findings())));
    }
    let log_dir = context.open_to_write()?;
    let mut left = Vec::new();
    for planned in &plans {
        let mut notices = Vec::new();
        let remaining = log_dir.apply_repair(planned, super::verify::threads(), &mut notices);
        notices.iter().for_each(|notice| context.ui.status(&super::told(notice)));
        left.extend(remaining?);
    }
    for finding in &left {
        context.ui.warning(&format!("{}: {}", finding.path.display(), finding.problem));
    }
    let mended = count.saturating_sub(left.len()) as u64;
    context.ui.status(&format!("mended {}, {} left", super::counted(mended, "finding"), left.len()));
    Ok(super::verify::exit(left.iter()))
}
