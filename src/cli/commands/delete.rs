use super::list::totals;
use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{self, Exit, FAILED, Failures};
use crate::cli::ui::Unit;
use crate::groups;
use crate::logdir::{Deleting, LogDir, Origin, Topic, TopicPattern};
use crate::units::ByteSize;
use std::io::IsTerminal;

/// Delete topics and all their records
///
/// Asks on a terminal and needs --yes elsewhere. A deletion that was interrupted is finished by the next `create` or
/// `delete`; the topic is gone as soon as it has begun. A topic whose question is answered with no is kept, and the exit status
/// is 1. What groups have committed of a topic, or done in it as share groups, is forgotten before.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir delete app --yes")]
pub(crate) struct DeleteArgs {
    /// The topics, by name or pattern (see `kdir consume`)
    #[arg(required = true, value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

pub(crate) fn run(args: &DeleteArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if !args.yes && !std::io::stdin().is_terminal() {
        return Err(exit::usage("delete asks on a terminal; elsewhere it needs --yes"));
    }
    let log_dir = context.open_to_write()?;
    let topics = log_dir.matching_topics(&args.topic)?;
    let mut ended = Exit::Done;
    for topic in topics {
        if !args.yes {
            // What cannot be read is named before the question.
            let (records, bytes) = totals(log_dir.partitions(&topic)?, &mut Failures::new(context.ui));
            let question = format!(
                "delete topic {} ({}, {}, {})?",
                topic.name,
                super::counted(topic.partitions.len() as u64, "partition"),
                super::counted(records as u64, "record"),
                ByteSize(bytes)
            );
            if !context.ui.confirm(&question)? {
                context.ui.status(&format!("topic {} is kept", topic.name));
                ended = Exit::Told(FAILED);
                continue;
            }
        }
        log_dir.check_delete(&topic.name)?;
        forget(&topic, &log_dir, context)?;
        let mut progress = context.ui.progress(None, Unit::Segments);
        let mut segments = 0;
        let mut unlinked = Vec::new();
        let deleted = log_dir.delete_topic(&topic.name, |step| match step {
            Deleting::Removed(path) => {
                segments += u64::from(path.extension().is_some_and(|suffix| suffix == "log"));
                progress.set(segments, || topic.name.to_string());
            }
            Deleting::Unlinked(path) => unlinked.push(path.display().to_string()),
        });
        progress.finish();
        for path in unlinked {
            context
                .ui
                .warning(&format!("{path} was a symbolic link: it was removed, the folder that it led to was not"));
        }
        deleted?;
        // Members have committed until now.
        forget(&topic, &log_dir, context)?;
        context.ui.status(&format!("deleted topic {}", topic.name));
    }
    super::warn_of_kept(&log_dir, context)?;
    Ok(ended)
}

/// Has groups forget a topic. The topic goes even if the disk is too full to write that.
fn forget(topic: &Topic, log_dir: &LogDir, context: &Context) -> anyhow::Result<()> {
    let (name, topic_id) = match topic.origin {
        Origin::TopicFile(id) => (&topic.name, Some(id)),
        Origin::Cluster(_) | Origin::Broker | Origin::SetAside => (&topic.name, None),
    };
    let forgotten = groups::forget_topic(log_dir, name, topic_id, crate::cli::now())?;
    for group in forgotten.groups {
        context.ui.verbose(&format!("group {group} has forgotten topic {name}"));
    }
    for error in forgotten.failed {
        context.ui.warning(&format!("groups may go on in another topic {name} where they were in this one: {error}"));
    }
    Ok(())
}
