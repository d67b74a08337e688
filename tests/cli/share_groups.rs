//! The commands around `kdir work`: what share groups have done is shown, set, deleted and spared.

use crate::support::{Kdir, Running, until};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What the group `g` of a test has done after [`half_done`]: 0 and 2 are done, 1 is tried again in an hour, 3 was given up.
const HANDLER: &str = "case $KDIR_OFFSET in 1) exit 1;; 3) exit 65;; esac";

fn queue(partitions: &str, records: usize) -> Kdir {
    let kdir = Kdir::with_topic("jobs", &["-P", partitions, "--retention", "1h", "-c", "segment.bytes=300"]);
    fill(&kdir, records);
    kdir
}

/// Ten records a segment, in partition 0.
fn fill(kdir: &Kdir, records: usize) {
    for from in (0..records).step_by(10) {
        let lines: String = (from..records.min(from + 10)).map(|number| format!("job{number:02}\n")).collect();
        kdir.produce("jobs", &["-p", "0", "--timestamp", "2020-01-01T00:00:00Z"], lines);
    }
}

/// Works the first records and leaves the rest.
fn work(kdir: &Kdir, group: &str, runs: &str, script: &str) {
    let args = ["-q", "work", "jobs", "-g", group, "-n", runs, "--backoff", "1h", "--reject-exit", "65"];
    kdir.run(&[&args[..], &["--dead-letter", "none", "--", "/bin/sh", "-c", script]].concat());
}

fn half_done(kdir: &Kdir) {
    work(kdir, "g", "4", HANDLER);
}

/// A worker whose handlers run until they are stopped. It has records of `jobs` once this returns.
fn busy_worker(kdir: &Kdir, group: &str, jobs: &str) -> Running {
    let worker = Running::start(kdir.process(&[
        "-q",
        "work",
        "jobs",
        "-g",
        group,
        "-j",
        jobs,
        "-F",
        "--backoff",
        "1h",
        "--",
        "/bin/sh",
        "-c",
        "exec /bin/sleep 600",
    ]));
    until("it has its records", || {
        let rows = kdir.json(&["groups", "describe", "-o", "json"]);
        let pids = rows.iter().flat_map(|row| row["claimed"].as_array().cloned().unwrap_or_default());
        pids.filter(|claimed| !claimed["pid"].is_null()).count() == jobs.parse::<usize>().unwrap()
    });
    worker
}

/// The processes that have records.
fn handlers(kdir: &Kdir) -> Vec<i32> {
    let rows = kdir.json(&["groups", "describe", "-o", "json"]);
    let claimed = rows.iter().flat_map(|row| row["claimed"].as_array().unwrap());
    claimed.map(|it| it["pid"].as_i64().unwrap() as i32).collect()
}

fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Some fields of each row.
fn rows(kdir: &Kdir, args: &[&str], fields: &[&str]) -> Value {
    let rows = kdir.json(&[&["-q"], args, &["-o", "json"]].concat());
    rows.iter().map(|row| fields.iter().map(|field| row[field].clone()).collect::<Value>()).collect()
}

const STANDING: [&str; 7] =
    ["partition", "start_offset", "log_end_offset", "lag", "in_flight", "retrying", "done_ahead"];

fn standing(kdir: &Kdir, group: &str) -> Value {
    rows(kdir, &["groups", "describe", group], &STANDING)
}

/// Keys and values of the last batch of the partition of an internal topic that has some.
fn last_batch(kdir: &Kdir, topic: &str) -> Vec<(String, Value)> {
    let folders = kdir.entries("").into_iter().filter(|name| name.starts_with(&format!("{topic}-")));
    let logs = folders.map(|folder| kdir.segment(&folder, 0, "log"));
    let log = logs.into_iter().find(|log| fs::metadata(log).is_ok_and(|it| it.len() > 0)).unwrap();
    let records = kdir.json(&["dump", "--records", log.to_str().unwrap()]);
    let last = records.iter().filter(|row| row["position"] == records.last().unwrap()["position"]);
    last.map(|row| (row["key"]["type"].as_str().unwrap().to_owned(), row["value"].clone())).collect()
}

#[test]
fn a_queue_is_shown_partition_by_partition() {
    let kdir = queue("2", 10);
    half_done(&kdir);
    // 0 is done, 1 is to be tried again, 2 is done and 3 given up past it.
    assert_eq!(standing(&kdir, "g"), json!([[0, 1, 10, 7, 0, 1, 2], [1, 0, 0, 0, 0, 0, 0]]));
    let row = &kdir.json(&["groups", "describe", "g", "-t", "jobs:0", "-o", "json"])[0];
    assert_eq!(
        (&row["type"], &row["state"], &row["lost"], &row["claimed"]),
        (&json!("Share"), &json!("Empty"), &json!(0), &json!([]))
    );
    assert!(row["oldest_ms"].as_i64().unwrap() > 5 * 365 * 86_400_000, "{row}");
    let table = kdir.text(&["groups", "describe", "g", "--lag", ">0"]);
    let (first, second) = table.split_once('\n').unwrap();
    let heading = "GROUP TOPIC PARTITION START LOG START LOG END LAG IN FLIGHT PIDS RETRYING DONE AHEAD OLDEST";
    assert_eq!(first.split_whitespace().collect::<Vec<_>>().join(" "), heading);
    let words: Vec<&str> = second.split_whitespace().collect();
    assert_eq!(words[..11], ["g", "jobs", "0", "1", "0", "10", "7", "0", "-", "1", "2"], "{table}");
    let tsv = kdir.text(&["groups", "describe", "g", "-t", "jobs:1", "-o", "tsv"]);
    assert_eq!(tsv, "g\tShare\tEmpty\tjobs\t1\t0\t0\t0\t0\t0\t\t0\t0\t\t0\n");

    let fields = ["offset", "state", "attempts", "pid"];
    let records = rows(&kdir, &["groups", "describe", "g", "--records"], &fields);
    assert_eq!(records, json!([[1, "retrying", 1, null], [2, "done", 1, null], [3, "given up", 1, null]]));
    let times = rows(&kdir, &["groups", "describe", "g", "--records"], &["last_attempt", "due"]);
    assert!(times[0][0].as_i64().unwrap() > 1_700_000_000_000 && times[0][1].is_null(), "{times}");
    kdir.run(&["groups", "describe", "g", "--records"]).code(0).stderr("").stdout(contains("retrying"));

    let list = rows(&kdir, &["groups", "list"], &["group", "type", "state", "members", "topics", "lag"]);
    assert_eq!(list, json!([["g", "Share", "Empty", 0, 1, 7]]));
    let commit = rows(&kdir, &["groups", "list"], &["last_commit"]);
    assert!(commit[0][0].as_i64().unwrap() >= times[0][0].as_i64().unwrap(), "{commit}");
    let sums = rows(&kdir, &["groups", "describe", "--by", "group"], &["group", "partitions", "lag", "lost"]);
    assert_eq!(sums, json!([["g", 2, 7, 0]]));
}

#[test]
fn records_that_are_being_handled_are_shown_with_their_process() {
    let kdir = queue("1", 10);
    half_done(&kdir);
    let worker = busy_worker(&kdir, "g", "2");
    let pids = handlers(&kdir);
    let row = &kdir.json(&["groups", "describe", "g", "-o", "json"])[0];
    let standing: Vec<&Value> = ["state", "lag", "in_flight", "retrying"].map(|field| &row[field]).into();
    assert_eq!(json!(standing), json!(["Stable", 7, 2, 1]), "{row}");
    assert_eq!(row["claimed"], json!([{"offset": 4, "pid": pids[0]}, {"offset": 5, "pid": pids[1]}]));
    let named: BTreeSet<i32> = pids.iter().copied().collect();
    assert_eq!(row["pids"], json!(named.iter().map(i32::to_string).collect::<Vec<_>>().join(",")));
    let records = rows(&kdir, &["groups", "describe", "g", "--records"], &["offset", "state", "attempts", "pid"]);
    assert_eq!(records[0], json!([1, "retrying", 1, null]));
    assert_eq!(records[3], json!([4, "in flight", 1, pids[0]]));
    assert_eq!(records[4], json!([5, "in flight", 1, pids[1]]));
    let members =
        rows(&kdir, &["groups", "describe", "--members"], &["topic", "member", "state", "partitions", "assigned"]);
    assert_eq!(members, json!([["jobs", format!("kdir-{}", worker.id()), "running", null, null]]));
    assert_eq!(rows(&kdir, &["groups", "list"], &["state", "members"]), json!([["Stable", 1]]));
    // Its handlers are not its children to kill.
    drop(worker);
    assert_eq!(rows(&kdir, &["groups", "list"], &["state", "members"]), json!([["Empty", 0]]));
    assert_eq!(handlers(&kdir), pids);
    pids.iter().for_each(|&pid| kill(pid));
    until("they have ended", || handlers(&kdir).is_empty());
}

#[test]
fn a_worker_that_runs_says_when_a_record_is_due() {
    let kdir = queue("1", 2);
    let args = ["-q", "work", "jobs", "-g", "g", "-F", "--backoff", "1h..2h", "--", "/bin/sh", "-c", "exit 1"];
    let worker = Running::start(kdir.process(&args));
    let fields = ["offset", "state", "last_attempt", "due"];
    let records = || match kdir.run(&["groups", "list", "-o", "tsv"]).get_output().stdout.is_empty() {
        true => json!([]),
        false => rows(&kdir, &["groups", "describe", "g", "--records"], &fields),
    };
    until("both have failed", || records().as_array().is_some_and(|it| it.len() == 2 && it[1][1] == "retrying"));
    for row in records().as_array().unwrap() {
        assert_eq!(row[3].as_i64().unwrap() - row[2].as_i64().unwrap(), 3_600_000, "{row}");
    }
    worker.signal(Signal::TERM);
    assert_eq!(worker.end().0, Some(143));
}

#[test]
fn what_retention_has_removed_counts_as_lost_and_not_as_lag() {
    let kdir = queue("1", 30);
    half_done(&kdir);
    kdir.run(&["-q", "delete-records", "jobs", "--yes", "--before-offset", "10"]).code(0);
    // Of 1 to 9, two were done.
    let lost = "warning: g has lost 7 records of jobs-0: they were removed before it read them\n";
    kdir.run(&["groups", "describe", "g", "-o", "json"]).code(0).stderr(lost).stdout(contains("\"lag\":20,"));
    assert_eq!(standing(&kdir, "g"), json!([[0, 1, 30, 20, 0, 0, 0]]));
    assert_eq!(rows(&kdir, &["groups", "describe", "g", "--records"], &["offset"]), json!([]));
}

#[test]
fn groups_of_both_kinds_have_a_table_each() {
    let kdir = queue("1", 10);
    half_done(&kdir);
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", "jobs", "--to", "4"]).code(0);
    let table = kdir.text(&["groups", "describe"]);
    let (consumers, shares) = table.split_once("\n\n").unwrap();
    assert!(
        consumers.contains("COMMITTED") && consumers.contains("billing") && !consumers.contains("IN FLIGHT"),
        "{table}"
    );
    assert!(shares.starts_with("GROUP") && shares.contains("IN FLIGHT") && shares.contains("\ng  "), "{table}");
    assert_eq!(
        rows(&kdir, &["groups", "describe"], &["group", "type"]),
        json!([["billing", "Classic"], ["g", "Share"]])
    );
    let sums = rows(&kdir, &["groups", "describe", "--by", "topic"], &["group", "topic", "lag"]);
    assert_eq!(sums, json!([["billing", "jobs", 6], ["g", "jobs", 7]]));
    let run = kdir.run(&["groups", "describe", "billing", "g", "--records", "-o", "tsv"]).code(1);
    run.stderr("kdir: billing is a classic group: --records shows the records of share groups\n")
        .stdout(starts_with("g\tjobs\t0\t1\tretrying\t1\t"));
    kdir.run(&["groups", "describe", "--records", "--members"]).code(2).stderr(contains("cannot be used with"));
}

/// The log dir of a broker of 4.3.1 that share-g has worked a topic of, with so many bytes of what it wrote of the group.
fn of_broker(bytes: usize) -> Kdir {
    let kdir = queue("2", 20);
    let logs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal/logs-4.3.1");
    // Later the group was deleted.
    let parts = [("__consumer_offsets-35", bytes), ("__share_group_state-0", 814), ("__share_group_state-49", 280)];
    for (partition, size) in parts {
        let log = fs::read(logs.join(partition).join("00000000000000000000.log")).unwrap();
        fs::create_dir(kdir.path(partition)).unwrap();
        fs::write(kdir.segment(partition, 0, "log"), &log[..size]).unwrap();
    }
    kdir.disown("jobs");
    for partition in ["jobs-0", "jobs-1"] {
        // Without a record, it has no folder.
        fs::create_dir_all(kdir.path(partition)).unwrap();
        let metadata = "version: 0\ntopic_id: n-PQv6-8T_WlSKwUg9cg5w\n";
        fs::write(kdir.path(partition).join("partition.metadata"), metadata).unwrap();
    }
    kdir
}

#[test]
fn a_share_group_of_a_broker_is_shown_as_it_was_left() {
    let kdir = of_broker(980);
    // Of partition 1 the broker has not chosen a start offset yet.
    let expected = json!([[0, 0, 20, 9, 0, 9, 11], [1, null, 0, null, 0, 0, 0]]);
    assert_eq!(standing(&kdir, "share-g"), expected);
    let records =
        rows(&kdir, &["groups", "describe", "share-g", "--records"], &["offset", "state", "attempts", "last_attempt"]);
    assert_eq!(records.as_array().unwrap().len(), 20);
    assert_eq!(records[2], json!([2, "retrying", 1, null]));
    assert_eq!(records[3], json!([3, "given up", 1, null]));
    let list = rows(&kdir, &["groups", "list"], &["group", "state", "members", "topics", "lag", "last_commit"]);
    assert_eq!(list, json!([["share-g", "Empty", 0, 1, 9, 1_795_635_963_518_i64]]));
    let with_member = of_broker(760);
    let members = rows(&with_member, &["groups", "describe", "--members"], &["topic", "member", "state", "assigned"]);
    assert_eq!(members, json!([["jobs", "eMvM7tbWSzijCkdjnYOn_w", "recorded", "0,1"]]));
    // The state of a topic that has gone is not that of another one of its name.
    fs::write(kdir.path("jobs-0/partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n").unwrap();
    assert_eq!(standing(&kdir, "share-g"), json!([[1, null, 0, null, 0, 0, 0]]));
    // Where no state is here, that is all that is known.
    let without = of_broker(980);
    fs::remove_dir_all(without.path("__share_group_state-0")).unwrap();
    assert_eq!(standing(&without, "share-g")[0], json!([0, null, 20, null, 0, 0, 0]));
}

#[test]
fn a_queue_is_set_to_where_it_is_to_go_on() {
    let kdir = queue("2", 20);
    half_done(&kdir);
    let fields = ["partition", "prior", "new"];
    let reset = |args: &[&str]| rows(&kdir, &[&["groups", "reset", "g", "--topic", "jobs:0"], args].concat(), &fields);
    let before = kdir.contents();
    assert_eq!(reset(&["--to", "earliest", "--dry-run"]), json!([[0, 1, 0]]));
    assert_eq!(
        kdir.text(&["groups", "reset", "g", "--all-topics", "--to", "current", "--export"]),
        "jobs,0,1\njobs,1,0\n"
    );
    assert!(kdir.contents() == before);
    assert_eq!(reset(&["--to", "5"]), json!([[0, 1, 5]]));
    assert_eq!(standing(&kdir, "g"), json!([[0, 5, 20, 15, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]));
    assert_eq!(reset(&["--shift", "-2"]), json!([[0, 5, 3]]));
    assert_eq!(reset(&["--to", "2021-01-01"]), json!([[0, 3, 20]]));
    assert_eq!(reset(&["--to", "2019-01-01"]), json!([[0, 20, 0]]));
    assert_eq!(reset(&["--to", "latest"]), json!([[0, 0, 20]]));
    let file = kdir.file("offsets.csv", "jobs,0,7\n");
    assert_eq!(reset(&["--from-file", &file]), json!([[0, 20, 7]]));
    kdir.run(&["groups", "reset", "g", "-t", "jobs:0", "--to", "99", "-o", "tsv"])
        .code(0)
        .stdout("g\tjobs\t0\t7\t20\n")
        .stderr("warning: jobs-0 has no offset 99: the nearest is 20\n");
    work(&kdir, "h", "1", "exit 0");
    kdir.run(&["-q", "groups", "reset", "h", "-t", "jobs:0", "--to", "3"]).code(0);
    assert_eq!(reset(&["--like", "h"]), json!([[0, 20, 3]]));

    // All begins again there: what was done past it, and how often it was tried.
    assert_eq!(reset(&["--to", "earliest"]), json!([[0, 3, 0]]));
    let mut worked =
        kdir.run(&["-q", "work", "jobs", "-g", "g", "--", "/bin/sh", "-c", "echo $KDIR_OFFSET $KDIR_ATTEMPT"]);
    worked = worked.code(0).stderr("");
    let expected: String = (0..20).map(|offset| format!("{offset} 1\n")).collect();
    worked.stdout(expected);
    assert_eq!(rows(&kdir, &["groups", "describe", "g"], &["lag", "retrying"])[0], json!([0, 0]));
    kdir.assert_sound();
}

#[test]
fn a_queue_can_be_set_in_a_topic_that_is_new_to_it() {
    let kdir = queue("1", 10);
    half_done(&kdir);
    kdir.create("more", &["-P", "2"]);
    kdir.produce("more", &["-p", "1"], "a\nb\nc\n");
    let fields = ["topic", "partition", "prior", "new"];
    let set = rows(&kdir, &["groups", "reset", "g", "--topic", "more:1", "--to", "2"], &fields);
    assert_eq!(set, json!([["more", 1, null, 2]]));
    let fields = ["topic", "partition", "start_offset"];
    let all = rows(&kdir, &["groups", "describe", "g"], &fields);
    assert_eq!(all, json!([["jobs", 0, 1], ["more", 0, 0], ["more", 1, 2]]));
    assert_eq!(kdir.text(&["-q", "work", "more", "-g", "g", "--", "/bin/cat"]), "c");
}

#[test]
fn who_works_a_queue_keeps_it_as_it_is() {
    let kdir = queue("1", 10);
    let worker = busy_worker(&kdir, "g", "1");
    let changes: [&[&str]; 3] = [
        &["reset", "g", "-t", "jobs", "--to", "3"],
        &["delete", "g", "--yes"],
        &["delete", "g", "-t", "jobs", "--yes"],
    ];
    for args in changes {
        let named = format!("kdir: g has members: {} ", worker.id());
        kdir.run(&[&["groups"], args].concat()).code(1).stdout("").stderr(starts_with(named));
    }
    let pid = handlers(&kdir)[0];
    drop(worker);
    // The handler has lost its worker, and still has the record.
    for args in changes {
        let named = format!("kdir: process {pid} still handles offset 0 of jobs-0 for g\n");
        kdir.run(&[&["groups"], args].concat()).code(1).stdout("").stderr(named);
    }
    assert_eq!(standing(&kdir, "g"), json!([[0, 0, 10, 10, 1, 0, 0]]));
    kill(pid);
    until("it has ended", || handlers(&kdir).is_empty());
    assert_eq!(standing(&kdir, "g"), json!([[0, 0, 10, 10, 0, 1, 0]]));
    kdir.run(&["groups", "delete", "g", "--yes"]).code(0).stdout("").stderr("deleted group g (1 partition)\n");
    assert!(!kdir.path("jobs-0/g.group").exists());
}

#[test]
fn a_deleted_queue_leaves_nothing_and_costs_no_broker_its_groups() {
    let kdir = queue("1", 10);
    half_done(&kdir);
    kdir.run(&["groups", "delete", "g"]).code(2).stdout("").stderr(contains("it needs --yes"));
    kdir.run(&["groups", "delete", "g", "--yes"]).code(0).stdout("").stderr("deleted group g (1 partition)\n");
    kdir.run(&["groups", "list"]).code(0).stdout("").stderr("there are no groups\n");
    let null = |kinds: &[&str]| kinds.iter().map(|kind| ((*kind).to_owned(), Value::Null)).collect::<Vec<_>>();
    // A broker fails where 12 does not come before 15 and 11, or compaction leaves some of them: one batch has all.
    assert_eq!(last_batch(&kdir, "__consumer_offsets"), null(&["12", "15", "11"]));
    assert_eq!(last_batch(&kdir, "__share_group_state"), null(&["0"]));
    kdir.run(&["groups", "delete", "g", "--yes"]).code(1).stdout("").stderr("kdir: there is no group g\n");
    // Whoever works under that name begins again.
    assert_eq!(
        kdir.text(&["-q", "work", "jobs", "-g", "g", "-n", "1", "--", "/bin/sh", "-c", "echo $KDIR_OFFSET"]),
        "0\n"
    );
    // The id can be one of another kind.
    kdir.run(&["groups", "delete", "g", "--yes"]).code(0);
    kdir.assert_sound();

    let of_broker = of_broker(760);
    of_broker.run(&["groups", "delete", "share-g", "--yes"]).code(0).stderr("deleted group share-g (2 partitions)\n");
    // Of one whose members a broker has recorded: without them, the end of the group is refused.
    assert_eq!(last_batch(&of_broker, "__consumer_offsets"), null(&["14", "13", "12", "10", "15", "11"]));
    of_broker.run(&["groups", "list"]).code(0).stdout("");
}

#[test]
fn the_state_of_one_topic_is_deleted_and_others_stay() {
    let kdir = queue("2", 10);
    kdir.create("more", &[]);
    kdir.produce("more", &[], "a\nb\n");
    half_done(&kdir);
    assert_eq!(kdir.text(&["-q", "work", "more", "-g", "g", "-n", "1", "--", "/bin/cat"]), "a");
    kdir.run(&["groups", "delete", "g", "-t", "jobs:0", "--yes"]).code(2).stdout("").stderr(
        "kdir: g is a share group, whose state of a topic is deleted as a whole: give --topic jobs without partitions\n",
    );
    kdir.run(&["groups", "delete", "g", "-t", "jobs", "--yes"])
        .code(0)
        .stdout("")
        .stderr("deleted the state of group g (2 partitions)\n");
    assert_eq!(rows(&kdir, &["groups", "describe", "g"], &["topic", "lag"]), json!([["more", 1]]));
    let (kind, value) = last_batch(&kdir, "__consumer_offsets").remove(0);
    assert_eq!(kind, "15");
    let listed = &value["data"];
    assert_eq!(listed["initializedTopics"].as_array().unwrap().len(), 1, "{value}");
    assert_eq!(listed["deletingTopics"], json!([]), "{value}");
    kdir.run(&["groups", "delete", "g", "-t", "jobs", "--yes"])
        .code(0)
        .stderr("deleted the state of group g (0 partitions)\n");
    assert_eq!(
        kdir.text(&[
            "-q",
            "work",
            "jobs",
            "-g",
            "g",
            "-n",
            "1",
            "--",
            "/bin/sh",
            "-c",
            "echo $KDIR_OFFSET $KDIR_ATTEMPT"
        ]),
        "0 1\n"
    );
}

#[test]
fn a_deleted_topic_is_forgotten_and_another_one_of_its_name_is_new() {
    let kdir = queue("1", 10);
    kdir.create("more", &[]);
    kdir.produce("more", &[], "a\nb\n");
    half_done(&kdir);
    work(&kdir, "only", "2", "exit 0");
    assert_eq!(kdir.text(&["-q", "work", "more", "-g", "g", "-n", "1", "--", "/bin/cat"]), "a");
    let run = kdir.run(&["-v", "delete", "jobs", "--yes"]).code(0).stdout("");
    run.stderr(contains("group g has forgotten topic jobs\n").and(contains("group only has forgotten topic jobs\n")));
    assert_eq!(rows(&kdir, &["groups", "describe"], &["group", "topic"]), json!([["g", "more"]]));
    assert_eq!(rows(&kdir, &["groups", "list"], &["group", "topics", "lag"]), json!([["g", 1, 1], ["only", 0, null]]));
    kdir.create("jobs", &[]);
    fill(&kdir, 10);
    assert_eq!(rows(&kdir, &["groups", "describe"], &["group", "topic"]), json!([["g", "more"]]));
    assert_eq!(
        kdir.text(&[
            "-q",
            "work",
            "jobs",
            "-g",
            "g",
            "-n",
            "1",
            "--",
            "/bin/sh",
            "-c",
            "echo $KDIR_OFFSET $KDIR_ATTEMPT"
        ]),
        "0 1\n"
    );
    kdir.assert_sound();
}

#[test]
fn the_state_of_a_topic_that_was_removed_by_hand_counts_for_nothing() {
    let kdir = queue("1", 30);
    work(&kdir, "g", "25", "exit 0");
    fs::remove_file(kdir.path("jobs.json")).unwrap();
    fs::remove_dir_all(kdir.path("jobs-0")).unwrap();
    for file in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
        let _ = fs::remove_file(kdir.path(file));
    }
    kdir.create("jobs", &["--retention", "1h", "-c", "segment.bytes=300"]);
    fill(&kdir, 30);
    assert_eq!(rows(&kdir, &["groups", "describe", "g"], &["start_offset"]), json!([]));
    // No group reads this one, and so nobody has read it.
    kdir.run(&["delete-records", "jobs", "--consumed", "--yes"]).code(1).stderr(contains("no group reads topic jobs"));
    let args = ["delete-records", "jobs", "--consumed-by", "g", "-n", "-o", "tsv"];
    assert_eq!(kdir.text(&args), "jobs\t0\t0\t0\n");
    assert_eq!(
        kdir.text(&["-q", "work", "jobs", "-g", "g", "-n", "1", "--", "/bin/sh", "-c", "echo $KDIR_OFFSET"]),
        "0\n"
    );
}

#[test]
fn retention_spares_what_a_queue_is_not_done_with() {
    let kdir = queue("1", 50);
    // 11 is tried again in an hour, and all after it up to 29 is done.
    work(&kdir, "g", "30", "[ $KDIR_OFFSET != 11 ]");
    let starts = || kdir.json(&["describe", "jobs", "-o", "json"])[0]["log_start_offset"].as_i64().unwrap();
    let run = kdir.run(&["retention", "jobs", "--dry-run", "-o", "tsv"]).code(0);
    run.stderr(contains("warning: group g has not read 21 records of jobs-0 that would be deleted\n"));
    let verbose = ["-q", "groups", "describe", "g", "-o", "json"];
    assert_eq!(kdir.json(&verbose)[0]["lag"], 21);
    let run = kdir.run(&["retention", "jobs", "--spare-groups", "-o", "tsv"]).code(0);
    run.stderr(contains("kept 4 segments of jobs-0 for g (lag 39), "));
    assert_eq!(starts(), 10);
    kdir.run(&["-q", "retention", "--spare-groups=g"]).code(0).stderr("");
    assert_eq!(starts(), 10);
    // Another one that is named and has done nothing keeps all; one that is reset keeps what it does again.
    kdir.run(&["-q", "groups", "reset", "g", "-t", "jobs", "--to", "latest"]).code(0);
    let args = ["retention", "jobs", "--spare-groups", "--spare-max", "1", "-o", "tsv"];
    kdir.run(&args).code(0).stderr(contains("deleted 4 segments").and(contains("g had not").not()));
    assert_eq!(starts(), 50);
    kdir.run(&["-q", "retention", "__share_group_state", "--spare-groups"]).code(1).stderr(contains("cannot be asked"));
}

#[test]
fn what_queues_and_consumers_are_done_with_is_deleted() {
    let kdir = queue("2", 50);
    work(&kdir, "g", "30", "[ $KDIR_OFFSET != 11 ]");
    let consumed = |args: &[&str]| kdir.text(&[&["delete-records", "jobs", "-o", "tsv"], args].concat());
    assert_eq!(consumed(&["--consumed", "--dry-run"]), "jobs\t0\t11\t11\njobs\t1\t0\t0\n");
    kdir.run(&["-q", "groups", "reset", "billing", "-t", "jobs:0", "--to", "5"]).code(0);
    assert_eq!(consumed(&["--consumed", "--dry-run"]), "jobs\t0\t5\t5\njobs\t1\t0\t0\n");
    assert_eq!(consumed(&["--consumed-by", "g", "--yes"]), "jobs\t0\t11\t11\njobs\t1\t0\t0\n");
    kdir.run(&["delete-records", "jobs", "--consumed-by", "nobody", "--yes"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no group nobody\n"));
    kdir.assert_sound();
}

#[test]
fn records_that_are_to_wait_say_until_when() {
    let kdir = Kdir::with_topic("jobs", &[]);
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let before = now();
    kdir.produce("jobs", &["--delay", "1h", "-K", ",", "-H", "a=b"], "k,later\n");
    let after = now();
    kdir.produce("jobs", &["--at", "2020-01-01T00:00:00Z"], "at once\n");
    let envelope = r#"{"value":"from json","headers":[{"key":"not-before","value":"1"},{"key":"a","value":"c"}]}"#;
    kdir.produce("jobs", &["-i", "json", "--at", "@4000000000"], format!("{envelope}\n"));
    let headers: Vec<Value> = kdir.records("jobs").iter().map(|record| record["headers"].clone()).collect();
    let not_before = |headers: &Value| {
        let found = headers.as_array().unwrap().iter().filter(|it| it["key"] == "not-before");
        found.map(|it| it["value"].as_str().unwrap().parse::<i64>().unwrap()).collect::<Vec<_>>()
    };
    let first = not_before(&headers[0]);
    assert!(first.len() == 1 && (before..=after).contains(&(first[0] - 3_600_000)), "{headers:?}");
    assert_eq!(headers[0][0], json!({"key": "a", "value": "b"}));
    assert_eq!(not_before(&headers[1]), [1_577_836_800_000]);
    assert_eq!(not_before(&headers[2]), [4_000_000_000_000]);
    // A worker takes what is due and leaves the rest; a consumer gets all.
    let run = kdir.run(&["work", "jobs", "-g", "g", "--", "/bin/cat"]).code(0);
    run.stdout("at once").stderr("1 record done, 2 left for later\n");
    assert_eq!(kdir.values("jobs"), "later\nat once\nfrom json\n");

    let usage = |args: &[&str], message: &str| {
        kdir.feed(&[&["produce", "jobs"], args].concat(), "x\n").code(2).stdout("").stderr(contains(message));
    };
    usage(&["--delay", "1h", "--at", "2030-01-01"], "cannot be used with");
    usage(&["--delay", "soon"], "--delay");
    usage(&["--at", "someday"], "--at: ");
}
