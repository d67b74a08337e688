//! Several log dirs, read as one: the disks of one broker.

use crate::support::{Kdir, Running, json_lines, next};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;
use std::path::{Path, PathBuf};

struct Disks {
    kdir: Kdir,
    other: PathBuf,
}

impl Disks {
    /// A broker's topic `app` of three partitions, number 1 of it in the second log dir, and `solo`, which is there alone.
    fn new() -> Self {
        let kdir = Kdir::with_topic("app", &["-P", "3"]);
        kdir.create("solo", &[]);
        for partition in ["0", "1", "2"] {
            let time = format!("@1.00{partition}");
            kdir.produce("app", &["-p", partition, "--timestamp", &time], format!("p{partition}\n"));
        }
        kdir.produce("solo", &["--timestamp", "@2"], "solo\n");
        ["app", "solo"].into_iter().for_each(|topic| kdir.disown(topic));
        let disks = Self { other: kdir.temp().join("other"), kdir };
        fs::create_dir(&disks.other).unwrap();
        for folder in ["app-1", "solo-0"] {
            disks.move_to_other(folder);
        }
        disks
    }

    fn move_to_other(&self, folder: &str) {
        fs::rename(self.kdir.path(folder), self.other.join(folder)).unwrap();
    }

    /// The arguments, with both log dirs.
    fn both(&self, args: &[&str]) -> Vec<String> {
        let dirs = ["-d", self.kdir.log_dir().to_str().unwrap(), "-d", self.other.to_str().unwrap()].map(str::to_owned);
        args.iter().map(|it| (*it).to_owned()).chain(dirs).collect()
    }

    fn run(&self, args: &[&str]) -> assert_cmd::assert::Assert {
        let args = self.both(args);
        self.kdir.run(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.run(args).code(0).stderr("").get_output().stdout.clone();
        String::from_utf8(output).unwrap()
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn a_topic_spread_over_log_dirs_is_one() {
    let disks = Disks::new();
    let listed = disks.text(&["list", "-o", "tsv"]);
    let rows: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').take(3).collect()).collect();
    assert_eq!(rows, [["app", "3", "3"], ["solo", "1", "1"]]);
    assert_eq!(disks.text(&["consume", "app"]), "p0\np1\np2\n");
    assert_eq!(disks.text(&["consume", "*", "-n", "9"]), "p0\np1\np2\nsolo\n");
    assert_eq!(disks.text(&["consume", "app", "-p", "1", "--from-offset", "0"]), "p1\n");
    let described = json_lines(disks.text(&["describe", "-o", "json"]).as_bytes());
    let rows: Vec<String> = described.iter().map(|it| format!("{} {}", it["topic"], it["partition"])).collect();
    assert_eq!(rows, ["\"app\" 0", "\"app\" 1", "\"app\" 2", "\"solo\" 0"]);
    assert_eq!(disks.text(&["describe", "app", "--chart", "day", "-o", "tsv"]).split('\t').nth(2), Some("3"));
    let offsets = disks.text(&["offsets", "app", "--at", "latest", "-o", "tsv"]);
    assert_eq!(offsets, "app\t0\t1\t\napp\t1\t1\t\napp\t2\t1\t\n");
    disks.run(&["verify"]).code(0).stdout("").stderr(starts_with("checked 4 records in 4 segments of 4 partitions"));
    // Alone, each shows what it has.
    assert_eq!(disks.kdir.text(&["consume", "app"]), "p0\np2\n");
}

#[test]
fn checkpoint_files_count_in_their_own_log_dir() {
    let disks = Disks::new();
    disks.kdir.run(&["offsets", "app", "--at", "earliest", "-q"]).code(0);
    fs::write(disks.kdir.path("log-start-offset-checkpoint"), "0\n2\napp 0 1\napp 1 1\n").unwrap();
    assert_eq!(disks.text(&["consume", "app"]), "p1\np2\n");
    fs::write(disks.other.join("replication-offset-checkpoint"), "0\n1\napp 1 9\n").unwrap();
    let finding = disks.run(&["verify", "app", "-o", "tsv", "-q"]).code(4).get_output().stdout.clone();
    let finding = String::from_utf8(finding).unwrap();
    assert!(finding.starts_with("app\t1\t") && finding.contains("ends-below-high-watermark"), "{finding}");
    fs::write(disks.other.join("recovery-point-offset-checkpoint"), "x").unwrap();
    disks.run(&["list"]).code(0).stderr(contains(shown(&disks.other.join("recovery-point-offset-checkpoint"))));
}

#[test]
fn a_partition_in_two_log_dirs_is_an_error_that_names_both_folders() {
    let disks = Disks::new();
    let twice = disks.other.join("app-0");
    fs::create_dir(&twice).unwrap();
    for entry in fs::read_dir(disks.kdir.path("app-0")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), twice.join(entry.file_name())).unwrap();
    }
    let error = format!("kdir: {} and {} are the same partition\n", shown(&disks.kdir.path("app-0")), shown(&twice));
    for args in
        [&["consume", "app"][..], &["describe", "app"], &["offsets", "app", "--at", "latest"], &["consume", "a*"]]
    {
        disks.run(args).code(1).stdout("").stderr(starts_with(error.clone()));
    }
    // It keeps no other topic from being read.
    disks.run(&["list", "-o", "tsv"]).code(1).stdout(starts_with("solo\t1\t1\t")).stderr(starts_with(error));
    assert_eq!(disks.text(&["consume", "solo"]), "solo\n");
    disks.run(&["verify", "-q"]).code(4).stdout(contains(format!("blocks a broker: {} is the same", shown(&twice))));
    disks.run(&["verify", "solo", "-q"]).code(0).stdout("");
    // A copy that a broker was making is none.
    let future = disks.other.join("app-0.0123456789abcdef0123456789abcdef-future");
    fs::rename(twice, &future).unwrap();
    assert_eq!(disks.text(&["consume", "app"]), "p0\np1\np2\n");
    disks.run(&["list"]).code(0).stderr(starts_with("warning: 1 partition folder is set aside (1 future)\n"));
    assert_eq!(disks.text(&["consume", future.file_name().unwrap().to_str().unwrap()]), "p0\n");
    disks
        .run(&["verify", future.file_name().unwrap().to_str().unwrap()])
        .code(0)
        .stderr(starts_with("checked 1 record "));
}

#[test]
fn a_log_dir_that_is_given_twice_is_one() {
    let disks = Disks::new();
    std::os::unix::fs::symlink(disks.kdir.log_dir(), disks.kdir.temp().join("link")).unwrap();
    let (dir, link) = (shown(&disks.kdir.log_dir()), shown(&disks.kdir.temp().join("link")));
    assert_eq!(disks.kdir.text(&["consume", "app", "-d", &dir, "-d", &link, "-d", &dir]), "p0\np2\n");
}

#[test]
fn a_topic_file_counts_for_the_partitions_in_all_log_dirs() {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "cleanup.policy=compact"]);
    kdir.produce("app", &["-p", "1", "-k", "k"], "one\n");
    let disks = Disks { other: kdir.temp().join("other"), kdir };
    fs::create_dir(&disks.other).unwrap();
    disks.move_to_other("app-1");
    fs::remove_file(disks.kdir.path("recovery-point-offset-checkpoint")).unwrap();
    let rows = json_lines(disks.text(&["describe", "app", "-o", "json"]).as_bytes());
    assert_eq!((rows.len(), &rows[1]["log_end_offset"]), (2, &1.into()));
    assert_eq!(rows[1]["config"]["cleanup.policy"], "compact");
    assert_eq!(disks.text(&["consume", "app"]), "one\n");
}

#[test]
fn what_is_missing_is_named_with_all_log_dirs() {
    let disks = Disks::new();
    let dirs = format!("{}, {}", shown(&disks.kdir.log_dir()), shown(&disks.other));
    for args in [&["consume", "nope"][..], &["verify", "nope"], &["describe", "nope"]] {
        disks.run(args).code(1).stdout("").stderr(starts_with(format!("kdir: there is no topic nope in {dirs}\n")));
    }
    disks.run(&["consume", "x*"]).code(1).stderr(starts_with(format!("kdir: no topic in {dirs} matches x*\n")));
    disks.run(&["consume", "sole"]).code(1).stderr(contains("hint: did you mean solo?"));
    fs::remove_dir_all(&disks.other).unwrap();
    disks
        .run(&["consume", "app"])
        .code(1)
        .stderr(starts_with(format!("kdir: there is no log dir {}\n", shown(&disks.other))));
}

#[test]
fn commands_that_write_take_one_log_dir() {
    let disks = Disks::new();
    let before = disks.kdir.contents();
    for args in [
        &["create", "new"][..],
        &["produce", "app"],
        &["alter", "app", "-c", "retention.ms=1"],
        &["delete", "app", "--yes"],
        &["delete-records", "--yes", "app", "--before", "2024-01-01"],
        &["retention", "app", "--dry-run"],
        &["retention", "app"],
        &["repair"],
    ] {
        disks.run(args).code(2).stdout("").stderr(
            "kdir: --log-dir is given more than once: only list, describe, consume, offsets, groups, verify and export read \
             several\n",
        );
    }
    assert_eq!(disks.kdir.contents(), before);
}

#[test]
fn a_follower_sees_what_comes_to_any_of_them() {
    let disks = Disks::new();
    let args = disks.both(&["consume", "*", "-F"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut follower = Running::start(disks.kdir.process(&args));
    let lines = follower.lines();
    let shown: Vec<String> = (0..4).map(|_| next(&lines)).collect();
    assert_eq!(shown, ["p0", "p1", "p2", "solo"]);
    let other = disks.other.to_str().unwrap();
    disks.kdir.produce("app", &["-d", other, "-p", "1"], "more\n");
    assert_eq!(next(&lines), "more");
    disks.kdir.create("new", &["-d", other]);
    disks.kdir.produce("new", &["-d", other], "new\n");
    assert_eq!(next(&lines), "new");
    disks.kdir.produce("app", &["-p", "0"], "here\n");
    assert_eq!(next(&lines), "here");
    follower.signal(rustix::process::Signal::TERM);
    assert_eq!(follower.wait().2, "");
}

#[test]
fn a_cursor_keeps_positions_in_all_of_them() {
    let disks = Disks::new();
    let file = disks.kdir.temp().join("cursor");
    let consume = ["consume", "app", "--cursor-file", file.to_str().unwrap()];
    assert_eq!(disks.text(&consume), "p0\np1\np2\n");
    let other = disks.other.to_str().unwrap();
    disks.kdir.produce("app", &["-d", other, "-p", "1"], "more\n");
    assert_eq!(disks.text(&consume), "more\n");
}

#[test]
fn the_log_dirs_are_completed_from_together() {
    let disks = Disks::new();
    let args = disks.both(&[]);
    let words: Vec<&str> =
        ["--", "kdir"].into_iter().chain(args.iter().map(String::as_str)).chain(["consume", ""]).collect();
    let mut command = disks.kdir.command(&words);
    command.env("KDIR_COMPLETE", "fish");
    command.assert().code(0).stdout(contains("app").and(contains("solo")));
}
