//! Works queues: takes records, has them handled, and writes down what became of them.
//!
//! One thread does all of it, round by round. What handlers have finished gets its verdict, free places get new records, and
//! what is to be said of both goes out as one append, with one sync for all: so the verdict of a record and the attempt of the
//! next cost one. Only then are the old claims given back and the new handlers started.

use super::dead_letters::DeadLetters;
use super::handlers::Handlers;
use super::job::Taken;
use super::options::{Durable, Environment, Mode, Options, Start};
use super::persistent::Persistent;
use super::queue::{Left, Queue};
use super::{Event, Result, Summary, WorkError};
use crate::disk::outlet::OutletKind;
use crate::disk::watch::{Wakers, Watch, Woken};
use crate::groups::{Claims, FileSystems, LockFile, ShareChange, ShareStateTopic, begin_share_group, join_workers};
use crate::logdir::{LogDir, LogDirs, Partition, Topic};
use crate::units::{GroupId, Offset, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whatever is waited for, it is checked so often.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// While records wait for the sync of their producer.
const CHECK_DURABLE_EVERY: Duration = Duration::from_millis(20);
/// While the command is to end.
const CHECK_ENDED_EVERY: Duration = Duration::from_millis(20);
/// The kernel tells that a file was closed before it drops the locks of the process that has ended: for so long it is tried
/// again, and so often.
const STIRRED: Duration = Duration::from_millis(50);
const STIRRED_EVERY: Duration = Duration::from_micros(500);

/// Why a run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// There is nothing more to do, or not for this run.
    Done,
    /// It was asked to stop.
    Stopped,
    /// Nobody reads the output any more.
    OutputClosed,
}

/// How it gets to an end.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Course {
    /// Records are taken.
    On,
    /// No more are taken; those that are being handled are waited for.
    Ending(Ended),
}

/// What handles records.
pub(super) enum Engine {
    Runs(Handlers),
    Persistent(Box<Persistent>),
}

/// A worker of a group.
pub struct Worker<'a> {
    pub(super) log_dir: LogDir,
    pub(super) log_dirs: LogDirs,
    pub(super) group: GroupId,
    pub(super) options: Options,
    pub(super) environment: Environment<'a>,
    pub(super) states: ShareStateTopic,
    /// In the order in which they come first.
    pub(super) topics: Vec<OfTopic>,
    pub(super) queues: Vec<Queue>,
    pub(super) engine: Engine,
    pub(super) running: HashMap<u64, Running>,
    pub(super) next_id: u64,
    pub(super) dead_letters: Option<DeadLetters>,
    pub(super) failures_in_row: u32,
    pub(super) attempts_left: u64,
    pub(super) course: Course,
    /// Why it is to end with an error, once what runs has ended.
    pub(super) failure: Option<WorkError>,
    pub(super) summary: Summary,
    pub(super) tell: &'a mut dyn FnMut(Event<'_>),
    watch: Watch,
    watched: Vec<Watched>,
    checked: Instant,
    stirred: Option<Instant>,
    is_output_closed: bool,
    pub(super) synced: Instant,
    signals: usize,
}

/// A topic that is worked.
pub(super) struct OfTopic {
    pub(super) topic: Topic,
    pub(super) lock_file: LockFile,
    /// Its queues, by where they are among all.
    pub(super) queues: Vec<usize>,
    /// Which of them comes first in the next round.
    pub(super) next: usize,
}

/// Records that are being handled.
pub(super) struct Running {
    pub(super) queue: usize,
    pub(super) records: Vec<Taken>,
    pub(super) claims: Arc<Claims>,
}

#[derive(Debug, Clone, Copy)]
enum Watched {
    Queue(usize),
    Workers,
}

impl<'a> Worker<'a> {
    /// Joins the workers of a group, in some topics, of which earlier ones come first. `text` says who it is.
    ///
    /// # Errors
    /// When a topic is missing, the group is of another kind, another worker works in another order, or the disk fails.
    pub fn open(
        log_dir: &LogDir,
        topics: &[Topic],
        group: &GroupId,
        (options, file_systems): (Options, FileSystems),
        text: &str,
        environment: Environment<'a>,
        tell: &'a mut dyn FnMut(Event<'_>),
    ) -> Result<Self> {
        let dead_letters = match options.keeps_dead_letters {
            true => Some(DeadLetters::find(log_dir, group, topics, options.dead_letters.as_ref())?),
            false => None,
        };
        let (command, disk) = (options.command.clone(), Arc::clone(log_dir.disk()));
        let engine = match options.mode {
            Mode::Runs { .. } => Engine::Runs(Handlers::new(command, options.timeout, options.jobs, disk)?),
            Mode::Persistent => Engine::Persistent(Box::new(Persistent::new(command, options.timeout, options.jobs)?)),
        };
        let attempts_left = options.attempts.unwrap_or(u64::MAX);
        let mut worker = Self {
            states: ShareStateTopic::open(log_dir)?,
            log_dir: log_dir.clone(),
            log_dirs: log_dir.clone().into(),
            group: group.clone(),
            options,
            environment,
            topics: Vec::new(),
            queues: Vec::new(),
            engine,
            running: HashMap::new(),
            next_id: 0,
            dead_letters,
            failures_in_row: 0,
            attempts_left,
            course: Course::On,
            failure: None,
            summary: Summary::default(),
            tell,
            watch: Watch::start(),
            watched: Vec::new(),
            checked: Instant::now(),
            stirred: None,
            is_output_closed: false,
            synced: Instant::now(),
            signals: 0,
        };
        // In the order of their names, as all who take locks of several groups.
        let mut joined = BTreeMap::new();
        let note = worker.note();
        for topic in topics.iter().map(|topic| (&topic.name, topic)).collect::<BTreeMap<_, _>>().values() {
            let lock_file = join_workers(log_dir, topic, group, file_systems, &format!("{text}\n{note}"))?;
            joined.insert(topic.name.clone(), lock_file);
        }
        for topic in topics {
            let Some(lock_file) = joined.remove(&topic.name) else { continue };
            worker.add_topic(topic.clone(), lock_file)?;
        }
        Ok(worker)
    }

    /// How it works, for the others.
    fn note(&self) -> String {
        let Options { ordered, max_attempts, backoff, .. } = &self.options;
        format!("ordered={} max-attempts={max_attempts} {}", ordered.name(), backoff.note())
    }

    fn add_topic(&mut self, topic: Topic, lock_file: LockFile) -> Result<()> {
        self.compare_with_others(&topic, &lock_file)?;
        self.watch.add_file(lock_file.path());
        self.watched.push(Watched::Workers);
        self.topics.push(OfTopic { topic, lock_file, queues: Vec::new(), next: 0 });
        self.add_partitions(self.topics.len() - 1)
    }

    /// Two workers must agree on which records wait for others; on how often one is tried they need not.
    fn compare_with_others(&mut self, topic: &Topic, lock_file: &LockFile) -> Result<()> {
        for member in lock_file.members()? {
            let says = |name: &str| member.note.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            if let Some(theirs) = says("ordered").filter(|it| *it != self.options.ordered.name()) {
                let (topic, theirs) = (topic.name.clone(), theirs.to_owned());
                return Err(WorkError::OtherOrder {
                    member: member.text,
                    topic,
                    theirs,
                    ours: self.options.ordered.name(),
                });
            }
            let attempts = says("max-attempts").and_then(|it| it.parse().ok());
            if let Some(max_attempts) = attempts.filter(|it| *it != self.options.max_attempts) {
                (self.tell)(Event::OtherAttempts { member: &member.text, max_attempts });
            }
        }
        Ok(())
    }

    /// Adds the partitions of a topic that are not worked yet, with their first states where they have none.
    fn add_partitions(&mut self, place: usize) -> Result<()> {
        let (now, start) = ((self.environment.clock)(), self.options.start);
        let OfTopic { topic, lock_file, queues, .. } = &mut self.topics[place];
        let mut first = |partition: &Partition| first_offset(partition, start);
        begin_share_group(&self.log_dir, &self.group, topic, lock_file, &mut self.states, &mut first, now)?;
        for partition in self.log_dir.partitions(topic)? {
            if queues.iter().any(|&queue| self.queues[queue].partition.id() == partition.id()) {
                continue;
            }
            let Some(topic_id) = partition.incarnation()? else { continue };
            let key = crate::groups::share_key(&self.group, topic_id, partition.id().partition);
            let log = self.states.log(&key)?;
            log.catch_up()?;
            let Some(state) = log.state(&key) else { continue };
            let follows = self.options.follows;
            let id = partition.id().clone();
            let queue = match Queue::open(partition, &self.group, topic_id, (self.options.ordered, follows), state) {
                // The others are worked all the same.
                Err(error) if error.is_of_a_partition() => {
                    (self.tell)(Event::Failing { partition: &id, error });
                    continue;
                }
                queue => queue?,
            };
            self.watch.add(queue.path());
            self.watched.push(Watched::Queue(self.queues.len()));
            queues.push(self.queues.len());
            self.queues.push(queue);
        }
        Ok(())
    }

    /// Works until there is nothing more to do, or it is stopped.
    ///
    /// # Errors
    /// When the disk fails, a topic was deleted, or the command cannot be run.
    pub fn run(mut self) -> Result<(Ended, Summary)> {
        let ended = self.rounds();
        let awaited = if ended.is_err() { self.await_handlers() } else { Ok(()) };
        let now = (self.environment.clock)();
        let awaited = awaited.and(self.end_command(ended.is_err()));
        let written = self.states.end(now);
        let buried = self.dead_letters.as_mut().map_or(Ok(()), |dead_letters| dead_letters.end(now));
        let ended = ended?;
        awaited.and(written.map_err(WorkError::from)).and(buried)?;
        self.count_rest();
        match self.failure.take() {
            Some(error) => Err(error),
            None => Ok((ended, self.summary)),
        }
    }

    /// Waits for handlers whose verdicts cannot be written any more: their records are tried again by another run.
    fn await_handlers(&mut self) -> Result<()> {
        self.end(Ended::Done);
        while let (Engine::Runs(handlers), false) = (&mut self.engine, self.running.is_empty()) {
            for ended in handlers.take_ended() {
                self.running.remove(&ended.id);
            }
            if !self.running.is_empty() {
                self.wait(CHECK_EVERY)?;
            }
        }
        Ok(())
    }

    /// Lets the command that handles all records end, which it may take its time for, but for a signal.
    fn end_command(&mut self, is_killed: bool) -> Result<()> {
        loop {
            let Engine::Persistent(command) = &mut self.engine else { return Ok(()) };
            if is_killed {
                command.kill();
            }
            command.end_input();
            if command.has_ended() {
                return Ok(());
            }
            // What it answers by now, it answers to nothing.
            command.take_answers()?;
            let stop = self.environment.interrupt.descriptor;
            let wakers = Wakers { output: stop, stop: Some(stop), input: Some(command.descriptor()) };
            if wakers.pause(CHECK_ENDED_EVERY)? == Woken::Stop {
                self.stop(stop);
            }
        }
    }

    fn rounds(&mut self) -> Result<Ended> {
        loop {
            let now = (self.environment.clock)();
            for topic in &self.topics {
                if !topic.lock_file.is_named()? {
                    return Err(topic.lock_file.why_unnamed(&topic.topic.name)?.into());
                }
            }
            self.catch_up()?;
            let verdicts = self.take_verdicts(now)?;
            let taken = if self.course == Course::On { self.take_records(now)? } else { Vec::new() };
            let (refused, taken) = self.refuse(taken, now)?;
            let verdicts: Vec<_> = verdicts.into_iter().chain(refused).collect();
            let has_worked = !verdicts.is_empty() || !taken.is_empty();
            if has_worked {
                self.write(verdicts, &taken, now)?;
                self.start(taken)?;
                // Signals and others are heard all the same.
                self.wait(Duration::ZERO)?;
                continue;
            }
            if self.running.is_empty() {
                if let Course::Ending(ended) = self.course {
                    return Ok(ended);
                }
                if self.takes_no_more(now) {
                    return Ok(Ended::Done);
                }
            } else if matches!(self.engine, Engine::Persistent(_)) && self.takes_no_more(now) {
                self.end_input();
            }
            self.sync_if_due()?;
            self.wait(self.time_to_wait(now))?;
        }
    }

    /// Whether no record is to be taken any more but those that are being handled.
    fn takes_no_more(&mut self, now: Timestamp) -> bool {
        self.course != Course::On || self.attempts_left == 0 || (!self.options.follows && self.is_drained(now))
    }

    fn end_input(&mut self) {
        if let Engine::Persistent(command) = &mut self.engine {
            command.end_input();
        }
    }

    /// Learns what others have written.
    fn catch_up(&mut self) -> Result<()> {
        for log in self.states.opened() {
            log.catch_up()?;
        }
        let now = (self.environment.clock)();
        for queue in &mut self.queues {
            let count = std::mem::take(&mut queue.lost);
            if count == 0 {
                continue;
            }
            self.summary.lost += count;
            (self.tell)(Event::Lost { partition: queue.partition.id(), count });
            // So that it is said once.
            let (key, start_offset) = (queue.key.clone(), queue.start_offset());
            let change = ShareChange { key, start_offset, batches: Vec::new(), lowered: Vec::new() };
            self.states.log(&queue.key)?.change(&[change], now)?;
        }
        Ok(())
    }

    /// Whether all is done that was there at the start, but for what others have, or is not due yet.
    fn is_drained(&mut self, now: Timestamp) -> bool {
        let Self { queues, states, .. } = self;
        queues.iter_mut().all(|queue| {
            let Some(state) = states.known(&queue.key) else { return true };
            queue.forget_done(state);
            let is_retry = |offset: Offset| state.delivery(offset).is_some_and(|delivery| delivery.count > 0);
            let has_read = queue.has_read_all() || queue.is_full(state);
            let is_for_later = |it: &Left| it.due > now && (it.is_put_back || !is_retry(it.offset));
            has_read && queue.left().all(|it| it.is_elsewhere || is_for_later(&it))
        })
    }

    /// Counts what is left of what was there at the start.
    fn count_rest(&mut self) {
        for left in self.queues.iter().flat_map(Queue::left) {
            if left.is_elsewhere {
                self.summary.elsewhere += 1;
            } else if self.course == Course::On {
                self.summary.not_due += 1;
            }
        }
    }

    pub(super) fn sync_if_due(&mut self) -> Result<()> {
        let Durable::Every(every) = self.options.durable else { return Ok(()) };
        if self.synced.elapsed() >= every {
            self.sync()?;
        }
        Ok(())
    }

    /// Makes what was written durable.
    fn sync(&mut self) -> Result<()> {
        for log in self.states.opened() {
            log.sync()?;
        }
        self.synced = Instant::now();
        Ok(())
    }

    /// Waits until there may be something to do, and no longer than this.
    fn wait(&mut self, at_most: Duration) -> Result<()> {
        let wake = match &self.engine {
            Engine::Runs(handlers) => handlers.descriptor(),
            Engine::Persistent(command) => command.descriptor(),
        };
        let stop = self.environment.interrupt.descriptor;
        // A descriptor to which nothing happens, once the reader of the output has gone.
        let output = if self.is_output_closed { stop } else { self.environment.outlet.descriptor() };
        let wakers = Wakers { output, stop: Some(stop), input: Some(wake) };
        let mut changed = Vec::new();
        match self.watch.wait(&wakers, at_most, &mut changed)? {
            Woken::Stop => self.stop(stop),
            Woken::OutputClosed => {
                self.is_output_closed = true;
                if self.environment.outlet.kind() != OutletKind::Device {
                    self.end(Ended::OutputClosed);
                }
            }
            Woken::Look => {}
        }
        for number in changed {
            match self.watched[number] {
                Watched::Queue(place) => self.queues[place].has_changed(),
                Watched::Workers => self.stirred = Some(Instant::now()),
            }
        }
        let now = (self.environment.clock)();
        if self.stirred.is_some() {
            self.queues.iter_mut().for_each(|queue| queue.try_all_elsewhere(now));
        }
        self.stirred = self.stirred.filter(|at| at.elapsed() < STIRRED);
        if self.checked.elapsed() >= CHECK_EVERY {
            self.checked = Instant::now();
            self.queues.iter_mut().for_each(Queue::has_changed);
            if self.options.follows && self.course == Course::On {
                self.find_new_partitions()?;
            }
        }
        Ok(())
    }

    fn time_to_wait(&self, now: Timestamp) -> Duration {
        let mut at_most = CHECK_EVERY;
        if self.stirred.is_some() && self.queues.iter().any(Queue::has_elsewhere) {
            at_most = STIRRED_EVERY;
        }
        if self.queues.iter().any(Queue::waits_for_sync) {
            at_most = at_most.min(CHECK_DURABLE_EVERY);
        }
        if self.course == Course::On && self.free() > 0 && self.attempts_left > 0 {
            let due = self.queues.iter().filter_map(Queue::next_due).min();
            let until_due = due.map(|due| Duration::from_millis(due.0.saturating_sub(now.0).clamp(1, 60_000) as u64));
            at_most = until_due.map_or(at_most, |until| until.min(at_most));
        }
        if let Durable::Every(every) = self.options.durable {
            at_most = at_most.min(every.saturating_sub(self.synced.elapsed()).max(Duration::from_millis(1)));
        }
        if let Engine::Persistent(command) = &self.engine {
            at_most = command.time_left().map_or(at_most, |left| left.min(at_most) + Duration::from_millis(1));
        }
        at_most
    }

    /// A signal has come: the first lets handlers end, the second does not.
    pub(super) fn stop(&mut self, signals: BorrowedFd<'_>) {
        let mut bytes = [0; 64];
        self.signals += rustix::io::read(signals, &mut bytes).unwrap_or(1);
        if self.course != Course::Ending(Ended::Stopped) {
            self.end(Ended::Stopped);
            (self.tell)(Event::Waiting { handlers: self.running.len() });
        }
        if self.signals > 1 {
            match &mut self.engine {
                Engine::Runs(handlers) => handlers.kill(),
                Engine::Persistent(command) => command.kill(),
            }
        }
    }

    /// Whether handlers were killed since the worker is to stop.
    pub(super) const fn kills_handlers(&self) -> bool {
        self.signals > 1
    }

    /// How many handlers can be started now.
    pub(super) fn free(&self) -> usize {
        match &self.engine {
            Engine::Runs(handlers) => handlers.free(),
            Engine::Persistent(command) => command.free(),
        }
    }

    /// Takes no more records.
    pub(super) fn end(&mut self, ended: Ended) {
        if self.course == Course::On || ended == Ended::Stopped {
            self.course = Course::Ending(ended);
        }
    }

    fn find_new_partitions(&mut self) -> Result<()> {
        for place in 0..self.topics.len() {
            let known = &self.topics[place].topic;
            let Some(topic) = self.log_dir.find_topic(&known.name)? else { continue };
            if topic.partitions.len() > known.partitions.len() {
                self.topics[place].topic = topic;
                self.add_partitions(place)?;
            }
        }
        Ok(())
    }
}

fn first_offset(partition: &Partition, start: Start) -> crate::groups::Result<Offset> {
    let view = partition.view()?;
    Ok(match start {
        Start::Earliest => view.log_start_offset(),
        Start::Latest => view.log_end_offset()?,
        Start::Offset(offset) => offset.clamp(view.log_start_offset(), view.log_end_offset()?),
    })
}
