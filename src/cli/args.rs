//! Value parsers that commands share.

use super::exit;
use crate::logdir::TopicPattern;
use crate::logdir::config::TopicConfig;
use crate::logdir::topic::PARTITIONS_MAX;
use crate::storage::retention::Limits;
use crate::units::{ByteSize, Duration, GroupId, LocalZone, SetAside, Timestamp, TopicName, TopicPartition};
use clap::builder::{OsStringValueParser, TypedValueParser};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A path, also an empty one.
pub(crate) fn any_path() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// `KEY=VALUE`.
pub(crate) fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not KEY=VALUE")),
    }
}

/// Bytes of an argument, as they are.
pub(crate) fn bytes(text: OsString) -> Bytes {
    Bytes(text.into_vec())
}

/// `NAME=VALUE`, in bytes; a header without = has a null value.
pub(crate) fn header(text: OsString) -> Result<Header, String> {
    let text = text.into_vec();
    match text.iter().position(|&byte| byte == b'=') {
        Some(equals) => Ok(Header { name: text[..equals].to_vec(), value: Some(text[equals + 1..].to_vec()) }),
        None if text.is_empty() => Err("a header is NAME=VALUE, or NAME for a null value".into()),
        None => Ok(Header { name: text, value: None }),
    }
}

/// A header of a record.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) name: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

/// The number of one partition.
pub(crate) fn partition_number(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is not the number of one partition"))
}

/// Bytes with the escapes `\n`, `\t`, `\r`, `\0`, `\\` and `\xHH`.
pub(crate) fn escaped_bytes(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        bytes.push(match rest.next() {
            Some('n') => b'\n',
            Some('t') => b'\t',
            Some('r') => b'\r',
            Some('0') if rest.as_str().starts_with(|next: char| next.is_ascii_digit()) => {
                return Err("\\0 with a digit after it is not an escape: write a byte as \\xHH, as in \\x1e".into());
            }
            Some('0') => 0,
            Some('\\') => b'\\',
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let is_byte = digits.len() == 2 && digits.bytes().all(|it| it.is_ascii_hexdigit());
                let byte = is_byte.then(|| u8::from_str_radix(&digits, 16).ok()).flatten();
                byte.ok_or_else(|| format!("\\x{digits} is not a byte: give two hexadecimal digits"))?
            }
            Some(other) => return Err(format!("\\{other} is not an escape: use \\n \\t \\r \\0 \\\\ or \\xHH")),
            None => return Err("a single \\ at the end: write \\\\ for a backslash".into()),
        });
    }
    Ok(bytes)
}

/// A delimiter that may be empty: escaped bytes.
pub(crate) fn any_bytes(text: &str) -> Result<Delimiter, String> {
    escaped_bytes(text).map(Delimiter)
}

/// A delimiter: escaped bytes, at least one.
pub(crate) fn delimiter(text: &str) -> Result<Delimiter, String> {
    let bytes = escaped_bytes(text)?;
    if bytes.is_empty() { Err("a delimiter has at least one byte".into()) } else { Ok(Delimiter(bytes)) }
}

/// Bytes of an argument. A type of its own, since clap takes a `Vec` for several values.
#[derive(Debug, Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// The same with escapes, and not empty.
#[derive(Debug, Clone)]
pub(crate) struct Delimiter(pub(crate) Vec<u8>);

/// A point in time as the user wrote it.
pub(crate) fn time(option: &str, text: &str, zone: &LocalZone) -> anyhow::Result<Timestamp> {
    Timestamp::parse(text, super::now(), zone).map_err(|error| exit::usage(format!("{option}: {error}")))
}

/// Applies `--config key=value` and the shorthands for retention. Answers with the warnings.
pub(crate) fn configure(
    config: &mut TopicConfig,
    pairs: &[(String, String)],
    retention: Option<&Retention>,
    retention_bytes: Option<RetentionBytes>,
) -> anyhow::Result<Vec<String>> {
    refuse_contradictions(pairs, retention, retention_bytes)?;
    let mut warnings = Vec::new();
    let mut set = |config: &mut TopicConfig, key: &str, value: &str| -> anyhow::Result<()> {
        warnings.extend(config.set(key, value)?.map(|warning| warning.to_string()));
        Ok(())
    };
    for (key, value) in pairs {
        set(config, key, value)?;
    }
    match retention {
        Some(Retention::Forever) => set(config, "retention.ms", "-1")?,
        Some(Retention::For(duration)) => set(config, "retention.ms", &duration.0.to_string())?,
        None => {}
    }
    if let Some(RetentionBytes(bytes)) = retention_bytes {
        set(config, "retention.bytes", &bytes.to_string())?;
    }
    config.validate()?;
    Ok(warnings)
}

/// One key has one value, whichever of the options gives it.
fn refuse_contradictions(
    pairs: &[(String, String)],
    retention: Option<&Retention>,
    retention_bytes: Option<RetentionBytes>,
) -> anyhow::Result<()> {
    for (place, (key, value)) in pairs.iter().enumerate() {
        if let Some((_, other)) = pairs[..place].iter().find(|(other, given)| other == key && given != value) {
            return Err(exit::usage(format!("--config {key} is given twice, as {other} and as {value}")));
        }
    }
    let shorthands = [
        ("--retention", "retention.ms", retention.is_some()),
        ("--retention-bytes", "retention.bytes", retention_bytes.is_some()),
    ];
    for (option, key, _) in shorthands.into_iter().filter(|(.., is_given)| *is_given) {
        if pairs.iter().any(|(other, _)| other == key) {
            return Err(exit::usage(format!("{option} cannot be used with --config {key}: both set {key}")));
        }
    }
    Ok(())
}

/// How many bytes a partition keeps; -1 means unlimited, as in Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RetentionBytes(pub(crate) i64);

impl std::str::FromStr for RetentionBytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "unlimited" | "-1") {
            return Ok(Self(-1));
        }
        let ByteSize(bytes) = text.parse().map_err(|error| format!("{error}, or unlimited"))?;
        Ok(Self(i64::try_from(bytes).unwrap_or(i64::MAX)))
    }
}

/// How much is kept for readers that are behind: beyond a size of the log before its end, or an age, nothing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SpareMax(pub(crate) Limits);

impl std::str::FromStr for SpareMax {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (size, age) = (text.parse::<ByteSize>(), text.parse::<Duration>());
        match (size, age) {
            (Ok(_), Ok(Duration(age))) => {
                let (size, seconds) = (text.to_uppercase(), age / 1000);
                Err(format!("{text:?} is both a size and an age: write {size}iB or {seconds}s"))
            }
            (Ok(ByteSize(bytes)), Err(_)) => {
                Ok(Self(Limits { retention_bytes: i64::try_from(bytes).unwrap_or(i64::MAX), ..Limits::NONE }))
            }
            (Err(_), Ok(Duration(age))) => Ok(Self(Limits { retention_ms: age, ..Limits::NONE })),
            (Err(_), Err(_)) => Err(format!("{text:?} is neither a size, such as 10GB, nor an age, such as 30d")),
        }
    }
}

/// How long records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retention {
    Forever,
    For(Duration),
}

impl std::str::FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if matches!(text, "forever" | "-1") {
            return Ok(Self::Forever);
        }
        text.parse().map(Self::For).map_err(|error: crate::units::time::DurationError| format!("{error}, or forever"))
    }
}

/// A number of partitions.
pub(crate) fn partition_count(text: &str) -> Result<i32, String> {
    match text.parse::<i32>() {
        Ok(count) if (1..=PARTITIONS_MAX).contains(&count) => Ok(count),
        _ => Err(format!("{text:?} is not a number of partitions: use 1 to {PARTITIONS_MAX}")),
    }
}

/// A topic name.
pub(crate) fn topic(text: &str) -> Result<TopicName, String> {
    text.parse().map_err(|error: crate::units::name::TopicNameError| explained(text, error.to_string()))
}

/// A group id.
pub(crate) fn group(text: &str) -> Result<GroupId, String> {
    text.parse().map_err(|error: crate::units::GroupIdError| error.to_string())
}

/// A topic name, or a pattern for several.
pub(crate) fn topic_pattern(text: &str) -> Result<TopicPattern, String> {
    text.parse().map_err(|error: crate::logdir::TopicPatternError| explained(text, error.to_string()))
}

/// What is wrong with a topic name; of a path, what to give in its place.
fn explained(text: &str, error: String) -> String {
    let path = Path::new(text);
    let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|_| text.contains('/')) else {
        return error;
    };
    let log_dir = path.parent().unwrap_or(path).display();
    if name.ends_with(".log") {
        format!("to read a file, use `kdir dump --records {text}`")
    } else if let Some(TopicPartition { topic, partition }) = TopicPartition::parse_folder_name(name) {
        format!(
            "that is the folder of a partition: give -d {log_dir} and the topic {topic}, with -p {partition} where the command \
             takes it"
        )
    } else if SetAside::parse(name).is_some() {
        format!("a folder that was set aside is given by its name alone, with -d {log_dir}")
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters_are_bytes_with_escapes() {
        for (text, bytes) in
            [(r"\n", &b"\n"[..]), (r"\0", b"\0"), (r"\x1e", b"\x1e"), (r"\t--\\", b"\t--\\"), ("ü", "ü".as_bytes())]
        {
            assert_eq!(delimiter(text).unwrap().0, bytes, "{text}");
        }
        for text in ["", r"\", r"\q", r"\x1", r"\xzz", r"\x+f", r"\036", r"a\00"] {
            assert!(delimiter(text).is_err(), "{text}");
        }
    }
}
