//! From lines and envelopes to records: fields before the value, JSON values, and what is refused.

use crate::support::{Kdir, Running};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn the_lines_of_kafkas_console_consumer_become_records_with_time_headers_and_key() {
    let kdir = Kdir::with_topic("app", &[]);
    let fields = ["--timestamp-delimiter", r"\t", "--headers-delimiter", r"\t", "-K", r"\t"];
    let lines = "CreateTime:1700000000000\ta:1,b:x:y,a:\tk\tv\tw\n\
                 1700000000001\tNO_HEADERS\t\t\n\
                 NO_TIMESTAMP\t\tk\tv\n";
    kdir.produce("app", &[&fields[..], &["-H", "all=yes"]].concat(), lines);
    let header = |key: &str, value: &str| json!({"key": key, "value": value});
    let shown = |record: &Value| json!([record["timestamp"], record["headers"], record["key"], record["value"]]);
    let records: Vec<Value> = kdir.records("app").iter().map(shown).collect();
    let all = header("all", "yes");
    assert_eq!(
        records,
        [
            json!([1_700_000_000_000_i64, [all, header("a", "1"), header("b", "x:y"), header("a", "")], "k", "v\tw"]),
            json!([1_700_000_000_001_i64, [all], "", ""]),
            json!([-1, [all], "k", "v"]),
        ]
    );
    for (line, message) in [
        ("x", "has no timestamp delimiter \"\\t\""),
        ("x\t\tk\tv", "\"x\" is not a timestamp in ms since the epoch"),
        ("-2\t\tk\tv", "\"-2\" is not a timestamp in ms since the epoch"),
        ("1\ta:1", "has no headers delimiter \"\\t\""),
        ("1\ta:1,b\tk\tv", "\"b\" is not a header NAME:VALUE"),
        ("1\ta:1\tv", "has no key delimiter \"\\t\""),
    ] {
        kdir.feed(&[&["-q", "produce", "app"], &fields[..]].concat(), format!("{line}\n"))
            .code(1)
            .stdout("")
            .stderr(starts_with("kdir: line 1 of stdin").and(contains(message)));
    }
}

#[test]
fn an_envelopes_value_may_be_json_that_is_stored_as_it_is_written() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines = "{\"value\":{\"a\": [1, 2.50]}}\n{\"value\":\"x\"}\n{\"value\":null}\n{\"value_b64\":\"eA\"}\n";
    kdir.produce("app", &["-i", "json", "--value-as", "json"], lines);
    let values: Vec<Value> = kdir.records("app").iter().map(|record| record["value"].clone()).collect();
    assert_eq!(values, [json!("{\"a\": [1, 2.50]}"), json!("\"x\""), json!(null), json!("x")]);
    kdir.feed(&["produce", "app", "-i", "json"], lines)
        .code(1)
        .stderr(contains("column 9: expected a string, not an object"));
}

#[test]
fn what_is_wrong_with_json_is_named_in_plain_words_and_blank_lines_are_no_records() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-i", "json"], "{\"value\":\"one\"}\n\n  \n{\"value\":\"two\"}\r\n\n");
    assert_eq!(kdir.values("app"), "one\ntwo\n");
    for (input, message) in [
        ("\u{feff}{\"value\":\"v\"}\n", "line 1 of stdin begins with a byte order mark"),
        ("{\n  \"value\": \"v\"\n}\n", "column 1: the line ends within the envelope: one is on one line, as `jq -c`"),
        ("plain\n", "column 1: not a JSON envelope such as {\"value\":\"text\"}; for plain lines leave out -i json"),
        ("{\"value\":\"\\ud800\"}\n", "half of a surrogate pair is not a character"),
        ("{\"value\":\"v\",\"headers\":{}}\n", "expected a list, not an object"),
    ] {
        kdir.feed(&["-q", "produce", "app", "-i", "json"], input).code(1).stdout("").stderr(contains(message));
    }
    kdir.feed(&["-q", "produce", "app", "--timestamp-format", "%F"], "\u{feff}2026-01-02 x\n")
        .code(1)
        .stderr(contains("line 1 of stdin begins with a byte order mark"));
    kdir.produce("app", &["-i", "json"], "{\"value\":\"\\ud83d\\ude00\"}\n{\"value_b64\":\"_-8\"}\n");
    assert_eq!(kdir.records("app")[2]["value"], "\u{1f600}");
    assert_eq!(kdir.records("app")[3]["value_b64"], "/+8=");
}

#[test]
fn the_envelope_of_the_help_is_one() {
    let kdir = Kdir::with_topic("app", &[]);
    let help = kdir.text(&["help", "produce"]);
    let envelope = help.lines().map(str::trim).find(|line| line.starts_with("`{\"key\":")).unwrap();
    let envelope = envelope.trim_matches('`');
    kdir.produce("app", &["-i", "json"], format!("{envelope}\n"));
    let (mut record, envelope) = (kdir.records("app").remove(0), serde_json::from_str::<Value>(envelope).unwrap());
    record
        .as_object_mut()
        .unwrap()
        .retain(|name, _| !["topic", "partition", "offset", "timestamp_type"].contains(&name.as_str()));
    assert_eq!(record, envelope);
}

#[test]
fn timestamps_in_milliseconds_that_may_be_seconds_are_warned_of() {
    let kdir = Kdir::with_topic("app", &[]);
    let warning = "warning: 1 record with a timestamp in January or February 1970: timestamps are milliseconds, and these may be \
                   seconds\n";
    let args = ["produce", "app", "--timestamp-delimiter", ","];
    kdir.feed(&args, "1700000000,a\n0,b\n").code(0).stdout("").stderr(predicates::str::ends_with(warning));
    // What a topic holds goes into another as it is.
    let records = kdir.text(&["consume", "app", "-o", "json"]);
    kdir.feed(&["-q", "produce", "--create", "copy", "-i", "json"], records).code(0).stderr("");
    assert_eq!(kdir.records("copy")[0]["timestamp"], 1_700_000_000);
}

#[test]
fn raw_takes_an_empty_input_as_an_empty_record() {
    let kdir = Kdir::with_topic("app", &[]);
    let (empty, full) = (kdir.file("empty", ""), kdir.file("full", "x"));
    kdir.produce("app", &["-i", "raw", &empty, &full, &empty], "");
    kdir.produce("app", &["-i", "raw", "-k", "k"], "");
    let records: Vec<Value> = kdir.records("app").iter().map(|it| json!([it["key"], it["value"]])).collect();
    assert_eq!(records, [json!([null, ""]), json!([null, "x"]), json!([null, ""]), json!(["k", ""])]);
}

#[test]
fn options_that_contradict_the_input_format_are_refused_by_name() {
    let kdir = Kdir::with_topic("app", &[]);
    for (options, message) in [
        (&["-i", "len32", "-D", "x"][..], "-i len32 has a length before each record: leave out -D"),
        (&["-i", "raw", "-D", ","], "-i raw takes each input as one record: leave out -D"),
        (&["-i", "json", "-D", "x"], "-i json has an envelope a line: leave out -D"),
        (&["--value-as", "json"], "--value-as is about the envelopes of -i json"),
        (&["-i", "json", "--headers-delimiter", "x"], "-i json has headers and timestamps of its own"),
        (&["-i", "json", "--timestamp-delimiter", "x"], "-i json has headers and timestamps of its own"),
        (&["--timestamp-delimiter", "x", "--timestamp", "0"], "cannot be used with"),
        (&["-P", "3"], "--create"),
        (&["-p", "0-2"], "is not the number of one partition"),
        (&["-D", r"\036"], r"\0 with a digit after it is not an escape"),
        (&["--rate", "0"], "expected a number of records, or a size"),
        (&["--rate", "fast"], "expected a number of records, or a size"),
    ] {
        kdir.feed(&[&["produce", "app"], options].concat(), "a\n").code(2).stdout("").stderr(contains(message));
    }
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn keys_and_headers_are_bytes_and_a_header_without_a_value_is_null() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-H", "n", "-H", "=v", "-H", "e="], "a\n");
    let expected = json!([{"key": "n", "value": null}, {"key": "", "value": "v"}, {"key": "e", "value": ""}]);
    assert_eq!(kdir.records("app")[0]["headers"], expected);
    let mut command = kdir.command(&["produce", "app", "-k"]);
    command.arg(OsString::from_vec(b"\xff".to_vec())).arg("-H").arg(OsString::from_vec(b"h=\xfe".to_vec()));
    command.write_stdin("b\n").assert().code(0);
    let record = &kdir.records("app")[1];
    assert_eq!((&record["key_b64"], &record["headers"]), (&json!("/w=="), &json!([{"key": "h", "value_b64": "/g=="}])));
}

#[test]
fn create_makes_so_many_partitions_and_says_where_a_topic_has_others() {
    let kdir = Kdir::new();
    kdir.feed(&["-q", "produce", "--create", "-P", "3", "app"], "a\nb\nc\n").code(0).stderr("");
    let partitions: Vec<Value> = kdir.records("app").iter().map(|record| record["partition"].clone()).collect();
    assert_eq!(partitions, [0, 1, 2]);
    kdir.feed(&["produce", "--create", "-P", "3", "app"], "").code(0).stderr(starts_with("produced"));
    kdir.feed(&["produce", "--create", "-P", "4", "app"], "").code(0).stderr(starts_with(
        "warning: topic app is there already and has 3 partitions: -P is for a topic that is made\n",
    ));
}

#[test]
fn a_rate_holds_records_back_and_each_can_be_read_when_it_is_due() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let begun = Instant::now();
    kdir.produce("app", &["--rate", "10"], "a\n".repeat(6));
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    let times: Vec<i64> = kdir.records("app").iter().map(|record| record["timestamp"].as_i64().unwrap()).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 70), "{times:?}");
    let begun = Instant::now();
    kdir.produce("app", &["--rate", "1KiB"], "x".repeat(127) + "\n" + &"y".repeat(127) + "\n" + &"z".repeat(127));
    assert!(begun.elapsed() >= Duration::from_millis(240), "{:?}", begun.elapsed());
}

#[test]
fn a_stop_ends_a_rate_and_stores_the_complete_records_that_were_read() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app", "--rate", "1"]));
    producer.write("a\nb\nc\nhalf");
    crate::support::until("the first record is stored", || kdir.values("app") == "a\n");
    producer.signal(Signal::INT);
    assert_ne!(producer.wait().0, Some(0));
    assert_eq!(kdir.values("app"), "a\nb\nc\n");
}

/// The examples of the help, each run in a shell; a file that does not end is read to its end.
#[test]
fn every_example_of_the_help_of_produce_works() {
    let kdir = Kdir::new();
    let help = kdir.text(&["produce", "--help"]);
    let (_, examples) = help.split_once("Examples:\n").unwrap();
    let examples: Vec<&str> = examples.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    kdir.create("events", &[]);
    for (name, content) in [
        ("app.log", "one\ntwo\n"),
        ("orders.csv", "1,beer\n2,bread\n"),
        ("events.jsonl", "{\"key\":\"k\",\"value\":{\"a\":1}}\n"),
        ("console.tsv", "CreateTime:1700000000000\ta:1\tk\tv\n"),
        ("access.log", "::1 - - [22/Nov/2026:10:00:00 +0000] \"GET / HTTP/1.1\" 200 5\n"),
        ("journal.log", "1700000000.123456 host app[1]: started\n"),
        ("mail.log", "Nov 22 10:00:00 host smtpd[1]: started\n"),
        ("app.txt", "started at=2026-11-22T10:00:00CET\n"),
        ("docker.log", "2026-11-22T10:00:00.5Z started\n"),
        ("app.json", "{\"ts\":1700000000000}\n"),
        ("urls.txt", "https://kafka.apache.org\n"),
    ] {
        kdir.file(name, content);
    }
    for example in &examples {
        let example = example.replace("tail -F /var/log/", "cat ").replace("docker logs -t web", "cat docker.log");
        let example = example.replace("journalctl -o short-unix", "cat journal.log");
        let example = example.replace("/var/log/nginx/", "").replace("/var/log/mail", "mail");
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_kdir"));
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["-euo", "pipefail", "-c", &example]).current_dir(kdir.temp()).env("PATH", path);
        let output = command.env("KDIR_LOG_DIR", kdir.log_dir()).env("TZ", "UTC").output().unwrap();
        assert!(output.status.success(), "{example}\n{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(examples.len(), 13);
    for (topic, time) in [("journal", "14 22:13:20"), ("mail", "22 10:00:00")] {
        assert_eq!(kdir.text(&["consume", topic, "-f", "%T{%d %T}"]), time, "{topic}");
    }
    let copied = kdir.text(&["-d", kdir.temp().join("COPY").to_str().unwrap(), "consume", "app", "web", "--count"]);
    assert_eq!(copied, "6\n");
    assert_eq!(
        kdir.values("app"),
        "one\ntwo\nstarted at=2026-11-22T10:00:00CET\n{\"ts\":1700000000000}\nv\none\ntwo\n"
    );
    assert_eq!(kdir.values("events"), "{\"a\":1}\n");
    let mut keys: Vec<Value> = kdir.records("orders").iter().map(|record| record["key"].clone()).collect();
    keys.sort_by_key(ToString::to_string);
    assert_eq!(keys, ["1", "2"]);
}
