//! Checks topics: their files at the root, the files in their folders, and every partition's log.
//!
//! Nothing is written and nothing is locked. What is wrong is a finding; the rest is checked all the same.

use super::checkpoints::{CheckpointFile, OffsetRows};
use super::{LogDir, LogDirError, Origin, Result, Topic, TopicPattern};
use crate::disk::atomic;
use crate::format::properties::PartitionMetadata;
use crate::storage::segments;
use crate::storage::verify::{Checked, Finding, Problem, Subject, Verification};
use crate::units::{Offset, TopicName, TopicPartition};
use std::path::PathBuf;

/// The file in a partition's folder that names its topic's id.
pub(super) const PARTITION_METADATA_FILE: &str = "partition.metadata";
/// A larger one is none.
pub(super) const PARTITION_METADATA_SIZE_MAX: usize = 4096;

/// A partition, and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPartition {
    /// Which.
    pub partition: TopicPartition,
    /// What was found.
    pub checked: Checked,
}

/// Topics whose log ends are fixed, ready to be checked.
pub struct TopicVerification<'a> {
    /// What is wrong with the files at the root.
    pub root_findings: Vec<Finding>,
    partitions: Vec<(TopicPartition, Vec<Finding>)>,
    logs: Verification<'a>,
}

impl TopicVerification<'_> {
    /// How many bytes of logs there are to be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.logs.bytes()
    }

    /// Leaves out the other partitions, and the files at the root.
    #[must_use]
    pub(super) fn only(mut self, partition: &TopicPartition) -> Self {
        let kept: Vec<bool> = self.partitions.iter().map(|(it, _)| it == partition).collect();
        let mut keep = kept.iter();
        self.partitions.retain(|_| *keep.next().expect("one for each"));
        self.logs.retain(&kept);
        self
    }

    /// Checks them on so many threads; `on_progress` hears of bytes that were read.
    ///
    /// # Errors
    /// When the disk fails in other ways than by refusing to read a file.
    pub fn run(self, threads: usize, on_progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<CheckedPartition>> {
        let logs = self.logs.run(threads, on_progress)?;
        let together = |((partition, findings), log): (_, Checked)| {
            let mut checked = Checked { findings, ..Checked::default() };
            checked.add(log);
            CheckedPartition { partition, checked }
        };
        Ok(self.partitions.into_iter().zip(logs).map(together).collect())
    }
}

fn damaged(path: PathBuf, what: String) -> Finding {
    Finding { path, position: None, offset: None, problem: Problem::DamagedFile { what } }
}

impl LogDir {
    /// Fixes the log ends of the topics that are meant, or of all. See [`Verification::begin`] for `pause`.
    ///
    /// # Errors
    /// When there is no topic that one of them means, or the root cannot be read.
    pub fn begin_verification(&self, patterns: &[TopicPattern], pause: fn()) -> Result<TopicVerification<'_>> {
        let (topics, mut root_findings) = self.topics_to_verify(patterns)?;
        let [recovery_points, log_starts, _, cleaned] = CheckpointFile::ALL.map(|file| match self.offset_rows(file) {
            Ok(rows) => Ok(rows),
            Err(LogDirError::DamagedFile { path, what }) => {
                root_findings.push(damaged(path, what));
                Ok(OffsetRows::default())
            }
            Err(error) => Err(error),
        });
        let (recovery_points, log_starts, cleaned) = (recovery_points?, log_starts?, cleaned?);
        let is_cleaner_known = self.disk.stat(&self.root.join(CheckpointFile::Cleaner.name()))?.is_some();
        let (mut partitions, mut subjects) = (Vec::new(), Vec::new());
        for topic in topics {
            let is_compacted = match topic.origin {
                Origin::TopicFile(_) => topic.log_config().cleanup_policy.compact,
                // Whether a broker's topic is compacted stands in its metadata; what it has cleaned, here.
                Origin::Broker => topic.name.is_internal() || !is_cleaner_known,
            };
            for &number in &topic.partitions {
                let partition = topic.partition(number)?;
                let subject = Subject {
                    path: self.partition_path(&partition),
                    recovery_point: recovery_points.get(&partition),
                    log_start_offset: log_starts.get(&partition),
                    gaps_are_legal: is_compacted || cleaned.get(&partition) > Offset::ZERO,
                };
                let findings = self.check_folder(&topic, &partition, &subject)?;
                if self.disk.stat(&subject.path)?.is_none() {
                    subjects.push(Subject { recovery_point: Offset::ZERO, log_start_offset: Offset::ZERO, ..subject });
                } else {
                    subjects.push(subject);
                }
                partitions.push((partition, findings));
            }
        }
        Ok(TopicVerification { root_findings, partitions, logs: Verification::begin(&*self.disk, subjects, pause)? })
    }

    /// A topic whose file is damaged is checked by its folders.
    fn topics_to_verify(&self, patterns: &[TopicPattern]) -> Result<(Vec<Topic>, Vec<Finding>)> {
        let found = self.find_topics()?;
        let is_meant = |name: &TopicName| patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name));
        let mut findings = Vec::new();
        for (name, error) in found.damaged {
            match error {
                LogDirError::DamagedFile { path, what } if is_meant(&name) => findings.push(damaged(path, what)),
                LogDirError::DamagedFile { .. } => {}
                error => return Err(error),
            }
        }
        let mut topics = found.topics;
        for pattern in patterns {
            if topics.iter().all(|topic| !pattern.matches(&topic.name)) && findings.is_empty() {
                return Err(self.no_topic(pattern));
            }
        }
        topics.retain(|topic| is_meant(&topic.name));
        Ok((topics, findings))
    }

    fn holds_nothing(&self, subject: &Subject) -> Result<bool> {
        Ok(segments::list(&*self.disk, &subject.path)?.iter().all(|segment| segment.size == 0))
    }

    fn check_folder(&self, topic: &Topic, partition: &TopicPartition, subject: &Subject) -> Result<Vec<Finding>> {
        let durable = subject.recovery_point.max(subject.log_start_offset);
        if self.disk.stat(&subject.path)?.is_none() {
            let (path, offset) = (subject.path.clone(), Some(durable));
            let missing = Finding { path, position: None, offset, problem: Problem::MissingFolder };
            return Ok(if durable > Offset::ZERO { vec![missing] } else { Vec::new() });
        }
        let is_folder = self.disk.stat(&subject.path)?.is_some_and(|stat| stat.is_folder);
        let Origin::TopicFile(topic_id) = topic.origin else { return Ok(Vec::new()) };
        if !is_folder {
            // Said by whoever lists it.
            return Ok(Vec::new());
        }
        let path = self.partition_path(partition).join(PARTITION_METADATA_FILE);
        let bytes = atomic::read_small(&*self.disk, &path, PARTITION_METADATA_SIZE_MAX)?;
        let metadata = bytes.filter(|bytes| !bytes.is_empty()).map(|bytes| PartitionMetadata::parse(&bytes));
        Ok(match metadata {
            Some(Ok(metadata)) if metadata.topic_id == topic_id => Vec::new(),
            Some(Err(error)) => vec![damaged(path, error.to_string())],
            // A crash has left it half made, and the next writer completes it.
            None if self.holds_nothing(subject)? => Vec::new(),
            _ => vec![Finding { path, position: None, offset: None, problem: Problem::WrongTopicId }],
        })
    }
}
