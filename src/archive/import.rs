//! Imports topics from an export: all that are wanted, each whole, or none.

use super::manifest::{MANIFEST_FILE, MANIFEST_SIZE_MAX};
use super::reader::{Member, read_members};
use super::{
    ArchiveError, ArchivedGroup, ArchivedPartition, ArchivedTopic, ImportedGroups, Manifest, Result, group_offsets,
};
use crate::logdir::topic::PARTITION_METADATA_FILE;
use crate::logdir::{ImportedEnds, LogDir, LogDirError, NewTopic, PartitionImport, TopicImport};
use crate::storage::clean::Watch;
use crate::storage::file_name::{FileKind, segment_name};
use crate::storage::{LEADER_EPOCH_FILE, VerbatimLog};
use crate::units::{Offset, Timestamp, TopicName, TopicPartition};
use std::io::Read;
use uuid::Uuid;

/// A larger file beside the segments is none.
const SMALL_FILE_MAX: usize = 64 << 20;

/// What is imported.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// These topics; all that are there where none is named.
    pub topics: Vec<TopicName>,
    /// The name that the one topic gets, in place of its own.
    pub rename: Option<TopicName>,
    /// Whether the committed offsets of groups are imported.
    pub with_groups: bool,
}

/// A topic that was imported.
#[derive(Debug)]
pub struct ImportedTopic {
    /// As it is in the file.
    pub archived: ArchivedTopic,
    /// Its name now.
    pub name: TopicName,
    /// Its id now.
    pub topic_id: Uuid,
    /// What became of the groups that have committed offsets of it.
    pub groups: ImportedGroups,
}

impl ImportedTopic {
    /// The partitions that the file does not have, which are empty now.
    pub fn missing_partitions(&self) -> impl Iterator<Item = i32> {
        let has = |number: &i32| self.archived.partitions.iter().any(|it| it.partition == *number);
        (0..self.archived.partition_count).filter(move |number| !has(number))
    }
}

/// Imports topics. They appear when every member of the input was compared with its checksum and all is durable; the offsets of
/// groups are committed after that.
///
/// # Errors
/// When a topic is there already, the input is truncated, altered or no export, or the disk fails. Nothing was imported then,
/// unless what failed is the very last step: a topic that can be seen is whole.
pub fn import(
    log_dir: &LogDir,
    input: impl Read,
    options: &ImportOptions,
    now: Timestamp,
    watch: &mut Watch<'_>,
) -> Result<Vec<ImportedTopic>> {
    let mut import =
        Import { log_dir, options, now, watch, groups: Vec::new(), topics: Vec::new(), place: Place::default() };
    let imported = import.run(input);
    let topics = std::mem::take(&mut import.topics);
    if let Err(error) = imported {
        // What cannot be removed now is removed as after a crash.
        topics.into_iter().filter_map(|topic| topic.import).for_each(|import| drop(import.abandon()));
        return Err(error);
    }
    let groups = if options.with_groups { &import.groups[..] } else { &[] };
    let imported = topics.into_iter().filter_map(|topic| {
        let import = topic.import?;
        Some((topic.archived, import.name().clone(), import.topic_id()))
    });
    // From here on nothing of ours has the topic files locked.
    let imported: Vec<(ArchivedTopic, TopicName, Uuid)> = imported.collect();
    let restored = imported.into_iter().map(|(archived, name, topic_id)| {
        let groups = group_offsets::restore(log_dir, groups, &archived, (&name, topic_id), now);
        ImportedTopic { archived, name, topic_id, groups }
    });
    Ok(restored.collect())
}

/// An import that goes on.
struct Import<'a, 'b> {
    log_dir: &'a LogDir,
    options: &'a ImportOptions,
    now: Timestamp,
    watch: &'a mut Watch<'b>,
    groups: Vec<ArchivedGroup>,
    topics: Vec<Topic>,
    place: Place,
}

/// A topic of the file; `import` is none where it is not wanted.
struct Topic {
    archived: ArchivedTopic,
    import: Option<TopicImport>,
}

/// The partition whose members come next, and how many of its segments have come.
#[derive(Default)]
struct Place {
    topic: usize,
    partition: usize,
    segments: usize,
}

impl Import<'_, '_> {
    fn run(&mut self, input: impl Read) -> Result<()> {
        let mut has_manifest = false;
        read_members(input, &mut |member| {
            self.refuse_stopped()?;
            if std::mem::replace(&mut has_manifest, true) { self.take(member) } else { self.begin(member) }
        })?;
        self.refuse_incomplete()?;
        self.finish()
    }

    fn refuse_stopped(&self) -> Result<()> {
        if (self.watch.is_stopped)() { Err(ArchiveError::Stopped) } else { Ok(()) }
    }

    /// Reads the manifest and begins the topics.
    fn begin(&mut self, member: &mut Member<'_>) -> Result<()> {
        if member.path() != MANIFEST_FILE {
            let what = format!("it begins with {}, not with {MANIFEST_FILE}", member.path());
            return Err(ArchiveError::NotAnExport { what });
        }
        let manifest = Manifest::parse(&member.read_all(MANIFEST_SIZE_MAX)?)?;
        let Self { options, log_dir, .. } = self;
        let names = || manifest.topics.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
        if let Some(topic) = options.topics.iter().find(|name| manifest.topic(name).is_none()) {
            return Err(ArchiveError::NotInFile { topic: topic.clone(), topics: names() });
        }
        let is_wanted = |name: &TopicName| options.topics.is_empty() || options.topics.contains(name);
        let wanted: Vec<TopicName> = names().into_iter().filter(is_wanted).collect();
        if options.rename.is_some() && wanted.len() != 1 {
            return Err(ArchiveError::OneNameForSeveral { topics: wanted });
        }
        let name_of = |topic: &ArchivedTopic| options.rename.clone().unwrap_or_else(|| topic.name.clone());
        // Each is refused before anything is made.
        for topic in manifest.topics.iter().filter(|topic| is_wanted(&topic.name)) {
            if log_dir.find_topic(&name_of(topic))?.is_some() {
                return Err(LogDirError::TopicExists { topic: name_of(topic) }.into());
            }
        }
        self.groups = manifest.groups;
        for archived in manifest.topics {
            let mut import = None;
            if is_wanted(&archived.name) {
                let (name, partitions) = (name_of(&archived), archived.partition_count);
                let new = NewTopic { name, partitions, config: archived.config.clone().unwrap_or_default() };
                let topic_id = archived.topic_id.filter(|_| options.rename.is_none());
                import = Some(log_dir.begin_import(&new, topic_id)?);
            }
            self.topics.push(Topic { archived, import });
        }
        Ok(())
    }

    /// Takes a member of a partition.
    fn take(&mut self, member: &mut Member<'_>) -> Result<()> {
        let unknown =
            |member: &Member<'_>| ArchiveError::altered(member.path(), "it is not a member that the export has");
        let path = member.path().to_owned();
        let Some((folder, name)) = path.split_once('/') else { return Err(unknown(member)) };
        while self.current().is_some_and(|(partition, _)| partition.folder_name() != folder) {
            self.pass_partition()?;
        }
        let Some((_, archived)) = self.current() else { return Err(unknown(member)) };
        let (number, start) = (archived.partition, archived.ends.log_start_offset);
        let next = archived.segments.get(self.place.segments).copied();
        let staged = match &self.topics[self.place.topic].import {
            Some(import) => Some(import.partition(number, start)?),
            None => None,
        };
        match next {
            Some(next) if segment_name(next.base_offset, FileKind::Log) == name => {
                if next.size != member.size() {
                    let what = format!("it has {} bytes in place of {}", member.size(), next.size);
                    return Err(ArchiveError::altered(&path, what));
                }
                self.place.segments += 1;
                self.take_segment(member, staged.as_ref(), next.base_offset, next.modified)
            }
            _ if name == PARTITION_METADATA_FILE || name == LEADER_EPOCH_FILE || VerbatimLog::is_side_file(name) => {
                take_small(member, staged.as_ref(), name)
            }
            _ => Err(unknown(member)),
        }
    }

    fn take_segment(
        &mut self,
        member: &mut Member<'_>,
        staged: Option<&PartitionImport>,
        base_offset: Offset,
        modified: Timestamp,
    ) -> Result<()> {
        let mut log = staged.map(|staged| staged.log().begin_segment(base_offset)).transpose()?;
        loop {
            self.refuse_stopped()?;
            let piece = member.next()?;
            if piece.is_empty() {
                break;
            }
            (self.watch.on_bytes)(piece.len() as u64);
            if let Some(log) = &mut log {
                log.write(piece)?;
            }
        }
        log.map_or(Ok(()), |log| Ok(log.close(modified)?))
    }

    /// The partition whose members come next; `None` after the last.
    fn current(&self) -> Option<(TopicPartition, &ArchivedPartition)> {
        let topic = &self.topics.get(self.place.topic)?.archived;
        let partition = topic.partitions.get(self.place.partition)?;
        Some((topic.partition(partition), partition))
    }

    /// Goes on to the next partition.
    fn pass_partition(&mut self) -> Result<()> {
        let Some((partition, archived)) = self.current() else { return Ok(()) };
        if let Some(missing) = archived.segments.get(self.place.segments) {
            let name = segment_name(missing.base_offset, FileKind::Log);
            return Err(ArchiveError::altered(&format!("{}/{name}", partition.folder_name()), "it is missing"));
        }
        let is_last = self.place.partition + 1 >= self.topics[self.place.topic].archived.partitions.len();
        let Place { topic, partition, .. } = self.place;
        self.place = match is_last {
            true => Place { topic: topic + 1, ..Place::default() },
            false => Place { topic, partition: partition + 1, segments: 0 },
        };
        Ok(())
    }

    /// Refuses an input in which members are missing.
    fn refuse_incomplete(&mut self) -> Result<()> {
        while self.current().is_some() {
            self.pass_partition()?;
        }
        Ok(())
    }

    /// Makes all partitions durable, and then the topics appear.
    fn finish(&mut self) -> Result<()> {
        for topic in &mut self.topics {
            if let Some(import) = &mut topic.import {
                finish_partitions(import, &topic.archived, self.now, self.watch)?;
            }
        }
        let imports: Vec<&TopicImport> = self.topics.iter().filter_map(|topic| topic.import.as_ref()).collect();
        Ok(self.log_dir.commit_imports(&imports)?)
    }
}

fn take_small(member: &mut Member<'_>, staged: Option<&PartitionImport>, name: &str) -> Result<()> {
    let bytes = member.read_all(SMALL_FILE_MAX)?;
    let Some(staged) = staged else { return Ok(()) };
    match name {
        // The id may be another one here: the file was made with the folder.
        PARTITION_METADATA_FILE => Ok(()),
        LEADER_EPOCH_FILE => Ok(staged.log().put_leader_epochs(&bytes)?),
        _ => Ok(staged.log().put_side_file(name, &bytes)?),
    }
}

/// Finishes all partitions that the topic will have, those included that are not in the file.
fn finish_partitions(
    import: &mut TopicImport,
    archived: &ArchivedTopic,
    now: Timestamp,
    watch: &Watch<'_>,
) -> Result<()> {
    let empty = ImportedEnds { log_start_offset: Offset::ZERO, log_end_offset: Offset::ZERO, first_dirty_offset: None };
    for number in 0..archived.partition_count {
        if (watch.is_stopped)() {
            return Err(ArchiveError::Stopped);
        }
        let mut ends = archived.partitions.iter().find(|it| it.partition == number).map_or(empty, |it| it.ends);
        // Of a broker's topic whose configuration is not known, gaps are taken for compaction, as they were where it was.
        if archived.config.is_none()
            && ends.first_dirty_offset.is_none()
            && import.partition(number, ends.log_start_offset)?.log().may_have_gaps()?
        {
            ends.first_dirty_offset = Some(ends.log_end_offset);
        }
        import.finish_partition(number, ends, now)?;
    }
    Ok(())
}
