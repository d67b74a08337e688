//! A run from its inputs to its end.

use super::Result;
use super::batcher::{BatchRule, Batcher};
use super::error::ProduceError;
use super::event::{Event, Listener};
use super::gathering::{Gathering, Storing};
use super::input::Input;
use super::input_prefix::{InputPosition, InputPrefix, Origin};
use super::intake::{Ended, Intake, Taken};
use super::pacer::{Pacer, Rate};
use super::partitioner::Partitioner;
use super::pipeline::Pipeline;
use super::record_maker::RecordRule;
use super::rejects::Rejects;
use super::router::{Route, Router};
use super::store::{SharedStore, Store, Written, locked};
use super::syncer::SyncPolicy;
use super::topic_writer::TopicWriter;
use super::topics::{MissingTopic, RouteRule, Topics};
use crate::format::compression::{Codec, Compression};
use crate::logdir::{LogDir, Topic};
use crate::storage::Notice;
use crate::stream::framing::Framing;
use crate::units::{Timestamp, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How inputs become records.
pub struct Options {
    /// How an input is cut.
    pub framing: Framing,
    /// What a record is made of, beside its bytes.
    pub rule: RecordRule,
    /// The one partition for all of them.
    pub partition: Option<i32>,
    /// Otherwise, by what rule they are spread.
    pub partitioner: Partitioner,
    /// What batches are compressed with; otherwise what the topic says.
    pub compression: Option<Compression>,
    /// A batch is finished before it would exceed this.
    pub batch_size: u64,
    /// How long an input that stands still is waited for, to fill batches better.
    pub linger: Duration,
    /// When records are made durable.
    pub sync: SyncPolicy,
    /// How fast records are taken in at most.
    pub rate: Option<Rate>,
    /// What becomes of inputs that make no record.
    pub rejects: Rejects,
}

/// Appends records to topics.
pub struct Producer {
    intake: Intake,
    store: SharedStore,
    prefix: Arc<InputPrefix>,
    clock: Clock,
    listener: Listener,
}

/// What a run has done.
#[derive(Debug)]
pub struct Produced {
    /// What was stored, by partition.
    pub written: BTreeMap<TopicPartition, Written>,
    /// What was taken in.
    pub taken: Taken,
    /// How much of the input is durable or was rejected, without a gap.
    pub durable_input: InputPosition,
    /// How many inputs were left out.
    pub rejected: u64,
    /// What was done to partitions beside appending.
    pub notices: Vec<Notice>,
    /// How the last input ended; or, of the errors, the one that says most about what is on disk.
    pub ended: Result<Ended>,
}

impl Producer {
    /// A producer for one topic. No partition is opened before the first batch for it comes.
    ///
    /// # Errors
    /// When the topic does not have the partition, or its partitions have gaps.
    pub fn new(log_dir: LogDir, topic: Topic, options: Options, clock: Clock, listener: Listener) -> Result<Self> {
        let partition_count = match options.partition {
            Some(partition) => topic.partition(partition).map(|_| 1)?,
            None => topic.partition_count()?,
        };
        let route = RouteRule::new(&options).route(&topic, partition_count, 0);
        let prefix = Arc::<InputPrefix>::default();
        let writer = TopicWriter::new(log_dir, topic, options.sync, with_input(&prefix, &listener))?;
        Ok(Self::of(route, None, writer, prefix, options, clock, listener))
    }

    /// A producer of envelopes, each of which names its topic. No topic is looked for before a record names it.
    ///
    /// # Errors
    /// When the topics cannot be listed.
    pub fn by_topic(
        log_dir: LogDir,
        missing: MissingTopic,
        options: Options,
        clock: Clock,
        listener: Listener,
    ) -> Result<Self> {
        let rule = RouteRule::new(&options);
        let topics = Topics::new(log_dir.clone(), missing, rule);
        let prefix = Arc::<InputPrefix>::default();
        let writer = TopicWriter::of_topics(log_dir, options.sync, with_input(&prefix, &listener));
        let route = rule.to_nowhere(topics.record_size_max()?);
        Ok(Self::of(route, Some(topics), writer, prefix, options, clock, listener))
    }

    fn of(
        route: Route,
        topics: Option<Topics>,
        writer: TopicWriter,
        prefix: Arc<InputPrefix>,
        options: Options,
        clock: Clock,
        listener: Listener,
    ) -> Self {
        let gathering = gathering(&options, &writer);
        let (slots, BatchRule { batch_size, finishing, .. }) = (writer.slots(), route.batches);
        let store =
            Arc::new(Mutex::new(Store::new(writer, Arc::clone(&clock), Arc::clone(&prefix), Arc::clone(&listener))));
        // A checksum alone is sooner made than handed on.
        let compresses = topics.is_some() || finishing.compression.codec != Codec::None;
        let pipeline = pipeline(&store, batch_size, compresses);
        let mut batcher = Batcher::new(route.batches, pipeline, Arc::clone(&prefix));
        batcher.go_to(route.batches, slots);
        let Options { framing, rule, sync, rejects, rate, .. } = options;
        let router = Router {
            route,
            topics,
            batcher,
            record_size_max: finishing.batch_size_max,
            gathering,
            now: Timestamp::default(),
            rejected: InputPosition::default(),
            prefix: Arc::clone(&prefix),
            store: Arc::clone(&store),
            sync,
            rejects: rejects.ending_each_in(framing.delimiter()),
            clock: Arc::clone(&clock),
            listener: Arc::clone(&listener),
            pacer: rate.map(|rate| Pacer::new(rate, clock())),
        };
        Self { intake: Intake::new(framing, rule, router), store, prefix, clock, listener }
    }

    /// Takes inputs in, one after the other, each opened when its turn comes, and ends in order.
    pub fn run<I: Input>(self, inputs: impl IntoIterator<Item = Result<I>>) -> Produced {
        let Self { mut intake, store, prefix, clock, listener } = self;
        let ended = take_all(&mut intake, inputs);
        let taken = intake.taken();
        // The threads that store end here: nothing is stored after the last sync, and no reject is kept after its own.
        let (rejected, kept) = intake.finish();
        let mut store = locked(&store);
        let finished = store.writer.finish(clock()).map_err(ProduceError::from);
        for (topic, stretch, input) in prefix.take_held() {
            listener(Event::Durable { topic: &topic, stretch, input: Some(input) });
        }
        Produced {
            written: std::mem::take(&mut store.written),
            taken,
            durable_input: prefix.position(),
            rejected,
            notices: store.writer.take_notices(),
            // If the sync failed, why the input ended is of no interest any more.
            ended: finished.and(ended).and_then(|ended| kept.map(|()| ended)),
        }
    }
}

fn take_all<I: Input>(intake: &mut Intake, inputs: impl IntoIterator<Item = Result<I>>) -> Result<Ended> {
    for input in inputs {
        let ended = intake.take(&mut input?)?;
        if ended != Ended::Complete {
            return Ok(ended);
        }
    }
    Ok(Ended::Complete)
}

/// Adds to what a writer reports how much of the input it makes durable.
fn with_input(prefix: &Arc<InputPrefix>, listener: &Listener) -> Listener {
    let (prefix, listener) = (Arc::clone(prefix), Arc::clone(listener));
    Arc::new(move |event| match event {
        Event::Durable { topic, stretch, .. } => {
            if let Some(input) = prefix.durable(topic, &stretch) {
                listener(Event::Durable { topic, stretch, input: Some(input) });
            }
        }
        event => listener(event),
    })
}

/// A pipeline with as many workers as there are processors, which is asked for only where more than one can have work.
fn pipeline(store: &SharedStore, batch_size: usize, compresses: bool) -> Pipeline {
    let store = Arc::clone(store);
    let store_batches = Box::new(move |slot, batches: &mut [&mut [u8]], origins: &[Origin]| {
        Ok(locked(&store).store(slot, batches, origins)?)
    });
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    Pipeline::new(store_batches, batch_size, if compresses { processors() } else { 1 })
}

/// When what was gathered is stored.
fn gathering(options: &Options, writer: &TopicWriter) -> Gathering {
    let storing = match options.sync {
        SyncPolicy::Always => Storing::EachRead,
        SyncPolicy::Every(_) | SyncPolicy::End | SyncPolicy::Never => Storing::Idle(options.linger),
    };
    let mut gathering = Gathering::new(storing);
    if options.partition.is_none() && writer.closes_partitions() {
        gathering.spread();
    }
    match options.sync {
        SyncPolicy::Every(interval) => gathering.at_most(interval),
        SyncPolicy::Always | SyncPolicy::End | SyncPolicy::Never => gathering,
    }
}
