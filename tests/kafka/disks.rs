//! A broker's own disk, stopped in order and then changed in one place: what a broker does on it, and that `verify` says so.
//!
//! Changes that keep no broker from starting, or that only set a partition aside, are made together on one disk;
//! `KDIR_KAFKA_DISKS=each` makes a disk for each of them, and more.

use crate::broker::{Broker, Kafka};
use crate::disk_changes::{DISKS, Disk, MORE_DISKS, Outcome};
use crate::support::{Kdir, until};
use crate::untouched::{copy_folder, verified};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;

crate::on_every_kafka! { a_broker_does_on_each_changed_disk_what_verify_says, }

/// With a hundred records each, and named after what is done to them; one more, `overflow`, has one record.
const TOPICS: [&str; 8] = ["plain", "other", "no-id", "unknown-id", "another-id", "files", "kdir-files", "epochs"];

/// Stands for a disk that is changed over and over, each time from what the broker left.
struct Bench {
    kdir: Kdir,
    broker: Broker,
    /// A copy of what the broker left.
    kept: Kdir,
    /// What it served.
    records: Vec<Value>,
}

impl Bench {
    fn new(kafka: Kafka) -> Self {
        let (kdir, kept) = (Kdir::new(), Kdir::new());
        let mut broker = Broker::start(kafka, &kdir);
        broker.create(&TOPICS.join(","), 1, &["retention.ms=-1"]);
        broker.create("overflow", 1, &["retention.ms=-1"]);
        let mut lines = String::new();
        for number in 0..100 {
            for topic in TOPICS.into_iter().chain(["overflow"]).filter(|topic| *topic != "overflow" || number == 0) {
                let record =
                    json!({"topic": topic, "timestamp": 1_700_000_000_000_i64 + number, "value": format!("{number}")});
                writeln!(lines, "{record}").unwrap();
            }
        }
        broker.client(&["produce", "-", "acks=all", "linger.ms=100"], lines.as_bytes());
        let records = broker.records(&TOPICS, "read_uncommitted");
        assert_eq!(records.len(), 100 * TOPICS.len());
        broker.stop();
        for folder in ["log", "zookeeper"].into_iter().filter(|folder| kdir.temp().join(folder).exists()) {
            copy_folder(&kdir.temp().join(folder), &kept.temp().join(folder));
        }
        Self { kdir, broker, kept, records }
    }

    /// Makes the disk as it was.
    fn restore(&self) {
        for folder in ["log", "zookeeper"] {
            let (from, to) = (self.kept.temp().join(folder), self.kdir.temp().join(folder));
            if from.exists() {
                fs::remove_dir_all(&to).unwrap();
                copy_folder(&from, &to);
            }
        }
    }

    /// Makes these changes on one disk, asks `verify`, and starts the broker on it. Returns what is not as expected.
    fn try_out(&mut self, disks: &[&Disk]) -> Vec<String> {
        self.restore();
        disks.iter().for_each(|disk| (disk.change)(&self.kdir));
        let (findings, code) = verified(&self.kdir);
        let expected: Vec<(&Disk, Outcome)> =
            disks.iter().map(|&disk| (disk, disk.outcome(self.broker.kafka))).collect();
        let mut wrong = judge(&findings, code, &expected);
        let (starts, stderr) = self.broker.try_start();
        for (disk, outcome) in &expected {
            let seen = self.seen(outcome, starts);
            if let Err(seen) = seen {
                wrong.push(format!("{}: the broker {seen}, and not {outcome:?}:\n{stderr}", disk.name));
            }
        }
        if starts {
            self.broker.kill();
        }
        wrong
    }

    /// Whether the broker does that.
    fn seen(&self, outcome: &Outcome, starts: bool) -> Result<(), String> {
        let (log, kdir) = (self.broker.log(), &self.kdir);
        match outcome {
            Outcome::Refuses(why) | Outcome::RefusesUnlessNewer(why) => {
                expect(!starts, "starts")?;
                expect(log.contains(why), "says something else")
            }
            _ if !starts => Err("refuses to start".to_owned()),
            Outcome::Dies(why) => {
                until("the broker has ended", || self.broker.log().contains("because all log dirs in"));
                expect(self.broker.log().contains(why), "says something else")
            }
            Outcome::Withholds(why) => expect(log.contains(why), "says something else"),
            Outcome::SetsAside(folder) => {
                let aside = |name: &String| name.starts_with(&format!("{folder}.")) && name.ends_with("-stray");
                expect(kdir.entries("").iter().any(aside), "sets nothing aside")
            }
            Outcome::SetsAllAside => {
                let aside = kdir.entries("").iter().filter(|name| name.ends_with("-stray")).count();
                expect(aside > TOPICS.len(), "sets not all aside")
            }
            Outcome::ServesAll => {
                let served = self.broker.records(&TOPICS, "read_uncommitted");
                expect(served == self.records, "serves other records")
            }
            Outcome::ServesOffsets(topic, offsets) => {
                let served = self.broker.records(&[topic], "read_uncommitted");
                let served: Vec<i64> = served.iter().map(|record| record["offset"].as_i64().unwrap()).collect();
                expect(served == *offsets, &format!("serves {served:?}"))
            }
        }
    }
}

fn expect(is_so: bool, otherwise: &str) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(otherwise.to_owned()) }
}

/// What `verify` says of a disk against what a broker does on it: it exits with 4 and names something that is wrong there if
/// the broker refuses or sets something aside, and nothing that blocks a broker if it does not.
fn judge(findings: &[Value], code: Option<i32>, expected: &[(&Disk, Outcome)]) -> Vec<String> {
    let blocks = findings.iter().filter(|finding| finding["severity"] == "blocks a broker");
    let blocks: Vec<&str> = blocks.map(|finding| finding["path"].as_str().unwrap()).collect();
    let mut wrong = Vec::new();
    let wrong_here = |finding: &Value, place: &str| {
        let severity = finding["severity"].as_str().unwrap();
        ["blocks a broker", "damaged", "lost"].contains(&severity) && finding["path"].as_str().unwrap().contains(place)
    };
    for (disk, outcome) in expected.iter().filter(|(_, outcome)| outcome.blocks() == Some(true)) {
        if !findings.iter().any(|finding| wrong_here(finding, disk.place)) {
            wrong.push(format!("{}: the broker {outcome:?}, and verify finds {findings:#?}", disk.name));
        }
    }
    let is_right = |path: &&&str| {
        expected.iter().any(|(disk, outcome)| path.contains(disk.place) && outcome.blocks() != Some(false))
    };
    let needless: Vec<&&str> = blocks.iter().filter(|path| !is_right(path)).collect();
    if !needless.is_empty() {
        wrong.push(format!("verify names what keeps a broker from nothing: {needless:#?}"));
    }
    if !blocks.is_empty() && code != Some(4) {
        wrong.push(format!("verify exits with {code:?}"));
    }
    wrong
}

fn a_broker_does_on_each_changed_disk_what_verify_says(kafka: Kafka) {
    let mut bench = Bench::new(kafka);
    let is_long = std::env::var("KDIR_KAFKA_DISKS").is_ok_and(|value| value == "each");
    let all = DISKS.iter().filter(|disk| disk.is_of(kafka));
    let (together, alone): (Vec<&Disk>, Vec<&Disk>) =
        all.partition(|disk| !is_long && disk.outcome(kafka).leaves_room());
    let (aside, served): (Vec<&Disk>, Vec<&Disk>) =
        together.into_iter().partition(|disk| matches!(disk.outcome(kafka), Outcome::SetsAside(_)));
    let mut rounds: Vec<Vec<&Disk>> = vec![Vec::new(), served, aside];
    rounds.extend(alone.into_iter().map(|disk| vec![disk]));
    if is_long {
        rounds.extend(MORE_DISKS.iter().filter(|disk| disk.is_of(kafka)).map(|disk| vec![disk]));
    }
    let mut wrong = Vec::new();
    for round in rounds {
        wrong.extend(bench.try_out(&round));
    }
    assert!(wrong.is_empty(), "{} of what was expected is not so:\n{}", wrong.len(), wrong.join("\n\n"));
}
