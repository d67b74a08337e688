//! The pauses between records, as their timestamps show them.

use crate::units::Timestamp;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How many times as fast as it happened.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed(f64);

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_suffix('x').unwrap_or(text).parse::<f64>() {
            Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(Self(speed)),
            _ => Err("expected a number above 0: 1 is as it happened, 10 ten times as fast, 0.5 half as fast".into()),
        }
    }
}

/// Says when each record is due. Time that steps back in the log, and records without a timestamp, cause no pause.
pub(super) struct Pace {
    speed: Speed,
    /// When the first record was due, and its timestamp.
    began: Option<(Instant, Timestamp)>,
}

impl Pace {
    pub(super) const fn new(speed: Speed) -> Self {
        Self { speed, began: None }
    }

    /// How long from now a record is due.
    pub(super) fn pause(&mut self, timestamp: Timestamp) -> Duration {
        let Some(timestamp) = timestamp.known() else { return Duration::ZERO };
        let &mut (started, first) = self.began.get_or_insert_with(|| (Instant::now(), timestamp));
        let since_first = timestamp.since(first).max(0) as f64 / 1000.0 / self.speed.0;
        // A time past all clocks is as good as never.
        let due = Duration::try_from_secs_f64(since_first).unwrap_or(Duration::MAX);
        due.saturating_sub(started.elapsed())
    }

    /// Where in time the replay stands, before a record of that time.
    pub(super) fn stands_at(&self, next: Timestamp) -> Timestamp {
        let Some((started, first)) = self.began else { return next };
        let passed_ms = started.elapsed().as_secs_f64() * 1000.0 * self.speed.0;
        Timestamp(first.0.saturating_add(passed_ms as i64)).min(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_due_when_it_happened_after_the_first() {
        let mut pace = Pace::new("100".parse().unwrap());
        assert_eq!(pace.pause(Timestamp(5_000_000)), Duration::ZERO);
        let pause = pace.pause(Timestamp(5_000_000 + 3_600_000));
        assert!(pause > Duration::from_secs(35) && pause <= Duration::from_secs(36), "{pause:?}");
        assert_eq!(pace.pause(Timestamp(4_000_000)), Duration::ZERO);
        assert_eq!(pace.pause(Timestamp::NONE), Duration::ZERO);
        assert!(pace.pause(Timestamp(i64::MAX)) > Duration::from_secs(1 << 30));
        let stands_at = pace.stands_at(Timestamp(i64::MAX)).0;
        assert!((5_000_000..5_100_000).contains(&stands_at), "{stands_at}");
        assert_eq!(pace.stands_at(Timestamp(4_000_000)), Timestamp(4_000_000));
    }

    #[test]
    fn speeds_are_numbers_above_zero() {
        for (text, speed) in [("1", 1.0), ("0.5", 0.5), ("10x", 10.0), ("1e3", 1000.0)] {
            assert_eq!(text.parse(), Ok(Speed(speed)), "{text}");
        }
        for text in ["0", "-1", "", "fast", "inf", "NaN"] {
            assert!(text.parse::<Speed>().is_err(), "{text}");
        }
    }
}
