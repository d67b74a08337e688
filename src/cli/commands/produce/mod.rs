mod input;
mod rejects;
mod report;
mod sink;

use crate::cli::args::{self, Delimiter};
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::signals::Stop;
use crate::cli::times::{self, LineTimeArgs};
use crate::cli::ui::Unit;
use crate::cli::{Context, now};
use crate::format::compression::Compression;
use crate::logdir::config::TopicConfig;
use crate::logdir::{Created, LogDir, LogDirError, NewTopic, OnSync, SyncPolicy, Topic, TopicWriter};
use crate::storage::LogConfig;
use crate::stream::batcher::{BatchLimits, Batcher};
use crate::stream::framing::Framing;
use crate::stream::intake::{Ended, Intake, Placement, RecordRule, Taken};
use crate::stream::partitioner::Partitioner;
use crate::stream::pipeline::{Finishing, Pipeline};
use crate::stream::storing::Storing;
use crate::units::{ByteSize, Duration, Timestamp, TopicName};
use input::{InputName, find_inputs, total_size};
use rejects::Rejects;
use report::{Acknowledgements, Summary};
use sink::{Sink, Store};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Append records from stdin or from files
///
/// Each line is a record. What the input has ready is gathered into batches; as soon as it would block, what is there is
/// written, so a line typed into a pipe can be read at once. With exit status 0, every record is on disk (see --sync).
///
/// A record with a key goes where Kafka's Java client would send it; records without a key go round-robin, one by one.
///
/// Input formats (-i): `lines` ends each record with the delimiter; `json` takes the envelopes that `kdir consume -o json`
/// writes, or those of `kcat -J`, one a line; `len32` has a big-endian 32-bit length before each value; `raw` is one record
/// in all.
///
/// Limits: a batch, header included, is at most the smaller of max.message.bytes and segment.bytes, and a record must
/// fit a batch of its own before compression. An input that holds something else (a line that is too long, without its key
/// delimiter, or no envelope; a record without a key for a compacted topic; a partition that is not there) is stored up to
/// it, and the line and the reason are named. With `--on-error skip` it is left out instead, and the exit status is 3.
///
/// On SIGINT or SIGTERM the complete records that were read are stored and synced; a line that has only begun is not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  tail -F /var/log/app.log | kdir produce --create app -z zstd\n  \
                       kdir produce --create web --timestamp-format clf /var/log/nginx/access.log\n  \
                       docker logs -t web | kdir produce --create web --timestamp-format rfc3339\n  \
                       kdir produce --create app --timestamp-field ts --timestamp-format epoch-ms app.json")]
pub(crate) struct ProduceArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    topic: TopicName,
    /// Files to read in place of stdin, one after the other; - is stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Make the topic, with one partition and Kafka's defaults, where it is missing
    #[arg(long)]
    create: bool,

    /// How the input is cut into records
    #[arg(short, long, value_name = "FORMAT", default_value = "lines", help_heading = "Input")]
    input: InputFormat,
    /// What ends a record: any bytes; \n \t \r \0 \\ and \xHH are understood
    #[arg(short = 'D', long, value_name = "BYTES", default_value = r"\n")]
    #[arg(value_parser = args::delimiter, help_heading = "Input")]
    delimiter: Delimiter,
    /// What to do about an input that makes no record: stop there, or leave it out and go on [default: stop]
    #[arg(long, value_name = "stop|skip", help_heading = "Input")]
    on_error: Option<OnError>,
    /// Add what is left out to the end of FILE, as it stood in the input; means --on-error skip
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    rejects: Option<PathBuf>,

    /// The key of every record
    #[arg(short, long, conflicts_with = "key_delimiter", help_heading = "Records")]
    key: Option<String>,
    /// What stands between key and value of each record, as in -K '\t'
    #[arg(short = 'K', long, allow_hyphen_values = true)]
    #[arg(value_name = "BYTES", value_parser = args::delimiter, help_heading = "Records")]
    key_delimiter: Option<Delimiter>,
    /// A header for every record (can be repeated)
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = args::key_value, help_heading = "Records")]
    header: Vec<(String, String)>,
    /// The timestamp of every record, in place of the time it is read; -1 is none
    ///
    /// `kdir consume --help` has the forms of times.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Records")]
    timestamp: Option<String>,
    #[command(flatten)]
    line_time: LineTimeArgs,
    /// Store empty keys and values as null
    #[arg(short = 'Z', long, help_heading = "Records")]
    null_empty: bool,

    /// The partition for every record
    #[arg(short, long, value_name = "N", help_heading = "Placement")]
    #[arg(add = complete::partitions())]
    partition: Option<i32>,
    /// How keys choose a partition: as Kafka's Java client, as librdkafka's `consistent`, or not at all
    #[arg(long, value_name = "NAME", default_value = "murmur2", help_heading = "Placement")]
    partitioner: PartitionerName,

    /// Compress batches [default: the topic's compression.type]
    #[arg(short = 'z', long, value_name = "none|gzip|snappy|lz4|zstd[:LEVEL]")]
    #[arg(value_parser = parse_compression, help_heading = "Batches")]
    compression: Option<Compression>,
    /// Gather up to this many bytes into a batch, before compression
    ///
    /// Each partition that records go to has a batch of its own, and as much memory as has come into it.
    #[arg(long, value_name = "SIZE", default_value = "128KiB", help_heading = "Batches")]
    batch_size: ByteSize,
    /// Wait this long for more when the input stands still, to fill batches better
    ///
    /// Where the topic has more partitions than the process may have files for (`ulimit -n`), they are closed and opened in
    /// turn, and input is gathered for 100 ms at least.
    #[arg(long, value_name = "DURATION", default_value = "0s", help_heading = "Batches")]
    linger: Duration,
    /// When records are made durable: before more is read, at the end, never, or at least this often
    ///
    /// With `always`, a batch holds no more than one read of the input (256 KiB, or one larger record), and --linger has no
    /// effect. With a duration, records are gathered for that long at most, even while input never stops, and are also
    /// synced whenever 64 MiB have come together. Whatever is chosen but `never`, everything is
    /// durable before exit status 0. A reader may show records before they are durable; after a power failure their
    /// offsets can be given again. With `never`, the next run with a sync writes the records again to make them durable, and
    /// until then `consume --cursor-file` keeps no position past them.
    #[arg(long, value_name = "always|end|never|DURATION", default_value = "1s")]
    #[arg(value_parser = sync_policy, help_heading = "Batches")]
    sync: SyncPolicy,

    /// `json`: a line on stdout for each stretch of records that has become durable, and a summary
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: SummaryFormat,
}

/// How long input is gathered where partitions are closed for others: each of them costs a sync then, and a pipe that its
/// writer fills again and again stands still after every few KiB.
const GATHERED_WHERE_SPREAD: std::time::Duration = std::time::Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputFormat {
    Lines,
    Json,
    Len32,
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OnError {
    Stop,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum PartitionerName {
    Murmur2,
    Crc32,
    RoundRobin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SummaryFormat {
    /// A summary on stderr
    Text,
    /// JSON lines on stdout
    Json,
}

fn parse_compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|error| format!("{error}"))
}

fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "always" => Ok(SyncPolicy::Always),
        "end" => Ok(SyncPolicy::End),
        "never" => Ok(SyncPolicy::Never),
        _ => match text.parse::<Duration>() {
            Ok(duration) if duration.0 > 0 => Ok(SyncPolicy::Every(duration.as_std())),
            Ok(_) => Ok(SyncPolicy::Always),
            Err(error) => Err(format!("expected always, end, never or a duration: {error}")),
        },
    }
}

pub(crate) fn run(args: &ProduceArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let rule = rule(args, context)?;
    let stop = Stop::on_signals()?;
    let inputs = find_inputs(args)?;
    let log_dir = if args.create { context.open_or_make()? } else { context.open_to_write()? };
    let topic = find_or_create(args, &log_dir)?;
    if let Some(mark) = log_dir.broker_mark()? {
        context
            .ui
            .warning(&format!("this log dir belongs to a Kafka broker ({mark} is there), which is to stay stopped"));
    }
    let config = topic.log_config();
    let rule = RecordRule { needs_key: config.cleanup_policy.compact, ..rule };
    let acknowledgements =
        Arc::new(Acknowledgements::new(args.output == SummaryFormat::Json, context.ui, &topic, &stop)?);
    let on_sync: Arc<dyn OnSync> = Arc::clone(&acknowledgements) as Arc<dyn OnSync>;
    let total = total_size(&inputs);
    let rejects = Rejects::new(args, &inputs, end_of_record(args), context.ui)?;
    let writer = TopicWriter::new(log_dir, topic.clone(), args.sync, on_sync)?;
    let storing = storing(args, &writer);
    let store = Arc::new(Mutex::new(Store { writer, written: BTreeMap::new() }));
    let mut intake = intake(args, &topic, &config, rule, storing, Arc::clone(&store))?;
    let mut sink = Sink {
        store,
        topic,
        ui: context.ui,
        progress: context.ui.progress(total, if total.is_some() { Unit::Bytes } else { Unit::Records }),
        by_bytes: total.is_some(),
        rejects,
        started,
    };
    let ended = take_all(&mut intake, &inputs, &stop, &mut sink);
    let taken = intake.taken();
    // Its threads end here: nothing is stored after the last sync.
    drop(intake);
    let finished = sink.store().writer.finish(now()).map_err(anyhow::Error::from);
    let kept = sink.rejects.finish();
    sink.progress.finish();
    sink.tell_notices();
    times::warn_of_passes(context.ui, taken.passes);
    let summarized = summarize(args, context, &sink, &acknowledgements, &taken);
    // The sync comes first: if it failed, why the input ended is of no interest any more.
    finished?;
    let ended = ended?;
    kept?;
    summarized?;
    acknowledgements.result()?;
    Ok(exit_of(ended, &stop, &sink))
}

/// Says what was stored and what was not.
fn summarize(
    args: &ProduceArgs,
    context: &Context,
    sink: &Sink,
    acknowledgements: &Acknowledgements,
    taken: &Taken,
) -> anyhow::Result<()> {
    let written = std::mem::take(&mut sink.store().written);
    let summary = Summary {
        topic: sink.topic.name.as_str(),
        written: &written,
        acknowledged: &acknowledgements.records(),
        names_unacknowledged: args.sync != SyncPolicy::Never,
        rejected: sink.rejects.count,
        rejected_text: sink.rejects.told(),
        untimed: taken.untimed,
        seconds: sink.started.elapsed().as_secs_f64(),
    };
    match args.output {
        SummaryFormat::Json => context.ui.data(&summary.json())?,
        SummaryFormat::Text => context.ui.status(&summary.text()),
    }
    Ok(())
}

/// How a run ends that has stored all it was to.
fn exit_of(ended: Ended, stop: &Stop, sink: &Sink) -> Exit {
    match (ended, stop.signal()) {
        (Ended::Stopped { left_out }, Some(signal)) => {
            if left_out > 0 {
                let bytes = super::counted(left_out as u64, "byte");
                sink.ui.warning(&format!("the last line was not complete and was not stored ({bytes})"));
            }
            Exit::Signal(signal)
        }
        _ if sink.rejects.count > 0 => Exit::Told(exit::REJECTED),
        _ => Exit::Done,
    }
}

/// What ends a record in the input.
fn end_of_record(args: &ProduceArgs) -> &[u8] {
    match args.input {
        InputFormat::Lines => &args.delimiter.0,
        InputFormat::Json => b"\n",
        InputFormat::Len32 | InputFormat::Raw => b"",
    }
}

fn rule(args: &ProduceArgs, context: &Context) -> anyhow::Result<RecordRule> {
    let is_json = args.input == InputFormat::Json;
    if is_json && (args.key.is_some() || args.key_delimiter.is_some() || !args.header.is_empty() || args.null_empty) {
        return Err(exit::usage("-i json has keys, headers and nulls of its own: leave out -k, -K, -H and -Z"));
    }
    let bytes = |text: &String| text.clone().into_bytes();
    if is_json && args.line_time.is_given() {
        return Err(exit::usage("-i json has timestamps of its own: leave out --timestamp-format"));
    }
    let timestamp = match &args.timestamp {
        Some(text) if text == "-1" => Some(Timestamp::NONE),
        Some(text) => Some(args::time("--timestamp", text, &context.zone)?),
        None => None,
    };
    if timestamp.is_some_and(|timestamp| timestamp < Timestamp::NONE) {
        return Err(exit::usage("--timestamp lies before 1970, and Kafka has no such timestamps"));
    }
    Ok(RecordRule {
        key: args.key.as_ref().map(bytes),
        key_delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
        headers: args.header.iter().map(|(name, value)| (bytes(name), Some(bytes(value)))).collect(),
        timestamp,
        line_time: args.line_time.read(&context.zone)?,
        null_empty: args.null_empty,
        is_json,
        needs_key: false,
    })
}

fn find_or_create(args: &ProduceArgs, log_dir: &LogDir) -> anyhow::Result<Topic> {
    match log_dir.topic(&args.topic) {
        Err(LogDirError::TopicNotFound { .. }) if args.create => {
            let new = NewTopic { name: args.topic.clone(), partitions: 1, config: TopicConfig::default() };
            let (Created::New(topic) | Created::Existing(topic)) = log_dir.create_topic(&new)?;
            Ok(topic)
        }
        found => Ok(found?),
    }
}

/// When what was gathered is stored.
fn storing(args: &ProduceArgs, writer: &TopicWriter) -> Storing {
    let linger = args.linger.as_std();
    let is_spread = args.partition.is_none() && writer.closes_partitions();
    match args.sync {
        SyncPolicy::Always => Storing::EachRead,
        _ if is_spread && linger < GATHERED_WHERE_SPREAD => Storing::Gathered(GATHERED_WHERE_SPREAD),
        SyncPolicy::Every(_) | SyncPolicy::End | SyncPolicy::Never => Storing::Idle(linger),
    }
}

fn intake(
    args: &ProduceArgs,
    topic: &Topic,
    config: &LogConfig,
    rule: RecordRule,
    storing: Storing,
    store: Arc<Mutex<Store>>,
) -> anyhow::Result<Intake<Store>> {
    if let Some(partition) = args.partition {
        topic.partition(partition)?;
    }
    let framing = match args.input {
        InputFormat::Lines | InputFormat::Json => Framing::delimited(end_of_record(args)),
        InputFormat::Len32 => Framing::Len32,
        InputFormat::Raw => Framing::Raw,
    };
    let partitioner = match args.partitioner {
        PartitionerName::Murmur2 => Partitioner::Murmur2,
        PartitionerName::Crc32 => Partitioner::Crc32,
        PartitionerName::RoundRobin => Partitioner::RoundRobin,
    };
    let partition_count = match args.partition {
        Some(_) => 1,
        None => topic.partition_count()?,
    };
    let batch_size_max = config.batch_size_max();
    let limits = BatchLimits { batch_size: args.batch_size.0.min(batch_size_max as u64) as usize, batch_size_max };
    let partitions_max = topic.partitions.last().map_or(0, |&last| last as usize + 1);
    let compression = args.compression.unwrap_or_else(|| topic.compression());
    let finishing = Finishing { compression, batch_size_max };
    let processors = || std::thread::available_parallelism().map_or(1, usize::from);
    let pipeline = Pipeline::new(store, finishing, limits.batch_size, processors);
    let batcher = Batcher::new(limits, pipeline, partitions_max);
    let placement = Placement { partition: args.partition, partitioner, partition_count };
    let intake = Intake::new(framing, rule, placement, batcher, batch_size_max, storing);
    Ok(match args.sync {
        SyncPolicy::Every(interval) => intake.gathering_at_most(interval),
        SyncPolicy::Always | SyncPolicy::End | SyncPolicy::Never => intake,
    })
}

fn take_all(
    intake: &mut Intake<Store>,
    inputs: &[InputName<'_>],
    stop: &Stop,
    sink: &mut Sink,
) -> anyhow::Result<Ended> {
    for input in inputs {
        let ended = intake.take(&mut input.open(stop)?, sink)?;
        if ended != Ended::Complete {
            return Ok(ended);
        }
    }
    Ok(Ended::Complete)
}
