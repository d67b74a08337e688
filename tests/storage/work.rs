//! A worker of a queue on a disk that fails. Its handlers are real: what they do is in a real file.

#![expect(clippy::disallowed_methods, reason = "what handlers write is read directly; the one door is a rule of src/")]

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::outlet::Outlet;
use kdir::format::batch::BatchBuilder;
use kdir::format::internal::share_records::{DeliveryState, StateBatch};
use kdir::format::record::NewRecord;
use kdir::groups::{FileSystems, ShareChange, ShareState, ShareStateTopic, share_key};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::units::Offset;
use kdir::work::{
    Backoff, Durable, Ended, Environment, Event, Input, Interrupt, Mode, Options, Ordered, Result, Start, Summary,
    Worker,
};
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const RECORDS: i64 = 4;

/// A queue with so many records; when its producer has not synced them, that is for the worker.
fn queue(policy: SyncPolicy) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "jobs".parse().unwrap(), partitions: 1, config: TopicConfig::default() };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    let listener = Arc::new(Heard::default());
    let mut writer = TopicWriter::new(log_dir, topic, policy, listener.listener()).unwrap();
    for number in 0..RECORDS {
        let mut builder = BatchBuilder::new(0);
        let value = number.to_string();
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
        writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    writer.finish(NOW).unwrap();
    disk
}

/// Works the queue to its end. The record at offset 2 fails the first time, the one at offset 3 always.
fn work(disk: &FaultyDisk, log: &Path) -> Result<(Ended, Summary)> {
    let script = format!(
        "echo $KDIR_OFFSET $KDIR_ATTEMPT >> {}; [ $KDIR_OFFSET = 3 ] && exit 1; [ $KDIR_OFFSET.$KDIR_ATTEMPT != 2.1 ]",
        log.display()
    );
    let options = Options {
        command: ["sh", "-c", &script].map(Into::into).into(),
        mode: Mode::Runs { batch: 1 },
        jobs: 1,
        max_attempts: 2,
        backoff: Backoff { min: Duration::ZERO, max: Duration::ZERO },
        timeout: None,
        dead_letters: None,
        keeps_dead_letters: true,
        ordered: Ordered::Partition,
        input: Input::Value,
        reject_exits: Vec::new(),
        release_exits: Vec::new(),
        breaker: None,
        max_age: None,
        attempts: None,
        follows: false,
        durable: Durable::Always,
        start: Start::Earliest,
    };
    let log_dir = open_log_dir(disk)?;
    let topic = log_dir.topic(&"jobs".parse().unwrap())?;
    let (stop, _stopper) = UnixStream::pair().unwrap();
    let output = fs::File::options().write(true).open("/dev/null").unwrap();
    let output: &'static fs::File = Box::leak(Box::new(output));
    let environment = Environment {
        outlet: Outlet::of(output.as_fd()),
        interrupt: Interrupt { descriptor: stop.as_fd() },
        clock: || NOW,
    };
    let (group, mut tell) = ("g".parse().unwrap(), |_: Event<'_>| ());
    let how = (options, FileSystems::Local);
    Worker::open(&log_dir, &[topic], &group, how, "1 here", environment, &mut tell)?.run()
}

/// What the handlers have done: offset and attempt.
fn done(log: &Path) -> Vec<(i64, i64)> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let line = |line: &str| {
        let (offset, attempt) = line.split_once(' ').unwrap();
        (offset.parse().unwrap(), attempt.parse().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn what_was_acknowledged_is_not_done_again_after_a_power_failure_and_the_rest_is() {
    cut_at_every(13);
}

#[test]
#[ignore = "takes two minutes: every operation"]
fn at_every_operation_what_was_acknowledged_is_not_done_again() {
    cut_at_every(1);
}

/// A handler that has begun proves that the verdicts before it are durable, and the attempt that it is.
fn cut_at_every(step: usize) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let whole = queue(SyncPolicy::Always);
    whole.reset_counts();
    let (_, summary) = work(&whole, &log).unwrap();
    assert_eq!((summary.done, summary.failed, summary.given_up), (3, 2, 1));
    assert_eq!(done(&log), [(0, 1), (1, 1), (2, 1), (2, 2), (3, 1), (3, 2)]);
    let operations = whole.operations();
    assert!(operations > 60, "{operations}");
    for at in (0..=operations).step_by(step) {
        for way in 0..3 {
            fs::remove_file(&log).unwrap_or_default();
            let disk = queue(SyncPolicy::Always);
            disk.reset_counts();
            disk.crash_at(at);
            // Whatever became of it, the disk decides.
            let _ = work(&disk, &log);
            let before = done(&log);
            let disk = if way == 0 { disk.kill() } else { disk.crash(way) };
            fs::remove_file(&log).unwrap_or_default();
            work(&disk, &log).unwrap();
            let after = done(&log);
            let what = format!("cut at {at}, way {way}: {before:?}, then {after:?}");
            if let Some(last) = before.last() {
                // The last may not have got its verdict; it is then tried with the next number.
                assert!(after.iter().all(|it| it > last), "{what}");
            }
            for offset in 0..RECORDS {
                let all: Vec<i64> = before.iter().chain(&after).filter(|it| it.0 == offset).map(|it| it.1).collect();
                assert!(!all.is_empty() && all.windows(2).all(|pair| pair[0] < pair[1]), "{what}");
            }
            let (_, again) = work(&disk, &log).unwrap();
            assert_eq!((again.done, again.given_up, done(&log).len()), (0, 0, after.len()), "{what}");
        }
    }
}

#[test]
fn a_record_that_its_producer_did_not_sync_is_durable_before_it_is_handled() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let disk = queue(SyncPolicy::Never);
    work(&disk, &log).unwrap();
    let disk = disk.crash(1);
    let log_dir = open_log_dir(&disk).unwrap();
    let topic = log_dir.topic(&"jobs".parse().unwrap()).unwrap();
    let end = log_dir.partition(&topic, 0).unwrap().view().unwrap().log_end_offset().unwrap();
    assert_eq!(end.0, RECORDS);
    let (_, again) = work(&disk, &log).unwrap();
    assert_eq!((again.done, again.given_up), (0, 0));
}

/// The state is kept short by snapshots, which do not say when a record failed: that is written after them.
#[test]
fn a_roll_keeps_the_log_short_and_the_time_of_every_failure() {
    let disk = queue(SyncPolicy::Always);
    let log_dir = open_log_dir(&disk).unwrap();
    let mut states = ShareStateTopic::open(&log_dir).unwrap();
    let key = share_key(&"g".parse().unwrap(), Uuid::from_u128(7), 0);
    let log = states.log(&key).unwrap();
    log.begin(&[(key.clone(), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
    let change = |offset: i64, state, at| {
        let batch = StateBatch { first: Offset(offset), last: Offset(offset), state, count: 1 };
        ShareChange { key: key.clone(), start_offset: Offset(0), batches: vec![(batch, at)], lowered: Vec::new() }
    };
    let failed = NOW + 1234;
    log.change(&[change(0, DeliveryState::Available, failed)], failed).unwrap();
    for offset in 1..16_000 {
        log.change(&[change(offset, DeliveryState::Acknowledged, NOW)], NOW).unwrap();
    }
    log.sync().unwrap();
    let folder = disk.open_folder(log.path()).unwrap();
    let sizes = folder.list().unwrap().into_iter().filter(|entry| entry.name.ends_with(".log"));
    let bytes: u64 = sizes.map(|entry| folder.stat(&entry.name).unwrap().unwrap().size).sum();
    assert!(bytes < 3 << 20, "{bytes} bytes after some two MiB of updates");
    let mut again = ShareStateTopic::open(&log_dir).unwrap();
    let state = again.log(&key).unwrap().state(&key).unwrap();
    assert_eq!(state.complete_count(), 15_999);
    let delivery = state.delivery(Offset(0)).unwrap();
    assert_eq!((delivery.count, delivery.at), (1, failed));
}

/// Whoever rolls goes by what others have appended since it wrote last.
#[test]
fn two_workers_roll_one_log() {
    let disk = queue(SyncPolicy::Always);
    let log_dir = open_log_dir(&disk).unwrap();
    let mut workers = [ShareStateTopic::open(&log_dir).unwrap(), ShareStateTopic::open(&log_dir).unwrap()];
    let key = share_key(&"g".parse().unwrap(), Uuid::from_u128(7), 0);
    workers[0].log(&key).unwrap().begin(&[(key.clone(), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
    for offset in 0..16_000 {
        // Three by one, then one by the other.
        let log = workers[usize::from(offset % 4 == 3)].log(&key).unwrap();
        let batch =
            StateBatch { first: Offset(offset), last: Offset(offset), state: DeliveryState::Acknowledged, count: 1 };
        let batches = vec![(batch, NOW)];
        log.change(&[ShareChange { key: key.clone(), start_offset: Offset(0), batches, lowered: Vec::new() }], NOW)
            .unwrap();
    }
    let mut again = ShareStateTopic::open(&log_dir).unwrap();
    assert_eq!(again.log(&key).unwrap().state(&key).unwrap().complete_count(), 16_000);
}
