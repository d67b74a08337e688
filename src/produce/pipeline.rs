//! Finishes batches and stores them while the intake goes on.
//!
//! Full batches are handed over in a line. Workers give each its compression and checksum, several at a time where there is
//! something to compress; they are stored in the order of the line, by one worker at a time, several at once.
//! What is less than a full batch comes when the input stands still, and is stored by the thread that brings it: that is
//! sooner than a hand-over, and a short input needs no thread at all. Where the system gives no threads, that thread does it
//! all.
//!
//! After a failure nothing more is stored, so that no partition has a gap: what stands in the line is dropped, and was
//! never acknowledged.

use super::error::{ProduceError, Result};
use super::input_prefix::Origin;
use crate::format::batch::{self, BatchBuilder};
use crate::format::compression::{Compression, Compressor};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Batches that are stored at once, while more come: lines of 10 bytes took a tenth less time than with each batch on its
/// own, and producers that share a partition look half as often for what the others have written. A reader passes over as
/// many index entries whose batches are still to come.
const GROUP_MAX: usize = 8;
/// The bytes that they are to have together.
const GROUP_BYTES_MAX: usize = 1 << 20;
/// Batches in the line at most, and the bytes that they are to have together.
const LINE_MAX: usize = 2 * GROUP_MAX;
const LINE_BYTES_MAX: usize = 4 << 20;
/// More workers than this have nothing to do beside one intake.
const WORKERS_MAX: usize = 8;

/// Stores batches of the partition in one [slot](super::topic_writer), in order; the origins are of one batch each. After an
/// error, those before the one that failed may have been stored.
pub(super) type StoreBatches = Box<dyn FnMut(i32, &mut [&mut [u8]], &[Origin]) -> Result<()> + Send>;

/// How batches are finished.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finishing {
    /// What they are compressed with.
    pub(super) compression: Compression,
    /// A batch that compression would make larger than this stays as it is.
    pub(super) batch_size_max: usize,
}

/// What compresses the batches of one thread: topics differ in their compression.
#[derive(Default)]
struct Compressors(Vec<(Compression, Option<Compressor>)>);

impl Compressors {
    fn of(&mut self, compression: Compression) -> Option<&mut Compressor> {
        let found = self.0.iter().position(|(of, _)| *of == compression);
        let place = found.unwrap_or_else(|| {
            self.0.push((compression, batch::compressor(compression)));
            self.0.len() - 1
        });
        self.0[place].1.as_mut()
    }

    fn finish(&mut self, Filling { builder, finishing, .. }: &mut Filling) -> Result<()> {
        builder.finish(self.of(finishing.compression), finishing.batch_size_max)?;
        Ok(())
    }
}

/// The way of batches from the intake to their store.
pub(super) struct Pipeline {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    workers_max: usize,
    /// Of the thread that hands over.
    compressors: Compressors,
}

struct Shared {
    batch_size: usize,
    store: Mutex<StoreBatches>,
    line: Mutex<Line>,
    /// A worker may have something to do.
    work: Condvar,
    /// The line has become shorter.
    room: Condvar,
}

/// A batch on its way.
struct Handed {
    slot: i32,
    filling: Filling,
}

/// A batch that is being filled, or was.
pub(super) struct Filling {
    /// Its records.
    pub(super) builder: BatchBuilder,
    /// What they were made of.
    pub(super) origin: Origin,
    /// How it is finished.
    pub(super) finishing: Finishing,
}

impl Filling {
    /// An empty batch with room for `capacity` bytes.
    pub(super) fn new(capacity: usize, finishing: Finishing) -> Self {
        Self { builder: BatchBuilder::new(capacity), origin: Origin::default(), finishing }
    }

    fn clear(&mut self) {
        self.builder.clear();
        self.origin = Origin::default();
    }
}

enum Slot {
    Filled(Handed),
    BeingFinished,
    Finished(Handed),
}

struct Line {
    slots: VecDeque<Slot>,
    /// So many finished batches are worth a write while more come.
    group_max: usize,
    /// Somebody waits until all is stored.
    is_awaited: bool,
    /// The number of the first slot, counted from the first that there ever was.
    first: usize,
    is_storing: bool,
    /// To be filled again.
    empty: Vec<Filling>,
    has_failed: bool,
    /// Why, until it was told.
    failure: Option<ProduceError>,
    is_closed: bool,
}

impl Pipeline {
    /// A way for batches of `batch_size` bytes, with so many workers at most.
    pub(super) fn new(store: StoreBatches, batch_size: usize, workers_max: usize) -> Self {
        let line = Line {
            slots: VecDeque::new(),
            group_max: (GROUP_BYTES_MAX / batch_size.max(1)).clamp(1, GROUP_MAX),
            is_awaited: false,
            first: 0,
            is_storing: false,
            empty: Vec::new(),
            has_failed: false,
            failure: None,
            is_closed: false,
        };
        let (line, store) = (Mutex::new(line), Mutex::new(store));
        let (work, room) = (Condvar::new(), Condvar::new());
        let shared = Arc::new(Shared { batch_size, store, line, work, room });
        let workers_max = workers_max.clamp(1, WORKERS_MAX);
        Self { shared, workers: Vec::new(), workers_max, compressors: Compressors::default() }
    }

    /// Hands a full batch over, and waits where too many are on their way. Returns an empty one.
    ///
    /// # Errors
    /// When a batch that was handed over could not be stored.
    pub(super) fn pass(&mut self, slot: i32, filling: Filling) -> Result<Filling> {
        self.start_workers();
        if self.workers.is_empty() {
            return self.store(slot, filling);
        }
        let line_max = (LINE_BYTES_MAX / self.shared.batch_size.max(1)).clamp(2, LINE_MAX);
        let finishing = filling.finishing;
        let mut line = self.shared.wait_until(|line| line.slots.len() < line_max)?;
        line.slots.push_back(Slot::Filled(Handed { slot, filling }));
        let empty = line.empty.pop();
        drop(line);
        self.shared.work.notify_one();
        Ok(empty.unwrap_or_else(|| Filling::new(self.shared.batch_size, finishing)))
    }

    /// Starts the workers, as many of them as the system lets a process have.
    fn start_workers(&mut self) {
        while self.workers.len() < self.workers_max {
            let shared = Arc::clone(&self.shared);
            match std::thread::Builder::new().spawn(move || shared.work()) {
                Ok(worker) => self.workers.push(worker),
                Err(_) => self.workers_max = self.workers.len(),
            }
        }
    }

    /// Waits until all that was handed over has been stored.
    ///
    /// # Errors
    /// When it could not be.
    pub(super) fn drain(&self) -> Result<()> {
        self.shared.line().is_awaited = true;
        if !self.workers.is_empty() {
            self.shared.work.notify_one();
        }
        let drained = self.shared.wait_until(|line| line.slots.is_empty() && !line.is_storing);
        drained.map(|mut line| line.is_awaited = false)
    }

    /// Whether a failure has been told: nothing that follows is stored.
    pub(super) fn has_told_failure(&self) -> bool {
        let line = self.shared.line();
        line.has_failed && line.failure.is_none()
    }

    /// Stores a batch on this thread, behind all others. Returns it empty.
    ///
    /// # Errors
    /// When it, or one before it, could not be stored.
    pub(super) fn store(&mut self, slot: i32, mut filling: Filling) -> Result<Filling> {
        self.drain()?;
        self.compressors.finish(&mut filling)?;
        let mut group = [Handed { slot, filling }];
        let stored = self.shared.store(&mut group);
        if stored.is_err() {
            self.shared.line().fail(None);
        }
        let [Handed { mut filling, .. }] = group;
        filling.clear();
        stored.map(|()| filling)
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.shared.line().is_closed = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // One that has panicked has ended the process, or failed the line.
            let _ = worker.join();
        }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the line is as it should be, or has failed.
    fn wait_until(&self, is_right: impl Fn(&Line) -> bool) -> Result<MutexGuard<'_, Line>> {
        let waited = self.room.wait_while(self.line(), |line| !line.has_failed && !is_right(line));
        let mut line = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = line.failure.take() {
            return Err(failure);
        }
        if line.has_failed { Err(ProduceError::AfterFailure) } else { Ok(line) }
    }

    /// What a worker does, until the line is closed.
    fn work(&self) {
        #[cfg(panic = "unwind")]
        let _guard = OnPanic(self);
        let mut compressors = Compressors::default();
        let mut line = self.line();
        loop {
            if let Some(mut group) = line.take_group() {
                line.is_storing = true;
                drop(line);
                let stored = self.store(&mut group);
                line = self.line();
                line.is_storing = false;
                line.take_back(group);
                if let Err(failure) = stored {
                    line.fail(Some(failure));
                }
                self.room.notify_one();
            } else if let Some((number, mut handed)) = line.take_filled() {
                drop(line);
                let finished = compressors.finish(&mut handed.filling);
                line = self.line();
                match finished {
                    Ok(()) => line.put_finished(number, handed),
                    Err(failure) => {
                        line.fail(Some(failure));
                        self.room.notify_one();
                    }
                }
            } else if line.is_closed {
                return;
            } else {
                line = self.work.wait(line).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Stores finished batches, those of one partition at once.
    fn store(&self, group: &mut [Handed]) -> Result<()> {
        group.sort_by_key(|handed| handed.slot);
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        for of_one in group.chunk_by_mut(|one, other| one.slot == other.slot) {
            let slot = of_one[0].slot;
            let origins: Vec<Origin> = of_one.iter().map(|handed| handed.filling.origin).collect();
            let mut batches: Vec<&mut [u8]> =
                of_one.iter_mut().map(|handed| handed.filling.builder.finished()).collect();
            store(slot, &mut batches, &origins)?;
        }
        Ok(())
    }
}

/// Fails the line of a worker that panics. In a release a panic ends the process (`panic = "abort"`), so that nothing more
/// is stored or acknowledged after a bug; tests are built to unwind, and would wait for such a worker for ever.
#[cfg(panic = "unwind")]
struct OnPanic<'a>(&'a Shared);

#[cfg(panic = "unwind")]
impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.line().fail(None);
            self.0.room.notify_one();
        }
    }
}

impl Line {
    /// The batches to be stored next, when it is time for that: nobody else is at it, and there are enough of them or no
    /// more to come.
    fn take_group(&mut self) -> Option<Vec<Handed>> {
        let is_finished = |slot: &&Slot| matches!(slot, Slot::Finished(_));
        let ready = self.slots.iter().take(self.group_max).take_while(is_finished).count();
        let is_last = (self.is_awaited || self.is_closed) && ready == self.slots.len();
        if self.is_storing || ready == 0 || (ready < self.group_max && !is_last) {
            return None;
        }
        self.first += ready;
        let finished = self.slots.drain(..ready).filter_map(|slot| match slot {
            Slot::Finished(handed) => Some(handed),
            Slot::Filled(_) | Slot::BeingFinished => None,
        });
        Some(finished.collect())
    }

    /// The first batch that nobody has begun to finish, and its number.
    fn take_filled(&mut self) -> Option<(usize, Handed)> {
        let place = self.slots.iter().position(|slot| matches!(slot, Slot::Filled(_)))?;
        match std::mem::replace(&mut self.slots[place], Slot::BeingFinished) {
            Slot::Filled(handed) => Some((self.first + place, handed)),
            Slot::BeingFinished | Slot::Finished(_) => None,
        }
    }

    /// Puts a batch back in its place, unless the line has failed meanwhile.
    fn put_finished(&mut self, number: usize, handed: Handed) {
        if !self.has_failed {
            self.slots[number - self.first] = Slot::Finished(handed);
        }
    }

    fn take_back(&mut self, group: Vec<Handed>) {
        for mut handed in group {
            handed.filling.clear();
            self.empty.push(handed.filling);
        }
    }

    /// Drops all that stands in the line.
    fn fail(&mut self, failure: Option<ProduceError>) {
        if !self.has_failed {
            (self.has_failed, self.failure) = (true, failure);
        }
        self.slots.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compression::{Codec, Decompressor};
    use crate::format::header::{BATCH_HEADER_SIZE, BatchHeader};
    use crate::format::record::NewRecord;
    use crate::format::record_cursor::RecordCursor;

    /// Keeps the first value of each batch, by partition; fails at the batch with one of them.
    struct Kept {
        values: Vec<(i32, String)>,
        fails_at: Option<&'static str>,
    }

    impl Kept {
        fn store(&mut self, partition: i32, batches: &mut [&mut [u8]]) -> Result<()> {
            for batch in batches {
                let header = BatchHeader::parse(batch).unwrap();
                let mut records = batch[BATCH_HEADER_SIZE..].to_vec();
                if header.attributes.codec().unwrap() != Codec::None {
                    let codec = header.attributes.codec().unwrap();
                    let compressed = records.clone();
                    Decompressor::default().decompress(codec, 2, &compressed, &mut records, 1 << 20).unwrap();
                }
                let first = RecordCursor::new(&header).next(&records).unwrap().unwrap();
                let value = String::from_utf8_lossy(first.record(&records).value.unwrap()).into_owned();
                if self.fails_at == Some(value.trim_start_matches('x')) {
                    return Err(ProduceError::Codec(crate::format::FormatError::corrupt("it was to fail")));
                }
                self.values.push((partition, value.trim_start_matches('x').to_owned()));
            }
            Ok(())
        }
    }

    fn empty(compression: &str) -> Filling {
        Filling::new(0, Finishing { compression: compression.parse().unwrap(), batch_size_max: 1 << 20 })
    }

    fn pipeline(fails_at: Option<&'static str>) -> (Pipeline, Arc<Mutex<Kept>>) {
        let store = Arc::new(Mutex::new(Kept { values: Vec::new(), fails_at }));
        let kept = Arc::clone(&store);
        let store_batches: StoreBatches =
            Box::new(move |partition, batches, _| kept.lock().unwrap().store(partition, batches));
        (Pipeline::new(store_batches, 1 << 10, 4), store)
    }

    /// A batch of one value: a number behind so much to compress that batches are not finished in their order.
    fn fill(mut filling: Filling, number: usize) -> Filling {
        assert!(filling.builder.is_empty() && filling.origin == Origin::default(), "what comes back is empty");
        let value = format!("{}{number}", "x".repeat(number * 7919 % 40_000));
        filling.builder.push(&NewRecord { value: Some(value.as_bytes()), ..NewRecord::default() });
        filling.origin.input_bytes = value.len() as u64;
        filling
    }

    #[test]
    fn batches_are_stored_in_their_order_whoever_finishes_them() {
        for compression in ["none", "gzip", "zstd"] {
            let (mut pipeline, store) = pipeline(None);
            let mut filling = empty(compression);
            for number in 0..300 {
                filling = pipeline.pass((number % 3) as i32, fill(filling, number)).unwrap();
            }
            filling = pipeline.store(1, fill(filling, 300)).unwrap();
            assert!(filling.builder.is_empty());
            drop(pipeline);
            let values = &store.lock().unwrap().values;
            assert_eq!(values.len(), 301, "{compression}");
            assert_eq!(values[300], (1, "300".to_owned()), "what is stored by hand comes behind all that was passed");
            for partition in 0..3 {
                let of_one = values[..300].iter().filter(|it| it.0 == partition).map(|it| it.1.parse::<i32>().unwrap());
                let expected = (0..300).filter(|number| number % 3 == partition);
                assert!(of_one.eq(expected), "{compression}, partition {partition}");
            }
        }
    }

    #[test]
    fn without_a_thread_to_be_had_all_is_stored_by_the_one_that_brings_it() {
        let (this_thread, stored) = (std::thread::current().id(), Arc::new(Mutex::new(0)));
        let count = Arc::clone(&stored);
        let store_batches: StoreBatches = Box::new(move |_, batches, _| {
            assert_eq!(std::thread::current().id(), this_thread);
            *count.lock().unwrap() += batches.len();
            Ok(())
        });
        let mut pipeline = Pipeline::new(store_batches, 1 << 10, 4);
        pipeline.workers_max = 0;
        let mut filling = empty("zstd");
        for number in 0..50 {
            filling = pipeline.pass(0, fill(filling, number)).unwrap();
            assert_eq!(*stored.lock().unwrap(), number + 1);
        }
        pipeline.drain().unwrap();
    }

    #[test]
    fn a_bug_in_a_worker_is_nobodys_wait() {
        let store_batches: StoreBatches = Box::new(|_, _, _| panic!("a bug in the store"));
        let mut pipeline = Pipeline::new(store_batches, 1 << 10, 4);
        let failure = loop {
            if let Err(failure) = pipeline.pass(0, fill(empty("none"), 1)) {
                break failure;
            }
        };
        assert!(matches!(failure, ProduceError::AfterFailure), "{failure}");
    }

    #[test]
    fn after_a_failure_nothing_more_is_stored_and_it_is_told_once() {
        for compression in ["none", "gzip"] {
            let (mut pipeline, store) = pipeline(Some("20"));
            let mut told = Vec::new();
            for number in 0..200 {
                if let Err(error) = pipeline.pass(0, fill(empty(compression), number)) {
                    told.push(error);
                }
            }
            told.extend(pipeline.drain().err());
            told.extend(pipeline.store(0, fill(empty(compression), 200)).err());
            assert!(pipeline.has_told_failure());
            assert!(matches!(told[0], ProduceError::Codec(_)), "{told:?}");
            assert!(told.len() > 2 && told[1..].iter().all(|it| matches!(it, ProduceError::AfterFailure)), "{told:?}");
            drop(pipeline);
            let values: Vec<String> = store.lock().unwrap().values.iter().map(|it| it.1.clone()).collect();
            assert_eq!(values, (0..20).map(|number| number.to_string()).collect::<Vec<_>>(), "{compression}");
        }
    }
}
