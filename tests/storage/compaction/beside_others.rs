//! A compaction beside others who change the log.

use super::against_model::on_disk_at;
use super::cleaner_model::newest_values;
use super::faults::{assert_sound, compact, disk_with, folder, logs, partition};
use crate::support::{NOW, ROOT, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::{NewTopic, Outcome};
use kdir::storage::clean::{ActiveSegment, Cleanable, Compaction, Means, Watch};
use kdir::storage::{Advance, Durability, LogConfig, LogWriter, RecordReader};
use kdir::units::{Offset, Timestamp};
use std::path::Path;

/// Between the writing of a new segment and the swap, `change` is made: then the old segments stay.
fn nothing_is_swapped_after(change: impl Fn(&FaultyDisk, &Path)) {
    let mut tried = 0;
    for (seed, log) in logs(20) {
        let disk = disk_with(&log);
        let partition = partition(&disk).unwrap();
        let (config, now) = (LogConfig { segment_bytes: 1500, ..LogConfig::default() }, Timestamp(log.now_ms));
        let view = partition.view().unwrap();
        let durable = (Offset(i64::MAX), ActiveSegment::Stays);
        let Some(cleanable) = Cleanable::find(&view, None, durable, &config, now).unwrap() else { continue };
        let mut means = Means { memory: 1 << 20, open_scratch: &mut || disk.scratch(), min_gain_percent: 0 };
        let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
        let compaction = Compaction::plan(&view, cleanable, &config, now, &mut means, &mut watch).unwrap().unwrap();
        let Some(group) = compaction.groups.iter().find(|group| group.is_written) else { continue };
        let begun = compaction.begin(group, &partition.guard().unwrap()).unwrap();
        let ready = compaction.write(group, &*disk.open_folder(&folder()).unwrap(), begun, &mut watch).unwrap();
        let first = folder().join(format!("{:020}.log", compaction.first_offset(group).0));
        change(&disk, &first);
        let before = on_disk_at(&disk, &folder());
        let replaced = compaction.put_in_place(group, &partition.guard().unwrap(), ready).unwrap();
        assert!(replaced.is_none(), "seed {seed}");
        assert_eq!(on_disk_at(&disk, &folder()), before, "seed {seed}");
        tried += 1;
    }
    assert!(tried > 5, "{tried}");
}

#[test]
fn a_segment_that_retention_has_removed_is_not_brought_back() {
    nothing_is_swapped_after(|disk, first| disk.remove_file(first).unwrap());
}

#[test]
fn a_segment_that_was_repaired_in_place_is_not_replaced() {
    nothing_is_swapped_after(|disk, first| {
        let file = disk.open(first, Access::Write).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, 20).unwrap();
        file.write_at(&byte, 20).unwrap();
    });
}

#[test]
fn a_segment_that_another_compaction_has_replaced_is_not_replaced_again() {
    nothing_is_swapped_after(|disk, first| {
        let bytes = kdir::disk::atomic::read_small_at(disk, first, usize::MAX).unwrap().unwrap();
        disk.remove_file(first).unwrap();
        disk.open(first, Access::New).unwrap().write_at(&bytes, 0).unwrap();
    });
}

/// What supersedes a record may be in a segment that is left as it is, and never was synced.
#[test]
fn a_power_failure_after_a_compaction_takes_no_newest_value() {
    for seed in 0..4 {
        let disk = disk_with_log_dir();
        let log_dir = open_log_dir(&disk).unwrap();
        let settings = [("cleanup.policy", "compact"), ("segment.bytes", "300")];
        let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&settings) };
        log_dir.create_topic(&new).unwrap();
        let partition = partition(&disk).unwrap();
        let guard = partition.guard().unwrap();
        let mut writer = LogWriter::open(&guard, Durability::Unsynced, NOW).unwrap();
        for number in 0..12 {
            let (key, value) = (format!("k{}", number % 7), format!("value {number} {}", "x".repeat(40)));
            let mut builder = BatchBuilder::new(0);
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            builder.push(&NewRecord { timestamp: NOW, key, value, headers: &[] });
            writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
        }
        writer.close(&guard, NOW).unwrap();
        drop(guard);
        let before = newest_values(&on_disk_at(&disk, &folder()), i64::MAX);
        let report = compact(&disk, NOW.0).unwrap().unwrap();
        assert_eq!((report.outcome, before.len()), (Outcome::Done, 7));
        let after = newest_values(&on_disk_at(&disk.crash(seed), &Path::new(ROOT).join("t-0")), i64::MAX);
        assert_eq!(after, before, "power failure {seed}");
    }
}

#[test]
fn of_two_compactions_one_leaves_the_partition_to_the_other() {
    let (_, log) = logs(1).next().unwrap();
    let disk = disk_with(&log);
    let held = disk.open(&folder().join("compacting"), Access::New).unwrap();
    assert!(held.try_lock().unwrap());
    let before = on_disk_at(&disk, &folder());
    assert_eq!(compact(&disk, log.now_ms).unwrap().unwrap().outcome, Outcome::Busy);
    assert_eq!(on_disk_at(&disk, &folder()), before);
    drop(held);
    assert_eq!(compact(&disk, log.now_ms).unwrap().unwrap().outcome, Outcome::Done);
}

/// Appends a record for each key at once.
fn append(disk: &FaultyDisk, keys: &[&str]) {
    let partition = partition(disk).unwrap();
    let guard = partition.guard().unwrap();
    let mut writer = LogWriter::open(&guard, Durability::Synced, NOW).unwrap();
    for key in keys {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, key: Some(key.as_bytes()), value: Some(b"v"), headers: &[] });
        writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    writer.close(&guard, NOW).unwrap();
}

/// A reader that stands at the end of a segment goes on in the one that takes the place of it and of later ones.
#[test]
fn a_follower_misses_nothing_that_was_put_into_its_segment() {
    let disk = disk_with_log_dir();
    let settings = [("cleanup.policy", "compact")];
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&settings) };
    open_log_dir(&disk).unwrap().create_topic(&new).unwrap();
    append(&disk, &["a1", "a2", "a3"]);
    let mut records = RecordReader::new(partition(&disk).unwrap().reader(4096).unwrap());
    let mut read = || {
        let mut keys = Vec::new();
        while let Advance::Record = records.advance().unwrap() {
            keys.push(String::from_utf8(records.record().key.unwrap().to_vec()).unwrap());
        }
        keys
    };
    assert_eq!(read(), ["a1", "a2", "a3"]);
    compact(&disk, NOW.0).unwrap();
    append(&disk, &["b1", "b2"]);
    compact(&disk, NOW.0).unwrap();
    append(&disk, &["c1"]);
    assert_eq!(on_disk_at(&disk, &folder()).len(), 2, "the first two have become one");
    assert_eq!(read(), ["b1", "b2", "c1"]);
}

#[test]
fn what_a_killed_compaction_has_left_is_not_written_on() {
    for (seed, log) in logs(5) {
        let disk = disk_with(&log);
        let expected = newest_values(&log.segments, i64::MAX);
        for segment in &log.segments {
            for suffix in ["log", "index", "timeindex", "txnindex"] {
                let path = folder().join(format!("compacting-{:020}-{suffix}", segment.base));
                disk.open(&path, Access::New).unwrap().write_at(&[1; 9000], 0).unwrap();
            }
        }
        disk.open(&folder().join("compacting"), Access::New).unwrap().write_at(&[1; 9000], 0).unwrap();
        compact(&disk, log.now_ms).unwrap();
        assert_eq!(newest_values(&on_disk_at(&disk, &folder()), i64::MAX), expected, "seed {seed}");
        assert_sound(&disk, &format!("seed {seed}"));
    }
}
