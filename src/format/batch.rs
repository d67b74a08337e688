//! Record batch v2: the unit in which a log is written, checked, indexed and read. Its header is in [`header`](super::header).

use super::compression::{Codec, Compression, Compressor};
use super::header::{
    ATTRIBUTES, Attributes, BASE_OFFSET, BASE_SEQUENCE, BASE_TIMESTAMP, BATCH_HEADER_SIZE, BATCH_LENGTH, CRC,
    LAST_OFFSET_DELTA, LEADER_EPOCH, LENGTH_OVERHEAD, MAGIC, MAGIC_V2, MAX_TIMESTAMP, PRODUCER_EPOCH, PRODUCER_ID,
    RECORD_COUNT, TimestampType,
};
use super::record::{self, NewRecord};
use super::{FormatError, crc, varint};
use crate::units::Offset;

/// Gives a finished batch its place in the log. The checksum covers neither field.
pub fn stamp(batch: &mut [u8], base_offset: Offset, leader_epoch: i32) {
    batch[BASE_OFFSET..BASE_OFFSET + 8].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[LEADER_EPOCH..LEADER_EPOCH + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// The first bytes of a batch (of at least its header) with the stored offset moved by `shift`, and with another leader
/// epoch where one is given; the old formats have none.
#[must_use]
pub fn moved(head: &[u8], shift: i64, leader_epoch: Option<i32>) -> Vec<u8> {
    let stored = i64::from_be_bytes(head[BASE_OFFSET..BASE_OFFSET + 8].try_into().expect("eight bytes"));
    let mut field = stored.wrapping_add(shift).to_be_bytes().to_vec();
    if let Some(epoch) = leader_epoch {
        field.extend_from_slice(&head[BATCH_LENGTH..LEADER_EPOCH]);
        field.extend_from_slice(&epoch.to_be_bytes());
    }
    field
}

/// A batch without records that takes the offsets from `base_offset` to `last_offset`, as Kafka's cleaner leaves it.
///
/// # Panics
/// When the offsets are more than one batch can take.
#[must_use]
pub fn empty(base_offset: Offset, last_offset: Offset, leader_epoch: i32) -> [u8; BATCH_HEADER_SIZE] {
    let delta = i32::try_from(last_offset - base_offset).expect("a batch reaches no further than a segment");
    let mut bytes = [0; BATCH_HEADER_SIZE];
    let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
    put(BATCH_LENGTH, &((BATCH_HEADER_SIZE - LENGTH_OVERHEAD) as u32).to_be_bytes());
    put(MAGIC, &MAGIC_V2.to_be_bytes());
    put(LAST_OFFSET_DELTA, &delta.to_be_bytes());
    put(BASE_TIMESTAMP, &(-1_i64).to_be_bytes());
    put(MAX_TIMESTAMP, &(-1_i64).to_be_bytes());
    put(PRODUCER_ID, &(-1_i64).to_be_bytes());
    put(PRODUCER_EPOCH, &(-1_i16).to_be_bytes());
    put(BASE_SEQUENCE, &(-1_i32).to_be_bytes());
    let crc = crc::crc32c(&bytes[ATTRIBUTES..]);
    bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
    stamp(&mut bytes, base_offset, leader_epoch);
    bytes
}

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
    record_count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
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
            record_count: 0,
            base_timestamp: 0,
            max_timestamp: 0,
        }
    }

    /// How many records it holds.
    #[must_use]
    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Whether it holds no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.record_count == 0
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
        self.size + record.size(self.timestamp_delta(record), self.record_count)
    }

    /// Adds a record.
    #[inline]
    pub fn push(&mut self, record: &NewRecord<'_>) {
        if self.record_count == 0 {
            self.base_timestamp = record.timestamp_ms;
            self.max_timestamp = record.timestamp_ms;
        }
        if self.bytes.len() - self.size < record.size_max() {
            self.make_room(record.size_max());
        }
        let timestamp_delta = record.timestamp_ms.wrapping_sub(self.base_timestamp);
        record.put(timestamp_delta, self.record_count, &mut self.bytes, &mut self.size);
        self.max_timestamp = self.max_timestamp.max(record.timestamp_ms);
        self.record_count += 1;
    }

    /// Adds records whose values are `lines`, without keys and headers, as far as the batch stays within `size_max` bytes
    /// with room to spare and their fields are of common sizes. Returns how many bytes of `lines` that took, and how many
    /// records. The next line is for [`BatchBuilder::push`].
    pub fn push_lines(&mut self, lines: &[u8], delimiter: u8, timestamp_ms: i64, size_max: usize) -> (usize, i32) {
        if self.record_count == 0 {
            (self.base_timestamp, self.max_timestamp) = (timestamp_ms, timestamp_ms);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        let timestamp_delta = timestamp_ms.wrapping_sub(self.base_timestamp);
        let small_timestamp = u8::try_from(varint::zigzag(timestamp_delta)).ok().filter(|folded| *folded < 0x80);
        // A single record may have made it larger than that.
        let room_end = size_max.clamp(self.size, self.bytes.len());
        let out = &mut self.bytes[..room_end];
        let (mut start, mut size, mut offset_delta) = (0, self.size, self.record_count);
        loop {
            let (rest, room) = (&lines[start..], &mut out[size..]);
            let Some((timestamp, offset)) = small_timestamp.zip(varint::packed((offset_delta as u64) << 1)) else {
                break;
            };
            // Lines of 10 bytes take 7 ns each this way, in place of 10.
            let (length, record_size) = if let Some(value) = rest.first_chunk()
                && let Some(length) = record::find_in_short(delimiter, value)
                && let Some(room) = room.first_chunk_mut()
            {
                (length, record::put_short((value, length), timestamp, offset, room))
            } else {
                let Some(length) = memchr::memchr(delimiter, rest) else { break };
                let Some(size) = record::put_plain(&rest[..length], timestamp, offset, room) else { break };
                (length, size)
            };
            size += record_size;
            offset_delta += 1;
            start += length + 1;
        }
        let count = offset_delta - self.record_count;
        (self.size, self.record_count) = (size, offset_delta);
        (start, count)
    }

    #[cold]
    fn make_room(&mut self, wanted: usize) {
        self.bytes.resize((self.size + wanted).max(self.bytes.len() * 2), 0);
    }

    #[inline]
    fn timestamp_delta(&self, record: &NewRecord<'_>) -> i64 {
        if self.record_count == 0 { 0 } else { record.timestamp_ms.wrapping_sub(self.base_timestamp) }
    }

    /// Empties it for the next batch and keeps its memory.
    pub fn clear(&mut self) {
        self.size = BATCH_HEADER_SIZE;
        self.is_compressed = false;
        self.record_count = 0;
    }

    /// Completes header and checksum, base offset and leader epoch aside (see [`stamp`]). A batch that compression would
    /// push over `size_max` bytes stays uncompressed, so that a record is never refused for being incompressible.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn finish(
        &mut self,
        compressor: Option<&mut Compressor>,
        append_time_ms: Option<i64>,
        size_max: usize,
    ) -> Result<&mut [u8], FormatError> {
        let mut codec = Codec::None;
        if let Some(compressor) = compressor {
            self.compressed.clear();
            self.compressed.resize(BATCH_HEADER_SIZE, 0);
            compressor.compress(&self.bytes[BATCH_HEADER_SIZE..self.size], &mut self.compressed)?;
            if self.compressed.len() <= size_max {
                codec = compressor.compression().codec;
            }
        }
        self.is_compressed = codec != Codec::None;
        let timestamp_type =
            if append_time_ms.is_some() { TimestampType::LogAppendTime } else { TimestampType::CreateTime };
        let attributes = Attributes::new(codec, timestamp_type);
        let max_timestamp = append_time_ms.unwrap_or(self.max_timestamp);
        let (base_timestamp, record_count) = (self.base_timestamp, self.record_count);
        let bytes = self.finished();
        let length = (bytes.len() - LENGTH_OVERHEAD) as u32;
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(BASE_OFFSET, &0_i64.to_be_bytes());
        put(BATCH_LENGTH, &length.to_be_bytes());
        put(LEADER_EPOCH, &(-1_i32).to_be_bytes());
        put(MAGIC, &MAGIC_V2.to_be_bytes());
        put(ATTRIBUTES, &attributes.bits().to_be_bytes());
        put(LAST_OFFSET_DELTA, &(record_count - 1).to_be_bytes());
        put(BASE_TIMESTAMP, &base_timestamp.to_be_bytes());
        put(MAX_TIMESTAMP, &max_timestamp.to_be_bytes());
        put(PRODUCER_ID, &(-1_i64).to_be_bytes());
        put(PRODUCER_EPOCH, &(-1_i16).to_be_bytes());
        put(BASE_SEQUENCE, &(-1_i32).to_be_bytes());
        put(RECORD_COUNT, &record_count.to_be_bytes());
        let crc = crc::crc32c(&bytes[ATTRIBUTES..]);
        bytes[CRC..CRC + 4].copy_from_slice(&crc.to_be_bytes());
        Ok(bytes)
    }

    /// The batch that [`BatchBuilder::finish`] has made.
    pub fn finished(&mut self) -> &mut [u8] {
        if self.is_compressed { &mut self.compressed } else { &mut self.bytes[..self.size] }
    }
}

/// A compressor for batches, unless they are to stay uncompressed.
#[must_use]
pub fn compressor(compression: Compression) -> Option<Compressor> {
    (compression.codec != Codec::None).then(|| Compressor::new(compression))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::compression::Decompressor;
    use crate::format::header::{BatchHeader, checksum_matches};
    use crate::format::record_cursor::RecordCursor;

    /// Vector A of Kafka's layout: three records with key, header, empty and null values.
    const VECTOR_A: &str = "0000000000000000000000500000000002cb66957a0000000000020000018bcfe568000000018bcfe56807\
        ffffffffffffffffffffffffffff000000031c000000046b3104763102026802780c000a0201000010000e04046b310100";
    /// Vector B: a COMMIT marker at offset 3.
    const VECTOR_B: &str = "00000000000000030000004200000000026505c7e60030000000000000018bcfe568090000018bcfe56809\
        00000000000003e80000ffffffff000000012000000008000000010c00000000000000";
    const T: i64 = 1_700_000_000_000;

    pub(crate) fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn three_records() -> BatchBuilder {
        let mut builder = BatchBuilder::new(0);
        let headers: &[(&[u8], Option<&[u8]>)] = &[(b"h", Some(b"x"))];
        let record = NewRecord { timestamp_ms: T, key: Some(b"k1"), value: Some(b"v1"), headers };
        assert_eq!(builder.size_with(&record), 61 + 15);
        builder.push(&record);
        builder.push(&NewRecord { timestamp_ms: T + 5, key: None, value: Some(b""), headers: &[] });
        builder.push(&NewRecord { timestamp_ms: T + 7, key: Some(b"k1"), value: None, headers: &[] });
        builder
    }

    #[test]
    fn writes_vector_a_byte_for_byte() {
        let mut builder = three_records();
        let batch = builder.finish(None, None, usize::MAX).unwrap();
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
                header.record_timestamp(record.timestamp_delta) - T,
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

    #[test]
    fn every_codec_gives_the_records_back() {
        for name in ["gzip", "snappy", "lz4", "zstd", "zstd:19", "none"] {
            let compression: Compression = name.parse().unwrap();
            let mut builder = three_records();
            let plain = builder.bytes[BATCH_HEADER_SIZE..builder.size].to_vec();
            let batch = builder.finish(compressor(compression).as_mut(), None, usize::MAX).unwrap();
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
        let batch =
            builder.finish(gzip.as_ref().map(|_| Compressor::new("gzip".parse().unwrap())).as_mut(), None, limit);
        let header = BatchHeader::parse(batch.unwrap()).unwrap();
        assert_eq!((header.attributes.codec(), header.size), (Ok(Codec::None), limit));
    }

    #[test]
    fn under_log_append_time_every_record_has_the_batchs_time() {
        let mut builder = three_records();
        let batch = builder.finish(None, Some(T + 1000), usize::MAX).unwrap();
        let header = BatchHeader::parse(batch).unwrap();
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((header.record_timestamp(0), header.record_timestamp(5)), (T + 1000, T + 1000));
        assert_eq!(header.base_timestamp, T, "the producer's own time stays in the batch");
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
        for timestamps in [[T, T], [T, T + 63], [T, T + 64], [T, T - 1]] {
            let (mut at_once, mut one_by_one) = (BatchBuilder::new(1 << 20), BatchBuilder::new(0));
            for (half, timestamp_ms) in lines.chunks(lines.len() / 2 + 1).zip(timestamps) {
                let push = |builder: &mut BatchBuilder, line: &[u8]| {
                    let value = Some(&line[..line.len() - 1]);
                    builder.push(&NewRecord { timestamp_ms, value, ..NewRecord::default() });
                };
                let lines = half.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
                let mut start = 0;
                for line in lines.clone() {
                    push(&mut one_by_one, line);
                    // What is out of the ordinary is left to be pushed.
                    if at_once.record_count() < one_by_one.record_count() {
                        let (bytes, count) = at_once.push_lines(&half[start..], b'\n', timestamp_ms, 1 << 20);
                        start += bytes;
                        assert_eq!(count > 0, bytes > 0);
                    }
                    if at_once.record_count() < one_by_one.record_count() {
                        assert!(!(0..=63).contains(&(timestamp_ms - T)), "an ordinary line was left");
                        push(&mut at_once, line);
                        start += line.len();
                    }
                }
                assert_eq!(start, lines.map(<[u8]>::len).sum::<usize>());
            }
            assert!(at_once.record_count() >= records - 1, "one line is in two halves");
            let finish = |builder: &mut BatchBuilder| builder.finish(None, None, usize::MAX).unwrap().to_vec();
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
    fn timestamps_may_step_back() {
        let mut builder = BatchBuilder::new(0);
        for timestamp_ms in [T, T - 500, T + 1] {
            builder.push(&NewRecord { timestamp_ms, value: Some(b"v"), ..NewRecord::default() });
        }
        let batch = builder.finish(None, None, usize::MAX).unwrap();
        let header = BatchHeader::parse(batch).unwrap();
        let mut cursor = RecordCursor::new(&header);
        let mut times = Vec::new();
        while let Some(span) = cursor.next(&batch[BATCH_HEADER_SIZE..]).unwrap() {
            times.push(header.record_timestamp(span.timestamp_delta) - T);
        }
        assert_eq!((times, header.max_timestamp), (vec![0, -500, 1], T + 1));
    }

    #[test]
    fn a_delete_horizon_does_not_move_the_records_times() {
        let mut builder = three_records();
        let batch = builder.finish(None, None, usize::MAX).unwrap();
        batch[ATTRIBUTES + 1] |= Attributes::DELETE_HORIZON as u8;
        let header = BatchHeader::parse(batch).unwrap();
        assert!(header.attributes.has_delete_horizon());
        assert_eq!(header.record_timestamp(-3), T - 3);
    }

    #[test]
    fn an_empty_batch_and_gaps_are_legal() {
        let mut bytes = unhex(VECTOR_A);
        bytes[RECORD_COUNT + 3] = 0;
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(RecordCursor::new(&header).next(&[]).unwrap().map(|span| span.end), None);
        assert_eq!(header.next_offset(), Offset(3));
        // The second record alone, as compaction leaves it.
        let second = &unhex(VECTOR_A)[BATCH_HEADER_SIZE + 15..BATCH_HEADER_SIZE + 22];
        let mut cursor = RecordCursor::new(&BatchHeader { record_count: 1, ..header });
        assert_eq!(cursor.next(second).unwrap().unwrap().offset_delta, 1);
        assert!(cursor.next(second).unwrap().is_none());
    }
}
