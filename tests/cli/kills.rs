//! Producers that are killed at any moment, beside others that are not and a follower.

use crate::history::{self, Fed, Log};
use crate::support::{Chance, Kdir, Running, from_environment, next, seed, until};
use rustix::process::Signal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How many are killed on one topic before it is looked at, and how many at a time.
const ROUND: u64 = 48;
const AT_A_TIME: u64 = 3;
/// How many times a log is read from some offset in the middle.
const PROBES: u64 = 4;

#[test]
fn a_killed_producer_loses_nothing_that_it_acknowledged() {
    kill_producers(300);
}

#[test]
#[ignore = "takes as long as KDIR_KILLS makes it: some twelve a second, 5000 by default"]
fn a_killed_producer_loses_nothing_that_it_acknowledged_many_times_over() {
    kill_producers(from_environment("KDIR_KILLS", || 5000));
}

#[expect(clippy::print_stdout, reason = "a failure is looked into with the same seed")]
fn kill_producers(count: u64) {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    let mut chance = Chance::new(seed);
    for number in 0..count.div_ceil(ROUND) {
        let kdir = Kdir::new();
        let round = Round::new(&kdir, &mut chance);
        println!("round {number}: {:?}", round.options);
        round.run(&mut chance);
        kdir.assert_sound();
    }
}

/// A topic, and what is done to it.
struct Round<'a> {
    kdir: &'a Kdir,
    partitions: u64,
    options: Vec<String>,
    /// The number of the next producer.
    producer: AtomicU64,
}

impl<'a> Round<'a> {
    fn new(kdir: &'a Kdir, chance: &mut Chance) -> Self {
        let partitions = 1 + chance.below(3);
        let segment_bytes = chance.of(&[4 << 10, 16 << 10, 64 << 10, 1 << 20]);
        let index_interval = chance.of(&[0, 100, 4096]);
        let options = vec![
            format!("--partitions={partitions}"),
            format!("--config=segment.bytes={segment_bytes}"),
            format!("--config=index.interval.bytes={index_interval}"),
        ];
        kdir.create("app", &options.iter().map(String::as_str).collect::<Vec<_>>());
        Self { kdir, partitions, options, producer: AtomicU64::new(0) }
    }

    fn run(&self, chance: &mut Chance) {
        let mut follower = Running::start(self.kdir.process(&["consume", "app", "-F", "-o", "json"]));
        let shown = follower.lines();
        let runs = self.runs(chance);
        let log = history::log(self.kdir.records("app"));
        history::check(&log, &runs);
        self.probe(&log, chance);
        // What the follower has shown on the way is what is there now, and it shows the rest.
        let count: usize = log.values().map(Vec::len).sum();
        let mut lines: Vec<String> = (0..count).map(|_| next(&shown)).collect();
        follower.signal(Signal::TERM);
        assert_eq!(follower.wait(), (Some(143), String::new(), String::new()));
        lines.extend(shown);
        assert_eq!(history::log(lines.iter().map(|line| serde_json::from_str(line).unwrap())), log);
    }

    /// Kills some producers while another one is left alone.
    fn runs(&self, chance: &mut Chance) -> Vec<Fed> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut of_survivor = chance.split();
            let over = &over;
            let survivor = scope.spawn(move || self.survivor(&mut of_survivor, over));
            let killers: Vec<_> = (0..AT_A_TIME)
                .map(|_| {
                    let mut chance = chance.split();
                    let times = ROUND / AT_A_TIME;
                    scope.spawn(move || (0..times).map(|_| self.victim(&mut chance)).collect::<Vec<Fed>>())
                })
                .collect();
            let killed: Vec<_> = killers.into_iter().map(|killer| killer.join()).collect();
            over.store(true, Ordering::Relaxed);
            let mut runs: Vec<Fed> = killed.into_iter().flat_map(|runs| runs.unwrap()).collect();
            runs.push(survivor.join().unwrap());
            runs
        })
    }

    /// A producer with options drawn by chance.
    fn start(&self, chance: &mut Chance) -> (Running, Fed) {
        let producer = self.producer.fetch_add(1, Ordering::Relaxed);
        let sync = chance.of(&["always", "20ms", "1s", "end"]);
        let compression = chance.of(&["none", "none", "gzip", "snappy", "lz4", "zstd"]);
        let batch_size = chance.of(&["1", "1KiB", "128KiB"]);
        let mut args = vec!["-q", "produce", "app", "-o", "json", "--sync", sync, "-z", compression];
        args.extend(["--batch-size", batch_size]);
        let partition = chance.below(self.partitions).to_string();
        let step = chance.of(&[1, self.partitions]);
        if step == 1 {
            args.extend(["-p", &partition]);
        }
        let run = Fed { producer, lines: 0, step, ended_in_order: false, acknowledged: Default::default() };
        (Running::start(self.kdir.process(&args)), run)
    }

    fn feed(process: &mut Running, run: &mut Fed, count: u64) {
        process.write(history::lines(run.producer, run.lines, count));
        run.lines += count;
    }

    /// A producer that is killed at some moment: while it starts, waits for input, writes or syncs.
    fn victim(&self, chance: &mut Chance) -> Fed {
        let signal = chance.of(&[Signal::KILL, Signal::KILL, Signal::TERM, Signal::INT]);
        let (mut process, mut run) = self.start(chance);
        for _ in 0..chance.below(12) {
            let count = chance.of(&[1, 3, 30, 300, 1000]);
            Self::feed(&mut process, &mut run, count);
            chance.pause(Duration::from_millis(4));
        }
        if chance.below(4) == 0 {
            process.write(&history::line(run.producer, run.lines)[..3]);
        }
        if signal == Signal::INT {
            // A shell has its background jobs ignore it, and with them the tests and what they start: until it reads.
            process.write(" ");
            until("it reads its input", || process.has_read_all());
        }
        chance.pause(Duration::from_millis(3));
        process.signal(signal);
        let (code, stdout, stderr) = process.wait();
        assert_eq!((code, stderr.as_str()), (Some(128 + signal.as_raw()), ""), "{run:?}");
        let (acknowledged, summary) = history::acknowledged(&stdout);
        run.acknowledged = acknowledged;
        // Without a summary, the signal came before the producer had begun.
        run.ended_in_order = signal != Signal::KILL;
        assert!(summary.is_some() || run.acknowledged.is_empty() || signal == Signal::KILL, "{stdout}");
        run
    }

    /// A producer that goes on until the others are dead.
    fn survivor(&self, chance: &mut Chance, over: &AtomicBool) -> Fed {
        let (mut process, mut run) = self.start(chance);
        let stdout = process.lines();
        while !over.load(Ordering::Relaxed) {
            let count = chance.of(&[1, 3, 30, 300]);
            Self::feed(&mut process, &mut run, count);
            chance.pause(Duration::from_millis(20));
        }
        assert_eq!(process.end(), (Some(0), String::new(), String::new()), "{run:?}");
        let (acknowledged, summary) = history::acknowledged(&stdout.iter().map(|line| line + "\n").collect::<String>());
        run.acknowledged = acknowledged;
        run.ended_in_order = true;
        assert!(summary.is_some());
        assert_eq!(run.acknowledged_count(), run.lines, "{run:?}");
        run
    }

    /// Readers that begin in the middle find the same.
    fn probe(&self, log: &Log, chance: &mut Chance) {
        for (partition, records) in log {
            for _ in 0..PROBES {
                let (offset, value) = &records[chance.below(records.len() as u64) as usize];
                let (partition, offset) = (partition.to_string(), offset.to_string());
                let found = self.kdir.text(&["consume", "app", "-p", &partition, "--from-offset", &offset, "-n1"]);
                assert_eq!(found, format!("{value}\n"), "offset {offset} of partition {partition}");
            }
        }
    }
}
