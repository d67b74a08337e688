//! A merge whose partitions come and go while it is read.

use super::support::{NOW, append_at, disk_with_partition, open, reader_at};
use kdir::consume::merge::{Merge, OnDamage, Order, Source};
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::{Checkpoints, RecordReader};
use kdir::stream::filter::Filter;
use kdir::units::{Offset, TopicPartition};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// So many records are shown.
    Show(usize),
    /// A partition comes that is not read.
    Add(usize),
    /// A partition is retired, and counts no more at the next step that drops.
    Retire(usize),
    Drop,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_usize).prop_map(Step::Show),
        2 => any::<usize>().prop_map(Step::Add),
        1 => any::<usize>().prop_map(Step::Retire),
        1 => Just(Step::Drop),
    ]
}

fn disk(times: &[i64]) -> FaultyDisk {
    let disk = disk_with_partition();
    let mut writer = open(&disk);
    for (number, &time) in times.iter().enumerate() {
        append_at(&mut writer, &[&number.to_string()], NOW + time).unwrap();
    }
    disk
}

fn source(disk: &FaultyDisk, partition: usize, from: i64) -> Source {
    let mut log = reader_at(disk, Checkpoints::default());
    log.seek(Offset(from));
    Source {
        topic: "t".parse().unwrap(),
        topic_id: None,
        partition: partition as i32,
        records: RecordReader::new(log),
        filter: Filter::default(),
        newest: None,
        on_damage: OnDamage::End,
        is_stopped: None,
    }
}

fn id(partition: usize) -> TopicPartition {
    TopicPartition { topic: "t".parse().unwrap(), partition: partition as i32 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn whatever_comes_and_goes_each_record_is_shown_once_and_positions_are_behind_what_was_shown(
        times in proptest::collection::vec(proptest::collection::vec(0..50_i64, 0..12), 1..6),
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let disks: Vec<FaultyDisk> = times.iter().map(|times| disk(times)).collect();
        let mut merge = Merge::new(Vec::new(), Order::Time);
        // By partition: how many of its records were shown, and whether it is read now.
        let mut shown = vec![0_i64; disks.len()];
        let mut read = vec![false; disks.len()];
        let mut retired: Vec<usize> = Vec::new();
        let show = |merge: &mut Merge, shown: &mut Vec<i64>, read: &[bool]| {
            let Some(source) = merge.next().unwrap() else { return false };
            let partition = source.partition as usize;
            assert!(read[partition], "partition {partition} is shown and is not read");
            assert_eq!(source.records.offset().0, shown[partition], "of partition {}", partition);
            shown[partition] += 1;
            true
        };
        for step in steps {
            match step {
                Step::Show(count) => {
                    for _ in 0..count {
                        show(&mut merge, &mut shown, &read);
                    }
                }
                Step::Add(at) => {
                    let partition = at % disks.len();
                    if !read[partition] && !retired.contains(&partition) {
                        merge.add(source(&disks[partition], partition, shown[partition])).unwrap();
                        read[partition] = true;
                    }
                }
                Step::Retire(at) => {
                    let partition = at % disks.len();
                    let behind = merge.retire(&id(partition)).unwrap();
                    prop_assert_eq!(behind, read[partition].then_some(Offset(shown[partition])));
                    if std::mem::take(&mut read[partition]) {
                        retired.push(partition);
                    }
                }
                Step::Drop => {
                    for partition in retired.drain(..) {
                        prop_assert!(merge.drop_retired(&id(partition)).unwrap().is_some());
                    }
                }
            }
            let mut known = 0;
            for (place, of, next) in merge.next_offsets(true) {
                prop_assert_eq!(merge.sources()[place].partition, of.partition);
                prop_assert_eq!(next.0, shown[of.partition as usize], "of partition {}", of.partition);
                known += 1;
            }
            prop_assert_eq!(known, read.iter().filter(|it| **it).count() + retired.len());
        }
        while show(&mut merge, &mut shown, &read) {}
        for (partition, times) in times.iter().enumerate().filter(|(partition, _)| read[*partition]) {
            prop_assert_eq!(shown[partition] as usize, times.len(), "of partition {}", partition);
        }
    }
}
