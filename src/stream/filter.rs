//! Which records are wanted, by what is in them: regular expressions over value, key and headers.
//!
//! A record is tested in the batch's own bytes, before it is formatted. A part that is null matches nothing.
//!
//! Where every match begins with one of a few words, those are searched for in all of a batch at once, and the records
//! before the first of them are not looked at: `grep` over 100-byte records takes half the time by that.

use crate::format::record::Record;
use crate::units::Offset;
use regex::bytes::Regex;
use regex_automata::util::prefilter::Prefilter;
use regex_automata::{MatchKind, Span};

/// The part of a record that a [`Test`] looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The value.
    Value,
    /// The key.
    Key,
    /// Each header of that name.
    Header(Vec<u8>),
}

/// One condition on a record.
#[derive(Debug, Clone)]
pub struct Test {
    /// Where to look.
    pub part: Part,
    /// What must be found there; `None` asks only for the part to be there.
    pub pattern: Option<Regex>,
    /// Whether the records are wanted that do not match.
    pub inverted: bool,
}

impl Test {
    /// That a part is exactly this.
    ///
    /// # Errors
    /// When it is too long to be compared with.
    pub fn exactly(part: Part, bytes: &[u8]) -> Result<Self, regex::Error> {
        let escaped: String = bytes.iter().map(|byte| format!(r"\x{byte:02x}")).collect();
        let pattern = Some(Regex::new(&format!(r"(?-u)\A{escaped}\z"))?);
        Ok(Self { part, pattern, inverted: false })
    }

    #[inline]
    fn passes(&self, record: &Record<'_>) -> bool {
        let found = |bytes: &[u8]| self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(bytes));
        let matched = match &self.part {
            Part::Value => record.value.is_some_and(found),
            Part::Key => record.key.is_some_and(found),
            Part::Header(name) => record
                .headers
                .iter()
                .any(|(key, value)| key == name && (self.pattern.is_none() || value.is_some_and(found))),
        };
        matched != self.inverted
    }
}

/// The conditions that a record must all meet.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    tests: Vec<Test>,
    /// Finds what a record must hold somewhere.
    words: Option<Prefilter>,
    /// The bytes that were searched last, and where in them the next word is.
    found: Option<((Offset, usize), usize)>,
}

impl Filter {
    /// All of `tests`.
    #[must_use]
    pub fn new(tests: Vec<Test>) -> Self {
        let patterns = tests.iter().filter(|test| !test.inverted).filter_map(|test| test.pattern.as_ref());
        let words = patterns.filter_map(words).next();
        Self { tests, words, found: None }
    }

    /// Whether every record passes.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.tests.is_empty()
    }

    /// Whether a record passes.
    #[inline]
    #[must_use]
    pub fn passes(&self, record: &Record<'_>) -> bool {
        self.tests.iter().all(|test| test.passes(record))
    }

    /// Whether there is anything to search a batch for. Without, no time is spent on it for each record.
    #[inline]
    #[must_use]
    pub const fn searches(&self) -> bool {
        self.words.is_some()
    }

    /// A position in the plain records of a batch before which no record passes, looking from `start` on; `bytes`
    /// tells `records` from others.
    #[inline]
    pub fn next_candidate(&mut self, records: &[u8], start: usize, bytes: (Offset, usize)) -> usize {
        let Some(words) = &self.words else { return start };
        match self.found {
            Some((searched, position)) if searched == bytes && position >= start => position,
            _ => {
                let found = words.find(records, Span::from(start..records.len()));
                let position = found.map_or(records.len(), |found| found.start);
                self.found = Some((bytes, position));
                position
            }
        }
    }
}

/// What finds the words that every match begins with, where searching for them is fast.
fn words(pattern: &Regex) -> Option<Prefilter> {
    let parsed = regex_syntax::ParserBuilder::new().utf8(false).build().parse(pattern.as_str()).ok()?;
    Prefilter::from_hir_prefix(MatchKind::LeftmostFirst, &parsed).filter(Prefilter::is_fast)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{NewRecord, RecordSpan};
    use crate::units::Timestamp;

    fn passes(tests: &[(Part, Option<&str>, bool)]) -> bool {
        let headers: &[(&[u8], Option<&[u8]>)] =
            &[(b"source", Some(b"web")), (b"empty", Some(b"")), (b"none", None), (b"source", Some(b"app"))];
        let new = NewRecord { timestamp: Timestamp(0), key: None, value: Some(b"one \xff two\nthree"), headers };
        let mut bytes = Vec::new();
        new.write(0, 0, &mut bytes);
        let tests = tests.iter().map(|(part, pattern, inverted)| Test {
            part: part.clone(),
            pattern: pattern.map(|pattern| Regex::new(pattern).unwrap()),
            inverted: *inverted,
        });
        Filter::new(tests.collect()).passes(&RecordSpan::parse(&bytes, 0).unwrap().record(&bytes))
    }

    #[test]
    fn tests_any_part_and_its_opposite() {
        let header = |name: &str| Part::Header(name.as_bytes().to_vec());
        for (part, pattern, expected) in [
            (Part::Value, Some("two$"), false),
            (Part::Value, Some("(?m)two$"), true),
            (Part::Value, Some("three$"), true),
            (Part::Value, Some(r"(?-u)\xff"), true),
            (Part::Value, Some("TWO"), false),
            (Part::Value, Some("(?i)TWO"), true),
            (Part::Key, Some(""), false),
            (header("source"), None, true),
            (header("source"), Some("^app$"), true),
            (header("source"), Some("^ap$"), false),
            (header("sourc"), None, false),
            (header("empty"), Some("^$"), true),
            (header("none"), None, true),
            (header("none"), Some(""), false),
        ] {
            assert_eq!(passes(&[(part.clone(), pattern, false)]), expected, "{part:?} {pattern:?}");
            assert_eq!(passes(&[(part.clone(), pattern, true)]), !expected, "not {part:?} {pattern:?}");
        }
    }

    #[test]
    fn candidates_are_where_a_match_can_begin() {
        let filter = |pattern: &str, inverted| {
            Filter::new(vec![Test { part: Part::Value, pattern: Some(Regex::new(pattern).unwrap()), inverted }])
        };
        let records = b"an error, an ERROR, an error";
        for (pattern, positions) in [
            ("error", &[3, 23, 28][..]),
            ("error$", &[3, 23, 28]),
            ("^err.*r", &[3, 23, 28]),
            ("(?i)error", &[3, 13, 23, 28]),
            ("nowhere", &[28]),
            // Nothing is known of where these begin.
            (".*error", &[0]),
            ("", &[0]),
        ] {
            let mut filter = filter(pattern, false);
            let mut start = 0;
            for position in positions {
                assert_eq!(filter.next_candidate(records, start, (Offset(7), 0)), *position, "{pattern}");
                assert_eq!(filter.next_candidate(records, start, (Offset(7), 0)), *position, "{pattern}, again");
                start = position + 1;
            }
            let expected = if pattern == "nowhere" { 5 } else { 0 };
            assert_eq!(filter.next_candidate(b"error", 0, (Offset(8), 0)), expected, "{pattern}, another batch");
        }
        assert_eq!(filter("error", true).next_candidate(records, 1, (Offset(7), 0)), 1);
    }

    #[test]
    fn every_test_has_to_pass() {
        assert!(passes(&[]));
        assert!(passes(&[(Part::Value, Some("one"), false), (Part::Key, Some("."), true)]));
        assert!(!passes(&[(Part::Value, Some("one"), false), (Part::Key, Some("."), false)]));
    }
}
