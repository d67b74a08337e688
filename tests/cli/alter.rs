//! `kdir alter`.

use crate::support::{Kdir, PARTITION_FILES};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use serde_json::json;
use std::fs;

fn config(kdir: &Kdir) -> serde_json::Value {
    kdir.json(&["describe", "app", "-o", "json"])[0]["config"].clone()
}

#[test]
fn sets_and_unsets_configurations_and_keeps_the_rest() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=2MiB", "-c", "compression.type=zstd"]);
    kdir.run(&["alter", "app", "-c", "retention.ms=36h", "--unset", "segment.bytes", "--retention-bytes", "1k"])
        .code(0)
        .stdout("")
        .stderr(
            "altered topic app: retention.bytes=1024 (was default), retention.ms=129600000 (was default), \
                 segment.bytes=default (was 2097152)\n",
        );
    let expected = json!({ "compression.type": "zstd", "retention.bytes": "1024", "retention.ms": "129600000" });
    assert_eq!(config(&kdir), expected);
}

#[test]
fn keeps_the_topic_id() {
    let kdir = Kdir::with_topic("app", &[]);
    let id = || kdir.json(&["describe", "app", "-o", "json"])[0]["topic_id"].clone();
    let before = id();
    kdir.run(&["-q", "alter", "app", "-P", "2", "-c", "retention.ms=1"]).code(0).stdout("").stderr("");
    assert_eq!(id(), before);
}

#[test]
fn warns_of_a_key_that_was_not_set() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["alter", "app", "--unset", "retention.ms"])
        .code(0)
        .stdout("")
        .stderr("warning: retention.ms was not set\naltered topic app: nothing changed\n");
}

#[test]
fn refuses_a_wrong_configuration_and_changes_nothing() {
    let kdir = Kdir::with_topic("app", &["-c", "retention.ms=5"]);
    let before = fs::read(kdir.path("app.json")).unwrap();
    kdir.run(&["alter", "app", "-c", "retention.ms=6", "-c", "segment.byte=1"])
        .code(2)
        .stdout("")
        .stderr("kdir: there is no topic configuration segment.byte; did you mean segment.bytes?\n");
    kdir.run(&["alter", "app", "--unset", "retenton.ms"]).code(2).stdout("").stderr(contains("mean retention.ms?"));
    kdir.run(&["alter", "app", "-c", "segment.bytes=1"]).code(2).stdout("").stderr(contains("is refused: expected 14"));
    assert_eq!(fs::read(kdir.path("app.json")).unwrap(), before);
}

#[test]
fn adds_partitions_and_keeps_what_is_there() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "old\n");
    kdir.run(&["alter", "app", "--partitions", "3"])
        .code(0)
        .stdout("")
        .stderr("altered topic app: 3 partitions (was 1)\n");
    for partition in ["app-1", "app-2"] {
        assert_eq!(kdir.entries(partition), PARTITION_FILES);
    }
    kdir.produce("app", &["-p", "2"], "new\n");
    assert_eq!(kdir.values("app"), "old\nnew\n");
}

#[test]
fn refuses_fewer_and_as_many_partitions() {
    let kdir = Kdir::with_topic("app", &["-P", "3"]);
    for count in ["2", "3"] {
        kdir.run(&["alter", "app", "-P", count]).code(1).stdout("").stderr(format!(
            "kdir: topic app already has 3 partitions; the partition count can only be increased, not set to {count}\n"
        ));
    }
    assert_eq!(kdir.text(&["describe", "app", "-o", "tsv"]).lines().count(), 3);
}

#[test]
fn nothing_to_change_is_wrong_usage() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["alter", "app"]).code(2).stdout("").stderr(starts_with("kdir: nothing to change: give --config"));
}

#[test]
fn a_topic_that_is_not_there_is_named() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["alter", "nope", "-P", "3"]).code(1).stdout("").stderr(starts_with("kdir: there is no topic nope in "));
}

#[test]
fn a_brokers_topic_is_left_to_its_broker() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.disown("app");
    kdir.run(&["alter", "app", "-c", "retention.ms=1"]).code(1).stdout("").stderr(
        contains("topic app are in the metadata of a Kafka broker\n").and(contains("\nhint: start the broker and use")),
    );
}
