//! Which records are wanted, by what is in them: regular expressions over value, key and headers.
//!
//! A record is tested in the batch's own bytes, before it is formatted. A part that is null matches nothing.

use crate::format::record::Record;
use regex::bytes::Regex;

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
pub struct Filter(Vec<Test>);

impl Filter {
    /// All of `tests`.
    #[must_use]
    pub const fn new(tests: Vec<Test>) -> Self {
        Self(tests)
    }

    /// Whether every record passes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a record passes.
    #[inline]
    #[must_use]
    pub fn passes(&self, record: &Record<'_>) -> bool {
        self.0.iter().all(|test| test.passes(record))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::{NewRecord, RecordSpan};

    fn passes(tests: &[(Part, Option<&str>, bool)]) -> bool {
        let headers: &[(&[u8], Option<&[u8]>)] =
            &[(b"source", Some(b"web")), (b"empty", Some(b"")), (b"none", None), (b"source", Some(b"app"))];
        let new = NewRecord { timestamp_ms: 0, key: None, value: Some(b"one \xff two\nthree"), headers };
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
    fn every_test_has_to_pass() {
        assert!(passes(&[]));
        assert!(passes(&[(Part::Value, Some("one"), false), (Part::Key, Some("."), true)]));
        assert!(!passes(&[(Part::Value, Some("one"), false), (Part::Key, Some("."), false)]));
    }
}
