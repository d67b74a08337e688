//! `kdir groups` beside a broker and in its place: each goes on where the other has committed.

pub(crate) mod clients;
mod records;
mod shares;
mod states;
mod taken_over;
mod transactions;

use crate::broker::{Broker, Kafka};
use crate::histories::lines;
use crate::support::{Kdir, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::Command;

crate::on_every_kafka! { kdir_and_a_broker_go_on_where_the_other_has_committed, }

const TOPIC: &str = "orders";
const PARTITIONS: i64 = 3;

/// Group and partition, to offset and lag; nothing where nothing was committed.
type Offsets = BTreeMap<(String, i64), (i64, i64)>;

/// As Kafka's tool has them. Its columns: GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG, and those of the member.
fn by_the_tool(broker: &Broker) -> Offsets {
    let mut offsets = Offsets::new();
    for row in broker.describe_groups() {
        assert_eq!(row[1], TOPIC, "{row:?}");
        let number = |at: usize| row[at].parse::<i64>().unwrap();
        if row[3] != "-" {
            offsets.insert((row[0].clone(), number(2)), (number(3), number(5)));
        }
    }
    offsets
}

fn by_kdir(kdir: &Kdir) -> Offsets {
    let mut offsets = Offsets::new();
    for row in kdir.json(&["-q", "groups", "describe", "-o", "json"]) {
        if let Some(committed) = row["committed"].as_i64() {
            let place = (row["group"].as_str().unwrap().to_owned(), row["partition"].as_i64().unwrap());
            offsets.insert(place, (committed, row["lag"].as_i64().unwrap()));
        }
    }
    offsets
}

/// The first offset of each partition that a member of a group gets.
fn first_of_member(broker: &Broker, group: &str, options: &[&str]) -> BTreeMap<i64, i64> {
    let text = broker.client(&[&["member", group, TOPIC, "1"], options].concat(), b"");
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[1].parse().unwrap(), words[2].parse().unwrap())
    };
    String::from_utf8(text).unwrap().lines().map(row).collect()
}

/// Has kcat take so many records of a topic and commit.
fn kcat_commits(broker: &Broker, group: &str, topic: &str, count: &str) {
    let args = ["-q", "-b", &broker.address(), "-o", "beginning", "-X", "auto.offset.reset=earliest", "-c", count];
    let output = Command::new("kcat").args(args).args(["-G", group, topic]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The broker has read the offsets without a word. On a busy machine its controller complains of itself while it starts, which
/// has nothing to do with groups: those lines are named by its thread, and what follows them begins with no time.
#[track_caller]
fn assert_quiet(broker: &Broker) {
    let log = broker.log();
    let complains =
        |line: &&str| line.contains(" ERROR ") || line.contains("Error loading") || line.contains("Exception");
    let mut is_of_controller = false;
    let of_others = |line: &&str| {
        if line.starts_with(|first: char| first.is_ascii_digit()) {
            is_of_controller = line.contains("[quorum-controller-");
        }
        !is_of_controller
    };
    let complaints: Vec<&str> = log.lines().filter(of_others).filter(complains).collect();
    assert_eq!(complaints, <[&str; 0]>::default());
}

fn kdir_and_a_broker_go_on_where_the_other_has_committed(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    broker.create(TOPIC, PARTITIONS as u32, &[]);
    let records: Vec<Value> = (0..30)
        .map(|number| json!({"topic": TOPIC, "partition": number % PARTITIONS, "value": format!("v{number}")}))
        .collect();
    broker.client(&["produce", "-"], lines(&records).as_bytes());
    let speaks_the_new_protocol = kafka == Kafka::K4;

    let of_consumer = ["group.protocol=consumer"];
    first_of_member(&broker, "classic-g", &[]);
    first_of_member(&broker, "static-g", &["group.instance.id=one"]);
    kcat_commits(&broker, "kcat-g", TOPIC, "8");
    first_of_member(&broker, "deleted-g", &[]);
    if speaks_the_new_protocol {
        first_of_member(&broker, "consumer-g", &of_consumer);
        first_of_member(&broker, "deleted-consumer-g", &of_consumer);
    }
    until("kdir and the tool say the same of a running broker", || by_kdir(&kdir) == by_the_tool(&broker));
    let before = by_kdir(&kdir);
    assert!(before.len() >= 10, "{before:?}");
    broker.stop();
    assert_eq!(by_kdir(&kdir), before);

    // As a member, kdir goes on where each of them has committed.
    for (group, lag) in [("kcat-g", 22), ("static-g", 27)] {
        let lines = kdir.text(&["consume", TOPIC, "-g", group]);
        assert_eq!(lines.lines().count(), lag, "{group}");
    }
    let half = kdir.text(&["consume", TOPIC, "-g", "half-g", "-n", "12", "--order", "partition"]);
    assert_eq!(half.lines().count(), 12);

    let run = |args: &[&str]| drop(kdir.run(&[&["-q", "groups"], args].concat()).code(0));
    run(&["reset", "classic-g", "--topic", TOPIC, "--to", "5"]);
    run(&["reset", "kcat-g", "--topic", "orders:0,1", "--shift", "-1"]);
    run(&["reset", "new-g", "--topic", TOPIC, "--to", "7"]);
    run(&["reset", "like-g", "--topic", TOPIC, "--like", "classic-g"]);
    run(&["reset", "short-g", "--topic", TOPIC, "--to", "latest"]);
    run(&["delete", "short-g", "--yes"]);
    run(&["delete", "deleted-g", "--yes"]);
    run(&["delete", "static-g", "--topic", "orders:2", "--yes"]);
    if speaks_the_new_protocol {
        run(&["reset", "consumer-g", "--topic", TOPIC, "--to", "6"]);
        run(&["delete", "deleted-consumer-g", "--yes"]);
    }
    let expected = by_kdir(&kdir);
    assert!(expected != before && !expected.keys().any(|(group, _)| group.starts_with("deleted")));
    kdir.assert_sound();

    broker.start_again();
    assert_eq!(by_the_tool(&broker), expected);
    let firsts = |offset: i64| (0..PARTITIONS).map(|partition| (partition, offset)).collect::<BTreeMap<_, _>>();
    assert_eq!(first_of_member(&broker, "classic-g", &[]), firsts(5));
    assert_eq!(first_of_member(&broker, "new-g", &[]), firsts(7));
    assert_eq!(first_of_member(&broker, "half-g", &[]), [(1, 2), (2, 0)].into());
    assert_eq!(first_of_member(&broker, "deleted-g", &[]), firsts(0));
    if speaks_the_new_protocol {
        assert_eq!(first_of_member(&broker, "like-g", &of_consumer), firsts(5));
        assert_eq!(first_of_member(&broker, "consumer-g", &of_consumer), firsts(6));
        assert_eq!(first_of_member(&broker, "deleted-consumer-g", &of_consumer), firsts(0));
    }
    kcat_commits(&broker, "new-g", TOPIC, "3");
    until("kdir and the tool say the same again", || by_kdir(&kdir) == by_the_tool(&broker));
    assert_quiet(&broker);
    broker.stop();
}
