use crate::cli::Context;
use crate::cli::complete;
use crate::cli::exit::{self, Exit};

/// Print a manual page
///
/// For packagers: the pages lie under man/ in the source.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir man produce | man -l -")]
pub(crate) struct ManArgs {
    /// The command to describe; kdir itself without one
    #[arg(add = complete::commands())]
    command: Option<String>,
}

pub(crate) fn run(args: &ManArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let mut kdir = crate::cli::command();
    kdir.build();
    let page = match &args.command {
        None => kdir,
        Some(name) => {
            let found = kdir.find_subcommand(name).cloned();
            let names: Vec<&str> = kdir.get_subcommands().map(clap::Command::get_name).collect();
            let found = found
                .ok_or_else(|| exit::usage(format!("there is no command {name}; there are {}", names.join(", "))))?;
            // The page is found by its full name, kdir-produce.
            let full = format!("kdir-{name}");
            found.name(full.clone()).display_name(full)
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).date("").source(concat!("kdir ", env!("CARGO_PKG_VERSION"))).render(&mut text)?;
    context.ui.data(&text)?;
    Ok(Exit::Done)
}
