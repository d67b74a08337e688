//! Floor 6: work queues. Each record goes to one handler at a time, is acknowledged, tried again or given up.
//!
//! A [`Worker`] takes records from its queues, one for each partition, and gives them to handlers, a process for each, or one
//! process for all. What becomes of a record is kept as Kafka's share groups keep it
//! ([`crate::groups::ShareLog`]), and who has one is told by locks ([`crate::groups::Claims`]): there is no lease and no
//! heartbeat.
//!
//! What must stay true:
//! - A record has one handler at a time: its claim is held by the worker and the handler, and falls when both have ended.
//! - An attempt is written before its handler starts, and the verdict before the claim is given back. Who claims a record
//!   reads what was written up to then: so what is done is seen, and an attempt is counted once.
//! - No state is ahead of its data: a record is taken once it is durable.
//! - What a handler printed is written out before the record is acknowledged, and a dead letter is durable before the record
//!   is given up.

mod dead_letters;
mod error;
mod event;
mod handlers;
mod job;
mod options;
mod persistent;
mod queue;
pub mod supervisor;
mod taking;
mod verdicts;
mod worker;

pub use error::{Result, WorkError};
pub use event::{Event, Summary};
pub use handlers::find_command;
pub use options::{Backoff, Durable, Environment, Input, Interrupt, Mode, Options, Ordered, Start};
pub use worker::{Ended, Worker};
