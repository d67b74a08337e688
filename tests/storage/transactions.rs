//! What a read-committed reader shows, compared with a model that knows the whole log.

use super::support::{NOW, disk_with_partition, log_path, overwrite, path, reader, reader_at};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, empty};
use kdir::format::crc;
use kdir::format::record::NewRecord;
use kdir::storage::file_name::FileKind;
use kdir::storage::{Advance, Checkpoints, LogView, RecordReader};
use kdir::units::Offset;
use proptest::prelude::*;
use std::collections::BTreeSet;

const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const ABORT: u8 = 0;
const COMMIT: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// So many records of a transaction.
    Data(i64),
    /// So many records of an idempotent producer outside transactions.
    Plain(i64),
    /// What compaction leaves of a batch of so many records.
    Emptied(i64),
    Marker(u8),
    /// What compaction leaves of a marker.
    EmptiedMarker,
    /// A control batch that ends no transaction.
    OtherControl,
}

#[derive(Debug, Clone, Copy)]
struct Batch {
    base: i64,
    producer: i64,
    producer_epoch: i16,
    leader_epoch: i32,
    what: What,
}

impl Batch {
    fn next_offset(&self) -> i64 {
        self.base
            + match self.what {
                What::Data(count) | What::Plain(count) | What::Emptied(count) => count,
                What::Marker(_) | What::EmptiedMarker | What::OtherControl => 1,
            }
    }

    fn is_data(&self) -> bool {
        matches!(self.what, What::Data(_))
    }

    /// Whether it ends a transaction, and if so, whether it aborts it.
    fn end(&self) -> Option<bool> {
        match self.what {
            What::Marker(kind) => Some(kind == ABORT),
            What::EmptiedMarker => Some(false),
            _ => None,
        }
    }

    /// As it is in the log, with values of at least `value_size` bytes.
    fn encode(&self, value_size: usize) -> Vec<u8> {
        let mut builder = BatchBuilder::new(0);
        let (mut bytes, attributes) = match self.what {
            What::Data(count) | What::Plain(count) => {
                for offset in self.base..self.base + count {
                    let value = format!("{offset:0value_size$}");
                    builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
                }
                let bytes = builder.finish(None, usize::MAX).unwrap().to_vec();
                (bytes, if self.is_data() { TRANSACTIONAL } else { 0 })
            }
            What::Marker(_) | What::OtherControl => {
                let kind = if let What::Marker(kind) = self.what { kind } else { 2 };
                let (key, value) = ([0, 0, 0, kind], [0; 6]);
                builder.push(&NewRecord { timestamp: NOW, key: Some(&key), value: Some(&value), headers: &[] });
                (builder.finish(None, usize::MAX).unwrap().to_vec(), TRANSACTIONAL | CONTROL)
            }
            What::Emptied(count) => (empty(Offset(0), Offset(count - 1), 0).to_vec(), TRANSACTIONAL),
            What::EmptiedMarker => (empty(Offset(0), Offset(0), 0).to_vec(), TRANSACTIONAL | CONTROL),
        };
        bytes[..8].copy_from_slice(&self.base.to_be_bytes());
        bytes[12..16].copy_from_slice(&self.leader_epoch.to_be_bytes());
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        bytes[43..51].copy_from_slice(&self.producer.to_be_bytes());
        bytes[51..53].copy_from_slice(&self.producer_epoch.to_be_bytes());
        let checksum = crc::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }
}

/// Batches one after the other from `base` on.
fn log_from(base: i64, leader_epoch: i32, batches: &[(i64, What)]) -> Vec<Batch> {
    let mut next = base;
    let mut made = Vec::new();
    for &(producer, what) in batches {
        let batch = Batch { base: next, producer, producer_epoch: 0, leader_epoch, what };
        next = batch.next_offset();
        made.push(batch);
    }
    made
}

fn encode_all(batches: &[Batch], value_size: usize) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.encode(value_size)).collect()
}

/// The base offset of a segment that begins with the batch at `place`.
fn base_at(batches: &[Batch], place: usize) -> i64 {
    batches[..place].last().map_or(0, Batch::next_offset)
}

/// Whose transactions are open after these batches.
fn open_after(batches: &[Batch]) -> BTreeSet<i64> {
    let mut open = BTreeSet::new();
    for batch in batches {
        if batch.is_data() {
            open.insert(batch.producer);
        } else if batch.end().is_some() {
            open.remove(&batch.producer);
        }
    }
    open
}

/// The offsets of the records that a reader at `start` shows, where `open` are the producers with a transaction that
/// began before these batches.
fn committed(batches: &[Batch], open: &BTreeSet<i64>, start: i64) -> Vec<i64> {
    let end_after =
        |place: usize, producer: i64| batches[place..].iter().filter(|it| it.producer == producer).find_map(Batch::end);
    if open.iter().any(|&producer| end_after(0, producer).is_none()) {
        return Vec::new();
    }
    let mut shown = Vec::new();
    for (place, batch) in batches.iter().enumerate() {
        let is_shown = match batch.what {
            What::Plain(_) => true,
            What::Data(_) => match end_after(place, batch.producer) {
                Some(is_aborted) => !is_aborted,
                // The last stable offset.
                None => break,
            },
            _ => false,
        };
        if is_shown {
            shown.extend((batch.base..batch.next_offset()).filter(|&offset| offset >= start));
        }
    }
    shown
}

/// The offsets of the records up to the end for now.
fn advance_all(records: &mut RecordReader) -> Vec<i64> {
    let mut shown = Vec::new();
    while records.advance().unwrap() == Advance::Record {
        shown.push(records.offset().0);
    }
    shown
}

/// What an index looks like.
#[derive(Debug, Clone)]
enum Index {
    Right,
    Missing,
    Short,
    Garbage(Vec<u8>),
    /// Entries in the right form that are not true.
    Lying(Vec<(i64, usize, usize)>),
}

fn index() -> impl Strategy<Value = Index> {
    let entries = prop::collection::vec((0..4_i64, any::<usize>(), any::<usize>()), 1..20);
    prop_oneof![
        2 => Just(Index::Right),
        2 => Just(Index::Missing),
        1 => Just(Index::Short),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Index::Garbage),
        3 => entries.prop_map(Index::Lying),
    ]
}

fn indexed(index: &Index, entry_size: usize, right: Vec<u8>, lie: impl Fn(i64, usize, usize) -> Vec<u8>) -> Vec<u8> {
    match index {
        Index::Right => right,
        Index::Missing => Vec::new(),
        Index::Short => right[..right.len() / entry_size / 2 * entry_size].to_vec(),
        Index::Garbage(bytes) => bytes.clone(),
        Index::Lying(entries) => entries.iter().flat_map(|&(producer, a, b)| lie(producer, a, b)).collect(),
    }
}

/// How the log is laid out on the disk.
#[derive(Debug, Clone)]
struct Layout {
    value_size: usize,
    /// Before which batches a segment ends.
    rolls: Vec<usize>,
    offset_index: Index,
    transaction_index: Index,
    /// For each segment whether it has a producer snapshot, and whether that is whole.
    snapshots: Vec<(bool, bool)>,
}

fn layout() -> impl Strategy<Value = Layout> {
    let rolls = prop::collection::vec(1..80_usize, 0..4);
    let snapshots = prop::collection::vec((any::<bool>(), any::<bool>()), 5);
    (prop_oneof![Just(1_usize), Just(3000)], rolls, index(), index(), snapshots).prop_map(
        |(value_size, rolls, offset_index, transaction_index, snapshots)| Layout {
            value_size,
            rolls,
            offset_index,
            transaction_index,
            snapshots,
        },
    )
}

impl Layout {
    /// Where in `batches` the segments begin, and the end.
    fn bounds(&self, batches: &[Batch]) -> Vec<usize> {
        let inside = self.rolls.iter().copied().filter(|&at| at < batches.len());
        let bounds: BTreeSet<usize> = [0, batches.len()].into_iter().chain(inside).collect();
        bounds.into_iter().collect()
    }

    /// Makes the partition's folder hold `batches`, and no other file.
    fn write(&self, disk: &FaultyDisk, batches: &[Batch]) {
        let mut kept = BTreeSet::new();
        let mut put = |path: std::path::PathBuf, bytes: &[u8]| {
            overwrite(disk, &path, bytes);
            kept.insert(path.file_name().unwrap().to_str().unwrap().to_owned());
        };
        for (segment, bounds) in self.bounds(batches).windows(2).enumerate() {
            let (before, within) = (&batches[..bounds[0]], &batches[bounds[0]..bounds[1]]);
            let base = base_at(batches, bounds[0]);
            put(log_path(base), &encode_all(within, self.value_size));
            put(path(base, FileKind::OffsetIndex), &self.offset_index(base, within));
            put(path(base, FileKind::TransactionIndex), &self.transaction_index(batches, within));
            if let (true, is_whole) = self.snapshots[segment] {
                put(path(base, FileKind::Snapshot), &snapshot(&open_after(before), is_whole));
            }
        }
        for name in super::support::names(disk) {
            if !kept.contains(&name) {
                disk.remove_file(&super::support::folder().join(name)).unwrap();
            }
        }
    }

    fn offset_index(&self, base: i64, within: &[Batch]) -> Vec<u8> {
        let entry = |last: i64, position: usize| {
            [((last - base) as i32).to_be_bytes(), (position as i32).to_be_bytes()].concat()
        };
        let (mut position, mut right) = (0, Vec::new());
        for (number, batch) in within.iter().enumerate() {
            if number % 3 == 2 {
                right.extend(entry(batch.next_offset() - 1, position));
            }
            position += batch.encode(self.value_size).len();
        }
        indexed(&self.offset_index, 8, right, |_, a, b| entry(base + (a % 100) as i64, b % position.max(1)))
    }

    /// Lies name the producer's batches and any marker of its own where there is one: all that is not true of them is that
    /// one transaction spans both.
    fn transaction_index(&self, all: &[Batch], within: &[Batch]) -> Vec<u8> {
        let entry = |producer: i64, first: i64, last: i64| {
            let fields = [producer, first, last, last + 1].map(i64::to_be_bytes);
            [vec![0; 2], fields.concat()].concat()
        };
        let mut right = Vec::new();
        for marker in within.iter().filter(|it| it.what == What::Marker(ABORT)) {
            let before = all.iter().take_while(|it| it.base < marker.base);
            let of_producer: Vec<&Batch> = before.filter(|it| it.producer == marker.producer).collect();
            let own = of_producer.iter().rev().take_while(|it| it.end().is_none()).filter(|it| it.is_data());
            if let Some(first) = own.last() {
                right.extend(entry(marker.producer, first.base, marker.base));
            }
        }
        indexed(&self.transaction_index, 34, right, |producer, a, b| {
            let pick = |of: &dyn Fn(&&Batch) -> bool, number: usize| {
                let all: Vec<i64> =
                    all.iter().filter(|it| it.producer == producer).filter(of).map(|it| it.base).collect();
                all.get(number % all.len().max(1)).copied().unwrap_or(number as i64 % 100)
            };
            entry(producer, pick(&|it| it.is_data(), a), pick(&|it| it.what == What::Marker(ABORT), b))
        })
    }
}

/// A producer snapshot that has these producers in a transaction, and one that is not.
fn snapshot(open: &BTreeSet<i64>, is_whole: bool) -> Vec<u8> {
    let idle = (99, -1);
    let mut entries = (open.len() as i32 + 1).to_be_bytes().to_vec();
    for (producer, first) in open.iter().map(|&it| (it, 0_i64)).chain([idle]) {
        entries.extend(producer.to_be_bytes());
        entries.extend([0; 26]);
        entries.extend((-1_i32).to_be_bytes());
        entries.extend(first.to_be_bytes());
    }
    let checksum = if is_whole { crc::crc32c(&entries) } else { 1 };
    [&[0, 1], &checksum.to_be_bytes()[..], &entries].concat()
}

fn batches() -> impl Strategy<Value = Vec<(i64, What, i64, i16)>> {
    let what = prop_oneof![
        8 => (1..4_i64).prop_map(What::Data),
        3 => (1..4_i64).prop_map(What::Plain),
        1 => (1..4_i64).prop_map(What::Emptied),
        3 => Just(What::Marker(ABORT)),
        3 => Just(What::Marker(COMMIT)),
        1 => Just(What::EmptiedMarker),
        1 => Just(What::OtherControl),
    ];
    let gap = prop_oneof![8 => Just(0_i64), 1 => 1..5_i64];
    prop::collection::vec((0..4_i64, what, gap, 0..3_i16), 1..80)
}

/// The batches in a log; with `ending`, no transaction stays open.
fn placed(batches: &[(i64, What, i64, i16)], base: i64, leader_epoch: i32, ending: bool) -> Vec<Batch> {
    let (mut next, mut made) = (base, Vec::new());
    for &(producer, what, gap, producer_epoch) in batches {
        let batch = Batch { base: next + gap, producer, producer_epoch, leader_epoch, what };
        next = batch.next_offset();
        made.push(batch);
    }
    if ending {
        let ends: Vec<_> = open_after(&made).into_iter().map(|it| (it, What::Marker((it % 2) as u8))).collect();
        made.extend(log_from(next, leader_epoch, &ends));
    }
    made
}

fn part(of: usize, hundredths: usize) -> usize {
    of * hundredths / 100
}

proptest! {
    #[test]
    fn what_is_shown_of_any_interleaving_is_what_a_model_says(
        batches in batches(), layout in layout(), ending in any::<bool>(), from in 0..=100_usize, grown in 0..=100_usize,
    ) {
        let all = placed(&batches, 0, 0, ending);
        let first = &all[..part(all.len(), grown)];
        let disk = disk_with_partition();
        layout.write(&disk, first);
        let start = part(base_at(first, first.len()) as usize, from) as i64;
        let mut log = reader(&disk);
        log.seek(Offset(start));
        let mut records = RecordReader::read_committed(log).unwrap();
        let mut shown = advance_all(&mut records);
        prop_assert_eq!(&shown, &committed(first, &BTreeSet::new(), start));
        layout.write(&disk, &all);
        shown.extend(advance_all(&mut records));
        prop_assert_eq!(shown, committed(&all, &BTreeSet::new(), start));
    }

    #[test]
    fn what_began_before_the_log_start_counts_by_its_marker(
        batches in batches(), layout in layout(), from in 0..=100_usize,
    ) {
        let all = placed(&batches, 0, 0, false);
        let with_snapshots = Layout { snapshots: vec![(true, true); 5], ..layout };
        let disk = disk_with_partition();
        with_snapshots.write(&disk, &all);
        let bounds = with_snapshots.bounds(&all);
        let first_kept = bounds[bounds.len() / 2];
        if first_kept == all.len() {
            return Ok(());
        }
        for &place in bounds.iter().filter(|&&it| it < first_kept) {
            for kind in [FileKind::Log, FileKind::Snapshot] {
                disk.remove_file(&path(base_at(&all, place), kind)).unwrap();
            }
        }
        let log_start = base_at(&all, first_kept);
        let start = log_start + part((base_at(&all, all.len()) - log_start) as usize, from) as i64;
        let mut log = reader(&disk);
        log.seek(Offset(start));
        let mut records = RecordReader::read_committed(log).unwrap();
        prop_assert_eq!(advance_all(&mut records), committed(&all[first_kept..], &open_after(&all[..first_kept]), start));
    }

    #[test]
    fn a_reader_that_waits_shows_what_was_written_in_the_place_of_what_it_had_looked_at(
        batches in batches(), others in batches(), layout in layout(), from in 0..=100_usize,
        kept in 0..=100_usize,
    ) {
        let all = placed(&batches, 0, 0, false);
        let disk = disk_with_partition();
        layout.write(&disk, &all);
        let start = part(base_at(&all, all.len()) as usize, from) as i64;
        let mut log = reader(&disk);
        log.seek(Offset(start));
        let mut records = RecordReader::read_committed(log).unwrap();
        advance_all(&mut records);
        let position = records.next_offset().0;
        // What the reader has passed stays.
        let passed = all.iter().take_while(|it| it.next_offset() <= position).count();
        let mut rewritten = all[..passed + part(all.len() - passed, kept)].to_vec();
        let base = base_at(&rewritten, rewritten.len());
        rewritten.extend(placed(&others, base, 1, true));
        layout.write(&disk, &rewritten);
        let expected = committed(&rewritten, &BTreeSet::new(), start).into_iter().filter(|&it| it >= position);
        prop_assert_eq!(advance_all(&mut records), expected.collect::<Vec<_>>());
    }
}

/// Transactions of one record each of 50 producers one after the other, every other one aborted.
fn short_transactions(count: i64) -> Vec<Batch> {
    let one =
        |number: i64| [(1000 + number % 50, What::Data(1)), (1000 + number % 50, What::Marker((number % 2) as u8))];
    log_from(0, 0, &(0..count).flat_map(one).collect::<Vec<_>>())
}

/// The bytes of the log, how often it was read, and how many bytes that brought.
fn cost(batches: &[Batch], offset_index: Index, transaction_index: Index) -> (u64, u64, u64) {
    let layout =
        Layout { value_size: 10, rolls: Vec::new(), offset_index, transaction_index, snapshots: vec![(false, false)] };
    let disk = disk_with_partition();
    layout.write(&disk, batches);
    disk.reset_counts();
    let mut records = RecordReader::read_committed(reader(&disk)).unwrap();
    assert_eq!(advance_all(&mut records), committed(batches, &BTreeSet::new(), 0));
    (encode_all(batches, 10).len() as u64, disk.reads(), disk.bytes_read())
}

#[test]
fn a_pass_over_many_transactions_reads_the_log_twice_with_and_without_any_index() {
    let long = || log_from(0, 0, &[(1, What::Data(1))]);
    let mut inside_a_long_one = long();
    inside_a_long_one.extend(short_transactions(3000).into_iter().map(|it| Batch { base: it.base + 1, ..it }));
    let end = inside_a_long_one.last().unwrap().next_offset();
    inside_a_long_one.extend(log_from(end, 0, &[(1, What::Marker(COMMIT))]));
    for batches in [short_transactions(3000), inside_a_long_one] {
        for offset_index in [Index::Right, Index::Missing] {
            for transaction_index in [Index::Right, Index::Missing] {
                let (size, reads, bytes) = cost(&batches, offset_index.clone(), transaction_index);
                assert!(bytes <= size * 9 / 4, "{bytes} bytes of a log of {size}");
                // The reader's chunks, twice: each may end in the middle of a header that is looked at then.
                assert!(reads <= 3 * size / 4096, "{reads} reads of a log of {size} bytes");
            }
        }
    }
}

#[test]
fn other_batches_between_transactions_cost_no_more_reads() {
    let one = |number: i64| {
        let producer = 1000 + number % 50;
        let plain = (5, What::Plain(1));
        [plain, plain, (producer, What::Data(1)), plain, (producer, What::Marker((number % 2) as u8)), plain]
    };
    let batches = log_from(0, 0, &(0..1000).flat_map(one).collect::<Vec<_>>());
    for offset_index in [Index::Right, Index::Missing] {
        let (size, reads, bytes) = cost(&batches, offset_index, Index::Right);
        assert!(bytes <= size * 9 / 4 && reads <= 3 * size / 4096, "{reads} reads, {bytes} bytes of {size}");
    }
}

#[test]
fn markers_that_retention_deletes_unread_decide_nothing() {
    let segments = [
        log_from(0, 0, &[(7, What::Plain(1)), (1, What::Data(1))]),
        log_from(2, 0, &[(1, What::Marker(ABORT))]),
        log_from(3, 0, &[(1, What::Data(1)), (1, What::Marker(COMMIT))]),
    ];
    let disk = disk_with_partition();
    for segment in &segments {
        overwrite(&disk, &log_path(segment[0].base), &encode_all(segment, 1));
    }
    let mut records = RecordReader::read_committed(reader(&disk)).unwrap();
    assert_eq!((records.advance().unwrap(), records.offset()), (Advance::Record, Offset(0)));
    for base in [0, 2] {
        disk.remove_file(&log_path(base)).unwrap();
    }
    let passed = Advance::LogStartPassed { missed_from: Offset(1), log_start_offset: Offset(3) };
    assert_eq!(records.advance().unwrap(), passed);
    assert_eq!(advance_all(&mut records), [3]);
}

#[test]
fn what_is_open_where_the_log_starts_again_is_waited_for() {
    let disk = disk_with_partition();
    let put = |segment: &[Batch]| overwrite(&disk, &log_path(segment[0].base), &encode_all(segment, 1));
    put(&log_from(0, 0, &[(7, What::Plain(1))]));
    let mut records = RecordReader::read_committed(reader(&disk)).unwrap();
    assert_eq!(advance_all(&mut records), [0]);
    // While the reader sleeps, transaction 1 begins, and what it has written is deleted before it ends.
    put(&log_from(2, 0, &[(7, What::Plain(1)), (2, What::Data(1)), (2, What::Marker(COMMIT))]));
    overwrite(&disk, &path(2, FileKind::Snapshot), &snapshot(&BTreeSet::from([1]), true));
    disk.remove_file(&log_path(0)).unwrap();
    let passed = Advance::LogStartPassed { missed_from: Offset(1), log_start_offset: Offset(2) };
    assert_eq!((records.advance().unwrap(), records.advance().unwrap()), (passed, Advance::End));
    put(&log_from(5, 0, &[(1, What::Marker(COMMIT))]));
    assert_eq!(advance_all(&mut records), [2, 3]);
}

#[test]
fn what_is_known_far_ahead_is_dropped_when_the_log_is_rewritten_there() {
    let transactions = |marker: u8, count: i64| {
        (0..count).flat_map(move |_| [(2, What::Data(1)), (2, What::Marker(marker))]).collect::<Vec<_>>()
    };
    let whole = |leader_epoch: i32, marker: u8, base: i64| {
        let mut batches = log_from(base, leader_epoch, &transactions(marker, 100));
        batches.extend(log_from(base + 200, leader_epoch, &[(1, What::Marker(COMMIT))]));
        batches
    };
    let mut kept = log_from(0, 0, &[(1, What::Data(1))]);
    kept.extend(log_from(1, 0, &transactions(COMMIT, 100)));
    let [old, new] = [(0, COMMIT), (1, ABORT)].map(|(leader_epoch, marker)| {
        let mut batches = kept.clone();
        batches.extend(whole(leader_epoch, marker, 201));
        batches
    });
    let disk = disk_with_partition();
    overwrite(&disk, &log_path(0), &encode_all(&old, 1000));
    let mut records = RecordReader::read_committed(reader(&disk)).unwrap();
    assert_eq!((records.advance().unwrap(), records.offset()), (Advance::Record, Offset(0)));
    // All batches are as large as those in whose place they are.
    overwrite(&disk, &log_path(0), &encode_all(&new, 1000));
    assert_eq!(advance_all(&mut records), committed(&new, &BTreeSet::new(), 1));
}

#[test]
fn damage_below_the_log_start_stops_no_reader() {
    let batches =
        log_from(0, 0, &[(1, What::Data(1)), (7, What::Plain(1)), (1, What::Marker(ABORT)), (7, What::Plain(1))]);
    let mut log = encode_all(&batches, 1);
    log[65] ^= 1;
    let disk = disk_with_partition();
    overwrite(&disk, &log_path(0), &log);
    let log = reader_at(&disk, Checkpoints { log_start_offset: Offset(1), ..Checkpoints::default() });
    assert_eq!(advance_all(&mut RecordReader::read_committed(log).unwrap()), [1, 3]);
}

#[test]
fn a_transaction_whose_end_was_deleted_while_the_log_was_looked_at_is_not_open() {
    let batches = log_from(0, 0, &[(1, What::Data(1)), (1, What::Marker(COMMIT)), (2, What::Plain(1))]);
    let layout = Layout {
        value_size: 10,
        rolls: vec![1, 2],
        offset_index: Index::Right,
        transaction_index: Index::Right,
        snapshots: vec![(true, true), (true, true), (false, false)],
    };
    let disk = disk_with_partition();
    layout.write(&disk, &batches);
    let folder = disk.open_folder(&super::support::folder()).unwrap();
    let view = LogView::of(folder, Checkpoints::default()).unwrap();
    for base in [0, 1] {
        disk.remove_file(&log_path(base)).unwrap();
    }
    assert_eq!(view.open_transactions().unwrap(), []);
}
