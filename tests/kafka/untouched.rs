//! `repair` changes nothing of what an unmodified broker wrote and closed.
//!
//! [`Broker::stop`] holds every log dir of this harness against that. Here are those that take two brokers to make.

use crate::broker::{Broker, Kafka};
use crate::filled::fill;
use crate::support::{Kdir, json_lines, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

crate::on_every_kafka! {
    repair_changes_no_byte_of_a_log_that_a_broker_wrote_and_closed,
    repair_changes_no_byte_of_a_reassigned_compacted_topic_on_either_broker,
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// What `verify` finds in a log dir, and its exit status.
pub(crate) fn verified(kdir: &Kdir) -> (Vec<Value>, Option<i32>) {
    let output = kdir.command(&["-q", "verify", "-o", "json"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    (json_lines(&output.stdout), output.status.code())
}

/// To `verify` a log dir is sound, apart from notes, and `repair` leaves each of its files alone. Both run on a copy, so
/// that what is written beside a log dir to guard it does not get in the way of a test.
pub(crate) fn assert_repair_changes_nothing(log_dir: &Path) {
    let copy = Kdir::new();
    copy_folder(log_dir, &copy.log_dir());
    let before = copy.contents();
    let (findings, code) = verified(&copy);
    let wrong: Vec<&Value> = findings.iter().filter(|finding| finding["severity"] != "note").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(code, Some(0));
    copy.run(&["-q", "repair"]).code(0).stderr("");
    let after = copy.contents();
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    let changed: Vec<&String> = before.keys().filter(|name| before[*name] != after[*name]).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

fn repair_changes_no_byte_of_a_log_that_a_broker_wrote_and_closed(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = fill(kafka, &kdir);
    broker.stop();
    // Not only a fresh log, but one that was loaded and closed again as well.
    broker.start_again();
    broker.client(&["transactions", "transactions", "2", "begin:a", "send:a:20", "commit:a"], b"");
    broker.stop();
}

/// Topics that are compacted on the first broker and then moved: what each is like on the second.
const MOVED: [&str; 4] = ["switched", "last-alone", "segmented", "shared"];
/// And one that the cleaner of the second goes on with, so that the file with its rows is there.
const CLEANED_AGAIN: &str = "cleaned-again";

fn repair_changes_no_byte_of_a_reassigned_compacted_topic_on_either_broker(kafka: Kafka) {
    let (one, two) = (Kdir::new(), Kdir::new());
    let mut first = Broker::start(kafka, &one);
    let quick = ["segment.ms=100", "min.cleanable.dirty.ratio=0.01"];
    let compacted = [&["cleanup.policy=compact"], &quick[..]].concat();
    first.create("switched,last-alone", 1, &[&["cleanup.policy=delete", "retention.ms=-1"], &quick[..]].concat());
    first.create(&["segmented", "shared", CLEANED_AGAIN].join(","), 1, &compacted);
    let topics = [&MOVED[..], &[CLEANED_AGAIN]].concat();
    // Every record a batch, and so a segment, of its own.
    produce(&first, &topics, 0..120);
    for topic in ["switched", "last-alone"] {
        first.client(&["alter", topic, "cleanup.policy=compact"], b"");
    }
    await_cleaner(&one, &topics);
    // From now on these are one segment, which the second broker's cleaner leaves alone.
    for topic in ["switched", "last-alone", "shared"] {
        first.client(&["alter", topic, "segment.ms=604800000"], b"");
    }

    let mut second = first.joined_by(&two);
    for topic in ["switched", "last-alone", "segmented", CLEANED_AGAIN] {
        first.client(&["reassign", topic, "2"], b"");
    }
    first.client(&["reassign", "shared", "1,2"], b"");
    produce(&first, &[CLEANED_AGAIN], 120..240);
    await_cleaner(&two, &[CLEANED_AGAIN]);
    let topics: Vec<&str> = topics.into_iter().filter(|topic| *topic != "shared").collect();
    let served = first.records(&topics, "read_uncommitted");
    second.stop();
    first.stop();

    let rows = fs::read_to_string(two.path("cleaner-offset-checkpoint")).unwrap();
    for topic in ["switched", "last-alone", "shared"] {
        assert!(!rows.contains(&format!("{topic} 0 ")), "{rows}");
        let bounds = two.json(&["describe", topic, "-o", "json"]).remove(0);
        let offsets: BTreeSet<i64> = two.records(topic).iter().map(|it| it["offset"].as_i64().unwrap()).collect();
        assert_eq!(bounds["log_end_offset"], 120, "{topic}");
        assert!(offsets.len() < 40 && offsets.contains(&119), "{topic}: {offsets:?}");
        assert_eq!(topic == "last-alone", offsets.len() == 1, "{topic}: {offsets:?}");
    }
    let consume = |topic: &&str| two.json(&["consume", topic, "-o", "json"]);
    assert_eq!(topics.iter().flat_map(consume).collect::<Vec<_>>(), served);
}

/// Has those records sent to each of the topics.
fn produce(broker: &Broker, topics: &[&str], numbers: std::ops::Range<i64>) {
    let mut lines = String::new();
    for number in numbers {
        for topic in topics {
            let key = match (*topic, number) {
                // The cleaner drops records without a key, and does not come to the last.
                ("last-alone", ..119) => None,
                // Some are left everywhere.
                _ if number % 10 == 3 => Some(format!("once-{number}")),
                _ => Some(format!("key-{}", number % 7)),
            };
            let timestamp = 1_700_000_000_000 + 1000 * number;
            let record =
                json!({"topic": topic, "timestamp": timestamp, "key": key, "value": format!("value {number}")});
            writeln!(lines, "{record}").unwrap();
        }
    }
    broker.client(&["produce", "-", "batch.size=0", "acks=all"], lines.as_bytes());
}

/// Waits until the cleaner has been over all of those topics but their active segments.
fn await_cleaner(kdir: &Kdir, topics: &[&str]) {
    for topic in topics {
        until("the cleaner has compacted the topic", || {
            let folder = format!("{topic}-0");
            let active = kdir.entries(&folder).into_iter().filter(|name| name.ends_with(".log")).max().unwrap();
            let active: i64 = active.trim_end_matches(".log").parse().unwrap();
            let cleaned = fs::read_to_string(kdir.path("cleaner-offset-checkpoint")).unwrap_or_default();
            active > 0 && cleaned.lines().any(|line| line == format!("{topic} 0 {active}"))
        });
    }
}
