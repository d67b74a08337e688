//! When a segment is rolled: Kafka's four conditions.

use super::support::{self, NOW, Writer, append, append_at, batch_size, disk_with_partition, names, open_as, open_at};
use kdir::storage::{Checkpoints, Durability, LogConfig, SyncFor, sync_now};
use kdir::units::Timestamp;

fn logs(disk: &kdir::disk::faulty::FaultyDisk) -> Vec<String> {
    names(disk).into_iter().filter(|name| name.ends_with(".log")).collect()
}

fn writer(disk: &kdir::disk::faulty::FaultyDisk, config: LogConfig) -> Writer {
    open_at(disk, config, Default::default()).unwrap()
}

#[test]
fn rolls_before_a_segment_would_exceed_segment_bytes() {
    let disk = disk_with_partition();
    let size = batch_size("v");
    let mut writer = writer(&disk, LogConfig { segment_bytes: 3 * size, ..LogConfig::default() });
    let rolled: Vec<bool> = (0..7).map(|_| append(&mut writer, &["v"]).rolled).collect();
    assert_eq!(rolled, [false, false, false, true, false, false, true]);
    assert_eq!(logs(&disk), ["00000000000000000000.log", "00000000000000000003.log", "00000000000000000006.log"]);
}

#[test]
fn rolls_when_record_time_has_moved_more_than_segment_ms() {
    let disk = disk_with_partition();
    let mut writer = writer(&disk, LogConfig { segment_ms: 1000, ..LogConfig::default() });
    let rolled: Vec<bool> = [NOW, NOW + 1000, NOW + 1001, NOW + 500, NOW + 2002]
        .into_iter()
        .map(|timestamp| append_at(&mut writer, &["v"], timestamp).unwrap().rolled)
        .collect();
    assert_eq!(rolled, [false, false, true, false, true], "counted from the first batch of the segment");
}

#[test]
fn without_timestamps_the_clock_decides() {
    let disk = disk_with_partition();
    let mut writer = writer(&disk, LogConfig { segment_ms: -1, ..LogConfig::default() });
    assert!(!append_at(&mut writer, &["v"], Timestamp::NONE).unwrap().rolled, "an empty segment is never rolled");
    assert!(append_at(&mut writer, &["v"], Timestamp::NONE).unwrap().rolled);
}

#[test]
fn rolls_when_an_index_is_full() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_index_bytes: 24, index_interval_bytes: 0, ..LogConfig::default() };
    let mut by_offset = writer(&disk, config);
    // Three entries of 8 bytes; the first batch has none. The time index keeps one slot of two for its last entry.
    let rolled: Vec<bool> =
        (0..6).map(|_| append_at(&mut by_offset, &["v"], Timestamp::NONE).unwrap().rolled).collect();
    assert_eq!(rolled, [false, false, false, false, true, false]);
    let disk = disk_with_partition();
    let config = LogConfig { segment_index_bytes: 24, index_interval_bytes: 0, ..LogConfig::default() };
    let mut by_time = writer(&disk, config);
    let rolled: Vec<bool> = (0..4).map(|at| append_at(&mut by_time, &["v"], NOW + at).unwrap().rolled).collect();
    assert_eq!(rolled, [false, false, true, false]);
}

#[test]
fn a_roll_writes_the_final_time_entry() {
    let disk = disk_with_partition();
    let mut writer = writer(&disk, LogConfig { segment_bytes: batch_size("v"), ..LogConfig::default() });
    append_at(&mut writer, &["v"], NOW + 7).unwrap();
    append(&mut writer, &["v"]);
    let entry = support::bytes_of(&disk, &support::path(0, kdir::storage::file_name::FileKind::TimeIndex));
    let mut expected = (NOW + 7).0.to_be_bytes().to_vec();
    expected.extend_from_slice(&0_i32.to_be_bytes());
    assert_eq!(entry, expected);
}

#[test]
fn a_roll_by_another_writer_is_followed() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 2 * batch_size("v"), ..LogConfig::default() };
    let (mut one, mut other) = (writer(&disk, config.clone()), writer(&disk, config));
    let offsets: Vec<i64> =
        (0..20).map(|at| append(if at % 3 == 0 { &mut one } else { &mut other }, &["v"]).base_offset.0).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<_>>());
    assert_eq!(logs(&disk).len(), 10);
    assert_eq!(support::values(&disk).len(), 20);
}

#[test]
fn a_roll_that_was_only_begun_is_begun_again() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: batch_size("v"), ..LogConfig::default() };
    let mut first = writer(&disk, config);
    append(&mut first, &["v"]);
    support::overwrite(&disk, &support::path(1, kdir::storage::file_name::FileKind::OffsetIndex), b"left over");
    assert!(append(&mut first, &["v"]).rolled);
    assert_eq!(support::bytes_of(&disk, &support::path(1, kdir::storage::file_name::FileKind::OffsetIndex)), b"");
}

#[test]
fn a_log_that_is_never_synced_notes_nothing_to_be_synced() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 2 * batch_size("value"), ..LogConfig::default() };
    let open = || open_as(&disk, config.clone(), Checkpoints::default(), Durability::Unsynced).unwrap();
    let (mut one, mut other) = (open(), open());
    for _ in 0..10 {
        append(&mut one, &["value"]);
        append(&mut other, &["value"]);
        append(&mut other, &["value"]);
    }
    for writer in [&one, &other, &open()] {
        disk.reset_counts();
        let done = sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
        assert_eq!(done.stretches, []);
        let synced = disk.trace().iter().filter(|what| what.ends_with(".log")).count();
        assert_eq!(synced, 1, "the active segment alone: {:?}", disk.trace());
    }
}

#[test]
fn an_append_after_the_end_of_a_run_has_a_mark_again() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    let marks = || names(&disk).iter().filter(|name| name.starts_with("unsynced-")).count();
    for _ in 0..2 {
        append(&mut writer, &["value"]);
        assert_eq!(marks(), 1);
        sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
        writer.close(NOW).unwrap();
        assert_eq!(marks(), 0);
    }
}
