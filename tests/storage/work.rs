//! A worker of a queue on a disk that fails. Its handlers are real: what they do is in a real file.

#![expect(clippy::disallowed_methods, reason = "what handlers write is read directly; the one door is a rule of src/")]

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::outlet::Outlet;
use kdir::format::batch::BatchBuilder;
use kdir::format::internal::share_records::{DeliveryState, ShareKey, StateBatch};
use kdir::format::record::NewRecord;
use kdir::groups::{self, FileSystems, ShareChange, ShareLog, ShareState, ShareStateTopic, share_key};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, NewTopic, Origin};
use kdir::produce::{NOT_BEFORE, SyncPolicy, TopicWriter};
use kdir::units::{GroupId, Offset};
use kdir::work::{
    Backoff, Durable, Ended, Environment, Event, Input, Interrupt, Mode, Options, Ordered, Result, Start, Summary,
    Worker,
};
use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use uuid::Uuid;

const RECORDS: i64 = 4;

/// A queue with some records; when its producer has not synced them, that is for the worker.
fn queue(policy: SyncPolicy) -> FaultyDisk {
    queue_of(&[1; RECORDS as usize], &[], policy)
}

/// A queue with batches of so many records, which all have these headers.
fn queue_of(batches: &[usize], headers: &[(&[u8], Option<&[u8]>)], policy: SyncPolicy) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "jobs".parse().unwrap(), partitions: 1, config: TopicConfig::default() };
    assert!(matches!(log_dir.create_topic(&new).unwrap(), Created::New(_)));
    put(&disk, batches, headers, policy);
    disk
}

/// Produces such batches.
fn put(disk: &FaultyDisk, batches: &[usize], headers: &[(&[u8], Option<&[u8]>)], policy: SyncPolicy) {
    let log_dir = open_log_dir(disk).unwrap();
    let topic = log_dir.topic(&"jobs".parse().unwrap()).unwrap();
    let listener = Arc::new(Heard::default());
    let mut writer = TopicWriter::new(log_dir, topic, policy, listener.listener()).unwrap();
    for &count in batches {
        let mut builder = BatchBuilder::new(0);
        for _ in 0..count {
            builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(b"job"), headers });
        }
        writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    writer.finish(NOW).unwrap();
}

/// Works the queue to its end. The record at offset 2 fails the first time, the one at offset 3 always.
fn work(disk: &FaultyDisk, log: &Path) -> Result<(Ended, Summary)> {
    let script = format!(
        "echo $KDIR_OFFSET $KDIR_ATTEMPT >> {}; [ $KDIR_OFFSET = 3 ] && exit 1; [ $KDIR_OFFSET.$KDIR_ATTEMPT != 2.1 ]",
        log.display()
    );
    run(disk, &script, |_| (), &mut |_, _| ())
}

/// Works the queue with this script, and options that are changed. `tell` has what stops it.
fn run(
    disk: &FaultyDisk,
    script: &str,
    change: impl FnOnce(&mut Options),
    tell: &mut dyn FnMut(Event<'_>, &mut UnixStream),
) -> Result<(Ended, Summary)> {
    let mut options = Options {
        command: ["sh", "-c", script].map(Into::into).into(),
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
    change(&mut options);
    let log_dir = open_log_dir(disk)?;
    let topic = log_dir.topic(&"jobs".parse().unwrap())?;
    let (stop, mut stopper) = UnixStream::pair().unwrap();
    let output = fs::File::options().write(true).open("/dev/null").unwrap();
    let output: &'static fs::File = Box::leak(Box::new(output));
    let environment = Environment {
        outlet: Outlet::of(output.as_fd()),
        interrupt: Interrupt { descriptor: stop.as_fd() },
        clock: || NOW,
    };
    let how = (options, FileSystems::Local);
    let mut tell = |event: Event<'_>| tell(event, &mut stopper);
    Worker::open(&log_dir, &[topic], &group(), how, "1 here", environment, &mut tell)?.run()
}

fn group() -> GroupId {
    "g".parse().unwrap()
}

/// The key of the queue's state.
fn key_of(disk: &FaultyDisk) -> ShareKey {
    let topic = open_log_dir(disk).unwrap().topic(&"jobs".parse().unwrap()).unwrap();
    let Origin::TopicFile(id) = topic.origin else { panic!("it is ours") };
    share_key(&group(), id, 0)
}

/// Appends states of deliveries, all of which were written at once.
fn change(log: &mut ShareLog, key: &ShareKey, batches: impl Iterator<Item = StateBatch>) -> groups::Result<()> {
    let batches = batches.map(|batch| (batch, NOW)).collect();
    log.change(&[ShareChange { key: key.clone(), start_offset: Offset(0), batches, lowered: Vec::new() }], NOW)
}

const fn delivery(offset: i64, state: DeliveryState, count: i16) -> StateBatch {
    StateBatch { first: Offset(offset), last: Offset(offset), state, count }
}

/// Offsets up to there: each even one has failed, and each odd one is done.
fn alternating(end: i64) -> impl Iterator<Item = StateBatch> {
    let state = |offset: i64| if offset % 2 == 0 { DeliveryState::Available } else { DeliveryState::Acknowledged };
    (0..end).map(move |offset| delivery(offset, state(offset), 1))
}

/// So many deliveries that nothing makes much shorter.
fn scattered(seed: u64, count: usize) -> impl Iterator<Item = StateBatch> {
    let (mut state, mut offset) = (seed, 0);
    (0..count).map(move |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        offset += 2 + (state >> 40) as i64;
        delivery(offset, DeliveryState::Acknowledged, (state >> 20) as i16 & i16::MAX)
    })
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
    assert!(bytes < 3 << 19, "{bytes} bytes after more than two MiB of updates");
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

#[test]
fn a_job_that_takes_the_machine_down_has_been_counted() {
    let folder = tempfile::tempdir().unwrap();
    let (log, gate) = (folder.path().join("log"), folder.path().join("gate"));
    let disk = queue(SyncPolicy::Always);
    let script = format!(
        "echo $KDIR_OFFSET $KDIR_ATTEMPT >> {}; until [ -e {} ]; do sleep 0.02; done",
        log.display(),
        gate.display()
    );
    let works = disk.clone();
    let running = thread::spawn(move || run(&works, &script, |_| (), &mut |_, _| ()).map(drop));
    let started = Instant::now();
    while done(&log).is_empty() {
        assert!(started.elapsed() < Duration::from_secs(60), "the handler does not begin");
        thread::sleep(Duration::from_millis(5));
    }
    let found = disk.crash(0);
    fs::write(gate, "").unwrap();
    running.join().unwrap().unwrap();
    fs::remove_file(&log).unwrap();
    work(&found, &log).unwrap();
    assert_eq!(done(&log)[0], (0, 2));
}

#[test]
fn the_verdict_of_a_job_and_the_attempt_of_the_next_cost_one_sync() {
    let folder = tempfile::tempdir().unwrap();
    let disk = queue(SyncPolicy::Always);
    let syncs =
        || disk.trace().iter().filter(|it| it.starts_with("sync ") && it.contains("__share_group_state-")).count();
    let script = format!("echo $KDIR_OFFSET $KDIR_ATTEMPT >> {}", folder.path().join("log").display());
    let syncs_of = |jobs: u64| {
        disk.reset_counts();
        let options = |options: &mut Options| (options.ordered, options.attempts) = (Ordered::No, Some(jobs));
        run(&disk, &script, options, &mut |_, _| ()).unwrap();
        syncs()
    };
    // The first run has made the state.
    syncs_of(1);
    let of_one = syncs_of(1);
    assert_eq!(syncs_of(2), of_one + 1, "{:?}", disk.trace());
}

#[test]
fn a_dead_letter_is_durable_before_its_record_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let whole = queue(SyncPolicy::Always);
    whole.reset_counts();
    work(&whole, &log).unwrap();
    let operations = whole.operations();
    // It is the last record that is given up.
    for at in operations - 25..=operations {
        let disk = queue(SyncPolicy::Always);
        disk.reset_counts();
        disk.crash_at(at);
        // Whatever became of it, the disk decides.
        let _ = work(&disk, &log);
        let disk = disk.crash(0);
        work(&disk, &log).unwrap();
        let log_dir = open_log_dir(&disk).unwrap();
        let letters = log_dir.topic(&"dlq.jobs".parse().unwrap()).unwrap();
        let end = log_dir.partition(&letters, 0).unwrap().view().unwrap().log_end_offset().unwrap();
        assert!(end.0 >= 1, "cut at {at}");
    }
}

/// The first record that holds a queue back, where one does, and what the handlers have done.
fn held_back(disk: &FaultyDisk, change: impl FnOnce(&mut Options)) -> (Option<i64>, Vec<(i64, i64)>) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!("echo $KDIR_OFFSET $KDIR_ATTEMPT >> {}", log.display());
    let (mut held_back, hour) = (None, Duration::from_secs(3600));
    let options = |options: &mut Options| {
        (options.backoff, options.ordered) = (Backoff { min: hour, max: hour }, Ordered::No);
        change(options);
    };
    run(disk, &script, options, &mut |event, stopper| {
        if let Event::HeldBack { by, .. } = event {
            assert_eq!(held_back.replace(by.0), None, "it is told once");
            stopper.write_all(&[1]).unwrap();
        }
    })
    .unwrap();
    (held_back, done(&log))
}

/// A group that has come so far in the queue: each even record has failed, and each odd one is done.
fn begin_alternating(disk: &FaultyDisk, runs: i64) {
    let mut states = ShareStateTopic::open(&open_log_dir(disk).unwrap()).unwrap();
    let key = key_of(disk);
    let log = states.log(&key).unwrap();
    log.begin(&[(key.clone(), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
    change(log, &key, alternating(runs)).unwrap();
    states.end(NOW).unwrap();
}

#[test]
fn nothing_new_is_taken_while_the_state_has_as_many_runs_as_a_batch_holds() {
    for (runs, expected) in [(49_998, (None, vec![(49_998, 1)])), (50_000, (Some(0), Vec::new()))] {
        let disk = queue_of(&[&[1000; 50][..], &[1]].concat(), &[], SyncPolicy::Always);
        begin_alternating(&disk, runs);
        assert_eq!(held_back(&disk, |options| options.attempts = Some(1)), expected, "{runs}");
    }
}

#[test]
fn a_queue_that_is_held_back_goes_on_with_what_is_due_whoever_works_it() {
    let disk = queue_of(&[1000; 50], &[], SyncPolicy::Always);
    begin_alternating(&disk, 50_000);
    let due = |options: &mut Options| {
        options.backoff = Backoff { min: Duration::ZERO, max: Duration::ZERO };
        options.attempts = Some(2);
    };
    assert_eq!(held_back(&disk, due), (None, vec![(0, 2), (2, 2)]));
}

#[test]
fn no_more_records_wait_for_their_time_than_can_be_kept() {
    let later = (NOW.0 + 3_600_000).to_string();
    let headers: &[(&[u8], Option<&[u8]>)] = &[(NOT_BEFORE, Some(later.as_bytes()))];
    for (count, expected) in [(99, (None, vec![(99_000, 1)])), (100, (Some(0), vec![]))] {
        let disk = queue_of(&vec![1000; count], headers, SyncPolicy::Always);
        put(&disk, &[1], &[], SyncPolicy::Always);
        assert_eq!(held_back(&disk, |_| ()), expected, "{count}");
    }
}

#[test]
fn a_log_is_rolled_again_only_when_it_has_grown_by_more_than_its_snapshots() {
    let disk = queue(SyncPolicy::Always);
    let log_dir = open_log_dir(&disk).unwrap();
    let mut states = ShareStateTopic::open(&log_dir).unwrap();
    // All in one log. Together they fit no batch, and each takes more than what a log is rolled at without snapshots.
    let key_of = |number: i32| share_key(&group(), Uuid::from_u128(7), number);
    let first = key_of(0);
    let log = states.log(&first).unwrap();
    for number in 0..8 {
        log.begin(&[(key_of(number), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
        change(log, &key_of(number), scattered(number as u64, 30_000)).unwrap();
    }
    let start = |log: &ShareLog| log_start(&disk, log);
    let before = start(log);
    assert!(before > 0, "it was rolled");
    change(log, &first, [delivery(0, DeliveryState::Acknowledged, 1)].into_iter()).unwrap();
    assert_eq!(start(log), before);
    let mut again = ShareStateTopic::open(&log_dir).unwrap();
    let log = again.log(&first).unwrap();
    let complete: Vec<u64> = (0..8).map(|number| log.state(&key_of(number)).unwrap().complete_count()).collect();
    assert_eq!(complete, [&[30_001][..], &[30_000; 7]].concat());
}

#[test]
fn a_snapshot_of_as_many_runs_as_there_can_be_fits_a_batch() {
    let disk = queue(SyncPolicy::Always);
    let mut states = ShareStateTopic::open(&open_log_dir(&disk).unwrap()).unwrap();
    let (key, other) = (key_of(&disk), share_key(&group(), Uuid::from_u128(7), 1));
    let log = states.log(&key).unwrap();
    for key in [&key, &other] {
        log.begin(&[(key.clone(), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
    }
    // Each has failed at a time of its own, which is a record of its own after the snapshot.
    let at = |offset: i64| NOW + offset.wrapping_mul(0x5851_f42d_4c95_7f2d).rem_euclid(3_600_000);
    let failed = (0..50_000).map(|offset| (delivery(offset, DeliveryState::Available, 1), at(offset)));
    let (start_offset, batches, lowered) = (Offset(0), failed.clone().collect(), Vec::new());
    log.change(&[ShareChange { key: key.clone(), start_offset, batches, lowered }], NOW).unwrap();
    let before = log_start(&disk, log);
    for seed in 0..8 {
        change(log, &other, scattered(seed, 25_000)).unwrap();
    }
    assert!(log_start(&disk, log) > before, "it was rolled");
    let mut again = ShareStateTopic::open(&open_log_dir(&disk).unwrap()).unwrap();
    let state = again.log(&key).unwrap().state(&key).unwrap();
    assert!(state.batches().eq(failed), "{} runs", state.run_count());
}

#[test]
fn a_power_failure_while_a_log_is_rolled_costs_no_state() {
    let prepared = queue(SyncPolicy::Always);
    let key = key_of(&prepared);
    // Short of what it is rolled at, by batches that are not compressed.
    let fill = |disk: &FaultyDisk| {
        let mut states = ShareStateTopic::open(&open_log_dir(disk).unwrap()).unwrap();
        let log = states.log(&key).unwrap();
        log.begin(&[(key.clone(), ShareState::new(Offset(0), 0, NOW))], NOW).unwrap();
        let mut changes = 0;
        while log_size(disk, log) < 1 << 20 {
            change(log, &key, alternating(600)).unwrap();
            changes += 1;
        }
        states.end(NOW).unwrap();
        changes
    };
    assert!(fill(&prepared) > 50);
    let roll = |disk: &FaultyDisk| -> groups::Result<()> {
        let mut states = ShareStateTopic::open(&open_log_dir(disk)?)?;
        let log = states.log(&key)?;
        change(log, &key, [delivery(600, DeliveryState::Acknowledged, 1)].into_iter())?;
        log.sync()
    };
    let whole = prepared.kill();
    roll(&whole).unwrap();
    let operations = whole.operations();
    assert!(operations > 10, "{:?}", whole.trace());
    for at in 1..=operations + 1 {
        for way in 0..4 {
            let disk = prepared.kill();
            disk.crash_at(at);
            let is_done = roll(&disk).is_ok();
            let disk = if way == 3 { disk.kill() } else { disk.crash(way) };
            let mut states = ShareStateTopic::open(&open_log_dir(&disk).unwrap()).unwrap();
            let state = states.log(&key).unwrap().state(&key).unwrap();
            let is_acknowledged = state.is_terminal(Offset(600));
            let what = format!("cut at {at}, way {way}: {state:?}");
            assert!(is_acknowledged || !is_done, "{what}");
            assert_eq!(state.complete_count(), 300 + u64::from(is_acknowledged), "{what}");
            assert_eq!(state.delivery(Offset(0)).map(|it| it.at), Some(NOW), "{what}");
        }
    }
}

/// Where the log of states begins.
fn log_start(disk: &FaultyDisk, log: &ShareLog) -> i64 {
    let folder = disk.open_folder(log.path()).unwrap();
    let bases = folder.list().unwrap().into_iter().filter_map(|it| it.name.strip_suffix(".log")?.parse().ok());
    bases.min().unwrap()
}

/// How long the active segment of the log of states is.
fn log_size(disk: &FaultyDisk, log: &ShareLog) -> u64 {
    let folder = disk.open_folder(log.path()).unwrap();
    let name = folder.list().unwrap().into_iter().map(|it| it.name).filter(|it| it.ends_with(".log")).max().unwrap();
    folder.stat(&name).unwrap().unwrap().size
}
