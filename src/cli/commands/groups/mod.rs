//! `kdir groups`: what groups of consumers have committed, and share groups have done.

mod delete;
mod describe;
mod list;
mod members;
mod reset;
mod shares;
mod totals;

use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{Exit, Failures};
use crate::groups::{FoundGroups, GroupKind, GroupsTopic};
use crate::logdir::LogDirs;
use crate::units::{TopicName, TopicPartition};
use clap::Subcommand;

/// Show and change how far groups and work queues have come
///
/// A group is a name under which consumers share the partitions of topics and keep how far each was read: in
/// `__consumer_offsets`, as Kafka keeps it. Workers of `kdir work` are a share group: what they have done is kept in
/// `__share_group_state`. Works on any log dir: of a broker that runs, is stopped or is gone, or a copy of
/// one, also where nothing can be written.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir groups list\n  kdir groups describe billing")]
pub(crate) struct GroupsArgs {
    #[command(subcommand)]
    command: GroupsCommand,
}

#[derive(Debug, Subcommand)]
enum GroupsCommand {
    #[command(alias = "ls")]
    List(list::ListArgs),
    Describe(describe::DescribeArgs),
    Reset(reset::ResetArgs),
    Delete(delete::DeleteArgs),
}

pub(crate) fn run(args: &GroupsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    match &args.command {
        GroupsCommand::List(args) => list::run(args, context),
        GroupsCommand::Describe(args) => describe::run(args, context),
        GroupsCommand::Reset(args) => reset::run(args, context),
        GroupsCommand::Delete(args) => delete::run(args, context),
    }
}

/// A topic, or some of its partitions: `TOPIC` or `TOPIC:N,M`.
#[derive(Debug, Clone)]
struct ChosenTopic {
    topic: TopicName,
    /// All without one.
    partitions: Vec<i32>,
}

impl ChosenTopic {
    fn parse(text: &str) -> Result<Self, String> {
        let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
        let numbers = partitions.split(',').filter(|_| text.contains(':'));
        Ok(Self {
            topic: args::topic(topic)?,
            partitions: numbers.map(args::partition_number).collect::<Result<_, _>>()?,
        })
    }

    fn has(&self, partition: &TopicPartition) -> bool {
        partition.topic == self.topic && (self.partitions.is_empty() || self.partitions.contains(&partition.partition))
    }
}

/// A comparison with a lag: `>N`, `>=N`, `<N`, `<=N` or `=N`.
#[derive(Debug, Clone, Copy)]
struct LagTest {
    passes: fn(&i64, &i64) -> bool,
    with: i64,
}

impl LagTest {
    fn parse(text: &str) -> Result<Self, String> {
        let of = |prefix: &str, passes: fn(&i64, &i64) -> bool| text.strip_prefix(prefix).map(|rest| (passes, rest));
        let found =
            of(">=", i64::ge).or(of("<=", i64::le)).or(of(">", i64::gt)).or(of("<", i64::lt)).or(of("=", i64::eq));
        let parsed = found.and_then(|(passes, rest)| Some(Self { passes, with: rest.trim().parse().ok()? }));
        parsed.ok_or_else(|| format!("{text:?} is not a comparison, such as '>100' or '=0'"))
    }

    fn has(self, lag: Option<i64>) -> bool {
        lag.is_some_and(|lag| (self.passes)(&lag, &self.with))
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

/// Every group. Prints what cannot be read of them; single records only with --verbose, since a later release may write more
/// kinds.
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
