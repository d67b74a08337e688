//! What a repair does about each damage, what it keeps, and what it leaves alone.

use super::support::{
    NOW, append_at, batch_size, bytes_of, disk_with_partition, folder, guard, log_path, names, open, open_at,
    overwrite, path, read_on, reader, values, verify, view,
};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::check::{Finding, Problem};
use kdir::storage::file_name::FileKind;
use kdir::storage::repair::{self, DamagedRecords};
use kdir::storage::{Checkpoints, LogConfig, StorageError};
use kdir::units::Offset;
use std::collections::BTreeMap;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 800, index_interval_bytes: 200, ..LogConfig::default() }
}

fn value(number: i64) -> String {
    format!("value {number:02} {}", "x".repeat(60))
}

/// Thirty batches of one record, six in each of five segments.
fn log() -> FaultyDisk {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    for number in 0..30 {
        append_at(&mut writer, &[&value(number)], NOW + number).unwrap();
    }
    writer.close(NOW).unwrap();
    disk
}

fn per_segment() -> i64 {
    800 / batch() as i64
}

fn batch() -> usize {
    batch_size(&value(0)) as usize
}

fn repair_once(disk: &FaultyDisk, damaged_records: DamagedRecords) -> kdir::storage::Result<Vec<Finding>> {
    let guard = guard(disk, config(), Checkpoints::default())?;
    let findings = verify(disk, Checkpoints::default());
    if !findings.is_empty() {
        repair::apply(&guard, &repair::plan(findings, damaged_records), &mut Vec::new())?;
    }
    drop(guard);
    Ok(verify(disk, Checkpoints::default()))
}

/// What is left of the findings.
fn repair(disk: &FaultyDisk, damaged_records: DamagedRecords) -> Vec<Finding> {
    let mut left = repair_once(disk, damaged_records).unwrap();
    for _ in 0..2 {
        left = repair_once(disk, damaged_records).unwrap();
    }
    left
}

fn contents(disk: &FaultyDisk) -> BTreeMap<String, Vec<u8>> {
    names(disk).into_iter().map(|name| (name.clone(), bytes_of(disk, &folder().join(name)))).collect()
}

fn flip(disk: &FaultyDisk, path: &std::path::Path, byte: usize, bits: u8) {
    let mut bytes = bytes_of(disk, path);
    bytes[byte] ^= bits;
    overwrite(disk, path, &bytes);
}

fn offsets(disk: &FaultyDisk) -> Vec<i64> {
    read_on(reader(disk)).unwrap().into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn a_sound_partition_is_not_touched() {
    let disk = log();
    let before = contents(&disk);
    disk.reset_counts();
    assert_eq!(repair(&disk, DamagedRecords::GiveUp), []);
    assert_eq!(disk.operations(), 0, "{:?}", disk.trace());
    assert_eq!(contents(&disk), before);
}

#[test]
fn damage_in_the_middle_is_left_alone_unless_it_is_given_up() {
    let disk = log();
    let damaged = per_segment() + 2;
    let start = 2 * batch();
    let segment = log_path(per_segment());
    flip(&disk, &segment, start + 80, 1);
    let bytes = bytes_of(&disk, &segment);
    assert!(matches!(repair(&disk, DamagedRecords::Keep)[..], [Finding { problem: Problem::DamagedBatch { .. }, .. }]));
    assert_eq!(bytes_of(&disk, &segment), bytes);
    assert!(matches!(read_on(reader(&disk)), Err(StorageError::Corrupt { .. })));
    assert_eq!(repair(&disk, DamagedRecords::GiveUp), []);
    let expected: Vec<i64> = (0..30).filter(|&offset| offset != damaged).collect();
    assert_eq!(offsets(&disk), expected, "every sound record is there, at its own offset");
    let kept = folder().join(format!("cut-{:020}-{start}", per_segment()));
    assert_eq!(bytes_of(&disk, &kept), bytes[start..start + batch()]);
    let mut writer = open(&disk);
    assert_eq!(append_at(&mut writer, &["after"], NOW).unwrap().base_offset, Offset(30));
}

#[test]
fn every_flipped_bit_in_a_log_is_mended_and_nothing_else_is_lost() {
    let disk = log();
    let bases = view(&disk).bases().to_vec();
    for base in [bases[0].0, bases[1].0, bases.last().unwrap().0] {
        let sound = bytes_of(&disk, &log_path(base));
        for bit in (0..sound.len() * 8).step_by(29) {
            let disk = disk.kill();
            flip(&disk, &log_path(base), bit / 8, 1 << (bit % 8));
            let what = format!("segment {base}, bit {} of byte {}", bit % 8, bit / 8);
            assert_eq!(repair(&disk, DamagedRecords::GiveUp), [], "{what}");
            let hit = base + (bit / 8 / batch()) as i64;
            let left = read_on(reader(&disk)).unwrap();
            for number in (0..30).filter(|&number| number != hit) {
                assert!(left.contains(&(number, value(number))), "{what}: record {number} is lost");
            }
            assert!(left.iter().all(|(offset, text)| *text == value(*offset)), "{what}: {left:?}");
            // Neither field is under the checksum, and both can be known.
            let is_outside_the_checksum = matches!(bit / 8 % batch(), 0..8 | 12..16) && bit % (batch() * 8) != 7;
            if is_outside_the_checksum {
                assert_eq!((left.len(), bytes_of(&disk, &log_path(base))), (30, sound.clone()), "{what}");
            }
        }
    }
}

#[test]
fn an_offset_is_given_back_only_between_neighbours_that_agree() {
    let disk = log();
    let last = *kdir::storage::segments::base_offsets(&*disk.open_folder(&folder()).unwrap()).unwrap().last().unwrap();
    let segment = log_path(last.0);
    // A damaged batch, and after it one whose base offset is too high: the lower ones that follow are sound.
    flip(&disk, &segment, batch() + 80, 1);
    flip(&disk, &segment, 2 * batch() + 6, 1);
    let before = bytes_of(&disk, &segment);
    let found = repair(&disk, DamagedRecords::Keep);
    assert!(matches!(found[..], [Finding { problem: Problem::DamagedBatch { .. }, .. }]), "{found:?}");
    assert_eq!(bytes_of(&disk, &segment), before);
    assert_eq!(repair(&disk, DamagedRecords::GiveUp), []);
    let expected: Vec<i64> = (0..30).filter(|offset| ![last.0 + 1, last.0 + 2].contains(offset)).collect();
    assert_eq!(offsets(&disk), expected);
}

#[test]
fn batches_that_are_there_twice_are_taken_out_once_and_the_others_keep_their_offsets() {
    let size = batch();
    for (copied, behind) in [(0..1, 1), (0..1, 2), (1..2, 2), (0..2, 2), (0..2, 4), (2..4, 4)] {
        let disk = log();
        let segment = log_path(0);
        let sound = bytes_of(&disk, &segment);
        let mut bytes = sound.clone();
        let copy = sound[copied.start * size..copied.end * size].to_vec();
        bytes.splice(behind * size..behind * size, copy.clone());
        overwrite(&disk, &segment, &bytes);
        let found = verify(&disk, Checkpoints::default());
        let is_repeated = |it: &Finding| matches!(it.problem, Problem::RepeatedBatches { .. });
        assert_eq!(found.iter().filter(|it| is_repeated(it)).count(), 1, "{copied:?} behind {behind}: {found:?}");
        assert_eq!(repair(&disk, DamagedRecords::Keep), [], "{copied:?} behind {behind}");
        assert_eq!(bytes_of(&disk, &segment), sound);
        assert_eq!(bytes_of(&disk, &folder().join(format!("cut-{:020}-{}", 0, behind * size))), copy);
        assert_eq!(offsets(&disk), (0..30).collect::<Vec<_>>());
    }
}

#[test]
fn no_offset_is_changed_where_batches_have_changed_places_or_begin_again() {
    let size = batch();
    let sound = bytes_of(&log(), &log_path(0));
    let piece = |range: std::ops::Range<usize>| &sound[range.start * size..range.end * size];
    let rest = piece(4..sound.len() / size);
    let swapped = [piece(0..1), piece(2..3), piece(1..2), piece(3..4), rest].concat();
    let apart = [piece(0..1), piece(3..4), piece(2..3), piece(1..2), rest].concat();
    // Other records at offsets that the log has: those of the third batch with the offset of the second.
    let mut other = piece(2..3).to_vec();
    other[..8].copy_from_slice(&1_i64.to_be_bytes());
    let again = [piece(0..3), &other, piece(2..4), rest].concat();
    for bytes in [swapped, apart, again] {
        let disk = log();
        overwrite(&disk, &log_path(0), &bytes);
        let before = contents(&disk);
        let found = repair(&disk, DamagedRecords::Keep);
        assert!(!found.is_empty() && found.iter().all(|it| !matches!(it.problem, Problem::WrongBaseOffset { .. })));
        let log_of = |files: &BTreeMap<String, Vec<u8>>| files[&format!("{:020}.log", 0)].clone();
        assert_eq!(log_of(&contents(&disk)), log_of(&before), "{found:?}");
    }
}

#[test]
fn a_file_that_contradicts_many_batches_is_wrong_itself() {
    let disk = log();
    let (bases, epochs) = (view(&disk).bases().to_vec(), folder().join("leader-epoch-checkpoint"));
    let logs = |disk: &FaultyDisk| bases.iter().map(|base| bytes_of(disk, &log_path(base.0))).collect::<Vec<_>>();
    let before = logs(&disk);
    let epoch_of = |log: &[u8]| i32::from_be_bytes(log[12..16].try_into().unwrap());
    overwrite(&disk, &epochs, format!("0\n1\n{} 0\n", epoch_of(&before[0]) + 7).as_bytes());
    let found = verify(&disk, Checkpoints::default());
    assert!(
        matches!(&found[..], [Finding { path, problem: Problem::DamagedFile { .. }, .. }] if *path == epochs),
        "{found:?}"
    );
    assert_eq!(repair(&disk, DamagedRecords::Keep), []);
    assert_eq!(logs(&disk), before);
    assert!(names(&disk).contains(&"leader-epoch-checkpoint.damaged".to_owned()));
}

#[test]
fn no_sound_batch_is_cut_behind_one_whose_place_is_in_doubt() {
    let disk = log();
    let last = view(&disk).bases().last().unwrap().0;
    let segment = log_path(last);
    // The second claims an offset far above, and the third is damaged.
    flip(&disk, &segment, batch() + 6, 4);
    flip(&disk, &segment, 2 * batch() + 80, 1);
    let sound = bytes_of(&disk, &segment);
    let found = repair(&disk, DamagedRecords::Keep);
    assert!(found.iter().any(|it| matches!(it.problem, Problem::DamagedBatch { .. })), "{found:?}");
    assert_eq!(bytes_of(&disk, &segment), sound);
}

#[test]
fn a_torn_tail_is_cut_and_kept() {
    let disk = log();
    let last = view(&disk).bases().last().unwrap().0;
    let bytes = bytes_of(&disk, &log_path(last));
    let whole = bytes.len() - batch();
    overwrite(&disk, &log_path(last), &bytes[..bytes.len() - 10]);
    assert!(matches!(verify(&disk, Checkpoints::default())[..], [Finding { problem: Problem::TornTail { .. }, .. }]));
    assert_eq!(repair(&disk, DamagedRecords::Keep), []);
    assert_eq!(offsets(&disk), (0..29).collect::<Vec<_>>());
    let kept = folder().join(format!("cut-{last:020}-{whole}"));
    assert_eq!(bytes_of(&disk, &kept), bytes[whole..bytes.len() - 10]);
}

#[test]
fn wrong_indexes_are_rebuilt_as_they_were() {
    for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
        let disk = log();
        let right = bytes_of(&disk, &path(0, kind));
        let damages = [right.iter().map(|byte| byte ^ 0x11).collect(), vec![0xa5; 500], {
            let mut doubled = right.clone();
            doubled.extend_from_slice(&right);
            doubled
        }];
        for damaged in damages {
            overwrite(&disk, &path(0, kind), &damaged);
            let found = verify(&disk, Checkpoints::default());
            assert!(matches!(found[..], [Finding { problem: Problem::WrongIndexEntries { .. }, .. }]), "{found:?}");
            assert_eq!(repair(&disk, DamagedRecords::Keep), []);
            assert_eq!(bytes_of(&disk, &path(0, kind)), right);
        }
    }
}

#[test]
fn a_log_that_ends_below_its_recovery_point_never_gives_an_offset_twice() {
    let disk = log();
    let durable = Checkpoints::of_files(Offset(30), Offset::ZERO);
    let last = *view(&disk).bases().last().unwrap();
    overwrite(&disk, &log_path(last.0), &[]);
    let findings = verify(&disk, durable);
    assert!(
        matches!(findings[..], [Finding { problem: Problem::EndsBelowRecoveryPoint { .. }, .. }, ..]),
        "{findings:?}"
    );
    assert!(open_at(&disk, config(), durable).is_err());
    let guard = guard(&disk, config(), durable).unwrap();
    repair::apply(&guard, &repair::plan(findings, DamagedRecords::GiveUp), &mut Vec::new()).unwrap();
    drop(guard);
    assert_eq!(verify(&disk, durable), []);
    let mut writer = open_at(&disk, config(), durable).unwrap();
    assert_eq!(append_at(&mut writer, &["after"], NOW).unwrap().base_offset, Offset(30));
    assert_eq!(values(&disk).last().unwrap(), "after");
}

#[test]
fn a_damaged_epoch_file_is_kept_and_made_anew_from_the_batches() {
    let disk = log();
    let file = folder().join("leader-epoch-checkpoint");
    overwrite(&disk, &file, b"0\n2\n0 0\nnonsense\n");
    assert_eq!(repair(&disk, DamagedRecords::Keep), []);
    assert_eq!(bytes_of(&disk, &file), b"0\n1\n0 0\n");
    let kept = folder().join("leader-epoch-checkpoint.damaged");
    assert_eq!(bytes_of(&disk, &kept), b"0\n2\n0 0\nnonsense\n");
}

#[test]
fn a_crash_during_a_repair_loses_no_sound_record_and_the_next_repair_mends_it() {
    let prepare = || {
        let disk = log();
        flip(&disk, &log_path(0), 2 * batch() + 80, 1);
        flip(&disk, &log_path(per_segment()), batch() + 80, 1);
        flip(&disk, &path(per_segment(), FileKind::OffsetIndex), 7, 0x40);
        disk.open_folder(&folder()).unwrap().sync().unwrap();
        for name in names(&disk) {
            disk.open(&folder().join(name), kdir::disk::Access::Read).unwrap().sync().unwrap();
        }
        disk.reset_counts();
        disk
    };
    let hit = [2, per_segment() + 1];
    let counted = prepare();
    repair_once(&counted, DamagedRecords::GiveUp).unwrap();
    for number in 1..=counted.operations() {
        for seed in 0..6 {
            let disk = prepare();
            disk.crash_at(number);
            let _ = repair_once(&disk, DamagedRecords::GiveUp);
            let disk = disk.crash(seed);
            let what = format!("crash at {number}, seed {seed}: {:?}", names(&disk));
            assert_eq!(repair(&disk, DamagedRecords::GiveUp), [], "{what}");
            let expected: Vec<i64> = (0..30).filter(|offset| !hit.contains(offset)).collect();
            assert_eq!(offsets(&disk), expected, "{what}");
            let kept = names(&disk).iter().filter(|name| name.starts_with("cut-")).count();
            assert!(kept >= 2, "{what}: what was removed is kept");
        }
    }
}
