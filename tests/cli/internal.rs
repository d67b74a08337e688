//! `kdir dump --records` of Kafka's internal topics: what Kafka's own tools and classes say is in them.

use crate::support::{Kdir, json_lines};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use predicates::str::contains;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal")
}

fn text(name: &str) -> String {
    fs::read_to_string(data().join(name)).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A key and a value.
type Record = (Option<Vec<u8>>, Option<Vec<u8>>);

/// The records of a file as `dump` shows them.
fn dumped(path: &Path, options: &[&str]) -> Vec<Value> {
    Kdir::new().json(&[&["dump", "--records", path.to_str().unwrap()], options].concat())
}

/// Records of these keys and values, as `dump` shows them.
fn dumped_records(records: &[Record], options: &[&str]) -> Vec<Value> {
    let kdir = Kdir::with_topic("t", &[]);
    let base64 = |part: &Option<Vec<u8>>| part.as_ref().map(|bytes| BASE64.encode(bytes));
    let lines = records.iter().map(|(key, value)| {
        let mut line = Map::new();
        for (name, part) in [("key", base64(key)), ("value", base64(value))] {
            match part {
                Some(part) => line.insert(format!("{name}_b64"), part.into()),
                None => line.insert(name.to_owned(), Value::Null),
            };
        }
        format!("{}\n", Value::from(line))
    });
    kdir.produce("t", &["-i", "json"], lines.collect::<String>());
    kdir.json(&[&["dump", "--records", kdir.segment("t-0", 0, "log").to_str().unwrap()], options].concat())
}

/// A line of kafka-dump-log: the offset, and the key and the value, or what it says of a control record.
fn line_of_kafka(line: &str) -> (i64, Value, Value) {
    let (facts, said) = line.split_once(" headerKeys: [] ").unwrap_or_else(|| panic!("{line}"));
    let offset = facts.split_whitespace().nth(2).unwrap().parse().unwrap();
    let parsed = |text: &str| if text == "<DELETE>" { Value::Null } else { serde_json::from_str(text).unwrap() };
    if let Some(keyed) = said.strip_prefix("key: ") {
        let (key, value) = keyed.split_once(" payload: ").unwrap();
        return (offset, parsed(key), parsed(value));
    }
    let (name, value) = said.split_once(' ').unwrap();
    match name {
        "payload:" => (offset, Value::Null, parsed(value)),
        // COMMIT coordinatorEpoch: 0
        "endTxnMarker:" => {
            let (marker, epoch) = value.split_once(" coordinatorEpoch: ").unwrap();
            (offset, json!(marker), json!({ "version": 0, "coordinatorEpoch": epoch.parse::<i64>().unwrap() }))
        }
        _ => (offset, json!(name.trim_end_matches(':')), parsed(value)),
    }
}

/// The control types of kafka-dump-log that it names in other words.
const CONTROL_NAMES: [(&str, &str); 5] = [
    ("LeaderChange", "LEADER_CHANGE"),
    ("SnapshotHeader", "SNAPSHOT_HEADER"),
    ("SnapshotFooter", "SNAPSHOT_FOOTER"),
    ("KRaftVersion", "KRAFT_VERSION"),
    ("KRaftVoters", "KRAFT_VOTERS"),
];

/// Compares a file with the lines of kafka-dump-log for it.
fn assert_same(ours: &[Value], kafka: &[&str]) {
    assert_eq!(ours.len(), kafka.len());
    for (ours, line) in ours.iter().zip(kafka) {
        let (offset, key, value) = line_of_kafka(line);
        assert_eq!(ours["offset"], offset, "{line}");
        assert!(ours.get("key_error").or(ours.get("value_error")).is_none(), "{ours}");
        let Some(control_type) = ours["control_type"].as_str() else {
            assert_eq!((&ours["key"], &ours["value"]), (&key, &value), "{line}");
            continue;
        };
        let name = key.as_str().unwrap();
        let expected = CONTROL_NAMES.iter().find(|(kafkas, _)| *kafkas == name).map_or(name, |(_, ours)| ours);
        assert_eq!(control_type, expected, "{line}");
        assert_eq!(ours["value"], value, "{line}");
    }
}

#[test]
fn every_record_of_logs_and_snapshots_is_what_kafka_dump_log_says() {
    let golden = text("kafka-dump-log-4.3.1.txt");
    let mut kafka: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in golden.lines() {
        match line.strip_prefix("Dumping ") {
            Some(path) => current = path,
            None => kafka.entry(current).or_default().push(line),
        }
    }
    assert_eq!(kafka.len(), 26);
    for (path, lines) in kafka {
        assert_same(&dumped(&data().join(path), &[]), &lines);
    }
}

#[test]
fn every_kind_of_record_is_what_kafkas_classes_say_in_every_version() {
    let golden = json_lines(text("kinds-4.3.1.jsonl").as_bytes());
    for topic in ["cluster-metadata", "consumer-offsets", "share-group-state", "transaction-state"] {
        let golden: Vec<&Value> = golden.iter().filter(|it| it["topic"] == topic).collect();
        let part = |it: &Value| it.as_str().map(bytes);
        let records: Vec<_> = golden.iter().map(|it| (part(&it["key_hex"]), part(&it["value_hex"]))).collect();
        let ours = dumped_records(&records, &["--decode", topic]);
        assert!(!golden.is_empty() && ours.len() == golden.len());
        for (ours, golden) in ours.iter().zip(golden) {
            assert_eq!((&ours["key"], &ours["value"]), (&golden["key"], &golden["value"]), "{golden}");
        }
    }
}

/// A value as the schemas have it in the words of Kafka's tools: names begin with a small letter, a tag is a field.
fn in_kafkas_words(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(in_kafkas_words).collect(),
        Value::Object(fields) => {
            let named = fields.iter().map(|(name, value)| {
                let name = name.split_once(' ').map_or(&**name, |(_, name)| name);
                (name[..1].to_lowercase() + &name[1..], in_kafkas_words(value))
            });
            Value::Object(named.collect())
        }
        other => other.clone(),
    }
}

/// A record of a sample: its bytes, and what the schemas say that it is.
fn sample(lines: &[&str]) -> (Record, (Value, Value)) {
    let [said, key, value] = lines else { panic!("{lines:?}") };
    let hex =
        |line: &str, name: &str| Some(line.trim().strip_prefix(name)?.trim()).filter(|hex| *hex != "null").map(bytes);
    let kind = said.split(" type ").nth(1).unwrap().split(' ').next().unwrap();
    let said = said.split_once(" key=").unwrap().1;
    let (data, said) = said.split_once("} ").unwrap();
    let data: Value = serde_json::from_str(&format!("{data}}}")).unwrap();
    let key_said = json!({ "type": kind, "data": in_kafkas_words(&data) });
    let value_said = match said.split_once(' ') {
        Some((version, data)) => {
            let data: Value = serde_json::from_str(data).unwrap();
            json!({ "version": version.strip_prefix('v').unwrap(), "data": in_kafkas_words(&data) })
        }
        None => Value::Null,
    };
    ((hex(key, "K"), hex(value, "V")), (key_said, value_said))
}

#[test]
fn every_record_of_three_brokers_groups_is_what_its_schema_says() {
    for (name, topic, count) in [
        ("consumer_offsets-2.8.2.txt", "consumer-offsets", 3),
        ("consumer_offsets-3.9.2.txt", "consumer-offsets", 5),
        ("consumer_offsets-4.3.1.txt", "consumer-offsets", 197),
        ("share_group_state-4.3.1.txt", "share-group-state", 41),
    ] {
        let text = text(name);
        let lines: Vec<&str> = text.lines().collect();
        let (records, said): (Vec<_>, Vec<_>) = lines.chunks(3).map(sample).unzip();
        assert_eq!(records.len(), count);
        let mut ours = dumped_records(&records, &["--decode", topic]);
        for (ours, (key, mut value)) in ours.iter_mut().zip(said) {
            assert_eq!(ours["key"], key);
            remove_consumer_protocol([&mut ours["value"], &mut value]);
            assert_eq!(ours["value"], value);
        }
    }
}

/// The schemas have the consumer protocol as bytes.
fn remove_consumer_protocol(values: [&mut Value; 2]) {
    for value in values {
        let members = value["data"]["members"].as_array_mut().into_iter().flatten();
        for member in members.filter_map(Value::as_object_mut) {
            assert!(member.remove("subscription").is_some() && member.remove("assignment").is_some());
        }
    }
}

#[test]
fn the_logs_of_three_brokers_decode_to_the_text_beside_them() {
    // The broker of 4.3.1 went on after its logs were copied, so that the text has more.
    for (version, name, topic, count) in [
        ("2.8.2", "consumer_offsets-2.8.2.txt", "__consumer_offsets-", 3),
        ("3.9.2", "consumer_offsets-3.9.2.txt", "__consumer_offsets-", 5),
        ("4.3.1", "consumer_offsets-4.3.1.txt", "__consumer_offsets-", 80),
        ("4.3.1", "share_group_state-4.3.1.txt", "__share_group_state-", 17),
    ] {
        let text = text(name);
        let lines: Vec<&str> = text.lines().collect();
        let said: BTreeMap<&str, &[&str]> =
            lines.chunks(3).map(|lines| (lines[0].split(' ').next().unwrap(), lines)).collect();
        let mut compared = 0;
        for folder in fs::read_dir(data().join(format!("logs-{version}"))).unwrap().map(|entry| entry.unwrap().path()) {
            let folder_name = folder.file_name().unwrap().to_str().unwrap();
            if !folder_name.starts_with(topic) {
                continue;
            }
            for mut record in dumped(&folder.join("00000000000000000000.log"), &[]) {
                let place = format!("{folder_name}@{}", record["offset"]);
                if record["control_type"].is_string() {
                    continue;
                }
                let lines = said.get(&*place).unwrap_or_else(|| panic!("{name} does not have {place}"));
                let (_, (key, mut value)) = sample(lines);
                remove_consumer_protocol([&mut record["value"], &mut value]);
                assert_eq!((&record["key"], &record["value"]), (&key, &value), "{version} {place}");
                compared += 1;
            }
        }
        assert_eq!(compared, count, "{name}");
    }
}

/// An offset commit of version 3, and its key.
const KEY: &str = "000100016700017400000003";
const VALUE: &str = "0003000000000000002a0000000700016d0000018bcfe56800";

#[test]
fn what_cannot_be_decoded_is_raw_with_the_reason_and_what_follows_is_decoded() {
    let part = |hex: &str| Some(bytes(hex));
    let cases = [
        ("00", VALUE, "the bytes are cut short", ""),
        ("0012000167", VALUE, "key type 18 is not supported", ""),
        (&KEY[..KEY.len() - 2], VALUE, "the bytes are cut short", ""),
        ("00010001ff00017400000003", VALUE, "a text is not UTF-8", ""),
        (KEY, "0005", "", "version 5 is not supported"),
        (KEY, "ffff", "", "version -1 is not supported"),
        (KEY, &VALUE[..VALUE.len() - 2], "", "the bytes are cut short"),
        (KEY, &format!("{VALUE}00"), "", "1 bytes follow the last field"),
        (KEY, "0003000000000000002a00000007ffff0000018bcfe56800", "", "metadata is null"),
    ];
    let mut records: Vec<_> = cases.iter().map(|(key, value, ..)| (part(key), part(value))).collect();
    records.extend([(None, part(VALUE)), (part("00"), None), (part(KEY), None), (part(KEY), part(VALUE))]);
    let ours = dumped_records(&records, &["--decode", "consumer-offsets"]);
    let key = json!({ "type": "1", "data": { "group": "g", "topic": "t", "partition": 3 } });
    for (ours, (key_hex, value_hex, key_error, value_error)) in ours.iter().zip(cases) {
        let raw = |hex: &str| json!(BASE64.encode(bytes(hex)));
        if key_error.is_empty() {
            assert_eq!((&ours["key"], &ours["value_error"]), (&key, &json!(value_error)), "{ours}");
        } else {
            assert_eq!((&ours["key_b64"], &ours["key_error"]), (&raw(key_hex), &json!(key_error)), "{ours}");
            assert_eq!(ours["value_error"], "its key does not say what it is");
        }
        assert_eq!((&ours["value_b64"], ours.get("value")), (&raw(value_hex), None), "{ours}");
    }
    let [no_key, no_value, tombstone, sound] = &ours[cases.len()..] else { panic!("{ours:?}") };
    assert_eq!((&no_key["key"], &no_key["value_error"]), (&Value::Null, &json!("its key does not say what it is")));
    assert_eq!((&no_value["key_b64"], no_value.get("value")), (&json!("AA=="), Some(&Value::Null)));
    assert_eq!((&tombstone["key"], tombstone.get("value")), (&key, Some(&Value::Null)));
    let data = json!({ "offset": 42, "leaderEpoch": 7, "metadata": "m", "commitTimestamp": 1_700_000_000_000_i64 });
    assert_eq!((&sound["key"], &sound["value"]), (&key, &json!({ "version": "3", "data": data })));
}

#[test]
fn a_control_record_of_an_unknown_type_is_raw_with_the_reason() {
    let kdir = Kdir::new();
    let mut log = fs::read(data().join("promoted/bootstrap.checkpoint")).unwrap();
    // The type in the key of the snapshot's header.
    assert_eq!(log[66..70], [0, 0, 0, 3]);
    log[69] = 9;
    let path = kdir.file("x.checkpoint", log);
    let run = kdir.run(&["dump", "--records", "--ignore-checksum", &path]).code(4);
    let header = &json_lines(&run.get_output().stdout)[0];
    assert_eq!((&header["control_type"], &header["key"]), (&json!("9"), &json!({ "version": 0, "type": 9 })));
    assert_eq!(header["value_error"], "control type 9 is not supported");
}

#[test]
fn the_folder_names_the_topic_and_an_option_overrides_it() {
    let kdir = Kdir::new();
    let log = data().join("logs-4.3.1/__consumer_offsets-4/00000000000000000000.log");
    let name = "00000000000000000000.log";
    let copy = |folder: &str| {
        let folder = kdir.temp().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&log, folder.join(name)).unwrap();
        folder.join(name)
    };
    let decoded = |path: &Path, options: &[&str]| dumped(path, options)[0]["key"]["type"] == "1";
    for (folder, expected) in [
        ("__consumer_offsets-4", true),
        ("__consumer_offsets-4.0123456789abcdef0123456789abcdef-delete", true),
        ("__consumer_offsets", false),
        ("consumer_offsets-4", false),
        ("copied", false),
    ] {
        assert_eq!(decoded(&copy(folder), &[]), expected, "{folder}");
    }
    assert!(decoded(&copy("copied"), &["--decode", "consumer-offsets"]));
    let raw = &dumped(&log, &["--decode", "none"])[0];
    assert!(raw["key"].as_str().unwrap().starts_with("\0\u{1}"), "{raw}");
    // A path without a folder is one of the folder that one is in.
    let mut command = kdir.command(&["dump", "--records", name]);
    let run = command.current_dir(log.parent().unwrap()).assert().code(0).stderr("");
    assert_eq!(json_lines(&run.get_output().stdout)[0]["key"]["type"], "1");
}

#[test]
fn decoding_is_for_records_and_for_topics_that_are_known() {
    let kdir = Kdir::new();
    let log = data().join("logs-4.3.1/__consumer_offsets-4/00000000000000000000.log");
    let log = log.to_str().unwrap();
    kdir.run(&["dump", "--decode", "none", log]).code(2).stdout("").stderr(contains("--records"));
    kdir.run(&["dump", "--records", "--decode", "orders", log])
        .code(2)
        .stdout("")
        .stderr(contains("consumer-offsets, share-group-state, transaction-state, cluster-metadata or none"));
}
