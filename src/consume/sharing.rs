//! How a consumer shares partitions with the other members of its group while it reads.

use super::consumer::Consumer;
use super::delivery::Delivery;
use super::follow::SAME_TICK_MS;
use super::selection::Selector;
use super::{ConsumeError, Event, Result};
use crate::disk::watch::Woken;
use crate::groups::Balance;
use crate::logdir::{LogDirError, LogDirs, Partition, Topic};
use crate::units::{Timestamp, TopicPartition};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Others are looked for so often where nothing tells that they come or go.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while something is waited for: a partition that another member gives up, or a reader.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// After so long it is said for whom is waited.
const SAY_AFTER: Duration = Duration::from_secs(1);

/// What a member of a group knows of the others.
pub(super) struct Sharing {
    lock_files: Vec<PathBuf>,
    /// The partitions that were there at the start: others are newcomers.
    known: HashSet<TopicPartition>,
    /// When names in the log dirs changed last.
    modified: Vec<Timestamp>,
    is_due: bool,
    /// Since when it has fewer partitions than it is to have.
    waits_since: Option<Instant>,
    has_said: bool,
    is_leaving_any: bool,
}

impl Sharing {
    /// Joins the group whose positions are kept, if it is one, and takes what is free.
    pub(super) fn begin(
        log_dirs: &LogDirs,
        selector: &Selector<'_>,
        delivery: &mut Delivery<'_>,
    ) -> Result<Option<Self>> {
        let Some(group) = delivery.group() else { return Ok(None) };
        let modified = log_dirs.modified()?;
        let mut topics = selector.topics(log_dirs, &mut |_| ())?;
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        let lock_files = group.join(&topics)?;
        let taken = if selector.follow { group.balance()?.taken } else { group.balance_at_once()?.taken };
        if let Some(ledger) = &mut delivery.ledger {
            ledger.take_over(&taken)?;
        }
        let of_topic = |topic: &Topic| {
            let partition = |&number| TopicPartition { topic: topic.name.clone(), partition: number };
            topic.partitions.iter().map(partition).collect::<Vec<_>>()
        };
        let known = topics.iter().flat_map(of_topic).collect();
        let (waits_since, is_leaving_any) = (None, false);
        Ok(Some(Self { lock_files, known, modified, is_due: true, waits_since, has_said: false, is_leaving_any }))
    }

    /// The files where that others come and go shows.
    pub(super) fn lock_files(&self) -> impl Iterator<Item = &Path> {
        self.lock_files.iter().map(PathBuf::as_path)
    }

    /// Whether it is time to look for others; that is then done.
    pub(super) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.is_due)
    }

    /// How long a wait lasts at most.
    pub(super) fn pause(&self) -> Duration {
        if self.waits_since.is_some() || self.is_leaving_any { LOOK_AGAIN } else { LOOK_EVERY }
    }

    /// The error that a topic is not there, of one that was.
    fn or_deleted(&self, error: ConsumeError) -> ConsumeError {
        match error {
            ConsumeError::LogDir(LogDirError::TopicNotFound { topic, .. })
                if self.known.iter().any(|partition| partition.topic == topic) =>
            {
                LogDirError::TopicDeleted { topic }.into()
            }
            error => error,
        }
    }

    /// Notes for whom it waits. Returns whether that is to be said.
    fn waits_for(&mut self, members: &[String]) -> bool {
        if members.is_empty() {
            (self.waits_since, self.has_said) = (None, false);
            return false;
        }
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let is_to_be_said = !self.has_said && since.elapsed() > SAY_AFTER;
        self.has_said |= is_to_be_said;
        is_to_be_said
    }
}

impl Consumer<'_> {
    /// Between two chunks of output it may be time to look for others.
    pub(super) fn note_if_due_to_share(&mut self) {
        if let Some(shared) = &mut self.shared {
            shared.is_due |= self.delivery.group().is_some_and(|group| group.is_due());
        }
    }

    /// Takes partitions that are free, and gives up those that others are to have. To be called when all that was shown is in
    /// the buffer.
    pub(super) fn share(&mut self) -> Result<()> {
        if self.shared.is_none() {
            return Ok(());
        }
        self.leave()?;
        self.look_for_topics()?;
        let Some(group) = self.delivery.group() else { return Ok(()) };
        let Balance { taken, surplus, waits_for, .. } = group.balance()?;
        for partition in surplus {
            let behind = self.merge.retire(&partition)?;
            if let Some(group) = self.delivery.group() {
                match behind {
                    Some(offset) => group.begin_to_leave(partition, offset),
                    // Nothing of it was shown.
                    None => group.give_up(&partition)?,
                }
            }
        }
        if let Some(ledger) = self.delivery.ledger.as_mut().filter(|_| !taken.is_empty()) {
            ledger.take_over(&taken)?;
        }
        self.read_what_is_owned()?;
        let is_leaving_any = self.delivery.group().is_some_and(|group| group.is_leaving_any());
        if let Some(shared) = &mut self.shared {
            shared.is_leaving_any = is_leaving_any;
            if shared.waits_for(&waits_for) {
                (self.tell)(Event::WaitsForMembers { members: &waits_for });
            }
        }
        Ok(())
    }

    /// Gives up what the reader is done with.
    fn leave(&mut self) -> Result<()> {
        let Some(group) = self.delivery.group() else { return Ok(()) };
        for partition in group.leave()? {
            if let Some(place) = self.merge.drop_retired(&partition)? {
                self.delivery.forget(place);
            }
            if let Some(ledger) = &mut self.delivery.ledger {
                ledger.forget(&partition);
            }
        }
        Ok(())
    }

    /// Joins the readers of topics that have come, and learns of partitions that have.
    fn look_for_topics(&mut self) -> Result<()> {
        let (Some(shared), true) = (&mut self.shared, self.options.follow) else { return Ok(()) };
        let (modified, now) = (self.log_dirs.modified()?, (self.environment.clock)());
        // What changes twice within a tick of the file system's clock shows one time.
        if modified == shared.modified && modified.iter().all(|&at| now.since(at) > SAME_TICK_MS) {
            return Ok(());
        }
        shared.modified = modified;
        let log_dirs = self.log_dirs.open_again()?;
        let mut topics = self.selector.topics(&log_dirs, &mut |_| ()).map_err(|error| shared.or_deleted(error))?;
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        let Some(group) = self.delivery.group() else { return Ok(()) };
        for file in group.join(&topics)? {
            if !shared.lock_files.contains(&file) {
                if let Some(follower) = &mut self.follower {
                    follower.watch_members(&file);
                }
                shared.lock_files.push(file);
            }
        }
        Ok(())
    }

    /// Opens the partitions that it has and does not read: those that it took just now, and those whose folder was not there
    /// yet.
    fn read_what_is_owned(&mut self) -> Result<()> {
        let owned = self.delivery.group().map_or(Vec::new(), |group| group.to_read());
        let unread: Vec<TopicPartition> = owned.into_iter().filter(|partition| !self.merge.reads(partition)).collect();
        if unread.is_empty() {
            return Ok(());
        }
        let log_dirs = self.log_dirs.open_again()?;
        let (mut known, mut new): (Vec<Partition>, Vec<Partition>) = (Vec::new(), Vec::new());
        for id in unread {
            let partition = log_dirs.partition(&log_dirs.named(&id.topic)?, id.partition)?;
            let is_known = self.shared.as_ref().is_some_and(|shared| shared.known.contains(&id));
            if is_known { known.push(partition) } else { new.push(partition) }
        }
        let ledger = self.delivery.ledger.as_ref();
        let mut selected = self.selector.sources(&log_dirs, known, ledger, self.tell)?;
        let newcomers = self.selector.newcomers(&log_dirs, new, ledger, self.tell)?;
        selected.sources.extend(newcomers.sources);
        selected.unreadable.extend(newcomers.unreadable);
        for partition in &selected.unreadable {
            if let Some(group) = self.delivery.group() {
                group.refuse(partition)?;
            }
        }
        let has_come = !selected.sources.is_empty();
        for source in selected.sources {
            if let Some(follower) = &mut self.follower {
                follower.watch_source(self.merge.sources().len(), &source);
            }
            self.merge.add(source)?;
        }
        if has_come { self.delivery.note_starts(&self.merge) } else { Ok(()) }
    }

    /// Where reading does not go on at the ends: waits while others have partitions that this member is to have. `None` where
    /// there is nothing to wait for.
    pub(super) fn wait_for_members(&mut self) -> Result<Option<Woken>> {
        if self.shared.as_ref().is_none_or(|shared| shared.waits_since.is_none()) {
            return Ok(None);
        }
        if self.write_and_keep()?.is_some() {
            return Ok(Some(Woken::OutputClosed));
        }
        Ok(Some(self.delivery.wakers().pause(LOOK_AGAIN)?))
    }
}
