//! Time zones as texts name them, and what a local time means in a zone.
//!
//! A zone is `Z`, `UTC` or `GMT`, an offset (`+01:00`, `+0100`, `+01`), a name of the tz database (`Europe/Berlin`), or an
//! abbreviation with one meaning. Abbreviations that several zones use, such as CST, are known only where the local zone is one
//! of them at that time; otherwise they are refused, never guessed. The tz database is the one thing on this floor that
//! comes from files: jiff finds and keeps it.

use super::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use std::cell::LazyCell;
use std::fmt;
use std::ops::Deref;

/// The zone of times that name none, looked for when it is first needed: that can take as long as all else.
pub struct LocalZone(LazyCell<TimeZone, Box<dyn FnOnce() -> TimeZone>>);

impl LocalZone {
    /// The zone that `find` finds.
    #[must_use]
    pub fn new(find: impl FnOnce() -> TimeZone + 'static) -> Self {
        Self(LazyCell::new(Box::new(find)))
    }
}

impl Deref for LocalZone {
    type Target = TimeZone;

    fn deref(&self) -> &TimeZone {
        &self.0
    }
}

impl fmt::Debug for LocalZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalZone")
    }
}

/// Abbreviations with one meaning in the tz database or in RFC 822, and their minutes east of UTC.
const ABBREVIATIONS: [(&str, i32); 40] = [
    ("UTC", 0),
    ("GMT", 0),
    ("UT", 0),
    ("UCT", 0),
    ("Z", 0),
    ("WET", 0),
    ("WEST", 60),
    ("CET", 60),
    ("CEST", 120),
    ("MEZ", 60),
    ("MESZ", 120),
    ("MET", 60),
    ("MEST", 120),
    ("WAT", 60),
    ("CAT", 120),
    ("SAST", 120),
    ("EET", 120),
    ("EEST", 180),
    ("EAT", 180),
    ("MSK", 180),
    ("PKT", 300),
    ("HKT", 480),
    ("JST", 540),
    ("KST", 540),
    ("AWST", 480),
    ("ACST", 570),
    ("ACDT", 630),
    ("AEST", 600),
    ("AEDT", 660),
    ("NZST", 720),
    ("NZDT", 780),
    ("EST", -300),
    ("EDT", -240),
    ("MST", -420),
    ("MDT", -360),
    ("PST", -480),
    ("PDT", -420),
    ("AKST", -540),
    ("AKDT", -480),
    ("HST", -600),
];

/// Abbreviations that are in use with more than one meaning, or with none in the tz database.
const UNCLEAR: [&str; 30] = [
    "ACT", "ADT", "AMT", "ART", "AST", "AZT", "BDT", "BRT", "BRST", "BST", "CDT", "CLT", "COT", "CST", "ECT", "GET",
    "GST", "ICT", "IRST", "IST", "MYT", "NDT", "NPT", "NST", "PET", "PHT", "SGT", "SST", "VET", "WST",
];

/// A zone as a text names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Zone {
    /// A rule that is known.
    Known(TimeZone),
    /// An abbreviation that no zone has for itself.
    Unclear,
}

/// The zone that a text names; `None` where it names none.
#[must_use]
pub fn zone(text: &str) -> Option<Zone> {
    if text.starts_with(['+', '-']) {
        return offset(text.as_bytes())
            .filter(|&(_, end)| end == text.len())
            .map(|(it, _)| Zone::Known(it.to_time_zone()));
    }
    let is = |name: &str| name.eq_ignore_ascii_case(text);
    if let Some(&(_, minutes)) = ABBREVIATIONS.iter().find(|(name, _)| is(name)) {
        let offset = Offset::from_seconds(minutes * 60).ok()?;
        return Some(Zone::Known(if minutes == 0 { TimeZone::UTC } else { TimeZone::fixed(offset) }));
    }
    if UNCLEAR.iter().any(|name| is(name)) {
        return Some(Zone::Unclear);
    }
    let is_name = text.starts_with(|it: char| it.is_ascii_alphabetic()) && !text.contains("..");
    let found = is_name.then(|| TimeZone::get(text).ok()).flatten()?;
    (!found.is_unknown()).then_some(Zone::Known(found))
}

/// An offset at the start of a text, and where it ends. What goes on with digits is none.
#[must_use]
pub fn offset(text: &[u8]) -> Option<(Offset, usize)> {
    let (&sign, rest) = text.split_first()?;
    let sign = match sign {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |at: usize| match rest.get(at..at + 2) {
        Some(&[tens @ b'0'..=b'9', ones @ b'0'..=b'9']) => Some(i32::from(tens - b'0') * 10 + i32::from(ones - b'0')),
        _ => None,
    };
    let (mut seconds, mut end) = (two(0)? * 3600, 2);
    let has_colons = rest.get(2) == Some(&b':');
    for factor in [60, 1] {
        let at = end + usize::from(has_colons);
        if has_colons && rest.get(end) != Some(&b':') {
            break;
        }
        let Some(part) = two(at) else { break };
        if part > 59 {
            return None;
        }
        seconds += part * factor;
        end = at + 2;
    }
    if rest.get(end).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    Some((Offset::from_seconds(sign * seconds).ok()?, end + 1))
}

/// The end of the zone that a text begins with: an offset, or a name. 0 where there is none.
#[must_use]
pub fn zone_end(text: &[u8]) -> usize {
    if matches!(text.first(), Some(b'+' | b'-')) {
        return offset(text).map_or(0, |(_, end)| end);
    }
    let letters = text.iter().take_while(|it| it.is_ascii_alphabetic()).count();
    match text.get(letters..) {
        // A name of the tz database, or an offset from what is named, which is not known here.
        Some([b'/' | b'_' | b'0'..=b'9', ..] | [b'+' | b'-', b'0'..=b'9', ..]) if letters > 0 => {
            let is_name = |it: &&u8| it.is_ascii_alphanumeric() || b"/_+-".contains(it);
            letters + text[letters..].iter().take_while(is_name).count()
        }
        _ => letters,
    }
}

/// What a local time means in a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// One moment.
    Once(Timestamp),
    /// None: the clocks skip it. The moment is that of a clock which had not been put forward.
    Skipped(Timestamp),
    /// Two: the clocks are put back and show it again.
    Twice(Timestamp, Timestamp),
}

impl Meaning {
    /// The moment, or the first of two.
    #[must_use]
    pub const fn first(self) -> Timestamp {
        match self {
            Self::Once(at) | Self::Skipped(at) | Self::Twice(at, _) => at,
        }
    }
}

/// The moment at which clocks with that offset show `time`. Any time of the calendar has one, those of its last day too.
#[must_use]
pub fn moment(time: DateTime, offset: Offset) -> Timestamp {
    let since_epoch = time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0));
    let seconds = since_epoch.as_secs() - i64::from(offset.seconds());
    Timestamp(seconds * 1000 + i64::from(since_epoch.subsec_nanos().div_euclid(1_000_000)))
}

/// What `time` means in `zone`.
#[must_use]
pub fn meaning(time: DateTime, zone: &TimeZone) -> Meaning {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => Meaning::Once(moment(time, offset)),
        AmbiguousOffset::Gap { before, .. } => Meaning::Skipped(moment(time, before)),
        AmbiguousOffset::Fold { before, after } => Meaning::Twice(moment(time, before), moment(time, after)),
    }
}

/// The moment at which the clocks of `local` show `time` and call their zone by that abbreviation.
#[must_use]
pub fn called(time: DateTime, abbreviation: &str, local: &TimeZone) -> Option<Timestamp> {
    let is_called = |at: &Timestamp| {
        let at = jiff::Timestamp::from_millisecond(at.0);
        at.is_ok_and(|at| local.to_offset_info(at).abbreviation().eq_ignore_ascii_case(abbreviation))
    };
    match meaning(time, local) {
        Meaning::Once(at) => Some(at).filter(is_called),
        Meaning::Skipped(_) => None,
        Meaning::Twice(first, second) => [first, second].into_iter().find(is_called),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_zones_as_logs_and_people_write_them() {
        for (text, seconds) in [
            ("Z", 0),
            ("z", 0),
            ("utc", 0),
            ("GMT", 0),
            ("+01:00", 3600),
            ("+0100", 3600),
            ("+01", 3600),
            ("-0330", -12_600),
            ("+05:45", 20_700),
            ("-00:00", 0),
            ("+01:02:03", 3723),
            ("EST", -18_000),
            ("CEST", 7200),
        ] {
            let Some(Zone::Known(found)) = zone(text) else { panic!("{text}") };
            assert_eq!(found.to_fixed_offset().unwrap().seconds(), seconds, "{text}");
        }
        for text in ["CST", "ist", "BST"] {
            assert_eq!(zone(text), Some(Zone::Unclear), "{text}");
        }
        for text in
            ["", "+", "+1", "+1:00", "+01:60", "+9900", "+01000", "UTC+1", "Nowhere/At_All", "INFO", "../etc", "é"]
        {
            assert_eq!(zone(text), None, "{text}");
        }
    }

    #[test]
    fn finds_where_a_zone_ends() {
        for (text, zone) in [
            ("Z x", "Z"),
            ("+01:00] x", "+01:00"),
            ("+0100x", "+0100"),
            ("+01: x", "+01"),
            ("Europe/Berlin x", "Europe/Berlin"),
            ("Etc/GMT+1", "Etc/GMT+1"),
            ("EST5EDT", "EST5EDT"),
            ("UTC+01:00", "UTC+01"),
            ("UTC - x", "UTC"),
            (" UTC", ""),
            ("+010", ""),
            ("", ""),
        ] {
            assert_eq!(&text[..zone_end(text.as_bytes())], zone, "{text}");
        }
    }

    #[test]
    fn a_local_time_is_once_twice_or_never() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let at = |text: &str| text.parse::<DateTime>().unwrap();
        let hour = 3_600_000;
        let fold = moment(at("2026-10-25T00:30"), Offset::UTC);
        assert_eq!(meaning(at("2026-10-25T02:30"), &berlin), Meaning::Twice(fold, fold + hour));
        assert_eq!(called(at("2026-10-25T02:30"), "CEST", &berlin), Some(fold));
        assert_eq!(called(at("2026-10-25T02:30"), "cet", &berlin), Some(fold + hour));
        assert_eq!(called(at("2026-10-25T02:30"), "IST", &berlin), None);
        let gap = moment(at("2026-03-29T01:30"), Offset::UTC);
        assert_eq!(meaning(at("2026-03-29T02:30"), &berlin), Meaning::Skipped(gap));
        assert_eq!(
            meaning(at("9999-12-31T23:59:59.999"), &TimeZone::UTC),
            Meaning::Once(Timestamp(253_402_300_799_999))
        );
        assert_eq!(moment(at("1969-12-31T23:59:59.9995"), Offset::UTC), Timestamp(-1));
    }
}
