//! Runs of a command, a process for each record or batch, so many at a time.
//!
//! A run has a thread that starts it, keeps what it prints, passes on what it says on its standard error, and waits
//! for it. What it has printed is what is there when it ends: a daemon that it leaves behind, with the pipes open, is not waited
//! for. Each run leads a process group of its own: so a Ctrl-C reaches kdir alone, which waits for handlers, and a handler can
//! be killed with what it has started.
//!
//! A run inherits the claim on its record: see [`Claims`]. A limit of time is kept by a process between, which does so even
//! when the worker is killed: see [`supervisor`].

use super::{Result, WorkError, supervisor};
use crate::disk::outlet::{Outlet, OutletKind};
use crate::disk::process::{PrivateFolder, file_of, find_program, this_program};
use crate::disk::{Disk, DiskFile};
use crate::groups::Claims;
use crate::units::{Duration as UnitsDuration, Offset};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is printed beyond this goes to a file without a name.
const PRINTED_IN_MEMORY: usize = 1 << 20;
/// The last line that is kept of what was said on the standard error.
const LINE_MAX: usize = 1 << 10;
const READ: usize = 64 << 10;
/// How long a file with a delay can be.
const DELAY_MAX: usize = 64;

/// One process is started at a time: a claim must not be inherited by another run, and while one is started its claim is.
static STARTING: Mutex<()> = Mutex::new(());

/// What a run is given.
pub(super) struct Run {
    pub(super) id: u64,
    pub(super) input: Vec<u8>,
    pub(super) facts: Vec<(OsString, OsString)>,
    pub(super) claims: Arc<Claims>,
    /// The records, for who asks which process has them.
    pub(super) records: Vec<(i32, Offset)>,
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum How {
    /// With an exit code.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It did not begin.
    NotStarted(io::Error),
    /// It began, and could not be attended to: it was killed.
    Unattended(WorkError),
}

/// A run that has ended.
pub(super) struct EndedRun {
    pub(super) id: u64,
    pub(super) how: How,
    pub(super) printed: Printed,
    pub(super) last_line: String,
    /// How long it wants to wait.
    pub(super) delay: Option<Duration>,
    pub(super) took: Duration,
}

/// What a run has printed.
#[derive(Default)]
pub(super) struct Printed {
    memory: Vec<u8>,
    file: Option<(Arc<dyn DiskFile>, u64)>,
}

impl Printed {
    fn push(&mut self, bytes: &[u8], disk: &dyn Disk) -> Result<()> {
        if self.file.is_none() && self.memory.len() + bytes.len() <= PRINTED_IN_MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        if self.file.is_none() {
            self.file = Some((disk.scratch()?, 0));
        }
        if let Some((file, size)) = &mut self.file {
            file.write_at(bytes, *size)?;
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.file.is_none()
    }

    /// Shows all of it, piece by piece.
    pub(super) fn each(&self, mut show: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        show(&self.memory)?;
        let Some((file, size)) = &self.file else { return Ok(()) };
        let (mut buffer, mut position) = (vec![0; READ], 0);
        while position < *size {
            let read = file.read_at(&mut buffer, position)?;
            if read == 0 {
                break;
            }
            show(&buffer[..read])?;
            position += read as u64;
        }
        Ok(())
    }
}

/// The program that a command names, as a shell finds it.
///
/// # Errors
/// When it is not there, or is no program.
pub fn find_command(command: &OsStr) -> Result<PathBuf> {
    let refused = |why| WorkError::NoCommand { command: command.display().to_string(), why };
    find_program(command).map_err(|kind| match kind {
        ErrorKind::NotFound => refused("command not found"),
        _ => refused("not a program that can be run"),
    })
}

/// Runs, and the threads that attend to them.
pub(super) struct Handlers {
    shared: Arc<Shared>,
    threads: Vec<(Sender<Run>, JoinHandle<()>)>,
    /// Threads that have nothing to do.
    idle: Vec<usize>,
    ended: Receiver<(usize, EndedRun)>,
    to_ended: Sender<(usize, EndedRun)>,
    wake: UnixStream,
    jobs: usize,
}

struct Shared {
    command: Vec<OsString>,
    timeout: Option<Duration>,
    disk: Arc<dyn Disk>,
    folder: PrivateFolder,
    waker: UnixStream,
    /// This program, to keep the time of a handler; `None` where there is no limit.
    supervisor: Option<OwnedFd>,
    /// What this program was started with of what handlers are told.
    stale: Vec<OsString>,
    /// The process groups of runs, by the run.
    running: Mutex<HashMap<u64, Pid>>,
    /// Whether all that runs is killed.
    kills: AtomicBool,
}

impl Shared {
    fn running(&self) -> MutexGuard<'_, HashMap<u64, Pid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handlers {
    pub(super) fn new(
        command: Vec<OsString>,
        timeout: Option<Duration>,
        jobs: usize,
        disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        let (wake, waker) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        waker.set_nonblocking(true)?;
        let (to_ended, ended) = channel();
        let (folder, running, kills) = (PrivateFolder::make()?, Mutex::default(), AtomicBool::new(false));
        let supervisor = timeout.map(|_| this_program()).transpose()?;
        let stale = std::env::vars_os().map(|(name, _)| name).filter(|name| is_fact(name)).collect();
        let shared = Shared { command, timeout, disk, folder, waker, supervisor, stale, running, kills };
        let shared = Arc::new(shared);
        Ok(Self { shared, threads: Vec::new(), idle: Vec::new(), ended, to_ended, wake, jobs })
    }

    /// How many runs can be started now.
    pub(super) fn free(&self) -> usize {
        self.jobs - (self.threads.len() - self.idle.len())
    }

    pub(super) fn start(&mut self, run: Run) -> Result<()> {
        let number = match self.idle.pop() {
            Some(number) => number,
            None => {
                let (to, runs) = channel();
                let (number, shared, ended) = (self.threads.len(), Arc::clone(&self.shared), self.to_ended.clone());
                let attend = move || attend_all(&shared, number, &runs, &ended);
                self.threads.push((to, std::thread::Builder::new().spawn(attend)?));
                number
            }
        };
        self.threads[number].0.send(run).expect("the thread waits for runs as long as it can be sent one");
        Ok(())
    }

    /// The runs that have ended since the last call.
    pub(super) fn take_ended(&mut self) -> Vec<EndedRun> {
        drain(&self.wake);
        let mut all = Vec::new();
        while let Ok((number, ended)) = self.ended.try_recv() {
            self.idle.push(number);
            all.push(ended);
        }
        all
    }

    /// Readable when a run has ended.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Kills all that runs.
    pub(super) fn kill(&self) {
        self.shared.kills.store(true, Ordering::SeqCst);
        for group in self.shared.running().values() {
            // One that has ended is none any more.
            let _ = kill_process_group(*group, Signal::KILL);
        }
    }
}

/// Empties what only says that there is something to see to.
pub(super) fn drain(wake: &UnixStream) {
    let mut bytes = [0; 256];
    while rustix::io::read(wake, &mut bytes).is_ok_and(|read| read == bytes.len()) {}
}

/// Whether it is a fact that a handler is told, by its name.
fn is_fact(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"KDIR_") && name != "KDIR_LOG_DIR"
}

fn attend_all(shared: &Shared, number: usize, runs: &Receiver<Run>, ended: &Sender<(usize, EndedRun)>) {
    let delay_file = shared.folder.path().join(number.to_string());
    while let Ok(run) = runs.recv() {
        let run_ended = attend(shared, &run, &delay_file);
        drop(run);
        if ended.send((number, run_ended)).is_err() {
            return;
        }
        // Full is as good: it has something to see to.
        let _ = rustix::io::write(&shared.waker, &[0]);
    }
}

/// Runs the command once.
fn attend(shared: &Shared, run: &Run, delay_file: &Path) -> EndedRun {
    let started = std::time::Instant::now();
    let mut ended = EndedRun {
        id: run.id,
        how: How::Exit(0),
        printed: Printed::default(),
        last_line: String::new(),
        delay: None,
        took: Duration::ZERO,
    };
    let mut child = match start(shared, run, delay_file) {
        Err(error) => return EndedRun { how: How::NotStarted(error), ..ended },
        Ok(child) => child,
    };
    let pid = Pid::from_child(&child);
    shared.running().insert(run.id, pid);
    if shared.kills.load(Ordering::SeqCst) {
        // It was started beside the signal.
        let _ = kill_process_group(pid, Signal::KILL);
    }
    run.records.iter().for_each(|&(partition, offset)| run.claims.name_holder(partition, offset, child.id()));
    let mut line = LastLine::default();
    let attended = talk(&mut child, pid, &mut ended.printed, &mut line, shared);
    let is_supervisor = shared.supervisor.is_some();
    // While it has not been waited for, the number is still that of its group.
    let was_killed = is_supervisor && ended_by_signal(pid);
    if attended.is_err() || was_killed {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    shared.running().remove(&run.id);
    ended.how = match (attended, child.wait()) {
        (Ok(()), Ok(status)) => how(status),
        (Err(error), _) => How::Unattended(error),
        (_, Err(error)) => How::Unattended(error.into()),
    };
    ended.last_line = line.text();
    ended.delay = shared.folder.take_small(delay_file, DELAY_MAX).and_then(|text| delay_of(&text));
    ended.took = started.elapsed();
    ended
}

/// Whether a process that has ended, and was not waited for, was ended by a signal.
fn ended_by_signal(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    waitid(WaitId::Pid(pid), options).ok().flatten().is_some_and(|status| status.killed() || status.dumped())
}

fn how(status: ExitStatus) -> How {
    match (status.code(), status.signal()) {
        (Some(code), _) => How::Exit(code),
        (None, signal) => How::Signal(signal.unwrap_or_default()),
    }
}

/// A time to wait as people type it, `90s`; anything else is none.
pub(super) fn delay_of(text: &str) -> Option<Duration> {
    text.trim().parse::<UnitsDuration>().ok().map(|delay| delay.as_std())
}

fn start(shared: &Shared, run: &Run, delay_file: &Path) -> io::Result<Child> {
    let mut command = match (&shared.supervisor, shared.timeout) {
        (Some(program), Some(timeout)) => {
            // The system opens it before it closes what a new program does not inherit.
            let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
            command.arg0("kdir").arg(supervisor::WORD).arg(timeout.as_millis().to_string()).args(&shared.command);
            command
        }
        _ => {
            let mut command = Command::new(&shared.command[0]);
            command.args(&shared.command[1..]);
            command
        }
    };
    for name in &shared.stale {
        command.env_remove(name);
    }
    command.envs(run.facts.iter().map(|(name, value)| (name, value))).env("KDIR_RETRY_FILE", delay_file);
    // All of it is there before the handler begins, so that one whose worker dies has not half of it.
    command.stdin(file_of(&run.input)?).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let _alone = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    match run.claims.descriptor() {
        None => command.spawn(),
        Some(claim) => {
            command.env("KDIR_CLAIM_FD", claim.as_raw_fd().to_string());
            fcntl_setfd(claim, FdFlags::empty())?;
            let spawned = command.spawn();
            fcntl_setfd(claim, FdFlags::CLOEXEC)?;
            spawned
        }
    }
}

/// Keeps what a process prints, until it ends.
fn talk(child: &mut Child, pid: Pid, printed: &mut Printed, line: &mut LastLine, shared: &Shared) -> Result<()> {
    let is_over = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from)?;
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    for pipe in [stdout.as_ref().map(AsFd::as_fd), stderr.as_ref().map(AsFd::as_fd)].into_iter().flatten() {
        rustix::io::ioctl_fionbio(pipe, true).map_err(io::Error::from)?;
    }
    let (mut buffer, mut has_ended) = (vec![0; READ], false);
    loop {
        let has_printed = read_all(&mut stdout, &mut buffer, |bytes| printed.push(bytes, &*shared.disk))?;
        let has_said = read_all(&mut stderr, &mut buffer, |bytes| {
            line.push(bytes);
            say(bytes, &shared.kills);
            Ok(())
        })?;
        if has_ended && !has_printed && !has_said {
            return Ok(());
        }
        let mut descriptors = vec![PollFd::new(&is_over, PollFlags::IN)];
        descriptors.extend(stdout.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        descriptors.extend(stderr.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        match poll(&mut descriptors, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
        has_ended = !descriptors[0].revents().is_empty();
    }
}

/// Passes on what a handler says on its standard error. What cannot be said is no reason to fail, and a reader that stands
/// still is not waited for by who is to end at once.
fn say(mut bytes: &[u8], kills: &AtomicBool) {
    let stderr = Outlet::stderr();
    if !matches!(stderr.kind(), OutletKind::Pipe | OutletKind::Socket) {
        return drop(stderr.write(bytes));
    }
    while !bytes.is_empty() && !kills.load(Ordering::SeqCst) {
        let Ok(written) = stderr.write_some(bytes) else { return };
        bytes = &bytes[written..];
        if written == 0 {
            let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            let _ = poll(&mut [PollFd::from_borrowed_fd(stderr.descriptor(), PollFlags::OUT)], Some(&pause));
        }
    }
}

/// Reads what is there. Returns whether there was something.
fn read_all<P: AsFd>(
    pipe: &mut Option<P>,
    buffer: &mut [u8],
    mut take: impl FnMut(&[u8]) -> Result<()>,
) -> Result<bool> {
    let mut has_read = false;
    while let Some(open) = pipe {
        match rustix::io::read(&*open, &mut *buffer) {
            Ok(0) => *pipe = None,
            Ok(read) => {
                take(&buffer[..read])?;
                has_read = true;
            }
            Err(Errno::AGAIN) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(has_read)
}

/// The last line with something in it of what goes by.
#[derive(Default)]
struct LastLine {
    line: Vec<u8>,
    is_over: bool,
}

impl LastLine {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' || byte == b'\r' {
                self.is_over = true;
                continue;
            }
            if std::mem::take(&mut self.is_over) {
                self.line.clear();
            }
            if self.line.len() < LINE_MAX {
                self.line.push(byte);
            }
        }
    }

    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.line);
        text.trim().chars().map(|it| if it.is_control() { ' ' } else { it }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_was_said() {
        let mut line = LastLine::default();
        line.push(b"one\ntwo");
        line.push(b" more\n\n");
        assert_eq!(line.text(), "two more");
        line.push(&[b'x'; 5000]);
        assert_eq!(line.text().len(), LINE_MAX);
        line.push(b"\nend\x1b[0m");
        assert_eq!(line.text(), "end [0m");
    }
}
