//! Timestamps as producers really give them: in any order, none at all, in the wrong unit.

use crate::support::{Kdir, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::Value;
use std::fs;
use std::path::Path;

const DAY: i64 = 86_400_000;
/// The same moment in three units.
const MILLISECONDS: i64 = 1_700_000_000_000;
const MICROSECONDS: i64 = MILLISECONDS * 1000;
const NANOSECONDS: i64 = MICROSECONDS * 1000;

/// Produces a batch of one record for each timestamp.
fn produce(kdir: &Kdir, options: &[&str], timestamps: &[i64]) {
    let lines: String = timestamps
        .iter()
        .map(|at| format!("{{\"value\":\"v\",\"timestamp_type\":\"CreateTime\",\"timestamp\":{at}}}\n"))
        .collect();
    kdir.produce("app", &[&["-i", "json"], options].concat(), lines);
}

/// Day and number of records of each row of a chart.
fn chart(kdir: &Kdir) -> Vec<(i64, i64)> {
    let rows = kdir.json(&["describe", "app", "--chart", "day", "-o", "json"]);
    rows.iter().map(|row| (row["time"].as_i64().unwrap() / DAY, row["records"].as_i64().unwrap())).collect()
}

#[test]
fn a_chart_counts_each_record_where_its_own_timestamp_is() {
    for codec in ["none", "zstd"] {
        let kdir = Kdir::with_topic("app", &[]);
        // The first and the largest timestamp of the batch are of one day.
        produce(&kdir, &["-z", codec], &[5 * DAY, DAY, 5 * DAY + 1, 3 * DAY]);
        assert_eq!(chart(&kdir), [(1, 1), (3, 1), (5, 2)], "{codec}");
    }
    let kdir = Kdir::with_topic("app", &["-c", "message.timestamp.type=LogAppendTime"]);
    kdir.produce("app", &[], "a\nb\nc\n");
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "1"]).code(0);
    assert_eq!(chart(&kdir).iter().map(|(_, records)| records).sum::<i64>(), 2);
}

#[test]
fn a_chart_names_the_unit_of_timestamps_beyond_the_calendar() {
    let kdir = Kdir::with_topic("app", &[]);
    let later = MICROSECONDS + 400 * DAY * 1000;
    produce(&kdir, &[], &[later, -1, MICROSECONDS, NANOSECONDS, MILLISECONDS]);
    let expected = "\
app: 5 records, 129 B, by day
  no timestamp   #########################                          1       26 B
  2023-11-14     #########################                          1       26 B
  microseconds?  #################################################  2       51 B
  nanoseconds?   #########################                          1       26 B
  far in the future: 2 records, year 55840 (microseconds?)
  far in the future: 1 record, year 53872825 (nanoseconds?)
";
    let text = kdir.text(&["describe", "app", "--chart", "day"]);
    assert_eq!(text, expected);
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    let times: Vec<Value> =
        kdir.json(&["describe", "app", "--chart", "day", "-o", "json"]).iter().map(|row| row["time"].clone()).collect();
    assert_eq!(times, [Value::Null, (1_699_920_000_000_i64).into(), MICROSECONDS.into(), NANOSECONDS.into()]);
    let row = kdir.text(&["describe", "app"]);
    assert!(row.contains("  year 56936  ") && row.contains("  year 53872825\n"), "{row}");
}

#[test]
fn first_is_the_timestamp_of_the_first_record_in_every_log_that_a_broker_wrote() {
    let log_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka");
    let kdir = Kdir::new();
    let log_dir = log_dir.to_str().unwrap();
    let described = kdir.json(&["describe", "-d", log_dir, "-o", "json"]);
    assert!(described.len() > 60);
    for row in described {
        let topic = row["topic"].as_str().unwrap();
        let first = kdir.command(&["consume", topic, "-d", log_dir, "-n", "1", "-o", "json"]).output().unwrap().stdout;
        let first = json_lines(&first).first().map_or(Value::Null, |record| record["timestamp"].clone());
        let known = if first.as_i64() == Some(-1) { Value::Null } else { first };
        assert_eq!(row["oldest"], known, "{topic}");
    }
}

#[test]
fn first_is_of_the_first_record_that_is_there() {
    let kdir = Kdir::with_topic("app", &[]);
    produce(&kdir, &[], &[DAY, 3 * DAY, 2 * DAY]);
    let oldest = || kdir.json(&["describe", "app", "-o", "json"])[0]["oldest"].clone();
    assert_eq!(oldest(), DAY);
    for (offset, first) in [("1", 3 * DAY), ("2", 2 * DAY)] {
        kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", offset]).code(0);
        assert_eq!((oldest(), kdir.records("app")[0]["timestamp"].clone()), (first.into(), first.into()));
    }
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "latest"]).code(0);
    assert_eq!(oldest(), Value::Null);
}

#[test]
fn a_first_record_without_a_timestamp_is_shown_as_that() {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "segment.bytes=100"]);
    for timestamp in ["-1", "1700000000000"] {
        kdir.produce("app", &["-p", "0", "--timestamp", timestamp], "v\n");
    }
    let table = kdir.text(&["describe", "app"]);
    let rows: Vec<&str> = table.lines().skip(1).take(2).collect();
    assert!(
        rows[0].ends_with("  no timestamp  2023-11-14 22:13:20") && rows[1].ends_with("  -             -"),
        "{table}"
    );
    let segments = kdir.text(&["describe", "app", "--segments"]);
    assert!(segments.lines().nth(1).unwrap().ends_with("  no timestamp         no timestamp"), "{segments}");
    assert_eq!(kdir.json(&["describe", "app", "-o", "json"])[0]["oldest"], Value::Null);
}

#[test]
fn retention_names_the_segment_whose_timestamp_in_the_future_keeps_all_after_it() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    produce(&kdir, &["--batch-size", "1"], &[DAY, MICROSECONDS, DAY, DAY]);
    let warning = "warning: app-0: the segment at offset 1 has a timestamp in the future, year 55840 (microseconds?): \
                   retention.ms keeps it and all after it\n\
                   hint: `kdir delete-records app --before-offset 0:2` lets retention remove it\n";
    kdir.run(&["-v", "retention", "-n", "-o", "tsv"])
        .code(0)
        .stdout(contains(format!("app\t0\t1\t2\t69\t{MICROSECONDS}\tkeep\ta timestamp in the future\n")))
        .stderr(format!("{warning}would delete 1 segment, 1 record, 69 B\n"));
    kdir.run(&["retention"]).code(0).stderr(format!("{warning}deleted 1 segment, 1 record, 69 B\n"));
    // As Kafka's arithmetic has it, nothing else goes; the hint is the way on.
    assert_eq!(kdir.values("app").lines().count(), 3);
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "0:2"]).code(0);
    kdir.run(&["retention"]).code(0).stderr(starts_with("deleted 3 segments, "));
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn retention_warns_of_no_timestamp_that_keeps_nothing() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100", "-c", "retention.ms=-1"]);
    produce(&kdir, &["--batch-size", "1"], &[MICROSECONDS, DAY]);
    kdir.run(&["retention", "-n"]).code(0).stderr("would delete 0 segments, 0 records, 0 B\n");
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--timestamp", "now"], "v\n");
    kdir.run(&["retention", "-n"]).code(0).stderr("would delete 0 segments, 0 records, 0 B\n");
}

#[test]
fn verify_notes_a_timestamp_that_blocks_retention_by_time() {
    for (timestamp, text) in
        [(MICROSECONDS, "year 55840 (microseconds?)"), (4_000_000_000_000, "2096-10-02 07:06:40 UTC")]
    {
        let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
        produce(&kdir, &["--batch-size", "1"], &[DAY, timestamp, timestamp]);
        let log = "app-0/00000000000000000001.log";
        let expected =
            format!("{log}  position 0  offset 1\n    note: a record's timestamp is far in the future: {text}\n");
        kdir.run(&["verify"])
            .code(0)
            .stdout(starts_with(expected).and(contains("retention by time keeps this segment and all after it")))
            .stderr(predicates::str::ends_with(", 1 finding\n"));
        let before = fs::read(kdir.path(log)).unwrap();
        kdir.run(&["repair"]).code(0).stderr("1 finding, nothing was changed\n");
        assert_eq!(fs::read(kdir.path(log)).unwrap(), before);
    }
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "v\n");
    kdir.assert_sound();
}
