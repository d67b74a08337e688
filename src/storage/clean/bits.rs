//! One bit for each of many records.

use std::ops::Range;

/// Numbers that are marked.
pub(super) trait Marks: Default + Send + Sync {
    /// Marks one; `false` where it was marked.
    fn set(&mut self, number: u64) -> bool;
    /// Whether one is marked.
    fn has(&self, number: u64) -> bool;
    /// Marks all that another one has. Returns how many were not marked.
    fn join(&mut self, other: &Self) -> u64;
}

/// Bits by the number of a record; there is memory up to the last one that was set.
#[derive(Debug, Default)]
pub(super) struct Bits(Vec<u64>);

impl Marks for Bits {
    #[inline]
    fn set(&mut self, number: u64) -> bool {
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.0.len() {
            self.0.resize(word + 1, 0);
        }
        let was_set = self.0[word] & bit != 0;
        self.0[word] |= bit;
        !was_set
    }

    #[inline]
    fn has(&self, number: u64) -> bool {
        self.0.get((number / 64) as usize).is_some_and(|word| word & 1 << (number % 64) != 0)
    }

    fn join(&mut self, other: &Self) -> u64 {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        let joined = |(word, other): (&mut u64, &u64)| {
            let new = other & !*word;
            *word |= new;
            u64::from(new.count_ones())
        };
        self.0.iter_mut().zip(&other.0).map(joined).sum()
    }
}

impl Bits {
    /// Clears a bit.
    pub(super) fn clear(&mut self, number: u64) {
        if let Some(word) = self.0.get_mut((number / 64) as usize) {
            *word &= !(1 << (number % 64));
        }
    }

    /// The places of the bits that are set, rising.
    pub(super) fn ones(&self) -> impl Iterator<Item = u64> {
        (0..).zip(&self.0).flat_map(|(place, &word)| {
            let mut left: u64 = word;
            std::iter::from_fn(move || {
                let bit = u64::from(left.trailing_zeros());
                (left != 0).then(|| {
                    left &= left - 1;
                    place * 64 + bit
                })
            })
        })
    }

    /// How many bits are set in a range.
    pub(super) fn count(&self, range: Range<u64>) -> u64 {
        let mut count = 0;
        let mut at = range.start;
        while at < range.end {
            let Some(word) = self.0.get((at / 64) as usize) else { break };
            let end = (at / 64 * 64 + 64).min(range.end);
            let mask = (u64::MAX << (at % 64)) & (u64::MAX >> (63 - (end - 1) % 64));
            count += u64::from((word & mask).count_ones());
            at = end;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_in_any_range() {
        let mut bits = Bits::default();
        let set: Vec<u64> = (0..1000).filter(|at| at % 7 == 0 || at % 64 == 63).collect();
        assert!(set.iter().all(|&at| bits.set(at)));
        assert!(set.iter().all(|&at| !bits.set(at)));
        assert!(bits.ones().eq(set.iter().copied()));
        for start in (0..1100).step_by(13) {
            for end in start..1100 {
                let expected = set.iter().filter(|at| (start..end).contains(*at)).count() as u64;
                assert_eq!(bits.count(start..end), expected, "{start}..{end}");
            }
            assert_eq!(bits.has(start), set.contains(&start));
        }
    }
}
