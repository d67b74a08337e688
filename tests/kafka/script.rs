//! Kafka producers of every kind that live as long as a test, even while their broker is stopped.

use crate::broker::Broker;
use crate::stepped::Stepped;
use crate::support::Chance;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Topics are made with this `segment.ms`, so that each round of [`Producers`] begins a segment.
pub(crate) const SEGMENT_MS: i64 = 60_000;
/// Partitions of each topic.
pub(crate) const PARTITIONS: u32 = 2;
const RECORDS_OF_BATCH: u32 = 25;
const KEYS: i64 = 60;

/// Producers and their codecs. The last letter of a name is the kind: plain, idempotent, transactional.
const NAMES: [(&str, &str); 7] = [
    ("1p", "none"),
    ("2p", "snappy"),
    ("3i", "lz4"),
    ("4i", "none"),
    ("5t", "zstd"),
    ("6t", "none"),
    // Its transactions take three rounds.
    (SLOW, "gzip"),
];
const SLOW: &str = "7t";

/// What the records of a topic are like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) topic: &'static str,
    pub(crate) has_tombstones: bool,
    /// Whether it has records of transactions that span rounds.
    pub(crate) has_open_transactions: bool,
}

/// A JVM with a producer of each kind.
pub(crate) struct Producers {
    jvm: Stepped,
    shapes: Vec<Shape>,
    /// Timestamp of the current round.
    clock: i64,
    sent: i64,
    round: u32,
    noise: Chance,
}

impl Producers {
    /// Opens all of them.
    pub(crate) fn open(broker: &Broker, shapes: &[Shape], with_codecs: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        let mut producers = Self {
            jvm: Stepped::new(broker.producers()),
            shapes: shapes.to_vec(),
            // Transaction markers have the broker's time. All records have later ones, so no marker begins a segment.
            clock: i64::try_from(now).unwrap() + 4 * SEGMENT_MS,
            sent: 0,
            round: 0,
            noise: Chance::new(7),
        };
        for (name, codec) in NAMES {
            let mut properties = json!({"compression.type": if with_codecs { codec } else { "none" }});
            let is_idempotent = !name.ends_with('p');
            properties["enable.idempotence"] = json!(is_idempotent.to_string());
            properties["acks"] = json!(if is_idempotent { "all" } else { "1" });
            if name.ends_with('t') {
                properties["transactional.id"] = json!(format!("{}-{name}", shapes[0].topic));
            }
            producers.step("open", name, json!({"properties": properties}));
        }
        producers
    }

    /// Has the JVM do a step, and waits.
    fn step(&mut self, step: &str, producer: &str, mut line: Value) {
        line["producer"] = json!(producer);
        self.jvm.step(step, line);
    }

    /// Begins a segment in each partition and has each producer send to it. Every second transaction is aborted.
    pub(crate) fn round(&mut self) {
        self.round += 1;
        self.clock += SEGMENT_MS + 1000;
        for name in ["1p", "3i"] {
            self.send(name);
        }
        self.step("begin", "5t", json!({}));
        self.step("begin", "6t", json!({}));
        self.send("5t");
        self.send("2p");
        self.send("6t");
        self.send("5t");
        let (fifth, sixth) = if self.round.is_multiple_of(2) { ("commit", "abort") } else { ("abort", "commit") };
        self.step(fifth, "5t", json!({}));
        self.send("4i");
        self.step(sixth, "6t", json!({}));
        self.slow_step();
    }

    /// A third of a transaction that takes three rounds.
    fn slow_step(&mut self) {
        if self.round % 3 == 1 {
            self.step("begin", SLOW, json!({}));
        }
        self.send(SLOW);
        if self.round.is_multiple_of(3) {
            let end = if self.round.is_multiple_of(2) { "abort" } else { "commit" };
            self.step(end, SLOW, json!({}));
        }
    }

    /// Sends a batch to each partition. Its last record has a key that no other has.
    fn send(&mut self, name: &str) {
        let mut records = Vec::new();
        for shape in self.shapes.clone() {
            if name == SLOW && !shape.has_open_transactions {
                continue;
            }
            for partition in 0..PARTITIONS {
                for at in 0..RECORDS_OF_BATCH {
                    self.sent += 1;
                    let key = if at + 1 == RECORDS_OF_BATCH {
                        format!("once-{}", self.sent)
                    } else {
                        format!("key-{}", self.noise.below(KEYS as u64))
                    };
                    let mut value = format!("{name}-{}-", self.sent);
                    for _ in 0..100 {
                        value += &format!("{:016x}", self.noise.below(u64::MAX));
                    }
                    let is_tombstone = shape.has_tombstones && self.sent % 9 == 4;
                    let headers = json!([{"key": "h", "value": self.sent.to_string()}, {"key": "none", "value": null}]);
                    records.push(json!({
                        "topic": shape.topic, "partition": partition, "timestamp": self.clock + i64::from(at), "key": key,
                        "value": if is_tombstone { json!(null) } else { json!(value) },
                        "headers": if self.sent % 3 == 0 { headers } else { json!([]) },
                    }));
                }
            }
        }
        if !records.is_empty() {
            self.step("send", name, json!({"records": records}));
        }
    }
}
