//! The golden text that `dump --records` of internal topics is held against is what kafka-dump-log says.

use crate::broker::Kafka;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

crate::on_every_kafka! { kafka_4 = K4: the_golden_text_of_internal_topics_is_what_kafka_dump_log_says, }

/// The lines of the records of each file, by its path.
fn by_file(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut current = "";
    for line in text.lines() {
        match line.strip_prefix("Dumping ") {
            Some(path) => current = path,
            None if line.starts_with('|') => files.entry(current).or_default().push(line),
            None => {}
        }
    }
    files
}

fn the_golden_text_of_internal_topics_is_what_kafka_dump_log_says(kafka: Kafka) {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/internal");
    let golden = fs::read_to_string(data.join("kafka-dump-log-4.3.1.txt")).unwrap();
    let golden = by_file(&golden);
    let mut said = String::new();
    for (part_of_path, option) in [
        ("__consumer_offsets-", "--offsets-decoder"),
        ("__share_group_state-", "--share-group-state-decoder"),
        ("__transaction_state-", "--transaction-log-decoder"),
        ("__cluster_metadata-", "--cluster-metadata-decoder"),
        ("/bootstrap.checkpoint", "--cluster-metadata-decoder"),
    ] {
        let paths = golden.keys().filter(|path| path.contains(part_of_path));
        let paths: Vec<PathBuf> = paths.map(|path| data.join(path)).collect();
        assert!(!paths.is_empty(), "{part_of_path}");
        said += &kafka.dump_log(&paths, &[option]).0;
    }
    assert_eq!(by_file(&said.replace(&format!("{}/", data.display()), "")), golden);
}
