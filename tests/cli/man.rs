//! `kdir man`.

use crate::support::Kdir;
use predicates::str::starts_with;

/// As roff writes it.
fn roff(text: &str) -> String {
    text.replace('-', r"\-")
}

#[test]
fn prints_the_page_of_the_program() {
    let kdir = Kdir::new();
    let page = kdir.text(&["man"]);
    assert!(page.contains(".TH kdir 1"), "{page}");
    for subcommand in kdir.subcommands() {
        assert!(page.contains(&roff(&format!("kdir-{subcommand}(1)"))), "{subcommand} is not named");
    }
}

#[test]
fn prints_a_page_for_every_subcommand() {
    let kdir = Kdir::new();
    for subcommand in kdir.subcommands() {
        let page = kdir.text(&["man", &subcommand]);
        assert!(page.contains(&format!(".TH kdir-{subcommand} 1")), "{page}");
        for section in [".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION", ".SH OPTIONS"] {
            assert!(page.contains(section), "{subcommand} has no {section}");
        }
        assert!(page.contains(&roff("--log-dir")), "{subcommand}");
    }
}

#[test]
fn names_the_commands_when_there_is_no_such() {
    let kdir = Kdir::new();
    kdir.run(&["man", "nope"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: there is no command nope; there are create, list, "));
}
