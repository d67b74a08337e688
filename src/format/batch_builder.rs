//! The encoder of record batches v2. The diagram and the fields are in [`header`](super::header).

use super::compression::{Codec, Compression, Compressor, DECOMPRESSED_SIZE_MAX};
use super::header::{BATCH_HEADER_SIZE, BatchHeader};
use super::lines_put::LinesPut;
use super::record::{self, NewRecord};
use super::{FormatError, varint};
use crate::units::Timestamp;

/// Gathers records and makes a batch of them. Records are encoded straight into the batch's bytes.
#[derive(Debug)]
pub struct BatchBuilder {
    /// The batch, and room behind it.
    bytes: Vec<u8>,
    /// How much of that is the batch.
    size: usize,
    /// The batch after compression, where it was finished so.
    compressed: Vec<u8>,
    is_compressed: bool,
    /// What the header has that does not follow from the records.
    template: BatchHeader,
    /// The offset delta that the next record gets if no offset is left out.
    next_offset_delta: u32,
    /// How many offsets below that have no record.
    gaps: u32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

impl BatchBuilder {
    /// An empty batch with room for `capacity` bytes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            // A record is asked for the most that it may take before it is known to fit.
            bytes: vec![0; capacity.max(BATCH_HEADER_SIZE) + record::SMALL_FIELDS_MAX],
            size: BATCH_HEADER_SIZE,
            compressed: Vec::new(),
            is_compressed: false,
            template: BatchHeader::PLAIN,
            next_offset_delta: 0,
            gaps: 0,
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
        }
    }

    /// An empty batch whose header is made from `template`. Taken from it are base offset, leader epoch, producer id,
    /// producer epoch, base sequence and all flags, and
    /// - the base timestamp where it is a delete horizon; else it is the first record's timestamp, -1 without a record,
    /// - the max timestamp under `LogAppendTime` and where there is no record; else it is the largest of the records',
    /// - the last offset delta, unless a record has a larger one.
    ///
    /// Codec, record count, size and checksum are those of the batch that is made, its magic is 2, and a batch without
    /// records has no delete horizon. Kafka's cleaner keeps and changes the same fields.
    #[must_use]
    pub fn from_template(template: &BatchHeader) -> Self {
        Self { template: *template, ..Self::new(0) }
    }

    /// Empties it for a batch with this template, and keeps its memory. See [`BatchBuilder::from_template`].
    pub fn restart(&mut self, template: &BatchHeader) {
        self.clear();
        self.template = *template;
    }

    /// How many records it holds.
    #[must_use]
    pub const fn record_count(&self) -> i32 {
        (self.next_offset_delta - self.gaps) as i32
    }

    /// Whether it holds no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.size == BATCH_HEADER_SIZE
    }

    /// The bytes of the batch so far, header included, before compression.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The size that the batch would have with `record` in it as well.
    #[inline]
    #[must_use]
    pub fn size_with(&self, record: &NewRecord<'_>) -> usize {
        let base_timestamp = if self.is_empty() { self.base_for(record.timestamp) } else { self.base_timestamp };
        self.size + record.size(delta(record.timestamp, base_timestamp), self.next_offset_delta as i32)
    }

    /// Adds a record at the next offset. Its timestamp is the one that is stored: under `LogAppendTime` readers do not see
    /// it, they see the batch's max timestamp.
    #[inline(always)]
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.is_empty() {
            self.base_timestamp = self.base_for(record.timestamp);
            self.max_timestamp = record.timestamp;
        }
        if self.bytes.len() - self.size < record.size_max() {
            self.make_room(record.size_max());
        }
        let timestamp_delta = delta(record.timestamp, self.base_timestamp);
        record.put(timestamp_delta, self.next_offset_delta as i32, &mut self.bytes, &mut self.size);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.next_offset_delta += 1;
    }

    /// Adds a record at this offset delta. The offsets between it and the record before it stay without one, as compaction
    /// leaves them.
    ///
    /// # Errors
    /// When the delta is negative or not above that of the record before. The batch is then as it was.
    // As a function of its own: where it is inlined, the loop of `put_lines` is compiled to a fifth more instructions.
    #[inline(never)]
    pub fn push_at(&mut self, offset_delta: i32, record: &NewRecord<'_>) -> Result<(), FormatError> {
        let delta = u32::try_from(offset_delta).ok().filter(|&delta| delta >= self.next_offset_delta);
        let delta = delta.ok_or_else(offsets_fall)?;
        self.gaps += delta - self.next_offset_delta;
        self.next_offset_delta = delta;
        self.push(record);
        Ok(())
    }

    /// Adds records whose values are `lines`, without keys and headers, as far as the batch stays within `size_max` bytes
    /// with room to spare and their fields are of common sizes. Returns how many bytes of `lines` that took, and how many
    /// records. The next line is for [`BatchBuilder::push`].
    pub fn push_lines(&mut self, lines: &[u8], delimiter: u8, timestamp: Timestamp, size_max: usize) -> (usize, i32) {
        if self.is_empty() {
            (self.base_timestamp, self.max_timestamp) = (self.base_for(timestamp), timestamp);
        }
        let taken = self.put_lines(lines, delimiter, timestamp, size_max);
        if taken.1 > 0 {
            self.max_timestamp = self.max_timestamp.max(timestamp);
        }
        taken
    }

    fn put_lines(&mut self, lines: &[u8], delimiter: u8, timestamp: Timestamp, size_max: usize) -> (usize, i32) {
        let folded = varint::zigzag(delta(timestamp, self.base_timestamp));
        let Some(timestamp) = u8::try_from(folded).ok().filter(|folded| *folded < 0x80) else { return (0, 0) };
        // A single record may have made it larger than that.
        let room_end = size_max.clamp(self.size, self.bytes.len());
        let out = &mut self.bytes[..room_end];
        let mut put = LinesPut { bytes: 0, size: self.size, offset_delta: self.next_offset_delta };
        loop {
            let before = put.bytes;
            put.short_lines(lines, delimiter, timestamp, out);
            put.longer_lines(lines, delimiter, timestamp, out);
            if put.bytes == before {
                break;
            }
        }
        let count = put.offset_delta - self.next_offset_delta;
        (self.size, self.next_offset_delta) = (put.size, put.offset_delta);
        (put.bytes, count as i32)
    }

    #[cold]
    fn make_room(&mut self, wanted: usize) {
        self.bytes.resize((self.size + wanted).max(self.bytes.len() * 2), 0);
    }

    /// The base timestamp of a batch whose first record has this timestamp.
    #[inline]
    const fn base_for(&self, timestamp: Timestamp) -> Timestamp {
        if self.template.attributes.has_delete_horizon() { self.template.base_timestamp } else { timestamp }
    }

    /// Empties it for the next batch of the same template and keeps its memory.
    pub fn clear(&mut self) {
        self.size = BATCH_HEADER_SIZE;
        self.is_compressed = false;
        (self.next_offset_delta, self.gaps) = (0, 0);
    }

    /// Completes header and checksum, base offset and leader epoch as in the template (see [`stamp`](super::batch::stamp)).
    /// Where the log gives the records their timestamps, that comes with the append, whatever the template says (see
    /// [`stamp_append_time`](super::batch::stamp_append_time)). A batch that compression would push over `size_max` bytes
    /// stays uncompressed, so that a record is never refused for being incompressible, and so does one of more than
    /// [`DECOMPRESSED_SIZE_MAX`] bytes, so that every reader can read it.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish(&mut self, compressor: Option<&mut Compressor>, size_max: usize) -> Result<&mut [u8], FormatError> {
        let mut codec = Codec::None;
        let may_compress = !self.is_empty() && self.size - BATCH_HEADER_SIZE <= DECOMPRESSED_SIZE_MAX;
        if let Some(compressor) = compressor.filter(|_| may_compress) {
            self.compressed.clear();
            self.compressed.resize(BATCH_HEADER_SIZE, 0);
            compressor.compress(&self.bytes[BATCH_HEADER_SIZE..self.size], &mut self.compressed)?;
            if self.compressed.len() <= size_max {
                codec = compressor.compression().codec;
            }
        }
        self.is_compressed = codec != Codec::None;
        let header = self.header(codec);
        let bytes = self.finished();
        header.write(bytes);
        Ok(bytes)
    }

    /// The header of the batch as it is, size and checksum aside.
    fn header(&self, codec: Codec) -> BatchHeader {
        let mut header = BatchHeader { record_count: self.record_count(), ..self.template };
        header.attributes = header.attributes.with_codec(codec);
        if self.is_empty() {
            header.base_timestamp = Timestamp::NONE;
            header.attributes = header.attributes.without_delete_horizon();
        } else {
            header.base_timestamp = self.base_timestamp;
            header.last_offset_delta = header.last_offset_delta.max((self.next_offset_delta - 1) as i32);
            if !header.attributes.is_log_append_time() {
                header.max_timestamp = self.max_timestamp;
            }
        }
        header
    }

    /// The batch that [`BatchBuilder::finish`] has made.
    pub fn finished(&mut self) -> &mut [u8] {
        if self.is_compressed { &mut self.compressed } else { &mut self.bytes[..self.size] }
    }
}

/// What is stored of a timestamp. It may wrap, and the reader's sum wraps back.
#[inline]
const fn delta(timestamp: Timestamp, base: Timestamp) -> i64 {
    timestamp.0.wrapping_sub(base.0)
}

#[cold]
fn offsets_fall() -> FormatError {
    FormatError::corrupt("the offsets of a batch's records do not rise")
}

/// A compressor for batches, unless they are to stay uncompressed.
#[must_use]
pub fn compressor(compression: Compression) -> Option<Compressor> {
    (compression.codec != Codec::None).then(|| Compressor::new(compression))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::{stamp, stamp_append_time};
    use crate::format::compression::Decompressor;
    use crate::format::header::{ATTRIBUTES, Attributes, RECORD_COUNT, TimestampType, checksum_matches};
    use crate::format::record_cursor::RecordCursor;
    use crate::format::vectors::{VECTOR_A, VECTOR_B, unhex};
    use crate::units::Offset;

    const T: Timestamp = Timestamp(1_700_000_000_000);

    fn three_records() -> BatchBuilder {
        let mut builder = BatchBuilder::new(0);
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x"))];
        let record = NewRecord { timestamp: T, key: Some(b"k1"), value: Some(b"v1"), headers };
        assert_eq!(builder.size_with(&record), 61 + 15);
        builder.push(&record);
        builder.push(&NewRecord { timestamp: T + 5, key: None, value: Some(b""), headers: &[] });
        builder.push(&NewRecord { timestamp: T + 7, key: Some(b"k1"), value: None, headers: &[] });
        builder
    }

    #[test]
    fn writes_vector_a_byte_for_byte() {
        let mut builder = three_records();
        let batch = builder.finish(None, usize::MAX).unwrap();
        stamp(batch, Offset(0), 0);
        assert_eq!(batch, unhex(VECTOR_A));
    }

    #[test]
    fn reads_vector_a() {
        let bytes = unhex(VECTOR_A);
        let header = BatchHeader::parse(&bytes).unwrap();
        assert!(checksum_matches(&header, &bytes));
        assert_eq!((header.size, header.record_count, header.last_offset()), (bytes.len(), 3, Offset(2)));
        assert_eq!((header.base_timestamp, header.max_timestamp), (T, T + 7));
        let records = &bytes[BATCH_HEADER_SIZE..];
        let mut cursor = RecordCursor::new(&header);
        let mut read = Vec::new();
        while let Some(span) = cursor.next(records).unwrap() {
            let record = span.record(records);
            read.push((
                header.record_timestamp(record.timestamp_delta).since(T),
                record.key,
                record.value,
                record.headers.len(),
            ));
        }
        assert_eq!(read[0], (0, Some(&b"k1"[..]), Some(&b"v1"[..]), 1));
        assert_eq!(read[1], (5, None, Some(&b""[..]), 0));
        assert_eq!(read[2], (7, Some(&b"k1"[..]), None, 0));
    }

    #[test]
    fn recognises_the_commit_marker_of_vector_b() {
        let bytes = unhex(VECTOR_B);
        let header = BatchHeader::parse(&bytes).unwrap();
        assert!(checksum_matches(&header, &bytes));
        assert!(header.attributes.is_control() && header.attributes.is_transactional());
        assert_eq!((header.base_offset, header.next_offset()), (Offset(3), Offset(4)));
        assert_eq!((header.producer_id, header.producer_epoch, header.base_sequence), (1000, 0, -1));
    }

    /// The header of an idempotent producer's batch in a transaction.
    const TRANSACTIONAL: BatchHeader = BatchHeader {
        base_offset: Offset(40),
        leader_epoch: 3,
        attributes: Attributes::PLAIN.with_transactional(),
        last_offset_delta: 9,
        producer_id: 1000,
        producer_epoch: 2,
        base_sequence: 77,
        ..BatchHeader::PLAIN
    };

    fn value(timestamp: Timestamp) -> NewRecord<'static> {
        NewRecord { timestamp, value: Some(b"v"), ..NewRecord::default() }
    }

    /// The header of a finished batch, and what its records' deltas are.
    fn finished(builder: &mut BatchBuilder) -> (BatchHeader, Vec<(i32, i64)>) {
        let batch = builder.finish(None, usize::MAX).unwrap();
        let header = BatchHeader::parse(batch).unwrap();
        assert!(checksum_matches(&header, batch));
        let (mut cursor, mut deltas) = (RecordCursor::new(&header), Vec::new());
        while let Some(span) = cursor.next(&batch[BATCH_HEADER_SIZE..]).unwrap() {
            deltas.push((span.offset_delta, span.timestamp_delta));
        }
        (header, deltas)
    }

    #[test]
    fn a_template_gives_what_does_not_follow_from_the_records() {
        let mut builder = BatchBuilder::from_template(&TRANSACTIONAL);
        builder.push_at(2, &value(T)).unwrap();
        builder.push(&value(T + 9));
        builder.push_at(7, &value(T + 4)).unwrap();
        let (header, deltas) = finished(&mut builder);
        assert_eq!(deltas, [(2, 0), (3, 9), (7, 4)]);
        let BatchHeader { size, crc, .. } = header;
        let (base_timestamp, max_timestamp, record_count) = (T, T + 9, 3);
        let expected = BatchHeader { size, crc, base_timestamp, max_timestamp, record_count, ..TRANSACTIONAL };
        assert_eq!(header, expected);
        // The next batch of the same template, and one of another in the same memory.
        builder.clear();
        (0..12).for_each(|_| builder.push(&value(T)));
        let (header, _) = finished(&mut builder);
        assert_eq!((header.producer_id, header.record_count), (1000, 12));
        assert_eq!(header.last_offset_delta, 11, "it covers the last record");
        builder.restart(&BatchHeader::PLAIN);
        builder.push(&value(T));
        let mut plain = BatchBuilder::new(0);
        plain.push(&value(T));
        assert_eq!(finished(&mut builder), finished(&mut plain));
        assert_eq!(finished(&mut plain).0.producer_id, -1);
    }

    #[test]
    fn writes_the_commit_marker_of_vector_b_byte_for_byte() {
        let attributes = Attributes::PLAIN.with_transactional().with_control();
        let (base_offset, leader_epoch) = (Offset(3), 0);
        let (producer_id, producer_epoch) = (1000, 0);
        let template =
            BatchHeader { base_offset, leader_epoch, attributes, producer_id, producer_epoch, ..BatchHeader::PLAIN };
        let mut builder = BatchBuilder::from_template(&template);
        let (key, value) = (Some(&[0, 0, 0, 1][..]), Some(&[0; 6][..]));
        builder.push(&NewRecord { timestamp: T + 9, key, value, headers: &[] });
        assert_eq!(builder.finish(None, usize::MAX).unwrap(), unhex(VECTOR_B));
    }

    #[test]
    fn offset_deltas_that_do_not_rise_are_refused_and_leave_the_batch_as_it_was() {
        let mut builder = BatchBuilder::from_template(&TRANSACTIONAL);
        assert!(builder.push_at(-1, &value(T)).is_err());
        builder.push_at(5, &value(T)).unwrap();
        for delta in [5, 4, 0, -1, i32::MIN] {
            assert!(builder.push_at(delta, &value(T)).is_err(), "{delta}");
        }
        builder.push_at(i32::MAX, &value(T)).unwrap();
        assert!(builder.push_at(i32::MAX, &value(T)).is_err());
        assert_eq!(builder.record_count(), 2);
        let (header, deltas) = finished(&mut builder);
        assert_eq!((deltas, header.last_offset_delta), (vec![(5, 0), (i32::MAX, 0)], i32::MAX));
    }

    #[test]
    fn a_delete_horizon_is_what_timestamp_deltas_count_from() {
        const HORIZON: Timestamp = Timestamp(T.0 + 86_400_000);
        let attributes = TRANSACTIONAL.attributes.with_delete_horizon();
        let template = BatchHeader { attributes, base_timestamp: HORIZON, ..TRANSACTIONAL };
        let mut builder = BatchBuilder::from_template(&template);
        for timestamp in [T, T + 5] {
            let size_with = builder.size_with(&value(timestamp));
            builder.push(&value(timestamp));
            assert_eq!(builder.size(), size_with);
        }
        let (header, deltas) = finished(&mut builder);
        assert_eq!((header.base_timestamp, header.max_timestamp), (HORIZON, T + 5));
        assert_eq!(deltas, [(0, T.0 - HORIZON.0), (1, T.0 + 5 - HORIZON.0)]);
        assert_eq!(header.record_timestamp(deltas[1].1), T + 5);
    }

    #[test]
    fn an_append_time_in_the_template_is_kept_and_a_new_one_replaces_it() {
        let attributes = Attributes::PLAIN.with_log_append_time();
        let mut builder =
            BatchBuilder::from_template(&BatchHeader { attributes, max_timestamp: T + 50, ..BatchHeader::PLAIN });
        builder.push(&value(T));
        let (header, _) = finished(&mut builder);
        assert_eq!((header.attributes, header.base_timestamp, header.max_timestamp), (attributes, T, T + 50));
        let batch = builder.finish(None, usize::MAX).unwrap();
        stamp_append_time(batch, T + 60);
        assert_eq!(BatchHeader::parse(batch).unwrap().max_timestamp, T + 60);
    }

    #[test]
    fn a_batch_without_records_keeps_its_offsets_and_its_producer() {
        let attributes = TRANSACTIONAL.attributes.with_delete_horizon();
        let template = BatchHeader { attributes, base_timestamp: T, max_timestamp: T + 7, ..TRANSACTIONAL };
        let mut builder = BatchBuilder::from_template(&template);
        let batch = builder.finish(compressor("lz4".parse().unwrap()).as_mut(), usize::MAX).unwrap();
        let header = BatchHeader::parse(batch).unwrap();
        let expected = BatchHeader { crc: header.crc, max_timestamp: T + 7, ..TRANSACTIONAL };
        assert_eq!(header, expected, "no codec, no base timestamp, no delete horizon");
        assert_eq!(header.size, BATCH_HEADER_SIZE);
    }

    #[test]
    fn every_codec_gives_the_records_back() {
        for name in ["gzip", "snappy", "lz4", "zstd", "zstd:19", "none"] {
            let compression: Compression = name.parse().unwrap();
            let mut builder = three_records();
            let plain = builder.bytes[BATCH_HEADER_SIZE..builder.size].to_vec();
            let batch = builder.finish(compressor(compression).as_mut(), usize::MAX).unwrap();
            let header = BatchHeader::parse(batch).unwrap();
            assert!(checksum_matches(&header, batch));
            assert_eq!(header.attributes.codec(), Ok(compression.codec));
            let mut out = Vec::new();
            if compression.codec == Codec::None {
                out.extend_from_slice(&batch[BATCH_HEADER_SIZE..]);
            } else {
                let records = &batch[BATCH_HEADER_SIZE..];
                Decompressor::default().decompress(compression.codec, 2, records, &mut out, 1 << 20).unwrap();
            }
            assert_eq!(out, plain, "{name}");
        }
    }

    #[test]
    fn what_does_not_get_smaller_than_the_limit_stays_uncompressed() {
        let mut builder = three_records();
        let limit = builder.size();
        let gzip = compressor("gzip".parse().unwrap());
        let batch = builder.finish(gzip.as_ref().map(|_| Compressor::new("gzip".parse().unwrap())).as_mut(), limit);
        let header = BatchHeader::parse(batch.unwrap()).unwrap();
        assert_eq!((header.attributes.codec(), header.size), (Ok(Codec::None), limit));
    }

    #[test]
    fn under_log_append_time_every_record_has_the_time_of_the_append() {
        for name in ["none", "zstd"] {
            let mut builder = three_records();
            let batch = builder.finish(compressor(name.parse().unwrap()).as_mut(), usize::MAX).unwrap();
            let before = batch.to_vec();
            // It is stamped again where it was not appended with those before it.
            for timestamp in [T + 1000, T + 2000, T + -1] {
                stamp_append_time(batch, timestamp);
                let header = BatchHeader::parse(batch).unwrap();
                assert!(checksum_matches(&header, batch), "{name}");
                assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
                assert_eq!(header.attributes.codec(), BatchHeader::parse(&before).unwrap().attributes.codec());
                assert_eq!((header.record_timestamp(0), header.record_timestamp(5)), (timestamp, timestamp));
                assert_eq!(header.base_timestamp, T, "the producer's own time stays in the batch");
                assert_eq!(batch[RECORD_COUNT..], before[RECORD_COUNT..]);
            }
        }
    }

    #[test]
    fn lines_give_the_batch_that_their_records_give_one_by_one() {
        let (mut lines, mut records) = (Vec::new(), 0);
        let lengths = (0..40).chain([15, 16, 17, 63, 64, 8191, 8192, 3]).chain((0..17_000).map(|at| at * 7 % 19));
        for length in lengths {
            // Bytes that differ from the delimiter by one bit, and by a borrow.
            lines.extend((0..length).map(|at| [0x0b, 0x8a, 0x09, b'x', 0x0a ^ 1][at % 5]));
            lines.push(b'\n');
            records += 1;
        }
        lines.extend_from_slice(b"no end");
        for timestamps in [[T, T], [T, T + 63], [T, T + 64], [T, T + -1]] {
            let (mut at_once, mut one_by_one) = (BatchBuilder::new(1 << 20), BatchBuilder::new(0));
            for (half, timestamp) in lines.chunks(lines.len() / 2 + 1).zip(timestamps) {
                let push = |builder: &mut BatchBuilder, line: &[u8]| {
                    let value = Some(&line[..line.len() - 1]);
                    builder.push(&NewRecord { timestamp, value, ..NewRecord::default() });
                };
                let lines = half.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
                let mut start = 0;
                for line in lines.clone() {
                    push(&mut one_by_one, line);
                    // What is out of the ordinary is left to be pushed.
                    if at_once.record_count() < one_by_one.record_count() {
                        let (bytes, count) = at_once.push_lines(&half[start..], b'\n', timestamp, 1 << 20);
                        start += bytes;
                        assert_eq!(count > 0, bytes > 0);
                    }
                    if at_once.record_count() < one_by_one.record_count() {
                        assert!(!(0..=63).contains(&timestamp.since(T)), "an ordinary line was left");
                        push(&mut at_once, line);
                        start += line.len();
                    }
                }
                assert_eq!(start, lines.map(<[u8]>::len).sum::<usize>());
            }
            assert!(at_once.record_count() >= records - 1, "one line is in two halves");
            let finish = |builder: &mut BatchBuilder| builder.finish(None, usize::MAX).unwrap().to_vec();
            assert!(finish(&mut at_once) == finish(&mut one_by_one), "{timestamps:?}");
        }
    }

    #[test]
    fn lines_fill_a_batch_to_its_limit_and_no_further() {
        let lines = b"0123456789abc\n".repeat(10_000);
        let mut full = three_records();
        assert_eq!(full.push_lines(&lines, b'\n', T, 70), (0, 0), "it is larger than that");
        for limit in 1000..1100 {
            let mut builder = BatchBuilder::new(limit);
            let (bytes, records) = builder.push_lines(&lines, b'\n', T, limit);
            assert_eq!(bytes, records as usize * 14);
            assert!((limit - 60..=limit).contains(&builder.size()), "{} of {limit}", builder.size());
        }
    }

    #[test]
    fn lines_that_do_not_fit_leave_the_max_timestamp_as_it_was() {
        let mut full = three_records();
        let size = full.size();
        assert_eq!(full.push_lines(b"later\n", b'\n', T + 60, size), (0, 0));
        assert_eq!(full.push_lines(b"no end", b'\n', T + 60, 1 << 20), (0, 0));
        assert_eq!(finished(&mut full).0.max_timestamp, T + 7);
    }

    #[test]
    fn a_delete_horizon_does_not_move_the_records_times() {
        let mut builder = three_records();
        let batch = builder.finish(None, usize::MAX).unwrap();
        batch[ATTRIBUTES + 1] |= Attributes::PLAIN.with_delete_horizon().bits() as u8;
        let header = BatchHeader::parse(batch).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.record_timestamp(-3), T + -3);
    }
}
