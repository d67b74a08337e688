//! A producer of envelopes that name their topics, on a disk that fails.

use crate::support::{NOW, ROOT, disk_with_log_dir, lines_in_turn, open_log_dir};
use kdir::disk::faulty::FaultyDisk;
use kdir::logdir::LogDir;
use kdir::produce::{
    Ended, Event, Input, MissingTopic, Options, ProduceError, Produced, Producer, Readiness, RecordRule, Rejects,
    SyncPolicy,
};
use kdir::storage::{Advance, RecordReader};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Gives a line a read.
struct Lines(VecDeque<String>);

impl Input for Lines {
    fn name(&self) -> &str {
        "lines"
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<Readiness> {
        Ok(Readiness::Ready)
    }

    fn pause(&mut self, _: Duration) -> io::Result<Readiness> {
        Ok(Readiness::NotReady)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(line) = self.0.pop_front() else { return Ok(0) };
        buffer[..line.len()].copy_from_slice(line.as_bytes());
        Ok(line.len())
    }
}

/// Topic and value of each record, in their order.
const RECORDS: [(&str, &str); 7] = [("a", "0"), ("b", "1"), ("a", "2"), ("a", "3"), ("c", "4"), ("b", "5"), ("a", "6")];

/// How many records of each topic were acknowledged.
type Acknowledged = BTreeMap<String, u64>;

fn run(sync: SyncPolicy, fails_at: Option<u64>) -> (FaultyDisk, Produced, Acknowledged) {
    let disk = disk_with_log_dir();
    let log_dir = open_log_dir(&disk).unwrap();
    disk.reset_counts();
    fails_at.into_iter().for_each(|n| disk.fail_once_at(n));
    let rule = RecordRule { is_json: true, by_topic: true, ..RecordRule::default() };
    // A batch for each record, so that they are stored one by one.
    let options = Options { rule, batch_size: 1, ..lines_in_turn(sync, Rejects::stop()) };
    let heard = Arc::new(Mutex::new(Acknowledged::new()));
    let acknowledged = Arc::clone(&heard);
    let listener = Arc::new(move |event: Event<'_>| {
        if let Event::Durable { topic, stretch, .. } = event {
            let count = (stretch.last_offset - stretch.base_offset + 1) as u64;
            *acknowledged.lock().unwrap().entry(topic.to_string()).or_default() += count;
        }
    });
    let lines = RECORDS.iter().map(|(topic, value)| format!("{{\"topic\":\"{topic}\",\"value\":\"{value}\"}}\n"));
    let lines = Lines(lines.collect());
    let producer = Producer::by_topic(log_dir, MissingTopic::Create(1), options, Arc::new(|| NOW), listener);
    let produced = producer.unwrap().run([Ok(lines)]);
    let heard = heard.lock().unwrap().clone();
    (disk, produced, heard)
}

/// The values of each topic, where it is there.
fn values(disk: &FaultyDisk) -> BTreeMap<String, Vec<String>> {
    let log_dir = LogDir::open(Arc::new(disk.clone()), Path::new(ROOT)).unwrap();
    let mut found = BTreeMap::new();
    for topic in log_dir.topics().unwrap() {
        let Ok(partition) = log_dir.partition(&topic, 0) else { continue };
        let Ok(reader) = partition.reader(4096) else { continue };
        let (mut records, values): (_, &mut Vec<String>) =
            (RecordReader::new(reader), found.entry(topic.name.to_string()).or_default());
        while records.advance().unwrap() == Advance::Record {
            values.push(String::from_utf8(records.record().value.unwrap().to_vec()).unwrap());
        }
    }
    found
}

fn expected(records: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (topic, value) in records {
        expected.entry((*topic).to_owned()).or_default().push((*value).to_owned());
    }
    expected
}

#[test]
fn whatever_fails_what_is_acknowledged_in_any_topic_survives_with_the_input_before_it() {
    for sync in [SyncPolicy::Always, SyncPolicy::End] {
        let (disk, produced, heard) = run(sync, None);
        let operations = disk.trace().len() as u64;
        assert_eq!(produced.ended.unwrap(), Ended::Complete);
        assert_eq!(produced.durable_input.records, RECORDS.len() as u64);
        assert_eq!(values(&disk.crash(0)), expected(&RECORDS));
        assert_eq!(heard.values().sum::<u64>(), RECORDS.len() as u64);
        for n in 1..=operations {
            let (disk, produced, heard) = run(sync, Some(n));
            let found = values(&disk.crash(0));
            let of = |topic: &str| found.get(topic).map_or(&[][..], Vec::as_slice);
            for (topic, &count) in &heard {
                let whole = &expected(&RECORDS)[topic];
                assert!(of(topic).len() as u64 >= count && whole.starts_with(of(topic)), "{n}: {found:?} of {heard:?}");
            }
            let done = &RECORDS[..produced.durable_input.records as usize];
            for (topic, values) in expected(done) {
                assert!(of(&topic).starts_with(&values), "{n}: {found:?}, and {done:?} are called durable");
            }
            match produced.ended {
                Ok(ended) => assert_eq!((ended, found), (Ended::Complete, expected(&RECORDS)), "{n}"),
                Err(error) => assert!(matches!(error, ProduceError::LogDir(_)), "{n}: {error}"),
            }
        }
    }
}
