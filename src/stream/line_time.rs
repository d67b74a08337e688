//! The time in a line: at its start, where a pattern finds it, or in a field of its JSON object.

use super::json_field;
use crate::units::{Passes, TimeFormat, TimeState, Timestamp, UnknownZone};
use regex::bytes::{CaptureLocations, Regex};

/// Where a line has its time.
#[derive(Debug, Clone)]
pub enum TimePlace {
    /// At its start.
    Start,
    /// In the first group of a pattern, or in all of it where it has no group.
    Match(Regex),
    /// In a field of that name of the object that the line is; text or a number.
    Field(String),
}

/// Reads the times of lines.
#[derive(Debug, Clone)]
pub struct LineTime {
    place: TimePlace,
    format: TimeFormat,
}

/// What is kept from line to line.
#[derive(Debug, Clone, Default)]
pub struct LineTimeState {
    times: TimeState,
    groups: Option<CaptureLocations>,
    text: Vec<u8>,
    /// The time of the last record of this input that had one.
    last: Option<Timestamp>,
    untimed: u64,
    in_seconds: u64,
}

/// Why a record has no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Neither it nor one before it has one; what it lacks.
    NoTime(String),
    /// Its zone is not known.
    UnknownZone(UnknownZone),
}

impl LineTimeState {
    /// Records to come have no time of one before them.
    pub const fn next_input(&mut self) {
        self.last = None;
        self.times.next_input();
    }

    /// How many records had the time of one before them.
    #[must_use]
    pub const fn untimed(&self) -> u64 {
        self.untimed
    }

    /// Notes the timestamp that came with a record, in milliseconds.
    pub fn note(&mut self, timestamp: Timestamp) {
        self.in_seconds += u64::from(timestamp.may_be_in_seconds());
    }

    /// How many records came with a timestamp that may be in seconds.
    #[must_use]
    pub const fn in_seconds(&self) -> u64 {
        self.in_seconds
    }

    /// How local times that come twice were read.
    #[must_use]
    pub const fn passes(&self) -> Passes {
        self.times.passes()
    }
}

impl LineTime {
    /// Times of that format, in that place.
    #[must_use]
    pub const fn new(place: TimePlace, format: TimeFormat) -> Self {
        Self { place, format }
    }

    /// The time of a record: its own, or that of the one before it, as the later lines of a stack trace have it.
    ///
    /// # Errors
    /// When neither has one, or its zone is not known.
    pub fn of_record(&self, line: &[u8], now: Timestamp, state: &mut LineTimeState) -> Result<Timestamp, Refusal> {
        let own = self.read(line, now, state).map_err(Refusal::UnknownZone)?;
        match own.filter(|own| *own >= Timestamp::NONE) {
            Some(own) => state.last = Some(own),
            None => state.untimed += u64::from(state.last.is_some()),
        }
        state.last.ok_or_else(|| Refusal::NoTime(self.lacks()))
    }

    /// What a line without a time lacks, for messages: `does not begin with a time as "%F" has it`.
    fn lacks(&self) -> String {
        let format = self.format.as_str();
        match &self.place {
            TimePlace::Start => format!("does not begin with a time as {format:?} has it"),
            TimePlace::Match(pattern) => {
                format!("has no time as {format:?} has it where {:?} matches", pattern.as_str())
            }
            TimePlace::Field(name) => format!("has no JSON field {name:?} with a time as {format:?} has it"),
        }
    }

    fn read(&self, line: &[u8], now: Timestamp, state: &mut LineTimeState) -> Result<Option<Timestamp>, UnknownZone> {
        let text = match &self.place {
            TimePlace::Start => Some(line),
            TimePlace::Match(pattern) => {
                let groups = state.groups.get_or_insert_with(|| pattern.capture_locations());
                let found = pattern.captures_read(groups, line);
                let group = found.and_then(|whole| {
                    groups.get(1).or(Some((whole.start(), whole.end())).filter(|_| groups.len() == 1))
                });
                group.map(|(start, end)| &line[start..end])
            }
            TimePlace::Field(name) => {
                state.text.clear();
                json_field::read(line, name, &mut state.text).then_some(&*state.text)
            }
        };
        match text {
            Some(text) => self.format.read(text, now, &mut state.times),
            None => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::LocalZone;
    use jiff::tz::TimeZone;

    fn read(place: TimePlace, format: &str, line: &str) -> Option<i64> {
        let format = TimeFormat::new(format, &LocalZone::new(|| TimeZone::UTC)).unwrap();
        let mut state = LineTimeState::default();
        let found = LineTime::new(place, format).read(line.as_bytes(), Timestamp(1_700_000_000_000), &mut state);
        found.unwrap().map(|it| it.0)
    }

    #[test]
    fn a_pattern_finds_the_time_anywhere_in_a_line() {
        for (pattern, format, line, expected) in [
            ("time=\"([^\"]+)\"", "rfc3339", "level=info time=\"2023-11-14T22:13:20Z\" msg=x", Some(1_700_000_000_000)),
            (r"\d{10}\.\d+", "epoch", "a 1700000000.25 b", Some(1_700_000_000_250)),
            (r"a|(\d{13})", "epoch-ms", "a 1700000000000", None),
            (r"\d{13}", "epoch-ms", "b", None),
        ] {
            assert_eq!(read(TimePlace::Match(pattern.parse().unwrap()), format, line), expected, "{pattern}");
        }
    }

    #[test]
    fn a_field_of_a_json_line_holds_its_time() {
        for (format, line, expected) in [
            ("rfc3339", r#"{"a":{"ts":1},"ts":"2023-11-14T22:13:20Z","b":[1]}"#, Some(1_700_000_000_000)),
            ("rfc3339", r#"{"ts":"2023-11-14T22:13:20\u005a"}"#, Some(1_700_000_000_000)),
            ("epoch", r#" {"ts" : 1700000000.123}"#, Some(1_700_000_000_123)),
            ("epoch", r#"{"ts":1.7e9}"#, Some(1_700_000_000_000)),
            ("epoch-ms", r#"{"ts":1700000000123}"#, Some(1_700_000_000_123)),
            ("epoch-ms", r#"{"ts":1700000000}"#, None),
            ("epoch-us", r#"{"ts":"1700000000123456"}"#, Some(1_700_000_000_123)),
            ("epoch", r#"{"ts":null}"#, None),
            ("epoch", r#"{"ts":{"x":1}}"#, None),
            ("epoch", r#"{"other":1700000000}"#, None),
            ("epoch", r#"{"ts":1700000000"#, None),
            ("epoch", "1700000000", None),
        ] {
            assert_eq!(read(TimePlace::Field("ts".into()), format, line), expected, "{line}");
        }
    }
}
