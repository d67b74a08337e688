//! Topics as one file, and back.
//!
//! The file is a tar that is written and read from front to back, so that a pipe will do on both sides:
//!
//! ```text
//! kdir-export.json                    what is in the file: topics, partitions, segments, group offsets (`manifest.rs`)
//! app-0/partition.metadata            the topic id
//! app-0/leader-epoch-checkpoint
//! app-0/00000000000000000000.log      segments, byte for byte, up to the end of a batch
//! app-0/…                             .txnindex and .snapshot where a broker has written them
//! app-1/…
//! kdir-checksums.txt                  XXH128 of each member before it, as `xxhsum -H128` prints and checks them
//! ```
//!
//! What must stay true:
//! - An export reads only: no lock, nothing written. Every partition is cut once, all of them before the first byte goes out,
//!   and after the group offsets were read, so that no group is past the end of a log.
//! - Only whole, valid batches are exported. An export that fails has no `kdir-checksums.txt`, without which nothing is imported.
//! - An import believes nothing before it has held every member against that file. Until then and until all of it is durable
//!   the topics are invisible ([`crate::logdir::TopicImport`]).
//! - Names in the file are compared with those that the manifest gives, and never used as paths.
//!
//! Deliberately absent: compression, which a pipe does better; offset and time indexes, which brokers and imports build again;
//! the state of share groups.

mod checksums;
mod error;
mod export;
mod group_offsets;
mod import;
mod manifest;
mod reader;
mod writer;

pub use error::{ArchiveError, Result};
pub use export::{Export, ExportOptions, ExportStart};
pub use group_offsets::ImportedGroups;
pub use import::{ImportOptions, ImportedTopic, import};
pub use manifest::{ArchivedGroup, ArchivedOffset, ArchivedPartition, ArchivedSegment, ArchivedTopic, Manifest};
