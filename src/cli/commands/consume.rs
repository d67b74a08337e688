use crate::cli::Context;
use crate::cli::args::{self, Delimiter, OffsetAt, PerPartition};
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::ui::{self, Progress, Unit};
use crate::disk::watch::{Watch, Woken};
use crate::logdir::{LogDir, Topic};
use crate::storage::{LogReader, RecordReader, StorageError};
use crate::stream::merge::{Bounds, Merge, Order, Source};
use crate::stream::output::RecordFormat;
use crate::units::{ByteSize, Offset, Timestamp, TopicName};
use anyhow::Context as _;

/// Print records
///
/// Reads from the log start offset, unless told otherwise, to the end that the log had when the command began. The
/// partitions of a topic are merged by timestamp, so that it comes out as it happened.
///
/// Offsets: `earliest`, `latest`, N, or -N for N before the end; a positive N needs one partition, or the form 0:100,1:250.
/// Times: RFC 3339, a date such as 2026-11-22, `yesterday`, `2h ago`, or milliseconds since the epoch; exact for every record.
///
/// Formats (-o): `value` is the bytes of the value and the delimiter; `json` an envelope a line, in which nothing is lost;
/// `len32` a big-endian 32-bit length before each value. In `value` and `len32` a null value looks like an empty one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir consume app --since '2h ago' --until '1h ago' -o json")]
pub(crate) struct ConsumeArgs {
    /// The topics
    #[arg(required = true, value_parser = args::topic, add = complete::topics())]
    topic: Vec<TopicName>,

    /// Only these partitions
    #[arg(short, long, value_name = "N,M", value_delimiter = ',', help_heading = "Where")]
    #[arg(add = complete::partitions())]
    partition: Vec<i32>,
    /// Where to begin [default: earliest]
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, help_heading = "Where")]
    from_offset: Option<PerPartition>,
    /// Where to stop; the record at this offset is not printed
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, help_heading = "Where")]
    to_offset: Option<PerPartition>,
    /// Only records at or after this time
    #[arg(long, value_name = "TIME", help_heading = "Where")]
    since: Option<String>,
    /// Only records before this time
    #[arg(long, value_name = "TIME", help_heading = "Where")]
    until: Option<String>,
    /// Stop after this many records
    #[arg(short = 'n', long, value_name = "N", help_heading = "Where")]
    max_records: Option<u64>,
    /// Go on when the end is reached, and print what is appended. It may not be durable yet: after a power failure, its
    /// offsets can be given again
    #[arg(short = 'F', long, help_heading = "Where")]
    follow: bool,
    /// Where to begin when --from-offset is outside the log, in place of an error
    #[arg(long, value_name = "earliest|latest", help_heading = "Where")]
    reset: Option<Reset>,

    /// Whether records of transactions are printed that were aborted or have not ended
    ///
    /// Only a broker's producers write transactions. With `read-committed`, what lies behind the beginning of one that has
    /// not ended is not printed.
    #[arg(long, value_name = "LEVEL", default_value = "read-uncommitted", help_heading = "Which")]
    isolation: Isolation,

    /// How partitions are merged: by timestamp, then offset, or one after the other
    #[arg(long, value_name = "ORDER", default_value = "time", help_heading = "Output")]
    order: OrderName,
    /// Form of a record
    #[arg(short, long, value_name = "FORMAT", default_value = "value", help_heading = "Output")]
    output: FormatName,
    /// What follows each value: any bytes, or none; \n \t \r \0 \\ and \xHH are understood
    #[arg(short = 'D', long, allow_hyphen_values = true)]
    #[arg(value_name = "BYTES", default_value = r"\n", value_parser = any_bytes, help_heading = "Output")]
    delimiter: Delimiter,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Reset {
    Earliest,
    Latest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum OrderName {
    Time,
    Partition,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum FormatName {
    Value,
    Json,
    Len32,
}

fn any_bytes(text: &str) -> Result<Delimiter, String> {
    args::escaped_bytes(text).map(Delimiter)
}

/// Bytes gathered before they are written.
const OUTPUT_SIZE: usize = 128 << 10;
/// Bytes read at a time from one partition; with many, less, so that memory stays within bounds.
const CHUNK_MAX: usize = 256 << 10;
const CHUNK_MIN: usize = 16 << 10;
const CHUNKS_TOTAL: usize = 4 << 20;

pub(crate) fn run(args: &ConsumeArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let selection = Selection::new(args, context)?;
    let log_dir = context.open()?;
    let mut sources = Vec::new();
    let topics = super::named_topics(&log_dir, &args.topic)?;
    let count: usize = topics.iter().map(|topic| topic.partitions.len()).sum();
    let chunk = (CHUNKS_TOTAL / count.max(1)).clamp(CHUNK_MIN, CHUNK_MAX);
    for topic in &topics {
        let partitions = args::partitions(topic, &args.partition)?;
        selection.check_partitions(topic, &partitions)?;
        for &partition in &partitions {
            sources.extend(selection.source(&log_dir, topic, partition, chunk, context)?);
        }
    }
    let order = match args.order {
        OrderName::Time => Order::Time,
        OrderName::Partition => Order::Partition,
    };
    Printer::new(args, context).print(Merge::new(sources, order), args.follow)
}

/// Which records the user wants.
struct Selection<'a> {
    args: &'a ConsumeArgs,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<'a> Selection<'a> {
    fn new(args: &'a ConsumeArgs, context: &Context) -> anyhow::Result<Self> {
        let time = |option, text: &Option<String>| match text {
            Some(text) => args::time(option, text, &context.zone).map(Some),
            None => Ok(None),
        };
        let selection = Self { args, since: time("--since", &args.since)?, until: time("--until", &args.until)? };
        if let (Some(since), Some(until)) = (selection.since, selection.until)
            && since >= until
        {
            return Err(exit::usage("--since is not before --until: no record can be between them"));
        }
        Ok(selection)
    }

    /// Refuses one number for several partitions, and partitions that are not read.
    fn check_partitions(&self, topic: &Topic, partitions: &[i32]) -> anyhow::Result<()> {
        for (option, offsets) in [("--from-offset", &self.args.from_offset), ("--to-offset", &self.args.to_offset)] {
            match offsets {
                Some(PerPartition::All(OffsetAt::At(offset))) if partitions.len() > 1 => {
                    return Err(exit::usage(format!(
                        "{option} {offset} needs one partition: name it with -p, or each with {option} 0:{offset},1:…"
                    )));
                }
                Some(PerPartition::Each(each)) => {
                    for &(partition, _) in each {
                        topic.partition(partition).with_context(|| option.to_owned())?;
                        if !partitions.contains(&partition) {
                            return Err(exit::usage(format!(
                                "{option} names partition {partition}, and -p leaves it out"
                            )));
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A partition from where it is wanted; `None` where nothing of it can ever be.
    fn source(
        &self,
        log_dir: &LogDir,
        topic: &Topic,
        partition: i32,
        chunk: usize,
        context: &Context,
    ) -> anyhow::Result<Option<Source>> {
        let folder = topic.partition(partition)?;
        let Some(mut reader) = log_dir.open_reader(&folder, chunk)? else {
            context.ui.verbose(&format!("partition {folder} has no folder yet and is empty"));
            return Ok(None);
        };
        let start = reader.log_start_offset();
        // A damaged log is read up to the damage, which is then said in its place.
        let (end, is_sound) = match reader.log_end_offset() {
            Ok(end) => (end, true),
            Err(StorageError::Corrupt { offset, .. }) => (offset, false),
            Err(error) => return Err(error.into()),
        };
        let mut from = self.from(&reader, partition, start, end)?;
        if let Some(since) = self.since {
            let found = reader.offset_for_time(since.0)?;
            from = from.max(found.map_or(end, |(offset, _)| offset));
        }
        let bounds = Bounds {
            end: self.to(partition, end, is_sound).or((!self.args.follow && is_sound).then_some(end)),
            since_ms: self.since.map(|it| it.0),
            until_ms: self.until.map(|it| it.0),
        };
        reader.seek(from);
        let records = match self.args.isolation {
            Isolation::ReadUncommitted => RecordReader::new(reader),
            Isolation::ReadCommitted => RecordReader::read_committed(reader)?,
        };
        Ok(Some(Source { topic: topic.name.clone(), partition, records, bounds }))
    }

    fn from(&self, reader: &LogReader, partition: i32, start: Offset, end: Offset) -> anyhow::Result<Offset> {
        let requested = match at(self.args.from_offset.as_ref(), partition) {
            None | Some(OffsetAt::Earliest) => return Ok(start),
            Some(OffsetAt::Latest) => return Ok(end),
            Some(OffsetAt::BeforeEnd(count)) => return Ok(Offset(end.0.saturating_sub(count)).max(start)),
            Some(OffsetAt::At(offset)) => Offset(offset),
        };
        if (start..=end).contains(&requested) {
            return Ok(requested);
        }
        match self.args.reset {
            Some(Reset::Earliest) => Ok(start),
            Some(Reset::Latest) => Ok(end),
            None => {
                let out_of_range =
                    StorageError::OffsetOutOfRange { requested, log_start_offset: start, log_end_offset: end };
                let name = reader.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
                Err(anyhow::Error::from(out_of_range).context(name))
            }
        }
    }

    /// Where to stop; past the end is the end, unless the log goes on there.
    fn to(&self, partition: i32, end: Offset, is_sound: bool) -> Option<Offset> {
        let to = match at(self.args.to_offset.as_ref(), partition)? {
            OffsetAt::Earliest => Offset::ZERO,
            OffsetAt::Latest => end,
            OffsetAt::BeforeEnd(count) => Offset(end.0.saturating_sub(count)),
            OffsetAt::At(offset) if self.args.follow || !is_sound => Offset(offset),
            OffsetAt::At(offset) => Offset(offset).min(end),
        };
        Some(to)
    }
}

fn at(offsets: Option<&PerPartition>, partition: i32) -> Option<OffsetAt> {
    match offsets? {
        PerPartition::All(at) => Some(*at),
        PerPartition::Each(each) => each.iter().find(|(other, _)| *other == partition).map(|(_, at)| *at),
    }
}

/// Writes records to stdout.
struct Printer<'a> {
    context: &'a Context,
    format: RecordFormat,
    left: u64,
    buffer: Vec<u8>,
    printed: u64,
    bytes: u64,
    progress: Option<Progress>,
}

impl<'a> Printer<'a> {
    fn new(args: &ConsumeArgs, context: &'a Context) -> Self {
        let format = match args.output {
            FormatName::Value => RecordFormat::Value { delimiter: args.delimiter.0.clone() },
            FormatName::Json => RecordFormat::Json,
            FormatName::Len32 => RecordFormat::Len32,
        };
        // Into a pipe or a terminal, a display on stderr would write over what a pager or the terminal shows.
        let progress = (ui::stdout_is_file() && !args.follow).then(|| context.ui.progress(None, Unit::Records));
        Self {
            context,
            format,
            left: args.max_records.unwrap_or(u64::MAX),
            buffer: Vec::with_capacity(OUTPUT_SIZE + (OUTPUT_SIZE >> 2)),
            printed: 0,
            bytes: 0,
            progress,
        }
    }

    fn print(mut self, mut merge: Merge, follow: bool) -> anyhow::Result<Exit> {
        let printed = self.print_all(&mut merge, follow);
        // What was read before an error is the user's all the same.
        let flushed = self.flush();
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        printed?;
        flushed?;
        Ok(Exit::Done)
    }

    fn print_all(&mut self, merge: &mut Merge, follow: bool) -> anyhow::Result<()> {
        let watch = follow.then(|| Watch::new(merge.sources().iter().map(|source| source.records.log().path())));
        loop {
            merge.look_again().map_err(deleted_topic)?;
            while self.left > 0 {
                let Some(source) = merge.next().map_err(deleted_topic)? else { break };
                self.format.write(&source.front(), &mut self.buffer);
                self.left -= 1;
                self.printed += 1;
                if self.buffer.len() >= OUTPUT_SIZE {
                    self.flush()?;
                }
            }
            self.tell_missed(merge);
            let Some(watch) = watch.as_ref().filter(|_| self.left > 0) else { return Ok(()) };
            self.flush()?;
            if watch.wait(ui::stdout())? == Woken::OutputClosed {
                return Ok(());
            }
        }
    }

    fn tell_missed(&self, merge: &mut Merge) {
        for missed in merge.take_missed() {
            self.context.ui.warning(&format!(
                "offsets {} to {} of {}-{} were removed before they were read; going on at {}",
                missed.from,
                missed.log_start_offset.0 - 1,
                missed.topic,
                missed.partition,
                missed.log_start_offset
            ));
        }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.context.ui.data(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        if let Some(progress) = &mut self.progress {
            let bytes = ByteSize(self.bytes);
            progress.set(self.printed, || bytes.to_string());
        }
        Ok(())
    }
}

/// Says of a folder that is gone that its topic was deleted.
fn deleted_topic(error: StorageError) -> anyhow::Error {
    match &error {
        StorageError::PartitionDeleted { path } => {
            let folder = path.file_name().unwrap_or_default().to_string_lossy();
            let topic = folder.rsplit_once('-').map_or(&*folder, |(topic, _)| topic).to_owned();
            anyhow::anyhow!("the topic {topic} was deleted")
        }
        _ => error.into(),
    }
}
