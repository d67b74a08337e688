//! What must hold for any bytes in the records of internal topics, and the records to begin with.
#![expect(clippy::disallowed_methods, reason = "golden files are read directly; the one door is a rule of src/")]

use kdir::format::internal::{InternalRecord, InternalTopic, decode_control};
use std::fs;
use std::path::Path;

/// The length that stands for a key that is null.
const NULL: u16 = 0xffff;

/// A record of an internal topic.
///
/// The first byte says which topic it is of, or that it is in a control batch, the next two how long its key is; then come
/// the key and the value.
///
/// - What is decoded takes up all bytes: a value without its last byte is not decoded.
pub fn internal_topics(input: &[u8]) {
    let Some(parts) = Parts::of(input) else { return };
    let (Ok(_), Some((_, start))) = (parts.decode().value, parts.value.split_last()) else { return };
    assert!(Parts { value: start, ..parts }.decode().value.is_err(), "{input:?}");
}

/// An input taken apart.
struct Parts<'a> {
    kind: u8,
    key: Option<&'a [u8]>,
    value: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(input: &'a [u8]) -> Option<Self> {
        let (&[kind, high, low], bytes) = input.split_first_chunk()?;
        let length = u16::from_be_bytes([high, low]);
        if length == NULL {
            return Some(Self { kind, key: None, value: bytes });
        }
        let (key, value) = bytes.split_at(bytes.len().min(length.into()));
        Some(Self { kind, key: Some(key), value })
    }

    fn decode(&self) -> InternalRecord<'a> {
        match InternalTopic::ALL.get(usize::from(self.kind) % (InternalTopic::ALL.len() + 1)) {
            Some(topic) => topic.decode(self.key, Some(self.value)),
            None => decode_control(self.key, Some(self.value)),
        }
    }
}

/// A record of every kind and version. `folder` lies beside theirs.
pub fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let path = folder.with_file_name("internal").join("kinds-4.3.1.jsonl");
    let text = fs::read_to_string(path).expect("the golden records are there");
    text.lines().map(seed).collect()
}

fn seed(line: &str) -> Vec<u8> {
    let field = |name: &str| line.split_once(&format!("\"{name}\":")).expect("it has that field").1;
    let hex = |name: &str| field(name).strip_prefix('"').map(|rest| bytes(rest.split('"').next().unwrap_or_default()));
    let is_of =
        |topic: &InternalTopic| field("topic").starts_with(&format!("\"{}\"", &topic.name()[2..].replace('_', "-")));
    let kind = InternalTopic::ALL.iter().position(is_of).expect("it is a topic");
    let (key, value) = (hex("key_hex"), hex("value_hex").expect("it has a value"));
    let length = key.as_ref().map_or(NULL, |key| key.len() as u16);
    [&[kind as u8], &length.to_be_bytes()[..], &key.unwrap_or_default(), &value].concat()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a digit") as u8;
    hex.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1])).collect()
}

/// Whether a seed is decoded.
pub fn is_known(seed: &[u8]) -> bool {
    let record = Parts::of(seed).expect("a seed has its parts").decode();
    record.key.is_ok() && record.value.is_ok()
}
