//! Share groups that are deleted or set to other offsets on a disk that stops at any moment.

use super::support::{NOW, disk_with_log_dir, open_log_dir};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::internal::share_records::{DeliveryState, StateBatch};
use kdir::groups::{
    Commits, FileSystems, GroupError, GroupsTopic, Moved, ResetRow, Result, ShareChange, ShareReader, ShareState,
    ShareStateTopic, apply_share_reset, begin_share_group, delete_share_group, exclude_members, forget_share_topics,
    join_workers, share_key,
};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, LogDir, NewTopic, Origin, Partition, Topic};
use kdir::units::{GroupId, Offset, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;
use uuid::Uuid;

/// Their states are in different partitions.
const PARTITIONS: i32 = 3;

fn group() -> GroupId {
    "g".parse().unwrap()
}

fn id_of(topic: &Topic) -> Uuid {
    let Origin::TopicFile(id) = topic.origin else { panic!("it is ours") };
    id
}

/// Has a worker come, who makes the states that are missing.
fn begin(log_dir: &LogDir, topic: &Topic) -> Result<ShareStateTopic> {
    begin_at(log_dir, topic, &mut |_| Ok(Offset(0)))
}

fn begin_at(
    log_dir: &LogDir,
    topic: &Topic,
    start: &mut dyn FnMut(&Partition) -> Result<Offset>,
) -> Result<ShareStateTopic> {
    let mut states = ShareStateTopic::open(log_dir)?;
    let lock_file = join_workers(log_dir, topic, &group(), FileSystems::Local, "1 here")?;
    begin_share_group(log_dir, &group(), topic, &lock_file, &mut states, start, NOW)?;
    Ok(states)
}

/// A topic that nobody has worked.
fn new() -> (FaultyDisk, Topic) {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let new = NewTopic { name: "jobs".parse().unwrap(), partitions: PARTITIONS, config: TopicConfig::default() };
    let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was there already") };
    (disk, topic)
}

/// A group that has done the second record of each partition.
fn worked() -> (FaultyDisk, Topic) {
    let (disk, topic) = new();
    let log_dir = open_log_dir(&disk).unwrap();
    let mut states = begin(&log_dir, &topic).unwrap();
    for partition in 0..PARTITIONS {
        let key = share_key(&group(), id_of(&topic), partition);
        let (first, last) = (Offset(1), Offset(1));
        let batch = StateBatch { first, last, state: DeliveryState::Acknowledged, count: 1 };
        let change =
            ShareChange { key: key.clone(), start_offset: Offset(0), batches: vec![(batch, NOW)], lowered: Vec::new() };
        states.log(&key).unwrap().change(&[change], NOW).unwrap();
    }
    states.end(NOW).unwrap();
    (disk, topic)
}

/// Start offset of each partition, and how many records are done past it.
fn found(log_dir: &LogDir, topic: &Topic) -> Vec<Option<(i64, u64)>> {
    let mut shares = ShareReader::find(&log_dir.clone().into()).unwrap();
    let of = |partition| {
        let state = shares.state(&share_key(&group(), id_of(topic), partition)).unwrap()?;
        Some((state.start_offset().unwrap().0, state.complete_count()))
    };
    (0..PARTITIONS).map(of).collect()
}

/// Stops the disk at each operation in turn: killed, and with two kinds of power failure.
fn at_every_operation(change: impl Fn(&LogDir, &Topic) -> Result<()>, check: impl Fn(&FaultyDisk, &Topic, bool, &str)) {
    at_every_operation_on(worked, change, check);
}

fn at_every_operation_on(
    prepared: fn() -> (FaultyDisk, Topic),
    change: impl Fn(&LogDir, &Topic) -> Result<()>,
    check: impl Fn(&FaultyDisk, &Topic, bool, &str),
) {
    let (whole, topic) = prepared();
    whole.reset_counts();
    change(&open_log_dir(&whole).unwrap(), &topic).unwrap();
    let operations = whole.operations();
    assert!(operations > 20, "{operations}");
    for at in 0..=operations {
        for way in 0..3 {
            let (disk, topic) = prepared();
            disk.reset_counts();
            disk.crash_at(at);
            let is_done = open_log_dir(&disk).map_err(GroupError::from).and_then(|it| change(&it, &topic)).is_ok();
            let disk = if way == 0 { disk.kill() } else { disk.crash(way) };
            check(&disk, &topic, is_done, &format!("cut at {at}, way {way}, done: {is_done}"));
        }
    }
}

/// A worker that comes finds all that the group has done, or nothing; and who deletes it again ends it.
fn is_whole_or_gone(disk: &FaultyDisk, topic: &Topic, is_done: bool, what: &str) {
    let log_dir = open_log_dir(disk).unwrap();
    drop(begin(&log_dir, topic).unwrap());
    let found = found(&log_dir, topic);
    let (old, new) = (vec![Some((0, 1)); PARTITIONS as usize], vec![Some((0, 0)); PARTITIONS as usize]);
    assert!(found == new || (!is_done && found == old), "{what}: {found:?}");
}

fn delete(log_dir: &LogDir, topic: &Topic) -> Result<()> {
    let _excluded = exclude_members(log_dir, &group(), [&topic.name])?;
    delete_share_group(log_dir, &group(), &[topic.name.clone()].into(), NOW).map(drop)
}

fn forget(log_dir: &LogDir, topic: &Topic) -> Result<()> {
    forget_share_topics(log_dir, &group(), &|id, _| id == id_of(topic), NOW).map(drop)
}

/// The partitions that a broker takes for ones that have a state.
fn listed(log_dir: &LogDir) -> BTreeSet<i32> {
    let log_dirs = log_dir.clone().into();
    let groups = GroupsTopic::find(&log_dirs).unwrap().all().unwrap().groups;
    let topics = groups.get(&group()).map(|group| group.share.initialized.values());
    topics.into_iter().flatten().flat_map(|(_, partitions)| partitions.clone()).collect()
}

#[test]
fn a_first_use_that_was_cut_off_lists_no_partition_without_its_state() {
    let first = |log_dir: &LogDir, topic: &Topic| begin(log_dir, topic).map(drop);
    at_every_operation_on(new, first, |disk, topic, is_done, what| {
        let log_dir = open_log_dir(disk).unwrap();
        let (states, listed) = (found(&log_dir, topic), listed(&log_dir));
        assert!(listed.iter().all(|&partition| states[partition as usize] == Some((0, 0))), "{what}: {states:?}");
        assert!(!is_done || listed.len() == PARTITIONS as usize, "{what}: {listed:?}");
        drop(begin(&log_dir, topic).unwrap());
        assert_eq!(found(&log_dir, topic), vec![Some((0, 0)); PARTITIONS as usize], "{what}");
    });
}

#[test]
fn a_worker_that_begins_second_waits_for_the_first_and_chooses_no_start_offset() {
    let (disk, topic) = new();
    let ((choose, chosen), mut second) = (mpsc::channel(), None);
    let mut start_of_first = |_: &Partition| {
        second.get_or_insert_with(|| {
            let (log_dir, topic, choose) = (open_log_dir(&disk).unwrap(), topic.clone(), choose.clone());
            let mut start_of_second = move |_: &Partition| {
                choose.send(()).unwrap();
                Ok(Offset(5))
            };
            thread::spawn(move || drop(begin_at(&log_dir, &topic, &mut start_of_second).unwrap()))
        });
        assert_eq!(chosen.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
        Ok(Offset(3))
    };
    let log_dir = open_log_dir(&disk).unwrap();
    drop(begin_at(&log_dir, &topic, &mut start_of_first).unwrap());
    second.unwrap().join().unwrap();
    assert_eq!(chosen.try_recv(), Err(TryRecvError::Empty));
    assert_eq!(found(&log_dir, &topic), vec![Some((3, 0)); PARTITIONS as usize]);
}

#[test]
fn a_state_that_is_there_is_not_begun_again() {
    let (disk, topic) = worked();
    let log_dir = open_log_dir(&disk).unwrap();
    let (mut states, key) = (begin(&log_dir, &topic).unwrap(), share_key(&group(), id_of(&topic), 0));
    states.log(&key).unwrap().begin(&[(key.clone(), ShareState::new(Offset(5), 0, NOW))], NOW).unwrap();
    assert_eq!(found(&log_dir, &topic)[0], Some((0, 1)));
}

#[test]
fn a_group_that_becomes_one_of_another_kind_meanwhile_is_refused() {
    let offsets =
        BTreeMap::from([(TopicPartition { topic: "jobs".parse().unwrap(), partition: 0 }, (Offset(0), String::new()))]);
    // A worker has begun when a consumer commits.
    let (disk, topic) = new();
    let log_dir = open_log_dir(&disk).unwrap();
    let mut start = |_: &Partition| {
        Commits::open(&open_log_dir(&disk).unwrap(), &group())?.commit(&offsets, NOW)?;
        Ok(Offset(0))
    };
    let error = begin_at(&log_dir, &topic, &mut start).err().unwrap();
    assert_eq!(error.to_string(), "g is a classic group; a work queue needs a group of its own");
    // A consumer runs when a worker begins.
    let (disk, topic) = new();
    let log_dir = open_log_dir(&disk).unwrap();
    let mut commits = Commits::open(&log_dir, &group()).unwrap();
    drop(begin(&log_dir, &topic).unwrap());
    let error = commits.commit(&offsets, NOW).unwrap_err();
    assert_eq!(error.to_string(), "g is a share group, and no group of consumers");
}

#[test]
fn a_group_whose_deletion_was_cut_off_goes_on_whole_or_begins_again() {
    at_every_operation(delete, is_whole_or_gone);
    at_every_operation(delete, |disk, topic, _, what| {
        let log_dir = open_log_dir(disk).unwrap();
        delete(&log_dir, topic).unwrap();
        assert_eq!(found(&log_dir, topic), vec![None; PARTITIONS as usize], "{what}");
    });
}

#[test]
fn a_topic_whose_state_was_not_quite_forgotten_goes_on_whole_or_begins_again() {
    at_every_operation(forget, is_whole_or_gone);
    at_every_operation(forget, |disk, topic, _, what| {
        let log_dir = open_log_dir(disk).unwrap();
        forget(&log_dir, topic).unwrap();
        assert_eq!(found(&log_dir, topic), vec![None; PARTITIONS as usize], "{what}");
    });
}

#[test]
fn a_reset_that_was_cut_off_has_moved_some_partitions_or_none() {
    let reset = |log_dir: &LogDir, topic: &Topic| {
        let excluded = exclude_members(log_dir, &group(), [&topic.name])?;
        let row = |partition| ResetRow {
            partition: TopicPartition { topic: topic.name.clone(), partition },
            prior: None,
            new: Offset(0),
            asked: None::<(Offset, Moved)>,
        };
        let mut rows: Vec<ResetRow> = (0..PARTITIONS).map(row).collect();
        apply_share_reset(log_dir, &group(), &excluded, &mut rows, NOW)
    };
    at_every_operation(reset, |disk, topic, is_done, what| {
        let found = found(&open_log_dir(disk).unwrap(), topic);
        let is_moved = |it: &Option<(i64, u64)>| *it == Some((0, 0)) || (!is_done && *it == Some((0, 1)));
        assert!(found.iter().all(is_moved), "{what}: {found:?}");
    });
}
