//! Rounds of the log cleaner of a Kafka 4.3.1 broker, and that the model makes the files that it made.
//!
//! Of compressed batches the fields and records are compared: compressors differ. See `tests/data/compaction/ORIGIN.md`.
#![allow(clippy::disallowed_methods, reason = "a test reads its data directly")]

use super::bytes::{batches, indexes};
use super::cleaner_model::{
    GroupEnd, ModelConfig, ModelSegment, clean, newest_values, replaced, same_log, unchanged_are_verbatim,
};
use std::fs;
use std::path::{Path, PathBuf};

/// A round. The broker's clock and its settings are not in the files: where the result has a delete horizon, the time is
/// that less `delete.retention.ms`.
pub(crate) struct Round {
    pub(crate) before: &'static str,
    pub(crate) after: &'static str,
    pub(crate) now_ms: i64,
    /// The row of the partition in `cleaner-offset-checkpoint` before the round.
    pub(crate) first_dirty: i64,
    /// The same row after it. All but the active segment were cleanable, so this is where that begins.
    pub(crate) checkpoint: i64,
    pub(crate) delete_retention_ms: i64,
    pub(crate) index_interval_bytes: u64,
}

pub(crate) const SEGMENT_BYTES: u64 = 1_048_576;
pub(crate) const SEGMENT_INDEX_BYTES: u64 = 10_485_760;

pub(crate) const ROUNDS: &[Round] = &[
    Round {
        before: "round-1.before",
        after: "round-1.after",
        now_ms: 1_795_635_273_801,
        first_dirty: 0,
        checkpoint: 57,
        delete_retention_ms: 20_000,
        index_interval_bytes: 200,
    },
    Round {
        before: "round-2.before",
        after: "round-2.after",
        now_ms: 1_795_635_595_304,
        first_dirty: 57,
        checkpoint: 65,
        delete_retention_ms: 20_000,
        index_interval_bytes: 200,
    },
    // The horizons of the second round were reached, and none was set: any later time gives the same.
    Round {
        before: "round-3.before",
        after: "round-3.after",
        now_ms: 1_795_635_615_304,
        first_dirty: 65,
        checkpoint: 67,
        delete_retention_ms: 20_000,
        index_interval_bytes: 200,
    },
    // Only the sum of time and retention is known.
    Round {
        before: "log-append-time.before",
        after: "log-append-time.after",
        now_ms: 1_795_636_430_998,
        first_dirty: 0,
        checkpoint: 7,
        delete_retention_ms: 20_000,
        index_interval_bytes: 4096,
    },
];

impl Round {
    pub(crate) fn config(&self, group_end_rule: GroupEnd) -> ModelConfig {
        ModelConfig {
            delete_retention_ms: self.delete_retention_ms,
            segment_bytes: SEGMENT_BYTES,
            segment_index_bytes: SEGMENT_INDEX_BYTES,
            index_interval_bytes: self.index_interval_bytes,
            now_ms: self.now_ms,
            first_dirty: self.first_dirty,
            limit: self.checkpoint,
            log_start: 0,
            group_end_rule,
        }
    }
}

pub(crate) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/compaction").join(name)
}

/// The segments in a folder of `tests/data/compaction`. Their modification times are not known, and 0.
pub(crate) fn segments(name: &str) -> Vec<ModelSegment> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder(name)).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "log") {
            let base = path.file_stem().unwrap().to_string_lossy().parse().unwrap();
            let [index, timeindex] =
                ["index", "timeindex"].map(|extension| fs::read(path.with_extension(extension)).unwrap());
            let txnindex = fs::read(path.with_extension("txnindex")).unwrap_or_default();
            found.push(ModelSegment { base, mtime_ms: 0, log: fs::read(&path).unwrap(), index, timeindex, txnindex });
        }
    }
    found.sort_by_key(|segment| segment.base);
    found
}

/// The offsets of an offset index.
fn offsets(index: &[u8]) -> Vec<&[u8]> {
    index.chunks(8).map(|entry| &entry[..4]).collect()
}

#[test]
fn the_model_makes_the_files_that_a_brokers_cleaner_made() {
    for round in ROUNDS {
        let (before, after) = (segments(round.before), segments(round.after));
        let (cleaned, end) = clean(&before, &round.config(GroupEnd::AsBroker));
        assert_eq!(end, round.checkpoint, "{}", round.after);
        let result = replaced(&before, &cleaned);
        assert_eq!(result.len(), after.len(), "{}", round.after);
        for (ours, theirs) in result.iter().zip(&after) {
            let name = format!("segment {} of {}", theirs.base, round.after);
            assert_eq!(ours.base, theirs.base, "{name}");
            same_log(&ours.log, &theirs.log).unwrap_or_else(|difference| panic!("{name}: {difference}"));
            assert!(ours.txnindex == theirs.txnindex, "transaction index of {name}");
            // The broker was running: its active segment had no last entry yet.
            if theirs.base < round.checkpoint {
                let (index, timeindex) = indexes(theirs.base, &batches(&theirs.log), round.index_interval_bytes);
                assert!(
                    index == theirs.index && timeindex == theirs.timeindex,
                    "indexes of the broker's log of {name}"
                );
                assert!(ours.timeindex == theirs.timeindex, "time index of {name}");
                assert_eq!(offsets(&ours.index), offsets(&theirs.index), "offset index of {name}");
                assert!(ours.log != theirs.log || ours.index == theirs.index, "positions in {name}");
            }
            unchanged_are_verbatim(&before, &theirs.log).unwrap();
        }
        let is_exact = result.iter().zip(&after).all(|(ours, theirs)| ours.log == theirs.log);
        assert!(is_exact || round.after < "round-3", "nothing compressed was rewritten in {}", round.after);
    }
}

#[test]
fn a_round_of_a_broker_keeps_the_newest_values() {
    for round in ROUNDS {
        let (before, after) = (segments(round.before), segments(round.after));
        let newest = newest_values(&before, i64::MAX);
        assert!(!newest.is_empty());
        assert_eq!(newest_values(&after, i64::MAX), newest, "{}", round.after);
    }
}

#[test]
fn every_group_can_keep_its_last_batch() {
    for round in ROUNDS {
        let before = segments(round.before);
        // Each segment is a group.
        let config = ModelConfig { segment_bytes: 1, ..round.config(GroupEnd::EachGroup) };
        let (cleaned, _) = clean(&before, &config);
        assert_eq!(cleaned.len() + 1, before.len(), "{}", round.before);
        for (old, new) in before.iter().zip(&cleaned) {
            let last = |log: &[u8]| batches(log).last().map(|batch| batch.fields.last);
            assert_eq!(last(&old.log), last(&new.files.log), "segment {} of {}", old.base, round.before);
        }
    }
}
