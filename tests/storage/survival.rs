//! A whole log dir at work, with one failing operation at a time, and one crash at a time, at every operation.
//!
//! The workload makes the log dir and a topic, appends to its partitions through two writers that take turns (one syncs,
//! the other never does) over many rolls, keeps a reader's positions, adds a partition, moves a log start, applies
//! retention, and makes and deletes another topic. After each fault the log dir is opened anew: everything acknowledged
//! is there, nothing that was never written is, no offset is given twice, and a check finds nothing. Where processes end
//! and the machine goes on, killed or told that a write-back was lost, the next run appends and acknowledges first, and
//! then the power fails: what it has acknowledged includes what the one before had left in the page cache, and names that
//! nobody had synced.

use super::logdir::Writer;
use super::support::{Heard, NOW, ROOT, open_log_dir as open, topic_config};
use kdir::consume::{ConsumeError, CursorFile, ReaderPosition};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Alteration, Created, LimitOverrides, LogDir, LogDirError, NewTopic, Result, Topic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::check::{Finding, Problem};
use kdir::storage::repair::DamagedRecords;
use kdir::storage::{Advance, RecordReader, StorageError};
use kdir::units::{Offset, TopicName, TopicPartition};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const POSITIONS: &str = "/d/positions";
/// Crashes that are tried at each operation, in the ordinary run.
const SEEDS: u64 = 6;

/// What a partition may and must hold.
#[derive(Default, Debug)]
struct Partition {
    /// What appends have returned, by offset.
    written: BTreeMap<i64, String>,
    /// The values of appends that did not return.
    attempted: Vec<String>,
    /// Everything below has become durable.
    acknowledged: i64,
    /// Below this, records may be gone.
    removed: i64,
    /// A position that was kept.
    kept: i64,
}

#[derive(Default, Debug)]
struct World {
    partitions: [Partition; 3],
    created: bool,
    altered: bool,
    other_created: bool,
    other_deletion: Option<bool>,
}

fn name(text: &str) -> TopicName {
    text.parse().unwrap()
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition { topic: name("app"), partition: number }
}

fn position_in(number: i32, offset: i64) -> ReaderPosition {
    ReaderPosition { partition: partition(number), topic_id: None, offset: Offset(offset) }
}

fn cursor_file(disk: &FaultyDisk) -> Result<CursorFile> {
    CursorFile::lock(&(Arc::new(disk.clone()) as Arc<dyn Disk>), Path::new(POSITIONS)).map_err(of_log_dir)
}

fn keep(disk: &FaultyDisk, log_dir: &LogDir, position: ReaderPosition) -> Result<()> {
    cursor_file(disk)?.keep(&log_dir.clone().into(), vec![position]).map_err(of_log_dir)
}

fn kept(disk: &FaultyDisk) -> Result<Vec<ReaderPosition>> {
    cursor_file(disk)?.kept().map_err(of_log_dir)
}

fn of_log_dir(error: ConsumeError) -> LogDirError {
    match error {
        ConsumeError::LogDir(error) => error,
        other => panic!("{other}"),
    }
}

fn config() -> TopicConfig {
    topic_config(&[("segment.bytes", "1100"), ("index.interval.bytes", "300"), ("max.message.bytes", "1100")])
}

fn create(log_dir: &LogDir, text: &str, partitions: i32) -> Result<Topic> {
    match log_dir.create_topic(&NewTopic { name: name(text), partitions, config: config() })? {
        Created::New(topic) | Created::Existing(topic) => Ok(topic),
    }
}

fn append(writer: &mut TopicWriter, number: usize, to: i32, world: &mut World) -> Result<()> {
    let value = format!("value {number} {}", "x".repeat(150));
    let mut builder = BatchBuilder::new(0);
    let timestamp = NOW + number as i64;
    builder.push(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] });
    let batch = builder.finish(None, usize::MAX).unwrap();
    let it = &mut world.partitions[to as usize];
    it.attempted.push(value.clone());
    let appended = writer.append(to, &mut [batch], NOW)?;
    it.attempted.pop();
    let before = it.written.insert(appended.base_offset.0, value);
    assert_eq!(before, None, "an offset was given twice");
    Ok(())
}

fn hear(heard: &Heard, world: &mut World) {
    for stretch in heard.all() {
        let it = &mut world.partitions[stretch.partition as usize];
        it.acknowledged = it.acknowledged.max(stretch.last_offset.0 + 1);
    }
}

fn work(disk: &FaultyDisk, world: &mut World) -> Result<()> {
    LogDir::make(disk, Path::new(ROOT))?;
    let log_dir = open(disk)?;
    let topic = create(&log_dir, "app", 2)?;
    world.created = true;
    let heard = Arc::new(Heard::default());
    let listener = heard.listener();
    let mut syncing = TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::Always, Arc::clone(&listener))?;
    let mut careless =
        TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::Never, Arc::new(Heard::default()).listener())?;
    for number in 0..24 {
        let writer = if number % 3 == 1 { &mut careless } else { &mut syncing };
        append(writer, number, number as i32 / 2 % 2, world)?;
        if number % 6 == 5 {
            let synced = syncing.sync_point();
            hear(&heard, world);
            synced?;
        }
        if number == 15 {
            // The writer that never syncs has written to it: no position outlives what it may lose.
            let position = world.partitions[1].written.len() as i64;
            keep(disk, &log_dir, position_in(1, position))?;
            assert_eq!(kept(disk)?, [position_in(1, 0)]);
        }
    }
    careless.finish(NOW)?;
    let more = |_: &Topic| -> Result<Alteration> { Ok(Alteration { config: None, partitions: Some(3) }) };
    let topic = log_dir.alter_topic(&name("app"), more)?;
    world.altered = true;
    world.partitions[0].removed = 3;
    log_dir.delete_records(&log_dir.partition(&topic, 0)?, Offset(3), NOW)?;
    let mut to_the_new = TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, listener)?;
    for number in 24..32 {
        append(&mut to_the_new, number, 2, world)?;
    }
    let finished = to_the_new.finish(NOW);
    hear(&heard, world);
    finished?;
    let position = world.partitions[2].written.len() as i64;
    keep(disk, &log_dir, position_in(2, position))?;
    world.partitions[2].kept = position;
    retain(&log_dir, &topic, world)?;
    let finished = syncing.finish(NOW);
    hear(&heard, world);
    finished?;
    let other = create(&log_dir, "other", 1)?;
    world.other_created = true;
    drop(Writer::open(&log_dir, &other, 0)?);
    world.other_deletion = Some(false);
    log_dir.delete_topic(&name("other"), |_| {})?;
    world.other_deletion = Some(true);
    Ok(())
}

/// A run after one that has failed or was killed: appends to what partitions there are, and acknowledges.
fn work_on(disk: &FaultyDisk, world: &mut World) -> Result<()> {
    LogDir::make(disk, Path::new(ROOT))?;
    let log_dir = open(disk)?;
    let Some(topic) = log_dir.find_topic(&name("app"))? else { return Ok(()) };
    let heard = Arc::new(Heard::default());
    let listener = heard.listener();
    let mut writer = TopicWriter::new(log_dir, topic.clone(), SyncPolicy::End, listener)?;
    for &number in &topic.partitions {
        append(&mut writer, 100 + number as usize, number, world)?;
    }
    let finished = writer.finish(NOW);
    hear(&heard, world);
    finished
}

fn retain(log_dir: &LogDir, topic: &Topic, world: &mut World) -> Result<()> {
    world.partitions[1].removed = world.partitions[1].written.len() as i64 - 1;
    let limits = LimitOverrides { retention_bytes: Some(1500), ..LimitOverrides::default() };
    let applied = log_dir.partition(topic, 1)?.apply_retention(limits, NOW, &mut Vec::new(), |_| {})?;
    world.partitions[1].removed = applied.plan.log_start_offset().0;
    Ok(())
}

/// Every record up to the end or the first damage.
fn read_all(log_dir: &LogDir, topic: &Topic, number: i32) -> Result<(BTreeMap<i64, String>, Option<StorageError>)> {
    let log = log_dir.partition(topic, number)?.reader(4096)?;
    let (mut records, mut read) = (RecordReader::new(log), BTreeMap::new());
    loop {
        match records.advance() {
            Ok(Advance::Record) => {
                let value = records.record().value.unwrap_or_default().to_vec();
                read.insert(records.offset().0, String::from_utf8(value).unwrap());
            }
            Ok(_) => return Ok((read, None)),
            Err(error) => return Ok((read, Some(error))),
        }
    }
}

/// Holds what is left against what was promised. After a crash, damage is legal above everything acknowledged; it must
/// not hide what lies before it, and a repair mends it.
fn check(disk: &FaultyDisk, world: &World, has_crashed: bool, what: &str) {
    let log_dir = match open(disk) {
        Err(LogDirError::Missing { .. }) if !world.created => return,
        log_dir => log_dir.unwrap_or_else(|error| panic!("{what}: {error}")),
    };
    let found = log_dir.find_topic(&name("app")).unwrap();
    assert!(found.is_some() || !world.created, "{what}: the topic is gone");
    let Some(topic) = found else { return };
    assert!(topic.partitions.len() == 3 || !world.altered, "{what}: {:?}", topic.partitions);
    assert_eq!(topic.log_config().segment_bytes, 1100, "{what}");
    for &number in &topic.partitions {
        let it = &world.partitions[number as usize];
        let what = &format!("{what}, partition {number}");
        let (before, damage) = read_all(&log_dir, &topic, number).unwrap_or_else(|error| panic!("{what}: {error}"));
        let end = match Writer::open(&log_dir, &topic, number) {
            Ok(mut writer) => {
                // What a power failure has left above everything acknowledged, the writer has cut.
                let is_cut = match &damage {
                    Some(StorageError::Corrupt { offset, .. }) => has_crashed && offset.0 >= it.acknowledged,
                    Some(_) => false,
                    None => true,
                };
                assert!(is_cut, "{what}: a reader found damage and a writer did not: {damage:?}");
                let end = writer.log_end_offset().0;
                let appended = writer.append(&["after"]).unwrap();
                assert_eq!(appended.base_offset.0, end, "{what}");
                end
            }
            Err(LogDirError::Storage(StorageError::Corrupt { offset, .. }))
                if has_crashed && offset.0 >= it.acknowledged =>
            {
                assert!(damage.is_some(), "{what}: a writer found damage and a reader did not");
                assert_eq!(repaired(&log_dir, &partition(number)), [], "{what}: after the repair");
                Writer::open(&log_dir, &topic, number).unwrap().log_end_offset().0
            }
            Err(error) => panic!("{what}: {error}"),
        };
        assert!(end >= it.acknowledged.max(it.kept), "{what}: log end {end}, {it:?}");
        let (after, damage) = read_all(&log_dir, &topic, number).unwrap();
        assert!(damage.is_none(), "{what}: {damage:?}");
        for (offset, value) in before.iter().chain(&after).filter(|(_, value)| *value != "after") {
            let is_written = it.written.get(offset) == Some(value);
            // The append that failed may have left its batch whole: its record was never promised, and never denied.
            let is_attempted = !it.written.contains_key(offset) && it.attempted.contains(value);
            assert!(is_written || is_attempted, "{what}: {offset} {value}");
        }
        for (offset, value) in it.written.range(it.removed..it.acknowledged.max(it.kept)) {
            assert_eq!(after.get(offset), Some(value), "{what}: offset {offset} is lost");
            assert_eq!(before.get(offset), Some(value), "{what}: offset {offset} is hidden");
        }
    }
    match log_dir.find_topic(&name("other")).unwrap() {
        Some(other) => {
            assert_ne!(world.other_deletion, Some(true), "{what}: a deleted topic is back");
            // The next writer completes a folder that was half made.
            drop(Writer::open(&log_dir, &other, 0).unwrap());
        }
        None => assert!(!world.other_created || world.other_deletion.is_some(), "{what}: a topic is gone"),
    }
    if world.partitions[2].kept > 0 {
        assert_eq!(kept(disk).unwrap(), [position_in(2, world.partitions[2].kept)], "{what}");
    }
    // What a crash has left of a deletion is finished by the next change of topics.
    create(&log_dir, "next", 1).unwrap();
    let found = log_dir.begin_verification(&[], || {}).unwrap().run(1, &|_| {}).unwrap();
    assert_eq!(found.root, [], "{what}");
    for it in found.partitions {
        let mut findings = it.checked.findings;
        // A segment that was closed by the writer that never syncs may have lost its last batches whole.
        if has_crashed && !findings.is_empty() && findings.iter().all(|it| is_gap_in_what_was_not_promised(it, world)) {
            findings = repaired(&log_dir, &it.partition);
        }
        assert_eq!(findings, [], "{what}, {}", it.partition);
    }
}

fn repaired(log_dir: &LogDir, partition: &TopicPartition) -> Vec<Finding> {
    log_dir.repair_partition(partition, DamagedRecords::GiveUp, 1, &mut Vec::new()).unwrap()
}

fn is_gap_in_what_was_not_promised(finding: &Finding, world: &World) -> bool {
    let number: usize = finding.path.parent().unwrap().to_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap();
    matches!(finding.problem, Problem::MissingOffsets { .. })
        && finding.offset.unwrap().0 >= world.partitions[number].acknowledged
}

fn operations() -> u64 {
    let disk = FaultyDisk::new();
    work(&disk, &mut World::default()).unwrap();
    disk.operations()
}

fn crash_everywhere(seeds: std::ops::Range<u64>) {
    for number in 1..=operations() {
        for seed in seeds.clone() {
            let disk = FaultyDisk::new();
            disk.crash_at(number);
            let mut world = World::default();
            let result = work(&disk, &mut world).map_err(|error| error.to_string());
            let what = format!("crash at {number}, seed {seed}, {result:?}, {:?}", disk.trace().last());
            check(&disk.crash(seed), &world, true, &what);
        }
    }
}

#[test]
fn a_log_dir_survives_a_failure_at_any_operation() {
    for number in 1..=operations() {
        for persistent in [false, true] {
            let disk = FaultyDisk::new();
            if persistent {
                disk.fail_from(number)
            } else {
                disk.fail_once_at(number)
            }
            let mut world = World::default();
            let result = work(&disk, &mut world).map_err(|error| error.to_string());
            let what = format!("failure at {number} (persistent: {persistent}), {result:?}, {:?}", disk.trace().last());
            check(&disk.kill(), &world, false, &what);
        }
    }
}

#[test]
fn a_log_dir_survives_a_crash_at_any_operation() {
    crash_everywhere(0..SEEDS);
}

#[test]
#[ignore = "takes minutes; `.ci/run` runs it"]
fn a_log_dir_survives_a_crash_at_any_operation_in_many_ways() {
    let seeds = std::env::var("KDIR_CRASH_SEEDS").map_or(100, |text| text.parse().unwrap());
    crash_everywhere(SEEDS..SEEDS + seeds);
    lose_write_backs_everywhere(SEEDS..SEEDS + seeds / 4);
    kill_everywhere(SEEDS..SEEDS + seeds / 4);
}

/// The next run goes on where one has ended in some way, and the power fails after it has acknowledged.
fn check_after_the_next_run(disk: &FaultyDisk, mut world: World, seeds: std::ops::Range<u64>, what: &str) {
    work_on(disk, &mut world).unwrap_or_else(|error| panic!("{what}: the next run: {error}"));
    for seed in seeds {
        check(&disk.crash(seed), &world, true, &format!("{what}, then a power failure with seed {seed}"));
    }
}

fn lose_write_backs_everywhere(seeds: std::ops::Range<u64>) {
    for number in 1..=operations() {
        let disk = FaultyDisk::new();
        disk.lose_write_backs_at(number);
        let mut world = World::default();
        let result = work(&disk, &mut world).map_err(|error| error.to_string());
        let what = format!("write-backs lost at {number}, {result:?}, {:?}", disk.trace().get(number as usize - 1));
        for seed in seeds.clone() {
            check(&disk.crash(seed), &world, true, &format!("{what}, then a power failure with seed {seed}"));
        }
        check_after_the_next_run(&disk.kill(), world, seeds.clone(), &what);
    }
}

#[test]
fn a_log_dir_survives_syncs_that_lie() {
    lose_write_backs_everywhere(0..SEEDS);
}

fn kill_everywhere(seeds: std::ops::Range<u64>) {
    for number in 1..=operations() {
        let disk = FaultyDisk::new();
        disk.fail_from(number);
        let mut world = World::default();
        let result = work(&disk, &mut world).map_err(|error| error.to_string());
        let what = format!("killed at {number}, {result:?}, {:?}", disk.trace().get(number as usize - 1));
        check_after_the_next_run(&disk.kill(), world, seeds.clone(), &what);
    }
}

#[test]
fn a_log_dir_survives_a_kill_at_any_operation_and_a_power_failure_after_the_next_run() {
    kill_everywhere(0..SEEDS);
}

#[test]
fn a_full_disk_leaves_a_log_dir_whole() {
    let mut fitted = 0;
    for room in (0..40_000).step_by(97) {
        let disk = FaultyDisk::new();
        disk.space_left(room);
        let mut world = World::default();
        let result = work(&disk, &mut world);
        if let Err(error) = &result {
            let storage_full = matches!(error, LogDirError::Disk(_) | LogDirError::Storage(StorageError::Disk(_)));
            assert!(storage_full, "{room} bytes left: {error}");
        }
        fitted += usize::from(result.is_ok());
        let result = result.map_err(|error| error.to_string());
        check(&disk.kill(), &world, false, &format!("{room} bytes left, {result:?}"));
    }
    assert!(fitted > 0, "the last rounds are to have room for all");
}
