//! From an input to a store: when what was read is stored and synced.

use kdir::format::header::BatchHeader;
use kdir::stream::StreamError;
use kdir::stream::batcher::{BatchLimits, Batcher};
use kdir::stream::framing::Framing;
use kdir::stream::intake::{Ended, Input, Intake, IntakeSink, Placement, Readiness, RecordRule};
use kdir::stream::partitioner::Partitioner;
use kdir::stream::pipeline::{BatchStore, Finishing, Pipeline};
use kdir::stream::storing::Storing;
use kdir::units::Timestamp;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const BATCH_SIZE_MAX: usize = 1 << 20;

/// What has become of the records.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Done {
    read: i32,
    stored: i32,
    synced: i32,
    sync_points: i32,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Done>>);

impl Shared {
    fn now(&self) -> Done {
        *self.0.lock().unwrap()
    }

    /// A tenth of a second goes by with each record that is read.
    fn time(&self) -> Timestamp {
        Timestamp(i64::from(self.now().read) * 100)
    }
}

struct Store(Shared);

impl BatchStore for Store {
    type Error = StreamError;

    fn store(&mut self, _: i32, batches: &mut [&mut [u8]], _: &[u64]) -> Result<(), StreamError> {
        let records: i32 = batches.iter().map(|batch| BatchHeader::parse(batch).unwrap().record_count).sum();
        self.0.0.lock().unwrap().stored += records;
        Ok(())
    }
}

struct Sink(Shared);

impl IntakeSink for Sink {
    type Error = StreamError;
    type Store = Store;

    fn now(&self) -> Timestamp {
        self.0.time()
    }

    fn round_robin_start(&mut self) -> Result<i64, StreamError> {
        Ok(0)
    }

    fn has_partition(&self, partition: i32) -> bool {
        partition < 2
    }

    fn sync_point(&mut self) -> Result<(), StreamError> {
        let mut done = self.0.0.lock().unwrap();
        done.sync_points += 1;
        done.synced = done.stored;
        Ok(())
    }

    fn progress(&mut self, _: u64, _: u64) {}

    fn skips(&self) -> bool {
        true
    }

    fn reject_piece(&mut self, _: &[u8]) -> Result<(), StreamError> {
        Ok(())
    }

    fn reject(&mut self, _: &[u8], _: StreamError) -> Result<(), StreamError> {
        Ok(())
    }
}

/// Never blocks: each read gives some lines at once. Keeps what had been done when it was read.
struct Endless {
    shared: Shared,
    lines: Vec<u8>,
    reads: usize,
    seen: Vec<Done>,
}

impl Input for Endless {
    fn name(&self) -> &str {
        "endless"
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<Readiness> {
        Ok(Readiness::Ready)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.seen.push(self.shared.now());
        if self.seen.len() > self.reads {
            return Ok(0);
        }
        buffer[..self.lines.len()].copy_from_slice(&self.lines);
        self.shared.0.lock().unwrap().read += self.lines.iter().filter(|&&byte| byte == b'\n').count() as i32;
        Ok(self.lines.len())
    }
}

fn intake(shared: &Shared, storing: Storing, partition_count: i32) -> Intake<Store> {
    let limits = BatchLimits { batch_size: 64 << 10, batch_size_max: BATCH_SIZE_MAX };
    let compression = "none".parse().unwrap();
    let finishing = Finishing { compression, batch_size_max: BATCH_SIZE_MAX };
    let pipeline = Pipeline::new(Arc::new(Mutex::new(Store(shared.clone()))), finishing, limits.batch_size, || 2);
    let batcher = Batcher::new(limits, pipeline, 2);
    let placement = Placement { partition: None, partitioner: Partitioner::RoundRobin, partition_count };
    let framing = Framing::delimited(b"\n");
    Intake::new(framing, RecordRule::default(), placement, batcher, BATCH_SIZE_MAX, storing)
}

/// Takes an input of so many reads in; returns what had been done at each, and at the end.
fn take(storing: Storing, partition_count: i32, lines: &[u8], reads: usize) -> Vec<Done> {
    let shared = Shared::default();
    let mut intake = intake(&shared, storing, partition_count);
    let mut input = Endless { shared: shared.clone(), lines: lines.to_vec(), reads, seen: Vec::new() };
    assert_eq!(intake.take(&mut input, &mut Sink(shared.clone())).unwrap(), Ended::Complete);
    input.seen.push(shared.now());
    input.seen
}

#[test]
fn stored_each_read_an_input_that_never_blocks_is_synced_before_more_of_it_is_read() {
    let large = [&b"x".repeat(200 << 10)[..], b"\ny\n"].concat();
    for (partition_count, lines) in [(1, &b"a\nb\nc\n"[..]), (2, b"a\nb\nc\n"), (1, &large), (2, &large)] {
        let seen = take(Storing::EachRead, partition_count, lines, 20);
        for (reads, done) in seen[..21].iter().enumerate() {
            assert_eq!((done.stored, done.synced), (done.read, done.read), "before read {reads}: {done:?}");
            assert!(done.sync_points > reads as i32, "before read {reads}: {done:?}");
        }
        assert_eq!(seen[21].synced, seen[21].read);
    }
}

#[test]
fn stored_when_idle_an_input_that_never_blocks_fills_its_batches() {
    for storing in [Storing::Idle(Duration::ZERO), Storing::Gathered(Duration::from_millis(100))] {
        let seen = take(storing, 1, b"a\nb\nc\n", 20);
        assert_eq!(seen[20], Done { read: 60, ..Done::default() });
        assert_eq!(seen[21], Done { read: 60, stored: 60, synced: 60, sync_points: 1 });
    }
}

/// Never blocks; each read gives one record, and what was read long enough before is stored by then.
struct Watched {
    shared: Shared,
    reads: i32,
}

impl Input for Watched {
    fn name(&self) -> &str {
        "watched"
    }

    fn wait(&mut self, _: Option<Duration>) -> io::Result<Readiness> {
        Ok(Readiness::Ready)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Done { read, stored, .. } = self.shared.now();
        // A tenth of a second lies between two.
        assert!(stored >= read - 10, "{stored} of {read}");
        if read == self.reads {
            return Ok(0);
        }
        buffer[..2].copy_from_slice(b"a\n");
        self.shared.0.lock().unwrap().read += 1;
        Ok(2)
    }
}

#[test]
fn a_record_waits_no_longer_than_it_may_although_the_input_never_blocks() {
    let shared = Shared::default();
    let mut intake = intake(&shared, Storing::Idle(Duration::ZERO), 2).gathering_at_most(Duration::from_secs(1));
    let mut input = Watched { shared: shared.clone(), reads: 100 };
    assert_eq!(intake.take(&mut input, &mut Sink(shared.clone())).unwrap(), Ended::Complete);
    assert_eq!(shared.now(), Done { read: 100, stored: 100, synced: 100, sync_points: 10 });
}
