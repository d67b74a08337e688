//! Times in lines, by a strftime format or the name of a common one: how logs write them.
//!
//! A zone in a line (`%z`, `%Z` or `%Q`) is read in any form that [`super::zone`] knows, and a zone that is part of the format,
//! as the `Z` of `%FT%TZ`, is the zone of every line. A line whose zone is not known is refused. Without a zone, times are
//! local: one that the clocks skip is read as if they had not been put forward, and of one that comes twice the second is
//! meant once the times have stepped back ([`TimeState`]).

use super::strptime::{Read, ReadZone, Strptime, TEXT_MAX};
use super::time::Timestamp;
use super::time_text::{PLAUSIBLE_MS, from_seconds};
use super::zone::{self, LocalZone, Meaning, Zone};
use jiff::civil::{DateTime, Time};
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

/// A time without a year lies at most this far ahead: the clocks of two machines differ, and zones do.
const AHEAD_MAX_MS: i64 = 24 * 3_600_000;
/// How many years back a day is looked for: 29 February comes again after eight at most.
const YEARS_BACK: i16 = 8;
/// Lines step back this far without meaning it: threads write them in any order.
const JITTER_MS: i128 = 60_000;
/// A line this far from a local time that comes twice does not decide which it is.
const NEAR_MS: i128 = 86_400_000;

/// A format of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeFormat {
    text: String,
    form: Form,
    /// Of times without a zone, and of abbreviations.
    local: TimeZone,
    /// Whether an offset has minutes, as RFC 3339 has it: `-15` after a time is otherwise any number of the line.
    needs_minutes: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The first of these that fits, after what comes before a time.
    Any(Lead, Vec<Strptime>),
    EpochSeconds,
    /// A whole number, so many of which are a millisecond.
    Epoch(i64),
}

/// What comes before a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    Nothing,
    /// `<34>` or `<34>1 `, or neither.
    Priority,
    /// All up to the first `[`.
    Bracket,
}

/// The T and the Z may be small.
const RFC_3339: [&str; 3] = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dt%H:%M:%S%.f%z"];

/// A text that is not a format from which times can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{format:?} is no format for times: {what}")]
pub struct TimeFormatError {
    format: String,
    what: String,
}

/// A time has a zone that is not known, or that is missing: then the name is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownZone(pub String);

/// What has been read so far. It decides which moment is meant by a local time that comes twice.
#[derive(Debug, Clone, Default)]
pub struct TimeState {
    passes: Passes,
    /// The zone that a line named last.
    named: Option<(String, TimeZone)>,
}

/// How local times that come twice were read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passes {
    last: Option<Timestamp>,
    /// Whether the last comes twice.
    is_in_fold: bool,
    /// How many there were.
    pub ambiguous: u64,
    /// How many of them were taken for the second, because the times had stepped back.
    pub second: u64,
}

impl Passes {
    fn moment(&mut self, time: DateTime, zone: &TimeZone) -> Timestamp {
        let meaning = zone::meaning(time, zone);
        self.is_in_fold = matches!(meaning, Meaning::Twice(..));
        let at = match meaning {
            Meaning::Twice(first, second) => {
                let is_second = self.last.is_some_and(|last| {
                    let ahead = last.since(first);
                    let has_passed = || offset(last, zone) == offset(second, zone);
                    (0..=NEAR_MS).contains(&ahead) && (ahead > JITTER_MS || has_passed())
                });
                self.ambiguous += 1;
                self.second += u64::from(is_second);
                if is_second { second } else { first }
            }
            meaning => meaning.first(),
        };
        self.last = Some(at);
        at
    }
}

fn offset(at: Timestamp, zone: &TimeZone) -> Option<jiff::tz::Offset> {
    Some(zone.to_offset(jiff::Timestamp::from_millisecond(at.0).ok()?))
}

impl TimeState {
    /// How local times that come twice were read.
    #[must_use]
    pub const fn passes(&self) -> Passes {
        self.passes
    }

    /// Times to come are those of another input. Where the last comes twice, they go on from it: a log that was rotated within
    /// that hour does. Otherwise they do not: the next file may be of a day before.
    pub const fn next_input(&mut self) {
        if !self.passes.is_in_fold {
            self.passes.last = None;
        }
    }

    /// The zone of that name, which is looked for only where the line before had another.
    fn named(&mut self, name: &str) -> Option<TimeZone> {
        if let Some((last, zone)) = &self.named
            && last == name
        {
            return Some(zone.clone());
        }
        let Some(Zone::Known(zone)) = zone::zone(name) else { return None };
        self.named = Some((name.to_owned(), zone.clone()));
        Some(zone)
    }
}

impl Lead {
    fn skip(self, text: &[u8]) -> Option<&[u8]> {
        match self {
            Self::Nothing => Some(text),
            Self::Bracket => Some(&text[text.iter().position(|&it| it == b'[')? + 1..]),
            Self::Priority => {
                let Some(rest) = text.strip_prefix(b"<") else { return Some(text) };
                let rest = &rest[rest.iter().take(4).position(|&it| it == b'>')? + 1..];
                Some(rest.strip_prefix(b"1 ").unwrap_or(rest))
            }
        }
    }
}

impl TimeFormat {
    /// Reads a format as strftime has it, or the name of one: `rfc3339`, `syslog`, `clf`, `epoch`, `epoch-ms`, `epoch-us`. What
    /// names no zone is in `local`, which is only then looked for.
    ///
    /// # Errors
    /// When a directive is unknown, what the format prints cannot be read back as a day at least, or its zone is not known.
    pub fn new(format: &str, local: &LocalZone) -> Result<Self, TimeFormatError> {
        let refused = |what: String| TimeFormatError { format: format.to_owned(), what };
        let any = |lead, formats: &[&str]| -> Result<Form, String> {
            Ok(Form::Any(lead, formats.iter().map(|it| Strptime::new(it)).collect::<Result<_, _>>()?))
        };
        let (form, is_named) = match format {
            "rfc3339" => (any(Lead::Nothing, &RFC_3339), true),
            "syslog" => (any(Lead::Priority, &[RFC_3339[0], RFC_3339[1], RFC_3339[2], "%b %d %H:%M:%S%.f"]), true),
            "clf" => (any(Lead::Bracket, &["%d/%b/%Y:%H:%M:%S %z"]), true),
            "epoch" => (Ok(Form::EpochSeconds), true),
            "epoch-ms" => (Ok(Form::Epoch(1)), true),
            "epoch-us" => (Ok(Form::Epoch(1000)), true),
            _ => (any(Lead::Nothing, &[format]), false),
        };
        let form = form.map_err(refused)?;
        let needs_local = matches!(&form, Form::Any(_, formats) if formats.iter().any(Strptime::needs_local));
        let local = if needs_local { TimeZone::clone(local) } else { TimeZone::UTC };
        let made = Self { text: format.to_owned(), form, local, needs_minutes: is_named };
        if !is_named {
            made.check().map_err(refused)?;
        }
        Ok(made)
    }

    /// What the format itself prints must be readable: so much is known before the first line.
    fn check(&self) -> Result<(), String> {
        let (sample, mut printed) = (Timestamp(1_700_000_000_000), Vec::new());
        sample.print(&self.text, &TimeZone::UTC, &mut printed).map_err(|error| error.to_string())?;
        if let Form::Any(_, formats) = &self.form
            && let Some(refusal) = formats.iter().find_map(|it| it.refusal(&printed))
        {
            return Err(refusal);
        }
        match self.read(&printed, sample, &mut TimeState::default()) {
            Ok(Some(_)) => Ok(()),
            _ => Err(
                "it has to name a day, as %Y-%m-%d or %b %d do, or be %s, rfc3339, syslog, clf, epoch, epoch-ms or \
                     epoch-us"
                    .into(),
            ),
        }
    }

    /// The format as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The time that a text begins with; `None` where it begins with none. Without a year in the format, it is the latest that
    /// does not lie more than a day ahead of `now`.
    ///
    /// # Errors
    /// When the time has a zone that is not known, or none where the format has one.
    pub fn read(&self, text: &[u8], now: Timestamp, state: &mut TimeState) -> Result<Option<Timestamp>, UnknownZone> {
        let text = &text[..text.len().min(TEXT_MAX)];
        let (lead, formats) = match &self.form {
            Form::EpochSeconds => return Ok(number(text, true).and_then(from_seconds).filter(is_plausible)),
            Form::Epoch(of_a_millisecond) => {
                let number = number(text, false).and_then(|it| it.parse::<i64>().ok());
                return Ok(number.map(|it| Timestamp(it.div_euclid(*of_a_millisecond))).filter(is_plausible));
            }
            Form::Any(lead, formats) => (lead, formats),
        };
        let Some(text) = lead.skip(text) else { return Ok(None) };
        let may_fit = |it: &&Strptime| formats.len() == 1 || it.may_fit(text);
        match formats.iter().filter(may_fit).find_map(|it| it.read(text)) {
            Some(read) => self.moment(read, now, state),
            None => Ok(None),
        }
    }

    fn moment(
        &self,
        Read { mut time, zone }: Read<'_>,
        now: Timestamp,
        state: &mut TimeState,
    ) -> Result<Option<Timestamp>, UnknownZone> {
        if let Some(seconds) = time.timestamp() {
            let (seconds, fraction) =
                (seconds.as_second(), i64::from(time.subsec_nanosecond().unwrap_or(0) / 1_000_000));
            return Ok(Some(Timestamp(seconds * 1000 + if seconds < 0 { -fraction } else { fraction })));
        }
        if time.year().is_some() || time.iso_week_year().is_some() {
            return civil(&time).map(|civil| self.place(civil, zone, state)).transpose();
        }
        let Some(this_year) = jiff::Timestamp::from_millisecond(now.0).ok().map(|it| self.local.to_datetime(it).year())
        else {
            return Ok(None);
        };
        for back in 0..=YEARS_BACK + 1 {
            // Tomorrow may be next year's.
            let has_year = time.set_year(Some(this_year + 1 - back)).is_ok();
            let Some(civil) = has_year.then(|| civil(&time)).flatten() else { continue };
            let before = state.passes;
            let found = self.place(civil, zone, state)?;
            if found.0 <= now.0.saturating_add(AHEAD_MAX_MS) {
                return Ok(Some(found));
            }
            state.passes = before;
        }
        Ok(None)
    }

    /// The moment of a time in the zone that was read with it.
    fn place(&self, time: DateTime, zone: ReadZone<'_>, state: &mut TimeState) -> Result<Timestamp, UnknownZone> {
        let name = match zone {
            ReadZone::Local => return Ok(state.passes.moment(time, &self.local)),
            ReadZone::Known(zone) => return Ok(state.passes.moment(time, zone)),
            ReadZone::Text(name) => name,
        };
        let unknown = || UnknownZone(String::from_utf8_lossy(name).into_owned());
        if let Some((offset, end)) = zone::offset(name) {
            let has_minutes = end > "-15".len();
            return if has_minutes || !self.needs_minutes { Ok(zone::moment(time, offset)) } else { Err(unknown()) };
        }
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty()).ok_or_else(unknown)?;
        if name.eq_ignore_ascii_case("Z") {
            return Ok(zone::moment(time, jiff::tz::Offset::UTC));
        }
        // What the local zone is called comes before what is called so elsewhere.
        if let Some(at) = zone::called(time, name, &self.local) {
            return Ok(at);
        }
        let zone = state.named(name).ok_or_else(unknown)?;
        Ok(state.passes.moment(time, &zone))
    }
}

fn is_plausible(at: &Timestamp) -> bool {
    PLAUSIBLE_MS.contains(&at.0)
}

/// The number that a text begins with.
fn number(text: &[u8], has_fraction: bool) -> Option<&str> {
    let end = text.iter().take_while(|&&it| it.is_ascii_digit() || has_fraction && it == b'.').count();
    std::str::from_utf8(&text[..end]).ok().map(|number| number.trim_end_matches('.'))
}

fn civil(time: &BrokenDownTime) -> Option<DateTime> {
    let of_day = if time.hour().is_some() { time.to_time().ok()? } else { Time::midnight() };
    Some(time.to_date().ok()?.to_datetime(of_day))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, line: &str, now: &str) -> Option<String> {
        let zone = LocalZone::new(|| TimeZone::fixed(jiff::tz::offset(1)));
        let now = Timestamp::parse(now, Timestamp(0), &zone).unwrap();
        let found = TimeFormat::new(format, &zone).unwrap().read(line.as_bytes(), now, &mut TimeState::default());
        let found = found.unwrap()?;
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
            ("%Y-%m-%dT%H:%M:%SZ", "2026-01-02T03:04:05Z x", "2026-01-02T03:04:05Z"),
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
            ("iso", "rfc3339"),
            ("%Y-%m-%d %q", "%q"),
            ("%F %T%z %Z", "two zones"),
            ("%F %I:%M:%S", "%p"),
            ("%F %T IST", "IST has several meanings"),
            ("%s%f", "%f"),
        ] {
            let error = TimeFormat::new(format, &LocalZone::new(|| TimeZone::UTC)).unwrap_err().to_string();
            assert!(error.contains(words), "{format}: {error}");
        }
    }
}
