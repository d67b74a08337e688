//! The sound logs: what kdir writes, and what brokers have left, each with its small files and with the truth about it.

use super::super::support::{Heard, NOW, ROOT, bytes_of, disk_with_log_dir, open_log_dir, overwrite, topic_config};
use kdir::disk::Disk;
use kdir::disk::faulty::FaultyDisk;
use kdir::format::batch::{BatchBuilder, compressor, stamp};
use kdir::format::record::NewRecord;
use kdir::logdir::{LogDir, NewTopic};
use kdir::produce::{SyncPolicy, TopicWriter};
use kdir::storage::{Advance, Durability, RecordReader};
use kdir::units::{Offset, TopicPartition};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// By path below the root.
pub(super) type Files = BTreeMap<String, Vec<u8>>;
/// By offset: key and value, apart.
pub(super) type Records = BTreeMap<i64, Vec<u8>>;

macro_rules! data {
    ($path:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/", $path)).to_vec()
    };
}

/// Who has written last to the log dir, and says what was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// A topic file; all is acknowledged, up to `durable-end`.
    Kdir,
    /// A broker that was killed: no topic file; all below the high watermark, which is where the last batch begins, is
    /// acknowledged, and the recovery point is where the last segment begins.
    KilledBroker,
    /// A broker that was closed: both are at the end of the log.
    ClosedBroker,
}

impl Owner {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kdir => "kdir",
            Self::KilledBroker => "killed broker",
            Self::ClosedBroker => "closed broker",
        }
    }
}

/// A batch or message as it was written.
#[derive(Clone)]
pub(super) struct Batch {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) bytes: Vec<u8>,
}

impl Batch {
    pub(super) fn is_v2(&self) -> bool {
        self.bytes[16] == 2
    }
}

/// Some bytes of a segment.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    /// Which batch they are, if they are one and unaltered.
    pub(super) origin: Option<usize>,
}

/// What is on the disk of one log dir, with its one partition.
#[derive(Clone)]
pub(super) struct State {
    /// By base offset: the name that the file has.
    pub(super) segments: BTreeMap<i64, Vec<Piece>>,
    /// All other files.
    pub(super) files: Files,
    pub(super) has_folder: bool,
}

impl State {
    pub(super) fn all_files(&self) -> Files {
        let bytes = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.bytes.iter().copied()).collect();
        let logs = self.segments.iter().map(|(base, pieces)| (log_name(*base), bytes(pieces)));
        self.files.clone().into_iter().chain(logs).collect()
    }

    /// Which segment a batch is in, and where in it.
    pub(super) fn find(&self, batch: usize) -> Option<(i64, usize)> {
        let within = |pieces: &[Piece]| pieces.iter().position(|piece| piece.origin == Some(batch));
        self.segments.iter().find_map(|(base, pieces)| Some((*base, within(pieces)?)))
    }

    /// The same of a batch that is there.
    pub(super) fn place_of(&self, batch: usize) -> (i64, usize) {
        self.find(batch).expect("the batch is in a segment")
    }
}

pub(super) struct Log {
    pub(super) kind: &'static str,
    pub(super) owner: Owner,
    pub(super) disk: FaultyDisk,
    pub(super) batches: Vec<Batch>,
    pub(super) sound: State,
    pub(super) records: Records,
    /// All below is acknowledged.
    pub(super) acknowledged: i64,
    /// Whether the topic is compacted.
    pub(super) is_compacted: bool,
}

pub(super) fn log_name(base: i64) -> String {
    format!("app-0/{base:020}.log")
}

pub(super) fn path(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

pub(super) fn partition() -> TopicPartition {
    TopicPartition { topic: "app".parse().unwrap(), partition: 0 }
}

/// The number of batches that do not belong to the log.
pub(super) const FOREIGN: i64 = 500;
/// The number of those that are appended to see where they go.
pub(super) const APPENDED: i64 = 777;

/// A batch of three records, none of which another number has.
pub(super) fn batch(first: i64, number: i64, codec: &str) -> Vec<u8> {
    batch_of(first, number, 3, codec)
}

pub(super) fn batch_of(first: i64, number: i64, records: i64, codec: &str) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for record in 0..records {
        let (key, value) = (format!("key {record}"), format!("value {number}.{record} {}", "abc".repeat(8)));
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", None)];
        let (key, value) = (Some(key.as_bytes()), Some(value.as_bytes()));
        builder.push(&NewRecord { timestamp: NOW + number, key, value, headers });
    }
    let mut bytes = builder.finish(compressor(codec.parse().unwrap()).as_mut(), usize::MAX).unwrap().to_vec();
    stamp(&mut bytes, Offset(first), 0);
    bytes
}

/// Segments as they are on a disk, before anybody has opened them.
struct Raw {
    kind: &'static str,
    segments: Vec<(i64, Vec<u8>)>,
    is_compacted: bool,
    /// Whether the cleaner of this broker has a row for it.
    is_cleaned_here: bool,
    /// `leader-epoch-checkpoint`, where it is not what the batches show.
    epochs: Option<Vec<u8>>,
    txn_index: Option<Vec<u8>>,
    /// How many partitions of the topic are in the log dir.
    partitions: i32,
}

impl Raw {
    fn new(kind: &'static str, segments: Vec<(i64, Vec<u8>)>) -> Self {
        Self {
            kind,
            segments,
            is_compacted: false,
            is_cleaned_here: false,
            epochs: None,
            txn_index: None,
            partitions: 1,
        }
    }

    fn of_codec(codec: &'static str) -> Self {
        Self::new(codec, vec![(0, (0..7).flat_map(|number| batch(3 * number, number, codec)).collect())])
    }

    fn of_many_segments() -> Self {
        const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
        let segment = |number: i64| {
            let numbers = 3 * number..3 * number + 3;
            (9 * number, numbers.flat_map(|it| batch(3 * it, it, CODECS[it as usize % 5])).collect())
        };
        Self::new("segments", (0..4).map(segment).collect())
    }
}

fn first_messages(bytes: &[u8], count: usize) -> Vec<u8> {
    split(bytes).into_iter().take(count).flatten().collect()
}

/// The sound logs of brokers and kdir, each kind once.
fn raws() -> Vec<Raw> {
    let compacted = [
        (0, data!("compaction/round-2.after/00000000000000000000.log")),
        (65, data!("compaction/round-2.after/00000000000000000065.log")),
    ];
    let two_segments = [
        (0, data!("kafka/transactions-in-two-segments-0/00000000000000000000.log")),
        (3, data!("kafka/transactions-in-two-segments-0/00000000000000000003.log")),
    ];
    let mixed = [
        (0, data!("kafka/mixed-segments-0/00000000000000000000.log")),
        (6, data!("kafka/mixed-segments-0/00000000000000000006.log")),
        (12, data!("kafka/mixed-segments-0/00000000000000000012.log")),
    ];
    let follower = data!("damaged/f-renumber-compacted-follower/ev-0/00000000000000000000.log");
    let follower_gap = data!("damaged/f-follower-gap/comp2-0/00000000000000000000.log");
    let mut raws: Vec<Raw> = ["none", "gzip", "snappy", "lz4", "zstd"].map(Raw::of_codec).into();
    raws.push(Raw::of_many_segments());
    raws.push(Raw { is_compacted: true, is_cleaned_here: true, ..Raw::new("compacted", compacted.into()) });
    raws.push(Raw {
        txn_index: Some(data!("kafka/transactions-indexed-0/00000000000000000000.txnindex")),
        ..Raw::new("transactions", vec![(0, data!("kafka/transactions-indexed-0/00000000000000000000.log"))])
    });
    raws.push(Raw::new("transactions-2", two_segments.into()));
    for (kind, bytes) in [
        ("v0", first_messages(&data!("kafka/v0-none-0/00000000000000000000.log"), 7)),
        ("v0-gzip", data!("kafka/v0-gzip-0/00000000000000000000.log")),
        ("v1", first_messages(&data!("kafka/v1-none-0/00000000000000000000.log"), 7)),
        ("v1-lz4", data!("kafka/v1-lz4-0/00000000000000000000.log")),
    ] {
        raws.push(Raw::new(kind, vec![(0, bytes)]));
    }
    raws.push(Raw::new("mixed", mixed.into()));
    raws.push(Raw {
        is_compacted: true,
        epochs: Some(data!("damaged/f-renumber-compacted-follower/ev-0/leader-epoch-checkpoint")),
        ..Raw::new("follower", vec![(0, follower)])
    });
    raws.push(Raw {
        is_compacted: true,
        epochs: Some(data!("damaged/f-follower-gap/comp2-0/leader-epoch-checkpoint")),
        ..Raw::new("follower-gap", vec![(0, first_messages(&follower_gap, 6))])
    });
    raws.push(Raw { partitions: 3, ..Raw::of_codec("none") });
    raws.last_mut().unwrap().kind = "3 partitions";
    raws
}

/// Every sound log. Only a broker has followers, and what was written before Kafka 0.11.
pub(super) fn all() -> Vec<Log> {
    let is_kdirs = |raw: &Raw| raw.epochs.is_none() && raw.partitions == 1 && !raw.kind.starts_with(['v', 'm']);
    let built = |raw: &Raw| {
        let of_kdir = is_kdirs(raw).then_some(Owner::Kdir);
        let owners = of_kdir.into_iter().chain([Owner::KilledBroker, Owner::ClosedBroker]);
        owners.map(|owner| Log::build(raw, owner)).collect::<Vec<_>>()
    };
    raws().iter().flat_map(built).collect()
}

/// Batches and messages, by the lengths that they give.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[8..12].try_into().unwrap()) as usize;
        let (batch, rest) = bytes.split_at(12 + length);
        batches.push(batch.to_vec());
        bytes = rest;
    }
    batches
}

pub(super) fn offset_of(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[..8].try_into().unwrap())
}

/// The epochs that the batches show, as a broker keeps them.
fn epochs_of(segments: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let mut rows: Vec<(i32, i64)> = Vec::new();
    for batch in segments.iter().flat_map(|(_, bytes)| split(bytes)).filter(|batch| batch[16] == 2) {
        let epoch = i32::from_be_bytes(batch[12..16].try_into().unwrap());
        if rows.last().is_none_or(|row| row.0 < epoch) {
            rows.push((epoch, offset_of(&batch)));
        }
    }
    let lines: String = rows.iter().map(|(epoch, offset)| format!("{epoch} {offset}\n")).collect();
    format!("0\n{}\n{lines}", rows.len()).into_bytes()
}

pub(super) fn checkpoint(rows: &[(&str, i64)]) -> Vec<u8> {
    let lines: String = rows.iter().map(|(topic, offset)| format!("{topic} 0 {offset}\n")).collect();
    format!("0\n{}\n{lines}", rows.len()).into_bytes()
}

/// A producer snapshot without a producer: version, CRC-32C of the rest, count.
fn snapshot() -> Vec<u8> {
    vec![0, 1, 0x48, 0x67, 0x4b, 0xc7, 0, 0, 0, 0]
}

impl Log {
    fn build(raw: &Raw, owner: Owner) -> Self {
        let disk = disk_with_log_dir();
        let dir = open_log_dir(&disk).unwrap();
        let policy: &[(&str, &str)] = if raw.is_compacted { &[("cleanup.policy", "compact")] } else { &[] };
        let settings = [&[("index.interval.bytes", "100")][..], policy].concat();
        let topic = NewTopic { name: partition().topic, partitions: 1, config: topic_config(&settings) };
        dir.create_topic(&topic).unwrap();
        if raw.segments[0].0 != 0 {
            disk.remove_file(&path(&log_name(0))).unwrap();
        }
        for (base, bytes) in &raw.segments {
            overwrite(&disk, &path(&log_name(*base)), bytes);
        }
        let epochs = raw.epochs.clone().unwrap_or_else(|| epochs_of(&raw.segments));
        overwrite(&disk, &path("app-0/leader-epoch-checkpoint"), &epochs);
        if let Some(bytes) = &raw.txn_index {
            overwrite(&disk, &path("app-0/00000000000000000000.txnindex"), bytes);
        }
        append_and_close(&dir, owner);
        let last_base = raw.segments.last().unwrap().0;
        let row = |offset| checkpoint(&[("app", offset)]);
        overwrite(&disk, &path("recovery-point-offset-checkpoint"), &row(last_base));
        let mut log = Self {
            kind: raw.kind,
            owner,
            batches: Vec::new(),
            sound: State { segments: BTreeMap::new(), files: Files::new(), has_folder: true },
            records: read(&disk).0.into_iter().collect(),
            acknowledged: 0,
            is_compacted: raw.is_compacted,
            disk,
        };
        log.take_batches(&raw.segments);
        let (last, end) = (log.batches.last().unwrap().first, log.batches.last().unwrap().last + 1);
        log.acknowledged = if owner == Owner::KilledBroker { last } else { end };
        match owner {
            Owner::Kdir => {}
            Owner::KilledBroker => log.hand_to_broker(last_base, end, raw.is_cleaned_here),
            Owner::ClosedBroker => log.hand_to_broker(end, end, raw.is_cleaned_here),
        }
        (1..raw.partitions).for_each(|partition| log.add_partition(partition));
        let is_of_log = |name: &str| name.starts_with("app-0/") && name.ends_with(".log");
        log.sound.files = files(&log.disk).into_iter().filter(|(name, _)| !is_of_log(name)).collect();
        log
    }

    /// Another partition of the topic, in which nothing is.
    fn add_partition(&self, partition: i32) {
        let folder = format!("app-{partition}");
        self.disk.create_folder(&path(&folder)).unwrap();
        let metadata = bytes_of(&self.disk, &path("app-0/partition.metadata"));
        overwrite(&self.disk, &path(&format!("{folder}/partition.metadata")), &metadata);
        overwrite(&self.disk, &path(&format!("{folder}/00000000000000000000.log")), b"");
    }

    fn take_batches(&mut self, segments: &[(i64, Vec<u8>)]) {
        let mut next = 0;
        for (base, _) in segments {
            let mut pieces = Vec::new();
            for bytes in split(&bytes_of(&self.disk, &path(&log_name(*base)))) {
                let offset = offset_of(&bytes);
                let (first, last) = if bytes[16] == 2 {
                    (offset, offset + i64::from(i32::from_be_bytes(bytes[23..27].try_into().unwrap())))
                } else {
                    // A compressed message gives its last offset alone.
                    (self.records.range(next..).next().map_or(offset, |(first, _)| *first), offset)
                };
                next = last + 1;
                pieces.push(Piece { bytes: bytes.clone(), origin: Some(self.batches.len()) });
                self.batches.push(Batch { first, last, bytes });
            }
            self.sound.segments.insert(*base, pieces);
        }
    }

    /// Takes away what only kdir writes, and puts there what a broker does.
    fn hand_to_broker(&self, recovery_point: i64, end: i64, is_cleaned_here: bool) {
        let names: Vec<String> = files(&self.disk).into_keys().collect();
        for name in names.iter().filter(|it| *it == "app.json" || *it == ".lock" || it.ends_with("durable-end")) {
            self.disk.remove_file(&path(name)).unwrap();
        }
        let cleaned: &[(&str, i64)] = if is_cleaned_here { &[("app", end - 1)] } else { &[("other", 5)] };
        for (name, bytes) in [
            ("recovery-point-offset-checkpoint", checkpoint(&[("app", recovery_point)])),
            ("replication-offset-checkpoint", checkpoint(&[("app", self.acknowledged)])),
            ("log-start-offset-checkpoint", checkpoint(&[])),
            ("cleaner-offset-checkpoint", checkpoint(cleaned)),
            ("meta.properties", b"version=1\ncluster.id=kX2cRzRVRTeBcXEIr4jAuQ\nnode.id=1\n".to_vec()),
            (&format!("app-0/{recovery_point:020}.snapshot"), snapshot()),
        ] {
            overwrite(&self.disk, &path(name), &bytes);
        }
        if self.owner == Owner::ClosedBroker {
            overwrite(&self.disk, &path(".kafka_cleanshutdown"), br#"{"version":0,"brokerEpoch":5}"#);
        }
    }

    /// A disk with this on it.
    pub(super) fn disk_with(&self, state: &State) -> FaultyDisk {
        let disk = self.disk.kill();
        let (before, after) = (self.sound.all_files(), state.all_files());
        for name in before.keys().filter(|name| !after.contains_key(*name)) {
            disk.remove_file(&path(name)).unwrap();
        }
        if !state.has_folder {
            disk.remove_folder(&path("app-0")).unwrap();
        }
        for (name, bytes) in after.iter().filter(|(name, bytes)| before.get(*name) != Some(bytes)) {
            overwrite(&disk, &path(name), bytes);
        }
        disk
    }
}

/// Opens the log as a writer does, which makes its indexes, and as kdir appends a batch to it.
fn append_and_close(dir: &LogDir, owner: Owner) {
    let topic = dir.topic(&partition().topic).unwrap();
    match owner {
        Owner::Kdir => {
            let listener = Arc::new(Heard::default()).listener();
            let mut writer = TopicWriter::new(dir.clone(), topic, SyncPolicy::End, listener).unwrap();
            writer.append(0, &mut [&mut batch(0, 99, "none")], NOW).unwrap();
            writer.finish(NOW).unwrap();
        }
        Owner::KilledBroker | Owner::ClosedBroker => {
            let handle = dir.partition(&topic, 0).unwrap();
            let guard = handle.guard().unwrap();
            let mut writer = dir.open_writer(&handle, &guard, Durability::Synced, NOW).unwrap();
            drop(guard);
            handle.close(&mut writer, NOW).unwrap();
        }
    }
}

/// Every file below the root.
pub(super) fn files(disk: &FaultyDisk) -> Files {
    let mut found = Files::new();
    for entry in disk.list(Path::new(ROOT)).unwrap() {
        if !entry.is_folder {
            found.insert(entry.name.clone(), bytes_of(disk, &path(&entry.name)));
            continue;
        }
        for inside in disk.list(&path(&entry.name)).unwrap() {
            let name = format!("{}/{}", entry.name, inside.name);
            found.insert(name.clone(), bytes_of(disk, &path(&name)));
        }
    }
    found
}

/// What a reader shows from the log start on, and the error that it ends with.
pub(super) fn read(disk: &FaultyDisk) -> (Vec<(i64, Vec<u8>)>, Option<String>) {
    let mut shown = Vec::new();
    let mut read = || -> kdir::logdir::Result<()> {
        let dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT))?;
        let mut records = RecordReader::new(dir.partition(&dir.topic(&partition().topic)?, 0)?.reader(4096)?);
        while records.advance()? == Advance::Record {
            let (offset, record) = (records.offset().0, records.record());
            let content = [record.key.unwrap_or(b"-"), b"|", record.value.unwrap_or(b"-")].concat();
            shown.push((offset, content));
        }
        Ok(())
    };
    let error = read().err().map(|error| error.to_string());
    (shown, error)
}
