//! What a writer cuts of a log that a power failure has damaged, and what it leaves alone.

use super::support::{
    NOW, append, bytes_of, cut_of, disk_with_partition, folder, log_path, names, open_at, overwrite, values,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::{Checkpoints, LogConfig, StorageError, SyncFor, sync_now};
use kdir::units::Offset;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 200, ..LogConfig::default() }
}

/// Six batches, two in each of three segments. The third is changed, and the power fails.
fn after_a_power_failure(change: impl FnOnce(&mut Vec<u8>)) -> FaultyDisk {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    for value in ["a", "b", "c", "d", "e", "f"] {
        append(&mut writer, &[value]);
    }
    sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
    writer.close(NOW).unwrap();
    let mut bytes = bytes_of(&disk, &log_path(2));
    change(&mut bytes);
    overwrite(&disk, &log_path(2), &bytes);
    disk.set_clock_ms(NOW.0);
    disk.crash(0)
}

fn contents(disk: &FaultyDisk) -> Vec<(String, Vec<u8>)> {
    names(disk).into_iter().map(|name| (name.clone(), bytes_of(disk, &folder().join(name)))).collect()
}

fn assert_left_alone(disk: &FaultyDisk, what: &str) {
    assert_left_alone_with(disk, Checkpoints::default(), what);
}

fn assert_left_alone_with(disk: &FaultyDisk, checkpoints: Checkpoints, what: &str) {
    let before = contents(disk);
    let opened = open_at(disk, config(), checkpoints);
    assert!(matches!(opened, Err(StorageError::Corrupt { .. })), "{what}: {:?}", opened.map(|_| ()));
    assert_eq!(contents(disk), before, "{what}");
}

#[test]
fn the_log_is_cut_where_the_damage_begins_and_all_of_it_is_kept() {
    let disk = after_a_power_failure(|log| log[62] ^= 1);
    let damaged = bytes_of(&disk, &log_path(2));
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    assert_eq!(writer.log_end_offset(), Offset(2));
    assert_eq!(cut_of(&writer.take_notices()).len(), 2);
    assert_eq!(bytes_of(&disk, &folder().join("cut-00000000000000000002-0")), damaged);
    assert!(names(&disk).contains(&"cut-00000000000000000004-0".to_owned()));
    assert_eq!(values(&disk), ["a", "b"]);
}

#[test]
fn what_was_changed_since_is_left_alone_also_where_a_copy_kept_the_time_of_its_original() {
    let disk = after_a_power_failure(|_| {});
    let mut bytes = bytes_of(&disk, &log_path(2));
    bytes[62] ^= 1;
    overwrite(&disk, &log_path(2), &bytes);
    assert_left_alone(&disk, "written since");
    disk.set_modified_ms(log_path(2), 7);
    assert_left_alone(&disk, "with an old time of modification");
}

#[test]
fn a_whole_batch_of_a_format_that_is_not_known_is_left_alone() {
    assert_left_alone(&after_a_power_failure(|log| log[16] = 3), "a magic of 3");
}

#[test]
fn what_a_broker_has_acknowledged_is_left_alone() {
    let disk = after_a_power_failure(|log| log[62] ^= 1);
    assert_left_alone_with(&disk, Checkpoints::default().with_high_watermark(Offset(6)), "below the high watermark");
}

#[test]
fn segments_that_overlap_are_left_alone() {
    let disk = after_a_power_failure(|log| {
        let again = log[log.len() / 2..].to_vec();
        log.extend_from_slice(&again);
        let batch = again.len();
        log[2 * batch..2 * batch + 8].copy_from_slice(&4_i64.to_be_bytes());
    });
    assert_left_alone(&disk, "a batch with an offset of the next segment");
}

#[test]
fn nothing_is_cut_where_the_disk_has_no_room_to_keep_it() {
    let disk = after_a_power_failure(|log| log[62] ^= 1);
    disk.space_left(120);
    assert_left_alone(&disk, "a full disk");
    disk.disarm();
    assert_eq!(open_at(&disk, config(), Checkpoints::default()).unwrap().log_end_offset(), Offset(2));
}
