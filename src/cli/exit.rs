//! From an error to a message, its causes, a hint and an exit code: the one place.

use super::signals;
use super::ui::{ColorChoice, OutputError, Ui};
use super::{Cli, Command};
use crate::archive::ArchiveError;
use crate::consume::ConsumeError;
use crate::disk::DiskError;
use crate::disk::owner;
use crate::disk::real::RealDisk;
use crate::logdir::config::ConfigError;
use crate::logdir::{LogDir, LogDirError, Meant, RepairAdvice};
use crate::produce::ProduceError;
use crate::promote::{PromoteError, Refusal};
use crate::storage::StorageError;
use crate::storage::file_name::parse_segment_name;
use crate::units::{SetAsideKind, TopicName, TopicPartition};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// How a command that did not fail has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    /// Something is wrong, and was told.
    Told(u8),
    /// A signal ended it, in order.
    Signal(i32),
}

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
/// Done, but records were rejected.
pub(crate) const REJECTED: u8 = 3;
pub(crate) const CORRUPT: u8 = 4;

/// Wrong usage that clap cannot see, and perhaps what to type instead.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Usage {
    message: String,
    hint: Option<String>,
}

/// An error of usage.
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage { message: message.into(), hint: None }.into()
}

/// An error of usage, with what to type instead.
pub(crate) fn advised_usage(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Usage { message: message.into(), hint: Some(hint.into()) }.into()
}

/// A failure of which only the command knows what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Advised {
    message: String,
    hint: String,
}

/// A failure with a hint of the command's own.
pub(crate) fn advised(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    Advised { message: message.into(), hint: hint.into() }.into()
}

/// Prints what clap has to say: help on stdout, errors on stderr.
pub(crate) fn clap(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        let _ = error.print();
        return ExitCode::from(error.exit_code() as u8);
    }
    let ui = Ui::new(false, false, ColorChoice::Auto);
    let help = error.render();
    let help = if ui.stdout_color() { help.ansi().to_string() } else { help.to_string() };
    match ui.data(help.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let error = error.into();
            failed(ui, &error, hint(&error))
        }
    }
}

/// The exit code of a command, after its error has been told.
pub(crate) fn code(result: anyhow::Result<Exit>, cli: &Cli) -> ExitCode {
    let error = match result {
        Ok(Exit::Done) => return ExitCode::SUCCESS,
        Ok(Exit::Told(code)) => return ExitCode::from(code),
        Ok(Exit::Signal(signal)) => return ExitCode::from(signals::end_by(signal)),
        Err(error) => error,
    };
    let ui = Ui::new(cli.global.quiet, cli.global.verbose, cli.global.color);
    let hint = of_command(&error, &cli.command).or_else(|| hint(&error));
    failed(ui, &error, hint)
}

fn failed(ui: Ui, error: &anyhow::Error, hint: Option<String>) -> ExitCode {
    // A reader that has gone wants no more, which is the end that it asked for.
    if error.downcast_ref().is_some_and(|OutputError(error)| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    tell(ui, error, hint);
    // A wait for a lock that a signal has ended: what was waited for is named, and the end is that of the signal.
    let is_interrupted = disk_errors(error).any(DiskError::is_interrupted);
    ExitCode::from(match signals::current().filter(|_| is_interrupted) {
        Some(signal) => signals::end_by(signal),
        None => number(error),
    })
}

/// What the file system said, at any depth: the errors of other floors are those of the disk where that is all they hold.
fn disk_errors(error: &anyhow::Error) -> impl Iterator<Item = &DiskError> {
    error.chain().filter_map(|cause| {
        cause.downcast_ref::<DiskError>().or_else(|| match cause.downcast_ref::<LogDirError>() {
            Some(LogDirError::Disk(error) | LogDirError::Storage(StorageError::Disk(error))) => Some(error),
            _ => match cause.downcast_ref::<StorageError>() {
                Some(StorageError::Disk(error)) => Some(error),
                _ => None,
            },
        })
    })
}

fn tell(ui: Ui, error: &anyhow::Error, hint: Option<String>) {
    ui.error(&message(error));
    if let Some(hint) = hint {
        ui.hint(&hint);
    }
}

/// What failed of many things while the rest went on: told at once, and remembered for the exit code.
pub(crate) struct Failures {
    ui: Ui,
    worst: u8,
}

impl Failures {
    pub(crate) const fn new(ui: Ui) -> Self {
        Self { ui, worst: 0 }
    }

    /// Tells of one.
    pub(crate) fn tell(&mut self, error: impl Into<anyhow::Error>) {
        let error = error.into();
        tell(self.ui, &error, hint(&error));
        self.worst = self.worst.max(number(&error));
    }

    /// Counts corruption that was printed as a warning.
    pub(crate) fn note_corruption(&mut self) {
        self.worst = self.worst.max(CORRUPT);
    }

    pub(crate) const fn exit(&self) -> Exit {
        if self.worst == 0 { Exit::Done } else { Exit::Told(self.worst) }
    }
}

/// Whether an error is about what is in one partition, so that the others can be dealt with all the same.
pub(crate) fn is_of_a_partition(error: &anyhow::Error, roots: &[PathBuf]) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(StorageError::is_of_a_partition)
            || cause
                .downcast_ref()
                .is_some_and(|error: &LogDirError| error.is_of_a_partition(roots.iter().map(PathBuf::as_path)))
    })
}

/// The error and its causes, each said once.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !message.ends_with(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    without_error_number(message)
}

/// What the system says of an error, without the number that it has for it.
fn without_error_number(message: String) -> String {
    let Some((before, number)) = message.rsplit_once(" (os error ") else { return message };
    match number.split_once(')') {
        Some((_, after)) => format!("{before}{after}"),
        None => message,
    }
}

fn number(error: &anyhow::Error) -> u8 {
    if error.is::<Usage>() || error.chain().any(|cause| cause.is::<ConfigError>()) {
        return USAGE;
    }
    let is_corrupt = error.chain().any(|cause| {
        let storage = cause.downcast_ref::<StorageError>();
        matches!(storage, Some(StorageError::Corrupt { .. }))
            || matches!(
                cause.downcast_ref::<ArchiveError>(),
                Some(ArchiveError::Truncated { .. } | ArchiveError::Altered { .. })
            )
            || matches!(
                cause.downcast_ref::<LogDirError>(),
                Some(
                    LogDirError::DamagedFile { .. }
                        | LogDirError::TopicFileLost { .. }
                        | LogDirError::FolderLost { .. }
                        | LogDirError::PartitionSetAside { .. }
                        | LogDirError::OtherTopicsFolder { .. }
                        | LogDirError::Storage(StorageError::Corrupt { .. })
                )
            )
    });
    if is_corrupt { CORRUPT } else { FAILED }
}

/// What helps with one command only.
fn of_command(error: &anyhow::Error, command: &Command) -> Option<String> {
    if let (Some(ProduceError::Refused(problem)), Command::Produce(args)) =
        (error.chain().find_map(|cause| cause.downcast_ref()), command)
    {
        return args.0.hint(problem);
    }
    match (error.chain().find_map(|cause| cause.downcast_ref())?, command) {
        (LogDirError::TopicNotFound { topic, meant: None, .. }, Command::Produce(_)) if !topic.is_internal() => {
            Some(format!("make it with `kdir create {topic}`, or add --create"))
        }
        (LogDirError::TopicExists { topic }, Command::Import(_)) => {
            Some(format!("give it another name with --as, or delete it first with `kdir delete {topic}`"))
        }
        _ => None,
    }
}

/// The command to run next, where one helps.
fn hint(error: &anyhow::Error) -> Option<String> {
    if let Some(Usage { hint, .. }) = error.downcast_ref() {
        return hint.clone();
    }
    if let Some(Advised { hint, .. }) = error.downcast_ref() {
        return Some(hint.clone());
    }
    let hint = error.chain().find_map(|cause| {
        if let Some(hint) = cause.downcast_ref::<LogDirError>().and_then(of_log_dir) {
            return Some(hint);
        }
        if let Some(hint) = cause.downcast_ref::<PromoteError>().and_then(of_promotion) {
            return Some(hint);
        }
        if let Some(hint) = cause.downcast_ref::<ConsumeError>().and_then(of_consume) {
            return Some(hint);
        }
        if let Some(hint) = cause.downcast_ref::<ArchiveError>().and_then(of_archive) {
            return Some(hint);
        }
        cause.downcast_ref::<StorageError>().and_then(of_storage)
    });
    hint.or_else(|| disk_errors(error).find_map(owner::denied).map(|denied| denied.to_string()))
}

fn of_log_dir(error: &LogDirError) -> Option<String> {
    Some(match error {
        LogDirError::Missing { .. } => {
            "make it with `kdir create TOPIC` or `kdir produce --create TOPIC`, or name another with --log-dir".into()
        }
        LogDirError::Foreign { .. } => "name an empty or a new directory with --log-dir".into(),
        LogDirError::ForeignContent { .. } => {
            "move it away first: a topic is deleted with all that is in its folders".into()
        }
        LogDirError::InTheWay { .. } => "move it away, or give the topic another name".into(),
        LogDirError::HeldByBroker { .. } => "stop the broker first; reading works while it runs".into(),
        LogDirError::InUse { .. } => "wait for it to end, or stop it: `fuser -v DIR/.lock` names it".into(),
        LogDirError::BrokerOwned { .. } => "create the topic with the broker, or name another --log-dir".into(),
        LogDirError::TopicNotFound { meant: Some(Meant::Partition(TopicPartition { topic, partition })), .. } => {
            format!("{topic}-{partition} is the folder of a partition: {}", named(topic, *partition))
        }
        LogDirError::TopicNotFound { topic, .. } if parse_segment_name(topic.as_str()).is_some() => {
            format!("to read a file, use `kdir dump --records {topic}`")
        }
        LogDirError::TopicNotFound { topic, .. } if topic.as_str().starts_with("__cluster_metadata") => {
            "the metadata of a cluster is not a topic: `kdir verify` without a topic checks it, `kdir dump --records FILE` shows \
             its records"
                .into()
        }
        LogDirError::TopicNotFound { meant: Some(Meant::Topic(nearest)), .. } => {
            format!("did you mean {nearest}? `kdir list` shows what is there")
        }
        LogDirError::TopicNotFound { .. } => "`kdir list` shows what is there".into(),
        LogDirError::TopicSetAside { folders, .. } => {
            let folder = &folders[0];
            let all = if folders.len() > 1 { "; `kdir list --all` shows all of them" } else { "" };
            let back = match folder.kind {
                SetAsideKind::Stray => {
                    "; to have the topic again, rename the folder back, and to begin a new one, move it out of the log dir"
                }
                SetAsideKind::Future | SetAsideKind::Deleting => "",
            };
            format!("read it with `kdir consume {folder}`{all}{back}")
        }
        LogDirError::PartitionSetAside { path, folder } => format!(
            "read it with `kdir consume {folder}`; rename it back to {} if it belongs here, or move it out of the log dir",
            path.file_name().unwrap_or_default().display()
        ),
        LogDirError::SetAsideFolder { .. } => {
            "list --all, consume, describe, offsets and verify read it; a broker, or its owner, renames or removes it"
                .into()
        }
        LogDirError::PartitionFolder { path } => partition_folder(path),
        LogDirError::PartitionTwice { .. } => {
            "a broker does not start on both: move the folder away that does not belong here".into()
        }
        LogDirError::NoTopicMatches { .. } => "`kdir list` shows what is there".into(),
        LogDirError::TopicExists { .. } => "add --if-not-exists to leave it as it is".into(),
        LogDirError::PartitionsHaveGaps { .. } => "name the partition with -p".into(),
        LogDirError::BrokerTopic { topic } => {
            format!(
                "start the broker and use `kafka-configs --alter` or `kafka-topics --alter` or `--delete` with --topic {topic}; \
                 `kdir describe {topic}` shows its data"
            )
        }
        LogDirError::Replicated { .. } => {
            "start the brokers and produce with Kafka's own tools; reading works here".into()
        }
        LogDirError::TopicFileLost { topic, .. } => format!(
            "put it back from a backup, or write it again with `kdir repair {topic}`: without a limit on retention, until \
             you set one with `kdir alter`"
        ),
        LogDirError::CompactedTopic { topic } => {
            format!("set cleanup.policy=compact,delete with `kdir alter {topic}` to allow it")
        }
        LogDirError::DamagedFile { path, .. } => {
            let repair = repair_of(path);
            format!("`{repair}` keeps the file under another name and rebuilds it")
        }
        LogDirError::FolderLost { path } => {
            let topic = topic_of(path).unwrap_or_default();
            format!("put the folder back from a backup; or {}", accept_loss(&topic))
        }
        LogDirError::OtherTopicsFolder { topic, .. } => {
            format!(
                "move it away if it does not belong here; `kdir repair {topic}` writes the topic's id into it if it does"
            )
        }
        LogDirError::Storage(error) => return of_storage(error),
        _ => return None,
    })
}

fn of_promotion(error: &PromoteError) -> Option<String> {
    Some(match error {
        PromoteError::LogDir(error) => return of_log_dir(error),
        PromoteError::Storage(error) => return of_storage(error),
        PromoteError::HasRun { .. } => {
            "create topics there with kafka-topics, and feed them with kcat or Kafka's tools: `kdir consume -o json` writes what \
             kcat reads"
                .into()
        }
        PromoteError::ZooKeeper { .. } => {
            "start that broker on it, and `kafka-topics --create` each topic with as many partitions: it takes the folders".into()
        }
        PromoteError::PathOfNoBroker { .. } => {
            "rename the directory: without commas, control characters and white space at its ends".into()
        }
        PromoteError::PropertiesDiffer { .. } => "move it away, or name another file with --properties".into(),
        PromoteError::Refused { reasons, .. } => of_refusal(reasons.first()?),
        _ => return None,
    })
}

fn of_refusal(reason: &Refusal) -> String {
    match reason {
        Refusal::SetAside { .. } => {
            "rename the folder back if it belongs here, or move it out of the log dir: `kdir list --all` shows it".into()
        }
        Refusal::PartitionsHaveGaps { .. } => "put the folders of the missing partitions back, or move the others away".into(),
        Refusal::TopicIdsDiffer { .. } | Refusal::SameTopicId { .. } => {
            "`kdir verify` names the files: move away what does not belong here".into()
        }
        Refusal::Expiring { .. } => {
            "--keep hands the topics over without a limit, --yes lets the broker delete; `kdir retention --dry-run` shows what"
                .into()
        }
        Refusal::NotDurable { partition } => {
            format!("`kdir produce {} </dev/null` writes them again; `kdir verify` names what is lost", partition.topic)
        }
        Refusal::InSyncElsewhere { .. } => {
            "move the partitions to this broker with kafka-reassign-partitions, or stop this broker last".into()
        }
        Refusal::NotInSync { .. } => "start the cluster, and let this broker catch up before it is stopped".into(),
        Refusal::Unknown { topic } => {
            format!("move its folders away, or create {topic} with kafka-topics before the broker is stopped")
        }
        Refusal::ShareGroups => "promote for 4.1 or later, which go on with them, or for 3.9, which passes over them".into(),
        Refusal::Unreadable(error) => of_log_dir(error).unwrap_or_else(|| "`kdir verify` names what is wrong".into()),
    }
}

/// How a partition is named to the commands.
fn named(topic: &TopicName, partition: i32) -> String {
    format!("name the topic {topic}, with -p {partition} where the command takes it")
}

/// What to give in the place of a partition's folder as the log dir.
fn partition_folder(path: &Path) -> String {
    let log_dir = match path.parent().filter(|_| path.file_name().is_some()) {
        Some(parent) if parent.as_os_str().is_empty() => Path::new(".").to_owned(),
        Some(parent) => parent.to_owned(),
        // Of `.` and `..` the name is not known.
        None if path == Path::new(".") => "..".into(),
        None => path.join(".."),
    };
    let log_dir = log_dir.display();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match TopicPartition::parse_folder_name(&name) {
        Some(it) => format!("its log dir is {log_dir}; {}", named(&it.topic, it.partition)),
        None => format!("its log dir is {log_dir}"),
    }
}

fn of_consume(error: &ConsumeError) -> Option<String> {
    Some(match error {
        ConsumeError::CursorFileInUse { .. } => {
            "name another with --cursor-file, or wait for the other run to end".into()
        }
        ConsumeError::NoCursorFile { .. } => "name another with --cursor-file".into(),
        ConsumeError::NoPositions { .. } => "name another with --cursor-file, or remove this one to start again".into(),
        _ => return None,
    })
}

fn of_archive(error: &ArchiveError) -> Option<String> {
    Some(match error {
        ArchiveError::Compressed { program } => {
            format!("decompress it on the way: `{program} -dc FILE | kdir import`")
        }
        ArchiveError::NotInFile { .. } | ArchiveError::NotAnExport { .. } => {
            "`tar tf FILE` shows what is in it; `kdir export TOPIC > FILE` writes one".into()
        }
        ArchiveError::OneNameForSeveral { topics } => {
            format!("choose one of them with --topic, as in --topic {}", topics.first()?)
        }
        ArchiveError::SetAside { .. } => "`kdir consume FOLDER` reads it".into(),
        ArchiveError::Truncated { .. } => {
            "export it again, or copy the file again: its last member is kdir-checksums.txt".into()
        }
        ArchiveError::Altered { .. } => "export it again, or copy the file again".into(),
        _ => return None,
    })
}

fn of_storage(error: &StorageError) -> Option<String> {
    Some(match error {
        StorageError::OffsetOutOfRange { .. } => {
            "give an offset in that range, or earliest or latest; consume also takes --reset earliest|latest".into()
        }
        StorageError::Corrupt { path, .. } => {
            let topic = topic_of(path)?;
            match advice(path) {
                Some(RepairAdvice::NothingWrong) => format!("`kdir verify {topic}` checks all of it"),
                Some(RepairAdvice::Repair) => format!("`kdir repair {topic}` repairs it; no record is lost"),
                Some(RepairAdvice::AcceptLoss) | None => accept_loss(&topic),
            }
        }
        _ => return None,
    })
}

/// The commands that go on where records are lost.
pub(crate) fn accept_loss(topics: &str) -> String {
    format!(
        "`kdir repair --dry-run --accept-loss {topics}` shows which records would be given up, `kdir repair --accept-loss \
         {topics}` gives them up"
    )
}

/// The topic of a partition's folder, or of a file in one.
fn topic_of(path: &Path) -> Option<String> {
    Some(partition_of(path)?.1.topic.to_string())
}

/// The log dir, and which of its partitions a path leads to.
fn partition_of(path: &Path) -> Option<(&Path, TopicPartition)> {
    path.ancestors().take(2).find_map(|folder| {
        let partition = TopicPartition::parse_folder_name(folder.file_name()?.to_str()?)?;
        Some((folder.parent()?, partition))
    })
}

/// The repair of what is wrong with a small file.
fn repair_of(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let topic = topic_of(path.parent().unwrap_or(path)).or_else(|| Some(name.strip_suffix(".json")?.to_owned()));
    topic.map_or("kdir repair".into(), |topic| format!("kdir repair {topic}"))
}

/// Whether a repair helps that gives nothing up. Of a large partition that is not known: finding it out reads all of it.
fn advice(path: &Path) -> Option<RepairAdvice> {
    const BYTES_MAX: u64 = 256 << 20;
    let (root, partition) = partition_of(path)?;
    let log_dir = LogDir::open(Arc::new(RealDisk::default()), root).ok()?;
    log_dir.repair_advice(&partition, BYTES_MAX).ok()?
}
