//! kafka-dump-log reads the records of groups that kdir writes as kdir means them, and as `kdir dump` does.

use crate::broker::Kafka;
use crate::support::Kdir;
use serde_json::Value;
use std::collections::BTreeMap;

crate::on_every_kafka! { kafka_dump_log_reads_what_kdir_has_committed_and_deleted, }

/// What a record says: what it is of, and the offset; `None` is a tombstone.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Offset { group: String, topic: String, partition: i64, offset: Option<i64> },
    Group { group: String, is_there: bool },
}

/// A key and a value as JSON, `null` for a tombstone. Both programs print the same.
fn from_json(key: &Value, value: &Value) -> Said {
    let text = |name: &str| key["data"][name].as_str().unwrap().to_owned();
    match key["type"].as_str().unwrap() {
        "1" => Said::Offset {
            group: text("group"),
            topic: text("topic"),
            partition: key["data"]["partition"].as_i64().unwrap(),
            offset: value["data"]["offset"].as_i64(),
        },
        "2" => Said::Group { group: text("group"), is_there: !value.is_null() },
        other => panic!("a record of type {other}"),
    }
}

/// A key and a value as 2.8 prints them: `offset_commit::group=g,partition=t-0` and `offset=5`.
fn from_words(key: &str, value: &str) -> Said {
    let (kind, of) = key.split_once("::group=").unwrap();
    let is_there = value != "<DELETE>";
    match kind {
        "offset_commit" => {
            let (group, partition) = of.rsplit_once(",partition=").unwrap();
            let (topic, partition) = partition.rsplit_once('-').unwrap();
            let offset = is_there.then(|| value.strip_prefix("offset=").unwrap().split(',').next().unwrap());
            Said::Offset {
                group: group.to_owned(),
                topic: topic.to_owned(),
                partition: partition.parse().unwrap(),
                offset: offset.map(|offset| offset.parse().unwrap()),
            }
        }
        "group_metadata" => Said::Group { group: of.to_owned(), is_there },
        other => panic!("{other}"),
    }
}

fn parsed(text: &str) -> Value {
    if text == "<DELETE>" { Value::Null } else { serde_json::from_str(text).unwrap() }
}

fn offset(group: &str, topic: &str, partition: i64, offset: Option<i64>) -> Said {
    Said::Offset { group: group.to_owned(), topic: topic.to_owned(), partition, offset }
}

fn kafka_dump_log_reads_what_kdir_has_committed_and_deleted(kafka: Kafka) {
    let kdir = Kdir::with_topic("orders", &["--partitions", "2"]);
    kdir.create("a.b_c-1", &[]);
    kdir.produce("orders", &["-p", "0"], "a\nb\nc\n");
    kdir.produce("orders", &["-p", "1"], "d\n");
    kdir.produce("a.b_c-1", &[], "e\nf\n");
    let run = |args: &[&str]| drop(kdir.run(&[&["-q"], args].concat()).code(0));
    // What the tool makes of characters outside of ASCII is the locale's matter.
    let group = "a b, 100%";
    run(&["consume", "orders", "-g", group]);
    run(&["groups", "reset", group, "--topic", "a.b_c-1", "--to", "1"]);
    run(&["groups", "reset", group, "--topic", "orders:0", "--shift", "-1"]);
    run(&["groups", "delete", group, "--topic", "orders:1", "--yes"]);
    run(&["groups", "delete", group, "--yes"]);
    run(&["groups", "reset", group, "--topic", "a.b_c-1", "--to", "earliest"]);
    run(&["delete", "a.b_c-1", "--yes"]);
    let expected = [
        // Where it begins, and where it ends.
        offset(group, "orders", 0, Some(0)),
        offset(group, "orders", 1, Some(0)),
        offset(group, "orders", 0, Some(3)),
        offset(group, "orders", 1, Some(1)),
        offset(group, "a.b_c-1", 0, Some(1)),
        offset(group, "orders", 0, Some(2)),
        offset(group, "orders", 1, None),
        offset(group, "a.b_c-1", 0, None),
        offset(group, "orders", 0, None),
        Said::Group { group: group.to_owned(), is_there: false },
        offset(group, "a.b_c-1", 0, Some(0)),
        offset(group, "a.b_c-1", 0, None),
        Said::Group { group: group.to_owned(), is_there: false },
    ];

    let folder = kdir.entries("").into_iter().find(|name| name.starts_with("__consumer_offsets-")).unwrap();
    let log = kdir.segment(&folder, 0, "log");
    let ours = kdir.json(&["dump", "--records", log.to_str().unwrap()]);
    let said: Vec<Said> = ours.iter().map(|record| from_json(&record["key"], &record["value"])).collect();
    assert_eq!(said, expected);

    let (stdout, stderr) = kafka.dump_log(&[log], &["--offsets-decoder", "--deep-iteration"]);
    assert_eq!(stderr, "");
    let lines: Vec<&str> = stdout.lines().filter(|line| line.starts_with("| offset: ")).collect();
    assert_eq!(lines.len(), ours.len(), "{stdout}");
    for (line, ours) in lines.iter().zip(&ours) {
        let (facts, of) = line.split_once(" headerKeys: [] key: ").unwrap();
        let words: Vec<&str> = facts.split_whitespace().collect();
        let fields: BTreeMap<&str, &str> =
            words.windows(2).map(|pair| (pair[0].trim_end_matches(':'), pair[1])).collect();
        assert_eq!(fields["offset"], ours["offset"].to_string(), "{line}");
        assert_eq!(fields["CreateTime"], ours["timestamp"].to_string(), "{line}");
        let (key, value) = of.split_once(" payload: ").unwrap();
        if kafka == Kafka::K2 {
            assert_eq!(from_words(key, value), from_json(&ours["key"], &ours["value"]), "{line}");
        } else {
            assert_eq!((parsed(key), parsed(value)), (ours["key"].clone(), ours["value"].clone()), "{line}");
        }
    }
}
