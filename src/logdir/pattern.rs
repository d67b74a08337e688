//! Topics by name or by pattern.

use super::nearest::no_topic;
use super::{FoundTopics, LogDir, Result, Topic};
use crate::units::name::TopicNameError;
use crate::units::{SetAside, TopicName};
use glob::Pattern;
use std::collections::HashSet;
use std::slice;
use std::str::FromStr;

/// The name of a topic, or a pattern as a shell has it: `*` any characters, `?` one, `[abc]` one of these, `[!abc]` none of
/// these.
///
/// As a shell's pattern passes over hidden files, one that does not begin with `_` passes over Kafka's internal topics
/// (`__consumer_offsets`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicPattern {
    /// One topic.
    Name(TopicName),
    /// All that match.
    Glob(Pattern),
}

/// A text that is neither a topic name nor a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicPatternError {
    /// No name, and without any character that would make it a pattern.
    #[error(transparent)]
    Name(#[from] TopicNameError),
    /// A pattern that cannot be read.
    #[error("{text:?} is not a pattern: {what}")]
    Glob {
        /// The pattern.
        text: String,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl FromStr for TopicPattern {
    type Err = TopicPatternError;

    fn from_str(text: &str) -> std::result::Result<Self, TopicPatternError> {
        if !text.contains(['*', '?', '[']) {
            // One of a folder that was set aside may be longer than those of topics.
            let set_aside = SetAside::parse(text).map(|it| it.folder);
            return Ok(Self::Name(set_aside.map_or_else(|| text.parse(), Ok)?));
        }
        let what = |error: glob::PatternError| TopicPatternError::Glob { text: text.to_owned(), what: error.msg };
        Pattern::new(text).map(Self::Glob).map_err(what)
    }
}

impl TopicPattern {
    /// Whether a topic of that name is meant.
    #[must_use]
    pub fn matches(&self, name: &TopicName) -> bool {
        match self {
            Self::Name(only) => only == name,
            Self::Glob(pattern) => {
                let is_passed_over = name.is_internal() && !pattern.as_str().starts_with('_');
                !is_passed_over && pattern.matches(name.as_str())
            }
        }
    }
}

impl LogDir {
    /// The topics that are meant, each once: those of a pattern by name, in the order of the patterns.
    ///
    /// # Errors
    /// When there is none for one of them, or one that is meant cannot be read.
    pub fn matching_topics(&self, patterns: &[TopicPattern]) -> Result<Vec<Topic>> {
        matching(patterns, slice::from_ref(self), |name| self.topic(name), || self.find_topics())
    }
}

/// The topics that are meant in `dirs`: `topic` has one by name, and `find_topics` all.
pub(super) fn matching(
    patterns: &[TopicPattern],
    dirs: &[LogDir],
    topic: impl Fn(&TopicName) -> Result<Topic>,
    find_topics: impl Fn() -> Result<FoundTopics>,
) -> Result<Vec<Topic>> {
    let mut matching: Vec<Topic> = Vec::new();
    let mut names = HashSet::new();
    for pattern in patterns {
        if let TopicPattern::Name(name) = pattern {
            matching.extend(names.insert(name.clone()).then(|| topic(name)).transpose()?);
            continue;
        }
        let found = find_topics()?;
        if let Some((_, error)) = found.damaged.into_iter().find(|(name, _)| pattern.matches(name)) {
            return Err(error);
        }
        let mut topics = found.topics.into_iter().filter(|topic| pattern.matches(&topic.name)).peekable();
        if topics.peek().is_none() {
            return Err(no_topic(dirs, pattern));
        }
        matching.extend(topics.filter(|topic| names.insert(topic.name.clone())));
    }
    Ok(matching)
}
