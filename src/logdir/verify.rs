//! Checks topics: their files at the root, the files in their folders, and every partition's log; and without a topic named,
//! what a broker goes by at the root.
//!
//! Nothing is written and nothing is locked. What is wrong is a finding; the rest is checked all the same.

use super::broker_root::brokers_topic_id;
use super::partition::topic_id_in;
use super::topic::{PARTITION_METADATA_FILE, topic_file};
use super::witnesses::Witnesses;
use super::{LogDir, LogDirError, LogDirs, Origin, Result, Topic, TopicPattern, nearest};
use crate::disk::Folder;
use crate::format::properties::topic_id_to_text;
use crate::storage::check::{Checked, Finding, Owner, Problem, Subject, Verification};
use crate::storage::{Checkpoints, StorageError, durable_end, segments};
use crate::units::{Offset, Timestamp, TopicName, TopicPartition};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use uuid::Uuid;

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

    /// See [`Verification::as_of`].
    #[must_use]
    pub fn as_of(self, now: Timestamp) -> Self {
        Self { logs: self.logs.as_of(now), ..self }
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

/// What is to be checked, of one log dir after the other.
#[derive(Default)]
struct ToVerify {
    root_findings: Vec<Finding>,
    partitions: Vec<(TopicPartition, Vec<Finding>)>,
    subjects: Vec<Subject>,
}

impl ToVerify {
    fn begin(self, pause: fn()) -> Result<TopicVerification> {
        let Self { root_findings, partitions, subjects } = self;
        Ok(TopicVerification { root_findings, partitions, logs: Verification::begin(subjects, pause)? })
    }
}

impl LogDirs {
    /// Fixes the log ends of the topics and folders that are meant, or of all topics. See [`Verification::begin`] for `pause`.
    ///
    /// # Errors
    /// When there is no topic that one of them means, or a root cannot be read.
    pub fn begin_verification(&self, patterns: &[TopicPattern], pause: fn()) -> Result<TopicVerification> {
        let (mut all, mut topics) = (ToVerify::default(), Vec::new());
        for dir in self.each() {
            topics.push(dir.topics_to_verify(patterns, &mut all.root_findings)?);
        }
        // A topic file is in one of the log dirs.
        let is_elsewhere = |name: &std::ffi::OsStr| {
            let stat = |dir: &LogDir| dir.root.stat(name.to_str()?).ok().flatten();
            self.each().iter().any(|dir| stat(dir).is_some_and(|stat| !stat.is_folder))
        };
        all.root_findings
            .retain(|it| it.problem != Problem::MissingTopicFile || !it.path.file_name().is_some_and(is_elsewhere));
        for pattern in patterns {
            if let TopicPattern::Name(name) = pattern
                && let Some((home, folder)) = self.set_aside(name)?
            {
                topics[home].push(folder);
            }
        }
        if self.each().len() > 1 {
            all.root_findings.extend(self.partitions_twice(patterns)?);
        }
        refuse_unknown(self.each(), patterns, topics.iter().flatten(), &all.root_findings)?;
        let mut witnesses = Vec::new();
        for dir in self.each() {
            witnesses.push(Witnesses::read(dir, pause, |finding| all.root_findings.push(finding))?);
        }
        // It is in one of a broker's log dirs, and is of all.
        let metadata = witnesses.iter().find_map(|it| it.broker.metadata().cloned());
        witnesses.iter_mut().for_each(|it| it.broker.share(metadata.as_ref()));
        for ((dir, topics), witnesses) in self.each().iter().zip(topics).zip(witnesses) {
            let is_elsewhere = |partition: &TopicPartition| {
                self.each().iter().any(|dir| dir.root.stat(&partition.folder_name()).is_ok_and(|stat| stat.is_some()))
            };
            let missed = witnesses.missed_partitions(dir)?.into_iter().filter(|it| !is_elsewhere(it)).collect();
            dir.add_to_verify(&mut all, patterns, (topics, missed), |_| true, witnesses)?;
        }
        all.begin(pause)
    }

    fn partitions_twice(&self, patterns: &[TopicPattern]) -> Result<Vec<Finding>> {
        let damaged = self.find_topics()?.damaged.into_iter().filter(|(name, _)| is_meant(patterns, name));
        let finding = |(_, error)| match error {
            LogDirError::PartitionTwice { one: path, other } => {
                Some(Finding { path, position: None, offset: None, problem: Problem::PartitionTwice { other } })
            }
            _ => None,
        };
        Ok(damaged.filter_map(finding).collect())
    }
}

/// Whether a topic is among those that are meant; without a pattern, each is.
fn is_meant(patterns: &[TopicPattern], name: &TopicName) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(name))
}

/// Refuses patterns that mean none of the topics, unless what was found wrong at the root may be why.
fn refuse_unknown<'a>(
    dirs: &[LogDir],
    patterns: &[TopicPattern],
    topics: impl Iterator<Item = &'a Topic> + Clone,
    root_findings: &[Finding],
) -> Result<()> {
    if !root_findings.is_empty() {
        return Ok(());
    }
    if topics.clone().next().is_none() {
        nearest::refuse_partition_folder(dirs)?;
    }
    match patterns.iter().find(|pattern| topics.clone().all(|topic| !pattern.matches(&topic.name))) {
        Some(pattern) => Err(nearest::no_topic(dirs, pattern)),
        None => Ok(()),
    }
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
        is_wanted: impl Fn(&TopicPartition) -> bool,
        pause: fn(),
    ) -> Result<TopicVerification> {
        let mut all = ToVerify::default();
        let topics = self.topics_to_verify(patterns, &mut all.root_findings)?;
        refuse_unknown(slice::from_ref(self), patterns, topics.iter(), &all.root_findings)?;
        let witnesses = Witnesses::read(self, pause, |finding| all.root_findings.push(finding))?;
        let missed = witnesses.missed_partitions(self)?;
        self.add_to_verify(&mut all, patterns, (topics, missed), is_wanted, witnesses)?;
        all.begin(pause)
    }

    fn add_to_verify(
        &self,
        all: &mut ToVerify,
        patterns: &[TopicPattern],
        (mut topics, missed): (Vec<Topic>, Vec<TopicPartition>),
        is_wanted: impl Fn(&TopicPartition) -> bool,
        mut witnesses: Witnesses,
    ) -> Result<()> {
        if patterns.is_empty() {
            all.root_findings.append(&mut witnesses.broker.findings);
            all.root_findings.extend(self.check_topics_of_broker(&witnesses.broker, &topics)?);
        }
        for missed in missed.into_iter().filter(|it| is_meant(patterns, &it.topic)) {
            let place = topics.iter().position(|topic| topic.name == missed.topic).unwrap_or_else(|| {
                topics.push(Topic::of_broker(missed.topic.clone(), Vec::new()));
                topics.len() - 1
            });
            topics[place].add_partition(missed.partition);
        }
        for topic in topics {
            let ids = self.topic_ids(&topic, &witnesses);
            for partition in topic.all_partitions().filter(|it| is_wanted(it)) {
                let checkpoints = self.promised(&topic, &partition, witnesses.checkpoints(&partition))?;
                all.subjects.push(Subject {
                    root: Arc::clone(&self.root),
                    folder_name: topic.folder_name(&partition),
                    checkpoints,
                    decompressed_size_max: topic.log_config().decompressed_size_max(),
                    gaps: witnesses.gaps(&topic, &partition),
                    acknowledgement: witnesses.acknowledgement(&topic),
                });
                let mut findings = self.check_folder(&topic, &partition, checkpoints, &witnesses)?;
                findings.extend(self.check_topic_id(&partition, &ids));
                all.partitions.push((partition, findings));
            }
        }
        Ok(())
    }

    /// What a partition's folder promises with the checkpoint files. One that cannot be read promises nothing: the walk says
    /// what keeps it from being read.
    fn promised(&self, topic: &Topic, partition: &TopicPartition, of_files: Checkpoints) -> Result<Checkpoints> {
        let topic_id = match topic.origin {
            Origin::TopicFile(topic_id) => Some(topic_id),
            Origin::Cluster(_) | Origin::Broker | Origin::SetAside => None,
        };
        let promised = self.root.open_folder(&topic.folder_name(partition)).map_err(StorageError::from);
        match promised.and_then(|folder| durable_end::promised(&*folder, topic_id, of_files)) {
            Err(StorageError::Disk(_)) => Ok(of_files),
            promised => Ok(promised?),
        }
    }

    /// The topics that are meant. One whose file is damaged is checked by its folders.
    fn topics_to_verify(&self, patterns: &[TopicPattern], findings: &mut Vec<Finding>) -> Result<Vec<Topic>> {
        let found = self.find_topics()?;
        for (name, error) in found.damaged {
            match error {
                LogDirError::DamagedFile { path, what } if is_meant(patterns, &name) => {
                    findings.push(damaged(path, what))
                }
                LogDirError::Disk(error) if error.is_unreadable() && is_meant(patterns, &name) => {
                    let (path, what) = (error.path.clone(), format!("{error}: {}", error.source));
                    findings.push(Finding {
                        path,
                        position: None,
                        offset: None,
                        problem: Problem::Unreadable { what },
                    });
                }
                LogDirError::DamagedFile { .. } => {}
                LogDirError::Disk(error) if error.is_unreadable() => {}
                error => return Err(error),
            }
        }
        let mut topics = found.topics;
        topics.retain(|topic| is_meant(patterns, &topic.name));
        for topic in topics.iter_mut().filter(|topic| matches!(topic.origin, Origin::Cluster(_))) {
            // Those that are missed are found by what checkpoint files say of them.
            let is_here = |partition: &TopicPartition| Ok(self.root.stat(&partition.folder_name())?.is_some());
            let here = topic.all_partitions().filter_map(|it| match is_here(&it) {
                Ok(here) => here.then_some(Ok(it.partition)),
                Err(error) => Some(Err(error)),
            });
            topic.partitions = here.collect::<Result<_>>()?;
        }
        for topic in &topics {
            let path = self.root().join(topic_file(&topic.name));
            if findings.iter().all(|it| it.path != path) && self.id_of_lost_file(topic)?.is_some() {
                findings.push(Finding { path, position: None, offset: None, problem: Problem::MissingTopicFile });
            }
        }
        Ok(topics)
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
        let owner = if is_ours { Owner::Kdir } else { Owner::Broker };
        let durable = checkpoints.acknowledged().max(checkpoints.log_start_offset);
        let missing = |offset, problem| vec![Finding { path: path.clone(), position: None, offset, problem }];
        match self.root.stat(&topic.folder_name(partition))? {
            None if let Some(folder) = self.stray_of(partition)? => {
                return Ok(missing(None, Problem::SetAside { folder }));
            }
            // Deleted since it was listed.
            None if is_ours && self.find_topic(&topic.name)?.is_none_or(|now| now.origin != topic.origin) => {
                return Ok(Vec::new());
            }
            None if durable > Offset::ZERO || (is_ours && witnesses.is_known(partition)) => {
                return Ok(missing(Some(durable), Problem::MissingFolder { owner }));
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
        let is_brokers = topic.is_of_broker();
        let found = if is_brokers { brokers_topic_id(&*folder) } else { topic_id_in(&*folder) };
        let found = match found {
            Err(LogDirError::DamagedFile { what, .. }) if is_brokers => {
                return Ok(wrong(Problem::StopsABroker { what }));
            }
            Err(LogDirError::DamagedFile { what, .. }) => return Ok(wrong(Problem::DamagedFile { what })),
            found => found?,
        };
        if let Origin::TopicFile(topic_id) = topic.origin {
            if witnesses.is_known(partition) && folder.list()?.is_empty() {
                return Ok(missing(Some(durable), Problem::MissingFolder { owner }));
            }
            // A crash has left it half made, and the next writer completes it.
            let is_half_made = found.is_none() && holds_nothing(&*folder)?;
            if found != Some(topic_id) && !is_half_made {
                return Ok(wrong(Problem::WrongTopicId));
            }
        }
        let mut why = witnesses.broker.why_not_served(partition, found);
        if why.is_none()
            && is_brokers
            && found.is_none()
            && witnesses.broker.needs_topic_ids()
            && !holds_nothing(&*folder)?
        {
            why = Some("the file is missing, and by meta.properties the broker knows topics by their ids alone".into());
        }
        Ok(why.map_or(Vec::new(), |what| wrong(Problem::NotServed { what })))
    }

    /// The topic ids in the folders of a broker's topic, by partition, where nothing says which is right.
    fn topic_ids(&self, topic: &Topic, witnesses: &Witnesses) -> Vec<(i32, Uuid)> {
        if topic.origin != Origin::Broker || witnesses.broker.metadata().is_some() {
            return Vec::new();
        }
        let id = |partition: TopicPartition| {
            let folder = self.root.open_folder(&partition.folder_name()).ok()?;
            // What is wrong with the file is found when the partition is checked.
            Some((partition.partition, topic_id_in(&*folder).ok()??))
        };
        topic.all_partitions().filter_map(id).collect()
    }

    /// A partition that has not the topic id that most partitions of the topic have.
    fn check_topic_id(&self, partition: &TopicPartition, ids: &[(i32, Uuid)]) -> Option<Finding> {
        let own = ids.iter().find(|(number, _)| *number == partition.partition)?.1;
        let (other, right) = ids.iter().find(|(_, id)| *id != own)?;
        if 2 * ids.iter().filter(|(_, id)| *id == own).count() > ids.len() {
            return None;
        }
        let (path, other) = (self.partition_path(partition).join(PARTITION_METADATA_FILE), *other);
        let problem = Problem::TopicIdsDiffer { own: topic_id_to_text(own), other, of_other: topic_id_to_text(*right) };
        Some(Finding { path, position: None, offset: None, problem })
    }
}

fn holds_nothing(folder: &dyn Folder) -> Result<bool> {
    Ok(segments::list(folder)?.iter().all(|segment| segment.size == 0))
}
