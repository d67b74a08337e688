//! `kdir demote`: what a broker's metadata says becomes topic files.

use crate::promote::{BOOTSTRAP, META, filled, run_by_a_broker};
use predicates::str::contains;
use serde_json::Value;
use std::fs;

#[test]
fn a_demotion_makes_topic_files_of_the_metadata() {
    let kdir = filled();
    kdir.run(&["demote"]).code(1).stderr(contains("no Kafka broker with KRaft has"));
    kdir.run(&["-q", "promote"]).code(0);
    kdir.run(&["demote"]).code(1).stderr(contains("the cluster's metadata is not in"));
    run_by_a_broker(&kdir);
    let before: Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    fs::remove_file(kdir.path("app.json")).unwrap();
    let untouched = kdir.contents();
    kdir.run(&["demote", "--dry-run"]).code(0).stderr(contains("would take back 1 topic"));
    assert_eq!(kdir.contents(), untouched);
    kdir.run(&["demote"]).code(0).stderr("took back 1 topic: the log dir is kdir's\n");
    let after: Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    assert_eq!(after, before);
    for name in [META, BOOTSTRAP, "__cluster_metadata-0", "replication-offset-checkpoint"] {
        assert!(!kdir.path(name).exists(), "{name}");
    }
    kdir.run(&["demote"]).code(0).stderr("the log dir is kdir's already\n");
    kdir.produce("app", &[], "four\n");
    kdir.run(&["-q", "alter", "app", "--partitions", "3"]).code(0);
    kdir.assert_sound();
    kdir.run(&["-q", "promote"]).code(0);
}

#[test]
fn what_is_not_whole_here_is_not_taken_back() {
    let kdir = filled();
    kdir.run(&["-q", "promote"]).code(0);
    run_by_a_broker(&kdir);
    let meta = fs::read_to_string(kdir.path(META)).unwrap();
    fs::write(kdir.path(META), meta.replace("node.id=1", "node.id=2")).unwrap();
    let before = kdir.contents();
    kdir.run(&["demote"]).code(1).stderr(contains("app-0 is not whole on this broker, node 2"));
    assert_eq!(kdir.contents(), before);
}

#[test]
fn the_example_of_the_help_says_what_would_be_done() {
    let kdir = filled();
    kdir.run(&["-q", "promote"]).code(0);
    run_by_a_broker(&kdir);
    let dir = kdir.log_dir();
    kdir.run(&["demote", "--dry-run", "-d", dir.to_str().unwrap()]).code(0).stderr(contains("would take back 1 topic"));
}
