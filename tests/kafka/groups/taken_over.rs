//! What kdir writes of groups never costs a broker any: each is taken over where kdir has left it, and Kafka's clients go on
//! there. The broker's log says so, and says otherwise of records that are bad.

use super::clients::{Clients, Committed, shown_by_kdir};
use super::{TOPIC, assert_quiet, kcat_commits};
use crate::broker::{Broker, Kafka};
use crate::support::{Chance, Kdir, from_environment, until};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

crate::on_every_kafka! {
    groups_of_a_broker_that_kdir_has_changed_are_taken_over,
    groups_that_kdir_has_made_are_taken_over,
    a_group_that_kdir_deletes_amid_a_transaction_costs_no_other,
    a_bad_record_costs_a_broker_groups_and_its_log_says_so,
}
crate::on_every_kafka! { shares = K4: a_share_group_of_a_broker_is_left_alone, }

const MORE: &str = "a.b_c-1";
/// Topics and their partitions, with so many records in each.
const TOPICS: [(&str, u64); 2] = [(TOPIC, 3), (MORE, 2)];
const RECORDS: i64 = 10;

/// Ids of groups: plain ones, odd ones, and so long ones as a broker of 4.3 can answer about to its tool.
fn ids() -> Vec<String> {
    let mut ids: Vec<String> =
        ["billing", "audit", "mail", "a b", "größe😀", "a/b,c-0", "%2F", "..", "-x"].map(str::to_owned).into();
    ids.extend(["l".repeat(300), "x".repeat(32_000)]);
    ids
}

/// The lines of a broker's log that complain of the groups' topic.
pub(super) fn complaints(broker: &Broker) -> Vec<String> {
    let subjects = [
        "__consumer_offsets",
        "GroupMetadataManager",
        "GroupCoordinator",
        "OffsetMetadataManager",
        "__share_group_state",
        "ShareCoordinator",
        "SharePartition",
        "Persister",
    ];
    let complains = |line: &&str| {
        (line.contains(" WARN ") || line.contains(" ERROR ")) && subjects.iter().any(|subject| line.contains(subject))
    };
    broker.log().lines().filter(complains).map(str::to_owned).collect()
}

#[track_caller]
pub(super) fn assert_no_complaint(broker: &Broker) {
    assert_eq!(complaints(broker), <[&str; 0]>::default());
    assert_quiet(broker);
}

/// Runs of kdir that change what groups have committed.
struct Changes<'a> {
    kdir: &'a Kdir,
    chance: Chance,
    ids: Vec<String>,
    /// How often each command has done it.
    succeeded: BTreeMap<&'static str, u32>,
}

impl Changes<'_> {
    fn run(&mut self, name: &'static str, args: &[&str]) {
        let output = self.kdir.command(&[&["-q"], args].concat()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => *self.succeeded.entry(name).or_default() += 1,
            Some(1) => assert!(stderr.starts_with("kdir: there is no group "), "{name}: {stderr}"),
            other => panic!("{name}: {other:?} {stderr}"),
        }
    }

    fn random(&mut self) {
        let at = self.chance.below(self.ids.len() as u64);
        let id = self.ids[at as usize].clone();
        let (topic, partitions) = self.chance.of(&TOPICS);
        let some = format!("{topic}:{}", self.chance.below(partitions));
        let (number, shift) =
            (self.chance.below(9).to_string(), format!("--shift={}", self.chance.below(7) as i64 - 3));
        match self.chance.below(10) {
            0..=2 => self.run("consume", &["consume", topic, "-n", &number, &format!("--group={id}")]),
            3..=5 => {
                let to = self.chance.of(&["earliest", "latest", "current", &number]);
                let topic = self.chance.of(&[topic, &some]);
                self.run("reset", &["groups", "reset", "--topic", topic, "--to", to, "--", &id]);
            }
            6 => self.run("shift", &["groups", "reset", "--all-topics", &shift, "--", &id]),
            7 => self.run("delete", &["groups", "delete", "--yes", "--", &id]),
            8 => self.run("forget", &["groups", "delete", "--yes", "--topic", topic, "--", &id]),
            _ => self.run("forget", &["groups", "delete", "--yes", "--topic", &some, "--", &id]),
        }
    }

    fn assert_all_kinds(&self) {
        for name in ["consume", "reset", "shift", "delete", "forget"] {
            assert!(self.succeeded.get(name) > Some(&0), "no {name}: {:?}", self.succeeded);
        }
    }
}

/// The broker has all groups as kdir has left them; and clients of some of them, of every kind, go on there.
fn assert_taken_over(broker: &Broker, expected: &Committed, chance: &mut Chance, but: &[&str]) {
    let mut clients = Clients::start(broker);
    assert_eq!(clients.shown().committed, *expected);
    let next = |group: &str| {
        let committed =
            |partition: u64| expected.get(&(group.to_owned(), format!("{TOPIC}-{partition}"))).copied().unwrap_or(0);
        (0..TOPICS[0].1)
            .map(|partition| (format!("{TOPIC}-{partition}"), committed(partition)))
            .collect::<BTreeMap<_, _>>()
    };
    let mut groups: Vec<&str> =
        expected.keys().map(|(group, _)| &**group).filter(|group| !but.contains(group)).collect();
    groups.dedup();
    assert!(groups.len() >= 4, "{groups:?}");
    for _ in 0..groups.len() - 4 {
        groups.remove(chance.below(groups.len() as u64) as usize);
    }
    let consumer = json!({"group.protocol": if broker.kafka == Kafka::K4 { "consumer" } else { "classic" }});
    let classic = json!({});
    for (group, properties) in groups[..3].iter().zip([&classic, &consumer, &classic]) {
        let properties = if broker.kafka == Kafka::K4 { properties } else { &classic };
        assert_eq!(clients.firsts(group, &[TOPIC], properties), next(group), "{group} {properties}");
    }
    let expected = next(groups[3]);
    let lag: i64 = expected.values().map(|offset| RECORDS - offset).sum();
    if lag > 0 {
        let mut firsts = firsts_of_kcat(broker, groups[3], lag);
        for (partition, offset) in &expected {
            firsts.entry(partition.clone()).or_insert(*offset);
        }
        assert_eq!(firsts, expected, "{}", groups[3]);
    }
}

/// The first offset of each partition that kcat gets as the member of a group, by `TOPIC-PARTITION`.
fn firsts_of_kcat(broker: &Broker, group: &str, count: i64) -> BTreeMap<String, i64> {
    let args = ["-q", "-b", &broker.address(), "-X", "auto.offset.reset=earliest", "-c", &count.to_string()];
    let output = Command::new("kcat").args(args).args(["-f", "%t-%p %o\n", "-G", group, TOPIC]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut firsts = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (partition, offset) = line.split_once(' ').unwrap();
        firsts.entry(partition.to_owned()).or_insert_with(|| offset.parse().unwrap());
    }
    firsts
}

/// Has a broker's clients make the topics.
fn make_topics(clients: &mut Clients) {
    for (topic, partitions) in TOPICS {
        clients.step("create", json!({"topic": topic, "partitions": partitions}));
        for partition in 0..partitions {
            clients.step("produce", json!({"topic": topic, "partition": partition, "count": RECORDS}));
        }
    }
}

fn groups_of_a_broker_that_kdir_has_changed_are_taken_over(kafka: Kafka) {
    let seed = from_environment("KDIR_SEED", || 7);
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    let mut clients = Clients::start(&broker);
    make_topics(&mut clients);
    let topics = TOPICS.map(|(topic, _)| topic);
    let consumer = if kafka == Kafka::K4 { json!({"group.protocol": "consumer"}) } else { json!({}) };
    let take = |group: &str, properties: &Value| json!({"group": group, "topics": topics, "count": 4, "properties": properties});
    clients.step("take", take("billing", &json!({})));
    clients.step("take", take("größe😀", &consumer));
    clients.step("take", take("a b", &consumer));
    clients.step("alter", json!({"group": "audit", "offsets": [[TOPIC, 0, 3], [MORE, 1, 5]]}));
    clients.step("commit", json!({"group": "mail", "offsets": [[TOPIC, 1, 2], [MORE, 0, 4]]}));
    // Members that are there when it all ends.
    for (group, properties) in [("with-members", &json!({})), ("with-new-members", &consumer)] {
        clients.step("join", json!({"group": group, "member": group, "topics": topics, "properties": properties}));
        clients.attempt("commit", json!({"group": group, "offsets": [[TOPIC, 0, 1]]})).ok();
    }
    for (producer, commits) in [("one", true), ("two", false), ("three", true)] {
        clients.step("begin", json!({"producer": producer}));
        let line = json!({"producer": producer, "group": "..", "offsets": [[TOPIC, 0, 6], [TOPIC, 2, producer.len()]]});
        clients.step("offsets", line);
        if producer != "three" {
            clients.step("end", json!({"producer": producer, "commits": commits}));
        }
    }
    kcat_commits(&broker, "%2F", TOPIC, "5");
    drop(clients);
    broker.stop();

    let but = ["with-members", "with-new-members", ".."];
    let ids = ids().into_iter().chain(but.map(str::to_owned)).collect();
    let mut changes = Changes { kdir: &kdir, chance: Chance::new(seed), ids, succeeded: BTreeMap::new() };
    for _ in 0..2 {
        for _ in 0..35 {
            changes.random();
        }
        let expected = shown_by_kdir(&kdir).committed;
        broker.start_again();
        assert_taken_over(&broker, &expected, &mut changes.chance, &but);
        assert_no_complaint(&broker);
        broker.stop();
    }
    changes.assert_all_kinds();
}

fn groups_that_kdir_has_made_are_taken_over(kafka: Kafka) {
    let seed = from_environment("KDIR_SEED", || 8);
    let kdir = Kdir::new();
    let lines: String = (0..RECORDS).map(|number| format!("value {number}\n")).collect();
    let make = |topic: &str, partitions: u64| {
        kdir.create(topic, &["--partitions", &partitions.to_string()]);
        for partition in 0..partitions {
            kdir.produce(topic, &["-p", &partition.to_string()], &*lines);
        }
    };
    for (topic, partitions) in TOPICS {
        make(topic, partitions);
    }
    let mut changes = Changes { kdir: &kdir, chance: Chance::new(seed), ids: ids(), succeeded: BTreeMap::new() };
    for round in 0..90 {
        changes.random();
        match round % 30 {
            // Another topic of that name, which no group has read.
            10 => {
                changes.run("delete the topic", &["delete", MORE, "--yes"]);
                make(MORE, TOPICS[1].1);
            }
            20 => changes.run("compact", &["compact", "__consumer_offsets", "--force", "--roll"]),
            _ => {}
        }
    }
    changes.assert_all_kinds();
    let expected = shown_by_kdir(&kdir).committed;
    kdir.assert_sound();

    let served = Kdir::new();
    let mut broker = Broker::start_with(kafka, &served, &["offsets.topic.num.partitions=50"]);
    let mut clients = Clients::start(&broker);
    make_topics(&mut clients);
    clients.step("alter", json!({"group": "audit", "offsets": [[TOPIC, 0, 3]]}));
    drop(clients);
    broker.stop();
    hand_over(&kdir, &served);
    broker.start_again();
    assert_taken_over(&broker, &expected, &mut changes.chance, &[]);
    assert_no_complaint(&broker);
    broker.stop();
}

/// Puts the partitions of kdir in the place of those of a stopped broker, of which the topic ids are kept. Of what the broker
/// knows of them, nothing is left.
fn hand_over(from: &Kdir, to: &Kdir) {
    for folder in to.entries("").iter().filter(|name| to.path(name).is_dir() && from.path(name).is_dir()) {
        let metadata = fs::read(to.path(folder).join("partition.metadata")).ok();
        fs::remove_dir_all(to.path(folder)).unwrap();
        crate::untouched::copy_folder(&from.path(folder), &to.path(folder));
        match metadata {
            Some(metadata) => fs::write(to.path(folder).join("partition.metadata"), metadata).unwrap(),
            None => fs::remove_file(to.path(folder).join("partition.metadata")).unwrap(),
        }
    }
    // Groups that the broker has and kdir does not.
    for folder in to.entries("").iter().filter(|name| name.starts_with("__consumer_offsets-")) {
        if !from.path(folder).is_dir() {
            fs::write(to.segment(folder, 0, "log"), b"").unwrap();
        }
    }
    fs::remove_file(to.path(".kafka_cleanshutdown")).unwrap();
    for name in ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint"] {
        fs::write(to.path(name), "0\n0\n").unwrap();
    }
}

fn a_group_that_kdir_deletes_amid_a_transaction_costs_no_other(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start_with(kafka, &kdir, &["offsets.topic.num.partitions=1"]);
    let mut clients = Clients::start(&broker);
    make_topics(&mut clients);
    for group in ["good", "deleted", "forgotten", "reset"] {
        clients.step("alter", json!({"group": group, "offsets": [[TOPIC, 0, 2]]}));
    }
    clients.step("begin", json!({"producer": "one"}));
    for group in ["deleted", "forgotten", "reset"] {
        let offsets = json!([[TOPIC, 0, 6], [TOPIC, 1, 6]]);
        clients.step("offsets", json!({"producer": "one", "group": group, "offsets": offsets}));
    }
    broker.stop();
    // A broker up to 3.9 would give up what it has not read yet, and one of 4 would have offsets without a group.
    let refused = "kdir: deleted has sent offsets in a transaction that has not ended\n\
                   hint: --topic deletes what it has committed\n";
    kdir.run(&["-q", "groups", "delete", "deleted", "--yes"]).code(1).stdout("").stderr(refused);
    kdir.run(&["-q", "groups", "delete", "forgotten", "--topic", TOPIC, "--yes"]).code(0).stderr("");
    kdir.run(&["-q", "groups", "reset", "reset", "--topic", "orders:0", "--to", "1"]).code(0).stderr("");
    let expected = shown_by_kdir(&kdir).committed;
    let groups: BTreeSet<&str> = expected.keys().map(|(group, _)| &**group).collect();
    assert_eq!(groups, ["deleted", "good", "reset"].into());
    broker.start_again();
    assert_eq!(clients.shown().committed, expected);
    clients.step("end", json!({"producer": "one", "commits": true}));
    let decided = |mut committed: Committed| {
        // Brokers up to 3.9 have what was forgotten before it was decided once they have read their log.
        committed.retain(|(group, _), _| kafka == Kafka::K4 || group != "forgotten");
        committed
    };
    let ours = || decided(shown_by_kdir(&kdir).committed);
    until("kdir and the tool show the same", || ours() == decided(clients.shown().committed));
    let of = |group: &str, partition: &str| ours().get(&(group.to_owned(), partition.to_owned())).copied();
    assert_eq!((of("deleted", "orders-0"), of("deleted", "orders-1")), (Some(6), Some(6)));
    assert_eq!((of("reset", "orders-0"), of("reset", "orders-1")), (Some(1), Some(6)));
    assert_eq!((of("forgotten", "orders-0"), of("forgotten", "orders-1")), (None, None));
    assert_no_complaint(&broker);
    broker.stop();
    kdir.run(&["-q", "groups", "delete", "deleted", "--yes"]).code(0).stderr("");
}

/// A key and a value.
type Bytes = (Vec<u8>, Option<Vec<u8>>);

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// What a group has committed of partition 0, as bytes, with a value of that version.
fn commit(group: &str, version: u8) -> Bytes {
    let value: &[u8] = match version {
        4 => b"\0\x04\0\0\0\0\0\0\0\x01\0\0\0\0\x01\0\0\x01\x8b\xcf\xe5\x68\0\0",
        _ => b"\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\x01\x8b\xcf\xe5\x68\0",
    };
    let value = [&[0, version][..], &value[2..]].concat();
    ([&[0, 1][..], &text(group), &text(TOPIC), &[0; 4]].concat(), Some(value))
}

/// The record of a share group.
fn share(group: &str) -> Bytes {
    ([&[0, 11][..], &text(group)].concat(), Some(b"\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0".to_vec()))
}

fn a_bad_record_costs_a_broker_groups_and_its_log_says_so(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start_with(kafka, &kdir, &["offsets.topic.num.partitions=5"]);
    let mut clients = Clients::start(&broker);
    make_topics(&mut clients);
    clients.step("alter", json!({"group": "good", "offsets": [[TOPIC, 0, 3]]}));
    drop(clients);
    broker.stop();

    let mut rows = vec![
        ("a version that is not known", vec![commit("bad", 9)]),
        ("a key of one byte", vec![(vec![0], Some(vec![0]))]),
    ];
    match kafka {
        Kafka::K4 => rows.push(("offsets, and then a share group", vec![commit("bad", 3), share("bad")])),
        Kafka::K2 => rows.push(("version 4", vec![commit("bad", 4)])),
        _ => {}
    }
    // Bytes that are good do no harm, and neither does what is bad in another partition.
    let good = "good".parse::<kdir::units::GroupId>().unwrap().partition_of(5);
    let others: Vec<i32> = (0..5).filter(|partition| *partition != good).collect();
    let placed = rows.into_iter().zip(others);
    let placed: Vec<_> = placed.chain([(("", vec![commit("good", 3)]), good)]).collect();
    for ((_, records), partition) in &placed {
        let base64 = |bytes: &Vec<u8>| BASE64.encode(bytes);
        let line = |(key, value): &Bytes| {
            let value = value.as_ref().map(base64);
            json!({"partition": partition, "key_b64": base64(key), "value_b64": value}).to_string() + "\n"
        };
        let lines: String = records.iter().map(line).collect();
        kdir.feed(&["-q", "produce", "__consumer_offsets", "--internal", "-i", "json"], lines).code(0).stderr("");
    }
    broker.start_again();
    let names = |line: &str, partition: i32| {
        let name = format!("__consumer_offsets-{partition}");
        line.split(&*name).skip(1).any(|rest| !rest.starts_with(|char: char| char.is_ascii_digit()))
    };
    for ((what, _), partition) in &placed[..placed.len() - 1] {
        until(what, || complaints(&broker).iter().any(|line| names(line, *partition)));
    }
    let firsts = Clients::start(&broker).firsts("good", &[TOPIC], &json!({}));
    assert_eq!(firsts[&format!("{TOPIC}-0")], 1);
    assert!(!complaints(&broker).iter().any(|line| names(line, good)), "{:?}", complaints(&broker));
    broker.stop();
}

fn a_share_group_of_a_broker_is_left_alone(kafka: Kafka) {
    let kdir = Kdir::new();
    let properties = ["share.coordinator.state.topic.replication.factor=1", "share.coordinator.state.topic.min.isr=1"];
    let mut broker = Broker::start_with(kafka, &kdir, &properties);
    let mut clients = Clients::start(&broker);
    make_topics(&mut clients);
    let args =
        ["--bootstrap-server", &broker.address(), "--topic", TOPIC, "--group", "share-g", "--timeout-ms", "3000"];
    kafka.run("org.apache.kafka.tools.consumer.ConsoleShareConsumer", &args, b"");
    clients.step("alter", json!({"group": "billing", "offsets": [[TOPIC, 0, 3]]}));
    drop(clients);
    broker.stop();

    let list = kdir.json(&["groups", "list", "--type", "share", "-o", "json"]);
    assert_eq!(list.iter().map(|row| &row["group"]).collect::<Vec<_>>(), ["share-g"]);
    let before = kdir.contents();
    let refused = "kdir: share-g is a share group, and no group of consumers\n";
    kdir.run(&["-q", "consume", TOPIC, "-g", "share-g"]).code(1).stdout("").stderr(refused);
    // The members that the broker has recorded are gone, and so nothing is in the way of who changes the group; who looks
    // changes nothing.
    for args in [&["describe", "share-g"][..], &["list"], &["reset", "share-g", "--all-topics", "--to", "latest", "-n"]]
    {
        kdir.run(&[&["-q", "groups"], args].concat()).code(0).stderr("");
    }
    // In the folders of partitions; members would find each other by the lock files.
    let is_records = |(name, _): &(&String, &Vec<u8>)| name.contains('/') && !name.ends_with(".group");
    let after = kdir.contents();
    let (before, after) = (before.iter().filter(is_records), after.iter().filter(is_records));
    assert_eq!(before.collect::<Vec<_>>(), after.collect::<Vec<_>>());
    kdir.run(&["-q", "groups", "reset", "billing", "--topic", TOPIC, "--to", "7"]).code(0);
    broker.start_again();
    assert_eq!(Clients::start(&broker).shown().committed, shown_by_kdir(&kdir).committed);
    assert_no_complaint(&broker);
    broker.stop();
}
