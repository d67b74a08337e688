use super::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

/// Three segments of two records each, and one record in the active one.
fn rolled() -> Kdir {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "segment.bytes=150"]).success();
    for number in 0..7 {
        kdir.run_with(&["produce", "app", "--timestamp", &format!("{number}000")], b"x").success();
    }
    kdir
}

#[test]
fn a_dry_run_tells_the_reasons_and_changes_nothing() {
    let kdir = rolled();
    let before = kdir.names("app-0");
    let rows = kdir.json(&[
        "retention",
        "--dry-run",
        "--retention-bytes",
        "207",
        "app",
        "--retention",
        "forever",
        "-o",
        "json",
    ]);
    let actions: Vec<&str> = rows.iter().map(|row| row["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["remove", "remove", "keep", "keep"]);
    assert!(rows[0]["reason"].as_str().unwrap().contains("retention.bytes=207"));
    assert_eq!(rows[3]["reason"], "a segment before it stays");
    assert_eq!(kdir.names("app-0"), before);
}

#[test]
fn removes_by_size_and_by_time_and_keeps_offsets() {
    let kdir = rolled();
    kdir.run(&["alter", "app", "-c", "retention.bytes=207", "-c", "retention.ms=-1"]).success();
    kdir.run(&["retention"]).success().stderr(contains("removed 2 segments"));
    let rows = kdir.json(&["consume", "app", "-o", "json"]);
    assert_eq!(rows.iter().map(|row| row["offset"].as_i64().unwrap()).collect::<Vec<_>>(), [4, 5, 6]);
    kdir.run(&["retention", "app", "--retention", "1s"]).success();
    assert_eq!(kdir.text(&["consume", "app"]), "");
    kdir.produce("app", b"y");
    assert_eq!(kdir.json(&["consume", "app", "-o", "json"])[0]["offset"], 7);
}

#[test]
fn a_brokers_topic_is_skipped_by_name_unless_limits_are_given() {
    let kdir = rolled();
    std::fs::remove_file(kdir.path("app.json")).unwrap();
    kdir.run(&["retention", "--dry-run"])
        .success()
        .stderr(contains("topic app is skipped").and(contains("--retention-bytes")));
    kdir.run(&["retention", "--retention-bytes", "0"]).success().stderr(contains("removed 4 segments"));
}

#[test]
fn internal_topics_are_touched_only_when_named() {
    let kdir = Kdir::with_topic("__mine", 1);
    kdir.produce("__mine", b"x");
    kdir.run(&["retention", "--retention-bytes", "0"]).success().stderr(contains("removed 0 segments"));
    kdir.run(&["retention", "--retention-bytes", "0", "__mine"]).success().stderr(contains("removed 1 segment"));
}
