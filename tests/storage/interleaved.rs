//! A reader, and somebody who changes the log in the middle of any of its looks at the disk.
//!
//! Run once and count how often the reader looks (lists, stats, opens and reads); then once for each number, with the change
//! made just before that look. Whatever the moment, the reader shows every record once and in order, and takes nothing for
//! damage that was only being written.

use super::model::retain;
use super::support::{
    NOW, ROOT, Writer, append_at, bytes_of, disk_with_log_dir, disk_with_partition, folder, guard, log_path, open_at,
    open_log_dir, overwrite, pass_on, pass_on_of_file, pass_on_of_folder, path, view,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk, DiskFile, FileId, Folder, FolderEntry, Result, SharedLock, Stat};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{LogDir, NewTopic, Origin};
use kdir::storage::file_name::FileKind;
use kdir::storage::{Advance, Checkpoints, LogConfig, LogReader, LogView, RecordReader};
use kdir::units::TopicName;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex};

type Change = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Looked {
    count: usize,
    lists: usize,
    /// Made before the look of that number.
    change: Option<(usize, Change)>,
    /// Left out of the list of that number.
    hidden: Option<(usize, String)>,
}

/// Counts looks, and makes a change before one of them.
#[derive(Clone, Default)]
struct Looks(Arc<Mutex<Looked>>);

impl Looks {
    fn with_change(number: usize, change: Change) -> Self {
        Self(Arc::new(Mutex::new(Looked { change: Some((number, change)), ..Looked::default() })))
    }

    fn hiding(list: usize, name: String) -> Self {
        Self(Arc::new(Mutex::new(Looked { hidden: Some((list, name)), ..Looked::default() })))
    }

    fn look(&self) {
        let mut looked = self.0.lock().unwrap();
        looked.count += 1;
        let count = looked.count;
        if let Some((_, change)) = looked.change.take_if(|(at, _)| *at == count) {
            drop(looked);
            change();
        }
    }

    fn list(&self, entries: &mut Vec<FolderEntry>) {
        let mut looked = self.0.lock().unwrap();
        looked.lists += 1;
        let lists = looked.lists;
        if let Some((_, hidden)) = looked.hidden.take_if(|(at, _)| *at == lists) {
            entries.retain(|entry| entry.name != hidden);
        }
    }
}

struct LookedAt<T> {
    inner: T,
    looks: Looks,
}

impl Folder for LookedAt<Arc<dyn Folder>> {
    pass_on_of_folder!();
    fn is_named(&self) -> Result<bool> {
        self.looks.look();
        self.inner.is_named()
    }
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>> {
        self.looks.look();
        Ok(Arc::new(LookedAt { inner: self.inner.open(name, access)?, looks: self.looks.clone() }))
    }
    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        self.looks.look();
        self.inner.stat(name)
    }
    fn list(&self) -> Result<Vec<FolderEntry>> {
        self.looks.look();
        let mut entries = self.inner.list()?;
        self.looks.list(&mut entries);
        Ok(entries)
    }
    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>> {
        self.looks.look();
        Ok(Arc::new(LookedAt { inner: self.inner.open_folder(name)?, looks: self.looks.clone() }))
    }
}

impl DiskFile for LookedAt<Arc<dyn DiskFile>> {
    pass_on_of_file!();
    fn stat(&self) -> Result<Stat> {
        self.looks.look();
        self.inner.stat()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        self.looks.look();
        self.inner.read_at(buffer, position)
    }
    fn next_data(&self, position: u64) -> Result<Range<u64>> {
        self.looks.look();
        self.inner.next_data(position)
    }
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: 220, index_interval_bytes: 0, ..LogConfig::default() }
}

/// Two segments of three records each, the second one active, and their writer.
fn six() -> (FaultyDisk, Writer) {
    let disk = disk_with_partition();
    let mut writer = open_at(&disk, config(), Checkpoints::default()).unwrap();
    append(&mut writer, 0..6);
    (disk, writer)
}

fn append(writer: &mut Writer, numbers: std::ops::Range<i64>) {
    for number in numbers {
        append_at(writer, &[&number.to_string()], NOW).unwrap();
    }
}

/// Reads to the end so many times. The offsets shown, and those missed and said to be.
fn follow(disk: &FaultyDisk, looks: &Looks, chunk: usize, times: usize) -> (Vec<i64>, Vec<i64>) {
    let inner = disk.open_folder(&folder()).unwrap();
    let folder: Arc<dyn Folder> = Arc::new(LookedAt { inner, looks: looks.clone() });
    let view = LogView::of(folder, Checkpoints::default()).unwrap();
    let mut records = RecordReader::new(LogReader::new(view, chunk));
    let (mut shown, mut missed) = (Vec::new(), Vec::new());
    for _ in 0..times {
        loop {
            match records.advance().unwrap() {
                Advance::Record => {
                    let value = records.record().value.unwrap();
                    assert_eq!(value, records.offset().0.to_string().as_bytes(), "another record");
                    shown.push(records.offset().0);
                }
                Advance::LogStartPassed { missed_from, log_start_offset } => {
                    missed.extend(missed_from.0..log_start_offset.0);
                }
                _ => break,
            }
        }
    }
    (shown, missed)
}

/// Calls `check` with what a reader saw, for the change made before each of its looks.
fn at_each_look(prepare: impl Fn() -> (FaultyDisk, Change), check: impl Fn(&[i64], &[i64], &str)) {
    for chunk in [64, 4096] {
        let counted = Looks::default();
        let (disk, _) = prepare();
        follow(&disk, &counted, chunk, 2);
        let count = counted.0.lock().unwrap().count;
        assert!(count > 10);
        for number in 1..=count {
            let (disk, change) = prepare();
            let (shown, missed) = follow(&disk, &Looks::with_change(number, change), chunk, 3);
            check(&shown, &missed, &format!("chunk {chunk}, before look {number}: {shown:?}, missed {missed:?}"));
        }
    }
}

#[test]
fn records_and_rolls_that_come_at_any_moment_are_shown_once_and_in_order() {
    for count in [1, 2, 4, 9] {
        let prepare = move || {
            let (disk, mut writer) = six();
            let change: Change = Box::new(move || append(&mut writer, 6..6 + count));
            (disk, change)
        };
        at_each_look(prepare, |shown, missed, what| {
            assert_eq!((shown, missed), (&*(0..6 + count).collect::<Vec<_>>(), &[][..]), "{what}");
        });
    }
}

#[test]
fn a_batch_that_is_finished_at_any_moment_is_shown_and_never_damage() {
    for (left, after) in [(1, 0), (30, 0), (68, 0), (30, 1), (30, 4), (68, 9)] {
        let prepare = move || {
            let (disk, mut writer) = six();
            append(&mut writer, 6..7 + after);
            let last = view(&disk).bases().to_vec();
            let whole: Vec<_> =
                last.iter().map(|base| (log_path(base.0), bytes_of(&disk, &log_path(base.0)))).collect();
            // As it was while the seventh record was being written.
            for base in last.iter().filter(|base| base.0 > 6) {
                for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex] {
                    disk.remove_file(&path(base.0, kind)).unwrap();
                }
            }
            let torn = whole.iter().find(|(path, _)| *path == log_path(6)).unwrap();
            overwrite(&disk, &torn.0, &torn.1[..left]);
            let other = disk.clone();
            let change: Change =
                Box::new(move || whole.iter().for_each(|(path, bytes)| overwrite(&other, path, bytes)));
            (disk, change)
        };
        at_each_look(prepare, |shown, missed, what| {
            assert_eq!((shown, missed), (&*(0..7 + after).collect::<Vec<_>>(), &[][..]), "{left} bytes, {what}");
        });
    }
}

#[test]
fn records_that_retention_takes_at_any_moment_are_shown_or_said_to_be_missed() {
    for (kept, after) in [(0, 0), (0, 5), (200, 0), (200, 5)] {
        let prepare = move || {
            let (disk, mut writer) = six();
            append(&mut writer, 6..12);
            let other = disk.clone();
            let change: Change = Box::new(move || {
                let limits = LogConfig { retention_bytes: kept, ..config() };
                retain(&guard(&other, limits, Checkpoints::default()).unwrap());
                append(&mut writer, 12..12 + after);
            });
            (disk, change)
        };
        at_each_look(prepare, |shown, missed, what| {
            let mut all = [shown, missed].concat();
            all.sort_unstable();
            assert!(shown.is_sorted(), "{what}");
            // A reader that began afterwards has missed nothing, and none is told of what left nothing behind it to be read.
            let first = if all.first().is_some_and(|&first| first < 6) { 0 } else { all.first().copied().unwrap_or(0) };
            let end = if after == 0 && kept == 0 { first + all.len() as i64 } else { 12 + after };
            assert_eq!(all, (first..end).collect::<Vec<_>>(), "{what}");
        });
    }
}

#[test]
fn segments_that_a_cleaner_replaces_at_any_moment_hide_nothing_that_it_kept() {
    let prepare = || {
        let (disk, writer) = six();
        drop(writer);
        let other = disk.clone();
        let change: Change = Box::new(move || {
            // The first segment without its second record, put in place as a broker does it.
            let bytes = bytes_of(&other, &log_path(0));
            let batch = bytes.len() / 3;
            let swap = format!("{}.swap", log_path(0).display());
            overwrite(&other, Path::new(&swap), &[&bytes[..batch], &bytes[2 * batch..]].concat());
            for kind in [FileKind::Log, FileKind::OffsetIndex, FileKind::TimeIndex] {
                let file = path(0, kind);
                other.rename(&file, Path::new(&format!("{}.deleted", file.display()))).unwrap();
            }
            other.rename(Path::new(&swap), &log_path(0)).unwrap();
        });
        (disk, change)
    };
    at_each_look(prepare, |shown, missed, what| {
        let kept: Vec<i64> = shown.iter().copied().filter(|offset| *offset != 1).collect();
        assert_eq!((&*kept, missed), (&[0, 2, 3, 4, 5][..], &[][..]), "{what}");
    });
}

/// Listing a folder is no single moment: a name that is changed meanwhile may be in none of what comes.
#[test]
fn a_list_that_lacks_a_segment_once_hides_no_record() {
    let prepare = || {
        let (disk, mut writer) = six();
        append(&mut writer, 6..12);
        disk
    };
    let disk = prepare();
    let counted = Looks::default();
    follow(&disk, &counted, 4096, 2);
    let lists = counted.0.lock().unwrap().lists;
    // What a reader finds first it has to take for the log start.
    for base in view(&disk).bases().iter().skip(1) {
        let name = log_path(base.0).file_name().unwrap().to_str().unwrap().to_owned();
        for list in 1..=lists + 2 {
            let (shown, missed) = follow(&disk, &Looks::hiding(list, name.clone()), 4096, 3);
            assert_eq!((&*shown, &*missed), (&*(0..12).collect::<Vec<_>>(), &[][..]), "{name} not in list {list}");
        }
    }
}

impl Disk for LookedAt<Arc<dyn Disk>> {
    pass_on! {
        fn stat(path: &Path) -> Result<Option<Stat>>;
        fn resolve(path: &Path) -> Result<std::path::PathBuf>;
        fn create_folder(path: &Path) -> Result<()>;
        fn scratch() -> Result<Arc<dyn DiskFile>>;
        fn share(path: &Path) -> Result<Option<Arc<dyn SharedLock>>>;
    }
    fn open(&self, path: &Path, access: Access) -> Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(LookedAt { inner: self.inner.open(path, access)?, looks: self.looks.clone() }))
    }
    fn open_folder(&self, path: &Path) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(LookedAt { inner: self.inner.open_folder(path)?, looks: self.looks.clone() }))
    }
}

#[test]
fn a_topic_that_comes_or_goes_at_any_moment_is_never_taken_for_a_brokers() {
    let name: TopicName = "app".parse().unwrap();
    let new = || NewTopic { name: "app".parse().unwrap(), partitions: 2, config: TopicConfig::default() };
    let mut changes = 0;
    for is_deleted in [false, true] {
        for all in [false, true] {
            for number in 1.. {
                let disk = disk_with_log_dir();
                let other = open_log_dir(&disk).unwrap();
                if is_deleted {
                    other.create_topic(&new()).unwrap();
                }
                let change: Change = match is_deleted {
                    true => Box::new(move || drop(other.delete_topic(&"app".parse().unwrap(), |_| {}).unwrap())),
                    false => Box::new(move || drop(other.create_topic(&new()).unwrap())),
                };
                let looks = Looks::with_change(number, change);
                let inner: Arc<dyn Disk> = Arc::new(disk.clone());
                let looked_at = LookedAt { inner, looks: looks.clone() };
                let log_dir = LogDir::open(Arc::new(looked_at), Path::new(ROOT)).unwrap();
                let found = match all {
                    true => log_dir.topics().unwrap().pop(),
                    false => log_dir.find_topic(&name).unwrap(),
                };
                let origin = found.map(|topic| topic.origin);
                assert_ne!(origin, Some(Origin::Broker), "deleted {is_deleted}, all {all}, before look {number}");
                if looks.0.lock().unwrap().change.is_some() {
                    break;
                }
                changes += 1;
            }
        }
    }
    assert!(changes > 8, "{changes}");
}
