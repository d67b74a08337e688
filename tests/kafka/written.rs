//! What brokers wrote reads here as Kafka's own consumers and tools read it: beside a broker that runs, one that was
//! stopped, and one that was killed.

use crate::broker::{Broker, Kafka};
use crate::dump_agreement::assert_dumps_agree;
use crate::filled::{PLAIN, TRANSACTIONAL, fill};
use crate::histories::files;
use crate::support::Kdir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

crate::on_every_kafka! { reads_what_a_broker_wrote, }

/// What Kafka says of all topics of a broker, for later when it is gone.
struct Said {
    uncommitted: Vec<Value>,
    committed: Vec<Value>,
    offsets: BTreeMap<&'static str, [String; 2]>,
}

fn all_topics() -> Vec<&'static str> {
    [&PLAIN[..], &TRANSACTIONAL, &["__consumer_offsets"]].concat()
}

fn ask(broker: &Broker) -> Said {
    let offsets = ["shortened", "transactions"];
    Said {
        uncommitted: broker.records(&all_topics(), "read_uncommitted"),
        committed: broker.records(&TRANSACTIONAL, "read_committed"),
        offsets: offsets.map(|topic| (topic, ["-2", "-1"].map(|time| broker.get_offsets(topic, time)))).into(),
    }
}

fn reads_what_a_broker_wrote(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = fill(kafka, &kdir);
    check_times(&kdir, &broker);
    check_console_consumer(&kdir, &broker);
    let said = ask(&broker);
    check(&kdir, &said, "beside the broker");
    // kafka-dump-log takes the unwritten part of a running broker's indexes for entries, and falls over.
    check_dumps(&kdir, kafka, &[".log", ".txnindex"]);
    nothing_is_wrong(&kdir);
    broker.stop();
    check(&kdir, &said, "after the broker was stopped");
    nothing_is_wrong(&kdir);
    check_without_transaction_indexes(&kdir, &said);
    check_dumps(&kdir, kafka, &[".log", ".index", ".timeindex", ".txnindex", ".snapshot"]);
    broker.start_again();
    broker.kill();
    check(&kdir, &said, "after the broker was killed");
    nothing_is_wrong(&kdir);
}

/// Every checksum, record, epoch and index entry of a broker is as `verify` expects it.
#[track_caller]
fn nothing_is_wrong(kdir: &Kdir) {
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
}

/// What the program prints of a topic, partition by partition.
fn consumed(kdir: &Kdir, topic: &str, options: &[&str]) -> Vec<Value> {
    // That a transaction is open is a warning.
    kdir.json(&[&["-q", "consume", topic, "-o", "json", "--order", "partition"], options].concat())
}

#[track_caller]
fn assert_same(ours: &[Value], theirs: &[Value], what: &str) {
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

fn of_topic(records: &[Value], topic: &str) -> Vec<Value> {
    records.iter().filter(|record| record["topic"] == topic).cloned().collect()
}

fn check(kdir: &Kdir, said: &Said, when: &str) {
    for topic in all_topics() {
        let theirs = of_topic(&said.uncommitted, topic);
        assert!(!theirs.is_empty(), "{topic} holds nothing {when}");
        assert_same(&consumed(kdir, topic, &[]), &theirs, &format!("{topic} {when}"));
        check_description(kdir, topic, &theirs, when);
    }
    check_committed(kdir, said, when);
    for (topic, expected) in &said.offsets {
        for (at, expected) in ["earliest", "latest"].into_iter().zip(expected) {
            let rows = kdir.json(&["offsets", topic, "--at", at, "-o", "json"]);
            let ours: String =
                rows.iter().map(|row| format!("{topic}:{}:{}\n", row["partition"], row["offset"])).collect();
            assert_eq!(&ours, expected, "{topic} {when}");
        }
    }
}

fn check_committed(kdir: &Kdir, said: &Said, when: &str) {
    for topic in TRANSACTIONAL {
        let theirs = of_topic(&said.committed, topic);
        let what = format!("{topic}, committed, {when}");
        assert!(!theirs.is_empty() && theirs.len() < of_topic(&said.uncommitted, topic).len(), "{what}");
        let committed = ["--isolation", "read-committed"];
        assert_same(&consumed(kdir, topic, &committed), &theirs, &what);
        // From any offset on it is the rest of the same.
        for partition in 0..=theirs.iter().map(|record| record["partition"].as_i64().unwrap()).max().unwrap() {
            let theirs: Vec<Value> = theirs.iter().filter(|it| it["partition"] == partition).cloned().collect();
            let description = kdir.json(&["describe", topic, "-o", "json"]);
            let end = description.iter().find(|row| row["partition"] == partition).unwrap()["log_end_offset"].as_i64();
            for offset in 0..=end.unwrap() {
                let rest = theirs.iter().position(|it| it["offset"].as_i64() >= Some(offset)).unwrap_or(theirs.len());
                let (number, from) = (partition.to_string(), offset.to_string());
                let options = [&committed[..], &["-p", &number, "--from-offset", &from]].concat();
                assert_same(&consumed(kdir, topic, &options), &theirs[rest..], &format!("{what}, from {offset}"));
            }
        }
    }
}

/// `describe` counts what `consume` reads.
fn check_description(kdir: &Kdir, topic: &str, records: &[Value], when: &str) {
    for row in kdir.json(&["describe", topic, "-o", "json"]) {
        let offsets = records.iter().filter(|it| it["partition"] == row["partition"]);
        let offsets: Vec<i64> = offsets.map(|it| it["offset"].as_i64().unwrap()).collect();
        let range = row["log_start_offset"].as_i64().unwrap()..row["log_end_offset"].as_i64().unwrap();
        assert!(offsets.iter().all(|offset| range.contains(offset)), "{row} {when}");
        let folder = format!("{topic}-{}", row["partition"]);
        let logs: Vec<String> = kdir.entries(&folder).into_iter().filter(|name| name.ends_with(".log")).collect();
        let bytes: u64 = logs.iter().map(|name| kdir.path(&folder).join(name).metadata().unwrap().len()).sum();
        assert_eq!(
            (row["segments"].as_u64().unwrap(), row["bytes"].as_u64().unwrap()),
            (logs.len() as u64, bytes),
            "{row}"
        );
        // Markers of transactions have timestamps as well, and no consumer shows them.
        if PLAIN.contains(&topic) && !offsets.is_empty() {
            let newest =
                records.iter().filter(|it| it["partition"] == row["partition"]).map(|it| it["timestamp"].as_i64());
            assert_eq!(row["newest"].as_i64(), newest.max().unwrap(), "{row} {when}");
        }
    }
}

/// Three times within, and one behind.
fn check_times(kdir: &Kdir, broker: &Broker) {
    for time in [1_700_000_000_001_i64, 1_700_000_100_000, 1_700_000_298_500, 1_800_000_000_000] {
        let time = time.to_string();
        let rows = kdir.json(&["offsets", "gzip", "--at", &time, "-o", "json"]);
        let ours: Vec<String> = rows.iter().map(|row| format!("gzip:{}:{}", row["partition"], row["offset"])).collect();
        // Where all records are older some versions say nothing, some print an empty offset, some -1.
        let theirs = broker.get_offsets("gzip", &time);
        let mut theirs: Vec<String> = theirs.lines().filter(|line| !line.ends_with([':'])).map(str::to_owned).collect();
        theirs.retain(|line| !line.ends_with(":-1"));
        let ours: Vec<String> = ours.into_iter().filter(|line| !line.ends_with(":null")).collect();
        assert_eq!(ours, theirs, "at {time}");
    }
}

fn check_console_consumer(kdir: &Kdir, broker: &Broker) {
    for (topic, ours, theirs) in [
        ("perf", "read-uncommitted", "read_uncommitted"),
        ("segmented", "read-committed", "read_committed"),
        ("open", "read-committed", "read_committed"),
    ] {
        // That a transaction is open is a warning.
        let ours = kdir.text(&["-q", "consume", topic, "--isolation", ours]);
        assert_eq!(
            broker.console_consumer(topic, ours.lines().count(), &["--isolation-level", theirs]),
            ours,
            "{topic}"
        );
    }
}

/// Every file of those kinds, taken apart by both.
fn check_dumps(kdir: &Kdir, kafka: Kafka, suffixes: &[&str]) {
    for suffix in suffixes {
        let paths: Vec<PathBuf> = all_topics().iter().flat_map(|topic| files(kdir, topic, suffix)).collect();
        assert!(assert_dumps_agree(kdir, kafka, &paths) > 0, "{suffix}");
    }
}

/// The transaction indexes save time and decide nothing.
fn check_without_transaction_indexes(kdir: &Kdir, said: &Said) {
    let mut indexes: Vec<PathBuf> = Vec::new();
    for topic in TRANSACTIONAL {
        indexes.extend(files(kdir, topic, ".txnindex"));
    }
    let entries: u64 = indexes.iter().map(|path| path.metadata().unwrap().len() / 34).sum();
    assert!(entries > 6, "the broker wrote {entries} entries");
    let set_aside = |from: &str, to: &str| {
        for path in &indexes {
            std::fs::rename(path.with_extension(from), path.with_extension(to)).unwrap();
        }
    };
    set_aside("txnindex", "aside");
    check_committed(kdir, said, "without transaction indexes");
    set_aside("aside", "txnindex");
}
