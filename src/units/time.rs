//! Points in time and stretches of it, in milliseconds as Kafka counts them.

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use std::fmt;
use std::ops::Add;
use std::str::FromStr;

/// Milliseconds since the epoch. The bytes of a log may claim any, so differences are taken by [`Timestamp::since`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

const DAY_MS: i64 = 86_400_000;
/// A year of the calendar, on average.
const YEAR_MS: i64 = 31_556_952_000;

/// What a producer has counted in place of milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeUnit {
    /// A thousand to a millisecond.
    Microseconds,
    /// A million to a millisecond.
    Nanoseconds,
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Microseconds => "microseconds",
            Self::Nanoseconds => "nanoseconds",
        })
    }
}

impl Timestamp {
    /// Kafka's mark for a record without a timestamp: below every timestamp that Kafka lets a producer give.
    pub const NONE: Self = Self(-1);

    /// The timestamp; `None` where there is none.
    #[must_use]
    pub fn known(self) -> Option<Self> {
        (self > Self::NONE).then_some(self)
    }

    /// Milliseconds from `earlier` to this one; negative where that is the later one.
    #[must_use]
    pub fn since(self, earlier: Self) -> i128 {
        i128::from(self.0) - i128::from(earlier.0)
    }

    /// Whether it is more than a day later than `now`: the clocks of two machines differ by less, and zones do.
    #[must_use]
    pub fn is_far_ahead_of(self, now: Self) -> bool {
        self.since(now) > i128::from(DAY_MS)
    }

    /// The finer unit in which it is a time of the calendar, where it is none in milliseconds: a producer has most likely
    /// counted in that one. `None` of a time that the calendar, which ends with the year 9999, reaches.
    #[must_use]
    pub fn likely_unit(self) -> Option<TimeUnit> {
        let is_reached = |milliseconds| jiff::Timestamp::from_millisecond(milliseconds).is_ok();
        match self.0 {
            milliseconds if milliseconds < 0 || is_reached(milliseconds) => None,
            milliseconds if is_reached(milliseconds / 1000) => Some(TimeUnit::Microseconds),
            _ => Some(TimeUnit::Nanoseconds),
        }
    }

    /// The time as [`Timestamp::to_civil`] prints it; of one that the calendar does not reach, the year.
    #[must_use]
    pub fn to_civil_or_year(self, zone: &TimeZone) -> String {
        match self.likely_unit() {
            Some(_) => format!("year {}", 1970 + self.0 / YEAR_MS),
            None => self.to_civil(zone),
        }
    }

    /// The same, and what such a year most likely comes from.
    #[must_use]
    pub fn to_civil_or_guess(self, zone: &TimeZone) -> String {
        let text = self.to_civil_or_year(zone);
        self.likely_unit().map_or_else(|| text.clone(), |unit| format!("{text} ({unit}?)"))
    }

    /// The same in UTC, and said so.
    #[must_use]
    pub fn to_utc_or_guess(self) -> String {
        let text = self.to_civil_or_guess(&TimeZone::UTC);
        if self.likely_unit().is_some() { text } else { format!("{text} UTC") }
    }

    /// Date and time in `zone` to the second, as in `2026-11-22 10:00:00`; the plain number of milliseconds where the
    /// calendar does not reach.
    #[must_use]
    pub fn to_civil(self, zone: &TimeZone) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => timestamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => self.0.to_string(),
        }
    }
}

impl Timestamp {
    /// Prints date and time in `zone` by a strftime format, as in the C locale; the plain number of milliseconds where the
    /// calendar does not reach, and where there is no timestamp.
    ///
    /// # Errors
    /// When the format has an unknown directive.
    pub fn print(self, format: &str, zone: &TimeZone, out: &mut Vec<u8>) -> Result<(), jiff::Error> {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) if self != Self::NONE => {
                let time = BrokenDownTime::from(&timestamp.to_zoned(zone.clone()));
                let config = Config::new().custom(PosixCustom::new());
                time.format_with_config(&config, format, &mut jiff::fmt::StdIoWrite(out))
            }
            _ => {
                out.extend_from_slice(self.0.to_string().as_bytes());
                Ok(())
            }
        }
    }
}

impl Add<i64> for Timestamp {
    type Output = Self;
    fn add(self, milliseconds: i64) -> Self {
        Self(self.0 + milliseconds)
    }
}

/// A stretch of time in milliseconds, not negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(pub i64);

/// A text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is {}: expected numbers with units, such as 7d, 1h30m, 90s or 250ms (w d h m s ms)",
    if is_negative(text) { "negative" } else { "no duration" }
)]
pub struct DurationError {
    text: String,
}

/// Whether a text is a number with a minus, whatever its unit.
#[must_use]
pub fn is_negative(text: &str) -> bool {
    let amount = text.trim_start().strip_prefix('-').map(|amount| amount.trim_start_matches('.'));
    amount.is_some_and(|amount| amount.starts_with(|it: char| it.is_ascii_digit()))
}

const UNITS: [(&str, i64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

impl Duration {
    /// As the standard library has it.
    #[must_use]
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0) as u64)
    }
}

impl Duration {
    /// The same in its two largest units, as an age is told.
    #[must_use]
    pub fn rounded(self) -> Self {
        let units = UNITS[1..].windows(2).find(|pair| self.0 >= pair[0].1);
        units.map_or(self, |pair| Self(self.0 - self.0 % pair[1].1))
    }
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        parse_duration(text.trim()).map(Self).ok_or_else(|| DurationError { text: text.to_owned() })
    }
}

fn parse_duration(mut rest: &str) -> Option<i64> {
    let mut total: i64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits_end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(digits_end);
        let tail = tail.trim_start();
        let unit_end = tail.find(|character: char| !character.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let factor = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        total = total.checked_add(scaled(number, factor)?)?;
        rest = tail.trim_start();
    }
    Some(total)
}

/// A decimal number of units in milliseconds; what is finer than a millisecond is refused.
fn scaled(number: &str, factor: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let milliseconds = whole.parse::<i64>().ok()?.checked_mul(factor)?;
    if fraction.is_empty() {
        return (!number.contains('.')).then_some(milliseconds);
    }
    if fraction.len() > 9 {
        return None;
    }
    let (part, scale) = (fraction.parse::<i64>().ok()?.checked_mul(factor)?, 10_i64.pow(fraction.len() as u32));
    (part % scale == 0).then_some(milliseconds.checked_add(part / scale)?)
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        // Weeks are read, but people say 14d.
        for (unit, factor) in &UNITS[1..] {
            if rest >= *factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_123);

    #[test]
    fn what_a_log_claims_is_compared_without_an_overflow() {
        let (first, last) = (Timestamp(i64::MIN), Timestamp(i64::MAX));
        assert_eq!((last.since(first), first.since(last)), (i128::from(u64::MAX), -i128::from(u64::MAX)));
        assert_eq!(NOW.since(NOW + 5), -5);
        assert_eq!(
            [first, Timestamp::NONE, Timestamp(0), NOW].map(Timestamp::known),
            [None, None, Some(Timestamp(0)), Some(NOW)]
        );
    }

    #[test]
    fn shows_any_number() {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        for (milliseconds, text) in [
            (1_700_000_000_999, "2023-11-14 23:13:20"),
            (-1, "1970-01-01 00:59:59"),
            (i64::MAX, "9223372036854775807"),
            (i64::MIN, "-9223372036854775808"),
        ] {
            assert_eq!(Timestamp(milliseconds).to_civil(&zone), text);
        }
    }

    #[test]
    fn a_timestamp_beyond_the_calendar_is_told_with_the_unit_it_may_have() {
        for (timestamp, expected) in [
            (-1, "1969-12-31 23:59:59"),
            (1_700_000_000_000, "2023-11-14 22:13:20"),
            (4_000_000_000_000, "2096-10-02 07:06:40"),
            (1_700_000_000_000_000, "year 55840 (microseconds?)"),
            (1_700_000_000_000_000_000, "year 53872825 (nanoseconds?)"),
            (i64::MAX, "year 292278994 (nanoseconds?)"),
        ] {
            assert_eq!(Timestamp(timestamp).to_civil_or_guess(&TimeZone::UTC), expected);
        }
        assert!(!(NOW + DAY_MS).is_far_ahead_of(NOW) && (NOW + (DAY_MS + 1)).is_far_ahead_of(NOW));
    }

    #[test]
    fn an_age_is_told_in_two_units() {
        for (age, expected) in [
            ("0s", "0s"),
            ("7ms", "7ms"),
            ("59s1ms", "59s1ms"),
            ("3m2s1ms", "3m2s"),
            ("5h3m2s", "5h3m"),
            ("90d5h3m", "90d5h"),
        ] {
            assert_eq!(age.parse::<Duration>().unwrap().rounded().to_string(), expected);
        }
    }

    #[test]
    fn durations_go_there_and_back() {
        for (text, milliseconds, shown) in [
            ("7d", 604_800_000, "7d"),
            ("2w", 1_209_600_000, "14d"),
            ("90s", 90_000, "1m30s"),
            ("250ms", 250, "250ms"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1.5h", 5_400_000, "1h30m"),
            ("1d 2h", 93_600_000, "1d2h"),
            ("0s", 0, "0s"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!((duration.0, duration.to_string().as_str()), (milliseconds, shown), "{text}");
        }
        for text in ["", "7", "d", "-1s", "1x", "1.s", "1.5ms", "99999999999999d", "1s5"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}
