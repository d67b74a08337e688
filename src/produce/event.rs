//! What a run reports while it goes on.

use super::error::Problem;
use super::input_prefix::InputPosition;
use super::intake::Taken;
use crate::units::{Offset, TopicName};
use std::sync::Arc;

/// Records that have become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// The partition's number.
    pub partition: i32,
    /// The first offset.
    pub base_offset: Offset,
    /// The last offset.
    pub last_offset: Offset,
}

/// What happens during a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// So much has been taken in; after each read.
    Progress(Taken),
    /// An input was left out, since it makes no record.
    Rejected(&'a Problem),
    /// Records have become durable.
    Durable {
        /// Of which topic.
        topic: &'a TopicName,
        /// Which.
        stretch: Acknowledged,
        /// How much of the input is durable or was rejected by now, without a gap; `None` where a writer has no input.
        input: Option<InputPosition>,
    },
    /// A sync beside the intake has failed: an input that waits is to be woken and to end with
    /// [`Readiness::Stop`](super::Readiness::Stop).
    SyncFailed,
}

/// Is called with each event, on the thread where it happens.
pub type Listener = Arc<dyn Fn(Event<'_>) + Send + Sync>;
