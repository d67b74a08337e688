//! Members of a group on a disk that fails: what they commit is never ahead of what is durable.

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir};
use kdir::consume::merge::Order;
use kdir::consume::{
    Commit, Consumer, Ended, Environment, Event, GroupPositions, Options, Positions, Result, Selection,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::outlet::Outlet;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::groups::{Assignment, FileSystems, GroupsTopic};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, LogDirs, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::stream::output::RecordFormat;
use kdir::units::{GroupId, Offset};
use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;

const RECORDS: i64 = 6;

/// A topic of two partitions with so many records each.
fn topic(policy: SyncPolicy, is_ended: bool) -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "app".parse().unwrap(), partitions: 2, config: TopicConfig::default() };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    let listener = Arc::new(Heard::default());
    let mut writer = TopicWriter::new(log_dir, topic, policy, listener.listener()).unwrap();
    for number in 0..RECORDS * 2 {
        let mut builder = BatchBuilder::new(0);
        let value = number.to_string();
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
        writer.append((number % 2) as i32, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    if is_ended {
        writer.finish(NOW).unwrap();
        return disk;
    }
    disk.kill()
}

fn group() -> GroupId {
    "g".parse().unwrap()
}

/// A run of a member, which reads all there is.
fn consume(disk: &FaultyDisk, output: &'static File) -> Result<Ended> {
    let options = Options {
        selection: Selection { topics: vec!["app".parse().unwrap()], ..Selection::default() },
        order: Order::Partition,
        format: RecordFormat::Value { delimiter: b"\n".to_vec() },
        records_max: None,
        follow: false,
        idle_timeout: None,
        speed: None,
    };
    let log_dir = open_log_dir(disk)?;
    let how = (Assignment::Shared, FileSystems::Local);
    let member = GroupPositions::open(&log_dir, &group(), how, "1 here".to_owned(), || NOW)?;
    let log_dirs = LogDirs::from(log_dir);
    let outlet = Outlet::of(output.as_fd());
    let environment =
        Environment { outlet, commit: Commit::Processed, commit_every: None, interrupt: None, clock: || NOW };
    let mut tell = |_: Event<'_>| ();
    Consumer::open(&log_dirs, &options, Positions::Group(Box::new(member)), environment, &mut tell)?.run()
}

/// What the group has committed, and where the log ends, by partition.
fn committed(disk: &FaultyDisk) -> Vec<(Offset, Offset)> {
    let log_dirs = LogDirs::from(open_log_dir(disk).unwrap());
    let found = GroupsTopic::find(&log_dirs).unwrap().all().unwrap();
    assert!(found.failed.is_empty() && found.passed_over.is_empty(), "{:?}", found.passed_over);
    let Some(group) = found.groups.get(&group()) else { return Vec::new() };
    let both = group.committed.iter().map(|(id, committed)| {
        let partition = log_dirs.partition(&log_dirs.named(&id.topic).unwrap(), id.partition).unwrap();
        (committed.offset, partition.view().unwrap().log_end_offset().unwrap())
    });
    both.collect()
}

#[test]
fn no_commit_is_ahead_of_what_a_power_failure_leaves() {
    let output: &'static File = Box::leak(Box::new(tempfile::tempfile().unwrap()));
    for (policy, is_ended) in [(SyncPolicy::Always, true), (SyncPolicy::Never, true), (SyncPolicy::Never, false)] {
        let whole = topic(policy, is_ended);
        whole.reset_counts();
        consume(&whole, output).unwrap();
        let operations = whole.operations();
        assert!(operations > 20, "{operations}");
        let mut committed_some = 0;
        for at in 0..=operations {
            let disk = topic(policy, is_ended);
            disk.reset_counts();
            disk.crash_at(at);
            let is_done = consume(&disk, output).is_ok();
            for (how, disk) in [disk.kill(), disk.crash(1), disk.crash(2), disk.crash(3)].into_iter().enumerate() {
                let found = committed(&disk);
                for &(offset, end) in &found {
                    assert!(offset <= end, "{policy:?}, cut at {at}, way {how}: {offset} of {end}");
                    committed_some += i64::from(offset > Offset::ZERO);
                }
                let is_all = found.len() == 2 && found.iter().all(|it| it.0 == Offset(RECORDS));
                // What a producer has not synced may be gone, and then is not committed.
                assert!(!is_done || is_all || policy == SyncPolicy::Never, "{at}: {found:?}");
                consume(&disk, output).unwrap();
                assert!(committed(&disk).iter().all(|(offset, end)| offset <= end));
            }
        }
        // Of a producer that syncs nothing, nothing is known to be durable.
        assert!(committed_some > 0 || policy == SyncPolicy::Never, "{policy:?}");
    }
}
