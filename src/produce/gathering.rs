//! When what has been read is stored although its batch is not full.

use crate::units::Timestamp;
use std::time::Duration;

/// How long input is gathered where partitions are closed for others: each of them costs a sync then, and a pipe that its
/// writer fills again and again stands still after every few KiB.
const GATHERED_WHERE_SPREAD: Duration = Duration::from_millis(100);

/// When what has been read is stored although its batch is not full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storing {
    /// When nothing more has come for so long.
    Idle(Duration),
    /// When the input stands still, and so much time has passed since the first of it was read.
    Gathered(Duration),
    /// After every read: nothing more is read before all of it is stored and the sink has had its sync point.
    EachRead,
}

/// What is gathered, and since when.
pub(super) struct Gathering {
    storing: Storing,
    /// How long a record is gathered at most, even while more comes without end.
    at_most: Option<Duration>,
    since: Option<Timestamp>,
}

impl Gathering {
    pub(super) const fn new(storing: Storing) -> Self {
        Self { storing, at_most: None, since: None }
    }

    /// The same, where a record is gathered for so long at most.
    pub(super) const fn at_most(self, at_most: Duration) -> Self {
        Self { at_most: Some(at_most), ..self }
    }

    /// Notes that partitions are closed for others.
    pub(super) fn spread(&mut self) {
        if matches!(self.storing, Storing::Idle(linger) if linger < GATHERED_WHERE_SPREAD) {
            self.storing = Storing::Gathered(GATHERED_WHERE_SPREAD);
        }
    }

    /// How long to wait for more of an input that stands still before what is gathered is stored; `None` where that is not
    /// asked.
    pub(super) fn patience(&mut self, is_empty: bool, now: Timestamp) -> Option<Duration> {
        // A clock that was set back makes nothing wait longer than it would from now on.
        let since = self.since.filter(|since| *since <= now).unwrap_or(now);
        self.since = (!is_empty).then_some(since);
        let patience = match self.storing {
            Storing::EachRead => return None,
            Storing::Idle(_) | Storing::Gathered(_) if is_empty => Duration::ZERO,
            Storing::Idle(linger) => linger,
            Storing::Gathered(at_least) => at_least.saturating_sub(self.waited(now)),
        };
        Some(self.at_most.map_or(patience, |at_most| patience.min(at_most.saturating_sub(self.waited(now)))))
    }

    /// Whether it is to be stored although the input does not stand still.
    pub(super) fn is_late(&self, now: Timestamp) -> bool {
        self.since.is_some() && self.at_most.is_some_and(|at_most| self.waited(now) >= at_most)
    }

    fn waited(&self, now: Timestamp) -> Duration {
        let waited_ms = self.since.map_or(0, |since| now.0.saturating_sub(since.0).max(0));
        Duration::from_millis(waited_ms as u64)
    }

    /// Notes that all of it is stored.
    pub(super) fn is_stored(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gathered_waits_no_longer_than_it_may_however_often_more_comes() {
        let mut gathering = Gathering::new(Storing::Gathered(Duration::from_millis(100)));
        let patience = |gathering: &mut Gathering, is_empty, now_ms| {
            gathering.patience(is_empty, Timestamp(now_ms)).unwrap().as_millis()
        };
        assert_eq!(patience(&mut gathering, true, 1000), 0);
        let waits: Vec<u128> = [1010, 1050, 1109, 1300].map(|now_ms| patience(&mut gathering, false, now_ms)).into();
        assert_eq!(waits, [100, 60, 1, 0]);
        gathering.is_stored();
        assert_eq!(patience(&mut gathering, false, 1400), 100);
        assert_eq!(patience(&mut gathering, false, 900), 100, "a clock that was set back");
        assert_eq!(patience(&mut gathering, false, 960), 40, "it is waited for from then on");
        assert_eq!(patience(&mut gathering, true, 1490), 0);
        assert_eq!(patience(&mut gathering, false, 1495), 100, "a full batch was stored in between");
    }

    #[test]
    fn what_is_gathered_waits_no_longer_than_it_may_however_much_more_comes() {
        let second = Duration::from_secs(1);
        let mut gathering = Gathering::new(Storing::Idle(Duration::from_secs(5))).at_most(second);
        let at = |gathering: &mut Gathering, now_ms| {
            let patience = gathering.patience(false, Timestamp(now_ms)).unwrap();
            (patience.as_millis(), gathering.is_late(Timestamp(now_ms)))
        };
        assert_eq!(at(&mut gathering, 1000), (1000, false));
        assert_eq!(at(&mut gathering, 1999), (1, false));
        assert_eq!(at(&mut gathering, 2000), (0, true));
        gathering.is_stored();
        assert!(!gathering.is_late(Timestamp(9000)));
        assert_eq!(at(&mut gathering, 9000), (1000, false));
        assert_eq!(at(&mut gathering, 8500), (1000, false), "a clock that was set back");
        assert_eq!(at(&mut gathering, 9500), (0, true));
        let mut without = Gathering::new(Storing::Idle(Duration::ZERO));
        assert_eq!(at(&mut without, 1000), (0, false));
        assert_eq!(at(&mut without, i64::MAX), (0, false));
    }
}
