//! A reader's positions, kept in a file of its own: where it is to go on, per partition.
//!
//! ```text
//! 1                                    format version
//! 1                                    number of entries
//! app 0 1234 sB3mXqCLQ8yF8tBTuXwGpA    topic, partition, next offset, topic id; - for a topic of a broker
//! ```
//!
//! The frame is that of Kafka's offset checkpoints, and one of those, version 0 and without topic ids, is read as well: it
//! counts for whatever topic has the name. The file is written only after everything below the positions has been made
//! durable: a position never outlives its records.
//!
//! A link is followed: what it leads to is the file. That is replaced whole, so a crash leaves the old positions or the new,
//! and perhaps a temporary file, which the next run removes. Where no file can take its place (it is a mount of its own, as
//! in a container, or its folder cannot be written), it is written in place, with one call, and cut: a killed process leaves
//! the old positions or the new, and perhaps empty lines after them, which are passed over. A power failure in the middle may
//! leave a file that is refused.
//!
//! While a run goes on, a [`CursorMark`] beside the file is ahead of it.

use super::cursor_mark::{self, CursorMark};
use super::{ConsumeError, ReaderPosition, Result};
use crate::disk::{self, Access, Disk, DiskError, DiskFile, Folder, atomic};
use crate::format::checkpoint::{self, OffsetCheckpoint};
use crate::format::properties::{topic_id_from_text, topic_id_to_text};
use crate::logdir::{DurableBelow, LogDirs};
use crate::units::{Offset, TopicPartition};
use std::collections::HashMap;
use std::fmt::Write;
use std::io::ErrorKind;
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

fn print<'a>(positions: impl ExactSizeIterator<Item = &'a ReaderPosition>) -> String {
    let mut text = format!("{VERSION}\n{}\n", positions.len());
    for ReaderPosition { partition: TopicPartition { topic, partition }, topic_id, offset } in positions {
        let id = topic_id.map_or(NO_ID.to_owned(), topic_id_to_text);
        writeln!(text, "{topic} {partition} {offset} {id}").expect("memory takes every write");
    }
    text
}

/// The file, locked: one run at a time uses it.
pub struct CursorFile {
    /// As the user named it.
    path: PathBuf,
    folder: Arc<dyn Folder>,
    name: String,
    /// Holds the lock.
    file: Arc<dyn DiskFile>,
    /// Whether another file can take its place, as far as is known.
    is_replaceable: bool,
    durable: DurableBelow,
    mark: Mark,
    /// What the mark is to say next.
    prepared: Option<String>,
    /// Whether this run has made a mark.
    has_marked: bool,
}

enum Mark {
    /// To be made when it is needed.
    Missing,
    There(CursorMark),
    /// None can be made, or written: a run that is killed repeats what came after the positions in the file.
    Impossible,
}

impl CursorFile {
    /// Locks the file at `path`, making it where it is missing.
    ///
    /// # Errors
    /// When another run uses it, its name is none for a file or that of one of Kafka's, or it is a device or pipe, whose place
    /// no file must take.
    pub fn lock(disk: &Arc<dyn Disk>, path: &Path) -> Result<Self> {
        refuse_kafkas(path)?;
        loop {
            match disk.stat(path)? {
                Some(stat) if !stat.is_file => return Err(no_cursor_file(path, "it is not a regular file")),
                Some(_) => {}
                // Where a link leads is known only when something is there.
                None => drop(disk.open(path, Access::Create)?),
            }
            let target = disk.resolve(path)?;
            refuse_kafkas(&target)?;
            let (name, folder) = (name_of(&target)?.to_owned(), atomic::folder_of(&**disk, &target)?);
            let file = folder.open(&name, Access::Write)?;
            if !file.try_lock()? {
                return Err(ConsumeError::CursorFileInUse { path: path.to_owned(), pid: file.holder() });
            }
            // The run that had the lock before may have replaced the file.
            if folder.stat(&name)?.is_some_and(|stat| file.stat().is_ok_and(|locked| locked.id == stat.id)) {
                return Ok(Self {
                    path: path.to_owned(),
                    folder,
                    name,
                    file,
                    is_replaceable: true,
                    durable: DurableBelow::default(),
                    mark: Mark::Missing,
                    prepared: None,
                    has_marked: false,
                });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The positions that a run before has come to; none in a new file.
    ///
    /// # Errors
    /// When it cannot be read, or holds something else.
    pub fn kept(&self) -> Result<Vec<ReaderPosition>> {
        let left = cursor_mark::left(&*self.folder, &self.name, &self.file.stat()?, SIZE_MAX)?;
        match left.and_then(|text| checkpoint::rows_of(VERSION, &text, parse).ok()) {
            Some(positions) => Ok(positions),
            None => self.kept_in_file(),
        }
    }

    fn kept_in_file(&self) -> Result<Vec<ReaderPosition>> {
        let damaged = |what: String| no_positions(&self.path, what);
        let mut bytes = atomic::read_file(&*self.file, &self.path, SIZE_MAX)?;
        if let Some(last) = bytes.iter().rposition(|&byte| byte != b'\n') {
            bytes.truncate(last + 1);
        }
        if bytes.starts_with(VERSION.as_bytes()) {
            return checkpoint::rows_of(VERSION, &bytes, parse).map_err(|error| damaged(error.to_string()));
        }
        let rows = OffsetCheckpoint::parse(&bytes).map_err(|error| damaged(error.to_string()))?.rows;
        let position = |row: checkpoint::OffsetCheckpointRow| {
            let topic = row.topic.parse().map_err(|error| damaged(format!("{error}")))?;
            let partition = TopicPartition { topic, partition: row.partition };
            Ok(ReaderPosition { partition, topic_id: None, offset: row.offset })
        };
        rows.into_iter().map(position).collect()
    }

    /// Keeps `positions` of partitions in `log_dirs`. What comes before those that the file has already is durable.
    ///
    /// # Errors
    /// When a segment cannot be synced or the file not be written: the old positions are then still there.
    pub fn keep(&mut self, log_dirs: &LogDirs, mut positions: Vec<ReaderPosition>) -> Result<()> {
        let known: HashMap<_, _> = self.kept_in_file()?.into_iter().map(|it| (it.partition.clone(), it)).collect();
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
        self.write(print(positions.iter()).as_bytes())?;
        // It is of the file as it was.
        (self.mark, self.prepared) = (Mark::Missing, None);
        Ok(())
    }

    /// Prepares to [`Self::mark`] that the reader has come to `positions`.
    pub fn prepare_mark<'a>(&mut self, positions: impl ExactSizeIterator<Item = &'a ReaderPosition>) {
        if matches!(self.mark, Mark::Missing) {
            let made = self.file.stat().and_then(|stat| CursorMark::make(&*self.folder, &self.name, &stat));
            self.mark = made.ok().flatten().map_or(Mark::Impossible, Mark::There);
            self.has_marked |= matches!(self.mark, Mark::There(_));
        }
        if let Mark::There(mark) = &self.mark {
            self.prepared = Some(mark.line(&print(positions)));
        }
    }

    /// Marks what was prepared, for the case that this process is killed before it keeps it. Returns whether something was,
    /// since positions were kept last.
    pub fn mark(&mut self) -> bool {
        let Some(line) = self.prepared.take() else { return false };
        if let Mark::There(mark) = &self.mark
            && mark.write(&line).is_err()
        {
            self.mark = Mark::Impossible;
        }
        true
    }

    /// Removes what is beside the file, once positions were kept for the last time.
    ///
    /// # Errors
    /// When this run has made it, and cannot remove it.
    pub fn close(&mut self) -> Result<()> {
        self.mark = Mark::Missing;
        match cursor_mark::remove(&*self.folder, &self.name) {
            // That of a run before is worth nothing any more, and may be another user's.
            Err(_) if !self.has_marked => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> disk::Result<()> {
        if self.is_replaceable {
            // A name that no file of the user's has.
            let temporary = format!(".{}.kdir.tmp", self.name);
            match atomic::replace_locked(&*self.folder, &temporary, &self.name, bytes) {
                Ok(file) => {
                    self.file = file;
                    return Ok(());
                }
                Err(error) if forbids_replacement(&error) => self.is_replaceable = false,
                Err(error) => return Err(error),
            }
        }
        // Over all of the old text, so that nothing is left of its end where the process is killed before the file is cut.
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().max(self.file.stat()?.size as usize), b'\n');
        self.file.write_at(&padded, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        self.file.sync()
    }
}

/// Whether the system lets no other file take the place of one.
fn forbids_replacement(error: &DiskError) -> bool {
    matches!(
        error.source.kind(),
        ErrorKind::ResourceBusy
            | ErrorKind::CrossesDevices
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidFilename
    )
}

/// The name of the file at `path`. The file is replaced by name, and a [`Folder`] has none that is not UTF-8.
fn name_of(path: &Path) -> Result<&str> {
    let name = path.file_name().ok_or_else(|| no_cursor_file(path, "it has no file name"))?;
    name.to_str().ok_or_else(|| no_cursor_file(path, "its name is not UTF-8"))
}

/// Refuses the names of files that brokers write in a log dir: a run would take the place of one, and of what is in it.
fn refuse_kafkas(path: &Path) -> Result<()> {
    match name_of(path)? {
        name if name == ".lock" || name.ends_with("-checkpoint") => {
            Err(ConsumeError::KafkasFile { path: path.to_owned() })
        }
        _ => Ok(()),
    }
}

fn no_cursor_file(path: &Path, what: &'static str) -> ConsumeError {
    ConsumeError::NoCursorFile { path: path.to_owned(), what }
}

fn no_positions(file: &Path, what: String) -> ConsumeError {
    ConsumeError::NoPositions { path: file.to_owned(), what }
}
