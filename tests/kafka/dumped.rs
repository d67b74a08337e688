//! kafka-dump-log finds in what the program writes what went in, and nothing to complain of.

use crate::broker::Kafka;
use crate::histories::{self, History, files};
use crate::support::{Kdir, cut, flip};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

crate::on_every_kafka! {
    kafka_dump_log_finds_every_record_and_nothing_wrong,
    kafka_dump_log_complains_of_a_changed_byte_and_of_wrong_index_entries,
}

/// What kafka-dump-log says of one file.
#[derive(Default)]
struct Dumped<'a> {
    starting_offset: Option<i64>,
    batches: Vec<&'a str>,
    records: Vec<&'a str>,
    /// Lines of an index.
    entries: Vec<&'a str>,
}

/// The word after `name: `.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    let at = line.find(&format!("{name}: ")).unwrap_or_else(|| panic!("no {name} in {line}"));
    line[at + name.len() + 2..].split(' ').next().unwrap()
}

fn number(line: &str, name: &str) -> i64 {
    field(line, name).parse().unwrap_or_else(|_| panic!("{name} is no number in {line}"))
}

/// Takes apart all that it printed. A line that is not known is a complaint.
fn take_apart(stdout: &str) -> Result<BTreeMap<PathBuf, Dumped<'_>>, String> {
    let mut files = BTreeMap::<PathBuf, Dumped<'_>>::new();
    let mut path = PathBuf::new();
    for line in stdout.lines() {
        if let Some(next) = line.strip_prefix("Dumping ") {
            path = next.into();
            files.entry(path.clone()).or_default();
            continue;
        }
        let dumped = files.get_mut(&path).ok_or(line)?;
        if line.starts_with("baseOffset: ") && line.ends_with(" isvalid: true") {
            dumped.batches.push(line);
        } else if line.starts_with("| offset: ") {
            dumped.records.push(line);
        } else if line.starts_with("offset: ") || line.starts_with("timestamp: ") {
            dumped.entries.push(line);
        } else if line.starts_with("Log starting offset: ") || line.starts_with("Starting offset: ") {
            dumped.starting_offset = Some(line.rsplit(' ').next().unwrap().parse().unwrap());
        } else if line != format!("{} is empty.", path.display()) && line != sanity_passed(&path) {
            return Err(line.to_owned());
        }
    }
    Ok(files)
}

fn sanity_passed(path: &Path) -> String {
    format!("{} passed sanity check.", path.display())
}

/// The offset that a segment's file is named for.
fn base_offset(path: &Path) -> i64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// Runs kafka-dump-log, and fails with the line if it complains: its exit status is 0 all the same.
fn dump(kafka: Kafka, paths: &[PathBuf], options: &[&str]) -> Result<String, String> {
    let (stdout, stderr) = kafka.dump_log(paths, options);
    let mut lines = stderr.lines();
    while let Some(line) = lines.next() {
        // The tool of 4.3 compares the first offset of every segment with -1, and names those that do not begin at 0.
        let path = line.strip_prefix("Non-consecutive offsets in ").filter(|_| kafka == Kafka::K4).ok_or(line)?;
        let first = base_offset(Path::new(path));
        if first == 0 || lines.next() != Some(&format!("  -1 is followed by {first}")) {
            return Err(line.to_owned());
        }
    }
    Ok(stdout)
}

/// The batches of a segment follow on from one another and fill the file, and each has its records. Returns these.
fn check_segment<'a>(path: &Path, dumped: &Dumped<'a>, codec: &str) -> Vec<&'a str> {
    assert_eq!(dumped.starting_offset, Some(base_offset(path)), "{path:?}");
    let (mut position, mut offset) = (0, base_offset(path));
    for batch in &dumped.batches {
        assert_eq!((number(batch, "position"), number(batch, "baseOffset")), (position, offset), "{batch}");
        assert_eq!(number(batch, "lastOffset"), offset + number(batch, "count") - 1, "{batch}");
        assert_eq!(field(batch, "compresscodec").to_lowercase(), codec, "{batch}");
        assert_eq!((number(batch, "partitionLeaderEpoch"), number(batch, "magic")), (0, 2), "{batch}");
        position += number(batch, "size");
        offset += number(batch, "count");
    }
    assert_eq!(u64::try_from(position).unwrap(), fs::metadata(path).unwrap().len(), "{path:?}");
    assert_eq!(dumped.records.len(), usize::try_from(offset - base_offset(path)).unwrap(), "{path:?}");
    dumped.records.clone()
}

/// A record as kafka-dump-log printed it is the one that went in.
fn check_record(line: &str, record: &Value) {
    let (key, value) = (histories::bytes(record, "key"), histories::bytes(record, "value"));
    let size = |part: &Option<Vec<u8>>| part.as_ref().map_or(-1, |part| i64::try_from(part.len()).unwrap());
    assert_eq!(number(line, "offset"), record["offset"].as_i64().unwrap(), "{line}");
    assert_eq!(
        number(line, record["timestamp_type"].as_str().unwrap()),
        record["timestamp"].as_i64().unwrap(),
        "{line}"
    );
    assert_eq!((number(line, "keySize"), number(line, "valueSize")), (size(&key), size(&value)), "{line}");
    let headers: Vec<&str> =
        record["headers"].as_array().unwrap().iter().map(|header| header["key"].as_str().unwrap()).collect();
    let mut expected = format!("headerKeys: [{}]", headers.join(","));
    for (name, part) in [("key", key), ("payload", value)] {
        if let Some(part) = part {
            write!(expected, " {name}: {}", String::from_utf8_lossy(&part)).unwrap();
        }
    }
    // What the tool makes of other characters is the locale's matter.
    if expected.is_ascii() {
        assert!(line.ends_with(&expected), "{line}\n{expected}");
    }
}

/// The files of all those topics with those suffixes.
fn all_files(kdir: &Kdir, histories: &[History], suffixes: &[&str]) -> Vec<PathBuf> {
    let pairs = histories.iter().flat_map(|history| suffixes.iter().map(|suffix| (history.topic, *suffix)));
    pairs.flat_map(|(topic, suffix)| files(kdir, topic, suffix)).collect()
}

fn kafka_dump_log_finds_every_record_and_nothing_wrong(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut histories = histories::write_all(&kdir);
    // The tool names the offsets of records that are gone, as it does in a compacted log; the broker serves such a log.
    histories.retain(|history| history.topic != histories::REPAIRED);
    let options = ["--deep-iteration", "--print-data-log"];
    let stdout = dump(kafka, &all_files(&kdir, &histories, &[".log", ".index", ".timeindex"]), &options).unwrap();
    let dumped = take_apart(&stdout).unwrap();
    for history in &histories {
        for partition in 0..history.partitions {
            let logs = files(&kdir, history.topic, ".log");
            let folder = format!("{}-{partition}", history.topic);
            let mut logs = logs.iter().filter(|path| path.parent() == Some(&kdir.path(&folder))).peekable();
            let first = base_offset(logs.peek().unwrap());
            let records = logs.flat_map(|path| check_segment(path, &dumped[path], history.codec));
            let expected = history
                .records
                .iter()
                .filter(|record| record["partition"] == partition && record["offset"].as_i64().unwrap() >= first);
            let (records, expected): (Vec<&str>, Vec<&Value>) = (records.collect(), expected.collect());
            assert_eq!(records.len(), expected.len(), "{folder}");
            records.iter().zip(expected).for_each(|(line, record)| check_record(line, record));
        }
        for suffix in [".index", ".timeindex"] {
            let entries: usize =
                files(&kdir, history.topic, suffix).iter().map(|path| dumped[path].entries.len()).sum();
            // One batch alone needs no index.
            assert!(entries > 1 || history.topic == "unusual", "{} has {entries} entries in {suffix}", history.topic);
        }
    }

    let indexes = all_files(&kdir, &histories, &[".index", ".timeindex"]);
    let stdout = dump(kafka, &indexes, &["--index-sanity-check"]).unwrap();
    let passed = |line: &&str| line.ends_with(" passed sanity check.") || line.ends_with(" is empty.");
    let passed = stdout.lines().filter(passed).count();
    assert_eq!(passed, indexes.len(), "{stdout}");
    take_apart(&stdout).unwrap();
    let stdout = dump(kafka, &indexes, &["--verify-index-only"]).unwrap();
    assert_eq!(take_apart(&stdout).unwrap().len(), indexes.len(), "{stdout}");
}

fn kafka_dump_log_complains_of_a_changed_byte_and_of_wrong_index_entries(kafka: Kafka) {
    let kdir = Kdir::with_topic("damaged", &[]);
    kdir.produce("damaged", &["-i", "json", "--batch-size", "1KiB"], histories::lines(&histories::records(0..500)));
    let segment = |suffix: &str| kdir.segment("damaged-0", 0, suffix);
    let complaint = |suffix: &str, options: &[&str]| {
        dump(kafka, &[segment(suffix)], options).and_then(|stdout| take_apart(&stdout).map(drop)).err()
    };
    let deep = ["--deep-iteration", "--print-data-log"];
    assert_eq!(complaint("log", &deep), None);
    assert_eq!(complaint("index", &["--verify-index-only"]), None);
    assert_eq!(complaint("timeindex", &["--verify-index-only"]), None);

    // The last byte of the offset, and of the timestamp, in the second entry.
    flip(&segment("index"), 11);
    flip(&segment("timeindex"), 19);
    let complained = complaint("index", &["--verify-index-only"]).unwrap();
    assert!(complained.starts_with("Mismatches in "), "{complained}");
    let complained = complaint("timeindex", &["--verify-index-only"]).unwrap();
    assert!(complained.starts_with("Found timestamp mismatch in "), "{complained}");
    flip(&segment("log"), 100);
    let complained = complaint("log", &deep).unwrap();
    assert!(complained.ends_with(" isvalid: false"), "{complained}");
    flip(&segment("log"), 100);
    cut(&segment("log"), 1);
    let complained = complaint("log", &deep).unwrap();
    assert!(complained.contains(" invalid bytes at the end of "), "{complained}");
}
