//! What was promoted is served: every record, id and setting, and clients of all kinds go on.

use super::{complaints, log_dir, offsets, promote_and_start, records, served, start, topics};
use crate::broker::{Broker, Kafka};
use crate::groups::clients::Clients;
use crate::support::{Kdir, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The topics that brokers make for themselves, and their settings, are not looked at.
type Configs = BTreeMap<String, BTreeMap<String, String>>;

/// What clients of all kinds do on it: go on where the group was, produce, also in transactions.
fn go_on(broker: &Broker) {
    let before = committed(broker, "readers");
    assert_eq!(before.values().sum::<i64>(), 1000);
    let taken = broker.client(&["member", "readers", "orders", "5"], b"");
    let mut first = BTreeMap::new();
    for line in String::from_utf8(taken).unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        first.entry(format!("{}-{}", words[0], words[1])).or_insert_with(|| words[2].parse::<i64>().unwrap());
    }
    assert_eq!(first, before, "a classic consumer goes on where kdir was, on {:?}", broker.kafka);
    broker.client(&["transactions", "orders", "3", "plain:30", "begin:a", "send:a:30", "commit:a"], b"");
    broker.client(&["alter", "empty", "max.message.bytes=100000"], b"");
    broker.client(&["create", "made-by-broker", "2", "retention.ms=-1"], b"");
}

/// As `kafka-consumer-groups --describe` has it.
fn committed(broker: &Broker, group: &str) -> BTreeMap<String, i64> {
    let rows = broker.describe_groups();
    let of_group = rows.into_iter().filter(|row| row[0] == group);
    of_group.map(|row| (format!("{}-{}", row[1], row[2]), row[3].parse().unwrap())).collect()
}

/// A consumer of KIP-848 goes on where kdir was, and a share consumer takes what the workers have left, whose retry is counted.
fn newer_clients_go_on(broker: &Broker, kdir: &Kdir) {
    let before = committed(broker, "later");
    assert_eq!(before.values().sum::<i64>(), 600);
    if broker.kafka == Kafka::V4_0 || broker.kafka == Kafka::V4_1 {
        let mut clients = Clients::start(broker);
        assert_eq!(clients.firsts("later", &["orders"], &json!({"group.protocol": "consumer"})), before);
        return;
    }
    let left = kdir.json(&["-q", "groups", "describe", "workers", "-o", "json"]);
    let of_kdir: Vec<Value> =
        left.iter().map(|row| json!([row["topic"], row["partition"], row["start_offset"], row["lag"]])).collect();
    let mut clients = Clients::of_shares(broker);
    assert_eq!(clients.firsts("later", &["orders"], &json!({"group.protocol": "consumer"})), before);
    until("kafka-share-groups shows what kdir shows", || {
        let answer = clients.step("share-tool", json!({"args": ["--describe", "--group", "workers"]}));
        let rows = answer["rows"].as_array().unwrap().iter().filter(|row| row[0] == "workers");
        let number = |word: &Value| word.as_str().unwrap().parse::<i64>().unwrap_or(-1);
        let mut rows: Vec<Value> =
            rows.map(|row| json!([row[1], number(&row[2]), number(&row[3]), number(&row[4])])).collect();
        rows.sort_by_key(|row| row[1].as_i64());
        rows == of_kdir
    });
    let line = json!({"group": "workers", "topics": ["jobs"], "count": 14, "idle_ms": 30_000});
    let answer = clients.step("share", line);
    let deliveries = answer["records"].as_array().unwrap();
    let counts: Vec<i64> = deliveries.iter().map(|delivery| delivery[3].as_i64().unwrap()).collect();
    assert_eq!(counts.len(), 14, "6 of 20 are done: {deliveries:?}");
    assert_eq!(
        (counts.iter().filter(|&&count| count == 1).count(), counts.iter().max()),
        (13, Some(&2)),
        "{deliveries:?}"
    );
}

/// `kafka-consumer-groups` has the same offsets, ends and lags.
fn groups_agree(broker: &Broker, kdir: &Kdir) {
    let rows = kdir.json(&["-q", "groups", "describe", "-o", "json"]);
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().map_or_else(|| row[name].to_string(), str::to_owned);
        ["group", "topic", "partition", "committed", "log_end_offset", "lag"].map(text).to_vec()
    };
    let mut of_kdir: Vec<_> = rows.iter().filter(|row| row["committed"].is_i64()).map(row).collect();
    let rows = broker.describe_groups().into_iter().filter(|row| row[3] != "-");
    let mut of_the_tool: Vec<_> = rows.map(|row| row[..6].to_vec()).collect();
    of_kdir.sort();
    of_the_tool.sort();
    assert_eq!(of_the_tool, of_kdir);
}

/// `kafka-topics` and `kafka-configs` have topics, ids, partitions and settings as kdir has them.
fn tools_agree(broker: &Broker, kdir: &Kdir) {
    let rows = kdir.json(&["describe", "-o", "json"]);
    let own = |row: &&Value| !row["topic"].as_str().unwrap().starts_with("__");
    let (mut ids, mut configs) = (BTreeMap::new(), Configs::new());
    for row in rows.iter().filter(own) {
        let topic = row["topic"].as_str().unwrap().to_owned();
        let (_, count) = ids.entry(topic.clone()).or_insert((row["topic_id"].as_str().unwrap().to_owned(), 0));
        *count += 1;
        let config = row["config"].as_object().unwrap();
        configs.insert(
            topic,
            config.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap().to_owned())).collect(),
        );
    }
    let described = broker.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &["--describe"]);
    let mut ids_there = BTreeMap::new();
    for line in described.lines().filter(|line| line.contains("TopicId: ")) {
        let field = |name: &str| line.split('\t').find_map(|field| field.trim().strip_prefix(name)).unwrap().to_owned();
        let topic = field("Topic: ");
        if !topic.starts_with("__") {
            ids_there.insert(topic, (field("TopicId: "), field("PartitionCount: ").parse::<i32>().unwrap()));
        }
    }
    assert_eq!(ids_there, ids);
    let class = "kafka.admin.ConfigCommand";
    let described = broker.tool(class, "--bootstrap-server", &["--describe", "--entity-type", "topics"]);
    let (mut configs_there, mut topic) = (Configs::new(), String::new());
    for line in described.lines() {
        if let Some(rest) = line.strip_prefix("Dynamic configs for topic ") {
            topic = rest.split(' ').next().unwrap().to_owned();
            if !topic.starts_with("__") {
                configs_there.entry(topic.clone()).or_default();
            }
        } else if let (Some(of), Some((key, rest))) = (configs_there.get_mut(&topic), line.trim().split_once('=')) {
            of.insert(key.to_owned(), rest.split(" sensitive=").next().unwrap().to_owned());
        }
    }
    assert_eq!(configs_there, configs);
}

fn is_served_with_all_that_it_has(kafka: Kafka) {
    let kdir = log_dir(kafka);
    let before = offsets(&kdir);
    let mut broker = promote_and_start(kafka, &kdir, &[]);
    for (name, start) in [("cut", "cut:0:1234\n"), ("old", "old:0:0\n")] {
        assert_eq!(broker.get_offsets(name, "-2"), start);
    }
    tools_agree(&broker, &kdir);
    groups_agree(&broker, &kdir);
    go_on(&broker);
    tools_agree(&broker, &kdir);
    groups_agree(&broker, &kdir);
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
        let kdir = log_dir(kafka);
        let broker = Broker::formatted(kafka, &kdir, extra);
        let (before, names) = (records(&kdir), topics(&kdir));
        kdir.run(&["-q", "promote"]).code(0);
        let mut broker = start(broker, &before, &names, extra);
        go_on(&broker);
        if kafka != Kafka::K3 {
            newer_clients_go_on(&broker, &kdir);
        }
        broker.stop();
        kdir.run(&["verify"]).code(0);
    }
}

fn is_served_by_a_quorum_whose_voters_can_change(kafka: Kafka) {
    let kdir = log_dir(kafka);
    let mut broker = promote_and_start(kafka, &kdir, &["--quorum", "dynamic"]);
    go_on(&broker);
    broker.stop();
}

/// With the features of its release: consumers of KIP-848, and share groups where it has them.
fn clients_of_its_release_go_on(kafka: Kafka) {
    let kdir = log_dir(kafka);
    let mut broker = promote_and_start(kafka, &kdir, &["--kafka", kafka.release()]);
    newer_clients_go_on(&broker, &kdir);
    go_on(&broker);
    broker.stop();
    kdir.run(&["verify"]).code(0);
    broker.start_again();
    assert_eq!(complaints(&broker), Vec::<String>::new());
    broker.stop();
}

/// Controller and broker are processes of their own.
fn is_served_beside_a_controller(kafka: Kafka) {
    let (kdir, of_controller) = (log_dir(kafka), Kdir::new());
    let mut controller = Broker::controller(kafka, &of_controller, &[]);
    let (before, names) = (records(&kdir), topics(&kdir));
    let broker = Broker::of_promoted_beside(&controller, &kdir, &[]);
    controller.start_again();
    let mut broker = start(broker, &before, &names, &["--metadata-dir"]);
    go_on(&broker);
    let there = served(&broker, &names);
    broker.stop();
    controller.stop();
    controller.start_again();
    broker.start_again();
    assert_eq!(served(&broker, &names), there);
    broker.stop();
    controller.stop();
    kdir.run(&["verify"]).code(0);
}

crate::on_every_kafka!(kafka_4 = K4: is_served_with_all_that_it_has, is_added_to_what_format_has_made,
    is_served_by_a_quorum_whose_voters_can_change, clients_of_its_release_go_on, is_served_beside_a_controller,);
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
        clients_of_its_release_go_on(kafka);
        is_served_beside_a_controller(kafka);
        super::round_trips::comes_back_and_goes_again(kafka);
    }
}
