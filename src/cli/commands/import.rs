use super::export::of_archive;
use crate::archive::{self, ArchiveError, ImportOptions, ImportedTopic};
use crate::cli::Context;
use crate::cli::args;
use crate::cli::exit::{self, Exit, Failures};
use crate::cli::signals::{self, Stop};
use crate::cli::ui::{self, Unit};
use crate::produce::{FileInput, Input, InputName, Readiness};
use crate::storage::clean::Watch;
use crate::units::{ByteSize, TopicName};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Make topics again from a file of `kdir export`
///
/// Reads FILE, or stdin. The topics keep their ids, unless a topic here has the same one, and get everything that the file holds
/// of them: segments byte for byte, configuration, log start offsets and leader epochs. A topic that exists is refused.
///
/// All or nothing: every member is compared with its checksum, every batch is read and all of it is durable before the first
/// topic can be seen. A truncated or altered file is refused by the name of the member, with status 4. What a run that was
/// killed leaves is ignored, and removed by the next `create` or `import` of the name, or any `delete` or `import`.
///
/// The committed offsets of groups are written after that, for groups that have committed none of the topic here.
///
/// The log dir is made where it is missing.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:\n  kdir import app.tar --as app-copy\n  \
                       gzip -dc topics.tar.gz | kdir import --topic orders --as orders-copy")]
pub(crate) struct ImportArgs {
    /// The file; - is stdin
    #[arg(default_value = "-", hide_default_value = true, value_parser = args::any_path())]
    file: PathBuf,
    /// Import under another name, with a new topic id
    #[arg(long = "as", value_name = "NAME", value_parser = args::topic)]
    rename: Option<TopicName>,
    /// Import only this topic of the file (can be repeated)
    #[arg(short, long, value_name = "TOPIC", value_parser = args::topic)]
    topic: Vec<TopicName>,
    /// Leave out the committed offsets of groups
    #[arg(long)]
    no_groups: bool,
}

pub(crate) fn run(args: &ImportArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if args.file == Path::new("-") {
        ui::require_stdin()?;
        if ui::stdin_is_terminal() {
            return Err(exit::advised_usage(
                "import reads a tar file from stdin, which is a terminal",
                "name the file: `kdir import FILE`",
            ));
        }
    }
    let stop = Stop::on_signals()?;
    let input = InputName::find(&args.file)?;
    let size = input.size();
    let input = StoppableInput(input.open(stop.descriptor())?);
    let log_dir = context.open_or_make()?;
    let options =
        ImportOptions { topics: args.topic.clone(), rename: args.rename.clone(), with_groups: !args.no_groups };
    let mut progress = context.ui.progress(size, Unit::Bytes);
    let mut bytes = 0;
    let mut watch = Watch {
        is_stopped: &signals::is_stopped,
        on_bytes: &mut |count| {
            bytes += count;
            progress.set(bytes, String::new);
        },
    };
    let imported = archive::import(&log_dir, input, &options, crate::cli::now(), &mut watch);
    progress.finish();
    let imported = match (imported, stop.signal()) {
        (Err(_), Some(signal)) => {
            context.ui.status("interrupted: nothing was imported");
            return Ok(Exit::Signal(signal));
        }
        (imported, _) => imported.map_err(of_archive)?,
    };
    let mut failures = Failures::new(context.ui);
    for topic in imported {
        summarize(&topic, context);
        for (group, error) in topic.groups.failed {
            let error = anyhow::Error::from(error);
            failures.tell(error.context(format!("cannot commit the offsets of group {group}")));
        }
    }
    Ok(failures.exit())
}

fn summarize(topic: &ImportedTopic, context: &Context) {
    for number in topic.missing_partitions() {
        context.ui.warning(&format!("partition {number} of topic {} is not in the file: it is empty", topic.name));
    }
    let ImportedTopic { archived, name, groups, .. } = topic;
    context.ui.status(&format!(
        "imported topic {name} with {}, {} and the offsets of {} ({})",
        super::counted(archived.partition_count as u64, "partition"),
        super::counted(archived.offsets(), "record"),
        super::counted(groups.committed.len() as u64, "group"),
        ByteSize(archived.bytes()),
    ));
    if archived.topic_id.is_some_and(|id| id != topic.topic_id) && *name == archived.name {
        context.ui.warning(&format!("topic {name} has a new topic id: another topic here has the one in the file"));
    }
    for group in &groups.kept {
        context.ui.warning(&format!("group {group} has committed offsets of topic {name}, which are kept"));
    }
}

/// An input that ends with an error when the program is to stop.
struct StoppableInput<'a>(FileInput<'a>);

impl Read for StoppableInput<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.wait(None)? {
            Readiness::Stop => Err(io::Error::other(ArchiveError::Stopped)),
            Readiness::Ready | Readiness::NotReady => self.0.read(buffer),
        }
    }
}
