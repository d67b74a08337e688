use super::ChosenTopic;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{self, Exit, FAILED, Failures};
use crate::groups::{
    Commits, FoundGroups, Group, GroupError, GroupKind, GroupsTopic, delete_share_group, exclude_members,
    forget_share_topics,
};
use crate::logdir::{LogDir, LogDirs};
use crate::units::{GroupId, TopicName, TopicPartition};
use std::collections::BTreeSet;
use std::io::IsTerminal;

/// Delete groups, or what they have committed of some topics
///
/// Asks on a terminal and needs --yes elsewhere. Refused while members of the group run, or a handler whose worker has died, and
/// for a whole group also while a broker's transaction with offsets of it is open. Records of topics stay.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir groups delete billing --yes")]
pub(super) struct DeleteArgs {
    /// The groups
    #[arg(required = true, value_parser = args::group)]
    group: Vec<GroupId>,
    /// Only what was committed of a topic, or of some of its partitions; of a share group what was done in the topic (can be
    /// repeated)
    #[arg(short, long, value_name = "TOPIC[:N,M]", value_parser = ChosenTopic::parse)]
    topic: Vec<ChosenTopic>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(super) fn run(args: &DeleteArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if !args.yes && !std::io::stdin().is_terminal() {
        return Err(exit::usage("groups delete asks on a terminal; elsewhere it needs --yes"));
    }
    let log_dir = context.open_to_write()?;
    let log_dirs = LogDirs::from(log_dir.clone());
    let found = GroupsTopic::find(&log_dirs)?.all()?;
    let mut failures = Failures::new(context.ui);
    let mut ended = Exit::Done;
    for group in &args.group {
        match delete(args, group, (&log_dir, &found), context) {
            Ok(true) => {}
            Ok(false) => ended = Exit::Told(FAILED),
            Err(error) => failures.tell(error),
        }
    }
    Ok(match failures.exit() {
        Exit::Done => ended,
        failed => failed,
    })
}

/// Whether it was done.
fn delete(
    args: &DeleteArgs,
    id: &GroupId,
    (log_dir, found): (&LogDir, &FoundGroups),
    context: &Context,
) -> anyhow::Result<bool> {
    let group = found.groups.get(id).ok_or_else(|| GroupError::NotFound { group: id.clone() })?;
    if group.kind() == GroupKind::Share {
        return delete_shared(args, (id, group), log_dir, context);
    }
    let is_meant =
        |partition: &TopicPartition| args.topic.is_empty() || args.topic.iter().any(|topic| topic.has(partition));
    let meant: Vec<&TopicPartition> = group.committed.keys().filter(|partition| is_meant(partition)).collect();
    let of = super::super::counted(meant.len() as u64, "partition");
    let what = if args.topic.is_empty() { format!("group {id}") } else { format!("the offsets of group {id}") };
    if !args.yes && !context.ui.confirm(&format!("delete {what} ({of})?"))? {
        context.ui.status(&format!("{what} is kept"));
        return Ok(false);
    }
    let mut commits = Commits::open(log_dir, id)?;
    loop {
        let group = commits.group()?.ok_or_else(|| GroupError::NotFound { group: id.clone() })?;
        let topics =
            group.committed.keys().filter(|partition| is_meant(partition)).map(|partition| partition.topic.clone());
        let topics: BTreeSet<TopicName> = topics.collect();
        let excluded = exclude_members(log_dir, id, &topics)?;
        if !args.topic.is_empty() {
            commits.forget(|partition| is_meant(partition) && topics.contains(&partition.topic), crate::cli::now())?;
            break;
        }
        match commits.delete(&topics, crate::cli::now()) {
            Ok(_) => {
                excluded.remove_files()?;
                break;
            }
            // A member has come to another topic: it is kept out as well, or named.
            Err(GroupError::ReadsAnother { .. }) => {}
            Err(error @ GroupError::InTransaction { .. }) => {
                return Err(exit::advised(error.to_string(), "--topic deletes what it has committed"));
            }
            Err(error) => return Err(error.into()),
        }
    }
    commits.close(crate::cli::now())?;
    context.ui.status(&format!("deleted {what} ({of})"));
    Ok(true)
}

/// The same of a share group.
fn delete_shared(
    args: &DeleteArgs,
    (id, group): (&GroupId, &Group),
    log_dir: &LogDir,
    context: &Context,
) -> anyhow::Result<bool> {
    if let Some(part) = args.topic.iter().find(|topic| !topic.partitions.is_empty()) {
        return Err(exit::usage(format!(
            "{id} is a share group, whose state of a topic is deleted as a whole: give --topic {} without partitions",
            part.topic
        )));
    }
    let is_meant =
        |topic: &str| args.topic.is_empty() || args.topic.iter().any(|chosen| chosen.topic.as_str() == topic);
    let meant = group.share.initialized.values().filter(|(topic, _)| is_meant(topic));
    let of = super::super::counted(meant.map(|(_, partitions)| partitions.len() as u64).sum(), "partition");
    let what = if args.topic.is_empty() { format!("group {id}") } else { format!("the state of group {id}") };
    if !args.yes && !context.ui.confirm(&format!("delete {what} ({of})?"))? {
        context.ui.status(&format!("{what} is kept"));
        return Ok(false);
    }
    let mut topics = group.topics();
    topics.retain(|topic| is_meant(topic.as_str()));
    loop {
        let excluded = exclude_members(log_dir, id, &topics)?;
        excluded.refuse_claims(id, log_dir)?;
        let now = crate::cli::now();
        if !args.topic.is_empty() {
            let in_excluded = |_, topic: &str| is_meant(topic) && topics.iter().any(|it| it.as_str() == topic);
            forget_share_topics(log_dir, id, &in_excluded, now)?;
            break;
        }
        match delete_share_group(log_dir, id, &topics, now) {
            Ok(true) => {
                excluded.remove_files()?;
                break;
            }
            Ok(false) => return Err(GroupError::NotFound { group: id.clone() }.into()),
            // A worker has come to another topic: it is kept out as well, or named.
            Err(GroupError::ReadsAnother { topic, .. }) => drop(topics.insert(topic)),
            Err(error) => return Err(error.into()),
        }
    }
    context.ui.status(&format!("deleted {what} ({of})"));
    Ok(true)
}
