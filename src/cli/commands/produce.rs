use crate::cli::args::{self, Delimiter};
use crate::cli::exit::{self, Exit, OutputError};
use crate::cli::signals::Stop;
use crate::cli::ui::{Progress, Ui, Unit};
use crate::cli::{Context, now};
use crate::disk::real::open_input;
use crate::format::compression::Compression;
use crate::logdir::config::TopicConfig;
use crate::logdir::{Acknowledged, Created, LogDir, LogDirError, NewTopic, OnSync, SyncPolicy, Topic, TopicWriter};
use crate::storage::LogConfig;
use crate::stream::batcher::{BatchLimits, BatchSink, Batcher};
use crate::stream::framing::Framing;
use crate::stream::intake::{Ended, Input, Intake, IntakeSink, Placement, Readiness, RecordRule};
use crate::stream::partitioner::Partitioner;
use crate::units::{ByteSize, Duration, TopicName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Append records from stdin or from files
///
/// Each line is a record. What the input has ready is gathered into batches; as soon as it would block, what is there is
/// written, so a line typed into a pipe can be read at once. With exit status 0, every record is on disk (see --sync).
///
/// A record with a key goes where Kafka's Java client would send it; records without a key go round-robin, one by one.
///
/// Input formats (-i): `lines` ends each record with the delimiter; `json` takes the envelopes that `kdir consume -o json`
/// writes, one a line; `len32` has a big-endian 32-bit length before each value; `raw` is one record in all.
///
/// Limits: a batch, header included, is at most the smaller of max.message.bytes and segment.bytes, and a record must
/// fit a batch of its own before compression. An input that holds something else is stored up to it, and the line and the
/// reason are named.
///
/// On SIGINT or SIGTERM the complete records that were read are stored and synced; a line that has only begun is not.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  tail -F /var/log/app.log | kdir produce --create app -z zstd")]
pub(crate) struct ProduceArgs {
    /// The topic
    #[arg(value_parser = args::topic)]
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

    /// The key of every record
    #[arg(short, long, conflicts_with = "key_delimiter", help_heading = "Records")]
    key: Option<String>,
    /// What stands between key and value of each record, as in -K '\t'
    #[arg(short = 'K', long, value_name = "BYTES", value_parser = args::delimiter, help_heading = "Records")]
    key_delimiter: Option<Delimiter>,
    /// A header for every record (can be repeated)
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = args::key_value, help_heading = "Records")]
    header: Vec<(String, String)>,
    /// The timestamp of every record, in place of the time it is read; -1 is none
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, help_heading = "Records")]
    timestamp: Option<String>,
    /// Store empty keys and values as null
    #[arg(short = 'Z', long, help_heading = "Records")]
    null_empty: bool,

    /// The partition for every record
    #[arg(short, long, value_name = "N", help_heading = "Placement")]
    partition: Option<i32>,
    /// How keys choose a partition: as Kafka's Java client, as librdkafka's `consistent`, or not at all
    #[arg(long, value_name = "NAME", default_value = "murmur2", help_heading = "Placement")]
    partitioner: PartitionerName,

    /// Compress batches [default: the topic's compression.type]
    #[arg(short = 'z', long, value_name = "none|gzip|snappy|lz4|zstd[:LEVEL]")]
    #[arg(value_parser = parse_compression, help_heading = "Batches")]
    compression: Option<Compression>,
    /// Gather up to this many bytes into a batch, before compression
    #[arg(long, value_name = "SIZE", default_value = "128KiB", help_heading = "Batches")]
    batch_size: ByteSize,
    /// Wait this long for more when the input stands still, to fill batches better
    #[arg(long, value_name = "DURATION", default_value = "0s", help_heading = "Batches")]
    linger: Duration,
    /// When records are made durable: before more is read, at the end, never, or at least this often
    ///
    /// Whatever is chosen but `never`, everything is durable before exit status 0. A reader may show records before they
    /// are durable; after a power failure their offsets can be given again. With `never`, a power failure can also leave a
    /// log that needs repair.
    #[arg(long, value_name = "always|end|never|DURATION", default_value = "1s")]
    #[arg(value_parser = sync_policy, help_heading = "Batches")]
    sync: SyncPolicy,

    /// `json`: a line on stdout for each stretch of records that has become durable, and a summary
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: SummaryFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum InputFormat {
    Lines,
    Json,
    Len32,
    Raw,
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
    let mut inputs = open_inputs(args, &stop)?;
    let log_dir = Arc::new(if args.create { context.open_or_make()? } else { context.open_to_write()? });
    let topic = find_or_create(args, &log_dir)?;
    if let Some(mark) = log_dir.broker_mark()? {
        context
            .ui
            .warning(&format!("this log dir belongs to a Kafka broker ({mark} is there), which is to stay stopped"));
    }
    let config = topic.log_config();
    let rule = RecordRule { needs_key: config.cleanup_policy.compact, ..rule };
    let mut intake = intake(args, &topic, &config, rule)?;
    let acknowledgements = Arc::new(Acknowledgements::new(args, context.ui, &topic, &stop)?);
    let on_sync: Arc<dyn OnSync> = Arc::clone(&acknowledgements) as Arc<dyn OnSync>;
    let total = total_size(&inputs);
    let mut sink = Sink {
        writer: TopicWriter::new(log_dir, topic, args.sync, on_sync),
        ui: context.ui,
        progress: context.ui.progress(total, if total.is_some() { Unit::Bytes } else { Unit::Records }),
        by_bytes: total.is_some(),
        written: BTreeMap::new(),
        started,
    };
    let taken = take_all(&mut intake, &mut inputs, &mut sink);
    let finished = sink.writer.finish(now().0).map_err(anyhow::Error::from);
    sink.progress.finish();
    sink.tell_notices();
    let summary = Summary { sink: &sink, bytes: intake.taken().0, seconds: started.elapsed().as_secs_f64() };
    let summarized = match args.output {
        SummaryFormat::Json => context.ui.data(&summary.json()),
        SummaryFormat::Text => {
            context.ui.status(&summary.text());
            Ok(())
        }
    };
    // The sync comes first: if it failed, why the input ended is of no interest any more.
    finished?;
    let ended = taken?;
    summarized?;
    acknowledgements.result()?;
    match (ended, stop.signal()) {
        (Ended::Stopped { left_out }, Some(signal)) => {
            if left_out > 0 {
                let bytes = super::counted(left_out as u64, "byte");
                context.ui.warning(&format!("the last line was not complete and was not stored ({bytes})"));
            }
            Ok(Exit::Signal(signal))
        }
        _ => Ok(Exit::Done),
    }
}

fn rule(args: &ProduceArgs, context: &Context) -> anyhow::Result<RecordRule> {
    let is_json = args.input == InputFormat::Json;
    if is_json && (args.key.is_some() || args.key_delimiter.is_some() || !args.header.is_empty() || args.null_empty) {
        return Err(exit::usage("-i json has keys, headers and nulls of its own: leave out -k, -K, -H and -Z"));
    }
    let bytes = |text: &String| text.clone().into_bytes();
    let timestamp_ms = match &args.timestamp {
        Some(text) => Some(args::time("--timestamp", text, &context.zone)?.0),
        None => None,
    };
    if timestamp_ms.is_some_and(|timestamp| timestamp < -1) {
        return Err(exit::usage("--timestamp lies before 1970, and Kafka has no such timestamps"));
    }
    Ok(RecordRule {
        key: args.key.as_ref().map(bytes),
        key_delimiter: args.key_delimiter.as_ref().map(|delimiter| delimiter.0.clone()),
        headers: args.header.iter().map(|(name, value)| (bytes(name), Some(bytes(value)))).collect(),
        timestamp_ms,
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

fn intake(args: &ProduceArgs, topic: &Topic, config: &LogConfig, rule: RecordRule) -> anyhow::Result<Intake> {
    if let Some(partition) = args.partition {
        topic.partition(partition)?;
    }
    let framing = match args.input {
        InputFormat::Lines => Framing::delimited(&args.delimiter.0),
        InputFormat::Json => Framing::delimited(b"\n"),
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
    let batcher = Batcher::new(limits, compression, config.timestamp_type, partitions_max);
    let placement = Placement { partition: args.partition, partitioner, partition_count };
    Ok(Intake::new(framing, rule, placement, batcher, batch_size_max, args.linger.as_std()))
}

fn take_all(intake: &mut Intake, inputs: &mut [FileInput<'_>], sink: &mut Sink) -> anyhow::Result<Ended> {
    for input in inputs {
        let ended = intake.take(input, sink)?;
        if ended != Ended::Complete {
            return Ok(ended);
        }
    }
    Ok(Ended::Complete)
}

/// A file or stdin.
struct FileInput<'a> {
    file: File,
    name: String,
    stop: BorrowedFd<'a>,
}

fn open_inputs<'a>(args: &ProduceArgs, stop: &'a Stop) -> anyhow::Result<Vec<FileInput<'a>>> {
    let open = |path: &PathBuf| -> anyhow::Result<FileInput<'a>> {
        let stop = stop.descriptor();
        if path.as_path() == Path::new("-") {
            let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            return Ok(FileInput { file, name: "stdin".into(), stop });
        }
        Ok(FileInput { file: open_input(path)?, name: path.display().to_string(), stop })
    };
    let stdin = [PathBuf::from("-")];
    if args.files.is_empty() { &stdin[..] } else { &args.files[..] }.iter().map(open).collect()
}

/// The bytes of all inputs, if each of them is a file with a size.
fn total_size(inputs: &[FileInput<'_>]) -> Option<u64> {
    let size = |input: &FileInput<'_>| input.file.metadata().ok().filter(|it| it.is_file()).map(|it| it.len());
    inputs.iter().map(size).sum()
}

impl Input for FileInput<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn wait(&mut self, timeout: Option<std::time::Duration>) -> io::Result<Readiness> {
        let timeout = timeout.map(|it| Timespec { tv_sec: it.as_secs() as i64, tv_nsec: i64::from(it.subsec_nanos()) });
        let mut descriptors =
            [PollFd::new(&self.file, PollFlags::IN), PollFd::from_borrowed_fd(self.stop, PollFlags::IN)];
        loop {
            match poll(&mut descriptors, timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) if !descriptors[1].revents().is_empty() => return Ok(Readiness::Stop),
                Ok(0) => return Ok(Readiness::NotReady),
                Ok(_) => return Ok(Readiness::Ready),
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

/// What was written to a partition.
struct Written {
    base_offset: i64,
    last_offset: i64,
    records: u64,
}

/// Stores batches and shows how far the work has come.
struct Sink {
    writer: TopicWriter,
    ui: Ui,
    progress: Progress,
    by_bytes: bool,
    written: BTreeMap<i32, Written>,
    started: Instant,
}

impl Sink {
    fn tell_notices(&mut self) {
        for notice in self.writer.take_notices() {
            self.ui.warning(&super::told(&notice));
        }
    }
}

impl BatchSink for Sink {
    type Error = anyhow::Error;

    fn append(&mut self, partition: i32, batch: &mut [u8], record_count: i32) -> anyhow::Result<()> {
        let appended = self.writer.append(partition, batch, now().0)?;
        let (base_offset, last_offset) = (appended.base_offset.0, appended.last_offset.0);
        let written = self.written.entry(partition).or_insert(Written { base_offset, last_offset, records: 0 });
        written.last_offset = last_offset;
        written.records += record_count as u64;
        Ok(())
    }
}

impl IntakeSink for Sink {
    fn now_ms(&self) -> i64 {
        now().0
    }

    fn round_robin_start(&mut self) -> anyhow::Result<i64> {
        Ok(self.writer.log_end_offsets_sum()?)
    }

    fn has_partition(&self, partition: i32) -> bool {
        self.writer.topic().partitions.binary_search(&partition).is_ok()
    }

    fn sync_point(&mut self) -> anyhow::Result<()> {
        Ok(self.writer.sync_point()?)
    }

    fn progress(&mut self, bytes: u64, records: u64) {
        let (started, position) = (self.started, if self.by_bytes { bytes } else { records });
        let by_bytes = self.by_bytes;
        self.progress.set(position, || {
            if by_bytes {
                return super::counted(records, "record");
            }
            let rate = bytes as f64 / started.elapsed().as_secs_f64().max(0.001);
            format!("{}  {}/s", ByteSize(bytes), ByteSize(rate as u64))
        });
    }
}

/// Says on stdout what has become durable, and stops the input when a sync fails.
struct Acknowledgements {
    ui: Ui,
    topic: String,
    is_json: bool,
    waker: UnixStream,
    /// The first write that failed; what came after it was not said.
    failed: Mutex<Option<OutputError>>,
}

impl Acknowledgements {
    fn new(args: &ProduceArgs, ui: Ui, topic: &Topic, stop: &Stop) -> io::Result<Self> {
        let is_json = args.output == SummaryFormat::Json;
        Ok(Self { ui, topic: topic.name.to_string(), is_json, waker: stop.waker()?, failed: Mutex::new(None) })
    }

    fn result(&self) -> Result<(), OutputError> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

impl OnSync for Acknowledgements {
    fn acknowledged(&self, stretch: &Acknowledged) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_json && failed.is_none() {
            let line = json!({
                "event": "durable",
                "topic": self.topic,
                "partition": stretch.partition,
                "base_offset": stretch.base_offset.0,
                "last_offset": stretch.last_offset.0,
            });
            *failed = self.ui.data(format!("{line}\n").as_bytes()).err();
        }
    }

    fn failed(&self) {
        // A full pipe holds a byte that wakes already.
        let _ = (&self.waker).write(&[0]);
    }
}

/// What a run has done.
struct Summary<'a> {
    sink: &'a Sink,
    bytes: u64,
    seconds: f64,
}

impl Summary<'_> {
    fn records(&self) -> u64 {
        self.sink.written.values().map(|written| written.records).sum()
    }

    fn text(&self) -> String {
        let shown = |(partition, written): (&i32, &Written)| {
            let Written { base_offset, last_offset, .. } = written;
            if base_offset == last_offset {
                format!("partition {partition}: offset {base_offset}")
            } else {
                format!("partition {partition}: offsets {base_offset} to {last_offset}")
            }
        };
        const SHOWN_MAX: usize = 16;
        let mut partitions: Vec<String> = self.sink.written.iter().take(SHOWN_MAX).map(shown).collect();
        if self.sink.written.len() > SHOWN_MAX {
            partitions.push(format!("and {} more partitions", self.sink.written.len() - SHOWN_MAX));
        }
        let offsets = if partitions.is_empty() { String::new() } else { format!(" ({})", partitions.join(", ")) };
        format!(
            "produced {}, {}, to {}{offsets} in {:.3} s",
            super::counted(self.records(), "record"),
            ByteSize(self.bytes),
            self.sink.writer.topic().name,
            self.seconds
        )
    }

    fn json(&self) -> Vec<u8> {
        let partition = |(partition, written): (&i32, &Written)| {
            json!({
                "partition": partition,
                "base_offset": written.base_offset,
                "last_offset": written.last_offset,
                "records": written.records,
            })
        };
        let line = json!({
            "event": "summary",
            "topic": self.sink.writer.topic().name.as_str(),
            "records": self.records(),
            "bytes": self.bytes,
            "seconds": self.seconds,
            "partitions": self.sink.written.iter().map(partition).collect::<Vec<_>>(),
        });
        format!("{line}\n").into_bytes()
    }
}
