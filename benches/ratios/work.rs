//! Work queues: what a job costs with a process for each and with one for all, how soon a dead worker's job is taken, and
//! how large the state gets.

use crate::bench::{Bench, KDIR, Turns};
use crate::report::{Row, Target, shown};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The word that this program is started with as a handler.
pub const ANSWERER: &str = "--answer-a-queue";

pub fn rows(bench: &mut Bench) {
    if bench.wants("work, a process each") {
        a_process_each(bench);
    }
    if bench.wants("work, persistent") {
        persistent(bench);
    }
    if bench.wants("work, takeover") {
        takeover(bench);
    }
    bench.run("rm -rf ld lines out");
}

fn fill(bench: &Bench, jobs: u64) {
    let value = "x".repeat(80);
    let fill = "rm -rf ld; \"$KDIR\" -q create jobs; \"$KDIR\" -q produce jobs lines; sync";
    bench.run(&format!("seq 1 {jobs} | sed 's/$/ {value}/' >lines; {fill}"));
}

/// Against xargs, which starts as many processes and keeps nothing; and with as many durable writes as jobs.
fn a_process_each(bench: &mut Bench) {
    let jobs = (bench.bytes / 1_000_000).clamp(50, 1000);
    let xargs = format!("seq {jobs} | xargs -n1 true");
    let synced = format!("{xargs}; dd if=/dev/zero of=out bs=512 count={jobs} oflag=dsync 2>/dev/null");
    for (name, options, theirs) in
        [("work, a process each, --sync 1s", "--sync 1s", &xargs), ("work, a process each, each durable", "", &synced)]
    {
        fill(bench, jobs);
        let ours = format!("\"$KDIR\" -q work jobs -g g$$ {options} -- true");
        let turns: Turns = bench.in_turn(&bench.dir, bench.runs, "rm -f out; sync", &ours, theirs);
        bench.row(Row::ratio(name, &turns, Target::AtMost(1.3)).note(format!("{jobs} jobs, against `{theirs}`")));
    }
}

/// This program answers as fast as it can.
fn persistent(bench: &mut Bench) {
    let handler = std::env::current_exe().unwrap();
    let handler = format!("'{}' {ANSWERER}", handler.display());
    for (name, options, jobs, least) in [
        ("work, persistent, -j 1000 --sync 1s", "-j 1000 --sync 1s", bench.bytes / 1000, 50_000.0),
        ("work, persistent, -j 8, each durable", "-j 8", bench.bytes / 50_000, 3_000.0),
        ("work, persistent, -j 100, each durable", "-j 100", bench.bytes / 10_000, 3_000.0),
    ] {
        let jobs = jobs.max(1000);
        fill(bench, jobs);
        let time = bench.median_of(
            bench.runs.min(5),
            &format!("\"$KDIR\" -q work jobs -g g$$ --persistent {options} -- {handler}"),
        );
        let rate = jobs as f64 / time.as_secs_f64();
        let row = Row::new(name, shown(time), "", rate, "a second", Target::AtLeast(least));
        bench.row(row.note(format!("{jobs} jobs of 90 bytes")));
        if options.starts_with("-j 1000") {
            let size = bench.script("du -cb ld/__share_group_state-*/*.log | tail -1").output().unwrap();
            let bytes: f64 = String::from_utf8_lossy(&size.stdout).split('\t').next().unwrap().parse().unwrap();
            let note = format!("after {} groups have done {jobs} jobs each", bench.runs.min(5));
            bench.row(
                Row::mib("work, state", bytes / f64::from(1 << 20), Target::AtMost(3.0 * bench.runs.min(5) as f64))
                    .note(note),
            );
        }
    }
}

/// Reads lines and answers all that are there with one write.
pub fn answer() {
    let mut answers = File::options().write(true).open("/dev/fd/3").unwrap();
    let (mut input, mut buffer, mut rest) = (std::io::stdin(), vec![0; 1 << 16], Vec::new());
    loop {
        let read = input.read(&mut buffer).unwrap();
        if read == 0 {
            return;
        }
        rest.extend_from_slice(&buffer[..read]);
        let mut out = Vec::new();
        let end = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in rest[..end].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let id = line.strip_prefix(b"{\"id\":").unwrap().split(|&byte| byte == b',').next().unwrap();
            out.extend_from_slice(b"ok ");
            out.extend_from_slice(id);
            out.push(b'\n');
        }
        rest.drain(..end);
        answers.write_all(&out).unwrap();
    }
}

/// A worker whose lines are read as they come.
struct Worker {
    child: Child,
    lines: Receiver<(Instant, String)>,
}

impl Worker {
    fn start(bench: &Bench) -> Self {
        // It says that it has begun, and which process it is.
        let handler = "echo $KDIR_OFFSET $$ >&2; [ $KDIR_ATTEMPT = 1 ] && exec sleep 1000; exit 0";
        let mut child = Command::new(KDIR)
            .args(["-q", "work", "jobs", "-g", "g", "-F", "--backoff", "0s..0s", "--", "sh", "-c", handler])
            .current_dir(&bench.dir)
            .env("KDIR_LOG_DIR", "ld")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stderr.take().unwrap();
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Self { child, lines }
    }
}

/// From `kill -9` of a worker and its handler to the first line of the handler that another worker starts for the record.
fn takeover(bench: &mut Bench) {
    let rounds = (bench.bytes / 5_000_000).clamp(5, 100);
    bench.run("rm -rf ld; \"$KDIR\" -q create jobs; sync");
    let mut times = Vec::new();
    let mut other = Worker::start(bench);
    for _ in 0..rounds {
        // The one that is killed is the only one that is free when the record comes.
        other.child.kill().unwrap();
        other.child.wait().unwrap();
        let mut dead = Worker::start(bench);
        std::thread::sleep(Duration::from_millis(100));
        bench.run("echo 1 | \"$KDIR\" -q produce jobs");
        let (_, line) = dead.lines.recv().unwrap();
        let (offset, pid) = line.split_once(' ').unwrap();
        other = Worker::start(bench);
        std::thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        dead.child.kill().unwrap();
        kill_process(Pid::from_raw(pid.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
        let (arrived, again) = other.lines.recv().unwrap();
        assert_eq!(offset, again.split_once(' ').unwrap().0);
        times.push(arrived - started);
        dead.child.wait().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    other.child.kill().unwrap();
    other.child.wait().unwrap();
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let note =
        format!("{rounds} workers and their handlers killed; p50 {}, longest {}", shown(at(0.5)), shown(at(1.0)));
    bench.row(Row::millis("work, takeover, p99", at(0.99), Target::AtMost(5.0)).note(note));
}
