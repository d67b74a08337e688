//! Topics of every kind, written by the program alone, together with the records that went into them.

use crate::support::{Kdir, Running};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// 2023-11-14; the records of most topics are a second apart from here on.
pub(crate) const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;
pub(crate) const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// Many segments, each with entries in its indexes.
const SMALL_SEGMENTS: &str = "segment.bytes=16384";
const SMALL_BATCHES: [&str; 4] = ["-i", "json", "--batch-size", "1KiB"];

/// The topic with empty batches in it.
pub(crate) const REPAIRED: &str = "repaired";

/// A topic, and what went in.
pub(crate) struct History {
    pub(crate) topic: &'static str,
    pub(crate) partitions: u32,
    pub(crate) codec: &'static str,
    /// Every record in the order in which it was stored, as `consume -o json` would print it; those that are deleted by
    /// now are among them.
    pub(crate) records: Vec<Value>,
}

/// A record as an envelope.
fn record(number: i64, timestamp: i64) -> Value {
    // Few digits repeat, so that compression leaves enough for several segments.
    let noise = number.wrapping_mul(6_364_136_223_846_793_005);
    let value = format!("{number}:{noise:x}:{:x}", noise.wrapping_mul(noise));
    json!({"timestamp": timestamp, "key": format!("key-{}", number % 50), "value": value, "headers": []})
}

/// That many records, a second apart.
pub(crate) fn records(numbers: std::ops::Range<i64>) -> Vec<Value> {
    numbers.map(|number| record(number, FIRST_TIMESTAMP + number * 1000)).collect()
}

pub(crate) fn lines(records: &[Value]) -> String {
    records.iter().fold(String::new(), |mut lines, record| {
        writeln!(lines, "{record}").unwrap();
        lines
    })
}

/// The key or the value of an envelope.
pub(crate) fn bytes(record: &Value, name: &str) -> Option<Vec<u8>> {
    match &record[format!("{name}_b64")] {
        Value::String(base64) => Some(STANDARD.decode(base64).unwrap()),
        _ => record[name].as_str().map(|text| text.as_bytes().to_vec()),
    }
}

/// Creates a topic without retention.
fn create(kdir: &Kdir, topic: &str, options: &[&str]) {
    // Small segments are taken with a warning.
    kdir.run(&[&["create", topic, "-c", "retention.ms=-1"], options].concat()).code(0).stdout("");
}

/// What must have come of records that were stored in a topic: with topic, partition, offset and type of timestamp.
///
/// Where a key went, and when a record was appended, is the program's to say.
fn history(kdir: &Kdir, topic: &'static str, codec: &'static str, stored: Vec<Value>) -> History {
    let partitions = kdir.entries("").iter().filter(|name| partition_of(name, topic).is_some()).count();
    let said = kdir.json(&["consume", topic, "-o", "json", "--order", "partition"]);
    let said: BTreeMap<&str, &Value> =
        said.iter().filter_map(|record| Some((record["value"].as_str()?, record))).collect();
    let mut next = vec![0; partitions];
    let mut records = stored;
    for record in &mut records {
        let said = record["value"].as_str().and_then(|value| said.get(value));
        let partition = said.filter(|_| partitions > 1).map_or(0, |said| said["partition"].as_u64().unwrap());
        let offset = &mut next[usize::try_from(partition).unwrap()];
        let kind = if topic == "stamped" { "LogAppendTime" } else { "CreateTime" };
        if topic == "stamped" {
            record["timestamp"] = said.unwrap()["timestamp"].clone();
        }
        record["topic"] = json!(topic);
        record["partition"] = json!(partition);
        record["offset"] = json!(*offset);
        record["timestamp_type"] = json!(kind);
        *offset += 1;
    }
    History { topic, partitions: partitions.try_into().unwrap(), codec, records }
}

/// The partition number of a folder of that topic.
fn partition_of(folder: &str, topic: &str) -> Option<u32> {
    folder.strip_prefix(topic)?.strip_prefix('-')?.parse().ok()
}

/// The files of a topic's partition folders with that suffix, by partition and base offset.
pub(crate) fn files(kdir: &Kdir, topic: &str, suffix: &str) -> Vec<PathBuf> {
    let folders = kdir.entries("").into_iter().filter(|name| partition_of(name, topic).is_some());
    let paths = folders.flat_map(|folder| {
        let names = kdir.entries(&folder).into_iter().filter(|name| name.ends_with(suffix));
        names.map(|name| kdir.path(&folder).join(name)).collect::<Vec<_>>()
    });
    paths.collect()
}

/// Every kind of topic, each made anew in that log dir.
pub(crate) fn write_all(kdir: &Kdir) -> Vec<History> {
    let mut histories: Vec<History> = CODECS.iter().map(|codec| of_codec(kdir, codec)).collect();
    histories.extend([
        unusual(kdir),
        out_of_order(kdir),
        keyed(kdir),
        stamped(kdir),
        large(kdir),
        retained_by_size(kdir),
        retained_by_time(kdir),
        records_deleted(kdir),
        killed(kdir),
        one_by_one(kdir),
        repaired(kdir),
    ]);
    histories
}

fn of_codec(kdir: &Kdir, codec: &'static str) -> History {
    create(kdir, codec, &["-c", SMALL_SEGMENTS]);
    let stored = records(0..1500);
    kdir.produce(codec, &[&SMALL_BATCHES[..], &["-z", codec]].concat(), lines(&stored));
    assert!(files(kdir, codec, ".log").len() > 2, "several segments");
    history(kdir, codec, codec, stored)
}

/// Null, empty and binary keys and values, headers, and no timestamp.
fn unusual(kdir: &Kdir) -> History {
    create(kdir, "unusual", &[]);
    let mut stored = Vec::new();
    for part in [json!(null), json!(""), json!("text"), json!("ключ")] {
        for header in
            [json!([]), json!([{"key": "h", "value": null}, {"key": "h", "value": ""}, {"key": "", "value": "é"}])]
        {
            stored.push(json!({"key": part, "value": format!("unusual-{}", stored.len()), "headers": header}));
            stored.push(json!({"key": format!("unusual-{}", stored.len()), "value": part, "headers": header}));
        }
    }
    stored.push(json!({"key_b64": "/w==", "value_b64": "AP8=", "headers": [{"key": "b", "value_b64": "gP8="}]}));
    for (number, record) in (0..).zip(&mut stored) {
        record["timestamp"] = json!(if number == 3 { -1 } else { FIRST_TIMESTAMP + number });
    }
    kdir.produce("unusual", &["-i", "json"], lines(&stored));
    history(kdir, "unusual", "none", stored)
}

fn out_of_order(kdir: &Kdir) -> History {
    create(kdir, "out-of-order", &["-c", SMALL_SEGMENTS]);
    let stored: Vec<Value> =
        (0..1000).map(|number| record(number, FIRST_TIMESTAMP + number * 7919 % 1000 * 1000)).collect();
    kdir.produce("out-of-order", &SMALL_BATCHES, lines(&stored));
    history(kdir, "out-of-order", "none", stored)
}

/// Keys over three partitions.
fn keyed(kdir: &Kdir) -> History {
    create(kdir, "keyed", &["-P", "3", "-c", SMALL_SEGMENTS]);
    let stored = records(0..1500);
    kdir.produce("keyed", &[&SMALL_BATCHES[..], &["-z", "lz4"]].concat(), lines(&stored));
    history(kdir, "keyed", "lz4", stored)
}

/// A topic whose records have the time at which they were appended.
fn stamped(kdir: &Kdir) -> History {
    create(kdir, "stamped", &["-c", SMALL_SEGMENTS, "-c", "message.timestamp.type=LogAppendTime"]);
    let stored = records(0..800);
    for part in stored.chunks(200) {
        kdir.produce("stamped", &[&SMALL_BATCHES[..], &["-z", "zstd"]].concat(), lines(part));
    }
    history(kdir, "stamped", "zstd", stored)
}

/// The smallest segments that Kafka 4 allows, and batches of the usual size.
fn large(kdir: &Kdir) -> History {
    create(kdir, "large", &["-c", "segment.bytes=1048576"]);
    let mut stored = records(0..2500);
    for record in &mut stored {
        let value = format!("{}:{}", record["value"].as_str().unwrap(), "x".repeat(1000));
        record["value"] = json!(value);
    }
    kdir.produce("large", &["-i", "json"], lines(&stored));
    assert!(files(kdir, "large", ".log").len() > 2, "several segments");
    history(kdir, "large", "none", stored)
}

fn retained_by_size(kdir: &Kdir) -> History {
    create(kdir, "by-size", &["-c", SMALL_SEGMENTS]);
    let stored = records(0..1500);
    kdir.produce("by-size", &SMALL_BATCHES, lines(&stored));
    kdir.run(&["-q", "retention", "by-size", "--retention-bytes", "40KiB"]).code(0);
    assert_ne!(files(kdir, "by-size", ".log"), [kdir.segment("by-size-0", 0, "log")], "the first segment has gone");
    history(kdir, "by-size", "none", stored)
}

fn retained_by_time(kdir: &Kdir) -> History {
    create(kdir, "by-time", &["-c", SMALL_SEGMENTS]);
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let mut stored = records(0..700);
    stored.extend((700..1000).map(|number| record(number, now + number)));
    kdir.produce("by-time", &[&SMALL_BATCHES[..], &["-z", "gzip"]].concat(), lines(&stored));
    kdir.run(&["-q", "retention", "by-time", "--retention", "1d"]).code(0);
    assert!(!kdir.segment("by-time-0", 0, "log").exists(), "the first segment has gone");
    history(kdir, "by-time", "gzip", stored)
}

/// The log start offset is past the first segments, which have gone, and inside the next.
fn records_deleted(kdir: &Kdir) -> History {
    create(kdir, "deleted", &["-c", SMALL_SEGMENTS]);
    let stored = records(0..1500);
    kdir.produce("deleted", &SMALL_BATCHES, lines(&stored));
    kdir.run(&["-q", "delete-records", "--yes", "deleted", "--before-offset", "0:700"]).code(0);
    kdir.run(&["-q", "retention", "deleted"]).code(0);
    let first = files(kdir, "deleted", ".log").remove(0);
    let [none_before, inside] = [0, 700].map(|offset| kdir.segment("deleted-0", offset, "log"));
    assert!(first > none_before && first < inside, "{first:?} begins below the log start offset");
    history(kdir, "deleted", "none", stored)
}

/// A producer is killed as it writes, leaves half a batch, and another goes on.
fn killed(kdir: &Kdir) -> History {
    create(kdir, "killed", &["-c", SMALL_SEGMENTS]);
    let mut first = records(0..3000);
    let mut producer = Running::start(kdir.process(&[&["produce", "killed"], &SMALL_BATCHES[..]].concat()));
    producer.write(lines(&first));
    producer.signal(Signal::KILL);
    assert_eq!(producer.wait().0, Some(137));
    let latest = kdir.json(&["offsets", "killed", "--at", "latest", "-o", "json"]).remove(0);
    let stored_count = usize::try_from(latest["offset"].as_u64().unwrap()).unwrap();
    assert!(stored_count > 0, "it was killed too early");
    first.truncate(stored_count);

    let active = files(kdir, "killed", ".log").pop().unwrap();
    let mut log = fs::read(&active).unwrap();
    let torn = fs::read(kdir.segment("killed-0", 0, "log")).unwrap()[..100].to_vec();
    log.extend(torn);
    fs::write(&active, log).unwrap();

    let second = records(3000..3500);
    // It tells what it has cut off.
    kdir.feed(&[&["produce", "killed"], &SMALL_BATCHES[..]].concat(), lines(&second)).code(0).stdout("");
    assert!(kdir.entries("killed-0").iter().any(|name| name.starts_with("cut-")), "the half batch is kept");
    history(kdir, "killed", "none", [first, second].concat())
}

/// A disk has lied in three segments, and a repair has stepped over what was lost: empty batches have its offsets.
fn repaired(kdir: &Kdir) -> History {
    create(kdir, REPAIRED, &["-c", SMALL_SEGMENTS]);
    let stored = records(0..1500);
    kdir.produce(REPAIRED, &SMALL_BATCHES, lines(&stored));
    for (log, position) in files(kdir, REPAIRED, ".log").iter().zip([100, 5000, 15_000]) {
        crate::support::flip(log, position);
    }
    kdir.run(&["-q", "repair", REPAIRED, "--accept-loss"]).code(0);
    kdir.run(&["-q", "verify", REPAIRED]).code(0).stdout("").stderr("");
    let shown = kdir.json(&["consume", REPAIRED, "-o", "json"]);
    let shown: Vec<i64> = shown.iter().map(|record| record["offset"].as_i64().unwrap()).collect();
    let mut history = history(kdir, REPAIRED, "none", stored);
    history.records.retain(|record| shown.contains(&record["offset"].as_i64().unwrap()));
    assert!((1400..1500).contains(&history.records.len()), "{} records are left", history.records.len());
    history
}

/// 200 processes with a record each.
fn one_by_one(kdir: &Kdir) -> History {
    create(kdir, "one-by-one", &["-c", SMALL_SEGMENTS]);
    let stored = records(0..200);
    for record in &stored {
        // What a sync costs, it costs each time.
        let options = ["-i", "json", "-z", "snappy", "--sync", "never"];
        kdir.produce("one-by-one", &options, lines(std::slice::from_ref(record)));
    }
    history(kdir, "one-by-one", "snappy", stored)
}
