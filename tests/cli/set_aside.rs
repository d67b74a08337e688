//! Folders that a broker, or a deletion, has set aside: `<topic>-<partition>.<32 hex digits>-<stray, future or delete>`.

use crate::support::{Kdir, Running, next};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;
use std::io::Write;

const ID: &str = "0123456789abcdef0123456789abcdef";
const STRAY: &str = "zs-0.0123456789abcdef0123456789abcdef-stray";

fn set_aside(kdir: &Kdir, partition: &str, kind: &str) -> String {
    let name = format!("{partition}.{ID}-{kind}");
    fs::rename(kdir.path(partition), kdir.path(&name)).unwrap();
    name
}

/// A topic of a broker, `zs`, with its one partition set aside, and `orders`, which is sound.
fn log_dir(kind: &str) -> (Kdir, String) {
    let kdir = Kdir::with_topic("zs", &[]);
    kdir.create("orders", &["-P", "2"]);
    kdir.produce("zs", &["--timestamp", "@1", "--batch-size", "1"], "a\nb\nc\n");
    kdir.produce("orders", &[], "one\n");
    as_a_broker_left_it(&kdir, "zs");
    let folder = set_aside(&kdir, "zs-0", kind);
    (kdir, folder)
}

/// Takes a topic's file and its rows away.
fn as_a_broker_left_it(kdir: &Kdir, topic: &str) {
    fs::remove_file(kdir.path(&format!("{topic}.json"))).unwrap();
    forget_rows(kdir);
}

fn forget_rows(kdir: &Kdir) {
    fs::write(kdir.path("recovery-point-offset-checkpoint"), "0\n0\n").unwrap();
}

#[test]
fn a_list_counts_them_and_shows_each_if_it_is_asked() {
    let (kdir, stray) = log_dir("stray");
    for (partition, kind) in [("orders-1", "future"), ("orders-0", "delete")] {
        fs::create_dir(kdir.path(&format!("{partition}.{ID}-{kind}"))).unwrap();
    }
    let warning = "warning: 3 partition folders are set aside (1 stray, 1 future, 1 deleting)\n\
                   hint: `kdir list --all` shows them; `kdir consume FOLDER` reads one\n";
    let plain = kdir.run(&["list", "-o", "tsv"]).code(0).stderr(warning);
    let bytes = |path: &str| fs::metadata(kdir.path(path)).unwrap().len();
    let orders: u64 = [0, 1].map(|it| bytes(&format!("orders-{it}/00000000000000000000.log"))).iter().sum();
    assert_eq!(plain.get_output().stdout, format!("orders\t2\t1\t{orders}\n").as_bytes());
    let of_stray = bytes(&format!("{stray}/00000000000000000000.log"));
    let expected = format!(
        "orders\t2\t1\t{orders}\ttopic\t\n\
         orders-0.{ID}-delete\t1\t0\t0\tdeleting\torders-0\n\
         orders-1.{ID}-future\t1\t0\t0\tfuture\torders-1\n\
         {stray}\t1\t3\t{of_stray}\tstray\tzs-0\n"
    );
    kdir.run(&["list", "--all", "-o", "tsv"]).code(0).stdout(expected).stderr("");
    let rows = kdir.json(&["list", "-a", "-o", "json"]);
    let row = serde_json::json!({
        "topic": stray, "partitions": 1, "records": 3, "bytes": of_stray, "kind": "stray", "topic_partition": "zs-0",
        "exact": true
    });
    assert_eq!(rows[3], row);
    assert_eq!(rows[0]["topic_partition"], serde_json::Value::Null);
    kdir.run(&["list", "-q"]).code(0).stderr(contains("warning").not());
}

#[test]
fn a_list_without_such_folders_says_nothing_of_them() {
    let kdir = Kdir::with_topic("zs", &[]);
    kdir.run(&["list"]).code(0).stderr("");
    kdir.run(&["list", "--all", "-o", "tsv"]).code(0).stdout("zs\t1\t0\t0\ttopic\t\n").stderr("");
}

#[test]
fn each_is_read_by_its_folder_name() {
    for kind in ["stray", "future", "delete"] {
        let (kdir, folder) = log_dir(kind);
        let before = kdir.contents();
        assert_eq!(kdir.values(&folder), "a\nb\nc\n");
        let records = kdir.records(&folder);
        assert_eq!((&records[2]["topic"], &records[2]["partition"]), (&folder.as_str().into(), &0.into()));
        let rows = kdir.json(&["describe", &folder, "-o", "json"]);
        assert_eq!((&rows[0]["topic"], &rows[0]["log_end_offset"]), (&folder.as_str().into(), &3.into()));
        assert!(rows[0]["topic_id"].is_string());
        let offsets = format!("{folder}\t0\t3\t\n");
        assert_eq!(kdir.text(&["offsets", &folder, "--at", "latest", "-o", "tsv"]), offsets);
        kdir.run(&["verify", &folder]).code(0).stdout("").stderr(starts_with("checked 3 records in 1 segment of 1 "));
        assert_eq!(kdir.contents(), before, "nothing is written");
        let log = kdir.path(&folder).join("00000000000000000000.log");
        crate::support::flip(&log, 65);
        kdir.run(&["verify", &folder, "-q"]).code(4).stdout(contains(format!("{folder}/00000000000000000000.log")));
        kdir.run(&["consume", &folder]).code(4).stdout("");
    }
}

#[test]
fn a_partition_beside_its_set_aside_folder_is_another() {
    let kdir = Kdir::with_topic("zs", &[]);
    kdir.produce("zs", &[], "old\n");
    let stray = set_aside(&kdir, "zs-0", "stray");
    fs::remove_file(kdir.path("zs.json")).unwrap();
    fs::create_dir(kdir.path("zs-0")).unwrap();
    fs::write(kdir.path("zs-0/leader-epoch-checkpoint"), "0\n0\n").unwrap();
    forget_rows(&kdir);
    kdir.produce("zs", &[], "new\n");
    assert_eq!(kdir.values("zs"), "new\n");
    assert_eq!(kdir.text(&["consume", &stray, "zs", "--order", "partition"]), "old\nnew\n");
    assert_eq!(kdir.text(&["consume", "zs*"]), "new\n", "a pattern means topics");
}

#[test]
fn a_name_that_kafka_has_cut_is_known_and_read() {
    let topic = "t".repeat(249);
    let kdir = Kdir::with_topic(&topic, &[]);
    kdir.produce(&topic, &[], "one\n");
    as_a_broker_left_it(&kdir, &topic);
    let cut = "t".repeat(255 - 41);
    let folder = format!("{cut}-0.{ID}-stray");
    fs::rename(kdir.path(&format!("{topic}-0")), kdir.path(&folder)).unwrap();
    assert_eq!(folder.len(), 255);
    assert_eq!(kdir.values(&folder), "one\n");
    assert_eq!(kdir.json(&["describe", &folder, "-o", "json"])[0]["log_end_offset"], 1);
    assert_eq!(kdir.text(&["offsets", &folder, "--at", "latest", "-o", "tsv"]), format!("{folder}\t0\t1\t\n"));
    assert_eq!(kdir.json(&["list", "--all", "-o", "json"])[0]["topic_partition"], format!("{cut}*-0"));
    for args in [&["consume", &topic][..], &["create", &topic]] {
        kdir.run(args).code(1).stderr(contains(format!("a folder of it that was set aside: {folder}\n")));
    }
    // Of a name that is shorter by one it cannot be.
    kdir.create(&topic[1..][..200], &[]);
}

#[test]
fn who_asks_for_the_topic_is_shown_the_folders_and_how_to_read_them() {
    for (kind, hint) in
        [("stray", "; to have the topic again, rename the folder back, and to"), ("future", "\n"), ("delete", "\n")]
    {
        let (kdir, folder) = log_dir(kind);
        let error = format!(
            "kdir: there is no topic zs in {}, but a folder of it that was set aside: {folder}\n\
             hint: read it with `kdir consume {folder}`{hint}",
            kdir.log_dir().display()
        );
        let commands = [
            &["consume", "zs"][..],
            &["describe", "zs"],
            &["offsets", "zs", "--at", "latest"],
            &["verify", "zs"],
            &["alter", "zs", "-c", "retention.ms=1"],
            &["delete", "zs", "--yes"],
            &["produce", "zs"],
        ];
        for args in commands {
            kdir.run(args).code(1).stdout("").stderr(starts_with(error.clone()));
        }
    }
    let (kdir, folder) = log_dir("stray");
    let error = "kdir: there is no topic zs-0 in";
    kdir.run(&["consume", "zs-0"])
        .code(1)
        .stderr(starts_with(error).and(contains(format!(": {folder}\nhint: read it "))));
    let kdir = Kdir::with_topic("zs", &["-P", "6"]);
    fs::remove_file(kdir.path("zs.json")).unwrap();
    for partition in 0..6 {
        set_aside(&kdir, &format!("zs-{partition}"), "stray");
    }
    let named: Vec<String> = (0..3).map(|it| format!("zs-{it}.{ID}-stray")).collect();
    kdir.run(&["consume", "zs"]).code(1).stderr(contains(format!(
        "but folders of it that were set aside: {}, and 3 more\nhint: read it with `kdir consume {}`; `kdir list --all` shows",
        named.join(", "),
        named[0]
    )));
}

#[test]
fn nothing_is_made_in_the_place_of_a_stray_topic() {
    let (kdir, folder) = log_dir("stray");
    let before = kdir.contents();
    for args in [&["create", "zs"][..], &["create", "zs", "-P", "9", "--if-not-exists"], &["produce", "--create", "zs"]]
    {
        kdir.feed(args, "x\n").code(1).stdout("").stderr(contains(format!("set aside: {folder}\n")));
    }
    assert_eq!(kdir.contents(), before);
    // Out of the way, it stops nothing.
    fs::rename(kdir.path(&folder), kdir.temp().join("kept")).unwrap();
    kdir.create("zs", &[]);
}

#[test]
fn a_topic_whose_folder_is_stray_is_neither_shown_as_empty_nor_written_nor_deleted() {
    let kdir = Kdir::with_topic("zs", &["-P", "2"]);
    kdir.produce("zs", &["-p", "0"], "a\nb\n");
    kdir.produce("zs", &["-p", "1"], "c\n");
    let folder = set_aside(&kdir, "zs-0", "stray");
    forget_rows(&kdir);
    let error = format!(
        "kdir: the partition folder {} is missing: a broker set it aside as {folder}\n\
         hint: read it with `kdir consume {folder}`; rename it back to zs-0 if it belongs here",
        kdir.path("zs-0").display()
    );
    let before = kdir.contents();
    kdir.run(&["consume", "zs"]).code(4).stdout("c\n").stderr(starts_with(error.clone()));
    kdir.run(&["list", "-o", "tsv"]).code(4).stdout(starts_with("zs\t2\t1\t")).stderr(starts_with(error.clone()));
    kdir.run(&["describe", "zs", "-o", "tsv"])
        .code(4)
        .stdout(starts_with("zs\t1\t0\t1"))
        .stderr(starts_with(error.clone()));
    for args in
        [&["produce", "zs", "-p", "0"][..], &["produce", "zs"], &["delete", "zs", "--yes"], &["retention", "zs"]]
    {
        kdir.feed(args, "x\n").code(4).stderr(contains(&error[..error.find('\n').unwrap()]));
    }
    let verdict = kdir.command(&["verify", "-q", "-o", "json"]).output().unwrap();
    let finding = crate::support::json_lines(&verdict.stdout)[0].clone();
    assert_eq!((finding["problem"].as_str(), finding["partition"].as_i64()), (Some("set-aside"), Some(0)));
    assert_eq!(verdict.status.code(), Some(4));
    kdir.run(&["-q", "repair", "--skip-corrupt"]).code(4);
    let mut after = kdir.contents();
    after.remove(".lock");
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().filter(|it| *it != ".lock").collect::<Vec<_>>());
    assert_eq!(after["zs.json"], before["zs.json"]);
    // The partition that is there goes on, and the other one when it is back.
    kdir.produce("zs", &["-p", "1"], "d\n");
    fs::rename(kdir.path(&folder), kdir.path("zs-0")).unwrap();
    kdir.produce("zs", &["-p", "0"], "e\n");
    assert_eq!(kdir.text(&["consume", "zs", "--order", "partition"]), "a\nb\ne\nc\nd\n");
}

#[test]
fn a_topic_does_not_grow_into_a_partition_that_is_stray() {
    let kdir = Kdir::with_topic("zs", &["-P", "2"]);
    let folder = set_aside(&kdir, "zs-1", "stray");
    let text = fs::read_to_string(kdir.path("zs.json")).unwrap();
    fs::write(kdir.path("zs.json"), text.replace("\"partitions\": 2", "\"partitions\": 1")).unwrap();
    forget_rows(&kdir);
    kdir.run(&["alter", "zs", "--partitions", "3"]).code(4).stderr(contains(format!("set it aside as {folder}\n")));
    assert!(!kdir.path("zs-2").exists());
    kdir.run(&["-q", "alter", "zs", "-c", "retention.ms=1000"]).code(0);
    kdir.run(&["-q", "delete", "zs", "--yes"]).code(0);
    assert!(kdir.path(&folder).exists());
}

#[test]
fn nothing_changes_a_folder_that_was_set_aside() {
    let (kdir, folder) = log_dir("stray");
    let before = kdir.contents();
    let error = format!("kdir: {} is a folder that was set aside: it can only be read\n", kdir.path(STRAY).display());
    for args in [
        &["produce", &folder][..],
        &["produce", "--create", &folder],
        &["alter", &folder, "-c", "retention.ms=1"],
        &["delete", &folder, "--yes"],
        &["delete-records", "--yes", &folder, "--before", "2024-01-01"],
        &["retention", &folder, "--retention", "1ms"],
        &["repair", &folder],
    ] {
        kdir.feed(args, "x\n").code(1).stdout("").stderr(starts_with(error.clone()));
    }
    kdir.run(&["consume", &folder, "--cursor-file", kdir.temp().join("c").to_str().unwrap()])
        .code(2)
        .stderr(contains("--cursor-file keeps positions in topics"));
    assert_eq!(kdir.contents(), before);
}

#[test]
fn a_deletion_of_ours_that_has_not_ended_is_no_reason_for_anything() {
    let kdir = Kdir::with_topic("t", &["-P", "2"]);
    kdir.produce("t", &[], "one\ntwo\n");
    let text = fs::read_to_string(kdir.path("t.json")).unwrap();
    let topic_id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["topic_id"].as_str().unwrap().to_owned();
    let id = kdir::format::properties::topic_id_from_text(&topic_id).unwrap().simple().to_string();
    fs::rename(kdir.path("t.json"), kdir.path(&format!("{topic_id}.deleted"))).unwrap();
    fs::rename(kdir.path("t-0"), kdir.path(&format!("t-0.{id}-delete"))).unwrap();
    kdir.run(&["list"]).code(0).stdout("").stderr(starts_with("there are no topics in "));
    kdir.run(&["consume", "t"]).code(1).stderr(contains("hint: `kdir list` shows what is there"));
    kdir.create("t", &[]);
    kdir.produce("t", &[], "new\n");
    assert_eq!(kdir.values("t"), "new\n");
    assert!(!kdir.path(&format!("t-0.{id}-delete")).exists());
    // Nor is what a broker was deleting.
    fs::create_dir(kdir.path(&format!("u-0.{ID}-delete"))).unwrap();
    kdir.create("u", &[]);
    kdir.produce("u", &[], "x\n");
    kdir.run(&["-q", "delete", "u", "--yes"]).code(0);
}

#[test]
fn a_folder_that_was_set_aside_can_be_followed() {
    let (kdir, folder) = log_dir("future");
    let mut follower = Running::start(kdir.process(&["consume", &folder, "-F"]));
    let lines = follower.lines();
    assert_eq!([next(&lines), next(&lines), next(&lines)], ["a", "b", "c"]);
    // As a broker appends to it.
    let log = kdir.path(&folder).join("00000000000000000000.log");
    let mut batch = fs::read(&log).unwrap();
    batch.truncate(batch.len() / 3);
    batch[..8].copy_from_slice(&3_i64.to_be_bytes());
    fs::File::options().append(true).open(&log).unwrap().write_all(&batch).unwrap();
    assert_eq!(next(&lines), "a");
    follower.signal(rustix::process::Signal::TERM);
    let (_, _, stderr) = follower.wait();
    assert_eq!(stderr, "");
}
