//! Kafka's clients that commit in every way, and what its tool and kdir show of it.

use crate::broker::Broker;
use crate::stepped::Stepped;
use crate::support::Kdir;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A JVM with clients of every kind: `Groups.java`.
pub(crate) struct Clients(Stepped);

/// What is shown of a group in a partition.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Row {
    committed: Option<i64>,
    log_end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
}

/// By group, topic and partition.
type Rows = BTreeMap<(String, String, i64), Row>;
/// What was committed, by group and `TOPIC-PARTITION`.
pub(crate) type Committed = BTreeMap<(String, String), i64>;

/// What one of them shows of all groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) rows: Rows,
    /// The state of each group.
    pub(crate) states: BTreeMap<String, String>,
    pub(crate) committed: Committed,
}

impl Clients {
    pub(crate) fn start(broker: &Broker) -> Self {
        Self(Stepped::new(broker.group_clients()))
    }

    /// The same, with share consumers: `Shares.java`.
    pub(crate) fn of_shares(broker: &Broker) -> Self {
        Self(Stepped::new(broker.share_clients()))
    }

    /// Has it do a step; the broker's word where that refuses.
    pub(crate) fn attempt(&mut self, step: &str, line: Value) -> Result<Value, String> {
        let answer: Value = serde_json::from_str(&self.0.step(step, line)).unwrap();
        answer.get("error").map_or(Ok(answer.clone()), |error| Err(error.as_str().unwrap().to_owned()))
    }

    #[track_caller]
    pub(crate) fn step(&mut self, step: &str, line: Value) -> Value {
        self.attempt(step, line.clone()).unwrap_or_else(|error| panic!("{step} {line}: {error}"))
    }

    /// The first offset of each partition that a member gets, by `TOPIC-PARTITION`, which reads all and commits.
    pub(crate) fn firsts(&mut self, group: &str, topics: &[&str], properties: &Value) -> BTreeMap<String, i64> {
        let line = json!({"group": group, "topics": topics, "count": 1_000_000, "properties": properties});
        let answer = self.step("take", line);
        let firsts = answer["firsts"].as_object().unwrap();
        firsts.iter().map(|(partition, offset)| (partition.clone(), offset.as_i64().unwrap())).collect()
    }

    /// As Kafka's tool and admin client have it. The tool's columns: GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG
    /// CONSUMER-ID HOST CLIENT-ID.
    pub(crate) fn shown(&mut self) -> Shown {
        let answer = self.step("describe", json!({}));
        let mut shown = Shown { rows: Rows::new(), states: BTreeMap::new(), committed: Committed::new() };
        // An id with a space in it is more than a word.
        for row in answer["rows"].as_array().unwrap().iter().filter(|row| row.as_array().unwrap().len() == 9) {
            let word = |at: usize| Some(row[at].as_str().unwrap()).filter(|&word| word != "-");
            let number = |at: usize| word(at).map(|word| word.parse::<i64>().unwrap());
            // A member may have no partition.
            let (Some(topic), Some(partition)) = (word(1), number(2)) else { continue };
            let place = (word(0).unwrap().to_owned(), topic.to_owned(), partition);
            let member = word(6).map(str::to_owned);
            shown.rows.insert(place, Row { committed: number(3), log_end: number(4), lag: number(5), member });
        }
        for (group, state) in answer["states"].as_object().unwrap() {
            shown.states.insert(group.clone(), state.as_str().unwrap().to_owned());
        }
        for (group, offsets) in answer["committed"].as_object().unwrap() {
            for (partition, offset) in offsets.as_object().unwrap() {
                if let Some(offset) = offset.as_i64() {
                    shown.committed.insert((group.clone(), partition.clone()), offset);
                }
            }
        }
        shown
    }
}

/// As kdir has it. Of a group it also shows the partitions that it has nothing to do with yet, and its lag leaves out
/// records that are deleted.
pub(crate) fn shown_by_kdir(kdir: &Kdir) -> Shown {
    let mut shown = Shown { rows: Rows::new(), states: BTreeMap::new(), committed: Committed::new() };
    for row in kdir.json(&["-q", "groups", "describe", "-o", "json"]) {
        let (committed, member) = (row["committed"].as_i64(), row["recorded_member"].as_str());
        if committed.is_none() && member.is_none() {
            continue;
        }
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let (group, topic, partition) = (text("group"), text("topic"), row["partition"].as_i64().unwrap());
        if let Some(offset) = committed {
            shown.committed.insert((group.clone(), format!("{topic}-{partition}")), offset);
        }
        let lag = committed.and(row["lag"].as_i64()).map(|lag| lag + row["lost"].as_i64().unwrap());
        let member = member.map(str::to_owned);
        let log_end = row["log_end_offset"].as_i64();
        shown.rows.insert((group, topic, partition), Row { committed, log_end, lag, member });
    }
    for row in kdir.json(&["-q", "groups", "list", "-o", "json"]) {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        shown.states.insert(text("group"), text("state"));
    }
    shown
}
