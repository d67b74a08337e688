//! The records of Kafka's internal topics as values.
//!
//! A record kind is a table of fields in [`schema`], which one decoder reads by; what it gives is a [`value`]. Names of
//! fields are those that Kafka's tools print.

pub mod metadata;
pub mod schema;
pub mod value;
