//! The golden log dir and others like it, written by Kafka's record classes while the test runs.

use crate::broker::Kafka;
use crate::dump_agreement::assert_dumps_agree;
use crate::support::{Kdir, json_lines};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/kafka");

crate::on_every_kafka! { dump_agrees_with_kafka_dump_log_on_every_golden_file, }

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

fn write_segments(log_dir: &Path, seed: Option<u32>) {
    let seed = seed.map(|seed| seed.to_string());
    let args: Vec<&str> =
        [log_dir.to_str()].into_iter().chain(seed.iter().map(|it| Some(it.as_str()))).flatten().collect();
    // 3.9 is the last that still writes the formats before 2.
    Kafka::K3.run("WriteSegments", &args, b"");
}

#[test]
#[ignore = "needs Kafka: .ci/run brings it"]
fn the_golden_files_are_what_kafkas_classes_write() {
    let kdir = Kdir::new();
    write_segments(&kdir.log_dir(), None);
    let (made, golden) = (files(&kdir.log_dir()), files(Path::new(GOLDEN)));
    assert_eq!(made.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
    let differ: Vec<_> = made.iter().filter(|(path, bytes)| golden[*path] != **bytes).map(|(path, _)| path).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

/// `KDIR_KAFKA_SEEDS` asks for more.
#[test]
#[ignore = "needs Kafka: .ci/run brings it"]
fn random_logs_read_as_kafkas_classes_read_them() {
    let seeds = std::env::var("KDIR_KAFKA_SEEDS").map_or(3, |seeds| seeds.parse().unwrap());
    for seed in 1..=seeds {
        let kdir = Kdir::new();
        write_segments(&kdir.log_dir(), Some(seed));
        let mut topics = 0;
        for (path, expected) in
            files(&kdir.log_dir()).into_iter().filter(|(path, _)| path.extension() == Some("jsonl".as_ref()))
        {
            let topic = path.file_stem().unwrap().to_str().unwrap();
            let (ours, theirs) =
                (kdir.json(&["consume", topic, "-o", "json", "--order", "partition"]), json_lines(&expected));
            for (ours, theirs) in ours.iter().zip(&theirs) {
                assert_eq!(ours, theirs, "seed {seed}");
            }
            assert_eq!(ours.len(), theirs.len(), "seed {seed}, {topic}");
            topics += 1;
        }
        assert_eq!(topics, 60, "seed {seed}");
    }
}

fn dump_agrees_with_kafka_dump_log_on_every_golden_file(kafka: Kafka) {
    let kdir = Kdir::new();
    for (suffix, count) in [("log", 300), ("txnindex", 5)] {
        let paths = files(Path::new(GOLDEN)).into_keys().filter(|path| path.extension() == Some(suffix.as_ref()));
        // There the tool tells the offset 0 of the wrapper, and dump those of the messages inside.
        let paths = paths.filter(|path| !path.starts_with("v1-wrapper-at-0-0"));
        let paths: Vec<PathBuf> = paths.map(|path| Path::new(GOLDEN).join(path)).collect();
        let lines = assert_dumps_agree(&kdir, kafka, &paths);
        assert!(lines >= count, "{lines} lines of {suffix}");
    }
}
