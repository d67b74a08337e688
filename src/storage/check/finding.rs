//! What can be found wrong, and what it means for whoever owns the log.

use super::loss::{Loss, Overlap};
use crate::units::{Duration, Offset, Position, SetAside, Timestamp};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

/// What a finding means for the records, and for a broker: the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Legal, and worth knowing.
    Note,
    /// Made again for free from what is there.
    Derived,
    /// Something was begun and never ended, and nothing in it was acknowledged.
    Unfinished,
    /// A broker does not start on it, or sets it aside.
    BlocksBroker,
    /// Bytes or files are not what they were.
    Damaged,
    /// Records that were acknowledged are not there.
    Lost,
}

impl Severity {
    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Derived => "derived",
            Self::Unfinished => "unfinished",
            Self::BlocksBroker => "blocks a broker",
            Self::Damaged => "damaged",
            Self::Lost => "lost",
        }
    }

    /// Whether something is wrong.
    #[must_use]
    pub fn is_wrong(self) -> bool {
        self >= Self::BlocksBroker
    }
}

/// When records are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledgement {
    /// Once they are synced, as kdir does it.
    AfterSync,
    /// As soon as they are in the page cache, as a broker does it.
    BeforeSync,
}

/// Who goes by what is in a log dir.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// kdir, which leaves alone what it does not know.
    Kdir,
    /// A broker, which has been started on it.
    Broker,
}

/// Something that is wrong with a file, or worth knowing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file or folder.
    pub path: PathBuf,
    /// Where in it; of an index entry, where the entry begins.
    pub position: Option<Position>,
    /// The first offset that it is about.
    pub offset: Option<Offset>,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong. Its text is a sentence for a person; [`Finding::meaning`] says what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// Bytes up to `end` that are no valid batch, with more of the log behind them or durable records in them.
    DamagedBatch {
        /// Where the next valid batch begins, or the file ends.
        end: Position,
        /// The first offset behind the records that are lost.
        next_offset: Offset,
        /// What is wrong with them.
        what: String,
    },
    /// A batch with a right checksum whose records this program does not read.
    UnsupportedBatch {
        /// Why.
        what: String,
    },
    /// The log ends in bytes that are no whole, valid batch.
    TornTail {
        /// How many bytes.
        bytes: u64,
        /// What is wrong with them.
        what: String,
        /// How the log's writer acknowledges.
        acknowledgement: Acknowledgement,
    },
    /// A batch is whole, but its base offset is wrong: the batch before it ends at [`Finding::offset`], and the one behind it
    /// begins, or the offset index says that it ends, so many offsets later as it has.
    WrongBaseOffset {
        /// What its header says.
        claimed: Offset,
    },
    /// A batch is whole, but does not belong where it is, and nothing says which offsets its records had.
    OutOfOrder {
        /// Where it ends.
        end: Position,
        /// The base offset in its header.
        claimed: Offset,
        /// Where the log goes on.
        next_offset: Offset,
        /// How many offsets it takes.
        span: i64,
        /// Offsets that it claims and no other batch has, and where such a batch would be.
        leaves: Vec<(Position, Range<Offset>)>,
    },
    /// A batch cannot be before the next one, and nothing says which of them is wrong.
    Contradiction {
        /// What the next one begins with.
        next: Offset,
        /// What is given up where one of the two is taken out: the one that the batch after both contradicts, else the one
        /// that takes fewer offsets.
        loss: Box<Loss>,
    },
    /// The same bytes are there already, earlier in the file.
    RepeatedBatches {
        /// Where they end.
        end: Position,
        /// Where they are for the first time.
        original: Position,
    },
    /// Batches begin again at offsets that the log had already, with other records.
    StepsBack {
        /// How far the log had come.
        reached: Offset,
        /// What is given up where they are taken out.
        loss: Box<Loss>,
    },
    /// A batch is whole, but its leader epoch is not the one that `leader-epoch-checkpoint` has for its offset.
    WrongLeaderEpoch {
        /// What its header says.
        claimed: i32,
        /// What the file says.
        right: i32,
    },
    /// No batch has the offsets from [`Finding::offset`] on, in a log that was never compacted.
    MissingOffsets {
        /// The first offset that is there again.
        next_offset: Offset,
    },
    /// No batch has some offsets in the middle, and nothing says whether the log was compacted.
    Gaps {
        /// How many such gaps there are.
        count: u64,
        /// Where the first one ends.
        next_offset: Offset,
    },
    /// A timestamp that is far later than the time of the check.
    FutureTimestamp {
        /// The largest of the batch.
        timestamp: Timestamp,
    },
    /// A transaction has not ended, and a broker would have ended it by now.
    OpenTransaction {
        /// Whose.
        producer_id: i64,
        /// How long ago it began, where that is known.
        age_ms: Option<i64>,
    },
    /// The index of a segment names records, and the segment's log is missing.
    MissingLog {
        /// The offset after the last one that the index names.
        next_offset: Offset,
    },
    /// A segment ends past the base offset of the next one.
    OverlappingSegments {
        /// The base offset of the next segment.
        base_offset: Offset,
        /// What is given up where the log goes on with one of the two.
        overlap: Overlap,
    },
    /// Batches of a segment lie past the base offset of the next one, and readers show none of them, from
    /// [`Finding::offset`] on.
    HiddenBatches {
        /// The first offset after them.
        next_offset: Offset,
        /// The base offset of the next segment.
        base_offset: Offset,
    },
    /// A batch lies further from the base offset of its segment than an index entry can say.
    OffsetsOutOfReach,
    /// Entries of an index that the batches contradict.
    WrongIndexEntries {
        /// How many.
        count: usize,
        /// What is wrong with the first of them.
        what: String,
    },
    /// A time index lacks entries, so that its last one is taken for the largest timestamp and is not.
    MissingTimeEntries {
        /// What its last entry says.
        believed: Timestamp,
        /// The largest timestamp of the batches that nobody looks at for that.
        largest: Timestamp,
    },
    /// A small file does not say what it should.
    DamagedFile {
        /// What is wrong with it.
        what: String,
    },
    /// A small file at the root is of a format that came later.
    NewerFile {
        /// Which one.
        what: String,
    },
    /// A file that only brokers keep, and make anew from the log, does not say what it should.
    DamagedBrokerFile {
        /// What is wrong with it.
        what: String,
    },
    /// A file or folder cannot be read.
    Unreadable {
        /// What the operating system said.
        what: String,
    },
    /// A broker stopped in the middle of replacing segments.
    InterruptedCompaction,
    /// The log ends below the offset that its recovery point says was durable.
    EndsBelowRecoveryPoint {
        /// The first offset that was not known to be durable.
        recovery_point: Offset,
    },
    /// The log ends below the high watermark that a broker has noted.
    EndsBelowHighWatermark {
        /// The first offset that was not known to be committed.
        high_watermark: Offset,
    },
    /// The log ends below its log start offset.
    EndsBelowLogStart {
        /// The log start offset.
        log_start_offset: Offset,
    },
    /// The folder of a partition is missing or empty although records in it were durable.
    MissingFolder {
        /// Whose topic it is of.
        owner: Owner,
    },
    /// The folder of a partition has the name that a broker gives to one that its metadata does not know.
    SetAside {
        /// Where it is.
        folder: SetAside,
    },
    /// Another log dir has the same partition.
    PartitionTwice {
        /// Its folder there.
        other: PathBuf,
    },
    /// A topic that kdir made has no topic file.
    MissingTopicFile,
    /// `partition.metadata` has another topic id than the topic file, or is missing.
    WrongTopicId,
    /// A broker does not start on the log dir.
    StopsABroker {
        /// What it stops at.
        what: String,
    },
    /// A broker does not serve the records in the folder.
    NotServed {
        /// Why.
        what: String,
    },
    /// Partitions of a topic have different topic ids.
    TopicIdsDiffer {
        /// That of the partition.
        own: String,
        /// A partition with another one.
        other: i32,
        /// The id of that.
        of_other: String,
    },
    /// A broker loses what its metadata says from here on.
    DamagedMetadata {
        /// What is wrong with it.
        what: String,
    },
    /// A file that a broker takes for the log of a segment, and kdir does not.
    UnusualSegmentName,
    /// A folder at the root that is not a partition's.
    ForeignFolder {
        /// Whose log dir it is.
        owner: Owner,
    },
}

impl Problem {
    /// A word for scripts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::DamagedBatch { .. } => "damaged-batch",
            Self::UnsupportedBatch { .. } => "unsupported-batch",
            Self::TornTail { .. } => "torn-tail",
            Self::WrongBaseOffset { .. } => "wrong-base-offset",
            Self::OutOfOrder { .. } => "out-of-order",
            Self::Contradiction { .. } => "contradiction",
            Self::RepeatedBatches { .. } => "repeated-batches",
            Self::StepsBack { .. } => "steps-back",
            Self::WrongLeaderEpoch { .. } => "wrong-leader-epoch",
            Self::MissingOffsets { .. } => "missing-offsets",
            Self::Gaps { .. } => "gaps",
            Self::FutureTimestamp { .. } => "future-timestamp",
            Self::OpenTransaction { .. } => "open-transaction",
            Self::MissingLog { .. } => "missing-log",
            Self::OverlappingSegments { .. } => "overlapping-segments",
            Self::HiddenBatches { .. } => "hidden-batches",
            Self::OffsetsOutOfReach => "offsets-out-of-reach",
            Self::WrongIndexEntries { .. } => "wrong-index-entries",
            Self::MissingTimeEntries { .. } => "missing-time-entries",
            Self::DamagedFile { .. } => "damaged-file",
            Self::NewerFile { .. } => "newer-file",
            Self::DamagedBrokerFile { .. } => "damaged-broker-file",
            Self::Unreadable { .. } => "unreadable",
            Self::InterruptedCompaction => "interrupted-compaction",
            Self::EndsBelowRecoveryPoint { .. } => "ends-below-recovery-point",
            Self::EndsBelowHighWatermark { .. } => "ends-below-high-watermark",
            Self::EndsBelowLogStart { .. } => "ends-below-log-start",
            Self::MissingFolder { .. } => "missing-folder",
            Self::SetAside { .. } => "set-aside",
            Self::PartitionTwice { .. } => "partition-twice",
            Self::MissingTopicFile => "missing-topic-file",
            Self::WrongTopicId => "wrong-topic-id",
            Self::StopsABroker { .. } => "stops-a-broker",
            Self::NotServed { .. } => "not-served",
            Self::TopicIdsDiffer { .. } => "topic-ids-differ",
            Self::DamagedMetadata { .. } => "damaged-metadata",
            Self::UnusualSegmentName => "unusual-segment-name",
            Self::ForeignFolder { .. } => "foreign-folder",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DamagedBatch { what, .. }
            | Self::UnsupportedBatch { what }
            | Self::TornTail { what, .. }
            | Self::DamagedFile { what }
            | Self::NewerFile { what }
            | Self::DamagedBrokerFile { what }
            | Self::Unreadable { what }
            | Self::StopsABroker { what }
            | Self::NotServed { what }
            | Self::DamagedMetadata { what } => f.write_str(what),
            Self::TopicIdsDiffer { own, other, of_other } => {
                write!(f, "the topic id is {own}, and partition {other} of the topic has {of_other}")
            }
            Self::UnusualSegmentName => f.write_str("the base offset in the name of the file does not have 20 digits"),
            Self::WrongBaseOffset { claimed } => write!(f, "the batch claims the base offset {claimed}"),
            Self::OutOfOrder { claimed, .. } => {
                write!(f, "the batch claims the base offset {claimed}, and the batches beside it contradict that")
            }
            Self::Contradiction { next, .. } => {
                write!(f, "the batch does not end before the next one, which begins at offset {next}")
            }
            Self::RepeatedBatches { end, original } => {
                write!(f, "the bytes up to position {end} are those from position {original} on once more")
            }
            Self::StepsBack { reached, .. } => {
                write!(f, "the offsets begin again here, where the log had come to {reached}, with other records")
            }
            Self::WrongLeaderEpoch { claimed, right } => {
                write!(f, "the batch claims the leader epoch {claimed}, and {right} was the epoch at its offset")
            }
            Self::MissingOffsets { next_offset } => {
                write!(f, "the next batch begins at offset {next_offset}, and nothing says that the log was compacted")
            }
            Self::Gaps { count, next_offset } => {
                let more = if *count > 1 { format!(" (the first of {count} gaps)") } else { String::new() };
                write!(
                    f,
                    "the next batch begins at offset {next_offset}{more}, and nothing says whether the log was compacted"
                )
            }
            Self::FutureTimestamp { timestamp } => {
                write!(f, "a record's timestamp is far in the future: {}", timestamp.to_utc_or_guess())
            }
            Self::OpenTransaction { producer_id, age_ms: Some(age_ms) } => {
                let age = Duration(*age_ms).rounded();
                write!(f, "a transaction of producer {producer_id} has been open for {age}")
            }
            Self::OpenTransaction { producer_id, age_ms: None } => {
                write!(f, "a transaction of producer {producer_id} is open")
            }
            Self::MissingLog { .. } => f.write_str("the segment's log is missing, and its index names records in it"),
            Self::OverlappingSegments { base_offset, .. } => {
                write!(f, "the segment ends past the base offset {base_offset} of the next one")
            }
            Self::HiddenBatches { next_offset, base_offset } => {
                write!(
                    f,
                    "the segment has batches up to offset {}, past the base offset {base_offset} of the next one, which has \
                     others there or none",
                    *next_offset + -1
                )
            }
            Self::OffsetsOutOfReach => {
                f.write_str("the batch is further from the base offset of its segment than an index entry can say")
            }
            Self::WrongIndexEntries { count: 1, what } => f.write_str(what),
            Self::WrongIndexEntries { count, what } => write!(f, "{what}; {} more entries are wrong", count - 1),
            Self::MissingTimeEntries { believed: Timestamp(believed), largest: Timestamp(largest) } => {
                write!(f, "the last entry gives {believed} as the largest timestamp, but a batch has {largest}")
            }
            Self::InterruptedCompaction => f.write_str("a compaction was stopped in the middle of replacing segments"),
            Self::EndsBelowRecoveryPoint { recovery_point } => {
                write!(f, "the log ends here, and everything below offset {recovery_point} was durable")
            }
            Self::EndsBelowHighWatermark { high_watermark } => {
                write!(
                    f,
                    "the log ends here, and everything below the high watermark {high_watermark} was acknowledged"
                )
            }
            Self::EndsBelowLogStart { log_start_offset } => {
                write!(f, "the log ends here, below its log start offset {log_start_offset}")
            }
            Self::MissingFolder { .. } => {
                f.write_str("the partition's folder, which held records, is missing or empty")
            }
            Self::SetAside { folder } => {
                write!(f, "the partition's folder is missing: a broker set it aside as {folder}")
            }
            Self::PartitionTwice { other } => write!(f, "{} is the same partition", other.display()),
            Self::MissingTopicFile => {
                f.write_str("the topic file is missing, and the partitions' folders say that kdir made the topic")
            }
            Self::WrongTopicId => f.write_str("the file does not name the id that the topic file has"),
            Self::ForeignFolder { .. } => f.write_str("the folder is not a partition's"),
        }
    }
}
