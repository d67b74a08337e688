use super::support::Kdir;
use predicates::str::contains;

#[test]
fn finds_the_ends_and_times() {
    let kdir = Kdir::with_topic("app", 2);
    for (time, line) in [("1000", "a"), ("3000", "b"), ("2000", "c")] {
        kdir.run_with(&["produce", "app", "-p", "0", "--timestamp", time], line.as_bytes()).success();
    }
    for (at, expected) in [
        ("earliest", "app\t0\t0\t\napp\t1\t0\t\n"),
        ("latest", "app\t0\t3\t\napp\t1\t0\t\n"),
        ("999", "app\t0\t0\t1000\napp\t1\t\t\n"),
        ("1001", "app\t0\t1\t3000\napp\t1\t\t\n"),
        ("3001", "app\t0\t\t\napp\t1\t\t\n"),
    ] {
        kdir.run(&["offsets", "app", "--at", at, "-o", "tsv"]).success().stdout(expected);
    }
    assert_eq!(kdir.text(&["offsets", "app", "--at", "latest", "-p", "0", "-o", "tsv"]), "app\t0\t3\t\n");
}

#[test]
fn a_time_that_is_none_is_answered_with_the_forms_that_are() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["offsets", "app", "--at", "soonish"]).code(2).stderr(contains("RFC 3339"));
}
