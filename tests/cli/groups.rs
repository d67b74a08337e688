//! `kdir groups` on what brokers wrote, and on what nobody can read.

use crate::support::Kdir;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use predicates::prelude::PredicateBooleanExt;
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
    // Its commit says that it is of another topic of that name.
    assert_eq!(describe("admin-g"), json!([[0, null, 0, 7, 7, 0], [1, null, 0, 2, 2, 0], [2, null, 0, 1, 1, 0]]));
    // More was committed than there is here.
    let shorter = of_broker("4.3.1");
    shorter.produce("orders", &["-p", "0"], "v\n");
    let described = rows(&shorter, &["-q", "groups", "describe", "txn-g", "-t", "orders:0"], &fields);
    assert_eq!(json!(described), json!([[0, 3, 0, 1, -2, 0]]));
    let behind = rows(&kdir, &["groups", "describe", "txn-g"], &["behind_ms"]);
    assert!(behind[0][0].as_i64().unwrap() > 5 * 365 * 86_400_000, "{behind:?}");
    let lags = rows(&kdir, &["groups", "list"], &["group", "lag"]);
    assert!(lags.contains(&json!(["txn-g", 7])), "{lags:?}");
    let fields = ["group", "topic", "partitions", "lag", "lost"];
    let by =
        |args: &[&str]| json!(rows(&kdir, &[&["-q", "groups", "describe", "txn-g", "--by"], args].concat(), &fields));
    assert_eq!(by(&["topic"]), json!([["txn-g", "orders", 3, 7, 0]]));
    assert_eq!(by(&["group", "--lag", ">1"]), json!([["txn-g", null, 2, 6, 0]]));
    let behind_by = rows(&kdir, &["groups", "describe", "txn-g", "--by", "group"], &["behind_ms"]);
    assert!(behind_by[0][0].as_i64() >= behind[0][0].as_i64(), "{behind_by:?}");

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

#[test]
fn an_id_with_control_characters_is_shown_as_text() {
    let kdir = own();
    for id in ["a\tb", "a\nb", "a\u{1b}[31m"] {
        kdir.run(&["-q", "groups", "reset", id, "-t", "orders", "--to", "1"]).code(0);
    }
    for format in ["table", "tsv"] {
        let text = kdir.text(&["groups", "list", "-o", format]);
        assert!(["a\\tb", "a\\nb", "a\\u{1b}[31m"].iter().all(|id| text.contains(id)), "{text}");
        assert!(!text.contains('\u{1b}'), "{text:?}");
    }
}

#[test]
fn offsets_of_an_earlier_topic_count_for_nothing() {
    let kdir = own();
    kdir.run(&["-q", "groups", "reset", "g", "-t", "orders", "--to", "6"]).code(0);
    // As rm leaves it: nobody has told the group.
    for partition in 0..3 {
        fs::remove_dir_all(kdir.path(&format!("orders-{partition}"))).unwrap();
    }
    fs::remove_file(kdir.path("orders.json")).unwrap();
    kdir.create("orders", &[]);
    kdir.produce("orders", &[], (0..10).map(|number| format!("{number}\n")).collect::<String>());
    let rows = rows(&kdir, &["groups", "describe", "g", "-t", "orders:0"], &["committed", "lag"]);
    assert_eq!(json!(rows), json!([[null, 10]]));
    kdir.run(&["-q", "groups", "reset", "g", "-t", "orders", "--to", "current"]).code(0).stdout(contains("0"));
    assert_eq!(kdir.text(&["consume", "orders", "-g", "g"]).lines().count(), 10);
}

#[test]
fn offsets_come_from_a_pipe_and_what_is_left_out_is_told() {
    let kdir = own();
    let reset = ["groups", "reset", "g", "-t", "orders", "-t", "orders:0", "--from-file", "-", "-o", "tsv"];
    let run = kdir.feed(&reset, "orders,0,5\norders,7,5\nnosuch,0,1\n").code(0).stdout("g\torders\t0\t\t5\n");
    run.stderr(contains("orders-7 is left out").and(contains("nosuch-0 is left out")));
}

#[test]
fn many_partitions_are_shown_and_set_with_few_descriptors() {
    let kdir = Kdir::with_topic("many", &["--partitions", "150"]);
    kdir.produce(
        "many",
        &["--partitioner", "round-robin"],
        (0..300).map(|number| format!("{number}\n")).collect::<String>(),
    );
    let with_few = |args: &[&str]| {
        let output = kdir.process_with_few_files(64, args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().count()
    };
    assert_eq!(with_few(&["-q", "groups", "reset", "g", "-t", "many", "--to", "1", "-o", "tsv"]), 150);
    assert_eq!(with_few(&["-q", "groups", "describe", "g", "-o", "tsv"]), 150);
    assert_eq!(with_few(&["-q", "groups", "describe", "g", "--by", "group", "-o", "tsv"]), 1);
    assert_eq!(with_few(&["-q", "groups", "list", "-o", "tsv"]), 1);
}

/// A log dir of our own, with ten records in each of three partitions.
fn own() -> Kdir {
    let kdir = Kdir::with_topic("orders", &["--partitions", "3"]);
    for partition in ["0", "1", "2"] {
        let lines: String = (0..10).map(|number| format!("v{number}\n")).collect();
        kdir.produce("orders", &["-p", partition, "--timestamp", "2020-01-01T00:00:00Z"], lines);
    }
    kdir
}

/// Prior and new offset of each partition that a reset has moved.
fn reset(kdir: &Kdir, group: &str, args: &[&str]) -> Value {
    json!(rows(kdir, &[&["-q", "groups", "reset", group], args].concat(), &["partition", "prior", "new"]))
}

fn committed(kdir: &Kdir, group: &str) -> Vec<Value> {
    rows(kdir, &["-q", "groups", "describe", group], &["committed"]).into_iter().map(|row| row[0].clone()).collect()
}

#[test]
fn a_group_is_set_to_where_it_is_to_go_on() {
    let kdir = own();
    let all = &["--topic", "orders"];
    let to = |where_to: &[&str]| reset(&kdir, "g", &[&all[..], where_to].concat());
    assert_eq!(to(&["--to", "4", "--dry-run"]), json!([[0, null, 4], [1, null, 4], [2, null, 4]]));
    assert!(!kdir.path("__consumer_offsets.json").exists());
    assert_eq!(to(&["--to", "4"]), json!([[0, null, 4], [1, null, 4], [2, null, 4]]));
    assert_eq!(reset(&kdir, "g", &["--topic", "orders:1", "--shift", "-3"]), json!([[1, 4, 1]]));
    assert_eq!(
        reset(&kdir, "g", &["--topic", "orders:0", "--topic", "orders:2", "--to", "earliest"]),
        json!([[0, 4, 0], [2, 4, 0]])
    );
    assert_eq!(committed(&kdir, "g"), [0, 1, 0]);
    assert_eq!(to(&["--to", "latest"]), json!([[0, 0, 10], [1, 1, 10], [2, 0, 10]]));
    assert_eq!(to(&["--to", "2019-01-01"]), json!([[0, 10, 0], [1, 10, 0], [2, 10, 0]]));
    assert_eq!(to(&["--to", "2021-01-01"]), json!([[0, 0, 10], [1, 0, 10], [2, 0, 10]]));
    assert_eq!(reset(&kdir, "other", &["--topic", "orders:0,2", "--like", "g"]), json!([[0, null, 10], [2, null, 10]]));
    assert_eq!(reset(&kdir, "other", &["--all-topics", "--to", "current"]), json!([[0, 10, 10], [2, 10, 10]]));

    let exported = kdir.text(&["groups", "reset", "g", "--all-topics", "--shift", "-2", "--export"]);
    assert_eq!(exported, "orders,0,8\norders,1,8\norders,2,8\n");
    let file = kdir.file("offsets.csv", "orders,0,3\n\nother,orders,1,5\ng,orders,2,6\n");
    assert_eq!(to(&["--from-file", &file]), json!([[0, 10, 3], [2, 10, 6]]));
    assert_eq!(committed(&kdir, "g"), [3, 10, 6]);
    kdir.assert_sound();
}

#[test]
fn what_cannot_be_reset_is_said() {
    let kdir = own();
    let refused = |args: &[&str], code: i32, told: &str| {
        kdir.run(&[&["groups", "reset"], args].concat()).code(code).stdout("").stderr(contains(told));
    };
    refused(&["g", "--topic", "orders"], 2, "--to");
    refused(&["g", "--to", "1"], 2, "--topic");
    refused(&["g", "--topic", "orders", "--to", "nowhere"], 2, "--to: ");
    refused(&["g", "--topic", "orders:7", "--to", "1"], 1, "partition 7");
    refused(&["g", "--topic", "order", "--to", "1"], 1, "there is no topic order");
    refused(&["g", "--all-topics", "--to", "1"], 1, "there is no group g");
    refused(&["g", "--topic", "orders", "--like", "h"], 1, "there is no group h");
    let file = kdir.file("bad.csv", "orders,0\n");
    refused(&["g", "--topic", "orders", "--from-file", &file], 2, "line 1 is not TOPIC,PARTITION,OFFSET: orders,0");
    // What is not in the log becomes what is.
    let run = kdir.run(&["groups", "reset", "g", "--topic", "orders:1", "--to", "99", "-o", "tsv"]).code(0);
    run.stdout("g\torders\t1\t\t10\n").stderr("warning: orders-1 has no offset 99: the nearest is 10\n");
}

#[test]
fn groups_are_deleted_and_so_is_what_they_know_of_a_deleted_topic() {
    let kdir = own();
    kdir.create("bills", &[]);
    for topic in ["orders", "bills"] {
        reset(&kdir, "g", &["--topic", topic, "--to", "0"]);
        reset(&kdir, "h", &["--topic", topic, "--to", "0"]);
    }
    kdir.run(&["groups", "delete", "g"]).code(2);
    kdir.run(&["groups", "delete", "g", "--topic", "orders:0,1", "--yes"])
        .code(0)
        .stderr("deleted the offsets of group g (2 partitions)\n");
    assert_eq!(committed(&kdir, "g"), [json!(0), Value::Null, Value::Null, json!(0)]);
    let run = kdir.run(&["groups", "delete", "nobody", "h", "--yes"]).code(1);
    run.stderr("kdir: there is no group nobody\ndeleted group h (4 partitions)\n");
    kdir.run(&["groups", "describe", "h"]).code(1);
    // A broker takes the id of a deleted group for that of another kind only after a record of type 2 without a value, and in
    // one batch no compaction leaves one without the other.
    let place = format!("__consumer_offsets-{}", "h".parse::<kdir::units::GroupId>().unwrap().partition_of(50));
    let log = kdir.segment(&place, 0, "log");
    let records = kdir.json(&["dump", "--records", log.to_str().unwrap()]);
    let last: Vec<&Value> =
        records.iter().filter(|row| row["position"] == records.last().unwrap()["position"]).collect();
    let types: Vec<&str> = last.iter().map(|row| row["key"]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["1", "1", "1", "1", "2"]);
    assert!(last.iter().all(|row| row["value"].is_null()));
    kdir.run(&["-v", "delete", "orders", "--yes"]).code(0).stderr(contains("group g has forgotten topic orders\n"));
    kdir.create("orders", &[]);
    assert_eq!(json!(rows(&kdir, &["groups", "describe"], &["group", "topic"])), json!([["g", "bills"]]));
    kdir.run(&["-q", "delete", "bills", "--yes"]).code(0).stderr("");
    kdir.run(&["groups", "list"]).code(0).stdout("");
    kdir.assert_sound();
}

#[test]
fn who_is_alive_keeps_a_group_as_it_is() {
    use kdir::disk::real::RealDisk;
    use kdir::disk::{Access, Disk};
    let kdir = own();
    reset(&kdir, "g", &["--topic", "orders", "--to", "3"]);
    let member = RealDisk::default().open(&kdir.path("orders-0/g.group"), Access::Write).unwrap();
    member.write_at(b"4711 web1\n", 256 * 6).unwrap();
    assert!(member.try_lock_range(5..6).unwrap());
    for args in [&["reset", "g", "--topic", "orders", "--to", "1"][..], &["delete", "g", "--yes"]] {
        kdir.run(&[&["groups"], args].concat()).code(1).stderr("kdir: g has members: 4711 web1\n");
    }
    assert_eq!(committed(&kdir, "g"), [3, 3, 3]);
    drop(member);
    kdir.run(&["groups", "delete", "g", "--yes"]).code(0);
    // The file is the partition's, to whoever checks, repairs or deletes it.
    kdir.assert_sound();
    kdir.run(&["-q", "delete", "orders", "--yes"]).code(0).stderr("");
    assert!(!kdir.path("orders-0").exists());
}

#[test]
fn retention_names_the_groups_that_have_not_read_what_would_go() {
    let kdir = Kdir::with_topic("orders", &["--partitions", "2", "--retention", "1h", "-c", "segment.bytes=300"]);
    for partition in ["0", "1"] {
        for batch in 0..4 {
            let lines: String = (0..10).map(|number| format!("v{batch}{number}\n")).collect();
            kdir.produce("orders", &["-p", partition, "--timestamp", "2020-01-01T00:00:00Z"], lines);
        }
    }
    reset(&kdir, "done", &["--topic", "orders", "--to", "latest"]);
    reset(&kdir, "half", &["--topic", "orders:1", "--to", "15"]);
    reset(&kdir, "half", &["--topic", "orders:0", "--to", "40"]);
    reset(&kdir, "one", &["--topic", "orders:0", "--to", "39"]);
    let warned = |args: &[&str]| {
        let run = kdir.run(&[&["retention", "-o", "json"], args].concat()).code(0);
        let told = String::from_utf8_lossy(&run.get_output().stderr).into_owned();
        told.lines().filter(|line| line.contains("group")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(
        warned(&["--dry-run", "orders"]),
        [
            "warning: group one has not read 1 record of orders-0 that would be deleted",
            "warning: group half has not read 25 records of orders-1 that would be deleted",
            // It reads the topic, and has kept nothing of this partition.
            "warning: group one has not read 40 records of orders-1 that would be deleted",
        ]
    );
    assert!(warned(&["orders"]).is_empty());
}

#[test]
fn groups_are_chosen_by_topic_and_lag() {
    let kdir = own();
    kdir.create("bills", &[]);
    reset(&kdir, "a", &["--topic", "orders:0", "--to", "10"]);
    reset(&kdir, "a", &["--topic", "orders:1,2", "--to", "4"]);
    reset(&kdir, "a", &["--topic", "bills", "--to", "0"]);
    reset(&kdir, "b", &["--topic", "orders", "--to", "latest"]);
    let described = |args: &[&str]| {
        let rows = rows(&kdir, &[&["-q", "groups", "describe"], args].concat(), &["group", "topic", "partition"]);
        rows.iter()
            .map(|row| format!("{} {} {}", row[0].as_str().unwrap(), row[1].as_str().unwrap(), row[2]))
            .collect::<Vec<_>>()
    };
    assert_eq!(described(&["--lag", ">5"]), ["a orders 1", "a orders 2"]);
    assert_eq!(described(&["--lag", "<=0", "--topic", "orders:0"]), ["a orders 0", "b orders 0"]);
    assert_eq!(described(&["a", "--topic", "bills"]), ["a bills 0"]);
    assert_eq!(described(&["b", "--lag", "=0"]).len(), 3);
    let listed = |test| rows(&kdir, &["groups", "list", "--lag", test], &["group"]);
    assert_eq!((json!(listed(">=12")), json!(listed("<1"))), (json!([["a"]]), json!([["b"]])));
    kdir.run(&["groups", "list", "--lag", "many"]).code(2).stderr(contains("is not a comparison"));
}
