//! Several processes that create, delete, alter, fill and empty topics of the same names, with a delay before any of their
//! disk operations: a record that was acknowledged to a topic id is in that topic, or was removed by that topic's own
//! limits, and nothing is ever in another.
//!
//! The processes are this test program again. Each record's value is the id of the topic that it was produced to, and a
//! number that no other has.

use super::delayed;
use super::support::{Heard, topic_config};
use kdir::format::batch::BatchBuilder;
use kdir::format::record::NewRecord;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Alteration, LimitOverrides, LogDir, LogDirError, NewTopic, Origin, Result, Topic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::repair::DamagedRecords;
use kdir::storage::{Advance, RecordReader, StorageError};
use kdir::units::{Offset, Timestamp, TopicName};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const NAMES: [&str; 2] = ["one", "two"];
const PROCESSES: u64 = 2;
const CHILD: &str = "KDIR_CHURN_CHILD";

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }
}

#[expect(clippy::disallowed_methods, reason = "the processes of a real log dir go by the clock")]
fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp(since_epoch.as_millis() as i64)
}

/// A configuration that keeps for ever, or one by which all but the newest goes.
fn config(random: &mut Random) -> (TopicConfig, bool) {
    let keeps = random.below(2) == 0;
    let retention = if keeps { "-1" } else { "2000" };
    let settings = [("segment.bytes", "1500"), ("retention.ms", "-1"), ("retention.bytes", retention)];
    (topic_config(&settings), keeps)
}

fn id_of(topic: &Topic) -> String {
    match topic.origin {
        Origin::TopicFile(id) => id.simple().to_string(),
        Origin::Cluster(_) | Origin::Broker | Origin::SetAside => panic!("{} has no topic file", topic.name),
    }
}

/// Errors that another process may cause: everything else is a finding.
fn is_expected(error: &LogDirError) -> bool {
    matches!(
        error,
        LogDirError::TopicDeleted { .. }
            | LogDirError::TopicNotFound { .. }
            | LogDirError::PartitionNotFound { .. }
            | LogDirError::Storage(StorageError::PartitionDeleted { .. } | StorageError::OffsetOutOfRange { .. })
    )
}

/// One process: works until its time is up, and prints what happened.
#[test]
#[ignore = "a process of the churn test"]
fn child() {
    let Ok(setting) = std::env::var(CHILD) else { return };
    let mut parts = setting.split(' ');
    let mut part = || parts.next().unwrap().to_owned();
    let (seed, seconds, root) = (part().parse::<u64>().unwrap(), part().parse::<u64>().unwrap(), part());
    let disk = delayed::disk(seed);
    let log_dir = LogDir::open_to_write(disk, Path::new(&root)).unwrap();
    let (mut random, mut number, started) = (Random(seed), 0, Instant::now());
    // Processes that wait for each other are to fail, not to hang.
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds + 60));
        eprintln!("seed {seed}: one step has not ended for a minute");
        std::process::abort();
    });
    let mut told = String::new();
    while started.elapsed() < Duration::from_secs(seconds) {
        let name: TopicName = NAMES[random.below(2) as usize].parse().unwrap();
        match step(&log_dir, &name, &mut random, (seed, &mut number), &mut told) {
            Err(error) if !is_expected(&error) => panic!("seed {seed}: {error}"),
            _ => {}
        }
    }
    print!("\n{told}");
}

fn step(
    log_dir: &LogDir,
    name: &TopicName,
    random: &mut Random,
    (seed, number): (u64, &mut u64),
    told: &mut String,
) -> Result<()> {
    match random.below(12) {
        0 | 1 => {
            let (config, keeps) = config(random);
            let created = log_dir.create_topic(&NewTopic { name: name.clone(), partitions: 1, config })?;
            if let kdir::logdir::Created::New(topic) = created
                && !keeps
            {
                writeln!(told, "+limit {}", id_of(&topic)).unwrap();
            }
        }
        2 => drop(log_dir.delete_topic(name, |_| {})?),
        3 => {
            let (config, keeps) = config(random);
            let mut id = String::new();
            let change = |topic: &Topic| -> Result<Alteration> {
                id = id_of(topic);
                Ok(Alteration { config: Some(config), partitions: None })
            };
            log_dir.alter_topic(name, change)?;
            if !keeps {
                writeln!(told, "+limit {id}").unwrap();
            }
        }
        4 => {
            let topic = log_dir.topic(name)?;
            let partition = log_dir.partition(&topic, 0)?;
            partition.apply_retention(LimitOverrides::default(), now(), &mut Vec::new(), |_| {})?;
        }
        5 if random.below(4) == 0 => {
            let topic = log_dir.topic(name)?;
            let partition = log_dir.partition(&topic, 0)?;
            let end = partition.view()?.log_end_offset()?;
            writeln!(told, "+limit {}", id_of(&topic)).unwrap();
            log_dir.delete_records(&partition, Offset(end.0 / 2), now())?;
        }
        6 if random.below(4) == 0 => {
            let topic = log_dir.topic(name)?;
            let partition = topic.partition(0)?;
            let left = log_dir.repair_partition(&partition, DamagedRecords::Keep, 1, &mut Vec::new())?;
            assert!(left.is_empty(), "seed {seed}: {left:?}");
        }
        7 => {
            let topic = log_dir.topic(name)?;
            let mut records = RecordReader::new(log_dir.partition(&topic, 0)?.reader(4096)?);
            // A topic of the name may have been created since its file was read: whose records they are, each says itself.
            let mut ids = BTreeSet::new();
            while let Advance::Record = records.advance()? {
                ids.insert(String::from_utf8_lossy(&records.record().value.unwrap()[..32]).into_owned());
            }
            assert!(ids.len() <= 1, "seed {seed}: records of several topics in one log: {ids:?}");
        }
        _ => produce(log_dir, name, random, (seed, number), told)?,
    }
    Ok(())
}

fn produce(
    log_dir: &LogDir,
    name: &TopicName,
    random: &mut Random,
    (seed, number): (u64, &mut u64),
    told: &mut String,
) -> Result<()> {
    let topic = log_dir.topic(name)?;
    let (id, heard) = (id_of(&topic), Arc::new(Heard::default()));
    let policy = [SyncPolicy::Always, SyncPolicy::End, SyncPolicy::Never][random.below(3) as usize];
    let mut writer = TopicWriter::new(log_dir.clone(), topic, policy, heard.listener())?;
    let (mut appended, mut result) = (BTreeMap::new(), Ok(()));
    for _ in 0..=random.below(20) {
        *number += 1;
        let value = format!("{id} {seed}.{number} {}", "x".repeat(random.below(200) as usize));
        let mut builder = BatchBuilder::new(0);
        builder.push(&NewRecord { timestamp: now(), value: Some(value.as_bytes()), ..NewRecord::default() });
        match writer.append(0, &mut [builder.finish(None, usize::MAX).unwrap()], now()) {
            Ok(it) => drop(appended.insert(it.base_offset.0, format!("{seed}.{number}"))),
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    let finished = writer.finish(now());
    for stretch in heard.all() {
        for (offset, number) in appended.range(stretch.base_offset.0..=stretch.last_offset.0) {
            writeln!(told, "+stored {id} {offset} {number}").unwrap();
        }
    }
    result.and(finished)
}

fn churn(seconds: u64, seed: u64) -> usize {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("log");
    LogDir::make(&kdir::disk::real::RealDisk::default(), &root).unwrap();
    let start = |child: u64| {
        let setting = format!("{} {seconds} {}", seed + child, root.display());
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "churn::child", "--ignored", "--nocapture"])
            .env(CHILD, setting)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    let (mut stored, mut limited) = (BTreeMap::<String, BTreeMap<i64, String>>::new(), BTreeSet::new());
    for child in children {
        let output = child.wait_with_output().unwrap();
        let (text, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "seed {seed}: {text}{error}");
        for line in text.lines().filter_map(|line| line.strip_prefix('+')) {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["limit", id] => drop(limited.insert(id.to_owned())),
                ["stored", id, offset, number] => {
                    let before =
                        stored.entry(id.to_owned()).or_default().insert(offset.parse().unwrap(), number.into());
                    assert_eq!(before, None, "seed {seed}: offset {offset} of {id} was given twice");
                }
                _ => panic!("{line}"),
            }
        }
    }
    let log_dir = LogDir::open(Arc::new(kdir::disk::real::RealDisk::default()), &root).unwrap();
    for topic in log_dir.topics().unwrap() {
        let (id, partition) = (id_of(&topic), log_dir.partition(&topic, 0).unwrap());
        let start = partition.view().unwrap().log_start_offset().0;
        assert!(start == 0 || limited.contains(&id), "seed {seed}: {id} has no limit, and begins at {start}");
        let (mut records, mut found) = (RecordReader::new(partition.reader(4096).unwrap()), BTreeMap::new());
        while records.advance().unwrap() == Advance::Record {
            let value = String::from_utf8(records.record().value.unwrap().to_vec()).unwrap();
            let (of, rest) = value.split_once(' ').unwrap();
            assert_eq!(of, id, "seed {seed}: a record of another topic");
            found.insert(records.offset().0, rest.split(' ').next().unwrap().to_owned());
        }
        for (offset, number) in stored.get(&id).into_iter().flatten().filter(|(offset, _)| **offset >= start) {
            assert_eq!(found.get(offset), Some(number), "seed {seed}: offset {offset} of {id} is lost");
        }
    }
    let findings = log_dir.begin_verification(&[], || {}).unwrap().run(1, &|_| {}).unwrap();
    let findings: Vec<_> = findings.partitions.into_iter().flat_map(|it| it.checked.findings).collect();
    assert!(findings.is_empty(), "seed {seed}: {findings:?}");
    stored.values().map(BTreeMap::len).sum()
}

#[test]
fn what_was_acknowledged_to_a_topic_stays_in_it_while_topics_of_its_name_come_and_go() {
    let stored = churn(4, 1);
    assert!(stored > 20, "{stored} records were acknowledged");
}

#[test]
#[ignore = "takes as long as it is given; `.ci/run` runs it"]
fn what_was_acknowledged_to_a_topic_stays_in_it_for_long() {
    let seconds = std::env::var("KDIR_CHURN_SECONDS").map_or(60, |text| text.parse().unwrap());
    let seed = std::env::var("KDIR_SEED").map_or_else(|_| now().0 as u64, |text| text.parse().unwrap());
    println!("KDIR_SEED={seed}: {} records acknowledged", churn(seconds, seed));
}
