//! What becomes of inputs that make no record.

use super::error::{ProduceError, Result};
use super::input::InputName;
use super::input_prefix::InputPosition;
use crate::disk::atomic::folder_of;
use crate::disk::real::{RealDisk, open_output};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What becomes of inputs that make no record.
#[derive(Default)]
pub struct Rejects {
    skips: bool,
    file: Option<(File, PathBuf)>,
    /// Where the input has the first of them that is in the file and may not be durable.
    unsynced: Option<InputPosition>,
    /// Whether the name of the file may not be durable, since it may be new.
    is_name_unsynced: bool,
    /// What ends each in the file, also where the input ended without.
    delimiter: Vec<u8>,
    count: u64,
    /// Whether the file ends within one, whose end has not come.
    is_torn: bool,
}

impl Rejects {
    /// The first ends the run.
    #[must_use]
    pub fn stop() -> Self {
        Self::default()
    }

    /// They are left out.
    #[must_use]
    pub fn skip() -> Self {
        Self { skips: true, ..Self::default() }
    }

    /// They are left out and added to the end of a file, as they are in the input.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn keep_in(path: &Path) -> Result<Self> {
        let file = open_output(path)?;
        let is_empty = file.metadata().map_err(|source| failed("stat", path, source))?.len() == 0;
        Ok(Self { file: Some((file, path.to_owned())), is_name_unsynced: is_empty, ..Self::skip() })
    }

    /// Whether their file is also read.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn is_one_of(&self, inputs: &[InputName<'_>]) -> Result<bool> {
        let Some((file, path)) = &self.file else { return Ok(false) };
        let metadata = file.metadata().map_err(|source| failed("stat", path, source))?;
        Ok(inputs.iter().any(|input| input.is_same(&metadata)))
    }

    pub(super) fn ending_each_in(self, delimiter: &[u8]) -> Self {
        Self { delimiter: delimiter.to_vec(), ..self }
    }

    pub(super) const fn skips(&self) -> bool {
        self.skips
    }

    /// How many there were.
    pub(super) const fn count(&self) -> u64 {
        self.count
    }

    /// Takes a piece of one, whose end has not come.
    pub(super) fn write_piece(&mut self, piece: &[u8]) -> Result<()> {
        self.is_torn |= !piece.is_empty();
        self.write(piece)
    }

    fn write(&mut self, piece: &[u8]) -> Result<()> {
        match &mut self.file {
            Some((file, path)) => file.write_all(piece).map_err(|source| failed("write to", path, source)),
            None => Ok(()),
        }
    }

    /// Where the input has the first of them that is kept and may not be durable.
    pub(super) const fn unsynced(&self) -> Option<InputPosition> {
        self.unsynced
    }

    /// Takes the last piece of one, which begins there.
    pub(super) fn take(&mut self, last_piece: &[u8], begins: InputPosition) -> Result<()> {
        if self.file.is_some() {
            self.unsynced.get_or_insert(begins);
        }
        self.write(last_piece)?;
        self.is_torn = false;
        if !last_piece.ends_with(&self.delimiter) {
            self.write_delimiter()?;
        }
        self.count += 1;
        Ok(())
    }

    fn write_delimiter(&mut self) -> Result<()> {
        let delimiter = std::mem::take(&mut self.delimiter);
        let written = self.write(&delimiter);
        self.delimiter = delimiter;
        written
    }

    /// Ends one whose end never came, so that what another run adds is not part of it.
    pub(super) fn end_torn(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_torn) { self.write_delimiter() } else { Ok(()) }
    }

    /// Makes durable what the file has got.
    pub(super) fn sync(&mut self) -> Result<()> {
        if let Some((file, path)) = self.file.as_ref().filter(|_| self.unsynced.is_some())
            && file.metadata().map_err(|source| failed("stat", path, source))?.is_file()
        {
            file.sync_all().map_err(|source| failed("sync", path, source))?;
            if self.is_name_unsynced {
                folder_of(&RealDisk::default(), path)?.sync()?;
                self.is_name_unsynced = false;
            }
        }
        self.unsynced = None;
        Ok(())
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> ProduceError {
    ProduceError::Rejects { doing, path: path.to_owned(), source }
}
