//! Topics of every kind that only a broker writes: by its perf-test, by transactions, under its cleaner.

use crate::broker::{Broker, Kafka};
use crate::support::{Kdir, until};
use serde_json::json;
use std::fmt::Write as _;

/// Topics with transactions; the last of `open` never ends.
pub(crate) const TRANSACTIONAL: [&str; 3] = ["transactions", "segmented", "open"];
/// All others but `__consumer_offsets`.
pub(crate) const PLAIN: [&str; 9] =
    ["perf", "none", "gzip", "snappy", "lz4", "zstd", "compacted", "shortened", "stamped"];

/// What a transaction of one producer and of two that overlap can come to.
const STEPS: [&str; 22] = [
    "plain:5",
    "begin:a",
    "send:a:20",
    "commit:a",
    "begin:a",
    "begin:b",
    "send:a:3",
    "send:b:4",
    "plain:3",
    "send:a:2",
    "abort:a",
    "send:b:5",
    "commit:b",
    "begin:b",
    "send:b:10",
    "abort:b",
    "begin:a",
    "abort:a",
    "begin:a",
    "send:a:1",
    "commit:a",
    "plain:2",
];

/// 2023-11-14.
const FIRST_TIMESTAMP: i64 = 1_700_000_000_000;

/// Starts a broker on the log dir of `kdir` and has it write all of them.
pub(crate) fn fill(kafka: Kafka, kdir: &Kdir) -> Broker {
    let broker = Broker::start(kafka, kdir);
    let keep = "retention.ms=-1";
    let mut commands: Vec<Vec<&str>> = vec![
        vec!["create", "perf", "1", keep, "segment.bytes=1048576"],
        vec!["create", "transactions", "2", keep],
        // A record a second with segments of less: almost each batch begins one.
        vec!["create", "segmented", "1", keep, "segment.ms=1"],
        vec!["create", "open", "1", keep],
        vec!["create", "shortened", "2", keep],
        vec!["create", "stamped", "1", keep, "message.timestamp.type=LogAppendTime"],
        vec!["create", "compacted", "1", "cleanup.policy=compact", "segment.ms=100", "min.cleanable.dirty.ratio=0.01"],
    ];
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        commands.push(vec!["create", codec, "2", keep]);
    }
    commands.push([&["transactions", "transactions", "2"][..], &STEPS].concat());
    commands.push([&["transactions", "segmented", "1"][..], &STEPS].concat());
    commands.push(
        [
            &["transactions", "open", "1"][..],
            &STEPS,
            &["begin:b", "send:b:2", "plain:3", "begin:a", "send:a:1", "abort:a"],
        ]
        .concat(),
    );
    let properties = [
        ("none", "compression.type=none"),
        ("gzip", "compression.type=gzip"),
        ("snappy", "compression.type=snappy"),
        ("lz4", "compression.type=lz4"),
        ("zstd", "compression.type=zstd"),
        ("shortened", "batch.size=1000"),
        ("stamped", "enable.idempotence=true"),
        // Every record a batch, and so a segment, of its own.
        ("compacted", "batch.size=0"),
    ];
    let files = properties.map(|(topic, property)| (kdir.file(topic, envelopes(topic)), property));
    commands.extend(files.iter().map(|(file, property)| vec!["produce", file, property, "acks=all"]));
    commands.push(vec!["delete-records", "shortened", "0=57", "1=0"]);
    broker.client(&commands.join(&"+"), b"");
    perf_test(&broker);
    // Its group's offsets make the topic in which they are kept.
    assert_eq!(broker.console_consumer("none", 300, &["--group", "readers"]).lines().count(), 300);
    await_cleaner(kdir);
    // Until then, only the broker's memory knows what was deleted.
    until("the broker has written down a log start offset", || {
        let written = std::fs::read_to_string(kdir.path("log-start-offset-checkpoint")).unwrap_or_default();
        written.lines().any(|line| line == "shortened 0 57")
    });
    broker
}

/// Records with all that a record can have, a second apart.
fn envelopes(topic: &str) -> String {
    let mut lines = String::new();
    for number in 0..300 {
        let key = format!("key-{}", number % 20);
        let value = format!("value {number} of {topic}: ünïcode");
        let headers = json!([{"key": "h", "value": number.to_string()}, {"key": "h", "value": null}]);
        let is_tombstone = number % 10 == 3;
        let record = json!({
            "topic": topic,
            "timestamp": FIRST_TIMESTAMP + 1000 * number,
            "key": if number % 7 == 5 && topic != "compacted" { json!(null) } else { json!(key) },
            "value": if is_tombstone { json!(null) } else { json!(value) },
            "headers": if number % 3 == 0 { headers } else { json!([]) },
        });
        writeln!(lines, "{record}").unwrap();
    }
    lines
}

fn perf_test(broker: &Broker) {
    let address = format!("bootstrap.servers={}", broker.address());
    let args = ["--topic", "perf", "--num-records", "30000", "--record-size", "100", "--throughput", "-1"];
    let output = broker.kafka.run(
        "org.apache.kafka.tools.ProducerPerformance",
        &[&args[..], &["--producer-props", &address]].concat(),
        b"",
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("30000 records sent"));
}

/// Waits until the cleaner has been over all of `compacted` but its active segment.
fn await_cleaner(kdir: &Kdir) {
    until("the cleaner has compacted its topic", || {
        let active = kdir.entries("compacted-0").into_iter().filter(|name| name.ends_with(".log")).max().unwrap();
        let active: i64 = active.trim_end_matches(".log").parse().unwrap();
        let cleaned = std::fs::read_to_string(kdir.path("cleaner-offset-checkpoint")).unwrap_or_default();
        active > 0 && cleaned.lines().any(|line| line == format!("compacted 0 {active}"))
    });
}
