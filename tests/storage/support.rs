//! One partition on a disk in memory, or a log dir.

use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk, FolderLock};
use kdir::format::batch::BatchBuilder;
use kdir::format::header::BATCH_HEADER_SIZE;
use kdir::format::record::NewRecord;
use kdir::logdir::LogDir;
use kdir::logdir::config::TopicConfig;
use kdir::produce::{Acknowledged, Event, Listener, Options, Partitioner, RecordRule, Rejects, SyncPolicy};
use kdir::storage::check::{Acknowledgement, Finding, Gaps, Subject, Verification};
use kdir::storage::file_name::{FileKind, segment_path};
use kdir::storage::{
    Advance, Appended, Checkpoints, Durability, LogConfig, LogReader, LogView, LogWriter, Notice, PartitionGuard,
    RecordReader, Result, create_empty_log,
};
use kdir::stream::framing::Framing;
use kdir::units::{Offset, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(crate) fn folder() -> PathBuf {
    PathBuf::from("/t-0")
}

/// A disk with an empty partition on it.
pub(crate) fn disk_with_partition() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(&folder()).unwrap();
    let guard = guard(&disk, LogConfig::default(), Checkpoints::default()).unwrap();
    create_empty_log(&guard, Offset::ZERO).unwrap();
    guard.folder().sync().unwrap();
    disk.open_folder(Path::new("/")).unwrap().sync().unwrap();
    disk
}

/// The right to change the partition, through a descriptor of its own.
pub(crate) fn guard(disk: &FaultyDisk, config: LogConfig, checkpoints: Checkpoints) -> Result<PartitionGuard> {
    let lock = FolderLock::take(&disk.open_folder(&folder())?)?;
    Ok(PartitionGuard::new(lock, Arc::new(config), checkpoints))
}

/// A writer, and what it takes a guard by for each append.
pub(crate) struct Writer {
    config: LogConfig,
    checkpoints: Checkpoints,
    writer: LogWriter,
}

impl std::ops::Deref for Writer {
    type Target = LogWriter;
    fn deref(&self) -> &LogWriter {
        &self.writer
    }
}

impl std::ops::DerefMut for Writer {
    fn deref_mut(&mut self) -> &mut LogWriter {
        &mut self.writer
    }
}

impl Writer {
    pub(crate) fn guard(&self) -> Result<PartitionGuard> {
        let lock = FolderLock::take(self.writer.folder())?;
        Ok(PartitionGuard::new(lock, Arc::new(self.config.clone()), self.checkpoints))
    }

    pub(crate) fn append(&mut self, batches: &mut [&mut [u8]], now: Timestamp) -> Result<Appended> {
        let guard = self.guard()?;
        self.writer.append(&guard, batches, now)
    }

    pub(crate) fn close(&mut self, now: Timestamp) -> Result<Option<Offset>> {
        let guard = self.guard()?;
        Ok(self.writer.close(&guard, now)?.map(|end| end.durable))
    }

    /// Takes its guards from now on as a handle does that reads what is in force again.
    pub(crate) fn go_by(&mut self, config: LogConfig, checkpoints: Checkpoints) {
        (self.config, self.checkpoints) = (config, checkpoints);
    }
}

pub(crate) fn open_at(disk: &FaultyDisk, config: LogConfig, checkpoints: Checkpoints) -> Result<Writer> {
    open_as(disk, config, checkpoints, Durability::Synced)
}

pub(crate) fn open_as(
    disk: &FaultyDisk,
    config: LogConfig,
    checkpoints: Checkpoints,
    durability: Durability,
) -> Result<Writer> {
    let writer = LogWriter::open(&guard(disk, config.clone(), checkpoints)?, durability, NOW)?;
    Ok(Writer { config, checkpoints, writer })
}

pub(crate) fn open(disk: &FaultyDisk) -> Writer {
    open_at(disk, LogConfig::default(), Checkpoints::default()).unwrap()
}

/// Appends one batch with these values, all at one time.
pub(crate) fn append_at(writer: &mut Writer, values: &[&str], timestamp: Timestamp) -> Result<Appended> {
    let mut builder = BatchBuilder::new(0);
    for value in values {
        builder.push(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] });
    }
    let batch = builder.finish(None, usize::MAX).unwrap();
    writer.append(&mut [batch], NOW)
}

/// Appends batches of one record each, by value and time, in as few goes as the log allows.
pub(crate) fn append_at_once(writer: &mut Writer, records: &[(&str, Timestamp)]) -> Result<Vec<Appended>> {
    let built = |&(value, timestamp): &(&str, Timestamp)| {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp, key: None, value: Some(value.as_bytes()), headers: &[] });
        builder.finish(None, usize::MAX).unwrap();
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

pub(crate) fn append(writer: &mut Writer, values: &[&str]) -> Appended {
    append_at(writer, values, NOW).unwrap()
}

/// The size of a batch with one value of this length.
pub(crate) fn batch_size(value: &str) -> u64 {
    let record = NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] };
    (BATCH_HEADER_SIZE + record.size(0, 0)) as u64
}

pub(crate) fn reader_at(disk: &FaultyDisk, checkpoints: Checkpoints) -> LogReader {
    LogReader::new(view_at(disk, checkpoints), 4096)
}

pub(crate) fn view_at(disk: &FaultyDisk, checkpoints: Checkpoints) -> LogView {
    LogView::of(disk.open_folder(&folder()).unwrap(), checkpoints).unwrap()
}

pub(crate) fn view(disk: &FaultyDisk) -> LogView {
    view_at(disk, Checkpoints::default())
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
    verify_within(disk, checkpoints, LogConfig::default().decompressed_size_max())
}

/// A check whose log end is fixed, and that has read nothing else yet.
pub(crate) fn begin_to_verify(disk: &FaultyDisk, checkpoints: Checkpoints) -> Verification {
    begin_to_verify_within(disk, checkpoints, LogConfig::default().decompressed_size_max())
}

/// The same, with that bound on what a batch may hold.
pub(crate) fn verify_within(disk: &FaultyDisk, checkpoints: Checkpoints, decompressed_size_max: usize) -> Vec<Finding> {
    let begun = begin_to_verify_within(disk, checkpoints, decompressed_size_max);
    begun.run(1, &|_| {}).unwrap().into_iter().flat_map(|it| it.findings).collect()
}

fn begin_to_verify_within(disk: &FaultyDisk, checkpoints: Checkpoints, decompressed_size_max: usize) -> Verification {
    let (root, folder_name) = (disk.open_folder(Path::new("/")).unwrap(), "t-0".into());
    let subject = Subject {
        root,
        folder_name,
        checkpoints,
        decompressed_size_max,
        gaps: Gaps::Loss,
        acknowledgement: Acknowledgement::AfterSync,
    };
    Verification::begin(vec![subject], || {}).unwrap()
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

/// The log dir of the tests that have a whole one.
pub(crate) const ROOT: &str = "/d";

/// A disk with an empty log dir, durable, and nothing counted yet.
pub(crate) fn disk_with_log_dir() -> FaultyDisk {
    let disk = FaultyDisk::new();
    LogDir::make(&disk, Path::new(ROOT)).unwrap();
    disk.reset_counts();
    disk
}

pub(crate) fn open_log_dir(disk: &FaultyDisk) -> kdir::logdir::Result<LogDir> {
    LogDir::open_to_write(Arc::new(disk.clone()), Path::new(ROOT))
}

pub(crate) fn topic_config(settings: &[(&str, &str)]) -> TopicConfig {
    TopicConfig::from_stored(settings.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()).unwrap()
}

/// What became durable, in the order in which it did.
#[derive(Default)]
pub(crate) struct Heard(Mutex<Vec<Acknowledged>>);

impl Heard {
    pub(crate) fn all(&self) -> Vec<Acknowledged> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn listener(self: &Arc<Self>) -> Listener {
        let heard = Arc::clone(self);
        Arc::new(move |event| {
            if let Event::Durable { stretch, .. } = event {
                heard.0.lock().unwrap().push(stretch);
            }
        })
    }
}

/// The methods of a `Folder` that a test's own, around `self.inner`, does nothing about.
macro_rules! pass_on_of_folder {
    () => {
        pass_on! {
            fn id() -> FileId;
            fn path() -> &Path;
            fn disk() -> Arc<dyn Disk>;
            fn booted_ms() -> i64;
            fn boot() -> uuid::Uuid;
            fn shared_file_system() -> Result<Option<&'static str>>;
            fn create_folder(name: &str) -> Result<()>;
            fn rename(from: &str, to: &str) -> Result<()>;
            fn remove_file(name: &str) -> Result<()>;
            fn remove_folder(name: &str) -> Result<()>;
            fn sync() -> Result<()>;
            fn lock_exclusive() -> Result<()>;
            fn unlock();
        }
    };
}
pub(crate) use pass_on_of_folder;

/// The same of a `DiskFile`.
macro_rules! pass_on_of_file {
    () => {
        pass_on! {
            fn write_at(bytes: &[u8], position: u64) -> Result<()>;
            fn set_len(size: u64) -> Result<()>;
            fn set_modified(modified_ms: i64) -> Result<()>;
            fn sync() -> Result<()>;
            fn drop_cache(position: u64, size: u64) -> Result<()>;
            fn try_lock() -> Result<bool>;
            fn lock() -> Result<()>;
            fn holder() -> Option<u32>;
            fn try_lock_range(range: Range<u64>) -> Result<bool>;
            fn unlock_range(range: Range<u64>) -> Result<()>;
            fn locked_range(range: Range<u64>) -> Result<Option<Range<u64>>>;
        }
    };
}
pub(crate) use pass_on_of_file;

/// Methods that call those of the same name of `self.inner`.
macro_rules! pass_on {
    ($(fn $name:ident($($argument:ident: $kind:ty),*) $(-> $output:ty)?;)*) => {
        $(fn $name(&self $(, $argument: $kind)*) $(-> $output)? {
            self.inner.$name($($argument),*)
        })*
    };
}
pub(crate) use pass_on;

/// For a producer: each line is a record, and partitions take turns.
pub(crate) fn lines_in_turn(sync: SyncPolicy, rejects: Rejects) -> Options {
    Options {
        framing: Framing::delimited(b"\n"),
        rule: RecordRule::default(),
        partition: None,
        partitioner: Partitioner::RoundRobin,
        compression: None,
        batch_size: 64 << 10,
        linger: Duration::ZERO,
        sync,
        rate: None,
        rejects,
    }
}
