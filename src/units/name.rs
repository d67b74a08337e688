//! Names of topics and partitions, valid by construction.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Kafka's limit for a topic name.
const TOPIC_NAME_MAX: usize = 249;

/// Why a text is no topic name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopicNameError {
    /// It has no character.
    #[error("a topic name has at least one character")]
    Empty,
    /// It is too long.
    #[error("a topic name has at most {TOPIC_NAME_MAX} characters, and this one has {length}")]
    TooLong {
        /// How many it has.
        length: usize,
    },
    /// It is a name that every folder has.
    #[error("a topic name is not . or ..")]
    Dots,
    /// It holds a character that Kafka does not allow.
    #[error("a topic name has only the characters a-z A-Z 0-9 . _ - and not {character:?}")]
    Character {
        /// The first such character.
        character: char,
    },
}

/// The name of a topic: 1 to 249 of `a-z A-Z 0-9 . _ -`, not `.` or `..`. Source: Kafka's `Topic.validate`. Only the
/// [folder of a set-aside partition](super::SetAside), read like a topic, has a name of up to 255.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(pub(super) Arc<str>);

impl TopicName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the topic is one of Kafka's own, by the convention that their names begin with two underscores.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }

    /// Whether Kafka's metrics would take the two for one: names that differ only in `.` and `_`.
    #[must_use]
    pub fn collides_with(&self, other: &Self) -> bool {
        let plain = |byte| if byte == b'.' { b'_' } else { byte };
        self != other && self.0.bytes().map(plain).eq(other.0.bytes().map(plain))
    }
}

impl FromStr for TopicName {
    type Err = TopicNameError;

    fn from_str(text: &str) -> Result<Self, TopicNameError> {
        let is_legal = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        match text {
            "" => Err(TopicNameError::Empty),
            "." | ".." => Err(TopicNameError::Dots),
            _ => match text.chars().find(|character| !is_legal(character)) {
                Some(character) => Err(TopicNameError::Character { character }),
                None if text.len() > TOPIC_NAME_MAX => Err(TopicNameError::TooLong { length: text.len() }),
                None => Ok(Self(text.into())),
            },
        }
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: TopicName,
    /// The partition's number, not negative.
    pub partition: i32,
}

impl TopicPartition {
    /// The name of its folder: topic, dash, number.
    #[must_use]
    pub fn folder_name(&self) -> String {
        self.to_string()
    }

    /// The partition whose folder has this name; `None` for any other name. Only the form that a broker writes counts:
    /// `app-01` and `app-+1` are read by it, and would be a second folder for `app-1`.
    #[must_use]
    pub fn parse_folder_name(name: &str) -> Option<Self> {
        let (topic, number) = name.rsplit_once('-')?;
        let partition: i32 = number.parse().ok()?;
        if partition < 0 || partition.to_string() != number {
            return None;
        }
        Some(Self { topic: topic.parse().ok()?, partition })
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_name_is_kafkas() {
        let longest = "a".repeat(249);
        for name in ["a", "A.b_c-9", "...", "-", &longest] {
            assert_eq!(name.parse::<TopicName>().map(|it| it.to_string()), Ok(name.to_owned()));
        }
        for (name, error) in [
            ("", TopicNameError::Empty),
            (".", TopicNameError::Dots),
            ("..", TopicNameError::Dots),
            ("a/b", TopicNameError::Character { character: '/' }),
            ("ü", TopicNameError::Character { character: 'ü' }),
            ("a b", TopicNameError::Character { character: ' ' }),
            (&"a".repeat(250), TopicNameError::TooLong { length: 250 }),
        ] {
            assert_eq!(name.parse::<TopicName>(), Err(error), "{name}");
        }
    }

    #[test]
    fn dots_and_underscores_collide() {
        let name = |text: &str| text.parse::<TopicName>().unwrap();
        assert!(name("a.b").collides_with(&name("a_b")));
        assert!(!name("a.b").collides_with(&name("a.b")));
        assert!(!name("a.b").collides_with(&name("a-b")));
        assert!(name("__consumer_offsets").is_internal() && !name("_x").is_internal());
    }

    #[test]
    fn folder_names_go_there_and_back() {
        for (folder, topic, partition) in [("app-0", "app", 0), ("a-b-12", "a-b", 12), ("--2147483647", "-", i32::MAX)]
        {
            let parsed = TopicPartition::parse_folder_name(folder).unwrap();
            assert_eq!((parsed.topic.as_str(), parsed.partition), (topic, partition));
            assert_eq!(parsed.folder_name(), folder);
        }
        for folder in [
            "app",
            "-0",
            "app-",
            "app-01",
            "app-+1",
            "app--1x",
            "app-2147483648",
            "lost+found",
            "app-0.0123456789abcdef0123456789abcdef-delete",
            ".-0",
            "a/b-0",
        ] {
            assert_eq!(TopicPartition::parse_folder_name(folder), None, "{folder}");
        }
    }
}
