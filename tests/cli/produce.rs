use super::support::{Kdir, read};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::json;

#[test]
fn bytes_are_bytes() {
    for input in [&b"a\nb\n"[..], b"\n\n\n", b"a\r\nb\r\n", b"\0\n\xff\xfe\n", b" lead and trail \n"] {
        let kdir = Kdir::with_topic("app", 1);
        kdir.produce("app", input);
        assert_eq!(kdir.stdout(&["consume", "app"]), input);
    }
}

#[test]
fn a_last_line_without_its_newline_is_a_record() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a\nb");
    assert_eq!(kdir.text(&["consume", "app"]), "a\nb\n");
    kdir.produce("app", b"");
    assert_eq!(kdir.json(&["list", "-o", "json"])[0]["records"], 2);
}

#[test]
fn every_codec_and_the_topics_own_come_back() {
    let lines: String = (0..5000).map(|at| format!("line {at} of a log that repeats itself\n")).collect();
    for codec in ["none", "gzip", "gzip:9", "snappy", "lz4", "zstd", "zstd:19"] {
        let kdir = Kdir::with_topic("app", 3);
        kdir.run_with(&["produce", "app", "-z", codec], lines.as_bytes()).success();
        assert!(kdir.stdout(&["consume", "app"]) == lines.as_bytes(), "{codec}");
    }
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "compression.type=lz4"]).success();
    kdir.produce("app", lines.as_bytes());
    let log = kdir.path("app-0/00000000000000000000.log").display().to_string();
    assert!(kdir.json(&["dump", &log, "-o", "json"]).iter().all(|batch| batch["codec"] == "lz4"));
    kdir.run_with(&["produce", "app", "-z", "lzma"], b"x").code(2).stderr(contains("none, gzip, snappy, lz4 or zstd"));
}

#[test]
fn keys_headers_times_and_nulls_are_stored() {
    let kdir = Kdir::with_topic("app", 1);
    let args = ["produce", "app", "-K", ":", "-H", "a=1", "-H", "a=2", "--timestamp", "2026-01-02T03:04:05.678Z", "-Z"];
    kdir.run_with(&args, b"k:v\nk:\n:v\n").success();
    let rows = kdir.json(&["consume", "app", "-o", "json"]);
    assert_eq!(
        rows[0],
        json!({"topic": "app", "partition": 0, "offset": 0, "timestamp": 1_767_323_045_678_i64,
            "timestamp_type": "CreateTime", "key": "k", "value": "v",
            "headers": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]})
    );
    assert_eq!((&rows[1]["key"], &rows[1]["value"]), (&json!("k"), &json!(null)));
    assert_eq!((&rows[2]["key"], &rows[2]["value"]), (&json!(null), &json!("v")));
}

#[test]
fn a_line_without_its_key_delimiter_is_named_and_what_came_before_is_kept() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run_with(&["produce", "app", "-K", "="], b"a=1\nb=2\nc\nd=4\n")
        .code(1)
        .stderr(contains("line 3 of stdin has no key delimiter \"=\""));
    assert_eq!(kdir.text(&["consume", "app"]), "1\n2\n");
}

#[test]
fn a_record_that_is_too_large_is_named_and_what_came_before_is_kept() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "max.message.bytes=1000"]).success();
    let mut input = b"a\nb\n".to_vec();
    input.extend(vec![b'x'; 2000]);
    input.extend_from_slice(b"\nd\n");
    kdir.run_with(&["produce", "app"], &input)
        .code(1)
        .stderr(contains("line 3 of stdin is too large: 2000 bytes").and(contains("may have 1000")));
    assert_eq!(kdir.text(&["consume", "app"]), "a\nb\n");
    // 61 bytes of header, and 9 around the value.
    let fits = vec![b'x'; 1000 - 61 - 9];
    kdir.produce("app", &fits);
    kdir.run_with(&["produce", "app"], &[&fits[..], b"x"].concat()).code(1).stderr(contains("is too large: 931 bytes"));
}

#[test]
fn a_line_without_end_is_refused_without_taking_the_memory() {
    let kdir = Kdir::with_topic("app", 1);
    let input = vec![b'x'; 30 << 20];
    kdir.run_with(&["produce", "app"], &input).code(1).stderr(contains("line 1 of stdin is too large: 31457280 bytes"));
}

#[test]
fn keyless_records_go_in_turn_over_runs_and_come_back_in_order() {
    let kdir = Kdir::with_topic("app", 3);
    let mut expected = String::new();
    for run in 0..5 {
        let lines: String = (0..run + 2).map(|at| format!("{run} {at}\n")).collect();
        kdir.produce("app", lines.as_bytes());
        expected.push_str(&lines);
    }
    assert_eq!(kdir.text(&["consume", "app"]), expected);
    let ends: Vec<i64> =
        kdir.json(&["describe", "-o", "json"]).iter().map(|row| row["log_end_offset"].as_i64().unwrap()).collect();
    assert_eq!(ends, [7, 7, 6]);
}

#[test]
fn keys_go_where_kafkas_clients_send_them() {
    // murmur2 of Kafka's own tests: abc 479470107, 21 -973932308, foobar -790332482; CRC-32 of 123456789.
    for (key, partitioner, hash) in [
        ("abc", "murmur2", 479_470_107_i64),
        ("21", "murmur2", i64::from((-973_932_308_i32) & 0x7fff_ffff)),
        ("foobar", "murmur2", i64::from((-790_332_482_i32) & 0x7fff_ffff)),
        ("123456789", "crc32", 0xCBF4_3926),
    ] {
        let kdir = Kdir::with_topic("app", 7);
        kdir.run_with(&["produce", "app", "-k", key, "--partitioner", partitioner], b"v").success();
        assert_eq!(kdir.json(&["consume", "app", "-o", "json"])[0]["partition"], hash % 7, "{key}");
    }
}

#[test]
fn a_partition_that_is_not_there_is_named() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.run_with(&["produce", "app", "-p", "2"], b"x").code(1).stderr(contains("partitions 0 to 1"));
    kdir.run_with(&["produce", "app", "-i", "json"], br#"{"partition":9,"value":"x"}"#)
        .code(1)
        .stderr(contains("line 1 of stdin is for partition 9"));
}

#[test]
fn envelopes_go_there_and_back_without_loss() {
    let kdir = Kdir::with_topic("one", 3);
    kdir.run(&["create", "two", "-P", "3"]).success();
    kdir.run_with(&["produce", "one", "-K", ":", "-H", "h=\u{fc}"], b"a:1\nb:\n:\xff\xfe\nquote\"\\:\x01\n").success();
    kdir.run_with(&["produce", "one", "--timestamp", "-1", "-Z"], b"\nx\n").success();
    let envelopes = kdir.stdout(&["consume", "one", "-o", "json"]);
    kdir.run_with(&["produce", "two", "-i", "json"], &envelopes).success();
    let renamed = String::from_utf8(envelopes).unwrap().replace("\"topic\":\"one\"", "\"topic\":\"two\"");
    assert_eq!(kdir.text(&["consume", "two", "-o", "json"]), renamed);
    assert!(renamed.contains("\"value_b64\":\"//4=\"") && renamed.contains("\"value\":null"), "{renamed}");
}

#[test]
fn json_that_is_no_envelope_is_named_by_line_and_column() {
    let kdir = Kdir::with_topic("app", 1);
    let input = b"{\"value\":\"a\"}\n{\"value\":}\n";
    kdir.run_with(&["produce", "app", "-i", "json"], input)
        .code(1)
        .stderr(contains("line 2 of stdin, column 10: expected value"));
    assert_eq!(kdir.text(&["consume", "app"]), "a\n");
    kdir.run_with(&["produce", "app", "-i", "json", "-k", "x"], b"").code(2).stderr(contains("of its own"));
}

#[test]
fn lengths_raw_input_and_other_delimiters_are_understood() {
    let kdir = Kdir::with_topic("app", 1);
    let framed = b"\0\0\0\x03a\nb\0\0\0\0";
    kdir.run_with(&["produce", "app", "-i", "len32"], framed).success();
    assert_eq!(kdir.stdout(&["consume", "app", "-o", "len32"]), framed);
    kdir.run_with(&["produce", "app", "-i", "len32"], b"\0\0\0\x09abc")
        .code(1)
        .stderr(contains("record 1 of stdin is cut short"));
    kdir.run_with(&["produce", "app", "-i", "raw"], b"x\ny\n").success();
    kdir.run_with(&["produce", "app", "-D", r"\0"], b"p\0q").success();
    kdir.run_with(&["produce", "app", "-D--"], b"r-s--t").success();
    let values: Vec<String> = kdir
        .json(&["consume", "app", "-o", "json"])
        .iter()
        .skip(2)
        .map(|row| row["value"].as_str().unwrap().into())
        .collect();
    assert_eq!(values, ["x\ny\n", "p", "q", "r-s", "t"]);
}

#[test]
fn files_are_read_one_after_the_other() {
    let kdir = Kdir::with_topic("app", 1);
    let file = kdir.path("../lines").display().to_string();
    std::fs::write(&file, "from a file\nwithout an end").unwrap();
    kdir.run_with(&["produce", "app", &file, "-", &file], b"from stdin\n").success();
    assert_eq!(
        kdir.text(&["consume", "app"]),
        "from a file\nwithout an end\nfrom stdin\nfrom a file\nwithout an end\n"
    );
    kdir.run(&["produce", "app", "nowhere"]).code(1).stderr(contains("cannot open nowhere"));
    kdir.run(&["produce", "app", "/"]).code(1).stderr(contains("cannot read /"));
}

#[test]
fn a_missing_topic_is_an_error_that_names_the_command() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run_with(&["produce", "nope"], b"x")
        .code(1)
        .stderr(contains("there is no topic nope").and(contains("kdir create nope")));
    kdir.run_with(&["produce", "--create", "nope"], b"x").success();
    assert_eq!(kdir.text(&["consume", "nope"]), "x\n");
}

#[test]
fn a_compacted_topic_takes_no_record_without_a_key() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "cleanup.policy=compact"]).success();
    kdir.run_with(&["produce", "app"], b"x").code(1).stderr(contains("line 1 of stdin has no key"));
    kdir.run_with(&["produce", "app", "-k", "k"], b"x").success();
}

#[test]
fn says_what_is_durable_and_sums_up() {
    for sync in ["always", "end", "50ms"] {
        let kdir = Kdir::with_topic("app", 2);
        let output =
            kdir.run_with(&["produce", "app", "-o", "json", "--sync", sync], b"a\nb\nc\n").success().stderr("");
        let text = String::from_utf8(output.get_output().stdout.clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let durable: Vec<_> = lines.iter().filter(|line| line["event"] == "durable").collect();
        let last: i64 = durable
            .iter()
            .map(|it| it["last_offset"].as_i64().unwrap() - it["base_offset"].as_i64().unwrap() + 1)
            .sum();
        assert_eq!(last, 3, "{sync}: {text}");
        let summary = lines.last().unwrap();
        assert_eq!(
            (&summary["event"], &summary["records"], &summary["bytes"]),
            (&json!("summary"), &json!(3), &json!(6))
        );
    }
    let kdir = Kdir::with_topic("app", 1);
    kdir.run_with(&["produce", "app", "--sync", "sometimes"], b"")
        .code(2)
        .stderr(contains("always, end, never or a duration"));
    kdir.run_with(&["produce", "app", "--sync", "never"], b"x\n")
        .success()
        .stderr(contains("produced 1 record, 2 B, to app"));
}

#[test]
fn a_torn_tail_is_cut_kept_and_said() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a");
    kdir.produce("app", b"b");
    let path = kdir.path("app-0/00000000000000000000.log");
    let bytes = read(&path);
    std::fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
    kdir.run(&["consume", "app"]).success().stdout("a\n").stderr("");
    kdir.run_with(&["produce", "app"], b"c")
        .success()
        .stderr(contains("cut 64 bytes").and(contains("cut-00000000000000000000-69")));
    assert_eq!(kdir.text(&["consume", "app"]), "a\nc\n");
    assert_eq!(read(&kdir.path("app-0/cut-00000000000000000000-69")), bytes[69..bytes.len() - 5]);
}

#[test]
fn under_log_append_time_records_have_the_time_of_the_log() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "message.timestamp.type=LogAppendTime"]).success();
    kdir.run_with(&["produce", "app", "--timestamp", "5"], b"a").success();
    let row = &kdir.json(&["consume", "app", "-o", "json"])[0];
    assert_eq!(row["timestamp_type"], "LogAppendTime");
    assert!(row["timestamp"].as_i64().unwrap() > 1_700_000_000_000);
}
