use crate::cli::Context;
use crate::cli::args::{self, Delimiter};
use crate::cli::complete;
use crate::cli::exit::{self, Exit, FAILED};
use crate::cli::report::{Cell, Column, Report, ReportFormat, number, text};
use crate::consume::{KeyLookup, Version};
use crate::logdir::{LogDirs, Partition, Topic};
use crate::produce::Partitioner;
use crate::storage::clean::{Cleanable, Due, Held};
use crate::stream::filter::{Filter, Part, Test};
use crate::stream::output::RecordFormat;
use crate::stream::template::Template;
use crate::units::{Offset, TopicName};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

/// Print the newest value of a key
///
/// Looks in the partition that Kafka's producers and kdir put the key into, or in those that --partition names. Exit status 1
/// when there is no record of the key, or the newest has no value: the key was deleted. Records of transactions that were
/// aborted or have not ended do not count.
///
/// With --all, a row for each record of the key that is still there, and why it is: the newest, or one that the next compaction
/// takes, or what keeps it. Columns of JSON and TSV: topic, partition, offset, timestamp, segment, bytes, state
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  kdir get users alice\n  kdir get users alice --all\n  kdir get users alice -o json"
)]
pub(crate) struct GetArgs {
    /// The topic
    #[arg(value_parser = args::topic, add = complete::topics())]
    topic: TopicName,
    /// The key, byte for byte
    #[arg(allow_hyphen_values = true)]
    key: OsString,
    /// Look in these partitions
    #[arg(short, long, value_name = "N,M", value_delimiter = ',', add = complete::partitions())]
    #[arg(value_parser = args::partition_number)]
    partition: Vec<i32>,
    /// Show every record of the key
    #[arg(short, long)]
    all: bool,
    /// Form of the output: value or json (as of `kdir consume`); with --all table, json or tsv
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<GetFormat>,
    /// Print the record by a template, see `kdir consume`
    #[arg(short, long, value_name = "TEMPLATE", allow_hyphen_values = true, conflicts_with_all = ["output", "all"])]
    format: Option<String>,
    /// The bytes to print after the value, which may be none [default: \n]
    #[arg(short = 'D', long, allow_hyphen_values = true, value_name = "BYTES", value_parser = args::any_bytes)]
    #[arg(conflicts_with_all = ["format", "all"])]
    delimiter: Option<Delimiter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum GetFormat {
    Value,
    Json,
    Table,
    Tsv,
}

const COLUMNS: [Column; 7] = [
    text("topic", "TOPIC"),
    number("partition", "PARTITION"),
    number("offset", "OFFSET"),
    text("timestamp", "TIMESTAMP"),
    number("segment", "SEGMENT"),
    number("bytes", "BYTES"),
    text("state", "STATE"),
];

pub(crate) fn run(args: &GetArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let test =
        Test::exactly(Part::Key, args.key.as_bytes()).map_err(|_| exit::usage("the key is too long to look for"))?;
    let filter = Filter::new(vec![test]);
    let forms = if args.all { Forms::Rows(rows_format(args)?) } else { Forms::Record(record_format(args, context)?) };
    let log_dirs = context.open_to_read()?;
    let topic = log_dirs.named(&args.topic)?;
    let partitions = partitions(args, &topic, &log_dirs)?;
    match forms {
        Forms::Rows(format) => show_all(args, &topic, &partitions, (&filter, format), context),
        Forms::Record(format) => show_newest(args, &partitions, (&filter, &format), context),
    }
}

enum Forms {
    Record(RecordFormat),
    Rows(ReportFormat),
}

fn rows_format(args: &GetArgs) -> anyhow::Result<ReportFormat> {
    match args.output {
        None | Some(GetFormat::Table) => Ok(ReportFormat::Table),
        Some(GetFormat::Json) => Ok(ReportFormat::Json),
        Some(GetFormat::Tsv) => Ok(ReportFormat::Tsv),
        Some(GetFormat::Value) => Err(exit::usage("--all has the forms table, json and tsv, without values")),
    }
}

fn record_format(args: &GetArgs, context: &Context) -> anyhow::Result<RecordFormat> {
    if let Some(template) = &args.format {
        let template = Template::parse(template, context.zone.clone());
        return Ok(RecordFormat::Template(template.map_err(|error| exit::usage(format!("--format: {error}")))?));
    }
    match args.output {
        None | Some(GetFormat::Value) => {
            let delimiter = args.delimiter.as_ref().map_or_else(|| b"\n".to_vec(), |given| given.0.clone());
            Ok(RecordFormat::Value { delimiter })
        }
        Some(GetFormat::Json) if args.delimiter.is_some() => {
            Err(exit::usage("--delimiter can only be used with -o value"))
        }
        Some(GetFormat::Json) => Ok(RecordFormat::Json),
        Some(GetFormat::Table | GetFormat::Tsv) => Err(exit::usage("-o table and tsv are for --all")),
    }
}

/// Where the key may be.
fn partitions(args: &GetArgs, topic: &Topic, log_dirs: &LogDirs) -> anyhow::Result<Vec<Partition>> {
    let named = if args.partition.is_empty() {
        Partitioner::Murmur2.by_key(Some(args.key.as_bytes()), topic.partition_count()?).into_iter().collect()
    } else {
        args.partition.clone()
    };
    crate::consume::partitions_of(topic, &named)?
        .into_iter()
        .map(|number| Ok(log_dirs.partition(topic, number)?))
        .collect()
}

fn show_newest(
    args: &GetArgs,
    partitions: &[Partition],
    (filter, format): (&Filter, &RecordFormat),
    context: &Context,
) -> anyhow::Result<Exit> {
    let mut newest = None;
    for partition in partitions {
        let Some(source) = KeyLookup::new(partition, filter.clone())?.newest()? else { continue };
        let at = source.records.timestamp();
        // A key is in several partitions only where its records were put there by other rules.
        if newest.as_ref().is_none_or(|(before, _)| *before <= at) {
            newest = Some((at, source));
        }
    }
    let key = args.key.to_string_lossy();
    let Some((_, source)) = newest else {
        context.ui.status(&format!("no record of {key} in {}", named(partitions)));
        if args.partition.is_empty() && partitions.len() == 1 {
            context.ui.verbose("a producer with another partitioner may have put it elsewhere: see --partition");
        }
        return Ok(Exit::Told(FAILED));
    };
    let front = source.front();
    if front.record.value.is_none() {
        context.ui.status(&format!("{key} was deleted: offset {} has no value", front.offset));
        return Ok(Exit::Told(FAILED));
    }
    let mut bytes = Vec::new();
    format.write(&front, &mut bytes);
    context.ui.data(&bytes)?;
    Ok(Exit::Done)
}

fn named(partitions: &[Partition]) -> String {
    partitions.iter().map(|partition| partition.id().to_string()).collect::<Vec<_>>().join(", ")
}

fn show_all(
    args: &GetArgs,
    topic: &Topic,
    partitions: &[Partition],
    (filter, format): (&Filter, ReportFormat),
    context: &Context,
) -> anyhow::Result<Exit> {
    let mut report = Report::new(context.ui, format, &context.zone, &COLUMNS);
    let mut is_there = false;
    for partition in partitions {
        let lookup = KeyLookup::new(partition, filter.clone())?;
        let versions = lookup.versions()?;
        let newest = versions.iter().rev().find(|version| !version.is_uncommitted).map(|version| version.offset);
        is_there |= versions.iter().any(|version| Some(version.offset) == newest && version.value_size.is_some());
        let config = topic.log_config();
        let now = crate::cli::now();
        let cleanable =
            if config.cleanup_policy.compact { partition.cleaned(lookup.view(), &config, now)? } else { None };
        let limit = cleanable.as_ref().map(|cleanable| cleanable.limit);
        let is_compactable = |version: &&Version| !version.is_uncommitted && Some(version.offset) < limit;
        let last = versions.iter().rev().find(is_compactable).map(|version| version.offset);
        for version in &versions {
            report.row(vec![
                Cell::text(&args.topic),
                Cell::Number(partition.id().partition.into()),
                Cell::Number(version.offset.0),
                Cell::time(Some(version.timestamp)),
                Cell::Number(version.segment.0),
                version.value_size.map_or(Cell::Nothing, |size| Cell::Number(size as i64)),
                Cell::Text(state(version, (newest, last), cleanable.as_ref(), context)),
            ])?;
        }
    }
    report.finish()?;
    Ok(if is_there { Exit::Done } else { Exit::Told(FAILED) })
}

/// Why a record is still there. `newest` is that of the key, and `last` the newest before the limit of a compaction.
fn state(
    version: &Version,
    (newest, last): (Option<Offset>, Option<Offset>),
    cleanable: Option<&Cleanable>,
    context: &Context,
) -> String {
    if version.is_uncommitted {
        return "of a transaction that was aborted or has not ended".into();
    }
    if Some(version.offset) == newest {
        return match (version.value_size, version.delete_horizon) {
            (Some(_), _) => "newest".into(),
            (None, Some(horizon)) => {
                format!("newest: a tombstone, until {}", horizon.to_civil_or_guess(&context.zone))
            }
            (None, None) => "newest: a tombstone".into(),
        };
    }
    let Some(cleanable) = cleanable else { return "superseded; the topic is not compacted".into() };
    if version.offset >= cleanable.limit {
        return match &cleanable.held {
            Held::Active { .. } => "superseded, in the active segment".into(),
            Held::Transaction(open) => format!("superseded, after the open transaction at offset {}", open.offset),
            Held::TooYoung { until, .. } => {
                format!("superseded, within min.compaction.lag.ms until {}", until.to_civil_or_guess(&context.zone))
            }
            Held::NotDurable => "superseded, not durable yet".into(),
        };
    }
    if Some(version.offset) == last {
        return "superseded by what cannot be compacted yet".into();
    }
    match cleanable.due {
        Due::No => format!("superseded; dirty ratio {:.2} is too low to compact it", cleanable.dirty_ratio()),
        Due::Ratio | Due::MaxLag => "superseded; the next compaction removes it".into(),
    }
}
