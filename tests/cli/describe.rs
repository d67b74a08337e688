use super::support::Kdir;
use predicates::str::contains;

#[test]
fn shows_a_row_a_partition_and_the_configuration() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-P", "2", "-c", "segment.ms=1h"]).success();
    kdir.run_with(&["produce", "app", "-p", "1", "--timestamp", "2026-01-02T03:04:05Z"], b"a\nb\n").success();
    let expected = "\
TOPIC  PARTITION  LOG START  LOG END  SEGMENTS  BYTES  OLDEST               NEWEST
app            0          0        0         1    0 B  -                    -
app            1          0        2         1   77 B  2026-01-02 03:04:05  2026-01-02 03:04:05

app  segment.ms=3600000
";
    kdir.run(&["describe", "app"]).success().stdout(expected);
    let rows = kdir.json(&["describe", "-o", "json"]);
    assert_eq!(rows[1]["log_end_offset"], 2);
    assert_eq!(rows[1]["newest"], 1_767_323_045_000_i64);
    assert_eq!(rows[1]["config"]["segment.ms"], "3600000");
    assert_eq!(rows[1]["topic_id"].as_str().unwrap().len(), 22);
    assert_eq!(rows[0]["oldest"], serde_json::Value::Null);
}

#[test]
fn shows_a_row_a_segment() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "segment.bytes=150"]).success();
    for line in ["a", "b", "c"] {
        kdir.produce("app", line.as_bytes());
    }
    let tsv = kdir.text(&["describe", "app", "--segments", "-o", "tsv"]);
    let offsets: Vec<Vec<&str>> = tsv.lines().map(|line| line.split('\t').skip(2).take(3).collect()).collect();
    assert_eq!(offsets, [["0", "2", "138"], ["2", "3", "69"]]);
}

#[test]
fn an_unknown_topic_is_named() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["describe", "ap"]).code(1).stdout("").stderr(contains("there is no topic ap in"));
}
