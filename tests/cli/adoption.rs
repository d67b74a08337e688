//! A topic that kdir made and whose topic file is lost.

use crate::support::{Kdir, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

/// Six old records in two partitions of a topic that keeps them for a second.
fn topic() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "retention.ms=1000"]);
    kdir.produce("app", &["--timestamp", "2020-01-01T00:00:00Z"], "1\n2\n3\n4\n5\n6\n");
    kdir
}

/// The problems that `verify` finds, and its exit code.
fn problems(kdir: &Kdir) -> (Vec<String>, i32) {
    let output = kdir.command(&["verify", "-q", "-o", "json"]).output().unwrap();
    let problem = |row: &serde_json::Value| format!("{} {}", row["severity"], row["problem"]).replace('"', "");
    (json_lines(&output.stdout).iter().map(problem).collect(), output.status.code().unwrap())
}

#[test]
fn a_lost_topic_file_is_named_and_nothing_is_done_by_defaults() {
    let kdir = topic();
    fs::remove_file(kdir.path("app.json")).unwrap();
    let before = kdir.contents();
    assert_eq!(problems(&kdir), (vec!["damaged missing-topic-file".to_owned()], 4));
    let lost = || {
        starts_with(format!("kdir: the topic file of app is missing: {}\n", kdir.path("app.json").display()))
            .and(contains("\nhint: put it back from a backup, or write it again with `kdir repair app`"))
    };
    for args in [
        &["retention"][..],
        &["retention", "app"],
        &["retention", "-n"],
        &["retention", "--retention", "1d"],
        &["alter", "app", "-P", "3"],
        &["create", "app"],
        &["delete-records", "--yes", "app", "--before-offset", "0:latest"],
    ] {
        kdir.run(args).code(4).stdout("").stderr(lost());
    }
    kdir.feed(&["produce", "app"], "7\n")
        .code(4)
        .stdout("")
        .stderr(contains("kdir: the topic file of app is missing: "));
    let mut after = kdir.contents();
    after.retain(|name, _| name != ".lock");
    assert!(after.iter().all(|(name, bytes)| before.get(name) == Some(bytes)) && after.len() >= before.len() - 1);
    assert_eq!(kdir.values("app").lines().count(), 6, "what is there can be read");
}

#[test]
fn a_repair_writes_a_lost_topic_file_again_and_no_record_is_deleted_by_it() {
    for is_copied in [false, true] {
        let kdir = topic();
        let topic_id = |kdir: &Kdir| kdir.json(&["describe", "app", "-o", "json"])[0]["topic_id"].clone();
        let known = topic_id(&kdir);
        fs::remove_file(kdir.path("app.json")).unwrap();
        if is_copied {
            // Another inode: what the folder was when the file in it was written.
            let copy = kdir.path("copy");
            for partition in ["app-0", "app-1"] {
                fs::create_dir(&copy).unwrap();
                for entry in fs::read_dir(kdir.path(partition)).unwrap().map(Result::unwrap) {
                    fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
                }
                fs::remove_dir_all(kdir.path(partition)).unwrap();
                fs::rename(&copy, kdir.path(partition)).unwrap();
            }
        }
        let planned = contains("write the file again: the id and number of the partitions' folders, retention.ms=-1");
        kdir.run(&["repair", "-n"]).code(4).stdout(planned).stderr("1 finding, nothing was changed\n");
        assert!(!kdir.path("app.json").exists());
        kdir.run(&["repair"]).code(0).stderr("repaired 1 finding, 0 left\n");
        let described = kdir.json(&["describe", "app", "-o", "json"]);
        assert_eq!((described.len(), &described[0]["topic_id"]), (2, &known));
        let unlimited = serde_json::json!({ "retention.ms": "-1", "retention.bytes": "-1" });
        assert_eq!(described[0]["config"], unlimited);
        assert!(!kdir.entries("").iter().any(|name| name.ends_with(".damaged")), "there was none to keep");
        kdir.run(&["retention"]).code(0).stdout("").stderr("deleted 0 segments, 0 records, 0 B\n");
        kdir.produce("app", &[], "7\n");
        assert_eq!(kdir.values("app").lines().count(), 7);
        kdir.assert_sound();
    }
}

#[test]
fn a_topic_that_may_be_a_brokers_is_not_taken_for_one_of_kdir() {
    let metadata = "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n";
    type Disguise<'a> = (&'a str, &'a dyn Fn(&Kdir));
    let disguises: [Disguise<'_>; 3] = [
        ("a broker owns the directory", &|kdir| {
            fs::write(kdir.path("meta.properties"), "version=1\ncluster.id=x\nnode.id=1\n").unwrap();
        }),
        ("no run of kdir has left its end", &|kdir| {
            ["app-0", "app-1"].into_iter().for_each(|partition| kdir.forget_durable_end(partition));
        }),
        ("the folders have another id by now", &|kdir| {
            for partition in ["app-0", "app-1"] {
                fs::write(kdir.path(partition).join("partition.metadata"), metadata).unwrap();
            }
        }),
    ];
    for (what, disguise) in disguises {
        let kdir = topic();
        fs::remove_file(kdir.path("app.json")).unwrap();
        disguise(&kdir);
        assert_eq!(problems(&kdir), (Vec::new(), 0), "{what}");
        kdir.run(&["-q", "repair"]).code(0).stdout("").stderr("");
        assert!(!kdir.path("app.json").exists(), "{what}");
        kdir.run(&["retention"]).code(0).stderr(starts_with("warning: topic app is skipped: "));
    }
}
