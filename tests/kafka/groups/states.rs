//! What `kdir groups` shows of a running broker is what Kafka's tool shows, in one random state after another.

use super::clients::{Clients, Shown, shown_by_kdir};
use super::kcat_commits;
use crate::broker::{Broker, Kafka};
use crate::support::{Chance, Kdir, from_environment};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

crate::on_every_kafka! { groups_of_a_running_broker_are_as_its_own_tool_shows_them, }

const STATES: u32 = 20;
const STEPS_EACH: u32 = 6;
const TOPICS: [&str; 4] = ["orders", "payments", "a.b_c-1", "events"];
/// The ids that groups have, whatever kind of client comes.
const GROUPS: [&str; 7] = ["billing", "audit", "größe/%2F", "..", "mail", "-x", "search"];
/// The one whose members are static: they are there for some time after they have left.
const STATIC: &str = "audit";
const PRODUCERS: [&str; 3] = ["one", "two", "three"];
/// Members that stay.
const MEMBERS_MAX: usize = 3;
/// How long a change may take until both show it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The steps, as often as they are to come up.
const STEPS: [(&str, u64); 14] = [
    ("produce", 4),
    ("alter", 3),
    ("commit", 3),
    ("forget", 2),
    ("delete", 2),
    ("take", 4),
    ("join", 2),
    ("leave", 2),
    ("offsets", 4),
    ("end", 4),
    ("drop", 1),
    ("delete-records", 2),
    ("grow", 1),
    ("kcat", 1),
];

/// A random program, and what is known of the broker that it runs on.
struct Program<'a> {
    broker: &'a Broker,
    kdir: &'a Kdir,
    clients: Clients,
    chance: Chance,
    /// How many partitions each has.
    topics: BTreeMap<&'static str, u64>,
    /// Producers in a transaction, and the groups and topics that they have sent offsets of.
    open: BTreeMap<&'static str, BTreeSet<&'static str>>,
    /// The group of each member that stays.
    members: BTreeMap<String, &'static str>,
    joined: u32,
    /// What was done, and what came of it.
    trace: Vec<String>,
    succeeded: BTreeMap<&'static str, u32>,
}

impl Program<'_> {
    fn topic(&mut self) -> &'static str {
        self.chance.of(&TOPICS)
    }

    /// Some partitions of some topics, each with an offset.
    fn offsets(&mut self) -> Vec<(&'static str, u64, u64)> {
        let count = 1 + self.chance.below(4);
        let offset = |program: &mut Self| {
            let topic = program.topic();
            (topic, program.chance.below(program.topics[topic]), program.chance.below(40))
        };
        (0..count).map(|_| offset(self)).collect()
    }

    /// A client of either protocol, where there are two.
    fn properties(&mut self) -> Value {
        if self.broker.kafka == Kafka::K4 && self.chance.below(2) == 0 {
            return json!({"group.protocol": "consumer"});
        }
        json!({})
    }

    /// Whether something of that group or topic was sent in a transaction that is open.
    fn is_pending(&self, what: &str) -> bool {
        self.open.values().any(|sent| sent.contains(what))
    }

    /// Notes what came of a step.
    fn note(&mut self, step: &'static str, line: &Value, result: Result<Value, String>) -> bool {
        let succeeded = result.is_ok();
        self.trace.push(format!("{step} {line}: {}", result.map_or_else(|error| error, |answer| answer.to_string())));
        *self.succeeded.entry(step).or_default() += u32::from(succeeded);
        succeeded
    }

    fn attempt(&mut self, step: &'static str, line: Value) -> bool {
        let result = self.clients.attempt(step, line.clone());
        self.note(step, &line, result)
    }

    fn step(&mut self) {
        let all: u64 = STEPS.iter().map(|(_, weight)| weight).sum();
        let mut at = self.chance.below(all);
        let is_it = |(_, weight): &&(&str, u64)| {
            let is_it = at < *weight;
            at = at.wrapping_sub(*weight);
            is_it
        };
        let (step, _) = *STEPS.iter().find(is_it).unwrap();
        let (group, topic) = (self.chance.of(&GROUPS), self.topic());
        // Of a group with members it may get no partition at all, and of one with offsets that are not decided it waits.
        let is_taken = self.members.values().any(|of| *of == group) || self.is_pending(group);
        let partition = self.chance.below(self.topics[topic]);
        // Older brokers drop what is not decided then, and have it again once they have read their log: so has kdir.
        let forgets_more = self.broker.kafka != Kafka::K4 && self.is_pending(group);
        match step {
            "forget" | "delete" if forgets_more => {}
            "produce" => {
                let count = 1 + self.chance.below(20);
                self.attempt(step, json!({"topic": topic, "partition": partition, "count": count}));
            }
            "alter" | "commit" | "forget" => {
                let offsets = self.offsets();
                self.attempt(step, json!({"group": group, "offsets": offsets}));
            }
            "delete" => drop(self.attempt(step, json!({"group": group}))),
            "take" if !is_taken => {
                let (mut properties, count) = (self.properties(), self.chance.below(10));
                if group == STATIC {
                    properties["group.instance.id"] = json!("one");
                }
                let line = json!({"group": group, "topics": [topic], "count": count, "properties": properties});
                self.attempt(step, line);
            }
            "kcat" if !is_taken && group != STATIC => {
                self.clients.step("produce", json!({"topic": topic, "partition": partition, "count": 60}));
                // More may have been committed than there is.
                self.clients.attempt("delete", json!({"group": group})).ok();
                kcat_commits(self.broker, group, topic, "5");
                self.note(step, &json!({"group": group, "topic": topic}), Ok(json!({})));
            }
            "join" if self.members.len() < MEMBERS_MAX && group != STATIC => {
                self.joined += 1;
                let (member, properties) = (format!("member-{}", self.joined), self.properties());
                let line = json!({"group": group, "member": member, "topics": TOPICS, "properties": properties});
                if self.attempt(step, line) {
                    self.members.insert(member, group);
                }
            }
            "leave" => {
                if let Some((member, _)) = self.members.pop_first() {
                    self.attempt(step, json!({"member": member}));
                }
            }
            "offsets" => self.send_offsets(group),
            "end" => {
                let commits = self.chance.below(3) > 0;
                self.end_transaction(commits);
            }
            // What has been sent in a transaction that is still open would be committed of a topic that is gone; and the tool
            // gives up where members have partitions that are gone.
            "drop" if !self.is_pending(topic) && self.members.is_empty() => {
                let partitions = self.topics[topic].max(1 + self.chance.below(3));
                self.attempt(step, json!({"topic": topic}));
                let line = json!({"topic": topic, "partitions": partitions});
                let started = Instant::now();
                while !self.attempt("create", line.clone()) {
                    assert!(started.elapsed() < PATIENCE, "{}", self.trace.join("\n"));
                    std::thread::sleep(Duration::from_millis(50));
                }
                self.topics.insert(topic, partitions);
            }
            "delete-records" => {
                let before = self.chance.below(8);
                self.attempt(step, json!({"offsets": [(topic, partition, before)]}));
            }
            "grow" if self.topics[topic] < 4 => {
                let partitions = self.topics[topic] + 1;
                self.attempt(step, json!({"topic": topic, "partitions": partitions}));
                self.topics.insert(topic, partitions);
            }
            _ => {}
        }
    }

    /// Sends offsets in a transaction, which is begun first unless it is open.
    fn send_offsets(&mut self, group: &'static str) {
        let producer = self.chance.of(&PRODUCERS);
        if !self.open.contains_key(producer) {
            self.attempt("begin", json!({"producer": producer}));
            self.open.insert(producer, BTreeSet::new());
        }
        let (topic, offsets) = (self.topic(), self.offsets());
        if self.chance.below(2) == 0 {
            let line = json!({"producer": producer, "topic": topic, "partition": 0, "count": 3});
            self.attempt("send", line);
        }
        let sent = self.open.get_mut(producer).unwrap();
        sent.extend(offsets.iter().map(|(topic, ..)| *topic).chain([group]));
        if !self.attempt("offsets", json!({"producer": producer, "group": group, "offsets": offsets})) {
            self.clients.step("end", json!({"producer": producer, "commits": false}));
            self.open.remove(producer);
        }
    }

    fn end_transaction(&mut self, commits: bool) {
        if let Some((producer, _)) = self.open.pop_first() {
            let step = if commits { "end" } else { "abort" };
            let line = json!({"producer": producer, "commits": commits});
            let result = self.clients.attempt("end", line.clone());
            self.note(step, &line, result);
        }
    }

    /// Waits until kdir and the tool show the same; what that is.
    fn agreed(&mut self, state: u32) -> Shown {
        let started = Instant::now();
        loop {
            let kafka = self.clients.shown();
            let mut ours = shown_by_kdir(self.kdir);
            // A broker keeps the name of a group that has nothing left until it looks for such, in some minutes.
            let kept = kafka.states.iter().filter(|(_, state)| ["Empty", "Dead"].contains(&&***state));
            for (group, state) in kept {
                ours.states.entry(group.clone()).or_insert_with(|| state.clone());
            }
            if ours == kafka {
                return ours;
            }
            if started.elapsed() > PATIENCE {
                let trace = self.trace.join("\n");
                assert_eq!(
                    ours, kafka,
                    "kdir has what is left, the tool what is right, in state {state} after\n{trace}"
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn groups_of_a_running_broker_are_as_its_own_tool_shows_them(kafka: Kafka) {
    let seed = from_environment("KDIR_SEED", || 20);
    let kdir = Kdir::new();
    let intervals = ["group.consumer.min.heartbeat.interval.ms=200", "group.consumer.heartbeat.interval.ms=200"];
    let mut broker = Broker::start_with(kafka, &kdir, if kafka == Kafka::K4 { &intervals } else { &[] });
    let mut program = Program {
        broker: &broker,
        kdir: &kdir,
        clients: Clients::start(&broker),
        chance: Chance::new(seed),
        topics: BTreeMap::new(),
        open: BTreeMap::new(),
        members: BTreeMap::new(),
        joined: 0,
        trace: Vec::new(),
        succeeded: BTreeMap::new(),
    };
    for (topic, partitions) in TOPICS.into_iter().zip([3, 2, 1, 2]) {
        program.clients.step("create", json!({"topic": topic, "partitions": partitions}));
        program.topics.insert(topic, partitions);
    }
    let mut last = None;
    let (mut rows, mut groups) = (0, 0);
    for state in 0..STATES {
        for _ in 0..STEPS_EACH {
            program.step();
        }
        let shown = program.agreed(state);
        rows += shown.rows.len();
        groups += shown.states.len();
        last = Some(shown);
    }
    let steps = &program.succeeded;
    assert!(rows > 10 * STATES as usize && groups > 3 * STATES as usize, "{rows} rows of {groups} groups: {steps:?}");
    for step in ["produce", "alter", "commit", "delete", "take", "join", "offsets", "end"] {
        assert!(steps.get(step) > Some(&0), "no {step}: {steps:?}");
    }
    drop(program);
    broker.stop();
    let (last, stopped) = (last.unwrap(), shown_by_kdir(&kdir));
    assert_eq!((stopped.rows, stopped.committed), (last.rows, last.committed));
}
