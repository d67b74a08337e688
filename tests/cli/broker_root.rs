//! What `verify` says of the root of a broker's log dir, and what kdir knows by the cluster's metadata. What brokers do with
//! such log dirs was tried on 2.8, 3.9 and 4.3: `tests/kafka/disks.rs`.

use crate::disks::{copy, findings, verdict};
use crate::support::{Kdir, cut, flip};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;
use std::path::Path;

const SNAPSHOT: &str = "__cluster_metadata-0/00000000000000000120-0000000001.checkpoint";
const METADATA_LOG: &str = "__cluster_metadata-0/00000000000000000000.log";

/// A copy of `tests/data/metadata/broker-4.3`.
fn broker() -> Kdir {
    let kdir = Kdir::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/metadata/broker-4.3"), &kdir.log_dir());
    kdir
}

#[test]
fn a_log_dir_that_a_broker_closed_is_without_findings() {
    assert_eq!(verdict(&broker()), (Vec::new(), 0));
}

#[test]
fn what_a_broker_does_not_start_on_is_found() {
    type Change = fn(&Kdir);
    let cases: [(&str, Change); 15] = [
        ("lost+found", |kdir| fs::create_dir(kdir.path("lost+found")).unwrap()),
        ("data", |kdir| fs::create_dir(kdir.path("data")).unwrap()),
        ("x-stray", |kdir| fs::create_dir(kdir.path("x-stray")).unwrap()),
        ("meta.properties", |kdir| fs::write(kdir.path("meta.properties"), "").unwrap()),
        ("meta.properties", |kdir| fs::write(kdir.path("meta.properties"), [0; 122]).unwrap()),
        ("meta.properties", |kdir| fs::write(kdir.path("meta.properties"), "version=1\nnode.id=1\n").unwrap()),
        ("bootstrap.checkpoint", |kdir| fs::write(kdir.path("bootstrap.checkpoint"), "").unwrap()),
        ("__cluster_metadata-0/quorum-state", |kdir| {
            fs::write(kdir.path("__cluster_metadata-0/quorum-state"), "").unwrap();
        }),
        ("__cluster_metadata-0/partition.metadata", |kdir| {
            fs::write(kdir.path("__cluster_metadata-0/partition.metadata"), "").unwrap();
        }),
        ("plain-1/partition.metadata", |kdir| fs::write(kdir.path("plain-1/partition.metadata"), "").unwrap()),
        ("plain-1/partition.metadata", |kdir| fs::write(kdir.path("plain-1/partition.metadata"), [0; 43]).unwrap()),
        ("plain-1.0123456789abcdef0123456789abcdef-future", |kdir| {
            fs::create_dir(kdir.path("plain-1.0123456789abcdef0123456789abcdef-future")).unwrap();
        }),
        ("plain-1/foo.log", |kdir| fs::write(kdir.path("plain-1/foo.log"), "").unwrap()),
        ("plain-1/foo.index", |kdir| fs::write(kdir.path("plain-1/foo.index"), "").unwrap()),
        ("plain-1/foo.log.swap", |kdir| fs::write(kdir.path("plain-1/foo.log.swap"), "").unwrap()),
    ];
    for (name, change) in cases {
        let kdir = broker();
        change(&kdir);
        let is_foreign = ["lost+found", "data", "x-stray"].contains(&name);
        let problem = if is_foreign { "foreign-folder" } else { "stops-a-broker" };
        assert_eq!(verdict(&kdir), (findings(&[(problem, "blocks a broker")]), 4), "{name}");
        kdir.run(&["verify"]).code(4).stdout(contains(format!("{name}\n")).and(contains("a broker does not start on")));
        // It is nothing that keeps kdir from reading, nor anything that a repair makes worse.
        assert_eq!(kdir.json(&["consume", "plain", "-o", "json"]).len(), 20, "{name}");
        let before = kdir.contents();
        kdir.run(&["-q", "repair"]).code(4);
        assert_eq!(kdir.contents(), before, "{name}");
    }
}

#[test]
fn what_a_broker_does_not_serve_is_found() {
    let other_id =
        |kdir: &Kdir| fs::copy(kdir.path("late-0/partition.metadata"), kdir.path("plain-1/partition.metadata"));
    type Change = fn(&Kdir);
    let cases: [(&str, &str, Change); 5] = [
        ("plain-1/partition.metadata", "the file is missing; the topic's id is pSrXPVjySxStjkEEN7_oTA", |kdir| {
            fs::remove_file(kdir.path("plain-1/partition.metadata")).unwrap();
        }),
        ("plain-1/partition.metadata", "and the cluster's metadata has pSrXPVjySxStjkEEN7_oTA for the topic", |kdir| {
            fs::write(kdir.path("plain-1/partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAACQ").unwrap();
        }),
        ("other-7/partition.metadata", "the cluster's metadata has no such partition", |kdir| {
            fs::create_dir(kdir.path("other-7")).unwrap();
            fs::write(kdir.path("other-7/partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAACQ").unwrap();
        }),
        ("photos-2024", "is named like a partition but is not one", |kdir| {
            fs::create_dir(kdir.path("photos-2024")).unwrap();
        }),
        ("plain-1/partition.metadata", "gives the partition to the brokers [1], and this one is 2", |kdir| {
            let text = fs::read_to_string(kdir.path("meta.properties")).unwrap();
            fs::write(kdir.path("meta.properties"), text.replace("node.id=1", "node.id=2")).unwrap();
            for other in ["plain-0", "compacted-0", "late-0"] {
                fs::remove_dir_all(kdir.path(other)).unwrap();
            }
        }),
    ];
    for (name, why, change) in cases {
        let kdir = broker();
        change(&kdir);
        assert_eq!(verdict(&kdir), (findings(&[("not-served", "blocks a broker")]), 4), "{name}");
        let said = contains(format!("{name}\n")).and(contains(why)).and(contains("renames the folder to …-stray"));
        kdir.run(&["verify"]).code(4).stdout(said);
    }
    let kdir = broker();
    other_id(&kdir).unwrap();
    kdir.run(&["verify", "plain"]).code(4).stdout(contains("is that of the topic late"));
    kdir.run(&["verify", "late"]).code(0);
}

#[test]
fn damage_in_the_metadata_is_found_and_the_rest_of_it_is_not_believed() {
    let log_size = fs::read(broker().path(METADATA_LOG)).unwrap().len();
    // What is below the snapshot nobody reads again.
    for (damage, position, is_missed) in
        [(METADATA_LOG, 300, false), (METADATA_LOG, log_size - 700, true), (SNAPSHOT, 300, true)]
    {
        let kdir = broker();
        flip(&kdir.path(damage), position);
        assert_eq!(verdict(&kdir), (findings(&[("damaged-metadata", "damaged")]), 4), "{damage} {position}");
        let said = kdir.run(&["describe", "plain"]).code(0).get_output().stderr.clone();
        assert_eq!(String::from_utf8_lossy(&said).contains("going on without a file of the log dir"), is_missed);
    }
    // The end is cut by a broker: nothing in it counted.
    let kdir = broker();
    cut(&kdir.path(METADATA_LOG), 3);
    assert_eq!(verdict(&kdir), (Vec::new(), 0));
    let kdir = broker();
    fs::remove_dir_all(kdir.path("__cluster_metadata-0")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("damaged-metadata", "damaged")]), 4));
    // Without the log, a broker begins with no topic at all.
    let kdir = broker();
    fs::remove_file(kdir.path(METADATA_LOG)).unwrap();
    fs::remove_file(kdir.path(SNAPSHOT)).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("not-served", "blocks a broker"); 4]), 4));
    kdir.run(&["verify"]).code(4).stdout(contains("the cluster's metadata has no such partition").count(4));
}

#[test]
fn a_folder_that_the_metadata_gives_this_broker_is_missed() {
    let kdir = broker();
    fs::remove_dir_all(kdir.path("plain-1")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("missing-folder", "lost")]), 4));
    let kdir = broker();
    fs::remove_dir_all(kdir.path("plain-0")).unwrap();
    assert_eq!(verdict(&kdir), (Vec::new(), 0), "nothing was in it");
    // Without the metadata, as with ZooKeeper.
    let kdir = broker();
    fs::remove_dir_all(kdir.path("__cluster_metadata-0")).unwrap();
    fs::remove_file(kdir.path("bootstrap.checkpoint")).unwrap();
    fs::remove_dir_all(kdir.path("plain-1")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("missing-folder", "lost")]), 4));
    fs::create_dir(kdir.path("plain-1.0123456789abcdef0123456789abcdef-delete")).unwrap();
    assert_eq!(verdict(&kdir), (Vec::new(), 0), "it was deleted");
}

#[test]
fn the_metadata_says_which_topics_are_compacted() {
    let kdir = broker();
    for topic in ["plain", "compacted", "late"] {
        kdir.feed(&["-q", "produce", topic, "-p", "0", "-k", "key", "--batch-size", "1"], "a\nb\n").code(0);
        // The first of the batches goes, as a cleaner would leave it.
        let log = kdir.path(&format!("{topic}-0/00000000000000000000.log"));
        let bytes = fs::read(&log).unwrap();
        fs::write(&log, &bytes[bytes.len() / 2..]).unwrap();
        for kind in ["index", "timeindex"] {
            fs::write(log.with_extension(kind), "").unwrap();
        }
    }
    kdir.run(&["-q", "verify", "compacted", "late"]).code(0).stdout("");
    kdir.run(&["-q", "verify", "plain"]).stdout(contains("plain-0"));
}

#[test]
fn topics_are_described_with_the_configuration_that_the_metadata_has() {
    let kdir = broker();
    let described = |topic: &str| kdir.json(&["describe", topic, "-o", "json"]).remove(0);
    assert_eq!(described("plain")["config"], serde_json::json!({ "retention.ms": "7200000" }));
    assert_eq!(described("late")["config"], serde_json::json!({ "cleanup.policy": "compact,delete" }));
    assert_eq!(described("plain")["topic_id"], "pSrXPVjySxStjkEEN7_oTA");
    kdir.run(&["describe"]).code(0).stdout(contains("\nplain  retention.ms=7200000\n"));
    // Without the log, the snapshot alone is not all of it; without both, nothing is known.
    fs::remove_dir_all(kdir.path("__cluster_metadata-0")).unwrap();
    assert_eq!(described("plain")["config"], serde_json::json!({}));
}

#[test]
fn a_folder_of_others_in_a_log_dir_of_kdir_is_worth_a_note() {
    let kdir = Kdir::with_topic("app", &[]);
    fs::create_dir(kdir.path("lost+found")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("foreign-folder", "note")]), 0));
    fs::write(kdir.path("app-0/17.log"), "").unwrap();
    let expected = findings(&[("foreign-folder", "note"), ("unusual-segment-name", "note")]);
    assert_eq!(verdict(&kdir), (expected, 0));
}

#[test]
fn a_broker_does_not_start_without_its_properties_and_loses_what_a_short_metadata_log_lacks() {
    let kdir = broker();
    fs::remove_file(kdir.path("meta.properties")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("stops-a-broker", "blocks a broker")]), 4));
    // The newest snapshot ends at 120.
    for size in [0, 5000] {
        let kdir = broker();
        let log = fs::read(kdir.path(METADATA_LOG)).unwrap();
        fs::write(kdir.path(METADATA_LOG), &log[..size]).unwrap();
        for kind in ["index", "timeindex"] {
            fs::write(kdir.path(METADATA_LOG).with_extension(kind), "").unwrap();
        }
        let (found, code) = verdict(&kdir);
        assert_eq!((code, found[0].0.as_str()), (4, "damaged-metadata"), "{size}: {found:?}");
    }
}

#[test]
fn the_metadata_counts_for_all_log_dirs_of_a_broker() {
    let kdir = broker();
    let other = kdir.temp().join("other");
    fs::create_dir(&other).unwrap();
    fs::rename(kdir.path("plain-1"), other.join("plain-1")).unwrap();
    let both = ["-d", kdir.log_dir().to_str().unwrap(), "-d", other.to_str().unwrap()].map(str::to_owned);
    let verify = || {
        let args: Vec<&str> = ["verify", "-q"].into_iter().chain(both.iter().map(String::as_str)).collect();
        kdir.run(&args)
    };
    // Its row is in the first one's checkpoint files, and it is not lost.
    verify().code(0).stdout("");
    fs::create_dir(other.join("late-7")).unwrap();
    fs::copy(kdir.path("late-0/partition.metadata"), other.join("late-7/partition.metadata")).unwrap();
    fs::copy(kdir.path("meta.properties"), other.join("meta.properties")).unwrap();
    verify().code(4).stdout(contains("the cluster's metadata has no such partition"));
}
