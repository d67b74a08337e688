//! `kdir repair`.

use crate::support::{Kdir, cut, flip, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with};
use std::fs;
use std::path::Path;

/// What a command says that stops where records are lost.
const GO_ON: &str = "`kdir repair --dry-run --accept-loss app` shows which records would be given up, `kdir repair \
                     --accept-loss app` gives them up";

/// Twelve records in four segments.
fn topic() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=240", "-c", "index.interval.bytes=0"]);
    let lines: String = (0..12).map(|number| format!("line {number}\n")).collect();
    kdir.produce("app", &["--batch-size", "1"], lines);
    kdir
}

#[test]
fn changes_no_byte_of_what_is_sound() {
    let kdir = topic();
    fs::remove_file(kdir.path(".lock")).unwrap();
    let before = kdir.contents();
    kdir.run(&["repair"]).code(0).stdout("").stderr("nothing is wrong, nothing was changed\n");
    kdir.run(&["repair", "--accept-loss"]).code(0).stdout("").stderr("nothing is wrong, nothing was changed\n");
    assert_eq!(kdir.contents(), before);
}

#[test]
fn a_dry_run_says_what_would_be_done_and_changes_nothing() {
    let kdir = topic();
    flip(&kdir.segment("app-0", 3, "index"), 3);
    let before = kdir.contents();
    // An index is derived from the log.
    kdir.run(&["repair", "-n", "-o", "tsv"])
        .code(0)
        .stdout(ends_with("\trebuild the indexes of the segment\t\t\t\t\n"))
        .stderr("1 finding, nothing was changed\n");
    assert_eq!(kdir.contents(), before);
}

#[test]
fn rebuilds_indexes_and_cuts_and_keeps_a_torn_tail() {
    let kdir = topic();
    let before = kdir.contents();
    flip(&kdir.segment("app-0", 3, "index"), 3);
    // What a crash before the last sync leaves.
    fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
    kdir.forget_durable_end("app-0");
    cut(&kdir.segment("app-0", 9, "log"), 5);
    let done = format!(
        "cut 70 bytes of a batch left half written from {} at position 149; it is kept as {}\nrepaired 2 findings, 0 left\n",
        kdir.segment("app-0", 9, "log").display(),
        kdir.path("app-0/cut-00000000000000000009-149").display()
    );
    kdir.run(&["repair"]).code(0).stderr(done);
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    let after = kdir.contents();
    let index = "app-0/00000000000000000003.index";
    assert_eq!(after[index], before[index]);
    assert_eq!(kdir.values("app").lines().count(), 11);
    assert!(after.contains_key("app-0/cut-00000000000000000009-149"));
}

#[test]
fn gives_records_up_only_when_it_is_asked_to() {
    let kdir = topic();
    flip(&kdir.segment("app-0", 3, "log"), 70);
    let before = kdir.contents();
    kdir.run(&["repair"])
        .code(4)
        .stdout(contains("nothing without --accept-loss"))
        .stderr(format!("1 finding, nothing was changed\nhint: {GO_ON}\n"));
    assert_eq!(kdir.contents(), before);
    kdir.run(&["consume", "app"])
        .code(4)
        .stdout("line 0\nline 1\nline 2\n")
        .stderr(ends_with(format!("hint: {GO_ON}\n")));
    let cost = "gives up offsets 3 to 3 of app-0, at most 1 record; witness: the bytes themselves\n";
    kdir.run(&["repair", "app", "--accept-loss", "--dry-run"])
        .code(4)
        .stdout(contains(cost))
        .stderr("1 finding, nothing was changed; at most 1 record would be given up\n");
    assert_eq!(kdir.contents(), before);
    kdir.run(&["repair", "app", "--accept-loss"])
        .code(0)
        .stdout(contains(cost))
        .stderr("repaired 1 finding, 0 left; at most 1 record given up\n");
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    let expected: String = (0..12).filter(|it| *it != 3).map(|number| format!("line {number}\n")).collect();
    assert_eq!(kdir.values("app"), expected);
    assert!(kdir.path("app-0/cut-00000000000000000003-0").is_file());
    kdir.produce("app", &[], "after\n");
    let last = kdir.json(&["consume", "app", "-o", "json", "--from-offset", "-1"]);
    assert_eq!((last[0]["offset"].as_i64(), last[0]["value"].as_str()), (Some(12), Some("after")));
}

#[test]
fn makes_a_damaged_topic_file_anew_without_a_limit_on_retention() {
    let kdir = topic();
    kdir.create("other", &[]);
    let damaged = fs::read_to_string(kdir.path("app.json")).unwrap().replace('{', "[");
    fs::write(kdir.path("app.json"), &damaged).unwrap();
    let said = format!("kdir: {} is damaged: ", kdir.path("app.json").display());
    kdir.run(&["list", "-o", "tsv"]).code(4).stdout("other\t1\t0\t0\n").stderr(contains(&said));
    kdir.run(&["consume", "app"])
        .code(4)
        .stdout("")
        .stderr(contains(&said).and(contains("hint: `kdir repair app` keeps")));
    kdir.run(&["verify", "-o", "tsv"]).code(4).stdout(contains("damaged-file").count(1));
    kdir.run(&["repair", "-q"]).code(0).stderr("");
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    assert_eq!(kdir.values("app").lines().count(), 12);
    let config = &kdir.json(&["describe", "app", "-o", "json"])[0]["config"];
    assert_eq!(*config, serde_json::json!({ "retention.bytes": "-1", "retention.ms": "-1" }));
    assert_eq!(fs::read_to_string(kdir.path("app.json.damaged")).unwrap(), damaged);
    let id = |text: String| text.rsplit_once(' ').unwrap().1.to_owned();
    let metadata = fs::read_to_string(kdir.path("app-0/partition.metadata")).unwrap();
    assert!(fs::read_to_string(kdir.path("app.json")).unwrap().contains(&id(metadata)), "the topic id is kept");
}

#[test]
fn keeps_the_log_starts_that_a_damaged_checkpoint_still_tells() {
    let kdir = topic();
    kdir.create("other", &[]);
    kdir.run(&["-q", "delete-records", "--yes", "app", "--before-offset", "5"]).code(0);
    let file = kdir.path("log-start-offset-checkpoint");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("0\n1\n", "0\n2\n")).unwrap();
    kdir.run(&["consume", "app"]).code(4).stdout("");
    kdir.run(&["repair", "-q"]).code(0).stderr("");
    assert_eq!(kdir.values("app").lines().next(), Some("line 5"));
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
}

#[test]
fn begins_a_missing_partition_anew_behind_its_lost_records() {
    let kdir = topic();
    fs::remove_dir_all(kdir.path("app-0")).unwrap();
    kdir.run(&["repair", "-q"]).code(4);
    assert!(!kdir.path("app-0").exists());
    kdir.run(&["repair", "-q", "--accept-loss"]).code(0);
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    kdir.produce("app", &[], "after\n");
    let records = kdir.records("app");
    assert_eq!(records.len(), 1);
    assert!(
        records[0]["offset"].as_i64().unwrap() >= 9,
        "no offset below the recovery point is given again: {records:?}"
    );
}

#[test]
fn leaves_a_directory_that_a_broker_holds() {
    let kdir = topic();
    flip(&kdir.segment("app-0", 3, "index"), 3);
    let before = kdir.contents();
    let broker = crate::support::hold_as_a_broker(&kdir.path(".lock"));
    kdir.run(&["repair"]).code(1).stderr(contains("is in use by a running Kafka broker"));
    drop(broker);
    assert_eq!(kdir.contents(), before);
}

type Damage = dyn Fn(&Kdir, &Path);

/// Damage below what the end of a run promises, where Kafka's own recovery point is still 0: each command takes it for what
/// it is, and a repair that may give records up lets producers in again.
#[test]
fn damage_of_what_a_run_has_acknowledged_is_seen_by_every_command_and_mended() {
    let flipped = |_: &Kdir, log: &Path| flip(log, fs::metadata(log).unwrap().len() as usize - 3);
    let cut_short = |_: &Kdir, log: &Path| cut(log, fs::metadata(log).unwrap().len() / 3);
    let removed = |kdir: &Kdir, _: &Path| {
        for name in kdir.entries("app-0").iter().filter(|name| name.starts_with('0')) {
            fs::remove_file(kdir.path(&format!("app-0/{name}"))).unwrap();
        }
    };
    let cases: [(&str, &Damage, &str); 3] = [
        ("damaged-batch", &flipped, "v0\nv1\n"),
        ("ends-below-recovery-point", &cut_short, "v0\nv1\n"),
        ("ends-below-recovery-point", &removed, ""),
    ];
    for (problem, damage, left) in cases {
        let kdir = Kdir::with_topic("app", &[]);
        for value in ["v0\n", "v1\n", "v2\n"] {
            kdir.produce("app", &[], value);
        }
        damage(&kdir, &kdir.segment("app-0", 0, "log"));
        let found = kdir.command(&["verify", "-o", "json"]).assert().code(4);
        let problems = json_lines(&found.get_output().stdout);
        assert_eq!(problems.iter().map(|it| &it["problem"]).collect::<Vec<_>>(), [problem]);
        kdir.feed(&["-q", "produce", "app"], "no\n").code(4);
        kdir.run(&["-q", "repair"]).code(4);
        kdir.run(&["-q", "repair", "--accept-loss"]).code(0);
        kdir.feed(&["-q", "produce", "app", "-o", "json"], "v3\n").code(0).stdout(contains("\"base_offset\":3"));
        assert_eq!(kdir.values("app"), format!("{left}v3\n"));
        kdir.assert_sound();
    }
}
