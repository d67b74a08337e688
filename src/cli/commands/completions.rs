use crate::cli::Context;
use crate::cli::exit::Exit;
use clap_complete::Shell;

/// Print a completion script
///
/// For packagers, and for shells without a package: the same scripts lie under completions/ in the source. They know
/// commands and options.
///
/// A bash, zsh or fish that asks kdir itself also completes topics, partitions and configuration keys, from the log dir
/// that the command line names. Its start file gets a line for that: `source <(KDIR_COMPLETE=bash kdir)`, the same with
/// zsh, or `KDIR_COMPLETE=fish kdir | source`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir completions bash > ~/.local/share/bash-completion/completions/kdir")]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::cli::command(), "kdir", &mut script);
    context.ui.data(&script)?;
    Ok(Exit::Done)
}
