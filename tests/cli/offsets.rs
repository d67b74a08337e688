//! `kdir offsets`.

use crate::support::Kdir;
use predicates::str::{contains, starts_with};
use serde_json::json;

/// Offsets 0 to 3 of partition 0 with the timestamps 1000, 3000, 2000, 4000; partition 1 is empty.
fn timed() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let line = |timestamp: i64| {
        format!("{{\"value\":\"v\",\"partition\":0,\"timestamp_type\":\"CreateTime\",\"timestamp\":{timestamp}}}\n")
    };
    kdir.produce("app", &["-i", "json"], [1000, 3000, 2000, 4000].map(line).concat());
    kdir
}

#[test]
fn earliest_is_the_log_start_offset_and_latest_the_log_end_offset() {
    let kdir = timed();
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "0:1"]).code(0).stderr("");
    kdir.run(&["offsets", "app", "--at", "earliest", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t1\t\napp\t1\t0\t\n")
        .stderr("");
    kdir.run(&["offsets", "app", "--at", "latest", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t4\t\napp\t1\t0\t\n")
        .stderr("");
}

#[test]
fn a_time_finds_the_first_record_at_or_after_it() {
    let kdir = timed();
    for (at, row) in [
        ("@0", "app\t0\t0\t1000\n"),
        ("@1", "app\t0\t0\t1000\n"),
        ("@1.001", "app\t0\t1\t3000\n"),
        ("@2", "app\t0\t1\t3000\n"),
        ("@3.001", "app\t0\t3\t4000\n"),
        ("1970-01-01T00:00:04Z", "app\t0\t3\t4000\n"),
        ("@4.001", "app\t0\t\t\n"),
        ("1h ago", "app\t0\t\t\n"),
    ] {
        kdir.run(&["offsets", "app", "--at", at, "-p", "0", "-o", "tsv"]).code(0).stdout(row).stderr("");
    }
}

#[test]
fn shows_json_with_null_where_all_records_are_older() {
    let kdir = timed();
    let expected = [
        json!({ "topic": "app", "partition": 0, "offset": 3, "timestamp": 4000 }),
        json!({ "topic": "app", "partition": 1, "offset": null, "timestamp": null }),
    ];
    assert_eq!(kdir.json(&["offsets", "app", "--at", "@4", "-o", "json"]), expected);
}

#[test]
fn shows_a_table() {
    let kdir = timed();
    let expected = "\
TOPIC  PARTITION  OFFSET  TIMESTAMP
app            0       3  1970-01-01 00:00:04
app            1       -  -
";
    kdir.run(&["offsets", "app", "--at", "@4"]).code(0).stdout(expected).stderr("");
}

#[test]
fn a_time_is_needed_and_must_be_one() {
    let kdir = timed();
    kdir.run(&["offsets", "app"]).code(2).stdout("").stderr(starts_with("kdir: offsets needs --at\n"));
    kdir.run(&["offsets", "app", "--at", "soon"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --at: invalid time \"soon\": use RFC 3339"));
}

#[test]
fn a_topic_or_partition_that_is_not_there_is_named() {
    let kdir = timed();
    kdir.run(&["offsets", "nope", "--at", "latest"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no topic nope in "));
    kdir.run(&["offsets", "app", "--at", "latest", "-p", "7"])
        .code(1)
        .stdout("")
        .stderr(contains("the topic app has no partition 7; it has partitions 0 to 1\n"));
}

#[test]
fn several_topics_and_patterns_are_answered_in_one_run() {
    let kdir = timed();
    kdir.create("other", &[]);
    let rows = "app\t0\t4\t\napp\t1\t0\t\nother\t0\t0\t\n";
    for topics in [&["app", "other"][..], &["*"], &["a*", "other", "app"]] {
        assert_eq!(kdir.text(&[&["offsets", "--at", "latest", "-o", "tsv"], topics].concat()), rows, "{topics:?}");
    }
    kdir.run(&["offsets", "app", "nope", "--at", "latest"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no topic nope in "));
}

#[test]
fn max_timestamp_is_the_first_record_with_the_largest_that_is_left() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let line = |timestamp: i64| {
        format!("{{\"value\":\"v\",\"partition\":0,\"timestamp_type\":\"CreateTime\",\"timestamp\":{timestamp}}}\n")
    };
    kdir.produce("app", &["-i", "json"], [1000, 9000, 3000, 9000, 5000, 7000, 7000, 2000].map(line).concat());
    for (before, row) in
        [("0", "1\t9000"), ("2", "3\t9000"), ("4", "5\t7000"), ("6", "6\t7000"), ("7", "7\t2000"), ("8", "\t")]
    {
        kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", &format!("0:{before}")])
            .code(0)
            .stderr("");
        for at in ["max-timestamp", "-3"] {
            let rows = kdir.text(&["offsets", "app", "--at", at, "-o", "tsv"]);
            assert_eq!(rows, format!("app\t0\t{row}\napp\t1\t\t\n"), "{before}");
        }
    }
}
