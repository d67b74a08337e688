//! Going on without records that are lost: what is given up is what was announced, no sound record is lost and no offset given
//! twice, wherever a crash falls.

use super::logdir::Writer;
use super::support::{bytes_of, disk_with_log_dir, overwrite, read_on, topic_config};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::logdir::{Created, LogDir, NewTopic, Repaired, Result};
use kdir::storage::check::{Finding, Loss, Problem};
use kdir::storage::file_name::{FileKind, segment_path};
use kdir::storage::repair::{DamagedRecords, Decision};
use kdir::units::{Offset, TopicPartition};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const FOLDER: &str = "/d/app-0";
const BATCHES: i64 = 20;
/// Every batch has two records.
const SPAN: i64 = 2;
const RECORDS: i64 = BATCHES * SPAN;
/// Batches in a segment.
const IN_SEGMENT: i64 = 5;

fn partition() -> TopicPartition {
    TopicPartition { topic: "app".parse().unwrap(), partition: 0 }
}

fn value(offset: i64) -> String {
    format!("value {offset:02} {}", "x".repeat(40))
}

fn log(base: i64) -> PathBuf {
    segment_path(Path::new(FOLDER), Offset(base), FileKind::Log)
}

/// A topic of four segments with five batches each, all of it durable.
fn sound() -> FaultyDisk {
    let disk = disk_with_log_dir();
    let log_dir = open(&disk).unwrap();
    let config =
        topic_config(&[("segment.bytes", "900"), ("index.interval.bytes", "100"), ("max.message.bytes", "900")]);
    let Created::New(topic) =
        log_dir.create_topic(&NewTopic { name: partition().topic, partitions: 1, config }).unwrap()
    else {
        panic!("the topic is there already");
    };
    let mut writer = Writer::open(&log_dir, &topic, 0).unwrap();
    for batch in 0..BATCHES {
        let values = [value(batch * SPAN), value(batch * SPAN + 1)];
        let appended = writer.append(&[&values[0], &values[1]]).unwrap();
        assert_eq!(appended.base_offset.0, batch * SPAN);
    }
    claim(&disk, "recovery-point-offset-checkpoint", RECORDS);
    for segment in 0..BATCHES / IN_SEGMENT {
        let log = bytes_of(&disk, &log(segment * IN_SEGMENT * SPAN));
        assert_eq!(log.len(), IN_SEGMENT as usize * size(), "five batches in each segment");
    }
    disk
}

fn size() -> usize {
    let disk = SIZE.get_or_init(|| {
        let disk = disk_with_log_dir();
        let log_dir = open(&disk).unwrap();
        let config = topic_config(&[]);
        let Ok(Created::New(topic)) =
            log_dir.create_topic(&NewTopic { name: partition().topic, partitions: 1, config })
        else {
            panic!("the topic is there already");
        };
        Writer::open(&log_dir, &topic, 0).unwrap().append(&[&value(0), &value(1)]).unwrap();
        bytes_of(&disk, &log(0)).len()
    });
    *disk
}

static SIZE: std::sync::OnceLock<usize> = std::sync::OnceLock::new();

fn open(disk: &FaultyDisk) -> Result<LogDir> {
    LogDir::open_to_repair(Arc::new(disk.clone()), Path::new("/d"))
}

fn findings(disk: &FaultyDisk) -> Vec<Finding> {
    let found = open(disk).unwrap().begin_verification(&[], || {}).unwrap().run(1, &|_| {}).unwrap();
    found.all().map(|(_, finding)| finding.clone()).collect()
}

/// What a dry run shows, and then what was done.
fn repair(disk: &FaultyDisk, damaged_records: DamagedRecords) -> Result<(Vec<Loss>, Repaired)> {
    let log_dir = open(disk)?;
    let plans = log_dir.begin_verification(&[], || {})?.run(1, &|_| {})?.plan_repair(damaged_records);
    let mut announced = Vec::new();
    let mut repaired = Repaired::default();
    for planned in &plans {
        announced.extend(planned.plan.decisions.iter().filter_map(Decision::cost));
        let one = log_dir.apply_repair(planned, 1, &mut Vec::new())?;
        repaired.done.extend(one.done);
        repaired.left.extend(one.left);
    }
    Ok((announced, repaired))
}

fn records(disk: &FaultyDisk) -> BTreeMap<i64, String> {
    let log_dir = open(disk).unwrap();
    let topic = log_dir.topic(&partition().topic).unwrap();
    let reader = log_dir.partition(&topic, 0).unwrap().reader(4096).unwrap();
    read_on(reader).unwrap().into_iter().collect()
}

/// The offset that the next record gets.
fn next_offset(disk: &FaultyDisk) -> i64 {
    let log_dir = LogDir::open_to_write(Arc::new(disk.clone()), Path::new("/d")).unwrap();
    let topic = log_dir.topic(&partition().topic).unwrap();
    Writer::open(&log_dir, &topic, 0).unwrap().append(&["after"]).unwrap().base_offset.0
}

fn edit(disk: &FaultyDisk, base: i64, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = bytes_of(disk, &log(base));
    change(&mut bytes);
    overwrite(disk, &log(base), &bytes);
}

/// Gives the batch at this place of a segment another base offset.
fn place(log: &mut [u8], batch: usize, base: i64) {
    log[batch * size()..batch * size() + 8].copy_from_slice(&base.to_be_bytes());
}

fn claim(disk: &FaultyDisk, file: &str, offset: i64) {
    overwrite(disk, &Path::new("/d").join(file), format!("0\n1\napp 0 {offset}\n").as_bytes());
}

fn remove(disk: &FaultyDisk, base: i64, kinds: &[FileKind]) {
    for &kind in kinds {
        disk.remove_file(&segment_path(Path::new(FOLDER), Offset(base), kind)).unwrap();
    }
}

const WITH_INDEXES: [FileKind; 3] = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Log];
const HIGH_WATERMARK: &str = "replication-offset-checkpoint";
const FAR: i64 = 3 << 31;

struct Case {
    what: &'static str,
    damage: fn(&FaultyDisk),
    /// The offsets of which the records are gone.
    lost: std::ops::Range<i64>,
    next: i64,
}

/// One for each problem that records are lost by.
const CASES: [Case; 13] = [
    Case {
        what: "a damaged batch",
        damage: |disk| edit(disk, 10, |log| log[size() + 70] ^= 1),
        lost: 12..14,
        next: 40,
    },
    Case {
        what: "a damaged end",
        damage: |disk| edit(disk, 30, |log| log[4 * size() + 70] ^= 1),
        lost: 38..40,
        next: 40,
    },
    Case {
        what: "an end that is gone",
        damage: |disk| edit(disk, 30, |log| log.truncate(2 * size())),
        lost: 34..40,
        next: 40,
    },
    Case {
        what: "a batch out of order",
        damage: |disk| {
            edit(disk, 10, |log| {
                place(log, 1, 4000);
                log.drain(2 * size()..3 * size());
            })
        },
        lost: 12..16,
        next: 40,
    },
    Case {
        what: "two batches that contradict each other",
        damage: |disk| {
            edit(disk, 10, |log| {
                place(log, 2, 15);
                log.drain(size()..2 * size());
            })
        },
        lost: 12..16,
        next: 40,
    },
    Case {
        what: "offsets that begin again with other records",
        damage: |disk| {
            let other = bytes_of(disk, &log(0))[..2 * size()].to_vec();
            edit(disk, 10, |log| log.splice(4 * size()..4 * size(), other).for_each(drop));
        },
        lost: 0..0,
        next: 40,
    },
    Case {
        what: "a segment that reaches into the next one",
        damage: |disk| {
            let more = bytes_of(disk, &log(20))[..2 * size()].to_vec();
            edit(disk, 10, |log| log.extend_from_slice(&more));
        },
        lost: 0..0,
        next: 40,
    },
    Case {
        what: "a segment that covers all that follow",
        damage: |disk| {
            let more = [bytes_of(disk, &log(20)), bytes_of(disk, &log(30))].concat();
            edit(disk, 10, |log| log.extend_from_slice(&more));
            edit(disk, 30, |log| log.truncate(2 * size()));
        },
        lost: 0..0,
        next: 40,
    },
    Case { what: "a segment in the middle", damage: |disk| remove(disk, 10, &WITH_INDEXES), lost: 10..20, next: 40 },
    Case {
        what: "every segment",
        damage: |disk| [0, 10, 20, 30].map(|base| remove(disk, base, &WITH_INDEXES)).map(drop).into_iter().collect(),
        lost: 0..40,
        next: 40,
    },
    Case {
        what: "a high watermark above the end",
        damage: |disk| claim(disk, HIGH_WATERMARK, 55),
        lost: 0..0,
        next: 55,
    },
    Case {
        what: "a high watermark far above the end",
        damage: |disk| claim(disk, HIGH_WATERMARK, FAR),
        lost: 0..0,
        next: FAR,
    },
    Case {
        what: "claims that nothing reaches",
        damage: |disk| {
            claim(disk, HIGH_WATERMARK, 1 << 50);
            claim(disk, "cleaner-offset-checkpoint", 1 << 50);
            claim(disk, "recovery-point-offset-checkpoint", 1 << 51);
        },
        lost: 0..0,
        next: 40,
    },
];

fn damaged(case: &Case) -> FaultyDisk {
    let disk = sound();
    (case.damage)(&disk);
    for folder in ["/d", FOLDER] {
        for entry in disk.list(Path::new(folder)).unwrap().into_iter().filter(|entry| !entry.is_folder) {
            disk.open(&Path::new(folder).join(entry.name), Access::Read).unwrap().sync().unwrap();
        }
        disk.open_folder(Path::new(folder)).unwrap().sync().unwrap();
    }
    disk.reset_counts();
    disk
}

fn check_records(disk: &FaultyDisk, case: &Case, what: &str) {
    let expected: BTreeMap<i64, String> =
        (0..RECORDS).filter(|offset| !case.lost.contains(offset)).map(|offset| (offset, value(offset))).collect();
    let left = records(disk);
    assert!(left == expected, "{what}: {:?}, not {:?}", left.values(), expected.values());
    assert_eq!(next_offset(disk), case.next, "{what}: no offset is given twice");
}

#[test]
fn every_problem_that_means_lost_or_damaged_has_a_way_on_that_was_announced() {
    for case in &CASES {
        let what = case.what;
        let disk = damaged(case);
        let logs = |disk: &FaultyDisk| {
            let names = disk.list(Path::new(FOLDER)).unwrap().into_iter().map(|it| it.name);
            let logs = names.filter(|name| name.ends_with(".log"));
            logs.map(|name| (name.clone(), bytes_of(disk, &Path::new(FOLDER).join(name)))).collect::<BTreeMap<_, _>>()
        };
        let before = logs(&disk);
        let found = findings(&disk);
        assert!(found.iter().any(|it| it.severity().is_wrong()), "{what}: {found:?}");
        let (announced, repaired) = repair(&disk, DamagedRecords::Keep).unwrap();
        assert!(announced.is_empty() && logs(&disk) == before, "{what}: a plain repair gives nothing up");
        assert!(!repaired.left.is_empty(), "{what}");
        let (announced, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap();
        let done: Vec<Loss> = repaired.done.iter().filter_map(Decision::cost).collect();
        assert!(!announced.is_empty() && announced == done, "{what}: {announced:#?} {done:#?}");
        assert_eq!((repaired.left, findings(&disk)), Default::default(), "{what}");
        check_records(&disk, case, what);
    }
}

#[test]
fn a_crash_while_loss_is_accepted_leaves_what_was_found_or_what_was_repaired() {
    for case in &CASES {
        let counted = damaged(case);
        repair(&counted, DamagedRecords::GiveUp).unwrap();
        for number in 1..=counted.operations() {
            for seed in 0..3 {
                let disk = damaged(case);
                disk.crash_at(number);
                let _ = repair(&disk, DamagedRecords::GiveUp);
                let disk = disk.crash(seed);
                let what = format!("{}: crash at {number}, seed {seed}", case.what);
                let (_, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap_or_else(|it| panic!("{what}: {it}"));
                assert_eq!((repaired.left, findings(&disk)), Default::default(), "{what}");
                check_records(&disk, case, &what);
            }
        }
    }
}

#[test]
fn a_last_batch_that_is_put_back_in_its_place_is_where_the_log_ends() {
    let disk = sound();
    // 38 with a bit flipped: the recovery point is 40.
    edit(&disk, 30, |log| place(log, 4, 34));
    let (announced, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap();
    assert_eq!((announced, repaired.left, findings(&disk)), Default::default());
    assert_eq!(records(&disk).into_keys().collect::<Vec<_>>(), (0..RECORDS).collect::<Vec<_>>());
}

#[test]
fn what_is_taken_out_of_one_place_is_kept_in_one_file() {
    let disk = sound();
    // Damage in each of three batches in a row, and one of them out of place as well.
    edit(&disk, 10, |log| {
        for batch in 1..4 {
            log[batch * size() + 70] ^= 1;
        }
        place(log, 2, 4000);
    });
    repair(&disk, DamagedRecords::GiveUp).unwrap();
    let names = disk.list(Path::new(FOLDER)).unwrap().into_iter().map(|it| it.name);
    assert_eq!(names.filter(|name| name.starts_with("cut-")).count(), 1);
    let expected: Vec<i64> = (0..RECORDS).filter(|offset| !(12..18).contains(offset)).collect();
    assert_eq!(records(&disk).into_keys().collect::<Vec<_>>(), expected);
}

#[test]
fn a_checkpoint_file_of_a_later_format_keeps_no_partition_from_being_repaired() {
    for file in
        ["recovery-point-offset-checkpoint", HIGH_WATERMARK, "log-start-offset-checkpoint", "cleaner-offset-checkpoint"]
    {
        let disk = sound();
        let path = Path::new("/d").join(file);
        overwrite(&disk, &path, b"7\nsomething else\n");
        edit(&disk, 10, |log| log[size() + 70] ^= 1);
        let (_, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap();
        assert_eq!(repaired.left.iter().map(|it| it.problem.name()).collect::<Vec<_>>(), ["newer-file"], "{file}");
        assert_eq!(bytes_of(&disk, &path), b"7\nsomething else\n");
        assert_eq!(findings(&disk), repaired.left);
    }
}

/// Random damage to one segment.
#[derive(Debug, Clone)]
enum Damage {
    Flip(usize, u8),
    Place(usize, i64),
    Drop(usize),
    Double(usize, usize),
    Zero(usize, usize),
    Cut(usize),
    Swap(usize, usize),
    Remove,
    Append(i64, usize),
    Claim(i64),
}

fn damage() -> impl Strategy<Value = Damage> {
    let batch = || 0..IN_SEGMENT as usize;
    prop_oneof![
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at.index(800), bit)),
        (batch(), 0..60_i64).prop_map(|(batch, base)| Damage::Place(batch, base)),
        batch().prop_map(Damage::Drop),
        (batch(), batch()).prop_map(|(one, at)| Damage::Double(one, at)),
        (0..700_usize, 1..200_usize).prop_map(|(at, size)| Damage::Zero(at, size)),
        (0..800_usize).prop_map(Damage::Cut),
        (batch(), batch()).prop_map(|(one, other)| Damage::Swap(one, other)),
        Just(Damage::Remove),
        (0..4_i64, 1..5_usize).prop_map(|(from, batches)| Damage::Append(from * 10, batches)),
        (0..80_i64).prop_map(Damage::Claim),
    ]
}

fn inflict(disk: &FaultyDisk, base: i64, damage: &Damage) {
    if let Damage::Claim(offset) = *damage {
        return claim(disk, HIGH_WATERMARK, offset);
    }
    if disk.stat(&log(base)).unwrap().is_none() {
        return;
    }
    let size = size();
    let source = |from: i64| disk.stat(&log(from)).unwrap().map(|_| bytes_of(disk, &log(from))).unwrap_or_default();
    match *damage {
        Damage::Remove => remove(disk, base, &WITH_INDEXES),
        Damage::Append(from, batches) => {
            let more = source(from);
            edit(disk, base, |log| log.extend_from_slice(&more[..(batches * size).min(more.len())]));
        }
        _ => edit(disk, base, |log| {
            let length = log.len();
            let piece = |batch: usize| batch * size..(batch + 1) * size;
            match *damage {
                Damage::Flip(at, bit) if at < length => log[at] ^= 1 << bit,
                Damage::Place(batch, base) if piece(batch).end <= length => place(log, batch, base),
                Damage::Drop(batch) if piece(batch).end <= length => drop(log.drain(piece(batch))),
                Damage::Double(one, at) if piece(one).end <= length && at * size <= length => {
                    let copy = log[piece(one)].to_vec();
                    log.splice(at * size..at * size, copy).for_each(drop);
                }
                Damage::Zero(at, count) if at < length => log[at..(at + count).min(length)].fill(0),
                Damage::Cut(at) => log.truncate(at),
                Damage::Swap(one, other) if piece(one.max(other)).end <= length && one != other => {
                    let (a, b) = (log[piece(one)].to_vec(), log[piece(other)].to_vec());
                    log[piece(one)].copy_from_slice(&b);
                    log[piece(other)].copy_from_slice(&a);
                }
                _ => {}
            }
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_repair_gives_up_what_its_preview_says(damages in prop::collection::vec((0..4_i64, damage()), 1..4)) {
        let disk = sound();
        for (segment, damage) in &damages {
            inflict(&disk, segment * 10, damage);
        }
        let plans = open(&disk).unwrap().begin_verification(&[], || {}).unwrap().run(1, &|_| {}).unwrap()
            .plan_repair(DamagedRecords::GiveUp);
        let is_complete = plans.iter().all(|it| it.plan.is_incomplete().is_none());
        let acknowledged = match damages.iter().rev().find_map(|(_, it)| match it { Damage::Claim(to) => Some(*to), _ => None }) {
            Some(to) => to.max(RECORDS),
            None => RECORDS,
        };
        let before = findings(&disk);
        // Where the first segments are gone, retention may have deleted them.
        let first = (0..4).map(|it| it * 10).find(|&base| disk.stat(&log(base)).unwrap().is_some()).unwrap_or(RECORDS);
        let (announced, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap();
        let done: Vec<Loss> = repaired.done.iter().filter_map(Decision::cost).collect();
        // A last batch that claims an offset further off than a segment reaches, and that nothing contradicts, stays.
        let is_too_far = |it: &Finding| {
            let from = it.offset.unwrap_or_default();
            matches!(it.problem, Problem::MissingOffsets { next_offset } if next_offset - from > i64::from(i32::MAX))
        };
        let is_done = repaired.left.iter().all(|it| !it.severity().is_wrong() || is_too_far(it));
        prop_assert!(is_done, "{:#?}\nbefore {before:#?}", repaired.left);
        if is_complete {
            prop_assert_eq!(&announced, &done, "before {:#?}", before);
            let left = records(&disk);
            let given_up = |offset: &i64| done.iter().any(|it| (it.offsets.start.0..it.offsets.end.0).contains(offset));
            for offset in (first..RECORDS).filter(|offset| !given_up(offset)) {
                prop_assert!(left.contains_key(&offset), "offset {} was not given up and is gone\nbefore {:#?}", offset, before);
            }
        } else {
            prop_assert!(announced.iter().all(|it| done.contains(it)), "{:#?} {:#?}", announced, done);
        }
        let cut = disk.list(Path::new(FOLDER)).unwrap().into_iter().filter(|it| it.name.starts_with("cut-")).count();
        prop_assert!(cut <= repaired.done.len());
        prop_assert!(next_offset(&disk) >= acknowledged);
    }
}

#[test]
fn a_gap_of_more_offsets_than_one_batch_can_take_is_filled_within_the_segment() {
    let disk = sound();
    // Not by one bit: the batches are where they say.
    let shift = 5 * (1_i64 << 31) + 3;
    edit(&disk, 30, |log| {
        for batch in 3..5 {
            place(log, batch, 30 + SPAN * batch as i64 + shift);
        }
    });
    assert!(findings(&disk).iter().any(|it| matches!(it.problem, Problem::MissingOffsets { .. })));
    let (_, repaired) = repair(&disk, DamagedRecords::GiveUp).unwrap();
    // That no index entry can name what follows is a note.
    assert!(repaired.left.iter().chain(&findings(&disk)).all(|it| !it.severity().is_wrong()), "{:?}", repaired.left);
    let expected: Vec<i64> = (0..36).chain(36 + shift..40 + shift).collect();
    assert_eq!(records(&disk).into_keys().collect::<Vec<_>>(), expected);
}
