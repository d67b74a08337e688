//! What ends a run, and what keeps an input from being a record.

use crate::disk::DiskError;
use crate::format::FormatError;
use crate::logdir::LogDirError;
use crate::units::TopicName;
use std::path::PathBuf;

/// What [`ProduceError`] is the error of.
pub type Result<T> = std::result::Result<T, ProduceError>;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// An input cannot be opened.
    #[error(transparent)]
    Open(#[from] DiskError),
    /// An input cannot be read.
    #[error("cannot read {input}")]
    Read {
        /// The input's name.
        input: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An input makes no record, and the run was to stop there.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The file of rejected inputs cannot be written.
    #[error("cannot {doing} {}", path.display())]
    Rejects {
        /// What was done to it.
        doing: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The log dir cannot be written to.
    #[error(transparent)]
    LogDir(#[from] LogDirError),
    /// A batch before could not be stored, which was reported then.
    #[error("nothing is stored after a failure")]
    AfterFailure,
    /// A codec failed.
    #[error("cannot compress a batch: {0}")]
    Codec(#[from] FormatError),
}

/// Why an input makes no record. Each names the place, counted from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A record does not fit a batch.
    #[error(
        "{place} is too large: {}, and the batch that holds it, with some 70 bytes of its own, may have {limit} (the smaller \
         of max.message.bytes and segment.bytes)",
        shown_size(*size, *size_is_exact)
    )]
    RecordTooLarge {
        /// Where it stands.
        place: Place,
        /// Bytes of its key, value and headers.
        size: u64,
        /// Whether the end of the record was reached when it was counted.
        size_is_exact: bool,
        /// The smaller of `max.message.bytes` and `segment.bytes`.
        limit: usize,
    },
    /// A record without the delimiter between key and value.
    #[error("{place} has no key delimiter {delimiter:?}")]
    NoKeyDelimiter {
        /// Where it stands.
        place: Place,
        /// What was looked for.
        delimiter: String,
    },
    /// A record without what ends its timestamp or its headers.
    #[error("{place} has no {field} delimiter {delimiter:?}")]
    NoFieldDelimiter {
        /// Where it stands.
        place: Place,
        /// `timestamp` or `headers`.
        field: &'static str,
        /// What was looked for.
        delimiter: String,
    },
    /// A timestamp or a header that cannot be read.
    #[error("{place}: {text:?} is not {expected}")]
    BadField {
        /// Where it stands.
        place: Place,
        /// Its first bytes.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A text that begins with a byte order mark.
    #[error("{place} begins with a byte order mark (the bytes EF BB BF): remove it first, as `tail -c +4` does")]
    ByteOrderMark {
        /// Where it stands.
        place: Place,
    },
    /// A line that is no envelope.
    #[error("{place}, column {column}: {what}")]
    BadJson {
        /// Where it stands.
        place: Place,
        /// The column, from 1.
        column: usize,
        /// What is wrong there.
        what: String,
    },
    /// An input that ends within a record.
    #[error("{place} is cut short: {what}")]
    Cut {
        /// Where it stands.
        place: Place,
        /// What was announced and what came.
        what: String,
    },
    /// Neither it nor one before it has a time.
    #[error("{place} {lacks}")]
    NoTime {
        /// Where it stands.
        place: Place,
        /// What it lacks, as in `does not begin with a time as "%F" has it`.
        lacks: String,
    },
    /// A time in a zone that is not known.
    #[error("{place} has a time {}: write an offset such as +01:00, or a name such as Europe/Berlin", in_zone(zone))]
    UnknownZone {
        /// Where it stands.
        place: Place,
        /// What the zone is called; nothing where it is missing.
        zone: String,
    },
    /// A record without a key for a compacted topic.
    #[error("{place} has no key, and a compacted topic keeps records by key")]
    NoKey {
        /// Where it stands.
        place: Place,
    },
    /// An envelope names a topic that is not there.
    #[error("{place} is for topic {topic}, which does not exist: --create makes missing topics")]
    NoSuchTopic {
        /// Where it stands.
        place: Place,
        /// The topic.
        topic: TopicName,
    },
    /// An envelope names a topic that cannot be made.
    #[error("{place}: {what}")]
    BadTopic {
        /// Where it stands.
        place: Place,
        /// Why not.
        what: String,
    },
    /// An envelope names a partition that the topic does not have.
    #[error("{place} is for partition {partition}, which the topic does not have")]
    NoSuchPartition {
        /// Where it stands.
        place: Place,
        /// The partition.
        partition: i32,
    },
}

/// A record's place in the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `stdin` or the file's path.
    pub input: String,
    /// `line` or `record`.
    pub unit: &'static str,
    /// From 1.
    pub number: u64,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} of {}", self.unit, self.number, self.input)
    }
}

fn shown_size(size: u64, is_exact: bool) -> String {
    if is_exact { format!("{size} bytes") } else { format!("more than {size} bytes") }
}

fn in_zone(zone: &str) -> String {
    if zone.is_empty() {
        "without a zone".into()
    } else {
        format!("in the zone {zone:?}, which is not known or has several meanings")
    }
}
