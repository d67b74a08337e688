//! Disks of brokers, damaged or unusual, and what kdir says of them. `tests/data/damaged/ORIGIN.md` says where those come from.

use crate::support::{Kdir, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with, starts_with};
use std::fs;
use std::path::Path;

/// A log dir with a copy of what is in `tests/data/damaged/<name>`.
fn disk(name: &str) -> Kdir {
    let kdir = Kdir::new();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/damaged").join(name);
    copy(&data, &kdir.log_dir());
    kdir
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Problem and severity of each finding, and the exit code of `verify`.
pub(crate) fn verdict(kdir: &Kdir) -> (Vec<(String, String)>, i32) {
    let output = kdir.command(&["verify", "-q", "-o", "json"]).output().unwrap();
    let word = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap().to_owned();
    let rows = json_lines(&output.stdout);
    (rows.iter().map(|row| (word(row, "problem"), word(row, "severity"))).collect(), output.status.code().unwrap())
}

pub(crate) fn findings(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(problem, severity)| (problem.to_owned(), severity.to_owned())).collect()
}

/// Makes the log dir a broker's, with these high watermarks.
fn as_a_broker_left_it(kdir: &Kdir, topic: &str, high_watermark: u64) {
    fs::remove_file(kdir.path(&format!("{topic}.json"))).unwrap();
    for name in ["recovery-point-offset-checkpoint", "topic-0/durable-end"] {
        let _ = fs::remove_file(kdir.path(&name.replace("topic", topic)));
    }
    let text = format!("0\n1\n{topic} 0 {high_watermark}\n");
    fs::write(kdir.path("replication-offset-checkpoint"), text).unwrap();
}

#[test]
fn a_sound_follower_of_a_compacted_topic_keeps_its_offsets() {
    for (name, records) in [("f-renumber-compacted-follower", 1), ("f-follower-gap", 898)] {
        let kdir = disk(name);
        let before = kdir.contents();
        assert_eq!(verdict(&kdir), (findings(&[("gaps", "note")]), 0), "{name}");
        for args in [&["repair"][..], &["repair", "--accept-loss"]] {
            kdir.run(args).code(0).stderr(ends_with("1 finding, nothing was changed\n"));
        }
        assert_eq!(kdir.contents(), before, "{name}");
        let topic = if name == "f-follower-gap" { "comp2" } else { "ev" };
        assert_eq!(kdir.json(&["consume", topic, "-o", "json"]).len(), records);
    }
}

#[test]
fn a_log_that_ends_below_the_high_watermark_has_lost_records_and_no_producer_goes_on() {
    let kdir = disk("f-zero-tail");
    let before = kdir.contents();
    assert_eq!(verdict(&kdir), (findings(&[("ends-below-high-watermark", "lost")]), 4));
    let promise = "everything below the high watermark 500 was acknowledged";
    kdir.run(&["verify"]).code(4).stdout(contains(promise).and(contains("the records at offsets 0 to 499 are lost")));
    kdir.feed(&["-q", "produce", "gz"], "one\n").code(4).stdout("").stderr(contains(promise));
    kdir.run(&["-q", "repair"]).code(4);
    let mut after = kdir.contents();
    after.retain(|name, _| before.contains_key(name));
    assert_eq!(after["gz-0/00000000000000000000.log"], before["gz-0/00000000000000000000.log"]);
    kdir.run(&["-q", "repair", "--accept-loss"]).code(0);
    assert_eq!(verdict(&kdir), (Vec::new(), 0));
    kdir.feed(&["-q", "produce", "gz"], "one\n").code(0);
    assert_eq!(kdir.json(&["consume", "gz", "-o", "json"])[0]["offset"], 500, "no offset is given twice");
}

#[test]
fn what_a_broker_acknowledged_before_it_was_synced_is_not_called_unacknowledged() {
    for (high_watermark, problems) in
        [(0, &[("torn-tail", "damaged")][..]), (2, &[("torn-tail", "damaged")]), (3, &[("damaged-batch", "damaged")])]
    {
        let kdir = Kdir::with_topic("app", &[]);
        kdir.produce("app", &["--batch-size", "1"], "a\nb\nc\n");
        as_a_broker_left_it(&kdir, "app", high_watermark);
        crate::support::cut(&kdir.segment("app-0", 0, "log"), 3);
        let (found, code) = verdict(&kdir);
        assert_eq!((&found, code), (&findings(problems), 4), "{high_watermark}");
        kdir.run(&["verify"]).code(4).stdout(contains("nothing acknowledged was in them").not());
    }
}

#[test]
fn a_log_that_was_removed_from_beside_its_indexes_is_missed() {
    let kdir = Kdir::with_topic("app", &["-c", "index.interval.bytes=0"]);
    kdir.produce("app", &["--batch-size", "1"], "a\nb\nc\n");
    as_a_broker_left_it(&kdir, "app", 0);
    fs::remove_file(kdir.segment("app-0", 0, "log")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("missing-log", "damaged")]), 4));
    fs::write(kdir.path("replication-offset-checkpoint"), "0\n1\napp 0 3\n").unwrap();
    let expected = findings(&[("ends-below-high-watermark", "lost"), ("missing-log", "damaged")]);
    assert_eq!(verdict(&kdir), (expected, 4));
}

#[test]
fn readers_do_without_damaged_files_at_the_root_and_say_so() {
    for name in ["recovery-point-offset-checkpoint", "replication-offset-checkpoint", "cleaner-offset-checkpoint"] {
        for content in [&[0; 300][..], b"x", b"0\n1\n"] {
            let kdir = Kdir::with_topic("app", &[]);
            kdir.produce("app", &[], "one\n");
            fs::write(kdir.path(name), content).unwrap();
            let warning =
                format!("warning: going on without a file of the log dir: {} is damaged: ", kdir.path(name).display());
            for args in
                [&["consume", "app"][..], &["list"], &["describe", "app"], &["offsets", "app", "--at", "latest"]]
            {
                kdir.run(args).code(0).stderr(starts_with(&warning));
            }
            assert_eq!(kdir.stdout(&["consume", "app", "-q"]), b"one\n");
        }
    }
}

#[test]
fn a_folder_is_a_topics_only_if_it_shows_it() {
    let kdir = Kdir::with_topic("app", &[]);
    let put = |name: &str, content: &str| {
        let path = kdir.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("photos-2024/a.jpg", "jpg");
    put("photos.json", "{\"albums\": 3}");
    put("myproject-1/thesis.doc", "doc");
    put("app-2024/b.jpg", "jpg");
    fs::create_dir(kdir.path("empty-3")).unwrap();
    let listed = || {
        let topics = kdir.json(&["list", "-q", "-o", "json"]);
        topics.iter().map(|topic| topic["topic"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(), ["app"]);
    for topic in ["photos", "myproject", "empty"] {
        kdir.run(&["delete", topic, "--yes"])
            .code(1)
            .stderr(starts_with(format!("kdir: there is no topic {topic} in ")));
    }
    kdir.run(&["-q", "delete", "my*", "--yes"]).code(1);
    // A topic is not made out of somebody else's folder, nor grows into it.
    kdir.run(&["create", "myproject", "-P", "2"])
        .code(1)
        .stderr(starts_with(format!("kdir: {} is in the way", kdir.path("myproject-1").display())));
    assert!(!kdir.path("myproject.json").exists());
    kdir.run(&["create", "photos"])
        .code(1)
        .stderr(starts_with(format!("kdir: {} is in the way", kdir.path("photos.json").display())));
    assert_eq!(fs::read_to_string(kdir.path("photos.json")).unwrap(), "{\"albums\": 3}");
    fs::remove_file(kdir.path("photos.json")).unwrap();
    kdir.run(&["-q", "create", "photos"]).code(0);
    kdir.run(&["-q", "alter", "photos", "--partitions", "2025"]).code(1);
    kdir.run(&["-q", "delete", "photos", "app", "--yes"]).code(0);
    for kept in ["photos-2024/a.jpg", "myproject-1/thesis.doc", "app-2024/b.jpg", "empty-3"] {
        assert!(kdir.path(kept).exists(), "{kept}");
    }
    assert_eq!(listed(), [""; 0]);
}

#[test]
fn a_partition_of_a_broker_is_known_by_any_of_its_files_and_an_empty_one_by_those_beside_it() {
    let kdir = Kdir::new();
    for (folder, file) in [
        ("a-0", "partition.metadata"),
        ("b-0", "leader-epoch-checkpoint"),
        ("c-0", "00000000000000000000.log"),
        ("d-0", "00000000000000000007.timeindex.deleted"),
        ("e-1", ".jpg"),
    ] {
        fs::create_dir_all(kdir.path(folder)).unwrap();
        let text = if file == "partition.metadata" { "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ" } else { "" };
        fs::write(kdir.path(folder).join(file), text).unwrap();
    }
    for empty in ["a-1", "e-0", "f-0"] {
        fs::create_dir(kdir.path(empty)).unwrap();
    }
    fs::write(kdir.path("replication-offset-checkpoint"), "0\n1\nf 0 0\n").unwrap();
    let topics = kdir.json(&["list", "-q", "-o", "json"]);
    let listed: Vec<_> =
        topics.iter().map(|it| (it["topic"].as_str().unwrap(), it["partitions"].as_i64().unwrap())).collect();
    assert_eq!(listed, [("a", 2), ("b", 1), ("c", 1), ("d", 1), ("f", 1)]);
}

#[test]
fn a_topic_with_something_else_in_its_folders_is_not_deleted() {
    for is_brokers in [false, true] {
        let kdir = Kdir::with_topic("app", &["-P", "2"]);
        kdir.produce("app", &[], "one\n");
        if is_brokers {
            fs::remove_file(kdir.path("app.json")).unwrap();
        }
        for name in ["app-1/thesis.doc", "app-1/cut-up.mp3"] {
            fs::write(kdir.path(name), "x").unwrap();
            let before = kdir.contents();
            kdir.run(&["delete", "app", "--yes"]).code(1).stderr(starts_with(format!(
                "kdir: {} is not a file of a partition: nothing was deleted\nhint: move it away first",
                kdir.path(name).display()
            )));
            assert_eq!(kdir.contents(), before);
            fs::remove_file(kdir.path(name)).unwrap();
        }
        fs::create_dir(kdir.path("app-0/more")).unwrap();
        kdir.run(&["-q", "delete", "app", "--yes"]).code(1);
        fs::remove_dir(kdir.path("app-0/more")).unwrap();
        kdir.run(&["-q", "delete", "app", "--yes"]).code(0);
        assert!(!kdir.path("app-0").exists() && !kdir.path("app-1").exists());
    }
}

/// Topics with one record a batch: `a` with two partitions, `b` and `c`.
fn three_topics() -> Kdir {
    let kdir = Kdir::with_topic("a", &["-P", "2"]);
    for (topic, partition) in [("a", "0"), ("a", "1"), ("b", "0"), ("c", "0")] {
        if topic != "a" {
            kdir.create(topic, &[]);
        }
        let lines: String = (0..10).map(|number| format!("{topic}{partition}{number}\n")).collect();
        kdir.produce(topic, &["-p", partition, "--batch-size", "1", "--timestamp", "@1"], lines);
    }
    kdir
}

#[test]
fn a_partition_that_cannot_be_read_keeps_no_other_from_being_read() {
    type Damage = (&'static str, fn(&Kdir), &'static str, usize);
    let damages: [Damage; 4] = [
        ("a bad batch", |kdir| crate::support::flip(&kdir.segment("a-1", 0, "log"), 5 * 71 + 65), "a-1/0000", 35),
        ("no log", |kdir| fs::remove_file(kdir.segment("a-1", 0, "log")).unwrap(), "a-1", 30),
        ("no folder", |kdir| fs::remove_dir_all(kdir.path("a-1")).unwrap(), "a-1", 30),
        (
            "a file in the place of the folder",
            |kdir| {
                fs::remove_dir_all(kdir.path("a-1")).unwrap();
                fs::write(kdir.path("a-1"), "x").unwrap();
            },
            "a-1",
            30,
        ),
    ];
    for (what, damage, named, records) in damages {
        let kdir = three_topics();
        damage(&kdir);
        let path = kdir.path(named).display().to_string();
        for order in ["time", "partition"] {
            let output = kdir.command(&["consume", "*", "--order", order]).output().unwrap();
            let stderr = String::from_utf8(output.stderr).unwrap();
            let expected = if what.starts_with("a file") { 1 } else { 4 };
            assert_eq!((output.status.code(), stderr.matches(&path).count()), (Some(expected), 1), "{what}: {stderr}");
            assert_eq!(output.stdout.split(|&byte| byte == b'\n').count() - 1, records, "{what}");
        }
        let listed = kdir.command(&["list", "-o", "tsv"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let rows: Vec<&str> = listed.lines().map(|line| line.split('\t').next().unwrap()).collect();
        assert_eq!(rows, ["a", "b", "c"], "{what}");
        assert!(listed.starts_with("a\t2\t10\t"), "{what}: {listed}");
        let described = kdir.command(&["describe", "-o", "tsv"]).output().unwrap();
        assert_eq!(String::from_utf8(described.stdout).unwrap().lines().count(), 3, "{what}");
    }
}

#[test]
fn a_follower_goes_on_with_the_partitions_that_can_be_read() {
    let kdir = three_topics();
    crate::support::flip(&kdir.segment("a-1", 0, "log"), 5 * 71 + 65);
    fs::remove_file(kdir.segment("b-0", 0, "log")).unwrap();
    let mut follower = crate::support::Running::start(kdir.process(&["consume", "*", "-F"]));
    let lines = follower.lines();
    for _ in 0..25 {
        crate::support::next(&lines);
    }
    kdir.produce("c", &[], "more\n");
    assert_eq!(crate::support::next(&lines), "more");
    kdir.create("d", &[]);
    kdir.produce("d", &[], "new\n");
    assert_eq!(crate::support::next(&lines), "new");
    follower.signal(rustix::process::Signal::TERM);
    let (_, _, stderr) = follower.wait();
    assert_eq!(stderr.matches("kdir: ").count(), 2, "{stderr}");
}

#[test]
fn a_reader_goes_on_behind_damage_if_it_is_told_to() {
    // Batches of 71 bytes: four to a segment, in the last one two.
    const SIZE: usize = 71;
    type Damage = (&'static str, u64, fn(&mut Vec<u8>), &'static [usize]);
    let damages: [Damage; 10] = [
        ("a value", 4, |log| log[SIZE + 67] ^= 1, &[5]),
        ("the first batch of all", 0, |log| log[67] ^= 1, &[0]),
        ("the end of a closed segment", 4, |log| log[3 * SIZE + 67] ^= 1, &[7]),
        ("zeros over two batches", 4, |log| log[SIZE + 30..2 * SIZE + 30].fill(0), &[5, 6]),
        ("a segment of zeros", 4, |log| log.fill(0), &[4, 5, 6, 7]),
        ("a length that leads out of the file", 4, |log| log[SIZE + 8] = 0x70, &[5]),
        ("a batch that is gone", 4, |log| drop(log.drain(SIZE..2 * SIZE)), &[5]),
        (
            "one batch twice",
            4,
            |log| {
                let copy = log[..SIZE].to_vec();
                log.splice(2 * SIZE..2 * SIZE, copy);
            },
            &[],
        ),
        ("the first of the last segment", 8, |log| log[67] ^= 1, &[8]),
        (
            "a place far above, and then one batch once more",
            4,
            |log| {
                log[SIZE + 6] = 4;
                log.copy_within(..SIZE, 2 * SIZE);
            },
            &[5, 6],
        ),
    ];
    for (what, base, damage, lost) in damages {
        let kdir = Kdir::with_topic("a", &["-c", "segment.bytes=300", "-c", "index.interval.bytes=0"]);
        kdir.create("b", &[]);
        let lines: String = (0..10).map(|number| format!("a{number:02}\n")).collect();
        kdir.produce("a", &["--batch-size", "1"], lines);
        kdir.produce("b", &[], "sound\n");
        let path = kdir.segment("a-0", base, "log");
        let mut log = fs::read(&path).unwrap();
        assert!(log.len() >= 2 * SIZE && log.len().is_multiple_of(SIZE), "{}", log.len());
        damage(&mut log);
        fs::write(&path, log).unwrap();
        let before = kdir.contents();
        let output = kdir.command(&["consume", "a", "b", "--skip-corrupt"]).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        let mut shown: Vec<&str> = stdout.lines().filter(|line| *line != "sound").collect();
        shown.sort_unstable();
        let expected = (0..10).filter(|number| !lost.contains(number)).map(|number| format!("a{number:02}"));
        assert_eq!(shown, expected.collect::<Vec<_>>(), "{what}: {stderr}");
        assert!(stdout.contains("sound"));
        let is_told = what != "a batch that is gone";
        let named = stderr.matches(&path.display().to_string()).count();
        let places = if what.contains("far above") { 2 } else { usize::from(is_told) };
        assert_eq!((output.status.code(), named), (Some(if is_told { 4 } else { 0 }), places), "{what}: {stderr}");
        assert_eq!(kdir.contents(), before, "nothing is written");
        let without = kdir.command(&["consume", "a", "b"]).output().unwrap();
        assert_eq!(without.status.code(), Some(if is_told { 4 } else { 0 }), "{what}");
    }
    let kdir = Kdir::with_topic("a", &[]);
    kdir.run(&["consume", "a", "--skip-corrupt", "--isolation", "read-committed"]).code(2).stdout("");
    kdir.run(&["consume", "a", "--skip-corrupt", "--tail", "3"]).code(2).stdout("");
}

#[test]
fn what_somebody_put_into_a_folder_that_is_being_deleted_stays() {
    let kdir = Kdir::with_topic("t", &["-P", "2"]);
    kdir.create("u", &[]);
    kdir.produce("t", &[], "one\ntwo\n");
    let text = fs::read_to_string(kdir.path("t.json")).unwrap();
    let topic_id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["topic_id"].as_str().unwrap().to_owned();
    // What a kill leaves of a deletion, and what came since.
    fs::rename(kdir.path("t.json"), kdir.path(&format!("{topic_id}.deleted"))).unwrap();
    fs::create_dir(kdir.path("t-1/papers")).unwrap();
    for name in ["t-1/papers/thesis.doc", "t-0/a.jpg"] {
        fs::write(kdir.path(name), "x").unwrap();
    }
    kdir.run(&["-q", "delete", "u", "--yes"]).code(0).stderr("");
    let left = kdir.contents();
    let is_there = |name: &str| left.keys().any(|path| path.ends_with(name));
    assert!(is_there("papers/thesis.doc") && is_there("a.jpg"), "{:?}", left.keys());
    assert!(!kdir.path("u-0").exists() && !kdir.path(&format!("{topic_id}.deleted")).exists());
    kdir.run(&["list", "-q"]).code(0);
}

#[test]
fn damaged_files_of_brokers_keep_no_topic_from_being_made_written_or_deleted() {
    for name in ["replication-offset-checkpoint", "cleaner-offset-checkpoint"] {
        for content in ["\0\0\0\0", "8\n0\n"] {
            let kdir = Kdir::with_topic("app", &[]);
            fs::write(kdir.path(name), content).unwrap();
            kdir.create("other", &[]);
            kdir.produce("app", &[], "one\n");
            assert_eq!(kdir.stdout(&["consume", "app", "-q"]), b"one\n");
            kdir.run(&["-q", "delete", "app", "--yes"]).code(0).stderr("");
            assert!(!kdir.path("app-0").exists());
            assert_eq!(fs::read_to_string(kdir.path(name)).unwrap(), content);
        }
    }
}

#[test]
fn a_partitions_folder_in_the_place_of_a_topic_or_a_log_dir_is_explained() {
    let kdir = Kdir::with_topic("orders", &["-P", "2"]);
    for args in [&["consume", "orders-1"][..], &["describe", "orders-1"]] {
        kdir.run(args)
            .code(1)
            .stderr(contains("hint: orders-1 is the folder of a partition: name the topic orders, with -p 1 where"));
    }
    let folder = kdir.path("orders-0").display().to_string();
    let error = format!(
        "kdir: {folder} is the folder of a partition, not a log dir\nhint: its log dir is {}; name the topic orders, with -p 0",
        kdir.log_dir().display()
    );
    for command in ["list", "describe"] {
        kdir.run(&[command, "-d", &folder]).code(1).stdout("").stderr(starts_with(error.clone()));
    }
}

#[test]
fn the_topic_id_of_a_brokers_topic_is_the_one_in_its_folders() {
    let kdir = Kdir::with_topic("app", &[]);
    let topic_id = |kdir: &Kdir| kdir.json(&["describe", "app", "-o", "json"])[0]["topic_id"].clone();
    let known = topic_id(&kdir);
    assert!(known.is_string());
    fs::remove_file(kdir.path("app.json")).unwrap();
    assert_eq!(topic_id(&kdir), known);
    fs::remove_file(kdir.path("app-0/partition.metadata")).unwrap();
    assert_eq!(topic_id(&kdir), serde_json::Value::Null);
}

#[test]
fn a_reader_of_committed_records_names_the_transaction_that_it_stops_at() {
    let log_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");
    let kdir = Kdir::new();
    let consume = |args: &[&str], stdout: &str, stderr: &str| {
        let command = ["consume", "transactions-open", "-d", log_dir, "--isolation", "read-committed"];
        kdir.run(&[&command, args].concat()).code(0).stdout(stdout.to_owned()).stderr(stderr.to_owned());
    };
    let nothing_from = "warning: transactions-open-0: nothing is shown from offset";
    let since = "a transaction of producer 2 is open since 2023-11-14 22:13:20";
    consume(&[], "before\na\n", &format!("{nothing_from} 3 on: {since}\n"));
    consume(&["--from-offset", "4"], "", &format!("{nothing_from} 4 on: a transaction of producer 2 is open\n"));
    // What it stops at was not asked for.
    consume(&["-n", "2"], "before\na\n", "");
    consume(&["--to-offset", "3"], "before\na\n", "");
    consume(&["-q"], "before\na\n", "");
}

#[test]
fn a_batch_of_a_codec_that_is_not_known_is_whole_and_only_not_read() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.produce("t", &["--batch-size", "1"], "a\nb\nc\n");
    let log = kdir.segment("t-0", 0, "log");
    let mut bytes = fs::read(&log).unwrap();
    let size = bytes.len() / 3;
    let batch = &mut bytes[size..2 * size];
    batch[22] |= 5;
    let checksum = kdir::format::crc::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    fs::write(&log, &bytes).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("unsupported-batch", "note")]), 0));
    let what = format!("{} at position {size} (offset 1): compression codec 5 is not supported", log.display());
    kdir.run(&["consume", "t"]).code(1).stdout("a\n").stderr(format!("kdir: {what}\n"));
    let going_on = format!("warning: {what}; going on at offset 2\n");
    kdir.run(&["consume", "t", "--skip-corrupt"]).code(4).stdout("a\nc\n").stderr(going_on);
    kdir.run(&["-q", "repair", "--accept-loss"]).code(0);
    assert_eq!(fs::read(&log).unwrap(), bytes, "a repair leaves it alone");
}

#[test]
fn damage_is_found_beside_a_file_that_is_about_to_be_removed() {
    for suffix in ["log.deleted", "index.deleted", "log.cleaned", "log.swap"] {
        let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=1048576"]);
        for value in ["a", "b"] {
            kdir.produce("app", &["--batch-size", "1"], value.repeat(700_000) + "\nx\n");
        }
        crate::support::flip(&kdir.segment("app-0", 0, "log"), 300);
        fs::write(kdir.segment("app-0", 0, suffix), "").unwrap();
        let (found, code) = verdict(&kdir);
        assert_eq!(code, 4, "{suffix}");
        assert!(found.contains(&("damaged-batch".into(), "damaged".into())), "{suffix}: {found:?}");
    }
}

#[test]
fn rows_of_a_damaged_recovery_point_file_count_as_far_as_they_can_be_read() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=1048576"]);
    kdir.produce("app", &[], "v".repeat(900_000) + "\n" + &"v".repeat(900_000) + "\n");
    let path = kdir.path("recovery-point-offset-checkpoint");
    let rows = fs::read_to_string(&path).unwrap();
    assert!(rows.contains("app 0 1\n"), "{rows}");
    fs::remove_dir_all(kdir.path("app-0")).unwrap();
    fs::write(&path, rows + "garbage\n").unwrap();
    let expected = findings(&[("damaged-file", "damaged"), ("missing-folder", "lost")]);
    assert_eq!(verdict(&kdir), (expected, 4));
    kdir.run(&["-q", "repair"]).code(4);
    assert_eq!(verdict(&kdir), (findings(&[("missing-folder", "lost")]), 4));
}

#[test]
fn a_log_that_ends_below_its_log_start_is_not_deleted() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "a\nb\n");
    fs::write(kdir.path("log-start-offset-checkpoint"), "0\n1\napp 0 9000\n").unwrap();
    let before = fs::read(kdir.segment("app-0", 0, "log")).unwrap();
    kdir.run(&["-q", "retention", "app"]).code(0);
    assert_eq!(fs::read(kdir.segment("app-0", 0, "log")).unwrap(), before);
    assert_eq!(verdict(&kdir), (findings(&[("ends-below-log-start", "damaged")]), 4));
}

#[test]
fn a_claim_out_of_reach_is_lowered_no_further_than_to_what_else_is_claimed() {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &["--batch-size", "1"], "a\nb\nc\nd\n");
    fs::write(kdir.path("recovery-point-offset-checkpoint"), "0\n1\napp 0 9000000000000\n").unwrap();
    let log = kdir.segment("app-0", 0, "log");
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    kdir.run(&["-q", "repair", "--accept-loss"]).code(0);
    kdir.feed(&["-q", "produce", "app"], "e\n").code(0);
    let offsets: Vec<i64> =
        kdir.json(&["consume", "app", "-o", "json"]).iter().map(|it| it["offset"].as_i64().unwrap()).collect();
    assert_eq!(offsets, [0, 1, 4], "an offset that was acknowledged is not given again");
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_not_dumped() {
    let kdir = Kdir::new();
    let pipe = kdir.temp().join("00000000000000000000.log");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.to_str().unwrap();
    kdir.run(&["dump", pipe]).code(2).stdout("").stderr(format!("kdir: {pipe} is not a regular file\n"));
}

#[test]
fn log_dirs_before_the_command_and_after_it_are_read_as_one() {
    let (one, other) = (Kdir::new(), Kdir::new());
    one.run(&["-q", "create", "here"]).code(0);
    other.run(&["-q", "create", "there"]).code(0);
    let [one_dir, other_dir] = [&one, &other].map(|it| it.log_dir().to_str().unwrap().to_owned());
    let list = one.text(&["-d", &one_dir, "list", "-d", &other_dir]);
    assert!(list.contains("here") && list.contains("there"), "{list}");
    one.run(&["-d", &one_dir, "create", "app", "-d", &other_dir])
        .code(2)
        .stderr(contains("--log-dir is given more than once"));
    one.run(&["-q", "-d", &one_dir, "create", "app", "-d", &one_dir]).code(0);
}

#[test]
fn a_partition_with_another_topic_id_than_the_others_of_the_topic_is_found() {
    let kdir = Kdir::new();
    kdir.run(&["-q", "create", "app", "--partitions", "3"]).code(0);
    kdir.produce("app", &["-p", "1"], "x\n");
    as_a_broker_left_it(&kdir, "app", 0);
    fs::remove_file(kdir.path("replication-offset-checkpoint")).unwrap();
    fs::write(kdir.path("meta.properties"), "version=1\ncluster.id=kX2cRzRVRTeBcXEIr4jAuQ\nnode.id=1\n").unwrap();
    assert_eq!(verdict(&kdir), (vec![], 0));
    let metadata = fs::read(kdir.path("app-1/partition.metadata")).unwrap();
    fs::write(kdir.path("app-1/partition.metadata"), "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAACQ").unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("topic-ids-differ", "blocks a broker")]), 4));
    fs::remove_dir_all(kdir.path("app-2")).unwrap();
    // One of the two is wrong, and nothing says which.
    assert_eq!(verdict(&kdir).0.len(), 2);
    fs::write(kdir.path("app-1/partition.metadata"), metadata).unwrap();
    assert_eq!(verdict(&kdir), (vec![], 0));
    // A broker with KRaft writes the id before the first record, and sets aside a folder without one.
    fs::remove_file(kdir.path("app-0/partition.metadata")).unwrap();
    assert_eq!(verdict(&kdir), (vec![], 0));
    fs::remove_file(kdir.path("app-1/partition.metadata")).unwrap();
    assert_eq!(verdict(&kdir), (findings(&[("not-served", "blocks a broker")]), 4));
    fs::write(kdir.path("meta.properties"), "version=0\nbroker.id=1\n").unwrap();
    assert_eq!(verdict(&kdir), (vec![], 0));
}
