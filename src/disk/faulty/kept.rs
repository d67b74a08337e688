//! What is seen, what is durable, and what lies between.

use super::random::Random;

/// Something with a state that is seen, a state that is durable, and the changes that lead from one to the other.
#[derive(Clone)]
pub(super) struct Kept<T: Changes> {
    pub(super) now: T,
    pub(super) durable: T,
    pub(super) unsynced: Vec<T::Change>,
    /// How many of the unsynced changes, from the first on, no sync takes any more.
    pub(super) lost: usize,
    pub(super) modified_ms: i64,
    /// When it was changed last: no two changes have the same time.
    pub(super) changed_ns: i64,
}

pub(super) trait Changes: Clone {
    type Change: Clone;
    fn apply(&mut self, change: &Self::Change);
    /// A part of a change that a crash can leave; `None` when it is done whole or not at all.
    fn torn(change: &Self::Change, random: &mut Random) -> Option<Self::Change>;
}

fn nanoseconds(ms: i64) -> i64 {
    ms.saturating_mul(1_000_000)
}

impl<T: Changes> Kept<T> {
    pub(super) fn durable(state: T, modified_ms: i64) -> Self {
        Self {
            now: state.clone(),
            durable: state,
            unsynced: Vec::new(),
            lost: 0,
            modified_ms,
            changed_ns: nanoseconds(modified_ms),
        }
    }

    pub(super) fn change(&mut self, change: T::Change, clock_ms: i64) {
        self.now.apply(&change);
        self.unsynced.push(change);
        self.modified_ms = clock_ms;
        self.changed_ns = nanoseconds(clock_ms).max(self.changed_ns + 1);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(self.lost..) {
            self.durable.apply(&change);
        }
    }

    /// The same without the changes that no crash leaves anything of.
    pub(super) fn without_lost(&self) -> Self {
        let mut kept = Self::durable(self.durable.clone(), self.modified_ms);
        self.unsynced[self.lost..].iter().for_each(|change| kept.change(change.clone(), self.modified_ms));
        kept
    }

    /// What is durable, and the first so many of the unsynced changes; the next one torn.
    pub(super) fn some_first_part(&self, random: &mut Random) -> T {
        let whole = random.below(self.unsynced.len() + 1);
        let mut state = self.durable.clone();
        for change in &self.unsynced[..whole] {
            state.apply(change);
        }
        if let Some(change) = self.unsynced.get(whole).and_then(|next| T::torn(next, random)) {
            state.apply(&change);
        }
        state
    }
}
