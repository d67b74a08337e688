//! A broker that is fed by hand from what `kdir export` has written.

use super::{complaints, log_dir, records};
use crate::broker::{Broker, Kafka};
use crate::support::Kdir;
use std::fs;
use std::process::Command;

/// A stopped broker's topic gets the segments of an export in place of its own, with `tar` and `cp`.
fn takes_the_segments_of_an_export(kafka: Kafka) {
    let (kdir, other) = (log_dir(kafka), Kdir::new());
    let topics = ["orders", "cut", "compacted"];
    let export = other.temp().join("export.tar");
    fs::write(&export, kdir.stdout(&[&["export", "-q"], &topics[..]].concat())).unwrap();
    let mut broker = Broker::start(kafka, &other);
    broker.create("orders", 3, &["retention.ms=-1"]);
    broker.create("cut", 1, &["retention.ms=-1"]);
    broker.create("compacted", 1, &["cleanup.policy=compact", "min.cleanable.dirty.ratio=1.0"]);
    broker.stop();
    let script = r#"
set -e
cd "$1"
mkdir taken
tar -xf export.tar -C taken
for folder in taken/*-[0-9]*; do
    to=log/${folder#taken/}
    rm "$to"/*.log "$to"/*.index "$to"/*.timeindex
    cp "$folder"/*.log "$to"/
done
# Every log is looked through, as after a crash.
rm -f log/.kafka_cleanshutdown log/recovery-point-offset-checkpoint
"#;
    let status = Command::new("bash").args(["-c", script, "feed", other.temp().to_str().unwrap()]).status().unwrap();
    assert!(status.success());
    let all = records(&kdir);
    let of = |topic: &str| all.iter().filter(|record| record["topic"] == topic).cloned().collect::<Vec<_>>();
    broker.start_again();
    for topic in topics {
        let there = broker.records(&[topic], "read_uncommitted");
        // Where a log starts inside a segment is in the manifest, and in no segment.
        let from = of(topic)[0]["offset"].as_i64().unwrap();
        let there: Vec<_> =
            there.into_iter().filter(|record| topic != "cut" || record["offset"].as_i64().unwrap() >= from).collect();
        assert_eq!(there, of(topic), "{topic}");
    }
    assert_eq!(complaints(&broker), Vec::<String>::new());
    broker.stop();
}

crate::on_every_kafka!(kafka_4 = K4: takes_the_segments_of_an_export,);
