//! The model on random logs: what must be the same before and after a round, whatever the model thinks of it.

use super::bytes::{Aborted, Batch, CONTROL, HORIZON, LOG_APPEND_TIME, TRANSACTIONAL, batches};
use super::cleaner_model::{
    Cleaned, GroupEnd, Kind, ModelConfig, ModelSegment, clean, live_records, newest_values, producer_states, replaced,
    same_log, unchanged_are_verbatim,
};
use super::random_log::{Random, RandomLog, random_log, write_to_disk, write_to_folder};
use crate::support::{disk_with_partition, folder};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::storage::check::{Acknowledgement, Finding, Gaps, Subject, Verification};
use kdir::storage::{Checkpoints, LogConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::SystemTime;

const SEEDS: u64 = 1500;

/// A round with everything that a test of it needs.
struct Tried {
    seed: u64,
    log: RandomLog,
    config: ModelConfig,
    cleaned: Vec<Cleaned>,
    after: Vec<ModelSegment>,
}

/// One round each on the logs of these seeds that can be cleaned.
fn tried(seeds: std::ops::Range<u64>) -> impl Iterator<Item = Tried> {
    seeds.filter_map(|seed| {
        let log = random_log(seed);
        let config = log.config(&mut Random::new(!seed))?;
        let (cleaned, end) = clean(&log.segments, &config);
        assert_eq!(end, config.limit, "seed {seed}");
        let after = replaced(&log.segments, &cleaned);
        Some(Tried { seed, log, config, cleaned, after })
    })
}

fn all_batches(segments: &[ModelSegment]) -> Vec<Batch> {
    segments.iter().flat_map(|it| batches(&it.log)).collect()
}

#[test]
fn a_round_keeps_the_newest_value_of_each_key() {
    let (mut count, mut lost) = (0, 0);
    for Tried { seed, log, config, after, .. } in tried(0..SEEDS) {
        let newest = newest_values(&log.segments, config.limit);
        assert_eq!(newest_values(&after, config.limit), newest, "seed {seed}");
        let (before, after) = (live_records(&log.segments), live_records(&after));
        let after: BTreeMap<i64, _> = after.iter().map(|it| (it.record.offset, it)).collect();
        // Whatever is kept is unaltered, and all of it is above the limit.
        let kept: Vec<_> = before.iter().filter(|it| after.contains_key(&it.record.offset)).collect();
        assert_eq!(kept.len(), after.len(), "seed {seed}");
        assert!(kept.iter().all(|it| after[&it.record.offset] == *it), "seed {seed}");
        assert!(before.iter().all(|it| it.record.offset < config.limit || after.contains_key(&it.record.offset)));
        // One record of a key is left, and no record of an aborted transaction or without a key.
        let mut keys = BTreeSet::new();
        for it in kept.iter().filter(|it| it.record.offset < config.limit && it.kind != Kind::Control) {
            assert_eq!(it.kind, Kind::Data, "seed {seed}");
            let key = it.record.key.as_ref().unwrap_or_else(|| panic!("seed {seed} at {}", it.record.offset));
            assert!(keys.insert(key), "seed {seed} at {}", it.record.offset);
        }
        (count, lost) = (count + 1, lost + before.len() - after.len());
    }
    assert!(count > SEEDS / 2 && lost as u64 > count * 5, "{count} rounds, {lost} records");
}

#[test]
fn rounds_one_after_another_keep_the_newest_value_of_each_key() {
    for seed in 0..SEEDS / 3 {
        let (mut log, mut random) = (random_log(seed), Random::new(!seed));
        let newest = newest_values(&log.segments, log.last_stable);
        while let Some(config) = log.config(&mut random) {
            let (cleaned, end) = clean(&log.segments, &config);
            (log.segments, log.first_dirty) = (replaced(&log.segments, &cleaned), end);
            log.now_ms += random.of(&[1, 25_000, 90_000_000]);
            assert_eq!(newest_values(&log.segments, log.last_stable), newest, "seed {seed} at {end}");
        }
    }
}

/// The transactions that the indexes name are those that the markers end, as far as there is a record of them.
#[test]
fn the_transaction_indexes_name_the_aborted_records() {
    let check = |seed: u64, segments: &[ModelSegment], what: &str| {
        let aborted: Vec<Aborted> = segments.iter().flat_map(|it| Aborted::all(&it.txnindex)).collect();
        let live = live_records(segments).into_iter();
        let kinds: BTreeMap<i64, Kind> = live.map(|it| (it.record.offset, it.kind)).collect();
        for batch in all_batches(segments) {
            let fields = &batch.fields;
            let is_in =
                |it: &Aborted| it.producer_id == fields.producer_id && (it.first..=it.last).contains(&fields.last);
            let is_named = fields.has(TRANSACTIONAL) && !fields.has(CONTROL) && aborted.iter().any(is_in);
            for record in &batch.records {
                let is_aborted = kinds[&record.offset] == Kind::Aborted;
                assert_eq!(is_aborted, is_named, "seed {seed}, {what} the round, {}", record.offset);
            }
        }
    };
    for Tried { seed, log, after, .. } in tried(0..SEEDS) {
        check(seed, &log.segments, "before");
        check(seed, &after, "after");
    }
}

#[test]
fn a_round_keeps_the_state_of_producers_that_are_not_expired() {
    let (mut known, mut expired) = (0, 0);
    for Tried { seed, log, config, after, .. } in tried(0..SEEDS) {
        let before = producer_states(&log.segments, config.now_ms);
        let after = producer_states(&after, config.now_ms);
        for (id, state) in &before {
            assert_eq!(after.get(id), Some(state), "seed {seed}, producer {id}");
        }
        (known, expired) = (known + before.len(), expired + producer_states(&log.segments, 0).len() - before.len());
    }
    assert!(known as u64 > SEEDS / 2 && expired as u64 > SEEDS / 5, "{known} known, {expired} expired");
}

#[test]
fn where_each_group_keeps_its_end_it_does() {
    for Tried { seed, log, config, cleaned, .. } in tried(0..SEEDS) {
        if config.group_end_rule == GroupEnd::AsBroker {
            continue;
        }
        for group in cleaned {
            let olds = log.segments.iter().filter(|it| group.olds.contains(&it.base));
            let last = olds.flat_map(|it| batches(&it.log)).last().map(|it| it.fields.last);
            let last_after = batches(&group.files.log).last().map(|it| it.fields.last);
            assert_eq!(last_after, last, "seed {seed}, group {}", group.base);
        }
    }
}

#[test]
fn the_batch_before_the_limit_is_kept() {
    for Tried { seed, log, config, after, .. } in tried(0..SEEDS) {
        let is_last = |it: &&Batch| it.fields.next() == config.limit;
        let Some(last) = all_batches(&log.segments).iter().find(is_last).cloned() else { continue };
        let after = all_batches(&after);
        // What is left of an old message has the offsets of its records.
        let is_kept = |it: &Batch| it.fields.last == last.fields.last;
        let is_rewritten = |it: &Batch| it.magic != last.magic && it.fields.last >= last.fields.base;
        assert!(after.iter().any(|it| is_kept(it) || is_rewritten(it)), "seed {seed}");
    }
}

#[test]
fn a_group_has_the_name_of_its_first_segment_and_the_time_of_its_last() {
    for Tried { seed, log, config, cleaned, .. } in tried(0..SEEDS) {
        let olds: Vec<i64> = cleaned.iter().flat_map(|it| it.olds.clone()).collect();
        let below = log.segments.iter().map(|it| it.base).filter(|&base| base < config.limit);
        assert_eq!(olds, below.collect::<Vec<_>>(), "seed {seed}");
        for it in cleaned {
            let last = log.segments.iter().find(|old| Some(&old.base) == it.olds.last()).unwrap();
            assert_eq!((it.base, it.files.base, it.files.mtime_ms), (it.olds[0], it.olds[0], last.mtime_ms));
        }
    }
}

#[test]
fn what_is_unchanged_has_its_bytes_and_a_log_is_the_same_as_itself() {
    let mut whole = 0;
    for Tried { seed, log, cleaned, after, .. } in tried(0..SEEDS) {
        for it in &after {
            unchanged_are_verbatim(&log.segments, &it.log).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
            same_log(&it.log, &it.log).unwrap();
        }
        for group in cleaned {
            let olds = log.segments.iter().filter(|it| group.olds.contains(&it.base));
            let old: Vec<u8> = olds.flat_map(|it| it.log.clone()).collect();
            assert_eq!(same_log(&old, &group.files.log).is_err(), group.changed, "seed {seed}");
            whole += u64::from(!group.changed);
        }
    }
    assert!(whole > SEEDS / 50, "{whole} groups were kept as they are");
}

fn findings(disk: &FaultyDisk) -> Vec<Finding> {
    let subject = Subject {
        root: disk.open_folder(Path::new("/")).unwrap(),
        folder_name: "t-0".into(),
        checkpoints: Checkpoints::default(),
        decompressed_size_max: LogConfig::default().decompressed_size_max(),
        gaps: Gaps::Legal,
        acknowledgement: Acknowledgement::AfterSync,
    };
    let begun = Verification::begin(vec![subject], || {}).unwrap();
    begun.run(1, &|_| {}).unwrap().into_iter().flat_map(|it| it.findings).collect()
}

#[test]
fn random_logs_are_sound_before_and_after_a_round() {
    for Tried { seed, log, after, .. } in tried(0..SEEDS / 5) {
        for segments in [&log.segments, &after] {
            let disk = FaultyDisk::new();
            disk.create_folder(&folder()).unwrap();
            write_to_disk(&disk, &folder(), segments);
            let found = findings(&disk);
            assert!(found.is_empty(), "seed {seed}: {found:?}");
        }
    }
    assert_eq!(findings(&disk_with_partition()), []);
}

#[test]
fn a_random_log_can_be_written_to_a_real_folder() {
    let (log, folder) = (random_log(1), tempfile::tempdir().unwrap());
    write_to_folder(folder.path(), &log.segments);
    for segment in &log.segments {
        let metadata = folder.path().join(format!("{:020}.log", segment.base)).metadata().unwrap();
        let modified = metadata.modified().unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!((metadata.len(), modified.as_millis()), (segment.log.len() as u64, segment.mtime_ms as u128));
    }
}

/// Every kind of batch is in enough of the logs, and everything that a cleaner can do is done in enough of the rounds.
#[test]
fn random_logs_have_everything() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut size_max = 0;
    for Tried { log, config, cleaned, after, .. } in tried(0..SEEDS) {
        let mut note = |what, is_so: bool| *seen.entry(what).or_default() += u64::from(is_so);
        let (before, after) = (all_batches(&log.segments), all_batches(&after));
        let find = |base: i64| after.iter().find(|it| it.fields.last == base);
        note("dirty from the start", config.first_dirty == log.segments[0].base);
        note("cleaned before", config.first_dirty > log.segments[0].base);
        note("open transactions", log.last_stable < log.log_end);
        note("merged segments", cleaned.iter().any(|it| it.olds.len() > 1));
        note("many groups", cleaned.len() > 2);
        note("groups of which nothing is left", cleaned.iter().any(|it| it.files.log.is_empty()));
        note("kept transaction index entries", cleaned.iter().any(|it| !it.files.txnindex.is_empty()));
        for codec in 0..5 {
            let names = ["none", "gzip", "snappy", "lz4", "zstd"];
            note(names[codec as usize], before.iter().any(|it| it.fields.attributes & 7 == codec));
        }
        for batch in before.iter().filter(|it| it.fields.next() <= config.limit) {
            let (fields, new) = (&batch.fields, find(batch.fields.last));
            note("v0", batch.magic == 0);
            note("v1", batch.magic == 1);
            note("idempotent", fields.producer_id >= 0 && !fields.has(TRANSACTIONAL));
            note("transactional", fields.has(TRANSACTIONAL) && !fields.has(CONTROL));
            note("log append time", fields.has(LOG_APPEND_TIME));
            note("horizon", fields.has(HORIZON));
            note("empty", batch.records.is_empty());
            note("headers", batch.records.iter().any(|it| !it.headers.is_empty()));
            note("keyless", batch.records.iter().any(|it| it.key.is_none()));
            let Some(new) = new else {
                note("dropped", true);
                note("dropped marker", fields.has(CONTROL) && !batch.records.is_empty());
                continue;
            };
            note("old message made v2", batch.magic < 2 && new.magic == 2);
            note("kept wrapper", batch.magic < 2 && batch.fields.attributes & 7 != 0 && batch.raw == new.raw);
            note("new horizon", !fields.has(HORIZON) && new.fields.has(HORIZON));
            note("new horizon of a marker", fields.has(CONTROL) && !fields.has(HORIZON) && new.fields.has(HORIZON));
            note(
                "kept horizon of a rewritten batch",
                fields.has(HORIZON) && new.fields.has(HORIZON) && batch.raw != new.raw,
            );
            note("emptied", !batch.records.is_empty() && new.records.is_empty());
            note("emptied marker", fields.has(CONTROL) && !batch.records.is_empty() && new.records.is_empty());
            note("emptied old message", batch.magic < 2 && new.records.is_empty());
            note("log append time rewritten", fields.has(LOG_APPEND_TIME) && batch.raw != new.raw);
            note("compressed and rewritten", fields.attributes & 7 != 0 && batch.raw != new.raw);
            note("compressed and kept", fields.attributes & 7 != 0 && batch.raw == new.raw);
        }
        size_max = size_max.max(log.segments.iter().map(|it| it.log.len()).sum());
    }
    let rare: Vec<_> = seen.iter().filter(|(_, count)| **count < 10).collect();
    assert!(rare.is_empty(), "{rare:?} of {seen:?}");
    assert!((5_000..60_000).contains(&size_max), "{size_max} bytes");
}
