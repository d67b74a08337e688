//! `kdir dump`.

use crate::support::{Kdir, cut, flip};
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Three batches of a record and 70 bytes, with the timestamps 1000, 2000 and 3000, each indexed.
fn three() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "index.interval.bytes=0"]);
    let line = |it: i64| {
        format!("{{\"value\":\"v{it}\",\"timestamp_type\":\"CreateTime\",\"timestamp\":{}}}\n", 1000 * (it + 1))
    };
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
            "base_sequence": null, "flags": null, "control_type": null, "checksum": "ok",
        })
    };
    assert_eq!(dump(&kdir, &log), [0, 1, 2].map(batch));
}

#[test]
fn shows_a_log_as_tsv_with_the_columns_that_the_help_names() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    let file = log.to_str().unwrap();
    let first = format!("{file}\t0\t2\t0\t0\t1\t70\tnone\tCreateTime\t1000\t1000\t0\t\t\t\t\t\tok");
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
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "2"]).code(0).stderr("");
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
            .stderr(starts_with(format!("kdir: {name} is not a file that dump knows: expected a .log, .index, ")));
    }
    kdir.run(&["dump"]).code(2).stdout("").stderr(contains("needs FILE"));
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

/// The rows, the exit code and what was said.
fn dump_damaged(kdir: &Kdir, args: &[&str]) -> (Vec<Value>, Option<i32>, String) {
    let run = kdir.run(&[&["dump"], args].concat());
    let output = run.get_output();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (crate::support::json_lines(&output.stdout), output.status.code(), stderr)
}

fn field(rows: &[Value], name: &str) -> Vec<Value> {
    rows.iter().map(|row| row[name].clone()).collect()
}

#[test]
fn a_log_is_shown_behind_the_damage_as_well() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    flip(&log, 70 + 16);
    let file = log.to_str().unwrap();
    let (rows, code, stderr) = dump_damaged(&kdir, &[file, "-o", "json"]);
    assert_eq!((field(&rows, "position"), code), (vec![json!(0), json!(140)], Some(4)));
    assert!(stderr.starts_with(&format!("kdir: {file} is corrupt at position 70 (offset 1): ")), "{stderr}");
    assert!(stderr.ends_with("; going on at position 140\n"), "{stderr}");
}

#[test]
fn batches_out_of_order_are_shown_and_named() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, [&bytes[..70], &bytes[140..], &bytes[70..140], &bytes[140..]].concat()).unwrap();
    let file = log.to_str().unwrap();
    let (rows, code, stderr) = dump_damaged(&kdir, &[file, "-o", "json"]);
    assert_eq!((field(&rows, "base_offset"), code), (vec![json!(0), json!(2), json!(1), json!(2)], Some(4)));
    let what = "the batch begins at offset 1, and those before it end below 3";
    assert_eq!(stderr, format!("kdir: {file} is corrupt at position 140 (offset 1): {what}\n"));
}

#[test]
fn a_file_that_is_damaged_keeps_no_other_from_being_shown() {
    let kdir = three();
    let (log, metadata) = (kdir.segment("app-0", 0, "log"), kdir.path("app-0/partition.metadata"));
    fs::write(&metadata, "nonsense\n").unwrap();
    let files = [metadata.to_str().unwrap(), "/there/is/no/x-offset-checkpoint", log.to_str().unwrap(), "-o", "json"];
    let (rows, code, stderr) = dump_damaged(&kdir, &files);
    assert_eq!((rows.len(), code), (3, Some(4)), "{stderr}");
    assert_eq!(stderr.matches("kdir: ").count(), 2, "{stderr}");
}

#[test]
fn shows_the_records_of_a_log() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=1000000"]);
    let line = r#"{"key":"k","value":"a\tb","timestamp":7,"timestamp_type":"CreateTime","headers":[{"key":"h","value":null}]}"#;
    let bytes = r#"{"value_b64":"/w==","timestamp":8,"timestamp_type":"CreateTime"}"#;
    kdir.produce("app", &["-i", "json", "-z", "zstd"], format!("{line}\n{bytes}\n"));
    let log = kdir.segment("app-0", 0, "log");
    let file = log.to_str().unwrap();
    let headers = json!([{ "key": "h", "value": null }]);
    let first = json!({
        "file": file, "position": 0, "offset": 0, "timestamp": 7, "timestamp_type": "CreateTime", "key": "k",
        "value": "a\tb", "headers": headers,
    });
    let second = json!({
        "file": file, "position": 0, "offset": 1, "timestamp": 8, "timestamp_type": "CreateTime", "key": null,
        "value_b64": "/w==", "headers": [],
    });
    assert_eq!(kdir.json(&["dump", "--records", file]), [first, second]);
    // What was cut from a log is shown in the same way.
    let cut = kdir.path("app-0/cut-00000000000000000000-0.1");
    fs::copy(&log, &cut).unwrap();
    assert_eq!(field(&kdir.json(&["dump", "--records", cut.to_str().unwrap()]), "offset"), [0, 1]);
}

#[test]
fn shows_records_of_a_batch_with_a_wrong_checksum_on_demand() {
    let kdir = three();
    let log = kdir.segment("app-0", 0, "log");
    flip(&log, 138);
    let file = log.to_str().unwrap();
    let (rows, code, stderr) = dump_damaged(&kdir, &["--records", file]);
    assert_eq!((field(&rows, "value"), code), (vec![json!("v0"), json!("v2")], Some(4)));
    assert!(stderr.contains("position 70 (offset 1): the checksum"), "{stderr}");
    let (rows, code, _) = dump_damaged(&kdir, &["--records", "--ignore-checksum", file]);
    assert_eq!((field(&rows, "offset"), code), (vec![json!(0), json!(1), json!(2)], Some(4)));
    assert_eq!(field(&rows, "checksum"), [Value::Null, json!("WRONG"), Value::Null]);
}

#[test]
fn records_are_only_those_of_logs() {
    let kdir = three();
    let (log, index) = (kdir.segment("app-0", 0, "log"), kdir.segment("app-0", 0, "index"));
    let (log, index) = (log.to_str().unwrap(), index.to_str().unwrap());
    let refused = |args: &[&str], expected: &str| {
        kdir.run(args).code(2).stdout("").stderr(contains(expected.to_owned()));
    };
    refused(&["dump", "--records", index], &format!("--records: there are no records in {index}"));
    refused(&["dump", "--records", "-o", "tsv", log], "--records writes JSON lines, and no TSV");
    refused(&["dump", "--ignore-checksum", log], "--records");
}

/// What the control batches of a file that a broker wrote say, by batches and by records.
fn control_types(path: &str) -> [Vec<String>; 2] {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(path);
    [&["-o", "json"][..], &["--records"]].map(|args| {
        let rows = three().json(&[&["dump", path.to_str().unwrap()], args].concat());
        rows.iter().filter_map(|row| row["control_type"].as_str().map(str::to_owned)).collect()
    })
}

#[test]
fn tells_what_control_batches_say() {
    for (path, expected) in [
        ("kafka/transactions-0/00000000000000000000.log", &["COMMIT", "ABORT", "ABORT", "COMMIT", "COMMIT"][..]),
        ("kafka/v2-leader-change-0/00000000000000000000.log", &["LEADER_CHANGE"]),
        ("metadata/bootstrap.checkpoint", &["SNAPSHOT_HEADER", "SNAPSHOT_FOOTER"]),
    ] {
        assert_eq!(control_types(path), [expected, expected], "{path}");
    }
}

#[test]
fn shows_the_files_of_a_brokers_metadata() {
    let kdir = three();
    let properties = kdir.file("meta.properties", "#\n#Mon\nversion=1\ncluster.id=abc\nnode.id = 1\n");
    let row = |key: &str, value: &str| json!({ "file": properties, "key": key, "value": value });
    let expected = [row("version", "1"), row("cluster.id", "abc"), row("node.id", "1")];
    assert_eq!(dump(&kdir, Path::new(&properties)), expected);
    let quorum = kdir.file("quorum-state", r#"{"leaderId":1,"clusterId":"","data_version":1}"#);
    let rows = dump(&kdir, Path::new(&quorum));
    assert_eq!(field(&rows, "key"), ["clusterId", "data_version", "leaderId"]);
    assert_eq!(field(&rows, "value"), ["", "1", "1"]);
    kdir.run(&["dump", &kdir.file("quorum-state", "[]")]).code(4).stderr(contains("no JSON object"));
    // The first batch of a snapshot is a control batch.
    let log = fs::read(kdir.segment("app-0", 0, "log")).unwrap();
    let snapshot = kdir.path("00000000000000000042-0000000001.checkpoint");
    fs::write(&snapshot, log).unwrap();
    assert_eq!(field(&dump(&kdir, &snapshot), "base_offset"), [0, 1, 2]);
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
