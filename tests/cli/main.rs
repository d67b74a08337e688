//! The binary as a user meets it: a module per subcommand, and what lies between processes in
//! `pipes`, `endings`, `kills` and `crowds`; `full_disk` is what its name says. What `consume` does at length is in `selecting`,
//! `formats`, `following` and `replaying`; that what it prints makes the same records again, in `round_trips`.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, and looks at files itself"
)]

mod accept_loss;
mod adoption;
mod alter;
mod bad_input;
mod broker_root;
mod by_topic;
mod compact;
mod compaction_churn;
mod completions;
mod conditions;
mod consume;
mod copies;
mod create;
mod crowds;
mod cursors;
mod delete;
mod delete_records;
mod demote;
mod describe;
mod disks;
mod dump;
mod endings;
mod errors;
mod export;
mod following;
mod formats;
mod full_disk;
mod get;
mod golden;
mod group_ends;
mod group_histories;
mod group_members;
mod groups;
mod history;
mod hostile;
mod import;
mod internal;
mod jbod;
mod killed;
mod kills;
mod limits;
mod list;
mod man;
mod misnamed;
mod offsets;
mod open_transactions;
mod options;
mod owners;
mod persistent_work;
mod pipes;
mod produce;
mod produce_events;
mod produce_records;
mod promote;
mod recipes;
mod redirected;
mod repair;
mod replaying;
mod retention;
mod round_trips;
mod segments;
mod selecting;
mod set_aside;
mod share_groups;
mod sparing;
mod support;
mod suspending;
mod taking_in;
mod terminals;
mod times;
mod timestamps;
mod verify;
mod work;
mod work_histories;

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
    kdir.run(&["list", "--log-dir", ""]).code(2).stdout("").stderr("kdir: --log-dir is empty: name a directory\n");
}

#[test]
fn without_a_log_dir_option_the_data_home_is_used() {
    let kdir = Kdir::new();
    let mut command = kdir.command(&["-q", "create", "app"]);
    command.env_remove("KDIR_LOG_DIR").env("XDG_DATA_HOME", kdir.temp().join("data"));
    command.assert().code(0).stdout("").stderr("");
    assert!(kdir.temp().join("data/kdir/app.json").is_file());
    let mut command = kdir.command(&["-q", "create", "app"]);
    command.env("KDIR_LOG_DIR", "").env("XDG_DATA_HOME", kdir.temp().join("empty"));
    command.assert().code(0).stdout("").stderr("");
    assert!(kdir.temp().join("empty/kdir/app.json").is_file(), "a variable that is set to nothing is not set");
    let mut command = kdir.command(&["-q", "create", "app"]);
    command.env_remove("KDIR_LOG_DIR").env("HOME", kdir.temp().join("home"));
    command.assert().code(0).stdout("").stderr("");
    assert!(kdir.temp().join("home/.local/share/kdir/app.json").is_file());
}

#[test]
fn quiet_says_nothing_but_errors_and_verbose_says_more() {
    let kdir = Kdir::new();
    let made = format!("made the log dir {}\n", kdir.log_dir().display());
    kdir.run(&["-v", "create", "app"]).code(0).stdout("").stderr(predicates::str::starts_with(made));
    kdir.run(&["-q", "create", "other", "-c", "segment.bytes=100"]).code(0).stdout("").stderr("");
    kdir.run(&["-q", "create", "app"]).code(1).stdout("").stderr(predicates::str::starts_with("kdir: the topic app "));
    kdir.run(&["-q", "-v", "list"]).code(2).stdout("").stderr(predicates::str::contains("cannot be used with"));
}

#[test]
fn colour_is_for_terminals_unless_it_is_asked_for() {
    let kdir = Kdir::with_topic("app", &[]);
    let plain = kdir.text(&["list"]);
    let coloured = kdir.text(&["--color", "always", "list"]);
    assert!(!plain.contains('\x1b') && coloured.contains('\x1b'), "{coloured:?}");
    assert_eq!(kdir.text(&["--color", "never", "list"]), plain);
    kdir.run(&["--color=always", "create", "app"])
        .code(1)
        .stdout("")
        .stderr(predicates::str::starts_with("\x1b[31;1mkdir:\x1b[0m the topic app exists already\n"));
    kdir.produce("app", &[], "one\n");
    assert_eq!(kdir.text(&["--color=always", "consume", "app"]), "one\n");
    let mut forced = kdir.command(&["list"]);
    forced.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
    forced.assert().code(0).stdout(predicates::str::contains("\x1b")).stderr("");
}

#[test]
fn a_damaged_file_of_the_log_dir_is_corruption_and_is_named() {
    for name in ["app.json", "log-start-offset-checkpoint", "recovery-point-offset-checkpoint"] {
        let kdir = Kdir::with_topic("app", &[]);
        std::fs::write(kdir.path(name), "nonsense\n").unwrap();
        let message = format!("kdir: {} is damaged: ", kdir.path(name).display());
        match name {
            // Reading goes on without what is durable.
            "recovery-point-offset-checkpoint" => {
                let warning = format!("warning: going on without a file of the log dir: {}", &message[6..]);
                kdir.run(&["consume", "app"]).code(0).stdout("").stderr(predicates::str::starts_with(&warning));
                kdir.run(&["list", "-q"]).code(0).stdout(predicates::str::contains("app"));
            }
            _ => {
                kdir.run(&["consume", "app"]).code(4).stdout("").stderr(predicates::str::starts_with(&message));
            }
        }
        let run = kdir.feed(&["-q", "produce", "app"], "one\n").code(4).stdout("");
        let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        assert!(stderr.contains(&message[6..]) && stderr.matches("is damaged").count() == 1, "{stderr}");
        assert_eq!(std::fs::read(kdir.path(name)).unwrap(), b"nonsense\n");
    }
}

#[test]
fn times_are_shown_in_the_zone_of_the_user() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--timestamp", "1700000000000"], "one\n");
    let mut offsets = kdir.command(&["offsets", "app", "--at", "2023-11-14 23:00"]);
    offsets.env("TZ", "CET-1");
    offsets.assert().code(0).stdout(predicates::str::contains("  2023-11-14 23:13:20\n")).stderr("");
}
