//! `kdir consume --follow` while the log dir changes under it.

use crate::support::{Kdir, Running, next};
use predicates::str::contains;
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

fn follow(kdir: &Kdir, args: &[&str]) -> Running {
    Running::start(kdir.process(&[&["consume", "-F"], args].concat()))
}

#[test]
fn partitions_that_are_added_are_followed_as_well() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "old\n");
    let mut follower = follow(&kdir, &["app", "-f", "%p %s\n"]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "0 old");
    kdir.produce("app", &[], "first\n");
    assert_eq!(next(&lines), "0 first");
    kdir.run(&["-q", "alter", "app", "--partitions", "3"]).code(0).stdout("").stderr("");
    kdir.produce("app", &["-p", "2"], "second\n");
    assert_eq!(next(&lines), "2 second");
    kdir.produce("app", &["-p", "1"], "third\n");
    assert_eq!(next(&lines), "1 third");
    // What a partition got before the follower saw it is shown as well.
    follower.suspend();
    kdir.run(&["-q", "alter", "app", "--partitions", "4"]).code(0).stdout("").stderr("");
    kdir.produce("app", &["-p", "3"], "fourth\n");
    follower.signal(Signal::CONT);
    assert_eq!(next(&lines), "3 fourth");
}

#[test]
fn topics_that_come_to_match_a_pattern_are_followed_as_well() {
    let kdir = Kdir::with_topic("app-web", &[]);
    let mut follower = follow(&kdir, &["app-*", "-f", "%t %s\n"]);
    let lines = follower.lines();
    kdir.produce("app-web", &[], "one\n");
    assert_eq!(next(&lines), "app-web one");
    kdir.create("other", &[]);
    kdir.create("app-db", &[]);
    kdir.produce("other", &[], "not this\n");
    kdir.produce("app-db", &[], "two\n");
    assert_eq!(next(&lines), "app-db two");
}

#[test]
fn until_ends_a_follower_when_its_time_has_come() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let started = Instant::now();
    let mut follower = follow(&kdir, &["app", "--until", &(now + 4000).to_string()]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "one");
    kdir.produce("app", &[], "two\n");
    assert_eq!(next(&lines), "two");
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
    assert!(started.elapsed() >= Duration::from_millis(3900));
    // A time that has passed: what is there is printed, and nothing can come.
    kdir.run(&["consume", "app", "-F", "--until", "1h ago"]).code(0).stdout("").stderr("");
}

#[test]
fn a_tail_is_followed_until_its_time_has_come() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\ntwo\nthree\n");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let mut follower = follow(&kdir, &["app", "--tail", "1", "--until", &(now + 4000).to_string()]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "three");
    kdir.produce("app", &[], "four\n");
    assert_eq!(next(&lines), "four");
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
    kdir.run(&["consume", "app", "--tail", "2", "-F", "--until", "now"]).code(0).stdout("three\nfour\n").stderr("");
}

#[test]
fn to_offset_ends_a_follower_when_every_partition_has_come_there() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &["-p", "0"], "a0\na1\na2\n");
    let mut follower = follow(&kdir, &["app", "--to-offset", "0:2,1:1"]);
    let lines = follower.lines();
    assert_eq!([next(&lines), next(&lines)], ["a0", "a1"]);
    kdir.produce("app", &["-p", "1"], "b0\nb1\n");
    assert_eq!(next(&lines), "b0");
    assert_eq!(follower.wait(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_topic_that_is_deleted_ends_the_follower_of_several() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.create("other", &[]);
    kdir.produce("app", &[], "one\n");
    let mut follower = follow(&kdir, &["app", "other"]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "one");
    kdir.run(&["-q", "delete", "other", "--yes"]).code(0).stdout("").stderr("");
    assert_eq!(follower.wait(), (Some(1), String::new(), "kdir: the topic other was deleted\n".into()));
}

#[test]
fn follows_by_looking_again_where_the_system_refuses_notifications() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let refuse = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$@\"";
    let mut command = Command::new("unshare");
    let follower = kdir.process(&["consume", "app", "-F"]);
    command.args(["-Ur", "sh", "-c", refuse, "sh"]).arg(follower.get_program()).args(follower.get_args());
    for (name, value) in follower.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut follower = Running::start(command);
    let lines = follower.lines();
    assert_eq!(next(&lines), "one");
    for number in 0..5 {
        kdir.produce("app", &[], format!("{number}\n"));
        assert_eq!(next(&lines), number.to_string());
    }
}

#[test]
fn what_cannot_be_followed_is_told() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["consume", "app", "-F", "-p", "7"]).code(1).stdout("").stderr(contains("has no partition 7"));
}

#[test]
fn a_pattern_may_match_its_first_topic_while_it_is_followed() {
    let kdir = Kdir::with_topic("other", &[]);
    kdir.run(&["consume", "app-*"]).code(1).stdout("").stderr(contains("no topic in"));
    let mut follower = follow(&kdir, &["app-*", "other", "-n", "2"]);
    let lines = follower.lines();
    kdir.produce("other", &[], "old\n");
    assert_eq!(next(&lines), "old");
    kdir.create("app-1", &[]);
    kdir.produce("app-1", &[], "first\n");
    assert_eq!(next(&lines), "first");
    let (code, _, said) = follower.end();
    assert_eq!((code, said.as_str()), (Some(0), "warning: no topic matches app-* yet; waiting for one\n"));
    let mut follower = follow(&kdir, &["web-*", "-n", "1"]);
    let lines = follower.lines();
    kdir.create("web-1", &[]);
    kdir.produce("web-1", &[], "second\n");
    assert_eq!(next(&lines), "second");
    assert_eq!(follower.end().0, Some(0));
}

#[test]
fn a_follow_ends_when_nothing_was_printed_for_so_long() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "a\n");
    let start = std::time::Instant::now();
    kdir.run(&["consume", "app", "-F", "--idle-timeout", "300ms"]).code(0).stdout("a\n").stderr("");
    assert!(start.elapsed() >= std::time::Duration::from_millis(300));
    let mut running =
        Running::start(kdir.process(&["consume", "app", "-F", "--grep", "^[ab]$", "--idle-timeout", "2s"]));
    let lines = running.lines();
    assert_eq!(next(&lines), "a");
    std::thread::sleep(std::time::Duration::from_millis(1200));
    kdir.produce("app", &[], "b\n");
    assert_eq!(next(&lines), "b");
    // What comes and does not match does not make the wait longer.
    let start = std::time::Instant::now();
    for _ in 0..8 {
        kdir.produce("app", &[], "no\n");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(running.end().0, Some(0));
    assert!(start.elapsed() < std::time::Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn what_is_added_and_does_not_fit_the_selection_ends_no_other() {
    let kdir = Kdir::with_topic("fb-a", &["-P", "2"]);
    kdir.produce("fb-a", &["-p", "1"], "a0\na1\n");
    let mut follower = follow(&kdir, &["fb-*", "-p", "1", "--from-offset", "1"]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "a1");
    kdir.create("fb-b", &[]);
    kdir.produce("fb-a", &["-p", "1"], "a2\n");
    assert_eq!(next(&lines), "a2");
    // What the new topic lacks comes later.
    kdir.create("other", &[]);
    kdir.run(&["-q", "alter", "fb-b", "--partitions", "2"]).code(0).stdout("").stderr("");
    kdir.produce("fb-b", &["-p", "1"], "b0\n");
    assert_eq!(next(&lines), "b0");
    follower.signal(Signal::TERM);
    let (_, _, stderr) = follower.wait();
    assert_eq!(stderr.matches("has no partition 1").count(), 1, "{stderr}");
}

#[test]
fn an_offset_for_the_one_partition_that_there_is_does_not_end_the_follower_when_another_is_added() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "0\n1\n2\n");
    let mut follower = follow(&kdir, &["app", "--from-offset", "2"]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "2");
    kdir.run(&["-q", "alter", "app", "--partitions", "2"]).code(0).stdout("").stderr("");
    kdir.produce("app", &["-p", "1"], "new\n");
    assert_eq!(next(&lines), "new");
}

#[test]
fn a_partition_that_is_added_and_cannot_be_read_ends_no_other() {
    let kdir = Kdir::with_topic("fb-a", &[]);
    kdir.produce("fb-a", &[], "a0\n");
    let mut follower = follow(&kdir, &["fb-*"]);
    let lines = follower.lines();
    assert_eq!(next(&lines), "a0");
    follower.suspend();
    kdir.create("fb-b", &[]);
    std::fs::remove_dir_all(kdir.path("fb-b-0")).unwrap();
    std::fs::write(kdir.path("fb-b-0"), "no folder").unwrap();
    follower.signal(Signal::CONT);
    for value in ["a1", "a2"] {
        kdir.produce("fb-a", &[], format!("{value}\n"));
        assert_eq!(next(&lines), value);
    }
    follower.signal(Signal::TERM);
    let (_, _, stderr) = follower.wait();
    assert_eq!(stderr.matches("fb-b-0: Not a directory").count(), 1, "{stderr}");
}
