//! Reads the batches of a segment ahead of the one who goes through them.

use super::source::{Visit, Watch};
use crate::format::header::BatchHeader;
use crate::storage::Result;
use crate::storage::scan::{Scanner, Step};
use crate::units::{Offset, Position};
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

/// Bytes read at a time; a piece has no more, or one batch.
pub(super) const PIECE: usize = 256 << 10;

/// Batches one after the other, their checksums checked.
#[derive(Default)]
struct Piece {
    batches: Vec<(BatchHeader, Position)>,
    /// What was read, from this position on.
    bytes: Vec<u8>,
    start: Position,
}

impl Piece {
    fn show(&self, path: &Path, watch: &mut Watch<'_>, visit: &mut Visit<'_>) -> Result<()> {
        let mut shown = 0;
        for (header, position) in &self.batches {
            let within = (position.0 - self.start.0) as usize;
            visit(header, &self.bytes[within..within + header.size], (path, *position))?;
            shown += header.size as u64;
        }
        watch.pass(shown, path)
    }
}

/// What is left of a segment.
pub(super) struct Pieces {
    pub(super) scanner: Scanner,
    /// What begins there is not asked: a segment that is written to may go on.
    pub(super) end: Offset,
}

impl Pieces {
    /// Shows every batch, in order.
    pub(super) fn show(mut self, watch: &mut Watch<'_>, visit: &mut Visit<'_>) -> Result<()> {
        if self.scanner.size() > PIECE as u64 && self.show_read_ahead(watch, visit)? {
            return Ok(());
        }
        let path = self.scanner.log().path.clone();
        let mut used = Piece::default();
        while let Some(piece) = self.next(used)? {
            piece.show(&path, watch, visit)?;
            used = piece;
        }
        Ok(())
    }

    /// The same, with another thread that reads and checks; `false` where there is none to be had.
    fn show_read_ahead(&mut self, watch: &mut Watch<'_>, visit: &mut Visit<'_>) -> Result<bool> {
        let path = self.scanner.log().path.clone();
        thread::scope(|scope| {
            let (full, pieces) = sync_channel(4);
            let (give_back, used) = channel();
            let read = move || {
                while let Some(piece) = self.next(used.try_recv().unwrap_or_default()).transpose() {
                    let has_failed = piece.is_err();
                    // Nobody takes it where the one who goes through them has failed, or was stopped.
                    if full.send(piece).is_err() || has_failed {
                        return;
                    }
                }
            };
            if thread::Builder::new().spawn_scoped(scope, read).is_err() {
                return Ok(false);
            }
            for piece in pieces {
                let piece = piece?;
                piece.show(&path, watch, visit)?;
                // The other thread may have come to the end.
                let _ = give_back.send(piece);
            }
            Ok(true)
        })
    }

    /// The next piece, in the memory of a used one.
    fn next(&mut self, mut piece: Piece) -> Result<Option<Piece>> {
        piece.batches.clear();
        let scanner = &mut self.scanner;
        // Another one might be read over those before.
        while scanner.expected() < self.end && (piece.batches.is_empty() || scanner.has_loaded_next()) {
            match scanner.step()? {
                Step::Batch(header) if header.next_offset() > self.end => return Err(scanner.overlap(&header)),
                Step::Batch(header) if scanner.checksum_matches(&header)? => {
                    scanner.load(&header)?;
                    piece.batches.push((header, scanner.position()));
                    scanner.pass(&header);
                }
                Step::Batch(_) => return Err(scanner.corrupt(scanner.checksum_error())),
                Step::Bad(problem) => return Err(scanner.corrupt(problem)),
                Step::End => break,
            }
        }
        if piece.batches.is_empty() {
            return Ok(None);
        }
        piece.start = scanner.exchange_buffer(&mut piece.bytes);
        Ok(Some(piece))
    }
}
