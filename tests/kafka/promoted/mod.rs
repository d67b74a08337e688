//! Log dirs that `kdir promote` hands to brokers and `kdir demote` takes back.

mod fed;
mod round_trips;
mod scaled_out;
mod served;

use crate::broker::{Broker, Kafka};
use crate::support::Kdir;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// A name that fills a folder's.
fn long_name() -> String {
    "n".repeat(249)
}

/// Topics of all kinds, groups that have read a part of one, and, where brokers of that Kafka can read it, a queue of which a
/// part is done.
fn log_dir(kafka: Kafka) -> Kdir {
    let kdir = Kdir::new();
    kdir.create("orders", &["-P", "3", "-c", "compression.type=lz4", "-c", "retention.ms=86400000000"]);
    let orders: String = (0..3000).map(|number| format!("key{},value {number}\n", number % 17)).collect();
    kdir.produce("orders", &["-K", ",", "-H", "h=1"], orders);
    kdir.create("cut", &["-c", "segment.bytes=1048576"]);
    kdir.produce("cut", &[], (0..5000).map(|number| format!("{number}\n")).collect::<String>());
    kdir.run(&["-q", "delete-records", "cut", "--before-offset", "1234", "--yes"]).code(0);
    kdir.create("compacted", &["-c", "cleanup.policy=compact", "-c", "min.cleanable.dirty.ratio=0.75"]);
    kdir.produce("compacted", &["-K", ",", "-Z"], "a,1\nb,2\na,3\nb,\n");
    kdir.create("old", &["--retention", "forever"]);
    kdir.produce("old", &["--timestamp", "2001-01-01T00:00:00Z"], "long ago\n");
    kdir.create("empty", &["-P", "2"]);
    kdir.create(&long_name(), &["-P", "11"]);
    kdir.produce(&long_name(), &[], (0..22).map(|number| format!("{number}\n")).collect::<String>());
    for (group, count) in [("readers", "1000"), ("later", "600")] {
        kdir.run(&["-q", "consume", "orders", "-g", group, "-n", count, "-o", "value", "--commit", "taken"]).code(0);
    }
    if kafka == Kafka::V4_0 {
        return kdir;
    }
    kdir.create("jobs", &["-P", "2"]);
    for partition in ["0", "1"] {
        kdir.produce(
            "jobs",
            &["-p", partition],
            (0..10).map(|number| format!("{partition}.{number}\n")).collect::<String>(),
        );
    }
    // The first one fails, and is to be tried again.
    let work = ["-q", "work", "jobs", "-g", "workers", "-n", "7", "--backoff", "1h..1h", "--", "sh", "-c"];
    kdir.run(&[&work[..], &["read job; test $job != 0.0"]].concat()).code(0);
    kdir
}

fn topics(kdir: &Kdir) -> Vec<String> {
    let rows = kdir.json(&["list", "-o", "json"]);
    let names = rows.iter().map(|row| row["topic"].as_str().unwrap().to_owned());
    names.filter(|name| !name.starts_with("__")).collect()
}

/// All records, by topic, partition and offset.
fn records(kdir: &Kdir) -> Vec<Value> {
    let mut all = Vec::new();
    for topic in topics(kdir) {
        all.extend(kdir.json(&["consume", &topic, "-o", "json", "--order", "partition"]));
    }
    all
}

fn served(broker: &Broker, topics: &[String]) -> Vec<Value> {
    topics.iter().flat_map(|topic| broker.records(&[topic], "read_uncommitted")).collect()
}

/// What a broker complains of.
fn complaints(broker: &Broker) -> Vec<String> {
    let log = broker.log();
    let is_one = |line: &&str| line.contains(" ERROR ") || line.contains("-stray") || line.contains(" FATAL ");
    // 4.0 says so of a coordinator whose partition gets its next leader epoch while it loads, and loads it again.
    let is_early = |line: &&str| line.contains("Stopped loading records from");
    log.lines().filter(|line| is_one(line) && !is_early(line)).map(str::to_owned).collect()
}

/// The same, where partitions were added: a broker takes these for missing, and calls that an error.
fn complaints_but_of_added(broker: &Broker) -> Vec<String> {
    let is_of_added = |line: &String| line.contains("to exist, but it was missing. Creating");
    complaints(broker).into_iter().filter(|line| !is_of_added(line)).collect()
}

/// Topics and partitions as both sides have them: id, first offset, next offset.
fn offsets(kdir: &Kdir) -> BTreeMap<String, Value> {
    let rows = kdir.json(&["describe", "-o", "json"]);
    let row = |row: Value| {
        let name = format!("{}:{}", row["topic"].as_str().unwrap(), row["partition"]);
        (name, json!([row["topic_id"], row["log_start_offset"], row["log_end_offset"], row["config"]]))
    };
    rows.into_iter().map(row).collect()
}

/// Promotes and starts a broker, which serves all that was there.
fn promote_and_start(kafka: Kafka, kdir: &Kdir, args: &[&str]) -> Broker {
    let (before, names) = (records(kdir), topics(kdir));
    let broker = Broker::of_promoted(kafka, kdir, args);
    start(broker, &before, &names, args)
}

/// Starts a broker, which serves those records.
#[expect(clippy::print_stdout, reason = "how soon it serves is asked for")]
fn start(mut broker: Broker, records: &[Value], topics: &[String], args: &[&str]) -> Broker {
    let started = Instant::now();
    broker.start_again();
    println!("Kafka {:?} {args:?}: serves {} ms after its start", broker.kafka, started.elapsed().as_millis());
    assert_eq!(served(&broker, topics), records, "{args:?}");
    assert_eq!(complaints(&broker), Vec::<String>::new());
    broker
}
