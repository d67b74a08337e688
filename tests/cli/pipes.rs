//! Closed outputs, signals, and several processes at once.

use super::support::{Kdir, wait_until};
use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Stdio};

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn stderr(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_reader_that_has_enough_ends_it_quietly() {
    let kdir = Kdir::with_topic("app", 1);
    let lines: String = (0..200_000).map(|at| format!("line {at}\n")).collect();
    kdir.produce("app", lines.as_bytes());
    let mut child = kdir.spawn(&["consume", "app"]);
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    assert_eq!(first, "line 0\n");
    assert_eq!((stderr(&mut child), child.wait().unwrap().code()), (String::new(), Some(0)));
}

#[test]
fn a_follower_prints_what_is_appended_and_ends_when_nobody_reads_it() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.produce("app", b"before\n");
    let mut child = kdir.spawn(&["consume", "app", "-F"]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    for at in 0..20 {
        kdir.produce("app", format!("{at}\n").as_bytes());
        stdout.read_line(&mut line).unwrap();
    }
    let expected: String = (0..20).map(|at| format!("{at}\n")).collect();
    assert_eq!(line, format!("before\n{expected}"));
    drop(stdout);
    assert_eq!((stderr(&mut child), child.wait().unwrap().code()), (String::new(), Some(0)));
}

#[test]
fn a_follower_is_told_when_its_topic_is_deleted() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a\n");
    let mut child = kdir.spawn(&["consume", "app", "-F"]);
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kdir.run(&["delete", "app", "--yes"]).success();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stderr(&mut child).contains("the topic app was deleted"));
}

#[test]
fn a_producer_is_told_when_its_topic_is_deleted_and_does_not_make_it_again() {
    let kdir = Kdir::new();
    let mut child = kdir.spawn(&["produce", "app", "--create"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\n").unwrap();
    wait_until("the first record", || {
        kdir.log_dir().exists() && kdir.path("app.json").exists() && kdir.text(&["consume", "app"]) == "a\n"
    });
    kdir.run(&["delete", "app", "--yes"]).success();
    stdin.write_all(b"b\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stderr(&mut child).contains("the topic app was deleted meanwhile"));
    assert_eq!(kdir.names("."), [".lock"]);
}

#[test]
fn a_line_is_readable_as_soon_as_it_is_written_and_a_signal_keeps_whole_lines() {
    for (number, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let kdir = Kdir::with_topic("app", 1);
        let mut child = kdir.spawn(&["produce", "app"]);
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"a\nb\nbegun").unwrap();
        wait_until("two records", || kdir.text(&["consume", "app"]) == "a\nb\n");
        signal(&child, number);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(stderr(&mut child).contains("the last line was not complete and was not stored (5 bytes)"));
        assert_eq!(kdir.text(&["consume", "app"]), "a\nb\n");
    }
}

#[test]
fn a_killed_producer_leaves_what_it_said_was_durable() {
    let kdir = Kdir::with_topic("app", 1);
    let mut child = kdir.spawn(&["produce", "app", "-o", "json", "--sync", "always"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let durable: serde_json::Value = serde_json::from_str(&line).unwrap();
    let last = durable["last_offset"].as_i64().unwrap();
    assert!(kdir.json(&["consume", "app", "-o", "json"]).iter().any(|row| row["offset"] == last));
    kdir.produce("app", b"c\n");
    assert!(kdir.text(&["consume", "app"]).ends_with("c\n"));
}

#[test]
fn four_producers_share_a_partition_without_a_gap() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "segment.bytes=200000"]).success();
    const LINES: usize = 5000;
    let children: Vec<Child> = (0..4).map(|_| kdir.spawn(&["produce", "app", "--batch-size", "2KiB"])).collect();
    std::thread::scope(|scope| {
        for (name, mut child) in children.into_iter().enumerate() {
            scope.spawn(move || {
                let lines: String = (0..LINES).map(|at| format!("{name} {at}\n")).collect();
                child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
                assert_eq!(child.wait().unwrap().code(), Some(0));
            });
        }
    });
    let mut next = BTreeMap::new();
    let rows = kdir.json(&["consume", "app", "-o", "json"]);
    for (offset, row) in rows.iter().enumerate() {
        assert_eq!(row["offset"], offset);
        let (name, at) = row["value"].as_str().unwrap().split_once(' ').unwrap();
        let expected = next.entry(name.to_owned()).or_insert(0_usize);
        assert_eq!(at.parse::<usize>().unwrap(), *expected);
        *expected += 1;
    }
    assert_eq!(rows.len(), 4 * LINES);
}

#[test]
fn eight_that_create_one_topic_make_one_and_store_every_record() {
    let kdir = Kdir::new();
    let mut children: Vec<Child> = (0..8).map(|_| kdir.spawn(&["produce", "--create", "app"])).collect();
    for (name, child) in children.iter_mut().enumerate() {
        writeln!(child.stdin.take().unwrap(), "{name}").unwrap();
    }
    for mut child in children {
        assert_eq!(child.wait().unwrap().code(), Some(0), "{}", stderr(&mut child));
    }
    let mut lines: Vec<String> = kdir.text(&["consume", "app"]).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["0", "1", "2", "3", "4", "5", "6", "7"]);
}

#[test]
fn a_directory_that_a_broker_holds_is_read_and_not_written() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a\n");
    // fcntl locks do not exclude their own process, so the "broker" is this one and the program another.
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(kdir.path(".lock")).unwrap();
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    for args in [
        &["create", "new"][..],
        &["produce", "app"],
        &["alter", "app", "--partitions", "2"],
        &["delete", "app", "--yes"],
        &["delete-records", "app", "--before-offset", "1"],
        &["retention"],
    ] {
        kdir.run(args).code(1).stderr(predicates::str::contains("is in use by a running Kafka broker"));
    }
    assert_eq!(kdir.text(&["consume", "app"]), "a\n");
    assert!(kdir.text(&["describe"]).contains("app"));
    drop(lock);
    kdir.produce("app", b"b\n");
}

#[test]
fn a_broker_cannot_start_under_a_producer() {
    let kdir = Kdir::with_topic("app", 1);
    let mut child = kdir.spawn(&["produce", "app"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\n").unwrap();
    wait_until("the first record", || kdir.text(&["consume", "app"]) == "a\n");
    let lock = std::fs::OpenOptions::new().read(true).write(true).open(kdir.path(".lock")).unwrap();
    assert!(fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).is_err());
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.produce("app", b"a\n");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = kdir.command(&["consume", "app"]).stdout(full).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(stderr(&mut child).contains("cannot write to stdout"));
}
