//! Several writers and a follower on the operating system's own file system.

use super::support::NOW;
use kdir::disk::real::RealDisk;
use kdir::disk::{Disk, SharedLock};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::storage::{Advance, Checkpoints, LogConfig, LogReader, LogWriter, RecordReader, create_empty_log};
use kdir::units::Offset;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const WRITERS: usize = 4;
const BATCHES: usize = 300;

fn write(disk: &Arc<dyn Disk>, lock: &Arc<dyn SharedLock>, folder: &Path, name: usize) {
    let config = LogConfig { segment_bytes: 20_000, index_interval_bytes: 500, ..LogConfig::default() };
    let mut writer = LogWriter::open(disk, lock, folder, config, NOW, || Ok(Checkpoints::default())).unwrap();
    let mut builder = BatchBuilder::new(0);
    for batch in 0..BATCHES {
        for record in 0..3 {
            let value = format!("{name} {}", batch * 3 + record);
            builder.push(&NewRecord { timestamp_ms: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
        }
        writer.append(&mut [builder.finish(None, None, usize::MAX).unwrap()], NOW).unwrap();
        builder.clear();
    }
    writer.close(NOW).unwrap();
}

#[test]
fn writers_share_a_partition_and_a_follower_sees_it_all_in_order() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("t-0");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::default());
    disk.create_folder(&folder).unwrap();
    create_empty_log(&*disk, &folder, Offset::ZERO).unwrap();
    let lock = disk.share(&root.path().join(".lock")).unwrap().unwrap();
    let reader = LogReader::open(&disk, &folder, Offset::ZERO, Offset::ZERO, 4096).unwrap();
    let total = (WRITERS * BATCHES * 3) as i64;
    std::thread::scope(|scope| {
        for name in 0..WRITERS {
            let (disk, lock, folder) = (&disk, &lock, &folder);
            scope.spawn(move || write(disk, lock, folder, name));
        }
        let mut records = RecordReader::new(reader);
        let (mut next, mut last) = (0, BTreeMap::new());
        let deadline = Instant::now() + Duration::from_secs(60);
        while next < total {
            match records.advance().unwrap() {
                Advance::Record => {
                    assert_eq!(records.offset().0, next, "no gap, nothing twice");
                    let value = String::from_utf8(records.record().value.unwrap().to_vec()).unwrap();
                    let (name, number) = value.split_once(' ').unwrap();
                    let number: usize = number.parse().unwrap();
                    let before = last.insert(name.to_owned(), number);
                    assert_eq!(before.map_or(0, |before| before + 1), number, "each writer's order is kept");
                    next += 1;
                }
                Advance::End => assert!(Instant::now() < deadline, "only {next} of {total} came"),
                Advance::LogStartPassed { .. } => panic!("nothing is removed here"),
            }
        }
    });
}
