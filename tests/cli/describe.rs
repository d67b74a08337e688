//! `kdir describe`.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;

/// Two records at 2023-11-14T22:13:20Z and one 5 s after, a segment each.
fn three_segments() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    kdir.produce("app", &["--batch-size", "1", "--timestamp", "1700000000000"], "v0\nv1\n");
    kdir.produce("app", &["--timestamp", "1700000005000"], "v2\n");
    kdir
}

#[test]
fn shows_a_partition_in_a_table_and_its_configuration_below() {
    let kdir = three_segments();
    let expected = "\
TOPIC  PARTITION  LOG START  LOG END  SEGMENTS  BYTES  OLDEST               NEWEST
app            0          0        3         3  210 B  2023-11-14 22:13:20  2023-11-14 22:13:25

app  segment.bytes=100
";
    kdir.run(&["describe", "app"]).code(0).stdout(expected).stderr("");
}

#[test]
fn shows_tsv_with_plain_numbers() {
    let kdir = three_segments();
    kdir.run(&["describe", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t0\t3\t3\t210\t1700000000000\t1700000005000\n")
        .stderr("");
}

#[test]
fn shows_topic_id_and_configuration_in_json() {
    let kdir = three_segments();
    let file: serde_json::Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    let expected = serde_json::json!({
        "topic": "app", "partition": 0, "log_start_offset": 0, "log_end_offset": 3, "segments": 3, "bytes": 210,
        "oldest": 1_700_000_000_000_i64, "newest": 1_700_000_005_000_i64,
        "topic_id": file["topic_id"], "config": { "segment.bytes": "100" },
    });
    assert_eq!(kdir.json(&["describe", "app", "-o", "json"]), [expected]);
}

#[test]
fn shows_a_row_a_segment() {
    let kdir = three_segments();
    let rows = "app\t0\t0\t1\t70\t1700000000000\t1700000000000\n\
                app\t0\t1\t2\t70\t1700000000000\t1700000000000\n\
                app\t0\t2\t3\t70\t1700000005000\t1700000005000\n";
    kdir.run(&["describe", "app", "--segments", "-o", "tsv"]).code(0).stdout(rows).stderr("");
    let table = kdir.text(&["describe", "app", "--segments"]);
    assert!(table.starts_with("TOPIC  PARTITION  BASE OFFSET  NEXT OFFSET  BYTES"), "{table}");
    assert_eq!(table.lines().count(), 4, "{table}");
}

#[test]
fn a_partition_without_records_has_no_times() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.run(&["describe", "app", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t0\t0\t1\t0\t\t\napp\t1\t0\t0\t1\t0\t\t\n")
        .stderr("");
}

#[test]
fn without_a_topic_all_are_described() {
    let kdir = Kdir::with_topic("b", &[]);
    kdir.create("a", &["-P", "2"]);
    let rows = kdir.text(&["describe", "-o", "tsv"]);
    let firsts: Vec<&str> = rows.lines().map(|line| &line[..3]).collect();
    assert_eq!(firsts, ["a\t0", "a\t1", "b\t0"]);
}

#[test]
fn an_empty_log_dir_has_nothing_to_describe() {
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    let status = format!("there are no topics in {}\n", kdir.log_dir().display());
    kdir.run(&["describe"]).code(0).stdout("").stderr(status);
}

#[test]
fn a_missing_log_dir_or_topic_is_named() {
    let kdir = Kdir::new();
    kdir.run(&["describe"])
        .code(1)
        .stdout("")
        .stderr(contains("kdir: there is no log dir ").and(contains("\nhint: make it with `kdir create TOPIC`")));
    kdir.create("app", &[]);
    kdir.run(&["describe", "app", "nope"])
        .code(1)
        .stdout("")
        .stderr(contains("kdir: there is no topic nope in ").and(contains("\nhint: make it with `kdir create nope`")));
}
