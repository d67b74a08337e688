//! Several writers and a follower on the operating system's own file system.

use super::support::{Heard, NOW, topic_config};
use kdir::disk::Disk;
use kdir::disk::real::RealDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::{Alteration, Created, LogDir, NewTopic, Partition, Result, Topic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::file_name::{FileKind, segment_name};
use kdir::storage::{Advance, RecordReader};
use kdir::units::Offset;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const BATCHES: usize = 300;

fn write(log_dir: &LogDir, partition: &Partition, name: usize) {
    let mut writer =
        log_dir.open_writer(partition, &partition.guard().unwrap(), kdir::storage::Durability::Synced, NOW).unwrap();
    let mut builder = BatchBuilder::new(0);
    for batch in 0..BATCHES {
        for record in 0..3 {
            let value = format!("{name} {}", batch * 3 + record);
            builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
        }
        let guard = partition.guard().unwrap();
        writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
        builder.clear();
    }
    writer.close(&partition.guard().unwrap(), NOW).unwrap();
}

#[test]
fn writers_share_a_partition_and_a_follower_sees_it_all_in_order() {
    let root = tempfile::tempdir().unwrap();
    let log_dir = LogDir::open_to_write(Arc::new(RealDisk::default()), root.path()).unwrap();
    let config = topic_config(&[("segment.bytes", "20000"), ("index.interval.bytes", "500")]);
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    let reader = log_dir.partition(&topic, 0).unwrap().reader(4096).unwrap();
    let total = (WRITERS * BATCHES * 3) as i64;
    std::thread::scope(|scope| {
        for name in 0..WRITERS {
            // A handle each: they exclude each other as processes do.
            let (log_dir, partition) = (&log_dir, log_dir.partition(&topic, 0).unwrap());
            scope.spawn(move || write(log_dir, &partition, name));
        }
        let mut records = RecordReader::new(reader);
        let (mut next, mut last) = (0, BTreeMap::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        while next < total {
            match records.advance().unwrap() {
                Advance::Record => {
                    assert_eq!(records.offset().0, next, "no gap, nothing twice");
                    let value = String::from_utf8(records.record().value.unwrap().to_vec()).unwrap();
                    let (name, number) = value.split_once(' ').unwrap();
                    let number: usize = number.parse().unwrap();
                    let before = last.insert(name.to_owned(), number);
                    assert_eq!(before.map_or(0, |before| before + 1), number, "each writer's order is kept");
                    next += 1;
                }
                Advance::End => assert!(Instant::now() < deadline, "only {next} of {total} came"),
                Advance::LogStartPassed { .. } => panic!("nothing is removed here"),
            }
        }
    });
}

/// What the disk is asked for by two producers that append in turn, ten times each, to a log of so many segments.
fn asked_by_two_in_turn(segment_count: usize) -> BTreeMap<&'static str, usize> {
    let root = tempfile::tempdir().unwrap();
    let asked = Arc::new(Mutex::new(BTreeMap::new()));
    let counted = Arc::clone(&asked);
    let disk = super::delayed::disk_with(move |operation| *counted.lock().unwrap().entry(operation).or_insert(0) += 1);
    let log_dir = LogDir::open_to_write(disk, root.path()).unwrap();
    let small =
        NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&[("segment.bytes", "100")]) };
    let Created::New(topic) = log_dir.create_topic(&small).unwrap() else { panic!("it is new") };
    let produce = |writer: &mut TopicWriter| {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(b"value"), headers: &[] });
        writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    };
    let start = |topic: &Topic| {
        TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, Arc::new(Heard::default()).listener())
            .unwrap()
    };
    let mut filling = start(&topic);
    (0..segment_count).for_each(|_| produce(&mut filling));
    filling.finish(NOW).unwrap();
    let config = topic_config(&[("segment.bytes", "1000000")]);
    let altered = |_: &Topic| -> Result<Alteration> { Ok(Alteration { config: Some(config), partitions: None }) };
    let topic = log_dir.alter_topic(&topic.name, altered).unwrap();
    let mut writers = [start(&topic), start(&topic)];
    writers.iter_mut().for_each(&produce);
    asked.lock().unwrap().clear();
    for _ in 0..10 {
        writers.iter_mut().for_each(&produce);
    }
    let asked = asked.lock().unwrap().clone();
    let names = log_dir.partition(&topic, 0).unwrap().view().unwrap().bases().len();
    assert_eq!(names, segment_count);
    asked
}

#[test]
fn a_change_of_hands_between_producers_costs_the_same_however_many_segments_there_are() {
    let asked = asked_by_two_in_turn(200);
    assert_eq!(asked.get("list"), None, "nobody lists the folder: {asked:?}");
    assert_eq!(asked, asked_by_two_in_turn(1));
}

/// A run that appends one record and ends in order.
fn run(log_dir: &LogDir, topic: &Topic) {
    let mut writer =
        TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, Arc::new(Heard::default()).listener())
            .unwrap();
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(b"value"), headers: &[] });
    writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    writer.finish(NOW).unwrap();
}

fn log_dir_with_topic(root: &Path) -> (LogDir, Topic) {
    let log_dir = LogDir::open_to_write(Arc::new(RealDisk::default()), root).unwrap();
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&[]) };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it is new") };
    (log_dir, topic)
}

#[test]
fn a_guard_knows_what_other_runs_have_promised_since_the_last_one() {
    let root = tempfile::tempdir().unwrap();
    let (log_dir, topic) = log_dir_with_topic(root.path());
    let partition = log_dir.partition(&topic, 0).unwrap();
    for promised in 0..3 {
        assert_eq!(partition.guard().unwrap().checkpoints().recovery_point, Offset(promised));
        run(&log_dir, &topic);
    }
}

#[test]
fn of_two_that_find_a_copy_the_second_takes_back_nothing_that_the_first_has_promised() {
    let (original, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log_dir, topic) = log_dir_with_topic(original.path());
    run(&log_dir, &topic);
    let copy = copies.path().join("copy");
    assert!(Command::new("cp").arg("-a").args([original.path(), &copy]).status().unwrap().success());
    // The first comes when the second has seen the copy and waits for the right to change something.
    let first = LogDir::open_to_write(Arc::new(RealDisk::default()), &copy).unwrap();
    let (begun, name) = (Once::new(), topic.name.clone());
    let disk = super::delayed::disk_with(move |operation| {
        if operation == "lock_exclusive" {
            begun.call_once(|| run(&first, &first.topic(&name).unwrap()));
        }
    });
    let second = LogDir::open_to_write(disk, &copy).unwrap();
    let partition = second.partition(&second.topic(&topic.name).unwrap(), 0).unwrap();
    assert_eq!(partition.guard().unwrap().checkpoints().recovery_point, Offset(2));
}

#[test]
fn a_log_that_gets_its_first_segment_while_it_is_looked_at_has_lost_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (log_dir, topic) = log_dir_with_topic(root.path());
    // As a creator leaves it that was killed half-way.
    let folder = RealDisk::default().open_folder(&root.path().join("t-0")).unwrap();
    for kind in FileKind::ALL {
        let name = segment_name(Offset(0), kind);
        if folder.stat(&name).unwrap().is_some() {
            folder.remove_file(&name).unwrap();
        }
    }
    let (begun, is_listed, name) = (Once::new(), AtomicBool::new(false), topic.name.clone());
    let disk = super::delayed::disk_with(move |operation| {
        if is_listed.load(Ordering::SeqCst) {
            begun.call_once(|| run(&log_dir, &log_dir.topic(&name).unwrap()));
        }
        is_listed.fetch_or(operation == "list", Ordering::SeqCst);
    });
    let reading = LogDir::open(disk, root.path()).unwrap();
    let view = reading.partition(&reading.topic(&topic.name).unwrap(), 0).unwrap().view().unwrap();
    assert!(view.is_empty(), "it was, when it was listed");
}
