use super::support::{Kdir, read};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn makes_what_a_broker_makes_and_a_topic_file() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-P", "2", "-c", "segment.bytes=64MiB", "--retention", "7d"])
        .success()
        .stdout("")
        .stderr(contains("created topic app with 2 partitions"));
    assert_eq!(kdir.names("."), [".lock", "app-0", "app-1", "app.json"]);
    assert_eq!(
        kdir.names("app-0"),
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "leader-epoch-checkpoint",
            "partition.metadata"
        ]
    );
    assert_eq!(read(&kdir.path("app-0/leader-epoch-checkpoint")), b"0\n1\n0 0\n");
    let topic: serde_json::Value = serde_json::from_slice(&read(&kdir.path("app.json"))).unwrap();
    assert_eq!(topic["config"]["segment.bytes"], "67108864");
    assert_eq!(topic["config"]["retention.ms"], "604800000");
    let metadata = String::from_utf8(read(&kdir.path("app-1/partition.metadata"))).unwrap();
    assert_eq!(metadata, format!("version: 0\ntopic_id: {}", topic["topic_id"].as_str().unwrap()));
}

#[test]
fn a_topic_that_exists_is_an_error_unless_asked_to_leave_it() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["create", "app"]).code(1).stderr(contains("exists already").and(contains("--if-not-exists")));
    kdir.run(&["create", "app", "-P", "5", "--if-not-exists"]).success().stderr(contains("left as it is"));
    assert_eq!(kdir.json(&["list", "-o", "json"])[0]["partitions"], 1);
}

#[test]
fn refuses_names_and_numbers_that_kafka_refuses() {
    let kdir = Kdir::new();
    for name in ["", ".", "..", "a/b", "a b", "ü", &"a".repeat(250)] {
        kdir.run(&["create", name]).code(2).stdout("").stderr(contains("topic name"));
    }
    for partitions in ["0", "-1", "x", "100001"] {
        kdir.run(&["create", "app", "-P", partitions])
            .code(2)
            .stderr(contains("1 to 100000").or(contains("unexpected")));
    }
    assert!(!kdir.log_dir().exists(), "nothing is half made");
}

#[test]
fn a_name_of_249_bytes_works_everywhere() {
    let name = "n".repeat(249);
    let kdir = Kdir::with_topic(&name, 2);
    kdir.produce(&name, b"a\nb\n");
    assert_eq!(kdir.text(&["consume", &name]), "a\nb\n");
    assert!(kdir.text(&["describe", &name]).contains("nnn"));
    kdir.run(&["alter", &name, "--partitions", "3"]).success();
    kdir.run(&["retention", &name, "--retention-bytes", "0"]).success();
    kdir.run(&["delete", &name, "--yes"]).success();
    assert_eq!(kdir.names("."), [".lock"]);
}

#[test]
fn names_that_differ_in_dot_and_underscore_collide() {
    let kdir = Kdir::with_topic("a.b", 1);
    kdir.run(&["create", "a_b"]).code(1).stderr(contains("collides with a.b"));
}

#[test]
fn configuration_is_checked_by_name_and_range() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "retenton.ms=5"]).code(2).stderr(contains("did you mean retention.ms?"));
    kdir.run(&["create", "app", "-c", "retention.ms=-2"]).code(2).stderr(contains("-1 or more ms"));
    kdir.run(&["create", "app", "-c", "nonsense"]).code(2).stderr(contains("KEY=VALUE"));
    kdir.run(&["create", "app", "-c", "message.format.version=2.8"]).code(2).stderr(contains("removed in Kafka 4.0"));
    assert!(!kdir.log_dir().exists());
    kdir.run(&["create", "app", "-c", "segment.bytes=1000"]).success().stderr(contains("Kafka 4.1 and later refuse"));
}

#[test]
fn refuses_a_directory_that_is_a_brokers_or_something_else() {
    let kdir = Kdir::new();
    std::fs::create_dir_all(kdir.path("photos")).unwrap();
    kdir.run(&["create", "app"]).code(1).stderr(contains("is not a log dir").and(contains("photos")));
    let kdir = Kdir::new();
    std::fs::create_dir_all(kdir.log_dir()).unwrap();
    std::fs::write(kdir.path("meta.properties"), "version=1\n").unwrap();
    kdir.run(&["create", "app"]).code(1).stderr(contains("belongs to a Kafka broker"));
    kdir.run_with(&["produce", "--create", "app"], b"x").code(1).stderr(contains("belongs to a Kafka broker"));
    assert_eq!(kdir.names("."), [".lock", "meta.properties"]);
}

#[test]
fn names_a_path_where_no_directory_can_be() {
    let kdir = Kdir::new();
    std::fs::write(kdir.log_dir(), "a file").unwrap();
    kdir.run(&["create", "app"]).code(1).stderr(contains("log-dir").and(contains("ot a directory")));
}
