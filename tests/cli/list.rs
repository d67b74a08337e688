//! `kdir list`.

use crate::support::Kdir;
use std::fs;

fn two_topics() -> Kdir {
    let kdir = Kdir::with_topic("b", &["-P", "2"]);
    kdir.create("a", &[]);
    kdir.produce("b", &[], "1\n2\n3\n");
    kdir
}

fn bytes_of_b(kdir: &Kdir) -> u64 {
    [0, 1].map(|it| fs::metadata(kdir.segment(&format!("b-{it}"), 0, "log")).unwrap().len()).iter().sum()
}

#[test]
fn shows_a_table_by_name() {
    let kdir = two_topics();
    let expected = format!(
        "TOPIC  PARTITIONS  RECORDS  BYTES\n\
         a               1        0    0 B\n\
         b               2        3  {} B\n",
        bytes_of_b(&kdir)
    );
    kdir.run(&["list"]).code(0).stdout(expected).stderr("");
}

#[test]
fn shows_tsv_with_plain_numbers_and_no_header() {
    let kdir = two_topics();
    let expected = format!("a\t1\t0\t0\nb\t2\t3\t{}\n", bytes_of_b(&kdir));
    kdir.run(&["list", "-o", "tsv"]).code(0).stdout(expected).stderr("");
}

#[test]
fn shows_json_lines() {
    let kdir = two_topics();
    let expected = [
        serde_json::json!({ "topic": "a", "partitions": 1, "records": 0, "bytes": 0, "exact": true }),
        serde_json::json!({ "topic": "b", "partitions": 2, "records": 3, "bytes": bytes_of_b(&kdir), "exact": true }),
    ];
    assert_eq!(kdir.json(&["list", "-o", "json"]), expected);
}

#[test]
fn of_a_compacted_topic_the_records_are_at_most_so_many() {
    let kdir = Kdir::with_topic("compacted", &["-c", "cleanup.policy=compact,delete"]);
    for topic in ["cleaned", "whole", "__internal"] {
        kdir.create(topic, &[]);
    }
    kdir.create("empty", &["-c", "cleanup.policy=compact"]);
    for topic in ["compacted", "cleaned", "whole", "__internal"] {
        kdir.produce(topic, &["-k", "k"], "1\n2\n");
    }
    kdir.disown("cleaned");
    kdir.disown("__internal");
    fs::write(kdir.path("cleaner-offset-checkpoint"), "0\n2\ncleaned 0 1\nwhole 0 0\n").unwrap();
    let expected = [
        ("__internal", 2, false),
        ("cleaned", 2, false),
        ("compacted", 2, false),
        ("empty", 0, true),
        ("whole", 2, true),
    ];
    let listed = kdir.json(&["list", "-o", "json"]);
    let found: Vec<_> = listed
        .iter()
        .map(|row| (row["topic"].as_str().unwrap(), row["records"].as_i64().unwrap(), row["exact"].as_bool().unwrap()))
        .collect();
    assert_eq!(found, expected);
    assert!(kdir.text(&["list", "-o", "tsv"]).starts_with("__internal\t1\t2\t"));
    let table = |locale: &str| {
        let output =
            kdir.command(&["list"]).env("LANG", locale).assert().code(0).stderr("").get_output().stdout.clone();
        let lines = String::from_utf8(output).unwrap();
        lines.lines().skip(1).map(|line| line[24..33].trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(table("C"), ["<= 2", "<= 2", "<= 2", "0", "2"]);
    let utf8 = kdir.command(&["list"]).env("LANG", "C.UTF-8").assert().get_output().stdout.clone();
    assert_eq!(String::from_utf8(utf8).unwrap().matches("≤ 2").count(), 3);
}

#[test]
fn an_empty_log_dir_has_no_topics() {
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    let status = format!("there are no topics in {}\n", kdir.log_dir().display());
    kdir.run(&["list"]).code(0).stdout("").stderr(status);
    kdir.run(&["-q", "list", "-o", "json"]).code(0).stdout("").stderr("");
}

#[test]
fn a_missing_log_dir_is_named_with_the_way_to_make_it() {
    let kdir = Kdir::new();
    let expected = format!(
        "kdir: there is no log dir {}\nhint: make it with `kdir create TOPIC` or `kdir produce --create TOPIC`, \
             or name another with --log-dir\n",
        kdir.log_dir().display()
    );
    kdir.run(&["list"]).code(1).stdout("").stderr(expected);
    assert!(!kdir.log_dir().exists(), "reading makes nothing");
}

#[test]
fn a_brokers_topic_is_listed_as_it_lies_there() {
    let kdir = two_topics();
    fs::remove_file(kdir.path("b.json")).unwrap();
    let expected = format!("a\t1\t0\t0\nb\t2\t3\t{}\n", bytes_of_b(&kdir));
    kdir.run(&["list", "-o", "tsv"]).code(0).stdout(expected).stderr("");
}

#[test]
fn topics_are_named_or_given_by_a_pattern() {
    let kdir = Kdir::with_topic("app-a", &[]);
    kdir.create("app-b", &[]);
    kdir.create("other", &[]);
    let rows = |topics: &[&str]| kdir.text(&[&["list", "-o", "tsv"], topics].concat());
    assert_eq!(rows(&["app-*"]), "app-a\t1\t0\t0\napp-b\t1\t0\t0\n");
    assert_eq!(rows(&["other", "app-b"]), "other\t1\t0\t0\napp-b\t1\t0\t0\n");
    kdir.run(&["list", "nope"])
        .code(1)
        .stdout("")
        .stderr(predicates::str::starts_with("kdir: there is no topic nope in "));
    kdir.run(&["list", "x*"]).code(1).stdout("").stderr(predicates::str::contains("x*"));
}
