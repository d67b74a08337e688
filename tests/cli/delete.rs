use super::support::Kdir;
use predicates::str::contains;

#[test]
fn needs_yes_where_nobody_can_be_asked() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["delete", "app"]).code(2).stderr(contains("needs --yes"));
    assert_eq!(kdir.names("."), [".lock", "app-0", "app.json"]);
}

#[test]
fn removes_every_trace_of_the_topic_and_of_no_other() {
    let kdir = Kdir::with_topic("app", 2);
    kdir.run(&["create", "app-2"]).success();
    kdir.produce("app", b"a\nb\n");
    kdir.run(&["delete-records", "app", "--before-offset", "latest"]).success();
    kdir.run(&["delete", "app", "--yes"]).success().stdout("").stderr(contains("deleted topic app"));
    assert_eq!(kdir.names("."), [".lock", "app-2-0", "app-2.json", "log-start-offset-checkpoint"]);
    kdir.run(&["create", "app"]).success();
    kdir.produce("app", b"new\n");
    assert_eq!(kdir.text(&["consume", "app"]), "new\n");
}

#[test]
fn an_unknown_topic_stops_it_before_anything_goes() {
    let kdir = Kdir::with_topic("app", 1);
    kdir.run(&["delete", "app", "nope", "--yes"]).code(1).stderr(contains("there is no topic nope"));
    assert_eq!(kdir.text(&["list", "-o", "tsv"]), "app\t1\t0\t0\n");
}
