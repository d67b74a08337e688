//! `kdir export`: what is in the file, while others write, and what is refused.

use crate::support::{Kdir, Running, cut, flip};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with, starts_with};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// What the export of these words prints on stdout.
pub(crate) fn exported(kdir: &Kdir, args: &[&str]) -> Vec<u8> {
    kdir.stdout(&[&["-q", "export"], args].concat())
}

/// A log dir into which that file was imported, and which is sound.
pub(crate) fn imported(tar: &[u8], options: &[&str]) -> Kdir {
    let copy = Kdir::new();
    copy.feed(&[&["-q", "import"], options].concat(), tar).code(0).stdout("").stderr("");
    copy.run(&["-q", "verify"]).code(0).stdout("").stderr("");
    copy
}

/// Names and sizes of the members, as tar lists them.
pub(crate) fn members(tar: &[u8]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.tar");
    fs::write(&path, tar).unwrap();
    let output = Command::new("tar").arg("tf").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Both ways to read all records of a topic.
fn read(kdir: &Kdir, log_dir: &str, topic: &str) -> Vec<String> {
    let of = |isolation| {
        kdir.text(&[
            "-q",
            "consume",
            topic,
            "-d",
            log_dir,
            "-o",
            "json",
            "--order",
            "partition",
            "--isolation",
            isolation,
        ])
    };
    vec![of("read-uncommitted"), of("read-committed")]
}

#[test]
fn a_topic_comes_back_with_its_id_configuration_log_start_and_groups() {
    let kdir = Kdir::with_topic("app", &["-P", "12", "-c", "segment.bytes=4000", "--retention", "30d"]);
    let lines: String = (0..3000).map(|number| format!("k{number}:value {number}\n")).collect();
    kdir.produce("app", &["-K", ":", "--batch-size", "200"], lines);
    kdir.run(&["-q", "delete-records", "app", "--before-offset", "3:7", "--yes"]).code(0);
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", "app:0,3", "--to", "10"]).code(0);
    let tar = exported(&kdir, &["app"]);
    let copy = imported(&tar, &[]);
    assert_eq!(copy.text(&["consume", "app", "-o", "json"]), kdir.text(&["consume", "app", "-o", "json"]));
    for path in ["app.json", "app-3/partition.metadata", "app-3/leader-epoch-checkpoint"] {
        assert_eq!(fs::read(copy.path(path)).unwrap(), fs::read(kdir.path(path)).unwrap(), "{path}");
    }
    for folder in (0..12).map(|partition| format!("app-{partition}")) {
        let is_kept = |name: &String| name != "durable-end" && !name.ends_with(".group");
        let names = |of: &Kdir| of.entries(&folder).into_iter().filter(is_kept).collect::<Vec<_>>();
        assert_eq!(names(&copy), names(&kdir));
        for name in names(&kdir).iter().filter(|name| name.ends_with(".log")) {
            let path = format!("{folder}/{name}");
            assert!(fs::read(copy.path(&path)).unwrap() == fs::read(kdir.path(&path)).unwrap(), "{path}");
        }
    }
    let describe = ["groups", "describe", "billing", "-o", "json"];
    let positions = |of: &Kdir| {
        let row = |row: Value| (row["partition"].clone(), row["committed"].clone(), row["lag"].clone());
        of.json(&describe).into_iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(positions(&copy), positions(&kdir));
    // Offsets go on where they ended.
    copy.produce("app", &["-p", "0"], "next\n");
    copy.run(&["-q", "verify"]).code(0);
}

#[test]
fn every_topic_that_kafka_wrote_reads_the_same_from_an_import() {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");
    let kdir = Kdir::new();
    let run = kdir.run(&["export", "*", "-d", data]).code(0);
    let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
    let warning = "warning: the configuration of topic v0-gzip is in the metadata of a Kafka broker";
    assert!(said.contains(warning), "{said}");
    // Open transactions are notes, here as there.
    let copy = Kdir::new();
    copy.feed(&["-q", "import"], run.get_output().stdout.clone()).code(0).stdout("").stderr("");
    let verdict =
        |log_dir: &str| kdir.run(&["-q", "verify", "-d", log_dir, "-o", "tsv"]).code(0).get_output().stdout.clone();
    let copied = copy.log_dir();
    let copied = copied.to_str().unwrap();
    let theirs = String::from_utf8(verdict(data)).unwrap().replace(data, copied);
    assert_eq!(String::from_utf8(verdict(copied)).unwrap(), theirs);
    let topics = kdir.text(&["list", "-d", data, "-o", "tsv"]);
    assert!(topics.lines().count() > 100);
    for topic in topics.lines().map(|line| line.split('\t').next().unwrap()) {
        assert_eq!(read(&kdir, copied, topic), read(&kdir, data, topic), "{topic}");
    }
}

#[test]
fn what_brokers_keep_beside_segments_comes_along() {
    let kdir = Kdir::new();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");
    let tar = kdir.stdout(&["-q", "export", "transactions-indexed", "-d", data]);
    let copy = imported(&tar, &[]);
    let name = "transactions-indexed-0/00000000000000000000.txnindex";
    assert!(members(&tar).contains(&name.to_owned()), "{:?}", members(&tar));
    assert_eq!(fs::read(copy.path(name)).unwrap(), fs::read(Path::new(data).join(name)).unwrap());
}

#[test]
fn a_compacted_topic_is_the_same_and_is_not_compacted_from_the_start_again() {
    let kdir = crate::compact::users(&[]);
    kdir.run(&["-q", "compact", "users"]).code(0);
    let copy = imported(&exported(&kdir, &["users"]), &[]);
    assert_eq!(copy.text(&["consume", "users", "-o", "json"]), kdir.text(&["consume", "users", "-o", "json"]));
    let row = |of: &Kdir| fs::read_to_string(of.path("cleaner-offset-checkpoint")).unwrap();
    assert_eq!(row(&copy), row(&kdir));
}

#[test]
fn the_longest_name_goes_through_a_tar() {
    let name = "t".repeat(249);
    let kdir = Kdir::with_topic(&name, &["-P", "2"]);
    kdir.produce(&name, &[], "one\ntwo\n");
    let tar = exported(&kdir, &[&name]);
    assert!(members(&tar).contains(&format!("{name}-1/00000000000000000000.log")));
    assert_eq!(imported(&tar, &[]).values(&name), "one\ntwo\n");
}

#[test]
fn a_file_is_a_cut_at_whole_batches_while_four_producers_write() {
    let kdir = Kdir::with_topic("app", &["-P", "3", "-c", "segment.bytes=20000"]);
    let mut producers: Vec<Running> =
        (0..4).map(|_| Running::start(kdir.process(&["-q", "produce", "app", "--batch-size", "500"]))).collect();
    let (mut sent, mut seen) = (0, 0);
    for round in 0..8 {
        for (number, producer) in producers.iter_mut().enumerate() {
            let lines: String = (0..300).map(|line| format!("{number} {sent} {line} {}\n", "x".repeat(50))).collect();
            producer.write(lines);
        }
        sent += 1;
        let tar = exported(&kdir, &["app"]);
        let copy = imported(&tar, &[]);
        let copied = copy.text(&["consume", "app", "-o", "json", "--order", "partition"]);
        // The copy is what the source had up to each end of the copy.
        let all = kdir.text(&["consume", "app", "-o", "json", "--order", "partition"]);
        let all: std::collections::HashSet<&str> = all.lines().collect();
        assert!(copied.lines().all(|line| all.contains(line)), "round {round}");
        let ends = copy.json(&["describe", "app", "-o", "json"]);
        let offsets: i64 = ends.iter().map(|row| row["log_end_offset"].as_i64().unwrap()).sum();
        assert_eq!(copied.lines().count() as i64, offsets, "round {round}: no record is missing below the ends");
        assert!(offsets >= seen, "round {round}");
        seen = offsets;
    }
    assert!(seen > 0);
    for mut producer in producers.drain(..) {
        producer.end_input();
        assert_eq!(producer.wait().0, Some(0));
    }
    let copy = imported(&exported(&kdir, &["app"]), &[]);
    let sorted = |of: &Kdir| of.text(&["consume", "app", "-o", "json", "--order", "partition"]);
    assert_eq!(sorted(&copy), sorted(&kdir));
}

#[test]
fn a_slice_begins_at_exactly_the_record_that_was_asked_for() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=400"]);
    for number in (0..100).step_by(10) {
        let values: String = (number..number + 10).map(|it| format!("v{it}\n")).collect();
        kdir.produce("app", &["--timestamp", &format!("@{}", 1000 + number), "--batch-size", "300"], values);
    }
    let records = |of: &Kdir| of.json(&["consume", "app", "-o", "json"]);
    let all = records(&kdir);
    for (options, first) in [
        (&["--from-offset", "57"][..], 57),
        (&["--from-offset", "0:57"], 57),
        (&["--from-offset", "-3"], 97),
        (&["--from-offset", "latest"], 100),
        (&["--from-offset", "earliest"], 0),
        (&["--since", "@1050"], 50),
        (&["--since", "@1051"], 60),
        (&["--since", "@5000"], 100),
    ] {
        let tar = exported(&kdir, &[&["app"], options].concat());
        let copy = imported(&tar, &[]);
        assert_eq!(records(&copy), all[first..], "{options:?}");
        let row = copy.json(&["describe", "app", "-o", "json"]).swap_remove(0);
        assert_eq!((&row["log_start_offset"], &row["log_end_offset"]), (&first.into(), &100.into()), "{options:?}");
        copy.produce("app", &[], "next\n");
        assert_eq!(records(&copy).last().unwrap()["offset"], 100, "{options:?}");
        copy.run(&["-q", "verify"]).code(0);
        // Segments wholly below it are not in the file.
        let logs = |tar: &[u8]| members(tar).iter().filter(|name| name.ends_with(".log")).count();
        assert!(first < 50 || logs(&tar) < logs(&exported(&kdir, &["app"])), "{options:?}");
    }
    kdir.run(&["export", "app", "--from-offset", "101"])
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: app-0: offset 101 is outside the log, which goes from 0 (log start offset) to 100"));
    kdir.create("many", &["-P", "3"]);
    kdir.run(&["export", "many", "--from-offset", "5"])
        .code(2)
        .stdout("")
        .stderr("kdir: topic many has 3 partitions: give each its offset, as in 0:100,1:250\n");
    kdir.run(&["export", "app", "many", "--from-offset", "5"])
        .code(2)
        .stdout("")
        .stderr("kdir: an offset is one of a single topic: name one topic, or use --since TIME\n");
}

#[test]
fn a_damaged_batch_ends_an_export_that_nobody_can_import() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=2000"]);
    kdir.produce("app", &["--batch-size", "300"], format!("{}\n", "v".repeat(80)).repeat(200));
    let sound = exported(&kdir, &["app"]).len();
    flip(&kdir.segment("app-0", 0, "log"), 700);
    let run = kdir.run(&["export", "app"]).code(4);
    let output = run.get_output();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let place = format!("kdir: {} is corrupt at position ", kdir.segment("app-0", 0, "log").display());
    assert!(stderr.starts_with(&place) && stderr.contains("(offset "), "{stderr}");
    assert!(output.stdout.len() < sound);
    let copy = Kdir::new();
    copy.feed(&["import"], output.stdout.clone()).code(4).stdout("").stderr(contains("the input is truncated"));
    assert_eq!(copy.entries(""), [".lock"]);
}

#[test]
fn the_half_written_end_of_a_log_is_left_out() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--batch-size", "1"], "one\ntwo\n");
    cut(&kdir.segment("app-0", 0, "log"), 3);
    kdir.forget_durable_end("app-0");
    fs::remove_file(kdir.path("recovery-point-offset-checkpoint")).unwrap();
    let before = kdir.contents();
    let copy = imported(&exported(&kdir, &["app"]), &[]);
    assert_eq!(copy.values("app"), "one\n");
    assert!(kdir.contents() == before, "an export reads only");
}

#[test]
fn a_log_dir_that_cannot_be_written_to_or_that_a_broker_holds_is_exported() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\n");
    let _broker = crate::support::hold_as_a_broker(&kdir.path(".lock"));
    let modes = |mode| {
        use std::os::unix::fs::PermissionsExt;
        for path in [kdir.log_dir(), kdir.path("app-0")] {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    modes(0o555);
    let mut child = kdir.process_bound_by_modes(&["-q", "export", "app"]).spawn().unwrap();
    let mut tar = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut tar).unwrap();
    assert!(child.wait().unwrap().success());
    modes(0o755);
    assert_eq!(imported(&tar, &[]).values("app"), "one\n");
}

#[test]
fn a_terminal_is_refused_and_a_closed_pipe_is_a_quiet_end() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], format!("{}\n", "v".repeat(100)).repeat(20_000));
    let (code, shown) = kdir.on_a_terminal(&["export", "app"], "");
    assert_eq!(code, 2);
    assert!(shown.starts_with("kdir: export writes a tar file to stdout, which is a terminal"), "{shown}");
    let script = "\"$0\" export app | head -c 1000 >/dev/null";
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", script, env!("CARGO_BIN_EXE_kdir")]);
    let output = command.env("KDIR_LOG_DIR", kdir.log_dir()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_summary_names_what_went_out_and_quiet_says_nothing() {
    let kdir = Kdir::with_topic("app", &["-P", "2"]);
    kdir.produce("app", &[], "one\ntwo\nthree\n");
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", "app", "--to", "earliest"]).code(0);
    kdir.run(&["export", "app"]).code(0).stderr(
        starts_with("exported topic app with 2 partitions, 3 records and the offsets of 1 group (")
            .and(ends_with(" B)\n")),
    );
    kdir.run(&["export", "app", "--no-groups"]).code(0).stderr(contains("the offsets of 0 groups"));
    kdir.run(&["-q", "export", "app"]).code(0).stderr("");
    kdir.run(&["export", "nope"]).code(1).stdout("").stderr(starts_with("kdir: there is no topic nope in "));
}
