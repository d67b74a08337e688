//! Tests of the engine over the library, most of them on the disk in memory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod any_bytes;
mod concurrency;
pub mod entry_points;
mod faults;
mod flips;
mod indexes;
mod interleaved;
mod leftovers;
mod logdir;
mod model;
mod reading;
mod recovery;
mod repair;
mod retention;
mod rolling;
pub mod seeds;
mod support;
mod survival;
pub mod templates;
