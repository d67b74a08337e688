//! From where to where a partition is read.

use super::{ConsumeError, Event, Result};
use crate::storage::StorageError;
use crate::units::{Offset, TopicPartition};
use std::fmt;

/// An offset, or a place in the log by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetAt {
    /// The log start offset.
    Earliest,
    /// The log end offset.
    Latest,
    /// That offset.
    At(i64),
    /// So many before the end.
    BeforeEnd(i64),
}

impl std::str::FromStr for OffsetAt {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "earliest" | "beginning" => Ok(Self::Earliest),
            "latest" | "end" => Ok(Self::Latest),
            _ => match text.parse::<i64>() {
                Ok(offset) if offset < 0 => Ok(Self::BeforeEnd(offset.checked_neg().unwrap_or(i64::MAX))),
                Ok(_) if text.starts_with('-') => Ok(Self::BeforeEnd(0)),
                Ok(offset) => Ok(Self::At(offset)),
                Err(_) => Err(format!("{text:?} is not an offset: use earliest, latest, N, or -N (N before the end)")),
            },
        }
    }
}

/// One value for all partitions, or one for each that is named: `0:100,1:latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PerPartition {
    /// For all.
    All(OffsetAt),
    /// For those that are named.
    Each(Vec<(i32, OffsetAt)>),
}

impl std::str::FromStr for PerPartition {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if !text.contains(':') {
            return text.parse().map(Self::All);
        }
        let mut each = Vec::new();
        for pair in text.split(',') {
            let parsed = pair.split_once(':').and_then(|(partition, offset)| {
                Some((partition.trim().parse().ok().filter(|it| *it >= 0)?, offset.trim()))
            });
            let (partition, offset) =
                parsed.ok_or_else(|| format!("{pair:?} is not PARTITION:OFFSET, as in 0:100,1:250"))?;
            if each.iter().any(|&(other, _)| other == partition) {
                return Err(format!("partition {partition} is named twice"));
            }
            each.push((partition, offset.parse()?));
        }
        Ok(Self::Each(each))
    }
}

impl PerPartition {
    /// What it says of a partition.
    pub(super) fn of(&self, partition: i32) -> Option<OffsetAt> {
        match self {
            Self::All(at) => Some(*at),
            Self::Each(each) => each.iter().find(|(other, _)| *other == partition).map(|(_, at)| *at),
        }
    }
}

/// One of the two ends of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RangeEnd {
    /// Where it begins.
    From,
    /// Where it ends.
    To,
}

impl fmt::Display for RangeEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::From => "the start of the range",
            Self::To => "the end of the range",
        })
    }
}

/// Where a reader begins whose offset is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reset {
    /// At the log start offset.
    Earliest,
    /// At the log end offset.
    Latest,
}

/// What a log holds.
pub(super) struct LogRange<'a> {
    pub(super) partition: &'a TopicPartition,
    pub(super) start: Offset,
    pub(super) end: Offset,
    /// Whether the end is that of the log, and not the first damage.
    pub(super) is_sound: bool,
}

impl LogRange<'_> {
    /// Where reading begins: at what was kept, or where the user says.
    pub(super) fn begin(
        &self,
        kept: Option<Offset>,
        from: Option<OffsetAt>,
        reset: Option<Reset>,
        tell: &mut dyn FnMut(Event<'_>),
    ) -> Result<Offset> {
        match (kept, from) {
            (Some(kept), _) if kept < self.start => {
                tell(Event::Missed { partition: self.partition, from: kept, log_start_offset: self.start });
                Ok(self.start)
            }
            (Some(kept), _) => self.checked(kept, reset),
            (None, None | Some(OffsetAt::Earliest)) => Ok(self.start),
            (None, Some(OffsetAt::Latest)) => Ok(self.end),
            (None, Some(OffsetAt::BeforeEnd(count))) => Ok(Offset(self.end.0.saturating_sub(count)).max(self.start)),
            (None, Some(OffsetAt::At(offset))) => self.checked(Offset(offset), reset),
        }
    }

    /// An offset that must be in the log, unless the user says what else to take.
    fn checked(&self, requested: Offset, reset: Option<Reset>) -> Result<Offset> {
        if (self.start..=self.end).contains(&requested) {
            return Ok(requested);
        }
        match reset {
            Some(Reset::Earliest) => Ok(self.start),
            Some(Reset::Latest) => Ok(self.end),
            None => {
                let (log_start_offset, log_end_offset) = (self.start, self.end);
                let source = StorageError::OffsetOutOfRange { requested, log_start_offset, log_end_offset };
                Err(ConsumeError::OutOfRange { partition: self.partition.clone(), source })
            }
        }
    }

    /// Where to stop; past the end is the end, unless the log goes on there.
    pub(super) fn stop(&self, to: OffsetAt, follow: bool) -> Offset {
        match to {
            OffsetAt::Earliest => Offset::ZERO,
            OffsetAt::Latest => self.end,
            OffsetAt::BeforeEnd(count) => Offset(self.end.0.saturating_sub(count)),
            OffsetAt::At(offset) if follow || !self.is_sound => Offset(offset),
            OffsetAt::At(offset) => Offset(offset).min(self.end),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_numbers_names_or_both_by_partition() {
        for (text, expected) in [
            ("earliest", PerPartition::All(OffsetAt::Earliest)),
            ("latest", PerPartition::All(OffsetAt::Latest)),
            ("17", PerPartition::All(OffsetAt::At(17))),
            ("-5", PerPartition::All(OffsetAt::BeforeEnd(5))),
            ("-0", PerPartition::All(OffsetAt::BeforeEnd(0))),
            ("0:100,2:latest", PerPartition::Each(vec![(0, OffsetAt::At(100)), (2, OffsetAt::Latest)])),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "x", "0:", "0:1,0:2", "-1:5", "1.5"] {
            assert!(text.parse::<PerPartition>().is_err(), "{text}");
        }
    }
}
