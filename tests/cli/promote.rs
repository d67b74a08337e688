//! `kdir promote` and `kdir demote`: what is written, what is refused before anything is, and what a broker's metadata outranks.
//! That brokers start on it is tried in `tests/kafka/promoted/served.rs`.

use crate::disks::copy;
use crate::support::{Kdir, Running, hold_as_a_broker, until};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

pub(crate) const META: &str = "meta.properties";
pub(crate) const BOOTSTRAP: &str = "bootstrap.checkpoint";
const FIRST_SNAPSHOT: &str = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";

pub(crate) fn filled() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "compression.type=lz4"]);
    kdir.produce("app", &[], "one\ntwo\nthree\n");
    kdir
}

/// The records of a file that a controller begins with: kind and content.
fn first_records(kdir: &Kdir, file: &str) -> Vec<(String, Value)> {
    let path = kdir.path(file);
    let records = kdir.json(&["dump", "--records", path.to_str().unwrap(), "-q"]);
    let values = records.into_iter().filter(|record| record["control_type"].is_null()).map(|it| it["value"].clone());
    values.map(|value| (value["type"].as_str().unwrap().to_owned(), value["data"].clone())).collect()
}

/// A log dir that a broker has run on: its controller has taken the first records into its log.
pub(crate) fn run_by_a_broker(kdir: &Kdir) {
    fs::create_dir(kdir.path("__cluster_metadata-0")).unwrap();
    fs::copy(kdir.path(BOOTSTRAP), kdir.path("__cluster_metadata-0/00000000000000000000.log")).unwrap();
    fs::write(kdir.path("__cluster_metadata-0/quorum-state"), "{}").unwrap();
}

/// A log dir that `kafka-storage format` of a release has made, of node 7.
fn format(kdir: &Kdir, release: &str) {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal").join(release), &kdir.log_dir());
    fs::write(kdir.path(META), "version=1\ncluster.id=abc\nnode.id=7\ndirectory.id=ICEiIyQlJicoKSorLC0uLw\n").unwrap();
}

#[test]
fn a_dry_run_shows_what_would_be_done_and_changes_nothing() {
    let kdir = filled();
    let before = kdir.contents();
    let run = kdir.run(&["promote", "--dry-run", "-o", "json"]).code(0);
    let rows = crate::support::json_lines(&run.get_output().stdout);
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((&row["topic"], &row["partitions"], &row["records"]), (&json!("app"), &json!(2), &json!(3)));
    assert_eq!((&row["deleted"], &row["changes"]), (&json!(0), &json!("")));
    assert_eq!(row["offsets"][0], json!({"partition": 0, "log_start_offset": 0, "log_end_offset": 2}));
    run.stderr(contains("can be promoted: nothing was changed"));
    assert_eq!(kdir.contents(), before);
}

#[test]
fn a_promoted_log_dir_has_what_a_broker_starts_with() {
    let kdir = filled();
    kdir.run(&["promote", "--node-id", "3", "--cluster-id", "abc", "--listener", "h:1", "--controller", "h:2"])
        .code(0)
        .stderr(contains("promoted 1 topic and the offsets of 0 groups to node 3 of cluster abc").and(contains("h:1")));
    let properties = fs::read_to_string(kdir.path("server.properties")).unwrap();
    for line in ["node.id=3", "controller.quorum.voters=3@h:2", "listeners=PLAINTEXT://h:1,CONTROLLER://h:2"] {
        assert!(properties.lines().any(|it| it == line), "{line}: {properties}");
    }
    let meta = fs::read_to_string(kdir.path(META)).unwrap();
    assert!(meta.contains("cluster.id=abc\nnode.id=3\ndirectory.id="), "{meta}");
    let records = first_records(&kdir, BOOTSTRAP);
    let kinds: Vec<&str> = records.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(
        kinds,
        ["FEATURE_LEVEL_RECORD", "TOPIC_RECORD", "PARTITION_RECORD", "PARTITION_RECORD", "CONFIG_RECORD"]
    );
    assert_eq!(records[0].1, json!({"name": "metadata.version", "featureLevel": 21}));
    let topic_file: Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    assert_eq!(records[1].1["topicId"], topic_file["topic_id"]);
    assert_eq!((&records[2].1["leader"], &records[2].1["isr"]), (&json!(3), &json!([3])));
    assert_eq!(
        records[4].1,
        json!({"resourceType": 2, "resourceName": "app", "name": "compression.type", "value": "lz4"})
    );
    assert!(!kdir.path("app-0/durable-end").exists());
    assert!(fs::read_to_string(kdir.path("replication-offset-checkpoint")).unwrap().contains("app 0 2\n"));
    assert!(fs::read_to_string(kdir.path("recovery-point-offset-checkpoint")).unwrap().contains("app 0 2\n"));
    kdir.run(&["verify"]).code(0);
    kdir.run(&["promote"]).code(0).stderr(contains("promoted already: no broker has started on it yet"));
}

#[test]
fn features_replicas_and_voters_are_as_asked() {
    let kdir = filled();
    let args = ["-q", "promote", "--kafka", "4.3", "--replicas", "2,1,5", "--quorum", "dynamic"];
    kdir.run(&args).code(0);
    let records = first_records(&kdir, BOOTSTRAP);
    let features: BTreeMap<&str, i64> = records
        .iter()
        .filter(|(kind, _)| kind == "FEATURE_LEVEL_RECORD")
        .map(|(_, data)| (data["name"].as_str().unwrap(), data["featureLevel"].as_i64().unwrap()))
        .collect();
    let expected = [
        ("group.version", 1),
        ("metadata.version", 30),
        ("share.version", 1),
        ("streams.version", 1),
        ("transaction.version", 2),
    ];
    assert_eq!(features, expected.into());
    let partition = &records.iter().find(|(kind, _)| kind == "PARTITION_RECORD").unwrap().1;
    assert_eq!((&partition["replicas"], &partition["isr"]), (&json!([1, 2, 5]), &json!([1])));
    assert_eq!(partition["directories"][1], json!("AAAAAAAAAAAAAAAAAAAAAQ"));
    assert!(kdir.path(FIRST_SNAPSHOT).exists());
    let properties = fs::read_to_string(kdir.path("server.properties")).unwrap();
    assert!(properties.contains("controller.quorum.bootstrap.servers=127.0.0.1:9093\n"), "{properties}");
    assert!(properties.contains("advertised.listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n"));
}

#[test]
fn an_undo_leaves_the_log_dir_as_it_was_to_kdir() {
    let kdir = filled();
    kdir.run(&["promote", "--undo"]).code(1).stderr(contains("is not promoted"));
    for quorum in ["static", "dynamic"] {
        kdir.run(&["-q", "promote", "--quorum", quorum]).code(0);
        kdir.run(&["alter", "app", "--partitions", "9"]).code(1).stderr(contains("metadata of a Kafka broker"));
        kdir.run(&["alter", "app", "-c", "retention.ms=1"]).code(1).stderr(contains("metadata of a Kafka broker"));
        kdir.run(&["delete", "app", "--yes"]).code(1).stderr(contains("kafka-topics"));
        kdir.run(&["create", "other"]).code(1).stderr(contains("belongs to a Kafka broker"));
        kdir.run(&["promote", "--undo"]).code(0).stderr("the log dir is kdir's again\n");
        for name in [META, BOOTSTRAP, "server.properties", "__cluster_metadata-0", ".kdir-broker"] {
            assert!(!kdir.path(name).exists(), "{name}");
        }
        kdir.produce("app", &[], "more\n");
        kdir.run(&["-q", "alter", "app", "-c", "retention.ms=-1"]).code(0);
    }
    kdir.assert_sound();
}

#[test]
fn records_past_their_retention_are_named_before_a_broker_deletes_them() {
    let kdir = Kdir::with_topic("old", &["-c", "segment.bytes=100"]);
    kdir.produce("old", &["--timestamp", "2020-01-01T00:00:00Z"], "a\nb\n");
    kdir.produce("old", &[], "c\n");
    kdir.create("kept", &["--retention", "forever"]);
    kdir.produce("kept", &["--timestamp", "2020-01-01T00:00:00Z"], "a\nb\n");
    let refused = kdir.run(&["promote"]).code(1);
    refused.stderr(
        contains("would delete 2 records of topic old at its first check, by retention.ms=604800000")
            .and(contains("--keep hands the topics over without a limit"))
            .and(contains("topic kept").not()),
    );
    assert!(!kdir.path(META).exists() && !kdir.path(".kdir-broker").exists());
    kdir.run(&["-q", "promote", "--yes"]).code(0);
    assert!(
        !first_records(&kdir, BOOTSTRAP).iter().any(|(_, data)| data["resourceName"] == "old" && data["value"] == "-1")
    );
    kdir.run(&["-q", "promote", "--undo"]).code(0);
    kdir.run(&["promote", "--keep"]).code(0).stdout(contains("retention.ms=-1 for 604800000"));
    assert!(
        first_records(&kdir, BOOTSTRAP).iter().any(|(_, data)| data["name"] == "retention.ms" && data["value"] == "-1")
    );
}

#[test]
fn settings_that_keep_a_broker_from_starting_are_not_handed_over() {
    let kdir = Kdir::with_topic("app", &["-c", "remote.storage.enable=true", "-c", "min.insync.replicas=2"]);
    let mut file: Value = serde_json::from_slice(&fs::read(kdir.path("app.json")).unwrap()).unwrap();
    file["config"]["follower.replication.throttled.replicas"] = "foo".into();
    file["config"]["segment.bytes"] = "1024".into();
    fs::write(kdir.path("app.json"), file.to_string()).unwrap();
    kdir.run(&["promote"]).code(0).stdout(
        contains("segment.bytes=1048576 for 1024")
            .and(contains("without remote.storage.enable=true"))
            .and(contains("without follower.replication.throttled.replicas=foo")),
    );
    let configs: Vec<Value> = first_records(&kdir, BOOTSTRAP)
        .into_iter()
        .filter(|(kind, _)| kind == "CONFIG_RECORD")
        .map(|(_, data)| json!([data["name"], data["value"]]))
        .collect();
    assert_eq!(configs, [json!(["min.insync.replicas", "2"]), json!(["segment.bytes", "1048576"])]);
}

#[test]
fn what_would_be_lost_or_set_aside_is_refused_by_name() {
    type Change = fn(&Kdir);
    let cases: [(&str, Change); 7] = [
        ("is a folder that was set aside (stray)", |kdir| {
            fs::rename(kdir.path("app-1"), kdir.path("x-0.0123456789abcdef0123456789abcdef-stray")).unwrap();
            fs::create_dir(kdir.path("app-1")).unwrap();
        }),
        ("does not have all partitions from 0 on", |kdir| {
            kdir.disown("app");
            fs::remove_dir_all(kdir.path("app-0")).unwrap();
            fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
        }),
        ("have different topic ids", |kdir| {
            kdir.disown("app");
            fs::write(kdir.path("app-1/partition.metadata"), "version: 0\ntopic_id: ICEiIyQlJicoKSorLC0uLw").unwrap();
        }),
        ("have the same topic id", |kdir| {
            let text = fs::read_to_string(kdir.path("app.json")).unwrap();
            fs::write(kdir.path("copy.json"), text.replace("\"app\"", "\"copy\"")).unwrap();
        }),
        ("is missing, with all of its records", |kdir| fs::remove_dir_all(kdir.path("app-0")).unwrap()),
        ("belongs to a Kafka broker with ZooKeeper", |kdir| {
            fs::write(kdir.path(META), "version=0\nbroker.id=1\ncluster.id=x\n").unwrap();
        }),
        ("takes no topics but those in its own metadata", |kdir| {
            kdir.run(&["-q", "promote"]).code(0);
            run_by_a_broker(kdir);
        }),
    ];
    for (what, change) in cases {
        let kdir = filled();
        change(&kdir);
        let before = kdir.contents();
        kdir.run(&["promote", "--yes"]).stderr(contains(what)).failure();
        kdir.run(&["promote", "--yes", "--dry-run"]).stderr(contains(what)).failure();
        assert_eq!(kdir.contents(), before, "{what}");
    }
}

#[test]
fn nobody_else_may_use_the_log_dir() {
    let kdir = filled();
    let mut producer = Running::start(kdir.process(&["produce", "app"]));
    producer.write("x\n");
    until("it has been stored", || kdir.values("app").contains('x'));
    kdir.run(&["promote"]).code(1).stderr(contains("is in use by another kdir process"));
    kdir.run(&["demote"]).code(1).stderr(contains("is in use by another kdir process"));
    producer.end_input();
    until("it has ended", || kdir.run(&["-q", "promote"]).try_success().is_ok());
    let broker = hold_as_a_broker(&kdir.path(".lock"));
    kdir.run(&["promote", "--undo"]).code(1).stderr(contains("is in use by a running Kafka broker"));
    drop(broker);
}

#[test]
fn a_path_that_a_broker_would_take_for_two_is_refused() {
    let kdir = filled();
    for name in ["one,two", "line\nbreak", "end "] {
        let dir = kdir.temp().join(name);
        copy(&kdir.log_dir(), &dir);
        kdir.run(&["promote", "-d", dir.to_str().unwrap()]).code(1).stderr(contains("cannot be written in log.dirs"));
        assert!(!dir.join(META).exists() && !dir.join(".kdir-broker").exists(), "{name:?}");
    }
}

#[test]
fn properties_of_the_users_are_never_overwritten() {
    let kdir = filled();
    fs::write(kdir.path("server.properties"), "node.id=1\n").unwrap();
    kdir.run(&["promote", "--dry-run"]).code(1).stderr(contains("server.properties is there already"));
    kdir.run(&["promote"]).code(1).stderr(contains("server.properties is there already").and(contains("--properties")));
    assert!(!kdir.path(META).exists() && !kdir.path(".kdir-broker").exists());
    let other = kdir.temp().join("other.properties");
    kdir.run(&["-q", "promote", "--properties", other.to_str().unwrap()]).code(0);
    assert!(fs::read_to_string(&other).unwrap().contains("node.id=1\n"));
    kdir.run(&["-q", "promote", "--undo"]).code(0);
    assert!(!other.exists());
    assert_eq!(fs::read_to_string(kdir.path("server.properties")).unwrap(), "node.id=1\n");
}

#[test]
fn topics_are_added_to_what_a_release_has_formatted() {
    for (release, file) in [
        ("format-3.9.2", BOOTSTRAP),
        ("format-4.0.0", BOOTSTRAP),
        ("format-4.1.1", BOOTSTRAP),
        ("format-4.2.0", BOOTSTRAP),
        ("format-4.3.1", BOOTSTRAP),
        ("format-4.4.0", FIRST_SNAPSHOT),
    ] {
        let kdir = filled();
        format(&kdir, release);
        let formatted = first_records(&kdir, file);
        kdir.run(&["promote", "--kafka", "4.0"]).code(1).stderr(contains("was not formatted"));
        kdir.run(&["promote", "--node-id", "1"]).code(1).stderr(contains("the node id is to be 1"));
        kdir.run(&["promote"]).code(0).stderr(contains("to node 7 of cluster abc"));
        let records = first_records(&kdir, file);
        assert_eq!(records[..formatted.len()], formatted, "{release}");
        let added: Vec<&str> = records[formatted.len()..].iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(added, ["TOPIC_RECORD", "PARTITION_RECORD", "PARTITION_RECORD", "CONFIG_RECORD"], "{release}");
        let partition = &records[formatted.len() + 1].1;
        assert_eq!((&partition["leader"], &partition["directories"][0]), (&json!(7), &json!("ICEiIyQlJicoKSorLC0uLw")));
        assert!(!kdir.path("server.properties").exists());
        kdir.run(&["promote"]).code(0).stderr(contains("promoted already"));
        kdir.run(&["-q", "promote", "--undo"]).code(0);
        assert_eq!(first_records(&kdir, file), formatted, "{release}");
        assert!(kdir.path(META).exists());
    }
}

#[test]
fn a_log_dir_that_was_formatted_amid_a_promotion_is_promoted_again() {
    let kdir = filled();
    kdir.run(&["-q", "promote"]).code(0);
    // Cut off before its last step, and then formatted, which replaces the first records: a broker would set all aside.
    fs::remove_file(kdir.path(META)).unwrap();
    format(&kdir, "format-4.3.1");
    kdir.run(&["promote"]).code(0).stderr(contains("promoted 1 topic").and(contains("to node 7 of cluster abc")));
    assert!(
        first_records(&kdir, BOOTSTRAP).iter().any(|(kind, data)| kind == "PARTITION_RECORD" && data["leader"] == 7)
    );
    kdir.run(&["promote"]).code(0).stderr(contains("promoted already"));
    kdir.run(&["-q", "promote", "--undo"]).code(0);
    assert!(
        kdir.path(META).exists() && !first_records(&kdir, BOOTSTRAP).iter().any(|(kind, _)| kind == "TOPIC_RECORD")
    );
}

#[test]
fn controllers_of_their_own_get_the_records() {
    let kdir = filled();
    let controller = Kdir::new();
    format(&controller, "format-4.3.1");
    let dir = controller.log_dir();
    let args = ["promote", "--metadata-dir", dir.to_str().unwrap()];
    kdir.run(&[&args[..], &["--node-id", "7"]].concat()).code(1).stderr(contains("a controller has node id 7"));
    kdir.run(&[&args[..], &args[1..]].concat()).code(1).stderr(contains("two of --metadata-dir are of node 7"));
    kdir.run(&args).code(0).stderr(contains("to node 1 of cluster abc"));
    let records = first_records(&controller, BOOTSTRAP);
    assert!(records.iter().any(|(kind, data)| kind == "PARTITION_RECORD" && data["leader"] == 1));
    assert!(fs::read_to_string(kdir.path(META)).unwrap().contains("cluster.id=abc\nnode.id=1\n"));
    assert!(!kdir.path(BOOTSTRAP).exists());
    // Voters that are not in the metadata log are found by their ids.
    let properties = || fs::read_to_string(kdir.path("server.properties")).unwrap();
    assert!(properties().contains("process.roles=broker\n"), "{}", properties());
    assert!(properties().contains("controller.quorum.voters=7@127.0.0.1:9093\n"), "{}", properties());
    kdir.run(&["-q", "promote", "--undo", "--metadata-dir", dir.to_str().unwrap()]).code(0);
    let two = ["--controller", "a:1", "--controller", "b:1"];
    kdir.run(&[&args[..], &two].concat()).code(1).stderr(contains("--controller once for each --metadata-dir"));
}

#[test]
fn a_broker_finds_its_controllers_as_their_quorum_was_formatted() {
    let with_voters = filled();
    with_voters.run(&["-q", "promote", "--quorum", "dynamic"]).code(0);
    for (count, is_dynamic, expected) in [
        (1, false, "controller.quorum.voters=7@h:1\n"),
        (2, false, "controller.quorum.voters=7@h:1,8@h:2\n"),
        (1, true, "controller.quorum.bootstrap.servers=h:1\n"),
        (2, true, "controller.quorum.bootstrap.servers=h:1,h:2\n"),
    ] {
        let (kdir, mut args) = (filled(), vec!["-q".to_owned(), "promote".to_owned()]);
        let controllers: Vec<Kdir> = (0..count).map(|_| Kdir::new()).collect();
        for (number, controller) in controllers.iter().enumerate() {
            format(controller, "format-4.3.1");
            let meta = fs::read_to_string(controller.path(META)).unwrap();
            fs::write(controller.path(META), meta.replace("node.id=7", &format!("node.id={}", 7 + number))).unwrap();
            args.extend(["--metadata-dir".into(), controller.log_dir().to_str().unwrap().into()]);
            args.extend(["--controller".into(), format!("h:{}", 1 + number)]);
        }
        if is_dynamic {
            // The others were formatted to join it.
            let metadata = "__cluster_metadata-0";
            copy(&with_voters.path(metadata), &controllers[count - 1].path(metadata));
        }
        kdir.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).code(0);
        let properties = fs::read_to_string(kdir.path("server.properties")).unwrap();
        assert!(properties.contains(expected), "{expected}: {properties}");
    }
}

#[test]
fn what_was_formatted_outranks_what_would_be_chosen() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    kdir.run(&["-q", "work", "app", "-g", "jobs", "--", "true"]).code(0);
    format(&kdir, "format-4.3.1");
    let properties = kdir.temp().join("b.properties");
    let with_properties = ["promote", "--properties", properties.to_str().unwrap()];
    let dynamic = [&with_properties[..], &["--quorum", "dynamic"]].concat();
    kdir.run(&dynamic).code(1).stderr(contains("the quorum was formatted as a static one"));
    // It has share groups from the start, which its own features say.
    kdir.run(&with_properties).code(0).stderr(contains("share.version").not());
    assert!(fs::read_to_string(&properties).unwrap().contains("controller.quorum.voters=7@127.0.0.1:9093\n"));
    let again = kdir.run(&["promote"]).code(0).stderr(contains("share.version").not());
    again.stderr(contains(properties.to_str().unwrap()));
    kdir.run(&["-q", "promote", "--undo"]).code(0);
    assert!(!properties.exists());
}

#[test]
fn a_log_dir_that_came_back_can_be_another_node() {
    let (kdir, controller) = (filled(), Kdir::new());
    kdir.run(&["-q", "promote"]).code(0);
    run_by_a_broker(&kdir);
    kdir.run(&["-q", "demote"]).code(0);
    format(&controller, "format-4.3.1");
    let meta = fs::read_to_string(controller.path(META)).unwrap();
    fs::write(controller.path(META), meta.replace("node.id=7", "node.id=1")).unwrap();
    let args = ["promote", "--metadata-dir", controller.log_dir().to_str().unwrap()].map(str::to_owned);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    kdir.run(&args).code(1).stderr(contains("a controller has node id 1"));
    // The properties of the first one are the user's by now.
    fs::remove_file(kdir.path("server.properties")).unwrap();
    kdir.run(&[&args[..], &["--node-id", "2"]].concat()).code(0).stderr(contains("to node 2"));
}

#[test]
fn a_log_that_cannot_be_read_is_refused_with_all_else_also_where_a_queue_is() {
    let kdir = filled();
    kdir.run(&["-q", "work", "app", "-g", "jobs", "--", "true"]).code(0);
    kdir.create("old", &[]);
    kdir.produce("old", &["--timestamp", "2001-01-01T00:00:00Z"], "long ago\n");
    crate::support::flip(&kdir.segment("app-0", 0, "log"), 70);
    kdir.run(&["promote"]).code(1).stderr(contains("app-0").and(contains("old")));
}

#[test]
fn partitions_are_where_the_disks_of_a_broker_have_them() {
    let (kdir, other) = (filled(), Kdir::new());
    kdir.disown("app");
    fs::create_dir(other.log_dir()).unwrap();
    fs::rename(kdir.path("app-1"), other.path("app-1")).unwrap();
    let dirs = [kdir.log_dir(), other.log_dir()];
    let [one, two] = dirs.each_ref().map(|dir| dir.to_str().unwrap());
    kdir.run(&["-q", "promote", "-d", one, "-d", two]).code(0);
    let id = |kdir: &Kdir| {
        let meta = fs::read_to_string(kdir.path(META)).unwrap();
        meta.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap().to_owned()
    };
    let records = first_records(&kdir, BOOTSTRAP);
    let directories: Vec<&Value> = records
        .iter()
        .filter(|(kind, _)| kind == "PARTITION_RECORD")
        .map(|(_, data)| &data["directories"][0])
        .collect();
    assert_eq!(directories, [&json!(id(&kdir)), &json!(id(&other))]);
    let properties = fs::read_to_string(kdir.path("server.properties")).unwrap();
    assert!(properties.contains(&format!("log.dirs={one},{two}\n")), "{properties}");
}

#[test]
fn producer_ids_and_leader_epochs_go_on_above_those_in_use() {
    let kdir = Kdir::new();
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/metadata/broker-4.3"), &kdir.log_dir());
    for name in [META, BOOTSTRAP] {
        let _ = fs::remove_file(kdir.path(name));
    }
    fs::remove_dir_all(kdir.path("__cluster_metadata-0")).unwrap();
    kdir.run(&["-q", "promote", "--keep"]).code(0);
    let records = first_records(&kdir, BOOTSTRAP);
    let epochs: Vec<i64> = records.iter().filter_map(|(_, data)| data["leaderEpoch"].as_i64()).collect();
    assert!(!epochs.is_empty());
    let last_epoch = |line: &str| line.split(' ').next().unwrap().parse::<i64>().unwrap();
    let text = fs::read_to_string(kdir.path("plain-0/leader-epoch-checkpoint")).unwrap();
    assert!(epochs.contains(&last_epoch(text.lines().last().unwrap())), "{epochs:?}: {text}");
}

#[test]
fn the_clusters_metadata_outranks_topic_files() {
    let kdir = filled();
    kdir.create("gone", &[]);
    kdir.run(&["-q", "promote"]).code(0);
    run_by_a_broker(&kdir);
    fs::remove_dir_all(kdir.path("gone-0")).unwrap();
    // As old as the promotion: the broker has another configuration and more partitions since.
    let text = fs::read_to_string(kdir.path("app.json")).unwrap();
    fs::write(kdir.path("app.json"), text.replace("lz4", "zstd").replace("\"partitions\": 2", "\"partitions\": 1"))
        .unwrap();
    let described = kdir.json(&["describe", "app", "-o", "json"]);
    assert_eq!(described.len(), 2);
    assert_eq!(described[0]["config"], json!({"compression.type": "lz4"}));
    let listed = kdir.json(&["list", "app", "-o", "json"]);
    assert_eq!((&listed[0]["partitions"], &listed[0]["records"]), (&json!(2), &json!(3)));
    kdir.run(&["alter", "app", "-c", "retention.ms=1"]).code(1).stderr(contains("kafka-configs --alter"));
    kdir.run(&["delete", "app", "--yes"]).code(1).stderr(contains("kafka-topics"));
    kdir.feed(&["produce", "app"], "four\n").code(0).stderr(contains("which is to stay stopped"));
}

#[test]
fn limits_of_a_topics_own_are_known_and_a_brokers_defaults_are_not() {
    let kdir = Kdir::with_topic("own", &["-c", "retention.ms=1000"]);
    kdir.create("default", &[]);
    for topic in ["own", "default"] {
        kdir.produce(topic, &["--timestamp", "2020-01-01T00:00:00Z"], "a\n");
    }
    kdir.run(&["-q", "promote", "--yes"]).code(0);
    run_by_a_broker(&kdir);
    kdir.run(&["retention"])
        .code(0)
        .stdout(contains("own"))
        .stderr(contains("topic default is skipped: its broker knows its limits").and(contains("deleted 1 segment")));
    assert_eq!(kdir.values("default"), "a\n");
}

#[test]
fn nothing_is_appended_to_what_other_brokers_have_as_well() {
    let kdir = filled();
    kdir.run(&["-q", "promote", "--replicas", "1,2"]).code(0);
    kdir.feed(&["-q", "produce", "app"], "before any broker has run\n").code(0);
    run_by_a_broker(&kdir);
    kdir.feed(&["produce", "app"], "x\n").code(1).stderr(contains("app-0 is replicated, on the brokers 1, 2"));
    let line = "{\"topic\":\"app\",\"value\":\"x\"}\n";
    kdir.feed(&["produce", "-i", "json", "--by-topic"], line).code(1).stderr(contains("is replicated"));
    assert_eq!(kdir.values("app").lines().count(), 4);
    kdir.run(&["demote"]).code(0);
    kdir.feed(&["-q", "produce", "app"], "x\n").code(0);
}

#[test]
fn of_share_groups_it_is_said_what_they_need_and_what_is_tried_for_the_last_time() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let attempts = ["--max-attempts", "20", "--backoff", "1ms..1ms", "-n", "5", "--breaker", "0", "--", "false"];
    kdir.run(&[&["-q", "work", "app", "-g", "jobs"], &attempts[..]].concat()).code(0);
    let needs = "1 share group cannot go on before the cluster has share.version=1: promote with --kafka 4.2 or later";
    let last = "share group jobs: 1 record with 5 attempts or more";
    kdir.run(&["promote", "--dry-run"]).code(0).stderr(contains(needs).and(contains(last)));
    kdir.run(&["promote", "--dry-run", "--kafka", "4.2"]).code(0).stderr(contains(needs).not().and(contains(last)));
    kdir.run(&["promote", "--kafka", "4.0"]).code(1).stderr(contains("Kafka 4.0 cannot read share groups"));
    kdir.run(&["promote", "--kafka", "4.1"]).code(0).stderr(contains(needs));
    // What is asked for later changes nothing.
    let waits = "cannot go on before the cluster has share.version=1: run";
    kdir.run(&["promote", "--kafka", "4.3"]).code(0).stderr(contains("promoted already").and(contains(waits)));
}
