//! Names of folders that a broker, or a deletion, has set aside.

use super::{TopicName, TopicPartition};
use std::fmt;

/// The most bytes in the name of a folder: where a broker cuts the topic, so that the rest fits.
pub const FOLDER_NAME_MAX: usize = 255;
const ID_DIGITS: usize = 32;

/// Why a partition's folder has another name than the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetAsideKind {
    /// The metadata of the cluster did not know the partition when the broker started. Never served, never deleted.
    Stray,
    /// A copy that was being made in this log dir, of a partition in another one.
    Future,
    /// The partition was deleted, and the folder waits to be removed.
    Deleting,
}

impl SetAsideKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stray, Self::Future, Self::Deleting];

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stray => "stray",
            Self::Future => "future",
            Self::Deleting => "deleting",
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Stray => "-stray",
            Self::Future => "-future",
            Self::Deleting => "-delete",
        }
    }
}

/// A folder `<topic>-<partition>.<32 hex digits>-<stray, future or delete>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its name. Commands that read take it for the name of a topic, which may be longer than other topics' names.
    pub folder: TopicName,
    /// Why it has that name.
    pub kind: SetAsideKind,
    /// The hex digits.
    pub id: String,
    /// The partition that it is of; its topic may be cut: see [`SetAside::is_of`].
    pub partition: TopicPartition,
}

impl SetAside {
    /// Whether a broker takes a folder of this name for one that was set aside. It asks less of the hex digits and of the topic
    /// than [`SetAside::parse`], which reads only what a broker writes.
    #[must_use]
    pub fn is_accepted(name: &str) -> bool {
        let rest = SetAsideKind::ALL.into_iter().find_map(|kind| name.strip_suffix(kind.suffix()));
        let id = rest.and_then(|rest| rest.rsplit_once('.')).map(|(_, id)| id);
        id.is_some_and(|id| id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
    }

    /// The folder with this name; `None` for any other name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (kind, rest) = SetAsideKind::ALL.into_iter().find_map(|it| Some((it, name.strip_suffix(it.suffix())?)))?;
        let (partition, id) = rest.rsplit_once('.')?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if id.len() != ID_DIGITS || !id.bytes().all(is_digit) || name.len() > FOLDER_NAME_MAX {
            return None;
        }
        let partition = TopicPartition::parse_folder_name(partition)?;
        Some(Self { folder: TopicName(name.into()), kind, id: id.to_owned(), partition })
    }

    /// The name that a partition's folder gets, with 32 hex digits that no other has: the topic is cut where it is too long.
    #[must_use]
    pub fn name(partition: &TopicPartition, kind: SetAsideKind, id: &str) -> String {
        let tail = format!("-{}.{id}{}", partition.partition, kind.suffix());
        let topic = partition.topic.as_str();
        format!("{}{tail}", &topic[..topic.len().min(FOLDER_NAME_MAX - tail.len())])
    }

    /// Whether the topic's name may be longer than the folder's name shows.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.folder.as_str().len() == FOLDER_NAME_MAX
    }

    /// Whether it can be of that topic. Of topics whose names differ only where they are cut, it can be of each.
    #[must_use]
    pub fn is_of(&self, topic: &TopicName) -> bool {
        let full = TopicPartition { topic: topic.clone(), partition: self.partition.partition };
        Self::name(&full, self.kind, &self.id) == self.folder.as_str()
    }
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.folder, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_name_says_why_and_of_which_partition() {
        for (suffix, kind) in
            [("stray", SetAsideKind::Stray), ("future", SetAsideKind::Future), ("delete", SetAsideKind::Deleting)]
        {
            let name = format!("a.b-c-12.{ID}-{suffix}");
            let parsed = SetAside::parse(&name).unwrap();
            assert_eq!((parsed.kind, parsed.partition.to_string().as_str()), (kind, "a.b-c-12"));
            assert_eq!((parsed.folder.as_str(), parsed.id.as_str()), (name.as_str(), ID));
            assert_eq!(SetAside::name(&parsed.partition, kind, ID), name);
        }
        for name in [
            "a-0".to_owned(),
            format!("a-0.{ID}-strayed"),
            format!("a-0.{ID}"),
            format!("a-0.{}-stray", &ID[1..]),
            format!("a-0.{}-stray", ID.to_uppercase()),
            format!("a-0.{}g-stray", &ID[1..]),
            format!("a-01.{ID}-stray"),
            format!("a.{ID}-stray"),
            format!("a/b-0.{ID}-stray"),
            format!("{}-0.{ID}-stray", "a".repeat(215)),
        ] {
            assert_eq!(SetAside::parse(&name), None, "{name}");
        }
    }

    #[test]
    fn a_long_topic_is_cut_and_known_all_the_same() {
        for length in [1, 3, 214, 215, 249] {
            let topic: TopicName = "t".repeat(length).parse().unwrap();
            let partition = TopicPartition { topic: topic.clone(), partition: 0 };
            let name = SetAside::name(&partition, SetAsideKind::Stray, ID);
            assert!(name.len() <= FOLDER_NAME_MAX);
            let parsed = SetAside::parse(&name).unwrap();
            assert!(parsed.is_of(&topic), "{name}");
            assert!(!parsed.is_of(&"other".parse().unwrap()), "{name}");
            let longer = format!("{topic}t").parse::<TopicName>();
            assert_eq!(longer.is_ok_and(|longer| parsed.is_of(&longer)), (214..249).contains(&length), "{name}");
        }
    }
}
