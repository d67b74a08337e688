use crate::cli::exit::Exit;
use crate::cli::{Context, complete};
use clap_complete::Shell;

/// Print a completion script
///
/// For packagers, and for shells without a package: the scripts of bash, zsh and fish are also under completions/ in the
/// source. These shells ask kdir itself, which also completes topics, partitions and configuration keys, from the log dir that
/// the command line names. The scripts of elvish and PowerShell know commands and options.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  kdir completions bash > ~/.local/share/bash-completion/completions/kdir")]
pub(crate) struct CompletionsArgs {
    /// For which shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs, context: &mut Context) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    if !complete::write_script(&args.shell.to_string(), &mut script)? {
        clap_complete::generate(args.shell, &mut crate::cli::command(), "kdir", &mut script);
    }
    context.ui.data(&script)?;
    Ok(Exit::Done)
}
