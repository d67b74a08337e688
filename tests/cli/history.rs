//! Producers that are fed numbered lines, and what they acknowledged held against what is in the log.
//!
//! Every line says whose it is and which number it has, so that a record tells where it belongs: the records of one
//! producer in one partition are its lines in order, each `step` behind the one before, where `step` is the number of
//! partitions that the producer spreads its lines over.

use crate::support::{Chance, Running};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::process::Command;
use std::sync::mpsc::Receiver;

/// What a reader has shown, by partition, in its order.
pub(crate) type Log = BTreeMap<i64, Vec<Record>>;

/// A record, and the line that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) producer: u64,
    pub(crate) number: u64,
}

/// A line of a producer. What follows the two numbers differs in length and content from line to line.
pub(crate) fn line(producer: u64, number: u64) -> String {
    let mut chance = Chance::new(producer << 32 | number);
    let (word, times) = (chance.below(u64::MAX), chance.of(&[0, 1, 1, 2, 5, 10, 20]));
    format!("{producer}:{number}:{}", format!("{word:x}").repeat(times))
}

/// Lines of a producer, each with its end.
pub(crate) fn lines(producer: u64, numbers: std::ops::Range<u64>) -> String {
    numbers.map(|number| line(producer, number) + "\n").collect()
}

/// Takes an envelope.
pub(crate) fn show(log: &mut Log, envelope: &Value) {
    let number = |name: &str| envelope[name].as_i64().unwrap();
    let value = envelope["value"].as_str().unwrap();
    let mut parts = value.split(':').map(|part| part.parse().unwrap_or(u64::MAX));
    let (producer, line_number) = (parts.next().unwrap(), parts.next().unwrap_or(u64::MAX));
    assert_eq!(value, line(producer, line_number), "nobody was fed this: {envelope}");
    let record = Record { offset: number("offset"), producer, number: line_number };
    log.entry(number("partition")).or_default().push(record);
}

/// Takes all of them.
pub(crate) fn log(envelopes: &[Value]) -> Log {
    let mut log = Log::new();
    envelopes.iter().for_each(|envelope| show(&mut log, envelope));
    log
}

/// What a producer's run has come to.
#[derive(Debug)]
pub(crate) struct Fed {
    /// Its number among all producers of the topic.
    pub(crate) producer: u64,
    /// How many complete lines it was fed.
    pub(crate) lines: u64,
    /// How many partitions they are spread over.
    step: u64,
    /// The offsets that it acknowledged, by partition, in that order.
    acknowledged: BTreeMap<i64, Vec<i64>>,
    /// Whether it said at its end what it had done.
    summarized: bool,
    /// Whether it ended in order, with everything that it had stored acknowledged.
    in_order: bool,
}

impl Fed {
    /// A producer that was fed that many lines and has not said anything.
    pub(crate) fn new(producer: u64, lines: u64, step: u64) -> Self {
        Self { producer, lines, step, acknowledged: BTreeMap::new(), summarized: false, in_order: false }
    }

    fn acknowledged_count(&self) -> u64 {
        self.acknowledged.values().map(|offsets| offsets.len() as u64).sum()
    }

    /// Takes what the producer has said on stdout. Where there is a summary, it says the same as the lines before.
    pub(crate) fn listen(&mut self, stdout: &[Value]) {
        for line in stdout {
            assert!(!self.summarized, "the summary comes last: {stdout:?}");
            if line["event"] == "summary" {
                let told: BTreeMap<i64, u64> = (line["partitions"].as_array().unwrap().iter())
                    .map(|it| (it["partition"].as_i64().unwrap(), it["records"].as_u64().unwrap()))
                    .collect();
                let counted = |(&partition, offsets): (&i64, &Vec<i64>)| (partition, offsets.len() as u64);
                assert_eq!(told, self.acknowledged.iter().map(counted).collect(), "{stdout:?}");
                (self.summarized, self.in_order) = (true, true);
                continue;
            }
            assert_eq!(line["event"], "durable", "{line}");
            let number = |name: &str| line[name].as_i64().unwrap();
            let offsets = self.acknowledged.entry(number("partition")).or_default();
            offsets.extend(number("base_offset")..=number("last_offset"));
            assert!(offsets.is_sorted_by(|one, next| one < next), "{stdout:?}");
        }
    }
}

/// A producer that runs.
pub(crate) struct Producer {
    pub(crate) process: Running,
    stdout: Receiver<String>,
    pub(crate) run: Fed,
}

impl Producer {
    /// Starts one on the topic `app`, which has that many partitions, with options drawn by chance. `command` makes the
    /// process from its arguments.
    pub(crate) fn start(
        command: impl FnOnce(&[&str]) -> Command,
        producer: u64,
        partitions: u64,
        chance: &mut Chance,
    ) -> Self {
        let sync = chance.of(&["always", "20ms", "1s", "end"]);
        let compression = chance.of(&["none", "none", "gzip", "snappy", "lz4", "zstd"]);
        let batch_size = chance.of(&["1", "1KiB", "128KiB"]);
        let mut args = vec!["-q", "produce", "app", "-o", "json", "--sync", sync, "-z", compression];
        args.extend(["--batch-size", batch_size]);
        let partition = chance.below(partitions).to_string();
        let step = chance.of(&[1, partitions]);
        if step == 1 {
            args.extend(["-p", &partition]);
        }
        let mut process = Running::start(command(&args));
        let stdout = process.lines();
        Self { process, stdout, run: Fed::new(producer, 0, step) }
    }

    /// Feeds it its next lines.
    pub(crate) fn feed(&mut self, count: u64) {
        let run = &mut self.run;
        // Of one that has failed, the end tells more than the pipe.
        let _ = self.process.try_write(lines(run.producer, run.lines..run.lines + count));
        run.lines += count;
    }

    /// Waits for its end after a signal.
    pub(crate) fn signalled(self, signal: Signal) -> Fed {
        let Self { process, stdout, mut run } = self;
        assert_eq!(process.wait(), (Some(128 + signal.as_raw()), String::new(), String::new()), "{run:?}");
        run.listen(&stdout.iter().map(|line| serde_json::from_str(&line).unwrap()).collect::<Vec<_>>());
        // Without a summary, SIGINT or SIGTERM came before the producer had begun.
        run.in_order |= matches!(signal, Signal::INT | Signal::TERM);
        run
    }

    /// Closes its stdin: everything is stored.
    pub(crate) fn end(self) -> Fed {
        let Self { process, stdout, mut run } = self;
        assert_eq!(process.end(), (Some(0), String::new(), String::new()), "{run:?}");
        run.listen(&stdout.iter().map(|line| serde_json::from_str(&line).unwrap()).collect::<Vec<_>>());
        assert!(run.summarized && run.acknowledged_count() == run.lines, "{run:?}");
        run
    }
}

/// A whole log holds what its producers were fed, as a prefix in each partition, once, and all that they acknowledged.
pub(crate) fn check(log: &Log, runs: &[Fed]) {
    let runs: HashMap<u64, &Fed> = runs.iter().map(|run| (run.producer, run)).collect();
    let mut seen = HashSet::new();
    let mut stored: HashMap<(u64, i64), Vec<Record>> = HashMap::new();
    for (&partition, records) in log {
        for (expected, record) in (0..).zip(records) {
            assert_eq!(record.offset, expected, "partition {partition} has a gap, or an offset twice");
            assert!(
                seen.insert((record.producer, record.number)),
                "{record:?} of partition {partition} is there twice"
            );
            stored.entry((record.producer, partition)).or_default().push(*record);
        }
    }
    for ((producer, partition), records) in &stored {
        let run = runs[producer];
        let what = format!("partition {partition}, {run:?}: {records:?}");
        assert!(records.iter().all(|record| record.number < run.lines), "more than it was fed: {what}");
        assert!(records[0].number < run.step, "the first is missing: {what}");
        let follows = |one: &Record, next: &Record| one.number + run.step == next.number;
        assert!(records.is_sorted_by(follows), "not its lines in order: {what}");
    }
    for run in runs.values() {
        for (&partition, acknowledged) in &run.acknowledged {
            let records = stored.get(&(run.producer, partition)).map_or(&[][..], |records| records);
            let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
            assert!(
                offsets.starts_with(acknowledged),
                "partition {partition} has lost something: {offsets:?}, {run:?}"
            );
        }
        if run.in_order {
            let count = stored.iter().filter(|((producer, _), _)| *producer == run.producer).map(|(_, it)| it.len());
            assert_eq!(count.sum::<usize>() as u64, run.acknowledged_count(), "not all is acknowledged: {run:?}");
        }
    }
}

/// Whose record it is, and how many of the same producer are in the partition before it.
type Place = (u64, u64);

/// Where every record is, by what was acknowledged: what readers have shown is held against it when retention has removed
/// the records themselves.
pub(crate) struct Truth<'a> {
    runs: HashMap<u64, &'a Fed>,
    /// By partition and offset.
    places: BTreeMap<i64, Vec<Place>>,
    /// The number of the first line of a producer in a partition, as far as it was seen.
    firsts: HashMap<(u64, i64), u64>,
}

impl<'a> Truth<'a> {
    /// Of producers that have all come to their end.
    pub(crate) fn new(runs: &'a [Fed]) -> Self {
        let mut acknowledged: BTreeMap<i64, Vec<(i64, Place)>> = BTreeMap::new();
        for run in runs {
            for (&partition, offsets) in &run.acknowledged {
                let places = offsets.iter().zip(0..).map(|(&offset, rank)| (offset, (run.producer, rank)));
                acknowledged.entry(partition).or_default().extend(places);
            }
        }
        let mut places = BTreeMap::new();
        for (partition, mut of_partition) in acknowledged {
            of_partition.sort_unstable();
            for (expected, (offset, _)) in (0..).zip(&of_partition) {
                assert_eq!(*offset, expected, "partition {partition}: acknowledged by nobody, or twice");
            }
            places.insert(partition, of_partition.into_iter().map(|(_, place)| place).collect());
        }
        Self { runs: runs.iter().map(|run| (run.producer, run)).collect(), places, firsts: HashMap::new() }
    }

    pub(crate) fn count(&self) -> usize {
        self.places.values().map(Vec::len).sum()
    }

    /// Every record that was shown is the one that was acknowledged for its offset.
    pub(crate) fn check(&mut self, shown: &Log) {
        for (&partition, records) in shown {
            for record in records {
                let what = format!("{record:?} of partition {partition}");
                let (producer, rank) = self.places[&partition][record.offset as usize];
                assert_eq!(record.producer, producer, "{what} is another producer's");
                let first = record.number.checked_sub(rank * self.runs[&producer].step);
                let first = first.filter(|first| *first < self.runs[&producer].step);
                let first = first.unwrap_or_else(|| panic!("{what} has another place"));
                assert_eq!(*self.firsts.entry((producer, partition)).or_insert(first), first, "{what} is another line");
            }
        }
        let lines: HashSet<(u64, u64)> = self.firsts.iter().map(|((producer, _), first)| (*producer, *first)).collect();
        assert_eq!(lines.len(), self.firsts.len(), "the same lines are in two partitions: {:?}", self.firsts);
    }
}
