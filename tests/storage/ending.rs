//! How a run of a producer ends, whatever ends it.

use crate::support::{NOW, disk_with_log_dir, lines_in_turn, open_log_dir};
use kdir::disk::faulty::FaultyDisk;
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{LogDir, NewTopic, Topic};
use kdir::produce::{
    Ended, Event, Input, ProduceError, Produced, Producer, Readiness, Rejects, Result, SyncPolicy, Written,
};
use kdir::units::TopicPartition;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What an input does when it is waited for, each after the other; then it has ended.
enum Step {
    Gives(&'static [u8]),
    /// The user asks to stop.
    Stops,
    Breaks,
    /// Nothing comes until this many events have been heard.
    Idles(fn(&[String]) -> bool),
}

struct Script<'a> {
    steps: Vec<Step>,
    heard: &'a Mutex<Vec<String>>,
}

impl Input for Script<'_> {
    fn name(&self) -> &str {
        "script"
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Readiness> {
        let Some(Step::Idles(is_over)) = self.steps.first() else {
            return Ok(if matches!(self.steps.first(), Some(Step::Stops)) {
                Readiness::Stop
            } else {
                Readiness::Ready
            });
        };
        if timeout.is_some() {
            return Ok(Readiness::NotReady);
        }
        while !is_over(&self.heard.lock().unwrap()) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.steps.remove(0);
        let has_failed = self.heard.lock().unwrap().iter().any(|event| event == "sync failed");
        Ok(if has_failed { Readiness::Stop } else { Readiness::Ready })
    }

    fn pause(&mut self, _: Duration) -> io::Result<Readiness> {
        Ok(Readiness::NotReady)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.steps.is_empty() {
            return Ok(0);
        }
        match self.steps.remove(0) {
            Step::Gives(bytes) => {
                buffer[..bytes.len()].copy_from_slice(bytes);
                Ok(bytes.len())
            }
            Step::Breaks => Err(io::Error::other("the cable is out")),
            Step::Stops | Step::Idles(_) => unreachable!("it was not ready"),
        }
    }
}

fn log_dir_with_topic(disk: &FaultyDisk) -> (LogDir, Topic) {
    let log_dir = open_log_dir(disk).unwrap();
    let new = NewTopic { name: "t".parse().unwrap(), partitions: 1, config: TopicConfig::default() };
    log_dir.create_topic(&new).unwrap();
    let topic = log_dir.topic(&new.name).unwrap();
    (log_dir, topic)
}

/// Runs a producer over these inputs, where operation `fails_at` of the disk fails once. Returns what it has done and the
/// events in their order, and what the disk was asked to do.
fn run(sync: SyncPolicy, inputs: Vec<Vec<Step>>, fails_at: Option<u64>) -> (Produced, Vec<String>, Vec<String>) {
    let disk = disk_with_log_dir();
    let (log_dir, topic) = log_dir_with_topic(&disk);
    disk.reset_counts();
    fails_at.into_iter().for_each(|n| disk.fail_once_at(n));
    let options = lines_in_turn(sync, Rejects::stop());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let events = Arc::clone(&heard);
    let listener = Arc::new(move |event: Event<'_>| {
        events.lock().unwrap().push(match event {
            Event::Durable { stretch: it, .. } => format!("durable {} to {}", it.base_offset, it.last_offset),
            Event::SyncFailed => "sync failed".to_owned(),
            _ => return,
        });
    });
    let producer = Producer::new(log_dir, topic, options, Arc::new(|| NOW), listener).unwrap();
    let script = |steps| -> Result<Script<'_>> { Ok(Script { steps, heard: &heard }) };
    let produced = producer.run(inputs.into_iter().map(script));
    let heard = heard.lock().unwrap().clone();
    (produced, heard, disk.trace())
}

fn stored(written: &BTreeMap<TopicPartition, Written>) -> u64 {
    written.values().map(|it| it.records).sum()
}

fn syncs_of_the_log(trace: &[String]) -> Vec<u64> {
    let is_sync = |what: &String| what.starts_with("sync ") && what.ends_with(".log");
    (1..).zip(trace).filter(|(_, what)| is_sync(what)).map(|(n, _)| n).collect()
}

#[test]
fn what_was_read_is_durable_before_a_run_ends_however_it_ends() {
    let lines = || vec![Step::Gives(b"one\ntwo\nthr")];
    let with = |step| lines().into_iter().chain([step]).collect::<Vec<Step>>();
    for (inputs, records, left_out) in [
        (vec![lines()], 3, None),
        (vec![lines(), lines()], 6, None),
        (vec![with(Step::Stops), lines()], 2, Some(3)),
        (vec![with(Step::Gives(b"ee\n")), with(Step::Stops)], 5, Some(3)),
    ] {
        let (produced, heard, _) = run(SyncPolicy::End, inputs, None);
        let ended = left_out.map_or(Ended::Complete, |left_out| Ended::Stopped { left_out });
        assert_eq!(produced.ended.unwrap(), ended);
        assert_eq!((stored(&produced.written), produced.taken.records), (records, records));
        assert_eq!(heard, [format!("durable 0 to {}", records - 1)]);
    }
    let (produced, heard, _) = run(SyncPolicy::End, vec![with(Step::Breaks), lines()], None);
    assert!(matches!(produced.ended, Err(ProduceError::Read { .. })), "{:?}", produced.ended);
    assert_eq!((stored(&produced.written), heard), (2, vec!["durable 0 to 1".to_owned()]));
}

#[test]
fn a_sync_that_fails_at_the_end_is_reported_in_place_of_a_broken_input() {
    let inputs = || vec![vec![Step::Gives(b"one\n"), Step::Breaks]];
    let (.., trace) = run(SyncPolicy::End, inputs(), None);
    let syncs = syncs_of_the_log(&trace);
    assert_eq!(syncs.len(), 1, "{trace:?}");
    let (produced, heard, _) = run(SyncPolicy::End, inputs(), Some(syncs[0]));
    assert!(matches!(produced.ended, Err(ProduceError::LogDir(_))), "{:?}", produced.ended);
    assert_eq!((stored(&produced.written), heard), (1, vec![]));
}

#[test]
fn a_sync_that_fails_beside_the_intake_wakes_it_and_nothing_is_acknowledged_after_it() {
    let inputs = || {
        let over = |heard: &[String]| !heard.is_empty();
        vec![vec![Step::Gives(b"one\n"), Step::Idles(over), Step::Gives(b"two\n")], vec![Step::Gives(b"three\n")]]
    };
    let every = SyncPolicy::Every(Duration::from_millis(1));
    let (produced, heard, trace) = run(every, inputs(), None);
    assert_eq!(produced.ended.unwrap(), Ended::Complete);
    assert_eq!((stored(&produced.written), &*heard[0]), (3, "durable 0 to 0"));
    let (produced, heard, _) = run(every, inputs(), Some(syncs_of_the_log(&trace)[0]));
    assert!(matches!(produced.ended, Err(ProduceError::LogDir(_))), "{:?}", produced.ended);
    assert_eq!((stored(&produced.written), heard), (1, vec!["sync failed".to_owned()]));
}

#[test]
fn whatever_operation_fails_a_run_says_so_and_acknowledges_only_what_is_there() {
    let inputs = || vec![vec![Step::Gives(b"one\n"), Step::Gives(b"two\n")], vec![Step::Gives(b"three\n")]];
    let (.., trace) = run(SyncPolicy::Always, inputs(), None);
    for n in 1..=trace.len() as u64 {
        let (produced, heard, _) = run(SyncPolicy::Always, inputs(), Some(n));
        let stored = stored(&produced.written);
        match produced.ended {
            Ok(ended) => assert_eq!((ended, stored, heard.len()), (Ended::Complete, 3, 3), "{n}: {trace:?}"),
            Err(error) => {
                assert!(matches!(error, ProduceError::LogDir(_)), "{n}: {error}");
                assert!(heard.len() as u64 <= stored.max(1), "{n}: {heard:?} of {stored}");
            }
        }
    }
}
