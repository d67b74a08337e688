//! From arguments to what a consumer is asked for.

use super::{ConsumeArgs, FormatName, IsolationName, OrderName, ResetName, ValueAs};
use crate::cli::args;
use crate::cli::{Context, exit};
use crate::consume::merge::{OnDamage, Order};
use crate::consume::{Isolation, LatestByKey, Options, Reset, Selection, Tombstones};
use crate::stream::columns::{Column, Rows, Separation};
use crate::stream::filter::{Filter, Part, Test};
use crate::stream::output::RecordFormat;
use crate::stream::template::Template;
use regex::bytes::Regex;
use std::os::unix::ffi::OsStrExt;

/// Bytes of memory for keys.
const KEYS_MEMORY: u64 = 32 << 20;

pub(super) fn of(args: &ConsumeArgs, context: &Context) -> anyhow::Result<Options> {
    let order = match args.order {
        OrderName::Time => Order::Time,
        OrderName::Partition => Order::Partition,
    };
    if args.group.is_some() && args.count && !args.no_commit {
        return Err(exit::usage(
            "--group cannot be used with --count, unless --no-commit leaves the group where it is",
        ));
    }
    if args.idle_timeout.is_some() && !args.follow {
        return Err(exit::usage("--idle-timeout can only be used with --follow"));
    }
    if order == Order::Partition && args.tail.is_some() {
        return Err(exit::usage("--tail prints the last records by time: it cannot be used with --order partition"));
    }
    Ok(Options {
        selection: selection(args, context)?,
        order,
        format: record_format(args, context)?,
        records_max: args.max_records,
        follow: args.follow,
        idle_timeout: args.idle_timeout,
        speed: args.speed,
    })
}

fn selection(args: &ConsumeArgs, context: &Context) -> anyhow::Result<Selection> {
    let time = |option, text: &Option<String>| match text {
        Some(text) => args::time(option, text, &context.zone).map(Some),
        None => Ok(None),
    };
    let (since, until) = (time("--since", &args.since)?, time("--until", &args.until)?);
    if let (Some(since), Some(until)) = (since, until)
        && since >= until
    {
        return Err(exit::usage("--since is not before --until: no record can be between them"));
    }
    if args.skip_corrupt && args.isolation == Some(IsolationName::ReadCommitted) {
        return Err(exit::usage("--skip-corrupt reads uncommitted records only: leave out --isolation"));
    }
    Ok(Selection {
        topics: args.topic.clone(),
        partitions: args.partition.clone(),
        from: args.from_offset.clone(),
        to: args.to_offset.clone(),
        reset: args.reset.map(|reset| match reset {
            ResetName::Earliest => Reset::Earliest,
            ResetName::Latest => Reset::Latest,
        }),
        since,
        until,
        tail: args.tail,
        latest_by_key: args.latest_by_key.then_some(LatestByKey {
            memory: KEYS_MEMORY,
            tombstones: if args.keep_tombstones { Tombstones::Shown } else { Tombstones::Hidden },
        }),
        filter: filter(args)?,
        isolation: match args.isolation {
            Some(IsolationName::ReadCommitted) => Isolation::ReadCommitted,
            // What was aborted supersedes nothing.
            None if args.latest_by_key => Isolation::ReadCommitted,
            Some(IsolationName::ReadUncommitted) | None => Isolation::ReadUncommitted,
        },
        on_damage: if args.skip_corrupt { OnDamage::StepOver } else { OnDamage::End },
    })
}

fn record_format(args: &ConsumeArgs, context: &Context) -> anyhow::Result<RecordFormat> {
    refuse_other_forms(args)?;
    if let Some(template) = &args.format {
        let template = Template::parse(template, context.zone.clone());
        return Ok(RecordFormat::Template(template.map_err(|error| exit::usage(format!("--format: {error}")))?));
    }
    if args.count {
        return Ok(RecordFormat::Nothing);
    }
    Ok(match args.output {
        FormatName::Value => {
            let delimiter = args.delimiter.as_ref().map_or_else(|| b"\n".to_vec(), |given| given.0.clone());
            RecordFormat::Value { delimiter }
        }
        FormatName::Json if args.value_as == Some(ValueAs::Json) => RecordFormat::JsonValue,
        FormatName::Json => RecordFormat::Json,
        FormatName::Len32 => RecordFormat::Len32,
        FormatName::Csv => RecordFormat::Rows(Rows::new(Separation::Csv, columns(args))),
        FormatName::Tsv => RecordFormat::Rows(Rows::new(Separation::Tsv, columns(args))),
        FormatName::Hex => RecordFormat::Hex,
    })
}

/// Each option of a form belongs to some forms only.
fn refuse_other_forms(args: &ConsumeArgs) -> anyhow::Result<()> {
    let is_rows = matches!(args.output, FormatName::Csv | FormatName::Tsv);
    let (is_value, is_json) = (args.output == FormatName::Value, args.output == FormatName::Json);
    for (option, is_given, is_allowed, forms) in [
        ("--delimiter", args.delimiter.is_some(), is_value, "value"),
        ("--columns", !args.columns.is_empty(), is_rows, "csv or tsv"),
        ("--value-as", args.value_as.is_some(), is_json, "json"),
    ] {
        if is_given && (!is_allowed || args.count) {
            return Err(exit::usage(format!("{option} can only be used with -o {forms}")));
        }
    }
    Ok(())
}

fn columns(args: &ConsumeArgs) -> Vec<Column> {
    match &args.columns[..] {
        [] => {
            let (place, what) = ([Column::Topic, Column::Partition, Column::Offset], [Column::Key, Column::Value]);
            place.into_iter().chain([Column::Timestamp]).chain(what).collect()
        }
        given => given.to_vec(),
    }
}

/// `NAME` or `NAME=REGEX`.
pub(super) fn header_test(text: &str) -> Result<(String, Option<Regex>), String> {
    let (name, pattern) = text.split_once('=').map_or((text, None), |(name, pattern)| (name, Some(pattern)));
    if name.is_empty() {
        return Err(format!("{text:?} is not NAME or NAME=REGEX"));
    }
    let pattern = pattern.map(|it| it.parse::<Regex>().map_err(|error| error.to_string())).transpose()?;
    Ok((name.to_owned(), pattern))
}

fn filter(args: &ConsumeArgs) -> anyhow::Result<Filter> {
    let test = |part: Part, pattern: Option<&Regex>, inverted| Test { part, pattern: pattern.cloned(), inverted };
    let mut tests = Vec::new();
    for (part, patterns, inverted) in [
        (Part::Value, &args.grep, false),
        (Part::Value, &args.grep_not, true),
        (Part::Key, &args.key, false),
        (Part::Key, &args.key_not, true),
    ] {
        tests.extend(patterns.iter().map(|pattern| test(part.clone(), Some(pattern), inverted)));
    }
    for (part, exact) in [(Part::Key, &args.key_is), (Part::Value, &args.value_is)] {
        if let Some(bytes) = exact {
            let test = Test::exactly(part, bytes.as_bytes());
            tests.push(test.map_err(|_| exit::usage("what --key-is or --value-is compare with is too long"))?);
        }
    }
    for (headers, inverted) in [(&args.header, false), (&args.header_not, true)] {
        let part = |name: &str| Part::Header(name.as_bytes().to_vec());
        tests.extend(headers.iter().map(|(name, pattern)| test(part(name), pattern.as_ref(), inverted)));
    }
    Ok(Filter::new(tests))
}
