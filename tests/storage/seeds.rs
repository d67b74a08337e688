//! What fuzzing and the property tests of [`entry_points`](super::entry_points) begin with: golden files that Kafka wrote,
//! and what the writers here make.
#![expect(clippy::disallowed_methods, reason = "golden files are read directly; the one door is a rule of src/")]

use super::entry_points::{FOLDER, Segment, guard};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::batch::{BatchBuilder, compressor};
use kdir::format::header::{BATCH_HEADER_SIZE, MAGIC_AT};
use kdir::format::record::NewRecord;
use kdir::storage::file_name::{FileKind, parse_segment_name, segment_path};
use kdir::storage::{Checkpoints, LogWriter, create_empty_log};
use kdir::units::{Offset, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};

/// Larger files make slow seeds, and show nothing that smaller ones do not.
const SIZE_MAX: usize = 6000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);
const KINDS: [FileKind; 3] = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];
const SNAPSHOT: &str = "0001e507e81e0000000100000000000003e80000000000020000000000000002000000020000018bcfe56807\
    ffffffffffffffffffffffff";
const TEXTS: [(u8, &str); 6] = [
    (4, "0\n2\napp 0 1234\n__x.y-z 17 0\n"),
    (5, "0\n2\n0 0\n3 170\n"),
    (6, "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ"),
    (7, r#"{"format_version":1,"name":"app","topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":3,"config":{}}"#),
    (
        7,
        r#"{"format_version":1,"name":"app","topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":1,"config":
        {"cleanup.policy":"compact,delete","compression.type":"zstd","compression.zstd.level":"7","retention.ms":"-1"}}"#,
    ),
    (
        7,
        r#"{"format_version":1,"name":"app","topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":2,"config":
        {"segment.bytes":"1048576","message.timestamp.type":"LogAppendTime","compression.type":"gzip"}}"#,
    ),
];
const LINES: [&str; 5] = [
    r#"{"value":"v"}"#,
    r#"{"key":"a\"\n","value":null,"headers":[{"key":"h","value":null},{"key":"h","value_b64":"/w=="}]}"#,
    r#"{"partition":3,"offset":42,"timestamp":-1,"timestamp_type":"CreateTime","key_b64":"gA==","value":"\u00e9"}"#,
    r#"{"value":"x","value_b64":"eA=="}"#,
    r#"{"topic":"t","value":"\ud83d\ude00","headers":[{"key_b64":"AA==","value":""}]}"#,
];
/// Each token, alone and with others, and each escape.
const TEMPLATES: [&str; 10] = [
    "",
    "%t-%p@%o %T %k=%s (%K,%S) %h\\n",
    "%R%s",
    "%T{%Y-%m-%d %H:%M:%S%.3f %z %Z}|%h{h}|%h{n}|100%%",
    "%T{%255Y %-d %y %g %c %s %N %q %^a %:Q}",
    "%T{%A %B %C %D %e %F %G %I %j %k %l %P %p %R %r %T %U %u %V %W %w %X %x %n %t %%}",
    r"\n\t\r\\\'\x1e\xff\033\10\0x1b\0\255\%s\",
    "%q",
    "ü %T{%Y",
    r"\xg",
];
/// What ends a template, a timestamp, a key, a null value, and headers.
const RECORD: &[u8] = b"\0\0\0\x01\x8b\xcf\xe5\x68\x7b\x03key\xff\x01h\x02v1\x01n\xff\x01h\0";

/// A segment of the golden log dir.
struct Golden {
    name: String,
    base: Offset,
    log: Vec<u8>,
    aborted: Vec<u8>,
}

/// The golden segments that are small, by name.
fn golden(folder: &Path) -> Vec<Golden> {
    let listed = |folder: &Path| {
        let entries = fs::read_dir(folder).expect("the golden log dir is there");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
        paths.sort();
        paths
    };
    let mut found = Vec::new();
    for partition in listed(folder).iter().filter(|path| path.is_dir()) {
        for path in listed(partition) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some((base, FileKind::Log)) = parse_segment_name(&name) else { continue };
            let log = fs::read(&path).expect("it was listed");
            let aborted = fs::read(path.with_extension("txnindex")).unwrap_or_default();
            let name = partition.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if log.len() <= SIZE_MAX {
                found.push(Golden { name, base, log, aborted });
            }
        }
    }
    found
}

/// The seeds of one entry point; `folder` holds the golden logs.
pub fn seeds(folder: &Path, entry_point: &str) -> Vec<Vec<u8>> {
    let golden = golden(folder);
    match entry_point {
        "batch" => batch(&golden),
        "legacy" => legacy(&golden),
        "index_and_checkpoint" => index_and_checkpoint(&golden),
        "segment" => segments(&golden).iter().map(Segment::to_input).collect(),
        "json_envelope" => json_envelope(folder),
        "internal_topics" => super::internal_topics::seeds(folder),
        "template" => TEMPLATES.map(|text| [text.as_bytes(), RECORD].concat()).to_vec(),
        _ => panic!("{entry_point} is no entry point"),
    }
}

/// One byte and the others behind it.
fn kind(kind: u8, bytes: &[u8]) -> Vec<u8> {
    [&[kind], bytes].concat()
}

fn batch(golden: &[Golden]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for log in golden.iter().filter(|it| it.log.get(MAGIC_AT) == Some(&2)).map(|it| &it.log) {
        seeds.extend([kind(0, log), kind(1, log)]);
        let size = 12 + u32::from_be_bytes(log[8..12].try_into().expect("four bytes")) as usize;
        let body = [&[log[22]], &log[59..61], &log[25..27], &log[BATCH_HEADER_SIZE..size]].concat();
        seeds.push(kind(2, &body));
    }
    for codec in 0..5 {
        seeds.push([&[3, codec][..], &b"some text, some text, ".repeat(10)].concat());
        seeds.push(vec![3, codec]);
    }
    for codec in ["none", "gzip", "snappy", "lz4", "zstd", "zstd:19"] {
        seeds.push(kind(1, &built(codec, 20)));
    }
    seeds
}

/// A batch as producers here make it, with timestamps that step back, null parts and headers.
fn built(codec: &str, count: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(0);
    for number in 0..count {
        let key = format!("key {}", number % 3);
        let value = "value ".repeat(number as usize % 5);
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x")), (b"", None)];
        builder.push(&NewRecord {
            timestamp: NOW + number * 7 % 10,
            key: Some(key.as_bytes()).filter(|_| number % 2 == 0),
            value: Some(value.as_bytes()).filter(|_| number % 7 != 0),
            headers: &headers[..number as usize % 3],
        });
    }
    let mut compressor = compressor(codec.parse().expect("a codec"));
    let built = builder.finish(compressor.as_mut(), usize::MAX);
    built.expect("the codecs take anything").to_vec()
}

fn legacy(golden: &[Golden]) -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for it in golden.iter().filter(|it| it.log.get(MAGIC_AT).is_some_and(|&magic| magic < 2)) {
        seeds.extend([kind(0, &it.log), kind(1, &it.log)]);
        // What the messages inside of a wrapper look like.
        if it.name.contains("none") {
            for flags in [0x21, 0x2b, 0x3a, 0x0b, 0x23] {
                let messages = it.log.iter().copied().take(500);
                seeds.push([2, flags, 0, 0, 0, 0, 0, 0, 0, 9].into_iter().chain(messages).collect());
            }
        }
    }
    seeds
}

fn index_and_checkpoint(golden: &[Golden]) -> Vec<Vec<u8>> {
    let digits = |at: usize| u8::from_str_radix(&SNAPSHOT[at..at + 2], 16).expect("two digits");
    let snapshot: Vec<u8> = (0..SNAPSHOT.len()).step_by(2).map(digits).collect();
    let mut seeds = vec![kind(3, &snapshot)];
    seeds.extend(TEXTS.iter().map(|(number, text)| kind(*number, text.as_bytes())));
    for segment in segments(golden) {
        let indexes = (0..).zip(&segment.indexes).filter(|(_, index)| index.len() > 30);
        seeds.extend(indexes.map(|(number, index)| kind(number, index)));
    }
    seeds
}

/// Golden logs with the indexes that a writer makes for them, and logs from writers here.
fn segments(golden: &[Golden]) -> Vec<Segment> {
    let golden = golden.iter().map(|it| with_indexes(it.base, &it.log, &it.aborted));
    let own = [1, 5, 30].map(|count| with_indexes(Offset(7), &written(Offset(7), count), &[]));
    let mut segments: Vec<Segment> = golden.chain(own).collect();
    for (at, segment) in segments.iter_mut().enumerate() {
        segment.is_sealed = at % 2 == 1;
        segment.recovery_point = if at % 5 == 4 { 3 } else { 0 };
        segment.log_start = if at % 7 == 6 { 2 } else { 0 };
    }
    segments
}

fn folder() -> PathBuf {
    PathBuf::from(FOLDER)
}

fn open(disk: &FaultyDisk) -> LogWriter {
    let guard = guard(disk, Checkpoints::default()).expect("a disk without faults");
    LogWriter::open(&guard, kdir::storage::Durability::Synced, NOW).expect("the log is sound")
}

fn empty_partition(base: Offset) -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(&folder()).expect("an empty disk has room");
    let guard = guard(&disk, Checkpoints::default()).expect("a disk without faults");
    create_empty_log(&guard, base).expect("a disk without faults");
    drop(guard);
    disk
}

fn file(disk: &FaultyDisk, base: Offset, kind: FileKind) -> Vec<u8> {
    let Ok(file) = disk.open(&segment_path(&folder(), base, kind), Access::Read) else { return Vec::new() };
    let mut bytes = vec![0; file.stat().expect("it is open").size as usize];
    file.read_at(&mut bytes, 0).expect("a disk without faults");
    bytes
}

fn with_indexes(base: Offset, log: &[u8], aborted: &[u8]) -> Segment {
    let disk = empty_partition(base);
    let path = segment_path(&folder(), base, FileKind::Log);
    disk.open(&path, Access::Write).and_then(|file| file.write_at(log, 0)).expect("a disk without faults");
    drop(open(&disk));
    let mut indexes = KINDS.map(|kind| file(&disk, base, kind));
    indexes[2] = aborted.to_vec();
    let log = log.to_vec();
    Segment { base, recovery_point: 0, log_start: 0, is_sealed: false, indexes, log }
}

/// The log of a writer here: so many batches, of one to three records.
fn written(base: Offset, count: i64) -> Vec<u8> {
    let disk = empty_partition(base);
    let mut writer = open(&disk);
    for number in 0..count {
        let codec = ["none", "lz4", "none", "zstd"][number as usize % 4];
        let mut batch = built(codec, 1 + number % 3);
        let guard = guard(&disk, Checkpoints::default()).expect("a disk without faults");
        writer.append(&guard, &mut [&mut batch], NOW).expect("a disk without faults");
    }
    file(&disk, base, FileKind::Log)
}

fn json_envelope(folder: &Path) -> Vec<Vec<u8>> {
    let mut seeds: Vec<Vec<u8>> = LINES.iter().map(|line| line.as_bytes().to_vec()).collect();
    for name in ["v0-none", "v1-none", "v2-none", "mixed", "transactions"] {
        let lines = fs::read(folder.join(format!("{name}.jsonl"))).expect("golden envelopes are there");
        seeds.extend(lines.split(|&byte| byte == b'\n').take(4).map(<[u8]>::to_vec));
    }
    seeds
}
