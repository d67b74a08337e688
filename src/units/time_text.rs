//! Times as people and programs write them.
//!
//! | form | what it means |
//! | --- | --- |
//! | `@1700000000`, `@1700000000.5` | seconds since the epoch |
//! | `1700000000000` | milliseconds since the epoch, from 1990 to 2100 |
//! | `2026-11-22T10:00:00Z`, `2026-11-22 10:00`, `2026-11-22` | RFC 3339, and parts of it; a date alone is its start |
//! | `10:00`, `yesterday`, `tomorrow 9:30` | today, the start of a day, a time on it |
//! | `2h`, `-2h`, `2h ago`, `5 minutes ago` | before now, a day being 24 hours; `+2h` is after |
//! | `Nov 22 10:00:00`, `Sun, 22 Nov 2026 10:00:00 +0000` | as syslog, `date` and `date -R` print it |
//!
//! A zone may follow ([`super::zone`]); otherwise a time is local. A form that GNU `date` reads too means the same there, but
//! for `today`, `yesterday` and `tomorrow` without a time, which are starts of days here. What has more than one meaning is
//! refused: a bare number that may be seconds, a month and a day that may be of this year or of the last, a local time
//! that the clocks skip or show twice. Fractions of a millisecond are cut off.

use super::time::{Duration, TimeUnit, Timestamp};
use super::zone::{self, LocalZone, Meaning, Zone};
use jiff::civil::{Date, Time, Weekday};
use jiff::tz::TimeZone;

/// A text that is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid time {text:?}: {what}")]
pub struct TimestampError {
    text: String,
    what: String,
}

const FORMS: &str = "use RFC 3339 (2026-11-22T10:00:00Z), a date or a time (2026-11-22, 10:00, yesterday 10:00), an age \
                     (2h ago), @SECONDS, or milliseconds since the epoch";

const OUTSIDE: &str = "it lies outside of the years 0 to 9999";

/// The years in which a bare number of milliseconds is taken for what it is: 1990 to 2100. Seconds lie far before them.
pub(super) const PLAUSIBLE_MS: std::ops::Range<i64> = 631_152_000_000..4_133_980_800_000;
/// The calendar: years 0 to 9999.
const CALENDAR_MS: std::ops::Range<i64> = -62_167_219_200_000..253_402_300_800_000;
/// A day and month without a year are not taken for a time that lies further ahead.
const AHEAD_MAX_MS: i64 = 86_400_000;

impl Timestamp {
    /// Reads a time as a person writes it. What names no zone is in `zone`, which is only then looked for.
    ///
    /// # Errors
    /// When the text has none of the forms, or more than one meaning.
    pub fn parse(text: &str, now: Self, zone: &LocalZone) -> Result<Self, TimestampError> {
        let refused = |what| TimestampError { text: text.to_owned(), what };
        let found = parse(text.trim(), now, zone).map_err(refused)?;
        let is_reached = CALENDAR_MS.contains(&found.0);
        is_reached.then_some(found).ok_or_else(|| refused(OUTSIDE.into()))
    }

    /// Whether its milliseconds, taken for seconds, are in those years.
    #[must_use]
    pub fn may_be_in_seconds(self) -> bool {
        self.0.checked_mul(1000).is_some_and(|ms| PLAUSIBLE_MS.contains(&ms))
    }

    /// Why it is not taken for milliseconds where nothing says so: it is before 1990 or after 2100, as seconds are. Of the two
    /// readings it names both, and for milliseconds it says to `say_so`.
    #[must_use]
    pub fn doubt(self, say_so: &str) -> Option<String> {
        let is_clear = self == Self::NONE || PLAUSIBLE_MS.contains(&self.0);
        (!is_clear).then(|| readings(self.0, Some(say_so.to_owned()), |at| format!("write {at}")))
    }
}

fn parse(text: &str, now: Timestamp, local: &LocalZone) -> Result<Timestamp, String> {
    if let Some(seconds) = text.strip_prefix('@') {
        return from_seconds(seconds).ok_or_else(|| "after @ come seconds since the epoch, as in @1700000000.5".into());
    }
    if let Ok(number) = text.parse::<i64>() {
        return from_bare_number(number);
    }
    if text.ends_with(']') {
        let zoned = text.parse::<jiff::Zoned>().map_err(|error| error.to_string())?;
        return Ok(zone::moment(zoned.datetime(), zoned.offset()));
    }
    if let Some(milliseconds) = shift(text)? {
        return now.0.checked_add(milliseconds).map(Timestamp).ok_or_else(|| OUTSIDE.into());
    }
    Written::parse(text)?.moment(now, local)
}

/// `SECONDS[.FRACTION]`.
pub(super) fn from_seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').map_or((text, "0"), |(whole, fraction)| (whole, fraction));
    if fraction.is_empty() || !fraction.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    // Up to a digit that makes a negative time with a finer fraction one millisecond earlier.
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    let is_finer = fraction.bytes().skip(3).any(|it| it != b'0');
    let (whole, milliseconds) = (whole.parse::<i64>().ok()?.checked_mul(1000)?, digits.parse::<i64>().ok()?);
    let is_negative = text.starts_with('-');
    let signed = if is_negative { -milliseconds - i64::from(is_finer) } else { milliseconds };
    whole.checked_add(signed).map(Timestamp)
}

/// Milliseconds, where they lie in [`PLAUSIBLE_MS`].
fn from_bare_number(number: i64) -> Result<Timestamp, String> {
    if PLAUSIBLE_MS.contains(&number) {
        return Ok(Timestamp(number));
    }
    let as_milliseconds = CALENDAR_MS.contains(&number).then(|| format!("write @{}", seconds_text(number)));
    Err(readings(number, as_milliseconds, |at| format!("write @{}", seconds_text(at))))
}

/// The two times that a number may be, and what to do about each.
fn readings(number: i64, as_milliseconds: Option<String>, as_other: impl Fn(i64) -> String) -> String {
    let shown = |at: Timestamp| at.to_utc_or_guess();
    let other = match Timestamp(number).likely_unit() {
        None => number.checked_mul(1000).filter(|it| CALENDAR_MS.contains(it)).map(|it| ("seconds".to_owned(), it)),
        Some(unit @ TimeUnit::Microseconds) => Some((unit.to_string(), number / 1000)),
        Some(unit @ TimeUnit::Nanoseconds) => Some((unit.to_string(), number / 1_000_000)),
    };
    let mut what = format!("as milliseconds it is {}", shown(Timestamp(number)));
    if let Some(then) = as_milliseconds {
        what.push_str(&format!(" (then {then})"));
    }
    if let Some((unit, at)) = other {
        what.push_str(&format!(", as {unit} {} (then {})", shown(Timestamp(at)), as_other(at)));
    }
    what
}

/// Milliseconds as what follows an `@`.
fn seconds_text(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { "-" } else { "" };
    let (seconds, fraction) = (milliseconds.unsigned_abs() / 1000, milliseconds.unsigned_abs() % 1000);
    if fraction == 0 { format!("{sign}{seconds}") } else { format!("{sign}{seconds}.{fraction:03}") }
}

/// The long names of units, as GNU date has them, and how journalctl shortens them.
const LONG_UNITS: [(&str, &str); 16] = [
    ("weeks", "w"),
    ("week", "w"),
    ("days", "d"),
    ("day", "d"),
    ("hours", "h"),
    ("hour", "h"),
    ("hrs", "h"),
    ("hr", "h"),
    ("minutes", "m"),
    ("minute", "m"),
    ("mins", "m"),
    ("min", "m"),
    ("seconds", "s"),
    ("second", "s"),
    ("secs", "s"),
    ("sec", "s"),
];

/// Milliseconds from now, of `now`, `2h ago`, `-2h`, `2h` and `+2h`: a day has 24 hours, as GNU date has it. `Ok(None)` where
/// the text is of another form.
fn shift(text: &str) -> Result<Option<i64>, String> {
    if text.eq_ignore_ascii_case("now") {
        return Ok(Some(0));
    }
    let lower = text.to_ascii_lowercase();
    let (sign, amount, is_signed) = if let Some(amount) = lower.strip_suffix("ago") {
        (-1, amount, true)
    } else if let Some(amount) = lower.strip_prefix('-') {
        (-1, amount, true)
    } else if let Some(amount) = lower.strip_prefix('+') {
        (1, amount, true)
    } else {
        (-1, &*lower, false)
    };
    let amount = amount.trim();
    let long = LONG_UNITS.iter().find_map(|(name, unit)| Some((amount.strip_suffix(name)?.trim_end(), *unit)));
    let is_number = |number: &str| !number.is_empty() && number.bytes().all(|it| it.is_ascii_digit());
    let short = match long {
        Some((number, unit)) if is_number(number) => format!("{number}{unit}"),
        Some((more, _)) if more.contains(' ') && more.ends_with(|it: char| it.is_ascii_digit()) => {
            return Err("several amounts are written in short, as in \"1d2h ago\"".into());
        }
        _ => amount.to_owned(),
    };
    let Ok(Duration(milliseconds)) = short.parse() else {
        return if is_signed {
            Err("an age has one of the units w d h m s ms, as in \"2h ago\"".into())
        } else {
            Ok(None)
        };
    };
    if !is_signed && long.is_some() {
        return Err(format!("write \"{text} ago\", or +{short} for a time to come"));
    }
    Ok(Some(sign * milliseconds))
}

/// A date, a time of day, a zone: what the words of a text name.
#[derive(Default)]
struct Written {
    day: Option<Day>,
    weekday: Option<Weekday>,
    time: Option<Time>,
    zone: Option<String>,
    // Of a date in words.
    month: Option<i8>,
    day_of_month: Option<i8>,
    year: Option<i16>,
}

enum Day {
    On(Date),
    /// So many days after today.
    After(i64),
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn month(word: &str) -> Option<i8> {
    let found = MONTHS.iter().position(|name| *name == word || word.len() == 3 && name.starts_with(word))?;
    Some(found as i8 + 1)
}

fn weekday(word: &str) -> Option<Weekday> {
    const NAMES: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let found = NAMES.iter().position(|name| *name == word || word.len() == 3 && name.starts_with(word))?;
    Weekday::from_monday_one_offset(found as i8 + 1).ok()
}

fn forms() -> String {
    FORMS.to_owned()
}

/// Sets what must not be given twice.
fn set<T>(place: &mut Option<T>, value: T) -> Result<(), String> {
    place.replace(value).map_or(Ok(()), |_| Err(forms()))
}

impl Written {
    fn parse(text: &str) -> Result<Self, String> {
        let mut written = Self::default();
        for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
            // 2026-11-22T10:00:00Z, 20261122T100000Z
            match word.split_once(['T', 't']).filter(|(date, _)| date.len() >= 8 && date.as_bytes()[0].is_ascii_digit())
            {
                Some((date, time)) => {
                    set(&mut written.day, Day::On(date.parse().map_err(|_| forms())?))?;
                    written.add_time(time)?;
                }
                None => written.add(word)?,
            }
        }
        written.date_in_words()?;
        if written.day.is_none() && written.time.is_none() { Err(forms()) } else { Ok(written) }
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        let lower = word.to_ascii_lowercase();
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        match &*lower {
            "today" => set(&mut self.day, Day::After(0)),
            "yesterday" => set(&mut self.day, Day::After(-1)),
            "tomorrow" => set(&mut self.day, Day::After(1)),
            _ if digits > 0 && word[digits..].starts_with(':') => self.add_time(word),
            _ if digits == 4 && matches!(word.as_bytes().get(4), Some(b'-' | b'/')) && word.len() == 10 => {
                let date = word.replace('/', "-").parse().map_err(|_| forms())?;
                set(&mut self.day, Day::On(date))
            }
            _ if digits == word.len() && digits == 4 => set(&mut self.year, word.parse().map_err(|_| forms())?),
            _ if digits == word.len() && digits <= 2 => set(&mut self.day_of_month, word.parse().map_err(|_| forms())?),
            _ if digits > 0 => Err(forms()),
            _ => match (month(&lower), weekday(&lower)) {
                (Some(month), _) => set(&mut self.month, month),
                (None, Some(weekday)) => set(&mut self.weekday, weekday),
                (None, None) => set(&mut self.zone, word.to_owned()),
            },
        }
    }

    /// `10:00`, `10:00:00.123Z`, `100000+0100`.
    fn add_time(&mut self, word: &str) -> Result<(), String> {
        let (clock, zone) = word.split_at(word.find(['Z', 'z', '+', '-']).unwrap_or(word.len()));
        let padded = if clock.find(':') == Some(1) { format!("0{clock}") } else { clock.to_owned() };
        let has_minutes = padded.len() == 4 || padded.len() == 6 || padded.as_bytes().get(2) == Some(&b':');
        let is_whole =
            padded.bytes().all(|it| it.is_ascii_digit() || b":.".contains(&it)) && !padded.ends_with(['.', ':']);
        // A leap second would be the second before it.
        let is_leap_second = padded.get(5..8) == Some(":60") || padded.len() == 6 && padded.ends_with("60");
        if !has_minutes || !is_whole || is_leap_second {
            return Err(forms());
        }
        set(&mut self.time, format!("T{padded}").parse().map_err(|_| forms())?)?;
        if zone.is_empty() { Ok(()) } else { set(&mut self.zone, zone.to_owned()) }
    }

    fn date_in_words(&mut self) -> Result<(), String> {
        match (self.month, self.day_of_month, self.year) {
            (None, None, None) => Ok(()),
            (Some(month), Some(day), Some(year)) => {
                set(&mut self.day, Day::On(Date::new(year, month, day).map_err(|_| forms())?))
            }
            (Some(_), Some(_), None) if self.day.is_none() => Ok(()),
            _ => Err(forms()),
        }?;
        // A day of the week alone may be the last or the next.
        let has_day = self.day.is_some() || self.month.is_some();
        if self.weekday.is_some() && !has_day { Err(forms()) } else { Ok(()) }
    }

    fn moment(self, now: Timestamp, local: &LocalZone) -> Result<Timestamp, String> {
        let (found, is_without_year) = match self.called(now, local)? {
            Some(found) => found,
            None => self.placed(now, local)?,
        };
        if is_without_year && found.since(now) > i128::from(AHEAD_MAX_MS) {
            return Err("this year it is still to come: add the year".into());
        }
        Ok(found)
    }

    /// The moment in the zone that is named, or in the local one, and whether its year is a guess.
    fn placed(&self, now: Timestamp, local: &LocalZone) -> Result<(Timestamp, bool), String> {
        let named = match self.zone.as_deref().map(|name| (name, zone::zone(name))) {
            None => None,
            Some((_, Some(Zone::Known(zone)))) => Some(zone),
            Some((name, Some(Zone::Unclear))) => {
                return Err(format!(
                    "the zone {name} has several meanings: write an offset, such as +01:00, in its place"
                ));
            }
            Some((name, None)) => return Err(format!("{name:?} is not a known time zone, and {FORMS}")),
        };
        let (date, is_without_year) = self.date(now, named.as_ref(), local)?;
        let zone = named.unwrap_or_else(|| TimeZone::clone(local));
        let time = date.to_datetime(self.time.unwrap_or_else(Time::midnight));
        let found = match zone::meaning(time, &zone) {
            // A day may begin after midnight.
            Meaning::Skipped(at) if self.time.is_none() && date_at(at, &zone) == Some(date) => at,
            Meaning::Skipped(_) => return Err(format!("there is no {time}: the clocks skip it")),
            Meaning::Twice(first, second) if self.time.is_some() => {
                let [first, second] = [first, second].map(Timestamp::to_utc_or_guess);
                return Err(format!("{time} comes twice, as the clocks are put back: it is {first} or {second}"));
            }
            found => found.first(),
        };
        Ok((found, is_without_year))
    }

    /// The same, where the zone is an abbreviation that the local zone has then: it comes before what is called so elsewhere,
    /// as in lines.
    fn called(&self, now: Timestamp, local: &LocalZone) -> Result<Option<(Timestamp, bool)>, String> {
        let is_name =
            |name: &&str| name.starts_with(|it: char| it.is_ascii_alphabetic()) && !name.eq_ignore_ascii_case("Z");
        let Some(name) = self.zone.as_deref().filter(is_name) else { return Ok(None) };
        let (date, is_without_year) = self.date(now, None, local)?;
        let time = date.to_datetime(self.time.unwrap_or_else(Time::midnight));
        Ok(zone::called(time, name, local).map(|found| (found, is_without_year)))
    }

    /// The date, and whether its year is a guess.
    fn date(&self, now: Timestamp, named: Option<&TimeZone>, local: &LocalZone) -> Result<(Date, bool), String> {
        if let Some(Day::On(date)) = self.day {
            return self.with_weekday(date).map(|date| (date, false));
        }
        let today = date_at(now, local).ok_or_else(forms)?;
        if let (Some(month), Some(day)) = (self.month, self.day_of_month) {
            let date = Date::new(today.year(), month, day).map_err(|_| forms())?;
            return self.with_weekday(date).map(|date| (date, true));
        }
        if named.is_some_and(|zone| date_at(now, zone) != Some(today)) {
            return Err("today is another date in that zone: write the date".into());
        }
        let Some(Day::After(days)) = self.day.as_ref().or(Some(&Day::After(0))) else { return Err(forms()) };
        let date = today.checked_add(jiff::Span::new().days(*days)).map_err(|_| forms())?;
        self.with_weekday(date).map(|date| (date, false))
    }

    fn with_weekday(&self, date: Date) -> Result<Date, String> {
        match self.weekday {
            Some(weekday) if weekday != date.weekday() => {
                Err(format!("{date} is a {:?}, not a {weekday:?}", date.weekday()))
            }
            _ => Ok(date),
        }
    }
}

fn date_at(at: Timestamp, zone: &TimeZone) -> Option<Date> {
    Some(zone.to_datetime(jiff::Timestamp::from_millisecond(at.0).ok()?).date())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_123);

    fn parsed(text: &str) -> Result<i64, String> {
        let zone = LocalZone::new(|| TimeZone::fixed(jiff::tz::offset(1)));
        Timestamp::parse(text, NOW, &zone).map(|it| it.0).map_err(|error| error.to_string())
    }

    #[test]
    fn reads_times_as_people_write_them() {
        for (text, expected) in [
            ("1700000000000", 1_700_000_000_000),
            ("@1700000000", 1_700_000_000_000),
            ("@1700000000.1239", 1_700_000_000_123),
            ("@-1", -1000),
            ("@-0.5", -500),
            ("@-0.0005", -1),
            ("now", NOW.0),
            ("2h ago", NOW.0 - 7_200_000),
            ("2h", NOW.0 - 7_200_000),
            ("-2h", NOW.0 - 7_200_000),
            ("+2h", NOW.0 + 7_200_000),
            ("5 minutes ago", NOW.0 - 300_000),
            ("5min ago", NOW.0 - 300_000),
            ("-5 mins", NOW.0 - 300_000),
            ("2hrs ago", NOW.0 - 7_200_000),
            ("1 hr ago", NOW.0 - 3_600_000),
            ("10sec ago", NOW.0 - 10_000),
            ("+10 secs", NOW.0 + 10_000),
            ("1 week ago", NOW.0 - 604_800_000),
            ("1d12h ago", NOW.0 - 129_600_000),
            ("0s ago", NOW.0),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000),
            ("2023-11-14T22:13:20.5+01:00", 1_699_996_400_500),
            ("2023-11-14 22:13:20 UTC", 1_700_000_000_000),
            ("2023-11-14T17:13:20-05:00[America/New_York]", 1_700_000_000_000),
            ("2023-11-14 23:13:20", 1_700_000_000_000),
            ("2023-11-14T23:13", 1_699_999_980_000),
            ("2023-11-14", 1_699_916_400_000),
            ("Nov 14 23:13:20", 1_700_000_000_000),
            ("Tue, 14 Nov 2023 22:13:20 +0000", 1_700_000_000_000),
            ("Tue Nov 14 22:13:20 UTC 2023", 1_700_000_000_000),
            ("9999-12-31", 253_402_210_800_000),
            ("today", 1_699_916_400_000),
            ("Yesterday", 1_699_830_000_000),
            ("tomorrow", 1_700_002_800_000),
            ("yesterday 10:00", 1_699_866_000_000),
            ("23:13:20", 1_700_000_000_000),
            ("2024-02-29", 1_709_161_200_000),
        ] {
            assert_eq!(parsed(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_meaning_or_several_is_refused() {
        for text in [
            "",
            "soon",
            "2023-02-29",
            "2023-13-01",
            "ago",
            "h ago",
            "5 ago",
            "25:00",
            "2023",
            "0",
            "-1",
            "@",
            "@1.",
            "@x",
            "-",
            "2023-11-14 10:00 CST",
            "2023-11-14 10:00 UTC UTC",
            "monday",
            "Wed, 14 Nov 2023",
            "Nov 2023",
            "14",
            "10:00am",
            "2016-12-31T23:59:60Z",
            "99999999999w ago",
            "@99999999999999",
            "10:00 10:00",
            "1 day 2 hours ago",
            "é",
        ] {
            assert!(parsed(text).is_err(), "{text}: {:?}", parsed(text));
        }
        for (text, words) in [
            ("1700000000", "as milliseconds it is 1970-01-20 16:13:20 UTC (then write @1700000)"),
            ("1700000000", "as seconds 2023-11-14 22:13:20 UTC (then write @1700000000)"),
            ("1700000000123456", "as microseconds 2023-11-14 22:13:20 UTC (then write @1700000000.123)"),
            ("1700000000123456789", "as nanoseconds 2023-11-14 22:13:20 UTC (then write @1700000000.123)"),
            ("2 hours", "write \"2 hours ago\", or +2h"),
            ("5min", "write \"5min ago\", or +5m"),
            ("1 month ago", "an age has one of the units w d h m s ms"),
            ("Dec 25 10:00:00", "add the year"),
            ("2023-11-14 10:00 IST", "IST has several meanings"),
            ("2023-11-14 10:00 Mars", "\"Mars\" is not a known time zone"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
