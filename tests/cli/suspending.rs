//! Ctrl-Z: a process that is suspended leaves no folder locked, and everything else about it is as the system has it.

use crate::support::{Kdir, Running, until};
use crate::terminals::Terminal;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// A producer that writes one small batch after the other, and what it reads from.
struct Busy<'a> {
    kdir: &'a Kdir,
    input: Running,
    producer: Running,
}

impl<'a> Busy<'a> {
    /// As a job of a shell: it has its own process group.
    fn start(kdir: &'a Kdir) -> Self {
        Self::start_by(kdir, "exec \"$@\"", true)
    }

    /// Started by a shell's script.
    fn start_by(kdir: &'a Kdir, script: &str, is_job: bool) -> Self {
        let mut lines = Command::new("yes");
        lines.stdout(Stdio::piped());
        let mut input = Running::start(lines);
        let arguments = ["-q", "produce", "app", "--batch-size", "1000", "--sync", "never"];
        let mut command = kdir.process_of_script(script, &arguments);
        command.stdin(input.take_stdout()).stdout(Stdio::null());
        if is_job {
            command.process_group(0);
        }
        Self { kdir, input, producer: Running::start(command) }
    }

    fn log_size(&self) -> u64 {
        fs::metadata(self.kdir.segment("app-0", 0, "log")).unwrap().len()
    }

    fn goes_on(&self) {
        let size = self.log_size();
        until("it writes", || self.log_size() > size + 10_000);
    }

    /// Whether it has been suspended since the last call.
    fn is_suspended(&self) -> bool {
        let id = Pid::from_raw(self.producer.id() as i32);
        waitpid(id, WaitOptions::UNTRACED | WaitOptions::NOHANG).unwrap().is_some()
    }

    /// Whether another process would have to wait.
    fn is_folder_locked(&self) -> bool {
        let folder = File::open(self.kdir.path("app-0")).unwrap();
        flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err()
    }

    /// Whether the system still has the signal for it.
    fn is_pending(&self, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.producer.id())).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        u64::from_str_radix(pending.trim(), 16).unwrap() & (1 << (signal.as_raw() - 1)) != 0
    }

    fn end(self) {
        drop(self.input);
        assert_eq!(self.producer.end(), (Some(0), String::new(), String::new()));
        self.kdir.assert_sound();
    }
}

#[test]
fn a_suspended_writer_holds_no_lock() {
    let kdir = Kdir::with_topic("app", &[]);
    let busy = Busy::start(&kdir);
    for round in 0..60 {
        busy.goes_on();
        busy.producer.signal(Signal::TSTP);
        until("it is suspended", || busy.is_suspended());
        assert!(!busy.is_folder_locked(), "in round {round}");
        if round == 0 {
            kdir.produce("app", &[], "of another\n");
        }
        busy.producer.signal(Signal::CONT);
    }
    busy.end();
    assert!(kdir.values("app").contains("of another\n"));
}

#[test]
fn a_writer_that_is_continued_before_it_was_suspended_goes_on() {
    let kdir = Kdir::with_topic("app", &[]);
    let busy = Busy::start(&kdir);
    for _ in 0..60 {
        busy.goes_on();
        busy.producer.signal(Signal::TSTP);
        busy.producer.signal(Signal::CONT);
    }
    busy.goes_on();
    busy.end();
}

#[test]
fn a_writer_that_ignores_the_signal_or_that_nobody_could_continue_is_not_suspended() {
    // The leader of a session has no parent in it that could continue it.
    for (script, is_job) in [("trap '' TSTP; exec \"$@\"", true), ("exec setsid \"$@\"", false)] {
        let kdir = Kdir::with_topic("app", &[]);
        let busy = Busy::start_by(&kdir, script, is_job);
        busy.goes_on();
        busy.producer.signal(Signal::TSTP);
        until("the signal is spent", || !busy.is_pending(Signal::TSTP));
        busy.goes_on();
        assert!(!busy.is_suspended());
        busy.end();
    }
}

#[test]
fn a_shell_sees_ctrl_z_and_continues_a_reader_of_the_terminal() {
    let kdir = Kdir::with_topic("app", &[]);
    let (mut terminal, program) = Terminal::new(80);
    let script = format!("'{}' -q produce app; echo $? >suspended; fg", env!("CARGO_BIN_EXE_kdir"));
    let mut command = Command::new("setsid");
    command.args(["--ctty", "bash", "-m", "-c", &script]).env("KDIR_LOG_DIR", kdir.log_dir()).current_dir(kdir.temp());
    command.stdin(program.try_clone().unwrap()).stdout(program.try_clone().unwrap()).stderr(program);
    let mut shell = Running::start(command);
    terminal.type_keys("before\n");
    until("the line is stored", || kdir.values("app") == "before\n");
    terminal.type_keys("\x1a");
    let told = kdir.temp().join("suspended");
    until("the shell has it back", || fs::read_to_string(&told).is_ok_and(|told| told.ends_with('\n')));
    assert_eq!(fs::read_to_string(&told).unwrap(), "148\n", "by SIGTSTP");
    terminal.type_keys("after\n");
    until("the line is stored", || kdir.values("app") == "before\nafter\n");
    terminal.type_keys("\x04");
    assert_eq!(shell.status().code(), Some(0));
}
