//! What groups commit: kept small, all or nothing, and never ahead of what is durable.

use super::support::{NOW, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::groups::{Commits, GroupsTopic};
use kdir::logdir::{LogDirs, NewTopic};
use kdir::units::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::path::Path;

const GROUP: &str = "billing";

fn disk() -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "orders".parse().unwrap(), partitions: 3, config: topic_config(&[]) };
    log_dir.create_topic(&new).unwrap();
    disk
}

/// That offset in each of three partitions.
fn offsets(offset: i64) -> BTreeMap<TopicPartition, (Offset, String)> {
    let partition = |number| TopicPartition { topic: "orders".parse().unwrap(), partition: number };
    (0..3).map(|number| (partition(number), (Offset(offset), String::new()))).collect()
}

/// What the group has committed; all partitions have the same.
fn committed(disk: &FaultyDisk) -> Option<i64> {
    let log_dirs = LogDirs::from(open_log_dir(disk).unwrap());
    let found = GroupsTopic::find(&log_dirs).unwrap().all().unwrap();
    assert!(found.failed.is_empty() && found.passed_over.is_empty(), "{:?}", found.passed_over);
    let group = found.groups.get(&GROUP.parse().unwrap())?;
    let offsets: Vec<i64> = group.committed.values().map(|committed| committed.offset.0).collect();
    assert!(offsets.len() == 3 && offsets.iter().all(|offset| *offset == offsets[0]), "{offsets:?}");
    Some(offsets[0])
}

fn bytes_of_commits(disk: &FaultyDisk) -> u64 {
    let root = open_log_dir(disk).unwrap().root().to_owned();
    let folders = disk.open_folder(&root).unwrap().list().unwrap();
    let folders = folders.iter().filter(|entry| entry.name.starts_with("__consumer_offsets-"));
    let size = |folder: &Path, name: &str| disk.stat(&folder.join(name)).unwrap().map_or(0, |stat| stat.size);
    let of_folder = |folder: &Path| {
        let entries = disk.open_folder(folder).unwrap().list().unwrap();
        let logs = entries.iter().filter(|entry| entry.name.ends_with(".log"));
        logs.map(|entry| size(folder, &entry.name)).sum::<u64>()
    };
    folders.map(|entry| of_folder(&root.join(&entry.name))).sum()
}

#[test]
fn commits_of_a_day_take_little_room() {
    let disk = disk();
    let log_dir = open_log_dir(&disk).unwrap();
    let mut commits = Commits::open(&log_dir, &GROUP.parse().unwrap()).unwrap();
    let mut largest = 0;
    for second in 0..86_400 {
        commits.commit(&offsets(second), NOW + second * 1000).unwrap();
        if second % 1000 == 0 {
            largest = largest.max(bytes_of_commits(&disk));
        }
    }
    commits.close(NOW).unwrap();
    assert_eq!(committed(&disk), Some(86_399));
    assert!(largest < 3 << 20 && largest > 1 << 19, "{largest}");
}

#[test]
fn a_commit_counts_as_a_whole_or_not_at_all_wherever_it_is_cut() {
    let make = || {
        let disk = disk();
        let log_dir = open_log_dir(&disk).unwrap();
        let mut commits = Commits::open(&log_dir, &GROUP.parse().unwrap()).unwrap();
        commits.commit(&offsets(1), NOW).unwrap();
        commits.close(NOW).unwrap();
        disk.reset_counts();
        disk
    };
    let commit = |disk: &FaultyDisk| {
        let log_dir = open_log_dir(disk)?;
        let mut commits = Commits::open(&log_dir, &GROUP.parse().unwrap())?;
        commits.commit(&offsets(2), NOW)?;
        Ok::<_, kdir::groups::GroupError>(())
    };
    let whole = make();
    commit(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations >= 5, "{operations}");
    for at in 0..=operations {
        let disk = make();
        disk.crash_at(at);
        let is_acknowledged = commit(&disk).is_ok();
        for disk in [disk.kill(), disk.crash(1), disk.crash(2)] {
            let found = committed(&disk);
            assert!(found == Some(2) || found == Some(1) && !is_acknowledged, "{at}: {found:?}");
            commit(&disk).unwrap();
            assert_eq!(committed(&disk), Some(2));
        }
    }
}
