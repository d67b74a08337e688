//! Which records a worker takes, and how they get to their handlers.

use super::handlers::Run;
use super::job::{Facts, Place, Taken};
use super::options::{Mode, ms};
use super::queue::Found;
use super::worker::{Engine, Running, Worker};
use super::{Event, Result, WorkError};
use crate::format::header::TimestampType;
use crate::format::internal::share_records::DeliveryState;
use crate::format::record::Record;
use crate::groups::Claims;
use crate::units::{Offset, Timestamp};
use std::sync::Arc;

/// Records for one handler, claimed.
pub(super) struct Job {
    pub(super) queue: usize,
    pub(super) records: Vec<Taken>,
    pub(super) claims: Arc<Claims>,
    input: Vec<u8>,
    facts: Facts,
    /// Why they are given up without an attempt.
    pub(super) refused: Option<&'static str>,
}

impl Job {
    /// Whether its records were never tried and are several: that it fails says nothing about any of them.
    pub(super) fn is_batch(&self) -> bool {
        self.records.len() > 1
    }
}

impl Worker<'_> {
    /// Claims records for the handlers that are free: of the first topic that has some, its partitions in turn.
    pub(super) fn take_records(&mut self, now: Timestamp) -> Result<Vec<Job>> {
        let free = self.free();
        let mut jobs = Vec::new();
        for topic in 0..self.topics.len() {
            let count = self.topics[topic].queues.len();
            for turn in 0..count {
                let queue = self.topics[topic].queues[(self.topics[topic].next + turn) % count];
                while jobs.len() < free && self.attempts_left > 0 {
                    let Some(job) = self.take_job(topic, queue, now)? else { break };
                    self.attempts_left -= 1;
                    jobs.push(job);
                }
            }
            self.topics[topic].next += 1;
        }
        self.check_claimed(jobs, now)
    }

    /// Claims what the next handler of a queue gets.
    fn take_job(&mut self, topic: usize, place: usize, now: Timestamp) -> Result<Option<Job>> {
        let at_most = match self.options.mode {
            Mode::Runs { batch } => batch,
            Mode::Persistent => 1,
        };
        let mut job: Option<Job> = None;
        while job.as_ref().is_none_or(|job| job.records.len() < at_most) {
            let queue = &mut self.queues[place];
            let Some(state) = self.states.known(&queue.key) else { break };
            let found = match queue.next(state, self.options.backoff, &self.log_dirs, now) {
                // The others are worked all the same.
                Err(error) if error.is_of_a_partition() => {
                    queue.fail();
                    (self.tell)(Event::Failing { partition: queue.partition.id(), error });
                    break;
                }
                found => found?,
            };
            let Found::Record(offset) = found else {
                if queue.is_full(state) && !std::mem::replace(&mut queue.is_held_back, true) {
                    let by = queue.first_kept().unwrap_or(queue.start_offset());
                    (self.tell)(Event::HeldBack { partition: queue.partition.id(), by });
                }
                break;
            };
            let delivery = state.delivery(offset);
            // One that was tried before is tried alone.
            if delivery.is_some() && job.is_some() {
                queue.keep_until(offset, now);
                break;
            }
            let claims = match (&job, &self.engine) {
                (Some(job), _) => Arc::clone(&job.claims),
                (None, Engine::Persistent(command)) => match command.claims(topic) {
                    Some(claims) => Arc::clone(claims),
                    None => self.begin_command(topic)?,
                },
                (None, Engine::Runs(_)) => Arc::new(self.topics[topic].lock_file.claims()?),
            };
            let queue = &mut self.queues[place];
            let partition = queue.partition.id().partition;
            if !claims.try_claim(partition, offset)? {
                queue.leave_to_another(offset, now);
                continue;
            }
            queue.take(offset);
            let taken = Taken { offset, attempt: delivery.map_or(0, |delivery| delivery.count).saturating_add(1) };
            let read = match self.read(place, taken, at_most > 1, job.as_mut(), now) {
                // Retention has removed it since.
                Ok(None) => {
                    claims.release(partition, offset)?;
                    self.queues[place].lose(offset);
                    continue;
                }
                Err(error) if error.is_of_a_partition() => {
                    claims.release(partition, offset)?;
                    let queue = &mut self.queues[place];
                    queue.leave(offset);
                    (self.tell)(Event::Failing { partition: queue.partition.id(), error });
                    continue;
                }
                Ok(Some(read)) => read,
                Err(error) => return Err(error),
            };
            match (&mut job, read) {
                (Some(job), Read::Added) => job.records.push(taken),
                // One that is too old is given up by itself.
                (Some(_), Read::Begun { .. }) => {
                    claims.release(partition, offset)?;
                    self.queues[place].keep_until(offset, now);
                    break;
                }
                (None, Read::Begun { input, facts, refused }) => {
                    job = Some(Job { queue: place, records: vec![taken], claims, input, facts, refused });
                }
                (None, Read::Added) => unreachable!("there is nothing yet that it was added to"),
            }
            if delivery.is_some() || job.as_ref().is_some_and(|job| job.refused.is_some()) {
                break;
            }
        }
        Ok(job)
    }

    /// Starts the command that handles all records, with claims in each topic. Returns those in one of them.
    fn begin_command(&mut self, topic: usize) -> Result<Arc<Claims>> {
        let all = self.topics.iter().map(|topic| Ok(Arc::new(topic.lock_file.claims()?)));
        let all = all.collect::<Result<Vec<_>>>()?;
        let claims = Arc::clone(&all[topic]);
        if let Engine::Persistent(command) = &mut self.engine {
            let name = self.options.command[0].display().to_string();
            command.begin(all).map_err(|error| WorkError::NotStarted { command: name, why: error.to_string() })?;
        }
        Ok(claims)
    }

    /// Reads what a handler gets of a record: adds it to that of the records before it, or begins.
    fn read(
        &mut self,
        place: usize,
        taken: Taken,
        is_batch: bool,
        job: Option<&mut Job>,
        now: Timestamp,
    ) -> Result<Option<Read>> {
        let Self { queues, group, options, engine, .. } = self;
        let queue = &mut queues[place];
        let id = queue.partition.id().clone();
        let is_persistent = matches!(engine, Engine::Persistent(_));
        queue.read(taken.offset, |timestamp: Timestamp, timestamp_type: TimestampType, record: &Record<'_>| {
            let from = Place { partition: &id, group, offset: taken.offset, timestamp, timestamp_type };
            let is_old = options
                .max_age
                .is_some_and(|age| timestamp.known().is_some_and(|at| now.since(at) > i128::from(ms(age))));
            if let (Some(job), false) = (job, is_old) {
                from.write_input(record, options.input, is_batch, &mut job.input);
                // What is said of one record is not true of several.
                job.facts = Facts::of_batch(&id, group);
                return Read::Added;
            }
            let (mut input, mut facts) = (Vec::new(), Facts::of_batch(&id, group));
            if is_persistent {
                from.write_envelope(record, &mut input);
            } else {
                from.write_input(record, options.input, is_batch, &mut input);
                facts = Facts::of(&from, record, taken.attempt);
            }
            Read::Begun { input, facts, refused: is_old.then_some("expired") }
        })
    }

    /// Reads what others have written up to now, and gives back what they have done, or tried, since it was found.
    fn check_claimed(&mut self, jobs: Vec<Job>, now: Timestamp) -> Result<Vec<Job>> {
        let keys: std::collections::BTreeSet<_> = jobs.iter().map(|job| self.queues[job.queue].key.clone()).collect();
        for key in &keys {
            self.states.log(key)?.catch_up()?;
        }
        let mut kept = Vec::new();
        for mut job in jobs {
            let is_still = job.records.iter().all(|taken| {
                let state = self.states.known(&self.queues[job.queue].key);
                let delivery = state.and_then(|state| state.delivery(taken.offset));
                let is_terminal = state.is_none_or(|state| state.is_terminal(taken.offset));
                !is_terminal && delivery.map_or(0, |it| it.count) + 1 == taken.attempt
            });
            if is_still {
                if job.records[0].attempt > self.options.max_attempts && job.refused.is_none() {
                    job.refused = Some("its last attempt did not end");
                }
                kept.push(job);
                continue;
            }
            self.attempts_left = self.attempts_left.saturating_add(1);
            for taken in &job.records {
                let queue = &mut self.queues[job.queue];
                job.claims.release(queue.partition.id().partition, taken.offset)?;
                // What is done is found out when it is looked at next.
                queue.keep_until(taken.offset, now);
            }
        }
        Ok(kept)
    }

    /// Starts the handlers of records whose attempts were written.
    pub(super) fn start(&mut self, jobs: Vec<Job>) -> Result<()> {
        let (mut lines, mut ids) = (Vec::new(), Vec::new());
        for job in jobs {
            let id = self.next_id;
            self.next_id += 1;
            let partition = self.queues[job.queue].partition.id().partition;
            let records: Vec<(i32, Offset)> = job.records.iter().map(|taken| (partition, taken.offset)).collect();
            match &mut self.engine {
                Engine::Persistent(command) => {
                    lines
                        .extend_from_slice(format!("{{\"id\":{id},\"attempt\":{},", job.records[0].attempt).as_bytes());
                    lines.extend_from_slice(&job.input[1..]);
                    ids.push(id);
                    if let Some(pid) = command.pid().filter(|_| self.options.jobs <= NAMED_MAX) {
                        records.iter().for_each(|&(partition, offset)| job.claims.name_holder(partition, offset, pid));
                    }
                }
                Engine::Runs(handlers) => {
                    let mut facts = job.facts;
                    if records.len() > 1 || matches!(self.options.mode, Mode::Runs { batch } if batch > 1) {
                        facts.add("KDIR_COUNT", records.len().to_string().into_bytes());
                    }
                    let (facts, claims) = (facts.finish(), Arc::clone(&job.claims));
                    handlers.start(Run { id, input: job.input, facts, claims, records })?;
                }
            }
            self.running.insert(id, Running { queue: job.queue, records: job.records, claims: job.claims });
        }
        if let Engine::Persistent(command) = &mut self.engine
            && !ids.is_empty()
        {
            command.give(lines, &ids);
        }
        Ok(())
    }

    /// The attempt that is written of a record before its handler starts. Of several at once that are tried for the first time
    /// it is that they were, and no count: who finds that tries them alone.
    pub(super) fn attempt_of(job: &Job, taken: Taken) -> (DeliveryState, i16) {
        (DeliveryState::Available, if job.is_batch() { 0 } else { taken.attempt })
    }
}

/// With more at a time, it is not written down which process has which record: that would cost more than the rest.
const NAMED_MAX: usize = 100;

/// What was read of a record.
enum Read {
    /// It was added to what the handler gets already.
    Added,
    /// What a handler gets of it alone.
    Begun { input: Vec<u8>, facts: Facts, refused: Option<&'static str> },
}
