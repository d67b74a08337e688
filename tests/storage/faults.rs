//! One failing operation at a time, and one crash at a time, at every operation of a workload.
//!
//! The workload appends through two writers that take turns, one of which syncs; it rolls, retains and reopens. After
//! each fault the log is opened anew: everything acknowledged is there, and nothing that was never written.

use super::retention::retain;
use super::support::{NOW, Writer, append_at, disk_with_partition, open_as, open_at, reader_at};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::{
    Advance, Checkpoints, Durability, LogConfig, RecordReader, Result, StorageError, SyncFor, sync_now,
};
use kdir::units::Offset;

#[derive(Default)]
struct Outcome {
    /// Values by offset, as far as an append has returned.
    written: Vec<(i64, String)>,
    /// Everything below was acknowledged.
    acknowledged: i64,
    /// Retention has removed all below, or was about to.
    removed: i64,
    recovery_point: i64,
    /// Values that an append which failed may have left.
    attempted: Vec<String>,
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1100, index_interval_bytes: 300, ..LogConfig::default() }
}

fn append(writer: &mut Writer, number: usize, outcome: &mut Outcome) -> Result<()> {
    // Batches that are no multiple of a sector, several of them in two.
    let value = format!("value {number} {}", "x".repeat(150));
    outcome.attempted.push(value.clone());
    let appended = append_at(writer, &[&value], NOW + number as i64)?;
    outcome.written.push((appended.base_offset.0, value));
    Ok(())
}

fn sync(writer: &Writer, outcome: &mut Outcome) -> Result<()> {
    let durable = sync_now(writer.pending_sync(), SyncFor::Acknowledgement)?;
    outcome.acknowledged = outcome.acknowledged.max(durable.through.0);
    if let Some(point) = durable.recovery_point {
        outcome.recovery_point = outcome.recovery_point.max(point.0);
    }
    Ok(())
}

fn work(disk: &FaultyDisk, outcome: &mut Outcome) -> Result<()> {
    let checkpoints = |outcome: &Outcome| Checkpoints::of_files(Offset(outcome.recovery_point), Offset::ZERO);
    let mut syncing = open_at(disk, config(), checkpoints(outcome))?;
    let mut careless = open_as(disk, config(), checkpoints(outcome), Durability::Unsynced)?;
    for number in 0..12 {
        let writer = if number % 2 == 0 { &mut syncing } else { &mut careless };
        append(writer, number, outcome)?;
        if number % 5 == 4 {
            sync(&syncing, outcome)?;
        }
    }
    careless.close(NOW)?;
    let limits = LogConfig { retention_bytes: 1500, ..config() };
    outcome.removed = outcome.written.last().map_or(0, |(offset, _)| *offset);
    let plan = retain(disk, &limits, checkpoints(outcome), NOW, |_| {})?;
    outcome.removed = plan.log_start_offset().0;
    for number in 12..16 {
        append(&mut syncing, number, outcome)?;
    }
    sync(&syncing, outcome)?;
    syncing.close(NOW).map(drop)
}

/// Opens what is left and holds it against what was promised. Damage that is left for a repair to decide on is legal only
/// after a crash, only above everything acknowledged, and must not hide what lies before it.
fn check(disk: &FaultyDisk, outcome: &Outcome, may_be_damaged: bool, what: &str) {
    let recovery_point = Offset(outcome.recovery_point);
    let checkpoints = Checkpoints::of_files(recovery_point, Offset::ZERO);
    let (before, damage) = read_all(disk, checkpoints);
    match open_at(disk, config(), checkpoints) {
        Ok(writer) => {
            // What a power failure has left above everything acknowledged, the writer has cut.
            let is_cut = match &damage {
                Some(StorageError::Corrupt { offset, .. }) => may_be_damaged && offset.0 >= outcome.acknowledged,
                Some(_) => false,
                None => true,
            };
            assert!(is_cut, "{what}: a reader found damage and a writer did not: {damage:?}");
            let end = writer.log_end_offset().0;
            assert!(end >= outcome.acknowledged, "{what}: log end {end}, acknowledged {}", outcome.acknowledged);
            let (after, _) = read_all(disk, checkpoints);
            assert_eq!(after, before, "{what}: recovery showed or hid a record");
        }
        Err(StorageError::Corrupt { offset, .. }) if may_be_damaged && offset.0 >= outcome.acknowledged => {
            assert!(damage.is_some(), "{what}: a writer found damage and a reader did not");
        }
        Err(error) => panic!("{what}: {error}"),
    }
    for (offset, value) in &before {
        let known = outcome.written.iter().find(|(at, _)| at == offset);
        let is_written = known.is_some_and(|(_, written)| written == value);
        // The append that failed may have left its batch whole: its record was never promised, and never denied.
        let is_attempted = known.is_none() && outcome.attempted.last() == Some(value);
        assert!(is_written || is_attempted, "{what}: {offset} {value}");
    }
    for (offset, value) in outcome.written.iter().filter(|(at, _)| *at < outcome.acknowledged && *at >= outcome.removed)
    {
        assert!(before.contains(&(*offset, value.clone())), "{what}: {offset} {value} is lost");
    }
}

/// Every record up to the end or the first damage.
fn read_all(disk: &FaultyDisk, checkpoints: Checkpoints) -> (Vec<(i64, String)>, Option<StorageError>) {
    let mut records = RecordReader::new(reader_at(disk, checkpoints));
    let mut read = Vec::new();
    loop {
        match records.advance() {
            Ok(Advance::Record) => {
                let value = String::from_utf8(records.record().value.unwrap().to_vec()).unwrap();
                read.push((records.offset().0, value));
            }
            Ok(_) => return (read, None),
            Err(error) => return (read, Some(error)),
        }
    }
}

fn operations() -> u64 {
    let disk = disk_with_partition();
    disk.reset_counts();
    work(&disk, &mut Outcome::default()).unwrap();
    disk.operations()
}

#[test]
fn a_failure_at_any_operation_loses_nothing_that_was_acknowledged() {
    for number in 1..=operations() {
        for persistent in [false, true] {
            let disk = disk_with_partition();
            disk.reset_counts();
            if persistent {
                disk.fail_from(number)
            } else {
                disk.fail_once_at(number)
            }
            let mut outcome = Outcome::default();
            let result = work(&disk, &mut outcome);
            let trace = disk.trace();
            let what = format!("failure at {number} (persistent: {persistent}), {result:?}, {:?}", trace.last());
            check(&disk.kill(), &outcome, false, &what);
        }
    }
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    let seeds = 40;
    for number in 1..=operations() {
        for seed in 0..seeds {
            let disk = disk_with_partition();
            disk.reset_counts();
            disk.crash_at(number);
            let mut outcome = Outcome::default();
            let result = work(&disk, &mut outcome);
            let what = format!("crash at {number}, seed {seed}, {result:?}, {:?}", disk.trace().last());
            check(&disk.crash(seed), &outcome, true, &what);
        }
    }
}

#[test]
fn a_full_disk_stores_what_fits_whole() {
    for room in (0..5000).step_by(13) {
        let disk = disk_with_partition();
        disk.space_left(room);
        let mut outcome = Outcome::default();
        let result = work(&disk, &mut outcome);
        if let Err(error) = &result {
            assert!(matches!(error, StorageError::Disk(_)), "{error}");
        }
        check(&disk.kill(), &outcome, false, &format!("{room} bytes left, {result:?}"));
    }
}

#[test]
fn a_short_write_is_cut_back_before_its_error_is_told() {
    for room in 0..200 {
        let disk = disk_with_partition();
        let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
        append_at(&mut writer, &["a"], NOW).unwrap();
        let whole = super::support::bytes_of(&disk, &super::support::log_path(0));
        disk.space_left(room);
        if append_at(&mut writer, &["x".repeat(100).as_str()], NOW).is_err() {
            assert_eq!(super::support::bytes_of(&disk, &super::support::log_path(0)), whole, "{room} bytes left");
        }
    }
}

#[test]
fn after_a_failure_a_writer_takes_nothing_more() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    append_at(&mut writer, &["a"], NOW).unwrap();
    disk.reset_counts();
    disk.fail_once_at(1);
    assert!(matches!(append_at(&mut writer, &["b"], NOW), Err(StorageError::Disk(_))));
    assert!(matches!(append_at(&mut writer, &["c"], NOW), Err(StorageError::PreviousFailure { .. })));
    let mut next = open_at(&disk, config(), Checkpoints::default()).unwrap();
    assert_eq!(append_at(&mut next, &["d"], NOW).unwrap().base_offset, Offset(1));
}

#[test]
fn after_a_failed_sync_nothing_more_is_acknowledged() {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    append_at(&mut writer, &["a"], NOW).unwrap();
    disk.reset_counts();
    disk.fail_once_at(1);
    assert!(sync_now(writer.pending_sync(), SyncFor::Acknowledgement).is_err());
    assert!(matches!(append_at(&mut writer, &["b"], NOW), Err(StorageError::PreviousFailure { .. })));
    assert!(!writer.pending_sync().lock().unwrap().is_dirty());
}

#[test]
fn a_sync_covers_the_segments_that_another_writer_has_begun_and_closed() {
    let disk = disk_with_partition();
    let mut syncing = open_at(&disk, config(), Checkpoints::default()).unwrap();
    append_at(&mut syncing, &["first"], NOW).unwrap();
    let mut careless = open_as(&disk, config(), Checkpoints::default(), Durability::Unsynced).unwrap();
    for _ in 0..20 {
        append_at(&mut careless, &["x".repeat(150).as_str()], NOW).unwrap();
    }
    append_at(&mut syncing, &["last"], NOW).unwrap();
    assert_eq!(sync_now(syncing.pending_sync(), SyncFor::Acknowledgement).unwrap().through, Offset(22));
    // Seed 0 keeps only what was synced.
    let (read, damage) = read_all(&disk.crash(0), Checkpoints::default());
    assert!(damage.is_none(), "{damage:?}");
    assert_eq!(read.len(), 22);
}
