//! The records of Kafka's internal topics, in the shapes that kafka-dump-log prints.

use crate::format::FormatError;
use crate::format::internal::metadata::MetadataRecord;
use crate::format::internal::value::{Struct, Value};
use crate::format::internal::{InternalRecord, InternalTopic, Part};
use crate::format::properties::topic_id_to_text;
use crate::stream::json::{write_base64, write_text};
use crate::units::TopicPartition;
use std::io::Write;
use std::path::Path;

/// What `--decode` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Decode {
    ConsumerOffsets,
    ShareGroupState,
    TransactionState,
    ClusterMetadata,
    None,
}

impl Decode {
    /// As whose records those of a log are decoded.
    pub(super) fn topic(choice: Option<Self>, path: &Path) -> Option<InternalTopic> {
        match choice {
            Some(Self::ConsumerOffsets) => Some(InternalTopic::ConsumerOffsets),
            Some(Self::ShareGroupState) => Some(InternalTopic::ShareGroupState),
            Some(Self::TransactionState) => Some(InternalTopic::TransactionState),
            Some(Self::ClusterMetadata) => Some(InternalTopic::ClusterMetadata),
            Some(Self::None) => None,
            None => topic_of(path),
        }
    }
}

/// The topic that a log belongs to by the name of its folder, if that is an internal one. Only the metadata log has
/// snapshots named `*.checkpoint`.
fn topic_of(path: &Path) -> Option<InternalTopic> {
    if path.file_name()?.to_str()?.contains(".checkpoint") {
        return Some(InternalTopic::ClusterMetadata);
    }
    let path = std::path::absolute(path).ok()?;
    let folder = path.parent()?.file_name()?.to_str()?;
    // What follows a dot is how brokers mark a folder that was set aside: no internal topic has a dot in its name.
    let partition = TopicPartition::parse_folder_name(folder.split('.').next()?)?;
    InternalTopic::ALL.into_iter().find(|topic| topic.name() == partition.topic.as_str())
}

/// Appends `,"key":…,"value":…`. What was not decoded is the raw bytes in base64, with the reason.
pub(super) fn write(record: &InternalRecord<'_>, key: Option<&[u8]>, value: Option<&[u8]>, out: &mut Vec<u8>) {
    write_part("key", &record.key, key, out);
    write_part("value", &record.value, value, out);
}

fn write_part(name: &str, part: &Result<Part<'_>, FormatError>, raw: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    match part {
        Ok(part) => {
            out.extend_from_slice(b"\":");
            write_decoded(part, out);
        }
        Err(reason) => {
            out.extend_from_slice(b"_b64\":");
            write_base64(raw.unwrap_or_default(), out);
            out.extend_from_slice(format!(",\"{name}_error\":").as_bytes());
            write_text(&reason.to_string(), out);
        }
    }
}

fn write_decoded(part: &Part<'_>, out: &mut Vec<u8>) {
    match part {
        Part::Null => out.extend_from_slice(b"null"),
        // kafka-dump-log prints these two numbers as text.
        Part::Key { key_type, data } => write_framed(&format!("\"type\":\"{key_type}\""), data, out),
        Part::Value { version, data } => write_framed(&format!("\"version\":\"{version}\""), data, out),
        Part::Metadata(MetadataRecord { kind, version, data }) => {
            write_framed(&format!("\"type\":\"{}\",\"version\":{version}", kind.name), data, out);
        }
        Part::Control(data) => write_struct(data, out),
    }
}

fn write_framed(frame: &str, data: &Struct<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    out.extend_from_slice(frame.as_bytes());
    out.extend_from_slice(b",\"data\":");
    write_struct(data, out);
    out.push(b'}');
}

fn write_struct(data: &Struct<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (place, (name, value)) in data.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_text(name, out);
        out.push(b':');
        write_value(value, out);
    }
    out.push(b'}');
}

fn write_value(value: &Value<'_>, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(it) => out.extend_from_slice(it.to_string().as_bytes()),
        Value::Int(number) => write!(out, "{number}").expect("memory takes every write"),
        Value::Float(number) => {
            serde_json::to_writer(out, number).expect("a number is JSON, and memory takes every write");
        }
        Value::Uuid(id) => write_text(&topic_id_to_text(*id), out),
        Value::Text(text) => write_text(text, out),
        Value::Bytes(bytes) => write_base64(bytes, out),
        Value::List(values) => {
            out.push(b'[');
            for (place, value) in values.iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_value(value, out);
            }
            out.push(b']');
        }
        Value::Struct(data) => write_struct(data, out),
    }
}
