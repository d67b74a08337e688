//! `kdir compact` on the log dir of a stopped broker, and the broker's own cleaner before, after and on the same data.

use crate::broker::{Broker, Kafka};
use crate::compared::{Comparison, compare_folders};
use crate::histories::{files, lines};
use crate::script::{PARTITIONS, Producers, SEGMENT_MS, Shape};
use crate::support::{Kdir, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

crate::on_every_kafka! {
    a_broker_goes_on_with_logs_that_kdir_compacted,
    kdir_compacts_logs_that_a_broker_has_compacted,
    kdir_and_a_broker_make_the_same_of_the_same_log,
}

const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const CLEANER_ROWS: &str = "cleaner-offset-checkpoint";
/// No dirty ratio is above it.
const HOLD_CLEANER: &str = "min.cleanable.dirty.ratio=1.0";
const LET_CLEANER_RUN: &str = "min.cleanable.dirty.ratio=0.001";
/// The configuration of a topic but for the dirty ratio. Kafka 4 has no smaller segments.
const CONFIGURATION: [&str; 3] = ["cleanup.policy=compact", "segment.ms=60000", "segment.bytes=1048576"];

const fn shape(topic: &'static str, has_tombstones: bool, has_open_transactions: bool) -> Shape {
    Shape { topic, has_tombstones, has_open_transactions }
}

/// A partition.
type Place = (String, i64);

fn place(record: &Value) -> Place {
    (record["topic"].as_str().unwrap().to_owned(), record["partition"].as_i64().unwrap())
}

fn places(topics: &[&str]) -> Vec<Place> {
    let partitions = |topic: &&str| (0..i64::from(PARTITIONS)).map(|number| ((*topic).to_owned(), number)).collect();
    topics.iter().flat_map(|topic| -> Vec<Place> { partitions(topic) }).collect()
}

/// Creates topics, each with more of a configuration.
fn create(broker: &Broker, topics: &[&str], more: impl Fn(&str) -> Vec<&'static str>) {
    assert_eq!(CONFIGURATION[1], format!("segment.ms={SEGMENT_MS}"));
    let partitions = PARTITIONS.to_string();
    let command = |topic: &&str| {
        let start = ["create", topic, &partitions].map(str::to_owned);
        let configuration = CONFIGURATION.iter().copied().chain(more(topic)).map(str::to_owned);
        start.into_iter().chain(configuration).collect()
    };
    run(broker, &topics.iter().map(command).collect::<Vec<_>>());
}

/// Sets a property of topics.
fn alter(broker: &Broker, topics: &[&str], property: &str) {
    let command = |topic: &&str| ["alter", topic, property].map(str::to_owned).to_vec();
    run(broker, &topics.iter().map(command).collect::<Vec<_>>());
}

/// Runs commands of `Client.java`, all in one JVM.
fn run(broker: &Broker, commands: &[Vec<String>]) {
    let args = commands.join(&"+".to_owned());
    broker.client(&args.iter().map(String::as_str).collect::<Vec<_>>(), b"");
}

/// The newest record of each key that is not a tombstone.
fn newest(records: &[Value]) -> BTreeMap<(Place, String), Value> {
    let mut newest = BTreeMap::new();
    for record in records {
        if let Some(key) = record["key"].as_str() {
            newest.insert((place(record), key.to_owned()), record.clone());
        }
    }
    newest.retain(|_, record| !record["value"].is_null());
    newest
}

/// The records that remain when all below the limits are compacted and no delete horizon has passed.
fn compacted(records: &[Value], limits: &BTreeMap<Place, i64>) -> Vec<Value> {
    let is_below = |record: &Value| record["offset"].as_i64().unwrap() < limits[&place(record)];
    let mut last = BTreeMap::new();
    for record in records.iter().filter(|record| is_below(record)) {
        last.insert((place(record), record["key"].to_string()), record["offset"].clone());
    }
    let is_last = |record: &Value| {
        !record["key"].is_null() && last[&(place(record), record["key"].to_string())] == record["offset"]
    };
    records.iter().filter(|record| !is_below(record) || is_last(record)).cloned().collect()
}

#[track_caller]
fn assert_same(records: &[Value], expected: &[Value], what: &str) {
    let short = |record: &Value| json!([place(record), record["offset"], record["key"]]).to_string();
    for (record, expected) in records.iter().zip(expected) {
        assert!(record == expected, "{what}: {} {}", short(record), short(expected));
    }
    assert_eq!(records.len(), expected.len(), "{what}");
}

/// The rows of the cleaner's checkpoint file.
fn cleaner_rows(kdir: &Kdir) -> BTreeMap<Place, i64> {
    let text = fs::read_to_string(kdir.path(CLEANER_ROWS)).unwrap_or_default();
    let row = |line: &str| {
        let words: Vec<&str> = line.split(' ').collect();
        ((words[0].to_owned(), words[1].parse().unwrap()), words[2].parse().unwrap())
    };
    text.lines().skip(2).map(row).collect()
}

/// The base offset of the active segment.
fn active_base(kdir: &Kdir, (topic, partition): &Place) -> i64 {
    let names = kdir.entries(&format!("{topic}-{partition}"));
    names.iter().filter_map(|name| name.strip_suffix(".log")).max().unwrap().parse().unwrap()
}

/// Waits until the broker's cleaner has been over all closed segments.
fn await_cleaner(kdir: &Kdir, topics: &[&str]) {
    for place in places(topics) {
        until(&format!("the cleaner has compacted {place:?}"), || {
            cleaner_rows(kdir).get(&place) == Some(&active_base(kdir, &place))
        });
    }
}

/// Waits for what a broker writes after it has told a producer that its transaction has ended: the markers.
fn await_markers(kdir: &Kdir, topics: &[&str]) {
    for topic in topics {
        until(&format!("the transactions in {topic} have ended"), || {
            let output = kdir.command(&["consume", topic, "--isolation", "read-committed"]).output().unwrap();
            !String::from_utf8_lossy(&output.stderr).contains("transaction")
        });
    }
}

/// The broker logs no warning about these topics.
#[track_caller]
fn assert_quiet(broker: &Broker, topics: &[&str]) {
    let log = broker.log();
    let warns = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("Exception");
    let of_ours = |line: &&str| topics.iter().any(|topic| line.contains(&format!("{topic}-")));
    let warnings: Vec<&str> = log.lines().filter(warns).filter(of_ours).collect();
    assert_eq!(warnings, <[&str; 0]>::default());
}

/// Where each round of the broker's cleaner began and ended, as the broker logs it.
fn dirty_sections(broker: &Broker) -> BTreeMap<Place, Vec<(i64, i64)>> {
    let mut sections = BTreeMap::<Place, Vec<(i64, i64)>>::new();
    for line in broker.log().lines() {
        let Some((name, section)) = line.split_once(" (dirty section = [") else { continue };
        let (topic, partition) = name.rsplit_once(' ').unwrap().1.rsplit_once('-').unwrap();
        let (from, to) = section.split_once("])").unwrap().0.split_once(", ").unwrap();
        let section = (from.parse().unwrap(), to.parse().unwrap());
        sections.entry((topic.to_owned(), partition.parse().unwrap())).or_default().push(section);
    }
    sections
}

/// Arguments of `kdir compact --force`. A log dir of 2.8 has no metadata of the cluster, so they hold the configuration.
fn compact_options(kafka: Kafka) -> Vec<&'static str> {
    let mut options = vec!["compact", "-o", "json", "--force"];
    if kafka == Kafka::K2 {
        options.extend(CONFIGURATION.iter().flat_map(|property| ["-c", property]));
    }
    options
}

/// Compacts topics of a stopped broker. Returns the report on each partition.
fn compact(kafka: Kafka, kdir: &Kdir, topics: &[&str], more: &[&str]) -> BTreeMap<Place, Value> {
    let done = kdir.run(&[&compact_options(kafka)[..], more, topics].concat()).code(0);
    let reports = crate::support::json_lines(&done.get_output().stdout);
    let reports: BTreeMap<Place, Value> = reports.into_iter().map(|report| (place(&report), report)).collect();
    assert_eq!(reports.keys().cloned().collect::<BTreeSet<_>>(), places(topics).into_iter().collect());
    for (place, report) in &reports {
        assert_eq!(report["action"], "compacted", "{report}");
        assert!(report["bytes_after"].as_u64() < report["bytes"].as_u64(), "{report}");
        assert!(report["superseded"].as_u64() > Some(0), "{report}");
        assert_eq!(cleaner_rows(kdir)[place], report["limit"].as_i64().unwrap());
    }
    assert!(!kdir.path(CLEAN_SHUTDOWN).exists());
    kdir.run(&["-q", "verify"]).code(0).stdout("").stderr("");
    reports
}

fn limits(reports: &[BTreeMap<Place, Value>]) -> BTreeMap<Place, i64> {
    let limit = |(place, report): (&Place, &Value)| (place.clone(), report["limit"].as_i64().unwrap());
    reports.iter().flatten().map(limit).collect()
}

fn committed(kdir: &Kdir, topics: &[&str]) -> Vec<Value> {
    let options = ["-o", "json", "--order", "partition", "--isolation", "read-committed"];
    topics.iter().flat_map(|topic| kdir.json(&[&["-q", "consume", topic], &options[..]].concat())).collect()
}

/// What the newest producer snapshot of each partition holds.
fn snapshots(kdir: &Kdir, topics: &[&str]) -> BTreeMap<Place, Vec<Value>> {
    let newest = |place: Place| {
        let folder = kdir.path(&format!("{}-{}", place.0, place.1));
        let paths = files(kdir, &place.0, ".snapshot").into_iter().filter(|path| path.parent() == Some(&folder));
        let path = paths.max().unwrap();
        let mut rows = kdir.json(&["dump", path.to_str().unwrap(), "-o", "json"]);
        rows.iter_mut().for_each(|row| row["file"] = json!(null));
        rows.sort_by_key(|row| row["producer_id"].as_i64());
        (place, rows)
    };
    places(topics).into_iter().map(newest).collect()
}

const KEPT_ACTIVE: &str = "active-is-kept";
const ROLLED: &str = "active-is-rolled";
const STAMPED: &str = "stamped-by-append";
const GOING_ON: &str = "transaction-goes-on";
const HELD: [&str; 3] = [KEPT_ACTIVE, STAMPED, GOING_ON];
/// Those in which no transaction is open between rounds.
const ENDING: [&str; 3] = [KEPT_ACTIVE, ROLLED, STAMPED];
const ALL: [&str; 4] = [KEPT_ACTIVE, ROLLED, STAMPED, GOING_ON];

/// Compacts all topics, one of them with its active segment. Returns the limits.
fn compact_all(kafka: Kafka, kdir: &Kdir) -> BTreeMap<Place, i64> {
    let ends: BTreeMap<Place, i64> = ALL
        .iter()
        .flat_map(|topic| kdir.json(&["describe", topic, "-o", "json"]))
        .map(|row| (place(&row), row["log_end_offset"].as_i64().unwrap()))
        .collect();
    let active: BTreeMap<Place, i64> =
        places(&HELD).into_iter().map(|place| (place.clone(), active_base(kdir, &place))).collect();
    let limits = limits(&[compact(kafka, kdir, &HELD, &[]), compact(kafka, kdir, &[ROLLED], &["--roll"])]);
    for (place, limit) in &limits {
        match place.0.as_str() {
            ROLLED => assert_eq!(*limit, ends[place], "{place:?}"),
            GOING_ON => assert!(*limit < active[place], "{place:?}"),
            _ => assert_eq!(*limit, active[place], "{place:?}"),
        }
    }
    limits
}

/// Starts the broker: it serves those records and still has the state of every producer.
fn assert_served(broker: &mut Broker, kdir: &Kdir, expected: &[Value], is_trusted: bool) {
    let producers = snapshots(kdir, &ALL);
    broker.start_again();
    assert_eq!(broker.log().contains("Skipping recovery"), is_trusted, "{}", broker.log());
    assert_same(&broker.records(&ALL, "read_committed"), expected, "served by the broker");
    assert_quiet(broker, &ALL);
    broker.stop();
    assert_eq!(snapshots(kdir, &ALL), producers);
    broker.start_again();
}

fn a_broker_goes_on_with_logs_that_kdir_compacted(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    create(&broker, &ALL, |topic| {
        // A compacted topic takes no records without a key.
        let mut more = vec![HOLD_CLEANER, "cleanup.policy=delete", "retention.ms=-1"];
        if topic == STAMPED {
            more.extend(["message.timestamp.type=LogAppendTime", "segment.ms=200"]);
        }
        more
    });
    let keyless = ALL.map(|topic| json!({"topic": topic, "partition": 0, "key": null, "value": "keyless"}));
    broker.client(&["produce", "-"], lines(&keyless).as_bytes());
    alter(&broker, &ALL, "cleanup.policy=compact");
    let shapes = ALL.map(|topic| shape(topic, true, topic == GOING_ON));
    let mut producers = Producers::open(&broker, &shapes, true);
    (0..8).for_each(|_| producers.round());
    await_markers(&kdir, &ENDING);

    let before = broker.records(&ALL, "read_committed");
    broker.stop();
    let limits = compact_all(kafka, &kdir);
    let expected = compacted(&before, &limits);
    assert_eq!(newest(&expected), newest(&before));
    assert!(expected.len() * 2 < before.len(), "{} of {}", expected.len(), before.len());
    assert_same(&committed(&kdir, &ALL), &expected, "read by kdir");
    assert_served(&mut broker, &kdir, &expected, false);

    // The same producers continue, one of them inside a transaction.
    (0..3).for_each(|_| producers.round());
    await_markers(&kdir, &ENDING);
    assert_quiet(&broker, &ALL);
    let before = broker.records(&ALL, "read_committed");
    assert!(before.len() > expected.len());
    broker.stop();
    let mark = fs::read(kdir.path(CLEAN_SHUTDOWN)).unwrap();
    let limits = compact_all(kafka, &kdir);
    let expected = compacted(&before, &limits);
    assert_eq!(newest(&expected), newest(&before));
    // With this file a broker trusts the logs as they are.
    fs::write(kdir.path(CLEAN_SHUTDOWN), mark).unwrap();
    assert_served(&mut broker, &kdir, &expected, true);

    (0..2).for_each(|_| producers.round());
    await_markers(&kdir, &ENDING);
    let before = broker.records(&ALL, "read_committed");
    alter(&broker, &ALL, LET_CLEANER_RUN);
    await_cleaner(&kdir, &ALL);
    let sections = dirty_sections(&broker);
    for (place, limit) in limits {
        assert_eq!(sections[&place][0].0, limit, "{place:?}: {:?}", sections[&place]);
    }
    let rows = cleaner_rows(&kdir);
    let after = broker.records(&ALL, "read_committed");
    assert_same(&after, &compacted(&before, &rows), "compacted by the broker");
    assert_eq!(newest(&after), newest(&before));
    // 2.8 leaves `.swap` files when a stop interrupts its cleaner.
    alter(&broker, &ALL, HOLD_CLEANER);
    producers.round();
    assert_quiet(&broker, &ALL);
    broker.stop();
}

fn kdir_compacts_logs_that_a_broker_has_compacted(kafka: Kafka) {
    const TOPICS: [&str; 2] = ["users", "orders"];
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    create(&broker, &TOPICS, |_| vec![LET_CLEANER_RUN]);
    let mut producers = Producers::open(&broker, &TOPICS.map(|topic| shape(topic, true, false)), true);
    (0..6).for_each(|_| producers.round());
    await_markers(&kdir, &TOPICS);
    await_cleaner(&kdir, &TOPICS);
    assert_eq!(dirty_sections(&broker).len(), places(&TOPICS).len());
    let before = broker.records(&TOPICS, "read_committed");
    broker.stop();
    let rows = cleaner_rows(&kdir);

    for topic in TOPICS {
        let record = |number: u32| {
            let value = if number % 5 == 3 { json!(null) } else { json!(format!("kdir-{number}")) };
            let (partition, key) = (number % PARTITIONS, format!("key-{}", number / 2 % 50));
            json!({"partition": partition, "key": key, "value": value, "headers": [{"key": "from", "value": "kdir"}]})
        };
        let records: Vec<Value> = (0..400).map(record).collect();
        kdir.feed(&["-q", "produce", topic, "-i", "json", "-z", "zstd"], lines(&records)).code(0).stdout("");
    }
    let produced = committed(&kdir, &TOPICS);
    assert_eq!(produced.len(), before.len() + 400 * TOPICS.len());
    let reports = compact(kafka, &kdir, &TOPICS, &["--roll"]);
    for (place, report) in &reports {
        assert_eq!(report["first_dirty_offset"], rows[place], "{report}");
    }
    let expected = compacted(&produced, &limits(&[reports]));
    assert_eq!(newest(&expected), newest(&produced));
    broker.start_again();
    assert_same(&broker.records(&TOPICS, "read_committed"), &expected, "served by the broker");

    (0..3).for_each(|_| producers.round());
    await_markers(&kdir, &TOPICS);
    await_cleaner(&kdir, &TOPICS);
    let produced = committed(&kdir, &TOPICS);
    assert_same(&broker.records(&TOPICS, "read_committed"), &produced, "compacted by the broker");
    assert_quiet(&broker, &TOPICS);
    broker.stop();
}

fn kdir_and_a_broker_make_the_same_of_the_same_log(kafka: Kafka) {
    const BYTES: &str = "without-codec-and-tombstones";
    const TOMBSTONES: &str = "without-codec";
    const EXPIRING: &str = "tombstones-expire";
    const CODECS: &str = "with-codecs";
    const EXPIRE: &str = "delete.retention.ms=0";
    let mut topics = vec![BYTES, TOMBSTONES, CODECS];
    if kafka != Kafka::K2 {
        // 2.8 has no delete horizons: it goes by the times of files.
        topics.push(EXPIRING);
    }
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    create(&broker, &topics, |topic| if topic == EXPIRING { vec![HOLD_CLEANER, EXPIRE] } else { vec![HOLD_CLEANER] });
    let shapes = |with_codecs: bool| -> Vec<Shape> {
        let topics = topics.iter().filter(|topic| (**topic == CODECS) == with_codecs);
        topics.map(|topic| shape(topic, *topic != BYTES, *topic != BYTES)).collect()
    };
    let mut without = Producers::open(&broker, &shapes(false), false);
    let mut with = Producers::open(&broker, &shapes(true), true);
    let mut total = Comparison::default();
    for round in 0..3 {
        (0..6).for_each(|_| {
            without.round();
            with.round();
        });
        await_markers(&kdir, &topics);
        broker.stop();
        let copy = copied(&kdir, &topics);
        for topic in &topics {
            let expire: &[&str] = if *topic == EXPIRING { &["-c", EXPIRE] } else { &[] };
            let options = CONFIGURATION.iter().flat_map(|property| ["-c", property]).collect::<Vec<_>>();
            let args = [&["compact", "-q", "-o", "json", "--force"], &options[..], expire, &[topic]].concat();
            let reports = copy.json(&args);
            assert_eq!(reports.len(), PARTITIONS as usize);
            for report in reports.iter().filter(|_| *topic == EXPIRING) {
                assert_eq!(report["tombstones"].as_u64() > Some(0), round > 0, "{report}");
            }
        }
        broker.start_again();
        alter(&broker, &topics, LET_CLEANER_RUN);
        await_cleaner(&kdir, &topics);
        alter(&broker, &topics, HOLD_CLEANER);
        broker.stop();

        let (ours, theirs) = (cleaner_rows(&copy), cleaner_rows(&kdir));
        for place in places(&topics) {
            assert_eq!(ours[&place], theirs[&place], "{place:?}");
            let folder = format!("{}-{}", place.0, place.1);
            let comparison = compare_folders(kafka, &copy.path(&folder), &kdir.path(&folder));
            total.add(comparison);
            if round == 0 && place.0 == BYTES {
                assert_eq!(Comparison { equal: comparison.equal, ..Comparison::default() }, comparison);
            }
        }
        for topic in &topics {
            let consume = ["-q", "consume", topic, "-o", "json", "--order", "partition"];
            assert_same(&copy.json(&consume), &kdir.json(&consume), topic);
        }
        assert_same(&committed(&copy, &topics), &committed(&kdir, &topics), "committed");
        broker.start_again();
    }
    // All kinds of difference were met, and most batches are equal.
    assert!(total.recompressed > 0 && total.kept_end > 0, "{total:?}");
    let (horizons, none) = if kafka == Kafka::K2 {
        (total.one_horizon, total.other_horizon)
    } else {
        (total.other_horizon, total.one_horizon)
    };
    assert!(horizons > 0 && none == 0, "{total:?}");
    assert!(total.equal > 4 * (total.recompressed + horizons), "{total:?}");
    assert_quiet(&broker, &topics);
    broker.stop();
}

/// A log dir of its own with the partitions of a stopped broker.
fn copied(kdir: &Kdir, topics: &[&str]) -> Kdir {
    let copy = Kdir::new();
    fs::create_dir(copy.log_dir()).unwrap();
    let is_wanted = |name: &String| {
        name.ends_with("-checkpoint") || places(topics).iter().any(|place| *name == format!("{}-{}", place.0, place.1))
    };
    for name in kdir.entries("").iter().filter(|name| is_wanted(name)) {
        let copied = Command::new("cp").arg("-a").arg(kdir.path(name)).arg(copy.log_dir()).status().unwrap();
        assert!(copied.success());
    }
    copy
}
