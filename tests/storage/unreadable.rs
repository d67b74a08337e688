//! Indexes of which the disk does not give everything: look-ups read the log in their place, `verify` says so and checks the
//! rest, `repair` makes them anew.

use super::support::{
    NOW, append_at, batch_size, bytes_of, disk_with_partition, folder, guard, log_path, names, open_at, overwrite,
    pass_on, pass_on_of_file, pass_on_of_folder, path, verify,
};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk, DiskError, DiskFile, FileId, Folder, FolderEntry, FolderLock, Result, Stat};
use kdir::storage::check::{Acknowledgement, Finding, Gaps, Subject, Verification};
use kdir::storage::file_name::FileKind;
use kdir::storage::repair::{self, DamagedRecords};
use kdir::storage::retention::{self, Limits};
use kdir::storage::{Checkpoints, LogConfig, LogView, PartitionGuard, StorageError};
use kdir::units::Offset;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const DAY: i64 = 86_400_000;

/// A folder or file of which the bytes of one file from some position on cannot be read.
struct Unreadable<T> {
    inner: T,
    name: &'static str,
    from: Option<u64>,
    path: PathBuf,
}

const TIME_INDEX: &str = "00000000000000000000.timeindex";

impl Folder for Unreadable<Arc<dyn Folder>> {
    pass_on_of_folder!();
    fn is_named(&self) -> Result<bool> {
        self.inner.is_named()
    }
    fn open(&self, name: &str, access: Access) -> Result<Arc<dyn DiskFile>> {
        let (inner, from) = (self.inner.open(name, access)?, self.from.filter(|_| name == self.name));
        Ok(Arc::new(Unreadable { inner, from, path: self.path.join(name), name: self.name }))
    }
    fn stat(&self, name: &str) -> Result<Option<Stat>> {
        self.inner.stat(name)
    }
    fn list(&self) -> Result<Vec<FolderEntry>> {
        self.inner.list()
    }
    fn open_folder(&self, name: &str) -> Result<Arc<dyn Folder>> {
        Ok(Arc::new(Unreadable {
            inner: self.inner.open_folder(name)?,
            from: self.from,
            path: self.path.join(name),
            name: self.name,
        }))
    }
}

impl DiskFile for Unreadable<Arc<dyn DiskFile>> {
    pass_on_of_file!();
    fn next_data(&self, position: u64) -> Result<Range<u64>> {
        self.inner.next_data(position)
    }
    fn stat(&self) -> Result<Stat> {
        self.inner.stat()
    }
    fn read_at(&self, buffer: &mut [u8], position: u64) -> Result<usize> {
        let size = self.inner.stat()?.size;
        if self.from.is_some_and(|from| position < size && (position + buffer.len() as u64).min(size) > from) {
            let source = std::io::Error::from_raw_os_error(5);
            return Err(DiskError { doing: "read", path: self.path.clone(), source });
        }
        self.inner.read_at(buffer, position)
    }
}

fn unreadable(disk: &FaultyDisk, at: &Path, name: &'static str, from: Option<u64>) -> Arc<dyn Folder> {
    Arc::new(Unreadable { inner: disk.open_folder(at).unwrap(), name, from, path: at.to_owned() })
}

/// Records of ten days ago, with one of now in the middle of the first of their segments.
fn with_a_record_of_now() -> (FaultyDisk, Checkpoints) {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 40_000, segment_ms: i64::MAX, index_interval_bytes: 500, ..config() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    let value = "x".repeat(900);
    for number in 0..80 {
        let timestamp = if number == 25 { NOW + -1 } else { NOW + (number - 10 * DAY) };
        append_at(&mut writer, &[&value], timestamp).unwrap();
    }
    writer.close(NOW).unwrap();
    (disk, Checkpoints::of_files(Offset(80), Offset::ZERO))
}

fn config() -> LogConfig {
    LogConfig::default()
}

#[test]
fn a_time_index_that_is_readable_in_part_changes_no_answer_and_removes_nothing() {
    let (disk, checkpoints) = with_a_record_of_now();
    let limits = Limits { deletes: true, retention_ms: 7 * DAY, retention_bytes: -1 };
    let size = bytes_of(&disk, &path(0, FileKind::TimeIndex)).len() as u64;
    assert_eq!(size, 300);
    for from in [None, Some(0), Some(60), Some(120), Some(240), Some(size - 12)] {
        let view = LogView::of(unreadable(&disk, &folder(), TIME_INDEX, from), checkpoints).unwrap();
        assert_eq!(view.offset_for_time(NOW + -1).unwrap(), Some((Offset(25), NOW + -1)), "{from:?}");
        assert_eq!(retention::plan(&view, &limits, NOW).unwrap().going().count(), 0, "{from:?}");
    }
}

#[test]
fn an_index_that_cannot_be_read_keeps_nothing_else_from_being_checked_and_is_made_anew() {
    let (disk, checkpoints) = with_a_record_of_now();
    let second = names(&disk).into_iter().filter(|it| it.ends_with(".log")).nth(1).unwrap();
    let mut bytes = bytes_of(&disk, &folder().join(&second));
    bytes[2000] ^= 1;
    overwrite(&disk, &folder().join(&second), &bytes);
    let check = |from| {
        let (root, folder_name) = (unreadable(&disk, Path::new("/"), TIME_INDEX, from), "t-0".into());
        let subject = Subject {
            root,
            folder_name,
            checkpoints,
            decompressed_size_max: 1 << 28,
            gaps: Gaps::Loss,
            acknowledgement: Acknowledgement::AfterSync,
        };
        Verification::begin(vec![subject], || {}).unwrap().run(1, &|_| {}).unwrap().swap_remove(0)
    };
    let names_of = |findings: &[Finding]| findings.iter().map(|it| it.problem.name()).collect::<Vec<_>>();
    let (sound, found) = (check(None), check(Some(60)));
    assert_eq!(names_of(&sound.findings), ["damaged-batch"]);
    assert_eq!(names_of(&found.findings), ["unreadable", "damaged-batch"]);
    assert_eq!((found.segments, found.records), (sound.segments, sound.records));
    let (index, before) = (path(0, FileKind::TimeIndex), bytes_of(&disk, &path(0, FileKind::TimeIndex)));
    overwrite(&disk, &index, b"bytes that nobody has read");
    let plan = repair::plan(found.findings, DamagedRecords::Keep);
    repair::apply(
        &guard(&disk, LogConfig { index_interval_bytes: 500, ..config() }, checkpoints).unwrap(),
        &plan,
        &mut Vec::new(),
    )
    .unwrap();
    assert_eq!(bytes_of(&disk, &index), before);
}

#[test]
fn records_are_not_given_up_where_their_leader_epoch_cannot_be_read() {
    let (disk, checkpoints) = with_a_record_of_now();
    let mut bytes = bytes_of(&disk, &log_path(0));
    bytes[2000] ^= 1;
    overwrite(&disk, &log_path(0), &bytes);
    let plan = repair::plan(verify(&disk, checkpoints), DamagedRecords::GiveUp);
    assert!(plan.acts());
    let repair = |from| {
        let folder = unreadable(&disk, &folder(), "leader-epoch-checkpoint", from);
        let guard = PartitionGuard::new(FolderLock::take(&folder).unwrap(), Arc::new(config()), checkpoints);
        repair::apply(&guard, &plan, &mut Vec::new())
    };
    let refused = repair(Some(0));
    assert!(matches!(refused, Err(StorageError::Disk(_))), "{refused:?}");
    assert_eq!(bytes_of(&disk, &log_path(0)), bytes);
    repair(None).unwrap();
    assert!(bytes_of(&disk, &log_path(0)) != bytes);
}

#[test]
fn what_a_cleaner_has_put_in_the_place_of_segments_while_they_were_checked_is_judged_by_its_own_index() {
    let disk = disk_with_partition();
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..config() };
    let mut writer = open_at(&disk, config.clone(), Checkpoints::default()).unwrap();
    let value = "x".repeat(900);
    for number in 0..90 {
        append_at(&mut writer, &[&value], NOW + number * 1000).unwrap();
    }
    let second = names(&disk).into_iter().filter(|it| it.ends_with(".log")).nth(1).unwrap();
    let second: i64 = second.strip_suffix(".log").unwrap().parse().unwrap();
    let checkpoints = Checkpoints::of_files(Offset(90), Offset::ZERO);
    let (root, folder_name) = (disk.open_folder(Path::new("/")).unwrap(), "t-0".into());
    let subject = Subject {
        root,
        folder_name,
        checkpoints,
        decompressed_size_max: 1 << 28,
        gaps: Gaps::Legal,
        acknowledgement: Acknowledgement::AfterSync,
    };
    let begun = Verification::begin(vec![subject], || {}).unwrap();
    // The first batches of the first segment and all but the last of the second, in one segment with indexes of its own.
    let one = batch_size(&value) as usize;
    let (first, other) = (bytes_of(&disk, &log_path(0)), bytes_of(&disk, &log_path(second)));
    let merged = [&first[..3 * one], &other[..other.len() - 4 * one]].concat();
    let elsewhere = disk_with_partition();
    overwrite(&elsewhere, &log_path(0), &merged);
    drop(open_at(&elsewhere, config, Checkpoints::default()).unwrap());
    for kind in [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::Log] {
        disk.remove_file(&path(second, kind)).unwrap();
        disk.remove_file(&path(0, kind)).unwrap();
        overwrite(&disk, &path(0, kind), &bytes_of(&elsewhere, &path(0, kind)));
    }
    let findings: Vec<Finding> = begun.run(1, &|_| {}).unwrap().into_iter().flat_map(|it| it.findings).collect();
    assert_eq!(findings, []);
}
