//! A worker of a queue on a disk that fails. Its handlers are real: what they do is in a real file.

#![expect(clippy::disallowed_methods, reason = "what handlers write is read directly; the one door is a rule of src/")]

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::outlet::Outlet;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::groups::FileSystems;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
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
