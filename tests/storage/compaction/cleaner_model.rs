//! A plain and slow model of Kafka's log cleaner: whole segments in memory, batch by batch, as Kafka 4.3 has it.
//!
//! It knows nothing of the library's compaction, so each can be held against the other. `golden.rs` holds it against what
//! brokers wrote. Where it is meant to differ from a broker:
//! - [`GroupEnd::EachGroup`] keeps a batch at the end of each group. Where that is an old message that is rewritten, it keeps
//!   its last offset.
//! - A message of an old format that must stay although it has no record left becomes an empty batch v2 from its first
//!   offset to its last. A broker throws an exception there and marks the partition uncleanable.
//! - The map of keys has no limit, and holds the keys themselves.

use super::bytes::{Aborted, Batch, CONTROL, Fields, HORIZON, LOG_APPEND_TIME, Record, TRANSACTIONAL};
use super::bytes::{batches, encoded, indexes};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A producer that has written nothing for so long is forgotten, `producer.id.expiration.ms`.
const PRODUCER_EXPIRATION_MS: i64 = 86_400_000;

pub(crate) struct ModelConfig {
    pub(crate) delete_retention_ms: i64,
    pub(crate) segment_bytes: u64,
    pub(crate) segment_index_bytes: u64,
    pub(crate) index_interval_bytes: u64,
    pub(crate) now_ms: i64,
    /// Everything below was cleaned before.
    pub(crate) first_dirty: i64,
    /// The first offset that is not cleaned: the base offset of a segment, or the end of the log.
    pub(crate) limit: i64,
    pub(crate) log_start: i64,
    pub(crate) group_end_rule: GroupEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GroupEnd {
    /// Kafka 4.3: the batch whose next offset is the limit is kept, empty if need be.
    AsBroker,
    /// The last batch of each group of segments is kept as well, empty if need be.
    EachGroup,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelSegment {
    pub(crate) base: i64,
    pub(crate) mtime_ms: i64,
    pub(crate) log: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) timeindex: Vec<u8>,
    /// Empty where there is no file.
    pub(crate) txnindex: Vec<u8>,
}

/// A group of segments after the round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cleaned {
    pub(crate) base: i64,
    /// The base offsets of the segments that the group had.
    pub(crate) olds: Vec<i64>,
    pub(crate) files: ModelSegment,
    /// Whether a batch was removed or rewritten.
    pub(crate) changed: bool,
}

struct Segment<'a> {
    files: &'a ModelSegment,
    batches: Vec<Batch>,
    aborted: Vec<Aborted>,
    /// The base offset of the next one.
    end: i64,
}

impl Segment<'_> {
    fn next_offset(&self) -> i64 {
        self.batches.last().map_or(self.files.base, |batch| batch.fields.next())
    }
}

fn decoded(segments: &[ModelSegment]) -> Vec<Segment<'_>> {
    let ends = segments.iter().skip(1).map(|it| it.base).chain([i64::MAX]);
    let mut log = Vec::new();
    for (files, end) in segments.iter().zip(ends) {
        log.push(Segment { files, batches: batches(&files.log), aborted: Aborted::all(&files.txnindex), end });
    }
    log
}

/// What a pass over the log knows of transactions: `CleanedTransactionMetadata`.
#[derive(Default)]
struct Transactions {
    /// By first offset.
    coming: Vec<Aborted>,
    /// By producer, and whether a batch of it was seen.
    ongoing: HashMap<i64, (Aborted, bool)>,
    /// The producers of which a batch was seen that is not of an aborted transaction, since their last marker.
    committed: HashSet<i64>,
    /// Of the markers that are kept because of a batch that was seen.
    index: Vec<Aborted>,
}

impl Transactions {
    fn add(&mut self, aborted: impl IntoIterator<Item = Aborted>) {
        self.coming.extend(aborted);
        self.coming.sort_by_key(|it| it.first);
    }

    fn go_to(&mut self, offset: i64) {
        while self.coming.first().is_some_and(|it| it.first <= offset) {
            let it = self.coming.remove(0);
            self.ongoing.entry(it.producer_id).or_insert((it, false));
        }
    }

    /// Whether the batch may be discarded.
    fn see(&mut self, batch: &Batch) -> bool {
        self.go_to(batch.fields.last);
        let producer = batch.fields.producer_id;
        if batch.fields.has(CONTROL) {
            return match marker(batch) {
                None => true,
                Some(Marker::Abort) => match self.ongoing.remove(&producer) {
                    Some((aborted, true)) => {
                        self.index.push(aborted);
                        false
                    }
                    _ => true,
                },
                Some(Marker::Commit) => !self.committed.remove(&producer),
                Some(Marker::Other) => false,
            };
        }
        if !batch.fields.has(TRANSACTIONAL) {
            return false;
        }
        if let Some((_, is_seen)) = self.ongoing.get_mut(&producer) {
            *is_seen = true;
            return true;
        }
        self.committed.insert(producer);
        false
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Abort,
    Commit,
    Other,
}

/// Nothing for an empty control batch.
fn marker(batch: &Batch) -> Option<Marker> {
    let key = batch.records.first()?.key.as_ref().unwrap();
    Some(match i16::from_be_bytes([key[2], key[3]]) {
        0 => Marker::Abort,
        1 => Marker::Commit,
        _ => Marker::Other,
    })
}

/// The aborted transactions that begin below `upper`, from the indexes of these segments.
fn aborted(segments: &[Segment<'_>], log_start: i64, upper: i64) -> Vec<Aborted> {
    let mut found = Vec::new();
    for it in segments.iter().flat_map(|segment| &segment.aborted) {
        if it.last >= log_start && it.first < upper {
            found.push(*it);
        }
        if it.last_stable >= upper {
            break;
        }
    }
    found
}

/// A producer at the end of the log.
struct Producer {
    epoch: i16,
    /// Of its last batch with this epoch that is not a control batch.
    last_data: Option<i64>,
    timestamp: i64,
    is_open: bool,
}

/// The producers that are not expired.
fn producers(log: &[Segment<'_>], now_ms: i64) -> HashMap<i64, Producer> {
    let mut found: HashMap<i64, Producer> = HashMap::new();
    for fields in log.iter().flat_map(|segment| &segment.batches).map(|batch| &batch.fields) {
        if fields.producer_id < 0 {
            continue;
        }
        let epoch = fields.producer_epoch;
        let new = Producer { epoch, last_data: None, timestamp: -1, is_open: false };
        let producer = found.entry(fields.producer_id).or_insert(new);
        if producer.epoch != epoch {
            (producer.epoch, producer.last_data) = (epoch, None);
        }
        if !fields.has(CONTROL) {
            producer.last_data = Some(fields.last);
        }
        producer.is_open = fields.has(TRANSACTIONAL) && !fields.has(CONTROL);
        producer.timestamp = fields.max_timestamp;
    }
    found.retain(|_, it| it.is_open || now_ms - it.timestamp < PRODUCER_EXPIRATION_MS);
    found
}

/// The producers that are not expired: epoch, and the last offset of the last batch with that epoch that is not a control
/// batch.
pub(crate) fn producer_states(segments: &[ModelSegment], now_ms: i64) -> BTreeMap<i64, (i16, Option<i64>)> {
    let states = producers(&decoded(segments), now_ms).into_iter();
    states.map(|(id, it)| (id, (it.epoch, it.last_data))).collect()
}

/// What both passes go by.
struct Round<'a> {
    config: &'a ModelConfig,
    log: Vec<Segment<'a>>,
    /// The newest offset of each key of the dirty part.
    newest: HashMap<Vec<u8>, i64>,
    /// The last offset that the map covers.
    latest: i64,
    producers: HashMap<i64, Producer>,
    /// A segment of the old formats keeps its tombstones if it is younger.
    legacy_horizon_ms: i64,
}

/// Cleans a log, of which `segments` are all; the active one is the last. The groups, and the next first dirty offset.
pub(crate) fn clean(segments: &[ModelSegment], config: &ModelConfig) -> (Vec<Cleaned>, i64) {
    let log = decoded(segments);
    let is_dirty = |segment: &Segment<'_>| segment.files.base < config.limit && segment.end > config.first_dirty;
    let Some(first) = log.iter().position(is_dirty) else { return (Vec::new(), config.first_dirty) };
    let mut transactions = Transactions::default();
    transactions.add(aborted(&log[first..], config.log_start, config.limit));
    let mut newest = HashMap::new();
    for batch in log[first..].iter().filter(|it| is_dirty(it)).flat_map(|segment| &segment.batches) {
        if transactions.see(batch) || batch.fields.has(CONTROL) {
            continue;
        }
        for record in batch.records.iter().filter(|it| it.offset >= config.first_dirty) {
            if let Some(key) = &record.key {
                newest.insert(key.clone(), record.offset);
            }
        }
    }
    let producers = producers(&log, config.now_ms);
    let last_clean = segments.iter().rfind(|it| it.base < config.first_dirty);
    let legacy_horizon_ms = last_clean.map_or(0, |it| it.mtime_ms - config.delete_retention_ms);
    let round = Round { config, log, newest, latest: config.limit - 1, producers, legacy_horizon_ms };
    let mut transactions = Transactions::default();
    let cleaned = round.groups().into_iter().map(|group| round.clean_group(group, &mut transactions)).collect();
    (cleaned, config.limit)
}

impl Round<'_> {
    /// The segments below the end of the round, as ranges of those that become one.
    fn groups(&self) -> Vec<std::ops::Range<usize>> {
        let config = self.config;
        let count = self.log.iter().filter(|it| it.files.base <= self.latest).count();
        let sizes = |segment: &Segment<'_>| {
            let files = segment.files;
            [files.log.len() as u64, files.index.len() as u64, files.timeindex.len() as u64]
        };
        let most = [config.segment_bytes, config.segment_index_bytes, config.segment_index_bytes];
        let (mut groups, mut first) = (Vec::new(), 0);
        while first < count {
            let (mut end, mut sum) = (first + 1, sizes(&self.log[first]));
            while end < count {
                let more = sizes(&self.log[end]);
                let last = if end + 1 < count { self.log[end + 1].files.base } else { config.limit } - 1;
                let is_near = more[0] == 0 || last - self.log[first].files.base <= i64::from(i32::MAX);
                if !is_near || (0..3).any(|at| sum[at] + more[at] > most[at]) {
                    break;
                }
                (0..3).for_each(|at| sum[at] += more[at]);
                end += 1;
            }
            groups.push(first..end);
            first = end;
        }
        groups
    }

    fn clean_group(&self, group: std::ops::Range<usize>, transactions: &mut Transactions) -> Cleaned {
        let segments = &self.log[group.clone()];
        let group_last = segments.iter().flat_map(|it| &it.batches).next_back().map(|batch| batch.fields.last);
        transactions.index.clear();
        let mut log = Vec::new();
        for (at, segment) in group.clone().zip(segments) {
            let upper = if at + 1 < group.end { segment.end } else { segment.next_offset() };
            transactions.add(aborted(&self.log[at..], self.config.log_start, upper));
            for batch in &segment.batches {
                log.extend(self.clean_batch(batch, segment, group_last, transactions.see(batch)).unwrap_or_default());
            }
        }
        let (first, last) = (&segments[0].files, &segments[segments.len() - 1].files);
        let (index, timeindex) = indexes(first.base, &batches(&log), self.config.index_interval_bytes);
        let mut txnindex = Vec::new();
        transactions.index.iter().for_each(|it| it.encode(&mut txnindex));
        let changed = log != segments.iter().flat_map(|it| it.files.log.iter().copied()).collect::<Vec<u8>>();
        let files = ModelSegment { base: first.base, mtime_ms: last.mtime_ms, log, index, timeindex, txnindex };
        Cleaned { base: first.base, olds: segments.iter().map(|it| it.files.base).collect(), files, changed }
    }

    /// What is left of a batch.
    fn clean_batch(
        &self,
        batch: &Batch,
        segment: &Segment<'_>,
        group_last: Option<i64>,
        is_discardable: bool,
    ) -> Option<Vec<u8>> {
        let fields = &batch.fields;
        let is_control = fields.has(CONTROL);
        let is_past = fields.horizon().is_some_and(|horizon| horizon <= self.config.now_ms);
        let is_dropped = is_discardable && (!is_control || is_past);
        let is_kept = |record: &&Record| !is_dropped && (is_control || self.keeps(batch, segment, record));
        let kept: Vec<Record> = batch.records.iter().filter(is_kept).cloned().collect();
        let is_group_end = self.config.group_end_rule == GroupEnd::EachGroup && Some(fields.last) == group_last;
        if kept.is_empty() {
            let is_round_end = fields.next() == self.config.limit;
            return (self.is_last_of_producer(fields) || is_round_end || is_group_end).then(|| empty(fields));
        }
        let has_tombstone = kept.iter().any(|record| record.value.is_none());
        let needs_horizon = has_tombstone || is_control && is_discardable;
        let horizon = match fields.horizon() {
            None if needs_horizon && batch.magic == 2 => Some(self.config.now_ms + self.config.delete_retention_ms),
            horizon if kept.len() < batch.records.len() => horizon,
            _ => return Some(batch.raw.clone()),
        };
        Some(rebuilt(batch, &kept, horizon, is_group_end))
    }

    fn keeps(&self, batch: &Batch, segment: &Segment<'_>, record: &Record) -> bool {
        if record.offset > self.latest {
            return true;
        }
        let Some(key) = &record.key else { return false };
        let is_newest = self.newest.get(key).is_none_or(|&newest| record.offset >= newest);
        let keeps_tombstones = if batch.magic < 2 {
            segment.files.mtime_ms > self.legacy_horizon_ms
        } else {
            batch.fields.horizon().is_none_or(|horizon| self.config.now_ms < horizon)
        };
        is_newest && (record.value.is_some() || keeps_tombstones)
    }

    fn is_last_of_producer(&self, fields: &Fields) -> bool {
        let Some(producer) = self.producers.get(&fields.producer_id) else { return false };
        match producer.last_data {
            Some(last) => fields.last == last,
            None => fields.has(CONTROL) && fields.producer_epoch == producer.epoch,
        }
    }
}

/// The batch with these records. An old message is a batch of these records only, which may end with the group.
fn rebuilt(batch: &Batch, kept: &[Record], horizon: Option<i64>, is_group_end: bool) -> Vec<u8> {
    let mut fields = batch.fields.clone();
    if batch.magic < 2 {
        fields.base = kept[0].offset;
        if !is_group_end {
            fields.last = kept[kept.len() - 1].offset;
        }
    }
    fields.attributes = fields.attributes & !HORIZON | if horizon.is_some() { HORIZON } else { 0 };
    fields.base_timestamp = horizon.unwrap_or(kept[0].timestamp);
    if !fields.has(LOG_APPEND_TIME) {
        fields.max_timestamp = kept.iter().map(|record| record.timestamp).max().unwrap().max(-1);
    }
    encoded(&fields, kept)
}

/// The batch without records: no codec and no horizon.
fn empty(fields: &Fields) -> Vec<u8> {
    let attributes = fields.attributes & (LOG_APPEND_TIME | TRANSACTIONAL | CONTROL);
    encoded(&Fields { attributes, base_timestamp: -1, ..fields.clone() }, &[])
}

/// The segments of the log once each group is replaced.
pub(crate) fn replaced(segments: &[ModelSegment], cleaned: &[Cleaned]) -> Vec<ModelSegment> {
    let is_old = |segment: &&ModelSegment| cleaned.iter().any(|it| it.olds.contains(&segment.base));
    let left = segments.iter().filter(|it| !is_old(it));
    cleaned.iter().map(|it| &it.files).chain(left).cloned().collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Committed, or not of a transaction.
    Data,
    Control,
    Aborted,
    /// Of a transaction that has no marker.
    Open,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveRecord {
    pub(crate) record: Record,
    pub(crate) kind: Kind,
}

/// The records of a log, in order. What became of a transaction is what its marker says, not the transaction index.
pub(crate) fn live_records(segments: &[ModelSegment]) -> Vec<LiveRecord> {
    let all: Vec<Batch> = segments.iter().flat_map(|it| batches(&it.log)).collect();
    let (mut outcomes, mut found) = (HashMap::new(), Vec::new());
    for batch in all.iter().rev() {
        let producer = batch.fields.producer_id;
        let kind = if batch.fields.has(CONTROL) {
            match marker(batch) {
                Some(Marker::Abort) => drop(outcomes.insert(producer, Kind::Aborted)),
                Some(Marker::Commit) => drop(outcomes.insert(producer, Kind::Data)),
                _ => {}
            }
            Kind::Control
        } else if batch.fields.has(TRANSACTIONAL) {
            outcomes.get(&producer).copied().unwrap_or(Kind::Open)
        } else {
            Kind::Data
        };
        found.extend(batch.records.iter().rev().map(|record| LiveRecord { record: record.clone(), kind }));
    }
    found.reverse();
    found
}

/// The newest value of each key among the committed records below `limit`, without the keys that a tombstone removed.
pub(crate) fn newest_values(segments: &[ModelSegment], limit: i64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut newest = BTreeMap::new();
    for LiveRecord { record, kind } in live_records(segments) {
        let Some(key) = record.key.filter(|_| kind == Kind::Data && record.offset < limit) else { continue };
        match record.value {
            Some(value) => drop(newest.insert(key, value)),
            None => drop(newest.remove(&key)),
        }
    }
    newest
}

/// Compares two logs batch by batch: the bytes where nothing is compressed, else the fields and the records.
pub(crate) fn same_log(a: &[u8], b: &[u8]) -> Result<(), String> {
    let (a, b) = (batches(a), batches(b));
    for (a, b) in a.iter().zip(&b) {
        let is_compressed = a.fields.attributes & 7 != 0 && a.magic == 2;
        let is_same = (a.magic, &a.fields, &a.records) == (b.magic, &b.fields, &b.records);
        if !is_same || !is_compressed && a.raw != b.raw {
            return Err(format!("{a:?}\nis not\n{b:?}"));
        }
    }
    if a.len() != b.len() {
        let more = a.get(b.len()).or(b.get(a.len())).unwrap();
        return Err(format!("{} batches are not {}: only one has {:?}", a.len(), b.len(), more.fields));
    }
    Ok(())
}

/// A batch of `cleaned` that has the fields and records of one before has its bytes, however they were compressed.
pub(crate) fn unchanged_are_verbatim(before: &[ModelSegment], cleaned: &[u8]) -> Result<(), String> {
    let before: Vec<Batch> = before.iter().flat_map(|it| batches(&it.log)).collect();
    for after in batches(cleaned) {
        let same = before
            .iter()
            .find(|it| (it.magic, &it.fields, &it.records) == (after.magic, &after.fields, &after.records));
        if same.is_some_and(|it| it.raw != after.raw) {
            return Err(format!("needlessly compressed again: {:?}", after.fields));
        }
    }
    Ok(())
}
