//! What is left of a retention run, or of a broker's cleaner, that stopped at any point.

use super::retention::retain;
use super::support::{
    NOW, append, append_at, batch_size, bytes_of, disk_with_partition, folder, names, open, open_at, overwrite, path,
    read_on, reader, reader_at, values, verify, view,
};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::check::Problem;
use kdir::storage::file_name::FileKind;
use kdir::storage::{Checkpoints, LogConfig, Notice, StorageError};
use kdir::units::Offset;
use std::path::{Path, PathBuf};

const KINDS: [FileKind; 3] = [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex];

fn config() -> LogConfig {
    LogConfig { segment_bytes: 400, index_interval_bytes: 100, ..LogConfig::default() }
}

/// Twelve batches of one record in four segments.
fn log_to_be_cleaned() -> FaultyDisk {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    for number in 0..12 {
        append_at(&mut writer, &[&format!("value {number} {}", "x".repeat(50))], NOW + number).unwrap();
    }
    writer.close(NOW).unwrap();
    kdir::storage::sync_now(writer.pending_sync(), kdir::storage::SyncFor::Acknowledgement).unwrap();
    assert_eq!(bases(&disk), [0, 3, 6, 9]);
    disk
}

fn bases(disk: &FaultyDisk) -> Vec<i64> {
    view(disk).bases().iter().map(|base| base.0).collect()
}

fn with(path: PathBuf, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn exists(disk: &FaultyDisk, path: &Path) -> bool {
    disk.stat(path).unwrap().is_some()
}

/// Replaces the first two segments by one that lacks their second batches, and the third by one that lacks its last, step
/// by step as a broker's cleaner does it.
fn clean(disk: &FaultyDisk) -> kdir::disk::Result<()> {
    let write = |path: PathBuf, bytes: &[u8]| {
        let file = disk.open(&path, kdir::disk::Access::Create)?;
        file.write_at(bytes, 0)?;
        file.sync()
    };
    for (base, parts) in [(0, &[0, 3][..]), (6, &[6])] {
        let mut merged = Vec::new();
        for &part in parts {
            let bytes = bytes_of(disk, &path(part, FileKind::Log));
            let batch = bytes.len() / 3;
            merged.extend_from_slice(&bytes[..batch]);
            merged.extend_from_slice(&bytes[if part == 6 { batch..2 * batch } else { 2 * batch..3 * batch }]);
        }
        for kind in KINDS {
            write(with(path(base, kind), ".cleaned"), if kind == FileKind::Log { &merged } else { &[] })?;
        }
    }
    // The cleaner syncs its folder before anything is renamed.
    disk.open_folder(&folder())?.sync()?;
    for base in [6, 0] {
        for kind in KINDS {
            disk.rename(&with(path(base, kind), ".cleaned"), &with(path(base, kind), ".swap"))?;
        }
    }
    for base in [0, 3, 6] {
        for kind in KINDS {
            disk.rename(&path(base, kind), &with(path(base, kind), ".deleted"))?;
        }
    }
    for base in [0, 6] {
        for kind in KINDS {
            disk.rename(&with(path(base, kind), ".swap"), &path(base, kind))?;
        }
    }
    disk.open_folder(&folder())?.sync()
}

fn offsets(disk: &FaultyDisk) -> Vec<i64> {
    read_on(reader(disk)).unwrap().into_iter().map(|(offset, _)| offset).collect()
}

#[test]
fn a_cleaner_that_stopped_anywhere_is_finished_or_undone_and_readers_miss_nothing() {
    let all: Vec<i64> = (0..12).collect();
    let kept = vec![0, 2, 3, 5, 6, 7, 9, 10, 11];
    let counted = log_to_be_cleaned();
    counted.reset_counts();
    clean(&counted).unwrap();
    let mut ends = [0, 0];
    for number in 1..=counted.operations() + 1 {
        for seed in 0..8 {
            let disk = log_to_be_cleaned();
            disk.reset_counts();
            disk.crash_at(number);
            let _ = clean(&disk);
            // The last seed is a killed broker, the others a power failure.
            let disk = if seed == 7 && number > counted.operations() { disk.kill() } else { disk.crash(seed) };
            let what = format!("crash at {number}, seed {seed}: {:?}", names(&disk));
            let seen = offsets(&disk);
            assert!(kept.iter().all(|offset| seen.contains(offset)), "{what}: a reader sees {seen:?}");
            assert!(seen.is_sorted_by(|one, other| one < other), "{what}: a reader sees {seen:?}");
            let interrupted = names(&disk).iter().any(|name| name.ends_with(".swap") || name.ends_with(".cleaned"));
            let found = verify(&disk, Checkpoints::default());
            let told = found.iter().any(|finding| finding.problem == Problem::InterruptedCompaction);
            assert_eq!(told, interrupted, "{what}: {found:?}");
            let mut writer = open(&disk);
            let finished = writer.take_notices().iter().any(|it| matches!(it, Notice::CompactionFinished { .. }));
            let left = offsets(&disk);
            assert!(left == all || left == kept, "{what}: {left:?} is left");
            assert!(!finished || left == kept, "{what}");
            ends[usize::from(left == kept)] += 1;
            assert!(!names(&disk).iter().any(|name| name.ends_with(".swap") || name.ends_with(".cleaned")), "{what}");
            append_at(&mut writer, &["after"], NOW).unwrap();
            assert_eq!(offsets(&disk).last(), Some(&12), "{what}");
        }
    }
    assert!(ends.iter().all(|&count| count > 20), "both ends were seen: {ends:?}");
}

#[test]
fn a_crash_while_a_cleaner_is_finished_leaves_it_to_be_finished() {
    let stopped_at = |number: u64| {
        let disk = log_to_be_cleaned();
        disk.reset_counts();
        disk.fail_from(number);
        assert!(clean(&disk).is_err());
        disk.disarm();
        disk.open_folder(&folder()).unwrap().sync().unwrap();
        disk.reset_counts();
        disk
    };
    let is_without_the_first = |number: &u64| {
        let disk = stopped_at(*number);
        exists(&disk, &with(path(0, FileKind::Log), ".swap")) && !exists(&disk, &path(0, FileKind::Log))
    };
    let number = (1..).find(is_without_the_first).unwrap();
    let prepare = || stopped_at(number);
    let counted = prepare();
    drop(open(&counted));
    let kept = offsets(&counted);
    assert_eq!(kept, [0, 2, 3, 5, 6, 7, 9, 10, 11]);
    for number in 1..=counted.operations() {
        for seed in 0..8 {
            let disk = prepare();
            disk.crash_at(number);
            let _ = open_at(&disk, LogConfig::default(), Checkpoints::default());
            let disk = disk.crash(seed);
            let what = format!("crash at {number}, seed {seed}: {:?}", names(&disk));
            assert!(kept.iter().all(|offset| offsets(&disk).contains(offset)), "{what}");
            drop(open(&disk));
            assert_eq!(offsets(&disk), kept, "{what}");
        }
    }
}

#[test]
fn the_old_segments_stay_where_a_cleaners_new_one_is_damaged() {
    let disk = log_to_be_cleaned();
    let whole = values(&disk);
    let mut damaged = bytes_of(&disk, &path(0, FileKind::Log));
    damaged[100] ^= 1;
    overwrite(&disk, &with(path(0, FileKind::Log), ".swap"), &damaged);
    let opened = open_at(&disk, LogConfig::default(), Checkpoints::default());
    assert!(matches!(opened, Err(StorageError::Corrupt { .. })));
    assert_eq!(values(&disk), whole);
}

#[test]
fn retention_that_stopped_anywhere_leaves_no_hole_and_is_finished() {
    let work = |disk: &FaultyDisk| -> kdir::storage::Result<()> {
        drop(open_at(disk, config(), Checkpoints::default())?);
        let limits = LogConfig { retention_bytes: 0, ..config() };
        retain(disk, &limits, Checkpoints::default(), NOW, |_| {}).map(drop)
    };
    let counted = log_to_be_cleaned();
    counted.reset_counts();
    work(&counted).unwrap();
    for number in 1..=counted.operations() {
        for seed in 0..8 {
            let disk = log_to_be_cleaned();
            disk.reset_counts();
            disk.crash_at(number);
            let _ = work(&disk);
            let disk = disk.crash(seed);
            let what = format!("crash at {number}, seed {seed}: {:?}", names(&disk));
            let seen = offsets(&disk);
            let first = seen.first().copied().unwrap_or(12);
            assert_eq!(seen, (first..12).collect::<Vec<_>>(), "{what}");
            let mut writer = open(&disk);
            assert_eq!(writer.log_end_offset(), Offset(12), "{what}");
            assert!(!names(&disk).iter().any(|name| name.ends_with(".deleted")), "{what}");
            append_at(&mut writer, &["after"], NOW).unwrap();
            assert_eq!(verify(&disk, Checkpoints::default()), [], "{what}");
        }
    }
}

#[test]
fn a_log_without_a_segment_begins_at_its_log_start_unless_durable_records_are_missing() {
    let disk = disk_with_partition();
    for kind in KINDS {
        disk.remove_file(&path(0, kind)).unwrap();
    }
    let durable = Checkpoints::of_files(Offset(5), Offset(3));
    assert!(matches!(open_at(&disk, LogConfig::default(), durable), Err(StorageError::Corrupt { .. })));
    assert_eq!(bases(&disk), Vec::<i64>::new(), "nothing was made");
    assert!(
        matches!(verify(&disk, durable)[..], [ref it] if matches!(it.problem, Problem::EndsBelowRecoveryPoint { .. }))
    );
    let deleted = Checkpoints::of_files(Offset(5), Offset(5));
    let mut writer = open_at(&disk, LogConfig::default(), deleted).unwrap();
    assert_eq!(append_at(&mut writer, &["a"], NOW).unwrap().base_offset, Offset(5));
    assert_eq!(read_on(reader_at(&disk, deleted)).unwrap(), [(5, "a".to_owned())]);
}

#[test]
fn a_brokers_snapshot_at_a_roll_stays_and_one_above_the_log_end_goes() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: batch_size("value"), ..LogConfig::default() };
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    append(&mut writer, &["value"]);
    drop(writer);
    let [at_the_end, above] = [1, 2].map(|offset| path(offset, FileKind::Snapshot));
    overwrite(&disk, &at_the_end, b"of the producers before offset 1");
    overwrite(&disk, &above, b"of producers whose records are lost");
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    assert!(!names(&disk).contains(&"00000000000000000002.snapshot".to_owned()), "as a broker does");
    for _ in 0..2 {
        assert!(append(&mut writer, &["value"]).rolled);
    }
    assert_eq!(bytes_of(&disk, &at_the_end), b"of the producers before offset 1");
}
