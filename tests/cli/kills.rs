//! Producers that are killed at any moment, beside others that are not and a follower.

use crate::history::{self, Fed, Log, Producer, line};
use crate::support::{Chance, Kdir, Running, from_environment, json_lines, next, seed, until};
use kdir::format::batch;
use kdir::format::header::BatchHeader;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
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
        println!("  {} batches left half written", round.cuts());
        // Whoever was killed last may have left half a batch, for which no producer has come.
        let before = kdir.records("app");
        kdir.run(&["-q", "repair"]).code(0);
        kdir.assert_sound();
        assert_eq!(kdir.records("app"), before);
    }
}

/// A topic, and what is done to it.
struct Round<'a> {
    kdir: &'a Kdir,
    partitions: u64,
    /// The most lines that a producer is fed at a time: about what fills a segment.
    lines_max: u64,
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
        Self { kdir, partitions, lines_max: (segment_bytes / 100).min(2000), options, producer: AtomicU64::new(0) }
    }

    fn run(&self, chance: &mut Chance) {
        let mut follower = Running::start(self.kdir.process(&["consume", "app", "-F", "-o", "json"]));
        let shown = follower.lines();
        let runs = self.runs(chance);
        let log = history::log(&self.kdir.records("app"));
        history::check(&log, &runs);
        self.probe(&log, chance);
        // What the follower has shown on the way is what is there now, and it shows the rest.
        let count: usize = log.values().map(Vec::len).sum();
        let mut lines: Vec<String> = (0..count).map(|_| next(&shown)).collect();
        follower.signal(Signal::TERM);
        assert_eq!(follower.wait(), (Some(143), String::new(), String::new()));
        lines.extend(shown);
        assert_eq!(history::log(&json_lines(lines.join("\n").as_bytes())), log);
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

    fn start(&self, command: impl FnOnce(&[&str]) -> Command, chance: &mut Chance) -> Producer {
        Producer::start(command, self.producer.fetch_add(1, Ordering::Relaxed), self.partitions, chance)
    }

    /// A producer that is killed at some moment: while it starts, waits for input, writes or syncs.
    fn victim(&self, chance: &mut Chance) -> Fed {
        let signal = chance.of(&[Signal::KILL, Signal::KILL, Signal::TERM, Signal::INT]);
        let mut producer = self.start(|args| self.kdir.process(args), chance);
        for _ in 0..chance.below(12) {
            producer.feed(chance.of(&[1, 3, 30, self.lines_max]));
            chance.pause(Duration::from_millis(4));
        }
        if chance.below(4) == 0 {
            producer.process.write("a line that has only begun");
        }
        if signal == Signal::INT {
            // A shell has its background jobs ignore it, and with them the tests and what they start: until it reads.
            producer.process.write(" ");
            until("it reads its input", || producer.process.has_read_all());
        }
        chance.pause(Duration::from_millis(3));
        producer.process.signal(signal);
        let run = producer.signalled(signal);
        if signal == Signal::KILL {
            self.tear(chance);
        }
        run
    }

    /// Leaves what a writer leaves that is killed in the middle of a write: the first part of a batch at the end of the
    /// log, written with the folder locked.
    fn tear(&self, chance: &mut Chance) {
        let folder = self.kdir.path(&format!("app-{}", chance.below(self.partitions)));
        let lock = File::open(&folder).unwrap();
        lock.lock().unwrap();
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let active = folder.join(names.filter(|name| name.ends_with(".log")).max().unwrap());
        let log = fs::read(&active).unwrap();
        let (mut end, mut last) = (0, None);
        while let Ok(header) = BatchHeader::parse(&log[end..])
            && header.size <= log.len() - end
        {
            last = Some((end, header));
            end += header.size;
        }
        let Some((start, header)) = last.filter(|_| end == log.len()) else { return };
        let mut torn = log[start..].to_vec();
        batch::stamp(&mut torn, header.next_offset(), header.leader_epoch);
        torn.truncate(1 + chance.below(torn.len() as u64 - 1) as usize);
        File::options().append(true).open(&active).unwrap().write_all(&torn).unwrap();
    }

    /// A producer that goes on until the others are dead.
    fn survivor(&self, chance: &mut Chance, over: &AtomicBool) -> Fed {
        let mut producer = self.start(|args| self.kdir.process(args), chance);
        while !over.load(Ordering::Relaxed) {
            producer.feed(chance.of(&[1, 3, 30, self.lines_max]));
            chance.pause(Duration::from_millis(20));
        }
        producer.end()
    }

    /// How many tails were cut.
    fn cuts(&self) -> usize {
        let of_partition = |partition| self.kdir.entries(&format!("app-{partition}"));
        (0..self.partitions).flat_map(of_partition).filter(|name| name.starts_with("cut-")).count()
    }

    /// Readers that begin in the middle find the same.
    fn probe(&self, log: &Log, chance: &mut Chance) {
        for (partition, records) in log {
            for _ in 0..PROBES {
                let record = records[chance.below(records.len() as u64) as usize];
                let (partition, offset) = (partition.to_string(), record.offset.to_string());
                let found = self.kdir.text(&["consume", "app", "-p", &partition, "--from-offset", &offset, "-n1"]);
                assert_eq!(found, line(record.producer, record.number) + "\n", "offset {offset} of {partition}");
            }
        }
    }
}
