//! What must hold for any bytes: one function for each place where bytes come in from a log dir or a pipe.
//!
//! Each takes bytes as they come, and panics where a promise is broken; the promises stand in its comment. The property
//! tests in `any_bytes.rs` run them on any stable compiler, the crate in `fuzz/` with a fuzzer. For all of them: no panic,
//! no hang, and no memory beyond a bound for what the bytes claim to hold.
//!
//! The file lies here and not in `fuzz/`, because a package leaves out folders with a manifest of their own: its tests
//! would not build.

use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk, FolderLock};
use kdir::format::batch::BatchBuilder;
use kdir::format::checkpoint::{LeaderEpochCheckpoint, OffsetCheckpoint};
use kdir::format::compression::{Codec, Compression, Compressor, Decompressor};
use kdir::format::header::{self, BATCH_HEADER_SIZE, BatchHeader, MAGIC_AT, TimestampType};
use kdir::format::index::{OffsetIndexEntry, TimeIndexEntry};
use kdir::format::properties::PartitionMetadata;
use kdir::format::record::{NewRecord, Record, RecordSpan};
use kdir::format::record_cursor::RecordCursor;
use kdir::format::txn::{AbortedTransaction, ControlType};
use kdir::format::{FormatError, crc, legacy, snapshot};
use kdir::logdir::LogDir;
use kdir::storage::dump::Dumped;
use kdir::storage::file_name::{FileKind, segment_path};
use kdir::storage::{
    Advance, Checkpoints, LogConfig, LogReader, LogView, LogWriter, Next, PartitionGuard, RecordReader, Result, dump,
};
use kdir::stream::envelope::{Envelope, Values};
use kdir::stream::json::{self, Located};
use kdir::units::{Offset, Timestamp};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Decompressed data may have so many bytes here.
const PLAIN_SIZE_MAX: usize = 1 << 20;
const SIZE_AT: usize = 8;
const LEGACY_CRC_AT: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
/// The bytes that a size field does not count.
const LENGTH_OVERHEAD: usize = 12;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn int(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

/// Whether the checksum that stands in a batch is that of its bytes, as the formats have it.
fn checksum_is_right(batch: &[u8]) -> bool {
    if batch[MAGIC_AT] == 2 {
        int(batch, CRC_AT) == crc::crc32c(&batch[ATTRIBUTES_AT..])
    } else {
        int(batch, LEGACY_CRC_AT) == crc::crc32(&batch[MAGIC_AT..])
    }
}

/// Makes size and checksum of the batch at the start of `bytes` right, and returns what lies behind it.
fn seal(bytes: &mut [u8]) -> &mut [u8] {
    let size_min = if bytes[MAGIC_AT] == 2 { BATCH_HEADER_SIZE } else { legacy::SIZE_MIN };
    let mut size = (int(bytes, SIZE_AT) as usize).saturating_add(LENGTH_OVERHEAD);
    if size > bytes.len() || size < size_min {
        size = bytes.len();
        put(bytes, SIZE_AT, (size - LENGTH_OVERHEAD) as u32);
    }
    let (batch, behind) = bytes.split_at_mut(size);
    if batch[MAGIC_AT] == 2 {
        put(batch, CRC_AT, crc::crc32c(&batch[ATTRIBUTES_AT..]));
    } else {
        put(batch, LEGACY_CRC_AT, crc::crc32(&batch[MAGIC_AT..]));
    }
    behind
}

/// Makes sizes and checksums right, batch for batch, so that what was changed inside of them is read.
fn sealed(log: &[u8]) -> Vec<u8> {
    let mut log = log.to_vec();
    let mut rest = &mut log[..];
    while rest.len() >= BATCH_HEADER_SIZE {
        rest = seal(rest);
    }
    log
}

/// A log of record batches, or the inside of one.
///
/// The first byte says what the others are: 0 a log; 1 a log whose sizes and checksums are put right first; 2 the codec
/// and the counts of one batch and what stands behind its header; 3 a codec and what it is to compress.
///
/// - A header says only what its bytes say, and a batch with another checksum than that of its bytes is told.
/// - Records are as many as the header has it and take up all bytes, their offsets lie within the batch, and each one that
///   is read can be written and read back.
/// - What a codec gives is never larger than its limit, and what it compressed is what it gives back.
pub fn batch(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 4 {
        0 => batches(bytes),
        1 => batches(&sealed(bytes)),
        2 => body(bytes),
        _ => compressed(bytes),
    }
}

fn batches(log: &[u8]) {
    for cut in 0..log.len().min(BATCH_HEADER_SIZE) {
        let _ = BatchHeader::parse(&log[..cut]);
    }
    let mut rest = log;
    while let Ok(header) = BatchHeader::parse(rest) {
        assert_eq!(header::announced_size(rest), Some(header.size));
        assert!(header.size > 0 && header.base_offset <= header.last_offset());
        let Some((batch, behind)) = rest.split_at_checked(header.size) else { break };
        let is_right = header::checksum_matches(&header, batch);
        assert_eq!(is_right, checksum_is_right(batch), "{header:?}");
        if is_right {
            let _ = records_of(&header, batch);
        }
        rest = behind;
    }
}

/// Steps through the records of one batch, whatever its format.
fn records_of(header: &BatchHeader, batch: &[u8]) -> std::result::Result<(), FormatError> {
    let (mut inside, mut plain) = (Vec::new(), Vec::new());
    let mut decompressor = Decompressor::default();
    let made = if header.magic == 2 {
        let body = &batch[BATCH_HEADER_SIZE..];
        decompressor.decompress(header.attributes.codec()?, 2, body, &mut plain, PLAIN_SIZE_MAX)?;
        *header
    } else {
        legacy::to_records(header, batch, &mut decompressor, &mut inside, PLAIN_SIZE_MAX, &mut plain)?
    };
    assert!(inside.len() <= PLAIN_SIZE_MAX && plain.len() <= PLAIN_SIZE_MAX + batch.len());
    let (mut cursor, mut count, mut end) = (RecordCursor::new(&made), 0, 0);
    while let Some(span) = cursor.next(&plain)? {
        let record = span.record(&plain);
        assert!((0..=made.last_offset_delta).contains(&record.offset_delta));
        assert!(record.headers.iter().count() == record.headers.len());
        let _ = (made.record_timestamp(record.timestamp_delta), ControlType::parse(record.key.unwrap_or_default()));
        is_written_and_read_back(&record);
        (count, end) = (count + 1, span.end);
    }
    assert_eq!((count, end), (made.record_count, plain.len()));
    Ok(())
}

fn is_written_and_read_back(record: &Record<'_>) {
    let headers: Vec<_> = record.headers.iter().collect();
    let new = NewRecord { timestamp: Timestamp(0), key: record.key, value: record.value, headers: &headers };
    let mut bytes = Vec::new();
    new.write(record.timestamp_delta, record.offset_delta, &mut bytes);
    assert_eq!(bytes.len(), new.size(record.timestamp_delta, record.offset_delta));
    let read = RecordSpan::parse(&bytes, 0).expect("what was written is a record").record(&bytes);
    assert!(read.headers.iter().eq(headers));
    assert_eq!(Record { headers: read.headers, ..*record }, read);
}

/// One batch of format v2: the first byte is its codec, two are its record count, two its last offset delta.
fn body(input: &[u8]) {
    let Some((&[codec, count @ .., high, low], body)) = input.split_first_chunk::<5>() else { return };
    let mut batch = vec![0; BATCH_HEADER_SIZE];
    batch[MAGIC_AT] = 2;
    batch[ATTRIBUTES_AT + 1] = codec % 8;
    batch[25..27].copy_from_slice(&[high, low]);
    batch[59..61].copy_from_slice(&count);
    batch.extend_from_slice(body);
    batches(&sealed(&batch));
}

fn compressed(input: &[u8]) {
    let Some((&codec, plain)) = input.split_first() else { return };
    let codec = CODECS[usize::from(codec) % CODECS.len()];
    let (mut compressed, mut out) = (Vec::new(), Vec::new());
    let mut compressor = Compressor::new(Compression { codec, level: None });
    compressor.compress(plain, &mut compressed).expect("there is memory for so little");
    let mut decompressor = Decompressor::default();
    decompressor.decompress(codec, 2, &compressed, &mut out, plain.len()).expect("it was just compressed");
    assert!(out == plain, "{codec:?}");
    if let Some(too_small) = plain.len().checked_sub(1) {
        let result = decompressor.decompress(codec, 2, &compressed, &mut out, too_small);
        assert_eq!(result, Err(FormatError::TooLarge { limit: too_small }), "{codec:?}");
    }
}

/// A message set of an old format.
///
/// The first byte says what the others are: 0 message sets as they stand; 1 with sizes and checksums put right; 2 what a
/// message holds compressed: the second byte has the codec (bits 0-2), the format (3), the timestamp type (4) and whether
/// sizes and checksums of the messages inside are put right (5); eight more are its offset.
///
/// As for [`batch`]; and what a message set becomes are records of the newest format, as many as it says, at offsets that
/// do not fall.
pub fn legacy(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 3 {
        0 => messages(bytes),
        1 => messages(&sealed_messages(bytes)),
        _ => wrapper(bytes),
    }
}

fn sealed_messages(set: &[u8]) -> Vec<u8> {
    let mut set = set.to_vec();
    let mut rest = &mut set[..];
    while rest.len() >= legacy::SIZE_MIN {
        rest[MAGIC_AT] &= 1;
        rest = seal(rest);
    }
    set
}

fn messages(set: &[u8]) {
    let mut rest = set;
    while let Ok(message) = legacy::Message::parse(rest) {
        let (bytes, behind) = rest.split_at(message.size);
        assert!(checksum_is_right(bytes));
        assert!(message.key.unwrap_or_default().len() + message.value.unwrap_or_default().len() < bytes.len());
        rest = behind;
    }
    batches(set);
}

fn wrapper(input: &[u8]) {
    let Some((&[flags, offset @ ..], inside)) = input.split_first_chunk::<9>() else { return };
    let codec = CODECS[usize::from(flags & 7) % CODECS.len()];
    let inside = if flags & 0x20 == 0 { inside.to_vec() } else { sealed_messages(inside) };
    let mut value = Vec::new();
    let mut compressor = Compressor::new(Compression { codec, level: None });
    compressor.compress(&inside, &mut value).expect("there is memory for so little");
    let magic = flags >> 3 & 1;
    let mut message = offset.to_vec();
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[magic, codec.attribute_bits() | (flags >> 4 & 1) << 3]);
    if magic == 1 {
        message.extend_from_slice(&1_700_000_000_000_i64.to_be_bytes());
    }
    message.extend_from_slice(&(-1_i32).to_be_bytes());
    message.extend_from_slice(&(value.len() as u32).to_be_bytes());
    message.extend_from_slice(&value);
    seal(&mut message);
    messages(&message);
    // The same without the head of a log, which is longer than a short message.
    if let Ok(header) = BatchHeader::parse(&message) {
        let _ = records_of(&header, &message);
    }
}

/// One of the small files of a log dir; the first byte says which.
///
/// What is read can be printed and read back; an index shows entries that stand in it, in their order; a topic file makes
/// a topic of the file's name, which can be asked for everything that a topic knows.
pub fn index_and_checkpoint(input: &[u8]) {
    let Some((&kind, bytes)) = input.split_first() else { return };
    match kind % 8 {
        0 => offset_index(bytes),
        1 => time_index(bytes),
        2 => aborted_transactions(bytes),
        3 => producer_snapshot(bytes),
        4 => {
            let Ok(read) = OffsetCheckpoint::parse(bytes) else { return };
            assert_eq!(OffsetCheckpoint::parse(read.print().as_bytes()), Ok(read));
        }
        5 => {
            let Ok(read) = LeaderEpochCheckpoint::parse(bytes) else { return };
            assert_eq!(LeaderEpochCheckpoint::parse(read.print().as_bytes()), Ok(read));
        }
        6 => {
            let Ok(read) = PartitionMetadata::parse(bytes) else { return };
            assert_eq!(PartitionMetadata::parse(read.print().as_bytes()), Ok(read));
        }
        _ => topic_file(bytes),
    }
}

/// A disk on which `/t-0` is a folder and each of `files` a file.
fn disk_with(files: &[(&Path, &[u8])]) -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_folder(Path::new(FOLDER)).expect("an empty disk has room");
    for (path, bytes) in files {
        let file = disk.open(path, Access::Create).expect("a disk without faults");
        file.write_at(bytes, 0).expect("a disk without faults");
    }
    disk
}

fn offset_index(bytes: &[u8]) {
    let entries = || bytes.chunks(8).filter_map(|chunk| Some((chunk, OffsetIndexEntry::decode(chunk).ok()?)));
    assert!(entries().all(|(chunk, entry)| entry.encode() == chunk));
    let (path, mut shown) = (Path::new("/index"), Vec::new());
    let disk = disk_with(&[(path, bytes)]);
    let read = dump::read_offset_index(&disk, path, |entry| {
        shown.push(entry);
        Ok::<(), ()>(())
    });
    assert!(matches!(read, Ok(Ok(()))));
    let mut entries = entries();
    assert!(shown.iter().all(|entry| !entry.is_zero() && entries.any(|(_, other)| *entry == other)));
}

fn time_index(bytes: &[u8]) {
    let entries = || bytes.chunks(12).filter_map(|chunk| Some((chunk, TimeIndexEntry::decode(chunk).ok()?)));
    assert!(entries().all(|(chunk, entry)| entry.encode() == chunk));
    let (path, mut shown) = (Path::new("/timeindex"), Vec::new());
    let disk = disk_with(&[(path, bytes)]);
    let read = dump::read_time_index(&disk, path, |entry| {
        shown.push(entry);
        Ok::<(), ()>(())
    });
    assert!(matches!(read, Ok(Ok(()))));
    let mut entries = entries();
    assert!(shown.iter().all(|entry| !entry.is_zero() && entries.any(|(_, other)| *entry == other)));
}

fn aborted_transactions(bytes: &[u8]) {
    for chunk in bytes.chunks(34) {
        let Ok(entry) = AbortedTransaction::decode(chunk) else { continue };
        let mut again = vec![0, 0];
        for field in [entry.producer_id, entry.first_offset, entry.last_offset, entry.last_stable_offset] {
            again.extend_from_slice(&field.to_be_bytes());
        }
        assert_eq!(again, chunk);
    }
}

fn producer_snapshot(bytes: &[u8]) {
    let mut right = bytes.to_vec();
    if right.len() >= 10 {
        right[..2].copy_from_slice(&[0, 1]);
        let checksum = crc::crc32c(&right[6..]);
        put(&mut right, 2, checksum);
    }
    for bytes in [bytes, &right] {
        let Ok(entries) = snapshot::decode(bytes) else { continue };
        assert_eq!((int(bytes, 6) as usize, bytes.len()), (entries.len(), 10 + 46 * entries.len()));
    }
}

fn topic_file(bytes: &[u8]) {
    let disk = disk_with(&[(Path::new("/app.json"), bytes)]);
    let log_dir = LogDir::open(Arc::new(disk), Path::new("/")).expect("the root is there");
    let name = "app".parse().expect("a topic's name");
    let Ok(Some(topic)) = log_dir.find_topic(&name) else { return };
    assert_eq!((&topic.name, log_dir.topics().is_ok()), (&name, true));
    let _ = (topic.log_config(), topic.compression(), topic.config.validate());
    let count = topic.partition_count().expect("a topic file has them all");
    assert!(topic.partition(count - 1).is_ok() && topic.partition(count).is_err());
}

/// A line that is to be an envelope.
///
/// It is refused at a column of the line, or makes a record that prints as one line; what that line makes is the same
/// record, and prints as the same line.
pub fn json_envelope(input: &[u8]) {
    let line = input.split(|&byte| byte == b'\n').next().expect("one part at least");
    match Envelope::parse(line, Values::Text) {
        Err((column, _)) => assert!((1..=line.len() + 1).contains(&column), "column {column} of {}", line.len()),
        Ok(envelope) => {
            let printed = print(&envelope);
            let (one, newline) = printed.split_at(printed.len() - 1);
            assert!(newline == b"\n" && !one.contains(&b'\n'));
            let again = Envelope::parse(one, Values::Text).expect("what was printed is an envelope");
            assert_eq!((again.partition, again.timestamp), (Some(envelope.partition.unwrap_or(0)), Some(Timestamp(7))));
            assert_eq!((&again.key, &again.value, &again.headers), (&envelope.key, &envelope.value, &envelope.headers));
            assert_eq!(print(&again), printed);
        }
    }
}

fn print(envelope: &Envelope<'_>) -> Vec<u8> {
    let headers: Vec<_> = envelope.headers.iter().map(|(name, value)| (&**name, value.as_deref())).collect();
    let new = NewRecord {
        timestamp: Timestamp(7),
        key: envelope.key.as_deref(),
        value: envelope.value.as_deref(),
        headers: &headers,
    };
    let mut bytes = Vec::new();
    new.write(0, 0, &mut bytes);
    let record = RecordSpan::parse(&bytes, 0).expect("what was written is a record").record(&bytes);
    assert!(record.key == envelope.key.as_ref().map(Cow::as_ref));
    let (partition, offset) = (envelope.partition.unwrap_or(0), Offset(42));
    let timestamp_type = TimestampType::CreateTime;
    let mut out = Vec::new();
    json::write(&Located { topic: "t", partition, offset, timestamp: Timestamp(7), timestamp_type, record }, &mut out);
    out
}

pub(super) const FOLDER: &str = "/t-0";
const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// Small, so that small logs have indexes with many entries.
pub const INDEX_INTERVAL_BYTES: u64 = 100;
const INDEX_KINDS: [FileKind; 3] = [FileKind::OffsetIndex, FileKind::TimeIndex, FileKind::TransactionIndex];
/// How many offsets are read from.
const STARTS_MAX: usize = 12;

/// The files of a partition of one segment, and what the log dir says of it.
pub struct Segment {
    /// The offset in the names of the files.
    pub base: Offset,
    /// How far above it the recovery point lies; at 0 there is none.
    pub recovery_point: u8,
    /// How far above it the log start lies.
    pub log_start: u8,
    /// Whether sizes and checksums of the batches are put right.
    pub is_sealed: bool,
    /// Offset, time and transaction index.
    pub indexes: [Vec<u8>; 3],
    /// The `.log`.
    pub log: Vec<u8>,
}

impl Segment {
    /// As [`segment`] takes it.
    pub fn to_input(&self) -> Vec<u8> {
        let mut input = vec![self.is_sealed.into(), self.recovery_point, self.log_start];
        input.extend_from_slice(&self.base.0.to_be_bytes());
        for index in &self.indexes {
            input.extend_from_slice(&(index.len() as u16).to_be_bytes());
            input.extend_from_slice(index);
        }
        input.extend_from_slice(&self.log);
        input
    }

    fn from_input(input: &[u8]) -> Option<Self> {
        let ([flags, recovery_point, log_start], rest) = input.split_first_chunk()?;
        let (base, mut rest) = rest.split_first_chunk()?;
        let indexes = [(); 3].map(|()| {
            let (length, behind) = rest.split_first_chunk().unwrap_or((&[0; 2], &[]));
            let (index, behind) = behind.split_at(behind.len().min(u16::from_be_bytes(*length).into()));
            rest = behind;
            index.to_vec()
        });
        let is_sealed = flags & 1 == 1;
        let log = if is_sealed { sealed(rest) } else { rest.to_vec() };
        // A file name has no sign.
        let base = Offset(i64::from_be_bytes(*base) & i64::MAX);
        Some(Self { base, recovery_point: *recovery_point, log_start: *log_start, is_sealed, indexes, log })
    }

    fn checkpoints(&self) -> Checkpoints {
        let offset = |by: u8| Offset(self.base.0.saturating_add(by.into())).min(Offset::BASE_MAX);
        let above = |by: u8| if by == 0 { Offset::ZERO } else { offset(by) };
        Checkpoints::of_files(above(self.recovery_point), above(self.log_start))
    }

    fn path(&self, kind: FileKind) -> PathBuf {
        segment_path(Path::new(FOLDER), self.base, kind)
    }

    fn disk(&self, with_indexes: bool) -> FaultyDisk {
        let mut files = vec![(self.path(FileKind::Log), &self.log)];
        if with_indexes {
            let paths = INDEX_KINDS.into_iter().map(|kind| self.path(kind));
            files.extend(paths.zip(&self.indexes).filter(|(_, index)| !index.is_empty()));
        }
        disk_with(&files.iter().map(|(path, bytes)| (&**path, &bytes[..])).collect::<Vec<_>>())
    }
}

/// A partition of one segment, with any bytes in its log and its indexes.
///
/// - A reader shows no batch with a wrong checksum, none below the offset that it was asked for, and none twice.
/// - No index changes what it shows, nor what is found by time or counts as committed; but for an entry that leads to a
///   whole batch inside of another, and one that has the time of its batch but not the largest so far: the batches that it
///   names cannot tell.
/// - A writer opens what a reader reads to its end, and nothing else, but for damage below the recovery point, where it does
///   not look. What it refuses stays as it is, what it opens reads as before, to the end and without damage. Opening it
///   again changes nothing, but perhaps index entries below the recovery point.
/// - What is appended then is read behind all that was there.
pub fn segment(input: &[u8]) {
    let Some(segment) = Segment::from_input(input) else { return };
    let checkpoints = segment.checkpoints();
    let (disk, bare) = (segment.disk(true), segment.disk(false));
    ask_everything(&disk, &segment);
    let is_sound = read(&bare, Checkpoints { log_start_offset: Offset::ZERO, ..checkpoints }, None).end.is_some();
    let may_compare = is_sound && !holds_a_batch_inside(&segment.log) && !has_a_smaller_time_entry(&segment);
    let before = read(&bare, checkpoints, None);
    if may_compare {
        indexes_change_no_answer(&disk, &bare, checkpoints, &before);
    }

    let opened = open(&disk, checkpoints);
    let is_checked_whole = checkpoints.recovery_point == Offset::ZERO;
    if is_checked_whole {
        assert_eq!(opened.is_ok(), is_sound, "{:?}", opened.err());
    }
    let Ok(writer) = opened else {
        assert!(file(&disk, &segment.path(FileKind::Log)) == segment.log);
        return;
    };
    let end = writer.log_end_offset();
    drop(writer);
    // Without a recovery point the writer has made the indexes right, wherever they led; with one, damage below it may be
    // found by whoever comes next.
    if !may_compare && !is_checked_whole {
        let _ = (open(&disk, checkpoints), read(&disk, checkpoints, None));
        return;
    }
    let after = read(&disk, checkpoints, None);
    assert_eq!(after.end.map(|it| it.max(checkpoints.log_start_offset)), Some(end));
    assert_eq!(after.shown, before.shown);
    if after.shown.is_empty() {
        // A log start behind the end has begun another segment: only the next opening writes the last entries of this one.
        drop(open(&disk, checkpoints));
    }
    let (found, log) = (files(&disk), file(&disk, &segment.path(FileKind::Log)));
    let mut writer = open(&disk, checkpoints).expect("it was opened before");
    assert!(writer.take_notices().is_empty() && writer.log_end_offset() == end);
    assert!(file(&disk, &segment.path(FileKind::Log)) == log);
    if is_checked_whole {
        assert_eq!(files(&disk), found, "opened twice");
    }
    if may_compare {
        let bare = disk.kill();
        for kind in INDEX_KINDS {
            let _ = bare.remove_file(&segment.path(kind));
        }
        indexes_change_no_answer(&disk, &bare, checkpoints, &after);
    }
    if end > Offset::BASE_MAX {
        assert!(append(&disk, checkpoints, &mut writer).is_err(), "no offset is left");
        return;
    }
    assert_eq!(append(&disk, checkpoints, &mut writer).expect("a disk without faults"), end);
    let last = read(&disk, checkpoints, Some(end));
    assert_eq!((last.shown.len(), last.end), (1, Some(end.next())));
}

/// A batch that was shown: its first and last offset, and a checksum of all its bytes.
type Shown = (Offset, Offset, u32);

/// What a reader shows; where it ends, unless it ends in an error.
#[derive(Debug, PartialEq)]
struct Read {
    shown: Vec<Shown>,
    end: Option<Offset>,
}

fn view(disk: &FaultyDisk, checkpoints: Checkpoints) -> LogView {
    let folder = disk.open_folder(Path::new(FOLDER)).expect("the folder is there");
    LogView::of(folder, checkpoints).expect("a disk without faults")
}

fn reader(disk: &FaultyDisk, checkpoints: Checkpoints) -> LogReader {
    LogReader::new(view(disk, checkpoints), 256)
}

fn read(disk: &FaultyDisk, checkpoints: Checkpoints, start: Option<Offset>) -> Read {
    let mut reader = reader(disk, checkpoints);
    if let Some(start) = start {
        reader.seek(start);
    }
    let mut shown: Vec<Shown> = Vec::new();
    let end = loop {
        match reader.next() {
            Ok(Next::Batch(header)) => {
                assert!(checksum_is_right(reader.batch()), "{header:?}");
                let (first, last) = (header.base_offset, header.last_offset());
                assert!(start.is_none_or(|start| start <= last) && shown.last().is_none_or(|before| before.1 < first));
                shown.push((first, last, crc::crc32(reader.batch())));
            }
            Ok(Next::LogStartPassed { .. }) => {}
            Ok(Next::End) => break Some(reader.next_offset()),
            Err(_) => break None,
        }
    };
    Read { shown, end }
}

/// Offset, timestamp and a checksum of the value of each record.
fn records(disk: &FaultyDisk, checkpoints: Checkpoints, committed: bool) -> Result<Vec<(Offset, Timestamp, u32)>> {
    let log = reader(disk, checkpoints);
    let start = log.next_offset();
    let mut records = if committed { RecordReader::read_committed(log)? } else { RecordReader::new(log) };
    let mut read = Vec::new();
    loop {
        match records.advance()? {
            Advance::Record => {
                assert!(records.offset() >= start);
                let value = records.record().value.unwrap_or_default();
                read.push((records.offset(), records.timestamp(), crc::crc32(value)));
            }
            Advance::LogStartPassed { .. } => {}
            Advance::End => return Ok(read),
        }
    }
}

/// Whatever else can be asked of a partition that may be damaged has an answer or an error.
fn ask_everything(disk: &FaultyDisk, segment: &Segment) {
    let checkpoints = segment.checkpoints();
    let all = records(disk, checkpoints, false);
    if let (Ok(all), Ok(committed)) = (all, records(disk, checkpoints, true)) {
        let mut all = all.iter();
        assert!(committed.iter().all(|record| all.any(|other| record == other)), "committed records are records");
    }
    if let Ok(mut log) = dump::LogDump::open(disk, &segment.path(FileKind::Log), segment.base) {
        while let Ok(Some(found)) = log.next() {
            if let Dumped::Batch(batch) = found {
                let _ = (batch.header.next_offset(), log.checksum_error());
                let _ = log.records(|_, _, record| assert!(record.headers.iter().count() < usize::MAX));
            }
        }
    }
    let _ = view(disk, checkpoints).summary();
}

/// Whether a whole batch with a right checksum begins where none of the log's own does. The log ends where the offsets of a
/// batch do not rise.
fn holds_a_batch_inside(log: &[u8]) -> bool {
    let whole = |at: usize| BatchHeader::parse(&log[at..]).ok().filter(|header| at + header.size <= log.len());
    let (mut own, mut lowest) = (0, Offset::ZERO);
    (0..log.len()).any(|at| {
        let Some(header) = whole(at) else { return false };
        let is_own = at == own && header.base_offset >= lowest;
        if is_own {
            (own, lowest) = (at + header.size, header.next_offset());
        }
        !is_own && checksum_is_right(&log[at..at + header.size])
    })
}

/// Whether a time entry has the time of the batch that it names, and a batch before has a larger one.
fn has_a_smaller_time_entry(segment: &Segment) -> bool {
    let entries = || segment.indexes[1].chunks(12).filter_map(|chunk| TimeIndexEntry::decode(chunk).ok());
    let (mut rest, mut largest) = (&segment.log[..], Timestamp::NONE);
    while let Ok(header) = BatchHeader::parse(rest) {
        let relative = header.last_offset().relative_to(segment.base);
        let named = |it: TimeIndexEntry| Some(it.relative_offset) == relative && it.timestamp == header.max_timestamp;
        if header.max_timestamp < largest && entries().any(named) {
            return true;
        }
        largest = largest.max(header.max_timestamp);
        rest = rest.get(header.size..).unwrap_or_default();
    }
    false
}

fn indexes_change_no_answer(indexed: &FaultyDisk, bare: &FaultyDisk, checkpoints: Checkpoints, all: &Read) {
    assert_eq!(read(indexed, checkpoints, None), *all);
    let ends = all.shown.iter().flat_map(|&(first, last, _)| [first, last, last.next()]);
    for start in ends.take(STARTS_MAX).filter(|&start| start >= checkpoints.log_start_offset) {
        let shown = all.shown.iter().filter(|batch| batch.1 >= start).copied().collect();
        assert_eq!(read(indexed, checkpoints, Some(start)), Read { shown, end: all.end }, "from {start}");
    }
    let end = |disk| view(disk, checkpoints).log_end_offset().ok();
    assert_eq!(end(indexed), end(bare));
    for time in [Timestamp::NONE, Timestamp(0), NOW, NOW + 5, Timestamp(i64::MAX)] {
        let found = |disk| view(disk, checkpoints).offset_for_time(time).ok();
        assert_eq!(found(indexed), found(bare), "at {time:?}");
    }
    assert_eq!(records(indexed, checkpoints, true).ok(), records(bare, checkpoints, true).ok());
}

/// The right to change the partition, as a writer here takes it.
pub(super) fn guard(disk: &FaultyDisk, checkpoints: Checkpoints) -> Result<PartitionGuard> {
    let config = LogConfig { index_interval_bytes: INDEX_INTERVAL_BYTES, ..LogConfig::default() };
    let lock = FolderLock::take(&disk.open_folder(Path::new(FOLDER))?)?;
    Ok(PartitionGuard::new(lock, Arc::new(config), checkpoints))
}

fn open(disk: &FaultyDisk, checkpoints: Checkpoints) -> Result<LogWriter> {
    LogWriter::open(&guard(disk, checkpoints)?, kdir::storage::Durability::Synced, NOW)
}

fn append(disk: &FaultyDisk, checkpoints: Checkpoints, writer: &mut LogWriter) -> Result<Offset> {
    let mut builder = BatchBuilder::new(0);
    builder.push(&NewRecord { timestamp: NOW, value: Some(b"appended"), ..NewRecord::default() });
    let batch = builder.finish(None, usize::MAX).expect("no codec is asked for");
    let guard = guard(disk, checkpoints)?;
    writer.append(&guard, &mut [batch], NOW).map(|appended| appended.base_offset)
}

fn file(disk: &FaultyDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, Access::Read).expect("the file is there");
    let mut bytes = vec![0; file.stat().expect("it is open").size as usize];
    file.read_at(&mut bytes, 0).expect("a disk without faults");
    bytes
}

/// Every file of the partition.
fn files(disk: &FaultyDisk) -> BTreeMap<String, Vec<u8>> {
    let names = disk.list(Path::new(FOLDER)).expect("the folder is there").into_iter().map(|entry| entry.name);
    names.map(|name| (name.clone(), file(disk, &Path::new(FOLDER).join(name)))).collect()
}
