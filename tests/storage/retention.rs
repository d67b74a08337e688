//! Kafka's three passes, worked out by hand from `UnifiedLog.deleteOldSegments`.

use super::support::{self, NOW};
use Verdict::{BehindOneThatStays, BelowLogStart, EmptyActive, OverSize, TooOld, WithinLimits};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::storage::retention::{self, Decision, Limits, Plan, Verdict, plan};
use kdir::storage::{Checkpoints, CleanupPolicy, LogConfig, LogView, Result};
use kdir::units::{Offset, Timestamp};
use std::sync::Arc;

const DAY: i64 = 86_400_000;

struct Case {
    name: &'static str,
    /// Size of each segment, and how long ago its largest timestamp is, in ms; `None` has no timestamp.
    segments: &'static [(u64, Option<i64>)],
    /// Each segment has ten offsets; an empty one none.
    log_start: i64,
    retention_bytes: i64,
    retention_ms: i64,
    expected: &'static [Verdict],
}

/// How long ago the files changed, for segments without a timestamp.
const FILE_AGE: i64 = 3 * DAY;

const CASES: &[Case] = &[
    Case {
        name: "no limit keeps everything",
        segments: &[(2000, Some(9 * DAY)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: a segment goes when the rest is exactly the limit",
        segments: &[(2000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 4000,
        retention_ms: -1,
        expected: &[OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: a segment stays when the rest would be a byte short",
        segments: &[(2000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 4001,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays, BehindOneThatStays],
    },
    Case {
        name: "size: below the limit nothing goes",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 4001,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: at the limit nothing goes",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 4000,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: several go, the first that does not fit stops it",
        segments: &[(200, Some(0)), (200, Some(0)), (10_000, Some(0)), (200, Some(0))],
        log_start: 0,
        retention_bytes: 2000,
        retention_ms: -1,
        expected: &[OverSize, OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size 0: the active segment goes as well",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 0,
        retention_ms: -1,
        expected: &[OverSize, OverSize],
    },
    Case {
        name: "size 0: an empty active segment stays",
        segments: &[(2000, Some(0)), (0, None)],
        log_start: 0,
        retention_bytes: 0,
        retention_ms: -1,
        expected: &[OverSize, EmptyActive],
    },
    Case {
        name: "size: any negative limit is none",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -7,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: exactly as old as the limit stays",
        segments: &[(2000, Some(DAY)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: a millisecond older goes",
        segments: &[(2000, Some(DAY + 1)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: the active segment goes when it is too old",
        segments: &[(2000, Some(3 * DAY)), (2000, Some(2 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[TooOld, TooOld],
    },
    Case {
        name: "time: a young segment keeps the older ones behind it",
        segments: &[(2000, Some(0)), (2000, Some(9 * DAY)), (2000, Some(9 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[WithinLimits, BehindOneThatStays, BehindOneThatStays],
    },
    Case {
        name: "time: a timestamp in the future stays and keeps all behind it",
        segments: &[(2000, Some(-DAY)), (2000, Some(9 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time 0: what is older than now goes",
        segments: &[(2000, Some(1)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: without a timestamp the file's time counts",
        segments: &[(2000, None), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: FILE_AGE - 1,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: without a timestamp, a file as old as the limit stays",
        segments: &[(2000, None), (2000, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: FILE_AGE,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: an empty active segment stays, however old",
        segments: &[(2000, Some(9 * DAY)), (0, None)],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[TooOld, EmptyActive],
    },
    Case {
        name: "log start: a segment goes when the next begins at the log start",
        segments: &[(2000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 10,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start: a segment stays when the log start lies within it",
        segments: &[(2000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 19,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start: at the log end the active segment goes too, as it does not on a broker",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 20,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, BelowLogStart],
    },
    Case {
        name: "log start: a record short of the log end the active segment stays",
        segments: &[(2000, Some(0)), (2000, Some(0))],
        log_start: 19,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits],
    },
    Case {
        name: "log start: an empty active segment stays",
        segments: &[(2000, Some(0)), (0, None)],
        log_start: 10,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, EmptyActive],
    },
    Case {
        name: "log start first, then size on what is left",
        segments: &[(20_000, Some(0)), (2000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 10,
        retention_bytes: 4000,
        retention_ms: -1,
        expected: &[BelowLogStart, OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start first: its bytes do not count for the size",
        segments: &[(20_000, Some(0)), (2000, Some(0)), (2000, Some(0))],
        log_start: 10,
        retention_bytes: 4000,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size, then time on what is left",
        segments: &[(2000, Some(9 * DAY)), (2000, Some(2 * DAY)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 4000,
        retention_ms: DAY,
        expected: &[OverSize, TooOld, WithinLimits],
    },
    Case {
        name: "size stops at a large segment, and time goes on behind it",
        segments: &[(10_000, Some(2 * DAY)), (2000, Some(2 * DAY)), (2000, Some(0))],
        log_start: 0,
        retention_bytes: 12_000,
        retention_ms: DAY,
        expected: &[TooOld, TooOld, WithinLimits],
    },
    Case {
        name: "all three at once",
        segments: &[(2000, Some(0)), (2000, Some(0)), (2000, Some(3 * DAY)), (2000, Some(0))],
        log_start: 15,
        retention_bytes: 4000,
        retention_ms: DAY,
        expected: &[BelowLogStart, OverSize, TooOld, WithinLimits],
    },
    Case {
        name: "an empty log is left alone",
        segments: &[(0, None)],
        log_start: 0,
        retention_bytes: 0,
        retention_ms: 0,
        expected: &[EmptyActive],
    },
];

/// A batch of ten records, this large; `None` has no timestamp.
fn batch(base_offset: i64, size: u64, timestamp: Option<Timestamp>) -> Vec<u8> {
    let timestamp = timestamp.unwrap_or(Timestamp::NONE);
    let built = |padding: usize| {
        let mut builder = BatchBuilder::new(0);
        for number in 0..10 {
            let value = vec![b'x'; if number == 9 { padding } else { 0 }];
            builder.push(&NewRecord { timestamp, key: None, value: Some(&value), headers: &[] });
        }
        let batch = builder.finish(None, usize::MAX).unwrap();
        // Neither is under the checksum.
        batch[..8].copy_from_slice(&base_offset.to_be_bytes());
        batch[12..16].copy_from_slice(&[0; 4]);
        batch.to_vec()
    };
    let mut padding = size as usize - built(0).len();
    // Longer lengths take more bytes themselves.
    while built(padding).len() > size as usize {
        padding -= 1;
    }
    let batch = built(padding);
    assert_eq!(batch.len() as u64, size);
    batch
}

/// A log of these segments, whose files are all of the same age.
fn log(case: &Case) -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(&support::folder()).unwrap();
    disk.set_clock_ms(NOW.0 - FILE_AGE);
    let mut next = 0;
    for &(size, age) in case.segments {
        let bytes = if size == 0 { Vec::new() } else { batch(next, size, age.map(|age| NOW + -age)) };
        support::overwrite(&disk, &support::log_path(next), &bytes);
        next += if size == 0 { 0 } else { 10 };
    }
    disk
}

fn verdicts(case: &Case, policy: CleanupPolicy) -> Vec<Verdict> {
    let config = LogConfig {
        retention_bytes: case.retention_bytes,
        retention_ms: case.retention_ms,
        cleanup_policy: policy,
        ..LogConfig::default()
    };
    let checkpoints = Checkpoints { log_start_offset: Offset(case.log_start), ..Checkpoints::default() };
    let plan = plan(&support::view_at(&log(case), checkpoints), &Limits::of(&config), NOW).unwrap();
    let segments: Vec<u64> = plan.decisions.iter().map(|decision| decision.segment.size).collect();
    assert_eq!(segments, case.segments.iter().map(|segment| segment.0).collect::<Vec<_>>(), "{}", case.name);
    plan.decisions.into_iter().map(|decision| decision.verdict).collect()
}

/// Plans and applies retention under one guard.
pub(crate) fn retain(
    disk: &FaultyDisk,
    limits: &LogConfig,
    checkpoints: Checkpoints,
    now: Timestamp,
    mut on_removed: impl FnMut(&Decision),
) -> Result<Plan> {
    let guard = support::guard(disk, limits.clone(), checkpoints)?;
    let view = LogView::of(Arc::clone(guard.folder()), checkpoints)?;
    let plan = plan(&view, &Limits::of(limits), now)?;
    let (going, mut done) = (plan.going().count(), 0);
    while done < going {
        let rest = &plan.decisions[done..going];
        let removed = retention::apply(&guard, rest, now, &mut Vec::new(), &mut on_removed)?;
        assert!(removed > 0, "nobody else can have changed the log");
        done += removed;
    }
    Ok(plan)
}

#[test]
fn agrees_with_kafkas_arithmetic() {
    for case in CASES {
        assert_eq!(verdicts(case, CleanupPolicy { delete: true, compact: false }), case.expected, "{}", case.name);
    }
    assert!(CASES.len() >= 20);
}

#[test]
fn a_topic_that_is_only_compacted_loses_only_what_lies_below_its_log_start() {
    let compact = CleanupPolicy { delete: false, compact: true };
    for case in CASES {
        let went = verdicts(case, compact).into_iter().filter(|verdict| verdict.goes()).count();
        let expected = case.expected.iter().filter(|verdict| **verdict == BelowLogStart).count();
        assert_eq!(went, expected, "{}", case.name);
    }
}

#[test]
fn removes_files_oldest_first_and_keeps_the_offsets() {
    let disk = support::disk_with_partition();
    let config = LogConfig { segment_bytes: 300, ..LogConfig::default() };
    let mut writer = support::open_at(&disk, config.clone(), Default::default()).unwrap();
    for number in 0..9 {
        support::append_at(&mut writer, &[&format!("value {number} {}", "x".repeat(60))], NOW).unwrap();
    }
    assert!(support::names(&disk).iter().filter(|name| name.ends_with(".log")).count() >= 4);
    let limits = LogConfig { retention_bytes: 300, ..config };
    let mut removed = Vec::new();
    let plan = retain(&disk, &limits, Checkpoints::default(), NOW, |decision| {
        removed.push(decision.segment.base_offset);
    })
    .unwrap();
    assert!(removed.is_sorted() && !removed.is_empty());
    let left = support::read_on(support::reader(&disk)).unwrap();
    assert_eq!(left.first().map(|(offset, _)| *offset), Some(plan.log_start_offset().0));
    assert_eq!(left.last().map(|(offset, _)| *offset), Some(8));
    assert!(support::names(&disk).iter().all(|name| !name.ends_with(".deleted")));
}

#[test]
fn when_all_goes_the_log_goes_on_at_its_end() {
    let disk = support::disk_with_partition();
    let mut writer = support::open(&disk);
    support::append(&mut writer, &["a", "b"]);
    let limits = LogConfig { retention_bytes: 0, ..LogConfig::default() };
    let plan = retain(&disk, &limits, Checkpoints::default(), NOW, |_| {}).unwrap();
    assert_eq!(plan.log_start_offset(), Offset(2));
    assert_eq!(support::view(&disk).log_end_offset().unwrap(), Offset(2));
    assert_eq!(support::view(&disk).log_start_offset(), Offset(2));
    assert_eq!(support::append(&mut writer, &["c"]).base_offset, Offset(2));
    assert_eq!(support::values(&disk), ["c"]);
}

#[test]
fn another_writer_goes_on_after_the_active_segment_went() {
    let disk = support::disk_with_partition();
    let (mut one, mut other) = (support::open(&disk), support::open(&disk));
    support::append(&mut one, &["a"]);
    support::append(&mut other, &["b"]);
    let limits = LogConfig { retention_ms: 0, ..LogConfig::default() };
    retain(&disk, &limits, Checkpoints::default(), NOW + 1, |_| {}).unwrap();
    assert_eq!(support::append(&mut other, &["c"]).base_offset, Offset(2));
    assert_eq!(support::values(&disk), ["c"]);
}
