use crate::cli::Context;
use crate::cli::exit::Exit;
use crate::disk::suspension;
use crate::logdir::{LogDir, LogDirs};
use crate::promote::{DemotionPlan, PromoteError};
use std::sync::Arc;

/// Take the log dir back from a Kafka broker
///
/// The broker has to be stopped. What its metadata knows of topics (names, ids, partitions, configuration) is written to topic
/// files, and what only a broker needs is removed: meta.properties, bootstrap.checkpoint, __cluster_metadata-0, the high
/// watermarks and the folders of deleted partitions. Records and groups are not touched. A file .kdir-broker keeps what a later
/// promotion goes by: producer ids and leader epochs that are in use.
///
/// Users, quotas, access rules and transactional state of other brokers are not kdir's and are gone with the metadata.
///
/// Every partition has to be whole here, and nowhere else in sync. Of several brokers, move all partitions to this one first, or
/// stop it last.
///
/// --dry-run shows what would be done, and changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir demote --dry-run -d /var/lib/kafka")]
pub(crate) struct DemoteArgs {
    /// Show what would be done; change nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

pub(crate) fn run(args: &DemoteArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let root = context.root()?;
    let plan = if args.dry_run {
        let log_dir = LogDirs::from(context.open()?);
        let mut plan = DemotionPlan::make(log_dir.first())?;
        if !plan.refusals.is_empty() {
            let reasons = std::mem::take(&mut plan.refusals);
            return Err(PromoteError::Refused { path: root.to_owned(), reasons }.into());
        }
        plan
    } else {
        suspension::wait_for_locks();
        let log_dir = LogDir::open_alone(Arc::clone(&context.disk), root)?;
        DemotionPlan::make(&log_dir)?.apply(&log_dir)?
    };
    for topic in &plan.elsewhere {
        context.ui.warning(&format!("topic {topic} has no partition in this log dir: it is left out"));
    }
    let topics = super::counted(plan.topics.len() as u64, "topic");
    context.ui.status(&match (plan.is_done, args.dry_run) {
        (true, _) => "the log dir is kdir's already".to_owned(),
        (false, true) => format!("would take back {topics}: nothing was changed"),
        (false, false) => format!("took back {topics}: the log dir is kdir's"),
    });
    Ok(Exit::Done)
}
