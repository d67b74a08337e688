//! From arguments to what the library is to do.

use super::ProduceArgs;
use crate::cli::{Context, args, exit};
use crate::format::compression::Compression;
use crate::produce::{InputName, Options, Partitioner, RecordRule, Rejects, SyncPolicy};
use crate::stream::framing::Framing;
use crate::units::{Duration, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum InputFormat {
    Lines,
    Json,
    Len32,
    Raw,
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

/// What can be said without the log dir; the file of rejected inputs is opened later.
pub(super) fn options(args: &ProduceArgs, context: &Context) -> anyhow::Result<Options> {
    if args.rejects.is_some() && args.on_error == Some(OnError::Stop) {
        return Err(exit::usage(
            "--rejects takes what --on-error skip leaves out, and --on-error stop leaves nothing out",
        ));
    }
    Ok(Options {
        framing: match args.input {
            InputFormat::Lines => Framing::delimited(&args.delimiter.0),
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
    })
}
