use super::support::{Kdir, read};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

fn ten() -> Kdir {
    let kdir = Kdir::with_topic("app", 1);
    for at in 0..10 {
        kdir.run_with(&["produce", "app", "--timestamp", &format!("{at}000")], format!("{at}").as_bytes()).success();
    }
    kdir
}

#[test]
fn begins_and_stops_where_it_is_told() {
    let kdir = ten();
    for (args, expected) in [
        (&["--from-offset", "earliest", "-n", "2"][..], "0\n1\n"),
        (&["--from-offset", "7"], "7\n8\n9\n"),
        (&["--from-offset", "-2"], "8\n9\n"),
        (&["--from-offset", "-99"], "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n"),
        (&["--from-offset", "latest"], ""),
        (&["--from-offset", "10"], ""),
        (&["--from-offset", "3", "--to-offset", "5"], "3\n4\n"),
        (&["--from-offset", "0:8"], "8\n9\n"),
        (&["--to-offset", "-8"], "0\n1\n"),
        (&["--to-offset", "99", "--from-offset", "9"], "9\n"),
        (&["--since", "6000", "--until", "8000"], "6\n7\n"),
        (&["--since", "5999", "-n", "1"], "6\n"),
        (&["--since", "99000"], ""),
        (&["--until", "1"], "0\n"),
        (&["-n", "0"], ""),
    ] {
        kdir.run(&[&["consume", "app"], args].concat()).success().stdout(expected).stderr("");
    }
}

#[test]
fn an_offset_outside_the_log_states_the_range_unless_it_is_reset() {
    let kdir = ten();
    kdir.run(&["delete-records", "app", "--before-offset", "3"]).success();
    for offset in ["2", "11"] {
        kdir.run(&["consume", "app", "--from-offset", offset]).code(1).stdout("").stderr(
            contains(format!("app-0: offset {offset} is outside the log, which goes from 3")).and(contains("to 10")),
        );
    }
    kdir.run(&["consume", "app", "--from-offset", "11", "--reset", "earliest", "-n", "1"]).success().stdout("3\n");
    kdir.run(&["consume", "app", "--from-offset", "2", "--reset", "latest"]).success().stdout("");
}

#[test]
fn wrong_places_are_wrong_usage() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.run(&["consume", "app", "--from-offset", "5"]).code(2).stderr(contains("needs one partition"));
    kdir.run(&["consume", "app", "--from-offset", "0:x"]).code(2).stderr(contains("is no offset"));
    kdir.run(&["consume", "app", "--since", "now", "--until", "yesterday"])
        .code(2)
        .stderr(contains("not before --until"));
    kdir.run(&["consume", "app", "-p", "7"]).code(1).stderr(contains("no partition 7"));
    kdir.run(&["consume", "nope"]).code(1).stderr(contains("there is no topic nope"));
}

#[test]
fn partitions_are_merged_by_time_or_read_in_turn() {
    let kdir = Kdir::with_topic("app", 2);
    for (partition, time, line) in [("0", "1", "a"), ("1", "2", "b"), ("0", "3", "c"), ("0", "2", "d"), ("1", "9", "e")]
    {
        kdir.run_with(&["produce", "app", "-p", partition, "--timestamp", time], line.as_bytes()).success();
    }
    assert_eq!(kdir.text(&["consume", "app"]), "a\nb\nc\nd\ne\n", "d keeps its place behind c");
    assert_eq!(kdir.text(&["consume", "app", "--order", "partition"]), "a\nc\nd\nb\ne\n");
    assert_eq!(kdir.text(&["consume", "app", "-p", "1,0,1", "--from-offset", "0:2,1:1"]), "d\ne\n");
}

#[test]
fn several_topics_are_merged() {
    let kdir = Kdir::with_topic("one", 1);
    kdir.run(&["create", "two"]).success();
    for (topic, time, line) in [("one", "1", "a"), ("two", "2", "b"), ("one", "3", "c")] {
        kdir.run_with(&["produce", topic, "--timestamp", time], line.as_bytes()).success();
    }
    assert_eq!(kdir.text(&["consume", "two", "one"]), "a\nb\nc\n");
}

#[test]
fn what_follows_a_value_is_the_users_choice() {
    let kdir = ten();
    assert_eq!(kdir.stdout(&["consume", "app", "-n", "3", "-D", ""]), b"012");
    assert_eq!(kdir.stdout(&["consume", "app", "-n", "3", "-D", r"\0"]), b"0\x001\x002\0");
    assert_eq!(kdir.stdout(&["consume", "app", "-n", "2", "-D", ", "]), b"0, 1, ");
}

#[test]
fn corruption_is_4_and_names_the_place_and_what_came_before_is_shown() {
    let kdir = ten();
    let path = kdir.path("app-0/00000000000000000000.log");
    let mut bytes = read(&path);
    let batch = bytes.len() / 10;
    bytes[2 * batch + 65] ^= 0x40;
    std::fs::write(&path, bytes).unwrap();
    kdir.run(&["consume", "app"]).code(4).stdout("0\n1\n").stderr(
        contains("00000000000000000000.log is corrupt")
            .and(contains(format!("position {}", 2 * batch)))
            .and(contains("offset 2"))
            .and(contains("checksum")),
    );
    kdir.run_with(&["produce", "app"], b"x").code(4).stderr(contains("is corrupt"));
}

#[test]
fn a_brokers_folders_are_read_as_they_are() {
    let kdir = ten();
    std::fs::remove_file(kdir.path("app.json")).unwrap();
    assert_eq!(kdir.text(&["consume", "app", "-n", "1"]), "0\n");
    std::fs::rename(kdir.path("app-0"), kdir.path("app-4")).unwrap();
    kdir.run_with(&["produce", "app"], b"x").code(1).stderr(contains("name the partition with -p"));
    kdir.run_with(&["produce", "app", "-p", "4"], b"x").success();
    assert_eq!(kdir.text(&["consume", "app", "--from-offset", "-1"]), "x\n");
}
