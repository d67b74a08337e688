//! `kdir consume`.

use crate::support::{Kdir, Running, cut, flip, json_lines, next};
use predicates::prelude::{Predicate, PredicateBooleanExt};
use predicates::str::{contains, starts_with};
use rustix::process::Signal;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Offsets 0 to 4 with the values v0 to v4, a batch each.
fn five() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--batch-size", "1"], "v0\nv1\nv2\nv3\nv4\n");
    kdir
}

/// Two partitions: p0 has a@1000, c@3000, d@2000; p1 has b@2000, e@4000.
fn timed() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let records = [("a", 0, 1000), ("b", 1, 2000), ("c", 0, 3000), ("d", 0, 2000), ("e", 1, 4000)];
    let lines: String = records
        .iter()
        .map(|(value, partition, timestamp)| {
            let time = format!("\"timestamp\":{timestamp},\"timestamp_type\":\"CreateTime\"");
            format!("{{\"value\":\"{value}\",\"partition\":{partition},{time}}}\n")
        })
        .collect();
    kdir.produce("app", &["-i", "json"], lines);
    kdir
}

#[test]
fn starts_where_from_offset_says() {
    let kdir = five();
    for (from, expected) in [
        ("earliest", "v0\nv1\nv2\nv3\nv4\n"),
        ("0", "v0\nv1\nv2\nv3\nv4\n"),
        ("3", "v3\nv4\n"),
        ("5", ""),
        ("latest", ""),
        ("-2", "v3\nv4\n"),
        ("-0", ""),
        ("-9", "v0\nv1\nv2\nv3\nv4\n"),
        ("0:4", "v4\n"),
        ("0:-1", "v4\n"),
    ] {
        assert_eq!(kdir.text(&["consume", "app", "--from-offset", from]), expected, "{from}");
    }
}

#[test]
fn starts_within_a_batch() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-z", "zstd"], "v0\nv1\nv2\nv3\n");
    assert_eq!(kdir.text(&["consume", "app", "--from-offset", "2"]), "v2\nv3\n");
}

#[test]
fn each_partition_can_have_an_offset_of_its_own() {
    let kdir = timed();
    let consume = |offsets: &str| kdir.text(&["consume", "app", "--order", "partition", "--from-offset", offsets]);
    assert_eq!(consume("0:2,1:1"), "d\ne\n");
    assert_eq!(consume("0:latest"), "b\ne\n");
    assert_eq!(kdir.text(&["consume", "app", "--to-offset", "0:1,1:1"]), "a\nb\n");
}

#[test]
fn one_offset_for_several_partitions_is_wrong_usage() {
    let kdir = timed();
    kdir.run(&["consume", "app", "--from-offset", "1"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --from-offset 1 needs one partition: name it with -p"));
    assert_eq!(kdir.text(&["consume", "app", "--from-offset", "1", "-p", "1"]), "e\n");
    kdir.run(&["consume", "app", "--from-offset", "0:1", "-p", "1"])
        .code(2)
        .stdout("")
        .stderr("kdir: --from-offset names partition 0, and -p leaves it out\n");
    kdir.run(&["consume", "app", "--from-offset", "x"]).code(2).stdout("").stderr(contains("is not an offset"));
}

#[test]
fn an_offset_outside_the_log_is_refused_with_the_range() {
    let kdir = five();
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "2"]).code(0).stderr("");
    for offset in ["1", "6"] {
        kdir.run(&["consume", "app", "--from-offset", offset]).code(1).stdout("").stderr(format!(
            "kdir: app-0: offset {offset} is outside the log, which goes from 2 (log start offset) to 5 (log end offset)\n\
             hint: give an offset in that range, or earliest or latest; consume also takes --reset earliest|latest\n"
        ));
    }
}

#[test]
fn reset_says_where_to_begin_when_an_offset_is_outside_the_log() {
    let kdir = five();
    let consume = |offset: &str, reset: &str| kdir.text(&["consume", "app", "--from-offset", offset, "--reset", reset]);
    assert_eq!(consume("9", "earliest"), "v0\nv1\nv2\nv3\nv4\n");
    assert_eq!(consume("9", "latest"), "");
    assert_eq!(consume("4", "earliest"), "v4\n");
}

#[test]
fn stops_before_to_offset() {
    let kdir = five();
    for (to, expected) in [
        ("0", ""),
        ("2", "v0\nv1\n"),
        ("-4", "v0\n"),
        ("latest", "v0\nv1\nv2\nv3\nv4\n"),
        ("99", "v0\nv1\nv2\nv3\nv4\n"),
        ("earliest", ""),
    ] {
        assert_eq!(kdir.text(&["consume", "app", "--to-offset", to]), expected, "{to}");
    }
    assert_eq!(kdir.text(&["consume", "app", "--from-offset", "1", "--to-offset", "3"]), "v1\nv2\n");
}

#[test]
fn merges_partitions_by_timestamp_or_one_after_the_other() {
    let kdir = timed();
    assert_eq!(kdir.values("app"), "a\nb\nc\nd\ne\n");
    assert_eq!(kdir.text(&["consume", "app", "--order", "partition"]), "a\nc\nd\nb\ne\n");
    assert_eq!(kdir.text(&["consume", "app", "-p", "1"]), "b\ne\n");
    assert_eq!(kdir.text(&["consume", "app", "-p", "1,0", "--order", "partition"]), "a\nc\nd\nb\ne\n");
}

#[test]
fn merges_several_topics() {
    let kdir = timed();
    kdir.create("more", &[]);
    kdir.produce("more", &["--timestamp", "@2.500"], "x\n");
    assert_eq!(kdir.text(&["consume", "app", "more"]), "a\nb\nx\nc\nd\ne\n");
}

#[test]
fn since_and_until_are_exact_for_every_record() {
    let kdir = timed();
    let consume = |args: &[&str]| kdir.text(&[&["consume", "app", "--order", "partition"], args].concat());
    assert_eq!(consume(&["--since", "@2"]), "c\nd\nb\ne\n");
    assert_eq!(consume(&["--since", "@2.001"]), "c\ne\n");
    assert_eq!(consume(&["--until", "@2.001"]), "a\nd\nb\n");
    assert_eq!(consume(&["--since", "@2", "--until", "@3"]), "d\nb\n");
    assert_eq!(consume(&["--since", "1970-01-01T00:00:03Z"]), "c\ne\n");
    assert_eq!(consume(&["--since", "1h ago"]), "");
    assert_eq!(consume(&["--until", "1h ago"]), "a\nc\nd\nb\ne\n");
}

#[test]
fn times_that_leave_nothing_or_are_none_are_wrong_usage() {
    let kdir = timed();
    kdir.run(&["consume", "app", "--since", "@0.005", "--until", "@0.005"])
        .code(2)
        .stdout("")
        .stderr("kdir: --since is not before --until: no record can be between them\n");
    kdir.run(&["consume", "app", "--until", "later"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --until: invalid time \"later\": use RFC 3339"));
}

#[test]
fn stops_after_max_records() {
    let kdir = timed();
    assert_eq!(kdir.text(&["consume", "app", "-n", "3"]), "a\nb\nc\n");
    assert_eq!(kdir.text(&["consume", "app", "-n", "0"]), "");
    assert_eq!(kdir.text(&["consume", "app", "-n", "9"]), "a\nb\nc\nd\ne\n");
}

#[test]
fn json_loses_nothing() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-k", "k", "-H", "h=1", "--timestamp", "@1"], b"v\xff\n".to_vec());
    kdir.run(&["consume", "app", "-o", "json"])
        .code(0)
        .stdout(
            "{\"topic\":\"app\",\"partition\":0,\"offset\":0,\"timestamp\":1000,\"timestamp_type\":\"CreateTime\",\
             \"key\":\"k\",\"value_b64\":\"dv8=\",\"headers\":[{\"key\":\"h\",\"value\":\"1\"}]}\n",
        )
        .stderr("");
}

#[test]
fn len32_writes_the_length_before_each_value() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-Z"], "ab\n\nc\n");
    assert_eq!(kdir.stdout(&["consume", "app", "-o", "len32"]), b"\0\0\0\x02ab\0\0\0\0\0\0\0\x01c");
}

#[test]
fn the_delimiter_can_be_any_bytes_or_none() {
    let kdir = five();
    assert_eq!(kdir.text(&["consume", "app", "-D", ""]), "v0v1v2v3v4");
    assert_eq!(kdir.text(&["consume", "app", "-D", r"\0<>"]), "v0\0<>v1\0<>v2\0<>v3\0<>v4\0<>");
    kdir.run(&["consume", "app", "-D", r"\x1"]).code(2).stdout("").stderr(contains("two hexadecimal digits"));
}

#[test]
fn a_topic_or_partition_that_is_not_there_is_named() {
    let kdir = timed();
    kdir.run(&["consume", "nope"]).code(1).stdout("").stderr(
        starts_with(format!("kdir: there is no topic nope in {}\nhint: ", kdir.log_dir().display()))
            .and(contains("`kdir list`")),
    );
    kdir.run(&["consume", "appp"]).code(1).stdout("").stderr(contains("\nhint: did you mean app? `kdir list` shows"));
    kdir.run(&["consume", "app", "-p", "0,2"])
        .code(1)
        .stdout("")
        .stderr(contains("the topic app has no partition 2; it has partitions 0 to 1\n"));
}

#[test]
fn reading_writes_nothing() {
    let kdir = five();
    let before = kdir.entries("");
    let partition = kdir.entries("app-0");
    kdir.values("app");
    assert_eq!((kdir.entries(""), kdir.entries("app-0")), (before, partition));
}

#[test]
fn follow_prints_what_is_appended_later() {
    let kdir = five();
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F", "--from-offset", "4", "-n", "4"]));
    let lines = follower.lines();
    assert_eq!(next(&lines), "v4");
    kdir.produce("app", &[], "v5\n");
    assert_eq!(next(&lines), "v5");
    kdir.produce("app", &[], "v6\nv7\nv8\n");
    assert_eq!([next(&lines), next(&lines)], ["v6", "v7"]);
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
}

#[test]
fn follow_goes_on_into_new_segments() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F"]));
    let lines = follower.lines();
    for value in ["a", "b", "c", "d"] {
        kdir.produce("app", &[], format!("{value}\n"));
        assert_eq!(next(&lines), value);
    }
    assert!(kdir.segment("app-0", 3, "log").is_file());
}

#[test]
fn follow_ends_quietly_when_nobody_reads_any_more() {
    let kdir = five();
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F"]));
    assert_eq!(follower.head(), "v0\n");
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
}

#[test]
fn follow_ends_when_the_topic_is_deleted() {
    let kdir = five();
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F", "--from-offset", "4"]));
    let lines = follower.lines();
    assert_eq!(next(&lines), "v4");
    kdir.run(&["-q", "delete", "app", "-y"]).code(0).stdout("").stderr("");
    assert_eq!(follower.wait(), (Some(1), String::new(), "kdir: the topic app was deleted\n".into()));
}

#[test]
fn follow_tells_of_records_that_went_before_they_were_read() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=100"]);
    kdir.produce("app", &[], "v0\n");
    let mut follower = Running::start(kdir.process(&["consume", "app", "-F", "-n", "2"]));
    let lines = follower.lines();
    assert_eq!(next(&lines), "v0");
    follower.suspend();
    kdir.produce("app", &["--batch-size", "1"], "v1\nv2\n");
    kdir.run(&["-q", "retention", "--retention-bytes", "0"]).code(0).stderr("");
    kdir.produce("app", &[], "v3\n");
    follower.signal(Signal::CONT);
    assert_eq!(next(&lines), "v3");
    let warning = "warning: offsets 1 to 2 of app-0 were removed before they were read; going on at 3\n";
    assert_eq!(follower.wait(), (Some(0), String::new(), warning.into()));
}

/// What is said of damage in the batch of that number.
fn corrupt(log: &Path, batch_size: u64, number: u64) -> impl Predicate<str> + use<> {
    let (log, position) = (log.display(), number * batch_size);
    starts_with(format!("kdir: {log} is corrupt at position {position} (offset {number}): "))
        .and(contains("\nhint: `kdir repair --dry-run --accept-loss app` shows which records would be given up, "))
}

#[test]
fn a_flipped_byte_is_corruption_and_nothing_wrong_is_shown() {
    let kdir = five();
    let log = kdir.segment("app-0", 0, "log");
    let batch_size = fs::metadata(&log).unwrap().len() / 5;
    flip(&log, batch_size as usize - 2);
    kdir.run(&["consume", "app"]).code(4).stdout("").stderr(corrupt(&log, batch_size, 0));
}

#[test]
fn what_lies_before_the_damage_is_shown() {
    let kdir = five();
    let log = kdir.segment("app-0", 0, "log");
    let batch_size = fs::metadata(&log).unwrap().len() / 5;
    flip(&log, 3 * batch_size as usize - 2);
    kdir.run(&["consume", "app"]).code(4).stdout("v0\nv1\n").stderr(corrupt(&log, batch_size, 2));
}

#[test]
fn every_flipped_byte_that_the_checksum_covers_is_found() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-k", "key"], "one\n");
    kdir.produce("app", &[], "two\n");
    let log = kdir.segment("app-0", 0, "log");
    let size = fs::metadata(&log).unwrap().len() as usize - 61 - 10;
    // Base offset, length and leader epoch stand before it: Kafka's brokers change them.
    for position in 16..size {
        flip(&log, position);
        let run = kdir.run(&["consume", "app"]);
        let output = run.get_output();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(4), &b""[..]), "{position}: {stderr}");
        flip(&log, position);
    }
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn a_base_offset_that_hides_the_batches_behind_it_is_corruption() {
    let kdir = five();
    let log = kdir.segment("app-0", 0, "log");
    for position in 0..8 {
        flip(&log, position);
        let run = kdir.run(&["consume", "app", "-o", "json"]);
        let output = run.get_output();
        assert_eq!(output.status.code(), Some(4), "{position}: {}", String::from_utf8_lossy(&output.stdout));
        flip(&log, position);
    }
}

#[test]
fn a_torn_tail_is_a_quiet_end() {
    let kdir = five();
    kdir.forget_durable_end("app-0");
    let log = kdir.segment("app-0", 0, "log");
    for _ in 0..69 {
        cut(&log, 1);
        kdir.run(&["consume", "app"]).code(0).stdout("v0\nv1\nv2\nv3\n").stderr("");
    }
    assert_eq!(json_lines(&kdir.stdout(&["consume", "app", "-o", "json"])).last().unwrap()["offset"], json!(3));
}

#[test]
fn a_tail_of_zeros_is_a_quiet_end() {
    let kdir = five();
    let log = fs::File::options().write(true).open(kdir.segment("app-0", 0, "log")).unwrap();
    log.set_len(log.metadata().unwrap().len() + 5000).unwrap();
    kdir.run(&["consume", "app"]).code(0).stdout("v0\nv1\nv2\nv3\nv4\n").stderr("");
}

#[test]
fn a_damaged_index_costs_time_and_changes_no_answer() {
    let kdir = Kdir::with_topic("app", &["-c", "index.interval.bytes=0"]);
    kdir.produce("app", &["--batch-size", "1"], "v0\nv1\nv2\nv3\nv4\n");
    for suffix in ["index", "timeindex"] {
        let path = kdir.segment("app-0", 0, suffix);
        let bytes = fs::read(&path).unwrap();
        for damaged in [vec![0xff; bytes.len()], vec![0; bytes.len()], bytes[..bytes.len() - 3].to_vec(), Vec::new()] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(kdir.text(&["consume", "app", "--from-offset", "3"]), "v3\nv4\n");
            assert_eq!(kdir.text(&["consume", "app", "--since", "1h ago"]), "v0\nv1\nv2\nv3\nv4\n");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(kdir.text(&["consume", "app", "--from-offset", "3"]), "v3\nv4\n");
    }
}

#[test]
fn indexes_that_may_not_be_read_are_done_without() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=4000", "-c", "index.interval.bytes=100"]);
    let values: String = (0..200).map(|number| format!("record {number}\n")).collect();
    kdir.produce("app", &["--batch-size", "1"], values.clone());
    let all = [
        vec!["consume", "app"],
        vec!["consume", "app", "--from-offset", "150"],
        vec!["offsets", "app", "--at", "2020-01-01T00:00:00Z"],
    ];
    let before: Vec<String> = all.iter().map(|args| kdir.text(args)).collect();
    for name in kdir.entries("app-0").into_iter().filter(|name| name.ends_with("index")) {
        fs::set_permissions(kdir.path(&format!("app-0/{name}")), fs::Permissions::from_mode(0o000)).unwrap();
    }
    for (args, expected) in all.iter().zip(before) {
        let output = kdir.process_bound_by_modes(args).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
        assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), expected), "{args:?}");
    }
}
