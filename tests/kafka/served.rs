//! A broker serves the partition folders that the program wrote, appends to them, and serves what the program then
//! appends.

use crate::broker::{Broker, Kafka};
use crate::handover::{Start, folders, started, topics};
use crate::histories::{self, FIRST_TIMESTAMP, History, files, lines};
use crate::support::Kdir;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

crate::on_every_kafka! {
    a_broker_that_checks_every_log_serves_what_kdir_wrote_and_they_take_turns_to_append,
    a_broker_that_trusts_the_indexes_serves_what_kdir_wrote_and_appends,
}

fn a_broker_that_checks_every_log_serves_what_kdir_wrote_and_they_take_turns_to_append(kafka: Kafka) {
    let (source, served) = (Kdir::new(), Kdir::new());
    let histories = histories::write_all(&source);
    let mut broker = started(kafka, &source, &served, &histories, Start::Checked);
    let expected = served_alike(&broker, &source, &histories);
    same_text(&broker, &histories, &expected);
    let mut count = expected.len();
    broker_appends(&broker, &served, &histories, &mut count);
    quiet(&broker, &histories);
    broker.stop();
    kdir_appends(kafka, &served, &histories, &mut count);

    broker.start_again();
    let all = consume_all(&served, &histories);
    assert_eq!(all.len(), count);
    assert_same(&broker.records(&topics(&histories), "read_uncommitted"), &all);
    broker_appends(&broker, &served, &histories, &mut count);
    quiet(&broker, &histories);
    broker.stop();
}

fn a_broker_that_trusts_the_indexes_serves_what_kdir_wrote_and_appends(kafka: Kafka) {
    let (source, served) = (Kdir::new(), Kdir::new());
    let histories = histories::write_all(&source);
    let mut broker = started(kafka, &source, &served, &histories, Start::Trusted);
    let expected = served_alike(&broker, &source, &histories);
    same_offsets(&broker, &source, &histories);
    let mut count = expected.len();
    broker_appends(&broker, &served, &histories, &mut count);
    quiet(&broker, &histories);
    broker.stop();
}

/// What went in comes out of the broker and of the program, field by field. Returns it.
fn served_alike(broker: &Broker, source: &Kdir, histories: &[History]) -> Vec<Value> {
    let expected: Vec<Value> = histories.iter().flat_map(|history| readable(source, history)).collect();
    assert_same(&consume_all(source, histories), &expected);
    assert_same(&broker.records(&topics(histories), "read_uncommitted"), &expected);
    quiet(broker, histories);
    expected
}

/// The records of a topic that are not deleted, partition by partition.
fn readable(source: &Kdir, history: &History) -> Vec<Value> {
    let starts = source.json(&["offsets", history.topic, "--at", "earliest", "-o", "json"]);
    let start_of =
        |record: &Value| starts[usize::try_from(record["partition"].as_u64().unwrap()).unwrap()]["offset"].as_i64();
    let mut records: Vec<Value> =
        history.records.iter().filter(|record| record["offset"].as_i64() >= start_of(record)).cloned().collect();
    records.sort_by_key(|record| record["partition"].as_u64());
    records
}

/// Every record of the topics as the program reads it, topic by topic and partition by partition.
fn consume_all(kdir: &Kdir, histories: &[History]) -> Vec<Value> {
    let consume = |history: &History| kdir.json(&["consume", history.topic, "-o", "json", "--order", "partition"]);
    histories.iter().flat_map(consume).collect()
}

/// Compares record by record, so that a failure tells of one.
fn assert_same(records: &[Value], expected: &[Value]) {
    for (record, expected) in records.iter().zip(expected) {
        assert_eq!(record, expected);
    }
    assert_eq!(records.len(), expected.len());
}

/// What kafka-console-consumer prints has every record with all its parts.
fn same_text(broker: &Broker, histories: &[History], records: &[Value]) {
    let property = if broker.kafka == Kafka::K4 { "--formatter-property" } else { "--property" };
    let properties = ["partition", "offset", "timestamp", "headers", "key"].map(|part| format!("print.{part}=true"));
    let options: Vec<&str> = properties.iter().flat_map(|each| [property, each]).collect();
    let printed = broker.console_consumer(&topics(histories).join("|"), records.len(), &options);
    // Topics and partitions come as they are fetched, and what is not UTF-8 as U+FFFD.
    let mut printed: Vec<&str> = printed.lines().collect();
    let expected: Vec<Vec<u8>> = records.iter().map(console_line).collect();
    let mut expected: Vec<_> = expected.iter().map(|line| String::from_utf8_lossy(line)).collect();
    printed.sort_unstable();
    expected.sort_unstable();
    for (line, expected) in printed.iter().zip(&expected) {
        assert_eq!(line, expected);
    }
    assert_eq!(printed.len(), expected.len());
}

/// A record as kafka-console-consumer prints it.
fn console_line(record: &Value) -> Vec<u8> {
    let mut line = format!(
        "{}:{}\tPartition:{}\tOffset:{}\t",
        record["timestamp_type"].as_str().unwrap(),
        record["timestamp"],
        record["partition"],
        record["offset"]
    )
    .into_bytes();
    let headers = record["headers"].as_array().unwrap();
    if headers.is_empty() {
        line.extend(b"NO_HEADERS");
    }
    for (number, header) in headers.iter().enumerate() {
        line.extend(if number == 0 { "" } else { "," }.bytes());
        line.extend(header["key"].as_str().unwrap().bytes().chain(*b":"));
        line.extend(histories::bytes(header, "value").unwrap_or_else(|| b"null".to_vec()));
    }
    for part in ["key", "value"] {
        line.push(b'\t');
        line.extend(histories::bytes(record, part).unwrap_or_else(|| b"null".to_vec()));
    }
    line
}

/// kafka-get-offsets and `kdir offsets` find the same: the ends, a time that a record has, one between two, and one
/// past all, where neither says an offset.
fn same_offsets(broker: &Broker, source: &Kdir, histories: &[History]) {
    let times = [300_000, 700_500, 3_000_000_000_000].map(|after| FIRST_TIMESTAMP + after);
    let times = times.map(|time| (format!("@{}.{:03}", time / 1000, time % 1000), time.to_string()));
    let [exact, between, past] = [0, 1, 2].map(|at: usize| (times[at].0.as_str(), times[at].1.as_str()));
    for (kdir_at, time) in [("earliest", "-2"), ("latest", "-1"), exact, between, past] {
        let mut found = BTreeMap::<String, i64>::new();
        // The tool of 2.8 knows one topic at a time, so it is asked for fewer.
        let asked: Vec<String> = match broker.kafka {
            Kafka::K2 => ["keyed", "deleted", "out-of-order"].map(str::to_owned).to_vec(),
            _ => vec![topics(histories).join("|")],
        };
        for topics in &asked {
            for line in broker.get_offsets(topics, time).lines() {
                let (partition, offset) = line.rsplit_once(':').unwrap();
                if let Ok(offset) = offset.parse() {
                    found.insert(partition.to_owned(), offset);
                }
            }
        }
        let mut expected = BTreeMap::<String, i64>::new();
        for history in
            histories.iter().filter(|h| asked.iter().any(|asked| asked.split('|').any(|name| name == h.topic)))
        {
            for row in source.json(&["offsets", history.topic, "--at", kdir_at, "-o", "json"]) {
                if let Some(offset) = row["offset"].as_i64() {
                    expected.insert(format!("{}:{}", history.topic, row["partition"]), offset);
                }
            }
        }
        assert_eq!(found, expected, "at {kdir_at}");
        assert_eq!(found.is_empty(), kdir_at == past.0, "at {kdir_at}");
        if kdir_at == "earliest" {
            assert_eq!(found["deleted:0"], 700);
        }
    }
}

/// The broker's log warns of none of these partitions.
fn quiet(broker: &Broker, histories: &[History]) {
    let log = broker.log();
    let names: Vec<String> = histories.iter().flat_map(folders).collect();
    let warns = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("Exception");
    // The broker has the high watermark of the empty topic that it made, takes the log start offset in its place, and
    // looks for the batch of that, which begins a little below.
    let known = "Non-monotonic update of high watermark from (offset=700, segment=[-1:-1]) to (offset=6";
    let is_known = |line: &&str| line.contains("partition=deleted-0,") && line.contains(known);
    let of_ours = |line: &&str| names.iter().any(|name| line.contains(name));
    let warnings: Vec<&str> = log.lines().filter(warns).filter(of_ours).filter(|line| !is_known(line)).collect();
    assert_eq!(warnings, <[&str; 0]>::default());
}

/// Three records for each partition.
fn more(histories: &[History], from: &str, first: usize) -> Vec<Value> {
    let places =
        histories.iter().flat_map(|history| (0..history.partitions).map(move |partition| (history.topic, partition)));
    let record = |(topic, partition): (&str, u32), number: usize| {
        json!({
            "topic": topic, "partition": partition, "timestamp": FIRST_TIMESTAMP + i64::try_from(number).unwrap(),
            "key": format!("key-{number}"), "value": format!("{from}-{number}"),
            "headers": [{"key": "from", "value": from}],
        })
    };
    places.flat_map(|place| (first..first + 3).map(move |number| record(place, number))).collect()
}

/// The last records of each partition are those, apart from what only an append decides.
fn ends_with(records: &[Value], appended: &[Value]) {
    for three in appended.chunks(3) {
        let is_there = |record: &&Value| ["topic", "partition"].iter().all(|name| record[name] == three[0][name]);
        let of_partition: Vec<&Value> = records.iter().filter(is_there).collect();
        for (record, appended) in of_partition[of_partition.len() - 3..].iter().zip(three) {
            for name in ["key", "value", "headers"] {
                assert_eq!(record[name], appended[name], "{record}");
            }
            let is_stamped = record["timestamp_type"] == "LogAppendTime";
            assert_eq!(record["timestamp"] == appended["timestamp"], !is_stamped, "{record}");
        }
    }
}

/// The broker appends to every partition, and the program reads that beside it.
fn broker_appends(broker: &Broker, served: &Kdir, histories: &[History], count: &mut usize) {
    let appended = more(histories, "broker", *count);
    broker.client(&["produce", "-"], lines(&appended).as_bytes());
    *count += appended.len();
    let records = consume_all(served, histories);
    assert_eq!(records.len(), *count);
    ends_with(&records, &appended);
    assert_same(&broker.records(&topics(histories), "read_uncommitted"), &records);
}

/// Appends to the directory of the stopped broker, in the name of the leader that the broker was last.
fn kdir_appends(kafka: Kafka, served: &Kdir, histories: &[History], count: &mut usize) {
    let appended = more(histories, "kdir", *count);
    *count += appended.len();
    for history in histories {
        let last_epoch = |folder: &str| {
            let active = files(served, history.topic, ".log")
                .into_iter()
                .rfind(|path| path.parent() == Some(&served.path(folder)));
            let batches = served.json(&["dump", active.unwrap().to_str().unwrap(), "-o", "json"]);
            batches.last().unwrap()["leader_epoch"].as_i64().unwrap()
        };
        let checkpoint_of =
            |folder: &str| fs::read_to_string(served.path(folder).join("leader-epoch-checkpoint")).unwrap();
        let before: Vec<(i64, String)> =
            folders(history).map(|folder| (last_epoch(&folder), checkpoint_of(&folder))).collect();
        let input: Vec<Value> = appended.iter().filter(|record| record["topic"] == history.topic).cloned().collect();
        let said = served.feed(&["produce", history.topic, "-i", "json"], lines(&input)).code(0).stdout("");
        let stderr = String::from_utf8(said.get_output().stderr.clone()).unwrap();
        let warnings: Vec<&str> = stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
        let expected =
            "warning: this log dir belongs to a Kafka broker (meta.properties is there), which is to stay stopped";
        assert_eq!(warnings, [expected], "{stderr}");
        for (folder, (epoch, checkpoint)) in folders(history).zip(before) {
            assert_eq!(checkpoint_of(&folder), checkpoint, "{folder}");
            let latest: i64 = checkpoint.lines().last().unwrap().split(' ').next().unwrap().parse().unwrap();
            // 2.8 elects no leader anew where there is one replica.
            assert!(latest > 0 || kafka == Kafka::K2, "a broker that starts again begins an epoch: {checkpoint}");
            assert_eq!((last_epoch(&folder), epoch), (latest, latest), "{folder}");
        }
    }
    assert!(!served.path(".kafka_cleanshutdown").exists(), "the broker is to look at what was appended");
    let records = consume_all(served, histories);
    assert_eq!(records.len(), *count);
    ends_with(&records, &appended);
}
