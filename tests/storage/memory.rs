//! Readers that share memory: what they show, and how much they hold.

use super::support::{NOW, disk_with_partition, folder, open, open_at, view};
use kdir::consume::merge::{Merge, OnDamage, Order, Source};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, compressor};
use kdir::format::record::NewRecord;
use kdir::storage::{Bounds, Checkpoints, LogConfig, LogReader, ReadMemory, RecordReader};
use kdir::stream::filter::{Filter, Part, Test};
use kdir::units::{Offset, Timestamp};
use regex::bytes::Regex;

const MIB: usize = 1 << 20;
/// What readers may hold together, single larger records aside.
const MEMORY_MAX: usize = 64 * MIB;
const PARTITIONS: usize = 10;

/// A disk with a partition of one batch, whose records have these values and times.
fn disk_with_batch(codec: &str, records: impl Iterator<Item = (Vec<u8>, Timestamp)>) -> FaultyDisk {
    let disk = disk_with_partition();
    let config = LogConfig { max_message_bytes: 100 << 20, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    let mut builder = BatchBuilder::new(0);
    for (value, timestamp) in records {
        builder.push(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
    }
    let mut compressor = compressor(codec.parse().unwrap());
    let batch = builder.finish(compressor.as_mut(), usize::MAX).unwrap();
    writer.append(&mut [batch], NOW).unwrap();
    disk
}

/// A merge of the partitions, up to the offset `end` where there is one.
fn merged(disks: &[FaultyDisk], memory: &ReadMemory, filter: &Filter, end: Option<Offset>) -> Merge {
    let source = |(partition, disk): (usize, &FaultyDisk)| {
        let log = LogReader::new(view(disk), 64 << 10);
        let records = RecordReader::new(log).within(Bounds { end, ..Bounds::default() }).sharing(memory);
        let (topic, filter) = ("t".parse().unwrap(), filter.clone());
        Source {
            topic,
            topic_id: None,
            partition: partition as i32,
            records,
            filter,
            newest: None,
            on_damage: OnDamage::End,
            is_stopped: None,
        }
    };
    Merge::new(disks.iter().enumerate().map(source).collect(), Order::Time)
}

/// The numbers that the values begin with, in the order of the merge, and the most memory that was held on the way.
fn numbers(mut merge: Merge, memory: &ReadMemory) -> (Vec<usize>, usize) {
    let (mut numbers, mut most) = (Vec::new(), 0);
    merge.look_again().unwrap();
    while let Some(source) = merge.next().unwrap() {
        let value = source.front().record.value.unwrap();
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
        numbers.push(std::str::from_utf8(&value[..digits]).unwrap().parse().unwrap());
        most = most.max(memory.used());
    }
    (numbers, most)
}

/// Partitions whose records alternate in time, a large batch of 16 KiB records each: `count` in all.
fn alternating(codec: &str, count: usize) -> Vec<FaultyDisk> {
    let partition = |partition| {
        let numbers = (partition..count).step_by(PARTITIONS);
        let value = |number: usize| {
            let mut value =
                format!("{number} {}", if number.is_multiple_of(100) { "needle" } else { "straw" }).into_bytes();
            value.resize(16 << 10, b' ');
            (value, NOW + number as i64)
        };
        disk_with_batch(codec, numbers.map(value))
    };
    (0..PARTITIONS).map(partition).collect()
}

#[test]
fn large_batches_of_many_partitions_are_merged_within_the_memory_of_all() {
    let count = PARTITIONS * 10 * 64;
    for codec in ["lz4", "zstd"] {
        let (disks, memory) = (alternating(codec, count), ReadMemory::default());
        let (numbers, most) = numbers(merged(&disks, &memory, &Filter::default(), None), &memory);
        assert_eq!(numbers, (0..count).collect::<Vec<_>>(), "{codec}");
        assert!((MIB..MEMORY_MAX).contains(&most), "{codec}: {most}");
        assert_eq!(memory.used(), 0, "{codec}: all of it was given back");
    }
}

#[test]
fn what_is_searched_for_is_found_in_every_part_of_a_large_batch() {
    let count = PARTITIONS * 10 * 64;
    let (disks, memory) = (alternating("zstd", count), ReadMemory::default());
    let pattern = Some(Regex::new("needle").unwrap());
    let filter = Filter::new(vec![Test { part: Part::Value, pattern, inverted: false }]);
    let (numbers, _) = numbers(merged(&disks, &memory, &filter, None), &memory);
    assert_eq!(numbers, (0..count).step_by(100).collect::<Vec<_>>());
}

#[test]
fn of_large_records_one_is_held_at_a_time() {
    let size = 40 * MIB;
    let disks: Vec<FaultyDisk> = (0..4)
        .map(|partition| {
            let value = |number: usize| {
                let mut value = format!("{number} ").into_bytes();
                value.resize(size, 0);
                (value, NOW + number as i64)
            };
            disk_with_batch("zstd", [partition, partition + 4].into_iter().map(value))
        })
        .collect();
    // Bounds end a partition before it is asked for more.
    for end in [None, Some(Offset(2))] {
        let memory = ReadMemory::default();
        let (numbers, most) = numbers(merged(&disks, &memory, &Filter::default(), end), &memory);
        assert_eq!(numbers, (0..8).collect::<Vec<_>>());
        assert!((size..size + MEMORY_MAX).contains(&most), "{end:?}: {most}");
    }
}

#[test]
fn a_reader_that_was_closed_shows_the_rest_of_a_large_batch() {
    let count = PARTITIONS * 10 * 64;
    let (disks, memory) = (alternating("lz4", count), ReadMemory::default());
    let merge = merged(&disks, &memory, &Filter::default(), None).with_open_max(2);
    assert_eq!(numbers(merge, &memory).0, (0..count).collect::<Vec<_>>());
}

#[test]
fn more_partitions_than_may_be_open_are_merged_in_order_and_few_are_open() {
    let disks: Vec<FaultyDisk> = (0..50)
        .map(|partition| {
            let disk = disk_with_partition();
            let mut writer = open(&disk);
            for number in (partition..500).step_by(50) {
                super::support::append_at(&mut writer, &[&number.to_string()], NOW + number).unwrap();
            }
            disk
        })
        .collect();
    let memory = ReadMemory::default();
    let mut merge = merged(&disks, &memory, &Filter::default(), None).with_open_max(7);
    merge.look_again().unwrap();
    let mut read = Vec::new();
    while let Some(source) = merge.next().unwrap() {
        read.push(String::from_utf8(source.front().record.value.unwrap().to_vec()).unwrap());
        assert!(merge.sources().iter().filter(|source| source.records.is_open()).count() <= 7);
    }
    assert_eq!(read, (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
    // What is appended to one of them is found by asking that one alone.
    let mut writer = open(&disks[33]);
    super::support::append_at(&mut writer, &["later"], NOW + 500).unwrap();
    disks.iter().for_each(FaultyDisk::reset_counts);
    merge.look_at(33).unwrap();
    assert_eq!(merge.next().unwrap().unwrap().front().record.value.unwrap(), b"later");
    let asked: Vec<usize> = (0..50).filter(|&place| disks[place].reads() > 0).collect();
    assert_eq!(asked, [33]);
    disks[34].rename(&folder(), "/t-0.aside-delete".as_ref()).unwrap();
    assert!(merge.look_at(34).is_err(), "a partition that was deleted");
}
