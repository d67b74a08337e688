//! Readers beside writers: what they see of a log that changes under them.

use super::support::{
    NOW, append, append_at, batch_size, bytes_of, disk_with_partition, folder, log_path, open, open_at, overwrite,
    read_on, reader,
};
use kdir::disk::Disk;
use kdir::storage::retention;
use kdir::storage::{Advance, Checkpoints, LogConfig, RecordReader, StorageError};
use kdir::units::Offset;

fn advance_all(records: &mut RecordReader) -> Vec<String> {
    let mut read = Vec::new();
    while records.advance().unwrap() == Advance::Record {
        read.push(String::from_utf8(records.record().value.unwrap().to_vec()).unwrap());
    }
    read
}

#[test]
fn a_follower_sees_each_record_once_over_rolls() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 2 * batch_size("00"), ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    let mut records = RecordReader::new(reader(&disk));
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for number in 0..50 {
        let value = format!("{number:02}");
        append(&mut writer, &[&value]);
        written.push(value);
        if number % 7 != 3 {
            seen.extend(advance_all(&mut records));
        }
    }
    seen.extend(advance_all(&mut records));
    assert_eq!(seen, written);
}

#[test]
fn what_lies_behind_rolls_that_a_reader_has_not_listed_is_found() {
    for offset in 0..10_i64 {
        let disk = disk_with_partition();
        let config = LogConfig { segment_bytes: 3 * batch_size("0"), ..LogConfig::default() };
        let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
        append_at(&mut writer, &["0"], NOW).unwrap();
        let (mut log, other) = (reader(&disk), reader(&disk));
        for number in 1..10 {
            append_at(&mut writer, &[&number.to_string()], NOW + number).unwrap();
        }
        assert_eq!(log.log_end_offset().unwrap(), Offset(10));
        let found = Some((Offset(offset), NOW + offset));
        assert_eq!(log.offset_for_time(NOW + offset).unwrap(), found);
        log.seek(Offset(offset));
        let expected: Vec<_> = (offset..10).map(|it| (it, it.to_string())).collect();
        assert_eq!(read_on(log).unwrap(), expected);
        disk.remove_file(&log_path(0)).unwrap();
        assert_eq!(other.offset_for_time(NOW + 9).unwrap(), Some((Offset(9), NOW + 9)));
    }
}

#[test]
fn a_batch_that_is_half_there_is_read_afresh_when_it_is_whole() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a"]);
    append(&mut writer, &["b"]);
    let whole = bytes_of(&disk, &log_path(0));
    let mut records = RecordReader::new(reader(&disk));
    let half = whole.len() * 3 / 4;
    let mut torn = whole[..half].to_vec();
    torn.resize(whole.len(), 0);
    for partial in [&whole[..half], &torn] {
        let file = disk.open(&log_path(0), kdir::disk::Access::Write).unwrap();
        file.set_len(partial.len() as u64).unwrap();
        file.write_at(partial, 0).unwrap();
        let seen = advance_all(&mut records);
        assert!(seen.is_empty() || seen == ["a"]);
    }
    disk.open(&log_path(0), kdir::disk::Access::Write).unwrap().write_at(&whole, 0).unwrap();
    assert_eq!(advance_all(&mut records), ["b"]);
}

#[test]
fn a_follower_whose_place_was_removed_is_told_and_goes_on() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: batch_size("a"), ..LogConfig::default() };
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    append(&mut writer, &["a"]);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(advance_all(&mut records), ["a"]);
    for value in ["b", "c", "d"] {
        append(&mut writer, &[value]);
    }
    let limits = LogConfig { retention_bytes: batch_size("a") as i64, ..config };
    retention::apply(&mut writer, &limits, Offset::ZERO, Offset::ZERO, NOW, |_| {}).unwrap();
    let passed = Advance::LogStartPassed { missed_from: Offset(1), log_start_offset: Offset(3) };
    assert_eq!(records.advance().unwrap(), passed);
    assert_eq!(advance_all(&mut records), ["d"]);
}

#[test]
fn a_follower_whose_active_segment_went_goes_on_in_the_next() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a"]);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(advance_all(&mut records), ["a"]);
    let limits = LogConfig { retention_bytes: 0, ..LogConfig::default() };
    retention::apply(&mut writer, &limits, Offset::ZERO, Offset::ZERO, NOW, |_| {}).unwrap();
    assert_eq!(advance_all(&mut records), Vec::<String>::new());
    append(&mut writer, &["b"]);
    assert_eq!(advance_all(&mut records), ["b"]);
}

#[test]
fn a_deleted_partition_is_an_error_to_its_reader_and_writer_even_when_it_is_made_anew() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a"]);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(advance_all(&mut records), ["a"]);
    disk.rename(&folder(), "/t-0.0123-delete".as_ref()).unwrap();
    assert!(matches!(records.advance(), Err(StorageError::PartitionDeleted { .. })));
    disk.create_folder(&folder()).unwrap();
    kdir::storage::create_empty_log(&disk, &folder(), Offset::ZERO).unwrap();
    assert!(matches!(records.advance(), Err(StorageError::PartitionDeleted { .. })));
    assert!(matches!(append_at(&mut writer, &["b"], NOW), Err(StorageError::PartitionDeleted { .. })));
    assert_eq!(bytes_of(&disk, &log_path(0)), b"");
}

#[test]
fn records_below_the_log_start_are_hidden() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a", "b", "c"]);
    append(&mut writer, &["d"]);
    let started = Checkpoints { log_start_offset: Offset(2), ..Checkpoints::default() };
    let log = super::support::reader_at(&disk, started);
    assert_eq!(log.log_start_offset(), Offset(2));
    assert_eq!(log.offset_for_time(0).unwrap(), Some((Offset(2), NOW)));
    assert_eq!(read_on(log).unwrap(), [(2, "c".to_owned()), (3, "d".to_owned())]);
}

#[test]
fn control_batches_take_offsets_and_are_never_shown() {
    let disk = disk_with_partition();
    append(&mut open(&disk), &["a", "b", "c"]);
    let mut bytes = bytes_of(&disk, &log_path(0));
    // A COMMIT marker at offset 3, as a broker writes it.
    let marker = "00000000000000030000004200000000026505c7e60030000000000000018bcfe568090000018bcfe56809\
        00000000000003e80000ffffffff000000012000000008000000010c00000000000000";
    bytes.extend((0..marker.len() / 2).map(|at| u8::from_str_radix(&marker[2 * at..2 * at + 2], 16).unwrap()));
    overwrite(&disk, &log_path(0), &bytes);
    assert_eq!(append(&mut open(&disk), &["d"]).base_offset, Offset(4));
    let read = read_on(reader(&disk)).unwrap();
    assert_eq!(read.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn an_offset_in_a_gap_leads_to_the_next_record() {
    let disk = disk_with_partition();
    append(&mut open(&disk), &["a"]);
    let mut bytes = bytes_of(&disk, &log_path(0));
    let mut later = bytes.clone();
    later[..8].copy_from_slice(&5_i64.to_be_bytes());
    bytes.extend(later);
    overwrite(&disk, &log_path(0), &bytes);
    let mut log = reader(&disk);
    log.seek(Offset(3));
    assert_eq!(read_on(log).unwrap(), [(5, "a".to_owned())]);
    assert_eq!(open(&disk).log_end_offset(), Offset(6));
}

#[test]
fn a_batch_whose_offset_steps_back_is_corruption() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a"]);
    append(&mut writer, &["b"]);
    append(&mut writer, &["c"]);
    let mut bytes = bytes_of(&disk, &log_path(0));
    let second = bytes.len() / 3;
    bytes[second..second + 8].copy_from_slice(&0_i64.to_be_bytes());
    overwrite(&disk, &log_path(0), &bytes);
    assert!(matches!(read_on(reader(&disk)), Err(StorageError::Corrupt { .. })));
}
