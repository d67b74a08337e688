//! Topics made, changed and deleted on the disk in memory, with a crash at every operation.

use super::support::{Heard, NOW, ROOT, disk_with_log_dir as disk, open_log_dir as open, topic_config};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::real::RealDisk;
use kdir::disk::{Access, Disk, FolderLock};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{
    Alteration, Created, Deleting, LimitOverrides, LogDir, LogDirError, NewTopic, Partition, Result, Topic,
};
use kdir::produce::TopicWriter;
use kdir::storage::{Appended, Checkpoints, LogWriter, PartitionGuard, SyncFor, create_empty_log, sync_now};
use kdir::units::{Offset, TopicName};
use std::path::Path;
use std::sync::Arc;

fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

fn new_topic(text: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name(text), partitions, config: TopicConfig::default() }
}

fn create(log_dir: &LogDir, text: &str, partitions: i32) -> Topic {
    match log_dir.create_topic(&new_topic(text, partitions)).unwrap() {
        Created::New(topic) => topic,
        Created::Existing(_) => panic!("{text} was there already"),
    }
}

/// A writer of one partition, with the handle that its guards come from.
pub(super) struct Writer {
    partition: Partition,
    writer: LogWriter,
}

impl std::ops::Deref for Writer {
    type Target = LogWriter;
    fn deref(&self) -> &LogWriter {
        &self.writer
    }
}

impl Writer {
    pub(super) fn open(log_dir: &LogDir, topic: &Topic, partition: i32) -> Result<Self> {
        let partition = log_dir.partition(topic, partition)?;
        let writer = log_dir.open_writer(&partition, &partition.guard()?, kdir::storage::Durability::Synced, NOW)?;
        Ok(Self { partition, writer })
    }

    /// Appends one batch with these values.
    pub(super) fn append(&mut self, values: &[&str]) -> Result<Appended> {
        let mut batch = batch_of(values);
        let guard = self.partition.guard()?;
        Ok(self.writer.append(&guard, &mut [batch.finished()], NOW)?)
    }
}

/// A finished batch with these values.
fn batch_of(values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0);
    for value in values {
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    builder.finish(None, usize::MAX).unwrap();
    builder
}

/// The value at every offset of a partition.
fn records(log_dir: &LogDir, text: &str, partition: i32) -> Vec<String> {
    let topic = log_dir.topic(&name(text)).unwrap();
    let reader = log_dir.partition(&topic, partition).unwrap().reader(4096).unwrap();
    super::support::read_on(reader).unwrap().into_iter().map(|(_, value)| value).collect()
}

/// What the checkpoint files say of a partition.
fn checkpoints(log_dir: &LogDir, topic: &Topic, partition: i32) -> Checkpoints {
    log_dir.partition(topic, partition).unwrap().view().unwrap().checkpoints()
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list(Path::new(ROOT)).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

#[test]
fn a_topic_lies_as_a_broker_lays_it_out() {
    let disk = disk();
    create(&open(&disk).unwrap(), "app", 2);
    assert_eq!(names(&disk), [".lock", "app-0", "app-1", "app.json", "recovery-point-offset-checkpoint"]);
    let mut files: Vec<String> = disk.list(Path::new("/d/app-1")).unwrap().into_iter().map(|it| it.name).collect();
    files.sort();
    assert_eq!(
        files,
        [
            "00000000000000000000.index",
            "00000000000000000000.log",
            "00000000000000000000.timeindex",
            "durable-end",
            "leader-epoch-checkpoint",
            "partition.metadata"
        ]
    );
}

#[test]
fn two_creators_make_one_topic() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    let topic = create(&log_dir, "app", 2);
    assert_eq!(log_dir.create_topic(&new_topic("app", 5)).unwrap(), Created::Existing(topic));
}

#[test]
fn a_name_that_kafka_takes_for_another_is_refused() {
    let log_dir = open(&disk()).unwrap();
    create(&log_dir, "a.b", 1);
    assert!(matches!(log_dir.create_topic(&new_topic("a_b", 1)), Err(LogDirError::TopicCollides { .. })));
    create(&log_dir, "a-b", 1);
}

#[test]
fn a_crash_while_a_topic_is_made_leaves_it_whole_or_not_at_all() {
    let work = |disk: &FaultyDisk| -> Result<()> { open(disk)?.create_topic(&new_topic("app", 2)).map(drop) };
    let counted = disk();
    counted.reset_counts();
    work(&counted).unwrap();
    for number in 1..=counted.operations() {
        for seed in 0..20 {
            let disk = disk();
            disk.reset_counts();
            disk.crash_at(number);
            let acknowledged = work(&disk).is_ok();
            let disk = disk.crash(seed);
            let log_dir = open(&disk).unwrap();
            let found = log_dir.find_topic(&name("app")).unwrap();
            assert!(found.is_some() || !acknowledged, "crash at {number}, seed {seed}");
            let topic = match found {
                Some(topic) => topic,
                None => create(&log_dir, "app", 2),
            };
            assert_eq!(topic.partitions, [0, 1], "crash at {number}, seed {seed}");
            for partition in [0, 1] {
                let mut writer = Writer::open(&log_dir, &topic, partition).unwrap();
                assert_eq!(writer.append(&["a"]).unwrap().base_offset, Offset(0));
                assert_eq!(records(&log_dir, "app", partition), ["a"]);
            }
        }
    }
}

#[test]
fn a_crash_while_a_topic_is_deleted_leaves_it_whole_or_gone_and_never_its_records_to_the_next() {
    let prepare = || {
        let disk = disk();
        let log_dir = open(&disk).unwrap();
        let topic = create(&log_dir, "app", 2);
        let mut writer = Writer::open(&log_dir, &topic, 1).unwrap();
        writer.append(&["old", "old"]).unwrap();
        sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
        log_dir.delete_records(&log_dir.partition(&topic, 1).unwrap(), Offset(1), NOW).unwrap();
        disk.reset_counts();
        disk
    };
    let work = |disk: &FaultyDisk| -> Result<()> { open(disk)?.delete_topic(&name("app"), |_| {}).map(drop) };
    let counted = prepare();
    work(&counted).unwrap();
    assert_eq!(names(&counted), [".lock", "log-start-offset-checkpoint", "recovery-point-offset-checkpoint"]);
    for number in 1..=counted.operations() {
        for seed in 0..20 {
            let disk = prepare();
            disk.crash_at(number);
            let acknowledged = work(&disk).is_ok();
            let disk = disk.crash(seed);
            let log_dir = open(&disk).unwrap();
            let what = format!("crash at {number}, seed {seed}");
            if let Some(topic) = log_dir.find_topic(&name("app")).unwrap() {
                assert!(!acknowledged, "{what}");
                assert_eq!(topic.partitions, [0, 1], "{what}");
                assert_eq!(records(&log_dir, "app", 1), ["old"], "{what}");
                log_dir.delete_topic(&name("app"), |_| {}).unwrap();
            }
            let topic = create(&log_dir, "app", 2);
            assert_eq!(records(&log_dir, "app", 1), Vec::<String>::new(), "{what}");
            let mut writer = Writer::open(&log_dir, &topic, 1).unwrap();
            assert_eq!(writer.append(&["new"]).unwrap().base_offset, Offset(0), "{what}");
            assert_eq!(records(&log_dir, "app", 1), ["new"], "{what}");
            let left: Vec<String> =
                names(&disk).into_iter().filter(|it| it.ends_with("-delete") || it.ends_with(".deleted")).collect();
            assert_eq!(left, Vec::<String>::new(), "{what}");
        }
    }
}

#[test]
fn partitions_are_only_added_and_a_crash_leaves_the_old_number_or_the_new() {
    let prepare = || {
        let disk = disk();
        create(&open(&disk).unwrap(), "app", 1);
        disk.reset_counts();
        disk
    };
    let work = |disk: &FaultyDisk, partitions: i32| -> Result<Topic> {
        let alteration = |_: &Topic| Ok(Alteration { config: None, partitions: Some(partitions) });
        open(disk)?.alter_topic(&name("app"), alteration)
    };
    for fewer in [1, 0] {
        assert!(matches!(work(&prepare(), fewer), Err(LogDirError::NotMorePartitions { .. })));
    }
    let counted = prepare();
    assert_eq!(work(&counted, 3).unwrap().partitions, [0, 1, 2]);
    for number in 1..=counted.operations() {
        for seed in 0..20 {
            let disk = prepare();
            disk.crash_at(number);
            let acknowledged = work(&disk, 3).is_ok();
            let log_dir = open(&disk.crash(seed)).unwrap();
            let topic = log_dir.topic(&name("app")).unwrap();
            let count = topic.partition_count().unwrap();
            assert!(count == 3 || count == 1 && !acknowledged, "crash at {number}, seed {seed}: {count}");
            for partition in 0..count {
                Writer::open(&log_dir, &topic, partition).unwrap().append(&["a"]).unwrap();
            }
        }
    }
}

#[test]
fn the_log_start_moves_forward_only_and_never_past_what_is_durable() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    let topic = create(&log_dir, "app", 1);
    let partition = log_dir.partition(&topic, 0).unwrap();
    Writer::open(&log_dir, &topic, 0).unwrap().append(&["a", "b", "c"]).unwrap();
    assert_eq!(log_dir.delete_records(&partition, Offset(2), NOW).unwrap(), Offset(2));
    assert_eq!(log_dir.delete_records(&partition, Offset(1), NOW).unwrap(), Offset(2));
    assert!(log_dir.delete_records(&partition, Offset(4), NOW).is_err());
    let log_dir = open(&disk.crash(0)).unwrap();
    assert_eq!(records(&log_dir, "app", 0), ["c"], "what the log start was moved over was made durable first");
}

#[test]
fn rows_that_an_older_topic_left_do_not_hide_the_records_of_a_new_one() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    for file in ["log-start-offset-checkpoint", "recovery-point-offset-checkpoint"] {
        let file = disk.open(&Path::new(ROOT).join(file), kdir::disk::Access::Create).unwrap();
        file.write_at(b"0\n2\napp 0 7\nother 0 3\n", 0).unwrap();
    }
    let topic = create(&log_dir, "app", 1);
    Writer::open(&log_dir, &topic, 0).unwrap().append(&["a"]).unwrap();
    assert_eq!(records(&log_dir, "app", 0), ["a"]);
    let left = |file: &str| super::support::bytes_of(&disk, &Path::new(ROOT).join(file));
    assert_eq!(left("log-start-offset-checkpoint"), b"0\n1\nother 0 3\n");
    assert_eq!(left("recovery-point-offset-checkpoint"), b"0\n2\napp 0 0\nother 0 3\n");
}

#[test]
fn a_topic_of_a_broker_is_read_as_it_is() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    for partition in ["x-0", "x-2"] {
        let folder = Path::new(ROOT).join(partition);
        disk.create_folder(&folder).unwrap();
        let lock = FolderLock::take(&disk.open_folder(&folder).unwrap()).unwrap();
        let guard = PartitionGuard::new(lock, Arc::default(), Checkpoints::default());
        create_empty_log(&guard, Offset::ZERO).unwrap();
    }
    let topic = log_dir.topic(&name("x")).unwrap();
    assert_eq!(topic.partitions, [0, 2]);
    assert!(matches!(topic.partition_count(), Err(LogDirError::PartitionsHaveGaps { .. })));
    Writer::open(&log_dir, &topic, 2).unwrap().append(&["a"]).unwrap();
    assert_eq!(records(&log_dir, "x", 2), ["a"]);
    let alteration = |_: &Topic| -> Result<Alteration> { Ok(Alteration { config: None, partitions: Some(5) }) };
    assert!(matches!(log_dir.alter_topic(&name("x"), alteration), Err(LogDirError::BrokerTopic { .. })));
}

#[test]
fn a_brokers_word_that_all_is_in_order_is_taken_back_before_the_first_write() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    let topic = create(&log_dir, "app", 1);
    let marker = Path::new("/d/.kafka_cleanshutdown");
    disk.open(marker, kdir::disk::Access::Create).unwrap();
    log_dir.topics().unwrap();
    assert!(disk.stat(marker).unwrap().is_some(), "reading changes nothing");
    drop(Writer::open(&log_dir, &topic, 0).unwrap());
    assert!(disk.stat(marker).unwrap().is_none());
}

#[test]
fn a_directory_that_a_broker_holds_is_refused_and_one_that_it_takes_later_is_left() {
    let disk = disk();
    let lock = Path::new("/d/.lock");
    let log_dir = open(&disk).unwrap();
    let topic = create(&log_dir, "app", 1);
    let mut writer = Writer::open(&log_dir, &topic, 0).unwrap();
    writer.append(&["a"]).unwrap();
    // A broker that stops deletes the file; another one that starts makes and locks it anew.
    disk.remove_file(lock).unwrap();
    assert!(disk.hold_exclusively(lock));
    let refused = writer.append(&["b"]);
    assert!(matches!(refused, Err(LogDirError::HeldByBroker { .. })), "{refused:?}");
    assert!(matches!(open(&disk), Err(LogDirError::HeldByBroker { .. })));
    let limits = LimitOverrides { retention_bytes: Some(0), ..LimitOverrides::default() };
    let partition = log_dir.partition(&topic, 0).unwrap();
    let refused = partition.apply_retention(limits, NOW, &mut Vec::new(), |_| {});
    assert!(matches!(refused, Err(LogDirError::HeldByBroker { .. })), "{refused:?}");
    assert_eq!(records(&log_dir, "app", 0), ["a"]);
    disk.release_exclusive(lock);
    Writer::open(&open(&disk).unwrap(), &topic, 0).unwrap().append(&["b"]).unwrap();
}

/// A topic of small segments, and what appends a batch to it.
fn small_segments() -> NewTopic {
    let config = topic_config(&[("segment.bytes", "100")]);
    NewTopic { name: name("app"), partitions: 1, config }
}

fn produce(writer: &mut TopicWriter, values: &[&str]) {
    for value in values {
        writer.append(0, &mut [batch_of(&[value]).finished()], NOW).unwrap();
    }
}

fn producer(log_dir: &LogDir, topic: &Topic) -> TopicWriter {
    let policy = kdir::produce::SyncPolicy::End;
    TopicWriter::new(log_dir.clone(), topic.clone(), policy, Arc::new(Heard::default()).listener()).unwrap()
}

#[test]
fn a_producer_that_ends_late_does_not_take_the_recovery_point_back() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    log_dir.create_topic(&small_segments()).unwrap();
    let topic = log_dir.topic(&name("app")).unwrap();
    let (mut late, mut other) = (producer(&log_dir, &topic), producer(&log_dir, &topic));
    produce(&mut late, &["1", "2", "3"]);
    produce(&mut other, &["4", "5", "6"]);
    other.finish(NOW).unwrap();
    let row = || checkpoints(&log_dir, &topic, 0).recovery_point;
    assert_eq!(row(), Offset(6));
    late.finish(NOW).unwrap();
    assert_eq!(row(), Offset(6));
}

#[test]
fn a_topic_made_anew_beside_its_producer_does_not_get_the_recovery_point_of_the_old_one() {
    let disk = disk();
    let log_dir = open(&disk).unwrap();
    let new = small_segments();
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    let mut writer = producer(&log_dir, &topic);
    produce(&mut writer, &["old"; 4]);
    let other = open(&disk).unwrap();
    other.delete_topic(&new.name, |_| {}).unwrap();
    other.create_topic(&new).unwrap();
    let finished = writer.finish(NOW);
    assert!(matches!(finished, Err(LogDirError::TopicDeleted { .. })), "{finished:?}");
    let topic = other.topic(&new.name).unwrap();
    assert_eq!(checkpoints(&open(&disk).unwrap(), &topic, 0), Checkpoints::default());
    assert_eq!(Writer::open(&other, &topic, 0).unwrap().append(&["new"]).unwrap().base_offset, Offset(0));
}

#[test]
fn a_topic_is_deleted_from_its_oldest_segments_on_and_its_id_goes_last() {
    // A file system that lists names in an order of its own.
    let temp = tempfile::tempdir().unwrap();
    let (disk, root): (Arc<dyn Disk>, _) = (Arc::new(RealDisk::default()), temp.path().join("log"));
    LogDir::make(&*disk, &root).unwrap();
    let log_dir = LogDir::open_to_write(Arc::clone(&disk), &root).unwrap();
    create(&log_dir, "app", 1);
    for number in (1..40).rev() {
        disk.open(&root.join(format!("app-0/{:020}.log", number * 7)), Access::New).unwrap();
    }
    let mut removed = Vec::new();
    let note = |step: Deleting<'_>| match step {
        Deleting::Removed(path) => removed.push(path.file_name().unwrap().to_str().unwrap().to_owned()),
        Deleting::Unlinked(path) => panic!("{}", path.display()),
    };
    log_dir.delete_topic(&name("app"), note).unwrap();
    assert_eq!(removed.pop().as_deref(), Some("partition.metadata"));
    assert!(removed.len() > 39 && removed.is_sorted(), "{removed:?}");
}
