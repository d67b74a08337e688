//! Batches and messages as bytes, decoded and encoded by hand: what the model of the cleaner and the random logs are made of.
//!
//! Only the codecs and checksums are those of the library.

use kdir::format::compression::{Codec, Compression, Compressor, Decompressor};
use kdir::format::crc::{crc32, crc32c};

pub(crate) const LOG_APPEND_TIME: i16 = 1 << 3;
pub(crate) const TRANSACTIONAL: i16 = 1 << 4;
pub(crate) const CONTROL: i16 = 1 << 5;
pub(crate) const HORIZON: i16 = 1 << 6;
const HEADER_SIZE: usize = 61;
const PLAIN_SIZE_MAX: usize = 64 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The header of a batch, without size, checksum and count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fields {
    pub(crate) base: i64,
    pub(crate) last: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) attributes: i16,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) sequence: i32,
}

impl Fields {
    /// A batch without a producer.
    pub(crate) const fn plain(base: i64, last: i64) -> Self {
        Self {
            base,
            last,
            leader_epoch: 0,
            attributes: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            sequence: -1,
        }
    }

    pub(crate) const fn has(&self, flag: i16) -> bool {
        self.attributes & flag != 0
    }

    pub(crate) fn codec(&self) -> Codec {
        Codec::from_attribute_bits((self.attributes & 7) as u8).unwrap()
    }

    pub(crate) fn horizon(&self) -> Option<i64> {
        self.has(HORIZON).then_some(self.base_timestamp)
    }

    pub(crate) const fn next(&self) -> i64 {
        self.last + 1
    }
}

/// A batch v2, or a message of an old format with what is inside it. An old message has the fields of a batch without
/// producer and leader epoch, from its first offset to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) magic: u8,
    pub(crate) fields: Fields,
    pub(crate) records: Vec<Record>,
    pub(crate) raw: Vec<u8>,
}

pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        self.at += count;
        &self.bytes[self.at - count..self.at]
    }

    pub(crate) fn i8(&mut self) -> i8 {
        self.take(1)[0] as i8
    }

    pub(crate) fn i16(&mut self) -> i16 {
        i16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    pub(crate) fn i32(&mut self) -> i32 {
        i32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    pub(crate) fn i64(&mut self) -> i64 {
        i64::from_be_bytes(self.take(8).try_into().unwrap())
    }

    fn varint(&mut self) -> i64 {
        let (mut zigzag, mut shift) = (0_u64, 0);
        loop {
            let byte = self.take(1)[0];
            zigzag |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
            }
            shift += 7;
        }
    }

    fn part(&mut self) -> Option<Vec<u8>> {
        let length = self.varint();
        (length >= 0).then(|| self.take(length as usize).to_vec())
    }

    fn legacy_part(&mut self) -> Option<Vec<u8>> {
        let length = self.i32();
        (length >= 0).then(|| self.take(length as usize).to_vec())
    }
}

fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag > 127 {
        out.push(zigzag as u8 | 128);
        zigzag >>= 7;
    }
    out.push(zigzag as u8);
}

fn put_part(out: &mut Vec<u8>, part: Option<&[u8]>) {
    put_varint(out, part.map_or(-1, |part| part.len() as i64));
    out.extend_from_slice(part.unwrap_or_default());
}

fn decompressed(codec: Codec, magic: u8, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    Decompressor::default().decompress(codec, magic, bytes, &mut plain, PLAIN_SIZE_MAX).unwrap();
    plain
}

fn compressed(codec: Codec, plain: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Compressor::new(Compression { codec, level: None }).compress(plain, &mut bytes).unwrap();
    bytes
}

/// The batches of a log. A size or checksum that is wrong is a panic.
pub(crate) fn batches(log: &[u8]) -> Vec<Batch> {
    let (mut found, mut rest) = (Vec::new(), log);
    while !rest.is_empty() {
        let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
        let raw;
        (raw, rest) = rest.split_at(size);
        found.push(if raw[16] == 2 { batch_v2(raw) } else { message_as_batch(raw) });
    }
    found
}

fn batch_v2(raw: &[u8]) -> Batch {
    let mut input = Input::new(raw);
    let (base, _size, leader_epoch, magic) = (input.i64(), input.i32(), input.i32(), input.i8());
    assert_eq!(input.i32() as u32, crc32c(&raw[21..]), "the checksum of the batch at {base}");
    let attributes = input.i16();
    let last = base + i64::from(input.i32());
    let (base_timestamp, max_timestamp) = (input.i64(), input.i64());
    let (producer_id, producer_epoch, sequence, count) = (input.i64(), input.i16(), input.i32(), input.i32());
    let fields = Fields {
        base,
        last,
        leader_epoch,
        attributes,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        sequence,
    };
    let mut records = Vec::new();
    if count > 0 {
        let plain = decompressed(fields.codec(), 2, &raw[HEADER_SIZE..]);
        let mut input = Input::new(&plain);
        while !input.is_empty() {
            let end = input.varint() as usize + input.at;
            assert_eq!(input.i8(), 0, "the attributes of a record");
            let timestamp = base_timestamp.wrapping_add(input.varint());
            let timestamp = if fields.has(LOG_APPEND_TIME) { max_timestamp } else { timestamp };
            let offset = base + input.varint();
            let (key, value) = (input.part(), input.part());
            let headers = (0..input.varint()).map(|_| (input.part().unwrap(), input.part())).collect();
            assert_eq!(input.at, end, "the size of the record at {offset}");
            records.push(Record { offset, timestamp, key, value, headers });
        }
    }
    assert_eq!(records.len(), count as usize, "the count of the batch at {base}");
    Batch { magic: magic as u8, fields, records, raw: raw.to_vec() }
}

/// A message of an old format: magic, attributes, and the record.
fn message(raw: &[u8]) -> (u8, i8, Record) {
    let mut input = Input::new(raw);
    let (offset, _size) = (input.i64(), input.i32());
    assert_eq!(input.i32() as u32, crc32(&raw[16..]), "the checksum of the message at {offset}");
    let (magic, attributes) = (input.i8() as u8, input.i8());
    let timestamp = if magic == 1 { input.i64() } else { -1 };
    let (key, value) = (input.legacy_part(), input.legacy_part());
    assert!(input.is_empty());
    (magic, attributes, Record { offset, timestamp, key, value, headers: Vec::new() })
}

fn message_as_batch(raw: &[u8]) -> Batch {
    let (magic, attributes, outer) = message(raw);
    let (offset, max_timestamp) = (outer.offset, outer.timestamp);
    let attributes = if magic == 0 { i16::from(attributes) & 7 } else { i16::from(attributes) & 15 };
    let mut fields = Fields { leader_epoch: -1, attributes, max_timestamp, ..Fields::plain(offset, offset) };
    let mut records = vec![outer];
    if fields.codec() != Codec::None {
        let plain = decompressed(fields.codec(), magic, records[0].value.as_ref().unwrap());
        let (mut rest, mut inside) = (&plain[..], Vec::new());
        while !rest.is_empty() {
            let size = 12 + u32::from_be_bytes(rest[8..12].try_into().unwrap()) as usize;
            inside.push(message(&rest[..size]).2);
            rest = &rest[size..];
        }
        let relative_last = inside.last().unwrap().offset;
        let added = if magic == 1 && offset > 0 { offset - relative_last } else { 0 };
        for record in &mut inside {
            record.offset += added;
            if fields.has(LOG_APPEND_TIME) {
                record.timestamp = max_timestamp;
            }
        }
        (fields.base, fields.last) = (inside[0].offset, inside.last().unwrap().offset);
        records = inside;
    }
    fields.base_timestamp = records[0].timestamp;
    Batch { magic, fields, records, raw: raw.to_vec() }
}

/// A batch v2 with these fields and records. The base and max timestamps are the caller's to know.
pub(crate) fn encoded(fields: &Fields, records: &[Record]) -> Vec<u8> {
    let mut plain = Vec::new();
    for record in records {
        let mut bytes = vec![0];
        put_varint(&mut bytes, record.timestamp.wrapping_sub(fields.base_timestamp));
        put_varint(&mut bytes, record.offset - fields.base);
        put_part(&mut bytes, record.key.as_deref());
        put_part(&mut bytes, record.value.as_deref());
        put_varint(&mut bytes, record.headers.len() as i64);
        for (name, value) in &record.headers {
            put_part(&mut bytes, Some(name));
            put_part(&mut bytes, value.as_deref());
        }
        put_varint(&mut plain, bytes.len() as i64);
        plain.extend_from_slice(&bytes);
    }
    let body = if records.is_empty() { Vec::new() } else { compressed(fields.codec(), &plain) };
    let mut raw = fields.base.to_be_bytes().to_vec();
    raw.extend_from_slice(&((HEADER_SIZE - 12 + body.len()) as i32).to_be_bytes());
    raw.extend_from_slice(&fields.leader_epoch.to_be_bytes());
    raw.extend_from_slice(&[2, 0, 0, 0, 0]);
    raw.extend_from_slice(&fields.attributes.to_be_bytes());
    raw.extend_from_slice(&((fields.last - fields.base) as i32).to_be_bytes());
    for field in [fields.base_timestamp, fields.max_timestamp, fields.producer_id] {
        raw.extend_from_slice(&field.to_be_bytes());
    }
    raw.extend_from_slice(&fields.producer_epoch.to_be_bytes());
    raw.extend_from_slice(&fields.sequence.to_be_bytes());
    raw.extend_from_slice(&(records.len() as i32).to_be_bytes());
    raw.extend_from_slice(&body);
    let checksum = crc32c(&raw[21..]);
    raw[17..21].copy_from_slice(&checksum.to_be_bytes());
    raw
}

/// A message of an old format that holds one record, or messages as its value.
pub(crate) fn encoded_message(magic: u8, attributes: u8, record: &Record) -> Vec<u8> {
    let mut body = vec![magic, attributes];
    if magic == 1 {
        body.extend_from_slice(&record.timestamp.to_be_bytes());
    }
    for part in [&record.key, &record.value] {
        body.extend_from_slice(&part.as_ref().map_or(-1, |part| part.len() as i32).to_be_bytes());
        body.extend_from_slice(part.as_deref().unwrap_or_default());
    }
    let mut raw = record.offset.to_be_bytes().to_vec();
    raw.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    raw.extend_from_slice(&crc32(&body).to_be_bytes());
    raw.extend_from_slice(&body);
    raw
}

/// A compressed message of an old format around these records; the times of those inside are kept with LogAppendTime too.
pub(crate) fn encoded_wrapper(magic: u8, attributes: u8, timestamp: i64, records: &[Record]) -> Vec<u8> {
    let (first, last) = (records[0].offset, records[records.len() - 1].offset);
    let removed = if magic == 0 { 0 } else { first };
    let inside = records
        .iter()
        .flat_map(|record| encoded_message(magic, 0, &Record { offset: record.offset - removed, ..record.clone() }));
    let plain: Vec<u8> = inside.collect();
    let value = compressed(Codec::from_attribute_bits(attributes & 7).unwrap(), &plain);
    let outer = Record { offset: last, timestamp, key: None, value: Some(value), headers: Vec::new() };
    encoded_message(magic, attributes, &outer)
}

/// An entry of a transaction index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aborted {
    pub(crate) producer_id: i64,
    pub(crate) first: i64,
    pub(crate) last: i64,
    pub(crate) last_stable: i64,
}

impl Aborted {
    pub(crate) fn all(txnindex: &[u8]) -> Vec<Self> {
        let (mut input, mut found) = (Input::new(txnindex), Vec::new());
        while !input.is_empty() {
            assert_eq!(input.i16(), 0, "the version of a transaction index entry");
            let (producer_id, first, last) = (input.i64(), input.i64(), input.i64());
            found.push(Self { producer_id, first, last, last_stable: input.i64() });
        }
        found
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0, 0]);
        for field in [self.producer_id, self.first, self.last, self.last_stable] {
            out.extend_from_slice(&field.to_be_bytes());
        }
    }
}

/// The offset index and the time index of a closed segment with these batches, by the rule that Kafka has since 4.1.
pub(crate) fn indexes(base: i64, batches: &[Batch], interval: u64) -> (Vec<u8>, Vec<u8>) {
    let (mut index, mut timeindex) = (Vec::new(), Vec::new());
    let (mut position, mut since) = (0_u64, 0_u64);
    let (mut newest, mut noted) = ((-1, -1), -1);
    let mut note = |newest: (i64, i64)| {
        if newest.0 > noted {
            timeindex.extend_from_slice(&newest.0.to_be_bytes());
            timeindex.extend_from_slice(&((newest.1 - base) as i32).to_be_bytes());
            noted = newest.0;
        }
    };
    for batch in batches {
        if batch.fields.max_timestamp > newest.0 {
            newest = (batch.fields.max_timestamp, batch.fields.last);
        }
        if since > interval {
            index.extend_from_slice(&((batch.fields.last - base) as i32).to_be_bytes());
            index.extend_from_slice(&(position as i32).to_be_bytes());
            note(newest);
            since = 0;
        }
        position += batch.raw.len() as u64;
        since += batch.raw.len() as u64;
    }
    note(newest);
    (index, timeindex)
}
