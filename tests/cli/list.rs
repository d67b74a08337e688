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
        serde_json::json!({ "topic": "a", "partitions": 1, "records": 0, "bytes": 0 }),
        serde_json::json!({ "topic": "b", "partitions": 2, "records": 3, "bytes": bytes_of_b(&kdir) }),
    ];
    assert_eq!(kdir.json(&["list", "-o", "json"]), expected);
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
