//! Producers, readers, retention and compaction of one topic at once, each a process of its own.

use crate::support::{Chance, Kdir, Running, seed};
use rustix::process::Signal;
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

/// The newest number of each key, as a reader finds it.
fn newest(kdir: &Kdir) -> BTreeMap<String, u64> {
    let output = program(kdir, &["-q", "consume", "t", "--latest-by-key", "-f", "%k %s\\n"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers = text.lines().filter_map(|line| line.split_once(' '));
    numbers.map(|(key, number)| (key.to_owned(), number.parse().unwrap())).collect()
}

#[expect(clippy::print_stdout, reason = "how much was done is worth to know")]
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
        let getter = scope.spawn(move || {
            // Its first record is there by then.
            thread::sleep(Duration::from_secs(1));
            repeat(kdir, &["-q", "get", "t", "p0k1"], is_over)
        });
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
        getter.join().unwrap();
        (expected, reads, compactions.into_iter().map(|it| it.join().unwrap()).sum::<u64>())
    });
    drop(follower);
    assert_eq!(newest(kdir), expected);
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

/// Kills a compaction at a random moment, again and again.
#[expect(clippy::print_stdout, reason = "a failure is looked into with the same seed")]
fn kill(times: u32) {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let mut chance = Chance::new(seed);
    let kdir = Kdir::with_topic("t", &["-c", "cleanup.policy=compact", "-c", "segment.bytes=20000"]);
    let (mut expected, mut killed) = (BTreeMap::new(), 0);
    for round in 0..times {
        let keys: Vec<u64> = (0..1000).map(|_| chance.below(300)).collect();
        let lines: String = keys.iter().map(|key| format!("k{key}\t{round}\n")).collect();
        kdir.produce("t", &["-K", "\\t"], lines);
        expected.extend(keys.iter().map(|key| (format!("k{key}"), u64::from(round))));
        let run = Running::start(program(&kdir, &["-q", "compact", "--force", "--roll", "t"]));
        chance.pause(Duration::from_millis(25));
        run.signal(Signal::KILL);
        killed += u32::from(run.wait().0 != Some(0));
        // Readers find all of it before a writer has cleared away what is left, and after.
        for is_settled in [false, true] {
            if is_settled {
                kdir.produce("t", &["-K", "\\t"], "");
            }
            assert_eq!(newest(&kdir), expected, "KDIR_SEED={seed}, round {round}");
            kdir.run(&["verify", "t"]).code(0);
        }
    }
    println!("{killed} of {times} killed");
    assert!(killed > times / 10, "{killed} of {times} were killed in time");
}

#[test]
fn a_compaction_that_is_killed_leaves_the_old_log_or_the_new() {
    kill(25);
}

#[test]
#[ignore = "takes minutes"]
fn a_compaction_that_is_killed_hundreds_of_times_leaves_the_old_log_or_the_new() {
    kill(600);
}
