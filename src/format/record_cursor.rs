//! Steps through the records of a batch.

use super::FormatError;
use super::header::BatchHeader;
use super::record::{self, RecordSpan};
use super::varint;

/// Short lines are gathered in so many bytes before they go to where they are wanted: the compiler knows the size of a block,
/// and of a `Vec` it asks for it at each line. Records of 10 bytes take 5 ns each this way, in place of 8.
const BLOCK_SIZE: usize = 1 << 10;
/// The longest of them. Each is copied as if it had this length.
const LINE_MAX: usize = 16;

/// Steps through the records of one batch, uncompressed bytes in hand.
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordCursor {
    at: usize,
    left: i32,
    last_offset_delta: i32,
}

impl RecordCursor {
    /// Starts before the first record of the batch with this header.
    #[must_use]
    pub const fn new(header: &BatchHeader) -> Self {
        Self { at: 0, left: header.record_count, last_offset_delta: header.last_offset_delta }
    }

    /// The next record of `records`, the same bytes at every call; `None` after the last.
    ///
    /// # Errors
    /// When a record is malformed, its offset lies outside the batch, or the record count is not that of the bytes.
    #[inline(always)]
    pub fn next(&mut self, records: &[u8]) -> Result<Option<RecordSpan>, FormatError> {
        if self.left == 0 {
            return if self.at == records.len() {
                Ok(None)
            } else {
                Err(FormatError::corrupt("bytes follow the last record of a batch"))
            };
        }
        let span = RecordSpan::parse(records, self.at)?;
        if span.offset_delta < 0 || span.offset_delta > self.last_offset_delta {
            return Err(outside_the_batch());
        }
        self.at = span.end;
        self.left -= 1;
        Ok(Some(span))
    }

    /// Appends the values of the next of `records` to `lines`, with `delimiter` behind each, null as an empty one: so many at
    /// most, and none when `lines` has `size_max` bytes. Stops before a record that is malformed, which
    /// [`RecordCursor::next`] then tells. Returns how many records that were, and where the last begins.
    #[inline(never)]
    pub fn append_lines(
        &mut self,
        records: &[u8],
        delimiter: u8,
        (count_max, size_max): (u64, usize),
        lines: &mut Vec<u8>,
    ) -> (u64, usize) {
        let count_max = i32::try_from(count_max).map_or(self.left, |max| max.min(self.left));
        let is_outside = |delta| delta < 0 || delta > self.last_offset_delta;
        let (mut count, mut last, mut at) = (0, self.at, self.at);
        let mut block = [0; BLOCK_SIZE];
        while count < count_max && lines.len() < size_max {
            let mut filled = 0;
            // Near the end, one at a time: a line is begun only while `lines` has less than its size.
            let until = if size_max - lines.len() < BLOCK_SIZE { count + 1 } else { count_max };
            while count < until
                && let Some(short) = record::parse_short(records, at)
                && let Some(value) = records[short.value..].first_chunk::<LINE_MAX>()
                && short.value_length <= LINE_MAX
                && let Some(room) = block[filled..].first_chunk_mut::<{ LINE_MAX + 1 }>()
                && !is_outside(short.offset_delta)
            {
                room[..LINE_MAX].copy_from_slice(value);
                room[short.value_length] = delimiter;
                filled += short.value_length + 1;
                (last, at) = (at, short.end);
                count += 1;
            }
            if filled > 0 {
                lines.extend_from_slice(&block[..filled]);
                continue;
            }
            let Ok(it) = record::parse_value(records, at) else { break };
            if is_outside(it.offset_delta) {
                break;
            }
            lines.extend_from_slice(&records[it.value..it.value + it.value_length]);
            lines.push(delimiter);
            (last, at) = (at, it.end);
            count += 1;
        }
        self.at = at;
        self.left -= count;
        (count as u64, last)
    }

    /// Steps over all of `records` that are left, and checks that their offsets rise.
    ///
    /// # Errors
    /// As [`RecordCursor::next`], and when an offset is not above the one before it.
    pub fn check_rest(mut self, records: &[u8]) -> Result<(), FormatError> {
        let mut last = -1;
        while self.left > 0 {
            let it = record::parse_value(records, self.at)?;
            if it.offset_delta < 0 || it.offset_delta > self.last_offset_delta {
                return Err(outside_the_batch());
            }
            if it.offset_delta <= last {
                return Err(FormatError::corrupt("the offsets of a batch's records do not rise"));
            }
            (last, self.at) = (it.offset_delta, it.end);
            self.left -= 1;
        }
        match self.next(records)? {
            None => Ok(()),
            Some(_) => Err(FormatError::corrupt("a batch has a negative record count")),
        }
    }

    /// Where the next record begins.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Says where the next record begins, when other bytes of the same batch are in hand: the same record as before.
    pub const fn set_position(&mut self, position: usize) {
        self.at = position;
    }

    /// Passes over the next record, by its length alone.
    ///
    /// # Errors
    /// When there is none, or its length reaches outside the batch.
    #[inline]
    pub fn skip(&mut self, records: &[u8]) -> Result<(), FormatError> {
        let mut at = self.at;
        let length = varint::read_i32(records, &mut at)?;
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        let end = end.filter(|&end| self.left > 0 && end <= records.len()).ok_or_else(outside_the_batch)?;
        self.at = end;
        self.left -= 1;
        Ok(())
    }

    /// Passes over the records that end at or before `position`, by their lengths alone. Stops before one whose length is
    /// wrong, which [`RecordCursor::next`] then tells.
    #[inline]
    pub fn skip_to(&mut self, records: &[u8], position: usize) {
        while self.left > 0 {
            let mut at = self.at;
            let Ok(length) = varint::read_i32(records, &mut at) else { return };
            let Some(end) = usize::try_from(length).ok().and_then(|length| at.checked_add(length)) else { return };
            if end > position || end > records.len() {
                return;
            }
            self.at = end;
            self.left -= 1;
        }
    }
}

#[cold]
fn outside_the_batch() -> FormatError {
    FormatError::corrupt("a record's offset lies outside its batch")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::batch::BatchBuilder;
    use crate::format::header::{BATCH_HEADER_SIZE, RECORD_COUNT};
    use crate::format::record::NewRecord;
    use crate::format::vectors::{VECTOR_A, unhex};
    use crate::units::{Offset, Timestamp};

    const T: Timestamp = Timestamp(1_700_000_000_000);

    /// A batch of a hundred records of many kinds.
    fn hundred() -> (BatchHeader, Vec<u8>) {
        let mut builder = BatchBuilder::new(0);
        for number in 0..100_usize {
            let (key, value) = (vec![b'k'; number % 3], vec![b'v'; number * number % 200]);
            let key = (number % 4 == 0).then_some(&key[..]);
            let value = (number % 7 != 0).then_some(&value[..]);
            let headers: &[(&[u8], Option<&[u8]>)] = if number % 5 == 0 { &[(b"h", None)] } else { &[] };
            builder.push(&NewRecord { timestamp: T + number as i64, key, value, headers });
        }
        let batch = builder.finish(None, usize::MAX).unwrap().to_vec();
        let header = BatchHeader::parse(&batch).unwrap();
        (header, batch[BATCH_HEADER_SIZE..].to_vec())
    }

    #[test]
    fn lines_are_the_values_of_the_records() {
        let (header, records) = hundred();
        let records = &records[..];
        let mut cursor = RecordCursor::new(&header);
        let mut expected = Vec::new();
        let mut ends = Vec::new();
        while let Some(span) = cursor.next(records).unwrap() {
            ends.push(span.end);
            expected.push(span.record(records).value.unwrap_or_default().to_vec());
        }
        for count_max in 1..=100 {
            let (mut cursor, mut lines, mut read) = (RecordCursor::new(&header), Vec::new(), 0);
            while read < 100 {
                let (count, last) = cursor.append_lines(records, b'\n', (count_max as u64, usize::MAX), &mut lines);
                assert_eq!(count as usize, count_max.min(100 - read));
                read += count as usize;
                let span = RecordSpan::parse(records, last).unwrap();
                assert_eq!(span.record(records).value.unwrap_or_default(), expected[read - 1]);
            }
            assert_eq!(lines, [&expected.join(&b'\n')[..], b"\n"].concat());
            assert!(cursor.next(records).unwrap().is_none());
        }
        let (mut cursor, mut lines) = (RecordCursor::new(&header), Vec::new());
        cursor.append_lines(records, b'\n', (u64::MAX, 1000), &mut lines);
        assert!((1000..1300).contains(&lines.len()), "{}", lines.len());
        let (mut damaged, mut cursor) = (records.to_vec(), RecordCursor::new(&header));
        damaged[ends[49]] = 1;
        let (count, _) = cursor.append_lines(&damaged, b'\n', (u64::MAX, usize::MAX), &mut lines);
        assert_eq!(count, 50, "they end before a damaged record");
        assert!(cursor.next(&damaged).is_err(), "and who reads on is told");
        assert!(RecordCursor::new(&header).check_rest(&damaged).is_err());
        assert_eq!(RecordCursor::new(&header).check_rest(records), Ok(()));
        assert!(RecordCursor::new(&header).check_rest(&records[..ends[98]]).is_err(), "the last is missing");
        let fewer = BatchHeader { record_count: 99, ..header };
        assert!(RecordCursor::new(&fewer).check_rest(records).is_err(), "there is one more");
        let outside = BatchHeader { last_offset_delta: 98, ..header };
        assert!(RecordCursor::new(&outside).check_rest(records).is_err(), "the last offset lies outside");
        let twice = [records, records].concat();
        let longer = BatchHeader { record_count: 200, ..header };
        assert!(RecordCursor::new(&longer).check_rest(&twice).is_err(), "offsets begin anew");
    }

    #[test]
    fn a_count_that_lies_is_refused() {
        let (header, records) = hundred();
        for (record_count, why) in [(99, "too small"), (101, "too large")] {
            let mut cursor = RecordCursor::new(&BatchHeader { record_count, ..header });
            let result = (0..102).try_for_each(|_| cursor.next(&records).map(drop));
            assert!(result.is_err(), "{why}");
        }
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

    #[test]
    fn timestamps_may_step_back() {
        let mut builder = BatchBuilder::new(0);
        for timestamp in [T, T + -500, T + 1] {
            builder.push(&NewRecord { timestamp, value: Some(b"v"), ..NewRecord::default() });
        }
        let batch = builder.finish(None, usize::MAX).unwrap();
        let header = BatchHeader::parse(batch).unwrap();
        let mut cursor = RecordCursor::new(&header);
        let mut times = Vec::new();
        while let Some(span) = cursor.next(&batch[BATCH_HEADER_SIZE..]).unwrap() {
            times.push(header.record_timestamp(span.timestamp_delta).since(T));
        }
        assert_eq!((times, header.max_timestamp), (vec![0, -500, 1], T + 1));
    }
}
