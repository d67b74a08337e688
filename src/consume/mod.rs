//! Floor 6: reads topics as one stream of records, and knows what its reader has processed of them.
//!
//! A [`Consumer`] takes a [`Selection`] (which partitions, from where to where, which records), brings the partitions into
//! one order ([`merge`]), keeps the pauses between records if it is asked to ([`pace`]), and writes them to an output. At the
//! end it waits for more, if it is to follow, and asks only those partitions that something happened to. What is to be said
//! of it, a partition that cannot be read or records that were removed, is an [`Event`].
//!
//! What must stay true: a position never passes a record that the reader at the other end may not have processed, nor one
//! that a power failure may take. [`Positions`] says where positions are kept; one is known by its topic's id, not by name
//! alone.

mod acks;
mod chunks;
mod consumer;
mod cursor_file;
mod cursor_mark;
mod delivery;
mod error;
mod evidence;
mod follow;
mod group;
mod key_lookup;
mod ledger;
pub mod merge;
mod newest;
mod output;
pub mod pace;
mod positions;
mod range;
mod read_ahead;
mod selection;
mod sharing;
mod tail;

pub use consumer::{Consumer, Ended, Environment, Event, Interrupt, Options};
pub use cursor_file::CursorFile;
pub use error::{ConsumeError, Result};
pub use evidence::Commit;
pub use group::{GroupPositions, positions_of};
pub use key_lookup::{KeyLookup, Version};
pub use newest::{LatestByKey, Tombstones};
pub use positions::{Positions, ReaderPosition};
pub use range::{OffsetAt, PerPartition, RangeEnd, Reset};
pub use selection::{Isolation, Selection, partitions_of};
