//! One partition on a disk in memory.

use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::header::BATCH_HEADER_SIZE;
use kdir::format::record::NewRecord;
use kdir::storage::file_name::{FileKind, segment_path};
use kdir::storage::verify::{Finding, Subject, Verification};
use kdir::storage::{
    Advance, Appended, Checkpoints, LogConfig, LogReader, LogWriter, Notice, RecordReader, Result, create_empty_log,
};
use kdir::units::Offset;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) const NOW: i64 = 1_700_000_000_000;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/t-0")
}

/// A disk with an empty partition on it.
pub(crate) fn disk_with_partition() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(&folder()).unwrap();
    create_empty_log(&disk, &folder(), Offset::ZERO).unwrap();
    disk.open_folder(&folder()).unwrap().sync().unwrap();
    disk.open_folder(Path::new("/")).unwrap().sync().unwrap();
    disk
}

pub(crate) fn shared(disk: &FaultyDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

pub(crate) fn open_at(disk: &FaultyDisk, config: LogConfig, checkpoints: Checkpoints) -> Result<LogWriter> {
    let lock = disk.share(Path::new("/.lock"))?.expect("no broker is running");
    LogWriter::open(&shared(disk), &lock, &folder(), config, NOW, || Ok(checkpoints))
}

pub(crate) fn open(disk: &FaultyDisk) -> LogWriter {
    open_at(disk, LogConfig::default(), Checkpoints::default()).unwrap()
}

/// Appends one batch with these values, all at one time.
pub(crate) fn append_at(writer: &mut LogWriter, values: &[&str], timestamp_ms: i64) -> Result<Appended> {
    let mut builder = BatchBuilder::new(0);
    for value in values {
        builder.push(&NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    let batch = builder.finish(None, None, usize::MAX).unwrap();
    writer.append(&mut [batch], NOW)
}

/// Appends batches of one record each, by value and time, in as few goes as the log allows.
pub(crate) fn append_at_once(writer: &mut LogWriter, records: &[(&str, i64)]) -> Result<Vec<Appended>> {
    let built = |&(value, timestamp_ms): &(&str, i64)| {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp_ms, key: None, value: Some(value.as_bytes()), headers: &[] });
        builder.finish(None, None, usize::MAX).unwrap();
        builder
    };
    let mut builders: Vec<BatchBuilder> = records.iter().map(built).collect();
    let mut batches: Vec<&mut [u8]> = builders.iter_mut().map(BatchBuilder::finished).collect();
    let (mut left, mut went) = (&mut batches[..], Vec::new());
    while !left.is_empty() {
        let appended = writer.append(left, NOW)?;
        left = &mut left[appended.batch_count..];
        went.push(appended);
    }
    Ok(went)
}

pub(crate) fn append(writer: &mut LogWriter, values: &[&str]) -> Appended {
    append_at(writer, values, NOW).unwrap()
}

/// The size of a batch with one value of this length.
pub(crate) fn batch_size(value: &str) -> u64 {
    let record = NewRecord { timestamp_ms: NOW, key: None, value: Some(value.as_bytes()), headers: &[] };
    (BATCH_HEADER_SIZE + record.size(0, 0)) as u64
}

pub(crate) fn reader_at(disk: &FaultyDisk, checkpoints: Checkpoints) -> LogReader {
    let Checkpoints { log_start_offset, recovery_point } = checkpoints;
    LogReader::open(&shared(disk), &folder(), log_start_offset, recovery_point, 4096).unwrap()
}

pub(crate) fn reader(disk: &FaultyDisk) -> LogReader {
    reader_at(disk, Checkpoints::default())
}

/// Offset and value of every record from the place of `log` to the end for now.
pub(crate) fn read_on(log: LogReader) -> Result<Vec<(i64, String)>> {
    let mut records = RecordReader::new(log);
    let mut read = Vec::new();
    while records.advance()? == Advance::Record {
        let value = records.record().value.unwrap_or_default();
        read.push((records.offset().0, String::from_utf8(value.to_vec()).unwrap()));
    }
    Ok(read)
}

pub(crate) fn values(disk: &FaultyDisk) -> Vec<String> {
    read_on(reader(disk)).unwrap().into_iter().map(|(_, value)| value).collect()
}

/// What a check of the partition finds.
pub(crate) fn verify(disk: &FaultyDisk, checkpoints: Checkpoints) -> Vec<Finding> {
    let Checkpoints { log_start_offset, recovery_point } = checkpoints;
    let subject = Subject { path: folder(), recovery_point, log_start_offset, gaps_are_legal: false };
    let checked = Verification::begin(disk, vec![subject], || {}).unwrap().run(1, &|_| {}).unwrap();
    checked.into_iter().flat_map(|it| it.findings).collect()
}

pub(crate) fn log_path(base: i64) -> PathBuf {
    segment_path(&folder(), Offset(base), FileKind::Log)
}

pub(crate) fn path(base: i64, kind: FileKind) -> PathBuf {
    segment_path(&folder(), Offset(base), kind)
}

pub(crate) fn bytes_of(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).unwrap();
    let mut bytes = vec![0; file.stat().unwrap().size as usize];
    file.read_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn overwrite(disk: &FaultyDisk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Access::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(bytes, 0).unwrap();
    file.sync().unwrap();
}

pub(crate) fn names(disk: &FaultyDisk) -> Vec<String> {
    let mut names: Vec<String> = disk.list(&folder()).unwrap().into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

pub(crate) fn cut_of(notices: &[Notice]) -> Vec<u64> {
    notices
        .iter()
        .map(|notice| match notice {
            Notice::TailCut { bytes, .. } => *bytes,
            _ => 0,
        })
        .collect()
}
