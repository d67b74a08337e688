//! Checkpoint files: small text files that are replaced whole.
//!
//! ```text
//! 0              format version
//! 2              number of entries
//! app 0 1234     topic, partition, offset     (offset checkpoints, at the root)
//! app 1 99
//! ```
//!
//! `leader-epoch-checkpoint` in a partition's folder has the same frame and two numbers a line: an epoch and the offset at
//! which it began, both rising. A file without a byte has no entries: brokers make it so. A trailing newline is written
//! and not required. Source: `CheckpointFile.java`, `OffsetCheckpointFile.java`, `LeaderEpochCheckpointFile.java`.

use super::FormatError;
use crate::units::Offset;
use std::fmt::Write;

const VERSION: &str = "0";

/// A row of an offset checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetCheckpointRow {
    /// The topic.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// What is kept for it.
    pub offset: Offset,
}

/// An offset checkpoint: the order of its rows means nothing, and is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OffsetCheckpoint {
    /// One for each partition.
    pub rows: Vec<OffsetCheckpointRow>,
}

/// A row of a leader epoch checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderEpochRow {
    /// The epoch.
    pub epoch: i32,
    /// The first offset that was written in it.
    pub start_offset: Offset,
}

/// A leader epoch checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaderEpochCheckpoint {
    /// Both fields rise from row to row.
    pub rows: Vec<LeaderEpochRow>,
}

impl OffsetCheckpoint {
    /// Reads the file.
    ///
    /// # Errors
    /// With the line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        Ok(Self { rows: rows(bytes, offset_row)? })
    }

    /// The rows that can be read of a damaged file.
    #[must_use]
    pub fn salvage(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        Self { rows: text.lines().filter_map(offset_row).collect() }
    }

    /// The text of the file.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = format!("{VERSION}\n{}\n", self.rows.len());
        for OffsetCheckpointRow { topic, partition, offset } in &self.rows {
            writeln!(text, "{topic} {partition} {offset}").expect("memory takes every write");
        }
        text
    }
}

impl LeaderEpochCheckpoint {
    /// Reads the file.
    ///
    /// # Errors
    /// With the line that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let row = |line: &str| {
            let mut words = line.split_whitespace();
            let (epoch, start_offset) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            if words.next().is_some() || epoch < 0 || start_offset < 0 {
                return None;
            }
            Some(LeaderEpochRow { epoch, start_offset: Offset(start_offset) })
        };
        let rows: Vec<LeaderEpochRow> = rows(bytes, row)?;
        let rises =
            |pair: &[LeaderEpochRow]| pair[0].epoch < pair[1].epoch && pair[0].start_offset < pair[1].start_offset;
        match rows.windows(2).position(|pair| !rises(pair)) {
            Some(place) => Err(wrong_line(place + 4, "epochs and their offsets must rise")),
            None => Ok(Self { rows }),
        }
    }

    /// The text of the file.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = format!("{VERSION}\n{}\n", self.rows.len());
        for LeaderEpochRow { epoch, start_offset } in &self.rows {
            writeln!(text, "{epoch} {start_offset}").expect("memory takes every write");
        }
        text
    }
}

pub(crate) fn offset_row(line: &str) -> Option<OffsetCheckpointRow> {
    let mut words = line.split_whitespace();
    let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
    let (partition, offset) = (partition.parse().ok()?, Offset(offset.parse().ok()?));
    if words.next().is_some() || partition < 0 || !(Offset::ZERO..=Offset::BASE_MAX).contains(&offset) {
        return None;
    }
    Some(OffsetCheckpointRow { topic: topic.to_owned(), partition, offset })
}

fn wrong_line(number: usize, what: &str) -> FormatError {
    FormatError::corrupt(format!("line {number}: {what}"))
}

/// Reads the frame of version 0 and each row in it.
fn rows<T>(bytes: &[u8], row: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FormatError> {
    rows_of(VERSION, bytes, row)
}

/// Reads the frame of a version and each row in it.
///
/// # Errors
/// With the line that is wrong.
pub(crate) fn rows_of<T>(version: &str, bytes: &[u8], row: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, FormatError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| FormatError::corrupt("the file is not text"))?;
    let mut lines = text.lines();
    match lines.next().map(str::trim) {
        Some(found) if found == version => {}
        Some(version) if version.parse::<i32>().is_ok() => {
            return Err(FormatError::Unsupported { what: format!("checkpoint version {version}") });
        }
        _ => return Err(wrong_line(1, &format!("expected the format version {version}"))),
    }
    let count: usize = lines
        .next()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| wrong_line(2, "expected the number of entries"))?;
    let mut rows = Vec::new();
    for (place, line) in lines.enumerate() {
        rows.push(row(line).ok_or_else(|| wrong_line(place + 3, "not an entry"))?);
    }
    if rows.len() != count {
        return Err(wrong_line(2, &format!("{count} entries announced, and there are {}", rows.len())));
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_there_and_back() {
        let text = "0\n2\napp 0 1234\n__x.y-z 17 0\n";
        let parsed = OffsetCheckpoint::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.rows[1].topic, "__x.y-z");
        assert_eq!(parsed.print(), text);
        assert_eq!(OffsetCheckpoint::default().print(), "0\n0\n");
        let text = "0\n2\n0 0\n3 170\n";
        let parsed = LeaderEpochCheckpoint::parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.rows[1], LeaderEpochRow { epoch: 3, start_offset: Offset(170) });
        assert_eq!(parsed.print(), text);
    }

    #[test]
    fn a_file_without_a_byte_has_no_entries() {
        assert_eq!(OffsetCheckpoint::parse(b""), Ok(OffsetCheckpoint::default()));
        assert_eq!(LeaderEpochCheckpoint::parse(b""), Ok(LeaderEpochCheckpoint::default()));
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        for (text, line) in [
            ("x\n", "line 1"),
            ("0\n", "line 2"),
            ("0\nmany\n", "line 2"),
            ("0\n2\na 0 1\n", "line 2"),
            ("0\n1\na 0\n", "line 3"),
            ("0\n1\na 0 1 2\n", "line 3"),
            ("0\n1\na -1 1\n", "line 3"),
            ("0\n1\na 1 -1\n", "line 3"),
            ("0\n1\na 1 9223372036854775807\n", "line 3"),
            ("0\n2\na 0 1\n\n", "line 4"),
        ] {
            let error = OffsetCheckpoint::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with(line), "{text:?}: {error}");
        }
        assert!(OffsetCheckpoint::parse(b"1\n0\n").is_err());
        assert!(OffsetCheckpoint::parse(b"0\n1\n\xff 0 1\n").is_err());
        for text in ["0\n2\n1 5\n1 6\n", "0\n2\n1 5\n2 5\n"] {
            assert!(LeaderEpochCheckpoint::parse(text.as_bytes()).unwrap_err().to_string().starts_with("line 4"));
        }
    }
}
