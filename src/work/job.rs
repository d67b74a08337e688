//! What a handler is given of a record: bytes on its standard input, facts in its environment.

use super::options::Input;
use crate::format::header::TimestampType;
use crate::format::record::Record;
use crate::stream::json::{self, Located};
use crate::units::{GroupId, Offset, Timestamp, TopicPartition};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Facts take no more than this in all: a program is not started with more than 128 KiB in one of them, or 2 MiB in all.
const FACTS_MAX: usize = 64 << 10;

/// A record that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) offset: Offset,
    /// Which attempt it is, from 1 on.
    pub(super) attempt: i16,
}

/// Where a record is from, and whose.
pub(super) struct Place<'a> {
    pub(super) partition: &'a TopicPartition,
    pub(super) group: &'a GroupId,
    pub(super) offset: Offset,
    pub(super) timestamp: Timestamp,
    pub(super) timestamp_type: TimestampType,
}

impl Place<'_> {
    /// Appends the record's envelope and a newline.
    pub(super) fn write_envelope(&self, record: &Record<'_>, out: &mut Vec<u8>) {
        let located = Located {
            topic: self.partition.topic.as_str(),
            partition: self.partition.partition,
            offset: self.offset,
            timestamp: self.timestamp,
            timestamp_type: self.timestamp_type,
            record: *record,
        };
        json::write(&located, out);
    }

    /// Appends what a handler reads of it.
    pub(super) fn write_input(&self, record: &Record<'_>, input: Input, is_batch: bool, out: &mut Vec<u8>) {
        match input {
            Input::Json => self.write_envelope(record, out),
            Input::Value => {
                out.extend_from_slice(record.value.unwrap_or_default());
                if is_batch {
                    out.push(b'\n');
                }
            }
        }
    }
}

/// Facts for the environment of a handler. One that cannot be in an environment, or has no room, is left out and named.
pub(super) struct Facts {
    facts: Vec<(OsString, OsString)>,
    size: usize,
    omitted: Vec<String>,
}

impl Facts {
    /// Those of one record, and which attempt it is.
    pub(super) fn of(place: &Place<'_>, record: &Record<'_>, attempt: i16) -> Self {
        let mut facts = Self::of_batch(place.partition, place.group);
        facts.add("KDIR_OFFSET", place.offset.0.to_string().into_bytes());
        facts.add("KDIR_TIMESTAMP", place.timestamp.0.to_string().into_bytes());
        facts.add("KDIR_ATTEMPT", attempt.to_string().into_bytes());
        match record.key {
            Some(key) if std::str::from_utf8(key).is_ok() => facts.add("KDIR_KEY", key.to_vec()),
            Some(key) => {
                let mut text = Vec::new();
                json::write_base64(key, &mut text);
                facts.add("KDIR_KEY_B64", text[1..text.len() - 1].to_vec());
            }
            None => {}
        }
        if !record.headers.is_empty() {
            let mut list = Vec::new();
            json::write_header_list(record.headers, &mut list);
            facts.add("KDIR_HEADERS", list);
        }
        for (name, value) in record.headers.iter() {
            let Some(value) = value else { continue };
            let letter =
                |&byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() as char } else { '_' };
            let name: String = name.iter().map(letter).collect();
            facts.add(&format!("KDIR_HEADER_{name}"), value.to_vec());
        }
        facts
    }

    /// Those of several records of a partition.
    pub(super) fn of_batch(partition: &TopicPartition, group: &GroupId) -> Self {
        let mut facts = Self { facts: Vec::new(), size: 0, omitted: Vec::new() };
        facts.add("KDIR_TOPIC", partition.topic.as_str().into());
        facts.add("KDIR_PARTITION", partition.partition.to_string().into_bytes());
        facts.add("KDIR_GROUP", group.as_str().into());
        facts
    }

    pub(super) fn add(&mut self, name: &str, value: Vec<u8>) {
        let size = name.len() + value.len() + 2;
        if value.contains(&0) || self.size + size > FACTS_MAX {
            self.omitted.push(name.to_owned());
            return;
        }
        self.size += size;
        self.facts.push((name.into(), OsString::from_vec(value)));
    }

    /// The facts, with the names of those that are left out.
    pub(super) fn finish(mut self) -> Vec<(OsString, OsString)> {
        if !self.omitted.is_empty() {
            // As many as have room: headers can have any number of names, of any length.
            let mut names = String::new();
            for name in self.omitted.iter().take_while(|name| name.len() <= 256).take(64) {
                names.push_str(if names.is_empty() { "" } else { "," });
                names.push_str(name);
            }
            self.facts.push(("KDIR_OMITTED".into(), names.into()));
        }
        self.facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::Headers;

    #[test]
    fn what_cannot_be_in_an_environment_is_named() {
        let partition = TopicPartition { topic: "jobs".parse().unwrap(), partition: 3 };
        let group = "g".parse().unwrap();
        let place = Place {
            partition: &partition,
            group: &group,
            offset: Offset(7),
            timestamp: Timestamp(5),
            timestamp_type: TimestampType::CreateTime,
        };
        let facts = |key: &[u8]| {
            let (offset_delta, timestamp_delta, headers) = (0, 0, Headers::default());
            let record = Record { offset_delta, timestamp_delta, key: Some(key), value: None, headers };
            let facts = Facts::of(&place, &record, 2).finish();
            facts.into_iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect::<Vec<_>>()
        };
        let common = ["KDIR_TOPIC=jobs", "KDIR_PARTITION=3", "KDIR_GROUP=g", "KDIR_OFFSET=7", "KDIR_TIMESTAMP=5"];
        assert_eq!(facts(b"k"), [&common[..], &["KDIR_ATTEMPT=2", "KDIR_KEY=k"]].concat());
        assert_eq!(facts(b"\xff"), [&common[..], &["KDIR_ATTEMPT=2", "KDIR_KEY_B64=/w=="]].concat());
        assert_eq!(facts(b"a\0b"), [&common[..], &["KDIR_ATTEMPT=2", "KDIR_OMITTED=KDIR_KEY"]].concat());
        assert_eq!(facts(&[b'x'; 70_000]), [&common[..], &["KDIR_ATTEMPT=2", "KDIR_OMITTED=KDIR_KEY"]].concat());
    }
}
