//! The encoder of record batches, with the headers of batches from Kafka as its template.
//!
//! `tests/data/kafka` is what Kafka's record classes wrote, `tests/data/compaction` is what a broker's cleaner found and
//! left (see `ORIGIN.md` there).

#![allow(clippy::disallowed_methods, reason = "a test reads its data directly")]

use kdir::format::batch::{BatchBuilder, compressor};
use kdir::format::compression::{Codec, Compression, Decompressor};
use kdir::format::header::{Attributes, BATCH_HEADER_SIZE, BatchHeader, MAGIC_V2};
use kdir::format::legacy;
use kdir::format::record::{NewRecord, Record};
use kdir::format::record_cursor::RecordCursor;
use kdir::units::Timestamp;
use std::fs;
use std::path::{Path, PathBuf};

const PLAIN_SIZE_MAX: usize = 16 << 20;

/// A batch of a log, its records decompressed and in format v2.
struct Batch {
    /// The header as it is in the file.
    stored: BatchHeader,
    bytes: Vec<u8>,
    /// The header that the records go by.
    header: BatchHeader,
    records: Vec<u8>,
}

impl Batch {
    fn parse(bytes: &[u8]) -> Self {
        let stored = BatchHeader::parse(bytes).unwrap();
        let bytes = bytes[..stored.size].to_vec();
        let (mut records, mut decompressor) = (Vec::new(), Decompressor::default());
        let mut header = stored;
        if stored.magic == MAGIC_V2 {
            let codec = stored.attributes.codec().unwrap();
            let stream = &bytes[BATCH_HEADER_SIZE..];
            if stored.record_count > 0 {
                decompressor.decompress(codec, 2, stream, &mut records, PLAIN_SIZE_MAX).unwrap();
            }
        } else {
            let mut inside = Vec::new();
            let made =
                legacy::to_records(&stored, &bytes, &mut decompressor, &mut inside, PLAIN_SIZE_MAX, &mut records);
            header = made.unwrap();
        }
        Self { stored, bytes, header, records }
    }

    fn codec(&self) -> Codec {
        self.stored.attributes.codec().unwrap()
    }

    fn records(&self) -> Vec<Record<'_>> {
        let (mut cursor, mut records) = (RecordCursor::new(&self.header), Vec::new());
        while let Some(span) = cursor.next(&self.records).unwrap() {
            records.push(span.record(&self.records));
        }
        records
    }

    /// Offset, timestamp and parts of each record, as a consumer gets them.
    fn consumed(&self) -> Vec<String> {
        let consumed = |record: &Record<'_>| {
            let offset = self.header.base_offset.0 + i64::from(record.offset_delta);
            let Timestamp(timestamp) = self.header.record_timestamp(record.timestamp_delta);
            let headers: Vec<_> = record.headers.iter().collect();
            format!("{offset} {timestamp} {:?} {:?} {headers:?}", record.key, record.value)
        };
        self.records().iter().map(consumed).collect()
    }
}

/// The logs in the folders of `tests/data/NAME` whose names `is_wanted` takes, and the batches of each.
fn logs(name: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<(PathBuf, Vec<Batch>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let listed = |path: &Path| -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let mut logs = Vec::new();
    for folder in listed(&root) {
        if !folder.is_dir() || !is_wanted(&folder.file_name().unwrap().to_string_lossy()) {
            continue;
        }
        for path in listed(&folder).into_iter().filter(|path| path.extension().is_some_and(|it| it == "log")) {
            let bytes = fs::read(&path).unwrap();
            let (mut rest, mut batches) = (&bytes[..], Vec::new());
            while !rest.is_empty() {
                let batch = Batch::parse(rest);
                rest = &rest[batch.stored.size..];
                batches.push(batch);
            }
            logs.push((path, batches));
        }
    }
    assert!(!logs.is_empty(), "there is no log in {}", root.display());
    logs
}

/// A batch of these records, with the stored timestamps that `timestamp` gives, by a builder that made another one before.
fn encoded(
    builder: &mut BatchBuilder,
    template: &BatchHeader,
    codec: Codec,
    records: &[Record<'_>],
    timestamp: impl Fn(&Record<'_>) -> Timestamp,
) -> Vec<u8> {
    builder.restart(template);
    for record in records {
        let headers: Vec<_> = record.headers.iter().collect();
        let (key, value) = (record.key, record.value);
        let new = NewRecord { timestamp: timestamp(record), key, value, headers: &headers };
        let size_with = builder.size_with(&new);
        builder.push_at(record.offset_delta, &new).unwrap();
        assert!(builder.size() >= size_with, "an offset that is left out can only make a record larger");
    }
    assert_eq!(builder.record_count() as usize, records.len());
    let mut compressor = compressor(Compression { codec, level: None });
    builder.finish(compressor.as_mut(), usize::MAX).unwrap().to_vec()
}

#[test]
fn every_batch_of_kafka_is_encoded_again_as_it_was() {
    let mut builder = BatchBuilder::new(0);
    let (mut identical, mut compressed, mut older) = (0, 0, 0);
    for (path, batches) in [logs("kafka", |_| true), logs("compaction", |_| true)].into_iter().flatten() {
        for batch in batches {
            let place = format!("{} at offset {}", path.display(), batch.stored.base_offset);
            let stored_timestamp =
                |it: &Record<'_>| Timestamp(batch.header.base_timestamp.0.wrapping_add(it.timestamp_delta));
            let bytes = encoded(&mut builder, &batch.header, batch.codec(), &batch.records(), stored_timestamp);
            let again = Batch::parse(&bytes);
            assert!(kdir::format::header::checksum_matches(&again.stored, &bytes), "{place}");
            assert_eq!(again.consumed(), batch.consumed(), "{place}");
            if batch.stored.magic != MAGIC_V2 {
                assert_eq!(again.stored.magic, MAGIC_V2, "{place}");
                older += 1;
            } else if batch.codec() == Codec::None || batch.stored.record_count == 0 {
                assert!(bytes == batch.bytes, "{place}: {:?} is not {:?}", again.stored, batch.stored);
                identical += 1;
            } else {
                let BatchHeader { size, crc, .. } = batch.stored;
                assert_eq!(BatchHeader { size, crc, ..again.stored }, batch.stored, "{place}");
                assert!(again.records == batch.records, "{place}: other bytes of records");
                compressed += 1;
            }
        }
    }
    assert!(identical > 100 && compressed > 50 && older > 100, "{identical}, {compressed}, {older}");
}

#[test]
fn a_batch_that_compaction_thinned_out_is_encoded_as_by_kafkas_cleaner() {
    let mut builder = BatchBuilder::new(0);
    let (mut thinned, mut emptied, mut with_horizon, mut with_append_time) = (0, 0, 0, 0);
    for round in ["round-1", "round-2", "round-3", "log-append-time"] {
        let batches = |state: &str| -> Vec<Batch> {
            let logs = logs("compaction", |name| name == format!("{round}.{state}"));
            logs.into_iter().flat_map(|(_, batches)| batches).collect()
        };
        let (before, after) = (batches("before"), batches("after"));
        for after in after {
            let found = before.iter().find(|it| it.stored.base_offset == after.stored.base_offset);
            let before = found.expect("the cleaner leaves base offsets as they were");
            let place = format!("{round} at offset {}", after.stored.base_offset);
            if after.bytes == before.bytes {
                continue;
            }
            let stays = |delta: i32| after.records().iter().any(|it| it.offset_delta == delta);
            let kept: Vec<_> = before.records().into_iter().filter(|it| stays(it.offset_delta)).collect();
            let mut template = before.header;
            if after.stored.attributes.has_delete_horizon() {
                template.attributes = template.attributes.with_delete_horizon();
                template.base_timestamp = after.stored.base_timestamp;
            }
            // The cleaner stores the timestamps that a reader sees.
            let seen = |it: &Record<'_>| before.header.record_timestamp(it.timestamp_delta);
            let bytes = encoded(&mut builder, &template, before.codec(), &kept, seen);
            if after.codec() == Codec::None {
                assert!(bytes == after.bytes, "{place}: {:?} is not {:?}", Batch::parse(&bytes).stored, after.stored);
            } else {
                let (again, BatchHeader { size, crc, .. }) = (Batch::parse(&bytes), after.stored);
                assert_eq!(BatchHeader { size, crc, ..again.stored }, after.stored, "{place}");
                assert!(again.records == after.records, "{place}: other bytes of records");
            }
            thinned += usize::from(kept.len() < before.records().len());
            emptied += usize::from(kept.is_empty());
            with_horizon += usize::from(after.stored.attributes.has_delete_horizon());
            with_append_time += usize::from(after.stored.attributes.is_log_append_time());
        }
    }
    let counts = [thinned, emptied, with_horizon, with_append_time];
    assert!(counts.iter().all(|&count| count > 0), "{counts:?}");
}

#[test]
fn every_batch_of_an_older_format_becomes_one_batch_v2_with_its_offsets_and_flags() {
    for (path, batches) in logs("kafka", |name| name.starts_with("v0") || name.starts_with("v1")) {
        for batch in batches {
            let place = format!("{} at offset {}", path.display(), batch.stored.base_offset);
            let stored_timestamp =
                |it: &Record<'_>| Timestamp(batch.header.base_timestamp.0.wrapping_add(it.timestamp_delta));
            let mut builder = BatchBuilder::from_template(&batch.header);
            let bytes = encoded(&mut builder, &batch.header, Codec::None, &batch.records(), stored_timestamp);
            let made = BatchHeader::parse(&bytes).unwrap();
            assert_eq!(made.base_offset, batch.header.base_offset, "{place}");
            assert_eq!(made.last_offset(), batch.header.last_offset(), "{place}");
            let is_log_append_time = batch.stored.attributes.is_log_append_time();
            let flags = if is_log_append_time { Attributes::PLAIN.with_log_append_time() } else { Attributes::PLAIN };
            assert_eq!(made.attributes, flags, "{place}");
            assert_eq!((made.producer_id, made.producer_epoch, made.base_sequence), (-1, -1, -1), "{place}");
        }
    }
}
