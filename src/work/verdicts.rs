//! What becomes of records whose handlers have ended, and how that is written.

use super::dead_letters::Letter;
use super::handlers::{EndedRun, How, Printed};
use super::job::Taken;
use super::options::{Durable, ms};
use super::persistent::Answer;
use super::supervisor;
use super::taking::Job;
use super::worker::{Ended, Engine, Running, Worker};
use super::{Event, Result, WorkError};
use crate::disk::outlet::OutletKind;
use crate::disk::watch::{Wakers, Woken};
use crate::format::internal::share_records::{DeliveryState, StateBatch};
use crate::groups::ShareChange;
use crate::units::{Offset, Timestamp};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

/// While the reader of the output takes nothing, what may have changed is looked at so often.
const WAIT_FOR_ROOM: Duration = Duration::from_secs(1);

/// What becomes of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is done.
    Done,
    /// It failed, and is tried again, after so long if that is said.
    Again { why: String, delay: Option<Duration> },
    /// It is given up.
    GivenUp { why: String },
    /// The attempt does not count. It is tried again, after so long.
    Uncounted { delay: Duration },
    /// Nothing is written of it, and it is not taken again by this run: its dead letter could not be put.
    Left,
}

/// Records with one verdict.
pub(super) struct Judged {
    running: Running,
    verdict: Verdict,
    /// What was killed may leave something that goes on: then the claim falls with that, and is not given back.
    keeps_claim: bool,
}

impl Worker<'_> {
    /// Passes on what handlers have printed, and says what becomes of their records.
    pub(super) fn take_verdicts(&mut self, now: Timestamp) -> Result<Vec<Judged>> {
        let (mut judged, mut printed) = (Vec::new(), Vec::new());
        match &mut self.engine {
            Engine::Runs(handlers) => {
                for ended in handlers.take_ended() {
                    let Some(running) = self.running.remove(&ended.id) else { continue };
                    let is_out = self.pass_on(&ended.printed);
                    if is_out && !ended.printed.is_empty() {
                        printed.push(judged.len());
                    }
                    let keeps_claim = self.was_killed(&ended);
                    let verdict = if is_out { self.judge(ended, &running) } else { uncounted() };
                    judged.push(Judged { running, verdict, keeps_claim });
                }
            }
            Engine::Persistent(command) => {
                let answers = command.take_answers()?;
                if let Some(failure) = command.take_failure() {
                    self.fail(failure);
                }
                for (id, answer) in answers {
                    let Some(running) = self.running.remove(&id) else { continue };
                    let verdict = self.judge_answer(answer, &running);
                    judged.push(Judged { running, verdict, keeps_claim: false });
                }
            }
        }
        // What a file has got is to be there for as long as the record counts as done.
        if !printed.is_empty()
            && self.environment.outlet.kind() == OutletKind::File
            && let Err(error) = self.environment.outlet.sync()
        {
            self.fail(WorkError::Output(error));
            printed.into_iter().for_each(|place| judged[place].verdict = uncounted());
        }
        self.bury(&mut judged, false, now)?;
        Ok(judged)
    }

    /// Whether a run was killed, by a signal to this program or since its time was up.
    fn was_killed(&self, ended: &EndedRun) -> bool {
        let is_late = self.options.timeout.is_some_and(|limit| ended.took >= limit);
        self.kills_handlers() || is_late || matches!(ended.how, How::Signal(_) | How::Unattended(_))
    }

    /// Writes out what a handler has printed; `false` where it is not out.
    fn pass_on(&mut self, printed: &Printed) -> bool {
        if printed.is_empty() {
            return true;
        }
        match printed.each(|bytes| self.write_out(bytes)) {
            Ok(()) => return true,
            Err(WorkError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => self.end(Ended::OutputClosed),
            // The reader stands still, and who has asked twice does not wait for it.
            Err(WorkError::Output(error)) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => self.fail(error),
        }
        false
    }

    /// Writes to the output. A reader that stands still keeps nobody from stopping the worker.
    fn write_out(&mut self, mut bytes: &[u8]) -> Result<()> {
        let (outlet, stop) = (self.environment.outlet, self.environment.interrupt.descriptor);
        if !matches!(outlet.kind(), OutletKind::Pipe | OutletKind::Socket) {
            return outlet.write(bytes).map_err(WorkError::Output);
        }
        let wakers = Wakers { output: outlet.descriptor(), stop: Some(stop), input: None };
        while !bytes.is_empty() {
            let written = outlet.write_some(bytes).map_err(WorkError::Output)?;
            bytes = &bytes[written..];
            if written > 0 {
                continue;
            }
            if wakers.pause_for_room(WAIT_FOR_ROOM)? == Woken::Stop {
                self.stop(stop);
            }
            if self.kills_handlers() {
                return Err(WorkError::Output(ErrorKind::Interrupted.into()));
            }
        }
        Ok(())
    }

    fn judge(&mut self, ended: EndedRun, running: &Running) -> Verdict {
        let EndedRun { how, last_line, delay, took, .. } = ended;
        let or_line = |why: String| if last_line.is_empty() { why } else { last_line.clone() };
        let is_exit = |codes: &[u8], code: i32| codes.iter().any(|&it| i32::from(it) == code);
        let command = || self.options.command[0].display().to_string();
        let why = match how {
            How::Exit(0) => return self.succeeded(),
            How::Exit(code) if is_exit(&self.options.reject_exits, code) => {
                return Verdict::GivenUp { why: or_line(format!("exit status {code}")) };
            }
            How::Exit(code) if is_exit(&self.options.release_exits, code) => {
                return Verdict::Uncounted { delay: delay.unwrap_or(self.options.backoff.min) };
            }
            How::Exit(code @ (126 | 127)) => {
                let why = or_line(format!("exit status {code}"));
                self.fail(WorkError::NotStarted { command: command(), why });
                return uncounted();
            }
            How::Unattended(error) => {
                self.fail(error);
                return uncounted();
            }
            // The record itself is what the system refuses.
            How::NotStarted(error) if error.raw_os_error() == Some(too_big()) => error.to_string(),
            How::NotStarted(error) => {
                self.fail(WorkError::NotStarted { command: command(), why: error.to_string() });
                return uncounted();
            }
            How::Exit(_) | How::Signal(_) if self.kills_handlers() => return uncounted(),
            How::Exit(_) | How::Signal(_) if self.options.timeout.is_some_and(|limit| took >= limit) => {
                "timed out".to_owned()
            }
            How::Exit(code) if self.options.timeout.is_some() && code > SIGNALLED && code != supervisor::TIMED_OUT => {
                or_line(format!("ended by signal {}", code - SIGNALLED))
            }
            How::Exit(code) => or_line(format!("exit status {code}")),
            How::Signal(signal) => or_line(format!("ended by signal {signal}")),
        };
        self.failed(why, delay, running)
    }

    fn judge_answer(&mut self, answer: Answer, running: &Running) -> Verdict {
        match answer {
            Answer::Done => self.succeeded(),
            Answer::Again(delay) => self.failed("to be tried again, it says".into(), delay, running),
            Answer::Rejected(why) => Verdict::GivenUp { why: if why.is_empty() { "rejected".into() } else { why } },
            Answer::Failed(why) => self.failed(why, None, running),
            Answer::NotTried => uncounted(),
        }
    }

    fn succeeded(&mut self) -> Verdict {
        self.failures_in_row = 0;
        Verdict::Done
    }

    fn failed(&mut self, why: String, delay: Option<Duration>, running: &Running) -> Verdict {
        // Which of them it was is found out one by one.
        if running.records.len() > 1 {
            return Verdict::Again { why, delay: Some(Duration::ZERO) };
        }
        let Taken { attempt, .. } = running.records[0];
        if attempt == 1 {
            self.failures_in_row += 1;
            if let Some(count) = self.options.breaker.filter(|&count| self.failures_in_row >= count) {
                self.fail(WorkError::Broken { count, why: why.clone() });
            }
        }
        if attempt >= self.options.max_attempts { Verdict::GivenUp { why } } else { Verdict::Again { why, delay } }
    }

    /// Takes no more records, and ends with this error once those that are being handled have ended.
    fn fail(&mut self, error: WorkError) {
        self.failure.get_or_insert(error);
        self.end(Ended::Done);
    }

    /// Puts the records that are given up where dead letters go.
    fn bury(&mut self, judged: &mut [Judged], is_refused: bool, now: Timestamp) -> Result<()> {
        let mut has_put = false;
        for it in judged.iter_mut() {
            let Judged { running, verdict: verdict @ Verdict::GivenUp { .. }, .. } = it else { continue };
            let Verdict::GivenUp { why } = &*verdict else { continue };
            for taken in &running.records {
                match self.give_up(running.queue, *taken, (why, is_refused), now) {
                    Ok(put) => has_put |= put,
                    Err(error) => {
                        let partition = self.queues[running.queue].partition.id();
                        (self.tell)(Event::NotBuried { partition, offset: taken.offset, why, error });
                        *verdict = Verdict::Left;
                        break;
                    }
                }
            }
        }
        match &mut self.dead_letters {
            Some(dead_letters) if has_put => dead_letters.sync(),
            _ => Ok(()),
        }
    }

    /// Puts a record among the dead letters. Returns whether one was put.
    fn give_up(&mut self, place: usize, taken: Taken, (why, is_refused): (&str, bool), now: Timestamp) -> Result<bool> {
        let Self { queues, dead_letters, tell, summary, .. } = self;
        let queue = &mut queues[place];
        let id = queue.partition.id().clone();
        let attempts = taken.attempt;
        let letter = Letter { of: &id, offset: taken.offset, attempts, why };
        let to = dead_letters.as_ref().and_then(|dead_letters| dead_letters.name_of(&id.topic)).cloned();
        let mut has_put = false;
        // A worker may have died between the letter and the verdict of the last attempt.
        if let Some(dead_letters) = dead_letters
            && !(is_refused && dead_letters.has(&letter)?)
        {
            let put = queue.read(taken.offset, |_, _, record| dead_letters.put(&letter, record, now))?;
            has_put = put.transpose()?.is_some();
        }
        summary.given_up += 1;
        tell(Event::GivenUp {
            partition: &id,
            offset: taken.offset,
            attempts,
            why,
            dead_letters: to.as_ref().map(crate::units::TopicName::as_str),
        });
        Ok(has_put)
    }

    /// Writes verdicts and new attempts down, as one append a log, and makes them durable; then gives the claims back.
    pub(super) fn write(&mut self, judged: Vec<Judged>, jobs: &[Job], now: Timestamp) -> Result<()> {
        let mut changes = BTreeMap::<usize, Change>::new();
        for Judged { running, verdict, .. } in &judged {
            let change = changes.entry(running.queue).or_default();
            for taken in &running.records {
                self.settle(running.queue, *taken, verdict, running.records.len() > 1, change, now);
            }
        }
        for job in jobs {
            let change = changes.entry(job.queue).or_default();
            for &taken in &job.records {
                let (state, count) = Self::attempt_of(job, taken);
                change.set(taken.offset, state, count, now);
            }
        }
        let mut by_log = BTreeMap::<i32, Vec<ShareChange>>::new();
        for (place, change) in changes {
            let queue = &self.queues[place];
            let Change { batches, lowered } = change;
            let (key, start_offset) = (queue.key.clone(), queue.start_offset());
            let number = self.states.partition_of(&key);
            by_log.entry(number).or_default().push(ShareChange {
                key,
                start_offset,
                batches: joined(batches),
                lowered,
            });
        }
        for changes in by_log.values() {
            let log = self.states.log(&changes[0].key)?;
            log.change(changes, now)?;
            if self.options.durable == Durable::Always {
                log.sync()?;
            }
        }
        self.sync_if_due()?;
        for Judged { running, keeps_claim, .. } in judged {
            if keeps_claim {
                continue;
            }
            let partition = self.queues[running.queue].partition.id().partition;
            for taken in running.records {
                running.claims.release(partition, taken.offset)?;
            }
        }
        Ok(())
    }

    /// Says of a record what its verdict is, and when it can be taken again.
    fn settle(
        &mut self,
        place: usize,
        taken: Taken,
        verdict: &Verdict,
        is_batch: bool,
        change: &mut Change,
        now: Timestamp,
    ) {
        let Self { queues, options, summary, tell, .. } = self;
        let queue = &mut queues[place];
        let Taken { offset, attempt } = taken;
        match verdict {
            Verdict::Done => {
                summary.done += 1;
                change.set(offset, DeliveryState::Acknowledged, attempt, now);
                queue.drop_kept(offset);
            }
            Verdict::GivenUp { .. } => {
                change.set(offset, DeliveryState::Archived, attempt, now);
                queue.drop_kept(offset);
            }
            // It is written that they were tried together, and no count.
            Verdict::Again { .. } if is_batch => queue.keep_until(offset, now),
            Verdict::Again { why, delay } => {
                summary.failed += 1;
                let usual = options.backoff.wait_ms(attempt);
                let wait = delay.map_or(usual, |delay| ms(delay).min(ms(options.backoff.max)));
                // When it is due is counted from here by who reads it.
                change.set(offset, DeliveryState::Available, attempt, now + (wait - usual));
                queue.keep_until(offset, now + wait);
                let again = Duration::from_millis(wait as u64);
                tell(Event::Failed { partition: queue.partition.id(), offset, attempt, why, again });
            }
            Verdict::Uncounted { delay } => {
                let (count, again) = (attempt - 1, now + ms((*delay).min(options.backoff.max)));
                if !is_batch {
                    change.lowered.push((offset, count, again + -options.backoff.wait_ms(count)));
                }
                queue.put_back(offset, again);
            }
            Verdict::Left => queue.leave(offset),
        }
    }

    /// Gives records up that are not to be tried.
    pub(super) fn refuse(&mut self, jobs: Vec<Job>, now: Timestamp) -> Result<(Vec<Judged>, Vec<Job>)> {
        let (refused, kept): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(|job| job.refused.is_some());
        // They are no runs.
        self.attempts_left = self.attempts_left.saturating_add(refused.len() as u64);
        let mut judged = Vec::new();
        for job in refused {
            let verdict = Verdict::GivenUp { why: job.refused.unwrap_or_default().to_owned() };
            let Job { queue, mut records, claims, .. } = job;
            // The attempt that it would have been is none.
            records.iter_mut().for_each(|taken| taken.attempt -= 1);
            judged.push(Judged { running: Running { queue, records, claims }, verdict, keeps_claim: false });
        }
        self.bury(&mut judged, true, now)?;
        Ok((judged, kept))
    }
}

fn uncounted() -> Verdict {
    Verdict::Uncounted { delay: Duration::ZERO }
}

/// What a supervisor adds to the number of the signal that has ended a handler.
const SIGNALLED: i32 = 128;

fn too_big() -> i32 {
    rustix::io::Errno::TOOBIG.raw_os_error()
}

/// What is to be written of one queue.
#[derive(Default)]
struct Change {
    batches: Vec<(StateBatch, Timestamp)>,
    lowered: Vec<(Offset, i16, Timestamp)>,
}

impl Change {
    fn set(&mut self, offset: Offset, state: DeliveryState, count: i16, at: Timestamp) {
        self.batches.push((StateBatch { first: offset, last: offset, state, count }, at));
    }
}

/// Neighbours that say the same, as one.
fn joined(mut batches: Vec<(StateBatch, Timestamp)>) -> Vec<(StateBatch, Timestamp)> {
    batches.sort_by_key(|(batch, at)| (*at, batch.first));
    let mut all: Vec<(StateBatch, Timestamp)> = Vec::new();
    for (batch, at) in batches {
        match all.last_mut() {
            Some((last, when))
                if last.last.next() == batch.first
                    && (last.state, last.count, *when) == (batch.state, batch.count, at) =>
            {
                last.last = batch.last;
            }
            _ => all.push((batch, at)),
        }
    }
    all
}
