//! `kdir dump`.

use crate::support::{Kdir, cut, flip};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Three batches of a record and 70 bytes, with the timestamps 1000, 2000 and 3000, each indexed.
fn three() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "index.interval.bytes=0"]);
    let line = |it: i64| format!("{{\"value\":\"v{it}\",\"timestamp\":{}}}\n", 1000 * (it + 1));
    kdir.produce("app", &["-i", "json", "--batch-size", "1"], [0, 1, 2].map(line).concat());
    kdir
}

fn dump(kdir: &Kdir, path: &Path) -> Vec<Value> {
    kdir.json(&["dump", path.to_str().unwrap(), "-o", "json"])
}

#[test]
fn shows_a_log_batch_by_batch() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    let batch = |it: i64| {
        json!({
            "file": log, "position": 70 * it, "magic": 2, "base_offset": it, "last_offset": it, "records": 1, "bytes": 70,
            "codec": "none", "timestamp_type": "CreateTime", "base_timestamp": 1000 * (it + 1),
            "max_timestamp": 1000 * (it + 1), "leader_epoch": 0, "producer_id": null, "producer_epoch": null,
            "base_sequence": null, "flags": null, "checksum": "ok",
        })
    };
    assert_eq!(dump(&kdir, &log), [0, 1, 2].map(batch));
}

#[test]
fn shows_a_log_as_tsv_with_the_columns_that_the_help_names() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    let file = log.to_str().unwrap();
    let first = format!("{file}\t0\t2\t0\t0\t1\t70\tnone\tCreateTime\t1000\t1000\t0\t\t\t\t\tok");
    let rows = kdir.text(&["dump", file, "-o", "tsv"]);
    assert_eq!(rows.lines().next().unwrap(), first);
    assert_eq!(rows.lines().count(), 3);
}

#[test]
fn shows_a_log_as_a_table() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    let table = kdir.text(&["dump", log.to_str().unwrap()]);
    assert!(table.starts_with("POSITION  MAGIC  BASE OFFSET  LAST OFFSET  RECORDS  BYTES  CODEC"), "{table}");
    assert!(table.contains("1970-01-01 00:00:02"), "{table}");
    assert_eq!(table.lines().count(), 4);
}

#[test]
fn shows_an_offset_index_entry_by_entry() {
    let kdir = three();
    let index = kdir.segment("app-0", 0, "index");
    let entry = |offset: i64| json!({ "file": index, "offset": offset, "position": 70 * offset });
    assert_eq!(dump(&kdir, &index), [1, 2].map(entry));
    let table = "OFFSET  POSITION\n     1        70\n     2       140\n";
    kdir.run(&["dump", index.to_str().unwrap()]).code(0).stdout(table).stderr("");
}

#[test]
fn shows_a_time_index_entry_by_entry() {
    let kdir = three();
    let index = kdir.segment("app-0", 0, "timeindex");
    let entry = |offset: i64| json!({ "file": index, "timestamp": 1000 * (offset + 1), "offset": offset });
    assert_eq!(dump(&kdir, &index), [1, 2].map(entry));
}

#[test]
fn offsets_of_a_later_segment_are_absolute() {
    let kdir = Kdir::with_topic("app", &["-c", "index.interval.bytes=0", "-c", "segment.bytes=200"]);
    kdir.produce("app", &["--batch-size", "1"], "v0\nv1\nv2\nv3\n");
    let index = kdir.segment("app-0", 2, "index");
    assert_eq!(dump(&kdir, &index), [json!({ "file": index, "offset": 3, "position": 70 })]);
    assert_eq!(dump(&kdir, &kdir.segment("app-0", 2, "log"))[1]["base_offset"], 3);
}

#[test]
fn shows_checkpoint_files() {
    let kdir = three();
    kdir.run(&["-q", "delete-records", "app", "--before-offset", "2"]).code(0).stderr("");
    let starts = kdir.path("log-start-offset-checkpoint");
    assert_eq!(dump(&kdir, &starts), [json!({ "file": starts, "topic": "app", "partition": 0, "offset": 2 })]);
    let epochs = kdir.path("app-0/leader-epoch-checkpoint");
    assert_eq!(dump(&kdir, &epochs), [json!({ "file": epochs, "epoch": 0, "start_offset": 0 })]);
}

#[test]
fn shows_the_topic_id_of_a_partition() {
    let kdir = three();
    let metadata = kdir.path("app-0/partition.metadata");
    let topic: Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    let expected = json!({ "file": metadata, "version": 0, "topic_id": topic["topic_id"] });
    assert_eq!(dump(&kdir, &metadata), [expected]);
}

#[test]
fn shows_several_files_each_under_its_name() {
    let kdir = three();
    let (index, epochs) = (kdir.segment("app-0", 0, "index"), kdir.path("app-0/leader-epoch-checkpoint"));
    let expected = format!(
        "{}\nOFFSET  POSITION\n     1        70\n     2       140\n\n{}\nEPOCH  START OFFSET\n    0             0\n",
        index.display(),
        epochs.display()
    );
    kdir.run(&["dump", index.to_str().unwrap(), epochs.to_str().unwrap()]).code(0).stdout(expected).stderr("");
}

#[test]
fn an_empty_log_has_no_batches() {
    let kdir = Kdir::with_topic("app", &[]);
    for suffix in ["log", "index", "timeindex"] {
        kdir.run(&["dump", kdir.segment("app-0", 0, suffix).to_str().unwrap()]).code(0).stdout("").stderr("");
    }
}

#[test]
fn a_file_of_an_unknown_kind_is_wrong_usage() {
    let kdir = three();
    for name in [kdir.path("app.json").to_str().unwrap().to_owned(), kdir.file("1.log", "")] {
        kdir.run(&["dump", &name])
            .code(2)
            .stdout("")
            .stderr(starts_with(format!("kdir: {name} is no file that dump knows: expected a .log, .index, ")));
    }
    kdir.run(&["dump"]).code(2).stdout("").stderr(contains("<FILE>"));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let kdir = three();
    for name in ["app-0/00000000000000000009.log", "app-0/00000000000000000009.index", "x-offset-checkpoint"] {
        let path = kdir.path(name);
        kdir.run(&["dump", path.to_str().unwrap()])
            .code(1)
            .stdout("")
            .stderr(starts_with(format!("kdir: cannot open {}: No such file", path.display())));
    }
}

#[test]
fn a_wrong_checksum_is_shown_beside_the_batch() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    flip(&log, 138);
    let run = kdir.run(&["dump", log.to_str().unwrap(), "-o", "json"]);
    let rows = crate::support::json_lines(&run.get_output().stdout);
    let checksums: Vec<&Value> = rows.iter().map(|row| &row["checksum"]).collect();
    assert_eq!(checksums, ["ok", "WRONG", "ok"]);
    run.code(4).stderr(starts_with("kdir: "));
}

#[test]
fn a_damaged_log_is_shown_up_to_the_damage() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    flip(&log, 70 + 16);
    let run = kdir.run(&["dump", log.to_str().unwrap(), "-o", "json"]);
    let rows = crate::support::json_lines(&run.get_output().stdout);
    let positions: Vec<&Value> = rows.iter().map(|row| &row["position"]).collect();
    assert_eq!(positions, [0]);
    run.code(4).stderr(
        starts_with("kdir: the rest of the file is not shown: ")
            .and(contains(format!("{} is corrupt at position 70 (offset 1): ", log.display()))),
    );
}

#[test]
fn a_torn_tail_is_named() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    cut(&log, 1);
    let run = kdir.run(&["dump", log.to_str().unwrap(), "-o", "json"]);
    assert_eq!(crate::support::json_lines(&run.get_output().stdout).len(), 2);
    run.code(4).stderr(contains("position 140"));
}

#[test]
fn a_damaged_small_file_is_named() {
    let kdir = three();
    for name in ["app-0/leader-epoch-checkpoint", "app-0/partition.metadata"] {
        let path = kdir.path(name);
        fs::write(&path, "nonsense\n").unwrap();
        kdir.run(&["dump", path.to_str().unwrap()])
            .code(4)
            .stdout("")
            .stderr(starts_with(format!("kdir: {} is corrupt at position 0", path.display())));
    }
}

#[test]
fn a_long_table_is_written_in_parts_under_one_heading() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--batch-size", "1"], "x\n".repeat(5000));
    let log = kdir.segment("app-0", 0, "log");
    let run = kdir.run(&["dump", log.to_str().unwrap()]);
    let table = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert_eq!(table.lines().count(), 5001);
    assert_eq!(table.matches("POSITION").count(), 1);
    assert!(table.lines().last().unwrap().contains(" 4999 "));
}
