//! Many at once on one topic: producers that stay and producers that come and go, followers, retention, and whoever looks.
//!
//! In phases: all producers write for a while, then stand still until every follower has shown the last record. One
//! follower is suspended meanwhile, so that retention passes it, which it has to tell exactly.

use crate::history::{self, Fed, Log, Producer, Truth};
use crate::support::{Chance, Kdir, Running, SetOnDrop, json_lines, seed, until, without_waits};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

const PARTITIONS: u64 = 4;
/// Producers that stay, and as many at a time that come and go.
const PRODUCERS: usize = 4;
const FOLLOWERS: usize = 4;
/// How long producers write before everybody waits for the followers.
const PHASE: Duration = Duration::from_millis(400);
/// How soon after that each follower has shown the last record.
const CATCH_UP: Duration = Duration::from_secs(5);
/// What retention leaves of a partition: less than what is written in a phase.
const KEPT: &str = "64KiB";

#[test]
fn a_crowd_on_one_topic_loses_nothing_doubles_nothing_and_never_stalls() {
    crowd(Duration::from_secs(7));
}

#[test]
#[ignore = "takes two minutes; the same for some seconds is part of every run"]
fn a_crowd_on_one_topic_loses_nothing_doubles_nothing_and_never_stalls_for_two_minutes() {
    crowd(Duration::from_secs(120));
}

#[expect(clippy::print_stdout, reason = "a failure is looked into with the same seed")]
fn crowd(length: Duration) {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let mut chance = Chance::new(seed);
    let options = [&format!("-P{PARTITIONS}"), "-c", "segment.bytes=16384", "-c", "index.interval.bytes=1000"];
    let kdir = Kdir::with_topic("app", &options);
    let crowd = Crowd { kdir: &kdir, producer: AtomicU64::new(0) };
    let mut followers: Vec<Follower> = (0..FOLLOWERS).map(|_| Follower::start(&kdir)).collect();
    let mut staying: Vec<Producer> = (0..PRODUCERS).map(|_| crowd.producer(&mut chance)).collect();
    // Once without retention: followers begin at the first record.
    let mut runs = crowd.write(&mut staying, &mut chance);
    crowd.let_followers_catch_up(&mut followers, &staying, &runs);
    let over = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let over = &over;
        let set_over = SetOnDrop(over);
        let crowd = &crowd;
        let looks: [fn(&Kdir, &mut Ends); 5] = [apply_retention, describe, list, consume, verify];
        let looking = looks.map(|look| scope.spawn(move || repeat(over, |ends| look(crowd.kdir, ends))));
        let (started, mut phase) = (Instant::now(), 0);
        while started.elapsed() < length {
            let suspended = &followers[phase % FOLLOWERS].process;
            suspended.suspend();
            runs.extend(crowd.write(&mut staying, &mut chance));
            suspended.signal(Signal::CONT);
            crowd.let_followers_catch_up(&mut followers, &staying, &runs);
            phase += 1;
        }
        runs.extend(staying.into_iter().map(Producer::end));
        drop(set_over);
        looking.map(|looking| looking.join().unwrap())
    });
    let mut truth = Truth::new(&runs);
    let passed: usize = followers.into_iter().map(|follower| follower.end(&mut truth)).sum();
    let (records, processes) = (truth.count(), runs.len());
    println!("{records} records of {processes} producers; {passed} times retention passed a follower");
    println!("{looks:?} runs of retention, describe, list, consume and verify");
    assert!(passed > 0, "no follower was ever passed by retention, so none had that to tell");
    kdir.assert_sound();
}

#[test]
fn retention_that_empties_a_topic_beside_its_producers_gives_no_offset_twice() {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let mut chance = Chance::new(seed);
    let kdir = Kdir::with_topic("app", &[&format!("-P{PARTITIONS}"), "-c", "segment.bytes=4000"]);
    let crowd = Crowd { kdir: &kdir, producer: AtomicU64::new(0) };
    let mut staying: Vec<Producer> = (0..PRODUCERS).map(|_| crowd.producer(&mut chance)).collect();
    let over = AtomicBool::new(false);
    let empty = |_: &mut Ends| drop(retain(&kdir, "0"));
    let mut runs = std::thread::scope(|scope| {
        let set_over = SetOnDrop(&over);
        let emptying = [(); 2].map(|()| scope.spawn(|| repeat(&over, empty)));
        let runs: Vec<Fed> = (0..4).flat_map(|_| crowd.write(&mut staying, &mut chance)).collect();
        drop(set_over);
        assert!(emptying.map(|emptying| emptying.join().unwrap()).iter().sum::<u32>() > 0);
        runs
    });
    runs.extend(staying.into_iter().map(Producer::end));
    let mut truth = Truth::new(&runs);
    truth.check(&history::log(&kdir.records("app")));
    kdir.assert_sound();
}

/// The log end offsets by partition.
type Ends = BTreeMap<i64, i64>;

struct Crowd<'a> {
    kdir: &'a Kdir,
    /// The number of the next producer.
    producer: AtomicU64,
}

impl Crowd<'_> {
    fn producer(&self, chance: &mut Chance) -> Producer {
        let number = self.producer.fetch_add(1, Ordering::Relaxed);
        Producer::start(|args| self.kdir.process(args), number, PARTITIONS, chance)
    }

    /// One phase. Returns the runs of the producers that came and went.
    fn write(&self, staying: &mut [Producer], chance: &mut Chance) -> Vec<Fed> {
        let end = Instant::now() + PHASE;
        std::thread::scope(|scope| {
            for producer in staying {
                let mut chance = chance.split();
                scope.spawn(move || {
                    while Instant::now() < end {
                        producer.feed(chance.of(&[1, 10, 50]));
                        chance.pause(Duration::from_millis(10));
                    }
                });
            }
            let going: Vec<_> = (0..PRODUCERS)
                .map(|_| {
                    let chance = chance.split();
                    scope.spawn(move || self.come_and_go(chance, end))
                })
                .collect();
            going.into_iter().flat_map(|runs| runs.join().unwrap()).collect()
        })
    }

    /// Waits until all that was fed is stored and every follower has shown the last record.
    fn let_followers_catch_up(&self, followers: &mut [Follower], staying: &[Producer], runs: &[Fed]) {
        let fed: u64 = staying.iter().map(|producer| &producer.run).chain(runs).map(|run| run.lines).sum();
        let ends = stored(self.kdir, fed);
        followers.iter_mut().for_each(|follower| follower.catch_up(&ends));
    }

    /// Producers one after the other.
    fn come_and_go(&self, mut chance: Chance, end: Instant) -> Vec<Fed> {
        let mut runs = Vec::new();
        while Instant::now() < end {
            let mut producer = self.producer(&mut chance);
            producer.feed(chance.of(&[1, 20, 200]));
            runs.push(producer.end());
        }
        runs
    }
}

/// Waits until that many records are stored, and tells where the log ends.
fn stored(kdir: &Kdir, fed: u64) -> Ends {
    let mut ends = Ends::new();
    until("all that was fed is stored", || {
        describe(kdir, &mut ends);
        let sum = ends.values().sum::<i64>() as u64;
        assert!(sum <= fed, "{sum} records are stored and {fed} were fed");
        sum == fed
    });
    ends
}

/// Does it again and again, and tells how often.
fn repeat(over: &AtomicBool, mut work: impl FnMut(&mut Ends)) -> u32 {
    let (mut ends, mut count) = (Ends::new(), 0);
    while !over.load(Ordering::Relaxed) {
        work(&mut ends);
        count += 1;
    }
    count
}

/// Runs retention and tells what it has removed.
fn retain(kdir: &Kdir, bytes: &str) -> Vec<Value> {
    let run = kdir.run(&["-q", "retention", "-o", "json", "--retention-bytes", bytes]).code(0);
    let stderr = std::str::from_utf8(&run.get_output().stderr).unwrap();
    assert_eq!(without_waits(stderr), "");
    json_lines(&run.get_output().stdout)
}

fn apply_retention(kdir: &Kdir, _: &mut Ends) {
    let removed = retain(kdir, KEPT);
    assert!(removed.iter().all(|row| row["deleted_segments"].as_u64().is_some_and(|it| it > 0)), "{removed:?}");
    std::thread::sleep(Duration::from_millis(20));
}

/// Offsets never go back, and segments follow one another.
fn describe(kdir: &Kdir, ends: &mut Ends) {
    for row in kdir.json(&["describe", "app", "-o", "json"]) {
        let number = |name: &str| row[name].as_i64().unwrap();
        let (start, end) = (number("log_start_offset"), number("log_end_offset"));
        let known = ends.insert(number("partition"), end).unwrap_or(0);
        assert!(start <= end && known <= end, "{row}, which ended at {known} before");
    }
    let mut next = BTreeMap::new();
    for row in kdir.json(&["describe", "app", "--segments", "-o", "json"]) {
        let number = |name: &str| row[name].as_i64().unwrap();
        let expected = next.insert(number("partition"), number("next_offset")).unwrap_or(number("base_offset"));
        assert!(number("base_offset") == expected && expected <= number("next_offset"), "{row} behind {expected}");
    }
}

fn list(kdir: &Kdir, _: &mut Ends) {
    let topics = kdir.json(&["list", "-o", "json"]);
    assert!(topics.len() == 1 && topics[0]["topic"] == "app" && topics[0]["partitions"] == PARTITIONS, "{topics:?}");
}

/// A reader that begins now shows every record from the log start on, but for those that it says it missed.
fn consume(kdir: &Kdir, _: &mut Ends) {
    let run = kdir.run(&["consume", "app", "-o", "json"]).code(0);
    let shown = history::log(&json_lines(&run.get_output().stdout));
    let missed = missed(std::str::from_utf8(&run.get_output().stderr).unwrap());
    for gap in gaps(&shown, None) {
        assert!(missed.contains(&gap), "{gap:?} is not among {missed:?}");
    }
}

/// A log in use is whole up to where it ended when the check began.
fn verify(kdir: &Kdir, _: &mut Ends) {
    kdir.run(&["-q", "verify"]).code(0).stdout("").stderr("");
}

/// Partition, the first offset that is missing, and the first one behind it.
type Gap = (i64, i64, i64);

/// What is missing between the records of a reader that began at that offset, or wherever it found the log start.
fn gaps(shown: &Log, from: Option<i64>) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for (&partition, records) in shown {
        let mut next = from.unwrap_or(records[0].offset);
        for record in records {
            assert!(record.offset >= next, "{record:?} of partition {partition} comes again");
            if record.offset > next {
                gaps.push((partition, next, record.offset));
            }
            next = record.offset + 1;
        }
    }
    gaps
}

/// What a reader says it missed, in the order of [`gaps`]. Two that follow one another are one.
fn missed(stderr: &str) -> Vec<Gap> {
    let mut missed: Vec<Gap> = Vec::new();
    for line in stderr.lines() {
        let words: Vec<&str> = line.split([' ', '-']).collect();
        let number = |place: usize| words[place].parse().unwrap_or_else(|_| panic!("{stderr}"));
        let (first, last, partition, next) = (number(2), number(4), number(7), number(words.len() - 1));
        let expected = format!(
            "warning: offsets {first} to {last} of app-{partition} were removed before they were read; going on at {next}"
        );
        assert!(line == expected && last + 1 == next, "{stderr}");
        missed.push((partition, first, next));
    }
    missed.sort_unstable();
    missed.dedup_by(|next, one| {
        let follows = one.0 == next.0 && one.2 == next.1;
        if follows {
            one.2 = next.2;
        }
        follows
    });
    missed
}

struct Follower {
    process: Running,
    lines: Receiver<String>,
    shown: Log,
}

impl Follower {
    fn start(kdir: &Kdir) -> Self {
        let mut process = Running::start(kdir.process(&["consume", "app", "-F", "-o", "json"]));
        let lines = process.lines();
        Self { process, lines, shown: Log::new() }
    }

    /// Takes what it shows until the last record has been shown.
    fn catch_up(&mut self, ends: &Ends) {
        let deadline = Instant::now() + CATCH_UP;
        let next =
            |shown: &Log, partition| shown.get(partition).map_or(0, |records| records[records.len() - 1].offset + 1);
        while ends.iter().any(|(partition, end)| next(&self.shown, partition) < *end) {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => history::show(&mut self.shown, &serde_json::from_str(&line).unwrap()),
                Err(error) => {
                    let shown: Ends = ends.keys().map(|partition| (*partition, next(&self.shown, partition))).collect();
                    panic!("{error}: shown up to {shown:?} of {ends:?}");
                }
            }
        }
    }

    /// Ends it, holds what it has shown and what it said it missed against the truth, and tells how often it was passed.
    fn end(mut self, truth: &mut Truth<'_>) -> usize {
        self.process.signal(Signal::TERM);
        let (code, _, stderr) = self.process.wait();
        assert_eq!(code, Some(143), "{stderr}");
        self.lines.iter().for_each(|line| history::show(&mut self.shown, &serde_json::from_str(&line).unwrap()));
        truth.check(&self.shown);
        let missed = missed(&stderr);
        assert_eq!(gaps(&self.shown, Some(0)), missed);
        missed.len()
    }
}

#[test]
fn a_signal_ends_a_wait_for_a_lock_that_is_held_for_long() {
    let kdir = Kdir::with_topic("app", &[]);
    let folder = fs::File::open(kdir.path("app-0")).unwrap();
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
        producer.write("waits\n");
        until("the line is read", || producer.has_read_all());
        producer.signal(signal);
        let (ended, stdout, stderr) = producer.wait();
        assert_eq!((ended, &*stdout), (Some(code), ""), "{stderr}");
        assert!(stderr.contains(&format!("cannot lock {}", kdir.path("app-0").display())), "{stderr}");
    }
    drop(folder);
    assert_eq!(kdir.values("app"), "");
}
