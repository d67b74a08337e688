//! From arguments to what a consumer is asked for.

use super::{ConsumeArgs, FormatName, IsolationName, OrderName, ResetName};
use crate::cli::args;
use crate::cli::{Context, exit};
use crate::consume::merge::{OnDamage, Order};
use crate::consume::{Isolation, Options, Reset, Selection};
use crate::stream::filter::{Filter, Part, Test};
use crate::stream::output::RecordFormat;
use crate::stream::template::Template;
use regex::bytes::Regex;

pub(super) fn of(args: &ConsumeArgs, context: &Context) -> anyhow::Result<Options> {
    let order = match args.order {
        OrderName::Time => Order::Time,
        OrderName::Partition => Order::Partition,
    };
    Ok(Options {
        selection: selection(args, context)?,
        order,
        format: record_format(args, context)?,
        records_max: args.max_records,
        follow: args.follow,
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
    if args.skip_corrupt && args.isolation == IsolationName::ReadCommitted {
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
        filter: filter(args),
        isolation: match args.isolation {
            IsolationName::ReadUncommitted => Isolation::ReadUncommitted,
            IsolationName::ReadCommitted => Isolation::ReadCommitted,
        },
        on_damage: if args.skip_corrupt { OnDamage::StepOver } else { OnDamage::End },
    })
}

fn record_format(args: &ConsumeArgs, context: &Context) -> anyhow::Result<RecordFormat> {
    if let Some(template) = &args.format {
        let template = Template::parse(template, context.zone.clone());
        return Ok(RecordFormat::Template(template.map_err(|error| exit::usage(format!("--format: {error}")))?));
    }
    Ok(match args.output {
        FormatName::Value => RecordFormat::Value { delimiter: args.delimiter.0.clone() },
        FormatName::Json => RecordFormat::Json,
        FormatName::Len32 => RecordFormat::Len32,
    })
}

/// `NAME` or `NAME=REGEX`.
pub(super) fn header_test(text: &str) -> Result<(String, Option<Regex>), String> {
    let (name, pattern) = text.split_once('=').map_or((text, None), |(name, pattern)| (name, Some(pattern)));
    if name.is_empty() {
        return Err("expected NAME or NAME=REGEX".into());
    }
    let pattern = pattern.map(|it| it.parse::<Regex>().map_err(|error| error.to_string())).transpose()?;
    Ok((name.to_owned(), pattern))
}

fn filter(args: &ConsumeArgs) -> Filter {
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
    for (headers, inverted) in [(&args.header, false), (&args.header_not, true)] {
        let part = |name: &str| Part::Header(name.as_bytes().to_vec());
        tests.extend(headers.iter().map(|(name, pattern)| test(part(name), pattern.as_ref(), inverted)));
    }
    Filter::new(tests)
}
