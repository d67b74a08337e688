//! A log dir that is handed to a broker, or taken back, on a disk that stops at any moment: it is the broker's or kdir's.

use super::support::{NOW, ROOT, disk_with_log_dir, open_log_dir};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Disk, atomic};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::groups::Commits;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{LogDir, LogDirs, NewTopic};
use kdir::promote::{
    DemotionPlan, Expiring, FirstStart, PromoteError, PromoteOptions, Promotion, PromotionPlan, Quorum, Result, Start,
    undo,
};
use kdir::storage::{Durability, LogWriter, SyncFor, sync_now};
use kdir::units::{Offset, TopicPartition};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn options(quorum: Quorum) -> PromoteOptions {
    PromoteOptions {
        release: None,
        node_id: None,
        cluster_id: None,
        listener: "127.0.0.1:9092".parse().unwrap(),
        controllers: vec!["127.0.0.1:9093".parse().unwrap()],
        replicas: Vec::new(),
        metadata_dirs: Vec::new(),
        properties: None,
        quorum: Some(quorum),
        first_start: FirstStart::Trusts,
        expiring: Expiring::Refuse,
    }
}

fn alone(disk: &FaultyDisk) -> Result<LogDirs> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Ok(LogDirs::open_alone(&disk, &[PathBuf::from(ROOT)])?)
}

fn promote(disk: &FaultyDisk, quorum: Quorum) -> Result<PromotionPlan> {
    let (log_dirs, options) = (alone(disk)?, options(quorum));
    let plan = PromotionPlan::make(&log_dirs, &[], &options, NOW)?;
    let promotion = Promotion { log_dirs: &log_dirs, controllers: &[], controller: &options.controllers[0] };
    promotion.apply(plan, NOW, &mut Vec::new(), &mut || {})
}

fn take_back(disk: &FaultyDisk) -> Result<()> {
    undo(&alone(disk)?, &[], NOW)
}

/// Two partitions of records, one of them not synced by its run, and a group.
fn filled() -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "app".parse().unwrap(), partitions: 2, config: TopicConfig::default() };
    log_dir.create_topic(&new).unwrap();
    append(&log_dir, 0, Durability::Synced);
    append(&log_dir, 1, Durability::Unsynced);
    let mut commits = Commits::open(&log_dir, &"g".parse().unwrap()).unwrap();
    let partition = TopicPartition { topic: "app".parse().unwrap(), partition: 0 };
    commits.commit(&[(partition, (Offset(1), String::new()))].into(), NOW).unwrap();
    commits.close(NOW).unwrap();
    disk
}

fn append(log_dir: &LogDir, number: i32, durability: Durability) {
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    let partition = log_dir.partition(&topic, number).unwrap();
    let mut builder = BatchBuilder::new(0);
    for value in [&b"one"[..], b"two", b"three"] {
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value), headers: &[] });
    }
    let guard = partition.guard().unwrap();
    let mut writer = LogWriter::open(&guard, durability, NOW).unwrap();
    writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    drop(guard);
    if durability == Durability::Synced {
        sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
    }
    partition.close(&mut writer, NOW).unwrap();
}

fn has(disk: &FaultyDisk, name: &str) -> bool {
    disk.stat(&Path::new(ROOT).join(name)).unwrap().is_some()
}

fn text(disk: &FaultyDisk, name: &str) -> String {
    let bytes = atomic::read_small_at(disk, &Path::new(ROOT).join(name), usize::MAX).unwrap();
    String::from_utf8(bytes.unwrap_or_default()).unwrap()
}

/// A broker starts only where `meta.properties` is, and then finds every topic, and all records below the recovery points.
fn is_one_of_two(disk: &FaultyDisk, quorum: Quorum, what: &str) {
    if has(disk, "meta.properties") {
        assert!(has(disk, "bootstrap.checkpoint"), "{what}");
        let first = "__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
        assert_eq!(has(disk, first), quorum == Quorum::Dynamic, "{what}");
        assert!(text(disk, "server.properties").contains("process.roles=broker,controller"), "{what}");
        let rows = text(disk, "recovery-point-offset-checkpoint");
        assert!(rows.contains("app 0 3\n"), "{what}: {rows}");
        assert!(has(disk, ".kafka_cleanshutdown"), "{what}");
        let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
        assert_eq!(log_dir.broker_mark().unwrap(), Some("meta.properties"), "{what}");
    } else {
        let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
        assert_eq!(log_dir.broker_mark().unwrap(), None, "{what}");
    }
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    let topics = log_dir.topics().unwrap();
    let names: Vec<&str> = topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["__consumer_offsets", "app"], "{what}");
    let end = log_dir.partition(&topics[1], 0).unwrap().view().unwrap().log_end_offset().unwrap();
    assert_eq!(end, Offset(3), "{what}");
}

/// Every so many operations the disk is stopped in turn: killed, and with two kinds of power failure.
fn cut_at_every(
    step: usize,
    begin: impl Fn() -> FaultyDisk,
    change: impl Fn(&FaultyDisk) -> Result<()>,
    check: impl Fn(&FaultyDisk, bool, &str),
) {
    let whole = begin();
    whole.reset_counts();
    change(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 5, "{operations}");
    for at in (0..=operations).step_by(step) {
        for way in 0..3 {
            let disk = begin();
            disk.reset_counts();
            disk.crash_at(at);
            let is_done = change(&disk).is_ok();
            let disk = if way == 0 { disk.kill() } else { disk.crash(way) };
            check(&disk, is_done, &format!("cut at {at}, way {way}, done: {is_done}"));
        }
    }
}

fn promoted(quorum: Quorum) -> FaultyDisk {
    let disk = filled();
    promote(&disk, quorum).unwrap();
    disk
}

#[test]
fn a_promotion_that_was_cut_off_has_happened_or_not_and_is_finished_by_the_next() {
    promotion_is_one_of_two(STEP);
}

#[test]
fn an_undo_that_was_cut_off_is_finished_by_the_next_and_leaves_nothing() {
    undo_is_finished(1);
}

#[test]
fn a_promotion_that_has_not_come_to_its_end_can_be_undone() {
    promotion_can_be_undone(STEP);
}

#[test]
fn a_demotion_that_was_cut_off_has_happened_or_not_and_is_finished_by_the_next() {
    demotion_is_one_of_two(3);
}

#[test]
#[ignore = "takes minutes: every operation"]
fn at_every_operation_the_log_dir_is_the_brokers_or_kdirs() {
    promotion_is_one_of_two(1);
    undo_is_finished(1);
    promotion_can_be_undone(1);
    demotion_is_one_of_two(1);
}

/// A promotion has so many operations that plain runs look at some of them.
const STEP: usize = 47;

fn promotion_is_one_of_two(step: usize) {
    for quorum in [Quorum::Static, Quorum::Dynamic] {
        cut_at_every(
            step,
            filled,
            |disk| promote(disk, quorum).map(drop),
            |disk, is_done, what| {
                is_one_of_two(disk, quorum, what);
                assert!(!is_done || has(disk, "meta.properties"), "{what}");
                let ids = text(disk, ".kdir-broker");
                let again = promote(disk, quorum).unwrap();
                assert!(!is_done || again.start == Start::Done, "{what}");
                assert!(
                    ids.is_empty() || ids.contains(&again.cluster_id),
                    "{what}: begun again with another cluster id"
                );
                is_one_of_two(disk, quorum, what);
                assert!(has(disk, "meta.properties"), "{what}");
            },
        );
    }
}

fn undo_is_finished(step: usize) {
    for quorum in [Quorum::Static, Quorum::Dynamic] {
        cut_at_every(
            step,
            || promoted(quorum),
            take_back,
            |disk, _, what| {
                is_one_of_two(disk, quorum, what);
                match take_back(disk) {
                    Ok(()) | Err(PromoteError::NotPromoted { .. }) => {}
                    Err(error) => panic!("{what}: {error}"),
                }
                for name in [
                    "meta.properties",
                    "bootstrap.checkpoint",
                    "server.properties",
                    "__cluster_metadata-0",
                    ".kdir-broker",
                ] {
                    assert!(!has(disk, name), "{what}: {name}");
                }
            },
        );
    }
}

fn promotion_can_be_undone(step: usize) {
    cut_at_every(
        step,
        filled,
        |disk| promote(disk, Quorum::Dynamic).map(drop),
        |disk, _, what| {
            match take_back(disk) {
                Ok(()) | Err(PromoteError::NotPromoted { .. }) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            is_one_of_two(disk, Quorum::Dynamic, what);
            assert!(!has(disk, "meta.properties"), "{what}");
            append(&open_log_dir(disk).unwrap(), 0, Durability::Synced);
        },
    );
}

/// A log dir that a broker has run on: its controller has taken the first records into its log.
fn run_by_a_broker() -> FaultyDisk {
    let disk = promoted(Quorum::Static);
    let bytes =
        atomic::read_small_at(&disk, &Path::new(ROOT).join("bootstrap.checkpoint"), usize::MAX).unwrap().unwrap();
    let root = disk.open_folder(Path::new(ROOT)).unwrap();
    root.create_folder("__cluster_metadata-0").unwrap();
    let folder = root.open_folder("__cluster_metadata-0").unwrap();
    atomic::replace(&*folder, "x.tmp", "00000000000000000000.log", &bytes).unwrap();
    atomic::replace(&*folder, "x.tmp", "quorum-state", b"{}").unwrap();
    // As old as the promotion: the broker has deleted the topic since.
    atomic::replace(&*root, "x.tmp", "gone.json", text(&disk, "app.json").replace("app", "gone").as_bytes()).unwrap();
    root.sync().unwrap();
    disk
}

fn demote(disk: &FaultyDisk) -> Result<()> {
    let log_dirs = alone(disk)?;
    DemotionPlan::make(log_dirs.first())?.apply(log_dirs.first()).map(drop)
}

fn demotion_is_one_of_two(step: usize) {
    cut_at_every(step, run_by_a_broker, demote, |disk, is_done, what| {
        let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
        let names: Vec<String> = log_dir.topics().unwrap().iter().map(|topic| topic.name.to_string()).collect();
        assert_eq!(names, ["__consumer_offsets", "app"], "{what}");
        let is_brokers = has(disk, "meta.properties");
        assert_eq!(log_dir.broker_mark().unwrap().is_some(), is_brokers, "{what}");
        assert!(!is_brokers || has(disk, "__cluster_metadata-0/00000000000000000000.log"), "{what}");
        assert!(!is_done || !is_brokers, "{what}");
        demote(disk).unwrap();
        for name in ["meta.properties", "bootstrap.checkpoint", "__cluster_metadata-0", "gone.json"] {
            assert!(!has(disk, name), "{what}: {name}");
        }
        append(&open_log_dir(disk).unwrap(), 0, Durability::Synced);
        assert_eq!(promote(disk, Quorum::Static).unwrap().start, Start::Full, "{what}");
    });
}
