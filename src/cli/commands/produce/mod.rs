mod options;
mod report;

use crate::cli::args::{self, Bytes, Delimiter, Header};
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::signals::Stop;
use crate::cli::times::{self, LineTimeArgs};
use crate::cli::ui::{self, Ui};
use crate::cli::{Context, now};
use crate::format::compression::Compression;
use crate::format::internal::InternalTopic;
use crate::logdir::config::TopicConfig;
use crate::logdir::topic::PARTITIONS_MAX;
use crate::logdir::{Created, LogDir, LogDirError, NewTopic, Topic};
use crate::produce::{Ended, InputName, MissingTopic, Problem, ProduceError, Produced, Producer, Rate, SyncPolicy};
use crate::units::{ByteSize, Duration, TopicName};
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use options::{InputFormat, OnError, PartitionerName, ValueAs, options, parse_compression, rate, rejects, sync_policy};
use report::{Report, SummaryFormat};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Append records from stdin or from files
///
/// Each line is a record. What the input has ready is gathered into batches; as soon as it would block, what is there is
/// written, so a line typed into a pipe can be read at once. With exit status 0, every record is on disk (see --sync).
///
/// A record with a key goes where Kafka's Java client would send it; records without a key go round-robin, one by one.
///
/// Input formats (-i): `lines` ends each record with the delimiter; `json` takes the envelopes that `kdir consume -o json`
/// writes, or those of `kcat -J`, one a line, and passes over blank lines. Their timestamps are in ms; one before 1990 or after
/// 2100 is an error (it may be in seconds) unless a timestamp_type is beside it, as those two commands write it. `len32` has a
/// big-endian 32-bit length before each value; `raw` is one record in all.
///
/// An envelope has a `value`, and where they are wanted a `key`, `headers`, a `timestamp` in ms and a `partition`; what is not
/// UTF-8 is base64 in `value_b64` and `key_b64`, and null is null:
/// `{"key":"k", "value":"v", "headers":[{"key":"h", "value":"x"}], "timestamp":1700000000000}`
///
/// Limits: a batch, header included, is at most the smaller of max.message.bytes and segment.bytes, and a record must
/// fit a batch of its own before compression. An input that holds something else (a line that is too long, without its key
/// delimiter, or no envelope; a record without a key for a compacted topic; a partition that is not there) is stored up to
/// it, and the line and the reason are named. With `--on-error skip` it is left out instead, and the exit status is 3.
///
/// On SIGINT, SIGTERM or SIGHUP the complete records that were read are stored and synced; a line that has only begun is not.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  tail -F /var/log/app.log | kdir produce --create app -z zstd --linger 500ms\n  \
                       kdir produce --create web --timestamp-format clf /var/log/nginx/access.log\n  \
                       docker logs -t web | kdir produce --create web --timestamp-format rfc3339\n  \
                       journalctl -o short-unix | kdir produce --create journal --timestamp-format epoch\n  \
                       kdir produce --create mail --timestamp-format syslog /var/log/mail.log\n  \
                       kdir produce app --timestamp-regex 'at=(\\S+)' --timestamp-format '%FT%T%Z' app.txt\n  \
                       kdir produce --create app --timestamp-field ts --timestamp-format epoch-ms app.json\n  \
                       kdir produce --create -P 3 orders -K , orders.csv\n  \
                       kdir produce events -i json --value-as json events.jsonl\n  \
                       kdir consume app web -o json | kdir -d COPY produce --by-topic --create -i json\n  \
                       kdir produce app --timestamp-delimiter '\\t' --headers-delimiter '\\t' -K '\\t' console.tsv\n  \
                       kdir produce app --rate 100 app.log\n  \
                       kdir produce --create jobs --delay 10m urls.txt"
)]
pub(crate) struct ProduceArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    #[arg(required_unless_present = "by_topic")]
    topic: Option<TopicName>,
    /// Files to read in place of stdin, one after the other; - is stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// In place of TOPIC: each envelope of -i json, read from stdin, goes to the topic that it names
    ///
    /// An envelope without a topic, or with one that is missing (see --create), is an input that makes no record, and so is
    /// one of Kafka's internal topics. The partition that an envelope names is taken in its topic.
    #[arg(long)]
    by_topic: bool,
    /// Make the topic, with Kafka's defaults, where it is missing; with --by-topic each of them
    #[arg(long)]
    create: bool,
    /// Write to a topic whose records Kafka's coordinators have to understand, such as __consumer_offsets
    ///
    /// A single record that they do not costs a broker all groups of the partition.
    #[arg(long)]
    internal: bool,
    /// How many partitions a topic has that --create makes [default: 1]
    #[arg(short = 'P', long, value_name = "N", requires = "create", value_parser = args::partition_count)]
    partitions: Option<i32>,

    /// How the input is cut into records
    #[arg(short, long, value_name = "FORMAT", default_value = "lines", help_heading = "Input")]
    input: InputFormat,
    /// What ends a record of -i lines: any bytes; \n \t \r \0 \\ and \xHH are understood [default: \n]
    #[arg(short = 'D', long, value_name = "BYTES", allow_hyphen_values = true)]
    #[arg(value_parser = args::delimiter, help_heading = "Input")]
    delimiter: Option<Delimiter>,
    /// What the value of an envelope of -i json is: a string, whose text is stored, or any JSON, stored as it is written
    #[arg(long, value_name = "text|json", help_heading = "Input")]
    value_as: Option<ValueAs>,
    /// Take in at most this many records, or with a unit bytes, a second: 100, 10MiB
    #[arg(long, value_name = "N|SIZE", value_parser = rate, help_heading = "Input")]
    rate: Option<Rate>,
    /// What to do about an input that makes no record: stop there, or leave it out and go on [default: stop]
    #[arg(long, value_name = "stop|skip", help_heading = "Input")]
    on_error: Option<OnError>,
    /// Add what is left out to the end of FILE, as it stood in the input; means --on-error skip
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    rejects: Option<PathBuf>,

    /// The key of every record
    #[arg(short, long, conflicts_with = "key_delimiter", help_heading = "Records")]
    #[arg(value_parser = OsStringValueParser::new().map(args::bytes))]
    key: Option<Bytes>,
    /// What ends the key of each record, as in -K '\t'; the first one counts, and keys that hold it need -i json
    #[arg(short = 'K', long, allow_hyphen_values = true)]
    #[arg(value_name = "BYTES", value_parser = args::delimiter, help_heading = "Records")]
    key_delimiter: Option<Delimiter>,
    /// A header for every record; NAME alone has a null value (can be repeated)
    #[arg(short = 'H', long, value_name = "NAME=VALUE", help_heading = "Records")]
    #[arg(value_parser = OsStringValueParser::new().try_map(args::header))]
    header: Vec<Header>,
    /// What ends the headers at the start of each record, before its key: `name:value,name:value`
    ///
    /// The form is that of Kafka's console producer and consumer: a value ends at the next comma, a name at its first colon,
    /// and NO_HEADERS or nothing stands for none. They come after those of -H.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    #[arg(value_parser = args::delimiter, help_heading = "Records")]
    headers_delimiter: Option<Delimiter>,
    /// The timestamp of every record, in place of the time it is read; -1 stores no timestamp
    ///
    /// `kdir consume --help` has the forms of times.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Records")]
    timestamp: Option<String>,
    #[command(flatten)]
    line_time: LineTimeArgs,
    /// What ends the timestamp at the start of each record, before its headers: ms since the epoch
    ///
    /// What Kafka's console consumer prints is understood: CreateTime:1700000000000, and NO_TIMESTAMP for none. The timestamp
    /// is not part of the value; see --timestamp-format for one that is.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    #[arg(conflicts_with_all = ["timestamp", "timestamp_format", "timestamp_regex", "timestamp_field"])]
    #[arg(value_parser = args::delimiter, help_heading = "Records")]
    timestamp_delimiter: Option<Delimiter>,
    /// Have `kdir work` take each record no earlier than this long after it is read
    ///
    /// The record gets a header `not-before`, in place of one that its input has: ms since the epoch, as text. `kdir work`
    /// honours it and nothing else does: consumers, and share consumers of a broker, get the record at once.
    #[arg(long, value_name = "DURATION", conflicts_with = "at", help_heading = "Records")]
    delay: Option<Duration>,
    /// Have `kdir work` take the records no earlier than at this time; see --delay
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, help_heading = "Records")]
    at: Option<String>,
    /// Store empty keys and values as null
    #[arg(short = 'Z', long, help_heading = "Records")]
    null_empty: bool,

    /// The partition for every record
    #[arg(short, long, value_name = "N", value_parser = args::partition_number, help_heading = "Placement")]
    #[arg(add = complete::partitions())]
    partition: Option<i32>,
    /// How keys choose a partition: as Kafka's Java client, as librdkafka's `consistent`, or not at all
    #[arg(long, value_name = "NAME", default_value = "murmur2", help_heading = "Placement")]
    partitioner: PartitionerName,

    /// Compress batches [default: the topic's compression.type]
    #[arg(short = 'z', long, value_name = "none|gzip|snappy|lz4|zstd[:LEVEL]")]
    #[arg(value_parser = parse_compression, help_heading = "Batches", add = complete::compressions())]
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

impl ProduceArgs {
    /// What helps where an input makes no record.
    pub(crate) fn hint(&self, problem: &Problem) -> Option<String> {
        let topic = self.topic.as_ref().map_or("TOPIC", TopicName::as_str);
        match problem {
            Problem::RecordTooLarge { size, .. } => {
                // What it is known to have, with room for more; the limit of the limit is 2 GiB.
                let mib = (size + 4096).div_ceil(1 << 20).next_power_of_two().max(4);
                (mib < 2048).then(|| format!("`kdir alter {topic} -c max.message.bytes={mib}MiB` raises the limit"))
            }
            Problem::NoSuchPartition { partition: partition @ 0..PARTITIONS_MAX, .. } => Some(format!(
                "`kdir alter {topic} -P {}` adds partitions (with --create, give -P), -p 0 puts every record into partition 0",
                partition + 1
            )),
            Problem::BadJson { what, .. } if what.starts_with("expected a string, not ") && self.value_as.is_none() => {
                Some("--value-as json stores a value that is JSON as it is written".into())
            }
            _ => None,
        }
    }
}

fn refuse_internal(args: &ProduceArgs) -> anyhow::Result<()> {
    let is_meant = |topic: &&TopicName| InternalTopic::ALL.iter().any(|it| it.name() == topic.as_str());
    match args.topic.as_ref().filter(is_meant) {
        Some(topic) if !args.internal => Err(exit::usage(format!(
            "a record in {topic} that Kafka does not understand costs a broker all groups of the partition: --internal writes it"
        ))),
        _ => Ok(()),
    }
}

pub(crate) fn run(args: &ProduceArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let started = Instant::now();
    refuse_internal(args)?;
    let mut options = options(args, context)?;
    let stop = Stop::on_signals()?;
    let inputs = find_inputs(&args.files)?;
    let log_dir = if args.create { context.open_or_make()? } else { context.open_to_write()? };
    let topic = args.topic.as_ref().map(|name| find_or_create(name, args, &log_dir, context.ui)).transpose()?;
    if let Some(mark) = log_dir.broker_mark()? {
        let is_there = format!("this log dir belongs to a Kafka broker ({mark} is there), which is to stay stopped");
        context.ui.warning(&is_there);
    }
    options.rejects = rejects(args, &inputs)?;
    let report = Report::new(args, context.ui, started, &inputs, stop.waker()?);
    if report.is_typed() {
        context.ui.status("reading records from the terminal, one a line: Ctrl-D ends it");
    }
    let producer = match topic {
        Some(topic) => Producer::new(log_dir, topic, options, Arc::new(now), report.listener()),
        None => Producer::by_topic(log_dir, missing(args), options, Arc::new(now), report.listener()),
    };
    let producer = producer.map_err(plain)?;
    let produced = producer.run(inputs.iter().map(|input| input.open(stop.descriptor())));
    let reported = report.end(&produced);
    times::warn_of_passes(context.ui, produced.taken.passes);
    times::warn_of_seconds(context.ui, produced.taken.in_seconds);
    let exit = exit_of(produced, &stop, context)?;
    reported?;
    Ok(exit)
}

/// The inputs, in their order. One that is missing is an error before anything is stored.
fn find_inputs(files: &[PathBuf]) -> anyhow::Result<Vec<InputName<'_>>> {
    let stdin = files.is_empty().then_some(Path::new("-"));
    files.iter().map(|path| &**path).chain(stdin).map(find_input).collect()
}

fn find_input(path: &Path) -> anyhow::Result<InputName<'_>> {
    let input = InputName::find(path).map_err(plain)?;
    if input.is_stdin() {
        ui::require_stdin()?;
    }
    Ok(input)
}

/// What becomes of a topic that an envelope names and that is not there.
fn missing(args: &ProduceArgs) -> MissingTopic {
    if args.create { MissingTopic::Create(args.partitions.unwrap_or(1)) } else { MissingTopic::Reject }
}

fn find_or_create(name: &TopicName, args: &ProduceArgs, log_dir: &LogDir, ui: Ui) -> anyhow::Result<Topic> {
    let topic = match log_dir.topic(name) {
        Err(LogDirError::TopicNotFound { .. }) if args.create => {
            let new = NewTopic {
                name: name.clone(),
                partitions: args.partitions.unwrap_or(1),
                config: TopicConfig::default(),
            };
            let (Created::New(topic) | Created::Existing(topic)) = log_dir.create_topic(&new)?;
            topic
        }
        found => found?,
    };
    let count = topic.partitions.len();
    if args.partitions.is_some_and(|wanted| wanted as usize != count) {
        let has = super::counted(count as u64, "partition");
        ui.warning(&format!("topic {} is there already and has {has}: -P is for a topic that is made", topic.name));
    }
    Ok(topic)
}

/// How a run ends that has stored all it was to.
fn exit_of(produced: Produced, stop: &Stop, context: &Context) -> anyhow::Result<Exit> {
    Ok(match (produced.ended.map_err(plain)?, stop.signal()) {
        (Ended::Stopped { left_out }, Some(signal)) => {
            if left_out > 0 {
                let bytes = super::counted(left_out as u64, "byte");
                context.ui.warning(&format!("the last line was not complete and was not stored ({bytes})"));
            }
            Exit::Signal(signal)
        }
        _ if produced.rejected > 0 => Exit::Told(exit::REJECTED),
        _ => Exit::Done,
    })
}

/// An error with that of the log dir or the disk at its front, by which the exit code and the hint are chosen.
fn plain(error: ProduceError) -> anyhow::Error {
    match error {
        ProduceError::LogDir(error) => error.into(),
        ProduceError::Open(error) => error.into(),
        error => error.into(),
    }
}
