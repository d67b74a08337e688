//! The changes of `disks.rs`, and what the brokers do on each.

use crate::broker::Kafka;
use crate::support::{Kdir, flip};
use crate::untouched::copy_folder;
use std::fs;

/// What a broker does on a disk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It starts and serves every record.
    ServesAll,
    /// It starts and serves records at those offsets of a topic.
    ServesOffsets(&'static str, &'static [i64]),
    /// It starts, renames that folder to `….<id>-stray`, and has nothing in its place.
    SetsAside(&'static str),
    /// The same with all folders.
    SetsAllAside,
    /// It starts, says that, and never serves some partitions.
    Withholds(&'static str),
    /// It starts, says that, and ends by itself.
    Dies(&'static str),
    /// It says that, and ends before it serves.
    Refuses(&'static str),
    /// The same, but later versions of a broker with such a log dir start: `verify` cannot know which it will be.
    RefusesUnlessNewer(&'static str),
}

use Outcome::{Dies, Refuses, RefusesUnlessNewer, ServesAll, ServesOffsets, SetsAllAside, SetsAside, Withholds};

impl Outcome {
    /// Whether `verify` is to say that something blocks a broker.
    pub(crate) fn blocks(self) -> Option<bool> {
        match self {
            ServesAll | ServesOffsets(..) => Some(false),
            SetsAside(_) | SetsAllAside | Withholds(_) | Dies(_) | Refuses(_) => Some(true),
            RefusesUnlessNewer(_) => None,
        }
    }

    /// Whether other changes can be made on the same disk.
    pub(crate) fn leaves_room(self) -> bool {
        matches!(self, ServesAll | ServesOffsets(..) | SetsAside(_))
    }
}

/// A change of a broker's disk.
pub(crate) struct Disk {
    pub(crate) name: &'static str,
    /// Part of the path that `verify` names, where it names one.
    pub(crate) place: &'static str,
    pub(crate) change: fn(&Kdir),
    /// Of 4 and 3.
    kraft: Outcome,
    /// Of 2.8 with its ZooKeeper; `None` where it has no such file.
    zookeeper: Option<Outcome>,
}

impl Disk {
    pub(crate) fn is_of(&self, kafka: Kafka) -> bool {
        kafka != Kafka::K2 || self.zookeeper.is_some()
    }

    pub(crate) fn outcome(&self, kafka: Kafka) -> Outcome {
        if kafka == Kafka::K2 { self.zookeeper.unwrap() } else { self.kraft }
    }
}

const fn disk(
    name: &'static str,
    place: &'static str,
    change: fn(&Kdir),
    kraft: Outcome,
    zookeeper: Option<Outcome>,
) -> Disk {
    Disk { name, place, change, kraft, zookeeper }
}

const NOT_A_PARTITION: Outcome = Refuses("is not in the form of topic-partition");
const NOT_A_NUMBER: Outcome = Refuses("java.lang.NumberFormatException: For input string: \"foo\"");
const MALFORMED: Outcome = Refuses("Malformed line in ");
const METADATA_LOG: &str = "__cluster_metadata-0/00000000000000000000.log";
const STRAY: &str = "strange-0.0123456789abcdef0123456789abcdef-stray";
const DELETED: &str = "strange-0.0123456789abcdef0123456789abcdef-delete";
const FUTURE: &str = "plain-0.0123456789abcdef0123456789abcdef-future";
/// The offsets of the records that [`overflow`] makes, each a batch.
const FAR: [i64; 4] = [0, 5, (1 << 31) + 10, (1 << 32) + 5];
const OVERFLOW: Outcome = ServesOffsets("overflow", &FAR);
/// The file is taken for one that ends before its first line.
const NO_TEXT: Outcome = Refuses("because \"this.text\" is null");
const OF_LATER_VERSIONS: Outcome = RefusesUnlessNewer("is not in the form of topic-partition");

/// Those that are made in every run.
pub(crate) static DISKS: [Disk; 24] = [
    // On these a broker starts and serves all.
    disk("a file in the root", "notes.txt", |it| write(it, "notes.txt", b"hello"), ServesAll, Some(ServesAll)),
    disk("a folder to be deleted", DELETED, |it| copy(it, "plain-0", DELETED), ServesAll, Some(ServesAll)),
    disk("other names in a partition", "files-0", other_names, ServesAll, Some(ServesAll)),
    disk("what kdir leaves", "kdir-files-0", kdir_files, ServesAll, Some(ServesAll)),
    disk("checkpoint files are empty", "-checkpoint", |it| checkpoints(it, b""), ServesAll, Some(ServesAll)),
    disk(
        "no leader epochs",
        "epochs-0",
        |it| write(it, "epochs-0/leader-epoch-checkpoint", b""),
        ServesAll,
        Some(ServesAll),
    ),
    disk("offsets beyond int32", "overflow-0", overflow, OVERFLOW, Some(OVERFLOW)),
    disk("no quorum state", "quorum-state", |it| remove(it, "__cluster_metadata-0/quorum-state"), ServesAll, None),
    // Of these it sets something aside, or does not serve it.
    disk("no topic id", "no-id-0", |it| remove(it, "no-id-0/partition.metadata"), SetsAside("no-id-0"), None),
    disk(
        "an unknown topic id",
        "unknown-id-0",
        |it| topic_id(it, "unknown-id-0"),
        SetsAside("unknown-id-0"),
        Some(ServesAll),
    ),
    disk("an unknown topic", "strange-0", unknown_topic, SetsAside("strange-0"), Some(ServesAll)),
    disk(
        "a folder that looks like a partition",
        "photos-2024",
        |it| folder(it, "photos-2024"),
        SetsAside("photos-2024"),
        Some(ServesAll),
    ),
    disk("another topic's id", "another-id-0", another_id, Withholds("InconsistentTopicIdException"), None),
    disk("no metadata any more", "__cluster_metadata-0", |it| flip(&it.path(METADATA_LOG), 80), SetsAllAside, None),
    // On these it does not start.
    disk("a folder that was set aside", STRAY, |it| copy(it, "plain-0", STRAY), ServesAll, Some(OF_LATER_VERSIONS)),
    disk("lost+found", "lost+found", |it| folder(it, "lost+found"), NOT_A_PARTITION, Some(NOT_A_PARTITION)),
    disk(
        "partition.metadata is empty",
        "no-id-0",
        |it| write(it, "no-id-0/partition.metadata", b""),
        NO_TEXT,
        Some(NO_TEXT),
    ),
    disk(
        "partition.metadata is zeros",
        "no-id-0",
        |it| write(it, "no-id-0/partition.metadata", &[0; 43]),
        MALFORMED,
        Some(MALFORMED),
    ),
    disk(
        "meta.properties is empty",
        "meta.properties",
        |it| write(it, "meta.properties", b""),
        Refuses("node ID not found in"),
        Some(ServesAll),
    ),
    disk(
        "a log of another name",
        "files-0/foo.log",
        |it| write(it, "files-0/foo.log", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "an index of another name",
        "files-0/foo.index",
        |it| write(it, "files-0/foo.index", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a recovery point of zeros",
        "recovery-point",
        |it| zeros(it, "recovery-point-offset-checkpoint"),
        MALFORMED,
        Some(MALFORMED),
    ),
    disk(
        "leader epochs of zeros",
        "epochs-0",
        |it| zeros(it, "epochs-0/leader-epoch-checkpoint"),
        MALFORMED,
        Some(MALFORMED),
    ),
    disk(
        "a quorum state of zeros",
        "quorum-state",
        |it| zeros(it, "__cluster_metadata-0/quorum-state"),
        Refuses("Error while reading the Quorum status"),
        None,
    ),
];

/// Those that `KDIR_KAFKA_DISKS=each` adds.
pub(crate) static MORE_DISKS: [Disk; 14] = [
    disk("a folder with a dot", ".snapshot", |it| folder(it, ".snapshot"), NOT_A_PARTITION, Some(NOT_A_PARTITION)),
    disk(
        "a time index of another name",
        "foo.timeindex",
        |it| write(it, "files-0/foo.timeindex", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a transaction index of another name",
        "foo.txnindex",
        |it| write(it, "files-0/foo.txnindex", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a snapshot of another name",
        "foo.snapshot",
        |it| write(it, "files-0/foo.snapshot", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a cleaned log of another name",
        "foo.log.cleaned",
        |it| write(it, "files-0/foo.log.cleaned", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a swapped log of another name",
        "foo.log.swap",
        |it| write(it, "files-0/foo.log.swap", b""),
        NOT_A_NUMBER,
        Some(NOT_A_NUMBER),
    ),
    disk(
        "a log start of zeros",
        "log-start",
        |it| write(it, "log-start-offset-checkpoint", &[0; 4]),
        MALFORMED,
        Some(MALFORMED),
    ),
    disk(
        "a cleaner's checkpoint of zeros",
        "cleaner",
        |it| write(it, "cleaner-offset-checkpoint", &[0; 4]),
        MALFORMED,
        Some(MALFORMED),
    ),
    disk(
        "a high watermark of zeros",
        "replication",
        |it| zeros(it, "replication-offset-checkpoint"),
        MALFORMED,
        Some(Dies("Malformed line in ")),
    ),
    disk(
        "a replica to come",
        FUTURE,
        |it| copy(it, "plain-0", FUTURE),
        Refuses("Directory not empty"),
        Some(Dies("Directory not empty")),
    ),
    disk("no cluster id", "meta.properties", no_cluster_id, Refuses("cluster.id was not found"), Some(ServesAll)),
    disk(
        "no meta.properties",
        "meta.properties",
        |it| remove(it, "meta.properties"),
        Refuses("No readable meta.properties files found"),
        Some(ServesAll),
    ),
    disk(
        "an empty bootstrap checkpoint",
        "bootstrap",
        |it| write(it, "bootstrap.checkpoint", b""),
        Refuses("No FeatureLevelRecord"),
        None,
    ),
    disk("the last batch of the metadata", "__cluster_metadata-0", last_of_metadata, ServesAll, None),
];

fn write(kdir: &Kdir, name: &str, bytes: &[u8]) {
    fs::write(kdir.path(name), bytes).unwrap();
}

fn remove(kdir: &Kdir, name: &str) {
    fs::remove_file(kdir.path(name)).unwrap();
}

fn folder(kdir: &Kdir, name: &str) {
    fs::create_dir(kdir.path(name)).unwrap();
}

fn copy(kdir: &Kdir, from: &str, to: &str) {
    copy_folder(&kdir.path(from), &kdir.path(to));
}

/// As a disk can leave a file after a power failure.
fn zeros(kdir: &Kdir, name: &str) {
    let length = fs::read(kdir.path(name)).unwrap().len();
    write(kdir, name, &vec![0; length]);
}

fn checkpoints(kdir: &Kdir, bytes: &[u8]) {
    for name in ["recovery-point", "replication", "log-start", "cleaner"] {
        write(kdir, &format!("{name}-offset-checkpoint"), bytes);
    }
}

/// What is no segment's in whatever sense.
fn other_names(kdir: &Kdir) {
    for name in ["notes.txt", "foo.deleted", "foo.log.deleted"] {
        write(kdir, &format!("files-0/{name}"), b"hello");
    }
    folder(kdir, "files-0/sub");
}

/// Whatever recovery and repair put beside a log, and a writer's marks of what is durable.
fn kdir_files(kdir: &Kdir) {
    let cut = "cut-00000000000000000100-00000000000000007000";
    let unsynced = "unsynced-6f1f3c1e-1111-4222-8333-123456789abc";
    for name in
        [cut, unsynced, "00000000000000000000.index.damaged", "leader-epoch-checkpoint.damaged.1", "durable-end"]
    {
        write(kdir, &format!("kdir-files-0/{name}"), b"");
    }
    write(kdir, "recovery-point-offset-checkpoint.damaged", b"hello");
}

/// The one record of a log again and again, with offsets that are too far from each other for one segment.
fn overflow(kdir: &Kdir) {
    let log = kdir.segment("overflow-0", 0, "log");
    let batch = fs::read(&log).unwrap();
    // A checksum does not cover the base offset, which a header begins with.
    let batches = FAR.map(|base_offset| [&base_offset.to_be_bytes()[..], &batch[8..]].concat());
    fs::write(log, batches.concat()).unwrap();
    for suffix in ["index", "timeindex"] {
        fs::remove_file(kdir.segment("overflow-0", 0, suffix)).unwrap();
    }
}

fn topic_id(kdir: &Kdir, partition: &str) {
    write(kdir, &format!("{partition}/partition.metadata"), b"version: 0\ntopic_id: 3BaPk9QmSYOTSi4xQxsWBQ");
}

fn unknown_topic(kdir: &Kdir) {
    copy(kdir, "plain-0", "strange-0");
    topic_id(kdir, "strange-0");
}

fn another_id(kdir: &Kdir) {
    fs::copy(kdir.path("other-0/partition.metadata"), kdir.path("another-id-0/partition.metadata")).unwrap();
}

fn no_cluster_id(kdir: &Kdir) {
    let text = fs::read_to_string(kdir.path("meta.properties")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("cluster.id=")).collect();
    write(kdir, "meta.properties", lines.join("\n").as_bytes());
}

fn last_of_metadata(kdir: &Kdir) {
    let log = kdir.path(METADATA_LOG);
    let last = fs::metadata(&log).unwrap().len() - 1;
    flip(&log, last.try_into().unwrap());
}
