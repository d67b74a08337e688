//! An import is whole or not there at all, whatever the disk does on the way, and what is left of one is removed.

use super::support::{NOW, ROOT, disk_with_log_dir, open_log_dir, topic_config};
use kdir::archive::{ArchiveError, Export, ExportOptions, ExportStart, ImportOptions, ImportedTopic, import};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::groups::{Commits, GroupsTopic};
use kdir::logdir::{Created, LogDir, LogDirs, NewTopic};
use kdir::storage::clean::Watch;
use kdir::storage::{Advance, Durability, RecordReader, SyncFor, sync_now};
use kdir::units::{Offset, TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::path::Path;

const RECORDS: i64 = 6;

fn name() -> TopicName {
    "app".parse().unwrap()
}

fn new_topic() -> NewTopic {
    NewTopic { name: name(), partitions: 2, config: topic_config(&[("segment.bytes", "300"), ("retention.ms", "-1")]) }
}

fn value(partition: i32, number: i64) -> String {
    format!("value {number} of {partition} {}", "x".repeat(60))
}

/// A topic of two partitions with three segments each, a log start inside one, and a group in the middle; exported.
fn export() -> Vec<u8> {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let Created::New(topic) = log_dir.create_topic(&new_topic()).unwrap() else { panic!("it is new") };
    for partition in log_dir.partitions(&topic).unwrap() {
        let mut writer = None;
        for number in 0..RECORDS {
            let guard = partition.guard().unwrap();
            let writer =
                writer.get_or_insert_with(|| log_dir.open_writer(&partition, &guard, Durability::Synced, NOW).unwrap());
            let value = value(partition.id().partition, number);
            let mut builder = BatchBuilder::new(0);
            builder.push(&NewRecord { timestamp: NOW + number, value: Some(value.as_bytes()), ..NewRecord::default() });
            writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
        }
        let mut writer = writer.unwrap();
        sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
        partition.close(&mut writer, NOW).unwrap();
    }
    let first = log_dir.partition(&topic, 0).unwrap();
    log_dir.delete_records_of([(&first, Offset(1))], NOW, |_, _| {}).unwrap();
    let mut commits = Commits::open(&log_dir, &"billing".parse().unwrap()).unwrap();
    let partition = TopicPartition { topic: name(), partition: 0 };
    commits.commit(&BTreeMap::from([(partition, (Offset(4), String::new()))]), NOW).unwrap();
    commits.close(NOW).unwrap();
    let options = ExportOptions { start: ExportStart::LogStart, with_groups: true };
    let log_dirs = LogDirs::from(log_dir);
    let mut bytes = Vec::new();
    Export::plan(&log_dirs, &[topic], &options).unwrap().write(&mut bytes, NOW, &mut |_| {}).unwrap();
    bytes
}

fn run(log_dir: &LogDir, bytes: &[u8]) -> Result<Vec<ImportedTopic>, ArchiveError> {
    let options = ImportOptions { with_groups: true, ..ImportOptions::default() };
    let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
    import(log_dir, bytes, &options, NOW, &mut watch)
}

/// Whether the topic is there; if it is, all of it is.
fn is_imported(disk: &FaultyDisk, what: &str) -> bool {
    let log_dir = LogDir::open(std::sync::Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    let Some(topic) = log_dir.find_topic(&name()).unwrap() else {
        assert!(log_dir.find_topics().unwrap().topics.iter().all(|it| it.name != name()), "{what}: it is listed");
        return false;
    };
    assert_eq!((topic.partitions.len(), &topic.config), (2, &new_topic().config), "{what}");
    for partition in log_dir.partitions(&topic).unwrap() {
        let mut records = RecordReader::new(partition.reader(4096).unwrap());
        let mut read = Vec::new();
        while records.advance().unwrap() == Advance::Record {
            let text = records.record().value.unwrap().to_vec();
            read.push((records.offset().0, String::from_utf8(text).unwrap()));
        }
        let number = partition.id().partition;
        let expected: Vec<_> =
            (if number == 0 { 1 } else { 0 }..RECORDS).map(|offset| (offset, value(number, offset))).collect();
        assert_eq!(read, expected, "{what}");
    }
    let pattern = [name().as_str().parse().unwrap()];
    let findings = log_dir.begin_verification(&pattern, || {}).unwrap().run(1, &|_| {}).unwrap();
    assert!(findings.all().next().is_none(), "{what}: {:?}", findings.all().collect::<Vec<_>>());
    true
}

/// Folders and files at the root that are neither the topic's, nor the groups', nor checkpoint files.
fn leftovers(disk: &FaultyDisk) -> Vec<String> {
    let names = disk.list(Path::new(ROOT)).unwrap().into_iter().map(|entry| entry.name);
    let is_known = |name: &String| {
        ["app-0", "app-1", "app.json", ".lock"].contains(&name.as_str())
            || name.starts_with("__consumer_offsets")
            || name.ends_with("-offset-checkpoint")
    };
    names.filter(|name| !is_known(name)).collect()
}

fn committed(disk: &FaultyDisk) -> Option<i64> {
    let log_dirs = LogDirs::from(open_log_dir(disk).unwrap());
    let found = GroupsTopic::find(&log_dirs).unwrap().all().unwrap();
    let group = found.groups.get(&"billing".parse().unwrap())?;
    group.committed.get(&TopicPartition { topic: name(), partition: 0 }).map(|it| it.offset.0)
}

/// Imports again where the topic is not there, and sees that nothing else is left then.
fn assert_finished(disk: &FaultyDisk, bytes: &[u8], what: &str) {
    if !is_imported(disk, what) {
        let imported = run(&open_log_dir(disk).unwrap(), bytes);
        assert!(imported.is_ok(), "{what}: {:?}", imported.err());
        assert!(is_imported(disk, what), "{what}");
        assert_eq!(committed(disk), Some(4), "{what}");
        assert_eq!(leftovers(disk), Vec::<String>::new(), "{what}");
    }
}

fn operations(bytes: &[u8]) -> u64 {
    let disk = disk_with_log_dir();
    let imported = run(&open_log_dir(&disk).unwrap(), bytes).unwrap();
    assert_eq!((imported.len(), imported[0].groups.committed.len()), (1, 1));
    assert!(is_imported(&disk, "without a fault") && is_imported(&disk.crash(0), "after a crash"));
    assert_eq!((committed(&disk), leftovers(&disk)), (Some(4), Vec::new()));
    assert!(disk.operations() > 80, "{:?}", disk.trace());
    disk.operations()
}

#[test]
fn an_import_that_is_killed_or_loses_power_anywhere_is_whole_or_not_there() {
    let bytes = export();
    let (mut whole, mut gone) = (0, 0);
    for at in 1..=operations(&bytes) {
        let disk = disk_with_log_dir();
        disk.crash_at(at);
        let failed = open_log_dir(&disk).map(|log_dir| run(&log_dir, &bytes).map(drop));
        let is_done = matches!(failed, Ok(Ok(())));
        for (found, what) in
            [(disk.kill(), "kill"), (disk.crash(0), "crash"), (disk.crash(1), "crash 1"), (disk.crash(2), "crash 2")]
        {
            let what = format!("{what} at {at}");
            let is_there = is_imported(&found, &what);
            assert!(is_there || !is_done, "{what}: it was acknowledged");
            *if is_there { &mut whole } else { &mut gone } += 1;
            assert_finished(&found, &bytes, &what);
        }
    }
    assert!(whole > 20 && gone > 200, "{whole} {gone}");
}

#[test]
fn an_import_that_fails_anywhere_is_whole_or_not_there() {
    let bytes = export();
    for at in 1..=operations(&bytes) {
        for is_persistent in [false, true] {
            let what = format!("failure at {at}, persistent: {is_persistent}");
            let disk = disk_with_log_dir();
            if is_persistent {
                disk.fail_from(at);
            } else {
                disk.fail_once_at(at);
            }
            let failed = open_log_dir(&disk).map(|log_dir| run(&log_dir, &bytes).map(drop));
            disk.disarm();
            let is_there = is_imported(&disk, &what);
            assert!(is_there || !matches!(failed, Ok(Ok(()))), "{what}: it was acknowledged");
            if !is_there && !is_persistent && failed.is_ok() {
                let left = leftovers(&disk).len();
                assert!(left <= 1, "{what}: {:?} is left", leftovers(&disk));
            }
            assert_finished(&disk, &bytes, &what);
        }
    }
}

#[test]
fn a_create_of_the_name_removes_what_an_import_has_left() {
    let bytes = export();
    let operations = operations(&bytes);
    for at in (1..operations).step_by(3) {
        let disk = disk_with_log_dir();
        disk.crash_at(at);
        let _ = open_log_dir(&disk).map(|log_dir| run(&log_dir, &bytes).map(drop));
        let found = disk.kill();
        if is_imported(&found, &format!("{at}")) {
            continue;
        }
        let log_dir = open_log_dir(&found).unwrap();
        let Created::New(topic) = log_dir.create_topic(&new_topic()).unwrap() else { panic!("{at}: it is there") };
        for partition in log_dir.partitions(&topic).unwrap() {
            let view = partition.view().unwrap();
            assert_eq!((view.log_start_offset().0, view.log_end_offset().unwrap().0), (0, 0), "{at}");
        }
        // A topic file that was half written under its temporary name stays, as one of `create` does.
        assert!(leftovers(&found).iter().all(|name| name.ends_with(".tmp")), "{at}: {:?}", leftovers(&found));
    }
}

#[test]
fn a_topic_that_is_being_imported_is_nobody_elses() {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let import = log_dir.begin_import(&new_topic(), None).unwrap();
    drop(import.partition(0, Offset::ZERO).unwrap().log().begin_segment(Offset::ZERO).unwrap());
    assert!(log_dir.find_topic(&name()).unwrap().is_none() && log_dir.find_topics().unwrap().topics.is_empty());
    // A deletion of another topic leaves what a living process has.
    let other = NewTopic { name: "other".parse().unwrap(), ..new_topic() };
    log_dir.create_topic(&other).unwrap();
    log_dir.delete_topic(&other.name, |_| {}).unwrap();
    assert!(disk.stat(&Path::new(ROOT).join("app-0")).unwrap().is_some());
    assert!(log_dir.delete_topic(&name(), |_| {}).is_err());
    import.abandon().unwrap();
    assert!(disk.stat(&Path::new(ROOT).join("app-0")).unwrap().is_none());
    assert_eq!(leftovers(&disk), Vec::<String>::new());
}
