//! `kdir create`.

use crate::support::{Kdir, PARTITION_FILES};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

#[test]
fn makes_the_log_dir_the_topic_file_and_a_folder_for_each_partition() {
    let kdir = Kdir::new();
    let status = format!("created topic app with 3 partitions in {}\n", kdir.log_dir().display());
    kdir.run(&["create", "app", "-P", "3"]).code(0).stdout("").stderr(status);
    let entries = kdir.entries("");
    for name in ["app.json", "app-0", "app-1", "app-2"] {
        assert!(entries.contains(&name.to_owned()), "{name} is not among {entries:?}");
    }
    assert!(!entries.contains(&"app-3".to_owned()));
    for partition in ["app-0", "app-1", "app-2"] {
        assert_eq!(kdir.entries(partition), PARTITION_FILES);
        let read = |name: &str| fs::read_to_string(kdir.path(partition).join(name)).unwrap();
        assert_eq!(read("leader-epoch-checkpoint"), "0\n1\n0 0\n");
        assert_eq!(read("00000000000000000000.log"), "");
    }
}

#[test]
fn makes_the_folders_above_the_log_dir_as_well() {
    let kdir = Kdir::new();
    let deep = kdir.temp().join("a/b/c");
    kdir.run(&["-q", "-d", deep.to_str().unwrap(), "create", "app"]).code(0).stdout("").stderr("");
    assert!(deep.join("app-0").is_dir());
}

#[test]
fn the_topic_file_and_the_partitions_metadata_name_one_topic_id() {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "segment.bytes=64MiB"]);
    let file: serde_json::Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    assert_eq!(file["format_version"], 1);
    assert_eq!(file["name"], "app");
    assert_eq!(file["partitions"], 2);
    assert_eq!(file["config"], serde_json::json!({ "segment.bytes": "67108864" }));
    let id = file["topic_id"].as_str().unwrap();
    assert_eq!(id.len(), 22);
    for partition in ["app-0", "app-1"] {
        let metadata = fs::read_to_string(kdir.path(partition).join("partition.metadata")).unwrap();
        assert_eq!(metadata, format!("version: 0\ntopic_id: {id}"));
    }
}

#[test]
fn refuses_a_topic_that_exists_and_says_how_to_go_on() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.run(&["create", "app"])
        .code(1)
        .stdout("")
        .stderr("kdir: the topic app exists already\nhint: add --if-not-exists to leave it as it is\n");
}

#[test]
fn if_not_exists_leaves_a_topic_as_it_is() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "kept\n");
    let before = fs::read(kdir.path("app.json")).unwrap();
    kdir.run(&["create", "app", "-P", "5", "--if-not-exists"])
        .code(0)
        .stdout("")
        .stderr("topic app exists already and is left as it is\n");
    assert_eq!(fs::read(kdir.path("app.json")).unwrap(), before);
    assert_eq!(kdir.values("app"), "kept\n");
}

#[test]
fn if_not_exists_makes_a_topic_that_is_missing() {
    let kdir = Kdir::new();
    kdir.run(&["-q", "create", "app", "--if-not-exists"]).code(0).stdout("").stderr("");
    assert!(kdir.path("app.json").is_file());
}

#[test]
fn refuses_a_number_of_partitions_that_is_no_number_from_1_on() {
    let kdir = Kdir::new();
    for count in ["0", "-1", "100001", "x", ""] {
        kdir.run(&["create", "app", &format!("--partitions={count}")])
            .code(2)
            .stdout("")
            .stderr(contains("is not a number of partitions: use 1 to 100000"));
    }
    assert!(!kdir.log_dir().exists(), "nothing is made when a check fails");
}

#[test]
fn refuses_names_that_kafka_refuses() {
    let kdir = Kdir::new();
    let long = "t".repeat(250);
    for (name, reason) in [
        ("", "a topic name has at least one character"),
        (long.as_str(), "a topic name has at most 249 characters, and this one has 250"),
        (".", "a topic name is not . or .."),
        ("..", "a topic name is not . or .."),
        ("a/b", "a topic name has only the characters a-z A-Z 0-9 . _ - and not '/'"),
        ("ü", "a topic name has only the characters a-z A-Z 0-9 . _ - and not 'ü'"),
        ("a b", "a topic name has only the characters a-z A-Z 0-9 . _ - and not ' '"),
    ] {
        kdir.run(&["create", name]).code(2).stdout("").stderr(contains(reason));
    }
    assert!(!kdir.log_dir().exists());
}

#[test]
fn a_name_of_249_bytes_works_everywhere() {
    let kdir = Kdir::new();
    let name = "t".repeat(249);
    kdir.run(&["-q", "create", &name, "-P", "2"]).code(0).stdout("").stderr("");
    kdir.produce(&name, &[], "one\ntwo\n");
    assert_eq!(kdir.values(&name), "one\ntwo\n");
    let rows = kdir.text(&["describe", &name, "-o", "tsv"]);
    assert_eq!(rows.lines().count(), 2);
    assert!(rows.lines().all(|line| line.starts_with(&name)), "{rows}");
    kdir.run(&["-q", "alter", &name, "-c", "retention.ms=1h"]).code(0).stdout("").stderr("");
    kdir.run(&["-q", "delete", &name, "--yes"]).code(0).stdout("").stderr("");
    assert!(!kdir.entries("").iter().any(|entry| entry.starts_with('t')), "{:?}", kdir.entries(""));
}

#[test]
fn refuses_a_name_that_differs_only_in_dots_and_underscores() {
    let kdir = Kdir::with_topic("a.b", &[]);
    kdir.run(&["create", "a_b"]).code(1).stdout("").stderr(starts_with("kdir: the topic a_b collides with a.b: "));
    assert!(!kdir.path("a_b.json").exists());
    kdir.run(&["-q", "create", "a-b"]).code(0).stdout("").stderr("");
}

#[test]
fn an_unknown_configuration_is_answered_with_the_nearest() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "retenton.ms=1d"])
        .code(2)
        .stdout("")
        .stderr("kdir: there is no topic configuration retenton.ms; did you mean retention.ms?\n");
    assert!(!kdir.log_dir().exists());
}

#[test]
fn refuses_a_value_that_is_out_of_range() {
    let kdir = Kdir::new();
    for (pair, reason) in [
        ("segment.bytes=13", "segment.bytes=13 is refused: expected 14 to 2147483647"),
        ("compression.type=brotli", "compression.type=brotli is refused: expected one of "),
        ("cleanup.policy=remove", "cleanup.policy=remove is refused: expected a comma-separated list of "),
        ("retention.ms=-2", "retention.ms=-2 is refused: expected -1 or more"),
    ] {
        kdir.run(&["create", "app", "-c", pair]).code(2).stdout("").stderr(contains(reason));
    }
    kdir.run(&["create", "app", "-c", "retention.ms"]).code(2).stdout("").stderr(contains("is not KEY=VALUE"));
    kdir.run(&["create", "app", "-c", "min.compaction.lag.ms=2", "-c", "max.compaction.lag.ms=1"])
        .code(2)
        .stdout("")
        .stderr("kdir: min.compaction.lag.ms (2) must not be larger than max.compaction.lag.ms (1)\n");
    assert!(!kdir.log_dir().exists());
}

#[test]
fn warns_of_segments_that_a_later_kafka_refuses() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "segment.bytes=1000"])
        .code(0)
        .stdout("")
        .stderr(starts_with("warning: segment.bytes=1000 is under 1048576, which Kafka 4.1 and later refuse\n"));
}

#[test]
fn the_retention_options_are_shorthands_for_configurations() {
    let kdir = Kdir::new();
    kdir.run(&["-q", "create", "app", "--retention", "36h", "--retention-bytes", "1GB"]).code(0).stdout("").stderr("");
    let described = kdir.json(&["describe", "app", "-o", "json"]);
    let expected = serde_json::json!({ "retention.ms": "129600000", "retention.bytes": "1000000000" });
    assert_eq!(described[0]["config"], expected);
    kdir.run(&["-q", "create", "forever", "--retention", "forever"]).code(0).stdout("").stderr("");
    let described = kdir.json(&["describe", "forever", "-o", "json"]);
    assert_eq!(described[0]["config"], serde_json::json!({ "retention.ms": "-1" }));
}

#[test]
fn refuses_a_directory_with_a_folder_that_is_no_partition() {
    let kdir = Kdir::new();
    fs::create_dir_all(kdir.path("photos")).unwrap();
    let message = format!(
        "kdir: {} is not a log dir: it holds the folder photos, which is no partition\n\
         hint: name an empty or a new directory with --log-dir\n",
        kdir.log_dir().display()
    );
    kdir.run(&["create", "app"]).code(1).stdout("").stderr(message);
    assert!(!kdir.path("app.json").exists() && !kdir.path("app-0").exists());
}

#[test]
fn refuses_a_brokers_directory() {
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    fs::write(kdir.path("meta.properties"), "version=1\nnode.id=1\n").unwrap();
    kdir.run(&["create", "app"]).code(1).stdout("").stderr(
        contains(format!("kdir: {} belongs to a Kafka broker (meta.properties is there)", kdir.log_dir().display()))
            .and(contains("\nhint: create the topic with the broker, or name another --log-dir\n")),
    );
    assert!(!kdir.path("app.json").exists() && !kdir.path("app-0").exists());
}

#[test]
fn a_log_dir_that_is_a_file_or_lies_under_one_is_named() {
    let kdir = Kdir::new();
    let file = kdir.file("file", "not a folder");
    for path in [file.clone(), format!("{file}/log"), format!("{file}/deep/log")] {
        kdir.run(&["create", "app", "-d", &path])
            .code(1)
            .stdout("")
            .stderr(starts_with("kdir: cannot ").and(contains(&file)).and(contains("ot a directory")));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "not a folder");
}
