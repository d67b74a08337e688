//! Times at the start of lines, by a strftime format: how logs write them.

use super::time::Timestamp;
use jiff::civil;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// No line is looked at further than this.
const PREFIX_MAX: usize = 256;
/// A time without a year lies at most this far ahead: the clocks of two machines differ, and zones do.
const AHEAD_MAX_MS: i64 = 24 * 3_600_000;
/// How many years back a day is looked for: 29 February comes again after eight at most.
const YEARS_BACK: i16 = 8;

/// A format that begins lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat {
    format: String,
    zone: TimeZone,
}

/// A text that is no format from which times can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format:?} is no format for times: {what}")]
pub struct TimeFormatError {
    format: String,
    what: String,
}

impl TimeFormat {
    /// Reads a format as strftime has it. What names no zone is in `zone`.
    ///
    /// # Errors
    /// When a directive is unknown, or what the format prints cannot be read back as a day at least.
    pub fn new(format: &str, zone: TimeZone) -> Result<Self, TimeFormatError> {
        let refused = |what: String| TimeFormatError { format: format.to_owned(), what };
        let made = Self { format: format.to_owned(), zone };
        // What the format itself prints must be readable: so much is known before the first line.
        let sample = Timestamp(1_700_000_000_000);
        let mut printed = Vec::new();
        sample.print(format, &made.zone, &mut printed).map_err(|error| refused(error.to_string()))?;
        BrokenDownTime::parse_prefix(format, &printed).map_err(|error| refused(error.to_string()))?;
        match made.read(&printed, sample) {
            Some(_) => Ok(made),
            None => Err(refused("it has to name a day, as %Y-%m-%d or %b %d do, or %s".into())),
        }
    }

    /// The format as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.format
    }

    /// The time that a line begins with. Without a year in the format, it is the latest that does not lie more than a day
    /// ahead of `now`.
    #[must_use]
    pub fn read(&self, line: &[u8], now: Timestamp) -> Option<Timestamp> {
        let prefix = &line[..line.len().min(PREFIX_MAX)];
        let (mut time, _) = BrokenDownTime::parse_prefix(&self.format, prefix).ok()?;
        let has_year = time.year().is_some() || time.iso_week_year().is_some() || time.timestamp().is_some();
        if has_year {
            return self.timestamp(&time);
        }
        let this_year = jiff::Timestamp::from_millisecond(now.0).ok()?.to_zoned(self.zone.clone()).year();
        (0..=YEARS_BACK + 1).find_map(|back| {
            // Tomorrow may be next year's.
            time.set_year(Some(this_year + 1 - back)).ok()?;
            self.timestamp(&time).filter(|found| found.0 <= now.0.saturating_add(AHEAD_MAX_MS))
        })
    }

    fn timestamp(&self, time: &BrokenDownTime) -> Option<Timestamp> {
        // With an offset or seconds since the epoch the text says all itself.
        if let Ok(timestamp) = time.to_timestamp() {
            return Some(Timestamp(timestamp.as_millisecond()));
        }
        let of_day = if time.hour().is_some() { time.to_time().ok()? } else { civil::Time::midnight() };
        let local = time.to_date().ok()?.to_datetime(of_day);
        Some(Timestamp(local.to_zoned(self.zone.clone()).ok()?.timestamp().as_millisecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, line: &str, now: &str) -> Option<String> {
        let zone = TimeZone::fixed(jiff::tz::offset(1));
        let lazy: std::cell::LazyCell<TimeZone> = std::cell::LazyCell::new(|| TimeZone::fixed(jiff::tz::offset(1)));
        let now = Timestamp::parse(now, Timestamp(0), &lazy).unwrap();
        let found = TimeFormat::new(format, zone).unwrap().read(line.as_bytes(), now)?;
        Some(jiff::Timestamp::from_millisecond(found.0).unwrap().to_string())
    }

    #[test]
    fn reads_the_times_of_real_logs() {
        for (format, line, expected) in [
            ("[%a %b %d %H:%M:%S %Y]", "[Sun Dec 04 04:47:44 2005] [notice] workerEnv", "2005-12-04T03:47:44Z"),
            ("%y%m%d %H%M%S", "081109 203615 148 INFO dfs.DataNode", "2008-11-09T19:36:15Z"),
            ("%b %d %H:%M:%S", "Dec 10 06:55:46 LabSZ sshd[24200]:", "2025-12-10T05:55:46Z"),
            ("%b %d %H:%M:%S", "Dec  1 06:55:46 LabSZ sshd[24200]:", "2025-12-01T05:55:46Z"),
            ("%Y-%m-%d %H:%M:%S,%3f", "2015-07-29 17:41:44,747 - WARN", "2015-07-29T16:41:44.747Z"),
            ("%Y-%m-%dT%H:%M:%S%.f%:z", "2026-01-02T03:04:05.678901+02:00 x", "2026-01-02T01:04:05.678Z"),
            ("%Y-%m-%dT%H:%M:%SZ", "2026-01-02T03:04:05Z x", "2026-01-02T02:04:05Z"),
            ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2000:13:55:36 -0700] \"GET", "2000-10-10T20:55:36Z"),
            ("%s", "1700000000 x", "2023-11-14T22:13:20Z"),
            ("%Y-%m-%d", "2026-01-02 x", "2026-01-01T23:00:00Z"),
        ] {
            assert_eq!(read(format, line, "2026-11-23").as_deref(), Some(expected), "{format}");
        }
        for line in ["", "    at Main.java:17", "Dec 32 06:55:46", "Feb 30 00:00:00", "\u{fffd}"] {
            assert_eq!(read("%b %d %H:%M:%S", line, "2026-11-23"), None, "{line}");
        }
    }

    #[test]
    fn a_time_without_a_year_is_the_latest_that_has_been() {
        for (now, line, expected) in [
            ("2026-11-23 12:00", "Nov 23 11:00:00", "2026-11-23T10:00:00Z"),
            ("2026-11-23 12:00", "Nov 23 13:00:00", "2026-11-23T12:00:00Z"),
            ("2026-11-23 12:00", "Nov 25 00:00:00", "2025-11-24T23:00:00Z"),
            ("2026-12-31 23:59", "Jan  1 00:01:00", "2026-12-31T23:01:00Z"),
            ("2026-01-01 00:01", "Dec 31 23:59:00", "2025-12-31T22:59:00Z"),
            ("2026-11-23 12:00", "Feb 29 00:00:00", "2024-02-28T23:00:00Z"),
            ("2103-01-01 12:00", "Feb 29 00:00:00", "2096-02-28T23:00:00Z"),
        ] {
            assert_eq!(read("%b %d %H:%M:%S", line, now).as_deref(), Some(expected), "{now} {line}");
        }
        assert_eq!(read("%a %b %d", "Sun Nov 23", "2026-11-23").as_deref(), Some("2025-11-22T23:00:00Z"));
    }

    #[test]
    fn a_format_without_a_day_is_refused() {
        for (format, words) in [
            ("%H:%M:%S", "name a day"),
            ("", "name a day"),
            ("time:", "name a day"),
            ("%!", "directive"),
            ("%Y-%m-%d %Z", "%Z"),
        ] {
            let error = TimeFormat::new(format, TimeZone::UTC).unwrap_err().to_string();
            assert!(error.contains(words), "{format}: {error}");
        }
    }
}
