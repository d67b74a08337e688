//! What becomes of a record, by how its handler ends.

use crate::support::{Kdir, Running, json_lines, next, until};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const QUICK: [&str; 2] = ["--backoff", "20ms..40ms"];

/// The arguments of a worker of the group g.
pub(crate) fn work<'a>(topics: &[&'a str], options: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["work", "-g", "g"], topics, &QUICK[..], options, &["--", "sh", "-c", script]].concat()
}

fn lines(count: usize) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

fn with_jobs(count: usize) -> Kdir {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &[], lines(count));
    kdir
}

/// The value of a header of a dead letter.
fn header<'a>(letter: &'a Value, name: &str) -> &'a str {
    let headers = letter["headers"].as_array().unwrap();
    let found = headers.iter().find(|header| header["key"] == format!("__dlq.errors.{name}"));
    found.unwrap()["value"].as_str().unwrap()
}

#[test]
fn each_record_is_done_once_and_what_it_printed_is_passed_on() {
    let kdir = with_jobs(3);
    let echo = work(&["jobs"], &[], "read x; echo did $x; echo said $x >&2");
    kdir.run(&echo).code(0).stdout("did 1\ndid 2\ndid 3\n").stderr("said 1\nsaid 2\nsaid 3\n3 records done\n");
    kdir.run(&echo).code(0).stdout("").stderr("0 records done\n");
    kdir.produce("jobs", &[], "4\n");
    kdir.run(&echo).code(0).stdout("did 4\n").stderr("said 4\n1 record done\n");
}

#[test]
fn a_record_that_keeps_failing_goes_to_the_dead_letters_with_what_it_said() {
    let kdir = Kdir::with_topic("jobs", &["--partitions", "3"]);
    kdir.produce("jobs", &["-p", "2", "-K", ":", "-H", "a=b"], "k:poison\n");
    kdir.produce("jobs", &["-p", "1"], "good\n");
    let script = "read x; [ $x = good ] && exit; echo no $x $KDIR_ATTEMPT >&2; exit 9";
    let run = work(&["jobs"], &["--max-attempts", "3", "-q"], script);
    kdir.run(&run).code(3).stdout("").stderr("no poison 1\nno poison 2\nno poison 3\n");
    let letters = kdir.records("dlq.jobs");
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0]["key"], &letters[0]["value"]), (&"k".into(), &"poison".into()));
    assert_eq!(letters[0]["headers"][0], serde_json::json!({"key": "a", "value": "b"}));
    let said = ["topic", "partition", "offset", "group", "delivery.count", "message"].map(|it| header(&letters[0], it));
    assert_eq!(said, ["jobs", "2", "0", "g", "3", "no poison 3"]);
    kdir.run(&run).code(0).stdout("").stderr("");
    // And can be worked themselves.
    kdir.run(&["-q", "work", "dlq.jobs", "-g", "again", "--", "cat"]).code(0).stdout("poison").stderr("");
}

#[test]
fn exit_codes_reject_release_or_stop() {
    let kdir = with_jobs(2);
    let run = work(&["jobs"], &["-q", "--reject-exit", "65", "--dead-letter", "bad"], "read x; [ $x = 2 ] || exit 65");
    kdir.run(&run).code(3).stdout("").stderr("");
    assert_eq!(header(&kdir.records("bad")[0], "delivery.count"), "1");
    // What is not counted: released, not to be started, or told to stop.
    kdir.produce("jobs", &[], "3\n");
    kdir.run(&work(&["jobs"], &["-q", "-n", "1"], "exit 75")).code(0).stdout("").stderr("");
    std::thread::sleep(Duration::from_millis(100));
    let stderr = "kdir: sh cannot be started: lost; no record was counted for it\n";
    kdir.run(&work(&["jobs"], &["-q"], "echo lost >&2; exit 127")).code(1).stdout("").stderr(format!("lost\n{stderr}"));
    kdir.run(&["-q", "work", "jobs", "-g", "g", "--", "no-such-program"])
        .code(1)
        .stdout("")
        .stderr("kdir: no-such-program: command not found\n");
    kdir.run(&work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT")).code(0).stdout("1\n").stderr("");
}

#[test]
fn a_failure_counts_and_the_next_run_goes_on_counting() {
    let kdir = with_jobs(1);
    kdir.run(&work(&["jobs"], &["-q", "-n", "1"], "exit 1")).code(0);
    let note = kdir.temp().join("note");
    let script = format!("echo $KDIR_ATTEMPT > {}; sleep 100", note.display());
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q"], &script)));
    until("the handler runs", || fs::read_to_string(&note).is_ok_and(|text| text == "2\n"));
    running.signal(Signal::KILL);
    running.status();
    // Its handler has the record until it ends.
    kdir.run(&work(&["jobs"], &[], "echo $KDIR_ATTEMPT"))
        .code(0)
        .stdout("")
        .stderr("0 records done, 1 with other workers\n");
    kill_sleeping(100);
    until("the record is free", || {
        let output = kdir.command(&work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT")).output().unwrap();
        assert!(output.stdout.is_empty() || output.stdout == b"3\n");
        !output.stdout.is_empty()
    });
}

/// Kills the handlers that sleep so many seconds.
fn kill_sleeping(seconds: u32) {
    let pattern = format!("sleep {seconds}");
    for entry in fs::read_dir("/proc").unwrap().map(Result::unwrap) {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = line.split(|&byte| byte == 0).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ");
        if words.trim() == pattern {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    }
}

#[test]
fn one_signal_waits_for_the_handler_and_two_kill_it_and_it_is_not_counted() {
    let kdir = with_jobs(2);
    let note = kdir.temp().join("note");
    let script = format!("echo > {}; sleep 0.5; echo $KDIR_OFFSET", note.display());
    let running = Running::start(kdir.process(&work(&["jobs"], &["-q"], &script)));
    until("the handler runs", || note.exists());
    running.signal(Signal::TERM);
    assert_eq!(running.wait(), (Some(143), "0\n".into(), String::new()));
    fs::remove_file(&note).unwrap();
    let script = format!("echo > {}; sleep 101", note.display());
    let running = Running::start(kdir.process(&work(&["jobs"], &[], &script)));
    until("the handler runs", || note.exists());
    running.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::INT);
    let stderr = "waiting for 1 run of the command to end; a second signal kills them\n0 records done\n";
    assert_eq!(running.wait(), (Some(130), String::new(), stderr.into()));
    kdir.run(&work(&["jobs"], &["-q"], "echo $KDIR_OFFSET $KDIR_ATTEMPT")).code(0).stdout("1 1\n").stderr("");
}

#[test]
fn what_nobody_reads_is_not_acknowledged_and_not_counted() {
    let kdir = with_jobs(2);
    let script = "\"$@\" | head -c 0";
    let args = work(&["jobs"], &["-q"], "sleep 0.2; echo $KDIR_OFFSET $KDIR_ATTEMPT");
    let mut closed = Running::start(kdir.process_of_script(script, &args));
    closed.status();
    kdir.run(&args).code(0).stdout("0 1\n1 1\n").stderr("");
}

#[test]
fn a_daemon_that_a_handler_leaves_behind_keeps_nothing() {
    let kdir = with_jobs(2);
    let started = Instant::now();
    kdir.run(&work(&["jobs"], &["-q"], "sleep 102 & echo $KDIR_OFFSET")).code(0).stdout("0\n1\n").stderr("");
    assert!(started.elapsed() < Duration::from_secs(20));
    kdir.run(&work(&["jobs"], &["-q"], "echo again")).code(0).stdout("").stderr("");
    kill_sleeping(102);
}

#[test]
fn a_handler_that_takes_too_long_is_killed_also_when_its_worker_is_dead() {
    let kdir = with_jobs(1);
    let options = ["-q", "--timeout", "300ms", "--max-attempts", "2"];
    let started = Instant::now();
    kdir.run(&work(&["jobs"], &options, "sleep 103")).code(3).stdout("").stderr("");
    assert!(started.elapsed() < Duration::from_secs(8));
    assert_eq!(header(&kdir.records("dlq.jobs")[0], "message"), "timed out");
    kdir.produce("jobs", &[], "2\n");
    let options = ["-q", "--timeout", "2s"];
    let note = kdir.temp().join("note");
    let script = format!("echo > {}; sleep 104", note.display());
    let mut running = Running::start(kdir.process(&work(&["jobs"], &options, &script)));
    until("the handler runs", || note.exists());
    running.signal(Signal::KILL);
    running.status();
    let started = Instant::now();
    let next = work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT");
    until("the orphan is killed", || !kdir.command(&next).output().unwrap().stdout.is_empty());
    assert!(started.elapsed() > Duration::from_secs(1), "it had a time of its own");
}

#[test]
fn a_record_that_an_environment_cannot_hold_is_worked_all_the_same() {
    let kdir = Kdir::with_topic("jobs", &[]);
    let long = "x".repeat(200_000);
    let record = format!(r#"{{"value":"v","key":"a\u0000b","headers":[{{"key":"h","value":"{long}"}}]}}"#);
    kdir.produce("jobs", &["-i", "json"], record);
    let omitted = "KDIR_KEY,KDIR_HEADERS,KDIR_HEADER_H\n";
    kdir.run(&work(&["jobs"], &["-q"], "echo $KDIR_OMITTED")).code(0).stdout(omitted).stderr("");
    // And what cannot be given to it otherwise, by its envelope.
    let output =
        kdir.run(&["-q", "work", "jobs", "-g", "json", "--input", "json", "--", "cat"]).code(0).get_output().clone();
    assert_eq!(json_lines(&output.stdout)[0]["headers"][0]["value"], long);
}

#[test]
fn a_batch_that_fails_is_tried_one_by_one_and_only_that_counts() {
    let kdir = with_jobs(5);
    let script = "c=$KDIR_COUNT; all=$(cat); echo $c: $all; case $all in *3*) exit 1;; esac";
    let run = work(&["jobs"], &["-q", "--batch", "4", "--max-attempts", "2"], script);
    let expected = "4: 1 2 3 4\n1: 1\n1: 2\n1: 3\n1: 4\n1: 5\n1: 3\n";
    let output = kdir.run(&run).code(3).stderr("").get_output().clone();
    let (mut got, mut expected): (Vec<_>, Vec<_>) =
        (std::str::from_utf8(&output.stdout).unwrap().lines().collect(), expected.lines().collect());
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected);
    assert_eq!(header(&kdir.records("dlq.jobs")[0], "delivery.count"), "2");
}

#[test]
fn records_of_a_key_wait_for_those_before_them() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &["-K", ":"], "a:1\nb:2\na:3\nb:4\n");
    kdir.produce("jobs", &[], "5\n");
    let script = "read x; [ $x$KDIR_ATTEMPT = 11 ] && exit 1; echo $KDIR_KEY$x";
    let by_key = |order: &str| {
        let group = format!("by-{order}");
        let run = [
            &["-q", "work", "jobs", "-g", &group, "-j", "4"],
            &QUICK[..],
            &["--ordered", order, "--", "sh", "-c", script],
        ];
        String::from_utf8(kdir.run(&run.concat()).code(0).stderr("").get_output().stdout.clone()).unwrap()
    };
    let keyed = by_key("key");
    let of = |key: char| keyed.lines().filter(|line| line.starts_with(key)).collect::<Vec<_>>();
    assert_eq!((of('a'), of('b')), (vec!["a1", "a3"], vec!["b2", "b4"]));
    assert!(keyed.find("b2") < keyed.find("a1"), "another key does not wait: {keyed}");
    assert_eq!(by_key("partition"), "a1\nb2\na3\nb4\n5\n");
}

#[test]
fn workers_of_a_group_have_one_order() {
    let kdir = with_jobs(1);
    let options = ["-q", "-F", "--ordered", "key"];
    let mut first = Running::start(kdir.process(&work(&["jobs"], &options, "echo run")));
    assert_eq!(next(&first.lines()), "run");
    let output = kdir.run(&work(&["jobs"], &["-q"], "true")).code(1).stdout("").get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(" works jobs with --ordered key, and this would with --ordered no\n"), "{stderr}");
    let output =
        kdir.run(&work(&["jobs"], &["--ordered", "key", "--max-attempts", "2"], "true")).code(0).get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(", gives up after 5 attempts\n"), "{stderr}");
    first.signal(Signal::TERM);
    first.status();
}

#[test]
fn a_typo_empties_no_queue() {
    let kdir = with_jobs(30);
    let output = kdir
        .run(&work(&["jobs"], &["-q", "--breaker", "5"], "echo oh >&2; exit 1"))
        .code(1)
        .stdout("")
        .get_output()
        .clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let expected = "kdir: 5 records in a row have failed at their first attempt, the last one with: oh\nhint: ";
    assert!(stderr.contains(expected), "{stderr}");
    kdir.run(&["-q", "describe", "dlq.jobs"]).code(1);
    kdir.run(&work(&["jobs"], &["-q", "-j", "8"], "true")).code(0);
}

#[test]
fn an_earlier_topic_comes_first() {
    let kdir = with_jobs(2);
    kdir.create("urgent", &[]);
    kdir.produce("urgent", &[], "now\n");
    kdir.run(&work(&["urgent", "jobs"], &["-q"], "read x; echo $x")).code(0).stdout("now\n1\n2\n").stderr("");
}

#[test]
fn a_handler_can_choose_when_it_is_tried_again() {
    let kdir = with_jobs(1);
    let args = ["-q", "work", "jobs", "-g", "g", "--backoff", "10s..60s", "-n", "2", "--", "sh", "-c"];
    let started = Instant::now();
    kdir.run(&[&args[..], &["echo $KDIR_ATTEMPT; echo 300ms > $KDIR_RETRY_FILE; exit 1"]].concat())
        .code(0)
        .stdout("1\n2\n");
    assert!(started.elapsed() > Duration::from_millis(300) && started.elapsed() < Duration::from_secs(9));
}

#[test]
fn records_that_are_too_old_are_given_up() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &["--timestamp", "2020-01-01"], "old\n");
    kdir.produce("jobs", &[], "new\n");
    kdir.run(&work(&["jobs"], &["-q", "--max-age", "1h"], "cat")).code(3).stdout("new").stderr("");
    assert_eq!(header(&kdir.records("dlq.jobs")[0], "message"), "expired");
}

#[test]
fn a_worker_that_follows_takes_what_comes_and_partitions_that_are_added() {
    let kdir = with_jobs(1);
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q", "-F"], "read x; echo $x")));
    let lines = running.lines();
    assert_eq!(next(&lines), "1");
    let started = Instant::now();
    kdir.produce("jobs", &[], "2\n");
    assert_eq!(next(&lines), "2");
    assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
    kdir.run(&["-q", "alter", "jobs", "-P", "2"]).code(0);
    kdir.produce("jobs", &["-p", "1"], "3\n");
    assert_eq!(next(&lines), "3");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
}

#[test]
fn what_retention_removed_is_told() {
    let kdir = with_jobs(3);
    kdir.run(&work(&["jobs"], &["-q", "-n", "1"], "true")).code(0);
    kdir.run(&["-q", "delete-records", "jobs", "--yes", "--before-offset", "0:2"]).code(0);
    let output = kdir.run(&work(&["jobs"], &[], "cat")).code(3).stdout("3").get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        stderr,
        "warning: 1 record of jobs-0 was removed by retention and not done\n1 record done, 1 lost to retention\n"
    );
}

#[test]
fn a_group_is_of_one_kind() {
    let kdir = with_jobs(1);
    kdir.run(&["-q", "consume", "jobs", "-g", "c"]).code(0);
    kdir.run(&["-q", "work", "jobs", "-g", "c", "--", "true"]).code(1).stdout("").stderr(
        "kdir: c is a classic group; a work queue needs a group of its own\n\
             hint: choose another --group: one that has committed offsets cannot be a work queue\n",
    );
    kdir.run(&work(&["jobs"], &["-q"], "true")).code(0);
    kdir.run(&["-q", "consume", "jobs", "-g", "g"])
        .code(1)
        .stdout("")
        .stderr("kdir: g is a share group, and no group of consumers\n");
}

#[test]
fn workers_that_begin_at_once_do_each_record_once() {
    for round in 0..5 {
        let kdir = Kdir::with_topic("a", &["--partitions", "4"]);
        kdir.create("b", &[]);
        kdir.produce("a", &[], lines(20));
        kdir.produce("b", &[], lines(10));
        // Some of one topic, some of both: the record that lists what has a state has both in the end.
        let start = |topics: &[&str]| {
            Running::start(kdir.process(&work(
                topics,
                &["-q", "-j", "2"],
                "echo $KDIR_TOPIC-$KDIR_PARTITION-$KDIR_OFFSET",
            )))
        };
        let running = [start(&["a"]), start(&["b"]), start(&["a", "b"]), start(&["b", "a"])];
        let mut all: Vec<String> =
            running.into_iter().flat_map(|it| it.wait().1.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!((count, all.len()), (30, 30), "round {round}");
        kdir.run(&work(&["a", "b"], &["-q"], "echo again")).code(0).stdout("").stderr("");
        let rows = kdir.json(&["-q", "groups", "describe", "g", "-o", "json"]);
        let listed: Vec<_> = rows.iter().map(|row| format!("{}-{}", row["topic"], row["partition"])).collect();
        assert_eq!(listed.join(" ").replace('"', ""), "a-0 a-1 a-2 a-3 b-0", "round {round}");
    }
}

#[test]
fn a_partition_that_is_damaged_keeps_no_other_from_being_worked() {
    let kdir = Kdir::with_topic("jobs", &["--partitions", "2"]);
    for partition in ["0", "1"] {
        kdir.produce("jobs", &["-p", partition], format!("{partition} a\n"));
        kdir.produce("jobs", &["-p", partition], format!("{partition} b\n"));
    }
    crate::support::flip(&kdir.segment("jobs-0", 0, "log"), 70);
    let output =
        kdir.run(&work(&["jobs"], &["-q"], "read x; echo $x")).code(4).stdout("1 a\n1 b\n").get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with("kdir: jobs-0 is not worked: "), "{stderr}");
}

/// A handler that notes when it begins and ends, under a lock of its record: two of one record would be seen.
fn noting(kdir: &Kdir, then: &str) -> String {
    let folder = kdir.temp().display().to_string();
    format!(
        "exec 9>>{folder}/lock$KDIR_OFFSET; flock -n 9 || echo overlap >> {folder}/noted
        echo begin $KDIR_ATTEMPT >> {folder}/noted
        {then}; echo end $KDIR_ATTEMPT >> {folder}/noted"
    )
}

fn noted(kdir: &Kdir) -> String {
    fs::read_to_string(kdir.temp().join("noted")).unwrap_or_default()
}

#[test]
fn what_outlives_a_kill_keeps_its_record() {
    // Killed at a second signal, in a session of its own.
    let kdir = with_jobs(1);
    let script = noting(&kdir, "sleep 2");
    let inner = kdir.file("inner", &script);
    let outer = format!("setsid -w sh {inner}");
    let running = Running::start(kdir.process(&work(&["jobs"], &["-q"], &outer)));
    until("the handler runs", || noted(&kdir).contains("begin"));
    running.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(100));
    running.signal(Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
    kdir.run(&work(&["jobs"], &["-q"], "true")).code(0);
    assert_eq!(noted(&kdir), "begin 1\n", "it still has its record");
    until("it has ended", || noted(&kdir).contains("end"));
    until("the record is free", || {
        let output = kdir.command(&work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT")).output().unwrap();
        !output.stdout.is_empty()
    });
}

#[test]
fn a_limit_of_time_reaches_what_ignores_the_first_signal() {
    let kdir = with_jobs(1);
    let script = noting(&kdir, "(trap '' TERM; sleep 105; sleep 105) & wait");
    let args = work(&["jobs"], &["-q", "--timeout", "300ms", "--max-attempts", "1"], &script);
    let started = Instant::now();
    kdir.run(&args).code(3).stdout("").stderr("");
    assert!(started.elapsed() > Duration::from_secs(9), "it has its ten seconds");
    assert!(!noted(&kdir).contains("end"));
    let left = fs::read_dir("/proc").unwrap().filter_map(|entry| fs::read(entry.unwrap().path().join("cmdline")).ok());
    assert_eq!(left.filter(|line| line.starts_with(b"sleep\x00105")).count(), 0, "nothing is left of it");
}

#[test]
fn a_value_is_there_whole_for_a_handler_whose_worker_dies() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &["-i", "raw"], vec![b'x'; 600_000]);
    let log = kdir.temp().join("counted");
    let script = format!("echo > {0}.begun; sleep 0.5; wc -c > {0}", log.display());
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q"], &script)));
    until("the handler runs", || kdir.temp().join("counted.begun").exists());
    running.signal(Signal::KILL);
    running.status();
    until("it has ended", || fs::read_to_string(&log).is_ok_and(|text| text.ends_with('\n')));
    assert_eq!(fs::read_to_string(&log).unwrap().trim(), "600000");
}

#[test]
fn a_letter_that_cannot_be_put_keeps_its_record_and_no_other() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.create("dlq.jobs", &["-c", "max.message.bytes=1000"]);
    let stderr = "kdir: dead letters of jobs cannot go to dlq.jobs: its max.message.bytes is smaller\n";
    kdir.run(&work(&["jobs"], &["-q"], "true")).code(1).stdout("").stderr(stderr);
    kdir.run(&["-q", "delete", "dlq.jobs", "--yes"]).code(0);
    kdir.create("dlq.jobs", &["-c", "cleanup.policy=compact"]);
    let stderr = "kdir: dead letters of jobs cannot go to dlq.jobs: it is compacted, which would remove some of them\n";
    kdir.run(&work(&["jobs"], &["-q"], "true")).code(1).stdout("").stderr(stderr);
    kdir.run(&["-q", "delete", "dlq.jobs", "--yes"]).code(0);
    // It becomes too small while it is worked.
    kdir.create("dlq.jobs", &[]);
    // One that no codec makes smaller.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'!' + (state >> 40) as u8 % 90)
    };
    let value: String = (0..4000).map(|_| noise()).collect();
    kdir.produce("jobs", &[], format!("{value}\ngood\n"));
    let kdir_path = env!("CARGO_BIN_EXE_kdir");
    let script = format!(
        "read x; [ \"$x\" = good ] && echo fine && exit; {kdir_path} -q alter dlq.jobs -c max.message.bytes=1000; exit 1"
    );
    let output = kdir
        .run(&work(&["jobs"], &["-q", "--max-attempts", "1"], &script))
        .code(1)
        .stdout("fine\n")
        .get_output()
        .clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.starts_with("kdir: offset 0 of jobs-0 is given up (exit status 1) and stays, with no dead letter: "),
        "{stderr}"
    );
    kdir.run(&["-q", "alter", "dlq.jobs", "--unset", "max.message.bytes"]).code(0);
    kdir.run(&work(&["jobs"], &["-q", "--max-attempts", "1"], "true")).code(3).stdout("");
    assert_eq!(header(&kdir.records("dlq.jobs")[0], "offset"), "0");
}

#[test]
fn output_that_cannot_be_written_acknowledges_nothing() {
    let kdir = with_jobs(6);
    let args = work(&["jobs"], &["-q", "-j", "3"], "sleep 0.1; echo $KDIR_OFFSET");
    let mut full = kdir.process(&args);
    full.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let (code, _, stderr) = Running::start(full).wait();
    assert_eq!((code, stderr.as_str()), (Some(1), "kdir: cannot write to stdout: No space left on device\n"));
    let output = kdir.run(&work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT")).code(0).get_output().clone();
    assert_eq!(output.stdout, b"1\n1\n1\n1\n1\n1\n");
}

#[test]
fn a_stderr_that_nobody_reads_keeps_nobody_from_ending() {
    let kdir = with_jobs(1);
    let mut running =
        Running::start(kdir.process(&work(&["jobs"], &["-q"], "head -c 300000 /dev/zero | tr '\\0' x >&2; sleep 106")));
    std::thread::sleep(Duration::from_millis(500));
    running.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(200));
    running.signal(Signal::TERM);
    let started = Instant::now();
    running.status();
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn facts_of_an_outer_handler_are_none_of_an_inner_one() {
    let kdir = with_jobs(1);
    let mut process =
        kdir.process(&work(&["jobs"], &["-q"], "echo $KDIR_KEY:$KDIR_OMITTED:$KDIR_HEADER_X:$KDIR_TOPIC"));
    process.envs([("KDIR_KEY", "stale"), ("KDIR_OMITTED", "x"), ("KDIR_HEADER_X", "y"), ("KDIR_TOPIC", "other")]);
    assert_eq!(Running::start(process).wait(), (Some(0), ":::jobs\n".into(), String::new()));
}

#[test]
fn a_retry_that_retention_removes_is_lost_and_told_once() {
    let kdir = with_jobs(3);
    kdir.run(&work(&["jobs"], &["-q", "-n", "1"], "exit 1")).code(0);
    kdir.run(&["-q", "delete-records", "jobs", "--yes", "--before-offset", "0:1"]).code(0);
    let run = work(&["jobs"], &[], "true");
    let warning = "warning: 1 record of jobs-0 was removed by retention and not done\n";
    kdir.run(&run).code(3).stderr(format!("{warning}2 records done, 1 lost to retention\n"));
    kdir.run(&run).code(0).stdout("").stderr("0 records done\n");
}

#[test]
fn what_is_too_old_is_in_no_batch_and_counts_as_no_run() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &[], "1\n");
    kdir.produce("jobs", &["--timestamp", "2020-01-01"], "old\n");
    kdir.produce("jobs", &[], "2\n3\n");
    let run = work(&["jobs"], &["-q", "--batch", "5", "--max-age", "1h", "-n", "2"], "cat");
    kdir.run(&run).code(3).stdout("1\n2\n3\n").stderr("");
}

#[test]
fn a_release_says_when_for_all_workers_and_a_drain_leaves_it() {
    let kdir = with_jobs(1);
    let release = work(&["jobs"], &["--backoff", "10s..60s"], "echo 30s > $KDIR_RETRY_FILE; exit 75");
    kdir.run(&release).code(0).stdout("").stderr("0 records done, 1 left for later\n");
    kdir.run(&work(&["jobs"], &["--backoff", "10s..60s"], "echo again"))
        .code(0)
        .stdout("")
        .stderr("0 records done, 1 left for later\n");
}

#[test]
fn the_examples_of_the_help_are_well_formed() {
    let kdir = Kdir::new();
    let mut program = kdir::cli::command();
    let help = program.find_subcommand_mut("work").unwrap().get_after_long_help().unwrap().to_string();
    let examples: Vec<&str> = help.lines().filter_map(|line| line.strip_prefix("  kdir work ")).collect();
    assert_eq!(examples.len(), 3);
    let in_path = kdir.file("send", "true");
    for example in examples {
        // Up to the command, which may be there or not.
        let (options, command) = example.split_once(" -- ").unwrap();
        let command = if command.starts_with("./") { &*in_path } else { "sh" };
        let args: Vec<&str> = ["work"].into_iter().chain(options.split(' ')).chain(["--", command]).collect();
        let output = kdir.command(&args).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{example}: {output:?}");
    }
}

#[test]
fn a_log_dir_of_a_broker_without_share_groups_is_refused() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &[], "a\n");
    let path = kdir.log_dir().display().to_string();
    let rows = [
        (
            "version=0\nbroker.id=1\n",
            "it runs with ZooKeeper",
            "kdir work needs Kafka 4.1 or later with share.version=1, or a log dir of its own; `consume --group` needs \
             neither",
        ),
        (
            "version=1\ncluster.id=4L6g3nShT-eMCtK--X86sw\nnode.id=1\n",
            "it has not made __share_group_state yet",
            "start the broker, let a share consumer of any group join once, and stop it",
        ),
    ];
    for (properties, why, hint) in rows {
        fs::write(kdir.path("meta.properties"), properties).unwrap();
        let refused = format!("kdir: {path} belongs to a broker without share groups: {why}\nhint: {hint}\n");
        kdir.run(&["work", "jobs", "-g", "g", "--", "/bin/true"]).code(1).stdout("").stderr(refused);
        assert!(kdir.entries("").iter().all(|name| !name.starts_with("__")), "{:?}", kdir.entries(""));
    }
}

#[test]
fn a_daemon_of_a_handler_that_failed_does_not_keep_the_record() {
    let kdir = with_jobs(1);
    let script = "[ $KDIR_ATTEMPT = 1 ] && { sleep 108 & exit 1; }; echo $KDIR_ATTEMPT";
    let summary = "1 record done, 1 failed and tried again\n";
    kdir.run(&work(&["jobs"], &[], script)).code(0).stdout("2\n").stderr(summary);
    kill_sleeping(108);
}

#[test]
fn a_record_of_a_dead_worker_is_free_once_its_own_handler_has_ended() {
    let kdir = with_jobs(2);
    let folder = kdir.temp().display().to_string();
    let script = format!(
        "echo > {folder}/begun$KDIR_OFFSET; [ $KDIR_OFFSET = 1 ] && exec sleep 109
        until [ -e {folder}/gate ]; do sleep 0.02; done"
    );
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q", "-j", "2"], &script)));
    until("both handlers run", || (0..2).all(|offset| kdir.temp().join(format!("begun{offset}")).exists()));
    running.signal(Signal::KILL);
    running.status();
    kdir.file("gate", "");
    let next = work(&["jobs"], &["-q"], "echo $KDIR_OFFSET $KDIR_ATTEMPT");
    until("the first record is free", || {
        let output = kdir.command(&next).output().unwrap();
        assert!(output.stdout.is_empty() || output.stdout == b"0 2\n", "{output:?}");
        !output.stdout.is_empty()
    });
    kill_sleeping(109);
}

#[test]
fn a_long_output_is_kept_in_a_file_and_passed_on_whole_or_not_acknowledged() {
    const SIZE: usize = 3_000_000;
    let kdir = with_jobs(1);
    let print = format!("head -c {SIZE} /dev/zero | tr '\\0' x");
    let mut half_read = Running::start(kdir.process(&work(&["jobs"], &["-q"], &print)));
    let stdout = half_read.take_stdout();
    until("the pipe is full", || rustix::io::ioctl_fionread(&stdout).unwrap() >= 65_536);
    drop(stdout);
    assert_eq!(half_read.wait(), (Some(0), String::new(), String::new()));
    let gate = kdir.temp().join("gate");
    let script = format!("{print}; until [ -e {} ]; do sleep 0.02; done; echo $KDIR_ATTEMPT", gate.display());
    let mut process = kdir.process(&work(&["jobs"], &["-q"], &script));
    let out = kdir.temp().join("out");
    process.stdout(fs::File::create(&out).unwrap());
    let running = Running::start(process);
    let open_files = format!("/proc/{}/fd", running.id());
    until("a file without a name has what was printed", || {
        let mut files = fs::read_dir(&open_files).unwrap().filter_map(|it| fs::metadata(it.unwrap().path()).ok());
        // What one MiB holds is in memory.
        files.any(|file| file.nlink() == 0 && file.len() >= (SIZE - (1 << 20)) as u64)
    });
    fs::write(gate, "").unwrap();
    assert_eq!(running.wait().0, Some(0));
    let printed = fs::read(out).unwrap();
    assert!(printed[..SIZE].iter().all(|&byte| byte == b'x'));
    assert_eq!(printed[SIZE..], *b"1\n", "the attempt whose output nobody read does not count");
}

#[test]
fn a_command_that_cannot_be_started_counts_for_no_record() {
    for limit in [&[][..], &["--timeout", "1m"]] {
        let kdir = with_jobs(1);
        let program = kdir.file("program", "#!/no/such/interpreter\n");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let args = [&["-q", "work", "jobs", "-g", "g"], limit, &["--", &program]].concat();
        let output = kdir.run(&args).code(1).stdout("").get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with(&format!("kdir: {program} cannot be started: ")), "{stderr}");
        assert!(stderr.ends_with("; no record was counted for it\n"), "{stderr}");
        kdir.run(&work(&["jobs"], &["-q"], "echo $KDIR_ATTEMPT")).code(0).stdout("1\n").stderr("");
    }
}

#[test]
fn a_record_that_makes_the_environment_too_large_fails_by_itself() {
    let kdir = Kdir::with_topic("jobs", &[]);
    kdir.produce("jobs", &["-H", &format!("h={}", "x".repeat(60_000))], "large\n");
    kdir.produce("jobs", &[], "small\n");
    // With so small a stack, Linux gives arguments and environment 128 KiB.
    let mut process =
        kdir.process_with_limit("-s", 512, &work(&["jobs"], &["-q", "--max-attempts", "2"], "read x; echo $x"));
    process.env("FILLER", "x".repeat(90_000));
    assert_eq!(Running::start(process).wait(), (Some(3), "small\n".into(), String::new()));
    let letters = kdir.records("dlq.jobs");
    assert_eq!((letters.len(), &letters[0]["value"]), (1, &"large".into()));
    let said = ["delivery.count", "message"].map(|it| header(&letters[0], it));
    assert_eq!(said, ["2", "Argument list too long (os error 7)"]);
}

#[test]
fn the_breaker_counts_first_attempts_without_a_success_between_them() {
    let kdir = with_jobs(1);
    // One record that fails four times is not two records.
    let options = ["-q", "--breaker", "2", "--max-attempts", "4"];
    kdir.run(&work(&["jobs"], &options, "exit 1")).code(3).stdout("").stderr("");
    kdir.produce("jobs", &[], lines(6));
    let script = "[ $KDIR_ATTEMPT = 1 ] && [ $((KDIR_OFFSET % 2)) = 0 ] && exit 1; exit 0";
    kdir.run(&work(&["jobs"], &options, script)).code(0).stdout("").stderr("");
}

#[test]
fn dead_letters_have_room_for_the_largest_record_and_why_it_failed() {
    let kdir = Kdir::with_topic("jobs", &["-c", "max.message.bytes=3000000"]);
    // No codec makes it smaller, and it leaves 100 bytes of its batch.
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 40) as u8
    };
    let value: Vec<u8> = (0..2_999_900).map(|_| noise()).collect();
    kdir.produce("jobs", &["-i", "raw", "-z", "none"], value.clone());
    let script = "echo $(head -c 1000 /dev/zero | tr '\\0' x) >&2; exit 1";
    kdir.run(&work(&["jobs"], &["-q", "--max-attempts", "1"], script)).code(3).stdout("");
    assert_eq!(kdir.stdout(&["consume", "dlq.jobs", "-o", "value"]).len(), value.len() + 1);
}

#[test]
fn records_without_a_key_do_not_wait_for_each_other() {
    let kdir = with_jobs(2);
    let script = "[ $KDIR_OFFSET$KDIR_ATTEMPT = 01 ] && exit 1; echo $KDIR_OFFSET";
    kdir.run(&work(&["jobs"], &["-q", "--ordered", "key"], script)).code(0).stdout("1\n0\n").stderr("");
}

#[test]
fn a_time_of_its_own_is_not_bounded_by_the_longest_back_off() {
    let kdir = Kdir::with_topic("jobs", &[]);
    let started = Instant::now();
    kdir.produce("jobs", &["--delay", "2s"], "later\n");
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q", "-F"], "read x; echo $x")));
    assert_eq!(next(&running.lines()), "later");
    assert!(started.elapsed() > Duration::from_secs(2), "{:?}", started.elapsed());
    running.signal(Signal::TERM);
    assert_eq!(running.wait().0, Some(143));
}

#[test]
fn what_transactions_leave_that_is_no_record_is_done() {
    // Markers and aborted records are nothing to do; what is in an open transaction is not there yet.
    for topic in ["transactions", "transactions-compacted", "transactions-open"] {
        let kdir = Kdir::new();
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka");
        let folder = format!("{topic}-0");
        fs::create_dir_all(kdir.path(&folder)).unwrap();
        for entry in fs::read_dir(data.join(&folder)).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), kdir.path(&folder).join(entry.file_name())).unwrap();
        }
        let metadata = "version: 0\ntopic_id: n-PQv6-8T_WlSKwUg9cg5w\n";
        fs::write(kdir.path(&folder).join("partition.metadata"), metadata).unwrap();
        let committed = fs::read(data.join(format!("{topic}.read-committed.jsonl"))).unwrap();
        let expected: String = json_lines(&committed).iter().map(|it| format!("{}\n", it["offset"])).collect();
        kdir.run(&work(&[topic], &["-q"], "echo $KDIR_OFFSET")).code(0).stdout(expected).stderr("");
        let row = &kdir.json(&["-q", "groups", "describe", "g", "-o", "json"])[0];
        let end = if topic == "transactions-open" { &Value::from(3) } else { &row["log_end_offset"] };
        assert_eq!((&row["start_offset"], &row["done_ahead"]), (end, &0.into()), "{topic}: {row}");
    }
}

#[test]
fn what_is_in_a_partition_that_was_added_is_worked_from_its_beginning() {
    let kdir = with_jobs(2);
    let args = work(&["jobs"], &["-q", "--from-offset", "latest"], "cat");
    kdir.run(&args).code(0).stdout("").stderr("");
    kdir.run(&["-q", "alter", "jobs", "-P", "2"]).code(0);
    kdir.produce("jobs", &["-p", "1"], "new\n");
    kdir.run(&args).code(0).stdout("new").stderr("");
}

#[test]
fn a_batch_that_was_killed_is_tried_one_by_one_and_was_no_attempt() {
    let kdir = with_jobs(3);
    let note = kdir.temp().join("note");
    let script = format!("echo $KDIR_COUNT > {}; exec sleep 110", note.display());
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q", "--batch", "3"], &script)));
    until("the handler runs", || fs::read_to_string(&note).is_ok_and(|text| text == "3\n"));
    running.signal(Signal::KILL);
    running.status();
    kill_sleeping(110);
    let args = work(&["jobs"], &["-q", "--batch", "3"], "echo $KDIR_COUNT $KDIR_ATTEMPT");
    until("the records are free", || kdir.json(&["-q", "groups", "describe", "g", "-o", "json"])[0]["in_flight"] == 0);
    kdir.run(&args).code(0).stdout("1 1\n1 1\n1 1\n").stderr("");
}

#[test]
fn a_batch_that_fails_gives_up_only_what_fails_alone() {
    let kdir = with_jobs(3);
    let script = "all=$(cat); case $all in *2*) exit 1;; esac; echo $all";
    let args = work(&["jobs"], &["-q", "--batch", "3", "--max-attempts", "1", "--breaker", "2"], script);
    kdir.run(&args).code(3).stdout("1\n3\n").stderr("");
    let letters = kdir.records("dlq.jobs");
    assert_eq!((letters.len(), &letters[0]["value"]), (1, &"2".into()));
}

#[test]
fn a_topic_whose_dead_letters_can_have_no_name_is_refused_at_the_start() {
    let topic = "t".repeat(246);
    let kdir = Kdir::with_topic(&topic, &[]);
    kdir.produce(&topic, &[], "1\n");
    let output = kdir.run(&work(&[&topic], &[], "echo run")).code(1).stdout("").get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.starts_with(&format!("kdir: dead letters of {topic} cannot go to dlq.{topic}: ")), "{stderr}");
    kdir.run(&work(&[&topic], &["-q", "--dead-letter", "bad"], "echo run")).code(0).stdout("run\n").stderr("");
}

#[test]
fn a_full_stderr_whose_reader_has_gone_keeps_nobody_from_working() {
    let kdir = with_jobs(1);
    let script = "head -c 300000 /dev/zero | tr '\\0' x >&2; echo done";
    let mut running = Running::start(kdir.process(&work(&["jobs"], &["-q"], script)));
    let stderr = running.take_stderr();
    until("the pipe is full", || rustix::io::ioctl_fionread(&stderr).unwrap() >= 65_536);
    drop(stderr);
    assert_eq!(next(&running.lines()), "done");
    assert_eq!(running.status().code(), Some(0));
}
