//! The binary as a user meets it: a module per subcommand, and what lies between processes in `pipes`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at files itself"
)]

mod alter;
mod completions;
mod consume;
mod create;
mod delete;
mod delete_records;
mod describe;
mod dump;
mod list;
mod man;
mod offsets;
mod pipes;
mod produce;
mod retention;
mod support;

use support::Kdir;

#[test]
fn every_subcommand_has_a_module() {
    let modules = include_str!("main.rs");
    let subcommands = Kdir::new().subcommands();
    assert!(subcommands.contains(&"produce".to_owned()), "{subcommands:?}");
    for subcommand in subcommands {
        let module = subcommand.replace('-', "_");
        assert!(modules.contains(&format!("\nmod {module};\n")), "tests/cli/{module}.rs is missing: {subcommand}");
    }
}

#[test]
fn help_goes_to_stdout_and_wrong_usage_to_stderr() {
    let kdir = Kdir::new();
    kdir.run(&["--help"]).code(0).stdout(predicates::str::contains("Usage: kdir")).stderr("");
    kdir.run(&["--no-such-option"]).code(2).stdout("").stderr(predicates::str::contains("--no-such-option"));
    kdir.run(&["no-such-command"]).code(2).stdout("").stderr(predicates::str::contains("no-such-command"));
    kdir.run(&["--version"]).code(0).stdout(concat!("kdir ", env!("CARGO_PKG_VERSION"), "\n")).stderr("");
}

#[test]
fn a_log_dir_option_wins_over_the_environment_and_an_empty_one_is_refused() {
    let kdir = Kdir::new();
    let other = kdir.temp().join("other");
    kdir.run(&["-q", "create", "app", "-d", other.to_str().unwrap()]).code(0).stdout("").stderr("");
    assert!(other.join("app.json").is_file());
    assert!(!kdir.log_dir().exists());
    kdir.run(&["list", "--log-dir", ""]).code(2).stdout("").stderr(predicates::str::contains("'--log-dir <DIR>'"));
}

#[test]
fn without_a_log_dir_option_the_data_home_is_used() {
    let kdir = Kdir::new();
    let mut command = kdir.command(&["-q", "create", "app"]);
    command.env_remove("KDIR_LOG_DIR").env("XDG_DATA_HOME", kdir.temp().join("data"));
    command.assert().code(0).stdout("").stderr("");
    assert!(kdir.temp().join("data/kdir/app.json").is_file());
    let mut command = kdir.command(&["-q", "create", "app"]);
    command.env_remove("KDIR_LOG_DIR").env("HOME", kdir.temp().join("home"));
    command.assert().code(0).stdout("").stderr("");
    assert!(kdir.temp().join("home/.local/share/kdir/app.json").is_file());
}
