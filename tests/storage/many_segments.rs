//! A log of more segments than files may be open.

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::{LogDir, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::{Advance, RecordReader};
use kdir::units::Offset;
use std::path::Path;
use std::sync::Arc;

/// How many files a producer of one partition may have open here: 100 segments are more.
const OPEN: usize = 20;
/// Two batches fill a segment.
const SEGMENT_BYTES: &str = "160";

/// How many records were acknowledged.
fn acknowledged(heard: &Heard) -> i64 {
    heard.all().iter().map(|it| it.last_offset - it.base_offset + 1).sum()
}

fn disk() -> FaultyDisk {
    let disk = disk_with_log_dir();
    let config = topic_config(&[("segment.bytes", SEGMENT_BYTES)]);
    open(&disk).create_topic(&NewTopic { name: "app".parse().unwrap(), partitions: 1, config }).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> LogDir {
    open_log_dir(disk).unwrap()
}

fn start(disk: &FaultyDisk, policy: SyncPolicy) -> (TopicWriter, Arc<Heard>) {
    let (log_dir, heard) = (open(disk), Arc::new(Heard::default()));
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    (TopicWriter::new(log_dir, topic, policy, heard.listener()).unwrap(), heard)
}

fn append(writer: &mut TopicWriter) {
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, value: Some(b"value"), ..NewRecord::default() });
    writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
}

fn read(disk: &FaultyDisk) -> i64 {
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new("/d")).unwrap();
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    let mut records = RecordReader::new(log_dir.partition(&topic, 0).unwrap().reader(4096).unwrap());
    let mut count = 0;
    while records.advance().unwrap() == Advance::Record {
        assert_eq!(records.offset().0, count);
        count += 1;
    }
    count
}

fn segments(disk: &FaultyDisk) -> usize {
    disk.list(Path::new("/d/app-0")).unwrap().iter().filter(|entry| entry.name.ends_with(".log")).count()
}

#[test]
fn a_run_rolls_more_segments_than_files_may_be_open() {
    for policy in [SyncPolicy::End, SyncPolicy::Never] {
        let disk = disk();
        disk.open_at_most(OPEN);
        let (mut writer, heard) = start(&disk, policy);
        (0..200).for_each(|_| append(&mut writer));
        writer.finish(NOW).unwrap();
        assert_eq!((segments(&disk), read(&disk)), (100, 200), "{policy:?}");
        let synced = if policy == SyncPolicy::Never { 0 } else { 200 };
        assert_eq!((acknowledged(&heard), read(&disk.crash(0))), (synced, synced), "{policy:?}");
    }
}

#[test]
fn two_runs_roll_more_segments_in_turn_than_files_may_be_open() {
    for other_policy in [SyncPolicy::End, SyncPolicy::Never] {
        let disk = disk();
        let (mut one, heard) = start(&disk, SyncPolicy::End);
        let (mut other, _) = start(&disk, other_policy);
        disk.open_at_most(2 * OPEN);
        (0..100).for_each(|_| {
            append(&mut one);
            append(&mut other);
        });
        one.finish(NOW).unwrap();
        assert_eq!(acknowledged(&heard), 100, "{other_policy:?}");
        assert_eq!(segments(&disk), 100);
        assert!(read(&disk.crash(0)) >= 199, "what was acknowledged, and all before it");
        other.finish(NOW).unwrap();
        assert_eq!(read(&disk), 200);
    }
}

/// Forgets every point below which all is durable, and what a reboot would forget as well.
fn forget_points(disk: &FaultyDisk) {
    disk.remove_file(Path::new("/d/recovery-point-offset-checkpoint")).unwrap();
    disk.remove_file(Path::new("/d/app-0/durable-end")).unwrap();
    for entry in disk.list(Path::new("/d/app-0")).unwrap() {
        if entry.name.starts_with("unsynced-") {
            disk.remove_file(&Path::new("/d/app-0").join(entry.name)).unwrap();
        }
    }
}

/// A log of so many records, of which nothing says what is durable.
fn with_unknown_segments(records: usize) -> FaultyDisk {
    let disk = disk();
    let (mut before, _) = start(&disk, SyncPolicy::Never);
    (0..records).for_each(|_| append(&mut before));
    drop(before);
    forget_points(&disk);
    disk
}

fn marks(disk: &FaultyDisk) -> usize {
    let names = disk.list(Path::new("/d/app-0")).unwrap();
    names.iter().filter(|entry| entry.name.starts_with("unsynced-")).count()
}

#[test]
fn more_segments_than_files_may_be_open_are_checked_by_the_next_run() {
    for policy in [SyncPolicy::End, SyncPolicy::Never] {
        let disk = with_unknown_segments(200);
        disk.open_at_most(OPEN);
        let (mut writer, heard) = start(&disk, policy);
        append(&mut writer);
        writer.finish(NOW).unwrap();
        let synced = if policy == SyncPolicy::Never { 0 } else { 201 };
        assert_eq!((acknowledged(&heard), read(&disk)), (synced.min(1), 201), "{policy:?}");
        assert_eq!(read(&disk.crash(0)), synced, "{policy:?}");
    }
}

#[test]
fn records_are_deleted_from_a_log_of_more_segments_than_files_may_be_open() {
    let disk = with_unknown_segments(200);
    disk.open_at_most(OPEN);
    let log_dir = open(&disk);
    let partition = log_dir.partition(&log_dir.topic(&"app".parse().unwrap()).unwrap(), 0).unwrap();
    assert_eq!(log_dir.delete_records(&partition, Offset(150), NOW).unwrap(), Offset(150));
    assert_eq!(marks(&disk), 0);
}

#[test]
fn a_sync_that_fails_while_a_log_is_opened_leaves_a_mark_for_the_next_run() {
    let written = || {
        let disk = with_unknown_segments(8);
        disk.reset_counts();
        disk
    };
    let disk = written();
    append(&mut start(&disk, SyncPolicy::End).0);
    let trace = disk.trace();
    let is_sync = |what: &String| what.starts_with("sync /d/app-0/") && what.ends_with(".log");
    let syncs: Vec<u64> = (1..).zip(&trace).filter(|(_, what)| is_sync(what)).map(|(n, _)| n).collect();
    assert_eq!(syncs.len(), 4, "three closed segments, and the roll of the fourth: {trace:?}");
    for n in &syncs[..3] {
        let disk = written();
        disk.fail_once_at(*n);
        let (mut failing, heard) = start(&disk, SyncPolicy::End);
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, value: Some(b"value"), ..NewRecord::default() });
        assert!(failing.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).is_err());
        failing.finish(NOW).unwrap();
        assert_eq!((acknowledged(&heard), marks(&disk)), (0, 1));
        let (mut next, heard) = start(&disk, SyncPolicy::End);
        append(&mut next);
        next.finish(NOW).unwrap();
        assert_eq!((acknowledged(&heard), marks(&disk), read(&disk.crash(0))), (1, 0, 9));
    }
}
