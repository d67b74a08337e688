use super::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

#[test]
fn shows_topics_by_name_in_every_form() {
    let kdir = Kdir::with_topic("beta", 2);
    kdir.run(&["create", "alpha"]).success();
    kdir.produce("beta", b"a\nb\nc\n");
    let expected = "\
TOPIC  PARTITIONS  RECORDS  BYTES
alpha           1        0    0 B
beta            2        3  146 B
";
    kdir.run(&["list"]).success().stdout(expected).stderr("");
    kdir.run(&["list", "-o", "tsv"]).success().stdout("alpha\t1\t0\t0\nbeta\t2\t3\t146\n");
    let rows = kdir.json(&["list", "-o", "json"]);
    assert_eq!(rows[1], serde_json::json!({"topic": "beta", "partitions": 2, "records": 3, "bytes": 146}));
}

#[test]
fn a_missing_log_dir_is_named_with_the_way_to_make_it() {
    let kdir = Kdir::new();
    kdir.run(&["list"]).code(1).stdout("").stderr(contains("there is no log dir").and(contains("kdir create TOPIC")));
}

#[test]
fn an_empty_log_dir_has_no_topics() {
    let kdir = Kdir::new();
    std::fs::create_dir(kdir.log_dir()).unwrap();
    kdir.run(&["list"]).success().stdout("").stderr(contains("there are no topics"));
}
