//! The program as a user has it: words, exit codes, and what is on stdout.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and tests look at files"
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

#[test]
fn every_subcommand_has_a_module_here() {
    let listed = include_str!("main.rs");
    for command in kdir::cli::command().get_subcommands() {
        let module = format!("mod {};", command.get_name().replace('-', "_"));
        assert!(listed.contains(&module), "tests/cli/main.rs has no `{module}`");
    }
}

#[test]
fn wrong_usage_is_2_and_says_what_was_expected() {
    let kdir = support::Kdir::new();
    kdir.run(&["frob"]).code(2).stderr(predicates::str::contains("unrecognized subcommand"));
    kdir.run(&["list", "-o", "xml"]).code(2).stderr(predicates::str::contains("table, json, tsv"));
    kdir.run(&[]).code(2);
}
