//! What becomes of inputs that make no record.

use super::error::{ProduceError, Result};
use super::input::InputName;
use crate::disk::real::open_output;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What becomes of inputs that make no record.
#[derive(Default)]
pub struct Rejects {
    skips: bool,
    file: Option<(File, PathBuf)>,
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
        Ok(Self { file: Some((open_output(path)?, path.to_owned())), ..Self::skip() })
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

    /// Takes the last piece of one.
    pub(super) fn take(&mut self, last_piece: &[u8]) -> Result<()> {
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

    /// Takes no more: one whose end never came ends here, so that what another run adds is not part of it.
    pub(super) fn finish(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_torn) {
            self.write_delimiter()?;
        }
        self.sync()
    }

    /// Makes durable what the file has got.
    fn sync(&self) -> Result<()> {
        match &self.file {
            Some((file, path)) if file.metadata().is_ok_and(|it| it.is_file()) => {
                file.sync_all().map_err(|source| failed("sync", path, source))
            }
            _ => Ok(()),
        }
    }
}

fn failed(doing: &'static str, path: &Path, source: io::Error) -> ProduceError {
    ProduceError::Rejects { doing, path: path.to_owned(), source }
}
