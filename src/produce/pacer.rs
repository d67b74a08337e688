//! Holds an input back to so many records or bytes a second.

use crate::units::Timestamp;
use std::time::Duration;

/// How fast records are taken in, at most, a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// So many records, at least one.
    Records(u64),
    /// So many bytes of the input, at least one.
    Bytes(u64),
}

/// Records are let through together as long as they are no more than this ahead of their time: a pause of its own for each
/// would be a batch of its own.
const AHEAD_MAX_MS: i128 = 20;
/// A clock that jumps ahead lets no more through than a second does, or than the pause that was asked for, if that is longer.
const ELAPSED_MAX_MS: i128 = 1000;

/// Says when the next record may be taken in.
pub(super) struct Pacer {
    rate: Rate,
    /// What was taken in ahead of its time, in thousandths of a record or byte; none is saved up by a slow input.
    ahead: i128,
    since: Timestamp,
    /// The pause that was asked for last.
    pause_ms: i128,
}

impl Pacer {
    pub(super) const fn new(rate: Rate, now: Timestamp) -> Self {
        Self { rate, ahead: 0, since: now, pause_ms: 0 }
    }

    /// Notes that a record of so many bytes was taken in. Returns how long to pause before the next.
    pub(super) fn take(&mut self, bytes: usize, now: impl FnOnce() -> Timestamp) -> Option<Duration> {
        let (per_second, taken) = match self.rate {
            Rate::Records(per_second) => (i128::from(per_second.max(1)), 1),
            Rate::Bytes(per_second) => (i128::from(per_second.max(1)), bytes as i128),
        };
        self.ahead += taken * 1000;
        if self.ahead < per_second * AHEAD_MAX_MS {
            return None;
        }
        let now = now();
        // A clock that was set back has not waited.
        let elapsed = now.since(self.since).clamp(0, ELAPSED_MAX_MS.max(self.pause_ms));
        self.since = now;
        self.ahead = (self.ahead - elapsed * per_second).max(0);
        let is_due = self.ahead < per_second * AHEAD_MAX_MS;
        self.pause_ms = if is_due { 0 } else { self.ahead / per_second };
        (!is_due).then(|| Duration::from_millis(self.pause_ms as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many records of ten bytes are taken in within ten seconds, and with how many pauses.
    fn in_ten_seconds(rate: Rate) -> (u64, u64) {
        let (mut now, mut records, mut pauses) = (Timestamp(1000), 0, 0);
        let mut pacer = Pacer::new(rate, now);
        while now.0 < 11_000 {
            records += 1;
            if let Some(pause) = pacer.take(10, || now) {
                (now, pauses) = (now + pause.as_millis() as i64, pauses + 1);
            }
        }
        (records, pauses)
    }

    #[test]
    fn a_rate_is_kept_with_no_more_pauses_than_it_needs() {
        for (rate, expected) in [
            (Rate::Records(1), 10),
            (Rate::Records(100), 1000),
            (Rate::Records(100_000), 1_000_000),
            (Rate::Bytes(1), 1),
            (Rate::Bytes(1 << 20), 1 << 20),
        ] {
            let (records, pauses) = in_ten_seconds(rate);
            assert!(records.abs_diff(expected) <= expected / 100 + 1, "{rate:?}: {records}");
            assert!(pauses <= 501, "{rate:?}: {pauses} pauses");
        }
    }

    #[test]
    fn a_slow_input_saves_nothing_up_and_a_clock_set_back_lets_nothing_through() {
        let mut pacer = Pacer::new(Rate::Records(10), Timestamp(0));
        assert_eq!(pacer.take(1, || Timestamp(60_000)), None);
        assert_eq!(pacer.take(1, || Timestamp(60_000)), Some(Duration::from_millis(100)));
        assert_eq!(pacer.take(1, || Timestamp(50_000)), Some(Duration::from_millis(200)));
        assert_eq!(pacer.take(1, || Timestamp(50_300)), None);
    }

    #[test]
    fn records_of_more_than_a_seconds_worth_have_pauses_of_one_length() {
        let (mut now, mut pacer) = (Timestamp(0), Pacer::new(Rate::Bytes(1), Timestamp(0)));
        for number in 1..=5 {
            assert_eq!(pacer.take(10, || now), Some(Duration::from_secs(10)), "record {number}");
            now = now + 10_000;
        }
    }
}
