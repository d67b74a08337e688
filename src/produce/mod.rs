//! Floor 5: from inputs to records on disk.
//!
//! A [`Producer`] has all of it: its `intake` cuts an [`Input`] into records and places each by the `partitioner`, the
//! `batcher` gathers them while input flows, a `pipeline` finishes the batches and hands them to the [`TopicWriter`], and the
//! `syncer` makes them durable on a thread of its own. What happens on the way is an [`Event`].
//!
//! Where each record names its topic, the intake has the router go to it, `topics` finds or makes it, and the batcher, the
//! pipeline and the writer know the partitions of all topics by their slots. There is one writer for all of them: what is
//! acknowledged, how much of the input is durable, and how many files are open, holds for the run and not for a topic.
//!
//! # How a run ends
//!
//! [`Producer::run`] ends in one order, whatever ends it: what was taken in is stored; the threads of the pipeline end, so
//! that nothing is stored after the last sync; everything is synced and the partitions are closed; then the file of rejected
//! inputs is synced. Of several errors the one is returned that says most about what is on disk: the last sync's, then the
//! intake's, then that of the rejected inputs.
//!
//! # Inputs to come
//!
//! A followed file is one more [`Input`]: [`Input::wait`] waits for the file to grow and [`Input::read`] goes on in its
//! successor. What it needs beyond that is where a batch came from: `Filling` carries the bytes of the input that its records
//! were made of, through the pipeline to the store, in the order of the input.

mod batcher;
mod error;
mod event;
mod gathering;
mod input;
mod input_prefix;
mod intake;
mod pacer;
mod partitioner;
mod pipeline;
mod producer;
mod recently_used;
mod record_maker;
mod rejects;
mod router;
mod store;
mod syncer;
mod topic_writer;
mod topics;

pub use error::{Place, Problem, ProduceError, Result};
pub use event::{Acknowledged, Event, Listener};
pub use input::{FileInput, Input, InputName, Readiness};
pub use input_prefix::InputPosition;
pub use intake::{Ended, Taken};
pub use pacer::Rate;
pub use partitioner::{Partitioner, murmur2};
pub use producer::{Clock, Options, Produced, Producer};
pub use record_maker::{NOT_BEFORE, NotBefore, RecordRule};
pub use rejects::Rejects;
pub use store::Written;
pub use syncer::SyncPolicy;
pub use topic_writer::TopicWriter;
pub use topics::MissingTopic;
