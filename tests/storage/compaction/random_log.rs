//! Random logs for the cleaner, by seed: small, sound to a strict reader, and with everything in them that a cleaner meets.
#![allow(clippy::disallowed_methods, reason = "a log is written to a real folder too")]

use super::bytes::{
    Aborted, CONTROL, Fields, HORIZON, LOG_APPEND_TIME, Record, TRANSACTIONAL, batches, encoded, encoded_message,
    encoded_wrapper, indexes,
};
use super::cleaner_model::{GroupEnd, ModelConfig, ModelSegment, clean, replaced};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// When the first record of a log is written.
const START_MS: i64 = 1_700_000_000_000;
const INTERVALS: [u64; 4] = [0, 200, 700, 4096];
const CODECS: i16 = 5;

/// Splitmix64.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Whether something happens that does so once in `times`.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

pub(crate) struct RandomLog {
    /// All of them; the active one is the last, and may be empty.
    pub(crate) segments: Vec<ModelSegment>,
    /// A time at which the log can be cleaned: later than all records.
    pub(crate) now_ms: i64,
    pub(crate) log_end: i64,
    /// The last stable offset.
    pub(crate) last_stable: i64,
    /// Everything below was cleaned, by the model.
    pub(crate) first_dirty: i64,
    pub(crate) index_interval_bytes: u64,
}

impl RandomLog {
    /// The limits that a round can have: the bases of segments up to the last stable offset, without the first.
    pub(crate) fn limits(&self) -> Vec<i64> {
        let bases = self.segments.iter().skip(1).map(|it| it.base);
        bases.filter(|&base| base <= self.last_stable && base > self.first_dirty).collect()
    }

    /// A configuration that suits this log; none where nothing can be cleaned. It mostly cleans as far as it can.
    pub(crate) fn config(&self, random: &mut Random) -> Option<ModelConfig> {
        let limits = self.limits();
        let highest = *limits.last()?;
        Some(ModelConfig {
            delete_retention_ms: random.of(&[0, 1000, 20_000, 86_400_000]),
            segment_bytes: random.of(&[1, 1500, 6000, 1 << 20]),
            segment_index_bytes: random.of(&[24, 120, 10 << 20]),
            index_interval_bytes: self.index_interval_bytes,
            now_ms: self.now_ms,
            first_dirty: self.first_dirty,
            limit: if random.one_in(3) { random.of(&limits) } else { highest },
            log_start: self.segments[0].base,
            group_end_rule: random.of(&[GroupEnd::AsBroker, GroupEnd::EachGroup]),
        })
    }
}

struct Producer {
    id: i64,
    epoch: i16,
    sequence: i32,
    is_transactional: bool,
    /// Whether markers have the next epoch, as with transaction version 2.
    bumps_epoch: bool,
    open_since: Option<i64>,
}

struct Writer {
    random: Random,
    segments: Vec<ModelSegment>,
    producers: Vec<Producer>,
    /// The next offset.
    next: i64,
    time: i64,
    key_count: u64,
    append_time: bool,
    leader_epoch: i32,
    interval: u64,
    /// Whether there are delete horizons before the first round.
    has_horizons: bool,
    value_number: u64,
}

/// The log of a seed.
pub(crate) fn random_log(seed: u64) -> RandomLog {
    let mut random = Random::new(seed);
    let next = if random.one_in(3) { random.below(1000) as i64 } else { 0 };
    let producers = (0..random.below(5)).map(|at| Producer {
        id: 1000 + at as i64,
        epoch: random.below(3) as i16,
        sequence: 0,
        is_transactional: at > 0,
        bumps_epoch: random.one_in(2),
        open_since: None,
    });
    let mut writer = Writer {
        producers: producers.collect(),
        segments: Vec::new(),
        next,
        time: START_MS,
        key_count: 1 + random.below(12),
        append_time: random.one_in(6),
        leader_epoch: 0,
        interval: random.of(&INTERVALS),
        has_horizons: random.one_in(2),
        value_number: 0,
        random,
    };
    writer.roll();
    if writer.random.one_in(4) {
        writer.write_messages();
    }
    for _ in 0..5 + writer.random.below(60) {
        writer.step();
    }
    if writer.random.one_in(4) {
        writer.roll();
    }
    writer.finished()
}

impl Writer {
    fn roll(&mut self) {
        let mut segment = ModelSegment {
            base: self.next,
            mtime_ms: self.time,
            log: Vec::new(),
            index: Vec::new(),
            timeindex: Vec::new(),
            txnindex: Vec::new(),
        };
        if let Some(last) = self.segments.last_mut() {
            last.mtime_ms = self.time;
            // A segment that is never written to would have the base of the next one.
            if last.base == self.next {
                segment.base += 1;
                self.next += 1;
            }
        }
        self.segments.push(segment);
    }

    fn step(&mut self) {
        self.time += self.random.of(&[0, 1, 500, 60_000, 7_000_000]);
        match self.random.below(24) {
            0..=7 => self.write_plain(),
            8..=10 => self.write_of_producer(false),
            11..=15 => self.write_of_producer(true),
            16..=18 => self.end_transaction(),
            19 => self.write_empty(),
            20 => self.next += 1 + self.random.below(4) as i64,
            21 => self.append_time ^= self.random.one_in(3),
            _ => self.roll(),
        }
    }

    fn append(&mut self, raw: &[u8], next: i64) {
        self.segments.last_mut().unwrap().log.extend_from_slice(raw);
        self.next = next;
    }

    fn key(&mut self) -> Option<Vec<u8>> {
        (!self.random.one_in(12)).then(|| format!("k{}", self.random.below(self.key_count)).into_bytes())
    }

    /// Records for a batch, some of which were cleaned away if `has_holes`; and the last offset of the batch.
    fn records(&mut self, has_holes: bool) -> (Vec<Record>, i64) {
        let count = 1 + self.random.below(6) as i64;
        let mut records = Vec::new();
        for offset in self.next..self.next + count {
            self.value_number += 1;
            let value = format!("v{}", self.value_number).repeat(self.random.of(&[1, 1, 1, 7, 60])).into_bytes();
            let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x")), (b"", None), (b"h", Some(b""))];
            let headers = &headers[..self.random.of(&[0, 0, 0, 1, 3])];
            records.push(Record {
                offset,
                timestamp: self.time + self.random.below(2000) as i64 - 1000,
                key: self.key(),
                value: (!self.random.one_in(5)).then_some(value),
                headers: headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
            });
        }
        if has_holes {
            let spared = self.next + self.random.below(count as u64) as i64;
            records.retain(|it| it.offset == spared || !self.random.one_in(3));
        }
        (records, self.next + count - 1)
    }

    /// Fills in the timestamps and flags that any batch has, and appends it.
    fn write(&mut self, fields: Fields, mut records: Vec<Record>) {
        let mut fields = fields;
        self.leader_epoch += i32::from(self.random.one_in(20));
        fields.leader_epoch = self.leader_epoch;
        let newest = records.iter().map(|it| it.timestamp).max();
        fields.max_timestamp = newest.unwrap_or(self.time);
        fields.base_timestamp = records.first().map_or(-1, |it| it.timestamp);
        let is_control = fields.has(CONTROL);
        if self.append_time && !is_control {
            fields.attributes |= LOG_APPEND_TIME;
            fields.max_timestamp = self.time;
            // A producer's times are still in the records until a batch is rewritten.
            if self.random.one_in(2) {
                records.iter_mut().for_each(|it| it.timestamp = self.time);
            }
        }
        // A batch of a transaction that may be open has none.
        let may_have_horizon = is_control || !fields.has(TRANSACTIONAL);
        if !records.is_empty() && may_have_horizon && self.has_horizons && self.random.one_in(3) {
            fields.attributes |= HORIZON;
            fields.base_timestamp = self.time + self.random.of(&[0, 1000, 10_000_000, 1_000_000_000]);
        }
        let next = fields.next();
        self.append(&encoded(&fields, &records), next);
    }

    fn codec(&mut self) -> i16 {
        if self.random.one_in(2) { 0 } else { self.random.below(CODECS as u64) as i16 }
    }

    fn write_plain(&mut self) {
        let has_holes = self.random.one_in(5);
        let (records, last) = self.records(has_holes);
        let attributes = self.codec();
        self.write(Fields { attributes, ..Fields::plain(self.next, last) }, records);
    }

    fn write_of_producer(&mut self, is_transactional: bool) {
        let fitting = |it: &usize| self.producers[*it].is_transactional == is_transactional;
        let fitting: Vec<usize> = (0..self.producers.len()).filter(fitting).collect();
        if fitting.is_empty() {
            return self.write_plain();
        }
        let at = self.random.of(&fitting);
        let (records, last) = self.records(false);
        let attributes = self.codec() | if is_transactional { TRANSACTIONAL } else { 0 };
        let producer = &mut self.producers[at];
        let fields = Fields {
            attributes,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            sequence: producer.sequence,
            ..Fields::plain(self.next, last)
        };
        producer.sequence += (last - self.next + 1) as i32;
        if is_transactional {
            producer.open_since.get_or_insert(self.next);
        }
        self.write(fields, records);
    }

    /// Commits or aborts a transaction, or leaves a marker of one without records.
    fn end_transaction(&mut self) {
        let is_open = |at: &usize| self.producers[*at].open_since.is_some();
        let open: Vec<usize> = (0..self.producers.len()).filter(is_open).collect();
        let any: Vec<usize> = (0..self.producers.len()).filter(|at| self.producers[*at].is_transactional).collect();
        let choices = if open.is_empty() || self.random.one_in(8) { any } else { open };
        if choices.is_empty() {
            return self.write_plain();
        }
        let at = self.random.of(&choices);
        let is_commit = self.random.one_in(2);
        let marker = self.next;
        let producer = &mut self.producers[at];
        let since = producer.open_since.take();
        if producer.bumps_epoch {
            (producer.epoch, producer.sequence) = (producer.epoch + 1, 0);
        }
        let (producer_id, producer_epoch) = (producer.id, producer.epoch);
        if let (Some(first), false) = (since, is_commit) {
            let others = self.producers.iter().filter_map(|it| it.open_since);
            let last_stable = others.min().unwrap_or(marker + 1);
            let aborted = Aborted { producer_id, first, last: marker, last_stable };
            aborted.encode(&mut self.segments.last_mut().unwrap().txnindex);
        }
        let record = Record {
            offset: marker,
            timestamp: self.time,
            key: Some(vec![0, 0, 0, u8::from(is_commit)]),
            value: Some(vec![0, 0, 0, 0, 0, 1]),
            headers: Vec::new(),
        };
        let attributes = TRANSACTIONAL | CONTROL;
        let fields = Fields { attributes, producer_id, producer_epoch, ..Fields::plain(marker, marker) };
        self.write(fields, vec![record]);
    }

    /// A batch without records, as a cleaner leaves it.
    fn write_empty(&mut self) {
        let last = self.next + self.random.below(4) as i64;
        let mut fields = Fields::plain(self.next, last);
        if let Some(producer) = self.producers.first_mut().filter(|it| !it.is_transactional) {
            (fields.producer_id, fields.producer_epoch) = (producer.id, producer.epoch);
            fields.sequence = producer.sequence;
            producer.sequence += (last - fields.base + 1) as i32;
        }
        self.write(fields, Vec::new());
    }

    /// One to three segments that begin with messages of an old format.
    fn write_messages(&mut self) {
        let magic = self.random.below(2) as u8;
        for _ in 0..1 + self.random.below(3) {
            for _ in 0..1 + self.random.below(12) {
                self.time += 300;
                self.write_message(magic);
            }
            if self.random.one_in(2) {
                self.roll();
            }
        }
    }

    fn write_message(&mut self, magic: u8) {
        let has_holes = self.random.one_in(3);
        let (mut records, last) = self.records(has_holes);
        for record in &mut records {
            record.headers.clear();
            record.timestamp = if magic == 0 { -1 } else { record.timestamp };
        }
        let append_time = u8::from(magic == 1 && self.append_time) << 3;
        let newest = records.iter().map(|it| it.timestamp).max().unwrap();
        let time = if append_time > 0 { self.time } else { newest };
        let codec = self.random.below(4) as u8;
        if codec > 0 {
            return self.append(&encoded_wrapper(magic, codec | append_time, time, &records), last + 1);
        }
        let single = Record { timestamp: time, ..records.swap_remove(0) };
        self.append(&encoded_message(magic, append_time, &single), single.offset + 1);
    }

    fn finished(mut self) -> RandomLog {
        self.segments.last_mut().unwrap().mtime_ms = self.time;
        for segment in &mut self.segments {
            (segment.index, segment.timeindex) = indexes(segment.base, &batches(&segment.log), self.interval);
        }
        let open = self.producers.iter().filter_map(|it| it.open_since);
        let mut log = RandomLog {
            last_stable: open.min().unwrap_or(self.next),
            first_dirty: self.segments[0].base,
            segments: self.segments,
            now_ms: self.time + 1000 + self.random.of(&[0, 30_000, 90_000_000]),
            log_end: self.next,
            index_interval_bytes: self.interval,
        };
        // A round in the middle of the log, or none.
        let config = log.config(&mut self.random).filter(|_| self.random.one_in(2));
        if let Some(config) = config {
            let limit = self.random.of(&log.limits());
            let (cleaned, end) = clean(&log.segments, &ModelConfig { limit, ..config });
            (log.segments, log.first_dirty) = (replaced(&log.segments, &cleaned), end);
            log.now_ms += self.random.of(&[1, 25_000, 90_000_000]);
        }
        log
    }
}

const EXTENSIONS: [&str; 4] = ["log", "index", "timeindex", "txnindex"];

/// The files of a segment, by name. There is no transaction index without entries.
pub(crate) fn files(segment: &ModelSegment) -> Vec<(String, &[u8])> {
    let contents = [&segment.log, &segment.index, &segment.timeindex, &segment.txnindex];
    let named = EXTENSIONS.into_iter().zip(contents).filter(|(it, bytes)| *it != "txnindex" || !bytes.is_empty());
    named.map(|(extension, bytes)| (format!("{:020}.{extension}", segment.base), &bytes[..])).collect()
}

/// Writes the segments into a folder of the disk, which is there, with their times, and syncs them.
pub(crate) fn write_to_disk(disk: &FaultyDisk, folder: &Path, segments: &[ModelSegment]) {
    for segment in segments {
        for (name, bytes) in files(segment) {
            let path = folder.join(name);
            let file = disk.open(&path, Access::New).unwrap();
            file.write_at(bytes, 0).unwrap();
            disk.set_modified_ms(&path, segment.mtime_ms);
            file.sync().unwrap();
        }
    }
    disk.open_folder(folder).unwrap().sync().unwrap();
}

/// Writes the segments into a real folder, which is there, with their times.
pub(crate) fn write_to_folder(folder: &Path, segments: &[ModelSegment]) {
    for segment in segments {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(segment.mtime_ms as u64);
        for (name, bytes) in files(segment) {
            let path = folder.join(name);
            fs::write(&path, bytes).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        }
    }
}
