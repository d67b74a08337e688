//! Promote, work on the broker, demote, work with kdir, and again: a model knows what is there after each.

use super::complaints_but_of_added;
use crate::broker::{Broker, Kafka};
use crate::groups::clients::Clients;
use crate::support::{Chance, Kdir, from_environment, seed, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

const NAMES: [&str; 6] = ["orders", "payments", "a.b_c-1", "events", "x", "Mail"];
const GROUPS: [&str; 3] = ["billing", "audit", "search"];
const CONFIGS: [(&str, &str); 5] = [
    ("retention.ms", "-1"),
    ("max.message.bytes", "200000"),
    ("compression.type", "zstd"),
    ("segment.bytes", "1048576"),
    ("max.message.bytes", "300000"),
];
const STEPS: u64 = 25;

/// What has an offset of its own.
#[derive(Debug, Clone)]
enum Slot {
    Value(String),
    /// A record of a transaction that was aborted, or the marker of one.
    Hidden,
}

#[derive(Debug, Default)]
struct ModelTopic {
    /// As it was first seen.
    id: Option<String>,
    config: BTreeMap<String, String>,
    partitions: Vec<ModelPartition>,
}

#[derive(Debug, Default)]
struct ModelPartition {
    start: usize,
    slots: Vec<Slot>,
}

/// What is there, whoever has made it.
struct Model {
    chance: Chance,
    topics: BTreeMap<&'static str, ModelTopic>,
    committed: BTreeMap<(String, String), i64>,
    trace: Vec<String>,
}

/// One change of what is there.
enum Step {
    Create {
        topic: &'static str,
        partitions: usize,
        config: Option<(&'static str, &'static str)>,
    },
    Grow {
        topic: &'static str,
        partitions: usize,
    },
    Drop {
        topic: &'static str,
    },
    Configure {
        topic: &'static str,
        config: (&'static str, &'static str),
    },
    Produce {
        topic: &'static str,
        partition: usize,
        count: usize,
    },
    /// The records of a transaction, which is committed or aborted.
    Transact {
        topic: &'static str,
        partition: usize,
        count: usize,
        commits: bool,
    },
    DeleteRecords {
        topic: &'static str,
        partition: usize,
        before: usize,
    },
    Commit {
        group: &'static str,
        topic: &'static str,
        partition: usize,
        offset: usize,
    },
}

impl Model {
    fn choose(&mut self) -> Step {
        let chance = &mut self.chance;
        let kind = chance.below(20);
        let names: Vec<&str> = self.topics.keys().copied().collect();
        let free: Vec<&str> = NAMES.into_iter().filter(|name| !names.contains(name)).collect();
        if names.len() < 2 || (kind == 0 && !free.is_empty()) {
            let config = (chance.below(2) == 0).then(|| chance.of(&CONFIGS));
            return Step::Create { topic: chance.of(&free), partitions: 1 + chance.below(3) as usize, config };
        }
        let topic = chance.of(&names);
        let of = &self.topics[topic];
        let partition = chance.below(of.partitions.len() as u64) as usize;
        let ModelPartition { start, slots } = &of.partitions[partition];
        let offset = start + chance.below((slots.len() - start) as u64 + 1) as usize;
        match kind {
            1 => Step::Drop { topic },
            2 if of.partitions.len() < 5 => Step::Grow { topic, partitions: of.partitions.len() + 1 },
            3 => Step::Configure { topic, config: chance.of(&CONFIGS) },
            4 | 5 => Step::DeleteRecords { topic, partition, before: offset },
            6..=10 => Step::Commit { group: chance.of(&GROUPS), topic, partition, offset },
            11..=13 => {
                let (count, commits) = (1 + chance.below(5) as usize, chance.below(3) > 0);
                Step::Transact { topic, partition, count, commits }
            }
            _ => Step::Produce { topic, partition, count: 1 + chance.below(30) as usize },
        }
    }

    fn apply(&mut self, step: &Step) {
        match *step {
            Step::Create { topic, partitions, config } => {
                let config = config.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                let partitions = (0..partitions).map(|_| ModelPartition::default()).collect();
                self.topics.insert(topic, ModelTopic { id: None, config, partitions });
            }
            Step::Grow { topic, partitions } => {
                self.topics.get_mut(topic).unwrap().partitions.resize_with(partitions, ModelPartition::default);
            }
            Step::Drop { topic } => {
                self.topics.remove(topic);
                self.committed.retain(|(_, partition), _| partition.rsplit_once('-').unwrap().0 != topic);
            }
            Step::Configure { topic, config: (key, value) } => {
                self.topics.get_mut(topic).unwrap().config.insert(key.to_owned(), value.to_owned());
            }
            Step::Produce { topic, partition, count } => {
                let slots = (0..count).map(|number| Slot::Value(format!("value {number}")));
                self.topics.get_mut(topic).unwrap().partitions[partition].slots.extend(slots);
            }
            Step::Transact { topic, partition, count, commits } => {
                let slot = |number| if commits { Slot::Value(format!("value {number}")) } else { Slot::Hidden };
                let slots = (0..count).map(slot).chain([Slot::Hidden]);
                self.topics.get_mut(topic).unwrap().partitions[partition].slots.extend(slots);
            }
            Step::DeleteRecords { topic, partition, before } => {
                self.topics.get_mut(topic).unwrap().partitions[partition].start = before;
            }
            Step::Commit { group, topic, partition, offset } => {
                self.committed.insert((group.to_owned(), format!("{topic}-{partition}")), offset as i64);
            }
        }
    }

    /// Some steps that kdir takes.
    fn work_with_kdir(&mut self, kdir: &Kdir) {
        for _ in 0..STEPS {
            let step = self.choose();
            let trace = &mut self.trace;
            let mut run = |args: &[&str]| {
                trace.push(args.join(" "));
                kdir.run(&[&["-q"], args].concat()).code(0);
            };
            match step {
                Step::Create { topic, partitions, config } => {
                    let (partitions, config) =
                        (partitions.to_string(), config.map(|(key, value)| format!("{key}={value}")));
                    let config: Vec<&str> = config.iter().flat_map(|config| ["-c", config]).collect();
                    run(&[&["create", topic, "-P", &partitions], &config[..]].concat())
                }
                Step::Grow { topic, partitions } => run(&["alter", topic, "-P", &partitions.to_string()]),
                Step::Drop { topic } => run(&["delete", topic, "--yes"]),
                Step::Configure { topic, config: (key, value) } => {
                    run(&["alter", topic, "-c", &format!("{key}={value}")])
                }
                Step::Produce { topic, partition, count } => {
                    let lines: String = (0..count).map(|number| format!("value {number}\n")).collect();
                    trace.push(format!("produce {topic} -p {partition}: {count}"));
                    kdir.produce(topic, &["-p", &partition.to_string()], lines);
                }
                // kdir has no transactions.
                Step::Transact { .. } => continue,
                Step::DeleteRecords { topic, partition, before } => {
                    run(&["delete-records", topic, "--before-offset", &format!("{partition}:{before}"), "--yes"])
                }
                Step::Commit { group, topic, partition, offset } => {
                    let of = format!("{topic}:{partition}");
                    run(&["groups", "reset", group, "-t", &of, "--to", &offset.to_string()])
                }
            }
            self.apply(&step);
        }
    }

    /// Some steps that clients of a broker take.
    fn work_with_broker(&mut self, broker: &Broker, clients: &mut Clients) {
        // A producer takes an id each time.
        let first = Step::Produce { topic: self.topics.keys().next().unwrap(), partition: 0, count: 1 };
        let mut first = Some(first);
        for _ in 0..STEPS {
            let step = first.take().unwrap_or_else(|| self.choose());
            let mut take = |name: &str, line: Value| {
                self.trace.push(format!("broker: {name} {line}"));
                clients.step(name, line);
            };
            match step {
                Step::Create { topic, partitions, config } => {
                    take("create", json!({"topic": topic, "partitions": partitions}));
                    if let Some((key, value)) = config {
                        configure(broker, topic, key, value);
                    }
                }
                Step::Grow { topic, partitions } => take("grow", json!({"topic": topic, "partitions": partitions})),
                Step::Drop { topic } => take("drop", json!({"topic": topic})),
                Step::Configure { topic, config: (key, value) } => {
                    self.trace.push(format!("broker: alter {topic} {key}={value}"));
                    configure(broker, topic, key, value);
                }
                Step::Produce { topic, partition, count } => {
                    take("produce", json!({"topic": topic, "partition": partition, "count": count}));
                }
                Step::Transact { topic, partition, count, commits } => {
                    take("begin", json!({"producer": "one"}));
                    take("send", json!({"producer": "one", "topic": topic, "partition": partition, "count": count}));
                    take("end", json!({"producer": "one", "commits": commits}));
                    take("settle", json!({"offsets": [[topic, partition]]}));
                }
                Step::DeleteRecords { topic, partition, before } => {
                    take("delete-records", json!({"offsets": [[topic, partition, before]]}));
                }
                Step::Commit { group, topic, partition, offset } => {
                    take("commit", json!({"group": group, "offsets": [[topic, partition, offset]]}));
                }
            }
            self.apply(&step);
        }
    }

    /// What a reader gets of committed records: topic, partition, offset, value.
    fn visible(&self) -> Vec<(String, i64, i64, String)> {
        let mut visible = Vec::new();
        for (topic, of) in &self.topics {
            for (partition, ModelPartition { start, slots }) in of.partitions.iter().enumerate() {
                for (offset, slot) in slots.iter().enumerate().skip(*start) {
                    if let Slot::Value(value) = slot {
                        visible.push(((*topic).to_owned(), partition as i64, offset as i64, value.clone()));
                    }
                }
            }
        }
        visible
    }

    /// kdir has all of it and nothing else, and every topic is the one that it was.
    fn assert_in_kdir(&mut self, kdir: &Kdir) {
        let mut rows = kdir.json(&["describe", "-o", "json"]);
        rows.retain(|row| !row["topic"].as_str().unwrap().starts_with("__"));
        let mut found = BTreeMap::new();
        for row in &rows {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            let place = (text("topic"), row["partition"].as_u64().unwrap() as usize);
            let topic = self.topics.get_mut(&*place.0).unwrap_or_else(|| panic!("{} is deleted", place.0));
            assert_eq!(*topic.id.get_or_insert_with(|| text("topic_id")), text("topic_id"), "{place:?}");
            assert_eq!(row["config"], json!(topic.config), "{place:?}");
            found.insert(place, (row["log_start_offset"].clone(), row["log_end_offset"].clone()));
        }
        let mut expected = BTreeMap::new();
        for (topic, of) in &self.topics {
            for (partition, ModelPartition { start, slots }) in of.partitions.iter().enumerate() {
                expected.insert(((*topic).to_owned(), partition), (json!(start), json!(slots.len())));
            }
        }
        assert_eq!(found, expected);
        let options = ["-o", "json", "--order", "partition", "--isolation", "read-committed"];
        let records = self.topics.keys().flat_map(|topic| kdir.json(&[&["consume", topic], &options[..]].concat()));
        assert_eq!(places(&records.collect::<Vec<_>>()), self.visible());
        let mut committed = BTreeMap::new();
        for row in kdir.json(&["-q", "groups", "describe", "-o", "json"]) {
            if let Some(offset) = row["committed"].as_i64() {
                let partition = format!("{}-{}", row["topic"].as_str().unwrap(), row["partition"]);
                committed.insert((row["group"].as_str().unwrap().to_owned(), partition), offset);
            }
        }
        assert_eq!(committed, self.committed);
    }

    /// A broker serves all of it, and nothing else.
    fn assert_served(&self, broker: &Broker, clients: &mut Clients) {
        until("the broker has what groups have committed", || clients.shown().committed == self.committed);
        let topics: Vec<&str> = self.topics.keys().copied().collect();
        assert_eq!(places(&broker.records(&topics, "read_committed")), self.visible());
        let listed = broker.tool("org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &["--list"]);
        let mut listed: Vec<&str> = listed.lines().filter(|topic| !topic.starts_with("__")).collect();
        listed.sort_unstable();
        assert_eq!(listed, topics);
    }
}

fn configure(broker: &Broker, topic: &str, key: &str, value: &str) {
    broker.client(&["alter", topic, &format!("{key}={value}")], b"");
}

fn places(records: &[Value]) -> Vec<(String, i64, i64, String)> {
    let place = |record: &Value| {
        let text = |name: &str| record[name].as_str().unwrap().to_owned();
        (text("topic"), record["partition"].as_i64().unwrap(), record["offset"].as_i64().unwrap(), text("value"))
    };
    let mut places: Vec<_> = records.iter().map(place).collect();
    places.sort();
    places
}

impl Drop for Model {
    #[expect(clippy::print_stderr, reason = "a failure is understood by what was done")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.trace.join("\n"));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the seed repeats a failure")]
pub(super) fn comes_back_and_goes_again(kafka: Kafka) {
    let (rounds, seed) = (from_environment("KDIR_ROUND_TRIPS", || 2), seed());
    println!("KDIR_SEED={seed}");
    let (kdir, chance) = (Kdir::new(), Chance::new(seed));
    let (topics, committed, trace) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    let mut model = Model { chance, topics, committed, trace };
    let mut next_producer_id = 0;
    for round in 0..rounds {
        model.trace.push(format!("round {round}"));
        model.work_with_kdir(&kdir);
        model.assert_in_kdir(&kdir);
        kdir.assert_sound();
        let quorum = if round % 2 == 0 { "static" } else { "dynamic" };
        let mut broker = Broker::of_promoted(kafka, &kdir, &["--quorum", quorum]);
        broker.start_again();
        let mut clients = Clients::start(&broker);
        model.assert_served(&broker, &mut clients);
        model.work_with_broker(&broker, &mut clients);
        model.assert_served(&broker, &mut clients);
        assert_eq!(complaints_but_of_added(&broker), Vec::<String>::new());
        broker.stop();
        model.assert_in_kdir(&kdir);
        kdir.run(&["-q", "demote"]).code(0);
        model.assert_in_kdir(&kdir);
        let remembered: Value = serde_json::from_slice(&fs::read(kdir.path(".kdir-broker")).unwrap()).unwrap();
        let next = remembered["next_producer_id"].as_i64().unwrap();
        assert!(next > next_producer_id, "round {round}: {next} after {next_producer_id}");
        next_producer_id = next;
    }
}

crate::on_every_kafka!(kafka_4 = K4: comes_back_and_goes_again,);
