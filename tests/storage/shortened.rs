//! Logs that become shorter, and writes that do.

use super::support::{
    NOW, append, append_at, batch_size, bytes_of, disk_with_partition, folder, log_path, open, overwrite,
};
use super::support::{guard, names, read_on, reader, values, verify, view};
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::storage::{Advance, Checkpoints, LogConfig, Next, RecordReader};

fn batch(value: &str) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, value: Some(value.as_bytes()), ..NewRecord::default() });
    builder.finish(None, usize::MAX).unwrap();
    builder
}

#[test]
fn batches_that_went_out_whole_stay_appended_where_the_disk_has_no_room_for_the_next() {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    append(&mut writer, &["first"]);
    let mut follower = RecordReader::new(reader(&disk));
    assert_eq!(follower.advance().unwrap(), Advance::Record);
    let value = "x".repeat(200);
    disk.space_left(2 * batch_size(&value) + 50);
    let mut builders = [0; 4].map(|_| batch(&value));
    let mut batches: Vec<&mut [u8]> = builders.iter_mut().map(BatchBuilder::finished).collect();
    let appended = writer.append(&mut batches, NOW).unwrap();
    assert_eq!((appended.batch_count, appended.base_offset.0, appended.last_offset.0), (2, 1, 2));
    let shown: Vec<i64> =
        std::iter::from_fn(|| (follower.advance().unwrap() == Advance::Record).then(|| follower.offset().0)).collect();
    assert_eq!(shown, [1, 2], "a reader may show them at once");
    assert!(writer.append(&mut batches[2..], NOW).is_err(), "the next call names what failed");
    assert!(writer.append(&mut batches[2..], NOW).is_err(), "and nothing more is written");
    drop(writer);
    disk.disarm();
    assert_eq!(append(&mut open(&disk), &["next"]).base_offset.0, 3, "no offset is given twice");
    assert_eq!(values(&disk).len(), 4);
    assert_eq!(verify(&disk, Checkpoints::default()), []);
}

/// A log of five records, and the reader that has shown them.
fn shown_to_the_end() -> (kdir::disk::faulty::FaultyDisk, kdir::storage::LogReader) {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    for number in 0..5 {
        append(&mut writer, &[&format!("value {number}")]);
    }
    let mut log = reader(&disk);
    while let Next::Batch(_) = log.next().unwrap() {}
    (disk, log)
}

/// Takes the last two batches back, and writes three of another size.
fn rewrite_the_end(disk: &kdir::disk::faulty::FaultyDisk) {
    let kept = 3 * batch_size("value 0");
    disk.open(&log_path(0), Access::Write).unwrap().set_len(kept).unwrap();
    let mut writer = open(disk);
    for number in 3..6 {
        append(&mut writer, &[&format!("another value {number}")]);
    }
}

#[test]
fn a_reader_of_a_log_that_was_cut_and_written_on_goes_on_at_its_next_offset() {
    let (disk, log) = shown_to_the_end();
    assert_eq!(log.next_offset().0, 5);
    rewrite_the_end(&disk);
    assert_eq!(read_on(log).unwrap(), [(5, "another value 5".to_owned())]);
}

#[test]
fn a_reader_that_saw_the_log_cut_waits_for_its_next_offset() {
    let (disk, mut log) = shown_to_the_end();
    let bytes = bytes_of(&disk, &log_path(0));
    disk.open(&log_path(0), Access::Write).unwrap().set_len(bytes.len() as u64 - 10).unwrap();
    assert!(matches!(log.next().unwrap(), Next::End));
    rewrite_the_end(&disk);
    assert_eq!(read_on(log).unwrap(), [(5, "another value 5".to_owned())]);
}

#[test]
fn damage_at_the_place_of_a_reader_is_still_corruption() {
    let (disk, log) = shown_to_the_end();
    let mut writer = open(&disk);
    for number in 5..8 {
        append_at(&mut writer, &[&format!("value {number}")], NOW).unwrap();
    }
    let mut bytes = bytes_of(&disk, &log_path(0));
    let at = 5 * batch_size("value 0") as usize + 40;
    bytes[at] ^= 1;
    overwrite(&disk, &log_path(0), &bytes);
    assert!(read_on(log).is_err());
}

#[test]
fn epochs_that_begin_beyond_the_log_end_are_dropped_by_the_next_writer() {
    let disk = disk_with_partition();
    append(&mut open(&disk), &["one"]);
    let file = folder().join("leader-epoch-checkpoint");
    overwrite(&disk, &file, b"0\n2\n0 0\n5 100\n");
    append(&mut open(&disk), &["two"]);
    assert_eq!(bytes_of(&disk, &file), b"0\n1\n0 0\n");
    assert_eq!(verify(&disk, Checkpoints::default()), []);
    drop(guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap());
    assert_eq!(view(&disk).log_end_offset().unwrap().0, 2);
    assert!(names(&disk).iter().all(|name| !name.starts_with("cut-")));
}
