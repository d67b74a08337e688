//! What a compaction makes of one batch.
//!
//! - Where all of its records stay, and no delete horizon is to be set: itself, byte for byte.
//! - Where some stay, or a tombstone or marker is to wait: one with the same base offset, last offset, epoch, producer fields and
//!   codec, at the codec's default level. One of an old format becomes version 2, from its first record that stays on.
//! - Where none stays, but a producer goes on from it, or its group of segments ends with it: 61 bytes without records.
//! - Where none stays: nothing.
//!
//! A batch gets a delete horizon, `now` + `delete.retention.ms` in the place of the base timestamp, when it keeps a tombstone
//! or a marker of a transaction that nothing is left of, and has none. Once it has passed, these go.
//! Under `LogAppendTime` the records of a batch that is rewritten lose the times that their producer gave them, as with a
//! broker.
//! Source: `Cleaner.cleanInto`, `MemoryRecords.filterTo`.

use super::bits::Marks;
use super::ended::InTransaction;
use super::survey::{Survey, Surveyed};
use crate::format::FormatError;
use crate::format::batch_builder::{BatchBuilder, compressor};
use crate::format::compression::{Compression, Compressor};
use crate::format::header::{BatchHeader, MAGIC_V2};
use crate::format::record::NewRecord;
use crate::format::record_cursor::RecordCursor;
use crate::format::txn::{AbortedTransaction, ControlType};
use crate::storage::record_buffer::RecordBuffer;
use crate::units::{Offset, Timestamp};
use std::collections::HashMap;

/// What becomes of a batch.
pub(super) enum Becomes<'a> {
    /// It stays as it is.
    Itself,
    /// These bytes.
    Bytes(&'a [u8]),
    Nothing,
}

/// Goes through the batches of a group of segments, in order.
pub(super) struct BatchFilter<'a> {
    survey: &'a Survey,
    now: Timestamp,
    delete_retention_ms: i64,
    decompressed_size_max: usize,
    /// Where the last batch of the group ends.
    group_end: Offset,
    in_transaction: InTransaction,
    has_tombstones: bool,
    /// The number of the next record.
    next: u64,
    buffer: RecordBuffer,
    builder: BatchBuilder,
    compressors: HashMap<u8, Option<Compressor>>,
    /// The aborted transactions whose marker has stayed.
    pub(super) aborted: Vec<AbortedTransaction>,
}

impl<'a> BatchFilter<'a> {
    pub(super) fn new(
        survey: &'a Survey,
        (now, delete_retention_ms): (Timestamp, i64),
        decompressed_size_max: usize,
        group: &[Surveyed],
    ) -> Self {
        let has_batches = |segment: &&Surveyed| segment.batches_end > segment.source.segment.base_offset;
        let last = group.iter().rev().find(has_batches).or(group.first());
        Self {
            survey,
            now,
            delete_retention_ms,
            decompressed_size_max,
            group_end: last.map_or(Offset::ZERO, |segment| segment.batches_end),
            in_transaction: InTransaction::default(),
            has_tombstones: false,
            next: 0,
            buffer: RecordBuffer::default(),
            builder: BatchBuilder::new(0),
            compressors: HashMap::new(),
            aborted: Vec::new(),
        }
    }

    /// Goes on to a segment.
    pub(super) fn begin(&mut self, segment: &Surveyed) {
        self.in_transaction = segment.in_transaction.clone();
        self.has_tombstones = segment.has_tombstones;
        self.next = segment.numbers.start;
    }

    /// What becomes of the batch that comes next.
    pub(super) fn filter(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Becomes<'_>, FormatError> {
        if header.magic != MAGIC_V2 || header.attributes.is_control() {
            return self.filter_loaded(header, batch);
        }
        let count = u64::try_from(header.record_count).unwrap_or(0);
        let going = self.survey.going.count(self.next..self.next + count);
        if going == 0 && count > 0 && !self.has_tombstones {
            self.pass(header, count);
            return Ok(Becomes::Itself);
        }
        if going == count {
            self.pass(header, count);
            return self.emptied(header, count);
        }
        self.filter_loaded(header, batch)
    }

    fn pass(&mut self, header: &BatchHeader, count: u64) {
        self.in_transaction.pass_data(header);
        self.next += count;
    }

    /// What becomes of a batch without records that stay.
    fn emptied(&mut self, header: &BatchHeader, count: u64) -> Result<Becomes<'_>, FormatError> {
        let is_needed = self.survey.producers.go_on_from(header) || header.next_offset() == self.group_end;
        if !is_needed {
            return Ok(Becomes::Nothing);
        }
        if count == 0 && header.magic == MAGIC_V2 {
            return Ok(Becomes::Itself);
        }
        self.builder.restart(&BatchHeader { magic: MAGIC_V2, ..*header });
        Ok(Becomes::Bytes(self.builder.finish(None, usize::MAX)?))
    }

    fn filter_loaded(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Becomes<'_>, FormatError> {
        let loaded = self.buffer.load(header, batch, self.decompressed_size_max)?;
        let count = u64::try_from(loaded.record_count).unwrap_or(0);
        let first = self.next;
        let horizon = loaded.attributes.has_delete_horizon().then_some(loaded.base_timestamp);
        let mut is_waiting = false;
        if loaded.attributes.is_control() {
            self.next += count;
            match self.pass_marker(&loaded, batch)? {
                Marker::Stays => return Ok(Becomes::Itself),
                Marker::IsEmpty => return self.emptied(&loaded, 0),
                Marker::SpeaksOfNothing if horizon.is_some_and(|horizon| horizon <= self.now) => {
                    return self.emptied(&loaded, count);
                }
                Marker::SpeaksOfNothing if horizon.is_some() => return Ok(Becomes::Itself),
                Marker::SpeaksOfNothing => is_waiting = true,
            }
        } else {
            self.pass(&loaded, count);
        }
        let going = self.survey.going.count(first..first + count);
        if going == count {
            return self.emptied(&loaded, count);
        }
        let records = self.buffer.records(batch);
        if !is_waiting && horizon.is_none() && self.has_tombstones && header.magic == MAGIC_V2 {
            let mut cursor = RecordCursor::new(&loaded);
            let mut number = first;
            while let Some(span) = cursor.next(records)? {
                is_waiting |= span.record(records).value.is_none() && !self.survey.going.has(number);
                number += 1;
            }
        }
        if going == 0 && !is_waiting {
            return Ok(Becomes::Itself);
        }
        let mut template = BatchHeader { magic: MAGIC_V2, ..loaded };
        if is_waiting {
            template.attributes = template.attributes.with_delete_horizon();
            template.base_timestamp = Timestamp(self.now.0.saturating_add(self.delete_retention_ms));
        }
        self.build(template, &loaded, first, batch)
    }

    /// Makes a batch of the records that stay.
    fn build(
        &mut self,
        mut template: BatchHeader,
        loaded: &BatchHeader,
        first: u64,
        batch: &[u8],
    ) -> Result<Becomes<'_>, FormatError> {
        let records = self.buffer.records(batch);
        let (mut cursor, mut number) = (RecordCursor::new(loaded), first);
        let mut headers = Vec::new();
        let is_legacy = loaded.magic != MAGIC_V2;
        let mut is_begun = false;
        let end = first + u64::try_from(loaded.record_count).unwrap_or(0);
        while number < end {
            number += 1;
            if self.survey.going.has(number - 1) {
                cursor.skip(records)?;
                continue;
            }
            let Some(span) = cursor.next(records)? else { break };
            let record = span.record(records);
            if !is_begun {
                is_begun = true;
                if is_legacy {
                    template.base_offset = template.base_offset + i64::from(span.offset_delta);
                    // It ends with its last record that stays, unless the group ends with it.
                    let is_end = loaded.next_offset() == self.group_end;
                    let last = if is_end { loaded.last_offset() } else { template.base_offset };
                    template.last_offset_delta = (last - template.base_offset) as i32;
                }
                self.builder.restart(&template);
            }
            headers.clear();
            headers.extend(record.headers.iter());
            let delta = loaded.base_offset + i64::from(span.offset_delta) - template.base_offset;
            self.builder.push_at(
                delta as i32,
                &NewRecord {
                    timestamp: loaded.record_timestamp(span.timestamp_delta),
                    key: record.key,
                    value: record.value,
                    headers: &headers,
                },
            )?;
        }
        let codec = loaded.attributes.codec()?;
        let compressor = self
            .compressors
            .entry(codec.attribute_bits())
            .or_insert_with(|| compressor(Compression { codec, level: None }));
        Ok(Becomes::Bytes(self.builder.finish(compressor.as_mut(), usize::MAX)?))
    }

    /// Passes the marker of a transaction.
    fn pass_marker(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Marker, FormatError> {
        let records = self.buffer.records(batch);
        let Some(span) = RecordCursor::new(header).next(records)? else { return Ok(Marker::IsEmpty) };
        let kind = ControlType::parse(span.record(records).key.unwrap_or_default())?;
        if matches!(kind, ControlType::Other(_)) {
            return Ok(Marker::Stays);
        }
        if self.in_transaction.pass_marker(header.producer_id) {
            return Ok(Marker::SpeaksOfNothing);
        }
        if kind == ControlType::Abort {
            self.aborted.extend(self.survey.aborted.entry(header.producer_id, header.base_offset));
        }
        Ok(Marker::Stays)
    }
}

/// What a control batch is good for.
enum Marker {
    Stays,
    /// Its record went in an earlier compaction.
    IsEmpty,
    /// Nothing of its transaction is left.
    SpeaksOfNothing,
}
