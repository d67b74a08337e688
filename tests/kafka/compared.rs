//! Compares two partition folders that were compacted from the same one, file by file and batch by batch.

use crate::broker::Kafka;
use std::fs;
use std::path::Path;

/// How many batches of two folders are equal, and how many differ in which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Comparison {
    /// The same bytes.
    pub(crate) equal: usize,
    /// Compressed, with the same fields in the header.
    pub(crate) recompressed: usize,
    /// Delete horizons that differ by the time between the two rounds.
    pub(crate) other_horizon: usize,
    /// A delete horizon on one side: Kafka 2.8 sets none.
    pub(crate) one_horizon: usize,
    /// Empty batches at the end of a group of segments, which only kdir leaves.
    pub(crate) kept_end: usize,
}

impl Comparison {
    pub(crate) const fn add(&mut self, other: Self) {
        self.equal += other.equal;
        self.recompressed += other.recompressed;
        self.other_horizon += other.other_horizon;
        self.one_horizon += other.one_horizon;
        self.kept_end += other.kept_end;
    }
}

const CHECKSUM: usize = 17;
const ATTRIBUTES: usize = 21;
const BASE_TIMESTAMP: usize = 27;
const HEADER_SIZE: usize = 61;
/// Of the attributes.
const HAS_HORIZON: u8 = 0x40;
const CODEC: u8 = 7;

/// The batches of a log, each with its bytes.
fn batches(log: &[u8]) -> Vec<&[u8]> {
    let mut rest = log;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (batch, after) = rest.split_at(size);
        batches.push(batch);
        rest = after;
    }
    batches
}

fn base_timestamp(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[BASE_TIMESTAMP..][..8].try_into().unwrap())
}

/// A header without the fields that depend on the codec's output and on the time of the round.
fn masked(batch: &[u8]) -> Vec<u8> {
    let mut header = batch[..HEADER_SIZE].to_vec();
    header[8..12].fill(0);
    header[CHECKSUM..CHECKSUM + 4].fill(0);
    if header[ATTRIBUTES + 1] & HAS_HORIZON != 0 {
        header[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].fill(0);
    }
    header
}

/// Compares the segments of two folders. Panics at a difference that no field of [`Comparison`] counts.
pub(crate) fn compare_folders(kafka: Kafka, ours: &Path, theirs: &Path) -> Comparison {
    let names = |folder: &Path| {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
        names.sort();
        names
    };
    assert_eq!(names(ours), names(theirs), "{ours:?}");
    let mut comparison = Comparison::default();
    for name in names(ours) {
        let read = |folder: &Path| fs::read(folder.join(&name)).unwrap();
        let (our_log, their_log) = (read(ours), read(theirs));
        compare(kafka, &our_log, &their_log, &format!("{ours:?} {name}"), &mut comparison);
        let modified = |folder: &Path| folder.join(&name).metadata().unwrap().modified().unwrap();
        let shift = modified(ours).duration_since(modified(theirs)).unwrap_or_else(|error| error.duration());
        assert!(shift.as_millis() <= 1, "{ours:?} {name} is {shift:?} from the time of the other");
        for suffix in ["index", "timeindex", "txnindex"] {
            // 2.8 adds entries for what it has written at once, and not for each batch.
            let is_comparable = suffix == "txnindex" || our_log == their_log && kafka != Kafka::K2;
            let read = |folder: &Path| fs::read(folder.join(&name).with_extension(suffix)).unwrap_or_default();
            if is_comparable {
                assert_eq!(read(ours), read(theirs), "{suffix} of {ours:?} {name}");
            }
        }
    }
    comparison
}

fn compare(kafka: Kafka, ours: &[u8], theirs: &[u8], what: &str, comparison: &mut Comparison) {
    let (mut ours, theirs) = (batches(ours), batches(theirs));
    let bases = |batches: &[&[u8]]| -> Vec<(u64, u32)> {
        let base = |batch: &&[u8]| u64::from_be_bytes(batch[..8].try_into().unwrap());
        let count = |batch: &&[u8]| u32::from_be_bytes(batch[57..61].try_into().unwrap());
        batches.iter().map(|batch| (base(batch), count(batch))).collect()
    };
    if ours.len() == theirs.len() + 1 && bases(&ours).last().unwrap().1 == 0 {
        ours.pop();
        comparison.kept_end += 1;
    }
    assert_eq!(bases(&ours), bases(&theirs), "base offsets and records of {what}");
    for (ours, theirs) in ours.into_iter().zip(theirs) {
        let [our_attributes, their_attributes] = [ours, theirs].map(|batch| batch[ATTRIBUTES + 1]);
        if ours == theirs {
            comparison.equal += 1;
            continue;
        }
        let (mut our_header, mut their_header) = (masked(ours), masked(theirs));
        if (our_attributes ^ their_attributes) & HAS_HORIZON != 0 {
            assert_eq!(kafka, Kafka::K2, "{what}: {our_header:?} {their_header:?}");
            for header in [&mut our_header, &mut their_header] {
                header[ATTRIBUTES + 1] &= !HAS_HORIZON;
                header[BASE_TIMESTAMP..BASE_TIMESTAMP + 8].fill(0);
            }
            comparison.one_horizon += 1;
        } else if our_attributes & HAS_HORIZON != 0 && base_timestamp(ours) != base_timestamp(theirs) {
            assert!((base_timestamp(ours) - base_timestamp(theirs)).abs() < 60_000, "{what}");
            comparison.other_horizon += 1;
        } else {
            assert_ne!(our_attributes & CODEC, 0, "{what}: {our_header:?} {their_header:?}");
            comparison.recompressed += 1;
        }
        assert_eq!(our_header, their_header, "{what}");
    }
}
