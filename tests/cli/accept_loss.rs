//! `kdir repair --accept-loss`, and what leads to it.

use crate::support::{Kdir, json_lines};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::{contains, ends_with};
use std::fs;

/// Batches of one record and 71 bytes, four to a segment.
fn topic() -> Kdir {
    let kdir = Kdir::with_topic("app", &["-c", "segment.bytes=300", "-c", "index.interval.bytes=0"]);
    let lines: String = (0..12).map(|number| format!("a{number:02}\n")).collect();
    kdir.produce("app", &["--batch-size", "1"], lines);
    kdir
}

const SIZE: usize = 71;

fn change(kdir: &Kdir, base: u64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = kdir.segment("app-0", base, "log");
    let mut log = fs::read(&path).unwrap();
    change(&mut log);
    fs::write(&path, log).unwrap();
}

#[test]
fn who_stops_at_damage_names_the_command_that_goes_on() {
    let kdir = topic();
    change(&kdir, 4, |log| {
        let copy = log[..SIZE].to_vec();
        log.splice(2 * SIZE..2 * SIZE, copy).for_each(drop);
    });
    // One batch twice: nothing is lost by taking it out.
    kdir.run(&["consume", "app"]).code(4).stderr(ends_with("hint: `kdir repair app` repairs it; no record is lost\n"));
    kdir.run(&["-q", "repair", "app"]).code(0);
    assert_eq!(kdir.values("app").lines().count(), 12);
    change(&kdir, 8, |log| drop(log.drain(2 * SIZE..)));
    let go_on = "hint: `kdir repair --dry-run --accept-loss app` shows which records would be given up, `kdir repair \
                 --accept-loss app` gives them up\n";
    kdir.feed(&["produce", "app"], "more\n").code(4).stderr(ends_with(go_on));
    kdir.run(&["-q", "repair", "--skip-corrupt", "app"]).code(0);
    kdir.produce("app", &[], "more\n");
    assert_eq!(kdir.records("app").last().unwrap()["offset"], 12, "no offset is given twice");
    fs::remove_dir_all(kdir.path("app-0")).unwrap();
    kdir.feed(&["produce", "app"], "more\n")
        .code(4)
        .stderr(ends_with("`kdir repair --accept-loss app` gives them up\n"));
}

#[test]
fn a_dry_run_prints_the_rows_of_the_repair_with_what_each_costs() {
    let kdir = topic();
    change(&kdir, 4, |log| log[SIZE + 66] ^= 1);
    change(&kdir, 8, |log| drop(log.drain(2 * SIZE..)));
    let rows = |args: &[&str]| json_lines(&kdir.command(args).output().unwrap().stdout);
    let announced = rows(&["repair", "--accept-loss", "-n", "-o", "json"]);
    let costs: Vec<_> = announced.iter().filter(|row| !row["lost_from"].is_null()).collect();
    let cost =
        |row: &serde_json::Value| ["lost_from", "lost_to", "records_max"].map(|name| row[name].as_i64().unwrap());
    assert_eq!(costs.iter().map(|row| cost(row)).collect::<Vec<_>>(), [[5, 5, 1], [10, 11, 2]], "{announced:?}");
    assert_eq!(costs[1]["witness"], "the recovery point");
    let done = rows(&["repair", "--accept-loss", "-o", "json"]);
    assert_eq!(announced, done);
    kdir.assert_sound();
}

#[test]
fn what_keeps_the_folder_of_a_deleted_topic_is_named() {
    let kdir = Kdir::with_topic("t", &[]);
    kdir.create("u", &[]);
    let text = fs::read_to_string(kdir.path("t.json")).unwrap();
    let topic_id = serde_json::from_str::<serde_json::Value>(&text).unwrap()["topic_id"].as_str().unwrap().to_owned();
    // What a kill leaves of a deletion, and what came since.
    fs::rename(kdir.path("t.json"), kdir.path(&format!("{topic_id}.deleted"))).unwrap();
    fs::write(kdir.path("t-0/thesis.doc"), "x").unwrap();
    let named =
        || contains("-delete/thesis.doc is not a file of a partition: it was kept when its topic was deleted\n");
    kdir.run(&["delete", "u", "--yes"]).code(0).stderr(named());
    kdir.run(&["create", "v"]).code(0).stderr(named());
    kdir.run(&["delete", "v", "--yes"]).code(0).stderr(named().and(contains("deleted topic v\n")));
}

#[test]
fn a_checkpoint_file_of_a_later_format_is_named_and_the_partition_repaired() {
    let kdir = topic();
    let file = kdir.path("recovery-point-offset-checkpoint");
    fs::write(&file, "7\n").unwrap();
    change(&kdir, 4, |log| log[SIZE + 66] ^= 1);
    kdir.run(&["repair", "--accept-loss"]).code(0).stderr(contains(format!("warning: {}: ", file.display())));
    assert_eq!(fs::read_to_string(&file).unwrap(), "7\n");
    assert_eq!(kdir.run(&["consume", "app", "-q"]).code(0).get_output().stdout.len(), 11 * 4);
}
