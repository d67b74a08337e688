//! A sync that fails is everybody's: whoever acknowledges after it must not vouch for what it left in the page cache alone.

use super::support::{Heard, NOW, bytes_of, disk_with_log_dir, open_log_dir, overwrite, topic_config};
use kdir::consume::{CursorFile, ReaderPosition};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::{LogDir, LogDirError, NewTopic, Result, Topic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::{Advance, RecordReader, StorageError};
use kdir::units::Timestamp;
use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

const LOG: &str = "/d/app-0/00000000000000000000.log";

fn disk(segment_bytes: &str) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let config = topic_config(&[("segment.bytes", segment_bytes)]);
    open(&disk).create_topic(&NewTopic { name: "app".parse().unwrap(), partitions: 1, config }).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> LogDir {
    open_log_dir(disk).unwrap()
}

/// A run of a producer.
struct Run {
    writer: TopicWriter,
    heard: Arc<Heard>,
}

impl Run {
    fn start(disk: &FaultyDisk, policy: SyncPolicy) -> Self {
        let (log_dir, heard) = (open(disk), Arc::new(Heard::default()));
        let topic: Topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
        let writer = TopicWriter::new(log_dir, topic, policy, heard.listener()).unwrap();
        Self { writer, heard }
    }

    fn append(&mut self, value: &str) -> Result<i64> {
        self.append_at(value, NOW)
    }

    fn append_at(&mut self, value: &str, timestamp: Timestamp) -> Result<i64> {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
        let batch = builder.finish(None, usize::MAX).unwrap();
        Ok(self.writer.append(0, &mut [batch], NOW)?.base_offset.0)
    }

    /// Ends the run; the offsets up to which it acknowledged.
    fn end(&mut self) -> (Result<()>, Option<i64>) {
        let ended = self.writer.finish(NOW);
        (ended, self.heard.all().iter().map(|stretch| stretch.last_offset.0).max())
    }
}

fn values(disk: &FaultyDisk) -> Vec<String> {
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new("/d")).unwrap();
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    let mut records = RecordReader::new(log_dir.partition(&topic, 0).unwrap().reader(4096).unwrap());
    let mut values = Vec::new();
    while records.advance().unwrap() == Advance::Record {
        values.push(String::from_utf8(records.record().value.unwrap().to_vec()).unwrap());
    }
    values
}

fn marks(disk: &FaultyDisk) -> usize {
    let names = disk.list(Path::new("/d/app-0")).unwrap();
    names.iter().filter(|entry| entry.name.starts_with("unsynced-")).count()
}

/// The next producer acknowledges its record, and then the power fails.
fn the_next_one_acknowledges_what_a_power_failure_leaves(disk: &FaultyDisk, before: &[&str]) {
    let mut next = Run::start(disk, SyncPolicy::End);
    let offset = next.append("acknowledged").unwrap();
    assert_eq!(offset, before.len() as i64);
    let (ended, acknowledged) = next.end();
    ended.unwrap();
    assert_eq!(acknowledged, Some(offset));
    assert_eq!(marks(disk), 0, "nothing is left to be written again");
    let found = values(&disk.crash(0));
    assert_eq!(found, [before, &["acknowledged"]].concat());
}

#[test]
fn what_a_failed_sync_left_is_written_again_before_the_next_producer_acknowledges() {
    let disk = disk("1048576");
    let mut failing = Run::start(&disk, SyncPolicy::End);
    failing.append("one").unwrap();
    failing.append("two").unwrap();
    disk.lose_write_back(LOG);
    let (ended, acknowledged) = failing.end();
    assert!(ended.is_err());
    assert_eq!(acknowledged, None);
    drop(failing);
    the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &["one", "two"]);
}

#[test]
fn the_same_while_the_producer_that_failed_is_still_alive() {
    let disk = disk("1048576");
    let mut failing = Run::start(&disk, SyncPolicy::End);
    failing.append("one").unwrap();
    disk.lose_write_back(LOG);
    let mut next = Run::start(&disk, SyncPolicy::End);
    assert_eq!(next.append("acknowledged").unwrap(), 1);
    let (ended, acknowledged) = next.end();
    ended.unwrap();
    assert_eq!(acknowledged, Some(1));
    assert_eq!(values(&disk.crash(0)), ["one", "acknowledged"]);
    assert!(failing.end().0.is_err(), "the one whose write-back was lost is told by its own descriptor");
}

#[test]
fn a_producer_that_was_killed_before_it_heard_of_the_loss_leaves_its_mark() {
    for policy in [SyncPolicy::End, SyncPolicy::Never] {
        let disk = disk("1048576");
        let mut killed = Run::start(&disk, policy);
        killed.append("one").unwrap();
        killed.append("two").unwrap();
        disk.lose_write_back(LOG);
        let disk = disk.kill();
        the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &["one", "two"]);
    }
}

#[test]
fn a_loss_that_another_sync_was_told_of_is_not_forgotten() {
    let disk = disk("1048576");
    let mut careless = Run::start(&disk, SyncPolicy::Never);
    careless.append("one").unwrap();
    careless.append("two").unwrap();
    careless.end().0.unwrap();
    drop(careless);
    let other = disk.open(Path::new(LOG), Access::Read).unwrap();
    disk.lose_write_back(LOG);
    assert!(other.sync().is_err(), "somebody's `sync FILE` is told");
    assert_eq!(marks(&disk), 1, "a run that never syncs leaves its mark");
    the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &["one", "two"]);
}

#[test]
fn runs_that_never_sync_leave_one_mark_together_and_all_that_they_wrote_is_written_again() {
    let disk = disk("200");
    let mut durable = Run::start(&disk, SyncPolicy::End);
    durable.append("durable").unwrap();
    durable.end().0.unwrap();
    drop(durable);
    let mut expected = vec!["durable".to_owned()];
    for number in 0..50 {
        let mut careless = Run::start(&disk, SyncPolicy::Never);
        // Each has a segment of its own: what is written again makes all that is around it durable.
        expected.push(format!("careless {number:99}"));
        careless.append(&expected[number + 1]).unwrap();
        // Every other one is killed.
        if number % 2 == 0 {
            careless.end().0.unwrap();
        }
        drop(careless);
        assert_eq!(marks(&disk), 1, "after {number} others");
    }
    let logs = disk.list(Path::new("/d/app-0")).unwrap().into_iter().filter(|entry| entry.name.ends_with(".log"));
    let lost = logs.map(|entry| disk.lose_write_back(Path::new("/d/app-0").join(entry.name))).count();
    assert_eq!(lost, 51);
    let expected: Vec<&str> = expected.iter().map(|value| &**value).collect();
    the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &expected);
}

#[test]
fn a_run_that_never_syncs_leaves_the_mark_of_a_live_one() {
    let disk = disk("1048576");
    let mut live = Run::start(&disk, SyncPolicy::End);
    live.append("one").unwrap();
    let mut killed = Run::start(&disk, SyncPolicy::Never);
    killed.append("two").unwrap();
    drop(killed);
    for _ in 0..3 {
        let mut careless = Run::start(&disk, SyncPolicy::Never);
        careless.append("more").unwrap();
        careless.end().0.unwrap();
        assert_eq!(marks(&disk), 2, "its own, and that of the live one");
    }
    let (ended, acknowledged) = live.end();
    ended.unwrap();
    assert_eq!((acknowledged, marks(&disk)), (Some(0), 1));
    disk.lose_write_back(LOG);
    the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &["one", "two", "more", "more", "more"]);
}

#[test]
fn a_partition_that_cannot_be_closed_keeps_no_other_from_it() {
    let run = |failing: Option<u64>| {
        let disk = disk_with_log_dir();
        let new = NewTopic { name: "app".parse().unwrap(), partitions: 3, config: topic_config(&[]) };
        open(&disk).create_topic(&new).unwrap();
        let mut run = Run::start(&disk, SyncPolicy::End);
        for partition in 0..3 {
            let mut builder = BatchBuilder::new(0);
            builder.push(&NewRecord { timestamp: NOW, value: Some(b"value"), ..NewRecord::default() });
            run.writer.append(partition, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
        }
        disk.reset_counts();
        if let Some(number) = failing {
            disk.fail_once_at(number);
        }
        let ended = run.end().0.map_err(|error| error.to_string());
        let marked = (0..3).filter(|partition| {
            let names = disk.list(Path::new(&format!("/d/app-{partition}"))).unwrap();
            names.iter().any(|entry| entry.name.starts_with("unsynced-"))
        });
        (ended, marked.collect::<Vec<_>>(), disk.trace())
    };
    let (ended, marked, trace) = run(None);
    assert_eq!((ended, marked), (Ok(()), vec![]));
    for failing in 0..3 {
        let removal = format!("remove /d/app-{failing}/unsynced-");
        let number = (1..).zip(&trace).find(|(_, what)| what.starts_with(&removal)).unwrap().0;
        let (ended, marked, _) = run(Some(number));
        assert!(ended.as_ref().is_err_and(|error| error.contains("unsynced-")), "{ended:?}");
        assert_eq!(marked, [failing]);
    }
}

#[test]
fn segments_that_another_has_begun_are_vouched_for_only_when_written_again() {
    let disk = disk("200");
    let mut next = Run::start(&disk, SyncPolicy::End);
    next.append("first").unwrap();
    let mut careless = Run::start(&disk, SyncPolicy::Never);
    for number in 0..8 {
        careless.append(&format!("careless {number}")).unwrap();
    }
    careless.end().0.unwrap();
    drop(careless);
    for entry in disk.list(Path::new("/d/app-0")).unwrap().iter().filter(|entry| entry.name.ends_with(".log")) {
        if entry.name != "00000000000000000000.log" {
            disk.lose_write_back(Path::new("/d/app-0").join(&entry.name));
        }
    }
    let offset = next.append("acknowledged").unwrap();
    let (ended, acknowledged) = next.end();
    ended.unwrap();
    assert_eq!(acknowledged, Some(offset));
    let found = values(&disk.crash(0));
    assert_eq!(found.len(), 10, "{found:?}");
    assert_eq!(found.last().unwrap(), "acknowledged");
}

#[test]
fn after_a_power_failure_a_mark_is_dropped_and_the_log_is_checked() {
    let disk = disk("1048576");
    let mut lost = Run::start(&disk, SyncPolicy::Never);
    lost.append("never durable").unwrap();
    disk.open_folder(Path::new("/d/app-0")).unwrap().sync().unwrap();
    let disk = disk.crash(0);
    assert_eq!(marks(&disk), 1);
    the_next_one_acknowledges_what_a_power_failure_leaves(&disk, &[]);
}

#[test]
fn where_no_mark_can_be_made_nothing_is_appended() {
    let disk = disk("1048576");
    let before = values(&disk);
    disk.space_left(0);
    let mut full = Run::start(&disk, SyncPolicy::Never);
    assert!(full.append("no").is_err());
    disk.disarm();
    assert_eq!(values(&disk), before);
}

/// A run that goes on after its first record was synced.
fn start_with_a_durable_record(disk: &FaultyDisk) -> Run {
    let mut run = Run::start(disk, SyncPolicy::Always);
    run.append("one").unwrap();
    run.writer.sync_point().unwrap();
    run
}

fn lock(disk: &FaultyDisk, path: &Path) -> kdir::consume::Result<CursorFile> {
    CursorFile::lock(&(Arc::new(disk.clone()) as Arc<dyn Disk>), path)
}

#[test]
fn no_position_is_kept_past_what_may_not_be_durable() {
    let disk = disk("1048576");
    let mut run = start_with_a_durable_record(&disk);
    run.append("two").unwrap();
    let (log_dir, file) = (open(&disk), Path::new("/d/positions"));
    let partition = kdir::units::TopicPartition::parse_folder_name("app-0").unwrap();
    let keep = || {
        let position = ReaderPosition { partition: partition.clone(), topic_id: None, offset: kdir::units::Offset(2) };
        lock(&disk, file).unwrap().keep(&log_dir.clone().into(), vec![position]).unwrap();
        lock(&disk, file).unwrap().kept().unwrap()[0].offset.0
    };
    assert_eq!(keep(), 1, "the second record may be lost yet");
    run.end().0.unwrap();
    assert_eq!(keep(), 2);
}

#[test]
fn only_what_a_moved_position_needs_is_synced_when_positions_are_kept() {
    let disk = disk("200");
    let log_dir = open(&disk);
    let partition = kdir::units::TopicPartition::parse_folder_name("app-0").unwrap();
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    let topic_id = log_dir.partition(&topic, 0).unwrap().incarnation().unwrap();
    let mut file = lock(&disk, Path::new("/d/positions")).unwrap();
    let mut synced_to_keep = |offset| {
        disk.reset_counts();
        let offset = kdir::units::Offset(offset);
        file.keep(&log_dir.clone().into(), vec![ReaderPosition { partition: partition.clone(), topic_id, offset }])
            .unwrap();
        assert_eq!(file.kept().unwrap()[0].offset, offset);
        disk.trace().iter().filter(|what| what.starts_with("sync /d/app-0/")).count()
    };
    assert!(synced_to_keep(0) <= 1);
    // The recovery point moves up to the active segment with each roll, long after the log dir was opened to read.
    let mut run = Run::start(&disk, SyncPolicy::Always);
    let mut append = |count: i64| {
        for _ in 0..count {
            run.append("value").unwrap();
            run.writer.sync_point().unwrap();
        }
    };
    append(40);
    assert!(synced_to_keep(40) <= 2, "the segments from the recovery point on");
    assert_eq!(synced_to_keep(40), 0, "it has not moved");
    append(1);
    assert!((1..=2).contains(&synced_to_keep(41)));
    run.end().0.unwrap();
    // Where no point moves up, what this run has synced counts.
    for path in ["/d/recovery-point-offset-checkpoint", "/d/app-0/durable-end"] {
        disk.remove_file(Path::new(path)).unwrap();
    }
    let from_offset_0 = synced_to_keep(39);
    assert_eq!(from_offset_0, 0, "it is below what was made durable");
    let mut other = lock(&disk, Path::new("/d/others")).unwrap();
    disk.reset_counts();
    other
        .keep(&log_dir.clone().into(), vec![ReaderPosition { partition, topic_id, offset: kdir::units::Offset(41) }])
        .unwrap();
    let all = disk.trace().iter().filter(|what| what.starts_with("sync /d/app-0/")).count();
    assert!(all > 10, "without both, all segments are synced: {all}");
}

#[test]
fn a_cursor_file_whose_name_is_not_utf_8_is_refused() {
    let disk = disk("1048576");
    let path = Path::new(std::ffi::OsStr::from_bytes(b"/d/positions-\xff"));
    let before = disk.list(Path::new("/d")).unwrap();
    let told = lock(&disk, path).map(drop).unwrap_err().to_string();
    assert!(told.contains("its name is not UTF-8"), "{told}");
    assert_eq!(disk.list(Path::new("/d")).unwrap(), before);
}

/// Fills a segment so that its time index alone says where the largest timestamp is: no batch after the last entry of
/// the offset index has it.
fn append_with_an_early_spike(run: &mut Run) -> i64 {
    let value = "x".repeat(1000);
    for number in 0..40 {
        let after_now = match number.cmp(&10) {
            Ordering::Less => number,
            Ordering::Equal => 5000,
            Ordering::Greater => 0,
        };
        run.append_at(&value, NOW + after_now).unwrap();
    }
    10
}

fn offset_of_the_spike(disk: &FaultyDisk) -> Option<i64> {
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new("/d")).unwrap();
    let topic = log_dir.topic(&"app".parse().unwrap()).unwrap();
    let view = log_dir.partition(&topic, 0).unwrap().view().unwrap();
    view.offset_for_time(NOW + 5000).unwrap().map(|(offset, _)| offset.0)
}

#[test]
fn index_entries_that_a_lost_write_back_took_are_written_again_with_their_batches() {
    let disk = disk("100000");
    let mut killed = Run::start(&disk, SyncPolicy::Never);
    let value = "x".repeat(1000);
    for number in 0..8 {
        killed.append_at(&value, NOW + -100 + number).unwrap();
    }
    disk.open(Path::new(&LOG.replace("log", "timeindex")), Access::Read).unwrap().sync().unwrap();
    let spike = 8 + append_with_an_early_spike(&mut killed);
    disk.lose_write_back(LOG);
    disk.lose_write_back(LOG.replace("log", "timeindex"));
    let disk = disk.kill();
    let mut next = Run::start(&disk, SyncPolicy::End);
    for _ in 0..100 {
        next.append(&"y".repeat(1000)).unwrap();
    }
    next.end().0.unwrap();
    assert!(segments(&disk) > 1, "the recovery point is past the first segment");
    for seed in 0..20 {
        assert_eq!(offset_of_the_spike(&disk.crash(seed)), Some(spike), "seed {seed}");
    }
}

fn segments(disk: &FaultyDisk) -> usize {
    disk.list(Path::new("/d/app-0")).unwrap().iter().filter(|it| it.name.ends_with(".log")).count()
}

/// A run fills a segment, ends in order, and the power fails: the next run closes the segment, and the time of a record
/// before the power failure is asked for.
fn a_time_is_found_after_a_power_failure(seed: u64, megabytes: usize) {
    let disk = disk("10000000");
    let mut first = Run::start(&disk, SyncPolicy::End);
    let spike = append_with_an_early_spike(&mut first);
    for _ in 0..megabytes {
        first.append(&"y".repeat(1_000_000)).unwrap();
    }
    first.end().0.unwrap();
    drop(first);
    let disk = disk.crash(seed);
    let mut next = Run::start(&disk, SyncPolicy::End);
    while segments(&disk) == 1 {
        next.append(&"z".repeat(1_000_000)).unwrap();
    }
    next.end().0.unwrap();
    assert_eq!(offset_of_the_spike(&disk), Some(spike), "seed {seed}");
}

#[test]
fn a_recovery_point_in_the_active_segment_vouches_for_durable_index_entries_alone() {
    for seed in 0..40 {
        // So much is behind the recovery point at the end of the run that it is moved.
        a_time_is_found_after_a_power_failure(seed, 9);
    }
}

#[test]
fn the_end_of_a_run_vouches_for_no_index_entries() {
    for seed in 0..200 {
        a_time_is_found_after_a_power_failure(seed, 0);
    }
}

/// Rolls, so that the recovery point passes the segment; a power failure then takes no time from its index.
fn roll_and_find_the_spike(disk: &FaultyDisk, next: &mut Run, spike: i64) {
    while segments(disk) == 1 {
        next.append(&"z".repeat(1000)).unwrap();
    }
    next.end().0.unwrap();
    for seed in 0..20 {
        assert_eq!(offset_of_the_spike(&disk.crash(seed)), Some(spike), "seed {seed}");
    }
}

fn start_with_durable_times(disk: &FaultyDisk) -> Run {
    let mut run = Run::start(disk, SyncPolicy::End);
    for number in 0..8 {
        run.append_at(&"x".repeat(1000), NOW + (number - 100)).unwrap();
    }
    disk.open(Path::new(&LOG.replace("log", "timeindex")), Access::Read).unwrap().sync().unwrap();
    run
}

#[test]
fn index_entries_of_a_run_that_ended_in_order_are_written_again_before_a_point_passes_them() {
    let disk = disk("100000");
    let mut first = start_with_durable_times(&disk);
    let spike = 8 + append_with_an_early_spike(&mut first);
    first.end().0.unwrap();
    drop(first);
    assert_eq!(marks(&disk), 0);
    disk.lose_write_back(LOG.replace("log", "timeindex"));
    roll_and_find_the_spike(&disk, &mut Run::start(&disk, SyncPolicy::End), spike);
}

#[test]
fn index_entries_of_a_killed_run_are_written_again_by_one_that_had_the_segment_open_before() {
    let disk = disk("100000");
    let mut old = start_with_durable_times(&disk);
    let mut killed = Run::start(&disk, SyncPolicy::Never);
    let spike = 8 + append_with_an_early_spike(&mut killed);
    disk.lose_write_back(LOG.replace("log", "timeindex"));
    drop(killed);
    roll_and_find_the_spike(&disk, &mut old, spike);
}

#[test]
fn the_point_of_a_run_that_ends_later_is_no_lower() {
    let disk = disk("1048576");
    let mut early = start_with_a_durable_record(&disk);
    let mut other = Run::start(&disk, SyncPolicy::End);
    for _ in 0..5 {
        other.append("acknowledged").unwrap();
    }
    assert_eq!(other.end().1, Some(5));
    early.end().0.unwrap();
    // Damage below it is no torn append.
    let mut bytes = bytes_of(&disk, Path::new(LOG));
    *bytes.last_mut().unwrap() ^= 1;
    overwrite(&disk, Path::new(LOG), &bytes);
    let refused = Run::start(&disk, SyncPolicy::End).append("no");
    assert!(matches!(refused, Err(LogDirError::Storage(StorageError::Corrupt { .. }))), "{refused:?}");
}

#[test]
fn a_run_that_appends_to_a_log_whose_name_is_durable_syncs_the_log_alone() {
    let disk = disk("1048576");
    for (value, folder_syncs) in [("first", 1), ("second", 0), ("third", 0)] {
        let mut run = Run::start(&disk, SyncPolicy::End);
        disk.reset_counts();
        run.append(value).unwrap();
        run.end().0.unwrap();
        let trace = disk.trace();
        let syncs = |what: &str| trace.iter().filter(|line| **line == format!("sync {what}")).count();
        assert_eq!((syncs("folder /d/app-0"), syncs(LOG)), (folder_syncs, 1), "{value}: {trace:#?}");
    }
    assert_eq!(values(&disk.crash(0)), ["first", "second", "third"]);
}

#[test]
fn a_log_that_took_the_place_of_another_has_its_name_synced_by_the_next_run() {
    let disk = disk("1048576");
    let mut run = Run::start(&disk, SyncPolicy::End);
    run.append("one").unwrap();
    run.end().0.unwrap();
    // As a repair does that is killed before it syncs the folder.
    let replace = || {
        let path = Path::new("/d/app-0/new");
        overwrite(&disk, path, &bytes_of(&disk, Path::new(LOG)));
        disk.open(path, Access::Write).unwrap().sync().unwrap();
        disk.rename(path, Path::new(LOG)).unwrap();
    };
    replace();
    let mut next = Run::start(&disk, SyncPolicy::End);
    next.append("two").unwrap();
    next.end().0.unwrap();
    assert_eq!(values(&disk.crash(0)), ["one", "two"]);
    // Or while a producer has the log open.
    let mut open = Run::start(&disk, SyncPolicy::End);
    open.append("three").unwrap();
    replace();
    open.append("four").unwrap();
    open.end().0.unwrap();
    assert_eq!(values(&disk.crash(0)), ["one", "two", "three", "four"]);
}
