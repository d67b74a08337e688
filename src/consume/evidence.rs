//! What shows that a reader has processed what was written to it.

use super::acks::Acks;
use super::chunks::Chunks;
use crate::disk::outlet::{Outlet, OutletKind};
use std::io;
use std::os::fd::BorrowedFd;

/// What a reader must have done with a record before a position passes it.
#[derive(Debug, Clone, Copy, Default)]
pub enum Commit<'a> {
    /// Processed it, as far as that can be seen in a pipe.
    #[default]
    Processed,
    /// Taken it out of the pipe. What it holds in its own buffers when it is killed is skipped.
    Taken,
    /// Acknowledged it, on a descriptor of its own.
    Acknowledged {
        /// Where acknowledgements are read.
        input: BorrowedFd<'a>,
        /// So many records at most are written that are not acknowledged.
        in_flight_max: usize,
    },
}

pub(super) enum Evidence<'a> {
    /// That it was written: nothing more is known of a file or a terminal, or asked where no position is kept.
    Written,
    /// That the reader has come back for more.
    Chunks(Chunks),
    /// That the pipe holds less than what was written after it: as many bytes had been written when positions were noted
    /// last.
    Taken { noted: u64 },
    /// That the reader says so.
    Acks(Acks<'a>),
}

impl<'a> Evidence<'a> {
    pub(super) fn new(commit: Commit<'a>, outlet: Outlet) -> Self {
        match commit {
            Commit::Processed => Chunks::to(outlet).map_or(Self::Written, Self::Chunks),
            Commit::Taken if matches!(outlet.kind(), OutletKind::Pipe | OutletKind::Socket) => Self::Taken { noted: 0 },
            Commit::Taken => Self::Written,
            Commit::Acknowledged { input, in_flight_max } => Self::Acks(Acks::new(input, in_flight_max)),
        }
    }

    /// Whether the reader is known by now to have processed what was written before the last chunk; `written` is all that is
    /// known to be. More of it may be in the pipe already, which then seems to be unread of what is known.
    pub(super) fn is_past_before_last(&self, outlet: Outlet, written: u64) -> io::Result<bool> {
        match self {
            Self::Written | Self::Acks(_) => Ok(false),
            Self::Chunks(chunks) => chunks.is_begun(),
            Self::Taken { noted } => Ok(written - outlet.unread()?.min(written) >= *noted),
        }
    }
}
