//! One file per subcommand: the doc comment that is the help, the arguments, `run`, and its rows.

pub(crate) mod alter;
pub(crate) mod compact;
pub(crate) mod completions;
pub(crate) mod consume;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod delete_records;
pub(crate) mod demote;
pub(crate) mod describe;
pub(crate) mod dump;
pub(crate) mod export;
pub(crate) mod get;
pub(crate) mod groups;
pub(crate) mod import;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod offsets;
pub(crate) mod produce;
pub(crate) mod promote;
pub(crate) mod repair;
pub(crate) mod retention;
pub(crate) mod verify;
pub(crate) mod work;

use super::Context;
use super::exit::Failures;
use crate::logdir::{FoundTopics, LogDir, LogDirs, Partition, Topic, TopicPattern};
use crate::storage::Notice;
use crate::units::Offset;

/// The topics that are meant; without a name, all that can be read.
fn named_topics_or_all(
    log_dirs: &LogDirs,
    patterns: &[TopicPattern],
    failures: &mut Failures,
) -> anyhow::Result<Vec<Topic>> {
    if !patterns.is_empty() {
        return Ok(log_dirs.matching_topics(patterns)?);
    }
    Ok(readable(log_dirs.find_topics()?, failures))
}

/// The topics of those found that can be read; what is wrong with the others is printed.
fn readable(mut found: FoundTopics, failures: &mut Failures) -> Vec<Topic> {
    for (name, error) in found.damaged {
        failures.tell(error);
        found.topics.retain(|topic| topic.name != name);
    }
    found.topics
}

/// Names what keeps folders of deleted topics from being removed.
fn warn_of_kept(log_dir: &LogDir, context: &Context) -> anyhow::Result<()> {
    for path in log_dir.kept_of_deleted_topics()? {
        let path = path.display();
        context.ui.warning(&format!("{path} is not a file of a partition: it was kept when its topic was deleted"));
    }
    Ok(())
}

/// Log start and log end offset of a partition.
fn range(partition: &Partition) -> anyhow::Result<(Offset, Offset)> {
    let view = partition.view()?;
    Ok((view.log_start_offset(), view.log_end_offset()?))
}

/// `1 record`, `2 records`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// What was done to a log beside the user's command, in words.
fn told(notice: &Notice) -> String {
    match notice {
        Notice::TailCut { path, position, bytes, kept_as } => {
            let kept = match kept_as {
                Some(kept) => format!("it is kept as {}", kept.display()),
                None => "the disk had no room to keep it".into(),
            };
            let bytes = counted(*bytes, "byte");
            format!("cut {bytes} of a batch left half written from {} at position {position}; {kept}", path.display())
        }
        Notice::CompactionFinished { path } => {
            format!("finished the compaction that was left half done in {}", path.display())
        }
    }
}
