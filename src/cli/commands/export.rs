use crate::archive::{ArchiveError, Export, ExportOptions, ExportStart};
use crate::cli::Context;
use crate::cli::args;
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::ui::{self, OutputError, Ui, Unit};
use crate::consume::{OffsetAt, PerPartition};
use crate::disk::outlet::{Outlet, OutletKind};
use crate::logdir::TopicPattern;
use crate::units::{ByteSize, Offset};
use std::io::{self, Write};

/// Write topics to stdout as one tar file
///
/// The file holds the topics' segments byte for byte, their ids, configuration, log start offsets, leader epochs and the
/// committed offsets of consumer groups. `kdir import` makes the topics again from it, `tar tf` lists it. It can be
/// compressed on the way: `kdir export app | zstd > app.tar.zst`.
///
/// Producers can go on writing: each partition is cut once, at the start of the export, after its last whole batch. Nothing is
/// locked or written, so a read-only copy and the log dir of a running broker can be exported too. Every batch is checked: at
/// a damaged one the export ends with status 4, and its file cannot be imported.
///
/// --since and --from-offset export a slice: whole segments, of which the import shows the records from that one on.
///
/// Not included: offset and time indexes, which an import and a broker rebuild; the state of share groups. A broker can be
/// given the partition folders in the file by hand; log start offsets inside a segment are only in kdir-export.json.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  kdir export app > app.tar\n  kdir export app orders | gzip > topics.tar.gz\n  \
                       kdir export app --since '2h ago' | tar tvf -"
)]
pub(crate) struct ExportArgs {
    /// The topics, by name or pattern (see `kdir consume`)
    #[arg(required = true, value_parser = args::topic_pattern, add = complete::topics())]
    topic: Vec<TopicPattern>,
    /// Begin at the first record at or after this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Begin at an offset: earliest, latest, -N (N before the end), N where there is one partition, or by partition
    /// 0:100,1:250
    #[arg(long, value_name = "OFFSET", allow_hyphen_values = true, conflicts_with = "since")]
    from_offset: Option<PerPartition>,
    /// Leave out the committed offsets of groups
    #[arg(long)]
    no_groups: bool,
}

pub(crate) fn run(args: &ExportArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if ui::stdout_is_terminal() {
        return Err(exit::advised_usage(
            "export writes a tar file to stdout, which is a terminal",
            "redirect it to a file: `kdir export TOPIC > FILE`",
        ));
    }
    ui::require_stdout()?;
    let start = match (&args.since, &args.from_offset) {
        (Some(text), _) => ExportStart::Time(args::time("--since", text, &context.zone)?),
        (None, Some(PerPartition::All(at))) => start_at(*at),
        (None, Some(PerPartition::Each(each))) => {
            ExportStart::ByPartition(each.iter().map(|&(number, at)| (number, start_at(at))).collect())
        }
        (None, None) => ExportStart::LogStart,
    };
    let log_dirs = context.open_to_read()?;
    let topics = log_dirs.matching_topics(&args.topic)?;
    if topics.len() > 1 && matches!(start, ExportStart::At(_) | ExportStart::ByPartition(_)) {
        return Err(exit::usage("an offset is one of a single topic: name one topic, or use --since TIME"));
    }
    let options = ExportOptions { start, with_groups: !args.no_groups };
    let export = Export::plan(&log_dirs, &topics, &options).map_err(of_archive)?;
    for topic in export.manifest().topics.iter().filter(|topic| topic.config.is_none()) {
        context.ui.warning(&format!(
            "the configuration of topic {} is in the metadata of a Kafka broker: it is exported without one",
            topic.name
        ));
    }
    let outlet = Outlet::stdout();
    outlet.widen(PIPE_SIZE);
    let mut progress = context.ui.progress(Some(export.bytes()), Unit::Bytes);
    let mut bytes = 0;
    let written = export.write(Stdout(context.ui), crate::cli::now(), &mut |count| {
        bytes += count;
        progress.set(bytes, String::new);
    });
    progress.finish();
    written.map_err(of_archive)?;
    if outlet.kind() == OutletKind::File {
        outlet.sync().map_err(OutputError)?;
    }
    summarize(&export, context.ui);
    Ok(Exit::Done)
}

/// The reader of the pipe works while as much is written.
const PIPE_SIZE: usize = 1 << 20;

const fn start_at(at: OffsetAt) -> ExportStart {
    match at {
        OffsetAt::Earliest => ExportStart::LogStart,
        OffsetAt::Latest => ExportStart::LogEnd,
        OffsetAt::At(offset) => ExportStart::At(Offset(offset)),
        OffsetAt::BeforeEnd(count) => ExportStart::BeforeEnd(count),
    }
}

fn summarize(export: &Export, ui: Ui) {
    for topic in &export.manifest().topics {
        let is_of_it = |it: &crate::archive::ArchivedOffset| it.partition.topic == topic.name;
        let groups = export.manifest().groups.iter().filter(|group| group.offsets.iter().any(is_of_it)).count();
        ui.status(&format!(
            "exported topic {} with {}, {} and the offsets of {} ({})",
            topic.name,
            super::counted(topic.partitions.len() as u64, "partition"),
            super::counted(topic.offsets(), "record"),
            super::counted(groups as u64, "group"),
            ByteSize(topic.bytes()),
        ));
    }
}

/// Stdout as the user interface writes to it.
struct Stdout(Ui);

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let OutputError(error) = match self.0.data(bytes) {
            Ok(()) => return Ok(bytes.len()),
            Err(error) => error,
        };
        Err(error)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error as the rest of the terminal knows it.
pub(super) fn of_archive(error: ArchiveError) -> anyhow::Error {
    match error {
        ArchiveError::LogDir(error) => error.into(),
        ArchiveError::Group(error) => error.into(),
        ArchiveError::Output(error) => OutputError(error).into(),
        error @ ArchiveError::OffsetOfWhich { .. } => exit::usage(error.to_string()),
        error => error.into(),
    }
}
