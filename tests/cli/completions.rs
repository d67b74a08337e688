//! `kdir completions`.

use crate::support::Kdir;
use predicates::str::contains;

#[test]
fn names_every_subcommand_in_every_shells_script() {
    let kdir = Kdir::new();
    for (shell, mark) in [
        ("bash", "complete -F _kdir"),
        ("zsh", "#compdef kdir"),
        ("fish", "complete -c kdir"),
        ("elvish", "edit:completion:arg-completer[kdir]"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = kdir.text(&["completions", shell]);
        assert!(script.contains(mark), "{shell}: {script}");
        for subcommand in kdir.subcommands() {
            assert!(script.contains(&subcommand), "{shell} does not know {subcommand}");
        }
        assert!(script.contains("from-offset"), "{shell}");
    }
}

#[test]
fn refuses_a_shell_that_it_does_not_know() {
    let kdir = Kdir::new();
    kdir.run(&["completions", "tcsh"]).code(2).stdout("").stderr(contains("possible values: bash"));
    kdir.run(&["completions"]).code(2).stdout("").stderr(contains("<SHELL>"));
}

#[test]
fn needs_no_log_dir() {
    let kdir = Kdir::new();
    kdir.run(&["completions", "bash"]).code(0).stderr("");
    assert!(!kdir.log_dir().exists());
}
