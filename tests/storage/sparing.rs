//! A group that commits or is reset while retention or the deletion of what it has read is going on: at every moment between
//! the plan and the deletion.

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::FolderLock;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::groups::{Commits, CommittedOffsets, GroupError, GroupReaders, ResetRow, ResetTo, WhichGroups};
use kdir::groups::{Moved, apply_reset, plan_reset};
use kdir::logdir::{LimitOverrides, LogDir, NewTopic, Partition, Readers, Sparing, Topic, Unread};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::retention::Limits;
use kdir::units::{GroupId, Offset, TopicPartition};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn group() -> GroupId {
    "billing".parse().unwrap()
}

/// A topic of twenty records in segments of two or three, which are all too old.
fn orders() -> (FaultyDisk, LogDir, Topic) {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let config = topic_config(&[("retention.ms", "1"), ("segment.bytes", "250")]);
    log_dir.create_topic(&NewTopic { name: "orders".parse().unwrap(), partitions: 1, config }).unwrap();
    let topic = log_dir.topic(&"orders".parse().unwrap()).unwrap();
    let listener = Arc::new(Heard::default()).listener();
    let mut writer = TopicWriter::new(log_dir.clone(), topic.clone(), SyncPolicy::End, listener).unwrap();
    for number in 0..20 {
        let mut builder = BatchBuilder::new(0);
        let value = format!("order {number}");
        builder.push(&NewRecord { timestamp: NOW, value: Some(value.as_bytes()), ..NewRecord::default() });
        builder.finish(None, usize::MAX).unwrap();
        writer.append(0, &mut [builder.finished()], NOW).unwrap();
    }
    writer.finish(NOW).unwrap();
    (disk, log_dir, topic)
}

fn commit(log_dir: &LogDir, offset: i64) {
    let partition = TopicPartition { topic: "orders".parse().unwrap(), partition: 0 };
    let mut commits = Commits::open(log_dir, &group()).unwrap();
    commits.commit(&BTreeMap::from([(partition, (Offset(offset), String::new()))]), NOW).unwrap();
    commits.close(NOW).unwrap();
}

fn start(log_dir: &LogDir, topic: &Topic) -> i64 {
    log_dir.partition(topic, 0).unwrap().view().unwrap().log_start_offset().0
}

/// Where a segment begins that holds an offset.
fn base_of(log_dir: &LogDir, topic: &Topic, offset: i64) -> i64 {
    let view = log_dir.partition(topic, 0).unwrap().view().unwrap();
    view.segments().unwrap().iter().map(|it| it.base_offset.0).filter(|base| *base <= offset).max().unwrap()
}

/// Readers of which something happens before, and while, their positions are held.
struct Meddled<'a> {
    readers: GroupReaders<'a>,
    before_hold: Vec<Box<dyn FnOnce()>>,
    while_held: Option<Box<dyn FnOnce()>>,
    is_held: bool,
}

impl<'a> Meddled<'a> {
    fn with(readers: GroupReaders<'a>) -> Self {
        Self { readers, before_hold: Vec::new(), while_held: None, is_held: false }
    }
}

impl Readers for Meddled<'_> {
    type Error = GroupError;

    fn slowest(&mut self, partition: &Partition, start: Offset) -> Result<Option<Unread>, GroupError> {
        let slowest = self.readers.slowest(partition, start);
        if let Some(change) = self.while_held.take_if(|_| self.is_held) {
            change();
        }
        slowest
    }

    fn hold(&mut self) -> Result<Vec<FolderLock>, GroupError> {
        if !self.before_hold.is_empty() {
            self.before_hold.remove(0)();
        }
        self.is_held = true;
        self.readers.hold()
    }
}

fn retain(log_dir: &LogDir, topic: &Topic, readers: &mut Meddled<'_>) {
    let partition = log_dir.partition(topic, 0).unwrap();
    let mut sparing = Sparing { readers, max: Limits::NONE };
    let now = NOW + 1000;
    partition.apply_retention_sparing(LimitOverrides::default(), &mut sparing, now, &mut Vec::new(), |_| {}).unwrap();
}

#[test]
fn a_group_that_goes_on_or_is_reset_before_the_deletion_keeps_what_it_has_not_read() {
    // One after the other, each before a piece is deleted, of which the first is all that may go; and how far that is.
    let cases: &[(&[i64], i64)] = &[(&[], 15), (&[18], 15), (&[6], 6), (&[0], 0), (&[12, 3], 12)];
    for which in [WhichGroups::All, WhichGroups::Named(vec![group()])] {
        for &(commits, expected) in cases {
            let (disk, log_dir, topic) = orders();
            commit(&log_dir, 15);
            let expected = base_of(&log_dir, &topic, expected);
            let mut offsets = CommittedOffsets::open(&log_dir, &[]).unwrap();
            let mut readers = Meddled::with(GroupReaders::of(&mut offsets, &topic, which.clone()).unwrap());
            for &offset in commits {
                let other = open_log_dir(&disk).unwrap();
                readers.before_hold.push(Box::new(move || commit(&other, offset)));
            }
            retain(&log_dir, &topic, &mut readers);
            assert_eq!(start(&log_dir, &topic), expected, "{commits:?}");
        }
    }
}

/// Resets the group to the log start offset, in a thread of its own. Nothing of it is done for as long as positions are held.
fn reset(disk: &FaultyDisk) -> (Box<dyn FnOnce()>, mpsc::Receiver<ResetRow>) {
    let log_dir = open_log_dir(disk).unwrap();
    let (sender, receiver) = mpsc::channel();
    let (done, is_done) = mpsc::channel();
    let reset = move || {
        let topic = log_dir.topic(&"orders".parse().unwrap()).unwrap();
        let partitions = log_dir.partitions(&topic).unwrap();
        let mut rows = plan_reset(&partitions, None, &ResetTo::Offset(Offset(1))).unwrap();
        let mut commits = Commits::open(&log_dir, &group()).unwrap();
        std::thread::spawn(move || {
            apply_reset(&log_dir, &mut commits, &mut rows, NOW).unwrap();
            done.send(()).unwrap_or_default();
            sender.send(rows.remove(0)).unwrap();
        });
        // One that is not kept from it is done long before.
        assert!(is_done.recv_timeout(Duration::from_millis(300)).is_err(), "reset while its positions are held");
    };
    (Box::new(reset), receiver)
}

#[test]
fn a_reset_during_the_deletion_waits_and_finds_where_the_log_begins() {
    let (disk, log_dir, topic) = orders();
    commit(&log_dir, 15);
    let expected = base_of(&log_dir, &topic, 15);
    let mut offsets = CommittedOffsets::open(&log_dir, &[]).unwrap();
    let mut readers = Meddled::with(GroupReaders::of(&mut offsets, &topic, WhichGroups::All).unwrap());
    let (reset, row) = reset(&disk);
    readers.while_held = Some(reset);
    retain(&log_dir, &topic, &mut readers);
    assert!(readers.while_held.is_none(), "positions were not read while they were held");
    let row = row.recv().unwrap();
    assert_eq!((row.new, row.asked), (Offset(expected), Some((Offset(1), Moved::NotInLog))));
    assert_eq!(start(&log_dir, &topic), expected);
    let unread = readers.readers.slowest(&log_dir.partition(&topic, 0).unwrap(), Offset::ZERO).unwrap().unwrap();
    assert_eq!(unread, Unread { reader: "billing".into(), from: Offset(expected), has_position: true });
}

#[test]
fn records_are_deleted_up_to_what_a_group_has_read_when_the_log_start_offset_is_moved() {
    for (commits, expected) in [(&[][..], 15), (&[18][..], 15), (&[6][..], 6), (&[0][..], 0)] {
        let (disk, log_dir, topic) = orders();
        commit(&log_dir, 15);
        let mut offsets = CommittedOffsets::open(&log_dir, &[group()]).unwrap();
        let mut readers = Meddled::with(GroupReaders::of(&mut offsets, &topic, WhichGroups::All).unwrap());
        for &offset in commits {
            let other = open_log_dir(&disk).unwrap();
            readers.before_hold.push(Box::new(move || commit(&other, offset)));
        }
        let partition = log_dir.partition(&topic, 0).unwrap();
        let mut moved = None;
        log_dir
            .delete_records_read([(&partition, Offset(15))], &mut readers, NOW, |_, start| moved = Some(start.0))
            .unwrap();
        assert_eq!((moved, start(&log_dir, &topic)), (Some(expected), expected));
    }
}

#[test]
fn a_reset_while_the_log_start_offset_is_moved_waits_and_finds_it() {
    let (disk, log_dir, topic) = orders();
    commit(&log_dir, 15);
    let mut offsets = CommittedOffsets::open(&log_dir, &[]).unwrap();
    let mut readers = Meddled::with(GroupReaders::of(&mut offsets, &topic, WhichGroups::All).unwrap());
    let (reset, row) = reset(&disk);
    readers.while_held = Some(reset);
    let partition = log_dir.partition(&topic, 0).unwrap();
    log_dir.delete_records_read([(&partition, Offset(15))], &mut readers, NOW, |_, _| {}).unwrap();
    assert!(readers.while_held.is_none(), "positions were not read while they were held");
    let row = row.recv().unwrap();
    assert_eq!((row.new, row.asked), (Offset(15), Some((Offset(1), Moved::NotInLog))));
}
