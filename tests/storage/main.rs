//! Tests of the engine over the library, most of them on the disk in memory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

// A package from a registry has lost its dev-dependency on itself, which switches this on.
#[cfg(not(feature = "faulty-disk"))]
compile_error!("these tests need the disk in memory: cargo test --features faulty-disk");

mod accept_loss;
mod any_bytes;
mod append_time;
mod by_topic;
mod churn;
mod closing;
mod commits;
mod compaction;
mod concurrency;
mod consumer;
mod decompressed_size;
mod delayed;
mod encoding;
mod ending;
pub mod entry_points;
mod faults;
mod flips;
mod group_consumers;
mod import;
mod incarnations;
mod indexes;
mod intake;
mod interleaved;
pub mod internal_topics;
mod leftovers;
mod lies;
mod logdir;
mod many_partitions;
mod many_segments;
mod matrix;
mod membership;
mod memory;
mod merging;
mod model;
mod overflow;
mod overlap;
mod power_failure;
mod promote;
mod reading;
mod recovery;
mod repair;
mod retention;
mod rolling;
pub mod seeds;
mod share_groups;
mod shortened;
mod sparing;
mod support;
mod survival;
pub mod templates;
mod transactions;
mod unreadable;
mod work;
