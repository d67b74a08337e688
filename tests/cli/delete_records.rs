//! `kdir delete-records`.

use crate::support::Kdir;
use predicates::str::{contains, starts_with};
use serde_json::json;
use std::fs;

/// Five records, with the timestamps 1000 to 5000.
fn five() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    let line = |it: i64| {
        format!("{{\"value\":\"v{it}\",\"timestamp_type\":\"CreateTime\",\"timestamp\":{}}}\n", 1000 * (it + 1))
    };
    kdir.produce("app", &["-i", "json"], [0, 1, 2, 3, 4].map(line).concat());
    kdir
}

#[test]
fn moves_the_log_start_offset_and_consume_begins_there() {
    let kdir = five();
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "2"])
        .code(0)
        .stdout("TOPIC  PARTITION  LOG START  DELETED\napp            0          2        2\n")
        .stderr("");
    assert_eq!(kdir.values("app"), "v2\nv3\nv4\n");
    assert!(kdir.text(&["describe", "app", "-o", "tsv"]).starts_with("app\t0\t2\t5\t"));
    assert_eq!(fs::read_to_string(kdir.path("log-start-offset-checkpoint")).unwrap(), "0\n1\napp 0 2\n");
    kdir.produce("app", &[], "v5\n");
    assert_eq!(kdir.values("app"), "v2\nv3\nv4\nv5\n");
}

#[test]
fn never_moves_back() {
    let kdir = five();
    for (before, start, deleted) in [("2", 2, 2), ("1", 2, 0), ("earliest", 2, 0), ("-2", 3, 1), ("latest", 5, 2)] {
        kdir.run(&["delete-records", "--yes", "app", &format!("--before-offset={before}"), "-o", "tsv"])
            .code(0)
            .stdout(format!("app\t0\t{start}\t{deleted}\n"))
            .stderr("");
    }
    assert_eq!(kdir.values("app"), "");
    kdir.produce("app", &[], "v5\n");
    assert_eq!(kdir.records("app")[0]["offset"], 5);
}

#[test]
fn names_each_partitions_offset() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    kdir.produce("app", &[], "a0\nb0\nc0\na1\nb1\nc1\n");
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "1"])
        .code(2)
        .stdout("")
        .stderr("kdir: topic app has 3 partitions: give each its offset, as in 0:100,1:250\n");
    let expected = [
        json!({ "topic": "app", "partition": 0, "log_start_offset": 1, "deleted_records": 1 }),
        json!({ "topic": "app", "partition": 2, "log_start_offset": 2, "deleted_records": 2 }),
    ];
    assert_eq!(
        kdir.json(&["delete-records", "--yes", "app", "--before-offset", "0:1,2:latest", "-o", "json"]),
        expected
    );
    assert_eq!(kdir.text(&["consume", "app", "--order", "partition"]), "a1\nb0\nb1\n");
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "3:0"])
        .code(1)
        .stdout("")
        .stderr("kdir: the topic app has no partition 3; it has partitions 0 to 2\n");
}

#[test]
fn an_offset_past_the_log_end_offset_is_refused_with_the_range() {
    let kdir = five();
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "6"])
        .code(1)
        .stdout("")
        .stderr(contains("offset 6 is outside the log, which goes from 0 (log start offset) to 5 (log end offset)\n"));
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
}

#[test]
fn nothing_is_moved_when_one_of_the_offsets_is_refused() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "a0\nb0\na1\nb1\n");
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "0:1,1:9"])
        .code(1)
        .stdout("")
        .stderr(contains("offset 9 is outside the log"));
    assert_eq!(kdir.values("app"), "a0\nb0\na1\nb1\n");
}

#[test]
fn keeps_from_the_first_record_at_or_after_a_time() {
    for (time, left) in [
        ("@0", "v0\nv1\nv2\nv3\nv4\n"),
        ("@3", "v2\nv3\nv4\n"),
        ("1970-01-01T00:00:03.001Z", "v3\nv4\n"),
        ("@5.001", ""),
        ("1h ago", ""),
    ] {
        let kdir = five();
        kdir.run(&["-q", "delete-records", "--yes", "app", "--before", time, "-o", "tsv"]).code(0).stderr("");
        assert_eq!(kdir.values("app"), left, "{time}");
    }
}

#[test]
fn needs_an_offset_or_a_time_and_not_both() {
    let kdir = five();
    kdir.run(&["delete-records", "app"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: delete-records needs --before-offset, --before, --consumed or --consumed-by\n"));
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "1", "--before", "@2"])
        .code(2)
        .stdout("")
        .stderr(contains("cannot be used with"));
    kdir.run(&["delete-records", "--yes", "app", "--before", "soon"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --before: invalid time \"soon\": use RFC 3339"));
}

#[test]
fn a_topic_that_is_only_compacted_refuses() {
    let kdir = Kdir::with_topic("app", &["-c", "cleanup.policy=compact"]);
    kdir.produce("app", &["-k", "k"], "v\n");
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "1"]).code(1).stdout("").stderr(
        "kdir: the topic app is compacted (cleanup.policy=compact): its records cannot be deleted by offset\n\
         hint: set cleanup.policy=compact,delete with `kdir alter app` to allow it\n",
    );
    for before in ["--before-offset=1", "--before=1h ago"] {
        kdir.run(&["delete-records", "--dry-run", "app", before])
            .code(1)
            .stdout("")
            .stderr(starts_with("kdir: the topic app is compacted"));
    }
    kdir.run(&["-q", "alter", "app", "-c", "cleanup.policy=compact,delete"]).code(0).stderr("");
    kdir.run(&["delete-records", "--yes", "app", "--before-offset", "1", "-o", "tsv"])
        .code(0)
        .stdout("app\t0\t1\t1\n")
        .stderr("");
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let kdir = five();
    kdir.run(&["delete-records", "--yes", "nope", "--before-offset", "0"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no topic nope in "));
}

#[test]
fn asks_on_a_terminal_and_needs_yes_elsewhere() {
    let kdir = five();
    kdir.feed(&["delete-records", "app", "--before-offset", "latest"], "y\n").code(2).stdout("").stderr(
        "kdir: delete-records asks on a terminal; elsewhere it needs --yes\nhint: --dry-run shows what would be deleted\n",
    );
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
    let (code, shown) = kdir.on_a_terminal(&["delete-records", "app", "--before-offset", "2"], "n\n");
    assert!(shown.contains("delete 2 records in 1 partition of topic app? [y/N]"), "{shown}");
    assert!(code == 1 && shown.ends_with("nothing was deleted\r\n"), "{code}: {shown}");
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
    let (code, shown) = kdir.on_a_terminal(&["delete-records", "app", "--before-offset", "2"], "y\n");
    assert_eq!(code, 0, "{shown}");
    assert_eq!(kdir.values("app"), "v2\nv3\nv4\n");
    let (code, shown) = kdir.on_a_terminal(&["delete-records", "app", "--before-offset", "2"], "");
    assert!(code == 0 && !shown.contains("[y/N]"), "there is nothing to ask about: {code}: {shown}");
}

#[test]
fn a_dry_run_shows_what_would_be_deleted_and_changes_nothing() {
    let kdir = five();
    for args in [["--before-offset", "3"], ["--before", "1970-01-01T00:00:04Z"]] {
        let args = [&["delete-records", "app", "--dry-run", "-o", "tsv"], &args[..]].concat();
        kdir.run(&args).code(0).stdout("app\t0\t3\t3\n").stderr("");
        assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
    }
    kdir.run(&["delete-records", "app", "-n", "--yes", "--before-offset", "3"])
        .code(2)
        .stdout("")
        .stderr("kdir: --dry-run cannot be used with --yes\n");
}

#[test]
fn minus_one_is_refused_with_what_kafka_means_by_it() {
    let kdir = five();
    for before in ["-1", "0:-1"] {
        kdir.run(&["delete-records", "app", "--yes", "--before-offset", before]).code(2).stdout("").stderr(
            "kdir: --before-offset -1 is not an offset: to Kafka's kafka-delete-records it means all records\n\
             hint: use `latest` to delete all records, or N: the offset of the first record to keep\n",
        );
    }
    assert_eq!(kdir.values("app"), "v0\nv1\nv2\nv3\nv4\n");
}

#[test]
fn an_offset_past_the_end_has_a_hint_of_its_own() {
    let kdir = five();
    kdir.run(&["delete-records", "app", "--yes", "--before-offset", "0:99"]).code(1).stdout("").stderr(
        "kdir: app-0: offset 99 is outside the log, which goes from 0 (log start offset) to 5 (log end offset)\n\
         hint: `latest` deletes all records; `kdir offsets app --at latest` shows the log end offsets\n",
    );
}

#[test]
fn a_time_may_be_an_age_with_a_minus() {
    let kdir = five();
    kdir.run(&["delete-records", "app", "--yes", "--before", "-1x"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --before: invalid time \"-1x\""));
}

#[test]
fn records_without_a_timestamp_are_not_deleted_by_time() {
    let refusal = "kdir: app-0: the record at offset 0 has no timestamp, so whether it is older than the time is not known\n\
                   hint: give --before-offset\n";
    for (lines, left) in [
        ("{\"value\":\"a\",\"timestamp\":-1}\n", "a\n"),
        (
            "{\"value\":\"a\",\"timestamp\":-1}\n{\"value\":\"b\",\"timestamp_type\":\"CreateTime\",\"timestamp\":1000}\n",
            "a\nb\n",
        ),
    ] {
        let kdir = Kdir::with_topic("app", &[]);
        kdir.produce("app", &["-i", "json"], lines);
        for action in ["--yes", "--dry-run"] {
            kdir.run(&["delete-records", "app", action, "--before", "1h ago"]).code(1).stdout("").stderr(refusal);
        }
        assert_eq!(kdir.values("app"), left);
        kdir.run(&["-q", "delete-records", "app", "--yes", "--before-offset", "1"]).code(0);
        kdir.run(&["-q", "delete-records", "app", "--yes", "--before", "1h ago"]).code(0).stderr("");
        assert_eq!(kdir.values("app"), "");
    }
}
