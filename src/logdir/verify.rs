//! Checks topics: their files at the root, the files in their folders, and every partition's log; and without a topic named,
//! what a broker goes by at the root.
//!
//! Nothing is written and nothing is locked. What is wrong is a finding; the rest is checked all the same.

use super::broker_root::brokers_topic_id;
use super::partition::topic_id_in;
use super::topic::PARTITION_METADATA_FILE;
use super::witnesses::Witnesses;
use super::{LogDir, LogDirError, Origin, Result, Topic, TopicPattern};
use crate::disk::Folder;
use crate::storage::check::{Checked, Finding, Problem, Subject, Verification};
use crate::storage::{Checkpoints, StorageError, durable_end, segments};
use crate::units::{Offset, TopicName, TopicPartition};
use std::path::PathBuf;
use std::sync::Arc;

/// A partition, and what was found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedPartition {
    /// Which.
    pub partition: TopicPartition,
    /// What was found.
    pub checked: Checked,
}

/// What a check of topics has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFindings {
    /// In the files at the root.
    pub root: Vec<Finding>,
    /// In each partition.
    pub partitions: Vec<CheckedPartition>,
}

impl TopicFindings {
    /// Every finding, with the partition that it is in; first those at the root.
    pub fn all(&self) -> impl Iterator<Item = (Option<&TopicPartition>, &Finding)> {
        let of_partitions = self
            .partitions
            .iter()
            .flat_map(|it| it.checked.findings.iter().map(move |finding| (Some(&it.partition), finding)));
        self.root.iter().map(|finding| (None, finding)).chain(of_partitions)
    }
}

/// Topics whose log ends are fixed, ready to be checked.
pub struct TopicVerification {
    root_findings: Vec<Finding>,
    partitions: Vec<(TopicPartition, Vec<Finding>)>,
    logs: Verification,
}

impl TopicVerification {
    /// How many bytes of logs there are to be read.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.logs.bytes()
    }

    /// Checks them on so many threads; `on_progress` hears of bytes that were read.
    ///
    /// # Errors
    /// When the disk fails in other ways than by refusing to read a file.
    pub fn run(self, threads: usize, on_progress: &(dyn Fn(u64) + Sync)) -> Result<TopicFindings> {
        let logs = self.logs.run(threads, on_progress)?;
        let together = |((partition, findings), log): (_, Checked)| {
            let mut checked = Checked { findings, ..Checked::default() };
            checked.add(log);
            CheckedPartition { partition, checked }
        };
        let partitions = self.partitions.into_iter().zip(logs).map(together).collect();
        Ok(TopicFindings { root: self.root_findings, partitions })
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
    pub fn begin_verification(&self, patterns: &[TopicPattern], pause: fn()) -> Result<TopicVerification> {
        self.begin_verification_where(patterns, |_| true, pause)
    }

    /// Fixes the log end of one partition, and looks at no other, nor at the files at the root.
    pub(super) fn begin_verification_of(&self, partition: &TopicPartition) -> Result<TopicVerification> {
        let topic = TopicPattern::Name(partition.topic.clone());
        let verification = self.begin_verification_where(&[topic], |it| it == partition, || {})?;
        Ok(TopicVerification { root_findings: Vec::new(), ..verification })
    }

    fn begin_verification_where(
        &self,
        patterns: &[TopicPattern],
        is_meant: impl Fn(&TopicPartition) -> bool,
        pause: fn(),
    ) -> Result<TopicVerification> {
        let (mut topics, mut root_findings) = self.topics_to_verify(patterns)?;
        let mut witnesses = Witnesses::read(self, pause, |error| {
            if let LogDirError::DamagedFile { path, what } = error {
                root_findings.push(damaged(path, what));
            }
        })?;
        if patterns.is_empty() {
            root_findings.append(&mut witnesses.broker.findings);
            root_findings.extend(self.check_topics_of_broker(&witnesses.broker, &topics)?);
        }
        for missed in witnesses.missed_partitions(self)?.into_iter().filter(|it| is_named(patterns, &it.topic)) {
            let place = topics.iter().position(|topic| topic.name == missed.topic).unwrap_or_else(|| {
                topics.push(Topic::of_broker(missed.topic.clone(), Vec::new()));
                topics.len() - 1
            });
            topics[place].add_partition(missed.partition);
        }
        let (mut partitions, mut subjects) = (Vec::new(), Vec::new());
        for topic in topics {
            for partition in topic.all_partitions().filter(|it| is_meant(it)) {
                let checkpoints = self.promised(&topic, &partition, witnesses.checkpoints(&partition))?;
                subjects.push(Subject {
                    root: Arc::clone(&self.root),
                    folder_name: partition.folder_name(),
                    checkpoints,
                    decompressed_size_max: topic.log_config().decompressed_size_max(),
                    gaps: witnesses.gaps(&topic, &partition),
                    acknowledgement: witnesses.acknowledgement(&topic),
                });
                let findings = self.check_folder(&topic, &partition, checkpoints, &witnesses)?;
                partitions.push((partition, findings));
            }
        }
        Ok(TopicVerification { root_findings, partitions, logs: Verification::begin(subjects, pause)? })
    }

    /// What a partition's folder promises with the checkpoint files. One that cannot be read promises nothing: the walk says
    /// what keeps it from being read.
    fn promised(&self, topic: &Topic, partition: &TopicPartition, of_files: Checkpoints) -> Result<Checkpoints> {
        let topic_id = match topic.origin {
            Origin::TopicFile(topic_id) => Some(topic_id),
            Origin::Broker => None,
        };
        let promised = self.root.open_folder(&partition.folder_name()).map_err(StorageError::from);
        match promised.and_then(|folder| durable_end::promised(&*folder, topic_id, of_files)) {
            Err(StorageError::Disk(_)) => Ok(of_files),
            promised => Ok(promised?),
        }
    }

    /// A topic whose file is damaged is checked by its folders.
    fn topics_to_verify(&self, patterns: &[TopicPattern]) -> Result<(Vec<Topic>, Vec<Finding>)> {
        let found = self.find_topics()?;
        let is_meant = |name: &TopicName| is_named(patterns, name);
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

    fn check_folder(
        &self,
        topic: &Topic,
        partition: &TopicPartition,
        checkpoints: Checkpoints,
        witnesses: &Witnesses,
    ) -> Result<Vec<Finding>> {
        let path = self.partition_path(partition);
        let is_ours = matches!(topic.origin, Origin::TopicFile(_));
        let durable = checkpoints.acknowledged().max(checkpoints.log_start_offset);
        match self.root.stat(&partition.folder_name())? {
            None if durable > Offset::ZERO || (is_ours && witnesses.is_known(partition)) => {
                return Ok(vec![Finding {
                    path,
                    position: None,
                    offset: Some(durable),
                    problem: Problem::MissingFolder,
                }]);
            }
            Some(stat) if stat.is_folder => {}
            // What is no folder is named by whoever lists it.
            _ => return Ok(Vec::new()),
        }
        let folder = match self.root.open_folder(&partition.folder_name()) {
            Ok(folder) => folder,
            // The walk says what keeps it from being read.
            Err(_) => return Ok(Vec::new()),
        };
        let path = path.join(PARTITION_METADATA_FILE);
        let wrong = |problem: Problem| vec![Finding { path: path.clone(), position: None, offset: None, problem }];
        let is_brokers = topic.origin == Origin::Broker;
        let found = if is_brokers { brokers_topic_id(&*folder) } else { topic_id_in(&*folder) };
        let found = match found {
            Err(LogDirError::DamagedFile { what, .. }) if is_brokers => {
                return Ok(wrong(Problem::StopsABroker { what }));
            }
            Err(LogDirError::DamagedFile { what, .. }) => return Ok(wrong(Problem::DamagedFile { what })),
            found => found?,
        };
        if let Origin::TopicFile(topic_id) = topic.origin {
            // A crash has left it half made, and the next writer completes it.
            let is_half_made = found.is_none() && holds_nothing(&*folder)?;
            if found != Some(topic_id) && !is_half_made {
                return Ok(wrong(Problem::WrongTopicId));
            }
        }
        Ok(witnesses
            .broker
            .why_set_aside(partition, found)
            .map_or(Vec::new(), |what| wrong(Problem::SetAside { what })))
    }
}

fn is_named(patterns: &[TopicPattern], name: &TopicName) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
}

fn holds_nothing(folder: &dyn Folder) -> Result<bool> {
    Ok(segments::list(folder)?.iter().all(|segment| segment.size == 0))
}
