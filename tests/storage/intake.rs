//! From an input to a store: when what was read is stored and synced.

use crate::support::{Heard, disk_with_log_dir, lines_in_turn, open_log_dir};
use kdir::logdir::config::TopicConfig;
use kdir::logdir::{Created, LogDir, NewTopic, Topic};
use kdir::produce::{Ended, Input, Produced, Producer, Readiness, Rejects, SyncPolicy};
use kdir::units::{Offset, Timestamp};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What has become of the records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Done {
    read: i64,
    stored: i64,
    synced: i64,
}

/// A topic on a disk in memory, and what has become of the records that go to it.
#[derive(Clone)]
struct Run {
    log_dir: LogDir,
    topic: Topic,
    heard: Arc<Heard>,
    read: Arc<AtomicI64>,
}

impl Run {
    fn new(partitions: i32) -> Self {
        let log_dir = open_log_dir(&disk_with_log_dir()).unwrap();
        let new = NewTopic { name: "t".parse().unwrap(), partitions, config: TopicConfig::default() };
        let Created::New(topic) = log_dir.create_topic(&new).unwrap() else { panic!("it was not there") };
        Self { log_dir, topic, heard: Arc::default(), read: Arc::default() }
    }

    fn done(&self) -> Done {
        let ends = self.log_dir.partitions(&self.topic).unwrap();
        let stored = ends.iter().map(|it| it.view().unwrap().log_end_offset().unwrap().0).sum();
        let synced = self.heard.all().iter().map(|it| it.last_offset - it.base_offset + 1).sum();
        Done { read: self.read.load(Ordering::SeqCst), stored, synced }
    }

    fn take(&self, sync: SyncPolicy, input: impl Input) {
        assert_eq!(self.produce(sync, Rejects::stop(), input).ended.unwrap(), Ended::Complete);
    }

    /// A tenth of a second goes by with each record that is read.
    fn produce(&self, sync: SyncPolicy, rejects: Rejects, input: impl Input) -> Produced {
        let read = Arc::clone(&self.read);
        let clock = Arc::new(move || Timestamp(read.load(Ordering::SeqCst) * 100));
        let options = lines_in_turn(sync, rejects);
        let (log_dir, topic) = (self.log_dir.clone(), self.topic.clone());
        let producer = Producer::new(log_dir, topic, options, clock, self.heard.listener()).unwrap();
        producer.run([Ok(input)])
    }
}

/// Never blocks: each read gives some lines at once, and hears first what has been done.
struct Endless<'a, F: FnMut(Done)> {
    run: &'a Run,
    lines: &'a [u8],
    reads: usize,
    before_each: F,
}

impl<F: FnMut(Done)> Input for Endless<'_, F> {
    fn name(&self) -> &str {
        "endless"
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<Readiness> {
        Ok(Readiness::Ready)
    }

    fn pause(&mut self, _: Duration) -> io::Result<Readiness> {
        Ok(Readiness::NotReady)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (self.before_each)(self.run.done());
        if self.reads == 0 {
            return Ok(0);
        }
        self.reads -= 1;
        buffer[..self.lines.len()].copy_from_slice(self.lines);
        let lines = self.lines.iter().filter(|&&byte| byte == b'\n').count();
        self.run.read.fetch_add(lines as i64, Ordering::SeqCst);
        Ok(self.lines.len())
    }
}

/// Takes an input of so many reads in; returns what had been done at each, and at the end.
fn take(sync: SyncPolicy, partitions: i32, lines: &[u8], reads: usize) -> Vec<Done> {
    let (run, mut seen) = (Run::new(partitions), Vec::new());
    run.take(sync, Endless { run: &run, lines, reads, before_each: |done| seen.push(done) });
    seen.push(run.done());
    seen
}

#[test]
fn synced_always_an_input_that_never_blocks_is_synced_before_more_of_it_is_read() {
    let large = [&b"x".repeat(200 << 10)[..], b"\ny\n"].concat();
    for (partitions, lines) in [(1, &b"a\nb\nc\n"[..]), (2, b"a\nb\nc\n"), (1, &large), (2, &large)] {
        let seen = take(SyncPolicy::Always, partitions, lines, 20);
        assert_eq!(seen.len(), 22);
        for (reads, done) in seen.iter().enumerate() {
            assert_eq!((done.stored, done.synced), (done.read, done.read), "before read {reads}: {done:?}");
        }
    }
}

#[test]
fn stored_when_idle_an_input_that_never_blocks_fills_its_batches() {
    let seen = take(SyncPolicy::End, 1, b"a\nb\nc\n", 20);
    assert_eq!(seen[20], Done { read: 60, ..Done::default() });
    assert_eq!(seen[21], Done { read: 60, stored: 60, synced: 60 });
}

#[test]
fn a_record_waits_no_longer_than_it_may_although_the_input_never_blocks() {
    let run = Run::new(2);
    // A tenth of a second lies between two.
    let before_each = |Done { read, stored, .. }: Done| assert!(stored >= read - 10, "{stored} of {read}");
    run.take(SyncPolicy::Every(Duration::from_secs(1)), Endless { run: &run, lines: b"a\n", reads: 100, before_each });
    assert_eq!(run.done(), Done { read: 100, stored: 100, synced: 100 });
}

/// Gives its pieces, one a read, and then its end, with a stop that comes while the last read goes on; a tenth of a second
/// goes by with each.
struct StoppedAtItsEnd<'a> {
    run: &'a Run,
    pieces: VecDeque<Vec<u8>>,
    is_over: bool,
}

impl Input for StoppedAtItsEnd<'_> {
    fn name(&self) -> &str {
        "stopped"
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<Readiness> {
        assert!(!self.is_over || timeout == Some(Duration::ZERO), "there is nothing to wait for");
        Ok(if self.is_over { Readiness::Stop } else { Readiness::Ready })
    }

    fn pause(&mut self, _: Duration) -> io::Result<Readiness> {
        Ok(Readiness::NotReady)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.run.read.fetch_add(1, Ordering::SeqCst);
        let piece = self.pieces.pop_front().unwrap_or_default();
        self.is_over = piece.is_empty();
        buffer[..piece.len()].copy_from_slice(&piece);
        Ok(piece.len())
    }
}

/// A line that is too large for a record, in pieces that one read takes, without its end.
fn oversize() -> Vec<Vec<u8>> {
    vec![vec![b'x'; 100 << 10]; 20]
}

fn produced(pieces: Vec<Vec<u8>>) -> (Run, Produced) {
    let run = Run::new(1);
    let input = StoppedAtItsEnd { run: &run, pieces: pieces.into(), is_over: false };
    let produced = run.produce(SyncPolicy::End, Rejects::skip(), input);
    (run, produced)
}

#[test]
fn an_input_that_ends_with_a_stop_is_cut_off_and_its_last_line_is_not_stored() {
    for (torn, left_out) in [(vec![b"torn".to_vec()], 4), (vec![], 0), (oversize(), 20 * (100 << 10))] {
        let (run, produced) = produced([vec![b"a\nb\n".to_vec()], torn].concat());
        assert_eq!(produced.ended.unwrap(), Ended::Stopped { left_out });
        assert_eq!(run.done().stored, 2);
    }
}

#[test]
fn a_record_after_an_oversize_line_has_the_time_of_the_read_that_brought_it() {
    let (run, _) = produced([vec![b"a\nb\n".to_vec()], oversize(), vec![b"\nlate\n".to_vec()]].concat());
    let partitions = run.log_dir.partitions(&run.topic).unwrap();
    let found = partitions[0].view().unwrap().offset_for_time(Timestamp(2200)).unwrap();
    assert_eq!(found, Some((Offset(2), Timestamp(2200))));
}

#[test]
fn the_input_is_never_done_with_up_to_the_middle_of_an_oversize_line() {
    for (end, expected) in [(&b""[..], (2, 4)), (b"\n", (3, 4 + 20 * (100 << 10) + 1))] {
        let (_, produced) = produced([vec![b"a\nb\n".to_vec()], oversize(), vec![end.to_vec()]].concat());
        assert_eq!((produced.durable_input.records, produced.durable_input.bytes), expected);
        assert_eq!((produced.taken.records, produced.taken.bytes), (2, 4));
    }
}
