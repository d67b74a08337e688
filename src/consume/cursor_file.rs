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

use super::{ConsumeError, ReaderPosition, Result};
use crate::disk::{Access, Disk, DiskFile, Folder, atomic};
use crate::format::checkpoint::{self, OffsetCheckpoint};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::logdir::{DurableBelow, LogDirs};
use crate::units::{Offset, TopicPartition};
use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const VERSION: &str = "1";
/// In the place of a topic id.
const NO_ID: &str = "-";
/// A larger file holds no positions.
const SIZE_MAX: usize = 16 << 20;

fn parse(line: &str) -> Option<ReaderPosition> {
    let (row, id) = line.rsplit_once(' ')?;
    let row = checkpoint::offset_row(row)?;
    let topic_id = if id == NO_ID { None } else { Some(topic_id_from_text(id).ok()?) };
    let partition = TopicPartition { topic: row.topic.parse().ok()?, partition: row.partition };
    Some(ReaderPosition { partition, topic_id, offset: row.offset })
}

fn print(positions: &[ReaderPosition]) -> String {
    let mut text = format!("{VERSION}\n{}\n", positions.len());
    for ReaderPosition { partition: TopicPartition { topic, partition }, topic_id, offset } in positions {
        let id = topic_id.map_or(NO_ID.to_owned(), topic_id_to_text);
        writeln!(text, "{topic} {partition} {offset} {id}").expect("memory takes every write");
    }
    text
}

/// The file, locked: one run at a time uses it.
pub struct CursorFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    folder: Arc<dyn Folder>,
    name: String,
    /// Holds the lock.
    file: Arc<dyn DiskFile>,
    durable: DurableBelow,
}

impl CursorFile {
    /// Locks the file at `path`, making it where it is missing.
    ///
    /// # Errors
    /// When another run uses it, its name is none for a file, or it is a device or pipe, whose place no file must take.
    pub fn lock(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self> {
        let (name, folder) = (name_of(path)?.to_owned(), atomic::folder_of(&**disk, path)?);
        loop {
            if disk.stat(path)?.is_some_and(|stat| !stat.is_file) {
                return Err(no_positions(path, "it is not a regular file".into()));
            }
            let file = folder.open(&name, Access::Create)?;
            if !file.try_lock()? {
                return Err(ConsumeError::CursorFileInUse { path: path.to_owned() });
            }
            // The run that had the lock before may have replaced the file.
            if folder.stat(&name)?.is_some_and(|stat| file.stat().is_ok_and(|locked| locked.id == stat.id)) {
                let (disk, path) = (Arc::clone(disk), path.to_owned());
                return Ok(Self { disk, path, folder, name, file, durable: DurableBelow::default() });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The positions in it; `None` where it is gone or empty.
    ///
    /// # Errors
    /// As [`kept_positions`].
    pub fn kept(&self) -> Result<Option<Vec<ReaderPosition>>> {
        kept_positions(&*self.disk, &self.path)
    }

    /// Keeps `positions` of partitions in `log_dirs`. What comes before those that the file has already is durable.
    ///
    /// # Errors
    /// When a segment cannot be synced or the file not be written: the old positions are then still there.
    pub fn keep(&mut self, log_dirs: &LogDirs, mut positions: Vec<ReaderPosition>) -> Result<()> {
        let known = self.kept()?.unwrap_or_default();
        let known: HashMap<_, _> = known.into_iter().map(|it| (it.partition.clone(), it)).collect();
        for position in &mut positions {
            let before = known.get(&position.partition);
            if before == Some(&*position) {
                continue;
            }
            let before = before.filter(|it| it.is_of(position.topic_id));
            let before = before.map_or(Offset::ZERO, |it| it.offset.min(position.offset));
            let durable = self.durable.raise(log_dirs, &position.partition, position.topic_id, position.offset)?;
            position.offset = durable.max(before);
        }
        let temporary = format!("{}.tmp", self.name);
        self.file = atomic::replace_locked(&*self.folder, &temporary, &self.name, print(&positions).as_bytes())?;
        Ok(())
    }
}

/// The positions that were kept in `file`; `None` where there is no such file.
///
/// # Errors
/// When it cannot be read, holds something else, its name is none for a file, or it is a device or pipe, whose place no
/// file must take.
pub fn kept_positions(disk: &dyn Disk, file: &Path) -> Result<Option<Vec<ReaderPosition>>> {
    let damaged = |what: String| no_positions(file, what);
    name_of(file)?;
    if disk.stat(file)?.is_some_and(|stat| !stat.is_file) {
        return Err(damaged("it is not a regular file".into()));
    }
    let Some(bytes) = atomic::read_small_at(disk, file, SIZE_MAX)? else { return Ok(None) };
    if bytes.starts_with(VERSION.as_bytes()) {
        let positions = checkpoint::rows_of(VERSION, &bytes, parse);
        return positions.map(Some).map_err(|error| damaged(error.to_string()));
    }
    let rows = OffsetCheckpoint::parse(&bytes).map_err(|error| damaged(error.to_string()))?.rows;
    let position = |row: checkpoint::OffsetCheckpointRow| {
        let topic = row.topic.parse().map_err(|error| damaged(format!("{error}")))?;
        let partition = TopicPartition { topic, partition: row.partition };
        Ok(ReaderPosition { partition, topic_id: None, offset: row.offset })
    };
    rows.into_iter().map(position).collect::<Result<_>>().map(Some)
}

/// The name of the file at `path`. The file is replaced by name, and a [`Folder`] has none that is not UTF-8.
fn name_of(path: &Path) -> Result<&str> {
    let name = path.file_name().ok_or_else(|| no_positions(path, "it has no file name".into()))?;
    name.to_str().ok_or_else(|| no_positions(path, "its name is not UTF-8".into()))
}

fn no_positions(file: &Path, what: String) -> ConsumeError {
    ConsumeError::NoPositions { path: file.to_owned(), what }
}
