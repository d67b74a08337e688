//! `kdir import`: names, ids and groups, and files that are refused.

use crate::export::{exported, imported, members};
use crate::support::{Kdir, Running, until};
use predicates::str::{contains, starts_with};
use std::fs;
use std::process::Command;

/// A topic with two records, and a group that has read one.
fn source() -> Kdir {
    let kdir = Kdir::with_topic("app", &[]);
    kdir.produce("app", &[], "one\ntwo\n");
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", "app", "--to", "1"]).code(0);
    kdir
}

fn topic_id(kdir: &Kdir, topic: &str) -> String {
    let text = fs::read_to_string(kdir.path(&format!("{topic}.json"))).unwrap();
    let topic: serde_json::Value = serde_json::from_str(&text).unwrap();
    topic["topic_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_topic_that_exists_is_refused_and_another_name_is_another_topic() {
    let kdir = source();
    let tar = exported(&kdir, &["app"]);
    let before = kdir.contents();
    kdir.feed(&["import"], tar.clone()).code(1).stdout("").stderr(
        "kdir: the topic app exists already\nhint: give it another name with --as, or delete it first with `kdir delete app`\n",
    );
    assert!(kdir.contents() == before);
    let file = kdir.file("app.tar", &tar);
    kdir.run(&["import", &file, "--as", "copy"])
        .code(0)
        .stdout("")
        .stderr(starts_with("imported topic copy with 1 partition, 2 records and the offsets of 1 group ("));
    assert_eq!(kdir.values("copy"), "one\ntwo\n");
    assert_ne!(topic_id(&kdir, "copy"), topic_id(&kdir, "app"));
    assert!(fs::read_to_string(kdir.path("copy-0/partition.metadata")).unwrap().ends_with(&topic_id(&kdir, "copy")));
    assert_eq!(kdir.text(&["-q", "consume", "copy", "-g", "billing"]), "two\n");
    kdir.run(&["-q", "verify"]).code(0);
}

#[test]
fn an_id_that_another_topic_has_is_not_given_twice() {
    let kdir = source();
    let tar = exported(&kdir, &["app"]);
    let id = topic_id(&kdir, "app");
    let copy = imported(&tar, &[]);
    assert_eq!(topic_id(&copy, "app"), id);
    // The topic goes by another name, and its id is the one that it had.
    let text = fs::read_to_string(copy.path("app.json")).unwrap();
    fs::write(copy.path("moved.json"), text.replace("\"app\"", "\"moved\"")).unwrap();
    fs::remove_file(copy.path("app.json")).unwrap();
    fs::rename(copy.path("app-0"), copy.path("moved-0")).unwrap();
    copy.feed(&["import"], tar)
        .code(0)
        .stderr(contains("warning: topic app has a new topic id: another topic here has the one in the file\n"));
    assert_ne!(topic_id(&copy, "app"), id);
}

#[test]
fn a_group_that_has_committed_keeps_its_offsets() {
    let kdir = source();
    let tar = exported(&kdir, &["app"]);
    kdir.run(&["-q", "delete", "app", "--yes"]).code(0);
    kdir.feed(&["import"], tar.clone()).code(0).stderr(contains("and the offsets of 1 group ("));
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", "app", "--to", "2"]).code(0);
    // Without the topic, the group's offsets are those of a topic with the id that comes back.
    fs::remove_file(kdir.path("app.json")).unwrap();
    fs::remove_dir_all(kdir.path("app-0")).unwrap();
    kdir.feed(&["import"], tar.clone())
        .code(0)
        .stderr(contains("warning: group billing has committed offsets of topic app, which are kept\n"));
    assert_eq!(kdir.text(&["-q", "consume", "app", "-g", "billing"]), "");
    let copy = imported(&tar, &["--no-groups"]);
    assert!(!copy.path("__consumer_offsets.json").exists());
}

#[test]
fn one_of_several_topics_is_chosen() {
    let kdir = source();
    kdir.create("orders", &["-P", "2"]);
    kdir.produce("orders", &[], "three\n");
    let tar = exported(&kdir, &["app", "orders"]);
    let copy = imported(&tar, &["--topic", "orders", "--as", "copy"]);
    assert_eq!(copy.text(&["list", "-o", "tsv"]).lines().count(), 1);
    assert_eq!(copy.values("copy"), "three\n");
    copy.feed(&["import", "--as", "both"], tar.clone())
        .code(1)
        .stderr("kdir: one name for 2 topics: app, orders\nhint: choose one of them with --topic, as in --topic app\n");
    copy.feed(&["import", "--topic", "nope"], tar.clone())
        .code(1)
        .stderr(starts_with("kdir: topic nope is not in the input, which has app, orders\nhint: "));
    // One that is there keeps all from being imported.
    copy.create("orders", &[]);
    copy.feed(&["import"], tar).code(1).stderr(starts_with("kdir: the topic orders exists already\n"));
    assert!(!copy.path("app.json").exists() && !copy.path("app-0").exists());
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let kdir = source();
    let tar = exported(&kdir, &["app"]);
    let copy = Kdir::new();
    // The two blocks of zeros at the end say nothing more.
    let end = tar.len() - 1024;
    let sizes = (1..=end - 512).step_by(173).chain((512..=end - 512).step_by(512));
    let mut named = std::collections::BTreeSet::new();
    for size in sizes {
        let run = copy.feed(&["import"], &tar[..size]).stdout("");
        let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        let is_refused =
            stderr.starts_with("kdir: the input is truncated: it ends ") && stderr.contains("; nothing was imported\n");
        // Less than the first header is no tar at all.
        let is_no_tar = size < 512 && stderr.starts_with("kdir: the input is not a file of kdir export: ");
        assert!(is_refused || is_no_tar, "{size}: {stderr}");
        if is_refused {
            assert_eq!(run.get_output().status.code(), Some(4), "{size}");
            named.insert(stderr.split("it ends ").nth(1).unwrap().split(';').next().unwrap().to_owned());
        }
        assert_eq!(copy.entries(""), [".lock"], "{size}");
    }
    assert!(named.contains("in app-0/00000000000000000000.log"), "{named:?}");
    assert!(named.contains("after app-0/00000000000000000000.log"), "{named:?}");
    copy.feed(&["import"], "")
        .code(1)
        .stderr(starts_with("kdir: the input is not a file of kdir export: it is empty\n"));
    copy.feed(&["-q", "import"], &tar[..end]).code(0);
}

#[test]
fn an_altered_file_is_refused_whichever_byte_it_is() {
    let kdir = source();
    let tar = exported(&kdir, &["app"]);
    let copy = Kdir::new();
    let names = members(&tar);
    let mut seen = std::collections::BTreeSet::new();
    for at in (0..tar.len() - 1024).step_by(37) {
        let mut altered = tar.clone();
        altered[at] ^= 0x10;
        let run = copy.feed(&["import"], altered.clone());
        let code = run.get_output().status.code();
        let stderr = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        if code == Some(0) {
            // What pads a member or a number says nothing.
            assert!([b'\0', b'0', b' '].contains(&tar[at]), "{at}: {stderr}");
            assert_eq!(copy.values("app"), "one\ntwo\n", "{at}");
            copy.run(&["-q", "delete", "app", "--yes"]).code(0);
            copy.run(&["-q", "groups", "delete", "billing", "--yes"]);
            continue;
        }
        assert!(!copy.path("app.json").exists() && !copy.path("app-0").exists(), "{at}: {stderr}");
        for name in names.iter().filter(|name| stderr.contains(name.as_str())) {
            seen.insert(name.clone());
        }
    }
    assert!(seen.len() >= 4, "{seen:?}");
}

#[test]
fn members_that_are_missing_swapped_or_added_are_named() {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=300"]);
    kdir.produce("app", &["--batch-size", "1"], format!("{}\n", "v".repeat(100)).repeat(5));
    let folder = kdir.temp().join("x");
    fs::create_dir(&folder).unwrap();
    let tar = kdir.file("x.tar", exported(&kdir, &["app"]));
    let shell = |script: &str| {
        let output = Command::new("sh").args(["-euc", script]).current_dir(&folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    shell(&format!("tar xf '{tar}'"));
    let names = members(&fs::read(&tar).unwrap());
    let packed = |names: &[String]| shell(&format!("tar cf - --format=gnu {}", names.join(" ")));
    let copy = Kdir::new();
    copy.feed(&["-q", "import", "--as", "again"], packed(&names)).code(0).stdout("").stderr("");
    let logs: Vec<usize> = (0..names.len()).filter(|&place| names[place].ends_with(".log")).collect();
    let mut without = names.clone();
    let missing = without.remove(logs[1]);
    let refused = |tar: Vec<u8>, message: String| {
        copy.feed(&["import"], tar).code(4).stdout("").stderr(starts_with(format!("kdir: {message}")));
        assert!(!copy.path("app.json").exists() && !copy.path("app-0").exists());
    };
    let next = &names[logs[2]];
    refused(packed(&without), format!("{next} in the input was altered: it is not a member that the export has"));
    let mut swapped = names.clone();
    swapped.swap(logs[0], logs[1]);
    refused(packed(&swapped), format!("{missing} in the input was altered: "));
    fs::write(folder.join("app-0/notes.txt"), "x").unwrap();
    let mut more = names.clone();
    more.insert(logs[0], "app-0/notes.txt".into());
    refused(packed(&more), "app-0/notes.txt in the input was altered: it is not a member".into());
    refused(
        packed(&names[..names.len() - 1]),
        format!("the input is truncated: it ends after {}", names[logs[logs.len() - 1]]),
    );
    let mut late = names.clone();
    late.remove(0);
    copy.feed(&["import"], packed(&late))
        .code(1)
        .stderr(starts_with("kdir: the input is not a file of kdir export: it begins with app-0/partition.metadata"));
}

#[test]
fn a_compressed_file_names_what_decompresses_it() {
    let kdir = source();
    let tar = kdir.file("x.tar", exported(&kdir, &["app"]));
    let zipped = Command::new("gzip").args(["-c", &tar]).output().unwrap().stdout;
    Kdir::new().feed(&["import"], zipped).code(1).stdout("").stderr(
        "kdir: the input is compressed with gzip\nhint: decompress it on the way: `gzip -dc FILE | kdir import`\n",
    );
    Kdir::new()
        .feed(&["import"], "lines\nof text\n".repeat(100))
        .code(1)
        .stdout("")
        .stderr(starts_with("kdir: the input is not a file of kdir export: "));
}

/// An import that has got half of its input: where it came from, that input, where it goes, and the import.
fn half_done() -> (Kdir, Vec<u8>, Kdir, Running) {
    let (kdir, copy) = (source(), Kdir::new());
    kdir.produce("app", &[], format!("{}\n", "v".repeat(1000)).repeat(2000));
    let tar = exported(&kdir, &["app"]);
    let mut running = Running::start(copy.process(&["import"]));
    running.write(&tar[..tar.len() / 2]);
    until("the segment is begun", || copy.segment("app-0", 0, "log").exists());
    (kdir, tar, copy, running)
}

#[test]
fn an_import_that_is_killed_leaves_nothing_that_is_seen_and_the_next_one_cleans_up() {
    let (kdir, tar, copy, running) = half_done();
    copy.run(&["-q", "list", "-o", "tsv"]).code(0).stdout("");
    copy.run(&["consume", "app"]).code(1).stdout("");
    copy.run(&["-q", "verify"]).code(0).stdout("").stderr("");
    drop(running);
    assert!(copy.segment("app-0", 0, "log").exists());
    copy.run(&["-q", "list", "-o", "tsv"]).code(0).stdout("");
    copy.run(&["-q", "verify"]).code(0).stdout("").stderr("");
    copy.create("other", &[]);
    copy.feed(&["-q", "import"], tar.clone()).code(0).stdout("").stderr("");
    assert!(copy.entries("").iter().all(|name| !name.ends_with(".deleted") && !name.ends_with("-delete")));
    assert_eq!(copy.values("app"), kdir.values("app"));
    copy.assert_sound();
}

#[test]
fn a_signal_ends_an_import_and_removes_what_it_has_made() {
    let (_kdir, _tar, copy, running) = half_done();
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().0, Some(130));
    assert_eq!(copy.entries(""), [".lock"]);
}
