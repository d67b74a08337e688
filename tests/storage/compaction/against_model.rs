//! Compaction held against the model, and against what a broker's cleaner wrote.

use super::bytes::indexes;
use super::cleaner_model::{Cleaned, GroupEnd, ModelConfig, ModelSegment, clean, replaced, same_log};
use super::golden::{ROUNDS, segments};
use super::random_log::{Random, random_log, write_to_disk};
use crate::support::{NOW, disk_with_log_dir, folder, guard, open_log_dir, topic_config};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::NewTopic;
use kdir::storage::clean::{ActiveSegment, Cleanable, Compaction, Means, Watch};
use kdir::storage::file_name::{FileKind, segment_path};
use kdir::storage::{Checkpoints, Durability, LogConfig, LogView, LogWriter, Result};
use kdir::units::{Offset, Timestamp};
use std::path::Path;

const SEEDS: u64 = 2000;

fn log_config(config: &ModelConfig) -> LogConfig {
    LogConfig {
        segment_bytes: config.segment_bytes,
        segment_index_bytes: config.segment_index_bytes,
        index_interval_bytes: config.index_interval_bytes,
        delete_retention_ms: config.delete_retention_ms,
        ..LogConfig::default()
    }
}

/// Compacts the partition on a disk up to the limit of `config`. Returns where the next round begins.
fn compact(disk: &FaultyDisk, config: &ModelConfig, memory: u64) -> Result<Option<i64>> {
    let (rules, now) = (log_config(config), Timestamp(config.now_ms));
    let folder = disk.open_folder(&folder())?;
    let checkpoints = Checkpoints::of_files(Offset::ZERO, Offset(config.log_start));
    let view = LogView::of(folder.clone(), checkpoints)?;
    let is_rolled = view.bases().last().is_some_and(|&active| Offset(config.limit) > active);
    let active = if is_rolled { ActiveSegment::IsRolled } else { ActiveSegment::Stays };
    let row = Some(Offset(config.first_dirty));
    let Some(cleanable) = Cleanable::find(&view, row, (Offset(config.limit), active), &rules, now)? else {
        return Ok(None);
    };
    let mut means = Means { memory, open_scratch: &mut || disk.scratch(), min_gain_percent: 0 };
    let mut watch = Watch { is_stopped: &|| false, on_bytes: &mut |_| {} };
    let Some(compaction) = Compaction::plan(&view, cleanable, &rules, now, &mut means, &mut watch)? else {
        return Ok(None);
    };
    for group in compaction.groups.iter().filter(|group| group.is_written) {
        let begun = compaction.begin(group, &guard(disk, rules.clone(), checkpoints)?)?;
        let ready = compaction.write(group, &*folder, begun, &mut watch)?;
        assert!(compaction.put_in_place(group, &guard(disk, rules.clone(), checkpoints)?, ready)?.is_some());
    }
    Ok(Some(compaction.end().0))
}

fn disk_with(segments: &[ModelSegment]) -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(&folder()).unwrap();
    write_to_disk(&disk, &folder(), segments);
    disk
}

/// The segments that are there now.
fn on_disk(disk: &FaultyDisk) -> Vec<ModelSegment> {
    on_disk_at(disk, &folder())
}

/// The same of the folder at a path.
pub(crate) fn on_disk_at(disk: &FaultyDisk, folder: &Path) -> Vec<ModelSegment> {
    let folder_entries = disk.list(folder).unwrap();
    let read = |base: i64, kind| {
        let path = segment_path(folder, Offset(base), kind);
        let bytes = kdir::disk::atomic::read_small_at(disk, &path, usize::MAX).unwrap().unwrap_or_default();
        (bytes, disk.stat(&path).unwrap().map_or(0, |stat| stat.modified_ms))
    };
    let bases = folder_entries.iter().filter_map(|entry| entry.name.strip_suffix(".log")?.parse().ok());
    let mut found: Vec<ModelSegment> = bases
        .map(|base| {
            let (log, mtime_ms) = read(base, FileKind::Log);
            let [(index, _), (timeindex, _), (txnindex, _)] =
                [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex].map(|kind| read(base, kind));
            ModelSegment { base, mtime_ms, log, index, timeindex, txnindex }
        })
        .collect();
    found.sort_by_key(|segment| segment.base);
    found
}

fn with_records(log: &[u8]) -> Vec<Vec<u8>> {
    super::bytes::batches(log).into_iter().filter(|it| !it.records.is_empty()).map(|it| it.raw).collect()
}

/// What is on the disk after a round, against what the model makes of it.
fn compare(name: &str, before: &[ModelSegment], cleaned: &[Cleaned], after: &[ModelSegment], config: &ModelConfig) {
    let expected = replaced(before, cleaned);
    let bases = |segments: &[ModelSegment]| segments.iter().map(|it| it.base).collect::<Vec<_>>();
    assert_eq!(bases(after), bases(&expected), "{name}");
    for (ours, model) in after.iter().zip(&expected) {
        let name = format!("{name}, segment {}", model.base);
        let group = cleaned.iter().find(|it| it.base == model.base);
        // One of which nothing goes, or batches without records only, is left as it is.
        let old = before.iter().find(|it| it.base == model.base).unwrap();
        let is_left =
            group.is_none_or(|it| it.olds.len() == 1 && with_records(&it.files.log) == with_records(&old.log));
        if is_left {
            assert!(ours == old, "{name} is not left as it is");
            continue;
        }
        same_log(&ours.log, &model.log).unwrap_or_else(|difference| panic!("{name}: {difference}"));
        assert_eq!((ours.mtime_ms, &ours.txnindex), (model.mtime_ms, &model.txnindex), "{name}");
        let (index, timeindex) = indexes(ours.base, &super::bytes::batches(&ours.log), config.index_interval_bytes);
        assert!(ours.index == index && ours.timeindex == timeindex, "{name}: indexes");
        assert!(ours.log != model.log || (&ours.index, &ours.timeindex) == (&model.index, &model.timeindex), "{name}");
    }
}

#[test]
fn a_round_is_the_models_on_random_logs() {
    let mut rounds = 0;
    for seed in 0..SEEDS {
        let log = random_log(seed);
        let Some(mut config) = log.config(&mut Random::new(!seed)) else { continue };
        config.group_end_rule = GroupEnd::EachGroup;
        let disk = disk_with(&log.segments);
        let memory = if seed % 3 == 0 { 0 } else { 32 << 20 };
        let end = compact(&disk, &config, memory).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let (cleaned, model_end) = clean(&log.segments, &config);
        assert_eq!(end, Some(model_end), "seed {seed}");
        compare(&format!("seed {seed}"), &log.segments, &cleaned, &on_disk(&disk), &config);
        rounds += 1;
    }
    assert!(rounds > SEEDS / 2, "{rounds}");
}

/// Three segments of more than one piece that is read at a time, with a batch that is larger than that.
fn large_segments() -> Vec<ModelSegment> {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    let settings = [("cleanup.policy", "compact"), ("segment.bytes", "1200000")];
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: topic_config(&settings) };
    log_dir.create_topic(&new).unwrap();
    let partition = super::faults::partition(&disk).unwrap();
    let guard = partition.guard().unwrap();
    let mut writer = LogWriter::open(&guard, Durability::Unsynced, NOW).unwrap();
    for batch in 0..200 {
        let mut builder = BatchBuilder::new(0);
        for record in 0..if batch == 30 { 5000 } else { 100 } {
            let key = format!("k{}", (batch * 37 + record * 11) % 9000);
            let value = format!("{batch} {record} {}", "x".repeat(100));
            let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
            builder.push(&NewRecord { timestamp: NOW, key, value, headers: &[] });
        }
        writer.append(&guard, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
    }
    writer.close(&guard, NOW).unwrap();
    on_disk_at(&disk, &super::faults::folder())
}

#[test]
fn a_round_is_the_models_where_segments_are_read_ahead() {
    let before = large_segments();
    assert!(before.len() > 2 && before[0].log.len() > 1 << 20, "{}", before.len());
    let config = ModelConfig {
        delete_retention_ms: 1000,
        segment_bytes: 3 << 20,
        segment_index_bytes: 10 << 20,
        index_interval_bytes: 4096,
        now_ms: NOW.0,
        first_dirty: 0,
        limit: before.last().unwrap().base,
        log_start: 0,
        group_end_rule: GroupEnd::EachGroup,
    };
    let disk = disk_with(&before);
    let end = compact(&disk, &config, 1 << 20).unwrap();
    let (cleaned, model_end) = clean(&before, &config);
    assert_eq!(end, Some(model_end));
    compare("large segments", &before, &cleaned, &on_disk(&disk), &config);

    // Damage behind the first piece ends it, and changes nothing.
    let mut damaged = before;
    let at = damaged[1].log.len() * 3 / 4;
    damaged[1].log[at] ^= 1;
    let disk = disk_with(&damaged);
    let error = compact(&disk, &config, 1 << 20).unwrap_err().to_string();
    assert!(error.contains("checksum") && error.contains(&format!("{:020}.log", damaged[1].base)), "{error}");
    assert_eq!(on_disk(&disk), damaged);
}

#[test]
fn a_round_is_the_brokers() {
    for round in ROUNDS {
        let before = segments(round.before);
        let config = round.config(GroupEnd::AsBroker);
        let disk = disk_with(&before);
        assert_eq!(compact(&disk, &config, 32 << 20).unwrap(), Some(round.checkpoint), "{}", round.after);
        let (ours, theirs) = (on_disk(&disk), segments(round.after));
        assert_eq!(ours.len(), theirs.len(), "{}", round.after);
        for (ours, theirs) in ours.iter().zip(&theirs).filter(|(_, theirs)| theirs.base < round.checkpoint) {
            let name = format!("segment {} of {}", theirs.base, round.after);
            same_log(&ours.log, &theirs.log).unwrap_or_else(|difference| panic!("{name}: {difference}"));
            assert!((&ours.txnindex, &ours.timeindex) == (&theirs.txnindex, &theirs.timeindex), "{name}");
            assert!(ours.log != theirs.log || ours.index == theirs.index, "{name}");
        }
        let is_exact = ours.iter().zip(&theirs).all(|(ours, theirs)| ours.log == theirs.log);
        assert!(is_exact || round.after < "round-3", "nothing compressed is written anew in {}", round.after);
    }
}

#[test]
fn a_folder_is_as_it_was_but_for_the_segments() {
    let (log, config) = (0..)
        .find_map(|seed| {
            let log = random_log(seed);
            let config = log.config(&mut Random::new(!seed))?;
            Some((log, config))
        })
        .unwrap();
    let disk = disk_with(&log.segments);
    compact(&disk, &config, 1 << 20).unwrap();
    for entry in disk.list(Path::new(&folder())).unwrap() {
        let is_of_a_segment = kdir::storage::file_name::parse_segment_name(&entry.name).is_some();
        assert!(is_of_a_segment, "{} is left", entry.name);
    }
}
