//! Readers beside writers: what they see of a log that changes under them.

use super::retention::retain;
use super::support::{
    Heard, NOW, append, append_at, batch_size, bytes_of, disk_with_partition, folder, guard, log_path, names, open,
    open_at, overwrite, read_on, reader, view,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{LogDir, LogDirError, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::{Advance, Checkpoints, LogConfig, LogReader, LogView, RecordReader, StorageError};
use kdir::units::{Offset, Timestamp};
use std::path::Path;
use std::sync::Arc;

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
fn a_reader_does_not_read_a_preallocated_tail_again_after_each_batch() {
    const ZEROS: u64 = 8 << 20;
    for keeps_holes in [true, false] {
        let (disk, source) = (disk_with_partition(), disk_with_partition());
        if !keeps_holes {
            disk.keep_no_holes();
        }
        let mut writer = open(&source);
        let batches: Vec<Vec<u8>> = (0..50)
            .map(|number| {
                let before = bytes_of(&source, &log_path(0)).len();
                append(&mut writer, &[&number.to_string()]);
                bytes_of(&source, &log_path(0))[before..].to_vec()
            })
            .collect();
        let log = disk.open(&log_path(0), Access::Write).unwrap();
        log.set_len(ZEROS).unwrap();
        let mut records = RecordReader::new(reader(&disk));
        assert_eq!(advance_all(&mut records), [""; 0]);
        let first = disk.bytes_read();
        assert!(first >= if keeps_holes { 0 } else { ZEROS }, "{first}");
        disk.reset_counts();
        let mut position = 0;
        for (number, batch) in batches.iter().enumerate() {
            log.write_at(batch, position).unwrap();
            position += batch.len() as u64;
            assert_eq!(advance_all(&mut records), [number.to_string()]);
        }
        // A few chunks of 4096 bytes for each batch.
        assert!(disk.bytes_read() < 50 * 6 * 4096, "{} bytes for 50 batches", disk.bytes_read());
    }
}

#[test]
fn what_lies_behind_rolls_that_a_reader_has_not_listed_is_found() {
    for offset in 0..10_i64 {
        let disk = disk_with_partition();
        let config = LogConfig { segment_bytes: 3 * batch_size("0"), ..LogConfig::default() };
        let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
        append_at(&mut writer, &["0"], NOW).unwrap();
        let (mut log, other) = (reader(&disk), view(&disk));
        for number in 1..10 {
            append_at(&mut writer, &[&number.to_string()], NOW + number).unwrap();
        }
        assert_eq!(log.view().log_end_offset().unwrap(), Offset(10));
        let found = Some((Offset(offset), NOW + offset));
        assert_eq!(log.view().offset_for_time(NOW + offset).unwrap(), found);
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
    retain(&disk, &limits, Checkpoints::default(), NOW, |_| {}).unwrap();
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
    retain(&disk, &limits, Checkpoints::default(), NOW, |_| {}).unwrap();
    assert_eq!(advance_all(&mut records), Vec::<String>::new());
    append(&mut writer, &["b"]);
    assert_eq!(advance_all(&mut records), ["b"]);
}

#[test]
fn a_deleted_partition_is_an_error_to_its_reader_and_writer_even_when_it_is_made_anew() {
    let disk = FaultyDisk::new();
    let dir = LogDir::open_to_write(Arc::new(disk.clone()), Path::new("/")).unwrap();
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: TopicConfig::default() };
    dir.create_topic(&new).unwrap();
    let topic = dir.topic(&new.name).unwrap();
    let partition = dir.partition(&topic, 0).unwrap();
    let mut writer = TopicWriter::new(dir, topic, SyncPolicy::Never, Arc::new(Heard::default()).listener()).unwrap();
    let mut append = |value: &'static [u8]| {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { value: Some(value), ..NewRecord::default() });
        writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW)
    };
    append(b"a").unwrap();
    let mut records = RecordReader::new(partition.reader(4096).unwrap());
    assert_eq!(advance_all(&mut records), ["a"]);
    disk.rename(&folder(), "/t-0.0123-delete".as_ref()).unwrap();
    assert!(matches!(records.advance(), Err(StorageError::PartitionDeleted { .. })));
    assert!(matches!(append(b"b"), Err(LogDirError::TopicDeleted { .. })));
    disk.create_folder(&folder()).unwrap();
    let other = guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    kdir::storage::create_empty_log(&other, Offset::ZERO).unwrap();
    drop(other);
    assert!(matches!(records.advance(), Err(StorageError::PartitionDeleted { .. })));
    assert!(matches!(append(b"b"), Err(LogDirError::TopicDeleted { .. })));
    assert!(matches!(partition.guard(), Err(LogDirError::TopicDeleted { .. })));
    assert_eq!(bytes_of(&disk, &log_path(0)), b"");
}

/// A writer writes to the folder that it opened, whatever has its name by then.
#[test]
fn what_is_appended_to_a_folder_never_goes_to_another_of_its_name() {
    let disk = disk_with_partition();
    let mut writer =
        open_at(&disk, LogConfig { segment_bytes: batch_size("a"), ..LogConfig::default() }, Checkpoints::default())
            .unwrap();
    append(&mut writer, &["a"]);
    let old = Path::new("/t-0.0123-delete");
    disk.rename(&folder(), old).unwrap();
    disk.create_folder(&folder()).unwrap();
    drop(guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap());
    // A roll makes files, by their names alone.
    append(&mut writer, &["b"]);
    writer.close(NOW).unwrap();
    assert_eq!(names(&disk), Vec::<String>::new());
    let view = LogView::of(disk.open_folder(old).unwrap(), Checkpoints::default()).unwrap();
    let expected = [(0, "a".to_owned()), (1, "b".to_owned())];
    assert_eq!(read_on(LogReader::new(view, 4096)).unwrap(), expected);
}

#[test]
fn records_below_the_log_start_are_hidden() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["a", "b", "c"]);
    append(&mut writer, &["d"]);
    let started = Checkpoints { log_start_offset: Offset(2), ..Checkpoints::default() };
    let log = super::support::reader_at(&disk, started);
    assert_eq!(log.view().log_start_offset(), Offset(2));
    assert_eq!(log.view().offset_for_time(Timestamp(0)).unwrap(), Some((Offset(2), NOW)));
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
