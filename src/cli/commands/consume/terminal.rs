//! What a consumer tells, in words: warnings, errors and progress.

use super::ConsumeArgs;
use crate::cli::Context;
use crate::cli::exit::{self, Exit, Failures};
use crate::cli::ui::{self, OutputError, Progress, Unit};
use crate::consume::{ConsumeError, Event, RangeEnd};
use crate::disk::outlet::{Outlet, OutletKind};
use crate::groups::GroupError;
use crate::units::ByteSize;

pub(super) struct Terminal<'a> {
    args: &'a ConsumeArgs,
    context: &'a Context,
    /// Partitions that could not be read.
    failures: Failures,
    progress: Option<Progress>,
    /// How many records were printed.
    pub(super) records: u64,
}

impl<'a> Terminal<'a> {
    pub(super) fn new(args: &'a ConsumeArgs, context: &'a Context, outlet: Outlet) -> Self {
        // Into a terminal or a pager, a display on stderr would write over the records; a replay is worth it all the same.
        let is_shown = if args.speed.is_some() {
            !ui::stdout_is_terminal()
        } else {
            outlet.kind() == OutletKind::File && !args.follow
        };
        let progress = is_shown.then(|| context.ui.progress(None, Unit::Records));
        Self { args, context, failures: Failures::new(context.ui), progress, records: 0 }
    }

    pub(super) fn take(&mut self, event: Event<'_>) {
        let ui = self.context.ui;
        match event {
            Event::NothingMatches { pattern } => {
                ui.warning(&format!("no topic matches {pattern} yet; waiting for one"));
            }
            Event::NoFolder { partition } => {
                ui.verbose(&format!("partition {partition} has no folder yet and is empty"));
            }
            Event::Failed { error } => self.failures.tell(in_words(error)),
            Event::PositionIgnored { partition } => {
                let group = self.args.group.as_ref().map(|group| format!("group {group}"));
                let file = || self.args.cursor_file.as_deref().unwrap_or("".as_ref()).display().to_string();
                let place = group.unwrap_or_else(file);
                ui.warning(&format!(
                    "ignoring the position of {partition} in {place}: it belongs to a deleted topic of the same name"
                ));
            }
            Event::WaitsForMembers { members } => {
                ui.status(&format!("waiting for partitions that others have: {}", members.join(", ")));
            }
            Event::Missed { partition, from, log_start_offset } => ui.warning(&format!(
                "offsets {from} to {} of {partition} were removed before they were read; going on at {log_start_offset}",
                log_start_offset.0 - 1
            )),
            Event::SteppedOver { damage, next_offset } => {
                ui.warning(&format!("{damage}; going on at offset {next_offset}"));
                self.failures.note_corruption();
            }
            Event::SteppedOverMore { places } => ui.warning(&format!("{places} more places were passed over")),
            Event::TransactionOpen { partition, transaction } => {
                let zone = &self.context.zone;
                let since = transaction.since.map_or(String::new(), |it| format!(" since {}", it.to_civil(zone)));
                ui.warning(&format!(
                    "{partition}: nothing is shown from offset {} on: a transaction of producer {} is open{since}",
                    transaction.offset, transaction.producer_id
                ));
            }
            Event::NotDurable => ui.warning(
                "what was printed last is not known to be durable, since its producer has not synced it: the next run of the \
                 group prints it again",
            ),
            Event::Unacknowledged { records } => {
                let were = if records == 1 { "1 record was" } else { &*format!("{records} records were") };
                ui.warning(&format!("{were} not acknowledged: the next run prints what was not"));
            }
            Event::Written { records, bytes } => {
                self.records = records;
                if let (Some(progress), None) = (&mut self.progress, self.args.speed) {
                    progress.set(records, || ByteSize(bytes).to_string());
                }
            }
            Event::Paused { records, at } => {
                if let Some(progress) = &mut self.progress {
                    progress.set(records, || at.to_civil(&self.context.zone));
                }
            }
        }
    }

    /// Removes what is shown of progress, and returns how the command ends after all that was told.
    pub(super) fn finish(&self) -> Exit {
        if let Some(progress) = &self.progress {
            progress.finish();
        }
        self.failures.exit()
    }
}

const fn option(end: RangeEnd) -> &'static str {
    match end {
        RangeEnd::From => "--from-offset",
        RangeEnd::To => "--to-offset",
    }
}

/// The error in the words of the command line, and as the type that has an exit code.
pub(super) fn in_words(error: ConsumeError) -> anyhow::Error {
    exit::usage(match error {
        ConsumeError::LogDir(error) => return error.into(),
        ConsumeError::Output(error) => return OutputError(error).into(),
        ConsumeError::NoSuchPartitionIn { end, source } => return anyhow::Error::from(source).context(option(end)),
        ConsumeError::OneOffsetForSeveral { end, offset } => {
            let option = option(end);
            format!("{option} {offset} needs one partition: name it with -p, or each with {option} 0:{offset},1:…")
        }
        ConsumeError::PartitionNotRead { end, partition } => {
            format!("{} names partition {partition}, and -p leaves it out", option(end))
        }
        ConsumeError::EmptyRange { partition, from, to } => {
            format!("{partition}: --from-offset is {from} and --to-offset {to}: no record can be between them")
        }
        ConsumeError::NoPositionsIn { topic } => {
            format!("--cursor-file keeps positions in topics, and {topic} is a folder that was set aside")
        }
        error @ ConsumeError::OtherTopics { .. } => {
            format!("{error}: name another --cursor-file, or remove this one to start again")
        }
        error @ ConsumeError::KafkasFile { .. } => format!("{error}: name another --cursor-file"),
        ConsumeError::Group(error @ GroupError::SharedFileSystem { .. }) => {
            return exit::advised(error.to_string(), "--shared-fs-ok is for members that all run on one machine");
        }
        error => return error.into(),
    })
}
