//! Where a bench runs, what it has at hand, and how it runs things.

use crate::report::{Report, Row};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const KDIR: &str = env!("CARGO_BIN_EXE_kdir");

pub struct Bench {
    /// The bench's own folder: every script runs in it.
    pub dir: PathBuf,
    /// The size of the input.
    pub bytes: u64,
    pub runs: usize,
    words: Vec<String>,
    report: Report,
}

impl Bench {
    pub fn new(words: Vec<String>) -> Self {
        let parent = std::env::var_os("KDIR_BENCH_DIR").map_or(env!("CARGO_TARGET_TMPDIR").into(), PathBuf::from);
        let dir = parent.join("kdir-ratios");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let (bytes, runs) = (number("KDIR_BENCH_BYTES", 1_000_000_000), number("KDIR_BENCH_RUNS", 7) as usize);
        Self { dir, bytes, runs, words, report: Report::default() }
    }

    /// Whether a row of that name is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    pub fn row(&mut self, row: Row) {
        self.report.add(row);
    }

    pub fn finish(self) {
        let json = self.report.json(&self.machine(), self.bytes, self.runs);
        fs::remove_dir_all(&self.dir).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/ratios.json");
        fs::write(&path, format!("{json:#}\n")).unwrap();
        println!("\nThe same as JSON: target/ratios.json");
    }

    pub fn machine(&self) -> String {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
        let memory =
            read("/proc/meminfo").split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).unwrap_or(0) >> 20;
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let system = file_system(&self.dir);
        let (kernel, bytes, runs) = (read("/proc/sys/kernel/osrelease"), self.bytes, self.runs);
        format!(
            "kdir {}, {model}, {cores} cores, {memory} GiB, Linux {}, {system}; {bytes} bytes of input, medians of {runs} turns",
            env!("CARGO_PKG_VERSION"),
            kernel.trim(),
        )
    }

    /// A shell's script in the bench's folder, where `$KDIR` is the program and `$LD` its log dir.
    pub fn script(&self, script: &str) -> Command {
        self.script_in(&self.dir, script)
    }

    pub fn script_in(&self, dir: &Path, script: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-euc", script])
            .current_dir(dir)
            .env("KDIR", KDIR)
            .env("KDIR_LOG_DIR", "ld")
            .env("LC_ALL", "C.UTF-8");
        command.stdin(Stdio::null());
        command
    }

    /// Runs a script, which must succeed, and returns how long it took.
    pub fn time(&self, script: &str) -> Duration {
        timed(&mut self.script(script))
    }

    /// Runs a script whose time does not matter.
    pub fn run(&self, script: &str) {
        self.time(script);
    }

    /// Two scripts in turn, `setup` before each of them; the one that goes first in a turn goes last in the next.
    pub fn in_turn(&self, dir: &Path, runs: usize, setup: &str, ours: &str, theirs: &str) -> Turns {
        let run = |script: &str| {
            timed(&mut self.script_in(dir, setup));
            timed(&mut self.script_in(dir, script))
        };
        let turn = |number| match number % 2 {
            0 => (run(ours), run(theirs)),
            _ => {
                let theirs = run(theirs);
                (run(ours), theirs)
            }
        };
        Turns((0..runs).map(turn).collect())
    }

    /// The median of the times of one script.
    pub fn median_of(&self, runs: usize, script: &str) -> Duration {
        median(&mut (0..runs).map(|_| self.time(script)).collect::<Vec<_>>())
    }

    /// The most memory that a script's last command took, in MiB; it begins with `exec`, so that it is one process.
    pub fn peak_mib(&self, script: &str) -> f64 {
        assert!(script.contains("exec "), "{script}");
        let mut child = self.script(script).spawn().unwrap();
        let peak = watch_peak(&mut child);
        assert!(child.wait().unwrap().success(), "{script}");
        peak as f64 / 1024.0
    }
}

/// What our side and the other took in each turn.
pub struct Turns(pub Vec<(Duration, Duration)>);

impl Turns {
    pub fn ours(&self) -> Duration {
        median(&mut self.0.iter().map(|turn| turn.0).collect::<Vec<_>>())
    }

    pub fn theirs(&self) -> Duration {
        median(&mut self.0.iter().map(|turn| turn.1).collect::<Vec<_>>())
    }

    /// How many times as long ours took, in the median of the turns: a machine that is slow for a while slows both sides of
    /// a turn.
    pub fn ratio(&self) -> f64 {
        let mut ratios: Vec<f64> = self.0.iter().map(|turn| turn.0.as_secs_f64() / turn.1.as_secs_f64()).collect();
        ratios.sort_unstable_by(f64::total_cmp);
        ratios[ratios.len() / 2]
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: no number")))
}

fn timed(command: &mut Command) -> Duration {
    let started = Instant::now();
    let status = command.status().unwrap();
    let time = started.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    time
}

/// The high mark of a process's memory in KiB, which the kernel tells as long as it runs.
fn watch_peak(child: &mut Child) -> u64 {
    let path = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&path).unwrap_or_default();
        // Before exec it is a shell, which is small.
        let mark = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0));
        std::thread::sleep(Duration::from_millis(1));
    }
    peak
}

pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The type of the file system that a folder is on.
pub fn file_system(dir: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(dir).output().unwrap();
    match String::from_utf8_lossy(&output.stdout).trim() {
        // One number stands for all three of them.
        "ext2/ext3" => "ext4".to_owned(),
        name => name.to_owned(),
    }
}

/// Bytes that a folder's file system has left.
pub fn room(dir: &Path) -> u64 {
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(dir).output().unwrap();
    String::from_utf8_lossy(&output.stdout).lines().nth(1).and_then(|line| line.trim().parse().ok()).unwrap_or(0)
}
