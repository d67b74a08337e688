//! `kdir delete`.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

#[test]
fn needs_yes_without_a_terminal() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.feed(&["delete", "app"], "y\n")
        .code(2)
        .stdout("")
        .stderr("kdir: delete asks on a terminal; elsewhere it needs --yes\n");
    assert!(kdir.path("app.json").is_file());
}

#[test]
fn removes_folders_topic_file_and_checkpoint_rows() {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "segment.bytes=100"]);
    kdir.create("other", &["-c", "segment.bytes=100"]);
    for topic in ["app", "other"] {
        // A roll is what brings the recovery point to its file.
        kdir.produce(topic, &["--batch-size", "1"], "1\n2\n3\n4\n");
        let before = if topic == "app" { "0:1,1:1" } else { "0:1" };
        kdir.run(&["-q", "delete-records", "--yes", topic, "--before-offset", before]).code(0).stderr("");
    }
    let rows = |file: &str| fs::read_to_string(kdir.path(file)).unwrap();
    let files = ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"];
    for file in files {
        assert!(rows(file).contains("\napp 0 ") && rows(file).contains("\nother 0 "), "{}", rows(file));
    }
    kdir.run(&["delete", "app", "--yes"]).code(0).stdout("").stderr("deleted topic app\n");
    let left = kdir.entries("");
    assert!(!left.iter().any(|name| name.starts_with("app") || name.contains("delete")), "{left:?}");
    for file in files {
        assert!(!rows(file).contains("\napp ") && rows(file).contains("\nother 0 "), "{}", rows(file));
    }
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 1);
    assert_eq!(kdir.values("other"), "2\n3\n4\n");
}

#[test]
fn a_topic_made_again_begins_at_offset_0() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "1\n2\n3\n");
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "2"]).code(0).stderr("");
    kdir.run(&["-q", "delete", "app", "-y"]).code(0).stdout("").stderr("");
    kdir.create("app", &[]);
    kdir.produce("app", &[], "new\n");
    let records = kdir.records("app");
    assert_eq!((records.len(), &records[0]["offset"]), (1, &0.into()));
}

#[test]
fn answered_with_no_the_topic_is_kept_and_the_exit_status_is_1() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.create("other", &[]);
    let (code, shown) = kdir.on_a_terminal(&["delete", "app", "other"], "n\ny\n");
    assert!(shown.contains("topic app is kept\r\n") && shown.contains("deleted topic other\r\n"), "{shown}");
    assert_eq!(code, 1, "{shown}");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]), "app\t1\t0\t0\n");
    let (code, shown) = kdir.on_a_terminal(&["delete", "app"], "\u{4}");
    assert_eq!(code, 1, "{shown}");
    let (code, shown) = kdir.on_a_terminal(&["delete", "app"], "yes\n");
    assert_eq!(code, 0, "{shown}");
}

#[test]
fn deletes_several_topics() {
    let kdir = Kdir::with_topic("a", &[]);
    kdir.create("b", &[]);
    kdir.create("c", &[]);
    kdir.run(&["delete", "a", "c", "-y"]).code(0).stdout("").stderr("deleted topic a\ndeleted topic c\n");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]), "b\t1\t0\t0\n");
}

#[test]
fn a_topic_that_is_not_there_is_named_and_nothing_is_deleted() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["delete", "app", "nope", "-y"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no topic nope in ").and(contains("\nhint: ")));
    assert!(kdir.path("app.json").is_file() && kdir.path("app-0").is_dir());
}

#[test]
fn the_topic_to_delete_is_a_topic_name() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["delete", "..", "-y"]).code(2).stdout("").stderr(contains("a topic name is not . or .."));
    kdir.run(&["delete", "-y"]).code(2).stdout("").stderr(starts_with("kdir: delete needs TOPIC\n"));
}
