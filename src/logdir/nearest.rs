//! What a name that no topic has was meant to be.

use super::{FoundTopics, LogDir, LogDirError, Result, TopicPattern};
use crate::units::{SetAside, TopicName, TopicPartition};
use std::path::PathBuf;

/// What a name that no topic has was perhaps meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meant {
    /// A topic whose name looks much like it.
    Topic(TopicName),
    /// A partition, by the name of its folder.
    Partition(TopicPartition),
}

/// The error where none of the log dirs has a topic.
pub(super) fn topic_not_found(dirs: &[LogDir], name: &TopicName) -> LogDirError {
    // What keeps others from being listed is not what was asked.
    let found: Vec<FoundTopics> = dirs.iter().map(|dir| dir.find_topics().unwrap_or_default()).collect();
    if found.iter().all(|it| it.topics.is_empty())
        && let Err(error) = refuse_partition_folder(dirs)
    {
        return error;
    }
    for (dir, found) in dirs.iter().zip(&found) {
        if found.set_aside.iter().any(|it| it.folder == *name) {
            return LogDirError::SetAsideFolder { path: dir.root().join(name.as_str()) };
        }
    }
    let partition = TopicPartition::parse_folder_name(name.as_str());
    let is_meant =
        |it: &&SetAside| it.is_of(name) || partition.as_ref().is_some_and(|partition| it.is_of(&partition.topic));
    let folders: Vec<SetAside> = found.iter().flat_map(|it| &it.set_aside).filter(is_meant).cloned().collect();
    let (topic, log_dirs) = (name.clone(), roots(dirs));
    if !folders.is_empty() {
        return LogDirError::TopicSetAside { topic, log_dirs, folders };
    }
    let topics = || found.iter().flat_map(|it| &it.topics);
    let has =
        |it: &TopicPartition| topics().any(|topic| topic.name == it.topic && topic.partition(it.partition).is_ok());
    let meant = match partition.filter(has) {
        Some(partition) => Some(Meant::Partition(partition)),
        None => nearest(name.as_str(), topics().map(|topic| topic.name.as_str()))
            .and_then(|name| name.parse().ok())
            .map(Meant::Topic),
    };
    LogDirError::TopicNotFound { topic, log_dirs, meant }
}

/// The error where no topic is meant.
pub(super) fn no_topic(dirs: &[LogDir], pattern: &TopicPattern) -> LogDirError {
    match pattern {
        TopicPattern::Name(topic) => topic_not_found(dirs, topic),
        TopicPattern::Glob(pattern) => match refuse_partition_folder(dirs) {
            Err(error) => error,
            Ok(()) => LogDirError::NoTopicMatches { pattern: pattern.as_str().to_owned(), log_dirs: roots(dirs) },
        },
    }
}

/// Refuses the folder of a partition in the place of a log dir. Asked where there is no topic.
pub(super) fn refuse_partition_folder(dirs: &[LogDir]) -> Result<()> {
    match dirs.iter().find(|dir| dir.is_partition_folder()) {
        Some(dir) => Err(LogDirError::PartitionFolder { path: dir.root().to_owned() }),
        None => Ok(()),
    }
}

fn roots(dirs: &[LogDir]) -> Vec<PathBuf> {
    dirs.iter().map(|dir| dir.root().to_owned()).collect()
}

/// The candidate that looks most like `word`, if it looks much like it: one slip, and one more for every four letters.
pub(super) fn nearest<T: AsRef<str>>(word: &str, candidates: impl Iterator<Item = T>) -> Option<T> {
    let distance = |candidate: &T| strsim::osa_distance(word, candidate.as_ref());
    let (distance, candidate) = candidates.map(|it| (distance(&it), it)).min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + word.chars().count() / 4).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_looks_much_like_it_and_nothing_else() {
        let names = ["orders", "orders-eu", "app", "retention.ms"];
        for (word, expected) in [
            ("oders", Some("orders")),
            ("odrers", Some("orders")),
            ("orders_eu", Some("orders-eu")),
            ("ap", Some("app")),
            ("retention", Some("retention.ms")),
            ("retain", None),
            ("retention_ms", Some("retention.ms")),
            ("web", None),
        ] {
            assert_eq!(nearest(word, names.into_iter()), expected, "{word}");
        }
        assert_eq!(nearest("x", std::iter::empty::<&str>()), None);
    }
}
