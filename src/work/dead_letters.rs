//! Where records go that are given up: a topic of their own, with what happened to them in headers.
//!
//! The headers and the name `dlq.TOPIC` are those of KIP-1191. A dead letter is durable before its record is given up: who is
//! killed between the two leaves a letter that the next worker finds, and another one where it is too far back.

use super::{Result, WorkError};
use crate::format::batch::{BatchBuilder, compressor};
use crate::format::compression::{Codec, Compression};
use crate::format::record::{NewRecord, Record};
use crate::logdir::config::TopicConfig;
use crate::logdir::{Created, LogDir, NewTopic, Partition, Topic};
use crate::storage::{self, Advance, Durability, LogReader, LogWriter, RecordReader, SyncFor};
use crate::units::{GroupId, Offset, Timestamp, TopicName, TopicPartition};
use std::collections::BTreeMap;

/// KIP-1191 demands it of topics that a broker puts dead letters into.
const PREFIX: &str = "dlq.";
/// What the headers may take beside what the record has.
const HEADROOM: i64 = 64 << 10;
const MESSAGE_MAX: usize = 1 << 10;
/// How far back a letter of a worker that has died is looked for.
const LOOK_BACK: i64 = 1000;
const CHUNK: usize = 256 << 10;
const HEADERS: [&[u8]; 6] = [
    b"__dlq.errors.topic",
    b"__dlq.errors.partition",
    b"__dlq.errors.offset",
    b"__dlq.errors.group",
    b"__dlq.errors.delivery.count",
    b"__dlq.errors.message",
];

/// Refuses a topic that would not keep every record of another one as it is.
fn check(topic: &TopicName, source: &Topic, letters: &Topic) -> Result<()> {
    let (of_source, config) = (source.log_config(), letters.log_config());
    let refused = |why| Err(WorkError::UnfitDeadLetters { topic: topic.clone(), letters: letters.name.clone(), why });
    if config.cleanup_policy.compact {
        return refused("it is compacted, which would remove some of them");
    }
    if config.max_message_bytes < of_source.max_message_bytes {
        return refused("its max.message.bytes is smaller");
    }
    Ok(())
}

/// Which record is given up, and why.
pub(super) struct Letter<'a> {
    pub(super) of: &'a TopicPartition,
    pub(super) offset: Offset,
    pub(super) attempts: i16,
    pub(super) why: &'a str,
}

/// The topics that records go to.
pub(super) struct DeadLetters {
    log_dir: LogDir,
    group: GroupId,
    /// By the topic that records are from.
    names: BTreeMap<TopicName, TopicName>,
    open: BTreeMap<TopicName, Vec<OpenPartition>>,
}

struct OpenPartition {
    partition: Partition,
    writer: Option<LogWriter>,
}

impl DeadLetters {
    /// Finds out where the records of topics go, which must have room for them: `to`, or a topic for each.
    pub(super) fn find(log_dir: &LogDir, group: &GroupId, topics: &[Topic], to: Option<&TopicName>) -> Result<Self> {
        let mut names = BTreeMap::new();
        for source @ Topic { name: topic, .. } in topics {
            let name = match to {
                Some(name) => name.clone(),
                None => match format!("{PREFIX}{topic}").parse() {
                    Ok(name) => name,
                    Err(why) => return Err(WorkError::NoDeadLetterName { topic: topic.clone(), why }),
                },
            };
            if topics.iter().any(|it| it.name == name) {
                return Err(WorkError::OwnDeadLetters { topic: name });
            }
            if let Some(letters) = log_dir.find_topic(&name)? {
                check(topic, source, &letters)?;
            }
            names.insert(topic.clone(), name);
        }
        Ok(Self { log_dir: log_dir.clone(), group: group.clone(), names, open: BTreeMap::new() })
    }

    /// The topic that records of a topic go to.
    pub(super) fn name_of(&self, topic: &TopicName) -> Option<&TopicName> {
        self.names.get(topic)
    }

    /// Appends a letter. It is durable after [`DeadLetters::sync`].
    pub(super) fn put(&mut self, letter: &Letter<'_>, record: &Record<'_>, now: Timestamp) -> Result<()> {
        let facts = self.facts(letter);
        let mut headers: Vec<(&[u8], Option<&[u8]>)> = record.headers.iter().collect();
        headers.extend(HEADERS.iter().zip(&facts).map(|(&name, fact)| (name, Some(fact.as_slice()))));
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: now, key: record.key, value: record.value, headers: &headers });
        let OpenPartition { partition, writer } = self.partition_for(letter.of)?;
        let guard = partition.guard()?;
        let writer = match writer {
            Some(writer) => writer,
            None => writer.insert(LogWriter::open(&guard, Durability::Synced, now)?),
        };
        let limit = guard.config().batch_size_max();
        // One that its producer has compressed may fit only so.
        let codec = if builder.size() > limit { Codec::Zstd } else { Codec::None };
        let mut compressor = compressor(Compression { codec, level: None });
        let batch = builder.finish(compressor.as_mut(), usize::MAX).expect("memory takes what is compressed");
        writer.append(&guard, &mut [batch], now)?;
        Ok(())
    }

    fn facts(&self, letter: &Letter<'_>) -> [Vec<u8>; 6] {
        let mut end = letter.why.len().min(MESSAGE_MAX);
        while !letter.why.is_char_boundary(end) {
            end -= 1;
        }
        [
            letter.of.topic.as_str().into(),
            letter.of.partition.to_string().into_bytes(),
            letter.offset.0.to_string().into_bytes(),
            self.group.as_str().into(),
            letter.attempts.to_string().into_bytes(),
            letter.why.as_bytes()[..end].into(),
        ]
    }

    /// Whether a worker that has died has put this letter, as far as the last of them say.
    pub(super) fn has(&mut self, letter: &Letter<'_>) -> Result<bool> {
        let facts = self.facts(letter);
        let Some(name) = self.names.get(&letter.of.topic) else { return Ok(false) };
        if self.log_dir.find_topic(name)?.is_none() {
            return Ok(false);
        }
        let view = self.partition_for(letter.of)?.partition.view()?;
        let from = Offset(view.log_end_offset()?.0 - LOOK_BACK).max(view.log_start_offset());
        let mut log = LogReader::new(view, CHUNK);
        log.seek(from);
        let mut reader = RecordReader::new(log);
        loop {
            match reader.advance()? {
                Advance::Record => {
                    let record = reader.record();
                    let is = |place: usize| {
                        record
                            .headers
                            .iter()
                            .any(|(name, value)| name == HEADERS[place] && value == Some(&facts[place]))
                    };
                    if (0..4).all(is) {
                        return Ok(true);
                    }
                }
                Advance::LogStartPassed { .. } => {}
                Advance::End => return Ok(false),
            }
        }
    }

    fn partition_for(&mut self, of: &TopicPartition) -> Result<&mut OpenPartition> {
        let name = self.names.get(&of.topic).expect("every topic that is worked has its dead letters").clone();
        if !self.open.contains_key(&name) {
            let topic = self.topic(&name, &of.topic)?;
            let partitions = self.log_dir.partitions(&topic)?;
            let open = partitions.into_iter().map(|partition| OpenPartition { partition, writer: None });
            self.open.insert(name.clone(), open.collect());
        }
        let partitions = self.open.get_mut(&name).expect("it was opened above");
        let place = of.partition as usize % partitions.len().max(1);
        Ok(&mut partitions[place])
    }

    fn topic(&self, name: &TopicName, of: &TopicName) -> Result<Topic> {
        if let Some(topic) = self.log_dir.find_topic(name)? {
            return Ok(topic);
        }
        let source = self.log_dir.topic(of)?;
        let size_max = i64::try_from(source.log_config().max_message_bytes).unwrap_or(i64::from(i32::MAX));
        let size_max = size_max.saturating_add(HEADROOM).min(i64::from(i32::MAX));
        let mut config = TopicConfig::default();
        config.set("max.message.bytes", &size_max.to_string()).expect("a size is one");
        match self.log_dir.declare_topic(&NewTopic { name: name.clone(), partitions: 1, config })? {
            Created::New(topic) | Created::Existing(topic) => Ok(topic),
        }
    }

    /// Makes letters durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        for open in self.open.values().flatten() {
            if let Some(writer) = &open.writer {
                storage::sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
            }
        }
        Ok(())
    }

    /// Ends the writing.
    pub(super) fn end(&mut self, now: Timestamp) -> Result<()> {
        for open in self.open.values_mut().flatten() {
            if let Some(mut writer) = open.writer.take() {
                open.partition.close(&mut writer, now)?;
            }
        }
        Ok(())
    }
}
