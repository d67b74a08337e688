//! Floor 5: the terminal. The only floor that knows clap, anyhow, comfy-table and indicatif.
//!
//! A command resolves its arguments, calls the library and renders; it holds no policy. Everything that can be checked
//! without the log dir is checked before it is opened.

mod args;
pub mod commands;
mod complete;
mod exit;
mod kafka_page;
mod lazy;
mod manual;
mod queue_page;
mod report;
mod signals;
mod startup;
mod times;
mod ui;
mod usage;

use crate::disk::real::RealDisk;
use crate::disk::real::open_input;
use crate::disk::{Disk, descriptors, suspension};
use crate::logdir::{LogDir, LogDirError, LogDirs};
use crate::units::{LocalZone, Timestamp};
use crate::work::supervisor;
use anyhow::Context as _;
use clap::{CommandFactory, Parser, Subcommand};
use etcetera::BaseStrategy;
use lazy::Lazy;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use ui::Ui;

/// Kafka's log without the broker
///
/// Creates topics, produces from stdin, consumes from any offset, describes partitions, applies retention and compacts, straight
/// on a directory that is laid out byte for byte as Apache Kafka lays out its own. No server: each command opens the
/// directory, does its work and leaves. Any number of them may run at once.
///
/// Exit status: 0 done; 1 failed; 2 wrong usage; 3 done, but records were rejected; 4 corruption found. SIGINT,
/// SIGTERM and SIGHUP end it as they end other programs (a shell shows 130, 143 and 129), with everything acknowledged so far
/// on disk.
#[derive(Debug, Parser)]
#[command(
    name = "kdir",
    version,
    after_long_help = "Examples:\n  echo hello | kdir produce --create greetings\n  kdir consume greetings\n  \
                       kdir help consume",
    max_term_width = 100,
    args_override_self = true,
    disable_help_subcommand = true
)]
pub struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Args)]
pub(crate) struct GlobalArgs {
    /// The log dir [default: $XDG_DATA_HOME/kdir, else ~/.local/share/kdir]
    ///
    /// list, describe, consume, offsets, groups, verify and export read the log dirs of a broker that has several as one: give
    /// the option once for each.
    #[arg(short = 'd', long, global = true, help_heading = GLOBAL, value_name = "DIR")]
    #[arg(env = "KDIR_LOG_DIR", hide_env_values = true, value_parser = args::any_path())]
    log_dir: Vec<PathBuf>,
    /// Say nothing but errors
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    quiet: bool,
    /// Say more of what is done
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "quiet")]
    verbose: bool,
    /// When to use colour; records are never coloured
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "WHEN", default_value = "auto")]
    color: ui::ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(Lazy<commands::create::CreateArgs>),
    #[command(alias = "ls")]
    List(Lazy<commands::list::ListArgs>),
    Describe(Lazy<commands::describe::DescribeArgs>),
    Alter(Lazy<commands::alter::AlterArgs>),
    Delete(Lazy<commands::delete::DeleteArgs>),
    Produce(Lazy<commands::produce::ProduceArgs>),
    #[command(alias = "cat")]
    Consume(Lazy<commands::consume::ConsumeArgs>),
    Get(Lazy<commands::get::GetArgs>),
    Offsets(Lazy<commands::offsets::OffsetsArgs>),
    Groups(Lazy<commands::groups::GroupsArgs>),
    Work(Lazy<commands::work::WorkArgs>),
    DeleteRecords(Lazy<commands::delete_records::DeleteRecordsArgs>),
    Retention(Lazy<commands::retention::RetentionArgs>),
    Compact(Lazy<commands::compact::CompactArgs>),
    Verify(Lazy<commands::verify::VerifyArgs>),
    Repair(Lazy<commands::repair::RepairArgs>),
    Promote(Lazy<commands::promote::PromoteArgs>),
    Demote(Lazy<commands::demote::DemoteArgs>),
    Dump(Lazy<commands::dump::DumpArgs>),
    Export(Lazy<commands::export::ExportArgs>),
    Import(Lazy<commands::import::ImportArgs>),
    Completions(Lazy<commands::completions::CompletionsArgs>),
    Man(Lazy<commands::man::ManArgs>),
}

/// The heading of the options that every command has.
const GLOBAL: &str = "Everywhere";

/// What every command has at hand.
pub(crate) struct Context {
    ui: Ui,
    disk: Arc<dyn Disk>,
    /// The log dirs, at least one.
    roots: Vec<PathBuf>,
    zone: LocalZone,
}

impl Context {
    fn new(global: &GlobalArgs) -> anyhow::Result<Self> {
        let is_empty = |name: &Path| name.as_os_str().is_empty();
        let roots = match &global.log_dir[..] {
            [] => vec![default_log_dir()?],
            // A variable that is set to nothing is not set.
            [name] if is_empty(name) && std::env::var_os("KDIR_LOG_DIR").is_some_and(|it| it.is_empty()) => {
                vec![default_log_dir()?]
            }
            given if given.iter().any(|name| is_empty(name)) => {
                return Err(exit::usage("--log-dir is empty: name a directory"));
            }
            given => given.to_vec(),
        };
        let ui = Ui::new(global.quiet, global.verbose, global.color);
        Ok(Self {
            ui,
            disk: Arc::new(RealDisk::new(ui::waiting_for_lock, signals::is_stopped)),
            roots,
            zone: LocalZone::new(move || times::system_zone(ui)),
        })
    }

    /// The log dir of a command that has one.
    fn root(&self) -> anyhow::Result<&Path> {
        match &self.roots[..] {
            [only] => Ok(only),
            _ => Err(exit::usage(
                "--log-dir is given more than once: only list, describe, consume, offsets, groups, verify and export read \
                 several",
            )),
        }
    }

    fn open(&self) -> anyhow::Result<LogDir> {
        Ok(LogDir::open(Arc::clone(&self.disk), self.root()?)?)
    }

    fn open_all(&self) -> anyhow::Result<LogDirs> {
        Ok(LogDirs::open(&self.disk, &self.roots)?)
    }

    /// Opens the log dirs for a command that shows what is in them. Files at a root that this does not need may be damaged.
    fn open_to_read(&self) -> anyhow::Result<LogDirs> {
        let log_dirs = self.open_all()?;
        for log_dir in log_dirs.each() {
            for error in log_dir.take_damaged_checkpoints()? {
                self.ui.warning(&format!("going on without a file of the log dir: {error}"));
            }
        }
        Ok(log_dirs)
    }

    /// A small file of the user's, as text; `-` is stdin. It may be a pipe.
    fn read_text(&self, path: &Path) -> anyhow::Result<String> {
        const SIZE_MAX: u64 = 64 << 20;
        let mut text = String::new();
        let read = if path == Path::new("-") {
            ui::require_stdin()?;
            io::stdin().take(SIZE_MAX).read_to_string(&mut text)
        } else {
            open_input(path)?.take(SIZE_MAX).read_to_string(&mut text)
        };
        read.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(text)
    }

    fn open_to_repair(&self) -> anyhow::Result<LogDir> {
        suspension::wait_for_locks();
        Ok(LogDir::open_to_repair(Arc::clone(&self.disk), self.root()?)?)
    }

    /// Threads that may lock folders begin after this.
    fn open_to_write(&self) -> anyhow::Result<LogDir> {
        suspension::wait_for_locks();
        Ok(LogDir::open_to_write(Arc::clone(&self.disk), self.root()?)?)
    }

    /// Opens the log dir and makes it first where it is missing.
    fn open_or_make(&self) -> anyhow::Result<LogDir> {
        let root = self.root()?;
        match LogDir::open_to_write(Arc::clone(&self.disk), root) {
            Err(LogDirError::Missing { .. }) => {
                LogDir::make(&*self.disk, root)?;
                self.ui.verbose(&format!("made the log dir {}", root.display()));
                self.open_to_write()
            }
            opened => Ok(opened?),
        }
    }
}

fn default_log_dir() -> anyhow::Result<PathBuf> {
    let base = etcetera::base_strategy::Xdg::new().context("no home directory is known: give --log-dir")?;
    Ok(base.data_dir().join("kdir"))
}

/// The time now.
#[expect(clippy::disallowed_methods, reason = "the one clock of the program; everything below is told the time")]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since_epoch.as_millis() as i64)
}

/// The command line as clap knows it, with the arguments of every command.
#[must_use]
pub fn command() -> clap::Command {
    let mut command = lazy::with_negative_numbers(Cli::command());
    command.build();
    command
}

/// Keeps the time of a handler, where the program was started for that.
fn supervise() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != supervisor::WORD {
        return None;
    }
    let ended = supervisor::run(&arguments.collect::<Vec<_>>());
    Some(ended.map_or(ExitCode::from(exit::FAILED), ExitCode::from))
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = complete::answer() {
        return code;
    }
    if let Some(code) = supervise() {
        return code;
    }
    let cli = match usage::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    descriptors::raise_limit();
    let signals = signals::outlive_file_size_limit().and_then(|()| signals::handle_as_first_process());
    let context = signals.context("cannot handle signals").and_then(|()| Context::new(&cli.global));
    let result = context.and_then(|mut context| run(&cli.command, &mut context));
    exit::code(result, &cli)
}

fn run(command: &Command, context: &mut Context) -> anyhow::Result<exit::Exit> {
    match command {
        Command::Create(Lazy(args)) => commands::create::run(args, context),
        Command::List(Lazy(args)) => commands::list::run(args, context),
        Command::Describe(Lazy(args)) => commands::describe::run(args, context),
        Command::Alter(Lazy(args)) => commands::alter::run(args, context),
        Command::Delete(Lazy(args)) => commands::delete::run(args, context),
        Command::Produce(Lazy(args)) => commands::produce::run(args, context),
        Command::Consume(Lazy(args)) => {
            // With --follow it might be long before there is something to write.
            ui::require_stdout()?;
            commands::consume::run(args, context)
        }
        Command::Get(Lazy(args)) => commands::get::run(args, context),
        Command::Offsets(Lazy(args)) => commands::offsets::run(args, context),
        Command::Groups(Lazy(args)) => commands::groups::run(args, context),
        Command::Work(Lazy(args)) => commands::work::run(args, context),
        Command::DeleteRecords(Lazy(args)) => commands::delete_records::run(args, context),
        Command::Retention(Lazy(args)) => commands::retention::run(args, context),
        Command::Compact(Lazy(args)) => commands::compact::run(args, context),
        Command::Verify(Lazy(args)) => commands::verify::run(args, context),
        Command::Repair(Lazy(args)) => commands::repair::run(args, context),
        Command::Promote(Lazy(args)) => commands::promote::run(args, context),
        Command::Demote(Lazy(args)) => commands::demote::run(args, context),
        Command::Dump(Lazy(args)) => commands::dump::run(args, context),
        Command::Export(Lazy(args)) => commands::export::run(args, context),
        Command::Import(Lazy(args)) => commands::import::run(args, context),
        Command::Completions(Lazy(args)) => commands::completions::run(args, context),
        Command::Man(Lazy(args)) => commands::man::run(args, context),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_well_formed() {
        super::command().debug_assert();
    }
}
