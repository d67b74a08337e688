//! Which of many partitions were used last, where not all of them may have files open.

use std::collections::BTreeMap;

/// The partitions that may have files open, each known by its place in a list, in the order of their last use.
pub(super) struct RecentlyUsed {
    open_max: usize,
    /// By place: the number of its last use; `None` where its files are closed.
    last_use: Vec<Option<u64>>,
    by_last_use: BTreeMap<u64, usize>,
    next_use: u64,
}

impl RecentlyUsed {
    /// None of `count` partitions has files open, and `open_max` of them may, at least one.
    pub(super) fn new(count: usize, open_max: usize) -> Self {
        Self { open_max: open_max.max(1), last_use: vec![None; count], by_last_use: BTreeMap::new(), next_use: 0 }
    }

    /// There are `count` partitions now; those that are new have no files open.
    pub(super) fn grow(&mut self, count: usize) {
        self.last_use.resize(count, None);
    }

    /// Notes that a partition is about to be used.
    pub(super) fn touch(&mut self, place: usize) {
        if let Some(before) = self.last_use[place].replace(self.next_use) {
            self.by_last_use.remove(&before);
        }
        self.by_last_use.insert(self.next_use, place);
        self.next_use += 1;
    }

    /// The partition to be closed next, where more are open than may be.
    pub(super) fn surplus(&self) -> Option<usize> {
        let oldest = self.by_last_use.values().next().copied();
        oldest.filter(|_| self.by_last_use.len() > self.open_max)
    }

    /// Notes that a partition's files are closed.
    pub(super) fn closed(&mut self, place: usize) {
        if let Some(before) = self.last_use[place].take() {
            self.by_last_use.remove(&before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_was_used_longest_ago_is_closed_first() {
        let mut used = RecentlyUsed::new(5, 2);
        let mut closed = Vec::new();
        for place in [0, 1, 0, 0, 2, 1, 2, 3, 2, 4] {
            used.touch(place);
            while let Some(oldest) = used.surplus() {
                used.closed(oldest);
                closed.push(oldest);
            }
        }
        assert_eq!(closed, [1, 0, 1, 3]);
    }
}
