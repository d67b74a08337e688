//! `kdir retention`.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

const OLD: &str = "2020-01-01T00:00:00Z";

/// Segments of one record and 70 bytes: three of 2020, and two of now.
fn segments() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    kdir.produce("app", &["--batch-size", "1", "--timestamp", OLD], "v0\nv1\nv2\n");
    kdir.produce("app", &["--batch-size", "1"], "v3\nv4\n");
    kdir
}

/// Base offset, action and reason of each row.
fn decisions(kdir: &Kdir, args: &[&str]) -> Vec<String> {
    let run = kdir.run(&[&["-v", "retention", "-o", "json"], args].concat()).code(0);
    crate::support::json_lines(&run.get_output().stdout)
        .iter()
        .map(|row| format!("{} {} {}", row["base_offset"], row["action"], row["reason"]).replace('"', ""))
        .collect()
}

#[test]
fn by_time_whole_segments_go_that_are_older() {
    let kdir = segments();
    let row = |base: i64| {
        format!("app\t0\t{base}\t{}\t70\t1577836800000\tdelete\tolder than retention.ms=604800000 (7d)\n", base + 1)
    };
    kdir.run(&["-v", "retention", "-o", "tsv"])
        .code(0)
        .stdout([0, 1, 2].map(row).concat())
        .stderr("deleted 3 segments, 3 records, 210 B\n");
    assert_eq!(kdir.values("app"), "v3\nv4\n");
    for suffix in ["log", "index", "timeindex"] {
        assert!(!kdir.segment("app-0", 2, suffix).exists() && kdir.segment("app-0", 3, suffix).exists());
    }
    assert!(!kdir.entries("app-0").iter().any(|name| name.ends_with(".deleted")));
    kdir.run(&["retention"]).code(0).stdout("").stderr("deleted 0 segments, 0 records, 0 B\n");
}

#[test]
fn by_size_the_oldest_go_as_long_as_the_limit_is_left() {
    let kdir = segments();
    kdir.run(&["-q", "alter", "app", "--retention", "forever", "--retention-bytes", "140"]).code(0).stderr("");
    let expected = [0, 1, 2].map(|base| format!("{base} delete the rest has retention.bytes=140 (140 B)"));
    assert_eq!(decisions(&kdir, &[]), expected);
    assert_eq!(kdir.values("app"), "v3\nv4\n");
    assert_eq!(decisions(&kdir, &["--retention-bytes", "71"]), Vec::<String>::new());
    assert_eq!(kdir.values("app"), "v3\nv4\n");
}

#[test]
fn the_active_segment_is_not_exempt_and_offsets_go_on() {
    let kdir = segments();
    kdir.run(&["retention", "app", "--retention-bytes", "0"])
        .code(0)
        .stdout(contains("UNTIL"))
        .stderr("deleted 5 segments, 5 records, 350 B\n");
    assert_eq!(kdir.values("app"), "");
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]), "app\t0\t5\t5\t1\t0\t\t\n");
    kdir.produce("app", &[], "v5\n");
    assert_eq!(kdir.records("app")[0]["offset"], 5);
}

#[test]
fn what_delete_records_left_goes_first() {
    let kdir = segments();
    kdir.run(&["-q", "alter", "app", "--retention", "forever"]).code(0).stderr("");
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "2"]).code(0).stderr("");
    let expected = [0, 1].map(|base| format!("{base} delete below the log start offset"));
    assert_eq!(decisions(&kdir, &[]), expected);
    assert_eq!(kdir.values("app"), "v2\nv3\nv4\n");
}

#[test]
fn what_was_deleted_up_to_the_log_end_goes_with_the_active_segment() {
    let kdir = Kdir::with_topic("app", &["-c", "retention.ms=-1"]);
    kdir.produce("app", &[], "v0\nv1\n");
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "1"]).code(0).stderr("");
    assert_eq!(decisions(&kdir, &["-n"]), ["0 keep no limit is set"]);
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "latest"]).code(0).stderr("");
    let gone = ["0 delete below the log start offset"];
    assert_eq!(decisions(&kdir, &["-n"]), gone);
    assert_eq!(decisions(&kdir, &[]), gone);
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]), "app\t0\t2\t2\t1\t0\t\t\n");
    assert_eq!(decisions(&kdir, &["-n"]), ["2 keep the active segment, empty"]);
    kdir.produce("app", &[], "v2\n");
    assert_eq!(kdir.records("app")[0]["offset"], 2);
    kdir.assert_sound();
}

#[test]
fn a_dry_run_lists_every_segment_and_changes_nothing() {
    let kdir = segments();
    let before = (kdir.entries(""), kdir.entries("app-0"));
    let expected = [
        "0 delete older than retention.ms=604800000 (7d)",
        "1 delete older than retention.ms=604800000 (7d)",
        "2 delete older than retention.ms=604800000 (7d)",
        "3 keep within the limits",
        "4 keep a segment before it is kept",
    ];
    assert_eq!(decisions(&kdir, &["--dry-run"]), expected);
    kdir.run(&["-v", "retention", "-n", "app"])
        .code(0)
        .stdout(starts_with("TOPIC  PARTITION  BASE OFFSET").and(contains("keep    within the limits\n")))
        .stderr("would delete 3 segments, 3 records, 210 B\n");
    assert_eq!((kdir.entries(""), kdir.entries("app-0")), before);
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
}

#[test]
fn the_options_stand_in_for_the_topics_limits() {
    let kdir = segments();
    assert_eq!(decisions(&kdir, &["-n", "--retention", "forever"])[0], "0 keep no limit is set");
    let by_size = decisions(&kdir, &["-n", "--retention", "forever", "--retention-bytes", "280"]);
    assert_eq!(by_size[..2], ["0 delete the rest has retention.bytes=280 (280 B)", "1 keep within the limits"]);
    kdir.run(&["retention", "--retention", "soon"]).code(2).stdout("").stderr(contains("is no duration"));
    kdir.run(&["retention", "--retention-bytes", "much"]).code(2).stdout("").stderr(contains("is not a size"));
}

#[test]
fn a_topic_that_is_only_compacted_keeps_its_segments() {
    let kdir = Kdir::with_topic("app", &["-c", "cleanup.policy=compact", "-c", "segment.bytes=100"]);
    kdir.produce("app", &["--batch-size", "1", "--timestamp", OLD, "-k", "k"], "v0\nv1\n");
    kdir.run(&["retention", "--retention-bytes", "0"])
        .code(0)
        .stdout("")
        .stderr("deleted 0 segments, 0 records, 0 B\n");
    assert_eq!(kdir.values("app"), "v0\nv1\n");
}

#[test]
fn only_the_topics_that_are_named_are_touched() {
    let kdir = segments();
    kdir.create("other", &[]);
    kdir.produce("other", &["--timestamp", OLD], "old\n");
    kdir.run(&["-q", "retention", "app"]).code(0).stderr("");
    assert_eq!(kdir.values("other"), "old\n");
    kdir.run(&["-q", "retention"]).code(0).stderr("");
    assert_eq!(kdir.values("other"), "");
}

#[test]
fn internal_topics_are_touched_only_when_named() {
    let kdir = Kdir::with_topic("__internal", &[]);
    kdir.produce("__internal", &["--timestamp", OLD], "old\n");
    kdir.run(&["-q", "retention"]).code(0).stdout("").stderr("");
    assert_eq!(kdir.values("__internal"), "old\n");
    kdir.run(&["-q", "retention", "__internal"]).code(0).stderr("");
    assert_eq!(kdir.values("__internal"), "");
}

#[test]
fn a_brokers_topic_is_skipped_with_a_warning_unless_limits_are_given() {
    let kdir = segments();
    kdir.disown("app");
    for args in [&["retention"][..], &["retention", "app"], &["retention", "-n"]] {
        kdir.run(args).code(0).stdout("").stderr(starts_with(
            "warning: topic app is skipped: its broker knows its limits; \
             give --retention or --retention-bytes\n",
        ));
    }
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
    kdir.run(&["-v", "retention", "--retention", "1d", "-o", "tsv"])
        .code(0)
        .stdout(contains("delete\tolder than retention.ms=86400000 (1d)\n"))
        .stderr("deleted 3 segments, 3 records, 210 B\n");
    assert_eq!(kdir.values("app"), "v3\nv4\n");
}

#[test]
fn a_reader_that_falls_behind_is_told_what_went() {
    let kdir = segments();
    kdir.run(&["-q", "retention"]).code(0).stderr("");
    kdir.run(&["consume", "app", "--from-offset", "1"])
        .code(1)
        .stdout("")
        .stderr(contains("offset 1 is outside the log, which goes from 3 (log start offset) to 5 (log end offset)\n"));
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let kdir = segments();
    kdir.run(&["retention", "nope"]).code(1).stdout("").stderr(starts_with("kdir: there is no topic nope in "));
}

#[test]
fn in_a_directory_that_a_broker_owns_the_limits_of_a_topic_file_count_for_nothing() {
    let kdir = segments();
    fs::write(kdir.path("meta.properties"), "version=1\n").unwrap();
    let skipped = "warning: topic app is skipped: its broker knows its limits; \
                   give --retention or --retention-bytes\n";
    kdir.run(&["retention", "-o", "tsv"])
        .code(0)
        .stdout("")
        .stderr(format!("{skipped}deleted 0 segments, 0 records, 0 B\n"));
    kdir.run(&["retention", "app", "-n"])
        .code(0)
        .stdout("")
        .stderr(format!("{skipped}would delete 0 segments, 0 records, 0 B\n"));
    kdir.run(&["alter", "app", "--retention", "1h"]).code(1).stdout("").stderr(starts_with(
        "kdir: the configuration and partitions of topic app are in the metadata of a Kafka broker\n",
    ));
    assert_eq!(decisions(&kdir, &["--retention", "7d"]).len(), 3);
    assert_eq!(kdir.values("app"), "v3\nv4\n");
}

#[test]
fn a_row_a_partition_says_what_is_deleted_and_what_is_kept_until_when() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100", "-P", "2"]);
    for (timestamp, value) in
        [("2020-01-01T00:00:00Z", "v0"), ("2020-01-03T00:00:00Z", "v1"), ("2020-01-02T00:00:00Z", "v2")]
    {
        kdir.produce("app", &["--timestamp", timestamp, "-p", "0"], value);
    }
    kdir.produce("app", &["--timestamp", "2050-01-01", "-p", "0"], "v3");
    let (from, to, kept) = (1_577_836_800_000_i64, 1_578_009_600_000_i64, 2_524_608_000_000_i64);
    let until = kept + 7 * 86_400_000;
    let rows = format!("app\t0\t3\t3\t210\t{from}\t{to}\t1\t70\t{kept}\t{until}\napp\t1\t0\t0\t0\t\t\t0\t0\t\t\n");
    let dry = kdir.run(&["retention", "-n", "-o", "tsv"]).code(0).stdout(rows.clone());
    assert!(String::from_utf8_lossy(&dry.get_output().stderr).ends_with("would delete 3 segments, 3 records, 210 B\n"));
    let deleted = rows.lines().next().unwrap().to_owned() + "\n";
    kdir.run(&["retention", "-o", "tsv"]).code(0).stdout(deleted);
    let (from, kept) = (2_524_608_000_000_i64, 70);
    let left = format!("app\t0\t0\t0\t0\t\t\t1\t{kept}\t{from}\t{until}\napp\t1\t0\t0\t0\t\t\t0\t0\t\t\n");
    kdir.run(&["retention", "-n", "-o", "tsv"]).code(0).stdout(left);
}

#[test]
fn what_is_deleted_by_size_and_by_offset_has_its_times_too() {
    let kdir =
        Kdir::with_topic("app", &["-c", "segment.bytes=100", "--retention", "forever", "--retention-bytes", "70"]);
    for day in 1..5 {
        kdir.produce("app", &["--timestamp", &format!("2020-01-0{day}T00:00:00Z")], "v0");
    }
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "1"]).code(0);
    let day = |day: i64| 1_577_836_800_000 + (day - 1) * 86_400_000;
    let row = format!("app\t0\t3\t3\t210\t{}\t{}\t1\t70\t{}\t\n", day(1), day(3), day(4));
    kdir.run(&["retention", "-n", "-o", "tsv"]).code(0).stdout(row.clone());
    kdir.run(&["retention", "-o", "tsv"]).code(0).stdout(row).stderr("deleted 3 segments, 3 records, 210 B\n");
}

#[test]
fn the_row_of_a_partition_fits_80_columns() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    for day in 1..4 {
        kdir.produce("app", &["--timestamp", &format!("2020-01-0{day}T00:00:00Z")], "v".repeat(20));
    }
    kdir.produce("app", &[], "v");
    let (code, shown) = kdir.on_a_terminal(&["--color=never", "retention", "--dry-run"], "");
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((code, lines.len()), (0, 3), "{shown}");
    assert!(lines.iter().all(|line| line.len() <= 80), "{shown}");
    let heading = "TOPIC  P  SEGS  RECORDS  BYTES  FROM  TO    KEPT  BYTES  OLDEST  UNTIL";
    assert_eq!(lines[0].trim_end(), heading);
    assert!(lines[1].starts_with("app    0     3        3  264 B  2020  2020     1   69 B  "), "{shown}");
}

#[test]
fn quiet_prints_nothing_but_the_rows_that_were_asked_for() {
    let kdir = segments();
    kdir.run(&["-q", "retention", "-n"]).code(0).stdout(starts_with("TOPIC  P  SEGS")).stderr("");
    kdir.run(&["-q", "retention", "-n", "-o", "tsv"]).code(0).stdout(starts_with("app\t0\t3\t3\t210\t")).stderr("");
    kdir.run(&["-q", "retention"]).code(0).stdout("").stderr("");
    assert_eq!(kdir.values("app"), "v3\nv4\n");
}
