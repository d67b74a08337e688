//! A broker and the program's writers keep each other out, and readers are let in.

use crate::broker::{Broker, Kafka};
use crate::histories::{lines, records};
use crate::support::{Kdir, Running, until};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

crate::on_every_kafka! {
    writers_refuse_while_a_broker_runs_and_readers_read,
    a_broker_does_not_start_beside_a_producer,
}

/// The files of a folder with their contents.
fn contents(kdir: &Kdir, folder: &str) -> BTreeMap<String, Vec<u8>> {
    let names = kdir.entries(folder).into_iter();
    names.map(|name| (name.clone(), fs::read(kdir.path(folder).join(name)).unwrap())).collect()
}

/// What lies at the root. Brokers write their checkpoints anew, by way of a `.tmp` file.
fn root(kdir: &Kdir) -> Vec<String> {
    kdir.entries("").into_iter().filter(|name| !name.ends_with(".tmp")).collect()
}

fn writers_refuse_while_a_broker_runs_and_readers_read(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    broker.create("quiet", 1, &["retention.ms=-1"]);
    let mut stored = records(0..20);
    stored.iter_mut().for_each(|record| record["topic"] = json!("quiet"));
    broker.client(&["produce", "-"], lines(&stored).as_bytes());
    let before = (root(&kdir), contents(&kdir, "quiet-0"));

    let writers: [&[&str]; 8] = [
        &["create", "new"],
        &["produce", "quiet"],
        &["produce", "--create", "new"],
        &["alter", "quiet", "-c", "retention.ms=1"],
        &["retention", "quiet", "--retention", "1s"],
        &["retention"],
        &["delete", "quiet", "--yes"],
        &["delete-records", "--yes", "quiet", "--before-offset", "0:1"],
    ];
    for args in writers {
        let said = kdir.feed(args, "a line\n").code(1).stdout("");
        let stderr = String::from_utf8(said.get_output().stderr.clone()).unwrap();
        let held = format!("kdir: {} is in use by a running Kafka broker", kdir.log_dir().display());
        assert!(stderr.starts_with(&held), "{args:?}: {stderr}");
    }

    let log = kdir.segment("quiet-0", 0, "log");
    let readers: [(&[&str], &str); 6] = [
        (&["list", "-o", "tsv"], "quiet\t1\t20\t"),
        (&["describe", "quiet", "-o", "tsv"], "quiet\t0\t0\t20\t1\t"),
        (&["consume", "quiet", "-n", "1", "--from-offset", "19", "-o", "json"], "\"offset\":19,"),
        (&["offsets", "quiet", "--at", "latest", "-o", "tsv"], "quiet\t0\t20\t"),
        (&["dump", log.to_str().unwrap(), "-o", "json"], "\"last_offset\":19,"),
        (&["-q", "retention", "quiet", "--retention", "1s", "--dry-run", "-o", "tsv"], "quiet\t0\t1\t20\t"),
    ];
    for (args, expected) in readers {
        let stdout = kdir.text(args);
        assert!(stdout.contains(expected), "{args:?}: {stdout}");
    }
    assert_eq!((root(&kdir), contents(&kdir, "quiet-0")), before);

    broker.stop();
    // Kafka deletes the file when it stops, since 3.7.
    assert_eq!(kdir.path(".lock").exists(), kafka == Kafka::K2);
    kdir.feed(&["produce", "quiet"], "a line\n").code(0).stdout("");
    assert_eq!(kdir.records("quiet").len(), 21);
}

fn a_broker_does_not_start_beside_a_producer(kafka: Kafka) {
    let kdir = Kdir::new();
    let mut broker = Broker::start(kafka, &kdir);
    broker.create("shared", 1, &[]);
    broker.stop();

    let mut producer = Running::start(kdir.process(&["produce", "shared"]));
    producer.write("one\n");
    until("the first record is there", || kdir.values("shared") == "one\n");
    let (started, _) = broker.try_start();
    assert!(!started, "{}", broker.log());
    assert!(broker.log().contains("Failed to acquire lock on file .lock in "), "{}", broker.log());
    producer.write("two\n");
    until("the second record is there", || kdir.values("shared") == "one\ntwo\n");
    let (code, stdout, stderr) = producer.end();
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");

    broker.start_again();
    let served = broker.records(&["shared"], "read_uncommitted");
    assert_eq!(served, kdir.records("shared"));
    let values: Vec<_> = served.iter().map(|record| &record["value"]).collect();
    assert_eq!(values, ["one", "two"]);

    // The lock of a broker that was killed has gone with it, and what is appended then is served as well.
    broker.kill();
    kdir.feed(&["produce", "shared"], "three\n").code(0).stdout("");
    assert_eq!(kdir.values("shared"), "one\ntwo\nthree\n");
    // ZooKeeper would hold the place of the one that was killed for another 18 s.
    if kafka != Kafka::K2 {
        broker.start_again();
        assert_eq!(broker.console_consumer("shared", 3, &[]), "one\ntwo\nthree\n");
        broker.stop();
    }
}

#[test]
#[ignore = "needs Kafka: .ci/run brings it"]
fn nothing_is_written_beside_a_lock_that_brokers_take_and_delete() {
    race("destroy");
}

#[test]
#[ignore = "needs Kafka: .ci/run brings it"]
fn nothing_is_written_beside_a_lock_that_brokers_take_and_leave() {
    race("unlockAndClose");
}

/// What became of producers.
#[derive(Default)]
struct Outcomes {
    stored: Mutex<Vec<String>>,
    refused: AtomicUsize,
}

impl Outcomes {
    /// Runs a producer that is given a line every `pause`, to its end.
    fn produce(&self, kdir: &Kdir, sync: &str, values: Vec<String>, pause: Duration) {
        let mut producer = kdir.process(&["-q", "produce", "race", "--sync", sync]).spawn().unwrap();
        let mut stdin = producer.stdin.take().unwrap();
        for value in &values {
            // One that is refused has closed its end.
            if stdin.write_all(format!("{value}\n").as_bytes()).is_err() {
                break;
            }
            std::thread::sleep(pause);
        }
        drop(stdin);
        let output = producer.wait_with_output().unwrap();
        if output.status.success() {
            self.stored.lock().unwrap().extend(values);
        } else {
            let stderr = String::from_utf8(output.stderr).unwrap();
            assert!(stderr.contains("is in use by a running Kafka broker"), "{stderr}");
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Producers of one record and of many, beside something that takes the lock as brokers do, for as long as
/// `KDIR_KAFKA_LOCK_SECONDS` says.
fn race(release: &str) {
    let kdir = Kdir::with_topic("race", &[]);
    let seconds = std::env::var("KDIR_KAFKA_LOCK_SECONDS").unwrap_or_else(|_| "8".to_owned());
    let (short, long, ended) = (Outcomes::default(), Outcomes::default(), AtomicBool::new(false));
    let again = |outcomes: &Outcomes, name: &str, sync: &str, count: usize| {
        for run in 0.. {
            if ended.load(Ordering::Relaxed) {
                return;
            }
            let values = (0..count).map(|number| format!("{name}-{run}-{number}")).collect();
            outcomes.produce(&kdir, sync, values, Duration::from_millis(if count > 1 { 3 } else { 0 }));
            std::thread::sleep(Duration::from_millis(run % 16));
        }
    };
    let output = std::thread::scope(|scope| {
        scope.spawn(|| again(&short, "one", "never", 1));
        scope.spawn(|| again(&short, "other", "1s", 1));
        scope.spawn(|| again(&long, "long", "1s", 20));
        let (dir, log) = (kdir.log_dir(), kdir.segment("race-0", 0, "log"));
        let args = [dir.to_str().unwrap(), log.to_str().unwrap(), &seconds, release];
        let output = catch_unwind(|| Kafka::K4.run("LockLoop", &args, b""));
        ended.store(true, Ordering::Relaxed);
        output
    });
    let stdout = String::from_utf8(output.unwrap_or_else(|failure| resume_unwind(failure)).stdout).unwrap();

    // A race that nobody runs proves nothing: each side got in often, and each was shut out often.
    let (got, shut_out) = stdout.trim_end().split_once(' ').unwrap();
    let [short_refused, long_refused] = [&short, &long].map(|outcomes| outcomes.refused.load(Ordering::Relaxed));
    let [short, long] = [short, long].map(|outcomes| outcomes.stored.into_inner().unwrap());
    let counts =
        [got.parse().unwrap(), shut_out.parse().unwrap(), short.len(), short_refused, long.len(), long_refused];
    assert!(
        counts.iter().all(|&count: &usize| count >= 5),
        "got in, shut out, short, refused, long, refused: {counts:?}"
    );
    let values = kdir.values("race");
    let there: BTreeSet<&str> = values.lines().collect();
    for value in short.iter().chain(&long) {
        assert!(there.contains(value.as_str()), "{value} was acknowledged");
    }
    assert_eq!(there.len(), values.lines().count(), "no record is there twice");
}
