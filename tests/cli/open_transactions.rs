//! Transactions that are open where a log ends, as `describe` and `verify` show them. A reader of committed records names the one
//! that it stops at: see `disks`.

use crate::support::{Kdir, json_lines};
use kdir::format::crc::crc32c;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// A log dir with one of the topics that a broker wrote.
fn of_broker(topic: &str) -> Kdir {
    let kdir = Kdir::new();
    let folder = format!("{topic}-0");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka").join(&folder);
    fs::create_dir_all(kdir.path(&folder)).unwrap();
    for entry in fs::read_dir(data).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), kdir.path(&folder).join(entry.file_name())).unwrap();
    }
    kdir
}

/// Writes a producer snapshot: producers, and the first offsets of their open transactions.
fn put_snapshot(kdir: &Kdir, partition: &str, offset: u64, producers: &[(i64, i64)]) {
    let mut entries = (producers.len() as i32).to_be_bytes().to_vec();
    for &(producer_id, first_offset) in producers {
        entries.extend(producer_id.to_be_bytes());
        entries.extend([0; 26]);
        entries.extend((-1_i32).to_be_bytes());
        entries.extend(first_offset.to_be_bytes());
    }
    let mut bytes = 1_i16.to_be_bytes().to_vec();
    bytes.extend(crc32c(&entries).to_be_bytes());
    bytes.extend(entries);
    fs::write(kdir.segment(partition, offset, "snapshot"), bytes).unwrap();
}

/// An open transaction of which only a snapshot knows.
fn open(producer_id: i64, first_offset: i64) -> Value {
    json!({ "producer_id": producer_id, "first_offset": first_offset, "timestamp": null })
}

/// Last stable offset and open transactions of the only partition.
fn described(kdir: &Kdir) -> (Value, Value) {
    let row = kdir.json(&["describe", "-o", "json"]).swap_remove(0);
    (row["last_stable_offset"].clone(), row["open_transactions"].clone())
}

/// Problem and severity of each finding, and the exit code of `verify`.
fn verdict(kdir: &Kdir) -> (Vec<String>, i32) {
    let output = kdir.command(&["verify", "-q", "-o", "json"]).output().unwrap();
    let words = |row: &Value| format!("{} {} {}", row["severity"], row["problem"], row["offset"]).replace('"', "");
    (json_lines(&output.stdout).iter().map(words).collect(), output.status.code().unwrap())
}

#[test]
fn describe_names_the_transaction_that_keeps_the_last_stable_offset_below_the_log_end() {
    let kdir = of_broker("transactions-open");
    let expected = json!([{ "producer_id": 2, "first_offset": 3, "timestamp": 1_700_000_000_003_i64 }]);
    assert_eq!(described(&kdir), (json!(3), expected));
    let table = kdir.text(&["describe"]);
    let (_, below) = table.split_once("\n\n").unwrap();
    let start =
        "transactions-open-0  last stable offset 3\n  open transaction of producer 2 since 2023-11-14 22:13:20 (";
    assert!(below.starts_with(start) && below.ends_with(")\n") && below.lines().count() == 2, "{table}");
    assert!(below.lines().all(|line| line.len() <= 80), "{table}");
    assert!(kdir.text(&["describe", "-o", "tsv"]).ends_with("\t1700000000007\n"), "TSV has the columns it had");
}

#[test]
fn without_an_open_transaction_there_is_no_last_stable_offset_to_show() {
    for topic in ["transactions", "transactions-in-two-segments", "transactions-compacted", "v2-far"] {
        let kdir = of_broker(topic);
        assert_eq!(described(&kdir), (Value::Null, Value::Null), "{topic}");
        assert!(!kdir.text(&["describe"]).contains("last stable offset"), "{topic}");
        assert_eq!(verdict(&kdir), (Vec::new(), 0), "{topic}");
    }
}

#[test]
fn what_the_snapshot_of_a_stopped_broker_names_is_open_however_large_the_log() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], format!("{}\n", "v".repeat(1000)).repeat(200));
    kdir.disown("app");
    put_snapshot(&kdir, "app-0", 200, &[(7, -1), (9, 150), (8, 120)]);
    assert_eq!(described(&kdir), (json!(120), json!([open(8, 120), open(9, 150)])));
    let expected =
        "\napp-0  last stable offset 120\n  open transaction of producer 8\n  and 1 open transaction after it\n";
    assert!(kdir.text(&["describe"]).ends_with(expected));
    put_snapshot(&kdir, "app-0", 200, &[(7, -1)]);
    assert_eq!(described(&kdir), (Value::Null, Value::Null));
    // One that is damaged says nothing.
    put_snapshot(&kdir, "app-0", 200, &[(8, 120)]);
    crate::support::flip(&kdir.segment("app-0", 200, "snapshot"), 20);
    assert_eq!(described(&kdir), (Value::Null, Value::Null));
}

#[test]
fn a_transaction_of_the_snapshot_that_has_ended_since_is_not_open() {
    let kdir = of_broker("transactions");
    // Producer 2 ends a transaction in this log; producer 99 is not in it.
    put_snapshot(&kdir, "transactions-0", 0, &[(2, 0), (99, 0)]);
    let open = json!([{ "producer_id": 99, "first_offset": 0, "timestamp": null }]);
    assert_eq!(described(&kdir), (json!(0), open));
}

#[test]
fn verify_notes_a_transaction_that_a_broker_would_have_ended() {
    let kdir = of_broker("transactions-open");
    assert_eq!(verdict(&kdir), (vec!["note open-transaction 3".to_owned()], 0));
    let text = kdir.run(&["verify"]).code(0).get_output().stdout.clone();
    let text = String::from_utf8(text).unwrap();
    assert!(
        text.starts_with("transactions-open-0  offset 3\n    note: a transaction of producer 2 has been open for "),
        "{text}"
    );
    // One that has begun just now is in use.
    let log = kdir.segment("transactions-open-0", 0, "log");
    let mut bytes = fs::read(&log).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    let mut at = 0;
    while at < bytes.len() {
        let end = at + 12 + u32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
        bytes[at + 27..at + 35].copy_from_slice(&now.to_be_bytes());
        bytes[at + 35..at + 43].copy_from_slice(&now.to_be_bytes());
        let checksum = crc32c(&bytes[at + 21..end]);
        bytes[at + 17..at + 21].copy_from_slice(&checksum.to_be_bytes());
        at = end;
    }
    fs::write(&log, bytes).unwrap();
    assert_eq!(verdict(&kdir), (Vec::new(), 0));
    assert_eq!(described(&kdir).0, json!(3), "describe shows it all the same");
}

#[test]
fn a_group_that_reads_what_is_committed_goes_no_further_than_the_last_stable_offset() {
    let kdir = of_broker("transactions-open");
    let read = |options: &[&str]| {
        kdir.command(&[&["-q", "consume", "transactions-open", "-g", "g"], options].concat()).output().unwrap();
        kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]).swap_remove(0)["committed"].clone()
    };
    assert_eq!(read(&["--isolation", "read-committed"]), json!(3));
    assert_eq!(read(&[]), json!(8));
}
