//! Waits for more in the partitions that are followed, and for partitions and topics that are added to them.

use super::printer::deleted_topic;
use super::selection::Selection;
use crate::cli::{Context, now};
use crate::disk::watch::{Wakers, Watch, Woken};
use crate::logdir::LogDirError;
use crate::stream::merge::{Merge, Source};
use crate::units::{Timestamp, TopicPartition};
use std::collections::HashSet;
use std::time::Duration;

/// A folder that was changed twice within one tick of the file system's clock shows one time for both: for so long, what
/// has been listed is not believed.
const SAME_TICK_MS: i128 = 1000;

/// Wakes up for the partitions of a merge, and asks only those that something happened to.
pub(super) struct Follower<'a> {
    context: &'a Context,
    selection: &'a Selection<'a>,
    newcomers: Newcomers,
    /// The log dirs' own folders come first in it, then those of the partitions, in the order of the sources.
    watch: Watch,
    /// What a wait has returned; its memory is kept.
    changed: Vec<usize>,
}

impl<'a> Follower<'a> {
    /// From here on no change in the partitions of `merge` is missed: they are to be asked after this.
    pub(super) fn new(context: &'a Context, selection: &'a Selection<'a>, newcomers: Newcomers, merge: &Merge) -> Self {
        let mut watch = Watch::start();
        for root in &context.roots {
            watch.add(root);
        }
        merge.sources().iter().for_each(|source| {
            watch.add(source.records.log().view().path());
        });
        Self { context, selection, newcomers, watch, changed: Vec::new() }
    }

    /// Waits for more, for one of `wakers`, or for so long, and has `merge` ask the partitions that may have more.
    pub(super) fn wait(&mut self, wakers: &Wakers<'_>, at_most: Duration, merge: &mut Merge) -> anyhow::Result<Woken> {
        self.changed.clear();
        let woken = self.watch.wait(wakers, at_most, &mut self.changed)?;
        if woken != Woken::Look {
            return Ok(woken);
        }
        for &number in &self.changed {
            if let Some(source) = number.checked_sub(self.context.roots.len()) {
                merge.look_at(source).map_err(deleted_topic)?;
                continue;
            }
            for source in self.newcomers.look(self.selection, self.context)? {
                self.watch.add(source.records.log().view().path());
                merge.add(source).map_err(deleted_topic)?;
            }
        }
        Ok(woken)
    }
}

/// The partitions that are known, and whether the log dirs have others by now.
pub(super) struct Newcomers {
    known: HashSet<TopicPartition>,
    /// When the log dirs' names last changed, as it was before they were listed.
    modified: Vec<Timestamp>,
    listed: Timestamp,
}

impl Newcomers {
    /// What is listed after this is known.
    pub(super) fn new(context: &Context) -> anyhow::Result<Self> {
        Ok(Self { known: HashSet::new(), modified: modified(context)?, listed: now() })
    }

    pub(super) fn know(&mut self, sources: &[Source]) {
        self.known.extend(sources.iter().map(partition_of));
    }

    /// Partitions that are not to be read when they come.
    pub(super) fn leave_out(&mut self, partitions: Vec<TopicPartition>) {
        self.known.extend(partitions);
    }

    /// What has come since the last time. Costs one look at each log dir, unless names have changed.
    pub(super) fn look(&mut self, selection: &Selection<'_>, context: &Context) -> anyhow::Result<Vec<Source>> {
        let (modified, now) = (modified(context)?, now());
        if modified == self.modified && modified.iter().all(|&it| self.listed.since(it) > SAME_TICK_MS) {
            return Ok(Vec::new());
        }
        (self.modified, self.listed) = (modified, now);
        // Opened anew each time: what it knows of offsets is as old as itself.
        let log_dirs = context.open_all()?;
        let mut come = Vec::new();
        let partitions = match selection.partitions(&log_dirs) {
            // That a topic was deleted is said by whoever reads it.
            Err(error) if is_gone(&error) => return Ok(come),
            partitions => partitions?,
        };
        for partition in partitions {
            if !self.known.contains(partition.id()) {
                come.extend(selection.newcomer(&partition)?);
            }
        }
        self.know(&come);
        Ok(come)
    }
}

fn modified(context: &Context) -> anyhow::Result<Vec<Timestamp>> {
    let of_root = |root| Ok(context.disk.stat(root)?.map_or(Timestamp::default(), |stat| Timestamp(stat.modified_ms)));
    context.roots.iter().map(|root| of_root(root)).collect()
}

fn is_gone(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            LogDirError::TopicNotFound { .. } | LogDirError::TopicSetAside { .. } | LogDirError::NoTopicMatches { .. }
        )
    )
}

fn partition_of(source: &Source) -> TopicPartition {
    TopicPartition { topic: source.topic.clone(), partition: source.partition }
}
