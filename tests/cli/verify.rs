//! `kdir verify`.

use crate::support::{Kdir, cut, flip};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

/// A topic with two partitions, ten records in each, a few segments.
fn topic() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-P", "2", "-c", "segment.bytes=300", "-c", "index.interval.bytes=0"]);
    let lines: String = (0..20).map(|number| format!("line {number}\n")).collect();
    kdir.produce("app", &["--batch-size", "1"], lines);
    kdir
}

#[test]
fn says_that_nothing_is_wrong() {
    let kdir = topic();
    let bytes: u64 = ["app-0", "app-1"]
        .iter()
        .flat_map(|folder| fs::read_dir(kdir.path(folder)).unwrap())
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|it| it == "log"))
        .map(|entry| entry.metadata().unwrap().len())
        .sum();
    let said = format!(
        "checked 20 records in 6 segments of 2 partitions: {:.1} KiB, nothing is wrong\n",
        bytes as f64 / 1024.0
    );
    for args in [&["verify"][..], &["verify", "app"]] {
        kdir.run(args).code(0).stdout("").stderr(said.clone());
    }
    kdir.run(&["verify", "-q"]).code(0).stdout("").stderr("");
    kdir.run(&["verify", "other"]).code(1).stdout("").stderr(starts_with("kdir: there is no topic other in "));
}

#[test]
fn reports_each_finding_with_file_position_and_offset() {
    let kdir = topic();
    let log = kdir.segment("app-1", 0, "log");
    flip(&log, 70);
    fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
    kdir.forget_durable_end("app-0");
    cut(&kdir.segment("app-0", 8, "log"), 5);
    flip(&kdir.segment("app-0", 4, "index"), 3);
    let expected = "\
        app-0/00000000000000000004.index  position 0  offset 4\n    \
            derived: the entry has offset 258, at which no batch ends\n    \
            nothing is lost and no answer is wrong, look-ups take longer; repair rebuilds the index\n\
        app-0/00000000000000000008.log  position 75  offset 9\n    \
            unfinished: the batch is cut short\n    \
            70 bytes of an append that never ended, which the next producer or repair cuts; nothing acknowledged was in \
            them unless the disk has lied\n\
        app-1/00000000000000000000.log  position 0  offset 0\n    \
            damaged: the checksum of the batch does not match its bytes\n    \
            the record at offset 0 is lost; repair --accept-loss goes on without\n";
    kdir.run(&["verify"]).code(4).stdout(expected).stderr(contains("3 findings\n"));
    let rows = kdir.command(&["verify", "-o", "json"]).assert().code(4);
    let rows = crate::support::json_lines(&rows.get_output().stdout);
    let told: Vec<(String, i64, i64)> = rows
        .iter()
        .map(|row| {
            let number = |field: &str| row[field].as_i64().unwrap();
            (row["problem"].as_str().unwrap().to_owned(), number("position"), number("offset"))
        })
        .collect();
    let expected = [("wrong-index-entries", 0, 4), ("torn-tail", 75, 9), ("damaged-batch", 0, 0)]
        .map(|(it, at, offset)| (it.to_owned(), at, offset));
    assert_eq!(told, expected);
    assert_eq!(rows[2]["path"].as_str().unwrap(), log.to_str().unwrap());
    assert_eq!(
        rows[2]["meaning"].as_str().unwrap(),
        "the record at offset 0 is lost; repair --accept-loss goes on without"
    );
    kdir.run(&["verify", "-o", "tsv"]).code(4).stdout(contains("app\t1\t").count(1));
}

#[test]
fn finds_what_is_wrong_with_small_files_and_goes_on() {
    let kdir = topic();
    fs::write(kdir.path("log-start-offset-checkpoint"), "nonsense").unwrap();
    fs::write(kdir.path("app-0/leader-epoch-checkpoint"), "0\n1\nx y\n").unwrap();
    fs::write(kdir.path("app-1/partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ").unwrap();
    fs::write(kdir.path("app-1/x.log"), "").unwrap();
    fs::write(kdir.path("app-1/00000000000000000000.timeindex.swap"), "").unwrap();
    let rows = kdir.command(&["verify", "-o", "json"]).assert().code(4);
    let rows = crate::support::json_lines(&rows.get_output().stdout);
    let mut problems: Vec<&str> = rows.iter().map(|row| row["problem"].as_str().unwrap()).collect();
    problems.sort_unstable();
    let expected = ["damaged-file", "damaged-file", "interrupted-compaction", "stops-a-broker", "wrong-topic-id"];
    assert_eq!(problems, expected);
}

#[test]
fn names_the_records_of_a_folder_that_is_missing() {
    let kdir = topic();
    let rows = fs::read_to_string(kdir.path("recovery-point-offset-checkpoint")).unwrap();
    let row = rows.lines().find(|row| row.starts_with("app 1 ")).unwrap();
    let durable: u64 = row.rsplit_once(' ').unwrap().1.parse().unwrap();
    fs::remove_dir_all(kdir.path("app-1")).unwrap();
    let meaning = format!("the records at offsets 0 to {} are lost;", durable - 1);
    kdir.run(&["verify", "-o", "tsv"]).code(4).stdout(contains("missing-folder").and(contains(meaning)));
    kdir.run(&["consume", "app", "-p", "1"]).code(4).stdout("").stderr(contains("there is no segment, and everything"));
    kdir.feed(&["produce", "app", "-p", "1"], "x\n").code(4).stdout("");
    assert!(!kdir.path("app-1").exists(), "nothing takes the place of lost records unasked");
}

#[test]
fn writes_nothing_even_where_it_may_not() {
    let kdir = topic();
    flip(&kdir.segment("app-1", 0, "log"), 70);
    fs::remove_file(kdir.path(".lock")).unwrap();
    let before = kdir.contents();
    kdir.run(&["verify", "-q"]).code(4).stderr("");
    assert_eq!(kdir.contents(), before);
}

#[test]
fn a_broker_that_has_truncated_after_records_were_deleted_has_lost_none() {
    let kdir = Kdir::with_topic("app", &[]);
    let lines = |from: u32| (from..from + 100).map(|number| format!("{number}\n")).collect::<String>();
    kdir.produce("app", &[], lines(0));
    let size = fs::metadata(kdir.segment("app-0", 0, "log")).unwrap().len();
    kdir.produce("app", &[], lines(100));
    kdir.run(&["-q", "delete-records", "app", "--yes", "--before-offset", "50"]).code(0);
    // As a broker does that begins an epoch: rows below the log start are gone.
    fs::File::options().write(true).open(kdir.segment("app-0", 0, "log")).unwrap().set_len(size).unwrap();
    for kind in ["index", "timeindex"] {
        fs::remove_file(kdir.segment("app-0", 0, kind)).unwrap();
    }
    fs::write(kdir.path("app-0/leader-epoch-checkpoint"), "0\n2\n0 50\n5 100\n").unwrap();
    kdir.run(&["verify", "app"]).code(0).stderr(contains("no record is lost").or(contains("nothing is wrong")));
    assert_eq!(kdir.values("app").lines().count(), 50);
    kdir.produce("app", &[], "more\n");
}
