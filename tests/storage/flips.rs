//! One flipped bit at a time, in every file of a partition.
//!
//! Reading never gives altered data; verification finds every flip in a `.log`; a flip in an index changes no answer.

use super::support::{
    NOW, Writer, bytes_of, disk_with_partition, open_at, overwrite, path, read_on, reader_at, verify, view, view_at,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, compressor, stamp};
use kdir::format::record::NewRecord;
use kdir::storage::check::Problem;
use kdir::storage::file_name::FileKind;
use kdir::storage::{Checkpoints, LogConfig, StorageError};
use kdir::units::Offset;
use std::path::PathBuf;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn append(writer: &mut Writer, number: i64, codec: &str) {
    writer.append(&mut [built(number, codec).finished()], NOW).unwrap();
}

/// A batch of three records.
fn built(number: i64, codec: &str) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0);
    for record in 0..3 {
        let value = format!("value {number}.{record} {}", "abc".repeat(8));
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None)];
        builder.push(&NewRecord { timestamp: NOW + number, key: Some(b"k"), value: Some(value.as_bytes()), headers });
    }
    let mut compressor = compressor(codec.parse().unwrap());
    builder.finish(compressor.as_mut(), usize::MAX).unwrap();
    builder
}

/// Segments with batches of every codec, the last one open; offsets from 0 to 89.
fn log_of_every_codec() -> FaultyDisk {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 1500, index_interval_bytes: 300, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    for number in 0..30 {
        append(&mut writer, number, CODECS[number as usize % CODECS.len()]);
    }
    writer.close(NOW).unwrap();
    disk
}

fn files(disk: &FaultyDisk, kind: FileKind) -> Vec<(PathBuf, Vec<u8>)> {
    let view = view(disk);
    assert!(view.bases().len() > 2);
    view.bases().iter().map(|base| (path(base.0, kind), bytes_of(disk, &path(base.0, kind)))).collect()
}

/// Calls `check` once for each bit, with the file flipped there.
fn each_flip(disk: &FaultyDisk, kind: FileKind, mut check: impl FnMut(&str)) {
    for (path, mut bytes) in files(disk, kind) {
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            overwrite(disk, &path, &bytes);
            check(&format!("{}, bit {} of byte {}", path.display(), bit % 8, bit / 8));
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        overwrite(disk, &path, &bytes);
    }
}

#[test]
fn a_flipped_bit_in_a_log_is_found_by_a_check_and_never_shown() {
    let disk = log_of_every_codec();
    let durable = Checkpoints::of_files(Offset(90), Offset::ZERO);
    let whole = read_on(reader_at(&disk, durable)).unwrap();
    assert_eq!((whole.len(), verify(&disk, durable)), (90, vec![]));
    each_flip(&disk, FileKind::Log, |what| {
        assert!(!verify(&disk, durable).is_empty(), "{what}: not found");
        // A reader stops at the damage, or shows a record at another offset if the base offset was hit, which is not under
        // the checksum: never another record.
        let mut log = reader_at(&disk, durable);
        log.seek(Offset(0));
        let read = read_until_damage(log);
        assert!(read.len() <= whole.len(), "{what}");
        for (at, (offset, value)) in read.iter().enumerate() {
            assert_eq!(*value, whole[at].1, "{what}: offset {offset}");
        }
    });
}

fn read_until_damage(log: kdir::storage::LogReader) -> Vec<(i64, String)> {
    let mut records = kdir::storage::RecordReader::new(log);
    let mut read = Vec::new();
    loop {
        match records.advance() {
            Ok(kdir::storage::Advance::Record) => {
                let value = records.record().value.unwrap_or_default().to_vec();
                read.push((records.offset().0, String::from_utf8(value).unwrap()));
            }
            Ok(_) | Err(StorageError::Corrupt { .. } | StorageError::Unsupported { .. }) => return read,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_flipped_bit_in_an_index_changes_no_answer() {
    let disk = log_of_every_codec();
    let durable = Checkpoints::of_files(Offset(90), Offset::ZERO);
    let answers = |what: &str| {
        let from = |offset: i64| {
            let mut log = reader_at(&disk, durable);
            log.seek(Offset(offset));
            read_on(log).unwrap_or_else(|error| panic!("{what}: {error}"))[0].clone()
        };
        let at = |time: i64| view_at(&disk, durable).offset_for_time(NOW + time).unwrap();
        let mut found: Vec<_> = (0..90).step_by(7).map(|offset| from(offset).0).collect();
        found.extend((0..31).map(|time| at(time).map_or(-1, |(offset, _)| offset.0)));
        found.push(view_at(&disk, durable).log_end_offset().unwrap().0);
        found
    };
    let right = answers("before");
    for kind in [FileKind::OffsetIndex, FileKind::TimeIndex] {
        each_flip(&disk, kind, |what| assert_eq!(answers(what), right, "{what}"));
    }
    assert_eq!(verify(&disk, durable), []);
}

mod small_files {
    use super::super::support::{disk_with_log_dir, open_log_dir, topic_config};
    use super::*;
    use kdir::logdir::{LogDir, LogDirError, NewTopic, TopicFindings};
    use kdir::storage::repair::DamagedRecords;
    use kdir::units::TopicPartition;
    use std::path::Path;

    const FILES: [&str; 5] = [
        "app.json",
        "recovery-point-offset-checkpoint",
        "log-start-offset-checkpoint",
        "app-0/leader-epoch-checkpoint",
        "app-0/partition.metadata",
    ];

    fn log_dir(disk: &FaultyDisk) -> LogDir {
        open_log_dir(disk).unwrap()
    }

    fn partition() -> TopicPartition {
        TopicPartition { topic: "app".parse().unwrap(), partition: 0 }
    }

    fn topic() -> FaultyDisk {
        let disk = disk_with_log_dir();
        let dir = log_dir(&disk);
        let config = topic_config(&[("segment.bytes", "1500")]);
        let new = NewTopic { name: "app".parse().unwrap(), partitions: 1, config };
        dir.create_topic(&new).unwrap();
        let topic = dir.topic(&new.name).unwrap();
        let partition = dir.partition(&topic, 0).unwrap();
        let mut writer =
            dir.open_writer(&partition, &partition.guard().unwrap(), kdir::storage::Durability::Synced, NOW).unwrap();
        for number in 0..20 {
            let mut batch = built(number, CODECS[number as usize % CODECS.len()]);
            writer.append(&partition.guard().unwrap(), &mut [batch.finished()], NOW).unwrap();
        }
        writer.close(&partition.guard().unwrap(), NOW).unwrap();
        dir.delete_records(&partition, Offset(4), NOW).unwrap();
        let row = b"0\n1\napp 0 60\n";
        overwrite(&disk, Path::new("/d/recovery-point-offset-checkpoint"), row);
        disk
    }

    /// Offset and value of what can be read, or `None` where a file is said to be damaged.
    fn read(disk: &FaultyDisk) -> Option<Vec<(i64, String)>> {
        let dir = log_dir(disk);
        let topic = dir.topic(&partition().topic);
        match topic.and_then(|topic| dir.partition(&topic, 0)?.reader(4096)) {
            Ok(log) => Some(read_until_damage(log)),
            Err(LogDirError::DamagedFile { .. } | LogDirError::NewerFile { .. } | LogDirError::Storage(_)) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_flipped_bit_in_a_small_file_never_alters_a_record_and_is_mended() {
        let disk = topic();
        let whole = read(&disk).unwrap();
        assert_eq!((whole.len(), whole[0].0), (56, 4));
        let mut found = 0;
        for file in FILES {
            let path = Path::new("/d").join(file);
            let bytes = bytes_of(&disk, &path);
            for bit in 0..bytes.len() * 8 {
                let disk = disk.kill();
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                overwrite(&disk, &path, &flipped);
                let what = format!("{file}, bit {} of byte {}", bit % 8, bit / 8);
                // Records below the log start can show again, or more be hidden: never another record, at no other place.
                for (offset, value) in read(&disk).unwrap_or_default() {
                    let number = offset / 3;
                    assert!(value.starts_with(&format!("value {number}.{} ", offset % 3)), "{what}: {offset} {value}");
                }
                let dir = log_dir(&disk);
                let findings = |dir: &LogDir| match dir.begin_verification(&[], || {}) {
                    Ok(verification) => {
                        let found = verification.run(1, &|_| {}).unwrap();
                        let inside = found.partitions.into_iter().flat_map(|it| it.checked.findings);
                        Some((found.root, inside.collect::<Vec<_>>()))
                    }
                    Err(LogDirError::NewerFile { .. }) => None,
                    Err(error) => panic!("{what}: {error}"),
                };
                // What may be of a later format is left alone.
                let Some((root, inside)) = findings(&dir) else { continue };
                if root.iter().any(|it| matches!(it.problem, Problem::NewerFile { .. })) {
                    continue;
                }
                found += usize::from(!root.is_empty() || !inside.is_empty());
                let at_the_root = TopicFindings { root, partitions: Vec::new() }.plan_repair(DamagedRecords::GiveUp);
                assert_eq!(dir.apply_repair(&at_the_root[0], 1, &mut Vec::new()).unwrap().left, [], "{what}");
                if dir.topic(&partition().topic).is_ok() {
                    dir.repair_partition(&partition(), DamagedRecords::GiveUp, 1, &mut Vec::new()).unwrap();
                    let (root, mut inside) = findings(&dir).unwrap();
                    inside.retain(|it| !matches!(it.problem, Problem::EndsBelowLogStart { .. }));
                    assert_eq!((root, inside), Default::default(), "{what}");
                }
            }
        }
        assert!(found > 500, "{found}");
    }
}

/// A log of so many batches of one size, its path and its bytes.
fn plain_log(batches: i64) -> (FaultyDisk, PathBuf, Vec<u8>) {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    (0..batches).for_each(|number| append(&mut writer, number, "none"));
    let log = path(0, FileKind::Log);
    let bytes = bytes_of(&disk, &log);
    (disk, log, bytes)
}

#[test]
fn a_base_offset_that_was_flipped_up_hides_no_damage_behind_it() {
    for durable in [Checkpoints::default(), Checkpoints::of_files(Offset(15), Offset::ZERO)] {
        for bit in 3..20 {
            let (disk, log, mut bytes) = plain_log(10);
            let size = bytes.len() / 10;
            bytes[4 * size + 7 - bit / 8] ^= 1 << (bit % 8);
            bytes[5 * size + 70] ^= 1;
            overwrite(&disk, &log, &bytes);
            let read = read_on(reader_at(&disk, durable));
            assert!(matches!(read, Err(StorageError::Corrupt { .. })), "bit {bit}, {durable:?}: {read:?}");
            let opened = open_at(&disk, LogConfig::default(), durable);
            assert!(matches!(opened, Err(StorageError::Corrupt { .. })), "bit {bit}, {durable:?}");
            assert_eq!(bytes_of(&disk, &log), bytes, "bit {bit}, {durable:?}: nothing was cut");
        }
    }
}

#[test]
fn an_acknowledged_batch_behind_a_base_offset_that_was_flipped_up_is_missed() {
    let durable = Checkpoints::of_files(Offset(9), Offset::ZERO);
    let damages: [fn(&mut [u8]); 2] = [|last| last[70] ^= 1, |last| last.fill(0)];
    for damage in damages {
        let (disk, log, mut bytes) = plain_log(3);
        let size = bytes.len() / 3;
        bytes[size + 5] ^= 1;
        damage(&mut bytes[2 * size..]);
        overwrite(&disk, &log, &bytes);
        assert!(matches!(open_at(&disk, LogConfig::default(), durable), Err(StorageError::Corrupt { .. })));
        assert!(matches!(read_on(reader_at(&disk, durable)), Err(StorageError::Corrupt { .. })));
        assert_eq!(bytes_of(&disk, &log), bytes);
    }
}

/// A log with these batches, of which the last is cut short.
fn torn_log(batches: &[Vec<u8>]) -> FaultyDisk {
    let disk = disk_with_partition();
    let bytes = batches.concat();
    overwrite(&disk, &path(0, FileKind::Log), &bytes[..bytes.len() - 5]);
    disk
}

fn at(offset: i64, number: i64) -> Vec<u8> {
    let mut bytes = built(number, "none").finished().to_vec();
    stamp(&mut bytes, Offset(offset), 0);
    bytes
}

/// As the log of a follower, which is sent what the leader's cleaner has left.
#[test]
fn a_torn_append_is_cut_where_batches_before_it_left_gaps() {
    let batches = [at(0, 0), at(40, 1), at(50, 2), at(53, 3), at(90, 4), at(100, 5)];
    for count in 2..=batches.len() {
        let ends = [0, 3, 43, 53, 56, 93];
        let end = ends[count - 1];
        for promise in [0, 3, 43, 53, 56, 93].into_iter().filter(|&promise| promise <= end) {
            let checkpoints = Checkpoints::of_files(Offset(promise), Offset::ZERO);
            let disk = torn_log(&batches[..count]);
            let what = format!("{count} batches, {promise} promised");
            assert_eq!(read_on(reader_at(&disk, checkpoints)).unwrap().len(), 3 * (count - 1), "{what}");
            let mut writer = open_at(&disk, LogConfig::default(), checkpoints).unwrap();
            writer.append(&mut [built(7, "none").finished()], NOW).unwrap();
            assert_eq!(read_on(reader_at(&disk, checkpoints)).unwrap().last().unwrap().0, end + 2, "{what}");
        }
    }
}

#[test]
fn a_torn_append_behind_gaps_whose_value_holds_batches_is_torn() {
    let inner: Vec<u8> = (0..9).flat_map(|number| at(100 + 3 * number, number)).collect();
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, value: Some(&inner), ..NewRecord::default() });
    let mut holder = builder.finish(None, usize::MAX).unwrap().to_vec();
    for offset in [10, 15] {
        stamp(&mut holder, Offset(offset), 0);
        let disk = torn_log(&[at(0, 0), at(4, 1), at(7, 2), holder.clone()]);
        assert_eq!(read_on(reader_at(&disk, Checkpoints::default())).unwrap().len(), 9, "{offset}");
        let problems: Vec<Problem> = verify(&disk, Checkpoints::default()).into_iter().map(|it| it.problem).collect();
        // The gap is told of as well: nothing in the topic explains it.
        assert!(
            matches!(problems[..], [Problem::TornTail { .. }, Problem::MissingOffsets { next_offset: Offset(4) }]),
            "{offset}: {problems:?}"
        );
        drop(open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap());
        assert_eq!(bytes_of(&disk, &path(0, FileKind::Log)), [at(0, 0), at(4, 1), at(7, 2)].concat(), "{offset}");
    }
}

#[test]
fn a_last_batch_that_leaves_out_more_than_any_log_does_is_damaged_to_all() {
    for bit in [40, 62] {
        for has_indexes in [true, false] {
            let disk = disk_with_partition();
            let mut writer = open_at(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
            (0..3).for_each(|number| append(&mut writer, number, "none"));
            writer.close(NOW).unwrap();
            let log = path(0, FileKind::Log);
            let mut bytes = bytes_of(&disk, &log);
            let last = bytes.len() / 3 * 2;
            bytes[last + 7 - bit / 8] ^= 1 << (bit % 8);
            overwrite(&disk, &log, &bytes);
            if !has_indexes {
                let kinds = [FileKind::OffsetIndex, FileKind::TimeIndex];
                kinds.iter().for_each(|&kind| disk.remove_file(&path(0, kind)).unwrap());
            }
            let what = format!("bit {bit}, indexes: {has_indexes}");
            assert!(
                matches!(read_on(reader_at(&disk, Checkpoints::default())), Err(StorageError::Corrupt { .. })),
                "{what}"
            );
            let found = verify(&disk, Checkpoints::default());
            let is_it = |problem: &Problem| matches!(problem, Problem::OutOfOrder { .. });
            assert!(found.iter().any(|it| is_it(&it.problem) && it.offset == Some(Offset(6))), "{what}: {found:?}");
            let opened = open_at(&disk, LogConfig::default(), Checkpoints::default());
            assert!(matches!(opened, Err(StorageError::Corrupt { .. })), "{what}");
        }
    }
}
