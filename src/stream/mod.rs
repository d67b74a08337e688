//! Floor 2: records to and from bytes on a pipe, and nothing else.
//!
//! In: a [`framing`] cuts bytes into records, [`envelope`] reads the JSON form of one, [`line_time`] the time of a line. Out: a
//! [`filter`] says which records are wanted, and [`output`] writes them, by a [`template`] if there is one.

pub mod columns;
pub mod envelope;
pub mod filter;
pub mod framing;
pub mod hex;
pub mod json;
mod json_field;
pub mod json_value;
pub mod line_time;
pub mod output;
pub mod template;
