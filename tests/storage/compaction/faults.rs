//! A compaction of a whole partition, with a failure, a crash or no room at every operation of it.

use super::against_model::on_disk_at;
use super::cleaner_model::{ModelSegment, newest_values};
use super::random_log::{RandomLog, random_log, write_to_disk};
use crate::support::{ROOT, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::logdir::{CompactOptions, CompactionReport, LogDirError, NewTopic, Outcome, Partition};
use kdir::storage::check::{Acknowledgement, Gaps, Subject, Verification};
use kdir::storage::clean::{ActiveSegment, Watch};
use kdir::storage::file_name::is_of_a_compaction;
use kdir::storage::{Checkpoints, Durability, LogConfig, LogWriter};
use kdir::units::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const SETTINGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.bytes", "1500"),
    ("index.interval.bytes", "100"),
    ("delete.retention.ms", "1000"),
];

pub(super) fn folder() -> PathBuf {
    Path::new(ROOT).join("t-0")
}

/// A log dir with a topic that has the segments of a random log.
pub(super) fn disk_with(log: &RandomLog) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&SETTINGS) };
    log_dir.create_topic(&new).unwrap();
    for suffix in ["log", "index", "timeindex"] {
        disk.remove_file(&folder().join(format!("{:020}.{suffix}", 0))).unwrap();
    }
    // Its batches have other epochs.
    disk.remove_file(&folder().join("leader-epoch-checkpoint")).unwrap();
    write_to_disk(&disk, &folder(), &log.segments);
    disk.reset_counts();
    disk
}

pub(super) fn partition(disk: &FaultyDisk) -> kdir::logdir::Result<Partition> {
    let log_dir = open_log_dir(disk)?;
    let topic = log_dir.topic(&"t".parse().unwrap())?;
    log_dir.partition(&topic, 0)
}

/// Compacts all of the log, the active segment as well.
pub(super) fn compact(disk: &FaultyDisk, now_ms: i64) -> kdir::logdir::Result<Option<CompactionReport>> {
    let partition = partition(disk)?;
    let options = CompactOptions {
        config: (*partition.config()?).clone(),
        is_forced: true,
        active_segment: ActiveSegment::IsRolled,
        memory: 0,
        min_gain_percent: 0,
    };
    let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
    partition.compact(&options, Timestamp(now_ms), &mut Vec::new(), &mut watch)
}

/// Opens the partition as the next writer does, and closes it.
fn write_next(disk: &FaultyDisk, now_ms: i64) {
    let partition = partition(disk).unwrap();
    let guard = partition.guard().unwrap();
    let mut writer = LogWriter::open(&guard, Durability::Synced, Timestamp(now_ms)).unwrap();
    drop(guard);
    partition.close(&mut writer, Timestamp(now_ms)).unwrap();
}

fn newest(segments: &[ModelSegment]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    newest_values(segments, i64::MAX)
}

fn by_base(segments: &[ModelSegment]) -> BTreeMap<i64, &[u8]> {
    segments.iter().map(|it| (it.base, &it.log[..])).collect()
}

pub(super) fn assert_sound(disk: &FaultyDisk, name: &str) {
    let subject = Subject {
        root: disk.open_folder(Path::new(ROOT)).unwrap(),
        folder_name: "t-0".into(),
        checkpoints: Checkpoints::default(),
        decompressed_size_max: LogConfig::default().decompressed_size_max(),
        gaps: Gaps::Legal,
        acknowledgement: Acknowledgement::AfterSync,
    };
    let begun = Verification::begin(vec![subject], || {}).unwrap();
    let findings: Vec<_> = begun.run(1, &|_| {}).unwrap().into_iter().flat_map(|it| it.findings).collect();
    assert!(findings.is_empty(), "{name}: {findings:?}");
}

/// Random logs that begin at offset 0 and of which something goes.
pub(super) fn logs(count: usize) -> impl Iterator<Item = (u64, RandomLog)> {
    let logs = (0..).map(|seed| (seed, random_log(seed)));
    let is_wanted = |log: &RandomLog| log.segments[0].base == 0 && log.segments.len() > 2 && !log.limits().is_empty();
    logs.filter(move |(_, log)| is_wanted(log)).take(count)
}

/// What a fault has left: what the next writer finds is of the old segments or of the new ones, and nothing is less.
fn check(name: &str, disk: &FaultyDisk, log: &RandomLog, done: &[ModelSegment]) {
    let expected = newest(&log.segments);
    write_next(disk, log.now_ms);
    let found = on_disk_at(disk, &folder());
    assert_eq!(newest(&found), expected, "{name}");
    let (old, new) = (by_base(&log.segments), by_base(done));
    for (base, bytes) in by_base(&found) {
        let is_known = old.get(&base) == Some(&bytes) || new.get(&base) == Some(&bytes);
        assert!(is_known || bytes.is_empty(), "{name}: segment {base} is neither the old one nor the new one");
    }
    let left = disk.list(&folder()).unwrap().into_iter().find(|entry| {
        let is_half_done = [".cleaned", ".swap", ".deleted"].iter().any(|suffix| entry.name.ends_with(suffix));
        is_of_a_compaction(&entry.name) || is_half_done
    });
    assert_eq!(left, None, "{name}");
    assert_sound(disk, name);
    compact(disk, log.now_ms).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(newest(&on_disk_at(disk, &folder())), expected, "{name}, compacted again");
    assert_sound(disk, name);
}

/// The log after an undisturbed compaction, and how many operations that took.
fn undisturbed(log: &RandomLog) -> (Vec<ModelSegment>, u64) {
    let disk = disk_with(log);
    let report = compact(&disk, log.now_ms).unwrap().unwrap();
    assert_eq!(report.outcome, Outcome::Done);
    let operations = disk.operations();
    (on_disk_at(&disk, &folder()), operations)
}

fn at_every_operation(logs_count: usize) {
    let mut cases = 0;
    for (seed, log) in logs(logs_count) {
        let (done, operations) = undisturbed(&log);
        for number in 1..=operations {
            let disk = disk_with(&log);
            disk.crash_at(number);
            let failed = compact(&disk, log.now_ms);
            assert!(failed.is_err(), "seed {seed}: operation {number} crashed, and all went well");
            check(&format!("seed {seed}, killed at {number}"), &disk.kill(), &log, &done);
            for power in 0..3 {
                check(&format!("seed {seed}, power failure {power} at {number}"), &disk.crash(power), &log, &done);
            }
            let disk = disk_with(&log);
            disk.fail_once_at(number);
            let failed = compact(&disk, log.now_ms);
            // Some failures cost nothing.
            if let Err(error) = failed {
                assert!(matches!(error, LogDirError::Disk(_) | LogDirError::Storage(_)), "{error}");
            }
            check(&format!("seed {seed}, a failure at {number}"), &disk, &log, &done);
            cases += 5;
        }
    }
    assert!(cases > 300, "{cases} cases");
}

#[test]
fn a_crash_or_failure_at_any_operation_leaves_the_old_log_or_the_new() {
    at_every_operation(2);
}

#[test]
#[ignore = "takes minutes"]
fn a_crash_or_failure_at_any_operation_leaves_the_old_log_or_the_new_in_many_logs() {
    at_every_operation(60);
}

#[test]
fn a_full_disk_leaves_the_log_as_it_was() {
    for (seed, log) in logs(6) {
        let (done, _) = undisturbed(&log);
        let mut left = 0;
        loop {
            let disk = disk_with(&log);
            disk.space_left(left);
            let compacted = compact(&disk, log.now_ms);
            let is_done = compacted.is_ok();
            disk.disarm();
            check(&format!("seed {seed}, room for {left} bytes"), &disk, &log, &done);
            if is_done {
                break;
            }
            left += 61;
        }
        assert!(left > 0, "seed {seed} took no room");
    }
}
