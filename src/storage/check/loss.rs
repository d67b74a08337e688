//! What it costs to go on without records that are lost or damaged: which bytes are taken out of a log, which offsets have no
//! record from then on, and which witness says that they are lost. The preview of a repair and the repair itself go by the
//! same value.

use super::finding::{Finding, Owner, Problem};
use super::order::{Placed, Wrong};
use crate::units::{Offset, Position};
use std::ops::Range;

/// What is given up where a log goes on without the records of one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The bytes that are taken out of the log; none where the records are not there. They end with the file at the latest.
    pub bytes: Range<Position>,
    /// The offsets that the records had, as far as is known.
    pub offsets: Range<Offset>,
    /// No more records than these are given up.
    pub records_max: u64,
    /// Offsets that empty batches take, so that none is given twice, and where in the file.
    pub fills: Vec<(Position, Range<Offset>)>,
    /// What shows that the records are lost or out of place.
    pub witness: &'static str,
}

/// What is done where a segment reaches into the next one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Overlap {
    /// The segments after it reach at least as far: its own batches from there on are given up.
    EndOfThisOne(Box<Loss>),
    /// The segments after it end sooner: they are given up.
    NextOnes {
        /// Their base offsets.
        bases: Vec<Offset>,
        /// Where the last of them ends.
        end: Offset,
    },
}

/// The end of the file, wherever that is.
const END: Position = Position(u64::MAX);

fn count(offsets: &Range<Offset>) -> u64 {
    u64::try_from(offsets.end.0.saturating_sub(offsets.start.0)).unwrap_or(0)
}

impl Loss {
    /// Bytes in whose place an empty batch takes all of the offsets.
    pub(super) fn filled(bytes: Range<Position>, offsets: Range<Offset>, witness: &'static str) -> Self {
        let fills = Self::fill(bytes.start, offsets.clone());
        Self { bytes, records_max: count(&offsets), offsets, fills, witness }
    }

    /// Bytes whose offsets other batches have.
    pub(super) fn taken_out(bytes: Range<Position>, offsets: Range<Offset>, witness: &'static str) -> Self {
        Self { bytes, records_max: count(&offsets), offsets, fills: Vec::new(), witness }
    }

    /// Bytes that are there twice: nothing is lost with them.
    pub(in crate::storage) fn repeated(bytes: Range<Position>) -> Self {
        Self::taken_out(bytes, Offset::ZERO..Offset::ZERO, "the same bytes")
    }

    /// The same, and an empty batch at that place.
    pub(super) fn and_fill(mut self, position: Position, offsets: Range<Offset>) -> Self {
        self.fills.extend(Self::fill(position, offsets));
        self
    }

    /// What is given up of two batches that contradict each other, after batches that end at `from`.
    pub(super) fn of_one(batch: Placed, second: Placed, wrong: Wrong, from: Offset, is_followed: bool) -> Self {
        let (kept, given_up) = if wrong == Wrong::First { (second, batch) } else { (batch, second) };
        let before = from..kept.base;
        // The offsets between the one that is kept and those that follow.
        let after = kept.next()..if is_followed { kept.next().max(given_up.next()) } else { kept.next() };
        let bytes = given_up.position..given_up.end;
        let offsets = from.min(given_up.base)..before.end.max(after.end).max(from + given_up.span);
        let loss = Self::taken_out(bytes, offsets, "the batch beside it");
        let records_max = (before.end - before.start).max(0) + (after.end - after.start).max(0);
        Self { records_max: records_max.max(given_up.span).unsigned_abs(), ..loss }
            .and_fill(batch.position, before)
            .and_fill(second.end, after)
    }

    fn fill(position: Position, offsets: Range<Offset>) -> Vec<(Position, Range<Offset>)> {
        if offsets.is_empty() { Vec::new() } else { vec![(position, offsets)] }
    }
}

impl Finding {
    /// What is given up where the log goes on without the records that this is about; `None` where none are.
    #[must_use]
    pub fn loss(&self) -> Option<Loss> {
        let (position, from) = (self.position.unwrap_or_default(), self.offset?);
        Some(match &self.problem {
            Problem::DamagedBatch { end, next_offset, .. } => {
                Loss::filled(position..*end, from..*next_offset, "the bytes themselves")
            }
            Problem::OutOfOrder { end, claimed, next_offset, span, leaves } => {
                let mut loss = Loss::filled(position..*end, from..*next_offset, "the batches before and after it");
                let is_known = !loss.fills.is_empty();
                loss.fills.extend_from_slice(leaves);
                match !is_known {
                    true => Loss { offsets: *claimed..*claimed + *span, records_max: span.unsigned_abs(), ..loss },
                    false => Loss { records_max: loss.records_max.max(span.unsigned_abs()), ..loss },
                }
            }
            Problem::MissingOffsets { next_offset } => {
                Loss::filled(position..position, from..*next_offset, "the batches before and after them")
            }
            Problem::EndsBelowRecoveryPoint { recovery_point } => {
                Loss::filled(position..END, from..*recovery_point, "the recovery point")
            }
            Problem::EndsBelowHighWatermark { high_watermark } => {
                Loss::filled(position..END, from..*high_watermark, "the high watermark")
            }
            Problem::Contradiction { loss, .. }
            | Problem::StepsBack { loss, .. }
            | Problem::OverlappingSegments { overlap: Overlap::EndOfThisOne(loss), .. } => (**loss).clone(),
            Problem::OverlappingSegments { overlap: Overlap::NextOnes { bases, end }, .. } => {
                let first = bases.first().copied().unwrap_or(*end);
                Loss::taken_out(END..END, first..*end, "the segment before them, which reaches further")
            }
            Problem::MissingLog { next_offset } => {
                Loss::filled(position..position, from..*next_offset, "the segment's indexes")
            }
            Problem::MissingFolder { owner: Owner::Kdir } => {
                Loss::filled(position..position, Offset::ZERO..from, "the checkpoint files of the log dir")
            }
            _ => return None,
        })
    }
}
