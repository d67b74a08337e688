use crate::cli::Context;
use crate::cli::complete;
use crate::cli::exit::{self, Exit};
use crate::cli::manual;

/// Print a manual page
///
/// For packagers: the pages lie under man/ in the source.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir man produce | man -l -")]
pub(crate) struct ManArgs {
    /// The command to describe, or `queue` or `kafka` for kdir-queue(7) or kdir-kafka(7); kdir itself without one
    #[arg(add = complete::commands())]
    command: Option<String>,
}

pub(crate) fn run(args: &ManArgs, context: &mut Context) -> anyhow::Result<Exit> {
    if let Some(page) = manual::TOPIC_PAGES.into_iter().find(|page| args.command.as_deref() == Some(page.name)) {
        context.ui.data(manual::topic_page(page).as_bytes())?;
        return Ok(Exit::Done);
    }
    let kdir = crate::cli::command();
    let command =
        match &args.command {
            None => None,
            Some(name) => {
                let names: Vec<&str> = kdir.get_subcommands().map(clap::Command::get_name).collect();
                let found = kdir.find_subcommand(name);
                Some(found.ok_or_else(|| {
                    exit::usage(format!("there is no command {name}; there are {}", names.join(", ")))
                })?)
            }
        };
    context.ui.data(manual::page(&kdir, command).as_bytes())?;
    Ok(Exit::Done)
}
