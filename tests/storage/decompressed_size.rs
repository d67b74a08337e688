//! What can be stored can be read: the bound on what a batch may hold, on both sides.

use super::support::{
    NOW, bytes_of, disk_with_partition, guard, log_path, open, overwrite, read_on, values, verify_within, view,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::real::RealDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::{BatchBuilder, compressor};
use kdir::format::compression::DECOMPRESSED_SIZE_MAX;
use kdir::format::record::NewRecord;
use kdir::storage::check::Problem;
use kdir::storage::repair::{self, DamagedRecords, Decision, Remedy};
use kdir::storage::{Checkpoints, LogConfig, LogReader, StorageError};
use kdir::units::{Offset, Timestamp};
use std::path::Path;

const CODECS: [&str; 4] = ["gzip", "snappy", "lz4", "zstd"];

/// A log with one compressed batch, whose records take more than 5000 bytes.
fn log_of(codec: &str) -> FaultyDisk {
    let disk = disk_with_partition();
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, value: Some(&[b'0'; 5000]), ..NewRecord::default() });
    let batch = builder.finish(compressor(codec.parse().unwrap()).as_mut(), usize::MAX).unwrap();
    open(&disk).append(&mut [batch], NOW).unwrap();
    disk
}

/// A log that a broker wrote, in compressed messages of an old format.
fn old_log(name: &str) -> FaultyDisk {
    let golden = format!("{}/tests/data/kafka/{name}-0/{:020}.log", env!("CARGO_MANIFEST_DIR"), 0);
    let disk = disk_with_partition();
    let golden = RealDisk::default().open(Path::new(&golden), Access::Read).unwrap();
    let mut bytes = vec![0; golden.stat().unwrap().size as usize];
    assert_eq!(golden.read_at(&mut bytes, 0).unwrap(), bytes.len());
    overwrite(&disk, &log_path(0), &bytes);
    disk
}

/// A reader that takes so many plain bytes out of one batch.
fn within(disk: &FaultyDisk, size_max: usize) -> LogReader {
    LogReader::new(view(disk).decompressing(size_max), 4096)
}

fn logs() -> impl Iterator<Item = (&'static str, FaultyDisk)> {
    let old = ["v0-gzip", "v1-gzip", "v1-lz4", "v1-snappy"].map(|name| (name, old_log(name)));
    CODECS.map(|codec| (codec, log_of(codec))).into_iter().chain(old)
}

#[test]
fn what_decompresses_to_more_than_a_reader_takes_is_unsupported_and_never_corrupt() {
    for (name, disk) in logs() {
        let read = read_on(within(&disk, 20));
        assert!(matches!(read, Err(StorageError::Unsupported { .. })), "{name}: {read:?}");
        if !name.starts_with("v0") {
            let found = view(&disk).decompressing(20).offset_for_time(Timestamp(0));
            assert!(matches!(found, Err(StorageError::Unsupported { .. })), "{name}: {found:?}");
        }
        assert!(!read_on(within(&disk, 1 << 20)).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn no_repair_gives_up_what_decompresses_to_more_than_a_reader_takes() {
    for (name, disk) in logs() {
        let before = bytes_of(&disk, &log_path(0));
        let findings = verify_within(&disk, Checkpoints::default(), 20);
        let is_unsupported = |problem: &Problem| matches!(problem, Problem::UnsupportedBatch { .. });
        let of_log: Vec<_> = findings.iter().filter(|it| it.path == log_path(0)).collect();
        assert!(!of_log.is_empty() && of_log.iter().all(|it| is_unsupported(&it.problem)), "{name}: {findings:?}");
        for damaged_records in [DamagedRecords::Keep, DamagedRecords::GiveUp] {
            let plan = repair::plan(findings.clone(), damaged_records);
            let of_log = |it: &&Decision| it.finding.path == log_path(0);
            assert!(plan.decisions.iter().filter(of_log).all(|it| it.remedy == Remedy::Nothing), "{name}: {plan:?}");
            let guard = guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
            repair::apply(&guard, &plan, &mut Vec::new()).unwrap();
        }
        assert_eq!(bytes_of(&disk, &log_path(0)), before, "{name}");
    }
}

#[test]
fn a_reader_takes_what_max_message_bytes_lets_a_producer_store_and_never_less_than_ours_make() {
    let of = |max_message_bytes| LogConfig { max_message_bytes, ..LogConfig::default() }.decompressed_size_max();
    assert_eq!(
        [0, 1000, 300 << 20, 1 << 40].map(of),
        [DECOMPRESSED_SIZE_MAX, DECOMPRESSED_SIZE_MAX, 300 << 20, i32::MAX as usize]
    );
}

#[test]
fn a_batch_larger_than_every_reader_takes_stays_uncompressed() {
    let mut builder = BatchBuilder::new(0);
    let value = vec![0; DECOMPRESSED_SIZE_MAX];
    builder.push(&NewRecord { timestamp: NOW, value: Some(&value), ..NewRecord::default() });
    for codec in ["lz4", "zstd"] {
        let size = builder.size();
        let batch = builder.finish(compressor(codec.parse().unwrap()).as_mut(), usize::MAX).unwrap();
        assert_eq!(batch.len(), size, "{codec}");
    }
    let disk = log_of("zstd");
    assert_eq!((values(&disk).len(), view(&disk).log_end_offset().unwrap()), (1, Offset(1)));
}
