//! Records to bytes.

use super::columns::Rows;
use super::json::{self, Located};
use super::template::Template;
use super::{hex, json_value};

/// How records are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordFormat {
    /// The value and a delimiter; a null value is written as an empty one.
    Value {
        /// Behind each value.
        delimiter: Vec<u8>,
    },
    /// A JSON envelope a line.
    Json,
    /// A big-endian 32-bit length before each value; a null value has length 0.
    Len32,
    /// As a template says.
    Template(Template),
    /// A JSON envelope a line, with the value in it as JSON.
    JsonValue,
    /// A row of named columns.
    Rows(Rows),
    /// Byte by byte, for a person.
    Hex,
    /// Not at all: records are only counted.
    Nothing,
}

impl RecordFormat {
    /// What ends each line, where nothing but values is written and one byte behind each.
    #[must_use]
    pub fn line_delimiter(&self) -> Option<u8> {
        match self {
            Self::Value { delimiter } => <[u8; 1]>::try_from(&delimiter[..]).ok().map(|[byte]| byte),
            _ => None,
        }
    }

    /// What comes before the first record.
    #[must_use]
    pub fn heading(&self) -> Vec<u8> {
        match self {
            Self::Rows(rows) => rows.heading(),
            _ => Vec::new(),
        }
    }

    /// Appends a record.
    #[inline]
    pub fn write(&self, it: &Located<'_>, out: &mut Vec<u8>) {
        let value = it.record.value.unwrap_or_default();
        match self {
            Self::Value { delimiter } => {
                out.extend_from_slice(value);
                out.extend_from_slice(delimiter);
            }
            Self::Json => json::write(it, out),
            Self::Template(template) => template.write(it, out),
            Self::JsonValue => json_value::write(it, out),
            Self::Rows(rows) => rows.write(it, out),
            Self::Hex => hex::write(it, out),
            Self::Nothing => {}
            Self::Len32 => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}
