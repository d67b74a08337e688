//! Whatever records a topic holds, what `consume` prints of them makes the same records in another: `produce -i json` of
//! `-o json` with all that they have, `-i len32` of `-o len32` and `-D` of `-D` with their values.
//!
//! Chance makes the records; the seed is printed, and KDIR_SEED makes them again.

use crate::support::{Chance, Kdir, seed};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fmt::Write as _;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: usize = 3;
/// As many for each codec.
const RECORDS: usize = 800;
/// What JSON escapes, what it does not, and what looks like its own.
const CHARACTERS: [char; 20] = [
    'a', '7', ' ', '"', '\\', '/', '\n', '\r', '\t', '\0', '\u{1f}', '\u{7f}', 'é', '漢', '😀', '\u{2028}', '\u{feff}',
    '\u{fffd}', '{', ',',
];

type Bytes = Option<Vec<u8>>;

struct Record {
    partition: usize,
    timestamp_ms: i64,
    key: Bytes,
    value: Bytes,
    headers: Vec<(Vec<u8>, Bytes)>,
}

impl Record {
    fn any(chance: &mut Chance) -> Self {
        let now = 1_700_000_000_000 + chance.below(1_000_000_000) as i64;
        let header_count = chance.of(&[0, 0, 1, 2, 5, 40]);
        Self {
            partition: chance.below(PARTITIONS as u64) as usize,
            timestamp_ms: chance.of(&[-1, 0, 1, now, now, now, 253_402_300_800_000, i64::MAX]),
            key: any_part(chance),
            value: any_part(chance),
            headers: (0..header_count).map(|_| (any_name(chance), any_part(chance).map(shortened))).collect(),
        }
    }

    /// As `consume` is to print it, said without the program's own code.
    fn envelope(&self, offset: usize) -> Value {
        let mut envelope = json!({
            "topic": "any", "partition": self.partition, "offset": offset,
            "timestamp": self.timestamp_ms, "timestamp_type": "CreateTime",
        });
        put(&mut envelope, "key", self.key.as_deref());
        put(&mut envelope, "value", self.value.as_deref());
        let headers = self.headers.iter().map(|(name, value)| {
            let mut header = json!({});
            put(&mut header, "key", Some(name));
            put(&mut header, "value", value.as_deref());
            header
        });
        envelope["headers"] = headers.collect();
        envelope
    }
}

/// Text as it is, and what is none as base64.
fn put(object: &mut Value, name: &str, part: Option<&[u8]>) {
    match part.map(|bytes| std::str::from_utf8(bytes).map_err(|_| STANDARD.encode(bytes))) {
        None => object[name] = json!(null),
        Some(Ok(text)) => object[name] = json!(text),
        Some(Err(base64)) => object[format!("{name}_b64")] = json!(base64),
    }
}

fn random(chance: &mut Chance, less_than: u64) -> Vec<u8> {
    (0..chance.below(less_than)).map(|_| chance.below(256) as u8).collect()
}

fn any_part(chance: &mut Chance) -> Bytes {
    match chance.below(8) {
        0 => None,
        1 => Some(Vec::new()),
        2 => Some(b"null".to_vec()),
        3 => Some(random(chance, 30)),
        4 => Some(random(chance, 3000)),
        _ => Some((0..chance.below(50)).map(|_| chance.of(&CHARACTERS)).collect::<String>().into_bytes()),
    }
}

/// Few names, so that they come again in one record.
fn any_name(chance: &mut Chance) -> Vec<u8> {
    chance.of(&[&b"h"[..], b"h", b"", "é".as_bytes(), b"\xff\x80", b"a\0\n\"", b"key"]).to_vec()
}

fn shortened(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(100);
    bytes
}

/// Records in the order in which they are stored.
fn any_records(chance: &mut Chance) -> Vec<Record> {
    (0..RECORDS).map(|_| Record::any(chance)).collect()
}

/// What `consume` is to print of them, partition by partition.
fn envelopes(records: &[Record]) -> Vec<Value> {
    let of = |partition: usize| records.iter().filter(move |record| record.partition == partition);
    (0..PARTITIONS).flat_map(|partition| (0..).zip(of(partition)).map(|(at, record)| record.envelope(at))).collect()
}

fn lines(records: &[Record]) -> String {
    records.iter().fold(String::new(), |mut lines, record| {
        writeln!(lines, "{}", record.envelope(0)).unwrap();
        lines
    })
}

/// A log dir with those records in its topic, in batches and segments of several sizes.
fn filled(chance: &mut Chance, codec: &str, records: &[Record]) -> Kdir {
    let kdir = empty(chance);
    let batch_size = chance.of(&["1KiB", "8KiB", "128KiB"]);
    kdir.produce("any", &["-i", "json", "-z", codec, "--batch-size", batch_size], lines(records));
    kdir
}

fn empty(chance: &mut Chance) -> Kdir {
    let size = format!("segment.bytes={}", chance.of(&[16_384, 1_048_576]));
    // With times from 1970 on, each batch would begin a segment.
    let time = format!("segment.ms={}", chance.of(&[604_800_000, i64::MAX]));
    Kdir::with_topic("any", &["-P", &PARTITIONS.to_string(), "-c", &size, "-c", &time])
}

/// Compares record by record, so that a failure tells of one.
#[track_caller]
fn assert_same(kdir: &Kdir, expected: &[Value]) {
    let found = kdir.json(&["consume", "any", "-o", "json", "--order", "partition"]);
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[expect(clippy::print_stdout, reason = "a failure is looked into with the same seed")]
fn with_seed() -> Chance {
    let seed = seed();
    println!("KDIR_SEED={seed}");
    Chance::new(seed)
}

#[test]
fn envelopes_make_the_same_records() {
    let mut chance = with_seed();
    for (codec, other_codec) in CODECS.iter().zip(CODECS.iter().cycle().skip(1)) {
        let records = any_records(&mut chance);
        let expected = envelopes(&records);
        let source = filled(&mut chance, codec, &records);
        assert_same(&source, &expected);
        let copy = empty(&mut chance);
        let order = chance.of(&["time", "partition"]);
        let printed = source.stdout(&["consume", "any", "-o", "json", "--order", order]);
        copy.produce("any", &["-i", "json", "-z", other_codec], printed);
        assert_same(&copy, &expected);
        // The records have any timestamps, and those of the future are worth a note.
        let found = copy.json(&["verify", "-q", "-o", "json"]);
        assert!(found.iter().all(|finding| finding["problem"] == "future-timestamp"), "{found:?}");
    }
}

/// The values of a topic in turn; what is null is nothing.
fn values(records: &[Record]) -> Vec<Vec<u8>> {
    let of = |partition: usize| records.iter().filter(move |record| record.partition == partition);
    (0..PARTITIONS).flat_map(of).map(|record| record.value.clone().unwrap_or_default()).collect()
}

/// Prints the values of one topic into another in that form, and compares.
fn through(kdir: &Kdir, output: &[&str], input: &[&str], expected: &[Vec<u8>]) {
    let printed = kdir.stdout(&[&["consume", "any", "--order", "partition"], output].concat());
    let copy = Kdir::with_topic("copy", &[]);
    copy.produce("copy", input, printed);
    let found = copy.json(&["consume", "copy", "-o", "json"]);
    for (found, expected) in found.iter().zip(expected) {
        let mut value = json!({});
        put(&mut value, "value", Some(expected));
        for name in ["value", "value_b64"] {
            assert_eq!(found.get(name), value.get(name), "{output:?}");
        }
    }
    assert_eq!(found.len(), expected.len(), "{output:?}");
}

#[test]
fn lengths_make_the_same_values() {
    let mut chance = with_seed();
    for codec in CODECS {
        let records = any_records(&mut chance);
        let kdir = filled(&mut chance, codec, &records);
        through(&kdir, &["-o", "len32"], &["-i", "len32", "-z", codec], &values(&records));
    }
}

/// Whether the first delimiter behind the start of a value is the one that follows it.
fn can_end(value: &[u8], delimiter: &[u8]) -> bool {
    let ended = [value, delimiter].concat();
    ended.windows(delimiter.len()).position(|window| window == delimiter) == Some(value.len())
}

#[test]
fn delimiters_that_no_value_holds_make_the_same_values() {
    let mut chance = with_seed();
    let any: Vec<u8> = (0..=chance.below(5)).map(|_| chance.below(256) as u8).collect();
    let delimiters: [&[u8]; 8] = [b"\n", b"\0", b"\xff", b"\r\n", b"--", b"aab", "é".as_bytes(), &any];
    for (delimiter, codec) in delimiters.iter().zip(CODECS.iter().cycle()) {
        let mut records = any_records(&mut chance);
        for (number, record) in records.iter_mut().enumerate() {
            // A part of it is no end.
            if number % 5 == 0 {
                record.value = Some([b"x", &delimiter[1..], b"y", &delimiter[..delimiter.len() - 1], b"z"].concat());
            }
        }
        records.retain(|record| can_end(record.value.as_deref().unwrap_or_default(), delimiter));
        assert!(records.len() > RECORDS / 10, "{delimiter:?} leaves {} records", records.len());
        let escaped = delimiter.iter().fold(String::new(), |mut escaped, byte| {
            write!(escaped, "\\x{byte:02x}").unwrap();
            escaped
        });
        let kdir = filled(&mut chance, codec, &records);
        through(&kdir, &["-D", &escaped], &["-D", &escaped, "-z", codec], &values(&records));
    }
}
