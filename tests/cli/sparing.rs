//! `kdir retention --spare-groups`, and `kdir delete-records --consumed`.

use crate::support::{Kdir, json_lines};
use kdir::disk::real::RealDisk;
use kdir::disk::{Access, Disk, DiskFile};
use kdir::groups::Commits;
use kdir::logdir::LogDir;
use kdir::units::{Offset, Timestamp, TopicPartition};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::{Value, json};
use std::fs;
use std::sync::Arc;

/// Five old segments of ten records in each of two partitions, which all are older than retention.ms.
fn orders() -> Kdir {
    let kdir = Kdir::with_topic("orders", &["-P", "2", "--retention", "1h", "-c", "segment.bytes=300"]);
    fill(&kdir, "orders", &["0", "1"]);
    kdir
}

fn fill(kdir: &Kdir, topic: &str, partitions: &[&str]) {
    for partition in partitions {
        for batch in 0..5 {
            let lines: String = (0..10).map(|number| format!("v{batch}{number}\n")).collect();
            kdir.produce(topic, &["-p", partition, "--timestamp", "2020-01-01T00:00:00Z"], lines);
        }
    }
}

fn commit(kdir: &Kdir, group: &str, topic: &str, to: &str) {
    kdir.run(&["-q", "groups", "reset", group, "--topic", topic, "--to", to]).code(0);
}

/// Where each partition of a topic begins.
fn starts(kdir: &Kdir, topic: &str) -> Vec<i64> {
    let rows = kdir.json(&["describe", topic, "-o", "json"]);
    rows.iter().map(|row| row["log_start_offset"].as_i64().unwrap()).collect()
}

/// Partition, base offset, action and reason of each segment.
fn decisions(kdir: &Kdir, args: &[&str]) -> Vec<String> {
    let run = kdir.run(&[&["-v", "retention", "-n", "-o", "json"], args].concat()).code(0);
    let shown = |row: &Value| {
        format!("{} {} {} {}", row["partition"], row["base_offset"], row["action"], row["reason"]).replace('"', "")
    };
    json_lines(&run.get_output().stdout).iter().map(shown).collect()
}

/// A member of a group that runs, for as long as it lives.
fn member(kdir: &Kdir, file: &str) -> Arc<dyn DiskFile> {
    let member = RealDisk::default().open(&kdir.path(file), Access::Create).unwrap();
    member.write_at(b"4711 web1\n", 256).unwrap();
    assert!(member.try_lock_range(0..1).unwrap());
    member
}

#[test]
fn segments_that_a_group_has_not_read_are_kept_and_named() {
    let kdir = orders();
    commit(&kdir, "done", "orders", "latest");
    commit(&kdir, "billing", "orders:0", "25");
    commit(&kdir, "billing", "orders:1", "10");
    let gone = "delete older than retention.ms=3600000 (1h)";
    let expected = [
        format!("0 0 {gone}"),
        format!("0 10 {gone}"),
        "0 20 keep kept for billing (lag 25)".into(),
        "0 30 keep kept for billing (lag 25)".into(),
        "0 40 keep kept for billing (lag 25)".into(),
        format!("1 0 {gone}"),
        "1 10 keep kept for billing (lag 40)".into(),
        "1 20 keep kept for billing (lag 40)".into(),
        "1 30 keep kept for billing (lag 40)".into(),
        "1 40 keep kept for billing (lag 40)".into(),
    ];
    assert_eq!(decisions(&kdir, &["orders", "--spare-groups"]), expected);
    assert_eq!(decisions(&kdir, &["--spare-groups=done,billing"]), expected);
    // One that is done keeps nothing, and without the option nobody does.
    for args in [&["orders", "--spare-groups=done"][..], &["orders"]] {
        assert!(decisions(&kdir, args).iter().all(|it| it.contains("delete")), "{args:?}");
    }
    kdir.run(&["-v", "retention", "-n", "-o", "tsv", "orders", "--spare-groups"])
        .code(0)
        .stdout(contains("\tkeep\tkept for billing (lag 25)\n"));
    kdir.run(&["retention", "orders", "--spare-groups", "-n", "-o", "tsv"])
        .code(0)
        .stderr(contains("would keep 3 segments of orders-0 for billing (lag 25), "));
    assert_eq!(starts(&kdir, "orders"), [0, 0]);

    let run = kdir.run(&["retention", "orders", "--spare-groups", "-o", "json"]).code(0);
    run.stderr(
        contains("kept 3 segments of orders-0 for billing (lag 25), ")
            .and(contains("kept 4 segments of orders-1 for billing (lag 40), "))
            .and(contains("deleted 3 segments, 30 records, ")),
    );
    assert_eq!(starts(&kdir, "orders"), [20, 10]);
    // What is kept only for a group is kept until no time.
    let rows = kdir.json(&["-q", "retention", "orders", "--spare-groups", "-n", "-o", "json"]);
    assert_eq!(rows[0]["kept_until"], Value::Null);
    commit(&kdir, "billing", "orders", "latest");
    kdir.run(&["-q", "retention", "--spare-groups"]).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [50, 50]);
    kdir.assert_sound();
}

#[test]
fn a_limit_of_size_spares_what_is_unread_as_well() {
    let kdir = orders();
    commit(&kdir, "billing", "orders", "30");
    let args = ["-q", "retention", "orders", "--retention", "forever", "--retention-bytes", "0", "--spare-groups"];
    kdir.run(&args).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [30, 30]);
}

#[test]
fn a_group_without_an_offset_keeps_all_of_a_partition() {
    let kdir = orders();
    commit(&kdir, "billing", "orders:0", "latest");
    let kept = |args: &[&str]| decisions(&kdir, args).iter().filter(|it| it.contains(" keep ")).count();
    assert_eq!(kept(&["orders", "--spare-groups"]), 5);
    assert!(decisions(&kdir, &["orders", "--spare-groups"])[5].ends_with("for billing (lag 50, nothing committed)"));
    // One that is named counts, though nothing is known of it: where the topic is named as well.
    assert_eq!(kept(&["orders", "--spare-groups=audit,billing"]), 10);
    assert_eq!(kept(&["--spare-groups=billing"]), 5);
    let all_topics = kdir.run(&["retention", "--dry-run", "--spare-groups=audit,billing"]).code(1);
    all_topics.stderr("kdir: there is no group audit\nhint: `kdir groups list` shows what groups there are\n");
    let warning = "warning: group audit has committed nothing yet: see `kdir groups list`\n";
    kdir.run(&["retention", "orders", "--spare-groups=audit"]).code(0).stderr(starts_with(warning));
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
}

#[test]
fn a_member_that_runs_keeps_all_until_its_group_has_committed() {
    let kdir = orders();
    commit(&kdir, "billing", "orders", "latest");
    let fresh = member(&kdir, "orders-0/a%20fresh.group");
    assert_eq!(
        decisions(&kdir, &["orders", "--spare-groups"])[0],
        "0 0 keep kept for a fresh (lag 50, nothing committed)"
    );
    kdir.run(&["-q", "retention", "--spare-groups"]).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
    drop(fresh);
    // One of a group that has committed keeps no more than its group.
    let _member = member(&kdir, "orders-0/billing.group");
    kdir.run(&["-q", "retention", "--spare-groups"]).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [50, 50]);
}

#[test]
fn a_topic_that_no_group_reads_is_refused_only_where_it_is_named() {
    let kdir = orders();
    kdir.create("logs", &["--retention", "1h", "-c", "segment.bytes=300"]);
    fill(&kdir, "logs", &["0"]);
    let refusal = |topic: &str| {
        format!(
            "kdir: no group reads topic {topic}, so --spare-groups would keep nothing\n\
             hint: name the groups that it is kept for, as in --spare-groups=billing, or leave --spare-groups out\n"
        )
    };
    for action in [&["--dry-run"][..], &[]] {
        let args = [&["retention", "orders", "--spare-groups"], action].concat();
        kdir.run(&args).code(1).stdout("").stderr(starts_with(refusal("orders")));
    }
    commit(&kdir, "billing", "orders", "20");
    // The other topics go on.
    kdir.run(&["retention", "logs", "orders", "--spare-groups"]).code(1).stderr(starts_with(refusal("logs")));
    assert_eq!((starts(&kdir, "orders"), starts(&kdir, "logs")), (vec![20, 20], vec![0]));
    kdir.run(&["-q", "retention", "--spare-groups"]).code(0).stderr("");
    assert_eq!((starts(&kdir, "orders"), starts(&kdir, "logs")), (vec![20, 20], vec![50]));
}

#[test]
fn a_forgotten_group_is_bounded_by_size_and_by_age() {
    let kdir = orders();
    commit(&kdir, "forgotten", "orders", "5");
    let segment = fs::metadata(kdir.segment("orders-0", 0, "log")).unwrap().len();
    // As retention.bytes: so much of the log is left, and what does without it goes.
    let size = (2 * segment).to_string();
    let run = kdir.run(&["retention", "orders", "--spare-groups", "--spare-max", &size, "-n", "-o", "tsv"]).code(0);
    run.stderr(
        contains("warning: group forgotten has not read 25 records of orders-0 that would be deleted\n")
            .and(contains("would keep 2 segments of orders-0 for forgotten (lag 45), ")),
    );
    let run = kdir.run(&["retention", "orders", "--spare-groups", "--spare-max", &size]).code(0);
    run.stderr(starts_with(
        "warning: group forgotten had not read 25 records of orders-0, deleted since --spare-max keeps no more\n",
    ));
    assert_eq!(starts(&kdir, "orders"), [30, 30]);

    kdir.run(&["-q", "retention", "orders", "--spare-groups", "--spare-max", "200y"]).code(2);
    kdir.run(&["-q", "retention", "orders", "--spare-groups", "--spare-max", "5000d"]).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [30, 30]);
    kdir.run(&["-q", "retention", "orders", "--spare-groups", "--spare-max", "30d"]).code(0);
    assert_eq!(starts(&kdir, "orders"), [50, 50]);
    // It bounds what is kept for groups, and deletes nothing that the topic's limits keep.
    let kdir = orders();
    commit(&kdir, "forgotten", "orders", "5");
    let args = ["-q", "retention", "orders", "--retention", "forever", "--spare-groups", "--spare-max", "0"];
    kdir.run(&args).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
}

#[test]
fn what_delete_records_has_hidden_goes_whoever_has_read_it() {
    let kdir = orders();
    commit(&kdir, "billing", "orders", "5");
    kdir.run(&["-q", "delete-records", "orders", "--yes", "--before-offset", "0:20,1:0"]).code(0);
    kdir.run(&["-q", "retention", "orders", "--spare-groups"]).code(0).stderr("");
    assert!(!kdir.segment("orders-0", 0, "log").exists() && !kdir.segment("orders-0", 10, "log").exists());
    assert!(kdir.segment("orders-0", 20, "log").exists() && kdir.segment("orders-1", 0, "log").exists());
}

#[test]
fn an_offset_of_an_earlier_topic_of_the_name_counts_for_nothing() {
    let kdir = orders();
    commit(&kdir, "billing", "orders", "latest");
    // As if somebody had removed the topic by hand: what was committed is left.
    fs::remove_file(kdir.path("orders.json")).unwrap();
    for partition in ["orders-0", "orders-1"] {
        fs::remove_dir_all(kdir.path(partition)).unwrap();
    }
    for file in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
        let _ = fs::remove_file(kdir.path(file));
    }
    kdir.create("orders", &["-P", "2", "--retention", "1h", "-c", "segment.bytes=300"]);
    fill(&kdir, "orders", &["0", "1"]);
    kdir.run(&["-q", "retention", "--spare-groups"]).code(0).stderr("");
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
}

#[test]
fn a_share_group_without_a_state_of_the_topic_keeps_all_where_it_is_named_and_else_nothing() {
    let kdir = orders();
    let logs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal/logs-4.3.1");
    for folder in fs::read_dir(logs).unwrap().map(|entry| entry.unwrap().path()) {
        let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("__consumer_offsets-") {
            fs::create_dir(kdir.path(&name)).unwrap();
            fs::copy(folder.join("00000000000000000000.log"), kdir.segment(&name, 0, "log")).unwrap();
        }
    }
    let kept = decisions(&kdir, &["orders", "--spare-groups=share-g"]);
    assert_eq!(kept[0], "0 0 keep kept for share-g (lag 50, nothing committed)");
    kdir.run(&["-q", "retention", "orders", "--spare-groups"]).code(0).stderr("");
    // txn-g has committed 3 in partition 0 and nothing in the other.
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
    let kept = decisions(&kdir, &["orders", "--spare-groups=txn-g"]);
    assert_eq!(kept[0], "0 0 keep kept for txn-g (lag 47)");
}

#[test]
fn what_groups_cannot_be_asked_about_is_said() {
    let kdir = orders();
    commit(&kdir, "billing", "orders", "5");
    kdir.run(&["-q", "retention", "__consumer_offsets", "--spare-groups=billing"]).code(1).stderr(
        "kdir: __consumer_offsets holds what groups have committed: which of them have read it cannot be asked\n",
    );
    let usage = |args: &[&str], message: &str| {
        kdir.run(&[&["retention", "orders"], args].concat()).code(2).stdout("").stderr(contains(message));
    };
    usage(&["--spare-max", "1GB"], "--spare-groups");
    usage(&["--spare-groups="], "a group id has at least one character");
    usage(&["--spare-groups", "--spare-max", "soon"], "is neither a size, such as 10GB, nor an age, such as 30d");
    usage(&["--spare-groups", "--spare-max", "5m"], "\"5m\" is both a size and an age: write 5MiB or 300s");
    // Where the groups of a partition cannot be read, nothing is deleted.
    let place = format!("__consumer_offsets-{}", "billing".parse::<kdir::units::GroupId>().unwrap().partition_of(50));
    let log = kdir.segment(&place, 0, "log");
    let mut bytes = fs::read(&log).unwrap();
    bytes[70] ^= 1;
    fs::write(&log, bytes).unwrap();
    for groups in ["--spare-groups", "--spare-groups=billing"] {
        let run = kdir.run(&["-q", "retention", groups]);
        assert_ne!(run.get_output().status.code(), Some(0));
    }
    assert_eq!(json!(starts(&kdir, "orders")), json!([0, 0]));
}

#[test]
fn what_all_groups_have_read_is_deleted() {
    let kdir = orders();
    commit(&kdir, "done", "orders", "latest");
    commit(&kdir, "billing", "orders:0", "25");
    commit(&kdir, "billing", "orders:1", "10");
    let delete = |args: &[&str]| kdir.text(&[&["delete-records", "orders", "-o", "tsv"], args].concat());
    assert_eq!(delete(&["--consumed", "--dry-run"]), "orders\t0\t25\t25\norders\t1\t10\t10\n");
    assert_eq!(delete(&["--consumed-by", "done", "-n"]), "orders\t0\t50\t50\norders\t1\t50\t50\n");
    assert_eq!(delete(&["--consumed-by", "done,billing", "-n"]), "orders\t0\t25\t25\norders\t1\t10\t10\n");
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
    let (code, shown) = kdir.on_a_terminal(&["delete-records", "orders", "--consumed"], "n\n");
    assert!(code == 1 && shown.contains("delete 35 records in 2 partitions of topic orders? [y/N]"), "{shown}");
    assert_eq!(delete(&["--consumed", "--yes"]), "orders\t0\t25\t25\norders\t1\t10\t10\n");
    assert_eq!(starts(&kdir, "orders"), [25, 10]);
    // Never back, and never past the end.
    commit(&kdir, "billing", "orders", "earliest");
    assert_eq!(delete(&["--consumed", "--yes"]), "orders\t0\t25\t0\norders\t1\t10\t0\n");
    let log_dir = LogDir::open_to_write(Arc::new(RealDisk::default()), &kdir.path("")).unwrap();
    let mut commits = Commits::open(&log_dir, &"billing".parse().unwrap()).unwrap();
    let past_the_end = [0, 1]
        .map(|partition| (TopicPartition { topic: "orders".parse().unwrap(), partition }, (Offset(99), String::new())));
    commits.commit(&past_the_end.into(), Timestamp(0)).unwrap();
    commits.close(Timestamp(0)).unwrap();
    assert_eq!(delete(&["--consumed", "--yes"]), "orders\t0\t50\t25\norders\t1\t50\t40\n");
    kdir.assert_sound();
}

#[test]
fn what_a_group_has_not_begun_is_not_deleted() {
    let kdir = orders();
    commit(&kdir, "billing", "orders:0", "20");
    commit(&kdir, "other", "orders", "latest");
    assert_eq!(
        kdir.text(&["delete-records", "orders", "--consumed", "-n", "-o", "tsv"]),
        "orders\t0\t20\t20\norders\t1\t0\t0\n"
    );
    let fresh = member(&kdir, "orders-0/fresh.group");
    for args in [&["--consumed"][..], &["--consumed-by=fresh"]] {
        let args = [&["delete-records", "orders", "--yes", "-o", "tsv"], args].concat();
        assert_eq!(kdir.text(&args), "orders\t0\t0\t0\norders\t1\t0\t0\n");
    }
    drop(fresh);
    kdir.run(&["delete-records", "orders", "--yes", "--consumed-by=fresh,billing"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: there is no group fresh\n"));
}

#[test]
fn what_nobody_reads_is_not_deleted_as_consumed() {
    let kdir = orders();
    for action in ["--yes", "--dry-run"] {
        kdir.run(&["delete-records", "orders", "--consumed", action]).code(1).stdout("").stderr(
            "kdir: no group reads topic orders, so nobody has read its records\n\
             hint: `kdir groups list` shows what groups there are; give --before-offset or --before to delete without them\n",
        );
    }
    let usage = |args: &[&str], message: &str| {
        kdir.run(&[&["delete-records", "orders", "--yes"], args].concat()).code(2).stdout("").stderr(contains(message));
    };
    usage(&["--consumed", "--before-offset", "0:1"], "cannot be used with");
    usage(&["--consumed", "--consumed-by", "g"], "cannot be used with");
    usage(&[], "delete-records needs --before-offset, --before, --consumed or --consumed-by\n");
    assert_eq!(starts(&kdir, "orders"), [0, 0]);
}
