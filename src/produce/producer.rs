//! A run from its inputs to its end.

use super::Result;
use super::batcher::{BatchLimits, Batcher};
use super::error::ProduceError;
use super::event::{Event, Listener};
use super::gathering::{Gathering, Storing};
use super::input::Input;
use super::input_prefix::{InputPosition, InputPrefix, Origin};
use super::intake::{Ended, Intake, Taken};
use super::pacer::{Pacer, Rate};
use super::partitioner::Partitioner;
use super::pipeline::{Finishing, Pipeline};
use super::record_maker::RecordRule;
use super::rejects::Rejects;
use super::router::{Placement, Router};
use super::store::{SharedStore, Store, Written, locked};
use super::syncer::SyncPolicy;
use super::topic_writer::TopicWriter;
use crate::format::compression::Compression;
use crate::logdir::{LogDir, Topic};
use crate::storage::Notice;
use crate::stream::framing::Framing;
use crate::units::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long input is gathered where partitions are closed for others: each of them costs a sync then, and a pipe that its
/// writer fills again and again stands still after every few KiB.
const GATHERED_WHERE_SPREAD: Duration = Duration::from_millis(100);

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How inputs become records of a topic.
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

/// Appends records to a topic.
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
    pub written: BTreeMap<i32, Written>,
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
        let (config, partitions) = (topic.log_config(), topic.partitions.clone());
        let batch_size_max = config.batch_size_max();
        let batch_size = options.batch_size.min(batch_size_max as u64) as usize;
        let compression = options.compression.unwrap_or_else(|| topic.compression());
        let prefix = Arc::<InputPrefix>::default();
        let writer = TopicWriter::new(log_dir, topic, options.sync, with_input(&prefix, &listener))?;
        let gathering = gathering(&options, &writer);
        let store =
            Arc::new(Mutex::new(Store::new(writer, Arc::clone(&clock), Arc::clone(&prefix), Arc::clone(&listener))));
        let pipeline = pipeline(&store, Finishing { compression, batch_size_max }, batch_size);
        let partitions_max = partitions.last().map_or(0, |&last| last as usize + 1);
        let Options { framing, rule, partition, partitioner, sync, rejects, rate, .. } = options;
        let router = Router {
            placement: Placement { partition, partitioner, partition_count },
            partitions,
            batcher: Batcher::new(
                BatchLimits { batch_size, batch_size_max },
                pipeline,
                partitions_max,
                Arc::clone(&prefix),
            ),
            batch_size_max,
            gathering,
            needs_key: config.cleanup_policy.compact,
            next_in_turn: None,
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
        Ok(Self { intake: Intake::new(framing, rule, router), store, prefix, clock, listener })
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
        for (stretch, input) in prefix.take_held() {
            listener(Event::Durable { stretch, input: Some(input) });
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
        Event::Durable { stretch, .. } => {
            if let Some(input) = prefix.durable(&stretch) {
                listener(Event::Durable { stretch, input: Some(input) });
            }
        }
        event => listener(event),
    })
}

fn pipeline(store: &SharedStore, finishing: Finishing, batch_size: usize) -> Pipeline {
    let store = Arc::clone(store);
    let store_batches = Box::new(move |partition, batches: &mut [&mut [u8]], origins: &[Origin]| {
        Ok(locked(&store).store(partition, batches, origins)?)
    });
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    Pipeline::new(store_batches, finishing, batch_size, processors)
}

/// When what was gathered is stored.
fn gathering(options: &Options, writer: &TopicWriter) -> Gathering {
    let is_spread = options.partition.is_none() && writer.closes_partitions();
    let storing = match options.sync {
        SyncPolicy::Always => Storing::EachRead,
        _ if is_spread && options.linger < GATHERED_WHERE_SPREAD => Storing::Gathered(GATHERED_WHERE_SPREAD),
        SyncPolicy::Every(_) | SyncPolicy::End | SyncPolicy::Never => Storing::Idle(options.linger),
    };
    let gathering = Gathering::new(storing);
    match options.sync {
        SyncPolicy::Every(interval) => gathering.at_most(interval),
        SyncPolicy::Always | SyncPolicy::End | SyncPolicy::Never => gathering,
    }
}
