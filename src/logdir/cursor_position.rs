//! A reader's positions, kept in a file of its own: where it is to go on, per partition.
//!
//! ```text
//! 1                                    format version
//! 1                                    number of entries
//! app 0 1234 sB3mXqCLQ8yF8tBTuXwGpA    topic, partition, next offset, topic id; - for a topic of a broker
//! ```
//!
//! The frame is that of Kafka's offset checkpoints, and one of those, version 0 and without topic ids, is read as well: it
//! counts for whatever topic has the name. The file is replaced whole, and only after everything below the positions has
//! been made durable: a position never outlives its records. A crash leaves the old positions or the new.

use super::{LogDir, LogDirError, LogDirs, Result};
use crate::disk::{Access, DiskFile, FileId, Folder, atomic};
use crate::format::checkpoint::{self, OffsetCheckpoint};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::storage::{self, durable_end, file_name, segments};
use crate::units::{Offset, TopicPartition};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

const VERSION: &str = "1";
/// In the place of a topic id.
const NO_ID: &str = "-";
/// A larger file holds no positions.
const SIZE_MAX: usize = 16 << 20;

/// Where a reader is to go on in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorPosition {
    /// The partition.
    pub partition: TopicPartition,
    /// Of the topic that it was read in; `None` where that is not known, as with a broker's.
    pub topic_id: Option<Uuid>,
    /// Behind the last record that was read.
    pub offset: Offset,
}

impl CursorPosition {
    /// Whether it is one of the topic with that id, as far as both are known.
    #[must_use]
    pub fn is_of(&self, topic_id: Option<Uuid>) -> bool {
        self.topic_id.is_none() || topic_id.is_none() || self.topic_id == topic_id
    }

    fn parse(line: &str) -> Option<Self> {
        let (row, id) = line.rsplit_once(' ')?;
        let row = checkpoint::offset_row(row)?;
        let topic_id = if id == NO_ID { None } else { Some(topic_id_from_text(id).ok()?) };
        let partition = TopicPartition { topic: row.topic.parse().ok()?, partition: row.partition };
        Some(Self { partition, topic_id, offset: row.offset })
    }
}

fn print(positions: &[CursorPosition]) -> String {
    let mut text = format!("{VERSION}\n{}\n", positions.len());
    for CursorPosition { partition: TopicPartition { topic, partition }, topic_id, offset } in positions {
        let id = topic_id.map_or(NO_ID.to_owned(), topic_id_to_text);
        writeln!(text, "{topic} {partition} {offset} {id}").expect("memory takes every write");
    }
    text
}

/// The file, locked: one run at a time uses it.
pub struct CursorFile {
    path: PathBuf,
    folder: Arc<dyn Folder>,
    name: String,
    /// Holds the lock.
    file: Arc<dyn DiskFile>,
    /// Below which offset of which folder this run has made all durable.
    durable: HashMap<TopicPartition, (FileId, Offset)>,
}

impl CursorFile {
    /// Keeps `positions` of partitions in `log_dirs`. What comes before those that the file has already is durable.
    ///
    /// # Errors
    /// When a segment cannot be synced or the file not be written: the old positions are then still there.
    pub fn keep(&mut self, log_dirs: &LogDirs, mut positions: Vec<CursorPosition>) -> Result<()> {
        let known = log_dirs.first().kept_positions(&self.path)?.unwrap_or_default();
        let known: HashMap<_, _> = known.into_iter().map(|it| (it.partition.clone(), it)).collect();
        for position in &mut positions {
            let before = known.get(&position.partition);
            if before == Some(&*position) {
                continue;
            }
            let before = before.filter(|it| it.is_of(position.topic_id));
            let before = before.map_or(Offset::ZERO, |it| it.offset.min(position.offset));
            position.offset = self.make_durable(log_dirs, position)?.max(before);
        }
        let temporary = format!("{}.tmp", self.name);
        self.file = atomic::replace_locked(&*self.folder, &temporary, &self.name, print(&positions).as_bytes())?;
        Ok(())
    }

    /// Makes what comes before a position durable, as far as a sync can: returns below which offset it is. Syncs the segments
    /// from the one that holds the recovery point, or the point that this run has synced up to, to the one that holds what
    /// comes before the position, oldest first, and their names. Where a run is going on or was not ended in order, its
    /// mark says from where on a sync of ours proves nothing. A partition that is gone holds nothing that must stay.
    fn make_durable(&mut self, log_dirs: &LogDirs, position: &CursorPosition) -> Result<Offset> {
        let CursorPosition { partition, topic_id, offset } = position;
        if *offset == Offset::ZERO {
            return Ok(Offset::ZERO);
        }
        let Some((log_dir, folder)) = log_dirs.open_folder(partition)? else { return Ok(*offset) };
        let offset = storage::unsynced_from(&*folder)?.map_or(*offset, |from| from.min(*offset));
        let of_files = log_dir.checkpoint_files().now(partition)?;
        let recovery_point = durable_end::promised(&*folder, *topic_id, of_files)?.recovery_point;
        let by_this_run = self.durable.get(partition).filter(|(id, _)| *id == folder.id());
        let by_this_run = by_this_run.map_or(Offset::ZERO, |(_, through)| *through);
        if offset <= by_this_run {
            return Ok(offset);
        }
        let bases = segments::base_offsets(&*folder)?;
        let first = segments::holding(&bases, recovery_point.max(by_this_run));
        for &base in bases.iter().skip(first).filter(|&&base| base < offset) {
            match folder.open(&file_name::segment_name(base, file_name::FileKind::Log), Access::Read) {
                Ok(file) => file.sync()?,
                // What retention has removed holds nothing that must stay.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        folder.sync()?;
        self.durable.insert(partition.clone(), (folder.id(), offset));
        Ok(offset)
    }
}

impl LogDir {
    /// Locks the file at `path`, making it where it is missing.
    ///
    /// # Errors
    /// When another run uses it, its name is none for a file, or it is a device or pipe, whose place no file must take.
    pub fn lock_cursor_file(&self, path: &Path) -> Result<CursorFile> {
        let (name, folder) = (name_of(path)?.to_owned(), atomic::folder_of(&*self.disk, path)?);
        loop {
            if self.disk.stat(path)?.is_some_and(|stat| !stat.is_file) {
                return Err(no_positions(path, "it is not a regular file".into()));
            }
            let file = folder.open(&name, Access::Create)?;
            if !file.try_lock()? {
                return Err(LogDirError::CursorFileInUse { path: path.to_owned() });
            }
            // The run that had the lock before may have replaced the file.
            if folder.stat(&name)?.is_some_and(|stat| file.stat().is_ok_and(|locked| locked.id == stat.id)) {
                return Ok(CursorFile { path: path.to_owned(), folder, name, file, durable: HashMap::new() });
            }
        }
    }

    /// The positions that were kept in `file`; `None` where there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, holds something else, its name is none for a file, or it is a device or pipe, whose place no
    /// file must take.
    pub fn kept_positions(&self, file: &Path) -> Result<Option<Vec<CursorPosition>>> {
        let damaged = |what: String| no_positions(file, what);
        name_of(file)?;
        if self.disk.stat(file)?.is_some_and(|stat| !stat.is_file) {
            return Err(damaged("it is not a regular file".into()));
        }
        let Some(bytes) = atomic::read_small_at(&*self.disk, file, SIZE_MAX)? else { return Ok(None) };
        if bytes.starts_with(VERSION.as_bytes()) {
            let positions = checkpoint::rows_of(VERSION, &bytes, CursorPosition::parse);
            return positions.map(Some).map_err(|error| damaged(error.to_string()));
        }
        let rows = OffsetCheckpoint::parse(&bytes).map_err(|error| damaged(error.to_string()))?.rows;
        let position = |row: checkpoint::OffsetCheckpointRow| {
            let topic = row.topic.parse().map_err(|error| damaged(format!("{error}")))?;
            let partition = TopicPartition { topic, partition: row.partition };
            Ok(CursorPosition { partition, topic_id: None, offset: row.offset })
        };
        rows.into_iter().map(position).collect::<Result<_>>().map(Some)
    }
}

/// The name of the file at `path`. The file is replaced by name, and a [`Folder`] has none that is not UTF-8.
fn name_of(path: &Path) -> Result<&str> {
    let name = path.file_name().ok_or_else(|| no_positions(path, "it has no file name".into()))?;
    name.to_str().ok_or_else(|| no_positions(path, "its name is not UTF-8".into()))
}

fn no_positions(file: &Path, what: String) -> LogDirError {
    LogDirError::NoPositions { path: file.to_owned(), what }
}
