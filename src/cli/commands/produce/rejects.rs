//! What becomes of inputs that make no record.

use super::input::InputName;
use super::{OnError, ProduceArgs};
use crate::cli::exit;
use crate::cli::ui::Ui;
use crate::disk::real::open_output;
use crate::stream::StreamError;
use anyhow::Context as _;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// So many are named; who wants to see more of them has the file.
const NAMED_MAX: u64 = 10;

pub(super) struct Rejects {
    pub(super) skips: bool,
    file: Option<(File, PathBuf)>,
    /// What ends each in the file, also where the input ended without.
    delimiter: Vec<u8>,
    pub(super) count: u64,
    ui: Ui,
}

impl Rejects {
    pub(super) fn new(args: &ProduceArgs, inputs: &[InputName<'_>], delimiter: &[u8], ui: Ui) -> anyhow::Result<Self> {
        let skips = args.rejects.is_some() || args.on_error == Some(OnError::Skip);
        if args.rejects.is_some() && args.on_error == Some(OnError::Stop) {
            return Err(exit::usage(
                "--rejects takes what --on-error skip leaves out, and --on-error stop leaves nothing out",
            ));
        }
        let mut file = None;
        if let Some(path) = &args.rejects {
            let opened = open_output(path)?;
            for input in inputs {
                if input.is_same(&opened)? {
                    return Err(exit::usage(format!("{} is both read and named by --rejects", path.display())));
                }
            }
            file = Some((opened, path.clone()));
        }
        Ok(Self { skips, file, delimiter: delimiter.to_vec(), count: 0, ui })
    }

    pub(super) fn write(&mut self, piece: &[u8]) -> anyhow::Result<()> {
        match &mut self.file {
            Some((file, path)) => file.write_all(piece).with_context(|| format!("cannot write to {}", path.display())),
            None => Ok(()),
        }
    }

    /// Takes the last piece of one.
    pub(super) fn take(&mut self, last_piece: &[u8], problem: StreamError) -> anyhow::Result<()> {
        if !self.skips {
            return Err(problem.into());
        }
        self.write(last_piece)?;
        if !last_piece.ends_with(&self.delimiter) {
            let delimiter = self.delimiter.clone();
            self.write(&delimiter)?;
        }
        self.count += 1;
        if self.count <= NAMED_MAX {
            self.ui.warning(&format!("rejected: {problem}"));
        } else if self.count == NAMED_MAX + 1 {
            self.ui.warning("more are rejected, and not named");
        }
        Ok(())
    }

    /// Makes durable what the file has got.
    pub(super) fn finish(&mut self) -> anyhow::Result<()> {
        match &self.file {
            Some((file, path)) if self.count > 0 && file.metadata().is_ok_and(|it| it.is_file()) => {
                file.sync_all().with_context(|| format!("cannot sync {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// What was rejected, for the summary.
    pub(super) fn told(&self) -> Option<String> {
        let count = crate::cli::commands::counted(self.count, "record");
        match &self.file {
            _ if self.count == 0 => None,
            Some((_, path)) => Some(format!("rejected {count}, kept in {}", path.display())),
            None => Some(format!("rejected {count}")),
        }
    }
}
