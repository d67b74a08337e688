//! Records as rows of named columns: CSV or TSV.
//!
//! | | CSV (RFC 4180) | TSV (as PostgreSQL's COPY) |
//! | --- | --- | --- |
//! | heading | a line of names | none |
//! | null, or a header that is not there | nothing; `""` where it is the only column | `\N` |
//! | an empty text | `""` | nothing |
//! | a delimiter, a quote or a line end inside | the field in quotes, `"` doubled | `\t` `\n` `\r` `\\` |
//!
//! A row of nothing would be a blank line, which readers of CSV skip: they would see a record less.
//! Bytes that are not UTF-8 are written as they are.

use super::json::Located;
use crate::units::Timestamp;
use std::io::Write;
use std::str::FromStr;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Column {
    /// The topic.
    Topic,
    /// The partition's number.
    Partition,
    /// The offset.
    Offset,
    /// The timestamp in ms since the epoch.
    Timestamp,
    /// The timestamp as RFC 3339 in UTC.
    Time,
    /// The key.
    Key,
    /// The value.
    Value,
    /// The value of the last header of that name.
    Header(String),
}

/// A text that names no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a column: use topic, partition, offset, timestamp, time, key, value or header:NAME")]
pub struct ColumnError {
    name: String,
}

impl FromStr for Column {
    type Err = ColumnError;

    fn from_str(name: &str) -> Result<Self, ColumnError> {
        Ok(match name {
            "topic" => Self::Topic,
            "partition" => Self::Partition,
            "offset" => Self::Offset,
            "timestamp" => Self::Timestamp,
            "time" => Self::Time,
            "key" => Self::Key,
            "value" => Self::Value,
            _ => match name.strip_prefix("header:") {
                Some(header) if !header.is_empty() => Self::Header(header.to_owned()),
                _ => return Err(ColumnError { name: name.to_owned() }),
            },
        })
    }
}

impl std::fmt::Display for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic => f.write_str("topic"),
            Self::Partition => f.write_str("partition"),
            Self::Offset => f.write_str("offset"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Time => f.write_str("time"),
            Self::Key => f.write_str("key"),
            Self::Value => f.write_str("value"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// How a row is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Separation {
    /// Fields between commas, in quotes where they need them.
    Csv,
    /// Fields between tabs, with escapes.
    Tsv,
}

/// The columns of a row, and how it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    separation: Separation,
    columns: Vec<Column>,
}

impl Rows {
    /// Rows of these columns.
    #[must_use]
    pub const fn new(separation: Separation, columns: Vec<Column>) -> Self {
        Self { separation, columns }
    }

    /// What comes before the first row.
    #[must_use]
    pub fn heading(&self) -> Vec<u8> {
        let mut line = Vec::new();
        if self.separation == Separation::Csv {
            for (place, column) in self.columns.iter().enumerate() {
                self.separate(place, &mut line);
                self.field(Some(column.to_string().as_bytes()), &mut line);
            }
            line.push(b'\n');
        }
        line
    }

    /// Appends the row of a record.
    pub fn write(&self, it: &Located<'_>, out: &mut Vec<u8>) {
        let begins = out.len();
        for (place, column) in self.columns.iter().enumerate() {
            self.separate(place, out);
            match column {
                Column::Topic => self.field(Some(it.topic.as_bytes()), out),
                Column::Partition => number(it.partition.into(), out),
                Column::Offset => number(it.offset.0, out),
                Column::Timestamp => match it.timestamp.known() {
                    Some(timestamp) => number(timestamp.0, out),
                    None => self.field(None, out),
                },
                Column::Time => self.time(it.timestamp, out),
                Column::Key => self.field(it.record.key, out),
                Column::Value => self.field(it.record.value, out),
                Column::Header(name) => {
                    let named = it.record.headers.iter().filter(|(other, _)| *other == name.as_bytes());
                    self.field(named.last().and_then(|(_, value)| value), out);
                }
            }
        }
        if self.separation == Separation::Csv && out.len() == begins {
            self.field(Some(b""), out);
        }
        out.push(b'\n');
    }

    fn separate(&self, place: usize, out: &mut Vec<u8>) {
        if place > 0 {
            out.push(match self.separation {
                Separation::Csv => b',',
                Separation::Tsv => b'\t',
            });
        }
    }

    /// The number of milliseconds where the calendar does not reach.
    fn time(&self, timestamp: Timestamp, out: &mut Vec<u8>) {
        match timestamp.known().map(|it| jiff::Timestamp::from_millisecond(it.0)) {
            None => self.field(None, out),
            Some(Ok(time)) => write!(out, "{time:.3}").expect("memory takes every write"),
            Some(Err(_)) => number(timestamp.0, out),
        }
    }

    fn field(&self, bytes: Option<&[u8]>, out: &mut Vec<u8>) {
        match (self.separation, bytes) {
            (Separation::Csv, None) => {}
            (Separation::Csv, Some(bytes)) => csv_field(bytes, out),
            (Separation::Tsv, None) => out.extend_from_slice(br"\N"),
            (Separation::Tsv, Some(bytes)) => tsv_field(bytes, out),
        }
    }
}

fn number(number: i64, out: &mut Vec<u8>) {
    write!(out, "{number}").expect("memory takes every write");
}

fn csv_field(bytes: &[u8], out: &mut Vec<u8>) {
    // Readers cut blanks off the ends of a field that is not in quotes.
    let has_blank_end = bytes.first() == Some(&b' ') || bytes.last() == Some(&b' ');
    if !bytes.is_empty() && !has_blank_end && !bytes.iter().any(|byte| matches!(byte, b',' | b'"' | b'\n' | b'\r')) {
        return out.extend_from_slice(bytes);
    }
    out.push(b'"');
    for &byte in bytes {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn tsv_field(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\t' => out.extend_from_slice(br"\t"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\\' => out.extend_from_slice(br"\\"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_hold_any_bytes_and_tell_null_from_empty() {
        for (text, csv, tsv) in [
            (None, "", r"\N"),
            (Some(""), r#""""#, ""),
            (Some("plain text"), "plain text", "plain text"),
            (Some("a,b"), r#""a,b""#, "a,b"),
            (Some("a\"b"), r#""a""b""#, "a\"b"),
            (Some("a\r\nb\tc"), "\"a\r\nb\tc\"", r"a\r\nb\tc"),
            (Some(r"\N"), r"\N", r"\\N"),
            (Some(" x"), r#"" x""#, " x"),
        ] {
            for (separation, expected) in [(Separation::Csv, csv), (Separation::Tsv, tsv)] {
                let mut out = Vec::new();
                Rows::new(separation, Vec::new()).field(text.map(str::as_bytes), &mut out);
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn columns_are_read_as_they_are_named() {
        for name in ["topic", "partition", "offset", "timestamp", "time", "key", "value", "header:a:b"] {
            assert_eq!(name.parse::<Column>().unwrap().to_string(), name);
        }
        for name in ["", "header:", "header", "Key"] {
            assert!(name.parse::<Column>().is_err(), "{name}");
        }
    }
}
