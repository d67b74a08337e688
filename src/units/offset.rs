//! Offset, Position, RelativeOffset: three kinds of number that must not mix.
//!
//! An offset numbers a record in its partition; a position is bytes from the start of a segment file; a relative
//! offset is an offset minus its segment's base offset, as the 4 bytes of an index entry can hold it.

use std::fmt;
use std::ops::{Add, Sub};

/// A record's number in its partition: i64 as in Kafka, never negative in a valid log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Offset(pub i64);

impl Offset {
    /// Whether it is this one but for one bit. A base offset that differs by more was not damaged: the batch is another's, or
    /// from elsewhere in the log.
    #[must_use]
    pub const fn is_a_flip_of(self, other: Self) -> bool {
        (self.0 ^ other.0).count_ones() == 1
    }

    /// The first offset of a partition that never lost a record.
    pub const ZERO: Self = Self(0);

    /// The largest offset that a batch or a segment may begin at: whatever it holds has an offset behind it.
    pub const BASE_MAX: Self = Self(i64::MAX - i32::MAX as i64 - 1);

    /// The offset after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// This offset within a segment that starts at `base`; `None` where the 31 bits of an index entry cannot hold it.
    #[must_use]
    pub fn relative_to(self, base: Self) -> Option<RelativeOffset> {
        let relative = self.0.checked_sub(base.0)?;
        (0..=i64::from(i32::MAX)).contains(&relative).then_some(RelativeOffset(relative as u32))
    }
}

/// Bytes from the start of a segment file. A segment holds at most 2^31 - 1 of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position(pub u64);

impl Position {
    /// The start of a segment file.
    pub const ZERO: Self = Self(0);
}

/// An offset minus the base offset of its segment, 0 to 2^31 - 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct RelativeOffset(pub u32);

impl RelativeOffset {
    /// The offset that this one stands for in a segment that starts at `base`, which [`Offset::BASE_MAX`] bounds.
    #[must_use]
    pub const fn absolute(self, base: Offset) -> Offset {
        Offset(base.0 + self.0 as i64)
    }
}

impl Add<i64> for Offset {
    type Output = Self;
    fn add(self, count: i64) -> Self {
        Self(self.0 + count)
    }
}

impl Sub for Offset {
    type Output = i64;
    fn sub(self, other: Self) -> i64 {
        self.0 - other.0
    }
}

impl Add<u64> for Position {
    type Output = Self;
    fn add(self, bytes: u64) -> Self {
        Self(self.0 + bytes)
    }
}

impl Sub for Position {
    type Output = u64;
    fn sub(self, other: Self) -> u64 {
        self.0 - other.0
    }
}

macro_rules! shown_as_its_number {
    ($($kind:ident),*) => {$(
        impl fmt::Display for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl fmt::Debug for $kind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    )*};
}
shown_as_its_number!(Offset, Position, RelativeOffset);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_offset_fits_31_bits_or_is_refused() {
        let base = Offset(100);
        assert_eq!(Offset(100).relative_to(base), Some(RelativeOffset(0)));
        assert_eq!(Offset(100 + i64::from(i32::MAX)).relative_to(base), Some(RelativeOffset(i32::MAX as u32)));
        assert_eq!(Offset(101 + i64::from(i32::MAX)).relative_to(base), None);
        assert_eq!(Offset(99).relative_to(base), None);
        assert_eq!(Offset(i64::MAX).relative_to(Offset(-1)), None);
        assert_eq!(RelativeOffset(7).absolute(base), Offset(107));
    }
}
