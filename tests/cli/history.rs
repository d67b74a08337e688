//! What producers were fed and what they acknowledged, held against what is in the log.
//!
//! Every line that a producer is fed says whose it is and which number it has, so that a record tells where it belongs:
//! the records of one producer in one partition are its lines in order, each `step` behind the one before, where `step` is
//! the number of partitions that the producer spreads its lines over.

use crate::support::Chance;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// The records of a topic, by partition, in the order they were read: offsets and values.
pub(crate) type Log = BTreeMap<i64, Vec<(i64, String)>>;

/// A producer's run.
#[derive(Debug)]
pub(crate) struct Fed {
    /// Its number among all producers of the topic.
    pub(crate) producer: u64,
    /// How many complete lines it was fed.
    pub(crate) lines: u64,
    /// How many partitions they are spread over.
    pub(crate) step: u64,
    /// Whether it ended in order, with everything that it stored acknowledged.
    pub(crate) ended_in_order: bool,
    /// The offsets that it acknowledged, by partition, in that order.
    pub(crate) acknowledged: BTreeMap<i64, Vec<i64>>,
}

impl Fed {
    pub(crate) fn acknowledged_count(&self) -> u64 {
        self.acknowledged.values().map(|offsets| offsets.len() as u64).sum()
    }
}

/// A line of a producer. What follows the two numbers differs in length and content from line to line.
pub(crate) fn line(producer: u64, number: u64) -> String {
    let mut chance = Chance::new(producer << 32 | number);
    let (word, times) = (chance.below(u64::MAX), chance.of(&[0, 1, 1, 2, 5, 10, 20]));
    format!("{producer}:{number}:{}", format!("{word:x}").repeat(times))
}

/// Lines of a producer from `first` on, each with its end.
pub(crate) fn lines(producer: u64, first: u64, count: u64) -> String {
    (first..first + count).map(|number| line(producer, number) + "\n").collect()
}

/// Whose line it is, and which.
pub(crate) fn parse(value: &str) -> (u64, u64) {
    let mut parts = value.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or_else(|| panic!("{value:?}"));
    let (producer, number) = (number(), number());
    assert_eq!(value, line(producer, number), "nobody was fed this");
    (producer, number)
}

/// The offsets that a producer's stdout acknowledges, by partition. Where there is a summary, it says the same. A line
/// without its end was being written when the producer was killed.
pub(crate) fn acknowledged(stdout: &str) -> (BTreeMap<i64, Vec<i64>>, Option<Value>) {
    let whole = stdout.rfind('\n').map_or(0, |end| end + 1);
    let mut acknowledged: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    let mut summary = None;
    for line in crate::support::json_lines(&stdout.as_bytes()[..whole]) {
        assert!(summary.is_none(), "the summary comes last: {stdout}");
        if line["event"] == "summary" {
            summary = Some(line);
            continue;
        }
        assert_eq!(line["event"], "durable", "{line}");
        let number = |name: &str| line[name].as_i64().unwrap();
        let offsets = acknowledged.entry(number("partition")).or_default();
        offsets.extend(number("base_offset")..=number("last_offset"));
        assert!(offsets.is_sorted_by(|one, next| one < next), "{stdout}");
    }
    if let Some(summary) = &summary {
        let told: BTreeMap<i64, u64> = (summary["partitions"].as_array().unwrap().iter())
            .map(|it| (it["partition"].as_i64().unwrap(), it["records"].as_u64().unwrap()))
            .collect();
        let found = acknowledged.iter().map(|(&partition, offsets)| (partition, offsets.len() as u64)).collect();
        assert_eq!(told, found, "{stdout}");
    }
    (acknowledged, summary)
}

/// Partition, offset and value of an envelope.
pub(crate) fn record(envelope: &Value) -> (i64, i64, String) {
    let number = |name: &str| envelope[name].as_i64().unwrap();
    (number("partition"), number("offset"), envelope["value"].as_str().unwrap().to_owned())
}

/// Envelopes by partition.
pub(crate) fn log(envelopes: impl IntoIterator<Item = Value>) -> Log {
    let mut log = Log::new();
    for envelope in envelopes {
        let (partition, offset, value) = record(&envelope);
        log.entry(partition).or_default().push((offset, value));
    }
    log
}

/// A whole log holds what its producers were fed, as a prefix in each partition, once, and all that they acknowledged.
pub(crate) fn check(log: &Log, runs: &[Fed]) {
    let runs: HashMap<u64, &Fed> = runs.iter().map(|run| (run.producer, run)).collect();
    let mut seen = HashSet::new();
    let mut stored: HashMap<(u64, i64), Vec<(i64, u64)>> = HashMap::new();
    for (&partition, records) in log {
        for (expected, (offset, value)) in (0..).zip(records) {
            assert_eq!(*offset, expected, "partition {partition} has a gap, or an offset twice");
            let (producer, number) = parse(value);
            assert!(seen.insert((producer, number)), "line {number} of producer {producer} is there twice");
            stored.entry((producer, partition)).or_default().push((*offset, number));
        }
    }
    for ((producer, partition), records) in &stored {
        let run = runs[producer];
        let what = format!("partition {partition}, {run:?}: {records:?}");
        assert!(records.iter().all(|(_, number)| *number < run.lines), "more than it was fed: {what}");
        assert!(records[0].1 < run.step, "the first is missing: {what}");
        assert!(records.is_sorted_by(|one, next| one.1 + run.step == next.1), "not its lines in order: {what}");
    }
    for run in runs.values() {
        for (&partition, acknowledged) in &run.acknowledged {
            let records = stored.get(&(run.producer, partition)).map_or(&[][..], |records| records);
            let offsets: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
            assert!(
                offsets.starts_with(acknowledged),
                "partition {partition} has lost something: {offsets:?}, {run:?}"
            );
        }
        if run.ended_in_order {
            let count = seen.iter().filter(|(producer, _)| *producer == run.producer).count() as u64;
            assert_eq!(count, run.acknowledged_count(), "stored and not acknowledged: {run:?}");
        }
    }
}
