//! Tests of the engine over the library, most of them on the disk in memory.

mod concurrency;
mod faults;
mod indexes;
mod model;
mod reading;
mod recovery;
mod retention;
mod rolling;
mod support;
