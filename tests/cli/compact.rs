//! `kdir compact` and `kdir consume --latest-by-key`.

use crate::support::{Kdir, json_lines};
use predicates::str::contains;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

const OLD: &str = "2020-01-01T00:00:00Z";

/// A compacted topic of five keys, each written often, in segments of some 30 records.
pub(crate) fn users(options: &[&str]) -> Kdir {
    let kdir =
        Kdir::with_topic("users", &[&["-c", "cleanup.policy=compact", "-c", "segment.bytes=1000"], options].concat());
    produce(&kdir, 0..200);
    kdir
}

pub(crate) fn produce(kdir: &Kdir, numbers: std::ops::Range<u32>) {
    let lines: String = numbers.map(|number| format!("k{}\tvalue {number}\n", number % 5)).collect();
    kdir.produce("users", &["-K", "\\t", "--batch-size", "100"], lines);
}

/// Deletes a key: a record without a value.
pub(crate) fn delete(kdir: &Kdir, key: &str) {
    let line = format!("{{\"key\":\"{key}\",\"value\":null}}\n");
    kdir.produce("users", &["-i", "json"], line);
}

fn map(kdir: &Kdir) -> BTreeMap<String, String> {
    let run = kdir.run(&["consume", "users", "-o", "json"]).code(0);
    let mut map = BTreeMap::new();
    for row in json_lines(&run.get_output().stdout) {
        let key = row["key"].as_str().unwrap().to_owned();
        match row["value"].as_str() {
            Some(value) => drop(map.insert(key, value.to_owned())),
            None => drop(map.remove(&key)),
        }
    }
    map
}

pub(crate) fn compacted(kdir: &Kdir, args: &[&str]) -> serde_json::Value {
    let run = kdir.run(&[&["compact", "users", "-o", "json"], args].concat()).code(0);
    json_lines(&run.get_output().stdout).remove(0)
}

fn cleaned_to(kdir: &Kdir) -> Option<String> {
    let text = fs::read_to_string(kdir.path("cleaner-offset-checkpoint")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("users 0 ").map(str::to_owned))
}

#[test]
fn the_newest_record_of_each_key_stays_and_offsets_go_on() {
    let kdir = users(&[]);
    let before = map(&kdir);
    let row = compacted(&kdir, &[]);
    assert_eq!((&row["action"], &row["dirty_ratio"]), (&"compacted".into(), &1.0.into()));
    assert!(row["bytes_after"].as_u64() < row["bytes"].as_u64(), "{row}");
    assert_eq!(map(&kdir), before);
    assert_eq!(cleaned_to(&kdir).unwrap(), row["limit"].to_string());
    kdir.run(&["verify", "users"]).code(0);
    produce(&kdir, 200..201);
    assert_eq!(map(&kdir)["k0"], "value 200");
    let run = kdir.run(&["consume", "users", "-f", "%o\\n", "--tail", "1"]).code(0);
    assert_eq!(run.get_output().stdout, b"200\n");
    // The active segment too, whatever the ratio.
    let row = compacted(&kdir, &["--force", "--roll"]);
    assert_eq!((&row["limit"], &row["reasons"]), (&201.into(), &"".into()));
    assert_eq!(kdir.values("users").lines().count(), 5);
    kdir.run(&["verify", "users"]).code(0);
    kdir.run(&["describe", "users"]).code(0).stdout(contains("users-0  dirty ratio 0.00, compacted up to offset 201"));
    assert!(!kdir.entries("users-0").iter().any(|name| name.contains("compacting")));
}

#[test]
fn a_dry_run_changes_nothing_and_says_what_would_go() {
    let kdir = users(&[]);
    let files = || {
        let read = |name: &String| fs::read(kdir.path("users-0").join(name)).unwrap();
        kdir.entries("users-0").into_iter().map(|name| (name.clone(), read(&name))).collect::<Vec<_>>()
    };
    let before = files();
    let planned = compacted(&kdir, &["--dry-run"]);
    assert_eq!((files(), cleaned_to(&kdir)), (before, None));
    let done = compacted(&kdir, &[]);
    for count in ["superseded", "tombstones", "aborted", "markers", "keyless", "limit", "segments_after"] {
        assert_eq!(planned[count], done[count], "{count}");
    }
    assert_eq!(planned["action"], "would compact");
}

#[test]
fn without_a_log_dir_there_is_nothing_to_compact() {
    let kdir = Kdir::new();
    let told = format!("there is no log dir {}, so there is nothing to compact\n", kdir.log_dir().display());
    kdir.run(&["compact"]).code(0).stdout("").stderr(told);
}

#[test]
fn what_memory_has_no_room_for_is_told() {
    let kdir = Kdir::with_topic("t", &["-c", "cleanup.policy=compact"]);
    let lines: Vec<u8> = (0..70_000).flat_map(|number| format!("k{number}\tv\n").into_bytes()).collect();
    kdir.produce("t", &["-K", "\\t"], lines);
    let told = " of hashes of keys went to a file (--memory)\n";
    let args = ["-v", "compact", "t", "--force", "--roll", "--memory", "1MiB"];
    kdir.run(&args).code(0).stderr(contains(told));
}

#[test]
fn what_is_not_due_is_left_with_the_reason() {
    let kdir = users(&["-c", "min.cleanable.dirty.ratio=0.9"]);
    compacted(&kdir, &[]);
    produce(&kdir, 200..260);
    let row = compacted(&kdir, &[]);
    assert_eq!(row["action"], "left");
    assert!(row["reasons"].as_str().unwrap().contains("is not above 0.9 (--force)"), "{row}");
    assert_eq!(compacted(&kdir, &["-c", "min.cleanable.dirty.ratio=0.1"])["action"], "compacted");
    // Nothing closed, so nothing to do.
    let kdir = Kdir::with_topic("users", &["-c", "cleanup.policy=compact"]);
    produce(&kdir, 0..9);
    let row = compacted(&kdir, &["--force"]);
    assert_eq!(row["reasons"], "no closed segment to compact; active segment: 100 % of the bytes (--roll)");
}

#[test]
fn a_young_segment_waits_and_an_old_one_does_not() {
    let kdir = users(&["-c", "min.compaction.lag.ms=1h"]);
    let row = compacted(&kdir, &["--force"]);
    assert_eq!(row["action"], "left");
    assert!(row["reasons"].as_str().unwrap().contains("segment 0 is within min.compaction.lag.ms until "), "{row}");
    let kdir =
        users(&["-c", "min.cleanable.dirty.ratio=1", "-c", "max.compaction.lag.ms=7d", "-c", "segment.ms=1000d"]);
    assert_eq!(compacted(&kdir, &[])["action"], "left");
    let lines = "k0\told\n".repeat(60);
    kdir.produce("users", &["-K", "\\t", "--batch-size", "100", "--timestamp", OLD], lines);
    produce(&kdir, 0..60);
    let row = compacted(&kdir, &[]);
    assert_eq!(row["action"], "compacted");
    assert!(row["reasons"].as_str().unwrap().contains("due by max.compaction.lag.ms"), "{row}");
}

#[test]
fn a_tombstone_goes_when_it_was_seen_for_long_enough() {
    let kdir = users(&["-c", "delete.retention.ms=0"]);
    delete(&kdir, "k3");
    let row = compacted(&kdir, &["--roll", "-c", "delete.retention.ms=1h"]);
    assert!(row["reasons"].as_str().unwrap().contains("tombstones wait until "), "{row}");
    assert_eq!(map(&kdir).len(), 4);
    let rows = |kdir: &Kdir| kdir.run(&["consume", "users", "-o", "json"]).code(0).get_output().stdout.clone();
    assert_eq!(json_lines(&rows(&kdir)).len(), 5, "the tombstone is still there");
    // Another, which is met first with a horizon of now, and gone with the next compaction.
    delete(&kdir, "k4");
    compacted(&kdir, &["--force", "--roll"]);
    let row = compacted(&kdir, &["--force", "--roll"]);
    assert_eq!(row["tombstones"], 1, "{row}");
    assert_eq!(map(&kdir).keys().collect::<Vec<_>>(), ["k0", "k1", "k2"]);
}

#[test]
fn a_topic_that_is_not_compacted_is_refused_when_named_and_left_when_not() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    kdir.run(&["compact", "app"]).code(1).stderr(contains("topic app is not compacted: its cleanup.policy is delete"));
    kdir.run(&["compact"]).code(0).stdout("").stderr(contains("gave back 0 B"));
    kdir.disown("app");
    kdir.run(&["compact", "app"]).code(1).stderr(contains("its cleanup.policy is not known here"));
    kdir.run(&["-q", "compact", "app", "-c", "cleanup.policy=compact"]).code(0).stdout("");
}

#[test]
fn a_small_gain_leaves_segments_and_the_next_compaction_comes_to_them() {
    let kdir = users(&[]);
    produce(&kdir, 200..230);
    let row = compacted(&kdir, &["--min-gain", "100"]);
    assert_eq!((&row["bytes"], &row["superseded"]), (&row["bytes_after"], &row["superseded"]));
    assert_eq!(cleaned_to(&kdir).unwrap(), "0");
    let row = compacted(&kdir, &["--min-gain", "20"]);
    assert!(row["bytes_after"].as_u64() < row["bytes"].as_u64(), "{row}");
}

#[test]
fn rows_for_a_machine_and_for_a_person() {
    let kdir = users(&[]);
    let run = kdir.run(&["compact", "users", "-n", "-o", "tsv"]).code(0);
    let row = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    let fields: Vec<_> = row.trim_end_matches('\n').split('\t').collect();
    assert_eq!((fields.len(), fields[0], fields[2], fields[3]), (17, "users", "would compact", "1.0000"));
    kdir.run(&["compact", "users", "-n"]).code(0).stdout(contains("SUPERSEDED")).stderr(contains("would give back"));
    kdir.run(&["-q", "compact", "users"]).code(0).stdout("").stderr("");
}

#[test]
fn a_killed_compaction_is_cleared_away_by_the_next_writer_and_a_running_one_is_left_alone() {
    let kdir = users(&[]);
    for name in ["compacting", "compacting-00000000000000000000-log", "compacting-00000000000000000000-index"] {
        fs::write(kdir.path("users-0").join(name), "left").unwrap();
    }
    let running = fs::File::open(kdir.path("users-0/compacting")).unwrap();
    running.lock().unwrap();
    produce(&kdir, 200..201);
    assert!(kdir.path("users-0/compacting-00000000000000000000-log").exists());
    let row = compacted(&kdir, &[]);
    assert_eq!(
        (&row["action"], &row["reasons"].as_str().unwrap()[..29]),
        (&"left".into(), "another compaction is going on"[..29].into())
    );
    drop(running);
    kdir.run(&["verify", "users"]).code(0);
    produce(&kdir, 201..202);
    assert!(!kdir.entries("users-0").iter().any(|name| name.starts_with("compacting")));
}

#[test]
fn the_newest_of_each_key_is_shown_without_a_change() {
    let kdir = users(&[]);
    delete(&kdir, "k3");
    let shown = |args: &[&str]| {
        let run = kdir.run(&[&["consume", "users", "-f", "%o %k %s\\n", "--latest-by-key"], args].concat()).code(0);
        String::from_utf8(run.get_output().stdout.clone()).unwrap()
    };
    assert_eq!(shown(&[]), "195 k0 value 195\n196 k1 value 196\n197 k2 value 197\n199 k4 value 199\n");
    assert_eq!(shown(&["--keep-tombstones"]).lines().last(), Some("200 k3 "));
    assert_eq!(shown(&["--grep", "196|100"]), "196 k1 value 196\n");
    assert_eq!(shown(&["--to-offset", "7"]), "2 k2 value 2\n3 k3 value 3\n4 k4 value 4\n5 k0 value 5\n6 k1 value 6\n");
    assert_eq!(shown(&["--from-offset", "199"]), "199 k4 value 199\n");
    kdir.run(&["consume", "users", "--latest-by-key", "--count"]).code(0).stdout("4\n");
    kdir.run(&["consume", "users", "--latest-by-key", "--tail", "1"]).code(2);
    kdir.run(&["consume", "users", "--keep-tombstones"]).code(2);
    kdir.run(&["consume", "users", "--latest-by-key", "-F", "-n", "4"]).code(0);
    kdir.produce("users", &[], "");
}

#[test]
fn a_tombstone_stays_as_long_as_older_records_of_its_key_are_left() {
    let kdir = Kdir::with_topic("users", &["-c", "cleanup.policy=compact", "-c", "segment.bytes=3000"]);
    let feed = |lines: String| kdir.produce("users", &["-K", "\\t", "--batch-size", "100"], lines);
    // One segment that gives back little, then one of which most goes.
    feed((0..60).map(|number| format!("u{number}\tvalue {number}\n")).collect());
    compacted(&kdir, &["--force", "--roll"]);
    delete(&kdir, "u7");
    feed("junk\tvalue\n".repeat(60));
    let round = || compacted(&kdir, &["--force", "--roll", "--min-gain", "50", "-c", "delete.retention.ms=0"]);
    for _ in 0..4 {
        round();
        assert_eq!(map(&kdir).get("u7"), None);
        feed("junk\tvalue\n".repeat(60));
    }
    let row = compacted(&kdir, &["--force", "--roll", "-c", "delete.retention.ms=0"]);
    assert_eq!(row["tombstones"], 1, "{row}");
    assert_eq!(map(&kdir).len(), 60);
}

#[test]
fn who_is_overtaken_by_a_compaction_says_so() {
    let kdir = Kdir::with_topic("users", &["-c", "cleanup.policy=compact", "-c", "segment.bytes=200000"]);
    let lines = |version: u32| -> String {
        (0..3000).map(|number| format!("u{number}\t{version} {}\n", "x".repeat(1000))).collect()
    };
    kdir.produce("users", &["-K", "\\t"], lines(1));
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdir"));
    command.args(["consume", "users", "--latest-by-key"]).env("KDIR_LOG_DIR", kdir.log_dir());
    let reader = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // It has found the newest records, and waits for somebody to read its output.
    std::thread::sleep(Duration::from_millis(700));
    kdir.produce("users", &["-K", "\\t"], lines(2));
    compacted(&kdir, &["--force", "--roll"]);
    let output = reader.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("were superseded and compacted away while they were read: run it again"), "{stderr}");
}

#[test]
fn a_swap_that_was_interrupted_is_unfinished_and_no_damage() {
    let kdir = users(&["-c", "min.cleanable.dirty.ratio=1"]);
    let before = map(&kdir);
    let merged = Kdir::new();
    let copied = Command::new("cp").args(["-a"]).arg(kdir.log_dir()).arg(merged.log_dir()).status().unwrap();
    assert!(copied.success());
    let done = compacted(&merged, &["--force", "-c", "segment.bytes=100000"]);
    assert_eq!(done["segments_after"], 2, "{done}");
    for suffix in ["log", "index", "timeindex"] {
        let old = kdir.segment("users-0", 0, suffix);
        fs::rename(&old, old.with_extension(format!("{suffix}.deleted"))).unwrap();
        fs::copy(merged.segment("users-0", 0, suffix), old.with_extension(format!("{suffix}.swap"))).unwrap();
    }
    let run = kdir.run(&["verify", "users", "-o", "json"]);
    let findings = json_lines(&run.get_output().stdout);
    assert!(findings.iter().all(|it| it["severity"] == "unfinished"), "{findings:?}");
    assert_eq!(map(&kdir), before);
    kdir.produce("users", &["-K", "\\t"], "");
    kdir.run(&["verify", "users"]).code(0);
    assert_eq!(map(&kdir), before);
}
