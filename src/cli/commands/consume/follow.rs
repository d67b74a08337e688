//! Partitions and topics that come while others are followed.

use super::selection::Selection;
use crate::cli::{Context, now};
use crate::disk::Disk;
use crate::logdir::{LogDir, LogDirError};
use crate::stream::merge::Source;
use crate::units::TopicPartition;
use std::collections::HashSet;
use std::path::Path;

/// A folder that was changed twice within one tick of the file system's clock shows one time for both: for so long, what
/// has been listed is not believed.
const SAME_TICK_MS: i64 = 1000;

pub(super) struct Newcomers {
    known: HashSet<TopicPartition>,
    /// When the log dir's names last changed, as it was before they were listed.
    modified_ms: i64,
    listed_ms: i64,
}

impl Newcomers {
    /// What is listed after this is known.
    pub(super) fn new(log_dir: &LogDir) -> anyhow::Result<Self> {
        Ok(Self {
            known: HashSet::new(),
            modified_ms: modified_ms(&**log_dir.disk(), log_dir.root())?,
            listed_ms: now().0,
        })
    }

    pub(super) fn know(&mut self, sources: &[Source]) {
        self.known.extend(sources.iter().map(partition_of));
    }

    /// What has come since the last time. Costs one look at the log dir, unless its names have changed.
    pub(super) fn look(&mut self, selection: &Selection<'_>, context: &Context) -> anyhow::Result<Vec<Source>> {
        let (modified_ms, now_ms) = (modified_ms(&*context.disk, &context.root)?, now().0);
        if modified_ms == self.modified_ms && modified_ms < self.listed_ms - SAME_TICK_MS {
            return Ok(Vec::new());
        }
        (self.modified_ms, self.listed_ms) = (modified_ms, now_ms);
        // Opened anew each time: what it knows of offsets is as old as itself.
        let log_dir = context.open()?;
        let mut come = Vec::new();
        let partitions = match selection.partitions(&log_dir) {
            // That a topic was deleted is said by whoever reads it.
            Err(error) if is_gone(&error) => return Ok(come),
            partitions => partitions?,
        };
        for partition in partitions {
            if !self.known.contains(&partition) {
                come.extend(selection.newcomer(&log_dir, &partition)?);
            }
        }
        self.know(&come);
        Ok(come)
    }
}

fn modified_ms(disk: &dyn Disk, root: &Path) -> anyhow::Result<i64> {
    Ok(disk.stat(root)?.map_or(0, |stat| stat.modified_ms))
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LogDirError::TopicNotFound { .. } | LogDirError::NoTopicMatches { .. }))
}

fn partition_of(source: &Source) -> TopicPartition {
    TopicPartition { topic: source.topic.clone(), partition: source.partition }
}
