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
    assert!(page.contains(".TH KDIR 1"), "{page}");
    for subcommand in kdir.subcommands() {
        assert!(page.contains(&roff(&format!("\\fBkdir-{subcommand}\\fR(1)"))), "{subcommand} is not named");
    }
}

#[test]
fn prints_a_page_for_every_subcommand() {
    let kdir = Kdir::new();
    for subcommand in kdir.subcommands() {
        let page = kdir.text(&["man", &subcommand]);
        assert!(page.contains(&format!(".TH KDIR-{} 1", subcommand.to_uppercase())), "{page}");
        let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let expected = [
            "NAME",
            "SYNOPSIS",
            "DESCRIPTION",
            "ARGUMENTS",
            "OPTIONS",
            "EXAMPLES",
            "\"EXIT STATUS\"",
            "FILES",
            "ENVIRONMENT",
            "\"SEE ALSO\"",
        ];
        // One with commands of its own has a section for each, and no arguments.
        let own = sections.iter().filter(|section| section.starts_with("\"KDIR ")).count();
        let has_arguments = own == 0 && !["promote", "demote"].contains(&subcommand.as_str());
        let is_expected = |section: &&&str| has_arguments || **section != "ARGUMENTS";
        let sections = sections.iter().filter(|section| !section.starts_with("\"KDIR "));
        assert!(expected.iter().filter(is_expected).eq(sections), "{subcommand}");
        assert!(page.contains(&roff("--log-dir")), "{subcommand}");
    }
}

#[test]
fn a_synopsis_says_what_is_needed_and_sums_up_the_rest() {
    let kdir = Kdir::new();
    for (subcommand, expected) in [
        ("produce", "kdir produce [OPTIONS] [TOPIC] [FILE]..."),
        ("consume", "kdir consume [OPTIONS] TOPIC..."),
        ("offsets", "kdir offsets [OPTIONS] --at earliest|latest|max-timestamp|TIME TOPIC..."),
        (
            "delete-records",
            "kdir delete-records [OPTIONS] {--before-offset P:N,... | --before TIME | --consumed | --consumed-by GROUP,...} \
             TOPIC",
        ),
    ] {
        let page = kdir.text(&["man", subcommand]);
        let line = page.lines().skip_while(|line| *line != ".SH SYNOPSIS").nth(1).unwrap();
        let plain = [r"\fB", r"\fI", r"\fR", "\\"].iter().fold(line.to_owned(), |line, mark| line.replace(mark, ""));
        assert_eq!(plain, expected);
    }
}

#[test]
fn code_is_bold_and_options_stand_under_their_headings() {
    let page = Kdir::new().text(&["man", "produce"]);
    for part in [
        "\\fBlines\\fR ends each record",
        "\n.SS Placement\n.TP\n\\fB\\-p\\fR, \\fB\\-\\-partition\\fR \\fIN\\fR\nThe partition",
        "\n.EX\ntail \\-F",
        "[default: \\en]",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains('`'), "{page}");
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".SS ")).collect();
    assert_eq!(headings.last(), Some(&"Everywhere"), "{headings:?}");
}

#[test]
fn names_the_commands_when_there_is_no_such() {
    let kdir = Kdir::new();
    kdir.run(&["man", "nope"])
        .code(2)
        .stdout("")
        .stderr(starts_with("kdir: there is no command nope; there are create, list, "));
}
