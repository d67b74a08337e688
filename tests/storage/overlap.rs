//! Segments that go on past the base offset of the next one, and last batches whose base offset is damaged.

use super::support::{
    NOW, append, begin_to_verify, bytes_of, disk_with_partition, log_path, open_as, open_at, overwrite, read_on,
    reader_at, verify, view_at,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::{BatchBuilder, stamp};
use kdir::format::record::NewRecord;
use kdir::storage::batches::{Happened, each_time};
use kdir::storage::check::{Problem, Severity};
use kdir::storage::{Bounds, Checkpoints, Durability, LogConfig, RecordReader, StorageError, SyncFor, sync_now};
use kdir::units::{Offset, Timestamp};
use std::ops::Range;

/// A base offset, and the batches by file and offsets.
type Segment<'a> = (i64, &'a [(&'a str, Range<i64>)]);

/// A batch with one record for each offset, whose value names the file that it is in.
fn batch(file: &str, offsets: Range<i64>) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for offset in offsets.clone() {
        let value = format!("{file}{offset}");
        builder.push(&NewRecord { timestamp: NOW + offset, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    let mut bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
    stamp(&mut bytes, Offset(offsets.start), 0);
    bytes
}

fn disk_of(segments: &[Segment<'_>]) -> FaultyDisk {
    let disk = disk_with_partition();
    for (base, batches) in segments {
        let bytes: Vec<u8> = batches.iter().flat_map(|(file, offsets)| batch(file, offsets.clone())).collect();
        overwrite(&disk, &log_path(*base), &bytes);
    }
    disk
}

fn shown_from(disk: &FaultyDisk, offset: i64) -> Vec<String> {
    let mut log = reader_at(disk, Checkpoints::default());
    log.seek(Offset(offset));
    let read = read_on(log).unwrap();
    read.into_iter().map(|(offset, value)| format!("{offset}={value}")).collect()
}

fn hidden(disk: &FaultyDisk) -> Vec<(i64, i64)> {
    let findings = verify(disk, Checkpoints::default());
    let overlaps = |it: &&kdir::storage::check::Finding| matches!(it.problem, Problem::OverlappingSegments { .. });
    assert!(findings.iter().any(|it| overlaps(&it)), "{findings:?}");
    assert!(findings.iter().all(|it| it.severity() == Severity::Damaged), "{findings:?}");
    let of = |it: &kdir::storage::check::Finding| match it.problem {
        Problem::HiddenBatches { next_offset, .. } => Some((it.offset.unwrap().0, next_offset.0)),
        Problem::OverlappingSegments { .. } => None,
        _ => panic!("{it:?}"),
    };
    findings.iter().filter_map(of).collect()
}

/// What it is, the segments, the values that are shown from offset 0 on, and what is hidden.
type Case<'a> = (&'a str, &'a [Segment<'a>], &'a [&'a str], &'a [(i64, i64)]);

const CASES: &[Case<'static>] = &[
    (
        "other records",
        &[(0, &[("a", 0..3), ("a", 3..6), ("a", 6..9)]), (6, &[("b", 6..8), ("b", 8..10)])],
        &["a0", "a1", "a2", "a3", "a4", "a5", "b6", "b7", "b8", "b9"],
        &[(6, 9)],
    ),
    (
        "a batch on both sides",
        &[(0, &[("a", 0..3), ("a", 3..8), ("a", 8..9)]), (6, &[("b", 6..8), ("b", 8..10)])],
        &["a0", "a1", "a2", "a3", "a4", "a5", "b6", "b7", "b8", "b9"],
        &[(6, 9)],
    ),
    (
        "the same batches",
        &[(0, &[("a", 0..3), ("a", 3..6), ("a", 6..9)]), (3, &[("a", 3..6), ("a", 6..9), ("b", 9..10)])],
        &["a0", "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8", "b9"],
        &[],
    ),
    (
        "some of them the same",
        &[
            (0, &[("a", 0..3), ("a", 3..6), ("a", 6..9), ("a", 9..12)]),
            (3, &[("b", 3..6), ("a", 6..9), ("b", 9..10), ("b", 10..13)]),
        ],
        &["a0", "a1", "a2", "b3", "b4", "b5", "a6", "a7", "a8", "b9", "b10", "b11", "b12"],
        &[(3, 6), (9, 12)],
    ),
    (
        "more than the next one has",
        &[(0, &[("a", 0..3), ("a", 3..6), ("a", 6..9)]), (3, &[("a", 3..6)])],
        &["a0", "a1", "a2", "a3", "a4", "a5"],
        &[(6, 9)],
    ),
    (
        "over two segments",
        &[
            (0, &[("a", 0..2), ("a", 2..4), ("a", 4..6), ("a", 6..8)]),
            (2, &[("a", 2..4)]),
            (4, &[("b", 4..6), ("a", 6..8), ("b", 8..9)]),
        ],
        &["a0", "a1", "a2", "a3", "b4", "b5", "a6", "a7", "b8"],
        &[(4, 6)],
    ),
];

#[test]
fn where_segments_overlap_each_offset_is_shown_once_from_the_segment_that_a_broker_looks_into() {
    for (what, segments, values, _) in CASES {
        let disk = disk_of(segments);
        for from in 0..values.len() {
            let expected: Vec<String> = (from..values.len()).map(|at| format!("{at}={}", values[at])).collect();
            assert_eq!(shown_from(&disk, from as i64), expected, "{what}, from {from}");
        }
        let view = view_at(&disk, Checkpoints::default());
        assert_eq!(view.log_end_offset().unwrap(), Offset(values.len() as i64), "{what}");
        for at in 0..values.len() as i64 {
            assert_eq!(view.offset_for_time(NOW + at).unwrap(), Some((Offset(at), NOW + at)), "{what}, time {at}");
        }
        let mut times: Vec<Timestamp> = Vec::new();
        let mut visit = |it: Happened| times.extend((0..it.records).map(|_| it.timestamp));
        each_time(&view, &mut visit).unwrap();
        let expected: Vec<Timestamp> = (0..values.len() as i64).map(|at| NOW + at).collect();
        assert_eq!(times, expected, "{what}: the chart");
    }
}

#[test]
fn a_check_names_the_offsets_of_what_readers_leave_out_where_segments_overlap() {
    for (what, segments, _, expected) in CASES {
        assert_eq!(hidden(&disk_of(segments)), *expected, "{what}");
    }
}

#[test]
fn a_reader_with_bounds_goes_on_after_a_batch_that_two_segments_share() {
    let disk = disk_of(CASES[1].1);
    for end in 1..=10 {
        let bounds = Bounds { end: Some(Offset(end)), ..Bounds::default() };
        let mut records = RecordReader::new(reader_at(&disk, Checkpoints::default())).within(bounds);
        let mut seen = 0;
        while records.advance().unwrap() == kdir::storage::Advance::Record {
            assert_eq!(records.offset(), Offset(seen));
            assert_eq!(records.next_offset(), Offset(seen), "where to go on without this one");
            seen += 1;
        }
        assert_eq!((seen, records.next_offset()), (end, Offset(end)));
    }
}

#[test]
fn a_check_is_silent_of_segments_that_a_cleaner_has_put_together_since() {
    let disk = disk_of(&[(0, &[("a", 0..3), ("a", 3..6)]), (6, &[("a", 6..9)]), (9, &[("a", 9..12)])]);
    assert_eq!(verify(&disk, Checkpoints::default()), []);
    let begun = begin_to_verify(&disk, Checkpoints::default());
    overwrite(&disk, &log_path(0), &[batch("a", 0..6), batch("a", 6..9)].concat());
    disk.remove_file(&log_path(6)).unwrap();
    let found: Vec<_> = begun.run(1, &|_| {}).unwrap().into_iter().flat_map(|it| it.findings).collect();
    assert_eq!(found, []);
}

#[test]
fn a_last_batch_past_a_gap_that_claims_offsets_of_the_next_segment_is_still_corruption() {
    // The flipped bit of a base offset: 6 became 262.
    let disk = disk_of(&[(0, &[("a", 0..3), ("a", 3..6), ("a", 262..265)]), (9, &[("b", 9..12)])]);
    let read = read_on(reader_at(&disk, Checkpoints::default()));
    assert!(matches!(&read, Err(StorageError::Corrupt { offset: Offset(6), .. })), "{read:?}");
}

/// Three batches, the last of them with a base offset that was flipped up, so that the log seems to go on past a gap.
fn flipped_last() -> FaultyDisk {
    disk_of(&[(0, &[("a", 0..3), ("a", 3..6), ("a", 70..73)])])
}

fn is_refused<T>(result: kdir::storage::Result<T>, what: &str) {
    match result.map(|_| ()) {
        Err(StorageError::Corrupt { offset: Offset(6), .. }) => {}
        other => panic!("{what}: {other:?}"),
    }
}

#[test]
fn a_last_batch_whose_base_offset_a_witness_denies_is_neither_shown_nor_written_on_after() {
    let durable = Checkpoints::of_files(Offset(9), Offset::ZERO);
    for (what, checkpoints) in
        [("the recovery point", durable), ("a high watermark below it", durable.with_high_watermark(Offset(4)))]
    {
        let disk = flipped_last();
        is_refused(read_on(reader_at(&disk, checkpoints)), what);
        is_refused(view_at(&disk, checkpoints).log_end_offset(), what);
        let before = bytes_of(&disk, &log_path(0));
        is_refused(open_at(&disk, LogConfig::default(), checkpoints), what);
        assert_eq!(bytes_of(&disk, &log_path(0)), before, "{what}");
        let found = verify(&disk, checkpoints);
        assert!(found.iter().any(|it| it.problem == Problem::WrongBaseOffset { claimed: Offset(70) }), "{found:?}");
    }
}

#[test]
fn a_last_batch_past_a_gap_that_nothing_denies_is_as_good_as_any() {
    let lagging = Checkpoints::default().with_high_watermark(Offset(9));
    for checkpoints in [Checkpoints::default(), Checkpoints::of_files(Offset(73), Offset::ZERO), lagging] {
        let disk = flipped_last();
        assert_eq!(read_on(reader_at(&disk, checkpoints)).unwrap().last().unwrap().0, 72);
        assert_eq!(open_at(&disk, LogConfig::default(), checkpoints).unwrap().log_end_offset(), Offset(73));
    }
}

#[test]
fn a_torn_end_after_a_last_batch_past_a_gap_is_to_a_check_what_it_is_to_a_writer() {
    for (acknowledged, is_torn) in [(0, true), (3, true), (6, true), (73, true), (9, false), (74, false)] {
        let disk = flipped_last();
        let mut log = bytes_of(&disk, &log_path(0));
        let whole = log.len();
        log.extend_from_slice(&batch("a", 73..76)[..40]);
        overwrite(&disk, &log_path(0), &log);
        let checkpoints = Checkpoints::of_files(Offset(acknowledged), Offset::ZERO);
        let found = verify(&disk, checkpoints);
        let torn = found.iter().find(|it| matches!(it.problem, Problem::TornTail { .. }));
        assert_eq!(torn.is_some(), is_torn, "{acknowledged}: {found:?}");
        if let Some(torn) = torn {
            assert_eq!((torn.position.unwrap().0 as usize, torn.offset), (whole, Some(Offset(73))));
        }
        let opened = open_at(&disk, LogConfig::default(), checkpoints);
        assert_eq!(opened.is_ok(), is_torn, "{acknowledged}: {:?}", opened.map(|_| ()));
        assert_eq!(bytes_of(&disk, &log_path(0)).len() == whole, is_torn, "{acknowledged}");
    }
}

#[test]
fn a_writer_whose_newest_segment_was_removed_gives_no_offset_again() {
    for durability in [Durability::Synced, Durability::Unsynced] {
        let disk = disk_with_partition();
        let config = LogConfig { segment_bytes: 150, ..LogConfig::default() };
        let mut writer = open_as(&disk, config, Checkpoints::default(), durability).unwrap();
        for _ in 0..4 {
            append(&mut writer, &["value"]);
        }
        if durability == Durability::Synced {
            sync_now(writer.pending_sync(), SyncFor::Acknowledgement).unwrap();
        }
        let newest = *view_at(&disk, Checkpoints::default()).bases().last().unwrap();
        assert!(newest > Offset::ZERO);
        disk.remove_file(&log_path(newest.0)).unwrap();
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(b"again"), headers: &[] });
        let refused = writer.append(&mut [builder.finish(None, usize::MAX).unwrap()], NOW);
        assert!(
            matches!(&refused, Err(StorageError::Corrupt { what, .. }) if what.contains("before offset 4")),
            "{durability:?}: {refused:?}"
        );
        assert!(disk.open(&log_path(newest.0), Access::Read).is_err());
    }
}

#[test]
fn a_writer_that_has_synced_nothing_itself_gives_no_promised_offset_again() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 150, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::of_files(Offset(0), Offset::ZERO)).unwrap();
    for _ in 0..4 {
        append(&mut writer, &["value"]);
    }
    let newest = *view_at(&disk, Checkpoints::default()).bases().last().unwrap();
    disk.remove_file(&log_path(newest.0)).unwrap();
    let promised = Checkpoints::of_files(Offset(4), Offset::ZERO);
    writer.go_by(LogConfig { segment_bytes: 150, ..LogConfig::default() }, promised);
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(b"again"), headers: &[] });
    let refused = writer.append(&mut [builder.finish(None, usize::MAX).unwrap()], NOW);
    assert!(matches!(&refused, Err(StorageError::Corrupt { .. })), "{refused:?}");
}
