use super::support::Kdir;
use predicates::str::contains;

#[test]
fn sets_and_unsets_configuration() {
    let kdir = Kdir::new();
    kdir.run(&["create", "app", "-c", "segment.ms=1h"]).success();
    kdir.run(&["alter", "app", "-c", "retention.bytes=1GiB", "--unset", "segment.ms"]).success();
    let config = kdir.json(&["describe", "-o", "json"])[0]["config"].clone();
    assert_eq!(config, serde_json::json!({"retention.bytes": "1073741824"}));
    kdir.run(&["alter", "app", "--unset", "segment.ms"]).success().stderr(contains("segment.ms was not set"));
}

#[test]
fn adds_partitions_and_never_takes_any() {
    let kdir = Kdir::with_topic("app", 2);
    for fewer in ["1", "2"] {
        kdir.run(&["alter", "app", "--partitions", fewer]).code(1).stderr(contains("has 2 partitions"));
    }
    kdir.run(&["alter", "app", "--partitions", "3"]).success();
    kdir.produce("app", b"a\nb\nc\n");
    assert_eq!(kdir.text(&["consume", "app", "-p", "2"]), "c\n");
}

#[test]
fn refuses_what_changes_nothing_or_is_wrong() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["alter", "app"]).code(2).stderr(contains("nothing to change"));
    kdir.run(&["alter", "app", "-c", "segment.bytes=1"]).code(2).stderr(contains("14 to 2147483647 bytes"));
    kdir.run(&["alter", "nope", "--partitions", "2"]).code(1).stderr(contains("there is no topic nope"));
}
