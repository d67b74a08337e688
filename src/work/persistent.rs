//! One run of a command for all records: a line each on its standard input, and a line of answer each on its descriptor 3.
//!
//! A line is the record's envelope with `id` and `attempt`. An answer is `ok ID`, `retry ID [DELAY]` or `reject ID [TEXT]`. When
//! the command ends with lines unanswered, the oldest of them has failed; the others were not tried. It is started again for
//! the next record. That it has ended is what the system says, not the end of its answers: what it has started may keep these
//! open. Its standard output and error are those of this program.

use super::handlers::{delay_of, drain};
use super::{Result, WorkError};
use crate::groups::Claims;
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const ANSWERS_FD: i32 = 3;
/// The claims in each topic have this and the next descriptors.
const CLAIM_FD: i32 = 4;
/// When it has ended, what it has answered is in the pipe; one that it has started may keep that open.
const LAST_ANSWERS: Duration = Duration::from_millis(100);
/// One that has closed where its answers came from has so long to end by itself.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A line of answer that is longer is none.
const ANSWER_MAX: usize = 4 << 10;

/// What the command says of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is to be tried again, after so long if that is said.
    Again(Option<Duration>),
    /// Another attempt is no use.
    Rejected(String),
    /// The command ended with this one unanswered and before all others.
    Failed(String),
    /// The command ended, and has not come to this one.
    NotTried,
}

/// The command, and what it was given and has not answered.
pub(super) struct Persistent {
    command: Vec<OsString>,
    timeout: Option<Duration>,
    jobs: usize,
    live: Option<Live>,
    /// How many were started.
    incarnation: u64,
    told: Receiver<(u64, Told)>,
    teller: Sender<(u64, Told)>,
    wake: UnixStream,
    waker: UnixStream,
    /// Why nothing more is to be started.
    failure: Option<WorkError>,
}

struct Live {
    group: Pid,
    lines: Option<Sender<Vec<u8>>>,
    /// Those in each topic.
    claims: Vec<Arc<Claims>>,
    /// How it has ended, and since when that is known.
    status: Option<(ExitStatus, Instant)>,
    /// Since when there are no more answers.
    silent: Option<Instant>,
    /// By their ids, and so in the order in which they were given.
    unanswered: BTreeMap<u64, Instant>,
    has_answered: bool,
    is_killed: Option<String>,
}

enum Told {
    Answers(Vec<(u64, Answer)>),
    /// It is no answer, and why.
    Nonsense(String, &'static str),
    /// There are no more.
    Silent,
    Ended(ExitStatus),
    /// The system cannot tell how it ended.
    Unknown(io::Error),
}

impl Persistent {
    pub(super) fn new(command: Vec<OsString>, timeout: Option<Duration>, jobs: usize) -> Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (teller, told) = channel();
        let (live, incarnation, failure) = (None, 0, None);
        Ok(Self { command, timeout, jobs, live, incarnation, told, teller, wake, waker, failure })
    }

    pub(super) fn free(&self) -> usize {
        match &self.live {
            _ if self.failure.is_some() => 0,
            None => self.jobs,
            Some(live) if live.lines.is_none() || live.is_killed.is_some() => 0,
            Some(live) => self.jobs - live.unanswered.len(),
        }
    }

    /// Readable when there are answers.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// The claims of the command that runs, in a topic; `None` before it was started.
    pub(super) fn claims(&self, topic: usize) -> Option<&Arc<Claims>> {
        self.live.as_ref()?.claims.get(topic)
    }

    /// The process, once it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.live.as_ref().map(|live| live.group.as_raw_nonzero().get().unsigned_abs())
    }

    /// Starts the command, which holds these claims, those in each topic.
    pub(super) fn begin(&mut self, claims: Vec<Arc<Claims>>) -> io::Result<()> {
        self.incarnation += 1;
        let (answers, answers_end) = io::pipe()?;
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::piped()).process_group(0);
        let mut mappings = vec![FdMapping { parent_fd: OwnedFd::from(answers_end), child_fd: ANSWERS_FD }];
        let mut numbers = Vec::new();
        for (claim, number) in claims.iter().filter_map(|claims| claims.descriptor()).zip(CLAIM_FD..) {
            mappings.push(FdMapping { parent_fd: claim.try_clone_to_owned()?, child_fd: number });
            numbers.push(number.to_string());
        }
        command.env("KDIR_CLAIM_FD", numbers.join(" "));
        command.fd_mappings(mappings).expect("each descriptor is named once");
        let mut child = command.spawn()?;
        // The ends that the child has are closed here with it.
        drop(command);
        let input = child.stdin.take().expect("it was asked for");
        let (lines, to_write) = channel();
        std::thread::Builder::new().spawn(move || write_lines(input, &to_write))?;
        let group = Pid::from_child(&child);
        let (tell, tell_of_end) = (self.teller()?, self.teller()?);
        std::thread::Builder::new().spawn(move || read_answers(answers, &tell))?;
        std::thread::Builder::new().spawn(move || {
            tell_of_end(match child.wait() {
                Ok(status) => Told::Ended(status),
                Err(error) => Told::Unknown(error),
            });
        })?;
        self.live = Some(Live {
            group,
            lines: Some(lines),
            claims,
            status: None,
            silent: None,
            unanswered: BTreeMap::new(),
            has_answered: false,
            is_killed: None,
        });
        Ok(())
    }

    /// What a thread tells with.
    fn teller(&self) -> io::Result<impl Fn(Told) + Send + 'static> {
        let (teller, waker, incarnation) = (self.teller.clone(), self.waker.try_clone()?, self.incarnation);
        Ok(move |told| {
            // When nobody listens any more, nothing is to be told.
            let _ = teller.send((incarnation, told));
            let _ = rustix::io::write(&waker, &[0]);
        })
    }

    /// Gives it lines, with the ids of what is in them.
    pub(super) fn give(&mut self, lines: Vec<u8>, ids: &[u64]) {
        let Some(live) = &mut self.live else { return };
        let now = Instant::now();
        live.unanswered.extend(ids.iter().map(|&id| (id, now)));
        if let Some(to) = &live.lines {
            // When it has ended, that is told.
            let _ = to.send(lines);
        }
    }

    /// The answers since the last call.
    pub(super) fn take_answers(&mut self) -> Result<Vec<(u64, Answer)>> {
        drain(&self.wake);
        let mut all = Vec::new();
        while let Ok((incarnation, told)) = self.told.try_recv() {
            if incarnation != self.incarnation {
                continue;
            }
            let Some(live) = &mut self.live else { continue };
            match told {
                Told::Answers(answers) if live.is_killed.is_none() => {
                    live.has_answered = true;
                    for (id, answer) in answers {
                        if live.unanswered.remove(&id).is_none() {
                            self.fail(format!("{id}"), "it is the id of no record that is unanswered");
                            break;
                        }
                        all.push((id, answer));
                    }
                }
                Told::Answers(_) => {}
                Told::Nonsense(answer, why) => self.fail(answer, why),
                Told::Silent => live.silent = Some(Instant::now()),
                Told::Ended(status) => live.status = Some((status, Instant::now())),
                Told::Unknown(error) => return Err(error.into()),
            }
        }
        self.kill_if_slow();
        all.extend(self.end_if_over());
        Ok(all)
    }

    fn fail(&mut self, answer: String, why: &'static str) {
        let command = self.command[0].display().to_string();
        self.failure.get_or_insert(WorkError::NoAnswer { command, answer, why });
        self.kill();
    }

    /// Why it is not to go on.
    pub(super) fn take_failure(&mut self) -> Option<WorkError> {
        self.failure.take()
    }

    fn kill_if_slow(&mut self) {
        let (Some(limit), Some(live)) = (self.timeout, &mut self.live) else { return };
        let is_slow = live.unanswered.first_key_value().is_some_and(|(_, since)| since.elapsed() > limit);
        if is_slow && live.is_killed.is_none() {
            live.is_killed = Some("timed out".into());
            // One that has ended is none any more.
            let _ = kill_process_group(live.group, Signal::KILL);
        }
    }

    /// How long until the oldest has had its time, or its end is to be looked at again.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let live = self.live.as_ref()?;
        if live.status.is_some() || live.silent.is_some() {
            return Some(LAST_ANSWERS);
        }
        let (_, since) = live.unanswered.first_key_value()?;
        Some(self.timeout?.saturating_sub(since.elapsed()))
    }

    /// Kills it: nothing of what it answers from here on counts.
    pub(super) fn kill(&mut self) {
        if let Some(live) = &mut self.live {
            live.is_killed.get_or_insert_with(String::new);
            let _ = kill_process_group(live.group, Signal::KILL);
        }
    }

    /// What becomes of what is unanswered, once it has ended and all that it has answered was read.
    fn end_if_over(&mut self) -> Vec<(u64, Answer)> {
        let Some(live) = &mut self.live else { return Vec::new() };
        let Some((status, since)) = live.status else {
            if live.silent.is_some_and(|since| since.elapsed() > LAST_WORDS) && live.is_killed.is_none() {
                self.kill();
            }
            return Vec::new();
        };
        if live.silent.is_none() && since.elapsed() < LAST_ANSWERS {
            return Vec::new();
        }
        let live = self.live.take().expect("it was there");
        let is_none = matches!(status.code(), Some(126 | 127)) && !live.has_answered;
        if is_none && live.is_killed.is_none() {
            let (command, why) = (self.command[0].display().to_string(), status.to_string());
            self.failure.get_or_insert(WorkError::NotStarted { command, why });
        }
        let counts = !is_none && live.is_killed.as_ref().is_none_or(|why| !why.is_empty());
        let why = live.is_killed.filter(|why| !why.is_empty());
        let why = why.unwrap_or_else(|| format!("the command ended: {status}"));
        let mut ids = live.unanswered.into_keys();
        let oldest = ids.next().map(|id| (id, if counts { Answer::Failed(why) } else { Answer::NotTried }));
        oldest.into_iter().chain(ids.map(|id| (id, Answer::NotTried))).collect()
    }

    /// Shows it the end of its input: one that answers late answers now.
    pub(super) fn end_input(&mut self) {
        if let Some(live) = &mut self.live {
            drop(live.lines.take());
        }
    }

    /// Whether it has ended, or was never there.
    pub(super) const fn has_ended(&self) -> bool {
        self.live.is_none()
    }
}

fn write_lines(mut input: ChildStdin, lines: &Receiver<Vec<u8>>) {
    while let Ok(bytes) = lines.recv() {
        // It reads no more: that it ends, or does not, is for the reader of its answers to see.
        if input.write_all(&bytes).is_err() {
            return;
        }
    }
}

/// Reads answers until there are no more.
fn read_answers(answers: io::PipeReader, tell: &impl Fn(Told)) {
    let mut answers = BufReader::with_capacity(64 << 10, answers);
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let bytes = match answers.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok([]) | Err(_) => break,
            Ok(bytes) => bytes,
        };
        let size = bytes.len();
        rest.extend_from_slice(bytes);
        answers.consume(size);
        let whole = memchr::memrchr(b'\n', &rest).map_or(0, |end| end + 1);
        let lines: Vec<u8> = rest.drain(..whole).collect();
        if !tell_answers(&lines, tell) {
            return;
        }
        if rest.len() > ANSWER_MAX {
            return tell(Told::Nonsense(text_of(&rest[..64]), "it has no end"));
        }
    }
    // The last one may have no end of line.
    if tell_answers(&rest, tell) {
        tell(Told::Silent);
    }
}

/// Tells what lines say. Returns whether all of them are answers.
fn tell_answers(lines: &[u8], tell: &impl Fn(Told)) -> bool {
    let mut parsed = Vec::new();
    for line in lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        match parse(line) {
            Ok(answer) => parsed.push(answer),
            Err(why) => {
                tell(Told::Answers(parsed));
                tell(Told::Nonsense(text_of(&line[..line.len().min(64)]), why));
                return false;
            }
        }
    }
    if !parsed.is_empty() {
        tell(Told::Answers(parsed));
    }
    true
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Reads a line of answer.
fn parse(line: &[u8]) -> Result<(u64, Answer), &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "it is no text")?.trim_end();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let id = id.parse().map_err(|_| "expected ok ID, retry ID [DELAY] or reject ID [TEXT]")?;
    match word {
        "ok" if rest.is_empty() => Ok((id, Answer::Done)),
        "retry" if rest.is_empty() => Ok((id, Answer::Again(None))),
        "retry" => match delay_of(rest) {
            None => Err("the delay is none: expected one as 90s or 5m"),
            delay => Ok((id, Answer::Again(delay))),
        },
        "reject" => Ok((id, Answer::Rejected(rest.to_owned()))),
        _ => Err("expected ok ID, retry ID [DELAY] or reject ID [TEXT]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_words_with_an_id() {
        assert_eq!(parse(b"ok 7"), Ok((7, Answer::Done)));
        assert_eq!(parse(b"retry 7\r"), Ok((7, Answer::Again(None))));
        assert_eq!(parse(b"retry 7 90s"), Ok((7, Answer::Again(Some(Duration::from_secs(90))))));
        assert_eq!(parse(b"reject 7 no such user"), Ok((7, Answer::Rejected("no such user".into()))));
        for nonsense in ["", "ok", "ok x", "ok 7 8", "done 7", "retry 7 soon", "OK 7", "ok  7"] {
            assert!(parse(nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }
}
