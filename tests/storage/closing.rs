//! Readers that give their file descriptors back between two looks.

use super::support::{
    NOW, Writer, append, batch_size, disk_with_partition, folder, guard, log_path, open, open_at, overwrite, reader,
};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::properties::PartitionMetadata;
use kdir::storage::{Advance, Checkpoints, LogConfig, RecordReader, StorageError, create_empty_log};
use kdir::units::Offset;
use std::path::PathBuf;
use uuid::Uuid;

fn three_batches_a_segment() -> LogConfig {
    LogConfig { segment_bytes: 3 * batch_size("00"), ..LogConfig::default() }
}

fn append_numbers(writer: &mut Writer, numbers: std::ops::Range<usize>) -> Vec<String> {
    let values: Vec<String> = numbers.map(|number| format!("{number:02}")).collect();
    for value in &values {
        append(writer, &[value]);
    }
    values
}

fn value(records: &RecordReader) -> String {
    String::from_utf8(records.record().value.unwrap().to_vec()).unwrap()
}

fn metadata(disk: &FaultyDisk, topic_id: u128) {
    let metadata = PartitionMetadata { version: 0, topic_id: Uuid::from_u128(topic_id) };
    overwrite(disk, &metadata_path(), metadata.print().as_bytes());
}

fn metadata_path() -> PathBuf {
    folder().join("partition.metadata")
}

/// A reader that has shown the first of two records and is closed.
fn closed_reader(disk: &FaultyDisk) -> RecordReader {
    let mut writer = open(disk);
    append_numbers(&mut writer, 0..2);
    let mut records = RecordReader::new(reader(disk));
    assert_eq!(records.advance().unwrap(), Advance::Record);
    records.close().unwrap();
    assert!(!records.is_open());
    records
}

fn is_deleted(records: &mut RecordReader) -> bool {
    matches!(records.advance(), Err(StorageError::PartitionDeleted { path }) if path == folder())
}

#[test]
fn a_reader_that_is_closed_after_every_record_shows_each_of_them_once() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, three_batches_a_segment(), Checkpoints::default()).unwrap();
    let mut records = RecordReader::new(reader(&disk));
    let (mut seen, mut written) = (Vec::new(), Vec::new());
    for round in 0..10 {
        written.extend(append_numbers(&mut writer, 4 * round..4 * round + 4));
        loop {
            records.close().unwrap();
            assert!(!records.is_open());
            if records.advance().unwrap() != Advance::Record {
                break;
            }
            let before = value(&records);
            records.close().unwrap();
            assert_eq!(value(&records), before, "the record found last stays");
            seen.push(before);
        }
    }
    assert_eq!(seen, written);
}

#[test]
fn what_was_read_before_is_shown_without_opening_a_file() {
    let disk = disk_with_partition();
    let written = append_numbers(&mut open(&disk), 0..20);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(records.advance().unwrap(), Advance::Record);
    records.close().unwrap();
    for expected in &written[1..19] {
        assert_eq!(records.advance().unwrap(), Advance::Record);
        assert_eq!(&value(&records), expected);
        assert!(!records.is_open(), "{expected} is in memory");
    }
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert!(records.is_open(), "whether anything follows the last one, only the disk can tell");
}

#[test]
fn a_closed_reader_goes_on_at_the_log_start_when_its_segment_is_gone() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, three_batches_a_segment(), Checkpoints::default()).unwrap();
    let mut records = RecordReader::new(reader(&disk));
    append_numbers(&mut writer, 0..2);
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!(records.advance().unwrap(), Advance::Record);
    records.close().unwrap();
    append_numbers(&mut writer, 2..9);
    disk.remove_file(&log_path(0)).unwrap();
    let passed = Advance::LogStartPassed { missed_from: Offset(2), log_start_offset: Offset(3) };
    assert_eq!(records.advance().unwrap(), passed);
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!(records.offset(), Offset(3));
}

#[test]
fn a_closed_reader_refuses_another_folder_of_the_same_name() {
    let disk = disk_with_partition();
    let mut records = closed_reader(&disk);
    let aside = PathBuf::from("/t-0.aside-delete");
    disk.rename(&folder(), &aside).unwrap();
    assert!(is_deleted(&mut records), "there is none");
    disk.create_folder(&folder()).unwrap();
    create_empty_log(&guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap(), Offset::ZERO).unwrap();
    append_numbers(&mut open(&disk), 0..5);
    assert!(is_deleted(&mut records), "it is another");
    disk.rename(&folder(), &PathBuf::from("/t-0.other-delete")).unwrap();
    disk.rename(&aside, &folder()).unwrap();
    assert_eq!(records.advance().unwrap(), Advance::Record, "it is the same again");
    assert_eq!(value(&records), "01");
}

#[test]
fn a_closed_view_answers_for_its_own_folder_alone() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, three_batches_a_segment(), Checkpoints::default()).unwrap();
    append_numbers(&mut writer, 0..8);
    let mut records = RecordReader::new(reader(&disk));
    let open = records.log().view().clone();
    records.close().unwrap();
    let closed = records.log().view().clone();
    assert_eq!(closed.log_end_offset().unwrap(), Offset(8));
    assert_eq!(closed.offset_for_time(NOW).unwrap(), Some((Offset(0), NOW)));
    assert_eq!(closed.segments().unwrap(), open.segments().unwrap());
    assert_eq!(closed.list_again().unwrap().bases(), [Offset(0), Offset(3), Offset(6)]);
    assert!(!records.is_open());
    disk.rename(&folder(), &PathBuf::from("/t-0.aside-delete")).unwrap();
    disk.create_folder(&folder()).unwrap();
    create_empty_log(&guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap(), Offset::ZERO).unwrap();
    let refusals = [
        closed.log_end_offset().err(),
        closed.offset_for_time(NOW).err(),
        closed.segments().err(),
        closed.list_again().err(),
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Some(StorageError::PartitionDeleted { path }) if path == folder()));
    }
}

/// While no descriptor holds a folder, its inode number can be given to another.
#[test]
fn a_closed_reader_refuses_another_topic_in_a_folder_of_the_same_inode() {
    let disk = disk_with_partition();
    metadata(&disk, 1);
    let mut records = closed_reader(&disk);
    metadata(&disk, 2);
    assert!(is_deleted(&mut records));
    metadata(&disk, 1);
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!(value(&records), "01");
}

#[test]
fn a_reader_of_a_folder_that_is_gone_cannot_be_closed_and_opened_on_another() {
    let disk = disk_with_partition();
    append_numbers(&mut open(&disk), 0..2);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(records.advance().unwrap(), Advance::Record);
    disk.rename(&folder(), &PathBuf::from("/t-0.aside-delete")).unwrap();
    disk.create_folder(&folder()).unwrap();
    metadata(&disk, 2);
    assert!(matches!(records.close(), Err(StorageError::PartitionDeleted { .. })));
}

#[test]
fn a_batch_that_was_half_written_when_its_reader_was_closed_is_read_afresh() {
    let disk = disk_with_partition();
    append_numbers(&mut open(&disk), 0..2);
    let whole = super::support::bytes_of(&disk, &log_path(0));
    let cut = whole.len() - 3;
    overwrite(&disk, &log_path(0), &whole[..cut]);
    let mut records = RecordReader::new(reader(&disk));
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!(records.advance().unwrap(), Advance::End);
    records.close().unwrap();
    assert_eq!(records.advance().unwrap(), Advance::End);
    records.close().unwrap();
    overwrite(&disk, &log_path(0), &whole);
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!((records.offset(), records.timestamp()), (Offset(1), NOW));
}
