//! Segments with offsets that no index entry can hold, as brokers before 2.0 could write them (KAFKA-6264).

use super::support::{
    NOW, append, bytes_of, cut_of, disk_with_partition, log_path, names, open_as, open_at, overwrite, path, read_on,
    reader_at, verify, view_at,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, stamp};
use kdir::format::record::NewRecord;
use kdir::storage::check::Problem;
use kdir::storage::file_name::{FileKind, segment_name};
use kdir::storage::{Checkpoints, Durability, LogConfig, StorageError};
use kdir::units::Offset;

/// The first two lie within reach of base offset 0, the others do not.
const BASES: [i64; 4] = [0, 5, (1 << 31) + 10, (1 << 32) + 5];
const END: i64 = BASES[3] + 3;

/// A batch of three records from `base` on, each with its offset for a value and a timestamp.
fn batch(base: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for offset in base..base + 3 {
        let value = offset.to_string();
        builder.push(&NewRecord { timestamp: NOW + offset, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    let mut bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
    stamp(&mut bytes, Offset(base), 0);
    bytes
}

/// A segment with these batches.
fn disk_of(bases: &[i64]) -> FaultyDisk {
    let disk = disk_with_partition();
    overwrite(&disk, &log_path(0), &bases.iter().flat_map(|&base| batch(base)).collect::<Vec<u8>>());
    disk
}

fn offsets() -> Vec<i64> {
    BASES.iter().flat_map(|&base| base..base + 3).collect()
}

fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 50, ..LogConfig::default() }
}

/// Every look-up by offset and by time.
fn assert_all_is_found(disk: &FaultyDisk, checkpoints: Checkpoints, what: &str) {
    let expected: Vec<(i64, String)> = offsets().iter().map(|offset| (*offset, offset.to_string())).collect();
    for (place, &offset) in offsets().iter().enumerate() {
        let mut log = reader_at(disk, checkpoints);
        log.seek(Offset(offset));
        let read = read_on(log).unwrap();
        assert_eq!(read[..expected.len() - place], expected[place..], "{what}: from {offset}");
        let at = view_at(disk, checkpoints).offset_for_time(NOW + offset).unwrap();
        assert_eq!(at, Some((Offset(offset), NOW + offset)), "{what}: by time");
    }
    let end = offsets().last().unwrap() + 1;
    assert!(view_at(disk, checkpoints).log_end_offset().unwrap() >= Offset(end), "{what}");
}

#[test]
fn offsets_out_of_reach_are_read_and_the_next_append_goes_to_a_segment_of_its_own() {
    for durability in [Durability::Synced, Durability::Unsynced] {
        for checkpoints in [Checkpoints::default(), Checkpoints::of_files(Offset(END), Offset::ZERO)] {
            let disk = disk_of(&BASES);
            assert_all_is_found(&disk, checkpoints, "as it was");
            let before = bytes_of(&disk, &log_path(0));
            let mut writer = open_as(&disk, config(), checkpoints, durability).unwrap();
            assert_eq!(writer.log_end_offset(), Offset(END));
            assert_eq!(append(&mut writer, &["next"]).base_offset, Offset(END));
            writer.close(NOW).unwrap();
            assert_eq!(bytes_of(&disk, &log_path(0)), before, "nothing is appended to it");
            let made = segment_name(Offset(END), FileKind::Log);
            assert!(names(&disk).contains(&made), "{:?}", names(&disk));
            // A second one finds the same.
            drop(writer);
            let mut writer = open_as(&disk, config(), checkpoints, durability).unwrap();
            assert_eq!(append(&mut writer, &["more"]).base_offset, Offset(END + 1));
            writer.close(NOW).unwrap();
            assert_eq!(read_on(reader_at(&disk, checkpoints)).unwrap().len(), 14);
        }
    }
}

#[test]
fn a_check_notes_them_and_finds_nothing_wrong() {
    let disk = disk_of(&BASES);
    // The records between are missing, which a log that was compacted may lack.
    let found: Vec<_> = verify(&disk, Checkpoints::default())
        .into_iter()
        .filter(|it| !matches!(it.problem, Problem::MissingOffsets { .. }))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].problem.clone(), found[0].offset), (Problem::OffsetsOutOfReach, Some(Offset(BASES[2]))));
    assert!(!found[0].severity().is_wrong());
}

#[test]
fn index_entries_that_have_wrapped_around_change_no_answer() {
    let disk = disk_of(&BASES);
    let size = batch(0).len() as i32;
    let (mut offset_index, mut time_index) = (Vec::new(), Vec::new());
    for (place, base) in (0..).zip(BASES).skip(1) {
        // As brokers before 2.0 wrote them: the low 32 bits.
        let relative = (base + 2) as i32;
        offset_index.extend([relative.to_be_bytes(), (place * size).to_be_bytes()].concat());
        time_index.extend([&(NOW.0 + base + 2).to_be_bytes()[..], &relative.to_be_bytes()].concat());
    }
    overwrite(&disk, &path(0, FileKind::OffsetIndex), &offset_index);
    overwrite(&disk, &path(0, FileKind::TimeIndex), &time_index);
    for recovery_point in [0, END] {
        let checkpoints = Checkpoints::of_files(Offset(recovery_point), Offset::ZERO);
        assert_all_is_found(&disk, checkpoints, "wrapped");
    }
    // A writer puts right what can be.
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    append(&mut writer, &["next"]);
    writer.close(NOW).unwrap();
    let entries = bytes_of(&disk, &path(0, FileKind::OffsetIndex));
    assert_eq!(entries, [7_i32.to_be_bytes(), size.to_be_bytes()].concat());
    assert_all_is_found(&disk, Checkpoints::default(), "put right");
}

#[test]
fn what_follows_damage_out_of_reach_is_never_cut() {
    let size = batch(0).len();
    for (damaged, what) in [(1, "the last one within reach"), (2, "the first one out of reach")] {
        let disk = disk_of(&BASES);
        let mut log = bytes_of(&disk, &log_path(0));
        log[damaged * size + 70] ^= 1;
        overwrite(&disk, &log_path(0), &log);
        match open_at(&disk, config(), Checkpoints::default()) {
            Err(StorageError::Corrupt { position, .. }) => assert_eq!(position.0, (damaged * size) as u64, "{what}"),
            other => panic!("{what}: {:?}", other.map(|_| ())),
        }
        assert_eq!(bytes_of(&disk, &log_path(0)), log, "{what}");
        assert!(
            matches!(read_on(reader_at(&disk, Checkpoints::default())), Err(StorageError::Corrupt { .. })),
            "{what}"
        );
    }
}

#[test]
fn a_torn_end_out_of_reach_is_cut() {
    let disk = disk_of(&BASES);
    let mut log = bytes_of(&disk, &log_path(0));
    let whole = log.len();
    log.extend_from_slice(&batch(END)[..50]);
    overwrite(&disk, &log_path(0), &log);
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    assert_eq!(cut_of(&writer.take_notices()), [50]);
    assert_eq!(bytes_of(&disk, &log_path(0)).len(), whole);
    assert_eq!(append(&mut writer, &["next"]).base_offset, Offset(END));
}
