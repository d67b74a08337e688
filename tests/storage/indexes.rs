//! What the indexes hold, and what they save.

use super::support::{
    NOW, append_at, append_at_once, batch_size, bytes_of, disk_with_partition, folder, log_path, open_at, overwrite,
    path, read_on, reader, verify, view,
};
use kdir::format::batch::BatchBuilder;
use kdir::format::index::{OffsetIndexEntry, TimeIndexEntry};
use kdir::format::record::NewRecord;
use kdir::storage::check::Problem;
use kdir::storage::file_name::FileKind;
use kdir::storage::repair::{self, DamagedRecords};
use kdir::storage::{Checkpoints, LogConfig};
use kdir::units::{Offset, Position, Timestamp};
use proptest::prelude::*;

fn offset_entries(disk: &kdir::disk::faulty::FaultyDisk) -> Vec<(u32, u64)> {
    let bytes = bytes_of(disk, &path(0, FileKind::OffsetIndex));
    let entries = bytes.chunks(8).map(|entry| OffsetIndexEntry::decode(entry).unwrap());
    entries.map(|entry| (entry.relative_offset.0, entry.position.0)).collect()
}

fn time_entries(disk: &kdir::disk::faulty::FaultyDisk) -> Vec<(i64, u32)> {
    let bytes = bytes_of(disk, &path(0, FileKind::TimeIndex));
    let entries = bytes.chunks(12).map(|entry| TimeIndexEntry::decode(entry).unwrap());
    entries.map(|entry| (entry.timestamp.0 - NOW.0, entry.relative_offset.0)).collect()
}

#[test]
fn an_entry_names_the_last_offset_and_the_start_of_a_batch_strictly_behind_the_interval() {
    let disk = disk_with_partition();
    let size = batch_size("v");
    let config = LogConfig { index_interval_bytes: 2 * size, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    // Larger timestamps in batches 1, 3, 4; batch 6 steps back.
    for timestamp in [0, 5, 3, 7, 9, 9, 1, 2, 3] {
        append_at(&mut writer, &["v"], NOW + timestamp).unwrap();
    }
    assert_eq!(offset_entries(&disk), [(3, 3 * size), (6, 6 * size)]);
    assert_eq!(time_entries(&disk), [(7, 3), (9, 4)]);
    append_at(&mut writer, &["v"], NOW + 20).unwrap();
    append_at(&mut writer, &["v"], NOW + 30).unwrap();
    assert_eq!(offset_entries(&disk).last(), Some(&(9, 9 * size)));
    assert_eq!(time_entries(&disk).last(), Some(&(20, 9)));
    writer.close(NOW).unwrap();
    assert_eq!(time_entries(&disk).last(), Some(&(30, 10)), "the final entry");
}

#[test]
fn an_entry_of_a_killed_writer_does_not_lead_into_a_value_that_is_written_later() {
    let built = |values: &[&[u8]], base_offset: i64| {
        let mut builder = BatchBuilder::new(0);
        for value in values {
            builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value), headers: &[] });
        }
        let mut bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
        kdir::format::batch::stamp(&mut bytes, Offset(base_offset), 0);
        bytes
    };
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    append_at(&mut writer, &["a"], NOW).unwrap();
    append_at(&mut writer, &["b"], NOW).unwrap();
    let end = bytes_of(&disk, &log_path(0)).len();
    // Another writer is killed after it has written the entry of a batch and before the batch.
    let foreign = built(&[b"foreign"], 3);
    let mut holder = built(&[&[&[b'x'; 200][..], &foreign].concat()], 2);
    let within = holder.windows(foreign.len()).position(|bytes| bytes == foreign).unwrap();
    let entry = OffsetIndexEntry {
        relative_offset: Offset(3).relative_to(Offset(0)).unwrap(),
        position: Position((end + within) as u64),
    };
    overwrite(&disk, &path(0, FileKind::OffsetIndex), &OffsetIndexEntry::encode(entry));
    writer.append(&mut [&mut holder], NOW).unwrap();
    let from_3 = || {
        let mut log = reader(&disk);
        log.seek(Offset(3));
        read_on(log).unwrap()
    };
    assert_eq!(from_3(), []);
    append_at(&mut writer, &["own"], NOW).unwrap();
    assert_eq!(from_3(), [(3, "own".to_owned())]);
}

#[test]
fn a_batch_is_named_by_its_last_offset() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 10, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    append_at(&mut writer, &["a", "b", "c"], NOW).unwrap();
    append_at(&mut writer, &["d", "e", "f"], NOW).unwrap();
    assert_eq!(offset_entries(&disk).iter().map(|entry| entry.0).collect::<Vec<_>>(), [5]);
}

#[test]
fn the_count_goes_on_where_the_last_writer_stopped() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 500, ..LogConfig::default() };
    for number in 0..40 {
        let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
        append_at(&mut writer, &["one record a run"], NOW + number).unwrap();
        writer.close(NOW).unwrap();
    }
    let size = batch_size("one record a run");
    let between = 500 / size + 1;
    let expected: Vec<(u32, u64)> = (1..40).filter(|at| at % between == 0).map(|at| (at as u32, at * size)).collect();
    assert_eq!(offset_entries(&disk), expected);
    assert_eq!(time_entries(&disk).len(), 40, "each run ends with the largest timestamp");
}

#[test]
fn one_record_costs_a_handful_of_reads_wherever_it_lies() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    let value = "x".repeat(80);
    for number in 0..20_000 {
        append_at(&mut writer, &[&value], NOW + number).unwrap();
    }
    drop(writer);
    for offset in [0, 1, 9_999, 19_999] {
        disk.reset_counts();
        let mut log = reader(&disk);
        log.seek(Offset(offset));
        log.next().unwrap();
        assert!(disk.reads() < 40, "{} reads for offset {offset}", disk.reads());
        assert!(disk.bytes_read() < 20_000, "{} bytes for offset {offset}", disk.bytes_read());
        disk.reset_counts();
        let found = view(&disk).offset_for_time(NOW + offset).unwrap();
        assert_eq!(found, Some((Offset(offset), NOW + offset)));
        assert!(disk.bytes_read() < 100_000, "{} bytes for the time of offset {offset}", disk.bytes_read());
    }
}

#[test]
fn an_entry_that_points_into_a_value_is_not_believed() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 50, ..LogConfig::default() };
    // A header that could be a batch's, within the value of a record: it ends before the offset of the entry.
    let mut header = vec![0; 61];
    header[7] = 1;
    header[11] = 49;
    header[16] = 2;
    let looks_like_a_batch = String::from_utf8(header).unwrap();
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    for value in ["a", "b", &looks_like_a_batch, "d", "e"] {
        append_at(&mut writer, &[value], NOW).unwrap();
    }
    drop(writer);
    let log = bytes_of(&disk, &log_path(0));
    let inside = log.windows(61).position(|window| window == looks_like_a_batch.as_bytes()).unwrap();
    let mut entry = 3_i32.to_be_bytes().to_vec();
    entry.extend_from_slice(&(inside as i32).to_be_bytes());
    overwrite(&disk, &path(0, FileKind::OffsetIndex), &entry);
    let mut log = reader(&disk);
    log.seek(Offset(3));
    assert_eq!(read_on(log).unwrap(), [(3, "d".to_owned()), (4, "e".to_owned())]);
}

#[test]
fn a_time_is_found_though_timestamps_step_back() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 100, segment_bytes: 2000, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    let timestamps: Vec<Timestamp> = (0..200).map(|at: i64| NOW + ((at * 37) % 101 + at / 10)).collect();
    for timestamp in &timestamps {
        append_at(&mut writer, &["v"], *timestamp).unwrap();
    }
    for after in -1..130 {
        let wanted = NOW + after;
        let expected = timestamps.iter().position(|timestamp| *timestamp >= wanted);
        let found = view(&disk).offset_for_time(wanted).unwrap().map(|(offset, _)| offset.0 as usize);
        assert_eq!(found, expected, "{after}");
    }
    assert_eq!(read_on(reader(&disk)).unwrap().len(), 200);
}

/// Found as a random history: a topic was altered between the starts of two producers.
#[test]
fn writers_with_different_intervals_keep_one_index_right() {
    let config = |index_interval_bytes| LogConfig { index_interval_bytes, ..LogConfig::default() };
    for (first, second) in [(235, 0), (0, 235), (100, 1000)] {
        let disk = disk_with_partition();
        let mut writer = open_at(&disk, config(first), Checkpoints::default()).unwrap();
        for number in 0..40 {
            if number % 7 == 3 {
                // It brings the indexes in line with its own interval, and leaves the log as it is.
                drop(open_at(&disk, config(second), Checkpoints::default()).unwrap());
            }
            append_at(&mut writer, &["a value"], NOW + number).unwrap();
            assert_eq!(super::support::verify(&disk, Checkpoints::default()), [], "{first}, {second}, record {number}");
        }
    }
}

/// Found by killing processes: an entry goes to disk before its batch.
#[test]
fn an_entry_that_a_killed_writer_left_without_its_batch_is_taken_back_by_those_that_go_on() {
    let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    for entries in 1..4 {
        for before in 0..12 {
            let disk = disk_with_partition();
            let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
            for number in 0..before {
                append_at(&mut writer, &["a value"], NOW + number).unwrap();
            }
            let size = bytes_of(&disk, &path(0, FileKind::Log)).len() as u64;
            let entry = OffsetIndexEntry {
                relative_offset: Offset(before + 7).relative_to(Offset(0)).unwrap(),
                position: kdir::units::Position(size),
            };
            let mut index = bytes_of(&disk, &path(0, FileKind::OffsetIndex));
            for _ in 0..entries {
                index.extend_from_slice(&entry.encode());
            }
            overwrite(&disk, &path(0, FileKind::OffsetIndex), &index);
            for number in before..before + 20 {
                append_at(&mut writer, &["a value"], NOW + number).unwrap();
            }
            writer.close(NOW).unwrap();
            let found = super::support::verify(&disk, Checkpoints::default());
            assert_eq!(found, [], "{entries} entries after {before} records");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn batches_leave_the_same_files_at_once_as_one_by_one(
        times in proptest::collection::vec(-5..2000_i64, 1..40),
        segment_bytes in 100..2000_u64,
        segment_index_bytes in 24..100_u64,
        index_interval_bytes in 0..400_u64,
    ) {
        let config = LogConfig {
            segment_bytes,
            segment_index_bytes,
            index_interval_bytes,
            segment_ms: 1500,
            ..LogConfig::default()
        };
        let records: Vec<(&str, Timestamp)> = times.iter().map(|&time| ("a value", NOW + time)).collect();
        let files = |at_once: usize| {
            let disk = disk_with_partition();
            let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
            for records in records.chunks(at_once) {
                append_at_once(&mut writer, records).unwrap();
            }
            writer.close(NOW).unwrap();
            let mut names: Vec<String> = disk.list(&folder()).unwrap().into_iter().map(|entry| entry.name).collect();
            // Nothing was synced: the mark of the run is there, under a name of its own.
            names.retain(|name| !name.starts_with("unsynced-"));
            names.sort();
            names.into_iter().map(|name| (bytes_of(&disk, &folder().join(&name)), name)).collect::<Vec<_>>()
        };
        let one_by_one = files(1);
        prop_assert_eq!(&files(3), &one_by_one);
        prop_assert_eq!(&files(records.len()), &one_by_one);
    }
}

/// Twelve batches of two records, each later than the one before. Each case: what the entries are, the offset entries as
/// (offset, number of the batch at their position), the time entries as (time, offset), and whether they are right. A
/// broker before 4.1 made three appends of four batches each of them.
type EntryCase = (&'static str, &'static [(u32, u64)], &'static [(i64, u32)], bool);

const ENTRY_CASES: [EntryCase; 9] = [
    ("one for each batch that is due", &[(9, 4), (17, 8)], &[(4, 9), (8, 17)], true),
    ("one for each append, before 4.1", &[(15, 4), (23, 8)], &[(7, 15), (11, 23)], true),
    ("offsets of records, before 3.8", &[(9, 4), (17, 8)], &[(4, 8), (8, 16)], true),
    ("both", &[(15, 4), (23, 8)], &[(7, 14), (11, 22)], true),
    ("an offset at which no batch ends", &[(14, 4), (23, 8)], &[(7, 15), (11, 23)], false),
    ("an offset above that of the next entry's batch", &[(19, 4), (23, 8)], &[(7, 15), (11, 23)], false),
    ("an offset below the end of the batch", &[(8, 4), (17, 8)], &[(4, 9), (8, 17)], false),
    ("a time of another batch", &[(9, 4), (17, 8)], &[(4, 7), (8, 17)], false),
    ("a time that no record has", &[(9, 4), (17, 8)], &[(5, 9), (8, 17)], false),
];

#[test]
fn writers_and_verify_agree_on_the_entries_of_older_brokers() {
    let records = ["first", "second"];
    let write = |disk: &kdir::disk::faulty::FaultyDisk, kind, entries: &[Vec<u8>]| {
        overwrite(disk, &path(0, kind), &entries.concat());
    };
    let (mut wrong, disk) = (Vec::new(), disk_with_partition());
    let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    for number in 0..12 {
        append_at(&mut writer, &records, NOW + number).unwrap();
    }
    drop(writer);
    let size = bytes_of(&disk, &log_path(0)).len() as u64 / 12;
    let config = LogConfig { index_interval_bytes: 3 * size, ..LogConfig::default() };
    for (what, offsets, times, is_right) in ENTRY_CASES {
        let offset_bytes =
            |&(offset, batch): &(u32, u64)| [offset.to_be_bytes(), ((batch * size) as u32).to_be_bytes()].concat();
        let time_bytes =
            |&(time, offset): &(i64, u32)| [&(NOW + time).0.to_be_bytes()[..], &offset.to_be_bytes()].concat();
        for recovery_point in [0, 10, 24] {
            let checkpoints = Checkpoints::of_files(Offset(recovery_point), Offset::ZERO);
            write(&disk, FileKind::OffsetIndex, &offsets.iter().map(offset_bytes).collect::<Vec<_>>());
            write(&disk, FileKind::TimeIndex, &times.iter().map(time_bytes).collect::<Vec<_>>());
            let says_right = super::support::verify(&disk, checkpoints).is_empty();
            // Answers do not depend on it.
            for number in 0..12 {
                let found = view(&disk).offset_for_time(NOW + number).unwrap();
                assert_eq!(found, Some((Offset(2 * number), NOW + number)), "{what}: the offset of time {number}");
            }
            drop(open_at(&disk, config.clone(), checkpoints).unwrap());
            let positions: Vec<_> = offsets.iter().map(|&(offset, batch)| (offset, batch * size)).collect();
            let keeps = (offset_entries(&disk), time_entries(&disk)) == (positions, times.to_vec());
            // What is below the recovery point is looked at by one entry alone.
            if says_right != is_right || (keeps != is_right && (is_right || recovery_point == 0)) {
                wrong.push(format!("{what}, recovery point {recovery_point}: verify {says_right}, writer {keeps}"));
            }
            let after = super::support::verify(&disk, Checkpoints::default());
            assert!(recovery_point > 0 || after.is_empty(), "{what}: {after:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_time_costs_no_more_with_the_entries_of_older_brokers() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    for number in 0..2_000 {
        append_at(&mut writer, &["x".repeat(80).as_str(), "second"], NOW + number).unwrap();
    }
    drop(writer);
    let cost = || {
        disk.reset_counts();
        assert_eq!(view(&disk).offset_for_time(NOW + 1_500).unwrap(), Some((Offset(3_000), NOW + 1_500)));
        disk.bytes_read()
    };
    let before = cost();
    let mut bytes = bytes_of(&disk, &path(0, FileKind::TimeIndex));
    // The first record of each batch in place of its last.
    bytes.chunks_mut(12).for_each(|entry| entry[11] -= 1);
    overwrite(&disk, &path(0, FileKind::TimeIndex), &bytes);
    assert!(cost() < before + 20_000, "{} bytes in place of {before}", cost());
}

#[test]
fn a_time_index_that_lacks_entries_is_found_by_verify_and_mended_by_repair() {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 10, segment_bytes: 2000, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    for timestamp in [500, 510, 1000].into_iter().chain(std::iter::repeat_n(400, 40)) {
        append_at(&mut writer, &["value"], NOW + timestamp).unwrap();
    }
    let durable = Checkpoints::of_files(writer.log_end_offset(), Offset::ZERO);
    writer.close(NOW).unwrap();
    assert_eq!(verify(&disk, durable), []);
    let index = path(0, FileKind::TimeIndex);
    let sound = bytes_of(&disk, &index);
    assert_eq!(time_entries(&disk).last(), Some(&(1000, 2)));
    overwrite(&disk, &index, &sound[..sound.len() - 12]);
    let findings = verify(&disk, durable);
    let problem = Problem::MissingTimeEntries { believed: NOW + 510, largest: NOW + 1000 };
    assert_eq!(findings.iter().map(|it| &it.problem).collect::<Vec<_>>(), [&problem]);
    let guard = super::support::guard(&disk, LogConfig::default(), durable).unwrap();
    repair::apply(&guard, &repair::plan(findings, DamagedRecords::Keep), &mut Vec::new()).unwrap();
    assert_eq!(bytes_of(&disk, &index), sound);
    assert_eq!(verify(&disk, durable), []);
}
