//! kdir against the hardware: each row runs both sides in turn, several times in one go, on the same file system, and
//! shows medians and their ratio.
//!
//! `cargo bench --bench ratios`; `KDIR_BENCH_BYTES` sets the size of the input (default 1 GB), `KDIR_BENCH_RUNS` the
//! number of turns (default 5). Timings are shown, never asserted: machines are noisy.

#![allow(
    missing_docs,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a program of its own"
)]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LINE_SIZE: usize = 100;

fn main() {
    let bytes = number("KDIR_BENCH_BYTES", 1_000_000_000);
    let runs = number("KDIR_BENCH_RUNS", 5) as usize;
    let bench = Bench { root: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("ratios"), runs };
    let _ = fs::remove_dir_all(&bench.root);
    fs::create_dir_all(&bench.root).unwrap();
    println!("{} bytes in lines of {LINE_SIZE}, medians of {runs} turns, {}", bytes, machine());
    bench.write_lines(bytes);
    bench.produce(bytes);
    bench.read("consume", bytes);
    bench.read("verify", bytes);
    bench.grep();
    bench.json(bytes);
    bench.since_the_end();
    bench.one_record();
    fs::remove_dir_all(&bench.root).unwrap();
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

struct Bench {
    root: PathBuf,
    runs: usize,
}

/// How long a process took, and how much memory it had at its largest.
struct Run {
    time: Duration,
    peak_kib: u64,
}

impl Bench {
    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn write_lines(&self, bytes: u64) {
        let mut file = std::io::BufWriter::with_capacity(1 << 20, File::create(self.path("lines")).unwrap());
        let mut line = [b'x'; LINE_SIZE];
        line[LINE_SIZE - 1] = b'\n';
        for number in 0..bytes / LINE_SIZE as u64 {
            line[..20].copy_from_slice(format!("{number:020}").as_bytes());
            file.write_all(&line).unwrap();
        }
        file.into_inner().unwrap().sync_all().unwrap();
    }

    fn kdir(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kdir"));
        command.arg("-q").arg("-d").arg(self.path("log-dir")).args(args);
        command
    }

    fn new_topic(&self) {
        let _ = fs::remove_dir_all(self.path("log-dir"));
        assert!(self.kdir(&["create", "bench"]).status().unwrap().success());
    }

    fn produce(&self, bytes: u64) {
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        for _ in 0..self.runs {
            let copy = self.path("copy");
            let _ = fs::remove_file(&copy);
            theirs.push(run(Command::new("cat").stdin(self.input()).stdout(File::create(&copy).unwrap())).time);
            fs::remove_file(&copy).unwrap();
            self.new_topic();
            let run = run(self.kdir(&["produce", "--sync", "never", "bench"]).stdin(self.input()));
            ours.push(run.time);
            peak = peak.max(run.peak_kib);
        }
        row("produce --sync never, against cat FILE > COPY", &mut ours, &mut theirs);
        println!("    {:.2} GB/s, peak memory {:.1} MiB", rate(bytes, &ours), peak as f64 / 1024.0);
    }

    /// Reads all that was produced, against `cat` of the same segments.
    fn read(&self, command: &str, bytes: u64) {
        let (mut ours, mut theirs, mut peak) = (Vec::new(), Vec::new(), 0);
        let segments: Vec<PathBuf> = fs::read_dir(self.path("log-dir/bench-0"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|it| it == "log"))
            .collect();
        for _ in 0..self.runs {
            theirs.push(run(Command::new("cat").args(&segments).stdout(Stdio::null())).time);
            let run = run(self.kdir(&[command, "bench"]).stdout(Stdio::null()));
            ours.push(run.time);
            peak = peak.max(run.peak_kib);
        }
        row(&format!("{command} > /dev/null, against cat SEGMENTS > /dev/null"), &mut ours, &mut theirs);
        println!("    {:.2} GB/s, peak memory {:.1} MiB", rate(bytes, &ours), peak as f64 / 1024.0);
    }

    /// Both print to a file: what is searched is the same, a line or a record.
    fn grep(&self) {
        for pattern in ["77777", "7{5}x", "(?i)NOTHING"] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..self.runs {
                let out = || File::create(self.path("out")).unwrap();
                let mut grep = Command::new("grep");
                let (option, text) = pattern.strip_prefix("(?i)").map_or(("-E", pattern), |text| ("-Ei", text));
                grep.env("LC_ALL", "C.UTF-8").args([option, text]).stdin(self.input()).stdout(out());
                theirs.push(timed(&mut grep));
                ours.push(timed(self.kdir(&["consume", "bench", "--grep", pattern]).stdout(out())));
            }
            row(&format!("consume --grep {pattern}, against grep over the same lines"), &mut ours, &mut theirs);
        }
    }

    fn json(&self, bytes: u64) {
        let mut ours: Vec<Duration> = (0..self.runs)
            .map(|_| timed(self.kdir(&["consume", "bench", "-o", "json"]).stdout(Stdio::null())))
            .collect();
        let time = median(&mut ours);
        println!(
            "consume -o json > /dev/null: {:.1} ms, {:.2} GB/s of values",
            time.as_secs_f64() * 1e3,
            rate(bytes, &ours)
        );
    }

    /// What happened since a moment ago, in a topic that was made durable.
    fn since_the_end(&self) {
        self.new_topic();
        timed(self.kdir(&["produce", "bench"]).stdin(self.input()));
        let mut ours: Vec<Duration> = (0..self.runs * 10)
            .map(|_| timed(self.kdir(&["consume", "bench", "--since", "0s ago"]).stdout(Stdio::null())))
            .collect();
        println!("consume --since at the end: {:.1} ms", median(&mut ours).as_secs_f64() * 1e3);
    }

    fn one_record(&self) {
        self.new_topic();
        fs::write(self.path("x"), "x\n").unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..self.runs * 10 {
            let input = || File::open(self.path("x")).unwrap();
            let of = format!("of={}", self.path("dd").display());
            let mut dd = Command::new("dd");
            dd.args([&of, "conv=fdatasync", "status=none"]).stdin(input());
            theirs.push(run(&mut dd).time);
            ours.push(run(self.kdir(&["produce", "bench"]).stdin(input())).time);
        }
        row("produce one record, against dd conv=fdatasync", &mut ours, &mut theirs);
    }

    fn input(&self) -> File {
        File::open(self.path("lines")).unwrap()
    }
}

/// Runs a command to its end and watches its memory, whose high mark the kernel keeps as long as it runs.
fn run(command: &mut Command) -> Run {
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let status_path = format!("/proc/{}/status", child.id());
    let watcher = std::thread::spawn(move || {
        let mut peak = 0;
        while let Some(now) = peak_kib(Path::new(&status_path)) {
            peak = peak.max(now);
            std::thread::sleep(Duration::from_millis(5));
        }
        peak
    });
    assert!(child.wait().unwrap().success(), "{command:?}");
    let time = started.elapsed();
    Run { time, peak_kib: watcher.join().unwrap() }
}

/// How long a command took, whatever it found.
fn timed(command: &mut Command) -> Duration {
    let started = Instant::now();
    command.status().unwrap();
    started.elapsed()
}

fn peak_kib(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn rate(bytes: u64, times: &[Duration]) -> f64 {
    bytes as f64 / times[times.len() / 2].as_secs_f64() / 1e9
}

fn row(what: &str, ours: &mut [Duration], theirs: &mut [Duration]) {
    let (ours, theirs) = (median(ours).as_secs_f64(), median(theirs).as_secs_f64());
    println!("{what}: {:.1} ms / {:.1} ms = {:.2}", ours * 1e3, theirs * 1e3, ours / theirs);
}
