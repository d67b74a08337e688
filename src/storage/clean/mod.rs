//! What takes old records out of a log.

pub mod retention;
