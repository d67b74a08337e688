//! A topic is an identity, not a name: what was decided on one is never applied to another that has its name since.

use super::support::{Heard, NOW, disk_with_log_dir as disk, open_log_dir, topic_config as config};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::real::RealDisk;
use kdir::disk::{Access, Disk, FolderLock};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::{Alteration, Created, LimitOverrides, LogDir, LogDirError, NewTopic, Partition, Result, Topic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::repair::DamagedRecords;
use kdir::units::{Offset, Timestamp, TopicPartition};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn open(disk: &FaultyDisk) -> LogDir {
    open_log_dir(disk).unwrap()
}

fn create(log_dir: &LogDir, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<Topic> {
    let new = NewTopic { name: name.parse().unwrap(), partitions, config: config(settings) };
    match log_dir.create_topic(&new)? {
        Created::New(topic) | Created::Existing(topic) => Ok(topic),
    }
}

fn batch(value: &[u8], timestamp: Timestamp) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp, value: Some(value), ..NewRecord::default() });
    builder.finish(None, usize::MAX).unwrap();
    builder
}

/// Appends so many records; how many stretches were acknowledged.
fn produce(log_dir: &LogDir, topic: &Topic, records: usize) -> usize {
    let heard = Arc::new(Heard::default());
    let listener = heard.listener();
    let mut writer = TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, listener).unwrap();
    for number in 0..records {
        let mut batch = batch(format!("precious {number}").as_bytes(), NOW);
        writer.append(0, &mut [batch.finished()], NOW).unwrap();
    }
    writer.finish(NOW).unwrap();
    heard.all().len()
}

fn range(log_dir: &LogDir, topic: &Topic) -> (i64, i64) {
    let view = log_dir.partition(topic, 0).unwrap().view().unwrap();
    (view.log_start_offset().0, view.log_end_offset().unwrap().0)
}

fn is_deleted<T>(result: &Result<T>) -> bool {
    matches!(result, Err(LogDirError::TopicDeleted { .. }))
}

/// A topic of which everything may go, the handle of its partition, and a topic of its name that keeps for ever.
fn replaced(disk: &FaultyDisk) -> (LogDir, Partition, Topic) {
    let log_dir = open(disk);
    let old = create(&log_dir, "z", 1, &[("retention.ms", "1"), ("segment.bytes", "300")]).unwrap();
    produce(&log_dir, &old, 20);
    let handle = log_dir.partition(&old, 0).unwrap();
    assert!(handle.plan_retention(LimitOverrides::default(), NOW + 1000).unwrap().plan.going().count() > 1);
    log_dir.delete_topic(&old.name, |_| {}).unwrap();
    let new = create(&log_dir, "z", 1, &[("retention.ms", "-1"), ("segment.bytes", "300")]).unwrap();
    assert!(produce(&log_dir, &new, 20) > 0);
    (log_dir, handle, new)
}

#[test]
fn retention_of_a_deleted_topic_removes_nothing_of_the_one_that_has_its_name() {
    let disk = disk();
    let (log_dir, handle, new) = replaced(&disk);
    let applied = handle.apply_retention(LimitOverrides::default(), NOW + 1000, &mut Vec::new(), |_| {});
    assert!(is_deleted(&applied), "{applied:?}");
    assert_eq!(range(&log_dir, &new), (0, 20));
}

#[test]
fn records_are_not_deleted_from_a_topic_that_they_were_not_found_in() {
    let disk = disk();
    let (log_dir, handle, new) = replaced(&disk);
    let deleted = log_dir.delete_records(&handle, Offset(19), NOW);
    assert!(is_deleted(&deleted), "{deleted:?}");
    assert_eq!(range(&log_dir, &new), (0, 20));
}

#[test]
fn retention_goes_by_the_limits_in_force_when_it_removes() {
    let disk = disk();
    let log_dir = open(&disk);
    let topic = create(&log_dir, "z", 1, &[("retention.ms", "1"), ("segment.bytes", "300")]).unwrap();
    produce(&log_dir, &topic, 20);
    let handle = log_dir.partition(&topic, 0).unwrap();
    assert!(handle.plan_retention(LimitOverrides::default(), NOW + 1000).unwrap().plan.going().count() > 1);
    let altered = |_: &Topic| -> Result<Alteration> {
        Ok(Alteration { config: Some(config(&[("retention.ms", "-1")])), partitions: None })
    };
    log_dir.alter_topic(&topic.name, altered).unwrap();
    let applied = handle.apply_retention(LimitOverrides::default(), NOW + 1000, &mut Vec::new(), |_| {}).unwrap();
    assert_eq!(applied.plan.going().count(), 0);
    assert_eq!(range(&log_dir, &topic), (0, 20));
}

#[test]
fn a_producer_of_a_deleted_topic_writes_nothing_to_the_one_that_has_its_name() {
    let disk = disk();
    let log_dir = open(&disk);
    let old = create(&log_dir, "z", 1, &[]).unwrap();
    let listener = Arc::new(Heard::default()).listener();
    let mut idle = TopicWriter::new(log_dir.clone(), old.clone(), SyncPolicy::End, listener).unwrap();
    idle.append(0, &mut [batch(b"old", NOW).finished()], NOW).unwrap();
    log_dir.delete_topic(&old.name, |_| {}).unwrap();
    let new = create(&log_dir, "z", 1, &[("cleanup.policy", "compact"), ("max.message.bytes", "1000")]).unwrap();
    let appended = idle.append(0, &mut [batch(&[b'x'; 5000], NOW).finished()], NOW);
    assert!(is_deleted(&appended), "{appended:?}");
    assert_eq!(range(&log_dir, &new), (0, 0));
}

#[test]
fn a_producer_stops_where_the_limits_or_the_policy_of_its_topic_were_changed() {
    let disk = disk();
    let log_dir = open(&disk);
    let topic = create(&log_dir, "z", 1, &[]).unwrap();
    let start = || {
        let listener = Arc::new(Heard::default()).listener();
        TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, listener).unwrap()
    };
    let alter = |settings: &[(&str, &str)]| {
        let config = config(settings);
        let altered = |_: &Topic| -> Result<Alteration> { Ok(Alteration { config: Some(config), partitions: None }) };
        log_dir.alter_topic(&topic.name, altered).unwrap();
    };
    let mut writer = start();
    writer.append(0, &mut [batch(&[b'x'; 5000], NOW).finished()], NOW).unwrap();
    alter(&[("max.message.bytes", "1000")]);
    assert!(writer.append(0, &mut [batch(&[b'x'; 5000], NOW).finished()], NOW).is_err());
    let mut writer = start();
    alter(&[("cleanup.policy", "compact")]);
    let appended = writer.append(0, &mut [batch(b"without a key", NOW).finished()], NOW);
    assert!(matches!(appended, Err(LogDirError::PolicyChanged { .. })), "{appended:?}");
    assert_eq!(range(&log_dir, &topic), (0, 1));
}

#[test]
fn a_topic_file_under_the_name_of_a_deletion_deletes_nothing() {
    for name in ["app.json.deleted", "backup.deleted"] {
        let disk = disk();
        let log_dir = open(&disk);
        let app = create(&log_dir, "app", 1, &[]).unwrap();
        produce(&log_dir, &app, 5);
        disk.rename(Path::new("/d/app.json"), &Path::new("/d").join(name)).unwrap();
        create(&log_dir, "other", 1, &[]).unwrap();
        log_dir.delete_topic(&"other".parse().unwrap(), |_| {}).unwrap();
        let found = log_dir.topic(&"app".parse().unwrap()).unwrap();
        assert_eq!(range(&log_dir, &found), (0, 5), "{name}");
    }
}

#[test]
fn a_deletion_that_was_begun_removes_no_folder_of_another_topic_id() {
    let disk = disk();
    let log_dir = open(&disk);
    let app = create(&log_dir, "app", 1, &[]).unwrap();
    produce(&log_dir, &app, 5);
    // A deleter that died after it had renamed the topic file, and a folder of that name from elsewhere.
    let id = match app.origin {
        kdir::logdir::Origin::TopicFile(id) => kdir::format::properties::topic_id_to_text(id),
        _ => unreachable!(),
    };
    disk.rename(Path::new("/d/app.json"), &Path::new("/d").join(format!("{id}.deleted"))).unwrap();
    let metadata = disk.open(Path::new("/d/app-0/partition.metadata"), kdir::disk::Access::Write).unwrap();
    metadata.set_len(0).unwrap();
    metadata.write_at(b"version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ\n", 0).unwrap();
    let found = create(&log_dir, "app", 1, &[]).unwrap();
    assert_eq!(found.origin, kdir::logdir::Origin::Broker, "the folder is of a topic that has no file here");
    let names: Vec<String> = disk.list(Path::new("/d/app-0")).unwrap().into_iter().map(|entry| entry.name).collect();
    assert!(names.contains(&"00000000000000000000.log".to_owned()), "{names:?}");
}

#[test]
fn topics_are_created_and_deleted_beside_a_deletion() {
    let disk = disk();
    let log_dir = open(&disk);
    create(&log_dir, "big", 60, &[]).unwrap();
    std::thread::scope(|scope| {
        let deleter = scope.spawn(|| open(&disk).delete_topic(&"big".parse().unwrap(), |_| {}));
        for number in 0..20 {
            let name = format!("other{number}");
            create(&open(&disk), &name, 1, &[]).unwrap();
            open(&disk).delete_topic(&name.parse().unwrap(), |_| {}).unwrap();
        }
        // Of the same name, a creator waits for the deleter, or is sooner and finds the topic.
        create(&open(&disk), "big", 1, &[]).unwrap();
        deleter.join().unwrap().unwrap();
    });
}

#[test]
fn a_new_log_dir_survives_a_power_failure() {
    let disk = disk();
    let log_dir = open(&disk);
    let topic = create(&log_dir, "app", 1, &[]).unwrap();
    assert_eq!(produce(&log_dir, &topic, 1), 1);
    let found = disk.crash(0);
    assert_eq!(range(&open(&found), &open(&found).topic(&topic.name).unwrap()), (0, 1));
}

#[test]
fn what_a_killed_creator_left_survives_once_a_producer_has_acknowledged() {
    let mut killed_at = 0;
    for number in 1.. {
        let disk = disk();
        disk.reset_counts();
        disk.fail_from(number);
        let created = LogDir::open_to_write(Arc::new(disk.clone()), Path::new("/d"))
            .and_then(|log_dir| create(&log_dir, "app", 1, &[]));
        if created.is_ok() {
            break;
        }
        let disk = disk.kill();
        let log_dir = open(&disk);
        let Ok(topic) = log_dir.topic(&"app".parse().unwrap()) else { continue };
        killed_at += 1;
        assert_eq!(produce(&log_dir, &topic, 1), 1, "killed at {number}");
        let found = disk.crash(0);
        let topic = open(&found).topic(&topic.name).unwrap_or_else(|error| panic!("killed at {number}: {error}"));
        assert_eq!(range(&open(&found), &topic), (0, 1), "killed at {number}");
    }
    assert!(killed_at > 5, "the creator is killed at many places, and was at {killed_at}");
}

#[test]
fn the_next_producer_starts_after_any_power_failure_and_nothing_acknowledged_is_missing() {
    let mut found_more = 0;
    for seed in 1..400 {
        let disk = disk();
        let log_dir = open(&disk);
        let topic = create(&log_dir, "app", 1, &[]).unwrap();
        let heard = Arc::new(Heard::default());
        let listener = heard.listener();
        let mut writer = TopicWriter::new(log_dir, topic.clone(), SyncPolicy::Always, listener).unwrap();
        for number in 0..8 {
            writer.append(0, &mut [batch(&[b'x'; 3000], NOW).finished()], NOW).unwrap();
            if number == 1 {
                writer.sync_point().unwrap();
            }
        }
        let acknowledged = heard.all().iter().map(|it| it.last_offset.0 + 1).max().unwrap();
        std::mem::forget(writer);
        let disk = disk.crash(seed);
        let log_dir = open(&disk);
        produce(&log_dir, &topic, 1);
        let (_, end) = range(&log_dir, &topic);
        assert!(end > acknowledged, "seed {seed}: {end}");
        found_more += i32::from(end > acknowledged + 1);
    }
    assert!(found_more > 0, "whole batches above what was acknowledged are kept where they are found");
}

#[test]
fn a_deletion_that_has_just_begun_is_not_taken_over_by_another() {
    let root = tempfile::tempdir().unwrap();
    let real = |disk| LogDir::open_to_write(disk, root.path()).unwrap();
    let log_dir = real(Arc::new(RealDisk::default()));
    for name in ["one", "two"] {
        create(&log_dir, name, 1, &[]).unwrap();
    }
    // While the first comes to its lock, the second looks for deletions to finish.
    let (begins, begun) = mpsc::channel();
    let disk = super::delayed::disk_with(move |operation| {
        if operation == "try_lock" && begins.send(()).is_ok() {
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let (first, second) = (real(disk), log_dir);
    let (ended, end) = mpsc::channel();
    let delete = |log_dir: LogDir, name: &'static str| {
        let ended = ended.clone();
        std::thread::spawn(move || ended.send(log_dir.delete_topic(&name.parse().unwrap(), |_| {})).unwrap());
    };
    delete(first, "one");
    begun.recv().unwrap();
    delete(second, "two");
    for _ in 0..2 {
        end.recv_timeout(Duration::from_secs(20)).expect("no deletion waits for ever").unwrap();
    }
}

#[test]
fn a_repair_does_not_bring_the_folder_of_a_topic_back_that_was_deleted_while_it_waited() {
    let disk = disk();
    create(&open(&disk), "app", 1, &[]).unwrap();
    disk.rename(Path::new("/d/app-0"), Path::new("/lost")).unwrap();
    let root = FolderLock::take(&disk.open_folder(Path::new("/d")).unwrap()).unwrap();
    let other = disk.clone();
    let repairing = std::thread::spawn(move || {
        let partition = TopicPartition::parse_folder_name("app-0").unwrap();
        open(&other).repair_partition(&partition, DamagedRecords::GiveUp, 1, &mut Vec::new())
    });
    std::thread::sleep(Duration::from_millis(300));
    // What a deletion does while it has the root locked, and all of it: there is no folder to be set aside.
    disk.remove_file(Path::new("/d/app.json")).unwrap();
    disk.remove_file(Path::new("/d/recovery-point-offset-checkpoint")).unwrap();
    drop(root);
    assert!(is_deleted(&repairing.join().unwrap()));
    assert!(disk.list(Path::new("/d")).unwrap().iter().all(|entry| entry.name != "app-0"));
}

#[test]
fn a_topic_file_that_another_program_has_locked_is_named() {
    let disk = disk();
    let log_dir = open(&disk);
    let topic = create(&log_dir, "app", 1, &[]).unwrap();
    let locked = disk.open(Path::new("/d/app.json"), Access::Read).unwrap();
    locked.lock().unwrap();
    let deleted = log_dir.delete_topic(&topic.name, |_| {});
    assert!(matches!(deleted, Err(LogDirError::FileLocked { .. })), "{deleted:?}");
    drop(locked);
    log_dir.delete_topic(&topic.name, |_| {}).unwrap();
}
