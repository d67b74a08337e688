//! Consumer groups: what it costs to be a member, and how soon others know.

use crate::bench::{Bench, KDIR, Turns};
use crate::data;
use crate::report::{Row, Target, shown};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const GROUPS: u64 = 1000;
const PARTITIONS: u64 = 10;

pub fn rows(bench: &mut Bench) {
    members(bench);
    if bench.wants("groups, commits") {
        commits(bench);
    }
    if bench.wants("groups, takeover") {
        takeover(bench);
    }
    if bench.wants("groups, many") {
        many(bench);
    }
    bench.run("rm -rf ld lines out");
}

/// A member against one who keeps no position. Each run is a group of its own, and reads all.
fn members(bench: &mut Bench) {
    let into_cat = |options: &str| format!("\"$KDIR\" -q consume t {options} | cat >/dev/null");
    let group = "-g g$$";
    for (name, ours, theirs, limit) in [
        ("groups, into cat", into_cat(group), into_cat(""), 2.0),
        ("groups, into cat, --commit taken", into_cat("-g g$$ --commit taken"), into_cat(""), 1.05),
        (
            "groups, into a file",
            format!("\"$KDIR\" -q consume t {group} >out"),
            "\"$KDIR\" -q consume t >out; sync out".to_owned(),
            1.05,
        ),
    ] {
        if !bench.wants(name) {
            continue;
        }
        data::write_lines(&bench.dir.join("lines"), 100, bench.bytes);
        bench.run("rm -rf ld; \"$KDIR\" -q create t; \"$KDIR\" -q produce t lines; sync; cat ld/t-0/*.log >/dev/null");
        let turns: Turns = bench.in_turn(&bench.dir, bench.runs, "rm -f out; sync", &ours, &theirs);
        bench.row(Row::ratio(name, &turns, Target::AtMost(limit)).note(format!("against `{theirs}`")));
    }
}

/// A member whose lines are read as they come.
struct Member {
    child: Child,
    input: ChildStdin,
    lines: Receiver<(Instant, String)>,
}

impl Member {
    fn start(bench: &Bench, options: &[&str]) -> Self {
        let mut child = Command::new(KDIR)
            .args(["-q", "consume", "t", "-g", "g", "--ack", "--commit-every", "0s"])
            .args(options)
            .current_dir(&bench.dir)
            .env("KDIR_LOG_DIR", "ld")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let _ = sender.send((Instant::now(), line));
            }
        });
        Self { child, input, lines }
    }

    fn acknowledge(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }
}

/// Four processes, each of which commits record by record.
fn commits(bench: &mut Bench) {
    let records = (bench.bytes / 500_000).clamp(20, 2_000);
    bench.run(&format!(
        "rm -rf ld; \"$KDIR\" -q create t --partitions 4; \
         seq {} | \"$KDIR\" -q produce t --partitioner round-robin; sync",
        records * 4
    ));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut member = Member::start(bench, &["--max-in-flight", "1"]);
                while member.lines.recv().is_ok() {
                    member.acknowledge();
                }
                assert!(member.child.wait().unwrap().success());
            });
        }
    });
    let took = started.elapsed();
    // What is superseded is removed, so that the offsets tell how many there were.
    let ends = bench.script("\"$KDIR\" -q offsets __consumer_offsets --at latest -o tsv").output().unwrap();
    let commits: u64 = String::from_utf8_lossy(&ends.stdout).lines().filter_map(end_offset).sum();
    assert!(commits >= records * 4, "{commits} commits of {records} records each");
    let rate = commits as f64 / took.as_secs_f64();
    let row = Row::new("groups, commits of four", shown(took), "", rate, "a second", Target::AtLeast(1000.0));
    bench.row(row.note(format!("{commits} commits, each durable")));
}

/// The offset in a row of `kdir offsets`.
fn end_offset(row: &str) -> Option<u64> {
    row.split('\t').nth(2)?.parse().ok()
}

/// From `kill -9` of a member to the first line that another one prints of what it had.
fn takeover(bench: &mut Bench) {
    let rounds = (bench.bytes / 5_000_000).clamp(5, 200);
    bench.run("rm -rf ld; \"$KDIR\" -q create t --partitions 2; sync");
    let settle = || std::thread::sleep(Duration::from_millis(200));
    let mut members: Vec<Member> = (0..2).map(|_| Member::start(bench, &["-F"])).collect();
    let mut times = Vec::new();
    for _ in 0..rounds {
        settle();
        for partition in 0..2 {
            bench.run(&format!("echo {partition} | \"$KDIR\" -q produce t -p {partition}"));
        }
        let printed: Vec<String> = members.iter().map(|it| it.lines.recv().unwrap().1).collect();
        members[1].acknowledge();
        settle();
        let mut dead = members.remove(0);
        let started = Instant::now();
        dead.child.kill().unwrap();
        let (arrived, line) = members[0].lines.recv().unwrap();
        assert_eq!(line, printed[0]);
        times.push(arrived - started);
        dead.child.wait().unwrap();
        members[0].acknowledge();
        members.push(Member::start(bench, &["-F"]));
    }
    for mut member in members {
        member.child.kill().unwrap();
        member.child.wait().unwrap();
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let note = format!("{rounds} members killed; p50 {}, longest {}", shown(at(0.5)), shown(at(1.0)));
    bench.row(Row::millis("groups, takeover, p99", at(0.99), Target::AtMost(5.0)).note(note));
}

/// What a log dir with many groups costs who reads one, and who reads all.
fn many(bench: &mut Bench) {
    bench.run(&format!(
        "rm -rf ld; \"$KDIR\" -q create t --partitions {PARTITIONS}; seq 1000 | \
         \"$KDIR\" -q produce t --partitioner round-robin; \
         for i in $(seq {GROUPS}); do \"$KDIR\" -q groups reset g$i -t t --to latest >/dev/null; done; sync"
    ));
    let runs = bench.runs.max(3);
    let time = bench.median_of(runs, "exec \"$KDIR\" -q consume t -g g500");
    let note = format!("nothing to read; {GROUPS} groups of {PARTITIONS} partitions");
    bench.row(Row::millis("groups, many: start and end of a member", time, Target::AtMost(20.0)).note(note.clone()));
    let time = bench.median_of(runs, "exec \"$KDIR\" -q groups list >out");
    bench.row(Row::millis("groups, many: list", time, Target::AtMost(150.0)).note(note));
}
