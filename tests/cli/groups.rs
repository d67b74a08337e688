//! `kdir groups` on what brokers wrote, and on what nobody can read.

use crate::support::Kdir;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use predicates::str::contains;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// A log dir with the partitions of `__consumer_offsets` that a broker of that version wrote.
fn of_broker(version: &str) -> Kdir {
    let kdir = Kdir::with_topic("orders", &["--partitions", "3"]);
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal").join(format!("logs-{version}"));
    for folder in fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("__consumer_offsets-") {
            let copy = kdir.path(&name);
            fs::create_dir(&copy).unwrap();
            fs::copy(folder.join("00000000000000000000.log"), copy.join("00000000000000000000.log")).unwrap();
        }
    }
    kdir
}

/// Some fields of each row.
fn rows(kdir: &Kdir, args: &[&str], fields: &[&str]) -> Vec<Value> {
    let rows = kdir.json(&[args, &["-o", "json"]].concat());
    rows.iter().map(|row| fields.iter().map(|field| row[field].clone()).collect()).collect()
}

#[test]
fn groups_of_brokers_are_what_they_wrote_last() {
    let fields = ["group", "type", "state", "members", "topics", "last_commit"];
    let list = |version| rows(&of_broker(version), &["groups", "list"], &fields);
    let expected = json!([
        ["admin-g", "Classic", "Empty", 0, 1, 1_795_635_574_175_i64],
        ["classic-g", "Classic", "Empty", 0, 0, null],
        ["console-g", "Classic", "Empty", 0, 1, 1_795_635_577_575_i64],
        ["consumer-g", "Consumer", "Empty", 0, 1, 1_795_635_571_228_i64],
        ["share-g", "Share", "Empty", 0, 0, null],
        ["simple-g", "Classic", "Empty", 0, 1, 1_795_635_573_385_i64],
        ["static-g", "Classic", "Empty", 0, 1, 1_795_635_572_400_i64],
        ["txn-g", "Classic", "Empty", 0, 1, 1_795_635_575_334_i64],
    ]);
    assert_eq!(json!(list("4.3.1")), expected);
    for version in ["3.9.2", "2.8.2"] {
        let list = list(version);
        assert_eq!(json!(list[0].as_array().unwrap()[..5]), json!(["kcat-g", "Classic", "Empty", 0, 1]), "{version}");
        assert_eq!(list.len(), 1);
    }
    let kdir = of_broker("4.3.1");
    let shares = rows(&kdir, &["groups", "list", "--type", "share"], &["group"]);
    assert_eq!(json!(shares), json!([["share-g"]]));
}

#[test]
fn the_lag_is_what_a_group_has_not_read_and_behind_is_since_when() {
    let kdir = of_broker("4.3.1");
    for (partition, count) in [("0", 7), ("1", 2), ("2", 1)] {
        let lines: String = (0..count).map(|number| format!("v{number}\n")).collect();
        kdir.produce("orders", &["-p", partition, "--timestamp", "2020-01-01T00:00:00Z"], lines);
    }
    let fields = ["partition", "committed", "log_start_offset", "log_end_offset", "lag", "lost"];
    let describe = |group| json!(rows(&kdir, &["-q", "groups", "describe", group], &fields));
    // A transaction was committed at 3, and another one aborted.
    assert_eq!(describe("txn-g"), json!([[0, 3, 0, 7, 4, 0], [1, null, 0, 2, 2, 0], [2, null, 0, 1, 1, 0]]));
    // More was committed than there is here.
    assert_eq!(describe("admin-g"), json!([[0, null, 0, 7, 7, 0], [1, null, 0, 2, 2, 0], [2, 9, 0, 1, -8, 0]]));
    let behind = rows(&kdir, &["groups", "describe", "txn-g"], &["behind_ms"]);
    assert!(behind[0][0].as_i64().unwrap() > 5 * 365 * 86_400_000, "{behind:?}");
    let lags = rows(&kdir, &["groups", "list"], &["group", "lag"]);
    assert!(lags.contains(&json!(["txn-g", 7])), "{lags:?}");

    kdir.run(&["-q", "delete-records", "orders", "--before-offset", "0:5", "--yes"]).code(0);
    let lost = "txn-g has lost 2 records of orders-0: they were removed before it read them";
    kdir.run(&["groups", "describe", "txn-g"]).code(0).stderr(contains(lost));
    assert_eq!(describe("txn-g")[0], json!([0, 3, 5, 7, 2, 2]));
}

#[test]
fn a_group_that_is_not_there_is_an_error_and_the_others_are_shown() {
    let kdir = of_broker("4.3.1");
    let run = kdir.run(&["groups", "describe", "nobody", "txn-g", "-o", "tsv"]).code(1);
    run.stderr("kdir: there is no group nobody\n").stdout(contains("txn-g\tClassic\tEmpty\torders\t0\t3\t"));
    Kdir::with_topic("t", &[]).run(&["groups", "list"]).code(0).stdout("").stderr("there are no groups\n");
    kdir.run(&["groups", "describe", ""]).code(2).stderr(contains("a group id has at least one character"));
}

#[test]
fn what_cannot_be_read_stops_nobody() {
    let kdir = of_broker("4.3.1");
    let record = |key: &[u8], value: &[u8]| json!({"key_b64": BASE64.encode(key), "value_b64": BASE64.encode(value)});
    let lines: String = [
        record(b"\x00\x63\x00\x01g", b""),
        record(b"\x00", b""),
        record(b"\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00", b"\x00\x09"),
        record(
            b"\x00\x01\x00\x00\x00\x01t\x00\x00\x00\x00",
            b"\x00\x03\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0",
        ),
        record(
            b"\x00\x01\x00\x01g\x00\x01/\x00\x00\x00\x00",
            b"\x00\x03\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0",
        ),
    ]
    .iter()
    .map(|record| format!("{record}\n"))
    .collect();
    kdir.create("t", &[]);
    kdir.produce("t", &["-i", "json"], lines);
    // A record that no group is of can be in any partition.
    fs::create_dir(kdir.path("__consumer_offsets-3")).unwrap();
    fs::copy(kdir.segment("t-0", 0, "log"), kdir.segment("__consumer_offsets-3", 0, "log")).unwrap();
    kdir.run(&["groups", "list"]).code(0).stderr("").stdout(contains("txn-g"));
    let run = kdir.run(&["-v", "groups", "list"]).code(0);
    for told in [
        "offset 0: key type 99",
        "offset 1: ",
        "offset 2: the value of a record of type 1: version 9",
        "offset 3: a record of type 1: a group id has at least one character",
        "offset 4: topic \"/\": ",
    ] {
        let stderr = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        assert!(
            stderr.contains(&format!("__consumer_offsets-3: passed over the record at {told}")),
            "{told}: {stderr}"
        );
    }
    // Damage of one partition leaves the others.
    let log = kdir.segment("__consumer_offsets-14", 0, "log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[100] ^= 1;
    fs::write(&log, bytes).unwrap();
    let run = kdir.run(&["groups", "list"]).stdout(contains("console-g"));
    assert_ne!(run.get_output().status.code(), Some(0));
}
