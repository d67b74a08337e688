use super::support::Kdir;
use predicates::str::contains;

#[test]
fn moves_the_log_start_forward_for_good() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.produce("app", b"0\n1\n2\n3\n4\n5\n");
    kdir.run(&["delete-records", "app", "--before-offset", "0:2,1:1"]).success();
    assert_eq!(kdir.text(&["consume", "app"]), "3\n4\n5\n");
    let report = kdir.text(&["delete-records", "app", "--before-offset", "0:1", "-o", "tsv"]);
    assert_eq!(report, "app\t0\t2\n", "it never moves back");
    kdir.run(&["consume", "app", "-p", "0", "--from-offset", "1"]).code(1).stderr(contains("goes from 2"));
    assert_eq!(kdir.json(&["list", "-o", "json"])[0]["records"], 3);
}

#[test]
fn takes_a_time() {
    let kdir = Kdir::with_topic("app", 1);
    for time in ["1000", "2000", "3000"] {
        kdir.run_with(&["produce", "app", "--timestamp", time], time.as_bytes()).success();
    }
    kdir.run(&["delete-records", "app", "--before", "2000"]).success();
    assert_eq!(kdir.text(&["consume", "app"]), "2000\n3000\n");
    kdir.run(&["delete-records", "app", "--before", "now"]).success();
    assert_eq!(kdir.text(&["consume", "app"]), "");
    kdir.produce("app", b"more\n");
    assert_eq!(kdir.text(&["consume", "app"]), "more\n");
}

#[test]
fn refuses_what_lies_outside_the_log_or_is_compacted() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.run(&["delete-records", "app", "--before-offset", "0:1"]).code(1).stderr(contains("outside the log"));
    kdir.run(&["delete-records", "app", "--before-offset", "2:0"]).code(1).stderr(contains("no partition 2"));
    kdir.run(&["delete-records", "app", "--before-offset", "0"]).code(2).stderr(contains("0:100,1:250"));
    kdir.run(&["delete-records", "app"]).code(2);
    kdir.run(&["create", "keyed", "-c", "cleanup.policy=compact"]).success();
    kdir.run(&["delete-records", "keyed", "--before-offset", "latest"]).code(1).stderr(contains("is compacted"));
}
