//! Against Apache Kafka's own tools, and kcat, with a broker on the same file system.
//!
//! The processes of Java run with the flags of Kafka's own scripts, the broker with its own defaults.

use crate::bench::{Bench, Turns};
use crate::data;
use crate::report::{Row, Target};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kafka/kafka.sh");
/// As in `kafka-run-class.sh`, `kafka-server-start.sh` and `kafka-console-*.sh`.
const SERVER_FLAGS: &str = "-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35";

pub fn rows(bench: &mut Bench) {
    let (name, cleaner_name) = ("against Kafka 4", "against Kafka 4: its cleaner");
    if !bench.wants(cleaner_name) {
        return;
    }
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("target/kafka/4").is_dir() {
        bench.row(Row::not_run(name, "run tests/kafka/kafka.sh fetch for it"));
        return;
    }
    if bench.wants(name) {
        tools(bench);
    }
    for percent in [10, 100] {
        cleaner(bench, &format!("{cleaner_name}, {percent} % unique keys"), percent);
    }
}

fn tools(bench: &mut Bench) {
    let broker = Broker::start(bench, &[]);
    let records = bench.bytes / 100;
    data::write_lines(&bench.dir.join("lines"), 100, bench.bytes);
    perf_test(bench, &broker, records);
    data::write_lines(&bench.dir.join("some"), 100, bench.bytes / 10);
    console(bench, &broker, records / 10);
    kcat(bench, &broker);
    drop(broker);
    bench.run("rm -rf broker ld lines some");
}

/// The broker's own figure of the first round of its cleaner, with the memory for keys that it has by default. Both clean the
/// same segments.
fn cleaner(bench: &mut Bench, name: &str, percent: u64) {
    crate::compact::write_lines(bench, bench.bytes, percent);
    bench.run(&format!("{}; rm -rf of; cp -a ld of", crate::compact::fill(bench)));
    let properties = ["log.cleaner.dedupe.buffer.size=134217728"];
    let broker = Broker::start(bench, &properties);
    let topic = format!(
        "--create --topic t --config cleanup.policy=compact --config segment.bytes={}",
        // It takes no less; the segments that it is given may be smaller.
        crate::compact::segment_bytes(bench).max(1 << 20)
    );
    let ratio = "--config min.cleanable.dirty.ratio=0.01";
    let (tool, address) = (broker.tool(), broker.address.clone());
    bench.run(&format!(
        "{tool} org.apache.kafka.tools.TopicCommand --bootstrap-server {address} {topic} {ratio} >/dev/null"
    ));
    drop(broker);
    bench.run("rm broker/log/t-0/0*; cp of/t-0/0* broker/log/t-0/; sync");
    let broker = Broker::start(bench, &properties);
    let said = (0..6000).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        let text = std::fs::read_to_string(broker.dir.join("broker.log")).unwrap_or_default();
        let (_, said) = text.split_once("cleaned log t-0")?;
        let (_, said) = said.split_once(" seconds (")?;
        said.split_once(" MB/sec").map(|(rate, _)| rate.replace(',', ""))
    });
    let rate: f64 = said.expect("the cleaner has not come to it").parse().expect("it tells a rate");
    drop(broker);
    bench.run("rm -rf broker of; sync");
    let theirs = Duration::from_secs_f64(bench.bytes as f64 / (rate * 1024.0 * 1024.0));
    let mut turns = Vec::new();
    for _ in 0..bench.runs {
        bench.run(&crate::compact::fill(bench));
        turns.push((bench.time("\"$KDIR\" -q compact --force t"), theirs));
    }
    let row = Row::times_faster(name, &Turns(turns), Target::AtLeast(10.0));
    bench.row(row.note(format!("theirs by its own rate, {rate} MiB/s, not durable; ours durable")));
    bench.run("rm -rf ld lines");
}

/// Kafka's own figure, which leaves its start out, against all of ours.
fn perf_test(bench: &mut Bench, broker: &Broker, records: u64) {
    let mut turns = Vec::new();
    for turn in 0..bench.runs.min(3) {
        let script = format!(
            "{} org.apache.kafka.tools.ProducerPerformance --topic perf{turn} --num-records {records} --record-size 99 \
             --throughput -1 --producer-props bootstrap.servers={} acks=1 >perf",
            broker.tool(),
            broker.address
        );
        bench.run(&script);
        let said = std::fs::read_to_string(bench.dir.join("perf")).unwrap();
        let rate = said.lines().last().and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse::<f64>().ok());
        let theirs = Duration::from_secs_f64(records as f64 / rate.unwrap_or_else(|| panic!("no rate in {said:?}")));
        bench.run("rm -rf ld; \"$KDIR\" -q create t; sync");
        turns.push((bench.time("\"$KDIR\" -q produce t <lines"), theirs));
    }
    let row = Row::times_faster("against Kafka 4: kafka-producer-perf-test", &Turns(turns), Target::AtLeast(10.0));
    bench.row(
        row.note(format!("{records} records of 100 bytes; theirs without the start of Java, ours with it and durable")),
    );
}

fn console(bench: &mut Bench, broker: &Broker, records: u64) {
    let (tool, address) = (broker.tool(), &broker.address);
    let produce = format!("{tool} org.apache.kafka.tools.ConsoleProducer --bootstrap-server {address} --topic");
    let consume =
        format!("{tool} org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server {address} --topic");
    let new = "rm -rf ld; \"$KDIR\" -q create t";
    let ours = "\"$KDIR\" -q produce t <some";
    let theirs = format!("{produce} console <some >/dev/null");
    let runs = bench.runs.min(3);
    let note = format!("{records} records of 100 bytes");
    let row = |bench: &mut Bench, name: &str, ours: &str, theirs: &str, setup: &str, limit: f64, note: &str| {
        let turns = bench.in_turn(&bench.dir, runs, setup, ours, theirs);
        bench.row(Row::times_faster(format!("against Kafka 4: {name}"), &turns, Target::AtLeast(limit)).note(note));
    };
    row(bench, "kafka-console-producer", ours, &theirs, new, 20.0, &note);
    bench.run(ours);
    let ours = format!("\"$KDIR\" consume t -n {records} >out");
    let theirs = format!("{consume} console --from-beginning --max-messages {records} >out 2>/dev/null");
    row(bench, "kafka-console-consumer", &ours, &theirs, "rm -f out", 20.0, &note);
    let theirs = format!("echo x | {produce} one >/dev/null");
    row(
        bench,
        "one record, kafka-console-producer",
        "echo x | \"$KDIR\" -q produce t",
        &theirs,
        "true",
        100.0,
        "durable",
    );
}

fn kcat(bench: &mut Bench, broker: &Broker) {
    if Command::new("kcat").arg("-V").output().is_err() {
        bench.row(Row::not_run("against Kafka 4: kcat", "kcat is not installed"));
        return;
    }
    let (address, runs) = (&broker.address, bench.runs.min(3));
    let theirs = format!("kcat -P -b {address} -t kcat <some");
    let new = "rm -rf ld; \"$KDIR\" -q create t";
    for (how, sync) in [("not synced, as theirs", "--sync never"), ("durable", "")] {
        let ours = format!("\"$KDIR\" -q produce {sync} t <some");
        let turns = bench.in_turn(&bench.dir, runs, new, &ours, &theirs);
        bench.row(Row::times_faster(format!("against Kafka 4: kcat -P, {how}"), &turns, Target::AtLeast(5.0)));
    }
    bench.run(&format!("{new}; \"$KDIR\" -q produce t <some"));
    let records = bench.bytes / 1000;
    let whole = format!("test $(wc -l <out) -eq {records}");
    let ours = format!("\"$KDIR\" consume t -n {records} >out");
    let theirs = format!("kcat -C -q -b {address} -t kcat -o beginning -c {records} >out");
    for side in [&ours, &theirs] {
        bench.run(&format!("{side}; {whole}"));
    }
    let turns = bench.in_turn(&bench.dir, runs, "rm -f out", &ours, &theirs);
    bench.row(Row::times_faster("against Kafka 4: kcat -C", &turns, Target::AtLeast(5.0)));
}

struct Broker {
    address: String,
    dir: std::path::PathBuf,
}

impl Broker {
    /// Starts one on the folder of the bench, with these properties if it is the first time.
    fn start(bench: &Bench, properties: &[&str]) -> Self {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ports = [free(), free()].map(|listener| listener.local_addr().unwrap().port().to_string());
        let dir = bench.dir.join("broker");
        let mut command = Command::new(SCRIPT);
        command
            .args(["start", "4"])
            .arg(&dir)
            .args(&ports)
            .args(properties)
            .env("KAFKA_SERVER_FLAGS", format!("-Xmx1G -Xms1G {SERVER_FLAGS}"));
        assert!(command.status().unwrap().success(), "the broker did not start");
        Self { address: format!("127.0.0.1:{}", ports[0]), dir }
    }

    fn tool(&self) -> String {
        format!("KAFKA_TOOL_FLAGS='-Xmx512M {SERVER_FLAGS}' '{SCRIPT}' run 4")
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = Command::new(SCRIPT).arg("stop").arg(&self.dir).status();
    }
}
