//! `kdir dump` and kafka-dump-log see the same in a file.

use crate::broker::Kafka;
use crate::support::Kdir;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The fields of a line of kafka-dump-log: `name: value` pairs.
fn fields(line: &str) -> BTreeMap<&str, &str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words.windows(2).filter_map(|pair| Some((pair[0].strip_suffix(':')?, pair[1]))).collect()
}

/// How kafka-dump-log names the columns of `dump`, for each kind of file.
const LOG: [(&str, &str); 15] = [
    ("position", "position"),
    ("baseOffset", "base_offset"),
    ("lastOffset", "last_offset"),
    ("count", "records"),
    ("size", "bytes"),
    ("magic", "magic"),
    ("compresscodec", "codec"),
    ("partitionLeaderEpoch", "leader_epoch"),
    ("producerId", "producer_id"),
    ("producerEpoch", "producer_epoch"),
    ("baseSequence", "base_sequence"),
    ("CreateTime", "max_timestamp"),
    ("LogAppendTime", "max_timestamp"),
    ("NoTimestampType", "max_timestamp"),
    // So they call the last offset of an old message.
    ("offset", "last_offset"),
];
const OFFSET_INDEX: [(&str, &str); 2] = [("offset", "offset"), ("position", "position")];
const TIME_INDEX: [(&str, &str); 2] = [("timestamp", "timestamp"), ("offset", "offset")];
const TRANSACTION_INDEX: [(&str, &str); 4] = [
    ("producerId", "producer_id"),
    ("firstOffset", "first_offset"),
    ("lastOffset", "last_offset"),
    ("lastStableOffset", "last_stable_offset"),
];
const SNAPSHOT: [(&str, &str); 3] =
    [("producerId", "producer_id"), ("producerEpoch", "producer_epoch"), ("coordinatorEpoch", "coordinator_epoch")];

/// Has both take those files apart, all of one kind, and compares them line by line and field by field. Returns how many
/// lines there were.
pub(crate) fn assert_dumps_agree(kdir: &Kdir, kafka: Kafka, paths: &[PathBuf]) -> usize {
    let (names, begins): (_, &[&str]) = match paths[0].extension().unwrap().to_str().unwrap() {
        "log" => (&LOG[..], &["baseOffset:", "offset:"]),
        "index" => (&OFFSET_INDEX[..], &["offset:"]),
        "timeindex" => (&TIME_INDEX[..], &["timestamp:"]),
        "txnindex" => (&TRANSACTION_INDEX[..], &["version:"]),
        "snapshot" => (&SNAPSHOT[..], &["producerId:"]),
        other => panic!("{other}"),
    };
    let (stdout, _) = kafka.dump_log(paths, &["--deep-iteration"]);
    let theirs: Vec<_> =
        stdout.lines().filter(|line| begins.iter().any(|begin| line.starts_with(begin))).map(fields).collect();
    let args: Vec<&str> = paths.iter().map(|path| path.to_str().unwrap()).collect();
    let ours = kdir.json(&[&["dump", "-o", "json"], &args[..]].concat());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_same_fields(ours, theirs, names);
    }
    assert_eq!(ours.len(), theirs.len(), "{stdout}");
    ours.len()
}

fn assert_same_fields(ours: &Value, theirs: &BTreeMap<&str, &str>, names: &[(&str, &str)]) {
    let mut compared = 0;
    for (their_name, our_name) in names {
        let Some(their_value) = theirs.get(their_name) else { continue };
        compared += 1;
        let our_value = match &ours[our_name] {
            Value::Null => "-1".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(our_value, their_value.to_lowercase(), "{their_name}: {ours} {theirs:?}");
    }
    // Of a batch they tell one of three kinds of timestamp, and of an old message fewer fields.
    let wanted = match theirs.get("magic") {
        Some(&("0" | "1")) => 6,
        Some(_) => names.len() - 3,
        None => names.len(),
    };
    assert_eq!(compared, wanted, "{theirs:?}");
    let flags = ours["flags"].as_str().unwrap_or_default();
    for (name, flag) in [("isTransactional", "transactional"), ("isControl", "control")] {
        if let Some(value) = theirs.get(name) {
            assert_eq!(flags.contains(flag).to_string(), *value, "{ours} {theirs:?}");
        }
    }
}
