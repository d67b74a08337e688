//! Waits for more in the partitions that are followed, and for partitions and topics that are added to them.

use super::merge::{Merge, Source};
use super::selection::Selector;
use super::{ConsumeError, Event, Result};
use crate::disk::watch::{Wakers, Watch, Woken};
use crate::logdir::{LogDirError, LogDirs};
use crate::units::{Timestamp, TopicName, TopicPartition};
use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A folder that was changed twice within one tick of the file system's clock shows one time for both: for so long, what
/// has been listed is not believed.
pub(super) const SAME_TICK_MS: i128 = 1000;

/// The kernel tells that a file was closed before it drops the locks of the process that has ended: for so long it is looked
/// again, and so often.
const STIRRED: Duration = Duration::from_millis(50);
const STIRRED_EVERY: Duration = Duration::from_millis(2);

/// Wakes up for the partitions of a merge, and asks only those that something happened to.
pub(super) struct Follower {
    /// `None` for a member of a group, which looks for topics itself.
    newcomers: Option<Newcomers>,
    watch: Watch,
    /// What is watched, by number.
    watched: Vec<Watched>,
    /// When a member of the group came or went last.
    stirred: Option<Instant>,
    /// What a wait has returned; its memory is kept.
    changed: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Watched {
    LogDir,
    /// The source at this place.
    Source(usize),
    /// The lock file of a group.
    Members,
}

impl Follower {
    /// From here on no change in the partitions of `merge` is missed: they are to be asked after this.
    pub(super) fn new(log_dirs: &LogDirs, newcomers: Option<Newcomers>, merge: &Merge) -> Self {
        let (mut watch, mut watched) = (Watch::start(), Vec::new());
        for root in log_dirs.roots() {
            watch.add(root);
            watched.push(Watched::LogDir);
        }
        let mut follower = Self { newcomers, watch, watched, stirred: None, changed: Vec::new() };
        merge.sources().iter().enumerate().for_each(|(place, source)| follower.watch_source(place, source));
        follower
    }

    /// Watches a source that has come to that place.
    pub(super) fn watch_source(&mut self, place: usize, source: &Source) {
        self.watch.add(source.records.log().view().path());
        self.watched.push(Watched::Source(place));
    }

    /// Wakes up when a member of a group comes or goes.
    pub(super) fn watch_members(&mut self, lock_file: &Path) {
        self.watch.add_file(lock_file);
        self.watched.push(Watched::Members);
    }

    /// Waits for more, for one of `wakers`, or for so long, and has `merge` ask the partitions that may have more. `now` is
    /// asked where a log dir has changed, and `tell` told of what has come and cannot be read.
    pub(super) fn wait(
        &mut self,
        wakers: &Wakers<'_>,
        at_most: Duration,
        (selector, log_dirs): (&Selector<'_>, &LogDirs),
        now: fn() -> Timestamp,
        merge: &mut Merge,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Woken> {
        self.changed.clear();
        let is_stirred = self.stirred.is_some_and(|at| at.elapsed() < STIRRED);
        let at_most = if is_stirred { at_most.min(STIRRED_EVERY) } else { at_most };
        let woken = self.watch.wait(wakers, at_most, &mut self.changed)?;
        if woken != Woken::Look {
            return Ok(woken);
        }
        let changed = std::mem::take(&mut self.changed);
        for &number in &changed {
            match self.watched[number] {
                Watched::Source(place) => merge.look_at(place)?,
                Watched::Members => self.stirred = Some(Instant::now()),
                Watched::LogDir => {
                    let Some(newcomers) = &mut self.newcomers else { continue };
                    for source in newcomers.look((selector, log_dirs), now(), tell)? {
                        self.watch_source(merge.sources().len(), &source);
                        merge.add(source)?;
                    }
                }
            }
        }
        self.changed = changed;
        Ok(woken)
    }
}

/// The partitions that are known, and whether the log dirs have others by now.
pub(super) struct Newcomers {
    known: HashSet<TopicPartition>,
    /// Topics that cannot be read as they are, and were told of.
    told: HashSet<TopicName>,
    /// When the log dirs' names last changed, as it was before they were listed.
    modified: Vec<Timestamp>,
    listed: Timestamp,
}

impl Newcomers {
    /// What is listed after this is known.
    pub(super) fn new(log_dirs: &LogDirs, now: Timestamp) -> Result<Self> {
        Ok(Self { known: HashSet::new(), told: HashSet::new(), modified: log_dirs.modified()?, listed: now })
    }

    pub(super) fn know(&mut self, sources: &[Source]) {
        self.known.extend(sources.iter().map(partition_of));
    }

    /// Partitions that are not to be read when they come.
    pub(super) fn leave_out(&mut self, partitions: Vec<TopicPartition>) {
        self.known.extend(partitions);
    }

    /// What has come since the last time. Costs one stat of each log dir, unless names have changed. What cannot be read is
    /// told once and left out: it does not end the reading of all others.
    fn look(
        &mut self,
        (selector, log_dirs): (&Selector<'_>, &LogDirs),
        now: Timestamp,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Vec<Source>> {
        let modified = log_dirs.modified()?;
        if modified == self.modified && modified.iter().all(|&it| self.listed.since(it) > SAME_TICK_MS) {
            return Ok(Vec::new());
        }
        (self.modified, self.listed) = (modified, now);
        let log_dirs = log_dirs.open_again()?;
        let (mut come, mut unreadable) = (Vec::new(), Vec::new());
        let topics = match selector.partitions_by_topic(&log_dirs) {
            // That a topic was deleted is told when it is read.
            Err(error) if is_gone(&error) => return Ok(come),
            topics => topics?,
        };
        for (topic, partitions) in topics {
            let partitions = match partitions {
                Ok(partitions) => partitions,
                Err(error) => {
                    // It may have what it lacks by the next time.
                    if self.told.insert(topic) {
                        tell(Event::Failed { error });
                    }
                    continue;
                }
            };
            // A handle holds its partition's folder open, so each goes before the next is asked.
            for partition in partitions.into_iter().filter(|it| !self.known.contains(it.id())) {
                match selector.newcomer(&partition) {
                    Ok(source) => come.extend(source),
                    Err(error) if is_gone(&error) => {}
                    Err(error) if error.is_of_a_partition(log_dirs.roots()) => {
                        tell(Event::Failed { error });
                        unreadable.push(partition.id().clone());
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        self.leave_out(unreadable);
        self.know(&come);
        Ok(come)
    }
}

fn is_gone(error: &ConsumeError) -> bool {
    matches!(
        error,
        ConsumeError::LogDir(
            LogDirError::TopicNotFound { .. }
                | LogDirError::TopicDeleted { .. }
                | LogDirError::TopicSetAside { .. }
                | LogDirError::NoTopicMatches { .. }
        )
    )
}

fn partition_of(source: &Source) -> TopicPartition {
    TopicPartition { topic: source.topic.clone(), partition: source.partition }
}
