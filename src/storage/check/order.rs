//! Where batches stand in the order of offsets.
//!
//! No checksum covers a base offset. Only the neighbouring batches show whether one is right, and a third batch shows which of
//! two contradicting ones is wrong. The right offset is known only if both neighbours leave exactly the room that the batch
//! takes, the following one is confirmed by the batch after it, and the header differs from it by one bit. In a compacted log
//! there may be gaps anywhere, and the right offset is mostly unknown.

use super::Gaps;
use crate::storage::scan::GAP_MAX;
use crate::units::{Offset, Position};
use std::collections::VecDeque;
use std::ops::Range;

/// Only segments of old brokers reach so far, and no lower offset follows in them.
const FAR: i64 = 1 << 31;

/// A batch as its header places it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) position: Position,
    pub(super) end: Position,
    pub(super) base: Offset,
    /// How many offsets it takes.
    pub(super) span: i64,
    /// Whether its records go by its base offset. Those in a compressed message of an old format have offsets of their own.
    pub(super) moves_records: bool,
}

impl Placed {
    pub(super) fn next(&self) -> Offset {
        self.base + self.span
    }
}

/// What is wrong with the order of a range of batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Disorder {
    /// No batch has the offsets from `from` to where `batch` begins.
    Gap { batch: Placed, from: Offset },
    /// The same, but batches that are out of order claim all of these offsets: they have changed places.
    Exchanged { batch: Placed, from: Offset },
    /// After damage, the first batch in order begins at `next`. `mark` is the one passed to [`Order::pass_damage`].
    Resumed { mark: usize, next: Offset },
    /// Both neighbours say that the batch begins at `right`.
    Misplaced { batch: Placed, right: Offset },
    /// The batch is in the wrong place, and the right offsets of its records are unknown. The batches in order end at `from`
    /// before it and continue at `next` after it.
    OutOfOrder { batch: Placed, from: Offset, next: Offset },
    /// The batch cannot be before the one that follows it, `second`. One of them is wrong. The batches in order
    /// end at `from` before them; `is_followed` says whether a batch follows both.
    Contradiction { batch: Placed, second: Placed, wrong: Wrong, from: Offset, is_followed: bool },
    /// The batches from `first` up to `end`, where they have come to `next`, follow one another, and begin below `reached`,
    /// where the log already was.
    StepsBack { first: Placed, end: Position, next: Offset, reached: Offset },
}

impl Disorder {
    /// The bytes that are out of order.
    pub(super) fn stretch(&self) -> Option<Range<Position>> {
        match *self {
            Self::StepsBack { first, end, .. } => Some(first.position..end),
            _ => self.batch().map(|batch| batch.position..batch.end),
        }
    }

    /// Offsets that no batch has at their place.
    fn vacant(&self) -> Option<Range<Offset>> {
        match *self {
            Self::Gap { batch, from } => Some(from..batch.base),
            Self::OutOfOrder { from, next, .. } => Some(from..next),
            Self::Misplaced { batch, right } => Some(right..right + batch.span),
            _ => None,
        }
    }

    /// The batch that is out of place.
    const fn batch(&self) -> Option<Placed> {
        match *self {
            Self::Misplaced { batch, .. } | Self::OutOfOrder { batch, .. } | Self::Contradiction { batch, .. } => {
                Some(batch)
            }
            Self::Gap { .. } | Self::Exchanged { .. } | Self::Resumed { .. } | Self::StepsBack { .. } => None,
        }
    }
}

/// Which of two batches that contradict each other is given up, where one is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    First,
    Second,
}

/// What is to be done with the first of the batches that are not decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    InPlace,
    Misplaced,
    OutOfOrder,
    Contradiction,
    /// Neither this one nor the next one goes with the third.
    InDoubt,
    StepsBack,
}

/// Batches that step back, as far as they have come.
#[derive(Debug, Clone, Copy)]
struct Back {
    first: Placed,
    end: Position,
    reached: Offset,
}

/// Checks the order of a range of batches, at most three at a time.
pub(super) struct Order {
    gaps: Gaps,
    /// Where the batches that are in order end.
    expected: Offset,
    undecided: VecDeque<Placed>,
    /// While batches step back.
    back: Option<Back>,
    /// Whether damage lies before the first undecided batch.
    damage: Option<usize>,
    disorder: Vec<Disorder>,
}

impl Order {
    /// The first batch is to begin at `expected`.
    pub(super) fn new(expected: Offset, gaps: Gaps) -> Self {
        Self { gaps, expected, undecided: VecDeque::new(), back: None, damage: None, disorder: Vec::new() }
    }

    /// The next batch.
    #[inline]
    pub(super) fn place(&mut self, batch: Placed) {
        if batch.base == self.expected && self.undecided.is_empty() && self.is_known() {
            self.expected = batch.next();
        } else {
            self.undecided.push_back(batch);
            self.decide(false);
        }
    }

    /// Where the next batch begins, if it goes on from the last one.
    #[inline]
    pub(super) fn next(&self) -> Offset {
        self.undecided.back().map_or(self.expected, Placed::next)
    }

    /// Where the batches that are in order for certain end.
    pub(super) const fn decided(&self) -> Offset {
        self.expected
    }

    /// Whether all batches so far are in order, one after the other.
    pub(super) fn is_decided(&self) -> bool {
        self.undecided.is_empty() && self.is_known()
    }

    /// Bytes that are not a batch come next. [`Disorder::Resumed`] returns `mark` with the offset at which the log continues.
    pub(super) fn pass_damage(&mut self, mark: usize) {
        self.decide(true);
        self.end_back();
        if let Some(mark) = self.damage.replace(mark) {
            self.disorder.push(Disorder::Resumed { mark, next: self.expected });
        }
    }

    /// Ends the range; `followed_by` is where the batch after it begins. Returns where the batches in order end, and the
    /// disorder.
    pub(super) fn finish(mut self, followed_by: Option<Offset>) -> (Offset, Vec<Disorder>) {
        if let (Some(base), Some(last)) = (followed_by, self.undecided.back()) {
            let end = last.end;
            self.undecided.push_back(Placed { position: end, end, base, span: 0, moves_records: false });
        }
        self.decide(true);
        self.end_back();
        if let (Some(mark), Some(next)) = (self.damage, followed_by) {
            self.disorder.push(Disorder::Resumed { mark, next });
            self.expected = self.expected.max(next);
        }
        self.settle_exchanges();
        (self.expected, self.disorder)
    }

    /// Offsets that a disordered batch claims are not missing, and no other batch is given them: batches have changed places.
    fn settle_exchanges(&mut self) {
        let claimed: Vec<Placed> = self.disorder.iter().filter_map(Disorder::batch).collect();
        let is_claimed_beside = |batch: Placed, right: Offset| {
            let overlaps = |it: &&Placed| it.base < right + batch.span && it.next() > right;
            claimed.iter().filter(overlaps).any(|it| it.position != batch.position)
        };
        let vacant: Vec<Range<Offset>> = self.disorder.iter().filter_map(Disorder::vacant).collect();
        let has_moved = |batch: Placed| vacant.contains(&(batch.base..batch.next()));
        for disorder in &mut self.disorder {
            match *disorder {
                Disorder::Misplaced { batch, right }
                    if is_claimed_beside(batch, right)
                        || has_moved(batch)
                        || !batch.moves_records
                        || !batch.base.is_a_flip_of(right) =>
                {
                    // The neighbours leave room for a batch here, and this one is not it.
                    *disorder = Disorder::OutOfOrder { batch, from: right, next: right + batch.span };
                }
                _ => {}
            }
        }
        let is_there = |from: Offset, to: Offset| {
            let within = claimed.iter().filter(|it| it.base >= from && it.next() <= to);
            within.map(|it| it.span).sum::<i64>() == to - from
        };
        for disorder in &mut self.disorder {
            if let Disorder::Gap { batch, from } = *disorder
                && is_there(from, batch.base)
            {
                *disorder = Disorder::Exchanged { batch, from };
            }
        }
    }

    /// Decides on undecided batches, oldest first, until one needs more context; at the end of a range, on all.
    #[cold]
    fn decide(&mut self, is_end: bool) {
        while let Some(&batch) = self.undecided.front() {
            if batch.span == 0 {
                // The placeholder for what follows the range.
                self.undecided.clear();
                return;
            }
            if self.back.is_some_and(|back| batch.base >= back.reached) {
                self.end_back();
            }
            let Some(verdict) = self.verdict(batch, is_end) else { return };
            self.undecided.pop_front();
            let next = self.undecided.front().map_or(self.expected, |next| next.base);
            match verdict {
                Verdict::InPlace => self.settle(batch),
                Verdict::Misplaced => {
                    self.disorder.push(Disorder::Misplaced { batch, right: self.expected });
                    self.expected = next;
                }
                Verdict::OutOfOrder => {
                    // A base offset that is too far off says nothing.
                    let is_far = next.0.saturating_sub(self.expected.0) >= FAR;
                    let next = if is_far { self.expected } else { next.max(self.expected) };
                    let from = if self.is_known() { self.expected } else { next };
                    self.disorder.push(Disorder::OutOfOrder { batch, from, next });
                    self.expected = next;
                }
                Verdict::Contradiction => self.contradict(batch),
                Verdict::InDoubt => {
                    let from = self.expected;
                    self.disorder.push(Disorder::OutOfOrder { batch, from, next: from });
                }
                Verdict::StepsBack => {
                    self.end_back();
                    self.back = Some(Back { first: batch, end: batch.end, reached: self.expected });
                    self.expected = batch.next();
                }
            }
        }
    }

    /// Passes `batch` and the one after it, which contradict each other.
    fn contradict(&mut self, batch: Placed) {
        let second = self.undecided.pop_front().expect("a batch is contradicted by the one after it");
        let third = self.undecided.front().map(|third| third.base);
        let is_followed = third.is_some();
        let wrong = match third {
            // What follows the range is no batch, and is right.
            _ if second.span == 0 => Wrong::First,
            Some(third) if third == second.next() => Wrong::First,
            Some(third) if third == batch.next() => Wrong::Second,
            // It has come further from where the log was.
            _ if batch.base > second.base => Wrong::First,
            _ if second.span < batch.span => Wrong::Second,
            _ => Wrong::First,
        };
        let kept = if wrong == Wrong::First { second } else { batch };
        self.disorder.push(Disorder::Contradiction { batch, second, wrong, from: self.expected, is_followed });
        // A third batch shows what is missing for certain: the range after both.
        self.expected = if is_followed { batch.next().max(second.next()) } else { kept.next() };
    }

    /// `None` where it takes another batch to say.
    fn verdict(&self, batch: Placed, is_end: bool) -> Option<Verdict> {
        let (second, third) = (self.undecided.get(1), self.undecided.get(2));
        let falls = batch.base < self.expected;
        let distance = batch.base.0.saturating_sub(self.expected.0);
        let Some(second) = second else {
            return match is_end {
                _ if batch.base == self.expected => Some(Verdict::InPlace),
                false => None,
                true if falls || distance >= GAP_MAX => Some(Verdict::OutOfOrder),
                true => Some(Verdict::InPlace),
            };
        };
        let fits_between = self.is_known() && self.expected + batch.span == second.base;
        // In a log without gaps, a batch that begins where this one should end is right. Otherwise the batch after it, or the
        // name of the next segment, has to confirm it.
        let is_vouched_for = match third {
            _ if self.gaps == Gaps::Loss || second.span == 0 => true,
            Some(third) => third.base == second.next(),
            None => false,
        };
        let goes_on = second.base >= batch.next() || (second.base < self.expected && distance < FAR);
        if batch.base == self.expected || (!falls && goes_on) {
            return Some(Verdict::InPlace);
        }
        if fits_between && is_vouched_for {
            return Some(Verdict::Misplaced);
        }
        if fits_between && third.is_none() && !is_end {
            return None;
        }
        if falls {
            let goes_on = second.base < self.expected && second.base >= batch.next();
            return Some(if goes_on { Verdict::StepsBack } else { Verdict::OutOfOrder });
        }
        match third {
            None if is_end && second.span == 0 && batch.base >= second.base => Some(Verdict::OutOfOrder),
            None if is_end => Some(Verdict::Contradiction),
            None => None,
            Some(third) => Some(match (third.base >= batch.next(), third.base >= second.next()) {
                (true, false) => Verdict::InPlace,
                (false, true) => Verdict::OutOfOrder,
                // The second one fits between this one and the third, but for one bit of its base offset.
                (true, true) if third.base == batch.next() + second.span && second.base.is_a_flip_of(batch.next()) => {
                    Verdict::InPlace
                }
                // Two that have changed places.
                (true, true) if second.next() <= batch.base => Verdict::InPlace,
                (true, true) => Verdict::Contradiction,
                (false, false) => Verdict::InDoubt,
            }),
        }
    }

    /// Whether the first undecided batch follows those that are in order.
    const fn is_known(&self) -> bool {
        self.damage.is_none() && self.back.is_none()
    }

    /// Takes a batch as being in order.
    fn settle(&mut self, batch: Placed) {
        if let Some(mark) = self.damage.take() {
            self.disorder.push(Disorder::Resumed { mark, next: batch.base });
        } else if let Some(back) = &mut self.back {
            back.end = batch.end;
        } else if batch.base > self.expected {
            self.disorder.push(Disorder::Gap { batch, from: self.expected });
        }
        self.expected = batch.next();
    }

    /// Ends a run of batches that step back: the log continues from where it was before them.
    fn end_back(&mut self) {
        if let Some(Back { first, end, reached }) = self.back.take() {
            self.disorder.push(Disorder::StepsBack { first, end, next: self.expected, reached });
            self.expected = self.expected.max(reached);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the order of batches of three records shows that begin at `bases`, behind batches that end at 3. The position of
    /// a batch is its place among them.
    fn shown(gaps: Gaps, bases: &[i64], followed_by: Option<i64>) -> String {
        let mut order = Order::new(Offset(3), gaps);
        for (place, &base) in (0..).zip(bases) {
            match base {
                // Damage.
                -1 => order.pass_damage(place as usize),
                _ => order.place(Placed {
                    position: Position(place),
                    end: Position(place + 1),
                    base: Offset(base),
                    span: 3,
                    moves_records: true,
                }),
            }
        }
        let (next, disorder) = order.finish(followed_by.map(Offset));
        let is_told = |it: &&Disorder| !matches!(it, Disorder::Exchanged { .. });
        let described = disorder.iter().filter(is_told).map(|it| match it {
            Disorder::Gap { batch, from } => format!("{}: gap {from} to {}", batch.position, batch.base),
            Disorder::Exchanged { .. } => unreachable!("filtered out"),
            Disorder::Resumed { mark, next } => format!("{mark}: resumed at {next}"),
            Disorder::Misplaced { batch, right } => format!("{}: is {right}", batch.position),
            Disorder::OutOfOrder { batch, from, next } => format!("{}: out of order, {from} to {next}", batch.position),
            Disorder::Contradiction { batch, second, wrong, .. } => {
                format!("{}: contradicts {}, {wrong:?} goes", batch.position, second.base)
            }
            Disorder::StepsBack { first, end, reached, .. } => {
                format!("{} to {end}: back from {reached}", first.position)
            }
        });
        format!("{}; next {next}", described.collect::<Vec<_>>().join(", "))
    }

    #[test]
    fn verdicts() {
        for (bases, followed_by, expected) in [
            (&[3, 6, 9][..], None, "; next 12"),
            // Gaps, as a cleaner leaves them; the last batch behind one is as good as any.
            (&[3, 9, 20, 23], None, "1: gap 6 to 9, 2: gap 12 to 20; next 26"),
            (&[3, 57], None, "1: gap 6 to 57; next 60"),
            (&[], None, "; next 3"),
            // A flipped bit, up or down, between neighbours that leave the room of one batch.
            (&[3, 1030, 9, 12], None, "1: is 6; next 15"),
            (&[3, 2, 9, 12], None, "1: is 6; next 15"),
            (&[3, 1030], Some(9), "1: is 6; next 9"),
            // The same beside a gap: nothing says where it belongs, but the batch behind tells which one is wrong.
            // One that is too far off is wrong, whatever follows.
            (
                &[3, 1 << 40, 5, 2],
                None,
                "1: out of order, 6 to 6, 2: out of order, 6 to 6, 3: out of order, 6 to 6; next 6",
            ),
            (&[3, 1030, 20, 23], None, "1: out of order, 6 to 20; next 26"),
            (&[3, 2, 20, 23], None, "1: out of order, 6 to 20; next 26"),
            (&[3, 20, 8, 23], None, "1: gap 6 to 20, 2: out of order, 23 to 23; next 26"),
            (&[3, 20, 7, 26], None, "1: gap 6 to 20, 2: is 23; next 29"),
            // More than one bit of it is another: it is from elsewhere.
            (&[3, 20, 8, 26], None, "1: gap 6 to 20, 2: out of order, 23 to 26; next 29"),
            (&[3, 2000, 1000, 23, 26], None, "1: out of order, 6 to 6, 2: out of order, 6 to 23; next 29"),
            (&[3, 20, 2, 23], None, "1: gap 6 to 20, 2: out of order, 23 to 23; next 26"),
            (&[3, 1030, 20], None, "1: contradicts 20, First goes; next 23"),
            (&[3, 8, 10, 13], None, "1: contradicts 10, First goes; next 16"),
            (&[3, 1030], Some(20), "1: out of order, 6 to 20; next 20"),
            (&[3, 19], Some(20), "1: contradicts 20, First goes; next 20"),
            (&[3, 6, 2], None, "2: out of order, 9 to 9; next 9"),
            // A flip that is smaller than what the batch takes.
            (&[3, 4, 9], None, "1: is 6; next 12"),
            // Batches that are there twice: one, one three times, two in a row.
            (&[3, 6, 3, 9], None, "2: out of order, 9 to 9; next 12"),
            (&[3, 6, 3, 3, 9], None, "2: out of order, 9 to 9, 3: out of order, 9 to 9; next 12"),
            (&[3, 6, 9, 3, 6, 12], None, "3 to 5: back from 12; next 15"),
            (&[3, 6, 9, 3, 6, 9], None, "3 to 6: back from 12; next 12"),
            (&[3, 6, 9, 3, 6, 3, 6, 12], None, "3 to 5: back from 12, 5 to 7: back from 12; next 15"),
            // Two that have changed places, beside each other and apart.
            (&[3, 9, 6, 12], None, "2: out of order, 12 to 12; next 15"),
            (&[3, 12, 9, 6, 15], None, "1: out of order, 6 to 9, 3: out of order, 12 to 15; next 18"),
            // Behind damage.
            (&[3, -1, 9, 12], None, "1: resumed at 9; next 15"),
            (&[3, -1, 6, 9], None, "1: resumed at 6; next 12"),
            (&[3, -1, 1030, 9, 12], None, "2: out of order, 9 to 9, 1: resumed at 9; next 15"),
            (&[3, -1, 2, 9, 12], None, "2: out of order, 9 to 9, 1: resumed at 9; next 15"),
            (&[3, -1], Some(9), "1: resumed at 9; next 9"),
            (&[3, -1], None, "; next 6"),
            // The stretch ends before the batch that follows it, or behind.
            (&[3, 6], Some(12), "; next 9"),
            (&[3, 6, 9], Some(9), "; next 12"),
        ] {
            assert_eq!(shown(Gaps::Loss, bases, followed_by), expected, "{bases:?} {followed_by:?}");
        }
    }

    #[test]
    fn where_gaps_are_legal_no_offset_is_known_without_a_third_batch() {
        for (bases, followed_by, expected) in [
            (&[3, 1030, 9, 12][..], None, "1: is 6; next 15"),
            (&[3, 1030], Some(9), "1: is 6; next 9"),
            (&[3, 1030, 9], None, "1: contradicts 9, First goes; next 12"),
            // The second of the two is wrong, and leaves the room of the first by chance.
            (&[3, 16, 9, 25], None, "1: gap 6 to 16, 2: out of order, 19 to 25; next 28"),
            (&[3, 7, 9, 20], None, "1: contradicts 9, First goes, 3: gap 12 to 20; next 23"),
            (&[3, 2, 9, 20], None, "1: out of order, 6 to 9, 3: gap 12 to 20; next 23"),
        ] {
            for gaps in [Gaps::Legal, Gaps::Unexplained] {
                assert_eq!(shown(gaps, bases, followed_by), expected, "{bases:?} {followed_by:?}");
            }
        }
    }
}
