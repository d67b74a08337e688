//! `kdir groups`: what groups of consumers have committed.

mod describe;
mod list;

use crate::cli::Context;
use crate::cli::exit::{Exit, Failures};
use crate::groups::{FoundGroups, GroupKind, GroupsTopic};
use crate::logdir::LogDirs;
use clap::Subcommand;

/// Show the offsets and the lag of consumer groups
///
/// A group is a name under which consumers share the partitions of topics and keep how far each was read: in
/// `__consumer_offsets`, as Kafka keeps it. Works on any log dir: of a broker that runs, is stopped or is gone, or a copy of
/// one, also where nothing can be written.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    #[command(alias = "ls")]
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
}

pub(crate) fn run(args: &GroupsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    match &args.command {
        GroupsCommand::List(args) => list::run(args, context),
        GroupsCommand::Describe(args) => describe::run(args, context),
    }
}

/// The kinds of groups, as Kafka's tools take them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Classic,
    Consumer,
    Share,
    Streams,
}

impl From<Kind> for GroupKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Classic => Self::Classic,
            Kind::Consumer => Self::Consumer,
            Kind::Share => Self::Share,
            Kind::Streams => Self::Streams,
        }
    }
}

/// Every group. What cannot be read of them is told: records with --verbose, for they may be of a later release.
fn all_groups(log_dirs: &LogDirs, context: &Context, failures: &mut Failures) -> anyhow::Result<FoundGroups> {
    let mut found = GroupsTopic::find(log_dirs)?.all()?;
    found.failed.drain(..).for_each(|error| failures.tell(error));
    for (partition, record) in &found.passed_over {
        context
            .ui
            .verbose(&format!("{partition}: passed over the record at offset {}: {}", record.offset, record.what));
    }
    Ok(found)
}
