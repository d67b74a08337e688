//! The recipes of the README, run in a shell as they stand there.

use crate::support::{Kdir, Running, json_lines, next, until};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::json;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The block of the recipe of that title.
fn recipe(title: &str) -> String {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, recipes) = readme.split_once("\n## Recipes\n").unwrap();
    let (_, recipe) = recipes.split_once(&format!("\n### {title}\n")).unwrap_or_else(|| panic!("no recipe {title:?}"));
    let (_, block) = recipe.split_once("\n```").unwrap();
    let (_, block) = block.split_once('\n').unwrap();
    block.split_once("\n```").unwrap().0.to_owned()
}

/// A shell in the temporary folder of the test, where `kdir` is the program under test.
pub(crate) fn shell(kdir: &Kdir, script: &str) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_kdir"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", script]).current_dir(kdir.temp()).env_clear().env("PATH", path);
    command.env("KDIR_LOG_DIR", kdir.log_dir()).env("TZ", "UTC").env("HOME", kdir.temp());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a recipe to its end and answers what it prints.
fn run(kdir: &Kdir, script: &str) -> String {
    let output = shell(kdir, script).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_recipe_is_run() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let recipes = readme.split_once("\n## Recipes\n").unwrap().1.split_once("\n## ").unwrap().0;
    let tests = include_str!("recipes.rs");
    for title in recipes.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(tests.contains(&format!("recipe(\"{title}\")")), "no test runs the recipe {title:?}");
    }
}

#[test]
fn logs_are_aggregated_with_their_source() {
    let kdir = Kdir::new();
    let web = kdir.file("web.log", "web ERROR 1\n");
    let db = kdir.file("db.log", "db fine\ndb ERROR 1\n");
    let recipe = recipe("Aggregate logs, each line with its source");
    let mut command = shell(&kdir, &recipe);
    // What runs in the background goes with the shell.
    command.process_group(0);
    let mut running = Running::start(command);
    let group = rustix::process::Pid::from_raw(running.id() as i32).unwrap();
    let lines = running.lines();
    assert_eq!(next(&lines), "db ERROR 1");
    append(&web, "web ERROR 2\n");
    append(&db, "db WARN 2\n");
    assert_eq!(next(&lines), "db WARN 2");
    until("the other log is read as well", || kdir.values("logs").contains("web ERROR 2"));
    rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
    let sources = kdir.text(&["consume", "logs", "--grep", "ERROR 1", "-f", "%h %s,"]);
    assert!(
        sources.contains("source=web.log web ERROR 1,") && sources.contains("source=db.log db ERROR 1,"),
        "{sources}"
    );
}

#[test]
fn a_reader_says_which_records_are_done() {
    let kdir = Kdir::with_topic("orders", &["-P", "2"]);
    kdir.produce("orders", &[], "one\ntwo\nthree\nfour\n");
    let recipe = recipe("Say which records are done");
    // The second order cannot be billed at first.
    let script = format!("bill() {{ [ $1 != two ] || [ -e open ] && echo billed $1; }}\n{recipe}");
    for (billed, kept) in [(&["one", "three", "four"][..], "orders 1 0 "), (&["two", "four"], "orders 1 2 ")] {
        let mut command = shell(&kdir, &script);
        // kdir goes with the shell.
        command.process_group(0);
        let mut running = Running::start(command);
        let group = rustix::process::Pid::from_raw(running.id() as i32).unwrap();
        let lines = running.lines();
        billed.iter().for_each(|order| assert_eq!(next(&lines), format!("billed {order}")));
        let text = || fs::read_to_string(kdir.temp().join("billing.position")).unwrap();
        until("it is kept", || text().contains("orders 0 2 ") && text().contains(kept));
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).unwrap();
        let file = fs::File::open(kdir.temp().join("billing.position")).unwrap();
        let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        until("kdir has ended", || rustix::fs::flock(&file, lock).is_ok());
        fs::write(kdir.temp().join("open"), "").unwrap();
    }
}

fn append(path: &str, line: &str) {
    use std::io::Write;
    fs::File::options().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
}

#[test]
fn a_log_is_imported_with_its_own_times() {
    let kdir = Kdir::new();
    kdir.file("zookeeper.log", "2015-07-29 17:41:44,747 - INFO a\n2015-07-30 19:04:12,394 - INFO b\n");
    let printed = run(&kdir, &recipe("Import a log with its own times"));
    assert!(printed.contains("  2015-07-29 ") && printed.contains("  2015-07-30 "), "{printed}");
}

#[test]
fn a_run_goes_on_where_the_last_ended() {
    let kdir = Kdir::with_topic("app", &[]);
    let recipe = recipe("Go on where the last run ended");
    kdir.produce("app", &[], "a\nb\n");
    assert_eq!(run(&kdir, &recipe), "got a\ngot b\n");
    kdir.produce("app", &[], "c\n");
    assert_eq!(run(&kdir, &recipe), "got c\n");
    assert_eq!(run(&kdir, &recipe), "");
}

#[test]
fn terminals_share_a_topic_and_one_that_is_killed_skips_nothing() {
    let kdir = Kdir::with_topic("orders", &["-P", "4"]);
    let recipe = recipe("Share a topic between terminals");
    let start = || {
        // In a process group of its own, as in a terminal.
        let mut command = shell(&kdir, &recipe);
        command.process_group(0);
        Running::start(command)
    };
    let (mut one, other) = (start(), start());
    let shares = || {
        let output = kdir.command(&["-q", "groups", "describe", "billing", "-o", "json"]).output().unwrap();
        let rows = json_lines(&output.stdout);
        let members = rows.iter().filter_map(|row| row["member"].as_str().map(str::to_owned));
        members.collect::<std::collections::BTreeSet<_>>().len()
    };
    until("both are members", || shares() == 2);
    let lines = |from: u32| (from..from + 200).map(|number| format!("{number}\n")).collect::<String>();
    kdir.produce("orders", &["--partitioner", "round-robin"], lines(0));
    kill_process_group(Pid::from_raw(one.id() as i32).unwrap(), Signal::KILL).unwrap();
    one.status();
    kdir.produce("orders", &["--partitioner", "round-robin"], lines(200));
    until("every line is billed", || {
        let billed = fs::read_to_string(kdir.temp().join("billed")).unwrap_or_default();
        let billed: std::collections::BTreeSet<&str> = billed.lines().collect();
        billed.len() == 400
    });
    kill_process_group(Pid::from_raw(other.id() as i32).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn a_command_is_run_for_each_record() {
    let kdir = Kdir::new();
    kdir.file("urls.txt", "good\nbad\n");
    // The command of the recipe by another name, since there is no network here.
    let recipe = recipe("Run a command for each record");
    let fetch = "export PATH=\"$PWD:$PATH\"; fetch() { \"$@\" || [ $? = 3 ]; }";
    let program =
        kdir.file("curl", "#!/bin/sh\n[ \"$2\" = good ] || { echo no \"$2\" >&2; exit 22; }\necho got \"$2\"\n");
    fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = recipe.replace("kdir work jobs", "fetch kdir work jobs --backoff 10ms..20ms");
    let printed = run(&kdir, &format!("{fetch}; {script} | cat"));
    assert!(printed.contains("got good\n"), "{printed}");
    assert_eq!(kdir.values("dlq.jobs"), "bad\n");
    let why = json_lines(&kdir.stdout(&["consume", "dlq.jobs", "-o", "json"]))[0]["headers"].to_string();
    assert!(why.contains("no bad"), "{why}");
    run(&kdir, "kdir work dlq.jobs -g redrive -- kdir produce jobs");
    assert_eq!(kdir.values("jobs"), "good\nbad\nbad\n");
}

#[test]
fn a_topic_is_split_by_key() {
    let kdir = Kdir::with_topic("orders", &["-P", "3"]);
    kdir.produce("orders", &["-K", ":"], "alice:1\nbob:2\nalice:3\nal:4\n");
    run(&kdir, &recipe("Split a topic by key"));
    for (topic, values) in [("orders-alice", "1\n3\n"), ("orders-bob", "2\n"), ("orders-al", "4\n")] {
        assert_eq!(kdir.values(topic), values, "{topic}");
    }
}

#[test]
fn a_key_goes_into_the_topic_of_its_own_name_only() {
    let kdir = Kdir::with_topic("orders", &[]);
    kdir.produce("orders", &["-K", ","], "user.2,b\nuserX2,c\nuser+1,a\nfoo bar,d\na/b,e\n");
    let output = shell(&kdir, &format!("set +e\n{}", recipe("Split a topic by key"))).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.matches("kdir: TOPIC: a topic name has only the characters").count(), 3, "{said}");
    assert_eq!(kdir.text(&["list", "-o", "tsv"]).lines().count(), 3);
    assert_eq!((kdir.values("orders-user.2"), kdir.values("orders-userX2")), ("b\n".into(), "c\n".into()));
}

#[test]
fn retention_runs_every_night() {
    let kdir = Kdir::new();
    let home = kdir.temp().join(".local/share/kdir");
    let kdir = kdir.with_log_dir(home);
    kdir.run(&["-q", "create", "app", "--retention", "1h"]).code(0);
    kdir.produce("app", &["--timestamp", "@1"], "old\n");
    let crontab = recipe("Retention every night");
    let fields: Vec<&str> = crontab.splitn(6, ' ').collect();
    assert_eq!(fields[..5], ["15", "3", "*", "*", "*"]);
    assert_eq!(run(&kdir, fields[5]), "");
    assert_eq!(kdir.values("app"), "");
}

#[test]
fn a_topic_is_backed_up_and_brought_back() {
    let kdir = Kdir::with_topic("orders", &["-P", "2"]);
    kdir.produce("orders", &["-K", ":"], "a:1\nb:2\nc:3\n");
    let before = kdir.records("orders");
    run(&kdir, &recipe("Back up a topic, and bring it back"));
    assert_eq!(kdir.records("orders"), before);
    kdir.produce("orders", &[], "more\n");
    assert_eq!(kdir.records("orders").len(), 4);
}

#[test]
fn a_log_dir_is_handed_to_kafka() {
    let kdir = Kdir::with_topic("orders", &["-P", "2"]);
    kdir.produce("orders", &["-K", ":"], "a:1\nb:2\nc:3\n");
    let printed = run(&kdir, &recipe("Hand the log dir to Kafka, and take it back"));
    assert_eq!(printed.matches("orders").count(), 2, "{printed}");
    assert!(kdir.path("meta.properties").is_file() && kdir.path("bootstrap.checkpoint").is_file());
}

#[test]
fn the_disk_of_a_stopped_broker_is_read() {
    let kdir = Kdir::new();
    let data = kdir.temp().join("data");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka/v2-lz4-0");
    fs::create_dir_all(data.join("payments-0")).unwrap();
    for entry in fs::read_dir(golden).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), data.join("payments-0").join(entry.file_name())).unwrap();
    }
    fs::write(data.join("meta.properties"), "version=1\n").unwrap();
    let recipe = recipe("Look into the disk of a stopped broker");
    let printed = run(&kdir, &recipe.replace("/var/lib/kafka/data", data.to_str().unwrap()));
    assert!(printed.contains("\npayments ") && printed.lines().count() >= 14, "{printed}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
}

#[test]
fn the_newest_value_of_each_key_is_kept() {
    let kdir = Kdir::new();
    let printed = run(&kdir, &recipe("Keep the newest value of each key"));
    assert!(printed.starts_with("{\"plan\":\"paid\"}\nalice {\"plan\":\"paid\"}\nTOPIC"), "{printed}");
    assert_eq!(kdir.text(&["consume", "users", "-f", "%o %k %s\n"]), "2 alice {\"plan\":\"paid\"}\n3 bob \n");
}

#[test]
fn values_go_to_xargs() {
    let kdir = Kdir::with_topic("files", &[]);
    for name in ["one", "two words", "three"] {
        kdir.file(name, "content\n");
        kdir.produce("files", &[], format!("{name}\n"));
    }
    run(&kdir, &recipe("Give values to xargs"));
    for name in ["one.gz", "two words.gz", "three.gz"] {
        assert!(kdir.temp().join(name).is_file(), "{name}");
    }
}

#[test]
#[ignore = "needs jq"]
fn what_happened_between_two_times_is_replayed_through_jq() {
    let kdir = Kdir::with_topic("app", &[]);
    let minute = 60_000;
    let ten = 1_795_341_600_000_i64;
    let records = [("web1", "early", -1), ("web1", "a", 0), ("db", "b", 1), ("web1", "c", 2), ("web1", "late", 60)];
    let line = |&(key, value, minutes): &(&str, &str, i64)| {
        format!("{}\n", json!({"key": key, "value": value, "timestamp": ten + minutes * minute}))
    };
    kdir.produce("app", &["-i", "json"], records.iter().map(line).collect::<String>());
    assert_eq!(run(&kdir, &recipe("Replay what happened between two times")), "a\nc\n");
}

#[test]
#[ignore = "needs jq"]
fn a_topic_is_copied_with_one_field_changed() {
    let kdir = Kdir::with_topic("app", &[]);
    let value = json!({"level": "ERROR", "text": "x"}).to_string();
    let record = json!({"value": value, "key": "k", "timestamp": 1_700_000_000_005_i64, "headers": [{"key": "h", "value": "1"}]});
    kdir.produce("app", &["-i", "json"], format!("{record}\n"));
    run(&kdir, &recipe("Copy a topic with one field changed"));
    let (mut before, mut after) = (kdir.records("app"), kdir.records("app-lower"));
    assert_eq!(after[0]["value"], json!({"level": "error", "text": "x"}).to_string());
    for record in [&mut before[0], &mut after[0]] {
        record["topic"].take();
        record["value"].take();
    }
    assert_eq!(before, after);
}
