//! Log dirs that `kdir promote` hands to brokers and `kdir demote` takes back.

use crate::broker::{Broker, Kafka};
use crate::support::Kdir;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

/// A name that fills a folder's.
fn long_name() -> String {
    "n".repeat(249)
}

/// Topics of all kinds, and a group that has read a part of one.
fn log_dir() -> Kdir {
    let kdir = Kdir::new();
    kdir.create("orders", &["-P", "3", "-c", "compression.type=lz4", "-c", "retention.ms=86400000000"]);
    let orders: String = (0..3000).map(|number| format!("key{},value {number}\n", number % 17)).collect();
    kdir.produce("orders", &["-K", ",", "-H", "h=1"], orders);
    kdir.create("cut", &["-c", "segment.bytes=1048576"]);
    kdir.produce("cut", &[], (0..5000).map(|number| format!("{number}\n")).collect::<String>());
    kdir.run(&["-q", "delete-records", "cut", "--before-offset", "1234", "--yes"]).code(0);
    kdir.create("compacted", &["-c", "cleanup.policy=compact", "-c", "min.cleanable.dirty.ratio=1"]);
    kdir.produce("compacted", &["-K", ",", "-Z"], "a,1\nb,2\na,3\nb,\n");
    kdir.create("old", &["--retention", "forever"]);
    kdir.produce("old", &["--timestamp", "2001-01-01T00:00:00Z"], "long ago\n");
    kdir.create("empty", &["-P", "2"]);
    kdir.create(&long_name(), &["-P", "11"]);
    kdir.produce(&long_name(), &[], (0..22).map(|number| format!("{number}\n")).collect::<String>());
    kdir.run(&["-q", "consume", "orders", "-g", "readers", "-n", "1000", "-o", "value", "--commit", "taken"]).code(0);
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
#[expect(clippy::print_stdout, reason = "how soon it serves is asked for")]
fn promote_and_start(kafka: Kafka, kdir: &Kdir, args: &[&str]) -> Broker {
    let (before, names) = (records(kdir), topics(kdir));
    let mut broker = Broker::of_promoted(kafka, kdir, args);
    let started = Instant::now();
    broker.start_again();
    println!("Kafka {kafka:?} {args:?}: serves {} ms after its start", started.elapsed().as_millis());
    assert_eq!(served(&broker, &names), before, "{args:?}");
    assert_eq!(complaints(&broker), Vec::<String>::new());
    broker
}

/// What clients of all kinds do on it: go on where the group was, produce, also in transactions.
fn go_on(broker: &Broker, kafka: Kafka) {
    let committed = |broker: &Broker| -> BTreeMap<String, String> {
        let rows = broker.describe_groups();
        let of_group = rows.into_iter().filter(|row| row[0] == "readers");
        of_group.map(|row| (format!("{}-{}", row[1], row[2]), row[3].clone())).collect()
    };
    let before = committed(broker);
    assert_eq!(before.values().map(|offset| offset.parse::<i64>().unwrap()).sum::<i64>(), 1000);
    let taken = broker.client(&["member", "readers", "orders", "5"], b"");
    let mut first = BTreeMap::new();
    for line in String::from_utf8(taken).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        first.entry(format!("{}-{}", words[0], words[1])).or_insert_with(|| words[2].to_owned());
    }
    assert_eq!(first, before, "a classic consumer goes on where kdir was, on {kafka:?}");
    broker.client(&["transactions", "orders", "3", "plain:30", "begin:a", "send:a:30", "commit:a"], b"");
    broker.client(&["alter", "empty", "max.message.bytes=100000"], b"");
    broker.client(&["create", "made-by-broker", "2", "retention.ms=-1"], b"");
}

fn is_served_with_all_that_it_has(kafka: Kafka) {
    let kdir = log_dir();
    let before = offsets(&kdir);
    let mut broker = promote_and_start(kafka, &kdir, &[]);
    for (name, start) in [("cut", "cut:0:1234\n"), ("old", "old:0:0\n")] {
        assert_eq!(broker.get_offsets(name, "-2"), start);
    }
    go_on(&broker, kafka);
    broker.stop();
    let after = offsets(&kdir);
    for (name, old) in &before {
        if name.starts_with("__") || name.starts_with("empty") || name.starts_with("orders") {
            assert_eq!(after[name][0], old[0], "{name}: the id");
            continue;
        }
        assert_eq!(&after[name], old, "{name}");
    }
    assert_eq!(after["empty:0"][3], json!({"max.message.bytes": "100000"}));
    assert_eq!(after["made-by-broker:1"][3], json!({"retention.ms": "-1"}));
    // 30 records, 30 in a transaction, and its markers.
    assert_eq!(kdir.json(&["consume", "orders", "-o", "json"]).len(), 3060);
    kdir.run(&["verify"]).code(0);
    broker.start_again();
    broker.stop();
}

fn is_added_to_what_format_has_made(kafka: Kafka) {
    for extra in [&[][..], &["--standalone"]] {
        let kdir = log_dir();
        let mut broker = Broker::formatted(kafka, &kdir, extra);
        let (before, names) = (records(&kdir), topics(&kdir));
        kdir.run(&["-q", "promote"]).code(0);
        broker.start_again();
        assert_eq!(served(&broker, &names), before, "{extra:?}");
        assert_eq!(complaints(&broker), Vec::<String>::new(), "{extra:?}");
        go_on(&broker, kafka);
        broker.stop();
        kdir.run(&["verify"]).code(0);
    }
}

fn is_served_by_a_quorum_whose_voters_can_change(kafka: Kafka) {
    let kdir = log_dir();
    let mut broker = promote_and_start(kafka, &kdir, &["--quorum", "dynamic"]);
    go_on(&broker, kafka);
    broker.stop();
}

fn comes_back_and_goes_again(kafka: Kafka) {
    let rounds: usize = std::env::var("KDIR_ROUND_TRIPS").map_or(2, |rounds| rounds.parse().unwrap());
    let kdir = log_dir();
    let mut next_id = 0;
    for round in 0..rounds {
        let mut broker = promote_and_start(kafka, &kdir, &["--keep"]);
        broker.client(&["transactions", "orders", "3", "plain:9", "begin:a", "send:a:9", "commit:a"], b"");
        let name = format!("round-{round}");
        broker.client(&["create", &name, "2", "retention.ms=-1"], b"");
        broker.client(&["transactions", &name, "2", "plain:10"], b"");
        broker.stop();
        let (there, ids) = (records(&kdir), offsets(&kdir));
        kdir.run(&["-q", "demote"]).code(0);
        assert_eq!(records(&kdir), there, "round {round}");
        assert_eq!(offsets(&kdir), ids, "round {round}");
        let remembered: Value = serde_json::from_slice(&fs::read(kdir.path(".kdir-broker")).unwrap()).unwrap();
        let taken = remembered["next_producer_id"].as_i64().unwrap();
        assert!(taken > next_id, "round {round}: {taken} after {next_id}");
        next_id = taken;
        kdir.produce("orders", &["-K", ","], "k,v\n");
        kdir.produce(&name, &[], "x\n");
        kdir.run(&["-q", "alter", &name, "--partitions", "3"]).code(0);
        if round > 0 {
            kdir.run(&["-q", "delete", &format!("round-{}", round - 1), "--yes"]).code(0);
        }
        kdir.assert_sound();
    }
}

/// A second node takes every partition over, and the first leaves.
fn scales_out(kafka: Kafka) {
    let (kdir, other) = (log_dir(), Kdir::new());
    let names = topics(&kdir);
    // The id that the second is formatted with.
    let mut first = promote_and_start(kafka, &kdir, &["--cluster-id", "S2RpciBhbmQgS2Fma2EhIQ"]);
    let before = records(&kdir);
    let mut second = first.joined_by(&other);
    let moved: Vec<&str> = vec!["cut", "old", "compacted"];
    for topic in &moved {
        first.client(&["reassign", topic, "1,2"], b"");
    }
    for topic in &moved {
        first.client(&["reassign", topic, "2"], b"");
    }
    assert_eq!(served(&first, &names), before);
    second.stop();
    first.stop();
    let of_moved = |it: &&Value| moved.contains(&it["topic"].as_str().unwrap());
    let expected: Vec<Value> = before.iter().filter(of_moved).cloned().collect();
    assert_eq!(records(&other), expected);
    other.run(&["verify"]).code(0);
    kdir.run(&["verify"]).code(0);
}

crate::on_every_kafka!(kafka_4 = K4: is_served_with_all_that_it_has, is_added_to_what_format_has_made,
    is_served_by_a_quorum_whose_voters_can_change, comes_back_and_goes_again, scales_out,);
crate::on_every_kafka!(kafka_3 = K3: is_served_with_all_that_it_has, is_added_to_what_format_has_made,
    is_served_by_a_quorum_whose_voters_can_change,);

/// The releases between those that the other tests run on: `tests/kafka/kafka.sh fetch 4.0 4.1 4.2 4.4` brings them.
#[test]
#[ignore = "needs four more Kafkas, which tests/kafka/kafka.sh fetch 4.0 4.1 4.2 4.4 brings; .ci/run leaves it out"]
fn every_release_serves_it() {
    for kafka in [Kafka::V4_0, Kafka::V4_1, Kafka::V4_2, Kafka::V4_4] {
        is_served_with_all_that_it_has(kafka);
        is_added_to_what_format_has_made(kafka);
        is_served_by_a_quorum_whose_voters_can_change(kafka);
        comes_back_and_goes_again(kafka);
    }
}
