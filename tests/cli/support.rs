//! A fresh log dir and a clean environment per test.

use assert_cmd::assert::Assert;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde_json::Value;
use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test gives up on it.
const DEADLINE: Duration = Duration::from_secs(60);

/// The program, a log dir that does not exist yet, and nothing else.
pub(crate) struct Kdir {
    temp: TempDir,
    log_dir: PathBuf,
}

impl Kdir {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        Self { log_dir: temp.path().join("log"), temp }
    }

    /// With the log dir in another place.
    pub(crate) fn with_log_dir(self, log_dir: PathBuf) -> Self {
        Self { log_dir, ..self }
    }

    /// With a topic of that name and those options.
    pub(crate) fn with_topic(topic: &str, options: &[&str]) -> Self {
        let kdir = Self::new();
        kdir.create(topic, options);
        kdir
    }

    /// A place for files that are not of the log dir.
    pub(crate) fn temp(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn log_dir(&self) -> PathBuf {
        self.log_dir.clone()
    }

    /// A path in the log dir.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.log_dir().join(relative)
    }

    /// A segment's file.
    pub(crate) fn segment(&self, partition: &str, base_offset: u64, suffix: &str) -> PathBuf {
        self.path(&format!("{partition}/{base_offset:020}.{suffix}"))
    }

    /// Takes back what the end of the last run said of what is durable: for tests that leave what a kill in mid-write leaves.
    pub(crate) fn forget_durable_end(&self, partition: &str) {
        fs::remove_file(self.path(&format!("{partition}/durable-end"))).unwrap();
    }

    /// Removes what shows that kdir made a topic: what is left is as a broker's.
    pub(crate) fn disown(&self, topic: &str) {
        fs::remove_file(self.path(&format!("{topic}.json"))).unwrap();
        for entry in fs::read_dir(self.log_dir()).unwrap().map(Result::unwrap) {
            if entry.file_name().to_str().unwrap().strip_prefix(topic).is_some_and(|rest| rest.starts_with('-')) {
                let _ = fs::remove_file(entry.path().join("durable-end"));
            }
        }
    }

    /// A file outside the log dir, with content.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.temp().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("KDIR_LOG_DIR", self.log_dir().into()),
            ("HOME", self.temp().into()),
            ("TZ", "UTC".into()),
            ("COLUMNS", "100".into()),
            ("NO_COLOR", "1".into()),
        ]
    }

    pub(crate) fn command(&self, args: &[&str]) -> assert_cmd::Command {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_kdir"));
        command.env_clear().envs(self.environment()).args(args).timeout(DEADLINE);
        command
    }

    /// Runs the program with an empty stdin.
    pub(crate) fn run(&self, args: &[&str]) -> Assert {
        self.command(args).assert()
    }

    /// Runs the program on a terminal of 80 columns, where that is typed. Answers with the exit code and all that is shown.
    pub(crate) fn on_a_terminal(&self, args: &[&str], typed: &str) -> (i32, String) {
        let line = args.iter().fold(env!("CARGO_BIN_EXE_kdir").to_owned(), |line, arg| format!("{line} '{arg}'"));
        let script = format!("stty cols 80 rows 24; exec {line}");
        let mut command = assert_cmd::Command::new("script");
        command.env_clear().envs(self.environment()).env("PATH", std::env::var("PATH").unwrap()).timeout(DEADLINE);
        let output = command.args(["-qec", &script, "/dev/null"]).write_stdin(typed).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    /// Runs the program with that stdin.
    pub(crate) fn feed(&self, args: &[&str], stdin: impl Into<Vec<u8>>) -> Assert {
        self.command(args).write_stdin(stdin).assert()
    }

    /// The program as a process with pipes.
    pub(crate) fn process(&self, args: &[&str]) -> Command {
        self.piped(Command::new(env!("CARGO_BIN_EXE_kdir")), args)
    }

    /// The same, but no file of its may grow beyond that many blocks of 512 bytes: of a write that goes there, what fits is
    /// done, and the system sends SIGXFSZ, which ends a program that does not expect it.
    pub(crate) fn process_with_full_files(&self, blocks: u64, args: &[&str]) -> Command {
        self.process_with_limit("-f", blocks, args)
    }

    /// As [`Kdir::process`], but it can have no more than so many files open.
    pub(crate) fn process_with_few_files(&self, files: usize, args: &[&str]) -> Command {
        self.process_with_limit("-n", files as u64, args)
    }

    /// The same, but it can have no more than so many files open unless it raises the limit itself.
    pub(crate) fn process_with_few_files_at_first(&self, files: usize, args: &[&str]) -> Command {
        self.process_with_limit("-S -n", files as u64, args)
    }

    /// As [`Kdir::process`], but its address space has no more than so many KiB.
    pub(crate) fn process_with_little_memory(&self, kib: u64, args: &[&str]) -> Command {
        self.process_with_limit("-v", kib, args)
    }

    /// The same, with a limit of the shell's `ulimit`.
    pub(crate) fn process_with_limit(&self, option: &str, limit: u64, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        let script = format!("ulimit -c 0 && ulimit {option} \"$0\" && exec \"$@\"");
        command.args(["-c", &script, &limit.to_string(), env!("CARGO_BIN_EXE_kdir")]);
        self.piped(command, args)
    }

    /// The same as one that may read no more than the modes of the files say: root gives up its right to all of them.
    pub(crate) fn process_bound_by_modes(&self, args: &[&str]) -> Command {
        if !rustix::process::geteuid().is_root() {
            return self.process(args);
        }
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all", env!("CARGO_BIN_EXE_kdir")]);
        self.piped(command, args)
    }

    /// The program as an argument of a shell's script, as `"$@"`, with pipes.
    pub(crate) fn process_of_script(&self, script: &str, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_kdir")]);
        let mut command = self.piped(command, args);
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn piped(&self, mut command: Command, args: &[&str]) -> Command {
        command.env_clear().envs(self.environment()).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Creates a topic, as a step on the way.
    pub(crate) fn create(&self, topic: &str, options: &[&str]) {
        self.run(&[&["-q", "create", topic], options].concat()).code(0).stdout("").stderr("");
    }

    /// Produces, as a step on the way.
    pub(crate) fn produce(&self, topic: &str, options: &[&str], stdin: impl Into<Vec<u8>>) {
        self.feed(&[&["-q", "produce", topic], options].concat(), stdin).code(0).stdout("").stderr("");
    }

    /// What a run prints that succeeds and says nothing.
    pub(crate) fn stdout(&self, args: &[&str]) -> Vec<u8> {
        self.run(args).code(0).stderr("").get_output().stdout.clone()
    }

    /// The same as text.
    pub(crate) fn text(&self, args: &[&str]) -> String {
        String::from_utf8(self.stdout(args)).unwrap()
    }

    /// The same as JSON lines.
    pub(crate) fn json(&self, args: &[&str]) -> Vec<Value> {
        json_lines(&self.stdout(args))
    }

    /// The records of a topic as envelopes.
    pub(crate) fn records(&self, topic: &str) -> Vec<Value> {
        self.json(&["consume", topic, "-o", "json"])
    }

    /// The values of a topic, a line each.
    pub(crate) fn values(&self, topic: &str) -> String {
        self.text(&["consume", topic])
    }

    /// The names of the program's subcommands, from its help.
    pub(crate) fn subcommands(&self) -> Vec<String> {
        let help = self.text(&["--help"]);
        let commands = help.split_once("\nCommands:\n").unwrap().1.split_once("\n\n").unwrap().0;
        let indented =
            commands.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
        indented.map(|line| line.split_whitespace().next().unwrap().to_owned()).collect()
    }

    /// Every file of the log dir with its bytes, by its path in it.
    pub(crate) fn contents(&self) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut contents = std::collections::BTreeMap::new();
        let mut folders = vec![self.log_dir()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.log_dir()).unwrap().to_str().unwrap().to_owned();
                    contents.insert(name, fs::read(path).unwrap());
                }
            }
        }
        contents
    }

    /// Sees that every topic is whole: what checks it, what describes it and what reads all of it finds nothing to say.
    pub(crate) fn assert_sound(&self) {
        self.run(&["-q", "verify"]).code(0).stdout("").stderr("");
        for topic in self.json(&["list", "-o", "json"]) {
            let topic = topic["topic"].as_str().unwrap();
            self.run(&["describe", topic, "--segments"]).code(0).stderr("");
            self.run(&["consume", topic]).code(0).stderr("");
        }
    }

    /// Names of the log dir's entries.
    pub(crate) fn entries(&self, folder: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(folder))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// Takes a `.lock` file as a broker does, for as long as the file lives.
pub(crate) fn hold_as_a_broker(path: &Path) -> fs::File {
    let file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    file
}

/// Every line as JSON.
pub(crate) fn json_lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The files of a partition's first segment and what lies beside them.
pub(crate) const PARTITION_FILES: [&str; 6] = [
    "00000000000000000000.index",
    "00000000000000000000.log",
    "00000000000000000000.timeindex",
    "durable-end",
    "leader-epoch-checkpoint",
    "partition.metadata",
];

/// Changes one byte of a file.
pub(crate) fn flip(path: &Path, position: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 0xff;
    fs::write(path, bytes).unwrap();
}

/// Cuts bytes off the end of a file.
pub(crate) fn cut(path: &Path, bytes: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

/// Waits until it is so.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < DEADLINE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Chance that can be had again (splitmix64): the same seed, the same draws.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of them.
    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// A pause shorter than that.
    pub(crate) fn pause(&mut self, less_than: Duration) {
        std::thread::sleep(Duration::from_micros(self.below(less_than.as_micros() as u64)));
    }

    /// Chance of its own for somebody else.
    pub(crate) fn split(&mut self) -> Self {
        Self(self.next())
    }
}

/// The number in an environment variable; without it, another one.
pub(crate) fn from_environment(variable: &str, otherwise: impl FnOnce() -> u64) -> u64 {
    std::env::var(variable).map_or_else(|_| otherwise(), |text| text.parse().unwrap())
}

/// Sets a flag when it goes, also when a test fails: who waits for it is in another thread.
pub(crate) struct SetOnDrop<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The seed that KDIR_SEED holds, or else one that differs from run to run. The test prints it.
pub(crate) fn seed() -> u64 {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    from_environment("KDIR_SEED", || now().as_nanos() as u64)
}

/// A process that does not outlive its test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Writes to its stdin, which stays open.
    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).unwrap();
    }

    /// Writes to its stdin, unless it has ended.
    pub(crate) fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.stdin.as_mut().unwrap().write_all(bytes.as_ref())
    }

    /// Closes its stdin.
    pub(crate) fn end_input(&mut self) {
        drop(self.0.stdin.take());
    }

    pub(crate) fn take_stdin(&mut self) -> ChildStdin {
        self.0.stdin.take().unwrap()
    }

    pub(crate) fn take_stdout(&mut self) -> ChildStdout {
        self.0.stdout.take().unwrap()
    }

    pub(crate) fn take_stderr(&mut self) -> ChildStderr {
        self.0.stderr.take().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether everything that was written to its stdin has been read.
    pub(crate) fn has_read_all(&self) -> bool {
        rustix::io::ioctl_fionread(self.0.stdin.as_ref().unwrap()).unwrap() == 0
    }

    /// The signals that it handles, a bit each.
    pub(crate) fn caught_signals(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Suspends it, and returns when it stands still. [`Signal::CONT`] sets it going again.
    pub(crate) fn suspend(&self) {
        self.signal(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.0)), WaitOptions::UNTRACED).unwrap();
    }

    /// Its stdout, line by line, as it comes.
    pub(crate) fn lines(&mut self) -> Receiver<String> {
        let stdout = BufReader::new(self.0.stdout.take().unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        receiver
    }

    /// Reads one line of its stdout and closes it, as `head -1` does.
    pub(crate) fn head(&mut self) -> String {
        let mut stdout = BufReader::new(self.0.stdout.take().unwrap());
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            drop(stdout);
            sender.send(line).unwrap();
        });
        receiver.recv_timeout(DEADLINE).unwrap()
    }

    /// Closes its stdin and waits for its end. Exit code, stdout and stderr: stdout where nobody took it, if it is little,
    /// and stderr without waits for a lock, which are the disk's.
    pub(crate) fn end(mut self) -> (Option<i32>, String, String) {
        drop(self.0.stdin.take());
        self.wait()
    }

    /// How it has ended, if it has.
    pub(crate) fn try_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().unwrap()
    }

    /// Waits for its end, with its stdin open: with which code, or by which signal.
    pub(crate) fn status(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, with its stdin open.
    pub(crate) fn wait(mut self) -> (Option<i32>, String, String) {
        let status = self.status();
        let (mut stdout, mut stderr) = (String::new(), String::new());
        if let Some(mut pipe) = self.0.stdout.take() {
            pipe.read_to_string(&mut stdout).unwrap();
        }
        self.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        (code(status), stdout, without_waits(&stderr))
    }
}

/// What was said, but for waits for a lock: that it took longer than a second is the machine's.
pub(crate) fn without_waits(stderr: &str) -> String {
    let is_wait = |line: &&str| line.starts_with("waiting for another process that holds ");
    stderr.split_inclusive('\n').filter(|line| !is_wait(line)).collect()
}

/// The exit code, as a shell tells it: 128 and more for a process that a signal ended.
fn code(status: ExitStatus) -> Option<i32> {
    status.code().or_else(|| Some(128 + status.signal()?))
}

/// The next line, before the deadline.
pub(crate) fn next(lines: &Receiver<String>) -> String {
    lines.recv_timeout(DEADLINE).unwrap()
}
