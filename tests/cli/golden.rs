//! The log dir `tests/data/kafka`, which Kafka's own record classes wrote (`tests/kafka/java/WriteSegments.java`): every
//! topic reads as those classes read it back.

use crate::support::{Kdir, json_lines};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

const LOG_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");
const UNCOMMITTED: &str = ".jsonl";
const COMMITTED: &str = ".read-committed.jsonl";

fn topics() -> Vec<String> {
    let names = fs::read_dir(LOG_DIR).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut topics: Vec<String> = names.filter_map(|name| Some(name.strip_suffix("-0")?.to_owned())).collect();
    topics.sort();
    assert!(topics.len() > 100, "{} topics", topics.len());
    topics
}

fn expected(topic: &str, suffix: &str) -> Option<String> {
    fs::read_to_string(Path::new(LOG_DIR).join(format!("{topic}{suffix}"))).ok()
}

fn consume(kdir: &Kdir, topic: &str, options: &[&str]) -> String {
    // That a transaction is open is a warning.
    kdir.text(&[&["-q", "consume", topic, "-d", LOG_DIR, "-o", "json"], options].concat())
}

#[track_caller]
fn assert_same(ours: &str, theirs: &str, what: &str) {
    for (ours, theirs) in ours.lines().zip(theirs.lines()) {
        assert_eq!(ours, theirs, "{what}");
    }
    assert_eq!(ours.len(), theirs.len(), "{what}");
}

/// The lines of records at or behind an offset.
fn from_offset(lines: &str, offset: i64) -> String {
    let is_wanted = |line: &&str| json_lines(line.as_bytes())[0]["offset"].as_i64().unwrap() >= offset;
    lines.split_inclusive('\n').filter(is_wanted).collect()
}

#[test]
fn every_topic_reads_as_kafka_reads_it() {
    let kdir = Kdir::new();
    for topic in topics() {
        let theirs = expected(&topic, UNCOMMITTED).unwrap();
        assert!(!theirs.is_empty(), "{topic}");
        assert_same(&consume(&kdir, &topic, &["--order", "partition"]), &theirs, &topic);
    }
}

#[test]
fn every_topic_with_transactions_reads_as_kafka_reads_what_was_committed() {
    let kdir = Kdir::new();
    let committed = ["--isolation", "read-committed"];
    let mut count = 0;
    for topic in topics() {
        // Without transactions everything is.
        let theirs = expected(&topic, COMMITTED).inspect(|_| count += 1);
        let theirs = theirs.or_else(|| expected(&topic, UNCOMMITTED)).unwrap();
        assert_same(&consume(&kdir, &topic, &[&committed[..], &["--order", "partition"]].concat()), &theirs, &topic);
    }
    assert!(count > 5, "{count} topics with transactions");
}

#[test]
fn from_any_offset_on_the_rest_is_read() {
    let kdir = Kdir::new();
    for topic in topics() {
        // Its wrapper hides behind the offset 0 what it holds: nobody can begin inside, a broker's consumer neither.
        if topic == "v1-wrapper-at-0" {
            continue;
        }
        for (suffix, isolation) in [(UNCOMMITTED, "read-uncommitted"), (COMMITTED, "read-committed")] {
            let Some(all) = expected(&topic, suffix) else { continue };
            // Also from where nothing is committed.
            let records = json_lines(expected(&topic, UNCOMMITTED).unwrap().as_bytes());
            for offset in records.iter().step_by(1 + records.len() / 12).map(|it| it["offset"].as_i64().unwrap()) {
                let from = offset.to_string();
                let options = ["--order", "partition", "--isolation", isolation, "--from-offset", &from];
                let what = format!("{topic}, {isolation}, from {offset}");
                assert_same(&consume(&kdir, &topic, &options), &from_offset(&all, offset), &what);
            }
        }
    }
}

#[test]
fn the_first_record_at_or_after_a_time_is_found() {
    let kdir = Kdir::new();
    for topic in topics() {
        let records = json_lines(expected(&topic, UNCOMMITTED).unwrap().as_bytes());
        let timestamp = |record: &Value| record["timestamp"].as_i64().unwrap();
        for time in records.iter().step_by(1 + records.len() / 4).map(timestamp).filter(|time| *time > 0) {
            let first = records.iter().find(|record| timestamp(record) >= time).unwrap();
            let at = time.to_string();
            let rows = kdir.json(&["offsets", &topic, "-d", LOG_DIR, "--at", &at, "-o", "json"]);
            assert_eq!(rows[0]["offset"], first["offset"], "{topic} at {time}");
        }
    }
}

#[test]
fn the_ends_of_a_topic_are_those_of_its_batches() {
    let kdir = Kdir::new();
    for topic in topics() {
        let records = json_lines(expected(&topic, UNCOMMITTED).unwrap().as_bytes());
        let row = &kdir.json(&["describe", &topic, "-d", LOG_DIR, "-o", "json"])[0];
        let last = records.last().unwrap()["offset"].as_i64().unwrap();
        assert!(row["log_start_offset"].as_i64() <= records[0]["offset"].as_i64(), "{row}");
        assert!(row["log_end_offset"].as_i64() > Some(last), "{row}");
    }
}

/// A copy of a topic in the log dir of `kdir`.
fn copied(kdir: &Kdir, topic: &str) {
    let (from, to) = (Path::new(LOG_DIR).join(format!("{topic}-0")), kdir.path(&format!("{topic}-0")));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn every_topic_can_be_appended_to() {
    let kdir = Kdir::new();
    for topic in topics().iter().filter(|topic| !topic.contains("-log-append-time")) {
        copied(&kdir, topic);
        let before = consume(&kdir, topic, &["--order", "partition"]);
        kdir.produce(topic, &[], "appended\n");
        let after = kdir.text(&["consume", topic, "-o", "json", "--order", "partition"]);
        let (rest, appended) = after.trim_end().rsplit_once('\n').unwrap();
        assert_same(rest, before.trim_end(), topic);
        let (last, appended) = (json_lines(before.as_bytes()).pop().unwrap(), &json_lines(appended.as_bytes())[0]);
        assert_eq!(appended["value"], "appended");
        assert!(appended["offset"].as_i64() > last["offset"].as_i64(), "{topic}: {appended}");
    }
}
