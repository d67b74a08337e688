//! Kafka's three passes, worked out by hand from `UnifiedLog.deleteOldSegments`.

use super::support::{self, NOW};
use Verdict::{BehindOneThatStays, BelowLogStart, EmptyActive, OverSize, TooOld, WithinLimits};
use kdir::storage::retention::{self, Log, Verdict, plan};
use kdir::storage::{CleanupPolicy, LogConfig, Segment};
use kdir::units::Offset;

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
        segments: &[(100, Some(9 * DAY)), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: a segment goes when the rest is exactly the limit",
        segments: &[(100, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 200,
        retention_ms: -1,
        expected: &[OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: a segment stays when the rest would be a byte short",
        segments: &[(100, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 201,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays, BehindOneThatStays],
    },
    Case {
        name: "size: below the limit nothing goes",
        segments: &[(100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 201,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: at the limit nothing goes",
        segments: &[(100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 200,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size: several go, the first that does not fit stops it",
        segments: &[(10, Some(0)), (10, Some(0)), (500, Some(0)), (10, Some(0))],
        log_start: 0,
        retention_bytes: 100,
        retention_ms: -1,
        expected: &[OverSize, OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size 0: the active segment goes as well",
        segments: &[(100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 0,
        retention_ms: -1,
        expected: &[OverSize, OverSize],
    },
    Case {
        name: "size 0: an empty active segment stays",
        segments: &[(100, Some(0)), (0, None)],
        log_start: 0,
        retention_bytes: 0,
        retention_ms: -1,
        expected: &[OverSize, EmptyActive],
    },
    Case {
        name: "size: any negative limit is none",
        segments: &[(100, Some(0)), (100, Some(0))],
        log_start: 0,
        retention_bytes: -7,
        retention_ms: -1,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: exactly as old as the limit stays",
        segments: &[(100, Some(DAY)), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: a millisecond older goes",
        segments: &[(100, Some(DAY + 1)), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: the active segment goes when it is too old",
        segments: &[(100, Some(3 * DAY)), (100, Some(2 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[TooOld, TooOld],
    },
    Case {
        name: "time: a young segment keeps the older ones behind it",
        segments: &[(100, Some(0)), (100, Some(9 * DAY)), (100, Some(9 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: DAY,
        expected: &[WithinLimits, BehindOneThatStays, BehindOneThatStays],
    },
    Case {
        name: "time: a timestamp in the future stays and keeps all behind it",
        segments: &[(100, Some(-DAY)), (100, Some(9 * DAY))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time 0: what is older than now goes",
        segments: &[(100, Some(1)), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: without a timestamp the file's time counts",
        segments: &[(100, None), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: FILE_AGE - 1,
        expected: &[TooOld, WithinLimits],
    },
    Case {
        name: "time: without a timestamp, a file as old as the limit stays",
        segments: &[(100, None), (100, Some(0))],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: FILE_AGE,
        expected: &[WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "time: an empty active segment stays, however old",
        segments: &[(100, Some(9 * DAY)), (0, None)],
        log_start: 0,
        retention_bytes: -1,
        retention_ms: 0,
        expected: &[TooOld, EmptyActive],
    },
    Case {
        name: "log start: a segment goes when the next begins at the log start",
        segments: &[(100, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 10,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start: a segment stays when the log start lies within it",
        segments: &[(100, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 19,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start: the last segment never goes by it, even at the log end",
        segments: &[(100, Some(0)), (100, Some(0))],
        log_start: 20,
        retention_bytes: -1,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits],
    },
    Case {
        name: "log start first, then size on what is left",
        segments: &[(1000, Some(0)), (100, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 10,
        retention_bytes: 200,
        retention_ms: -1,
        expected: &[BelowLogStart, OverSize, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "log start first: its bytes do not count for the size",
        segments: &[(1000, Some(0)), (100, Some(0)), (100, Some(0))],
        log_start: 10,
        retention_bytes: 200,
        retention_ms: -1,
        expected: &[BelowLogStart, WithinLimits, BehindOneThatStays],
    },
    Case {
        name: "size, then time on what is left",
        segments: &[(100, Some(9 * DAY)), (100, Some(2 * DAY)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 200,
        retention_ms: DAY,
        expected: &[OverSize, TooOld, WithinLimits],
    },
    Case {
        name: "size stops at a large segment, and time goes on behind it",
        segments: &[(500, Some(2 * DAY)), (100, Some(2 * DAY)), (100, Some(0))],
        log_start: 0,
        retention_bytes: 600,
        retention_ms: DAY,
        expected: &[TooOld, TooOld, WithinLimits],
    },
    Case {
        name: "all three at once",
        segments: &[(100, Some(0)), (100, Some(0)), (100, Some(3 * DAY)), (100, Some(0))],
        log_start: 15,
        retention_bytes: 200,
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

fn segments(case: &Case) -> (Vec<Segment>, Vec<Option<i64>>, i64) {
    let (mut next, mut segments, mut timestamps) = (0, Vec::new(), Vec::new());
    for &(size, age) in case.segments {
        let id = kdir::disk::FileId::default();
        segments.push(Segment { base_offset: Offset(next), size, modified_ms: NOW - FILE_AGE, id });
        timestamps.push(age.map(|age| NOW - age));
        next += if size == 0 { 0 } else { 10 };
    }
    (segments, timestamps, next)
}

fn verdicts(case: &Case, policy: CleanupPolicy) -> Vec<Verdict> {
    let (segments, timestamps, end) = segments(case);
    let config = LogConfig {
        retention_bytes: case.retention_bytes,
        retention_ms: case.retention_ms,
        cleanup_policy: policy,
        ..LogConfig::default()
    };
    let log = Log { segments: &segments, log_start_offset: Offset(case.log_start), log_end_offset: Offset(end) };
    let largest = |segment: &Segment, _| Ok(timestamps[segments.iter().position(|it| it == segment).unwrap()]);
    plan(log, &config, NOW, largest).unwrap().decisions.into_iter().map(|decision| decision.verdict).collect()
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
    let plan = retention::apply(&mut writer, &limits, Offset::ZERO, Offset::ZERO, NOW, |decision| {
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
    let plan = retention::apply(&mut writer, &limits, Offset::ZERO, Offset::ZERO, NOW, |_| {}).unwrap();
    assert_eq!(plan.log_start_offset(), Offset(2));
    assert_eq!(support::reader(&disk).log_end_offset().unwrap(), Offset(2));
    assert_eq!(support::reader(&disk).log_start_offset(), Offset(2));
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
    retention::apply(&mut one, &limits, Offset::ZERO, Offset::ZERO, NOW + 1, |_| {}).unwrap();
    assert_eq!(support::append(&mut other, &["c"]).base_offset, Offset(2));
    assert_eq!(support::values(&disk), ["c"]);
}
