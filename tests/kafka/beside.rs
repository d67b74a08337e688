//! `verify` beside a broker that changes what is checked: appends, transactions, a cleaner that swaps segments, retention.

use crate::broker::{Broker, Kafka};
use crate::support::{Kdir, from_environment, json_lines, until};
use serde_json::Value;
use std::collections::BTreeMap;

crate::on_every_kafka! { verify_beside_a_busy_broker_finds_nothing, }

/// What else is in its properties: a cleaner and retention that come again at once.
const BUSY: [&str; 3] =
    ["log.cleaner.backoff.ms=1", "log.retention.check.interval.ms=20", "log.segment.delete.delay.ms=100"];
/// Small segments in whatever way they are cleaned up.
const SMALL: [&str; 2] = ["segment.ms=1", "segment.bytes=1048576"];
const COMPACTED: [&str; 3] = ["cleanup.policy=compact", "min.cleanable.dirty.ratio=0", "delete.retention.ms=0"];
const BOTH: [&str; 3] = ["cleanup.policy=compact,delete", "min.cleanable.dirty.ratio=0", "retention.ms=300"];

/// `KDIR_KAFKA_VERIFY_RUNS` asks for more runs.
fn verify_beside_a_busy_broker_finds_nothing(kafka: Kafka) {
    let runs = from_environment("KDIR_KAFKA_VERIFY_RUNS", || 20);
    let kdir = Kdir::new();
    let broker = Broker::start_with(kafka, &kdir, &BUSY);
    broker.create("compacted,swapped", 1, &[&SMALL[..], &COMPACTED].concat());
    broker.create("both", 1, &[&SMALL[..], &BOTH].concat());
    broker.create("by-time", 1, &[&SMALL[..], &["retention.ms=300"]].concat());
    broker.create("by-size", 1, &[&SMALL[..], &["retention.bytes=20000"]].concat());
    broker.create("growing", 1, &["retention.ms=-1"]);
    let topics = ["compacted", "swapped", "both", "by-time", "by-size", "growing"];
    let mut churn = broker.client_beside(&[&["churn"], &topics[..]].concat());
    let has_begun =
        |topic: &&str| kdir.segment(&format!("{topic}-0"), 0, "log").metadata().is_ok_and(|it| it.len() > 0);
    until("records arrive", || has_begun(&"growing"));
    until("the cleaner swaps", || cleaned(&broker) > 5);
    until("retention deletes", || !kdir.segment("by-time-0", 0, "log").exists());

    let (mut said, mut failed, mut swaps) = (BTreeMap::<String, (u64, String)>::new(), 0, 0);
    for _ in 0..runs {
        let before = cleaned(&broker);
        let output = kdir.command(&["-q", "verify", "-o", "json"]).output().unwrap();
        swaps += u64::from(cleaned(&broker) > before);
        failed += u64::from(output.status.code() != Some(0));
        let warnings = String::from_utf8_lossy(&output.stderr).into_owned();
        let warnings = warnings.lines().map(|line| ("warning".to_owned(), line.to_owned()));
        let findings = json_lines(&output.stdout).into_iter().map(|finding| (kind(&finding), finding.to_string()));
        for (kind, text) in warnings.chain(findings) {
            said.entry(kind).or_insert((0, text)).0 += 1;
        }
    }
    assert!(churn.try_wait().unwrap().is_none(), "records arrived to the end");
    drop(churn.stdin.take());
    let ended = churn.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(
        said.is_empty() && failed == 0,
        "{failed} of {runs} runs failed, and this was found, how often and the first time:\n{said:#?}"
    );
    assert!(swaps * 2 > runs, "the cleaner swapped segments beside {swaps} of {runs} runs");
}

fn kind(finding: &Value) -> String {
    format!("{}: {}", finding["severity"].as_str().unwrap(), finding["problem"].as_str().unwrap())
}

/// How often the cleaner has been over a log.
fn cleaned(broker: &Broker) -> usize {
    broker.log().matches("leaner thread 0 cleaned log ").count()
}
