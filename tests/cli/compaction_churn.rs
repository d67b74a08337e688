//! Producers, readers, retention and compaction of one topic at once, each a process of its own.

use crate::support::{Kdir, Running};
use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PRODUCERS: usize = 8;
const READERS: usize = 4;
const KEYS: u64 = 40;

fn program(kdir: &Kdir, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdir"));
    command.args(args).env("KDIR_LOG_DIR", kdir.log_dir()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Writes rising numbers to keys of its own until it is told to stop. Returns the last of each key.
fn produce(kdir: &Kdir, producer: usize, is_over: &AtomicBool) -> BTreeMap<String, u64> {
    let mut last = BTreeMap::new();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        let mut run = program(kdir, &["-q", "produce", "t", "-K", "\\t"]).stdin(Stdio::piped()).spawn().unwrap();
        let mut input = run.stdin.take().unwrap();
        for _ in 0..2_000 {
            number += 1;
            let key = format!("p{producer}k{}", number % KEYS);
            writeln!(input, "{key}\t{number}").unwrap();
            last.insert(key, number);
        }
        drop(input);
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    last
}

/// Reads all of the topic again and again: of each key the numbers rise.
fn read(kdir: &Kdir, is_over: &AtomicBool) -> u64 {
    let mut passes = 0;
    while !is_over.load(Ordering::Relaxed) {
        let output = program(kdir, &["-q", "consume", "t", "-f", "%k %s\\n"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let text = String::from_utf8(output.stdout).unwrap();
        for line in text.lines() {
            let (key, number) = line.split_once(' ').unwrap();
            let number = number.parse().unwrap();
            assert!(last.insert(key, number).is_none_or(|before| before < number), "{line}");
        }
        passes += 1;
    }
    passes
}

/// Runs a command again and again.
fn repeat(kdir: &Kdir, args: &[&str], is_over: &AtomicBool) -> u64 {
    let mut times = 0;
    while !is_over.load(Ordering::Relaxed) {
        let output = program(kdir, args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        times += 1;
        thread::sleep(Duration::from_millis(20));
    }
    times
}

fn churn(duration: Duration) {
    let settings = ["-c", "cleanup.policy=compact,delete", "-c", "segment.bytes=200000", "-c", "retention.ms=-1"];
    let kdir = &Kdir::with_topic("t", &settings);
    let (is_over, started) = (&AtomicBool::new(false), Instant::now());
    let follower = Running::start(program(kdir, &["-q", "consume", "t", "-F", "-f", "%o\\n"]));
    let (expected, reads, compactions) = thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS).map(|it| scope.spawn(move || produce(kdir, it, is_over))).collect();
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(move || read(kdir, is_over))).collect();
        let retention = scope.spawn(move || repeat(kdir, &["-q", "retention", "t"], is_over));
        let compact = ["-q", "compact", "--force", "--roll", "t"];
        let compactions = [
            scope.spawn(move || repeat(kdir, &compact, is_over)),
            scope.spawn(move || repeat(kdir, &compact, is_over)),
        ];
        while started.elapsed() < duration {
            thread::sleep(Duration::from_millis(50));
        }
        is_over.store(true, Ordering::Relaxed);
        let expected: BTreeMap<String, u64> = producers.into_iter().flat_map(|it| it.join().unwrap()).collect();
        let reads: u64 = readers.into_iter().map(|it| it.join().unwrap()).sum();
        retention.join().unwrap();
        (expected, reads, compactions.into_iter().map(|it| it.join().unwrap()).sum::<u64>())
    });
    drop(follower);
    let output = program(kdir, &["-q", "consume", "t", "--latest-by-key", "-f", "%k %s\\n"]).output().unwrap();
    let found: BTreeMap<String, u64> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(' ').map(|(key, number)| (key.to_owned(), number.parse().unwrap())))
        .collect();
    assert_eq!(found, expected);
    kdir.run(&["compact", "--force", "--roll", "t"]).code(0);
    assert_eq!(kdir.values("t").lines().count(), expected.len());
    kdir.run(&["verify", "t"]).code(0);
    println!("{reads} reads, {compactions} compactions, {} keys", expected.len());
    assert!(reads > 4 && compactions > 4, "{reads} reads, {compactions} compactions");
}

#[test]
fn compaction_beside_everything_else_keeps_the_newest_values() {
    churn(Duration::from_secs(4));
}

#[test]
#[ignore = "takes two minutes"]
fn compaction_beside_everything_else_keeps_the_newest_values_for_two_minutes() {
    churn(Duration::from_secs(120));
}
