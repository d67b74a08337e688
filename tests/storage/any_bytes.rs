//! Any bytes at every entry point: random ones, and seeds that were flipped, cut, spliced and stretched.
//!
//! What must hold is said in `entry_points.rs`. What fuzzing has found stays here as a test with a name.

use super::support::{
    NOW, append_at, bytes_of, disk_with_partition, log_path, open_at, overwrite, path, read_on, reader, reader_at,
    values, view, view_at,
};
use super::{entry_points, internal_topics, seeds, templates};
use kdir::disk::faulty::FaultyDisk;
use kdir::disk::{Access, Disk};
use kdir::format::compression::{Codec, Compression, Compressor, Decompressor};
use kdir::format::header::MAGIC_AT;
use kdir::logdir::{LogDir, LogDirError};
use kdir::storage::file_name::FileKind;
use kdir::storage::{Advance, Checkpoints, LogConfig, RecordReader, StorageError};
use kdir::units::Offset;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far more than any test of this binary needs, and less than a few bytes can claim to hold.
const ADDRESS_SPACE_MAX: u64 = 4 << 30;
/// Values at which lengths, counts and offsets change their meaning.
const NUMBERS: [u32; 8] = [0, 1, 0x7f, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];

/// What templates are made of.
const TEMPLATE_PIECES: [&str; 46] = [
    "%s", "%S", "%R", "%k", "%K", "%T", "%h", "%t", "%p", "%o", "%%", "%T{", "%h{", "{", "}", "{}", "%", "\\", "\\x",
    "\\0", "\\0x", "\\n", "0", "1", "9", "f", "e", "%Y", "%F", "%255Y", "%-d", "%^", "%:", "%.3f", "%f", "%Z", "%Q",
    "%y", "%c", "\n", "\x1b", "\u{202e}", "ü", "漢", " ", "|",
];

/// What takes longer hangs: it is done in a hundredth of this.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Byte(Index, u8),
    Number(Index, u32),
    Cut(Index, usize),
    End(Index),
    /// Some bytes of another seed come in.
    Splice(Index, Index, Index, usize),
    /// Some bytes come twice.
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        2 => (at(), proptest::sample::select(&NUMBERS[..])).prop_map(|(at, number)| Change::Number(at, number)),
        1 => (at(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        1 => at().prop_map(Change::End),
        1 => (at(), at(), at(), 1..300_usize).prop_map(|(at, seed, from, length)| Change::Splice(at, seed, from, length)),
        1 => (at(), 1..300_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
    ]
}

fn part(bytes: &[u8], from: &Index, length: usize) -> Vec<u8> {
    let from = from.index(bytes.len() + 1);
    bytes[from..bytes.len().min(from + length)].to_vec()
}

fn apply(change: &Change, bytes: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let size = bytes.len();
    match change {
        _ if size == 0 => {}
        Change::Flip(at, bit) => bytes[at.index(size)] ^= 1 << bit,
        Change::Byte(at, byte) => bytes[at.index(size)] = *byte,
        Change::Number(at, number) => {
            for (to, from) in bytes[at.index(size)..].iter_mut().zip(number.to_be_bytes()) {
                *to = from;
            }
        }
        Change::Cut(at, length) => drop(bytes.drain(at.index(size)..size.min(at.index(size) + length))),
        Change::End(at) => bytes.truncate(at.index(size)),
        Change::Splice(at, seed, from, length) => {
            let other = part(&seeds[seed.index(seeds.len())], from, *length);
            drop(bytes.splice(at.index(size)..at.index(size), other));
        }
        Change::Repeat(at, length) => {
            let again = part(bytes, at, *length);
            drop(bytes.splice(at.index(size)..at.index(size), again));
        }
    }
}

/// Runs an entry point on its seeds, on random bytes, and `cases` times on changed seeds.
fn holds(name: &str, entry_point: fn(&[u8]), cases: u32) {
    let limit = Rlimit { current: Some(ADDRESS_SPACE_MAX), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, limit).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka");
    let seeds = seeds::seeds(&golden, name);
    for seed in &seeds {
        entry_point(seed);
    }
    let run = |cases, strategy: BoxedStrategy<Vec<u8>>| {
        let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
        let run = runner.run(&strategy, |bytes| {
            entry_point(&bytes);
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{name}: {failure}"));
    };
    run(cases / 4, vec(any::<u8>(), 0..300).boxed());
    let changed = (any::<Index>(), vec(change(), 1..4)).prop_map(move |(seed, changes)| {
        let mut bytes = seeds[seed.index(seeds.len())].clone();
        changes.iter().for_each(|change| apply(change, &mut bytes, &seeds));
        bytes
    });
    run(cases, changed.boxed());
}

#[test]
fn any_log_is_read_batch_for_batch_or_refused() {
    holds("batch", entry_points::batch, 6000);
}

#[test]
fn any_message_set_is_read_or_refused() {
    holds("legacy", entry_points::legacy, 6000);
}

#[test]
fn any_small_file_is_read_or_refused() {
    holds("index_and_checkpoint", entry_points::index_and_checkpoint, 6000);
}

#[test]
fn any_segment_is_read_and_opened_alike_whatever_its_indexes_say() {
    holds("segment", entry_points::segment, 3000);
}

#[test]
fn any_line_is_an_envelope_or_refused() {
    holds("json_envelope", entry_points::json_envelope, 6000);
}

#[test]
fn any_record_of_an_internal_topic_is_decoded_or_refused() {
    let seeds = internal_topics::seeds(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka"));
    assert!(seeds.iter().all(|seed| internal_topics::is_known(seed)));
    holds("internal_topics", internal_topics::internal_topics, 12_000);
}

#[test]
fn any_template_prints_a_record_or_is_refused() {
    holds("template", templates::template, 6000);
    // Templates are short, and random bytes make none: pieces of them do.
    let pieces = proptest::sample::select(&TEMPLATE_PIECES[..]).prop_map(str::to_owned);
    let texts = vec(prop_oneof![9 => pieces, 1 => any::<char>().prop_map(String::from)], 0..12);
    let mut runner = TestRunner::new(Config { cases: 20_000, failure_persistence: None, ..Config::default() });
    let run = runner.run(&(texts, vec(any::<u8>(), 0..60)), |(texts, record)| {
        templates::template(&[texts.concat().as_bytes(), b"\0", &record].concat());
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn many_small_parts_of_a_compressed_stream_do_not_cost_a_large_buffer_each() {
    const PARTS: usize = 40_000;
    // An lz4 frame with blocks of up to 4 MiB, each of them one literal; gzip members and zstd frames one behind the other.
    let lz4 = [&[0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73][..], &[2, 0, 0, 0, 0x10, b'x'].repeat(PARTS), &[0; 4]];
    let repeated = |codec| {
        let mut part = Vec::new();
        Compressor::new(Compression { codec, level: None }).compress(b"x", &mut part).unwrap();
        part.repeat(PARTS)
    };
    let streams =
        [(Codec::Lz4, lz4.concat()), (Codec::Gzip, repeated(Codec::Gzip)), (Codec::Zstd, repeated(Codec::Zstd))];
    for (codec, bytes) in streams {
        let (mut out, start) = (Vec::new(), Instant::now());
        Decompressor::default().decompress(codec, 2, &bytes, &mut out, 64 << 20).unwrap();
        assert!(out == b"x".repeat(PARTS) && start.elapsed() < PATIENCE, "{codec:?}: {:?}", start.elapsed());
    }
}

/// Ten batches of one record, each with an index entry, all but the first; the last one damaged as a power failure does it
/// that loses the page with its end.
fn ten_batches_and_a_torn_one() -> FaultyDisk {
    let disk = disk_with_partition();
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let mut writer = open_at(&disk, config, Checkpoints::default()).unwrap();
    for number in 0..11 {
        append_at(&mut writer, &["value"], NOW + number).unwrap();
    }
    writer.close(NOW).unwrap();
    let mut log = bytes_of(&disk, &log_path(0));
    log.pop();
    log.push(b'!');
    overwrite(&disk, &log_path(0), &log);
    disk
}

#[test]
fn the_log_end_is_found_before_a_torn_batch_that_the_index_has_an_entry_for() {
    let disk = ten_batches_and_a_torn_one();
    assert_eq!(view(&disk).log_end_offset().unwrap(), Offset(10));
    assert_eq!(values(&disk).len(), 10);
}

#[test]
fn a_search_by_time_that_begins_at_a_torn_end_finds_nothing_and_no_damage() {
    let disk = ten_batches_and_a_torn_one();
    let durable = Checkpoints::of_files(Offset(9), Offset::ZERO);
    for checkpoints in [Checkpoints::default(), durable] {
        let found = |time| view_at(&disk, checkpoints).offset_for_time(time).unwrap();
        assert_eq!((found(NOW + 9), found(NOW + 10)), (Some((Offset(9), NOW + 9)), None));
    }
}

#[test]
fn a_topic_file_that_claims_too_much_or_is_another_topics_is_damaged() {
    let file = |name: &str, partitions: i32| {
        format!(
            r#"{{"format_version":1,"name":"{name}","topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":{partitions},
            "config":{{}}}}"#
        )
    };
    for (name, partitions, damaged) in
        [("app", 3, None), ("app", i32::MAX, Some("partitions")), ("x", 3, Some("x.json"))]
    {
        let disk = disk_with_partition();
        disk.create_folder(Path::new("/app-0")).unwrap();
        for (path, text) in [("/app.json", &*file(name, partitions)), ("/app-0/leader-epoch-checkpoint", "0\n0\n")] {
            disk.open(Path::new(path), Access::Create).unwrap().write_at(text.as_bytes(), 0).unwrap();
        }
        let found = LogDir::open(Arc::new(disk), Path::new("/")).unwrap().find_topic(&"app".parse().unwrap());
        match damaged {
            None => assert!(found.unwrap().is_some()),
            Some(word) => {
                let Err(LogDirError::DamagedFile { what, .. }) = found else {
                    panic!("{name} with {partitions}: {found:?}")
                };
                assert!(what.contains(word), "{what}");
            }
        }
    }
}

#[test]
fn at_the_end_of_all_offsets_a_log_is_read_and_takes_no_more() {
    let disk = disk_with_partition();
    let last = Checkpoints { log_start_offset: Offset::BASE_MAX, ..Checkpoints::default() };
    for (kind, entry) in [(FileKind::OffsetIndex, vec![0x7f; 8]), (FileKind::TimeIndex, vec![0x7f; 12])] {
        overwrite(&disk, &path(Offset::BASE_MAX.0, kind), &entry);
    }
    for _ in 0..2 {
        let mut writer = open_at(&disk, LogConfig::default(), last).unwrap();
        if writer.log_end_offset() == Offset::BASE_MAX {
            append_at(&mut writer, &["the last"], NOW).unwrap();
        }
        assert!(matches!(append_at(&mut writer, &["one more"], NOW), Err(StorageError::Unsupported { .. })));
        assert_eq!(read_on(reader_at(&disk, last)).unwrap(), [(Offset::BASE_MAX.0, "the last".to_owned())]);
        assert_eq!(view_at(&disk, last).offset_for_time(NOW + 1).unwrap(), None);
    }
    // A name behind it is none of a segment.
    overwrite(&disk, &log_path(i64::MAX), b"no batch");
    assert_eq!(read_on(reader_at(&disk, last)).unwrap().len(), 1);
}

#[test]
fn an_aborted_transaction_that_the_index_has_end_behind_a_torn_end_is_waited_for() {
    let golden = include_bytes!("../data/kafka/transactions-0/00000000000000000000.log");
    let mut log = golden[..467].to_vec();
    let (torn, next) = (302, 373);
    log[torn + 70] ^= 1;
    log[next + MAGIC_AT] = 4;
    let mut entry = vec![0; 2];
    for field in [1_i64, 1, 8, 9] {
        entry.extend_from_slice(&field.to_be_bytes());
    }
    let disk = disk_with_partition();
    overwrite(&disk, &log_path(0), &log);
    overwrite(&disk, &path(0, FileKind::TransactionIndex), &entry);
    let mut records = RecordReader::read_committed(reader(&disk)).unwrap();
    assert_eq!(records.advance().unwrap(), Advance::Record);
    assert_eq!((records.offset(), records.advance().unwrap()), (Offset(0), Advance::End));
}
