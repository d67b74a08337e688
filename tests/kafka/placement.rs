//! Keys go to the partition to which Kafka's producer, and librdkafka's, would send them.

use crate::broker::{Broker, Kafka};
use crate::support::Kdir;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::fmt::Write as _;
use std::process::Command;

const KEYS: u32 = 10_000;
const PARTITIONS: &str = "7";

/// Keys of 0 to 99 bytes, with every byte value among them; a linear congruential generator makes them.
fn keys() -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..KEYS).map(|number| (0..number % 100).map(|_| random()).collect()).collect()
}

/// The partition of each record of a topic, in the order of the numbers that are its values.
fn placed(kdir: &Kdir, topic: &str) -> Vec<u64> {
    let mut places: Vec<(u64, u64)> = kdir
        .records(topic)
        .iter()
        .map(|record| (record["value"].as_str().unwrap().parse().unwrap(), record["partition"].as_u64().unwrap()))
        .collect();
    places.sort_unstable();
    places.into_iter().map(|(_, partition)| partition).collect()
}

#[test]
#[ignore = "needs Kafka: .ci/run brings it"]
fn murmur2_places_ten_thousand_keys_as_the_java_producer_does() {
    let kdir = Kdir::with_topic("keys", &["-P", PARTITIONS]);
    let (mut envelopes, mut hex) = (String::new(), String::new());
    for (number, key) in keys().iter().enumerate() {
        let key_b64 = STANDARD.encode(key);
        writeln!(envelopes, "{}", json!({"key_b64": key_b64, "value": number.to_string()})).unwrap();
        for byte in key {
            write!(hex, "{byte:02x}").unwrap();
        }
        hex.push('\n');
    }
    kdir.produce("keys", &["-i", "json"], envelopes);
    let expected = Kafka::K4.run("Placement", &[PARTITIONS], hex.as_bytes()).stdout;
    let expected: Vec<u64> = String::from_utf8(expected).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(expected.len(), KEYS as usize);
    assert_eq!(placed(&kdir, "keys"), expected);
}

#[test]
#[ignore = "needs Kafka and kcat: .ci/run brings them"]
fn crc32_places_ten_thousand_keys_as_librdkafka_does() {
    // Keys and values go through kcat as lines, with a tab between: those two bytes cannot be in a key, nor can a key be
    // empty, which kcat takes for none.
    let mut lines = Vec::new();
    for (number, mut key) in keys().into_iter().enumerate() {
        key.push(b'k');
        key.iter_mut().filter(|byte| matches!(byte, b'\t' | b'\n')).for_each(|byte| *byte = b' ');
        lines.extend_from_slice(&key);
        lines.extend_from_slice(format!("\t{number}\n").as_bytes());
    }
    let brokers = Kdir::new();
    let file = brokers.file("lines", &lines);
    let mut broker = Broker::start(Kafka::K4, &brokers);
    broker.create("keys", PARTITIONS.parse().unwrap(), &[]);
    let kcat = Command::new("kcat")
        .args(["-P", "-b", &broker.address(), "-t", "keys", "-K", "\t", "-X", "partitioner=consistent", "-l", &file])
        .output()
        .expect("kcat is installed: apt-get install kcat");
    assert!(kcat.status.success(), "{}", String::from_utf8_lossy(&kcat.stderr));
    broker.stop();

    let ours = Kdir::with_topic("keys", &["-P", PARTITIONS]);
    ours.produce("keys", &["-K", "\\t", "--partitioner", "crc32"], lines);
    let expected = placed(&brokers, "keys");
    assert_eq!(expected.len(), KEYS as usize);
    assert_eq!(placed(&ours, "keys"), expected);
}
