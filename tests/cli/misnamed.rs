//! What people have in hand in the place of a topic or a log dir: the folder of a partition, or a file.

use crate::support::Kdir;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, starts_with};
use std::fs;

/// A topic `orders`, and others with names that look more like the folder's.
fn log_dir() -> Kdir {
    let kdir = Kdir::with_topic("orders", &["-P", "13"]);
    for topic in ["orders-1x", "ab"] {
        kdir.create(topic, &["-P", "13"]);
    }
    kdir.produce("orders", &["-p", "1"], "one\n");
    kdir
}

#[test]
fn the_folder_of_a_partition_in_the_place_of_a_topic_is_explained() {
    let kdir = log_dir();
    for (folder, topic, number) in [("orders-1", "orders", 1), ("ab-12", "ab", 12)] {
        let error = format!(
            "kdir: there is no topic {folder} in {}\nhint: {folder} is the folder of a partition: name the topic {topic}, \
             with -p {number} where the command takes it\n",
            kdir.log_dir().display()
        );
        for args in [
            &["consume", folder][..],
            &["describe", folder],
            &["verify", folder],
            &["offsets", folder, "--at", "latest"],
            &["produce", folder],
        ] {
            kdir.run(args).code(1).stdout("").stderr(error.clone());
        }
    }
    // One that is not there is only a name.
    kdir.run(&["consume", "orders-99"]).code(1).stderr(contains("folder of a partition").not());
}

#[test]
fn the_folder_of_a_partition_in_the_place_of_a_log_dir_is_explained() {
    let kdir = log_dir();
    let folder = kdir.path("orders-1").display().to_string();
    let error = format!(
        "kdir: {folder} is the folder of a partition, not a log dir\n\
         hint: its log dir is {}; name the topic orders, with -p 1 where the command takes it\n",
        kdir.log_dir().display()
    );
    let before = kdir.contents();
    for args in [
        &["list"][..],
        &["describe"],
        &["verify"],
        &["consume", "orders"],
        &["consume", "*"],
        &["offsets", "orders", "--at", "latest"],
        &["produce", "orders"],
        &["produce", "--create", "x"],
        &["create", "x"],
    ] {
        let args = [args, &["-d", &folder]].concat();
        kdir.feed(&args, "x\n").code(1).stdout("").stderr(error.clone());
    }
    let mut after = kdir.contents();
    after.retain(|name, _| !name.ends_with(".lock"));
    assert!(after.keys().eq(before.keys().filter(|name| !name.ends_with(".lock"))), "{:?}", after.keys());
    let mut command = kdir.command(&["list", "-d", "."]);
    command.current_dir(&folder).assert().code(1).stderr(contains("\nhint: its log dir is ..\n"));
    let mut command = kdir.command(&["list", "-d", "orders-1"]);
    command.current_dir(kdir.log_dir()).assert().code(1).stderr(contains("\nhint: its log dir is .; name"));
}

#[test]
fn an_empty_log_dir_is_not_taken_for_a_partition() {
    let kdir = Kdir::new();
    fs::create_dir(kdir.log_dir()).unwrap();
    kdir.run(&["list"]).code(0).stderr(starts_with("there are no topics in "));
    kdir.run(&["verify"]).code(0);
    kdir.create("app", &[]);
    // Nor one in which a segment lies beside topics.
    fs::copy(kdir.segment("app-0", 0, "log"), kdir.path("00000000000000000000.log")).unwrap();
    kdir.run(&["list"]).code(0).stderr("");
    kdir.create("other", &[]);
}

#[test]
fn a_file_or_a_path_in_the_place_of_a_topic_leads_to_what_reads_it() {
    let kdir = log_dir();
    let log = kdir.segment("orders-1", 0, "log").display().to_string();
    for command in ["consume", "describe", "verify"] {
        kdir.run(&[command, &log]).code(2).stdout("").stderr(contains(format!("use `kdir dump --records {log}`\n")));
    }
    kdir.run(&["consume", "00000000000000000000.log"])
        .code(1)
        .stderr(contains("hint: to read a file, use `kdir dump --records 00000000000000000000.log`\n"));
    let folder = format!("{}/", kdir.path("orders-1").display());
    let hint = format!("give -d {} and the topic orders, with -p 1 ", kdir.log_dir().display());
    kdir.run(&["consume", &folder]).code(2).stderr(contains(hint));
    let stray = kdir.path("orders-1.0123456789abcdef0123456789abcdef-stray").display().to_string();
    kdir.run(&["consume", &stray]).code(2).stderr(contains(format!("with -d {}\n", kdir.log_dir().display())));
    kdir.run(&["consume", "a/b"]).code(2).stderr(contains("and not '/'"));
}

#[test]
fn a_folder_in_the_place_of_a_file_is_explained() {
    let kdir = log_dir();
    let folder = kdir.path("orders-1").display().to_string();
    kdir.run(&["dump", &folder])
        .code(2)
        .stdout("")
        .stderr(format!("kdir: {folder} is a folder: name files in it, as {folder}/*.log\n"));
    kdir.run(&["dump", "nope"]).code(1).stderr("kdir: nope does not exist\n");
}
