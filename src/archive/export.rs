//! Exports topics: what is in them is settled first, then written from front to back.

use super::manifest::MANIFEST_FILE;
use super::writer::ArchiveWriter;
use super::{ArchiveError, ArchivedPartition, ArchivedSegment, ArchivedTopic, Manifest, Result, group_offsets};
use crate::disk::descriptors;
use crate::format::properties::PartitionMetadata;
use crate::logdir::topic::PARTITION_METADATA_FILE;
use crate::logdir::{ImportedEnds, LogDirs, Origin, Partition, Topic};
use crate::storage::file_name::{FileKind, segment_name};
use crate::storage::{CutSegment, LEADER_EPOCH_FILE, LogCut, LogView, StorageError};
use crate::units::{Offset, Timestamp, TopicPartition};
use std::collections::BTreeMap;
use std::io::Write;

/// What is exported of the topics.
#[derive(Debug, Clone)]
pub struct ExportOptions {
    /// From where on.
    pub start: ExportStart,
    /// Whether the committed offsets of groups go along.
    pub with_groups: bool,
}

/// From where on partitions are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportStart {
    /// From the log start offset.
    LogStart,
    /// From the log end offset.
    LogEnd,
    /// From the first record at or after a time.
    Time(Timestamp),
    /// From an offset, where there is one partition.
    At(Offset),
    /// From so many offsets before the end.
    BeforeEnd(i64),
    /// From these, by partition; of the others all.
    ByPartition(BTreeMap<i32, Self>),
}

/// Topics that were cut and wait to be written.
pub struct Export {
    manifest: Manifest,
    cuts: Vec<(TopicPartition, LogCut)>,
}

impl Export {
    /// Settles what is exported: cuts every partition where its last whole batch ends now.
    ///
    /// # Errors
    /// When a topic cannot be read, is corrupt at its end, or does not have the start that is asked for.
    pub fn plan(log_dirs: &LogDirs, topics: &[Topic], options: &ExportOptions) -> Result<Self> {
        let manifest = Manifest { topics: Vec::new(), groups: Vec::new() };
        let mut export = Self { manifest, cuts: Vec::new() };
        let mut ids = Vec::new();
        for topic in topics {
            if topic.origin == Origin::SetAside {
                return Err(ArchiveError::SetAside { folder: topic.name.clone() });
            }
            let topic_id = topic_id(&log_dirs.partitions(topic)?)?;
            ids.push((topic.name.clone(), topic_id));
            if let ExportStart::ByPartition(each) = &options.start {
                each.keys().try_for_each(|&number| topic.partition(number).map(drop))?;
            }
        }
        // Before the cuts: no group is past the end of one.
        if options.with_groups {
            export.manifest.groups = group_offsets::collect(log_dirs, &ids)?;
        }
        let mut open_max = descriptors::room_for(1) / 2;
        for (topic, (_, topic_id)) in topics.iter().zip(ids) {
            let config = topic.known_config();
            let mut partitions = Vec::new();
            for partition in log_dirs.partitions(topic)? {
                let (mut cut, archived) = cut(&partition, topic, options, open_max)?;
                if cut.open_count() > open_max {
                    cut.close()?;
                }
                open_max -= cut.open_count();
                partitions.push(archived);
                export.cuts.push((partition.id().clone(), cut));
            }
            let partition_count = partitions.last().map_or(1, |last| last.partition + 1);
            let name = topic.name.clone();
            export.manifest.topics.push(ArchivedTopic { name, topic_id, config, partition_count, partitions });
        }
        Ok(export)
    }

    /// What it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Bytes of its segments.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.manifest.topics.iter().map(ArchivedTopic::bytes).sum()
    }

    /// Writes it. `on_bytes` is called with how many bytes of segments were written since the last call.
    ///
    /// # Errors
    /// When a segment is corrupt, or was removed before it was read; when the disk fails or the output takes no more. What was
    /// written by then is not a complete export.
    pub fn write(&self, output: impl Write, now: Timestamp, on_bytes: &mut dyn FnMut(u64)) -> Result<()> {
        let mut archive = ArchiveWriter::new(output);
        archive.add(MANIFEST_FILE.to_owned(), &self.manifest.print(), now)?;
        let mut cuts = self.cuts.iter();
        for topic in &self.manifest.topics {
            for archived in &topic.partitions {
                let (partition, cut) = cuts.next().expect("each partition was cut");
                let folder = partition.folder_name();
                if let Some(topic_id) = topic.topic_id {
                    let metadata = PartitionMetadata { version: 0, topic_id }.print();
                    archive.add(format!("{folder}/{PARTITION_METADATA_FILE}"), metadata.as_bytes(), now)?;
                }
                write_small_files(&mut archive, &folder, cut, now)?;
                for (place, segment) in archived.segments.iter().enumerate() {
                    let path = format!("{folder}/{}", segment_name(segment.base_offset, FileKind::Log));
                    let cut = cut.segments().get(place).map(|it| (cut, it));
                    write_segment(&mut archive, path, segment, cut, on_bytes)?;
                }
            }
        }
        archive.finish(now)
    }
}

/// Writes what a partition has beside its segments.
fn write_small_files<W: Write>(
    archive: &mut ArchiveWriter<W>,
    folder: &str,
    cut: &LogCut,
    now: Timestamp,
) -> Result<()> {
    archive.add(format!("{folder}/{LEADER_EPOCH_FILE}"), cut.leader_epochs()?.as_bytes(), now)?;
    for name in cut.side_files()? {
        if let Some(bytes) = cut.side_file(&name)? {
            archive.add(format!("{folder}/{name}"), &bytes, now)?;
        }
    }
    Ok(())
}

/// The topic's id: that of the first partition whose folder is here.
fn topic_id(partitions: &[Partition]) -> Result<Option<uuid::Uuid>> {
    for partition in partitions {
        let topic_id = partition.incarnation()?;
        partition.let_go()?;
        if topic_id.is_some() {
            return Ok(topic_id);
        }
    }
    Ok(None)
}

/// Cuts a partition.
fn cut(
    partition: &Partition,
    topic: &Topic,
    options: &ExportOptions,
    open_max: usize,
) -> Result<(LogCut, ArchivedPartition)> {
    // What a cleaner has done later is more than its row says, never less.
    let first_dirty_offset = partition.first_dirty_offset()?;
    let view = partition.view()?;
    let mut cut = view.cut(open_max)?;
    let start = start(partition, topic, &view, &cut, &options.start)?;
    cut.begin_at(start);
    partition.let_go()?;
    let (log_start_offset, log_end_offset) = (start, cut.log_end_offset());
    let segment =
        |it: &CutSegment| ArchivedSegment { base_offset: it.base_offset, size: it.size, modified: it.modified };
    let mut segments: Vec<ArchivedSegment> = cut.segments().iter().map(segment).collect();
    if segments.is_empty() {
        // A log without a segment would begin at 0.
        segments.push(ArchivedSegment { base_offset: start, size: 0, modified: Timestamp::default() });
    }
    let ends = ImportedEnds { log_start_offset, log_end_offset, first_dirty_offset };
    Ok((cut, ArchivedPartition { partition: partition.id().partition, ends, segments }))
}

/// Where a partition is to begin.
fn start(partition: &Partition, topic: &Topic, view: &LogView, cut: &LogCut, start: &ExportStart) -> Result<Offset> {
    let (log_start_offset, log_end_offset) = (cut.log_start_offset(), cut.log_end_offset());
    let at = |requested: Offset| {
        if (log_start_offset..=log_end_offset).contains(&requested) {
            return Ok(requested);
        }
        let source = StorageError::OffsetOutOfRange { requested, log_start_offset, log_end_offset };
        Err(ArchiveError::Start { partition: partition.id().clone(), source })
    };
    let before_end = |count: i64| Offset(log_end_offset.0.saturating_sub(count)).max(log_start_offset);
    match start {
        ExportStart::LogStart => Ok(log_start_offset),
        ExportStart::LogEnd => Ok(log_end_offset),
        ExportStart::BeforeEnd(count) => Ok(before_end(*count)),
        ExportStart::At(offset) if topic.partitions.len() == 1 => at(*offset),
        ExportStart::At(_) => {
            Err(ArchiveError::OffsetOfWhich { topic: topic.name.clone(), partitions: topic.partitions.len() })
        }
        ExportStart::ByPartition(each) => match each.get(&partition.id().partition) {
            Some(ExportStart::At(offset)) => at(*offset),
            Some(ExportStart::BeforeEnd(count)) => Ok(before_end(*count)),
            Some(ExportStart::LogEnd) => Ok(log_end_offset),
            _ => Ok(log_start_offset),
        },
        ExportStart::Time(time) => {
            let first = if view.has_folder() { view.offset_for_time(*time)? } else { None };
            Ok(first.map_or(log_end_offset, |(offset, _)| offset.clamp(log_start_offset, log_end_offset)))
        }
    }
}

/// Writes a segment batch by batch; an empty one where the cut has none.
fn write_segment<W: Write>(
    archive: &mut ArchiveWriter<W>,
    path: String,
    segment: &ArchivedSegment,
    cut: Option<(&LogCut, &CutSegment)>,
    on_bytes: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut batches = cut.map(|(cut, segment)| cut.batches(segment)).transpose()?;
    let mut member = archive.begin(path, segment.size, segment.modified)?;
    if let Some(batches) = &mut batches {
        while let Some(bytes) = batches.next()? {
            on_bytes(bytes.len() as u64);
            member.write(bytes)?;
        }
    }
    member.end()
}
