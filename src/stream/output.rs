//! Records to bytes.

use super::json::{self, Located};
use super::template::Template;

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
}

impl RecordFormat {
    /// Appends a record.
    #[inline]
    pub fn write(&self, it: &Located<'_>, out: &mut Vec<u8>) {
        let value = it.record.value.unwrap_or_default();
        match self {
            Self::Value { delimiter } => {
                out.extend_from_slice(value);
                match delimiter[..] {
                    [byte] => out.push(byte),
                    _ => out.extend_from_slice(delimiter),
                }
            }
            Self::Json => json::write(it, out),
            Self::Template(template) => template.write(it, out),
            Self::Len32 => {
                out.extend_from_slice(&(value.len() as u32).to_be_bytes());
                out.extend_from_slice(value);
            }
        }
    }
}
