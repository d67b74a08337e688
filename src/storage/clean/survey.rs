//! The first pass of a compaction: which records and markers go.
//!
//! It reads the segments once and leaves a bit for each record that goes. The second pass hashes nothing, and does not read
//! segments of which nothing goes.

use super::bits::{Bits, Marks};
use super::cleanable::Cleanable;
use super::ended::{Aborted, InTransaction};
use super::key_buckets::{KeyBuckets, NUMBER_MAX, OpenScratch};
use super::producers::Producers;
use super::source::{self, Source, Watch};
use crate::disk::{DiskError, Folder, atomic};
use crate::format::FormatError;
use crate::format::header::{BatchHeader, MAGIC_V2};
use crate::format::record_cursor::RecordCursor;
use crate::format::txn::ControlType;
use crate::storage::file_name::{FileKind, segment_name};
use crate::storage::record_buffer::RecordBuffer;
use crate::storage::transactions::control_type;
use crate::storage::{LogConfig, LogReader, LogView, Next, OpenTransaction, Result, at_place};
use crate::units::{Offset, Position, Timestamp};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// A transaction index larger than this is none: of ten million aborted transactions.
const TRANSACTION_INDEX_MAX: usize = 512 << 20;
/// Bytes read at a time of what is not compacted.
const CHUNK: usize = 256 << 10;

/// What goes, in records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// All that there were.
    pub records: u64,
    /// A later record has their key.
    pub superseded: u64,
    /// Tombstones that have stayed for `delete.retention.ms`.
    pub tombstones: u64,
    /// Of aborted transactions.
    pub aborted: u64,
    /// Markers of transactions that nothing is left of.
    pub markers: u64,
    /// Without a key.
    pub keyless: u64,
}

impl Counts {
    /// The sum of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            records: self.records + other.records,
            superseded: self.superseded + other.superseded,
            tombstones: self.tombstones + other.tombstones,
            aborted: self.aborted + other.aborted,
            markers: self.markers + other.markers,
            keyless: self.keyless + other.keyless,
        }
    }
}

/// A segment that was read.
pub(super) struct Surveyed {
    pub(super) source: Source,
    /// The numbers of its records.
    pub(super) numbers: Range<u64>,
    /// Where its last batch ends; where it begins itself if it has none.
    pub(super) batches_end: Offset,
    /// Who was in a transaction where it begins.
    pub(super) in_transaction: InTransaction,
    /// Whether a record in it has no value.
    pub(super) has_tombstones: bool,
    /// Whether tombstones of the old formats in it still stay.
    pub(super) keeps_legacy_tombstones: bool,
    /// Whether a batch in it is to get a delete horizon, or a marker goes.
    is_to_change: bool,
    /// Markers that go.
    markers: u64,
}

/// What a compaction is to do.
pub(super) struct Survey {
    pub(super) segments: Vec<Surveyed>,
    pub(super) going: Bits,
    /// Why, but for those that are superseded: their time as tombstones has come, they have no key, they were aborted.
    expired: Bits,
    keyless: Bits,
    aborted_records: Bits,
    pub(super) aborted: Aborted,
    pub(super) producers: Producers,
    /// When the first of the tombstones goes that still stay.
    pub(super) tombstones_until: Option<Timestamp>,
    /// Bytes that memory had no room for.
    pub(super) scratch_size: u64,
}

impl Survey {
    /// Reads what `cleanable` says, which ends sooner where a transaction turns out to be open.
    pub(super) fn take(
        view: &LogView,
        folder: &dyn Folder,
        cleanable: &mut Cleanable,
        (config, now): (&LogConfig, Timestamp),
        (memory, open_scratch): (u64, &mut OpenScratch<'_>),
        watch: &mut Watch<'_>,
    ) -> Result<Self> {
        let mut taker = Taker::new(view, (config, now), memory);
        let first_dirty = cleanable.first_dirty_offset;
        let clean = cleanable.segments.iter().rev().find(|(segment, _)| segment.base_offset < first_dirty);
        let legacy_horizon =
            clean.map_or(0, |(segment, _)| segment.modified.0.saturating_sub(config.delete_retention_ms));
        for &(segment, end) in &cleanable.segments {
            let source = Source::find(folder, segment, end)?.ok_or_else(|| source::changed(folder.path()))?;
            taker.read_segment(folder, source, segment.modified.0 > legacy_horizon, open_scratch, watch)?;
        }
        if !taker.producers.is_empty() {
            taker.read_on(view, cleanable.limit)?;
        }
        if let Some(first) = taker.open.values().min_by_key(|open| open.first) {
            let (producer_id, offset) = (first.producer_id, first.first);
            cleanable.end_before(OpenTransaction { producer_id, offset, since: None });
        }
        taker.finish(cleanable, folder, watch)
    }

    /// Lets tombstones stay whose time has come: older records of their keys stay.
    pub(super) fn keep_tombstones(&mut self, numbers: Range<u64>) {
        for number in self.expired.ones().filter(|number| numbers.contains(number)) {
            self.going.clear(number);
        }
    }

    /// What goes from segments.
    pub(super) fn counts(&self, segments: &[Surveyed]) -> Counts {
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { return Counts::default() };
        let numbers = first.numbers.start..last.numbers.end;
        let of = |bits: &Bits| bits.count(numbers.clone());
        // Those that were kept after all have no bit in `going` any more.
        let tombstones = self.expired.ones().filter(|&it| numbers.contains(&it) && self.going.has(it)).count() as u64;
        let (keyless, aborted) = (of(&self.keyless), of(&self.aborted_records));
        Counts {
            records: numbers.end - numbers.start,
            superseded: of(&self.going) - tombstones - keyless - aborted,
            tombstones,
            aborted,
            markers: segments.iter().map(|segment| segment.markers).sum(),
            keyless,
        }
    }

    /// Whether anything of a segment goes or is to be rewritten.
    pub(super) fn changes(&self, segment: &Surveyed) -> bool {
        segment.is_to_change || self.going.count(segment.numbers.clone()) > 0
    }
}

/// A transaction that has begun.
struct Open {
    producer_id: i64,
    first: Offset,
    /// The numbers of its records.
    numbers: Vec<Range<u64>>,
}

struct Taker<'a> {
    config: &'a LogConfig,
    now: Timestamp,
    decompressed_size_max: usize,
    buffer: RecordBuffer,
    keys: KeyBuckets,
    /// The number of the next record.
    next: u64,
    /// Tombstones that go unless they are superseded.
    expired: Bits,
    keyless: Bits,
    aborted_numbers: Vec<Range<u64>>,
    open: BTreeMap<i64, Open>,
    in_transaction: InTransaction,
    segments: Vec<Surveyed>,
    going: Bits,
    aborted: Aborted,
    producers: Producers,
    tombstones_until: Option<Timestamp>,
}

impl<'a> Taker<'a> {
    fn new(view: &LogView, (config, now): (&'a LogConfig, Timestamp), memory: u64) -> Self {
        Self {
            config,
            now,
            decompressed_size_max: view.decompressed_size_max(),
            buffer: RecordBuffer::default(),
            keys: KeyBuckets::new(memory),
            next: 0,
            expired: Bits::default(),
            keyless: Bits::default(),
            aborted_numbers: Vec::new(),
            open: BTreeMap::new(),
            in_transaction: InTransaction::default(),
            segments: Vec::new(),
            going: Bits::default(),
            aborted: Aborted::default(),
            producers: Producers::default(),
            tombstones_until: None,
        }
    }

    fn read_segment(
        &mut self,
        folder: &dyn Folder,
        source: Source,
        keeps_legacy_tombstones: bool,
        open_scratch: &mut OpenScratch<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<()> {
        let base = source.segment.base_offset;
        if let Some(bytes) =
            atomic::read_small(folder, &segment_name(base, FileKind::TransactionIndex), TRANSACTION_INDEX_MAX)?
        {
            self.aborted.add_index(&bytes);
        }
        self.segments.push(Surveyed {
            source,
            numbers: self.next..self.next,
            batches_end: base,
            in_transaction: self.in_transaction.clone(),
            has_tombstones: false,
            keeps_legacy_tombstones,
            is_to_change: false,
            markers: 0,
        });
        source.each_batch(folder, watch, &mut |header, batch, place| self.pass(header, batch, place, open_scratch))
    }

    fn segment(&mut self) -> &mut Surveyed {
        self.segments.last_mut().expect("a segment is being read")
    }

    fn pass(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        (path, position): (&Path, Position),
        open_scratch: &mut OpenScratch<'_>,
    ) -> Result<()> {
        let at_batch = |error| at_place(error, path, position, header.base_offset);
        let mut buffer = std::mem::take(&mut self.buffer);
        let loaded = buffer.load(header, batch, self.decompressed_size_max).map_err(at_batch)?;
        let records = buffer.records(batch);
        let count = u64::try_from(loaded.record_count).unwrap_or(0);
        let numbers = self.next..self.next + count;
        if numbers.end > NUMBER_MAX {
            let what = "more records than a compaction can number".to_owned();
            return Err(at_batch(FormatError::Unsupported { what }));
        }
        self.next = numbers.end;
        self.producers.pass(&loaded);
        let segment = self.segment();
        (segment.numbers.end, segment.batches_end) = (numbers.end, header.next_offset());
        if loaded.attributes.is_control() {
            let kind = match RecordCursor::new(&loaded).next(records).map_err(at_batch)? {
                Some(span) => Some(ControlType::parse(span.record(records).key.unwrap_or_default()).map_err(at_batch)?),
                None => None,
            };
            self.pass_marker(&loaded, kind);
        } else {
            self.in_transaction.pass_data(&loaded);
            if loaded.attributes.is_transactional() {
                self.open
                    .entry(loaded.producer_id)
                    .or_insert(Open { producer_id: loaded.producer_id, first: loaded.base_offset, numbers: Vec::new() })
                    .numbers
                    .push(numbers.clone());
            }
            self.pass_records(&loaded, records, numbers.start, open_scratch).map_err(|error| match error {
                Failed::Disk(error) => error.into(),
                Failed::Format(error) => at_batch(error),
            })?;
        }
        self.buffer = buffer;
        Ok(())
    }

    fn pass_marker(&mut self, header: &BatchHeader, kind: Option<ControlType>) {
        let producer_id = header.producer_id;
        let (is_abort, is_discardable) = match kind {
            Some(ControlType::Abort) => (true, self.in_transaction.pass_marker(producer_id)),
            Some(ControlType::Commit) => (false, self.in_transaction.pass_marker(producer_id)),
            Some(ControlType::Other(_)) => return,
            None => (false, true),
        };
        self.end_transaction(producer_id, header.base_offset, is_abort);
        if is_discardable && kind.is_some() {
            let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
            let goes = horizon.is_some_and(|horizon| horizon <= self.now);
            let segment = self.segment();
            segment.is_to_change |= goes || horizon.is_none();
            segment.markers += u64::from(goes);
        }
    }

    fn end_transaction(&mut self, producer_id: i64, marker: Offset, is_abort: bool) {
        let ended = self.open.remove(&producer_id);
        if let Some(open) = ended.filter(|_| is_abort) {
            self.aborted.add(producer_id, open.first, marker);
            self.aborted_numbers.extend(open.numbers);
        }
    }

    fn pass_records(
        &mut self,
        header: &BatchHeader,
        records: &[u8],
        first: u64,
        open_scratch: &mut OpenScratch<'_>,
    ) -> std::result::Result<(), Failed> {
        let mut cursor = RecordCursor::new(header);
        let mut number = first;
        while let Some(span) = cursor.next(records).map_err(Failed::Format)? {
            let record = span.record(records);
            match (record.key, record.value) {
                (None, _) => {
                    self.keyless.set(number);
                    self.going.set(number);
                }
                (Some(key), value) => {
                    self.keys.add(key, number, open_scratch).map_err(Failed::Disk)?;
                    if value.is_none() {
                        self.pass_tombstone(header, number);
                    }
                }
            }
            number += 1;
        }
        Ok(())
    }

    #[cold]
    fn pass_tombstone(&mut self, header: &BatchHeader, number: u64) {
        let (now, retention_ms) = (self.now, self.config.delete_retention_ms);
        let segment = self.segment();
        segment.has_tombstones = true;
        let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let is_legacy = header.magic != MAGIC_V2;
        let goes = match horizon {
            Some(horizon) => horizon <= now,
            None => is_legacy && !segment.keeps_legacy_tombstones,
        };
        if goes {
            self.expired.set(number);
            return;
        }
        segment.is_to_change |= horizon.is_none() && !is_legacy;
        let until = horizon.unwrap_or(Timestamp(now.0.saturating_add(retention_ms)));
        self.tombstones_until = self.tombstones_until.into_iter().chain([until]).min();
    }

    /// Reads what is not compacted: which producers write there, and how transactions end.
    fn read_on(&mut self, view: &LogView, from: Offset) -> Result<()> {
        let (mut reader, mut buffer) = (LogReader::new(view.clone(), CHUNK), RecordBuffer::default());
        reader.seek(from);
        loop {
            match reader.next()? {
                Next::Batch(header) => {
                    self.producers.pass(&header);
                    let id = header.producer_id;
                    if header.attributes.is_control() {
                        let kind = control_type(&mut buffer, &reader, &header)?;
                        if !matches!(kind, Some(ControlType::Other(_))) {
                            self.end_transaction(id, header.base_offset, kind == Some(ControlType::Abort));
                        }
                    } else if header.attributes.is_transactional() {
                        let (first, numbers) = (header.base_offset, Vec::new());
                        self.open.entry(id).or_insert(Open { producer_id: id, first, numbers });
                    }
                }
                Next::LogStartPassed { .. } => {}
                Next::End => return Ok(()),
            }
        }
    }

    fn finish(mut self, cleanable: &Cleanable, folder: &dyn Folder, watch: &Watch<'_>) -> Result<Survey> {
        self.producers.forget_before(self.now);
        self.segments.truncate(cleanable.segments.len());
        let end = self.segments.last().map_or(0, |segment| segment.numbers.end);
        let scratch_size = self.keys.scratch_size();
        // Before it is asked what is superseded: these supersede nothing.
        let mut aborted_records = Bits::default();
        for number in self.aborted_numbers.into_iter().flatten().filter(|&number| number < end) {
            if self.going.set(number) {
                aborted_records.set(number);
            }
        }
        let marked = self.keys.mark_superseded(end, &mut self.going, watch.is_stopped)?;
        marked.ok_or_else(|| source::interrupted(folder.path()))?;
        let mut expired = Bits::default();
        for number in self.expired.ones().take_while(|&number| number < end) {
            if self.going.set(number) {
                expired.set(number);
            }
        }
        let Self { segments, going, keyless, aborted, producers, tombstones_until, .. } = self;
        Ok(Survey {
            segments,
            going,
            expired,
            keyless,
            aborted_records,
            aborted,
            producers,
            tombstones_until,
            scratch_size,
        })
    }
}

enum Failed {
    Disk(DiskError),
    Format(FormatError),
}
