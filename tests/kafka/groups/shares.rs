//! `kdir work` and the share consumers of a broker: each goes on with a queue that the other has left half done. No record is
//! handled twice, none is lost, and both count its deliveries alike.

use super::assert_quiet;
use super::clients::{Clients, Committed};
use super::taken_over::{assert_no_complaint, complaints};
use crate::broker::{Broker, Kafka};
use crate::support::{Kdir, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

crate::on_every_kafka! {
    kafka_4 = K4:
    a_half_done_queue_goes_back_and_forth,
    a_group_that_kdir_has_begun_is_taken_over,
    the_id_of_a_deleted_group_is_free_for_the_other_kind,
    what_either_has_reset_or_deleted_the_other_goes_by,
    kafka_dump_log_reads_the_states_that_kdir_writes,
    a_log_dir_without_its_share_groups_is_refused,
}
crate::on_every_kafka! {
    kafka_3 = K3: work_is_refused_where_the_broker_has_no_share_groups, what_a_broker_without_share_groups_makes_of_one,
}
crate::on_every_kafka! {
    kafka_2 = K2: work_is_refused_where_the_broker_has_no_share_groups, what_a_broker_without_share_groups_makes_of_one,
}

const JOBS: &str = "jobs";
const MAIL: &str = "mail";
const GROUP: &str = "q";
/// How long a share consumer waits for more.
const IDLE_MS: u64 = 3000;

/// What the properties of a broker say of share groups: one broker, and members that do not wait for each other's heartbeats.
const PROPERTIES: [&str; 6] = [
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "share.coordinator.state.topic.num.partitions=3",
    "group.share.min.heartbeat.interval.ms=200",
    "group.share.heartbeat.interval.ms=200",
    "group.share.delivery.count.limit=10",
];

/// Says of each record what became of it, in the file `$0`, by its offset: 0 is done, 1 fails once, 2 is rejected, 3 is given
/// back, 4 fails always, 5 fails once and is then given back.
const FICKLE: &str = r#"
said() { echo "$KDIR_TOPIC $KDIR_PARTITION $KDIR_OFFSET $KDIR_ATTEMPT $1" >>"$0"; exit "$2"; }
case $((KDIR_OFFSET % 6)):$KDIR_ATTEMPT in
    0:* | 1:2) said done 0 ;;
    2:*) said rejected 65 ;;
    3:* | 5:2) said released 75 ;;
    *) said failed 1 ;;
esac"#;
/// Every record is done.
const WILLING: &str = r#"echo "$KDIR_TOPIC $KDIR_PARTITION $KDIR_OFFSET $KDIR_ATTEMPT done" >>"$0""#;

/// A record of a queue, by topic, partition and offset.
type Place = (String, i64, i64);

/// What handlers and share consumers have seen of a record.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Seen {
    deliveries: i64,
    is_done: bool,
}

/// What handlers and share consumers have seen of a queue.
struct Queue<'a> {
    kdir: &'a Kdir,
    group: &'static str,
    records: BTreeMap<Place, Seen>,
    given_up: BTreeSet<Place>,
}

impl<'a> Queue<'a> {
    fn new(kdir: &'a Kdir, group: &'static str) -> Self {
        Self { kdir, group, records: BTreeMap::new(), given_up: BTreeSet::new() }
    }

    /// Has a broker's client produce so many records to a partition.
    fn fill(&mut self, clients: &mut Clients, topic: &str, partition: i64, count: i64) {
        clients.step("produce", json!({"topic": topic, "partition": partition, "count": count}));
        let is_of = |(of, number, _): &&Place| of == topic && *number == partition;
        let next = self.records.keys().filter(is_of).count() as i64;
        let place = |offset| ((topic.to_owned(), partition, offset), Seen::default());
        self.records.extend((next..next + count).map(place));
    }

    fn left(&self) -> BTreeMap<Place, Seen> {
        self.records
            .iter()
            .filter(|(_, seen)| !seen.is_done)
            .map(|(place, seen)| (place.clone(), seen.clone()))
            .collect()
    }

    /// A record has come again, as that delivery.
    #[track_caller]
    fn delivered(&mut self, place: &Place, count: i64) -> &mut Seen {
        let seen = self.records.get_mut(place).unwrap_or_else(|| panic!("{place:?} is no record"));
        assert!(!seen.is_done, "{place:?} was done");
        assert_eq!(count, seen.deliveries + 1, "{place:?}");
        seen
    }

    /// Has kdir work it with so many runs of a script, which writes down what became of each record.
    fn work(&mut self, topics: &[&str], script: &str, runs: usize, max_attempts: i64) {
        let log = self.kdir.file("handled", "");
        let (runs, attempts) = (runs.to_string(), max_attempts.to_string());
        let args =
            ["-g", self.group, "-n", &runs, "--max-attempts", &attempts, "--backoff", "20ms", "--reject-exit", "65"];
        let dead_letters = ["--dead-letter", "dlq.jobs", "--breaker", "0", "--", "/bin/sh", "-c", script, &log];
        let output = self.kdir.command(&[&["work"], topics, &args, &dead_letters].concat()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let warnings = stderr.lines().filter(|line| line.starts_with("warning: "));
        assert!(warnings.clone().all(|line| line.starts_with("warning: gave up offset ")), "{stderr}");
        let before = self.given_up.len();
        for line in fs::read_to_string(log).unwrap().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |at: usize| words[at].parse::<i64>().unwrap();
            let (place, attempt) = ((words[0].to_owned(), number(1), number(2)), number(3));
            let seen = self.delivered(&place, attempt);
            match words[4] {
                "done" => *seen = Seen { deliveries: attempt, is_done: true },
                "released" => {}
                "failed" if attempt < max_attempts => seen.deliveries = attempt,
                "failed" | "rejected" => {
                    *seen = Seen { deliveries: attempt, is_done: true };
                    self.given_up.insert(place);
                }
                other => panic!("{other}"),
            }
        }
        let given_up = self.given_up.len() - before;
        assert_eq!(warnings.count(), given_up, "{stderr}");
        assert_eq!(output.status.code(), Some(if given_up > 0 { 3 } else { 0 }), "{stderr}");
    }

    /// Has a share consumer take what is left, which does with each record as that says of it.
    fn share(&mut self, clients: &mut Clients, topics: &[&str], verdict_of: impl Fn(&Place) -> &'static str) {
        let left = self.left();
        let text = |(topic, partition, offset): &Place| format!("{topic}:{partition}:{offset}");
        let verdicts: BTreeMap<String, &str> = left.keys().map(|place| (text(place), verdict_of(place))).collect();
        let mut line = json!({"group": self.group, "topics": topics, "verdicts": verdicts, "idle_ms": 30_000});
        if verdicts.values().any(|verdict| *verdict == "RELEASE") {
            // They would come again and again.
            line["count"] = json!(left.len());
        } else {
            line["idle_ms"] = json!(IDLE_MS);
        }
        let answer = clients.step("share", line);
        for delivery in answer["records"].as_array().unwrap() {
            let number = |at: usize| delivery[at].as_i64().unwrap();
            let place = (delivery[0].as_str().unwrap().to_owned(), number(1), number(2));
            let seen = self.delivered(&place, number(3));
            *seen = Seen { deliveries: number(3), is_done: verdict_of(&place) != "RELEASE" };
        }
        let came = |place: &Place| {
            answer["records"].as_array().unwrap().iter().any(|delivery| {
                (delivery[0].as_str(), delivery[1].as_i64(), delivery[2].as_i64())
                    == (Some(&*place.0), Some(place.1), Some(place.2))
            })
        };
        let lost: Vec<&Place> = left.keys().filter(|place| !came(place)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }

    /// To kdir and to Kafka's tool it has the same start offset and lag in each partition, which is what was seen of it.
    fn assert_shown(&self, clients: &mut Clients) {
        until("kdir and the tool show the same", || {
            shown_by_kdir(self.kdir, self.group) == shown_by_the_tool(clients, self.group)
        });
        let mut lags = BTreeMap::<(String, i64), i64>::new();
        for ((topic, partition, _), seen) in &self.records {
            *lags.entry((topic.clone(), *partition)).or_default() += i64::from(!seen.is_done);
        }
        let shown = shown_by_kdir(self.kdir, self.group);
        assert_eq!(shown.into_iter().map(|(place, (_, lag))| (place, lag)).collect::<BTreeMap<_, _>>(), lags);
    }
}

/// Start offset and lag, by topic and partition.
type Shown = BTreeMap<(String, i64), (i64, i64)>;

fn shown_by_kdir(kdir: &Kdir, group: &str) -> Shown {
    let rows = kdir.json(&["-q", "groups", "describe", group, "-o", "json"]);
    let row = |row: &Value| {
        let number = |name: &str| row[name].as_i64().unwrap();
        let place = (row["topic"].as_str().unwrap().to_owned(), number("partition"));
        (place, (number("start_offset"), number("lag")))
    };
    rows.iter().map(row).collect()
}

/// The tool's columns: GROUP TOPIC PARTITION START-OFFSET LAG.
fn shown_by_the_tool(clients: &mut Clients, group: &str) -> Shown {
    let answer = clients.step("share-tool", json!({"args": ["--describe", "--group", group]}));
    let mut shown = Shown::new();
    for row in answer["rows"].as_array().unwrap() {
        let word = |at: usize| row[at].as_str().unwrap_or_default();
        if word(0) == group && row.as_array().unwrap().len() == 5 {
            let number = |at: usize| word(at).parse::<i64>().unwrap_or(-1);
            shown.insert((word(1).to_owned(), number(2)), (number(3), number(4)));
        }
    }
    shown
}

/// A broker that has the topics of share groups, since a share consumer of another group was there, and `jobs` and what takes
/// its dead letters.
fn started(kdir: &Kdir) -> (Broker, Clients) {
    let broker = Broker::start_with(Kafka::K4, kdir, &PROPERTIES);
    let mut clients = Clients::of_shares(&broker);
    for (topic, partitions) in [(JOBS, 3), ("dlq.jobs", 1), ("other", 1)] {
        clients.step("create", json!({"topic": topic, "partitions": partitions}));
    }
    earliest(&mut clients, "other-g");
    clients.step("produce", json!({"topic": "other", "partition": 0, "count": 1}));
    let answer = clients.step("share", json!({"group": "other-g", "topics": ["other"], "count": 1, "idle_ms": 30_000}));
    assert_eq!(answer["records"], json!([["other", 0, 0, 1]]));
    (broker, clients)
}

/// Has a group that a broker begins have what is there.
fn earliest(clients: &mut Clients, group: &str) {
    clients.step("configure", json!({"group": group, "properties": {"share.auto.offset.reset": "earliest"}}));
}

fn a_half_done_queue_goes_back_and_forth(_: Kafka) {
    let kdir = Kdir::new();
    let (mut broker, mut clients) = started(&kdir);
    let mut queue = Queue::new(&kdir, GROUP);
    for partition in 0..3 {
        queue.fill(&mut clients, JOBS, partition, 14);
    }
    broker.stop();
    queue.work(&[JOBS], FICKLE, 45, 3);
    kdir.assert_sound();

    // Records that were never tried, that were given back uncounted, and that have failed, and others that are done after them.
    let left = queue.left();
    let counts: BTreeSet<i64> = left.values().map(|seen| seen.deliveries).collect();
    assert!(counts.contains(&0) && counts.contains(&1), "{left:?}");
    let has_gaps = queue.records.iter().any(|((_, partition, offset), seen)| {
        seen.is_done && left.keys().any(|(_, other, before)| other == partition && before < offset)
    });
    assert!(has_gaps && !queue.given_up.is_empty(), "{left:?}");

    broker.start_again();
    queue.assert_shown(&mut clients);
    queue.share(&mut clients, &[JOBS], |(_, partition, offset)| match offset % 3 {
        _ if *partition == 0 && *offset > 8 => "RELEASE",
        0 => "ACCEPT",
        1 => "REJECT",
        _ => "RELEASE",
    });
    queue.assert_shown(&mut clients);
    let dead_letters = broker.records(&["dlq.jobs"], "read_committed");
    let buried: BTreeSet<Place> = dead_letters.iter().map(place_of_letter).collect();
    assert_eq!((dead_letters.len(), &buried), (queue.given_up.len(), &queue.given_up));
    assert_no_complaint(&broker);
    assert!(queue.left().values().any(|seen| seen.deliveries > 1), "{:?}", queue.left());
    for partition in 0..3 {
        queue.fill(&mut clients, JOBS, partition, 4);
    }
    broker.stop();

    queue.work(&[JOBS], FICKLE, 12, 10);
    broker.start_again();
    queue.assert_shown(&mut clients);
    queue.share(&mut clients, &[JOBS], |(_, _, offset)| if *offset > 14 { "RELEASE" } else { "ACCEPT" });
    queue.assert_shown(&mut clients);
    assert_no_complaint(&broker);
    broker.stop();
    queue.work(&[JOBS], WILLING, 100, 10);
    assert!(queue.left().is_empty(), "{:?}", queue.left());

    broker.start_again();
    queue.fill(&mut clients, JOBS, 1, 2);
    queue.share(&mut clients, &[JOBS], |_| "ACCEPT");
    queue.assert_shown(&mut clients);
    assert_no_complaint(&broker);
    broker.stop();
    queue.work(&[JOBS], WILLING, 100, 10);
}

/// The record that a dead letter was.
fn place_of_letter(letter: &Value) -> Place {
    let header = |name: &str| {
        let name = format!("__dlq.errors.{name}");
        let found = letter["headers"].as_array().unwrap().iter().find(|header| header["key"] == *name);
        found.unwrap_or_else(|| panic!("no {name}: {letter}"))["value"].as_str().unwrap().to_owned()
    };
    (header("topic"), header("partition").parse().unwrap(), header("offset").parse().unwrap())
}

/// Of topics that no share consumer has ever read, by a group that no broker has ever seen. A broker that had to begin it would
/// begin at the end of each partition.
fn a_group_that_kdir_has_begun_is_taken_over(_: Kafka) {
    let kdir = Kdir::new();
    let (mut broker, mut clients) = started(&kdir);
    clients.step("create", json!({"topic": MAIL, "partitions": 2}));
    let mut queue = Queue::new(&kdir, "fresh");
    for (topic, partition, count) in [(JOBS, 0, 7), (JOBS, 1, 7), (MAIL, 0, 5), (MAIL, 1, 1)] {
        queue.fill(&mut clients, topic, partition, count);
    }
    broker.stop();
    queue.work(&[JOBS], FICKLE, 8, 3);
    queue.work(&[MAIL, JOBS], FICKLE, 4, 3);
    broker.start_again();
    // What kdir has begun the broker shows before anybody has joined.
    until("all is shown", || shown_by_the_tool(&mut clients, "fresh").len() == 5);
    assert_eq!(shown_by_the_tool(&mut clients, "fresh"), shown_by_kdir(&kdir, "fresh"));
    queue.share(&mut clients, &[JOBS, MAIL], |(_, _, offset)| if *offset % 2 == 0 { "RELEASE" } else { "ACCEPT" });
    clients.step("grow", json!({"topic": JOBS, "partitions": 5}));
    queue.fill(&mut clients, JOBS, 3, 3);
    queue.fill(&mut clients, JOBS, 2, 3);
    // It always takes partitions that are added for missing, and calls that an error.
    assert_eq!(complaints(&broker), <[&str; 0]>::default());
    broker.stop();

    // What was added is begun by kdir.
    queue.work(&[MAIL, JOBS], FICKLE, 5, 10);
    broker.start_again();
    queue.share(&mut clients, &[MAIL, JOBS], |(_, _, offset)| if *offset % 3 == 0 { "RELEASE" } else { "ACCEPT" });
    queue.fill(&mut clients, JOBS, 4, 3);
    assert_no_complaint(&broker);
    broker.stop();
    queue.work(&[JOBS, MAIL], WILLING, 100, 10);
    assert!(queue.left().is_empty(), "{:?}", queue.left());
    broker.start_again();
    queue.share(&mut clients, &[MAIL, JOBS], |_| "ACCEPT");
    assert_no_complaint(&broker);
    broker.stop();
}

/// A broker that finds records of both kinds of groups, or what is left of one, gives up every group of the partition.
fn the_id_of_a_deleted_group_is_free_for_the_other_kind(_: Kafka) {
    let kdir = Kdir::new();
    let mut properties = PROPERTIES.to_vec();
    properties.push("offsets.topic.num.partitions=1");
    let mut broker = Broker::start_with(Kafka::K4, &kdir, &properties);
    let mut clients = Clients::of_shares(&broker);
    for topic in [JOBS, "dlq.jobs", MAIL] {
        clients.step("create", json!({"topic": topic, "partitions": 2}));
        clients.step("produce", json!({"topic": topic, "partition": 0, "count": 6}));
    }
    for group in ["joined", "plain", "good"] {
        clients.step("alter", json!({"group": group, "offsets": [[JOBS, 0, 3]]}));
        clients.step("take", json!({"group": group, "topics": [JOBS], "count": 1}));
    }
    for group in ["shared", "members"] {
        earliest(&mut clients, group);
        clients.step("share", json!({"group": group, "topics": [JOBS], "count": 6, "idle_ms": 30_000}));
    }
    // A member that is there when the broker ends.
    let mut member = Clients::of_shares(&broker);
    member.step("share-join", json!({"group": "members", "topics": [MAIL]}));
    until("the member is there", || {
        let rows = kdir.json(&["-q", "groups", "list", "-o", "json"]);
        rows.iter().any(|row| row["group"] == "members" && row["state"] == "Stable")
    });
    broker.stop();
    drop(member);
    let work = |group: &str| {
        let args = ["-q", "work", JOBS, "-g", group, "-n", "2", "--", "/bin/sh", "-c", ":"];
        kdir.run(&args).code(0).stderr("");
    };
    let delete = |group: &str| {
        kdir.run(&["-q", "groups", "delete", group, "--yes"]).code(0).stderr("");
    };
    let consume = |group: &str| drop(kdir.run(&["-q", "consume", JOBS, "-g", group, "-n", "2"]).code(0));
    // One after the other, with nothing in between but what kdir writes.
    for group in ["shared", "members"] {
        delete(group);
        consume(group);
    }
    work("kdir-share");
    delete("kdir-share");
    consume("kdir-share");
    for group in ["plain", "joined"] {
        delete(group);
        work(group);
    }
    work("both");
    delete("both");
    work("both");
    broker.start_again();
    let mut committed = Committed::new();
    // A broker that has not read its log yet lists nothing.
    until("the broker has its groups, or does without them", || {
        committed = clients.shown().committed;
        !committed.is_empty() || !complaints(&broker).is_empty()
    });
    assert_no_complaint(&broker);
    let groups: BTreeSet<&str> = committed.keys().map(|(group, _)| &**group).collect();
    assert_eq!(groups, ["good", "kdir-share", "members", "shared"].into());
    assert_eq!(committed[&("members".to_owned(), "jobs-0".to_owned())], 2);
    for group in ["plain", "joined", "both"] {
        let line = json!({"group": group, "topics": [JOBS], "count": 4, "idle_ms": 30_000});
        let answer = clients.step("share", line);
        assert_eq!(
            answer["records"],
            json!([[JOBS, 0, 2, 1], [JOBS, 0, 3, 1], [JOBS, 0, 4, 1], [JOBS, 0, 5, 1]]),
            "{group}"
        );
    }
    for group in ["shared", "members", "kdir-share"] {
        let line = json!({"group": group, "topics": [JOBS], "count": 4});
        assert_eq!(clients.step("take", line)["firsts"]["jobs-0"], 2, "{group}");
    }
    assert_no_complaint(&broker);
    broker.stop();
    // The other way round, of groups that the broker's members were in.
    for group in ["plain", "joined", "both"] {
        delete(group);
        consume(group);
    }
    for group in ["shared", "members", "kdir-share"] {
        delete(group);
        work(group);
    }
    broker.start_again();
    until("the broker has the others", || {
        let committed = clients.shown().committed;
        committed.keys().filter(|(_, partition)| partition == "jobs-0").count() == 4
    });
    for group in ["shared", "members", "kdir-share"] {
        let answer = clients.step("share", json!({"group": group, "topics": [JOBS], "count": 4, "idle_ms": 30_000}));
        assert_eq!(answer["records"].as_array().unwrap().len(), 4, "{group}");
    }
    assert_no_complaint(&broker);
    broker.stop();
}

fn what_either_has_reset_or_deleted_the_other_goes_by(_: Kafka) {
    let kdir = Kdir::new();
    let (mut broker, mut clients) = started(&kdir);
    let mut queue = Queue::new(&kdir, GROUP);
    for partition in 0..3 {
        queue.fill(&mut clients, JOBS, partition, 6);
    }
    broker.stop();
    queue.work(&[JOBS], WILLING, 9, 3);
    let reset = |to: &str| {
        kdir.run(&["-q", "groups", "reset", GROUP, "--topic", JOBS, "--to", to]).code(0).stderr("");
    };
    for to in ["earliest", "latest", "1", "4"] {
        reset(to);
    }
    let begun_again = |queue: &mut Queue<'_>, start: i64| {
        for ((_, _, offset), seen) in &mut queue.records {
            *seen = Seen { deliveries: 0, is_done: *offset < start };
        }
    };
    begun_again(&mut queue, 4);
    broker.start_again();
    queue.assert_shown(&mut clients);
    queue.share(&mut clients, &[JOBS], |_| "ACCEPT");
    // The tool has no more to say than the group's epoch, and the state is of a later one.
    let tool = |clients: &mut Clients, args: Value| clients.step("share-tool", json!({"args": args}))["rows"].clone();
    let until_empty = |clients: &mut Clients| {
        until("the group is empty", || {
            let rows = tool(clients, json!(["--describe", "--state", "--group", GROUP]));
            rows.to_string().contains("Empty")
        });
    };
    until_empty(&mut clients);
    let said =
        tool(&mut clients, json!(["--reset-offsets", "--to-earliest", "--execute", "--topic", JOBS, "--group", GROUP]));
    begun_again(&mut queue, 0);
    assert_eq!(
        shown_by_the_tool(&mut clients, GROUP).values().map(|row| row.0).collect::<Vec<_>>(),
        [0, 0, 0],
        "{said}"
    );
    queue.assert_shown(&mut clients);
    assert_no_complaint(&broker);
    broker.stop();
    queue.work(&[JOBS], FICKLE, 6, 3);
    broker.start_again();
    queue.share(&mut clients, &[JOBS], |_| "ACCEPT");
    until_empty(&mut clients);
    let said = tool(&mut clients, json!(["--delete", "--group", GROUP]));
    assert!(said.to_string().contains("successful"), "{said}");
    assert_no_complaint(&broker);
    broker.stop();
    assert!(kdir.json(&["-q", "groups", "list", "-o", "json"]).iter().all(|row| row["group"] != GROUP));
    begun_again(&mut queue, 0);
    queue.work(&[JOBS], WILLING, 4, 3);
    broker.start_again();
    queue.share(&mut clients, &[JOBS], |_| "ACCEPT");
    assert_quiet(&broker);
    broker.stop();
}

/// Key and value as JSON, `null` for a tombstone, of every record of a log that kafka-dump-log prints.
fn dumped_by_kafka(kafka: Kafka, log: &std::path::Path, decoder: &str) -> Vec<(i64, Value, Value)> {
    let (stdout, stderr) = kafka.dump_log(&[log.to_owned()], &[decoder, "--deep-iteration"]);
    assert_eq!(stderr, "");
    let parsed = |text: &str| if text == "<DELETE>" { Value::Null } else { serde_json::from_str(text).unwrap() };
    let record = |line: &str| {
        let (facts, of) = line.split_once(" key: ")?;
        let (key, value) = of.split_once(" payload: ").unwrap();
        let offset = facts.strip_prefix("| offset: ")?.split(' ').next().unwrap().parse().unwrap();
        Some((offset, parsed(key), parsed(value)))
    };
    stdout.lines().filter_map(record).collect()
}

fn kafka_dump_log_reads_the_states_that_kdir_writes(kafka: Kafka) {
    let kdir = Kdir::with_topic(JOBS, &["--partitions", "3"]);
    for partition in ["0", "1", "2"] {
        let lines: String = (0..40).map(|number| format!("job {number}\n")).collect();
        kdir.produce(JOBS, &["-p", partition], lines);
    }
    let log = kdir.file("handled", "");
    let args =
        ["-q", "work", JOBS, "-g", "a b, 100%", "--backoff", "1ms", "--max-attempts", "3", "--reject-exit", "65"];
    let work = |more: &[&str]| {
        let command = ["--dead-letter", "none", "--breaker", "0", "--", "/bin/sh", "-c", FICKLE, &log];
        kdir.run(&[&args[..], more, &command].concat());
    };
    work(&["-n", "60"]);
    work(&["-n", "60", "-j", "4"]);
    work(&["-n", "9", "--batch", "4"]);
    kdir.run(&["-q", "groups", "reset", "a b, 100%", "--topic", "jobs:1", "--to", "7"]).code(0);
    work(&["-n", "5"]);
    kdir.run(&["-q", "groups", "delete", "a b, 100%", "--yes"]).code(0);

    let mut types = BTreeSet::new();
    for (topic, decoder) in
        [("__share_group_state", "--share-group-state-decoder"), ("__consumer_offsets", "--offsets-decoder")]
    {
        let folders = kdir.entries("").into_iter().filter(|name| name.starts_with(&format!("{topic}-")));
        for folder in folders.filter(|name| kdir.path(name).is_dir()) {
            let log = kdir.segment(&folder, 0, "log");
            let ours = kdir.json(&["dump", "--records", log.to_str().unwrap()]);
            let ours: Vec<(i64, Value, Value)> = ours
                .iter()
                .map(|record| (record["offset"].as_i64().unwrap(), record["key"].clone(), record["value"].clone()))
                .collect();
            let kafkas = dumped_by_kafka(kafka, &log, decoder);
            assert!(!kafkas.is_empty());
            assert_eq!(ours, kafkas);
            types.extend(kafkas.iter().map(|(_, key, value)| {
                (
                    key["type"].as_str().unwrap().to_owned(),
                    value.is_null(),
                    value["data"]["stateBatches"].as_array().is_some_and(|it| it.len() > 1),
                )
            }));
        }
    }
    let has = |key_type: &str, is_tombstone: bool, is_long: bool| {
        types.contains(&(key_type.to_owned(), is_tombstone, is_long))
    };
    assert!(
        has("0", false, true) && has("0", true, false) && has("1", false, false) && has("1", false, true),
        "{types:?}"
    );
    assert!(
        has("11", false, false) && has("11", true, false) && has("15", false, false) && has("15", true, false),
        "{types:?}"
    );
}

/// In a log dir whose broker has had no share group yet, kdir cannot make the topics of them.
fn a_log_dir_without_its_share_groups_is_refused(_: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start_with(Kafka::K4, &kdir, &PROPERTIES);
    let mut clients = Clients::of_shares(&broker);
    clients.step("create", json!({"topic": JOBS, "partitions": 1}));
    broker.stop();
    let before = kdir.contents();
    let path = kdir.log_dir().display().to_string();
    let refused = format!(
        "kdir: {path} belongs to a broker without share groups: it has not made __share_group_state yet\n\
         hint: start the broker, let a share consumer of any group join once, and stop it\n"
    );
    let args = ["-q", "work", JOBS, "-g", GROUP, "--", "/bin/sh", "-c", ":"];
    kdir.run(&args).code(1).stdout("").stderr(refused);
    assert_unchanged(&kdir, &before);
    // Share groups are turned off, as after an upgrade that has not come to its end.
    broker.start_again();
    let disable = ["--bootstrap-server", &broker.address(), "downgrade", "--feature", "share.version=0"];
    Kafka::K4.run("org.apache.kafka.tools.FeatureCommand", &disable, b"");
    broker.stop();
    kdir.run(&args).code(1).stdout("").stderr(refusal(&path, "its share.version is 0"));
    broker.start_again();
    assert_quiet(&broker);
    broker.stop();
}

/// Nothing was written.
#[track_caller]
fn assert_unchanged(kdir: &Kdir, before: &BTreeMap<String, Vec<u8>>) {
    let after = kdir.contents();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed: Vec<&String> =
        names.into_iter().filter(|&name| name != ".lock" && before.get(name) != after.get(name)).collect();
    assert_eq!(changed, <[&String; 0]>::default());
}

fn refusal(log_dir: &str, why: &str) -> String {
    format!(
        "kdir: {log_dir} belongs to a broker without share groups: {why}\n\
         hint: kdir work needs Kafka 4.1 or later with share.version=1, or a log dir of its own; `consume --group` needs \
         neither\n"
    )
}

fn work_is_refused_where_the_broker_has_no_share_groups(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    let mut clients = Clients::start(&broker);
    // With a topic called as that of the states, which somebody has made by hand.
    for topic in [JOBS, "dlq.jobs"] {
        clients.step("create", json!({"topic": topic, "partitions": 1}));
        clients.step("produce", json!({"topic": topic, "partition": 0, "count": 5}));
    }
    clients.step("alter", json!({"group": "good", "offsets": [[JOBS, 0, 3]]}));
    let why = if kafka == Kafka::K2 { "it runs with ZooKeeper" } else { "its share.version is 0" };
    let refused = refusal(&kdir.log_dir().display().to_string(), why);
    for name in ["", "__share_group_state"] {
        if !name.is_empty() {
            clients.step("create", json!({"topic": name, "partitions": 3}));
        }
        broker.stop();
        let before = kdir.contents();
        let args = ["-q", "work", JOBS, "-g", GROUP, "--", "/bin/sh", "-c", ":"];
        kdir.run(&args).code(1).stdout("").stderr(refused.clone());
        assert_unchanged(&kdir, &before);
        broker.start_again();
    }
    until("the broker has its group", || clients.shown().committed.len() == 1);
    assert_no_complaint(&broker);
    broker.stop();
}

/// The reason why it is refused: kdir's own records of a share group, put where such a broker reads them.
fn what_a_broker_without_share_groups_makes_of_one(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start_with(kafka, &kdir, &["offsets.topic.num.partitions=2"]);
    let mut clients = Clients::start(&broker);
    clients.step("create", json!({"topic": JOBS, "partitions": 1}));
    clients.step("produce", json!({"topic": JOBS, "partition": 0, "count": 5}));
    let partition_of = |group: &str| group.parse::<kdir::units::GroupId>().unwrap().partition_of(2);
    let groups: Vec<String> = (0..8).map(|number| format!("group-{number}")).collect();
    for group in &groups {
        clients.step("alter", json!({"group": group, "offsets": [[JOBS, 0, 3]]}));
    }
    broker.stop();

    let own = Kdir::with_topic(JOBS, &[]);
    own.produce(JOBS, &[], "a\nb\n");
    own.run(&["-q", "work", JOBS, "-g", GROUP, "--", "/bin/sh", "-c", ":"]).code(0);
    let args = ["consume", "__consumer_offsets", "-o", "json"];
    let mut records = own.json(&args);
    assert_eq!(records.len(), 2, "types 11 and 15");
    let harmed = partition_of(GROUP);
    let lines: String = records
        .iter_mut()
        .map(|record| {
            record["partition"] = json!(harmed);
            record.to_string() + "\n"
        })
        .collect();
    kdir.feed(&["-q", "produce", "__consumer_offsets", "--internal", "-i", "json"], lines).code(0).stderr("");
    broker.start_again();
    let said = if kafka == Kafka::K2 { "Error loading offsets from" } else { "Unknown message key with version 15" };
    until("its log says so", || complaints(&broker).iter().any(|line| line.contains(said)));
    let all: BTreeSet<&str> = groups.iter().map(|group| &**group).collect();
    let unharmed: BTreeSet<&str> = all.iter().copied().filter(|group| partition_of(group) != harmed).collect();
    assert!(!unharmed.is_empty() && unharmed != all);
    let kept = if kafka == Kafka::K2 { unharmed } else { all };
    until("it has the groups that are left", || {
        let committed = clients.shown().committed;
        committed.keys().map(|(group, _)| &**group).collect::<BTreeSet<&str>>() == kept
    });
    broker.stop();
}
