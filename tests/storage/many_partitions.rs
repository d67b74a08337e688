//! A producer of more partitions than files may be open: partitions are closed and opened again on the way.

use super::support::{Heard, NOW, disk_with_log_dir, open_log_dir, topic_config};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::BatchBuilder;
use kdir::format::properties::PartitionMetadata;
use kdir::format::record::NewRecord;
use kdir::logdir::{Created, LogDir, LogDirError, NewTopic, Result, Topic};
use kdir::produce::{Event, Listener, SyncPolicy, TopicWriter};
use kdir::storage::repair::DamagedRecords;
use kdir::storage::{Advance, LogWriter, RecordReader, StorageError};
use kdir::units::{Offset, Timestamp, TopicPartition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use uuid::Uuid;

const PARTITIONS: i32 = 9;
const OPEN_MAX: usize = 3;
/// What is open beside partitions: the root twice, checkpoint files, the topic file, and what is opened for a moment.
const OPEN_ELSEWHERE: usize = 10;
/// A few batches fill it.
const SEGMENT_BYTES: &str = "600";

fn open(disk: &FaultyDisk) -> LogDir {
    open_log_dir(disk).unwrap()
}

fn create(disk: &FaultyDisk) -> Topic {
    let config = topic_config(&[("segment.bytes", SEGMENT_BYTES), ("index.interval.bytes", "200")]);
    let new = NewTopic { name: "t".parse().unwrap(), partitions: PARTITIONS, config };
    let (Created::New(topic) | Created::Existing(topic)) = open(disk).create_topic(&new).unwrap();
    topic
}

fn disk() -> FaultyDisk {
    let disk = disk_with_log_dir();
    create(&disk);
    disk
}

fn folder(partition: i32) -> PathBuf {
    PathBuf::from(format!("/d/t-{partition}"))
}

/// A run of a producer, and what it has written and heard.
struct Run {
    writer: TopicWriter,
    heard: Arc<Heard>,
    /// By partition, as far as appends have returned.
    written: BTreeMap<i32, Vec<String>>,
    /// The same by partition and offset.
    offsets: BTreeMap<(i32, i64), String>,
    count: usize,
}

impl Run {
    fn start(disk: &FaultyDisk, policy: SyncPolicy) -> Self {
        Self::start_with(disk, policy, OPEN_MAX)
    }

    fn start_with(disk: &FaultyDisk, policy: SyncPolicy, open_max: usize) -> Self {
        let (log_dir, heard) = (open(disk), Arc::new(Heard::default()));
        let topic = log_dir.topic(&"t".parse().unwrap()).unwrap();
        let writer = TopicWriter::new(log_dir, topic, policy, heard.listener()).unwrap();
        Self {
            writer: writer.with_open_max(open_max),
            heard,
            written: BTreeMap::new(),
            offsets: BTreeMap::new(),
            count: 0,
        }
    }

    fn append(&mut self, partition: i32) -> Result<()> {
        self.count += 1;
        let value = format!("{partition} {} {}", self.count, "x".repeat(self.count % 50));
        let mut builder = BatchBuilder::new(0);
        let timestamp = Timestamp(NOW.0 + self.count as i64);
        builder.push(&NewRecord { timestamp, value: Some(value.as_bytes()), ..NewRecord::default() });
        let appended = self.writer.append(partition, &mut [builder.finish(None, usize::MAX).unwrap()], NOW)?;
        self.offsets.insert((partition, appended.base_offset.0), value.clone());
        self.written.entry(partition).or_default().push(value);
        Ok(())
    }

    /// Appends to partitions in an order that closes and opens them in many ways.
    fn append_all_over(&mut self, count: usize) -> Result<()> {
        (0..count).try_for_each(|at| {
            let mixed = (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            self.append(if at % 3 == 0 { at as i32 / 3 % PARTITIONS } else { mixed as i32 % PARTITIONS })
        })
    }

    /// Every partition's offsets that were acknowledged, in order: none of them twice.
    fn acknowledged(&self) -> BTreeMap<i32, Vec<i64>> {
        let mut offsets = BTreeMap::<i32, Vec<i64>>::new();
        for it in self.heard.all() {
            offsets.entry(it.partition).or_default().extend(it.base_offset.0..=it.last_offset.0);
        }
        for offsets in offsets.values_mut() {
            let before = offsets.len();
            offsets.sort_unstable();
            offsets.dedup();
            assert_eq!(offsets.len(), before, "an offset was acknowledged twice");
        }
        offsets
    }

    fn offsets_written(&self) -> BTreeMap<i32, Vec<i64>> {
        self.written.iter().map(|(&partition, values)| (partition, (0..values.len() as i64).collect())).collect()
    }
}

fn values(disk: &FaultyDisk, partition: i32) -> Vec<String> {
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new("/d")).unwrap();
    let topic = log_dir.topic(&"t".parse().unwrap()).unwrap();
    let mut records = RecordReader::new(log_dir.partition(&topic, partition).unwrap().reader(4096).unwrap());
    let mut values = Vec::new();
    while records.advance().unwrap() == Advance::Record {
        values.push(String::from_utf8(records.record().value.unwrap().to_vec()).unwrap());
    }
    values
}

fn all_values(disk: &FaultyDisk) -> BTreeMap<i32, Vec<String>> {
    let values = (0..PARTITIONS).map(|partition| (partition, values(disk, partition)));
    values.filter(|(_, values)| !values.is_empty()).collect()
}

fn names(disk: &FaultyDisk, partition: i32) -> Vec<String> {
    disk.list(&folder(partition)).unwrap().into_iter().map(|entry| entry.name).collect()
}

fn marks(disk: &FaultyDisk, partition: i32) -> usize {
    names(disk, partition).iter().filter(|name| name.starts_with("unsynced-")).count()
}

/// The base offsets of a partition's segments.
fn bases(disk: &FaultyDisk, partition: i32) -> Vec<i64> {
    let names = names(disk, partition);
    let mut bases: Vec<i64> =
        names.iter().filter_map(|name| name.strip_suffix(".log")).map(|base| base.parse().unwrap()).collect();
    bases.sort_unstable();
    bases
}

fn assert_sound(disk: &FaultyDisk, what: &str) {
    let checked = open(disk).begin_verification(&[], || {}).unwrap();
    let partitions = checked.run(1, &|_| {}).unwrap().partitions;
    let findings: Vec<_> = partitions.into_iter().flat_map(|it| it.checked.findings).collect();
    assert!(findings.is_empty(), "{what}: {findings:?}");
}

const POLICIES: [SyncPolicy; 4] =
    [SyncPolicy::Always, SyncPolicy::Every(Duration::from_micros(50)), SyncPolicy::End, SyncPolicy::Never];

#[test]
fn more_partitions_than_files_may_be_open_are_written() {
    for policy in POLICIES {
        let disk = disk();
        disk.open_at_most(OPEN_ELSEWHERE + OPEN_MAX * LogWriter::DESCRIPTORS_MAX);
        let mut run = Run::start(&disk, policy);
        for _ in 0..10 {
            run.append_all_over(40).unwrap();
            run.writer.sync_point().unwrap();
        }
        run.writer.finish(NOW).unwrap();
        assert_eq!(all_values(&disk), run.written, "{policy:?}");
        assert_sound(&disk, &format!("{policy:?}"));
        let (acknowledged, is_synced) = (run.acknowledged(), policy != SyncPolicy::Never);
        assert_eq!(acknowledged, if is_synced { run.offsets_written() } else { BTreeMap::new() }, "{policy:?}");
        let log_dir = open(&disk);
        let topic = log_dir.topic(&"t".parse().unwrap()).unwrap();
        for partition in 0..PARTITIONS {
            assert_eq!(marks(&disk, partition), usize::from(!is_synced), "{policy:?}");
            let (bases, handle) = (bases(&disk, partition), log_dir.partition(&topic, partition).unwrap());
            assert!(bases.len() > 2, "{policy:?}: {bases:?}");
            let index_point = handle.guard().unwrap().checkpoints().index_point;
            assert!(!is_synced || index_point >= Offset(*bases.last().unwrap()), "{policy:?}: {index_point}");
        }
        assert_eq!(all_values(&disk.crash(0)), if is_synced { run.written } else { BTreeMap::new() }, "{policy:?}");
    }
}

#[test]
fn what_was_acknowledged_survives_a_crash_at_any_operation() {
    for policy in [SyncPolicy::Always, SyncPolicy::End] {
        let work = |disk: &FaultyDisk| {
            let mut run = Run::start(disk, policy);
            let worked = (0..2).try_for_each(|_| {
                run.append_all_over(18)?;
                run.writer.sync_point()
            });
            let ended = worked.and_then(|()| run.writer.finish(NOW));
            (run, ended)
        };
        let disk = disk();
        disk.reset_counts();
        work(&disk).1.unwrap();
        for n in 1..=disk.operations() {
            let disk = self::disk();
            disk.reset_counts();
            disk.crash_at(n);
            let (run, ended) = work(&disk);
            assert!(ended.is_err());
            let acknowledged = run.acknowledged();
            for seed in 0..2 {
                let found = disk.crash(seed);
                let what = format!("{policy:?}, operation {n}, seed {seed}");
                let mut next = Run::start(&found, SyncPolicy::End);
                (0..PARTITIONS).for_each(|partition| next.append(partition).expect(&what));
                next.writer.finish(NOW).expect(&what);
                assert_sound(&found, &what);
                for (partition, offsets) in &acknowledged {
                    let (found, written) = (values(&found, *partition), &run.written[partition]);
                    assert_eq!(found[..offsets.len()], written[..offsets.len()], "{what}, partition {partition}");
                }
            }
        }
    }
}

/// Fails each sync of a file that an append brings with it, one at a time.
fn fail_syncs_in_appends(open_max: usize) {
    let work = |disk: &FaultyDisk| {
        let mut run = Run::start_with(disk, SyncPolicy::End, open_max);
        let appended = run.append_all_over(60);
        (run, appended)
    };
    let disk = disk();
    disk.reset_counts();
    let (mut run, appended) = work(&disk);
    appended.unwrap();
    let trace = disk.trace();
    run.writer.finish(NOW).unwrap();
    let is_sync = |what: &String| what.starts_with("sync /d/t-");
    let syncs: Vec<u64> = (1..).zip(&trace).filter(|(_, what)| is_sync(what)).map(|(n, _)| n).collect();
    assert!(syncs.len() > 10, "{syncs:?}");
    for n in syncs {
        let disk = self::disk();
        disk.reset_counts();
        disk.fail_once_at(n);
        let (mut run, failed) = work(&disk);
        let is_told = matches!(&failed, Err(LogDirError::Storage(StorageError::Disk(error))) if error.doing == "sync");
        assert!(is_told, "operation {n}: {failed:?}");
        let acknowledged = run.acknowledged();
        run.writer.finish(NOW).unwrap();
        assert_eq!(run.acknowledged(), acknowledged, "operation {n}: after a failed sync");
        assert!(run.append_all_over(60).is_err(), "operation {n}");
        drop(run.writer);
        // Whoever vouches for the records next makes them durable first.
        let before = all_values(&disk);
        let mut next = Run::start_with(&disk, SyncPolicy::End, usize::MAX);
        (0..PARTITIONS).for_each(|partition| next.append(partition).unwrap());
        next.writer.finish(NOW).unwrap();
        let found = all_values(&disk.crash(0));
        for partition in 0..PARTITIONS {
            let before = before.get(&partition).into_iter().flatten();
            let expected: Vec<&String> = before.chain(&next.written[&partition]).collect();
            assert_eq!(found[&partition].iter().collect::<Vec<_>>(), expected, "operation {n}");
        }
    }
}

#[test]
fn a_sync_that_fails_when_a_partition_is_closed_ends_the_run_and_its_acknowledgements() {
    fail_syncs_in_appends(OPEN_MAX);
}

#[test]
fn a_sync_that_fails_in_a_roll_ends_the_run_and_its_acknowledgements() {
    fail_syncs_in_appends(usize::MAX);
}

#[test]
fn a_failed_write_ends_the_run_also_when_its_partition_is_closed_before_its_next_batch() {
    let disk = disk();
    let mut run = Run::start_with(&disk, SyncPolicy::End, 1);
    run.append(0).unwrap();
    let mut builders = [BatchBuilder::new(0), BatchBuilder::new(0)];
    for builder in &mut builders {
        builder.push(&NewRecord { timestamp: NOW, value: Some(b"v"), ..NewRecord::default() });
        builder.finish(None, usize::MAX).unwrap();
    }
    let [first, second] = &mut builders;
    // The second of two batches in one call.
    disk.fail_once_at(disk.operations() + 2);
    let appended = run.writer.append(0, &mut [first.finished(), second.finished()], NOW).unwrap();
    assert_eq!(appended.batch_count, 1);
    assert!(matches!(run.append(1), Err(LogDirError::Storage(StorageError::Disk(_)))));
    run.writer.finish(NOW).unwrap();
    assert_eq!(run.acknowledged()[&0], [0, 1], "what went out whole is durable at the end");
}

fn is_deleted(result: &Result<()>) -> bool {
    matches!(result, Err(LogDirError::TopicDeleted { .. }))
}

/// A run that has written to partition 0 and closed it.
fn closed(disk: &FaultyDisk, policy: SyncPolicy) -> Run {
    let mut run = Run::start_with(disk, policy, 1);
    run.append(0).unwrap();
    run.append(1).unwrap();
    run
}

#[test]
fn a_closed_partition_is_not_opened_again_when_its_topic_was_deleted() {
    for policy in [SyncPolicy::End, SyncPolicy::Never] {
        for is_created_again in [false, true] {
            let disk = disk();
            let mut run = closed(&disk, policy);
            open(&disk).delete_topic(&"t".parse().unwrap(), |_| {}).unwrap();
            if is_created_again {
                create(&disk);
            }
            let appended = run.append(0);
            assert!(is_deleted(&appended), "{appended:?}");
            run.writer.finish(NOW).unwrap();
            assert!(!is_created_again || all_values(&disk).is_empty());
            assert_eq!(disk.list(&folder(0)).is_ok(), is_created_again);
        }
    }
}

fn metadata(disk: &FaultyDisk, topic_id: Uuid) {
    let text = PartitionMetadata { version: 0, topic_id }.print();
    let file = disk.open(&folder(0).join("partition.metadata"), Access::Create).unwrap();
    file.set_len(0).unwrap();
    file.write_at(text.as_bytes(), 0).unwrap();
}

#[test]
fn a_closed_partition_is_not_taken_for_another_folder_of_its_name() {
    for is_of_broker in [false, true] {
        for policy in [SyncPolicy::End, SyncPolicy::Never] {
            let disk = disk();
            let id = match open(&disk).topic(&"t".parse().unwrap()).unwrap().origin {
                kdir::logdir::Origin::TopicFile(id) => id,
                _ => unreachable!("it was made here"),
            };
            if is_of_broker {
                disk.remove_file(Path::new("/d/t.json")).unwrap();
                for partition in 0..PARTITIONS {
                    // Else it is a topic of kdir that has lost its file.
                    disk.remove_file(&folder(partition).join("durable-end")).unwrap();
                }
            }
            let mut run = closed(&disk, policy);
            disk.rename(&folder(0), Path::new("/d/aside")).unwrap();
            assert!(is_deleted(&run.append(0)), "there is none");
            disk.create_folder(&folder(0)).unwrap();
            metadata(&disk, id);
            assert!(is_deleted(&run.append(0)), "it is a copy");
            assert_eq!(names(&disk, 0), ["partition.metadata"]);
            disk.remove_file(&folder(0).join("partition.metadata")).unwrap();
            disk.remove_folder(&folder(0)).unwrap();
            disk.rename(Path::new("/d/aside"), &folder(0)).unwrap();
            metadata(&disk, Uuid::from_u128(7));
            assert!(is_deleted(&run.append(0)), "its inode number was given to another");
            metadata(&disk, id);
            run.append(0).unwrap();
            run.writer.finish(NOW).unwrap();
            assert_eq!(values(&disk, 0), run.written[&0], "it is the same again");
        }
    }
}

#[test]
fn what_others_have_written_to_a_closed_partition_is_made_durable_before_it_is_vouched_for() {
    let disk = disk();
    let mut run = closed(&disk, SyncPolicy::End);
    let mut careless = Run::start_with(&disk, SyncPolicy::Never, usize::MAX);
    (0..12).for_each(|_| careless.append(0).unwrap());
    careless.writer.finish(NOW).unwrap();
    drop(careless.writer);
    for base in bases(&disk, 0) {
        disk.lose_write_back(folder(0).join(format!("{base:020}.log")));
    }
    run.append(0).unwrap();
    run.writer.finish(NOW).unwrap();
    assert_eq!(run.acknowledged()[&0], [0, 13]);
    let own = &run.written[&0];
    let expected: Vec<&String> = own[..1].iter().chain(&careless.written[&0]).chain(&own[1..]).collect();
    assert_eq!(values(&disk.crash(0), 0).iter().collect::<Vec<_>>(), expected);
}

#[test]
fn writers_that_close_the_same_partitions_in_turn_lose_nothing() {
    for policies in [[SyncPolicy::End, SyncPolicy::Never], [SyncPolicy::Always, SyncPolicy::End]] {
        let disk = disk();
        let mut runs = policies.map(|policy| Run::start(&disk, policy));
        for _ in 0..60 {
            for run in &mut runs {
                run.append_all_over(3).unwrap();
                run.writer.sync_point().unwrap();
            }
        }
        let mut expected: Vec<&String> = Vec::new();
        for run in &mut runs {
            run.writer.finish(NOW).unwrap();
            let durable = all_values(&disk.crash(0));
            for (partition, offset) in run.acknowledged().iter().flat_map(|(at, all)| all.iter().map(|it| (*at, *it))) {
                assert_eq!(durable[&partition][offset as usize], run.offsets[&(partition, offset)], "{policies:?}");
            }
            expected.extend(run.written.values().flatten());
        }
        assert_sound(&disk, &format!("{policies:?}"));
        let found = all_values(&disk);
        let mut found: Vec<&String> = found.values().flatten().collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{policies:?}");
    }
}

#[test]
fn a_partition_is_opened_again_at_the_same_cost_however_much_was_written_to_it() {
    for policy in [SyncPolicy::End, SyncPolicy::Never] {
        let disk = disk();
        let mut run = Run::start_with(&disk, policy, 1);
        let mut costs = Vec::new();
        for _ in 0..200 {
            disk.reset_counts();
            run.append(0).unwrap();
            costs.push(disk.bytes_read());
            run.append(1).unwrap();
        }
        let most = |costs: &[u64]| costs.iter().max().copied().unwrap();
        assert!(most(&costs[150..]) <= most(&costs[5..50]), "{policy:?}: {costs:?}");
        run.writer.finish(NOW).unwrap();
    }
}

#[test]
fn after_a_failed_sync_no_other_partition_is_acknowledged() {
    let disk = disk();
    let mut run = Run::start_with(&disk, SyncPolicy::Always, usize::MAX);
    (0..3).for_each(|partition| run.append(partition).unwrap());
    disk.fail_once_at(disk.operations() + 1);
    assert!(run.writer.sync_point().is_err());
    run.writer.finish(NOW).unwrap();
    assert_eq!(run.acknowledged(), BTreeMap::new());
}

#[test]
fn a_closed_partition_that_was_appended_to_much_has_its_recovery_point_moved_or_the_run_ends() {
    // Small batches count for more bytes than they have.
    const MANY: usize = 4200;
    let work = |fail_at: Option<u64>| {
        let disk = disk_with_log_dir();
        let new = NewTopic { name: "t".parse().unwrap(), partitions: 3, config: topic_config(&[]) };
        open(&disk).create_topic(&new).unwrap();
        let mut run = Run::start_with(&disk, SyncPolicy::End, 2);
        (0..MANY).for_each(|_| run.append(0).unwrap());
        run.append(1).unwrap();
        disk.reset_counts();
        if let Some(n) = fail_at {
            disk.fail_once_at(n);
        }
        let closed = run.append(2);
        let trace = disk.trace();
        let finished = run.writer.finish(NOW);
        (disk, run, trace, closed.and(finished))
    };
    let (disk, run, trace, ended) = work(None);
    ended.unwrap();
    assert_eq!(run.acknowledged(), run.offsets_written());
    let log_dir = open(&disk);
    let handle = log_dir.partition(&log_dir.topic(&"t".parse().unwrap()).unwrap(), 0).unwrap();
    assert_eq!(handle.guard().unwrap().checkpoints().index_point, Offset(MANY as i64));
    let is_sync = |what: &String| what.starts_with("sync /d/t-0/") && what.ends_with("index");
    let syncs: Vec<u64> = (1..).zip(&trace).filter(|(_, what)| is_sync(what)).map(|(n, _)| n).collect();
    assert_eq!(syncs.len(), 2, "{trace:?}");
    for n in syncs {
        let (_, run, _, ended) = work(Some(n));
        assert!(ended.is_err() && run.acknowledged().is_empty(), "after a failed sync");
    }
}

#[test]
fn a_partition_is_not_closed_while_another_thread_is_at_it() {
    let disk = disk();
    // Takes its time to hear of a stretch, and sees whether its partition is still being written to when it has.
    let (closed, of_disk) = (Arc::new(AtomicBool::new(false)), disk.clone());
    let seen = Arc::clone(&closed);
    let listener: Listener = Arc::new(move |event| {
        let Event::Durable { stretch, .. } = event else { return };
        std::thread::sleep(Duration::from_millis(20));
        seen.fetch_or(marks(&of_disk, stretch.partition) == 0, Ordering::Relaxed);
    });
    let log_dir = open(&disk);
    let topic = log_dir.topic(&"t".parse().unwrap()).unwrap();
    let policy = SyncPolicy::Every(Duration::from_micros(50));
    let mut writer = TopicWriter::new(log_dir, topic, policy, listener).unwrap().with_open_max(1);
    for partition in 0..20 {
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: NOW, value: Some(b"v"), ..NewRecord::default() });
        writer.append(partition % PARTITIONS, &mut [builder.finish(None, usize::MAX).unwrap()], NOW).unwrap();
        // The other thread has the next turn.
        std::thread::sleep(Duration::from_millis(5));
    }
    writer.finish(NOW).unwrap();
    assert!(!closed.load(Ordering::Relaxed));
}

/// How often a disk is read for the repair of one of so many partitions.
fn reads_of_a_repair(partitions: i32) -> u64 {
    let disk = disk_with_log_dir();
    let new = NewTopic { name: "t".parse().unwrap(), partitions, config: topic_config(&[]) };
    open(&disk).create_topic(&new).unwrap();
    let file = disk.open(&folder(0).join("leader-epoch-checkpoint"), Access::Create).unwrap();
    file.write_at(b"junk", 0).unwrap();
    let (log_dir, partition) = (open(&disk), TopicPartition::parse_folder_name("t-0").unwrap());
    disk.reset_counts();
    let left = log_dir.repair_partition(&partition, DamagedRecords::Keep, 1, &mut Vec::new()).unwrap();
    assert!(left.is_empty() && disk.trace().iter().any(|what| what.contains(".damaged")), "{left:?}");
    disk.reads()
}

#[test]
fn the_repair_of_a_partition_reads_no_other() {
    assert_eq!(reads_of_a_repair(50), reads_of_a_repair(1));
}
