use super::support::{Kdir, read};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn log(kdir: &Kdir, kind: &str) -> String {
    kdir.path(&format!("app-0/00000000000000000000.{kind}")).display().to_string()
}

#[test]
fn shows_batches_entries_and_rows() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "index.interval.bytes=10"]).success();
    kdir.run_with(&["produce", "app", "--timestamp", "5000", "-z", "gzip"], b"a\nb\n").success();
    kdir.run_with(&["produce", "app", "--timestamp", "7000"], b"c\n").success();
    let batches = kdir.json(&["dump", &log(&kdir, "log"), "-o", "json"]);
    assert_eq!(batches.len(), 2);
    assert_eq!((batches[0]["codec"].as_str(), batches[0]["records"].as_i64()), (Some("gzip"), Some(2)));
    assert_eq!((batches[1]["base_offset"].as_i64(), batches[1]["checksum"].as_str()), (Some(2), Some("ok")));
    let position = batches[1]["position"].as_i64().unwrap();
    let index = kdir.json(&["dump", &log(&kdir, "index"), "-o", "json"]);
    assert_eq!((index[0]["offset"].as_i64(), index[0]["position"].as_i64()), (Some(2), Some(position)));
    let times = kdir.json(&["dump", &log(&kdir, "timeindex"), "-o", "json"]);
    assert_eq!(times.iter().map(|row| row["timestamp"].as_i64().unwrap()).collect::<Vec<_>>(), [5000, 7000]);
    kdir.run(&["delete-records", "app", "--before-offset", "1"]).success();
    let checkpoint = kdir.path("log-start-offset-checkpoint").display().to_string();
    kdir.run(&["dump", &checkpoint, "-o", "tsv"]).success().stdout(contains("app\t0\t1"));
    let epochs = kdir.path("app-0/leader-epoch-checkpoint").display().to_string();
    kdir.run(&["dump", &epochs]).success().stdout(contains("EPOCH"));
    let metadata = kdir.path("app-0/partition.metadata").display().to_string();
    kdir.run(&["dump", &metadata]).success().stdout(contains("TOPIC ID"));
}

#[test]
fn a_damaged_log_is_shown_up_to_the_damage() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a\n");
    let mut bytes = read(&kdir.path("app-0/00000000000000000000.log"));
    bytes.extend_from_slice(b"this is no batch, though it is long enough to look like one at first sight");
    std::fs::write(log(&kdir, "log"), bytes).unwrap();
    kdir.run(&["dump", &log(&kdir, "log")])
        .code(4)
        .stdout(contains("BASE OFFSET"))
        .stderr(contains("position 69").and(contains("the rest of the file is not shown")));
}

#[test]
fn a_file_of_no_known_kind_is_wrong_usage_and_a_missing_one_is_named() {
    let kdir = Kdir::with_topic("app", 1);
    let topic_file = kdir.path("app.json").display().to_string();
    kdir.run(&["dump", &topic_file]).code(2).stderr(contains("no file that dump knows"));
    kdir.run(&["dump", "nowhere"]).code(1).stderr(contains("cannot open nowhere"));
}

#[test]
fn a_long_table_is_written_in_parts_under_one_heading() {
    let kdir = Kdir::with_topic("app", 1);
    let lines = "x\n".repeat(5000);
    kdir.run_with(&["produce", "app", "--batch-size", "1"], lines.as_bytes()).success();
    let table = kdir.text(&["dump", &log(&kdir, "log")]);
    assert_eq!(table.lines().count(), 5001);
    assert_eq!(table.matches("POSITION").count(), 1);
    assert!(table.lines().last().unwrap().contains(" 4999 "));
}
