//! Floor 4: records to and from bytes on a pipe. Knows partitions, not log dirs.
//!
//! In: a [`framing`] cuts bytes into records, [`json`] reads the envelope of one. Out: [`merge`] brings the records of several
//! partitions into one order, a [`filter`] says which of them are wanted, [`tail`] finds the last of them, and [`output`]
//! writes them, by a [`template`] if there is one.

pub mod filter;
pub mod framing;
pub mod json;
pub mod merge;
pub mod output;
pub mod tail;
pub mod template;
