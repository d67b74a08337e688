//! From arguments to what the library is to do.

use super::ProduceArgs;
use crate::cli::{Context, args, exit};
use crate::format::compression::Compression;
use crate::produce::{InputName, NotBefore, Options, Partitioner, Rate, RecordRule, Rejects, SyncPolicy};
use crate::stream::envelope::Values;
use crate::stream::framing::Framing;
use crate::units::{ByteSize, Duration, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum InputFormat {
    Lines,
    Json,
    Len32,
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum ValueAs {
    Text,
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum OnError {
    Stop,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PartitionerName {
    Murmur2,
    Crc32,
    RoundRobin,
}

pub(super) fn parse_compression(text: &str) -> Result<Compression, String> {
    text.parse().map_err(|error| format!("{error}"))
}

pub(super) fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
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

/// Records a second, or with a unit bytes.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    let rate = match text.parse::<u64>() {
        Ok(records) => Some(Rate::Records(records)),
        Err(_) => text.parse::<ByteSize>().ok().map(|ByteSize(bytes)| Rate::Bytes(bytes)),
    };
    let is_some = |rate: &Rate| !matches!(rate, Rate::Records(0) | Rate::Bytes(0));
    rate.filter(is_some).ok_or_else(|| "expected a number of records, or a size such as 10MiB, from 1 up".into())
}

/// What can be said without the log dir; the file of rejected inputs is opened later.
pub(super) fn options(args: &ProduceArgs, context: &Context) -> anyhow::Result<Options> {
    if args.rejects.is_some() && args.on_error == Some(OnError::Stop) {
        return Err(exit::usage(
            "--rejects takes what --on-error skip leaves out, and --on-error stop leaves nothing out",
        ));
    }
    let of_format = match args.input {
        InputFormat::Lines => None,
        InputFormat::Json => Some("-i json has an envelope a line"),
        InputFormat::Len32 => Some("-i len32 has a length before each record"),
        InputFormat::Raw => Some("-i raw takes each input as one record"),
    };
    if let Some(of_format) = of_format.filter(|_| args.delimiter.is_some()) {
        return Err(exit::usage(format!("{of_format}: leave out -D, which ends the records of -i lines")));
    }
    if args.value_as.is_some() && args.input != InputFormat::Json {
        return Err(exit::usage("--value-as is about the envelopes of -i json: add that, or leave it out"));
    }
    if let Some(topic) = args.topic.as_ref().filter(|_| args.by_topic) {
        return Err(exit::usage(format!(
            "--by-topic takes each topic from its envelope, and the envelopes from stdin: leave out {topic}"
        )));
    }
    if args.by_topic && args.input != InputFormat::Json {
        return Err(exit::usage("--by-topic is about the envelopes of -i json: add that, or name a TOPIC"));
    }
    Ok(Options {
        framing: match args.input {
            InputFormat::Lines => Framing::delimited(args.delimiter.as_ref().map_or(b"\n", |it| &it.0)),
            InputFormat::Json => Framing::delimited(b"\n"),
            InputFormat::Len32 => Framing::Len32,
            InputFormat::Raw => Framing::Raw,
        },
        rule: rule(args, context)?,
        partition: args.partition,
        partitioner: match args.partitioner {
            PartitionerName::Murmur2 => Partitioner::Murmur2,
            PartitionerName::Crc32 => Partitioner::Crc32,
            PartitionerName::RoundRobin => Partitioner::RoundRobin,
        },
        compression: args.compression,
        batch_size: args.batch_size.0,
        linger: args.linger.as_std(),
        sync: args.sync,
        rate: args.rate,
        rejects: Rejects::stop(),
    })
}

/// What becomes of inputs that make no record.
pub(super) fn rejects(args: &ProduceArgs, inputs: &[InputName<'_>]) -> anyhow::Result<Rejects> {
    let Some(path) = &args.rejects else {
        return Ok(if args.on_error == Some(OnError::Skip) { Rejects::skip() } else { Rejects::stop() });
    };
    let rejects = Rejects::keep_in(path).map_err(super::plain)?;
    match rejects.is_one_of(inputs)? {
        true => Err(exit::usage(format!("{} is both read and named by --rejects", path.display()))),
        false => Ok(rejects),
    }
}

fn rule(args: &ProduceArgs, context: &Context) -> anyhow::Result<RecordRule> {
    let is_json = args.input == InputFormat::Json;
    if is_json && (args.headers_delimiter.is_some() || args.timestamp_delimiter.is_some()) {
        return Err(exit::usage(
            "-i json has headers and timestamps of its own: leave out --headers-delimiter and --timestamp-delimiter",
        ));
    }
    if is_json && (args.key.is_some() || args.key_delimiter.is_some() || !args.header.is_empty() || args.null_empty) {
        return Err(exit::usage("-i json has keys, headers and nulls of its own: leave out -k, -K, -H and -Z"));
    }
    let delimiter = |it: &Option<args::Delimiter>| it.as_ref().map(|delimiter| delimiter.0.clone());
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
    let not_before = match (&args.at, args.delay) {
        (Some(text), _) => Some(NotBefore::At(args::time("--at", text, &context.zone)?)),
        (None, Some(Duration(delay))) => Some(NotBefore::After(delay)),
        (None, None) => None,
    };
    Ok(RecordRule {
        key: args.key.as_ref().map(|key| key.0.clone()),
        key_delimiter: delimiter(&args.key_delimiter),
        headers_delimiter: delimiter(&args.headers_delimiter),
        timestamp_delimiter: delimiter(&args.timestamp_delimiter),
        headers: args.header.iter().map(|it| (it.name.clone(), it.value.clone())).collect(),
        not_before,
        timestamp,
        line_time: args.line_time.read(&context.zone)?,
        null_empty: args.null_empty,
        is_json,
        values: match args.value_as {
            Some(ValueAs::Json) => Values::Json,
            Some(ValueAs::Text) | None => Values::Text,
        },
        by_topic: args.by_topic,
    })
}
