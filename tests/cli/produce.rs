//! `kdir produce`.

use crate::support::{Kdir, Running, cut, json_lines, next, until};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, is_match, starts_with};
use serde_json::{Value, json};
use std::fs;

/// One field of every record.
fn each<'a>(records: &'a [Value], field: &str) -> Vec<&'a Value> {
    records.iter().map(|record| &record[field]).collect()
}

#[test]
fn stores_each_line_and_says_what_went_where() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.feed(&["produce", "app"], "one\ntwo\n").code(0).stdout("").stderr(
        is_match(r"^produced 2 records, 8 B, to app \(partition 0: offsets 0 to 1\) in \d+\.\d{3} s\n$").unwrap(),
    );
    kdir.feed(&["produce", "app"], "three\n")
        .code(0)
        .stdout("")
        .stderr(is_match(r"^produced 1 record, 6 B, to app \(partition 0: offset 2\) in \d+\.\d{3} s\n$").unwrap());
    assert_eq!(kdir.values("app"), "one\ntwo\nthree\n");
}

#[test]
fn an_empty_input_is_no_record() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.feed(&["produce", "app"], "")
        .code(0)
        .stdout("")
        .stderr(is_match(r"^produced 0 records, 0 B, to app in \d+\.\d{3} s\n$").unwrap());
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn batches_may_be_of_any_size() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    for size in ["0", "1", "100", "1MiB"] {
        kdir.produce("app", &["--batch-size", size], &*lines);
    }
    assert_eq!(kdir.values("app"), lines.repeat(4));
}

#[test]
fn a_last_line_without_a_newline_is_a_record() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\ntwo");
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn empty_lines_are_records() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "\n\na\n\n");
    assert_eq!(kdir.values("app"), "\n\na\n\n");
    assert_eq!(each(&kdir.records("app"), "value"), ["", "", "a", ""]);
}

#[test]
fn keeps_carriage_returns_nulls_and_bytes_that_are_no_text() {
    let kdir = Kdir::with_topic("app", &[]);
    let bytes = b"a\r\n\0\n\xff\xfe\n\xe2\x82\n".to_vec();
    kdir.produce("app", &[], bytes.clone());
    assert_eq!(kdir.stdout(&["consume", "app"]), bytes);
}

#[test]
fn a_large_input_comes_back_byte_for_byte() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=1MiB"]);
    let lines: String = (0..60_000).map(|number| format!("line {number} {}\n", "x".repeat(number % 97))).collect();
    kdir.produce("app", &[], lines.clone());
    assert!(kdir.stdout(&["consume", "app"]) == lines.into_bytes());
}

#[test]
fn gives_every_record_the_key() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    kdir.produce("app", &["-k", "k"], "a\nb\nc\n");
    let records = kdir.records("app");
    assert_eq!(each(&records, "key"), ["k", "k", "k"]);
    assert_eq!(each(&records, "value"), ["a", "b", "c"]);
    assert_eq!(records[0]["partition"], records[2]["partition"]);
}

#[test]
fn splits_the_key_off_at_the_first_key_delimiter() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-K", r"\t"], "k1\tv1\nk2\tv\t2\n\tv3\nk4\t\n");
    let records = kdir.records("app");
    assert_eq!(each(&records, "key"), ["k1", "k2", "", "k4"]);
    assert_eq!(each(&records, "value"), ["v1", "v\t2", "v3", ""]);
}

#[test]
fn a_line_without_the_key_delimiter_is_named_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.feed(&["produce", "app", "-K", "::"], "k::v\nl::w\nnothing: here\nm::x\n").code(1).stdout("").stderr(
        is_match("^produced 2 records, .* to app .*\nkdir: line 3 of stdin has no key delimiter \"::\"\n$").unwrap(),
    );
    assert_eq!(kdir.values("app"), "v\nw\n");
}

#[test]
fn key_and_key_delimiter_exclude_each_other() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.feed(&["produce", "app", "-k", "a", "-K", ":"], "a:b\n")
        .code(2)
        .stdout("")
        .stderr(contains("cannot be used with"));
    kdir.feed(&["produce", "app", "-K", ""], "a\n").code(2).stdout("").stderr(contains("--key-delimiter"));
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn gives_every_record_the_headers_in_order() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-H", "a=1", "-H", "b=x=y", "-H", "a="], "v\nw\n");
    let headers = json!([{ "key": "a", "value": "1" }, { "key": "b", "value": "x=y" }, { "key": "a", "value": "" }]);
    assert_eq!(each(&kdir.records("app"), "headers"), [&headers, &headers]);
    kdir.feed(&["produce", "app", "-H", ""], "v\n").code(2).stdout("").stderr(contains("NAME=VALUE"));
}

#[test]
fn gives_every_record_the_timestamp() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--timestamp", "2023-11-14T22:13:20Z"], "a\nb\n");
    kdir.produce("app", &["--timestamp", "@0.007"], "c\n");
    let records = kdir.records("app");
    assert_eq!(each(&records, "timestamp"), [1_700_000_000_000_i64, 1_700_000_000_000, 7]);
    assert_eq!(records[0]["timestamp_type"], "CreateTime");
    kdir.feed(&["produce", "app", "--timestamp", "soon"], "x\n")
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: --timestamp: invalid time \"soon\": use RFC 3339"));
}

#[test]
fn a_record_has_the_time_at_which_it_was_read() {
    let kdir = Kdir::with_topic("app", &[]);
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64;
    let before = now();
    kdir.produce("app", &[], "a\n");
    let timestamp = kdir.records("app")[0]["timestamp"].as_i64().unwrap();
    assert!((before..=now()).contains(&timestamp), "{timestamp} is not after {before}");
}

#[test]
fn log_append_time_wins_over_the_timestamp_of_the_record() {
    let kdir = Kdir::with_topic("app", &["-c", "message.timestamp.type=LogAppendTime"]);
    kdir.produce("app", &["--timestamp", "@0.007"], "a\n");
    let record = &kdir.records("app")[0];
    assert_eq!(record["timestamp_type"], "LogAppendTime");
    assert!(record["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
}

#[test]
fn log_append_time_is_the_time_of_the_append_and_not_of_the_read() {
    let kdir = Kdir::with_topic("app", &["-c", "message.timestamp.type=LogAppendTime"]);
    let mut slow = Running::start(kdir.process(&["-q", "produce", "app", "--linger", "1s"]));
    slow.write("read first\n");
    until("it reads its input", || slow.has_read_all());
    let now = || std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let read = now();
    until("the clock goes on", || now() > read + 1);
    kdir.produce("app", &[], "read second\n");
    // It is stored when the time is up, with no other read between.
    until("both are stored", || kdir.values("app").lines().count() == 2);
    assert_eq!(slow.end(), (Some(0), String::new(), String::new()));
    let records = kdir.records("app");
    let timestamps: Vec<i64> = records.iter().map(|record| record["timestamp"].as_i64().unwrap()).collect();
    assert!(timestamps.is_sorted(), "{timestamps:?}");
}

#[test]
fn null_empty_stores_empty_keys_and_values_as_null() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-Z", "-K", ":"], "k:\n:v\n:\nk:v\n");
    let records = kdir.records("app");
    assert_eq!(each(&records, "key"), [&json!("k"), &Value::Null, &Value::Null, &json!("k")]);
    assert_eq!(each(&records, "value"), [&Value::Null, &json!("v"), &Value::Null, &json!("v")]);
}

#[test]
fn sends_every_record_to_the_partition_that_is_named() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    kdir.produce("app", &["-p", "2", "-K", ":"], "a:1\nb:2\nc:3\n");
    assert_eq!(each(&kdir.records("app"), "partition"), [2, 2, 2]);
}

#[test]
fn a_partition_that_is_not_there_is_named_with_those_that_are() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    for partition in ["2", "-1"] {
        kdir.feed(&["produce", "app", &format!("--partition={partition}")], "a\n")
            .code(1)
            .stdout("")
            .stderr(format!("kdir: the topic app has no partition {partition}; it has partitions 0 to 1\n"));
    }
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn round_robin_goes_on_over_runs_and_consume_returns_the_exact_order() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    let mut expected = String::new();
    for (run, count) in [4, 1, 1, 5, 3, 2, 7].into_iter().enumerate() {
        let lines: String = (0..count).map(|line| format!("run {run} line {line}\n")).collect();
        kdir.produce("app", &[], lines.clone());
        expected.push_str(&lines);
    }
    assert_eq!(kdir.values("app"), expected);
    let partitions: Vec<i64> = kdir.records("app").iter().map(|it| it["partition"].as_i64().unwrap()).collect();
    assert!(partitions.iter().enumerate().all(|(place, &partition)| partition == place as i64 % 3), "{partitions:?}");
}

#[test]
fn a_keyed_record_goes_where_kafkas_java_client_sends_it() {
    // `Utils.murmur2` of these keys, from Kafka's own UtilsTest.
    let hashes = [
        ("21", -973_932_308_i32),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    let kdir = Kdir::with_topic("app", &["-P", "7"]);
    let lines: String = hashes.iter().map(|(key, _)| format!("{key}:v\n")).collect();
    kdir.produce("app", &["-K", ":"], lines);
    let records = kdir.records("app");
    assert_eq!(records.len(), hashes.len());
    for (key, hash) in hashes {
        let record = records.iter().find(|record| record["key"] == key).unwrap();
        assert_eq!(record["partition"], (hash & 0x7fff_ffff) % 7, "{key}");
    }
}

#[test]
fn the_partitioner_can_be_librdkafkas_or_none() {
    let kdir = Kdir::with_topic("app", &["-P", "5"]);
    kdir.produce("app", &["-k", "123456789", "--partitioner", "crc32"], "v\n");
    assert_eq!(kdir.records("app")[0]["partition"], 0xcbf4_3926_u32 % 5);
    kdir.create("turns", &["-P", "3"]);
    kdir.produce("turns", &["-k", "same", "--partitioner", "round-robin"], "a\nb\nc\n");
    assert_eq!(each(&kdir.records("turns"), "partition"), [0, 1, 2]);
}

#[test]
fn what_consume_writes_as_json_goes_back_in_unchanged() {
    let kdir = Kdir::with_topic("from", &["-P", "3"]);
    kdir.create("to", &["-P", "3"]);
    kdir.produce("from", &["-K", ":", "-Z", "-H", "h=1", "-H", "h=2", "--timestamp", "@1"], "a:1\nb:\n:3\nc:\"é\\\n");
    kdir.produce("from", &["-p", "1", "--timestamp", "@2"], b"\xff\0\n\n".to_vec());
    let lines =
        r#"{"value":"v","key_b64":"/w==","headers":[{"key_b64":"/w==","value":null},{"key":"","value_b64":"AP8="}]}"#;
    kdir.produce("from", &["-i", "json", "--timestamp", "@3"], lines);
    let written = kdir.stdout(&["consume", "from", "-o", "json"]);
    kdir.produce("to", &["-i", "json"], written.clone());
    let mut expected = json_lines(&written);
    assert_eq!(expected.len(), 7);
    for record in &mut expected {
        record["topic"] = "to".into();
    }
    assert_eq!(kdir.records("to"), expected);
    assert_eq!(expected[6]["headers"], json_lines(lines.as_bytes())[0]["headers"]);
}

#[test]
fn an_envelope_names_partition_timestamp_key_and_null_itself() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let lines = "{\"partition\":1,\"timestamp\":1700000000005,\"key\":\"k\",\"value\":null}\n{\"value\":\"\",\"partition\":0}\n";
    kdir.produce("app", &["-i", "json", "--timestamp", "@1700000000.009"], lines);
    let expected = [
        json!({ "topic": "app", "partition": 1, "offset": 0, "timestamp": 1_700_000_000_005_i64, "timestamp_type": "CreateTime",
                "key": "k", "value": null, "headers": [] }),
        json!({ "topic": "app", "partition": 0, "offset": 0, "timestamp": 1_700_000_000_009_i64, "timestamp_type": "CreateTime",
                "key": null, "value": "", "headers": [] }),
    ];
    assert_eq!(kdir.records("app"), expected);
}

#[test]
fn a_timestamp_in_seconds_is_rejected_by_line_and_column_unless_its_type_is_there() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines = "{\"value\":\"a\",\"timestamp\":1700000000}\n\
                 {\"value\":\"b\",\"timestamp\":1700000000,\"timestamp_type\":\"CreateTime\"}\n";
    kdir.feed(&["produce", "app", "-i", "json", "--on-error", "skip"], lines).code(3).stdout("").stderr(starts_with(
        "warning: rejected: line 1 of stdin, column 26: timestamp 1700000000: as milliseconds it is 1970-01-20 16:13:20 UTC \
         (then add \"timestamp_type\":\"CreateTime\"), as seconds 2023-11-14 22:13:20 UTC (then write 1700000000000)\n",
    ));
    assert_eq!(kdir.text(&["consume", "app", "-f", "%T %s\\n"]), "1700000000 b\n");
    let copied = kdir.stdout(&["consume", "app", "-o", "json"]);
    kdir.create("copy", &[]);
    kdir.produce("copy", &["-i", "json"], copied);
    assert_eq!(kdir.text(&["consume", "copy", "-f", "%T %s\\n"]), "1700000000 b\n");
}

#[test]
fn malformed_json_is_named_by_line_and_column_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    for (line, message) in [
        ("{\"value\":}", "line 2 of stdin, column 10: expected value"),
        ("{\"value\":\"x\"", "line 2 of stdin, column 12: the line ends within the envelope"),
        ("{\"key\":\"k\"}", "an envelope has a value (null for a tombstone), or value_b64"),
        ("{\"value\":1}", "line 2 of stdin, column 10: expected a string, not integer `1`"),
        ("{\"value\":\"x\",\"colour\":1}", "unknown field `colour`"),
        ("{\"value\":\"x\",\"partition\":7}", "line 2 of stdin is for partition 7, which the topic does not have"),
        ("{\"value_b64\":\"?\"}", "line 2 of stdin, column 1: value is not base64"),
    ] {
        let before = kdir.records("app").len();
        kdir.feed(
            &["-q", "produce", "app", "-i", "json"],
            format!("{{\"value\":\"ok\"}}\n{line}\n{{\"value\":\"no\"}}\n"),
        )
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: line 2 of stdin").and(contains(message)));
        let records = kdir.records("app");
        assert_eq!((records.len(), &records[before]["value"]), (before + 1, &json!("ok")), "{line}");
    }
}

#[test]
fn envelopes_exclude_options_that_make_records() {
    let kdir = Kdir::with_topic("app", &[]);
    for option in [&["-k", "a"][..], &["-K", ":"], &["-H", "a=b"], &["-Z"]] {
        kdir.feed(&[&["produce", "app", "-i", "json"], option].concat(), "{\"value\":\"v\"}\n")
            .code(2)
            .stdout("")
            .stderr(starts_with("kdir: -i json has keys, headers and nulls of its own"));
    }
}

#[test]
fn takes_records_with_a_length_before_each() {
    let kdir = Kdir::with_topic("app", &[]);
    let bytes = b"\0\0\0\x02a\n\0\0\0\0\0\0\0\x01\xff".to_vec();
    kdir.produce("app", &["-i", "len32"], bytes.clone());
    assert_eq!(kdir.stdout(&["consume", "app", "-o", "len32"]), bytes);
}

#[test]
fn a_length_that_the_input_does_not_keep_is_named_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", &[]);
    for (input, message) in [
        (&b"\0\0\0\x02ab\0\0\0\x05abc"[..], "5 bytes announced, and the input ends before them"),
        (b"\0\0\0\x02ab\0\0", "4 bytes announced, and the input ends before them"),
    ] {
        kdir.feed(&["-q", "produce", "app", "-i", "len32"], input)
            .code(1)
            .stdout("")
            .stderr(format!("kdir: record 2 of stdin is cut short: {message}\n"));
    }
    assert_eq!(kdir.values("app"), "ab\nab\n");
}

#[test]
fn raw_takes_each_input_as_one_record() {
    let kdir = Kdir::with_topic("app", &[]);
    let (one, two) = (kdir.file("one", "a\nb\n"), kdir.file("two", b"\0"));
    kdir.produce("app", &["-i", "raw", &one, &two], "");
    assert_eq!(each(&kdir.records("app"), "value"), ["a\nb\n", "\0"]);
}

#[test]
fn any_bytes_can_end_a_record() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-D", "<>"], "a<b<>c\n<><>d");
    assert_eq!(each(&kdir.records("app"), "value"), ["a<b", "c\n", "", "d"]);
    kdir.create("null", &[]);
    kdir.produce("null", &["-D", r"\0"], "a\nb\0c\0");
    assert_eq!(each(&kdir.records("null"), "value"), ["a\nb", "c"]);
    kdir.feed(&["produce", "app", "-D", r"\q"], "a").code(2).stdout("").stderr(contains(r"\q is not an escape"));
}

#[test]
fn a_delimiter_may_begin_with_a_hyphen() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["-D--", "-K", "-"], "k-a--l-b");
    assert_eq!(each(&kdir.records("app"), "key"), ["k", "l"]);
    assert_eq!(kdir.text(&["consume", "app", "-D", "--"]), "a--b--");
}

#[test]
fn a_record_over_the_limit_is_named_by_line_and_size_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=200"]);
    let long = "x".repeat(300);
    // 61 of the batch, 2 for the record's length, 7 around 300 of value.
    kdir.feed(&["-q", "produce", "app"], format!("one\ntwo\n{long}\nthree\n")).code(1).stdout("").stderr(
        "kdir: line 3 of stdin is too large: 300 bytes, and the batch that holds it, with some 70 bytes \
         of its own, may have 200 (the smaller of max.message.bytes and segment.bytes)\n\
         hint: `kdir alter app -c max.message.bytes=4MiB` raises the limit\n",
    );
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn compression_does_not_make_a_record_fit() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=200"]);
    kdir.feed(&["-q", "produce", "app", "-z", "zstd"], "x".repeat(300))
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: line 1 of stdin is too large: 300 bytes"));
}

#[test]
fn a_record_far_over_the_limit_is_measured_and_not_kept_in_memory() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut input = b"one\n".to_vec();
    input.resize(5 << 20, b'x');
    input.push(b'\n');
    kdir.feed(&["-q", "produce", "app"], input).code(1).stdout("").stderr(
        "kdir: line 2 of stdin is too large: 5242876 bytes, and the batch that holds it, with some 70 bytes \
         of its own, may have 1048588 (the smaller of max.message.bytes and segment.bytes)\n\
         hint: `kdir alter app -c max.message.bytes=8MiB` raises the limit\n",
    );
    assert_eq!(kdir.values("app"), "one\n");
}

#[test]
fn a_record_as_large_as_the_limit_fits() {
    let kdir = Kdir::with_topic("app", &["-c", "max.message.bytes=370"]);
    let line = "x".repeat(300) + "\n";
    kdir.produce("app", &[], line.clone());
    assert_eq!(kdir.values("app"), line);
    kdir.feed(&["-q", "produce", "app"], "x".repeat(301)).code(1).stdout("").stderr(
        "kdir: line 1 of stdin is too large: 301 bytes, and the batch that holds it, with some 70 bytes \
         of its own, may have 370 (the smaller of max.message.bytes and segment.bytes)\n\
         hint: `kdir alter app -c max.message.bytes=4MiB` raises the limit\n",
    );
}

#[test]
fn what_each_codec_writes_comes_back() {
    let kdir = Kdir::new();
    let lines: String = (0..5000).map(|number| format!("a line that repeats itself, number {number}\n")).collect();
    let mut sizes = Vec::new();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd", "zstd:19", "gzip:1"] {
        let topic = codec.replace(':', "-");
        kdir.create(&topic, &[]);
        kdir.produce(&topic, &["-z", codec], lines.clone());
        assert_eq!(kdir.values(&topic), lines, "{codec}");
        let log = kdir.segment(&format!("{topic}-0"), 0, "log");
        let batches = kdir.json(&["dump", log.to_str().unwrap(), "-o", "json"]);
        let name = codec.split(':').next().unwrap();
        assert!(batches.iter().all(|batch| batch["codec"] == name), "{codec}: {batches:?}");
        sizes.push(fs::metadata(log).unwrap().len());
    }
    assert!(sizes[1..].iter().all(|&size| size < sizes[0] / 3), "{sizes:?}");
    for codec in ["brotli", "zstd:99", "none:1", ""] {
        kdir.feed(&["produce", "none", "-z", codec], "a\n").code(2).stdout("").stderr(contains("--compression"));
    }
}

#[test]
fn the_topics_compression_is_the_default() {
    let kdir = Kdir::with_topic("app", &["-c", "compression.type=lz4"]);
    kdir.produce("app", &[], "a\n");
    kdir.produce("app", &["-z", "none"], "b\n");
    let log = kdir.segment("app-0", 0, "log");
    let batches = kdir.json(&["dump", log.to_str().unwrap(), "-o", "json"]);
    assert_eq!(each(&batches, "codec"), ["lz4", "none"]);
}

#[test]
fn a_record_of_any_size_that_the_topic_takes_can_be_read_whatever_its_configuration_becomes() {
    const SIZE: usize = 300_000_000;
    let kdir = Kdir::with_topic("big", &["-c", "max.message.bytes=1000000000"]);
    let input = kdir.temp().join("zeros");
    fs::File::create(&input).unwrap().set_len(SIZE as u64).unwrap();
    for codec in ["none", "zstd"] {
        kdir.produce("big", &["-i", "raw", "-z", codec, input.to_str().unwrap()], "");
    }
    for limit in ["1000000000", "1000"] {
        kdir.run(&["-q", "alter", "big", "-c", &format!("max.message.bytes={limit}")]).code(0).stdout("").stderr("");
        let read = kdir.stdout(&["consume", "big", "-D", ""]);
        assert!(read.len() == 2 * SIZE && read.iter().all(|&byte| byte == 0), "{} bytes", read.len());
        kdir.run(&["-q", "verify", "big"]).code(0).stdout("").stderr("");
    }
}

#[test]
fn create_makes_log_dir_and_topic_where_they_are_missing() {
    let kdir = Kdir::new();
    kdir.produce("app", &["--create"], "one\n");
    kdir.produce("app", &["--create"], "two\n");
    assert_eq!(kdir.values("app"), "one\ntwo\n");
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]).lines().count(), 1);
}

#[test]
fn a_topic_or_log_dir_that_is_not_there_is_named_with_the_way_to_make_it() {
    let kdir = Kdir::new();
    kdir.feed(&["produce", "app"], "a\n").code(1).stdout("").stderr(
        starts_with(format!("kdir: there is no log dir {}\nhint: ", kdir.log_dir().display())).and(contains("create")),
    );
    assert!(!kdir.log_dir().exists());
    kdir.create("other", &[]);
    kdir.feed(&["produce", "app"], "a\n").code(1).stdout("").stderr(format!(
        "kdir: there is no topic app in {}\n\
         hint: make it with `kdir create app`, or add --create\n",
        kdir.log_dir().display()
    ));
    assert!(!kdir.path("app-0").exists());
}

#[test]
fn a_compacted_topic_refuses_a_record_without_a_key() {
    let kdir = Kdir::with_topic("app", &["-c", "cleanup.policy=compact"]);
    kdir.produce("app", &["-K", ":"], "k:v\n");
    for (options, input, line) in [(&[][..], "w\n", 1), (&["-K", ":", "-Z"], "l:w\n:x\n", 2)] {
        kdir.feed(&[&["-q", "produce", "app"], options].concat(), input)
            .code(1)
            .stdout("")
            .stderr(format!("kdir: line {line} of stdin has no key, and a compacted topic keeps records by key\n"));
    }
    assert_eq!(kdir.values("app"), "v\nw\n");
}

#[test]
fn json_output_tells_durable_stretches_and_then_a_summary() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    let lines: String = (0..1000).map(|number| format!("{number}\n")).collect();
    for sync in ["always", "end", "1ms"] {
        let run = kdir.feed(&["produce", "app", "-o", "json", "--batch-size", "1KiB", "--sync", sync], lines.clone());
        let events = json_lines(&run.code(0).stderr("").get_output().stdout);
        let (summary, stretches) = events.split_last().unwrap();
        assert_eq!((&summary["event"], &summary["topic"]), (&json!("summary"), &json!("app")));
        assert_eq!((&summary["records"], &summary["bytes"]), (&json!(1000), &json!(lines.len())));
        assert!(summary["seconds"].as_f64().unwrap() >= 0.0);
        for written in summary["partitions"].as_array().unwrap() {
            assert_eq!(written["records"], 500);
            let mut next = written["base_offset"].as_i64().unwrap();
            for stretch in stretches.iter().filter(|it| it["partition"] == written["partition"]) {
                assert_eq!((&stretch["event"], &stretch["topic"]), (&json!("durable"), &json!("app")));
                assert_eq!(stretch["base_offset"], next, "a gap between durable stretches");
                next = stretch["last_offset"].as_i64().unwrap() + 1;
            }
            assert_eq!(written["last_offset"], next - 1, "{sync}: not all became durable: {events:?}");
        }
    }
}

#[test]
fn json_output_comes_as_well_when_the_input_is_refused() {
    let kdir = Kdir::with_topic("app", &[]);
    let run = kdir.feed(&["produce", "app", "-o", "json", "-K", ":"], "a:b\nc\n");
    let run = run.code(1).stderr("kdir: line 2 of stdin has no key delimiter \":\"\n");
    let events = json_lines(&run.get_output().stdout);
    assert_eq!(each(&events, "event"), ["durable", "summary"]);
    assert_eq!((&events[0]["base_offset"], &events[0]["last_offset"]), (&json!(0), &json!(0)));
    assert_eq!(events[1]["records"], 1);
}

#[test]
fn without_sync_nothing_is_called_durable() {
    let kdir = Kdir::with_topic("app", &[]);
    let run = kdir.feed(&["produce", "app", "-o", "json", "--sync", "never"], "a\nb\n").code(0).stderr("");
    let events = json_lines(&run.get_output().stdout);
    assert_eq!(each(&events, "event"), ["summary"]);
    assert_eq!(events[0]["records"], 2);
}

#[test]
fn every_sync_policy_stores_everything() {
    let kdir = Kdir::with_topic("app", &[]);
    for sync in ["always", "end", "never", "10ms", "0s"] {
        kdir.produce("app", &["--sync", sync], format!("{sync}\n"));
    }
    assert_eq!(kdir.values("app"), "always\nend\nnever\n10ms\n0s\n");
    kdir.feed(&["produce", "app", "--sync", "often"], "a\n")
        .code(2)
        .stdout("")
        .stderr(contains("expected always, end, never or a duration"));
}

#[test]
fn a_producer_that_gets_no_threads_stores_and_syncs_by_itself() {
    let kdir = Kdir::with_topic("app", &[]);
    // No address space holds a thread with such a stack, so that none can be started.
    let start = |args: &[&str]| {
        let mut command = kdir.process(&[&["produce", "app", "-o", "json"], args].concat());
        command.env("RUST_MIN_STACK", (1_u64 << 47).to_string());
        Running::start(command)
    };
    for (round, compression) in ["none", "zstd"].into_iter().enumerate() {
        let mut producer = start(&["-z", compression, "--batch-size", "1KiB", "--sync", "1h"]);
        let events = producer.lines();
        let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
        producer.write(&lines);
        // What an idle input has brought is not left to a next append that may never come.
        let mut durable = -1;
        while durable + 1 < 5000 * (round as i64 + 1) {
            let event: Value = serde_json::from_str(&next(&events)).unwrap();
            assert_eq!(event["event"], "durable", "{event}");
            durable = event["last_offset"].as_i64().unwrap();
        }
        assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
        assert_eq!(kdir.values("app"), lines.repeat(round + 1));
    }
    let mut verify = kdir.command(&["-q", "verify"]);
    verify.env("RUST_MIN_STACK", (1_u64 << 47).to_string()).assert().code(0).stdout("").stderr("");
}

#[test]
fn reads_several_files_one_after_the_other() {
    let kdir = Kdir::with_topic("app", &[]);
    let (one, two) = (kdir.file("one", "1\n2"), kdir.file("two", "4\n5\n"));
    kdir.produce("app", &[&one, "-", &two], "3\n");
    assert_eq!(kdir.values("app"), "1\n2\n3\n4\n5\n");
}

#[test]
fn a_file_is_named_with_its_own_line_numbers() {
    let kdir = Kdir::with_topic("app", &[]);
    let (one, two) = (kdir.file("one", "a:1\nb:2\n"), kdir.file("two", "c:3\nd\n"));
    kdir.feed(&["-q", "produce", "app", "-K", ":", &one, &two], "")
        .code(1)
        .stdout("")
        .stderr(format!("kdir: line 2 of {two} has no key delimiter \":\"\n"));
    assert_eq!(kdir.values("app"), "1\n2\n3\n");
}

#[test]
fn more_files_can_be_named_than_a_process_may_have_open() {
    let kdir = Kdir::with_topic("app", &[]);
    let names: Vec<String> = (0..200).map(|number| kdir.file(&format!("{number}"), format!("{number}\n"))).collect();
    let mut args = vec!["-q", "produce", "app"];
    args.extend(names.iter().map(|name| &**name));
    let producer = Running::start(kdir.process_with_limit("-n", 30, &args));
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    assert_eq!(kdir.values("app"), (0..200).map(|number| format!("{number}\n")).collect::<String>());
}

#[test]
fn a_file_that_is_gone_when_its_turn_comes_is_named_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", &[]);
    let (one, gone) = (kdir.file("one", "a\n"), kdir.file("gone", "c\n"));
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app", &one, "-", &gone]));
    producer.write("b\n");
    until("the first two are stored", || kdir.values("app") == "a\nb\n");
    fs::remove_file(&gone).unwrap();
    let stderr = format!("kdir: cannot open {gone}: No such file or directory\n");
    assert_eq!(producer.end(), (Some(1), String::new(), stderr));
    assert_eq!(kdir.values("app"), "a\nb\n");
}

#[test]
fn a_file_that_is_missing_or_a_folder_stops_before_anything_is_stored() {
    let kdir = Kdir::with_topic("app", &[]);
    let one = kdir.file("one", "a\n");
    kdir.feed(&["produce", "app", &one, "/nowhere/at/all"], "").code(1).stdout("").stderr(contains("/nowhere/at/all"));
    assert_eq!(kdir.values("app"), "");
    let folder = kdir.temp().to_str().unwrap().to_owned();
    kdir.feed(&["-q", "produce", "app", &one, &folder], "").code(1).stdout("").stderr(contains(&folder));
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn several_processes_fill_one_partition_without_a_gap_and_each_in_its_order() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=20000"]);
    let running: Vec<Running> = (0..4)
        .map(|producer| {
            let lines: String = (0..2000).map(|line| format!("{producer} {line}\n")).collect();
            let file = kdir.file(&format!("lines {producer}"), lines);
            Running::start(kdir.process(&["-q", "produce", "app", "--batch-size", "500", &file]))
        })
        .collect();
    for process in running {
        assert_eq!(process.end(), (Some(0), String::new(), String::new()));
    }
    let mut next_line = [0; 4];
    let records = kdir.records("app");
    assert_eq!(records.len(), 8000);
    for (place, record) in records.iter().enumerate() {
        assert_eq!(record["offset"], place);
        let (producer, line) = record["value"].as_str().unwrap().split_once(' ').unwrap();
        let next = &mut next_line[producer.parse::<usize>().unwrap()];
        assert_eq!(line, next.to_string(), "of producer {producer}");
        *next += 1;
    }
    assert_eq!(next_line, [2000; 4]);
}

#[test]
fn several_processes_that_create_one_topic_make_it_once() {
    let kdir = Kdir::new();
    let running: Vec<Running> = (0..8)
        .map(|producer| {
            let file = kdir.file(&format!("line {producer}"), format!("{producer}\n"));
            Running::start(kdir.process(&["-q", "produce", "--create", "app", &file]))
        })
        .collect();
    for process in running {
        assert_eq!(process.end(), (Some(0), String::new(), String::new()));
    }
    let mut lines: Vec<String> = kdir.values("app").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1);
    let left = kdir.entries("");
    assert!(!left.iter().any(|name| name.ends_with(".tmp")), "{left:?}");
}

/// Two batches of a record each, the second torn.
fn torn() -> (Kdir, u64) {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "whole\n");
    let log = kdir.segment("app-0", 0, "log");
    let position = fs::metadata(&log).unwrap().len();
    kdir.produce("app", &[], "torn\n");
    kdir.forget_durable_end("app-0");
    cut(&log, 1);
    (kdir, position)
}

#[test]
fn a_torn_tail_is_cut_with_a_warning_and_kept_beside_the_log() {
    let (kdir, position) = torn();
    let log = kdir.segment("app-0", 0, "log");
    let tail = fs::read(&log).unwrap()[position as usize..].to_vec();
    let run = kdir.feed(&["produce", "app"], "next\n").code(0).stdout("");
    let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    let bytes = tail.len();
    let warning = format!("warning: cut {bytes} bytes of a batch left half written from {} at position", log.display());
    assert!(stderr.starts_with(&format!("{warning} {position}; it is kept as ")), "{stderr}");
    let names = kdir.entries("app-0");
    let kept: Vec<&String> = names.iter().filter(|name| name.starts_with("cut-")).collect();
    assert_eq!(kept.len(), 1, "{names:?}");
    assert!(stderr.contains(&format!("/{}\n", kept[0])), "{stderr}");
    assert_eq!(fs::read(kdir.path("app-0").join(kept[0])).unwrap(), tail);
    let records = kdir.records("app");
    assert_eq!(each(&records, "value"), ["whole", "next"]);
    assert_eq!(each(&records, "offset"), [0, 1]);
}

/// A topic of two records whose values are the segment of another topic, two batches of 101 records; the last of the two
/// torn in the second batch in its value.
fn torn_archive() -> (Kdir, Vec<u8>) {
    let kdir = Kdir::with_topic("src", &[]);
    kdir.create("arch", &[]);
    for start in [100, 300] {
        let lines: String = (start..=start + 100).map(|number| format!("{number}\n")).collect();
        kdir.produce("src", &[], lines);
    }
    let segment = kdir.segment("src-0", 0, "log");
    let value = fs::read(&segment).unwrap();
    for _ in 0..2 {
        kdir.produce("arch", &["-i", "raw", segment.to_str().unwrap()], "");
    }
    kdir.forget_durable_end("arch-0");
    cut(&kdir.segment("arch-0", 0, "log"), 10);
    (kdir, value)
}

#[test]
fn a_torn_batch_whose_value_holds_batches_is_a_torn_tail() {
    let (kdir, value) = torn_archive();
    let shown = [&value[..], b"\n"].concat();
    assert_eq!(kdir.stdout(&["consume", "arch"]), shown);
    let found = kdir.command(&["verify", "-o", "json"]).assert().code(0);
    let found = json_lines(&found.get_output().stdout);
    assert_eq!(each(&found, "problem"), ["torn-tail"]);
    assert_eq!(each(&found, "severity"), ["unfinished"]);
    assert_eq!(each(&found, "offset"), [1]);
    kdir.feed(&["produce", "arch"], "next\n").code(0).stdout("").stderr(starts_with("warning: cut "));
    assert_eq!(kdir.stdout(&["consume", "arch"]), [&shown[..], b"next\n"].concat());
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
}

#[test]
fn a_repair_makes_no_records_out_of_a_value_that_holds_batches() {
    let (kdir, value) = torn_archive();
    kdir.run(&["repair", "arch", "-q"]).code(0).stderr("");
    assert_eq!(kdir.stdout(&["consume", "arch"]), [&value[..], b"\n"].concat());
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    kdir.produce("arch", &[], "next\n");
    assert_eq!(each(&kdir.records("arch"), "offset"), [0, 1]);
}

#[test]
fn a_corrupt_batch_before_whole_ones_is_reported_and_nothing_is_cut() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    kdir.produce("app", &[], "two\n");
    let log = kdir.segment("app-0", 0, "log");
    crate::support::flip(&log, 65);
    let before = fs::read(&log).unwrap();
    kdir.feed(&["-q", "produce", "app"], "three\n")
        .code(4)
        .stdout("")
        .stderr(starts_with(format!("kdir: {} is corrupt at position 0 (offset 0): ", log.display())).and(contains(
            "\nhint: `kdir repair --dry-run --accept-loss app` shows which records would be given up, ",
        )));
    assert_eq!(fs::read(&log).unwrap(), before);
}

#[test]
fn whole_batches_behind_a_damaged_base_offset_are_never_cut() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    kdir.produce("app", &[], "two\n");
    let log = kdir.segment("app-0", 0, "log");
    crate::support::flip(&log, 6);
    let before = fs::read(&log).unwrap();
    let run = kdir.feed(&["produce", "app"], "three\n");
    let after = fs::read(&log).unwrap();
    assert!(after.starts_with(&before), "{}", String::from_utf8_lossy(&run.get_output().stderr));
    run.code(4).stdout("").stderr(contains(format!("{} is corrupt at position ", log.display())));
}

#[test]
fn a_producer_notices_that_its_topic_was_deleted_and_does_not_bring_it_back() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    producer.write("one\n");
    until("the first line is stored", || kdir.values("app") == "one\n");
    kdir.run(&["-q", "delete", "app", "-y"]).code(0).stdout("").stderr("");
    producer.write("two\n");
    assert_eq!(producer.end(), (Some(1), String::new(), "kdir: the topic app was deleted\n".into()));
    assert!(!kdir.entries("").iter().any(|name| name.starts_with("app")), "{:?}", kdir.entries(""));
}

#[test]
fn a_producer_does_not_write_to_a_topic_that_took_the_place_of_its_own() {
    let kdir = Kdir::with_topic("app", &[]);
    let mut producer = Running::start(kdir.process(&["-q", "produce", "app"]));
    producer.write("one\n");
    until("the first line is stored", || kdir.values("app") == "one\n");
    kdir.run(&["-q", "delete", "app", "-y"]).code(0).stdout("").stderr("");
    kdir.create("app", &[]);
    producer.write("two\n");
    assert_eq!(producer.end(), (Some(1), String::new(), "kdir: the topic app was deleted\n".into()));
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn warns_in_a_brokers_directory() {
    let kdir = Kdir::with_topic("app", &[]);
    fs::write(kdir.path("meta.properties"), "version=1\n").unwrap();
    kdir.feed(&["produce", "app"], "one\n")
        .code(0)
        .stdout("")
        .stderr(starts_with("warning: this log dir belongs to a Kafka broker (meta.properties is there)"));
    assert_eq!(kdir.values("app"), "one\n");
}

#[test]
fn a_partition_whose_folder_was_lost_is_named_and_never_a_new_one() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &["-p", "0"], "kept\n");
    fs::remove_dir_all(kdir.path("app-1")).unwrap();
    let named = || contains(format!("{} is missing", kdir.path("app-1").display()));
    kdir.run(&["list"]).code(4).stderr(named());
    kdir.run(&["consume", "app", "-p", "1"]).code(4).stdout("").stderr(named());
    kdir.feed(&["produce", "app", "-p", "1"], "x\n").code(4).stdout("").stderr(named());
    let found = kdir.command(&["verify", "-o", "json"]).assert().code(4);
    assert_eq!(each(&json_lines(&found.get_output().stdout), "problem"), ["missing-folder"]);
    kdir.run(&["repair", "--accept-loss", "-q"]).code(0);
    kdir.produce("app", &["-p", "1"], "x\n");
    kdir.assert_sound();
}

#[test]
fn a_partition_without_a_row_has_one_once_it_was_written_to() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    // As in topics that an earlier kdir has made.
    fs::write(kdir.path("recovery-point-offset-checkpoint"), "0\n0\n").unwrap();
    kdir.produce("app", &["-p", "1"], "kept\n");
    fs::remove_dir_all(kdir.path("app-1")).unwrap();
    let named = || contains(format!("{} is missing", kdir.path("app-1").display()));
    kdir.run(&["list"]).code(4).stderr(named());
    kdir.feed(&["produce", "app", "-p", "1"], "x\n").code(4).stdout("").stderr(named());
}

#[test]
fn a_partition_whose_folder_was_never_made_is_empty_and_made_by_the_next_writer() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    // What a crash leaves of a creation that had come so far.
    fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
    fs::remove_dir_all(kdir.path("app-1")).unwrap();
    assert_eq!(kdir.values("app"), "");
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]).lines().count(), 2);
    kdir.produce("app", &[], "a\nb\n");
    assert_eq!(kdir.entries("app-1"), crate::support::PARTITION_FILES);
    assert_eq!(kdir.values("app"), "a\nb\n");
}

#[test]
fn reads_a_named_pipe() {
    let kdir = Kdir::with_topic("app", &[]);
    let path = kdir.temp().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let producer = Running::start(kdir.process(&["-q", "produce", "app", path.to_str().unwrap()]));
    fs::write(&path, "one\ntwo\n").unwrap();
    assert_eq!(producer.end(), (Some(0), String::new(), String::new()));
    assert_eq!(kdir.values("app"), "one\ntwo\n");
}

#[test]
fn producers_and_retention_at_once_leave_a_log_without_a_hole() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=2000"]);
    let running: Vec<Running> = (0..3)
        .map(|producer| {
            let lines: String = (0..1000).map(|line| format!("{producer} {line}\n")).collect();
            let file = kdir.file(&format!("lines {producer}"), lines);
            Running::start(kdir.process(&["-q", "produce", "app", "--batch-size", "200", &file]))
        })
        .collect();
    for _ in 0..20 {
        kdir.run(&["-q", "retention", "app", "--retention-bytes", "4000"]).code(0).stderr("");
    }
    for process in running {
        assert_eq!(process.end(), (Some(0), String::new(), String::new()));
    }
    let offsets: Vec<i64> = kdir.records("app").iter().map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets.last(), Some(&2999));
    assert!(offsets.windows(2).all(|pair| pair[1] == pair[0] + 1), "{offsets:?}");
}
